/* journal_buffer: the bytes [synced, appended) of the sequence. They are put once, by whoever
 * appends, and stay where they are until they are synced: written from there, and written again
 * from there to another segment when the disk has failed. */
#include "tier/journal/journal_int.h"

#include <stdlib.h>

#define CHUNK_BYTES ((256u << 10) - sizeof(struct chunk))

/* Empty chunks that are kept, so that they are not faulted in again; and when all chunks are. */
#define SPARES_MAX  64
#define SPARES_IDLE 4

/* Bytes of the sequence from `first` on, without a gap to the next chunk. Only the newest grows. */
struct chunk {
    struct chunk *next;
    uint64_t first;
    size_t len, cap;
    uint8_t bytes[];
};

static uint64_t end_of(const struct chunk *chunk)
{
    return chunk->first + chunk->len;
}

static struct chunk *new_chunk(struct buffer *buffer, size_t bytes)
{
    struct chunk *chunk = buffer->spare;
    size_t cap = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
    if (cap == CHUNK_BYTES && chunk) {
        buffer->spare = chunk->next;
        buffer->spares--;
    } else {
        chunk = huge_malloc(sizeof *chunk + cap);
        if (!chunk)
            return NULL;
        chunk->cap = cap;
    }
    chunk->next = NULL;
    chunk->len = 0;
    return chunk;
}

uint8_t *buffer_room_locked(struct journal *journal, size_t bytes)
{
    struct buffer *buffer = &journal->buffer;
    struct chunk *newest = buffer->newest;
    if (newest && newest->cap - newest->len >= bytes)
        return newest->bytes + newest->len;
    struct chunk *chunk = new_chunk(buffer, bytes);
    if (!chunk)
        return NULL;
    chunk->first = journal->appended;
    *(newest ? &newest->next : &buffer->oldest) = chunk;
    buffer->newest = chunk;
    return chunk->bytes;
}

void buffer_put_locked(struct journal *journal, size_t bytes)
{
    struct chunk *newest = journal->buffer.newest;
    MUST(newest->cap - newest->len >= bytes);
    newest->len += bytes;
    atomic_store_explicit(&journal->appended, end_of(newest), memory_order_release);
}

/* Mostly it is the newest that is written. */
static const struct chunk *find_chunk_locked(const struct buffer *buffer, uint64_t lsn)
{
    const struct chunk *chunk = buffer->oldest;
    if (buffer->newest && buffer->newest->first <= lsn)
        chunk = buffer->newest;
    while (chunk && end_of(chunk) <= lsn)
        chunk = chunk->next;
    MUST(chunk && chunk->first <= lsn);
    return chunk;
}

/* A run of bytes from `from` on, not empty and not beyond `to`. */
static struct slice find_piece(struct journal *journal, uint64_t from, uint64_t to)
{
    lock_take(&journal->lock);
    const struct chunk *chunk = find_chunk_locked(&journal->buffer, from);
    uint64_t end = end_of(chunk) < to ? end_of(chunk) : to;
    lock_drop(&journal->lock);
    return slice_of(chunk->bytes + (from - chunk->first), end - from);
}

int buffer_write(struct journal *journal, int fd, uint64_t from, uint64_t to)
{
    const struct env *env = journal->config.env;
    int rc = 0;
    while (rc == 0 && from < to) {
        struct slice piece = find_piece(journal, from, to);
        rc = env->file_write(env->ctx, fd, piece);
        from += piece.len;
    }
    return rc;
}

static void free_chunks(struct chunk *chunk)
{
    for (struct chunk *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
}

static void push_chunk(struct chunk **list, struct chunk *chunk)
{
    chunk->next = *list;
    *list = chunk;
}

/* Takes the oldest chunk out; what is not kept as a spare goes in front of `gone`. */
static void drop_oldest_locked(struct buffer *buffer, struct chunk **gone)
{
    struct chunk *chunk = buffer->oldest;
    bool is_spare = chunk->cap == CHUNK_BYTES && buffer->spares < SPARES_MAX;
    buffer->oldest = chunk->next;
    if (!buffer->oldest)
        buffer->newest = NULL;
    buffer->spares += is_spare;
    push_chunk(is_spare ? &buffer->spare : gone, chunk);
}

static void drop_spare_locked(struct buffer *buffer, struct chunk **gone)
{
    struct chunk *chunk = buffer->spare;
    buffer->spare = chunk->next;
    buffer->spares--;
    push_chunk(gone, chunk);
}

void buffer_drop(struct journal *journal, uint64_t lsn)
{
    struct buffer *buffer = &journal->buffer;
    struct chunk *gone = NULL;
    lock_take(&journal->lock);
    while (buffer->oldest && end_of(buffer->oldest) <= lsn)
        drop_oldest_locked(buffer, &gone);
    while (!buffer->oldest && buffer->spares > SPARES_IDLE)
        drop_spare_locked(buffer, &gone);
    lock_drop(&journal->lock);
    free_chunks(gone);
}

int buffer_keep(struct journal *journal, uint64_t lsn, struct slice bytes)
{
    struct buffer *buffer = &journal->buffer;
    buffer_fini(journal);
    if (bytes.len == 0)
        return 0;
    struct chunk *chunk = new_chunk(buffer, bytes.len);
    if (!chunk)
        return CE_NOMEM;
    chunk->first = lsn;
    chunk->len = bytes.len;
    memcpy(chunk->bytes, bytes.bytes, bytes.len);
    buffer->oldest = buffer->newest = chunk;
    return 0;
}

bool buffer_span(const struct journal *journal, uint64_t *first, uint64_t *end)
{
    const struct buffer *buffer = &journal->buffer;
    if (!buffer->oldest)
        return false;
    *first = buffer->oldest->first;
    *end = end_of(buffer->newest);
    return true;
}

void buffer_fini(struct journal *journal)
{
    struct buffer *buffer = &journal->buffer;
    free_chunks(buffer->oldest);
    free_chunks(buffer->spare);
    *buffer = (struct buffer){0};
}
