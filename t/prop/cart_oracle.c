/* cart_oracle: see the header. Slow and plain on purpose: every answer is made from the list of
 * events. */
#include "cart_oracle.h"

struct slice oracle_key(int key)
{
    static const char *const names[ORACLE_KEYS] = {"A-1", "b;red;XL", "C", "dd-44"};
    return slice_str(names[key]);
}

static bool knows(oracle_set set, int event)
{
    return set >> event & 1;
}

static int dot_cmp(const struct oracle_event *a, const struct oracle_event *b)
{
    if (a->actor != b->actor)
        return a->actor < b->actor ? -1 : 1;
    return (a->seq > b->seq) - (a->seq < b->seq);
}

/* Whether a known event with the same token has a smaller dot. */
static bool is_retry(const struct oracle *oracle, oracle_set known, int event)
{
    const struct oracle_event *mine = &oracle->events[event];
    if (!mine->token)
        return false;
    for (int i = 0; i < oracle->count; i++)
        if (knows(known, i) && oracle->events[i].token == mine->token &&
            dot_cmp(&oracle->events[i], mine) < 0)
            return true;
    return false;
}

static bool set_wins(const struct oracle_event *a, const struct oracle_event *b, int key)
{
    if (a->on[key].ts_us != b->on[key].ts_us)
        return a->on[key].ts_us > b->on[key].ts_us;
    return dot_cmp(a, b) > 0;
}

static bool info_wins(const struct oracle_event *a, const struct oracle_event *b, int key)
{
    uint64_t left = a->on[key].info.updated_us, right = b->on[key].info.updated_us;
    return left != right ? left > right : a->actor > b->actor;
}

static void find_dead(const struct oracle *oracle, oracle_set known, int key, oracle_set *dead,
                      oracle_set *old_info)
{
    *dead = *old_info = 0;
    for (int i = 0; i < oracle->count; i++) {
        const struct oracle_event *event = &oracle->events[i];
        if (!knows(known, i))
            continue;
        if (event->on[key].kill)
            *dead |= event->past;
        if (event->on[key].info.there)
            *old_info |= event->past;
    }
    *old_info |= *dead;
}

static int64_t clamp(int64_t sum)
{
    return sum < 0 ? 0 : sum > INT32_MAX ? INT32_MAX : sum;
}

void oracle_line(const struct oracle *oracle, oracle_set known, int key, struct oracle_line *out)
{
    oracle_set dead, old_info;
    const struct oracle_event *set = NULL, *info = NULL;
    *out = (struct oracle_line){0};
    find_dead(oracle, known, key, &dead, &old_info);
    for (int i = 0; i < oracle->count; i++) {
        const struct oracle_event *event = &oracle->events[i];
        if (!knows(known, i))
            continue;
        if (event->on[key].info.there && !knows(old_info, i) &&
            (!info || info_wins(event, info, key)))
            info = event;
        if (event->on[key].kind == ORACLE_NONE)
            continue;
        oracle_set *into = knows(dead, i)                      ? &out->dead
                           : event->on[key].kind == ORACLE_SET ? &out->live
                           : is_retry(oracle, known, i)        ? &out->hidden
                                                               : &out->live;
        *into |= 1ull << i;
        if (into != &out->live)
            continue;
        if (event->on[key].kind == ORACLE_ADD)
            out->sum += event->on[key].qty;
        else if (!set || set_wins(event, set, key))
            set = event;
    }
    out->sum += set ? set->on[key].qty : 0;
    out->qty = clamp(out->sum);
    if (info)
        out->info = info->on[key].info;
}

static const struct oracle_event *meta_event(const struct oracle *oracle, oracle_set known)
{
    const struct oracle_event *last = NULL;
    for (int i = 0; i < oracle->count; i++) {
        const struct oracle_event *event = &oracle->events[i];
        if (!knows(known, i) || !event->wrote_meta)
            continue;
        if (!last || event->stamp_us > last->stamp_us ||
            (event->stamp_us == last->stamp_us && event->actor > last->actor))
            last = event;
    }
    return last;
}

struct oracle_meta oracle_meta(const struct oracle *oracle, oracle_set known)
{
    const struct oracle_event *last = meta_event(oracle, known);
    return last ? (struct oracle_meta){last->alive, last->moved, last->expiry_us}
                : (struct oracle_meta){0};
}

uint64_t oracle_stamp(const struct oracle *oracle, oracle_set known)
{
    uint64_t stamp = 0;
    for (int i = 0; i < oracle->count; i++)
        if (knows(known, i) && oracle->events[i].stamp_us > stamp)
            stamp = oracle->events[i].stamp_us;
    return stamp;
}

/* ---- playing a step ---------------------------------------------------------------------------
 */

struct play {
    const struct oracle *oracle;
    oracle_set known;
    struct oracle_event event;
    struct oracle_meta meta;
    bool stamp_taken, expired, changed;
    int64_t line_qty;
};

