/* Released segments: kept while there is room, read record by record, never replayed. And what a
 * start reads: kept until it is forgotten. */
#include "../lib/journal_rig.h"
#include "lib/suite.h"
#include "tier/journal/journal_int.h"

#include <check.h>
#include <stdlib.h>

#define PAYLOAD      "0123456789abcdefghijklmn"
#define RECORD       40u /* bytes of such a record */
#define PER_SEGMENT  3u  /* the third fills a segment of 100 bytes */
#define SEGMENT      (PER_SEGMENT * RECORD)
#define SEGMENT_FILE (SEGMENT_HEADER_BYTES + SEGMENT)
#define MUCH         1000000u

static struct rig rig;
static struct buf storage;

static void set_up(void)
{
    rig_init(&rig, 1);
    rig.config.segment_bytes = 100;
    rig.config.history_bytes = MUCH;
    storage = (struct buf){0};
}

static void tear_down(void)
{
    rig_fini(&rig);
    buf_free(&storage);
}

static void flush(void)
{
    ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
}

/* Full segments, the first record of each named by its number. */
static void put_segments(unsigned count)
{
    for (unsigned i = 0; i < count * PER_SEGMENT; i++) {
        rig_put(&rig, PAYLOAD, ACK_SYNC);
        flush();
    }
}

/* Releases all of it and lets the thread go round until it has done what that means. */
static void release_all(void)
{
    journal_release(rig.journal, rig_last_lsn(&rig));
    for (int i = 0; i < 2; i++) { /* the round of the second comes after the one that settled */
        rig_put(&rig, PAYLOAD, ACK_SYNC);
        flush();
    }
}

static int read_at(uint64_t end_lsn, uint32_t bytes)
{
    uint8_t type;
    struct slice payload;
    return journal_read(rig.journal, end_lsn, bytes, &storage, &type, &payload);
}

static void expect_readable(size_t from)
{
    for (size_t i = 0; i < rig.appended.count; i++) {
        const struct rig_record *want = &rig.appended.records[i];
        uint8_t type = 0;
        struct slice payload;
        uint32_t bytes = journal_record_bytes(want->payload.len);
        int rc = journal_read(rig.journal, want->end_lsn, bytes, &storage, &type, &payload);
        ck_assert_int_eq(rc, i < from ? CE_NOTFOUND : 0);
        if (rc)
            continue;
        ck_assert_uint_eq(type, want->type);
        ck_assert(slice_eq(payload, buf_slice(&want->payload)));
    }
}

static bool has_old(unsigned segment)
{
    return rig_has_file(&rig, rig_path(segment * SEGMENT, ".old"));
}

/* ---- reading -----------------------------------------------------------------------------------
 */

START_TEST(every_record_is_read_back_from_its_place)
{
    static const size_t sizes[] = {0, 1, 24, 60, 300, 16};
    uint8_t bytes[300];
    memset(bytes, 0x5a, sizeof bytes);
    rig_boot(&rig, NULL);
    for (size_t i = 0; i < 60; i++) {
        bytes[0] = (uint8_t)i;
        ck_assert_int_eq(rig_append(&rig, (uint8_t)i, slice_of(bytes, sizes[i % 6]), ACK_SYNC), 0);
        if (i % 4 == 0)
            flush();
    }
    flush();
    ck_assert_uint_gt(rig_stat(&rig, "journal_segments"), 5);
    expect_readable(0);
    release_all();
    ck_assert(rig_has_file(&rig, rig_path(0, ".old")));
    ck_assert(!rig_has_file(&rig, rig_path(0, ".log")));
    expect_readable(0);
}
END_TEST

