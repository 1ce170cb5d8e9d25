/* The SQLite driver. One connection, WAL, synchronous=FULL: a commit that was reported survives
 * power loss, because the mark in L2 that the cart still has to be written goes right after it.
 *
 * A flush: BEGIN IMMEDIATE; per cart the row, guarded by its revision, then its lines: the rows
 * that are there are read and compared, what is gone is deleted, what differs updated, what is new
 * inserted; COMMIT. Whatever fails rolls everything back. Statements live as long as the
 * connection. */
#include "tier/l3/l3_int.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BUSY_TIMEOUT_MS  5000
#define WAL_TRIES_MAX    100
#define ANSWER_BYTES_MAX 32
#define TIME_BYTES_MAX   32
#define DAY_S            86400
#define EACH_ROWS        256
#define EACH_BYTES       (1u << 20) /* ... and about so much memory for them */
#define COPY_OPS         100000  /* steps of its machine between two questions whether to go on */
#define CACHE_PRAGMA     "-8192" /* KiB */
#define WAL_PRAGMA       "4000"  /* pages in the log before they go into the database: 16 MiB */

#define STATEMENTS(X)                                                                              \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(CART_INSERT, "INSERT INTO cart (cart_id, state, currency, version, cas, lines_count, qty, "  \
                   "amount, checked_qty, checked_amount, updated_at, expires_at, rev, image) "     \
                   "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14) "                      \
                   "ON CONFLICT (cart_id) DO NOTHING")                                             \
    X(CART_UPDATE, "UPDATE cart SET state=?2, currency=?3, version=?4, cas=?5, lines_count=?6, "   \
                   "qty=?7, amount=?8, checked_qty=?9, checked_amount=?10, updated_at=?11, "       \
                   "expires_at=?12, rev=?13, image=?14 WHERE cart_id=?1 AND rev=?13-1")            \
    X(CART_LOAD, "SELECT image, rev FROM cart WHERE cart_id=?1")                                   \
    X(CART_MEND, "UPDATE cart" L3_REV_MEND "?1")                                                   \
    X(CART_EACH, "SELECT image, rev, cart_id FROM cart WHERE cart_id>?1 ORDER BY cart_id")         \
    X(EVENT_PUT, "INSERT INTO cart_event (id, aggregatetype, aggregateid, type, payload, "         \
                 "version, created_at) VALUES (?1,'cart',?2,?3,?4,?5,?6) "                         \
                 "ON CONFLICT (id) DO NOTHING")                                                    \
    X(INBOX_READ,                                                                                  \
      "SELECT " L3_INBOX_COLUMNS ", coalesce(CAST(strftime('%s', taken_at) AS INTEGER), 0) "       \
      "FROM cart_inbox WHERE status=?1 AND id>?2 ORDER BY id LIMIT ?3")                            \
    X(INBOX_TAKE, "UPDATE cart_inbox SET status='taken', taken_at=?2 WHERE id=?1")                 \
    X(INBOX_DONE, "DELETE FROM cart_inbox WHERE id=?1")                                            \
    X(INBOX_FAILED, "UPDATE cart_inbox SET status='failed', reason=?2 WHERE id=?1")                \
    X(LINES, "SELECT line, sku, qty, checked, add_price, shop, ext, added_at, updated_at "         \
             "FROM cart_line WHERE cart_id=?1")                                                    \
    X(LINE_DELETE, "DELETE FROM cart_line WHERE cart_id=?1 AND line=?2")                           \
    /* sku is not set: then the index on it is left alone, too */                                  \
    X(LINE_UPDATE, "UPDATE cart_line SET qty=?4, checked=?5, add_price=?6, shop=?7, ext=?8, "      \
                   "added_at=?9, updated_at=?10 WHERE cart_id=?1 AND line=?2 AND sku=?3")          \
    X(LINE_INSERT, "INSERT INTO cart_line (cart_id, line, sku, qty, checked, add_price, shop, "    \
                   "ext, added_at, updated_at) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)")

enum statement {
#define X(name, sql) STATEMENT_##name,
    STATEMENTS(X)
#undef X
        STATEMENT_COUNT
};

/* A line on its way, and what its row needs. */
struct line_write {
    const struct l3_line *line;
    enum { LINE_IS_NEW, LINE_DIFFERS, LINE_IS_SAME } need;
};

