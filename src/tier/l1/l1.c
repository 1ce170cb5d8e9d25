/* l1: the table itself: find, put, remove, count. A stripe is taken from the top bits of the hash,
 * a bucket from the bottom ones; a stripe's buckets double when it has one item for each. They are
 * few, so all are split at once; when there is no memory to double, chains just grow longer. */
#include "tier/l1/l1_int.h"

/* An item may waste a quarter of its memory before it is moved into a smaller piece. */
#define WASTE_DIVISOR 4

/* What a large value gets beyond its need when it grows. */
#define SLACK_BYTES_MIN 4096
#define SLACK_DIVISOR   8

#define FORESEEN_LINES_FIRST 3 /* head, key, and all of a small item, before its size is known */
#define FORESEEN_LINES_MAX   8 /* of a cart of ten lines all */

static void *count_mem(struct l1 *l1, void *mem)
{
    if (mem)
        atomic_fetch_add_explicit(&l1->used, l1_mem_cost(mem), memory_order_relaxed);
    return mem;
}

void *l1_take_mem(struct l1 *l1, size_t bytes)
{
    return count_mem(l1, l1_mem_new(bytes));
}

void *l1_take_mem_beside(struct l1 *l1, void *other, size_t bytes)
{
    return count_mem(l1, l1_mem_new_beside(other, bytes));
}

void l1_give_mem(struct l1 *l1, void *mem)
{
    if (mem)
        atomic_fetch_sub_explicit(&l1->used, l1_mem_cost(mem), memory_order_relaxed);
    l1_mem_free(mem);
}

/* ---- the object --------------------------------------------------------------------------- */

/* The object and its table are one piece: the stripes, too, are looked at here and there. */
#define PIECE_BYTES (sizeof(struct l1) + L1_TABLE_BYTES)

static bool commit(struct l1 *l1, size_t buckets_of_stripe)
{
    size_t table_bytes = buckets_of_stripe * L1_STRIPES * sizeof(struct l1_item *);
    return l1_mem_commit(l1, sizeof(*l1) + table_bytes);
}

/* Counts `change` more buckets, whose memory the table has. */
static void count_buckets(struct l1 *l1, struct l1_stripe *stripe, uint32_t change)
{
    l1_count(&stripe->counts.buckets, change);
    atomic_fetch_add_explicit(&l1->used, change * sizeof(struct l1_item *), memory_order_relaxed);
}

static void init_stripe(struct l1 *l1, unsigned index)
{
    struct l1_stripe *stripe = &l1->stripes[index];
    lock_init(&stripe->lock, LOCK_STRIPE);
    stripe->buckets = l1->table + index * L1_GROUP_BUCKETS;
    stripe->buckets_mask = L1_GROUP_BUCKETS - 1;
    count_buckets(l1, stripe, L1_GROUP_BUCKETS);
}

static void fini_stripe(struct l1 *l1, struct l1_stripe *stripe)
{
    for (uint32_t i = 0; i <= stripe->buckets_mask; i++) {
        struct l1_item *item = *l1_bucket_at(stripe, i);
        while (item) {
            struct l1_item *next = item->_next;
            l1_give_mem(l1, item);
            item = next;
        }
    }
    l1_give_mem(l1, stripe->dirty);
    size_t bytes = l1_counted(&stripe->counts.buckets) * sizeof(struct l1_item *);
    atomic_fetch_sub_explicit(&l1->used, bytes, memory_order_relaxed);
    lock_fini(&stripe->lock);
}

int l1_new(size_t bytes_max, struct l1 **out)
{
    *out = NULL;
    struct l1 *l1 = l1_mem_reserve(PIECE_BYTES);
    if (!l1 || !commit(l1, L1_GROUP_BUCKETS)) {
        l1_mem_unreserve(l1, PIECE_BYTES);
        return CE_NOMEM;
    }
    l1->magic = L1_MAGIC;
    atomic_init(&l1->limit, bytes_max);
    atomic_init(&l1->used, sizeof(*l1));
    if (l1_left_init(&l1->left, bytes_max)) {
        l1_mem_unreserve(l1, PIECE_BYTES);
        return CE_NOMEM;
    }
    l1->table = (struct l1_item **)(l1 + 1);
    for (unsigned i = 0; i < L1_STRIPES; i++)
        init_stripe(l1, i);
    *out = l1;
    return 0;
}

void l1_free(struct l1 **l1)
{
    if (!*l1)
        return;
    MUST_OBJ(*l1, L1_MAGIC);
    for (unsigned i = 0; i < L1_STRIPES; i++)
        fini_stripe(*l1, &(*l1)->stripes[i]);
    MUST(atomic_load(&(*l1)->used) == sizeof(**l1) + l1_left_bytes(&(*l1)->left));
    l1_left_fini(&(*l1)->left);
    (*l1)->magic = 0;
    l1_mem_unreserve(*l1, PIECE_BYTES);
    *l1 = NULL;
}

