/* behind: its turns, driven by a fake clock against a database that fails on demand. */
#include "lib/behind_world.h"
#include "lib/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct world *world;

static void set_up(void)
{
    world_set_up();
    world = world_get();
}

/* The pause before try `n` (1 = first repeat) lies in the upper half of the doubled figure. */
static void expect_pause(uint64_t pause_ms, unsigned n, uint64_t first_ms, uint64_t max_ms)
{
    uint64_t full_ms = first_ms << (n - 1) < max_ms ? first_ms << (n - 1) : max_ms;
    ck_assert_msg(pause_ms >= full_ms / 2 && pause_ms <= full_ms, "pause %u: %llu of %llu", n,
                  (unsigned long long)pause_ms, (unsigned long long)full_ms);
}

/* ---- the plain way --------------------------------------------------------- */

START_TEST(a_cart_is_written_once_after_its_delay)
{
    world_change(7, 1);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(behind_turn(world->behind), (unsigned)(WORLD_DELAY_MS - 100 * i));
        world->now_ms += 100;
        world_change(7, 2ull << i); /* coalesces, and moves nothing */
    }
    ck_assert_uint_eq(world->batches_count, 0);
    ck_assert_uint_eq(world_stat("behind_queue"), 1);
    ck_assert_uint_eq(behind_age_ms(&world->behind, 1), 400);
    world->now_ms += 99;
    ck_assert_uint_eq(behind_turn(world->behind), 1);
    world->now_ms += 1;
    ck_assert_uint_eq(behind_turn(world->behind), BEHIND_IDLE);
    ck_assert_uint_eq(world->batches_count, 1);
    ck_assert_uint_eq(world->flushed_calls, 1);
    ck_assert_uint_eq(world->rows[7].mask, 0x1f);
    world_expect_in_l3(7);
    ck_assert_uint_eq(behind_age_ms(&world->behind, 1), 0);
    ck_assert_uint_eq(world_stat("behind_queue"), 0);
    ck_assert_uint_eq(world_stat("behind_flushed"), 1);
    ck_assert_uint_eq(world_stat("behind_batches"), 1);
    ck_assert_uint_eq(world_stat("behind_age_ms"), 0);

    world_change(7, 1ull << 40); /* and again */
    ck_assert_uint_eq(world_run_dry(), WORLD_DELAY_MS);
    world_expect_in_l3(7);
    ck_assert_uint_eq(world->rows[7].rev, 2);
}
END_TEST

START_TEST(batches_are_bounded)
{
    world_remake(&world->env, 10, WORLD_DELAY_MS);
    for (uint32_t i = 25; i-- > 0;) /* l3_flush insists on sorted keys */
        world_change(i, 1);
    world_run_dry();
    ck_assert_uint_eq(world->batches_count, 3);
    ck_assert_uint_eq(world->batches[0], 10);
    ck_assert_uint_eq(world->batches[1], 10);
    ck_assert_uint_eq(world->batches[2], 5);
    world_expect_all_in_l3(0, 25);
}
END_TEST

/* All that wait when the first is due are a run; what comes later is behind it. */
START_TEST(a_long_queue_is_written_in_the_order_of_keys)
{
    world_remake(&world->env, 10, WORLD_DELAY_MS);
    for (uint32_t i = 0; i < 25; i++)
        world_change(7 * i % 25, 1);
    world->now_ms += WORLD_DELAY_MS;
    behind_turn(world->behind);
    world_expect_all_in_l3(0, 10);
    ck_assert(!world->rows[10].present);
    world->now_ms += 100;
    world_change(0, 2); /* comes first by its key, but too late */
    ck_assert_uint_eq(behind_turn(world->behind), 0);
    world_expect_all_in_l3(10, 20);
    ck_assert_uint_eq(behind_age_ms(&world->behind, 1), WORLD_DELAY_MS + 100);
    behind_turn(world->behind);
    world_expect_all_in_l3(20, 25);
    ck_assert_uint_eq(world->rows[0].mask, 1);
    ck_assert_uint_eq(behind_age_ms(&world->behind, 1), 1); /* it came now, and is not in L3 */
    ck_assert_uint_eq(world_stat("behind_queue"), 1);
    ck_assert_uint_eq(world_run_dry(), WORLD_DELAY_MS);
    ck_assert_uint_eq(world->rows[0].mask, 3);
}
END_TEST

