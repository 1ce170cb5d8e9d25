/* heap: gives unused memory back to the system. Buffers of connections live in the heaps of the
 * workers, which glibc trims only when it is asked to: without this a burst of large requests would
 * be kept for ever.
 *
 * Asking is not free. malloc_trim holds the lock of each heap while it looks at every free piece
 * in it, and so does mallinfo2: in 1 GiB of items 0.1 to 0.6 s, in which no worker gets memory. So
 * the kernel is asked what there is to win, and the time that trims take is bounded. */
#include "daemon/daemon.h"

#include <malloc.h>
#include <string.h>
#include <unistd.h>

#define STATM_PATH "/proc/self/statm"

/* What the process has beside its items while nothing is wasted: its code, write buffers of the
 * tiers, the database's cache. */
#define HEAP_OTHER_BYTES ((size_t)16 << 20)
/* Free pieces between the items: no trim gets more than a part of them back. */
#define HEAP_WASTE_DIVISOR 8
/* Trims take one part of the time in so many. */
#define HEAP_TIME_SHARE 20

/* The second number of the line, in pages; 0 when it can't be read: then nothing is trimmed. */
static size_t read_resident(const struct env *env)
{
    struct buf text = {0};
    uint64_t pages = 0;
    if (env->file_read(env->ctx, STATM_PATH, &text) == 0) {
        struct slice rest = buf_slice(&text);
        const uint8_t *start = memchr(rest.bytes, ' ', rest.len);
        rest = start ? slice_from(rest, (size_t)(start + 1 - rest.bytes)) : slice_of(NULL, 0);
        const uint8_t *end = rest.len ? memchr(rest.bytes, ' ', rest.len) : NULL;
        if (!end || !num_u64(slice_of(rest.bytes, (size_t)(end - rest.bytes)), &pages))
            pages = 0;
    }
    buf_free(&text);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

bool daemon_trim_heap(struct daemon_heap *heap, const struct env *env, size_t items_bytes)
{
    uint64_t begin_ms = env_mono_ms(env);
    if (begin_ms < heap->next_ms)
        return false;
    size_t wanted = items_bytes + items_bytes / HEAP_WASTE_DIVISOR + HEAP_OTHER_BYTES;
    if (read_resident(env) <= wanted)
        return false;
    malloc_trim(0);
    uint64_t end_ms = env_mono_ms(env);
    heap->next_ms = end_ms + (end_ms - begin_ms) * HEAP_TIME_SHARE;
    return true;
}
