/* l1_tidy: items that lie scattered are moved together, whatever others do to them meanwhile. */
#include "lib/suite.h"
#include "tier/l1/l1_int.h"

#include <check.h>
#include <stdio.h>

#define LIMIT ((size_t)1 << 30)
#define MANY  60000
#define CARTS 10000
#define STEPS 10 /* in which a cart grows */
#define STEP  36 /* bytes of one */

/* AddressSanitizer: all memory is the C library's, and nothing can be won. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_SPANS 0
#else
#define HAS_SPANS 1
#endif

static struct l1 *l1;
static uint64_t state;
static size_t sizes[MANY];

static void set_up(void)
{
    state = 1;
    memset(sizes, 0, sizeof sizes);
    ck_assert_int_eq(l1_new(LIMIT, &l1), 0);
}

static void tear_down(void)
{
    l1_free(&l1);
}

static uint64_t below(uint64_t limit)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % limit;
}

static struct slice key_of(unsigned cart, char out[16])
{
    return slice_of(out, (size_t)snprintf(out, 16, "cart:%06u", cart));
}

static uint8_t byte_of(unsigned cart, size_t at)
{
    return (uint8_t)(cart * 31 + at);
}

static bool is_of(unsigned cart, struct slice value)
{
    size_t at = 0;
    while (at < value.len && value.bytes[at] == byte_of(cart, at))
        at++;
    return at == value.len;
}

static void put(unsigned cart, size_t bytes)
{
    char text[16];
    struct l1_item *item;
    struct slice key = key_of(cart, text);
    uint64_t hash = hash_64(key);
    l1_lock(l1, hash);
    ck_assert_int_eq(l1_put_locked(l1, hash, key, L1_CART, bytes, &item), 0);
    for (size_t at = 0; at < bytes; at++)
        l1_value(item)[at] = byte_of(cart, at);
    item->cart.actor = cart;
    l1_unlock(l1, hash);
    sizes[cart] = bytes;
}

static void remove_cart(unsigned cart)
{
    char text[16];
    struct slice key = key_of(cart, text);
    uint64_t hash = hash_64(key);
    l1_lock(l1, hash);
    struct l1_item *item = l1_find_locked(l1, hash, key);
    if (item)
        l1_remove_locked(l1, hash, item);
    l1_unlock(l1, hash);
    sizes[cart] = 0;
}

static void expect_cart(unsigned cart)
{
    char text[16];
    struct slice key = key_of(cart, text);
    uint64_t hash = hash_64(key);
    l1_lock(l1, hash);
    struct l1_item *item = l1_find_locked(l1, hash, key);
    ck_assert(!item == !sizes[cart]);
    if (item) {
        ck_assert_uint_eq(item->value_bytes, sizes[cart]);
        ck_assert_uint_eq(item->cart.actor, cart);
        ck_assert(is_of(cart, l1_value_slice(item)));
    }
    l1_unlock(l1, hash);
}

static void expect_all(void)
{
    for (unsigned cart = 0; cart < MANY; cart++)
        expect_cart(cart);
}

/* In any order, so that each moves many times, until all have all their lines. */
static void grow(unsigned carts)
{
    uint8_t steps[MANY] = {0};
    for (unsigned left = carts; left > 0;) {
        unsigned cart = (unsigned)below(carts);
        if (steps[cart] == STEPS)
            continue;
        put(cart, sizes[cart] + STEP);
        left -= ++steps[cart] == STEPS;
    }
}

static bool always(void *ctx)
{
    (void)ctx;
    return true;
}

START_TEST(what_has_grown_is_moved_together)
{
    grow(MANY);
    size_t held = l1_mem_held();
    if (HAS_SPANS)
        ck_assert_uint_gt(l1_mem_holes(), held / 10);
    l1_tidy(l1, always, NULL);
    ck_assert_uint_le(l1_mem_holes(), l1_mem_held() / 16 + L1_CHUNK_BYTES);
    if (HAS_SPANS)
        ck_assert_uint_lt(l1_mem_held(), held);
    expect_all();
}
END_TEST

/* The hand of eviction goes through all of them, oldest first, as if none had moved. */
START_TEST(what_was_moved_can_be_evicted)
{
    grow(CARTS);
    l1_tidy(l1, always, NULL);
    l1_limit_set(l1, l1_used(l1) / 2);
    for (unsigned cart = 0; cart < CARTS; cart++) /* some are gone */
        remove_cart(cart);
    expect_all();
}
END_TEST

