/* cart_commands: cadd, cset, crem, cget, cdel (cart-protocol section 1). */
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

static enum run run_get(struct session *session, const struct request *request, struct slice key)
{
    struct buf *text = &session->worker->text;
    struct cart_summary summary;
    struct cart_answer answer;
    struct slice state;
    int code;
    enum run run = cart_read_state(session, key, &state, &code);
    if (run != RUN_DONE)
        return run;
    if (code)
        return refuse(session, request, code);
    uint64_t now_us = env_wall_us(session->cmd->config.env);
    cart_summary(state, now_us, &summary);
    answer_of(&summary, &answer);
    answer.ack = 'r';
    if (!summary.exists) {
        count(&session->worker->get_misses);
        return reply_end(session, say_status(session, "EN", request, &answer));
    }
    count(&session->worker->get_hits);
    if (has_flag(request, 'N') && request->cart.since_version == summary.version)
        return reply_end(session, say_status(session, "HD", request, &answer));
    enum cart_json_scope scope = has_flag(request, 's')   ? CART_JSON_SUMMARY
                                 : has_flag(request, 'c') ? CART_JSON_CHECKED
                                                          : CART_JSON_ALL;
    text->len = 0;
    code = cart_json(state, now_us, key, scope, text);
    if (code)
        return refuse(session, request, code);
    return reply_end(session, say_value(session, request, &answer));
}

/* ---- mutations ---- */

static bool read_number(const struct request *request, int64_t *n)
{
    *n = request->binary.number;
    return request->binary.is || num_i64(request->number, n);
}

static int prepare_op(struct session *session, const struct request *request, struct cart_op *op)
{
    *op = (struct cart_op){.line = request->line};
    if (request->verb == VERB_CDEL) {
        op->kind = CART_FORGET;
        return 0;
    }
    op->kind = request->verb == VERB_CADD   ? CART_ADD
               : request->verb == VERB_CSET ? CART_SET
                                            : CART_REMOVE;
    if (op->kind != CART_REMOVE && !read_number(request, &op->n))
        return CE_BAD_QTY;
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
    if (has_flag(request, 'E') && request->binary.is) {
        op->flags |= CART_OP_EXT;
        op->ext = request->cart.ext;
    } else if (has_flag(request, 'E')) {
        struct buf *text = &session->worker->text;
        text->len = 0;
        int rc = proto_base64_decode(request->cart.ext_b64, text);
        op->flags |= CART_OP_EXT;
        op->ext = buf_slice(text);
        return rc;
    }
    return 0;
}

static int find_level(const struct request *request, const struct cmd_bucket *bucket,
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

static int prepare(struct session *session, const struct request *request, struct cart_write *write)
{
    struct cart_step *step = &write->step;
    const struct cart_flags *flags = &request->cart;
    int rc = find_level(request, write->bucket, &write->level);
    if (rc == 0)
        rc = prepare_op(session, request, step->ops);
    if (rc)
        return rc;
    step->token = has_flag(request, 'I') ? flags->token : slice_of(NULL, 0);
    memcpy(step->currency, flags->currency, sizeof step->currency);
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

static enum run answer(struct session *session, const struct request *request,
                       const struct cart_write *write, int code)
{
    static const uint8_t letters[] = {[ACK_RAM] = 'r', [ACK_OS] = 'o', [ACK_SYNC] = 's'};
    struct cart_answer answer;
    if (code && code != CE_EXISTS && code != CE_NOTFOUND)
        return refuse(session, request, code);
    answer_of(&write->result.summary, &answer);
    answer.line_qty = write->result.line_qty;
    answer.ack = letters[write->level];
    answer.repeated = write->result.repeated;
    answer.behind_ms = tier_behind_age_ms(session->cmd->tier);
    const char *status = code == 0 ? "HD" : code == CE_EXISTS ? "EX" : "NF";
    return reply_end(session, say_status(session, status, request, &answer));
}

static enum run run_write(struct session *session, const struct request *request,
                          const struct cart_key *key)
{
    struct cart_write write = {.key = key->cart,
                               .bucket = key->bucket,
                               .step = {.ops = session->worker->ops, .ops_count = 1},
                               .must_exist = request->verb == VERB_CDEL};
    size_t start = session->out->len;
    int code = prepare(session, request, &write);
    enum run run = code ? RUN_DONE : cart_write_run(session, &write, &code);
    if (run != RUN_DONE)
        return run;
    run = answer(session, request, &write, code);
    if (run != RUN_DONE || code)
        return run;
    return session_hold(session, start, write.lsn, write.level);
}

enum run cart_command_run(struct session *session, const struct request *request)
{
    struct cart_key key;
    int code = find_key(session, request, &key);
    if (code)
        return refuse(session, request, code);
    if (request->verb == VERB_CGET)
        return run_get(session, request, key.cart);
    return run_write(session, request, &key);
}
