/* admin: what manages the daemon, in memcached's words (those of its version 1.6.18). Three kinds
 * of commands: those that do what they say; those on the inside of memcached, which cartd has not:
 * their arguments are checked and answered as memcached would, so that scripts go through; and
 * those that can't be answered so (slabs reassign, watch): refused, in words of memcached.
 *
 * What takes its time is done by the thread of net_run: the connection is parked, and when the
 * request is run again session->admin holds what was done. */
#include "cmd/cmd_int.h"

#include <stdlib.h>

#define WORDS_MAX        6 /* more are not looked at */
#define MEGABYTES_MIN    8
#define MEGABYTES_MAX    1000000000
#define SLEEP_US_MAX     1000000
#define HOT_WARM_PCT_MAX 80
#define AUTOMOVE_MAX     2
#define FACTOR_BYTES_MAX 32
#define WORD_ERROR       "ERROR"
#define WORD_FORMAT      "CLIENT_ERROR bad command line format"
#define WORD_CRAWLER_OFF "CLIENT_ERROR lru crawler disabled"

struct words {
    struct slice word[WORDS_MAX];
    size_t count;
};

struct command {
    const char *name;
    size_t words; /* behind the name; exactly */
    enum run (*run)(struct session *session, const struct request *request,
                    const struct words *words);
};

/* ---- words ---- */

static struct words split_words(struct slice text)
{
    struct words words = {0};
    while (words.count < WORDS_MAX && text_next_key(&text, &words.word[words.count]))
        words.count++;
    return words;
}

static bool word_is(const struct words *words, size_t at, const char *text)
{
    return at < words->count && slice_eq(words->word[at], slice_str(text));
}

static bool read_number(const struct words *words, size_t at, uint64_t *number)
{
    struct slice word = at < words->count ? words->word[at] : slice_of(NULL, 0);
    if (word.len > 1 && word.bytes[0] == '+')
        word = slice_from(word, 1);
    return num_u64(word, number);
}

static bool read_u32(const struct words *words, size_t at, uint32_t *number)
{
    uint64_t wide;
    if (!read_number(words, at, &wide) || wide > UINT32_MAX)
        return false;
    *number = (uint32_t)wide;
    return true;
}

static bool read_factor(const struct words *words, size_t at, double *factor)
{
    char text[FACTOR_BYTES_MAX + 1], *end;
    if (at >= words->count || words->word[at].len > FACTOR_BYTES_MAX)
        return false;
    memcpy(text, words->word[at].bytes, words->word[at].len);
    text[words->word[at].len] = 0;
    *factor = strtod(text, &end);
    return end != text && *end == 0;
}

static enum run say(struct session *session, const struct request *request, const char *line)
{
    return reply_end(session, request->noreply ? 0 : text_line(session->out, line));
}

/* ---- work for the thread of net_run ---- */

struct admin_work {
    struct net_task task; /* first: it is what is posted */
    struct session *session;
    void (*run)(struct admin_work *work);
    size_t bytes; /* the new limit */
    int rc;
    char message[256];
};

static void run_work(struct net_task *task)
{
    struct admin_work *work = (struct admin_work *)task;
    work->run(work);
    session_resume(work->session);
}

static enum run park_for(struct session *session, const struct request *request,
                         void (*run)(struct admin_work *work), size_t bytes)
{
    struct admin_work *work = calloc(1, sizeof *work);
    if (!work)
        return reply_error(session, request, CE_NOMEM);
    work->task.run = run_work;
    work->session = session;
    work->run = run;
    work->bytes = bytes;
    session->admin = work;
    net_post_main(session->cmd->net, &work->task);
    return RUN_PARK;
}

void admin_close(struct session *session)
{
    free(session->admin);
    session->admin = NULL;
}

/* ---- cache_memlimit ---- */

static void set_limit(struct admin_work *work)
{
    l1_limit_set(tier_l1(work->session->cmd->tier), work->bytes);
}

static enum run run_memlimit(struct session *session, const struct request *request,
                             const struct words *words)
{
    uint64_t megabytes;
    if (session->admin) {
        log_info("admin", "the limit of memory is %zu MB now", session->admin->bytes >> 20);
        admin_close(session);
        return say(session, request, "OK");
    }
    if (!read_number(words, 0, &megabytes))
        return say(session, request, WORD_ERROR);
    if (megabytes < MEGABYTES_MIN)
        return say(session, request, "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m");
    if (megabytes > MEGABYTES_MAX)
        return say(session, request, "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes");
    return park_for(session, request, set_limit, (size_t)megabytes << 20);
}

/* ---- shutdown ---- */

