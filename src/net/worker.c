/* worker: a thread with a libevent base. Others reach it only through its mailbox (net_post) and
 * the wake-up that net_advanced() gives. */
#include "net/net_int.h"

#include <stdlib.h>

void net_post(struct net *net, unsigned index, struct net_task *task)
{
    MUST(index < net->config.workers);
    mailbox_post(&net->workers[index].mailbox, task);
}

static void flush_held(struct worker *worker)
{
    for (struct net_conn *conn = worker->held, *next; conn; conn = next) {
        next = conn->held_next; /* conn_flush frees or unlinks at most conn itself */
        conn_flush(conn);
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct worker *worker = arg;
    (void)fd, (void)what;
    mailbox_run(&worker->mailbox);
    flush_held(worker);
}

void worker_ready(struct net_conn *conn)
{
    struct worker *worker = conn->worker;
    if (conn->queued)
        return;
    conn->queued = true;
    conn->ready_next = NULL;
    *worker->ready_tail = conn;
    worker->ready_tail = &conn->ready_next;
    /* A timer of zero, not event_active(): that one would run before other sockets are polled. */
    static const struct timeval at_once = {0, 0};
    event_add(&worker->ready_event, &at_once);
}

/* One turn for each connection that was ready when the turn began. */
static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct worker *worker = arg;
    (void)fd, (void)what;
    struct net_conn *last = NULL;
    batch_run(worker); /* those who were read just now have not had their turn yet */
    for (struct net_conn *conn = worker->ready; conn; conn = conn->ready_next)
        last = conn;
    while (worker->ready) {
        struct net_conn *conn = worker->ready;
        bool is_last = conn == last;
        worker->ready = conn->ready_next;
        if (!worker->ready)
            worker->ready_tail = &worker->ready;
        conn->queued = false;
        conn_turn(conn);
        if (is_last)
            break;
    }
}

/* ---- time-outs ---- */

static uint64_t read_clock_s(const struct worker *worker)
{
    return env_mono_ms(worker->net->config.env) / 1000;
}

/* A tick may come late, when the process or its machine stood still: then the second of the tick
 * before is no measure of when a byte moved since. */
static bool moved_since_tick(struct net_conn *conn)
{
    if (conn->active_tick + 1 != conn->worker->ticks)
        return false;
    conn_active(conn);
    return true;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct worker *worker = arg;
    (void)fd, (void)what;
    worker->now_s = read_clock_s(worker);
    worker->ticks++;
    pool_tick(&worker->pool);
    if (!worker->conns) {
        pool_free(&worker->pool);
        worker->ticking = false;
        event_del(&worker->tick_event);
    }
    if (worker->now_s < worker->sweep_at_s)
        return;
    uint64_t next_due_s = UINT64_MAX;
    for (struct net_conn *conn = worker->conns, *next; conn; conn = next) {
        next = conn->next;
        uint64_t due_s = conn_due_s(conn);
        if (due_s <= worker->now_s && (moved_since_tick(conn) || conn_peer_reads(conn)))
            due_s = conn_due_s(conn);
        if (due_s <= worker->now_s)
            conn_time_out(conn);
        else if (due_s < next_due_s)
            next_due_s = due_s;
    }
    worker->sweep_at_s = next_due_s;
}

void worker_added(struct net_conn *conn)
{
    struct worker *worker = conn->worker;
    static const struct timeval second = {1, 0};
    if (!worker->ticking) {
        worker->now_s = read_clock_s(worker);
        worker->ticking = event_add(&worker->tick_event, &second) == 0;
    }
    conn->opened_s = worker->now_s;
    conn_active(conn);
    uint64_t due_s = conn_due_s(conn);
    if (due_s < worker->sweep_at_s)
        worker->sweep_at_s = due_s;
}

/* ---- stop ---- */

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct worker *worker = arg;
    (void)fd, (void)what;
    event_base_loopbreak(worker->base);
}

