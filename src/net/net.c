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

static int start_parts(struct net *net, char *message, size_t message_bytes)
{
    snprintf(message, message_bytes, "out of memory");
    net->base = event_base_new();
    net->workers = calloc(net->config.workers, sizeof *net->workers);
    if (!net->base || !net->workers)
        return CE_NOMEM;
    net->sigterm = evsignal_new(net->base, SIGTERM, on_signal, net);
    net->sigint = evsignal_new(net->base, SIGINT, on_signal, net);
    if (!net->sigterm || !net->sigint || event_add(net->sigterm, NULL) ||
        event_add(net->sigint, NULL))
        return CE_NOMEM;
    int rc = listen_open(net, message, message_bytes);
    for (unsigned i = 0; rc == 0 && i < net->config.workers; i++)
        rc = worker_start(&net->workers[i], net, i);
    return rc;
}

int net_new(const struct net_config *config, struct net **out, char *message, size_t message_bytes)
{
    MUST(config->workers >= 1 && config->workers <= NET_WORKERS_MAX);
    struct net *net = calloc(1, sizeof *net);
    if (!net)
        return CE_NOMEM;
    net->config = *config;
    net->spare_fd = -1;
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
        MUST(event_add(net->listeners[i], NULL) == 0);
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

void net_free(struct net **out)
{
    struct net *net = *out;
    *out = NULL;
    for (unsigned i = 0; net->workers && i < net->config.workers; i++)
        if (net->workers[i].magic == WORKER_MAGIC)
            worker_fini(&net->workers[i]);
    if (net->sigterm)
        event_free(net->sigterm);
    if (net->sigint)
        event_free(net->sigint);
    if (net->base)
        event_base_free(net->base);
    free(net->workers);
    free(net);
}

void net_advanced(struct net *net)
{
    for (unsigned i = 0; i < net->config.workers; i++)
        if (atomic_load(&net->workers[i].held_count))
            worker_wake(&net->workers[i]);
}

void net_stats(const struct net *net, const struct stat_sink *sink)
{
    uint64_t bytes_read = 0, bytes_written = 0, conn_yields = 0;
    for (unsigned i = 0; i < net->config.workers; i++) {
        bytes_read += atomic_load_explicit(&net->workers[i].bytes_read, memory_order_relaxed);
        bytes_written += atomic_load_explicit(&net->workers[i].bytes_written, memory_order_relaxed);
        conn_yields += atomic_load_explicit(&net->workers[i].conn_yields, memory_order_relaxed);
    }
    uint64_t curr_connections = atomic_load(&net->conns_count);
    uint64_t total_connections = atomic_load(&net->conns_total);
    uint64_t rejected_connections = atomic_load(&net->conns_rejected);
    uint64_t max_connections = net->config.conns_max;
    uint64_t threads = net->config.workers;
#define X(name, what) stat_u64(sink, #name, name);
    NET_STATS(X)
#undef X
}
