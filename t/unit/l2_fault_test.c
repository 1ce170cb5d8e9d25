/* Every call of the system that LevelDB and this room make fails once: in an open of a good
 * database, and in a salvage of a rotten one. An error of the disk is no damage, and costs nothing.
 * LONG_TESTS: each of them, else some.
 *
 * This program has the calls by which libleveldb reaches the system; they fail as they are told. */
#include "tier/l2/l2_int.h"
#include "lib/suite.h"

#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CARTS       120
#define STATE_LEN   1000
#define ROT_AT      (CARTS / 3 * STATE_LEN) /* in a table of two thirds of them */
#define HOLE_AT     (ROT_AT + 2000)         /* in the same block */
#define HOLE_END    (HOLE_AT + 1)
#define TRIES_MAX   4
#define CALLS_MAX   5000
#define SOME        9 /* one of so many calls */
#define COMMAND_MAX 512

/* ---- calls that fail ---------------------------------------------------------------------------
 */

static struct {
    _Atomic bool armed;
    _Atomic int left; /* calls until one fails */
    bool lasting;     /* all behind it, too */
    int error;
    const char *part; /* of the path; calls by descriptor have none. NULL: all calls */
    _Atomic int hits;
    char last[256];
} fault;

static void arm(int n, bool lasting, int error, const char *part)
{
    fault.lasting = lasting;
    fault.error = error;
    fault.part = part;
    atomic_store(&fault.hits, 0);
    atomic_store(&fault.left, n);
    atomic_store(&fault.armed, true);
}

static int disarm(void)
{
    atomic_store(&fault.armed, false);
    return atomic_load(&fault.hits);
}

/* Calls that TSan makes itself, before it can be asked anything, come through here. */
#define NO_TSAN __attribute__((no_sanitize("thread")))

NO_TSAN static bool fails(const char *call, const char *path)
{
    if (!atomic_load(&fault.armed) || (fault.part && !(path && strstr(path, fault.part))))
        return false;
    int left = atomic_fetch_sub(&fault.left, 1);
    if (left > 1 || (left < 1 && !fault.lasting))
        return false;
    atomic_fetch_add(&fault.hits, 1);
    snprintf(fault.last, sizeof fault.last, "%s %s", call, path ? path : "");
    errno = fault.error;
    return true;
}

NO_TSAN static bool is_file(int fd)
{
    struct stat of;
    return atomic_load(&fault.armed) && fd > STDERR_FILENO && fstat(fd, &of) == 0 &&
           S_ISREG(of.st_mode);
}

/* A call by path or by descriptor (then `path` is NULL), in place of libc's own. */
#define CALL(result, none, name, params, args, is_ours, path)                                      \
    result fail_##name params __asm__(#name);                                                      \
    NO_TSAN result fail_##name params                                                              \
    {                                                                                              \
        static result(*real) params;                                                               \
        if (!real)                                                                                 \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                             \
        return (is_ours) && fails(#name, path) ? none : real args;                                 \
    }

CALL(ssize_t, -1, read, (int fd, void *to, size_t len), (fd, to, len), is_file(fd), NULL)
CALL(ssize_t, -1, pread, (int fd, void *to, size_t len, off_t at), (fd, to, len, at), is_file(fd),
     NULL)
CALL(ssize_t, -1, write, (int fd, const void *from, size_t len), (fd, from, len), is_file(fd), NULL)
CALL(int, -1, fdatasync, (int fd), (fd), true, NULL)
CALL(int, -1, fsync, (int fd), (fd), true, NULL)
CALL(int, -1, rename, (const char *from, const char *to), (from, to), true, from)
CALL(int, -1, unlink, (const char *path), (path), true, path)
CALL(int, -1, access, (const char *path, int how), (path, how), true, path)
CALL(int, -1, stat, (const char *path, struct stat *to), (path, to), true, path)
CALL(DIR *, NULL, opendir, (const char *path), (path), true, path)
CALL(void *, MAP_FAILED, mmap, (void *at, size_t len, int prot, int how, int fd, off_t from),
     (at, len, prot, how, fd, from), is_file(fd), NULL)

int fail_open(const char *path, int how, ...) __asm__("open");
NO_TSAN int fail_open(const char *path, int how, ...)
{
    static int (*real)(const char *, int, ...);
    va_list rest;
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "open");
    va_start(rest, how);
    mode_t mode = va_arg(rest, mode_t); /* without O_CREAT nobody looks at it */
    va_end(rest);
    return fails("open", path) ? -1 : real(path, how, mode);
}

/* ---- a database --------------------------------------------------------------------------------
 */

static char folder[64];
static char path[128];
static struct l2 *l2;
static unsigned io_errors;
static struct buf storage;

/* libc lists a folder without a call that can be taken over. */
static int list_or_fail(void *ctx, const char *dir, void (*each)(void *arg, const char *name),
                        void *arg)
{
    return fails("dir_list", dir) ? CE_IO : env_real()->dir_list(ctx, dir, each, arg);
}

/* A place on the disk in a table that was moved aside can't be read any more. */
static bool has_hole;

