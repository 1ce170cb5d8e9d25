/* l2 on a real LevelDB, in a folder of its own below the temporary directory. */
#include "tier/l2/l2_int.h"
#include "lib/suite.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[128];
static struct l2 *l2;
static struct l2_batch *batch;
static struct buf storage;

static int open_l2(bool *moved_aside)
{
    struct l2_config config = {.env = env_real(), .path = path};
    return l2_open(&config, &l2, moved_aside);
}

static void must_open(void)
{
    bool moved_aside = true;
    ck_assert_int_eq(open_l2(&moved_aside), 0);
    ck_assert(!moved_aside);
}

static void reopen(void)
{
    l2_close(&l2);
    must_open();
}

static void set_up(void)
{
    log_level_set(LOG_ERROR - 1);
    snprintf(folder, sizeof folder, "/tmp/l2_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/data/l2", folder);
    must_open();
    ck_assert_int_eq(l2_batch_new(&batch), 0);
}

static int remove_entry(const char *name, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(name);
}

static void tear_down(void)
{
    if (l2)
        l2_close(&l2);
    l2_batch_free(&batch);
    buf_free(&storage);
    ck_assert_int_eq(nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void put_cart(struct slice key, struct l2_cart cart)
{
    ck_assert_int_eq(l2_batch_put(batch, key, &cart), 0);
}

static void put_text(const char *key, const char *state)
{
    put_cart(slice_str(key), (struct l2_cart){1, 2, 3, 4, 5, slice_str(state)});
}

static void commit(void)
{
    ck_assert_int_eq(l2_batch_commit(l2, batch), 0);
    ck_assert_uint_eq(l2_batch_bytes(batch), 0);
}

static void expect_cart(struct slice key, struct l2_cart want)
{
    struct l2_cart got;
    ck_assert_int_eq(l2_get(l2, key, &storage, &got), 0);
    ck_assert_uint_eq(got.boot, want.boot);
    ck_assert_uint_eq(got.actor, want.actor);
    ck_assert_uint_eq(got.l3_rev, want.l3_rev);
    ck_assert_uint_eq(got.record_bytes, want.record_bytes);
    ck_assert_uint_eq(got.lsn, want.lsn);
    ck_assert(slice_eq(got.state, want.state));
}

static void expect_text(const char *key, const char *state)
{
    expect_cart(slice_str(key), (struct l2_cart){1, 2, 3, 4, 5, slice_str(state)});
}

static void expect_none(const char *key)
{
    struct l2_cart got;
    ck_assert_int_eq(l2_get(l2, slice_str(key), &storage, &got), CE_NOTFOUND);
}

struct wanted_stat {
    const char *name;
    uint64_t value;
    bool found;
};

static void take_stat(void *ctx, const char *name, uint64_t value)
{
    struct wanted_stat *wanted = ctx;
    if (strcmp(wanted->name, name) != 0)
        return;
    wanted->value = value;
    wanted->found = true;
}

static uint64_t read_stat(const char *name)
{
    struct wanted_stat wanted = {.name = name};
    struct stat_sink sink = {.u64 = take_stat, .ctx = &wanted};
    l2_stats(l2, &sink);
    ck_assert(wanted.found);
    return wanted.value;
}

/* ---- carts and values --------------------------------------------------------------------------
 */

START_TEST(cart_comes_back_as_it_was_put)
{
    uint8_t all[256];
    uint8_t long_key[L2_KEY_MAX];
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    memset(long_key, 0xff, sizeof long_key);
    struct l2_cart full = {UINT64_MAX,     0x0123456789abcdefu, UINT32_MAX,
                           UINT32_MAX - 1, UINT64_MAX - 1,      slice_of(all, 256)};
    struct l2_cart empty = {0, 1, 0, 0, 0, slice_of(all, 0)};
    put_cart(slice_of(all, 250), full); /* begins with a zero byte */
    put_cart(slice_of(long_key, sizeof long_key), empty);
    put_cart(slice_of(all, 1), empty);
    ck_assert_uint_gt(l2_batch_bytes(batch), 256 + 250 + 250);
    commit();
    for (int i = 0; i < 2; i++) {
        expect_cart(slice_of(all, 250), full);
        expect_cart(slice_of(long_key, sizeof long_key), empty);
        expect_cart(slice_of(all, 1), empty);
        expect_none("another");
        reopen();
    }
}
END_TEST

START_TEST(later_put_replaces_and_delete_removes)
{
    put_text("a", "old");
    put_text("b", "b");
    l2_batch_mark(batch, slice_str("a"));
    commit();
    put_text("a", "new");
    commit();
    expect_text("a", "new");
    l2_batch_delete(batch, slice_str("a"));
    commit();
    expect_none("a");
    expect_text("b", "b");
    struct buf cursor = {0};
    size_t count = 1;
    ck_assert_int_eq(l2_marks(l2, &cursor, 10, NULL, NULL, &count), 0);
    ck_assert_uint_eq(count, 0); /* the marker went, too */
    buf_free(&cursor);
}
END_TEST

START_TEST(meta_is_apart_from_carts)
{
    l2_batch_meta(batch, "lsn", slice_of("\0\1\2", 3));
    l2_batch_meta(batch, "empty", slice_str(""));
    put_text("lsn", "a cart");
    commit();
    reopen();
    ck_assert_int_eq(l2_meta_get(l2, "lsn", &storage), 0);
    ck_assert(slice_eq(buf_slice(&storage), slice_of("\0\1\2", 3)));
    ck_assert_int_eq(l2_meta_get(l2, "empty", &storage), 0);
    ck_assert_uint_eq(storage.len, 0);
    ck_assert_int_eq(l2_meta_get(l2, "other", &storage), CE_NOTFOUND);
    expect_text("lsn", "a cart");
}
END_TEST

START_TEST(stats_count)
{
    put_text("a", "1");
    put_text("b", "2");
    size_t bytes = l2_batch_bytes(batch);
    commit();
    expect_text("a", "1");
    expect_none("c");
    ck_assert_uint_eq(read_stat("l2_writes"), 1);
    ck_assert_uint_eq(read_stat("l2_carts_written"), 2);
    ck_assert_uint_eq(read_stat("l2_bytes_written"), bytes);
    ck_assert_uint_eq(read_stat("l2_gets"), 2);
    ck_assert_uint_eq(read_stat("l2_hits"), 1);
    ck_assert_uint_eq(read_stat("l2_errors"), 0);
}
END_TEST

/* ---- scans -------------------------------------------------------------------------------------
 */

struct names {
    char text[64][16];
    size_t count;
    size_t corrupt;
    size_t stop_at;
};

static void add_name(void *arg, struct slice key)
{
    struct names *names = arg;
    ck_assert_uint_lt(names->count, 64);
    snprintf(names->text[names->count++], 16, "%.*s", (int)key.len, (const char *)key.bytes);
}

static int add_cart(void *arg, struct slice key, const struct l2_cart *cart)
{
    struct names *names = arg;
    add_name(arg, key);
    names->corrupt += cart->state.bytes == NULL;
    return names->stop_at && names->count == names->stop_at ? 42 : 0;
}

/* Fails the test unless they are `count` different names in ring order. */
static void expect_ring_order(const struct names *names, size_t count)
{
    ck_assert_uint_eq(names->count, count);
    for (size_t i = 1; i < count; i++) {
        uint32_t before = hash_ring(slice_str(names->text[i - 1]));
        uint32_t hash = hash_ring(slice_str(names->text[i]));
        ck_assert(before < hash ||
                  (before == hash && strcmp(names->text[i - 1], names->text[i]) < 0));
    }
}

static void put_many(size_t count, bool with_marks)
{
    for (size_t i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof key, "cart:%zu", i);
        put_text(key, key);
        if (with_marks)
            l2_batch_mark(batch, slice_str(key));
    }
    l2_batch_meta(batch, "lsn", slice_str("x"));
    commit();
}

START_TEST(each_goes_around_the_ring)
{
    struct names names = {0};
    put_many(50, true);
    ck_assert_int_eq(l2_each(l2, add_cart, &names), 0);
    expect_ring_order(&names, 50);
    ck_assert_uint_eq(names.corrupt, 0);
    names = (struct names){.stop_at = 7};
    ck_assert_int_eq(l2_each(l2, add_cart, &names), 42);
    ck_assert_uint_eq(names.count, 7);
}
END_TEST

START_TEST(marks_go_on_where_the_cursor_is)
{
    struct buf cursor = {0};
    struct names names = {0};
    size_t count;
    put_many(50, true);
    for (size_t round = 0; round < 5; round++) {
        ck_assert_int_eq(l2_marks(l2, &cursor, 10, add_name, &names, &count), 0);
        ck_assert_uint_eq(count, 10);
        /* What the scan has seen may go, even the cursor's own key, or come again. */
        if (round % 2)
            l2_batch_unmark(batch, slice_str(names.text[names.count - 1]));
        l2_batch_mark(batch, slice_str(names.text[0]));
        commit();
    }
    ck_assert_int_eq(l2_marks(l2, &cursor, 10, add_name, &names, &count), 0);
    ck_assert_uint_eq(count, 0);
    expect_ring_order(&names, 50);
    buf_free(&cursor);
}
END_TEST

START_TEST(unmarked_carts_are_not_scanned)
{
    struct buf cursor = {0};
    struct names names = {0};
    size_t count;
    put_many(5, true);
    l2_batch_unmark(batch, slice_str("cart:3"));
    commit();
    reopen();
    ck_assert_int_eq(l2_marks(l2, &cursor, 10, add_name, &names, &count), 0);
    ck_assert_uint_eq(count, 4);
    for (size_t i = 0; i < count; i++)
        ck_assert_str_ne(names.text[i], "cart:3");
    expect_text("cart:3", "cart:3");
    buf_free(&cursor);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------------------
 */

/* Opens the closed database beside l2. */
static leveldb_t *open_raw(leveldb_options_t **options)
{
    char *error = NULL;
    *options = leveldb_options_create();
    leveldb_t *db = leveldb_open(*options, path, &error);
    ck_assert_ptr_null(error);
    return db;
}

static void put_raw(struct slice dbkey, struct slice value)
{
    char *error = NULL;
    leveldb_options_t *options;
    l2_close(&l2);
    leveldb_t *db = open_raw(&options);
    leveldb_writeoptions_t *write = leveldb_writeoptions_create();
    leveldb_put(db, write, (const char *)dbkey.bytes, dbkey.len, (const char *)value.bytes,
                value.len, &error);
    ck_assert_ptr_null(error);
    leveldb_writeoptions_destroy(write);
    leveldb_close(db);
    leveldb_options_destroy(options);
    must_open();
}

/* The key as l2.h has it: 'C', the ring hash with its high byte first, the cart's key. */
static struct slice raw_key(const char *key, char out[64])
{
    uint32_t hash = hash_ring(slice_str(key));
    int len = snprintf(out, 64, "C%c%c%c%c%s", hash >> 24, hash >> 16 & 255, hash >> 8 & 255,
                       hash & 255, key);
    return slice_of(out, (size_t)len);
}

static struct slice get_raw(const char *key, struct buf *out)
{
    char *error = NULL;
    char dbkey[64];
    size_t len;
    leveldb_options_t *options;
    struct slice raw = raw_key(key, dbkey);
    l2_close(&l2);
    leveldb_t *db = open_raw(&options);
    leveldb_readoptions_t *read = leveldb_readoptions_create();
    char *value = leveldb_get(db, read, (const char *)raw.bytes, raw.len, &len, &error);
    ck_assert_ptr_null(error);
    ck_assert_ptr_nonnull(value);
    out->len = 0;
    ck_assert_int_eq(buf_append(out, value, len), 0);
    leveldb_free(value);
    leveldb_readoptions_destroy(read);
    leveldb_close(db);
    leveldb_options_destroy(options);
    must_open();
    return buf_slice(out);
}

START_TEST(record_that_was_changed_is_corrupt)
{
    struct l2_cart got;
    struct names names = {0};
    struct buf record = {0};
    char dbkey[64];
    put_text("cart:a", "state");
    put_text("cart:b", "state");
    commit();
    get_raw("cart:a", &record);
    ck_assert_uint_eq(record.len, 1 + 8 + 8 + 4 + 8 + 4 + 8 + 5);
    for (size_t at = 0; at < record.len; at += 3) {
        record.bytes[at] ^= 1;
        put_raw(raw_key("cart:a", dbkey), buf_slice(&record));
        ck_assert_int_eq(l2_get(l2, slice_str("cart:a"), &storage, &got), CE_CORRUPT);
        record.bytes[at] ^= 1;
    }
    put_raw(raw_key("cart:a", dbkey), slice_of(record.bytes, 28));
    ck_assert_int_eq(l2_get(l2, slice_str("cart:a"), &storage, &got), CE_CORRUPT);
    put_raw(raw_key("cart:b", dbkey), buf_slice(&record)); /* good, but of cart:a */
    ck_assert_int_eq(l2_get(l2, slice_str("cart:b"), &storage, &got), CE_CORRUPT);
    put_raw(raw_key("cart:a", dbkey), buf_slice(&record));
    expect_text("cart:a", "state");
    ck_assert_int_eq(l2_each(l2, add_cart, &names), 0);
    ck_assert_uint_eq(names.count, 2);
    ck_assert_uint_eq(names.corrupt, 1);
    buf_free(&record);
}
END_TEST

START_TEST(foreign_keys_are_passed_over)
{
    struct names names = {0};
    put_text("cart:a", "state");
    commit();
    put_raw(slice_str("C"), slice_str("x"));
    put_raw(slice_of("C\0\0\0\0", 5), slice_str("x"));
    ck_assert_int_eq(l2_each(l2, add_cart, &names), 0);
    ck_assert_uint_eq(names.count, 1);
}
END_TEST

struct broken_name {
    char name[64];
    size_t count;
};

static void find_broken(void *arg, const char *name)
{
    struct broken_name *broken = arg;
    if (strncmp(name, "l2.broken-", 10) != 0)
        return;
    broken->count++;
    snprintf(broken->name, sizeof broken->name, "%s", name);
}

/* How many directories were moved aside. */
static size_t count_broken(void)
{
    const struct env *env = env_real();
    struct broken_name broken = {0};
    char data[128];
    snprintf(data, sizeof data, "%s/data", folder);
    ck_assert_int_eq(env->dir_list(env->ctx, data, find_broken, &broken), 0);
    if (broken.count)
        ck_assert_int_eq(strspn(broken.name + 10, "0123456789"), strlen(broken.name + 10));
    return broken.count;
}

static void expect_moved_aside(void)
{
    bool moved_aside = false;
    ck_assert_int_eq(open_l2(&moved_aside), 0);
    ck_assert(moved_aside);
    ck_assert_uint_eq(count_broken(), 1);
    expect_none("cart:1");
    put_text("cart:1", "again");
    commit();
    reopen();
    expect_text("cart:1", "again");
}

static void find_manifest(void *arg, const char *name)
{
    if (strncmp(name, "MANIFEST-", 9) == 0)
        snprintf(arg, 64, "%s", name);
}

static void overwrite(const char *name, const char *text)
{
    char file[256];
    snprintf(file, sizeof file, "%s/%s", path, name);
    FILE *out = fopen(file, "r+");
    ck_assert_ptr_nonnull(out);
    ck_assert_int_ge(fputs(text, out), 0);
    ck_assert_int_eq(fclose(out), 0);
}

START_TEST(damaged_manifest_is_moved_aside)
{
    char manifest[64] = "";
    put_many(20, false);
    l2_close(&l2);
    ck_assert_int_eq(env_real()->dir_list(NULL, path, find_manifest, manifest), 0);
    overwrite(manifest, "this is no manifest at all");
    expect_moved_aside();
}
END_TEST

START_TEST(damaged_current_is_moved_aside)
{
    put_many(20, false);
    l2_close(&l2);
    overwrite("CURRENT", "MANIFEST-9");
    expect_moved_aside();
}
END_TEST

START_TEST(missing_current_is_moved_aside)
{
    char current[256];
    put_many(20, false);
    l2_close(&l2);
    snprintf(current, sizeof current, "%s/CURRENT", path);
    ck_assert_int_eq(remove(current), 0);
    expect_moved_aside();
}
END_TEST

START_TEST(database_of_another_is_left_where_it_is)
{
    struct l2 *first = l2;
    bool moved_aside = true;
    put_many(5, false);
    ck_assert_int_eq(open_l2(&moved_aside), CE_IO);
    ck_assert(!moved_aside);
    ck_assert_ptr_null(l2);
    ck_assert_uint_eq(count_broken(), 0);
    l2 = first;
    expect_text("cart:1", "cart:1");
}
END_TEST

static int refuse_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx, (void)from, (void)to;
    return CE_IO;
}

START_TEST(open_fails_when_it_cannot_move_aside)
{
    struct env env = *env_real();
    struct l2_config config = {.env = &env, .path = path};
    bool moved_aside = true;
    env.file_rename = refuse_rename;
    l2_close(&l2);
    overwrite("CURRENT", "MANIFEST-9");
    ck_assert_int_eq(l2_open(&config, &l2, &moved_aside), CE_NODISK);
    ck_assert(!moved_aside);
    ck_assert_ptr_null(l2);
}
END_TEST

START_TEST(error_texts_have_codes)
{
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        {"IO error: /d/000003.log: No space left on device", CE_NODISK},
        {"IO error: /d/000003.log: Disk quota exceeded", CE_NODISK},
        {"IO error: /d/LOCK: Read-only file system", CE_NODISK},
        {"IO error: lock /d/LOCK: Resource temporarily unavailable", CE_BUSY},
        {"IO error: lock /d/LOCK: already held by process", CE_BUSY},
        {"IO error: /d/LOCK: Input/output error", CE_IO},
        {"IO error: /d/CURRENT: Permission denied", CE_BUSY},
        {"IO error: /d/000003.log: Too many open files", CE_BUSY},
        {"IO error: /d/000005.ldb: Cannot allocate memory", CE_NOMEM},
        {"IO error: /d/000003.log: Input/output error", CE_IO},
        {"Corruption: checksum mismatch", CE_CORRUPT},
        {"Corruption: 2 missing files; e.g.: /d/000005.ldb", CE_CORRUPT},
        {"Invalid argument: leveldb.BytewiseComparator", CE_CORRUPT},
        {"Invalid argument: /d: does not exist (create_if_missing is false)", CE_IO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(l2_error_code(cases[i].text) == cases[i].code, "%s", cases[i].text);
}
END_TEST

/* ---- a write that fails ------------------------------------------------------------------------
 */

static void put_large(void)
{
    size_t len = 200000;
    uint8_t *state = malloc(len);
    for (size_t i = 0; i < len; i++)
        state[i] = (uint8_t)(i * i >> 8);
    put_cart(slice_str("large"), (struct l2_cart){1, 1, 1, 1, 1, slice_of(state, len)});
    free(state);
}

START_TEST(failed_write_is_followed_by_a_reopen)
{
    put_many(5, false);
    put_large();
    size_t bytes = l2_batch_bytes(batch);
    suite_limit_files(50000);
    ck_assert_int_eq(l2_batch_commit(l2, batch), CE_IO);
    ck_assert_uint_eq(l2_batch_bytes(batch), bytes); /* not cleared */
    expect_text("cart:1", "cart:1");                 /* reading goes on */
    ck_assert_int_eq(l2_batch_commit(l2, batch), CE_IO);
    ck_assert_uint_ge(read_stat("l2_errors"), 2);
    suite_limit_files(RLIM_INFINITY);
    commit();
    ck_assert_uint_eq(read_stat("l2_reopens"), 2);
    reopen();
    expect_text("cart:1", "cart:1");
    struct l2_cart got;
    ck_assert_int_eq(l2_get(l2, slice_str("large"), &storage, &got), 0);
    ck_assert_uint_eq(got.state.len, 200000);
    ck_assert_uint_eq(count_broken(), 0);
}
END_TEST

START_TEST(database_that_went_away_is_an_error_until_it_is_back)
{
    char hidden[160];
    struct l2_cart got;
    put_many(5, false);
    put_large();
    suite_limit_files(50000);
    ck_assert_int_eq(l2_batch_commit(l2, batch), CE_IO);
    suite_limit_files(RLIM_INFINITY);
    snprintf(hidden, sizeof hidden, "%s.hidden", path);
    ck_assert_int_eq(rename(path, hidden), 0);
    ck_assert_int_eq(l2_batch_commit(l2, batch), CE_IO); /* no new, empty one */
    ck_assert_int_eq(l2_get(l2, slice_str("cart:1"), &storage, &got), CE_IO);
    ck_assert_int_eq(l2_meta_get(l2, "lsn", &storage), CE_IO);
    ck_assert_int_eq(l2_each(l2, add_cart, NULL), CE_IO);
    ck_assert_int_eq(nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0);
    ck_assert_int_eq(rename(hidden, path), 0);
    commit();
    expect_text("cart:1", "cart:1");
}
END_TEST

static _Atomic bool readers_stop;

static void *read_on(void *arg)
{
    struct buf own = {0};
    struct l2_cart got;
    (void)arg;
    while (!readers_stop) {
        ck_assert_int_eq(l2_get(l2, slice_str("cart:1"), &own, &got), 0);
        ck_assert(slice_eq(got.state, slice_str("cart:1")));
    }
    buf_free(&own);
    return NULL;
}

START_TEST(readers_go_on_while_it_is_reopened)
{
    pthread_t readers[3];
    put_many(5, false);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&readers[i], NULL, read_on, NULL), 0);
    for (int i = 0; i < 20; i++) {
        put_large();
        ck_assert_int_eq(l2_reopen(l2), 0);
        commit();
    }
    readers_stop = true;
    for (size_t i = 0; i < 3; i++)
        pthread_join(readers[i], NULL);
}
END_TEST

