/* base_test: numbers, varints, buffers, slices, hashes, errors, lock order. */
#include "base/base.h"
#include "lib/suite.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct slice text(const char *s)
{
    return slice_str(s);
}

START_TEST(numbers_are_strict)
{
    static const char *const bad[] = {"", "-", "+1", " 1", "1 ", "0x1", "1a", "--1", "-1-"};
    uint64_t u;
    int64_t i;
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        ck_assert_msg(!num_i64(text(bad[n]), &i), "%s", bad[n]);
        ck_assert_msg(!num_u64(text(bad[n]), &u), "%s", bad[n]);
    }
    ck_assert(!num_u64(text("-1"), &u));
    ck_assert(num_u64(text("000123"), &u) && u == 123);
    ck_assert(num_i64(text("-000123"), &i) && i == -123);
}
END_TEST

START_TEST(numbers_end_at_their_limits)
{
    uint64_t u;
    int64_t i;
    uint32_t w;
    ck_assert(num_u64(text("18446744073709551615"), &u) && u == UINT64_MAX);
    ck_assert(!num_u64(text("18446744073709551616"), &u));
    ck_assert(!num_u64(text("99999999999999999999"), &u));
    ck_assert(num_i64(text("9223372036854775807"), &i) && i == INT64_MAX);
    ck_assert(!num_i64(text("9223372036854775808"), &i));
    ck_assert(num_i64(text("-9223372036854775808"), &i) && i == INT64_MIN);
    ck_assert(!num_i64(text("-9223372036854775809"), &i));
    ck_assert(num_u32(text("4294967295"), &w) && w == UINT32_MAX);
    ck_assert(!num_u32(text("4294967296"), &w));
}
END_TEST

START_TEST(printed_numbers_read_back)
{
    static const int64_t values[] = {0, 1, -1, 9, 10, -10, INT64_MAX, INT64_MIN};
    for (size_t n = 0; n < sizeof values / sizeof values[0]; n++) {
        char out[NUM_DIGITS_MAX];
        int64_t back;
        size_t len = num_put_i64(out, values[n]);
        ck_assert(len <= sizeof out);
        ck_assert(num_i64(slice_of(out, len), &back) && back == values[n]);
    }
}
END_TEST

/* Printed again by the C library; around each power of ten, and with random digits. */
START_TEST(numbers_are_printed_whole)
{
    uint64_t power = 1, state = 88172645463325252ull;
    for (int digits = 1; digits <= 20; digits++, power *= 10) {
        for (int n = -50; n < 1000; n++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            uint64_t value = n < 50 ? power + (uint64_t)(int64_t)n : state % power;
            char want[32], got[32];
            size_t want_len =
                (size_t)snprintf(want, sizeof want, "%llu", (unsigned long long)value);
            ck_assert_uint_eq(num_put_u64(got, value), want_len);
            ck_assert_mem_eq(got, want, want_len);
        }
    }
}
END_TEST

/* What is behind a number does not matter, nor how much of it there is; one that is cut short or
 * not the shortest is none. */
START_TEST(varints_end_where_they_end)
{
    for (unsigned bits = 0; bits <= 64; bits++) {
        uint64_t want = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - (bits & 1);
        for (size_t behind = 0; behind < 12; behind++) {
            uint8_t bytes[VARINT_MAX + 12];
            uint64_t value = 0;
            memset(bytes, behind & 1 ? 0xff : 0, sizeof bytes);
            size_t len = varint_put(bytes, want);
            struct slice in = slice_of(bytes, len + behind);
            ck_assert(varint_take(&in, &value) && value == want && in.len == behind);
            for (size_t cut = 0; cut < len; cut++) {
                in = slice_of(bytes, cut);
                ck_assert(!varint_take(&in, &value));
            }
            if (len == VARINT_MAX)
                continue;
            bytes[len - 1] |= 0x80; /* the same value, a byte longer */
            bytes[len] = 0;
            in = slice_of(bytes, len + 1 + behind);
            ck_assert(!varint_take(&in, &value));
        }
    }
}
END_TEST

