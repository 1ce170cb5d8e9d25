/* cartd: reads what it was told, builds every part, serves until it is told to stop, takes all down
 * in reverse. Nothing else. */
#include "base/base.h"
#include "cart/cart.h"
#include "cmd/cmd.h"
#include "conf/conf.h"
#include "daemon/daemon.h"
#include "guard/guard.h"
#include "net/net.h"
#include "tier/tier.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* What clients are told: the memcached whose behaviour this is, and no more, since some clients
 * read the last digits of it and some the first. `cartd --version` and the log tell our own. */
#define WIRE_VERSION "1.6.18"

#define STOP_CONNS_MS     5000
#define STOP_TIER_MS      10000
#define MALLOC_MMAP_BYTES (32 << 20)
#define MALLOC_TRIM_BYTES (4 << 20)
#define EXIT_USAGE        64 /* sysexits: the command was used wrongly */
#define EXIT_REPAIRED     1  /* of verify: differences, which were repaired, */
#define EXIT_DIFFERS      2  /* ... which were not, */
#define EXIT_UNVERIFIED   3  /* ... or it could not look */
#define MESSAGE_BYTES     512
#define RESCUE_MEMORY_MIN (4u << 20)
#define RESCUE_MEMORY_MAX (16u << 20)

_Static_assert(CONF_WORKERS_MAX == NET_WORKERS_MAX, "conf refuses what net can't do");
_Static_assert((int)CONF_ACK_RAM == ACK_RAM && (int)CONF_ACK_OS == ACK_OS &&
                   (int)CONF_ACK_SYNC == ACK_SYNC,
               "conf's levels are the journal's");
_Static_assert((int)CONF_PROTOCOL_ASCII == CMD_PROTOCOL_TEXT &&
                   (int)CONF_PROTOCOL_BINARY == CMD_PROTOCOL_BINARY,
               "conf's protocols are cmd's");
_Static_assert((int)CONF_CART == CMD_CART && (int)CONF_CHECKOUT == CMD_CHECKOUT &&
                   (int)CONF_CACHE == CMD_CACHE,
               "conf's classes are cmd's");
_Static_assert((int)CONF_MERGE_MAX == CART_POLICY_MAX && (int)CONF_MERGE_SUM == CART_POLICY_SUM &&
                   (int)CONF_MERGE_SRC == CART_POLICY_SRC &&
                   (int)CONF_MERGE_DST == CART_POLICY_DST &&
                   (int)CONF_MERGE_REPLACE == CART_POLICY_REPLACE,
               "conf's merge policies are cmd's");
_Static_assert(CONF_LINES_HARD == CART_LINES_HARD && CONF_QTY_HARD == CART_QTY_HARD &&
                   CONF_EXT_BYTES_HARD == CART_EXT_HARD &&
                   CONF_STATE_BYTES_HARD <= CART_STATE_BYTES_HARD / 2,
               "conf refuses what cart can't do");
_Static_assert(CONF_PREFIXES_MAX + 2 <= CMD_PREFIXES_MAX / 2 &&
                   CONF_PREFIX_BYTES_MAX == CMD_PREFIX_BYTES_MAX &&
                   CONF_BUCKET_NAME_BYTES_MAX == CMD_BUCKET_NAME_BYTES,
               "cmd has room for all, and for what a reload can't take away");

struct parts {
    struct conf conf;
    int argc;
    char **argv;
    struct daemon daemon;
    struct daemon_heap heap;
    struct guard *guard;
    struct cmd *cmd;
    struct net *net;
    struct tier *tier;
    struct buf l3_url; /* made from options; ends with a NUL */
    char message[MESSAGE_BYTES];
};

/* ---- users ---- */

static unsigned rights_of(unsigned conf_rights)
{
    return GUARD_KNOWN | (conf_rights & CONF_READ ? GUARD_READ : 0) |
           (conf_rights & CONF_WRITE ? GUARD_WRITE : 0) |
           (conf_rights & CONF_ADMIN ? GUARD_ADMIN : 0);
}

