/* The contract of tier/l1/l1.h: the table and eviction. See l1_dirty_test for the rest. */
#include "lib/l1_fixture.h"
#include "lib/suite.h"

#include <signal.h>

/* ---- table -------------------------------------------------------------------------------- */

START_TEST(an_item_is_found_by_its_key_only)
{
    ck_assert_int_eq(look("k", 0), -1);
    put("k", L1_PLAIN, 5, 'x');
    put("K", L1_PLAIN, 0, 0);
    ck_assert_int_eq(look("k", 'x'), 5);
    ck_assert_int_eq(look("K", 0), 0);
    ck_assert_int_eq(look("kk", 0), -1);
    ck_assert(remove_key("k"));
    ck_assert(!remove_key("k"));
    ck_assert_int_eq(look("k", 0), -1);
    ck_assert_int_eq(look("K", 0), 0);
}
END_TEST

START_TEST(many_items_survive_growth_of_the_table)
{
    enum { COUNT = 100000 };
    for (unsigned i = 0; i < COUNT; i++)
        put(name_of("key-", i).text, L1_PLAIN, i % 7, (uint8_t)i);
    for (unsigned i = 0; i < COUNT; i += 3)
        ck_assert(remove_key(name_of("key-", i).text));
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_int_eq(look(name_of("key-", i).text, (uint8_t)i), i % 3 ? (int)(i % 7) : -1);
    ck_assert_uint_eq(get_stats().curr_items, COUNT - (COUNT + 2) / 3);
    for (unsigned i = 0; i < L1_STRIPES; i++)
        ck_assert_uint_le(l1->stripes[i].count, l1->stripes[i].buckets_mask + 1);
}
END_TEST

START_TEST(the_longest_key_and_any_byte_in_it_work)
{
    uint8_t key[L1_KEY_MAX];
    for (unsigned i = 0; i < L1_KEY_MAX; i++)
        key[i] = (uint8_t)(i * 7);
    ck_assert_int_eq(put_slice(slice_of(key, L1_KEY_MAX), L1_CART, 300, 'v'), 0);
    ck_assert_int_eq(put_slice(slice_of(key, L1_KEY_MAX - 1), L1_CART, 3, 'w'), 0);
    uint64_t hash = hash_64(slice_of(key, L1_KEY_MAX));
    l1_lock(l1, hash);
    struct l1_item *item = l1_find_locked(l1, hash, slice_of(key, L1_KEY_MAX));
    ck_assert_ptr_nonnull(item);
    ck_assert(slice_eq(l1_key(item), slice_of(key, L1_KEY_MAX)));
    ck_assert_uint_eq(l1_value_slice(item).len, 300);
    ck_assert_uint_eq(l1_value(item)[299], 'v');
    l1_unlock(l1, hash);
}
END_TEST

START_TEST(a_new_item_has_its_part_zeroed_and_the_same_kind_keeps_it)
{
    struct slice key = slice_str("cart:1");
    uint64_t hash = hash_64(key);
    struct l1_item *item;
    size_t sizes[] = {10, 11, 5000, 5000, 3, 0, 100000};
    l1_lock(l1, hash);
    ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_CART, 4, &item), 0);
    ck_assert(item->cart.actor == 0 && item->cart.lsn == 0 && item->cart.l3_rev == 0);
    item->cart = (struct l1_cart){.actor = 7, .lsn = 8, .l3_rev = 9};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_CART, sizes[i], &item), 0);
        memset(l1_value(item), 1, sizes[i]);
        ck_assert_uint_eq(item->value_bytes, sizes[i]);
        ck_assert(slice_eq(l1_key(item), key));
        ck_assert(item->cart.actor == 7 && item->cart.lsn == 8 && item->cart.l3_rev == 9);
        ck_assert_ptr_eq(l1_find_locked(l1, hash, key), item);
    }
    ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_PLAIN, 4, &item), 0);
    ck_assert(item->kind == L1_PLAIN && item->plain.cas == 0 && item->plain.flags == 0 &&
              item->plain.exptime_s == 0 && item->plain.stored_s == 0);
    l1_unlock(l1, hash);
}
END_TEST