START_TEST(what_is_no_record_is_not_read)
{
    rig_boot(&rig, NULL);
    put_segments(2);
    ck_assert_int_eq(read_at(SEGMENT, RECORD), 0);          /* the last of the first segment */
    ck_assert_int_eq(read_at(SEGMENT + RECORD, RECORD), 0); /* the first of the second */
    ck_assert_int_eq(read_at(SEGMENT, RECORD - 1), CE_CORRUPT);
    ck_assert_int_eq(read_at(SEGMENT, RECORD + 1), CE_CORRUPT);
    ck_assert_int_eq(read_at(SEGMENT - 1, RECORD), CE_CORRUPT);
    ck_assert_int_eq(read_at(SEGMENT + 1, RECORD), CE_CORRUPT); /* over the border */
    ck_assert_int_eq(read_at(SEGMENT, RECORD_HEADER_BYTES - 1), CE_CORRUPT);
    ck_assert_int_eq(read_at(RECORD - 1, RECORD), CE_CORRUPT); /* before all */
    ck_assert_int_eq(read_at(SEGMENT, UINT32_MAX), CE_CORRUPT);
    ck_assert_int_eq(read_at(3 * SEGMENT, RECORD), CE_NOTFOUND); /* not written yet */
}
END_TEST

START_TEST(damage_costs_one_record)
{
    struct buf file = {0};
    rig_boot(&rig, NULL);
    put_segments(2);
    release_all();
    rig_read_file(&rig, rig_path(0, ".old"), &file);
    file.bytes[SEGMENT_HEADER_BYTES + RECORD + RECORD_HEADER_BYTES] ^= 1;
    fake_env_put_file(rig.fake, rig_path(0, ".old"), buf_slice(&file));
    ck_assert_int_eq(read_at(RECORD, RECORD), 0);
    ck_assert_int_eq(read_at(2 * RECORD, RECORD), CE_CORRUPT);
    ck_assert_int_eq(read_at(3 * RECORD, RECORD), 0);
    buf_free(&file);
}
END_TEST

START_TEST(a_disk_error_is_told)
{
    rig_boot(&rig, NULL);
    put_segments(1);
    fake_env_fault(rig.fake, FAKE_READ_PART, (struct fake_fault){1, 1, CE_IO});
    ck_assert_int_eq(read_at(RECORD, RECORD), CE_IO);
    ck_assert_int_eq(read_at(RECORD, RECORD), 0);
}
END_TEST

/* ---- restart -----------------------------------------------------------------------------------
 */

START_TEST(a_start_does_not_read_history)
{
    struct rig_list replayed = {0};
    rig_boot(&rig, NULL);
    put_segments(4);
    release_all();
    rig_stop(&rig);
    uint64_t reads = fake_env_calls(rig.fake, FAKE_READ);
    rig_boot(&rig, &replayed);
    /* Of five segments one is no history, and it is looked at for its records. */
    ck_assert_uint_le(fake_env_calls(rig.fake, FAKE_READ) - reads, 2);
    ck_assert_uint_eq(replayed.count, 2); /* what release_all put behind */
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_segments"), 4);
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_bytes"), 4 * SEGMENT_FILE);
    expect_readable(0);
    rig_list_free(&replayed);
}
END_TEST

/* A power loss may have kept the new name of a later segment alone. */
START_TEST(all_before_history_is_history)
{
    struct rig_list replayed = {0};
    struct buf file = {0};
    rig_boot(&rig, NULL);
    put_segments(2);
    release_all();
    rig_stop(&rig);
    rig_read_file(&rig, rig_path(0, ".old"), &file);
    fake_env_put_file(rig.fake, rig_path(0, ".log"), buf_slice(&file));
    ck_assert_int_eq(rig.config.env->file_remove(rig.config.env->ctx, rig_path(0, ".old")), 0);
    rig_boot(&rig, &replayed);
    ck_assert_uint_eq(replayed.count, 2);
    expect_readable(0);
    rig_list_free(&replayed);
    buf_free(&file);
}
END_TEST

START_TEST(positions_go_on_behind_history_alone)
{
    rig_boot(&rig, NULL);
    put_segments(2);
    release_all();
    rig_stop(&rig);
    ck_assert_int_eq(
        rig.config.env->file_remove(rig.config.env->ctx, rig_path(2 * SEGMENT, ".log")), 0);
    rig_boot(&rig, NULL);
    ck_assert_uint_eq(journal_end(rig.journal), 2 * SEGMENT);
    ck_assert_int_eq(read_at(RECORD, RECORD), 0);
    ck_assert_int_eq(read_at(2 * SEGMENT, RECORD), 0);
}
END_TEST

