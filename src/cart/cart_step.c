/* cart_step: a step as bytes, for the journal.
 *
 *   format, actor (8 bytes), now, fold, cause with CAUSE_* bits, life, life_us,
 *   currency length (0 or 3), currency, token length, token, args hash (8 bytes),
 *   number of ops, ops
 *   op: kind, flags, checked, n, length and bytes of line; then what kind and flags call for:
 *       [length and bytes of new_line] [price] [shop] [ext]
 *
 * Reading back checks all that applying relies on; limits are not checked again. */
#include "cart/cart.h"

#include "cart/cart_int.h"

enum { CAUSE_CLAMPED = 0x80, CAUSE_EXPIRED = 0x40 }; /* what came of the step */

enum { STEP_FORMAT = 0xC6, STEP_BYTES_MAX = 64 + 5 * VARINT_MAX, OP_BYTES_MAX = 8 * VARINT_MAX };

enum {
    OP_FLAGS_ALL = CART_OP_PRICE | CART_OP_SHOP | CART_OP_EXT | CART_OP_CHECKED |
                   CART_OP_IF_ABSENT | CART_OP_IF_PRESENT | CART_OP_CLAMP,
};

static uint8_t *put_bytes(uint8_t *at, struct slice bytes)
{
    at += varint_put(at, bytes.len);
    if (bytes.len)
        memcpy(at, bytes.bytes, bytes.len);
    return at + bytes.len;
}

static int encode_op(const struct cart_op *op, struct buf *out)
{
    size_t max = OP_BYTES_MAX + op->line.len + op->new_line.len + op->shop.len + op->ext.len;
    if (buf_reserve(out, max))
        return CE_NOMEM;
    uint8_t *start = out->bytes + out->len, *at = start;
    *at++ = (uint8_t)op->kind;
    *at++ = (uint8_t)op->flags;
    *at++ = op->checked;
    at += varint_put(at, zigzag(op->n));
    at = put_bytes(at, op->line);
    if (op->kind == CART_SWAP || op->kind == CART_MOVE)
        at = put_bytes(at, op->new_line);
    if (op->flags & CART_OP_PRICE)
        at += varint_put(at, (uint64_t)op->price);
    if (op->flags & CART_OP_SHOP)
        at = put_bytes(at, op->shop);
    if (op->flags & CART_OP_EXT)
        at = put_bytes(at, op->ext);
    out->len += (size_t)(at - start);
    return 0;
}

static int encode_ops(const struct cart_step *step, struct buf *out)
{
    int err = 0;
    for (size_t i = 0; i < step->ops_count && !err; i++)
        err = encode_op(&step->ops[i], out);
    return err;
}

int cart_step_encode(const struct cart_step *step, struct buf *out)
{
    MUST(step->ops_count <= CART_STEP_OPS_MAX);
    MUST(step->token.len <= CART_TOKEN_MAX);
    size_t len_before = out->len;
    if (buf_reserve(out, STEP_BYTES_MAX + step->token.len))
        return CE_NOMEM;
    uint8_t *start = out->bytes + out->len, *at = start;
    *at++ = STEP_FORMAT;
    memcpy(at, &step->actor, 8);
    at += 8;
    at += varint_put(at, step->now_us - STAMP_EPOCH_US);
    *at++ = (uint8_t)step->fold;
    *at++ = (uint8_t)((unsigned)step->cause | (step->clamped ? CAUSE_CLAMPED : 0) |
                      (step->expired ? CAUSE_EXPIRED : 0));
    *at++ = (uint8_t)step->life;
    at += varint_put(at, step->life_us);
    at = put_bytes(at, slice_of(step->currency, step->currency[0] ? 3 : 0));
    at = put_bytes(at, step->token);
    if (step->token.len) {
        memcpy(at, &step->args_hash, 8);
        at += 8;
    }
    at += varint_put(at, step->ops_count);
    out->len += (size_t)(at - start);
    int err = encode_ops(step, out);
    if (err)
        out->len = len_before;
    return err;
}

