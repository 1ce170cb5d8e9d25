/* What the L2 writer must not do before its time: be ahead of the journal, let go of records that
 * are still to be applied, drop the entry of a life that goes on, take a mark away, leave L3 to
 * write what is old, hide that a cart has left. */
#include "cart_kit.h"
#include "cmd/cmd.h"
#include "suite.h"
#include "tier/journal/journal_int.h"
#include "tier_rig.h"

#include <sched.h>
#include <stdio.h>

#define US_PER_S 1000000ull
#define NOW_S    1000ull
#define ENTRY_S  1020ull /* 23 s ahead is entered in steps of 4 */
#define END_S    1023ull
#define STOP_MS  20

static struct tier_rig rig;

static void set_up(void)
{
    tier_rig_set_up(&rig);
}

static void tear_down(void)
{
    tier_rig_tear_down(&rig);
}

/* ---- the journal comes first ---- */

static _Atomic bool syncs_fail;

static int sync_or_fail(void *ctx, int fd)
{
    return atomic_load(&syncs_fail) ? CE_IO : env_real()->file_sync(ctx, fd);
}

/* Else a power loss leaves a change of one cart and not what another had before it. */
START_TEST(what_the_journal_has_not_synced_does_not_come_to_l2)
{
    rig.env.file_sync = sync_or_fail;
    tier_rig_open(&rig);
    atomic_store(&syncs_fail, true);
    tier_rig_put(&rig, "cart:a", slice_str("state"));
    drain_kick(rig.tier);
    while (!atomic_load(&rig.tier->drain.errors) &&
           !tier_rig_is_in_l2(&rig, "cart:a", slice_str("state")))
        sched_yield();
    ck_assert(!tier_rig_is_in_l2(&rig, "cart:a", slice_str("state")));
    ck_assert_uint_eq(l1_dirty_count(tier_l1(rig.tier)), 1);
    atomic_store(&syncs_fail, false);
    tier_rig_drain(&rig);
    ck_assert(tier_rig_is_in_l2(&rig, "cart:a", slice_str("state")));
}
END_TEST

/* ---- records that are still to be applied ---- */

static void append_step(struct journal *journal, const char *key, const char *body, size_t bytes)
{
    struct buf record = {0};
    uint64_t end_lsn;
    ck_assert_int_eq(tier_head_put(slice_str(key), (struct tier_link){0, 0}, &record), 0);
    ck_assert_int_eq(buf_append(&record, body, bytes), 0);
    ck_assert_int_eq(journal_append(journal, TIER_RIG_STEP, buf_slice(&record), ACK_SYNC, &end_lsn),
                     0);
    buf_free(&record);
}

/* A process that died when its journal had a step for each letter, of one cart or of each of so
 * many. */
static void leave_steps(const char *key, const char *letters, int carts)
{
    char text[96];
    struct journal *journal;
    snprintf(text, sizeof text, "%s/journal", rig.dir);
    const struct journal_config config = {.env = &rig.env, .dir = text};
    ck_assert_int_eq(journal_new(&config, &journal), 0);
    ck_assert_int_eq(journal_open(journal), 0);
    ck_assert_int_eq(journal_start(journal, 0), 0);
    for (; *letters; letters++) {
        for (int i = 0; i < carts; i++) {
            snprintf(text, sizeof text, "%s%.0d", key, i); /* nothing for 0 */
            append_step(journal, text, letters, 1);
        }
    }
    ck_assert_int_eq(journal_stop(&journal, TIER_RIG_WAIT_MS), 0);
}

static int fail_to_apply(void *arg, const struct tier_replayed *record, struct slice state,
                         struct buf *after)
{
    (void)arg, (void)record, (void)state, (void)after;
    return CE_DB;
}

static int apply(void *arg, const struct tier_replayed *record, struct slice state,
                 struct buf *after)
{
    (void)arg, (void)record, (void)state;
    return buf_append(after, "applied", strlen("applied"));
}

