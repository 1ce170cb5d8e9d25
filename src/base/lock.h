/* lock: mutexes with a name and a rank. A thread may only take a lock of a higher rank than any it
 * holds; the table below is that order, and taking one out of order is a bug that aborts. */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* In order of acquisition. */
#define LOCK_TABLE(X)                                                                              \
    X(GUARD, "users, and questions about them")                                                    \
    X(FILL, "single flight of read-through")                                                       \
    X(HISTORY, "questions about a cart's history")                                                 \
    X(OPERATOR, "an operator's job; waits for SQL")                                                \
    X(L3, "one database connection")                                                               \
    X(STRIPE, "a stripe of L1")                                                                    \
    X(L1_HEAP, "free pieces of memory for items")                                                  \
    X(L1_POOL, "spans of memory for items")                                                        \
    X(RECENT, "what clients of rescued keys have read")                                            \
    X(ROOM, "requests that wait for memory")                                                       \
    X(BEHIND, "the write-behind queue")                                                            \
    X(L2_QUEUE, "orders for the L2 writer")                                                        \
    X(L2_VIEWS, "what L2 was at some moment")                                                      \
    X(JOURNAL, "the journal's gathering buffer")                                                   \
    X(MAILBOX, "messages for a worker")

enum lock_rank {
    LOCK_RANK_NONE_,
#define X(name, what) LOCK_##name,
    LOCK_TABLE(X)
#undef X
};

struct lock {
    pthread_mutex_t _mutex;
    enum lock_rank _rank;
    _Atomic unsigned long _owner; /* thread that holds it, 0 when free */
    _Atomic unsigned _firsts;     /* who waits in lock_take_first */
};

void lock_init(struct lock *lock, enum lock_rank rank);
void lock_fini(struct lock *lock);
void lock_take(struct lock *lock);
/* A second lock of the highest rank that is held; who needs two takes them in order of address. */
void lock_take_second(struct lock *lock);
void lock_drop(struct lock *lock);
/* As lock_take, but those who call lock_take let it go first. For a background thread that would
 * otherwise never get a lock that many threads take again and again: pthread mutexes are not fair.
 */
void lock_take_first(struct lock *lock);
/* True when the calling thread holds it; for MUST(lock_held(..)) at the head of *_locked(). */
bool lock_held(const struct lock *lock);

/* A condition that goes with one lock. timeout_ms 0 = wait for ever; returns false on time-out.
 * Time-outs run on the monotonic clock. */
struct cond {
    pthread_cond_t _cond;
};
void cond_init(struct cond *cond);
void cond_fini(struct cond *cond);
bool cond_wait(struct cond *cond, struct lock *lock, unsigned timeout_ms);
void cond_wake(struct cond *cond);
void cond_wake_all(struct cond *cond);

/* Starts a named thread with all signals blocked (main takes them); CE_NOMEM when there is none to
 * be had. Join with pthread_join. */
int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
    __attribute__((warn_unused_result));

/* Called by a thread that works behind the replies: being woken does not push aside who runs now,
 * so on a busy core it finds all that gathered meanwhile. */
void thread_background(void);

/* The same, and on a busy core others go first. Threads that it starts inherit this. For work that
 * no reply waits for. */
void thread_give_way(void);

#endif
