/* worker: a thread with a libevent base. Others reach it only through its mailbox (net_post) and
 * the wake-up that net_advanced() gives; both end in one eventfd. */
#include "net/net_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

void worker_wake(struct worker *worker)
{
    if (atomic_exchange(&worker->woken, true))
        return;
    uint64_t one = 1;
    ssize_t done = write(worker->wake_fd, &one, sizeof one);
    MUST(done == (ssize_t)sizeof one || errno == EAGAIN);
}

void net_post(struct net *net, unsigned index, struct net_task *task)
{
    MUST(index < net->config.workers);
    struct worker *worker = &net->workers[index];
    task->_next = NULL;
    lock_take(&worker->mailbox_lock);
    *worker->mailbox_tail = task;
    worker->mailbox_tail = &task->_next;
    lock_drop(&worker->mailbox_lock);
    worker_wake(worker);
}

static struct net_task *mailbox_take(struct worker *worker)
{
    lock_take(&worker->mailbox_lock);
    struct net_task *tasks = worker->mailbox;
    worker->mailbox = NULL;
    worker->mailbox_tail = &worker->mailbox;
    lock_drop(&worker->mailbox_lock);
    return tasks;
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
    uint64_t count;
    (void)what;
    ssize_t got = read(fd, &count, sizeof count);
    (void)got; /* nothing to read is fine: somebody else's wake-up was taken together with ours */
    atomic_store(&worker->woken, false);
    for (struct net_task *task = mailbox_take(worker), *next; task; task = next) {
        next = task->_next; /* run() may free the task */
        task->run(task);
    }
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
    for (struct net_conn *conn = worker->ready; conn; conn = conn->ready_next)
        last = conn;
    while (worker->ready) {
        struct net_conn *conn = worker->ready;
        bool is_last = conn == last;
        worker->ready = conn->ready_next;
        if (!worker->ready)
            worker->ready_tail = &worker->ready;
        conn->queued = false;
        conn_run(conn);
        if (is_last)
            break;
    }
}

/* ---- stop ---- */

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct worker *worker = arg;
    (void)fd, (void)what;
    event_base_loopbreak(worker->base);
}

struct stop_task {
    struct net_task task;
    struct worker *worker;
};

static void run_stop(struct net_task *task)
{
    struct worker *worker = ((struct stop_task *)task)->worker;
    unsigned timeout_ms = worker->net->stop_timeout_ms;
    struct timeval after = {timeout_ms / 1000, (suseconds_t)(timeout_ms % 1000) * 1000};
    free(task);
    worker->stopping = true;
    event_add(&worker->deadline_event, &after);
    for (struct net_conn *conn = worker->conns, *next; conn; conn = next) {
        next = conn->next;
        conn_drain(conn);
    }
    if (!worker->conns)
        event_base_loopbreak(worker->base);
}

void worker_stop_post(struct worker *worker)
{
    struct stop_task *stop = calloc(1, sizeof *stop);
    MUST(stop);
    stop->task.run = run_stop;
    stop->worker = worker;
    net_post(worker->net, worker->index, &stop->task);
}

/* ---- life ---- */

static void *run_worker(void *arg)
{
    struct worker *worker = arg;
    MUST(event_base_loop(worker->base, EVLOOP_NO_EXIT_ON_EMPTY) >= 0);
    atomic_store(&worker->clean, worker->conns == NULL);
    while (worker->conns)
        conn_abandon(worker->conns);
    return NULL;
}

int worker_start(struct worker *worker, struct net *net, unsigned index)
{
    worker->magic = WORKER_MAGIC;
    worker->net = net;
    worker->index = index;
    worker->mailbox_tail = &worker->mailbox;
    worker->ready_tail = &worker->ready;
    lock_init(&worker->mailbox_lock, LOCK_MAILBOX);
    worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct event_config *config = event_config_new();
    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK); /* one thread only touches it */
        worker->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    if (worker->wake_fd < 0 || !worker->base)
        return CE_NOMEM;
    event_assign(&worker->wake_event, worker->base, worker->wake_fd, EV_READ | EV_PERSIST, on_wake,
                 worker);
    event_assign(&worker->ready_event, worker->base, -1, 0, on_ready, worker);
    event_assign(&worker->deadline_event, worker->base, -1, 0, on_deadline, worker);
    if (event_add(&worker->wake_event, NULL))
        return CE_NOMEM;
    char name[16] = "worker-00";
    name[7] = (char)('0' + index / 10);
    name[8] = (char)('0' + index % 10);
    if (thread_start(&worker->thread, name, run_worker, worker))
        return CE_NOMEM;
    worker->started = true;
    return 0;
}

void worker_fini(struct worker *worker)
{
    if (worker->started)
        pthread_join(worker->thread, NULL);
    conn_bury(worker);
    if (worker->base) {
        event_del(&worker->wake_event);
        event_base_free(worker->base);
    }
    if (worker->wake_fd > 0)
        close(worker->wake_fd);
    lock_fini(&worker->mailbox_lock);
}
