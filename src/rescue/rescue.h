/* rescue: three-way merge of whole carts that clients read, change and write back, and a bounded
 * memory of what they have read. Shapes and rules: doc/rescue.md. Knows no protocol and no item. */
#ifndef RESCUE_RESCUE_H
#define RESCUE_RESCUE_H

#include "base/base.h"

#define RESCUE_BYTES_MAX 262144 /* of a value that is merged or kept; a longer one is not */
#define RESCUE_NODES_MAX 16384  /* values and members of one document */
#define RESCUE_DEPTH_MAX 32     /* of maps and lists within each other */
#define RESCUE_NEST_MAX  3      /* of serialised text within a PHP string */

struct rescue;

/* A scratch for merging; one thread at a time. Owner: the caller. CE_NOMEM. */
int rescue_new(struct rescue **rescue) MUST_USE;
void rescue_free(struct rescue **rescue);

/* Appends what `theirs` becomes when what the client changed between `base` and `mine` is done to
 * it. An empty `base`: the client had found nothing. Pure; linear but for sorting. 0; CE_BAD_DOC: a
 * shape that is not understood (`out` is as before), the caller stores `mine`; CE_NOMEM. */
int rescue_merge(struct rescue *rescue, struct slice base, struct slice mine, struct slice theirs,
                 struct buf *out) MUST_USE;

/* ---- what one client knows ---- */

#define RESCUE_SEEN_MAX 16 /* keys that a client knows at a time; the oldest is forgotten */
#define RESCUE_SEEN_S   60 /* what it read longer ago is not what it writes back */

/* By key: the cas that it was told last, 0 when it was told that there is nothing. Zeroed is empty.
 * One thread at a time. Times in seconds of any clock that does not go back. */
struct rescue_seen {
    struct rescue_known {
        uint64_t hash, cas;
        uint32_t at_s;
        bool is_set;
    } keys[RESCUE_SEEN_MAX];
    unsigned next;
};
void rescue_seen_put(struct rescue_seen *seen, uint64_t hash, uint64_t cas, uint32_t now_s);
/* False: nothing is known of the key. */
bool rescue_seen_find(struct rescue_seen *seen, uint64_t hash, uint32_t now_s, uint64_t *cas);
void rescue_seen_drop(struct rescue_seen *seen, uint64_t hash);

/* ---- what clients have read ---- */

struct rescue_recent;

/* Keeps at most bytes_max bytes, the newest. Owner: the caller. CE_NOMEM. */
int rescue_recent_new(size_t bytes_max, struct rescue_recent **recent) MUST_USE;
void rescue_recent_free(struct rescue_recent **recent);

/* Keeps a copy of the value that a client knows as (key hash, cas); nothing when it is there
 * already, longer than RESCUE_BYTES_MAX, or there is no memory. Any thread; never blocks long. */
void rescue_recent_keep(struct rescue_recent *recent, uint64_t hash, uint64_t cas,
                        struct slice value);

/* Replaces the content of `out` by the value. CE_NOTFOUND when it is gone; CE_NOMEM. Any thread. */
int rescue_recent_find(struct rescue_recent *recent, uint64_t hash, uint64_t cas,
                       struct buf *out) MUST_USE;

/* Bytes kept now, with what each value costs beside itself. Any thread. */
uint64_t rescue_recent_bytes(const struct rescue_recent *recent);

#endif
