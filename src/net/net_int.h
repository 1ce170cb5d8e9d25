/* net_int: what the files of net share. */
#ifndef NET_NET_INT_H
#define NET_NET_INT_H

#include "net/net.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONN_MAGIC   0x636f6e6e
#define WORKER_MAGIC 0x776f726b

#define CONN_IDLE_BYTES  (1u << 10)  /* larger buffers go to the pool when they are empty ... */
#define CONN_KEEP_BYTES  (64u << 10) /* ... and these when little is in them */
#define POOL_BUFFERS_MAX 64          /* small ones, and as many large ones */
#define POOL_BYTES_MAX   (8u << 20)  /* of a worker; above it they go back to the system at once */
#define NET_SPARE_FDS    4
#define NET_BATCH_MAX    32   /* connections that are run together */
#define CONN_HOLDS_MAX   8192 /* held replies above which the handler is not called */

struct worker;

/* ---- stream.c: the bytes of one connection, plain or TLS; its worker only ---- */

enum { STREAM_END = 0, STREAM_AGAIN = -1, STREAM_BROKEN = -2 }; /* instead of a number of bytes */

struct stream {
    int fd;
    SSL *ssl; /* NULL: plain */
    bool handshaking;
    bool broken;           /* nothing more may be said to the peer */
    bool more;             /* bytes are here that the socket will not tell of: read on */
    bool read_wants_write; /* TLS can read on when the socket is writable ... */
    bool write_wants_read; /* ... and write on when it is readable */
};

ssize_t stream_read_tls(struct stream *stream, void *bytes, size_t room);
ssize_t stream_write_tls(struct stream *stream, const void *bytes, size_t len);
/* 0 when done. */
int stream_handshake(struct stream *stream);
/* Says that no more will come; 0 when said, or when there is nobody to say it to. */
int stream_end(struct stream *stream);
void stream_close(struct stream *stream);

/* Bytes read, or STREAM_*. */
static inline ssize_t stream_read(struct stream *stream, void *bytes, size_t room)
{
    if (stream->ssl)
        return stream_read_tls(stream, bytes, room);
    ssize_t got = recv(stream->fd, bytes, room, 0); /* less in the kernel than read */
    if (got >= 0)
        return got;
    return errno == EAGAIN || errno == EINTR ? STREAM_AGAIN : STREAM_BROKEN;
}

/* Bytes written, or STREAM_*. After STREAM_AGAIN the same bytes come first again. */
static inline ssize_t stream_write(struct stream *stream, const void *bytes, size_t len)
{
    if (stream->ssl)
        return stream_write_tls(stream, bytes, len);
    ssize_t sent = send(stream->fd, bytes, len, MSG_NOSIGNAL);
    if (sent >= 0)
        return sent;
    return errno == EAGAIN || errno == EINTR ? STREAM_AGAIN : STREAM_BROKEN;
}

/* ---- pool.c: buffers that no connection of the worker needs now ---- */

struct shelf {
    struct buf buffers[POOL_BUFFERS_MAX]; /* the newest last; each has NET_READ_BYTES at least */
    unsigned count;
    unsigned idle; /* so many of the oldest nobody needed since the last tick */
};

struct pool {
    struct shelf small, large; /* up to CONN_KEEP_BYTES each, and above */
    size_t bytes;
};

/* Empties `buf`, and takes it when it is above CONN_IDLE_BYTES. */
void pool_give(struct pool *pool, struct buf *buf);
/* Room for `bytes` in all, in a buffer of the pool's when there is one. CE_NOMEM. */
int pool_fit(struct pool *pool, struct buf *buf, size_t bytes) MUST_USE;
/* Once a second: those that nobody needed since the last one go back to the system. */
void pool_tick(struct pool *pool);
void pool_free(struct pool *pool);

/* ---- connections ---- */

struct hold {
    size_t start, end; /* the reply's place in out */
    uint64_t lsn;
    int level;
};