void l1_lock(struct l1 *l1, uint64_t hash)
{
    MUST_OBJ(l1, L1_MAGIC);
    lock_take(&l1_stripe_of(l1, hash)->lock);
}

void l1_unlock(struct l1 *l1, uint64_t hash)
{
    lock_drop(&l1_stripe_of(l1, hash)->lock);
}

void l1_lock_both(struct l1 *l1, uint64_t hash_a, uint64_t hash_b)
{
    MUST_OBJ(l1, L1_MAGIC);
    struct l1_stripe *a = l1_stripe_of(l1, hash_a), *b = l1_stripe_of(l1, hash_b);
    lock_take(a < b ? &a->lock : &b->lock);
    if (a != b)
        lock_take_second(a < b ? &b->lock : &a->lock);
}

void l1_unlock_both(struct l1 *l1, uint64_t hash_a, uint64_t hash_b)
{
    struct l1_stripe *a = l1_stripe_of(l1, hash_a), *b = l1_stripe_of(l1, hash_b);
    lock_drop(&a->lock);
    if (a != b)
        lock_drop(&b->lock);
}

/* ---- find --------------------------------------------------------------------------------- */

struct l1_item **l1_slot(const struct l1_stripe *stripe, uint64_t hash, struct slice key)
{
    struct l1_item **slot = l1_bucket_of(stripe, hash);
    while (*slot && !slice_eq(l1_key(*slot), key))
        slot = &(*slot)->_next;
    return slot;
}

struct l1_item *l1_find_locked(struct l1 *l1, uint64_t hash, struct slice key)
{
    struct l1_item *item = *l1_slot(l1_stripe_locked(l1, hash), hash, key);
    if (item)
        l1_stamp(l1, item, L1_VISITED);
    return item;
}

/* Lines from the one on that `at` is in. */
static void fetch(const void *at, size_t from_line, size_t to_line)
{
    for (size_t line = from_line; line < to_line; line++)
        __builtin_prefetch((const char *)at + line * L1_LINE_BYTES);
}

/* The item's head has come, and says what else will be looked at: the rest of the item, what is
 * chained behind it (one in three is found there), and where a cart that changes is noted. */
__attribute__((no_sanitize("thread"))) static void foresee_by_head(const struct l1_stripe *stripe,
                                                                   const struct l1_item *item)
{
    const struct l1_item *next = __atomic_load_n(&item->_next, __ATOMIC_RELAXED);
    size_t bytes = l1_piece_bytes(item->kind, item->key_bytes, item->value_bytes);
    size_t lines = ((uintptr_t)item % L1_LINE_BYTES + bytes - 1) / L1_LINE_BYTES + 1;
    fetch(item, FORESEEN_LINES_FIRST, lines < FORESEEN_LINES_MAX ? lines : FORESEEN_LINES_MAX);
    if (next) /* an address without memory costs more than one with */
        fetch(next, 0, FORESEEN_LINES_FIRST);
    if (item->kind == L1_CART && !(item->_bits & L1_DIRTY))
        __builtin_prefetch(&stripe->dirty[stripe->dirty_count], 1);
}

/* The first turn asks for the buckets, the second, when they have come, for the items that they
 * begin with, the third for what those say. A bucket may change meanwhile, and an item go, so what
 * is read may be of anything by now: it is an address to fetch from, no more, and that may be a
 * wrong one. */
