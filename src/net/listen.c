/* listen: from addresses to sockets. Each address of the list is resolved; all that a name stands
 * for is listened on, on TCP when there is a port for it, and on UDP when there is one at all. */
#include "net/net_int.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/resource.h>

#define HOST_BYTES_MAX    256
#define PORT_BYTES        (NUM_DIGITS_MAX + 1)
#define PORT_MAX          65535
#define OTHER_FDS_MAX     256        /* files of the tiers, listeners, workers */
#define UDP_RECEIVE_BYTES (4u << 20) /* a burst waits there; the kernel gives what it allows */

struct endpoint {
    char text[HOST_BYTES_MAX];
    const char *host; /* NULL = all addresses */
    const char *port; /* its own, or NULL */
    bool tls;
};

/* ---- parsing ---- */

/* Splits "host", "host:port", "v6::addr" or "[v6]:port" in place. */
static bool split_port(char *text, struct endpoint *endpoint)
{
    char *bracket = text[0] == '[' ? strchr(text, ']') : NULL;
    char *colon = strrchr(bracket ? bracket : text, ':');
    endpoint->host = bracket ? text + 1 : text;
    if (bracket && bracket[1] && colon != bracket + 1)
        return false;
    if (colon && (bracket || strchr(text, ':') == colon)) {
        *colon = 0;
        endpoint->port = colon + 1;
    }
    if (bracket)
        *bracket = 0;
    return true;
}

static bool is_port(const char *text)
{
    uint32_t port;
    return num_u32(slice_str(text), &port) && port >= 1 && port <= PORT_MAX;
}

static bool parse_endpoint(struct slice item, struct endpoint *endpoint)
{
    static const char notls[] = "notls:";
    *endpoint = (struct endpoint){.tls = true};
    if (slice_starts(item, slice_str(notls))) {
        endpoint->tls = false;
        item = slice_from(item, sizeof notls - 1);
    }
    if (item.len == 0 || item.len >= sizeof endpoint->text)
        return false;
    memcpy(endpoint->text, item.bytes, item.len);
    if (!split_port(endpoint->text, endpoint) || endpoint->host[0] == 0)
        return false;
    if (strcmp(endpoint->host, "*") == 0)
        endpoint->host = NULL;
    return !endpoint->port || is_port(endpoint->port);
}

/* ---- sockets ---- */

static void set_flag(int fd, int level, int option, int value)
{
    /* What a system does not have it does without. */
    if (setsockopt(fd, level, option, &value, sizeof value))
        log_debug("net", "socket option %d of level %d: %s", option, level, strerror(errno));
}

static void set_options(int fd, const struct addrinfo *address, bool shared)
{
    bool is_v6 = address->ai_family == AF_INET6;
    if (is_v6)
        set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (address->ai_socktype == SOCK_STREAM) {
        set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1); /* this and the next: connections inherit them */
        set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        return;
    }
    if (shared)
        set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    set_flag(fd, SOL_SOCKET, SO_RCVBUF, UDP_RECEIVE_BYTES);
    if (is_v6)
        set_flag(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    else
        set_flag(fd, IPPROTO_IP, IP_PKTINFO, 1);
}

