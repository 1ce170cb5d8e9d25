/* datagram: UDP. Each datagram is a connection of its own that is given its input at once and ends
 * with its answer: receive -> conn_run -> all released -> frames out. What can't be answered is
 * dropped and counted; UDP promises nothing else.
 *
 * An answer can be aimed at somebody else by a false source address. So it is small
 * (udp_answer_bytes_max), and one that reaches a server ends there: see is_answer. */
#include "net/net_int.h"

#include <netinet/in.h>
#include <stdlib.h>

#define RECEIVE_BYTES_MAX  65536 /* no datagram is longer */
#define FRAME_BYTES_MAX    1400  /* head included; memcached's */
#define FRAME_BODY_MAX     (FRAME_BYTES_MAX - NET_UDP_HEAD_BYTES)
#define FRAMES_MAX         UINT16_MAX
#define DATAGRAMS_PER_TURN 64

struct datagram {
    struct net_conn conn; /* first: freed as one */
    struct sockaddr_storage peer;
    socklen_t peer_len;
    uint16_t id;
    size_t local_len; /* our address it came to, as a control message for its answer */
    _Alignas(struct cmsghdr) uint8_t local[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* ---- answers ---- */

/* How many bytes of answer the frames in `bytes_max` hold. */
static size_t body_max(size_t bytes_max)
{
    size_t frames = bytes_max / FRAME_BYTES_MAX, rest = bytes_max % FRAME_BYTES_MAX;
    if (frames >= FRAMES_MAX)
        return (size_t)FRAMES_MAX * FRAME_BODY_MAX;
    rest = rest > NET_UDP_HEAD_BYTES ? rest - NET_UDP_HEAD_BYTES : 0;
    return frames * FRAME_BODY_MAX + rest;
}

static void send_frames(struct datagram *datagram, struct slice answer)
{
    struct worker *worker = datagram->conn.worker;
    uint8_t head[NET_UDP_HEAD_BYTES];
    size_t count = (answer.len + FRAME_BODY_MAX - 1) / FRAME_BODY_MAX;
    struct udp_frame frame = {.id = datagram->id, .count = (uint16_t)count};
    struct iovec parts[2] = {{head, sizeof head}};
    struct msghdr message = {.msg_name = &datagram->peer,
                             .msg_namelen = datagram->peer_len,
                             .msg_iov = parts,
                             .msg_iovlen = 2,
                             .msg_control = datagram->local_len ? datagram->local : NULL,
                             .msg_controllen = datagram->local_len};
    for (; frame.index < count; frame.index++) {
        size_t len = answer.len < FRAME_BODY_MAX ? answer.len : FRAME_BODY_MAX;
        udp_frame_put(head, &frame);
        parts[1] = (struct iovec){(void *)answer.bytes, len};
        ssize_t sent = sendmsg(datagram->conn.stream.fd, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            count_add(&worker->udp_dropped, 1);
            return;
        }
        count_add(&worker->bytes_written, (uint64_t)sent);
        answer = slice_from(answer, len);
    }
}

static void answer_datagram(struct datagram *datagram)
{
    struct worker *worker = datagram->conn.worker;
    const struct net_config *config = &worker->net->config;
    struct slice answer = buf_slice(&datagram->conn.out);
    size_t len_max = body_max(config->udp_answer_bytes_max);
    struct buf instead = {0};
    int rc = 0;
    if (answer.len > len_max) {
        count_add(&worker->udp_too_large, 1);
        rc = config->handler->hold_failed(config->handler->ctx, answer, CE_UDP_TOO_LARGE, &instead);
        answer = buf_slice(&instead);
    }
    if (rc || answer.len > len_max)
        count_add(&worker->udp_dropped, 1);
    else
        send_frames(datagram, answer);
    buf_free(&instead);
}

void datagram_flush(struct net_conn *conn)
{
    /* Full: no more of it is run, since the answer is too large already. */
    if (conn->parked || !(conn->closing || conn->full))
        return;
    answer_datagram((struct datagram *)conn);
    conn_free(conn);
}

/* ---- receiving ---- */

static uint16_t peer_port(const struct sockaddr_storage *peer)
{
    /* The same place in both. */
    return ((const struct sockaddr_in *)peer)->sin_port;
}

/* Keeps the address it came to, so that the answer comes from there. */
static void keep_local(struct datagram *datagram, struct msghdr *message)
{
    if (message->msg_controllen > sizeof datagram->local)
        return;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at)) {
        /* By whatever way leads to the peer; a link-local IPv6 address needs its interface. */
        if (at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_PKTINFO)
            ((struct in_pktinfo *)CMSG_DATA(at))->ipi_ifindex = 0;
    }
    memcpy(datagram->local, message->msg_control, message->msg_controllen);
    datagram->local_len = message->msg_controllen;
}

