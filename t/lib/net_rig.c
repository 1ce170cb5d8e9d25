#include "net_rig.h"

#include "fake_env.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define HEAD "\x01\x02\x00\x00\x00\x01\x00\x00"

struct net_rig net_rig = {.folder = "/tmp/net_rig.XXXXXX"};

/* ---- the handler ---- */

static int open_session(void *ctx, struct net_conn *conn, unsigned worker, void **out)
{
    struct session *session = calloc(1, sizeof *session);
    (void)ctx, (void)worker;
    MUST(session);
    session->conn = conn;
    *out = session;
    return 0;
}

static void run_resume(struct net_task *task)
{
    net_resume(((struct session *)((char *)task - offsetof(struct session, resume)))->conn);
}

void net_rig_resume(struct session *session)
{
    session->resume.run = run_resume;
    net_post(net_rig.net, 0, &session->resume);
}

static void run_ask(struct net_task *task)
{
    net_rig_resume((struct session *)((char *)task - offsetof(struct session, ask)));
}

static enum net_next wait_once(struct session *session, char how)
{
    if (session->waited)
        return NET_MORE;
    session->waited = true;
    if (how == 'm') {
        session->ask.run = run_ask;
        net_post_main(net_rig.net, &session->ask);
    } else {
        atomic_store(&net_rig.parked, session);
    }
    return NET_PARK;
}

static void hold(struct net_conn *conn)
{
    size_t start = net_out(conn)->len;
    uint64_t lsn = atomic_fetch_add(&net_rig.lsn_given, 1) + 1;
    MUST(buf_printf(net_out(conn), "held\n") == 0 && net_hold(conn, start, lsn, 0) == 0);
    uint64_t live = lsn - atomic_load(&net_rig.lsn_reached);
    if (live > atomic_load(&net_rig.live_holds_max))
        atomic_store(&net_rig.live_holds_max, live);
}

static void note_max(_Atomic unsigned *max, unsigned count)
{
    if (count > atomic_load(max))
        atomic_store(max, count);
}

static void see_unanswered(const struct worker *worker)
{
    unsigned count = 0;
    for (unsigned i = 0; i < worker->batch_count; i++)
        count += worker->batch[i] && worker->batch[i]->out.len > 0;
    note_max(&net_rig.unanswered_max, count);
}

/* Buffers of the connections that are not served now. */
static size_t idle_bytes(const struct net_conn *served)
{
    size_t bytes = 0;
    for (const struct net_conn *conn = served->worker->conns; conn; conn = conn->next)
        bytes += conn == served ? 0 : conn->in.cap + conn->out.cap;
    return bytes;
}

static void see_inputs(void *ctx, const struct net_input *inputs, unsigned count)
{
    (void)ctx;
    for (unsigned i = 0; i < count; i++) {
        const struct session *session = inputs[i].session;
        MUST(inputs[i].in.len > 0 && session->conn->out.len == 0); /* none has been run */
    }
    atomic_fetch_add(&net_rig.foreseen, count);
    note_max(&net_rig.foreseen_max, count);
}

static enum net_next run_line(struct session *session, const char *line)
{
    struct buf *out = net_out(session->conn);
    switch (line[0]) {
    case 't': MUST(buf_printf(out, "%u\n", atomic_load(&net_rig.echoes)) == 0); return NET_MORE;
    case 'e':
        atomic_fetch_add(&net_rig.echoes, 1);
        see_unanswered(session->conn->worker);
        atomic_store(&net_rig.in_cap, session->conn->in.cap);
        atomic_store(&net_rig.out_cap, out->cap);
        atomic_store(&net_rig.holds_cap, session->conn->holds_cap);
        atomic_store(&net_rig.idle_bytes, idle_bytes(session->conn));
        atomic_store(&net_rig.pooled, session->conn->worker->pool.large.count);
        MUST(buf_append_str(out, "ok\n") == 0);
        return NET_MORE;
    case 'h': hold(session->conn); return NET_MORE;
    case 'b': {
        size_t len = strtoul(line + 1, NULL, 10);
        if (session->conn->worker->pool.large.count < atomic_load(&net_rig.pooled_min))
            atomic_store(&net_rig.pooled_min, session->conn->worker->pool.large.count);
        MUST(buf_reserve(out, len) == 0);
        memset(out->bytes + out->len, 'x', len);
        out->len += len;
        return NET_MORE;
    }
    case 's':
        sem_post(&net_rig.stands);
        sem_wait(&net_rig.goes_on);
        return NET_MORE;
    case 'q': return NET_CLOSE;
    default:
        if (wait_once(session, line[0]) == NET_PARK)
            return NET_PARK;
        MUST(buf_append_str(out, "woken\n") == 0);
        return NET_MORE;
    }
}

