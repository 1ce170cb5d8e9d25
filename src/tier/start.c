/* start: from what is on disk to carts that are served. Open the data directory and L2, read what
 * it lacks of the journal, begin a new segment, start the threads; catchup.c brings the two
 * together.
 *
 * A disk that is full or fails, and a database that is down while the replay needs it (L2 was
 * lost), are no reason to end: plain items are served meanwhile, carts are refused, and a thread
 * tries again until it works. Every part may be repeated: a record that was replayed is passed over
 * the second time. */
#include "tier/tier_int.h"

#define L2_WRITE_BUFFER (4u << 20)
#define L2_CACHE        (1u << 20)
#define START_RETRY_MS  500

bool start_may_pass(int rc)
{
    return rc == CE_NODISK || rc == CE_IO || rc == CE_DB;
}

int start_open_dir(struct tier *tier)
{
    const struct env *env = tier->config.env;
    int rc = tier->dir_fd >= 0 ? 0 : env->dir_make(env->ctx, tier->config.data_dir);
    if (rc == 0 && tier->dir_fd < 0)
        rc = env->dir_lock(env->ctx, tier->config.data_dir, &tier->dir_fd);
    return rc ? rc : journal_open(tier->journal);
}

/* ---- what L2 knows ---- */

int start_open_l2(struct tier *tier, bool mend)
{
    bool moved_aside = false;
    struct l2_config config = {.env = tier->config.env,
                               .path = tier->l2_path,
                               .keep_damaged = !mend,
                               .io_errors = &tier->start.l2_io_errors,
                               .write_buffer_bytes = L2_WRITE_BUFFER,
                               .cache_bytes = L2_CACHE};
    int rc = l2_open(&config, &tier->l2, &moved_aside);
    if (moved_aside)
        log_error("tier",
                  "%s could not be read and was moved aside; begun anew, filled from the "
                  "journal and the database",
                  tier->l2_path);
    return rc;
}

static int first_row(void *arg, struct slice key, uint32_t rev, struct slice image)
{
    (void)arg, (void)key, (void)rev, (void)image;
    return CE_EXISTS;
}

/* True when L3 has no cart at all, so that an empty L2 beside it lacks nothing. */
static bool l3_is_empty(struct tier *tier)
{
    struct l3 *l3 = NULL;
    char message[256];
    if (l3_open(tier->l3_url, &l3, message, sizeof message)) {
        log_warn("tier", "database: %s", message);
        return false;
    }
    int rc = l3_each(l3, first_row, NULL);
    l3_close(&l3);
    return rc == 0;
}

/* Finds out whether L2 is complete, and writes it down. */
static int settle_complete(struct tier *tier)
{
    struct buf value = {0};
    int rc = l2_meta_get(tier->l2, "complete", &value);
    buf_free(&value);
    if (rc != 0 && rc != CE_NOTFOUND)
        return rc;
    bool complete = !tier->l3_url || rc == 0 || l3_is_empty(tier);
    atomic_store(&tier->l2_complete, complete);
    if (rc == 0 || !tier->l3_url || !complete)
        return 0;
    l2_batch_meta(tier->drain.batch, "complete", slice_str("1"));
    return l2_batch_commit(tier->l2, tier->drain.batch);
}

int start_read_checkpoint(struct tier *tier)
{
    struct buf value = {0};
    int rc = l2_meta_get(tier->l2, "checkpoint", &value);
    if (rc == 0 && value.len == sizeof tier->drain.checkpoint)
        memcpy(&tier->drain.checkpoint, value.bytes, value.len);
    if (rc == CE_NOTFOUND && !tier->replayed)
        tier->drain.checkpoint = 0;
    buf_free(&value);
    return rc == CE_NOTFOUND ? 0 : rc;
}

/* ---- the parts, in their order ---- */

/* What the disk and the database may refuse. */
static int try_disk(struct tier *tier)
{
    int rc = start_open_dir(tier);
    if (rc == 0 && !tier->l2)
        rc = start_open_l2(tier, true);
    if (rc == 0)
        rc = start_read_checkpoint(tier);
    if (rc == 0)
        rc = settle_complete(tier);
    if (rc == 0 && !tier->replayed) {
        catchup_forget(tier);
        rc = journal_replay(tier->journal, tier->drain.checkpoint, catchup_note, tier);
        if (rc == 0)
            rc = catchup_read(tier);
        journal_release(tier->journal, tier->drain.checkpoint);
        if (rc == 0)
            rc = journal_start(tier->journal, tier->drain.checkpoint);
        tier->replayed = rc == 0;
        if (rc == 0)
            catchup_begin(tier);
    }
    if (rc == 0 && tier->l3_url)
        rc = drain_mark_all(tier);
    if (rc == 0)
        rc = reap_enter_all(tier);
    if (rc == 0)
        down_resume(tier);
    return rc;
}

/* Whatever meets damage in L2: it is begun anew, and all that the journal has is replayed. */
static int begin_disk(struct tier *tier)
{
    int rc = try_disk(tier);
    if (rc == 0 || !tier->l2 || !l2_is_damaged(tier->l2))
        return rc;
    rc = drain_mend(tier);
    return rc ? rc : try_disk(tier);
}

/* Those that do not run yet: each does nothing when it runs, or is not wanted. */
static int begin_threads(struct tier *tier)
{
    static int (*const starts[])(struct tier * tier) = {
        drain_start,   catchup_start, fill_start,      history_start, reap_start, inbox_start,
        reap_l3_start, absent_start,  sql_waits_start, jobs_start,    trim_start, down_start,
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof starts / sizeof *starts; i++)
        rc = starts[i](tier);
    return rc;
}

/* No cart is served before all who work for it are there. */
static int begin(struct tier *tier)
{
    int rc = tier->start.read ? 0 : begin_disk(tier);
    tier->start.read = rc == 0;
    if (rc == 0)
        rc = begin_threads(tier);
    atomic_store_explicit(&tier->refused, rc, memory_order_release);
    return rc;
}

/* ---- trying again ---- */

/* What the start ends with, as its user is there to see it, is no reason to give up later. */
static bool may_pass_later(int rc)
{
    return start_may_pass(rc) || rc == CE_NOMEM || rc == CE_NOACCESS;
}

static void *run_start(void *arg)
{
    struct tier *tier = arg;
    int rc = CE_NODISK;
    while (may_pass_later(rc) && turns_rest(&tier->start.turns, START_RETRY_MS))
        rc = begin(tier);
    if (rc == 0)
        log_info("tier", "carts are served");
    else if (!may_pass_later(rc))
        log_error("tier", "carts can't be served: %s; a restart may help", err_text(rc));
    return NULL;
}

int tier_start(struct tier *tier, tier_replay_fn *replay, void *arg)
{
    MUST_OBJ(tier, TIER_MAGIC);
    struct starter *start = &tier->start;
    start->replay = replay;
    start->arg = arg;
    int rc = begin(tier);
    if (!start_may_pass(rc))
        return rc;
    log_error("tier", "%s: %s; carts are refused until that has passed, trying again",
              tier->config.data_dir, err_text(rc));
    return turns_start(&start->turns, "start", run_start, tier);
}

void start_init(struct tier *tier)
{
    turns_init(&tier->start.turns);
    atomic_store(&tier->refused, CE_STOPPED);
}

void start_fini(struct tier *tier)
{
    turns_fini(&tier->start.turns);
}

void start_stop(struct tier *tier)
{
    turns_stop(&tier->start.turns);
}