/* The guard copies what it is given; *users is the caller's to free. CE_NOMEM. */
static int guard_config_of(const struct conf *conf, struct guard_config *config,
                           struct guard_user **users)
{
    *users = calloc(conf->users_count + 1, sizeof **users);
    if (!*users)
        return CE_NOMEM;
    for (size_t i = 0; i < conf->users_count; i++) {
        const struct conf_user *user = &conf->users[i];
        (*users)[i] = (struct guard_user){.name = user->name,
                                          .password = user->password,
                                          .rights = rights_of(user->rights),
                                          .prefixes = user->prefixes};
    }
    *config = (struct guard_config){.env = env_real(),
                                    .users_path = conf->auth_file,
                                    .users = *users,
                                    .users_count = conf->users_count,
                                    .sasl = conf->sasl || conf->auth_file || conf->users_count};
    return 0;
}

static int build_guard(struct parts *parts)
{
    struct guard_config config;
    struct guard_user *users = NULL;
    int rc = guard_config_of(&parts->conf, &config, &users);
    if (rc == 0)
        rc = guard_new(&config, &parts->guard, parts->message, sizeof parts->message);
    free(users);
    return rc;
}

/* ---- buckets ---- */

static enum cart_life_kind life_of(uint32_t conf_kind)
{
    return conf_kind == CONF_LIFE_FIXED ? CART_LIFE_FIXED : CART_LIFE_SLIDING;
}

static struct cmd_bucket bucket_of(const struct conf_bucket *conf)
{
    return (struct cmd_bucket){.name = conf->name,
                               .prefixes = conf->prefixes,
                               .class = (enum cmd_class)conf->class,
                               .limits = {.lines_max = conf->lines_max,
                                          .qty_max = conf->qty_max,
                                          .ext_bytes_max = conf->ext_bytes_max,
                                          .state_bytes_max = conf->state_bytes_max},
                               .ack = (enum ack_level)conf->ack,
                               .life = life_of(conf->life_kind),
                               .life_us = conf->life_s * 1000000ull,
                               .redirect_life_us = conf->redirect_life_s * 1000000ull,
                               .currency_exponent = conf->currency_exponent,
                               .merge_policy = (enum cart_policy)conf->merge_policy,
                               .rescue = conf->rescue};
}

/* cmd copies what it is given; *buckets is the caller's to free. Guests are a bucket of their own.
 * CE_NOMEM. */
static int buckets_of(const struct conf *conf, struct cmd_bucket **buckets, size_t *count)
{
    *count = 0;
    *buckets = calloc(2 * conf->buckets_count, sizeof **buckets);
    if (!*buckets)
        return CE_NOMEM;
    for (size_t i = 0; i < conf->buckets_count; i++) {
        const struct conf_bucket *from = &conf->buckets[i];
        (*buckets)[(*count)++] = bucket_of(from);
        if (!from->guest_prefixes)
            continue;
        struct cmd_bucket *guests = &(*buckets)[(*count)++];
        *guests = bucket_of(from);
        guests->guest = true;
        guests->prefixes = from->guest_prefixes;
        guests->life = life_of(from->guest_life_kind);
        guests->life_us = from->guest_life_s * 1000000ull;
    }
    return 0;
}

/* ---- SIGHUP ---- */

static void log_reload(const char *what, int rc, const char *message)
{
    if (rc)
        log_error("cartd", "reload: %s; the %s of before stay", message, what);
    else
        log_info("cartd", "reload: %s read again", what);
}

static void reload_users(struct parts *parts, const struct conf *conf)
{
    struct guard_config config;
    struct guard_user *users = NULL;
    int rc = guard_config_of(conf, &config, &users);
    snprintf(parts->message, sizeof parts->message, "out of memory");
    if (rc == 0)
        rc = guard_reload(parts->guard, &config, parts->message, sizeof parts->message);
    log_reload("users", rc, parts->message);
    free(users);
}

