/* journal_int: what the files of this room share.
 *
 * On disk, all numbers little-endian:
 *   segment  magic u64 | format u32 | 0 u32 | first lsn u64 | XXH3 of these 24 bytes | records...
 *   record   payload length u32 | type u8 | 0 0 0 | sum u64 | payload
 * sum = XXH3(XXH3(payload, seed type), seed end lsn), so a record is only good in its own place.
 * Positions count records, not segment headers: byte lsn of a segment is at file offset
 * SEGMENT_HEADER_BYTES + lsn - first. The same position never holds two different bytes. */
#ifndef TIER_JOURNAL_JOURNAL_INT_H
#define TIER_JOURNAL_JOURNAL_INT_H

#include "tier/journal/journal.h"

#define JOURNAL_MAGIC        0x4a524e4cu
#define SEGMENT_MAGIC        0x314c4e4a54524143ull /* "CARTJNL1" */
#define SEGMENT_FORMAT       1
#define SEGMENT_HEADER_BYTES 32
#define RECORD_HEADER_BYTES  JOURNAL_HEADER_BYTES
#define JOURNAL_PATH_MAX     4096
#define JOURNAL_NAME_MAX     64 /* of "/<20 digits><suffix>" */
#define SEGMENT_SUFFIX       ".log"
#define SEGMENT_OLD          ".old" /* history: never replayed, whatever L2 says */
#define SEGMENT_TMP          ".tmp" /* not yet a segment; removed when found */
#define SEGMENT_QUARANTINE   ".log.quarantine"

struct segment {
    uint64_t first;
    uint64_t end; /* nothing in it is behind this */
    bool old;     /* its file is named so */
};

/* How deep the thread sleeps, that is who has to wake it. */
enum journal_sleep {
    SLEEP_NOT,
    SLEEP_SHORT, /* ends soon by itself: only for those who wait */
    SLEEP_LONG,  /* for any record */
};

/* journal_convoy.c: records that are expected to come together. */
struct convoy {
    uint64_t before;   /* records when the last round began */
    uint64_t round;    /* that it took */
    uint64_t expected; /* since then, before the next one begins; 0: none is awaited */
    unsigned misses;   /* in a row: they did not come in time */
    unsigned skip;     /* syncs after which none is awaited */
};

enum background_job {
    BACKGROUND_NONE,
    BACKGROUND_SYNC,
    BACKGROUND_MAKE,
    BACKGROUND_ENTER,
};

/* What journal_background.c does. `job` and is_done change under the lock; all else belongs to its
 * thread while a job is not done, to the journal's thread otherwise. */
struct background {
    pthread_t thread;
    bool started, ending;
    struct cond work; /* to the thread */
    struct cond over; /* to the journal's thread */
    enum background_job job;
    bool is_done;
    int rc;
    uint64_t lsn;      /* what is synced when the job has worked */
    uint64_t begun_ms; /* nothing behind lsn was written before */
    int fd;            /* SYNC: the segment's. MAKE: of the new one, when it has worked */
    uint64_t first;    /* of the new segment, which begins with all up to lsn */
    uint64_t before;   /* ENTER: the first position of the one before, */
    int before_fd;     /* which is closed */
};

struct chunk;

struct buffer {
    struct chunk *oldest, *newest;
    struct chunk *spare;
    unsigned spares;
};

struct shelf; /* journal_shelf.c */

struct journal {
    unsigned magic;
    struct journal_config config; /* with defaults filled in; dir is ours */
    struct background background;

    struct lock lock;
    struct cond wake;  /* to the thread: there is work */
    struct cond moved; /* to journal_flush: a round is over */
    struct cond over;  /* to journal_stop: the thread has ended */

    /* Under the lock. */
    struct buffer buffer; /* [synced, appended) */
    uint64_t taken;       /* up to here the thread knows of them; moved by the thread */
    uint64_t wanted_os;   /* somebody waits for this position to be written */
    uint64_t wanted_sync; /* ... to be synced */
    uint64_t released;
    struct convoy convoy;
    enum journal_sleep sleep;
    _Atomic bool urged; /* it sleeps, and somebody waits for what it has not seen */
    bool shed;
    bool accepting;
    bool stop;    /* write what is left, then end */
    bool abandon; /* end even when something is left */
    bool ended;

