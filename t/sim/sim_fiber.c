/* sim_fiber: the threads of the process as fibers of one, chosen by the seed, and its clock. The
 * functions of pthread that our code, LevelDB and the C++ library call are defined here, so they
 * bind to these. Of a mutex, condition or lock only the fields that glibc's own init and destroy
 * leave at zero are used.
 *
 * Thread-local variables of the program are saved and restored with each switch. Time goes on by a
 * little with each step, and to the earliest time-out when all wait. */
#include "sim/sim.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define FIBERS_MAX     64
#define STACK_BYTES    (512u << 10)
#define STEPS_STILL    20000000 /* so many without time going on are an endless loop */
#define STEPS_IN_US    2 /* work takes time, too: who tries again for a second comes to an end */
#define NAME_BYTES_MAX 16

struct fiber {
    enum { FREE, READY, WAITING, DONE } state;
    char name[NAME_BYTES_MAX];
    const void *waits_on;
    uint64_t wakes_at_us; /* 0 = never by itself */
    bool timed_out;
    int saved_errno;
    void *tls, *stack;
    void *(*run)(void *arg);
    void *arg, *result;
    bool entered;
    ucontext_t context; /* to enter it, */
    jmp_buf jump;       /* and to go on */
};

static struct fiber fibers[FIBERS_MAX] = {{.state = READY, .name = "main", .entered = true}};
static unsigned fiber_count = 1;
static struct fiber *current = &fibers[0];
static bool begun;
static uint64_t still_steps;

/* ---- thread-local variables ---- */

static char *tls_block;
static size_t tls_bytes;
static void *tls_fresh;

static int find_tls(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size, (void)arg;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            tls_block = info->dlpi_tls_data;
            tls_bytes = info->dlpi_phdr[i].p_memsz;
        }
    }
    return 1; /* the program is the first */
}

void sim_fibers_begin(void)
{
    dl_iterate_phdr(find_tls, NULL);
    tls_fresh = malloc(tls_bytes + 1);
    fibers[0].tls = malloc(tls_bytes + 1);
    MUST(tls_fresh && fibers[0].tls);
    memcpy(tls_fresh, tls_block, tls_bytes);
    begun = true;
}

/* ---- choosing ---- */

/* swapcontext would ask the kernel for the signal mask each time. */
static void jump_to(struct fiber *from, struct fiber *next)
{
    if (_setjmp(from->jump))
        return;
    if (next->entered)
        _longjmp(next->jump, 1);
    next->entered = true;
    setcontext(&next->context);
    abort();
}

static void switch_to(struct fiber *next)
{
    struct fiber *from = current;
    if (next == from)
        return;
    sim_note((uint64_t)(next - fibers) + 1);
    memcpy(from->tls, tls_block, tls_bytes);
    from->saved_errno = errno;
    current = next;
    jump_to(from, next);
    memcpy(tls_block, from->tls, tls_bytes);
    errno = from->saved_errno;
}

static struct fiber *choose_ready(void)
{
    struct fiber *ready[FIBERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < fiber_count; i++)
        if (fibers[i].state == READY)
            ready[count++] = &fibers[i];
    return count ? ready[sim_below(count)] : NULL;
}

static void die_if_due(void)
{
    if (sim->steps < sim->crash_step && sim->calls < sim->crash_call)
        return;
    sim_trace("the process dies in %s", current->name);
    sim_exit(SIM_CRASHED);
}

static void tell_who_waits(void)
{
    for (unsigned i = 0; i < fiber_count; i++)
        if (fibers[i].state != FREE && fibers[i].state != DONE)
            sim_trace("fiber %s: %s", fibers[i].name,
                      fibers[i].state == READY ? "ready" : "waiting");
}

/* All wait: to the earliest time-out. */
static void pass_time(void)
{
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < fiber_count; i++)
        if (fibers[i].state == WAITING && fibers[i].wakes_at_us && fibers[i].wakes_at_us < next)
            next = fibers[i].wakes_at_us;
    if (next == UINT64_MAX) {
        tell_who_waits();
        sim_fail("all threads wait for ever");
    }
    if (next > sim->mono_us)
        sim->mono_us = next;
    still_steps = 0;
    for (unsigned i = 0; i < fiber_count; i++) {
        if (fibers[i].state != WAITING || !fibers[i].wakes_at_us || fibers[i].wakes_at_us > next)
            continue;
        fibers[i].state = READY;
        fibers[i].timed_out = true;
    }
}

