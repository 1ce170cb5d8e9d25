/* The SQLite driver: errors, statements, transactions, opening, copying. One connection, WAL,
 * synchronous=FULL: a commit that was reported survives power loss, because the mark in L2 that the
 * cart still has to be written goes right after it. */
#include "tier/l3/l3_sqlite_int.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BUSY_TIMEOUT_MS  5000
#define WAL_TRIES_MAX    100
#define ANSWER_BYTES_MAX 32
#define DAY_S            86400
#define COPY_OPS         100000  /* steps of its machine between two questions whether to go on */
#define CACHE_PRAGMA     "-8192" /* KiB */
#define WAL_PRAGMA       "4000"  /* pages in the log before they go into the database: 16 MiB */

/* ---- errors -------------------------------------------------------------------------- */

/* What it is to cartd, and what an operator can do about it. */
#define ERRORS(X)                                                                                  \
    X(SQLITE_FULL, CE_NODISK, "make room, all goes on by itself")                                  \
    X(SQLITE_IOERR, CE_NODISK, "the disk below the file fails")                                    \
    X(SQLITE_READONLY, CE_NODISK, "let cartd's user write the file and its folder")                \
    X(SQLITE_CANTOPEN, CE_DB, "let cartd's user read and write the file and its folder")           \
    X(SQLITE_NOMEM, CE_NOMEM, "the machine has too little memory")                                 \
    X(SQLITE_BUSY, CE_DB, "another program holds the lock of the file")                            \
    X(SQLITE_CORRUPT, CE_DB, "restore the file from a copy")                                       \
    X(SQLITE_NOTADB, CE_DB, "l3 names a file that is something else")

int l3_lite_fail(struct l3 *l3)
{
    static const struct {
        int code, err;
        const char *advice;
    } errors[] = {
#define X(code, err, advice) {code, err, advice},
        ERRORS(X)
#undef X
    };
    struct sqlite *conn = l3->conn;
    const char *words = sqlite3_errmsg(conn->db);
    int code = sqlite3_errcode(conn->db) & 0xff;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i].code != code)
            continue;
        snprintf(l3->message, sizeof l3->message, "%s: %s", words, errors[i].advice);
        return errors[i].err;
    }
    return l3_fail(l3, CE_DB, words);
}

/* ---- binding values ------------------------------------------------------------------ */

struct call l3_lite_call(struct l3 *l3, enum statement which)
{
    struct sqlite *conn = l3->conn;
    return (struct call){.l3 = l3, .statement = conn->statements[which]};
}

void l3_lite_put_i64(struct call *call, int64_t value)
{
    if (!call->rc)
        call->rc = sqlite3_bind_int64(call->statement, ++call->column, value);
}

void l3_lite_put_null(struct call *call)
{
    if (!call->rc)
        call->rc = sqlite3_bind_null(call->statement, ++call->column);
}

void l3_lite_put_known_i64(struct call *call, bool known, int64_t value)
{
    if (known)
        l3_lite_put_i64(call, value);
    else
        l3_lite_put_null(call);
}

/* A null pointer would bind NULL, so empty is "". */
void l3_lite_put_blob(struct call *call, struct slice bytes)
{
    if (!call->rc)
        call->rc = sqlite3_bind_blob64(call->statement, ++call->column,
                                       bytes.len ? (const void *)bytes.bytes : "", bytes.len,
                                       SQLITE_STATIC);
}

void l3_lite_put_text(struct call *call, struct slice text)
{
    if (!l3_is_utf8(text))
        l3_lite_put_blob(call, text);
    else if (!call->rc)
        call->rc = sqlite3_bind_text64(call->statement, ++call->column,
                                       text.len ? (const char *)text.bytes : "", text.len,
                                       SQLITE_STATIC, SQLITE_UTF8);
}

void l3_lite_put_string(struct call *call, const char *text)
{
    if (!call->rc)
        call->rc = sqlite3_bind_text(call->statement, ++call->column, text, -1, SQLITE_STATIC);
}

static void write_two_digits(char *out, unsigned number)
{
    out[0] = (char)('0' + number / 10);
    out[1] = (char)('0' + number % 10);
}

