/* Reading: single values by pool threads, scans by whoever rebuilds or verifies. All of it under
 * the read lock, so that the writer can change the database behind it. */
#include "tier/l2/l2_int.h"

/* The raw value. CE_NOTFOUND, CE_CORRUPT, CE_IO, CE_NOMEM. */
static int get_value(struct l2 *l2, const struct l2_dbkey *dbkey, struct buf *storage)
{
    char *error = NULL;
    size_t len = 0;
    storage->len = 0;
    int rc = l2_enter(l2);
    if (rc)
        return rc;
    char *value = leveldb_get(l2->db, l2->get_options, dbkey->bytes, dbkey->len, &len, &error);
    rc = l2_take_error(l2, error);
    l2_leave(l2);
    if (rc == 0 && !value)
        rc = CE_NOTFOUND;
    if (rc == 0)
        rc = buf_append(storage, value, len);
    if (value)
        leveldb_free(value);
    return rc;
}

static int get_cart(struct l2 *l2, enum l2_kind kind, struct slice key, struct buf *storage,
                    struct l2_cart *out)
{
    struct l2_dbkey dbkey;
    l2_dbkey_cart(&dbkey, kind, key);
    unsigned opened = atomic_load(&l2->opened);
    int rc = get_value(l2, &dbkey, storage);
    if (rc)
        return rc;
    rc = l2_record_decode(key, buf_slice(storage), out);
    if (rc) {
        atomic_fetch_add_explicit(&l2->errors, 1, memory_order_relaxed);
        l2_note_damage(l2, opened);
    }
    return rc;
}

int l2_get(struct l2 *l2, struct slice key, struct buf *storage, struct l2_cart *out)
{
    atomic_fetch_add_explicit(&l2->gets, 1, memory_order_relaxed);
    int rc = get_cart(l2, L2_CART, key, storage, out);
    if (rc == 0)
        atomic_fetch_add_explicit(&l2->hits, 1, memory_order_relaxed);
    return rc;
}

int l2_salvaged_get(struct l2 *l2, struct slice key, struct buf *storage, struct l2_cart *out)
{
    return get_cart(l2, L2_SALVAGED, key, storage, out);
}

bool l2_has_salvaged(const struct l2 *l2)
{
    return atomic_load(&l2->has_salvaged);
}

int l2_meta_get(struct l2 *l2, const char *name, struct buf *storage)
{
    struct l2_dbkey dbkey;
    l2_dbkey_meta(&dbkey, name);
    return get_value(l2, &dbkey, storage);
}

int l2_is_marked(struct l2 *l2, struct slice key, bool *marked)
{
    struct l2_dbkey dbkey;
    struct buf storage = {0};
    l2_dbkey_cart(&dbkey, L2_MARK, key);
    int rc = get_value(l2, &dbkey, &storage);
    buf_free(&storage);
    *marked = rc == 0;
    return rc == CE_NOTFOUND ? 0 : rc;
}

/* ---- scans -------------------------------------------------------------------------------------
 */

struct slice l2_iter_key(const leveldb_iterator_t *iter)
{
    size_t len;
    const char *bytes = leveldb_iter_key(iter, &len);
    return slice_of(bytes, len);
}

struct slice l2_iter_value(const leveldb_iterator_t *iter)
{
    size_t len;
    const char *bytes = leveldb_iter_value(iter, &len);
    return slice_of(bytes, len);
}

/* True when the iterator is at a key of this kind. */
static bool is_at(const leveldb_iterator_t *iter, int kind)
{
    if (!leveldb_iter_valid(iter))
        return false;
    struct slice dbkey = l2_iter_key(iter);
    return dbkey.len > 0 && dbkey.bytes[0] == kind;
}

/* The cart's key; empty when it is none that this room has written. */
static struct slice cart_key(const leveldb_iterator_t *iter)
{
    struct slice dbkey = l2_iter_key(iter);
    bool is_ours = dbkey.len > L2_KEY_HEAD && dbkey.len <= L2_DBKEY_MAX;
    return slice_from(dbkey, is_ours ? L2_KEY_HEAD : dbkey.len);
}

int l2_end_iter(struct l2 *l2, leveldb_iterator_t *iter)
{
    char *error = NULL;
    leveldb_iter_get_error(iter, &error);
    leveldb_iter_destroy(iter);
    return l2_take_error(l2, error);
}

void l2_seek_behind(leveldb_iterator_t *iter, struct slice dbkey)
{
    leveldb_iter_seek(iter, (const char *)dbkey.bytes, dbkey.len);
    if (leveldb_iter_valid(iter) && slice_eq(l2_iter_key(iter), dbkey))
        leveldb_iter_next(iter);
}

