/* guard_rig: a guard with a password file in memory, someone who asks it, and what it logs. */
#ifndef T_LIB_GUARD_RIG_H
#define T_LIB_GUARD_RIG_H

#include "guard/guard.h"
#include "lib/fake_env.h"

#include <pthread.h>

#define RIG_FILE     "/etc/users"
#define RIG_TEXT_MAX 512

/* One per test process. */
struct guard_rig {
    struct fake_env *fake;
    struct guard_config config; /* env is set */
    struct guard *guard;
    char message[RIG_TEXT_MAX]; /* of the last guard_rig_start or rig_reload */
};

void guard_rig_open(struct guard_rig *rig);
void rig_close(struct guard_rig *rig);
/* The password file, from here on. */
void rig_file(struct guard_rig *rig, const char *text);
void rig_file_bytes(struct guard_rig *rig, struct slice text);
/* guard_new, guard_reload. */
int guard_rig_start(struct guard_rig *rig);
int rig_reload(struct guard_rig *rig);
uint64_t guard_rig_stat(struct guard_rig *rig, const char *name);

struct guard_login *rig_login(struct guard_rig *rig);

/* A question that is waited for. done() waits while `held`. */
struct asker {
    struct guard_wait wait;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    unsigned calls;
    bool held, entered;
};
void asker_init(struct asker *asker);
void asker_wait(struct asker *asker);
void asker_wait_entered(struct asker *asker);
void asker_let_go(struct asker *asker);

/* Ask, wait, return what it came to; `later` (may be NULL) is whether it had to wait. */
int ask_password(struct guard_login *login, struct slice name, struct slice password, bool *later);
int ask(struct guard_login *login, const char *name, const char *password);
int ask_sasl(struct guard_login *login, const char *mechanism, struct slice data);
/* guard_may with a key of text. */
int may(struct guard_login *login, unsigned rights, const char *key);

#endif
