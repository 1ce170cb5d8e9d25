/* value: what the tiers must know of carts (struct tier_value). */
#include "cmd/cmd_int.h"

static int merge_states(struct slice a, struct slice b, struct buf *out)
{
    struct cart *cart;
    struct slice joined;
    int rc = cart_new(&cart);
    if (rc)
        return rc;
    rc = cart_load(cart, a);
    if (rc == 0)
        rc = cart_merge(cart, b);
    if (rc == 0)
        rc = cart_store(cart, &joined);
    if (rc == 0)
        rc = buf_append(out, joined.bytes, joined.len);
    cart_free(&cart);
    return rc;
}

static int add_line(void *arg, const struct cart_line *line)
{
    struct l3_line row = {.line = line->line,
                          .sku = cart_line_sku(line->line),
                          .shop = line->shop,
                          .ext = line->ext,
                          .qty = line->qty,
                          .has_price = line->has_price,
                          .checked = line->checked,
                          .price = line->price,
                          .added_us = line->added_us,
                          .updated_us = line->updated_us};
    return buf_append(arg, &row, sizeof row);
}

/* The row does not ask the clock: what has expired is taken away by an operation, not by looking.
 */
static int describe_row(struct slice key, struct slice state, struct buf *arena,
                        struct l3_cart *out)
{
    struct cart_summary summary;
    cart_summary(state, 0, &summary);
    size_t at = (arena->len + _Alignof(struct l3_line) - 1) & ~(_Alignof(struct l3_line) - 1);
    if (buf_reserve(arena, at - arena->len + summary.lines * sizeof(struct l3_line) + 1))
        return CE_NOMEM; /* reserved whole, so that lines do not move */
    arena->len = at;
    int rc = summary.exists ? cart_lines(state, 0, add_line, arena) : 0;
    if (rc)
        return rc;
    *out = (struct l3_cart){.key = key,
                            .state = summary.exists ? L3_ACTIVE : L3_DELETED,
                            .version = summary.version,
                            .cas = summary.cas,
                            .lines_count = summary.lines,
                            .qty = summary.qty,
                            .checked_qty = summary.checked_qty,
                            .amount_known = summary.amount_known,
                            .checked_amount_known = summary.checked_amount_known,
                            .amount = summary.amount,
                            .checked_amount = summary.checked_amount,
                            .updated_us = summary.updated_us,
                            .expires_us = summary.expiry_us,
                            .image = state,
                            .lines = (const struct l3_line *)(arena->bytes + at)};
    memcpy(out->currency, summary.currency, sizeof out->currency);
    return 0;
}

static const struct tier_value value = {
    .check = cart_check,
    .merge = merge_states,
    .covers = cart_covers,
    .row = describe_row,
};

const struct tier_value *cmd_tier_value(void)
{
    return &value;
}
