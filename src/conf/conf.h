/* conf: what cartd was told: the command line, then the config file. One table of options
 * (conf_table.h) makes the command line, the file, --help and `stats settings`.
 *
 * Letters and the suboptions of -o are memcached's and keep their meanings; options of our own are
 * long only. What memcached has for its own insides (slabs, LRU threads, extstore) is taken and has
 * no effect, so that a memcached command line starts cartd; the log says so.
 *
 * The file (--config) is INI (inih): the long names of options, without a section or in [cartd];
 * [user NAME] with password, rights and prefixes; [bucket NAME] with the settings of conf_bucket.c.
 * The command line wins over the file. */
#ifndef CONF_CONF_H
#define CONF_CONF_H

#include "base/base.h"

#include <stdio.h>

#define CONF_WORKERS_MAX    64
#define CONF_USERS_MAX      4096
#define CONF_FILE_BYTES_MAX (1u << 20)
#define CONF_MESSAGE_BYTES  512
#define CONF_BUCKETS_MAX    64  /* of the file; two defaults may come with them */
#define CONF_PREFIXES_MAX   120 /* of all buckets, guests' too */

#define CONF_PREFIX_BYTES_MAX      64
#define CONF_BUCKET_NAME_BYTES_MAX 32
#define CONF_LINES_HARD            1000
#define CONF_QTY_HARD              1000000
#define CONF_EXT_BYTES_HARD        4096
#define CONF_STATE_BYTES_HARD      (32u << 20)
#define CONF_L3_DELAY_MS_HARD      60000
#define CONF_L3_BATCH_HARD         1000
#define CONF_L3_CONNECTIONS_HARD   16
#define CONF_LIFE_S_MAX            (10u * 365 * 86400)

enum conf_ack { CONF_ACK_RAM, CONF_ACK_OS, CONF_ACK_SYNC };
enum conf_protocol { CONF_PROTOCOL_AUTO, CONF_PROTOCOL_ASCII, CONF_PROTOCOL_BINARY };

enum conf_class { CONF_CART, CONF_CHECKOUT, CONF_CACHE };
enum conf_life { CONF_LIFE_SLIDING, CONF_LIFE_FIXED };
enum conf_merge {
    CONF_MERGE_MAX,
    CONF_MERGE_SUM,
    CONF_MERGE_SRC,
    CONF_MERGE_DST,
    CONF_MERGE_REPLACE
};

enum conf_right { CONF_READ = 1, CONF_WRITE = 2, CONF_ADMIN = 4 };

/* [user NAME] */
struct conf_user {
    const char *name;
    const char *password; /* as in the file: clear or a crypt(5) hash; NULL = none */
    const char *prefixes; /* separated by spaces or commas; NULL = all keys */
    unsigned rights;      /* of enum conf_right; all when the file does not say */
};

/* [bucket NAME], or a default. What the file leaves out is filled in: limits, ack and life of carts
 * from the options of the same name, what is asked of guests from the bucket. */
struct conf_bucket {
    const char *name;
    const char *prefixes, *guest_prefixes; /* separated by single spaces; guests: NULL = none */
    uint32_t class;                        /* enum conf_class */
    uint32_t lines_max, qty_max, ext_bytes_max, state_bytes_max;
    uint32_t ack;                        /* enum conf_ack */
    uint32_t life_s, guest_life_s;       /* 0 = none */
    uint32_t life_kind, guest_life_kind; /* enum conf_life */
    uint32_t redirect_life_s;
    uint32_t currency_exponent;
    uint32_t merge_policy; /* enum conf_merge */
    bool rescue;
    uint32_t given; /* a bit for each setting that the file has */
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
    const char *data, *l3, *l3_password_file;
    bool l3_fixed; /* its schema is not ours to make */
    uint32_t l3_inbox_ms, l3_reads_max, l3_wait_ms;
    uint32_t l3_delay_ms, l3_batch, l3_connections;
    uint32_t megabytes, item_bytes_max, history_bytes, l2_megabytes, qty_max, lines_max, ack;
    uint32_t life_s, life_kind;  /* of carts, where their bucket does not say it */
    struct conf_bucket *buckets; /* at least those of carts and checkouts */
    size_t buckets_count;
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

/* Defaults, then the file, then argv. 0, or CE_NOMEM or CE_INVAL with conf->message: which option,
 * or file and line, and never a password. argv must outlive conf. Owner: caller, also after an
 * error. Start-up thread. */
int conf_read(const struct env *env, int argc, char **argv, struct conf *conf) MUST_USE;
void conf_free(struct conf *conf);

/* --help, from the table. */
void conf_help(FILE *out);

/* Whether an option that only a restart can change differs (defaults of buckets are none): its long
 * name, or NULL. Goes on behind
 * `*at`, which begins at 0. */
const char *conf_differs(const struct conf *a, const struct conf *b, size_t *at);

/* Emits every setting under memcached's name of `stats settings`, where it has one, or the long
 * name of the option. No passwords. */
void conf_settings(const struct conf *conf, const struct stat_sink *sink);

#endif
