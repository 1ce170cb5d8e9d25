#include "tier/behind/behind_int.h"

#include <stdlib.h>

static int allocate(struct behind *behind, const struct behind_config *config)
{
    behind->url = strdup(config->url);
    behind->items = calloc(config->batch_max, sizeof *behind->items);
    behind->rows = calloc(config->batch_max, sizeof(struct behind_item *));
    behind->carts = calloc(config->batch_max, sizeof *behind->carts);
    int rc = behind_events_init(&behind->events);
    return behind->url && behind->items && behind->rows && behind->carts ? rc : CE_NOMEM;
}

static void release(struct behind *behind)
{
    for (size_t i = 0; behind->items && i < behind->batch_max; i++) {
        buf_free(&behind->items[i].state);
        buf_free(&behind->items[i].arena);
    }
    behind_events_fini(&behind->events);
    buf_free(&behind->image);
    free(behind->url);
    free(behind->items);
    free(behind->rows);
    free(behind->carts);
    free(behind);
}

int behind_new(const struct behind_config *config, struct behind **behind)
{
    MUST(config->env && config->owner && config->url);
    MUST(config->batch_max >= 1 && config->batch_max <= BEHIND_BATCH_MAX);
    struct behind *made = calloc(1, sizeof *made);
    if (!made)
        return CE_NOMEM;
    made->magic = BEHIND_MAGIC;
    made->env = config->env;
    made->owner = config->owner;
    made->delay_ms = config->delay_ms;
    made->cart_us = config->cart_us;
    made->delay_max_ms = config->delay_max_ms;
    made->batch_max = config->batch_max;
    made->limit = config->batch_max;
    made->queue_max = BEHIND_QUEUE_MAX;
    made->open = l3_open;
    if (allocate(made, config)) {
        release(made);
        return CE_NOMEM;
    }
    lock_init(&made->lock, LOCK_BEHIND);
    cond_init(&made->work);
    cond_init(&made->idle);
    atomic_init(&made->oldest_ms, UINT64_MAX);
    *behind = made;
    return 0;
}

static void *run_thread(void *arg)
{
    struct behind *behind = arg;
    thread_give_way();
    lock_take(&behind->lock);
    while (!behind->stopping) {
        behind->woken = false;
        lock_drop(&behind->lock);
        unsigned wait_ms = behind_turn(behind);
        lock_take(&behind->lock);
        if (wait_ms > 0 && !behind->woken && !behind->stopping) /* cond_wait: 0 = for ever */
            cond_wait(&behind->work, &behind->lock, wait_ms == BEHIND_IDLE ? 0 : wait_ms);
    }
    lock_drop(&behind->lock);
    return NULL;
}

int behind_start(struct behind *behind)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    MUST(!behind->started);
    int err = thread_start(&behind->thread, "behind", run_thread, behind);
    behind->started = !err;
    return err;
}

static void wake_locked(struct behind *behind)
{
    MUST(lock_held(&behind->lock));
    behind->woken = true;
    cond_wake(&behind->work);
}

/* A key there is no room for. Its mark is in L2, and the scan that finds it again can't be one that
 * has begun before: see clear_overflow() in behind_turn.c. */
static void drop_key_locked(struct behind *behind)
{
    behind->dropped++;
    behind->overflow = true;
    behind_stat_set(behind, BEHIND_STAT_behind_overflow, 1);
}

static void push_key_locked(struct behind *behind, struct slice key)
{
    struct behind_queue *queue = &behind->queue;
    uint64_t now_ms = env_mono_ms(behind->env);
    bool was_empty = queue->counts[BEHIND_QUEUED] == 0;
    if (behind_queue_count(queue) >= behind->queue_max ||
        !behind_queue_push(queue, key, now_ms, now_ms + behind->delay_ms)) {
        drop_key_locked(behind);
        return;
    }
    if (atomic_load_explicit(&behind->oldest_ms, memory_order_relaxed) == UINT64_MAX)
        atomic_store_explicit(&behind->oldest_ms, now_ms, memory_order_relaxed);
    behind_stat_set(behind, BEHIND_STAT_behind_queue, behind_queue_count(queue));
    if (was_empty) /* otherwise the thread sleeps no longer than until the head is due */
        wake_locked(behind);
}

