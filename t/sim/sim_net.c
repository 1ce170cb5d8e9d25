/* sim_net: the room net without sockets. Clients are fibers that hand bytes to a worker and wait
 * for the answer. What a handler sees is as in src/net: parking, held replies in order, a turn's
 * end, tasks from other threads. */
#include "sim/sim.h"

#include "net/net.h"

#include <stdio.h>
#include <stdlib.h>

#define WORKERS_MAX 4
#define CONNS_MAX   16
#define HOLDS_MAX   64

struct hold {
    size_t start, end;
    uint64_t lsn;
    int level;
};

struct net_conn {
    struct worker *worker;
    void *session;
    struct buf in, out;
    bool parked, fresh_input;
    struct hold holds[HOLDS_MAX];
    unsigned hold_count;
    struct buf answer; /* what the client has received */
    bool waits;        /* the client does */
};

struct worker {
    struct net *net;
    unsigned index;
    struct net_task *tasks, **tasks_tail;
    struct net_conn *conns[CONNS_MAX];
    unsigned conn_count;
    bool woken, ended;
};

struct net {
    struct net_handler handler;
    struct worker workers[WORKERS_MAX];
    unsigned worker_count;
    bool stopping;
};

/* ---- replies ---- */

static void wake_worker(struct worker *worker)
{
    worker->woken = true;
    sim_wake(worker);
}

static void replace_reply(struct net_conn *conn, int code)
{
    struct hold *hold = &conn->holds[0];
    struct net_handler *handler = &conn->worker->net->handler;
    struct buf instead = {0};
    size_t len = hold->end - hold->start;
    MUST(handler->hold_failed(handler->ctx, slice_of(conn->out.bytes + hold->start, len), code,
                              &instead) == 0);
    MUST(buf_splice(&conn->out, hold->start, len, buf_slice(&instead)) == 0);
    for (unsigned i = 1; i < conn->hold_count; i++) {
        conn->holds[i].start += instead.len - len;
        conn->holds[i].end += instead.len - len;
    }
    buf_free(&instead);
}

/* Sends what may go. */
static void flush(struct net_conn *conn)
{
    struct net_handler *handler = &conn->worker->net->handler;
    while (conn->hold_count) {
        int state = handler->hold_state(handler->ctx, conn->holds[0].lsn, conn->holds[0].level);
        if (state > 0)
            break;
        if (state < 0)
            replace_reply(conn, state);
        memmove(conn->holds, conn->holds + 1, --conn->hold_count * sizeof *conn->holds);
    }
    size_t limit = conn->hold_count ? conn->holds[0].start : conn->out.len;
    if (!limit)
        return;
    MUST(buf_append(&conn->answer, conn->out.bytes, limit) == 0);
    buf_drop_front(&conn->out, limit);
    for (unsigned i = 0; i < conn->hold_count; i++) {
        conn->holds[i].start -= limit;
        conn->holds[i].end -= limit;
    }
    sim_wake(conn);
}

/* ---- workers ---- */

static bool run_tasks(struct worker *worker)
{
    bool any = false;
    while (worker->tasks) {
        struct net_task *task = worker->tasks;
        worker->tasks = task->_next;
        if (!worker->tasks)
            worker->tasks_tail = &worker->tasks;
        task->run(task);
        any = true;
    }
    return any;
}

static bool run_input(struct net_conn *conn)
{
    size_t used = 0, want = 0;
    if (conn->parked || !conn->fresh_input || !conn->in.len)
        return false;
    conn->fresh_input = false;
    enum net_next next =
        conn->worker->net->handler.conn_input(conn->session, buf_slice(&conn->in), &used, &want);
    buf_drop_front(&conn->in, used);
    MUST(next != NET_CLOSE);
    if (next == NET_PARK)
        conn->parked = true;
    else if (next != NET_MORE)
        conn->fresh_input = true;
    return true;
}

static void run_worker(void *arg)
{
    struct worker *worker = arg;
    struct net_handler *handler = &worker->net->handler;
    while (!worker->ended) {
        worker->woken = false;
        bool any = run_tasks(worker);
        for (unsigned i = 0; i < worker->conn_count; i++)
            any |= run_input(worker->conns[i]);
        if (any && handler->turn_end)
            handler->turn_end(handler->ctx);
        for (unsigned i = 0; i < worker->conn_count; i++)
            flush(worker->conns[i]);
        sim_step();
        if (!any && !worker->woken)
            sim_wait(worker, 0);
    }
}

