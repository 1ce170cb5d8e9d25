/* reap_l3: carts that only L3 has, whose life has ended. With a new L2 beside a filled database, L2
 * has no entries for them. So while L2 is not complete a thread goes through the rows of L3 by key,
 * slowly, and hands those to the reaper that L2 does not have. No index on the end of life is
 * needed for it: every write of a cart would have to keep it.
 *
 * Rows of which one could not be done are looked at again, some times; then the walk goes on, and
 * the next one meets them. */
#include "tier/tier_int.h"

void reap_l3_init(struct tier *tier)
{
    turns_init(&tier->reap_l3.turns);
}

void reap_l3_fini(struct tier *tier)
{
    struct reap_l3 *reap = &tier->reap_l3;
    buf_free(&reap->from);
    buf_free(&reap->cursor);
    buf_free(&reap->found);
    turns_fini(&reap->turns);
}

/* Notes a row whose life has ended. CE_EXISTS: enough for this turn. */
static int look_at_row(void *arg, struct slice key, uint32_t rev, struct slice image)
{
    struct tier *tier = arg;
    struct reap_l3 *reap = &tier->reap_l3;
    (void)rev;
    reap->cursor.len = 0;
    if (buf_append(&reap->cursor, key.bytes, key.len))
        return CE_NOMEM;
    uint64_t end_us = 0;
    if (key.len <= L1_KEY_MAX && tier->config.value->check(image) == 0)
        end_us = tier->config.value->expiry_us(image);
    if (end_us && end_us <= env_wall_us(tier->config.env) && keys_add(&reap->found, key))
        return CE_NOMEM;
    return ++reap->rows < REAP_L3_ROWS ? 0 : CE_EXISTS;
}

/* The next rows, and what is to be done about them. *at_end: there are no more. */
static int look(struct tier *tier, bool *at_end)
{
    struct reap_l3 *reap = &tier->reap_l3;
    char message[256];
    reap->rows = reap->found.len = reap->from.len = 0;
    if (buf_append(&reap->from, reap->cursor.bytes, reap->cursor.len))
        return CE_NOMEM;
    if (!reap->l3 && l3_open(tier->l3_url, &reap->l3, message, sizeof message))
        return CE_DB;
    int rc = l3_each_from(reap->l3, buf_slice(&reap->cursor), look_at_row, tier);
    *at_end = rc == 0;
    if (rc != 0 && rc != CE_EXISTS) {
        l3_close(&reap->l3);
        return rc;
    }
    return 0;
}

/* What L2 has by now has an entry there. One that fails does not hold up the others. */
static int end_found(struct tier *tier)
{
    struct buf storage = {0};
    struct l2_cart cart;
    struct slice rest = buf_slice(&tier->reap_l3.found), key;
    int failed = 0;
    while (!turns_end(&tier->reap_l3.turns) && keys_next(&rest, &key)) {
        int rc = l2_get(tier->l2, key, &storage, &cart);
        if (rc == CE_NOTFOUND)
            rc = reap_end(tier, key);
        failed = rc ? rc : failed;
    }
    buf_free(&storage);
    return failed;
}

static void note_outcome(struct reap_l3 *reap, int rc)
{
    if (rc && !reap->failing)
        log_warn("tier", "lives that have ended in the database: %s; trying again", err_text(rc));
    reap->failing = rc != 0;
}

/* Looks at the next rows; true when they need not be looked at again. */
static bool look_and_end(struct tier *tier, bool *at_end)
{
    struct reap_l3 *reap = &tier->reap_l3;
    int rc = look(tier, at_end);
    bool looked = rc == 0;
    if (looked)
        rc = end_found(tier);
    note_outcome(reap, rc);
    reap->failures = looked && rc ? reap->failures + 1 : 0;
    return rc == 0 || reap->failures == REAP_L3_TRIES;
}

/* Returns how long to wait. */
static unsigned turn(struct tier *tier)
{
    struct reap_l3 *reap = &tier->reap_l3;
    bool at_end = false;
    if (!tier_is_serving(tier)) /* nor may a life end */
        return REAP_L3_TURN_MS;
    if (!look_and_end(tier, &at_end)) {
        buf_swap(&reap->from, &reap->cursor);
        return REAP_L3_TURN_MS;
    }
    reap->failures = 0;
    if (!at_end)
        return REAP_L3_TURN_MS;
    reap->cursor.len = 0;
    return REAP_L3_AGAIN_MS;
}

static void *run_reap_l3(void *arg)
{
    struct tier *tier = arg;
    struct reap_l3 *reap = &tier->reap_l3;
    thread_give_way();
    bool go = !turns_end(&reap->turns);
    while (go)
        go = turns_rest(&reap->turns, turn(tier));
    if (reap->l3)
        l3_close(&reap->l3);
    return NULL;
}

int reap_l3_start(struct tier *tier)
{
    /* With a bound carts leave L2 later on. */
    bool wanted = tier->config.l2_bytes_max || !atomic_load(&tier->l2_complete);
    if (!tier->l3_url || !wanted)
        return 0;
    return turns_start(&tier->reap_l3.turns, "reap-l3", run_reap_l3, tier);
}

void reap_l3_stop(struct tier *tier)
{
    turns_stop(&tier->reap_l3.turns);
}
