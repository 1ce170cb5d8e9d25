/* l2_settle and l2_batch_shrink: what L2 keeps in memory while nothing is to be written. */
#include "tier/l2/l2.h"
#include "lib/suite.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];
static struct l2 *l2;
static struct l2_batch *batch;
static struct buf storage;
static unsigned tables; /* that count_table has met */

static void open_l2(void)
{
    bool moved_aside;
    struct l2_config config = {.env = env_real(), .path = folder};
    ck_assert_int_eq(l2_open(&config, &l2, &moved_aside), 0);
    ck_assert(!moved_aside);
}

static void set_up(void)
{
    snprintf(folder, sizeof folder, "/tmp/l2_settle_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    open_l2();
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

static int count_table(const char *name, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    size_t len = strlen(name);
    tables += len > 4 && strcmp(name + len - 4, ".ldb") == 0;
    return 0;
}

static unsigned count_tables(void)
{
    tables = 0;
    ck_assert_int_eq(nftw(folder, count_table, 8, FTW_PHYS), 0);
    return tables;
}

static void put(const char *key, size_t bytes, uint8_t fill)
{
    static uint8_t state[1024];
    memset(state, fill, sizeof state);
    struct l2_cart cart = {1, 2, 3, 4, 5, slice_of(state, bytes)};
    ck_assert_int_eq(l2_batch_put(batch, slice_str(key), &cart), 0);
}

static void put_kilobytes(unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++) {
        char key[16];
        snprintf(key, sizeof key, "cart:%u", i);
        put(key, 1024, (uint8_t)i);
    }
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
}

static void expect(const char *key, size_t bytes, uint8_t fill)
{
    struct l2_cart got;
    ck_assert_int_eq(l2_get(l2, slice_str(key), &storage, &got), 0);
    ck_assert_uint_eq(got.state.len, bytes);
    ck_assert_uint_eq(got.state.bytes[0], fill);
}

START_TEST(what_was_written_is_in_a_table_when_it_has_settled)
{
    l2_settle(l2);
    put_kilobytes(0, 100);
    l2_settle(l2); /* too little */
    ck_assert_uint_eq(count_tables(), 0);
    put_kilobytes(100, 600);
    ck_assert_uint_eq(count_tables(), 0);
    l2_settle(l2);
    ck_assert_uint_eq(count_tables(), 1);
    l2_settle(l2); /* nothing new */
    ck_assert_uint_eq(count_tables(), 1);
    put("cart:1", 5, 'n');
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    l2_close(&l2);
    open_l2();
    expect("cart:1", 5, 'n');
    expect("cart:0", 1024, 0);
    expect("cart:99", 1024, 99);
    expect("cart:699", 1024, (uint8_t)699);
}
END_TEST

START_TEST(a_batch_that_is_not_empty_does_not_shrink)
{
    l2_batch_shrink(batch);
    put("cart:1", 5, 'k');
    l2_batch_shrink(batch);
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    l2_batch_shrink(batch);
    expect("cart:1", 5, 'k');
    put("cart:2", 6, 'k');
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    expect("cart:2", 6, 'k');
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("l2 settle");
    TCase *tests = tcase_create("settle");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, what_was_written_is_in_a_table_when_it_has_settled);
    tcase_add_test(tests, a_batch_that_is_not_empty_does_not_shrink);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