START_TEST(a_value_that_fits_stays_where_it_is_and_a_wasteful_one_moves)
{
    struct slice key = slice_str("k");
    uint64_t hash = hash_64(key);
    struct l1_item *first, *item;
    l1_lock(l1, hash);
    ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_PLAIN, 1000, &first), 0);
    ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_PLAIN, 1000, &item), 0);
    ck_assert_ptr_eq(item, first);
    ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_PLAIN, 900, &item), 0);
    ck_assert_ptr_eq(item, first);
    ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_PLAIN, 500, &item), 0);
    l1_unlock(l1, hash);
    /* A piece for 500 bytes, not the one for 1000. */
    ck_assert_uint_lt(l1_mem_usable(item), 600);
    ck_assert_uint_gt(get_stats().bytes, 0);
}
END_TEST

static struct l1_item *put_cart(size_t len)
{
    struct l1_item *item;
    struct slice key = slice_str("cart:1");
    l1_lock(l1, hash_64(key));
    ck_assert_int_eq(l1_put_locked(l1, hash_64(key), key, L1_CART, len, &item), 0);
    l1_unlock(l1, hash_64(key));
    return item;
}

/* A cart that was set, then added to; or one that was absent, or has just got another line. */
START_TEST(a_cart_takes_a_first_add_where_it_is)
{
    for (size_t len = 96; len < 112; len++) {
        remove_key("cart:1");
        if (len % 2)
            put("cart:1", L1_ABSENT, 0, 0);
        struct l1_item *item = put_cart(len);
        ck_assert_ptr_eq(put_cart(len + 17), item);
        item = put_cart(len + 60);
        ck_assert_ptr_eq(put_cart(len + 77), item);
    }
}
END_TEST

START_TEST(a_resized_value_keeps_its_bytes_as_far_as_they_fit)
{
    struct slice key = slice_str("k");
    uint64_t hash = hash_64(key);
    size_t sizes[] = {10, 100, 5000, 6000, 100000, 4000, 7, 7, 3}, kept = 10;
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct l1_item *item;
        l1_lock(l1, hash);
        ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_CART, sizes[i], &item), 0);
        kept = i == 0 ? 0 : kept < sizes[i] ? kept : sizes[i];
        for (size_t at = 0; at < kept; at++)
            if (l1_value(item)[at] != (uint8_t)(at * 7))
                ck_abort_msg("byte %zu of %zu", at, kept);
        for (size_t at = 0; at < sizes[i]; at++)
            l1_value(item)[at] = (uint8_t)(at * 7);
        kept = sizes[i];
        l1_unlock(l1, hash);
    }
}
END_TEST

START_TEST(kinds_may_change_and_are_counted)
{
    put("k", L1_ABSENT, 0, 0);
    ck_assert_uint_eq(get_stats().curr_items, 0);
    ck_assert_uint_eq(get_stats().total_items, 0);
    ck_assert_int_eq(look("k", 0), 0);
    put("k", L1_CART, 9, 'c');
    ck_assert_uint_eq(get_stats().curr_items, 1);
    ck_assert_uint_eq(get_stats().curr_carts, 1);
    put("k", L1_PLAIN, 9, 'p');
    ck_assert_uint_eq(get_stats().curr_items, 1);
    ck_assert_uint_eq(get_stats().curr_carts, 0);
    put("k", L1_ABSENT, 0, 0);
    ck_assert_uint_eq(get_stats().curr_items, 0);
    ck_assert_uint_eq(get_stats().total_items, 2);
    ck_assert(remove_key("k"));
    ck_assert_uint_eq(get_stats().curr_items, 0);
}
END_TEST

START_TEST(stats_name_each_row_once_and_count_right)
{
    unsigned rows = 0;
#define X(name, what) rows++;
    L1_STATS(X)
#undef X
    put("a", L1_PLAIN, 1, 0);
    put("a", L1_PLAIN, 2, 0);
    put("b", L1_PLAIN, 1, 0);
    put("c", L1_CART, 1, 0);
    put_dirty("d", 1, 0);
    put("e", L1_ABSENT, 0, 0);
    struct stats stats = get_stats();
    ck_assert_uint_eq(stats.calls, rows);
    ck_assert_uint_eq(stats.curr_items, 4);
    ck_assert_uint_eq(stats.total_items, 5);
    ck_assert_uint_eq(stats.curr_carts, 2);
    ck_assert_uint_eq(stats.dirty_carts, 1);
    ck_assert_uint_eq(stats.limit_maxbytes, LIMIT);
    evict_all();
    stats = get_stats();
    ck_assert_uint_eq(stats.curr_items, 1);
    ck_assert_uint_eq(stats.curr_carts, 1);
    ck_assert_uint_eq(stats.evictions, 2);
    ck_assert_uint_eq(stats.cart_demotions, 1);
}
END_TEST

