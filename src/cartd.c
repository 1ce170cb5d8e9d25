/* cartd: reads the options, builds every part, serves until it is told to stop, takes all down in
 * reverse. Nothing else. */
#include "base/base.h"
#include "cart/cart.h"
#include "cmd/cmd.h"
#include "net/net.h"
#include "tier/tier.h"

#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* What clients are told: the memcached whose behaviour this is, then our own version. */
#define WIRE_VERSION "1.6.18-cartd-" PACKAGE_VERSION

#define STOP_CONNS_MS     5000
#define STOP_TIER_MS      10000
#define MALLOC_KEEP_BYTES (32 << 20)
#define EXIT_USAGE        64 /* sysexits: the command was used wrongly */
#define MESSAGE_BYTES     512
#define ITEM_BYTES_MIN    1024
#define ITEM_BYTES_MAX    (1u << 30)
#define L1_MEGABYTES_MIN  1

/* Options that memcached does not have are long only: its letters keep its meanings. */
enum { OPTION_DATA = 256, OPTION_L3, OPTION_QTY_MAX, OPTION_LINES_MAX, OPTION_ACK };

/* letter or OPTION_*, long name, argument, default, what it is */
#define OPTION_TABLE(X)                                                                            \
    X('p', "port", "PORT", "11211", "TCP port to listen on")                                       \
    X('l', "listen", "ADDR", "127.0.0.1", "addresses to listen on, separated by commas")           \
    X('t', "threads", "N", "4", "worker threads")                                                  \
    X('m', "memory-limit", "MB", "64", "memory for carts and items, in megabytes")                 \
    X('c', "conn-limit", "N", "1024", "simultaneous connections")                                  \
    X('I', "max-item-size", "SIZE", "1m", "largest value of a plain item, with suffix k or m")     \
    X(OPTION_DATA, "data", "DIR", "./var", "directory of journal, L2 and the default database")    \
    X(OPTION_L3, "l3", "URL", "sqlite:DIR/cartd.sqlite", "database: sqlite:PATH or none")          \
    X(OPTION_QTY_MAX, "qty-max", "N", "1000000", "largest quantity of a cart line")                \
    X(OPTION_LINES_MAX, "lines-max", "N", "200", "most lines of a cart")                           \
    X(OPTION_ACK, "ack", "LEVEL", "sync", "when a cart write is acknowledged: ram, os or sync")    \
    X('v', "verbose", NULL, NULL, "log more")                                                      \
    X('h', "help", NULL, NULL, "print this and exit")                                              \
    X('V', "version", NULL, NULL, "print the version and exit")

struct options {
    const char *listen, *data, *l3;
    uint32_t port, threads, megabytes, conns, item_bytes, qty_max, lines_max;
    enum ack_level ack;
    bool verbose, help, version;
    char message[MESSAGE_BYTES]; /* what is wrong */
};

static const struct option_row {
    int letter;
    const char *name, *arg, *standard, *what;
} rows[] = {
#define X(letter, name, arg, standard, what) {letter, name, arg, standard, what},
    OPTION_TABLE(X)
#undef X
};
#define ROWS_COUNT (sizeof rows / sizeof rows[0])

static void print_help(void)
{
    printf("cartd " PACKAGE_VERSION ": a shopping-cart tier that speaks memcached\n\n"
           "usage: cartd [option...]\n\n");
    for (size_t i = 0; i < ROWS_COUNT; i++) {
        char left[64];
        bool has_letter = rows[i].letter < OPTION_DATA;
        snprintf(left, sizeof left, "%c%c%c --%s %s", has_letter ? '-' : ' ',
                 has_letter ? rows[i].letter : ' ', has_letter ? ',' : ' ', rows[i].name,
                 rows[i].arg ? rows[i].arg : "");
        printf("  %-28s %s", left, rows[i].what);
        printf(rows[i].standard ? " (default %s)\n" : "\n", rows[i].standard);
    }
}

/* ---- reading options ---- */

static bool parse_number(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    return num_u32(slice_str(text), out) && *out >= min && *out <= max;
}

