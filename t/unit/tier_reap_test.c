/* Ends of lives that only L3 knows of. */
#include "cart_kit.h"
#include "suite.h"
#include "tier_rig.h"

#include <sched.h>
#include <stdio.h>

#define CARTS (REAP_L3_ROWS + 1) /* more than one look at L3 finds */

static struct tier_rig rig;
static _Atomic unsigned looks;
static _Atomic bool has_failed;
static _Atomic bool is_ended[CARTS];

static void set_up(void)
{
    tier_rig_set_up(&rig);
}

static void tear_down(void)
{
    tier_rig_tear_down(&rig);
}

static uint64_t has_ended(struct slice state)
{
    (void)state;
    atomic_fetch_add(&looks, 1);
    return 1;
}

/* The first row is not taken into L1, once all that are looked at together have been. */
static int check(struct slice state)
{
    (void)state;
    bool fails = atomic_load(&looks) == REAP_L3_ROWS && !atomic_exchange(&has_failed, true);
    return fails ? CE_CORRUPT : 0;
}

static int expire(void *ctx, struct slice key)
{
    unsigned number;
    (void)ctx;
    ck_assert_int_eq(sscanf((const char *)key.bytes, "cart:%4u", &number), 1);
    atomic_store(&is_ended[number], true);
    return 0;
}

/* It was met again by the next walk, ten minutes later. */
START_TEST(a_life_that_could_not_end_is_ended_soon_after)
{
    char key[16];
    struct kit kit;
    kit_init(&kit, 1ull << 32);
    ck_assert_int_eq(kit_add(&kit, "A", 1), 0);
    tier_rig_use_l3(&rig);
    for (unsigned i = 0; i < CARTS; i++) {
        snprintf(key, sizeof key, "cart:%04u", i);
        tier_rig_put_into_l3(&rig, key, kit_state(&kit));
    }
    rig.value.expiry_us = has_ended;
    rig.value.check = check;
    rig.expire = expire;
    tier_rig_open(&rig);
    for (unsigned i = 0; i < CARTS; i++)
        while (!atomic_load(&is_ended[i]))
            sched_yield();
    ck_assert(atomic_load(&has_failed));
    tier_rig_close(&rig);
    kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tier_reap");
    TCase *l3 = tcase_create("l3");
    tcase_add_checked_fixture(l3, set_up, tear_down);
    tcase_set_timeout(l3, 60);
    tcase_add_test(l3, a_life_that_could_not_end_is_ended_soon_after);
    suite_add_tcase(suite, l3);
    return suite_run(suite);
}
