/* The driver of MariaDB and MySQL: how a batch is written and carts are read. The connection and
 * its tables are in l3_mysql_conn.c.
 *
 * A flush is one transaction: the rows of all carts are read and locked, which tells which are at
 * the expected revision; those are written, many rows to a statement; their lines are read, those
 * that are gone deleted, the others upserted (the server leaves rows alone that are equal); COMMIT.
 * A new cart is a plain INSERT: when another writer was faster it fails, and all is tried again.
 * Statements are text, because only that has many rows in both servers' dialects. */
#ifdef HAVE_LIBMARIADB
#include "tier/l3/l3_mysql_int.h"

#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TRIES_MAX      3          /* of a transaction that others got into the way of */
#define SQL_BYTES      (1u << 20) /* a statement of many rows ends behind this */
#define GONE_ROWS_MAX  200        /* deleted by one statement */
#define EACH_ROWS      "200"      /* read at a time */
#define TIME_BYTES_MAX 32

#define CART_INSERT                                                                                \
    "INSERT INTO cart (cart_id, state, currency, version, cas, lines_count, qty, amount, "         \
    "checked_qty, checked_amount, updated_at, expires_at, rev, image) VALUES "
#define CART_UPDATE                                                                                \
    " ON DUPLICATE KEY UPDATE state=VALUES(state), currency=VALUES(currency), "                    \
    "version=VALUES(version), cas=VALUES(cas), lines_count=VALUES(lines_count), "                  \
    "qty=VALUES(qty), amount=VALUES(amount), checked_qty=VALUES(checked_qty), "                    \
    "checked_amount=VALUES(checked_amount), updated_at=VALUES(updated_at), "                       \
    "expires_at=VALUES(expires_at), rev=VALUES(rev), image=VALUES(image)"
#define LINE_INSERT                                                                                \
    "INSERT INTO cart_line (cart_id, line, sku, qty, checked, add_price, shop, ext, added_at, "    \
    "updated_at) VALUES "
#define LINE_UPDATE                                                                                \
    " ON DUPLICATE KEY UPDATE sku=VALUES(sku), qty=VALUES(qty), checked=VALUES(checked), "         \
    "add_price=VALUES(add_price), shop=VALUES(shop), ext=VALUES(ext), "                            \
    "added_at=VALUES(added_at), updated_at=VALUES(updated_at)"
#define EVENT_INSERT                                                                               \
    "INSERT INTO cart_event (id, aggregatetype, aggregateid, type, payload, version, created_at) " \
    "VALUES "
#define EVENT_KEEP " ON DUPLICATE KEY UPDATE id=cart_event.id"

/* ---- values as SQL: all append to the statement, CE_NOMEM is the only error ---------- */

static int put_sql(struct mysql *my, const char *text)
{
    return buf_append_str(&my->sql, text);
}

static int put_quoted(struct mysql *my, struct slice bytes)
{
    struct buf *sql = &my->sql;
    if (buf_reserve(sql, 2 * bytes.len + 3))
        return CE_NOMEM;
    sql->bytes[sql->len++] = '\'';
    sql->len += mysql_real_escape_string(my->db, (char *)sql->bytes + sql->len,
                                         bytes.len ? (const char *)bytes.bytes : "", bytes.len);
    sql->bytes[sql->len++] = '\'';
    return 0;
}

static int put_bytes(struct mysql *my, struct slice bytes)
{
    int err = put_sql(my, "_binary");
    return err ? err : put_quoted(my, bytes);
}

static int put_text(struct mysql *my, struct slice text)
{
    my->text.len = 0;
    int err = l3_put_text(&my->text, text);
    return err ? err : put_quoted(my, buf_slice(&my->text));
}

static int put_i64(struct mysql *my, int64_t value)
{
    char digits[NUM_DIGITS_MAX];
    return buf_append(&my->sql, digits, num_put_i64(digits, value));
}

static int put_known(struct mysql *my, bool known, int64_t value)
{
    return known ? put_i64(my, value) : put_sql(my, "NULL");
}

static int put_digits(struct mysql *my, uint64_t value)
{
    char digits[NUM_DIGITS_MAX];
    return put_quoted(my, slice_of(digits, num_put_u64(digits, value)));
}

