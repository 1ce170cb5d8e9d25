/* journal_rig: a journal on a fake_env, what was appended to it, and ways to wait for it. */
#ifndef T_LIB_JOURNAL_RIG_H
#define T_LIB_JOURNAL_RIG_H

#include "fake_env.h"
#include "tier/journal/journal.h"

#include <pthread.h>

#define RIG_DIR     "/data/journal"
#define RIG_WAIT_MS 60000 /* for what must come at once; only a hang takes so long */

struct rig_record {
    uint8_t type;
    struct buf payload;
    uint64_t end_lsn;
};

struct rig_list {
    struct rig_record *records;
    size_t count;
};

struct rig {
    struct fake_env *fake;
    struct journal_config config;
    struct journal *journal;
    struct rig_list appended; /* what a replay may give */
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    uint64_t advanced_calls; /* under the mutex */
};

void rig_init(struct rig *rig, uint64_t seed);
/* Ends a journal that runs, too. */
void rig_fini(struct rig *rig);

/* journal_open, or with a replay into `replayed` (NULL = not wanted), or up to journal_start. */
int rig_open(struct rig *rig);
int rig_replay(struct rig *rig, struct rig_list *replayed);
int rig_start(struct rig *rig, uint64_t lsn_min);
/* The three together; they must succeed. */
void rig_boot(struct rig *rig, struct rig_list *replayed);
/* Stops the journal, all written. */
void rig_stop(struct rig *rig);
/* Crashes the machine, ends the journal and turns the machine on again. */
void rig_crash(struct rig *rig, enum fake_crash how);

/* Appends and notes; returns the result. */
int rig_append(struct rig *rig, uint8_t type, struct slice payload, enum ack_level level);
/* A text record of type 1 that must be taken; returns its end. */
uint64_t rig_put(struct rig *rig, const char *text, enum ack_level level);
uint64_t rig_last_lsn(const struct rig *rig);

void rig_wait_reached(struct rig *rig, uint64_t lsn, enum ack_level level);
/* Until it has met the fault; the test fails when all is synced without. */
void rig_wait_failed(struct rig *rig);
void rig_wait_mended(struct rig *rig);

/* Fails the test unless `replayed` is the first `count` of what was appended. */
void rig_expect_first(const struct rig *rig, const struct rig_list *replayed, size_t count);
/* Stops, boots, and expects everything that was appended, once and in order. */
void rig_expect_all_after_restart(struct rig *rig);

void rig_list_add(struct rig_list *list, uint8_t type, struct slice payload, uint64_t end_lsn);
void rig_list_cut(struct rig_list *list, size_t count);
void rig_list_free(struct rig_list *list);

uint64_t rig_stat(const struct rig *rig, const char *name);
/* "/data/journal/<20 digits><suffix>"; valid until the next call. */
const char *rig_path(uint64_t first, const char *suffix);
bool rig_has_file(struct rig *rig, const char *path);
void rig_read_file(struct rig *rig, const char *path, struct buf *out);

#endif