int cart_step_args_hash(const struct cart_step *step, struct buf *scratch, uint64_t *hash)
{
    scratch->len = 0;
    if (buf_append(scratch, step->currency, step->currency[0] ? 3 : 0) || encode_ops(step, scratch))
        return CE_NOMEM;
    *hash = hash_64(buf_slice(scratch));
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static bool take_byte(struct slice *in, unsigned *out)
{
    if (in->len == 0)
        return false;
    *out = in->bytes[0];
    *in = slice_from(*in, 1);
    return true;
}

static bool take_u64(struct slice *in, uint64_t *out)
{
    if (in->len < 8)
        return false;
    memcpy(out, in->bytes, 8);
    *in = slice_from(*in, 8);
    return true;
}

static bool take_bytes(struct slice *in, size_t max, struct slice *out)
{
    uint64_t len;
    if (!varint_take(in, &len) || len > in->len || len > max)
        return false;
    *out = slice_of(in->bytes, len);
    *in = slice_from(*in, len);
    return true;
}

/* CLEAR, RETAIN, FORGET, TOUCH and MOVE name no line; CHECK may mean all. */
static bool line_fits(const struct cart_op *op)
{
    bool needs = op->kind == CART_ADD || op->kind == CART_SET || op->kind == CART_REMOVE ||
                 op->kind == CART_SWAP;
    if (op->line.len == 0)
        return !needs;
    return cart_line_key_ok(op->line);
}

static bool decode_op(struct slice *in, struct cart_op *op)
{
    unsigned kind, checked;
    uint64_t n, price;
    *op = (struct cart_op){0};
    if (!take_byte(in, &kind) || !take_byte(in, &op->flags) || !take_byte(in, &checked) ||
        !varint_take(in, &n) || !take_bytes(in, CART_LINE_KEY_MAX, &op->line))
        return false;
    if (kind < CART_ADD || kind > CART_MOVE || op->flags & ~(unsigned)OP_FLAGS_ALL || checked > 1)
        return false;
    op->kind = (enum cart_op_kind)kind;
    op->flags &= ~(unsigned)(CART_OP_IF_ABSENT | CART_OP_IF_PRESENT);
    op->checked = checked;
    op->n = unzigzag(n);
    if (!line_fits(op) || op->n > INT32_MAX || op->n < -INT32_MAX)
        return false;
    if (kind == CART_SWAP && (!take_bytes(in, CART_LINE_KEY_MAX, &op->new_line) ||
                              !cart_line_key_ok(op->new_line) || op->n < 0))
        return false;
    if (kind == CART_MOVE && (!take_bytes(in, CART_KEY_MAX, &op->new_line) || !op->new_line.len))
        return false;
    if (op->flags & CART_OP_PRICE) {
        if (!varint_take(in, &price) || price > INT64_MAX)
            return false;
        op->price = (int64_t)price;
    }
    if (op->flags & CART_OP_SHOP && !take_bytes(in, CART_SHOP_MAX, &op->shop))
        return false;
    return !(op->flags & CART_OP_EXT) || take_bytes(in, CART_EXT_HARD, &op->ext);
}

static bool decode_front(struct slice *in, struct cart_step *step)
{
    unsigned format, fold, cause, life;
    struct slice currency;
    if (!take_byte(in, &format) || format != STEP_FORMAT || !take_u64(in, &step->actor) ||
        !varint_take(in, &step->now_us) || !take_byte(in, &fold) || !take_byte(in, &cause) ||
        !take_byte(in, &life) || !varint_take(in, &step->life_us) ||
        !take_bytes(in, 3, &currency) || !take_bytes(in, CART_TOKEN_MAX, &step->token))
        return false;
    step->now_us += STAMP_EPOCH_US;
    step->clamped = cause & CAUSE_CLAMPED;
    step->expired = cause & CAUSE_EXPIRED;
    cause &= ~(unsigned)(CAUSE_CLAMPED | CAUSE_EXPIRED);
    if (fold > CART_FOLD_ALONE || cause >= CART_CAUSES_COUNT || life > CART_LIFE_SLIDING)
        return false;
    step->fold = (enum cart_fold)fold;
    step->cause = (enum cart_cause)cause;
    step->life = (enum cart_life_kind)life;
    if (currency.len) {
        memcpy(step->currency, currency.bytes, currency.len);
        if (!cart_currency_ok(step->currency))
            return false;
    }
    return step->token.len == 0 || take_u64(in, &step->args_hash);
}

bool cart_step_actor(struct slice in, uint64_t *actor)
{
    unsigned format;
    return take_byte(&in, &format) && format == STEP_FORMAT && take_u64(&in, actor);
}

int cart_step_decode(struct slice in, struct cart_op *ops, struct cart_step *step)
{
    uint64_t count;
    *step = (struct cart_step){.ops = ops};
    if (!decode_front(&in, step) || !varint_take(&in, &count) || count > CART_STEP_OPS_MAX)
        return CE_CORRUPT;
    for (uint64_t i = 0; i < count; i++)
        if (!decode_op(&in, &ops[i]))
            return CE_CORRUPT;
    step->ops_count = count;
    return in.len ? CE_CORRUPT : 0;
}
