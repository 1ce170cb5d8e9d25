/* load: the parts of the load generator. It speaks to one server on the loopback, from one thread,
 * and knows nothing of how a server works: requests out, replies in, every reply checked. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LOAD_VALUE_BYTES_MAX 65536
#define LOAD_LINES_MAX       200
#define LOAD_KEYS_MAX        99999999 /* keys have eight digits */

/* ---- hist: latencies in logarithmic buckets, each at most 1/64 wide -------------------------- */

#define HIST_SUB_BITS 6
#define HIST_BUCKETS  ((64 - HIST_SUB_BITS + 1) << HIST_SUB_BITS)

struct hist {
    uint64_t buckets[HIST_BUCKETS];
    uint64_t count, max_ns;
};

void hist_add(struct hist *hist, uint64_t ns);
/* The least value that `part` (0..1) of all are not above, to the width of a bucket; 0 if empty. */
uint64_t hist_quantile_ns(const struct hist *hist, double part);

/* ---- pick: which key is next ----------------------------------------------------------------- */

struct pick {
    uint64_t state; /* of the random numbers */
    uint32_t keys;
    double theta; /* 0 = uniform */
    double low, high, shortcut;
    double scan_part;   /* of the picks go to keys that are asked for once, behind the others */
    uint32_t scan_next; /* the next of these */
};

void pick_init(struct pick *pick, uint64_t seed, uint32_t keys, double theta);
uint64_t pick_random(struct pick *pick);
/* 0..keys-1; with theta > 0 the lower, the more often. With scan_part also higher ones, in turn. */
uint32_t pick_key(struct pick *pick);

/* ---- work: what is asked, and what a good answer is ------------------------------------------ */

struct shape {
    uint32_t value_bytes, lines;
    char ack;       /* r, o, s, or 0: as the server thinks */
    char token[16]; /* unlike that of any other run */
    char *value;    /* what every item holds; owned */
    char *scratch;  /* room for one reply; owned */
    size_t request_bytes_max;
};

/* One request that is on its way. */
struct op {
    uint64_t number;
    uint64_t start_ns; /* sent, or, at a given rate, when it should have been */
    uint32_t key, line;
    bool is_fill; /* writes what was missed */
};

enum reply { REPLY_MORE, REPLY_GOOD, REPLY_MISS, REPLY_BAD };

struct work {
    const char *protocol, *name;
    const char *preload; /* the work, of the same protocol, that writes what this one needs */
    bool per_line;       /* as a preload: once for every line of every key */
    size_t (*write)(const struct shape *shape, const struct op *op, char *out);
    enum reply (*read)(const struct shape *shape, const struct op *op, const char *in, size_t len,
                       size_t *used);
};

const struct work *work_find(const char *protocol, const char *name);
void work_list(FILE *out);
/* Fills in what follows from value_bytes and lines. False without memory. */
bool shape_init(struct shape *shape, uint64_t seed);
void shape_free(struct shape *shape);

/* ---- run: drive the connections ------------------------------------------------------------- */

struct plan {
    const struct work *work;
    const struct shape *shape;
    struct pick *pick; /* NULL: every key (and line) once, in turn */
    unsigned port, conns, depth;
    uint64_t ops;            /* 0: as many as fit into `seconds` */
    double seconds;          /* 0: until all ops are done */
    double rate;             /* ops per second over all connections; 0: closed loop */
    const struct work *fill; /* closed loop: what is missed is written with it, as an application
                                does it in front of a cache; NULL: not */
    bool sliding;            /* refill as replies come, instead of when all of a batch are in */
    unsigned timeout_s;
};

struct outcome {
    uint64_t ops, errors, misses;
    double seconds, cpu_seconds; /* cpu: of the generator */
    struct hist hist;
    char first_error[200];
};

/* False, with first_error saying why, when it could not be carried through. */
bool run_plan(const struct plan *plan, struct outcome *outcome);

#endif
