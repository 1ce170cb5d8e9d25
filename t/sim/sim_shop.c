/* sim_shop: clients that add, set, remove, merge and read, each until it is answered. */
#include "sim/sim_shop.h"

#include <stdio.h>
#include <stdlib.h>

#define FILL_KEYS      12
#define FILL_BYTES_MAX 60000
#define PATIENCE_US    30000000 /* for the faults' last traces, once they have stopped */
#define CONVERGE_US    240000000
#define TOUCH_US       20000000
#define POLL_US        1000000
#define REQUEST_BYTES  128

static unsigned active;
static struct net *shop_net;
static uint64_t shop_until_us;
static bool shop_finish;

void sim_shop_new(void)
{
    sim->shop = sim_alloc(sizeof *sim->shop);
    for (unsigned i = 0; i < SIM_CLIENTS_MAX; i++)
        sim->shop->clients[i].index = i;
}

/* ---- answers ---- */

/* False: asked again later. Anything but the table of errors is a broken promise. */
static bool is_done(const char *request, const char *answer)
{
    static const char *const again[] = {"SERVER_ERROR NO_DISK", "SERVER_ERROR BUSY",
                                        "SERVER_ERROR NO_MEMORY", "SERVER_ERROR NOT_SAFE"};
    sim_trace("%.60s -> %.40s", request, answer);
    if (strncmp(answer, "HD", 2) == 0 || strncmp(answer, "VA", 2) == 0 || strcmp(answer, "EN") == 0)
        return true;
    for (unsigned i = 0; i < sizeof again / sizeof *again; i++) {
        if (strncmp(answer, again[i], strlen(again[i])))
            continue;
        if (shop_finish && sim->mono_us > shop_until_us)
            sim_fail("still %s, long after the last fault", answer);
        return false;
    }
    sim_fail("%.60s -> %.60s", request, answer);
}

static bool ask(struct net_conn *conn, const char *request)
{
    return is_done(request, sim_net_ask(conn, request));
}

/* ---- looking ---- */

static bool look(struct net_conn *conn, unsigned cart, struct sight *sight)
{
    char request[REQUEST_BYTES];
    struct buf document = {0};
    struct sight image;
    uint64_t since = sim->steps;
    bool in_db = judge_db_document(cart, &document);
    if (in_db)
        judge_parse(cart, (const char *)document.bytes, &image);
    buf_free(&document);
    snprintf(request, sizeof request, "cget cart:u%u\r\n", cart);
    const char *answer = sim_net_ask(conn, request);
    if (!is_done(request, answer))
        return false;
    judge_parse(cart, answer, sight);
    judge_sight(cart, since, sight);
    if (in_db)
        judge_image(cart, &image, sight);
    return true;
}

/* Before any client asks for anything. False: the life was too short for that. */
static bool look_at_all(struct net_conn *conn)
{
    static struct sight sights[CARTS_MAX];
    for (unsigned cart = 0; cart < CARTS_MAX; cart++) {
        while (!look(conn, cart, &sights[cart])) {
            if (sim->mono_us > shop_until_us)
                return false;
            sim_sleep_us(100000);
        }
    }
    judge_resolve(sights);
    return true;
}

/* ---- errands ---- */

static const char *level_name(enum ack_level level)
{
    return level == ACK_RAM ? "ram" : level == ACK_OS ? "os" : "sync";
}

static enum ack_level choose_level(void)
{
    static const enum ack_level levels[] = {ACK_SYNC, ACK_SYNC, ACK_OS, ACK_RAM};
    return levels[sim_below(4)];
}

static struct fact *fact_of(const struct errand *errand)
{
    return errand->kind == ERRAND_LIFE ? &sim->shop->lives[errand->index].fact
                                       : &sim->shop->carts[errand->cart].facts[errand->index];
}

static void begin_fact(struct errand *errand)
{
    struct fact *fact = fact_of(errand);
    *fact = (struct fact){
        .state = FACT_SENT, .is_merge = errand->kind == ERRAND_MERGE, .sent_at = sim->steps};
}

