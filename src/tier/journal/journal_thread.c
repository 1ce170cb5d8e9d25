/* The journal's thread: rounds of sleep -> take what has gathered -> write -> sync when somebody
 * waits for it (else journal_background.c does) -> tell. Whoever appends during a round is served
 * by the next one: group commit. It begins when those are back whom the round answered
 * (journal_convoy.c).
 *
 * A round that fails gives up the segment, and the next, after a pause, begins a new one with all
 * bytes since the last good sync. */
#include "tier/journal/journal_int.h"

#include <limits.h>

#define NAP_FOREVER   UINT_MAX
#define DROP_RETRY_MS 1000

/* Pause before the next try, by failures in a row. */
static const unsigned backoff_ms[] = {10, 20, 50, 100, 200, 500, 1000};

#define BACKOFF_STEPS (sizeof backoff_ms / sizeof *backoff_ms)

void journal_wake_locked(struct journal *journal, enum journal_sleep depth)
{
    MUST(lock_held(&journal->lock));
    if (journal->sleep < depth || journal->sleep == SLEEP_NOT)
        return;
    journal->sleep = SLEEP_NOT;
    cond_wake(&journal->wake);
}

/* ---- sleep -------------------------------------------------------------------------------------
 */

static bool is_work_waiting(const struct journal *journal)
{
    return journal->stop || journal->wanted_os > journal->written || journal->shed ||
           journal->appended - journal->taken >= journal_much_bytes(journal) ||
           background_is_done_locked(journal) ||
           (journal->released >= journal->drop_at && !journal->drop_failed);
}

static uint64_t sync_left_ms(const struct journal *journal)
{
    uint64_t until = journal->dirty_since_ms + journal->config.sync_interval_ms;
    uint64_t now = env_mono_ms(journal->config.env);
    return until > now ? until - now : 0;
}

/* How long there is nothing to do; 0 = go on now. */
static unsigned nap_ms(const struct journal *journal)
{
    if (journal->abandon)
        return 0;
    if (journal->failures) {
        unsigned step = journal->failures - 1;
        return backoff_ms[step < BACKOFF_STEPS ? step : BACKOFF_STEPS - 1];
    }
    if (is_work_waiting(journal))
        return 0;
    if (journal_awaits_convoy(journal))
        return JOURNAL_CONVOY_MS;
    if (journal->wanted_sync > journal->synced)
        return 0;
    if (journal->appended != journal->taken)
        return JOURNAL_GATHER_MS;
    if (journal->taken != journal->synced && !background_is_busy(journal))
        return (unsigned)sync_left_ms(journal);
    return journal->drop_failed ? DROP_RETRY_MS : NAP_FOREVER;
}

static void sleep_locked(struct journal *journal)
{
    bool woken = true;
    unsigned nap = nap_ms(journal);
    while (nap && woken) {
        bool in_convoy = journal_awaits_convoy(journal);
        bool is_short = journal->failures || in_convoy || journal->appended != journal->taken;
        journal->sleep = is_short ? SLEEP_SHORT : SLEEP_LONG;
        woken = cond_wait(&journal->wake, &journal->lock, nap == NAP_FOREVER ? 0 : nap);
        if (in_convoy && journal_awaits_convoy(journal)) {
            convoy_end(&journal->convoy, woken);
            woken = true;
        }
        nap = nap_ms(journal);
    }
    journal->sleep = SLEEP_NOT;
}

/* ---- a round -----------------------------------------------------------------------------------
 */

static void take_locked(struct journal *journal)
{
    journal->taken = journal->appended;
    journal->round_os = journal->wanted_os;
    journal->round_sync = journal->wanted_sync;
    journal->round_released = journal->released;
    journal->round_stop = journal->stop;
    journal->round_shed = journal->shed;
    journal->shed = false;
    convoy_leave(&journal->convoy, journal->records);
}

/* Somebody waits for it, or memory does. */
static bool is_sync_urgent(const struct journal *journal)
{
    return journal->round_sync > journal->synced || journal->round_stop ||
           journal->taken - journal->synced >= journal_much_bytes(journal);
}

static bool is_sync_due(const struct journal *journal)
{
    return sync_left_ms(journal) == 0 || journal_segment_is_full(journal);
}

static void tell(const struct journal *journal)
{
    if (journal->config.advanced)
        journal->config.advanced(journal->config.ctx);
}

static int sync_now(struct journal *journal)
{
    int rc = background_settle(journal);
    return rc || journal->taken == journal->synced ? rc : journal_segment_sync(journal);
}

static int put_to_disk(struct journal *journal)
{
    int rc = background_take(journal);
    if (rc || journal->taken == journal->synced)
        return rc;
    if (journal->fd < 0)
        return journal_segment_begin(journal);
    uint64_t before = journal->written;
    rc = journal_segment_write(journal);
    if (rc)
        return rc;
    if (!is_sync_urgent(journal)) {
        if (is_sync_due(journal) && !background_is_busy(journal))
            background_sync(journal);
        return 0;
    }
    if (journal->round_os > before)
        tell(journal); /* those need not wait for the sync */
    return sync_now(journal);
}

static void give_up_segment(struct journal *journal)
{
    background_discard(journal);
    journal_segment_abandon(journal);
}

/* A disk that is full is never full because of the history. */
static int put_or_shed(struct journal *journal)
{
    int rc = put_to_disk(journal);
    while (rc == CE_NODISK && journal_history_shed(journal)) {
        give_up_segment(journal);
        rc = put_to_disk(journal);
    }
    return rc;
}

static void note_failure(struct journal *journal, int code)
{
    give_up_segment(journal);
    atomic_fetch_add_explicit(&journal->errors, 1, memory_order_relaxed);
    journal->failures++;
    if (!journal_failed(journal))
        log_error("journal", "cannot write: %s; trying again", err_text(code));
    atomic_store(&journal->failed, true);
}

static void note_success(struct journal *journal)
{
    journal->failures = 0;
    if (journal_failed(journal))
        log_info("journal", "writing again");
    atomic_store(&journal->failed, false);
}

/* Whether somebody waited for its sync, and has it. */
static bool do_round(struct journal *journal)
{
    uint64_t written = journal->written;
    uint64_t synced = journal->synced;
    bool failed = journal->failed;
    int rc = put_or_shed(journal);
    if (rc)
        note_failure(journal, rc);
    else
        note_success(journal);
    if (written != journal->written || synced != journal->synced || failed != journal->failed)
        tell(journal);
    journal_history_settle(journal);
    return journal->round_sync > synced && journal->round_sync <= journal->synced;
}

static bool is_over(const struct journal *journal)
{
    return journal->stop && (journal->abandon || journal->synced == journal->appended);
}

void *journal_thread(void *arg)
{
    struct journal *journal = arg;
    thread_background();
    MUST_OBJ(journal, JOURNAL_MAGIC);
    lock_take(&journal->lock);
    do {
        sleep_locked(journal);
        take_locked(journal);
        lock_drop(&journal->lock);
        bool has_answered = do_round(journal);
        lock_take(&journal->lock);
        if (has_answered)
            convoy_expect(&journal->convoy, journal->records);
        cond_wake_all(&journal->moved);
    } while (!is_over(journal));
    journal->ended = true;
    cond_wake_all(&journal->over);
    lock_drop(&journal->lock);
    return NULL;
}
