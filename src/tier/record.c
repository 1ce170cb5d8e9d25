/* history: what was done to a cart, read backwards. Every record says where the cart's record
 * before it stands (tier_head); L1, or L2 for a cart that is not in memory, says where the newest
 * is. So the history costs a cart no memory and a step no second write.
 *
 * One thread answers one question after the other: none of them is worth slowing the carts down. */
#include "tier/tier_int.h"

/* ---- the head ---- */

int tier_head_put(struct slice key, struct tier_link before, struct buf *record)
{
    if (buf_reserve(record, 1 + key.len + 2 * VARINT_MAX))
        return CE_NOMEM;
    uint8_t *start = record->bytes + record->len, *at = start;
    *at++ = (uint8_t)key.len;
    memcpy(at, key.bytes, key.len);
    at += key.len;
    at += varint_put(at, before.bytes);
    if (before.bytes)
        at += varint_put(at, before.lsn);
    record->len += (size_t)(at - start);
    return 0;
}

bool tier_head_take(struct slice *record, struct tier_head *out)
{
    struct slice rest = *record;
    uint64_t bytes;
    *out = (struct tier_head){0};
    if (rest.len < 1 || rest.bytes[0] == 0 || rest.bytes[0] > L1_KEY_MAX ||
        rest.len < 1u + rest.bytes[0])
        return false;
    out->key = slice_of(rest.bytes + 1, rest.bytes[0]);
    rest = slice_from(rest, 1 + out->key.len);
    if (!varint_take(&rest, &bytes) || bytes > UINT32_MAX ||
        (bytes && !varint_take(&rest, &out->before.lsn)))
        return false;
    out->before.bytes = (uint32_t)bytes;
    *record = rest;
    return true;
}

/* ---- asking ---- */

int tier_history(struct tier *tier, struct tier_history *history)
{
    struct histories *of = &tier->histories;
    int rc = atomic_load(&tier->refused);
    if (rc)
        return rc;
    MUST(history->key.len >= 1 && history->key.len <= L1_KEY_MAX);
    lock_take(&of->lock);
    if (of->stopping)
        rc = CE_STOPPED;
    else if (of->waiting >= TIER_HISTORY_WAITERS_MAX)
        rc = CE_BUSY;
    if (rc == 0) {
        history->_next = NULL;
        *of->queue_tail = history;
        of->queue_tail = &history->_next;
        of->waiting++;
        cond_wake(&of->cond);
    }
    lock_drop(&of->lock);
    return rc;
}

/* ---- reading ---- */

/* Where the newest record is. A cart leaves L1 only when L2 has it. */
static int find_newest(struct tier *tier, struct slice key, struct buf *storage,
                       struct tier_link *newest)
{
    uint64_t hash = hash_64(key);
    struct l1_item *item;
    struct l2_cart cart;
    int late = catchup_await(tier, hash);
    if (late)
        return late;
    l1_lock(tier->l1, hash);
    enum tier_found found = tier_find_locked(tier, hash, key, &item);
    *newest = tier_newest_of(item);
    l1_unlock(tier->l1, hash);
    if (found != TIER_ASK)
        return 0;
    int rc = l2_get(tier->l2, key, storage, &cart);
    if (rc == 0 && cart.lsn <= journal_end(tier->journal))
        *newest = (struct tier_link){cart.lsn, cart.record_bytes};
    return rc == CE_NOTFOUND ? 0 : rc;
}

bool history_take_head(const struct tier *tier, uint8_t type, struct slice key, struct slice *body,
                       struct tier_head *head)
{
    uint64_t len = 0;
    if (type != tier->config.pair_record)
        return tier_head_take(body, head) && slice_eq(head->key, key);
    if (!varint_take(body, &len) || len > body->len)
        return false;
    struct slice first = slice_of(body->bytes, len), second = slice_from(*body, len);
    bool is_first = tier_head_take(&first, head) && slice_eq(head->key, key);
    *body = is_first ? first : second;
    return is_first || (tier_head_take(body, head) && slice_eq(head->key, key));
}

/* Goes one record back. What is not a record of this cart, or not an older one, is damage. */
static int read_before(struct tier *tier, struct slice key, struct buf *storage,
                       struct tier_link *link, uint8_t *type, struct slice *body)
{
    struct tier_head head;
    int rc = journal_read(tier->journal, link->lsn, link->bytes, storage, type, body);
    if (rc)
        return rc;
    if (!history_take_head(tier, *type, key, body, &head) || head.before.lsn >= link->lsn)
        return CE_CORRUPT;
    *link = head.before;
    return 0;
}

static int read_back(struct tier *tier, struct tier_history *history, struct buf *storage)
{
    struct tier_link link = {0, 0};
    struct slice key = history->key, body;
    uint8_t type;
    int rc = find_newest(tier, key, storage, &link);
    if (rc == 0 && !journal_reached(tier->journal, link.lsn, ACK_OS))
        rc = journal_flush(tier->journal, ACK_OS, JOURNAL_WAIT_MS);
    while (rc == 0 && link.bytes) {
        rc = read_before(tier, key, storage, &link, &type, &body);
        if (rc == CE_CORRUPT) {
            log_error("tier", "history of %.*s: its record at %llu is corrupt", (int)key.len,
                      (const char *)key.bytes, (unsigned long long)link.lsn);
            rc = CE_NOTFOUND;
        }
        if (rc == 0)
            rc = history->each(history, type, body);
    }
    return rc > 0 ? 0 : rc;
}

/* ---- the thread ---- */

static struct tier_history *next_history(struct histories *of, bool *stopping)
{
    lock_take(&of->lock);
    while (!of->queue && !of->stopping)
        cond_wait(&of->cond, &of->lock, 0);
    struct tier_history *history = of->queue;
    if (history) {
        of->queue = history->_next;
        of->waiting--;
        if (!of->queue)
            of->queue_tail = &of->queue;
    }
    *stopping = of->stopping;
    lock_drop(&of->lock);
    return history;
}

static void *run_history(void *arg)
{
    struct tier *tier = arg;
    struct tier_history *history;
    struct buf storage = {0};
    bool stopping;
    thread_background();
    while ((history = next_history(&tier->histories, &stopping))) {
        history->done(history, stopping ? CE_STOPPED : read_back(tier, history, &storage));
        storage.len = 0;
        buf_shrink(&storage, HISTORY_STORAGE_MAX);
    }
    buf_free(&storage);
    return NULL;
}

void history_init(struct tier *tier)
{
    lock_init(&tier->histories.lock, LOCK_HISTORY);
    cond_init(&tier->histories.cond);
    tier->histories.queue_tail = &tier->histories.queue;
}

void history_fini(struct tier *tier)
{
    cond_fini(&tier->histories.cond);
    lock_fini(&tier->histories.lock);
}

int history_start(struct tier *tier)
{
    if (tier->histories.started)
        return 0;
    int rc = thread_start(&tier->histories.thread, "history", run_history, tier);
    tier->histories.started = rc == 0;
    return rc;
}

void history_stop(struct tier *tier)
{
    struct histories *of = &tier->histories;
    lock_take(&of->lock);
    of->stopping = true;
    cond_wake(&of->cond);
    lock_drop(&of->lock);
    if (of->started)
        MUST(pthread_join(of->thread, NULL) == 0);
    of->started = false;
}
