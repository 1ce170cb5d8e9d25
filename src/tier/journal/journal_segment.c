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

static uint64_t kept_end(const struct journal *journal)
{
    return journal->synced + journal->kept.len;
}

static void close_fd(struct journal *journal)
{
    const struct env *env = journal->config.env;
    if (journal->fd >= 0)
        env->file_close(env->ctx, journal->fd); /* what counts was synced before */
    journal->fd = -1;
}

/* All of `kept` is synced in the last segment: forgets it, and ends the segment when it is full. */
static void settle_synced(struct journal *journal)
{
    uint64_t first = journal->segments[journal->segment_count - 1].first;
    uint64_t end = kept_end(journal);
    atomic_store(&journal->written, end);
    atomic_store(&journal->synced, end);
    journal->kept.len = 0;
    journal->kept_written = 0;
    buf_shrink(&journal->kept, KEPT_CAP_MAX);
    if (end - first >= journal->config.segment_bytes)
        close_fd(journal);
}

/* ---- begin -------------------------------------------------------------------------------------
 */

static int write_whole(struct journal *journal, const char *path, uint64_t first)
{
    const struct env *env = journal->config.env;
    uint8_t header[SEGMENT_HEADER_BYTES];
    journal_segment_header(first, header);
    int rc = env->file_remove(env->ctx, path);
    if (rc && rc != CE_NOTFOUND)
        return rc;
    rc = env->file_create(env->ctx, path, &journal->fd);
    if (rc) {
        journal->fd = -1;
        return rc;
    }
    rc = env->file_write(env->ctx, journal->fd, slice_of(header, sizeof header));
    if (rc == 0 && journal->kept.len)
        rc = env->file_write(env->ctx, journal->fd, buf_slice(&journal->kept));
    if (rc == 0)
        rc = env->file_sync(env->ctx, journal->fd);
    return rc;
}

/* What the segment before holds behind `first` is in the new one now. It may stay when the disk
 * does not let it go: replay knows overlaps. */
static void cut_overlap(struct journal *journal, struct segment *before, uint64_t first)
{
    const struct env *env = journal->config.env;
    char path[JOURNAL_PATH_MAX];
    journal_segment_path(journal, before->first, SEGMENT_SUFFIX, path);
    int rc = env->file_truncate(env->ctx, path, SEGMENT_HEADER_BYTES + first - before->first);
    if (rc)
        log_warn("journal", "cannot cut %s: %s", path, err_text(rc));
    before->end = first;
}

static void enter_segment(struct journal *journal, uint64_t first)
{
    struct segment *last =
        journal->segment_count ? &journal->segments[journal->segment_count - 1] : NULL;
    if (last && last->first < first && last->end > first)
        cut_overlap(journal, last, first);
    lock_take(&journal->lock);
    if (!last || last->first != first)
        last = &journal->segments[journal->segment_count++];
    *last = (struct segment){.first = first, .end = kept_end(journal)};
    lock_drop(&journal->lock);
    journal->begun = true;
    journal_segment_recount(journal);
}

int journal_segment_begin(struct journal *journal)
{
    const struct env *env = journal->config.env;
    uint64_t first = journal->synced;
    char tmp[JOURNAL_PATH_MAX];
    char path[JOURNAL_PATH_MAX];
    journal_segment_path(journal, first, SEGMENT_TMP, tmp);
    journal_segment_path(journal, first, SEGMENT_SUFFIX, path);
    int rc = journal_segment_reserve(journal);
    if (rc == 0)
        rc = write_whole(journal, tmp, first);
    if (rc == 0)
        rc = env->file_rename(env->ctx, tmp, path);
    if (rc == 0)
        rc = env->dir_sync(env->ctx, journal->config.dir);
    if (rc) {
        close_fd(journal);
        return rc;
    }
    enter_segment(journal, first);
    settle_synced(journal);
    return 0;
}

/* ---- write, sync, give up ----------------------------------------------------------------------
 */

int journal_segment_write(struct journal *journal)
{
    const struct env *env = journal->config.env;
    if (journal->kept_written == journal->kept.len)
        return 0;
    struct slice rest = slice_from(buf_slice(&journal->kept), journal->kept_written);
    journal->segments[journal->segment_count - 1].end = kept_end(journal); /* even if it fails */
    atomic_fetch_add_explicit(&journal->writes, 1, memory_order_relaxed);
    int rc = env->file_write(env->ctx, journal->fd, rest);
    if (rc)
        return rc;
    if (journal->kept_written == 0)
        journal->dirty_since_ms = env_mono_ms(env);
    journal->kept_written = journal->kept.len;
    atomic_store(&journal->written, kept_end(journal));
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
