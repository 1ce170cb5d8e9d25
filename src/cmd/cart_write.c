/* cart_write: the way of every cart mutation: L1 (or wait for it) -> apply -> L1, journal -> what
 * the acknowledgement waits for. All under one hold of the cart's stripe, none of it over a
 * syscall. */
#include "cmd/cmd_int.h"

#define STEP_GROWTH_BYTES                                                                          \
    512 /* head, token, actor, entry: what a step adds beside its own text                         \
         */

static size_t growth_bytes(const struct cart_step *step)
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

static int make_record(struct cmd_worker *worker, const struct cart_write *write, uint64_t seq)
{
    uint8_t head[1 + L1_KEY_MAX + VARINT_MAX];
    size_t len = 0;
    head[len++] = (uint8_t)write->key.len;
    memcpy(head + len, write->key.bytes, write->key.len);
    len += write->key.len;
    len += varint_put(head + len, seq);
    worker->record.len = 0;
    if (buf_append(&worker->record, head, len))
        return CE_NOMEM;
    return cart_step_encode(&write->step, &worker->record);
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

/* Applies to the state and puts what came of it. */
static int apply_locked(struct session *session, struct cart_write *write, uint64_t hash,
                        struct slice state, uint64_t actor)
{
    struct cmd_worker *worker = session->worker;
    struct slice after;
    int rc = cart_load(worker->cart, state);
    if (rc)
        return rc;
    cart_summary(state, write->step.now_us, &write->result.summary);
    if (write->must_exist && !write->result.summary.exists)
        return CE_NOTFOUND;
    give_life(write, &write->result.summary);
    write->step.actor = actor;
    rc = cart_apply(worker->cart, &write->step, &write->result);
    if (rc || !write->result.changed)
        return rc;
    rc = cart_store(worker->cart, &after);
    if (rc == 0)
        rc = make_record(worker, write, cart_seq(after, actor));
    if (rc == 0)
        rc = tier_put_locked(session->cmd->tier, hash, write->key, actor, after, CMD_RECORD_STEP,
                             buf_slice(&worker->record), write->level, &write->lsn);
    return rc;
}

static void count_outcome(struct cmd_worker *worker, const struct cart_write *write, int rc)
{
    if (rc)
        count(&worker->cart_refused);
    else if (write->result.repeated)
        count(&worker->cart_repeats);
    else
        count(&worker->cart_writes);
}

enum run cart_write_run(struct session *session, struct cart_write *write, int *code)
{
    struct cmd *cmd = session->cmd;
    struct l1 *l1 = tier_l1(cmd->tier);
    uint64_t hash = hash_64(write->key);
    struct l1_item *item;
    *code = session_wait_error(session);
    if (*code)
        return RUN_DONE;
    if (l1_room(l1, growth_bytes(&write->step)))
        return session_park_room(session, code);
    write->step.now_us = env_wall_us(cmd->config.env);
    write->step.fold = CART_FOLD_ALONE;
    write->step.limits = &write->bucket->limits;
    write->lsn = 0;
    l1_lock(l1, hash);
    enum tier_found found = tier_find_locked(cmd->tier, hash, write->key, &item);
    if (found == TIER_ASK) {
        l1_unlock(l1, hash);
        return session_park_fill(session, write->key, code);
    }
    bool here = found == TIER_HERE;
    uint64_t actor = here ? item->cart.actor : 0;
    write->lsn = here ? item->cart.lsn : 0;
    *code = apply_locked(session, write, hash, here ? l1_value_slice(item) : slice_of(NULL, 0),
                         actor ? actor : mint_actor(cmd->config.env));
    l1_unlock(l1, hash);
    count_outcome(session->worker, write, *code);
    return RUN_DONE;
}

enum run cart_read_state(struct session *session, struct slice key, struct slice *state, int *code)
{
    struct cmd_worker *worker = session->worker;
    struct l1 *l1 = tier_l1(session->cmd->tier);
    uint64_t hash = hash_64(key);
    struct l1_item *item;
    *code = session_wait_error(session);
    if (*code)
        return RUN_DONE;
    worker->state.len = 0;
    l1_lock(l1, hash);
    enum tier_found found = tier_find_locked(session->cmd->tier, hash, key, &item);
    if (found == TIER_HERE) {
        struct slice value = l1_value_slice(item);
        *code = buf_append(&worker->state, value.bytes, value.len);
    }
    l1_unlock(l1, hash);
    *state = buf_slice(&worker->state);
    if (found != TIER_ASK)
        count(&worker->cart_reads);
    return found == TIER_ASK ? session_park_fill(session, key, code) : RUN_DONE;
}
