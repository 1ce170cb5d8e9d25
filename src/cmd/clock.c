/* clock: memcached's seconds: counted from shortly before the start, so that 0 can mean never. */
#include "cmd/cmd_int.h"

#define CLOCK_START_S 2 /* as memcached: an item stored at once is younger than "before start" */
#define RELATIVE_MAX_S                                                                             \
    (60 * 60 * 24 * 30) /* a longer exptime is a Unix time (memcached protocol) */
#define EXPIRED_S 1     /* a time that is over, and not 0 */

/* Another worker may have read the clock later and been faster: never back. */
void clock_read(struct cmd *cmd)
{
    uint64_t ms = env_mono_ms(cmd->config.env) - cmd->start_mono_ms;
    uint32_t now_s = (uint32_t)(ms / 1000) + CLOCK_START_S, seen_s = clock_now_s(cmd);
    while (now_s > seen_s && !atomic_compare_exchange_weak(&cmd->now_s, &seen_s, now_s))
        ;
}

uint32_t clock_now_s(const struct cmd *cmd)
{
    return atomic_load_explicit(&cmd->now_s, memory_order_relaxed);
}

uint32_t clock_exptime_s(const struct cmd *cmd, int64_t exptime)
{
    if (exptime == 0)
        return 0;
    if (exptime < 0)
        return EXPIRED_S;
    if (exptime <= RELATIVE_MAX_S)
        return clock_now_s(cmd) + (uint32_t)exptime;
    uint64_t started_s = cmd->start_wall_s - CLOCK_START_S;
    if ((uint64_t)exptime <= started_s + EXPIRED_S)
        return EXPIRED_S;
    uint64_t relative_s = (uint64_t)exptime - started_s;
    return relative_s > UINT32_MAX ? UINT32_MAX : (uint32_t)relative_s;
}

int64_t clock_exptime_of(const struct cmd *cmd, uint64_t life_us)
{
    int64_t life_s = (int64_t)(life_us / 1000000);
    if (life_s <= RELATIVE_MAX_S)
        return life_s;
    return life_s + (int64_t)clock_wall_s(cmd, clock_now_s(cmd));
}

uint64_t clock_wall_s(const struct cmd *cmd, uint32_t at_s)
{
    return cmd->start_wall_s - CLOCK_START_S + at_s;
}

uint64_t clock_life_us(const struct cmd *cmd, int64_t exptime)
{
    uint64_t now_us = env_wall_us(cmd->config.env);
    if (exptime == 0)
        return 0;
    if (exptime < 0)
        return now_us;
    if (exptime <= RELATIVE_MAX_S)
        return now_us + (uint64_t)exptime * 1000000;
    return (uint64_t)exptime > UINT64_MAX / 1000000 ? 0 : (uint64_t)exptime * 1000000;
}