/* Each byte at each place, alone among bytes that are none of what is asked for. */
START_TEST(words_tell_what_is_in_them)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        for (unsigned place = 0; place < WORD_BYTES; place++) {
            uint8_t bytes[WORD_BYTES];
            memset(bytes, 'x', sizeof bytes);
            bytes[place] = (uint8_t)byte;
            ck_assert(word_has_below(word_load(bytes), ' ') == (byte < ' '));
            ck_assert(word_has(word_load(bytes), '"') == (byte == '"'));
            ck_assert(word_has(word_load(bytes), 0x7f) == (byte == 0x7f));
        }
    }
}
END_TEST

START_TEST(varints_have_one_form)
{
    static const uint8_t overlong[] = {0x80, 0x00};
    static const uint8_t too_big[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    uint64_t value;
    struct slice in = slice_of(overlong, sizeof overlong);
    ck_assert(!varint_take(&in, &value));
    in = slice_of(too_big, sizeof too_big);
    ck_assert(!varint_take(&in, &value));
    for (unsigned bit = 0; bit < 64; bit++) {
        uint8_t bytes[VARINT_MAX];
        uint64_t want = UINT64_MAX >> bit;
        size_t len = varint_put(bytes, want);
        for (size_t cut = 0; cut < len; cut++) {
            in = slice_of(bytes, cut);
            ck_assert(!varint_take(&in, &value));
        }
        in = slice_of(bytes, len);
        ck_assert(varint_take(&in, &value) && value == want && in.len == 0);
    }
    ck_assert(unzigzag(zigzag(INT64_MIN)) == INT64_MIN && unzigzag(zigzag(-1)) == -1);
}
END_TEST

START_TEST(buffers_splice_and_drop)
{
    struct buf buf = {0};
    ck_assert(buf_append_str(&buf, "hello world") == 0);
    ck_assert(buf_splice(&buf, 0, 5, text("good morning")) == 0);
    ck_assert(slice_eq(buf_slice(&buf), text("good morning world")));
    ck_assert(buf_splice(&buf, 4, 8, text("")) == 0);
    ck_assert(slice_eq(buf_slice(&buf), text("good world")));
    buf_drop_front(&buf, 5);
    ck_assert(slice_eq(buf_slice(&buf), text("world")));
    ck_assert(buf_printf(&buf, " %d", 42) == 0);
    ck_assert(slice_eq(buf_slice(&buf), text("world 42")));
    ck_assert(buf_reserve(&buf, SIZE_MAX) == CE_NOMEM);
    ck_assert(slice_eq(buf_slice(&buf), text("world 42")));
    buf_free(&buf);
}
END_TEST

START_TEST(slices_compare_as_memcmp)
{
    ck_assert(slice_cmp(text("a"), text("b")) < 0);
    ck_assert(slice_cmp(text("ab"), text("a")) > 0);
    ck_assert(slice_cmp(text(""), text("")) == 0);
    ck_assert(slice_starts(text("cart:1"), text("cart:")));
    ck_assert(!slice_starts(text("cart"), text("cart:")));
}
END_TEST

/* Vectors of the real library (cluster-notes 1.2). */
START_TEST(ring_hash_is_libmemcacheds)
{
    ck_assert_uint_eq(hash_ring(text("cart:0")), 0x2710bf04u);
    ck_assert_uint_eq(hash_ring(text("cart:7919")), 0xdf63c3c5u);
    ck_assert_uint_eq(hash_ring(text("user:{u2300}:cart")), 0xce1d1721u);
    ck_assert_uint_eq(hash_ring(text("VDEAAAAA")), 0xfffcd1b5u);
}
END_TEST

START_TEST(every_error_has_text_and_reply)
{
#define X(name, what, wire)                                                                        \
    ck_assert(CE_##name < 0);                                                                      \
    ck_assert_str_eq(err_text(CE_##name), what);                                                   \
    ck_assert(strlen(err_wire(CE_##name)) > 0 && !strpbrk(err_wire(CE_##name), "\r\n"));
    ERR_TABLE(X)
#undef X
    ck_assert_str_eq(err_text(0), "ok");
}
END_TEST

START_TEST(locks_out_of_order_abort)
{
    struct lock first, second;
    lock_init(&first, LOCK_STRIPE);
    lock_init(&second, LOCK_JOURNAL);
    lock_take(&first);
    lock_take(&second);
    ck_assert(lock_held(&first) && lock_held(&second));
    lock_drop(&second);
    lock_drop(&first);
    ck_assert(!lock_held(&first));
    lock_take(&second);
    lock_take(&first); /* aborts */
}
END_TEST

/* A merge holds the stripes of two carts; a higher rank may follow, whichever goes first. */
START_TEST(two_locks_of_one_rank_are_held_and_dropped_in_any_order)
{
    struct lock stripes[2], journal;
    lock_init(&stripes[0], LOCK_STRIPE);
    lock_init(&stripes[1], LOCK_STRIPE);
    lock_init(&journal, LOCK_JOURNAL);
    for (int first = 0; first < 2; first++) {
        lock_take(&stripes[0]);
        lock_take_second(&stripes[1]);
        ck_assert(lock_held(&stripes[0]) && lock_held(&stripes[1]));
        lock_take(&journal);
        lock_drop(&journal);
        lock_drop(&stripes[first]);
        ck_assert(!lock_held(&stripes[first]) && lock_held(&stripes[1 - first]));
        lock_take(&journal);
        lock_drop(&journal);
        lock_drop(&stripes[1 - first]);
    }
    lock_take(&stripes[0]); /* nothing is thought to be held */
    lock_drop(&stripes[0]);
}
END_TEST

START_TEST(a_third_lock_of_one_rank_aborts)
{
    struct lock stripes[3];
    for (int i = 0; i < 3; i++)
        lock_init(&stripes[i], LOCK_STRIPE);
    lock_take(&stripes[0]);
    lock_take_second(&stripes[1]);
    lock_take_second(&stripes[2]); /* aborts */
}
END_TEST

START_TEST(a_second_lock_needs_a_first)
{
    struct lock stripe;
    lock_init(&stripe, LOCK_STRIPE);
    lock_take_second(&stripe); /* aborts */
}
END_TEST

START_TEST(a_second_lock_below_what_is_held_aborts)
{
    struct lock stripes[2], journal;
    lock_init(&stripes[0], LOCK_STRIPE);
    lock_init(&stripes[1], LOCK_STRIPE);
    lock_init(&journal, LOCK_JOURNAL);
    lock_take(&stripes[0]);
    lock_take(&journal);
    lock_take_second(&stripes[1]); /* aborts */
}
END_TEST

START_TEST(real_files_say_what_is_wrong)
{
    const struct env *env = env_real();
    struct buf out = {0};
    int fd;
    char dir[] = "/tmp/base_test.XXXXXX", path[64];
    ck_assert(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/a", dir);
    ck_assert(env->file_read(NULL, path, &out) == CE_NOTFOUND);
    ck_assert(env->file_create(NULL, path, &fd) == 0);
    ck_assert(env->file_write(NULL, fd, text("one")) == 0 && env->file_sync(NULL, fd) == 0);
    ck_assert(env->file_close(NULL, fd) == 0);
    ck_assert(env->file_create(NULL, path, &fd) == CE_IO); /* must not exist */
    ck_assert(env->file_read(NULL, path, &out) == 0 && slice_eq(buf_slice(&out), text("one")));
    out.len = 0;
    ck_assert(env->file_read_part(NULL, path, 1, 1, &out) == 0);
    ck_assert(env->file_read_part(NULL, path, 2, 9, &out) == 0); /* to its end */
    ck_assert(env->file_read_part(NULL, path, 3, 9, &out) == 0); /* behind it */
    ck_assert(slice_eq(buf_slice(&out), text("ne")));
    uint64_t bytes = 0;
    ck_assert(env->file_size(NULL, path, &bytes) == 0 && bytes == 3);
    ck_assert(env->file_truncate(NULL, path, 1) == 0);
    ck_assert(env->file_size(NULL, path, &bytes) == 0 && bytes == 1);
    out.len = 0;
    ck_assert(env->file_read(NULL, path, &out) == 0 && slice_eq(buf_slice(&out), text("o")));
    ck_assert(env->file_remove(NULL, path) == 0);
    ck_assert(env->file_read_part(NULL, path, 0, 1, &out) == CE_NOTFOUND);
    ck_assert(env->file_size(NULL, path, &bytes) == CE_NOTFOUND);
    ck_assert(env->dir_sync(NULL, dir) == 0);
    uint64_t room = 0;
    ck_assert(env->dir_free(NULL, dir, &room) == 0 && room > 0);
    remove(dir);
    ck_assert(env->dir_free(NULL, dir, &room) == CE_NOTFOUND);
    buf_free(&out);
}
END_TEST

/* A mistake of who named it is told from a fault of the disk. */
START_TEST(what_is_no_directory_is_not_accessible)
{
    const struct env *env = env_real();
    char file[] = "/tmp/base_test.XXXXXX", below[64];
    int fd = mkstemp(file), locked = 0;
    ck_assert_int_ge(fd, 0);
    snprintf(below, sizeof below, "%s/below", file);
    ck_assert(env->dir_make(NULL, below) == CE_NOACCESS);
    ck_assert(env->dir_lock(NULL, file, &locked) == CE_NOACCESS);
    ck_assert_int_eq(locked, -1);
    ck_assert(env->dir_lock(NULL, "/nowhere/at/all", &locked) == CE_NOTFOUND);
    close(fd);
    remove(file);
}
END_TEST

START_TEST(a_directory_is_locked_once)
{
    const struct env *env = env_real();
    int first, second;
    char dir[] = "/tmp/base_test.XXXXXX";
    ck_assert(mkdtemp(dir) != NULL);
    ck_assert(env->dir_lock(NULL, dir, &first) == 0);
    ck_assert(env->dir_lock(NULL, dir, &second) == CE_BUSY);
    ck_assert(env->file_close(NULL, first) == 0);
    ck_assert(env->dir_lock(NULL, dir, &second) == 0);
    ck_assert(env->file_close(NULL, second) == 0);
    remove(dir);
}
END_TEST

START_TEST(huge_memory_is_aligned_and_zeroed)
{
    static const size_t sizes[] = {1, 4096, HUGE_BYTES - 1, HUGE_BYTES, 3 * HUGE_BYTES + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *mem = huge_new(sizes[i]);
        ck_assert_ptr_nonnull(mem);
        ck_assert_uint_eq((uintptr_t)mem % HUGE_BYTES, 0);
        for (size_t at = 0; at < sizes[i]; at += 1000)
            ck_assert_uint_eq(mem[at], 0);
        memset(mem, 0xff, sizes[i]);
        huge_free(mem, sizes[i]);
    }
    huge_free(NULL, 1);
    ck_assert_ptr_null(huge_new(SIZE_MAX / 4));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *tests = tcase_create("base");
    tcase_add_test(tests, numbers_are_strict);
    tcase_add_test(tests, numbers_end_at_their_limits);
    tcase_add_test(tests, printed_numbers_read_back);
    tcase_add_test(tests, numbers_are_printed_whole);
    tcase_add_test(tests, varints_end_where_they_end);
    tcase_add_test(tests, words_tell_what_is_in_them);
    tcase_add_test(tests, varints_have_one_form);
    tcase_add_test(tests, buffers_splice_and_drop);
    tcase_add_test(tests, slices_compare_as_memcmp);
    tcase_add_test(tests, ring_hash_is_libmemcacheds);
    tcase_add_test(tests, every_error_has_text_and_reply);
    tcase_add_test_raise_signal(tests, locks_out_of_order_abort, SIGABRT);
    tcase_add_test(tests, two_locks_of_one_rank_are_held_and_dropped_in_any_order);
    tcase_add_test_raise_signal(tests, a_third_lock_of_one_rank_aborts, SIGABRT);
    tcase_add_test_raise_signal(tests, a_second_lock_needs_a_first, SIGABRT);
    tcase_add_test_raise_signal(tests, a_second_lock_below_what_is_held_aborts, SIGABRT);
    tcase_add_test(tests, real_files_say_what_is_wrong);
    tcase_add_test(tests, what_is_no_directory_is_not_accessible);
    tcase_add_test(tests, a_directory_is_locked_once);
    tcase_add_test(tests, huge_memory_is_aligned_and_zeroed);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
