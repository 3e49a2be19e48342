/* A load client for jobs by the batch: a thread a connection, one batch under way each.
 * Linked with one protocol (batches_*.c).
 *
 *     batches_PROTOCOL KIND PORT CONNECTIONS BATCH SECONDS [JOBS]
 *
 * prints "jobs nanoseconds". A KIND is a row of KINDS; JOBS ends it sooner.
 */
#define _GNU_SOURCE
#include "batches.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WORKERS_MAX = 64,
    BUFFER = 2 << 20 /* an answer of 1,000 jobs is about 400 KB */
};

#define PAYLOAD "{\"n\":\"%020ld\",\"pad\":\"" PAD "\"}"
#define TEN "xxxxxxxxxx"
#define PAD TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "xxx"

struct kind {
    const char *name;
    bool whole;     /* claimed and finished, too */
    bool claims;    /* only the claims are timed */
    enum manner manner;
};

static const struct kind KINDS[] = {
    {"enqueue", false, false, TOGETHER},
    {"lifecycles", true, false, TOGETHER},
    {"lifecycles-pipelined", true, false, PIPELINED},
    {"lifecycles-one-by-one", true, false, ONE_BY_ONE},
    {"claims", true, true, PIPELINED},
    {0},
};

void fail(const char *what, ...) {
    va_list more;
    va_start(more, what);
    vfprintf(stderr, what, more);
    fputc('\n', stderr);
    exit(1);
}

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* --- streams -------------------------------------------------------------------- */

struct stream stream_to(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct stream s = {.fd = socket(AF_INET, SOCK_STREAM, 0), .buffer = malloc(BUFFER)};
    int yes = 1;
    if (!s.buffer || s.fd < 0 || connect(s.fd, (void *)&to, sizeof to))
        fail("cannot connect to %d", port);
    setsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return s;
}

void send_all(struct stream *s, const char *bytes, size_t size) {
    while (size) {
        ssize_t sent = send(s->fd, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0) fail("the connection ended in the midst of a request");
        bytes += sent, size -= sent;
    }
}

static void read_more(struct stream *s) {
    if (s->at == s->have) s->at = s->have = 0;
    if (s->have == BUFFER) fail("too long an answer");
    ssize_t got = recv(s->fd, s->buffer + s->have, BUFFER - s->have, 0);
    if (got <= 0) fail("the connection ended in the midst of an answer");
    s->have += got;
}

char *take(struct stream *s, size_t size) {
    while (s->have - s->at < size) read_more(s);
    s->at += size;
    return s->buffer + s->at - size;
}

char *take_until(struct stream *s, const char *end) {
    size_t length = strlen(end);
    for (;;) {
        char *from = s->buffer + s->at;
        char *found = memmem(from, s->have - s->at, end, length);
        if (found) {
            *found = 0;
            s->at = found + length - s->buffer;
            return from;
        }
        read_more(s);
    }
}

/* --- the load ------------------------------------------------------------------- */

static const struct kind *asked;
static struct worker *workers[WORKERS_MAX];
static pthread_barrier_t start;
static long long began, until;
static long jobs_max;

/* The time a run began at tells its ids from those of every other run. */
static void make_jobs(struct worker *w) {
    for (long n = 0; n < w->batch; n++) {
        long number = w->numbered++ * WORKERS_MAX + w->number;
        snprintf(w->ids[n], sizeof w->ids[n], "%016llx-%011ld", began, number);
        snprintf(w->payloads[n], sizeof w->payloads[n], PAYLOAD, number);
    }
}

static void claim_and_finish(struct worker *w) {
    long long from = now();
    claim(w);
    w->busy += now() - from;
    finish(w);
    w->done += w->claimed;
}

static void *work(void *given) {
    struct worker *w = given;
    connect_to(w);
    pthread_barrier_wait(&start);
    pthread_barrier_wait(&start); /* the time is set between the two */
    while (now() < until && (!jobs_max || w->done < jobs_max)) {
        make_jobs(w);
        enqueue(w);
        if (asked->whole) claim_and_finish(w);
        else w->done += w->batch;
    }
    return 0;
}

static void started(pthread_t *threads, int count, int port, long batch) {
    pthread_barrier_init(&start, 0, count + 1);
    for (int n = 0; n < count; n++) {
        struct worker *w = workers[n] = calloc(1, sizeof *w);
        if (!w) fail("no memory");
        w->port = port, w->number = n, w->batch = batch, w->manner = asked->manner;
        if (pthread_create(&threads[n], 0, work, w)) fail("no thread");
    }
}

int main(int argc, char **argv) {
    if (argc < 6 || argc > 7) fail("KIND PORT CONNECTIONS BATCH SECONDS [JOBS]");
    for (asked = KINDS; asked->name; asked++)
        if (!strcmp(asked->name, argv[1])) break;
    int count = atoi(argv[3]);
    long batch = atol(argv[4]);
    if (!asked->name) fail("no such kind: %s", argv[1]);
    if (count < 1 || count > WORKERS_MAX) fail("no such number: %s", argv[3]);
    if (batch < 1 || batch > BATCH_MAX) fail("no such batch: %s", argv[4]);
    jobs_max = argc == 7 ? atol(argv[6]) / count : 0;
    pthread_t threads[WORKERS_MAX];
    started(threads, count, atoi(argv[2]), batch);
    pthread_barrier_wait(&start);
    began = now(), until = began + (long long)(atof(argv[5]) * 1e9);
    pthread_barrier_wait(&start);
    long done = 0;
    long long busy = 0;
    for (int n = 0; n < count; n++) {
        pthread_join(threads[n], 0);
        done += workers[n]->done, busy += workers[n]->busy;
    }
    printf("%ld %lld\n", done, asked->claims ? busy / count : now() - began);
}