struct slice l3_lite_write_time(struct sqlite *conn, uint64_t time_us, char out[TIME_BYTES_MAX])
{
    uint64_t seconds = time_us / 1000000;
    if (conn->day != seconds / DAY_S || !conn->day_text[0]) {
        struct tm tm;
        time_t of_day = (time_t)seconds;
        MUST(gmtime_r(&of_day, &tm) != NULL); /* any 64-bit count of microseconds has a year */
        MUST(strftime(conn->day_text, sizeof conn->day_text, "%Y-%m-%dT", &tm) > 0);
        conn->day = seconds / DAY_S;
    }
    size_t len = strlen(conn->day_text);
    unsigned second = (unsigned)(seconds % DAY_S), ms = (unsigned)(time_us % 1000000 / 1000);
    memcpy(out, conn->day_text, len);
    memcpy(out + len, "hh:mm:ss.mmmZ", sizeof "hh:mm:ss.mmmZ");
    write_two_digits(out + len, second / 3600);
    write_two_digits(out + len + 3, second / 60 % 60);
    write_two_digits(out + len + 6, second % 60);
    out[len + 9] = (char)('0' + ms / 100);
    write_two_digits(out + len + 10, ms % 100);
    return slice_of(out, len + sizeof "hh:mm:ss.mmmZ" - 1);
}

void l3_lite_put_time(struct call *call, uint64_t time_us)
{
    MUST(call->times_count < CALL_TIMES_MAX);
    l3_lite_put_text(call,
                     l3_lite_write_time(call->l3->conn, time_us, call->times[call->times_count++]));
}

int l3_lite_run(struct call *call)
{
    int err = 0;
    if (call->rc || sqlite3_step(call->statement) != SQLITE_DONE)
        err = l3_lite_fail(call->l3);
    sqlite3_reset(call->statement);
    return err;
}

int l3_lite_next_row(struct call *call)
{
    int rc = call->rc ? call->rc : sqlite3_step(call->statement);
    return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? CE_NOTFOUND : l3_lite_fail(call->l3);
}

struct slice l3_lite_column_bytes(struct call *call, int column)
{
    const void *bytes = sqlite3_column_blob(call->statement, column);
    return slice_of(bytes, (size_t)sqlite3_column_bytes(call->statement, column));
}

/* ---- transactions -------------------------------------------------------------------- */

/* The error that led here is already kept; one of the rollback would add nothing. It was prepared
 * before, so that it needs no memory: an open transaction would keep the lock of all writers. */
static void roll_back(struct l3 *l3)
{
    struct sqlite *conn = l3->conn;
    sqlite3_stmt *statement = conn->statements[STATEMENT_ROLLBACK];
    if (sqlite3_get_autocommit(conn->db))
        return;
    sqlite3_step(statement);
    sqlite3_reset(statement);
    l3->is_lost = !sqlite3_get_autocommit(conn->db);
}

int l3_lite_begin(struct l3 *l3)
{
    struct call call = l3_lite_call(l3, STATEMENT_BEGIN);
    return l3_lite_run(&call);
}

int l3_lite_finish(struct l3 *l3, int err)
{
    struct call commit = l3_lite_call(l3, STATEMENT_COMMIT);
    if (!err)
        err = l3_lite_run(&commit);
    if (err)
        roll_back(l3);
    return err;
}

/* ---- opening ------------------------------------------------------------------------- */

static int execute(struct l3 *l3, const char *sql)
{
    struct sqlite *conn = l3->conn;
    return sqlite3_exec(conn->db, sql, NULL, NULL, NULL) ? l3_lite_fail(l3) : 0;
}

/* A reader like any other: those who write go on meanwhile. */
int l3_lite_copy(struct l3 *l3, const char *path, int (*go_on)(void *ctx), void *ctx)
{
    struct sqlite *conn = l3->conn;
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", path);
    if (!sql)
        return l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
    sqlite3_progress_handler(conn->db, COPY_OPS, go_on, ctx);
    int err = execute(l3, sql);
    bool stopped = err && (sqlite3_errcode(conn->db) & 0xff) == SQLITE_INTERRUPT;
    sqlite3_progress_handler(conn->db, 0, NULL, NULL);
    sqlite3_free(sql);
    return stopped ? CE_STOPPED : err;
}

/* The first value of the first row as text, "" when there is none. */
static int ask(struct l3 *l3, const char *sql, char answer[ANSWER_BYTES_MAX])
{
    struct sqlite *conn = l3->conn;
    struct call call = {.l3 = l3};
    if (sqlite3_prepare_v2(conn->db, sql, -1, &call.statement, NULL))
        return l3_lite_fail(l3);
    int err = l3_lite_next_row(&call);
    const unsigned char *text = err ? NULL : sqlite3_column_text(call.statement, 0);
    snprintf(answer, ANSWER_BYTES_MAX, "%s", text ? (const char *)text : "");
    sqlite3_finalize(call.statement);
    return err == CE_NOTFOUND ? 0 : err;
}

/* Runs a question that has one right answer. */
static int insist(struct l3 *l3, const char *sql, const char *right, const char *words)
{
    char answer[ANSWER_BYTES_MAX];
    int err = ask(l3, sql, answer);
    if (err)
        return err;
    return strcmp(answer, right) == 0 ? 0 : l3_fail(l3, CE_DB, words);
}

