/* The journal while the disk does as it is told, and how it reads what it finds. Faults and crashes
 * are in journal_crash_test.c. */
#include "../lib/journal_rig.h"
#include "lib/suite.h"
#include "tier/journal/journal_int.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct rig rig;

static void set_up(void)
{
    rig_init(&rig, 1);
}

static void tear_down(void)
{
    rig_fini(&rig);
}

/* ---- order and positions -----------------------------------------------------------------------
 */

START_TEST(restart_gives_back_every_record_in_order)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 255, 70000, 3};
    uint8_t *bytes = malloc(70000);
    memset(bytes, 0xa5, 70000);
    rig_boot(&rig, NULL);
    uint64_t end = 0;
    for (size_t i = 0; i < 100; i++) {
        struct slice payload = slice_of(bytes, sizes[i % 8]);
        bytes[0] = (uint8_t)i;
        ck_assert_int_eq(rig_append(&rig, (uint8_t)(i * 3), payload, (enum ack_level)(i % 3)), 0);
        end += 16 + payload.len; /* a record header is 16 bytes */
        ck_assert_uint_eq(rig_last_lsn(&rig), end);
        ck_assert_uint_eq(journal_end(rig.journal), end);
    }
    rig_expect_all_after_restart(&rig);
    ck_assert_uint_gt(rig_put(&rig, "behind the restart", ACK_SYNC), end);
    rig_expect_all_after_restart(&rig);
    free(bytes);
}
END_TEST

/* The buffer is in chunks of a quarter MiB, which these records fill, cross and exceed; the disk
 * refuses some of them, so that they are written again from where they lie. */
START_TEST(records_of_any_size_are_written_and_written_again)
{
    static const size_t sizes[] = {200000, 60000, 3000, 300000, 5, 262144 - 16, 262144, 1, 900000};
    uint8_t *bytes = malloc(900000);
    memset(bytes, 0x5a, 900000);
    rig_boot(&rig, NULL);
    fake_env_fault(rig.fake, FAKE_WRITE, (struct fake_fault){2, 3, CE_NODISK});
    for (size_t i = 0; i < 40; i++) {
        bytes[0] = (uint8_t)i;
        ck_assert_int_eq(rig_append(&rig, 7, slice_of(bytes, sizes[i % 9]), ACK_RAM), 0);
    }
    rig_expect_all_after_restart(&rig);
    free(bytes);
}
END_TEST

struct behind {
    uint64_t from_lsn;
    int count;
};

static int count_behind(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn)
{
    struct behind *behind = arg;
    (void)type, (void)payload;
    ck_assert_uint_gt(end_lsn, behind->from_lsn);
    behind->count++;
    return 0;
}

START_TEST(replay_begins_behind_a_position)
{
    rig_boot(&rig, NULL);
    for (int i = 0; i < 5; i++)
        rig_put(&rig, "abc", ACK_RAM); /* 19 bytes each */
    rig_stop(&rig);
    ck_assert_int_eq(rig_open(&rig), 0);
    for (uint64_t from = 0; from <= 100; from++) {
        struct behind behind = {.from_lsn = from};
        ck_assert_int_eq(journal_replay(rig.journal, from, count_behind, &behind), 0);
        ck_assert_int_eq(behind.count, from < 95 ? 5 - (int)from / 19 : 0);
    }
}
END_TEST

static int refuse_second(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn)
{
    (void)type, (void)payload, (void)end_lsn;
    return ++*(int *)arg == 2 ? 77 : 0;
}

static int list_record(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn)
{
    rig_list_add(arg, type, payload, end_lsn);
    return 0;
}

START_TEST(replay_stops_when_told)
{
    int seen = 0;
    rig_boot(&rig, NULL);
    for (int i = 0; i < 5; i++)
        rig_put(&rig, "abc", ACK_RAM);
    rig_stop(&rig);
    ck_assert_int_eq(rig_open(&rig), 0);
    ck_assert_int_eq(journal_replay(rig.journal, 0, refuse_second, &seen), 77);
    ck_assert_int_eq(seen, 2);
    ck_assert_int_eq(rig_start(&rig, 0), 0); /* looks for the end by itself */
    ck_assert_uint_eq(rig_put(&rig, "abc", ACK_RAM), 6 * 19);
    rig_expect_all_after_restart(&rig);
}
END_TEST

