/* net_rig: net with one worker and a handler of its own: what is held, parked, too much or too
 * late, at will of the test; and clients. Requests are lines: e = echo, h = held echo, p = park
 * once, m = ask the main thread once, b N = N bytes, s = the worker stands still until it is let
 * go, t = tells how many e were run, q = close. */
#ifndef T_LIB_NET_RIG_H
#define T_LIB_NET_RIG_H

#include "net/net_int.h"

#include <semaphore.h>

#define WAIT_MS        30000
#define SILENCE_MS     100
#define NET_RIG_IDLE_S 5
#define TICK_MS        1500       /* a tick has passed by then */
#define ANSWER_MAX     1400       /* of a datagram */
#define HEAD_BYTES     8          /* ... in front of it */
#define FAIL_LSN       UINT64_MAX /* reached: what is held has failed */

struct session {
    struct net_conn *conn;
    bool waited; /* its request p or m has been waited for */
    size_t left; /* input that was not used */
    struct net_task ask, resume;
};

struct net_rig {
    struct net *net;
    struct fake_env *fake;
    pthread_t runner;
    unsigned port;
    char folder[32], path[64];
    _Atomic uint64_t lsn_given, lsn_reached, live_holds_max, hangups;
    _Atomic(struct session *) parked;
    sem_t stands, goes_on;
    _Atomic size_t in_cap, out_cap, holds_cap; /* as the last e saw them */
    _Atomic size_t idle_bytes;                 /* buffers of all others, the same */
    _Atomic unsigned pooled, pooled_min;       /* large buffers: as the last e saw, as any b saw */
    _Atomic unsigned came_max;                 /* bytes of input since the last call */
    _Atomic unsigned foreseen, foreseen_max;   /* inputs: in all, of one look */
    _Atomic unsigned echoes;
    _Atomic unsigned unanswered_max; /* that an e saw run and not sent */
};

/* Of the process, for the handler has no other way to it. */
extern struct net_rig net_rig;

void net_rig_set_up(void);
/* The thread that listens ends; the worker goes on. */
void net_rig_end_run(void);
void net_rig_tear_down(void);
/* A stop on a thread of its own, for tests of what happens meanwhile. */
void net_rig_begin_stop(pthread_t *stopper);
void net_rig_end_stop(pthread_t stopper);
/* What is left of a net that was stopped. */
void net_rig_free(void);

/* Takes up what p has parked. */
void net_rig_resume(struct session *session);
/* The journal is so far. */
void net_rig_reach(uint64_t lsn);
/* A connection whose worker stands still: what others say next it finds all at once. Then it waits
 * for net_rig.goes_on. */
int net_rig_stand_still(void);

int net_rig_connect_unix(void);
void net_rig_connect_unix_by(int fd); /* a socket that is not connected yet */
int net_rig_connect_udp(void);
void net_rig_say(int fd, const char *text);
bool net_rig_is_silent(int fd, int wait_ms);
/* Exactly these bytes come next; the end comes, and the client leaves. */
void net_rig_expect(int fd, const char *text);
void net_rig_expect_end(int fd);
/* So many bytes come, whatever they are. */
void net_rig_expect_bytes(int fd, size_t bytes);
void net_rig_send_datagram(int fd, const char *line);
void net_rig_expect_datagram(int fd, const char *answer);

uint64_t net_rig_read_stat(const char *name);
void net_rig_wait_stat(const char *name, uint64_t value);

#endif