static void begin_errand(struct client *client)
{
    static const enum errand_kind kinds[] = {ERRAND_ADD, ERRAND_ADD,   ERRAND_ADD,  ERRAND_SET,
                                             ERRAND_SET, ERRAND_MERGE, ERRAND_LIFE, ERRAND_READ};
    struct errand *errand = &client->errand;
    struct sim_shop *shop = sim->shop;
    *errand = (struct errand){.kind = kinds[sim_below(8)],
                              .cart = (unsigned)sim_below(CARTS_MAX),
                              .level = choose_level(),
                              .token = ++client->tokens};
    if (sim->rules.has_filler && sim_chance(400))
        errand->kind = ERRAND_FILL;
    if ((errand->kind == ERRAND_LIFE && shop->life_count == LIVES_CARTS) ||
        shop->carts[errand->cart].count == FACTS_MAX)
        errand->kind = ERRAND_READ;
    if (errand->kind == ERRAND_SET) {
        errand->cart = cart_of_client(client->index);
        errand->index = ++client->setting.last;
    } else if (errand->kind == ERRAND_LIFE) {
        errand->index = shop->life_count++;
    } else if (errand->kind == ERRAND_ADD || errand->kind == ERRAND_MERGE) {
        errand->index = shop->carts[errand->cart].count++;
    }
    errand->open = errand->kind != ERRAND_READ && errand->kind != ERRAND_FILL;
    if (errand->open && errand->kind != ERRAND_SET)
        begin_fact(errand);
}

static void end_setting(struct setting *setting, const struct errand *errand)
{
    setting->low = setting->high = errand->index;
    if (errand->level >= ACK_OS)
        setting->after_kill = errand->index;
    if (errand->level >= ACK_SYNC)
        setting->after_power = errand->index;
}

static void end_errand(struct client *client)
{
    struct errand *errand = &client->errand;
    if (errand->kind == ERRAND_SET) {
        end_setting(&client->setting, errand);
    } else {
        struct fact *fact = fact_of(errand);
        fact->state = FACT_ACKED;
        fact->level = errand->level;
        fact->acked_at = sim->steps;
    }
    errand->open = false;
}

/* The guest's own cart is as safe as can be: else a merge of it may rightly find nothing. */
static bool run_merge(struct net_conn *conn, struct client *client)
{
    struct errand *errand = &client->errand;
    char request[REQUEST_BYTES];
    if (errand->stage == 0) {
        snprintf(request, sizeof request, "cadd cart:g%u.%u g%u %u I%u.%ug Dsync\r\n", errand->cart,
                 errand->index, errand->index, MERGE_QTY, client->index, errand->token);
        if (!ask(conn, request))
            return false;
        errand->stage = 1;
    }
    snprintf(request, sizeof request, "cmrg cart:u%u cart:g%u.%u Mmax I%u.%u D%s\r\n", errand->cart,
             errand->cart, errand->index, client->index, errand->token, level_name(errand->level));
    return ask(conn, request);
}

static bool run_change(struct net_conn *conn, struct client *client)
{
    const struct errand *errand = &client->errand;
    char what[REQUEST_BYTES], request[2 * REQUEST_BYTES];
    if (errand->kind == ERRAND_ADD)
        snprintf(what, sizeof what, "cadd cart:u%u s%u %u", errand->cart, errand->index / BITS,
                 1u << errand->index % BITS);
    else if (errand->kind == ERRAND_LIFE)
        snprintf(what, sizeof what, "cadd cart:t%u x 1 T%u", errand->index, 1 + errand->index % 4);
    else if (errand->index % 2)
        snprintf(what, sizeof what, "cset cart:u%u r%u %u", errand->cart, client->index,
                 set_value(errand->index));
    else
        snprintf(what, sizeof what, "crem cart:u%u r%u", errand->cart, client->index);
    snprintf(request, sizeof request, "%s I%u.%u D%s\r\n", what, client->index, errand->token,
             level_name(errand->level));
    return ask(conn, request);
}

static void run_read(struct net_conn *conn, struct client *client)
{
    struct sight sight;
    unsigned own = cart_of_client(client->index), cart = client->errand.cart;
    if (look(conn, cart, &sight) && cart == own &&
        set_value(client->setting.high) != sight.settings[client->index] &&
        client->setting.low == client->setting.high)
        sim_fail("line r%u is %u after change %u", client->index, sight.settings[client->index],
                 client->setting.high);
}