static int put_time(struct mysql *my, uint64_t time_us)
{
    char text[TIME_BYTES_MAX];
    struct tm tm;
    uint64_t time_ms = l3_time_ms(time_us);
    time_t seconds = (time_t)(time_ms / 1000);
    MUST(gmtime_r(&seconds, &tm) != NULL);
    size_t len = strftime(text, sizeof text, "'%Y-%m-%d %H:%M:%S", &tm);
    snprintf(text + len, sizeof text - len, ".%03u'", (unsigned)(time_ms % 1000));
    return put_sql(my, text);
}

static int put_cart(struct mysql *my, const struct l3_cart *cart)
{
    return put_sql(my, "(") || put_text(my, cart->key) || put_sql(my, ",") ||
           put_i64(my, cart->state) || put_sql(my, ",") ||
           put_quoted(my, slice_str(cart->currency)) || put_sql(my, ",") ||
           put_i64(my, l3_bigint(cart->version)) || put_sql(my, ",") || put_digits(my, cart->cas) ||
           put_sql(my, ",") || put_i64(my, cart->lines_count) || put_sql(my, ",") ||
           put_i64(my, cart->qty) || put_sql(my, ",") ||
           put_known(my, cart->amount_known, cart->amount) || put_sql(my, ",") ||
           put_i64(my, cart->checked_qty) || put_sql(my, ",") ||
           put_known(my, cart->checked_amount_known, cart->checked_amount) || put_sql(my, ",") ||
           put_time(my, cart->updated_us) || put_sql(my, ",") ||
           (cart->expires_us ? put_time(my, cart->expires_us) : put_sql(my, "NULL")) ||
           put_sql(my, ",") || put_i64(my, (int64_t)cart->rev + 1) || put_sql(my, ",") ||
           put_bytes(my, cart->image) || put_sql(my, ")");
}

static int put_line(struct mysql *my, struct slice key, const struct l3_line *line)
{
    return put_sql(my, "(") || put_text(my, key) || put_sql(my, ",") || put_text(my, line->line) ||
           put_sql(my, ",") || put_text(my, line->sku) || put_sql(my, ",") ||
           put_i64(my, line->qty) || put_sql(my, ",") || put_i64(my, line->checked) ||
           put_sql(my, ",") || put_known(my, line->has_price, line->price) || put_sql(my, ",") ||
           put_text(my, line->shop) || put_sql(my, ",") || put_bytes(my, line->ext) ||
           put_sql(my, ",") || put_time(my, line->added_us) || put_sql(my, ",") ||
           put_time(my, line->updated_us) || put_sql(my, ")");
}

static int put_event(struct mysql *my, const struct l3_event *event)
{
    return put_sql(my, "(") || put_quoted(my, slice_str(event->id)) || put_sql(my, ",'cart',") ||
           put_text(my, event->key) || put_sql(my, ",") || put_quoted(my, slice_str(event->type)) ||
           put_sql(my, ",") || put_quoted(my, event->payload) || put_sql(my, ",") ||
           put_i64(my, l3_bigint(event->version)) || put_sql(my, ",") ||
           put_time(my, event->created_us) || put_sql(my, ")");
}

/* ---- statements of many rows --------------------------------------------------------- */

static int no_memory(struct l3 *l3)
{
    return l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
}

/* A statement that grows row by row and is sent when it is long enough. */
struct rows {
    struct l3 *l3;
    const char *head, *tail;
    size_t count; /* in the statement */
};

static struct rows begin_rows(struct l3 *l3, const char *head, const char *tail)
{
    struct mysql *my = l3->conn;
    my->sql.len = 0;
    return (struct rows){.l3 = l3, .head = head, .tail = tail};
}

/* What comes before the next row. */
static int next_row(struct rows *rows, const char *between)
{
    struct mysql *my = rows->l3->conn;
    return put_sql(my, rows->count++ ? between : rows->head) ? no_memory(rows->l3) : 0;
}

static int send_rows(struct rows *rows)
{
    struct mysql *my = rows->l3->conn;
    if (rows->count == 0)
        return 0;
    rows->count = 0;
    return put_sql(my, rows->tail) ? no_memory(rows->l3) : l3_my_run(rows->l3, NULL);
}

static int end_row(struct rows *rows, int put_failed)
{
    const struct mysql *my = rows->l3->conn;
    if (put_failed)
        return no_memory(rows->l3);
    return my->sql.len < SQL_BYTES ? 0 : send_rows(rows);
}

/* ---- writing ------------------------------------------------------------------------- */