static void reload_buckets(struct parts *parts, const struct conf *conf)
{
    struct cmd_bucket *buckets = NULL;
    size_t count;
    int rc = buckets_of(conf, &buckets, &count);
    if (rc == 0)
        rc = cmd_buckets_reload(parts->cmd, buckets, count);
    log_reload("buckets", rc, rc ? err_text(rc) : "");
    free(buckets);
}

static void reload_conf(struct parts *parts)
{
    struct conf conf;
    size_t at = 0;
    const char *name;
    int rc = conf_read(env_real(), parts->argc, parts->argv, &conf);
    if (rc) {
        log_reload("users and buckets", rc, conf.message);
    } else {
        while ((name = conf_differs(&parts->conf, &conf, &at)))
            log_warn("cartd", "reload: %s has changed; that needs a restart", name);
        reload_users(parts, &conf);
        reload_buckets(parts, &conf);
    }
    conf_free(&conf);
}

static void on_hangup(void *ctx)
{
    struct parts *parts = ctx;
    reload_conf(parts);
    if (parts->conf.tls)
        log_reload("certificates",
                   net_tls_reload(parts->net, parts->message, sizeof parts->message),
                   parts->message);
}

/* ---- memory ---- */

static void on_tick(void *ctx)
{
    struct parts *parts = ctx;
    (void)daemon_trim_heap(&parts->heap, env_real(), l1_used(tier_l1(parts->tier)));
}

/* ---- building ---- */

static void on_advanced(void *ctx)
{
    net_advanced(((struct parts *)ctx)->net);
}

static int on_expire(void *ctx, struct slice key)
{
    return cmd_expire(((struct parts *)ctx)->cmd, key);
}

static enum tier_inbox_answer on_inbox(void *ctx, struct l3_inbox_row *row, struct slice *missing)
{
    return cmd_inbox(((struct parts *)ctx)->cmd, row, missing);
}

static void on_settings(void *ctx, const struct stat_sink *sink)
{
    conf_settings(&((struct parts *)ctx)->conf, sink);
}

/* A sixteenth of -m within bounds; beside it, and only taken when there is something to keep. */
static size_t rescue_bytes_of(const struct conf *conf)
{
    size_t bytes = ((size_t)conf->megabytes << 20) / 16;
    bytes = bytes > RESCUE_MEMORY_MIN ? bytes : RESCUE_MEMORY_MIN;
    return bytes < RESCUE_MEMORY_MAX ? bytes : RESCUE_MEMORY_MAX;
}

static int build_cmd(struct parts *parts)
{
    const struct conf *conf = &parts->conf;
    struct cmd_bucket *buckets;
    size_t count;
    int rc = buckets_of(conf, &buckets, &count);
    if (rc)
        return rc;
    const struct cmd_config config = {.env = env_real(),
                                      .buckets = buckets,
                                      .buckets_count = count,
                                      .value_bytes_max = conf->item_bytes_max,
                                      .rescue_bytes_max = rescue_bytes_of(conf),
                                      .workers = conf->threads,
                                      .version = WIRE_VERSION,
                                      .protocol = (enum cmd_protocol)conf->protocol,
                                      .guard = parts->guard,
                                      .shutdown_allowed = conf->shutdown_allowed,
                                      .flush_all_refused = conf->flush_all_refused,
                                      .evictions_refused = conf->evictions_refused,
                                      .dump_refused = conf->dump_refused,
                                      .tls = conf->tls,
                                      .settings = on_settings,
                                      .settings_ctx = parts};
    rc = cmd_new(&config, &parts->cmd);
    free(buckets);
    return rc;
}

