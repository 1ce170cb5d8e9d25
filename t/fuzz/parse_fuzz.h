/* parse_fuzz: what the fuzz targets of the three parsers share. A target gives its parser and what
 * must hold of a result; this walks the input as a connection would, and cuts it. */
#ifndef T_FUZZ_PARSE_FUZZ_H
#define T_FUZZ_PARSE_FUZZ_H

#include "proto/proto.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VALUE_MAX      64
#define ALL_CUTS_BELOW 512 /* bytes; longer inputs are cut at a few places only */

struct parsed {
    enum parse result;
    struct request request;
    size_t used, want;
    int error;
    bool fatal;
};

struct parse_fuzz {
    enum parse (*parse)(struct slice in, size_t value_bytes_max, struct request *request,
                        size_t *used, size_t *want, int *error, bool *fatal);
    void (*check_result)(const struct parsed *p, struct slice in);
    /* Of results that agree in outcome, length, error, verb, flags, exptime, cas, delta, key,
     * value. */
    void (*check_same)(const struct request *a, struct slice in, const struct request *b,
                       struct slice b_in);
    void (*check_whole)(const struct parsed *p, struct slice in); /* replies to it, and the like */
};

static inline struct parsed parse_bytes(const struct parse_fuzz *fuzz, struct slice in)
{
    struct parsed p;
    p.result = fuzz->parse(in, VALUE_MAX, &p.request, &p.used, &p.want, &p.error, &p.fatal);
    return p;
}

static inline void check_inside(struct slice part, struct slice in, size_t len_max)
{
    MUST(part.len <= len_max);
    if (part.len)
        MUST(part.bytes >= in.bytes && part.bytes + part.len <= in.bytes + in.len);
}

static inline bool same_place(struct slice a, struct slice a_in, struct slice b, struct slice b_in)
{
    return a.len == b.len && (a.len == 0 || a.bytes - a_in.bytes == b.bytes - b_in.bytes);
}

static inline void check_same(const struct parse_fuzz *fuzz, const struct parsed *p,
                              struct slice in, const struct parsed *q, struct slice q_in)
{
    const struct request *a = &p->request, *b = &q->request;
    MUST(p->result == q->result && p->used == q->used && p->error == q->error);
    MUST(p->fatal == q->fatal && a->verb == b->verb);
    MUST(a->flags == b->flags && a->exptime == b->exptime);
    MUST(a->cas == b->cas && a->delta == b->delta);
    MUST(same_place(a->key, in, b->key, q_in) && same_place(a->value, in, b->value, q_in));
    fuzz->check_same(a, in, b, q_in);
}

/* A prefix in memory of exactly its size: MORE, or the result of the whole. */
static inline void check_prefix(const struct parse_fuzz *fuzz, struct slice in, size_t len,
                                const struct parsed *whole)
{
    uint8_t *copy = malloc(len ? len : 1);
    MUST(copy);
    memcpy(copy, in.bytes, len);
    struct slice prefix = slice_of(copy, len);
    struct parsed p = parse_bytes(fuzz, prefix);
    fuzz->check_result(&p, prefix);
    if (p.result == PARSE_MORE)
        MUST(whole->result == PARSE_MORE || p.want <= whole->used);
    else
        check_same(fuzz, &p, prefix, whole, in);
    if (whole->result != PARSE_MORE && len >= whole->used)
        MUST(p.result != PARSE_MORE);
    free(copy);
}

static inline void check_prefixes(const struct parse_fuzz *fuzz, struct slice in,
                                  const struct parsed *whole)
{
    size_t step = in.len < ALL_CUTS_BELOW ? 1 : in.len / 16;
    for (size_t len = 0; len < in.len; len += step)
        check_prefix(fuzz, in, len, whole);
    if (whole->result != PARSE_MORE && whole->used <= in.len)
        check_prefix(fuzz, in, whole->used, whole);
}

/* All requests of the input in turn. */
static inline int parse_fuzz_run(const struct parse_fuzz *fuzz, struct slice in)
{
    while (in.len) {
        struct parsed whole = parse_bytes(fuzz, in);
        fuzz->check_result(&whole, in);
        check_prefixes(fuzz, in, &whole);
        fuzz->check_whole(&whole, in);
        if (whole.result == PARSE_MORE || whole.fatal || whole.used >= in.len)
            break;
        in = slice_from(in, whole.used);
    }
    return 0;
}

#endif