START_TEST(start_leaves_a_gap_when_l2_is_ahead)
{
    rig_boot(&rig, NULL);
    rig_put(&rig, "before", ACK_SYNC);
    rig_stop(&rig);
    ck_assert_int_eq(rig_open(&rig), 0);
    ck_assert_int_eq(rig_start(&rig, 5000), 0);
    ck_assert_uint_eq(rig_put(&rig, "after", ACK_SYNC), 5000 + 16 + 5);
    rig_expect_all_after_restart(&rig);
    ck_assert_uint_eq(journal_quarantined(rig.journal), 0);
}
END_TEST

START_TEST(idle_restarts_leave_one_segment_and_the_position)
{
    rig.config.segment_bytes = 1; /* every round begins one */
    rig_boot(&rig, NULL);
    uint64_t end = rig_put(&rig, "one", ACK_SYNC);
    for (int i = 0; i < 5; i++)
        rig_expect_all_after_restart(&rig);
    ck_assert_uint_eq(journal_end(rig.journal), end);
    ck_assert_uint_eq(fake_env_count_files(rig.fake, RIG_DIR), 1);
    journal_release(rig.journal, end);
    rig_put(&rig, "two", ACK_SYNC);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    rig_put(&rig, "three", ACK_SYNC); /* its round comes after the one that removed */
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    ck_assert(!rig_has_file(&rig, rig_path(0, ".log")));
}
END_TEST

/* ---- rounds ------------------------------------------------------------------------------------
 */

START_TEST(one_sync_serves_all_that_gathered)
{
    rig_boot(&rig, NULL);
    uint64_t before = fake_env_calls(rig.fake, FAKE_SYNC);
    uint64_t writes = fake_env_calls(rig.fake, FAKE_WRITE);
    fake_env_hold(rig.fake, FAKE_SYNC);
    rig_put(&rig, "first", ACK_SYNC);
    fake_env_wait_calls(rig.fake, FAKE_SYNC, before + 1);
    for (int i = 0; i < 50; i++)
        rig_put(&rig, "gathers meanwhile", ACK_SYNC);
    fake_env_let_go(rig.fake, FAKE_SYNC);
    rig_wait_reached(&rig, rig_last_lsn(&rig), ACK_SYNC);
    ck_assert_uint_eq(fake_env_calls(rig.fake, FAKE_SYNC), before + 2);
    ck_assert_uint_eq(fake_env_calls(rig.fake, FAKE_WRITE), writes + 2);
    ck_assert_uint_eq(rig_stat(&rig, "journal_syncs"), 2);
    ck_assert_uint_eq(rig_stat(&rig, "journal_writes"), 2);
    ck_assert_uint_eq(rig_stat(&rig, "journal_records"), 51);
    ck_assert_uint_eq(rig_stat(&rig, "journal_bytes"), rig_last_lsn(&rig));
    ck_assert_uint_eq(rig_stat(&rig, "journal_pending_bytes"), 0);
}
END_TEST

START_TEST(os_is_written_and_not_synced)
{
    rig_boot(&rig, NULL);
    uint64_t syncs = fake_env_calls(rig.fake, FAKE_SYNC);
    for (int i = 0; i < 10; i++)
        rig_wait_reached(&rig, rig_put(&rig, "os", ACK_OS), ACK_OS);
    ck_assert_uint_eq(fake_env_calls(rig.fake, FAKE_SYNC), syncs);
    ck_assert(!journal_reached(rig.journal, rig_last_lsn(&rig), ACK_SYNC));
    ck_assert_uint_eq(rig_stat(&rig, "journal_pending_bytes"), rig_last_lsn(&rig));
    rig_wait_reached(&rig, rig_put(&rig, "sync", ACK_SYNC), ACK_SYNC);
    ck_assert_uint_eq(fake_env_calls(rig.fake, FAKE_SYNC), syncs + 1);
    ck_assert_uint_eq(rig_stat(&rig, "journal_pending_bytes"), 0);
    rig_expect_all_after_restart(&rig);
}
END_TEST