static void run_stop(struct net_task *task)
{
    struct worker *worker = (struct worker *)((char *)task - offsetof(struct worker, stop));
    MUST_OBJ(worker, WORKER_MAGIC);
    unsigned timeout_ms = worker->net->stop_timeout_ms;
    struct timeval after = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};
    worker->stopping = true;
    if (event_add(&worker->deadline_event, &after)) /* who can't say when to give up does it now */
        event_base_loopbreak(worker->base);
    if (worker->udp_started)
        datagram_stop(worker);
    for (struct net_conn *conn = worker->conns, *next; conn; conn = next) {
        next = conn->next;
        conn_drain(conn);
    }
    if (!worker->conns)
        event_base_loopbreak(worker->base);
}

void worker_stop_post(struct worker *worker)
{
    worker->stop.run = run_stop;
    net_post(worker->net, worker->index, &worker->stop);
}

/* ---- life ---- */

static void run_udp_open(struct net_task *task)
{
    struct worker *worker = (struct worker *)((char *)task - offsetof(struct worker, udp_open));
    MUST_OBJ(worker, WORKER_MAGIC);
    worker->udp_started = true;
    datagram_start(worker);
}

static void *run_worker(void *arg)
{
    struct worker *worker = arg;
    const struct net_handler *handler = worker->net->config.handler;
    do {
        MUST(event_base_loop(worker->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY) >= 0);
        if (handler->turn_end)
            handler->turn_end(handler->ctx);
    } while (!event_base_got_break(worker->base));
    atomic_store(&worker->clean, worker->conns == NULL);
    while (worker->conns)
        conn_abandon(worker->conns);
    atomic_fetch_sub(&worker->net->workers_running, 1);
    mailbox_wake(&worker->net->mailbox);
    return NULL;
}

int worker_init(struct worker *worker, struct net *net, unsigned index)
{
    worker->magic = WORKER_MAGIC;
    worker->net = net;
    worker->index = index;
    worker->ready_tail = &worker->ready;
    worker->sweep_at_s = UINT64_MAX;
    worker->udp_open.run = run_udp_open;
    lock_init(&worker->conns_lock, LOCK_MAILBOX); /* neither is taken inside the other */
    struct event_config *config = event_config_new();
    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK); /* one thread only touches it */
        worker->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    if (mailbox_open(&worker->mailbox) || !worker->base)
        return CE_NOMEM;
    event_assign(&worker->wake_event, worker->base, worker->mailbox.wake_fd,
                 EV_READ | EV_PERSIST | EV_ET, on_wake, worker);
    batch_init(worker);
    event_assign(&worker->ready_event, worker->base, -1, 0, on_ready, worker);
    event_assign(&worker->deadline_event, worker->base, -1, 0, on_deadline, worker);
    event_assign(&worker->tick_event, worker->base, -1, EV_PERSIST, on_tick, worker);
    return event_add(&worker->wake_event, NULL) ? CE_NOMEM : 0;
}

int worker_start(struct worker *worker)
{
    char name[16] = "worker-00";
    name[7] = (char)('0' + worker->index / 10);
    name[8] = (char)('0' + worker->index % 10);
    if (datagram_open(worker))
        return CE_NOMEM;
    atomic_fetch_add(&worker->net->workers_running, 1);
    if (thread_start(&worker->thread, name, run_worker, worker)) {
        atomic_fetch_sub(&worker->net->workers_running, 1);
        return CE_NOMEM;
    }
    worker->started = true;
    return 0;
}

void worker_fini(struct worker *worker)
{
    if (worker->started)
        pthread_join(worker->thread, NULL);
    conn_bury(worker);
    pool_free(&worker->pool);
    if (worker->base)
        event_base_free(worker->base);
    datagram_close(worker);
    mailbox_close(&worker->mailbox);
    lock_fini(&worker->conns_lock);
}