START_TEST(a_kind_of_a_dirty_cart_must_not_change)
{
    put_dirty("k", 3, 'x');
    put("k", L1_PLAIN, 3, 'x');
}
END_TEST

START_TEST(a_dirty_cart_must_not_be_removed)
{
    put_dirty("k", 3, 'x');
    remove_key("k");
}
END_TEST

START_TEST(a_stripe_must_be_locked_to_look_into_it)
{
    ck_assert_ptr_null(l1_find_locked(l1, hash_64(slice_str("k")), slice_str("k")));
}
END_TEST

/* ---- eviction ----------------------------------------------------------------------------- */

/* As cmd does it: room first, then put. */
static void room_and_put(const char *key, enum l1_kind kind, size_t len)
{
    ck_assert_int_eq(l1_room(l1, strlen(key) + len), 0);
    put(key, kind, len, 'v');
}

START_TEST(the_limit_holds_after_every_put)
{
    enum { LIMIT_MIB = 2, PUTS = 60000 };
    uint64_t seed = 1;
    l1_limit_set(l1, LIMIT_MIB * MIB);
    for (unsigned i = 0; i < PUTS; i++) {
        uint64_t r = next_random(&seed);
        size_t len = r % 100 == 0 ? (r >> 8) % 60000 : (r >> 8) % 500;
        enum l1_kind kind = r >> 63 ? L1_PLAIN : L1_CART;
        room_and_put(name_of("k", (unsigned)(r >> 32) % 20000).text, kind, len);
        ck_assert_uint_le(atomic_load(&l1->used), LIMIT_MIB * MIB);
    }
    struct stats stats = get_stats();
    ck_assert_uint_gt(stats.evictions, 0);
    ck_assert_uint_gt(stats.cart_demotions, 0);
    ck_assert_uint_gt(stats.bytes, LIMIT_MIB * MIB * 9 / 10 - 60000);
}
END_TEST

START_TEST(dirty_carts_survive_any_pressure)
{
    enum { CARTS = 3000, PUTS = 50000 };
    l1_limit_set(l1, 2 * MIB);
    for (unsigned i = 0; i < CARTS; i++)
        put_dirty(name_of("cart:", i).text, 50, (uint8_t)i);
    for (unsigned i = 0; i < PUTS; i++)
        room_and_put(name_of("k", i).text, L1_PLAIN, 200);
    evict_all();
    for (unsigned i = 0; i < CARTS; i++)
        ck_assert_int_eq(look(name_of("cart:", i).text, (uint8_t)i), 50);
    struct stats stats = get_stats();
    ck_assert_uint_eq(stats.dirty_carts, CARTS);
    ck_assert_uint_eq(stats.curr_items, CARTS);
    ck_assert_uint_eq(stats.cart_demotions, 0);
    ck_assert_uint_eq(stats.evictions, PUTS);
}
END_TEST

#define ROW     8
#define ROW_LEN 10000

/* ROW items of one stripe, oldest first. */
static void put_row_of(enum l1_kind kind, struct name *names)
{
    find_neighbours(names, ROW);
    for (unsigned i = 0; i < ROW; i++)
        put(names[i].text, kind, ROW_LEN, (uint8_t)i);
}

static void put_row(struct name *names)
{
    put_row_of(L1_PLAIN, names);
}

/* Makes exactly `count` items of the row go. */
static void evict_of_row(unsigned count)
{
    l1_limit_set(l1, get_stats().bytes - (uint64_t)count * ROW_LEN);
    l1_limit_set(l1, LIMIT);
}

/* Which items of the row are there, as a text of '1' and '0'. A use of each that is. */
static const char *row_now(const struct name *names)
{
    static char now[ROW + 1];
    for (unsigned i = 0; i < ROW; i++)
        now[i] = look(names[i].text, (uint8_t)i) >= 0 ? '1' : '0';
    return now;
}

