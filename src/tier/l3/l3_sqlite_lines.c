/* The SQLite driver: the lines of a cart. One statement goes through the rows that are there; it
 * asks functions of this file whether a row differs from its line, and for what it becomes. So a
 * row is sought once and none is read into the program first. Then rows of lines that the cart no
 * longer has (or has under another sku, which is never updated) are deleted, if one was met, and
 * what is new is inserted. */
#include "tier/l3/l3_sqlite_int.h"

#include <stdlib.h>

/* A line on its way, and what its row needs. */
struct line_write {
    const struct l3_line *line;
    bool has_row;
    struct slice added, updated; /* their text; empty until a row is met */
    char added_text[TIME_BYTES_MAX], updated_text[TIME_BYTES_MAX];
};

/* ---- the cart at hand ---------------------------------------------------------------- */

static int order_lines(const void *a, const void *b)
{
    const struct line_write *one = a;
    const struct line_write *two = b;
    return slice_cmp(one->line->line, two->line->line);
}

static int take_lines(struct l3 *l3, const struct l3_cart *cart)
{
    struct sqlite_lines *lines = &((struct sqlite *)l3->conn)->lines;
    size_t count = cart->lines_count;
    if (lines->cap < count) {
        struct line_write *writes = realloc(lines->writes, count * sizeof *writes);
        if (!writes)
            return l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
        lines->writes = writes;
        lines->cap = count;
    }
    for (size_t i = 0; i < count; i++) {
        struct line_write *write = &lines->writes[i];
        write->line = &cart->lines[i];
        write->has_row = false;
        write->added.len = write->updated.len = 0;
    }
    if (count)
        qsort(lines->writes, count, sizeof *lines->writes, order_lines);
    lines->count = count;
    lines->next = 0;
    lines->gone = 0;
    return 0;
}

/* Rows come in the order of their lines, so that the next one is mostly the one. NULL: none. */
static struct line_write *find_line(struct sqlite_lines *lines, struct slice name)
{
    const struct l3_line wanted = {.line = name};
    const struct line_write key = {.line = &wanted};
    for (size_t i = lines->next; i < lines->count && i < lines->next + 2; i++)
        if (slice_eq(lines->writes[i].line->line, name))
            return &lines->writes[lines->next = i];
    struct line_write *found = lines->count ? bsearch(&key, lines->writes, lines->count,
                                                      sizeof *lines->writes, order_lines)
                                            : NULL;
    if (found)
        lines->next = (size_t)(found - lines->writes);
    return found;
}

/* ---- what SQL asks ------------------------------------------------------------------- */

static struct slice value_bytes(sqlite3_value *value)
{
    const void *bytes = sqlite3_value_blob(value);
    return slice_of(bytes, (size_t)sqlite3_value_bytes(value));
}

static bool is_number(sqlite3_value *value, bool known, int64_t number)
{
    int type = sqlite3_value_type(value);
    return known ? type == SQLITE_INTEGER && sqlite3_value_int64(value) == number
                 : type == SQLITE_NULL;
}

static struct line_write *line_of(sqlite3_context *context, sqlite3_value *name)
{
    struct sqlite *conn = sqlite3_user_data(context);
    return find_line(&conn->lines, value_bytes(name));
}

/* In the order of the columns, without the cart's. */
enum { LINE, SKU, QTY, CHECKED, PRICE, SHOP, EXT, ADDED, UPDATED, COLUMNS };

static bool is_same(struct line_write *write, sqlite3_value **columns)
{
    const struct l3_line *line = write->line;
    return is_number(columns[QTY], true, line->qty) &&
           is_number(columns[CHECKED], true, line->checked) &&
           is_number(columns[PRICE], line->has_price, line->price) &&
           slice_eq(value_bytes(columns[SHOP]), line->shop) &&
           slice_eq(value_bytes(columns[EXT]), line->ext) &&
           slice_eq(value_bytes(columns[UPDATED]), write->updated) &&
           slice_eq(value_bytes(columns[ADDED]), write->added);
}

/* cartd_line_differs(line, sku, ... updated_at): whether this row is to be updated. */
static void tell_differs(sqlite3_context *context, int count, sqlite3_value **columns)
{
    struct sqlite *conn = sqlite3_user_data(context);
    struct line_write *write = line_of(context, columns[LINE]);
    MUST(count == COLUMNS);
    if (!write || !slice_eq(value_bytes(columns[SKU]), write->line->sku)) {
        conn->lines.gone++;
        sqlite3_result_int(context, 0);
        return;
    }
    const struct l3_line *line = write->line;
    write->has_row = true;
    write->added = l3_lite_write_time(conn, line->added_us, write->added_text);
    write->updated = l3_lite_write_time(conn, line->updated_us, write->updated_text);
    sqlite3_result_int(context, !is_same(write, columns));
}

