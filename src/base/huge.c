#include "base/huge.h"

#include "base/must.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

static size_t whole_pages(size_t bytes)
{
    return (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
}

/* Maps a huge page more than asked for and cuts off what is not needed to begin at one. */
static void *map_aligned(size_t bytes, int prot, int flags)
{
    MUST(bytes > 0);
    bytes = whole_pages(bytes);
    uint8_t *mem = mmap(NULL, bytes + HUGE_BYTES, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    if (mem == MAP_FAILED)
        return NULL;
    size_t front = (HUGE_BYTES - (uintptr_t)mem % HUGE_BYTES) % HUGE_BYTES;
    if (front)
        MUST(munmap(mem, front) == 0);
    MUST(munmap(mem + front + bytes, HUGE_BYTES - front) == 0);
    (void)madvise(mem + front, bytes, MADV_HUGEPAGE); /* where there are none, the others do */
    return mem + front;
}

void *huge_new(size_t bytes)
{
    return map_aligned(bytes, PROT_READ | PROT_WRITE, 0);
}

void *huge_reserve(size_t bytes)
{
    return map_aligned(bytes, PROT_NONE, MAP_NORESERVE);
}

void *huge_malloc(size_t bytes)
{
    if (bytes < HUGE_BYTES)
        return malloc(bytes);
    void *mem = aligned_alloc(HUGE_BYTES, whole_pages(bytes));
    if (mem)
        (void)madvise(mem, whole_pages(bytes), MADV_HUGEPAGE);
    return mem;
}

void huge_free(void *mem, size_t bytes)
{
    if (mem)
        MUST(munmap(mem, whole_pages(bytes)) == 0);
}
