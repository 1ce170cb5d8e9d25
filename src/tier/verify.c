/* verify: do journal, L2 and L3 agree? For a data directory that no daemon uses. */
#include "tier/tier_int.h"

#include <stdio.h>

struct verify {
    struct tier *tier;
    const struct tier_verify_config *config;
    struct tier_verdict *out;
    struct l3 *l3; /* NULL = none, or it does not answer */
    struct buf image, storage, joined;
    struct buf differing;  /* keys */
    bool complete, replay; /* the journal must be replayed from its beginning */
};

/* ---- telling ---- */

static int differs(struct verify *verify, struct slice key, const char *what)
{
    char line[L1_KEY_MAX + 128];
    snprintf(line, sizeof line, "%.*s: %s", (int)key.len, (const char *)key.bytes, what);
    verify->config->tell(verify->config->ctx, line);
    verify->out->differences++;
    return keys_add(&verify->differing, key);
}

/* ---- journal and L2 ---- */

static int known_state(struct verify *verify, struct slice key, struct l2_cart *cart)
{
    struct tier *tier = verify->tier;
    int rc = l2_get(tier->l2, key, &verify->storage, cart);
    if (rc == CE_NOTFOUND)
        rc = l2_salvaged_get(tier->l2, key, &verify->storage, cart);
    if (rc != CE_NOTFOUND || verify->complete || !verify->l3)
        return rc;
    rc = l3_load(verify->l3, key, &verify->storage, &cart->l3_rev);
    cart->state = buf_slice(&verify->storage);
    return rc;
}

static int look_at_step(struct verify *verify, uint8_t type, struct slice payload)
{
    struct tier_head head;
    struct l2_cart cart;
    if (!tier_head_take(&payload, &head))
        return 0;
    int rc = known_state(verify, head.key, &cart);
    if (rc == 0 && verify->tier->config.value->has(cart.state, type, payload))
        return 0;
    if (rc && rc != CE_NOTFOUND && rc != CE_CORRUPT)
        return rc;
    verify->replay = true;
    return differs(verify, head.key, "the journal has a step that no other tier has");
}

/* What lies behind the checkpoint is only in the journal, and rightly so. */
static int look_at_record(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn)
{
    struct verify *verify = arg;
    uint64_t len;
    if (end_lsn > verify->tier->drain.checkpoint) {
        verify->out->pending++;
        return 0;
    }
    if (type != verify->tier->config.pair_record)
        return look_at_step(verify, type, payload);
    if (!varint_take(&payload, &len) || len > payload.len)
        return 0;
    int rc = look_at_step(verify, type, slice_of(payload.bytes, len));
    return rc ? rc : look_at_step(verify, type, slice_from(payload, len));
}

static int look_at_journal(struct verify *verify)
{
    char line[160];
    struct journal_verdict found;
    int rc = journal_verify(verify->tier->journal, look_at_record, verify, &found);
    verify->out->records = found.records;
    if (rc || found.corrupt == 0)
        return rc;
    snprintf(line, sizeof line, "journal: %llu corrupt parts, %llu bytes",
             (unsigned long long)found.corrupt, (unsigned long long)found.corrupt_bytes);
    verify->config->tell(verify->config->ctx, line);
    verify->out->differences += found.corrupt;
    return 0;
}

/* ---- L2 and L3 ---- */

/* Tells what is corrupt; who lacks the memory to look has found nothing. *bad: do not go on. */
static int check_state(struct verify *verify, struct slice key, struct slice state,
                       const char *words, bool *bad)
{
    int rc = state.bytes ? verify->tier->config.value->check(state) : CE_CORRUPT;
    *bad = rc != 0;
    return rc == CE_CORRUPT ? differs(verify, key, words) : rc;
}

/* L3 may have another state than L2 when it is older, and L2 says so. */
static const char *compare(const struct tier_value *value, struct slice state, struct slice image,
                           bool marked, bool *behind)
{
    if (image.len && !value->covers(state, image))
        return value->covers(image, state) ? "the database has a newer state than L2"
                                           : "L2 and the database each have what the other lacks";
    *behind = marked;
    if (marked)
        return NULL;
    return image.len ? "the database has an older state than L2" : "the database does not have it";
}

int verify_compare(const struct tier_value *value, struct slice state, struct slice image,
                   bool marked, const char **words, bool *behind)
{
    *words = NULL;
    *behind = false;
    if (slice_eq(image, state))
        return 0;
    int rc = image.len ? value->check(image) : 0;
    if (rc == CE_CORRUPT)
        *words = "its image in the database is corrupt";
    else if (rc == 0)
        *words = compare(value, state, image, marked, behind);
    return rc == CE_CORRUPT ? 0 : rc;
}

static int look_at_cart(void *arg, struct slice key, const struct l2_cart *cart)
{
    struct verify *verify = arg;
    uint32_t rev;
    bool bad, marked = false, behind = false;
    const char *words = NULL;
    verify->out->carts++;
    int rc = check_state(verify, key, cart->state, "its record in L2 is corrupt", &bad);
    if (bad || !verify->l3)
        return rc;
    verify->image.len = 0;
    rc = l3_load(verify->l3, key, &verify->image, &rev);
    if (rc == CE_NOTFOUND)
        verify->image.len = 0;
    else if (rc)
        return rc;
    rc = l2_is_marked(verify->tier->l2, key, &marked);
    if (rc == 0)
        rc = verify_compare(verify->tier->config.value, cart->state, buf_slice(&verify->image),
                            marked, &words, &behind);
    verify->out->behind += behind;
    if (rc)
        return rc;
    return words ? differs(verify, key, words) : 0;
}

