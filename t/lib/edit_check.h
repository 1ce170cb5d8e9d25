/* edit_check: a step in place is the step (I12 of doc/cart-model.md). */
#ifndef T_EDIT_CHECK_H
#define T_EDIT_CHECK_H

#include "cart/cart.h"

enum edit_verdict {
    EDIT_DIFFERS = -1, /* from cart_apply, in state or result */
    EDIT_NOT = 0,      /* not one of those that are done in place; nothing was touched */
    EDIT_SAME = 1,
};

/* Does the step of a cart without peers both ways. The step itself stays as it is; it has at most 8
 * ops, else EDIT_NOT. */
enum edit_verdict edit_check(struct slice state, const struct cart_step *step);

#endif
