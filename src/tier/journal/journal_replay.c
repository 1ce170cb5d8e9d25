/* Reading the journal back at start-up. Segments in order, records by position: where two segments
 * overlap (a failed write, journal_segment.c) they hold the same bytes, and what was delivered once
 * is passed over the second time.
 *
 * Where a segment stops being good, the question is whether a crash explains it. It does not where
 * all was synced once, that is before the position to begin at and in front of another segment: so
 * that is rot, a copy of it is set aside for a human, and the replay goes on with the next good
 * record. Elsewhere it does when nothing good follows: then the tail is torn and cut off; else the
 * rest is set aside. In the end every segment is cut behind its last good record and synced, so
 * nothing new builds on what may yet go.
 *
 * What stands at the end of the last segment may be only in the kernel's memory: when a sync has
 * failed and the process was killed, it is read as if all were well, and Linux calls the next sync
 * of it done. So it is kept, to be written again (journal_start).
 *
 * What is named as history is not looked at: it was released once, and the tiers may since have
 * forgotten what they would need to know to pass over it. */
#include "tier/journal/journal_int.h"

#include <inttypes.h>

/* Bytes hashed in the search for a good record behind a bad one; without a limit, a payload full of
 * record headers would make it quadratic. When it is used up the tail is set aside, not cut. */
#define SEARCH_BYTES_MAX (256u << 20)

struct replay {
    struct journal *journal;
    uint64_t from_lsn;
    int (*each)(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn);
    void *arg;
    uint64_t at;       /* everything up to here was delivered */
    uint64_t end;      /* nothing was ever written behind this */
    uint64_t whole;    /* records without a gap from here to the end of the segment at hand */
    struct slice file; /* the segment at hand */
};

enum verdict {
    SEGMENT_KEPT,
    SEGMENT_GONE, /* no longer a segment */
};

enum ending {
    ENDS_CLEAN,
    ENDS_TORN,       /* a crash: cut */
    ENDS_OVERLAPPED, /* a failed write: the next segment has it */
    ENDS_CORRUPT,    /* set aside */
};

static void raise_end(struct replay *replay, uint64_t end)
{
    if (replay->end < end)
        replay->end = end;
}

size_t journal_measure_record(struct slice bytes, uint64_t lsn, uint64_t *hashed)
{
    if (bytes.len < RECORD_HEADER_BYTES)
        return 0;
    uint32_t len = journal_get_u32(bytes.bytes);
    if (len > bytes.len - RECORD_HEADER_BYTES || len > JOURNAL_RECORD_BYTES_MAX)
        return 0;
    uint32_t type = journal_get_u32(bytes.bytes + 4);
    if (type > UINT8_MAX)
        return 0;
    size_t size = RECORD_HEADER_BYTES + len;
    *hashed += size;
    struct slice payload = slice_of(bytes.bytes + RECORD_HEADER_BYTES, len);
    uint64_t sum = journal_sum(journal_digest((uint8_t)type, payload), lsn + size);
    return sum == journal_get_u64(bytes.bytes + 8) ? size : 0;
}

/* Where the next good record is in bytes that begin with none; 0 = nowhere. *gave_up: it may be. */
static size_t find_good(struct slice rest, uint64_t lsn, bool *gave_up)
{
    uint64_t hashed = 0;
    *gave_up = false;
    for (size_t at = 1; at + RECORD_HEADER_BYTES <= rest.len && !*gave_up; at++) {
        if (journal_measure_record(slice_from(rest, at), lsn + at, &hashed))
            return at;
        *gave_up = hashed > SEARCH_BYTES_MAX;
    }
    return 0;
}

static bool is_good_behind(struct slice rest, uint64_t lsn)
{
    bool gave_up;
    return find_good(rest, lsn, &gave_up) || gave_up;
}