START_TEST(the_oldest_goes_first)
{
    struct name names[ROW];
    put_row(names);
    evict_of_row(3);
    ck_assert_str_eq(row_now(names), "00011111");
    ck_assert_uint_eq(get_stats().evictions, 3);
}
END_TEST

START_TEST(a_hit_item_outlives_one_that_was_not)
{
    struct name names[ROW];
    put_row(names);
    for (unsigned i = 0; i < ROW; i += 2)
        look(names[i].text, (uint8_t)i);
    evict_of_row(4);
    ck_assert_str_eq(row_now(names), "10101010");
}
END_TEST

START_TEST(a_hit_lets_an_item_off_once_and_the_hand_goes_on)
{
    struct name names[ROW];
    put_row(names);
    look(names[0].text, 0);
    evict_of_row(2); /* lets 0 off, drops 1 and 2, stands on 3 */
    evict_of_row(5); /* drops 3..7 */
    evict_of_row(0);
    struct stats stats = get_stats();
    ck_assert_uint_eq(stats.curr_items, 1);
    evict_of_row(1);
    ck_assert_str_eq(row_now(names), "00000000");
}
END_TEST

START_TEST(when_all_were_hit_the_oldest_goes)
{
    struct name names[ROW];
    put_row(names);
    ck_assert_str_eq(row_now(names), "11111111");
    evict_of_row(1);
    ck_assert_str_eq(row_now(names), "01111111");
}
END_TEST

START_TEST(one_crowded_stripe_gives_all_it_has)
{
    enum { CROWD = 100 };
    struct name names[CROWD];
    find_neighbours(names, CROWD);
    for (unsigned i = 0; i < CROWD; i++) {
        put(names[i].text, L1_PLAIN, 10, 0);
        look(names[i].text, 0);
    }
    evict_all();
    ck_assert_uint_eq(get_stats().curr_items, 0);
}
END_TEST

START_TEST(a_resized_item_keeps_its_place_and_its_hit)
{
    struct name names[ROW];
    put_row(names);
    look(names[3].text, 3);
    evict_of_row(1); /* the hand stands on 1 now */
    for (unsigned i = 1; i < ROW; i++)
        put(names[i].text, L1_PLAIN, 2 * ROW_LEN, (uint8_t)i);
    evict_of_row(6); /* 3 of double size */
    ck_assert_str_eq(row_now(names), "00010111");
}
END_TEST

START_TEST(removing_the_item_under_the_hand_moves_the_hand)
{
    struct name names[ROW];
    put_row(names);
    evict_of_row(2);
    ck_assert(remove_key(names[2].text));
    ck_assert(remove_key(names[7].text));
    evict_of_row(1);
    ck_assert_str_eq(row_now(names), "00001110");
    evict_all();
    ck_assert_str_eq(row_now(names), "00000000");
    put(names[0].text, L1_PLAIN, 1, 0);
    ck_assert_int_eq(look(names[0].text, 0), 1);
}
END_TEST

/* Meanwhile it may grow, and so be moved. */
START_TEST(a_cart_that_the_hand_met_unwritten_comes_back_as_the_newest)
{
    struct name names[ROW];
    put_row_of(L1_CART, names);
    ck_assert_int_eq(mark_dirty(slice_str(names[0].text)), 0);
    evict_of_row(2); /* the hand stands on 3 */
    put(names[0].text, L1_CART, 2 * ROW_LEN, 0);
    ck_assert_uint_eq(take_from(names[0].text, 1).count, 1);
    unpin(names[0].text, true);
    evict_of_row(5); /* 3..7 */
    ck_assert_str_eq(row_now(names), "10000000");
    evict_of_row(2); /* of double size */
    ck_assert_str_eq(row_now(names), "00000000");
}
END_TEST

START_TEST(a_small_item_among_big_ones_is_room_for_all_sizes)
{
    l1_limit_set(l1, 4 * MIB);
    for (unsigned i = 0; i < 20000; i++)
        room_and_put(name_of("small", i).text, L1_PLAIN, 100);
    room_and_put("big", L1_PLAIN, 3 * MIB);
    ck_assert_int_eq(look("big", 'v'), (int)(3 * MIB));
    ck_assert_uint_le(get_stats().bytes, 4 * MIB);
}
END_TEST

