#include "journal_rig.h"

#include <check.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* On the journal's thread. */
static void note_advanced(void *ctx)
{
    struct rig *rig = ctx;
    pthread_mutex_lock(&rig->mutex);
    rig->advanced_calls++;
    pthread_cond_broadcast(&rig->moved);
    pthread_mutex_unlock(&rig->mutex);
}

void rig_init(struct rig *rig, uint64_t seed)
{
    log_level_set(LOG_ERROR - 1); /* faults are the point here */
    *rig = (struct rig){.fake = fake_env_new(seed)};
    rig->config = (struct journal_config){
        .env = fake_env_vtable(rig->fake), .dir = RIG_DIR, .advanced = note_advanced, .ctx = rig};
    pthread_mutex_init(&rig->mutex, NULL);
    pthread_cond_init(&rig->moved, NULL);
}

void rig_fini(struct rig *rig)
{
    if (rig->journal) {
        int ignored = journal_stop(&rig->journal, 0);
        (void)ignored;
    }
    rig_list_free(&rig->appended);
    pthread_cond_destroy(&rig->moved);
    pthread_mutex_destroy(&rig->mutex);
    fake_env_free(&rig->fake);
}

/* ---- lists -------------------------------------------------------------------------------------
 */

void rig_list_add(struct rig_list *list, uint8_t type, struct slice payload, uint64_t end_lsn)
{
    list->records = realloc(list->records, (list->count + 1) * sizeof *list->records);
    ck_assert(list->records);
    struct rig_record *record = &list->records[list->count++];
    *record = (struct rig_record){.type = type, .end_lsn = end_lsn};
    ck_assert_int_eq(buf_append(&record->payload, payload.bytes, payload.len), 0);
}

void rig_list_cut(struct rig_list *list, size_t count)
{
    while (list->count > count)
        buf_free(&list->records[--list->count].payload);
}

void rig_list_free(struct rig_list *list)
{
    rig_list_cut(list, 0);
    free(list->records);
    *list = (struct rig_list){0};
}

/* ---- begin and end -----------------------------------------------------------------------------
 */

static int collect(void *arg, uint8_t type, struct slice payload, uint64_t end_lsn)
{
    if (arg)
        rig_list_add(arg, type, payload, end_lsn);
    return 0;
}

int rig_open(struct rig *rig)
{
    int rc = journal_new(&rig->config, &rig->journal);
    if (rc)
        return rc;
    rc = journal_open(rig->journal);
    if (rc)
        ck_assert_int_eq(journal_stop(&rig->journal, 0), 0);
    return rc;
}

int rig_replay(struct rig *rig, struct rig_list *replayed)
{
    return journal_replay(rig->journal, 0, collect, replayed);
}

int rig_start(struct rig *rig, uint64_t lsn_min)
{
    return journal_start(rig->journal, lsn_min);
}

void rig_boot(struct rig *rig, struct rig_list *replayed)
{
    ck_assert_int_eq(rig_open(rig), 0);
    ck_assert_int_eq(rig_replay(rig, replayed), 0);
    ck_assert_int_eq(rig_start(rig, 0), 0);
}

void rig_stop(struct rig *rig)
{
    ck_assert_int_eq(journal_stop(&rig->journal, RIG_WAIT_MS), 0);
}

void rig_crash(struct rig *rig, enum fake_crash how)
{
    fake_env_crash(rig->fake, how);
    if (rig->journal) {
        int ignored = journal_stop(&rig->journal, 0);
        (void)ignored;
    }
    fake_env_clear_faults(rig->fake);
    fake_env_boot(rig->fake);
}

/* ---- append and wait ---------------------------------------------------------------------------
 */

int rig_append(struct rig *rig, uint8_t type, struct slice payload, enum ack_level level)
{
    uint64_t end_lsn = 0;
    int rc = journal_append(rig->journal, type, payload, level, &end_lsn);
    journal_urge(rig->journal);
    if (rc == 0)
        rig_list_add(&rig->appended, type, payload, end_lsn);
    return rc;
}

