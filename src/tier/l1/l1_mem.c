/* l1_mem: where L1's memory comes from: the C library's malloc. Asks it how much it really gave, so
 * that -m counts what the process pays and an item can grow into the rounding. */
#include "tier/l1/l1_int.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_HEAD_BYTES 8 /* what glibc puts in front of each piece */

void *l1_mem_new(size_t bytes)
{
    return malloc(bytes);
}

void l1_mem_free(void *mem)
{
    free(mem);
}

size_t l1_mem_usable(void *mem)
{
    return malloc_usable_size(mem);
}

size_t l1_mem_cost(void *mem)
{
    return malloc_usable_size(mem) + CHUNK_HEAD_BYTES;
}

void *l1_mem_reserve(size_t bytes)
{
    void *addresses =
        mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (addresses == MAP_FAILED)
        return NULL;
    (void)madvise(addresses, bytes, MADV_HUGEPAGE); /* where there are none, the others do */
    return addresses;
}

bool l1_mem_commit(void *addresses, size_t bytes)
{
    return mprotect(addresses, bytes, PROT_READ | PROT_WRITE) == 0;
}

void l1_mem_unreserve(void *addresses, size_t bytes)
{
    if (addresses)
        MUST(munmap(addresses, bytes) == 0);
}
