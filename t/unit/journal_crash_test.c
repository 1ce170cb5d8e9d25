/* The journal while the disk fails and the machine dies: what was promised is there afterwards, and
 * what is there is the beginning of what was appended, once and in order. */
#include "../lib/journal_rig.h"
#include "lib/suite.h"
#include "tier/journal/journal_int.h"

#include <check.h>
#include <stdlib.h>

#define CRASH_SEEDS       1000
#define CRASH_GENERATIONS 3
#define STEPS_MAX         40
#define PAYLOAD_MAX       300

static struct rig rig;

static void set_up(void)
{
    rig_init(&rig, 1);
}

static void tear_down(void)
{
    rig_fini(&rig);
}

static void fail_next(enum fake_call call, uint32_t repeat, int code)
{
    fake_env_fault(rig.fake, call, (struct fake_fault){1, repeat, code});
}

/* The disk works again: waits until the journal does, and has everything synced. */
static void mend_and_flush(void)
{
    fake_env_clear_faults(rig.fake);
    int rc = CE_NODISK;
    while (rc == CE_NODISK) {
        rig_wait_mended(&rig);
        rc = journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS);
    }
    ck_assert_int_eq(rc, 0);
}

/* Boots and expects exactly what was appended. */
static void boot_and_expect_all(void)
{
    struct rig_list replayed = {0};
    rig_boot(&rig, &replayed);
    rig_expect_first(&rig, &replayed, rig.appended.count);
    ck_assert_uint_eq(journal_quarantined(rig.journal), 0);
    rig_list_free(&replayed);
}

/* Boots, checks that a beginning is there that has all up to `safe`, and goes on from it. */
static void boot_and_check(uint64_t safe)
{
    struct rig_list replayed = {0};
    rig_boot(&rig, &replayed);
    ck_assert_uint_le(replayed.count, rig.appended.count);
    rig_expect_first(&rig, &replayed, replayed.count);
    uint64_t end = replayed.count ? replayed.records[replayed.count - 1].end_lsn : 0;
    ck_assert_msg(end >= safe, "lost: %lu < %lu", (unsigned long)end, (unsigned long)safe);
    ck_assert_uint_ge(journal_end(rig.journal), end);
    rig_list_cut(&rig.appended, replayed.count);
    rig_list_free(&replayed);
}

/* ---- one fault ---------------------------------------------------------------------------------
 */

/* Synced, written, refused, gathered in memory: then the disk is mended. */
static void fail_and_recover(enum fake_call call, int code)
{
    rig_boot(&rig, NULL);
    uint64_t safe = rig_put(&rig, "synced before", ACK_SYNC);
    rig_wait_reached(&rig, safe, ACK_SYNC);
    uint64_t written = rig_put(&rig, "written before", ACK_OS);
    rig_wait_reached(&rig, written, ACK_OS);
    fail_next(call, FAKE_ALWAYS, code);
    uint64_t lost = rig_put(&rig, "meets the fault", ACK_SYNC);
    rig_wait_failed(&rig);
    ck_assert_uint_eq(rig_stat(&rig, "journal_failed"), 1);
    ck_assert_int_eq(rig_append(&rig, 1, slice_str("refused"), ACK_OS), CE_NODISK);
    ck_assert_int_eq(rig_append(&rig, 1, slice_str("refused"), ACK_SYNC), CE_NODISK);
    rig_put(&rig, "in memory", ACK_RAM);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_OS, RIG_WAIT_MS), CE_NODISK);
    ck_assert(!journal_reached(rig.journal, lost, ACK_SYNC));
    ck_assert(journal_reached(rig.journal, written, ACK_OS)); /* never goes back */
    mend_and_flush();
    ck_assert_uint_eq(rig_stat(&rig, "journal_failed"), 0);
    ck_assert_uint_gt(rig_stat(&rig, "journal_errors"), 0);
    rig_put(&rig, "after", ACK_SYNC);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    rig_crash(&rig, FAKE_POWER_TORN);
    boot_and_expect_all();
}

START_TEST(disk_full_loses_nothing)
{
    fail_and_recover(FAKE_WRITE, CE_NODISK);
}
END_TEST