/* As many large items as fit, more than there are stripes or fewer: the younger half of what is
 * there has no gap, and an old item that is used stays. */
static void fill_with_large(size_t len)
{
    unsigned count = (unsigned)(5 * LIMIT / len), present = 0;
    room_and_put("used", L1_PLAIN, len);
    for (unsigned i = 0; i < count; i++) {
        room_and_put(name_of("large", i).text, L1_PLAIN, len);
        ck_assert_int_eq(look("used", 'v'), (int)len);
    }
    for (unsigned i = 0; i < count; i++)
        present += look(name_of("large", i).text, 'v') >= 0;
    ck_assert_uint_gt(present, count / 6);
    for (unsigned i = 1; i <= present / 2; i++)
        ck_assert_int_eq(look(name_of("large", count - i).text, 'v'), (int)len);
}

START_TEST(a_fresh_large_item_does_not_go_before_older_ones)
{
    static const size_t lens[] = {6000, 40000, 1000000};
    fill_with_large(lens[_i]);
}
END_TEST

START_TEST(what_can_never_fit_is_refused_and_drops_nothing)
{
    l1_limit_set(l1, 4 * MIB);
    room_and_put("k", L1_PLAIN, 1000);
    ck_assert_int_eq(l1_room(l1, 4 * MIB), CE_NOMEM);
    ck_assert_int_eq(l1_room(l1, SIZE_MAX), CE_NOMEM);
    ck_assert_int_eq(look("k", 'v'), 1000);
}
END_TEST

START_TEST(no_room_when_all_is_dirty_and_room_again_when_L2_has_one)
{
    enum { CARTS = 60, LEN = 100000 };
    for (unsigned i = 0; i < CARTS; i++)
        put_dirty(name_of("cart:", i).text, LEN, (uint8_t)i);
    l1_limit_set(l1, get_stats().bytes + 100);
    ck_assert_int_eq(l1_room(l1, 1000), CE_NOMEM);
    ck_assert_uint_eq(take_from("cart:5", 64).count, 1);
    ck_assert_int_eq(l1_room(l1, 1000), CE_NOMEM); /* pinned is not evictable either */
    unpin("cart:5", true);
    ck_assert_int_eq(l1_room(l1, 1000), 0);
    for (unsigned i = 0; i < CARTS; i++)
        ck_assert_int_eq(look(name_of("cart:", i).text, (uint8_t)i), i == 5 ? -1 : LEN);
    ck_assert_uint_eq(get_stats().cart_demotions, 1);
}
END_TEST

START_TEST(a_lower_limit_takes_effect_at_once)
{
    for (unsigned i = 0; i < 20000; i++)
        put(name_of("k", i).text, i % 2 ? L1_PLAIN : L1_ABSENT, 400, 0);
    ck_assert_uint_gt(get_stats().bytes, 9 * MIB);
    l1_limit_set(l1, 3 * MIB);
    struct stats stats = get_stats();
    ck_assert_uint_le(stats.bytes, 3 * MIB);
    ck_assert_uint_eq(stats.limit_maxbytes, 3 * MIB);
    /* Only plain items count as evictions. */
    ck_assert_uint_eq(stats.evictions, 10000 - stats.curr_items);
    ck_assert_uint_eq(stats.cart_demotions, 0);
}
END_TEST

/* ---- walking ------------------------------------------------------------------------------ */

enum { WALKED = 20000 };

struct walk {
    uint8_t met[WALKED]; /* how often "key-N" was met */
    unsigned calls, others, carts, at_once_max, at_once;
};

static void meet(void *arg, const struct l1_item *item)
{
    struct walk *walk = arg;
    struct slice key = l1_key(item), prefix = slice_str("key-");
    uint64_t n;
    walk->at_once++;
    if (slice_starts(key, prefix) && num_u64(slice_from(key, prefix.len), &n) && n < WALKED)
        walk->met[n]++;
    else
        walk->others++;
    if (item->value_bytes == 1 || item->value_bytes == 3000)
        walk->carts++;
}