static int begin_datagram(struct worker *worker, int fd, struct msghdr *message,
                          const struct udp_frame *frame, struct slice payload)
{
    struct datagram *datagram = calloc(1, sizeof *datagram);
    if (!datagram)
        return CE_NOMEM;
    struct net_conn *conn = &datagram->conn;
    memcpy(&datagram->peer, message->msg_name, message->msg_namelen);
    datagram->peer_len = message->msg_namelen;
    datagram->id = frame->id;
    keep_local(datagram, message);
    conn->is_datagram = conn->eof = true;
    conn->stream.fd = fd;
    conn->out_high = body_max(worker->net->config.udp_answer_bytes_max) + 1;
    if (buf_append(&conn->in, payload.bytes, payload.len) || conn_open(conn, worker)) {
        buf_free(&conn->in);
        free(datagram);
        return CE_NOMEM;
    }
    worker->udp_pending++;
    conn_run(conn);
    return 0;
}

/* Whatever a server says to something that is no request is an error, and no request begins like
 * one. Left unanswered, so that two servers can't be made to talk to each other without end. */
static bool is_answer(struct slice payload)
{
    return slice_starts(payload, slice_str("ERROR")) ||
           slice_starts(payload, slice_str("CLIENT_ERROR")) ||
           slice_starts(payload, slice_str("SERVER_ERROR"));
}

static void take_datagram(struct worker *worker, int fd, struct msghdr *message, size_t len)
{
    struct udp_frame frame;
    struct slice payload;
    count_add(&worker->bytes_read, len);
    bool right = udp_frame_parse(slice_of(worker->udp_bytes, len), &frame, &payload) &&
                 frame.count == 1 && !is_answer(payload) && peer_port(message->msg_name) != 0 &&
                 worker->udp_pending < NET_UDP_PENDING_MAX;
    if (!right || begin_datagram(worker, fd, message, &frame, payload))
        count_add(&worker->udp_dropped, 1);
}

/* False when there is no more. */
static bool receive_one(struct worker *worker, int fd)
{
    struct sockaddr_storage peer;
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    struct iovec part = {worker->udp_bytes, RECEIVE_BYTES_MAX};
    struct msghdr message = {.msg_name = &peer,
                             .msg_namelen = sizeof peer,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &message, 0);
    if (got < 0)
        return errno != EAGAIN;
    take_datagram(worker, fd, &message, (size_t)got);
    return true;
}

static void on_datagrams(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    for (unsigned i = 0; i < DATAGRAMS_PER_TURN && receive_one(arg, fd); i++)
        ;
}

void datagram_name(const struct net_conn *conn, char name[NET_NAME_BYTES])
{
    const struct datagram *datagram = (const struct datagram *)conn;
    names_put((const struct sockaddr *)&datagram->peer, "udp", name);
}

/* ---- a worker's sockets ---- */

int datagram_open(struct worker *worker)
{
    if (worker->udp_count == 0)
        return 0;
    worker->udp_bytes = malloc(RECEIVE_BYTES_MAX);
    if (!worker->udp_bytes)
        return CE_NOMEM;
    int rc = 0;
    for (unsigned i = 0; i < worker->udp_count; i++) {
        event_assign(&worker->udp[i].event, worker->base, worker->udp[i].fd, EV_READ | EV_PERSIST,
                     on_datagrams, worker);
        rc = rc ? rc : event_reserve(&worker->udp[i].event);
    }
    return rc;
}

void datagram_start(struct worker *worker)
{
    for (unsigned i = 0; i < worker->udp_count; i++)
        MUST(event_add(&worker->udp[i].event, NULL) == 0);
}

void datagram_stop(struct worker *worker)
{
    for (unsigned i = 0; i < worker->udp_count; i++) {
        event_del(&worker->udp[i].event);
        for (unsigned n = 0; n < NET_UDP_PENDING_MAX && receive_one(worker, worker->udp[i].fd); n++)
            ;
    }
}

void datagram_close(struct worker *worker)
{
    for (unsigned i = 0; i < worker->udp_count; i++)
        close(worker->udp[i].fd);
    free(worker->udp_bytes);
}
