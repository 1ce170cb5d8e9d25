/* The log of a LevelDB that was moved aside, before its repair.
 *
 * A power loss may tear the batch that was being written. LevelDB's repair does not look at sums:
 * it takes what is torn for the newest, and hides the whole state that it would have replaced. So
 * the torn end of the log is cut off. The journal has all of it, as each batch is synced before the
 * journal lets go of what is in it.
 *
 * Repair makes a table of each log and puts the log into "lost", also when the disk refused the
 * table, and tells nobody. The journal may have let go of what was in it. So the tables are
 * counted: when each log has become one, the logs are renamed as used; else they are put back
 * before the next try. A log that becomes a table twice is the same as once.
 *
 * A log is blocks of fragments, none across two: sum u32 of the rest | length u16 | type u8 |
 * bytes, little-endian. A batch is one fragment, or a first one, middle ones and a last one. */
#include "tier/l2/l2_int.h"

#include <inttypes.h>
#include <stdio.h>

#define BLOCK_BYTES      32768u
#define HEAD_BYTES       7u
#define SUMMED_AT        6u
#define BATCH_HEAD_BYTES 12u
#define LOST_FOLDER      "%s/lost" /* where repair puts what it has used or cannot use */
#define USED_SUFFIX      ".used"
#define CRC32C           0x82f63b78u
#define SUM_MASK         0xa282ead8u

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

/* True when a whole batch with something in it begins the log: repair makes a table of that. */
static bool has_batch(struct slice log)
{
    size_t at = 0, bytes = 0;
    while (at < log.len) {
        size_t before = at;
        enum fragment fragment = next_fragment(log, &at);
        if (fragment == TORN)
            return false;
        bytes += at - before - HEAD_BYTES;
        if ((fragment == WHOLE || fragment == LAST) && bytes > BATCH_HEAD_BYTES)
            return true;
        if (fragment == WHOLE || fragment == LAST)
            bytes = 0;
    }
    return false;
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

/* ---- did each log become a table? --------------------------------------------------------------
 */

struct log_walk {
    const struct env *env;
    const char *path;
    char lost[L2_PATH_MAX];
    struct l2_logs logs;
    unsigned tables; /* newer than logs.newest */
    int rc;
};

static int begin_walk(const struct l2 *l2, const char *path, struct log_walk *walk)
{
    *walk = (struct log_walk){.env = l2->env, .path = path};
    return snprintf(walk->lost, L2_PATH_MAX, LOST_FOLDER, path) < L2_PATH_MAX ? 0 : CE_NODISK;
}

/* The number of a file "<number>.<suffix>"; 0 = another name. Suffix NULL: any. */
static uint64_t number_of(const char *name, const char *suffix)
{
    uint64_t number = 0;
    int end = 0;
    bool is_one = sscanf(name, "%" SCNu64 "%n", &number, &end) == 1 && name[end] == '.';
    return is_one && (!suffix || strcmp(name + end + 1, suffix) == 0) ? number : 0;
}

static void note_log(void *arg, const char *name)
{
    struct log_walk *walk = arg;
    char path[L2_PATH_MAX];
    struct buf log = {0};
    uint64_t number = number_of(name, NULL);
    if (number > walk->logs.newest)
        walk->logs.newest = number;
    if (!number_of(name, "log") ||
        snprintf(path, sizeof path, "%s/%s", walk->path, name) >= L2_PATH_MAX)
        return;
    int rc = walk->env->file_read(walk->env->ctx, path, &log);
    walk->logs.filled += rc == 0 && has_batch(buf_slice(&log));
    if (rc == CE_NOMEM)
        walk->rc = rc;
    buf_free(&log);
}

static void note_table(void *arg, const char *name)
{
    struct log_walk *walk = arg;
    walk->tables += number_of(name, "ldb") > walk->logs.newest;
}

static void rename_lost(struct log_walk *walk, const char *name, const char *to_path,
                        const char *suffix)
{
    char from[L2_PATH_MAX], to[L2_PATH_MAX];
    if (!number_of(name, "log") ||
        snprintf(from, sizeof from, "%s/%s", walk->lost, name) >= L2_PATH_MAX ||
        snprintf(to, sizeof to, "%s/%s%s", to_path, name, suffix) >= L2_PATH_MAX)
        return;
    int rc = walk->env->file_rename(walk->env->ctx, from, to);
    walk->rc = walk->rc ? walk->rc : rc;
}

static void put_back(void *arg, const char *name)
{
    struct log_walk *walk = arg;
    rename_lost(walk, name, walk->path, "");
}

static void note_used(void *arg, const char *name)
{
    struct log_walk *walk = arg;
    rename_lost(walk, name, walk->lost, USED_SUFFIX);
}

int l2_find_logs(const struct l2 *l2, const char *path, struct l2_logs *logs)
{
    const struct env *env = l2->env;
    struct log_walk walk;
    int rc = begin_walk(l2, path, &walk);
    if (rc)
        return rc;
    env->dir_list(env->ctx, walk.lost, put_back, &walk); /* mostly there is none */
    if (walk.rc == 0)
        env->dir_list(env->ctx, path, note_log, &walk); /* without one nothing is to be had */
    *logs = walk.logs;
    return walk.rc;
}

int l2_check_logs(const struct l2 *l2, const char *path, const struct l2_logs *logs)
{
    const struct env *env = l2->env;
    struct log_walk walk;
    int rc = begin_walk(l2, path, &walk);
    if (rc)
        return rc;
    walk.logs = *logs;
    env->dir_list(env->ctx, path, note_table, &walk);
    env->dir_list(env->ctx, walk.lost, note_table, &walk);
    if (walk.tables < logs->filled) {
        log_error("l2", "%s: a log did not become a table; trying again", path);
        return CE_IO;
    }
    env->dir_list(env->ctx, walk.lost, note_used, &walk); /* one that fails is put back: no harm */
    return 0;
}
