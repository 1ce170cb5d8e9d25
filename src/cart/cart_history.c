/* cart_history: what was done to a cart, as a JSON document, from the steps that the journal has.
 * Read by people who look for a line that vanished: every number is as it was applied, not as it
 * was asked for. */
#include "cart/cart.h"

#include "cart/cart_int.h"

#include <inttypes.h>

/* ---- members ----------------------------------------------------------------------------------
 */

static int add_text(struct buf *out, const char *name, struct slice text)
{
    if (buf_reserve(out, cart_member_max(text)))
        return CE_NOMEM;
    uint8_t *start = out->bytes + out->len;
    out->len += (size_t)(cart_put_member(start, name, text) - start);
    return 0;
}

/* As the document shows it: text, or base64 of what is no text. */
static int add_ext(struct buf *out, struct slice ext)
{
    if (cart_utf8_ok(ext))
        return add_text(out, "ext", ext);
    if (buf_reserve(out, cart_member_max(ext)))
        return CE_NOMEM;
    uint8_t *start = out->bytes + out->len;
    out->len += (size_t)(cart_put_b64(start, "ext", ext) - start);
    return 0;
}

static int add_word(struct buf *out, const char *name, const char *word)
{
    return buf_printf(out, "\"%s\":\"%s\",", name, word);
}

static int add_number(struct buf *out, const char *name, int64_t value)
{
    return buf_printf(out, "\"%s\":%" PRId64 ",", name, value);
}

static int add_truth(struct buf *out, const char *name, bool value)
{
    return buf_printf(out, "\"%s\":%s,", name, value ? "true" : "false");
}

/* Closes what the last member left open behind its comma. */
static int close_with(struct buf *out, const char *end)
{
    if (out->bytes[out->len - 1] == ',')
        out->len--;
    return buf_append_str(out, end);
}

/* ---- ops --------------------------------------------------------------------------------------
 */

static const char *op_name(enum cart_op_kind kind)
{
    switch (kind) {
    case CART_ADD: return "add";
    case CART_SET: return "set";
    case CART_REMOVE: return "remove";
    case CART_CHECK: return "check";
    case CART_SWAP: return "swap";
    case CART_CLEAR: return "clear";
    case CART_RETAIN: return "retain";
    case CART_FORGET: return "forget";
    case CART_TOUCH: return "touch";
    case CART_MOVE: return "move";
    }
    MUST(!"op kind");
    return NULL;
}

static const char *scope_name(int64_t scope)
{
    return scope == CART_SCOPE_CHECKED     ? "checked"
           : scope == CART_SCOPE_UNCHECKED ? "unchecked"
                                           : "all";
}

/* What n means is the kind's business. */
static int add_n(struct buf *out, const struct cart_op *op)
{
    switch (op->kind) {
    case CART_ADD:
    case CART_SET:
    case CART_SWAP: return add_number(out, "qty", op->n);
    case CART_CHECK: return add_truth(out, "checked", op->n != 0);
    case CART_CLEAR: return add_word(out, "scope", scope_name(op->n));
    default: return 0;
    }
}

static int add_op(struct buf *out, const struct cart_op *op)
{
    int rc = buf_append_str(out, "{");
    if (rc == 0)
        rc = add_word(out, "op", op_name(op->kind));
    if (rc == 0 && op->line.len)
        rc = add_text(out, "line", op->line);
    if (rc == 0 && op->new_line.len)
        rc = add_text(out, "new_line", op->new_line);
    if (rc == 0)
        rc = add_n(out, op);
    if (rc == 0 && op->flags & CART_OP_PRICE)
        rc = add_number(out, "price", op->price);
    if (rc == 0 && op->flags & CART_OP_CHECKED)
        rc = add_truth(out, "checked", op->checked);
    if (rc == 0 && op->flags & CART_OP_SHOP)
        rc = add_text(out, "shop", op->shop);
    if (rc == 0 && op->flags & CART_OP_EXT)
        rc = add_ext(out, op->ext);
    return rc ? rc : close_with(out, "},");
}

/* ---- entries ----------------------------------------------------------------------------------
 */

static const char *cause_name(const struct cart_step *step)
{
    static const char *const names[] = {
#define X(name, text) text,
        CART_CAUSES(X)
#undef X
    };
    if (step->clamped && step->cause == CART_BY_USER)
        return "clamp";
    return names[step->cause];
}

/* A life that a step gives: ms since 1970 of its end, or seconds from the last step on, 0 = none.
 */
static int add_life(struct buf *out, const struct cart_step *step)
{
    if (step->life == CART_LIFE_KEEP)
        return 0;
    if (step->life == CART_LIFE_FIXED)
        return add_number(out, "expires", (int64_t)(step->life_us / 1000));
    return add_number(out, "life", (int64_t)(step->life_us / 1000000));
}

static int add_front(struct buf *out, uint64_t version, uint64_t time_us)
{
    return buf_printf(out, "{\"version\":%" PRIu64 ",\"time\":%" PRIu64 ",", version,
                      time_us / 1000);
}

static int add_about(struct buf *out, const struct cart_step *step, uint64_t version)
{
    int rc = add_front(out, version, step->now_us);
    if (rc == 0)
        rc = buf_printf(out, "\"actor\":\"%016" PRIx64 "\",", step->actor);
    if (rc == 0)
        rc = add_word(out, "cause", cause_name(step));
    if (rc == 0 && step->clamped)
        rc = add_truth(out, "clamped", true);
    if (rc == 0 && step->expired)
        rc = add_truth(out, "expired", true);
    if (rc == 0 && step->token.len)
        rc = add_text(out, "token", step->token);
    if (rc == 0 && step->currency[0])
        rc = add_word(out, "currency", step->currency);
    return rc ? rc : add_life(out, step);
}

int cart_history_step(const struct cart_step *step, uint64_t version, size_t ops_max,
                      struct buf *out)
{
    size_t count = step->ops_count < ops_max ? step->ops_count : ops_max;
    int rc = add_about(out, step, version);
    if (rc == 0)
        rc = buf_append_str(out, "\"ops\":[");
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add_op(out, &step->ops[i]);
    if (rc == 0)
        rc = close_with(out, "],");
    if (rc == 0 && step->ops_count > count)
        rc = add_number(out, "ops_left_out", (int64_t)(step->ops_count - count));
    return rc ? rc : close_with(out, "},");
}

int cart_history_join(struct slice state, struct buf *out)
{
    struct cart_summary summary;
    cart_summary(state, 0, &summary);
    int rc = add_front(out, summary.version, summary.updated_us);
    return rc ? rc : buf_append_str(out, "\"cause\":\"merge\",\"ops\":[{\"op\":\"join\"}]},");
}

/* ---- the document -----------------------------------------------------------------------------
 */

int cart_history_begin(struct slice key, struct buf *out)
{
    int rc = buf_append_str(out, "{");
    if (rc == 0)
        rc = add_text(out, "cart", key);
    return rc ? rc : buf_append_str(out, "\"history\":[");
}

int cart_history_end(bool complete, struct buf *out)
{
    int rc = close_with(out, "],");
    if (rc == 0)
        rc = add_truth(out, "complete", complete);
    return rc ? rc : close_with(out, "}");
}