    /* Moved by one thread, read by all. synced <= written <= taken <= appended. */
    _Atomic uint64_t appended; /* under the lock */
    _Atomic uint64_t written;
    _Atomic uint64_t synced;
    _Atomic bool failed;

    /* The thread's own, before it starts the start-up thread's. */
    int fd; /* of the last segment, -1 when the next write begins a new one */
    /* In order; the last is never removed. The thread changes the array under the lock, so that
     * journal_read may look. */
    struct segment *segments;
    size_t segment_count;
    size_t segment_cap;
    size_t history_count;    /* the first so many are released */
    uint64_t dirty_since_ms; /* oldest write that is not synced */
    uint64_t round_os;       /* wanted_os, wanted_sync, released, stop as of this round */
    uint64_t round_sync;
    uint64_t round_released;
    bool round_stop;
    bool round_shed;
    bool begun;        /* a segment since the history was last looked at */
    unsigned failures; /* in a row */
    bool drop_failed;
    bool opened;
    bool scanned; /* replayed to the end */
    bool started;
    uint64_t found_end;
    struct shelf *shelves; /* this and `reading`: who replays or rereads */
    bool reading;
    pthread_t thread;

    _Atomic uint64_t drop_at; /* the next position whose release makes a segment history */
    _Atomic uint64_t segments_now;
    _Atomic uint64_t history_segments;
    _Atomic uint64_t history_bytes;
    _Atomic uint64_t records;
    _Atomic uint64_t bytes;
    _Atomic uint64_t writes;
    _Atomic uint64_t syncs;
    _Atomic uint64_t errors;
    _Atomic uint64_t quarantined;
};

/* ---- journal_thread.c --------------------------------------------------------------------------
 */

void *journal_thread(void *journal);
/* Wakes the thread when it sleeps as deep as `depth` or deeper. Under the lock. */
void journal_wake_locked(struct journal *journal, enum journal_sleep depth);

/* ---- journal_convoy.c: under the lock; `records`: appended so far ------------------------------
 */

#define JOURNAL_CONVOY_MS 1 /* that it is waited for, at most */

/* A round begins with all there is. */
void convoy_leave(struct convoy *convoy, uint64_t records);
/* It is over, and somebody waited for its sync. */
void convoy_expect(struct convoy *convoy, uint64_t records);
/* It is not awaited any more: it did not come in time, or somebody else is in a hurry. */
void convoy_end(struct convoy *convoy, bool hurry);
bool convoy_is_awaited(const struct convoy *convoy, uint64_t records);

static inline bool journal_awaits_convoy(const struct journal *journal)
{
    return convoy_is_awaited(&journal->convoy, journal->records);
}

/* So much un-written or un-synced memory is worth a round of its own. */
static inline uint64_t journal_much_bytes(const struct journal *journal)
{
    return journal->config.buffer_bytes_max / 4 + 1;
}

/* ---- journal_buffer.c --------------------------------------------------------------------------
 */

/* Room for so many bytes at `appended`; buffer_put_locked appends what was put there. NULL: no
 * memory. */
uint8_t *buffer_room_locked(struct journal *journal, size_t bytes) MUST_USE;
void buffer_put_locked(struct journal *journal, size_t bytes);
/* Writes [from, to), which nobody drops meanwhile. */
int buffer_write(struct journal *journal, int fd, uint64_t from, uint64_t to) MUST_USE;
/* All before lsn is synced. When that is all, most memory is given back. */
void buffer_drop(struct journal *journal, uint64_t lsn);
/* Before the thread runs: these bytes from lsn on are all that is in the buffer. CE_NOMEM: nothing.
 */
int buffer_keep(struct journal *journal, uint64_t lsn, struct slice bytes) MUST_USE;
/* What is in it; false: nothing. */
bool buffer_span(const struct journal *journal, uint64_t *first, uint64_t *end);
void buffer_fini(struct journal *journal);

/* ---- journal_background.c: start-up, and the journal's thread ----------------------------------
 */

int background_start(struct journal *journal) MUST_USE;
/* Ends the thread, after its job; the journal's thread runs no more. */
void background_stop(struct journal *journal);
/* A job was handed over and not taken back; it may be done. */
bool background_is_busy(const struct journal *journal);
bool background_is_done_locked(const struct journal *journal);
/* Syncs what is written, and goes on in a new segment when this one is full then. Not while busy.
 */
