/* Looking at all segments, those of the history too, and changing nothing. */
#include "tier/journal/journal_int.h"

struct look {
    struct journal *journal;
    int (*each)(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn);
    void *arg;
    struct journal_verdict *out;
};

/* Passes over what is no record; false when nothing good follows. */
static bool pass_bad(struct look *look, struct slice *rest, uint64_t *lsn)
{
    uint64_t hashed = 0;
    for (size_t at = 1; at + RECORD_HEADER_BYTES <= rest->len; at++) {
        if (!journal_measure_record(slice_from(*rest, at), *lsn + at, &hashed))
            continue;
        look->out->corrupt++;
        look->out->corrupt_bytes += at;
        *rest = slice_from(*rest, at);
        *lsn += at;
        return true;
    }
    look->out->torn_bytes += rest->len;
    return false;
}

static int look_at_records(struct look *look, const struct segment *segment, struct slice rest)
{
    uint64_t lsn = segment->first, hashed = 0;
    while (rest.len) {
        size_t size = journal_measure_record(rest, lsn, &hashed);
        if (size == 0 && !pass_bad(look, &rest, &lsn))
            return 0;
        if (size == 0)
            continue;
        look->out->records++;
        struct slice payload =
            slice_of(rest.bytes + RECORD_HEADER_BYTES, size - RECORD_HEADER_BYTES);
        lsn += size;
        int rc = segment->old ? 0 : look->each(look->arg, rest.bytes[4], payload, lsn);
        if (rc)
            return rc;
        rest = slice_from(rest, size);
    }
    return 0;
}

static int look_at_segment(struct look *look, const struct segment *segment)
{
    const struct env *env = look->journal->config.env;
    uint8_t header[SEGMENT_HEADER_BYTES];
    char path[JOURNAL_PATH_MAX];
    struct buf file = {0};
    journal_segment_path(look->journal, segment->first, segment->old ? SEGMENT_OLD : SEGMENT_SUFFIX,
                         path);
    int rc = env->file_read(env->ctx, path, &file);
    journal_segment_header(segment->first, header);
    if (rc == 0 && slice_starts(buf_slice(&file), slice_of(header, sizeof header))) {
        rc = look_at_records(look, segment, slice_from(buf_slice(&file), SEGMENT_HEADER_BYTES));
    } else if (rc == 0) {
        look->out->corrupt++;
        look->out->corrupt_bytes += file.len;
    }
    buf_free(&file);
    return rc;
}

int journal_verify(struct journal *journal,
                   int (*each)(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn),
                   void *arg, struct journal_verdict *out)
{
    struct look look = {journal, each, arg, out};
    int rc = 0;
    MUST_OBJ(journal, JOURNAL_MAGIC);
    MUST(!journal->started);
    *out = (struct journal_verdict){0};
    for (size_t i = 0; i < journal->segment_count && rc == 0; i++)
        rc = look_at_segment(&look, &journal->segments[i]);
    return rc;
}