static int look_at_row(void *arg, struct slice key, uint32_t rev, struct slice image)
{
    struct verify *verify = arg;
    struct l2_cart cart;
    (void)rev;
    verify->out->rows++;
    int rc = l2_get(verify->tier->l2, key, &verify->storage, &cart);
    if (rc != CE_NOTFOUND)
        return rc == CE_CORRUPT ? 0 : rc; /* told already */
    bool bad;
    rc = check_state(verify, key, image,
                     "its image in the database is corrupt, and L2 does not have it", &bad);
    if (bad)
        return rc;
    return verify->complete ? differs(verify, key, "L2 should have it and does not") : 0;
}

/* ---- repair ---- */

/* The join of all that can be read goes to L2, with a mark, and from there to L3 at the next start.
 */
static int repair_cart(struct verify *verify, struct slice key)
{
    struct tier *tier = verify->tier;
    const struct tier_value *value = tier->config.value;
    struct l2_cart cart;
    uint32_t rev = 0;
    int rc = 0;
    verify->joined.len = verify->image.len = 0;
    bool here =
        l2_get(tier->l2, key, &verify->storage, &cart) == 0 && value->check(cart.state) == 0;
    bool there = verify->l3 && l3_load(verify->l3, key, &verify->image, &rev) == 0 &&
                 value->check(buf_slice(&verify->image)) == 0;
    if (!here && !there)
        return 0; /* the journal, if anything */
    if (here && there)
        rc = value->merge(cart.state, buf_slice(&verify->image), &verify->joined);
    else
        rc = buf_append(&verify->joined, here ? cart.state.bytes : verify->image.bytes,
                        here ? cart.state.len : verify->image.len);
    if (rc)
        return rc;
    if (!here)
        cart = (struct l2_cart){.boot = 0};
    cart.l3_rev = rev;
    cart.state = buf_slice(&verify->joined);
    if (l2_batch_put(tier->drain.batch, key, &cart))
        return CE_NOMEM;
    l2_batch_mark(tier->drain.batch, key);
    reap_enter(tier, key, cart.state);
    verify->out->repaired++;
    return l2_batch_commit(tier->l2, tier->drain.batch);
}

static int repair(struct verify *verify)
{
    const uint64_t from_start = 0;
    struct tier *tier = verify->tier;
    struct slice rest = buf_slice(&verify->differing), key;
    int rc = 0;
    while (rc == 0 && keys_next(&rest, &key))
        rc = repair_cart(verify, key);
    if (rc || !verify->replay)
        return rc;
    l2_batch_meta(tier->drain.batch, "checkpoint", slice_of(&from_start, sizeof from_start));
    return l2_batch_commit(tier->l2, tier->drain.batch);
}

/* ---- all of it ---- */

static void connect(struct verify *verify)
{
    char message[256], line[300];
    if (!verify->tier->l3_url)
        return;
    if (l3_open(verify->tier->l3_url, &verify->l3, message, sizeof message) == 0)
        return;
    verify->l3 = NULL;
    snprintf(line, sizeof line, "database: %s; not looked at", message);
    verify->config->tell(verify->config->ctx, line);
    verify->out->differences++;
}

static int look(struct verify *verify)
{
    struct tier *tier = verify->tier;
    int rc = start_open_dir(tier);
    if (rc == 0)
        rc = start_open_l2(tier, verify->config->repair);
    if (rc == 0)
        rc = start_read_checkpoint(tier);
    if (rc)
        return rc;
    rc = l2_meta_get(tier->l2, "complete", &verify->storage);
    if (rc && rc != CE_NOTFOUND)
        return rc;
    verify->complete = rc == 0 || !tier->l3_url;
    connect(verify);
    rc = look_at_journal(verify);
    if (rc == 0)
        rc = l2_each(tier->l2, look_at_cart, verify);
    if (rc == 0 && verify->l3)
        rc = l3_each(verify->l3, look_at_row, verify);
    if (rc == 0 && verify->config->repair)
        rc = repair(verify);
    return rc;
}

int tier_verify(const struct tier_config *config, const struct tier_verify_config *how,
                struct tier_verdict *out, char *message, size_t message_bytes)
{
    struct verify verify = {.config = how, .out = out};
    *out = (struct tier_verdict){0};
    int rc = tier_open(config, &verify.tier, message, message_bytes);
    if (rc)
        return rc;
    rc = look(&verify);
    if (rc)
        snprintf(message, message_bytes, "%s: %s", config->data_dir, err_text(rc));
    if (verify.l3)
        l3_close(&verify.l3);
    buf_free(&verify.image);
    buf_free(&verify.storage);
    buf_free(&verify.joined);
    buf_free(&verify.differing);
    int stop_rc = tier_stop(&verify.tier, 0);
    return rc ? rc : stop_rc;
}
