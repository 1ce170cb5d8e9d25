/* table: which handler runs a verb. */
#include "cmd/cmd_int.h"

/* ---- keys of either kind ---- */

/* The key as bytes: of a meta command it may be base64. */
static bool find_key(struct session *session, const struct request *request, struct slice *key)
{
    struct buf *decoded = &session->worker->key;
    *key = request->key;
    if (request->binary.is || !has_meta(request, 'b'))
        return true;
    decoded->len = 0;
    if (proto_base64_decode(request->key, decoded) || decoded->len > PROTO_KEY_MAX)
        return false;
    *key = buf_slice(decoded);
    return true;
}

static enum run refuse_key(struct session *session, const struct request *request)
{
    struct request told = *request;
    told.meta.fault = META_FAULT_KEY;
    return reply_error(session, &told, CE_FORMAT);
}

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

/* A classic get. Goes on where it stopped when it had to wait in the middle. */
static enum run run_keys(struct session *session, const struct request *request)
{
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

static enum run run_get(struct session *session, const struct request *request)
{
    struct slice key;
    if (!request->binary.is && request->verb != VERB_MG) {
        if (request->key.len == 0)
            return reply_end(session, text_line(session->out, "END"));
        return run_keys(session, request);
    }
    return find_key(session, request, &key) ? get_key(session, request, key)
                                            : refuse_key(session, request);
}

/* A mutation goes to the cart when its key is one, else to the plain items. */
static enum run run_mutation(struct session *session, const struct request *request,
                             enum run (*plain)(struct session *, const struct request *,
                                               struct slice key))
{
    struct cart_key parsed;
    struct slice key;
    if (!find_key(session, request, &key))
        return refuse_key(session, request);
    enum cart_key_kind kind = cart_key_parse(session->worker, key, &parsed);
    if (kind == KEY_PLAIN)
        return plain(session, request, key);
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

static enum run run_meta_noop(struct session *session, const struct request *request)
{
    (void)request;
    return reply_end(session, text_line(session->out, "MN"));
}

static enum run run_meta_debug(struct session *session, const struct request *request)
{
    struct cart_key parsed;
    struct slice key;
    if (!find_key(session, request, &key))
        return refuse_key(session, request);
    if (cart_key_parse(session->worker, key, &parsed) != KEY_PLAIN)
        return reply_miss(session, request);
    return plain_debug(session, request, key);
}

static enum run run_flush_all(struct session *session, const struct request *request)
{
    count(&session->worker->cmd_flush);
    item_flush(session->cmd, request->exptime);
    return reply_verdict(session, request, VERDICT_OK, NULL);
}

static enum run run_version(struct session *session, const struct request *request)
{
    const char *version = session->cmd->config.version;
    if (request->binary.is)
        return reply_end(session, binary_text(session->out, request, slice_str(version)));
    return reply_end(session, buf_printf(session->out, "VERSION %s\r\n", version));
}

static enum run run_verbosity(struct session *session, const struct request *request)
{
    log_level_set(request->delta == 0 ? LOG_INFO : LOG_DEBUG);
    return reply_verdict(session, request, VERDICT_OK, NULL);
}

static enum run run_quit(struct session *session, const struct request *request)
{
    if (request->binary.is && reply_verdict(session, request, VERDICT_OK, NULL) != RUN_DONE)
        return RUN_CLOSE;
    return RUN_CLOSE;
}

static enum run run_noop(struct session *session, const struct request *request)
{
    return reply_verdict(session, request, VERDICT_OK, NULL);
}

/* No users are configured, so there is nobody to be: as memcached without -S. */
static enum run run_sasl(struct session *session, const struct request *request)
{
    return reply_error(session, request, CE_UNKNOWN);
}

/* clang-format off */
static enum run (*const handlers[VERB_COUNT_])(struct session *, const struct request *) = {
    [VERB_GET] = run_get,
    [VERB_GETS] = run_get,
    [VERB_GAT] = run_get,
    [VERB_GATS] = run_get,
    [VERB_SET] = run_store,
    [VERB_ADD] = run_store,
    [VERB_REPLACE] = run_store,
    [VERB_APPEND] = run_store,
    [VERB_PREPEND] = run_store,
    [VERB_CAS] = run_store,
    [VERB_DELETE] = run_delete,
    [VERB_INCR] = run_arith,
    [VERB_DECR] = run_arith,
    [VERB_TOUCH] = run_touch,
    [VERB_FLUSH_ALL] = run_flush_all,
    [VERB_VERSION] = run_version,
    [VERB_STATS] = stats_run,
    [VERB_VERBOSITY] = run_verbosity,
    [VERB_QUIT] = run_quit,
    [VERB_CADD] = cart_command_run,
    [VERB_CSET] = cart_command_run,
    [VERB_CREM] = cart_command_run,
    [VERB_CGET] = cart_command_run,
    [VERB_CDEL] = cart_command_run,
    [VERB_MN] = run_meta_noop,
    [VERB_MG] = run_get,
    [VERB_MS] = run_store,
    [VERB_MD] = run_delete,
    [VERB_MA] = run_arith,
    [VERB_ME] = run_meta_debug,
    [VERB_NOOP] = run_noop,
    [VERB_SASL_LIST] = run_sasl,
    [VERB_SASL_AUTH] = run_sasl,
    [VERB_SASL_STEP] = run_sasl,
};
/* clang-format on */

enum run table_run(struct session *session, const struct request *request)
{
    MUST(request->verb < VERB_COUNT_ && handlers[request->verb]);
    return handlers[request->verb](session, request);
}