START_TEST(failed_sync_is_written_again)
{
    fail_and_recover(FAKE_SYNC, CE_IO);
}
END_TEST

START_TEST(first_segment_fails_before_anything_was_synced)
{
    rig_boot(&rig, NULL);
    uint64_t os = rig_put(&rig, "written", ACK_OS);
    rig_wait_reached(&rig, os, ACK_OS);
    fail_next(FAKE_SYNC, 2, CE_IO); /* the new segment of the same name fails once, too */
    rig_put(&rig, "meets the fault", ACK_SYNC);
    rig_wait_failed(&rig);
    mend_and_flush();
    ck_assert_uint_eq(fake_env_count_files(rig.fake, RIG_DIR), 1);
    rig_crash(&rig, FAKE_POWER);
    boot_and_expect_all();
}
END_TEST

START_TEST(written_record_survives_a_kill_while_the_disk_refuses)
{
    rig_boot(&rig, NULL);
    uint64_t os = rig_put(&rig, "written", ACK_OS);
    rig_wait_reached(&rig, os, ACK_OS);
    fail_next(FAKE_WRITE, FAKE_ALWAYS, CE_NODISK);
    rig_put(&rig, "meets the fault", ACK_OS);
    rig_wait_failed(&rig);
    fake_env_wait_calls(rig.fake, FAKE_WRITE, 6); /* it tries to make the segment anew */
    rig_crash(&rig, FAKE_KILL);
    struct rig_list replayed = {0};
    rig_boot(&rig, &replayed);
    ck_assert_uint_ge(replayed.count, 1);
    rig_expect_first(&rig, &replayed, replayed.count);
    rig_list_free(&replayed);
}
END_TEST

START_TEST(overlap_that_cannot_be_cut_does_no_harm)
{
    rig_boot(&rig, NULL);
    rig_wait_reached(&rig, rig_put(&rig, "synced", ACK_SYNC), ACK_SYNC);
    rig_wait_reached(&rig, rig_put(&rig, "written", ACK_OS), ACK_OS);
    fake_env_fault(rig.fake, FAKE_TRUNCATE, (struct fake_fault){1, FAKE_ALWAYS, CE_IO});
    fail_next(FAKE_SYNC, 1, CE_IO);
    rig_put(&rig, "meets the fault", ACK_SYNC);
    rig_wait_reached(&rig, rig_last_lsn(&rig), ACK_SYNC);
    ck_assert_uint_eq(fake_env_faults_hit(rig.fake), 2);
    rig_crash(&rig, FAKE_POWER);
    boot_and_expect_all();
}
END_TEST

START_TEST(segment_that_cannot_begin_is_a_failure_like_any)
{
    static const enum fake_call calls[] = {FAKE_CREATE, FAKE_WRITE, FAKE_SYNC, FAKE_RENAME,
                                           FAKE_DIR_SYNC};
    rig.config.segment_bytes = 1; /* every round begins one */
    rig_boot(&rig, NULL);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        rig_put(&rig, "before", ACK_SYNC);
        ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
        fail_next(calls[i], FAKE_ALWAYS, CE_NODISK);
        uint64_t end = rig_put(&rig, "meets the fault", ACK_SYNC);
        rig_wait_failed(&rig);
        ck_assert(!journal_reached(rig.journal, end, ACK_OS));
        mend_and_flush();
    }
    rig_crash(&rig, FAKE_POWER);
    boot_and_expect_all();
}
END_TEST

START_TEST(stop_says_what_did_not_reach_the_disk)
{
    rig_boot(&rig, NULL);
    fail_next(FAKE_WRITE, FAKE_ALWAYS, CE_NODISK);
    rig_put(&rig, "meets the fault", ACK_SYNC);
    ck_assert_int_eq(journal_stop(&rig.journal, 30), CE_NODISK);
    ck_assert_ptr_null(rig.journal);
}
END_TEST

START_TEST(stop_tries_until_the_disk_is_mended)
{
    rig_boot(&rig, NULL);
    fail_next(FAKE_WRITE, 3, CE_NODISK);
    rig_put(&rig, "meets the fault", ACK_SYNC);
    rig_expect_all_after_restart(&rig);
}
END_TEST