/* Keys of all kinds: with much, little or nothing in common, in front of one another, with bytes of
 * the lowest and highest value. */
START_TEST(keys_are_sorted_as_bytes)
{
    static const uint8_t bytes[] = {0x00, 0x01, 'a', 0xff};
    static const size_t common[] = {0, 1, 12, 40};
    for (size_t round = 0; round < 40; round++) {
        struct behind_queue queue = {0};
        uint8_t key[60] = {'c', 'a', 'r', 't', 0};
        size_t pushed = 0;
        for (int i = 0; i < 200; i++) {
            size_t len = common[round % 4];
            size_t end = len + 1 + (size_t)rand() % 18;
            while (len < end)
                key[len++] = bytes[(size_t)rand() % sizeof bytes];
            if (behind_queue_find(&queue, slice_of(key, len)))
                continue;
            ck_assert_ptr_nonnull(behind_queue_push(&queue, slice_of(key, len), 1, 1));
            pushed++;
        }
        behind_queue_sort(&queue, pushed);
        struct behind_entry *entry = queue.places[BEHIND_QUEUED];
        ck_assert_ptr_null(entry->prev->next);
        for (; entry->next; entry = entry->next, pushed--) {
            ck_assert_ptr_eq(entry->next->prev, entry);
            ck_assert_int_lt(slice_cmp(slice_of(entry->key, entry->key_len),
                                       slice_of(entry->next->key, entry->next->key_len)),
                             0);
        }
        ck_assert_uint_eq(pushed, 1);
        behind_queue_clear(&queue);
    }
}
END_TEST

START_TEST(batches_are_bounded_in_bytes)
{
    world->pad_bytes = BEHIND_BATCH_BYTES / 2; /* the second state passes the limit */
    world_change_all(0, 5);
    world_run_dry();
    ck_assert_uint_eq(world->batches_count, 3);
    ck_assert_uint_eq(world->batches[0], 2);
    ck_assert_uint_eq(world->batches[1], 2);
    ck_assert_uint_eq(world->batches[2], 1);
    world_expect_all_in_l3(0, 5);
    world->pad_bytes = BEHIND_BATCH_BYTES * 2; /* a single one beyond it goes too */
    world_change(0, 2);
    world_run_dry();
    world_expect_in_l3(0);
}
END_TEST

START_TEST(the_database_is_opened_without_work)
{
    ck_assert_uint_eq(behind_turn(world->behind), BEHIND_IDLE);
    ck_assert_uint_eq(world->opens, 1);
    ck_assert_uint_eq(behind_turn(world->behind), BEHIND_IDLE);
    ck_assert_uint_eq(world->opens, 1);
}
END_TEST

START_TEST(a_cart_in_no_tier_is_dropped)
{
    char key[WORLD_KEY_MAX];
    behind_add(world->behind, world_key(3, key), world->now_ms);
    world_change(4, 1);
    world_run_dry();
    ck_assert_uint_eq(world->batches_count, 1);
    ck_assert_uint_eq(world->batches[0], 1);
    ck_assert(!world->rows[3].present);
    world_expect_in_l3(4);
    ck_assert_uint_eq(world_stat("behind_queue"), 0);
}
END_TEST

static void change_in_flight(void)
{
    world->during_flush = NULL;
    world_change(1, 1ull << 9);
}

static void change_two_in_flight(void)
{
    world->during_flush = NULL;
    world_change(1, 1ull << 9);
    world_change(2, 1ull << 9);
}

START_TEST(a_change_in_flight_is_written_later)
{
    world->during_flush = change_in_flight;
    world_change(1, 1);
    world_change(2, 1);
    world->now_ms += WORLD_DELAY_MS;
    ck_assert_uint_eq(behind_turn(world->behind), WORLD_DELAY_MS);
    ck_assert_uint_eq(world->rows[1].mask, 1);
    ck_assert(world->held[1].marked);
    ck_assert_uint_eq(world_stat("behind_queue"), 1);
    ck_assert_uint_eq(world_run_dry(), WORLD_DELAY_MS);
    world_expect_all_in_l3(1, 3);
    ck_assert_uint_eq(world->rows[1].mask, 1 | 1ull << 9);
    ck_assert_uint_eq(world->rows[1].rev, 2);
    ck_assert_uint_eq(world->rows[2].rev, 1);
}
END_TEST

