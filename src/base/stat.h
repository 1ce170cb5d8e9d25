/* stat: how modules hand out their counters. A module lists them in one X-macro table beside its
 * code and emits each through the sink; cmd prints them, docs and checks read the same names. */
#ifndef BASE_STAT_H
#define BASE_STAT_H

#include <stdint.h>

struct stat_sink {
    void (*u64)(void *ctx, const char *name, uint64_t value);
    void (*text)(void *ctx, const char *name, const char *value);
    void *ctx;
};

static inline void stat_u64(const struct stat_sink *sink, const char *name, uint64_t value)
{
    sink->u64(sink->ctx, name, value);
}

static inline void stat_text(const struct stat_sink *sink, const char *name, const char *value)
{
    sink->text(sink->ctx, name, value);
}

#endif
