/* journal_background: syncs that nobody waits for, on a thread of their own, so that who waits for
 * a write does not wait for them. One job at a time, from the journal's thread:
 *
 *   SYNC   what is written so far is synced. When the segment is full by then:
 *   MAKE   the next one is written and synced under another name, with all that is not synced yet;
 *          the journal's thread then adds what was written meanwhile, renames it and writes there
 *   ENTER  the directory is synced; what the segment before has of the new one's bytes is cut off
 *
 * The old segment holds all until the new one does, and a crash at any point leaves what a failed
 * write leaves: two segments that overlap and agree. When a job fails, or something else does, the
 * job is given up, and the next round begins a segment with all bytes since the last good sync. */
#include "tier/journal/journal_int.h"

/* ---- the thread --------------------------------------------------------------------------------
 */

static int settle_entry(struct journal *journal)
{
    const struct background *background = &journal->background;
    const struct env *env = journal->config.env;
    int rc = env->dir_sync(env->ctx, journal->config.dir);
    if (rc == 0)
        journal_segment_cut(journal, background->before, background->first);
    env->file_close(env->ctx, background->before_fd); /* what counts was synced before */
    return rc;
}

static int run_job(struct journal *journal)
{
    struct background *background = &journal->background;
    const struct env *env = journal->config.env;
    switch (background->job) {
    case BACKGROUND_SYNC: return env->file_sync(env->ctx, background->fd);
    case BACKGROUND_MAKE:
        return journal_segment_make(journal, background->first, background->lsn, &background->fd);
    case BACKGROUND_ENTER: return settle_entry(journal);
    case BACKGROUND_NONE: break;
    }
    MUST(!"job");
    return 0;
}

static void *run(void *arg)
{
    struct journal *journal = arg;
    struct background *background = &journal->background;
    thread_background();
    lock_take(&journal->lock);
    for (;;) {
        while (background->is_done && !background->ending)
            cond_wait(&background->work, &journal->lock, 0);
        if (background->is_done)
            break;
        lock_drop(&journal->lock);
        int rc = run_job(journal);
        lock_take(&journal->lock);
        background->rc = rc;
        background->is_done = true;
        journal_wake_locked(journal, SLEEP_SHORT);
        cond_wake(&background->over);
    }
    lock_drop(&journal->lock);
    return NULL;
}

int background_start(struct journal *journal)
{
    struct background *background = &journal->background;
    background->is_done = true;
    int rc = thread_start(&background->thread, "journal-sync", run, journal);
    background->started = rc == 0;
    return rc;
}

void background_stop(struct journal *journal)
{
    struct background *background = &journal->background;
    if (!background->started)
        return;
    lock_take(&journal->lock);
    background->ending = true;
    cond_wake(&background->work);
    lock_drop(&journal->lock);
    MUST(pthread_join(background->thread, NULL) == 0);
    background->started = background->ending = false;
    background_discard(journal);
}

/* ---- the journal's thread ----------------------------------------------------------------------
 */

static void hand_over(struct journal *journal, enum background_job job)
{
    struct background *background = &journal->background;
    lock_take(&journal->lock);
    background->job = job;
    background->is_done = false;
    cond_wake(&background->work);
    lock_drop(&journal->lock);
}

/* A job that syncs all that is written. */
static void hand_over_written(struct journal *journal, enum background_job job)
{
    journal->background.lsn = journal->written;
    journal->background.begun_ms = env_mono_ms(journal->config.env);
    hand_over(journal, job);
}

static void note_synced(struct journal *journal)
{
    journal_segment_note_synced(journal, journal->background.lsn, journal->background.begun_ms);
}

bool background_is_busy(const struct journal *journal)
{
    return journal->background.job != BACKGROUND_NONE;
}

bool background_is_done_locked(const struct journal *journal)
{
    return background_is_busy(journal) && journal->background.is_done;
}

void background_sync(struct journal *journal)
{
    MUST(!background_is_busy(journal));
    journal->background.fd = journal->fd;
    atomic_fetch_add_explicit(&journal->syncs, 1, memory_order_relaxed);
    hand_over_written(journal, BACKGROUND_SYNC);
}

static int begin_make(struct journal *journal)
{
    journal->background.first = journal->synced;
    int rc = journal_segment_reserve(journal);
    if (rc == 0)
        hand_over_written(journal, BACKGROUND_MAKE);
    return rc;
}

static int after_sync(struct journal *journal)
{
    note_synced(journal);
    return journal_segment_is_full(journal) ? begin_make(journal) : 0;
}

/* The new segment holds all up to `lsn` and that synced; with what was written meanwhile it takes
 * the place of the old one. */
static int after_make(struct journal *journal)
{
    struct background *background = &journal->background;
    const struct env *env = journal->config.env;
    int rc = buffer_write(journal, background->fd, background->lsn, journal->written);
    if (rc == 0)
        rc = journal_segment_rename(journal, background->first);
    if (rc) {
        env->file_close(env->ctx, background->fd);
        return rc;
    }
    background->before = journal->segments[journal->segment_count - 1].first;
    background->before_fd = journal->fd;
    journal->fd = background->fd;
    journal_segment_enter(journal, background->first);
    hand_over(journal, BACKGROUND_ENTER);
    return 0;
}

int background_take(struct journal *journal)
{
    struct background *background = &journal->background;
    lock_take(&journal->lock);
    bool is_done = background_is_done_locked(journal);
    enum background_job job = background->job;
    if (is_done)
        background->job = BACKGROUND_NONE;
    lock_drop(&journal->lock);
    if (!is_done)
        return 0;
    if (background->rc)
        return background->rc;
    switch (job) {
    case BACKGROUND_SYNC: return after_sync(journal);
    case BACKGROUND_MAKE: return after_make(journal);
    case BACKGROUND_ENTER: note_synced(journal); return 0;
    case BACKGROUND_NONE: break;
    }
    MUST(!"job");
    return 0;
}

static void await(struct journal *journal)
{
    struct background *background = &journal->background;
    lock_take(&journal->lock);
    while (!background->is_done)
        cond_wait(&background->over, &journal->lock, 0);
    lock_drop(&journal->lock);
}

int background_settle(struct journal *journal)
{
    int rc = 0;
    while (rc == 0 && background_is_busy(journal)) {
        await(journal);
        rc = background_take(journal);
    }
    return rc;
}

void background_discard(struct journal *journal)
{
    struct background *background = &journal->background;
    const struct env *env = journal->config.env;
    if (!background_is_busy(journal))
        return;
    await(journal);
    if (background->job == BACKGROUND_MAKE && background->rc == 0)
        env->file_close(env->ctx, background->fd); /* never was a segment */
    background->job = BACKGROUND_NONE;
}
