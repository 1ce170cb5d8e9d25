/* cart_kit: one copy of a cart for tests, with a clock of its own. Each call loads, applies and
 * stores, as a worker does; after every change the state must be canonical. */
#ifndef T_CART_KIT_H
#define T_CART_KIT_H

#include "cart/cart.h"

#include <check.h>

#define KIT_START_US 1790000000000000ull

struct kit {
    struct cart *cart;
    struct buf state;
    struct cart_limits limits;
    struct cart_step step; /* what the next call uses beside its ops; token and conditions reset */
    struct cart_result result;
};

void kit_init(struct kit *kit, uint64_t actor);
void kit_fini(struct kit *kit);

/* Applies ops at kit->step.now_us, which then moves on by a second. Returns what cart_apply did. */
int kit_run(struct kit *kit, struct cart_op *ops, size_t ops_count);
int kit_op(struct kit *kit, struct cart_op op);
int kit_add(struct kit *kit, const char *line, int64_t n);
int kit_set(struct kit *kit, const char *line, int64_t n);
int kit_remove(struct kit *kit, const char *line);
int kit_add_token(struct kit *kit, const char *line, int64_t n, const char *token);

/* Merges the other's state in. */
int kit_merge(struct kit *kit, const struct kit *other);

struct slice kit_state(const struct kit *kit);
struct cart_summary kit_summary(const struct kit *kit);

/* Visible quantity, 0 when there is no such line. */
int64_t kit_qty(const struct kit *kit, const char *line);
/* The line itself; a test that calls this for a line that is not there aborts. */
struct cart_line kit_line(const struct kit *kit, const char *line);

/* Runs the tests of one program, each with its fixture; the exit status of main. */
int kit_main(const char *name, const TTest *const *tests, size_t tests_count, void (*setup)(void),
             void (*teardown)(void));

#endif