/* ---- room --------------------------------------------------------------------------------------
 */

START_TEST(history_has_a_limit_in_bytes)
{
    rig.config.history_bytes = 3 * SEGMENT_FILE; /* exactly three */
    rig_boot(&rig, NULL);
    put_segments(3);
    release_all();
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_segments"), 3);
    expect_readable(0);
    rig_put(&rig, PAYLOAD, ACK_SYNC); /* fills the fourth */
    flush();
    put_segments(1);
    release_all();
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_segments"), 3);
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_bytes"), 3 * SEGMENT_FILE);
    ck_assert(!has_old(0) && !has_old(1) && has_old(2) && has_old(3) && has_old(4));
    expect_readable(2 * PER_SEGMENT);
}
END_TEST

START_TEST(a_smaller_limit_holds_from_the_start_on)
{
    rig_boot(&rig, NULL);
    put_segments(4);
    release_all();
    rig_stop(&rig);
    rig.config.history_bytes = SEGMENT_FILE;
    ck_assert_int_eq(rig_open(&rig), 0);
    ck_assert_int_eq(rig_replay(&rig, NULL), 0);
    ck_assert_int_eq(rig_start(&rig, 0), 0);
    rig_put(&rig, PAYLOAD, ACK_SYNC);
    flush();
    rig_put(&rig, PAYLOAD, ACK_SYNC);
    flush();
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_segments"), 1);
    rig_stop(&rig);
    rig.config.history_bytes = 0;
    rig_boot(&rig, NULL);
    journal_release(rig.journal, rig_last_lsn(&rig));
    put_segments(1);
    rig_stop(&rig);
    for (unsigned i = 0; i < 6; i++)
        ck_assert(!has_old(i));
}
END_TEST

START_TEST(history_leaves_the_disk_its_reserve)
{
    rig_boot(&rig, NULL);
    put_segments(3);
    fake_env_set_free(rig.fake, JOURNAL_RESERVE_BYTES);
    release_all();
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_segments"), 3);
    fake_env_set_free(rig.fake, JOURNAL_RESERVE_BYTES - 1);
    rig_put(&rig, PAYLOAD, ACK_SYNC); /* fills the fourth: a rotation */
    rig_put(&rig, PAYLOAD, ACK_SYNC);
    flush();
    rig_put(&rig, PAYLOAD, ACK_SYNC);
    flush();
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_segments"), 0);
    expect_readable(3 * PER_SEGMENT);
}
END_TEST

START_TEST(a_full_disk_takes_the_oldest_first)
{
    rig_boot(&rig, NULL);
    put_segments(3);
    release_all();
    fake_env_fault(rig.fake, FAKE_WRITE, (struct fake_fault){1, 1, CE_NODISK});
    rig_put(&rig, PAYLOAD, ACK_SYNC);
    flush();
    ck_assert_uint_eq(rig_stat(&rig, "journal_errors"), 0);
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_segments"), 2);
    ck_assert(!has_old(0) && has_old(1) && has_old(2));
    expect_readable(PER_SEGMENT);
    fake_env_fault(rig.fake, FAKE_WRITE, (struct fake_fault){1, FAKE_ALWAYS, CE_NODISK});
    rig_put(&rig, PAYLOAD, ACK_OS);
    rig_wait_failed(&rig);
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_segments"), 0);
    fake_env_clear_faults(rig.fake);
    rig_wait_mended(&rig);
    expect_readable(3 * PER_SEGMENT);
}
END_TEST

START_TEST(other_errors_take_nothing)
{
    rig_boot(&rig, NULL);
    put_segments(2);
    release_all();
    fake_env_fault(rig.fake, FAKE_WRITE, (struct fake_fault){1, 1, CE_IO});
    rig_put(&rig, PAYLOAD, ACK_OS);
    rig_wait_reached(&rig, rig_last_lsn(&rig), ACK_OS);
    ck_assert_uint_eq(rig_stat(&rig, "journal_errors"), 1);
    ck_assert_uint_eq(rig_stat(&rig, "journal_history_segments"), 2);
    expect_readable(0);
}
END_TEST

