/* A load client that is not the bottleneck: one thread, one epoll, many connections, one
 * act under way on each. It speaks HTTP to JobEngine, and the protocols of its peers, by
 * one table, so that all of them meet the same load.
 *
 *     load PROTOCOL KIND PORT CONNECTIONS SECONDS
 *
 * prints "acts nanoseconds p50 p99 most", the last three the microseconds of an act's
 * first exchange. An answer that is none of the expected ends it with code 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    CONNECTIONS_MAX = 4096,
    BUFFER = 4096,    /* an answer is a job of 200 bytes and its headers */
    SAMPLES = 1 << 22 /* exchanges whose time is kept: the first four million */
};

/* 200 bytes of JSON with a number that no other has: some peers find a job by them. */
#define PAYLOAD "{\"n\":\"%020ld\",\"pad\":\"" PAD "\"}"
#define TEN "xxxxxxxxxx"
#define PAD TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "xxx"

struct connection {
    int fd, step, have;
    long number;    /* of the payload */
    char id[64];    /* of the job in hand */
    long long began;
    char buffer[BUFFER + 1];
};

/* One exchange: a request, made of the connection, and how its answer begins. */
struct exchange {
    int (*request)(struct connection *, char *into);
    const char *expected;
    /* The bytes of the answer, 0 while some are missing; the job's id is kept. */
    int (*whole)(struct connection *);
};

struct protocol {
    const char *name, *kind;
    int steps;
    struct exchange exchanges[3];
};

