/* behind: random histories by hand, then its thread, against the fake database and SQLite. */
#include "lib/behind_world.h"
#include "lib/suite.h"

#include <check.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#define HISTORIES 150

static struct world *world;

static void set_up(void)
{
    world_set_up();
    world = world_get();
}

/* ---- anything at any time -------------------------------------------------- */

static uint32_t random_cart(void)
{
    return (uint32_t)(world_draw() % 60);
}

/* By hand, or an older copy of the database came back. A row that is made again by somebody else
 * goes on counting: a revision that comes twice with other content is beyond compare-and-swap. */
static void delete_row(uint32_t cart)
{
    world->rows[cart].present = false;
    world->rows[cart].mask = 0;
}

static void disturb(void)
{
    if (world_draw() % 4 == 0)
        world_change(random_cart(), 1ull << (world_draw() % 64));
    if (world_draw() % 8 == 0)
        world_write_foreign(random_cart(), 1ull << (world_draw() % 64));
    if (world_draw() % 64 == 0)
        delete_row(random_cart());
}

static void disturb_refill(void)
{
    for (int i = 0; i < 3; i++)
        disturb();
}

static void play(uint64_t seed)
{
    set_up();
    world->random = seed * 2 + 1;
    for (int i = 0; i < 10; i++)
        world_draw();
    world_remake(&world->env, 1 + world_draw() % 20, WORLD_DELAY_MS);
    world->behind->queue_max = 4 + world_draw() % 80;
    world->during_flush = disturb;
    world->after_refill = disturb_refill;
    world->join_ms = world_draw() % 3 * 400;
    for (int i = 0; i < 300; i++) {
        if (i % 50 == 0) {
            world->fault_percent = (unsigned)(world_draw() % 3 * 15);
            world->busy = world_draw() % 2;
            world->coming = world_draw() % 100;
            world->down = world_draw() % 4 == 0;
            world->read_only = world_draw() % 6 == 0;
            world->poison = world_draw() % 3 ? WORLD_NO_CART : random_cart();
            world->bad_load = world_draw() % 3 ? WORLD_NO_CART : random_cart();
        }
        disturb();
        world_run_for(world_draw() % 3000);
    }
    world->fault_percent = 0;
    world->down = world->read_only = false;
    world->poison = world->bad_load = WORLD_NO_CART;
    world->during_flush = world->after_refill = NULL;
    world_run_dry();
    for (uint32_t cart = 0; cart < WORLD_CARTS_MAX; cart++) {
        const struct world_held *held = &world->held[cart];
        const struct world_row *row = &world->rows[cart];
        ck_assert_msg(!held->marked, "seed %llu: cart %u was lost", (unsigned long long)seed, cart);
        /* what others did to a row after our last write is theirs */
        bool is_ours = held->present && held->l3_rev == row->rev && row->present;
        ck_assert_msg(!is_ours || row->mask == held->mask, "seed %llu: cart %u differs",
                      (unsigned long long)seed, cart);
    }
    for (uint32_t cart = 0; cart < WORLD_CARTS_MAX; cart++) {
        if (world->held[cart].present)
            world_change(cart, 0);
    }
    world_run_dry();
    for (uint32_t cart = 0; cart < WORLD_CARTS_MAX; cart++) {
        if (world->held[cart].present)
            world_expect_in_l3(cart);
    }
    ck_assert_uint_eq(world_stat("behind_queue"), 0);
    ck_assert_uint_eq(world_stat("behind_overflow"), 0);
    ck_assert_uint_eq(behind_age_ms(&world->behind, 1), 0);
}

/* BEHIND_SEED=n in the environment repeats the histories of a run. */
START_TEST(random_histories_converge)
{
    uint64_t seed = 0;
    ck_assert_int_eq(getrandom(&seed, sizeof seed, 0), (ssize_t)sizeof seed);
    const char *given = getenv("BEHIND_SEED");
    if (given)
        seed = strtoull(given, NULL, 10);
    printf("behind_thread_test: BEHIND_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout); /* a failure ends the process */
    for (uint64_t i = 0; i < HISTORIES; i++) {
        world_tear_down();
        play(seed + i);
    }
}
END_TEST

/* ---- the thread ------------------------------------------------------------ */

static void remake_real(unsigned delay_ms)
{
    world_remake(env_real(), 50, delay_ms);
}

START_TEST(drain_ignores_the_delay)
{
    remake_real(3600 * 1000);
    world_change_all(0, 200);
    ck_assert_int_eq(behind_start(world->behind), 0);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), CE_BUSY);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 60000), 0);
    world_expect_all_in_l3(0, 200);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), 0); /* nothing to wait for */
}
END_TEST

