/* cart_path: carts for clients that speak only memcached (cart-protocol section 2). A cart reads as
 * its JSON document, a line as its JSON object, `/qty` as digits; storage commands write them. */
#include "cmd/cmd_int.h"

/* ---- reading ---- */

static int render(struct session *session, struct slice state, uint64_t now_us,
                  enum cart_key_kind kind, const struct cart_key *parsed)
{
    struct buf *text = &session->worker->text;
    struct cart_line line;
    char digits[NUM_DIGITS_MAX];
    text->len = 0;
    if (kind == KEY_CART)
        return cart_json(state, now_us, parsed->cart, CART_JSON_ALL, text);
    int rc = cart_line_find(state, now_us, parsed->line, &line);
    if (rc)
        return rc;
    if (kind == KEY_LINE)
        return cart_line_json(&line, text);
    return buf_append(text, digits, num_put_i64(digits, line.qty));
}

/* gat: a new life, then the value. */
static enum run touch_first(struct session *session, const struct request *request,
                            const struct cart_key *parsed, int *code)
{
    struct cart_op op = {.kind = CART_TOUCH};
    struct cart_write write = {.key = parsed->cart,
                               .step = {.ops = &op, .ops_count = 1},
                               .level = session->cmd->config.bucket.ack,
                               .must_exist = true};
    write.step.life_us = clock_life_us(session->cmd, request->exptime);
    write.step.life = write.step.life_us ? CART_LIFE_FIXED : CART_LIFE_NONE;
    return cart_write_run(session, &write, code);
}

enum run path_get(struct session *session, const struct request *request, struct slice key,
                  enum cart_key_kind kind, const struct cart_key *parsed)
{
    bool with_cas = request->verb == VERB_GETS || request->verb == VERB_GATS;
    struct slice state;
    struct cart_summary summary;
    int code = 0;
    enum run run = RUN_DONE;
    if (kind != KEY_BAD && (request->verb == VERB_GAT || request->verb == VERB_GATS))
        run = touch_first(session, request, parsed, &code);
    if (run == RUN_DONE && kind != KEY_BAD && (code == 0 || code == CE_NOTFOUND))
        run = cart_read_state(session, parsed->cart, &state, &code);
    if (run != RUN_DONE)
        return run;
    if (code)
        return reply_error(session, request, code);
    uint64_t now_us = env_wall_us(session->cmd->config.env);
    if (kind != KEY_BAD)
        cart_summary(state, now_us, &summary);
    if (kind == KEY_BAD || !summary.exists ||
        (code = render(session, state, now_us, kind, parsed)) == CE_NOTFOUND) {
        count(&session->worker->get_misses);
        return RUN_DONE;
    }
    count(&session->worker->get_hits);
    if (code)
        return reply_error(session, request, code);
    return reply_end(session, text_value(session->out, key, 0, buf_slice(&session->worker->text),
                                         with_cas, summary.cas));
}

/* ---- writing ---- */

