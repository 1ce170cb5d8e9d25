/* A damaged database is begun anew, and nothing that can be read is lost on the way. */
#include "tier/l2/l2_int.h"
#include "lib/suite.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CARTS 500

static char folder[64];
static char path[128];
static struct env env;
static struct l2 *l2;
static struct l2_batch *batch;
static struct buf storage;
static int renames_left; /* then they fail; negative = never */

static int rename_some(void *ctx, const char *from, const char *to)
{
    if (renames_left == 0)
        return CE_IO;
    renames_left--;
    return env_real()->file_rename(ctx, from, to);
}

static bool reads_fail; /* of what was moved aside */

static int read_some(void *ctx, const char *name, struct buf *out)
{
    return reads_fail && strstr(name, ".broken-") ? CE_IO : env_real()->file_read(ctx, name, out);
}

static int open_l2(bool *moved_aside)
{
    struct l2_config config = {.env = &env, .path = path};
    return l2_open(&config, &l2, moved_aside);
}

static void must_open(bool want_moved)
{
    bool moved_aside = !want_moved;
    ck_assert_int_eq(open_l2(&moved_aside), 0);
    ck_assert(moved_aside == want_moved);
}

static void key_of(size_t i, char key[32])
{
    snprintf(key, 32, "cart:%zu", i);
}

static void put_carts(const char *state)
{
    char key[32];
    for (size_t i = 0; i < CARTS; i++) {
        key_of(i, key);
        struct l2_cart cart = {1, 2, 3, 4, 5, slice_str(state)};
        ck_assert_int_eq(l2_batch_put(batch, slice_str(key), &cart), 0);
        l2_batch_mark(batch, slice_str(key));
    }
    l2_batch_meta(batch, "complete", slice_str("1"));
    l2_batch_meta(batch, "checkpoint", slice_str("12345678"));
    l2_batch_meta(batch, "own", slice_str("kept"));
    l2_batch_enter(batch, L2_EVENTS, 7, slice_str("cart:1"), slice_str("an event"));
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
}

static void set_up(void)
{
    log_level_set(LOG_ERROR - 1);
    env = *env_real();
    env.file_rename = rename_some;
    renames_left = -1;
    env.file_read = read_some;
    reads_fail = false;
    snprintf(folder, sizeof folder, "/tmp/l2_rebuild_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/l2", folder);
    must_open(false);
    ck_assert_int_eq(l2_batch_new(&batch), 0);
    put_carts("state");
}

static int remove_entry(const char *name, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(name);
}