static void fail(const char *what, ...) {
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

/* What is between *after* and *until* in the buffer becomes the job's id. */
static void keep_id(struct connection *c, const char *after, char until) {
    char *from = strstr(c->buffer, after);
    if (!from) fail("no id in: %s", c->buffer);
    from += strlen(after);
    char *end = strchr(from, until);
    if (!end || end - from >= (long)sizeof c->id) fail("no id in: %s", c->buffer);
    memcpy(c->id, from, end - from);
    c->id[end - from] = 0;
}

/* --- HTTP ----------------------------------------------------------------------- */

#define HEADERS "Host: localhost\r\nX-Name: bench\r\nX-Queue: bench\r\n"
#define JSON "Content-Type: application/json\r\n"

static int http_create(struct connection *c, char *into) {
    return sprintf(into,
                   "PUT /api/v1/jobs/create HTTP/1.1\r\n" HEADERS JSON
                   "Content-Length: 244\r\n\r\n"
                   "{\"content\":" PAYLOAD ",\"priority\":50,\"valid_for\":86400}",
                   c->number);
}

static int http_next(struct connection *c, char *into) {
    (void)c;
    return sprintf(into, "GET /api/v1/jobs/next HTTP/1.1\r\n" HEADERS "\r\n");
}

static int http_complete(struct connection *c, char *into) {
    return sprintf(into,
                   "POST /api/v1/jobs/%s HTTP/1.1\r\n" HEADERS JSON
                   "Content-Length: 21\r\n\r\n{\"status\":\"complete\"}",
                   c->id);
}

static int http_hello(struct connection *c, char *into) {
    (void)c;
    return sprintf(into, "GET / HTTP/1.1\r\n" HEADERS "\r\n");
}

static int http_whole(struct connection *c) {
    char *end = strstr(c->buffer, "\r\n\r\n");
    if (!end) return 0;
    char *length = strcasestr(c->buffer, "\r\ncontent-length:");
    int size = end + 4 - c->buffer + (length && length < end ? atoi(length + 17) : 0);
    return c->have >= size ? size : 0;
}

static int http_job(struct connection *c) {
    int size = http_whole(c);
    if (size) keep_id(c, "\"uid\":\"", '"');
    return size;
}

/* --- beanstalkd ----------------------------------------------------------------- */

static int tube_put(struct connection *c, char *into) {
    return sprintf(into, "put 50 0 600 200\r\n" PAYLOAD "\r\n", c->number);
}

static int tube_reserve(struct connection *c, char *into) {
    (void)c;
    return sprintf(into, "reserve\r\n");
}

static int tube_delete(struct connection *c, char *into) {
    return sprintf(into, "delete %s\r\n", c->id);
}

static int line(struct connection *c) {
    char *end = memchr(c->buffer, '\n', c->have);
    return end ? end + 1 - c->buffer : 0;
}

static int tube_job(struct connection *c) {
    int head = line(c), size = head + 200 + 2;
    if (!head || c->have < size) return 0;
    keep_id(c, "RESERVED ", ' ');
    return size;
}

/* --- Redis ---------------------------------------------------------------------- */

static int list_push(struct connection *c, char *into) {
    return sprintf(into,
                   "*3\r\n$5\r\nLPUSH\r\n$1\r\nq\r\n$200\r\n" PAYLOAD "\r\n",
                   c->number);
}

static int list_move(struct connection *c, char *into) {
    (void)c;
    return sprintf(into, "*5\r\n$5\r\nLMOVE\r\n$1\r\nq\r\n$4\r\nwork\r\n"
                         "$5\r\nRIGHT\r\n$4\r\nLEFT\r\n");
}

static int list_remove(struct connection *c, char *into) {
    return sprintf(into,
                   "*4\r\n$4\r\nLREM\r\n$4\r\nwork\r\n$1\r\n1\r\n$200\r\n" PAYLOAD
                   "\r\n",
                   atol(c->id));
}

static int list_job(struct connection *c) {
    int head = line(c), size = head + 200 + 2;
    if (!head || c->have < size) return 0;
    keep_id(c, "{\"n\":\"", '"');
    return size;
}

static const struct protocol PROTOCOLS[] = {
    {"http", "hello", 1, {{http_hello, "HTTP/1.1 200", http_whole}}},
    {"http", "creates", 1, {{http_create, "HTTP/1.1 201", http_whole}}},
    {"http",
     "lifecycles",
     3,
     {{http_create, "HTTP/1.1 201", http_whole},
      {http_next, "HTTP/1.1 200", http_job},
      {http_complete, "HTTP/1.1 200", http_whole}}},
    {"beanstalkd", "creates", 1, {{tube_put, "INSERTED", line}}},
    {"beanstalkd",
     "lifecycles",
     3,
     {{tube_put, "INSERTED", line},
      {tube_reserve, "RESERVED", tube_job},
      {tube_delete, "DELETED", line}}},
    {"redis", "creates", 1, {{list_push, ":", line}}},
    {"redis",
     "lifecycles",
     3,
     {{list_push, ":", line},
      {list_move, "$200", list_job},
      {list_remove, ":1", line}}},
    {0},
};

/* --- the load ------------------------------------------------------------------- */

static const struct protocol *spoken;
static struct connection connections[CONNECTIONS_MAX];
static float samples[SAMPLES];
static long sampled, done, numbered;

static void ask(struct connection *c) {
    char request[BUFFER];
    if (c->step == 0) c->number = numbered++, c->began = now();
    int size = spoken->exchanges[c->step].request(c, request);
    if (send(c->fd, request, size, MSG_NOSIGNAL) != size) fail("a send came short");
    c->have = 0;
}

static void hear(struct connection *c) {
    const struct exchange *one = &spoken->exchanges[c->step];
    int got = recv(c->fd, c->buffer + c->have, BUFFER - c->have, 0);
    if (got <= 0) fail("the connection ended in the midst of an answer");
    c->have += got;
    c->buffer[c->have] = 0;
    int whole = one->whole(c);
    if (!whole && c->have == BUFFER) fail("too long an answer: %s", c->buffer);
    if (!whole) return;
    if (strncmp(c->buffer, one->expected, strlen(one->expected)) || whole != c->have)
        fail("%s was expected: %s", one->expected, c->buffer);
    if (c->step == 0 && sampled < SAMPLES)
        samples[sampled++] = (now() - c->began) / 1e3;
    c->step = (c->step + 1) % spoken->steps;
    if (c->step == 0) done++;
    ask(c);
}

static int connected(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (void *)&to, sizeof to)) fail("cannot connect to %d", port);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

static void open_all(int epoll, int port, int count) {
    for (int n = 0; n < count; n++) {
        connections[n].fd = connected(port);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[n]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, connections[n].fd, &event))
            fail("epoll_ctl");
    }
    for (int n = 0; n < count; n++) ask(&connections[n]);
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 6) fail("load PROTOCOL KIND PORT CONNECTIONS SECONDS");
    for (spoken = PROTOCOLS; spoken->name; spoken++)
        if (!strcmp(spoken->name, argv[1]) && !strcmp(spoken->kind, argv[2])) break;
    int count = atoi(argv[4]), epoll = epoll_create1(0);
    if (!spoken->name) fail("no such protocol or kind: %s %s", argv[1], argv[2]);
    if (count < 1 || count > CONNECTIONS_MAX) fail("no such number: %s", argv[4]);
    open_all(epoll, atoi(argv[3]), count);
    long long began = now(), until = began + (long long)(atof(argv[5]) * 1e9);
    while (now() < until) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, 1000);
        for (int n = 0; n < ready; n++) hear(events[n].data.ptr);
    }
    long long took = now() - began;
    if (!sampled) fail("no answer came");
    qsort(samples, sampled, sizeof *samples, by_size);
    printf("%ld %lld %.1f %.1f %.1f\n", done, took, samples[sampled / 2],
           samples[(long)(sampled * 0.99)], samples[sampled - 1]);
}