START_TEST(ram_is_written_by_itself)
{
    rig_boot(&rig, NULL);
    uint64_t writes = fake_env_calls(rig.fake, FAKE_WRITE);
    uint64_t end = rig_put(&rig, "ram", ACK_RAM);
    ck_assert(journal_reached(rig.journal, end, ACK_RAM));
    rig_wait_reached(&rig, end, ACK_OS); /* nobody asked */
    ck_assert_uint_eq(fake_env_calls(rig.fake, FAKE_WRITE), writes + 1);
    ck_assert(!journal_reached(rig.journal, end, ACK_SYNC));
}
END_TEST

START_TEST(written_records_are_synced_after_the_interval)
{
    rig.config.sync_interval_ms = 5;
    rig_boot(&rig, NULL);
    uint64_t end = rig_put(&rig, "os", ACK_OS);
    rig_wait_reached(&rig, end, ACK_OS);
    ck_assert(!journal_reached(rig.journal, end, ACK_SYNC));
    fake_env_advance_ms(rig.fake, 5);
    rig_wait_reached(&rig, end, ACK_SYNC);
}
END_TEST

START_TEST(os_is_told_before_the_sync_of_others)
{
    rig_boot(&rig, NULL);
    fake_env_hold(rig.fake, FAKE_WRITE);
    rig_put(&rig, "holds the thread", ACK_OS);
    fake_env_wait_calls(rig.fake, FAKE_WRITE, 2); /* the segment's header was the first */
    uint64_t os = rig_put(&rig, "os", ACK_OS);
    uint64_t sync = rig_put(&rig, "sync", ACK_SYNC);
    fake_env_hold(rig.fake, FAKE_SYNC);
    uint64_t syncs = fake_env_calls(rig.fake, FAKE_SYNC);
    fake_env_let_go(rig.fake, FAKE_WRITE);
    fake_env_wait_calls(rig.fake, FAKE_SYNC, syncs + 1);
    pthread_mutex_lock(&rig.mutex);
    ck_assert_uint_eq(rig.advanced_calls, 2); /* of the round that was held, and of this one */
    pthread_mutex_unlock(&rig.mutex);
    ck_assert(journal_reached(rig.journal, os, ACK_OS));
    ck_assert(!journal_reached(rig.journal, sync, ACK_SYNC));
    fake_env_let_go(rig.fake, FAKE_SYNC);
    rig_wait_reached(&rig, sync, ACK_SYNC);
}
END_TEST

START_TEST(flush_reaches_its_level)
{
    rig_boot(&rig, NULL);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, 0), 0); /* nothing to do */
    uint64_t end = rig_put(&rig, "ram", ACK_RAM);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_RAM, 0), 0);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_OS, RIG_WAIT_MS), 0);
    ck_assert(journal_reached(rig.journal, end, ACK_OS));
    ck_assert(!journal_reached(rig.journal, end, ACK_SYNC));
    fake_env_hold(rig.fake, FAKE_SYNC);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, 0), CE_BUSY);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, 5), CE_BUSY);
    fake_env_let_go(rig.fake, FAKE_SYNC);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    ck_assert(journal_reached(rig.journal, end, ACK_SYNC));
}
END_TEST

START_TEST(append_refuses_when_too_much_waits)
{
    uint8_t bytes[84] = {0};
    rig.config.buffer_bytes_max = 1000; /* ten records of 100 */
    rig_boot(&rig, NULL);
    fake_env_hold(rig.fake, FAKE_WRITE);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(rig_append(&rig, 1, slice_of(bytes, 84), ACK_OS), 0);
    ck_assert_int_eq(rig_append(&rig, 1, slice_of(bytes, 0), ACK_RAM), CE_BUSY);
    ck_assert_int_eq(rig_append(&rig, 1, slice_of(bytes, 0), ACK_SYNC), CE_BUSY);
    fake_env_let_go(rig.fake, FAKE_WRITE);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    rig_put(&rig, "room again", ACK_SYNC);
    rig_expect_all_after_restart(&rig);
}
END_TEST

START_TEST(append_refuses_too_large_and_not_started)
{
    ck_assert_int_eq(rig_open(&rig), 0);
    ck_assert_int_eq(rig_append(&rig, 1, slice_str("x"), ACK_RAM), CE_STOPPED);
    ck_assert_int_eq(rig_start(&rig, 0), 0);
    struct slice huge = slice_of("", JOURNAL_RECORD_BYTES_MAX + 1);
    ck_assert_int_eq(rig_append(&rig, 1, huge, ACK_RAM), CE_TOO_LARGE);
}
END_TEST

