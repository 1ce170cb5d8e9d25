/* net: bytes in, bytes out. Listeners (TCP, unix sockets, UDP, TLS), one libevent base per worker
 * thread, connections, pipelining. Knows no command: it calls up through `struct net_handler`.
 *
 * A connection belongs to one worker for its life; its session is only ever touched by that thread.
 * Input gathers until the handler has used it; replies gather in net_out() and go out in one send
 * per turn of the loop. A reply may be held (net_hold) until the journal reached a position: it and
 * all replies behind it wait, so replies keep their order and a worker never blocks. Limits:
 * NET_OUT_BYTES_HIGH of unsent replies stop the reading of that connection until they drain; the
 * handler bounds what it keeps as input.
 *
 * A datagram is a connection of its own that has all of its input at once and ends with its answer.
 * Not answered: what is no frame, a request of several datagrams (as memcached), one that is not
 * whole, one from port 0, one that begins as an error does (ERROR, CLIENT_ERROR, SERVER_ERROR: two
 * servers would tell them to each other for ever), one above NET_UDP_PENDING_MAX. An answer above
 * udp_answer_bytes_max is replaced by hold_failed(CE_UDP_TOO_LARGE); it is not retried when the
 * socket has no room. */
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

/* What a connection has read and not used. */
struct net_input {
    void *session;
    struct slice in;
};

struct net_handler {
    void *ctx;
    /* A new connection on `worker`. CE_NOMEM closes it. */
    int (*conn_open)(void *ctx, struct net_conn *conn, unsigned worker, void **session);
    /* Run what `in` holds; *used bytes are done with; *want (0 = unknown) is the length `in` must
     * grow to before another call makes sense. */
    enum net_next (*conn_input)(void *session, struct slice in, size_t *used, size_t *want);
    /* These are run next, one after the other: a chance to fetch what they will need. NULL = none.
     */
    void (*foresee)(void *ctx, const struct net_input *inputs, unsigned count);
    /* The connection is gone. MUST NOT be parked then (net keeps a parked one until resumed). */
    void (*conn_close)(void *session);
    /* May a held reply go out? 0 yes, 1 not yet, or the CE_* it failed with. Lock-free. */
    int (*hold_state)(void *ctx, uint64_t lsn, int level);
    /* What to send instead of a held reply that failed. CE_NOMEM closes the connection. */
    int (*hold_failed)(void *ctx, struct slice reply, int code, struct buf *instead);
    /* A worker has run all that came together: what was put off until then. NULL = nothing was. */
    void (*turn_end)(void *ctx);
};

/* TLS; every TCP listener has it unless its address begins with "notls:". Files are PEM. */
struct net_tls_config {
    const char *cert_path; /* chain, leaf first; NULL = no TLS */
    const char *key_path;
    const char *ca_path; /* who may sign client certificates; NULL = the system's */
    const char *ciphers; /* OpenSSL's list for TLS 1.2; NULL = its default */
    enum net_tls_verify {
        NET_TLS_VERIFY_NONE,    /* no client certificate is asked for */
        NET_TLS_VERIFY_REQUEST, /* asked for; one that is shown must be good */
        NET_TLS_VERIFY_REQUIRE, /* no good certificate, no connection */
    } verify;
    bool version_1_3_only; /* else 1.2 and above */
};

/* All texts live as long as net. At least one of port, unix_path and udp_port is given. */
struct net_config {
    const struct env *env;
    const struct net_handler *handler;
    const char *listen; /* addr[,addr...]: host, host:port, [v6]:port, notls: before any of them */
    unsigned port;      /* of the addresses without one; 0 = no TCP but where a port is given */
    unsigned udp_port;  /* 0 = no UDP */
    unsigned udp_answer_bytes_max; /* of all frames that answer one datagram, headers included */
    const char *unix_path;         /* NULL = no unix socket */
    unsigned unix_mode;            /* permissions of it, such as 0700 */
    unsigned backlog;              /* connections that wait to be accepted */
    unsigned workers;              /* 1..NET_WORKERS_MAX */
    unsigned conns_max;
    unsigned idle_timeout_s; /* a connection on which no byte moved for so long is closed; 0 = never
                              */
    struct net_tls_config tls;
    void (*hangup)(void *ctx); /* SIGHUP, on the thread of net_run */
    void (*tick)(void *ctx);   /* every second, on that thread too; NULL = not */
    void *ctx;                 /* of both */
};
#define NET_WORKERS_MAX              64
#define NET_LISTENERS_MAX            16
#define NET_BACKLOG                  1024
#define NET_UDP_ANSWER_BYTES         1400 /* default: one frame that fits an Ethernet packet */
#define NET_UDP_PENDING_MAX          256  /* datagrams of a worker that wait for their answer */
#define NET_TLS_HANDSHAKE_TIMEOUT_MS 10000

