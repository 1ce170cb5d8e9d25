/* The contract of tier/l1/l1.h: what L2 does not have yet, no memory, threads. */
#include "lib/l1_fixture.h"
#include "lib/suite.h"

#include <sched.h>
#include <signal.h>

#define XXH_INLINE_ALL
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

/* ---- the L2 writer ------------------------------------------------------------------------ */

START_TEST(taken_carts_come_once_and_are_clean_after_ok)
{
    put_dirty("a", 3, 'x');
    ck_assert_int_eq(mark_dirty(slice_str("a")), 0); /* idempotent */
    ck_assert_uint_eq(l1_dirty_count(l1), 1);
    struct taken taken = take_from("a", 10);
    ck_assert_uint_eq(taken.count, 1);
    ck_assert_str_eq(taken.names[0].text, "a");
    ck_assert_uint_eq(l1_dirty_count(l1), 1); /* L2 does not have it yet */
    ck_assert_uint_gt(l1_dirty_bytes(l1), sizeof(struct l1_item));
    ck_assert_uint_eq(take_from("a", 10).count, 0);
    evict_all();
    ck_assert_int_eq(look("a", 'x'), 3); /* pinned */
    unpin("a", true);
    ck_assert_uint_eq(l1_dirty_count(l1), 0);
    evict_all();
    ck_assert_int_eq(look("a", 'x'), -1);
    unpin("a", true); /* gone is fine */
}
END_TEST

START_TEST(a_failed_write_makes_the_cart_dirty_again)
{
    put_dirty("a", 3, 'x');
    ck_assert_uint_eq(take_from("a", 10).count, 1);
    unpin("a", false);
    ck_assert_uint_eq(l1_dirty_count(l1), 1);
    evict_all();
    ck_assert_int_eq(look("a", 'x'), 3);
    ck_assert_uint_eq(take_from("a", 10).count, 1);
    unpin("a", true);
    ck_assert_uint_eq(l1_dirty_count(l1), 0);
}
END_TEST

START_TEST(a_cart_changed_in_flight_stays_until_both_are_gone)
{
    for (int ok = 0; ok < 2; ok++) {
        put_dirty("a", 3, 'x');
        ck_assert_uint_eq(take_from("a", 10).count, 1);
        put_dirty("a", 2000, 'y');
        ck_assert_uint_eq(l1_dirty_count(l1), 1);
        ck_assert_uint_eq(take_from("a", 10).count, 0); /* in flight once at most */
        ck_assert_uint_eq(l1_dirty_count(l1), 1);
        evict_all();
        unpin("a", ok);
        ck_assert_uint_eq(l1_dirty_count(l1), 1);
        evict_all();
        ck_assert_int_eq(look("a", 'y'), 2000);
        ck_assert_uint_eq(take_from("a", 10).count, 1);
        unpin("a", true);
        evict_all();
        ck_assert_int_eq(look("a", 'y'), -1);
    }
}
END_TEST

START_TEST(a_replaced_dirty_cart_stays_dirty)
{
    put_dirty("a", 3, 'x');
    size_t sizes[] = {4000, 3, 3, 70000};
    for (unsigned i = 0; i < 4; i++) {
        put("a", L1_CART, sizes[i], 'y');
        evict_all();
        ck_assert_int_eq(look("a", 'y'), (int)sizes[i]);
    }
    ck_assert_uint_eq(l1_dirty_count(l1), 1);
    ck_assert_uint_eq(take_from("a", 10).count, 1);
}
END_TEST

START_TEST(take_goes_in_order_stops_at_max_and_leaves_what_is_refused)
{
    struct name names[6];
    find_neighbours(names, 6);
    for (unsigned i = 0; i < 6; i++)
        put_dirty(names[i].text, 10, 0);
    struct taken taken = take_from("home", 2);
    ck_assert_uint_eq(taken.count, 2);
    ck_assert_str_eq(taken.names[0].text, names[0].text);
    ck_assert_str_eq(taken.names[1].text, names[1].text);

    put_dirty(names[0].text, 20, 0); /* in flight: passed over */
    taken = (struct taken){.refuse_at = 1};
    ck_assert_uint_eq(take_dirty(l1, stripe_of("home"), 10, take_one, &taken), 1);
    ck_assert_str_eq(taken.names[0].text, names[2].text);
    ck_assert_uint_eq(l1_dirty_count(l1), 6);

    for (unsigned i = 0; i < 3; i++)
        unpin(names[i].text, true);
    ck_assert_uint_eq(l1_dirty_count(l1), 4);
    taken = take_from("home", 10);
    ck_assert_uint_eq(taken.count, 4);
    ck_assert_str_eq(taken.names[0].text, names[3].text);
    ck_assert_str_eq(taken.names[3].text, names[0].text);
    for (unsigned i = 0; i < 6; i++)
        unpin(names[i].text, true);
    ck_assert_uint_eq(l1_dirty_count(l1), 0);
}
END_TEST

