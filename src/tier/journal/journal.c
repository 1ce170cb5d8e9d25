/* The callers' side of the journal: open, append, ask, flush, stop. Everything here is memory only;
 * the disk belongs to journal_thread.c and journal_segment.c. */
#include "tier/journal/journal_int.h"

#include <stdlib.h>

#define SEGMENT_BYTES    (16u << 20) /* a start after a kill writes the last anew */
#define SYNC_INTERVAL_MS 1000

/* ---- open and close ----------------------------------------------------------------------------
 */

static void destroy(struct journal *journal)
{
    if (journal->fd >= 0)
        journal->config.env->file_close(journal->config.env->ctx, journal->fd);
    cond_fini(&journal->background.over);
    cond_fini(&journal->background.work);
    cond_fini(&journal->over);
    cond_fini(&journal->moved);
    cond_fini(&journal->wake);
    lock_fini(&journal->lock);
    buffer_fini(journal);
    journal_forget_read(journal);
    free(journal->segments);
    free((char *)journal->config.dir);
    journal->magic = 0;
    free(journal);
}

static struct journal *create(const struct journal_config *config)
{
    struct journal *journal = calloc(1, sizeof *journal);
    char *dir = strdup(config->dir);
    if (!journal || !dir) {
        free(journal);
        free(dir);
        return NULL;
    }
    journal->magic = JOURNAL_MAGIC;
    journal->config = *config;
    journal->config.dir = dir;
    if (!journal->config.segment_bytes)
        journal->config.segment_bytes = SEGMENT_BYTES;
    if (!journal->config.buffer_bytes_max)
        journal->config.buffer_bytes_max = JOURNAL_BUFFER_BYTES_MAX;
    if (!journal->config.sync_interval_ms)
        journal->config.sync_interval_ms = SYNC_INTERVAL_MS;
    journal->fd = -1;
    lock_init(&journal->lock, LOCK_JOURNAL);
    cond_init(&journal->wake);
    cond_init(&journal->moved);
    cond_init(&journal->over);
    cond_init(&journal->background.work);
    cond_init(&journal->background.over);
    return journal;
}

/* The entry of a directory that was just made must last as long as the files in it. */
static int sync_parent(const struct env *env, const char *dir)
{
    char parent[JOURNAL_PATH_MAX];
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    while (len > 0 && dir[len - 1] != '/')
        len--;
    if (len == 0)
        return env->dir_sync(env->ctx, ".");
    while (len > 1 && dir[len - 1] == '/')
        len--;
    memcpy(parent, dir, len);
    parent[len] = 0;
    return env->dir_sync(env->ctx, parent);
}

struct listing {
    struct journal *journal;
    int rc;
};

static void list_name(void *arg, const char *name)
{
    struct listing *listing = arg;
    struct journal *journal = listing->journal;
    const struct env *env = journal->config.env;
    struct slice text = slice_str(name);
    char path[JOURNAL_PATH_MAX];
    uint64_t first;
    if (listing->rc || text.len != 24 || !num_u64(slice_of(name, 20), &first))
        return;
    struct slice suffix = slice_from(text, 20);
    if (slice_eq(suffix, slice_str(SEGMENT_TMP))) {
        journal_segment_path(journal, first, SEGMENT_TMP, path);
        env->file_remove(env->ctx, path); /* no harm when it stays */
    }
    bool old = slice_eq(suffix, slice_str(SEGMENT_OLD));
    if (!old && !slice_eq(suffix, slice_str(SEGMENT_SUFFIX)))
        return;
    listing->rc = journal_segment_reserve(journal);
    if (listing->rc)
        return;
    journal->segments[journal->segment_count++] = (struct segment){first, first, old};
    if (old)
        journal->history_count = journal->segment_count; /* and all before it */
}

