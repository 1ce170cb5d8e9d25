/* journal: one append-only sequence of checksummed records in one order for all carts. Workers
 * append to a gathering buffer (memory only); one thread writes what has gathered and syncs once
 * for all that wait (group commit). A crash loses a suffix, never leaves a hole.
 *
 * A position (lsn) is a byte offset in the endless sequence; it never goes back, over restarts too.
 * Segments are files `<dir>/<20 digits of first lsn>.log`. Once released they are history: kept
 * while there is room for them, oldest dropped first, never replayed, read record by record.
 * Happy path: append -> lsn -> thread writes -> written -> fdatasync -> synced -> advanced(). Syncs
 * that nobody waits for, and new segments, are a second thread's (journal_background.c).
 * Failures: a write or sync that fails sets journal_failed(): nothing more is called written or
 * synced until all bytes since the last good sync (kept in memory until then) have been written
 * again to a new segment and synced; retried with backoff for as long as it takes. */
#ifndef TIER_JOURNAL_JOURNAL_H
#define TIER_JOURNAL_JOURNAL_H

#include "base/base.h"

/* How safe a write is when it is acknowledged (design.md section 4; `quorum` comes with peers). */
enum ack_level {
    ACK_RAM,  /* applied in memory */
    ACK_OS,   /* in the journal file: survives kill -9 */
    ACK_SYNC, /* and fdatasynced: survives power loss */
};

#define JOURNAL_RECORD_BYTES_MAX (80u << 20)
#define JOURNAL_HEADER_BYTES     16 /* of a record, before its payload */
#define JOURNAL_GATHER_MS        50
#define JOURNAL_URGE_BYTES       (64u << 10)  /* gathered records that are not put off any more */
#define JOURNAL_BUFFER_BYTES_MAX (256u << 20) /* gathered and not yet synced; then CE_BUSY */
#define JOURNAL_HISTORY_MAX      4096 /* segments of history: small ones, of many restarts */
#define JOURNAL_RESERVE_BYTES    (256u << 20) /* history leaves so much of the disk free */

/* Zero means the default. */
struct journal_config {
    const struct env *env;
    const char *dir;
    uint64_t segment_bytes;      /* a new segment begins after so many; default 16 MiB */
    uint64_t buffer_bytes_max;   /* default JOURNAL_BUFFER_BYTES_MAX */
    uint64_t history_bytes;      /* released segments are kept up to so many bytes; default none */
    unsigned sync_interval_ms;   /* written records are synced at the latest after this; 1000 */
    void (*advanced)(void *ctx); /* on the journal thread, after written/synced/failed moved */
    void *ctx;
};

struct journal;

/* Makes a journal that knows no segment yet. Owner: caller. CE_NOMEM; CE_INVAL when the path is too
 * long. */
int journal_new(const struct journal_config *config, struct journal **journal) MUST_USE;

/* Opens the directory (made when missing) and lists the segments; once it has worked, nothing.
 * Before all that follows; may be tried again. Start-up thread. CE_NODISK, CE_IO, CE_NOACCESS,
 * CE_NOMEM. */
int journal_open(struct journal *journal) MUST_USE;

/* Calls `each` for every whole record with an end position > from_lsn, in order, but not of
 * history. A torn or corrupt tail ends the replay and is truncated at the last good record
 * (logged). A corrupt record in front of from_lsn or of another segment: it is set aside as
 * `<its position>.log.quarantine` and the replay goes on with the next good record; elsewhere the
 * rest of that segment is set aside as `<name>.quarantine` and the replay goes on with
 * the next segment (logged as an error, counted in journal_quarantined). Stops early when `each`
 * returns non-zero and returns that. What was replayed is synced. Before journal_start, start-up
 * thread. CE_IO, CE_NODISK, CE_NOMEM. */
int journal_replay(struct journal *journal, uint64_t from_lsn,
                   int (*each)(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn),
                   void *arg) MUST_USE;

/* Reads the records up to until_lsn again that journal_replay found and that are not history yet,
 * from the first on, whatever from_lsn was; what is not good is passed over. Any thread, while the
 * journal runs and nothing is released. As journal_replay. */
int journal_reread(struct journal *journal, uint64_t until_lsn,
                   int (*each)(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn),
                   void *arg) MUST_USE;

/* Frees what these two have read: until then all payloads that `each` was given stay where they
 * are. `each` may call it, and keeps only what it is just given. One thread at a time with them. */
void journal_forget_read(struct journal *journal);

/* Starts the thread, and a new segment at max(end of what was found, lsn_min); a gap below lsn_min
 * is legal. What was replayed of the last segment is written again, for it may never have been
 * synced (journal_replay.c), and goes on there when there is no gap. CE_NODISK, CE_IO, CE_NOMEM;
 * may then be tried again. */