/* ---- lists ----------------------------------------------------------------- */

struct seen {
    char text[256];
    uint64_t stop_at; /* refuses this one */
};

static bool note_entry(void *arg, uint64_t number, struct slice key, struct slice value)
{
    struct seen *seen = arg;
    size_t len = strlen(seen->text);
    if (number == seen->stop_at)
        return false;
    snprintf(seen->text + len, sizeof seen->text - len, "%llu %.*s %.*s,",
             (unsigned long long)number, (int)key.len, (const char *)key.bytes, (int)value.len,
             (const char *)value.bytes);
    return true;
}

static void expect_walk(struct l2_place *place, uint64_t number_max, size_t max, const char *want)
{
    struct seen seen = {.stop_at = UINT64_MAX};
    size_t count, commas = 0;
    ck_assert_int_eq(l2_walk(l2, L2_EVENTS, place, number_max, max, note_entry, &seen, &count), 0);
    ck_assert_str_eq(seen.text, want);
    for (const char *at = want; *at; at++)
        commas += *at == ',';
    ck_assert_uint_eq(count, commas);
}

static void enter(enum l2_list list, uint64_t number, const char *key, const char *value)
{
    l2_batch_enter(batch, list, number, slice_str(key), slice_str(value));
}

START_TEST(lists_are_walked_in_order_of_numbers)
{
    struct l2_place place = {0};
    put_text("cart", "state");
    l2_batch_mark(batch, slice_str("cart"));
    enter(L2_EVENTS, 300, "b", "three");
    enter(L2_EVENTS, 2, "b", "two");
    enter(L2_EVENTS, 2, "a", "");
    enter(L2_EVENTS, UINT64_MAX - 1, "z", "last");
    enter(L2_EXPIRIES, 3, "other", "");
    commit();
    reopen();
    expect_walk(&place, UINT64_MAX, 9, "2 a ,2 b two,300 b three,18446744073709551614 z last,");
    expect_walk(&place, UINT64_MAX, 9, "");
    place = (struct l2_place){.number = 2};
    expect_walk(&place, 299, 9, "2 a ,2 b two,");
    expect_walk(&place, 300, 9, "300 b three,");
    place = (struct l2_place){0};
    expect_walk(&place, UINT64_MAX, 1, "2 a ,"); /* in the middle of a number */
    expect_walk(&place, UINT64_MAX, 1, "2 b two,");
    enter(L2_EVENTS, 2, "c", "late");
    commit();
    expect_walk(&place, 299, 9, "2 c late,");
    place = (struct l2_place){0};
    struct seen seen = {.stop_at = 300}; /* what is not taken comes again */
    size_t count;
    ck_assert_int_eq(l2_walk(l2, L2_EVENTS, &place, 300, 9, note_entry, &seen, &count), 0);
    ck_assert_str_eq(seen.text, "2 a ,2 b two,2 c late,");
    expect_walk(&place, 300, 9, "300 b three,");
}
END_TEST