/* The statement "... WHERE cart_id IN (...)" for all carts, or for those written. */
static int query_carts(struct l3 *l3, const char *select, const struct l3_cart *carts, size_t count,
                       bool only_written, const char *tail, MYSQL_RES **result)
{
    struct mysql *my = l3->conn;
    int failed = 0;
    size_t keys = 0;
    my->sql.len = 0;
    for (size_t i = 0; i < count && !failed; i++) {
        if (!only_written || carts[i].outcome == L3_DONE)
            failed = put_sql(my, keys++ ? "," : select) || put_text(my, carts[i].key);
    }
    *result = NULL;
    if (!failed && keys == 0)
        return 0;
    return failed || put_sql(my, tail) ? no_memory(l3) : l3_my_run(l3, result);
}

/* The cart of a row whose first column is its key. */
static struct l3_cart *find_cart(struct mysql *my, MYSQL_ROW row, const unsigned long *lens,
                                 struct l3_cart *carts, size_t count)
{
    int err = l3_take_text(slice_of(row[0], lens[0]), &my->text);
    return err ? NULL : l3_find_cart(carts, count, buf_slice(&my->text));
}

/* Sets the outcomes that the revisions of the rows allow, and keeps the rows locked. */
static int lock_rows(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    struct mysql *my = l3->conn;
    MYSQL_RES *result;
    int err = query_carts(l3, "SELECT cart_id, rev FROM cart WHERE cart_id IN (", carts, count,
                          false, ") FOR UPDATE", &result);
    if (err)
        return err;
    for (size_t i = 0; i < count; i++)
        carts[i].outcome = carts[i].rev == 0 ? L3_DONE : L3_CONFLICT;
    MYSQL_ROW row;
    while ((row = mysql_fetch_row(result))) {
        int64_t rev;
        const unsigned long *lens = mysql_fetch_lengths(result);
        struct l3_cart *cart = find_cart(my, row, lens, carts, count);
        bool same = cart && cart->rev && num_i64(slice_of(row[1], lens[1]), &rev) &&
                    rev == (int64_t)cart->rev;
        if (cart)
            cart->outcome = same ? L3_DONE : L3_CONFLICT;
    }
    mysql_free_result(result);
    return 0;
}

static int write_rows(struct l3 *l3, const struct l3_cart *carts, size_t count, bool are_new)
{
    struct mysql *my = l3->conn;
    struct rows rows = begin_rows(l3, CART_INSERT, are_new ? "" : CART_UPDATE);
    int err = 0;
    for (size_t i = 0; i < count && !err; i++) {
        if (carts[i].outcome != L3_DONE || (carts[i].rev == 0) != are_new)
            continue;
        err = next_row(&rows, ",");
        if (!err)
            err = end_row(&rows, put_cart(my, &carts[i]));
    }
    return err ? err : send_rows(&rows);
}

static bool has_line(const struct l3_cart *cart, struct slice line)
{
    for (uint32_t i = 0; i < cart->lines_count; i++) {
        if (slice_eq(cart->lines[i].line, line))
            return true;
    }
    return false;
}

/* Adds a row that was read to the statement that deletes, when its cart has no such line. */
static int judge_line(struct rows *rows, MYSQL_ROW row, const unsigned long *lens,
                      struct l3_cart *carts, size_t count)
{
    struct mysql *my = rows->l3->conn;
    struct slice id = slice_of(row[0], lens[0]), text = slice_of(row[1], lens[1]);
    const struct l3_cart *cart = find_cart(my, row, lens, carts, count);
    if (!cart || l3_take_text(text, &my->text))
        return l3_fail(rows->l3, CE_DB, "a row of cart_line is not one of cartd's");
    if (has_line(cart, buf_slice(&my->text)))
        return 0;
    int err = next_row(rows, " OR ");
    if (!err)
        err = end_row(rows, put_sql(my, "(cart_id=") || put_quoted(my, id) ||
                                put_sql(my, " AND line=") || put_quoted(my, text) ||
                                put_sql(my, ")"));
    return !err && rows->count >= GONE_ROWS_MAX ? send_rows(rows) : err;
}

static int delete_gone_lines(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    MYSQL_RES *result;
    int err = query_carts(l3, "SELECT cart_id, line FROM cart_line WHERE cart_id IN (", carts,
                          count, true, ")", &result);
    if (err || !result)
        return err;
    struct rows rows = begin_rows(l3, "DELETE FROM cart_line WHERE ", "");
    MYSQL_ROW row;
    while (!err && (row = mysql_fetch_row(result)))
        err = judge_line(&rows, row, mysql_fetch_lengths(result), carts, count);
    mysql_free_result(result);
    return err ? err : send_rows(&rows);
}