START_TEST(a_rewrite_knows_its_own_revision)
{
    world->during_flush = change_in_flight;
    world_change(1, 1);
    world->now_ms += WORLD_DELAY_MS;
    behind_turn(world->behind);
    world->held[1].l3_rev = 0; /* the changed state went to L2 before it was known */
    ck_assert_uint_eq(world_run_dry(), WORLD_DELAY_MS);
    world_expect_in_l3(1);
    ck_assert_uint_eq(world_stat("behind_conflicts"), 0);
}
END_TEST

/* ---- conflicts ------------------------------------------------------------- */

START_TEST(a_conflict_is_merged_and_written_again)
{
    world_write_foreign(1, 0xf0);
    world_change(1, 0x0f);
    world_change(2, 1);
    ck_assert_uint_eq(world_run_dry(), 2 * WORLD_DELAY_MS);
    ck_assert_uint_eq(world->rows[1].mask, 0xff);
    ck_assert_uint_eq(world->rows[1].rev, 2);
    world_expect_all_in_l3(1, 3);
    ck_assert_uint_eq(world->rows[2].rev, 1); /* was not written twice */
    ck_assert_uint_eq(world_stat("behind_conflicts"), 1);
    ck_assert_uint_eq(world_stat("behind_errors"), 0);
}
END_TEST

START_TEST(a_row_that_is_gone_is_made_again)
{
    world->held[1].l3_rev = 12; /* an older copy of the database came back */
    world->rows[2] = (struct world_row){true, 0x8, 3};
    world->held[2].l3_rev = 9;
    world_change(1, 1);
    world_change(2, 1);
    ck_assert_uint_eq(world_run_dry(), 2 * WORLD_DELAY_MS);
    world_expect_all_in_l3(1, 3);
    ck_assert_uint_eq(world->rows[1].rev, 1);
    ck_assert_uint_eq(world->rows[2].mask, 0x9);
    ck_assert_uint_eq(world->rows[2].rev, 4);
}
END_TEST

/* Written, changed meanwhile, so still queued; then the row goes, or comes back older. */
START_TEST(a_rewritten_row_may_be_gone)
{
    world->held[2].l3_rev = world->rows[2].rev = 7;
    world->rows[2].present = true;
    world->during_flush = change_two_in_flight;
    world_change_all(1, 3);
    world->now_ms += WORLD_DELAY_MS;
    ck_assert_uint_eq(behind_turn(world->behind), WORLD_DELAY_MS);
    ck_assert_uint_eq(world->rows[1].rev, 1);
    ck_assert_uint_eq(world->rows[2].rev, 8);
    world->rows[1] = (struct world_row){0};
    world->rows[2] = (struct world_row){true, 0x40, 3};
    ck_assert_uint_eq(world_run_dry(), 2 * WORLD_DELAY_MS);
    world_expect_all_in_l3(1, 3);
    ck_assert_uint_eq(world->rows[1].rev, 1);
    ck_assert_uint_eq(world->rows[2].rev, 4);
    ck_assert_uint_eq(world->rows[2].mask, 0x41 | 1ull << 9);
}
END_TEST

START_TEST(a_drain_waits_for_the_joined_state)
{
    world_remake(&world->env, 10, 0);
    world->join_ms = 30;
    world_write_foreign(1, 0xf0);
    world_change(1, 0x0f);
    world->behind->drains = 1; /* as a thread in behind_drain does */
    ck_assert_uint_eq(world_run_dry(), BEHIND_JOIN_MS);
    world->behind->drains = 0;
    ck_assert_uint_eq(world->batches_count, 2);
    ck_assert_uint_eq(world->rows[1].mask, 0xff);
    world_expect_in_l3(1);
}
END_TEST

static void rival(void)
{
    world_write_foreign(1, 1ull << (world_draw() % 64));
}

START_TEST(an_endless_conflict_does_not_spin)
{
    world->during_flush = rival; /* the row moves on between every load and flush */
    world_change(1, 1);
    world_run_for(5000);
    ck_assert_uint_ge(world->batches_count, 8);
    ck_assert_uint_le(world->batches_count, 10); /* one a delay, in 5000 ms */
    world_change(2, 1);
    world_run_for(WORLD_DELAY_MS + 1);
    world_expect_in_l3(2);
    world->during_flush = NULL;
    world_run_dry();
    world_expect_in_l3(1);
    ck_assert_uint_eq(world_stat("behind_parked"), 0);
}
END_TEST

