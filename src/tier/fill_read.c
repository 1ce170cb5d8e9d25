/* fill_read: a cart from L2, from L3. Blocks; not for workers. */
#include "tier/tier_int.h"

int fill_read_l2(struct tier *tier, struct slice key, struct buf *storage, struct l2_cart *cart)
{
    int rc = l2_get(tier->l2, key, storage, cart);
    if (rc == 0)
        rc = tier->config.value->check(cart->state);
    if (rc == 0)
        atomic_fetch_add(&tier->fills.l2_loads, 1);
    return rc;
}

bool fill_may_be_beyond_l2(struct tier *tier)
{
    return l2_has_salvaged(tier->l2) || (tier->l3_url && !atomic_load(&tier->l2_complete));
}

/* ---- L3 ---- */

/* After a failure the database is left alone for a while; the log has it once. */
static int fail(struct tier *tier, struct l3 **l3, const char *words)
{
    struct fills *fills = &tier->fills;
    if (!atomic_exchange(&fills->l3_failing, true))
        log_error("tier", "database: %s; carts that only it has are refused, trying again", words);
    atomic_store(&fills->l3_pause_until_ms, env_mono_ms(tier->config.env) + FILL_L3_PAUSE_MS);
    if (*l3)
        l3_close(l3); /* a fresh connection next time */
    return CE_DB;
}

static int connect_l3(struct tier *tier, struct l3 **l3)
{
    char message[256] = "";
    if (*l3)
        return 0;
    if (env_mono_ms(tier->config.env) < atomic_load(&tier->fills.l3_pause_until_ms))
        return CE_DB;
    return l3_open(tier->l3_url, l3, message, sizeof message) ? fail(tier, l3, message) : 0;
}

static int query_l3(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage,
                    uint32_t *rev)
{
    bool was_open = *l3 != NULL;
    int rc = connect_l3(tier, l3);
    if (rc)
        return rc;
    atomic_fetch_add(&tier->fills.l3_loads, 1);
    rc = l3_load(*l3, key, storage, rev);
    if (rc == 0 || rc == CE_NOTFOUND)
        return rc;
    if (!was_open)
        return fail(tier, l3, l3_message(*l3));
    l3_close(l3); /* the server may have been restarted since the last query: once more */
    return query_l3(tier, l3, key, storage, rev);
}

static int read_l3(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage,
                   struct l2_cart *cart)
{
    uint32_t rev = 0;
    int rc = query_l3(tier, l3, key, storage, &rev);
    if (rc == 0 || rc == CE_NOTFOUND)
        if (atomic_exchange(&tier->fills.l3_failing, false))
            log_info("tier", "database: works again");
    if (rc == 0)
        rc = tier->config.value->check(buf_slice(storage));
    if (rc == CE_CORRUPT)
        log_error("tier",
                  "cart %.*s is refused: column image of its row in the database is not what cartd "
                  "writes; restore the row, or delete it to give the cart up",
                  (int)key.len, (const char *)key.bytes);
    *cart = (struct l2_cart){.l3_rev = rev, .state = buf_slice(storage)};
    return rc;
}

/* What L3 has joined with what was salvaged from a damaged L2: either may be the older. */
static int read_joined(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage,
                       struct l2_cart *cart)
{
    struct l2_cart salvaged;
    struct buf apart = {0}, joined = {0};
    int found = l2_salvaged_get(tier->l2, key, &apart, &salvaged);
    if (found == 0)
        found = tier->config.value->check(salvaged.state);
    int rc = found == CE_NOTFOUND || found == 0 ? CE_NOTFOUND : found;
    if (tier->l3_url && rc == CE_NOTFOUND)
        rc = read_l3(tier, l3, key, storage, cart);
    if (rc == CE_NOTFOUND && found == 0) {
        *cart = (struct l2_cart){.l3_rev = 0};
        rc = buf_append(&joined, salvaged.state.bytes, salvaged.state.len);
    } else if (rc == 0 && found == 0) {
        rc = tier->config.value->merge(cart->state, salvaged.state, &joined);
    }
    if (rc == 0 && found == 0) {
        buf_free(storage);
        *storage = joined;
        cart->state = buf_slice(storage);
    } else {
        buf_free(&joined);
    }
    buf_free(&apart);
    return rc;
}

int fill_read(struct tier *tier, struct l3 **l3, struct slice key, struct buf *storage,
              struct l2_cart *cart, bool *from_l3)
{
    int rc = fill_read_l2(tier, key, storage, cart);
    *from_l3 = rc == CE_NOTFOUND;
    if (rc != CE_NOTFOUND || !fill_may_be_beyond_l2(tier))
        return rc;
    storage->len = 0;
    return l2_has_salvaged(tier->l2) ? read_joined(tier, l3, key, storage, cart)
                                     : read_l3(tier, l3, key, storage, cart);
}