START_TEST(the_checkpoint_waits_for_records_that_cannot_be_applied_yet)
{
    leave_steps("cart:a", "x", 1);
    rig.replay = fail_to_apply;
    tier_rig_open(&rig);
    tier_rig_put(&rig, "cart:b", slice_str("state"));
    tier_rig_drain(&rig);
    ck_assert_int_eq(tier_stop(&rig.tier, STOP_MS), 0);
    rig.replay = apply;
    tier_rig_open(&rig);
    ck_assert_int_eq(fill_now(rig.tier, slice_str("cart:a")), 0);
    tier_rig_drain(&rig);
    ck_assert(tier_rig_is_in_l2(&rig, "cart:a", slice_str("applied")));
}
END_TEST

static _Atomic bool refuses_b;

/* The state becomes all bodies, one behind the other. */
static int add_body(void *arg, const struct tier_replayed *record, struct slice state,
                    struct buf *after)
{
    (void)arg;
    if (atomic_load(&refuses_b) && slice_eq(record->body, slice_str("b")))
        return CE_DB;
    int rc = buf_append(after, state.bytes, state.len);
    return rc ? rc : buf_append(after, record->body.bytes, record->body.len);
}

START_TEST(records_are_applied_in_order_also_after_a_try_that_failed)
{
    leave_steps("cart:a", "abc", 1);
    rig.replay = add_body;
    atomic_store(&refuses_b, true);
    tier_rig_open(&rig);
    ck_assert_int_eq(fill_now(rig.tier, slice_str("cart:a")), CE_DB);
    atomic_store(&refuses_b, false);
    ck_assert_int_eq(fill_now(rig.tier, slice_str("cart:a")), 0);
    tier_rig_drain(&rig);
    ck_assert(tier_rig_is_in_l2(&rig, "cart:a", slice_str("abc")));
}
END_TEST

#define MANY 3000

START_TEST(every_cart_of_many_gets_its_own_records)
{
    char key[24];
    leave_steps("cart:", "abc", MANY);
    rig.replay = add_body;
    tier_rig_open(&rig);
    for (int i = 0; i < MANY; i += 7) {
        snprintf(key, sizeof key, "cart:%.0d", i);
        ck_assert_int_eq(fill_now(rig.tier, slice_str(key)), 0);
    }
    while (!catchup_is_over(rig.tier))
        sched_yield();
    tier_rig_drain(&rig);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "cart:%.0d", i);
        ck_assert(tier_rig_is_in_l2(&rig, key, slice_str("abc")));
    }
}
END_TEST

START_TEST(what_was_read_leaves_memory_when_all_is_applied)
{
    leave_steps("cart:a", "abc", 1);
    rig.replay = add_body;
    tier_rig_open(&rig);
    while (!catchup_is_over(rig.tier))
        sched_yield();
    ck_assert_ptr_null(rig.tier->journal->shelves);
    tier_rig_drain(&rig);
    ck_assert_int_eq(tier_stop(&rig.tier, TIER_RIG_WAIT_MS), 0);
    tier_rig_open(&rig); /* the last segment is looked at, and has nothing that L2 lacks */
    ck_assert(catchup_is_over(rig.tier));
    ck_assert_ptr_null(rig.tier->journal->shelves);
}
END_TEST

static _Atomic unsigned bare;

static int count_bare(void *arg, const struct tier_replayed *record, struct slice state,
                      struct buf *after)
{
    (void)arg, (void)record, (void)after;
    atomic_fetch_add(&bare, state.len == 0);
    return 0;
}

/* A step without the cart that it builds on would be passed over for good. */
START_TEST(a_step_waits_for_the_database_that_may_have_its_cart)
{
    char url[96];
    snprintf(url, sizeof url, "sqlite:%s", rig.dir); /* which is no file */
    leave_steps("cart:a", "x", 1);
    rig.l3_url = url;
    rig.replay = count_bare;
    tier_rig_open(&rig);
    ck_assert_int_eq(fill_now(rig.tier, slice_str("cart:a")), CE_DB);
    ck_assert_uint_eq(atomic_load(&bare), 0);
    ck_assert_int_eq(tier_stop(&rig.tier, STOP_MS), CE_BUSY); /* L3 has not all */
}
END_TEST

/* ---- ends of lives ---- */

static _Atomic uint64_t now_s;

static uint64_t read_clock(void *ctx)
{
    (void)ctx;
    return atomic_load(&now_s) * US_PER_S;
}