static void tear_down(void)
{
    if (l2)
        l2_close(&l2);
    l2_batch_free(&batch);
    buf_free(&storage);
    ck_assert_int_eq(nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void spoil_current(void)
{
    char name[160];
    snprintf(name, sizeof name, "%s/CURRENT", path);
    FILE *out = fopen(name, "w");
    ck_assert_ptr_nonnull(out);
    ck_assert_int_ge(fputs("MANIFEST-9", out), 0);
    ck_assert_int_eq(fclose(out), 0);
}

static void find_log(void *arg, const char *name)
{
    if (strstr(name, ".log"))
        snprintf(arg, 200, "%s/%s", path, name);
}

/* As a sector that did not reach the disk. Negative: from the end. */
static void spoil_log(long at)
{
    char name[200] = "";
    ck_assert_int_eq(env.dir_list(env.ctx, path, find_log, name), 0);
    FILE *log = fopen(name, "r+");
    ck_assert_ptr_nonnull(log);
    ck_assert_int_eq(fseek(log, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    for (int i = 0; i < 512; i++)
        ck_assert_int_ne(fputc(0, log), EOF);
    ck_assert_int_eq(fclose(log), 0);
}

static void find_table(void *arg, const char *name)
{
    if (strstr(name, ".ldb"))
        snprintf(arg, 200, "%s/%s", path, name);
}

/* The index is the block in front of the last 48 bytes. */
static void spoil_index(void)
{
    char name[200] = "";
    ck_assert_int_eq(env.dir_list(env.ctx, path, find_table, name), 0);
    FILE *table = fopen(name, "r+");
    ck_assert_ptr_nonnull(table);
    ck_assert_int_eq(fseek(table, -48 - 16, SEEK_END), 0);
    ck_assert_int_ne(fputc('x', table), EOF);
    ck_assert_int_eq(fclose(table), 0);
}

static size_t count_salvaged(void)
{
    char key[32];
    size_t count = 0;
    struct l2_cart got;
    for (size_t i = 0; i < CARTS; i++) {
        key_of(i, key);
        ck_assert_int_eq(l2_get(l2, slice_str(key), &storage, &got), CE_NOTFOUND);
        int rc = l2_salvaged_get(l2, slice_str(key), &storage, &got);
        ck_assert(rc == 0 || rc == CE_NOTFOUND);
        count += rc == 0 && slice_eq(got.state, slice_str("state")) && got.actor == 2;
    }
    return count;
}

static bool take_event(void *arg, uint64_t number, struct slice key, struct slice value)
{
    *(bool *)arg =
        number == 7 && slice_eq(key, slice_str("cart:1")) && slice_eq(value, slice_str("an event"));
    return true;
}

static void expect_salvaged(void)
{
    bool event = false;
    size_t count;
    struct l2_place place = {0};
    ck_assert(l2_has_salvaged(l2));
    ck_assert(!l2_is_damaged(l2));
    ck_assert_uint_eq(count_salvaged(), CARTS);
    ck_assert_int_eq(l2_meta_get(l2, "own", &storage), 0);
    ck_assert_int_eq(l2_meta_get(l2, "complete", &storage), CE_NOTFOUND);
    ck_assert_int_eq(l2_meta_get(l2, "checkpoint", &storage), CE_NOTFOUND);
    ck_assert_int_eq(l2_walk(l2, L2_EVENTS, &place, 9, 9, take_event, &event, &count), 0);
    ck_assert(event);
}

START_TEST(what_can_be_read_is_kept_apart)
{
    l2_close(&l2);
    spoil_current();
    must_open(true);
    expect_salvaged();
    l2_close(&l2);
    must_open(false);
    expect_salvaged();
}
END_TEST

START_TEST(what_was_salvaged_before_is_salvaged_again_but_replaces_nothing)
{
    struct l2_cart newer = {1, 9, 3, 4, 5, slice_str("newer")}, got;
    l2_close(&l2);
    spoil_current();
    must_open(true);
    /* Both: as if repair had brought back what was deleted. */
    ck_assert_int_eq(l2_batch_put(batch, slice_str("cart:1"), &newer), 0);
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    l2_close(&l2);
    spoil_current();
    must_open(true);
    ck_assert_uint_eq(count_salvaged(), CARTS - 1);
    ck_assert_int_eq(l2_salvaged_get(l2, slice_str("cart:1"), &storage, &got), 0);
    ck_assert_uint_eq(got.actor, 9);
}
END_TEST

/* As a crash between the steps: what failed is finished at the next open. */
START_TEST(a_move_that_was_cut_in_two_is_finished)
{
    for (int done = 0; done < 2; done++) {
        bool moved_aside;
        l2_close(&l2);
        spoil_current();
        renames_left = done;
        ck_assert_int_eq(open_l2(&moved_aside), CE_NODISK);
        renames_left = -1;
        must_open(done == 0);
        expect_salvaged();
    }
}
END_TEST

START_TEST(damage_is_met_by_readers_and_mended_by_the_writer)
{
    struct l2_dbkey dbkey;
    struct l2_cart got;
    char *error = NULL;
    l2_dbkey_cart(&dbkey, L2_CART, slice_str("cart:1"));
    leveldb_put(l2->db, l2->write_options, dbkey.bytes, dbkey.len, "rot", 3, &error);
    ck_assert_ptr_null(error);
    ck_assert(!l2_is_damaged(l2));
    ck_assert_int_eq(l2_get(l2, slice_str("cart:1"), &storage, &got), CE_CORRUPT);
    ck_assert(l2_is_damaged(l2));
    ck_assert_int_eq(l2_rebuild(l2), 0);
    ck_assert(!l2_is_damaged(l2));
    ck_assert_uint_eq(count_salvaged(), CARTS); /* of the one that is damaged what it replaced */
    put_carts("again");
    ck_assert_int_eq(l2_get(l2, slice_str("cart:1"), &storage, &got), 0);
}
END_TEST

START_TEST(a_rebuild_that_fails_leaves_the_old_one_readable_or_goes_on)
{
    struct l2_cart got;
    renames_left = 0;
    ck_assert_int_eq(l2_rebuild(l2), CE_NODISK);
    ck_assert_int_eq(l2_get(l2, slice_str("cart:1"), &storage, &got), 0);
    renames_left = 1; /* the old one has gone, the new one has not come */
    ck_assert_int_eq(l2_rebuild(l2), CE_NODISK);
    ck_assert_int_eq(l2_get(l2, slice_str("cart:1"), &storage, &got), CE_IO);
    renames_left = -1;
    ck_assert_int_eq(l2_rebuild(l2), 0);
    expect_salvaged();
}
END_TEST

static void find_aside(void *arg, const char *name)
{
    if (strstr(name, ".broken-"))
        snprintf(arg, 200, "%s/%s", folder, name);
}

START_TEST(a_salvage_that_the_disk_fails_is_tried_again)
{
    bool moved_aside;
    l2_close(&l2);
    spoil_current();
    reads_fail = true;
    ck_assert_int_eq(open_l2(&moved_aside), CE_NODISK);
    ck_assert_int_eq(open_l2(&moved_aside), CE_IO);
    reads_fail = false;
    must_open(false);
    expect_salvaged();
}
END_TEST

START_TEST(what_could_not_be_written_is_not_lost)
{
    bool moved_aside;
    l2_close(&l2);
    spoil_current();
    suite_limit_files(8192);
    int first_rc = open_l2(&moved_aside);
    int again_rc = open_l2(&moved_aside);
    suite_limit_files(RLIM_INFINITY);
    ck_assert_int_eq(first_rc, CE_NODISK);
    ck_assert_int_eq(again_rc, CE_IO);
    must_open(false);
    expect_salvaged();
}
END_TEST

/* The new database fails before it has anything of the old one. */
START_TEST(what_was_not_salvaged_yet_is_when_its_successor_is_damaged)
{
    bool moved_aside;
    l2_close(&l2);
    spoil_current();
    reads_fail = true;
    ck_assert_int_eq(open_l2(&moved_aside), CE_NODISK);
    reads_fail = false;
    spoil_current();
    must_open(true);
    expect_salvaged();
}
END_TEST

START_TEST(what_was_moved_aside_and_taken_away_stops_nothing)
{
    char aside[200] = "";
    bool moved_aside;
    l2_close(&l2);
    spoil_current();
    reads_fail = true;
    ck_assert_int_eq(open_l2(&moved_aside), CE_NODISK);
    ck_assert_int_eq(env.dir_list(env.ctx, folder, find_aside, aside), 0);
    ck_assert_int_eq(nftw(aside, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    must_open(false);
    ck_assert_uint_eq(count_salvaged(), 0);
}
END_TEST

START_TEST(a_torn_batch_hides_nothing_that_it_would_have_replaced)
{
    static const long places[] = {100, -20000, -520}; /* of its first and its last part */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (i)
            put_carts("state");
        l2_close(&l2);
        must_open(false); /* LevelDB makes a table of what is in the log */
        put_carts("newer");
        l2_close(&l2);
        spoil_log(places[i]);
        must_open(true);
        expect_salvaged();
    }
}
END_TEST

START_TEST(damage_in_front_of_a_whole_batch_costs_nothing_behind_it)
{
    put_carts("state");
    l2_close(&l2);
    spoil_log(600);
    must_open(true);
    expect_salvaged();
}
END_TEST

/* It is met when the files are open already: by the look for salvaged carts, and, when the table
 * has keys behind it, by the look for what is to be salvaged. */
START_TEST(a_table_that_cannot_be_opened_is_damage)
{
    if (_i) {
        l2_batch_enter(batch, L2_EXPIRIES, 7, slice_str("cart:1"), slice_str(""));
        ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    }
    l2_close(&l2);
    must_open(false); /* LevelDB makes a table of what is in the log */
    put_carts("state");
    l2_close(&l2);
    spoil_index();
    must_open(true);
    expect_salvaged();
}
END_TEST

/* In a table those that were replaced come behind. */
START_TEST(the_newest_row_holds_and_what_was_deleted_stays_away)
{
    put_carts("older");
    put_carts("state");
    l2_batch_delete(batch, slice_str("cart:1"));
    l2_batch_leave(batch, L2_EVENTS, 7, slice_str("cart:1"));
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    l2_close(&l2);
    for (int in_table = 0; in_table < 2; in_table++) {
        struct l2_place place = {0};
        bool event = false;
        size_t count;
        if (in_table) {
            must_open(false);
            l2_close(&l2);
        }
        spoil_current();
        must_open(true);
        ck_assert_uint_eq(count_salvaged(), CARTS - 1);
        ck_assert_int_eq(l2_walk(l2, L2_EVENTS, &place, 9, 9, take_event, &event, &count), 0);
        ck_assert_uint_eq(count, 0);
        l2_close(&l2);
    }
    must_open(false);
}
END_TEST

static void drop_one(void *arg, struct slice key)
{
    (void)arg;
    l2_batch_unsalvage(batch, key);
}

START_TEST(nothing_is_kept_apart_when_all_are_known)
{
    struct buf cursor = {0};
    size_t count;
    ck_assert_int_eq(l2_rebuild(l2), 0);
    ck_assert_int_eq(l2_salvaged(l2, &cursor, 2 * CARTS, drop_one, NULL, &count), 0);
    ck_assert_uint_eq(count, CARTS);
    ck_assert(l2_has_salvaged(l2));
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    cursor.len = 0;
    ck_assert_int_eq(l2_salvaged(l2, &cursor, 2 * CARTS, drop_one, NULL, &count), 0);
    ck_assert_uint_eq(count, 0);
    ck_assert(!l2_has_salvaged(l2));
    buf_free(&cursor);
}
END_TEST

int main(void)
{
    const TTest *const all[] = {
        what_can_be_read_is_kept_apart,
        what_was_salvaged_before_is_salvaged_again_but_replaces_nothing,
        a_move_that_was_cut_in_two_is_finished,
        damage_is_met_by_readers_and_mended_by_the_writer,
        a_rebuild_that_fails_leaves_the_old_one_readable_or_goes_on,
        a_salvage_that_the_disk_fails_is_tried_again,
        what_could_not_be_written_is_not_lost,
        what_was_not_salvaged_yet_is_when_its_successor_is_damaged,
        what_was_moved_aside_and_taken_away_stops_nothing,
        a_torn_batch_hides_nothing_that_it_would_have_replaced,
        damage_in_front_of_a_whole_batch_costs_nothing_behind_it,
        the_newest_row_holds_and_what_was_deleted_stays_away,
        nothing_is_kept_apart_when_all_are_known,
    };
    Suite *suite = suite_create("l2_rebuild");
    TCase *tests = tcase_create("l2_rebuild");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
    tcase_add_loop_test(tests, a_table_that_cannot_be_opened_is_damage, 0, 2);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