void background_sync(struct journal *journal);
/* Takes a job that is done back, and hands over what follows it. The code with which one failed. */
int background_take(struct journal *journal) MUST_USE;
/* Waits until nothing is left to do, or something failed. */
int background_settle(struct journal *journal) MUST_USE;
/* Waits for the job at hand and forgets it. */
void background_discard(struct journal *journal);

/* ---- journal_segment.c: the thread, or start-up ------------------------------------------------
 */

void journal_segment_path(const struct journal *journal, uint64_t first, const char *suffix,
                          char path[JOURNAL_PATH_MAX]);
/* Makes room for one more. */
int journal_segment_reserve(struct journal *journal) MUST_USE;
/* Begins a segment at `synced` that holds all up to `taken`, synced. On failure nothing has moved.
 */
int journal_segment_begin(struct journal *journal) MUST_USE;
/* The parts of it: a file of another name with [first, end), synced (closed again on failure); its
 * name as a segment; its place in the list; the end of the segment before, which may stay as it is
 * when the disk refuses: replay knows overlaps. */
int journal_segment_make(struct journal *journal, uint64_t first, uint64_t end, int *fd) MUST_USE;
int journal_segment_rename(const struct journal *journal, uint64_t first) MUST_USE;
void journal_segment_enter(struct journal *journal, uint64_t first);
void journal_segment_cut(const struct journal *journal, uint64_t before, uint64_t first);
/* All up to lsn is synced in the last segment; what is written behind it, since since_ms. */
void journal_segment_note_synced(struct journal *journal, uint64_t lsn, uint64_t since_ms);
/* So much is written to it that another should begin. */
bool journal_segment_is_full(const struct journal *journal);
/* Writes up to `taken`. */
int journal_segment_write(struct journal *journal) MUST_USE;
/* Syncs all that is written; ends a segment that is full. */
int journal_segment_sync(struct journal *journal) MUST_USE;
/* After a failure: the next write begins a new segment with all that is not synced. */
void journal_segment_abandon(struct journal *journal);
/* Counts anew after `segments` changed. */
void journal_segment_recount(struct journal *journal);
/* Size of the whole good record at the front of bytes that begin at lsn, 0 when there is none.
 * `hashed` counts work. */
size_t journal_measure_record(struct slice bytes, uint64_t lsn, uint64_t *hashed);
void journal_segment_header(uint64_t first, uint8_t out[SEGMENT_HEADER_BYTES]);

/* ---- journal_history.c: the thread, or start-up ------------------------------------------------
 */

/* After the directory was listed: where the segments of the history end. */
int journal_history_open(struct journal *journal) MUST_USE;
/* Takes what is released into the history and removes of it what has no room; sets drop_failed when
 * it could not. */
void journal_history_settle(struct journal *journal);
/* Removes the oldest segment of the history; false when there is none, or it won't go. */
bool journal_history_shed(struct journal *journal);

/* ---- journal_shelf.c: who replays or rereads ---------------------------------------------------
 */

/* Reads a whole file into memory, where it stays until journal_forget_read. CE_NOTFOUND, CE_IO,
 * CE_NODISK, CE_NOMEM. */
int journal_shelf_read(struct journal *journal, const char *path, struct slice *file) MUST_USE;

/* ---- bytes -------------------------------------------------------------------------------------
 */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they are");

static inline void journal_put_u64(uint8_t *out, uint64_t value)
{
    memcpy(out, &value, sizeof value);
}

static inline void journal_put_u32(uint8_t *out, uint32_t value)
{
    memcpy(out, &value, sizeof value);
}

static inline uint64_t journal_get_u64(const uint8_t *in)
{
    uint64_t value;
    memcpy(&value, in, sizeof value);
    return value;
}

static inline uint32_t journal_get_u32(const uint8_t *in)
{
    uint32_t value;
    memcpy(&value, in, sizeof value);
    return value;
}

/* The part of a record's sum that needs no position: long payloads stay outside the lock. */
static inline uint64_t journal_digest(uint8_t type, struct slice payload)
{
    return hash_64_seed(payload, type);
}

static inline uint64_t journal_sum(uint64_t digest, uint64_t end_lsn)
{
    uint8_t bytes[8];
    journal_put_u64(bytes, digest);
    return hash_64_seed(slice_of(bytes, sizeof bytes), end_lsn);
}

#endif
