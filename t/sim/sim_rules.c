/* sim_rules: what a seed decides before it begins, and before each life. */
#include "sim/sim.h"

static const unsigned switch_chances[] = {2, 10, 50, 200};

void sim_rules_choose(void)
{
    struct sim_rules *rules = &sim->rules;
    rules->lives = 1 + (unsigned)sim_below(SIM_LIVES_MAX - 1);
    rules->clients = 1 + (unsigned)sim_below(SIM_CLIENTS_MAX);
    rules->workers = 1 + (unsigned)sim_below(2);
    rules->switch_per_mille = switch_chances[sim_below(4)];
    rules->l1_bytes = (unsigned)(1024 + sim_below(1024)) << 10;
    rules->has_jumps = sim_chance(300);
    rules->has_filler = sim_chance(300);
    bool calm = sim_chance(200);
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++)
        rules->has_fault[i] = !calm && sim_chance(300);
}

static void open_windows(enum sim_fault fault)
{
    struct sim_window *windows = sim->rules.windows[fault];
    unsigned count = 1 + (unsigned)sim_below(SIM_WINDOWS_MAX);
    for (unsigned i = 0; i < count; i++) {
        uint64_t from_ms = sim_chance(300) ? 0 : sim_below(sim->rules.life_ms);
        windows[i].from_us = sim->mono_us + from_ms * 1000;
        windows[i].to_us = windows[i].from_us + (1 + sim_below(2500)) * 1000;
        windows[i].per_mille = sim_chance(500) ? 1000 : 50 + (unsigned)sim_below(500);
    }
}

/* Within the ten minutes that tokens are remembered, whatever the number of lives, and also when
 * the clock is set right in the end. */
static void choose_jump(struct sim_rules *rules)
{
    rules->jump_at_us = sim->mono_us + sim_below(rules->life_ms) * 1000;
    int64_t s = sim_chance(500) ? (int64_t)sim_below(60) : -(int64_t)sim_below(90);
    rules->jump_us = s * 1000000;
}

void sim_rules_life(bool quiet)
{
    struct sim_rules *rules = &sim->rules;
    memset(rules->windows, 0, sizeof rules->windows);
    rules->jump_at_us = 0;
    rules->crashes = rules->power = false;
    rules->life_ms = 500 + (unsigned)sim_below(SIM_LIFE_MS_MAX);
    sim->crash_step = sim->crash_call = UINT64_MAX;
    if (quiet)
        return;
    rules->crashes = sim_chance(850);
    rules->power = sim_chance(600);
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++)
        if (rules->has_fault[i] && sim_chance(700))
            open_windows((enum sim_fault)i);
    if (rules->has_jumps)
        choose_jump(rules);
}

static const struct sim_window *find_window(enum sim_fault fault)
{
    const struct sim_window *windows = sim->rules.windows[fault];
    for (unsigned i = 0; i < SIM_WINDOWS_MAX; i++)
        if (sim->mono_us >= windows[i].from_us && sim->mono_us < windows[i].to_us)
            return &windows[i];
    return NULL;
}

bool sim_is_open(enum sim_fault fault)
{
    return find_window(fault) != NULL;
}

bool sim_strikes(enum sim_fault fault)
{
    const struct sim_window *window = find_window(fault);
    return window && sim_chance(window->per_mille);
}
