/* cart_special: kinds of history that the oracle of cart_prop does not cover: long runs of adds
 * that fold, a cart without peers, more actors than a vector keeps, and the laws under everything
 * at once (clock jumps, tokens that expire and come back, folding). */
#include "cart_prop.h"
#include "lib/edit_check.h"

#include <stdio.h>

enum { WORDS = 4, EVENTS = 64 * WORDS, COPIES = 3 };

#define CHECK(cond, invariant, ...)                                                                \
    do {                                                                                           \
        if (!(cond) && !prop_fail(invariant, __VA_ARGS__))                                         \
            return false;                                                                          \
    } while (0)

struct bits {
    uint64_t words[WORDS];
};

struct place {
    struct buf state;
    struct bits known;
    uint64_t actor;
};

struct world {
    struct rng rng;
    struct cart *cart, *other;
    struct place places[COPIES];
    int places_count, events;
    uint64_t now_us, boots;
    enum cart_fold fold;
    struct cart_result result;
};

static const struct cart_limits limits = {1000, CART_QTY_HARD, 512, 1u << 20};

static bool has(const struct bits *bits, int event)
{
    return bits->words[event / 64] >> event % 64 & 1;
}

static void add(struct bits *bits, int event)
{
    bits->words[event / 64] |= 1ull << event % 64;
}

static void join(struct bits *bits, const struct bits *other)
{
    for (int i = 0; i < WORDS; i++)
        bits->words[i] |= other->words[i];
}

static uint64_t mint(struct world *world)
{
    return ++world->boots << 32 | (rng_next(&world->rng) >> 32);
}

static void keep_state(struct buf *into, struct slice state)
{
    into->len = 0;
    MUST(buf_append(into, state.bytes, state.len) == 0);
}

static struct slice merged(struct cart *cart, struct slice a, struct slice b)
{
    struct slice out;
    MUST(cart_load(cart, a) == 0 && cart_merge(cart, b) == 0 && cart_store(cart, &out) == 0);
    return out;
}

static uint64_t version_of(struct slice state)
{
    struct cart_summary summary;
    cart_summary(state, 0, &summary);
    return summary.version;
}

/* Applies one op at a place; whatever it says must leave a canonical state that is not older. */
static bool apply(struct world *world, struct place *place, struct cart_op op, int token)
{
    char name[16];
    struct slice state, old = buf_slice(&place->state);
    struct cart_step step = {.actor = place->actor,
                             .now_us = world->now_us,
                             .fold = world->fold,
                             .ops = &op,
                             .ops_count = 1,
                             .limits = &limits};
    if (token)
        step.token = slice_of(name, (size_t)snprintf(name, sizeof(name), "t%d", token));
    CHECK(edit_check(old, &step) != EDIT_DIFFERS, "I12", "done in place a step is another");
    MUST(cart_load(world->cart, old) == 0);
    int err = cart_apply(world->cart, &step, &world->result);
    CHECK(err == 0 || err == CE_NOTFOUND || err == CE_TOKEN_REUSED || err == CE_QTY_LIMIT, "I5",
          "a step ended with %d", err);
    if (err)
        return true;
    MUST(cart_store(world->cart, &state) == 0);
    CHECK(cart_check(state) == 0, "I1", "a state is not canonical");
    uint64_t before = version_of(old), after = version_of(state);
    CHECK(world->result.changed ? after > before : after == before, "I2",
          "the version went from %lu to %lu", (unsigned long)before, (unsigned long)after);
    keep_state(&place->state, state);
    return true;
}

static bool merge(struct world *world, struct place *into, const struct place *from)
{
    struct slice a = buf_slice(&into->state), b = buf_slice(&from->state);
    uint64_t before = version_of(a), other = version_of(b);
    struct slice state = merged(world->cart, a, b);
    CHECK(cart_check(state) == 0, "I1", "a merged state is not canonical");
    CHECK(version_of(state) >= before && version_of(state) >= other, "I2",
          "a merge took the version back");
    keep_state(&into->state, state);
    join(&into->known, &from->known);
    return true;
}

static int64_t shown(const struct place *place, struct slice key)
{
    struct cart_line line;
    int err = cart_line_find(buf_slice(&place->state), 0, key, &line);
    return err ? 0 : line.qty;
}

static struct place *pick(struct world *world)
{
    return &world->places[rng_below(&world->rng, (uint64_t)world->places_count)];
}

