#include "lib/l1_fixture.h"

#include <sys/mman.h>

/* ---- the allocator ------------------------------------------------------------------------ */

#define MEM_HEAD 16 /* in front of each piece, holds its usable size */
#define MEM_COST 24 /* an odd overhead on purpose */

_Atomic int64_t mem_live;
_Atomic int64_t mem_calls_left = CALLS_MANY;

void *l1_mem_new(size_t bytes)
{
    if (atomic_fetch_sub(&mem_calls_left, 1) <= 0)
        return NULL;
    size_t usable = (bytes + 15) / 16 * 16;
    uint8_t *mem = malloc(MEM_HEAD + usable);
    ck_assert_ptr_nonnull(mem);
    memcpy(mem, &usable, sizeof(usable));
    mem += MEM_HEAD;
    atomic_fetch_add(&mem_live, (int64_t)l1_mem_cost(mem));
    return mem;
}

/* It has no heaps, so nothing is ever moved together. */
void *l1_mem_new_beside(void *mem, size_t bytes)
{
    (void)mem, (void)bytes;
    abort();
}

size_t l1_mem_held(void)
{
    return 0;
}

size_t l1_mem_holes(void)
{
    return 0;
}

void l1_mem_free(void *mem)
{
    if (!mem)
        return;
    atomic_fetch_sub(&mem_live, (int64_t)l1_mem_cost(mem));
    free((uint8_t *)mem - MEM_HEAD);
}

size_t l1_mem_usable(void *mem)
{
    size_t usable;
    memcpy(&usable, (uint8_t *)mem - MEM_HEAD, sizeof(usable));
    return usable;
}

bool l1_mem_stays(const void *mem)
{
    (void)mem;
    return false;
}

size_t l1_mem_cost(void *mem)
{
    return l1_mem_usable(mem) + MEM_COST;
}

void *l1_mem_reserve(size_t bytes)
{
    if (atomic_fetch_sub(&mem_calls_left, 1) <= 0)
        return NULL;
    void *addresses = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(addresses, MAP_FAILED);
    return addresses;
}

bool l1_mem_commit(void *addresses, size_t bytes)
{
    if (atomic_fetch_sub(&mem_calls_left, 1) <= 0)
        return false;
    ck_assert_int_eq(mprotect(addresses, bytes, PROT_READ | PROT_WRITE), 0);
    return true;
}

void l1_mem_unreserve(void *addresses, size_t bytes)
{
    if (addresses)
        ck_assert_int_eq(munmap(addresses, bytes), 0);
}

/* ---- fixtures ----------------------------------------------------------------------------- */

struct l1 *l1;

void l1_set_up(void)
{
    ck_assert_int_eq(l1_new(LIMIT, &l1), 0);
}

void l1_tear_down(void)
{
    l1_free(&l1);
    ck_assert_ptr_null(l1);
    ck_assert_int_eq(mem_live, 0);
}

struct name name_of(const char *prefix, unsigned n)
{
    struct name name;
    snprintf(name.text, sizeof(name.text), "%s%u", prefix, n);
    return name;
}

uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void take_stat(void *ctx, const char *name, uint64_t value)
{
    struct stats *stats = ctx;
    stats->calls++;
#define X(field, what)                                                                             \
    if (strcmp(name, #field) == 0)                                                                 \
        stats->field = value;
    L1_STATS(X)
#undef X
}

struct stats get_stats(void)
{
    struct stats stats = {0};
    struct stat_sink sink = {.u64 = take_stat, .ctx = &stats};
    l1_stats(l1, &sink);
    ck_assert_uint_eq(stats.bytes, (uint64_t)mem_live + stats.hash_bytes + sizeof(struct l1));
    return stats;
}

int put_slice(struct slice key, enum l1_kind kind, size_t len, uint8_t fill)
{
    struct l1_item *item = NULL;
    uint64_t hash = hash_64(key);
    l1_lock(l1, hash);
    int rc = l1_put_locked(l1, hash, key, kind, len, &item);
    if (rc == 0 && len > 0)
        memset(l1_value(item), fill, len);
    l1_unlock(l1, hash);
    return rc;
}

void put(const char *key, enum l1_kind kind, size_t len, uint8_t fill)
{
    ck_assert_int_eq(put_slice(slice_str(key), kind, len, fill), 0);
}

int mark_dirty(struct slice key)
{
    uint64_t hash = hash_64(key);
    l1_lock(l1, hash);
    struct l1_item *item = l1_find_locked(l1, hash, key);
    ck_assert_ptr_nonnull(item);
    int rc = l1_dirty_reserve_locked(l1, hash);
    if (rc == 0)
        l1_dirty_locked(l1, hash, item);
    l1_unlock(l1, hash);
    return rc;
}

void put_dirty(const char *key, size_t len, uint8_t fill)
{
    put(key, L1_CART, len, fill);
    ck_assert_int_eq(mark_dirty(slice_str(key)), 0);
}

int look(const char *text, uint8_t fill)
{
    struct slice key = slice_str(text);
    uint64_t hash = hash_64(key);
    l1_lock(l1, hash);
    struct l1_item *item = l1_find_locked(l1, hash, key);
    int len = item ? (int)item->value_bytes : -1;
    bool same = true;
    for (int i = 0; i < len; i++)
        same = same && l1_value(item)[i] == fill;
    ck_assert(same);
    l1_unlock(l1, hash);
    return len;
}

bool remove_key(const char *text)
{
    struct slice key = slice_str(text);
    uint64_t hash = hash_64(key);
    l1_lock(l1, hash);
    struct l1_item *item = l1_find_locked(l1, hash, key);
    if (item)
        l1_remove_locked(l1, hash, item);
    l1_unlock(l1, hash);
    return item != NULL;
}

int take_one(void *arg, uint64_t hash, struct l1_item *item)
{
    struct taken *taken = arg;
    if (taken->count == taken->refuse_at)
        return 1;
    ck_assert_uint_eq(hash, hash_64(l1_key(item)));
    ck_assert_uint_lt(taken->count, 64);
    struct name *name = &taken->names[taken->count++];
    memcpy(name->text, l1_key(item).bytes, l1_key(item).len);
    name->text[l1_key(item).len] = 0;
    return 0;
}

struct hashes {
    uint64_t of[256];
    unsigned count;
};

static void note_hash(void *arg, uint64_t hash, struct slice key)
{
    struct hashes *hashes = arg;
    ck_assert_uint_eq(hash, hash_64(key));
    ck_assert_uint_lt(hashes->count, 256);
    hashes->of[hashes->count++] = hash;
}

size_t take_dirty(struct l1 *from, unsigned stripe, size_t max,
                  int (*each)(void *arg, uint64_t hash, struct l1_item *item), void *arg)
{
    struct hashes hashes = {.count = 0};
    size_t taken = 0;
    uint32_t at = 0, looked;
    do
        at += looked = l1_dirty_look(from, stripe, at, 3, note_hash, &hashes);
    while (looked == 3);
    for (unsigned i = 0; i < hashes.count && taken < max; i++) {
        int rc = l1_dirty_take(from, hashes.of[i], each, arg);
        if (rc && rc != CE_NOTFOUND)
            break;
        taken += rc == 0;
    }
    return taken;
}

unsigned stripe_of(const char *key)
{
    return (unsigned)(hash_64(slice_str(key)) / (UINT64_MAX / L1_STRIPES + 1));
}

struct taken take_from(const char *key, size_t max)
{
    struct taken taken = {.refuse_at = UINT32_MAX};
    size_t count = take_dirty(l1, stripe_of(key), max, take_one, &taken);
    ck_assert_uint_eq(count, taken.count);
    return taken;
}

void unpin(const char *key, bool ok)
{
    l1_unpin(l1, hash_64(slice_str(key)), slice_str(key), ok);
}

void find_neighbours(struct name *names, unsigned count)
{
    unsigned found = 0;
    for (unsigned i = 0; found < count; i++) {
        struct name name = name_of("n", i);
        if (stripe_of(name.text) == stripe_of("home"))
            names[found++] = name;
    }
}

void evict_all(void)
{
    l1_limit_set(l1, 0);
    l1_limit_set(l1, LIMIT);
}

/* ---- suite -------------------------------------------------------------------------------- */

TCase *add_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, l1_set_up, l1_tear_down);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return tcase;
}
