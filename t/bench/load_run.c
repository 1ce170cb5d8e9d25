/* run: connections with a batch (or sliding window) of requests each, until all ops are answered.
 *
 * Closed loop: a connection asks again when its replies are in. Open loop (rate): every op has its
 * time; the next free connection takes it, and its latency counts from that time, so waiting for
 * a slow server is part of it. A lost connection or the time-out ends the run without a result. */
#include "bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define IN_BYTES  (256u << 10) /* more than the longest reply */
#define TICK_US   200          /* open loop: how exactly ops are begun */
#define NS        1000000000ull
#define UNLIMITED UINT64_MAX

struct run;

struct conn {
    struct run *run;
    int fd;
    struct event *readable, *writable;
    struct op *ops; /* asked and not answered: a ring of `depth` */
    unsigned first, count;
    uint32_t *missed; /* keys to write before more is asked; at most `depth` */
    unsigned missed_count;
    char *in, *out;
    size_t in_len, out_len, out_sent;
};

struct run {
    const struct plan *plan;
    struct outcome *outcome;
    struct event_base *base;
    struct event *tick, *timeout;
    struct conn *conns;
    unsigned next_conn;
    uint64_t begun, ops_max, start_ns, stop_ns;
    bool failed;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

static double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void fail(struct run *run, const char *what)
{
    if (!run->outcome->first_error[0])
        snprintf(run->outcome->first_error, sizeof run->outcome->first_error, "%s", what);
    run->failed = true;
    event_base_loopbreak(run->base);
}

/* ---- asking ------------------------------------------------------------------------------------
 */

static void send_out(struct conn *conn)
{
    while (conn->out_sent < conn->out_len) {
        ssize_t sent = send(conn->fd, conn->out + conn->out_sent, conn->out_len - conn->out_sent,
                            MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            event_add(conn->writable, NULL);
            return;
        }
        if (sent < 0) {
            fail(conn->run, "the server closed a connection (send)");
            return;
        }
        conn->out_sent += (size_t)sent;
    }
    conn->out_len = conn->out_sent = 0;
}

/* Every key in turn, every line of it if the work is per line; or a random line of a random key. */
static struct op next_op(struct run *run, uint64_t start_ns)
{
    const struct plan *plan = run->plan;
    struct op op = {.number = run->begun++, .start_ns = start_ns};
    uint32_t lines = plan->shape->lines;
    if (plan->pick) {
        op.key = pick_key(plan->pick);
        op.line = (uint32_t)((pick_random(plan->pick) >> 32) * lines >> 32);
    } else if (plan->work->per_line) {
        op.key = (uint32_t)(op.number / lines);
        op.line = (uint32_t)(op.number % lines);
    } else {
        op.key = (uint32_t)op.number;
    }
    return op;
}

static const struct work *work_of(const struct run *run, const struct op *op)
{
    return op->is_fill ? run->plan->fill : run->plan->work;
}

static struct op *push_op(struct conn *conn, struct op op)
{
    struct op *place = &conn->ops[(conn->first + conn->count++) % conn->run->plan->depth];
    *place = op;
    return place;
}

/* Room for a whole batch is always there: `out` is empty whenever its replies are in. A sliding
 * window may still have bytes to send; then it waits until they are gone. */
static void ask(struct conn *conn, uint64_t start_ns)
{
    struct run *run = conn->run;
    struct op *op = push_op(conn, next_op(run, start_ns));
    conn->out_len += run->plan->work->write(run->plan->shape, op, conn->out + conn->out_len);
}

/* Writes what was missed. */
static void fill(struct conn *conn)
{
    const struct plan *plan = conn->run->plan;
    while (conn->missed_count) {
        struct op *op =
            push_op(conn, (struct op){.key = conn->missed[--conn->missed_count], .is_fill = true});
        conn->out_len += plan->fill->write(plan->shape, op, conn->out + conn->out_len);
    }
}

static bool may_ask(const struct conn *conn)
{
    return conn->run->begun < conn->run->ops_max && conn->count < conn->run->plan->depth &&
           conn->out_sent == 0;
}

static void ask_batch(struct conn *conn, uint64_t start_ns)
{
    fill(conn);
    while (may_ask(conn))
        ask(conn, start_ns);
    send_out(conn);
}

/* Open loop: begins what is due, each on the next connection that has room. */
static void ask_due(struct run *run)
{
    const struct plan *plan = run->plan;
    double elapsed = (double)(now_ns() - run->start_ns) / NS;
    uint64_t due = (uint64_t)(elapsed * plan->rate);
    unsigned full = 0;
    while (run->begun < due && run->begun < run->ops_max && full < plan->conns) {
        struct conn *conn = &run->conns[run->next_conn++ % plan->conns];
        if (!may_ask(conn)) {
            full++;
            continue;
        }
        full = 0;
        ask(conn, run->start_ns + (uint64_t)((double)run->begun / plan->rate * NS));
    }
    for (unsigned i = 0; i < plan->conns; i++)
        if (run->conns[i].out_len && run->conns[i].out_sent == 0)
            send_out(&run->conns[i]);
}

/* ---- being answered -----------------------------------------------------------------------------
 */

static void note_bad(struct run *run, const char *in, size_t len)
{
    if (run->outcome->errors++ > 0)
        return;
    char *out = run->outcome->first_error;
    size_t room = sizeof run->outcome->first_error - 1;
    for (size_t i = 0; i < len && i < room; i++)
        *out++ = in[i] >= ' ' && in[i] <= '~' ? in[i] : '.';
}

/* Takes the replies off conn->in. */
static void read_replies(struct conn *conn, uint64_t now)
{
    struct run *run = conn->run;
    const struct plan *plan = run->plan;
    size_t at = 0;
    while (conn->count && at < conn->in_len) {
        size_t used = 0;
        struct op *op = &conn->ops[conn->first];
        enum reply reply =
            work_of(run, op)->read(plan->shape, op, conn->in + at, conn->in_len - at, &used);
        if (reply == REPLY_MORE)
            break;
        if (reply == REPLY_BAD)
            note_bad(run, conn->in + at, used);
        if (!op->is_fill) {
            run->outcome->misses += reply == REPLY_MISS;
            hist_add(&run->outcome->hist, now - op->start_ns);
            run->outcome->ops++;
        }
        if (reply == REPLY_MISS && plan->fill)
            conn->missed[conn->missed_count++] = op->key;
        at += used;
        conn->first = (conn->first + 1) % plan->depth;
        conn->count--;
    }
    memmove(conn->in, conn->in + at, conn->in_len - at);
    conn->in_len -= at;
    if (conn->count == 0 && conn->in_len > 0)
        fail(run, "the server sent more than it was asked for");
}

static bool is_done(const struct run *run)
{
    return run->begun >= run->ops_max && run->outcome->ops == run->begun;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *conn = arg;
    struct run *run = conn->run;
    (void)what;
    ssize_t got = recv(fd, conn->in + conn->in_len, IN_BYTES - conn->in_len, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        fail(run,
             conn->in_len == IN_BYTES ? "a reply is too long" : "the server closed a connection");
        return;
    }
    conn->in_len += (size_t)got;
    uint64_t now = now_ns();
    read_replies(conn, now);
    if (run->stop_ns && now >= run->stop_ns && run->begun < run->ops_max)
        run->ops_max = run->begun;
    if (is_done(run))
        event_base_loopbreak(run->base);
    else if (run->plan->rate <= 0 && (run->plan->sliding || conn->count == 0))
        ask_batch(conn, now);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *conn = arg;
    (void)fd;
    (void)what;
    send_out(conn);
    if (conn->out_len == 0 && conn->run->plan->sliding && conn->run->plan->rate <= 0)
        ask_batch(conn, now_ns());
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct run *run = arg;
    (void)fd;
    (void)what;
    if (run->stop_ns && now_ns() >= run->stop_ns && run->begun < run->ops_max)
        run->ops_max = run->begun;
    if (is_done(run))
        event_base_loopbreak(run->base);
    else
        ask_due(run);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fail(arg, "not done within --timeout-s");
}

/* ---- setting up and taking down -----------------------------------------------------------------
 */

static int connect_to(unsigned port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) != 0 ||
        evutil_make_socket_nonblocking(fd) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool open_conn(struct run *run, struct conn *conn)
{
    const struct plan *plan = run->plan;
    conn->run = run;
    conn->fd = connect_to(plan->port);
    if (conn->fd < 0) {
        fail(run, "cannot connect");
        return false;
    }
    conn->ops = calloc(plan->depth, sizeof *conn->ops);
    conn->missed = calloc(plan->depth, sizeof *conn->missed);
    conn->in = malloc(IN_BYTES);
    conn->out = malloc(plan->shape->request_bytes_max * plan->depth);
    conn->readable = event_new(run->base, conn->fd, EV_READ | EV_PERSIST, on_readable, conn);
    conn->writable = event_new(run->base, conn->fd, EV_WRITE, on_writable, conn);
    if (conn->ops && conn->missed && conn->in && conn->out && conn->readable && conn->writable &&
        event_add(conn->readable, NULL) == 0)
        return true;
    fail(run, "out of memory");
    return false;
}

static void close_conn(struct conn *conn)
{
    if (!conn->run)
        return;
    if (conn->readable)
        event_free(conn->readable);
    if (conn->writable)
        event_free(conn->writable);
    if (conn->fd >= 0)
        close(conn->fd);
    free(conn->ops);
    free(conn->missed);
    free(conn->in);
    free(conn->out);
}

static bool open_run(struct run *run)
{
    const struct plan *plan = run->plan;
    struct event_config *config = event_config_new();
    if (config && event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
        run->base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    run->conns = calloc(plan->conns, sizeof *run->conns);
    if (!run->base || !run->conns)
        return false;
    for (unsigned i = 0; i < plan->conns; i++)
        if (!open_conn(run, &run->conns[i]))
            return false;
    const struct timeval tick = {.tv_usec = TICK_US}, patience = {.tv_sec = plan->timeout_s};
    run->tick = event_new(run->base, -1, EV_PERSIST, on_tick, run);
    run->timeout = evtimer_new(run->base, on_timeout, run);
    return run->tick && run->timeout && event_add(run->timeout, &patience) == 0 &&
           (plan->rate <= 0 || event_add(run->tick, &tick) == 0);
}

static void close_run(struct run *run)
{
    for (unsigned i = 0; run->conns && i < run->plan->conns; i++)
        close_conn(&run->conns[i]);
    free(run->conns);
    if (run->tick)
        event_free(run->tick);
    if (run->timeout)
        event_free(run->timeout);
    if (run->base)
        event_base_free(run->base);
}

static void drive(struct run *run)
{
    const struct plan *plan = run->plan;
    double cpu_before = cpu_seconds();
    run->start_ns = now_ns();
    run->ops_max = plan->ops ? plan->ops : UNLIMITED;
    if (plan->seconds > 0)
        run->stop_ns = run->start_ns + (uint64_t)(plan->seconds * NS);
    for (unsigned i = 0; plan->rate <= 0 && i < plan->conns; i++)
        ask_batch(&run->conns[i], run->start_ns);
    event_base_dispatch(run->base);
    run->outcome->seconds = (double)(now_ns() - run->start_ns) / NS;
    run->outcome->cpu_seconds = cpu_seconds() - cpu_before;
}

bool run_plan(const struct plan *plan, struct outcome *outcome)
{
    struct run run = {.plan = plan, .outcome = outcome};
    memset(outcome, 0, sizeof *outcome);
    if (open_run(&run))
        drive(&run);
    else if (!run.failed)
        snprintf(outcome->first_error, sizeof outcome->first_error, "out of memory");
    bool carried_through = !run.failed && run.outcome->ops > 0;
    close_run(&run);
    return carried_through;
}
