/* Writing: one thread collects a WriteBatch and commits it, synced. */
#include "tier/l2/l2_int.h"

#include <stdlib.h>

#define RECORD_CAP_MAX (1u << 20)

int l2_batch_new(struct l2_batch **batch)
{
    struct l2_batch *made = calloc(1, sizeof *made);
    *batch = made;
    if (!made)
        return CE_NOMEM;
    made->magic = L2_BATCH_MAGIC;
    made->writes = leveldb_writebatch_create();
    return 0;
}

void l2_batch_free(struct l2_batch **batch)
{
    struct l2_batch *gone = *batch;
    MUST_OBJ(gone, L2_BATCH_MAGIC);
    *batch = NULL;
    leveldb_writebatch_destroy(gone->writes);
    buf_free(&gone->record);
    gone->magic = 0;
    free(gone);
}

static void put(struct l2_batch *batch, const struct l2_dbkey *dbkey, struct slice value)
{
    const char *bytes = value.len ? (const char *)value.bytes : "";
    leveldb_writebatch_put(batch->writes, dbkey->bytes, dbkey->len, bytes, value.len);
    batch->bytes += dbkey->len + value.len;
}

/* Most often the key is that of the call before: finding its place on the ring costs more than the
 * rest. */
static const struct l2_dbkey *find_dbkey(struct l2_batch *batch, enum l2_kind kind,
                                         struct slice key)
{
    struct l2_dbkey *last = &batch->last;
    struct slice known = slice_of(last->bytes, last->len);
    if (last->len == 0 || !slice_eq(slice_from(known, L2_KEY_HEAD), key))
        l2_dbkey_cart(last, kind, key);
    last->bytes[0] = (char)kind;
    return last;
}

static void erase(struct l2_batch *batch, enum l2_kind kind, struct slice key)
{
    const struct l2_dbkey *dbkey = find_dbkey(batch, kind, key);
    leveldb_writebatch_delete(batch->writes, dbkey->bytes, dbkey->len);
    batch->bytes += dbkey->len;
}

int l2_batch_put(struct l2_batch *batch, struct slice key, const struct l2_cart *cart)
{
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    if (l2_record_encode(key, cart, &batch->record))
        return CE_NOMEM;
    put(batch, find_dbkey(batch, L2_CART, key), buf_slice(&batch->record));
    batch->record.len = 0;
    buf_shrink(&batch->record, RECORD_CAP_MAX);
    batch->carts++;
    return 0;
}

void l2_batch_delete(struct l2_batch *batch, struct slice key)
{
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    erase(batch, L2_CART, key);
    erase(batch, L2_MARK, key);
}

void l2_batch_mark(struct l2_batch *batch, struct slice key)
{
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    put(batch, find_dbkey(batch, L2_MARK, key), slice_str(""));
}

void l2_batch_unmark(struct l2_batch *batch, struct slice key)
{
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    erase(batch, L2_MARK, key);
}

void l2_batch_unsalvage(struct l2_batch *batch, struct slice key)
{
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    erase(batch, L2_SALVAGED, key);
}

void l2_batch_meta(struct l2_batch *batch, const char *name, struct slice value)
{
    struct l2_dbkey dbkey;
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    l2_dbkey_meta(&dbkey, name);
    put(batch, &dbkey, value);
}

void l2_batch_meta_delete(struct l2_batch *batch, const char *name)
{
    struct l2_dbkey dbkey;
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    l2_dbkey_meta(&dbkey, name);
    leveldb_writebatch_delete(batch->writes, dbkey.bytes, dbkey.len);
    batch->bytes += dbkey.len;
}

void l2_batch_enter(struct l2_batch *batch, enum l2_list list, uint64_t number, struct slice key,
                    struct slice value)
{
    struct l2_dbkey dbkey;
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    MUST(key.len > 0);
    l2_dbkey_entry(&dbkey, list, number, key);
    put(batch, &dbkey, value);
}

void l2_batch_leave(struct l2_batch *batch, enum l2_list list, uint64_t number, struct slice key)
{
    struct l2_dbkey dbkey;
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    l2_dbkey_entry(&dbkey, list, number, key);
    leveldb_writebatch_delete(batch->writes, dbkey.bytes, dbkey.len);
    batch->bytes += dbkey.len;
}

void l2_batch_raw(struct l2_batch *batch, struct slice dbkey, struct slice value)
{
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    leveldb_writebatch_put(batch->writes, (const char *)dbkey.bytes, dbkey.len,
                           value.len ? (const char *)value.bytes : "", value.len);
    batch->bytes += dbkey.len + value.len;
    batch->carts += dbkey.bytes[0] == L2_CART;
}

void l2_batch_clear(struct l2_batch *batch)
{
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    leveldb_writebatch_clear(batch->writes);
    batch->bytes = 0;
    batch->carts = 0;
}

void l2_batch_shrink(struct l2_batch *batch)
{
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    if (batch->bytes > 0)
        return;
    leveldb_writebatch_destroy(batch->writes);
    batch->writes = leveldb_writebatch_create();
    buf_free(&batch->record);
}

size_t l2_batch_bytes(const struct l2_batch *batch)
{
    return batch->bytes;
}

static int write_batch(struct l2 *l2, const struct l2_batch *batch)
{
    char *error = NULL;
    int rc = l2_enter(l2);
    if (rc)
        return rc;
    leveldb_write(l2->db, l2->write_options, batch->writes, &error);
    rc = l2_take_error(l2, error);
    l2_leave(l2);
    return rc;
}

int l2_batch_commit(struct l2 *l2, struct l2_batch *batch)
{
    MUST_OBJ(l2, L2_MAGIC);
    MUST_OBJ(batch, L2_BATCH_MAGIC);
    int rc = l2->broken ? l2_reopen(l2) : 0;
    if (rc == 0)
        rc = write_batch(l2, batch);
    if (rc) {
        l2->broken = true;
        return rc == CE_NODISK ? CE_NODISK : CE_IO;
    }
    atomic_fetch_add_explicit(&l2->writes, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&l2->carts_written, batch->carts, memory_order_relaxed);
    atomic_fetch_add_explicit(&l2->bytes_written, batch->bytes, memory_order_relaxed);
    l2_batch_clear(batch);
    return 0;
}