/* Binds and starts the workers; nothing is accepted before net_run. `message` says what failed.
 * CE_INVAL, CE_IO, CE_NOMEM. */
int net_new(const struct net_config *config, struct net **net, char *message,
            size_t message_bytes) MUST_USE;

/* Accepts and serves until SIGTERM, SIGINT, or net_quit(). The calling thread is the listener. */
void net_run(struct net *net);
/* Makes net_run return. Any thread. */
void net_quit(struct net *net);

/* Reads the files of TLS again, for connections that come from now on; on an error all stays as it
 * was and `message` says what is wrong. CE_INVAL; 0 and nothing when there is no TLS. The thread of
 * net_run. */
int net_tls_reload(struct net *net, char *message, size_t message_bytes) MUST_USE;

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
/* Who it is, for the log and `stats conns`: tcp:ADDR:PORT, tcp6:[ADDR]:PORT, unix:PATH,
 * udp:ADDR:PORT. */
#define NET_NAME_BYTES 128
void net_peer_name(const struct net_conn *conn, char name[NET_NAME_BYTES]);

/* ---- any thread ---- */

/* A message to a worker; embedded in what it is about. Runs once on that worker. */
struct net_task {
    struct net_task *_next;
    void (*run)(struct net_task *task);
};
void net_post(struct net *net, unsigned worker, struct net_task *task);
/* As net_post, to the thread of net_run: for what may take its time (files to read again). Also
 * while net_stop answers what was received. */
void net_post_main(struct net *net, struct net_task *task);

/* Every connection and listener, for `stats conns`; memcached's names: FD:addr, FD:listen_addr,
 * FD:state (conn_listening, conn_read, conn_waiting, conn_closing), FD:secs_since_last_cmd. */
void net_conns(struct net *net, const struct stat_sink *sink);

/* Held replies may have become free: wakes the workers that hold any. Cheap when none does. */
void net_advanced(struct net *net);

/* ---- UDP: the frame of a datagram (memcached doc/protocol.txt, "UDP protocol") ---- */

#define NET_UDP_HEAD_BYTES 8
struct udp_frame {
    uint16_t id;           /* the client's, echoed */
    uint16_t index, count; /* of this datagram, of all; a request has count 1 */
};
/* False: too short for a head, or nothing behind it. */
bool udp_frame_parse(struct slice datagram, struct udp_frame *frame, struct slice *payload);
void udp_frame_put(uint8_t head[NET_UDP_HEAD_BYTES], const struct udp_frame *frame);

#define NET_STATS(X)                                                                               \
    X(curr_connections, "connections open")                                                        \
    X(total_connections, "connections ever accepted")                                              \
    X(rejected_connections, "connections refused because of -c")                                   \
    X(max_connections, "-c")                                                                       \
    X(threads, "workers")                                                                          \
    X(bytes_read, "bytes received")                                                                \
    X(bytes_written, "bytes sent")                                                                 \
    X(conn_yields, "times a connection gave way to others")                                        \
    X(idle_kicks, "connections closed because nothing moved for the idle time-out")                \
    X(udp_dropped, "datagrams not answered: no frame, more than one, or too many at a time")       \
    X(udp_too_large, "answers over the limit for UDP")                                             \
    X(ssl_handshake_errors, "TLS handshakes that failed")                                          \
    X(time_since_server_cert_refresh, "seconds since the TLS files were read")
void net_stats(const struct net *net, const struct stat_sink *sink);

#endif
