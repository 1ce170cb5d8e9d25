/* net against a handler of its own: what is held, parked, too much or too late, at will of the
 * test. Requests are lines: e = echo, h = held echo, p = park once, m = ask the main thread once,
 * b N = N bytes, s = the worker stands still until it is let go, t = tells how many e were run, q =
 * close. */
#include "lib/fake_env.h"
#include "lib/suite.h"
#include "net/net_int.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#define WAIT_MS    30000
#define SILENCE_MS 100
#define TICK_MS    1500 /* a tick has passed by then */
#define IDLE_S     5
#define ANSWER_MAX 1400
#define HEAD       "\x01\x02\x00\x00\x00\x01\x00\x00"
#define HEAD_BYTES 8
#define FAIL_LSN   UINT64_MAX

struct session {
    struct net_conn *conn;
    bool waited; /* its request p or m has been waited for */
    struct net_task ask, resume;
};

static struct net *net;
static struct fake_env *fake;
static pthread_t runner;
static unsigned port;
static char folder[] = "/tmp/net_test.XXXXXX", path[64];
static _Atomic uint64_t lsn_given, lsn_reached, live_holds_max, hangups;
static _Atomic(struct session *) parked;
static sem_t stands, goes_on;
static _Atomic size_t in_cap, out_cap, holds_cap; /* as the last e saw them */
static _Atomic unsigned foreseen, foreseen_max;   /* inputs: in all, of one look */
static _Atomic unsigned echoes;
static _Atomic unsigned unanswered_max; /* that an e saw run and not sent */

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

static void resume(struct session *session)
{
    session->resume.run = run_resume;
    net_post(net, 0, &session->resume);
}

static void run_ask(struct net_task *task)
{
    resume((struct session *)((char *)task - offsetof(struct session, ask)));
}

static enum net_next wait_once(struct session *session, char how)
{
    if (session->waited)
        return NET_MORE;
    session->waited = true;
    if (how == 'm') {
        session->ask.run = run_ask;
        net_post_main(net, &session->ask);
    } else {
        atomic_store(&parked, session);
    }
    return NET_PARK;
}

static void hold(struct net_conn *conn)
{
    size_t start = net_out(conn)->len;
    uint64_t lsn = atomic_fetch_add(&lsn_given, 1) + 1;
    MUST(buf_printf(net_out(conn), "held\n") == 0 && net_hold(conn, start, lsn, 0) == 0);
    uint64_t live = lsn - atomic_load(&lsn_reached);
    if (live > atomic_load(&live_holds_max))
        atomic_store(&live_holds_max, live);
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
    note_max(&unanswered_max, count);
}

static void see_inputs(void *ctx, const struct net_input *inputs, unsigned count)
{
    (void)ctx;
    for (unsigned i = 0; i < count; i++) {
        const struct session *session = inputs[i].session;
        MUST(inputs[i].in.len > 0 && session->conn->out.len == 0); /* none has been run */
    }
    atomic_fetch_add(&foreseen, count);
    note_max(&foreseen_max, count);
}

static enum net_next run_line(struct session *session, const char *line)
{
    struct buf *out = net_out(session->conn);
    switch (line[0]) {
    case 't': MUST(buf_printf(out, "%u\n", atomic_load(&echoes)) == 0); return NET_MORE;
    case 'e':
        atomic_fetch_add(&echoes, 1);
        see_unanswered(session->conn->worker);
        atomic_store(&in_cap, session->conn->in.cap);
        atomic_store(&out_cap, out->cap);
        atomic_store(&holds_cap, session->conn->holds_cap);
        MUST(buf_append_str(out, "ok\n") == 0);
        return NET_MORE;
    case 'h': hold(session->conn); return NET_MORE;
    case 'b': {
        size_t len = strtoul(line + 1, NULL, 10);
        MUST(buf_reserve(out, len) == 0);
        memset(out->bytes + out->len, 'x', len);
        out->len += len;
        return NET_MORE;
    }
    case 's':
        sem_post(&stands);
        sem_wait(&goes_on);
        return NET_MORE;
    case 'q': return NET_CLOSE;
    default:
        if (wait_once(session, line[0]) == NET_PARK)
            return NET_PARK;
        MUST(buf_append_str(out, "woken\n") == 0);
        return NET_MORE;
    }
}

