/* cart_oracle: what a cart must be, from causality alone. It knows events and who had seen which,
 * as sets of bits; no version vector, no merge, no bytes. An add counts unless an event that had
 * seen it killed its line; of several events with one token the smallest dot stands for all. */
#ifndef T_CART_ORACLE_H
#define T_CART_ORACLE_H

#include "cart/cart.h"

enum { ORACLE_KEYS = 4, ORACLE_EVENTS = 64 };

typedef uint64_t oracle_set; /* bit i = event i */

enum oracle_kind { ORACLE_NONE, ORACLE_ADD, ORACLE_SET };

struct oracle_info {
    bool there, checked, has_price;
    int64_t price;
    uint64_t added_us, updated_us;
};

/* What one event did to one line. */
struct oracle_effect {
    bool kill; /* dropped all of the line that it had seen */
    enum oracle_kind kind;
    int64_t qty;
    uint64_t ts_us; /* of a SET */
    struct oracle_info info;
};

struct oracle_event {
    oracle_set past;
    uint64_t actor, seq, stamp_us;
    int token; /* 0 = none */
    struct oracle_effect on[ORACLE_KEYS];
    bool wrote_meta, alive;
    int moved; /* 1 + the key that names the cart it became part of; 0 = none */
    uint64_t expiry_us;
    struct cart_result answer; /* of the implementation, for retries */
};

struct oracle {
    struct oracle_event events[ORACLE_EVENTS];
    int count;
};

struct oracle_line {
    int64_t sum, qty;
    oracle_set live, dead, hidden; /* events with an ADD or SET here */
    struct oracle_info info;
};

struct oracle_meta {
    bool alive;
    int moved;
    uint64_t expiry_us;
};

/* How a step must end. */
struct oracle_verdict {
    int err;
    bool changed, expired;
    int repeats; /* event whose answer is repeated, -1 = none */
    int64_t line_qty;
};

struct slice oracle_key(int key);

void oracle_line(const struct oracle *oracle, oracle_set known, int key, struct oracle_line *out);
struct oracle_meta oracle_meta(const struct oracle *oracle, oracle_set known);
uint64_t oracle_stamp(const struct oracle *oracle, oracle_set known);

/* Plays a step at a copy that knows `known`; adds an event when the verdict is changed. */
struct oracle_verdict oracle_step(struct oracle *oracle, oracle_set known,
                                  const struct cart_step *step, uint64_t seq, int token);

#endif
