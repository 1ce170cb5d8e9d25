/* cart_path: carts for clients that speak only memcached (cart-protocol section 2). A cart reads as
 * its JSON document, a line as its JSON object, `/qty` as digits; storage commands write them. */
#include "cmd/cmd_int.h"

/* ---- reading ---- */

/* What a get of a path shows. */
struct path_read {
    struct cart_read read;
    struct session *session;
    enum cart_key_kind kind;
    struct slice line;
    struct cart_summary summary;
    uint64_t now_us;
    uint64_t known_cas; /* of a rescue: the cas that the client knows */
};

/* Into worker->text. */
static int render(struct cart_read *read, struct slice state, const struct cart_summary *summary,
                  uint64_t now_us)
{
    struct path_read *path = (struct path_read *)read;
    struct buf *text = &path->session->worker->text;
    struct cart_line line;
    char digits[NUM_DIGITS_MAX];
    text->len = 0;
    path->summary = *summary;
    path->now_us = now_us;
    if (!summary->exists)
        return CE_NOTFOUND;
    if (path->kind == KEY_CART)
        return cart_json(state, now_us, read->key, CART_JSON_ALL, text);
    int rc = cart_line_find(state, now_us, path->line, &line);
    if (rc)
        return rc;
    if (path->kind == KEY_LINE)
        return cart_line_json(&line, text);
    return buf_append(text, digits, num_put_i64(digits, line.qty));
}

static struct item_view view_of(const struct cart_summary *summary, uint64_t now_us, size_t size)
{
    struct item_view view = {.cas = summary->cas, .size = size, .ttl_s = -1};
    if (summary->expiry_us)
        view.ttl_s =
            summary->expiry_us > now_us ? (int64_t)((summary->expiry_us - now_us) / 1000000) : 0;
    view.ttl_was_s = view.ttl_s;
    return view;
}

static void set_life(const struct session *session, const struct request *request,
                     struct cart_step *step)
{
    step->life_us = clock_life_us(session->cmd, request->exptime);
    step->life = step->life_us ? CART_LIFE_FIXED : CART_LIFE_NONE;
}

/* gat, and mg with T: a new life, then the value. */
static enum run touch_first(struct session *session, const struct request *request,
                            const struct cart_key *parsed, int *code)
{
    struct cart_op op = {.kind = CART_TOUCH};
    struct cart_write write = {.key = parsed->cart,
                               .bucket = parsed->bucket,
                               .step = {.ops = &op, .ops_count = 1},
                               .level = parsed->bucket->ack,
                               .must_exist = true};
    set_life(session, request, &write.step);
    return cart_write_run(session, &write, code);
}

static bool touches(const struct request *request)
{
    return request->verb == VERB_GAT || request->verb == VERB_GATS || has_meta(request, 'T');
}

enum run path_get(struct session *session, const struct request *request, struct slice key,
                  enum cart_key_kind kind, const struct cart_key *parsed)
{
    struct path_read path = {.read = {.key = parsed->cart, .look = render},
                             .session = session,
                             .kind = kind,
                             .line = parsed->line};
    int code = 0;
    enum run run = RUN_DONE;
    if (kind == KEY_BAD)
        code = CE_NOTFOUND;
    else if (touches(request))
        run = touch_first(session, request, parsed, &code);
    if (run == RUN_DONE && code == 0)
        run = cart_read_run(session, &path.read, &code);
    if (run != RUN_DONE)
        return run;
    if (code == CE_NOTFOUND) {
        if (session->rescues && kind == KEY_CART)
            rescue_told_nothing(session, parsed->cart);
        count(&session->worker->get_misses);
        return reply_miss(session, request);
    }
    if (code)
        return reply_error(session, request, code);
    count(&session->worker->get_hits);
    struct slice text = buf_slice(&session->worker->text);
    struct item_view view = view_of(&path.summary, path.now_us, text.len);
    if (session->rescues && kind == KEY_CART)
        rescue_told(session, parsed->cart, path.summary.cas, text);
    return reply_end(session, reply_value(session, request, key, &view, text));
}

/* ---- writing ---- */