struct sqlite {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    struct line_write *lines; /* scratch: the lines of one cart by key */
    size_t lines_cap;
    uint64_t day; /* the day that day_text is of; most times are of the same one */
    char day_text[TIME_BYTES_MAX];
};

/* ---- errors -------------------------------------------------------------------------- */

static int fail_with(struct l3 *l3, int err, const char *words)
{
    snprintf(l3->message, sizeof l3->message, "%s", words);
    return err;
}

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

/* Turns the connection's last error into a CE_* and keeps its words. */
static int fail(struct l3 *l3)
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
    return fail_with(l3, CE_DB, words);
}

/* ---- binding values ------------------------------------------------------------------ */

/* A statement being filled, column by column; the first error sticks and `run` reports it. */
struct call {
    struct l3 *l3;
    sqlite3_stmt *statement;
    int column;
    int rc;
};

static struct call prepare_call(struct l3 *l3, enum statement which)
{
    struct sqlite *conn = l3->conn;
    return (struct call){.l3 = l3, .statement = conn->statements[which]};
}

static void put_i64(struct call *call, int64_t value)
{
    if (!call->rc)
        call->rc = sqlite3_bind_int64(call->statement, ++call->column, value);
}

static void put_null(struct call *call)
{
    if (!call->rc)
        call->rc = sqlite3_bind_null(call->statement, ++call->column);
}

static void put_known_i64(struct call *call, bool known, int64_t value)
{
    if (known)
        put_i64(call, value);
    else
        put_null(call);
}

/* Borrows the bytes until `run` has returned. A null pointer would bind NULL, so empty is "". */
static void put_blob(struct call *call, struct slice bytes)
{
    if (!call->rc)
        call->rc = sqlite3_bind_blob64(call->statement, ++call->column,
                                       bytes.len ? (const void *)bytes.bytes : "", bytes.len,
                                       SQLITE_STATIC);
}

/* Text where the bytes are text. Others become a blob with the same bytes: readers in other
 * languages decode text columns and would stumble. Borrows as put_blob. */
static void put_text(struct call *call, struct slice text)
{
    if (!l3_is_utf8(text))
        put_blob(call, text);
    else if (!call->rc)
        call->rc = sqlite3_bind_text64(call->statement, ++call->column,
                                       text.len ? (const char *)text.bytes : "", text.len,
                                       SQLITE_STATIC, SQLITE_UTF8);
}

static void put_copy(struct call *call, const char *text)
{
    if (!call->rc)
        call->rc = sqlite3_bind_text(call->statement, ++call->column, text, -1, SQLITE_TRANSIENT);
}

static void write_two_digits(char *out, unsigned number)
{
    out[0] = (char)('0' + number / 10);
    out[1] = (char)('0' + number % 10);
}

/* ISO 8601 in UTC with milliseconds, so that text order is time order. */
static struct slice write_time(struct sqlite *conn, uint64_t time_us, char out[TIME_BYTES_MAX])
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

static void put_time(struct call *call, uint64_t time_us)
{
    char text[TIME_BYTES_MAX];
    write_time(call->l3->conn, time_us, text);
    put_copy(call, text);
}

/* Runs a statement that returns no rows. */
static int run(struct call *call)
{
    int err = 0;
    if (call->rc || sqlite3_step(call->statement) != SQLITE_DONE)
        err = fail(call->l3);
    sqlite3_reset(call->statement);
    return err;
}

/* Steps to the next row: 0, CE_NOTFOUND at the end, or an error. The caller resets. */
static int next_row(struct call *call)
{
    int rc = call->rc ? call->rc : sqlite3_step(call->statement);
    return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? CE_NOTFOUND : fail(call->l3);
}

static struct slice column_bytes(struct call *call, int column)
{
    const void *bytes = sqlite3_column_blob(call->statement, column);
    return slice_of(bytes, (size_t)sqlite3_column_bytes(call->statement, column));
}

/* ---- writing ------------------------------------------------------------------------- */

static int order_lines(const void *a, const void *b)
{
    const struct line_write *one = a;
    const struct line_write *two = b;
    return slice_cmp(one->line->line, two->line->line);
}