/* cartd_line_gone(line): whether this row is to be deleted. */
static void tell_gone(sqlite3_context *context, int count, sqlite3_value **columns)
{
    (void)count;
    const struct line_write *write = line_of(context, columns[0]);
    sqlite3_result_int(context, !write || !write->has_row);
}

static void give_blob(sqlite3_context *context, struct slice bytes)
{
    sqlite3_result_blob64(context, bytes.len ? (const void *)bytes.bytes : "", bytes.len,
                          SQLITE_STATIC);
}

static void give_text(sqlite3_context *context, struct slice text)
{
    if (!l3_is_utf8(text))
        give_blob(context, text);
    else
        sqlite3_result_text64(context, text.len ? (const char *)text.bytes : "", text.len,
                              SQLITE_STATIC, SQLITE_UTF8);
}

static void give_number(sqlite3_context *context, bool known, int64_t number)
{
    if (known)
        sqlite3_result_int64(context, number);
    else
        sqlite3_result_null(context);
}

static void give_column(sqlite3_context *context, const struct line_write *write, int column)
{
    const struct l3_line *line = write->line;
    switch (column) {
    case QTY: give_number(context, true, line->qty); break;
    case CHECKED: give_number(context, true, line->checked); break;
    case PRICE: give_number(context, line->has_price, line->price); break;
    case SHOP: give_text(context, line->shop); break;
    case EXT: give_blob(context, line->ext); break;
    case ADDED: give_text(context, write->added); break;
    case UPDATED: give_text(context, write->updated); break;
    default: MUST(false);
    }
}

/* cartd_line(line, column): what this row's column becomes. */
static void tell_column(sqlite3_context *context, int count, sqlite3_value **values)
{
    (void)count;
    const struct line_write *write = line_of(context, values[0]);
    MUST(write && write->has_row);
    give_column(context, write, sqlite3_value_int(values[1]));
}

int l3_lite_lines_open(struct l3 *l3)
{
    static const struct {
        const char *name;
        int arguments;
        void (*function)(sqlite3_context *context, int count, sqlite3_value **values);
    } functions[] = {{"cartd_line_differs", COLUMNS, tell_differs},
                     {"cartd_line", 2, tell_column},
                     {"cartd_line_gone", 1, tell_gone}};
    struct sqlite *conn = l3->conn;
    int rc = SQLITE_OK;
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof functions / sizeof functions[0]; i++)
        rc = sqlite3_create_function_v2(conn->db, functions[i].name, functions[i].arguments,
                                        SQLITE_UTF8 | SQLITE_DIRECTONLY, conn,
                                        functions[i].function, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : l3_lite_fail(l3);
}

void l3_lite_lines_close(struct sqlite *conn)
{
    free(conn->lines.writes);
}

/* ---- writing ------------------------------------------------------------------------- */

static int run_for_cart(struct l3 *l3, enum statement which, struct slice key)
{
    struct call call = l3_lite_call(l3, which);
    l3_lite_put_text(&call, key);
    return l3_lite_run(&call);
}

static int insert_line(struct l3 *l3, struct slice key, const struct l3_line *line)
{
    struct call call = l3_lite_call(l3, STATEMENT_LINE_INSERT);
    l3_lite_put_text(&call, key);
    l3_lite_put_text(&call, line->line);
    l3_lite_put_text(&call, line->sku);
    l3_lite_put_i64(&call, line->qty);
    l3_lite_put_i64(&call, line->checked);
    l3_lite_put_known_i64(&call, line->has_price, line->price);
    l3_lite_put_text(&call, line->shop);
    l3_lite_put_blob(&call, line->ext);
    l3_lite_put_time(&call, line->added_us);
    l3_lite_put_time(&call, line->updated_us);
    return l3_lite_run(&call);
}

int l3_lite_write_lines(struct l3 *l3, const struct l3_cart *cart)
{
    const struct sqlite_lines *lines = &((struct sqlite *)l3->conn)->lines;
    int err = take_lines(l3, cart);
    if (!err)
        err = run_for_cart(l3, STATEMENT_LINES_UPDATE, cart->key);
    if (!err && lines->gone)
        err = run_for_cart(l3, STATEMENT_LINES_DELETE, cart->key);
    for (size_t i = 0; !err && i < lines->count; i++)
        if (!lines->writes[i].has_row)
            err = insert_line(l3, cart->key, lines->writes[i].line);
    return err;
}
