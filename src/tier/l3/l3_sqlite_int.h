/* l3_sqlite: what its files share: the connection and its statements (l3_sqlite_conn.c), reading
 * and writing (l3_sqlite.c), a cart's lines (l3_sqlite_lines.c), the inbox (l3_sqlite_inbox.c). */
#ifndef TIER_L3_L3_SQLITE_INT_H
#define TIER_L3_L3_SQLITE_INT_H

#include "tier/l3/l3_int.h"

#include <sqlite3.h>

#define TIME_BYTES_MAX 32
#define CALL_TIMES_MAX 2

/* They live as long as the connection. */
#define STATEMENTS(X)                                                                              \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
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
    /* sku is not set: then the index on it is left alone, too */                                  \
    X(LINES_UPDATE, "UPDATE cart_line SET qty=cartd_line(line,2), checked=cartd_line(line,3), "    \
                    "add_price=cartd_line(line,4), shop=cartd_line(line,5), "                      \
                    "ext=cartd_line(line,6), added_at=cartd_line(line,7), "                        \
                    "updated_at=cartd_line(line,8) WHERE cart_id=?1 AND "                          \
                    "cartd_line_differs(line, sku, qty, checked, add_price, shop, ext, "           \
                    "added_at, updated_at)")                                                       \
    X(LINES_DELETE, "DELETE FROM cart_line WHERE cart_id=?1 AND cartd_line_gone(line)")            \
    X(LINE_INSERT, "INSERT INTO cart_line (cart_id, line, sku, qty, checked, add_price, shop, "    \
                   "ext, added_at, updated_at) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)")

enum statement {
#define X(name, sql) STATEMENT_##name,
    STATEMENTS(X)
#undef X
        STATEMENT_COUNT
};

struct line_write; /* of l3_sqlite_lines.c */

/* The lines of the cart that is being written. */
struct sqlite_lines {
    struct line_write *writes; /* by line */
    size_t count, cap;
    size_t next; /* where the line of the next row is looked for first */
    size_t gone; /* rows that are no line of the cart */
};

struct sqlite {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    struct sqlite_lines lines;
    uint64_t day; /* the day that day_text is of; most times are of the same one */
    char day_text[TIME_BYTES_MAX];
};

/* ---- the connection (l3_sqlite_conn.c) ----------------------------------------------- */

/* Opens the file or makes it, makes or checks the schema, prepares the statements. */
int l3_lite_open(struct l3 *l3, const char *path) MUST_USE;
void l3_lite_close(struct l3 *l3);
/* As struct l3_driver has it. */
int l3_lite_copy(struct l3 *l3, const char *path, int (*go_on)(void *ctx), void *ctx) MUST_USE;

int l3_lite_begin(struct l3 *l3) MUST_USE;
/* Commits when all went well so far (`err` is 0), else takes all back. */
int l3_lite_finish(struct l3 *l3, int err) MUST_USE;

/* A statement being filled, column by column; the first error sticks and l3_lite_run or
 * l3_lite_next_row reports it. */
struct call {
    struct l3 *l3;
    sqlite3_stmt *statement;
    int column;
    int rc;
    unsigned times_count;
    char times[CALL_TIMES_MAX][TIME_BYTES_MAX];
};

struct call l3_lite_call(struct l3 *l3, enum statement which);
void l3_lite_put_i64(struct call *call, int64_t value);
void l3_lite_put_null(struct call *call);
void l3_lite_put_known_i64(struct call *call, bool known, int64_t value); /* else NULL */
/* Borrows the bytes until the statement has run. */
void l3_lite_put_blob(struct call *call, struct slice bytes);
/* Text where the bytes are text. Others become a blob with the same bytes: readers in other
 * languages decode text columns and would stumble. Borrows as l3_lite_put_blob. */
void l3_lite_put_text(struct call *call, struct slice text);
/* A string that ends with a NUL. Borrows as l3_lite_put_blob. */
void l3_lite_put_string(struct call *call, const char *text);
/* At most CALL_TIMES_MAX in a call, which keeps their text: it must not be moved afterwards. */
void l3_lite_put_time(struct call *call, uint64_t time_us);
/* ISO 8601 in UTC with milliseconds, so that text order is time order. Lies in `out`. */
struct slice l3_lite_write_time(struct sqlite *conn, uint64_t time_us, char out[TIME_BYTES_MAX]);

/* Runs a statement that returns no rows. */
int l3_lite_run(struct call *call) MUST_USE;
/* Steps to the next row: 0, CE_NOTFOUND at the end, or an error. The caller resets. */
int l3_lite_next_row(struct call *call) MUST_USE;
/* Of the row stepped to; valid until the next step. */
struct slice l3_lite_column_bytes(struct call *call, int column);

/* The connection's last error as a CE_*; keeps its words. */
int l3_lite_fail(struct l3 *l3);

/* ---- lines (l3_sqlite_lines.c) ------------------------------------------------------- */

/* Before statements are prepared; with the connection. */
int l3_lite_lines_open(struct l3 *l3) MUST_USE;
void l3_lite_lines_close(struct sqlite *conn);
/* In a transaction: the rows of the cart's lines become as the cart has them. */
int l3_lite_write_lines(struct l3 *l3, const struct l3_cart *cart) MUST_USE;

/* ---- the inbox (l3_sqlite_inbox.c): as struct l3_driver has it ----------------------- */

int l3_lite_inbox_take(struct l3 *l3, uint64_t now_us, struct l3_inbox_row *rows, size_t max,
                       size_t *count) MUST_USE;
int l3_lite_inbox_left(struct l3 *l3, int64_t after, struct l3_inbox_row *rows, size_t max,
                       size_t *count) MUST_USE;
int l3_lite_inbox_settle(struct l3 *l3, const struct l3_inbox_row *rows, size_t count) MUST_USE;

#endif