/* Digits with an optional k or m, as memcached's -I. */
static bool parse_size(const char *text, uint32_t *out)
{
    struct slice digits = slice_str(text);
    uint64_t unit = 1, value;
    char last = digits.len ? text[digits.len - 1] : 0;
    if (last == 'k' || last == 'K')
        unit = 1024;
    else if (last == 'm' || last == 'M')
        unit = 1024 * 1024;
    if (unit > 1)
        digits.len--;
    if (!num_u64(digits, &value) || value > ITEM_BYTES_MAX / unit || value * unit < ITEM_BYTES_MIN)
        return false;
    *out = (uint32_t)(value * unit);
    return true;
}

static bool parse_ack(const char *text, enum ack_level *out)
{
    static const char *const names[] = {[ACK_RAM] = "ram", [ACK_OS] = "os", [ACK_SYNC] = "sync"};
    for (unsigned level = ACK_RAM; level <= ACK_SYNC; level++) {
        if (strcmp(text, names[level]) == 0) {
            *out = (enum ack_level)level;
            return true;
        }
    }
    return false;
}

static bool set_option(struct options *options, int letter, const char *text)
{
    switch (letter) {
    case 'p': return parse_number(text, 1, 65535, &options->port);
    case 'l': options->listen = text; return *text != 0;
    case 't': return parse_number(text, 1, NET_WORKERS_MAX, &options->threads);
    case 'm': return parse_number(text, L1_MEGABYTES_MIN, 1u << 24, &options->megabytes);
    case 'c': return parse_number(text, 1, 1u << 20, &options->conns);
    case 'I': return parse_size(text, &options->item_bytes);
    case OPTION_DATA: options->data = text; return *text != 0;
    case OPTION_L3: options->l3 = text; return *text != 0;
    case OPTION_QTY_MAX: return parse_number(text, 1, CART_QTY_HARD, &options->qty_max);
    case OPTION_LINES_MAX: return parse_number(text, 1, CART_LINES_HARD, &options->lines_max);
    case OPTION_ACK: return parse_ack(text, &options->ack);
    case 'v': options->verbose = true; return true;
    case 'h': options->help = true; return true;
    default: options->version = true; return true;
    }
}

static const struct option_row *find_row(int letter)
{
    for (size_t i = 0; i < ROWS_COUNT; i++)
        if (rows[i].letter == letter)
            return &rows[i];
    return NULL;
}

/* The same table for getopt. */
static void make_getopt(char *letters, struct option *longs)
{
    size_t at = 0;
    letters[at++] = ':';
    for (size_t i = 0; i < ROWS_COUNT; i++) {
        if (rows[i].letter < OPTION_DATA) {
            letters[at++] = (char)rows[i].letter;
            if (rows[i].arg)
                letters[at++] = ':';
        }
        longs[i] = (struct option){.name = rows[i].name,
                                   .has_arg = rows[i].arg ? required_argument : no_argument,
                                   .val = rows[i].letter};
    }
    letters[at] = 0;
    longs[ROWS_COUNT] = (struct option){0};
}