static int build_net(struct parts *parts)
{
    const struct conf *conf = &parts->conf;
    bool tcp = !conf->unix_path || conf->tcp_asked;
    const struct net_config config = {
        .env = env_real(),
        .handler = cmd_net_handler(parts->cmd),
        .listen = tcp || conf->udp_port ? conf->listen : "",
        .port = tcp ? conf->port : 0,
        .udp_port = conf->udp_port,
        .udp_answer_bytes_max = conf->udp_answer_bytes_max,
        .unix_path = conf->unix_path,
        .unix_mode = conf->unix_mode,
        .backlog = conf->backlog,
        .workers = conf->threads,
        .conns_max = conf->conns_max,
        .idle_timeout_s = conf->idle_timeout_s,
        .tls = {.cert_path = conf->tls ? conf->tls_cert : NULL,
                .key_path = conf->tls_key ? conf->tls_key : conf->tls_cert,
                .ca_path = conf->tls_ca,
                .ciphers = conf->tls_ciphers,
                .verify = (enum net_tls_verify)conf->tls_verify,
                .version_1_3_only = conf->tls_1_3_only},
        .hangup = on_hangup,
        .tick = on_tick,
        .ctx = parts};
    return net_new(&config, &parts->net, parts->message, sizeof parts->message);
}

/* Appends the URL of --l3 with the password from its file. */
static int put_l3_password(struct parts *parts)
{
    const char *path = parts->conf.l3_password_file;
    const struct env *env = env_real();
    struct buf text = {0};
    int rc = env->file_read(env->ctx, path, &text);
    if (rc == 0) {
        const uint8_t *end = text.len ? memchr(text.bytes, '\n', text.len) : NULL;
        struct slice line = slice_of(text.bytes, end ? (size_t)(end - text.bytes) : text.len);
        rc = parts->conf.l3 ? l3_put_password(parts->conf.l3, line, &parts->l3_url) : CE_INVAL;
    }
    if (rc == CE_INVAL)
        snprintf(parts->message, MESSAGE_BYTES,
                 "l3-password-file: needs l3 with a user and without a password");
    else if (rc)
        snprintf(parts->message, MESSAGE_BYTES, "l3-password-file: %s: %s", path, err_text(rc));
    if (text.len)
        explicit_bzero(text.bytes, text.len);
    buf_free(&text);
    return rc;
}

/* *url = NULL: no L3. */
static int find_l3(struct parts *parts, const char **url)
{
    const struct conf *conf = &parts->conf;
    struct buf *made = &parts->l3_url;
    *url = NULL;
    if (conf->l3 && strcmp(conf->l3, "none") == 0)
        return 0;
    int rc = conf->l3_fixed ? buf_append_str(made, L3_FIXED) : 0;
    if (rc == 0 && conf->l3_password_file)
        rc = put_l3_password(parts);
    else if (rc == 0 && conf->l3)
        rc = buf_append_str(made, conf->l3);
    else if (rc == 0)
        rc = buf_printf(made, "sqlite:%s/cartd.sqlite", conf->data);
    if (rc == 0)
        rc = buf_append(made, "", 1);
    *url = (const char *)made->bytes;
    return rc;
}

static int make_tier_config(struct parts *parts, struct tier_config *config)
{
    *config = (struct tier_config){.env = env_real(),
                                   .data_dir = parts->conf.data,
                                   .l1_bytes_max = (size_t)parts->conf.megabytes << 20,
                                   .value = cmd_tier_value(),
                                   .state_record = CMD_RECORD_STATE,
                                   .pair_record = CMD_RECORD_PAIR,
                                   .history_bytes = parts->conf.history_bytes,
                                   .l3_delay_ms = parts->conf.l3_delay_ms,
                                   .l3_batch = parts->conf.l3_batch,
                                   .l3_connections = parts->conf.l3_connections,
                                   .l2_bytes_max = (uint64_t)parts->conf.l2_megabytes << 20,
                                   .advanced = on_advanced,
                                   .expire = on_expire,
                                   .inbox = on_inbox,
                                   .l3_reads_max = parts->conf.l3_reads_max,
                                   .l3_wait_ms = parts->conf.l3_wait_ms,
                                   .inbox_ms = parts->conf.l3_inbox_ms,
                                   .ctx = parts};
    int rc = find_l3(parts, &config->l3_url);
    if (rc || config->l3_url || !config->l2_bytes_max)
        return rc;
    snprintf(parts->message, MESSAGE_BYTES, "l2-max: needs a database, and --l3 is none");
    return CE_INVAL;
}

static int build_tier(struct parts *parts)
{
    struct tier_config config;
    int rc = make_tier_config(parts, &config);
    if (rc)
        return rc;
    return tier_open(&config, &parts->tier, parts->message, sizeof parts->message);
}