START_TEST(a_commit_without_reply_converges)
{
    world->lost_replies = 2;
    world_change_all(1, 4);
    world_run_dry();
    world_expect_all_in_l3(1, 4);
    ck_assert_uint_eq(world_stat("behind_errors"), 2);
    ck_assert_uint_ge(world_stat("behind_conflicts"), 3);
    ck_assert_uint_eq(world_stat("behind_parked"), 0);
}
END_TEST

/* ---- failures -------------------------------------------------------------- */

START_TEST(pauses_grow_to_a_bound)
{
    world->down = true;
    world_change(1, 1);
    world->now_ms += WORLD_DELAY_MS;
    world_run_for(60000);
    ck_assert_uint_ge(world->opens, 15);
    for (unsigned i = 1; i < world->opens; i++)
        expect_pause(world->open_ms[i] - world->open_ms[i - 1], i, 100, 5000);
    ck_assert_uint_eq(world_stat("behind_errors"), world->opens);
    ck_assert_uint_eq(world_stat("behind_parked"), 0); /* nobody is to blame */
    ck_assert_uint_eq(behind_age_ms(&world->behind, 1), 60000 + WORLD_DELAY_MS);
    world->down = false;
    ck_assert_uint_le(world_run_dry(), 5000);
    world_expect_in_l3(1);

    world->down = true; /* the next outage starts small again */
    world->read_only = true;
    world_change_all(2, 4);
    world->now_ms += WORLD_DELAY_MS;
    behind_turn(world->behind); /* this flush fails and closes */
    uint64_t failed_ms = world->now_ms;
    world->opens = 0;
    world_run_for(300);
    ck_assert_uint_ge(world->opens, 2);
    expect_pause(world->open_ms[0] - failed_ms, 1, 100, 5000);
    expect_pause(world->open_ms[1] - world->open_ms[0], 2, 100, 5000);
}
END_TEST

START_TEST(the_breaker_says_where_it_is)
{
    ck_assert_str_eq(world_stat_text("behind_breaker"), "closed");
    ck_assert_str_eq(world_stat_text("behind_last_error"), "none");
    world->down = true;
    world_change(1, 1);
    ck_assert_uint_gt(behind_turn(world->behind), 0); /* the first try fails */
    ck_assert_str_eq(world_stat_text("behind_breaker"), "open");
    ck_assert_str_eq(world_stat_text("behind_last_error"), "down");
    uint64_t retry_ms = world_stat("behind_retry_ms");
    ck_assert(retry_ms >= 50 && retry_ms <= 100);
    world->now_ms += retry_ms;
    ck_assert_str_eq(world_stat_text("behind_breaker"), "half-open");
    ck_assert_uint_eq(world_stat("behind_retry_ms"), 0);
    world->down = false;
    world->now_ms += WORLD_DELAY_MS;
    behind_turn(world->behind);
    ck_assert_str_eq(world_stat_text("behind_breaker"), "closed");
    ck_assert_str_eq(world_stat_text("behind_last_error"), "down"); /* for who looks later */
    world_expect_in_l3(1);
}
END_TEST

/* What behind_stats says of two connections. */
struct told {
    char breaker[32];
    uint64_t errors, errors_of_second;
};

static void tell_number(void *ctx, const char *name, uint64_t value)
{
    struct told *told = ctx;
    if (strcmp(name, "behind_errors") == 0)
        told->errors = value;
    if (strcmp(name, "behind_2_errors") == 0)
        told->errors_of_second = value;
}

static void tell_text(void *ctx, const char *name, const char *value)
{
    struct told *told = ctx;
    if (strcmp(name, "behind_breaker") == 0)
        snprintf(told->breaker, sizeof told->breaker, "%s", value);
}

START_TEST(of_several_connections_the_worst_breaker_is_told)
{
    struct behind *other;
    struct behind_config config = {.env = &world->env,
                                   .owner = &world->owner,
                                   .url = "unknown:",
                                   .batch_max = 1,
                                   .queue_max = 1};
    ck_assert_int_eq(behind_new(&config, &other), 0);
    behind_turn(world->behind);
    behind_turn(other); /* nobody knows such a database */
    struct behind *both[] = {world->behind, other};
    struct told told = {.errors = 0};
    struct stat_sink sink = {tell_number, tell_text, &told};
    behind_tell(both, 2, &sink);
    ck_assert_str_eq(told.breaker, "open");
    ck_assert_uint_eq(told.errors, 1);
    ck_assert_uint_eq(told.errors_of_second, 1);
    ck_assert_str_eq(world_stat_text("behind_breaker"), "closed");
    behind_stop(&other);
}
END_TEST

