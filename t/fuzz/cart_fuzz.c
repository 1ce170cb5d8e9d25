/* cart_fuzz: bytes from outside into everything of the cart room that reads such. The first byte
 * chooses what the rest is:
 *
 *   S a state    P two states (u16 length of the first)    A a state and a step (same)
 *   T a step     D a document or the value of a line
 *   M two states, of which one becomes part of the other (same)
 *   J a key and a line with any bytes: u8 lengths of key, line and shop, the three, ext
 *
 * The seeds with steps are made by seeds.py. Nothing may crash or read out of bounds; a state that
 * passes cart_check keeps its bytes through load, store and merge, and stays canonical under any
 * step that can be read. */
#include "cart/cart.h"

#include "lib/edit_check.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define NOW_US 1790000000000000ull

static struct cart *fresh(struct slice state)
{
    struct cart *cart;
    MUST(cart_new(&cart) == 0);
    MUST(cart_load(cart, state) == 0);
    return cart;
}

static int ignore_line(void *arg, const struct cart_line *line)
{
    *(uint64_t *)arg += line->line.bytes[0] + cart_line_sku(line->line).len;
    return 0;
}

/* A strict reader takes it. */
static void read_json(const struct buf *json)
{
    json_error_t error;
    json_t *document = json_loadb((const char *)json->bytes, json->len,
                                  JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    MUST(document);
    json_decref(document);
}

/* All that is told of a good state. */
static void tell(struct slice state, struct slice key)
{
    struct buf json = {0};
    for (int scope = CART_JSON_ALL; scope <= CART_JSON_SUMMARY; scope++) {
        json.len = 0;
        MUST(cart_json(state, NOW_US, key, (enum cart_json_scope)scope, &json) == 0);
        read_json(&json);
    }
    for (uint64_t version = 0; version < 4; version++) {
        json.len = 0;
        MUST(cart_json_since(state, NOW_US, key, version, &json) == 0);
        read_json(&json);
    }
    buf_free(&json);
}

/* Questions to a state that passed only cart_load. */
static void ask(struct slice state)
{
    struct cart_summary summary;
    struct cart_line line;
    struct buf json = {0};
    uint64_t sum = 0;
    cart_summary(state, NOW_US, &summary);
    MUST(cart_covers(state, state));
    MUST(cart_seq(state, 1) <= summary.version);
    (void)!cart_lines(state, NOW_US, ignore_line, &sum);
    (void)!cart_line_find(state, NOW_US, slice_str("a"), &line);
    (void)!cart_json(state, NOW_US, slice_str("k\xff"), CART_JSON_ALL, &json);
    (void)!cart_json(state, NOW_US, slice_str("k"), CART_JSON_CHECKED, &json);
    buf_free(&json);
}

static uint64_t version_of(struct slice state)
{
    struct cart_summary summary;
    cart_summary(state, NOW_US, &summary);
    return summary.version;
}

/* Applies a step; a good state must become a good state. But not with a token: such a state may
 * have the entry of a token without its record, which no history gives. */
static void apply(struct slice state, struct cart_step *step, bool good)
{
    struct cart *cart = fresh(state);
    struct cart_result result;
    struct slice after;
    good = good && (step->token.len == 0 || state.len == 0);
    MUST(!good || edit_check(state, step) != EDIT_DIFFERS);
    int err = cart_apply(cart, step, &result);
    if (err == 0) {
        MUST(cart_store(cart, &after) == 0);
        MUST(!good || cart_check(after) == 0);
        MUST(!result.changed || !good || version_of(after) > version_of(state));
    }
    cart_free(&cart);
}

static void work(struct slice state, bool good)
{
    static const struct cart_limits limits = CART_LIMITS_DEFAULT;
    static const enum cart_op_kind kinds[] = {CART_ADD,  CART_SET,   CART_REMOVE, CART_CHECK,
                                              CART_SWAP, CART_CLEAR, CART_RETAIN, CART_TOUCH};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        struct cart_op op = {.kind = kinds[i], .line = slice_str("a"), .n = 1};
        struct cart_step step = {.actor = i, .now_us = NOW_US, .ops = &op, .ops_count = 1};
        op.new_line = slice_str("b");
        step.fold = (enum cart_fold)(i % 3);
        step.limits = i % 2 ? &limits : NULL;
        step.token = slice_str(i % 4 ? "" : "t1");
        apply(state, &step, good);
    }
}

static void join(struct slice a, struct slice b, bool same)
{
    struct cart *cart = fresh(a);
    struct slice joined;
    if (cart_merge(cart, b) == 0) {
        MUST(cart_store(cart, &joined) == 0);
        MUST(!same || slice_eq(joined, a));
    }
    cart_free(&cart);
}

static void feed_state(struct slice state)
{
    struct cart *cart;
    bool good = cart_check(state) == 0;
    MUST(cart_new(&cart) == 0);
    int err = cart_load(cart, state);
    cart_free(&cart);
    MUST(!good || err == 0);
    if (err)
        return;
    ask(state);
    if (good)
        tell(state, slice_str("k\xff"));
    work(state, good);
    join(state, state, good);
}

static bool split(struct slice bytes, struct slice *first, struct slice *second)
{
    if (bytes.len < 2)
        return false;
    size_t len = (size_t)bytes.bytes[0] | (size_t)bytes.bytes[1] << 8;
    struct slice rest = slice_from(bytes, 2);
    if (len > rest.len)
        return false;
    *first = slice_of(rest.bytes, len);
    *second = slice_from(rest, len);
    return true;
}