static bool is_in_hole(const char *file, uint64_t from, uint64_t to)
{
    return has_hole && strstr(file, ".broken-") && strstr(file, ".ldb") && from < HOLE_END &&
           to > HOLE_AT;
}

static int read_or_fail(void *ctx, const char *file, struct buf *out)
{
    return is_in_hole(file, 0, UINT64_MAX) ? CE_IO : env_real()->file_read(ctx, file, out);
}

static int read_part_or_fail(void *ctx, const char *file, uint64_t offset, size_t bytes,
                             struct buf *out)
{
    return is_in_hole(file, offset, offset + bytes)
               ? CE_IO
               : env_real()->file_read_part(ctx, file, offset, bytes, out);
}

static int open_l2(bool *moved_aside)
{
    static struct env env;
    const struct l2_config config = {.env = &env, .path = path, .io_errors = &io_errors};
    env = *env_real();
    env.dir_list = list_or_fail;
    env.file_read = read_or_fail;
    env.file_read_part = read_part_or_fail;
    return l2_open(&config, &l2, moved_aside);
}

static void must_open(bool want_moved)
{
    bool moved_aside = !want_moved;
    ck_assert_int_eq(open_l2(&moved_aside), 0);
    ck_assert(moved_aside == want_moved);
}

/* The system calls of another process do not fail. */
static void must_run(const char *command)
{
    char line[COMMAND_MAX];
    snprintf(line, sizeof line, "cd %s && %s", folder, command);
    ck_assert_int_eq(system(line), 0);
}

/* States that no block of a table can leave out. */
static void put_carts(size_t from, size_t to)
{
    struct l2_batch *batch;
    ck_assert_int_eq(l2_batch_new(&batch), 0);
    for (size_t i = from; i < to; i++) {
        char key[32];
        uint8_t state[STATE_LEN];
        snprintf(key, sizeof key, "cart:%zu", i);
        memset(state, (int)i, sizeof state);
        const struct l2_cart cart = {1, 2, 3, 4, 5, slice_of(state, sizeof state)};
        ck_assert_int_eq(l2_batch_put(batch, slice_str(key), &cart), 0);
    }
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    l2_batch_free(&batch);
}

/* A table of most of the carts, a log with the rest; a copy of it beside. */
static void set_up(void)
{
    log_level_set(LOG_ERROR - 1);
    snprintf(folder, sizeof folder, "/tmp/l2_fault_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/l2", folder);
    must_open(false);
    put_carts(0, 2 * CARTS / 3);
    l2_close(&l2);
    must_open(false);
    put_carts(2 * CARTS / 3, CARTS);
    l2_close(&l2);
}

static void tear_down(void)
{
    if (l2)
        l2_close(&l2);
    buf_free(&storage);
    must_run("rm -r l2* kept");
    ck_assert_int_eq(rmdir(folder), 0);
}

static void keep(void)
{
    must_run("mkdir kept && cp -r l2 kept");
}

static void bring_back(void)
{
    if (l2)
        l2_close(&l2);
    must_run("rm -rf l2* && cp -r kept/* .");
    io_errors = 0;
}

/* How many carts there are, apart or not. */
static unsigned count_carts(void)
{
    unsigned count = 0;
    for (size_t i = 0; i < CARTS; i++) {
        char key[32];
        struct l2_cart got;
        snprintf(key, sizeof key, "cart:%zu", i);
        int rc = l2_get(l2, slice_str(key), &storage, &got);
        if (rc == CE_NOTFOUND)
            rc = l2_salvaged_get(l2, slice_str(key), &storage, &got);
        ck_assert_msg(rc == 0 || rc == CE_NOTFOUND, "%s: %s", key, err_text(rc));
        if (rc)
            continue;
        ck_assert_uint_eq(got.state.len, STATE_LEN);
        ck_assert_uint_eq(got.state.bytes[STATE_LEN / 2], (uint8_t)i);
        count++;
    }
    return count;
}

static unsigned count_broken(void)
{
    unsigned count = 0;
    struct dirent *entry;
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)))
        count += strstr(entry->d_name, ".broken-") != NULL;
    closedir(dir);
    return count;
}

static int next_call(int n)
{
    ck_assert_int_lt(n, CALLS_MAX);
    return n + (getenv("LONG_TESTS") ? 1 : SOME);
}

/* As the start does, and the writer: again until it opens. */
static void open_until_it_works(void)
{
    bool moved_aside;
    int tries = 0;
    while (!l2) {
        ck_assert_msg(tries++ < TRIES_MAX, "does not open after %s", fault.last);
        (void)open_l2(&moved_aside);
    }
}

/* ---- a good database ---------------------------------------------------------------------------
 */

static const int errors[] = {EIO, EMFILE};

static void open_with_each_failing(int error)
{
    bool hit = true;
    for (int n = 1; hit; n = next_call(n)) {
        bool moved_aside;
        bring_back();
        arm(n, false, error, NULL);
        int rc = open_l2(&moved_aside);
        hit = disarm() > 0;
        ck_assert_msg(rc == 0 || l2 == NULL, "%s", fault.last);
        open_until_it_works();
        ck_assert_msg(count_broken() == 0, "moved aside after %s", fault.last);
        ck_assert_msg(count_carts() == CARTS, "%u carts after %s", count_carts(), fault.last);
        ck_assert(!l2_has_salvaged(l2));
    }
}

