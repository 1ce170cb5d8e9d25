/* sim_judge: the promises of doc/architecture.md, held against what clients see. */
#include "sim/sim_shop.h"

#include "cart/cart.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- reading ---- */

static void take_line(unsigned cart, const char *name, unsigned qty, struct sight *sight)
{
    char kind = name[0], *end;
    unsigned index =
        (unsigned)strtoul(name + 1, &end, 10); /* sscanf would measure all that follows */
    MUST(end > name + 1);
    if (kind == 'r' && index < SIM_CLIENTS_MAX) {
        sight->settings[index] = qty;
    } else if (kind == 'g' && index < FACTS_MAX && qty == MERGE_QTY) {
        sight->facts[index] = true;
    } else if (kind == 's' && (index + 1) * BITS <= FACTS_MAX && qty < 1u << BITS) {
        for (unsigned bit = 0; bit < BITS; bit++)
            if (qty >> bit & 1)
                sight->facts[index * BITS + bit] = true;
    } else {
        sim_fail("cart:u%u has a line %.20s with %u that nobody made", cart, name, qty);
    }
}

void judge_parse(unsigned cart, const char *document, struct sight *sight)
{
    static const char line_mark[] = "{\"line\":\"", qty_mark[] = "\"qty\":";
    memset(sight, 0, sizeof *sight);
    for (const char *at = document; (at = strstr(at, line_mark));) {
        at += sizeof line_mark - 1;
        const char *qty = strstr(at, qty_mark);
        MUST(qty);
        take_line(cart, at, (unsigned)strtoul(qty + sizeof qty_mark - 1, NULL, 10), sight);
    }
}

/* ---- what may be seen ---- */

static void judge_fact(unsigned cart, unsigned index, uint64_t since, bool is_there)
{
    const struct fact *fact = &sim->shop->carts[cart].facts[index];
    if (is_there && (fact->state == FACT_NEW || fact->state == FACT_LOST))
        sim_fail("cart:u%u shows change %u, which %s", cart, index,
                 fact->state == FACT_NEW ? "nobody asked for" : "was lost before");
    if (!is_there && fact->state == FACT_ACKED && fact->acked_at < since)
        sim_fail("cart:u%u lacks change %u, acknowledged at level %d%s", cart, index,
                 (int)fact->level, fact->sure ? " before the crash" : "");
}

static void judge_setting(unsigned index, unsigned qty)
{
    const struct client *client = &sim->shop->clients[index];
    const struct setting *setting = &client->setting;
    for (unsigned j = setting->low; j <= setting->high; j++)
        if (set_value(j) == qty)
            return;
    if (client->errand.open && client->errand.kind == ERRAND_SET &&
        set_value(client->errand.index) == qty)
        return;
    sim_fail("line r%u is %u; it can only be as of change %u to %u", index, qty, setting->low,
             setting->high);
}

void judge_sight(unsigned cart, uint64_t since, const struct sight *sight)
{
    for (unsigned i = 0; i < FACTS_MAX; i++)
        judge_fact(cart, i, since, sight->facts[i]);
}

void judge_image(unsigned cart, const struct sight *image, const struct sight *sight)
{
    for (unsigned i = 0; i < FACTS_MAX; i++)
        if (image->facts[i] && !sight->facts[i])
            sim_fail("the database has change %u of cart:u%u, the cart does not", i, cart);
}

/* ---- what a crash took ---- */

/* A replay syncs what it has read: what is there now stays. */
static void resolve_fact(struct fact *fact, bool is_there)
{
    if (fact->state == FACT_MAYBE)
        fact->state = is_there ? FACT_ACKED : FACT_LOST;
    fact->sure |= fact->state == FACT_ACKED;
}

static void resolve_setting(struct client *client, unsigned qty)
{
    struct setting *setting = &client->setting;
    judge_setting(client->index, qty);
    unsigned low = setting->low, high = setting->high;
    while (low < high && set_value(low) != qty)
        low++;
    while (high > low && set_value(high) != qty)
        high--;
    if (set_value(low) != qty) /* the one that is asked again has happened */
        return;
    setting->low = low;
    setting->high = high;
    setting->after_kill = setting->after_power = low;
}

/* A crash takes a suffix of the journal: what was answered before another was sent is not lost when
 * that is there. */