static int64_t sum_now(const struct play *play, int key)
{
    const struct oracle_effect *effect = &play->event.on[key];
    struct oracle_line line = {0};
    if (!effect->kill)
        oracle_line(play->oracle, play->known, key, &line);
    return line.sum + effect->qty;
}

static int64_t qty_now(const struct play *play, int key)
{
    return clamp(sum_now(play, key));
}

static struct oracle_info info_now(const struct play *play, int key)
{
    struct oracle_line line;
    if (play->event.on[key].info.there)
        return play->event.on[key].info;
    oracle_line(play->oracle, play->known, key, &line);
    return line.info;
}

static void kill_line(struct play *play, int key)
{
    play->event.on[key] = (struct oracle_effect){.kill = true};
    play->changed = true;
}

static int lines_now(const struct play *play)
{
    int lines = 0;
    for (int key = 0; key < ORACLE_KEYS; key++)
        lines += qty_now(play, key) > 0;
    return lines;
}

static bool exists_now(const struct play *play)
{
    return play->meta.alive || lines_now(play) > 0;
}

static void write_line(struct play *play, int key, struct oracle_info info)
{
    info.there = true;
    info.updated_us = play->event.stamp_us;
    play->event.on[key].info = info;
    play->meta.alive = play->changed = true;
    play->meta.moved = 0;
    play->line_qty = qty_now(play, key);
}

/* What a line shows before it is written; one that was not visible starts anew. */
static struct oracle_info open_line(struct play *play, int key)
{
    if (qty_now(play, key) > 0)
        return info_now(play, key);
    play->event.stamp_us += play->stamp_taken;
    play->stamp_taken = true;
    kill_line(play, key);
    return (struct oracle_info){.checked = true, .added_us = play->event.stamp_us};
}

static void add_qty(struct play *play, int key, int64_t n)
{
    struct oracle_effect *effect = &play->event.on[key];
    if (effect->kind == ORACLE_NONE && n != 0)
        effect->kind = ORACLE_ADD;
    effect->qty += n;
    if (effect->kind == ORACLE_ADD && effect->qty == 0)
        effect->kind = ORACLE_NONE;
}

static void give_price(struct oracle_info *info, const struct cart_op *op, bool keep)
{
    if (!(op->flags & CART_OP_PRICE) || (keep && info->has_price))
        return;
    info->has_price = true;
    info->price = op->price;
}

static int find_key(struct slice name)
{
    for (int key = 0; key < ORACLE_KEYS; key++)
        if (slice_eq(name, oracle_key(key)))
            return key;
    return -1;
}

static void play_add(struct play *play, const struct cart_op *op, int key)
{
    int64_t have = qty_now(play, key);
    if (have + op->n <= 0) {
        if (have > 0)
            kill_line(play, key);
        return;
    }
    struct oracle_info info = open_line(play, key);
    add_qty(play, key, op->n);
    info.checked = op->flags & CART_OP_CHECKED ? op->checked : true;
    give_price(&info, op, true);
    write_line(play, key, info);
}

static void play_set(struct play *play, const struct cart_op *op, int key)
{
    if (op->n == 0) {
        if (qty_now(play, key) > 0)
            kill_line(play, key);
        return;
    }
    struct oracle_info info = open_line(play, key);
    kill_line(play, key);
    play->event.on[key].kind = ORACLE_SET;
    play->event.on[key].qty = op->n;
    play->event.on[key].ts_us = play->event.stamp_us;
    if (op->flags & CART_OP_CHECKED)
        info.checked = op->checked;
    give_price(&info, op, false);
    write_line(play, key, info);
}

static int play_check(struct play *play, const struct cart_op *op, int key)
{
    if (key >= 0 ? qty_now(play, key) == 0 : !exists_now(play))
        return CE_NOTFOUND;
    for (int i = 0; i < ORACLE_KEYS; i++) {
        if ((key >= 0 && i != key) || qty_now(play, i) == 0)
            continue;
        struct oracle_info info = info_now(play, i);
        info.checked = op->n != 0;
        write_line(play, i, info);
    }
    if (key < 0)
        play->line_qty = 0;
    return 0;
}

static int play_swap(struct play *play, const struct cart_op *op, int key)
{
    int into = find_key(op->new_line);
    int64_t moved = qty_now(play, key);
    if (moved == 0)
        return CE_NOTFOUND;
    struct oracle_info old = info_now(play, key);
    if (into == key) {
        write_line(play, key, old);
        return 0;
    }
    kill_line(play, key);
    bool was_there = qty_now(play, into) > 0;
    struct oracle_info info = open_line(play, into);
    add_qty(play, into, moved);
    if (!was_there) {
        old.added_us = info.added_us;
        info = old;
    }
    write_line(play, into, info);
    return 0;
}

