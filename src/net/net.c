/* net: the whole of it: workers, listeners, signals, start and stop. */
#include "net/net_int.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void on_signal(evutil_socket_t signal_number, short what, void *arg)
{
    struct net *net = arg;
    (void)what;
    log_info("net", "signal %d: stopping", (int)signal_number);
    event_base_loopbreak(net->base);
}

static void on_hangup(evutil_socket_t signal_number, short what, void *arg)
{
    const struct net_config *config = &((struct net *)arg)->config;
    (void)signal_number, (void)what;
    config->hangup(config->ctx);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    const struct net_config *config = &((struct net *)arg)->config;
    (void)fd, (void)what;
    config->tick(config->ctx);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct net *net = arg;
    (void)fd, (void)what;
    mailbox_run(&net->mailbox);
    if (atomic_load(&net->quit))
        event_base_loopbreak(net->base);
}

void net_post_main(struct net *net, struct net_task *task)
{
    mailbox_post(&net->mailbox, task);
}

void net_quit(struct net *net)
{
    atomic_store(&net->quit, true);
    mailbox_wake(&net->mailbox);
}

int net_tls_reload(struct net *net, char *message, size_t message_bytes)
{
    SSL_CTX *fresh = NULL;
    if (!net->config.tls.cert_path)
        return 0;
    int rc = tls_load(&net->config.tls, &fresh, message, message_bytes);
    if (rc)
        return rc;
    SSL_CTX_free(net->tls); /* connections that began with it have their own references */
    net->tls = fresh;
    atomic_store(&net->tls_loaded_ms, env_mono_ms(net->config.env));
    return 0;
}

/* ---- life ---- */

static int watch_signal(struct net *net, struct event **event, int number,
                        event_callback_fn callback)
{
    *event = evsignal_new(net->base, number, callback, net);
    return *event && event_add(*event, NULL) == 0 ? 0 : CE_NOMEM;
}

static int start_tick(struct net *net)
{
    static const struct timeval second = {1, 0};
    net->tick = event_new(net->base, -1, EV_PERSIST, on_tick, net);
    return net->tick && event_add(net->tick, &second) == 0 ? 0 : CE_NOMEM;
}

/* What the listener's thread waits for, but for connections. */
static int open_base(struct net *net)
{
    net->base = event_base_new();
    if (!net->base || mailbox_open(&net->mailbox))
        return CE_NOMEM;
    net->wake =
        event_new(net->base, net->mailbox.wake_fd, EV_READ | EV_PERSIST | EV_ET, on_wake, net);
    if (!net->wake || event_add(net->wake, NULL))
        return CE_NOMEM;
    if (watch_signal(net, &net->sigterm, SIGTERM, on_signal) ||
        watch_signal(net, &net->sigint, SIGINT, on_signal))
        return CE_NOMEM;
    if (net->config.tick && start_tick(net))
        return CE_NOMEM;
    return net->config.hangup ? watch_signal(net, &net->sighup, SIGHUP, on_hangup) : 0;
}

static int start_parts(struct net *net, char *message, size_t message_bytes)
{
    snprintf(message, message_bytes, "out of memory");
    net->workers = calloc(net->config.workers, sizeof *net->workers);
    if (!net->workers || open_base(net))
        return CE_NOMEM;
    int rc = net_tls_reload(net, message, message_bytes);
    for (unsigned i = 0; rc == 0 && i < net->config.workers; i++)
        rc = worker_init(&net->workers[i], net, i);
    if (rc == 0)
        rc = listen_open(net, message, message_bytes);
    for (unsigned i = 0; rc == 0 && i < net->config.workers; i++)
        rc = worker_start(&net->workers[i]);
    return rc;
}

int net_new(const struct net_config *config, struct net **out, char *message, size_t message_bytes)
{
    MUST(config->workers >= 1 && config->workers <= NET_WORKERS_MAX);
    struct net *net = calloc(1, sizeof *net);
    if (!net)
        return CE_NOMEM;
    net->config = *config;
    int rc = start_parts(net, message, message_bytes);
    *out = net;
    if (rc) {
        net_stop(net, 0);
        net_free(out);
    }
    return rc;
}

void net_run(struct net *net)
{
    for (unsigned i = 0; i < net->listeners_count; i++)
        MUST(event_add(net->listeners[i].event, NULL) == 0);
    for (unsigned i = 0; i < net->config.workers; i++)
        net_post(net, i, &net->workers[i].udp_open);
    MUST(event_base_dispatch(net->base) >= 0);
}

bool net_stop(struct net *net, unsigned timeout_ms)
{
    bool clean = true;
    listen_close(net);
    net->stop_timeout_ms = timeout_ms;
    for (unsigned i = 0; net->workers && i < net->config.workers; i++)
        if (net->workers[i].started)
            worker_stop_post(&net->workers[i]);
    /* What workers still ask of this thread is done; the end of each of them wakes it too. */
    while (atomic_load(&net->workers_running))
        MUST(event_base_loop(net->base, EVLOOP_ONCE) >= 0);
    for (unsigned i = 0; net->workers && i < net->config.workers; i++) {
        struct worker *worker = &net->workers[i];
        if (!worker->started)
            continue;
        pthread_join(worker->thread, NULL);
        worker->started = false;
        clean = clean && atomic_load(&worker->clean);
    }
    return clean;
}

static void free_event(struct event *event)
{
    if (event)
        event_free(event);
}

void net_free(struct net **out)
{
    struct net *net = *out;
    *out = NULL;
    for (unsigned i = 0; net->workers && i < net->config.workers; i++)
        if (net->workers[i].magic == WORKER_MAGIC)
            worker_fini(&net->workers[i]);
    free_event(net->sigterm);
    free_event(net->sigint);
    free_event(net->sighup);
    free_event(net->wake);
    free_event(net->tick);
    if (net->base)
        event_base_free(net->base);
    mailbox_close(&net->mailbox);
    SSL_CTX_free(net->tls);
    free(net->workers);
    free(net);
}

void net_advanced(struct net *net)
{
    for (unsigned i = 0; i < net->config.workers; i++)
        if (atomic_load(&net->workers[i].held_count))
            mailbox_wake(&net->workers[i].mailbox);
}

void net_stats(const struct net *net, const struct stat_sink *sink)
{
#define X(name)                                                                                    \
    uint64_t name = 0;                                                                             \
    for (unsigned i = 0; i < net->config.workers; i++)                                             \
        name += atomic_load_explicit(&net->workers[i].name, memory_order_relaxed);
    NET_COUNTERS(X)
#undef X
    uint64_t curr_connections = atomic_load(&net->conns_count);
    uint64_t total_connections = atomic_load(&net->conns_total);
    uint64_t rejected_connections = atomic_load(&net->conns_rejected);
    uint64_t max_connections = net->config.conns_max;
    uint64_t threads = net->config.workers;
    uint64_t loaded_ms = atomic_load(&net->tls_loaded_ms);
    uint64_t time_since_server_cert_refresh =
        net->config.tls.cert_path ? (env_mono_ms(net->config.env) - loaded_ms) / 1000 : 0;
#define X(name, what) stat_u64(sink, #name, name);
    NET_STATS(X)
#undef X
}