/* What an operation on a path becomes, and what its outcomes are called. */
struct path_op {
    struct cart_write write;
    enum verdict done;
    int exists, not_found; /* the codes that CE_EXISTS and CE_NOTFOUND are told as */
    bool number;           /* the answer is the quantity of the line */
    uint64_t told_cas;     /* instead of the cart's cas; 0 = that */
};

static int parse_value(struct session *session, const struct request *request,
                       enum cart_key_kind kind, const struct cart_key *parsed, struct path_op *op)
{
    struct cmd_worker *worker = session->worker;
    struct cart_step *step = &op->write.step;
    worker->text.len = 0;
    if (kind == KEY_CART)
        return cart_doc_parse(request->value, step->ops, &step->ops_count, step->currency,
                              &worker->text);
    step->ops_count = 1;
    memset(step->ops, 0, sizeof *step->ops);
    int rc = cart_line_parse(request->value, step->ops, step->currency, &worker->text);
    step->ops->line = parsed->line;
    return rc;
}

/* cas, C, and the cas of a binary request. */
static void set_condition(const struct request *request, struct path_op *op)
{
    if (!has_condition(request))
        return;
    op->write.step.has_if_cas = true;
    op->write.step.if_cas = request->cas;
    op->write.must_exist = true;
    op->exists = CE_EXISTS;
    op->not_found = CE_NOTFOUND;
}

/* add and replace differ from set only in what must be so beforehand. */
static void set_mode(const struct request *request, enum cart_key_kind kind, struct path_op *op)
{
    struct cart_step *step = &op->write.step;
    bool add = request->verb == VERB_ADD || (request->verb == VERB_MS && request->meta.mode == 'E');
    bool replace =
        request->verb == VERB_REPLACE || (request->verb == VERB_MS && request->meta.mode == 'R');
    if (add && kind == KEY_CART) {
        step->has_if_cas = true;
        step->if_cas = 0; /* only if there is no cart */
    } else if (replace && kind == KEY_CART) {
        op->write.must_exist = true;
    } else if (add || replace) {
        step->ops->flags |= add ? CART_OP_IF_ABSENT : CART_OP_IF_PRESENT;
    }
}

static bool joins(const struct request *request)
{
    return request->verb == VERB_APPEND || request->verb == VERB_PREPEND ||
           (request->verb == VERB_MS && (request->meta.mode == 'A' || request->meta.mode == 'P'));
}

static int prepare_store(struct session *session, const struct request *request,
                         enum cart_key_kind kind, const struct cart_key *parsed, struct path_op *op)
{
    if (joins(request))
        return CE_CART_VALUE;
    int rc = parse_value(session, request, kind, parsed, op);
    if (rc)
        return rc;
    op->done = VERDICT_STORED;
    op->exists = op->not_found = CE_NOT_STORED;
    set_mode(request, kind, op);
    set_condition(request, op);
    if (request->exptime)
        set_life(session, request, &op->write.step);
    return 0;
}

static int prepare_delete(struct session *session, const struct request *request,
                          enum cart_key_kind kind, const struct cart_key *parsed,
                          struct path_op *op)
{
    (void)session;
    if (kind == KEY_QTY)
        return CE_BAD_LINE;
    if (has_meta(request, 'I') || has_meta(request, 'x'))
        return CE_CART_VALUE; /* a cart is never stale */
    *op->write.step.ops = (struct cart_op){.kind = kind == KEY_CART ? CART_FORGET : CART_REMOVE,
                                           .flags = kind == KEY_CART ? 0 : CART_OP_IF_PRESENT,
                                           .line = parsed->line};
    op->write.must_exist = true;
    op->write.stays = kind == KEY_CART;
    op->done = VERDICT_DELETED;
    set_condition(request, op);
    return 0;
}

static bool is_incr(const struct request *request)
{
    return request->verb == VERB_INCR || (request->verb == VERB_MA && request->meta.mode == 'I');
}

