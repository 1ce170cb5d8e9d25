/* l1_fixture: an L1 to test, on an allocator that counts every byte and can fail. Defines the
 * functions of l1_mem.c, so that file is left out of programs that use this. */
#ifndef LIB_L1_FIXTURE_H
#define LIB_L1_FIXTURE_H

#include "tier/l1/l1_int.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB        ((size_t)1 << 20)
#define LIMIT      (64 * MIB)
#define CALLS_MANY INT64_MAX

/* Bytes taken and not given back, and how many more calls succeed. */
extern _Atomic int64_t mem_live, mem_calls_left;

/* The L1 of the test; l1_set_up and l1_tear_down are its checked fixture. */
extern struct l1 *l1;
void l1_set_up(void);
void l1_tear_down(void);

struct name {
    char text[L1_KEY_MAX + 1];
};
struct name name_of(const char *prefix, unsigned n);

/* Names that fall into the stripe of "home". */
void find_neighbours(struct name *names, unsigned count);
unsigned stripe_of(const char *key);

/* splitmix64: a stream of numbers that is the same in every run. */
uint64_t next_random(uint64_t *state);

struct stats {
#define X(name, what) uint64_t name;
    L1_STATS(X)
#undef X
    unsigned calls;
};

/* Checks `bytes` against what was really taken. Only while no other thread works. */
struct stats get_stats(void);

/* Puts `len` bytes of `fill`; 0 or the error. */
int put_slice(struct slice key, enum l1_kind kind, size_t len, uint8_t fill);
void put(const char *key, enum l1_kind kind, size_t len, uint8_t fill);
int mark_dirty(struct slice key);
void put_dirty(const char *key, size_t len, uint8_t fill);

/* Length of the value, -1 when absent; checks that every byte is `fill`. Counts as a use. */
int look(const char *text, uint8_t fill);
bool remove_key(const char *text);

struct taken {
    struct name names[64];
    unsigned count;
    unsigned refuse_at; /* take_one says no at this count */
};

/* Looks at a stripe's dirty carts and takes up to `max`, until `each` says no; returns how many. */
size_t take_dirty(struct l1 *from, unsigned stripe, size_t max,
                  int (*each)(void *arg, uint64_t hash, struct l1_item *item), void *arg);
/* For l1_dirty_take; arg = struct taken. */
int take_one(void *arg, uint64_t hash, struct l1_item *item);
/* Takes up to `max` from the stripe of the key. */
struct taken take_from(const char *key, size_t max);
void unpin(const char *key, bool ok);

/* Drops everything that may be dropped. */
void evict_all(void);

/* A case whose tests run between l1_set_up and l1_tear_down. */
TCase *add_case(Suite *suite, const char *name);

#endif
