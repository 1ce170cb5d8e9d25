/* load: asks one server on the loopback many things, checks every reply and tells how long they
 * took, as one row of tab-separated values.
 *
 * Exit status: 0 all replies good; 1 a reply was not (the first is shown); 2 the run could not be
 * carried through; 64 wrong options. A miss is bad, too, unless --misses. */
#include "bench/load.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_BAD_REPLY 1
#define EXIT_BROKEN    2
#define EXIT_USAGE     64
#define CONNS_MAX      10000
#define DEPTH_MAX      4096
#define PRELOAD_CONNS  8
#define PRELOAD_DEPTH  64

/* letter, name, argument, what it is */
#define OPTION_TABLE(X)                                                                            \
    X('p', "port", "PORT", "of the server, on 127.0.0.1")                                          \
    X('P', "protocol", "NAME", "text, meta, binary, resp or null")                                 \
    X('w', "work", "NAME", "see below")                                                            \
    X('c', "conns", "N", "connections (50)")                                                       \
    X('d', "depth", "N", "requests that are on their way per connection (1)")                      \
    X('W', "window", NULL, "ask again after every reply, not when all of a batch are in")          \
    X('n', "ops", "N", "requests in all")                                                          \
    X('s', "seconds", "S", "instead: ask for so long")                                             \
    X('r', "rate", "N", "open loop: N requests per second; latency from when each was due")        \
    X('k', "keys", "N", "items or carts (100000)")                                                 \
    X('D', "dist", "DIST", "which key is next: uniform or zipf:THETA (uniform)")                   \
    X('v', "value-bytes", "N", "of an item (100)")                                                 \
    X('l', "cart-lines", "N", "of a cart (10)")                                                    \
    X('a', "ack", "LEVEL", "ram, os or sync: sent with each cart write (not sent)")                \
    X('S', "seed", "N", "of keys and tokens (1)")                                                  \
    X('L', "preload", NULL,                                                                        \
      "first write all keys or carts; with neither ops nor seconds, only that")                    \
    X('x', "scan", "PART", "part of the requests for keys that are asked for only once (0)")       \
    X('f', "fill", NULL, "what is missed is written then, as in front of a cache; closed loop")    \
    X('M', "misses", NULL, "a miss is no error")                                                   \
    X('t', "timeout-s", "S", "give up after so long (60)")                                         \
    X('H', "header", NULL, "name the columns")                                                     \
    X('h', "help", NULL, "this")

struct options {
    struct plan plan;
    struct shape shape;
    struct pick pick;
    const char *protocol, *work;
    unsigned keys;
    double theta, scan_part;
    uint64_t seed;
    bool preload, fill, misses, header, help;
};

static const struct option_row {
    char letter;
    const char *name, *arg, *what;
} rows[] = {
#define X(letter, name, arg, what) {letter, name, arg, what},
    OPTION_TABLE(X)
#undef X
};
#define ROWS (sizeof rows / sizeof rows[0])

static void print_help(void)
{
    printf("usage: load --port PORT --protocol NAME --work NAME [option...]\n\n");
    for (size_t i = 0; i < ROWS; i++)
        printf("  --%-11s %-6s %s\n", rows[i].name, rows[i].arg ? rows[i].arg : "", rows[i].what);
    printf("\nwork:\n");
    work_list(stdout);
}

/* ---- options ------------------------------------------------------------------------------------
 */

static bool parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == 0 && *out >= min && *out <= max;
}

static bool parse_unsigned(const char *text, unsigned min, unsigned max, unsigned *out)
{
    uint64_t value;
    if (!parse_u64(text, min, max, &value))
        return false;
    *out = (unsigned)value;
    return true;
}

static bool parse_positive(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return *text && *end == 0 && *out > 0 && *out < 1e12;
}

static bool parse_dist(const char *text, double *theta)
{
    static const char zipf[] = "zipf:";
    *theta = 0;
    if (strncmp(text, zipf, sizeof zipf - 1) == 0)
        return parse_positive(text + sizeof zipf - 1, theta);
    return strcmp(text, "uniform") == 0;
}

static bool parse_ack(const char *text, char *ack)
{
    *ack = *text;
    return !strcmp(text, "ram") || !strcmp(text, "os") || !strcmp(text, "sync");
}

static bool set_option(struct options *options, int letter, const char *text)
{
    struct plan *plan = &options->plan;
    switch (letter) {
    case 'p': return parse_unsigned(text, 1, 65535, &plan->port);
    case 'P': options->protocol = text; return true;
    case 'w': options->work = text; return true;
    case 'c': return parse_unsigned(text, 1, CONNS_MAX, &plan->conns);
    case 'd': return parse_unsigned(text, 1, DEPTH_MAX, &plan->depth);
    case 'W': plan->sliding = true; return true;
    case 'n': return parse_u64(text, 1, UINT64_MAX, &plan->ops);
    case 's': return parse_positive(text, &plan->seconds);
    case 'r': return parse_positive(text, &plan->rate);
    case 'k': return parse_unsigned(text, 1, LOAD_KEYS_MAX, &options->keys);
    case 'D': return parse_dist(text, &options->theta);
    case 'v': return parse_unsigned(text, 1, LOAD_VALUE_BYTES_MAX, &options->shape.value_bytes);
    case 'l': return parse_unsigned(text, 1, LOAD_LINES_MAX, &options->shape.lines);
    case 'a': return parse_ack(text, &options->shape.ack);
    case 'S': return parse_u64(text, 0, UINT64_MAX, &options->seed);
    case 'L': options->preload = true; return true;
    case 'x': return parse_positive(text, &options->scan_part) && options->scan_part < 1;
    case 'f': options->fill = options->misses = true; return true;
    case 'M': options->misses = true; return true;
    case 't': return parse_unsigned(text, 1, 86400, &plan->timeout_s);
    case 'H': options->header = true; return true;
    default: options->help = true; return true;
    }
}