static enum net_next take_input(void *arg, struct slice in, size_t *used, size_t *want)
{
    struct session *session = arg;
    *used = *want = 0;
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

static int see_hold(void *ctx, uint64_t lsn, int level)
{
    uint64_t reached = atomic_load(&lsn_reached);
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
    atomic_fetch_add(&hangups, 1);
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

static void set_up(void)
{
    char message[256];
    MUST(mkdtemp(folder) && sem_init(&stands, 0, 0) == 0 && sem_init(&goes_on, 0, 0) == 0);
    snprintf(path, sizeof path, "%s/socket", folder);
    port = find_port();
    fake = fake_env_new(1);
    struct net_config config = {.env = fake_env_vtable(fake),
                                .handler = &handler,
                                .listen = "127.0.0.1",
                                .udp_port = port,
                                .udp_answer_bytes_max = ANSWER_MAX,
                                .unix_path = path,
                                .unix_mode = 0700,
                                .backlog = 10,
                                .workers = 1,
                                .conns_max = 100,
                                .idle_timeout_s = IDLE_S,
                                .hangup = on_hangup};
    int rc = net_new(&config, &net, message, sizeof message);
    ck_assert_msg(rc == 0, "%s", message);
    MUST(pthread_create(&runner, NULL, run_net, net) == 0);
}

static void end_run(void)
{
    net_quit(net);
    MUST(pthread_join(runner, NULL) == 0);
}

static void tear_down(void)
{
    end_run();
    ck_assert(net_stop(net, WAIT_MS));
    net_free(&net);
    fake_env_free(&fake);
    ck_assert_int_eq(rmdir(folder), 0); /* the socket is gone */
}

static void reach(uint64_t lsn)
{
    atomic_store(&lsn_reached, lsn);
    net_advanced(net);
}

static int connect_unix(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, sizeof path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int connect_udp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    for (size_t len = strlen(text); len;) {
        ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);
        ck_assert_int_gt(sent, 0);
        text += sent;
        len -= (size_t)sent;
    }
}

static bool is_silent(int fd, int wait_ms)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    return poll(&wanted, 1, wait_ms) == 0;
}

/* Exactly these bytes come next. */
static void expect(int fd, const char *text)
{
    char got[256];
    size_t len = strlen(text), have = 0;
    while (have < len) {
        ck_assert_msg(!is_silent(fd, WAIT_MS), "no answer, wanted %s", text);
        ssize_t more = recv(fd, got + have, len - have, 0);
        ck_assert_int_gt(more, 0);
        have += (size_t)more;
    }
    ck_assert_mem_eq(got, text, len);
}

static void expect_end(int fd)
{
    char byte;
    ck_assert(!is_silent(fd, WAIT_MS));
    ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
    close(fd);
}

static void send_datagram(int fd, const char *line)
{
    char datagram[64];
    int len = snprintf(datagram + HEAD_BYTES, sizeof datagram - HEAD_BYTES, "%s", line);
    memcpy(datagram, HEAD, HEAD_BYTES);
    ck_assert_int_eq(send(fd, datagram, (size_t)len + HEAD_BYTES, 0), len + HEAD_BYTES);
}

static void expect_datagram(int fd, const char *answer)
{
    char got[2048];
    ck_assert_msg(!is_silent(fd, WAIT_MS), "no answer, wanted %s", answer);
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

static uint64_t read_stat(const char *name)
{
    struct wanted_stat wanted = {.name = name, .value = UINT64_MAX};
    struct stat_sink sink = {.u64 = take_u64, .ctx = &wanted};
    net_stats(net, &sink);
    ck_assert_uint_ne(wanted.value, UINT64_MAX);
    return wanted.value;
}

/* Keeps the worker busy until it is so. */
static void wait_stat(const char *name, uint64_t value)
{
    int fd = connect_unix();
    while (read_stat(name) != value) {
        say(fd, "e\n");
        expect(fd, "ok\n");
    }
    close(fd);
}

/* ---- holds ---- */

/* Connections that the worker has served once. */
static void connect_many(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        fds[i] = connect_unix();
        say(fds[i], "e\n");
        expect(fds[i], "ok\n");
    }
    atomic_store(&foreseen, 0);
    atomic_store(&foreseen_max, 0);
    atomic_store(&unanswered_max, 0);
}

