/* The PostgreSQL driver: how a batch is written and carts are read. The connection and its tables
 * are in l3_pgsql_conn.c.
 *
 * A flush: BEGIN; all rows of `cart` in one statement, each guarded by its revision, which returns
 * the carts it has written; for those, one statement deletes the lines that are gone and one
 * upserts the others, skipping rows that are equal; COMMIT. Values travel as binary arrays, a
 * column each. */
#ifdef HAVE_LIBPQ
#include "tier/l3/l3_pgsql_int.h"

#include <endian.h>

#define TRIES_MAX       3     /* of a transaction that others got into the way of */
#define EACH_ROWS       "200" /* read at a time */
#define EPOCH_2000_MS   946684800000ll
#define NULL_ELEMENT    UINT32_MAX
#define ARRAY_DIMS      1
#define ARRAY_HAS_NULLS 1

/* ---- columns: name, type, how one element is put ------------------------------------- */

#define CART_COLUMNS(X)                                                                            \
    X(cart_id, TEXT, put_text(to, cart->key))                                                      \
    X(state, INT8, put_i64(to, cart->state))                                                       \
    X(currency, TEXT, put_text(to, slice_str(cart->currency)))                                     \
    X(version, INT8, put_i64(to, l3_bigint(cart->version)))                                        \
    X(cas, TEXT, put_digits(to, cart->cas))                                                        \
    X(lines_count, INT8, put_i64(to, cart->lines_count))                                           \
    X(qty, INT8, put_i64(to, cart->qty))                                                           \
    X(amount, INT8, put_known(to, cart->amount_known, cart->amount))                               \
    X(checked_qty, INT8, put_i64(to, cart->checked_qty))                                           \
    X(checked_amount, INT8, put_known(to, cart->checked_amount_known, cart->checked_amount))       \
    X(updated_at, TIME, put_time(to, cart->updated_us))                                            \
    X(expires_at, TIME, cart->expires_us ? put_time(to, cart->expires_us) : put_null(to))          \
    X(rev, INT8, put_i64(to, (int64_t)cart->rev + 1))                                              \
    X(image, BYTES, put_bytes(to, cart->image))

#define LINE_COLUMNS(X)                                                                            \
    X(cart_id, TEXT, put_text(to, cart->key))                                                      \
    X(line, TEXT, put_text(to, line->line))                                                        \
    X(sku, TEXT, put_text(to, line->sku))                                                          \
    X(qty, INT8, put_i64(to, line->qty))                                                           \
    X(checked, INT8, put_i64(to, line->checked))                                                   \
    X(add_price, INT8, put_known(to, line->has_price, line->price))                                \
    X(shop, TEXT, put_text(to, line->shop))                                                        \
    X(ext, BYTES, put_bytes(to, line->ext))                                                        \
    X(added_at, TIME, put_time(to, line->added_us))                                                \
    X(updated_at, TIME, put_time(to, line->updated_us))

#define EVENT_COLUMNS(X)                                                                           \
    X(id, TEXT, put_text(to, slice_str(event->id)))                                                \
    X(aggregateid, TEXT, put_text(to, event->key))                                                 \
    X(type, TEXT, put_text(to, slice_str(event->type)))                                            \
    X(payload, TEXT, put_bytes(to, event->payload))                                                \
    X(version, INT8, put_i64(to, l3_bigint(event->version)))                                       \
    X(created_at, TIME, put_time(to, event->created_us))

#define TYPE_TEXT  25 /* OIDs of the elements; they are part of the protocol */
#define TYPE_INT8  20
#define TYPE_BYTES 17
#define TYPE_TIME  1184

/* ---- values in binary ---------------------------------------------------------------- */

static int put_u32(struct buf *to, uint32_t value)
{
    value = htobe32(value);
    return buf_append(to, &value, sizeof value);
}

static int put_bytes(struct buf *to, struct slice bytes)
{
    int err = put_u32(to, (uint32_t)bytes.len);
    return err ? err : buf_append(to, bytes.bytes, bytes.len);
}

