/* Copies of l2 as of one moment, on a real LevelDB in a folder of its own. */
#include "tier/l2/l2.h"
#include "lib/suite.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64], path[128], copy_path[128];
static struct l2 *l2;
static struct l2_batch *batch;
static struct buf storage;

static void must_open(const char *where)
{
    struct l2_config config = {.env = env_real(), .path = where};
    bool moved_aside = true;
    ck_assert_int_eq(l2_open(&config, &l2, &moved_aside), 0);
    ck_assert(!moved_aside);
}

static void set_up(void)
{
    log_level_set(LOG_ERROR - 1);
    snprintf(folder, sizeof folder, "/tmp/l2_copy_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/l2", folder);
    snprintf(copy_path, sizeof copy_path, "%s/copy", folder);
    must_open(path);
    ck_assert_int_eq(l2_batch_new(&batch), 0);
}

static int remove_entry(const char *name, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(name);
}

static void tear_down(void)
{
    l2_close(&l2);
    l2_batch_free(&batch);
    buf_free(&storage);
    ck_assert_int_eq(nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void put_cart(const char *key, struct slice state)
{
    const struct l2_cart cart = {1, 2, 3, 4, 5, state};
    ck_assert_int_eq(l2_batch_put(batch, slice_str(key), &cart), 0);
}

static void commit(void)
{
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
}

static void expect_cart(const char *key, struct slice state)
{
    struct l2_cart cart;
    ck_assert_int_eq(l2_get(l2, slice_str(key), &storage, &cart), 0);
    ck_assert_uint_eq(cart.actor, 2);
    ck_assert_uint_eq(cart.lsn, 5);
    ck_assert(slice_eq(cart.state, state));
}

static int count_carts(void *ctx, uint64_t carts)
{
    *(uint64_t *)ctx += carts;
    return 0;
}

static int refuse_step(void *ctx, uint64_t carts)
{
    (void)ctx, (void)carts;
    return CE_STOPPED;
}

/* Takes the place of the database that was copied. */
static void open_copy(void)
{
    l2_close(&l2);
    must_open(copy_path);
}

static bool is_event(void *arg, uint64_t number, struct slice key, struct slice value)
{
    (void)arg;
    return number == 7 && slice_eq(key, slice_str("a")) && slice_eq(value, slice_str("event"));
}

START_TEST(copy_has_what_the_view_has)
{
    struct l2_view *view;
    struct l2_cart none;
    struct l2_place place = {0};
    uint64_t carts = 0;
    size_t events;
    bool marked = false;
    put_cart("a", slice_str("old"));
    put_cart("b", slice_str("kept"));
    l2_batch_mark(batch, slice_str("b"));
    l2_batch_enter(batch, L2_EVENTS, 7, slice_str("a"), slice_str("event"));
    l2_batch_meta(batch, "checkpoint", slice_str("42"));
    l2_batch_meta(batch, "complete", slice_str("1"));
    l2_batch_meta(batch, "l3", slice_str("sqlite:here"));
    commit();
    ck_assert_int_eq(l2_view_take(l2, &view), 0);
    put_cart("a", slice_str("new"));
    put_cart("c", slice_str("later"));
    commit();
    ck_assert_int_eq(l2_copy(l2, view, copy_path, count_carts, &carts), 0);
    l2_view_drop(l2, &view);
    ck_assert_ptr_null(view);
    ck_assert_uint_eq(carts, 2);
    expect_cart("a", slice_str("new"));
    open_copy();
    expect_cart("a", slice_str("old"));
    expect_cart("b", slice_str("kept"));
    ck_assert_int_eq(l2_get(l2, slice_str("c"), &storage, &none), CE_NOTFOUND);
    ck_assert_int_eq(l2_is_marked(l2, slice_str("b"), &marked), 0);
    ck_assert(marked);
    ck_assert_int_eq(l2_walk(l2, L2_EVENTS, &place, UINT64_MAX, 9, is_event, NULL, &events), 0);
    ck_assert_uint_eq(events, 1);
    ck_assert_int_eq(l2_meta_get(l2, "checkpoint", &storage), 0);
    ck_assert(slice_eq(buf_slice(&storage), slice_str("42")));
    ck_assert_int_eq(l2_meta_get(l2, "complete", &storage), CE_NOTFOUND);
    ck_assert_int_eq(l2_meta_get(l2, "l3", &storage), CE_NOTFOUND);
}
END_TEST

START_TEST(copy_of_many_parts_is_whole)
{
    enum { CARTS = 3000, BYTES = 1000 }; /* three parts */
    static char state[BYTES];
    char key[16];
    struct l2_view *view;
    uint64_t carts = 0;
    memset(state, 'x', sizeof state);
    for (int i = 0; i < CARTS; i++) {
        snprintf(key, sizeof key, "k%d", i);
        put_cart(key, slice_of(state, sizeof state));
    }
    commit();
    ck_assert_int_eq(l2_view_take(l2, &view), 0);
    ck_assert_int_eq(l2_copy(l2, view, copy_path, count_carts, &carts), 0);
    l2_view_drop(l2, &view);
    ck_assert_uint_eq(carts, CARTS);
    open_copy();
    for (int i = 0; i < CARTS; i++) {
        snprintf(key, sizeof key, "k%d", i);
        expect_cart(key, slice_of(state, sizeof state));
    }
}
END_TEST

START_TEST(copy_ends_when_it_is_not_wanted)
{
    struct l2_view *view;
    put_cart("a", slice_str("state"));
    commit();
    ck_assert_int_eq(l2_view_take(l2, &view), 0);
    ck_assert_int_eq(l2_copy(l2, view, copy_path, refuse_step, NULL), CE_STOPPED);
    l2_view_drop(l2, &view);
}
END_TEST

START_TEST(view_of_a_database_that_was_begun_anew_is_refused)
{
    struct l2_view *view;
    uint64_t carts = 0;
    put_cart("a", slice_str("state"));
    commit();
    ck_assert_int_eq(l2_view_take(l2, &view), 0);
    ck_assert_int_eq(l2_rebuild(l2), 0);
    ck_assert_int_eq(l2_copy(l2, view, copy_path, count_carts, &carts), CE_BUSY);
    ck_assert_uint_eq(carts, 0);
    l2_view_drop(l2, &view);
}
END_TEST

/* What is lost LeakSanitizer tells. */
START_TEST(views_end_in_any_order)
{
    struct l2_view *views[4];
    uint64_t carts = 0;
    put_cart("a", slice_str("state"));
    commit();
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(l2_view_take(l2, &views[i]), 0);
    l2_view_drop(l2, &views[1]);
    l2_view_drop(l2, &views[3]);
    ck_assert_ptr_null(views[3]);
    ck_assert_int_eq(l2_copy(l2, views[0], copy_path, count_carts, &carts), 0);
    ck_assert_uint_eq(carts, 1);
    ck_assert_int_eq(l2_rebuild(l2), 0);
    l2_view_drop(l2, &views[0]);
    ck_assert_int_eq(l2_view_take(l2, &views[1]), 0);
    l2_view_drop(l2, &views[2]);
    l2_view_drop(l2, &views[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("l2_copy");
    TCase *tests = tcase_create("l2_copy");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, copy_has_what_the_view_has);
    tcase_add_test(tests, copy_of_many_parts_is_whole);
    tcase_add_test(tests, copy_ends_when_it_is_not_wanted);
    tcase_add_test(tests, view_of_a_database_that_was_begun_anew_is_refused);
    tcase_add_test(tests, views_end_in_any_order);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
