/* conf: what cartd was told: the command line, then the config file. One table of options
 * (conf_table.h) makes the command line, the file, --help and `stats settings`.
 *
 * Letters and the suboptions of -o are memcached's and keep their meanings; options of our own are
 * long only. What memcached has for its own insides (slabs, LRU threads, extstore) is taken and has
 * no effect, so that a memcached command line starts cartd; the log says so.
 *
 * The file (--config) is INI (inih): the long names of options, without a section or in [cartd];
 * [user NAME] with password, rights and prefixes. The command line wins over the file. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/base.h"

#include <stdio.h>

#define CONF_WORKERS_MAX    64
#define CONF_USERS_MAX      4096
#define CONF_FILE_BYTES_MAX (1u << 20)
#define CONF_MESSAGE_BYTES  512

enum conf_ack { CONF_ACK_RAM, CONF_ACK_OS, CONF_ACK_SYNC };
enum conf_protocol { CONF_PROTOCOL_AUTO, CONF_PROTOCOL_ASCII, CONF_PROTOCOL_BINARY };

enum conf_right { CONF_READ = 1, CONF_WRITE = 2, CONF_ADMIN = 4 };

/* [user NAME] */
struct conf_user {
    const char *name;
    const char *password; /* as in the file: clear or a crypt(5) hash; NULL = none */
    const char *prefixes; /* separated by spaces or commas; NULL = all keys */
    unsigned rights;      /* of enum conf_right; all when the file does not say */
};

/* NULL texts and zero numbers mean off where that is possible. */
struct conf {
    /* where to serve */
    const char *listen;
    uint32_t port, udp_port, udp_answer_bytes_max, backlog;
    bool tcp_asked; /* port or listen was given: a unix socket does not turn TCP off then */
    const char *unix_path;
    uint32_t unix_mode;
    uint32_t conns_max, idle_timeout_s, threads, protocol;
    /* TLS */
    bool tls, tls_1_3_only;
    const char *tls_cert, *tls_key, *tls_ca, *tls_ciphers;
    uint32_t tls_verify; /* 0 none, 1 request, 2 require */
    /* users */
    bool sasl;
    const char *auth_file;
    struct conf_user *users;
    size_t users_count;
    bool shutdown_allowed, flush_all_refused, dump_refused;
    /* data */
    const char *data, *l3;
    uint32_t megabytes, item_bytes_max, qty_max, lines_max, ack;
    bool evictions_refused;
    /* the process */
    const char *config_path, *user, *pid_path;
    bool daemon, lock_memory, coredumps;
    uint32_t verbose;
    bool help, version, license;

    char message[CONF_MESSAGE_BYTES]; /* what is wrong, after an error */
    char **texts;                     /* what the file's values live in */
    size_t texts_count;
    int ignored[32]; /* letters without effect that were given */
    size_t ignored_count;
    const char *ignored_suboptions; /* the first of -o without effect; NULL = none */
};

/* Defaults, then the file, then argv. 0, or CE_INVAL with conf->message: which option, or file and
 * line, and never a password. argv must outlive conf. Owner: caller, also after an error. Start-up
 * thread. */
int conf_read(const struct env *env, int argc, char **argv, struct conf *conf) MUST_USE;
void conf_free(struct conf *conf);

/* --help, from the table. */
void conf_help(FILE *out);

/* Whether an option that only a restart can change differs: its long name, or NULL. Goes on behind
 * `*at`, which begins at 0. */
const char *conf_differs(const struct conf *a, const struct conf *b, size_t *at);

/* Emits every setting under memcached's name of `stats settings`, where it has one, or the long
 * name of the option. No passwords. */
void conf_settings(const struct conf *conf, const struct stat_sink *sink);

#endif
