/* foresee: requests that came together ask for keys that have nothing to do with each other, and
 * with many items each is far away in memory. All of them are fetched at once, before the first is
 * run, so that the requests do not wait for one after the other. */
#include "cmd/cmd_int.h"

/* No further: data blocks pass for requests, and a large one is not worth a look. */
#define FORESEE_BYTES_MAX 4096

void foresee(const struct session *session, struct slice in)
{
    bool is_binary = session->protocol == CMD_PROTOCOL_BINARY;
    uint64_t hashes[L1_FORESEEN_MAX];
    unsigned count = 0;
    struct slice key;
    if (in.len > FORESEE_BYTES_MAX)
        in.len = FORESEE_BYTES_MAX;
    while (count < L1_FORESEEN_MAX && proto_glance(&in, is_binary, &key)) {
        if (count == 0 && in.len == 0)
            return;
        if (key.len > 0 && key.len <= L1_KEY_MAX)
            hashes[count++] = hash_64(key);
    }
    if (count > 1)
        l1_foresee(tier_l1(session->cmd->tier), hashes, count);
}