static const char *read_options(int argc, char **argv, struct options *options)
{
    struct option longs[ROWS + 1] = {0};
    for (size_t i = 0; i < ROWS; i++)
        longs[i] = (struct option){.name = rows[i].name,
                                   .has_arg = rows[i].arg ? required_argument : no_argument,
                                   .val = rows[i].letter};
    int letter;
    while ((letter = getopt_long(argc, argv, "", longs, NULL)) != -1)
        if (letter == '?' || !set_option(options, letter, optarg))
            return optarg ? optarg : "no such option";
    if (options->help)
        return NULL;
    if (optind < argc)
        return argv[optind];
    if (!options->plan.port || !options->protocol || !options->work)
        return "--port, --protocol and --work are needed";
    options->plan.work = work_find(options->protocol, options->work);
    if (!options->plan.work)
        return "no such work in this protocol";
    if (options->fill && (options->plan.sliding || options->plan.rate > 0))
        return "--fill goes with neither --window nor --rate";
    if (!options->preload && !options->plan.ops && options->plan.seconds <= 0)
        return "--ops, --seconds or --preload is needed";
    return NULL;
}

/* ---- the two phases -----------------------------------------------------------------------------
 */

static bool write_all_keys(const struct options *options, struct outcome *outcome)
{
    const struct work *work = work_find(options->protocol, options->plan.work->preload);
    struct plan plan = {.work = work,
                        .shape = &options->shape,
                        .port = options->plan.port,
                        .conns = PRELOAD_CONNS,
                        .depth = PRELOAD_DEPTH,
                        .ops = options->keys,
                        .timeout_s = options->plan.timeout_s};
    if (work->per_line)
        plan.ops *= options->shape.lines;
    return run_plan(&plan, outcome);
}

static void print_row(const struct options *options, const struct outcome *outcome)
{
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    if (options->header)
        printf(
            "work\tops\terrors\tmisses\tseconds\tops_s\tp50_us\tp90_us\tp99_us\tp999_us\tmax_us\t"
            "load_cpu_s\n");
    printf("%s\t%llu\t%llu\t%llu\t%.4f\t%.0f", options->work, (unsigned long long)outcome->ops,
           (unsigned long long)outcome->errors, (unsigned long long)outcome->misses,
           outcome->seconds, (double)outcome->ops / outcome->seconds);
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        printf("\t%.1f", (double)hist_quantile_ns(&outcome->hist, quantiles[i]) / 1e3);
    printf("\t%.1f\t%.4f\n", (double)outcome->hist.max_ns / 1e3, outcome->cpu_seconds);
}

static int judge(const struct options *options, const char *phase, bool carried_through,
                 const struct outcome *outcome)
{
    if (!carried_through) {
        fprintf(stderr, "load: %s of %s: %s\n", phase, options->work, outcome->first_error);
        return EXIT_BROKEN;
    }
    if (outcome->errors)
        fprintf(stderr, "load: %s of %s: %llu bad replies, the first: %s\n", phase, options->work,
                (unsigned long long)outcome->errors, outcome->first_error);
    bool missed = outcome->misses && !options->misses;
    if (missed)
        fprintf(stderr, "load: %s of %s: %llu misses\n", phase, options->work,
                (unsigned long long)outcome->misses);
    return outcome->errors || missed ? EXIT_BAD_REPLY : 0;
}

static int run_phases(struct options *options)
{
    static struct outcome outcome;
    int status = 0;
    if (options->preload) {
        bool written = write_all_keys(options, &outcome);
        status = judge(options, "preload", written, &outcome);
    }
    if (status || (!options->plan.ops && options->plan.seconds <= 0))
        return status;
    pick_init(&options->pick, options->seed, options->keys, options->theta);
    options->pick.scan_part = options->scan_part;
    options->plan.pick = &options->pick;
    if (options->fill)
        options->plan.fill = work_find(options->protocol, options->plan.work->preload);
    options->plan.shape = &options->shape;
    bool carried_through = run_plan(&options->plan, &outcome);
    if (carried_through)
        print_row(options, &outcome);
    return judge(options, "run", carried_through, &outcome);
}

int main(int argc, char **argv)
{
    struct options options = {.plan = {.conns = 50, .depth = 1, .timeout_s = 60},
                              .shape = {.value_bytes = 100, .lines = 10},
                              .keys = 100000,
                              .seed = 1};
    const char *wrong = read_options(argc, argv, &options);
    if (wrong) {
        fprintf(stderr, "load: %s; see load --help\n", wrong);
        return EXIT_USAGE;
    }
    if (options.help) {
        print_help();
        return 0;
    }
    int status = EXIT_BROKEN;
    if (shape_init(&options.shape, options.seed))
        status = run_phases(&options);
    else
        fprintf(stderr, "load: out of memory\n");
    shape_free(&options.shape);
    return status;
}
