/* verify_live: do the tiers agree, while carts are served? The carts of L2 one by one: memory has
 * the same or a newer state, the journal's newest record of the cart is whole and in it, L3 has the
 * same state, or an older one that is marked. Then the rows of L3: L2 has a cart for each.
 *
 * Tiers are read one after the other, so what was read counts only when L2 still has the same state
 * behind it; a cart that changes all the time is passed over. And what differs is looked at again a
 * while later, before it is called different. */
#include "tier/tier_int.h"

#define LOOKS_MAX        5           /* at a cart that changes while it is looked at */
#define AGAIN_MS         400         /* until what differs is looked at again */
#define SUSPECTS_BYTES   (64u << 10) /* of keys; then it is time for that */
#define WORDS_CORRUPT_L2 "its record in L2 is corrupt"

struct live {
    struct tier_job *job;
    struct tier *tier;
    struct l3 *l3; /* NULL = none */
    struct buf storage, image, record;
    struct buf suspects; /* keys, each behind its length in a byte */
    struct tier_verdict found;
    uint64_t changing;
    /* Of the cart that was looked at last. */
    struct l2_cart cart;
    uint32_t rev;              /* of its row, 0 = none */
    bool image_is_bad, is_row; /* is_row: L2 has no such cart */
};

/* ---- one cart ---- */

/* NULL: memory has nothing else than L2. */
static const char *compare_l1(struct live *live, struct slice key)
{
    struct tier *tier = live->tier;
    struct l1_item *item;
    uint64_t hash = hash_64(key);
    bool good = true;
    l1_lock(tier->l1, hash);
    if (tier_find_locked(tier, hash, key, &item) == TIER_HERE)
        good = l1_is_clean(item)
                   ? slice_eq(l1_value_slice(item), live->cart.state)
                   : tier->config.value->covers(l1_value_slice(item), live->cart.state);
    l1_unlock(tier->l1, hash);
    return good ? NULL : "memory has another state than L2";
}

static int compare_journal(struct live *live, struct slice key, const char **words)
{
    struct tier *tier = live->tier;
    struct tier_head head;
    struct slice body;
    uint8_t type;
    if (!live->cart.record_bytes || live->cart.lsn > journal_end(tier->journal))
        return 0;
    int rc = journal_read(tier->journal, live->cart.lsn, live->cart.record_bytes, &live->record,
                          &type, &body);
    if (rc == CE_NOTFOUND) /* no longer kept */
        return 0;
    live->found.records += rc == 0;
    if (rc == CE_CORRUPT)
        *words = "its newest record in the journal is corrupt";
    else if (rc == 0 && (!history_take_head(tier, type, key, &body, &head) ||
                         !tier->config.value->has(live->cart.state, type, body)))
        *words = "the journal has a step that L2 has not";
    return rc == CE_CORRUPT ? 0 : rc;
}

static int load_row(struct live *live, struct slice key)
{
    live->rev = 0;
    int rc = live->l3 ? l3_load(live->l3, key, &live->image, &live->rev) : CE_NOTFOUND;
    if (rc == CE_NOTFOUND)
        live->image.len = 0;
    return rc == CE_NOTFOUND ? 0 : rc;
}

static int compare_l3(struct live *live, struct slice key, const char **words, bool *behind)
{
    const struct tier_value *value = live->tier->config.value;
    bool marked = false;
    if (!live->l3)
        return 0;
    int rc = l2_is_marked(live->tier->l2, key, &marked); /* before L3 is asked: it goes after */
    if (rc == 0)
        rc = load_row(live, key);
    if (rc)
        return rc;
    live->image_is_bad = live->image.len && value->check(buf_slice(&live->image)) != 0;
    return verify_compare(value, live->cart.state, buf_slice(&live->image), marked, words, behind);
}

/* L2 has still what the others were compared with. */
static int is_still(struct live *live, struct slice key, uint64_t state_hash, bool *still)
{
    struct l2_cart now;
    int rc = l2_get(live->tier->l2, key, &live->record, &now);
    *still = rc == 0 && hash_64(now.state) == state_hash;
    return rc == CE_NOTFOUND ? 0 : rc;
}

static int compare_all(struct live *live, struct slice key, const char **words, bool *behind)
{
    int rc = 0;
    *words = NULL;
    *behind = live->image_is_bad = false;
    if (live->tier->config.value->check(live->cart.state))
        *words = WORDS_CORRUPT_L2;
    else
        *words = compare_l1(live, key);
    if (!*words)
        rc = compare_journal(live, key, words);
    return rc || *words ? rc : compare_l3(live, key, words, behind);
}

/* *words NULL: no difference. */
static int look_at(struct live *live, struct slice key, const char **words, bool *behind)
{
    *words = NULL;
    *behind = live->is_row = false;
    for (unsigned looks = 0; looks < LOOKS_MAX; looks++) {
        bool still = true;
        int rc = l2_get(live->tier->l2, key, &live->storage, &live->cart);
        if (rc == CE_NOTFOUND)
            return 0;
        if (rc == CE_CORRUPT) {
            *words = WORDS_CORRUPT_L2;
            live->cart = (struct l2_cart){.boot = 0};
            return 0;
        }
        if (rc == 0)
            rc = compare_all(live, key, words, behind);
        if (rc == 0)
            rc = is_still(live, key, hash_64(live->cart.state), &still);
        if (rc || still)
            return rc;
        if ((rc = job_sleep(live->job, JOB_LOOK_MS)) != 0)
            return rc;
    }
    *words = NULL;
    live->changing++;
    return 0;
}

