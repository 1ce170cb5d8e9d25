/* stats: memcached's names where memcached has them, so that its monitoring agents work; every
 * module adds its own table. */
#include "cmd/cmd_int.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

struct writer {
    struct buf *out;
    const struct request *request;
    int rc;
};

static void write_text(void *ctx, const char *name, const char *value)
{
    struct writer *writer = ctx;
    if (writer->rc)
        return;
    writer->rc = writer->request->binary.is
                     ? binary_stat(writer->out, writer->request, slice_str(name), slice_str(value))
                     : text_stat(writer->out, name, value);
}

static void write_u64(void *ctx, const char *name, uint64_t value)
{
    char digits[NUM_DIGITS_MAX + 1];
    digits[num_put_u64(digits, value)] = 0;
    write_text(ctx, name, digits);
}

static void write_process(struct session *session, const struct stat_sink *sink)
{
    struct cmd *cmd = session->cmd;
    struct rusage usage;
    char text[32];
    stat_u64(sink, "pid", (uint64_t)getpid());
    stat_u64(sink, "uptime", (env_mono_ms(cmd->config.env) - cmd->start_mono_ms) / 1000);
    stat_u64(sink, "time", env_wall_us(cmd->config.env) / 1000000);
    stat_text(sink, "version", cmd->config.version);
    stat_u64(sink, "pointer_size", 8 * sizeof(void *));
    getrusage(RUSAGE_SELF, &usage);
    snprintf(text, sizeof text, "%ld.%06ld", (long)usage.ru_utime.tv_sec,
             (long)usage.ru_utime.tv_usec);
    stat_text(sink, "rusage_user", text);
    snprintf(text, sizeof text, "%ld.%06ld", (long)usage.ru_stime.tv_sec,
             (long)usage.ru_stime.tv_usec);
    stat_text(sink, "rusage_system", text);
}

static void write_counters(const struct cmd *cmd, const struct stat_sink *sink)
{
#define X(name, what)                                                                              \
    {                                                                                              \
        uint64_t sum = 0;                                                                          \
        for (unsigned i = 0; i < cmd->config.workers; i++)                                         \
            sum += atomic_load_explicit(&cmd->workers[i].name, memory_order_relaxed);              \
        stat_u64(sink, #name, sum);                                                                \
    }
    CMD_STATS(X)
#undef X
    stat_u64(sink, "replayed", atomic_load(&cmd->replayed));
    stat_u64(sink, "replay_gaps", atomic_load(&cmd->replay_gaps));
}

/* A counter that a worker is just raising may keep its old value; so it is in memcached. */
static void reset_counters(struct cmd *cmd)
{
    for (unsigned i = 0; i < cmd->config.workers; i++) {
#define X(name, what) atomic_store_explicit(&cmd->workers[i].name, 0, memory_order_relaxed);
        CMD_STATS(X)
#undef X
    }
}

static void write_settings(const struct cmd *cmd, const struct stat_sink *sink)
{
    static const char *const levels[] = {[ACK_RAM] = "ram", [ACK_OS] = "os", [ACK_SYNC] = "sync"};
    stat_u64(sink, "item_size_max", cmd->config.value_bytes_max);
    stat_u64(sink, "num_threads", cmd->config.workers);
    stat_text(sink, "ack", levels[cmd->config.bucket.ack]);
    stat_u64(sink, "lines_max", cmd->config.bucket.limits.lines_max);
    stat_u64(sink, "qty_max", cmd->config.bucket.limits.qty_max);
    stat_u64(sink, "ext_bytes_max", cmd->config.bucket.limits.ext_bytes_max);
    stat_u64(sink, "state_bytes_max", cmd->config.bucket.limits.state_bytes_max);
}

static int write_end(struct session *session, const struct request *request, const char *word)
{
    struct slice nothing = slice_of("", 0);
    return request->binary.is ? binary_stat(session->out, request, nothing, nothing)
                              : text_line(session->out, word);
}

enum run stats_run(struct session *session, const struct request *request)
{
    struct cmd *cmd = session->cmd;
    struct writer writer = {.out = session->out, .request = request};
    struct stat_sink sink = {.u64 = write_u64, .text = write_text, .ctx = &writer};
    if (request->arg.len == 0) {
        write_process(session, &sink);
        write_counters(cmd, &sink);
        net_stats(cmd->net, &sink);
        tier_stats(cmd->tier, &sink);
    } else if (slice_eq(request->arg, slice_str("settings"))) {
        write_settings(cmd, &sink);
    } else if (slice_eq(request->arg, slice_str("reset"))) {
        reset_counters(cmd);
        return reply_end(session, write_end(session, request, "RESET"));
    } else {
        return reply_error(session, request, request->binary.is ? CE_NOTFOUND : CE_UNKNOWN);
    }
    return reply_end(session, writer.rc ? writer.rc : write_end(session, request, "END"));
}
