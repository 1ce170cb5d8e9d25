/* daemon_heap_test: when unused memory is given back. */
#include "daemon/daemon.h"
#include "lib/suite.h"

#include <check.h>
#include <stdio.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static struct {
    uint64_t now_ms, trim_ms;
    size_t resident;
    int rc;
} world;

/* Each look at the clock takes as long as a trim. */
static uint64_t read_clock(void *ctx)
{
    (void)ctx;
    uint64_t now_ms = world.now_ms;
    world.now_ms += world.trim_ms;
    return now_ms;
}

static int read_file(void *ctx, const char *path, struct buf *out)
{
    (void)ctx;
    char line[100];
    ck_assert_str_eq(path, "/proc/self/statm");
    snprintf(line, sizeof line, "999999999 %zu 700 40 0 90000 0\n",
             world.resident / (size_t)sysconf(_SC_PAGESIZE));
    return world.rc ? world.rc : buf_append_str(out, line);
}

static const struct env env = {.mono_ms = read_clock, .file_read = read_file};

START_TEST(free_pieces_between_a_gibibyte_of_items_stall_nobody)
{
    struct daemon_heap heap = {0};
    world.resident = (1024 + 120) * MIB;
    ck_assert(!daemon_trim_heap(&heap, &env, 1024 * MIB));
}
END_TEST

START_TEST(what_a_burst_left_is_given_back)
{
    struct daemon_heap heap = {0};
    world.resident = 70 * MIB;
    ck_assert(daemon_trim_heap(&heap, &env, 40 * MIB));
    world.resident = 55 * MIB;
    ck_assert(!daemon_trim_heap(&heap, &env, 40 * MIB));
    world.resident = 1400 * MIB;
    ck_assert(daemon_trim_heap(&heap, &env, 1024 * MIB));
}
END_TEST

START_TEST(trims_take_a_twentieth_of_the_time)
{
    struct daemon_heap heap = {0};
    world.resident = 4096 * MIB;
    world.trim_ms = 500;
    ck_assert(daemon_trim_heap(&heap, &env, 1024 * MIB));
    uint64_t end_ms = world.now_ms - world.trim_ms;
    world.now_ms = end_ms + 9000;
    ck_assert(!daemon_trim_heap(&heap, &env, 1024 * MIB));
    world.now_ms = end_ms + 11000;
    ck_assert(daemon_trim_heap(&heap, &env, 1024 * MIB));
}
END_TEST

START_TEST(without_the_kernels_word_nothing_is_trimmed)
{
    struct daemon_heap heap = {0};
    world.resident = 4096 * MIB;
    world.rc = CE_IO;
    ck_assert(!daemon_trim_heap(&heap, &env, 0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("daemon_heap");
    TCase *tests = tcase_create("heap");
    tcase_add_test(tests, free_pieces_between_a_gibibyte_of_items_stall_nobody);
    tcase_add_test(tests, what_a_burst_left_is_given_back);
    tcase_add_test(tests, trims_take_a_twentieth_of_the_time);
    tcase_add_test(tests, without_the_kernels_word_nothing_is_trimmed);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
