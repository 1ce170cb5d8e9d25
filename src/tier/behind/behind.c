#include "tier/behind/behind_int.h"

#include <stdio.h>
#include <stdlib.h>

#define STAT_NAME_MAX 64

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
    MUST(config->queue_max >= 1 && config->queue_max <= BEHIND_QUEUE_MAX);
    struct behind *made = calloc(1, sizeof *made);
    if (!made)
        return CE_NOMEM;
    made->magic = BEHIND_MAGIC;
    made->env = config->env;
    made->owner = config->owner;
    made->delay_ms = config->delay_ms;
    made->cart_us = config->cart_us;
    made->delay_max_ms = config->delay_max_ms;
    made->hot_ms = config->hot_ms;
    made->batch_max = config->batch_max;
    made->limit = config->batch_max;
    made->queue_max = config->queue_max;
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
    if (!behind->overflow) /* nothing else may wait */
        wake_locked(behind);
    behind->overflow = true;
    behind_stat_set(behind, BEHIND_STAT_behind_overflow, 1);
}

static void show_waiting_locked(struct behind *behind, uint64_t since_ms)
{
    if (atomic_load_explicit(&behind->oldest_ms, memory_order_relaxed) == UINT64_MAX)
        atomic_store_explicit(&behind->oldest_ms, since_ms, memory_order_relaxed);
    behind_stat_set(behind, BEHIND_STAT_behind_queue, behind_queue_count(&behind->queue));
}

static void push_key_locked(struct behind *behind, struct slice key, uint64_t since_ms)
{
    struct behind_queue *queue = &behind->queue;
    uint64_t now_ms = env_mono_ms(behind->env);
    bool was_empty = queue->counts[BEHIND_QUEUED] == 0;
    if (HASH_COUNT(queue->table) >= behind->queue_max)
        behind_queue_forget(queue);
    if (behind_queue_count(queue) >= behind->queue_max ||
        !behind_queue_push(queue, key, since_ms, now_ms + behind->delay_ms)) {
        drop_key_locked(behind);
        return;
    }
    show_waiting_locked(behind, since_ms);
    if (was_empty) /* otherwise the thread sleeps no longer than until the head is due */
        wake_locked(behind);
}

/* A warm cart becomes hot. */
static void change_again_locked(struct behind *behind, struct behind_entry *entry,
                                uint64_t since_ms)
{
    const struct behind_queue *queue = &behind->queue;
    entry->version++;
    if (entry->place != BEHIND_WARM)
        return;
    /* Carts that are parked or in flight don't make the thread look at hot ones. */
    bool was_empty = queue->counts[BEHIND_QUEUED] + queue->counts[BEHIND_HOT] == 0;
    entry->since_ms = since_ms;
    behind_queue_heat(&behind->queue, entry, since_ms + behind->hot_ms);
    show_waiting_locked(behind, since_ms);
    if (was_empty)
        wake_locked(behind);
}

void behind_hurry(struct behind *behind, struct slice key)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    lock_take(&behind->lock);
    struct behind_queue *queue = &behind->queue;
    struct behind_entry *entry = behind_queue_find(queue, key);
    bool waits = entry && (entry->place == BEHIND_HOT || entry->place == BEHIND_QUEUED);
    if (waits && !entry->joins) {
        entry->due_ms = 0;
        behind_queue_front(queue, entry);
        wake_locked(behind);
    }
    lock_drop(&behind->lock);
}

void behind_add(struct behind *behind, struct slice key, uint64_t since_ms)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    MUST(key.len > 0);
    lock_take(&behind->lock);
    struct behind_entry *entry = behind_queue_find(&behind->queue, key);
    if (entry)
        change_again_locked(behind, entry, since_ms);
    else
        push_key_locked(behind, key, since_ms);
    lock_drop(&behind->lock);
}

void behind_missed(struct behind *behind)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    lock_take(&behind->lock);
    drop_key_locked(behind);
    lock_drop(&behind->lock);
}

/* ---- drain --------------------------------------------------------------------------- */

static bool is_drained_locked(const struct behind *behind)
{
    return behind_queue_count(&behind->queue) == 0 && !behind->overflow && !behind->events.more;
}

/* All that waits is due, whatever failed before. */
static void begin_drain(struct behind *behind)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    lock_take(&behind->lock);
    behind->drains++;
    behind->retry_at_ms = behind->events.retry_at_ms = 0;
    if (atomic_load(&behind->stats[BEHIND_STAT_behind_events_parked])) {
        behind->events.more = true;
        behind->events.back_to = 0;
    }
    behind_queue_recall(&behind->queue, env_mono_ms(behind->env));
    wake_locked(behind);
    lock_drop(&behind->lock);
}

static int end_drain(struct behind *behind, uint64_t end_ms)
{
    uint64_t now_ms = env_mono_ms(behind->env);
    lock_take(&behind->lock);
    while (behind->started && !is_drained_locked(behind) && now_ms < end_ms) {
        cond_wait(&behind->idle, &behind->lock, (unsigned)(end_ms - now_ms));
        now_ms = env_mono_ms(behind->env);
    }
    int err = is_drained_locked(behind) ? 0 : CE_BUSY;
    behind->drains--;
    lock_drop(&behind->lock);
    return err;
}

