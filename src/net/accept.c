/* accept: connections as they come. The thread of net_run accepts and hands each to the next worker
 * in turn; what is above the limit is refused in words. */
#include "net/net_int.h"

#include <fcntl.h>
#include <stdlib.h>

#define ACCEPT_PAUSE_MS 100 /* after an error that accepting at once would only meet again */

struct handover {
    struct net_task task;
    struct worker *worker;
    int fd;
    SSL *ssl;
};

static void run_handover(struct net_task *task)
{
    struct handover *handover = (struct handover *)task;
    struct worker *worker = handover->worker;
    if (worker->stopping || conn_new(worker, handover->fd, handover->ssl)) {
        atomic_fetch_sub(&worker->net->conns_count, 1);
        SSL_free(handover->ssl);
        close(handover->fd);
    }
    free(handover);
}

/* memcached's words, so that its users' tools know them. A TLS client would not understand them. */
static void refuse(const struct listener *listener, int fd)
{
    static const char text[] = "ERROR Too many open connections\r\n";
    atomic_fetch_add(&listener->net->conns_rejected, 1); /* before the client can know */
    if (!listener->tls) {
        ssize_t sent = send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)sent; /* it is closed either way */
    }
    close(fd);
}

/* Holds a reference to the SSL_CTX of now. */
static SSL *begin_tls(struct net *net, int fd)
{
    SSL *ssl = SSL_new(net->tls);
    if (!ssl)
        return NULL;
    if (SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_accept_state(ssl);
    return ssl;
}

static void hand_over(const struct listener *listener, int fd)
{
    struct net *net = listener->net;
    struct handover *handover = calloc(1, sizeof *handover);
    if (!handover || atomic_load(&net->conns_count) >= net->config.conns_max ||
        (listener->tls && !(handover->ssl = begin_tls(net, fd)))) {
        free(handover);
        refuse(listener, fd);
        return;
    }
    atomic_fetch_add(&net->conns_count, 1);
    atomic_fetch_add(&net->conns_total, 1);
    struct worker *worker = &net->workers[net->next_worker];
    net->next_worker = (net->next_worker + 1) % net->config.workers;
    handover->task.run = run_handover;
    handover->worker = worker;
    handover->fd = fd;
    net_post(net, worker->index, &handover->task);
}

void accept_keep_spares(struct net *net)
{
    while (net->spares_count < NET_SPARE_FDS) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return;
        net->spare_fds[net->spares_count++] = fd;
    }
}

void accept_drop_spares(struct net *net)
{
    while (net->spares_count > 0)
        close(net->spare_fds[--net->spares_count]);
}

/* No descriptor is left: with a spare one this connection is told so, instead of waiting in the
 * queue and waking us without end. Another thread may be faster with what is given up here, but not
 * with each of them. False when there is none to tell, with the errno of that. */
static bool refuse_with_spare(const struct listener *listener)
{
    struct net *net = listener->net;
    int conn = -1;
    while (conn < 0 && errno != EAGAIN && net->spares_count > 0) {
        close(net->spare_fds[--net->spares_count]);
        conn = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    int error = errno;
    if (conn >= 0)
        refuse(listener, conn);
    accept_keep_spares(net);
    errno = error;
    return conn >= 0;
}

void accept_again(evutil_socket_t fd, short what, void *arg)
{
    const struct listener *listener = arg;
    (void)fd, (void)what;
    MUST(event_add(listener->event, NULL) == 0);
}

/* Who waits in the queue makes the listener ready again at once: without a pause the thread would
 * do nothing but fail. */
static void pause_accepting(struct listener *listener)
{
    static const struct timeval pause = {0, ACCEPT_PAUSE_MS * 1000};
    if (event_add(&listener->again, &pause) == 0)
        event_del(listener->event);
}

void accept_ready(evutil_socket_t fd, short what, void *arg)
{
    struct listener *listener = arg;
    (void)what;
    accept_keep_spares(listener->net); /* before others are served with what is free again */
    for (;;) {
        int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (conn < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (conn < 0 && (errno == EMFILE || errno == ENFILE) && refuse_with_spare(listener))
            continue;
        if (conn < 0) {
            if (errno != EAGAIN) {
                log_warn("net", "accept: %s", strerror(errno));
                pause_accepting(listener);
            }
            return;
        }
        hand_over(listener, conn);
    }
}