static void *stop_rig(void *arg)
{
    (void)arg;
    rig_stop(&rig);
    return NULL;
}

START_TEST(stop_refuses_new_records_and_writes_the_old)
{
    rig_boot(&rig, NULL);
    fake_env_hold(rig.fake, FAKE_WRITE);
    rig_put(&rig, "os", ACK_OS);
    fake_env_wait_calls(rig.fake, FAKE_WRITE, 2);
    rig_put(&rig, "ram", ACK_RAM);
    struct journal *journal = rig.journal;
    pthread_t stopper;
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop_rig, NULL), 0);
    uint64_t end;
    int rc = 0;
    while (rc == 0) { /* until the stop has begun */
        rc = journal_append(journal, 1, slice_str("late"), ACK_RAM, &end);
        if (rc == 0)
            rig_list_add(&rig.appended, 1, slice_str("late"), end);
    }
    ck_assert(rc == CE_STOPPED || rc == CE_BUSY);
    fake_env_let_go(rig.fake, FAKE_WRITE);
    pthread_join(stopper, NULL);
    struct rig_list replayed = {0};
    rig_boot(&rig, &replayed);
    rig_expect_first(&rig, &replayed, rig.appended.count);
    rig_list_free(&replayed);
}
END_TEST

/* ---- segments ----------------------------------------------------------------------------------
 */

START_TEST(release_removes_segments_but_never_the_last)
{
    rig.config.segment_bytes = 100;
    rig_boot(&rig, NULL);
    for (int i = 0; i < 20; i++) { /* 40 bytes each: the third fills a segment */
        rig_put(&rig, "0123456789abcdefghijklmn", ACK_SYNC);
        ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    }
    ck_assert_uint_eq(rig_stat(&rig, "journal_segments"), 7);
    ck_assert_uint_eq(fake_env_count_files(rig.fake, RIG_DIR), 7);
    journal_release(rig.journal, 239);             /* the second ends at 240 */
    fake_env_wait_calls(rig.fake, FAKE_REMOVE, 8); /* one for each begun, and this */
    rig_put(&rig, "one more round", ACK_SYNC);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    ck_assert(!rig_has_file(&rig, rig_path(0, ".log")));
    ck_assert(rig_has_file(&rig, rig_path(120, ".log")));
    journal_release(rig.journal, UINT64_MAX);
    rig_put(&rig, "another", ACK_SYNC);
    rig_put(&rig, "and another", ACK_SYNC);
    rig_stop(&rig);
    ck_assert_uint_eq(fake_env_count_files(rig.fake, RIG_DIR), 1);
    uint64_t end = rig_last_lsn(&rig);
    rig_boot(&rig, NULL);
    ck_assert_uint_eq(journal_end(rig.journal), end);
}
END_TEST

START_TEST(release_is_tried_again)
{
    rig.config.segment_bytes = 1;
    rig_boot(&rig, NULL);
    for (int i = 0; i < 3; i++) {
        rig_put(&rig, "fills a segment", ACK_SYNC);
        ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    }
    uint64_t removes = fake_env_calls(rig.fake, FAKE_REMOVE);
    fake_env_fault(rig.fake, FAKE_REMOVE, (struct fake_fault){1, FAKE_ALWAYS, CE_IO});
    journal_release(rig.journal, rig_last_lsn(&rig));
    fake_env_wait_calls(rig.fake, FAKE_REMOVE, removes + 2);
    ck_assert(rig_has_file(&rig, rig_path(0, ".log")));
    fake_env_clear_faults(rig.fake);
    fake_env_wait_calls(rig.fake, FAKE_REMOVE, removes + 4); /* by itself */
    rig_stop(&rig);
    ck_assert_uint_eq(fake_env_count_files(rig.fake, RIG_DIR), 1);
}
END_TEST

/* ---- what replay finds -------------------------------------------------------------------------
 */