static int put_lines(struct l3 *l3, const struct l3_cart *carts, size_t count)
{
    struct mysql *my = l3->conn;
    struct rows rows = begin_rows(l3, LINE_INSERT, LINE_UPDATE);
    int err = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t lines = carts[i].outcome == L3_DONE ? carts[i].lines_count : 0;
        for (uint32_t at = 0; at < lines && !err; at++) {
            err = next_row(&rows, ",");
            if (!err)
                err = end_row(&rows, put_line(my, carts[i].key, &carts[i].lines[at]));
        }
    }
    return err ? err : send_rows(&rows);
}

/* Commits when all went well so far, else takes all back; the first error's words stay. */
static int finish(struct l3 *l3, int err)
{
    struct mysql *my = l3->conn;
    if (!err)
        err = l3_my_query(l3, "COMMIT", NULL);
    if (err) /* a transaction that may still be open goes with its connection */
        l3->is_lost = mysql_rollback(my->db) != 0;
    return err;
}

static int try_flush(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    int err = lock_rows(l3, carts, count);
    if (!err)
        err = write_rows(l3, carts, count, true);
    if (!err)
        err = write_rows(l3, carts, count, false);
    if (!err)
        err = delete_gone_lines(l3, carts, count);
    if (!err)
        err = put_lines(l3, carts, count);
    return finish(l3, err);
}

/* Others got into the way: a deadlock, or a row made since ours were locked. */
static bool was_bad_luck(const struct l3 *l3)
{
    const struct mysql *my = l3->conn;
    return !l3->is_lost && (my->error == ER_LOCK_DEADLOCK || my->error == ER_DUP_ENTRY);
}

static int flush_mysql(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    int err = try_flush(l3, carts, count);
    for (int tries = 1; err && was_bad_luck(l3) && tries < TRIES_MAX; tries++)
        err = try_flush(l3, carts, count);
    return err;
}

/* ---- events -------------------------------------------------------------------------- */

static int insert_events(struct l3 *l3, const struct l3_event *events, size_t count)
{
    struct mysql *my = l3->conn;
    struct rows rows = begin_rows(l3, EVENT_INSERT, EVENT_KEEP);
    int err = 0;
    for (size_t i = 0; i < count && !err; i++) {
        err = next_row(&rows, ",");
        if (!err)
            err = end_row(&rows, put_event(my, &events[i]));
    }
    return err ? err : send_rows(&rows);
}

/* True when the last error was about the values of one row: data, a constraint, a trigger. The
 * server has taken back only that statement. */
static bool refused_values(const struct l3 *l3)
{
    const struct mysql *my = l3->conn;
    const char *state = mysql_sqlstate(my->db);
    return my->error && (strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 ||
                         strncmp(state, "45", 2) == 0 || my->error == ER_NET_PACKET_TOO_LARGE);
}

static int put_each(struct l3 *l3, struct l3_event *events, size_t count)
{
    int err = 0;
    for (size_t i = 0; i < count && !err; i++) {
        err = insert_events(l3, &events[i], 1);
        events[i].outcome = err ? L3_FAILED : L3_DONE;
        if (err && refused_values(l3))
            err = 0;
    }
    return finish(l3, err);
}

static int put_events_mysql(struct l3 *l3, struct l3_event *events, size_t count)
{
    int err = insert_events(l3, events, count);
    bool refused = err && refused_values(l3);
    err = finish(l3, err);
    if (refused && !l3->is_lost)
        return put_each(l3, events, count);
    for (size_t i = 0; i < count; i++)
        events[i].outcome = L3_DONE;
    return err;
}

/* ---- reading ------------------------------------------------------------------------- */

/* The revision in column 0. */
static int take_rev(struct l3 *l3, MYSQL_ROW row, const unsigned long *lens, uint32_t *rev)
{
    int64_t value = 0;
    bool is_number = num_i64(slice_of(row[0], lens[0]), &value);
    return l3_take_rev(l3, is_number ? value : 0, rev);
}

