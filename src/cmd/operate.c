/* operate: what an operator, or a program that follows the carts in SQL, asks of the tiers. Nothing
 * of it is done by a worker: the connection is parked, and when the request is run again there is
 * news. `cwait` is one answer; a job of `tiers` tells lines until it is over. */
#include "cmd/cmd_int.h"

#include <stdlib.h>

static enum run say(struct session *session, const struct request *request, int rc)
{
    return rc ? reply_error(session, request, rc) : RUN_DONE;
}

/* ---- cwait K version ms ---- */

struct sql_ask {
    struct tier_sql_wait wait; /* first: it is what is asked */
    struct session *session;
    int rc;
    uint8_t key[L1_KEY_MAX];
};

static void end_wait(struct tier_sql_wait *wait, int rc)
{
    struct sql_ask *ask = (struct sql_ask *)wait;
    ask->rc = rc;
    session_resume(ask->session);
}

static enum run begin_wait(struct session *session, const struct request *request)
{
    struct cart_key parsed;
    if (cart_key_parse(session->worker, request->key, &parsed) != KEY_CART)
        return say(session, request, CE_BAD_CART);
    if (request->exptime > CMD_WAIT_MS_MAX)
        return say(session, request, CE_FORMAT);
    struct sql_ask *ask = calloc(1, sizeof *ask);
    if (!ask)
        return say(session, request, CE_NOMEM);
    memcpy(ask->key, request->key.bytes, request->key.len);
    ask->session = session;
    ask->wait = (struct tier_sql_wait){.key = slice_of(ask->key, request->key.len),
                                       .version = request->delta,
                                       .timeout_ms = (unsigned)request->exptime,
                                       .done = end_wait};
    session->sql_ask = ask; /* before the answer may come */
    int rc = tier_sql_wait(session->cmd->tier, &ask->wait);
    if (rc == 0)
        return RUN_PARK;
    session->sql_ask = NULL;
    free(ask);
    return say(session, request, rc);
}

enum run operate_wait(struct session *session, const struct request *request)
{
    struct sql_ask *ask = session->sql_ask;
    if (!ask)
        return begin_wait(session, request);
    unsigned long long found = ask->wait.found;
    int rc = ask->rc;
    free(ask);
    session->sql_ask = NULL;
    if (rc && rc != CE_NOT_STORED)
        return say(session, request, rc);
    return reply_end(session, buf_printf(session->out, "%s v%llu\r\n", rc ? "NS" : "HD", found));
}

/* ---- tiers JOB argument... ---- */

static void wake_session(void *ctx)
{
    session_resume(ctx);
}

/* resync [carts a second] */
static int read_rate(struct slice words, struct tier_job_config *config)
{
    struct slice word;
    config->carts_per_s = TIER_JOB_RATE_DEFAULT;
    if (!text_next_key(&words, &word))
        return 0;
    bool good = num_u32(word, &config->carts_per_s) && config->carts_per_s >= 1 &&
                config->carts_per_s <= TIER_JOB_RATE_MAX && !text_next_key(&words, &word);
    return good ? 0 : CE_FORMAT;
}

/* verify [repair] [carts a second] */
static int read_verify(struct slice words, struct tier_job_config *config)
{
    struct slice rest = words, word;
    config->repair = text_next_key(&rest, &word) && slice_eq(word, slice_str("repair"));
    return read_rate(config->repair ? rest : words, config);
}

/* snapshot DIR: all of the line behind the word; a path may hold spaces. */
static int read_dir(struct slice words, struct tier_job_config *config)
{
    while (words.len && words.bytes[0] == ' ')
        words = slice_from(words, 1);
    config->dir = words;
    config->carts_per_s = TIER_JOB_RATE_MAX;
    return words.len && words.len <= TIER_JOB_PATH_MAX ? 0 : CE_FORMAT;
}

static const struct {
    const char *word;
    int (*read)(struct slice words, struct tier_job_config *config);
} jobs[TIER_JOB_KINDS_] = {
    [TIER_JOB_VERIFY] = {"verify", read_verify},
    [TIER_JOB_SNAPSHOT] = {"snapshot", read_dir},
    [TIER_JOB_RESYNC] = {"resync", read_rate},
};

static int begin_job(struct session *session, const struct request *request)
{
    struct tier_job_config config = {.wake = wake_session, .ctx = session};
    struct slice words = request->arg, name;
    if (!text_next_key(&words, &name))
        return CE_FORMAT;
    for (size_t kind = 0; kind < TIER_JOB_KINDS_; kind++) {
        if (!slice_eq(name, slice_str(jobs[kind].word)))
            continue;
        config.kind = (enum tier_job_kind)kind;
        int rc = jobs[kind].read(words, &config);
        return rc ? rc : tier_job_start(session->cmd->tier, &config, &session->job);
    }
    return CE_FORMAT;
}

/* A job that fails says in words of its own what was in its way. */
static int tell_failure(struct session *session, int rc, const char *message)
{
    return message[0] ? buf_printf(session->out, "SERVER_ERROR %s\r\n", message)
                      : text_error(session->out, rc);
}

enum run operate_tiers(struct session *session, const struct request *request)
{
    const char *message;
    int rc = session->job ? 0 : begin_job(session, request);
    if (rc)
        return say(session, request, rc);
    if (!tier_job_take(session->job, session->out, &rc, &message))
        return RUN_PARK;
    int put_rc = rc ? tell_failure(session, rc, message) : text_line(session->out, "END");
    tier_job_leave(&session->job);
    return reply_end(session, put_rc);
}

void operate_close(struct session *session)
{
    free(session->sql_ask);
    if (session->job)
        tier_job_leave(&session->job);
}
