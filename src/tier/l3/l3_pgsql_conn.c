/* The PostgreSQL driver: connection, errors, schema. Nothing here waits without an end: libpq's own
 * time-outs while connecting, ours for every answer, the server's for every statement. */
#ifdef HAVE_LIBPQ
#include "tier/l3/l3_pgsql_int.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_TIMEOUT_MS 15000 /* nothing moves on the connection; above the server's limit */

/* SQLSTATE or the beginning of one, what it is to cartd, and what an operator can do about it. */
#define ERRORS(X)                                                                                  \
    X("25006", CE_DB,                                                                              \
      "the server is read-only (a standby?); name all servers in the URL with "                    \
      "target_session_attrs=read-write")                                                           \
    X("42501", CE_DB, "give the user the rights of doc/sql.md")                                    \
    X("3D000", CE_DB, "create the database first")                                                 \
    X("53100", CE_NODISK, "the server's disk is full")                                             \
    X("53200", CE_NOMEM, "the server is out of memory")                                            \
    X("53300", CE_DB, "raise max_connections")                                                     \
    X("58", CE_NODISK, "the server's disk fails")                                                  \
    X("57014", CE_DB, "the statement took too long")                                               \
    X("55P03", CE_DB, "somebody else holds a lock on the tables")                                  \
    X("42P01", CE_DB, "a table of cartd is missing")                                               \
    X("42703", CE_DB, "a column is missing: the tables are not those of doc/sql.md")               \
    X("40", CE_DB, "three times in a row: another program writes to the tables of cartd")          \
    X("57P01", CE_DB, "the server is being stopped")                                               \
    X("57P02", CE_DB, "the server has crashed and starts again")

/* ---- errors -------------------------------------------------------------------------- */

bool l3_pg_failed_with(const struct l3 *l3, const char *state)
{
    const struct pgsql *pg = l3->conn;
    return strncmp(pg->state, state, strlen(state)) == 0;
}

/* libpq has a line for each host that it tried, and a tab in front of what belongs to the one
 * before; here all becomes one line. */
static int fail_libpq(struct l3 *l3, int err, const char *words)
{
    size_t len = 0;
    l3->message[0] = '\0';
    while (*words && len + 1 < sizeof l3->message) {
        size_t line = strcspn(words, "\n");
        int put = snprintf(l3->message + len, sizeof l3->message - len, "%s%.*s", len ? "; " : "",
                           (int)line, words);
        len += (size_t)put;
        words += line;
        words += strspn(words, "\n\t");
    }
    return err;
}

static int fail_result(struct l3 *l3, const PGresult *result)
{
    static const struct {
        const char *state;
        int err;
        const char *advice;
    } errors[] = {
#define X(state, err, advice) {state, err, advice},
        ERRORS(X)
#undef X
    };
    struct pgsql *pg = l3->conn;
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(pg->state, sizeof pg->state, "%s", state ? state : "");
    if (!words)
        return fail_libpq(l3, CE_DB, PQresultErrorMessage(result));
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (!l3_pg_failed_with(l3, errors[i].state))
            continue;
        snprintf(l3->message, sizeof l3->message, "%s: %s", words, errors[i].advice);
        return errors[i].err;
    }
    return fail_libpq(l3, CE_DB, words);
}

/* ---- question and answer ------------------------------------------------------------- */

/* Until an answer can be had without waiting. */
static int wait_answer(struct l3 *l3)
{
    struct pgsql *pg = l3->conn;
    for (;;) {
        int unsent = PQflush(pg->conn);
        if (unsent < 0)
            return fail_libpq(l3, CE_DB, PQerrorMessage(pg->conn));
        if (unsent == 0 && !PQisBusy(pg->conn))
            return 0;
        struct pollfd wait = {.fd = PQsocket(pg->conn),
                              .events = (short)(POLLIN | (unsent ? POLLOUT : 0))};
        int ready = poll(&wait, 1, ANSWER_TIMEOUT_MS);
        if (ready == 0)
            return l3_fail(l3, CE_DB, "the server does not answer");
        if (ready > 0 && (wait.revents & ~POLLOUT) && !PQconsumeInput(pg->conn))
            return fail_libpq(l3, CE_DB, PQerrorMessage(pg->conn));
    }
}

