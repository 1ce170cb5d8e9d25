/* conn: one connection on its worker: its life and its input.
 *
 * readable -> read -> batch.c -> conn_run_input: handler uses input, appends replies -> conn_flush:
 * send up to the first held reply, then watch for what its state asks for. A connection is freed in
 * one place only (conn_free), never while parked. A datagram is a connection too: all of its input
 * is there from the beginning, and it ends when it is answered. */
#include "net/net_int.h"

#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

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

/* ---- events ---- */

static bool may_read(const struct net_conn *conn)
{
    bool runs_later = conn->queued && !conn->read_on;
    return !conn->eof && !conn->parked && !conn->closing && !conn->full && !runs_later;
}

static void watch_read(struct net_conn *conn, bool want)
{
    if (want == conn->reading)
        return;
    conn->reading = want;
    if (want)
        event_add(&conn->read_event, NULL);
    else
        event_del(&conn->read_event);
}

static void watch_write(struct net_conn *conn, bool want)
{
    if (want == conn->writing)
        return;
    conn->writing = want;
    if (want)
        event_add(&conn->write_event, NULL);
    else
        event_del(&conn->write_event);
}

void conn_watch(struct net_conn *conn, bool unsent)
{
    const struct stream *stream = &conn->stream;
    bool reads = may_read(conn);
    watch_read(conn, reads || stream->write_wants_read);
    watch_write(conn, (reads && stream->read_wants_write) || (unsent && !stream->write_wants_read));
}

/* ---- end ---- */

