/* The keys that wait: a table of entries, each in exactly one of three lists. */
#include "tier/behind/behind_int.h"

#include <stdlib.h>
#include <utlist.h>

struct behind_entry *behind_queue_find(const struct behind_queue *queue, struct slice key)
{
    struct behind_entry *entry;
    HASH_FIND(hh, queue->table, key.bytes, key.len, entry);
    return entry;
}

struct behind_entry *behind_queue_push(struct behind_queue *queue, struct slice key,
                                       uint64_t since_ms, uint64_t due_ms)
{
    struct behind_entry *entry = calloc(1, sizeof *entry + key.len);
    if (!entry)
        return NULL;
    entry->version = 1;
    entry->since_ms = since_ms;
    entry->due_ms = due_ms;
    entry->key_len = key.len;
    memcpy(entry->key, key.bytes, key.len);
    HASH_ADD_KEYPTR(hh, queue->table, entry->key, entry->key_len, entry);
    if (entry->version == 0) {
        free(entry);
        return NULL;
    }
    entry->place = BEHIND_QUEUED;
    DL_APPEND(queue->places[BEHIND_QUEUED], entry);
    queue->counts[BEHIND_QUEUED]++;
    return entry;
}

static void leave_place(struct behind_queue *queue, struct behind_entry *entry)
{
    DL_DELETE(queue->places[entry->place], entry);
    queue->counts[entry->place]--;
}

static void enter_place(struct behind_queue *queue, struct behind_entry *entry,
                        enum behind_place place)
{
    leave_place(queue, entry);
    entry->place = place;
    queue->counts[place]++;
}

void behind_queue_front(struct behind_queue *queue, struct behind_entry *entry)
{
    enter_place(queue, entry, BEHIND_QUEUED);
    DL_PREPEND(queue->places[BEHIND_QUEUED], entry);
}

void behind_queue_back(struct behind_queue *queue, struct behind_entry *entry, uint64_t due_ms)
{
    enter_place(queue, entry, BEHIND_QUEUED);
    entry->due_ms = due_ms;
    DL_APPEND(queue->places[BEHIND_QUEUED], entry);
}

void behind_queue_fly(struct behind_queue *queue, struct behind_entry *entry)
{
    enter_place(queue, entry, BEHIND_FLYING);
    DL_APPEND(queue->places[BEHIND_FLYING], entry);
}

void behind_queue_heat(struct behind_queue *queue, struct behind_entry *entry, uint64_t due_ms)
{
    enter_place(queue, entry, BEHIND_HOT);
    entry->due_ms = due_ms;
    DL_APPEND(queue->places[BEHIND_HOT], entry);
}

void behind_queue_warm(struct behind_queue *queue, struct behind_entry *entry, uint64_t due_ms)
{
    enter_place(queue, entry, BEHIND_WARM);
    entry->due_ms = due_ms;
    DL_APPEND(queue->places[BEHIND_WARM], entry);
}

void behind_queue_forget(struct behind_queue *queue)
{
    if (queue->places[BEHIND_WARM])
        behind_queue_remove(queue, queue->places[BEHIND_WARM]);
}

void behind_queue_cool(struct behind_queue *queue, uint64_t now_ms, unsigned delay_ms)
{
    struct behind_entry *last = NULL, *hot;
    while ((hot = queue->places[BEHIND_HOT]) != NULL && hot->due_ms <= now_ms) {
        enter_place(queue, hot, BEHIND_QUEUED);
        hot->due_ms = hot->since_ms + delay_ms;
        DL_APPEND_ELEM(queue->places[BEHIND_QUEUED], last, hot); /* NULL: in front of all */
        last = hot;
    }
}

void behind_queue_cool_all(struct behind_queue *queue, unsigned delay_ms)
{
    struct behind_entry *hot;
    while ((hot = queue->places[BEHIND_HOT]) != NULL)
        behind_queue_back(queue, hot, hot->since_ms + delay_ms);
}

void behind_queue_forget_warm(struct behind_queue *queue, uint64_t now_ms, bool all)
{
    struct behind_entry *const *warm = &queue->places[BEHIND_WARM];
    while (*warm && (all || (*warm)->due_ms <= now_ms))
        behind_queue_forget(queue);
}

