#include "base/base.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define GIVE_WAY_NICE 5 /* a third of the share of a thread that does not */

/* Ranks are increasing per thread, and at most two locks have the same, so bit masks are enough. */
static _Thread_local unsigned held_mask, held_twice_mask;

/* Of the calling thread; unlike pthread_self() no call. */
static unsigned long thread_id(void)
{
    return (unsigned long)&held_mask;
}

static void mark_taken(struct lock *lock)
{
    held_mask |= 1u << lock->_rank;
    atomic_store_explicit(&lock->_owner, thread_id(), memory_order_relaxed);
}

static void mark_dropped(struct lock *lock)
{
    MUST(lock_held(lock));
    atomic_store_explicit(&lock->_owner, 0, memory_order_relaxed);
    unsigned bit = 1u << lock->_rank;
    if (held_twice_mask & bit)
        held_twice_mask &= ~bit;
    else
        held_mask &= ~bit;
}

void lock_init(struct lock *lock, enum lock_rank rank)
{
    MUST(pthread_mutex_init(&lock->_mutex, NULL) == 0);
    lock->_rank = rank;
    atomic_init(&lock->_owner, 0);
    atomic_init(&lock->_firsts, 0);
}

void lock_fini(struct lock *lock)
{
    MUST(pthread_mutex_destroy(&lock->_mutex) == 0);
}

void lock_take(struct lock *lock)
{
    MUST(held_mask >> lock->_rank == 0); /* lock order: see LOCK_TABLE */
    while (__builtin_expect(atomic_load_explicit(&lock->_firsts, memory_order_relaxed) != 0, 0))
        sched_yield();
    MUST(pthread_mutex_lock(&lock->_mutex) == 0);
    mark_taken(lock);
}

void lock_take_second(struct lock *lock)
{
    MUST(held_mask >> lock->_rank == 1 && !(held_twice_mask >> lock->_rank));
    MUST(pthread_mutex_lock(&lock->_mutex) == 0);
    held_twice_mask |= 1u << lock->_rank;
    mark_taken(lock);
}

void lock_take_first(struct lock *lock)
{
    MUST(held_mask >> lock->_rank == 0);
    atomic_fetch_add_explicit(&lock->_firsts, 1, memory_order_relaxed);
    MUST(pthread_mutex_lock(&lock->_mutex) == 0);
    atomic_fetch_sub_explicit(&lock->_firsts, 1, memory_order_relaxed);
    mark_taken(lock);
}

void lock_drop(struct lock *lock)
{
    mark_dropped(lock);
    MUST(pthread_mutex_unlock(&lock->_mutex) == 0);
}

bool lock_held(const struct lock *lock)
{
    return atomic_load_explicit(&lock->_owner, memory_order_relaxed) == thread_id();
}

void cond_init(struct cond *cond)
{
    pthread_condattr_t attr;
    MUST(pthread_condattr_init(&attr) == 0);
    MUST(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    MUST(pthread_cond_init(&cond->_cond, &attr) == 0);
    pthread_condattr_destroy(&attr);
}

void cond_fini(struct cond *cond)
{
    MUST(pthread_cond_destroy(&cond->_cond) == 0);
}

bool cond_wait(struct cond *cond, struct lock *lock, unsigned timeout_ms)
{
    int rc;
    mark_dropped(lock);
    if (timeout_ms == 0) {
        rc = pthread_cond_wait(&cond->_cond, &lock->_mutex);
    } else {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += timeout_ms / 1000;
        until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        rc = pthread_cond_timedwait(&cond->_cond, &lock->_mutex, &until);
    }
    mark_taken(lock);
    MUST(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

void cond_wake(struct cond *cond)
{
    MUST(pthread_cond_signal(&cond->_cond) == 0);
}

void cond_wake_all(struct cond *cond)
{
    MUST(pthread_cond_broadcast(&cond->_cond) == 0);
}

int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    MUST(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    int rc = pthread_create(thread, NULL, run, arg);
    MUST(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (rc)
        return CE_NOMEM;
    pthread_setname_np(*thread, name);
    return 0;
}

void thread_background(void)
{
    struct sched_param param = {0};
    if (pthread_setschedparam(pthread_self(), SCHED_BATCH, &param))
        log_debug("base", "no batch scheduling here"); /* slower, not wrong */
}

void thread_give_way(void)
{
    thread_background();
    if (setpriority(PRIO_PROCESS, (id_t)gettid(), GIVE_WAY_NICE))
        log_debug("base", "no nice thread here");
}