__attribute__((no_sanitize("thread"))) void l1_foresee(struct l1 *l1, const uint64_t *hashes,
                                                       unsigned count)
{
    struct l1_item *const *buckets[L1_FORESEEN_MAX];
    const struct l1_item *items[L1_FORESEEN_MAX];
    MUST(count <= L1_FORESEEN_MAX);
    for (unsigned i = 0; i < count; i++) {
        const struct l1_stripe *stripe = l1_stripe_of(l1, hashes[i]);
        uint32_t mask = __atomic_load_n(&stripe->buckets_mask, __ATOMIC_ACQUIRE);
        buckets[i] = l1_bucket_at(stripe, hashes[i] & mask);
        __builtin_prefetch(buckets[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        items[i] = __atomic_load_n(buckets[i], __ATOMIC_RELAXED);
        fetch(items[i], 0, FORESEEN_LINES_FIRST);
    }
    for (unsigned i = 0; i < count; i++)
        if (l1_mem_stays(items[i]))
            foresee_by_head(l1_stripe_of(l1, hashes[i]), items[i]);
}

/* ---- put and remove ----------------------------------------------------------------------- */

/* What the answer to "how many items" means: absences are notes of our own. */
static void count_kind(struct l1_stripe *stripe, uint8_t kind, int change)
{
    if (kind != L1_ABSENT)
        l1_count(&stripe->counts.items, change);
    if (kind == L1_CART)
        l1_count(&stripe->counts.carts, change);
}

static void count_bytes(struct l1_stripe *stripe, uint8_t kind, int64_t change)
{
    if (kind == L1_PLAIN)
        l1_count(&stripe->counts.plain_bytes, change);
    if (kind == L1_CART)
        l1_count(&stripe->counts.cart_bytes, change);
}

static int64_t bytes_of(const struct l1_item *item)
{
    return (int64_t)l1_item_bytes(item->key_bytes, item->value_bytes);
}

/* Of the items of a bucket those go to `upper` whose hash has `bit`. */
static void split_bucket(struct l1_item **lower, struct l1_item **upper, uint64_t bit)
{
    while (*lower) {
        struct l1_item *item = *lower;
        if (!(hash_64(l1_key(item)) & bit)) {
            lower = &item->_next;
            continue;
        }
        *lower = item->_next;
        item->_next = *upper;
        *upper = item;
    }
}

static void grow_buckets(struct l1 *l1, struct l1_stripe *stripe)
{
    uint32_t count = stripe->buckets_mask + 1;
    if (count > L1_GROUPS_MAX * L1_GROUP_BUCKETS / 2 || !commit(l1, 2 * (size_t)count))
        return;
    for (uint32_t i = 0; i < count; i++)
        split_bucket(l1_bucket_at(stripe, i), l1_bucket_at(stripe, count + i), count);
    count_buckets(l1, stripe, count);
    __atomic_store_n(&stripe->buckets_mask, 2 * count - 1, __ATOMIC_RELEASE); /* l1_foresee */
}

static struct l1_item *make_item(struct l1 *l1, struct l1_stripe *stripe, uint64_t hash,
                                 struct slice key, enum l1_kind kind, size_t value_bytes)
{
    MUST(hash == hash_64(key));
    struct l1_item *item = l1_take_mem(l1, l1_piece_bytes(kind, key.len, value_bytes));
    if (!item)
        return NULL;
    memset(item, 0, l1_item_bytes(0, 0));
    l1_stamp(l1, item, 0);
    item->kind = (uint8_t)kind;
    item->key_bytes = (uint8_t)key.len;
    memcpy(item->_bytes, key.bytes, key.len);

    if (stripe->count > stripe->buckets_mask)
        grow_buckets(l1, stripe);
    struct l1_item **bucket = l1_bucket_of(stripe, hash);
    item->_next = *bucket;
    *bucket = item;
    stripe->count++;
    count_kind(stripe, item->kind, 1);
    count_bytes(stripe, item->kind, bytes_of(item));
    l1_queue_add(stripe, item);
    return item;
}

static bool fits_in_place(struct l1_item *item, size_t bytes)
{
    size_t usable = l1_mem_usable(item);
    return bytes <= usable && usable - bytes <= usable / WASTE_DIVISOR;
}

/* Large values that grow are mostly carts that go on growing: they move once for many steps. */
static size_t with_slack(const struct l1_item *item, enum l1_kind kind, size_t value_bytes)
{
    bool grows_large = value_bytes > item->value_bytes && value_bytes >= SLACK_BYTES_MIN;
    size_t bytes = l1_item_bytes(item->key_bytes, value_bytes);
    return grows_large ? bytes + bytes / SLACK_DIVISOR
                       : l1_piece_bytes(kind, item->key_bytes, value_bytes);
}

void l1_move(struct l1 *l1, struct l1_stripe *stripe, struct l1_item **slot, struct l1_item *moved,
             size_t bytes)
{
    struct l1_item *item = *slot;
    memcpy(moved, item, bytes);
    *slot = moved;
    l1_queue_move(stripe, item, moved);
    l1_give_mem(l1, item);
}

/* The item of *slot with room for value_bytes of this kind, in its old place in chain and queue,
 * with the value's old bytes as far as they fit. Shrinking never fails: it stays where it is when
 * nothing smaller is to be had. */
static struct l1_item *resize_item(struct l1 *l1, struct l1_stripe *stripe, struct l1_item **slot,
                                   enum l1_kind kind, size_t value_bytes)
{
    struct l1_item *item = *slot;
    size_t bytes = l1_item_bytes(item->key_bytes, value_bytes);
    bool grows = value_bytes > item->value_bytes;
    if (fits_in_place(item, bytes))
        return item;
    struct l1_item *moved = l1_take_mem(l1, with_slack(item, kind, value_bytes));
    if (!moved)
        return grows && bytes > l1_mem_usable(item) ? NULL : item;
    l1_move(l1, stripe, slot, moved,
            l1_item_bytes(item->key_bytes, grows ? item->value_bytes : value_bytes));
    return moved;
}

/* Whatever becomes of its item: L2 may have the cart. */
static void note_if_cart(struct l1 *l1, const struct l1_item *item)
{
    if (item->kind == L1_CART)
        l1_note_left(l1, hash_64(l1_key(item)));
}

static void change_kind(struct l1 *l1, struct l1_stripe *stripe, struct l1_item *item,
                        enum l1_kind kind)
{
    MUST(!(item->_bits & L1_DIRTY));
    if (item->_bits & L1_PINNED)
        l1_release(l1, stripe, item);
    note_if_cart(l1, item);
    count_kind(stripe, item->kind, -1);
    count_kind(stripe, (uint8_t)kind, 1);
    count_bytes(stripe, item->kind, -bytes_of(item));
    count_bytes(stripe, (uint8_t)kind, bytes_of(item));
    item->kind = (uint8_t)kind;
    item->marks = 0;
    memset(&item->cart, 0, sizeof(item->cart));
}
_Static_assert(sizeof(struct l1_cart) >= sizeof(struct l1_plain), "change_kind zeroes both");

int l1_put_locked(struct l1 *l1, uint64_t hash, struct slice key, enum l1_kind kind,
                  size_t value_bytes, struct l1_item **out)
{
    struct l1_stripe *stripe = l1_stripe_locked(l1, hash);
    MUST(key.len > 0 && key.len <= L1_KEY_MAX);
    if (value_bytes > UINT32_MAX)
        return CE_NOMEM;
    struct l1_item **slot = l1_slot(stripe, hash, key);
    struct l1_item *item = *slot ? resize_item(l1, stripe, slot, kind, value_bytes)
                                 : make_item(l1, stripe, hash, key, kind, value_bytes);
    if (!item)
        return CE_NOMEM;
    if (item->kind != kind)
        change_kind(l1, stripe, item, kind);
    count_bytes(stripe, item->kind, (int64_t)value_bytes - (int64_t)item->value_bytes);
    item->value_bytes = (uint32_t)value_bytes;
    if (kind != L1_ABSENT)
        l1_count(&stripe->counts.stored, 1);
    *out = item;
    return 0;
}

void l1_drop(struct l1 *l1, struct l1_stripe *stripe, struct l1_item **slot)
{
    struct l1_item *item = *slot;
    note_if_cart(l1, item);
    *slot = item->_next;
    stripe->count--;
    count_kind(stripe, item->kind, -1);
    count_bytes(stripe, item->kind, -bytes_of(item));
    l1_give_mem(l1, item);
}

void l1_remove_locked(struct l1 *l1, uint64_t hash, struct l1_item *item)
{
    struct l1_stripe *stripe = l1_stripe_locked(l1, hash);
    MUST(!(item->_bits & L1_DIRTY));
    struct l1_item **slot = l1_slot(stripe, hash, l1_key(item));
    MUST(*slot == item);
    if (item->_bits & L1_PINNED)
        l1_release(l1, stripe, item);
    l1_queue_remove(stripe, item);
    l1_drop(l1, stripe, slot);
}

/* ---- stats -------------------------------------------------------------------------------- */

struct totals {
#define X(name, what) uint64_t name;
    L1_STATS(X)
#undef X
};

static void add_stripe(const struct l1_counts *counts, struct totals *totals)
{
    totals->curr_items += l1_counted(&counts->items);
    totals->curr_carts += l1_counted(&counts->carts);
    totals->total_items += l1_counted(&counts->stored);
    totals->evictions += l1_counted(&counts->evictions);
    totals->evicted_unfetched += l1_counted(&counts->unfetched);
    totals->evicted_nonzero += l1_counted(&counts->nonzero);
    totals->cart_demotions += l1_counted(&counts->demotions);
    totals->plain_bytes += l1_counted(&counts->plain_bytes);
    totals->cart_bytes += l1_counted(&counts->cart_bytes);
    totals->hash_bytes += l1_counted(&counts->buckets) * sizeof(struct l1_item *);
}

void l1_stats(const struct l1 *l1, const struct stat_sink *sink)
{
    MUST_OBJ(l1, L1_MAGIC);
    struct totals totals = {
        .bytes = atomic_load_explicit(&l1->used, memory_order_relaxed),
        .limit_maxbytes = atomic_load_explicit(&l1->limit, memory_order_relaxed),
        .dirty_carts = l1_dirty_count(l1),
        .heap_bytes = l1_mem_held(),
        .heap_holes_bytes = l1_mem_holes(),
        .hash_bytes = l1_left_bytes(&l1->left),
    };
    for (unsigned i = 0; i < L1_STRIPES; i++)
        add_stripe(&l1->stripes[i].counts, &totals);
#define X(name, what) stat_u64(sink, #name, totals.name);
    L1_STATS(X)
#undef X
}
