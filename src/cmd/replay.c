/* replay: journal records back into carts, at start-up.
 *
 * A step is applied only where it belongs: the cart has seen exactly the actor's steps before it. A
 * state that has seen it already (L2 or L3 were newer) skips it; one that misses a step before it
 * (a quarantined segment) can't take it, which is logged and counted, and what L2 and L3 hold is
 * used. */
#include "cmd/cmd_int.h"

/* A record taken apart. */
struct record {
    struct slice key, body;
    uint64_t end_lsn;
    uint32_t bytes;
};

static int put_cart(struct cmd *cmd, const struct record *record)
{
    struct slice after;
    int rc = cart_store(cmd->replay_cart, &after);
    return rc ? rc : tier_replay_put(cmd->tier, record->key, after, record->end_lsn, record->bytes);
}

static int replay_step(struct cmd *cmd, const struct record *record, struct slice state)
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
    return rc ? rc : put_cart(cmd, record);
}

static int replay_state(struct cmd *cmd, const struct record *record, struct slice ours)
{
    int rc = cart_check(record->body);
    if (rc || (ours.len && cart_covers(ours, record->body)))
        return rc;
    rc = cart_load(cmd->replay_cart, ours);
    if (rc == 0)
        rc = cart_merge(cmd->replay_cart, record->body);
    return rc ? rc : put_cart(cmd, record);
}

/* One payload of a known key. */
static int replay_one(struct cmd *cmd, uint8_t type, struct slice payload, uint64_t end_lsn,
                      uint32_t bytes)
{
    struct tier_head head;
    struct buf *state = &cmd->replay_state;
    state->len = 0;
    bool is_cart = tier_head_take(&payload, &head);
    struct slice key = head.key;
    const struct record record = {key, payload, end_lsn, bytes};
    int rc = is_cart ? tier_replay_get(cmd->tier, key, state) : CE_CORRUPT;
    if (rc == CE_DB && type == CMD_RECORD_STATE)
        rc = 0; /* builds on nothing; what the database has is joined when it answers */
    if (rc == 0 && type == CMD_RECORD_STEP)
        rc = replay_step(cmd, &record, buf_slice(state));
    else if (rc == 0 && type == CMD_RECORD_STATE)
        rc = replay_state(cmd, &record, buf_slice(state));
    else if (rc == 0)
        rc = CE_CORRUPT;
    if (rc == CE_NOMEM || rc == CE_NODISK || rc == CE_IO || rc == CE_DB)
        return rc; /* this start can't go on; nothing is lost by trying again */
    atomic_fetch_add(rc ? &cmd->replay_gaps : &cmd->replayed, 1);
    if (rc)
        log_error("cmd", "journal record at %llu can't be applied to %.*s: %s",
                  (unsigned long long)end_lsn, (int)key.len, (const char *)key.bytes,
                  rc == CE_NOTFOUND ? "a step before it is missing" : err_text(rc));
    return 0;
}

int cmd_replay(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn)
{
    struct cmd *cmd = arg;
    uint64_t len = 0;
    uint32_t bytes = journal_record_bytes(payload.len);
    MUST_OBJ(cmd, CMD_MAGIC);
    if (type != CMD_RECORD_PAIR || !varint_take(&payload, &len) || len > payload.len)
        return replay_one(cmd, type, payload, end_lsn, bytes);
    int rc = replay_one(cmd, CMD_RECORD_STEP, slice_of(payload.bytes, len), end_lsn, bytes);
    return rc ? rc : replay_one(cmd, CMD_RECORD_STEP, slice_from(payload, len), end_lsn, bytes);
}

bool cmd_state_has(struct slice state, uint8_t type, struct slice body)
{
    uint64_t seq, version, actor;
    if (type == CMD_RECORD_STATE)
        return cart_covers(state, body);
    return varint_take(&body, &seq) && varint_take(&body, &version) &&
           cart_step_actor(body, &actor) && cart_seq(state, actor) >= seq;
}
