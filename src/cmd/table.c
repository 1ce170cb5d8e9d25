/* table: which handler runs a verb. */
#include "cmd/cmd_int.h"

/* ---- keys of either kind ---- */

static bool is_base64(const struct request *request)
{
    if (request->verb >= VERB_CADD && request->verb <= VERB_CDEL)
        return request->cart.seen & proto_flag('b');
    return !request->binary.is && has_meta(request, 'b');
}

bool table_key(struct session *session, const struct request *request, struct slice *key)
{
    struct buf *decoded = &session->worker->key;
    *key = request->key;
    if (!is_base64(request))
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
    session->rescues = parsed.bucket && parsed.bucket->rescue;
    bool gat = request->verb == VERB_GAT || request->verb == VERB_GATS;
    if (kind == KEY_PLAIN)
        return plain_get(session, request, key);
    count(gat ? &session->worker->cmd_touch : &session->worker->cmd_get);
    return path_get(session, request, key, kind, &parsed);
}

/* Each turn looks for the end of the line again, which costs as much as some hundreds of keys. */
#define TURN_KEYS 1024

/* A classic get. Goes on where it stopped when it had to wait in the middle. */
static enum run run_keys(struct session *session, const struct request *request)
{
    if (request->keys.len == 0) { /* one key, as nearly always */
        enum run run = get_key(session, request, request->key);
        return run == RUN_DONE ? reply_end(session, text_line(session->out, "END")) : run;
    }
    const uint8_t *end = request->keys.bytes + request->keys.len;
    struct slice all = slice_of(request->key.bytes, (size_t)(end - request->key.bytes));
    struct slice rest = slice_from(all, session->get_offset), key;
    struct slice before = rest;
    for (unsigned keys = 0; text_next_key(&rest, &key); keys++) {
        if (net_out_full(session->conn) || keys == TURN_KEYS)
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
    return table_key(session, request, &key) ? get_key(session, request, key)
                                             : refuse_key(session, request);
}

/* A mutation goes to the cart when its key is one, else to the plain items. */
static enum run run_mutation(struct session *session, const struct request *request,
                             enum run (*plain)(struct session *, const struct request *,
                                               struct slice key))
{
    struct cart_key parsed;
    struct slice key;
    if (!table_key(session, request, &key))
        return refuse_key(session, request);
    enum cart_key_kind kind = cart_key_parse(session->worker, key, &parsed);
    session->rescues = parsed.bucket && parsed.bucket->rescue;
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
    count(&session->worker->cmd_meta); /* memcached counts no other */
    if (!table_key(session, request, &key))
        return refuse_key(session, request);
    if (cart_key_parse(session->worker, key, &parsed) != KEY_PLAIN)
        return reply_miss(session, request);
    return plain_debug(session, request, key);
}

static enum run run_flush_all(struct session *session, const struct request *request)
{
    count(&session->worker->cmd_flush);
    if (session->cmd->config.flush_all_refused)
        return admin_refuse_flush(session, request);
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

/* clang-format off */
static const struct row {
    enum run (*run)(struct session *, const struct request *);
    enum guard_right right;
} rows[VERB_COUNT_] = {
    [VERB_GET] = {run_get, GUARD_READ},
    [VERB_GETS] = {run_get, GUARD_READ},
    [VERB_GAT] = {run_get, GUARD_READ},
    [VERB_GATS] = {run_get, GUARD_READ},
    [VERB_SET] = {run_store, GUARD_WRITE},
    [VERB_ADD] = {run_store, GUARD_WRITE},
    [VERB_REPLACE] = {run_store, GUARD_WRITE},
    [VERB_APPEND] = {run_store, GUARD_WRITE},
    [VERB_PREPEND] = {run_store, GUARD_WRITE},
    [VERB_CAS] = {run_store, GUARD_WRITE},
    [VERB_DELETE] = {run_delete, GUARD_WRITE},
    [VERB_INCR] = {run_arith, GUARD_WRITE},
    [VERB_DECR] = {run_arith, GUARD_WRITE},
    [VERB_TOUCH] = {run_touch, GUARD_WRITE},
    [VERB_FLUSH_ALL] = {run_flush_all, GUARD_ADMIN},
    [VERB_VERSION] = {run_version, GUARD_OPEN},
    [VERB_STATS] = {stats_run, GUARD_KNOWN},
    [VERB_VERBOSITY] = {run_verbosity, GUARD_ADMIN},
    [VERB_QUIT] = {run_quit, GUARD_OPEN},
    [VERB_CACHE_MEMLIMIT] = {admin_run, GUARD_ADMIN},
    [VERB_SHUTDOWN] = {admin_run, GUARD_ADMIN},
    [VERB_LRU_CRAWLER] = {admin_run, GUARD_ADMIN},
    [VERB_LRU] = {admin_run, GUARD_ADMIN},
    [VERB_SLABS] = {admin_run, GUARD_ADMIN},
    [VERB_WATCH] = {admin_run, GUARD_ADMIN},
    [VERB_REFRESH_CERTS] = {admin_run, GUARD_ADMIN},
    [VERB_CWAIT] = {operate_wait, GUARD_READ},
    [VERB_TIERS] = {operate_tiers, GUARD_ADMIN},
    [VERB_CADD] = {cart_command_run, GUARD_WRITE},
    [VERB_CSET] = {cart_command_run, GUARD_WRITE},
    [VERB_CREM] = {cart_command_run, GUARD_WRITE},
    [VERB_CCHK] = {cart_command_run, GUARD_WRITE},
    [VERB_CSWP] = {cart_command_run, GUARD_WRITE},
    [VERB_CCLR] = {cart_command_run, GUARD_WRITE},
    [VERB_CMRG] = {cart_command_run, GUARD_WRITE},
    [VERB_CBAT] = {cart_command_run, GUARD_WRITE},
    [VERB_CGET] = {cart_command_run, GUARD_READ},
    [VERB_CHST] = {cart_command_run, GUARD_READ},
    [VERB_CDEL] = {cart_command_run, GUARD_WRITE},
    [VERB_MN] = {run_meta_noop, GUARD_KNOWN},
    [VERB_MG] = {run_get, GUARD_READ},
    [VERB_MS] = {run_store, GUARD_WRITE},
    [VERB_MD] = {run_delete, GUARD_WRITE},
    [VERB_MA] = {run_arith, GUARD_WRITE},
    [VERB_ME] = {run_meta_debug, GUARD_READ},
    [VERB_NOOP] = {run_noop, GUARD_KNOWN},
    [VERB_SASL_LIST] = {auth_sasl, GUARD_OPEN},
    [VERB_SASL_AUTH] = {auth_sasl, GUARD_OPEN},
    [VERB_SASL_STEP] = {auth_sasl, GUARD_OPEN},
};
/* clang-format on */

enum run table_run(struct session *session, const struct request *request)
{
    enum run run;
    MUST(request->verb < VERB_COUNT_ && rows[request->verb].run);
    if (!auth_admits(session, request, rows[request->verb].right, &run))
        return run;
    session->is_whole = false;
    run = rows[request->verb].run(session, request);
    bool tells = rows[request->verb].right == GUARD_WRITE || request->verb == VERB_CGET;
    if (session->seen && tells && !session->is_whole && run == RUN_DONE)
        rescue_changed(session, request);
    return run;
}
