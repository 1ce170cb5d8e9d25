/* l1_walk: meets all items, bucket by bucket. The order is that of the bucket numbers with their
 * bits reversed: when a table doubles, each bucket becomes the two that follow each other at its
 * place in this order, so a position means the same before and after (tables never shrink).
 *
 * A position is 64 bits: the stripe in the top ones, as in a hash; below them how far in that
 * order, as a fraction of the stripe. Going past the last stripe wraps to 0, which is the end. */
#include "tier/l1/l1_int.h"

#define STRIPE_BITS   10
#define POSITION_BITS (64 - STRIPE_BITS)
_Static_assert(L1_STRIPES == 1 << STRIPE_BITS, "a position begins with its stripe");

static uint64_t reverse_bits(uint64_t value)
{
    value = (value >> 1 & 0x5555555555555555) | (value & 0x5555555555555555) << 1;
    value = (value >> 2 & 0x3333333333333333) | (value & 0x3333333333333333) << 2;
    value = (value >> 4 & 0x0f0f0f0f0f0f0f0f) | (value & 0x0f0f0f0f0f0f0f0f) << 4;
    return __builtin_bswap64(value);
}

/* How far apart two buckets of a stripe are. */
static uint64_t bucket_step(const struct l1_stripe *stripe)
{
    return (1ull << POSITION_BITS) / ((uint64_t)stripe->buckets_mask + 1);
}

static const struct l1_item *first_at(const struct l1_stripe *stripe, uint64_t position)
{
    return *l1_bucket_at(stripe, reverse_bits(position << STRIPE_BITS) & stripe->buckets_mask);
}

uint64_t l1_walk(struct l1 *l1, uint64_t from, void (*each)(void *arg, const struct l1_item *item),
                 void *arg)
{
    MUST_OBJ(l1, L1_MAGIC);
    struct l1_stripe *stripe = l1_stripe_of(l1, from);
    uint64_t position = from;
    lock_take(&stripe->lock);
    uint64_t step = bucket_step(stripe);
    for (unsigned i = 0; i < L1_WALK_BUCKETS && l1_stripe_of(l1, position) == stripe; i++) {
        for (const struct l1_item *item = first_at(stripe, position); item; item = item->_next)
            each(arg, item);
        position += step;
    }
    lock_drop(&stripe->lock);
    return position;
}

uint32_t l1_oldest_s(struct l1 *l1)
{
    uint32_t oldest_s = UINT32_MAX;
    MUST_OBJ(l1, L1_MAGIC);
    for (unsigned i = 0; i < L1_STRIPES; i++) {
        struct l1_stripe *stripe = &l1->stripes[i];
        lock_take(&stripe->lock);
        const struct l1_item *item = stripe->oldest;
        if (item && item->kind == L1_PLAIN && item->plain.stored_s < oldest_s)
            oldest_s = item->plain.stored_s;
        lock_drop(&stripe->lock);
    }
    return oldest_s;
}