/* True when a later segment holds any byte; one that cannot be read is taken for such. */
static bool is_anything_later(const struct replay *replay, size_t index)
{
    const struct journal *journal = replay->journal;
    const struct env *env = journal->config.env;
    bool found = false;
    for (size_t i = index + 1; i < journal->segment_count && !found; i++) {
        uint64_t bytes;
        char path[JOURNAL_PATH_MAX];
        journal_segment_path(journal, journal->segments[i].first, SEGMENT_SUFFIX, path);
        found = env->file_size(env->ctx, path, &bytes) || bytes > SEGMENT_HEADER_BYTES;
    }
    return found;
}

static int deliver(struct replay *replay, const uint8_t *record, uint64_t end_lsn)
{
    if (end_lsn <= replay->at)
        return 0;
    replay->at = end_lsn;
    if (end_lsn <= replay->from_lsn || !replay->each)
        return 0;
    struct slice payload = slice_of(record + RECORD_HEADER_BYTES, journal_get_u32(record));
    return replay->each(replay->arg, record[4], payload, end_lsn);
}

/* ---- what is not good --------------------------------------------------------------------------
 */

static int copy_aside(const struct journal *journal, uint64_t first, struct slice rest)
{
    const struct env *env = journal->config.env;
    char path[JOURNAL_PATH_MAX];
    int fd;
    journal_segment_path(journal, first, SEGMENT_QUARANTINE, path);
    int rc = env->file_remove(env->ctx, path); /* of a start that got no further than this */
    if (rc && rc != CE_NOTFOUND)
        return rc;
    rc = env->file_create(env->ctx, path, &fd);
    if (rc)
        return rc;
    rc = env->file_write(env->ctx, fd, rest);
    if (rc == 0)
        rc = env->file_sync(env->ctx, fd);
    int close_rc = env->file_close(env->ctx, fd);
    if (rc == 0)
        rc = close_rc;
    return rc ? rc : env->dir_sync(env->ctx, journal->config.dir);
}

static void note_quarantine(struct journal *journal, uint64_t lsn, size_t bytes, int rc)
{
    atomic_fetch_add(&journal->quarantined, 1);
    log_error("journal", "corrupt at %" PRIu64 ", %zu bytes set aside: %s", lsn, bytes,
              err_text(rc));
}

static int cut_segment(const struct journal *journal, uint64_t first, size_t len)
{
    const struct env *env = journal->config.env;
    char path[JOURNAL_PATH_MAX];
    journal_segment_path(journal, first, SEGMENT_SUFFIX, path);
    return env->file_truncate(env->ctx, path, len);
}

/* Why a segment ends where it does; `rest` is what follows its last good record. */
static enum ending judge_ending(const struct replay *replay, size_t index, struct slice rest)
{
    const struct segment *segment = &replay->journal->segments[index];
    if (rest.len == 0)
        return ENDS_CLEAN;
    if (!is_anything_later(replay, index))
        return is_good_behind(rest, segment->end) ? ENDS_CORRUPT : ENDS_TORN;
    return segment->end >= segment[1].first ? ENDS_OVERLAPPED : ENDS_CORRUPT;
}

/* Ends a segment at its last good record and makes that durable. What cannot be set aside stays
 * where it is: the next start finds it again. */
static int settle_segment(struct replay *replay, size_t index, size_t good)
{
    struct journal *journal = replay->journal;
    const struct segment *segment = &journal->segments[index];
    struct slice rest = slice_from(replay->file, good);
    enum ending ending = judge_ending(replay, index, rest);
    if (ending == ENDS_TORN)
        log_warn("journal", "torn at %" PRIu64 ", %zu bytes cut off", segment->end, rest.len);
    if (ending == ENDS_CORRUPT) {
        raise_end(replay, segment->end + rest.len);
        int rc = copy_aside(journal, segment->first, rest);
        note_quarantine(journal, segment->end, rest.len, rc);
        if (rc)
            return 0;
    }
    return cut_segment(journal, segment->first, good);
}

