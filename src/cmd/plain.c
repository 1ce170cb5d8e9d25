/* plain: requests on plain items, of all three ways of asking, as calls of item.h. */
#include "cmd/cmd_int.h"

/* What is made without an end has that of its bucket, if it has one. */
static int64_t life_or(struct session *session, struct slice key, int64_t exptime)
{
    size_t prefix_bytes;
    const struct cmd_bucket *bucket =
        exptime ? NULL : buckets_find(session->cmd, key, &prefix_bytes);
    return bucket ? clock_exptime_of(session->cmd, bucket->life_us) : exptime;
}

static int64_t vivified_life(struct session *session, const struct request *request,
                             struct slice key)
{
    return request->vivify ? life_or(session, key, request->vivify_exptime) : 0;
}

/* ---- get ---- */

struct emit_to {
    struct session *session;
    const struct request *request;
    struct slice key;
};

/* Does the client know the value behind it, or its cas? */
static bool tells_value(const struct request *request)
{
    return request->verb != VERB_MG || has_meta(request, 'v') || has_meta(request, 'c');
}

/* Under the stripe's lock: told to the rescue behind it. */
static void note_value(struct session *session, const struct item_view *view, struct slice value)
{
    struct buf *theirs = &session->worker->theirs;
    theirs->len = 0;
    session->told_cas = view->cas;
    if (value.len <= RESCUE_BYTES_MAX && buf_append(theirs, value.bytes, value.len))
        theirs->len = 0; /* no memory: a later set of it is not merged */
}

static int emit_value(void *ctx, const struct item_view *view, struct slice value)
{
    const struct emit_to *to = ctx;
    if (to->session->rescues && tells_value(to->request))
        note_value(to->session, view, value);
    return reply_value(to->session, to->request, to->key, view, value);
}

/* As memcached: what touches is a touch and no get; a miss of mg with T is a get. */
static void count_get(struct cmd_worker *worker, const struct request *request, bool hit)
{
    bool gat = request->verb == VERB_GAT || request->verb == VERB_GATS;
    if (gat || (hit && has_meta(request, 'T'))) {
        count(&worker->cmd_touch);
        count(hit ? &worker->touch_hits : &worker->touch_misses);
    } else {
        count(&worker->cmd_get);
        count(hit ? &worker->get_hits : &worker->get_misses);
    }
}

enum run plain_get(struct session *session, const struct request *request, struct slice key)
{
    bool gat = request->verb == VERB_GAT || request->verb == VERB_GATS;
    struct emit_to to = {.session = session, .request = request, .key = key};
    struct item_get get = {.key = key,
                           .touch = gat || has_meta(request, 'T'),
                           .exptime = request->exptime,
                           .vivify = request->vivify,
                           .vivify_exptime = vivified_life(session, request, key),
                           .recache = has_meta(request, 'R'),
                           .recache_exptime = request->meta.recache,
                           .wins = request->verb == VERB_MG,
                           .vivify_last = meta_before(&request->meta, 'T', 'N'),
                           .recache_sees_touch = meta_before(&request->meta, 'T', 'R'),
                           .quiet = has_meta(request, 'u'),
                           .has_new_cas = has_meta(request, 'E'),
                           .new_cas = request->meta.new_cas};
    int emitted = 0;
    int code = item_get(session, &get, emit_value, &to, &emitted);
    count_get(session->worker, request, code == 0);
    if (session->rescues && code == 0 && tells_value(request))
        rescue_told(session, key, session->told_cas, buf_slice(&session->worker->theirs));
    else if (session->rescues && code == CE_NOTFOUND)
        rescue_told_nothing(session, key);
    if (code == CE_NOTFOUND)
        return reply_miss(session, request);
    return code ? reply_error(session, request, code) : reply_end(session, emitted);
}

static int emit_debug(void *ctx, const struct item_view *view, struct slice value)
{
    const struct emit_to *to = ctx;
    struct meta_debug debug = {.ttl_s = view->ttl_s,
                               .idle_s = view->idle_s,
                               .cas = view->cas,
                               .size = value.len,
                               .fetched = view->fetched};
    return meta_debug(to->session->out, to->request, &debug);
}

enum run plain_debug(struct session *session, const struct request *request, struct slice key)
{
    struct emit_to to = {.session = session, .request = request, .key = key};
    struct item_get get = {.key = key, .quiet = true};
    int emitted = 0;
    if (item_get(session, &get, emit_debug, &to, &emitted))
        return reply_miss(session, request);
    return reply_end(session, emitted);
}

/* ---- storage ---- */