int journal_start(struct journal *journal, uint64_t lsn_min) MUST_USE;

/* Gathers one record: type and payload (copied). *end_lsn is the position behind it. Never waits
 * for the disk. `level` says what the caller waits for: RAM is written within JOURNAL_GATHER_MS;
 * SYNC and OS when the thread comes by, or journal_urge() says that all that came together is here.
 * CE_BUSY when buffer_bytes_max is gathered, CE_NODISK while failed and level > ACK_RAM,
 * CE_TOO_LARGE above JOURNAL_RECORD_BYTES_MAX, CE_NOMEM, CE_STOPPED. Any thread, also under a
 * stripe lock. */
int journal_append(struct journal *journal, uint8_t type, struct slice payload,
                   enum ack_level level, uint64_t *end_lsn) MUST_USE;

/* Wakes the thread when it sleeps and somebody waits for a record: the call that whoever appends
 * with OS or SYNC owes it, once for any number of records and never under a lock. Any thread. */
void journal_urge(struct journal *journal);

/* True when everything up to lsn is as safe as `level` says. Lock-free, any thread. */
bool journal_reached(const struct journal *journal, uint64_t lsn, enum ack_level level);
bool journal_failed(const struct journal *journal);
/* Position behind the newest appended record. Lock-free. */
uint64_t journal_end(const struct journal *journal);

/* Makes the thread reach `level` for everything appended before the call and waits for it.
 * CE_NODISK when it failed, CE_BUSY when timeout_ms passed first. Not for workers: it blocks. */
int journal_flush(struct journal *journal, enum ack_level level, unsigned timeout_ms) MUST_USE;

/* Everything before lsn is in L2: segments wholly before it are history from here on. Also before
 * journal_start, which then may drop them to find room. */
void journal_release(struct journal *journal, uint64_t lsn);

/* The file system is full: the thread removes the oldest segment of the history, if there is one.
 * It does so by itself when its own writes find no room. Any thread. */
void journal_shed(struct journal *journal);

/* Size of a record as positions count it. */
static inline uint32_t journal_record_bytes(size_t payload_bytes)
{
    return JOURNAL_HEADER_BYTES + (uint32_t)payload_bytes;
}

/* Reads the record back that ends at end_lsn and has `bytes` bytes; the payload lies in `storage`,
 * which is cleared. Finds only what is written: journal_flush(ACK_OS) first. CE_NOTFOUND when its
 * segment is gone, CE_CORRUPT when no good record stands there, CE_IO, CE_NODISK, CE_NOMEM. Any
 * thread but workers: it reads the disk. */
int journal_read(struct journal *journal, uint64_t end_lsn, uint32_t bytes, struct buf *storage,
                 uint8_t *type, struct slice *payload) MUST_USE;

/* Writes and syncs what is left (tries for timeout_ms; a system call that hangs is waited for),
 * ends the thread, closes. Takes and nulls. Also for a journal that was never started. Returns 0 or
 * CE_NODISK/CE_BUSY when not everything reached the disk. */
int journal_stop(struct journal **journal, unsigned timeout_ms) MUST_USE;

struct journal_verdict {
    uint64_t records;                /* good ones, the history's too */
    uint64_t corrupt, corrupt_bytes; /* parts that a crash does not explain */
    uint64_t torn_bytes;             /* ends that it does */
};
/* Looks at all of an opened journal that is not started, and changes nothing. `each` is given the
 * records that are not history, until it returns non-zero; returns that. CE_IO, CE_NOMEM. */
int journal_verify(struct journal *journal,
                   int (*each)(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn),
                   void *arg, struct journal_verdict *out) MUST_USE;

uint64_t journal_quarantined(const struct journal *journal);

#define JOURNAL_STATS(X)                                                                           \
    X(journal_records, "records appended")                                                         \
    X(journal_bytes, "bytes appended, with headers")                                               \
    X(journal_writes, "write calls")                                                               \
    X(journal_syncs, "fdatasync calls")                                                            \
    X(journal_pending_bytes, "gathered and not yet synced")                                        \
    X(journal_segments, "segment files now")                                                       \
    X(journal_history_segments, "of them released, kept as history")                               \
    X(journal_history_bytes, "bytes of these")                                                     \
    X(journal_errors, "failed writes and syncs")                                                   \
    X(journal_quarantined, "corrupt parts that were set aside")                                    \
    X(journal_failed, "1 while the disk refuses")
void journal_stats(const struct journal *journal, const struct stat_sink *sink);

#endif