/* A segment whose header is bad: nothing in it can be trusted. Without records it never was one. */
static int settle_headless(struct replay *replay, uint64_t first, enum verdict *verdict)
{
    struct journal *journal = replay->journal;
    const struct env *env = journal->config.env;
    char path[JOURNAL_PATH_MAX];
    char aside[JOURNAL_PATH_MAX];
    journal_segment_path(journal, first, SEGMENT_SUFFIX, path);
    journal_segment_path(journal, first, SEGMENT_QUARANTINE, aside);
    *verdict = SEGMENT_GONE;
    if (replay->file.len <= SEGMENT_HEADER_BYTES)
        return env->file_remove(env->ctx, path);
    raise_end(replay, first + replay->file.len - SEGMENT_HEADER_BYTES);
    int rc = env->file_rename(env->ctx, path, aside);
    note_quarantine(journal, first, replay->file.len, rc);
    return rc;
}

/* ---- the records of a segment ------------------------------------------------------------------
 */

/* True where all was synced once, and no later segment has it again. */
static bool was_synced(const struct replay *replay, size_t index, uint64_t lsn)
{
    const struct segment *segment = &replay->journal->segments[index];
    bool is_last = index + 1 == replay->journal->segment_count;
    return is_last ? lsn < replay->from_lsn && replay->from_lsn != UINT64_MAX
                   : lsn < segment[1].first;
}

/* Bytes to pass over to the next good record, after a copy of them was set aside; 0 = none. */
static size_t pass_rot(struct replay *replay, size_t index, struct slice rest, uint64_t lsn)
{
    bool gave_up;
    if (rest.len == 0 || !was_synced(replay, index, lsn))
        return 0;
    size_t bytes = find_good(rest, lsn, &gave_up);
    if (bytes)
        note_quarantine(replay->journal, lsn, bytes,
                        copy_aside(replay->journal, lsn, slice_of(rest.bytes, bytes)));
    return bytes;
}

/* Delivers the good records; *good is the file offset behind the last. */
static int read_records(struct replay *replay, size_t index, size_t *good)
{
    uint64_t hashed = 0, first = replay->journal->segments[index].first;
    *good = SEGMENT_HEADER_BYTES;
    replay->whole = first;
    for (;;) {
        struct slice rest = slice_from(replay->file, *good);
        uint64_t lsn = first + (*good - SEGMENT_HEADER_BYTES);
        size_t size = journal_measure_record(rest, lsn, &hashed);
        size_t rot = size ? 0 : pass_rot(replay, index, rest, lsn);
        if (size + rot == 0)
            return 0;
        int rc = size ? deliver(replay, rest.bytes, lsn + size) : 0;
        if (rc)
            return rc;
        *good += size + rot;
        if (rot || lsn + size <= replay->from_lsn)
            replay->whole = lsn + size + rot;
    }
}

/* What of the last segment is wanted and was perhaps never synced. */
static int keep_tail(struct replay *replay, size_t index)
{
    struct journal *journal = replay->journal;
    const struct segment *segment = &journal->segments[index];
    bool is_last = index + 1 == journal->segment_count;
    size_t before = SEGMENT_HEADER_BYTES + (replay->whole - segment->first);
    size_t bytes = is_last ? segment->end - replay->whole : 0;
    return buffer_keep(journal, replay->whole, slice_of(replay->file.bytes + before, bytes));
}

/* ---- the way through ---------------------------------------------------------------------------
 */

