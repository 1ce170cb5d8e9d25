/* sim_world: the shared memory, chance, the trace. */
#include "sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORLD_BYTES (256u << 20)

struct sim *sim;
bool sim_verbose;

void sim_world_make(void)
{
    sim = mmap(NULL, WORLD_BYTES, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MUST(sim != MAP_FAILED);
    sim->used = sizeof *sim;
}

void sim_world_begin(uint64_t seed)
{
    memset(sim, 0, sim->used);
    sim->used = sizeof *sim;
    sim->seed = seed;
    sim->random = seed * 0x9e3779b97f4a7c15u + 1;
    sim->hash = 0xcbf29ce484222325u;
    sim->mono_us = 1000000000;
    sim->crash_step = sim->crash_call = UINT64_MAX;
    sim_rules_choose();
    sim_disk_new();
    sim_db_new();
    sim_shop_new();
}

void *sim_alloc(size_t bytes)
{
    size_t at = (sim->used + 15) & ~(size_t)15;
    MUST(at + bytes <= WORLD_BYTES);
    sim->used = at + bytes;
    return (char *)sim + at;
}

/* splitmix64 */
uint64_t sim_random(void)
{
    uint64_t z = sim->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t sim_below(uint64_t limit)
{
    return limit ? sim_random() % limit : 0;
}

bool sim_chance(unsigned per_mille)
{
    return per_mille && sim_below(1000) < per_mille;
}

void sim_note(uint64_t value)
{
    sim->hash = (sim->hash ^ value) * 0x100000001b3u;
}

static void keep(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        sim->trace[sim->trace_len++ % SIM_TRACE_BYTES] = line[i];
        sim_note((uint8_t)line[i]);
    }
    if (sim_verbose)
        MUST(write(STDOUT_FILENO, line, len) == (ssize_t)len);
}

static void trace(const char *format, va_list args)
{
    char line[600];
    int len = snprintf(line, sizeof line, "%u %9.3f ", sim->life, (double)sim->mono_us / 1e6);
    int more = vsnprintf(line + len, sizeof line - (size_t)len - 1, format, args);
    len += more < (int)sizeof line - len - 2 ? more : (int)sizeof line - len - 2;
    line[len++] = '\n';
    keep(line, (size_t)len);
}

void sim_trace(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    trace(format, args);
    va_end(args);
}

void sim_trace_print(size_t lines)
{
    size_t end = sim->trace_len, at = end;
    size_t oldest = end > SIM_TRACE_BYTES ? end - SIM_TRACE_BYTES : 0;
    while (at > oldest && lines) {
        at--;
        lines -= sim->trace[at % SIM_TRACE_BYTES] == '\n' && at + 1 != end;
    }
    for (; at < end; at++)
        putchar(sim->trace[at % SIM_TRACE_BYTES]);
    putchar('\n');
    fflush(stdout);
}

_Noreturn void sim_exit(enum sim_exit how)
{
    fflush(stdout);
    _exit(how);
}

_Noreturn void sim_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(sim->reason, sizeof sim->reason, format, args);
    va_end(args);
    sim->failed = true;
    sim_trace("FAILED %s", sim->reason);
    sim_exit(SIM_FAILED);
}

/* ---- in place of base/log.c: what the daemon says goes into the trace ---- */

void log_level_set(enum log_level max)
{
    (void)max;
}

void log_write(enum log_level level, const char *room, const char *format, ...)
{
    char text[400];
    va_list args;
    if (level > LOG_INFO)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sim_trace("log %s: %s", room, text);
    if (strstr(text, "can't be applied to"))
        sim_fail("a record of the journal belongs to nothing, though no byte has rotted");
}

_Noreturn void must_fail(const char *file, int line, const char *func, const char *what)
{
    if (!sim || sim == MAP_FAILED) {
        fprintf(stderr, "%s:%d %s: %s\n", file, line, func, what);
        abort();
    }
    sim_fail("MUST at %s:%d %s: %s", file, line, func, what);
}