START_TEST(keys_that_were_not_added_are_found_by_their_marks)
{
    world->held[3] = (struct world_held){.present = true, .marked = true, .mask = 5};
    behind_missed(world->behind);
    ck_assert_uint_eq(world_stat("behind_overflow"), 1);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), CE_BUSY);
    world_run_dry();
    world_expect_in_l3(3);
    ck_assert_uint_eq(world_stat("behind_overflow"), 0);
}
END_TEST

START_TEST(pauses_have_jitter)
{
    world->down = true;
    world_change(1, 1);
    world_run_for(200000);
    size_t same = 0;
    ck_assert_uint_ge(world->opens, 30);
    for (size_t i = 9; i < 30; i++)
        same += world->open_ms[i] - world->open_ms[i - 1] == world->open_ms[8] - world->open_ms[7];
    ck_assert_uint_le(same, 3);
}
END_TEST

START_TEST(a_poison_cart_is_parked_and_the_rest_goes_on)
{
    world_remake(&world->env, 64, WORLD_DELAY_MS);
    world->poison = 50;
    world_change_all(0, 100);
    world_run_for(10000);
    world_expect_all_in_l3(0, 50);
    world_expect_all_in_l3(51, 100);
    ck_assert(!world->rows[50].present);
    ck_assert_uint_eq(world_stat("behind_parked"), 1);
    ck_assert_uint_eq(world_stat("behind_queue"), 1);
    ck_assert_uint_ge(behind_age_ms(&world->behind, 1), 10000);
    /* 64 -> 8 -> 1, then 8-1 clean singles at most before it; no walk through all sizes */
    ck_assert_uint_le(world->batches_count, 30);

    world_run_for(600000);
    ck_assert_uint_ge(world->alones, 12);
    /* The first success recalled it once, so its pauses count from the second try. */
    for (unsigned i = 2; i < world->alones; i++)
        expect_pause(world->alone_ms[i] - world->alone_ms[i - 1], i, 1000, 60000);
    world->poison = WORLD_NO_CART;
    ck_assert_uint_le(world_run_dry(), 60000);
    world_expect_in_l3(50);
    ck_assert_uint_eq(world_stat("behind_parked"), 0);
    ck_assert_uint_eq(behind_age_ms(&world->behind, 1), 0);
}
END_TEST

START_TEST(a_parked_cart_delays_nobody)
{
    world->poison = 1;
    world_change_all(0, 3);
    world_run_for(5000);
    ck_assert_uint_eq(world_stat("behind_parked"), 1);
    for (uint32_t i = 0; i < 200; i++) { /* over many tries of the parked cart */
        world_change(10 + i, 1);
        world_run_for(WORLD_DELAY_MS);
        world_expect_in_l3(10 + i);
    }
    ck_assert_uint_ge(world->alones, 5);
    world_change(1, 2); /* changing it does not make it due */
    size_t alones = world->alones;
    world_run_for(WORLD_DELAY_MS + 10);
    ck_assert_uint_le(world->alones, alones + 1);
    ck_assert_uint_eq(world_stat("behind_queue"), 1);
}
END_TEST

START_TEST(several_poison_carts_are_found)
{
    world->bad_row = 5; /* fails without failing the batch */
    world->bad_load = 6;
    world_write_foreign(6, 2);
    world->poison = 7;
    world_change_all(0, 300);
    world_run_for(20000);
    for (uint32_t i = 0; i < 300; i++) {
        if (i < 5 || i > 7)
            world_expect_in_l3(i);
    }
    ck_assert_uint_eq(world_stat("behind_parked"), 3);
    world->bad_row = world->bad_load = world->poison = WORLD_NO_CART;
    world_run_dry();
    world_expect_all_in_l3(0, 300);
    ck_assert_uint_eq(world->rows[6].mask, 3);
}
END_TEST

static void check_owner_error(int *err)
{
    world->bad_cart = 2;
    *err = CE_CORRUPT;
    if (err == &world->merge_err)
        world_write_foreign(2, 4);
    world_change_all(0, 5);
    world_run_for(3000);
    world_expect_all_in_l3(0, 2);
    world_expect_all_in_l3(3, 5);
    ck_assert(world->held[2].marked);
    ck_assert_uint_eq(world_stat("behind_parked"), 1);
    ck_assert_uint_eq(world_stat("behind_errors"), 0); /* not the database's fault */
    ck_assert_uint_eq(world->opens, 1);
    *err = 0;
    world_run_dry();
    world_expect_all_in_l3(0, 5);
}