/* Three records in one segment; `file` gets its bytes, `last` the offset of the third. */
static void make_three(struct buf *file, size_t *last)
{
    rig_boot(&rig, NULL);
    rig_put(&rig, "the first record", ACK_SYNC);
    uint64_t second = rig_put(&rig, "the second record", ACK_SYNC);
    rig_put(&rig, "the third", ACK_SYNC);
    rig_stop(&rig);
    rig_read_file(&rig, rig_path(0, ".log"), file);
    ck_assert_uint_eq(file->len, SEGMENT_HEADER_BYTES + rig_last_lsn(&rig));
    *last = SEGMENT_HEADER_BYTES + second;
}

/* Starts on `content` as the first segment alone, expects the first `count` of three, goes on. */
static void expect_from(struct slice content, size_t count, uint64_t quarantined)
{
    struct rig fresh;
    struct rig_list replayed = {0};
    rig_init(&fresh, 1);
    for (size_t i = 0; i < 3; i++) {
        const struct rig_record *record = &rig.appended.records[i];
        rig_list_add(&fresh.appended, record->type, buf_slice(&record->payload), record->end_lsn);
    }
    fake_env_put_file(fresh.fake, rig_path(0, ".log"), content);
    rig_boot(&fresh, &replayed);
    ck_assert_uint_eq(journal_quarantined(fresh.journal), quarantined);
    rig_expect_first(&fresh, &replayed, count);
    rig_list_cut(&fresh.appended, count);
    rig_put(&fresh, "goes on", ACK_SYNC);
    rig_expect_all_after_restart(&fresh);
    ck_assert_uint_eq(journal_quarantined(fresh.journal), 0);
    rig_list_free(&replayed);
    rig_fini(&fresh);
}

START_TEST(torn_tail_is_cut_at_every_byte)
{
    struct buf file = {0};
    size_t last;
    make_three(&file, &last);
    for (size_t len = last; len < file.len; len++)
        expect_from(slice_of(file.bytes, len), 2, 0);
    for (size_t at = last; at < file.len; at++) {
        file.bytes[at] ^= 0x40;
        expect_from(buf_slice(&file), 2, 0);
        file.bytes[at] ^= 0x40;
    }
    for (size_t at = last; at < file.len; at++) { /* pages that were never written */
        struct buf holed = {0};
        ck_assert_int_eq(buf_append(&holed, file.bytes, file.len), 0);
        memset(holed.bytes + at, 0, holed.len - at);
        expect_from(buf_slice(&holed), 2, 0);
        buf_free(&holed);
    }
    buf_free(&file);
}
END_TEST

START_TEST(corrupt_byte_before_good_records_is_set_aside)
{
    struct buf file = {0};
    size_t last;
    make_three(&file, &last);
    size_t second = SEGMENT_HEADER_BYTES + 16 + strlen("the first record");
    for (size_t at = SEGMENT_HEADER_BYTES; at < last; at++) {
        file.bytes[at] ^= 0x40;
        expect_from(buf_slice(&file), at < second ? 0 : 1, 1);
        file.bytes[at] ^= 0x40;
    }
    buf_free(&file);
}
END_TEST

START_TEST(corrupt_segment_header_is_set_aside)
{
    struct buf file = {0};
    size_t last;
    make_three(&file, &last);
    for (size_t at = 0; at < SEGMENT_HEADER_BYTES; at++) {
        file.bytes[at] ^= 0x40;
        expect_from(buf_slice(&file), 0, 1);
        file.bytes[at] ^= 0x40;
    }
    buf_free(&file);
}
END_TEST

