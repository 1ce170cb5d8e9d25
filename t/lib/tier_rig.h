/* tier_rig: a tier in a directory of its own, in the same process as a test that looks into it. */
#ifndef T_TIER_RIG_H
#define T_TIER_RIG_H

#include "tier/tier_int.h"

#include <check.h>

#define TIER_RIG_STATE   1
#define TIER_RIG_STEP    2
#define TIER_RIG_PAIR    3
#define TIER_RIG_WAIT_MS 60000 /* for what must come at once; only a hang takes so long */

struct tier_rig {
    struct tier *tier; /* NULL while it is closed */
    char dir[64];
    /* What tests may replace before they open it. */
    struct env env;                             /* the machine's */
    struct tier_value value;                    /* tier_rig_any_value */
    tier_replay_fn *replay;                     /* what a record makes: nothing */
    const char *l3_url;                         /* none */
    char l3_own[80];                            /* of tier_rig_use_l3 */
    int (*expire)(void *ctx, struct slice key); /* tier_rig_expire_nothing */
};

/* States that are no carts: any is good, and has no end. */
extern const struct tier_value tier_rig_any_value;
/* What else a tier asks its user to do. */
void tier_rig_ignore(void *ctx);
int tier_rig_expire_nothing(void *ctx, struct slice key);

/* A fixture of Check: makes the directory, and removes it. */
void tier_rig_set_up(struct tier_rig *rig);
void tier_rig_tear_down(struct tier_rig *rig);

/* States are carts, and L3 is a SQLite file of its own. */
void tier_rig_use_l3(struct tier_rig *rig);
void tier_rig_open(struct tier_rig *rig);
/* Stops the tier and expects all to be where it belongs. */
void tier_rig_close(struct tier_rig *rig);

/* While it is closed: as another process has left it. */
void tier_rig_put_into_l2(struct tier_rig *rig, const char *key, struct slice state);
void tier_rig_put_into_l3(struct tier_rig *rig, const char *key, struct slice state);

/* Puts a whole state, as one that comes from L3: into L1 and the journal's gathering buffer. */
void tier_rig_put(struct tier_rig *rig, const char *key, struct slice state);
/* Has the L2 writer write until L1 has nothing that L2 lacks. */
void tier_rig_drain(struct tier_rig *rig);
/* L2 is found damaged, and is begun anew with what of it can be read. */
void tier_rig_damage(struct tier_rig *rig);
bool tier_rig_is_in_l2(struct tier_rig *rig, const char *key, struct slice state);

#endif
