/* sim_life: one life of the daemon: what src/cartd.c builds, but on the simulated world. */
#include "sim/sim.h"

#include "cmd/cmd.h"
#include "guard/guard.h"
#include "tier/tier.h"

#include <stdio.h>
#include <stdlib.h>

#define DATA_DIR      "/data"
#define L3_URL        "sqlite:sim"
#define STOP_MS       10000
#define VALUE_MAX     (1u << 20)
#define STATE_MAX     (256u << 10)
#define HISTORY_BYTES (1u << 20)

struct daemon {
    struct guard *guard;
    struct cmd *cmd;
    struct tier *tier;
    struct net *net;
};

static struct daemon daemon_now;

static void on_advanced(void *ctx)
{
    net_advanced(((struct daemon *)ctx)->net);
}

static int on_expire(void *ctx, struct slice key)
{
    return cmd_expire(((struct daemon *)ctx)->cmd, key);
}

static struct tier_config tier_config_of(struct daemon *daemon)
{
    return (struct tier_config){.env = sim_env(),
                                .data_dir = DATA_DIR,
                                .l3_url = L3_URL,
                                .l1_bytes_max = sim->rules.l1_bytes,
                                .value = cmd_tier_value(),
                                .state_record = CMD_RECORD_STATE,
                                .pair_record = CMD_RECORD_PAIR,
                                .history_bytes = HISTORY_BYTES,
                                .advanced = on_advanced,
                                .expire = on_expire,
                                .ctx = daemon};
}

static void build_cmd(struct daemon *daemon)
{
    char message[256];
    const struct guard_config guard = {.env = sim_env()};
    const struct cmd_bucket bucket = {.name = "cart",
                                      .prefixes = "cart:",
                                      .class = CMD_CART,
                                      .limits = {200, CART_QTY_HARD, 512, STATE_MAX},
                                      .ack = ACK_SYNC,
                                      .redirect_life_us = 86400000000u,
                                      .merge_policy = CART_POLICY_MAX};
    MUST(guard_new(&guard, &daemon->guard, message, sizeof message) == 0);
    const struct cmd_config config = {.env = sim_env(),
                                      .buckets = &bucket,
                                      .buckets_count = 1,
                                      .value_bytes_max = VALUE_MAX,
                                      .rescue_bytes_max = VALUE_MAX,
                                      .workers = sim->rules.workers,
                                      .version = "sim",
                                      .guard = daemon->guard};
    MUST(cmd_new(&config, &daemon->cmd) == 0);
}

/* ---- what the seed has in store ---- */

static void arm_crash(void)
{
    if (sim_chance(500))
        sim->crash_call = sim->calls + 1 + sim_below(40);
    else
        sim->crash_step = sim->steps + 1 + sim_below(5000);
}

static void run_crash(void *arg)
{
    (void)arg;
    sim_sleep_us(1 + sim_below(sim->rules.life_ms) * 1000);
    arm_crash();
}

static void run_jump(void *arg)
{
    (void)arg;
    sim_sleep_us(sim->rules.jump_at_us - sim->mono_us);
    sim_trace("the clock jumps by %lld s", (long long)(sim->rules.jump_us / 1000000));
    sim->wall_jump_us += sim->rules.jump_us;
}

static void tell_rules(void)
{
    const struct sim_rules *rules = &sim->rules;
    static const char *const names[] = {
#define X(name, what) #name,
        SIM_FAULTS(X)
#undef X
    };
    sim_trace("life %u: %u ms, %u clients, %u workers, %s", sim->life, rules->life_ms,
              rules->clients, rules->workers,
              !rules->crashes ? "stop"
              : rules->power  ? "power loss"
                              : "kill");
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i++)
        for (unsigned j = 0; j < SIM_WINDOWS_MAX; j++)
            if (rules->windows[i][j].to_us)
                sim_trace("%s from %.3f to %.3f, %u of 1000", names[i],
                          (double)rules->windows[i][j].from_us / 1e6,
                          (double)rules->windows[i][j].to_us / 1e6, rules->windows[i][j].per_mille);
}

static void begin_fate(void)
{
    tell_rules();
    if (sim->rules.jump_at_us)
        sim_spawn("jump", run_jump, NULL);
    if (!sim->rules.crashes)
        return;
    if (sim_chance(250))
        arm_crash();
    else
        sim_spawn("crash", run_crash, NULL);
}

/* ---- a life ---- */

void sim_life_judge(void)
{
    const struct l1 *l1 = tier_l1(daemon_now.tier);
    if (l1_used(l1) > l1_limit(l1))
        sim_fail("L1 has %zu bytes of %zu", l1_used(l1), l1_limit(l1));
}

static void refuse(const char *what, const char *message, bool last)
{
    if (last)
        sim_fail("%s: %s, with no fault left", what, message);
    sim_trace("%s: %s", what, message);
    sim_exit(SIM_CUT_OFF);
}

_Noreturn void sim_life(bool last)
{
    struct daemon *daemon = &daemon_now;
    char message[256];
    sim_fibers_begin();
    begin_fate();
    build_cmd(daemon);
    struct tier_config config = tier_config_of(daemon);
    if (tier_open(&config, &daemon->tier, message, sizeof message))
        refuse("open", message, last);
    daemon->net = sim_net_new(cmd_net_handler(daemon->cmd), sim->rules.workers);
    cmd_attach(daemon->cmd, daemon->net, daemon->tier);
    int rc = tier_start(daemon->tier, cmd_replay, daemon->cmd);
    if (rc)
        sim_fail("start: %s", err_text(rc));
    sim_shop_run(daemon->net, sim->mono_us + sim->rules.life_ms * 1000ull, last);
    sim_net_stop(daemon->net);
    rc = tier_stop(&daemon->tier, STOP_MS);
    if (rc)
        refuse("stop", err_text(rc), last);
    cmd_free(&daemon->cmd);
    guard_free(&daemon->guard);
    sim_exit(SIM_STOPPED);
}

/* Sectors that reached the disk in another order leave good records behind bad ones, which verify
 * cannot tell from rot: its parts are no broken promise. */
static void tell(void *ctx, const char *line)
{
    unsigned parts;
    sim_trace("verify: %s", line);
    if (sscanf(line, "journal: %u corrupt parts", &parts) == 1)
        *(unsigned *)ctx += parts;
}

_Noreturn void sim_life_verify(bool last)
{
    unsigned unordered = 0;
    const struct tier_verify_config how = {.tell = tell, .ctx = &unordered};
    struct tier_config config = tier_config_of(&daemon_now);
    struct tier_verdict found;
    char message[256];
    sim_fibers_begin();
    int rc = tier_verify(&config, &how, &found, message, sizeof message);
    if (rc && last)
        sim_fail("verify: %s", message);
    if (rc == 0 && found.differences > (last ? 0 : unordered))
        sim_fail("verify finds %u differences", (unsigned)found.differences);
    if (last && found.behind)
        sim_fail("verify: %u carts are not in L3", (unsigned)found.behind);
    sim_exit(SIM_STOPPED);
}
