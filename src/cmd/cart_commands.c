/* cart_commands: the commands of carts (cart-protocol section 1). */
#include "cmd/cmd_int.h"

static bool has_flag(const struct request *request, char letter)
{
    return (request->cart.seen & proto_flag(letter)) != 0;
}

static void answer_of(const struct cart_summary *summary, struct cart_answer *out)
{
    *out = (struct cart_answer){.version = summary->version,
                                .cas = summary->cas,
                                .lines = summary->lines,
                                .qty = summary->qty,
                                .amount_known = summary->checked_amount_known,
                                .amount = summary->checked_amount};
}

/* A look at the clock, for who asks. */
static uint64_t behind_ms(const struct session *session, const struct request *request)
{
    bool asks = request->binary.is || has_flag(request, 'l');
    return asks ? tier_behind_age_ms(session->cmd->tier) : 0;
}

static int say_status(struct session *session, const char *status, const struct request *request,
                      const struct cart_answer *answer)
{
    return request->binary.is ? binary_cart_status(session->out, status, request, answer)
                              : text_cart_status(session->out, status, request, answer);
}

static int say_value(struct session *session, const struct request *request,
                     const struct cart_answer *answer)
{
    struct slice text = buf_slice(&session->worker->text);
    return request->binary.is ? binary_cart_value(session->out, text, request, answer)
                              : text_cart_value(session->out, text, request, answer);
}

static int say_error(struct session *session, const struct request *request, int code)
{
    return request->binary.is ? binary_error(session->out, code, request)
                              : text_cart_error(session->out, code, request);
}

static enum run refuse(struct session *session, const struct request *request, int code)
{
    return reply_end(session, say_error(session, request, code));
}

/* ---- the key ---- */

static int find_key(struct session *session, const struct request *request, struct cart_key *parsed)
{
    struct slice key;
    if (!table_key(session, request, &key))
        return CE_BAD_CART;
    if (key.len < 1 || key.len > PROTO_KEY_MAX ||
        cart_key_parse(session->worker, key, parsed) != KEY_CART)
        return CE_BAD_CART;
    return 0;
}

/* ---- cget ---- */

struct get {
    struct cart_read read;
    struct buf *text;
    const struct request *request;
    struct cart_answer answer;
    const char *status; /* NULL: the text is the answer */
};

static int look(struct cart_read *read, struct slice state, const struct cart_summary *summary,
                uint64_t now_us)
{
    struct get *get = (struct get *)read;
    const struct request *request = get->request;
    /* Of another cart than the reader's, whose versions are others. */
    bool since = has_flag(request, 'N') && !read->moved;
    bool same = since && request->cart.since_version == summary->version;
    answer_of(summary, &get->answer);
    get->status = !summary->exists ? "EN" : same ? "HD" : NULL;
    if (get->status)
        return 0;
    enum cart_json_scope scope = has_flag(request, 's')   ? CART_JSON_SUMMARY
                                 : has_flag(request, 'c') ? CART_JSON_CHECKED
                                                          : CART_JSON_ALL;
    get->text->len = 0;
    if (since && scope == CART_JSON_ALL)
        return cart_json_since(state, now_us, read->key, request->cart.since_version, get->text);
    return cart_json(state, now_us, read->key, scope, get->text);
}

static enum run run_get(struct session *session, const struct request *request, struct slice key)
{
    struct cmd_worker *worker = session->worker;
    struct get get = {
        .read = {.key = key, .look = look}, .text = &worker->text, .request = request};
    int code;
    enum run run = cart_read_run(session, &get.read, &code);
    if (run != RUN_DONE)
        return run;
    if (code)
        return refuse(session, request, code);
    get.answer.ack = 'r';
    get.answer.behind_ms = behind_ms(session, request);
    get.answer.moved_to = get.read.moved ? get.read.key : slice_of(NULL, 0);
    bool hit = !get.status || get.status[0] == 'H';
    count(hit ? &worker->get_hits : &worker->get_misses);
    if (get.status)
        return reply_end(session, say_status(session, get.status, request, &get.answer));
    return reply_end(session, say_value(session, request, &get.answer));
}

/* ---- mutations ---- */

static bool read_number(const struct request *request, int64_t *n)
{
    *n = request->binary.number;
    return request->binary.is || num_i64(request->number, n);
}

/* What the verbs with operations of their own are, and which of them come with a number. */
static const struct {
    enum cart_op_kind kind;
    bool number;
} op_rows[] = {
    [VERB_CADD - VERB_CADD] = {CART_ADD, true},     [VERB_CSET - VERB_CADD] = {CART_SET, true},
    [VERB_CREM - VERB_CADD] = {CART_REMOVE, false}, [VERB_CCHK - VERB_CADD] = {CART_CHECK, true},
    [VERB_CSWP - VERB_CADD] = {CART_SWAP, false},   [VERB_CCLR - VERB_CADD] = {CART_CLEAR, false},
    [VERB_CMRG - VERB_CADD] = {0, false},           [VERB_CBAT - VERB_CADD] = {0, false},
    [VERB_CGET - VERB_CADD] = {0, false},           [VERB_CDEL - VERB_CADD] = {CART_FORGET, false},
};