START_TEST(drain_tries_parked_carts_once_more)
{
    remake_real(0);
    world->poison = 3;
    world_change_all(0, 5);
    for (int i = 0; i < 8; i++) { /* by hand: fails alone, is parked, and again */
        lock_take(&world->behind->lock);
        world->behind->retry_at_ms = 0;
        behind_queue_recall(&world->behind->queue, env_mono_ms(env_real()));
        lock_drop(&world->behind->lock);
        behind_turn(world->behind);
    }
    ck_assert_uint_eq(world_stat("behind_parked"), 1);
    world->poison = WORLD_NO_CART;
    world->behind->queue.places[BEHIND_PARKED]->due_ms += 3600 * 1000;
    ck_assert_int_eq(behind_start(world->behind), 0);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 60000), 0);
    world_expect_all_in_l3(0, 5);
}
END_TEST

START_TEST(drain_gives_up_in_time)
{
    remake_real(0);
    world->down = true;
    world_change(1, 1);
    ck_assert_int_eq(behind_start(world->behind), 0);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 30), CE_BUSY);
    ck_assert_uint_eq(world_stat("behind_queue"), 1);
}
END_TEST

START_TEST(drain_waits_for_what_is_only_marked)
{
    remake_real(3600 * 1000);
    world->behind->queue_max = 10;
    world_change_all(0, 100);
    ck_assert_int_eq(behind_start(world->behind), 0);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 60000), 0);
    world_expect_all_in_l3(0, 100);
}
END_TEST

static sem_t written;

static void post_written(void *ctx, struct slice key, struct slice state, uint32_t rev)
{
    (void)ctx;
    (void)key;
    (void)state;
    (void)rev;
    sem_post(&written);
}

/* A thread that tells of each cart it has written. */
static void start_telling(void)
{
    ck_assert_int_eq(sem_init(&written, 0, 0), 0);
    world->owner.flushed = post_written;
    remake_real(0);
    ck_assert_int_eq(behind_start(world->behind), 0);
}

START_TEST(an_add_wakes_an_idle_thread)
{
    start_telling();
    for (uint32_t i = 0; i < 200; i++) {
        world_change(i, 1);
        ck_assert_int_eq(sem_wait(&written), 0); /* or the test's time-out */
    }
}
END_TEST

START_TEST(a_key_that_was_not_added_wakes_an_idle_thread)
{
    start_telling();
    for (uint32_t i = 0; i < 20; i++) {
        world->held[i] = (struct world_held){.present = true, .marked = true, .mask = 5};
        behind_missed(world->behind);
        ck_assert_int_eq(sem_wait(&written), 0); /* or the test's time-out */
    }
    ck_assert_int_eq(behind_drain(&world->behind, 1, 60000), 0); /* its scan is over */
}
END_TEST

START_TEST(stop_does_not_wait_for_the_database)
{
    remake_real(0);
    world->down = true;
    world_change(1, 1);
    world->behind->streak = 30; /* the next pause is 2.5 s or more */
    ck_assert_int_eq(behind_start(world->behind), 0);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 20), CE_BUSY);
    uint64_t begin_ms = env_mono_ms(env_real());
    behind_stop(&world->behind);
    ck_assert_ptr_null(world->behind);
    ck_assert_uint_lt(env_mono_ms(env_real()) - begin_ms, 2000);
}
END_TEST

START_TEST(stop_before_start)
{
    world_change(1, 1);
    behind_stop(&world->behind);
    ck_assert_ptr_null(world->behind);
    behind_stop(&world->behind);
}
END_TEST

/* ---- the thread and SQLite ------------------------------------------------- */

static bool never_busy(void *ctx, size_t *coming)
{
    (void)ctx, (void)coming;
    return false;
}

static int snapshot_number(void *ctx, struct slice key, struct buf *state, uint32_t *l3_rev)
{
    (void)ctx;
    *l3_rev = 0;
    return buf_append(state, key.bytes, key.len);
}