/* Takes it out of every list and closes the socket. */
static void conn_detach(struct net_conn *conn)
{
    struct worker *worker = conn->worker;
    conn_unhold(conn);
    ready_unlink(conn);
    batch_leave(conn);
    watch_read(conn, false);
    watch_write(conn, false);
    lock_take(&worker->conns_lock);
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        worker->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    lock_drop(&worker->conns_lock);
    if (conn->is_datagram) {
        worker->udp_pending--;
        return;
    }
    stream_close(&conn->stream);
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

void conn_free(struct net_conn *conn)
{
    struct worker *worker = conn->worker;
    MUST_OBJ(conn, CONN_MAGIC);
    MUST(!conn->parked);
    conn_detach(conn);
    conn_release(conn);
    if (worker->stopping && !worker->conns)
        event_base_loopbreak(worker->base);
}

void conn_drop(struct net_conn *conn)
{
    if (!conn->parked) {
        conn_free(conn);
        return;
    }
    /* The handler still waits for something; its resume frees. */
    conn->closing = conn->eof = true;
    conn->holds_first = conn->holds_count = 0;
    conn->out.len = conn->out_sent = 0;
    conn_unhold(conn);
    conn->stream.broken = true;
    watch_read(conn, false);
    watch_write(conn, false);
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

/* ---- running ---- */

static void take_next(struct net_conn *conn, enum net_next next)
{
    switch (next) {
    case NET_MORE:
        if (conn->eof)
            conn->closing = true;
        break;
    case NET_YIELD:
        count_add(&conn->worker->conn_yields, 1);
        conn->read_on = false; /* first what is here */
        worker_ready(conn);
        break;
    case NET_PARK: conn->parked = true; break;
    case NET_FULL: conn->full = true; break;
    case NET_CLOSE: conn->closing = true; break;
    }
}

/* Who asks for much will do it again. */
static void expect_output(struct net_conn *conn)
{
    if (conn->out_last > CONN_IDLE_BYTES &&
        pool_fit(&conn->worker->pool, &conn->out, conn->out_last))
        conn->out_last = 0; /* no memory: it is asked for as it is needed */
}

void conn_run_input(struct net_conn *conn)
{
    struct pool *pool = &conn->worker->pool;
    MUST_OBJ(conn, CONN_MAGIC);
    struct slice in = slice_from(buf_slice(&conn->in), conn->in_used);
    bool short_of_input = conn->in_want > in.len && !conn->eof;
    if (!conn->parked && !conn->closing && !conn->full && !short_of_input) {
        size_t used = 0;
        conn->in_want = 0;
        expect_output(conn);
        enum net_next next =
            conn->worker->net->config.handler->conn_input(conn->session, in, &used, &conn->in_want);
        MUST(used <= in.len);
        conn->in_used += used;
        take_next(conn, next);
    }
    if (conn->in_used == conn->in.len) {
        conn->in_used = 0;
        pool_give(pool, &conn->in);
    } else if (conn->in.cap > CONN_KEEP_BYTES && conn->in_want <= CONN_KEEP_BYTES &&
               !conn->parked) {
        conn_refit(pool, &conn->in, conn->in_used);
        conn->in_used = 0;
    }
    if (conn->stream.more && may_read(conn)) {
        conn->read_on = true;
        worker_ready(conn);
    }
}

void conn_run(struct net_conn *conn)
{
    conn_run_input(conn);
    conn_flush(conn);
}

/* ---- reading ---- */

/* Makes room behind the unused input: moves it to the front, and makes all the room that the
 * handler wants at once, so that a long value is not moved again while it comes. The buffer may be
 * one that another needed: no more than *room is to be read, or it would all be run in one turn. */
static int reserve_input(struct net_conn *conn, size_t *room)
{
    size_t have = conn->in.len - conn->in_used;
    size_t more = conn->in_want > have ? conn->in_want - have : 0;
    size_t asked = more > NET_READ_BYTES ? more : NET_READ_BYTES;
    size_t room_max = asked > CONN_KEEP_BYTES ? asked : CONN_KEEP_BYTES;
    if (conn->in_used && conn->in.cap - conn->in.len < asked) {
        buf_drop_front(&conn->in, conn->in_used);
        conn->in_used = 0;
    }
    int rc = pool_fit(&conn->worker->pool, &conn->in, conn->in.len + asked);
    *room = conn->in.cap - conn->in.len;
    *room = *room < room_max ? *room : room_max;
    return rc;
}

/* False when the handshake has failed. */
static bool shake_hands(struct net_conn *conn)
{
    conn_active(conn);
    if (stream_handshake(&conn->stream) != STREAM_BROKEN)
        return true;
    count_add(&conn->worker->ssl_handshake_errors, 1);
    return false;
}

/* One read. False when the connection is broken (and must be dropped). */
static bool read_some(struct net_conn *conn, bool *again)
{
    *again = false;
    if (conn->stream.handshaking && !shake_hands(conn))
        return false;
    if (conn->stream.handshaking)
        return true;
    size_t room;
    if (reserve_input(conn, &room))
        return false;
    ssize_t got = stream_read(&conn->stream, conn->in.bytes + conn->in.len, room);
    if (got <= 0) {
        conn->eof = got == STREAM_END;
        return got != STREAM_BROKEN;
    }
    conn->in.len += (size_t)got;
    *again = (size_t)got == room || conn->stream.more;
    count_add(&conn->worker->bytes_read, (uint64_t)got);
    conn_active(conn);
    return true;
}

static void read_and_queue(struct net_conn *conn)
{
    bool again;
    if (!read_some(conn, &again))
        conn_drop(conn);
    else if (conn->stream.handshaking)
        conn_watch(conn, false);
    else
        batch_add(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct net_conn *conn = arg;
    (void)fd, (void)what;
    if (may_read(conn))
        read_and_queue(conn);
    else
        conn_flush(conn); /* TLS had to read before it could write on */
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct net_conn *conn = arg;
    (void)fd, (void)what;
    conn->writing = false;
    if (conn->stream.read_wants_write && may_read(conn))
        read_and_queue(conn);
    else
        conn_flush(conn);
}

void conn_turn(struct net_conn *conn)
{
    bool read_on = conn->read_on;
    conn->read_on = false;
    if (read_on && may_read(conn))
        read_and_queue(conn);
    else
        conn_run(conn);
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
    if (conn->stream.handshaking) {
        conn_free(conn);
        return;
    }
    conn->eof = true; /* what is here is all there will be */
    conn_run(conn);
}

void net_resume(struct net_conn *conn)
{
    MUST_OBJ(conn, CONN_MAGIC);
    MUST(conn->parked);
    conn->parked = false;
    conn->in_want = 0;
    conn_run(conn);
}

/* ---- time ---- */

uint64_t conn_due_s(struct net_conn *conn)
{
    unsigned idle_s = conn->worker->net->config.idle_timeout_s;
    uint64_t due_s = UINT64_MAX;
    if (conn->is_datagram)
        return due_s;
    if (conn->parked || conn->held)
        conn_active(conn); /* it waits for us, not we for it */
    if (idle_s) /* seconds are those of the last tick: one more, so that none is cut short */
        due_s = atomic_load_explicit(&conn->active_s, memory_order_relaxed) + idle_s + 1;
    if (conn->stream.handshaking) {
        uint64_t shaken_s = conn->opened_s + NET_TLS_HANDSHAKE_TIMEOUT_MS / 1000 + 1;
        due_s = shaken_s < due_s ? shaken_s : due_s;
    }
    return due_s;
}

bool conn_peer_reads(struct net_conn *conn)
{
    int unread = 0; /* bytes that the kernel has and the peer has not */
    if (ioctl(conn->stream.fd, SIOCOUTQ, &unread) || unread == conn->unread_seen)
        return false;
    conn->unread_seen = unread;
    conn_active(conn);
    return true;
}

void conn_time_out(struct net_conn *conn)
{
    struct worker *worker = conn->worker;
    count_add(conn->stream.handshaking ? &worker->ssl_handshake_errors : &worker->idle_kicks, 1);
    conn_free(conn);
}

/* ---- beginning ---- */

int conn_open(struct net_conn *conn, struct worker *worker)
{
    const struct net_handler *handler = worker->net->config.handler;
    conn->magic = CONN_MAGIC;
    conn->worker = worker;
    if (handler->conn_open(handler->ctx, conn, worker->index, &conn->session))
        return CE_NOMEM;
    lock_take(&worker->conns_lock);
    conn->next = worker->conns;
    if (conn->next)
        conn->next->prev = conn;
    worker->conns = conn;
    lock_drop(&worker->conns_lock);
    return 0;
}

int conn_new(struct worker *worker, int fd, SSL *ssl)
{
    struct net_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return CE_NOMEM;
    conn->stream = (struct stream){.fd = fd, .ssl = ssl, .handshaking = ssl != NULL};
    conn->out_high = NET_OUT_BYTES_HIGH;
    event_assign(&conn->read_event, worker->base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->write_event, worker->base, fd, EV_WRITE, on_writable, conn);
    if (event_add(&conn->read_event, NULL)) {
        free(conn);
        return CE_NOMEM;
    }
    conn->reading = true;
    if (conn_open(conn, worker)) {
        event_del(&conn->read_event);
        free(conn);
        return CE_NOMEM;
    }
    worker_added(conn);
    return 0;
}