static uint64_t walk_on(struct walk *walk, uint64_t from)
{
    walk->calls++;
    walk->at_once = 0;
    uint64_t next = l1_walk(l1, from, meet, walk);
    if (walk->at_once > walk->at_once_max)
        walk->at_once_max = walk->at_once;
    ck_assert(next == 0 || next > from);
    return next;
}

static void put_walked(void)
{
    for (unsigned i = 0; i < WALKED; i++)
        put(name_of("key-", i).text,
            i % 3 == 0   ? L1_PLAIN
            : i % 3 == 1 ? L1_CART
                         : L1_ABSENT,
            3, 0);
}

START_TEST(a_walk_through_nothing_ends)
{
    struct walk walk = {0};
    uint64_t at = 0;
    while ((at = walk_on(&walk, at)))
        ck_assert_uint_le(walk.calls, L1_STRIPES);
    ck_assert_uint_eq(walk.calls, L1_STRIPES);
    ck_assert_uint_eq(walk.others, 0);
}
END_TEST

START_TEST(a_walk_meets_every_item_once_some_at_a_time)
{
    static struct walk walk;
    uint64_t at = 0;
    put_walked();
    while ((at = walk_on(&walk, at)))
        continue;
    for (unsigned i = 0; i < WALKED; i++)
        ck_assert_uint_eq(walk.met[i], 1);
    ck_assert_uint_eq(walk.others, 0);
}
END_TEST

START_TEST(a_crowded_stripe_is_not_met_all_at_once)
{
    enum { CROWD = 2000 };
    static struct name names[CROWD];
    static struct walk walk;
    uint64_t at = 0;
    find_neighbours(names, CROWD);
    for (unsigned i = 0; i < CROWD; i++)
        put(names[i].text, L1_PLAIN, 1, 0);
    while ((at = walk_on(&walk, at)))
        continue;
    ck_assert_uint_eq(walk.others, CROWD);
    /* A chain has one item on average; twice as many in 64 buckets would be a bad hash. */
    ck_assert_uint_le(walk.at_once_max, 2 * L1_WALK_BUCKETS);
}
END_TEST

/* The buckets of one stripe double twice in the middle of it. */
START_TEST(a_walk_meets_every_item_once_while_the_table_grows)
{
    enum { THERE = 1000, GUESTS = 3000 };
    static struct name names[THERE + GUESTS];
    static struct walk walk;
    unsigned guests = 0;
    put_walked();
    find_neighbours(names, THERE + GUESTS);
    for (unsigned i = 0; i < THERE; i++)
        put(names[i].text, L1_CART, 1, 0);
    const struct l1_stripe *stripe = &l1->stripes[stripe_of("home")];
    uint32_t mask = stripe->buckets_mask;
    uint64_t at = (uint64_t)stripe_of("home") << 54;
    while ((at = walk_on(&walk, at)) >> 54 == stripe_of("home")) {
        for (unsigned i = 0; i < GUESTS / 5 && guests < GUESTS; i++)
            put(names[THERE + guests++].text, L1_PLAIN, 3, 0);
        put(names[walk.calls].text, L1_CART, 3000, 0); /* moves to other memory */
    }
    ck_assert_uint_ge(stripe->buckets_mask, 4 * mask);
    ck_assert_uint_eq(guests, GUESTS);
    ck_assert_uint_eq(walk.carts, THERE);
    ck_assert_uint_gt(walk.others, THERE + GUESTS / 2); /* many that came meanwhile */
}
END_TEST

START_TEST(the_oldest_plain_item_is_told)
{
    static const uint32_t stored_s[] = {70, 50, 90};
    put("cart:1", L1_CART, 3, 0);
    ck_assert_uint_eq(l1_oldest_s(l1), UINT32_MAX);
    for (unsigned i = 0; i < 3; i++) {
        struct slice key = slice_str(name_of("k", i).text);
        struct l1_item *item;
        l1_lock(l1, hash_64(key));
        ck_assert_int_eq(l1_put_locked(l1, hash_64(key), key, L1_PLAIN, 1, &item), 0);
        item->plain.stored_s = stored_s[i];
        l1_unlock(l1, hash_64(key));
    }
    ck_assert_uint_eq(l1_oldest_s(l1), 50);
}
END_TEST

/* ---- counts of bytes and of what was evicted ---------------------------------------------- */

