/* names: who is at the other end, and where we listen, as memcached's `stats conns` writes it. */
#include "net/net_int.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un file;
    struct sockaddr_storage room;
};

void names_put(const struct sockaddr *address, const char *kind, char name[NET_NAME_BYTES])
{
    const union any_address *known = (const union any_address *)address;
    char host[INET6_ADDRSTRLEN] = "?";
    switch (address->sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &known->v4.sin_addr, host, sizeof host);
        snprintf(name, NET_NAME_BYTES, "%s:%s:%u", kind, host, ntohs(known->v4.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &known->v6.sin6_addr, host, sizeof host);
        snprintf(name, NET_NAME_BYTES, "%s6:[%s]:%u", kind, host, ntohs(known->v6.sin6_port));
        break;
    case AF_UNIX:
        snprintf(name, NET_NAME_BYTES, "unix:%.*s", (int)sizeof known->file.sun_path,
                 known->file.sun_path);
        break;
    default: snprintf(name, NET_NAME_BYTES, "%s:?", kind); break;
    }
}

void names_local(int fd, const char *kind, char name[NET_NAME_BYTES])
{
    union any_address address = {.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof address;
    if (getsockname(fd, &address.any, &len))
        address.any.sa_family = AF_UNSPEC;
    names_put(&address.any, kind, name);
}

/* Of an accepted socket; a unix peer has no name but that of the socket it came to. */
static void name_stream(int fd, char name[NET_NAME_BYTES])
{
    union any_address address = {.any.sa_family = AF_UNSPEC};
    socklen_t len = sizeof address;
    if (getpeername(fd, &address.any, &len) == 0 && address.any.sa_family != AF_UNIX)
        names_put(&address.any, "tcp", name);
    else
        names_local(fd, "tcp", name);
}

void net_peer_name(const struct net_conn *conn, char name[NET_NAME_BYTES])
{
    if (conn->is_datagram)
        datagram_name(conn, name);
    else
        name_stream(conn->stream.fd, name);
}

/* ---- stats conns ---- */

static void emit(const struct stat_sink *sink, int fd, const char *what, const char *value)
{
    char name[NUM_DIGITS_MAX + 32];
    snprintf(name, sizeof name, "%d:%s", fd, what);
    stat_text(sink, name, value);
}

static void emit_seconds(const struct stat_sink *sink, int fd, uint64_t seconds)
{
    char digits[NUM_DIGITS_MAX + 1];
    digits[num_put_u64(digits, seconds)] = 0;
    emit(sink, fd, "secs_since_last_cmd", digits);
}

static void emit_listeners(struct net *net, const struct stat_sink *sink)
{
    for (unsigned i = 0; i < net->listeners_count; i++) {
        const struct listener *listener = &net->listeners[i];
        emit(sink, listener->fd, "addr", listener->name);
        emit(sink, listener->fd, "state", "conn_listening");
    }
    for (unsigned i = 0; i < net->config.workers; i++) {
        for (unsigned u = 0; u < net->workers[i].udp_count; u++) {
            int fd = net->workers[i].udp[u].fd;
            char name[NET_NAME_BYTES];
            names_local(fd, "udp", name);
            emit(sink, fd, "UDP", "UDP");
            emit(sink, fd, "addr", name);
            emit(sink, fd, "state", "conn_read");
        }
    }
}

static void emit_conn(const struct stat_sink *sink, struct net_conn *conn, uint64_t now_s)
{
    char name[NET_NAME_BYTES];
    int fd = conn->stream.fd;
    uint64_t active_s = atomic_load_explicit(&conn->active_s, memory_order_relaxed);
    name_stream(fd, name);
    emit(sink, fd, "addr", name);
    names_local(fd, "tcp", name);
    emit(sink, fd, "listen_addr", name);
    emit(sink, fd, "state",
         conn->closing                ? "conn_closing"
         : conn->parked || conn->held ? "conn_waiting"
                                      : "conn_read");
    emit_seconds(sink, fd, now_s > active_s ? now_s - active_s : 0);
}

void net_conns(struct net *net, const struct stat_sink *sink)
{
    uint64_t now_s = env_mono_ms(net->config.env) / 1000;
    emit_listeners(net, sink);
    for (unsigned i = 0; i < net->config.workers; i++) {
        struct worker *worker = &net->workers[i];
        lock_take(&worker->conns_lock);
        for (struct net_conn *conn = worker->conns; conn; conn = conn->next)
            if (!conn->is_datagram)
                emit_conn(sink, conn, now_s);
        lock_drop(&worker->conns_lock);
    }
}