static int replay_segment(struct replay *replay, size_t index, enum verdict *verdict)
{
    struct journal *journal = replay->journal;
    struct segment *segment = &journal->segments[index];
    uint8_t header[SEGMENT_HEADER_BYTES];
    char path[JOURNAL_PATH_MAX];
    size_t good;
    *verdict = SEGMENT_KEPT;
    raise_end(replay, segment->first);
    journal_segment_path(journal, segment->first, SEGMENT_SUFFIX, path);
    int rc = journal_shelf_read(journal, path, &replay->file);
    if (rc)
        return rc == CE_NOTFOUND ? CE_IO : rc; /* CE_NOTFOUND is no result of a replay */
    journal_segment_header(segment->first, header);
    if (!slice_starts(replay->file, slice_of(header, sizeof header)))
        return settle_headless(replay, segment->first, verdict);
    rc = read_records(replay, index, &good);
    if (rc)
        return rc;
    segment->end = segment->first + (good - SEGMENT_HEADER_BYTES);
    raise_end(replay, segment->end);
    rc = settle_segment(replay, index, good);
    return rc ? rc : keep_tail(replay, index);
}

static void forget_segment(struct journal *journal, size_t index)
{
    size_t behind = journal->segment_count - index - 1;
    memmove(&journal->segments[index], &journal->segments[index + 1],
            behind * sizeof *journal->segments);
    journal->segment_count--;
}

int journal_replay(struct journal *journal, uint64_t from_lsn,
                   int (*each)(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn),
                   void *arg)
{
    MUST_OBJ(journal, JOURNAL_MAGIC);
    MUST(!journal->started);
    struct replay replay = {.journal = journal,
                            .from_lsn = from_lsn,
                            .each = each,
                            .arg = arg,
                            .end = journal->found_end};
    int rc = 0;
    journal->reading = true;
    for (size_t i = journal->history_count; i < journal->segment_count && rc == 0;) {
        enum verdict verdict;
        if (!each)
            journal_forget_read(journal);
        rc = replay_segment(&replay, i, &verdict);
        if (rc == 0 && verdict == SEGMENT_GONE)
            forget_segment(journal, i);
        else
            i++;
    }
    journal->reading = false;
    journal->found_end = replay.end;
    journal->scanned = rc == 0;
    journal_segment_recount(journal);
    return rc;
}

/* ---- once more ---------------------------------------------------------------------------------
 */

/* The first position, at `from` or behind it, of a segment that is not history. */
static bool next_live(struct journal *journal, uint64_t from, uint64_t *first)
{
    bool found = false;
    lock_take(&journal->lock);
    for (size_t i = journal->history_count; i < journal->segment_count && !found; i++) {
        *first = journal->segments[i].first;
        found = *first >= from;
    }
    lock_drop(&journal->lock);
    return found;
}

static int deliver_again(struct replay *replay, uint64_t first)
{
    struct slice rest = slice_from(replay->file, SEGMENT_HEADER_BYTES);
    uint64_t hashed = 0, lsn = first;
    bool gave_up;
    int rc = 0;
    while (rc == 0 && rest.len && lsn < replay->end) {
        size_t size = journal_measure_record(rest, lsn, &hashed);
        size_t pass = size ? size : find_good(rest, lsn, &gave_up);
        if (size && lsn + size <= replay->end)
            rc = deliver(replay, rest.bytes, lsn + size);
        if (pass == 0)
            break;
        rest = slice_from(rest, pass);
        lsn += pass;
    }
    return rc;
}

int journal_reread(struct journal *journal, uint64_t until_lsn,
                   int (*each)(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn),
                   void *arg)
{
    MUST_OBJ(journal, JOURNAL_MAGIC);
    struct replay replay = {.journal = journal, .each = each, .arg = arg, .end = until_lsn};
    uint64_t first = 0;
    int rc = 0;
    journal->reading = true;
    for (uint64_t from = 0; rc == 0 && next_live(journal, from, &first) && first < until_lsn;
         from = first + 1) {
        char path[JOURNAL_PATH_MAX];
        journal_segment_path(journal, first, SEGMENT_SUFFIX, path);
        rc = journal_shelf_read(journal, path, &replay.file);
        if (rc == 0 && replay.file.len > SEGMENT_HEADER_BYTES)
            rc = deliver_again(&replay, first);
    }
    journal->reading = false;
    return rc == CE_NOTFOUND ? CE_IO : rc;
}