int journal_new(const struct journal_config *config, struct journal **journal)
{
    *journal = NULL;
    if (strlen(config->dir) + JOURNAL_NAME_MAX > JOURNAL_PATH_MAX)
        return CE_INVAL;
    *journal = create(config);
    return *journal ? 0 : CE_NOMEM;
}

int journal_open(struct journal *journal)
{
    const struct env *env = journal->config.env;
    struct listing listing = {journal, 0};
    MUST_OBJ(journal, JOURNAL_MAGIC);
    if (journal->opened)
        return 0;
    journal->segment_count = journal->history_count = 0; /* of a try before */
    int rc = env->dir_make(env->ctx, journal->config.dir);
    if (rc == 0)
        rc = sync_parent(env, journal->config.dir);
    if (rc == 0)
        rc = env->dir_list(env->ctx, journal->config.dir, list_name, &listing);
    if (rc == 0)
        rc = listing.rc;
    if (rc == 0)
        rc = journal_history_open(journal);
    journal->opened = rc == 0;
    return rc;
}

static void go_to(struct journal *journal, uint64_t synced, uint64_t appended)
{
    atomic_store(&journal->appended, appended);
    journal->taken = appended;
    atomic_store(&journal->written, synced);
    atomic_store(&journal->synced, synced);
}

/* The first segment of this life; in front of it the end of the last one, which the replay has left
 * in the buffer and which is written again. */
static int begin_first(struct journal *journal, uint64_t first)
{
    uint64_t kept_first, kept_end;
    if (buffer_span(journal, &kept_first, &kept_end)) {
        go_to(journal, kept_first, kept_end);
        int rc = journal_segment_begin(journal);
        if (rc || kept_end == first)
            return rc;
        journal_segment_abandon(journal);
    }
    go_to(journal, first, first);
    return journal_segment_begin(journal);
}

static int start_threads(struct journal *journal)
{
    int rc = background_start(journal);
    if (rc)
        return rc;
    journal->accepting = true;
    rc = thread_start(&journal->thread, "journal", journal_thread, journal);
    journal->started = journal->accepting = rc == 0;
    if (rc)
        background_stop(journal);
    return rc;
}

int journal_start(struct journal *journal, uint64_t lsn_min)
{
    MUST_OBJ(journal, JOURNAL_MAGIC);
    MUST(journal->opened && !journal->started);
    int rc = journal->scanned ? 0 : journal_replay(journal, UINT64_MAX, NULL, NULL);
    if (rc)
        return rc;
    uint64_t first = journal->found_end > lsn_min ? journal->found_end : lsn_min;
    journal->round_released = journal->released;
    journal_history_settle(journal);
    do
        rc = begin_first(journal, first);
    while (rc == CE_NODISK && journal_history_shed(journal));
    if (rc)
        return rc;
    rc = start_threads(journal);
    if (rc)
        journal_segment_abandon(journal);
    return rc;
}

/* Its own condition and one time-out: rounds that fail again and again must not prolong it. */
static void wait_over_locked(struct journal *journal, unsigned timeout_ms)
{
    bool in_time = timeout_ms > 0;
    while (in_time && !journal->ended)
        in_time = cond_wait(&journal->over, &journal->lock, timeout_ms);
    journal->abandon = true;
    journal_wake_locked(journal, SLEEP_SHORT);
}

int journal_stop(struct journal **journal, unsigned timeout_ms)
{
    struct journal *taken = *journal;
    MUST_OBJ(taken, JOURNAL_MAGIC);
    *journal = NULL;
    int rc = 0;
    if (taken->started) {
        lock_take(&taken->lock);
        taken->accepting = false;
        taken->stop = true;
        journal_wake_locked(taken, SLEEP_SHORT);
        wait_over_locked(taken, timeout_ms);
        lock_drop(&taken->lock);
        MUST(pthread_join(taken->thread, NULL) == 0);
        background_stop(taken);
        if (taken->synced != taken->appended)
            rc = taken->failed ? CE_NODISK : CE_BUSY;
    }
    destroy(taken);
    return rc;
}