struct net *sim_net_new(const struct net_handler *handler, unsigned workers)
{
    struct net *net = calloc(1, sizeof *net);
    MUST(net && workers <= WORKERS_MAX);
    net->handler = *handler;
    net->worker_count = workers;
    for (unsigned i = 0; i < workers; i++) {
        struct worker *worker = &net->workers[i];
        worker->net = net;
        worker->index = i;
        worker->tasks_tail = &worker->tasks;
        sim_spawn("worker", run_worker, worker);
    }
    return net;
}

void sim_net_stop(struct net *net)
{
    for (unsigned i = 0; i < net->worker_count; i++) {
        struct worker *worker = &net->workers[i];
        for (unsigned j = 0; j < worker->conn_count; j++) {
            MUST(!worker->conns[j]->parked); /* its client has all answers */
            net->handler.conn_close(worker->conns[j]->session);
        }
        worker->ended = true;
        wake_worker(worker);
    }
}

/* ---- clients ---- */

struct net_conn *sim_net_connect(struct net *net, unsigned index)
{
    struct worker *worker = &net->workers[index % net->worker_count];
    struct net_conn *conn = calloc(1, sizeof *conn);
    MUST(conn && worker->conn_count < CONNS_MAX);
    conn->worker = worker;
    MUST(net->handler.conn_open(net->handler.ctx, conn, worker->index, &conn->session) == 0);
    worker->conns[worker->conn_count++] = conn;
    return conn;
}

/* One answer: a line, and behind VA and VALUE what they announce. */
static bool is_whole(const struct buf *answer)
{
    const char *text = (const char *)answer->bytes;
    size_t len = answer->len, bytes = 0;
    const char *end = len ? memchr(text, '\n', len) : NULL;
    if (!end)
        return false;
    if (strncmp(text, "VALUE ", 6) == 0)
        return len >= 5 && memcmp(text + len - 5, "END\r\n", 5) == 0;
    if (sscanf(text, "VA %zu", &bytes) != 1)
        return true;
    return len == (size_t)(end + 1 - text) + bytes + 2;
}

const char *sim_net_ask(struct net_conn *conn, const char *request)
{
    conn->answer.len = 0;
    MUST(buf_append_str(&conn->in, request) == 0);
    conn->fresh_input = true;
    wake_worker(conn->worker);
    while (!is_whole(&conn->answer))
        if (!sim_wait(conn, 60000000) && !is_whole(&conn->answer))
            sim_fail("no answer within a minute to %.60s", request);
    conn->answer.len -= 2;
    MUST(buf_append(&conn->answer, "", 1) == 0);
    return (const char *)conn->answer.bytes;
}

/* ---- in place of src/net ---- */

struct buf *net_out(struct net_conn *conn)
{
    return &conn->out;
}

bool net_out_full(const struct net_conn *conn)
{
    return conn->hold_count >= HOLDS_MAX - 1;
}

int net_hold(struct net_conn *conn, size_t start, uint64_t lsn, int level)
{
    MUST(conn->hold_count < HOLDS_MAX && start < conn->out.len);
    conn->holds[conn->hold_count++] =
        (struct hold){.start = start, .end = conn->out.len, .lsn = lsn, .level = level};
    return 0;
}

void net_resume(struct net_conn *conn)
{
    MUST(conn->parked);
    conn->parked = false;
    conn->fresh_input = true;
    conn->worker->woken = true;
}

void net_post(struct net *net, unsigned index, struct net_task *task)
{
    struct worker *worker = &net->workers[index];
    task->_next = NULL;
    *worker->tasks_tail = task;
    worker->tasks_tail = &task->_next;
    wake_worker(worker);
}

void net_post_main(struct net *net, struct net_task *task)
{
    (void)net, (void)task;
    sim_fail("nobody asks for files to be read again");
}

void net_advanced(struct net *net)
{
    for (unsigned i = 0; net && i < net->worker_count; i++)
        wake_worker(&net->workers[i]);
    sim_step();
}

void net_quit(struct net *net)
{
    (void)net;
}

int net_tls_reload(struct net *net, char *message, size_t message_bytes)
{
    (void)net, (void)message, (void)message_bytes;
    return 0;
}

void net_peer_name(const struct net_conn *conn, char name[NET_NAME_BYTES])
{
    snprintf(name, NET_NAME_BYTES, "sim:%u", conn->worker->index);
}

void net_conns(struct net *net, const struct stat_sink *sink)
{
    (void)net, (void)sink;
}

void net_stats(const struct net *net, const struct stat_sink *sink)
{
    (void)net, (void)sink;
}