START_TEST(corrupt_middle_segment_loses_only_its_rest)
{
    struct rig_list replayed = {0};
    struct buf file = {0};
    struct buf aside = {0};
    rig.config.segment_bytes = 100;
    rig_boot(&rig, NULL);
    for (int i = 0; i < 9; i++) { /* three of 40 bytes in each of three segments */
        rig_put(&rig, "0123456789abcdefghijklmn", ACK_SYNC);
        ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    }
    rig_stop(&rig);
    rig_read_file(&rig, rig_path(120, ".log"), &file);
    size_t fifth = SEGMENT_HEADER_BYTES + 40;
    file.bytes[fifth + 20] ^= 1;
    /* ... and what is left of the sixth is no record: in the middle that is no torn tail. */
    fake_env_put_file(rig.fake, rig_path(120, ".log"), slice_of(file.bytes, file.len - 5));
    rig_boot(&rig, &replayed);
    ck_assert_uint_eq(replayed.count, 7);
    ck_assert_uint_eq(replayed.records[3].end_lsn, 160);
    ck_assert_uint_eq(replayed.records[4].end_lsn, 280);
    ck_assert_uint_eq(rig_stat(&rig, "journal_quarantined"), 1);
    rig_read_file(&rig, rig_path(120, ".log.quarantine"), &aside);
    ck_assert(slice_eq(buf_slice(&aside), slice_of(file.bytes + fifth, file.len - 5 - fifth)));
    rig_stop(&rig);
    rig_list_cut(&replayed, 0);
    rig_boot(&rig, &replayed);
    ck_assert_uint_eq(replayed.count, 7);
    ck_assert_uint_eq(journal_quarantined(rig.journal), 0);
    rig_list_free(&replayed);
    buf_free(&aside);
    buf_free(&file);
}
END_TEST

/* What comes before the position was synced once, so it is rot, and no reason to lose the rest. */
START_TEST(rot_in_front_of_the_position_hides_nothing_behind_it)
{
    struct buf file = {0}, aside = {0};
    size_t last;
    make_three(&file, &last);
    size_t second = SEGMENT_HEADER_BYTES + 16 + strlen("the first record");
    for (size_t at = SEGMENT_HEADER_BYTES; at < second; at++) {
        struct behind behind = {.from_lsn = second - SEGMENT_HEADER_BYTES};
        file.bytes[at] ^= 0x40;
        fake_env_put_file(rig.fake, rig_path(0, ".log"), buf_slice(&file));
        ck_assert_int_eq(rig_open(&rig), 0);
        ck_assert_int_eq(journal_replay(rig.journal, behind.from_lsn, count_behind, &behind), 0);
        ck_assert_int_eq(behind.count, 2);
        ck_assert_uint_eq(journal_quarantined(rig.journal), 1);
        rig_stop(&rig);
        file.bytes[at] ^= 0x40;
    }
    rig_read_file(&rig, rig_path(0, ".log.quarantine"), &aside);
    ck_assert_uint_eq(aside.len, second - SEGMENT_HEADER_BYTES);
    buf_free(&aside);
    buf_free(&file);
}
END_TEST

START_TEST(rot_in_a_middle_segment_loses_only_what_it_hit)
{
    struct rig_list replayed = {0};
    struct buf file = {0};
    rig.config.segment_bytes = 100;
    rig_boot(&rig, NULL);
    for (int i = 0; i < 9; i++) { /* three of 40 bytes in each of three segments */
        rig_put(&rig, "0123456789abcdefghijklmn", ACK_SYNC);
        ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    }
    rig_stop(&rig);
    rig_read_file(&rig, rig_path(120, ".log"), &file);
    file.bytes[SEGMENT_HEADER_BYTES + 40 + 20] ^= 1; /* the fifth */
    fake_env_put_file(rig.fake, rig_path(120, ".log"), buf_slice(&file));
    rig_boot(&rig, &replayed);
    ck_assert_uint_eq(replayed.count, 8);
    ck_assert_uint_eq(replayed.records[3].end_lsn, 160);
    ck_assert_uint_eq(replayed.records[4].end_lsn, 240);
    ck_assert_uint_eq(journal_quarantined(rig.journal), 1);
    rig_list_free(&replayed);
    buf_free(&file);
}
END_TEST

