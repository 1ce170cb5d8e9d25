/* net: buffers are passed on from connection to connection, within limits, and go back to the
 * system when nobody needs them. */
#include "lib/net_rig.h"
#include "lib/suite.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGE_BYTES (2 * CONN_KEEP_BYTES)

static struct pool pool;

static struct buf make_buf(size_t cap, const char *text)
{
    struct buf buf = {0};
    ck_assert(buf_reserve(&buf, cap) == 0 && buf_append_str(&buf, text) == 0);
    return buf;
}

static void give(size_t cap)
{
    struct buf buf = make_buf(cap, "");
    pool_give(&pool, &buf);
    ck_assert_ptr_null(buf.bytes);
}

static void fit(struct buf *buf, size_t bytes)
{
    ck_assert_int_eq(pool_fit(&pool, buf, bytes), 0);
    ck_assert_uint_ge(buf->cap, bytes);
}

START_TEST(a_tiny_buffer_stays_where_it_is)
{
    struct buf buf = make_buf(CONN_IDLE_BYTES, "text");
    const uint8_t *bytes = buf.bytes;
    pool_give(&pool, &buf);
    ck_assert(buf.bytes == bytes && buf.len == 0 && pool.bytes == 0);
    buf_free(&buf);
}
END_TEST

START_TEST(one_that_no_read_could_use_is_given_back)
{
    give(NET_READ_BYTES / 2);
    ck_assert(pool.small.count == 0 && pool.bytes == 0);
    give(NET_READ_BYTES);
    ck_assert(pool.small.count == 1 && pool.bytes == NET_READ_BYTES);
}
END_TEST

START_TEST(what_is_made_is_fit_for_a_read)
{
    struct buf user = {0};
    fit(&user, CONN_IDLE_BYTES + 1);
    ck_assert_uint_eq(user.cap, NET_READ_BYTES);
    buf_free(&user);
}
END_TEST

START_TEST(who_needs_little_does_not_take_much)
{
    struct buf user = {0}, other = {0};
    give(LARGE_BYTES);
    fit(&user, CONN_KEEP_BYTES);
    ck_assert(user.cap == CONN_KEEP_BYTES && pool.large.count == 1);
    pool_give(&pool, &user);
    fit(&other, NET_READ_BYTES);
    ck_assert(other.cap == CONN_KEEP_BYTES && pool.small.count == 0);
    buf_free(&other);
}
END_TEST

START_TEST(the_last_large_one_given_is_the_next_taken)
{
    struct buf first = make_buf(LARGE_BYTES, ""), second = make_buf(LARGE_BYTES, ""), user = {0};
    const uint8_t *bytes = second.bytes;
    pool_give(&pool, &first);
    pool_give(&pool, &second);
    ck_assert_uint_eq(pool.large.count, 2);
    fit(&user, LARGE_BYTES);
    ck_assert_ptr_eq(user.bytes, bytes);
    ck_assert(user.len == 0 && user.cap == LARGE_BYTES);
    ck_assert(pool.large.count == 1 && pool.bytes == LARGE_BYTES);
    buf_free(&user);
}
END_TEST

START_TEST(what_was_written_comes_along)
{
    struct buf user = make_buf(16, "begun");
    give(LARGE_BYTES);
    fit(&user, LARGE_BYTES);
    ck_assert(user.cap == LARGE_BYTES && pool.large.count == 0);
    ck_assert(slice_eq(buf_slice(&user), slice_str("begun")));
    buf_free(&user);
}
END_TEST

START_TEST(none_is_taken_that_is_too_small)
{
    struct buf user = make_buf(16, "begun");
    give(LARGE_BYTES);
    fit(&user, LARGE_BYTES + 1);
    ck_assert(pool.large.count == 1 && slice_eq(buf_slice(&user), slice_str("begun")));
    buf_free(&user);
}
END_TEST

START_TEST(a_larger_one_is_found_below_a_smaller_one)
{
    struct buf user = {0}, other = {0};
    give(2 * LARGE_BYTES);
    give(LARGE_BYTES);
    fit(&user, LARGE_BYTES + 1);
    ck_assert(user.cap == (size_t)2 * LARGE_BYTES && pool.large.count == 1);
    fit(&user, LARGE_BYTES); /* it is large enough itself */
    ck_assert(user.cap == (size_t)2 * LARGE_BYTES && pool.bytes == LARGE_BYTES);
    fit(&other, LARGE_BYTES);
    ck_assert(other.cap == LARGE_BYTES && pool.large.count == 0);
    buf_free(&other);
    buf_free(&user);
}
END_TEST