START_TEST(a_cart_without_snapshot_is_parked)
{
    check_owner_error(&world->snapshot_err);
}
END_TEST

START_TEST(a_cart_without_row_is_parked)
{
    check_owner_error(&world->row_err);
}
END_TEST

START_TEST(a_cart_that_does_not_merge_is_parked)
{
    check_owner_error(&world->merge_err);
}
END_TEST

START_TEST(after_an_outage_all_parked_carts_go_at_once)
{
    world->read_only = true; /* opens, but every flush fails: looks like poison everywhere */
    world_change_all(0, 50);
    world_run_for(600000);
    ck_assert_uint_ge(world_stat("behind_parked"), 5);
    ck_assert_uint_eq(world_stat("behind_queue"), 50);
    /* not hammered meanwhile: pauses of 2.5 s or more but for the first ones */
    ck_assert_uint_le(world->batches_count, 250);
    world->read_only = false;
    ck_assert_uint_le(world_run_dry(), 6000);
    world_expect_all_in_l3(0, 50);
}
END_TEST

START_TEST(a_success_recalls_all_parked_carts)
{
    world->read_only = true;
    world_change_all(0, 3);
    world_run_for(600000); /* all are parked, their next tries up to 60 s away */
    ck_assert_uint_eq(world_stat("behind_parked"), 3);
    world->read_only = false;
    world_change(10, 1);
    world_run_for(WORLD_DELAY_MS + BEHIND_BACKOFF_MAX_MS);
    world_expect_in_l3(10);
    world_expect_all_in_l3(0, 3);
}
END_TEST

static void fail_once(void)
{
    world->read_only = world->batches_count == 1;
}

START_TEST(batches_grow_again_after_a_failure)
{
    world_remake(&world->env, 100, WORLD_DELAY_MS);
    world->during_flush = fail_once;
    world_change_all(0, 400);
    world_run_dry();
    world_expect_all_in_l3(0, 400);
    /* 100 fail; nine twelves clear them; 292 are left */
    static const size_t sizes[] = {100, 12, 12, 12, 12, 12, 12, 12, 12, 12, 100, 100, 92};
    ck_assert_uint_eq(world->batches_count, sizeof sizes / sizeof sizes[0]);
    for (size_t i = 0; i < world->batches_count; i++)
        ck_assert_uint_eq(world->batches[i], sizes[i]);
}
END_TEST

/* ---- overflow -------------------------------------------------------------- */

START_TEST(an_overflow_is_refilled_from_the_marks)
{
    world->behind->queue_max = 10;
    world_change_all(0, 100);
    ck_assert_uint_eq(world_stat("behind_queue"), 10);
    ck_assert_uint_eq(world_stat("behind_overflow"), 1);
    world_run_dry();
    world_expect_all_in_l3(0, 100);
    ck_assert_uint_eq(world_stat("behind_overflow"), 0);
    ck_assert_uint_ge(world->refills, 9);
    size_t refills = world->refills;
    world_change_all(0, 5);
    world_run_dry();
    ck_assert_uint_eq(world->refills, refills);
}
END_TEST

/* The scan has just filled the queue, its cursor is far behind cart 0. */
static void change_behind_the_cursor(void)
{
    if (world_stat("behind_queue") < world->behind->queue_max || world->cursor == 0)
        return;
    world->after_refill = NULL;
    world_change(0, 1ull << 20);
}

START_TEST(a_key_dropped_during_the_scan_is_not_lost)
{
    world->behind->queue_max = 10;
    world_change_all(0, 100);
    world->after_refill = change_behind_the_cursor;
    world_run_dry();
    ck_assert_ptr_null(world->after_refill); /* it happened */
    ck_assert_uint_eq(world->rows[0].mask, 1 | 1ull << 20);
    world_expect_all_in_l3(0, 100);
    ck_assert_uint_eq(world_stat("behind_overflow"), 0);
}
END_TEST