static bool check_three(struct world *world, struct slice a, struct slice b, struct slice c)
{
    struct buf left = {0}, right = {0};
    keep_state(&left, merged(world->cart, a, b));
    keep_state(&right, merged(world->cart, b, a));
    bool commutes = slice_eq(buf_slice(&left), buf_slice(&right));
    keep_state(&left, merged(world->cart, buf_slice(&left), c));
    keep_state(&right, merged(world->cart, b, c));
    keep_state(&right, merged(world->cart, a, buf_slice(&right)));
    bool associates = slice_eq(buf_slice(&left), buf_slice(&right));
    keep_state(&right, merged(world->cart, buf_slice(&left), b));
    bool absorbs = slice_eq(buf_slice(&left), buf_slice(&right));
    buf_free(&left);
    buf_free(&right);
    CHECK(commutes, "I1", "merge does not commute");
    CHECK(associates, "I1", "merge does not associate");
    CHECK(absorbs, "I6", "a state merged twice changed the cart");
    return true;
}

static bool check_laws(struct world *world)
{
    struct slice states[COPIES];
    for (int i = 0; i < COPIES; i++)
        states[i] = buf_slice(&world->places[i].state);
    for (int i = 0; i < COPIES; i++)
        if (!check_three(world, states[i], states[(i + 1) % COPIES], states[(i + 2) % COPIES]))
            return false;
    return true;
}

/* ---- folding with peers (I10, I11) -------------------------------------------------------------
 */

struct folding {
    int64_t qty[EVENTS];
    int request[EVENTS]; /* the same number: a retry of the same request */
    uint64_t asked_us[EVENTS];
    bool tokens;
    bool jumps, heals; /* the clock jumps past the life of tokens, after all copies met */
};

/* Adds only: a copy shows what its requests add up to, each once. When copies were apart for longer
 * than tokens live, a retry of what was folded meanwhile may count again, and nothing is lost. */
static bool check_folding(const struct world *world, const struct folding *folding,
                          const struct place *place)
{
    int64_t once = 0, all = 0, qty = shown(place, slice_str("L"));
    bool counted[EVENTS] = {false};
    for (int i = 0; i < world->events; i++) {
        if (!has(&place->known, i))
            continue;
        all += folding->qty[i];
        if (!counted[folding->request[i]])
            once += folding->qty[i];
        counted[folding->request[i]] = true;
    }
    CHECK(qty >= once, "I10", "folding lowered %ld to %ld", (long)once, (long)qty);
    CHECK(qty <= (folding->jumps && !folding->heals ? all : once), "I6", "%ld adds up to %ld",
          (long)once, (long)qty);
    if (!folding->tokens) {
        size_t actors = (size_t)world->places_count;
        size_t max = 160 + actors * (20 + (CART_FOLD_MAX + 1) * 4);
        CHECK(place->state.len <= max, "I11", "%zu bytes for one line", place->state.len);
    }
    return true;
}

static bool fold_step(struct world *world, struct folding *folding)
{
    struct rng *rng = &world->rng;
    struct place *place = pick(world);
    int event = world->events, request = event;
    bool token = folding->tokens && rng_below(rng, 5);
    if (token && event && rng_below(rng, 2)) {
        int recent = event < 20 ? event : 20;
        request = folding->request[event - 1 - (int)rng_below(rng, (uint64_t)recent)];
        if (folding->asked_us[request] == 0 ||
            world->now_us - folding->asked_us[request] > CART_TOKEN_LIFE_US / 2)
            request = event;
    }
    folding->request[event] = request;
    folding->asked_us[event] = token ? world->now_us : 0;
    folding->qty[event] =
        request == event ? 1 + (int64_t)rng_below(rng, 20) : folding->qty[request];
    struct cart_op op = {.kind = CART_ADD, .line = slice_str("L"), .n = folding->qty[event]};
    if (!apply(world, place, op, token ? request + 1 : 0))
        return false;
    if (world->result.changed)
        add(&place->known, world->events++);
    return check_folding(world, folding, place);
}

static bool meet(struct world *world)
{
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < world->places_count; i++)
            if (!merge(world, &world->places[i],
                       &world->places[(i + 1 + round) % world->places_count]))
                return false;
    return true;
}

static bool jump(struct world *world, const struct folding *folding)
{
    bool good = !folding->heals || meet(world);
    world->now_us += CART_TOKEN_LIFE_US;
    return good;
}

