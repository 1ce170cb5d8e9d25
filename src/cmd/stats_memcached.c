/* stats_memcached: what `stats` says. All rooms hand out their counters; they are gathered first
 * and then told: memcached's names in memcached's order, with 0 for what there is nothing of here,
 * so that nothing a monitoring agent looks for is missing; then the names that are ours.
 *
 * stats reset: counters of this room are set to 0. Those of other rooms go on; where they stood is
 * remembered and taken off. */
#include "cmd/cmd_int.h"

#include <event2/event.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define STATS_MAX      256
#define TEXT_BYTES_MAX 64

struct stat {
    const char *name;
    uint64_t value;
    char text[TEXT_BYTES_MAX]; /* instead of the value, unless empty */
    bool told;
};

struct stats {
    struct stat stat[STATS_MAX];
    size_t count;
};

/* memcached's names. HERE: what some room counts under this name, or (AS) under another. NONE: the
 * inside of memcached (slabs, segmented LRU, crawler, logger, extra threads) that cartd has not. */
/* clang-format off */
#define HERE(name)       { #name, #name }
#define AS(name, source) { #name, #source }
#define NONE(name)       { #name, NULL }
static const struct {
    const char *name, *source;
} names[] = {
    /* the process */
    HERE(pid), HERE(uptime), HERE(time), HERE(version), HERE(libevent), HERE(pointer_size),
    HERE(rusage_user), HERE(rusage_system),
    /* connections; their buffers are not pooled, so there is nothing to count */
    HERE(max_connections), HERE(curr_connections), HERE(total_connections),
    HERE(rejected_connections), AS(connection_structures, curr_connections),
    NONE(response_obj_oom), NONE(response_obj_count), NONE(response_obj_bytes),
    NONE(read_buf_count), NONE(read_buf_bytes), NONE(read_buf_bytes_free), NONE(read_buf_oom),
    NONE(reserved_fds),
    /* commands */
    HERE(cmd_get), HERE(cmd_set), HERE(cmd_flush), HERE(cmd_touch), HERE(cmd_meta),
    HERE(get_hits), HERE(get_misses), HERE(get_expired), HERE(get_flushed),
    HERE(delete_misses), HERE(delete_hits), HERE(incr_misses), HERE(incr_hits),
    HERE(decr_misses), HERE(decr_hits), HERE(cas_misses), HERE(cas_hits), HERE(cas_badval),
    HERE(touch_hits), HERE(touch_misses), HERE(store_too_large), HERE(store_no_memory),
    HERE(auth_cmds), HERE(auth_errors),
    /* net; connections over the limit are refused, listening goes on */
    HERE(bytes_read), HERE(bytes_written), HERE(limit_maxbytes), HERE(accepting_conns),
    NONE(listen_disabled_num), NONE(time_in_listen_disabled_us), HERE(threads),
    HERE(conn_yields),
    /* the hash tables; each doubles at once */
    HERE(hash_power_level), HERE(hash_bytes), NONE(hash_is_expanding),
    /* slabs, LRU, logger, NIC queues */
    NONE(slab_reassign_rescues), NONE(slab_reassign_chunk_rescues),
    NONE(slab_reassign_evictions_nomem), NONE(slab_reassign_inline_reclaim),
    NONE(slab_reassign_busy_items), NONE(slab_reassign_busy_deletes),
    NONE(slab_reassign_running), NONE(slabs_moved), NONE(lru_crawler_running),
    HERE(lru_crawler_starts), NONE(lru_maintainer_juggles), NONE(malloc_fails),
    NONE(log_worker_dropped), NONE(log_worker_written), NONE(log_watcher_skipped),
    NONE(log_watcher_sent), NONE(log_watchers), NONE(unexpected_napi_ids),
    NONE(round_robin_fallback),
    /* items; who needs room evicts by himself, which memcached calls a direct reclaim */
    HERE(bytes), HERE(curr_items), HERE(total_items), NONE(slab_global_page_pool),
    NONE(expired_unfetched), HERE(evicted_unfetched), NONE(evicted_active), HERE(evictions),
    NONE(reclaimed), NONE(crawler_reclaimed), HERE(crawler_items_checked),
    NONE(lrutail_reflocked), NONE(moves_to_cold), NONE(moves_to_warm), NONE(moves_within_lru),
    AS(direct_reclaims, evictions), NONE(lru_bumps_dropped),
};
#undef HERE
#undef AS
#undef NONE
/* clang-format on */

/* Counters of other rooms that begin anew with stats reset. */
static const char *const resets[] = {
    "total_connections", "rejected_connections", "bytes_read",
    "bytes_written",     "conn_yields",          "total_items",
    "evictions",         "evicted_unfetched",    "evicted_nonzero",
    "auth_cmds",         "auth_errors",          "idle_kicks",
};
#define RESETS_COUNT (sizeof resets / sizeof resets[0])
_Static_assert(RESETS_COUNT <= CMD_RESETS_MAX, "struct cmd has room for them");

/* ---- gathering ---- */

static struct stat *add_stat(struct stats *stats, const char *name)
{
    MUST(stats->count < STATS_MAX);
    struct stat *stat = &stats->stat[stats->count++];
    stat->name = name;
    return stat;
}