START_TEST(a_pinned_item_may_go_when_its_write_succeeds)
{
    put_dirty("a", 3, 'x');
    put_dirty("b", 3, 'x');
    ck_assert_uint_eq(take_from("a", 1).count, 1);
    ck_assert_uint_eq(take_from("b", 1).count, 1);
    ck_assert(remove_key("a"));
    put("b", L1_ABSENT, 0, 0);
    ck_assert_uint_eq(l1_dirty_count(l1), 0);
    unpin("a", true);
    unpin("b", true);
    ck_assert_int_eq(look("b", 0), 0);
    evict_all();
    ck_assert_int_eq(look("b", 0), -1);
}
END_TEST

START_TEST(a_failed_write_of_a_lost_cart_must_not_pass)
{
    put_dirty("a", 3, 'x');
    ck_assert_uint_eq(take_from("a", 1).count, 1);
    ck_assert(remove_key("a"));
    unpin("a", false);
}
END_TEST

/* Two keys of 16 bytes that share a hash. XXH3 of 9 to 16 bytes multiplies two words that the input
 * is xored into; a zero word makes it a plain sum, which is easy to hit twice. */
static void collide(uint8_t one[16], uint8_t two[16])
{
    uint64_t flip_low = XXH_readLE64(XXH3_kSecret + 24) ^ XXH_readLE64(XXH3_kSecret + 32);
    uint64_t flip_high = XXH_readLE64(XXH3_kSecret + 40) ^ XXH_readLE64(XXH3_kSecret + 48);
    uint64_t sum = 0x0123456789abcdefu;
    uint64_t words_one[2] = {flip_low, sum ^ flip_high};
    uint64_t words_two[2] = {__builtin_bswap64(sum) ^ flip_low, flip_high};
    memcpy(one, words_one, 16);
    memcpy(two, words_two, 16);
}

static void dirty_bytes(const uint8_t key[16])
{
    ck_assert_int_eq(put_slice(slice_of(key, 16), L1_CART, 1, key[0]), 0);
    ck_assert_int_eq(mark_dirty(slice_of(key, 16)), 0);
}

static int see_first_byte(void *arg, uint64_t hash, struct l1_item *item)
{
    uint8_t **seen = arg;
    (void)hash;
    *(*seen)++ = *l1_key(item).bytes;
    return 0;
}

START_TEST(keys_that_share_a_hash_are_kept_apart)
{
    uint8_t one[16], two[16], seen[4] = {0}, *at = seen;
    collide(one, two);
    uint64_t hash = hash_64(slice_of(one, 16));
    ck_assert_uint_eq(hash, hash_64(slice_of(two, 16)));
    ck_assert_uint_ne(one[0], two[0]);
    dirty_bytes(one);
    dirty_bytes(two);
    ck_assert_uint_eq(take_dirty(l1, (unsigned)(hash >> 54), 1, see_first_byte, &at), 1);
    dirty_bytes(seen[0] == one[0] ? one : two); /* changed in flight: the other one comes next */
    ck_assert_uint_eq(take_dirty(l1, (unsigned)(hash >> 54), 9, see_first_byte, &at), 1);
    ck_assert_uint_eq(seen[0] + seen[1], one[0] + two[0]);
    ck_assert_uint_ne(seen[0], seen[1]);
    l1_unpin(l1, hash, slice_of(one, 16), true);
    l1_unpin(l1, hash, slice_of(two, 16), true);
    ck_assert_uint_eq(take_dirty(l1, (unsigned)(hash >> 54), 9, see_first_byte, &at), 1);
    ck_assert_uint_eq(seen[2], seen[0]);
}
END_TEST

/* ---- no memory ---------------------------------------------------------------------------- */

