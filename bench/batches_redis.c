/* Redis' lists: LPUSH, LMOVE to a list of what is under way, LREM from it, each job by a
 * command of its own, those of a batch in one pipeline. */
#include "batches.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *reply(struct stream *s, char type) {
    char *line = take_until(s, "\r\n");
    if (*line != type) fail("%c was expected: %s", type, line);
    return line + 1;
}

void connect_to(struct worker *w) {
    struct stream *s = w->wire = malloc(sizeof *s);
    *s = stream_to(w->port);
}

void enqueue(struct worker *w) {
    char *end = w->request;
    for (long n = 0; n < w->batch; n++)
        end += sprintf(end, "*3\r\n$5\r\nLPUSH\r\n$1\r\nq\r\n$%d\r\n%s\r\n",
                       PAYLOAD_BYTES, w->payloads[n]);
    send_all(w->wire, w->request, end - w->request);
    for (long n = 0; n < w->batch; n++) reply(w->wire, ':');
}

void claim(struct worker *w) {
    char *end = w->request;
    for (long n = 0; n < w->batch; n++)
        end += sprintf(end, "*5\r\n$5\r\nLMOVE\r\n$1\r\nq\r\n$4\r\nwork\r\n"
                            "$5\r\nRIGHT\r\n$4\r\nLEFT\r\n");
    send_all(w->wire, w->request, end - w->request);
    for (long n = 0; n < w->batch; n++) {
        if (atoi(reply(w->wire, '$')) != PAYLOAD_BYTES) fail("no job to take");
        memcpy(w->payloads[n], take(w->wire, PAYLOAD_BYTES + 2), PAYLOAD_BYTES);
    }
    w->claimed = w->batch;
}

static char *removal(struct worker *w, long n, char *into) {
    /* From the end where the oldest are: the first that it looks at is the one. */
    return into + sprintf(into, "*4\r\n$4\r\nLREM\r\n$4\r\nwork\r\n$2\r\n-1\r\n$%d\r\n"
                                "%s\r\n", PAYLOAD_BYTES, w->payloads[n]);
}

static void removed(struct worker *w) {
    if (atoi(reply(w->wire, ':')) != 1) fail("a job was not there to be removed");
}

void finish(struct worker *w) {
    char *end = w->request;
    for (long n = 0; n < w->claimed; n++) {
        end = removal(w, n, end);
        if (w->manner != ONE_BY_ONE) continue;
        send_all(w->wire, w->request, end - w->request);
        removed(w);
        end = w->request;
    }
    if (w->manner == ONE_BY_ONE) return;
    send_all(w->wire, w->request, end - w->request);
    for (long n = 0; n < w->claimed; n++) removed(w);
}
