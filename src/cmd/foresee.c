/* foresee: requests that came together ask for keys that have nothing to do with each other, and
 * with many items each is far away in memory. All of them are fetched at once, before the first is
 * run, so that the requests do not wait for one after the other. */
#include "cmd/cmd_int.h"

/* No further: data blocks pass for requests, and a large one is not worth a look. */
#define FORESEE_BYTES_MAX 4096

/* False when `in` does not begin with a whole request. */
static bool glance(const struct session *session, struct slice *in, struct slice *key)
{
    return proto_glance(in, session->protocol == CMD_PROTOCOL_BINARY, key);
}

/* Keys that are to be looked for soon. */
struct seen {
    uint64_t hashes[L1_FORESEEN_MAX];
    unsigned count;
};

static void note(struct seen *seen, struct slice key)
{
    if (key.len > 0 && key.len <= L1_KEY_MAX)
        seen->hashes[seen->count++] = hash_64(key);
}

void foresee(const struct session *session, struct slice in)
{
    struct seen seen = {.count = 0};
    struct slice key;
    if (in.len > FORESEE_BYTES_MAX)
        in.len = FORESEE_BYTES_MAX;
    while (seen.count < L1_FORESEEN_MAX && glance(session, &in, &key)) {
        if (seen.count == 0 && in.len == 0)
            return; /* one request: foresee_inputs() has looked at it */
        note(&seen, key);
    }
    if (seen.count > 1)
        l1_foresee(tier_l1(session->cmd->tier), seen.hashes, seen.count);
}

void foresee_inputs(void *ctx, const struct net_input *inputs, unsigned count)
{
    struct l1 *l1 = tier_l1(((struct cmd *)ctx)->tier);
    struct seen seen = {.count = 0};
    struct slice key;
    for (unsigned i = 0; i < count; i++) {
        struct slice in = inputs[i].in;
        if (in.len <= FORESEE_BYTES_MAX && glance(inputs[i].session, &in, &key))
            note(&seen, key);
        if (seen.count == L1_FORESEEN_MAX || i == count - 1) {
            l1_foresee(l1, seen.hashes, seen.count);
            seen.count = 0;
        }
    }
}