/* What the connections say next reaches the worker in one round of its loop. */
static int stand_still(void)
{
    int fd = connect_unix();
    say(fd, "s\n");
    sem_wait(&stands);
    return fd;
}

START_TEST(who_is_readable_together_is_foreseen_run_and_answered_together)
{
    int fds[3];
    connect_many(fds, 3);
    int still = stand_still();
    for (unsigned i = 0; i < 3; i++)
        say(fds[i], "e\n");
    sem_post(&goes_on);
    for (unsigned i = 0; i < 3; i++)
        expect(fds[i], "ok\n");
    ck_assert_uint_eq(atomic_load(&foreseen), 3);
    ck_assert_uint_eq(atomic_load(&foreseen_max), 3);
    ck_assert_uint_eq(atomic_load(&unanswered_max), 2);
    for (unsigned i = 0; i < 3; i++)
        close(fds[i]);
    close(still);
}
END_TEST

START_TEST(who_leaves_a_batch_leaves_it_to_the_others)
{
    int fds[4];
    connect_many(fds, 4);
    int still = stand_still();
    say(fds[0], "q\n");
    say(fds[1], "e\n");
    close(fds[2]);
    say(fds[3], "e\n");
    sem_post(&goes_on);
    expect_end(fds[0]);
    expect(fds[1], "ok\n");
    expect(fds[3], "ok\n");
    close(fds[1]);
    close(fds[3]);
    close(still);
}
END_TEST

START_TEST(no_batch_is_larger_than_its_limit)
{
    int fds[2 * NET_BATCH_MAX];
    connect_many(fds, 2 * NET_BATCH_MAX);
    int still = stand_still();
    for (unsigned i = 0; i < 2 * NET_BATCH_MAX; i++)
        say(fds[i], "e\n");
    sem_post(&goes_on);
    for (unsigned i = 0; i < 2 * NET_BATCH_MAX; i++)
        expect(fds[i], "ok\n");
    ck_assert_uint_gt(atomic_load(&foreseen_max), 1);
    ck_assert_uint_le(atomic_load(&foreseen_max), NET_BATCH_MAX);
    for (unsigned i = 0; i < 2 * NET_BATCH_MAX; i++)
        close(fds[i]);
    close(still);
}
END_TEST

/* Between two answers to one there is one turn of another, not two. */
START_TEST(who_was_read_goes_before_who_had_a_turn)
{
    char lines[2 * (1 + 2 * NET_TURN_REQUESTS) + 1] = "s\n";
    int greedy = connect_unix(), other;
    connect_many(&other, 1);
    for (unsigned i = 0; i < 2 * NET_TURN_REQUESTS; i++)
        strcat(lines, "e\n");
    unsigned before = atomic_load(&echoes);
    say(greedy, lines);
    sem_wait(&stands);
    say(other, "t\n");
    sem_post(&goes_on);
    snprintf(lines, sizeof lines, "%u\n", before + NET_TURN_REQUESTS - 1);
    expect(other, lines);
    close(greedy);
    close(other);
}
END_TEST

START_TEST(held_replies_wait_and_all_behind_them)
{
    int fd = connect_unix();
    say(fd, "e\nh\ne\nh\ne\n");
    expect(fd, "ok\n");
    ck_assert(is_silent(fd, SILENCE_MS));
    reach(1);
    expect(fd, "held\nok\n");
    ck_assert(is_silent(fd, SILENCE_MS));
    reach(2);
    expect(fd, "held\nok\n");
    close(fd);
}
END_TEST

START_TEST(a_promise_that_fails_is_replaced)
{
    int fd = connect_unix();
    say(fd, "h\ne\nh\nq\n");
    ck_assert(is_silent(fd, SILENCE_MS));
    reach(FAIL_LSN);
    expect(fd, "failed\nok\nfailed\n");
    expect_end(fd);
}
END_TEST