/* Switching a new file to the log fails at once, whatever the time-out, while somebody else does
 * the same. So wait for the lock that the other holds, and look again. */
static int use_wal(struct l3 *l3)
{
    struct sqlite *conn = l3->conn;
    int err = CE_DB;
    for (int i = 0; i < WAL_TRIES_MAX && err; i++) {
        err = insist(l3, "PRAGMA journal_mode=WAL", "wal", "no write-ahead log possible there");
        if ((sqlite3_errcode(conn->db) & 0xff) != SQLITE_BUSY)
            return err;
        if (execute(l3, "BEGIN IMMEDIATE; ROLLBACK"))
            return CE_DB;
    }
    return err;
}

static int set_up(struct l3 *l3)
{
    struct sqlite *conn = l3->conn;
    sqlite3_extended_result_codes(conn->db, 1);
    sqlite3_busy_timeout(conn->db, BUSY_TIMEOUT_MS);
    int err = insist(l3, "PRAGMA encoding", "UTF-8", "the database is not in UTF-8");
    if (!err)
        err = use_wal(l3);
    if (!err) /* after a long reader the log has grown; give the space back */
        err = execute(l3, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=OFF;"
                          "PRAGMA journal_size_limit=67108864;"
                          "PRAGMA cache_size=" CACHE_PRAGMA ";"
                          "PRAGMA wal_autocheckpoint=" WAL_PRAGMA);
    return err;
}

/* 0 = our tables are not there. */
static int read_schema_version(struct l3 *l3, uint32_t *version)
{
    char answer[ANSWER_BYTES_MAX];
    *version = 0;
    int err = ask(l3, "SELECT count(*) FROM sqlite_master WHERE name='schema_version'", answer);
    if (err || strcmp(answer, "0") == 0)
        return err;
    err = ask(l3, "SELECT version FROM schema_version", answer);
    if (!err && (!num_u32(slice_str(answer), version) || *version == 0))
        err = l3_fail(l3, CE_DB, "table schema_version holds no version");
    return err;
}

static uint32_t newest_schema_version(void)
{
    uint32_t version = 0;
    while (l3_sqlite_schema_step(version + 1))
        version++;
    return version;
}

/* Reads the version again, under the write lock: another process may have been faster. */
static int upgrade_schema(struct l3 *l3)
{
    uint32_t version;
    int err = execute(l3, "BEGIN IMMEDIATE");
    if (!err)
        err = read_schema_version(l3, &version);
    while (!err && version < newest_schema_version())
        err = execute(l3, l3_sqlite_schema_step(++version));
    return err ? err : execute(l3, "COMMIT"); /* after an error the connection is closed */
}

static int check_schema(struct l3 *l3)
{
    uint32_t version;
    uint32_t newest = newest_schema_version();
    int err = read_schema_version(l3, &version);
    if (err || version == newest)
        return err;
    bool may_upgrade = version < newest && !l3->is_fixed;
    return may_upgrade ? upgrade_schema(l3) : l3_refuse_schema(l3, version, newest);
}

static int prepare_statements(struct l3 *l3)
{
    static const char *const texts[] = {
#define X(name, sql) sql,
        STATEMENTS(X)
#undef X
    };
    struct sqlite *conn = l3->conn;
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        if (sqlite3_prepare_v3(conn->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &conn->statements[i], NULL))
            return l3_lite_fail(l3);
    }
    return 0;
}

/* Without counting its memory SQLite takes no lock of the whole process at each malloc. Too late,
 * when somebody else uses it already: then it counts. */
static void set_up_library(void)
{
    int rc = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    MUST(rc == SQLITE_OK || rc == SQLITE_MISUSE);
}

int l3_lite_open(struct l3 *l3, const char *path)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    MUST(pthread_once(&once, set_up_library) == 0);
    if (path[0] == '\0')
        return l3_fail(l3, CE_INVAL, "sqlite: needs the path of a file");
    struct sqlite *conn = calloc(1, sizeof *conn);
    if (!conn)
        return l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
    l3->conn = conn;
    /* NOMUTEX: a connection belongs to one thread at a time (l3.h). */
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &conn->db, flags, NULL))
        return l3_lite_fail(l3);
    int err = set_up(l3);
    if (!err)
        err = check_schema(l3);
    if (!err)
        err = l3_lite_lines_open(l3);
    return err ? err : prepare_statements(l3);
}

void l3_lite_close(struct l3 *l3)
{
    struct sqlite *conn = l3->conn;
    if (!conn)
        return;
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(conn->statements[i]);
    MUST(sqlite3_close(conn->db) == SQLITE_OK);
    l3_lite_lines_close(conn);
    free(conn);
    l3->conn = NULL;
}