/* All answers to what was sent; the last good one is the caller's, the first error counts. */
static int take_answers(struct l3 *l3, int sent, PGresult **result)
{
    struct pgsql *pg = l3->conn;
    PGresult *last = NULL;
    pg->state[0] = '\0';
    int err = sent ? 0 : fail_libpq(l3, CE_DB, PQerrorMessage(pg->conn));
    bool more = !err;
    while (more) {
        int waited = wait_answer(l3);
        PGresult *next = waited ? NULL : PQgetResult(pg->conn);
        ExecStatusType status = PQresultStatus(next);
        if (waited)
            err = waited;
        else if (next && !err && status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
            err = fail_result(l3, next);
        more = next != NULL;
        if (more) {
            PQclear(last);
            last = next;
        }
    }
    if (!err && result)
        *result = last;
    else
        PQclear(last);
    return err;
}

int l3_pg_query(struct l3 *l3, const char *sql, PGresult **result)
{
    struct pgsql *pg = l3->conn;
    return take_answers(l3, PQsendQuery(pg->conn, sql), result);
}

int l3_pg_prepare(struct l3 *l3, const char *name, const char *sql)
{
    struct pgsql *pg = l3->conn;
    return take_answers(l3, PQsendPrepare(pg->conn, name, sql, 0, NULL), NULL);
}

int l3_pg_run(struct l3 *l3, const char *name, PGresult **result)
{
    struct pgsql *pg = l3->conn;
    const char *values[PG_PARAMS_MAX];
    int lens[PG_PARAMS_MAX], formats[PG_PARAMS_MAX];
    for (size_t i = 0; i < pg->params_count; i++) {
        values[i] = pg->params[i].len ? (const char *)pg->params[i].bytes : ""; /* NULL is NULL */
        lens[i] = (int)pg->params[i].len;
        formats[i] = 1;
    }
    int count = (int)pg->params_count;
    pg->params_count = 0;
    return take_answers(l3, PQsendQueryPrepared(pg->conn, name, count, values, lens, formats, 1),
                        result);
}

/* The first value of the first row as text, "" when there is none. */
static int ask(struct l3 *l3, const char *sql, char *answer, size_t answer_bytes)
{
    PGresult *result;
    int err = l3_pg_query(l3, sql, &result);
    if (err)
        return err;
    snprintf(answer, answer_bytes, "%s", PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return 0;
}

/* ---- connecting ---------------------------------------------------------------------- */

/* What libpq says of a URL may repeat parts of it, and so a password: only what comes before. */
static int check_url(struct l3 *l3, const char *url)
{
    char *words = NULL;
    PQconninfoOption *parsed = PQconninfoParse(url, &words);
    if (parsed) {
        PQconninfoFree(parsed);
        return 0;
    }
    const char *said = words ? words : err_text(CE_NOMEM);
    snprintf(l3->message, sizeof l3->message, "the URL of the database: %.*s",
             (int)strcspn(said, "\":\n"), said);
    PQfreemem(words);
    return CE_INVAL;
}

static void drop_notice(void *arg, const char *words)
{
    (void)arg, (void)words;
}

/* Ours first, where the URL may say otherwise, then the URL. */
static int connect_server(struct l3 *l3, const char *url)
{
    static const char *const names[] = {
        "connect_timeout",  "keepalives_idle",  "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "fallback_application_name",
        "dbname",           "client_encoding",  NULL};
    const char *const values[] = {"5", "10", "5", "3", "15000", "cartd", url, "UTF8", NULL};
    struct pgsql *pg = l3->conn;
    pg->conn = PQconnectdbParams(names, values, 1);
    if (!pg->conn)
        return l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
    if (PQstatus(pg->conn) != CONNECTION_OK)
        return fail_libpq(l3, CE_DB, PQerrorMessage(pg->conn));
    PQsetNoticeProcessor(pg->conn, drop_notice, NULL);
    if (PQsetnonblocking(pg->conn, 1))
        return fail_libpq(l3, CE_DB, PQerrorMessage(pg->conn));
    return 0;
}

static int set_up(struct l3 *l3)
{
    struct pgsql *pg = l3->conn;
    const char *encoding = PQparameterStatus(pg->conn, "server_encoding");
    if (!encoding || strcmp(encoding, "UTF8") != 0)
        return l3_fail(l3, CE_DB, "the database is not in UTF8");
    /* A commit that is reported must survive power loss. Plans for the arrays as they are. */
    int err = l3_pg_query(l3,
                          "SET statement_timeout = '10s'; SET lock_timeout = '5s';"
                          "SET idle_in_transaction_session_timeout = '30s';"
                          "SET plan_cache_mode = force_custom_plan;"
                          "SELECT set_config('synchronous_commit', 'on', false)"
                          " WHERE current_setting('synchronous_commit') = 'off'",
                          NULL);
    char read_only[8] = "";
    if (!err)
        err = ask(l3, "SHOW transaction_read_only", read_only, sizeof read_only);
    if (!err && strcmp(read_only, "off") != 0)
        err = l3_fail(l3, CE_DB,
                      "the server is read-only (a standby?); name all servers in the URL with "
                      "target_session_attrs=read-write");
    return err;
}

/* ---- the schema ---------------------------------------------------------------------- */

/* 0 = our tables are not there. */
static int read_schema_version(struct l3 *l3, uint32_t *version)
{
    char answer[NUM_DIGITS_MAX + 1];
    *version = 0;
    /* Reading pg_class makes the server look whether its cache of names is up to date. */
    int err = ask(l3, "SELECT count(*) FROM pg_class WHERE oid = to_regclass('schema_version')",
                  answer, sizeof answer);
    if (err || strcmp(answer, "0") == 0)
        return err;
    err = ask(l3, "SELECT version FROM schema_version", answer, sizeof answer);
    if (!err && (!num_u32(slice_str(answer), version) || *version == 0))
        err = l3_fail(l3, CE_DB, "table schema_version holds no version");
    return err;
}

/* Reads the version again, under a lock: another process may have been faster. */
static int upgrade_schema(struct l3 *l3, uint32_t newest)
{
    uint32_t version = 0;
    int err = l3_pg_query(
        l3, "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('cartd.schema', 0))", NULL);
    if (!err)
        err = read_schema_version(l3, &version);
    while (!err && version < newest)
        err = l3_pg_query(l3, l3_pgsql_schema_step(++version), NULL);
    return err ? err
               : l3_pg_query(l3, "COMMIT", NULL); /* after an error the connection is closed */
}

static int check_schema(struct l3 *l3)
{
    uint32_t version;
    uint32_t newest = 0;
    while (l3_pgsql_schema_step(newest + 1))
        newest++;
    int err = read_schema_version(l3, &version);
    if (err || version == newest)
        return err;
    bool may_upgrade = version < newest && !l3->is_fixed;
    return may_upgrade ? upgrade_schema(l3, newest) : l3_refuse_schema(l3, version, newest);
}

/* ---- opening ------------------------------------------------------------------------- */

int l3_pg_open(struct l3 *l3, const char *where)
{
    struct buf url = {0};
    struct pgsql *pg = calloc(1, sizeof *pg);
    l3->conn = pg;
    if (!pg || buf_printf(&url, "postgresql:%s", where) || buf_append(&url, "", 1)) {
        buf_free(&url);
        return l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
    }
    int err = check_url(l3, (const char *)url.bytes);
    if (!err)
        err = connect_server(l3, (const char *)url.bytes);
    buf_free(&url);
    if (!err)
        err = set_up(l3);
    return err ? err : check_schema(l3);
}

void l3_pg_close(struct l3 *l3)
{
    struct pgsql *pg = l3->conn;
    if (!pg)
        return;
    PQfinish(pg->conn);
    for (size_t i = 0; i < PG_PARAMS_MAX; i++)
        buf_free(&pg->params[i]);
    buf_free(&pg->text);
    free(pg);
    l3->conn = NULL;
}

#endif