START_TEST(an_error_of_the_disk_is_no_damage)
{
    keep();
    open_with_each_failing(errors[_i]);
}
END_TEST

/* The start before met damage that it took for one, and was killed before it moved anything. */
START_TEST(a_new_one_that_was_not_needed_replaces_nothing)
{
    must_run("mv l2 full");
    must_open(false);
    l2_close(&l2);
    must_run("mkdir kept && mv full kept/l2 && mv l2 kept/l2.new");
    open_with_each_failing(EIO);
}
END_TEST

/* A place on the disk that has gone for good. */
START_TEST(what_fails_again_and_again_is_damage)
{
    bool moved_aside = false;
    keep();
    bring_back();
    arm(1, true, EIO, "l2/MANIFEST");
    for (unsigned i = 1; i < L2_IO_TRIES; i++) {
        ck_assert_int_eq(open_l2(&moved_aside), CE_IO);
        ck_assert(!moved_aside);
    }
    int rc = open_l2(&moved_aside);
    ck_assert(moved_aside);
    disarm();
    ck_assert_int_eq(rc, CE_NODISK); /* the new one has a list of its own, that can't be read */
    open_until_it_works();
    ck_assert_uint_eq(count_broken(), 1);
    ck_assert_uint_eq(count_carts(), CARTS);
}
END_TEST

START_TEST(no_rights_and_no_descriptors_are_never_damage)
{
    static const int passing[] = {EACCES, EMFILE, ENOSPC};
    keep();
    bring_back();
    bool moved_aside = true;
    arm(1, true, passing[_i], "l2/MANIFEST");
    for (unsigned i = 0; i < 2 * L2_IO_TRIES; i++) {
        ck_assert_int_lt(open_l2(&moved_aside), 0);
        ck_assert(!moved_aside);
    }
    disarm();
    ck_assert_uint_eq(io_errors, 0);
    must_open(false);
}
END_TEST

/* ---- a rotten one ------------------------------------------------------------------------------
 */

static void find_table(void *arg, const char *name)
{
    if (strstr(name, ".ldb"))
        snprintf(arg, 200, "%s/%s", path, name);
}

/* A block in the middle of its table, and CURRENT, so that it does not open. */
static void spoil(void)
{
    char name[200] = "";
    ck_assert_int_eq(env_real()->dir_list(NULL, path, find_table, name), 0);
    FILE *table = fopen(name, "r+");
    ck_assert_ptr_nonnull(table);
    ck_assert_int_eq(fseek(table, ROT_AT, SEEK_SET), 0);
    ck_assert_int_ne(fputc('?', table), EOF);
    ck_assert_int_eq(fclose(table), 0);
    must_run("echo MANIFEST-999999 > l2/CURRENT");
}

/* Whatever fails once, as many carts are salvaged as when nothing fails. */
START_TEST(a_salvage_that_the_disk_disturbed_is_not_called_done)
{
    spoil();
    keep();
    must_open(true);
    unsigned readable = count_carts();
    ck_assert_uint_gt(readable, CARTS / 2);
    ck_assert_uint_lt(readable, CARTS);
    bool hit = true;
    for (int n = 1; hit; n = next_call(n)) {
        bool moved_aside;
        bring_back();
        arm(n, false, errors[_i], NULL);
        (void)open_l2(&moved_aside);
        hit = disarm() > 0;
        open_until_it_works();
        ck_assert_msg(count_carts() == readable, "%u of %u carts after %s", count_carts(), readable,
                      fault.last);
    }
}
END_TEST

/* ... and what the disk never gives back costs no more than rot in its place. */
START_TEST(what_cannot_be_read_for_good_is_given_up)
{
    bool moved_aside;
    unsigned tries = 0;
    spoil();
    keep();
    must_open(true);
    unsigned readable = count_carts();
    bring_back();
    has_hole = true;
    ck_assert_int_eq(open_l2(&moved_aside), CE_NODISK);
    while (open_l2(&moved_aside))
        ck_assert_uint_lt(tries++, L2_IO_TRIES);
    ck_assert_uint_eq(tries, L2_IO_TRIES - 1);
    ck_assert_uint_eq(count_carts(), readable);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("l2_fault");
    TCase *tests = tcase_create("l2_fault");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, an_error_of_the_disk_is_no_damage, 0, 2);
    tcase_add_test(tests, a_new_one_that_was_not_needed_replaces_nothing);
    tcase_add_test(tests, what_fails_again_and_again_is_damage);
    tcase_add_loop_test(tests, no_rights_and_no_descriptors_are_never_damage, 0, 3);
    tcase_add_loop_test(tests, a_salvage_that_the_disk_disturbed_is_not_called_done, 0, 2);
    tcase_add_test(tests, what_cannot_be_read_for_good_is_given_up);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