static int give_ext(const struct request *request, struct cart_op *op, struct buf *arena)
{
    size_t start = arena->len;
    op->flags |= CART_OP_EXT;
    op->ext = request->cart.ext;
    if (request->binary.is)
        return 0;
    int rc = proto_base64_decode(request->cart.ext_b64, arena);
    op->ext = slice_from(buf_slice(arena), start);
    return rc;
}

/* `arena` has room for the decoded ext: it must not move. */
static int prepare_op(const struct request *request, struct cart_op *op, struct buf *arena)
{
    *op = (struct cart_op){.kind = op_rows[request->verb - VERB_CADD].kind, .line = request->line};
    MUST(op->kind);
    if (op_rows[request->verb - VERB_CADD].number && !read_number(request, &op->n))
        return CE_BAD_QTY;
    if (request->verb == VERB_CSWP)
        op->new_line = request->arg;
    if (request->verb == VERB_CCLR)
        op->n = request->cart.scope;
    if (has_flag(request, 'P')) {
        op->flags |= CART_OP_PRICE;
        op->price = request->cart.price;
    }
    if (has_flag(request, 'G')) {
        op->flags |= CART_OP_SHOP;
        op->shop = request->cart.shop;
    }
    if (has_flag(request, 'L'))
        op->flags |= CART_OP_CLAMP;
    return has_flag(request, 'E') ? give_ext(request, op, arena) : 0;
}

/* All operations of a batch speak of one cart, so of one currency. */
static int give_currency(const struct request *request, struct cart_step *step)
{
    if (!has_flag(request, 'U'))
        return 0;
    if (step->currency[0] && memcmp(step->currency, request->cart.currency, 3) != 0)
        return CE_CURRENCY;
    memcpy(step->currency, request->cart.currency, sizeof step->currency);
    return 0;
}

static int prepare_batch(const struct request *request, struct cart_write *write, struct buf *arena)
{
    struct cart_step *step = &write->step;
    struct slice block = request->value;
    struct request op;
    step->ops_count = 0;
    for (;;) {
        int rc = request->binary.is ? binary_batch_next(&block, &op) : text_batch_next(&block, &op);
        if (rc == CE_NOTFOUND)
            return step->ops_count ? 0 : CE_FORMAT;
        if (rc == 0 && step->ops_count == PROTO_BATCH_OPS_MAX)
            rc = CE_SIZE_LIMIT;
        if (rc == 0 && !step->currency[0])
            write->currency_at = step->ops_count;
        if (rc == 0)
            rc = give_currency(&op, step);
        if (rc == 0)
            rc = prepare_op(&op, &step->ops[step->ops_count], arena);
        if (rc)
            return rc;
        step->ops_count++;
    }
}

static int find_level(const struct cmd_bucket *bucket, const struct request *request,
                      enum ack_level *level)
{
    *level = bucket->ack;
    if (!has_flag(request, 'D'))
        return 0;
    switch (request->cart.ack) {
    case 'r': *level = ACK_RAM; return 0;
    case 'o': *level = ACK_OS; return 0;
    case 's': *level = ACK_SYNC; return 0;
    default: return CE_NOTSAFE; /* quorum: this daemon has no peers */
    }
}

/* What belongs to the step as a whole. */
static int prepare(const struct request *request, struct cart_write *write)
{
    struct cart_step *step = &write->step;
    const struct cart_flags *flags = &request->cart;
    int rc = find_level(write->bucket, request, &write->level);
    write->level_given = has_flag(request, 'D');
    if (rc == 0)
        rc = give_currency(request, step);
    if (rc)
        return rc;
    step->token = has_flag(request, 'I') ? flags->token : slice_of(NULL, 0);
    step->has_if_cas = has_flag(request, 'V');
    step->if_cas = flags->if_cas;
    if (has_flag(request, 'T')) {
        if (flags->life_s > UINT32_MAX)
            return CE_BAD_FLAG;
        step->life = flags->life_s ? CART_LIFE_SLIDING : CART_LIFE_NONE;
        step->life_us = flags->life_s * 1000000;
    }
    return 0;
}

static int prepare_ops(struct session *session, const struct request *request,
                       struct cart_write *write)
{
    struct buf *arena = &session->worker->text;
    arena->len = 0;
    if (buf_reserve(arena, request->value.len + request->cart.ext_b64.len + 1))
        return CE_NOMEM;
    return request->verb == VERB_CBAT ? prepare_batch(request, write, arena)
                                      : prepare_op(request, write->step.ops, arena);
}