START_TEST(every_allocation_may_fail)
{
    struct l1 *other = NULL;
    for (int64_t n = 0; n < 2; n++) { /* addresses of the table, its memory */
        mem_calls_left = n;
        ck_assert_int_eq(l1_new(MIB, &other), CE_NOMEM);
        ck_assert_ptr_null(other);
    }
    mem_calls_left = 0;
    ck_assert_int_eq(put_slice(slice_str("k"), L1_PLAIN, 1, 0), CE_NOMEM);
    ck_assert_int_eq(look("k", 0), -1);
    mem_calls_left = CALLS_MANY;
    put("k", L1_CART, 5, 'x');
    mem_calls_left = 0;
    ck_assert_int_eq(put_slice(slice_str("k"), L1_CART, 5000, 'y'), CE_NOMEM);
    ck_assert_int_eq(look("k", 'x'), 5);
    ck_assert_int_eq(mark_dirty(slice_str("k")), CE_NOMEM);
    ck_assert_uint_eq(l1_dirty_count(l1), 0);
    mem_calls_left = CALLS_MANY;
    ck_assert_int_eq(put_slice(slice_str("k"), L1_CART, (size_t)UINT32_MAX + 1, 0), CE_NOMEM);
    ck_assert_int_eq(look("k", 'x'), 5);
    ck_assert_int_eq(mark_dirty(slice_str("k")), 0);
}
END_TEST

START_TEST(shrinking_needs_no_memory)
{
    int64_t empty = mem_live;
    put_dirty("k", 100000, 'x');
    mem_calls_left = 0;
    put("k", L1_CART, 5000, 'y');
    put("k", L1_CART, 3, 'z');
    ck_assert_int_eq(look("k", 'z'), 3);
    ck_assert_int_eq(put_slice(slice_str("k"), L1_CART, 200000, 0), CE_NOMEM);
    ck_assert_int_eq(look("k", 'z'), 3);
    mem_calls_left = CALLS_MANY;
    put("k", L1_CART, 4, 'w');
    ck_assert_int_lt(mem_live - empty, 1000); /* what was too large is given back */
}
END_TEST

START_TEST(a_table_that_cannot_grow_still_works)
{
    struct name names[40];
    find_neighbours(names, 40);
    for (unsigned i = 0; i < 40; i++) {
        mem_calls_left = 1; /* the item, not the buckets */
        put(names[i].text, L1_PLAIN, i, (uint8_t)i);
    }
    for (unsigned i = 0; i < 40; i++)
        ck_assert_int_eq(look(names[i].text, (uint8_t)i), (int)i);
    mem_calls_left = CALLS_MANY;
}
END_TEST

START_TEST(a_reserved_mark_and_a_failed_write_need_no_memory)
{
    struct name names[40];
    find_neighbours(names, 40);
    for (unsigned i = 0; i < 40; i++)
        put_dirty(names[i].text, 10, 0);
    ck_assert_uint_eq(take_from("home", 64).count, 40);
    for (unsigned i = 2; i < 30; i++)
        put_dirty(names[i].text, 10, 0);
    uint64_t hash = hash_64(slice_str(names[1].text));
    l1_lock(l1, hash);
    ck_assert_int_eq(l1_dirty_reserve_locked(l1, hash), 0);
    mem_calls_left = 0;
    l1_dirty_locked(l1, hash, l1_find_locked(l1, hash, slice_str(names[1].text)));
    l1_unlock(l1, hash);
    for (unsigned i = 0; i < 40; i++)
        unpin(names[i].text, false);
    ck_assert_uint_eq(l1_dirty_count(l1), 40);
    ck_assert_uint_eq(take_from("home", 64).count, 40);
    mem_calls_left = CALLS_MANY;
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------ */

#ifdef __SANITIZE_THREAD__
enum { THREADS = 8, CARTS = 500, OPS = 3000 };
#else
enum { THREADS = 8, CARTS = 500, OPS = 20000 };
#endif

/* Carts are counters. A cart that is not in memory is read from `disk`, as a daemon would. */
static uint64_t disk[CARTS];
static _Atomic unsigned working;

static uint64_t cart_hash(unsigned cart, struct name *name)
{
    *name = name_of("cart:", cart);
    return hash_64(slice_str(name->text));
}

static void count_up(unsigned cart, size_t value_len)
{
    struct name name;
    uint64_t hash = cart_hash(cart, &name), value;
    struct slice key = slice_str(name.text);
    while (l1_room(l1, key.len + value_len) != 0)
        sched_yield(); /* the writer will make room */
    l1_lock(l1, hash);
    struct l1_item *item = l1_find_locked(l1, hash, key);
    if (item)
        memcpy(&value, l1_value(item), sizeof(value));
    else
        value = disk[cart];
    value++;
    ck_assert_int_eq(l1_dirty_reserve_locked(l1, hash), 0);
    ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_CART, value_len, &item), 0);
    memcpy(l1_value(item), &value, sizeof(value));
    l1_dirty_locked(l1, hash, item);
    l1_unlock(l1, hash);
}