static void gather_u64(void *ctx, const char *name, uint64_t value)
{
    add_stat(ctx, name)->value = value;
}

static void gather_text(void *ctx, const char *name, const char *value)
{
    struct stat *stat = add_stat(ctx, name);
    snprintf(stat->text, sizeof stat->text, "%s", value);
}

static struct stat *find_stat(struct stats *stats, const char *name)
{
    for (size_t i = 0; i < stats->count; i++)
        if (strcmp(stats->stat[i].name, name) == 0)
            return &stats->stat[i];
    return NULL;
}

static void gather_time(const struct stat_sink *sink, const char *name, const struct timeval *time)
{
    char text[TEXT_BYTES_MAX];
    snprintf(text, sizeof text, "%ld.%06ld", (long)time->tv_sec, (long)time->tv_usec);
    stat_text(sink, name, text);
}

static void gather_process(const struct cmd *cmd, const struct stat_sink *sink)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    stat_u64(sink, "pid", (uint64_t)getpid());
    stat_u64(sink, "uptime", (env_mono_ms(cmd->config.env) - cmd->start_mono_ms) / 1000);
    stat_u64(sink, "time", env_wall_us(cmd->config.env) / 1000000);
    stat_text(sink, "version", cmd->config.version);
    stat_text(sink, "libevent", event_get_version());
    stat_u64(sink, "pointer_size", 8 * sizeof(void *));
    gather_time(sink, "rusage_user", &usage.ru_utime);
    gather_time(sink, "rusage_system", &usage.ru_stime);
    stat_u64(sink, "accepting_conns", 1);
}

static void gather_counters(const struct cmd *cmd, const struct stat_sink *sink)
{
#define X(name, what)                                                                              \
    {                                                                                              \
        uint64_t sum = 0;                                                                          \
        for (unsigned i = 0; i < cmd->config.workers; i++)                                         \
            sum += counted(&cmd->workers[i].name);                                                 \
        stat_u64(sink, #name, sum);                                                                \
    }
    CMD_STATS(X)
#undef X
    stat_u64(sink, "rescue_bytes", rescue_recent_bytes(cmd->recent));
    stat_u64(sink, "replayed", counted(&cmd->replayed));
    stat_u64(sink, "replay_gaps", counted(&cmd->replay_gaps));
}

static void gather_hash_power(struct stats *stats, const struct stat_sink *sink)
{
    uint64_t buckets = find_stat(stats, "hash_bytes")->value / sizeof(void *);
    stat_u64(sink, "hash_power_level", 63 - (unsigned)__builtin_clzll(buckets | 1));
}

static void gather(struct cmd *cmd, struct stats *stats)
{
    const struct stat_sink sink = {.u64 = gather_u64, .text = gather_text, .ctx = stats};
    stats->count = 0;
    memset(stats, 0, sizeof *stats);
    gather_process(cmd, &sink);
    net_stats(cmd->net, &sink);
    gather_counters(cmd, &sink);
    guard_stats(cmd->config.guard, &sink);
    tier_stats(cmd->tier, &sink);
    gather_hash_power(stats, &sink);
}

static void take_off_resets(struct cmd *cmd, struct stats *stats)
{
    for (size_t i = 0; i < RESETS_COUNT; i++) {
        struct stat *stat = find_stat(stats, resets[i]);
        uint64_t at = counted(&cmd->reset_at[i]);
        stat->value -= at < stat->value ? at : stat->value;
    }
}

/* ---- telling ---- */

static void tell(const struct stat_sink *sink, const char *name, const struct stat *stat)
{
    if (stat && stat->text[0])
        stat_text(sink, name, stat->text);
    else
        stat_u64(sink, name, stat ? stat->value : 0);
}

void stats_write_all(struct session *session, const struct stat_sink *sink)
{
    struct stats stats;
    gather(session->cmd, &stats);
    take_off_resets(session->cmd, &stats);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct stat *stat = names[i].source ? find_stat(&stats, names[i].source) : NULL;
        MUST(stat || !names[i].source);
        tell(sink, names[i].name, stat);
        if (stat && strcmp(stat->name, names[i].name) == 0)
            stat->told = true;
    }
    for (size_t i = 0; i < stats.count; i++)
        if (!stats.stat[i].told)
            tell(sink, stats.stat[i].name, &stats.stat[i]);
}

/* A counter that a worker is just raising may keep its old value; so it is in memcached. */
void stats_reset(struct session *session)
{
    struct cmd *cmd = session->cmd;
    struct stats stats;
    for (unsigned i = 0; i < cmd->config.workers; i++) {
#define X(name, what) atomic_store_explicit(&cmd->workers[i].name, 0, memory_order_relaxed);
        CMD_STATS(X)
#undef X
    }
    gather(cmd, &stats);
    for (size_t i = 0; i < RESETS_COUNT; i++)
        atomic_store_explicit(&cmd->reset_at[i], find_stat(&stats, resets[i])->value,
                              memory_order_relaxed);
}

void stats_count_bad(struct session *session, const struct request *request, int error)
{
    if (error == CE_TOO_LARGE && !request->binary.is)
        count(&session->worker->store_too_large);
    if (error == CE_CHUNK)
        count(&session->worker->cmd_set);
}
