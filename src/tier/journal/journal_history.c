/* What becomes of segments that are released: they are kept as long as there is room for them, and
 * one record of them is read when somebody asks what happened. The oldest goes first, so what is
 * kept has no hole but those that damage makes. */
#include "tier/journal/journal_int.h"

/* ---- keeping and dropping ----------------------------------------------------------------------
 */

static void path_of(const struct journal *journal, const struct segment *segment,
                    char path[JOURNAL_PATH_MAX])
{
    const char *suffix = segment->old ? SEGMENT_OLD : SEGMENT_SUFFIX;
    journal_segment_path(journal, segment->first, suffix, path);
}

static int rename_as(const struct journal *journal, struct segment *segment, bool old)
{
    const struct env *env = journal->config.env;
    char from[JOURNAL_PATH_MAX], to[JOURNAL_PATH_MAX];
    struct segment renamed = {.first = segment->first, .old = old};
    path_of(journal, segment, from);
    path_of(journal, &renamed, to);
    int rc = env->file_rename(env->ctx, from, to);
    if (rc)
        log_warn("journal", "cannot rename %s: %s", from, err_text(rc));
    else
        segment->old = old;
    return rc;
}

static bool remove_file(const struct journal *journal, const struct segment *segment)
{
    const struct env *env = journal->config.env;
    char path[JOURNAL_PATH_MAX];
    path_of(journal, segment, path);
    int rc = env->file_remove(env->ctx, path);
    if (rc && rc != CE_NOTFOUND)
        log_warn("journal", "cannot remove %s: %s", path, err_text(rc));
    return rc == 0 || rc == CE_NOTFOUND;
}

/* The last is replayed, so that positions go on where they ended, even when others lost it. */
int journal_history_open(struct journal *journal)
{
    size_t count = journal->segment_count;
    int rc = 0;
    if (count && journal->history_count == count) {
        journal->history_count--;
        rc = rename_as(journal, &journal->segments[count - 1], false);
    }
    for (size_t i = 0; i < journal->history_count; i++)
        journal->segments[i].end = journal->segments[i + 1].first;
    journal_segment_recount(journal);
    return rc;
}

/* One that keeps its name is history all the same, until a start finds it. */
static void take_released(struct journal *journal)
{
    bool keeps = journal->config.history_bytes > 0;
    while (journal->history_count + 1 < journal->segment_count) {
        struct segment *segment = &journal->segments[journal->history_count];
        if (segment->end > journal->round_released)
            break;
        if (keeps && !segment->old)
            (void)rename_as(journal, segment, true);
        journal->history_count++;
    }
    journal_segment_recount(journal);
}

bool journal_history_shed(struct journal *journal)
{
    if (journal->history_count == 0 || !remove_file(journal, &journal->segments[0]))
        return false;
    lock_take(&journal->lock);
    journal->segment_count--;
    memmove(journal->segments, journal->segments + 1,
            journal->segment_count * sizeof *journal->segments);
    lock_drop(&journal->lock);
    journal->history_count--;
    journal_segment_recount(journal);
    return true;
}

/* A disk that does not tell how full it is refuses when it is (put_or_shed). */
static bool has_reserve(const struct journal *journal)
{
    const struct env *env = journal->config.env;
    uint64_t bytes;
    int rc = env->dir_free(env->ctx, journal->config.dir, &bytes);
    return rc || bytes >= JOURNAL_RESERVE_BYTES;
}

static bool has_room(const struct journal *journal)
{
    return journal->history_bytes <= journal->config.history_bytes &&
           journal->history_count <= JOURNAL_HISTORY_MAX && has_reserve(journal);
}

void journal_history_settle(struct journal *journal)
{
    bool is_due = journal->begun || journal->round_shed || journal->drop_failed ||
                  journal->round_released >= journal->drop_at;
    if (!is_due)
        return;
    take_released(journal);
    journal->drop_failed = false;
    while (journal->history_count && (journal->round_shed || !has_room(journal)) &&
           !journal->drop_failed) {
        journal->drop_failed = !journal_history_shed(journal);
        journal->round_shed = false;
    }
    journal->round_shed = journal->begun = false;
}

/* ---- reading -----------------------------------------------------------------------------------
 */

/* The segment that a position is in if it is in any: the last that begins at or before it. */
static bool find_segment(struct journal *journal, uint64_t lsn, uint64_t *first)
{
    lock_take(&journal->lock);
    size_t low = 0, high = journal->segment_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (journal->segments[middle].first <= lsn)
            low = middle + 1;
        else
            high = middle;
    }
    if (low)
        *first = journal->segments[low - 1].first;
    lock_drop(&journal->lock);
    return low > 0;
}

int journal_read(struct journal *journal, uint64_t end_lsn, uint32_t bytes, struct buf *storage,
                 uint8_t *type, struct slice *payload)
{
    MUST_OBJ(journal, JOURNAL_MAGIC);
    const struct env *env = journal->config.env;
    char path[JOURNAL_PATH_MAX];
    uint64_t first, hashed = 0;
    storage->len = 0;
    if (bytes < RECORD_HEADER_BYTES || bytes > RECORD_HEADER_BYTES + JOURNAL_RECORD_BYTES_MAX ||
        bytes > end_lsn)
        return CE_CORRUPT;
    uint64_t start = end_lsn - bytes;
    if (!find_segment(journal, start, &first))
        return CE_NOTFOUND;
    uint64_t offset = SEGMENT_HEADER_BYTES + (start - first);
    journal_segment_path(journal, first, SEGMENT_SUFFIX, path);
    int rc = env->file_read_part(env->ctx, path, offset, bytes, storage);
    if (rc == CE_NOTFOUND) { /* in this order: it may be renamed at this moment */
        journal_segment_path(journal, first, SEGMENT_OLD, path);
        rc = env->file_read_part(env->ctx, path, offset, bytes, storage);
    }
    if (rc)
        return rc;
    if (storage->len == 0)
        return CE_NOTFOUND; /* behind what the segment has: it was cut there */
    if (journal_measure_record(buf_slice(storage), start, &hashed) != bytes)
        return CE_CORRUPT;
    *type = storage->bytes[4];
    *payload = slice_from(buf_slice(storage), RECORD_HEADER_BYTES);
    return 0;
}