static enum net_next run_lines(struct session *session, struct slice in, size_t *used)
{
    for (unsigned turn = 0; turn < NET_TURN_REQUESTS; turn++) {
        struct slice rest = slice_from(in, *used);
        const uint8_t *end = rest.len ? memchr(rest.bytes, '\n', rest.len) : NULL;
        if (!end)
            return NET_MORE;
        if (net_out_full(session->conn))
            return NET_FULL;
        enum net_next next = run_line(session, (const char *)rest.bytes);
        if (next == NET_PARK)
            return next;
        *used += (size_t)(end - rest.bytes) + 1;
        if (next != NET_MORE)
            return next;
    }
    return NET_YIELD;
}

static enum net_next take_input(void *arg, struct slice in, size_t *used, size_t *want)
{
    struct session *session = arg;
    *used = *want = 0;
    note_max(&net_rig.came_max, (unsigned)(in.len - session->left));
    enum net_next next = run_lines(session, in, used);
    session->left = in.len - *used;
    return next;
}

static int see_hold(void *ctx, uint64_t lsn, int level)
{
    uint64_t reached = atomic_load(&net_rig.lsn_reached);
    (void)ctx, (void)level;
    return reached == FAIL_LSN ? CE_NODISK : lsn > reached;
}

static int fail_hold(void *ctx, struct slice reply, int code, struct buf *instead)
{
    (void)ctx;
    /* The last test of too large answers wants one that is no better. */
    if (code == CE_UDP_TOO_LARGE && reply.len == 9999)
        return buf_append(instead, reply.bytes, reply.len);
    return buf_append_str(instead, code == CE_UDP_TOO_LARGE ? "too large\n" : "failed\n");
}

static void on_hangup(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&net_rig.hangups, 1);
}

static const struct net_handler handler = {.conn_open = open_session,
                                           .conn_input = take_input,
                                           .foresee = see_inputs,
                                           .conn_close = free,
                                           .hold_state = see_hold,
                                           .hold_failed = fail_hold};

/* ---- the world ---- */

static void *run_net(void *arg)
{
    net_run(arg);
    return NULL;
}

static unsigned find_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    MUST(bind(fd, (struct sockaddr *)&address, len) == 0);
    MUST(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

void net_rig_set_up(void)
{
    char message[256];
    MUST(mkdtemp(net_rig.folder) && sem_init(&net_rig.stands, 0, 0) == 0 &&
         sem_init(&net_rig.goes_on, 0, 0) == 0);
    snprintf(net_rig.path, sizeof net_rig.path, "%s/socket", net_rig.folder);
    net_rig.port = find_port();
    net_rig.fake = fake_env_new(1);
    struct net_config config = {.env = fake_env_vtable(net_rig.fake),
                                .handler = &handler,
                                .listen = "127.0.0.1",
                                .udp_port = net_rig.port,
                                .udp_answer_bytes_max = ANSWER_MAX,
                                .unix_path = net_rig.path,
                                .unix_mode = 0700,
                                .backlog = 10,
                                .workers = 1,
                                .conns_max = 100,
                                .idle_timeout_s = NET_RIG_IDLE_S,
                                .hangup = on_hangup};
    int rc = net_new(&config, &net_rig.net, message, sizeof message);
    ck_assert_msg(rc == 0, "%s", message);
    MUST(pthread_create(&net_rig.runner, NULL, run_net, net_rig.net) == 0);
}

void net_rig_end_run(void)
{
    net_quit(net_rig.net);
    MUST(pthread_join(net_rig.runner, NULL) == 0);
}

void net_rig_free(void)
{
    net_free(&net_rig.net);
    fake_env_free(&net_rig.fake);
    ck_assert_int_eq(rmdir(net_rig.folder), 0); /* the socket is gone */
}

void net_rig_tear_down(void)
{
    net_rig_end_run();
    ck_assert(net_stop(net_rig.net, WAIT_MS));
    net_rig_free();
}

static void *stop_net(void *arg)
{
    (void)arg;
    ck_assert(net_stop(net_rig.net, WAIT_MS));
    return NULL;
}

void net_rig_begin_stop(pthread_t *stopper)
{
    net_rig_end_run();
    MUST(pthread_create(stopper, NULL, stop_net, NULL) == 0);
}

void net_rig_end_stop(pthread_t stopper)
{
    MUST(pthread_join(stopper, NULL) == 0);
    net_rig_free();
}

void net_rig_reach(uint64_t lsn)
{
    atomic_store(&net_rig.lsn_reached, lsn);
    net_advanced(net_rig.net);
}

void net_rig_connect_unix_by(int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, net_rig.path, sizeof net_rig.path);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
}

