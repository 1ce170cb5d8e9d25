/* listen: sockets that accept. The listener thread accepts and hands each connection to the next
 * worker in turn. */
#include "net/net_int.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTEN_BACKLOG 1024
#define HOST_BYTES_MAX 256
#define OTHER_FDS_MAX  256 /* files of the tiers, listeners, workers */

struct handover {
    struct net_task task;
    struct worker *worker;
    int fd;
};

static void run_handover(struct net_task *task)
{
    struct handover *handover = (struct handover *)task;
    struct worker *worker = handover->worker;
    int fd = handover->fd;
    free(handover);
    if (worker->stopping || conn_new(worker, fd)) {
        atomic_fetch_sub(&worker->net->conns_count, 1);
        close(fd);
    }
}

/* memcached's words, so that its users' tools know them. */
static void refuse(struct net *net, int fd)
{
    static const char text[] = "ERROR Too many open connections\r\n";
    ssize_t sent = send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent; /* it is closed either way */
    close(fd);
    atomic_fetch_add(&net->conns_rejected, 1);
}

static void hand_over(struct net *net, int fd)
{
    struct handover *handover = calloc(1, sizeof *handover);
    if (!handover || atomic_load(&net->conns_count) >= net->config.conns_max) {
        free(handover);
        refuse(net, fd);
        return;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    atomic_fetch_add(&net->conns_count, 1);
    atomic_fetch_add(&net->conns_total, 1);
    struct worker *worker = &net->workers[net->next_worker];
    net->next_worker = (net->next_worker + 1) % net->config.workers;
    handover->task.run = run_handover;
    handover->worker = worker;
    handover->fd = fd;
    net_post(net, worker->index, &handover->task);
}

/* No descriptor is left: with the spare one this connection is told so, instead of waiting in the
 * queue and waking us without end. False when there is none to tell. */
static bool refuse_with_spare(struct net *net, int listener)
{
    if (net->spare_fd >= 0)
        close(net->spare_fd);
    int conn = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (conn >= 0)
        refuse(net, conn);
    net->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return conn >= 0;
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct net *net = arg;
    (void)what;
    for (;;) {
        int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (conn < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (conn < 0 && (errno == EMFILE || errno == ENFILE) && refuse_with_spare(net, fd))
            continue;
        if (conn < 0) {
            if (errno != EAGAIN)
                log_warn("net", "accept: %s", strerror(errno));
            return;
        }
        hand_over(net, conn);
    }
}

static int bind_one(const struct addrinfo *address)
{
    int one = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, address->ai_addr, address->ai_addrlen) || listen(fd, LISTEN_BACKLOG)) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int add_listener(struct net *net, int fd)
{
    if (net->listeners_count == NET_LISTENERS_MAX)
        return CE_INVAL;
    struct event *event = event_new(net->base, fd, EV_READ | EV_PERSIST, on_accept, net);
    if (!event)
        return CE_NOMEM;
    net->listen_fds[net->listeners_count] = fd;
    net->listeners[net->listeners_count++] = event;
    return 0;
}

static int open_host(struct net *net, const char *host, const char *port, char *message,
                     size_t message_bytes)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int gai = getaddrinfo(host, port, &hints, &found);
    if (gai) {
        snprintf(message, message_bytes, "cannot listen on %s: %s", host, gai_strerror(gai));
        return CE_INVAL;
    }
    int rc = 0;
    for (struct addrinfo *at = found; at && rc == 0; at = at->ai_next) {
        int fd = bind_one(at);
        if (fd < 0)
            rc = CE_IO;
        else if ((rc = add_listener(net, fd)))
            close(fd);
        if (rc)
            snprintf(message, message_bytes, "cannot listen on %s port %s: %s", host, port,
                     rc == CE_IO ? strerror(errno) : "too many addresses");
    }
    freeaddrinfo(found);
    return rc;
}

/* Splits "host", "host:port", "v6::addr" or "[v6]:port" in place. */
static void split_port(char *text, char **host, const char **port)
{
    char *bracket = text[0] == '[' ? strchr(text, ']') : NULL;
    char *colon = strrchr(bracket ? bracket : text, ':');
    *host = bracket ? text + 1 : text;
    if (bracket)
        *bracket = 0;
    if (colon && (bracket || strchr(text, ':') == colon)) {
        *colon = 0;
        *port = colon + 1;
    }
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
    raise_fd_limit(net->config.conns_max);
    net->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char default_port[NUM_DIGITS_MAX + 1];
    snprintf(default_port, sizeof default_port, "%u", net->config.port);
    for (const char *at = net->config.listen; *at;) {
        size_t len = strcspn(at, ",");
        char text[HOST_BYTES_MAX], *host;
        const char *port = default_port;
        if (len == 0 || len >= sizeof text) {
            snprintf(message, message_bytes, "bad listen address");
            return CE_INVAL;
        }
        memcpy(text, at, len);
        text[len] = 0;
        split_port(text, &host, &port);
        int rc = open_host(net, host, port, message, message_bytes);
        if (rc)
            return rc;
        at += len + (at[len] == ',');
    }
    return 0;
}

void listen_close(struct net *net)
{
    for (unsigned i = 0; i < net->listeners_count; i++) {
        event_free(net->listeners[i]);
        close(net->listen_fds[i]);
    }
    net->listeners_count = 0;
    if (net->spare_fd >= 0)
        close(net->spare_fd);
    net->spare_fd = -1;
}