START_TEST(a_full_queue_holds_as_many_as_promised)
{
    char key[WORLD_KEY_MAX];
    for (uint32_t i = 0; i < BEHIND_QUEUE_MAX; i++)
        behind_add(world->behind, world_key(i, key), world->now_ms);
    ck_assert_uint_eq(world_stat("behind_overflow"), 0);
    behind_add(world->behind, world_key(5, key), world->now_ms); /* known: no room needed */
    ck_assert_uint_eq(world_stat("behind_overflow"), 0);
    behind_add(world->behind, world_key(BEHIND_QUEUE_MAX, key), world->now_ms);
    ck_assert_uint_eq(world_stat("behind_overflow"), 1);
    ck_assert_uint_eq(world_stat("behind_queue"), BEHIND_QUEUE_MAX);
}
END_TEST

/* ---- drain, without its thread ------------------------------------------------- */

START_TEST(drain_tries_at_once_during_a_pause)
{
    world->down = true;
    world_change(1, 1);
    world->now_ms += WORLD_DELAY_MS;
    ck_assert_uint_gt(behind_turn(world->behind), 0);
    world->down = false;
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), CE_BUSY);
    ck_assert_uint_eq(behind_turn(world->behind), BEHIND_IDLE);
    world_expect_in_l3(1);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), 0);
}
END_TEST

START_TEST(drain_counts_what_is_only_marked)
{
    world->behind->queue_max = 0;
    world_change(1, 1);
    ck_assert_uint_eq(world_stat("behind_queue"), 0);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), CE_BUSY);
    world->behind->queue_max = 10;
    world_run_dry();
    world_expect_in_l3(1);
    ck_assert_int_eq(behind_drain(&world->behind, 1, 0), 0);
}
END_TEST

static Suite *make_suite(void)
{
    Suite *suite = suite_create("behind");
    TCase *tcase = tcase_create("turns");
    tcase_add_checked_fixture(tcase, set_up, world_tear_down);
    tcase_add_test(tcase, a_cart_is_written_once_after_its_delay);
    tcase_add_test(tcase, batches_are_bounded);
    tcase_add_test(tcase, a_long_queue_is_written_in_the_order_of_keys);
    tcase_add_test(tcase, keys_are_sorted_as_bytes);
    tcase_add_test(tcase, batches_are_bounded_in_bytes);
    tcase_add_test(tcase, the_database_is_opened_without_work);
    tcase_add_test(tcase, a_cart_in_no_tier_is_dropped);
    tcase_add_test(tcase, a_change_in_flight_is_written_later);
    tcase_add_test(tcase, a_conflict_is_merged_and_written_again);
    tcase_add_test(tcase, a_rewritten_row_may_be_gone);
    tcase_add_test(tcase, a_drain_waits_for_the_joined_state);
    tcase_add_test(tcase, a_row_that_is_gone_is_made_again);
    tcase_add_test(tcase, an_endless_conflict_does_not_spin);
    tcase_add_test(tcase, a_commit_without_reply_converges);
    tcase_add_test(tcase, pauses_grow_to_a_bound);
    tcase_add_test(tcase, the_breaker_says_where_it_is);
    tcase_add_test(tcase, of_several_connections_the_worst_breaker_is_told);
    tcase_add_test(tcase, keys_that_were_not_added_are_found_by_their_marks);
    tcase_add_test(tcase, pauses_have_jitter);
    tcase_add_test(tcase, a_poison_cart_is_parked_and_the_rest_goes_on);
    tcase_add_test(tcase, a_parked_cart_delays_nobody);
    tcase_add_test(tcase, several_poison_carts_are_found);
    tcase_add_test(tcase, a_cart_without_snapshot_is_parked);
    tcase_add_test(tcase, a_cart_without_row_is_parked);
    tcase_add_test(tcase, a_cart_that_does_not_merge_is_parked);
    tcase_add_test(tcase, after_an_outage_all_parked_carts_go_at_once);
    tcase_add_test(tcase, a_success_recalls_all_parked_carts);
    tcase_add_test(tcase, batches_grow_again_after_a_failure);
    tcase_add_test(tcase, an_overflow_is_refilled_from_the_marks);
    tcase_add_test(tcase, a_key_dropped_during_the_scan_is_not_lost);
    tcase_add_test(tcase, a_full_queue_holds_as_many_as_promised);
    tcase_add_test(tcase, a_rewrite_knows_its_own_revision);
    tcase_add_test(tcase, drain_tries_at_once_during_a_pause);
    tcase_add_test(tcase, drain_counts_what_is_only_marked);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    return suite_run(make_suite());
}
