/* l1_heap: pieces of memory cut from spans, by two-level segregated fit (Masmano, Ripoll, Crespo
 * and Real, "TLSF: a new dynamic memory allocator for real-time systems", 2004): free blocks stand
 * in bins by size, two bit maps say which bins have any, so taking and giving back are a few steps
 * whatever the heap holds, and neighbours that are free are one block again at once.
 *
 * A block begins with one word: its size and two bits. A free block has its place in its bin's list
 * behind that, and its size once more in its last word, for the block behind it:
 *
 *   span   | head | block | block | ... | word of size 0 |
 *   block  | size, FREE, PREV_FREE | taken: the piece; free: next, prev, ..., size |
 *
 * A span that is one free block goes back to the pool; a heap keeps one such for the next. Of a
 * span that is to be emptied (l1_tidy.c) no block stands in a bin. */
#include "tier/l1/l1_int.h"

#define BLOCK_FREE  1u /* bits of a size */
#define PREV_FREE   2u
#define BLOCK_FLAGS 7u

struct block {
    uint64_t word; /* of a taken block also read by others than who holds the lock: atomic */
    struct block *next, *prev;
};

#define BLOCK_BYTES_MIN (sizeof(struct block) + WORD_BYTES)
_Static_assert(L1_SPAN_PIECES *BLOCK_BYTES_MIN == L1_SPAN_BYTES, "all of a span's pieces");
#define BLOCK_BYTES_MAX (L1_SPAN_BYTES - sizeof(struct l1_span) - WORD_BYTES)

/* Sizes below 256 have a bin for each multiple of 8, larger ones 32 for each power of two. */
#define SMALL_LOG2 8
_Static_assert((1 << L1_HEAP_BINS_LOG2) == L1_HEAP_BINS, "bins of a power of two");
_Static_assert(L1_SPAN_BYTES == 1 << (L1_HEAP_ROWS + SMALL_LOG2 - 1), "rows up to a span");

/* ---- blocks ------------------------------------------------------------------------------- */

static uint64_t word_of(const struct block *block)
{
    return __atomic_load_n(&block->word, __ATOMIC_RELAXED);
}

static void set_word(struct block *block, uint64_t word)
{
    __atomic_store_n(&block->word, word, __ATOMIC_RELAXED);
}

static size_t size_of(const struct block *block)
{
    return word_of(block) & ~(uint64_t)BLOCK_FLAGS;
}

static struct block *block_at(void *start, size_t offset)
{
    return (struct block *)((uint8_t *)start + offset);
}

static struct block *next_of(struct block *block)
{
    return block_at(block, size_of(block));
}

static uint64_t *last_word(struct block *block)
{
    return (uint64_t *)block_at(block, size_of(block) - WORD_BYTES);
}

static struct block *prev_of(struct block *block)
{
    uint64_t bytes;
    memcpy(&bytes, (uint8_t *)block - WORD_BYTES, sizeof bytes);
    return (struct block *)((uint8_t *)block - bytes);
}

static struct block *block_of(void *mem)
{
    return (struct block *)((uint8_t *)mem - WORD_BYTES);
}

static struct l1_span *span_of(void *mem)
{
    return (struct l1_span *)((uintptr_t)mem & ~((uintptr_t)L1_SPAN_BYTES - 1));
}

/* ---- bins --------------------------------------------------------------------------------- */

struct place {
    unsigned row, bin;
};

static struct place place_of(size_t bytes)
{
    if (bytes < 1u << SMALL_LOG2)
        return (struct place){0, (unsigned)(bytes / WORD_BYTES)};
    unsigned log2 = 63 - (unsigned)__builtin_clzll(bytes);
    unsigned bin = (unsigned)(bytes >> (log2 - L1_HEAP_BINS_LOG2)) % L1_HEAP_BINS;
    return (struct place){log2 - SMALL_LOG2 + 1, bin};
}

