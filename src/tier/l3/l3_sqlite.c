/* The SQLite driver: how a batch is written and carts are read. The connection and its tables are
 * in l3_sqlite_conn.c, a cart's lines in l3_sqlite_lines.c, the inbox in l3_sqlite_inbox.c.
 *
 * A flush: BEGIN IMMEDIATE; per cart the row, guarded by its revision, then its lines; COMMIT.
 * Whatever fails rolls everything back. */
#include "tier/l3/l3_sqlite_int.h"

#define EACH_ROWS  256        /* read at a time */
#define EACH_BYTES (1u << 20) /* ... and about so much memory for them */

/* ---- writing ------------------------------------------------------------------------- */

/* Writes the cart's row if it is at the revision that the cart is based on. */
static int put_row(struct l3 *l3, const struct l3_cart *cart, bool *written)
{
    char cas[NUM_DIGITS_MAX + 1];
    cas[num_put_u64(cas, cart->cas)] = '\0';
    bool is_new = cart->rev == 0;
    struct call call = l3_lite_call(l3, is_new ? STATEMENT_CART_INSERT : STATEMENT_CART_UPDATE);
    l3_lite_put_text(&call, cart->key);
    l3_lite_put_i64(&call, cart->state);
    l3_lite_put_string(&call, cart->currency);
    l3_lite_put_i64(&call, cart->version > INT64_MAX ? INT64_MAX : (int64_t)cart->version);
    l3_lite_put_string(&call, cas);
    l3_lite_put_i64(&call, cart->lines_count);
    l3_lite_put_i64(&call, cart->qty);
    l3_lite_put_known_i64(&call, cart->amount_known, cart->amount);
    l3_lite_put_i64(&call, cart->checked_qty);
    l3_lite_put_known_i64(&call, cart->checked_amount_known, cart->checked_amount);
    l3_lite_put_time(&call, cart->updated_us);
    if (cart->expires_us)
        l3_lite_put_time(&call, cart->expires_us);
    else
        l3_lite_put_null(&call);
    l3_lite_put_i64(&call, (int64_t)cart->rev + 1);
    l3_lite_put_blob(&call, cart->image);
    int err = l3_lite_run(&call);
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
    return written ? l3_lite_write_lines(l3, cart) : 0;
}

static int flush_sqlite(struct l3 *l3, struct l3_cart *carts, size_t count)
{
    int err = l3_lite_begin(l3);
    for (size_t i = 0; !err && i < count; i++)
        err = write_cart(l3, &carts[i]);
    return l3_lite_finish(l3, err);
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
    struct call call = l3_lite_call(l3, STATEMENT_EVENT_PUT);
    l3_lite_put_string(&call, event->id);
    l3_lite_put_text(&call, event->key);
    l3_lite_put_string(&call, event->type);
    l3_lite_put_text(&call, event->payload);
    l3_lite_put_i64(&call, event->version > INT64_MAX ? INT64_MAX : (int64_t)event->version);
    l3_lite_put_time(&call, event->created_us);
    int err = l3_lite_run(&call);
    event->outcome = err ? L3_FAILED : L3_DONE;
    return err && refused_values(l3) ? 0 : err;
}

static int put_events_sqlite(struct l3 *l3, struct l3_event *events, size_t count)
{
    int err = l3_lite_begin(l3);
    for (size_t i = 0; !err && i < count; i++)
        err = put_event(l3, &events[i]);
    return l3_lite_finish(l3, err);
}

/* ---- reading ------------------------------------------------------------------------- */

/* The revision in column 1. */
static int take_rev(struct call *call, uint32_t *rev)
{
    return l3_take_rev(call->l3, sqlite3_column_int64(call->statement, 1), rev);
}

static int load_sqlite(struct l3 *l3, struct slice key, struct buf *image, uint32_t *rev)
{
    struct call call = l3_lite_call(l3, STATEMENT_CART_LOAD);
    l3_lite_put_text(&call, key);
    int err = l3_lite_next_row(&call);
    if (!err)
        err = take_rev(&call, rev);
    if (!err) {
        struct slice bytes = l3_lite_column_bytes(&call, 0);
        if (buf_append(image, bytes.bytes, bytes.len))
            err = l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
    }
    sqlite3_reset(call.statement);
    return err;
}

static int mend_rev_sqlite(struct l3 *l3, struct slice key)
{
    struct call call = l3_lite_call(l3, STATEMENT_CART_MEND);
    l3_lite_put_text(&call, key);
    return l3_lite_run(&call);
}

/* A row in a page; key and image follow. */
struct page_row {
    uint32_t rev, key_bytes;
    size_t image_bytes;
};

static int put_row_in_page(struct call *call, struct buf *page)
{
    struct slice key = l3_lite_column_bytes(call, 2), image = l3_lite_column_bytes(call, 0);
    struct page_row row = {.key_bytes = (uint32_t)key.len, .image_bytes = image.len};
    int err = take_rev(call, &row.rev);
    if (!err && (buf_append(page, &row, sizeof row) || buf_append(page, key.bytes, key.len) ||
                 buf_append(page, image.bytes, image.len)))
        err = l3_fail(call->l3, CE_NOMEM, err_text(CE_NOMEM));
    return err;
}

/* The rows behind a key, some of them. Empty: there are no more. */
static int read_page(struct l3 *l3, struct slice last, struct buf *page)
{
    struct call call = l3_lite_call(l3, STATEMENT_CART_EACH);
    l3_lite_put_text(&call, last);
    int err = 0;
    page->len = 0;
    for (int rows = 0; !err && rows < EACH_ROWS && page->len < EACH_BYTES; rows++) {
        err = l3_lite_next_row(&call);
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

const struct l3_driver *l3_sqlite_driver(void)
{
    static const struct l3_driver driver = {
        .one_writer = true,
        .open = l3_lite_open,
        .close = l3_lite_close,
        .flush = flush_sqlite,
        .put_events = put_events_sqlite,
        .load = load_sqlite,
        .mend_rev = mend_rev_sqlite,
        .each = each_sqlite,
        .inbox_take = l3_lite_inbox_take,
        .inbox_left = l3_lite_inbox_left,
        .inbox_settle = l3_lite_inbox_settle,
        .copy = l3_lite_copy,
    };
    return &driver;
}
