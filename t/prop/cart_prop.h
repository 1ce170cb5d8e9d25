/* cart_prop: what the files of the property test share. */
#ifndef T_CART_PROP_H
#define T_CART_PROP_H

#include "cart_oracle.h"

#define PROP_START_US 1790000000000000ull

struct rng {
    uint64_t state;
};

static inline uint64_t rng_mix(uint64_t value)
{
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ value >> 27) * 0x94d049bb133111ebull;
    return value ^ value >> 31;
}

static inline uint64_t rng_next(struct rng *rng)
{
    rng->state += 0x9e3779b97f4a7c15ull;
    return rng_mix(rng->state);
}

static inline uint64_t rng_below(struct rng *rng, uint64_t end)
{
    return rng_next(rng) % end;
}

/* Notes the first failure of a history and returns false; true when that invariant is not looked
 * at, and the caller goes on. */
bool prop_fail(const char *invariant, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Histories beside the main kind: folding with peers, folding alone, many actors, and laws under
 * everything at once. `index` chooses. */
bool prop_special(struct cart *cart, struct cart *other, uint64_t seed, uint64_t index);

#endif