/* ---- append ------------------------------------------------------------------------------------
 */

static int refusal_locked(const struct journal *journal, enum ack_level level, size_t size)
{
    if (!journal->accepting)
        return CE_STOPPED;
    if (level > ACK_RAM && journal_failed(journal))
        return CE_NODISK;
    if (journal->appended - journal->synced + size > journal->config.buffer_bytes_max)
        return CE_BUSY;
    return 0;
}

static void put_record(uint8_t *out, uint8_t type, struct slice payload, uint64_t sum)
{
    journal_put_u32(out, (uint32_t)payload.len);
    journal_put_u32(out + 4, type);
    journal_put_u64(out + 8, sum);
    if (payload.len)
        memcpy(out + RECORD_HEADER_BYTES, payload.bytes, payload.len);
}

/* Written under the lock only, so that it costs no more than an addition. */
static void count_locked(_Atomic uint64_t *counter, uint64_t more)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + more, memory_order_relaxed);
}

static void want_locked(struct journal *journal, enum ack_level level, uint64_t lsn)
{
    if (level == ACK_OS)
        journal->wanted_os = lsn;
    if (level == ACK_SYNC)
        journal->wanted_sync = lsn;
}

/* While the disk refuses, a wake-up would only prolong the pause before the next try. */
static void wake_unless_failed_locked(struct journal *journal, enum journal_sleep depth)
{
    if (!journal_failed(journal))
        journal_wake_locked(journal, depth);
}

/* Under a stripe's lock: a wake-up, which is a system call, is put off where it can be. */
static void call_thread_locked(struct journal *journal, enum ack_level level)
{
    uint64_t most = journal_much_bytes(journal);
    if (level > ACK_RAM && most > JOURNAL_URGE_BYTES)
        most = JOURNAL_URGE_BYTES;
    if (journal->appended - journal->taken >= most)
        wake_unless_failed_locked(journal, SLEEP_SHORT);
    else if (level == ACK_RAM)
        wake_unless_failed_locked(journal, SLEEP_LONG);
    else if (journal->sleep != SLEEP_NOT &&
             !atomic_load_explicit(&journal->urged, memory_order_relaxed))
        atomic_store(&journal->urged, true);
}

void journal_urge(struct journal *journal)
{
    if (!atomic_load_explicit(&journal->urged, memory_order_relaxed))
        return;
    lock_take(&journal->lock);
    atomic_store(&journal->urged, false);
    bool waits = journal_awaits_convoy(journal) && journal->wanted_os <= journal->written;
    bool wake = journal->sleep != SLEEP_NOT && !journal_failed(journal) && !waits;
    if (wake)
        journal->sleep = SLEEP_NOT;
    lock_drop(&journal->lock);
    if (wake)
        cond_wake(&journal->wake);
}

int journal_append(struct journal *journal, uint8_t type, struct slice payload,
                   enum ack_level level, uint64_t *end_lsn)
{
    MUST_OBJ(journal, JOURNAL_MAGIC);
    if (payload.len > JOURNAL_RECORD_BYTES_MAX)
        return CE_TOO_LARGE;
    size_t size = RECORD_HEADER_BYTES + payload.len;
    uint64_t digest = journal_digest(type, payload);
    lock_take(&journal->lock);
    int rc = refusal_locked(journal, level, size);
    uint8_t *room = rc == 0 ? buffer_room_locked(journal, size) : NULL;
    if (rc == 0 && !room)
        rc = CE_NOMEM;
    if (rc == 0) {
        uint64_t end = journal->appended + size;
        put_record(room, type, payload, journal_sum(digest, end));
        buffer_put_locked(journal, size);
        count_locked(&journal->records, 1);
        count_locked(&journal->bytes, size);
        want_locked(journal, level, end);
        call_thread_locked(journal, level);
        *end_lsn = end;
    }
    lock_drop(&journal->lock);
    return rc;
}