static void run_another(void)
{
    struct fiber *next;
    while (!(next = choose_ready()))
        pass_time();
    switch_to(next);
}

void sim_step(void)
{
    if (!begun)
        return;
    sim->steps++;
    sim->mono_us += sim->steps % STEPS_IN_US == 0;
    die_if_due();
    if (++still_steps > STEPS_STILL) {
        tell_who_waits();
        sim_fail("an endless loop in %s", current->name);
    }
    if (sim_chance(sim->rules.switch_per_mille))
        run_another();
}

void sim_call_step(void)
{
    sim->calls++;
    sim_step();
}

/* ---- waiting ---- */

bool sim_wait(const void *object, uint64_t timeout_us)
{
    MUST(begun);
    current->waits_on = object;
    current->wakes_at_us = timeout_us ? sim->mono_us + timeout_us : 0;
    current->timed_out = false;
    current->state = WAITING;
    run_another();
    current->waits_on = NULL;
    return !current->timed_out;
}

void sim_sleep_us(uint64_t us)
{
    if (us)
        sim_wait(NULL, us);
}

static bool is_waiting_on(const struct fiber *fiber, const void *object)
{
    return fiber->state == WAITING && fiber->waits_on == object;
}

void sim_wake(const void *object)
{
    for (unsigned i = 0; i < fiber_count; i++)
        if (is_waiting_on(&fibers[i], object))
            fibers[i].state = READY;
}

/* One of those who wait, whichever. */
static void wake_one(const void *object)
{
    struct fiber *waiting[FIBERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < fiber_count; i++)
        if (is_waiting_on(&fibers[i], object))
            waiting[count++] = &fibers[i];
    if (count)
        waiting[sim_below(count)]->state = READY;
}

/* ---- fibers ---- */

static void enter(void)
{
    memcpy(tls_block, tls_fresh, tls_bytes);
    current->result = current->run(current->arg);
    current->state = DONE;
    sim_wake(current);
    run_another();
    abort();
}

static struct fiber *find_free(void)
{
    for (unsigned i = 1; i < fiber_count; i++)
        if (fibers[i].state == FREE)
            return &fibers[i];
    MUST(fiber_count < FIBERS_MAX);
    return &fibers[fiber_count++];
}

static struct fiber *spawn(const char *name, void *(*run)(void *arg), void *arg)
{
    struct fiber *fiber = find_free();
    MUST(begun);
    if (!fiber->stack) {
        fiber->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        fiber->tls = malloc(tls_bytes + 1);
        MUST(fiber->stack != MAP_FAILED && fiber->tls);
        MUST(mprotect(fiber->stack, 4096, PROT_NONE) == 0);
    }
    snprintf(fiber->name, sizeof fiber->name, "%s", name);
    fiber->run = run;
    fiber->arg = arg;
    fiber->entered = false;
    MUST(getcontext(&fiber->context) == 0);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_BYTES;
    fiber->context.uc_link = NULL;
    makecontext(&fiber->context, enter, 0);
    fiber->state = READY;
    return fiber;
}

struct plain_run {
    void (*run)(void *arg);
    void *arg;
};

static void *run_plain(void *arg)
{
    struct plain_run plain = *(struct plain_run *)arg;
    free(arg);
    plain.run(plain.arg);
    return NULL;
}

void sim_spawn(const char *name, void (*run)(void *arg), void *arg)
{
    struct plain_run *plain = malloc(sizeof *plain);
    MUST(plain);
    *plain = (struct plain_run){run, arg};
    spawn(name, run_plain, plain);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    (void)attr;
    struct fiber *fiber = spawn("thread", run, arg);
    *thread = (pthread_t)(fiber - fibers);
    sim_step();
    return 0;
}

int pthread_join(pthread_t thread, void **result)
{
    struct fiber *fiber = &fibers[thread];
    MUST(thread < fiber_count && fiber->state != FREE && fiber != current);
    while (fiber->state != DONE)
        sim_wait(fiber, 0);
    if (result)
        *result = fiber->result;
    fiber->state = FREE;
    return 0;
}

int pthread_setname_np(pthread_t thread, const char *name)
{
    snprintf(fibers[thread].name, sizeof fibers[thread].name, "%s", name);
    return 0;
}