struct net_conn {
    unsigned magic;
    struct worker *worker;
    void *session;
    struct stream stream;
    struct event read_event, write_event;
    struct buf in, out;
    size_t in_used;  /* bytes of `in` the handler is done with */
    size_t in_want;  /* do not call the handler below this length */
    size_t out_sent; /* bytes of `out` the kernel has */
    size_t out_high; /* unsent bytes above which the handler is not called */
    size_t out_last; /* bytes that were in `out` before it was empty */
    struct hold *holds;
    size_t holds_first, holds_count, holds_cap; /* live: [first, count) */
    bool eof, full, reading, writing;
    bool queued;                        /* in worker->ready ... */
    bool read_on;                       /* ... to read first */
    bool is_datagram;                   /* the conn of a struct datagram */
    unsigned batch_place;               /* in worker->batch, from 1 on; 0 = not there */
    _Atomic bool parked, closing, held; /* these: set by the worker, seen by net_conns() */
    _Atomic uint64_t active_s;          /* worker->now_s when a byte moved */
    uint64_t active_tick;               /* worker->ticks then */
    uint64_t opened_s;
    int unread_seen;                        /* by conn_peer_reads() */
    struct net_conn *prev, *next;           /* worker->conns */
    struct net_conn *held_prev, *held_next; /* worker->held */
    struct net_conn *ready_next;            /* worker->ready */
};

/* ---- mailbox.c: messages to a thread that sits in a libevent loop ---- */

struct mailbox {
    struct lock lock;
    struct net_task *first, **tail;
    int wake_fd;
    _Atomic bool woken; /* an unread wake-up is on its way */
};

int mailbox_open(struct mailbox *mailbox) MUST_USE;
void mailbox_close(struct mailbox *mailbox);
void mailbox_post(struct mailbox *mailbox, struct net_task *task); /* any thread */
void mailbox_wake(struct mailbox *mailbox);                        /* any thread */
void mailbox_run(struct mailbox *mailbox);                         /* when wake_fd was written to */

/* ---- workers ---- */

/* A UDP socket; each worker has one for every address, and the kernel shares the datagrams out. */
struct udp_port {
    int fd;
    struct event event;
};

#define NET_COUNTERS(X)                                                                            \
    X(bytes_read)                                                                                  \
    X(bytes_written)                                                                               \
    X(conn_yields)                                                                                 \
    X(idle_kicks)                                                                                  \
    X(udp_dropped)                                                                                 \
    X(udp_too_large)                                                                               \
    X(ssl_handshake_errors)

struct worker {
    unsigned magic;
    unsigned index;
    struct net *net;
    pthread_t thread;
    bool started;
    struct event_base *base;
    struct event wake_event, ready_event, batch_event, deadline_event, tick_event;
    struct net_conn *batch[NET_BATCH_MAX]; /* read in this round and not answered yet, or NULL */
    unsigned batch_count;
    struct pool pool;
    struct mailbox mailbox;
    _Atomic unsigned held_count; /* connections with held replies */
    struct lock conns_lock;      /* the list conns: changed by the worker, read by net_conns() */
    struct net_conn *conns, *held, *ready, **ready_tail;
    uint64_t now_s;      /* as of the last tick; it ticks while there are connections */
    uint64_t ticks;      /* how many there were */
    uint64_t sweep_at_s; /* before that no connection can have waited too long */
    bool ticking, stopping;
    _Atomic bool clean;
    struct net_conn *abandoned; /* were parked when the worker ended; freed with it */
    struct udp_port udp[NET_LISTENERS_MAX];
    unsigned udp_count;
    struct net_task udp_open, stop;
    bool udp_started;
    uint8_t *udp_bytes;   /* room for one datagram */
    unsigned udp_pending; /* datagrams without an answer yet */
#define X(name) _Atomic uint64_t name;
    NET_COUNTERS(X)
#undef X
};

/* ---- the whole ---- */

/* A socket that accepts, or a UDP address (fd of the first worker's). Made at the start, constant
 * until net_free but for `event`, which goes when it is closed. */
struct listener {
    struct net *net;
    struct event *event;
    struct event again; /* after a pause */
    int fd;
    bool tls;
    char name[NET_NAME_BYTES];
};

struct net {
    struct net_config config;
    struct event_base *base;
    struct mailbox mailbox; /* to the thread of net_run */
    struct event *wake, *tick, *sigterm, *sigint, *sighup;
    _Atomic bool quit;
    struct listener listeners[NET_LISTENERS_MAX];
    unsigned listeners_count;
    struct { /* the unix socket as we made it, to remove no other one */
        bool made;
        dev_t device;
        ino_t inode;
    } unix_file;
    int spare_fds[NET_SPARE_FDS]; /* given up to refuse a connection when there is no other one */
    unsigned spares_count;
    SSL_CTX *tls; /* for new connections; thread of net_run */
    _Atomic uint64_t tls_loaded_ms;
    struct worker *workers;
    _Atomic unsigned workers_running; /* threads that have not ended */
    unsigned next_worker;
    _Atomic unsigned conns_count;
    _Atomic uint64_t conns_total, conns_rejected;
    unsigned stop_timeout_ms;
};