/* What must be done as root comes before, what makes files behind the change of user. */
static int become_user(struct parts *parts)
{
    const struct conf *conf = &parts->conf;
    char *message = parts->message;
    int rc = 0;
    if (conf->coredumps)
        rc = daemon_raise_cores(message, MESSAGE_BYTES);
    if (rc == 0 && conf->lock_memory)
        rc = daemon_lock_memory(message, MESSAGE_BYTES);
    if (rc == 0 && conf->pid_path)
        rc = daemon_write_pid(&parts->daemon, conf->pid_path, message, MESSAGE_BYTES);
    if (rc == 0 && conf->user)
        rc = daemon_become(conf->user, message, MESSAGE_BYTES);
    return rc;
}

static int build(struct parts *parts)
{
    int rc = 0;
    if (parts->conf.daemon)
        rc = daemon_begin(&parts->daemon, parts->message, sizeof parts->message);
    if (rc)
        return rc;
    snprintf(parts->message, sizeof parts->message, "out of memory");
    rc = build_guard(parts);
    if (rc == 0)
        rc = build_cmd(parts);
    if (rc == 0)
        rc = build_net(parts);
    if (rc == 0)
        rc = become_user(parts);
    if (rc == 0)
        rc = build_tier(parts);
    return rc;
}

/* ---- running ---- */

static void log_start(const struct parts *parts, uint64_t took_ms)
{
    const struct conf *conf = &parts->conf;
    for (size_t i = 0; i < conf->ignored_count; i++)
        log_info("cartd", "option -%c has no effect here", conf->ignored[i]);
    if (conf->ignored_suboptions)
        log_info("cartd", "-o %s and the like have no effect here", conf->ignored_suboptions);
    log_info("cartd", PACKAGE_VERSION " on %s port %u, %u threads, data in %s, started in %llu ms",
             conf->unix_path && !conf->tcp_asked ? conf->unix_path : conf->listen,
             (unsigned)conf->port, (unsigned)conf->threads, conf->data,
             (unsigned long long)took_ms);
}

static int serve(struct parts *parts)
{
    uint64_t began_ms = env_mono_ms(env_real());
    cmd_attach(parts->cmd, parts->net, parts->tier);
    int rc = tier_start(parts->tier, cmd_replay, parts->cmd);
    if (rc) {
        snprintf(parts->message, sizeof parts->message, "start from %s: %s", parts->conf.data,
                 err_text(rc));
        return rc;
    }
    log_start(parts, env_mono_ms(env_real()) - began_ms);
    daemon_ready(&parts->daemon);
    net_run(parts->net);
    return 0;
}

static int take_down(struct parts *parts)
{
    int rc = 0;
    if (parts->guard)
        guard_stop(parts->guard); /* no answer of it comes to a connection that is gone */
    if (parts->tier)
        tier_quiet(parts->tier);
    if (parts->net && !net_stop(parts->net, STOP_CONNS_MS))
        log_warn("cartd", "some connections were cut off");
    if (parts->tier && (rc = tier_stop(&parts->tier, STOP_TIER_MS)))
        log_warn("cartd", "not everything reached the database: %s; it goes on at the next start",
                 err_text(rc));
    if (parts->net)
        net_free(&parts->net);
    if (parts->cmd)
        cmd_free(&parts->cmd);
    if (parts->guard)
        guard_free(&parts->guard);
    daemon_end(&parts->daemon);
    return rc;
}

/* ---- verify ---- */

static void print_difference(void *ctx, const char *line)
{
    (void)ctx;
    printf("%s\n", line);
}

