/* net: bytes in, bytes out. Listeners, one libevent base per worker thread, connections,
 * pipelining. Knows no command: it calls up through `struct net_handler`.
 *
 * A connection belongs to one worker for its life; its session is only ever touched by that thread.
 * Input gathers until the handler has used it; replies gather in net_out() and go out in one send
 * per turn of the loop. A reply may be held (net_hold) until the journal reached a position: it and
 * all replies behind it wait, so replies keep their order and a worker never blocks. Limits:
 * NET_OUT_BYTES_HIGH of unsent replies stop the reading of that connection until they drain; the
 * handler bounds what it keeps as input. */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/base.h"

#define NET_OUT_BYTES_HIGH (256u << 10) /* unsent replies; above it the handler is not called */
#define NET_READ_BYTES     (16u << 10)  /* room offered to one read */
#define NET_TURN_REQUESTS  64           /* what a handler should run before it yields */

struct net;
struct net_conn;

enum net_next {
    NET_MORE,  /* all that was whole has been run */
    NET_YIELD, /* there is more to run; let other connections have a turn first */
    NET_PARK,  /* not now: nothing of this connection is run until net_resume() */
    NET_FULL,  /* too much unsent output; run again when it has drained */
    NET_CLOSE, /* send what there is, then close */
};

struct net_handler {
    void *ctx;
    /* A new connection on `worker`. CE_NOMEM closes it. */
    int (*conn_open)(void *ctx, struct net_conn *conn, unsigned worker, void **session);
    /* Run what `in` holds; *used bytes are done with; *want (0 = unknown) is the length `in` must
     * grow to before another call makes sense. */
    enum net_next (*conn_input)(void *session, struct slice in, size_t *used, size_t *want);
    /* The connection is gone. MUST NOT be parked then (net keeps a parked one until resumed). */
    void (*conn_close)(void *session);
    /* May a held reply go out? 0 yes, 1 not yet, or the CE_* it failed with. Lock-free. */
    int (*hold_state)(void *ctx, uint64_t lsn, int level);
    /* What to send instead of a held reply that failed. CE_NOMEM closes the connection. */
    int (*hold_failed)(void *ctx, struct slice reply, int code, struct buf *instead);
};

struct net_config {
    const struct env *env;
    const struct net_handler *handler;
    const char *listen; /* host[,host...]; a port may follow: host:port, [v6]:port */
    unsigned port;      /* 1..65535 */
    unsigned workers;   /* 1..NET_WORKERS_MAX */
    unsigned conns_max;
};
#define NET_WORKERS_MAX 64

/* Binds and starts the workers; nothing is accepted before net_run. `message` says what failed.
 * CE_INVAL, CE_IO, CE_NOMEM. */
int net_new(const struct net_config *config, struct net **net, char *message,
            size_t message_bytes) MUST_USE;

/* Accepts and serves until SIGTERM or SIGINT. The calling thread is the listener. */
void net_run(struct net *net);

/* Stops listening, answers what was received, closes everything, ends the workers; what is not done
 * after timeout_ms is cut off (false). Posts to stopped workers are legal and are dropped. */
bool net_stop(struct net *net, unsigned timeout_ms);
void net_free(struct net **net);

/* ---- for the handler, on the connection's worker ---- */

/* Where replies are appended. */
struct buf *net_out(struct net_conn *conn);
/* True when the handler should return NET_FULL before it makes more output. */
bool net_out_full(const struct net_conn *conn);
/* The reply out[start..len), just appended, and all that follow it wait for (lsn, level). CE_NOMEM.
 */
int net_hold(struct net_conn *conn, size_t start, uint64_t lsn, int level) MUST_USE;
/* Takes up a parked connection again: its input is offered once more. */
void net_resume(struct net_conn *conn);

/* ---- any thread ---- */

/* A message to a worker; embedded in what it is about. Runs once on that worker. */
struct net_task {
    struct net_task *_next;
    void (*run)(struct net_task *task);
};
void net_post(struct net *net, unsigned worker, struct net_task *task);

/* Held replies may have become free: wakes the workers that hold any. Cheap when none does. */
void net_advanced(struct net *net);

#define NET_STATS(X)                                                                               \
    X(curr_connections, "connections open")                                                        \
    X(total_connections, "connections ever accepted")                                              \
    X(rejected_connections, "connections refused because of -c")                                   \
    X(max_connections, "-c")                                                                       \
    X(threads, "workers")                                                                          \
    X(bytes_read, "bytes received")                                                                \
    X(bytes_written, "bytes sent")                                                                 \
    X(conn_yields, "times a connection gave way to others")
void net_stats(const struct net *net, const struct stat_sink *sink);

#endif