static int sort_lines(struct l3 *l3, const struct l3_cart *cart)
{
    struct sqlite *conn = l3->conn;
    size_t count = cart->lines_count;
    if (conn->lines_cap < count) {
        struct line_write *lines = realloc(conn->lines, count * sizeof *lines);
        if (!lines)
            return fail_with(l3, CE_NOMEM, err_text(CE_NOMEM));
        conn->lines = lines;
        conn->lines_cap = count;
    }
    for (size_t i = 0; i < count; i++)
        conn->lines[i] = (struct line_write){.line = &cart->lines[i], .need = LINE_IS_NEW};
    if (count)
        qsort(conn->lines, count, sizeof *conn->lines, order_lines);
    return 0;
}

static struct line_write *find_line(const struct sqlite *conn, size_t count, struct slice line)
{
    const struct l3_line wanted = {.line = line};
    const struct line_write key = {.line = &wanted};
    return count ? bsearch(&key, conn->lines, count, sizeof *conn->lines, order_lines) : NULL;
}

static int delete_line(struct l3 *l3, struct slice key, struct slice line)
{
    struct call call = prepare_call(l3, STATEMENT_LINE_DELETE);
    put_text(&call, key);
    put_text(&call, line);
    return run(&call);
}

static bool is_number(struct call *call, int column, bool known, int64_t number)
{
    int type = sqlite3_column_type(call->statement, column);
    return known ? type == SQLITE_INTEGER && sqlite3_column_int64(call->statement, column) == number
                 : type == SQLITE_NULL;
}

static bool is_time(struct call *call, int column, uint64_t time_us)
{
    char text[TIME_BYTES_MAX];
    return slice_eq(column_bytes(call, column), write_time(call->l3->conn, time_us, text));
}

/* Compares the row of STATEMENT_LINES, but for its key and sku. */
static bool is_same_line(struct call *call, const struct l3_line *line)
{
    return is_number(call, 2, true, line->qty) && is_number(call, 3, true, line->checked) &&
           is_number(call, 4, line->has_price, line->price) &&
           slice_eq(column_bytes(call, 5), line->shop) &&
           slice_eq(column_bytes(call, 6), line->ext) && is_time(call, 7, line->added_us) &&
           is_time(call, 8, line->updated_us);
}

/* Finds out what each line needs, and deletes the rows of lines that the cart no longer has (or has
 * under another sku, which is never updated). Deleting the row that a query is at does not disturb
 * the rest of the query. */
static int compare_lines(struct l3 *l3, const struct l3_cart *cart)
{
    struct call call = prepare_call(l3, STATEMENT_LINES);
    int err;
    put_text(&call, cart->key);
    while (!(err = next_row(&call))) {
        struct slice name = column_bytes(&call, 0);
        struct line_write *write = find_line(l3->conn, cart->lines_count, name);
        if (write && slice_eq(column_bytes(&call, 1), write->line->sku)) {
            write->need = is_same_line(&call, write->line) ? LINE_IS_SAME : LINE_DIFFERS;
            continue;
        }
        err = delete_line(l3, cart->key, name);
        if (err)
            break;
    }
    sqlite3_reset(call.statement);
    return err == CE_NOTFOUND ? 0 : err;
}

static int put_line(struct l3 *l3, struct slice key, const struct line_write *write)
{
    const struct l3_line *line = write->line;
    if (write->need == LINE_IS_SAME)
        return 0;
    struct call call = prepare_call(l3, write->need == LINE_IS_NEW ? STATEMENT_LINE_INSERT
                                                                   : STATEMENT_LINE_UPDATE);
    put_text(&call, key);
    put_text(&call, line->line);
    put_text(&call, line->sku);
    put_i64(&call, line->qty);
    put_i64(&call, line->checked);
    put_known_i64(&call, line->has_price, line->price);
    put_text(&call, line->shop);
    put_blob(&call, line->ext);
    put_time(&call, line->added_us);
    put_time(&call, line->updated_us);
    return run(&call);
}

static int write_lines(struct l3 *l3, const struct l3_cart *cart)
{
    const struct sqlite *conn = l3->conn;
    int err = sort_lines(l3, cart);
    if (!err)
        err = compare_lines(l3, cart);
    for (size_t i = 0; !err && i < cart->lines_count; i++)
        err = put_line(l3, cart->key, &conn->lines[i]);
    return err;
}