START_TEST(bytes_are_counted_by_kind)
{
    size_t head = sizeof(struct l1_item);
    put("plain", L1_PLAIN, 100, 0);
    put("cart:1", L1_CART, 1000, 0);
    put("absent", L1_ABSENT, 0, 0);
    ck_assert_uint_eq(get_stats().plain_bytes, head + 5 + 100);
    ck_assert_uint_eq(get_stats().cart_bytes, head + 6 + 1000);
    put("plain", L1_PLAIN, 70000, 0);
    put("cart:1", L1_CART, 10, 0);
    ck_assert_uint_eq(get_stats().plain_bytes, head + 5 + 70000);
    ck_assert_uint_eq(get_stats().cart_bytes, head + 6 + 10);
    put("cart:1", L1_PLAIN, 20, 0);
    ck_assert_uint_eq(get_stats().plain_bytes, 2 * head + 5 + 70000 + 6 + 20);
    ck_assert_uint_eq(get_stats().cart_bytes, 0);
    ck_assert(remove_key("plain"));
    evict_all();
    ck_assert_uint_eq(get_stats().plain_bytes, 0);
}
END_TEST

START_TEST(evictions_of_what_nobody_asked_for_are_told)
{
    for (unsigned i = 0; i < 6; i++) {
        struct slice key = slice_str(name_of("k", i).text);
        struct l1_item *item;
        l1_lock(l1, hash_64(key));
        ck_assert_int_eq(l1_put_locked(l1, hash_64(key), key, L1_PLAIN, 1, &item), 0);
        item->marks = i < 2 ? L1_MARK_FETCHED : 0;
        item->plain.exptime_s = i < 1 ? 5 : 0;
        l1_unlock(l1, hash_64(key));
    }
    evict_all();
    ck_assert_uint_eq(get_stats().evictions, 6);
    ck_assert_uint_eq(get_stats().evicted_unfetched, 4);
    ck_assert_uint_eq(get_stats().evicted_nonzero, 1);
}
END_TEST

START_TEST(the_tables_are_counted)
{
    uint64_t buckets = 0;
    put_walked();
    for (unsigned i = 0; i < L1_STRIPES; i++)
        buckets += l1->stripes[i].buckets_mask + 1;
    ck_assert_uint_eq(get_stats().hash_bytes, buckets * sizeof(void *));
    ck_assert_uint_eq(l1_limit(l1), LIMIT);
}
END_TEST

/* ---- foresight ---------------------------------------------------------------------------- */

START_TEST(foresight_changes_nothing)
{
    uint64_t hashes[L1_FORESEEN_MAX + 1] = {0};
    for (unsigned i = 0; i < L1_FORESEEN_MAX; i++)
        hashes[i] = hash_64(slice_str(name_of("k", i).text));
    for (unsigned i = 0; i < L1_FORESEEN_MAX; i += 2)
        put(name_of("k", i).text, L1_PLAIN, 10, 'x');
    uint64_t bytes = get_stats().bytes;
    l1_foresee(l1, hashes, 0);
    l1_foresee(l1, hashes, L1_FORESEEN_MAX);
    for (unsigned i = 0; i < L1_FORESEEN_MAX; i++)
        ck_assert_int_eq(look(name_of("k", i).text, 'x'), i % 2 ? -1 : 10);
    ck_assert_uint_eq(get_stats().bytes, bytes);
}
END_TEST

START_TEST(foresight_has_a_limit)
{
    uint64_t hashes[L1_FORESEEN_MAX + 1] = {0};
    l1_foresee(l1, hashes, L1_FORESEEN_MAX + 1);
}
END_TEST

static _Atomic bool growing;

static void *run_growth(void *arg)
{
    for (unsigned i = 0; i < 100000; i++)
        put(name_of("key-", i).text, L1_PLAIN, 0, 0);
    growing = false;
    return arg;
}