START_TEST(no_more_than_some_replies_are_held_and_memory_comes_back)
{
    enum { REQUESTS = 3 * CONN_HOLDS_MAX };
    static char requests[2 * REQUESTS + 1];
    int fd = connect_unix();
    for (int i = 0; i < REQUESTS; i++)
        memcpy(requests + 2 * i, "h\n", 2);
    say(fd, requests);
    for (int i = 0; i < REQUESTS; i++) {
        if (i == (int)atomic_load(&lsn_reached)) {
            while ((int)atomic_load(&lsn_given) < i + CONN_HOLDS_MAX && i < REQUESTS)
                is_silent(fd, 1);
            reach((uint64_t)i + CONN_HOLDS_MAX);
        }
        expect(fd, "held\n");
    }
    ck_assert_uint_eq(atomic_load(&live_holds_max), CONN_HOLDS_MAX);
    say(fd, "e\n");
    expect(fd, "ok\n");
    ck_assert_uint_le(atomic_load(&holds_cap), 256);
    close(fd);
}
END_TEST

/* Always one reply is held, so the array never becomes empty. */
START_TEST(a_stream_of_holds_needs_no_more_room)
{
    int fd = connect_unix();
    for (uint64_t i = 1; i <= 5000; i++) {
        say(fd, "h\n");
        if (i > 1) {
            reach(i - 1);
            expect(fd, "held\n");
        }
    }
    say(fd, "e\n");
    reach(5000);
    expect(fd, "held\nok\n");
    ck_assert_uint_le(atomic_load(&holds_cap), 64);
    close(fd);
}
END_TEST

/* ---- memory ---- */

START_TEST(buffers_are_given_back_after_a_burst)
{
    static char text[300001];
    int fd = connect_unix();
    memset(text, 'e', sizeof text - 1);
    say(fd, text);
    say(fd, "\ne"); /* the buffer does not become empty */
    expect(fd, "ok\n");
    say(fd, "\n");
    expect(fd, "ok\n");
    ck_assert_uint_le(atomic_load(&in_cap), CONN_KEEP_BYTES);
    say(fd, "b 3000000\n");
    for (size_t have = 0; have < 3000000;) {
        ssize_t more = recv(fd, text, sizeof text, 0);
        ck_assert_int_gt(more, 0);
        have += (size_t)more;
    }
    say(fd, "e\n");
    expect(fd, "ok\n");
    ck_assert_uint_le(atomic_load(&out_cap), CONN_KEEP_BYTES);
    close(fd);
}
END_TEST

/* ---- time ---- */

START_TEST(who_waits_for_us_is_not_idle)
{
    int held = connect_unix(), waits = connect_unix(), idle = connect_unix(), half = connect_unix();
    say(held, "h\n");
    say(waits, "p\n");
    say(half, "e");
    say(idle, "e\n");
    expect(idle, "ok\n");
    ck_assert(is_silent(held, TICK_MS) && is_silent(waits, 0)); /* both have been run */
    fake_env_advance_ms(fake, 1000 * IDLE_S);
    ck_assert(is_silent(idle, TICK_MS)); /* not yet */
    fake_env_advance_ms(fake, 1000);
    expect_end(idle);
    expect_end(half);
    reach(1);
    expect(held, "held\n");
    resume(atomic_load(&parked));
    expect(waits, "woken\n");
    ck_assert_uint_eq(read_stat("idle_kicks"), 2);
    ck_assert(is_silent(held, TICK_MS));
    fake_env_advance_ms(fake, 1000 * IDLE_S + 1000);
    expect_end(held);
    expect_end(waits);
}
END_TEST

/* SIGSTOP, a machine that was paused: the clock has moved on, the second of the last tick has not.
 */
START_TEST(who_spoke_in_a_pause_is_not_idle)
{
    int before = connect_unix(), during = connect_unix();
    say(before, "e\n");
    expect(before, "ok\n");
    ck_assert(is_silent(before, TICK_MS));
    say(during, "s\n");
    MUST(sem_wait(&stands) == 0);
    int newcomer = connect_unix();
    fake_env_advance_ms(fake, 100 * 1000 * IDLE_S);
    ck_assert(is_silent(during, TICK_MS)); /* the tick is due when the worker goes on */
    sem_post(&goes_on);
    expect_end(before);
    say(newcomer, "e\n");
    expect(newcomer, "ok\n");
    say(during, "e\n");
    expect(during, "ok\n");
    ck_assert_uint_eq(read_stat("idle_kicks"), 1);
}
END_TEST