static int put_text(struct buf *to, struct slice text)
{
    size_t at = to->len;
    int err = put_u32(to, 0);
    if (!err)
        err = l3_put_text(to, text);
    if (err)
        return err;
    uint32_t len = htobe32((uint32_t)(to->len - at - sizeof len));
    memcpy(to->bytes + at, &len, sizeof len);
    return 0;
}

static int put_digits(struct buf *to, uint64_t value)
{
    char digits[NUM_DIGITS_MAX];
    return put_bytes(to, slice_of(digits, num_put_u64(digits, value)));
}

static int put_i64(struct buf *to, int64_t value)
{
    uint64_t wire = htobe64((uint64_t)value);
    return put_bytes(to, slice_of(&wire, sizeof wire));
}

static int put_null(struct buf *to)
{
    return put_u32(to, NULL_ELEMENT);
}

static int put_known(struct buf *to, bool known, int64_t value)
{
    return known ? put_i64(to, value) : put_null(to);
}

static int put_time(struct buf *to, uint64_t time_us)
{
    return put_i64(to, ((int64_t)l3_time_ms(time_us) - EPOCH_2000_MS) * 1000);
}

static int begin_array(struct buf *to, uint32_t type, size_t count)
{
    const uint32_t head[] = {htobe32(ARRAY_DIMS), htobe32(ARRAY_HAS_NULLS), htobe32(type),
                             htobe32((uint32_t)count), htobe32(1)};
    to->len = 0;
    return buf_append(to, head, sizeof head);
}

/* ---- statements ---------------------------------------------------------------------- */

#define CART_NAMES                                                                                 \
    "cart_id, state, currency, version, cas, lines_count, qty, amount, checked_qty, "              \
    "checked_amount, updated_at, expires_at, rev, image"
#define CART_NEW_NAMES                                                                             \
    "EXCLUDED.cart_id, EXCLUDED.state, EXCLUDED.currency, EXCLUDED.version, EXCLUDED.cas, "        \
    "EXCLUDED.lines_count, EXCLUDED.qty, EXCLUDED.amount, EXCLUDED.checked_qty, "                  \
    "EXCLUDED.checked_amount, EXCLUDED.updated_at, EXCLUDED.expires_at, EXCLUDED.rev, "            \
    "EXCLUDED.image"
#define LINE_VALUES "sku, qty, checked, add_price, shop, ext, added_at, updated_at"
#define LINE_OLD_VALUES                                                                            \
    "l.sku, l.qty, l.checked, l.add_price, l.shop, l.ext, l.added_at, l.updated_at"
#define LINE_NEW_VALUES                                                                            \
    "EXCLUDED.sku, EXCLUDED.qty, EXCLUDED.checked, EXCLUDED.add_price, EXCLUDED.shop, "            \
    "EXCLUDED.ext, EXCLUDED.added_at, EXCLUDED.updated_at"

#define INBOX_TAKEN_MS ", coalesce(extract(EPOCH FROM taken_at) * 1000, 0)::bigint"

/* A row that is expected and is not there must not be made: hence EXISTS. All writers go through
 * the rows in the same order, so that they do not deadlock. */