/* Writes the cart's row if it is at the revision that the cart is based on. */
static int put_row(struct l3 *l3, const struct l3_cart *cart, bool *written)
{
    char cas[NUM_DIGITS_MAX + 1];
    cas[num_put_u64(cas, cart->cas)] = '\0';
    bool is_new = cart->rev == 0;
    struct call call = prepare_call(l3, is_new ? STATEMENT_CART_INSERT : STATEMENT_CART_UPDATE);
    put_text(&call, cart->key);
    put_i64(&call, cart->state);
    put_copy(&call, cart->currency);
    put_i64(&call, cart->version > INT64_MAX ? INT64_MAX : (int64_t)cart->version);
    put_copy(&call, cas);
    put_i64(&call, cart->lines_count);
    put_i64(&call, cart->qty);
    put_known_i64(&call, cart->amount_known, cart->amount);
    put_i64(&call, cart->checked_qty);
    put_known_i64(&call, cart->checked_amount_known, cart->checked_amount);
    put_time(&call, cart->updated_us);
    if (cart->expires_us)
        put_time(&call, cart->expires_us);
    else
        put_null(&call);
    put_i64(&call, (int64_t)cart->rev + 1);
    put_blob(&call, cart->image);
    int err = run(&call);
    struct sqlite *conn = l3->conn;
    *written = !err && sqlite3_changes(conn->db) == 1;
    return err;
}

static int write_cart(struct l3 *l3, struct l3_cart *cart)
{
    bool written;
    int err = put_row(l3, cart, &written);
    if (err)
        return err;
    cart->outcome = written ? L3_DONE : L3_CONFLICT;
    return written ? write_lines(l3, cart) : 0;
}

/* The error that led here is already kept; one of the rollback would add nothing. */
static void roll_back(struct l3 *l3)
{
    struct sqlite *conn = l3->conn;
    if (!sqlite3_get_autocommit(conn->db))
        sqlite3_exec(conn->db, "ROLLBACK", NULL, NULL, NULL);
}

static int begin(struct l3 *l3)
{
    struct call call = prepare_call(l3, STATEMENT_BEGIN);
    return run(&call);
}

/* Commits when all went well so far, else takes all back. */
static int finish(struct l3 *l3, int err)
{
    struct call commit = prepare_call(l3, STATEMENT_COMMIT);
    if (!err)
        err = run(&commit);
    if (err)
        roll_back(l3);
    return err;
}

static int flush_sqlite(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    int err = begin(l3);
    for (size_t i = 0; !err && i < count; i++)
        err = write_cart(l3, &carts[i]);
    return finish(l3, err);
}

/* True when the last error was about the values of one statement: SQLite has taken back only that
 * statement, and the transaction goes on. */
static bool refused_values(const struct l3 *l3)
{
    const struct sqlite *conn = l3->conn;
    int code = sqlite3_errcode(conn->db) & 0xff;
    return (code == SQLITE_TOOBIG || code == SQLITE_CONSTRAINT || code == SQLITE_MISMATCH) &&
           !sqlite3_get_autocommit(conn->db);
}

static int put_event(struct l3 *l3, struct l3_event *event)
{
    struct call call = prepare_call(l3, STATEMENT_EVENT_PUT);
    put_copy(&call, event->id);
    put_text(&call, event->key);
    put_copy(&call, event->type);
    put_text(&call, event->payload);
    put_i64(&call, event->version > INT64_MAX ? INT64_MAX : (int64_t)event->version);
    put_time(&call, event->created_us);
    int err = run(&call);
    event->outcome = err ? L3_FAILED : L3_DONE;
    return err && refused_values(l3) ? 0 : err;
}

static int put_events_sqlite(struct l3 *l3, struct l3_event *events, size_t count)
{
    int err = begin(l3);
    for (size_t i = 0; !err && i < count; i++)
        err = put_event(l3, &events[i]);
    return finish(l3, err);
}

/* ---- reading ------------------------------------------------------------------------- */

/* The revision in column 1. */
static int take_rev(struct call *call, uint32_t *rev)
{
    return l3_take_rev(call->l3, sqlite3_column_int64(call->statement, 1), rev);
}