/* ---- datagrams ---- */

START_TEST(the_answer_to_a_datagram_waits_too)
{
    int fd = connect_udp(), other = connect_udp();
    send_datagram(fd, "h\n");
    send_datagram(other, "p\n");
    ck_assert(is_silent(fd, SILENCE_MS) && is_silent(other, SILENCE_MS));
    send_datagram(other, "e\n");
    expect_datagram(other, "ok\n");
    reach(1);
    expect_datagram(fd, "held\n");
    resume(atomic_load(&parked));
    expect_datagram(other, "woken\n");
    send_datagram(fd, "h\ne\n");
    ck_assert(is_silent(fd, SILENCE_MS));
    reach(FAIL_LSN);
    expect_datagram(fd, "failed\nok\n");
    ck_assert_uint_eq(read_stat("udp_dropped"), 0);
    ck_assert_uint_eq(read_stat("curr_connections"), 0);
}
END_TEST

START_TEST(so_many_datagrams_wait_and_no_more)
{
    int fds[20];
    for (int i = 0; i < 20; i++)
        fds[i] = connect_udp();
    for (int i = 0; i < NET_UDP_PENDING_MAX + 50; i++)
        send_datagram(fds[i % 20], "h\n");
    wait_stat("udp_dropped", 50);
    ck_assert_uint_eq(atomic_load(&lsn_given), NET_UDP_PENDING_MAX);
    reach(NET_UDP_PENDING_MAX);
    for (int i = 0; i < NET_UDP_PENDING_MAX; i++)
        expect_datagram(fds[i % 20], "held\n");
    for (int i = 0; i < 20; i++)
        ck_assert(is_silent(fds[i], 0));
    send_datagram(fds[0], "e\n");
    expect_datagram(fds[0], "ok\n");
}
END_TEST

START_TEST(too_large_an_answer_is_replaced_or_dropped)
{
    int fd = connect_udp();
    send_datagram(fd, "b 1393\n");
    expect_datagram(fd, "too large\n");
    send_datagram(fd, "b 300000\nh\n"); /* what is behind it is not run */
    expect_datagram(fd, "too large\n");
    ck_assert_uint_eq(atomic_load(&lsn_given), 0);
    send_datagram(fd, "b 9999\n");
    wait_stat("udp_dropped", 1);
    ck_assert_uint_eq(read_stat("udp_too_large"), 3);
    send_datagram(fd, "e\n");
    expect_datagram(fd, "ok\n");
}
END_TEST

/* ---- the thread of net_run ---- */

START_TEST(a_hangup_is_told)
{
    int fd = connect_unix();
    say(fd, "m\n");
    expect(fd, "woken\n");
    kill(getpid(), SIGHUP);
    while (atomic_load(&hangups) == 0)
        is_silent(fd, 1);
    close(fd);
}
END_TEST

START_TEST(main_still_does_what_it_is_asked_while_all_stops)
{
    int fd = connect_unix();
    say(fd, "e\n");
    expect(fd, "ok\n");
    end_run();
    say(fd, "m\ne\n"); /* nobody takes it but net_stop */
    ck_assert(is_silent(fd, SILENCE_MS));
    ck_assert(net_stop(net, WAIT_MS));
    expect(fd, "woken\nok\n");
    expect_end(fd);
    net_free(&net);
    fake_env_free(&fake);
    rmdir(folder);
}
END_TEST

static void *stop_net(void *arg)
{
    (void)arg;
    ck_assert(net_stop(net, WAIT_MS));
    return NULL;
}