static int prepare_arith(struct session *session, const struct request *request,
                         enum cart_key_kind kind, const struct cart_key *parsed, struct path_op *op)
{
    if (kind != KEY_QTY)
        return CE_NON_NUMERIC;
    bool incr = is_incr(request);
    if (incr && request->delta > INT32_MAX)
        return CE_BAD_QTY;
    /* More than any line can hold takes the line away, whatever the number. */
    int64_t n = request->delta > INT32_MAX ? INT32_MAX : (int64_t)request->delta;
    *op->write.step.ops = (struct cart_op){
        .kind = CART_ADD, .flags = CART_OP_IF_PRESENT, .n = incr ? n : -n, .line = parsed->line};
    op->write.must_exist = true;
    op->number = true;
    set_condition(request, op);
    if (has_meta(request, 'T'))
        set_life(session, request, &op->write.step);
    return 0;
}

/* A missing line that the request wants made: with the initial quantity. */
static enum run vivify(struct session *session, const struct request *request, struct path_op *op,
                       int *code)
{
    struct cart_op *line = op->write.step.ops;
    if (request->initial > INT32_MAX) {
        *code = CE_BAD_QTY;
        return RUN_DONE;
    }
    line->kind = CART_SET;
    line->flags = CART_OP_IF_ABSENT;
    line->n = (int64_t)request->initial;
    op->write.must_exist = false;
    return cart_write_run(session, &op->write, code);
}

static int prepare_touch(struct session *session, const struct request *request, struct path_op *op)
{
    *op->write.step.ops = (struct cart_op){.kind = CART_TOUCH};
    set_life(session, request, &op->write.step);
    op->write.must_exist = true;
    op->done = VERDICT_TOUCHED;
    return 0;
}

static int prepare(struct session *session, const struct request *request, enum cart_key_kind kind,
                   const struct cart_key *parsed, struct path_op *op)
{
    if (kind == KEY_BAD)
        return CE_BAD_LINE;
    switch (request->verb) {
    case VERB_MD:
    case VERB_DELETE: return prepare_delete(session, request, kind, parsed, op);
    case VERB_MA:
    case VERB_INCR:
    case VERB_DECR: return prepare_arith(session, request, kind, parsed, op);
    case VERB_TOUCH: return prepare_touch(session, request, op);
    default: return prepare_store(session, request, kind, parsed, op);
    }
}

static void count_path(struct cmd_worker *worker, const struct request *request, int code)
{
    bool hit = code == 0;
    switch (request->verb) {
    case VERB_MD:
    case VERB_DELETE: count(hit ? &worker->delete_hits : &worker->delete_misses); break;
    case VERB_INCR: count(hit ? &worker->incr_hits : &worker->incr_misses); break;
    case VERB_DECR: count(hit ? &worker->decr_hits : &worker->decr_misses); break;
    case VERB_TOUCH: count(hit ? &worker->touch_hits : &worker->touch_misses); break;
    case VERB_CAS:
        count(hit                 ? &worker->cas_hits
              : code == CE_EXISTS ? &worker->cas_badval
                                  : &worker->cas_misses);
        break;
    default: break;
    }
}

static enum run answer(struct session *session, const struct request *request,
                       const struct path_op *op, int code)
{
    const struct cart_result *result = &op->write.result;
    struct item_view view = view_of(&result->summary, op->write.step.now_us, 0);
    if (op->told_cas)
        view.cas = op->told_cas;
    count_path(session->worker, request, code);
    if (code == CE_EXISTS)
        code = op->exists;
    else if (code == CE_NOTFOUND)
        code = op->not_found;
    if (code || !op->number)
        return reply_code(session, request, op->done, code, &view);
    return reply_number(session, request, result->line_qty > 0 ? (uint64_t)result->line_qty : 0,
                        &view);
}

/* With `if_cas`: only if that is the cart's cas. */
static enum run write_once(struct session *session, const struct request *request,
                           enum cart_key_kind kind, const struct cart_key *parsed,
                           const uint64_t *if_cas, struct path_op *op, int *code)
{
    *op = (struct path_op){.write = {.key = parsed->cart,
                                     .bucket = parsed->bucket,
                                     .level = parsed->bucket->ack,
                                     .step = {.ops = session->worker->ops, .ops_count = 1}},
                           .exists = CE_EXISTS,
                           .not_found = CE_NOTFOUND};
    *code = prepare(session, request, kind, parsed, op);
    if (*code)
        return RUN_DONE;
    if (if_cas) {
        op->write.step.has_if_cas = true;
        op->write.step.if_cas = *if_cas;
    }
    enum run run = cart_write_run(session, &op->write, code);
    if (run == RUN_DONE && *code == CE_NOTFOUND && op->number && request->vivify)
        run = vivify(session, request, op, code);
    return run;
}