START_TEST(start_fails_and_may_be_tried_again)
{
    ck_assert_int_eq(rig_open(&rig), 0);
    fail_next(FAKE_WRITE, 1, CE_NODISK);
    ck_assert_int_eq(rig_start(&rig, 0), CE_NODISK);
    ck_assert_int_eq(rig_append(&rig, 1, slice_str("too early"), ACK_RAM), CE_STOPPED);
    ck_assert_int_eq(rig_start(&rig, 0), 0);
    rig_put(&rig, "works", ACK_SYNC);
    rig_expect_all_after_restart(&rig);
}
END_TEST

/* What was only written before a kill is synced by the replay: what is appended afterwards must not
 * survive without it. */
START_TEST(kill_then_power_loss_leaves_no_hole)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        rig_fini(&rig);
        rig_init(&rig, seed);
        rig_boot(&rig, NULL);
        rig_wait_reached(&rig, rig_put(&rig, "only written", ACK_OS), ACK_OS);
        rig_crash(&rig, FAKE_KILL);
        boot_and_expect_all();
        rig_wait_reached(&rig, rig_put(&rig, "synced", ACK_SYNC), ACK_SYNC);
        rig_crash(&rig, FAKE_POWER);
        boot_and_expect_all();
    }
}
END_TEST

/* The kernel still shows what a sync that failed was for, and calls the next sync of it done. */
START_TEST(failed_sync_then_kill_then_power_loss_leaves_no_hole)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        rig_fini(&rig);
        rig_init(&rig, seed);
        rig_boot(&rig, NULL);
        rig_wait_reached(&rig, rig_put(&rig, "synced", ACK_SYNC), ACK_SYNC);
        rig_wait_reached(&rig, rig_put(&rig, "only written", ACK_OS), ACK_OS);
        fail_next(FAKE_SYNC, FAKE_ALWAYS, CE_IO);
        rig_put(&rig, "meets the fault", ACK_SYNC);
        rig_wait_failed(&rig);
        rig_crash(&rig, FAKE_KILL);
        fake_env_clear_faults(rig.fake);
        boot_and_check(rig.appended.records[0].end_lsn);
        rig_wait_reached(&rig, rig_put(&rig, "synced on top", ACK_SYNC), ACK_SYNC);
        rig_crash(&rig, FAKE_POWER);
        boot_and_expect_all();
    }
}
END_TEST

/* ---- in the background --------------------------------------------------------------------------
 */

/* Calls that the syncs nobody waits for, and the next segment, consist of; in this order. */
static const enum fake_call background_calls[] = {FAKE_SYNC, FAKE_CREATE, FAKE_DIR_SYNC,
                                                  FAKE_TRUNCATE, FAKE_CLOSE};

#define BACKGROUND_CALLS (sizeof background_calls / sizeof *background_calls)

static void write_on(int records)
{
    for (int i = 0; i < records; i++)
        rig_wait_reached(&rig, rig_put(&rig, "a record", ACK_OS), ACK_OS);
}

/* A record that comes after the sync that is held, and before the journal learns of its end. */
static void write_behind_sync(void)
{
    bool is_done = false;
    uint64_t writes = fake_env_calls(rig.fake, FAKE_WRITE);
    fake_env_hold(rig.fake, FAKE_WRITE);
    uint64_t end = rig_put(&rig, "behind the sync", ACK_OS);
    fake_env_wait_calls(rig.fake, FAKE_WRITE, writes + 1);
    fake_env_let_go(rig.fake, FAKE_SYNC);
    while (!is_done) {
        lock_take(&rig.journal->lock);
        is_done = rig.journal->background.is_done;
        lock_drop(&rig.journal->lock);
    }
    fake_env_let_go(rig.fake, FAKE_WRITE);
    rig_wait_reached(&rig, end, ACK_OS);
}

/* So much is written that the segment is full, and some more when this call of its sync, or of its
 * successor, is held. */