static int load_sqlite(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev)
{
    struct call call = prepare_call(l3, STATEMENT_CART_LOAD);
    put_text(&call, key);
    int err = next_row(&call);
    if (!err)
        err = take_rev(&call, rev);
    if (!err) {
        struct slice bytes = column_bytes(&call, 0);
        if (buf_append(image, bytes.bytes, bytes.len))
            err = fail_with(l3, CE_NOMEM, err_text(CE_NOMEM));
    }
    sqlite3_reset(call.statement);
    return err;
}

static int mend_rev_sqlite(struct l3 *l3, struct slice key)
{
    struct call call = prepare_call(l3, STATEMENT_CART_MEND);
    put_text(&call, key);
    return run(&call);
}

/* A row in a page; key and image follow. */
struct page_row {
    uint32_t rev, key_bytes;
    size_t image_bytes;
};

static int put_row_in_page(struct call *call, struct buf *page)
{
    struct slice key = column_bytes(call, 2), image = column_bytes(call, 0);
    struct page_row row = {.key_bytes = (uint32_t)key.len, .image_bytes = image.len};
    int err = take_rev(call, &row.rev);
    if (!err && (buf_append(page, &row, sizeof row) || buf_append(page, key.bytes, key.len) ||
                 buf_append(page, image.bytes, image.len)))
        err = fail_with(call->l3, CE_NOMEM, err_text(CE_NOMEM));
    return err;
}

/* The rows behind a key, some of them. Empty: there are no more. */
static int read_page(struct l3 *l3, struct slice last, struct buf *page)
{
    struct call call = prepare_call(l3, STATEMENT_CART_EACH);
    put_text(&call, last);
    int err = 0;
    page->len = 0;
    for (int rows = 0; !err && rows < EACH_ROWS && page->len < EACH_BYTES; rows++) {
        err = next_row(&call);
        if (!err)
            err = put_row_in_page(&call, page);
    }
    sqlite3_reset(call.statement);
    return err == CE_NOTFOUND ? 0 : err;
}

/* By pages, so that no transaction stays open while `each` takes its time: the log could not be
 * emptied meanwhile. */
static int each_sqlite(struct l3 *l3, struct slice after,
                       int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image),
                       void *arg)
{
    struct buf page = {0}, last = {0};
    int err = read_page(l3, after, &page);
    while (!err && page.len) {
        struct slice rest = buf_slice(&page);
        while (!err && rest.len) {
            struct page_row row;
            memcpy(&row, rest.bytes, sizeof row);
            struct slice key = slice_of(rest.bytes + sizeof row, row.key_bytes);
            struct slice image = slice_of(key.bytes + key.len, row.image_bytes);
            rest = slice_from(rest, sizeof row + key.len + image.len);
            last.len = 0;
            err = buf_append(&last, key.bytes, key.len) ? CE_NOMEM : each(arg, key, row.rev, image);
        }
        if (!err)
            err = read_page(l3, buf_slice(&last), &page);
    }
    buf_free(&page);
    buf_free(&last);
    return err;
}

/* ---- the inbox ----------------------------------------------------------------------- */

static int read_inbox(struct l3 *l3, const char *status, int64_t after, struct l3_inbox_row *rows,
                      size_t max, size_t *count)
{
    struct call call = prepare_call(l3, STATEMENT_INBOX_READ);
    int err;
    *count = 0;
    put_copy(&call, status);
    put_i64(&call, after);
    put_i64(&call, (int64_t)max);
    while (!(err = next_row(&call))) {
        struct l3_inbox_row *row = &rows[*count];
        if (l3_fill_inbox_row(row, sqlite3_column_int64(call.statement, 0), column_bytes(&call, 1),
                              false, column_bytes(&call, 2), column_bytes(&call, 3))) {
            err = fail_with(l3, CE_NOMEM, err_text(CE_NOMEM));
            break;
        }
        row->taken_us = (uint64_t)sqlite3_column_int64(call.statement, 4) * 1000000;
        (*count)++;
    }
    sqlite3_reset(call.statement);
    return err == CE_NOTFOUND ? 0 : err;
}

static int inbox_left_sqlite(struct l3 *l3, int64_t after, struct l3_inbox_row *rows, size_t max,
                             size_t *count)
{
    return read_inbox(l3, "taken", after, rows, max, count);
}

