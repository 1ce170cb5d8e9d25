/* replay: journal records back into carts, at the start and behind it.
 *
 * A step is applied only where it belongs: the cart has seen exactly the actor's steps before it. A
 * state that has seen it already (L2 or L3 were newer) skips it; one that misses a step before it
 * (a quarantined segment) can't take it, which is logged and counted, and what L2 and L3 hold is
 * used. */
#include "cmd/cmd_int.h"

static int give_cart(struct cmd *cmd, struct buf *after)
{
    struct slice state;
    int rc = cart_store(cmd->replay_cart, &state);
    return rc ? rc : buf_append(after, state.bytes, state.len);
}

static int replay_step(struct cmd *cmd, const struct tier_replayed *record, struct slice state,
                       struct buf *after)
{
    struct slice payload = record->body;
    struct cart_step step;
    struct cart_result result;
    struct cart_summary before;
    uint64_t seq, version;
    if (!varint_take(&payload, &seq) || !varint_take(&payload, &version) ||
        cart_step_decode(payload, cmd->replay_ops, &step))
        return CE_CORRUPT;
    uint64_t have = cart_seq(state, step.actor);
    if (have >= seq)
        return 0;
    if (have + 1 != seq)
        return CE_NOTFOUND;
    int rc = cart_load(cmd->replay_cart, state);
    if (rc == 0)
        rc = cart_apply(cmd->replay_cart, &step, &result);
    cart_summary(state, 0, &before);
    if (rc == 0 && result.expired && before.exists) /* as cart_write_event */
        rc = tier_replay_event(cmd->tier, TIER_EVENT_EXPIRED, record->key, step.now_us, state,
                               record->end_lsn);
    return rc ? rc : give_cart(cmd, after);
}

static int replay_state(struct cmd *cmd, const struct tier_replayed *record, struct slice ours,
                        struct buf *after)
{
    int rc = cart_check(record->body);
    if (rc || (ours.len && cart_covers(ours, record->body)))
        return rc;
    rc = cart_load(cmd->replay_cart, ours);
    if (rc == 0)
        rc = cart_merge(cmd->replay_cart, record->body);
    return rc ? rc : give_cart(cmd, after);
}

int cmd_replay(void *arg, const struct tier_replayed *record, struct slice state, struct buf *after)
{
    struct cmd *cmd = arg;
    MUST_OBJ(cmd, CMD_MAGIC);
    bool is_step = record->type == CMD_RECORD_STEP || record->type == CMD_RECORD_PAIR;
    int rc = CE_CORRUPT;
    if (record->key.len && is_step)
        rc = replay_step(cmd, record, state, after);
    else if (record->key.len && record->type == CMD_RECORD_STATE)
        rc = replay_state(cmd, record, state, after);
    if (rc == CE_NOMEM || rc == CE_NODISK || rc == CE_IO)
        return rc; /* nothing is lost by trying again */
    atomic_fetch_add(rc ? &cmd->replay_gaps : &cmd->replayed, 1);
    if (rc)
        log_error("cmd", "journal record at %llu can't be applied to %.*s: %s",
                  (unsigned long long)record->end_lsn, (int)record->key.len,
                  (const char *)record->key.bytes,
                  rc == CE_NOTFOUND ? "a step before it is missing" : err_text(rc));
    return 0;
}

bool cmd_state_has(struct slice state, uint8_t type, struct slice body)
{
    uint64_t seq, version, actor;
    if (type == CMD_RECORD_STATE)
        return cart_covers(state, body);
    return varint_take(&body, &seq) && varint_take(&body, &version) &&
           cart_step_actor(body, &actor) && cart_seq(state, actor) >= seq;
}