static bool loads(struct slice state)
{
    struct cart *cart;
    MUST(cart_new(&cart) == 0);
    int err = cart_load(cart, state);
    cart_free(&cart);
    return err == 0;
}

static void feed_pair(struct slice bytes)
{
    struct slice a, b;
    if (!split(bytes, &a, &b) || !loads(a) || !loads(b))
        return;
    (void)cart_covers(a, b);
    join(a, b, false);
    join(b, a, false);
}

/* A plan is never refused for a limit. */
static void absorb(struct slice dst, struct slice src)
{
    static struct cart_op ops[CART_STEP_OPS_MAX];
    static const struct cart_limits limits = {20, 999, 64, 2048};
    for (int policy = 0; policy < CART_POLICIES_COUNT; policy++) {
        struct cart_absorb plan = {dst, src, (enum cart_policy)policy, NOW_US, &limits, 0, 0};
        struct cart_step step = {.actor = 1, .now_us = NOW_US, .limits = &limits, .ops = ops};
        struct cart_result result;
        if (cart_absorb(&plan, ops, &step.ops_count, step.currency))
            continue;
        struct cart *cart = fresh(dst);
        int err = cart_apply(cart, &step, &result);
        MUST(err != CE_LINE_LIMIT && err != CE_CURRENCY && err != CE_NOTFOUND);
        cart_free(&cart);
    }
}

static void feed_absorb(struct slice bytes)
{
    struct slice a, b;
    if (split(bytes, &a, &b) && cart_check(a) == 0 && cart_check(b) == 0)
        absorb(a, b);
}

static struct slice take(struct slice *bytes, size_t len)
{
    struct slice taken = slice_of(bytes->bytes, len < bytes->len ? len : bytes->len);
    *bytes = slice_from(*bytes, taken.len);
    return taken;
}

/* The document of a cart with any bytes in it can be read, and written back. */
static void feed_bytes(struct slice bytes)
{
    static struct cart_op ops[CART_STEP_OPS_MAX];
    struct cart_op op = {.kind = CART_SET, .n = 1, .flags = CART_OP_SHOP | CART_OP_EXT};
    struct cart_step step = {.actor = 1, .now_us = NOW_US, .ops = &op, .ops_count = 1};
    struct cart_result result;
    struct slice state, head = take(&bytes, 3);
    struct buf json = {0}, arena = {0};
    if (head.len < 3)
        return;
    struct slice key = take(&bytes, head.bytes[0]);
    op.line = take(&bytes, head.bytes[1]);
    op.shop = take(&bytes, head.bytes[2] % (CART_SHOP_MAX + 1));
    op.ext = take(&bytes, CART_EXT_HARD);
    struct cart *cart = fresh(slice_of(NULL, 0));
    if (cart_apply(cart, &step, &result) == 0) {
        size_t count;
        char currency[4];
        MUST(cart_store(cart, &state) == 0);
        tell(state, key);
        MUST(cart_json(state, NOW_US, key, CART_JSON_ALL, &json) == 0);
        MUST(cart_doc_parse(buf_slice(&json), ops, &count, currency, &arena) == 0 && count == 2);
        MUST(slice_eq(ops[0].line, op.line) && slice_eq(ops[0].ext, op.ext) &&
             slice_eq(ops[0].shop, op.shop));
    }
    buf_free(&json);
    buf_free(&arena);
    cart_free(&cart);
}

static void feed_step(struct slice state, struct slice bytes)
{
    static struct cart_op ops[CART_STEP_OPS_MAX];
    struct cart_step step;
    struct buf again = {0};
    if (cart_step_decode(bytes, ops, &step))
        return;
    MUST(cart_step_encode(&step, &again) == 0);
    apply(state, &step, cart_check(state) == 0);
    MUST(cart_step_decode(buf_slice(&again), ops, &step) == 0);
    buf_free(&again);
}

static void feed_document(struct slice bytes)
{
    static struct cart_op ops[CART_STEP_OPS_MAX];
    static const struct cart_limits limits = CART_LIMITS_DEFAULT;
    struct buf arena = {0};
    size_t count;
    char currency[4];
    struct cart_op op = {0};
    (void)!cart_line_parse(bytes, &op, currency, &arena);
    arena.len = 0;
    if (cart_doc_parse(bytes, ops, &count, currency, &arena) == 0) {
        struct cart_step step = {.actor = 1, .now_us = NOW_US, .ops = ops, .ops_count = count};
        memcpy(step.currency, currency, sizeof(step.currency));
        step.limits = &limits;
        apply(slice_of(NULL, 0), &step, true);
    }
    buf_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct slice state, rest = slice_of(bytes, len);
    if (len == 0)
        return 0;
    rest = slice_from(rest, 1);
    switch (bytes[0]) {
    case 'S': feed_state(rest); break;
    case 'P': feed_pair(rest); break;
    case 'T': feed_step(slice_of(NULL, 0), rest); break;
    case 'A':
        if (split(rest, &state, &rest) && loads(state))
            feed_step(state, rest);
        break;
    case 'D': feed_document(rest); break;
    case 'M': feed_absorb(rest); break;
    case 'J': feed_bytes(rest); break;
    default: break;
    }
    return 0;
}
