/* conf: the command line. Read twice: once for --config, then, behind the file, for all, so that it
 * wins over the file. */
#include "conf/conf_int.h"

#include <getopt.h>
#include <stdlib.h>

#define ROWS_MAX 64

/* The table as getopt wants it. */
struct getopt_form {
    char letters[2 * ROWS_MAX + 2];
    struct option longs[ROWS_MAX + 1];
};

static void make_getopt(struct getopt_form *form)
{
    size_t at = 0;
    MUST(conf_rows_count <= ROWS_MAX);
    form->letters[at++] = ':';
    for (size_t i = 0; i < conf_rows_count; i++) {
        const struct option_row *row = &conf_rows[i];
        if (row->letter < OPTION_DATA) {
            form->letters[at++] = (char)row->letter;
            if (row->arg)
                form->letters[at++] = ':';
        }
        form->longs[i] = (struct option){.name = row->name,
                                         .has_arg = row->arg ? required_argument : no_argument,
                                         .val = row->letter};
    }
    form->letters[at] = 0;
    form->longs[conf_rows_count] = (struct option){0};
}

/* An option with its value in the message; -o has told more already. */
static int refuse_option(struct conf *conf, const struct option_row *row, const char *given,
                         const char *problem)
{
    if (!conf->message[0])
        snprintf(conf->message, sizeof conf->message, "%s %s%s%s; see cartd --help",
                 row ? row->name : given, problem, row && optarg ? ": " : "",
                 row && optarg ? optarg : "");
    return CE_INVAL;
}

/* only_config: nothing but --config is taken. */
static int read_argv(struct conf *conf, int argc, char **argv, bool only_config)
{
    struct getopt_form form;
    int letter;
    make_getopt(&form);
    opterr = 0;
    optind = 0; /* glibc: from the start again */
    while ((letter = getopt_long(argc, argv, form.letters, form.longs, NULL)) != -1) {
        const struct option_row *row = conf_row_of_letter(letter == ':' ? optopt : letter);
        if (letter == ':')
            return refuse_option(conf, row, argv[optind - 1], "needs a value");
        if (!row)
            return refuse_option(conf, row, argv[optind - 1], "is no option");
        if (only_config && letter != OPTION_CONFIG)
            continue;
        if (!conf_set(conf, row, optarg))
            return refuse_option(conf, row, NULL, "has a bad value");
    }
    if (optind == argc)
        return 0;
    snprintf(conf->message, sizeof conf->message, "what is \"%s\"? see cartd --help", argv[optind]);
    return CE_INVAL;
}

static void set_defaults(struct conf *conf)
{
    for (size_t i = 0; i < conf_rows_count; i++)
        if (conf_rows[i].standard && conf_rows[i].kind != KIND_IGNORED)
            MUST(conf_set(conf, &conf_rows[i], conf_rows[i].standard));
    conf->tcp_asked = false;
}

/* What can only be judged when all is known. */
static int check_whole(struct conf *conf)
{
    const char *problem = NULL;
    if (conf->tls && !conf->tls_cert)
        problem = "TLS (-Z) needs a certificate: --tls-cert FILE or -o ssl_chain_cert=FILE";
    else if (!conf->tls && (conf->tls_cert || conf->tls_key))
        problem = "a certificate is given, but TLS is not turned on with -Z";
    else if (conf->tls_verify == 2 && !conf->tls_ca)
        problem = "required client certificates need --tls-ca FILE or -o ssl_ca_cert=FILE";
    else if (conf->protocol == CONF_PROTOCOL_ASCII && conf->sasl)
        problem = "SASL (-S) needs the binary protocol, -B ascii turns it off";
    if (!problem)
        return 0;
    snprintf(conf->message, sizeof conf->message, "%s", problem);
    return CE_INVAL;
}

int conf_read(const struct env *env, int argc, char **argv, struct conf *conf)
{
    *conf = (struct conf){0};
    set_defaults(conf);
    int rc = read_argv(conf, argc, argv, true);
    if (rc == 0 && conf->config_path)
        rc = conf_file_read(env, conf);
    /* Lists of the command line replace those of the file. */
    const char *file_listen = conf->listen;
    if (rc == 0) {
        conf->listen = NULL;
        rc = read_argv(conf, argc, argv, false);
    }
    if (!conf->listen)
        conf->listen = file_listen;
    if (conf->tls_verify == 3) /* memcached's "once" is what OpenSSL's 1.3 always does */
        conf->tls_verify = 2;
    bool serves = !conf->help && !conf->version && !conf->license;
    if (rc == 0 && serves)
        rc = check_whole(conf);
    return rc || !serves ? rc : conf_buckets_finish(conf);
}
