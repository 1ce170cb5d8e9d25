/* The SQLite driver: taking and settling rows of the inbox. */
#include "tier/l3/l3_sqlite_int.h"

static int read_inbox(struct l3 *l3, const char *status, int64_t after, struct l3_inbox_row *rows,
                      size_t max, size_t *count)
{
    struct call call = l3_lite_call(l3, STATEMENT_INBOX_READ);
    int err;
    *count = 0;
    l3_lite_put_string(&call, status);
    l3_lite_put_i64(&call, after);
    l3_lite_put_i64(&call, (int64_t)max);
    while (!(err = l3_lite_next_row(&call))) {
        struct l3_inbox_row *row = &rows[*count];
        if (l3_fill_inbox_row(row, sqlite3_column_int64(call.statement, 0),
                              l3_lite_column_bytes(&call, 1), false, l3_lite_column_bytes(&call, 2),
                              l3_lite_column_bytes(&call, 3))) {
            err = l3_fail(l3, CE_NOMEM, err_text(CE_NOMEM));
            break;
        }
        row->taken_us = (uint64_t)sqlite3_column_int64(call.statement, 4) * 1000000;
        (*count)++;
    }
    sqlite3_reset(call.statement);
    return err == CE_NOTFOUND ? 0 : err;
}

int l3_lite_inbox_left(struct l3 *l3, int64_t after, struct l3_inbox_row *rows, size_t max,
                       size_t *count)
{
    return read_inbox(l3, "taken", after, rows, max, count);
}

static int mark_inbox(struct l3 *l3, uint64_t now_us, const struct l3_inbox_row *rows, size_t count)
{
    int err = 0;
    for (size_t i = 0; !err && i < count; i++) {
        struct call call = l3_lite_call(l3, STATEMENT_INBOX_TAKE);
        l3_lite_put_i64(&call, rows[i].id);
        l3_lite_put_time(&call, now_us);
        err = l3_lite_run(&call);
    }
    return err;
}

/* Looks first: without rows the lock of all writers is not taken. */
int l3_lite_inbox_take(struct l3 *l3, uint64_t now_us, struct l3_inbox_row *rows, size_t max,
                       size_t *count)
{
    int err = read_inbox(l3, "new", 0, rows, 1, count);
    if (err || *count == 0)
        return err;
    err = l3_lite_begin(l3);
    if (!err)
        err = read_inbox(l3, "new", 0, rows, max, count);
    if (!err)
        err = mark_inbox(l3, now_us, rows, *count);
    return l3_lite_finish(l3, err);
}

static int settle_one(struct l3 *l3, const struct l3_inbox_row *row)
{
    if (row->fate == L3_INBOX_OPEN)
        return 0;
    bool is_done = row->fate == L3_INBOX_DONE;
    struct call call = l3_lite_call(l3, is_done ? STATEMENT_INBOX_DONE : STATEMENT_INBOX_FAILED);
    l3_lite_put_i64(&call, row->id);
    if (!is_done)
        l3_lite_put_string(&call, row->reason);
    return l3_lite_run(&call);
}

int l3_lite_inbox_settle(struct l3 *l3, const struct l3_inbox_row *rows, size_t count)
{
    int err = l3_lite_begin(l3);
    for (size_t i = 0; !err && i < count; i++)
        err = settle_one(l3, &rows[i]);
    return l3_lite_finish(l3, err);
}