#define STATEMENTS(X)                                                                              \
    X(CARTS_PUT, "INSERT INTO cart AS c (" CART_NAMES ") SELECT " CART_NAMES " FROM unnest("       \
                 "$1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], "  \
                 "$7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::timestamptz[], "   \
                 "$12::timestamptz[], $13::bigint[], $14::bytea[]) AS u (" CART_NAMES ") "         \
                 "WHERE u.rev = 1 OR EXISTS (SELECT FROM cart o WHERE o.cart_id = u.cart_id) "     \
                 "ORDER BY u.cart_id COLLATE \"C\" "                                               \
                 "ON CONFLICT (cart_id) DO UPDATE SET (" CART_NAMES ") = (" CART_NEW_NAMES ") "    \
                 "WHERE c.rev = EXCLUDED.rev - 1 AND EXCLUDED.rev > 1 RETURNING c.cart_id")        \
    X(LINES_DELETE, "DELETE FROM cart_line l USING unnest($1::text[]) AS w (cart_id) "             \
                    "WHERE l.cart_id = w.cart_id AND NOT EXISTS (SELECT FROM "                     \
                    "unnest($2::text[], $3::text[]) AS k (cart_id, line) "                         \
                    "WHERE k.cart_id = l.cart_id AND k.line = l.line)")                            \
    X(LINES_PUT,                                                                                   \
      "INSERT INTO cart_line AS l (cart_id, line, " LINE_VALUES ") "                               \
      "SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], "      \
      "$6::bigint[], $7::text[], $8::bytea[], $9::timestamptz[], $10::timestamptz[]) "             \
      "ON CONFLICT (cart_id, line) DO UPDATE SET (" LINE_VALUES ") = (" LINE_NEW_VALUES ") "       \
      "WHERE (" LINE_OLD_VALUES ") IS DISTINCT FROM (" LINE_NEW_VALUES ")")                        \
    X(EVENTS_PUT, "INSERT INTO cart_event (id, aggregatetype, aggregateid, type, payload, "        \
                  "version, created_at) SELECT id::uuid, 'cart', aggregateid, type, "              \
                  "payload::json, version, created_at FROM unnest($1::text[], $2::text[], "        \
                  "$3::text[], $4::text[], $5::bigint[], $6::timestamptz[]) AS u (id, "            \
                  "aggregateid, type, payload, version, created_at) ON CONFLICT (id) DO NOTHING")  \
    X(INBOX_TAKE, "WITH t AS (UPDATE cart_inbox SET status = 'taken', taken_at = $2::timestamptz " \
                  "WHERE id IN (SELECT id FROM cart_inbox WHERE status = 'new' ORDER BY id "       \
                  "LIMIT $1::bigint FOR UPDATE SKIP LOCKED) RETURNING *) "                         \
                  "SELECT " L3_INBOX_COLUMNS INBOX_TAKEN_MS " FROM t ORDER BY id")                 \
    X(INBOX_LEFT, "SELECT " L3_INBOX_COLUMNS INBOX_TAKEN_MS " FROM cart_inbox "                    \
                  "WHERE status = 'taken' AND id > $2::bigint ORDER BY id LIMIT $1::bigint")       \
    X(INBOX_DONE, "DELETE FROM cart_inbox WHERE id = ANY ($1::bigint[])")                          \
    X(INBOX_FAILED, "UPDATE cart_inbox i SET status = 'failed', reason = f.reason "                \
                    "FROM unnest($1::bigint[], $2::text[]) AS f (id, reason) WHERE i.id = f.id")   \
    X(LOAD, "SELECT rev, image FROM cart WHERE cart_id = $1::text")                                \
    X(MEND, "UPDATE cart" L3_REV_MEND "$1::text")                                                  \
    X(EACH, "SELECT rev, image, cart_id FROM cart WHERE cart_id > $1::text ORDER BY cart_id "      \
            "LIMIT " EACH_ROWS)

#define X(name, sql) static const char name[] = #name;
STATEMENTS(X)
#undef X

static int prepare_statements(struct l3 *l3)
{
    static const struct {
        const char *name, *sql;
    } statements[] = {
#define X(name, sql) {name, sql},
        STATEMENTS(X)
#undef X
    };
    int err = 0;
    for (size_t i = 0; !err && i < sizeof statements / sizeof statements[0]; i++)
        err = l3_pg_prepare(l3, statements[i].name, statements[i].sql);
    return err;
}

/* ---- writing ------------------------------------------------------------------------- */

static int no_memory(struct l3 *l3)
{
    return l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
}

/* Which carts of a flush a statement is about. */
typedef bool (*choose_cart)(const struct l3_cart *cart);

static bool is_any(const struct l3_cart *cart)
{
    (void)cart;
    return true;
}

static bool is_written(const struct l3_cart *cart)
{
    return cart->outcome == L3_DONE;
}

static size_t count_lines(const struct l3_cart *carts, size_t count)
{
    size_t lines = 0;
    for (size_t i = 0; i < count; i++)
        lines += is_written(&carts[i]) ? carts[i].lines_count : 0;
    return lines;
}

