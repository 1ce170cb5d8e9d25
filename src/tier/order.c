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
    struct buf taken = orders->waiting;
    orders->waiting = orders->writing;
    orders->writing = taken;
    atomic_store(&orders->busy, taken.len > 0);
    lock_drop(&orders->lock);
}

void orders_to_batch(struct tier *tier)
{
    struct order order;
    struct slice key;
    take_waiting(&tier->orders);
    struct slice rest = buf_slice(&tier->orders.writing);
    while (next_order(&rest, &order, &key))
        if (order.kind == ORDER_MARK)
            l2_batch_mark(tier->drain.batch, key);
}

void orders_committed(struct tier *tier)
{
    struct order order;
    struct slice key;
    struct slice rest = buf_slice(&tier->orders.writing);
    while (next_order(&rest, &order, &key))
        if (order.kind == ORDER_MARK && tier->behind)
            behind_add(tier->behind, key);
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
    if (tier->orders.view_state == VIEW_ASKED)
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
