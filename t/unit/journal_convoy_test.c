/* The clients that a sync answered are waited for, but not for long and not in vain. */
#include "../lib/journal_rig.h"
#include "lib/suite.h"
#include "tier/journal/journal_int.h"

#include <check.h>

static struct rig rig;

static void set_up(void)
{
    rig_init(&rig, 1);
}

static void tear_down(void)
{
    rig_fini(&rig);
}

/* A round that begins at the first number of records and ends at the second. */
static struct convoy after_round(uint64_t begins, uint64_t ends)
{
    struct convoy convoy = {.before = 0};
    convoy_leave(&convoy, begins);
    convoy_expect(&convoy, ends);
    return convoy;
}

START_TEST(none_is_awaited_before_a_sync_has_answered)
{
    struct convoy convoy = {.before = 0};
    ck_assert(!convoy_is_awaited(&convoy, 0));
    convoy_leave(&convoy, 5);
    ck_assert(!convoy_is_awaited(&convoy, 5));
}
END_TEST

START_TEST(those_answered_and_those_who_wait_come_together)
{
    struct convoy convoy = after_round(30, 50);
    ck_assert(convoy_is_awaited(&convoy, 50));
    ck_assert(convoy_is_awaited(&convoy, 79));
    ck_assert(!convoy_is_awaited(&convoy, 80)); /* 30 more than the 50 */
    convoy_leave(&convoy, 80);
    convoy_expect(&convoy, 80);
    ck_assert(convoy_is_awaited(&convoy, 129));
    ck_assert(!convoy_is_awaited(&convoy, 130));
}
END_TEST

START_TEST(one_client_alone_waits_for_nobody)
{
    struct convoy convoy = after_round(1, 1);
    ck_assert(!convoy_is_awaited(&convoy, 2));
}
END_TEST

/* Lets it come in vain; returns how many syncs then pass without waiting. */
static unsigned miss(struct convoy *convoy, uint64_t *records)
{
    unsigned skipped = 0;
    convoy_end(convoy, false);
    ck_assert(!convoy_is_awaited(convoy, *records));
    for (;; skipped++) {
        convoy_leave(convoy, ++*records);
        convoy_expect(convoy, *records);
        if (convoy_is_awaited(convoy, *records))
            return skipped;
    }
}

START_TEST(what_does_not_come_is_awaited_ever_more_rarely)
{
    uint64_t records = 2;
    struct convoy convoy = after_round(2, 2);
    for (unsigned misses = 1; misses < 20; misses++)
        ck_assert_uint_eq(miss(&convoy, &records), misses < 6 ? 1u << misses : 64);
    convoy_leave(&convoy, records += 100); /* there it is */
    convoy_expect(&convoy, records);
    ck_assert_uint_eq(miss(&convoy, &records), 2);
}
END_TEST

START_TEST(a_hurry_ends_it_and_is_no_miss)
{
    struct convoy convoy = after_round(2, 2);
    convoy_end(&convoy, true);
    ck_assert(!convoy_is_awaited(&convoy, 2));
    convoy_leave(&convoy, 4);
    convoy_expect(&convoy, 4);
    ck_assert(convoy_is_awaited(&convoy, 4));
}
END_TEST

/* One client's record waits while another's is synced, who then writes again at once. Returns
 * whether the two went together. */
static bool two_go_together(void)
{
    uint64_t syncs = fake_env_calls(rig.fake, FAKE_SYNC);
    fake_env_hold(rig.fake, FAKE_SYNC);
    uint64_t first = rig_put(&rig, "first", ACK_SYNC);
    fake_env_wait_calls(rig.fake, FAKE_SYNC, syncs + 1);
    rig_put(&rig, "waits", ACK_SYNC);
    fake_env_let_go(rig.fake, FAKE_SYNC);
    rig_wait_reached(&rig, first, ACK_SYNC);
    rig_wait_reached(&rig, rig_put(&rig, "again", ACK_SYNC), ACK_SYNC);
    return fake_env_calls(rig.fake, FAKE_SYNC) == syncs + 2;
}

/* How many depends on how soon this thread runs; without the waiting it is hardly ever one. */
START_TEST(whom_a_sync_answered_comes_along_with_the_next)
{
    unsigned together = 0;
    rig_boot(&rig, NULL);
    for (unsigned i = 0; i < 200; i++)
        together += two_go_together();
    ck_assert_uint_ge(together, 20);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal_convoy");
    TCase *tests = tcase_create("journal_convoy");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, none_is_awaited_before_a_sync_has_answered);
    tcase_add_test(tests, those_answered_and_those_who_wait_come_together);
    tcase_add_test(tests, one_client_alone_waits_for_nobody);
    tcase_add_test(tests, what_does_not_come_is_awaited_ever_more_rarely);
    tcase_add_test(tests, a_hurry_ends_it_and_is_no_miss);
    tcase_add_test(tests, whom_a_sync_answered_comes_along_with_the_next);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
