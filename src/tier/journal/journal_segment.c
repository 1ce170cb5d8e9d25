/* Segment files. A new one comes into being whole: written and synced under another name, renamed,
 * the directory synced. So a segment that exists has its header and all it began with, and it may
 * replace one of the same name of which nothing was synced.
 *
 * The segment before it is always synced up to where the new one begins: a crash makes no hole. */
#include "tier/journal/journal_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void journal_segment_path(const struct journal *journal, uint64_t first, const char *suffix,
                          char path[JOURNAL_PATH_MAX])
{
    int len =
        snprintf(path, JOURNAL_PATH_MAX, "%s/%020" PRIu64 "%s", journal->config.dir, first, suffix);
    MUST(len > 0 && len < JOURNAL_PATH_MAX);
}

void journal_segment_header(uint64_t first, uint8_t out[SEGMENT_HEADER_BYTES])
{
    journal_put_u64(out, SEGMENT_MAGIC);
    journal_put_u32(out + 8, SEGMENT_FORMAT);
    journal_put_u32(out + 12, 0);
    journal_put_u64(out + 16, first);
    journal_put_u64(out + 24, hash_64(slice_of(out, 24)));
}

int journal_segment_reserve(struct journal *journal)
{
    if (journal->segment_count < journal->segment_cap)
        return 0;
    size_t cap = journal->segment_cap ? 2 * journal->segment_cap : 16;
    struct segment *segments = malloc(cap * sizeof *segments), *old = journal->segments;
    if (!segments)
        return CE_NOMEM;
    if (old)
        memcpy(segments, old, journal->segment_count * sizeof *segments);
    lock_take(&journal->lock);
    journal->segments = segments;
    lock_drop(&journal->lock);
    journal->segment_cap = cap;
    free(old);
    return 0;
}

void journal_segment_recount(struct journal *journal)
{
    size_t history = journal->history_count;
    bool is_last = history + 1 >= journal->segment_count;
    uint64_t bytes = 0;
    for (size_t i = 0; i < history; i++)
        bytes += SEGMENT_HEADER_BYTES + journal->segments[i].end - journal->segments[i].first;
    atomic_store(&journal->drop_at, is_last ? UINT64_MAX : journal->segments[history].end);
    atomic_store(&journal->segments_now, journal->segment_count);
    atomic_store(&journal->history_segments, history);
    atomic_store(&journal->history_bytes, bytes);
}

/* ---- the bytes since the last good sync --------------------------------------------------------
 */

static void close_fd(struct journal *journal)
{
    const struct env *env = journal->config.env;
    if (journal->fd >= 0)
        env->file_close(env->ctx, journal->fd); /* what counts was synced before */
    journal->fd = -1;
}

bool journal_segment_is_full(const struct journal *journal)
{
    uint64_t first = journal->segments[journal->segment_count - 1].first;
    return journal->written - first >= journal->config.segment_bytes;
}

void journal_segment_note_synced(struct journal *journal, uint64_t lsn, uint64_t since_ms)
{
    MUST(lsn >= journal->synced && lsn <= journal->written);
    atomic_store(&journal->synced, lsn);
    buffer_drop(journal, lsn);
    journal->dirty_since_ms = since_ms;
}

/* All that was taken is synced in the last segment, which ends when it is full. */
static void settle_synced(struct journal *journal)
{
    atomic_store(&journal->written, journal->taken);
    journal_segment_note_synced(journal, journal->taken, 0);
    if (journal_segment_is_full(journal))
        close_fd(journal);
}

/* ---- begin -------------------------------------------------------------------------------------
 */

static int write_made(struct journal *journal, int fd, uint64_t first, uint64_t end)
{
    const struct env *env = journal->config.env;
    uint8_t header[SEGMENT_HEADER_BYTES];
    journal_segment_header(first, header);
    int rc = env->file_write(env->ctx, fd, slice_of(header, sizeof header));
    if (rc == 0)
        rc = buffer_write(journal, fd, first, end);
    return rc ? rc : env->file_sync(env->ctx, fd);
}