/* ---- rescue: a document is merged with the cart of now ---- */

static bool is_rescue(const struct session *session, const struct request *request,
                      enum cart_key_kind kind)
{
    if (!session->rescues || kind != KEY_CART || has_meta(request, 'I') || has_meta(request, 'E'))
        return false;
    switch (request->verb) {
    case VERB_SET:
    case VERB_REPLACE:
    case VERB_CAS: return true;
    case VERB_MS: return !joins(request) && request->meta.mode != 'E';
    default: return false;
    }
}

/* Renders the cart only when it is another one than the client knows. */
static int render_other(struct cart_read *read, struct slice state,
                        const struct cart_summary *summary, uint64_t now_us)
{
    struct path_read *path = (struct path_read *)read;
    if (!summary->exists || summary->cas != path->known_cas)
        return render(read, state, summary, now_us);
    path->summary = *summary;
    return 0;
}

/* What is to be written, and over which cas (*is_bound). */
static enum run merge_document(struct session *session, const struct request *request,
                               const struct cart_key *parsed, struct rescue_try *try,
                               struct slice *value, uint64_t *if_cas, bool *is_bound, int *code)
{
    struct cmd_worker *worker = session->worker;
    struct path_read path = {.read = {.key = parsed->cart, .look = render_other},
                             .session = session,
                             .kind = KEY_CART,
                             .known_cas = try->base_cas};
    enum run run = cart_read_run(session, &path.read, code);
    bool is_new = *code == CE_NOTFOUND;
    if (run != RUN_DONE || (*code && !is_new))
        return run;
    *code = 0;
    *value = request->value;
    *if_cas = is_new ? 0 : path.summary.cas;
    *is_bound = !is_new || !has_condition(request);
    if (is_new || path.summary.cas == try->base_cas)
        return RUN_DONE;
    *code = rescue_value(session, parsed->cart, try, *value, buf_slice(&worker->text));
    if (*code == 0)
        *value = buf_slice(&worker->merged);
    if (*code == CE_BAD_DOC)
        *code = 0, *is_bound = false;
    return RUN_DONE;
}

static enum run write_rescued(struct session *session, const struct request *request,
                              const struct cart_key *parsed, struct path_op *op, int *code)
{
    struct request now = *request;
    struct rescue_try try;
    session->is_whole = true;
    enum run run = RUN_DONE;
    if (!rescue_knows(session, request, parsed->cart, &try)) {
        run = write_once(session, request, KEY_CART, parsed, NULL, op, code);
    } else {
        bool is_bound = true;
        uint64_t if_cas;
        *code = CE_EXISTS;
        for (unsigned i = 0; *code == CE_EXISTS && is_bound && i < RESCUE_TRIES_MAX; i++) {
            run = merge_document(session, request, parsed, &try, &now.value, &if_cas, &is_bound,
                                 code);
            if (run == RUN_DONE && *code == 0)
                run = write_once(session, &now, KEY_CART, parsed, is_bound ? &if_cas : NULL, op,
                                 code);
            if (run != RUN_DONE)
                return run;
        }
        if (*code == CE_EXISTS && is_bound)
            *code = CE_BUSY;
    }
    if (run == RUN_DONE && *code == 0)
        op->told_cas = rescue_stored(session, parsed->cart, &try, request->value,
                                     op->write.result.summary.cas);
    return run;
}

enum run path_write(struct session *session, const struct request *request, enum cart_key_kind kind,
                    const struct cart_key *parsed)
{
    struct path_op op = {0};
    size_t start = session->out->len;
    int code;
    enum run run = is_rescue(session, request, kind)
                       ? write_rescued(session, request, parsed, &op, &code)
                       : write_once(session, request, kind, parsed, NULL, &op, &code);
    if (run != RUN_DONE)
        return run;
    run = answer(session, request, &op, code);
    if (run != RUN_DONE || code)
        return run;
    return session_hold(session, start, op.write.lsn, op.write.level);
}
