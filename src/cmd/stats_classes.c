/* stats_classes: `stats items` and `stats slabs`, which memcached tells by slab class. Memory here
 * is not cut into slabs. So that its tools have something to show, plain items are class 1 and
 * carts class 2: each has as many chunks as items, of their average size, and a page is 1 MiB of
 * them. */
#include "cmd/cmd_int.h"

#include <stdio.h>

#define PAGE_BYTES     (1u << 20)
#define NAME_BYTES_MAX 64

struct class_stats {
    unsigned class;
    const char *format; /* of a name */
    const struct stat_sink *sink;
    uint64_t number, bytes, evicted;
};

/* ---- what is known of the classes ---- */

struct l1_numbers {
#define X(name, what) uint64_t name;
    L1_STATS(X)
#undef X
};

static void take_number(void *ctx, const char *name, uint64_t value)
{
    struct l1_numbers *numbers = ctx;
#define X(row, what)                                                                               \
    if (strcmp(name, #row) == 0)                                                                   \
        numbers->row = value;
    L1_STATS(X)
#undef X
}

static struct l1_numbers read_l1(struct session *session)
{
    struct l1_numbers numbers = {0};
    const struct stat_sink sink = {.u64 = take_number, .ctx = &numbers};
    l1_stats(tier_l1(session->cmd->tier), &sink);
    return numbers;
}

#define SUM(session, name) sum_of((session)->cmd, offsetof(struct cmd_worker, name))
static uint64_t sum_of(const struct cmd *cmd, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < cmd->config.workers; i++)
        sum += counted((const _Atomic uint64_t *)((const char *)&cmd->workers[i] + offset));
    return sum;
}

static struct class_stats plain_class(const struct l1_numbers *l1)
{
    uint64_t number = l1->curr_items > l1->curr_carts ? l1->curr_items - l1->curr_carts : 0;
    return (struct class_stats){
        .class = CLASS_PLAIN, .number = number, .bytes = l1->plain_bytes, .evicted = l1->evictions};
}

static struct class_stats cart_class(const struct l1_numbers *l1)
{
    return (struct class_stats){.class = CLASS_CART,
                                .number = l1->curr_carts,
                                .bytes = l1->cart_bytes,
                                .evicted = l1->cart_demotions};
}

static void put(const struct class_stats *stats, const char *name, uint64_t value)
{
    char text[NAME_BYTES_MAX];
    snprintf(text, sizeof text, "%s%u:%s", stats->format, stats->class, name);
    stat_u64(stats->sink, text, value);
}

static void put_zeros(const struct class_stats *stats, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put(stats, names[i], 0);
}
#define ZEROS(stats, ...)                                                                          \
    put_zeros(stats, (const char *const[]){__VA_ARGS__},                                           \
              sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

/* ---- items ---- */

/* Seconds since the oldest plain item was stored. */
static uint64_t age_s(struct session *session)
{
    uint32_t oldest_s = l1_oldest_s(tier_l1(session->cmd->tier));
    uint32_t now_s = clock_now_s(session->cmd);
    return oldest_s < now_s ? now_s - oldest_s : 0;
}

static void put_items(struct session *session, const struct class_stats *stats,
                      const struct l1_numbers *l1)
{
    bool plain = stats->class == CLASS_PLAIN;
    if (stats->number == 0)
        return; /* as memcached */
    put(stats, "number", stats->number);
    ZEROS(stats, "number_hot", "number_warm");
    put(stats, "number_cold", stats->number);
    ZEROS(stats, "age_hot", "age_warm");
    put(stats, "age", plain ? age_s(session) : 0);
    put(stats, "mem_requested", stats->bytes);
    put(stats, "evicted", stats->evicted);
    put(stats, "evicted_nonzero", plain ? l1->evicted_nonzero : 0);
    ZEROS(stats, "evicted_time");
    put(stats, "outofmemory", plain ? SUM(session, store_no_memory) : 0);
    ZEROS(stats, "tailrepairs", "reclaimed", "expired_unfetched");
    put(stats, "evicted_unfetched", plain ? l1->evicted_unfetched : 0);
    ZEROS(stats, "evicted_active", "crawler_reclaimed", "crawler_items_checked",
          "lrutail_reflocked", "moves_to_cold", "moves_to_warm", "moves_within_lru");
    put(stats, "direct_reclaims", stats->evicted);
    ZEROS(stats, "hits_to_hot", "hits_to_warm");
    put(stats, "hits_to_cold", plain ? SUM(session, get_hits) : SUM(session, cart_reads));
    ZEROS(stats, "hits_to_temp");
}

void stats_write_items(struct session *session, const struct stat_sink *sink)
{
    struct l1_numbers l1 = read_l1(session);
    struct class_stats classes[] = {plain_class(&l1), cart_class(&l1)};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        classes[i].sink = sink;
        classes[i].format = "items:";
        put_items(session, &classes[i], &l1);
    }
}

/* ---- slabs ---- */

static void put_slab(struct session *session, const struct class_stats *stats)
{
    bool plain = stats->class == CLASS_PLAIN;
    uint64_t chunk_bytes = stats->number ? stats->bytes / stats->number : 0;
    put(stats, "chunk_size", chunk_bytes);
    put(stats, "chunks_per_page", chunk_bytes ? PAGE_BYTES / chunk_bytes : 0);
    put(stats, "total_pages", (stats->bytes + PAGE_BYTES - 1) / PAGE_BYTES);
    put(stats, "total_chunks", stats->number);
    put(stats, "used_chunks", stats->number);
    ZEROS(stats, "free_chunks", "free_chunks_end");
    put(stats, "mem_requested", stats->bytes);
    put(stats, "get_hits", plain ? SUM(session, get_hits) : SUM(session, cart_reads));
    put(stats, "cmd_set", plain ? SUM(session, cmd_set) : SUM(session, cart_writes));
    put(stats, "delete_hits", plain ? SUM(session, delete_hits) : 0);
    put(stats, "incr_hits", plain ? SUM(session, incr_hits) : 0);
    put(stats, "decr_hits", plain ? SUM(session, decr_hits) : 0);
    put(stats, "cas_hits", plain ? SUM(session, cas_hits) : 0);
    put(stats, "cas_badval", plain ? SUM(session, cas_badval) : 0);
    put(stats, "touch_hits", plain ? SUM(session, touch_hits) : 0);
}

void stats_write_slabs(struct session *session, const struct stat_sink *sink)
{
    struct l1_numbers l1 = read_l1(session);
    struct class_stats classes[] = {plain_class(&l1), cart_class(&l1)};
    uint64_t active = 0;
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (classes[i].number == 0)
            continue;
        classes[i].sink = sink;
        classes[i].format = "";
        put_slab(session, &classes[i]);
        active++;
    }
    stat_u64(sink, "active_slabs", active);
    stat_u64(sink, "total_malloced", l1.bytes);
}