static int mark_inbox(struct l3 *l3, uint64_t now_us, const struct l3_inbox_row *rows, size_t count)
{
    int err = 0;
    for (size_t i = 0; !err && i < count; i++) {
        struct call call = prepare_call(l3, STATEMENT_INBOX_TAKE);
        put_i64(&call, rows[i].id);
        put_time(&call, now_us);
        err = run(&call);
    }
    return err;
}

/* Looks first: without rows the lock of all writers is not taken. */
static int inbox_take_sqlite(struct l3 *l3, uint64_t now_us, struct l3_inbox_row *rows, size_t max,
                             size_t *count)
{
    int err = read_inbox(l3, "new", 0, rows, 1, count);
    if (err || *count == 0)
        return err;
    err = begin(l3);
    if (!err)
        err = read_inbox(l3, "new", 0, rows, max, count);
    if (!err)
        err = mark_inbox(l3, now_us, rows, *count);
    return finish(l3, err);
}

static int settle_one(struct l3 *l3, const struct l3_inbox_row *row)
{
    if (row->fate == L3_INBOX_OPEN)
        return 0;
    bool is_done = row->fate == L3_INBOX_DONE;
    struct call call = prepare_call(l3, is_done ? STATEMENT_INBOX_DONE : STATEMENT_INBOX_FAILED);
    put_i64(&call, row->id);
    if (!is_done)
        put_copy(&call, row->reason);
    return run(&call);
}

static int inbox_settle_sqlite(struct l3 *l3, const struct l3_inbox_row *rows, size_t count)
{
    int err = begin(l3);
    for (size_t i = 0; !err && i < count; i++)
        err = settle_one(l3, &rows[i]);
    return finish(l3, err);
}

/* ---- opening ------------------------------------------------------------------------- */

static int execute(struct l3 *l3, const char *sql)
{
    struct sqlite *conn = l3->conn;
    return sqlite3_exec(conn->db, sql, NULL, NULL, NULL) ? fail(l3) : 0;
}

/* A reader like any other: those who write go on meanwhile. */
static int copy_sqlite(struct l3 *l3, const char *path, int (*go_on)(void *ctx), void *ctx)
{
    struct sqlite *conn = l3->conn;
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", path);
    if (!sql)
        return fail_with(l3, CE_NOMEM, err_text(CE_NOMEM));
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
        return fail(l3);
    int err = next_row(&call);
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
    return strcmp(answer, right) == 0 ? 0 : fail_with(l3, CE_DB, words);
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
        err = fail_with(l3, CE_DB, "table schema_version holds no version");
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
    if (!err)
        err = execute(l3, "COMMIT");
    if (err)
        roll_back(l3);
    return err;
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
            return fail(l3);
    }
    return 0;
}

static int open_sqlite(struct l3 *l3, const char *path)
{
    if (path[0] == '\0')
        return fail_with(l3, CE_INVAL, "sqlite: needs the path of a file");
    struct sqlite *conn = calloc(1, sizeof *conn);
    if (!conn)
        return fail_with(l3, CE_NOMEM, err_text(CE_NOMEM));
    l3->conn = conn;
    /* NOMUTEX: a connection belongs to one thread at a time (l3.h). */
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &conn->db, flags, NULL))
        return fail(l3);
    int err = set_up(l3);
    if (!err)
        err = check_schema(l3);
    return err ? err : prepare_statements(l3);
}

static void close_sqlite(struct l3 *l3)
{
    struct sqlite *conn = l3->conn;
    if (!conn)
        return;
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        sqlite3_finalize(conn->statements[i]);
    MUST(sqlite3_close(conn->db) == SQLITE_OK);
    free(conn->lines);
    free(conn);
    l3->conn = NULL;
}

const struct l3_driver *l3_sqlite_driver(void)
{
    static const struct l3_driver driver = {
        .one_writer = true,
        .open = open_sqlite,
        .close = close_sqlite,
        .flush = flush_sqlite,
        .put_events = put_events_sqlite,
        .load = load_sqlite,
        .mend_rev = mend_rev_sqlite,
        .each = each_sqlite,
        .inbox_take = inbox_take_sqlite,
        .inbox_left = inbox_left_sqlite,
        .inbox_settle = inbox_settle_sqlite,
        .copy = copy_sqlite,
    };
    return &driver;
}