static enum item_mode mode_of(const struct request *request)
{
    switch (request->verb) {
    case VERB_ADD: return ITEM_ADD;
    case VERB_REPLACE: return ITEM_REPLACE;
    case VERB_APPEND: return ITEM_APPEND;
    case VERB_PREPEND: return ITEM_PREPEND;
    case VERB_MS: break;
    default: return ITEM_SET;
    }
    switch (request->meta.mode) {
    case 'E': return ITEM_ADD;
    case 'R': return ITEM_REPLACE;
    case 'A': return ITEM_APPEND;
    case 'P': return ITEM_PREPEND;
    default: return ITEM_SET;
    }
}

enum run plain_store(struct session *session, const struct request *request, struct slice key)
{
    struct item_view view;
    struct item_put put = {.key = key,
                           .value = request->value,
                           .mode = mode_of(request),
                           .flags = request->flags,
                           .exptime = life_or(session, key, request->exptime),
                           .vivify = request->vivify,
                           .vivify_exptime = vivified_life(session, request, key),
                           .has_cas = has_condition(request),
                           .cas = request->cas,
                           .invalidate = has_meta(request, 'I'),
                           .has_new_cas = has_meta(request, 'E'),
                           .new_cas = request->meta.new_cas};
    int code = session->rescues ? rescue_put(session, request, &put, &view)
                                : item_put(session, &put, &view);
    if (code == CE_STORE_NOMEM)
        count(&session->worker->store_no_memory);
    return reply_code(session, request, VERDICT_STORED, code, &view);
}

/* ---- delete, touch ---- */

/* As memcached: an item that stays is no hit, and a cas that differs is a miss of md. */
static void count_delete(struct cmd_worker *worker, const struct request *request, int code)
{
    bool stays = has_meta(request, 'I') || has_meta(request, 'x');
    if (code == CE_NOTFOUND || (code == CE_EXISTS && request->verb == VERB_MD))
        count(&worker->delete_misses);
    else if (code == 0 && !stays)
        count(&worker->delete_hits);
}

enum run plain_delete(struct session *session, const struct request *request, struct slice key)
{
    struct item_delete del = {.key = key,
                              .has_cas = has_condition(request),
                              .cas = request->cas,
                              .invalidate = has_meta(request, 'I'),
                              .drop_value = has_meta(request, 'x'),
                              .flags = request->flags,
                              .touch = has_meta(request, 'T'),
                              .exptime = request->exptime,
                              .has_new_cas = has_meta(request, 'E'),
                              .new_cas = request->meta.new_cas};
    int code = item_delete(session, &del);
    count_delete(session->worker, request, code);
    return reply_code(session, request, VERDICT_DELETED, code, NULL);
}

static int emit_touched(void *ctx, const struct item_view *view, struct slice value)
{
    const struct emit_to *to = ctx;
    (void)value;
    return reply_verdict(to->session, to->request, VERDICT_TOUCHED, view) == RUN_DONE ? 0
                                                                                      : CE_NOMEM;
}

enum run plain_touch(struct session *session, const struct request *request, struct slice key)
{
    struct emit_to to = {.session = session, .request = request, .key = key};
    struct item_get get = {.key = key, .touch = true, .exptime = request->exptime};
    int emitted = 0;
    int code = item_get(session, &get, emit_touched, &to, &emitted);
    count(code ? &session->worker->touch_misses : &session->worker->touch_hits);
    if (code && request->binary.is)
        return reply_miss(session, request);
    return code ? reply_code(session, request, VERDICT_TOUCHED, code, NULL)
                : reply_end(session, emitted);
}

/* ---- incr, decr ---- */

enum run plain_arith(struct session *session, const struct request *request, struct slice key)
{
    struct cmd_worker *worker = session->worker;
    struct item_view view;
    uint64_t value = 0;
    struct item_arith arith = {
        .key = key,
        .incr =
            request->verb == VERB_INCR || (request->verb == VERB_MA && request->meta.mode == 'I'),
        .delta = request->delta,
        .has_cas = has_condition(request) && request->cas != 0, /* ma C0: no condition */
        .cas = request->cas,
        .vivify = request->vivify,
        .initial = request->initial,
        .vivify_exptime = vivified_life(session, request, key),
        .touch = has_meta(request, 'T'),
        .vivify_last = meta_before(&request->meta, 'T', 'N'),
        .exptime = request->exptime,
        .has_new_cas = has_meta(request, 'E'),
        .new_cas = request->meta.new_cas,
    };
    int code = item_arith(session, &arith, &view, &value);
    if (code == CE_NOTFOUND)
        count(arith.incr ? &worker->incr_misses : &worker->decr_misses);
    else if (code == 0 && !view.created)
        count(arith.incr ? &worker->incr_hits : &worker->decr_hits);
    if (code)
        return reply_code(session, request, VERDICT_OK, code, &view);
    return reply_number(session, request, value, &view);
}
