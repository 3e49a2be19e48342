/* JobEngine's relay dialect: POST /enqueue/batch, GET /next, and DELETE /complete, which
 * takes one job a request. Those of a batch go in pipelines over a few connections. */
#define _GNU_SOURCE
#include "batches.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* A daemon works on 32 requests of a connection in one turn, unless told otherwise:
     * over so many, the batch needs no more than a few. */
    STREAMS = 8
};

#define HEADERS "Host: localhost\r\nX-Name: bench\r\n"
#define JOB "{\"id\":\"%s\",\"queue\":\"bench\",\"timeout\":600,\"max_retries\":3," \
            "\"payload\":%s}"
#define JOB_BYTES (sizeof JOB - 1 - 4 + ID + PAYLOAD_BYTES)

static struct stream *first(struct worker *w) { return w->wire; }

void connect_to(struct worker *w) {
    struct stream *s = w->wire = calloc(STREAMS, sizeof *s);
    for (int n = 0; n < STREAMS; n++) s[n] = stream_to(w->port);
}

/* The body of one answer, which must have *status*. */
static char *answer(struct stream *s, int status, size_t *size) {
    char *head = take_until(s, "\r\n\r\n");
    char *length = strcasestr(head, "\r\ncontent-length:");
    *size = length ? strtoul(length + 17, 0, 10) : 0;
    int told = atoi(head + 9);
    char *body = take(s, *size);
    if (told != status) fail("%d was expected: %d %.*s", status, told, (int)*size, body);
    return body;
}

void enqueue(struct worker *w) {
    size_t size = w->batch * (JOB_BYTES + 1) + 1; /* commas and brackets */
    char *end = w->request;
    end += sprintf(end, "POST /enqueue/batch HTTP/1.1\r\n" HEADERS
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                   size);
    for (long n = 0; n < w->batch; n++)
        end += sprintf(end, "%c" JOB, n ? ',' : '[', w->ids[n], w->payloads[n]);
    *end++ = ']';
    send_all(first(w), w->request, end - w->request);
    answer(first(w), 202, &size);
}

void claim(struct worker *w) {
    size_t size;
    char *end = w->request + sprintf(w->request, "GET /next?queue=bench&num_jobs=%ld "
                                     "HTTP/1.1\r\n" HEADERS "\r\n", w->batch);
    send_all(first(w), w->request, end - w->request);
    char *at = answer(first(w), 200, &size), *until = at + size;
    for (w->claimed = 0; (at = memmem(at, until - at, "\"id\":\"", 6)); w->claimed++) {
        if (w->claimed == w->batch || until - at < 6 + ID) fail("too many jobs");
        memcpy(w->ids[w->claimed], at + 6, ID);
        at += 6 + ID;
    }
    if (w->claimed != w->batch) fail("%ld jobs came", w->claimed);
}

static char *completion(const char *id, char *into) {
    return into + sprintf(into, "DELETE /complete?queue=bench&job_id=%s HTTP/1.1\r\n"
                                HEADERS "\r\n", id);
}

static void complete_one_by_one(struct worker *w) {
    size_t size;
    for (long n = 0; n < w->claimed; n++) {
        char *end = completion(w->ids[n], w->request);
        send_all(first(w), w->request, end - w->request);
        answer(first(w), 200, &size);
    }
}

static long share(struct worker *w, int stream) {
    return (w->claimed + stream) / STREAMS;
}

void finish(struct worker *w) {
    if (w->manner == ONE_BY_ONE) {
        complete_one_by_one(w);
        return;
    }
    size_t size;
    long n = 0;
    for (int s = 0; s < STREAMS; s++) {
        char *end = w->request;
        for (long left = share(w, s); left; left--) end = completion(w->ids[n++], end);
        if (end > w->request) send_all(first(w) + s, w->request, end - w->request);
    }
    for (int s = 0; s < STREAMS; s++)
        for (long left = share(w, s); left; left--) answer(first(w) + s, 200, &size);
}