static void *run_worker(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    for (unsigned i = 0; i < OPS; i++) {
        uint64_t r = next_random(&seed);
        struct name plain = name_of("plain", (unsigned)(r >> 40) % 5000);
        size_t len = 8 + (r >> 8) % 700;
        if (r % 4 < 2)
            count_up((unsigned)(r >> 40) % CARTS, len);
        else if (r % 4 == 2 && l1_room(l1, len + 16) == 0)
            put(plain.text, r & 16 ? L1_PLAIN : L1_ABSENT, len, 'p');
        else
            remove_key(plain.text);
    }
    atomic_fetch_sub(&working, 1);
    return NULL;
}

struct flight {
    unsigned carts[64];
    uint64_t values[64];
    unsigned count;
};

static int copy_cart(void *arg, uint64_t hash, struct l1_item *item)
{
    struct flight *flight = arg;
    (void)hash;
    struct slice number = slice_from(l1_key(item), strlen("cart:"));
    uint32_t cart;
    ck_assert(num_u32(number, &cart));
    flight->carts[flight->count] = cart;
    memcpy(&flight->values[flight->count++], l1_value_slice(item).bytes, sizeof(uint64_t));
    return 0;
}

static void write_stripe(unsigned stripe, bool ok)
{
    struct flight flight = {.count = 0};
    take_dirty(l1, stripe, 64, copy_cart, &flight);
    for (unsigned i = 0; i < flight.count; i++) {
        struct name name;
        uint64_t hash = cart_hash(flight.carts[i], &name);
        if (ok)
            disk[flight.carts[i]] = flight.values[i];
        l1_unpin(l1, hash, slice_str(name.text), ok);
    }
}

static void *run_writer(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    while (working > 0)
        for (unsigned i = 0; i < L1_STRIPES; i++)
            write_stripe(i, next_random(&seed) % 8 != 0);
    while (l1_dirty_count(l1) > 0)
        for (unsigned i = 0; i < L1_STRIPES; i++)
            write_stripe(i, true);
    return NULL;
}

START_TEST(threads_lose_no_cart_under_pressure)
{
    pthread_t threads[THREADS], writer;
    l1_limit_set(l1, sizeof(struct l1) + MIB / 2);
    working = THREADS;
    ck_assert_int_eq(thread_start(&writer, "writer", run_writer, (void *)77), 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(thread_start(&threads[i], "worker", run_worker, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(writer, NULL);

    uint64_t expected = 0, found = 0;
    for (uint64_t i = 0; i < THREADS; i++) {
        uint64_t seed = i + 1;
        for (unsigned op = 0; op < OPS; op++)
            expected += next_random(&seed) % 4 < 2;
    }
    for (unsigned i = 0; i < CARTS; i++)
        found += disk[i];
    ck_assert_uint_eq(found, expected);
    struct stats stats = get_stats();
    ck_assert_uint_gt(stats.cart_demotions, 0);
    ck_assert_uint_eq(stats.dirty_carts, 0);
    evict_all();
    ck_assert_uint_eq(get_stats().curr_items, 0);
    ck_assert_uint_eq(get_stats().curr_carts, 0);
}
END_TEST

/* ---- suite -------------------------------------------------------------------------------- */

static void add_dirty(Suite *suite)
{
    TCase *tcase = add_case(suite, "dirty");
    tcase_add_test(tcase, taken_carts_come_once_and_are_clean_after_ok);
    tcase_add_test(tcase, a_failed_write_makes_the_cart_dirty_again);
    tcase_add_test(tcase, a_cart_changed_in_flight_stays_until_both_are_gone);
    tcase_add_test(tcase, a_replaced_dirty_cart_stays_dirty);
    tcase_add_test(tcase, take_goes_in_order_stops_at_max_and_leaves_what_is_refused);
    tcase_add_test(tcase, a_pinned_item_may_go_when_its_write_succeeds);
    tcase_add_test_raise_signal(tcase, a_failed_write_of_a_lost_cart_must_not_pass, SIGABRT);
    tcase_add_test(tcase, keys_that_share_a_hash_are_kept_apart);
}

static void add_rest(Suite *suite)
{
    TCase *tcase = add_case(suite, "no memory, threads");
    tcase_add_test(tcase, every_allocation_may_fail);
    tcase_add_test(tcase, shrinking_needs_no_memory);
    tcase_add_test(tcase, a_table_that_cannot_grow_still_works);
    tcase_add_test(tcase, a_reserved_mark_and_a_failed_write_need_no_memory);
    tcase_add_test(tcase, threads_lose_no_cart_under_pressure);
}

int main(void)
{
    Suite *suite = suite_create("l1 dirty");
    add_dirty(suite);
    add_rest(suite);
    return suite_run(suite);
}