/* conn.c; all on the connection's worker. */
int conn_new(struct worker *worker, int fd, SSL *ssl) MUST_USE; /* owns fd and ssl when 0 */
/* For a conn that is part of something else, zeroed: fields, session and list. */
int conn_open(struct net_conn *conn, struct worker *worker) MUST_USE;
void conn_run_input(struct net_conn *conn);
void conn_run(struct net_conn *conn);     /* and conn_flush; may free conn */
void conn_turn(struct net_conn *conn);    /* conn_run in a later turn; may free conn */
void conn_free(struct net_conn *conn);    /* not while parked */
void conn_drop(struct net_conn *conn);    /* nothing more can be said to the peer */
void conn_drain(struct net_conn *conn);   /* answer what is here, then close; may free conn */
void conn_abandon(struct net_conn *conn); /* the deadline of a stop: closes; frees unless parked */
void conn_bury(struct worker *worker);    /* frees what was parked when it was abandoned */
/* When it will have waited too long if nothing happens before; UINT64_MAX = never. */
uint64_t conn_due_s(struct net_conn *conn);
/* Whether the peer has taken bytes since this was asked last: the kernel buffers much, so a slow
 * reader may take long until we can write again. */
bool conn_peer_reads(struct net_conn *conn);
void conn_time_out(struct net_conn *conn); /* it has; frees conn */

/* The events that its state asks for; `unsent`: output that may go has not gone. */
void conn_watch(struct net_conn *conn, bool unsent);

/* batch.c */
void batch_init(struct worker *worker);
void batch_add(struct net_conn *conn);   /* it was read; may free any that are in the batch */
void batch_leave(struct net_conn *conn); /* when it is in it */
void batch_run(struct worker *worker);   /* runs and answers all that is in it, now */

/* conn_out.c: output of a connection */
void conn_flush(struct net_conn *conn); /* may free conn */
void conn_unhold(struct net_conn *conn);
/* Drops the first `len` bytes; gives a large buffer to the pool when little is left. */
void conn_refit(struct pool *pool, struct buf *buf, size_t len);

/* datagram.c: UDP, on the socket's worker */
int datagram_open(struct worker *worker) MUST_USE; /* before the thread starts */
void datagram_start(struct worker *worker);        /* datagrams are taken from now on */
void datagram_stop(struct worker *worker);         /* takes what is here, and no more */
void datagram_close(struct worker *worker);
void datagram_flush(struct net_conn *conn); /* answers when all is there; may free conn */
void datagram_name(const struct net_conn *conn, char name[NET_NAME_BYTES]);

/* worker.c */
int worker_init(struct worker *worker, struct net *net, unsigned index) MUST_USE;
int worker_start(struct worker *worker) MUST_USE;
void worker_fini(struct worker *worker);
void worker_ready(struct net_conn *conn);     /* run it again in the next turn */
void worker_added(struct net_conn *conn);     /* a new connection: its time-outs count */
void worker_stop_post(struct worker *worker); /* any thread */

/* listen.c */
int listen_open(struct net *net, char *message, size_t message_bytes) MUST_USE;
void listen_close(struct net *net);

/* listen_unix.c: the fd, or a CE_* */
int listen_unix_open(struct net *net, char *message, size_t message_bytes) MUST_USE;
void listen_unix_remove(struct net *net);

/* accept.c */
void accept_again(evutil_socket_t fd, short what, void *arg);
void accept_ready(evutil_socket_t fd, short what, void *listener);
void accept_keep_spares(struct net *net);
void accept_drop_spares(struct net *net);

/* tls.c */
int tls_load(const struct net_tls_config *config, SSL_CTX **ctx, char *message,
             size_t message_bytes) MUST_USE;

/* names.c: an address as memcached writes it; `kind` is "tcp" or "udp". */
void names_put(const struct sockaddr *address, const char *kind, char name[NET_NAME_BYTES]);
void names_local(int fd, const char *kind, char name[NET_NAME_BYTES]); /* of a socket of ours */

static inline void count_add(_Atomic uint64_t *counter, uint64_t by)
{
    /* One writer per counter: a plain add that readers may see at any time. */
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + by, memory_order_relaxed);
}

/* A byte moved. */
static inline void conn_active(struct net_conn *conn)
{
    atomic_store_explicit(&conn->active_s, conn->worker->now_s, memory_order_relaxed);
    conn->active_tick = conn->worker->ticks;
}

/* From here on event_add takes no memory for this one. CE_NOMEM. Before its base runs. */
static inline int event_reserve(struct event *event)
{
    return event_add(event, NULL) || event_del(event) ? CE_NOMEM : 0;
}

#endif