/* Reads outside of any transaction: nothing stays open, no old snapshot. */
static int read_rows(struct l3 *l3, int put_failed, MYSQL_RES **result)
{
    struct mysql *my = l3->conn;
    int err = put_failed ? no_memory(l3) : l3_my_run(l3, result);
    if (!err && mysql_commit(my->db)) {
        mysql_free_result(*result);
        err = l3_fail(l3, CE_DB, mysql_error(my->db));
    }
    return err;
}

static int load_mysql(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev)
{
    struct mysql *my = l3->conn;
    MYSQL_RES *result;
    my->sql.len = 0;
    int err = read_rows(
        l3, put_sql(my, "SELECT rev, image FROM cart WHERE cart_id=") || put_text(my, key),
        &result);
    if (err)
        return err;
    MYSQL_ROW row = mysql_fetch_row(result);
    const unsigned long *lens = row ? mysql_fetch_lengths(result) : NULL;
    err = row ? take_rev(l3, row, lens, rev) : CE_NOTFOUND;
    if (!err)
        err = buf_append(image, row[1], lens[1]) ? no_memory(l3) : 0;
    mysql_free_result(result);
    return err;
}

static int mend_rev_mysql(struct l3 *l3, struct slice key)
{
    struct mysql *my = l3->conn;
    my->sql.len = 0;
    int err = put_sql(my, "UPDATE cart" L3_REV_MEND) || put_text(my, key) ? no_memory(l3)
                                                                          : l3_my_run(l3, NULL);
    return finish(l3, err);
}

struct visitor {
    int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image);
    void *arg;
    struct buf last; /* cart_id of the last row, as it stands in the database */
};

static int visit_row(struct l3 *l3, MYSQL_ROW row, const unsigned long *lens,
                     struct visitor *visitor)
{
    uint32_t rev;
    struct buf key = {0};
    struct slice text = slice_of(row[2], lens[2]);
    int err = take_rev(l3, row, lens, &rev);
    if (!err && l3_take_text(text, &key))
        err = l3_fail(l3, CE_DB, "a cart_id is not one of cartd's");
    if (!err)
        err = visitor->each(visitor->arg, buf_slice(&key), rev, slice_of(row[1], lens[1]));
    visitor->last.len = 0;
    if (!err && buf_append(&visitor->last, text.bytes, text.len))
        err = no_memory(l3);
    buf_free(&key);
    return err;
}

/* Pages by key, so that no transaction stays open and the connection is free between them. */
static int each_mysql(struct l3 *l3, struct slice after,
                      int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image),
                      void *arg)
{
    struct mysql *my = l3->conn;
    struct visitor visitor = {.each = each, .arg = arg};
    int err = l3_put_text(&visitor.last, after) ? no_memory(l3) : 0;
    bool more = true;
    while (!err && more) {
        MYSQL_RES *result;
        my->sql.len = 0;
        err = read_rows(l3,
                        put_sql(my, "SELECT rev, image, cart_id FROM cart WHERE cart_id > ") ||
                            put_quoted(my, buf_slice(&visitor.last)) ||
                            put_sql(my, " ORDER BY cart_id LIMIT " EACH_ROWS),
                        &result);
        if (err)
            break;
        more = mysql_num_rows(result) > 0;
        MYSQL_ROW row;
        while (!err && (row = mysql_fetch_row(result)))
            err = visit_row(l3, row, mysql_fetch_lengths(result), &visitor);
        mysql_free_result(result);
    }
    buf_free(&visitor.last);
    return err;
}

/* ---- the inbox ----------------------------------------------------------------------- */

#define INBOX_SELECT                                                                               \
    "SELECT " L3_INBOX_COLUMNS ", coalesce(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', taken_at), 0)" \
    " FROM cart_inbox WHERE status = "

static int take_inbox_rows(struct l3 *l3, MYSQL_RES *result, struct l3_inbox_row *rows, size_t max,
                           size_t *count)
{
    int err = 0;
    MYSQL_ROW row;
    *count = 0;
    while (!err && *count < max && (row = mysql_fetch_row(result))) {
        const unsigned long *lens = mysql_fetch_lengths(result);
        int64_t id = 0, taken_us = 0;
        if (!num_i64(slice_of(row[0], lens[0]), &id) ||
            !num_i64(slice_of(row[4], lens[4]), &taken_us))
            err = l3_fail(l3, CE_DB, "a row of cart_inbox has no number as id");
        else if (l3_fill_inbox_row(&rows[*count], id, slice_of(row[1], lens[1]), true,
                                   slice_of(row[2], lens[2]), slice_of(row[3], lens[3])))
            err = no_memory(l3);
        else
            rows[(*count)++].taken_us = taken_us > 0 ? (uint64_t)taken_us : 0;
    }
    return err;
}

