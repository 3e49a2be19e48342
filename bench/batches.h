/* What batches.c asks of a protocol: jobs by the batch, over a connection that waits.
 *
 * One worker is one thread. Every act is durable when it returns; what goes wrong ends
 * the program with code 1.
 */
#include <stddef.h>

enum {
    BATCH_MAX = 1000,
    ID = 28,            /* bytes of a job's id: no two jobs of any run share one */
    PAYLOAD_BYTES = 200,
    REQUEST = 1 << 20   /* a request of 1,000 jobs and their framing is about 300 KB */
};

/* How jobs are finished: by one request where the protocol has it; by one request each,
 * all under way at once; or by one request each, the next after the answer. */
enum manner { TOGETHER, PIPELINED, ONE_BY_ONE };

struct worker {
    int port, number;
    long batch, numbered, done;
    long claimed;                       /* jobs in hand */
    char ids[BATCH_MAX][ID + 1];
    char payloads[BATCH_MAX][PAYLOAD_BYTES + 1];
    enum manner manner;
    long long busy;                     /* nanoseconds in claims, where they count */
    void *wire;                         /* the protocol's own */
    char request[REQUEST];
};

/* What a protocol defines. */
void connect_to(struct worker *);
void enqueue(struct worker *);          /* the jobs of ids and payloads, batch of them */
void claim(struct worker *);            /* as many: their ids, and payloads if told by
                                           them, replace what was there */
void finish(struct worker *);           /* those in hand, in w->manner */

/* What batches.c gives: sockets, and a reader of them. */
struct stream {
    int fd;
    size_t at, have;                    /* the bytes read and not yet taken */
    char *buffer;
};

__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *what, ...);
struct stream stream_to(int port);
void send_all(struct stream *, const char *bytes, size_t size);
char *take_until(struct stream *, const char *end); /* ended by a 0 in place of *end* */
char *take(struct stream *, size_t size);
