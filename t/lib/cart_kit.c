#include "cart_kit.h"
#include "edit_check.h"
#include "lib/suite.h"

#include <stdlib.h>

void kit_init(struct kit *kit, uint64_t actor)
{
    *kit = (struct kit){.limits = CART_LIMITS_DEFAULT};
    kit->limits.qty_max = 999;
    MUST(cart_new(&kit->cart) == 0);
    kit->step.actor = actor;
    kit->step.now_us = KIT_START_US;
    kit->step.limits = &kit->limits;
}

void kit_fini(struct kit *kit)
{
    cart_free(&kit->cart);
    buf_free(&kit->state);
}

static void take_state(struct kit *kit)
{
    struct slice state;
    MUST(cart_store(kit->cart, &state) == 0);
    MUST(cart_check(state) == 0);
    kit->state.len = 0;
    MUST(buf_append(&kit->state, state.bytes, state.len) == 0);
}

int kit_run(struct kit *kit, struct cart_op *ops, size_t ops_count)
{
    struct cart_step step = kit->step;
    step.ops = ops;
    step.ops_count = ops_count;
    MUST(edit_check(kit_state(kit), &step) != EDIT_DIFFERS);
    MUST(cart_load(kit->cart, kit_state(kit)) == 0);
    int err = cart_apply(kit->cart, &step, &kit->result);
    if (err == 0)
        take_state(kit);
    kit->step.now_us += 1000000;
    kit->step.token = slice_of(NULL, 0);
    kit->step.has_if_cas = false;
    kit->step.life = CART_LIFE_KEEP;
    kit->step.currency[0] = 0;
    return err;
}

int kit_op(struct kit *kit, struct cart_op op)
{
    return kit_run(kit, &op, 1);
}

int kit_add(struct kit *kit, const char *line, int64_t n)
{
    return kit_op(kit, (struct cart_op){.kind = CART_ADD, .line = slice_str(line), .n = n});
}

int kit_set(struct kit *kit, const char *line, int64_t n)
{
    return kit_op(kit, (struct cart_op){.kind = CART_SET, .line = slice_str(line), .n = n});
}

int kit_remove(struct kit *kit, const char *line)
{
    return kit_op(kit, (struct cart_op){.kind = CART_REMOVE, .line = slice_str(line)});
}

int kit_add_token(struct kit *kit, const char *line, int64_t n, const char *token)
{
    kit->step.token = slice_str(token);
    return kit_add(kit, line, n);
}

int kit_merge(struct kit *kit, const struct kit *other)
{
    MUST(cart_load(kit->cart, kit_state(kit)) == 0);
    int err = cart_merge(kit->cart, kit_state(other));
    if (err == 0)
        take_state(kit);
    return err;
}

struct slice kit_state(const struct kit *kit)
{
    return buf_slice(&kit->state);
}

struct cart_summary kit_summary(const struct kit *kit)
{
    struct cart_summary summary;
    cart_summary(kit_state(kit), kit->step.now_us, &summary);
    return summary;
}

int64_t kit_qty(const struct kit *kit, const char *line)
{
    struct cart_line found;
    int err = cart_line_find(kit_state(kit), kit->step.now_us, slice_str(line), &found);
    return err ? 0 : found.qty;
}

struct cart_line kit_line(const struct kit *kit, const char *line)
{
    struct cart_line found;
    MUST(cart_line_find(kit_state(kit), kit->step.now_us, slice_str(line), &found) == 0);
    return found;
}

int kit_main(const char *name, const TTest *const *tests, size_t tests_count, void (*setup)(void),
             void (*teardown)(void))
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < tests_count; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
