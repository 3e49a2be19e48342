/* PostgreSQL by libpq: prepared statements, arrays in binary, SKIP LOCKED. The table is
 * made by batches.py. */
#include "batches.h"
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT = 25, TEXTS = 1009,  /* the oids of text and text[] */
    ARRAY_HEAD = 20,
    ARRAY_BYTES = ARRAY_HEAD + BATCH_MAX * (4 + PAYLOAD_BYTES)
};

struct statement {
    const char *name, *sql;
    int parameters;
};

/* What was tried and is slower: ON CONFLICT DO NOTHING, WHERE id IN (SELECT ...), and an
 * index of the taken ones, too. */
static const struct statement STATEMENTS[] = {
    {"put", "INSERT INTO job (queue, id, payload) SELECT 'bench', * FROM"
            " unnest($1::text[], $2::text[])", 2},
    {"take", "UPDATE job SET taken = true, expires_at = now() + timeout * '1s'::interval"
             " WHERE ctid = ANY (ARRAY(SELECT ctid FROM job WHERE queue = 'bench'"
             " AND NOT taken AND run_at <= now() ORDER BY priority DESC, run_at"
             " LIMIT $1::text::int FOR UPDATE SKIP LOCKED)) RETURNING id, payload", 1},
    {"finish", "DELETE FROM job WHERE queue = 'bench' AND id = ANY ($1::text[])", 1},
    {"finish one", "DELETE FROM job WHERE queue = 'bench' AND id = $1::text", 1},
    {0},
};

static void check(PGconn *c, PGresult *found, ExecStatusType expected) {
    if (PQresultStatus(found) != expected)
        fail("%s: %s", PQresStatus(PQresultStatus(found)), PQerrorMessage(c));
}

/* A new table has no statistics, and the plans made without are poor: what one in service
 * gets, its two indexes, in their order, is all that is allowed. */
#define PLANS "-c enable_sort=off -c enable_bitmapscan=off -c enable_seqscan=off"

void connect_to(struct worker *w) {
    char where[200];
    snprintf(where, sizeof where, "host=127.0.0.1 port=%d user=bench dbname=postgres"
             " sslmode=disable gssencmode=disable options='" PLANS "'", w->port);
    PGconn *c = w->wire = PQconnectdb(where);
    if (PQstatus(c) != CONNECTION_OK) fail("%s", PQerrorMessage(c));
    for (const struct statement *s = STATEMENTS; s->name; s++) {
        PGresult *made = PQprepare(c, s->name, s->sql, s->parameters, 0);
        check(c, made, PGRES_COMMAND_OK);
        PQclear(made);
    }
}

static char *put_int(char *into, uint32_t value) {
    value = htonl(value);
    memcpy(into, &value, sizeof value);
    return into + sizeof value;
}

/* A text[] as PostgreSQL takes it in binary; its bytes are returned. */
static int array(char *into, const char *texts, size_t apart, size_t size, long count) {
    const uint32_t head[] = {1, 0, TEXT, count, 1};
    char *end = into;
    for (int n = 0; n < 5; n++) end = put_int(end, head[n]);
    for (long n = 0; n < count; n++) {
        end = put_int(end, size);
        memcpy(end, texts + n * apart, size);
        end += size;
    }
    return end - into;
}

static int ids(struct worker *w, char *into, long count) {
    return array(into, w->ids[0], sizeof w->ids[0], ID, count);
}

/* Run a statement on binary values; as many rows must be changed. */
static void run(struct worker *w, const char *name, int given, const char *values[],
                const int sizes[], long changed) {
    static const int BINARY[] = {1, 1};
    PGresult *done = PQexecPrepared(w->wire, name, given, values, sizes, BINARY, 0);
    check(w->wire, done, PGRES_COMMAND_OK);
    if (atol(PQcmdTuples(done)) != changed) fail("%s rows by %s", PQcmdTuples(done), name);
    PQclear(done);
}

void enqueue(struct worker *w) {
    char *payloads = w->request + ARRAY_BYTES;
    const char *values[] = {w->request, payloads};
    const int sizes[] = {
        ids(w, w->request, w->batch),
        array(payloads, w->payloads[0], sizeof w->payloads[0], PAYLOAD_BYTES, w->batch),
    };
    run(w, "put", 2, values, sizes, w->batch);
}

void claim(struct worker *w) {
    char limit[8];
    snprintf(limit, sizeof limit, "%ld", w->batch);
    const char *values[] = {limit};
    PGresult *taken = PQexecPrepared(w->wire, "take", 1, values, 0, 0, 1);
    check(w->wire, taken, PGRES_TUPLES_OK);
    /* Fewer than asked for: what others had locked when it began was skipped. */
    w->claimed = PQntuples(taken);
    for (long n = 0; n < w->claimed; n++) {
        if (PQgetlength(taken, n, 0) != ID) fail("an id of another size");
        memcpy(w->ids[n], PQgetvalue(taken, n, 0), ID);
    }
    PQclear(taken);
}

static void finish_together(struct worker *w) {
    const char *values[] = {w->request};
    const int sizes[] = {ids(w, w->request, w->claimed)};
    run(w, "finish", 1, values, sizes, w->claimed);
}

static void finish_one_by_one(struct worker *w) {
    for (long n = 0; n < w->claimed; n++) {
        const char *values[] = {w->ids[n]};
        const int sizes[] = {ID};
        run(w, "finish one", 1, values, sizes, 1);
    }
}

/* The next result of the pipeline must be *expected*. */
static void expect(PGconn *c, ExecStatusType expected) {
    PGresult *found = PQgetResult(c);
    check(c, found, expected);
    PQclear(found);
    if (expected != PGRES_PIPELINE_SYNC && PQgetResult(c)) fail("more than one result");
}

/* A sync after each: each is a transaction of its own, as each of our requests is. */
static void finish_pipelined(struct worker *w) {
    PGconn *c = w->wire;
    if (!PQenterPipelineMode(c)) fail("%s", PQerrorMessage(c));
    for (long n = 0; n < w->claimed; n++) {
        const char *values[] = {w->ids[n]};
        if (!PQsendQueryPrepared(c, "finish one", 1, values, 0, 0, 0)
            || !PQpipelineSync(c))
            fail("%s", PQerrorMessage(c));
    }
    for (long n = 0; n < w->claimed; n++) {
        expect(c, PGRES_COMMAND_OK);
        expect(c, PGRES_PIPELINE_SYNC);
    }
    if (!PQexitPipelineMode(c)) fail("%s", PQerrorMessage(c));
}

static void (*const MANNERS[])(struct worker *) = {
    [TOGETHER] = finish_together,
    [PIPELINED] = finish_pipelined,
    [ONE_BY_ONE] = finish_one_by_one,
};

void finish(struct worker *w) { if (w->claimed) MANNERS[w->manner](w); }