int pthread_setschedparam(pthread_t thread, int policy, const struct sched_param *param)
{
    (void)thread, (void)policy, (void)param;
    return 0;
}

int setpriority(__priority_which_t which, id_t who, int priority)
{
    (void)which, (void)who, (void)priority;
    return 0;
}

int sched_yield(void)
{
    if (begun)
        sim_sleep_us(1); /* who waits for somebody who sleeps must let time go on */
    return 0;
}

/* ---- mutexes ---- */

static int me(void)
{
    return (int)(current - fibers) + 1;
}

static bool is_recursive(const pthread_mutex_t *mutex)
{
    return (mutex->__data.__kind & 3) == PTHREAD_MUTEX_RECURSIVE;
}

static int lock_mutex(pthread_mutex_t *mutex)
{
    while (mutex->__data.__lock) {
        if (mutex->__data.__owner == me() && is_recursive(mutex)) {
            mutex->__data.__count++;
            return 0;
        }
        MUST(mutex->__data.__owner != me());
        sim_wait(mutex, 0);
    }
    mutex->__data.__lock = 1;
    mutex->__data.__owner = me();
    return 0;
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    sim_step();
    return lock_mutex(mutex);
}

int pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    sim_step();
    bool is_ours = mutex->__data.__owner == me() && is_recursive(mutex);
    return mutex->__data.__lock && !is_ours ? EBUSY : lock_mutex(mutex);
}

static int unlock_mutex(pthread_mutex_t *mutex)
{
    MUST(mutex->__data.__lock && mutex->__data.__owner == me());
    if (mutex->__data.__count) {
        mutex->__data.__count--;
        return 0;
    }
    mutex->__data.__lock = 0;
    mutex->__data.__owner = 0;
    sim_wake(mutex);
    return 0;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    unlock_mutex(mutex);
    sim_step();
    return 0;
}

/* ---- conditions ---- */

static int wait_cond(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t timeout_us)
{
    unlock_mutex(mutex);
    bool woken = sim_wait(cond, timeout_us);
    lock_mutex(mutex);
    return woken ? 0 : ETIMEDOUT;
}

int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    return wait_cond(cond, mutex, 0);
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                           const struct timespec *until)
{
    uint64_t until_us = (uint64_t)until->tv_sec * 1000000 + (uint64_t)until->tv_nsec / 1000;
    return wait_cond(cond, mutex, until_us > sim->mono_us ? until_us - sim->mono_us : 1);
}

int pthread_cond_signal(pthread_cond_t *cond)
{
    wake_one(cond);
    sim_step();
    return 0;
}

int pthread_cond_broadcast(pthread_cond_t *cond)
{
    sim_wake(cond);
    sim_step();
    return 0;
}

/* ---- locks of readers and writers: waiting writers first ---- */

int pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    sim_step();
    while (lock->__data.__cur_writer || lock->__data.__writers)
        sim_wait(lock, 0);
    lock->__data.__readers++;
    return 0;
}

int pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    sim_step();
    lock->__data.__writers++;
    while (lock->__data.__cur_writer || lock->__data.__readers)
        sim_wait(lock, 0);
    lock->__data.__writers--;
    lock->__data.__cur_writer = me();
    return 0;
}

int pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
    if (lock->__data.__cur_writer == me()) {
        lock->__data.__cur_writer = 0;
    } else {
        MUST(lock->__data.__readers > 0);
        lock->__data.__readers--;
    }
    sim_wake(lock);
    sim_step();
    return 0;
}

/* ---- once: 0 not yet, 1 somebody is at it, 2 done ---- */

int pthread_once(pthread_once_t *once, void (*run)(void))
{
    while (*once == 1)
        sim_wait(once, 0);
    if (*once == 0) {
        *once = 1;
        run();
        *once = 2;
        sim_wake(once);
    }
    return 0;
}

/* ---- the clock ---- */

uint64_t sim_wall_us(void)
{
    return 1790000000000000u + sim->mono_us + (uint64_t)sim->wall_jump_us;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    if (!sim)
        return (int)syscall(SYS_clock_gettime, clock, out);
    uint64_t us = clock == CLOCK_REALTIME ? sim_wall_us() : sim->mono_us;
    out->tv_sec = (time_t)(us / 1000000);
    out->tv_nsec = (long)(us % 1000000) * 1000;
    return 0;
}