/* ---- sorting ------------------------------------------------------------------------- */

static int order_by_key(const struct behind_entry *a, const struct behind_entry *b)
{
    return slice_cmp(behind_key(a), behind_key(b));
}

/* An entry with what tells most keys apart, so that the entries, which lie anywhere in memory, are
 * hardly looked at while they are sorted. */
struct ranked {
    uint64_t rank;
    struct behind_entry *entry;
};

static int order_by_rank(const void *a, const void *b)
{
    const struct ranked *one = a;
    const struct ranked *two = b;
    if (one->rank != two->rank)
        return one->rank < two->rank ? -1 : 1;
    return order_by_key(one->entry, two->entry);
}

/* How many bytes in front all keys have in common: "cart:user:", say. */
static size_t measure_common(const struct ranked *ranked, size_t count)
{
    struct slice common = behind_key(ranked[0].entry);
    for (size_t i = 1; i < count; i++) {
        const struct behind_entry *entry = ranked[i].entry;
        size_t len = 0;
        while (len < common.len && len < entry->key_len && common.bytes[len] == entry->key[len])
            len++;
        common.len = len;
    }
    return common.len;
}

/* The bytes of a key behind `common` as a number that has their order. */
static uint64_t rank_key(struct slice key, size_t common)
{
    uint64_t rank = 0;
    for (size_t i = common; i < common + sizeof rank; i++)
        rank = rank << 8 | (i < key.len ? key.bytes[i] : 0);
    return rank;
}

void behind_queue_sort(struct behind_queue *queue, size_t count)
{
    struct behind_entry **head = &queue->places[BEHIND_QUEUED];
    MUST(count <= queue->counts[BEHIND_QUEUED]);
    struct ranked *ranked = count > 1 ? malloc(count * sizeof *ranked) : NULL;
    if (!ranked) /* nothing to sort; or no memory: any order is right, only slower */
        return;
    for (size_t i = 0; i < count; i++) {
        ranked[i].entry = *head;
        DL_DELETE(*head, ranked[i].entry);
    }
    size_t common = measure_common(ranked, count);
    for (size_t i = 0; i < count; i++)
        ranked[i].rank = rank_key(behind_key(ranked[i].entry), common);
    qsort(ranked, count, sizeof *ranked, order_by_rank);
    for (size_t i = count; i-- > 0;)
        DL_PREPEND(*head, ranked[i].entry);
    free(ranked);
}

/* ---- parked -------------------------------------------------------------------------- */

static int order_by_due(const struct behind_entry *a, const struct behind_entry *b)
{
    return (a->due_ms > b->due_ms) - (a->due_ms < b->due_ms);
}

void behind_queue_park(struct behind_queue *queue, struct behind_entry *entry, uint64_t due_ms)
{
    enter_place(queue, entry, BEHIND_PARKED);
    entry->due_ms = due_ms;
    DL_INSERT_INORDER(queue->places[BEHIND_PARKED], entry, order_by_due);
}

void behind_queue_recall(struct behind_queue *queue, uint64_t now_ms)
{
    struct behind_entry *entry;
    DL_FOREACH(queue->places[BEHIND_PARKED], entry)
    entry->due_ms = now_ms;
}

void behind_queue_remove(struct behind_queue *queue, struct behind_entry *entry)
{
    leave_place(queue, entry);
    HASH_DELETE(hh, queue->table, entry);
    free(entry);
}

void behind_queue_clear(struct behind_queue *queue)
{
    struct behind_entry *entry, *next;
    HASH_ITER(hh, queue->table, entry, next)
    behind_queue_remove(queue, entry);
}

uint64_t behind_queue_oldest(const struct behind_queue *queue)
{
    const struct behind_entry *head = queue->places[BEHIND_QUEUED];
    const struct behind_entry *hot = queue->places[BEHIND_HOT];
    uint64_t oldest = head ? head->since_ms : UINT64_MAX;
    if (hot && hot->since_ms < oldest)
        oldest = hot->since_ms;
    const struct behind_entry *entry;
    DL_FOREACH(queue->places[BEHIND_PARKED], entry)
    {
        if (entry->since_ms < oldest)
            oldest = entry->since_ms;
    }
    return oldest;
}