static void write_until_held(enum fake_call call)
{
    uint64_t syncs = fake_env_calls(rig.fake, FAKE_SYNC), calls = fake_env_calls(rig.fake, call);
    fake_env_hold(rig.fake, FAKE_SYNC);
    write_on(6);
    fake_env_wait_calls(rig.fake, FAKE_SYNC, syncs + 1);
    if (call != FAKE_SYNC) {
        fake_env_hold(rig.fake, call);
        write_behind_sync();
        fake_env_wait_calls(rig.fake, call, calls + 1);
    }
    write_on(3);
}

static void boot_with_short_segments(uint64_t seed)
{
    rig_fini(&rig);
    rig_init(&rig, seed);
    rig.config.segment_bytes = 100;
    rig_boot(&rig, NULL);
}

START_TEST(who_waits_for_a_write_does_not_wait_for_a_sync)
{
    for (size_t i = 0; i < BACKGROUND_CALLS; i++) {
        boot_with_short_segments(i);
        write_until_held(background_calls[i]);
        uint64_t sync = rig_put(&rig, "sync", ACK_SYNC);
        ck_assert(!journal_reached(rig.journal, sync, ACK_SYNC));
        fake_env_let_go(rig.fake, background_calls[i]);
        rig_wait_reached(&rig, sync, ACK_SYNC);
        rig_crash(&rig, FAKE_POWER);
        boot_and_expect_all();
    }
}
END_TEST

START_TEST(a_segment_that_is_full_is_followed_by_another)
{
    boot_with_short_segments(1);
    write_until_held(FAKE_CLOSE); /* of the old one, the last that is done */
    ck_assert_uint_eq(fake_env_count_files(rig.fake, RIG_DIR), 2);
    fake_env_let_go(rig.fake, FAKE_CLOSE);
    rig_expect_all_after_restart(&rig);
}
END_TEST

START_TEST(a_crash_at_any_point_of_the_background_loses_only_a_suffix)
{
    for (uint64_t seed = 0; seed < 30 * BACKGROUND_CALLS; seed++) {
        boot_with_short_segments(seed);
        write_until_held(background_calls[seed % BACKGROUND_CALLS]);
        enum fake_crash how = (enum fake_crash)(seed / BACKGROUND_CALLS % 3);
        uint64_t safe = 0;
        for (size_t i = 0; i < rig.appended.count; i++) {
            uint64_t end = rig.appended.records[i].end_lsn;
            if (how == FAKE_KILL || journal_reached(rig.journal, end, ACK_SYNC))
                safe = end;
        }
        rig_crash(&rig, how);
        boot_and_check(safe);
        rig_wait_reached(&rig, rig_put(&rig, "synced on top", ACK_SYNC), ACK_SYNC);
        rig_crash(&rig, FAKE_POWER_TORN);
        boot_and_expect_all();
    }
}
END_TEST

START_TEST(a_failure_behind_a_held_call_is_mended)
{
    for (size_t i = 0; i < BACKGROUND_CALLS; i++) {
        boot_with_short_segments(i);
        write_until_held(background_calls[i]);
        fail_next(FAKE_WRITE, FAKE_ALWAYS, CE_NODISK);
        rig_put(&rig, "meets the fault", ACK_SYNC);
        fake_env_let_go(rig.fake, background_calls[i]);
        rig_wait_failed(&rig);
        mend_and_flush();
        rig_crash(&rig, FAKE_POWER);
        boot_and_expect_all();
    }
}
END_TEST

START_TEST(a_stop_ends_what_is_done_in_the_background)
{
    for (size_t i = 0; i < BACKGROUND_CALLS; i++) {
        boot_with_short_segments(i);
        write_until_held(background_calls[i]);
        fake_env_let_go(rig.fake, background_calls[i]);
        rig_expect_all_after_restart(&rig);
    }
}
END_TEST

/* ---- every call fails once ----------------------------------------------------------------------
 */

/* Opens and starts; a fault on the way is an error, after which it works on a mended disk. */
static void boot_through_faults(void)
{
    int rc = rig_open(&rig);
    if (rc == 0)
        rc = rig_replay(&rig, NULL);
    if (rc == 0)
        rc = rig_start(&rig, 0);
    if (rc == 0)
        return;
    ck_assert_int_eq(rc, CE_NODISK);
    if (rig.journal)
        ck_assert_int_eq(journal_stop(&rig.journal, 0), 0);
    fake_env_clear_faults(rig.fake);
    rig_boot(&rig, NULL);
}