static uint64_t ends(struct slice state)
{
    (void)state;
    return END_S * US_PER_S;
}

static bool note_second(void *second, uint64_t number, struct slice key, struct slice value)
{
    (void)key, (void)value;
    *(uint64_t *)second = number;
    return true;
}

/* The second of the first entry; 0 = there is none. */
static uint64_t first_entry(void)
{
    struct l2_place place = {0};
    uint64_t second = 0;
    size_t count;
    ck_assert_int_eq(
        l2_walk(rig.tier->l2, L2_EXPIRIES, &place, END_S + NOW_S, 1, note_second, &second, &count),
        0);
    return second;
}

START_TEST(an_entry_that_comes_before_the_end_is_followed_by_another)
{
    atomic_store(&now_s, NOW_S);
    rig.env.wall_us = read_clock;
    rig.value.expiry_us = ends;
    tier_rig_open(&rig);
    tier_rig_put(&rig, "cart:a", slice_str("state"));
    tier_rig_drain(&rig);
    ck_assert_uint_eq(first_entry(), ENTRY_S);
    atomic_store(&now_s, ENTRY_S);
    while (first_entry() == ENTRY_S) /* until the reaper has met it */
        sched_yield();
    ck_assert_uint_gt(first_entry(), ENTRY_S);
    ck_assert_uint_le(first_entry(), END_S);
}
END_TEST

/* ---- marks ---- */

static _Atomic bool rows_fail;

static int row_or_fail(struct slice key, struct slice state, struct buf *arena, struct l3_cart *out)
{
    return atomic_load(&rows_fail) ? CE_CORRUPT : cmd_tier_value()->row(key, state, arena, out);
}

/* Carts, and a database beside them. */
static void open_with_l3(void)
{
    tier_rig_use_l3(&rig);
    rig.value.row = row_or_fail;
    tier_rig_open(&rig);
}

static bool is_marked(const char *key)
{
    bool marked;
    ck_assert_int_eq(l2_is_marked(rig.tier->l2, slice_str(key), &marked), 0);
    return marked;
}

/* What the trimmer orders. Returns when it is done, or passed over. */
static void let_go(const char *key, struct slice state)
{
    ck_assert_int_eq(orders_give(rig.tier, ORDER_DROP, slice_str(key), hash_64(state)), 0);
    while (orders_pending(rig.tier)) {
        drain_kick(rig.tier);
        sched_yield();
    }
}

/* Write-behind says that L3 has this. Returns when a sweep is over that began later. */
static void say_written(const char *key, struct slice state)
{
    drain_unmark(rig.tier, slice_str(key), state);
    for (int sweeps = 0; sweeps < 2; sweeps++)
        let_go("cart:none", state);
}

START_TEST(a_mark_is_there_while_l3_has_another_state)
{
    struct kit kit;
    kit_init(&kit, 1ull << 32);
    atomic_store(&rows_fail, true);
    open_with_l3();
    ck_assert_int_eq(kit_add(&kit, "A", 1), 0);
    tier_rig_put(&rig, "cart:a", kit_state(&kit));
    tier_rig_drain(&rig);
    ck_assert(is_marked("cart:a"));
    say_written("cart:a", slice_str("an older state"));
    ck_assert(is_marked("cart:a"));
    say_written("cart:a", kit_state(&kit));
    ck_assert(!is_marked("cart:a"));
    ck_assert_int_eq(kit_add(&kit, "A", 1), 0);
    tier_rig_put(&rig, "cart:a", kit_state(&kit));
    tier_rig_drain(&rig);
    ck_assert(is_marked("cart:a"));
    atomic_store(&rows_fail, false);
    tier_rig_close(&rig);
    kit_fini(&kit);
}
END_TEST

/* ---- who is busy ---- */

#define LONG_MS 10000

static _Atomic uint64_t ahead_ms; /* how far our clock is */

static uint64_t read_clock_ahead(void *ctx)
{
    return env_real()->mono_ms(ctx) + atomic_load(&ahead_ms);
}

static bool is_busy(size_t coming_wanted)
{
    const struct behind_owner *owner = &rig.tier->down.lanes[0].owner;
    size_t coming;
    bool busy = owner->busy(owner->ctx, &coming);
    ck_assert_uint_eq(coming, coming_wanted);
    return busy;
}

