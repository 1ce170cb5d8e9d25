/* pool: large buffers that the connections of a worker pass on to one another. A long answer or
 * value needs one for a moment only, and no connection may keep it: there may be thousands. To give
 * its memory back to the system and to take it again costs a page fault per 4 KiB, ten times of
 * what it takes to fill it (doc/bench/tried.md). The last one given is the next one taken, for the
 * processor's caches still have it. */
#include "net/net_int.h"

void pool_give(struct pool *pool, struct buf *buf)
{
    buf->len = 0;
    if (buf->cap <= CONN_KEEP_BYTES)
        return;
    if (pool->count == POOL_BUFFERS_MAX || buf->cap > POOL_BYTES_MAX - pool->bytes) {
        buf_free(buf);
        return;
    }
    pool->bytes += buf->cap;
    pool->buffers[pool->count++] = *buf;
    *buf = (struct buf){0};
}

/* The newest of at least so many bytes; NULL when there is none. */
static struct buf *find(struct pool *pool, size_t bytes)
{
    for (unsigned i = pool->count; i > 0; i--) {
        if (pool->buffers[i - 1].cap >= bytes)
            return &pool->buffers[i - 1];
    }
    return NULL;
}

void pool_take(struct pool *pool, struct buf *buf, size_t bytes)
{
    struct buf *found = bytes > CONN_KEEP_BYTES ? find(pool, bytes) : NULL;
    if (!found || buf->cap >= bytes)
        return;
    struct buf taken = *found, old = *buf;
    *found = pool->buffers[--pool->count];
    pool->bytes -= taken.cap;
    if (pool->idle > pool->count)
        pool->idle = pool->count;
    if (old.len)
        memcpy(taken.bytes, old.bytes, old.len);
    taken.len = old.len;
    *buf = taken;
    pool_give(pool, &old);
    buf_free(&old);
}

int pool_reserve(struct pool *pool, struct buf *buf, size_t more)
{
    pool_take(pool, buf, buf->len + more);
    return buf_reserve(buf, more);
}

void pool_tick(struct pool *pool)
{
    for (unsigned i = 0; i < pool->idle; i++) {
        pool->bytes -= pool->buffers[i].cap;
        buf_free(&pool->buffers[i]);
    }
    pool->count -= pool->idle;
    memmove(pool->buffers, pool->buffers + pool->idle, pool->count * sizeof *pool->buffers);
    pool->idle = pool->count;
}

void pool_free(struct pool *pool)
{
    pool->idle = pool->count;
    pool_tick(pool);
}