/* Graceful or not: all that was received is answered and stored before the end. */
static enum run run_shutdown(struct session *session, const struct request *request,
                             const struct words *words)
{
    char name[NET_NAME_BYTES];
    if (!session->cmd->config.shutdown_allowed)
        return say(session, request, "ERROR: shutdown not enabled");
    if (words->count > 1 || (words->count == 1 && !word_is(words, 0, "graceful")))
        return say(session, request, "CLIENT_ERROR invalid shutdown mode");
    net_peer_name(session->conn, name);
    log_info("admin", "%s tells to shut down", name);
    net_quit(session->cmd->net);
    return RUN_CLOSE;
}

/* ---- refresh_certs ---- */

static void reload_tls(struct admin_work *work)
{
    work->rc = net_tls_reload(work->session->cmd->net, work->message, sizeof work->message);
}

static enum run run_refresh(struct session *session, const struct request *request,
                            const struct words *words)
{
    (void)words;
    if (!session->admin && !session->cmd->config.tls)
        return say(session, request, "Error TLS not enabled");
    if (!session->admin)
        return park_for(session, request, reload_tls, 0);
    int rc = session->admin->rc == 0
                 ? text_line(session->out, "OK")
                 : buf_printf(session->out, "Error %s\r\n", session->admin->message);
    admin_close(session);
    return reply_end(session, rc);
}

/* ---- lru_crawler ---- */

/* "all", "hash", or classes with commas between them. NULL, or what to answer. */
static const char *read_classes(struct slice text, uint64_t *classes, bool *hash)
{
    *hash = slice_eq(text, slice_str("hash"));
    *classes = *hash || slice_eq(text, slice_str("all")) ? UINT64_MAX : 0;
    while (text.len && *classes != UINT64_MAX) {
        const uint8_t *comma = memchr(text.bytes, ',', text.len);
        size_t len = comma ? (size_t)(comma - text.bytes) : text.len;
        uint32_t class = 0;
        if (len &&
            (!num_u32(slice_of(text.bytes, len), &class) || class < 1 || class >= CLASS_COUNT_))
            return "BADCLASS invalid class id";
        if (len)
            *classes |= 1ull << class;
        text = slice_from(text, comma ? len + 1 : len);
    }
    return *classes ? NULL : "NOTSTARTED no items to crawl";
}

/* What is over goes when it is met, or makes room: there is nothing to crawl for. */
static enum run run_crawl(struct session *session, const struct request *request,
                          const struct words *words)
{
    uint64_t classes;
    bool hash;
    if (atomic_load_explicit(&session->cmd->crawler_off, memory_order_relaxed))
        return say(session, request, WORD_CRAWLER_OFF);
    const char *wrong = read_classes(words->word[1], &classes, &hash);
    if (!wrong && hash)
        wrong = "ERROR an unknown error happened"; /* memcached knows no better */
    return say(session, request, wrong ? wrong : "OK");
}

static enum run dump_keys(struct session *session, const struct request *request,
                          const struct words *words, enum dump_form form, const char *refusal)
{
    uint64_t classes;
    bool hash;
    const char *wrong = read_classes(words->word[1], &classes, &hash);
    if (session->get_offset == 0) {
        if (atomic_load_explicit(&session->cmd->crawler_off, memory_order_relaxed))
            wrong = WORD_CRAWLER_OFF;
        else if (session->cmd->config.dump_refused)
            wrong = refusal;
        if (wrong)
            return say(session, request, wrong);
    }
    return dump_run(session, form, classes, 0);
}

static enum run run_metadump(struct session *session, const struct request *request,
                             const struct words *words)
{
    return dump_keys(session, request, words, DUMP_META, "ERROR metadump not allowed");
}

static enum run run_mgdump(struct session *session, const struct request *request,
                           const struct words *words)
{
    return dump_keys(session, request, words, DUMP_MG, "ERROR key dump not allowed");
}

static enum run run_tocrawl(struct session *session, const struct request *request,
                            const struct words *words)
{
    uint32_t items;
    return say(session, request, read_u32(words, 1, &items) ? "OK" : WORD_FORMAT);
}

static enum run run_sleep(struct session *session, const struct request *request,
                          const struct words *words)
{
    uint32_t sleep_us;
    if (!read_u32(words, 1, &sleep_us))
        return say(session, request, WORD_FORMAT);
    if (sleep_us > SLEEP_US_MAX)
        return say(session, request, "CLIENT_ERROR sleep must be one second or less");
    return say(session, request, "OK");
}

static enum run run_enable(struct session *session, const struct request *request,
                           const struct words *words)
{
    (void)words;
    if (!atomic_exchange(&session->cmd->crawler_off, false))
        return say(session, request, "ERROR failed to start lru crawler thread");
    return say(session, request, "OK");
}