static bool run_folding(struct world *world)
{
    static struct folding folding;
    struct rng *rng = &world->rng;
    folding.tokens = rng_below(rng, 2);
    folding.jumps = folding.tokens && rng_below(rng, 2);
    folding.heals = rng_below(rng, 2);
    if (!folding.tokens)
        world->places_count = 1 + (int)rng_below(rng, 2);
    world->fold = CART_FOLD_OWN;
    while (world->events < EVENTS - 1) {
        uint64_t dice = rng_below(rng, 100);
        world->now_us += rng_below(rng, 100000);
        bool good = !folding.jumps || dice > 1 || jump(world, &folding);
        struct place *into = pick(world), *from = pick(world);
        if (dice < 95)
            good = good && fold_step(world, &folding);
        else if (into != from)
            good = good && merge(world, into, from) && check_folding(world, &folding, into);
        if (!good)
            return false;
    }
    return check_laws(world);
}

/* ---- alone (I10, I11) --------------------------------------------------------------------------
 */

static struct cart_op any_op(struct rng *rng)
{
    static const char *const names[] = {"a", "b;x", "c", "d"};
    static const enum cart_op_kind kinds[] = {
        CART_ADD,   CART_ADD,  CART_ADD,   CART_ADD,   CART_SET,    CART_REMOVE,
        CART_CHECK, CART_SWAP, CART_CLEAR, CART_TOUCH, CART_FORGET,
    };
    struct cart_op op = {.kind = kinds[rng_below(rng, sizeof(kinds) / sizeof(*kinds))]};
    op.line = slice_str(names[rng_below(rng, 4)]);
    op.new_line = slice_str(names[rng_below(rng, 4)]);
    if (op.kind == CART_FORGET && rng_below(rng, 3))
        op.kind = CART_ADD;
    if (op.kind == CART_ADD)
        op.n = (int64_t)rng_below(rng, 9) - 2;
    else if (op.kind == CART_SET)
        op.n = (int64_t)rng_below(rng, 5);
    else if (op.kind == CART_CHECK)
        op.n = (int64_t)rng_below(rng, 2);
    else if (op.kind == CART_CLEAR)
        op.n = (int64_t)rng_below(rng, 3);
    if (rng_below(rng, 3) == 0) {
        op.flags = CART_OP_PRICE | CART_OP_SHOP;
        op.price = (int64_t)rng_below(rng, 999);
        op.shop = slice_str(rng_below(rng, 2) ? "s1" : "");
    }
    return op;
}

/* With and without folding the document is the same, byte for byte; only one of them grows. */
static bool run_alone(struct world *world)
{
    struct buf folded = {0}, plain = {0};
    struct place *one = &world->places[0], *two = &world->places[1];
    bool good = true;
    for (int i = 0; i < 120 && good; i++) {
        struct cart_op op = any_op(&world->rng);
        int token = rng_below(&world->rng, 3) ? 0 : 1 + (int)rng_below(&world->rng, 200);
        world->now_us += rng_below(&world->rng, 3) ? 1000 : CART_TOKEN_LIFE_US / 20;
        if (rng_below(&world->rng, 25) == 0)
            one->actor = mint(world);
        two->actor = one->actor;
        world->fold = CART_FOLD_ALONE;
        good = apply(world, one, op, token);
        world->fold = CART_FOLD_NONE;
        good = good && apply(world, two, op, token);
        folded.len = plain.len = 0;
        MUST(cart_json(buf_slice(&one->state), 0, slice_str("k"), CART_JSON_ALL, &folded) == 0);
        MUST(cart_json(buf_slice(&two->state), 0, slice_str("k"), CART_JSON_ALL, &plain) == 0);
        if (good && !slice_eq(buf_slice(&folded), buf_slice(&plain)))
            good = prop_fail("I10", "folding alone changed the cart:\n%.*s\n%.*s", (int)folded.len,
                             (char *)folded.bytes, (int)plain.len, (char *)plain.bytes);
    }
    /* When all tokens are gone, what is left are actors and four lines. */
    size_t max = 120 + world->boots * 18 + 4 * 60;
    world->fold = CART_FOLD_ALONE;
    world->now_us += 2 * CART_TOKEN_LIFE_US;
    for (int i = 0; i < 200 && good; i++) {
        struct cart_op last = {.kind = CART_ADD, .line = slice_str("a"), .n = 1};
        good = apply(world, one, last, 0);
    }
    if (good && one->state.len > max)
        good = prop_fail("I11", "%zu bytes for four lines", one->state.len);
    buf_free(&folded);
    buf_free(&plain);
    return good;
}

/* ---- many actors (I10, I11) --------------------------------------------------------------------
 */

