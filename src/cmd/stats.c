/* stats: the command. What is asked for is a row of the table below; the rows write STAT lines, or
 * frames where binary asks. Names and answers are memcached's (1.6.18), so that its monitoring
 * works; what it has for its own inside is answered as it answers where there is nothing to tell.
 *
 * Counters belong to other threads: they are read relaxed, and may be a moment old. */
#include "cmd/cmd_int.h"

#define CACHEDUMP_WORDS 3
#define DETAIL_USAGE    "CLIENT_ERROR usage: stats detail on|off|dump"

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

static int write_end(struct session *session, const struct request *request, const char *word)
{
    struct slice nothing = slice_of("", 0);
    return request->binary.is ? binary_stat(session->out, request, nothing, nothing)
                              : text_line(session->out, word);
}

static enum run refuse(struct session *session, const struct request *request, const char *line)
{
    if (request->binary.is)
        return reply_error(session, request, CE_NOTFOUND);
    return reply_end(session, text_line(session->out, line));
}

/* ---- lists ---- */

/* What the settings can't know, because it was changed since the start. */
struct settings {
    struct cmd *cmd;
    const struct stat_sink *sink;
};

static void pass_u64(void *ctx, const char *name, uint64_t value)
{
    const struct settings *settings = ctx;
    if (strcmp(name, "maxbytes") == 0)
        value = l1_limit(tier_l1(settings->cmd->tier));
    stat_u64(settings->sink, name, value);
}

static void pass_text(void *ctx, const char *name, const char *value)
{
    const struct settings *settings = ctx;
    if (strcmp(name, "lru_crawler") == 0)
        value =
            atomic_load_explicit(&settings->cmd->crawler_off, memory_order_relaxed) ? "no" : "yes";
    stat_text(settings->sink, name, value);
}

static void write_settings(struct session *session, const struct stat_sink *sink)
{
    const struct cmd_config *config = &session->cmd->config;
    struct settings settings = {.cmd = session->cmd, .sink = sink};
    const struct stat_sink pass = {.u64 = pass_u64, .text = pass_text, .ctx = &settings};
    if (config->settings)
        config->settings(config->settings_ctx, &pass);
    buckets_settings(session->cmd, sink);
    stat_u64(sink, "reqs_per_event", NET_TURN_REQUESTS); /* memcached's -R */
}

static void write_sizes(struct session *session, const struct stat_sink *sink)
{
    (void)session;
    stat_text(sink, "sizes_status", "disabled");
}

static void write_conns(struct session *session, const struct stat_sink *sink)
{
    net_conns(session->cmd->net, sink);
}

static void write_behind(struct session *session, const struct stat_sink *sink)
{
    tier_behind_tell(session->cmd->tier, sink);
}

static void write_nothing(struct session *session, const struct stat_sink *sink)
{
    (void)session, (void)sink;
}

static const struct list {
    const char *name;
    void (*write)(struct session *session, const struct stat_sink *sink);
    bool endless; /* memcached sends no END, and no tool waits for one */
} lists[] = {
    {"", stats_write_all, false},         {"settings", write_settings, false},
    {"items", stats_write_items, false},  {"slabs", stats_write_slabs, false},
    {"sizes", write_sizes, false},        {"conns", write_conns, false},
    {"extstore", write_nothing, false},   {"sizes_enable", write_sizes, true},
    {"sizes_disable", write_sizes, true}, {"behind", write_behind, false},
};

static enum run run_list(struct session *session, const struct request *request,
                         const struct list *list)
{
    struct writer writer = {.out = session->out, .request = request};
    struct stat_sink sink = {.u64 = write_u64, .text = write_text, .ctx = &writer};
    list->write(session, &sink);
    if (writer.rc || list->endless)
        return reply_end(session, writer.rc);
    return reply_end(session, write_end(session, request, "END"));
}

/* ---- what is no list ---- */

/* Counts by key prefix are not kept; turning them on is allowed, and shows none. */
static enum run run_detail(struct session *session, const struct request *request,
                           struct slice what)
{
    if (slice_eq(what, slice_str("on")) || slice_eq(what, slice_str("off")))
        return reply_end(session, write_end(session, request, "OK"));
    if (!slice_eq(what, slice_str("dump")))
        return refuse(session, request, DETAIL_USAGE);
    if (request->binary.is &&
        binary_stat(session->out, request, slice_str("detailed"), slice_str("END\r\n")))
        return RUN_CLOSE;
    return reply_end(session, write_end(session, request, "END"));
}

static bool read_u32(struct slice word, uint32_t *number)
{
    if (word.len > 1 && word.bytes[0] == '+')
        word = slice_from(word, 1);
    return num_u32(word, number);
}

/* stats cachedump CLASS LIMIT. Goes on where it was when it is run again. */
static enum run run_cachedump(struct session *session, const struct request *request,
                              struct slice words)
{
    struct slice word;
    uint32_t class, limit;
    if (session->get_offset == 0 && session->cmd->config.dump_refused)
        return refuse(session, request, "CLIENT_ERROR stats cachedump not allowed");
    struct slice class_word = {0};
    if (!text_next_key(&words, &class_word) || !text_next_key(&words, &word))
        return refuse(session, request, "CLIENT_ERROR bad command line");
    if (!read_u32(class_word, &class) || !read_u32(word, &limit))
        return refuse(session, request, "CLIENT_ERROR bad command line format");
    if (class >= CLASS_COUNT_)
        return refuse(session, request, "CLIENT_ERROR Illegal slab id");
    return dump_run(session, DUMP_CACHE, 1ull << class, limit);
}

static enum run run_reset(struct session *session, const struct request *request)
{
    stats_reset(session);
    return reply_end(session, write_end(session, request, "RESET"));
}

enum run stats_run(struct session *session, const struct request *request)
{
    struct slice rest = request->arg, name = {.bytes = (const uint8_t *)"", .len = 0};
    struct slice more, what = {0};
    text_next_key(&rest, &name);
    more = rest;
    text_next_key(&more, &what);
    if (slice_eq(name, slice_str("detail")))
        return run_detail(session, request, what);
    if (request->binary.is)
        name = request->arg; /* one word, or unknown */
    if (slice_eq(name, slice_str("reset")))
        return run_reset(session, request);
    if (slice_eq(name, slice_str("cachedump")) && !request->binary.is)
        return run_cachedump(session, request, rest);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        if (slice_eq(name, slice_str(lists[i].name)))
            return run_list(session, request, &lists[i]);
    return reply_error(session, request, request->binary.is ? CE_NOTFOUND : CE_UNKNOWN);
}
