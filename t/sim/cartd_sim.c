/* cartd_sim: usage: cartd_sim [--seeds A..B [--first]] [--seed N [-v]]. See README.md. */
#include "sim/sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEEDS_DEFAULT    200
#define TRACE_LINES      60
#define GAP_MS_MAX       3000
#define VERIFY_PER_MILLE 200

static _Noreturn void usage(void)
{
    fprintf(stderr, "usage: cartd_sim [--seeds A..B [--first]] [--seed N [-v]]\n");
    exit(2);
}

/* What a process made of the world says how it went on. */
static enum sim_exit run_process(void (*life)(bool last), bool last)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0)
        life(last);
    MUST(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && !sim->failed)
        return (enum sim_exit)WEXITSTATUS(status);
    if (!sim->failed) {
        snprintf(sim->reason, sizeof sim->reason, "ended by %s", strsignal(WTERMSIG(status)));
        sim->failed = true;
    }
    return SIM_FAILED;
}

/* What is left for the next life. */
static void settle(enum sim_exit how)
{
    enum sim_end end = how == SIM_STOPPED ? SIM_END_STOP : SIM_END_KILL;
    if (how != SIM_STOPPED && sim->rules.power)
        end = SIM_END_POWER;
    if (end == SIM_END_POWER)
        sim_disk_power_loss();
    sim_shop_crashed(end);
    sim->mono_us += sim_below(GAP_MS_MAX) * 1000;
}

static bool verify(bool last)
{
    sim_rules_life(true);
    return run_process(sim_life_verify, last) != SIM_FAILED;
}

static bool run_seed(uint64_t seed)
{
    int64_t latest_jump_us = 0;
    sim_world_begin(seed);
    for (sim->life = 1; sim->life <= sim->rules.lives; sim->life++) {
        sim_rules_life(false);
        enum sim_exit how = run_process(sim_life, false);
        if (how == SIM_FAILED)
            return false;
        settle(how);
        if (latest_jump_us < sim->wall_jump_us)
            latest_jump_us = sim->wall_jump_us;
        if (sim_chance(VERIFY_PER_MILLE) && !verify(false))
            return false;
    }
    sim->wall_jump_us = latest_jump_us; /* somebody has set it right */
    sim_rules_life(true);
    return run_process(sim_life, true) != SIM_FAILED && verify(true);
}

static void tell_failure(uint64_t seed)
{
    printf("---- seed %llu: the last of its trace\n", (unsigned long long)seed);
    if (!sim_verbose)
        sim_trace_print(TRACE_LINES);
    printf("seed %llu FAILED: %s\nagain: t/sim/cartd_sim --seed %llu -v\n",
           (unsigned long long)seed, sim->reason, (unsigned long long)seed);
    fflush(stdout);
}

static void read_args(int argc, char **argv, uint64_t *first, uint64_t *last, bool *ends_early)
{
    for (int i = 1; i < argc; i++) {
        unsigned long long from, to;
        char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "-v") == 0) {
            sim_verbose = true;
        } else if (strcmp(argv[i], "--first") == 0) {
            *ends_early = true;
        } else if (value && strcmp(argv[i], "--seed") == 0 && sscanf(value, "%llu", &from) == 1) {
            *first = *last = from;
            i++;
        } else if (value && strcmp(argv[i], "--seeds") == 0 &&
                   sscanf(value, "%llu..%llu", &from, &to) == 2) {
            *first = from;
            *last = to;
            i++;
        } else {
            usage();
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t first = 1, last = SEEDS_DEFAULT, passed = 0, failed = 0;
    bool ends_early = false;
    read_args(argc, argv, &first, &last, &ends_early);
    sim_world_make();
    hash_ring(slice_str("")); /* makes ready what need not be made in each life */
    for (uint64_t seed = first; seed <= last && !(ends_early && failed); seed++) {
        bool held = run_seed(seed);
        passed += held;
        failed += !held;
        if (!held)
            tell_failure(seed);
        if (first == last)
            printf("seed %llu: %u lives, %llu steps, hash %016llx\n", (unsigned long long)seed,
                   sim->life, (unsigned long long)sim->steps, (unsigned long long)sim->hash);
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed != 0;
}