/* The fd, or -1 and errno. */
static int bind_one(const struct addrinfo *address, unsigned backlog, bool shared)
{
    int type = address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = socket(address->ai_family, type, 0);
    if (fd < 0)
        return -1;
    set_options(fd, address, shared);
    if (bind(fd, address->ai_addr, address->ai_addrlen) ||
        (address->ai_socktype == SOCK_STREAM && listen(fd, (int)backlog))) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

/* A socket that accepts, into the table; owns fd when 0. */
static int add_listener(struct net *net, int fd, bool tls)
{
    if (net->listeners_count == NET_LISTENERS_MAX)
        return CE_INVAL;
    struct listener *listener = &net->listeners[net->listeners_count];
    listener->event = event_new(net->base, fd, EV_READ | EV_PERSIST, accept_ready, listener);
    event_assign(&listener->again, net->base, -1, 0, accept_again, listener);
    if (!listener->event)
        return CE_NOMEM;
    if (event_reserve(listener->event)) {
        event_free(listener->event);
        return CE_NOMEM;
    }
    listener->net = net;
    listener->fd = fd;
    listener->tls = tls;
    names_local(fd, "tcp", listener->name);
    net->listeners_count++;
    return 0;
}

static int open_tcp(struct net *net, const struct addrinfo *address, bool tls)
{
    int fd = bind_one(address, net->config.backlog, false);
    if (fd < 0)
        return CE_IO;
    int rc = add_listener(net, fd, tls);
    if (rc)
        close(fd);
    return rc;
}

/* An address may stand twice in the list, with two TCP ports. */
static bool has_udp(const struct net *net, const struct addrinfo *address)
{
    char wanted[NET_NAME_BYTES], known[NET_NAME_BYTES];
    const struct worker *worker = &net->workers[0];
    names_put(address->ai_addr, "udp", wanted);
    for (unsigned i = 0; i < worker->udp_count; i++) {
        names_local(worker->udp[i].fd, "udp", known);
        if (strcmp(wanted, known) == 0)
            return true;
    }
    return false;
}

/* One socket for each worker. */
static int open_udp(struct net *net, const struct addrinfo *address)
{
    if (has_udp(net, address))
        return 0;
    if (net->workers[0].udp_count == NET_LISTENERS_MAX)
        return CE_INVAL;
    /* Sockets that share a port would also share it with those of another process: first look
     * whether it is free. */
    int probe = bind_one(address, 0, false);
    if (probe < 0)
        return CE_IO;
    close(probe);
    for (unsigned i = 0; i < net->config.workers; i++) {
        struct worker *worker = &net->workers[i];
        int fd = bind_one(address, 0, true);
        if (fd < 0)
            return CE_IO;
        worker->udp[worker->udp_count++].fd = fd;
    }
    return 0;
}

/* ---- addresses ---- */

/* What a name also stands for, on a machine that does not have it. */
static bool can_skip(int rc)
{
    return rc == CE_IO && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
}

static int open_endpoint(struct net *net, const struct endpoint *endpoint, const char *port,
                         int type, char *message, size_t message_bytes)
{
    struct addrinfo hints = {.ai_socktype = type, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    const char *host = endpoint->host ? endpoint->host : "*";
    const char *what = type == SOCK_DGRAM ? " (UDP)" : "";
    int gai = getaddrinfo(endpoint->host, port, &hints, &found);
    if (gai) {
        snprintf(message, message_bytes, "cannot listen on %s: %s", host, gai_strerror(gai));
        return CE_INVAL;
    }
    int rc = 0;
    unsigned opened = 0;
    for (struct addrinfo *at = found; at && rc == 0; at = at->ai_next) {
        rc = type == SOCK_DGRAM ? open_udp(net, at) : open_tcp(net, at, endpoint->tls);
        bool skips = can_skip(rc);
        if (rc == 0)
            opened++;
        else
            snprintf(message, message_bytes, "cannot listen on %s port %s%s: %s", host, port, what,
                     rc == CE_IO ? strerror(errno) : "too many addresses");
        if (skips && (opened || at->ai_next))
            rc = 0;
    }
    freeaddrinfo(found);
    return rc;
}

static int open_item(struct net *net, struct slice item, char *message, size_t message_bytes)
{
    const struct net_config *config = &net->config;
    struct endpoint endpoint;
    char port[PORT_BYTES];
    int rc = 0;
    if (!parse_endpoint(item, &endpoint)) {
        snprintf(message, message_bytes, "bad listen address \"%.*s\"", (int)item.len, item.bytes);
        return CE_INVAL;
    }
    endpoint.tls = endpoint.tls && config->tls.cert_path;
    snprintf(port, sizeof port, "%u", config->port);
    if (endpoint.port || config->port)
        rc = open_endpoint(net, &endpoint, endpoint.port ? endpoint.port : port, SOCK_STREAM,
                           message, message_bytes);
    if (rc || !config->udp_port)
        return rc;
    snprintf(port, sizeof port, "%u", config->udp_port);
    return open_endpoint(net, &endpoint, port, SOCK_DGRAM, message, message_bytes);
}

static int open_unix(struct net *net, char *message, size_t message_bytes)
{
    int fd = listen_unix_open(net, message, message_bytes);
    if (fd < 0)
        return fd;
    int rc = add_listener(net, fd, false);
    if (rc) {
        close(fd);
        snprintf(message, message_bytes, "cannot listen on unix socket %s: %s",
                 net->config.unix_path, "too many addresses");
    }
    return rc;
}

/* As many descriptors as -c connections need, as far as we may. */
static void raise_fd_limit(unsigned conns_max)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)conns_max + OTHER_FDS_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
    if (setrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < need)
        log_warn("net", "only %llu file descriptors for %u connections",
                 (unsigned long long)limit.rlim_cur, conns_max);
}

int listen_open(struct net *net, char *message, size_t message_bytes)
{
    const char *at = net->config.listen ? net->config.listen : "";
    int rc = 0;
    raise_fd_limit(net->config.conns_max);
    accept_keep_spares(net);
    while (*at && rc == 0) {
        size_t len = strcspn(at, ",");
        rc = open_item(net, slice_of(at, len), message, message_bytes);
        at += len + (at[len] == ',');
    }
    if (rc == 0 && net->config.unix_path)
        rc = open_unix(net, message, message_bytes);
    if (rc == 0 && net->listeners_count == 0 && net->workers[0].udp_count == 0) {
        snprintf(message, message_bytes, "nothing to listen on: no address has a port");
        rc = CE_INVAL;
    }
    return rc;
}

void listen_close(struct net *net)
{
    for (unsigned i = 0; i < net->listeners_count; i++) {
        struct listener *listener = &net->listeners[i];
        if (!listener->event)
            continue;
        event_free(listener->event);
        event_del(&listener->again);
        listener->event = NULL;
        close(listener->fd);
    }
    listen_unix_remove(net);
    accept_drop_spares(net);
}