static int read_options(int argc, char **argv, struct options *options)
{
    char letters[2 * ROWS_COUNT + 2];
    struct option longs[ROWS_COUNT + 1];
    int letter;
    make_getopt(letters, longs);
    opterr = 0;
    while ((letter = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const char *problem = NULL;
        const struct option_row *row = find_row(letter);
        if (letter == ':')
            problem = "needs a value";
        else if (!row)
            problem = "is no option";
        else if (!set_option(options, letter, optarg))
            problem = "has a bad value";
        if (!problem)
            continue;
        snprintf(options->message, sizeof options->message, "%s %s%s%s; see cartd --help",
                 row ? row->name : argv[optind - 1], problem, row ? ": " : "", row ? optarg : "");
        return CE_INVAL;
    }
    if (optind < argc) {
        snprintf(options->message, sizeof options->message, "what is \"%s\"? see cartd --help",
                 argv[optind]);
        return CE_INVAL;
    }
    return 0;
}

/* ---- building and running ---- */

struct parts {
    struct cmd *cmd;
    struct net *net;
    struct tier *tier;
    char l3_url[4096];
};

static void on_advanced(void *ctx)
{
    net_advanced(((struct parts *)ctx)->net);
}

static const char *find_l3(struct options *options, struct parts *parts)
{
    if (!options->l3) {
        snprintf(parts->l3_url, sizeof parts->l3_url, "sqlite:%s/cartd.sqlite", options->data);
        return parts->l3_url;
    }
    return strcmp(options->l3, "none") == 0 ? NULL : options->l3;
}

static int build(struct options *options, struct parts *parts)
{
    struct cart_limits limits = CART_LIMITS_DEFAULT;
    limits.qty_max = options->qty_max;
    limits.lines_max = options->lines_max;
    const struct cmd_bucket bucket = {
        .prefix = slice_str("cart:"), .limits = limits, .ack = options->ack};
    const struct cmd_config cmd = {.env = env_real(),
                                   .bucket = bucket,
                                   .value_bytes_max = options->item_bytes,
                                   .workers = options->threads,
                                   .version = WIRE_VERSION};
    const struct tier_config tier = {.env = env_real(),
                                     .data_dir = options->data,
                                     .l3_url = find_l3(options, parts),
                                     .l1_bytes_max = (size_t)options->megabytes << 20,
                                     .value = cmd_tier_value(),
                                     .state_record = CMD_RECORD_STATE,
                                     .advanced = on_advanced,
                                     .ctx = parts};
    snprintf(options->message, sizeof options->message, "out of memory");
    int rc = cmd_new(&cmd, &parts->cmd);
    if (rc)
        return rc;
    const struct net_config net = {.env = env_real(),
                                   .handler = cmd_net_handler(parts->cmd),
                                   .listen = options->listen,
                                   .port = options->port,
                                   .workers = options->threads,
                                   .conns_max = options->conns};
    rc = net_new(&net, &parts->net, options->message, sizeof options->message);
    if (rc == 0)
        rc = tier_open(&tier, &parts->tier, options->message, sizeof options->message);
    return rc;
}

static int serve(struct options *options, struct parts *parts)
{
    uint64_t began_ms = env_mono_ms(env_real());
    cmd_attach(parts->cmd, parts->net, parts->tier);
    int rc = tier_start(parts->tier, cmd_replay, parts->cmd);
    if (rc) {
        snprintf(options->message, sizeof options->message, "start from %s: %s", options->data,
                 err_text(rc));
        return rc;
    }
    log_info("cartd", PACKAGE_VERSION " on %s port %u, %u threads, data in %s, started in %llu ms",
             options->listen, (unsigned)options->port, (unsigned)options->threads, options->data,
             (unsigned long long)(env_mono_ms(env_real()) - began_ms));
    net_run(parts->net);
    return 0;
}

static int take_down(struct parts *parts)
{
    int rc = 0;
    if (parts->net && !net_stop(parts->net, STOP_CONNS_MS))
        log_warn("cartd", "some connections were cut off");
    if (parts->tier && (rc = tier_stop(&parts->tier, STOP_TIER_MS)))
        log_warn("cartd", "not everything reached the database: %s; it goes on at the next start",
                 err_text(rc));
    if (parts->net)
        net_free(&parts->net);
    if (parts->cmd)
        cmd_free(&parts->cmd);
    return rc;
}

int main(int argc, char **argv)
{
    struct options options = {.listen = "127.0.0.1",
                              .data = "./var",
                              .port = 11211,
                              .threads = 4,
                              .megabytes = 64,
                              .conns = 1024,
                              .item_bytes = 1u << 20,
                              .qty_max = CART_QTY_HARD,
                              .lines_max = 200,
                              .ack = ACK_SYNC};
    struct parts parts = {0};
    if (read_options(argc, argv, &options)) {
        fprintf(stderr, "cartd: %s\n", options.message);
        return EXIT_USAGE;
    }
    if (options.help || options.version) {
        if (options.help)
            print_help();
        else
            printf("cartd " PACKAGE_VERSION "\n");
        return 0;
    }
    log_level_set(options.verbose ? LOG_DEBUG : LOG_INFO);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* nothing to read again yet; a closed terminal is no reason to end */
    /* Large carts come and go as scratch copies: do not map and unmap pages for each. */
    mallopt(M_MMAP_THRESHOLD, MALLOC_KEEP_BYTES);
    mallopt(M_TRIM_THRESHOLD, MALLOC_KEEP_BYTES);
    int rc = build(&options, &parts);
    if (rc == 0)
        rc = serve(&options, &parts);
    if (rc)
        fprintf(stderr, "cartd: %s\n", options.message);
    int down = take_down(&parts);
    if (rc == 0 && down == 0)
        log_info("cartd", "stopped; everything is on disk and in the database");
    return rc ? EXIT_FAILURE : 0;
}