START_TEST(datagrams_that_have_come_are_answered_at_a_stop)
{
    enum { DATAGRAMS = 200 }; /* more than a worker takes in one turn */
    pthread_t stopper;
    int fd = connect_unix(), udp = connect_udp();
    say(fd, "s\n");
    sem_wait(&stands);
    for (int i = 0; i < DATAGRAMS; i++)
        send_datagram(udp, "e\n");
    end_run();
    MUST(pthread_create(&stopper, NULL, stop_net, NULL) == 0);
    while (access(path, F_OK) ==
           0) /* it does not listen any more: it is about to tell the worker */
        is_silent(udp, 1);
    ck_assert(is_silent(udp, SILENCE_MS));
    sem_post(&goes_on);
    for (int i = 0; i < DATAGRAMS; i++)
        expect_datagram(udp, "ok\n");
    MUST(pthread_join(stopper, NULL) == 0);
    net_free(&net);
    fake_env_free(&fake);
    rmdir(folder);
}
END_TEST

START_TEST(what_a_batch_has_read_is_answered_at_a_stop)
{
    int fds[3];
    pthread_t stopper;
    connect_many(fds, 3);
    int still = stand_still();
    for (unsigned i = 0; i < 3; i++)
        say(fds[i], i ? "e\n" : "h\n");
    end_run();
    MUST(pthread_create(&stopper, NULL, stop_net, NULL) == 0);
    while (!atomic_load(&net->workers[0].mailbox.woken)) /* the stop is behind them */
        is_silent(fds[0], 1);
    sem_post(&goes_on);
    for (unsigned i = 1; i < 3; i++) {
        expect(fds[i], "ok\n");
        expect_end(fds[i]);
    }
    reach(1); /* only now may the worker end */
    expect(fds[0], "held\n");
    expect_end(fds[0]);
    expect_end(still);
    MUST(pthread_join(stopper, NULL) == 0);
    net_free(&net);
    fake_env_free(&fake);
    rmdir(folder);
}
END_TEST

START_TEST(a_stop_waits_for_answers_and_no_longer_than_told)
{
    int udp = connect_udp(), fd = connect_unix();
    send_datagram(udp, "h\n");
    say(fd, "h\n");
    while (atomic_load(&lsn_given) < 2)
        is_silent(udp, 1);
    end_run();
    ck_assert(!net_stop(net, SILENCE_MS)); /* what is held is cut off */
    expect_end(fd);
    ck_assert(is_silent(udp, 0));
    net_free(&net);
    fake_env_free(&fake);
    rmdir(folder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net");
    TCase *cases = tcase_create("served"), *ends = tcase_create("stop");
    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_add_checked_fixture(ends, set_up, NULL);
    tcase_set_timeout(cases, WAIT_MS / 1000);
    tcase_add_test(cases, who_is_readable_together_is_foreseen_run_and_answered_together);
    tcase_add_test(cases, who_leaves_a_batch_leaves_it_to_the_others);
    tcase_add_test(cases, no_batch_is_larger_than_its_limit);
    tcase_add_test(cases, who_was_read_goes_before_who_had_a_turn);
    tcase_add_test(cases, held_replies_wait_and_all_behind_them);
    tcase_add_test(cases, a_promise_that_fails_is_replaced);
    tcase_add_test(cases, no_more_than_some_replies_are_held_and_memory_comes_back);
    tcase_add_test(cases, a_stream_of_holds_needs_no_more_room);
    tcase_add_test(cases, buffers_are_given_back_after_a_burst);
    tcase_add_test(cases, who_waits_for_us_is_not_idle);
    tcase_add_test(cases, who_spoke_in_a_pause_is_not_idle);
    tcase_add_test(cases, the_answer_to_a_datagram_waits_too);
    tcase_add_test(cases, so_many_datagrams_wait_and_no_more);
    tcase_add_test(cases, too_large_an_answer_is_replaced_or_dropped);
    tcase_add_test(cases, a_hangup_is_told);
    tcase_add_test(ends, main_still_does_what_it_is_asked_while_all_stops);
    tcase_add_test(ends, datagrams_that_have_come_are_answered_at_a_stop);
    tcase_add_test(ends, what_a_batch_has_read_is_answered_at_a_stop);
    tcase_add_test(ends, a_stop_waits_for_answers_and_no_longer_than_told);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, ends);
    return suite_run(suite);
}