static void append_through_faults(enum ack_level level)
{
    for (int i = 0; i < 8; i++) {
        int rc = rig_append(&rig, (uint8_t)i, slice_str("a record of some length"), level);
        ck_assert(rc == 0 || rc == CE_NODISK);
        if (rc == CE_NODISK)
            rig_put(&rig, "into memory", ACK_RAM);
        rc = journal_flush(rig.journal, level, RIG_WAIT_MS);
        ck_assert(rc == 0 || rc == CE_NODISK);
    }
}

/* Two lives on one disk whose n-th call fails; true when there were so many calls. */
static bool live_with_fault(uint32_t n, uint32_t repeat, enum ack_level level)
{
    struct fake_fault fault = {n, repeat, CE_NODISK};
    rig.config.segment_bytes = 100;
    fake_env_fault(rig.fake, FAKE_ANY, fault);
    for (int life = 0; life < 2; life++) {
        boot_through_faults();
        append_through_faults(level);
        if (life == 0) {
            mend_and_flush();
            rig_stop(&rig);
            fault.countdown = n;
            fake_env_fault(rig.fake, FAKE_ANY, fault);
        }
    }
    mend_and_flush();
    bool hit = fake_env_faults_hit(rig.fake) > 0;
    rig_crash(&rig, FAKE_POWER_TORN);
    boot_and_expect_all();
    return hit;
}

static uint32_t fail_each_call(uint32_t repeat, enum ack_level level)
{
    for (uint32_t n = 1;; n++) {
        rig_fini(&rig);
        rig_init(&rig, n);
        if (!live_with_fault(n, repeat, level))
            return n;
    }
}

START_TEST(any_call_may_fail_once)
{
    ck_assert_uint_gt(fail_each_call(1, ACK_SYNC), 40);
}
END_TEST

START_TEST(any_call_may_fail_from_then_on)
{
    ck_assert_uint_gt(fail_each_call(FAKE_ALWAYS, ACK_SYNC), 40);
}
END_TEST

START_TEST(any_call_in_the_background_may_fail)
{
    ck_assert_uint_gt(fail_each_call(1, ACK_OS), 20);
    ck_assert_uint_gt(fail_each_call(FAKE_ALWAYS, ACK_OS), 20);
}
END_TEST

START_TEST(released_segments_stay_gone_or_come_back_whole)
{
    for (uint32_t n = 1; n < 60; n++) {
        struct rig_list replayed = {0};
        rig_fini(&rig);
        rig_init(&rig, n);
        rig.config.segment_bytes = 100;
        rig_boot(&rig, NULL);
        fake_env_fault(rig.fake, FAKE_ANY, (struct fake_fault){n, 2, CE_IO});
        append_through_faults(ACK_SYNC);
        uint64_t released = rig.appended.records[3].end_lsn;
        mend_and_flush();
        journal_release(rig.journal, released);
        append_through_faults(ACK_SYNC);
        mend_and_flush();
        rig_crash(&rig, FAKE_POWER);
        rig_boot(&rig, &replayed);
        size_t at = rig.appended.count;
        for (size_t i = replayed.count; i-- > 0 && replayed.records[i].end_lsn > released;)
            ck_assert_uint_eq(replayed.records[i].end_lsn, rig.appended.records[--at].end_lsn);
        ck_assert_uint_le(at, 4); /* nothing behind the release is missing */
        rig_list_free(&replayed);
    }
}
END_TEST

/* ---- crashes -----------------------------------------------------------------------------------
 */

static uint64_t pick(uint64_t limit)
{
    return env_random_u64(rig.config.env) % limit;
}

/* The highest end of what was appended and is as safe as `level`. */
static uint64_t find_reached(enum ack_level level)
{
    for (size_t i = rig.appended.count; i-- > 0;)
        if (journal_reached(rig.journal, rig.appended.records[i].end_lsn, level))
            return rig.appended.records[i].end_lsn;
    return 0;
}

