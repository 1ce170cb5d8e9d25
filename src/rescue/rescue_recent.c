/* rescue_recent: the values that clients know, each under (key hash, cas). Shards with a lock each;
 * the oldest of a shard go when it is full. Nothing is allocated or freed under a lock. */
#include "rescue/rescue.h"

#include <stdlib.h>

#define RECENT_MAGIC  0x72656374
#define SHARDS        16
#define SHARD_BUCKETS 4096 /* chains of a shard */

struct entry {
    struct entry *chain, *newer;
    uint64_t hash, cas;
    size_t len;
    uint8_t bytes[];
};

struct shard {
    struct lock lock;
    struct entry *buckets[SHARD_BUCKETS];
    struct entry *oldest, *newest;
    _Atomic uint64_t bytes; /* written under the lock */
};

struct rescue_recent {
    unsigned magic;
    size_t shard_bytes_max;
    struct shard shards[SHARDS];
};

static size_t cost_of(size_t len)
{
    return sizeof(struct entry) + len;
}

static uint64_t mix(uint64_t hash, uint64_t cas)
{
    return (hash ^ cas * 0x9e3779b97f4a7c15ull) * 0xd6e8feb86659fd93ull;
}

static struct shard *shard_of(struct rescue_recent *recent, uint64_t mixed)
{
    return &recent->shards[mixed >> 60];
}

static struct entry **chain_of(struct shard *shard, uint64_t mixed)
{
    return &shard->buckets[(mixed >> 40) % SHARD_BUCKETS];
}

/* Where the link to the entry is; at the chain's end when there is none. */
static struct entry **find_locked(struct shard *shard, uint64_t hash, uint64_t cas)
{
    struct entry **link = chain_of(shard, mix(hash, cas));
    while (*link && ((*link)->hash != hash || (*link)->cas != cas))
        link = &(*link)->chain;
    return link;
}

static struct entry *take_oldest_locked(struct shard *shard)
{
    struct entry *entry = shard->oldest;
    struct entry **link = find_locked(shard, entry->hash, entry->cas);
    MUST(*link == entry);
    *link = entry->chain;
    shard->oldest = entry->newer;
    if (!shard->oldest)
        shard->newest = NULL;
    shard->bytes -= cost_of(entry->len);
    return entry;
}

static void add_locked(struct shard *shard, struct entry *entry)
{
    struct entry **link = chain_of(shard, mix(entry->hash, entry->cas));
    entry->chain = *link;
    *link = entry;
    if (shard->newest)
        shard->newest->newer = entry;
    else
        shard->oldest = entry;
    shard->newest = entry;
    shard->bytes += cost_of(entry->len);
}

static void free_all(struct entry *entry)
{
    while (entry) {
        struct entry *newer = entry->newer;
        free(entry);
        entry = newer;
    }
}

static struct entry *make_entry(uint64_t hash, uint64_t cas, struct slice value)
{
    struct entry *entry = malloc(cost_of(value.len));
    if (!entry)
        return NULL;
    *entry = (struct entry){.hash = hash, .cas = cas, .len = value.len};
    memcpy(entry->bytes, value.bytes, value.len);
    return entry;
}

static bool is_kept(struct shard *shard, uint64_t hash, uint64_t cas)
{
    lock_take(&shard->lock);
    bool kept = *find_locked(shard, hash, cas) != NULL;
    lock_drop(&shard->lock);
    return kept;
}

void rescue_recent_keep(struct rescue_recent *recent, uint64_t hash, uint64_t cas,
                        struct slice value)
{
    MUST_OBJ(recent, RECENT_MAGIC);
    struct shard *shard = shard_of(recent, mix(hash, cas));
    struct entry *entry, *gone = NULL;
    if (value.len == 0 || value.len > RESCUE_BYTES_MAX ||
        cost_of(value.len) > recent->shard_bytes_max || is_kept(shard, hash, cas))
        return;
    entry = make_entry(hash, cas, value);
    if (!entry)
        return;
    lock_take(&shard->lock);
    if (*find_locked(shard, hash, cas)) {
        gone = entry; /* another thread was faster */
    } else {
        while (shard->bytes + cost_of(value.len) > recent->shard_bytes_max) {
            struct entry *oldest = take_oldest_locked(shard);
            oldest->newer = gone;
            gone = oldest;
        }
        add_locked(shard, entry);
    }
    lock_drop(&shard->lock);
    free_all(gone);
}

int rescue_recent_find(struct rescue_recent *recent, uint64_t hash, uint64_t cas, struct buf *out)
{
    MUST_OBJ(recent, RECENT_MAGIC);
    struct shard *shard = shard_of(recent, mix(hash, cas));
    out->len = 0;
    if (buf_reserve(out, RESCUE_BYTES_MAX))
        return CE_NOMEM;
    lock_take(&shard->lock);
    const struct entry *entry = *find_locked(shard, hash, cas);
    int rc = entry ? buf_append(out, entry->bytes, entry->len) : CE_NOTFOUND;
    lock_drop(&shard->lock);
    return rc;
}

uint64_t rescue_recent_bytes(const struct rescue_recent *recent)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < SHARDS; i++)
        bytes += atomic_load_explicit(&recent->shards[i].bytes, memory_order_relaxed);
    return bytes;
}

int rescue_recent_new(size_t bytes_max, struct rescue_recent **out)
{
    struct rescue_recent *recent = calloc(1, sizeof *recent);
    if (!recent)
        return CE_NOMEM;
    recent->magic = RECENT_MAGIC;
    recent->shard_bytes_max = bytes_max / SHARDS;
    for (size_t i = 0; i < SHARDS; i++)
        lock_init(&recent->shards[i].lock, LOCK_RECENT);
    *out = recent;
    return 0;
}

void rescue_recent_free(struct rescue_recent **out)
{
    struct rescue_recent *recent = *out;
    MUST_OBJ(recent, RECENT_MAGIC);
    *out = NULL;
    for (size_t i = 0; i < SHARDS; i++) {
        free_all(recent->shards[i].oldest);
        lock_fini(&recent->shards[i].lock);
    }
    recent->magic = 0;
    free(recent);
}