int journal_segment_make(struct journal *journal, uint64_t first, uint64_t end, int *fd)
{
    const struct env *env = journal->config.env;
    char path[JOURNAL_PATH_MAX];
    journal_segment_path(journal, first, SEGMENT_TMP, path);
    int rc = env->file_remove(env->ctx, path);
    if (rc && rc != CE_NOTFOUND)
        return rc;
    rc = env->file_create(env->ctx, path, fd);
    if (rc)
        return rc;
    rc = write_made(journal, *fd, first, end);
    if (rc)
        env->file_close(env->ctx, *fd);
    return rc;
}

int journal_segment_rename(const struct journal *journal, uint64_t first)
{
    const struct env *env = journal->config.env;
    char tmp[JOURNAL_PATH_MAX], path[JOURNAL_PATH_MAX];
    journal_segment_path(journal, first, SEGMENT_TMP, tmp);
    journal_segment_path(journal, first, SEGMENT_SUFFIX, path);
    return env->file_rename(env->ctx, tmp, path);
}

void journal_segment_cut(const struct journal *journal, uint64_t before, uint64_t first)
{
    const struct env *env = journal->config.env;
    char path[JOURNAL_PATH_MAX];
    journal_segment_path(journal, before, SEGMENT_SUFFIX, path);
    int rc = env->file_truncate(env->ctx, path, SEGMENT_HEADER_BYTES + first - before);
    if (rc && rc != CE_NOTFOUND) /* it may be history by now */
        log_warn("journal", "cannot cut %s: %s", path, err_text(rc));
}

void journal_segment_enter(struct journal *journal, uint64_t first)
{
    struct segment *last =
        journal->segment_count ? &journal->segments[journal->segment_count - 1] : NULL;
    lock_take(&journal->lock);
    if (last && last->first < first && last->end > first)
        last->end = first;
    if (!last || last->first != first)
        last = &journal->segments[journal->segment_count++];
    *last = (struct segment){.first = first, .end = journal->taken};
    lock_drop(&journal->lock);
    journal->begun = true;
    journal_segment_recount(journal);
}

/* What the segment before holds behind `first` is in the new one now. */
static void cut_overlap(const struct journal *journal, uint64_t first)
{
    const struct segment *last =
        journal->segment_count ? &journal->segments[journal->segment_count - 1] : NULL;
    if (last && last->first < first && last->end > first)
        journal_segment_cut(journal, last->first, first);
}

int journal_segment_begin(struct journal *journal)
{
    const struct env *env = journal->config.env;
    uint64_t first = journal->synced;
    int fd;
    int rc = journal_segment_reserve(journal);
    if (rc == 0)
        rc = journal_segment_make(journal, first, journal->taken, &fd);
    if (rc)
        return rc;
    rc = journal_segment_rename(journal, first);
    if (rc == 0)
        rc = env->dir_sync(env->ctx, journal->config.dir);
    if (rc) {
        env->file_close(env->ctx, fd);
        return rc;
    }
    journal->fd = fd;
    cut_overlap(journal, first);
    journal_segment_enter(journal, first);
    settle_synced(journal);
    return 0;
}

/* ---- write, sync, give up ----------------------------------------------------------------------
 */

int journal_segment_write(struct journal *journal)
{
    if (journal->written == journal->taken)
        return 0;
    journal->segments[journal->segment_count - 1].end = journal->taken; /* even if it fails */
    atomic_fetch_add_explicit(&journal->writes, 1, memory_order_relaxed);
    int rc = buffer_write(journal, journal->fd, journal->written, journal->taken);
    if (rc)
        return rc;
    if (journal->written == journal->synced)
        journal->dirty_since_ms = env_mono_ms(journal->config.env);
    atomic_store(&journal->written, journal->taken);
    return 0;
}

int journal_segment_sync(struct journal *journal)
{
    const struct env *env = journal->config.env;
    atomic_fetch_add_explicit(&journal->syncs, 1, memory_order_relaxed);
    int rc = env->file_sync(env->ctx, journal->fd);
    if (rc)
        return rc;
    settle_synced(journal);
    return 0;
}

void journal_segment_abandon(struct journal *journal)
{
    close_fd(journal);
}
