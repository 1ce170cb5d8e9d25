/* cart_pair: one cart becomes part of another (cmrg). Under both stripes: what the source holds is
 * added to the destination, the source is left as a redirect to it, and one journal record has both
 * steps. So a crash has both or neither, a repeat finds an empty source, and whoever writes to the
 * source afterwards writes to the destination.
 *
 * Between nodes it is the same two steps with a third before them (domain-notes 6.3): the owner of
 * the source seals it, the owner of the destination applies what was sealed under a token made of
 * the source's key and cas, and only then the source becomes the redirect. */
#include "cmd/cmd_int.h"

/* The places of a pair. */
enum { INTO, FROM };

/* What the token stands for: the source and the policy, not what they came to. */
static int make_args(struct cmd_worker *worker, struct cart_pair *pair)
{
    struct buf *args = &worker->text;
    uint8_t policy = (uint8_t)pair->policy;
    args->len = 0;
    if (buf_append(args, &policy, 1) || buf_append(args, pair->source.bytes, pair->source.len))
        return CE_NOMEM;
    pair->write.step.args = buf_slice(args);
    return 0;
}

static int plan(struct cart_pair *pair, const struct cart_found found[2])
{
    struct cart_step *step = &pair->write.step;
    struct cart_absorb absorb = {.dst = found[INTO].state,
                                 .src = found[FROM].state,
                                 .policy = pair->policy,
                                 .now_us = step->now_us,
                                 .limits = step->limits};
    int rc = cart_absorb(&absorb, step->ops, &step->ops_count, step->currency);
    pair->skipped = absorb.skipped;
    pair->clamped = absorb.clamped;
    return rc;
}

/* The step that leaves the redirect. */
static struct cart_write leaving(const struct session *session, const struct cart_pair *pair,
                                 const struct cmd_bucket *bucket, struct cart_op *op)
{
    struct cart_write write = {.key = pair->source, .bucket = bucket, .level = pair->write.level};
    *op = (struct cart_op){.kind = CART_MOVE, .new_line = pair->write.key};
    write.step.ops = op;
    write.step.ops_count = 1;
    write.step.cause = CART_BY_MERGE;
    cart_write_begin(session, &write);
    write.step.now_us = pair->write.step.now_us; /* its life has not ended: it was looked at then */
    write.step.life = CART_LIFE_FIXED;
    write.step.life_us = write.step.now_us + bucket->redirect_life_us;
    return write;
}

static int put_one(struct session *session, struct cart_write *write, uint64_t hash,
                   struct slice after, uint64_t *lsn)
{
    struct buf *record = &session->worker->record;
    record->len = 0;
    int rc = cart_write_record(record, write);
    return rc ? rc
              : tier_put_locked(session->cmd->tier, hash, write->key, write->step.actor, after,
                                CMD_RECORD_STEP, buf_slice(record), write->level, lsn);
}

/* The record: length of the first payload, both payloads. */
static int make_record(struct cmd_worker *worker, const struct cart_write *into,
                       const struct cart_write *from)
{
    struct buf *record = &worker->record, *first = &worker->text;
    uint8_t head[VARINT_MAX];
    record->len = first->len = 0;
    int rc = cart_write_record(first, into);
    if (rc == 0)
        rc = buf_append(record, head, varint_put(head, first->len));
    if (rc == 0)
        rc = buf_append(record, first->bytes, first->len);
    return rc ? rc : cart_write_record(record, from);
}

static int put_both(struct session *session, struct cart_pair *pair, struct cart_write *from,
                    const struct cart_found found[2], const struct slice after[2])
{
    struct cart_write *into = &pair->write;
    const struct tier_change changes[2] = {
        {found[INTO].hash, into->key, into->step.actor, after[INTO]},
        {found[FROM].hash, from->key, from->step.actor, after[FROM]},
    };
    int rc = make_record(session->worker, into, from);
    return rc ? rc
              : tier_put_both_locked(session->cmd->tier, changes, CMD_RECORD_PAIR,
                                     buf_slice(&session->worker->record), into->level, &into->lsn);
}

/* Puts what was applied to the destination, and what that leaves of a source that is not empty. */
static int put_joined(struct session *session, struct cart_pair *pair,
                      const struct cmd_bucket *source_bucket, const struct cart_found found[2],
                      struct slice after[2])
{
    struct cart_write *into = &pair->write;
    struct cart_op op;
    if (found[FROM].summary.lines == 0)
        return into->result.changed
                   ? put_one(session, into, found[INTO].hash, after[INTO], &into->lsn)
                   : 0;
    struct cart_write from = leaving(session, pair, source_bucket, &op);
    int rc = cart_write_apply(session->worker, session->worker->source, &from, &found[FROM],
                              &after[FROM]);
    if (rc)
        return rc;
    return into->result.changed
               ? put_both(session, pair, &from, found, after)
               : put_one(session, &from, found[FROM].hash, after[FROM], &into->lsn);
}

