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

#define CHUNKS_MAX ((size_t)1 << 19) /* 1 TiB */
#define ALL_FREE   UINT8_MAX

#if defined(__SANITIZE_ADDRESS__) /* it sees only what the C library gives */
#define IS_WATCHED 1
#else
#define IS_WATCHED 0
#endif

_Static_assert(L1_CHUNK_BYTES == HUGE_BYTES && L1_CHUNK_SPANS == 8, "a bit of a byte for each");

/* Chunks that are wholly free have no memory. `base` stays as the first l1_mem_new finds it. */
static struct {
    struct lock lock;
    uint8_t *base;            /* NULL: no addresses, all comes from the C library */
    size_t bytes;             /* of addresses: all the memory that there is */
    uint8_t free[CHUNKS_MAX]; /* spans of a chunk, a bit each */
    size_t chunks;            /* that were ever used */
    size_t low;               /* no chunk before this has a free span */
    size_t leaves;            /* the chunk that is to be emptied; CHUNKS_MAX: none */
    _Atomic size_t held;      /* bytes of chunks that have a taken span */
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
    size_t chunks =
        (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE) / L1_CHUNK_BYTES;
    return (chunks < CHUNKS_MAX ? chunks : CHUNKS_MAX) * L1_CHUNK_BYTES;
}

static void init_pool(void)
{
    lock_init(&pool.lock, LOCK_L1_POOL);
    pool.leaves = CHUNKS_MAX;
    for (unsigned i = 0; i < HEAPS; i++)
        l1_heap_init(&pool.heaps[i]);
    pool.bytes = IS_WATCHED ? 0 : memory_bytes();
    pool.base = pool.bytes ? l1_mem_reserve(pool.bytes) : NULL;
}

/* Whoever comes first: a piece, or a question. */
static void have_pool(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    MUST(pthread_once(&once, init_pool) == 0);
}

/* ---- spans -------------------------------------------------------------------------------- */

/* The chunk with a free span that has the lowest address, or pool.chunks. */
static size_t find_chunk(void)
{
    size_t chunk = pool.low;
    while (chunk < pool.chunks && (pool.free[chunk] == 0 || chunk == pool.leaves))
        chunk++;
    return chunk;
}

static bool add_chunk(void)
{
    if (pool.chunks == pool.bytes / L1_CHUNK_BYTES ||
        !l1_mem_commit(pool.base + pool.chunks * L1_CHUNK_BYTES, L1_CHUNK_BYTES))
        return false;
    pool.free[pool.chunks++] = ALL_FREE;
    return true;
}

/* A chunk that is wholly free gives its memory back; what is locked into memory stays there. */
static void release_free(size_t chunk)
{
    if (pool.free[chunk] != ALL_FREE)
        return;
    (void)madvise(pool.base + chunk * L1_CHUNK_BYTES, L1_CHUNK_BYTES, MADV_DONTNEED);
    atomic_fetch_sub(&pool.held, L1_CHUNK_BYTES);
}

struct l1_span *l1_span_take(void)
{
    struct l1_span *span = NULL;
    lock_take(&pool.lock);
    size_t chunk = find_chunk();
    pool.low = chunk;
    if (chunk < pool.chunks || add_chunk()) {
        unsigned at = (unsigned)__builtin_ctz(pool.free[chunk]);
        if (pool.free[chunk] == ALL_FREE)
            atomic_fetch_add(&pool.held, L1_CHUNK_BYTES);
        pool.free[chunk] &= (uint8_t) ~(1u << at);
        span = (struct l1_span *)(pool.base + chunk * L1_CHUNK_BYTES + at * L1_SPAN_BYTES);
    }
    lock_drop(&pool.lock);
    return span;
}

void l1_span_give(struct l1_span *span)
{
    size_t offset = (size_t)((uint8_t *)span - pool.base), chunk = offset / L1_CHUNK_BYTES;
    lock_take(&pool.lock);
    pool.free[chunk] |= (uint8_t)(1u << offset % L1_CHUNK_BYTES / L1_SPAN_BYTES);
    pool.low = chunk < pool.low ? chunk : pool.low;
    if (chunk != pool.leaves)
        release_free(chunk);
    lock_drop(&pool.lock);
}

size_t l1_chunks(void)
{
    have_pool();
    lock_take(&pool.lock);
    size_t chunks = pool.chunks;
    lock_drop(&pool.lock);
    return chunks;
}

unsigned l1_chunk_leave(size_t chunk, struct l1_span *spans[L1_CHUNK_SPANS])
{
    unsigned count = 0;
    lock_take(&pool.lock);
    MUST(chunk < pool.chunks);
    if (pool.free[chunk] != ALL_FREE)
        pool.leaves = chunk;
    for (size_t i = 0; i < L1_CHUNK_SPANS; i++)
        if (!(pool.free[chunk] >> i & 1))
            spans[count++] =
                (struct l1_span *)(pool.base + chunk * L1_CHUNK_BYTES + i * L1_SPAN_BYTES);
    lock_drop(&pool.lock);
    return count;
}

void l1_chunk_stay(void)
{
    lock_take(&pool.lock);
    if (pool.leaves != CHUNKS_MAX) {
        release_free(pool.leaves);
        pool.low = pool.leaves < pool.low ? pool.leaves : pool.low;
        pool.leaves = CHUNKS_MAX;
    }
    lock_drop(&pool.lock);
}

size_t l1_mem_held(void)
{
    have_pool();
    return atomic_load(&pool.held);
}

size_t l1_mem_holes(void)
{
    size_t held = l1_mem_held(), taken = 0;
    for (unsigned i = 0; i < HEAPS; i++)
        taken += atomic_load(&pool.heaps[i].taken);
    return held > taken ? held - taken : 0; /* not read at the same instant */
}

/* ---- pieces ------------------------------------------------------------------------------- */

static struct l1_heap *own_heap(void)
{
    static _Atomic unsigned threads;
    static _Thread_local struct l1_heap *heap;
    if (!heap) {
        have_pool();
        heap = &pool.heaps[atomic_fetch_add(&threads, 1) % HEAPS];
    }
    return pool.base ? heap : NULL;
}

/* Who has a piece came here after the pool; TSan does not know, for l1_foresee takes no lock. */
__attribute__((no_sanitize("thread"))) bool l1_mem_stays(const void *mem)
{
    return (uintptr_t)mem - (uintptr_t)pool.base < pool.bytes && pool.base;
}

void *l1_mem_new(size_t bytes)
{
    struct l1_heap *heap = own_heap();
    return heap && bytes <= PIECE_BYTES_MAX ? l1_heap_new(heap, bytes) : malloc(bytes);
}

void *l1_mem_new_beside(void *mem, size_t bytes)
{
    return bytes <= PIECE_BYTES_MAX ? l1_heap_new_beside(mem, bytes) : NULL;
}

void l1_mem_free(void *mem)
{
    if (l1_mem_stays(mem))
        l1_heap_free(mem);
    else
        free(mem);
}

size_t l1_mem_usable(void *mem)
{
    return l1_mem_stays(mem) ? l1_heap_usable(mem) : malloc_usable_size(mem);
}

size_t l1_mem_cost(void *mem)
{
    return l1_mem_usable(mem) + HEAD_BYTES;
}