static void play_clear(struct play *play, int64_t scope)
{
    bool any = false;
    for (int key = 0; key < ORACLE_KEYS; key++) {
        bool hit = qty_now(play, key) > 0;
        if (hit && scope != CART_SCOPE_ALL)
            hit = info_now(play, key).checked == (scope == CART_SCOPE_CHECKED);
        if (hit && scope != CART_SCOPE_ALL)
            kill_line(play, key);
        any |= hit;
    }
    for (int key = 0; any && scope == CART_SCOPE_ALL && key < ORACLE_KEYS; key++)
        kill_line(play, key);
}

static void play_retain(struct play *play)
{
    for (int key = 0; key < ORACLE_KEYS; key++)
        if (!play->event.on[key].info.there)
            kill_line(play, key);
    play->changed = play->meta.alive = true;
    play->meta.moved = 0;
}

static void leave_nothing(struct play *play)
{
    for (int key = 0; key < ORACLE_KEYS; key++)
        kill_line(play, key);
    play->meta = (struct oracle_meta){0};
    play->changed = true;
}

static void play_forget(struct play *play)
{
    if (!exists_now(play) && !play->meta.moved && !play->expired)
        return;
    leave_nothing(play);
}

static int play_op(struct play *play, const struct cart_op *op)
{
    int key = find_key(op->line), err = 0;
    play->line_qty = 0;
    switch (op->kind) {
    case CART_ADD: play_add(play, op, key); break;
    case CART_SET: play_set(play, op, key); break;
    case CART_REMOVE:
        if (qty_now(play, key) > 0)
            kill_line(play, key);
        break;
    case CART_CHECK: err = play_check(play, op, key); break;
    case CART_SWAP: err = play_swap(play, op, key); break;
    case CART_CLEAR: play_clear(play, op->n); break;
    case CART_RETAIN: play_retain(play); break;
    case CART_FORGET: play_forget(play); break;
    case CART_TOUCH:
        err = exists_now(play) ? 0 : CE_NOTFOUND;
        play->changed = true;
        break;
    case CART_MOVE:
        leave_nothing(play);
        play->meta.moved = 1 + find_key(op->new_line);
        break;
    }
    return err;
}

/* The event that a known token stands for: the smallest dot. */
static int find_token(const struct oracle *oracle, oracle_set known, int token)
{
    int found = -1;
    for (int i = 0; token && i < oracle->count; i++)
        if (knows(known, i) && oracle->events[i].token == token &&
            (found < 0 || dot_cmp(&oracle->events[i], &oracle->events[found]) < 0))
            found = i;
    return found;
}

static void finish_meta(struct play *play, const struct cart_step *step)
{
    struct oracle_meta before = oracle_meta(play->oracle, play->known);
    if (!exists_now(play) && !play->meta.moved)
        play->meta = (struct oracle_meta){0};
    else if (step->life == CART_LIFE_FIXED)
        play->meta.expiry_us = step->life_us;
    else if (step->life == CART_LIFE_NONE)
        play->meta.expiry_us = 0;
    play->event.alive = play->meta.alive;
    play->event.moved = play->meta.moved;
    play->event.expiry_us = play->meta.expiry_us;
    play->event.wrote_meta = before.alive != play->meta.alive || before.moved != play->meta.moved ||
                             before.expiry_us != play->meta.expiry_us;
}

struct oracle_verdict oracle_step(struct oracle *oracle, oracle_set known,
                                  const struct cart_step *step, uint64_t seq, int token)
{
    struct oracle_verdict verdict = {.repeats = find_token(oracle, known, token)};
    if (verdict.repeats >= 0)
        return verdict;
    struct play play = {.oracle = oracle, .known = known};
    uint64_t stamp_us = oracle_stamp(oracle, known) + 1;
    play.event =
        (struct oracle_event){.past = known, .actor = step->actor, .seq = seq, .token = token};
    play.event.stamp_us = step->now_us > stamp_us ? step->now_us : stamp_us;
    play.meta = oracle_meta(oracle, known);
    if (play.meta.expiry_us && play.meta.expiry_us <= step->now_us) {
        verdict.expired = play.expired = true;
        for (int key = 0; key < ORACLE_KEYS; key++)
            kill_line(&play, key);
        play.meta = (struct oracle_meta){0};
        play.changed = false;
    }
    for (size_t i = 0; i < step->ops_count && !verdict.err; i++)
        verdict.err = play_op(&play, &step->ops[i]);
    verdict.changed = !verdict.err && (play.changed || token);
    verdict.expired &= verdict.changed;
    verdict.line_qty = play.line_qty;
    if (!verdict.changed)
        return verdict;
    MUST(oracle->count < ORACLE_EVENTS);
    finish_meta(&play, step);
    oracle->events[oracle->count++] = play.event;
    return verdict;
}
