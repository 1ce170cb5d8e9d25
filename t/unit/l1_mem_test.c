/* l1_mem and l1_heap: pieces do not overlap and keep their bytes, what is free is whole again, and
 * memory that nobody uses is given back. */
#include "lib/suite.h"
#include "tier/l1/l1_int.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECES      4000
#define STEPS       50000
#define SEEDS       4
#define SMALL_MAX   1200
#define PIECE_MAX   (L1_SPAN_BYTES / 4)
#define THREADS     4
#define CHUNK_BYTES ((size_t)2 << 20)

struct piece {
    uint8_t *mem;
    size_t bytes;
    uint8_t fill;
};

static uint64_t state;

static uint64_t below(uint64_t limit)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % limit;
}

/* Most are small, some as large as pieces get, some larger: those come from elsewhere. */
static size_t pick_bytes(void)
{
    switch (below(40)) {
    case 0: return 1 + below(PIECE_MAX);
    case 1: return PIECE_MAX + below(PIECE_MAX);
    case 2: return below(9);
    default: return 1 + below(SMALL_MAX);
    }
}

static void fill(struct piece *piece, uint64_t number)
{
    piece->fill = (uint8_t)(1 + number % 255);
    memset(piece->mem, piece->fill, piece->bytes);
}

static void expect_filled(const struct piece *piece)
{
    ck_assert_uint_eq(piece->mem[0], piece->fill);
    ck_assert(memcmp(piece->mem, piece->mem + 1, piece->bytes - 1) == 0);
}

static void take(struct piece *piece, size_t bytes, uint64_t number)
{
    piece->mem = l1_mem_new(bytes);
    ck_assert_ptr_nonnull(piece->mem);
    ck_assert_uint_eq((uintptr_t)piece->mem % _Alignof(struct l1_item), 0);
    ck_assert_uint_ge(l1_mem_usable(piece->mem), bytes);
    ck_assert_uint_le(l1_mem_cost(piece->mem), bytes + 56);
    piece->bytes = l1_mem_usable(piece->mem); /* all of it may be written */
    fill(piece, number);
}

static void give(struct piece *piece)
{
    expect_filled(piece);
    l1_mem_free(piece->mem);
    piece->mem = NULL;
}

static void churn(struct piece *pieces, uint64_t seed)
{
    state = seed;
    for (uint64_t step = 0; step < STEPS; step++) {
        struct piece *piece = &pieces[below(PIECES)];
        if (piece->mem)
            give(piece);
        else
            take(piece, pick_bytes(), step);
    }
    for (size_t i = 0; i < PIECES; i++)
        if (pieces[i].mem)
            give(&pieces[i]);
}

START_TEST(pieces_keep_what_was_written)
{
    static struct piece pieces[PIECES];
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        churn(pieces, seed);
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------ */

#define SHARED 64

static void *_Atomic shared[SHARED];

/* Takes, and frees what others have taken. */
static void *pass_on(void *arg)
{
    uint64_t number = (uintptr_t)arg;
    for (unsigned i = 0; i < 50000; i++) {
        number = number * 6364136223846793005u + 1;
        size_t bytes = sizeof(size_t) + (number >> 40) % 2000;
        size_t *mem = l1_mem_new(bytes);
        MUST(mem);
        memset(mem, 0xa5, bytes);
        *mem = bytes;
        size_t *other = atomic_exchange(&shared[(number >> 33) % SHARED], mem);
        if (!other)
            continue;
        const uint8_t *rest = (uint8_t *)(other + 1);
        for (size_t at = 0; at < *other - sizeof *other; at++)
            MUST(rest[at] == 0xa5);
        l1_mem_free(other);
    }
    return NULL;
}

START_TEST(pieces_go_back_from_any_thread)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, pass_on, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < SHARED; i++)
        l1_mem_free(shared[i]);
}
END_TEST

/* ---- spans, with a heap of the test's own -------------------------------------------------- */