static int read_inbox(struct l3 *l3, int put_failed, struct l3_inbox_row *rows, size_t max,
                      size_t *count)
{
    MYSQL_RES *result;
    int err = put_failed ? no_memory(l3) : l3_my_run(l3, &result);
    if (err)
        return err;
    err = take_inbox_rows(l3, result, rows, max, count);
    mysql_free_result(result);
    return err;
}

static int inbox_left_mysql(struct l3 *l3, int64_t after, struct l3_inbox_row *rows, size_t max,
                            size_t *count)
{
    struct mysql *my = l3->conn;
    my->sql.len = 0;
    int err = read_inbox(l3,
                         put_sql(my, INBOX_SELECT "'taken' AND id > ") || put_i64(my, after) ||
                             put_sql(my, " ORDER BY id LIMIT ") || put_i64(my, (int64_t)max),
                         rows, max, count);
    return finish(l3, err);
}

/* "... id IN (...)" for the rows of a fate; nothing is sent when there are none. */
static int run_for_ids(struct l3 *l3, const struct l3_inbox_row *rows, size_t count,
                       enum l3_inbox_fate fate)
{
    struct mysql *my = l3->conn;
    int failed = put_sql(my, " WHERE id IN (");
    size_t ids = 0;
    for (size_t i = 0; i < count && !failed; i++) {
        if (rows[i].fate == fate)
            failed = put_sql(my, ids++ ? "," : "") || put_i64(my, rows[i].id);
    }
    if (!failed && ids == 0)
        return 0;
    return failed || put_sql(my, ")") ? no_memory(l3) : l3_my_run(l3, NULL);
}

/* Rows that somebody has not committed yet, or has locked, are passed over. */
static int inbox_take_mysql(struct l3 *l3, uint64_t now_us, struct l3_inbox_row *rows, size_t max,
                            size_t *count)
{
    struct mysql *my = l3->conn;
    my->sql.len = 0;
    int err = read_inbox(l3,
                         put_sql(my, INBOX_SELECT "'new' ORDER BY id LIMIT ") ||
                             put_i64(my, (int64_t)max) || put_sql(my, " FOR UPDATE SKIP LOCKED"),
                         rows, max, count);
    my->sql.len = 0;
    if (!err && *count &&
        (put_sql(my, "UPDATE cart_inbox SET status='taken', taken_at=") || put_time(my, now_us)))
        err = no_memory(l3);
    if (!err && *count)
        err = run_for_ids(l3, rows, *count, L3_INBOX_OPEN);
    return finish(l3, err);
}

static int fail_inbox_row(struct l3 *l3, const struct l3_inbox_row *row)
{
    struct mysql *my = l3->conn;
    my->sql.len = 0;
    if (put_sql(my, "UPDATE cart_inbox SET status='failed', reason=") ||
        put_text(my, slice_str(row->reason)) || put_sql(my, " WHERE id=") || put_i64(my, row->id))
        return no_memory(l3);
    return l3_my_run(l3, NULL);
}

static int inbox_settle_mysql(struct l3 *l3, const struct l3_inbox_row *rows, size_t count)
{
    struct mysql *my = l3->conn;
    my->sql.len = 0;
    int err = put_sql(my, "DELETE FROM cart_inbox") ? no_memory(l3) : 0;
    if (!err)
        err = run_for_ids(l3, rows, count, L3_INBOX_DONE);
    for (size_t i = 0; i < count && !err; i++)
        err = rows[i].fate == L3_INBOX_FAILED ? fail_inbox_row(l3, &rows[i]) : 0;
    return finish(l3, err);
}

/* ---- the driver ---------------------------------------------------------------------- */

const struct l3_driver *l3_mysql_driver(void)
{
    static const struct l3_driver driver = {
        .open = l3_my_open,
        .close = l3_my_close,
        .flush = flush_mysql,
        .put_events = put_events_mysql,
        .load = load_mysql,
        .mend_rev = mend_rev_mysql,
        .each = each_mysql,
        .inbox_take = inbox_take_mysql,
        .inbox_left = inbox_left_mysql,
        .inbox_settle = inbox_settle_mysql,
    };
    return &driver;
}

#endif
