/* cart_write: the way of every cart mutation: L1 (or wait for it) -> apply -> L1, journal -> what
 * the acknowledgement waits for. All under one hold of the cart's stripe, none of it over a
 * syscall. */
#include "cmd/cmd_int.h"

#define STEP_GROWTH_BYTES                                                                          \
    512 /* head, token, actor, entry: what a step adds beside its own text                         \
         */

size_t cart_write_growth_bytes(const struct cart_step *step)
{
    size_t bytes = STEP_GROWTH_BYTES;
    for (size_t i = 0; i < step->ops_count; i++) {
        const struct cart_op *op = &step->ops[i];
        bytes += 64 + op->line.len + op->new_line.len + op->shop.len + op->ext.len;
    }
    return bytes;
}

/* High half the second of minting, low half random: age is numeric order, and two actors of one
 * cart are the same only by a chance of 2^-32 within one second. Never 0. */
static uint64_t mint_actor(const struct env *env)
{
    return (env_wall_us(env) / 1000000) << 32 | (env_random_u64(env) & UINT32_MAX) | 1;
}

int cart_write_record(struct buf *record, const struct cart_write *write)
{
    uint8_t numbers[2 * VARINT_MAX];
    size_t len = varint_put(numbers, write->result.seq);
    len += varint_put(numbers + len, write->result.summary.version);
    if (tier_head_put(write->key, write->before, record) || buf_append(record, numbers, len))
        return CE_NOMEM;
    return cart_step_encode(&write->step, record);
}

/* A cart that this step makes has the life of its bucket, unless the request brings one. */
static void give_life(struct cart_write *write, const struct cart_summary *before)
{
    const struct cmd_bucket *bucket = write->bucket;
    struct cart_step *step = &write->step;
    if (before->exists || step->life != CART_LIFE_KEEP || !bucket->life_us)
        return;
    step->life = bucket->life;
    step->life_us = bucket->life_us + (step->life == CART_LIFE_FIXED ? step->now_us : 0);
}

void cart_write_begin(const struct session *session, struct cart_write *write)
{
    write->step.now_us = env_wall_us(session->cmd->config.env);
    write->step.fold = CART_FOLD_ALONE;
    write->step.limits = &write->bucket->limits;
    write->lsn = 0;
}

/* `cart` holds what was found. */
static int apply_loaded(struct cmd_worker *worker, struct cart *cart, struct cart_write *write,
                        const struct cart_found *found, struct slice *after)
{
    struct cart_summary *summary = &write->result.summary;
    write->before = found->newest;
    *summary = found->summary;
    if (write->must_exist && !summary->exists && !summary->moved_to.len)
        return CE_NOTFOUND;
    give_life(write, summary);
    write->step.actor = found->actor ? found->actor : mint_actor(worker->cmd->config.env);
    int rc = cart_apply(cart, &write->step, &write->result);
    return rc || !write->result.changed ? rc : cart_store(cart, after);
}

int cart_write_apply(struct cmd_worker *worker, struct cart *cart, struct cart_write *write,
                     const struct cart_found *found, struct slice *after)
{
    int rc = cart_load(cart, found->state);
    return rc ? rc : apply_loaded(worker, cart, write, found, after);
}

/* Whoever does not ask the clock still sees a cart in `before`: a redirect that ended is none. */
int cart_write_event(struct cmd_worker *worker, const struct cart_write *write, struct slice before,
                     struct tier_event **event)
{
    struct cart_summary summary;
    *event = NULL;
    if (!write->result.expired)
        return 0;
    cart_summary(before, 0, &summary);
    return summary.exists ? tier_event_new(worker->cmd->tier, TIER_EVENT_EXPIRED, write->key,
                                           write->step.now_us, before, event)
                          : 0;
}

/* cart_write_repeat on what was found and loaded. */
static int repeat_loaded(struct cmd_worker *worker, struct cart_write *write,
                         const struct cart_found *found)
{
    if (!write->step.token.len)
        return CE_NOTFOUND;
    write->lsn = found->lsn;
    return cart_repeat(worker->cart, &write->step, &write->result);
}

int cart_write_repeat(struct cmd_worker *worker, struct cart_write *write,
                      const struct cart_found *found)
{
    int rc = cart_load(worker->cart, found->state);
    return rc ? rc : repeat_loaded(worker, write, found);
}

/* Applies the step to what was found and loaded, and puts what came of it. */
static int apply_locked(struct cmd_worker *worker, struct cart_write *write,
                        const struct cart_found *found)
{
    struct slice after;
    struct tier_event *event = NULL;
    write->lsn = found->lsn;
    int rc = apply_loaded(worker, worker->cart, write, found, &after);
    if (rc || !write->result.changed)
        return rc;
    worker->record.len = 0;
    rc = cart_write_record(&worker->record, write);
    if (rc == 0)
        rc = cart_write_event(worker, write, found->state, &event);
    if (rc == 0)
        rc =
            tier_put_locked(worker->cmd->tier, found->hash, write->key, write->step.actor, after,
                            CMD_RECORD_STEP, buf_slice(&worker->record), write->level, &write->lsn);
    tier_event_settle(worker->cmd->tier, &event, rc, write->lsn);
    return rc;
}

static void run_edit(void *edit, uint8_t *value)
{
    cart_edit_do(edit, value);
}