/* To the first key of a kind behind the cursor. */
static void seek_kind(leveldb_iterator_t *iter, enum l2_kind kind, const struct buf *cursor)
{
    const uint8_t first = (uint8_t)kind;
    l2_seek_behind(iter, cursor->len ? buf_slice(cursor) : slice_of(&first, 1));
}

/* Room was made before. */
static void set_cursor(struct buf *cursor, struct slice dbkey)
{
    MUST(dbkey.len <= cursor->cap);
    memcpy(cursor->bytes, dbkey.bytes, dbkey.len);
    cursor->len = dbkey.len;
}

static int keys_of(struct l2 *l2, enum l2_kind kind, struct buf *cursor, size_t max,
                   void (*each)(void *arg, struct slice key), void *arg, size_t *count)
{
    *count = 0;
    if (buf_reserve(cursor, L2_DBKEY_MAX))
        return CE_NOMEM;
    int rc = l2_enter(l2);
    if (rc)
        return rc;
    leveldb_iterator_t *iter = leveldb_create_iterator(l2->db, l2->scan_options);
    seek_kind(iter, kind, cursor);
    for (; *count < max && is_at(iter, kind); leveldb_iter_next(iter)) {
        struct slice key = cart_key(iter);
        if (key.len == 0)
            continue;
        set_cursor(cursor, l2_iter_key(iter));
        each(arg, key);
        ++*count;
    }
    rc = l2_end_iter(l2, iter);
    l2_leave(l2);
    return rc;
}

int l2_marks(struct l2 *l2, struct buf *cursor, size_t max,
             void (*each)(void *arg, struct slice key), void *arg, size_t *count)
{
    return keys_of(l2, L2_MARK, cursor, max, each, arg, count);
}

int l2_cart_keys(struct l2 *l2, struct buf *cursor, size_t max,
                 void (*each)(void *arg, struct slice key), void *arg, size_t *count)
{
    return keys_of(l2, L2_CART, cursor, max, each, arg, count);
}

int l2_salvaged(struct l2 *l2, struct buf *cursor, size_t max,
                void (*each)(void *arg, struct slice key), void *arg, size_t *count)
{
    bool from_start = cursor->len == 0;
    int rc = keys_of(l2, L2_SALVAGED, cursor, max, each, arg, count);
    if (rc == 0 && from_start && *count == 0)
        atomic_store(&l2->has_salvaged, false);
    return rc;
}

int l2_walk(struct l2 *l2, enum l2_list list, struct l2_place *place, uint64_t number_max,
            size_t max,
            bool (*each)(void *arg, uint64_t number, struct slice key, struct slice value),
            void *arg, size_t *count)
{
    struct l2_dbkey from;
    struct slice key;
    uint64_t number;
    *count = 0;
    int rc = l2_enter(l2);
    if (rc)
        return rc;
    l2_dbkey_entry(&from, list, place->number, slice_of(place->key, place->key_len));
    leveldb_iterator_t *iter = leveldb_create_iterator(l2->db, l2->scan_options);
    l2_seek_behind(iter, slice_of(from.bytes, from.len));
    for (; *count < max && is_at(iter, list); leveldb_iter_next(iter)) {
        if (!l2_dbkey_take_entry(l2_iter_key(iter), &number, &key))
            continue;
        if (number > number_max || !each(arg, number, key, l2_iter_value(iter)))
            break;
        place->number = number;
        place->key_len = key.len;
        memcpy(place->key, key.bytes, key.len);
        ++*count;
    }
    rc = l2_end_iter(l2, iter);
    l2_leave(l2);
    return rc;
}

static int pass_cart(struct l2 *l2, const leveldb_iterator_t *iter,
                     int (*each)(void *arg, struct slice key, const struct l2_cart *cart),
                     void *arg)
{
    struct l2_cart cart;
    struct slice key = cart_key(iter);
    if (key.len == 0)
        return 0;
    if (l2_record_decode(key, l2_iter_value(iter), &cart))
        atomic_fetch_add_explicit(&l2->errors, 1, memory_order_relaxed);
    return each(arg, key, &cart);
}

int l2_each(struct l2 *l2, int (*each)(void *arg, struct slice key, const struct l2_cart *cart),
            void *arg)
{
    const char first = L2_CART;
    int rc = l2_enter(l2);
    if (rc)
        return rc;
    leveldb_iterator_t *iter = leveldb_create_iterator(l2->db, l2->scan_options);
    leveldb_iter_seek(iter, &first, 1);
    for (; rc == 0 && is_at(iter, L2_CART); leveldb_iter_next(iter))
        rc = pass_cart(l2, iter, each, arg);
    int iter_rc = l2_end_iter(l2, iter);
    l2_leave(l2);
    return rc ? rc : iter_rc;
}
