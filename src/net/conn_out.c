/* conn_out: the output of a connection. Replies gather in `out`; some are held until the journal is
 * far enough, and all behind them wait too. */
#include "net/net_int.h"

#include <stdlib.h>

#define HOLDS_MIN  16
#define HOLDS_KEEP 256 /* an array above this is given back when nothing is held */

void conn_unhold(struct net_conn *conn)
{
    if (!conn->held)
        return;
    if (conn->held_prev)
        conn->held_prev->held_next = conn->held_next;
    else
        conn->worker->held = conn->held_next;
    if (conn->held_next)
        conn->held_next->held_prev = conn->held_prev;
    conn->held = false;
    atomic_fetch_sub(&conn->worker->held_count, 1);
}

static void held_link(struct net_conn *conn)
{
    if (conn->held)
        return;
    conn->held = true;
    conn->held_prev = NULL;
    conn->held_next = conn->worker->held;
    if (conn->held_next)
        conn->held_next->held_prev = conn;
    conn->worker->held = conn;
    /* seq_cst: paired with net_advanced(), which publishes first and reads this second. */
    atomic_fetch_add(&conn->worker->held_count, 1);
}

static void forget_holds(struct net_conn *conn)
{
    conn->holds_first = conn->holds_count = 0;
    if (conn->holds_cap > HOLDS_KEEP) {
        free(conn->holds);
        conn->holds = NULL;
        conn->holds_cap = 0;
    }
    conn_unhold(conn);
}

/* Puts the error in place of a held reply whose promise can't be kept. */
static int replace_reply(struct net_conn *conn, size_t index, int code)
{
    const struct net_handler *handler = conn->worker->net->config.handler;
    struct hold *hold = &conn->holds[index];
    size_t len = hold->end - hold->start;
    struct buf instead = {0};
    int rc = handler->hold_failed(handler->ctx, slice_of(conn->out.bytes + hold->start, len), code,
                                  &instead);
    if (rc == 0)
        rc = buf_splice(&conn->out, hold->start, len, buf_slice(&instead));
    for (size_t i = index + 1; i < conn->holds_count; i++) {
        conn->holds[i].start += instead.len - len;
        conn->holds[i].end += instead.len - len;
    }
    buf_free(&instead);
    return rc;
}

/* Releases what may go; *limit is how far `out` may be sent. */
static int release_holds(struct net_conn *conn, size_t *limit)
{
    const struct net_handler *handler = conn->worker->net->config.handler;
    while (conn->holds_first < conn->holds_count) {
        struct hold *hold = &conn->holds[conn->holds_first];
        int state = handler->hold_state(handler->ctx, hold->lsn, hold->level);
        if (state > 0) {
            held_link(conn);
            /* Look again behind the link: an advance in between would wake nobody. */
            state = handler->hold_state(handler->ctx, hold->lsn, hold->level);
        }
        if (state > 0) {
            *limit = hold->start;
            return 0;
        }
        if (state < 0 && replace_reply(conn, conn->holds_first, state))
            return CE_NOMEM;
        conn->holds_first++;
    }
    forget_holds(conn);
    *limit = conn->out.len;
    return 0;
}

void conn_refit(struct pool *pool, struct buf *buf, size_t len)
{
    struct buf smaller = {0};
    bool fits = buf->len - len <= CONN_KEEP_BYTES / 2;
    if (buf->cap > CONN_KEEP_BYTES && fits &&
        buf_append(&smaller, buf->bytes + len, buf->len - len) == 0) {
        pool_give(pool, buf);
        *buf = smaller;
        return;
    }
    buf_drop_front(buf, len);
}

/* Gives sent bytes back; holds keep their offsets true. Never moves more than was sent. */
static void compact_out(struct net_conn *conn)
{
    struct pool *pool = &conn->worker->pool;
    size_t unsent = conn->out.len - conn->out_sent;
    if (unsent == 0) {
        MUST(conn->holds_count == conn->holds_first);
        conn->out_last = conn->out.len;
        conn->out_sent = 0;
        pool_give(pool, &conn->out);
    } else if (conn->out_sent >= CONN_KEEP_BYTES && conn->out_sent >= unsent) {
        for (size_t i = conn->holds_first; i < conn->holds_count; i++) {
            conn->holds[i].start -= conn->out_sent;
            conn->holds[i].end -= conn->out_sent;
        }
        conn_refit(pool, &conn->out, conn->out_sent);
        conn->out_sent = 0;
    }
}

static bool send_some(struct net_conn *conn, size_t limit)
{
    while (conn->out_sent < limit) {
        ssize_t sent =
            stream_write(&conn->stream, conn->out.bytes + conn->out_sent, limit - conn->out_sent);
        if (sent < 0)
            return sent == STREAM_AGAIN;
        conn->out_sent += (size_t)sent;
        count_add(&conn->worker->bytes_written, (uint64_t)sent);
        conn_active(conn);
    }
    return true;
}

void conn_flush(struct net_conn *conn)
{
    size_t limit;
    MUST_OBJ(conn, CONN_MAGIC);
    if (release_holds(conn, &limit)) {
        conn_drop(conn);
        return;
    }
    if (conn->is_datagram) {
        if (limit == conn->out.len)
            datagram_flush(conn);
        return;
    }
    if (!send_some(conn, limit)) {
        conn_drop(conn);
        return;
    }
    bool unsent = conn->out_sent < limit;
    if (conn->out_sent == conn->out.len && conn->closing && !conn->parked) {
        if (stream_end(&conn->stream) == 0) {
            conn_free(conn);
            return;
        }
        unsent = true; /* the end itself */
    }
    compact_out(conn);
    if (conn->full && !net_out_full(conn)) {
        conn->full = false;
        worker_ready(conn);
    }
    conn_watch(conn, unsent);
}

/* ---- for the handler ---- */

struct buf *net_out(struct net_conn *conn)
{
    return &conn->out;
}

bool net_out_full(const struct net_conn *conn)
{
    return conn->out.len - conn->out_sent >= conn->out_high ||
           conn->holds_count - conn->holds_first >= CONN_HOLDS_MAX;
}

/* Makes room for one more, first of all where released ones have been. */
static int reserve_hold(struct net_conn *conn)
{
    size_t live = conn->holds_count - conn->holds_first;
    if (conn->holds_count < conn->holds_cap)
        return 0;
    if (conn->holds_first >= live && live > 0) {
        memmove(conn->holds, conn->holds + conn->holds_first, live * sizeof *conn->holds);
        conn->holds_first = 0;
        conn->holds_count = live;
        return 0;
    }
    size_t cap = conn->holds_cap ? conn->holds_cap * 2 : HOLDS_MIN;
    struct hold *holds = realloc(conn->holds, cap * sizeof *holds);
    if (!holds)
        return CE_NOMEM;
    conn->holds = holds;
    conn->holds_cap = cap;
    return 0;
}

int net_hold(struct net_conn *conn, size_t start, uint64_t lsn, int level)
{
    MUST_OBJ(conn, CONN_MAGIC);
    MUST(start < conn->out.len);
    if (reserve_hold(conn))
        return CE_NOMEM;
    conn->holds[conn->holds_count++] =
        (struct hold){.start = start, .end = conn->out.len, .lsn = lsn, .level = level};
    return 0;
}