START_TEST(a_pool_has_limits)
{
    for (unsigned i = 0; i < 2 * POOL_BUFFERS_MAX; i++)
        give(NET_READ_BYTES);
    ck_assert_uint_eq(pool.small.count, POOL_BUFFERS_MAX);
    pool_free(&pool);
    ck_assert_uint_eq(pool.bytes, 0);
    give(POOL_BYTES_MAX / 2);
    give(POOL_BYTES_MAX / 2);
    give(NET_READ_BYTES);
    ck_assert(pool.large.count == 2 && pool.small.count == 0 && pool.bytes == POOL_BYTES_MAX);
}
END_TEST

START_TEST(what_nobody_needed_between_two_ticks_is_given_back)
{
    const size_t sizes[] = {NET_READ_BYTES, LARGE_BYTES};
    for (unsigned i = 0; i < 2; i++) {
        struct shelf *shelf = i ? &pool.large : &pool.small;
        struct buf user = {0};
        give(sizes[i]);
        give(sizes[i]);
        give(sizes[i]);
        pool_tick(&pool);
        ck_assert_uint_eq(shelf->count, 3); /* they came only just now */
        fit(&user, sizes[i]);
        pool_give(&pool, &user);
        pool_tick(&pool);
        ck_assert(shelf->count == 1 && pool.bytes == sizes[i]);
        pool_tick(&pool);
        ck_assert(shelf->count == 0 && pool.bytes == 0);
    }
}
END_TEST

/* ---- connections ---- */

static unsigned count_pooled(int fd)
{
    net_rig_say(fd, "e\n");
    net_rig_expect(fd, "ok\n");
    return atomic_load(&net_rig.pooled);
}

START_TEST(who_is_answered_at_length_together_needs_one_buffer)
{
    enum { CONNS = 3, BYTES = CONN_KEEP_BYTES + 1 };
    int fds[CONNS];
    char line[32];
    snprintf(line, sizeof line, "b %d\n", BYTES);
    for (unsigned i = 0; i < CONNS; i++) { /* once, so that much is expected of them */
        fds[i] = net_rig_connect_unix();
        net_rig_say(fds[i], line);
        net_rig_expect_bytes(fds[i], BYTES);
    }
    int still = net_rig_stand_still();
    for (unsigned i = 0; i < CONNS; i++)
        net_rig_say(fds[i], line);
    net_rig.pooled_min = UINT_MAX;
    sem_post(&net_rig.goes_on);
    for (unsigned i = 0; i < CONNS; i++)
        net_rig_expect_bytes(fds[i], BYTES);
    unsigned pooled = count_pooled(still);
    ck_assert_uint_ge(pooled, 1);
    ck_assert_uint_eq(atomic_load(&net_rig.pooled_min), pooled - 1);
    ck_assert(net_rig_is_silent(still, 2 * TICK_MS));
    ck_assert_uint_eq(count_pooled(still), 0);
    for (unsigned i = 0; i < CONNS; i++)
        close(fds[i]);
    close(still);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net_pool");
    TCase *alone = tcase_create("alone"), *served = tcase_create("served");
    tcase_add_test(alone, a_tiny_buffer_stays_where_it_is);
    tcase_add_test(alone, one_that_no_read_could_use_is_given_back);
    tcase_add_test(alone, what_is_made_is_fit_for_a_read);
    tcase_add_test(alone, who_needs_little_does_not_take_much);
    tcase_add_test(alone, the_last_large_one_given_is_the_next_taken);
    tcase_add_test(alone, what_was_written_comes_along);
    tcase_add_test(alone, none_is_taken_that_is_too_small);
    tcase_add_test(alone, a_larger_one_is_found_below_a_smaller_one);
    tcase_add_test(alone, a_pool_has_limits);
    tcase_add_test(alone, what_nobody_needed_between_two_ticks_is_given_back);
    tcase_add_checked_fixture(served, net_rig_set_up, net_rig_tear_down);
    tcase_set_timeout(served, WAIT_MS / 1000);
    tcase_add_test(served, who_is_answered_at_length_together_needs_one_buffer);
    suite_add_tcase(suite, alone);
    suite_add_tcase(suite, served);
    return suite_run(suite);
}