START_TEST(a_start_on_a_full_disk_takes_the_oldest)
{
    rig_boot(&rig, NULL);
    put_segments(2);
    release_all();
    rig_stop(&rig);
    ck_assert_int_eq(rig_open(&rig), 0);
    ck_assert_int_eq(rig_replay(&rig, NULL), 0);
    fake_env_fault(rig.fake, FAKE_CREATE, (struct fake_fault){1, 1, CE_NODISK});
    ck_assert_int_eq(rig_start(&rig, 0), 0);
    ck_assert(!has_old(0) && has_old(1));
}
END_TEST

START_TEST(others_that_find_no_room_are_given_some)
{
    rig_boot(&rig, NULL);
    put_segments(3);
    release_all();
    uint64_t removes = fake_env_calls(rig.fake, FAKE_REMOVE);
    journal_shed(rig.journal);
    fake_env_wait_calls(rig.fake, FAKE_REMOVE, removes + 1);
    rig_put(&rig, PAYLOAD, ACK_SYNC); /* its round comes behind that one */
    flush();
    ck_assert(!has_old(0) && has_old(1) && has_old(2));
}
END_TEST

/* ---- what a start reads ---- */

struct given {
    struct journal *forgets; /* before it looks at each */
    struct slice payloads[9];
    size_t count;
};

static int keep_payload(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn)
{
    struct given *given = arg;
    (void)type, (void)end_lsn;
    if (given->forgets)
        journal_forget_read(given->forgets);
    ck_assert_uint_eq(payload.bytes[0], 'a' + given->count);
    given->payloads[given->count++] = payload;
    return 0;
}

START_TEST(what_was_read_stays_until_it_is_forgotten)
{
    struct given given = {0}, again = {0}, forgetful = {0};
    char text[85] = {0}; /* each record has a segment of its own */
    rig_boot(&rig, NULL);
    for (size_t i = 0; i < 9; i++) {
        memset(text, 'a' + (int)i, sizeof text - 1);
        rig_put(&rig, text, ACK_SYNC);
        ck_assert_int_eq(journal_flush(rig.journal, ACK_SYNC, RIG_WAIT_MS), 0);
    }
    rig_stop(&rig);
    ck_assert_int_eq(rig_open(&rig), 0);
    ck_assert_int_eq(journal_replay(rig.journal, 0, keep_payload, &given), 0);
    ck_assert_int_eq(rig_start(&rig, 0), 0);
    ck_assert_int_eq(journal_reread(rig.journal, 900, keep_payload, &again), 0);
    for (size_t i = 0; i < 9; i++) {
        memset(text, 'a' + (int)i, sizeof text - 1);
        ck_assert(slice_eq(given.payloads[i], slice_str(text)));
        ck_assert(slice_eq(again.payloads[i], slice_str(text)));
    }
    forgetful.forgets = rig.journal;
    ck_assert_int_eq(journal_reread(rig.journal, 900, keep_payload, &forgetful), 0);
    ck_assert_uint_eq(forgetful.count, 9);
    journal_forget_read(rig.journal);
}
END_TEST

static void add_tests(TCase *tests)
{
    const TTest *const all[] = {
        every_record_is_read_back_from_its_place,
        what_is_no_record_is_not_read,
        damage_costs_one_record,
        a_disk_error_is_told,
        a_start_does_not_read_history,
        all_before_history_is_history,
        positions_go_on_behind_history_alone,
        history_has_a_limit_in_bytes,
        a_smaller_limit_holds_from_the_start_on,
        history_leaves_the_disk_its_reserve,
        a_full_disk_takes_the_oldest_first,
        other_errors_take_nothing,
        a_start_on_a_full_disk_takes_the_oldest,
        others_that_find_no_room_are_given_some,
        what_was_read_stays_until_it_is_forgotten,
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
}

int main(void)
{
    Suite *suite = suite_create("journal_history");
    TCase *tests = tcase_create("journal_history");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 120);
    add_tests(tests);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
