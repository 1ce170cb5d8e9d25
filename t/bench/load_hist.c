/* hist, pick: the arithmetic of the load generator. */
#include "bench/load.h"

#include <math.h>

static unsigned find_bucket(uint64_t ns)
{
    if (ns < 1u << HIST_SUB_BITS)
        return (unsigned)ns;
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - HIST_SUB_BITS;
    return (shift << HIST_SUB_BITS) + (unsigned)(ns >> shift);
}

/* The greatest value that falls into a bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < 2u << HIST_SUB_BITS)
        return bucket;
    unsigned shift = (bucket >> HIST_SUB_BITS) - 1;
    uint64_t base = bucket - ((uint64_t)shift << HIST_SUB_BITS);
    return ((base + 1) << shift) - 1;
}

void hist_add(struct hist *hist, uint64_t ns)
{
    hist->buckets[find_bucket(ns)]++;
    hist->count++;
    if (ns > hist->max_ns)
        hist->max_ns = ns;
}

uint64_t hist_quantile_ns(const struct hist *hist, double part)
{
    uint64_t wanted = (uint64_t)ceil(part * (double)hist->count), seen = 0;
    for (unsigned bucket = 0; bucket < HIST_BUCKETS; bucket++) {
        seen += hist->buckets[bucket];
        if (seen >= wanted && seen) {
            uint64_t top = bucket_top(bucket);
            return top < hist->max_ns ? top : hist->max_ns;
        }
    }
    return 0;
}

/* splitmix64 */
uint64_t pick_random(struct pick *pick)
{
    uint64_t z = pick->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Zipf by rejection and inversion (Hoermann and Derflinger 1996): any theta > 0, no table. `H` is
 * the integral of x^-theta; expm1 and log1p keep it exact where theta is near 1. */
static double integral(double theta, double x)
{
    double lx = log(x), t = (1 - theta) * lx;
    return fabs(t) > 1e-8 ? expm1(t) / t * lx : lx * (1 + t / 2);
}

static double integral_inverse(double theta, double y)
{
    double t = fmax(y * (1 - theta), -1);
    return exp(fabs(t) > 1e-8 ? log1p(t) / t * y : y * (1 - t / 2));
}

void pick_init(struct pick *pick, uint64_t seed, uint32_t keys, double theta)
{
    *pick = (struct pick){.state = seed, .keys = keys, .theta = theta};
    if (theta <= 0)
        return;
    pick->low = integral(theta, 1.5) - 1;
    pick->high = integral(theta, keys + 0.5);
    pick->shortcut = 2 - integral_inverse(theta, integral(theta, 2.5) - pow(2, -theta));
}

static uint32_t pick_zipf(struct pick *pick)
{
    for (;;) {
        double unit = (double)(pick_random(pick) >> 11) * 0x1p-53;
        double u = pick->high + unit * (pick->low - pick->high);
        double x = integral_inverse(pick->theta, u);
        double k = fmin(fmax(floor(x + 0.5), 1), pick->keys);
        if (k - x <= pick->shortcut || u >= integral(pick->theta, k + 0.5) - pow(k, -pick->theta))
            return (uint32_t)k - 1;
    }
}

uint32_t pick_key(struct pick *pick)
{
    if (pick->scan_part > 0 && (double)(pick_random(pick) >> 11) * 0x1p-53 < pick->scan_part)
        return pick->keys + pick->scan_next++;
    if (pick->theta > 0)
        return pick_zipf(pick);
    return (uint32_t)((pick_random(pick) >> 32) * pick->keys >> 32);
}