static int verify(struct parts *parts, bool repair)
{
    const struct tier_verify_config how = {.repair = repair, .tell = print_difference};
    struct tier_config config;
    struct tier_verdict found;
    log_level_set(parts->conf.verbose ? LOG_DEBUG : LOG_ERROR);
    int rc = make_tier_config(parts, &config);
    if (rc == 0)
        rc = tier_verify(&config, &how, &found, parts->message, sizeof parts->message);
    if (rc) {
        fprintf(stderr, "cartd: %s\n", parts->message);
        return EXIT_UNVERIFIED;
    }
    printf("journal: %llu records, %llu of them newer than L2; L2: %llu carts, %llu of them newer "
           "than the database; database: %llu rows; differences: %llu, repaired: %llu\n",
           (unsigned long long)found.records, (unsigned long long)found.pending,
           (unsigned long long)found.carts, (unsigned long long)found.behind,
           (unsigned long long)found.rows, (unsigned long long)found.differences,
           (unsigned long long)found.repaired);
    if (found.differences == 0)
        return 0;
    return repair ? EXIT_REPAIRED : EXIT_DIFFERS;
}

/* `cartd verify DIR [--repair] [option...]`: the options of the daemon of that directory. */
static int main_verify(struct parts *parts)
{
    char **argv = calloc((size_t)parts->argc + 2, sizeof *argv);
    int argc = 0, status = EXIT_USAGE, rc = 0;
    bool repair = false;
    if (!argv) {
        fprintf(stderr, "cartd: %s\n", err_text(CE_NOMEM));
        return EXIT_UNVERIFIED;
    }
    argv[argc++] = parts->argv[0];
    argv[argc++] = (char[]){"--data"};
    for (int i = 2; i < parts->argc; i++) {
        bool asks = strcmp(parts->argv[i], "--repair") == 0;
        repair |= asks;
        if (!asks)
            argv[argc++] = parts->argv[i];
    }
    if (argc < 3 || argv[2][0] == '-')
        fprintf(stderr, "cartd: usage: cartd verify DIR [--repair] [option...]\n");
    else if ((rc = conf_read(env_real(), argc, argv, &parts->conf)))
        fprintf(stderr, "cartd: %s\n", parts->conf.message);
    else
        status = verify(parts, repair);
    buf_free(&parts->l3_url);
    conf_free(&parts->conf);
    free(argv);
    return rc == CE_NOMEM ? EXIT_UNVERIFIED : status;
}

/* What is asked of the program itself, not of a daemon. */
static bool print_asked(const struct conf *conf)
{
    if (conf->help)
        conf_help(stdout);
    else if (conf->version)
        printf("cartd " PACKAGE_VERSION "\n");
    else if (conf->license)
        printf("cartd is used with libevent, LevelDB, OpenSSL, Jansson, xxHash, inih (BSD or MIT "
               "licenses),\nSQLite (public domain) and Cyrus SASL (BSD).\n");
    return conf->help || conf->version || conf->license;
}

static int run(struct parts *parts)
{
    log_level_set(parts->conf.verbose ? LOG_DEBUG : LOG_INFO);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* until net listens to it */
    /* Large carts come and go as scratch copies: do not map and unmap pages for each. */
    mallopt(M_MMAP_THRESHOLD, MALLOC_MMAP_BYTES);
    mallopt(M_TRIM_THRESHOLD, MALLOC_TRIM_BYTES);
    int rc = build(parts);
    if (rc == 0)
        rc = serve(parts);
    if (rc)
        fprintf(stderr, "cartd: %s\n", parts->message);
    int down = take_down(parts);
    if (rc == 0 && down == 0)
        log_info("cartd", "stopped; everything is on disk and in the database");
    return rc ? EXIT_FAILURE : 0;
}

int main(int argc, char **argv)
{
    struct parts parts = {.argc = argc, .argv = argv, .daemon = {.ready_fd = -1}};
    int status = 0;
    if (argc > 1 && strcmp(argv[1], "verify") == 0)
        return main_verify(&parts);
    int rc = conf_read(env_real(), argc, argv, &parts.conf);
    if (rc) {
        fprintf(stderr, "cartd: %s\n", parts.conf.message);
        status = rc == CE_NOMEM ? EXIT_FAILURE : EXIT_USAGE;
    } else if (!print_asked(&parts.conf)) {
        status = run(&parts);
    }
    buf_free(&parts.l3_url);
    conf_free(&parts.conf);
    return status;
}
