/* absent: whether a cart that L1 lacks is in no tier, without asking them. L1 remembers which carts
 * have left it (l1_left.c); those that L2 had when the daemon started are told it by a thread that
 * goes through L2's keys once. So the first cart of a new visitor waits for no read. */
#include "tier/tier_int.h"

void absent_init(struct tier *tier)
{
    turns_init(&tier->absent.turns);
}

void absent_fini(struct tier *tier)
{
    buf_free(&tier->absent.cursor);
    turns_fini(&tier->absent.turns);
}

bool absent_is_sure(struct tier *tier, uint64_t hash)
{
    return atomic_load_explicit(&tier->absent.knows_l2, memory_order_acquire) &&
           !l1_may_have_left(tier->l1, hash) && catchup_is_over(tier) &&
           !fill_may_be_beyond_l2(tier);
}

static void note_key(void *arg, struct slice key)
{
    l1_note_left(arg, hash_64(key));
}

/* Returns how long to wait. */
static unsigned turn(struct tier *tier)
{
    size_t count = 0;
    if (l2_cart_keys(tier->l2, &tier->absent.cursor, ABSENT_TURN_KEYS, note_key, tier->l1, &count))
        return ABSENT_RETRY_MS;
    if (count == 0)
        atomic_store_explicit(&tier->absent.knows_l2, true, memory_order_release);
    return 0;
}

/* Carts that come to L2 meanwhile come from L1. */
static void *run_absent(void *arg)
{
    struct tier *tier = arg;
    thread_give_way();
    bool go = !turns_end(&tier->absent.turns);
    while (go && !atomic_load(&tier->absent.knows_l2))
        go = turns_rest(&tier->absent.turns, turn(tier));
    return NULL;
}

int absent_start(struct tier *tier)
{
    return turns_start(&tier->absent.turns, "l2-keys", run_absent, tier);
}

void absent_stop(struct tier *tier)
{
    turns_stop(&tier->absent.turns);
}