/* ---- ask, flush, release ------------------------------------------------------------------------
 */

bool journal_reached(const struct journal *journal, uint64_t lsn, enum ack_level level)
{
    switch (level) {
    case ACK_RAM: return true;
    case ACK_OS: return lsn <= atomic_load(&journal->written);
    case ACK_SYNC: return lsn <= atomic_load(&journal->synced);
    }
    MUST(!"ack level");
    return false;
}

bool journal_failed(const struct journal *journal)
{
    return atomic_load(&journal->failed);
}

uint64_t journal_end(const struct journal *journal)
{
    return atomic_load(&journal->appended);
}

static int wait_reached_locked(struct journal *journal, uint64_t lsn, enum ack_level level,
                               unsigned timeout_ms)
{
    uint64_t now = env_mono_ms(journal->config.env);
    uint64_t until = now + timeout_ms;
    while (!journal_reached(journal, lsn, level)) {
        if (journal_failed(journal))
            return CE_NODISK;
        if (now >= until || journal->ended)
            return CE_BUSY;
        if (!cond_wait(&journal->moved, &journal->lock, (unsigned)(until - now)))
            return journal_reached(journal, lsn, level) ? 0 : CE_BUSY;
        now = env_mono_ms(journal->config.env);
    }
    return 0;
}

int journal_flush(struct journal *journal, enum ack_level level, unsigned timeout_ms)
{
    MUST_OBJ(journal, JOURNAL_MAGIC);
    if (level == ACK_RAM)
        return 0;
    lock_take(&journal->lock);
    uint64_t lsn = journal->appended;
    if (!journal_reached(journal, lsn, level) && !journal_failed(journal)) {
        want_locked(journal, level, lsn);
        journal_wake_locked(journal, SLEEP_SHORT);
    }
    int rc = wait_reached_locked(journal, lsn, level, timeout_ms);
    lock_drop(&journal->lock);
    return rc;
}

void journal_release(struct journal *journal, uint64_t lsn)
{
    MUST_OBJ(journal, JOURNAL_MAGIC);
    lock_take(&journal->lock);
    if (lsn > journal->released)
        journal->released = lsn;
    if (journal->released >= atomic_load(&journal->drop_at) && !journal_failed(journal))
        journal_wake_locked(journal, SLEEP_SHORT);
    lock_drop(&journal->lock);
}

void journal_shed(struct journal *journal)
{
    MUST_OBJ(journal, JOURNAL_MAGIC);
    lock_take(&journal->lock);
    journal->shed = true;
    if (!journal_failed(journal))
        journal_wake_locked(journal, SLEEP_SHORT);
    lock_drop(&journal->lock);
}

/* ---- stats -------------------------------------------------------------------------------------
 */

uint64_t journal_quarantined(const struct journal *journal)
{
    return atomic_load(&journal->quarantined);
}

void journal_stats(const struct journal *journal, const struct stat_sink *sink)
{
    MUST_OBJ(journal, JOURNAL_MAGIC);
    uint64_t synced = atomic_load(&journal->synced); /* before appended: never negative */
    const struct {
#define X(name, text) uint64_t name;
        JOURNAL_STATS(X)
#undef X
    } now = {
        .journal_records = journal->records,
        .journal_bytes = journal->bytes,
        .journal_writes = journal->writes,
        .journal_syncs = journal->syncs,
        .journal_pending_bytes = journal->appended - synced,
        .journal_segments = journal->segments_now,
        .journal_history_segments = journal->history_segments,
        .journal_history_bytes = journal->history_bytes,
        .journal_errors = journal->errors,
        .journal_quarantined = journal->quarantined,
        .journal_failed = journal->failed,
    };
#define X(name, text) stat_u64(sink, #name, now.name);
    JOURNAL_STATS(X)
#undef X
}