static void change_much(void)
{
    static uint8_t state[16 * DRAIN_QUIET_BYTES];
    tier_rig_put(&rig, "cart:a", slice_of(state, sizeof state));
}

/* Write-behind has no thread here: the test asks in its place. */
START_TEST(clients_are_busy_until_l2_has_all_of_theirs)
{
    static char url[] = "sqlite:unused";
    rig.env.mono_ms = read_clock_ahead;
    rig.env.file_sync = sync_or_fail;
    tier_rig_open(&rig);
    rig.tier->l3_url = url;
    ck_assert_int_eq(down_new(rig.tier), 0);
    ck_assert(!is_busy(0));
    atomic_store(&syncs_fail, true);
    change_much();
    atomic_fetch_add(&ahead_ms, DRAIN_DELAY_MS);
    ck_assert(is_busy(1));
    for (int i = 0; i < 3; i++) { /* quiet, but L2 has nothing */
        atomic_fetch_add(&ahead_ms, LONG_MS);
        ck_assert(is_busy(1));
    }
    atomic_store(&syncs_fail, false);
    tier_rig_drain(&rig);
    while (atomic_load(&rig.tier->drain.waiting_since_ms))
        sched_yield();
    ck_assert(!is_busy(0));
    atomic_fetch_add(&ahead_ms, LONG_MS);
    atomic_store(&syncs_fail, true);
    tier_rig_put(&rig, "cart:b", slice_str("one quiet change"));
    while (!atomic_load(&rig.tier->drain.waiting_since_ms))
        sched_yield();
    ck_assert(!is_busy(1));
    atomic_store(&syncs_fail, false);
    tier_rig_drain(&rig);
    drain_stop(rig.tier); /* it tells the other of its carts */
    down_stop(rig.tier);
    rig.tier->l3_url = NULL;
    tier_rig_close(&rig);
}
END_TEST

/* ---- carts that leave ---- */

START_TEST(a_cart_that_left_for_l3_is_known_to_be_there)
{
    struct kit kit;
    kit_init(&kit, 1ull << 32);
    ck_assert_int_eq(kit_add(&kit, "A", 1), 0);
    open_with_l3();
    tier_rig_put(&rig, "cart:a", kit_state(&kit));
    tier_rig_drain(&rig);
    while (is_marked("cart:a")) /* until L3 has it */
        sched_yield();
    let_go("cart:a", slice_str("another state"));
    ck_assert(tier_rig_is_in_l2(&rig, "cart:a", kit_state(&kit)));
    let_go("cart:a", kit_state(&kit));
    ck_assert(!tier_rig_is_in_l2(&rig, "cart:a", kit_state(&kit)));
    tier_rig_close(&rig);
    tier_rig_open(&rig);
    ck_assert_int_eq(fill_now(rig.tier, slice_str("cart:a")), 0);
    tier_rig_drain(&rig);
    ck_assert(tier_rig_is_in_l2(&rig, "cart:a", kit_state(&kit)));
    tier_rig_close(&rig);
    kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tier_drain");
    TCase *drains = tcase_create("drains");
    tcase_add_checked_fixture(drains, set_up, tear_down);
    tcase_set_timeout(drains, 60);
    tcase_add_test(drains, what_the_journal_has_not_synced_does_not_come_to_l2);
    tcase_add_test(drains, the_checkpoint_waits_for_records_that_cannot_be_applied_yet);
    tcase_add_test(drains, records_are_applied_in_order_also_after_a_try_that_failed);
    tcase_add_test(drains, what_was_read_leaves_memory_when_all_is_applied);
    tcase_add_test(drains, every_cart_of_many_gets_its_own_records);
    tcase_add_test(drains, a_step_waits_for_the_database_that_may_have_its_cart);
    tcase_add_test(drains, an_entry_that_comes_before_the_end_is_followed_by_another);
    tcase_add_test(drains, a_mark_is_there_while_l3_has_another_state);
    tcase_add_test(drains, clients_are_busy_until_l2_has_all_of_theirs);
    tcase_add_test(drains, a_cart_that_left_for_l3_is_known_to_be_there);
    suite_add_tcase(suite, drains);
    return suite_run(suite);
}