void behind_add(struct behind *behind, struct slice key)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    MUST(key.len > 0);
    lock_take(&behind->lock);
    struct behind_entry *entry = behind_queue_find(&behind->queue, key);
    if (entry)
        entry->version++;
    else
        push_key_locked(behind, key);
    lock_drop(&behind->lock);
}

void behind_missed(struct behind *behind)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    lock_take(&behind->lock);
    drop_key_locked(behind);
    lock_drop(&behind->lock);
}

static bool is_drained_locked(const struct behind *behind)
{
    return behind_queue_count(&behind->queue) == 0 && !behind->overflow && !behind->events.more;
}

int behind_drain(struct behind *behind, unsigned timeout_ms)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    uint64_t now_ms = env_mono_ms(behind->env);
    uint64_t end_ms = now_ms + timeout_ms;
    lock_take(&behind->lock);
    behind->drains++;
    behind->retry_at_ms = behind->events.retry_at_ms = 0;
    if (atomic_load(&behind->stats[BEHIND_STAT_behind_events_parked])) {
        behind->events.more = true;
        behind->events.back_to = 0;
    }
    behind_queue_recall(&behind->queue, now_ms);
    wake_locked(behind);
    while (behind->started && !is_drained_locked(behind) && now_ms < end_ms) {
        cond_wait(&behind->idle, &behind->lock, (unsigned)(end_ms - now_ms));
        now_ms = env_mono_ms(behind->env);
    }
    int err = is_drained_locked(behind) ? 0 : CE_BUSY;
    behind->drains--;
    lock_drop(&behind->lock);
    return err;
}

void behind_stop(struct behind **behind)
{
    MUST(behind != NULL);
    struct behind *ended = *behind;
    if (!ended)
        return;
    MUST_OBJ(ended, BEHIND_MAGIC);
    *behind = NULL;
    lock_take(&ended->lock);
    ended->stopping = true;
    wake_locked(ended);
    lock_drop(&ended->lock);
    if (ended->started)
        MUST(pthread_join(ended->thread, NULL) == 0);
    l3_close(&ended->l3);
    behind_queue_clear(&ended->queue);
    cond_fini(&ended->work);
    cond_fini(&ended->idle);
    lock_fini(&ended->lock);
    ended->magic = 0;
    release(ended);
}

uint64_t behind_age_ms(const struct behind *behind)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    uint64_t oldest_ms = atomic_load_explicit(&behind->oldest_ms, memory_order_relaxed);
    uint64_t now_ms = env_mono_ms(behind->env);
    return now_ms > oldest_ms ? now_ms - oldest_ms : 0;
}

bool behind_is_late(const struct behind *behind)
{
    uint64_t queue =
        atomic_load_explicit(&behind->stats[BEHIND_STAT_behind_queue], memory_order_relaxed);
    uint64_t patience_ms = queue * behind->cart_us / 1000;
    if (patience_ms > behind->delay_max_ms)
        patience_ms = behind->delay_max_ms;
    return behind_age_ms(behind) > behind->delay_ms + patience_ms + BEHIND_LATE_MS;
}

void behind_stats(const struct behind *behind, const struct stat_sink *sink)
{
    static const char *const names[] = {
#define X(name, what) #name,
        BEHIND_STATS(X)
#undef X
    };
    MUST_OBJ(behind, BEHIND_MAGIC);
    for (size_t i = 0; i < BEHIND_STAT_COUNT; i++) {
        uint64_t value = i == BEHIND_STAT_behind_age_ms
                             ? behind_age_ms(behind)
                             : atomic_load_explicit(&behind->stats[i], memory_order_relaxed);
        stat_u64(sink, names[i], value);
    }
}