START_TEST(entries_leave_one_by_one)
{
    struct l2_place place = {0};
    enter(L2_EVENTS, 1, "a", "");
    enter(L2_EVENTS, 1, "b", "");
    enter(L2_EXPIRIES, 1, "b", "");
    commit();
    l2_batch_leave(batch, L2_EVENTS, 1, slice_str("a"));
    l2_batch_leave(batch, L2_EXPIRIES, 1, slice_str("b"));
    commit();
    l2_batch_leave(batch, L2_EVENTS, 1, slice_str("b"));
    l2_batch_clear(batch); /* what was cleared is not written */
    enter(L2_EVENTS, 2, "c", "");
    commit();
    expect_walk(&place, UINT64_MAX, 9, "1 b ,2 c ,");
}
END_TEST

static void add_tests(TCase *tests)
{
    const TTest *const all[] = {
        cart_comes_back_as_it_was_put,
        later_put_replaces_and_delete_removes,
        meta_is_apart_from_carts,
        stats_count,
        each_goes_around_the_ring,
        marks_go_on_where_the_cursor_is,
        unmarked_carts_are_not_scanned,
        record_that_was_changed_is_corrupt,
        foreign_keys_are_passed_over,
        damaged_manifest_is_moved_aside,
        damaged_current_is_moved_aside,
        missing_current_is_moved_aside,
        database_of_another_is_left_where_it_is,
        open_fails_when_it_cannot_move_aside,
        error_texts_have_codes,
        failed_write_is_followed_by_a_reopen,
        database_that_went_away_is_an_error_until_it_is_back,
        readers_go_on_while_it_is_reopened,
        lists_are_walked_in_order_of_numbers,
        entries_leave_one_by_one,
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
}

int main(void)
{
    Suite *suite = suite_create("l2");
    TCase *tests = tcase_create("l2");
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_set_timeout(tests, 60);
    add_tests(tests);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
