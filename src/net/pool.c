/* pool: buffers that the connections of a worker pass on to one another. Each needs one for a
 * moment only, while it is served, and none may keep it: there may be thousands of connections that
 * say nothing. Large ones above all: to give their memory back to the system and to take it again
 * costs a page fault per 4 KiB, ten times of what it takes to fill it (doc/bench/tried.md). The
 * last one given is the next one taken, for the processor's caches still have it.
 *
 * Small and large ones are on shelves of their own, so that who needs little does not take much. */
#include "net/net_int.h"

static struct shelf *shelf_for(struct pool *pool, size_t bytes)
{
    return bytes > CONN_KEEP_BYTES ? &pool->large : &pool->small;
}

void pool_give(struct pool *pool, struct buf *buf)
{
    buf->len = 0;
    if (buf->cap <= CONN_IDLE_BYTES)
        return;
    struct shelf *shelf = shelf_for(pool, buf->cap);
    if (buf->cap < NET_READ_BYTES || shelf->count == POOL_BUFFERS_MAX ||
        buf->cap > POOL_BYTES_MAX - pool->bytes) {
        buf_free(buf);
        return;
    }
    pool->bytes += buf->cap;
    shelf->buffers[shelf->count++] = *buf;
    *buf = (struct buf){0};
}

/* The newest of at least so many bytes; NULL when there is none. */
static struct buf *find(struct shelf *shelf, size_t bytes)
{
    for (unsigned i = shelf->count; i > 0; i--) {
        if (shelf->buffers[i - 1].cap >= bytes)
            return &shelf->buffers[i - 1];
    }
    return NULL;
}

/* Puts one of the shelf in the place of `buf`. */
static void take(struct pool *pool, struct shelf *shelf, struct buf *found, struct buf *buf)
{
    struct buf taken = *found, old = *buf;
    *found = shelf->buffers[--shelf->count];
    pool->bytes -= taken.cap;
    if (shelf->idle > shelf->count)
        shelf->idle = shelf->count;
    if (old.len)
        memcpy(taken.bytes, old.bytes, old.len);
    taken.len = old.len;
    *buf = taken;
    pool_give(pool, &old);
    buf_free(&old);
}

int pool_fit(struct pool *pool, struct buf *buf, size_t bytes)
{
    if (buf->cap >= bytes)
        return 0;
    struct shelf *shelf = shelf_for(pool, bytes);
    struct buf *found = find(shelf, bytes);
    if (found) {
        take(pool, shelf, found, buf);
        return 0;
    }
    /* Whatever is made is fit for the next one, too. */
    return buf_reserve(buf, (bytes > NET_READ_BYTES ? bytes : NET_READ_BYTES) - buf->len);
}

static void tick(struct pool *pool, struct shelf *shelf)
{
    for (unsigned i = 0; i < shelf->idle; i++) {
        pool->bytes -= shelf->buffers[i].cap;
        buf_free(&shelf->buffers[i]);
    }
    shelf->count -= shelf->idle;
    memmove(shelf->buffers, shelf->buffers + shelf->idle, shelf->count * sizeof *shelf->buffers);
    shelf->idle = shelf->count;
}

void pool_tick(struct pool *pool)
{
    tick(pool, &pool->small);
    tick(pool, &pool->large);
}

void pool_free(struct pool *pool)
{
    pool->small.idle = pool->small.count;
    pool->large.idle = pool->large.count;
    pool_tick(pool);
}
