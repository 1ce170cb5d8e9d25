/* net_int: what the files of net share. */
#ifndef NET_NET_INT_H
#define NET_NET_INT_H

#include "net/net.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#define NET_LISTENERS_MAX 16
#define CONN_MAGIC        0x636f6e6e
#define WORKER_MAGIC      0x776f726b

struct worker;

struct hold {
    size_t start, end; /* the reply's place in out */
    uint64_t lsn;
    int level;
};

struct net_conn {
    unsigned magic;
    int fd;
    struct worker *worker;
    void *session;
    struct event read_event, write_event;
    struct buf in, out;
    size_t in_used;  /* bytes of `in` the handler is done with */
    size_t in_want;  /* do not call the handler below this length */
    size_t out_sent; /* bytes of `out` the kernel has */
    struct hold *holds;
    size_t holds_first, holds_count, holds_cap; /* live: [first, count) */
    bool parked, eof, closing, full, held, writing, queued;
    struct net_conn *prev, *next;           /* worker->conns */
    struct net_conn *held_prev, *held_next; /* worker->held */
    struct net_conn *ready_next;            /* worker->ready */
};

#define NET_COUNTERS(X) X(bytes_read) X(bytes_written) X(conn_yields)

struct worker {
    unsigned magic;
    unsigned index;
    struct net *net;
    pthread_t thread;
    bool started;
    struct event_base *base;
    struct event wake_event, ready_event, deadline_event;
    int wake_fd;
    struct lock mailbox_lock;
    struct net_task *mailbox, **mailbox_tail;
    _Atomic bool woken;          /* an unread wake-up is on its way */
    _Atomic unsigned held_count; /* connections with held replies */
    struct net_conn *conns, *held, *ready, **ready_tail;
    bool stopping;
    _Atomic bool clean;
    struct net_conn *abandoned; /* were parked when the worker ended; freed with it */
#define X(name) _Atomic uint64_t name;
    NET_COUNTERS(X)
#undef X
};

struct net {
    struct net_config config;
    struct event_base *base;
    struct event *listeners[NET_LISTENERS_MAX];
    int listen_fds[NET_LISTENERS_MAX];
    unsigned listeners_count;
    int spare_fd; /* given up to refuse a connection when there is no other descriptor */
    struct event *sigterm, *sigint;
    struct worker *workers;
    unsigned next_worker;
    _Atomic unsigned conns_count;
    _Atomic uint64_t conns_total, conns_rejected;
    unsigned stop_timeout_ms;
};

/* conn.c; all on the connection's worker. */
int conn_new(struct worker *worker, int fd) MUST_USE;
void conn_flush(struct net_conn *conn);   /* may free conn */
void conn_run(struct net_conn *conn);     /* may free conn */
void conn_drain(struct net_conn *conn);   /* answer what is here, then close; may free conn */
void conn_abandon(struct net_conn *conn); /* the deadline of a stop: closes; frees unless parked */
void conn_bury(struct worker *worker);    /* frees what was parked when it was abandoned */

/* worker.c */
int worker_start(struct worker *worker, struct net *net, unsigned index) MUST_USE;
void worker_fini(struct worker *worker);
void worker_ready(struct net_conn *conn); /* run it again in the next turn */
void worker_wake(struct worker *worker);
void worker_stop_post(struct worker *worker); /* any thread */

/* listen.c */
int listen_open(struct net *net, char *message, size_t message_bytes) MUST_USE;
void listen_close(struct net *net);

static inline void count_add(_Atomic uint64_t *counter, uint64_t by)
{
    /* One writer per counter: a plain add that readers may see at any time. */
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + by, memory_order_relaxed);
}

#endif