/* The first place where every block has so many bytes. */
static struct place place_for(size_t bytes)
{
    if (bytes >= 1u << SMALL_LOG2)
        bytes += ((size_t)1 << (63 - __builtin_clzll(bytes) - L1_HEAP_BINS_LOG2)) - 1;
    return place_of(bytes);
}

static void put_in_bin(struct l1_heap *heap, struct block *block)
{
    if (span_of(block)->leaves)
        return;
    struct place at = place_of(size_of(block));
    struct block *first = heap->bins[at.row][at.bin];
    block->next = first;
    block->prev = NULL;
    if (first)
        first->prev = block;
    heap->bins[at.row][at.bin] = block;
    heap->bins_map[at.row] |= 1u << at.bin;
    heap->rows_map |= 1u << at.row;
    heap->whole_spans += size_of(block) == BLOCK_BYTES_MAX;
}

static void take_from_bin(struct l1_heap *heap, struct block *block)
{
    if (span_of(block)->leaves)
        return;
    struct place at = place_of(size_of(block));
    heap->whole_spans -= size_of(block) == BLOCK_BYTES_MAX;
    if (block->next)
        block->next->prev = block->prev;
    if (block->prev) {
        block->prev->next = block->next;
        return;
    }
    heap->bins[at.row][at.bin] = block->next;
    if (block->next)
        return;
    heap->bins_map[at.row] &= ~(1u << at.bin);
    if (heap->bins_map[at.row] == 0)
        heap->rows_map &= ~(1u << at.row);
}

/* A block of at least so many bytes, or NULL. */
static struct block *find_block(const struct l1_heap *heap, size_t bytes)
{
    struct place at = place_for(bytes);
    if (at.row >= L1_HEAP_ROWS)
        return NULL;
    uint32_t bins = heap->bins_map[at.row] & (UINT32_MAX << at.bin);
    if (bins == 0) {
        uint32_t rows = heap->rows_map & (UINT32_MAX << at.row << 1);
        if (rows == 0)
            return NULL;
        at.row = (unsigned)__builtin_ctz(rows);
        bins = heap->bins_map[at.row];
    }
    return heap->bins[at.row][__builtin_ctz(bins)];
}

/* ---- free and taken ----------------------------------------------------------------------- */

/* The block behind it is taken, or its bits are set by who calls. */
static void make_free(struct l1_heap *heap, struct block *block, size_t bytes)
{
    set_word(block, bytes | BLOCK_FREE);
    *last_word(block) = bytes;
    struct block *next = next_of(block);
    set_word(next, word_of(next) | PREV_FREE);
    put_in_bin(heap, block);
}

static bool add_span(struct l1_heap *heap)
{
    struct l1_span *span = l1_span_take();
    if (!span)
        return false;
    span->leaves = false;
    atomic_store(&span->heap, heap);
    set_word(block_at(span, L1_SPAN_BYTES - WORD_BYTES), 0);
    make_free(heap, block_at(span, sizeof *span), BLOCK_BYTES_MAX);
    return true;
}

/* What is behind the first `bytes` of a block that is in no bin is free again. */
static void split(struct l1_heap *heap, struct block *block, size_t bytes)
{
    size_t whole = size_of(block), rest = whole - bytes;
    if (rest < BLOCK_BYTES_MIN) {
        struct block *next = next_of(block);
        set_word(next, word_of(next) & ~(uint64_t)PREV_FREE);
        set_word(block, whole);
        return;
    }
    set_word(block, bytes);
    make_free(heap, next_of(block), rest);
}

/* Under the lock; others only read it. */
static void count_taken(struct l1_heap *heap, int64_t bytes)
{
    size_t taken = atomic_load_explicit(&heap->taken, memory_order_relaxed);
    atomic_store_explicit(&heap->taken, taken + (size_t)bytes, memory_order_relaxed);
}

void l1_heap_init(struct l1_heap *heap)
{
    *heap = (struct l1_heap){.rows_map = 0};
    lock_init(&heap->lock, LOCK_L1_HEAP);
}

