/* conn: one connection on its worker.
 *
 * readable -> read -> conn_run: handler uses input, appends replies -> conn_flush: send up to the
 * first held reply. A connection is freed in one place only (conn_free), never while parked. */
#include "net/net_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_KEEP_BYTES  (64u << 10) /* buffers above this are given back when empty */
#define OUT_KEEP_BYTES (64u << 10)
#define HOLDS_MIN      16

static void held_unlink(struct net_conn *conn)
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

static void ready_unlink(struct net_conn *conn)
{
    struct worker *worker = conn->worker;
    if (!conn->queued)
        return;
    struct net_conn **at = &worker->ready;
    while (*at != conn)
        at = &(*at)->ready_next;
    *at = conn->ready_next;
    if (worker->ready_tail == &conn->ready_next)
        worker->ready_tail = at;
    conn->queued = false;
}

/* Takes it out of every list and closes the socket. */
static void conn_detach(struct net_conn *conn)
{
    struct worker *worker = conn->worker;
    held_unlink(conn);
    ready_unlink(conn);
    event_del(&conn->read_event);
    event_del(&conn->write_event);
    close(conn->fd);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        worker->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    atomic_fetch_sub(&worker->net->conns_count, 1);
}

static void conn_release(struct net_conn *conn)
{
    if (conn->session)
        conn->worker->net->config.handler->conn_close(conn->session);
    buf_free(&conn->in);
    buf_free(&conn->out);
    free(conn->holds);
    conn->magic = 0;
    free(conn);
}

static void conn_free(struct net_conn *conn)
{
    struct worker *worker = conn->worker;
    MUST_OBJ(conn, CONN_MAGIC);
    MUST(!conn->parked);
    conn_detach(conn);
    conn_release(conn);
    if (worker->stopping && !worker->conns)
        event_base_loopbreak(worker->base);
}

/* The peer or memory is gone: nothing more can be said to it. */
static void conn_drop(struct net_conn *conn)
{
    if (!conn->parked) {
        conn_free(conn);
        return;
    }
    /* The handler still waits for something; its resume frees. */
    conn->closing = conn->eof = true;
    conn->holds_first = conn->holds_count = 0;
    conn->out.len = conn->out_sent = 0;
    held_unlink(conn);
    event_del(&conn->read_event);
    event_del(&conn->write_event);
}

/* ---- output ---- */

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
    conn->holds_first = conn->holds_count = 0;
    held_unlink(conn);
    *limit = conn->out.len;
    return 0;
}

/* Gives sent bytes back; holds keep their offsets true. */
static void compact_out(struct net_conn *conn)
{
    if (conn->out_sent == conn->out.len) {
        MUST(conn->holds_count == conn->holds_first);
        conn->out.len = conn->out_sent = 0;
        buf_shrink(&conn->out, OUT_KEEP_BYTES);
    } else if (conn->out_sent >= OUT_KEEP_BYTES) {
        for (size_t i = conn->holds_first; i < conn->holds_count; i++) {
            conn->holds[i].start -= conn->out_sent;
            conn->holds[i].end -= conn->out_sent;
        }
        buf_drop_front(&conn->out, conn->out_sent);
        conn->out_sent = 0;
    }
}