START_TEST(what_an_earlier_process_wrote_can_be_read_again)
{
    struct rig_list again = {0};
    struct buf file = {0};
    rig.config.segment_bytes = 100;
    rig_boot(&rig, NULL);
    for (int i = 0; i < 9; i++) { /* three of 40 bytes in each of three segments */
        rig_put(&rig, "0123456789abcdefghijklmn", ACK_SYNC);
        ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    }
    rig_stop(&rig);
    struct behind behind = {.from_lsn = 200};
    ck_assert_int_eq(rig_open(&rig), 0);
    ck_assert_int_eq(journal_replay(rig.journal, 200, count_behind, &behind), 0);
    ck_assert_int_eq(rig_start(&rig, 0), 0);
    rig_put(&rig, "one of this process", ACK_SYNC);
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    rig_read_file(&rig, rig_path(120, ".log"), &file);
    file.bytes[SEGMENT_HEADER_BYTES + 40 + 20] ^= 1; /* the fifth is passed over */
    fake_env_put_file(rig.fake, rig_path(120, ".log"), buf_slice(&file));
    ck_assert_int_eq(journal_reread(rig.journal, 360, list_record, &again), 0);
    ck_assert_uint_eq(again.count, 8);
    for (size_t i = 0; i < 8; i++)
        ck_assert_uint_eq(again.records[i].end_lsn, 40 * (i < 4 ? i + 1 : i + 2));
    rig_list_cut(&again, 0);
    ck_assert_int_eq(journal_reread(rig.journal, 100, list_record, &again), 0);
    ck_assert_uint_eq(again.count, 2);
    int seen = 0;
    ck_assert_int_eq(journal_reread(rig.journal, 360, refuse_second, &seen), 77);
    rig_list_free(&again);
    buf_free(&file);
}
END_TEST

START_TEST(position_never_goes_back_behind_what_was_set_aside)
{
    struct buf file = {0};
    size_t last;
    make_three(&file, &last);
    file.bytes[SEGMENT_HEADER_BYTES + 20] ^= 1;
    fake_env_put_file(rig.fake, rig_path(0, ".log"), buf_slice(&file));
    rig_boot(&rig, NULL);
    ck_assert_uint_ge(journal_end(rig.journal), rig_last_lsn(&rig));
    buf_free(&file);
}
END_TEST

START_TEST(empty_last_segment_does_not_hide_a_torn_tail)
{
    struct buf file = {0};
    uint8_t header[SEGMENT_HEADER_BYTES];
    size_t last;
    make_three(&file, &last);
    uint64_t end = rig_last_lsn(&rig);
    journal_segment_header(end, header);
    for (size_t len = 0; len <= sizeof header; len++) {
        struct rig_list replayed = {0};
        fake_env_put_file(rig.fake, rig_path(0, ".log"), slice_of(file.bytes, file.len - 1));
        fake_env_put_file(rig.fake, rig_path(end, ".log"), slice_of(header, len));
        rig_boot(&rig, &replayed);
        rig_expect_first(&rig, &replayed, 2);
        ck_assert_uint_eq(journal_quarantined(rig.journal), 0);
        ck_assert_uint_ge(journal_end(rig.journal), end);
        rig_stop(&rig);
        rig_list_free(&replayed);
    }
    buf_free(&file);
}
END_TEST

START_TEST(overlapping_segments_give_each_record_once)
{
    struct buf file = {0};
    struct buf later = {0};
    uint8_t header[SEGMENT_HEADER_BYTES];
    struct rig_list replayed = {0};
    size_t last;
    make_three(&file, &last);
    uint64_t second_first = 16 + strlen("the first record");
    journal_segment_header(second_first, header);
    ck_assert_int_eq(buf_append(&later, header, sizeof header), 0);
    ck_assert_int_eq(buf_append(&later, file.bytes + SEGMENT_HEADER_BYTES + second_first,
                                file.len - SEGMENT_HEADER_BYTES - second_first),
                     0);
    fake_env_put_file(rig.fake, rig_path(second_first, ".log"), buf_slice(&later));
    rig_boot(&rig, &replayed); /* the older holds the same */
    rig_expect_first(&rig, &replayed, 3);
    rig_stop(&rig);
    rig_list_cut(&replayed, 0);
    memset(file.bytes + SEGMENT_HEADER_BYTES + second_first, 0, 20);
    fake_env_put_file(rig.fake, rig_path(0, ".log"), buf_slice(&file));
    rig_boot(&rig, &replayed); /* the older holds rubbish where they overlap */
    rig_expect_first(&rig, &replayed, 3);
    ck_assert_uint_eq(journal_quarantined(rig.journal), 0);
    rig_list_free(&replayed);
    buf_free(&later);
    buf_free(&file);
}
END_TEST

