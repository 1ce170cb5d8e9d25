/* value: what the tiers must know of carts (struct tier_value). */
#include "cmd/cmd_int.h"

#include <stdio.h>

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

static uint64_t find_expiry(struct slice state)
{
    struct cart_summary summary;
    cart_summary(state, 0, &summary);
    return summary.expiry_us; /* also of a redirect */
}

/* The same for the same event of the same cart, also when it comes from a replay; the cas differs
 * between two carts that had the same key and the same version. A UUID of version 8 (RFC 9562). */
static void make_event_id(const char *type, struct slice key, const struct cart_summary *summary,
                          char id[L3_EVENT_ID_BYTES])
{
    uint64_t seed = hash_64_seed(slice_str(type), summary->version);
    seed = hash_64_seed(slice_of(&summary->cas, sizeof summary->cas), seed);
    uint64_t high = hash_64_seed(key, seed), low = hash_64_seed(key, high);
    high = (high & ~0xf000ull) | 0x8000;
    low = (low & ~(3ull << 62)) | 1ull << 63;
    snprintf(id, L3_EVENT_ID_BYTES, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(high >> 32),
             (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff), (unsigned)(low >> 48),
             (unsigned long long)(low & 0xffffffffffff));
}

/* The document as clients saw it last, with the end of its life in front. */
static int describe_event(enum tier_event_kind kind, struct slice key, uint64_t at_us,
                          struct slice state, struct buf *arena, struct l3_event *out)
{
    struct cart_summary summary;
    MUST(kind == TIER_EVENT_EXPIRED);
    cart_summary(state, 0, &summary);
    size_t at = arena->len;
    int rc = buf_printf(arena, "{\"expired\":%llu", (unsigned long long)summary.expiry_us / 1000);
    size_t document_at = arena->len;
    if (rc == 0)
        rc = cart_json(state, 0, key, CART_JSON_ALL, arena);
    if (rc)
        return rc;
    arena->bytes[document_at] = ','; /* instead of its '{' */
    *out = (struct l3_event){.type = "cart.expired",
                             .key = key,
                             .payload = slice_of(arena->bytes + at, arena->len - at),
                             .version = summary.version,
                             .created_us = at_us};
    make_event_id(out->type, key, &summary, out->id);
    return 0;
}

static uint64_t find_version(struct slice state)
{
    struct cart_summary summary;
    cart_summary(state, 0, &summary);
    return summary.version;
}

static uint64_t find_update(struct slice state)
{
    struct cart_summary summary;
    cart_summary(state, 0, &summary);
    return summary.updated_us;
}

static const struct tier_value value = {
    .check = cart_check,
    .merge = merge_states,
    .covers = cart_covers,
    .row = describe_row,
    .has = cmd_state_has,
    .expiry_us = find_expiry,
    .version = find_version,
    .updated_us = find_update,
    .event = describe_event,
};

const struct tier_value *cmd_tier_value(void)
{
    return &value;
}
