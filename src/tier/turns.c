/* turns: a thread that works in turns and rests between them, until it is stopped. Its owner's
 * function does the work; it asks here whether to go on. */
#include "tier/tier_int.h"

void turns_init(struct turns *turns)
{
    lock_init(&turns->lock, LOCK_L2_QUEUE);
    cond_init(&turns->cond);
}

void turns_fini(struct turns *turns)
{
    cond_fini(&turns->cond);
    lock_fini(&turns->lock);
}

int turns_start(struct turns *turns, const char *name, void *(*run)(void *arg), void *arg)
{
    if (turns->started)
        return 0;
    int rc = thread_start(&turns->thread, name, run, arg);
    turns->started = rc == 0;
    return rc;
}

void turns_stop(struct turns *turns)
{
    if (!turns->started)
        return;
    lock_take(&turns->lock);
    turns->stopping = true;
    cond_wake(&turns->cond);
    lock_drop(&turns->lock);
    MUST(pthread_join(turns->thread, NULL) == 0);
    turns->started = false;
}

bool turns_rest(struct turns *turns, unsigned ms)
{
    lock_take(&turns->lock);
    bool timed_out = ms == 0;
    while (!turns->stopping && !timed_out)
        timed_out = !cond_wait(&turns->cond, &turns->lock, ms);
    bool go = !turns->stopping;
    lock_drop(&turns->lock);
    return go;
}