static size_t count_carts(const struct l3_cart *carts, size_t count, choose_cart chosen)
{
    size_t carts_count = 0;
    for (size_t i = 0; i < count; i++)
        carts_count += chosen(&carts[i]);
    return carts_count;
}

/* The next parameter. */
static struct buf *next_param(struct l3 *l3)
{
    struct pgsql *pg = l3->conn;
    MUST(pg->params_count < PG_PARAMS_MAX);
    struct buf *param = &pg->params[pg->params_count++];
    param->len = 0;
    return param;
}

/* A column of carts, of lines of carts that are written, of events: an array each. */
#define CARTS_ARRAY(name, type, put)                                                               \
    if (!err) {                                                                                    \
        struct buf *to = next_param(l3);                                                           \
        err = begin_array(to, TYPE_##type, carts_count);                                           \
        for (const struct l3_cart *cart = carts; !err && cart < carts + count; cart++)             \
            err = chosen(cart) ? put : 0;                                                          \
    }
#define LINES_ARRAY(name, type, put)                                                               \
    if (!err) {                                                                                    \
        struct buf *to = next_param(l3);                                                           \
        err = begin_array(to, TYPE_##type, lines_count);                                           \
        for (const struct l3_cart *cart = carts; !err && cart < carts + count; cart++) {           \
            const struct l3_line *line = cart->lines;                                              \
            uint32_t left = is_written(cart) ? cart->lines_count : 0;                              \
            for (; !err && left > 0; left--, line++)                                               \
                err = put;                                                                         \
        }                                                                                          \
    }
#define EVENTS_ARRAY(name, type, put)                                                              \
    if (!err) {                                                                                    \
        struct buf *to = next_param(l3);                                                           \
        err = begin_array(to, TYPE_##type, count);                                                 \
        for (const struct l3_event *event = events; !err && event < events + count; event++)       \
            err = put;                                                                             \
    }

/* The server says which it has written. */
static int take_written(struct l3 *l3, const PGresult *result, struct l3_cart *carts, size_t count)
{
    struct pgsql *pg = l3->conn;
    for (int row = 0; row < PQntuples(result); row++) {
        struct slice text =
            slice_of(PQgetvalue(result, row, 0), (size_t)PQgetlength(result, row, 0));
        int err = l3_take_text(text, &pg->text);
        struct l3_cart *cart = err ? NULL : l3_find_cart(carts, count, buf_slice(&pg->text));
        if (!cart)
            return err == CE_NOMEM ? no_memory(l3)
                                   : l3_fail(l3, CE_DB, "the server wrote a cart nobody sent");
        cart->outcome = L3_DONE;
    }
    return 0;
}

static int write_rows(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    choose_cart chosen = is_any;
    size_t carts_count = count;
    int err = 0;
    CART_COLUMNS(CARTS_ARRAY)
    if (err)
        return no_memory(l3);
    PGresult *result;
    err = l3_pg_run(l3, CARTS_PUT, &result);
    if (err)
        return err;
    err = take_written(l3, result, carts, count);
    PQclear(result);
    return err;
}

static int delete_gone_lines(struct l3 *l3, const struct l3_cart *carts, size_t count)
{
    choose_cart chosen = is_written;
    size_t carts_count = count_carts(carts, count, chosen);
    size_t lines_count = count_lines(carts, count);
    int err = 0;
    CARTS_ARRAY(cart_id, TEXT, put_text(to, cart->key))
    LINES_ARRAY(cart_id, TEXT, put_text(to, cart->key))
    LINES_ARRAY(line, TEXT, put_text(to, line->line))
    return err ? no_memory(l3) : l3_pg_run(l3, LINES_DELETE, NULL);
}

static int put_lines(struct l3 *l3, const struct l3_cart *carts, size_t count)
{
    size_t lines_count = count_lines(carts, count);
    if (lines_count == 0)
        return 0;
    int err = 0;
    LINE_COLUMNS(LINES_ARRAY)
    return err ? no_memory(l3) : l3_pg_run(l3, LINES_PUT, NULL);
}

/* The params of a statement that was not sent are of no use to the next. */
static int begin(struct l3 *l3)
{
    struct pgsql *pg = l3->conn;
    pg->params_count = 0;
    return l3_pg_query(l3, "BEGIN ISOLATION LEVEL READ COMMITTED", NULL);
}

/* Commits when all went well so far, else takes all back; the first error's words stay. */
static int end_transaction(struct l3 *l3, int err)
{
    struct pgsql *pg = l3->conn;
    if (!err)
        return l3_pg_query(l3, "COMMIT", NULL);
    if (PQstatus(pg->conn) == CONNECTION_OK && PQtransactionStatus(pg->conn) != PQTRANS_ACTIVE) {
        const struct l3 kept = *l3;
        const struct pgsql kept_state = *pg;
        if (l3_pg_query(l3, "ROLLBACK", NULL) == 0)
            memcpy(pg->state, kept_state.state, sizeof pg->state);
        memcpy(l3->message, kept.message, sizeof l3->message);
    }
    return err;
}

/* A transaction that is still open, or may be, goes with its connection. */
static int finish(struct l3 *l3, int err)
{
    const struct pgsql *pg = l3->conn;
    err = end_transaction(l3, err);
    l3->is_lost = PQtransactionStatus(pg->conn) != PQTRANS_IDLE;
    return err;
}

static int try_flush(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        carts[i].outcome = L3_CONFLICT;
    int err = begin(l3);
    if (!err)
        err = write_rows(l3, carts, count);
    if (!err && count_carts(carts, count, is_written)) {
        err = delete_gone_lines(l3, carts, count);
        if (!err)
            err = put_lines(l3, carts, count);
    }
    return finish(l3, err);
}

/* Others got into the way: a deadlock, a serialisation failure. Nothing is wrong with the carts. */
static bool was_bad_luck(const struct l3 *l3)
{
    return !l3->is_lost && (l3_pg_failed_with(l3, "40001") || l3_pg_failed_with(l3, "40P01"));
}

static int flush_pgsql(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    int err = try_flush(l3, carts, count);
    for (int tries = 1; err && was_bad_luck(l3) && tries < TRIES_MAX; tries++)
        err = try_flush(l3, carts, count);
    return err;
}

/* ---- events -------------------------------------------------------------------------- */

static int insert_events(struct l3 *l3, const struct l3_event *events, size_t count)
{
    int err = 0;
    EVENT_COLUMNS(EVENTS_ARRAY)
    return err ? no_memory(l3) : l3_pg_run(l3, EVENTS_PUT, NULL);
}

/* True when the last error was about the values of one row: data, a constraint, a trigger. */
static bool refused_values(const struct l3 *l3)
{
    return l3_pg_failed_with(l3, "22") || l3_pg_failed_with(l3, "23") ||
           l3_pg_failed_with(l3, "P0") || l3_pg_failed_with(l3, "54");
}

/* One that is refused is taken back alone. */
static int put_one(struct l3 *l3, struct l3_event *event)
{
    int err = l3_pg_query(l3, "SAVEPOINT event", NULL);
    if (err)
        return err;
    err = insert_events(l3, event, 1);
    event->outcome = err ? L3_FAILED : L3_DONE;
    return err && refused_values(l3) ? l3_pg_query(l3, "ROLLBACK TO SAVEPOINT event", NULL) : err;
}

static int put_each(struct l3 *l3, struct l3_event *events, size_t count)
{
    int err = begin(l3);
    for (size_t i = 0; !err && i < count; i++)
        err = put_one(l3, &events[i]);
    return finish(l3, err);
}

static int put_events_pgsql(struct l3 *l3, struct l3_event *events, size_t count)
{
    int err = begin(l3);
    if (!err)
        err = insert_events(l3, events, count);
    err = finish(l3, err);
    if (err && !l3->is_lost && refused_values(l3))
        return put_each(l3, events, count);
    for (size_t i = 0; i < count; i++)
        events[i].outcome = L3_DONE;
    return err;
}

/* ---- reading ------------------------------------------------------------------------- */

static struct slice column_bytes(const PGresult *result, int row, int column)
{
    return slice_of(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
}

/* The revision in column 0. */
static int take_rev(struct l3 *l3, const PGresult *result, int row, uint32_t *rev)
{
    uint64_t wire;
    MUST(PQgetlength(result, row, 0) == sizeof wire);
    memcpy(&wire, PQgetvalue(result, row, 0), sizeof wire);
    return l3_take_rev(l3, (int64_t)be64toh(wire), rev);
}

/* Runs a query for `text`, as it stands in the database. */
static int query_by_text(struct l3 *l3, const char *name, struct slice text, PGresult **result)
{
    struct pgsql *pg = l3->conn;
    pg->params_count = 0;
    if (buf_append(next_param(l3), text.bytes, text.len))
        return no_memory(l3);
    return l3_pg_run(l3, name, result);
}

static int query_by_key(struct l3 *l3, const char *name, struct slice key, PGresult **result)
{
    struct pgsql *pg = l3->conn;
    pg->text.len = 0;
    if (l3_put_text(&pg->text, key))
        return no_memory(l3);
    return query_by_text(l3, name, buf_slice(&pg->text), result);
}

static int mend_rev_pgsql(struct l3 *l3, struct slice key)
{
    return query_by_key(l3, MEND, key, NULL);
}

static int load_pgsql(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev)
{
    PGresult *result;
    int err = query_by_key(l3, LOAD, key, &result);
    if (err)
        return err;
    err = PQntuples(result) ? take_rev(l3, result, 0, rev) : CE_NOTFOUND;
    if (!err) {
        struct slice bytes = column_bytes(result, 0, 1);
        err = buf_append(image, bytes.bytes, bytes.len) ? no_memory(l3) : 0;
    }
    PQclear(result);
    return err;
}

struct visitor {
    int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image);
    void *arg;
};

static int visit_row(struct l3 *l3, const PGresult *result, int row, const struct visitor *visitor)
{
    uint32_t rev;
    struct buf key = {0};
    int err = take_rev(l3, result, row, &rev);
    if (!err && l3_take_text(column_bytes(result, row, 2), &key))
        err = l3_fail(l3, CE_DB, "a cart_id is not one of cartd's");
    if (!err)
        err = visitor->each(visitor->arg, buf_slice(&key), rev, column_bytes(result, row, 1));
    buf_free(&key);
    return err;
}

/* Pages by key, so that no transaction stays open and the connection is free between them. */
static int each_pgsql(struct l3 *l3, struct slice after,
                      int (*each)(void *arg, struct slice key, uint32_t rev, struct slice image),
                      void *arg)
{
    const struct visitor visitor = {each, arg};
    struct buf last = {0};
    int err = l3_put_text(&last, after) ? no_memory(l3) : 0;
    int rows = 1;
    while (!err && rows > 0) {
        PGresult *result;
        err = query_by_text(l3, EACH, buf_slice(&last), &result);
        if (err)
            break;
        rows = PQntuples(result);
        for (int row = 0; !err && row < rows; row++)
            err = visit_row(l3, result, row, &visitor);
        last.len = 0;
        if (!err && rows > 0) {
            struct slice text = column_bytes(result, rows - 1, 2);
            err = buf_append(&last, text.bytes, text.len) ? no_memory(l3) : 0;
        }
        PQclear(result);
    }
    buf_free(&last);
    return err;
}

/* ---- the inbox ----------------------------------------------------------------------- */

static int64_t column_i64(const PGresult *result, int row, int column)
{
    uint64_t wire;
    MUST(PQgetlength(result, row, column) == sizeof wire);
    memcpy(&wire, PQgetvalue(result, row, column), sizeof wire);
    return (int64_t)be64toh(wire);
}

/* A parameter that is one number. */
static int next_number(struct l3 *l3, int64_t value)
{
    uint64_t wire = htobe64((uint64_t)value);
    return buf_append(next_param(l3), &wire, sizeof wire);
}

static int read_inbox(struct l3 *l3, const char *name, size_t max, int64_t second,
                      struct l3_inbox_row *rows, size_t *count)
{
    struct pgsql *pg = l3->conn;
    PGresult *result;
    pg->params_count = 0;
    if (next_number(l3, (int64_t)max) || next_number(l3, second))
        return no_memory(l3);
    int err = l3_pg_run(l3, name, &result);
    if (err)
        return err;
    *count = (size_t)PQntuples(result);
    MUST(*count <= max);
    for (int row = 0; !err && row < (int)*count; row++) {
        err =
            l3_fill_inbox_row(&rows[row], column_i64(result, row, 0), column_bytes(result, row, 1),
                              true, column_bytes(result, row, 2), column_bytes(result, row, 3));
        rows[row].taken_us = (uint64_t)column_i64(result, row, 4) * 1000;
    }
    PQclear(result);
    return err ? no_memory(l3) : 0;
}

static int inbox_take_pgsql(struct l3 *l3, uint64_t now_us, struct l3_inbox_row *rows, size_t max,
                            size_t *count)
{
    int64_t now = ((int64_t)l3_time_ms(now_us) - EPOCH_2000_MS) * 1000;
    return read_inbox(l3, INBOX_TAKE, max, now, rows, count);
}

static int inbox_left_pgsql(struct l3 *l3, int64_t after, struct l3_inbox_row *rows, size_t max,
                            size_t *count)
{
    return read_inbox(l3, INBOX_LEFT, max, after, rows, count);
}

static size_t count_fate(const struct l3_inbox_row *rows, size_t count, enum l3_inbox_fate fate)
{
    size_t of_fate = 0;
    for (size_t i = 0; i < count; i++)
        of_fate += rows[i].fate == fate;
    return of_fate;
}

/* Both kinds of rows: their ids, and the reasons of those that failed. */
static int settle_fate(struct l3 *l3, const struct l3_inbox_row *rows, size_t count,
                       enum l3_inbox_fate fate)
{
    size_t of_fate = count_fate(rows, count, fate);
    bool has_reasons = fate == L3_INBOX_FAILED;
    if (of_fate == 0)
        return 0;
    struct buf *ids = next_param(l3);
    int err = begin_array(ids, TYPE_INT8, of_fate);
    for (size_t i = 0; !err && i < count; i++)
        err = rows[i].fate == fate ? put_i64(ids, rows[i].id) : 0;
    struct buf *reasons = has_reasons && !err ? next_param(l3) : NULL;
    if (reasons)
        err = begin_array(reasons, TYPE_TEXT, of_fate);
    for (size_t i = 0; reasons && !err && i < count; i++)
        err = rows[i].fate == fate ? put_text(reasons, slice_str(rows[i].reason)) : 0;
    return err ? no_memory(l3) : l3_pg_run(l3, has_reasons ? INBOX_FAILED : INBOX_DONE, NULL);
}

static int inbox_settle_pgsql(struct l3 *l3, const struct l3_inbox_row *rows, size_t count)
{
    int err = begin(l3);
    if (!err)
        err = settle_fate(l3, rows, count, L3_INBOX_DONE);
    if (!err)
        err = settle_fate(l3, rows, count, L3_INBOX_FAILED);
    return finish(l3, err);
}

/* ---- the driver ---------------------------------------------------------------------- */

static int open_pgsql(struct l3 *l3, const char *where)
{
    int err = l3_pg_open(l3, where);
    return err ? err : prepare_statements(l3);
}

const struct l3_driver *l3_pgsql_driver(void)
{
    static const struct l3_driver driver = {
        .open = open_pgsql,
        .close = l3_pg_close,
        .flush = flush_pgsql,
        .put_events = put_events_pgsql,
        .load = load_pgsql,
        .mend_rev = mend_rev_pgsql,
        .each = each_pgsql,
        .inbox_take = inbox_take_pgsql,
        .inbox_left = inbox_left_pgsql,
        .inbox_settle = inbox_settle_pgsql,
    };
    return &driver;
}

#endif