static void judge_holes(bool (*was_maybe)[FACTS_MAX])
{
    uint64_t lost_at = UINT64_MAX, there_at = 0;
    for (unsigned cart = 0; cart < CARTS_MAX; cart++) {
        for (unsigned i = 0; i < sim->shop->carts[cart].count; i++) {
            const struct fact *fact = &sim->shop->carts[cart].facts[i];
            if (!was_maybe[cart][i])
                continue;
            if (fact->state == FACT_LOST && fact->acked_at < lost_at)
                lost_at = fact->acked_at;
            if (fact->state == FACT_ACKED && fact->sent_at > there_at)
                there_at = fact->sent_at;
        }
    }
    if (lost_at < there_at)
        sim_fail("a hole: a change answered at step %" PRIu64 " is lost, one sent at step %" PRIu64
                 " is there",
                 lost_at, there_at);
}

void judge_resolve(const struct sight sights[CARTS_MAX])
{
    static bool was_maybe[CARTS_MAX][FACTS_MAX];
    for (unsigned cart = 0; cart < CARTS_MAX; cart++) {
        for (unsigned i = 0; i < FACTS_MAX; i++) {
            struct fact *fact = &sim->shop->carts[cart].facts[i];
            was_maybe[cart][i] = fact->state == FACT_MAYBE;
            resolve_fact(fact, sights[cart].facts[i]);
        }
    }
    judge_holes(was_maybe);
    for (unsigned i = 0; i < sim->rules.clients; i++)
        resolve_setting(&sim->shop->clients[i], sights[cart_of_client(i)].settings[i]);
}

/* What a kill spares may still be taken by a power loss that comes before the next replay. */
static void crash_fact(struct fact *fact, enum ack_level survives)
{
    if (fact->state == FACT_ACKED && !fact->sure && fact->level < survives)
        fact->state = FACT_MAYBE;
}

static void crash_setting(struct setting *setting, bool power)
{
    if (power)
        setting->after_kill = setting->after_power;
    setting->low = setting->after_kill;
}

void sim_shop_crashed(enum sim_end end)
{
    static const enum ack_level survives[] = {
        [SIM_END_STOP] = ACK_RAM, [SIM_END_KILL] = ACK_OS, [SIM_END_POWER] = ACK_SYNC};
    for (unsigned cart = 0; cart < CARTS_MAX; cart++)
        for (unsigned i = 0; i < sim->shop->carts[cart].count; i++)
            crash_fact(&sim->shop->carts[cart].facts[i], survives[end]);
    for (unsigned i = 0; i < sim->shop->life_count; i++)
        crash_fact(&sim->shop->lives[i].fact, survives[end]);
    for (unsigned i = 0; i < sim->rules.clients && end != SIM_END_STOP; i++)
        crash_setting(&sim->shop->clients[i].setting, end == SIM_END_POWER);
}

/* ---- L3 ---- */

bool judge_db_document(unsigned cart, struct buf *document)
{
    char key[32];
    struct slice image;
    bool deleted;
    snprintf(key, sizeof key, "cart:u%u", cart);
    document->len = 0;
    if (!sim_db_image(key, &image, &deleted) || deleted)
        return false;
    MUST(cart_json(image, sim_wall_us(), slice_str(key), CART_JSON_ALL, document) == 0);
    MUST(buf_append(document, "", 1) == 0);
    return true;
}

bool judge_same(unsigned cart, const char *answer)
{
    struct buf document = {0};
    bool is_there = judge_db_document(cart, &document);
    const char *json = strchr(answer, '{');
    bool same =
        is_there && json ? strcmp(json, (const char *)document.bytes) == 0 : !is_there && !json;
    buf_free(&document);
    return same;
}

bool judge_lives(bool *missing, unsigned *cart)
{
    *missing = false;
    for (unsigned i = 0; i < sim->shop->life_count; i++) {
        char key[32];
        struct slice image;
        bool deleted = true;
        snprintf(key, sizeof key, "cart:t%u", i);
        bool is_there = sim_db_image(key, &image, &deleted);
        unsigned events = sim_db_events(key);
        bool must = sim->shop->lives[i].fact.state == FACT_ACKED;
        if (events > 1)
            sim_fail("%s ended %u times", key, events);
        bool lives = (is_there && !deleted) || (must && !is_there);
        *missing |= must && events == 0;
        if (lives || (must && events == 0))
            *cart = i;
        if (lives)
            return false;
    }
    return true;
}