/* Who never asks for a sync leaves them all to the background. */
static void take_random_steps(uint64_t levels)
{
    uint8_t payload[PAYLOAD_MAX];
    for (uint64_t steps = pick(STEPS_MAX); steps > 0; steps--) {
        size_t len = pick(PAYLOAD_MAX);
        memset(payload, (int)pick(256), len);
        int rc = rig_append(&rig, (uint8_t)pick(256), slice_of(payload, len),
                            (enum ack_level)pick(levels));
        ck_assert(rc == 0 || rc == CE_NODISK);
        if (pick(4) == 0)
            rc = journal_flush(rig.journal, (enum ack_level)pick(levels), RIG_WAIT_MS);
        ck_assert(rc == 0 || rc == CE_NODISK);
        if (pick(8) == 0)
            fake_env_advance_ms(rig.fake, pick(2000));
    }
}

/* A sync that fails may take what was only written with it, so the level OS holds without faults.
 */
static void crash_in_a_random_way(uint64_t faults_before)
{
    enum fake_crash how = (enum fake_crash)pick(3);
    if (how == FAKE_KILL)
        fake_env_clear_faults(rig.fake); /* none between the question and the crash */
    bool is_clean = fake_env_faults_hit(rig.fake) == faults_before;
    uint64_t safe = find_reached(how == FAKE_KILL && is_clean ? ACK_OS : ACK_SYNC);
    rig_crash(&rig, how);
    boot_and_check(safe);
}

START_TEST(crash_loses_only_a_suffix)
{
    for (uint64_t seed = 0; seed < CRASH_SEEDS; seed++) {
        rig_fini(&rig);
        rig_init(&rig, seed);
        rig.config.segment_bytes = 1024;
        rig_boot(&rig, NULL);
        for (int i = 0; i < CRASH_GENERATIONS; i++) {
            uint64_t faults = fake_env_faults_hit(rig.fake);
            if (pick(3) == 0) { /* the disk dies on the way, for good or not */
                uint32_t repeat = pick(2) ? FAKE_ALWAYS : 1;
                fake_env_fault(rig.fake, FAKE_ANY,
                               (struct fake_fault){1 + (uint32_t)pick(40), repeat, CE_IO});
            }
            take_random_steps(seed % 2 ? ACK_SYNC + 1 : ACK_OS + 1);
            crash_in_a_random_way(faults);
        }
    }
}
END_TEST

static void add_case(Suite *suite, const char *name, const TTest *const *tests, size_t count)
{
    TCase *made = tcase_create(name);
    tcase_add_checked_fixture(made, set_up, tear_down);
    tcase_set_timeout(made, 300);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(made, tests[i]);
    suite_add_tcase(suite, made);
}

int main(void)
{
    const TTest *const one_fault[] = {
        disk_full_loses_nothing,
        failed_sync_is_written_again,
        first_segment_fails_before_anything_was_synced,
        written_record_survives_a_kill_while_the_disk_refuses,
        overlap_that_cannot_be_cut_does_no_harm,
        segment_that_cannot_begin_is_a_failure_like_any,
        stop_says_what_did_not_reach_the_disk,
        stop_tries_until_the_disk_is_mended,
        start_fails_and_may_be_tried_again,
    };
    const TTest *const many_faults[] = {
        kill_then_power_loss_leaves_no_hole,
        failed_sync_then_kill_then_power_loss_leaves_no_hole,
        any_call_may_fail_once,
        any_call_may_fail_from_then_on,
        any_call_in_the_background_may_fail,
        released_segments_stay_gone_or_come_back_whole,
        crash_loses_only_a_suffix,
    };
    const TTest *const background[] = {
        who_waits_for_a_write_does_not_wait_for_a_sync,
        a_segment_that_is_full_is_followed_by_another,
        a_crash_at_any_point_of_the_background_loses_only_a_suffix,
        a_failure_behind_a_held_call_is_mended,
        a_stop_ends_what_is_done_in_the_background,
    };
    Suite *suite = suite_create("journal_crash");
    add_case(suite, "one_fault", one_fault, sizeof one_fault / sizeof *one_fault);
    add_case(suite, "background", background, sizeof background / sizeof *background);
    add_case(suite, "many_faults", many_faults, sizeof many_faults / sizeof *many_faults);
    return suite_run(suite);
}