static enum run answer(struct session *session, const struct request *request,
                       const struct cart_write *write, const struct cart_pair *pair, int code)
{
    static const uint8_t letters[] = {[ACK_RAM] = 'r', [ACK_OS] = 'o', [ACK_SYNC] = 's'};
    struct cart_answer answer;
    if (code && code != CE_EXISTS && code != CE_NOTFOUND)
        return refuse(session, request, code);
    answer_of(&write->result.summary, &answer);
    answer.line_qty = request->line.len ? write->result.line_qty : 0;
    answer.ack = letters[write->level];
    answer.repeated = write->result.repeated;
    answer.behind_ms = behind_ms(session, request);
    answer.moved_to = write->moved ? write->key : slice_of(NULL, 0);
    answer.skipped = pair ? pair->skipped : 0;
    answer.clamped = pair ? pair->clamped : 0;
    const char *status = code == 0 ? "HD" : code == CE_EXISTS ? "EX" : "NF";
    return reply_end(session, say_status(session, status, request, &answer));
}

uint16_t cart_command_failed_at(const struct cart_write *write, int code)
{
    size_t at = write->result.failed_index;
    if (at == CART_NO_OP && code == CE_CURRENCY)
        at = write->currency_at;
    return at == CART_NO_OP ? 0 : (uint16_t)(1 + at);
}

/* Says the outcome, with the place of the operation of a batch that was refused, and holds it until
 * it is as safe as asked. */
static enum run finish(struct session *session, const struct request *request,
                       const struct cart_write *write, const struct cart_pair *pair, int code)
{
    size_t start = session->out->len;
    if (request->verb == VERB_CBAT && code && code != CE_EXISTS) {
        struct request told = *request;
        told.cart.failed_at = cart_command_failed_at(write, code);
        return answer(session, &told, write, pair, code);
    }
    enum run run = answer(session, request, write, pair, code);
    if (run != RUN_DONE || code)
        return run;
    return session_hold(session, start, write->lsn, write->level);
}

int cart_command_write(struct session *session, const struct request *request,
                       const struct cart_key *parsed, struct cart_write *write)
{
    *write = (struct cart_write){.key = parsed->cart,
                                 .bucket = parsed->bucket,
                                 .step = {.ops = session->worker->ops, .ops_count = 1},
                                 .result.failed_index = CART_NO_OP,
                                 .currency_at = CART_NO_OP,
                                 .must_exist = request->verb == VERB_CDEL,
                                 .stays = request->verb == VERB_CDEL};
    int code = prepare(request, write);
    if (code)
        return code;
    code = prepare_ops(session, request, write);
    write->result.failed_index = code ? write->step.ops_count : CART_NO_OP;
    return code;
}

static enum run run_write(struct session *session, const struct request *request,
                          const struct cart_key *parsed)
{
    struct cart_write write;
    int code = cart_command_write(session, request, parsed, &write);
    enum run run = RUN_DONE;
    if (code == 0)
        run = cart_write_run(session, &write, &code);
    return run == RUN_DONE ? finish(session, request, &write, NULL, code) : run;
}

/* ---- cmrg ---- */

static int find_source(struct session *session, const struct request *request, struct slice *source)
{
    struct cmd_worker *worker = session->worker;
    *source = request->arg;
    if (!request->binary.is && has_flag(request, 'b')) {
        worker->text.len = 0;
        if (proto_base64_decode(request->arg, &worker->text) || worker->text.len > PROTO_KEY_MAX)
            return CE_BAD_CART;
        memcpy(worker->source_key, worker->text.bytes, worker->text.len);
        *source = slice_of(worker->source_key, worker->text.len);
    }
    if (source->len == 0)
        return CE_BAD_CART;
    return session->login ? guard_may(session->login, GUARD_WRITE, *source) : 0;
}

static enum run run_merge(struct session *session, const struct request *request,
                          const struct cart_key *parsed)
{
    struct cart_pair pair = {.write = {.key = parsed->cart,
                                       .bucket = parsed->bucket,
                                       .step = {.ops = session->worker->ops}},
                             .policy = has_flag(request, 'M')
                                           ? (enum cart_policy)request->cart.policy
                                           : parsed->bucket->merge_policy};
    int code = prepare(request, &pair.write);
    if (code == 0)
        code = find_source(session, request, &pair.source);
    enum run run = code ? RUN_DONE : cart_pair_run(session, &pair, &code);
    return run == RUN_DONE ? finish(session, request, &pair.write, &pair, code) : run;
}

enum run cart_command_run(struct session *session, const struct request *request)
{
    struct cart_key parsed;
    int code = find_key(session, request, &parsed);
    if (code)
        return refuse(session, request, code);
    switch (request->verb) {
    case VERB_CGET: return run_get(session, request, parsed.cart);
    case VERB_CHST: return history_run(session, request, parsed.cart);
    case VERB_CMRG: return run_merge(session, request, &parsed);
    default: return run_write(session, request, &parsed);
    }
}