static enum run run_disable(struct session *session, const struct request *request,
                            const struct words *words)
{
    (void)words;
    atomic_store(&session->cmd->crawler_off, true);
    return say(session, request, "OK");
}

static enum run run_crawler(struct session *session, const struct request *request,
                            const struct words *words)
{
    static const struct command commands[] = {
        {"crawl", 1, run_crawl},     {"metadump", 1, run_metadump}, {"mgdump", 1, run_mgdump},
        {"tocrawl", 1, run_tocrawl}, {"sleep", 1, run_sleep},       {"enable", 0, run_enable},
        {"disable", 0, run_disable},
    };
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (word_is(words, 0, commands[i].name) && words->count == 1 + commands[i].words)
            return commands[i].run(session, request, words);
    return say(session, request, WORD_ERROR);
}

/* ---- lru, slabs, watch: memcached's inside ---- */

static const char *check_tune(const struct words *words)
{
    uint32_t hot, warm;
    double hot_factor, warm_factor;
    if (!read_u32(words, 1, &hot) || !read_u32(words, 2, &warm) ||
        !read_factor(words, 3, &hot_factor) || !read_factor(words, 4, &warm_factor))
        return WORD_ERROR;
    if ((uint64_t)hot + warm > HOT_WARM_PCT_MAX)
        return "ERROR hot and warm pcts must not exceed 80";
    if (hot_factor <= 0 || warm_factor <= 0)
        return "ERROR hot/warm age factors must be greater than 0";
    return "OK";
}

static enum run run_lru(struct session *session, const struct request *request,
                        const struct words *words)
{
    int64_t ttl_s;
    bool is_mode = word_is(words, 1, "flat") || word_is(words, 1, "segmented");
    const char *answer = WORD_ERROR;
    if (word_is(words, 0, "tune"))
        answer = check_tune(words);
    else if (word_is(words, 0, "mode") && is_mode)
        answer = "OK";
    else if (word_is(words, 0, "temp_ttl") && words->count > 1 && num_i64(words->word[1], &ttl_s))
        answer = "OK";
    return say(session, request, answer);
}

static const char *check_automove(const struct words *words)
{
    uint32_t level;
    double ratio;
    if (word_is(words, 1, "ratio"))
        return read_factor(words, 2, &ratio) ? "OK" : WORD_ERROR;
    if (words->count < 2)
        return WORD_ERROR;
    if (!read_u32(words, 1, &level))
        return WORD_FORMAT;
    return level <= AUTOMOVE_MAX ? "OK" : WORD_ERROR;
}

static enum run run_slabs(struct session *session, const struct request *request,
                          const struct words *words)
{
    const char *answer = WORD_ERROR;
    if (word_is(words, 0, "automove"))
        answer = check_automove(words);
    else if (word_is(words, 0, "reassign") && words->count == 3)
        answer = "CLIENT_ERROR slab reassignment disabled";
    return say(session, request, answer);
}

/* There is no stream of events to be had. */
static enum run run_watch(struct session *session, const struct request *request,
                          const struct words *words)
{
    static const char *const streams[] = {
        "fetchers", "mutations", "evictions", "connevents",  "sysevents",
        "rawcmds",  "proxyreqs", "proxyuser", "proxyevents",
    };
    const char *answer = "WATCHER_FAILED failed to add log watcher";
    for (size_t i = 0; i < words->count; i++) {
        bool known = false;
        for (size_t j = 0; j < sizeof streams / sizeof streams[0]; j++)
            known = known || word_is(words, i, streams[j]);
        if (!known)
            answer = WORD_ERROR;
    }
    return say(session, request, answer);
}

/* ---- all ---- */

enum run admin_run(struct session *session, const struct request *request)
{
    struct words words = split_words(request->arg);
    switch (request->verb) {
    case VERB_CACHE_MEMLIMIT: return run_memlimit(session, request, &words);
    case VERB_SHUTDOWN: return run_shutdown(session, request, &words);
    case VERB_REFRESH_CERTS: return run_refresh(session, request, &words);
    case VERB_LRU_CRAWLER: return run_crawler(session, request, &words);
    case VERB_LRU: return run_lru(session, request, &words);
    case VERB_SLABS: return run_slabs(session, request, &words);
    default: MUST(request->verb == VERB_WATCH); return run_watch(session, request, &words);
    }
}

enum run admin_refuse_flush(struct session *session, const struct request *request)
{
    if (request->binary.is)
        return reply_error(session, request, CE_AUTH_FAILED); /* memcached's status for it */
    return say(session, request, "CLIENT_ERROR flush_all not allowed");
}