/* What an operation on a path becomes, and what each outcome is called in memcached's words. */
struct path_op {
    struct cart_write write;
    const char *done;      /* NULL: the quantity of the line */
    const char *exists;    /* for CE_EXISTS */
    const char *not_found; /* for CE_NOTFOUND */
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

/* add, replace and cas differ from set only in what must be so beforehand. */
static void set_condition(const struct request *request, enum cart_key_kind kind,
                          struct path_op *op)
{
    struct cart_step *step = &op->write.step;
    op->done = "STORED";
    op->exists = op->not_found = "NOT_STORED";
    if (request->verb == VERB_CAS) {
        step->has_if_cas = true;
        step->if_cas = request->cas;
        op->write.must_exist = true;
        op->exists = "EXISTS";
        op->not_found = "NOT_FOUND";
    } else if (request->verb == VERB_ADD && kind == KEY_CART) {
        step->has_if_cas = true;
        step->if_cas = 0; /* only if there is no cart */
    } else if (request->verb == VERB_REPLACE && kind == KEY_CART) {
        op->write.must_exist = true;
    } else if (request->verb == VERB_ADD) {
        step->ops->flags |= CART_OP_IF_ABSENT;
    } else if (request->verb == VERB_REPLACE) {
        step->ops->flags |= CART_OP_IF_PRESENT;
    }
}

static int prepare_store(struct session *session, const struct request *request,
                         enum cart_key_kind kind, const struct cart_key *parsed, struct path_op *op)
{
    if (request->verb == VERB_APPEND || request->verb == VERB_PREPEND)
        return CE_CART_VALUE;
    int rc = parse_value(session, request, kind, parsed, op);
    if (rc)
        return rc;
    set_condition(request, kind, op);
    if (request->exptime) {
        op->write.step.life = CART_LIFE_FIXED;
        op->write.step.life_us = clock_life_us(session->cmd, request->exptime);
    }
    return 0;
}

static int prepare_delete(struct session *session, const struct request *request,
                          enum cart_key_kind kind, const struct cart_key *parsed,
                          struct path_op *op)
{
    (void)session, (void)request;
    if (kind == KEY_QTY)
        return CE_BAD_LINE;
    *op->write.step.ops = (struct cart_op){.kind = kind == KEY_CART ? CART_FORGET : CART_REMOVE,
                                           .flags = kind == KEY_CART ? 0 : CART_OP_IF_PRESENT,
                                           .line = parsed->line};
    op->write.must_exist = true;
    op->done = "DELETED";
    op->not_found = "NOT_FOUND";
    return 0;
}

static int prepare_arith(struct session *session, const struct request *request,
                         enum cart_key_kind kind, const struct cart_key *parsed, struct path_op *op)
{
    (void)session;
    if (kind != KEY_QTY)
        return CE_NON_NUMERIC;
    bool incr = request->verb == VERB_INCR;
    if (incr && request->delta > INT32_MAX)
        return CE_BAD_QTY;
    /* More than any line can hold takes the line away, whatever the number. */
    int64_t n = request->delta > INT32_MAX ? INT32_MAX : (int64_t)request->delta;
    *op->write.step.ops = (struct cart_op){
        .kind = CART_ADD, .flags = CART_OP_IF_PRESENT, .n = incr ? n : -n, .line = parsed->line};
    op->write.must_exist = true;
    op->not_found = "NOT_FOUND";
    return 0;
}

static int prepare_touch(struct session *session, const struct request *request,
                         enum cart_key_kind kind, const struct cart_key *parsed, struct path_op *op)
{
    (void)kind, (void)parsed;
    *op->write.step.ops = (struct cart_op){.kind = CART_TOUCH};
    op->write.step.life_us = clock_life_us(session->cmd, request->exptime);
    op->write.step.life = op->write.step.life_us ? CART_LIFE_FIXED : CART_LIFE_NONE;
    op->write.must_exist = true;
    op->done = "TOUCHED";
    op->not_found = "NOT_FOUND";
    return 0;
}

static int prepare(struct session *session, const struct request *request, enum cart_key_kind kind,
                   const struct cart_key *parsed, struct path_op *op)
{
    if (kind == KEY_BAD)
        return CE_BAD_LINE;
    switch (request->verb) {
    case VERB_DELETE: return prepare_delete(session, request, kind, parsed, op);
    case VERB_INCR:
    case VERB_DECR: return prepare_arith(session, request, kind, parsed, op);
    case VERB_TOUCH: return prepare_touch(session, request, kind, parsed, op);
    default: return prepare_store(session, request, kind, parsed, op);
    }
}

static void count_path(struct cmd_worker *worker, const struct request *request, int code)
{
    bool hit = code == 0;
    switch (request->verb) {
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
    count_path(session->worker, request, code);
    if (code == CE_EXISTS && op->exists)
        return reply_line(session, request, op->exists);
    if (code == CE_NOTFOUND && op->not_found)
        return reply_line(session, request, op->not_found);
    if (code)
        return reply_error(session, request, code);
    if (op->done)
        return reply_line(session, request, op->done);
    if (request->noreply)
        return RUN_DONE;
    int64_t qty = op->write.result.line_qty;
    return reply_end(session, text_number(session->out, qty > 0 ? (uint64_t)qty : 0));
}

enum run path_write(struct session *session, const struct request *request, enum cart_key_kind kind,
                    const struct cart_key *parsed)
{
    struct path_op op = {.write = {.key = parsed->cart,
                                   .level = session->cmd->config.bucket.ack,
                                   .step = {.ops = session->worker->ops, .ops_count = 1}}};
    size_t start = session->out->len;
    int code = prepare(session, request, kind, parsed, &op);
    enum run run = code ? RUN_DONE : cart_write_run(session, &op.write, &code);
    if (run != RUN_DONE)
        return run;
    run = answer(session, request, &op, code);
    if (run != RUN_DONE || code)
        return run;
    return session_hold(session, start, op.write.lsn, op.write.level);
}