/* Without a lock: whoever looks at a bucket before there is memory behind it ends with SIGSEGV. */
START_TEST(foresight_may_look_while_the_table_grows)
{
    uint64_t hashes[L1_FORESEEN_MAX], seed = 1;
    pthread_t thread;
    growing = true;
    ck_assert_int_eq(thread_start(&thread, "growth", run_growth, NULL), 0);
    while (growing) {
        for (unsigned i = 0; i < L1_FORESEEN_MAX; i++)
            hashes[i] = next_random(&seed);
        l1_foresee(l1, hashes, L1_FORESEEN_MAX);
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(get_stats().curr_items, 100000);
}
END_TEST

/* ---- suite -------------------------------------------------------------------------------- */

static void add_table(Suite *suite)
{
    TCase *tcase = add_case(suite, "table");
    tcase_add_test(tcase, foresight_changes_nothing);
    tcase_add_test_raise_signal(tcase, foresight_has_a_limit, SIGABRT);
    tcase_add_test(tcase, foresight_may_look_while_the_table_grows);
    tcase_add_test(tcase, an_item_is_found_by_its_key_only);
    tcase_add_test(tcase, many_items_survive_growth_of_the_table);
    tcase_add_test(tcase, the_longest_key_and_any_byte_in_it_work);
    tcase_add_test(tcase, a_new_item_has_its_part_zeroed_and_the_same_kind_keeps_it);
    tcase_add_test(tcase, a_value_that_fits_stays_where_it_is_and_a_wasteful_one_moves);
    tcase_add_test(tcase, a_cart_takes_a_first_add_where_it_is);
    tcase_add_test(tcase, a_resized_value_keeps_its_bytes_as_far_as_they_fit);
    tcase_add_test(tcase, kinds_may_change_and_are_counted);
    tcase_add_test(tcase, stats_name_each_row_once_and_count_right);
    tcase_add_test_raise_signal(tcase, a_kind_of_a_dirty_cart_must_not_change, SIGABRT);
    tcase_add_test_raise_signal(tcase, a_dirty_cart_must_not_be_removed, SIGABRT);
    tcase_add_test_raise_signal(tcase, a_stripe_must_be_locked_to_look_into_it, SIGABRT);
}

static void add_eviction(Suite *suite)
{
    TCase *tcase = add_case(suite, "eviction");
    tcase_add_test(tcase, the_limit_holds_after_every_put);
    tcase_add_test(tcase, dirty_carts_survive_any_pressure);
    tcase_add_test(tcase, the_oldest_goes_first);
    tcase_add_test(tcase, a_hit_item_outlives_one_that_was_not);
    tcase_add_test(tcase, a_hit_lets_an_item_off_once_and_the_hand_goes_on);
    tcase_add_test(tcase, when_all_were_hit_the_oldest_goes);
    tcase_add_test(tcase, one_crowded_stripe_gives_all_it_has);
    tcase_add_test(tcase, a_resized_item_keeps_its_place_and_its_hit);
    tcase_add_test(tcase, removing_the_item_under_the_hand_moves_the_hand);
    tcase_add_test(tcase, a_cart_that_the_hand_met_unwritten_comes_back_as_the_newest);
    tcase_add_test(tcase, a_small_item_among_big_ones_is_room_for_all_sizes);
    tcase_add_loop_test(tcase, a_fresh_large_item_does_not_go_before_older_ones, 0, 3);
    tcase_add_test(tcase, what_can_never_fit_is_refused_and_drops_nothing);
    tcase_add_test(tcase, no_room_when_all_is_dirty_and_room_again_when_L2_has_one);
    tcase_add_test(tcase, a_lower_limit_takes_effect_at_once);
}

static void add_walking(Suite *suite)
{
    TCase *tcase = add_case(suite, "walking");
    tcase_add_test(tcase, a_walk_through_nothing_ends);
    tcase_add_test(tcase, a_walk_meets_every_item_once_some_at_a_time);
    tcase_add_test(tcase, a_crowded_stripe_is_not_met_all_at_once);
    tcase_add_test(tcase, a_walk_meets_every_item_once_while_the_table_grows);
    tcase_add_test(tcase, the_oldest_plain_item_is_told);
    tcase_add_test(tcase, bytes_are_counted_by_kind);
    tcase_add_test(tcase, evictions_of_what_nobody_asked_for_are_told);
    tcase_add_test(tcase, the_tables_are_counted);
}

int main(void)
{
    Suite *suite = suite_create("l1");
    add_table(suite);
    add_eviction(suite);
    add_walking(suite);
    return suite_run(suite);
}