START_TEST(foreign_names_are_left_alone)
{
    fake_env_put_file(rig.fake, RIG_DIR "/README", slice_str("hello"));
    fake_env_put_file(rig.fake, RIG_DIR "/0000000000000000001x.log", slice_str("hello"));
    fake_env_put_file(rig.fake, rig_path(7, ".log.quarantine"), slice_str("hello"));
    fake_env_put_file(rig.fake, rig_path(7, ".tmp"), slice_str("hello"));
    rig_boot(&rig, NULL);
    ck_assert_uint_eq(journal_end(rig.journal), 0);
    ck_assert_uint_eq(fake_env_count_files(rig.fake, RIG_DIR), 4); /* .tmp went, one is ours */
    ck_assert(!rig_has_file(&rig, rig_path(7, ".tmp")));
}
END_TEST

START_TEST(open_refuses_a_path_that_is_too_long)
{
    char dir[JOURNAL_PATH_MAX] = {0};
    memset(dir, 'x', sizeof dir - 1);
    rig.config.dir = dir;
    ck_assert_int_eq(rig_open(&rig), CE_INVAL);
    ck_assert_ptr_null(rig.journal);
}
END_TEST

/* ---- threads -----------------------------------------------------------------------------------
 */

#define WRITERS      8
#define WRITER_COUNT 400

struct payload {
    uint32_t writer;
    uint32_t number;
};

static void *append_many(void *arg)
{
    struct payload payload = {.writer = (uint32_t)(uintptr_t)arg};
    for (payload.number = 0; payload.number < WRITER_COUNT; payload.number++) {
        enum ack_level level = (enum ack_level)(payload.number % 3);
        uint64_t end;
        struct slice bytes = slice_of(&payload, sizeof payload);
        ck_assert_int_eq(journal_append(rig.journal, 9, bytes, level, &end), 0);
        if (payload.number % 50 == 0)
            ck_assert_int_eq(journal_flush(rig.journal, level, RIG_WAIT_MS), 0);
    }
    return NULL;
}

START_TEST(many_writers_keep_their_order)
{
    pthread_t threads[WRITERS];
    struct rig_list replayed = {0};
    uint32_t next[WRITERS] = {0};
    rig.config.segment_bytes = 8192;
    rig_boot(&rig, NULL);
    for (uintptr_t i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, append_many, (void *)i), 0);
    for (size_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    rig_stop(&rig);
    rig_boot(&rig, &replayed);
    ck_assert_uint_eq(replayed.count, WRITERS * WRITER_COUNT);
    for (size_t i = 0; i < replayed.count; i++) {
        struct payload payload;
        memcpy(&payload, replayed.records[i].payload.bytes, sizeof payload);
        ck_assert_uint_lt(payload.writer, WRITERS);
        ck_assert_uint_eq(payload.number, next[payload.writer]++);
    }
    rig_list_free(&replayed);
}
END_TEST

static void add_tests(TCase *tests)
{
    const TTest *const all[] = {
        restart_gives_back_every_record_in_order,
        records_of_any_size_are_written_and_written_again,
        replay_begins_behind_a_position,
        replay_stops_when_told,
        start_leaves_a_gap_when_l2_is_ahead,
        idle_restarts_leave_one_segment_and_the_position,
        one_sync_serves_all_that_gathered,
        os_is_written_and_not_synced,
        ram_is_written_by_itself,
        written_records_are_synced_after_the_interval,
        os_is_told_before_the_sync_of_others,
        flush_reaches_its_level,
        append_refuses_when_too_much_waits,
        append_refuses_too_large_and_not_started,
        stop_refuses_new_records_and_writes_the_old,
        release_removes_segments_but_never_the_last,
        release_is_tried_again,
        torn_tail_is_cut_at_every_byte,
        corrupt_byte_before_good_records_is_set_aside,
        corrupt_segment_header_is_set_aside,
        corrupt_middle_segment_loses_only_its_rest,
        rot_in_front_of_the_position_hides_nothing_behind_it,
        rot_in_a_middle_segment_loses_only_what_it_hit,
        what_an_earlier_process_wrote_can_be_read_again,
        position_never_goes_back_behind_what_was_set_aside,
        empty_last_segment_does_not_hide_a_torn_tail,
        overlapping_segments_give_each_record_once,
        foreign_names_are_left_alone,
        open_refuses_a_path_that_is_too_long,
        many_writers_keep_their_order,
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
}

int main(void)
{
    Suite *suite = suite_create("journal");
    TCase *tests = tcase_create("journal");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 120);
    add_tests(tests);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
