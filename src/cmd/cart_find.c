/* cart_find: from a key to its cart in L1, for reading and for writing. A cart that was merged into
 * another is found there: readers and writers follow what it left behind (cart-protocol section 5).
 */
#include "cmd/cmd_int.h"

#define HOPS_MAX 8 /* carts that became part of one another; then CE_MERGED */

bool cart_look_locked(struct tier *tier, uint64_t hash, struct slice key, struct cart_found *found)
{
    struct l1_item *item;
    *found = (struct cart_found){.hash = hash};
    enum tier_found where = tier_find_locked(tier, hash, key, &item);
    if (where == TIER_HERE) {
        found->item = item;
        found->state = l1_value_slice(item);
        found->actor = item->cart.actor;
        found->lsn = item->cart.lsn;
        found->newest = tier_newest_of(item);
    }
    return where != TIER_ASK;
}

bool cart_find_locked(struct tier *tier, uint64_t hash, struct slice key, uint64_t now_us,
                      struct cart_found *found)
{
    bool known = cart_look_locked(tier, hash, key, found);
    if (known)
        cart_summary(found->state, now_us, &found->summary);
    return known;
}

int cart_follow(struct session *session, struct slice moved_to, unsigned hops,
                enum guard_right right, struct slice *key, const struct cmd_bucket **bucket)
{
    struct cmd_worker *worker = session->worker;
    struct cart_key parsed;
    MUST(moved_to.len <= sizeof worker->moved_to);
    memmove(worker->moved_to, moved_to.bytes, moved_to.len);
    *key = slice_of(worker->moved_to, moved_to.len);
    /* A reload may have made another bucket of it. */
    if (hops == HOPS_MAX || cart_key_parse(worker, *key, &parsed) != KEY_CART)
        return CE_MERGED;
    *bucket = parsed.bucket;
    return session->login ? guard_may(session->login, right, *key) : 0;
}

enum run cart_read_run(struct session *session, struct cart_read *read, int *code)
{
    struct l1 *l1 = tier_l1(session->cmd->tier);
    const struct cmd_bucket *bucket;
    struct cart_found found;
    uint64_t now_us = env_wall_us(session->cmd->config.env);
    *code = session_wait_error(session);
    if (*code)
        return RUN_DONE;
    for (unsigned hops = 0;; hops++) {
        uint64_t hash = hash_64(read->key);
        l1_lock(l1, hash);
        bool known = cart_find_locked(session->cmd->tier, hash, read->key, now_us, &found);
        struct slice moved_to = found.summary.moved_to;
        if (known && !moved_to.len)
            *code = read->look(read, found.state, &found.summary, now_us);
        else if (known)
            *code = cart_follow(session, moved_to, hops, GUARD_READ, &read->key, &bucket);
        l1_unlock(l1, hash);
        if (!known)
            return session_park_fill(session, read->key, code);
        if (!moved_to.len || *code)
            break;
        read->moved = true;
    }
    count(&session->worker->cart_reads);
    return RUN_DONE;
}
