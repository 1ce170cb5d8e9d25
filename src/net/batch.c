/* batch: connections whose sockets were readable in the same round of events. First all are read,
 * then all are run, then all are answered: what each of these steps needs of code and memory is
 * fetched once for many requests instead of once for each, and the handler may fetch the memory of
 * all requests at once. A connection is in the batch from its read until it is answered, or freed.
 */
#include "net/net_int.h"

static void foresee(struct worker *worker)
{
    const struct net_handler *handler = worker->net->config.handler;
    struct net_input inputs[NET_BATCH_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < worker->batch_count; i++) {
        const struct net_conn *conn = worker->batch[i];
        if (conn && conn->in.len > conn->in_used)
            inputs[count++] = (struct net_input){
                .session = conn->session, .in = slice_from(buf_slice(&conn->in), conn->in_used)};
    }
    if (handler->foresee && count > 1)
        handler->foresee(handler->ctx, inputs, count);
}

static void answer(struct net_conn *conn)
{
    batch_leave(conn);
    conn_flush(conn);
}

void batch_run(struct worker *worker)
{
    foresee(worker);
    for (unsigned i = 0; i < worker->batch_count; i++) {
        if (worker->batch[i])
            conn_run_input(worker->batch[i]);
        if (worker->batch[i] && worker->batch[i]->out.len > CONN_KEEP_BYTES)
            answer(worker->batch[i]); /* so that the next one can have its buffer */
    }
    for (unsigned i = 0; i < worker->batch_count; i++) {
        if (worker->batch[i])
            answer(worker->batch[i]);
    }
    worker->batch_count = 0;
}

static void on_batch(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    batch_run(arg);
}

void batch_init(struct worker *worker)
{
    event_assign(&worker->batch_event, worker->base, -1, 0, on_batch, worker);
}

void batch_add(struct net_conn *conn)
{
    struct worker *worker = conn->worker;
    if (conn->batch_place)
        return;
    worker->batch[worker->batch_count++] = conn;
    conn->batch_place = worker->batch_count;
    if (worker->batch_count == NET_BATCH_MAX)
        batch_run(worker);
    else if (worker->batch_count == 1) /* libevent runs it behind the events of this round */
        event_active(&worker->batch_event, 0, 0);
}

void batch_leave(struct net_conn *conn)
{
    if (conn->batch_place)
        conn->worker->batch[conn->batch_place - 1] = NULL;
    conn->batch_place = 0;
}
