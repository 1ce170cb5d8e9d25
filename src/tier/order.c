/* order: what others want the L2 writer to do. Orders are carried out in the batch of the next
 * sweep, in front of its states, so what a cart has become meanwhile wins. */
#include "tier/tier_int.h"

void orders_init(struct tier *tier)
{
    lock_init(&tier->orders.lock, LOCK_L2_QUEUE);
}

void orders_fini(struct tier *tier)
{
    buf_free(&tier->orders.waiting);
    buf_free(&tier->orders.writing);
    lock_fini(&tier->orders.lock);
}

/* ---- giving ---- */

int orders_give(struct tier *tier, enum order_kind kind, struct slice key, uint64_t state_hash)
{
    struct order order = {
        .state_hash = state_hash, .kind = (uint8_t)kind, .key_bytes = (uint8_t)key.len};
    struct buf *waiting = &tier->orders.waiting;
    lock_take(&tier->orders.lock);
    int rc = buf_reserve(waiting, sizeof order + key.len);
    if (rc == 0) {
        memcpy(waiting->bytes + waiting->len, &order, sizeof order);
        memcpy(waiting->bytes + waiting->len + sizeof order, key.bytes, key.len);
        waiting->len += sizeof order + key.len;
    }
    lock_drop(&tier->orders.lock);
    return rc ? CE_NOMEM : 0;
}

size_t orders_bytes(struct tier *tier)
{
    lock_take(&tier->orders.lock);
    size_t bytes = tier->orders.waiting.len;
    lock_drop(&tier->orders.lock);
    return bytes;
}

bool orders_pending(struct tier *tier)
{
    return orders_bytes(tier) > 0 || atomic_load(&tier->orders.busy);
}

/* ---- the L2 writer ---- */

static bool next_order(struct slice *rest, struct order *order, struct slice *key)
{
    if (rest->len == 0)
        return false;
    memcpy(order, rest->bytes, sizeof *order);
    *key = slice_of(rest->bytes + sizeof *order, order->key_bytes);
    *rest = slice_from(*rest, sizeof *order + key->len);
    return true;
}

bool orders_wait(struct tier *tier)
{
    return orders_bytes(tier) > 0;
}

/* Takes over what waits, unless the last of it is still to be written. */
static void take_waiting(struct orders *orders)
{
    if (orders->writing.len)
        return;
    lock_take(&orders->lock);
    buf_swap(&orders->waiting, &orders->writing);
    atomic_store(&orders->busy, orders->writing.len > 0);
    lock_drop(&orders->lock);
}

/* And memory has no newer one. */
static bool is_still_in_l2(struct tier *tier, struct slice key, uint64_t state_hash,
                           struct buf *storage)
{
    struct l2_cart cart;
    struct l1_item *item;
    uint64_t hash = hash_64(key);
    l1_lock(tier->l1, hash);
    bool here = tier_find_locked(tier, hash, key, &item) == TIER_HERE;
    bool same = here && l1_is_clean(item) && !(item->marks & L1_MARK_BEHIND) &&
                hash_64(l1_value_slice(item)) == state_hash;
    l1_unlock(tier->l1, hash);
    if (here)
        return same;
    return l2_get(tier->l2, key, storage, &cart) == 0 && hash_64(cart.state) == state_hash;
}

/* From here on, and in the same batch, L2 is not complete: a cart that it lacks is asked of L3. */
static void drop_cart(struct tier *tier, struct slice key, uint64_t state_hash, struct buf *storage)
{
    bool marked = true;
    if (l2_is_marked(tier->l2, key, &marked) || marked ||
        !is_still_in_l2(tier, key, state_hash, storage))
        return;
    atomic_store(&tier->l2_complete, false);
    l2_batch_meta_delete(tier->drain.batch, "complete");
    l2_batch_delete(tier->drain.batch, key);
    tier->orders.dropping++;
}

/* Who has carts marked does not trust L3: then nothing is dropped. */
static bool mark_carts(struct tier *tier)
{
    struct order order;
    struct slice key, rest = buf_slice(&tier->orders.writing);
    bool any = false;
    while (next_order(&rest, &order, &key)) {
        if (order.kind != ORDER_MARK)
            continue;
        l2_batch_mark(tier->drain.batch, key);
        any = true;
    }
    return any;
}

void orders_to_batch(struct tier *tier)
{
    struct order order;
    struct slice key;
    struct buf storage = {0};
    take_waiting(&tier->orders);
    tier->orders.dropping = 0;
    struct slice rest = buf_slice(&tier->orders.writing);
    bool drops = !mark_carts(tier);
    while (drops && next_order(&rest, &order, &key))
        drop_cart(tier, key, order.state_hash, &storage);
    buf_free(&storage);
}

void orders_committed(struct tier *tier)
{
    struct order order;
    struct slice key;
    struct slice rest = buf_slice(&tier->orders.writing);
    while (next_order(&rest, &order, &key))
        if (order.kind == ORDER_MARK)
            down_add(tier, key, env_mono_ms(tier->config.env));
    atomic_fetch_add(&tier->trim.trimmed, tier->orders.dropping);
    tier->orders.dropping = 0;
    tier->orders.writing.len = 0;
    buf_shrink(&tier->orders.writing, ORDERS_BYTES_MAX);
    atomic_store(&tier->orders.busy, false);
}

/* ---- a view of L2 ---- */

void orders_ask_view(struct tier *tier)
{
    lock_take(&tier->orders.lock);
    MUST(tier->orders.view_state == VIEW_NOT);
    tier->orders.view_state = VIEW_ASKED;
    lock_drop(&tier->orders.lock);
}

bool orders_take_view(struct tier *tier, bool gives_up, struct l2_view **view, int *rc)
{
    struct orders *orders = &tier->orders;
    lock_take(&orders->lock);
    bool over = gives_up || orders->view_state == VIEW_READY;
    if (over) {
        *view = orders->view;
        *rc = orders->view_rc;
        orders->view = NULL;
        orders->view_state = VIEW_NOT;
    }
    lock_drop(&orders->lock);
    if (gives_up && *view)
        l2_view_drop(tier->l2, view);
    return over;
}

void orders_sweep_begins(struct tier *tier)
{
    lock_take(&tier->orders.lock);
    if (tier->orders.view_state == VIEW_ASKED && tier->replayed && catchup_is_over(tier))
        tier->orders.view_state = VIEW_SWEEPS;
    lock_drop(&tier->orders.lock);
}

void orders_sweep_ended(struct tier *tier, int rc)
{
    struct orders *orders = &tier->orders;
    struct l2_view *view = NULL;
    lock_take(&orders->lock);
    bool wanted = orders->view_state == VIEW_SWEEPS;
    lock_drop(&orders->lock);
    if (!wanted)
        return;
    if (rc == 0)
        rc = l2_view_take(tier->l2, &view);
    lock_take(&orders->lock);
    wanted = orders->view_state == VIEW_SWEEPS; /* it may have been given up */
    if (wanted) {
        orders->view = view;
        orders->view_rc = rc;
        orders->view_state = VIEW_READY;
    }
    lock_drop(&orders->lock);
    if (!wanted && view)
        l2_view_drop(tier->l2, &view);
}
