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
                                       uint64_t now_ms, uint64_t due_ms)
{
    struct behind_entry *entry = calloc(1, sizeof *entry + key.len);
    if (!entry)
        return NULL;
    entry->version = 1;
    entry->since_ms = now_ms;
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

void behind_queue_cool(struct behind_queue *queue, uint64_t now_ms, bool all, unsigned delay_ms)
{
    struct behind_entry *const *hot = &queue->places[BEHIND_HOT];
    struct behind_entry *const *warm = &queue->places[BEHIND_WARM];
    while (*hot && (all || (*hot)->due_ms <= now_ms))
        behind_queue_back(queue, *hot, (*hot)->since_ms + delay_ms);
    while (*warm && (all || (*warm)->due_ms <= now_ms))
        behind_queue_forget(queue);
}

static int order_by_key(const struct behind_entry *a, const struct behind_entry *b)
{
    return slice_cmp(slice_of(a->key, a->key_len), slice_of(b->key, b->key_len));
}

void behind_queue_sort(struct behind_queue *queue)
{
    DL_SORT(queue->places[BEHIND_QUEUED], order_by_key);
}

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
