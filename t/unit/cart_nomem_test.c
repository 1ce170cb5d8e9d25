/* Every allocation of the cart room fails once: the call says CE_NOMEM, nothing leaks or crashes,
 * and the next try on the same scratch works. Sanitizers own the allocator, so there nothing is
 * made to fail and only the successful way is run. */
#include "cart_kit.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_FAIL 0
#else
#define CAN_FAIL 1
#endif

static long fail_at = -1; /* allocations until one fails, -1 = none does */

#if CAN_FAIL
void *__libc_realloc(void *old, size_t len);
void *__libc_calloc(size_t count, size_t len);

static bool fails(void)
{
    return fail_at >= 0 && fail_at-- == 0;
}

void *realloc(void *old, size_t len)
{
    return fails() ? NULL : __libc_realloc(old, len);
}

void *calloc(size_t count, size_t len)
{
    return fails() ? NULL : __libc_calloc(count, len);
}
#endif

static struct kit a, b;
static struct buf out;

static void fill(struct kit *kit, int lines)
{
    char line[8] = "l0", token[8] = "t0";
    for (int i = 0; i < lines; i++) {
        line[1] = token[1] = (char)('A' + i);
        kit_add_token(kit, line, i + 1, token);
    }
}

static void setup(void)
{
    kit_init(&a, 2ull << 32);
    kit_init(&b, 1ull << 32);
    a.step.fold = b.step.fold = CART_FOLD_OWN;
    out = (struct buf){0};
    fill(&a, 20);
    fill(&b, 25);
}

static void teardown(void)
{
    kit_fini(&a);
    kit_fini(&b);
    buf_free(&out);
}

/* The calls under test, each from nothing; 0 or an error. */
static int make_step(struct cart *cart)
{
    struct cart_op ops[] = {
        {.kind = CART_ADD, .line = slice_str("lA"), .n = 1},
        {.kind = CART_SWAP, .line = slice_str("lB"), .new_line = slice_str("n")},
        {.kind = CART_CHECK, .n = 0}};
    struct cart_step step = a.step;
    struct slice state;
    step.actor = 5; /* joins before all others: places change */
    step.token = slice_str("one");
    step.ops = ops;
    step.ops_count = 3;
    int err = cart_load(cart, kit_state(&a));
    if (!err)
        err = cart_apply(cart, &step, &a.result);
    if (!err)
        err = cart_store(cart, &state);
    if (!err)
        err = cart_step_encode(&step, &out);
    return err;
}

static int join(struct cart *cart)
{
    struct slice state;
    int err = cart_load(cart, kit_state(&a));
    if (!err)
        err = cart_merge(cart, kit_state(&b));
    return err ? err : cart_store(cart, &state);
}

static int read_all(struct cart *cart)
{
    (void)cart;
    int err = cart_check(kit_state(&a));
    return err ? err : cart_json(kit_state(&a), 0, slice_str("k"), CART_JSON_ALL, &out);
}

static void fail_each(int (*call)(struct cart *cart))
{
    int failures = 0;
    for (long nth = 0;; nth++) {
        struct cart *cart;
        ck_assert_int_eq(cart_new(&cart), 0);
        buf_free(&out);
        fail_at = CAN_FAIL ? nth : -1;
        int err = call(cart);
        bool was_reached = fail_at < 0;
        fail_at = -1;
        ck_assert(err == 0 || err == CE_NOMEM);
        failures += err != 0;
        ck_assert_int_eq(call(cart), 0);
        cart_free(&cart);
        if (err == 0 && (!CAN_FAIL || !was_reached))
            break;
        ck_assert_int_ne(err, 0); /* a failed allocation is not swallowed */
    }
    ck_assert(!CAN_FAIL || failures > 2);
}

START_TEST(steps)
{
    fail_each(make_step);
}
END_TEST

START_TEST(merges)
{
    fail_each(join);
}
END_TEST

START_TEST(readers)
{
    fail_each(read_all);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {steps, merges, readers};
    return kit_main("cart_nomem", tests, sizeof(tests) / sizeof(*tests), setup, teardown);
}
