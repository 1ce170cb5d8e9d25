/* The log of a LevelDB that was moved aside, before its repair.
 *
 * A power loss may tear the batch that was being written. LevelDB's repair does not look at sums:
 * it takes what is torn for the newest, and hides the whole state that it would have replaced. So
 * the torn end of the log is cut off. The journal has all of it, as each batch is synced before the
 * journal lets go of what is in it.
 *
 * A log is blocks of fragments, none across two: sum u32 of the rest | length u16 | type u8 |
 * bytes, little-endian. A batch is one fragment, or a first one, middle ones and a last one. */
#include "tier/l2/l2_int.h"

#include <inttypes.h>
#include <stdio.h>

#define BLOCK_BYTES 32768u
#define HEAD_BYTES  7u
#define SUMMED_AT   6u
#define CRC32C      0x82f63b78u
#define SUM_MASK    0xa282ead8u

enum fragment { TORN = 0, WHOLE = 1, FIRST = 2, MIDDLE = 3, LAST = 4 };

static uint32_t sum_of(struct slice bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.len; i++) {
        crc ^= bytes.bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC32C : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + SUM_MASK;
}

/* What begins at *at, which moves behind it; behind the block when its length can't be. */
static enum fragment next_fragment(struct slice log, size_t *at)
{
    const uint8_t *head = log.bytes + *at;
    size_t block_end = *at - *at % BLOCK_BYTES + BLOCK_BYTES;
    size_t end = log.len < block_end ? log.len : block_end;
    if (end - *at < HEAD_BYTES) {
        *at = end;
        return MIDDLE; /* no room for a head: nothing */
    }
    size_t len = head[4] | (size_t)head[5] << 8;
    uint32_t sum =
        head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
    uint8_t type = head[SUMMED_AT];
    if (type < WHOLE || type > LAST || len > end - *at - HEAD_BYTES) {
        *at = end;
        return TORN;
    }
    *at += HEAD_BYTES + len;
    return sum == sum_of(slice_of(head + SUMMED_AT, 1 + len)) ? (enum fragment)type : TORN;
}

/* Where the torn batch at the end begins. All of the log when none is torn, or when one that came
 * later is not: that is damage, of which repair brings back what it can. */
static size_t find_torn_end(struct slice log)
{
    size_t at = 0, whole = 0;
    bool torn = false;
    while (at < log.len) {
        enum fragment fragment = next_fragment(log, &at);
        torn |= fragment == TORN;
        if (torn && (fragment == WHOLE || fragment == FIRST))
            return log.len;
        if (!torn && (fragment == WHOLE || fragment == LAST))
            whole = at;
    }
    return torn ? whole : log.len;
}

static void note_newest(void *arg, const char *name)
{
    uint64_t *newest = arg, number;
    int end = 0;
    if (sscanf(name, "%" SCNu64 ".log%n", &number, &end) == 1 && end > 0 && name[end] == 0 &&
        number > *newest)
        *newest = number;
}

int l2_cut_torn_log(struct l2 *l2, const char *path)
{
    char log_path[L2_PATH_MAX];
    const struct env *env = l2->env;
    struct buf log = {0};
    uint64_t newest = 0; /* those before it were synced to their end */
    int rc = env->dir_list(env->ctx, path, note_newest, &newest);
    int len = snprintf(log_path, sizeof log_path, "%s/%06" PRIu64 ".log", path, newest);
    if (rc || newest == 0 || len >= L2_PATH_MAX)
        return 0; /* repair has to do without, too */
    rc = env->file_read(env->ctx, log_path, &log);
    size_t end = rc ? 0 : find_torn_end(buf_slice(&log));
    if (rc == 0 && end < log.len) {
        log_warn("l2", "%s: torn at %zu, %zu bytes cut off", log_path, end, log.len - end);
        rc = env->file_truncate(env->ctx, log_path, end);
    } else if (rc != CE_NOMEM) {
        rc = 0; /* what can't be read, repair can't read either */
    }
    buf_free(&log);
    return rc;
}