static void make_dirty(unsigned cart)
{
    char text[16];
    struct slice key = key_of(cart, text);
    uint64_t hash = hash_64(key);
    l1_lock(l1, hash);
    ck_assert_int_eq(l1_dirty_reserve_locked(l1, hash), 0);
    l1_dirty_locked(l1, hash, l1_find_locked(l1, hash, key));
    l1_unlock(l1, hash);
}

static int is_whole(void *arg, uint64_t hash, struct l1_item *item)
{
    (void)hash;
    ck_assert_uint_eq(item->value_bytes, sizes[item->cart.actor]);
    *(unsigned *)arg += 1;
    return 0;
}

/* Its hash stands in a list: the L2 writer still finds it. */
START_TEST(what_l2_lacks_may_be_moved)
{
    char text[16];
    unsigned taken = 0;
    grow(CARTS);
    for (unsigned cart = 0; cart < CARTS; cart += 3)
        make_dirty(cart);
    l1_tidy(l1, always, NULL);
    for (unsigned cart = 0; cart < CARTS; cart += 3) {
        struct slice key = key_of(cart, text);
        ck_assert_int_eq(l1_dirty_take(l1, hash_64(key), is_whole, &taken), 0);
        l1_unpin(l1, hash_64(key), key, true);
    }
    ck_assert_uint_eq(taken, (CARTS + 2) / 3);
    ck_assert_uint_eq(l1_dirty_count(l1), 0);
    expect_all();
}
END_TEST

static bool some(void *ctx)
{
    unsigned *left = ctx;
    return (*left)-- > 0;
}

/* And what it had begun with is a place for others again. */
START_TEST(it_ends_when_it_is_told)
{
    for (unsigned turn = 0; turn < 5; turn++) {
        unsigned left = turn * 1000;
        grow(CARTS);
        l1_tidy(l1, some, &left);
        for (unsigned cart = turn; cart < CARTS; cart += 2)
            remove_cart(cart);
    }
    expect_all();
    l1_tidy(l1, always, NULL);
    expect_all();
    for (unsigned cart = 0; cart < CARTS; cart++)
        remove_cart(cart);
    ck_assert_uint_eq(l1_mem_holes(), l1_mem_held());
}
END_TEST

/* A few steps at a time, as between clients that come and go: it does not begin anew each time. */
START_TEST(it_goes_on_where_it_was_told_to_end)
{
    grow(CARTS);
    for (unsigned turn = 0; turn < 2 * CARTS; turn++) {
        unsigned left = 3;
        l1_tidy(l1, some, &left);
    }
    ck_assert_uint_le(l1_mem_holes(), l1_mem_held() / 16 + L1_CHUNK_BYTES);
    ck_assert_uint_eq(l1->tidy_chunk, 0);
    expect_all();
}
END_TEST

/* ---- others at work ------------------------------------------------------------------------ */

static _Atomic bool over;

static void *tidy_on(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        l1->holes_left = 0;
        l1_tidy(l1, always, NULL);
    }
    return NULL;
}

START_TEST(carts_come_and_go_meanwhile)
{
    pthread_t thread;
    atomic_store(&over, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, tidy_on, NULL), 0);
    for (unsigned i = 0; i < 4 * CARTS; i++) {
        unsigned cart = (unsigned)below(CARTS);
        if (below(8) == 0)
            remove_cart(cart);
        else
            put(cart, 1 + below(4 * STEPS * STEP));
        expect_cart((unsigned)below(CARTS));
    }
    atomic_store(&over, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    expect_all();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("l1_tidy");
    TCase *tidy = tcase_create("tidy");
    tcase_add_checked_fixture(tidy, set_up, tear_down);
    tcase_set_timeout(tidy, 120);
    tcase_add_test(tidy, what_has_grown_is_moved_together);
    tcase_add_test(tidy, what_was_moved_can_be_evicted);
    tcase_add_test(tidy, what_l2_lacks_may_be_moved);
    tcase_add_test(tidy, it_ends_when_it_is_told);
    tcase_add_test(tidy, it_goes_on_where_it_was_told_to_end);
    tcase_add_test(tidy, carts_come_and_go_meanwhile);
    suite_add_tcase(suite, tidy);
    return suite_run(suite);
}