uint64_t rig_put(struct rig *rig, const char *text, enum ack_level level)
{
    ck_assert_int_eq(rig_append(rig, 1, slice_str(text), level), 0);
    return rig_last_lsn(rig);
}

uint64_t rig_last_lsn(const struct rig *rig)
{
    ck_assert_uint_gt(rig->appended.count, 0);
    return rig->appended.records[rig->appended.count - 1].end_lsn;
}

void rig_wait_reached(struct rig *rig, uint64_t lsn, enum ack_level level)
{
    pthread_mutex_lock(&rig->mutex);
    while (!journal_reached(rig->journal, lsn, level))
        pthread_cond_wait(&rig->moved, &rig->mutex);
    pthread_mutex_unlock(&rig->mutex);
}

/* A machine that is busy may show only that it failed and has recovered. */
void rig_wait_failed(struct rig *rig)
{
    uint64_t before = rig_stat(rig, "journal_errors"), errors = before;
    bool recovered = false;
    while (!journal_failed(rig->journal) && !recovered) {
        recovered = journal_reached(rig->journal, rig_last_lsn(rig), ACK_SYNC);
        ck_assert(!recovered || fake_env_faults_hit(rig->fake) > 0);
        ck_assert(recovered || errors < before + 2); /* it tells the first of them */
        errors = rig_stat(rig, "journal_errors");
        sched_yield();
    }
}

void rig_wait_mended(struct rig *rig)
{
    pthread_mutex_lock(&rig->mutex);
    while (journal_failed(rig->journal))
        pthread_cond_wait(&rig->moved, &rig->mutex);
    pthread_mutex_unlock(&rig->mutex);
}

/* ---- expect ------------------------------------------------------------------------------------
 */

void rig_expect_first(const struct rig *rig, const struct rig_list *replayed, size_t count)
{
    ck_assert_uint_eq(replayed->count, count);
    ck_assert_uint_le(count, rig->appended.count);
    for (size_t i = 0; i < count; i++) {
        const struct rig_record *got = &replayed->records[i];
        const struct rig_record *want = &rig->appended.records[i];
        ck_assert_uint_eq(got->type, want->type);
        ck_assert_uint_eq(got->end_lsn, want->end_lsn);
        ck_assert(slice_eq(buf_slice(&got->payload), buf_slice(&want->payload)));
    }
}

void rig_expect_all_after_restart(struct rig *rig)
{
    struct rig_list replayed = {0};
    rig_stop(rig);
    rig_boot(rig, &replayed);
    rig_expect_first(rig, &replayed, rig->appended.count);
    rig_list_free(&replayed);
}

struct wanted_stat {
    const char *name;
    uint64_t value;
    bool found;
};

static void take_stat(void *ctx, const char *name, uint64_t value)
{
    struct wanted_stat *wanted = ctx;
    if (strcmp(wanted->name, name) != 0)
        return;
    wanted->value = value;
    wanted->found = true;
}

uint64_t rig_stat(const struct rig *rig, const char *name)
{
    struct wanted_stat wanted = {.name = name};
    struct stat_sink sink = {.u64 = take_stat, .ctx = &wanted};
    journal_stats(rig->journal, &sink);
    ck_assert(wanted.found);
    return wanted.value;
}

/* ---- files -------------------------------------------------------------------------------------
 */

const char *rig_path(uint64_t first, const char *suffix)
{
    static char path[128];
    snprintf(path, sizeof path, RIG_DIR "/%020" PRIu64 "%s", first, suffix);
    return path;
}

bool rig_has_file(struct rig *rig, const char *path)
{
    struct buf ignored = {0};
    int rc = rig->config.env->file_read(rig->config.env->ctx, path, &ignored);
    buf_free(&ignored);
    return rc == 0;
}

void rig_read_file(struct rig *rig, const char *path, struct buf *out)
{
    out->len = 0;
    ck_assert_int_eq(rig->config.env->file_read(rig->config.env->ctx, path, out), 0);
}