/* Plans, applies and puts; both stripes are held. */
static int join_locked(struct session *session, struct cart_pair *pair,
                       const struct cmd_bucket *source_bucket, const struct cart_found found[2])
{
    struct cmd_worker *worker = session->worker;
    struct cart_write *into = &pair->write;
    struct tier_event *event;
    struct slice after[2];
    into->lsn = found[INTO].lsn > found[FROM].lsn ? found[INTO].lsn : found[FROM].lsn;
    int rc = plan(pair, found);
    if (rc == 0)
        rc = cart_write_apply(worker, worker->cart, into, &found[INTO], &after[INTO]);
    if (rc)
        return rc;
    rc = cart_write_event(worker, into, found[INTO].state, &event);
    if (rc == 0)
        rc = put_joined(session, pair, source_bucket, found, after);
    tier_event_settle(session->cmd->tier, &event, rc, into->lsn);
    return rc;
}

/* Looks at both carts; both stripes are held. What a token is known for is asked of each cart that
 * the destination was, before anything that may be different by now. */
static int visit_locked(struct session *session, struct cart_pair *pair,
                        const struct cmd_bucket *source_bucket, const struct cart_found found[2],
                        unsigned hops, bool *led)
{
    struct cart_write *into = &pair->write;
    struct slice moved_to = found[INTO].summary.moved_to;
    int rc = cart_write_repeat(session->worker, into, &found[INTO]);
    if (rc != CE_NOTFOUND)
        return rc;
    *led = moved_to.len;
    return *led ? cart_follow(session, moved_to, hops, GUARD_WRITE, &into->key, &into->bucket)
                : join_locked(session, pair, source_bucket, found);
}

/* One try with the keys as they are. *led: the destination is elsewhere, try again; *absent: the
 * cart that L1 does not know. */
static int try_join(struct session *session, struct cart_pair *pair, unsigned hops, bool *led,
                    struct slice *absent)
{
    struct cart_write *into = &pair->write;
    struct l1 *l1 = tier_l1(session->cmd->tier);
    struct cart_found found[2];
    struct cart_key source;
    uint64_t now_us = into->step.now_us;
    uint64_t hash[2] = {hash_64(into->key), hash_64(pair->source)};
    int rc = 0;
    if (cart_key_parse(session->worker, pair->source, &source) != KEY_CART)
        return CE_BAD_CART;
    if (!into->level_given && source.bucket->ack > into->level)
        into->level = source.bucket->ack; /* the safer of both */
    if (slice_eq(into->key, pair->source))
        return hops ? CE_MERGED : CE_BAD_CART;
    l1_lock_both(l1, hash[INTO], hash[FROM]);
    if (!cart_find_locked(session->cmd->tier, hash[INTO], into->key, now_us, &found[INTO]))
        *absent = into->key;
    else if (!cart_find_locked(session->cmd->tier, hash[FROM], pair->source, now_us, &found[FROM]))
        *absent = pair->source;
    else
        rc = visit_locked(session, pair, source.bucket, found, hops, led);
    l1_unlock_both(l1, hash[INTO], hash[FROM]);
    return rc;
}

enum run cart_pair_run(struct session *session, struct cart_pair *pair, int *code)
{
    struct cart_write *into = &pair->write;
    struct slice absent = {0};
    bool led = true;
    *code = session_wait_error(session);
    if (*code == 0)
        *code = make_args(session->worker, pair);
    if (*code)
        return RUN_DONE;
    if (l1_room(tier_l1(session->cmd->tier), into->bucket->limits.state_bytes_max / 8))
        return session_park_room(session, code);
    into->step.cause = CART_BY_MERGE;
    for (unsigned hops = 0; led && *code == 0 && !absent.len; hops++) {
        led = false;
        cart_write_begin(session, into);
        *code = try_join(session, pair, hops, &led, &absent);
        if (led)
            cart_write_led(into);
    }
    if (absent.len)
        return session_park_fill(session, absent, code);
    if (*code == CE_NOMEM && into->result.expired) /* as many events wait for L2 as may */
        return session_park_room(session, code);
    cart_write_count(session->worker, into, *code);
    return RUN_DONE;
}
