/* rescue_seen: what one client knows of the last keys that it has read or written. */
#include "rescue/rescue.h"

static struct rescue_known *find(struct rescue_seen *seen, uint64_t hash)
{
    for (size_t i = 0; i < RESCUE_SEEN_MAX; i++)
        if (seen->keys[i].is_set && seen->keys[i].hash == hash)
            return &seen->keys[i];
    return NULL;
}

void rescue_seen_put(struct rescue_seen *seen, uint64_t hash, uint64_t cas, uint32_t now_s)
{
    struct rescue_known *known = find(seen, hash);
    if (!known)
        known = &seen->keys[seen->next++ % RESCUE_SEEN_MAX];
    *known = (struct rescue_known){.hash = hash, .cas = cas, .at_s = now_s, .is_set = true};
}

bool rescue_seen_find(struct rescue_seen *seen, uint64_t hash, uint32_t now_s, uint64_t *cas)
{
    const struct rescue_known *known = find(seen, hash);
    if (!known || now_s - known->at_s > RESCUE_SEEN_S)
        return false;
    *cas = known->cas;
    return true;
}

void rescue_seen_drop(struct rescue_seen *seen, uint64_t hash)
{
    struct rescue_known *known = find(seen, hash);
    if (known)
        known->is_set = false;
}