/* AddressSanitizer: there are no spans. ThreadSanitizer: it has memory of its own beside ours. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_SPANS 0
#else
#define HAS_SPANS 1
#endif
#if defined(__SANITIZE_THREAD__)
#define SHADOW_BYTES ((uint64_t)1 << 30)
#else
#define SHADOW_BYTES 0
#endif

static struct l1_heap heap;

static uint64_t resident_bytes(void)
{
    unsigned long all, resident;
    FILE *file = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%lu %lu", &all, &resident), 2);
    fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Fills memory with pieces of `bytes`, `count` of them, and frees them in the given stride. */
static void fill_and_empty(size_t bytes, size_t count, size_t stride)
{
    uint8_t **pieces = calloc(count, sizeof *pieces);
    ck_assert_ptr_nonnull(pieces);
    for (size_t i = 0; i < count; i++) {
        pieces[i] = l1_heap_new(&heap, bytes);
        ck_assert_ptr_nonnull(pieces[i]);
        memset(pieces[i], 1, bytes);
    }
    for (size_t i = 0, at = 0; i < count; i++, at = (at + stride) % count)
        l1_heap_free(pieces[at]);
    free(pieces);
}

START_TEST(all_that_is_free_is_given_back)
{
    static const size_t bytes[] = {56, 170, 1000, 40000};
    l1_mem_free(l1_mem_new(1)); /* there is a pool */
    l1_heap_init(&heap);
    uint64_t before = resident_bytes();
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
        size_t count = ((size_t)32 << 20) / bytes[i] | 1;
        fill_and_empty(bytes[i], count, 2); /* odd count: the stride meets each once */
        ck_assert_uint_eq(heap.whole_spans, 1);
        ck_assert_uint_lt(resident_bytes(), before + 3 * CHUNK_BYTES + SHADOW_BYTES);
    }
}
END_TEST

/* Between pieces that stay, two neighbours that go make room for one of twice the size. */
START_TEST(neighbours_become_one)
{
    uint8_t *pieces[100];
    l1_mem_free(l1_mem_new(1));
    l1_heap_init(&heap);
    for (unsigned i = 0; i < 100; i++)
        pieces[i] = l1_heap_new(&heap, 504);
    for (unsigned i = 0; i < 96; i += 4) {
        l1_heap_free(pieces[i + 1]);
        l1_heap_free(pieces[i]);
    }
    for (unsigned i = 0; i < 96; i += 4) {
        uint8_t *mem = l1_heap_new(&heap, 2 * 512 - 8);
        ck_assert(mem >= pieces[0] && mem < pieces[99]);
    }
}
END_TEST

/* l1_foresee holds no lock, so what it reads may have been freed; of pieces of the C library's it
 * would end with SIGSEGV. */
START_TEST(what_was_freed_may_be_read_where_it_stays)
{
    static uint8_t *pieces[200];
    uint8_t *large = l1_mem_new(64 * PIECE_MAX);
    ck_assert(!l1_mem_stays(NULL) && !l1_mem_stays(large));
    l1_mem_free(large);
    for (unsigned i = 0; i < 200; i++) {
        pieces[i] = l1_mem_new(PIECE_MAX - 8);
        ck_assert(l1_mem_stays(pieces[i]) && l1_mem_stays(pieces[i] + PIECE_MAX - 9));
    }
    for (unsigned i = 0; i < 200; i++)
        l1_mem_free(pieces[i]);
    ck_assert_uint_lt(l1_mem_held(), (size_t)200 * PIECE_MAX / 2); /* chunks are gone */
    for (unsigned i = 0; i < 200; i++)
        (void)*(volatile uint8_t *)(pieces[i] + PIECE_MAX / 2);
}
END_TEST

static void add_tests(TCase *tests)
{
    const TTest *const all[] = {
        pieces_keep_what_was_written,
        pieces_go_back_from_any_thread,
        /* of spans */
        all_that_is_free_is_given_back,
        neighbours_become_one,
        what_was_freed_may_be_read_where_it_stays,
    };
    size_t count = sizeof all / sizeof *all - (HAS_SPANS ? 0 : 3);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tests, all[i]);
}

int main(void)
{
    Suite *suite = suite_create("l1_mem");
    TCase *tests = tcase_create("l1_mem");
    tcase_set_timeout(tests, 60);
    add_tests(tests);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
