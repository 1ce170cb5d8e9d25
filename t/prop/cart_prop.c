/* cart_prop: random histories of carts against the causal oracle; the invariants I1 to I12 of
 * doc/cart-model.md. Prints its seed first; a failing history is shrunk step by step and printed.
 *
 *   cart_prop [--histories N] [--seed S] [--only I4]
 *
 * --only looks at one invariant alone, to see that its check can fail when another fails first. */
#include "cart_prop.h"
#include "lib/edit_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { COPIES = 4, STEPS_MAX = 40, SNAPSHOTS = 12, REQUESTS = 8 };

/* A state and the events it stands for. */
struct copy {
    struct buf state;
    oracle_set known;
};

/* What a node has: its copy, its actor, what it had on disk, and its journal since `base`. */
struct node {
    struct copy now, disk, base;
    uint64_t actor, seq;
    struct buf journal;
};

/* A request with a token, to be sent again elsewhere. */
struct request {
    int token;
    struct cart_op op;
};

/* What a history may contain. */
struct kind {
    bool bits;       /* every quantity is a bit of its own: a wrong sum names the add */
    bool crashes;    /* back to what was on disk, with a fresh actor */
    bool forgetting; /* back to nothing, with a fresh actor */
    bool expiry;
    bool old_actors; /* ids in no order: the vector grows in the middle */
};

struct history {
    struct rng rng;
    struct kind kind;
    struct oracle oracle;
    struct node nodes[COPIES];
    int nodes_count;
    struct copy snapshots[SNAPSHOTS];
    int snapshots_count;
    struct request requests[REQUESTS];
    int requests_count, tokens, bit;
    uint64_t clock_us, boots;
    struct copy flushed; /* the database: for I9 */
    struct cart *cart, *other;
    bool tell;
};

/* ---- failing ----------------------------------------------------------------------------------
 */

static struct {
    char what[256];
    bool failed;
    const char *only; /* NULL = all */
} failure;

bool prop_fail(const char *invariant, const char *format, ...)
{
    if (failure.only && strcmp(invariant, failure.only) != 0)
        return true;
    if (failure.failed)
        return false;
    va_list args;
    va_start(args, format);
    int at = snprintf(failure.what, sizeof(failure.what), "%s: ", invariant);
    vsnprintf(failure.what + at, sizeof(failure.what) - (size_t)at, format, args);
    va_end(args);
    failure.failed = true;
    return false;
}

#define CHECK(cond, invariant, ...)                                                                \
    do {                                                                                           \
        if (!(cond) && !prop_fail(invariant, __VA_ARGS__))                                         \
            return false;                                                                          \
    } while (0)