static bool send_some(struct net_conn *conn, size_t limit)
{
    while (conn->out_sent < limit) {
        ssize_t sent =
            send(conn->fd, conn->out.bytes + conn->out_sent, limit - conn->out_sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        conn->out_sent += (size_t)sent;
        count_add(&conn->worker->bytes_written, (uint64_t)sent);
    }
    return true;
}

static void want_write(struct net_conn *conn, bool want)
{
    if (want == conn->writing)
        return;
    conn->writing = want;
    if (want)
        event_add(&conn->write_event, NULL);
    else
        event_del(&conn->write_event);
}

void conn_flush(struct net_conn *conn)
{
    size_t limit;
    MUST_OBJ(conn, CONN_MAGIC);
    if (release_holds(conn, &limit) || !send_some(conn, limit)) {
        conn_drop(conn);
        return;
    }
    want_write(conn, conn->out_sent < limit);
    if (conn->out_sent == conn->out.len && conn->closing && !conn->parked) {
        conn_free(conn);
        return;
    }
    compact_out(conn);
    if (conn->full && !net_out_full(conn)) {
        conn->full = false;
        worker_ready(conn);
    }
}

/* ---- input ---- */

static void take_next(struct net_conn *conn, enum net_next next)
{
    switch (next) {
    case NET_MORE:
        if (conn->eof)
            conn->closing = true;
        break;
    case NET_YIELD:
        count_add(&conn->worker->conn_yields, 1);
        worker_ready(conn);
        break;
    case NET_PARK: conn->parked = true; break;
    case NET_FULL: conn->full = true; break;
    case NET_CLOSE: conn->closing = true; break;
    }
}

void conn_run(struct net_conn *conn)
{
    MUST_OBJ(conn, CONN_MAGIC);
    struct slice in = slice_from(buf_slice(&conn->in), conn->in_used);
    bool short_of_input = conn->in_want > in.len && !conn->eof;
    if (!conn->parked && !conn->closing && !conn->full && !short_of_input) {
        size_t used = 0;
        conn->in_want = 0;
        enum net_next next =
            conn->worker->net->config.handler->conn_input(conn->session, in, &used, &conn->in_want);
        MUST(used <= in.len);
        conn->in_used += used;
        take_next(conn, next);
    }
    if (conn->in_used == conn->in.len) {
        conn->in.len = conn->in_used = 0;
        buf_shrink(&conn->in, IN_KEEP_BYTES);
    }
    if (conn->parked || conn->closing || conn->full || conn->queued)
        event_del(&conn->read_event);
    else
        event_add(&conn->read_event, NULL);
    conn_flush(conn);
}

/* Makes room behind the unused input: moves it to the front, grows to what the handler wants. */
static int reserve_input(struct net_conn *conn)
{
    if (conn->in_used && conn->in.cap - conn->in.len < NET_READ_BYTES) {
        buf_drop_front(&conn->in, conn->in_used);
        conn->in_used = 0;
    }
    size_t have = conn->in.len - conn->in_used;
    size_t more = conn->in_want > have ? conn->in_want - have : 0;
    return buf_reserve(&conn->in, more > NET_READ_BYTES ? more : NET_READ_BYTES);
}

/* One read. False when the connection is broken (and must be dropped). */
static bool read_some(struct net_conn *conn, bool *again)
{
    *again = false;
    if (reserve_input(conn))
        return false;
    size_t room = conn->in.cap - conn->in.len;
    ssize_t got = read(conn->fd, conn->in.bytes + conn->in.len, room);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (got == 0) {
        conn->eof = true;
        return true;
    }
    conn->in.len += (size_t)got;
    *again = (size_t)got == room;
    count_add(&conn->worker->bytes_read, (uint64_t)got);
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct net_conn *conn = arg;
    bool again;
    (void)fd, (void)what;
    if (read_some(conn, &again))
        conn_run(conn);
    else
        conn_drop(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct net_conn *conn = arg;
    (void)fd, (void)what;
    conn->writing = false;
    conn_flush(conn);
}

void conn_drain(struct net_conn *conn)
{
    bool again = true;
    while (again && !conn->eof && !conn->parked && conn->in.len < NET_OUT_BYTES_HIGH) {
        if (!read_some(conn, &again)) {
            conn_drop(conn);
            return;
        }
    }
    conn->eof = true; /* what is here is all there will be */
    conn_run(conn);
}

void conn_abandon(struct net_conn *conn)
{
    conn_detach(conn);
    if (!conn->parked) {
        conn_release(conn);
        return;
    }
    /* Somebody still holds its task; nobody does any more when the workers are freed. */
    conn->next = conn->worker->abandoned;
    conn->worker->abandoned = conn;
}

void conn_bury(struct worker *worker)
{
    for (struct net_conn *conn = worker->abandoned, *next; conn; conn = next) {
        next = conn->next;
        conn_release(conn);
    }
    worker->abandoned = NULL;
}

/* ---- life ---- */

int conn_new(struct worker *worker, int fd)
{
    const struct net_handler *handler = worker->net->config.handler;
    struct net_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return CE_NOMEM;
    conn->magic = CONN_MAGIC;
    conn->fd = fd;
    conn->worker = worker;
    event_assign(&conn->read_event, worker->base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->write_event, worker->base, fd, EV_WRITE, on_writable, conn);
    if (handler->conn_open(handler->ctx, conn, worker->index, &conn->session) ||
        event_add(&conn->read_event, NULL)) {
        if (conn->session)
            handler->conn_close(conn->session);
        free(conn);
        return CE_NOMEM;
    }
    conn->next = worker->conns;
    if (conn->next)
        conn->next->prev = conn;
    worker->conns = conn;
    return 0;
}

struct buf *net_out(struct net_conn *conn)
{
    return &conn->out;
}

bool net_out_full(const struct net_conn *conn)
{
    return conn->out.len - conn->out_sent >= NET_OUT_BYTES_HIGH;
}

int net_hold(struct net_conn *conn, size_t start, uint64_t lsn, int level)
{
    MUST_OBJ(conn, CONN_MAGIC);
    MUST(start < conn->out.len);
    if (conn->holds_count == conn->holds_cap) {
        size_t cap = conn->holds_cap ? conn->holds_cap * 2 : HOLDS_MIN;
        struct hold *holds = realloc(conn->holds, cap * sizeof *holds);
        if (!holds)
            return CE_NOMEM;
        conn->holds = holds;
        conn->holds_cap = cap;
    }
    conn->holds[conn->holds_count++] =
        (struct hold){.start = start, .end = conn->out.len, .lsn = lsn, .level = level};
    return 0;
}

void net_resume(struct net_conn *conn)
{
    MUST_OBJ(conn, CONN_MAGIC);
    MUST(conn->parked);
    conn->parked = false;
    conn->in_want = 0;
    conn_run(conn);
}
