/* sim_shop: what clients did and may see. Private to sim_shop.c (clients) and sim_judge.c. */
#ifndef T_SIM_SIM_SHOP_H
#define T_SIM_SIM_SHOP_H

#include "sim/sim.h"

#include "tier/journal/journal.h"

#define CARTS_MAX   4
#define FACTS_MAX   400 /* of a cart */
#define LIVES_CARTS 64
#define BITS        16 /* facts that share a line */
#define SET_BASE    1000
#define MERGE_QTY   7

/* A change that takes effect exactly once: a quantity of its own power of two that is added to a
 * line, or a line that comes with a merged guest's cart. */
struct fact {
    enum {
        FACT_NEW,
        FACT_SENT,  /* there or not: it is asked again until it is answered */
        FACT_ACKED, /* there */
        FACT_MAYBE, /* answered at a level that the crash did not respect, nobody has looked yet */
        FACT_LOST,  /* not there, and shall never be */
    } state;
    bool is_merge;
    bool sure; /* no crash takes it */
    enum ack_level level;
    uint64_t sent_at, acked_at; /* in steps */
};

struct cart_book {
    struct fact facts[FACTS_MAX];
    unsigned count;
};

/* A line that one client sets and removes in turn: change j makes it set_value(j). */
struct setting {
    unsigned low, high;               /* what is there is that of one of these */
    unsigned after_kill, after_power; /* not older than these */
    unsigned last;                    /* that was ever sent */
};

/* A cart with a life of seconds. */
struct life_cart {
    struct fact fact;
};

enum errand_kind { ERRAND_ADD, ERRAND_SET, ERRAND_MERGE, ERRAND_LIFE, ERRAND_READ, ERRAND_FILL };

/* What a client is about; done again with the same tokens until it is answered. */
struct errand {
    bool open;
    enum errand_kind kind;
    unsigned cart, index; /* fact, change of the setting, or life cart */
    enum ack_level level;
    unsigned token, stage;
};

struct client {
    unsigned index;
    struct errand errand;
    struct setting setting;
    unsigned tokens;
};

struct sim_shop {
    struct cart_book carts[CARTS_MAX];
    struct client clients[SIM_CLIENTS_MAX];
    struct life_cart lives[LIVES_CARTS];
    unsigned life_count;
};

static inline unsigned set_value(unsigned change)
{
    return change % 2 ? SET_BASE + change : 0;
}

static inline unsigned cart_of_client(unsigned client)
{
    return client % CARTS_MAX;
}

/* ---- sim_judge.c ---- */

/* What a document shows of a cart. */
struct sight {
    bool facts[FACTS_MAX];
    unsigned settings[SIM_CLIENTS_MAX]; /* quantities, 0 = no such line */
};
/* `document`: the answer of a cget, or a document. */
void judge_parse(unsigned cart, const char *document, struct sight *sight);
/* A look at a cart that began at step `since`. */
void judge_sight(unsigned cart, uint64_t since, const struct sight *sight);
/* All carts as they are when nothing is asked of them: what was lost is lost for good. */
void judge_resolve(const struct sight sights[CARTS_MAX]);
/* L3 has nothing that the carts do not have. */
void judge_image(unsigned cart, const struct sight *image, const struct sight *sight);
/* The document of a cart as L3 has it; false: it has none, or a row that says that it is gone, as
 * after a removal from a cart that was not there. */
bool judge_db_document(unsigned cart, struct buf *document);
/* L3 has exactly this. */
bool judge_same(unsigned cart, const char *answer);
/* All lives have ended, each with one event. False: not that of `cart`; *missing: its event. */
bool judge_lives(bool *missing, unsigned *cart);

#endif
