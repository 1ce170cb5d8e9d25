/* table: which handler runs a verb. */
#include "cmd/cmd_int.h"

/* ---- keys of either kind ---- */

static enum run get_key(struct session *session, const struct request *request, struct slice key)
{
    struct cart_key parsed;
    enum cart_key_kind kind = cart_key_parse(session->worker, key, &parsed);
    count(&session->worker->cmd_get);
    if (request->verb == VERB_GAT || request->verb == VERB_GATS)
        count(&session->worker->cmd_touch);
    if (kind == KEY_PLAIN)
        return plain_get(session, request, key);
    return path_get(session, request, key, kind, &parsed);
}

/* Goes on where it stopped when it had to wait in the middle. */
static enum run run_get(struct session *session, const struct request *request)
{
    if (request->key.len == 0)
        return reply_end(session, text_line(session->out, "END"));
    const uint8_t *end = request->keys.len ? request->keys.bytes + request->keys.len
                                           : request->key.bytes + request->key.len;
    struct slice all = slice_of(request->key.bytes, (size_t)(end - request->key.bytes));
    struct slice rest = slice_from(all, session->get_offset), key;
    struct slice before = rest;
    while (text_next_key(&rest, &key)) {
        if (net_out_full(session->conn))
            return RUN_FULL;
        enum run run = get_key(session, request, key);
        if (run != RUN_DONE)
            return run;
        session->get_offset += before.len - rest.len;
        before = rest;
    }
    return reply_end(session, text_line(session->out, "END"));
}

/* A mutation goes to the cart when its key is one, else to the plain items. */
static enum run run_mutation(struct session *session, const struct request *request,
                             enum run (*plain)(struct session *, const struct request *))
{
    struct cart_key parsed;
    enum cart_key_kind kind = cart_key_parse(session->worker, request->key, &parsed);
    if (kind == KEY_PLAIN)
        return plain(session, request);
    return path_write(session, request, kind, &parsed);
}

static enum run run_store(struct session *session, const struct request *request)
{
    count(&session->worker->cmd_set);
    return run_mutation(session, request, plain_store);
}

static enum run run_delete(struct session *session, const struct request *request)
{
    return run_mutation(session, request, plain_delete);
}

static enum run run_arith(struct session *session, const struct request *request)
{
    return run_mutation(session, request, plain_arith);
}

static enum run run_touch(struct session *session, const struct request *request)
{
    count(&session->worker->cmd_touch);
    return run_mutation(session, request, plain_touch);
}

/* ---- the rest ---- */

static enum run run_flush_all(struct session *session, const struct request *request)
{
    count(&session->worker->cmd_flush);
    plain_flush(session->cmd, request->exptime);
    return reply_line(session, request, "OK");
}

static enum run run_version(struct session *session, const struct request *request)
{
    (void)request;
    return reply_end(session,
                     buf_printf(session->out, "VERSION %s\r\n", session->cmd->config.version));
}

static enum run run_verbosity(struct session *session, const struct request *request)
{
    log_level_set(request->delta == 0 ? LOG_INFO : LOG_DEBUG);
    return reply_line(session, request, "OK");
}

static enum run run_quit(struct session *session, const struct request *request)
{
    (void)session, (void)request;
    return RUN_CLOSE;
}

static enum run (*const handlers[VERB_COUNT_])(struct session *, const struct request *) = {
    [VERB_GET] = run_get,         [VERB_GETS] = run_get,       [VERB_GAT] = run_get,
    [VERB_GATS] = run_get,        [VERB_SET] = run_store,      [VERB_ADD] = run_store,
    [VERB_REPLACE] = run_store,   [VERB_APPEND] = run_store,   [VERB_PREPEND] = run_store,
    [VERB_CAS] = run_store,       [VERB_DELETE] = run_delete,  [VERB_INCR] = run_arith,
    [VERB_DECR] = run_arith,      [VERB_TOUCH] = run_touch,    [VERB_FLUSH_ALL] = run_flush_all,
    [VERB_VERSION] = run_version, [VERB_STATS] = stats_run,    [VERB_VERBOSITY] = run_verbosity,
    [VERB_QUIT] = run_quit,       [VERB_CADD] = cart_text_run, [VERB_CSET] = cart_text_run,
    [VERB_CREM] = cart_text_run,  [VERB_CGET] = cart_text_run, [VERB_CDEL] = cart_text_run,
};

enum run table_run(struct session *session, const struct request *request)
{
    MUST(request->verb < VERB_COUNT_ && handlers[request->verb]);
    return handlers[request->verb](session, request);
}