int net_rig_connect_unix(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    net_rig_connect_unix_by(fd);
    return fd;
}

int net_rig_connect_udp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)net_rig.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

void net_rig_say(int fd, const char *text)
{
    for (size_t len = strlen(text); len;) {
        ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);
        ck_assert_int_gt(sent, 0);
        text += sent;
        len -= (size_t)sent;
    }
}

bool net_rig_is_silent(int fd, int wait_ms)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    return poll(&wanted, 1, wait_ms) == 0;
}

/* Exactly these bytes come next. */
void net_rig_expect(int fd, const char *text)
{
    char got[256];
    size_t len = strlen(text), have = 0;
    while (have < len) {
        ck_assert_msg(!net_rig_is_silent(fd, WAIT_MS), "no answer, wanted %s", text);
        ssize_t more = recv(fd, got + have, len - have, 0);
        ck_assert_int_gt(more, 0);
        have += (size_t)more;
    }
    ck_assert_mem_eq(got, text, len);
}

void net_rig_expect_bytes(int fd, size_t bytes)
{
    static char got[1 << 17];
    while (bytes > 0) {
        ck_assert(!net_rig_is_silent(fd, WAIT_MS));
        ssize_t more = recv(fd, got, bytes < sizeof got ? bytes : sizeof got, 0);
        ck_assert_int_gt(more, 0);
        bytes -= (size_t)more;
    }
}

void net_rig_expect_end(int fd)
{
    char byte;
    ck_assert(!net_rig_is_silent(fd, WAIT_MS));
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

void net_rig_send_datagram(int fd, const char *line)
{
    char datagram[64];
    int len = snprintf(datagram + HEAD_BYTES, sizeof datagram - HEAD_BYTES, "%s", line);
    memcpy(datagram, HEAD, HEAD_BYTES);
    ck_assert_int_eq(send(fd, datagram, (size_t)len + HEAD_BYTES, 0), len + HEAD_BYTES);
}

void net_rig_expect_datagram(int fd, const char *answer)
{
    char got[2048];
    ck_assert_msg(!net_rig_is_silent(fd, WAIT_MS), "no answer, wanted %s", answer);
    ssize_t len = recv(fd, got, sizeof got, 0);
    ck_assert_int_eq(len, HEAD_BYTES + (ssize_t)strlen(answer));
    ck_assert_mem_eq(got, HEAD, HEAD_BYTES);
    ck_assert_mem_eq(got + HEAD_BYTES, answer, strlen(answer));
}

struct wanted_stat {
    const char *name;
    uint64_t value;
};

static void take_u64(void *ctx, const char *name, uint64_t value)
{
    struct wanted_stat *wanted = ctx;
    if (strcmp(name, wanted->name) == 0)
        wanted->value = value;
}

uint64_t net_rig_read_stat(const char *name)
{
    struct wanted_stat wanted = {.name = name, .value = UINT64_MAX};
    struct stat_sink sink = {.u64 = take_u64, .ctx = &wanted};
    net_stats(net_rig.net, &sink);
    ck_assert_uint_ne(wanted.value, UINT64_MAX);
    return wanted.value;
}

/* Keeps the worker busy until it is so. */
void net_rig_wait_stat(const char *name, uint64_t value)
{
    int fd = net_rig_connect_unix();
    while (net_rig_read_stat(name) != value) {
        net_rig_say(fd, "e\n");
        net_rig_expect(fd, "ok\n");
    }
    close(fd);
}

/* What the connections net_rig_say next reaches the worker in one round of its loop. */
int net_rig_stand_still(void)
{
    int fd = net_rig_connect_unix();
    net_rig_say(fd, "s\n");
    sem_wait(&net_rig.stands);
    return fd;
}
