#include "tier_rig.h"

#include "cmd/cmd.h"
#include "tier/l2/l2_int.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define L1_BYTES (64u << 20)

void tier_rig_ignore(void *ctx)
{
    (void)ctx;
}

int tier_rig_expire_nothing(void *ctx, struct slice key)
{
    (void)ctx, (void)key;
    return 0;
}

static int replay_nothing(void *arg, const struct tier_replayed *record, struct slice state,
                          struct buf *after)
{
    (void)arg, (void)record, (void)state, (void)after;
    return 0;
}

static int check_nothing(struct slice state)
{
    (void)state;
    return 0;
}

static uint64_t never_ends(struct slice state)
{
    (void)state;
    return 0;
}

const struct tier_value tier_rig_any_value = {.check = check_nothing, .expiry_us = never_ends};

void tier_rig_set_up(struct tier_rig *rig)
{
    *rig = (struct tier_rig){.env = *env_real(),
                             .value = tier_rig_any_value,
                             .replay = replay_nothing,
                             .expire = tier_rig_expire_nothing};
    snprintf(rig->dir, sizeof rig->dir, "/tmp/tier_rig.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(rig->dir));
    log_level_set(LOG_ERROR - 1);
}

void tier_rig_tear_down(struct tier_rig *rig)
{
    char command[96];
    if (rig->tier)
        tier_rig_close(rig);
    snprintf(command, sizeof command, "rm -r %s", rig->dir);
    ck_assert_int_eq(system(command), 0);
}

void tier_rig_use_l3(struct tier_rig *rig)
{
    snprintf(rig->l3_own, sizeof rig->l3_own, "sqlite:%s/l3", rig->dir);
    rig->l3_url = rig->l3_own;
    rig->value = *cmd_tier_value();
}

void tier_rig_open(struct tier_rig *rig)
{
    char message[256];
    const struct tier_config config = {.env = &rig->env,
                                       .data_dir = rig->dir,
                                       .l3_url = rig->l3_url,
                                       .l3_wait_ms = TIER_RIG_WAIT_MS,
                                       .l1_bytes_max = L1_BYTES,
                                       .value = &rig->value,
                                       .state_record = TIER_RIG_STATE,
                                       .pair_record = TIER_RIG_PAIR,
                                       .advanced = tier_rig_ignore,
                                       .expire = rig->expire};
    ck_assert_int_eq(tier_open(&config, &rig->tier, message, sizeof message), 0);
    ck_assert_int_eq(tier_start(rig->tier, rig->replay, rig), 0);
}

void tier_rig_close(struct tier_rig *rig)
{
    ck_assert_int_eq(tier_stop(&rig->tier, TIER_RIG_WAIT_MS), 0);
}

void tier_rig_put_into_l2(struct tier_rig *rig, const char *key, struct slice state)
{
    char path[96];
    struct l2 *l2;
    struct l2_batch *batch;
    bool moved;
    snprintf(path, sizeof path, "%s/l2", rig->dir);
    const struct l2_config config = {.env = &rig->env, .path = path};
    const struct l2_cart cart = {.state = state};
    ck_assert_int_eq(l2_open(&config, &l2, &moved), 0);
    ck_assert_int_eq(l2_batch_new(&batch), 0);
    ck_assert_int_eq(l2_batch_put(batch, slice_str(key), &cart), 0);
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    l2_batch_free(&batch);
    l2_close(&l2);
}

void tier_rig_put_into_l3(struct tier_rig *rig, const char *key, struct slice state)
{
    char message[256];
    struct l3 *l3;
    struct l3_cart row = {.key = slice_str(key)};
    struct buf arena = {0};
    ck_assert_int_eq(l3_open(rig->l3_url, &l3, message, sizeof message), 0);
    ck_assert_int_eq(rig->value.row(slice_str(key), state, &arena, &row), 0);
    row.key = slice_str(key);
    ck_assert_int_eq(l3_flush(l3, &row, 1), 0);
    ck_assert_int_eq(row.outcome, L3_DONE);
    l3_close(&l3);
    buf_free(&arena);
}

void tier_rig_put(struct tier_rig *rig, const char *key, struct slice state)
{
    uint64_t hash = hash_64(slice_str(key));
    l1_lock(tier_l1(rig->tier), hash);
    ck_assert_int_eq(tier_put_state_locked(rig->tier, hash, slice_str(key), 1, state), 0);
    l1_unlock(tier_l1(rig->tier), hash);
}

void tier_rig_drain(struct tier_rig *rig)
{
    drain_kick(rig->tier);
    while (l1_dirty_count(tier_l1(rig->tier)) > 0)
        sched_yield();
}

void tier_rig_damage(struct tier_rig *rig)
{
    struct l2 *l2 = rig->tier->l2;
    l2_note_damage(l2, atomic_load(&l2->opened));
    drain_kick(rig->tier);
    while (l2_is_damaged(l2))
        sched_yield();
}

bool tier_rig_is_in_l2(struct tier_rig *rig, const char *key, struct slice state)
{
    struct buf storage = {0};
    struct l2_cart cart;
    int rc = l2_get(rig->tier->l2, slice_str(key), &storage, &cart);
    bool is = rc == 0 && slice_eq(cart.state, state);
    ck_assert(rc == 0 || rc == CE_NOTFOUND);
    buf_free(&storage);
    return is;
}