/* Plain items: a cache, but never another value than was stored. */
static void run_fill(struct net_conn *conn)
{
    char *request = malloc(FILL_BYTES_MAX + REQUEST_BYTES);
    unsigned key = (unsigned)sim_below(FILL_KEYS), len = 1 + (unsigned)sim_below(FILL_BYTES_MAX);
    MUST(request);
    int at = snprintf(request, REQUEST_BYTES, "set p%u 0 0 %u\r\n", key, len);
    memset(request + at, 'a' + (int)key, len);
    strcpy(request + at + len, "\r\n");
    const char *answer = sim_net_ask(conn, request);
    if (strcmp(answer, "STORED") && strcmp(answer, "SERVER_ERROR out of memory storing object"))
        sim_fail("set -> %.60s", answer);
    snprintf(request, REQUEST_BYTES, "get p%u\r\n", (unsigned)sim_below(FILL_KEYS));
    answer = sim_net_ask(conn, request);
    const char *value = strchr(answer, '\n');
    if (value && value[1] != 'a' + (char)atoi(request + 5))
        sim_fail("get -> %.60s of another key", answer);
    free(request);
}

static void run_errand(struct net_conn *conn, struct client *client)
{
    if (!client->errand.open)
        begin_errand(client);
    switch (client->errand.kind) {
    case ERRAND_READ: run_read(conn, client); break;
    case ERRAND_FILL: run_fill(conn); break;
    case ERRAND_MERGE:
        if (run_merge(conn, client))
            end_errand(client);
        break;
    default:
        if (run_change(conn, client))
            end_errand(client);
    }
}

static void run_client(void *arg)
{
    struct client *client = arg;
    struct net_conn *conn = sim_net_connect(shop_net, client->index);
    unsigned pause_us = 1000u << sim_below(9);
    while (shop_finish ? client->errand.open : sim->mono_us < shop_until_us) {
        run_errand(conn, client);
        sim_life_judge();
        sim_sleep_us(1 + sim_below(pause_us) + (client->errand.open ? 50000 : 0));
    }
    active--;
    sim_wake(&active);
}

/* ---- the end ---- */

/* A cart that only L3 has, because L2 was lost, ends when somebody asks for it. */
static void touch(struct net_conn *conn, unsigned life)
{
    char request[REQUEST_BYTES];
    snprintf(request, sizeof request, "cget cart:t%u\r\n", life);
    ask(conn, request);
}

static void await_db(struct net_conn *conn)
{
    struct sight sight;
    uint64_t until_us = sim->mono_us + CONVERGE_US;
    for (;;) {
        bool same = true, missing = false;
        unsigned of = 0;
        for (unsigned cart = 0; cart < CARTS_MAX; cart++) {
            char request[REQUEST_BYTES];
            MUST(look(conn, cart, &sight));
            snprintf(request, sizeof request, "cget cart:u%u\r\n", cart);
            same &= judge_same(cart, sim_net_ask(conn, request));
        }
        bool ended = judge_lives(&missing, &of);
        if (!ended && sim->mono_us + CONVERGE_US > until_us + TOUCH_US)
            touch(conn, of);
        if (same && ended && !missing)
            return;
        if (sim->mono_us > until_us)
            sim_fail("L3 does not become what the carts are: %s (cart:t%u)",
                     !same   ? "a row differs"
                     : ended ? "an event is missing"
                             : "a life goes on",
                     of);
        sim_sleep_us(POLL_US);
    }
}

void sim_shop_run(struct net *net, uint64_t until_us, bool finish)
{
    shop_net = net;
    shop_until_us = finish ? sim->mono_us + PATIENCE_US : until_us;
    shop_finish = finish;
    struct net_conn *conn = sim_net_connect(net, 0);
    if (!look_at_all(conn))
        return;
    for (unsigned i = 0; i < sim->rules.clients; i++) {
        active++;
        sim_spawn("client", run_client, &sim->shop->clients[i]);
    }
    while (active)
        sim_wait(&active, 0);
    if (finish)
        await_db(conn);
}