void *l1_heap_new(struct l1_heap *heap, size_t bytes)
{
    size_t size = (bytes + 2 * WORD_BYTES - 1) / WORD_BYTES * WORD_BYTES;
    size = size < BLOCK_BYTES_MIN ? BLOCK_BYTES_MIN : size;
    lock_take(&heap->lock);
    struct block *block = find_block(heap, size);
    if (!block && add_span(heap))
        block = find_block(heap, size);
    if (block) {
        take_from_bin(heap, block);
        split(heap, block, size);
        count_taken(heap, (int64_t)size_of(block));
    }
    lock_drop(&heap->lock);
    return block ? (uint8_t *)block + WORD_BYTES : NULL;
}

void *l1_heap_new_beside(void *mem, size_t bytes)
{
    return l1_heap_new(atomic_load(&span_of(mem)->heap), bytes);
}

void l1_heap_free(void *mem)
{
    struct block *block = block_of(mem);
    struct l1_span *span = span_of(mem), *left = NULL;
    struct l1_heap *heap = atomic_load(&span->heap);
    lock_take(&heap->lock);
    MUST(!(word_of(block) & BLOCK_FREE));
    size_t bytes = size_of(block);
    struct block *next = next_of(block);
    count_taken(heap, -(int64_t)bytes);
    if (word_of(block) & PREV_FREE) {
        block = prev_of(block);
        take_from_bin(heap, block);
        bytes += size_of(block);
    }
    if (word_of(next) & BLOCK_FREE) {
        take_from_bin(heap, next);
        bytes += size_of(next);
    }
    if (bytes == BLOCK_BYTES_MAX && (heap->whole_spans > 0 || span->leaves)) {
        left = span;
        atomic_store(&span->heap, NULL);
    } else {
        make_free(heap, block, bytes);
    }
    lock_drop(&heap->lock);
    if (left)
        l1_span_give(left);
}

size_t l1_heap_usable(void *mem)
{
    return size_of(block_of(mem)) - WORD_BYTES;
}

/* ---- a span that is to be emptied --------------------------------------------------------- */

static struct block *first_of(struct l1_span *span)
{
    return block_at(span, sizeof *span);
}

/* The lock of the heap that has the span; NULL: none has it. */
static struct l1_heap *lock_heap_of(struct l1_span *span)
{
    struct l1_heap *heap = atomic_load(&span->heap);
    if (!heap)
        return NULL;
    lock_take(&heap->lock);
    if (atomic_load(&span->heap) == heap)
        return heap;
    lock_drop(&heap->lock);
    return NULL;
}

size_t l1_heap_free_bytes(struct l1_span *span)
{
    size_t bytes = 0;
    struct l1_heap *heap = lock_heap_of(span);
    if (!heap)
        return L1_SPAN_BYTES;
    for (struct block *block = first_of(span); size_of(block); block = next_of(block))
        bytes += word_of(block) & BLOCK_FREE ? size_of(block) : 0;
    lock_drop(&heap->lock);
    return bytes;
}

size_t l1_heap_leave(struct l1_span *span, void *pieces[L1_SPAN_PIECES])
{
    size_t count = 0;
    struct l1_heap *heap = lock_heap_of(span);
    if (!heap)
        return 0;
    for (struct block *block = first_of(span); size_of(block); block = next_of(block)) {
        if (word_of(block) & BLOCK_FREE)
            take_from_bin(heap, block);
        else
            pieces[count++] = (uint8_t *)block + WORD_BYTES;
    }
    span->leaves = count > 0;
    if (count == 0) /* one free block: as it was */
        put_in_bin(heap, first_of(span));
    lock_drop(&heap->lock);
    return count;
}

void l1_heap_stay(struct l1_span *span)
{
    struct l1_heap *heap = lock_heap_of(span);
    if (!heap)
        return;
    bool stays = span->leaves;
    span->leaves = false;
    for (struct block *block = first_of(span); stays && size_of(block); block = next_of(block))
        if (word_of(block) & BLOCK_FREE)
            put_in_bin(heap, block);
    lock_drop(&heap->lock);
}