int behind_drain(struct behind *const *behinds, size_t count, unsigned timeout_ms)
{
    int err = 0;
    if (count == 0)
        return 0;
    uint64_t end_ms = env_mono_ms(behinds[0]->env) + timeout_ms;
    for (size_t i = 0; i < count; i++)
        begin_drain(behinds[i]);
    for (size_t i = 0; i < count; i++) {
        int rc = end_drain(behinds[i], end_ms);
        err = err ? err : rc;
    }
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

/* ---- figures ------------------------------------------------------------------------- */

static uint64_t age_ms(const struct behind *behind)
{
    MUST_OBJ(behind, BEHIND_MAGIC);
    uint64_t oldest_ms = atomic_load_explicit(&behind->oldest_ms, memory_order_relaxed);
    if (oldest_ms == UINT64_MAX)
        return 0;
    uint64_t now_ms = env_mono_ms(behind->env);
    return now_ms > oldest_ms ? now_ms - oldest_ms : 1; /* 0: there is nothing */
}

uint64_t behind_age_ms(struct behind *const *behinds, size_t count)
{
    uint64_t oldest = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t age = age_ms(behinds[i]);
        oldest = age > oldest ? age : oldest;
    }
    return oldest;
}

static uint64_t read_stat(const struct behind *behind, enum behind_stat stat)
{
    return atomic_load_explicit(&behind->stats[stat], memory_order_relaxed);
}

/* The worst breaker: where it is, when it tries again, what went wrong last. */
struct breaker {
    enum breaker_state {
#define X(name, word) BREAKER_##name,
        BEHIND_BREAKER_STATES(X)
#undef X
    } state;
    uint64_t retry_ms;
    char last_error[BEHIND_MESSAGE_MAX];
};

static void look_at_breaker(struct behind *behind, struct breaker *worst)
{
    uint64_t now_ms = env_mono_ms(behind->env);
    lock_take(&behind->lock);
    bool waits = behind->retry_at_ms > now_ms;
    enum breaker_state state = !behind->failing ? BREAKER_CLOSED
                               : waits          ? BREAKER_OPEN
                                                : BREAKER_HALF_OPEN;
    if (state >= worst->state && behind->last_error[0])
        memcpy(worst->last_error, behind->last_error, sizeof worst->last_error);
    if (state > worst->state) {
        worst->state = state;
        worst->retry_ms = waits ? behind->retry_at_ms - now_ms : 0;
    }
    lock_drop(&behind->lock);
}

static void tell_breaker(struct behind *const *behinds, size_t count, const struct stat_sink *sink)
{
    static const char *const words[] = {
#define X(name, word) word,
        BEHIND_BREAKER_STATES(X)
#undef X
    };
    struct breaker worst = {BREAKER_CLOSED, 0, ""};
    for (size_t i = 0; i < count; i++)
        look_at_breaker(behinds[i], &worst);
    stat_text(sink, "behind_breaker", words[worst.state]);
    stat_u64(sink, "behind_retry_ms", worst.retry_ms);
    stat_text(sink, "behind_last_error", worst.last_error[0] ? worst.last_error : "none");
}

static void tell_connection(const struct behind *behind, size_t number,
                            const struct stat_sink *sink)
{
    static const struct {
        const char *name;
        enum behind_stat stat;
    } told[] = {{"queue", BEHIND_STAT_behind_queue},
                {"flushed", BEHIND_STAT_behind_flushed},
                {"errors", BEHIND_STAT_behind_errors}};
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        char name[STAT_NAME_MAX];
        snprintf(name, sizeof name, "behind_%zu_%s", number, told[i].name);
        stat_u64(sink, name, read_stat(behind, told[i].stat));
    }
}

static bool is_late(struct behind *behind)
{
    uint64_t now_ms = env_mono_ms(behind->env);
    lock_take(&behind->lock);
    const struct behind_entry *queued = behind->queue.places[BEHIND_QUEUED];
    const struct behind_entry *flying = behind->queue.places[BEHIND_FLYING];
    uint64_t due_ms = queued ? behind_due_ms_locked(behind, queued) : UINT64_MAX;
    if (flying && flying->due_ms < due_ms)
        due_ms = flying->due_ms;
    bool late = behind->failing || (due_ms < now_ms && now_ms - due_ms > BEHIND_LATE_MS);
    lock_drop(&behind->lock);
    return late;
}

bool behind_is_late(struct behind *const *behinds, size_t count)
{
    bool late = false;
    for (size_t i = 0; i < count && !late; i++)
        late = is_late(behinds[i]);
    return late;
}

void behind_stats(struct behind *const *behinds, size_t count, const struct stat_sink *sink)
{
    static const char *const names[] = {
#define X(name, what) #name,
        BEHIND_STATS(X)
#undef X
    };
    for (size_t stat = 0; stat < BEHIND_STAT_COUNT; stat++) {
        uint64_t value = stat == BEHIND_STAT_behind_age_ms ? behind_age_ms(behinds, count) : 0;
        for (size_t i = 0; i < count; i++)
            value += read_stat(behinds[i], (enum behind_stat)stat);
        stat_u64(sink, names[stat], value);
    }
}

void behind_tell(struct behind *const *behinds, size_t count, const struct stat_sink *sink)
{
    behind_stats(behinds, count, sink);
    stat_u64(sink, "behind_connections", count);
    tell_breaker(behinds, count, sink);
    for (size_t i = 0; i < count; i++)
        tell_connection(behinds[i], i + 1, sink);
}
