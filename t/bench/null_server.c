/* null_server: answers every line with the same bytes and looks at nothing. What it costs is what
 * the machine takes for sockets and events; a server that does something can only cost more.
 *
 * One thread. A send blocks: the only client is a load generator, which always reads. */
#include <arpa/inet.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_BYTES_MIN 4
#define REPLY_BYTES_MAX 65536
#define REPLIES_MAX     512 /* in one send */
#define IN_BYTES        16384
#define EXIT_USAGE      64

struct server {
    struct event_base *base;
    size_t reply_bytes;
    char *replies; /* REPLIES_MAX of them */
};

struct conn {
    struct server *server;
    struct event *readable;
};

static void close_conn(struct conn *conn)
{
    close(event_get_fd(conn->readable));
    event_free(conn->readable);
    free(conn);
}

static bool send_all(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        len -= (size_t)sent;
    }
    return true;
}

static size_t count_lines(const char *in, size_t len)
{
    size_t lines = 0;
    const char *at = in, *end = in + len;
    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        lines++;
        at++;
    }
    return lines;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *conn = arg;
    char in[IN_BYTES];
    (void)what;
    ssize_t got = recv(fd, in, sizeof in, MSG_DONTWAIT);
    size_t lines = got > 0 ? count_lines(in, (size_t)got) : 0;
    bool good = got > 0;
    while (good && lines) {
        size_t now = lines < REPLIES_MAX ? lines : REPLIES_MAX;
        good = send_all(fd, conn->server->replies, now * conn->server->reply_bytes);
        lines -= now;
    }
    if (!good)
        close_conn(conn);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                      int from_len, void *arg)
{
    struct server *server = arg;
    int yes = 1;
    (void)listener;
    (void)from;
    (void)from_len;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn)
        conn->readable = event_new(server->base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    if (!conn || !conn->readable || event_add(conn->readable, NULL) != 0) {
        fprintf(stderr, "null_server: out of memory\n");
        exit(EXIT_FAILURE);
    }
    conn->server = server;
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    event_base_loopbreak(arg);
}

static char *make_replies(size_t reply_bytes)
{
    char *replies = malloc(REPLIES_MAX * reply_bytes);
    if (!replies)
        return NULL;
    memset(replies, '.', REPLIES_MAX * reply_bytes);
    for (size_t at = 0; at < REPLIES_MAX * reply_bytes; at += reply_bytes) {
        memcpy(replies + at, "HD", 2);
        memcpy(replies + at + reply_bytes - 2, "\r\n", 2);
    }
    return replies;
}

static int serve(unsigned port, size_t reply_bytes)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct server server = {
        .base = event_base_new(), .reply_bytes = reply_bytes, .replies = make_replies(reply_bytes)};
    if (!server.base || !server.replies)
        return EXIT_FAILURE;
    struct evconnlistener *listener = evconnlistener_new_bind(
        server.base, on_accept, &server,
        LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_FREE | LEV_OPT_LEAVE_SOCKETS_BLOCKING, 1024,
        (struct sockaddr *)&at, sizeof at);
    struct event *stop = evsignal_new(server.base, SIGTERM, on_signal, server.base);
    if (!listener || !stop || event_add(stop, NULL) != 0) {
        fprintf(stderr, "null_server: cannot listen on port %u\n", port);
        return EXIT_FAILURE;
    }
    event_base_dispatch(server.base);
    event_free(stop);
    evconnlistener_free(listener);
    event_base_free(server.base);
    free(server.replies);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned long port = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long reply_bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : REPLY_BYTES_MIN;
    if (port < 1 || port > 65535 || reply_bytes < REPLY_BYTES_MIN ||
        reply_bytes > REPLY_BYTES_MAX) {
        fprintf(stderr, "usage: null_server PORT [REPLY_BYTES]\n");
        return EXIT_USAGE;
    }
    return serve((unsigned)port, reply_bytes);
}