/* A row of L3 of which L2 knows nothing, though it should. */
static int look_at_missing(struct live *live, struct slice key, const char **words)
{
    struct l2_cart cart;
    *words = NULL;
    live->is_row = true;
    int rc = l2_get(live->tier->l2, key, &live->storage, &cart);
    if (rc != CE_NOTFOUND)
        return rc == CE_CORRUPT ? 0 : rc;
    rc = load_row(live, key);
    if (rc || live->rev == 0)
        return rc;
    live->image_is_bad = live->tier->config.value->check(buf_slice(&live->image)) != 0;
    if (live->image_is_bad)
        *words = "its image in the database is corrupt, and L2 does not have it";
    else if (atomic_load(&live->tier->l2_complete))
        *words = "L2 should have it and does not";
    return 0;
}

/* ---- repair: all are merged in memory, and go down to L2 and L3 from there ---- */

static int bring_back(struct live *live, struct slice key)
{
    struct tier *tier = live->tier;
    struct l1_item *item;
    struct slice state = buf_slice(&live->image);
    uint64_t hash = hash_64(key);
    int rc = fill_now(tier, key);
    if (rc == 0)
        rc = l1_room(tier->l1, 2 * (key.len + state.len));
    if (rc)
        return rc;
    l1_lock(tier->l1, hash);
    enum tier_found found = tier_find_locked(tier, hash, key, &item);
    if (found == TIER_NONE) {
        rc = tier_put_state_locked(tier, hash, key, 0, state);
        if (rc == 0 && tier_find_locked(tier, hash, key, &item) == TIER_HERE)
            item->cart.l3_rev = live->rev;
    }
    l1_unlock(tier->l1, hash);
    return found == TIER_ASK ? CE_BUSY : rc;
}

/* What can't be read is replaced by what the others have. */
static int repair(struct live *live, struct slice key)
{
    struct slice image = live->image_is_bad ? slice_of(NULL, 0) : buf_slice(&live->image);
    if (live->is_row)
        return live->image_is_bad ? CE_CORRUPT : bring_back(live, key);
    if (!live->cart.state.bytes) /* it is mended as a whole, see drain_mend */
        return CE_CORRUPT;
    int rc = down_merge(live->tier, key, live->cart.state, live->cart.l3_rev);
    if (rc == 0 && live->l3)
        rc = down_merge(live->tier, key, image, live->rev);
    return rc;
}

/* ---- what differs ---- */

static int settle_one(struct live *live, struct slice key)
{
    const char *words;
    bool behind;
    int rc = look_at(live, key, &words, &behind);
    if (rc == 0 && !words)
        rc = look_at_missing(live, key, &words);
    else
        live->is_row = false;
    if (rc || !words)
        return rc;
    live->found.differences++;
    rc = job_tell(live->job, "DIFF %.*s: %s", (int)key.len, (const char *)key.bytes, words);
    if (rc == 0 && live->job->config.repair)
        live->found.repaired += repair(live, key) == 0;
    return rc;
}

static int settle_suspects(struct live *live)
{
    struct slice rest = buf_slice(&live->suspects), key;
    int rc = rest.len ? job_sleep(live->job, AGAIN_MS) : 0;
    while (rc == 0 && keys_next(&rest, &key))
        rc = settle_one(live, key);
    live->suspects.len = 0;
    return rc;
}

static int note(struct live *live, struct slice key, const char *words)
{
    int rc = words ? keys_add(&live->suspects, key) : 0;
    return rc == 0 && live->suspects.len >= SUSPECTS_BYTES ? settle_suspects(live) : rc;
}

/* ---- all of them ---- */

static int look_at_cart(struct tier_job *job, struct slice key)
{
    struct live *live = job->work;
    const char *words;
    bool behind;
    int rc = look_at(live, key, &words, &behind);
    live->found.carts++;
    live->found.behind += behind && !words;
    return rc ? rc : note(live, key, words);
}

static int look_at_row(void *arg, struct slice key, uint32_t rev, struct slice image)
{
    struct live *live = arg;
    struct l2_cart cart;
    (void)rev, (void)image;
    live->found.rows++;
    int rc = l2_get(live->tier->l2, key, &live->storage, &cart);
    if (rc == CE_NOTFOUND) /* `look_at_missing` finds out more: not on this connection, now */
        rc = keys_add(&live->suspects, key);
    else if (rc == CE_CORRUPT)
        rc = 0; /* told already */
    return rc ? rc : job_pace(live->job, 1);
}

static int tell_found(struct live *live)
{
    const struct tier_verdict *found = &live->found;
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"records", found->records},   {"carts", found->carts},
        {"behind", found->behind},     {"rows", found->rows},
        {"changing", live->changing},  {"differences", found->differences},
        {"repaired", found->repaired},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof rows / sizeof rows[0]; i++)
        rc = job_stat(live->job, rows[i].name, rows[i].value);
    return rc;
}

static int look_at_all(struct live *live)
{
    int rc = job_each_cart(live->job, look_at_cart);
    if (rc == 0 && live->l3)
        rc = l3_each(live->l3, look_at_row, live);
    if (rc == 0)
        rc = settle_suspects(live);
    return rc ? rc : tell_found(live);
}

int job_verify(struct tier_job *job)
{
    struct tier *tier = job->tier;
    struct live live = {.job = job, .tier = tier};
    job->work = &live;
    int rc = tier->l3_url ? l3_open(tier->l3_url, &live.l3, job->message, sizeof job->message) : 0;
    if (rc == 0)
        rc = look_at_all(&live);
    if (live.l3)
        l3_close(&live.l3);
    buf_free(&live.storage);
    buf_free(&live.image);
    buf_free(&live.record);
    buf_free(&live.suspects);
    return rc;
}