static int describe_number(void *ctx, struct slice key, struct slice state, struct buf *arena,
                           struct l3_cart *out)
{
    (void)ctx;
    (void)key;
    struct l3_line line = {.line = state, .sku = state, .qty = 1};
    int err = buf_append(arena, &line, sizeof line);
    *out = (struct l3_cart){.image = state, .qty = 1, .lines_count = 1};
    out->lines = (const struct l3_line *)(const void *)arena->bytes;
    return err;
}

/* Every cart is written as new, so one that was written already is a conflict with itself. */
static int merge_number(void *ctx, struct slice key, struct slice image, uint32_t rev)
{
    (void)ctx;
    (void)key;
    (void)image;
    (void)rev;
    return CE_CORRUPT;
}

static void count_flushed(void *ctx, struct slice key, struct slice state, uint32_t rev)
{
    (void)key;
    (void)state;
    (void)rev;
    atomic_fetch_add((_Atomic int *)ctx, 1);
}

static int refill_nothing(void *ctx, size_t max)
{
    (void)ctx;
    (void)max;
    return CE_NOTFOUND;
}

static void *add_numbers(void *arg)
{
    char key[WORLD_KEY_MAX];
    uint32_t from = *(uint32_t *)arg;
    for (uint32_t i = from; i < from + 500; i++)
        behind_add(world->behind, world_key(i, key), env_mono_ms(env_real()));
    return NULL;
}

static int count_row(void *arg, struct slice key, uint32_t rev, struct slice image)
{
    ck_assert_uint_eq(rev, 1);
    ck_assert(slice_eq(key, image));
    ++*(int *)arg;
    return 0;
}

START_TEST(threads_add_and_sqlite_has_all)
{
    char dir[] = "/tmp/behind_test.XXXXXX";
    char path[64], url[96], message[256];
    _Atomic int flushed = 0;
    world_tear_down();
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(url, sizeof url, "sqlite:%s/carts.db", dir);
    struct behind_owner owner = {.ctx = &flushed,
                                 .busy = never_busy,
                                 .snapshot = snapshot_number,
                                 .row = describe_number,
                                 .merge = merge_number,
                                 .flushed = count_flushed,
                                 .refill = refill_nothing};
    struct behind_config config = {.env = env_real(),
                                   .owner = &owner,
                                   .url = url,
                                   .delay_ms = 1,
                                   .batch_max = 100,
                                   .queue_max = BEHIND_QUEUE_MAX};
    ck_assert_int_eq(behind_new(&config, &world->behind), 0);
    ck_assert_int_eq(behind_start(world->behind), 0);
    pthread_t threads[4];
    uint32_t from[4] = {0, 500, 1000, 1500};
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(thread_start(&threads[i], "adder", add_numbers, &from[i]), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 60000), 0);
    ck_assert_uint_eq(world_stat("behind_flushed"), 2000);
    behind_stop(&world->behind);
    ck_assert_int_eq(flushed, 2000);

    struct l3 *l3;
    int rows = 0;
    ck_assert_int_eq(l3_open(url, &l3, message, sizeof message), 0);
    ck_assert_int_eq(l3_each(l3, count_row, &rows), 0);
    ck_assert_int_eq(rows, 2000);
    l3_close(&l3);
    snprintf(path, sizeof path, "%s/carts.db", dir);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(dir), 0); /* SQLite has cleaned up its log */
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("behind_thread");
    TCase *tcase = tcase_create("thread");
    tcase_add_checked_fixture(tcase, set_up, world_tear_down);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, drain_ignores_the_delay);
    tcase_add_test(tcase, drain_tries_parked_carts_once_more);
    tcase_add_test(tcase, drain_gives_up_in_time);
    tcase_add_test(tcase, drain_waits_for_what_is_only_marked);
    tcase_add_test(tcase, an_add_wakes_an_idle_thread);
    tcase_add_test(tcase, a_key_that_was_not_added_wakes_an_idle_thread);
    tcase_add_test(tcase, stop_does_not_wait_for_the_database);
    tcase_add_test(tcase, stop_before_start);
    tcase_add_test(tcase, threads_add_and_sqlite_has_all);
    tcase_add_test(tcase, random_histories_converge);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return suite_run(make_suite());
}
