/* l1_left: which carts have left L1. A Bloom filter: no memory of a cart says for sure that it
 * never left, so who lacks it here need not look for it elsewhere. A hash has all its bits in one
 * line of the CPU cache (Putze, Sanders and Singler, "Cache-, hash- and space-efficient Bloom
 * filters", 2007).
 *
 * Bits are never taken back: a cart that came again is still said to have left, which costs the one
 * who asks a look for it elsewhere. With ten bits for a cart one in a hundred is said to have left
 * that never was here; the more carts leave, the more are. A line is memory, and counts, from its
 * first cart on. */
#include "tier/l1/l1_int.h"

#define PART      64 /* of the limit */
#define BYTES_MIN ((size_t)64 << 10)
#define BYTES_MAX ((size_t)256 << 20)

#define LINE_WORDS (L1_LINE_BYTES / sizeof(uint64_t))
#define LINE_BITS  (8 * L1_LINE_BYTES)
#define BITS       6
#define BIT_LOG2   9
#define LINE_USED  (1ull << 63) /* a bit of its first word */
_Static_assert(LINE_BITS == 1 << BIT_LOG2 && BITS * BIT_LOG2 <= 64, "a hash has bits for all");

static unsigned log2_of_lines(size_t bytes_max)
{
    size_t bytes = bytes_max / PART;
    bytes = bytes < BYTES_MIN ? BYTES_MIN : bytes > BYTES_MAX ? BYTES_MAX : bytes;
    return 63 - (unsigned)__builtin_clzll(bytes / L1_LINE_BYTES);
}

static size_t bytes_of(const struct l1_left *left)
{
    return L1_LINE_BYTES << left->lines_log2;
}

int l1_left_init(struct l1_left *left, size_t bytes_max)
{
    left->lines_log2 = log2_of_lines(bytes_max);
    left->words = l1_mem_reserve(bytes_of(left));
    if (left->words && l1_mem_commit(left->words, bytes_of(left)))
        return 0;
    l1_left_fini(left);
    return CE_NOMEM;
}

void l1_left_fini(struct l1_left *left)
{
    l1_mem_unreserve(left->words, bytes_of(left));
    left->words = NULL;
}

size_t l1_left_bytes(const struct l1_left *left)
{
    return atomic_load_explicit(&left->lines, memory_order_relaxed) * L1_LINE_BYTES;
}

/* The line by the top bits of a product, the bits by the hash itself. */
static _Atomic uint64_t *line_of(const struct l1_left *left, uint64_t hash)
{
    uint64_t line = hash * 0x9e3779b97f4a7c15u >> (64 - left->lines_log2);
    return left->words + line * LINE_WORDS;
}

static unsigned bit_of(uint64_t hash, unsigned number)
{
    return (unsigned)(hash >> number * BIT_LOG2) % LINE_BITS;
}

void l1_note_left(struct l1 *l1, uint64_t hash)
{
    struct l1_left *left = &l1->left;
    _Atomic uint64_t *line = line_of(left, hash);
    if (!(atomic_fetch_or_explicit(line, LINE_USED, memory_order_relaxed) & LINE_USED)) {
        atomic_fetch_add_explicit(&left->lines, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&l1->used, L1_LINE_BYTES, memory_order_relaxed);
    }
    for (unsigned i = 0; i < BITS; i++) {
        unsigned bit = bit_of(hash, i);
        atomic_fetch_or_explicit(&line[bit / 64], 1ull << bit % 64, memory_order_relaxed);
    }
}

bool l1_may_have_left(const struct l1 *l1, uint64_t hash)
{
    const struct l1_left *left = &l1->left;
    if (!atomic_load_explicit(&left->lines, memory_order_relaxed)) /* touch none of them */
        return false;
    const _Atomic uint64_t *line = line_of(left, hash);
    bool all = true;
    for (unsigned i = 0; i < BITS && all; i++) {
        unsigned bit = bit_of(hash, i);
        all = atomic_load_explicit(&line[bit / 64], memory_order_relaxed) >> bit % 64 & 1;
    }
    return all;
}
