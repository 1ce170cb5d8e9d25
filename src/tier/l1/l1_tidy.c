/* l1_tidy: moves items together. Carts that grow line by line leave holes that nothing fits into: a
 * sixth of the memory, when all have grown (doc/bench/tried.md). A chunk that has many is emptied,
 * into the holes of others or into new spans that have none, and goes back. From the lowest address
 * up: new spans are the lowest that are free, so in the end what is free is above all, in whole
 * chunks.
 *
 * Items of a stripe lie in all chunks. So an item is found by its key, which is read without the
 * lock of its stripe: the piece may be none any more, or no item at all. What was read says only in
 * which chain to look; what stands there, by its address, is an item. */
#include "tier/l1/l1_int.h"

#include <stdlib.h>

#define FREE_PART  16 /* of a chunk: with less in holes it is left as it is */
#define HOLES_PART 16 /* of all memory: with less, that came since, there is nothing to do */

/* What the key of the item in this piece hashes to, if there is an item. False: there is none. */
__attribute__((no_sanitize("thread"))) static bool guess_hash(const struct l1_item *item,
                                                              uint64_t *hash)
{
    size_t key_bytes = __atomic_load_n(&item->key_bytes, __ATOMIC_RELAXED);
    uintptr_t span_end = ((uintptr_t)item | (L1_SPAN_BYTES - 1)) + 1;
    if ((uintptr_t)item + l1_item_bytes(key_bytes, 0) > span_end)
        return false;
    uint8_t key[UINT8_MAX];
    for (size_t i = 0; i < key_bytes; i++)
        key[i] = __atomic_load_n(&item->_bytes[i], __ATOMIC_RELAXED);
    *hash = hash_64(slice_of(key, key_bytes));
    return true;
}

static struct l1_item **slot_of(const struct l1_stripe *stripe, uint64_t hash, const void *piece)
{
    struct l1_item **slot = l1_bucket_of(stripe, hash);
    while (*slot && *slot != piece)
        slot = &(*slot)->_next;
    return slot;
}

static void move_away(struct l1 *l1, void *piece)
{
    uint64_t hash;
    if (!guess_hash(piece, &hash))
        return;
    struct l1_stripe *stripe = l1_stripe_of(l1, hash);
    lock_take(&stripe->lock);
    struct l1_item **slot = slot_of(stripe, hash, piece), *item = *slot, *moved = NULL;
    if (item)
        moved = l1_take_mem_beside(l1, item,
                                   l1_piece_bytes(item->kind, item->key_bytes, item->value_bytes));
    if (moved)
        l1_move(l1, stripe, slot, moved, l1_item_bytes(item->key_bytes, item->value_bytes));
    lock_drop(&stripe->lock);
}

struct tidy {
    bool (*go_on)(void *ctx);
    void *ctx;
    void *pieces[L1_SPAN_PIECES];
};

/* False: told to end. */
static bool empty_span(struct l1 *l1, struct tidy *tidy, struct l1_span *span)
{
    size_t count = l1_heap_leave(span, tidy->pieces), i = 0;
    for (; i < count && tidy->go_on(tidy->ctx); i++)
        move_away(l1, tidy->pieces[i]);
    if (count)
        l1_heap_stay(span);
    return i == count;
}

static bool empty_chunk(struct l1 *l1, struct tidy *tidy, size_t chunk)
{
    struct l1_span *spans[L1_CHUNK_SPANS];
    bool goes_on = true;
    unsigned count = l1_chunk_leave(chunk, spans);
    size_t free_bytes = (L1_CHUNK_SPANS - count) * L1_SPAN_BYTES;
    for (unsigned i = 0; i < count; i++)
        free_bytes += l1_heap_free_bytes(spans[i]);
    for (unsigned i = 0; i < count && goes_on && free_bytes >= L1_CHUNK_BYTES / FREE_PART; i++)
        goes_on = empty_span(l1, tidy, spans[i]);
    l1_chunk_stay();
    return goes_on;
}

void l1_tidy(struct l1 *l1, bool (*go_on)(void *ctx), void *ctx)
{
    MUST_OBJ(l1, L1_MAGIC);
    if (l1_mem_holes() <= l1->holes_left + l1_mem_held() / HOLES_PART)
        return;
    struct tidy *tidy = malloc(sizeof *tidy);
    if (!tidy)
        return;
    tidy->go_on = go_on;
    tidy->ctx = ctx;
    while (l1->tidy_chunk < l1_chunks() && go_on(ctx) && empty_chunk(l1, tidy, l1->tidy_chunk))
        l1->tidy_chunk++;
    if (l1->tidy_chunk >= l1_chunks()) {
        l1->tidy_chunk = 0;
        l1->holes_left = l1_mem_holes();
    }
    free(tidy);
}