struct pruning {
    bool remove[EVENTS];
    int64_t qty[EVENTS];
    struct bits past[EVENTS];
    uint64_t actors[EVENTS];
};

/* What was pruned may come back; nothing that lives may go. */
static bool check_pruning(const struct world *world, const struct pruning *pruning,
                          const struct place *place)
{
    struct bits dead = {{0}};
    int64_t least = 0;
    size_t live = 0, actors = 0;
    for (int i = 0; i < world->events; i++)
        if (has(&place->known, i) && pruning->remove[i])
            join(&dead, &pruning->past[i]);
    for (int i = 0; i < world->events; i++) {
        actors += cart_seq(buf_slice(&place->state), pruning->actors[i]) > 0;
        if (!has(&place->known, i) || pruning->remove[i] || has(&dead, i))
            continue;
        least += pruning->qty[i];
        live++;
    }
    int64_t qty = shown(place, slice_str("L"));
    CHECK(qty >= least, "I10", "pruning lowered %ld to %ld", (long)least, (long)qty);
    if (world->places_count == 1) {
        CHECK(qty == least, "I5", "%ld shows as %ld", (long)least, (long)qty);
        CHECK(actors <= CART_ACTORS_MAX || actors <= live + 2, "I11", "%zu actors, %zu live",
              actors, live);
    }
    return true;
}

static bool run_pruning(struct world *world)
{
    static struct pruning pruning;
    struct rng *rng = &world->rng;
    world->places_count = 1 + (int)rng_below(rng, COPIES);
    world->fold = CART_FOLD_NONE;
    while (world->events < 120) {
        struct place *place = pick(world), *from = pick(world);
        int event = world->events;
        world->now_us += 1000;
        bool good = true;
        if (place != from && rng_below(rng, 10) == 0) {
            good = merge(world, place, from);
        } else {
            bool remove = rng_below(rng, 12) == 0;
            struct cart_op op = {.kind = remove ? CART_REMOVE : CART_ADD, .line = slice_str("L")};
            op.n = remove ? 0 : 1 + (int64_t)rng_below(rng, 9);
            place->actor = mint(world);
            pruning.remove[event] = remove;
            pruning.qty[event] = op.n;
            pruning.past[event] = place->known;
            pruning.actors[event] = place->actor;
            good = apply(world, place, op, 0);
            if (world->result.changed)
                add(&place->known, world->events++);
        }
        if (!good || !check_pruning(world, &pruning, place))
            return false;
    }
    return true;
}

/* ---- laws under everything (I1, I2, I6) ---------------------------------------------------------
 */

static bool laws_step(struct world *world)
{
    struct rng *rng = &world->rng;
    struct place *place = pick(world), *from = pick(world);
    uint64_t dice = rng_below(rng, 20);
    world->now_us += dice ? rng_below(rng, 60000000) : CART_TOKEN_LIFE_US;
    if (rng_below(rng, 30) == 0)
        place->actor = rng_next(rng);
    if (place != from && dice < 5)
        return merge(world, place, from);
    if (dice == 5) {
        struct cart_op burst = {.kind = CART_ADD, .line = slice_str("a"), .n = 1};
        bool good = true;
        for (int i = 0; i < 12 && good; i++)
            good = apply(world, place, burst, 0);
        return good;
    }
    struct cart_op op = any_op(rng);
    int token = rng_below(rng, 2) ? 1 + (int)rng_below(rng, 12) : 0;
    if (token) /* the same arguments for the same token */
        op = (struct cart_op){.kind = CART_ADD, .line = slice_str("a"), .n = token};
    return apply(world, place, op, token);
}

static bool run_laws(struct world *world)
{
    world->fold = CART_FOLD_OWN;
    for (int i = 0; i < 60; i++)
        if (!laws_step(world))
            return false;
    return check_laws(world);
}

/* ------------------------------------------------------------------------------------------------
 */

bool prop_special(struct cart *cart, struct cart *other, uint64_t seed, uint64_t index)
{
    static bool (*const kinds[])(struct world *) = {run_folding, run_alone, run_pruning, run_laws};
    struct world world = {.rng = {seed},
                          .cart = cart,
                          .other = other,
                          .places_count = COPIES,
                          .now_us = PROP_START_US};
    for (int i = 0; i < COPIES; i++)
        world.places[i].actor = mint(&world);
    bool good = kinds[index % 4](&world);
    for (int i = 0; i < COPIES; i++)
        buf_free(&world.places[i].state);
    return good;
}
