/* l1_mem: where L1's memory comes from. Pieces are cut from spans (l1_heap.c) of chunks of the size
 * of a huge page, for an item is looked for somewhere in all of memory: with pages of 4 KiB most of
 * the time of a hit goes into finding the page (doc/bench/tried.md). Large pieces come from the C
 * library. -m counts what a piece costs, and an item may grow into the rounding.
 *
 * Each thread takes from a heap of its own, as far as they go; a piece goes back to where it came
 * from, whoever frees it. */
#include "tier/l1/l1_int.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAPS      8
#define HEAD_BYTES 8 /* in front of each piece, of ours and of glibc's */

/* Larger pieces would leave holes in their spans. */
#define PIECE_BYTES_MAX (L1_SPAN_BYTES / 4)

#define CHUNK_BYTES HUGE_BYTES
#define CHUNK_SPANS (CHUNK_BYTES / L1_SPAN_BYTES)
#define CHUNKS_MAX  ((size_t)1 << 19) /* 1 TiB */
#define ALL_FREE    UINT8_MAX
_Static_assert(CHUNK_SPANS == 8, "a bit of a byte for each");

/* Chunks that are wholly free have no memory. `base` stays as the first l1_mem_new finds it. */
static struct {
    struct lock lock;
    uint8_t *base;            /* NULL: no addresses, all comes from the C library */
    size_t bytes;             /* of addresses: all the memory that there is */
    uint8_t free[CHUNKS_MAX]; /* spans of a chunk, a bit each */
    size_t chunks;            /* that were ever used */
    size_t low;               /* no chunk before this has a free span */
    struct l1_heap heaps[HEAPS];
} pool;

/* ---- addresses ---------------------------------------------------------------------------- */

void *l1_mem_reserve(size_t bytes)
{
    return huge_reserve(bytes);
}

bool l1_mem_commit(void *addresses, size_t bytes)
{
    return mprotect(addresses, bytes, PROT_READ | PROT_WRITE) == 0;
}

void l1_mem_unreserve(void *addresses, size_t bytes)
{
    huge_free(addresses, bytes);
}

static size_t memory_bytes(void)
{
    size_t chunks = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / CHUNK_BYTES;
    return (chunks < CHUNKS_MAX ? chunks : CHUNKS_MAX) * CHUNK_BYTES;
}

static void init_pool(void)
{
    lock_init(&pool.lock, LOCK_L1_POOL);
    for (unsigned i = 0; i < HEAPS; i++)
        l1_heap_init(&pool.heaps[i]);
#if !defined(__SANITIZE_ADDRESS__) /* it sees only what the C library gives */
    pool.bytes = memory_bytes();
    pool.base = l1_mem_reserve(pool.bytes);
#endif
}

/* ---- spans -------------------------------------------------------------------------------- */

/* The chunk with a free span that has the lowest address, or pool.chunks. */
static size_t find_chunk(void)
{
    size_t chunk = pool.low;
    while (chunk < pool.chunks && pool.free[chunk] == 0)
        chunk++;
    return chunk;
}

static bool add_chunk(void)
{
    if (pool.chunks == pool.bytes / CHUNK_BYTES ||
        !l1_mem_commit(pool.base + pool.chunks * CHUNK_BYTES, CHUNK_BYTES))
        return false;
    pool.free[pool.chunks++] = ALL_FREE;
    return true;
}

struct l1_span *l1_span_take(void)
{
    struct l1_span *span = NULL;
    lock_take(&pool.lock);
    size_t chunk = find_chunk();
    pool.low = chunk;
    if (chunk < pool.chunks || add_chunk()) {
        unsigned at = (unsigned)__builtin_ctz(pool.free[chunk]);
        pool.free[chunk] &= (uint8_t) ~(1u << at);
        span = (struct l1_span *)(pool.base + chunk * CHUNK_BYTES + at * L1_SPAN_BYTES);
    }
    lock_drop(&pool.lock);
    return span;
}

void l1_span_give(struct l1_span *span)
{
    size_t offset = (size_t)((uint8_t *)span - pool.base), chunk = offset / CHUNK_BYTES;
    lock_take(&pool.lock);
    pool.free[chunk] |= (uint8_t)(1u << offset % CHUNK_BYTES / L1_SPAN_BYTES);
    pool.low = chunk < pool.low ? chunk : pool.low;
    if (pool.free[chunk] == ALL_FREE) /* what is locked into memory stays there */
        (void)madvise(pool.base + chunk * CHUNK_BYTES, CHUNK_BYTES, MADV_DONTNEED);
    lock_drop(&pool.lock);
}

/* ---- pieces ------------------------------------------------------------------------------- */

static struct l1_heap *own_heap(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static _Atomic unsigned threads;
    static _Thread_local struct l1_heap *heap;
    if (!heap) {
        MUST(pthread_once(&once, init_pool) == 0);
        heap = &pool.heaps[atomic_fetch_add(&threads, 1) % HEAPS];
    }
    return pool.base ? heap : NULL;
}

static bool is_of_pool(const void *mem)
{
    return (uintptr_t)mem - (uintptr_t)pool.base < pool.bytes && pool.base;
}

void *l1_mem_new(size_t bytes)
{
    struct l1_heap *heap = own_heap();
    return heap && bytes <= PIECE_BYTES_MAX ? l1_heap_new(heap, bytes) : malloc(bytes);
}

void l1_mem_free(void *mem)
{
    if (is_of_pool(mem))
        l1_heap_free(mem);
    else
        free(mem);
}

size_t l1_mem_usable(void *mem)
{
    return is_of_pool(mem) ? l1_heap_usable(mem) : malloc_usable_size(mem);
}

size_t l1_mem_cost(void *mem)
{
    return l1_mem_usable(mem) + HEAD_BYTES;
}