static void tell(const struct history *history, const char *format, ...)
{
    if (!history->tell)
        return;
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

/* ---- states -----------------------------------------------------------------------------------
 */

static void keep_copy(struct copy *copy, struct slice state, oracle_set known)
{
    copy->state.len = 0;
    MUST(buf_append(&copy->state, state.bytes, state.len) == 0);
    copy->known = known;
}

static struct slice merge_into(struct cart *cart, struct slice a, struct slice b)
{
    struct slice out;
    MUST(cart_load(cart, a) == 0 && cart_merge(cart, b) == 0 && cart_store(cart, &out) == 0);
    return out;
}

static void boot(struct history *history, struct node *node)
{
    history->boots++;
    uint64_t age = history->kind.old_actors ? rng_below(&history->rng, 1u << 20) : history->boots;
    node->actor = age << 32 | (rng_next(&history->rng) >> 40 << 8) | history->boots;
    node->seq = 0;
    node->journal.len = 0;
    keep_copy(&node->base, buf_slice(&node->now.state), node->now.known);
}

/* ---- I5 and its kin: a copy against the oracle -------------------------------------------------
 */

struct lines_seen {
    struct cart_line lines[ORACLE_KEYS];
    int count;
    bool bad;
};

static int see_line(void *arg, const struct cart_line *line)
{
    struct lines_seen *seen = arg;
    if (seen->count == ORACLE_KEYS)
        return CE_CORRUPT;
    seen->lines[seen->count++] = *line;
    return 0;
}

static bool same_line(const struct cart_line *line, const struct oracle_line *want)
{
    const struct oracle_info *info = &want->info;
    return line->qty == want->qty && line->checked == info->checked &&
           line->has_price == info->has_price && line->price == info->price &&
           line->added_us == info->added_us && line->updated_us == info->updated_us;
}

static const struct cart_line *find_seen(const struct lines_seen *seen, int key)
{
    for (int i = 0; i < seen->count; i++)
        if (slice_eq(seen->lines[i].line, oracle_key(key)))
            return &seen->lines[i];
    return NULL;
}

/* I3 and I4 when quantities are bits: which adds a line shows is to be read off its quantity. */
static bool check_bits(const struct history *history, const struct oracle_line *want, int key,
                       int64_t qty)
{
    const char *lost = history->kind.crashes ? "I7" : history->kind.forgetting ? "I8" : "I3";
    int64_t live = 0; /* a retry has the bit of its first time */
    for (int i = 0; i < history->oracle.count; i++)
        if (want->live >> i & 1)
            live |= history->oracle.events[i].on[key].qty;
    for (int i = 0; i < history->oracle.count; i++) {
        int64_t bit = history->oracle.events[i].on[key].qty;
        bool add = history->oracle.events[i].on[key].kind == ORACLE_ADD;
        if (add && want->live >> i & 1)
            CHECK(qty & bit, lost, "event %d added %ld and is lost", i, (long)bit);
        if (want->dead >> i & 1 && !(live & bit))
            CHECK(!(qty & bit), "I4", "event %d (%ld) was removed and is back", i, (long)bit);
        if (want->hidden >> i & 1)
            CHECK(qty == want->qty, "I6", "event %d is a retry and counts", i);
    }
    return true;
}

static bool check_sums(const struct copy *copy, const struct lines_seen *seen,
                       const struct oracle_meta *meta)
{
    struct cart_summary summary;
    struct cart_summary want = {.lines = (uint32_t)seen->count};
    cart_summary(buf_slice(&copy->state), 0, &summary);
    want.amount_known = want.checked_amount_known = true;
    for (int i = 0; i < seen->count; i++) {
        const struct cart_line *line = &seen->lines[i];
        want.qty += (uint32_t)line->qty;
        want.amount_known &= line->has_price;
        want.amount += line->qty * line->price;
        if (!line->checked)
            continue;
        want.checked_lines++;
        want.checked_qty += (uint32_t)line->qty;
        want.checked_amount_known &= line->has_price;
        want.checked_amount += line->qty * line->price;
    }
    CHECK(summary.lines == want.lines && summary.qty == want.qty &&
              summary.checked_lines == want.checked_lines &&
              summary.checked_qty == want.checked_qty,
          "I5", "counters differ from the lines");
    CHECK(summary.amount_known == want.amount_known &&
              summary.checked_amount_known == want.checked_amount_known &&
              (!want.amount_known || summary.amount == want.amount) &&
              (!want.checked_amount_known || summary.checked_amount == want.checked_amount),
          "I5", "amounts differ from the lines");
    CHECK(summary.exists == (meta->alive || seen->count > 0), "I5", "exists is wrong");
    CHECK(summary.expiry_us == meta->expiry_us, "I5", "expiry is wrong");
    struct slice moved_to = meta->moved ? oracle_key(meta->moved - 1) : slice_of(NULL, 0);
    CHECK(slice_eq(summary.moved_to, moved_to), "I5", "it became part of another cart");
    return true;
}

static bool check_copy(const struct history *history, const struct copy *copy)
{
    struct lines_seen seen = {0};
    CHECK(cart_lines(buf_slice(&copy->state), 0, see_line, &seen) == 0, "I5", "too many lines");
    for (int key = 0; key < ORACLE_KEYS; key++) {
        struct oracle_line want;
        const struct cart_line *line = find_seen(&seen, key);
        oracle_line(&history->oracle, copy->known, key, &want);
        int64_t qty = line ? line->qty : 0;
        if (history->kind.bits && !check_bits(history, &want, key, qty))
            return false;
        CHECK(qty == want.qty, "I5", "line %d shows %ld, not %ld", key, (long)qty, (long)want.qty);
        CHECK(!line || same_line(line, &want), "I5", "line %d shows other fields", key);
    }
    for (int i = 1; i < seen.count; i++)
        CHECK(seen.lines[i - 1].added_us < seen.lines[i].added_us ||
                  (seen.lines[i - 1].added_us == seen.lines[i].added_us &&
                   slice_cmp(seen.lines[i - 1].line, seen.lines[i].line) < 0),
              "I5", "lines are not in order of adding");
    struct oracle_meta meta = oracle_meta(&history->oracle, copy->known);
    return check_sums(copy, &seen, &meta);
}

/* ---- I1, I2, I6, I9 ----------------------------------------------------------------------------
 */

static struct copy *pick_copy(struct history *history)
{
    uint64_t all = (uint64_t)(history->nodes_count + history->snapshots_count);
    uint64_t pick = rng_below(&history->rng, all);
    if (pick < (uint64_t)history->nodes_count)
        return &history->nodes[pick].now;
    return &history->snapshots[pick - (uint64_t)history->nodes_count];
}

static bool check_commutes(struct history *history, struct slice a, struct slice b)
{
    struct slice left = merge_into(history->cart, a, b);
    struct slice right = merge_into(history->other, b, a);
    CHECK(slice_eq(left, right), "I1", "merge does not commute");
    CHECK(cart_covers(left, a) && cart_covers(left, b), "I2", "a merge forgot events");
    CHECK(cart_check(left) == 0, "I1", "a merged state is not canonical");
    return true;
}

static bool check_laws(struct history *history)
{
    struct slice a = buf_slice(&pick_copy(history)->state);
    struct slice b = buf_slice(&pick_copy(history)->state);
    struct slice c = buf_slice(&pick_copy(history)->state);
    struct buf ab = {0};
    if (!check_commutes(history, a, b))
        return false;
    struct slice joined = merge_into(history->cart, a, b);
    MUST(buf_append(&ab, joined.bytes, joined.len) == 0);
    struct slice bc = merge_into(history->other, b, c);
    struct slice left = merge_into(history->cart, a, bc);
    struct slice right = merge_into(history->other, buf_slice(&ab), c);
    bool same = slice_eq(left, right);
    buf_free(&ab);
    CHECK(same, "I1", "merge does not associate");
    CHECK(slice_eq(merge_into(history->cart, a, a), a), "I1", "merge is not idempotent");
    CHECK(slice_eq(merge_into(history->cart, slice_of(NULL, 0), a), a), "I1",
          "joined with nothing a state differs");
    return true;
}

/* Replay of anything a copy has seen changes nothing; what is new to it does. */
static bool check_replay(struct history *history, const struct copy *copy, const struct copy *old)
{
    struct slice now = buf_slice(&copy->state), then = buf_slice(&old->state);
    bool covers = (old->known & ~copy->known) == 0;
    CHECK(cart_covers(now, then) == covers, "I2", "the version vector does not tell what was seen");
    if (covers)
        CHECK(slice_eq(merge_into(history->cart, now, then), now), "I6",
              "replay of an old state changed the cart");
    return true;
}

/* A database row is written from some copy; the marker of a node clears only when the row covers
 * it, and then the row has all the node knows. */
static bool check_flush(struct history *history, const struct copy *copy)
{
    struct copy *row = &history->flushed;
    if (rng_below(&history->rng, 2)) {
        struct slice joined =
            merge_into(history->cart, buf_slice(&row->state), buf_slice(&copy->state));
        keep_copy(row, joined, row->known | copy->known);
    }
    bool clears = cart_covers(buf_slice(&row->state), buf_slice(&copy->state));
    CHECK(clears == ((copy->known & ~row->known) == 0), "I9",
          "a marker cleared too early, or never");
    return true;
}

/* ---- steps ------------------------------------------------------------------------------------
 */

static int64_t pick_qty(struct history *history)
{
    if (!history->kind.bits)
        return (int64_t)rng_below(&history->rng, 9) + 1;
    return (int64_t)1 << history->bit++;
}

static struct cart_op make_op(struct history *history)
{
    static const enum cart_op_kind kinds[] = {
        CART_ADD,  CART_ADD,  CART_ADD,   CART_ADD,    CART_ADD,    CART_ADD,    CART_ADD,
        CART_SET,  CART_SET,  CART_SET,   CART_REMOVE, CART_REMOVE, CART_CHECK,  CART_CHECK,
        CART_SWAP, CART_SWAP, CART_CLEAR, CART_FORGET, CART_TOUCH,  CART_RETAIN, CART_MOVE,
    };
    struct rng *rng = &history->rng;
    struct cart_op op = {.kind = kinds[rng_below(rng, sizeof(kinds) / sizeof(*kinds))]};
    if (history->kind.bits && op.kind == CART_SWAP)
        op.kind = CART_REMOVE;
    if (op.kind >= CART_RETAIN && op.kind != CART_TOUCH && rng_below(rng, 2))
        op.kind = CART_ADD;
    op.line = oracle_key((int)rng_below(rng, ORACLE_KEYS));
    op.new_line = oracle_key((int)rng_below(rng, ORACLE_KEYS));
    if (op.kind == CART_ADD || op.kind == CART_SET) {
        op.n = pick_qty(history);
        if (!history->kind.bits && op.kind == CART_ADD && rng_below(rng, 4) == 0)
            op.n = -op.n;
        if (!history->kind.bits && op.kind == CART_SET && rng_below(rng, 4) == 0)
            op.n = 0;
        if (rng_below(rng, 2)) {
            op.flags |= CART_OP_PRICE;
            op.price = (int64_t)rng_below(rng, 5000);
        }
    }
    if ((op.kind == CART_SET || op.kind == CART_ADD) && rng_below(rng, 3) == 0) {
        op.flags |= CART_OP_CHECKED;
        op.checked = rng_below(rng, 2);
    }
    if (op.kind == CART_CHECK) {
        op.n = (int64_t)rng_below(rng, 2);
        if (rng_below(rng, 4) == 0)
            op.line = slice_of(NULL, 0);
    }
    if (op.kind == CART_CLEAR)
        op.n = (int64_t)rng_below(rng, 3);
    return op;
}

static void tell_step(const struct history *history, int node, const struct cart_step *step,
                      int token, const struct oracle_verdict *verdict)
{
    static const char *const names[] = {"?",     "add",    "set",    "remove", "check", "swap",
                                        "clear", "retain", "forget", "touch",  "move"};
    tell(history, "  n%d now %+ld", node, (long)(step->now_us - PROP_START_US));
    if (step->life == CART_LIFE_FIXED)
        tell(history, " life %+ld", (long)(step->life_us - PROP_START_US));
    if (token)
        tell(history, " token %d", token);
    for (size_t i = 0; i < step->ops_count; i++) {
        const struct cart_op *op = &step->ops[i];
        tell(history, " %s", names[op->kind]);
        if (op->line.len && op->kind <= CART_SWAP)
            tell(history, " %.*s", (int)op->line.len, op->line.bytes);
        if (op->kind == CART_SWAP)
            tell(history, ">%.*s", (int)op->new_line.len, op->new_line.bytes);
        tell(history, " %ld", (long)op->n);
    }
    if (verdict->changed)
        tell(history, " = event %d\n", history->oracle.count - 1);
    else
        tell(history, verdict->repeats >= 0 ? " = known\n" : " = nothing (%d)\n", verdict->err);
}

/* What the implementation answered must be what the oracle said. */
static bool check_answer(struct history *history, const struct node *node, int err,
                         const struct cart_result *result, const struct oracle_verdict *verdict)
{
    CHECK(err == verdict->err, "I5", "the step ended with %d, not %d", err, verdict->err);
    if (err)
        return true;
    CHECK(result->changed == verdict->changed, "I5", "changed is %d", result->changed);
    CHECK(result->repeated == (verdict->repeats >= 0), "I6", "repeated is %d", result->repeated);
    if (result->repeated) {
        const struct cart_result *first = &history->oracle.events[verdict->repeats].answer;
        CHECK(result->line_qty == first->line_qty &&
                  result->summary.version == first->summary.version &&
                  result->summary.cas == first->summary.cas &&
                  result->summary.lines == first->summary.lines &&
                  result->summary.qty == first->summary.qty &&
                  result->summary.checked_amount_known == first->summary.checked_amount_known &&
                  (!first->summary.checked_amount_known ||
                   result->summary.checked_amount == first->summary.checked_amount),
              "I6", "a retry was answered otherwise than the first time");
        return true;
    }
    CHECK(result->line_qty == verdict->line_qty, "I5", "x is %ld, not %ld", (long)result->line_qty,
          (long)verdict->line_qty);
    CHECK(result->expired == verdict->expired, "I5", "expired is %d", result->expired);
    (void)node;
    return true;
}

/* Puts the new state in place of the old one: it must have seen more, never less. */
static bool take_state(struct history *history, struct node *node, bool changed, oracle_set known)
{
    struct slice state;
    struct slice old = buf_slice(&node->now.state);
    struct cart_summary before, after;
    MUST(cart_store(history->cart, &state) == 0);
    cart_summary(old, 0, &before);
    cart_summary(state, 0, &after);
    CHECK(cart_covers(state, old), "I2", "an event was forgotten");
    CHECK(changed == !cart_covers(old, state), "I2", "changed, but the vector did not grow");
    CHECK(changed ? after.version > before.version : after.version == before.version, "I2",
          "the version went from %lu to %lu", (unsigned long)before.version,
          (unsigned long)after.version);
    if (!changed)
        CHECK(slice_eq(state, old), "I6", "nothing happened and the bytes changed");
    keep_copy(&node->now, state, known);
    return true;
}

static void journal_step(struct node *node, const struct cart_step *step)
{
    struct buf bytes = {0};
    MUST(cart_step_encode(step, &bytes) == 0);
    uint64_t head[2] = {bytes.len, node->seq};
    MUST(buf_append(&node->journal, head, sizeof(head)) == 0);
    MUST(buf_append(&node->journal, bytes.bytes, bytes.len) == 0);
    buf_free(&bytes);
}

/* A merge comes into the journal as the state it brought, with seq 0. */
static void journal_merge(struct node *node, struct slice state)
{
    uint64_t head[2] = {state.len, 0};
    MUST(buf_append(&node->journal, head, sizeof(head)) == 0);
    MUST(buf_append(&node->journal, state.bytes, state.len) == 0);
}

static bool play_step(struct history *history, int at, struct cart_op *ops, size_t ops_count,
                      int token)
{
    static const struct cart_limits limits = {1000, INT32_MAX, 512, 1u << 20};
    struct node *node = &history->nodes[at];
    char name[16];
    struct cart_result result;
    int64_t skew = (int64_t)rng_below(&history->rng, 4000) - 2000;
    struct cart_step step = {.actor = node->actor,
                             .now_us = history->clock_us + (uint64_t)skew,
                             .fold = CART_FOLD_NONE,
                             .ops = ops,
                             .ops_count = ops_count,
                             .limits = &limits};
    if (history->kind.expiry && rng_below(&history->rng, 2)) {
        step.life = rng_below(&history->rng, 5) ? CART_LIFE_FIXED : CART_LIFE_NONE;
        step.life_us = step.now_us + rng_below(&history->rng, 9000);
    }
    if (token)
        step.token = slice_of(name, (size_t)snprintf(name, sizeof(name), "tok%d", token));
    struct oracle_verdict verdict =
        oracle_step(&history->oracle, node->now.known, &step, node->seq + 1, token);
    tell_step(history, at, &step, token, &verdict);
    CHECK(edit_check(buf_slice(&node->now.state), &step) != EDIT_DIFFERS, "I12",
          "done in place a step is another");
    MUST(cart_load(history->cart, buf_slice(&node->now.state)) == 0);
    int err = cart_apply(history->cart, &step, &result);
    if (!check_answer(history, node, err, &result, &verdict) || err)
        return !failure.failed;
    oracle_set known = node->now.known;
    if (verdict.changed) {
        int event = history->oracle.count - 1;
        history->oracle.events[event].answer = result;
        known |= 1ull << event;
        node->seq++;
        journal_step(node, &step);
    }
    return take_state(history, node, verdict.changed, known) && check_copy(history, &node->now);
}

static bool play_ops(struct history *history, int at)
{
    struct rng *rng = &history->rng;
    struct cart_op ops[3];
    size_t count = rng_below(rng, 5) ? 1 : 1 + rng_below(rng, 3);
    if (history->bit > 25 || history->oracle.count >= ORACLE_EVENTS - 1)
        return true;
    for (size_t i = 0; i < count; i++)
        ops[i] = make_op(history);
    return play_step(history, at, ops, count, 0);
}

static bool play_token(struct history *history, int at)
{
    struct rng *rng = &history->rng;
    struct request *request;
    if (history->bit > 25 || history->oracle.count >= ORACLE_EVENTS - 1)
        return true;
    if (history->requests_count == REQUESTS || (history->requests_count && rng_below(rng, 3) < 2)) {
        request = &history->requests[rng_below(rng, (uint64_t)history->requests_count)];
    } else {
        request = &history->requests[history->requests_count++];
        request->token = ++history->tokens;
        request->op = make_op(history);
        if (request->op.kind != CART_ADD || request->op.n < 0) {
            request->op.kind = CART_ADD;
            request->op.flags = 0;
            request->op.n = pick_qty(history);
            request->op.line = oracle_key((int)rng_below(rng, ORACLE_KEYS));
        }
    }
    struct cart_op op = request->op;
    return play_step(history, at, &op, 1, request->token);
}

static bool play_merge(struct history *history, int at, const struct copy *from)
{
    struct node *node = &history->nodes[at];
    oracle_set known = node->now.known | from->known;
    bool grows = known != node->now.known;
    tell(history, "  n%d merges {%lx}\n", at, (unsigned long)from->known);
    if (!check_replay(history, &node->now, from))
        return false;
    journal_merge(node, buf_slice(&from->state));
    MUST(cart_load(history->cart, buf_slice(&node->now.state)) == 0);
    MUST(cart_merge(history->cart, buf_slice(&from->state)) == 0);
    return take_state(history, node, grows, known) && check_copy(history, &node->now);
}

static void play_snapshot(struct history *history, int at)
{
    const struct node *node = &history->nodes[at];
    int slot = history->snapshots_count < SNAPSHOTS ? history->snapshots_count++
                                                    : (int)rng_below(&history->rng, SNAPSHOTS);
    keep_copy(&history->snapshots[slot], buf_slice(&node->now.state), node->now.known);
}

static void play_crash(struct history *history, int at)
{
    struct node *node = &history->nodes[at];
    tell(history, "  n%d crashes back to {%lx}\n", at, (unsigned long)node->disk.known);
    keep_copy(&node->now, buf_slice(&node->disk.state), node->disk.known);
    boot(history, node);
}

static void play_loss(struct history *history, int at)
{
    struct node *node = &history->nodes[at];
    tell(history, "  n%d forgets all\n", at);
    keep_copy(&node->now, slice_of(NULL, 0), 0);
    keep_copy(&node->disk, slice_of(NULL, 0), 0);
    boot(history, node);
}

static bool play_one(struct history *history)
{
    struct rng *rng = &history->rng;
    int at = (int)rng_below(rng, (uint64_t)history->nodes_count);
    uint64_t dice = rng_below(rng, 100);
    history->clock_us += rng_below(rng, 2000);
    if (dice < 40)
        return play_ops(history, at);
    if (dice < 55)
        return play_token(history, at);
    if (dice < 80)
        return play_merge(history, at, pick_copy(history));
    if (dice < 86)
        return check_flush(history, &history->nodes[at].now);
    struct node *node = &history->nodes[at];
    if (dice < 92)
        play_snapshot(history, at);
    else if (dice < 95)
        keep_copy(&node->disk, buf_slice(&node->now.state), node->now.known);
    else if (history->kind.crashes)
        play_crash(history, at);
    else if (history->kind.forgetting)
        play_loss(history, at);
    return true;
}

/* ---- the end of a history ----------------------------------------------------------------------
 */

/* The journal over what it was begun with gives the state; over the state itself it is skipped. */
static bool check_journal(struct history *history, const struct node *node)
{
    struct slice rest = buf_slice(&node->journal), state, now = buf_slice(&node->now.state);
    struct cart_op ops[8];
    struct cart_step step;
    struct cart_result result;
    MUST(cart_load(history->cart, buf_slice(&node->base.state)) == 0);
    while (rest.len) {
        uint64_t head[2];
        memcpy(head, rest.bytes, sizeof(head));
        struct slice record = slice_of(rest.bytes + sizeof(head), head[0]);
        rest = slice_from(rest, sizeof(head) + head[0]);
        if (head[1] == 0) {
            MUST(cart_merge(history->cart, record) == 0);
            continue;
        }
        CHECK(cart_step_decode(record, ops, &step) == 0, "journal", "a step cannot be read");
        CHECK(cart_apply(history->cart, &step, &result) == 0 && result.changed, "journal",
              "a step cannot be replayed");
        CHECK(cart_seq(now, step.actor) >= head[1], "journal", "a step would be replayed twice");
    }
    MUST(cart_store(history->cart, &state) == 0);
    CHECK(slice_eq(state, now), "journal", "replay gives other bytes");
    return true;
}

/* All copies joined, in two orders and the second time twice. */
static bool check_end(struct history *history)
{
    struct copy all = {0}, again = {0};
    bool good = true;
    for (int i = 0; i < history->nodes_count; i++) {
        const struct copy *copy = &history->nodes[i].now;
        struct slice joined =
            merge_into(history->cart, buf_slice(&all.state), buf_slice(&copy->state));
        keep_copy(&all, joined, all.known | copy->known);
    }
    for (int round = 0; round < 2; round++)
        for (int i = history->nodes_count; i-- > 0;) {
            const struct copy *copy = &history->nodes[(i * 3 + round) % history->nodes_count].now;
            const struct copy *side = &history->nodes[i].now;
            struct slice joined =
                merge_into(history->cart, buf_slice(&again.state), buf_slice(&copy->state));
            keep_copy(&again, joined, 0);
            joined = merge_into(history->cart, buf_slice(&again.state), buf_slice(&side->state));
            keep_copy(&again, joined, 0);
        }
    good = check_copy(history, &all);
    if (good && !slice_eq(buf_slice(&all.state), buf_slice(&again.state)))
        good = prop_fail("I6", "the order or number of merges shows in the bytes");
    if (good && cart_check(buf_slice(&all.state)))
        good = prop_fail("I1", "the joined state is not canonical");
    buf_free(&all.state);
    buf_free(&again.state);
    for (int i = 0; good && i < history->nodes_count; i++)
        good = check_journal(history, &history->nodes[i]);
    return good;
}

/* ---- running ----------------------------------------------------------------------------------
 */

static void start_history(struct history *history, uint64_t seed)
{
    history->rng = (struct rng){rng_mix(seed)};
    history->oracle.count = 0;
    history->snapshots_count = history->requests_count = history->tokens = history->bit = 0;
    history->clock_us = PROP_START_US;
    history->boots = 0;
    uint64_t dice = rng_next(&history->rng);
    history->kind = (struct kind){.bits = dice & 1,
                                  .crashes = (dice & 6) == 2,
                                  .forgetting = (dice & 6) == 4,
                                  .expiry = (dice & 24) == 8,
                                  .old_actors = (dice & 96) == 32};
    history->nodes_count = 2 + (int)(dice >> 8) % (COPIES - 1);
    if (history->nodes_count < 2)
        history->nodes_count = 2;
    keep_copy(&history->flushed, slice_of(NULL, 0), 0);
    for (int i = 0; i < history->nodes_count; i++) {
        struct node *node = &history->nodes[i];
        keep_copy(&node->now, slice_of(NULL, 0), 0);
        keep_copy(&node->disk, slice_of(NULL, 0), 0);
        boot(history, node);
    }
}

/* Plays the steps of a history that `skip` leaves; each has its own random numbers, so leaving one
 * out does not change the others. */
static bool play_history(struct history *history, uint64_t seed, uint64_t skip, int steps)
{
    bool good = true;
    failure.failed = false;
    start_history(history, seed);
    for (int i = 0; i < steps && good; i++) {
        history->rng.state = rng_mix(seed ^ rng_mix((uint64_t)i + 1));
        if (skip >> i & 1)
            continue;
        good = play_one(history);
    }
    history->rng.state = rng_mix(seed + 7);
    return good && check_laws(history) && check_end(history);
}

static void shrink(struct history *history, uint64_t seed, int steps)
{
    uint64_t skip = 0;
    for (int round = 0; round < 3; round++)
        for (int i = steps; i-- > 0;)
            if (!(skip >> i & 1) && !play_history(history, seed, skip | 1ull << i, steps))
                skip |= 1ull << i;
    history->tell = true;
    printf("the smallest history found:\n");
    play_history(history, seed, skip, steps);
    history->tell = false;
    printf("%s\n", failure.what);
}

static void free_history(struct history *history)
{
    struct buf *bufs[SNAPSHOTS + 4 * COPIES + 1];
    size_t count = 0;
    for (int i = 0; i < SNAPSHOTS; i++)
        bufs[count++] = &history->snapshots[i].state;
    for (int i = 0; i < COPIES; i++) {
        bufs[count++] = &history->nodes[i].now.state;
        bufs[count++] = &history->nodes[i].disk.state;
        bufs[count++] = &history->nodes[i].base.state;
        bufs[count++] = &history->nodes[i].journal;
    }
    bufs[count++] = &history->flushed.state;
    while (count)
        buf_free(bufs[--count]);
    cart_free(&history->cart);
    cart_free(&history->other);
}

/* Most histories are small and dense; every 16th is one of the special kinds. */
static bool run_one(struct history *history, uint64_t seed, uint64_t index)
{
    uint64_t mixed = rng_mix(seed + index);
    failure.failed = false;
    if (index % 16 == 15) {
        if (prop_special(history->cart, history->other, mixed, index / 16))
            return true;
        printf("history %lu of seed %lu (special kind %lu)\n%s\n", (unsigned long)index,
               (unsigned long)seed, (unsigned long)(index / 16 % 4), failure.what);
        return false;
    }
    int steps = 6 + (int)(mixed % (STEPS_MAX - 6));
    if (play_history(history, mixed, 0, steps))
        return true;
    printf("history %lu of seed %lu, %d steps\n%s\n", (unsigned long)index, (unsigned long)seed,
           steps, failure.what);
    shrink(history, mixed, steps);
    return false;
}

int main(int argc, char **argv)
{
    uint64_t histories = 100000, seed = env_random_u64(env_real()) % 1000000000;
    static struct history history;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--only")) {
            failure.only = argv[i + 1];
            continue;
        }
        uint64_t *into = !strcmp(argv[i], "--histories") ? &histories
                         : !strcmp(argv[i], "--seed")    ? &seed
                                                         : NULL;
        if (!into || !num_u64(slice_str(argv[i + 1]), into)) {
            fprintf(stderr, "usage: cart_prop [--histories N] [--seed S] [--only I4]\n");
            return 2;
        }
    }
    printf("cart_prop: seed %lu\n", (unsigned long)seed);
    fflush(stdout);
    MUST(cart_new(&history.cart) == 0 && cart_new(&history.other) == 0);
    uint64_t failures = 0;
    for (uint64_t i = 0; i < histories && !failures; i++)
        failures += !run_one(&history, seed, i);
    free_history(&history);
    printf("cart_prop: %lu histories, %lu failures\n", (unsigned long)histories,
           (unsigned long)failures);
    return failures ? 1 : 0;
}
