/* A copy of the database as it was at one moment, made while it is in use: LevelDB keeps what a
 * view sees, and whoever copies holds the read lock for a part at a time only. */
#include "tier/l2/l2_int.h"

#include <stdlib.h>
#include <utlist.h>

#define PART_BYTES   (1u << 20)
#define BUFFER_BYTES (4u << 20)

/* Facts about this database and its L3 that need not hold for a copy that is used later. */
static const char *const not_copied[] = {"complete", "l3", L2_SALVAGE_NOTE};

struct l2_view {
    const leveldb_snapshot_t *snapshot; /* NULL: its database was closed */
    struct l2_view *prev, *next;        /* l2->views, as long as there is a snapshot */
};

/* Ends its snapshot, for which the database is still open. */
static void end_view(struct l2 *l2, struct l2_view *view)
{
    lock_take(&l2->views_lock);
    DL_DELETE(l2->views, view);
    lock_drop(&l2->views_lock);
    leveldb_release_snapshot(l2->db, view->snapshot);
    view->snapshot = NULL;
}

void l2_views_end(struct l2 *l2)
{
    while (l2->views)
        end_view(l2, l2->views);
}

int l2_view_take(struct l2 *l2, struct l2_view **view)
{
    struct l2_view *taken = calloc(1, sizeof *taken);
    *view = NULL;
    int rc = taken ? l2_enter(l2) : CE_NOMEM;
    if (rc) {
        free(taken);
        return rc;
    }
    taken->snapshot = leveldb_create_snapshot(l2->db);
    lock_take(&l2->views_lock);
    DL_APPEND(l2->views, taken);
    lock_drop(&l2->views_lock);
    l2_leave(l2);
    *view = taken;
    return 0;
}

static int enter_view(struct l2 *l2, const struct l2_view *view)
{
    int rc = l2_enter(l2);
    if (rc == 0 && !view->snapshot) {
        l2_leave(l2);
        rc = CE_BUSY;
    }
    return rc;
}

void l2_view_drop(struct l2 *l2, struct l2_view **view)
{
    struct l2_view *gone = *view;
    *view = NULL;
    if (enter_view(l2, gone) == 0) {
        end_view(l2, gone);
        l2_leave(l2);
    }
    free(gone);
}

static bool is_copied(struct slice dbkey)
{
    struct l2_dbkey other;
    for (size_t i = 0; i < sizeof not_copied / sizeof not_copied[0]; i++) {
        l2_dbkey_meta(&other, not_copied[i]);
        if (slice_eq(dbkey, slice_of(other.bytes, other.len)))
            return false;
    }
    return true;
}

struct copy {
    struct l2 *from;
    const struct l2_view *view;
    struct l2 *to;
    struct l2_batch *batch;
    struct buf last; /* the key where the next part begins behind */
    bool over;
};

/* Takes the next part into the batch. */
static int read_part(struct copy *copy)
{
    struct l2 *l2 = copy->from;
    leveldb_readoptions_t *options = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(options, 1);
    leveldb_readoptions_set_fill_cache(options, 0);
    leveldb_readoptions_set_snapshot(options, copy->view->snapshot);
    leveldb_iterator_t *iter = leveldb_create_iterator(l2->db, options);
    l2_seek_behind(iter, buf_slice(&copy->last));
    struct slice dbkey = {0};
    for (; leveldb_iter_valid(iter) && l2_batch_bytes(copy->batch) < PART_BYTES;
         leveldb_iter_next(iter)) {
        dbkey = l2_iter_key(iter);
        if (is_copied(dbkey))
            l2_batch_raw(copy->batch, dbkey, l2_iter_value(iter));
        copy->last.len = 0;
        if (buf_append(&copy->last, dbkey.bytes, dbkey.len))
            break;
    }
    copy->over = !leveldb_iter_valid(iter);
    int rc = dbkey.len && copy->last.len == 0 ? CE_NOMEM : 0;
    int iter_rc = l2_end_iter(l2, iter);
    leveldb_readoptions_destroy(options);
    return rc ? rc : iter_rc;
}

static int copy_part(struct copy *copy)
{
    int rc = enter_view(copy->from, copy->view);
    if (rc)
        return rc;
    rc = read_part(copy);
    l2_leave(copy->from);
    return rc ? rc : l2_batch_commit(copy->to, copy->batch);
}

int l2_copy(struct l2 *l2, const struct l2_view *view, const char *path,
            int (*step)(void *ctx, uint64_t carts), void *ctx)
{
    const struct l2_config config = {
        .env = l2->env, .path = path, .keep_damaged = true, .write_buffer_bytes = BUFFER_BYTES};
    struct copy copy = {.from = l2, .view = view};
    bool ignored;
    int rc = l2_open(&config, &copy.to, &ignored);
    if (rc)
        return rc;
    rc = l2_batch_new(&copy.batch);
    while (rc == 0 && !copy.over) {
        uint64_t carts = copy.to->carts_written;
        rc = copy_part(&copy);
        if (rc == 0)
            rc = step(ctx, copy.to->carts_written - carts);
    }
    if (copy.batch)
        l2_batch_free(&copy.batch);
    buf_free(&copy.last);
    l2_close(&copy.to);
    return rc;
}