/* Does the step in place where it is one of those; *rc is as of apply_locked. False: it is not. */
static bool edit_locked(struct cmd_worker *worker, struct cart_write *write,
                        const struct cart_found *found, int *rc)
{
    struct cart_edit edit;
    struct tier_edit change = {.run = run_edit, .arg = &edit};
    write->step.actor = found->actor;
    if (!found->actor || !cart_edit_plan(found->state, &write->step, &edit, &write->result))
        return false;
    change.bytes = edit.new_bytes;
    write->before = found->newest;
    write->lsn = found->lsn;
    worker->record.len = 0;
    *rc = cart_write_record(&worker->record, write);
    if (*rc == 0)
        *rc =
            tier_edit_locked(worker->cmd->tier, found->hash, found->item, &change, CMD_RECORD_STEP,
                             buf_slice(&worker->record), write->level, &write->lsn);
    return true;
}

/* Does the step where it belongs; what was found is loaded. *led: the cart became part of another,
 * look there; only a retry of what was done before that is answered here. */
static int visit_locked(struct session *session, struct cart_write *write,
                        const struct cart_found *found, unsigned hops, bool *led)
{
    struct slice moved_to = found->summary.moved_to;
    *led = moved_to.len && !write->stays;
    if (!*led)
        return apply_locked(session->worker, write, found);
    int rc = repeat_loaded(session->worker, write, found);
    *led = rc == CE_NOTFOUND;
    if (*led)
        rc = cart_follow(session, moved_to, hops, GUARD_WRITE, &write->key, &write->bucket);
    return rc;
}

void cart_write_count(struct cmd_worker *worker, const struct cart_write *write, int rc)
{
    if (rc)
        count(&worker->cart_refused);
    else if (write->result.repeated)
        count(&worker->cart_repeats);
    else
        count(&worker->cart_writes);
}

void cart_write_led(struct cart_write *write)
{
    write->moved = true;
    write->step.limits = &write->bucket->limits;
    if (!write->level_given && write->bucket->ack > write->level)
        write->level = write->bucket->ack;
}

/* What was found becomes the worker's scratch; its summary is that of the scratch. */
static int load_found(struct cmd_worker *worker, uint64_t now_us, struct cart_found *found)
{
    int rc = cart_load(worker->cart, found->state);
    return rc ? rc : cart_summary_loaded(worker->cart, now_us, &found->summary);
}

enum cart_write_try cart_write_try(struct session *session, struct cart_write *write, int *code)
{
    struct l1 *l1 = tier_l1(session->cmd->tier);
    struct cart_found found;
    bool led = false;
    *code = 0;
    if (l1_room(l1, cart_write_growth_bytes(&write->step)))
        return CART_WRITE_NO_ROOM;
    cart_write_begin(session, write);
    for (unsigned hops = 0;; hops++) {
        uint64_t hash = hash_64(write->key);
        l1_lock(l1, hash);
        bool known = cart_look_locked(session->cmd->tier, hash, write->key, &found);
        led = false;
        if (known && !edit_locked(session->worker, write, &found, code)) {
            *code = load_found(session->worker, write->step.now_us, &found);
            if (*code == 0)
                *code = visit_locked(session, write, &found, hops, &led);
        }
        l1_unlock(l1, hash);
        if (!known)
            return CART_WRITE_NO_CART;
        if (!led || *code)
            break;
        cart_write_led(write);
    }
    if (*code == CE_NOMEM && write->result.expired) /* as many events wait for L2 as may */
        return CART_WRITE_NO_ROOM;
    cart_write_count(session->worker, write, *code);
    return CART_WRITE_DONE;
}

enum run cart_write_run(struct session *session, struct cart_write *write, int *code)
{
    *code = session_wait_error(session);
    if (*code)
        return RUN_DONE;
    switch (cart_write_try(session, write, code)) {
    case CART_WRITE_NO_ROOM: return session_park_room(session, code);
    case CART_WRITE_NO_CART: return session_park_fill(session, write->key, code);
    default: return RUN_DONE;
    }
}

int cmd_expire(struct cmd *cmd, struct slice key)
{
    struct cart_op op = {.kind = CART_FORGET};
    struct cart_write write = {.key = key,
                               .level = ACK_RAM, /* nobody waits for it */
                               .step = {.now_us = env_wall_us(cmd->config.env),
                                        .fold = CART_FOLD_ALONE,
                                        .cause = CART_BY_EXPIRY,
                                        .life = CART_LIFE_NONE,
                                        .ops = &op,
                                        .ops_count = 1}};
    struct cart_found found;
    struct l1 *l1 = tier_l1(cmd->tier);
    uint64_t hash = hash_64(key);
    if (l1_room(l1, cart_write_growth_bytes(&write.step)))
        return CE_NOMEM;
    l1_lock(l1, hash);
    int rc = cart_look_locked(cmd->tier, hash, key, &found) ? 0 : CE_BUSY; /* evicted again */
    if (rc == 0 && found.state.len) {
        rc = load_found(&cmd->reaper, write.step.now_us, &found);
        uint64_t expiry_us = found.summary.expiry_us;
        if (rc == 0 && expiry_us && expiry_us <= write.step.now_us)
            rc = apply_locked(&cmd->reaper, &write, &found);
    }
    l1_unlock(l1, hash);
    return rc;
}
