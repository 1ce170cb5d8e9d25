/* conf_int: the table of options, and what the files of conf share. */
#ifndef CONF_CONF_INT_H
#define CONF_CONF_INT_H

#include "conf/conf.h"

#include <stddef.h>

/* Options that memcached does not have are long only: its letters keep its meanings. */
enum {
    OPTION_DATA = 256,
    OPTION_L3,
    OPTION_L3_PASSWORD_FILE,
    OPTION_L3_MIGRATE,
    OPTION_L3_INBOX_MS,
    OPTION_L3_READS_MAX,
    OPTION_L3_WAIT_MS,
    OPTION_L3_DELAY,
    OPTION_L3_BATCH,
    OPTION_L3_CONNECTIONS,
    OPTION_QTY_MAX,
    OPTION_LINES_MAX,
    OPTION_ACK,
    OPTION_LIFE,
    OPTION_LIFE_KIND,
    OPTION_HISTORY_BYTES,
    OPTION_L2_MAX,
    OPTION_CONFIG,
    OPTION_IDLE_TIMEOUT,
    OPTION_UDP_ANSWER_MAX,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_TLS_CA,
    OPTION_TLS_VERIFY,
    OPTION_TLS_CIPHERS,
    OPTION_TLS_MIN_VERSION,
};

/* letter or OPTION_*, long name, argument, kind, field, min, max, default, what it is */
#define CONF_TABLE(X)                                                                              \
    X('p', "port", "PORT", PORT, port, 0, 65535, "11211", "TCP port; 0 = none")                    \
    X('l', "listen", "ADDR", LIST, listen, 0, 0, "127.0.0.1",                                      \
      "addresses to listen on: HOST, HOST:PORT or [V6]:PORT, several with commas or -l again; "    \
      "notls: before one serves it without TLS")                                                   \
    X('s', "unix-socket", "FILE", TEXT, unix_path, 0, 0, NULL,                                     \
      "unix socket to listen on; then no TCP, unless -p or -l is given too")                       \
    X('a', "unix-mask", "MODE", OCTAL, unix_mode, 0, 0777, "700", "access mode of it, octal")      \
    X('U', "udp-port", "PORT", NUMBER, udp_port, 0, 65535, "0", "UDP port; 0 = none")              \
    X(OPTION_UDP_ANSWER_MAX, "udp-answer-max", "BYTES", NUMBER, udp_answer_bytes_max, 64, 65000,   \
      "1400", "longest answer to one datagram")                                                    \
    X('t', "threads", "N", NUMBER, threads, 1, CONF_WORKERS_MAX, "4", "worker threads")            \
    X('m', "memory-limit", "MB", NUMBER, megabytes, 1, 1u << 24, "64",                             \
      "memory for carts and items, in megabytes")                                                  \
    X('M', "disable-evictions", NULL, FLAG, evictions_refused, 0, 0, NULL,                         \
      "refuse to store when memory is full, instead of evicting items")                            \
    X('I', "max-item-size", "SIZE", SIZE, item_bytes_max, 1024, 1u << 30, "1m",                    \
      "largest value of a plain item, with suffix k or m")                                         \
    X('c', "conn-limit", "N", NUMBER, conns_max, 1, 1u << 20, "1024", "simultaneous connections")  \
    X('b', "listen-backlog", "N", NUMBER, backlog, 1, 65535, "1024",                               \
      "connections that may wait to be accepted")                                                  \
    X(OPTION_IDLE_TIMEOUT, "idle-timeout", "SECONDS", NUMBER, idle_timeout_s, 0, 1u << 30, "0",    \
      "close connections on which nothing moves; 0 = never")                                       \
    X('B', "protocol", "NAME", PROTOCOL, protocol, 0, 0, "auto", "ascii, binary or auto")          \
    X('S', "enable-sasl", NULL, FLAG, sasl, 0, 0, NULL, "SASL authentication (binary protocol)")   \
    X('Y', "auth-file", "FILE", TEXT, auth_file, 0, 0, NULL,                                       \
      "users who must authenticate: lines `user:password`, hashed (crypt) or clear")               \
    X('Z', "enable-ssl", NULL, FLAG, tls, 0, 0, NULL, "TLS on every TCP port")                     \
    X(OPTION_TLS_CERT, "tls-cert", "FILE", TEXT, tls_cert, 0, 0, NULL,                             \
      "certificate chain, PEM; read again on SIGHUP and by `refresh_certs`")                       \
    X(OPTION_TLS_KEY, "tls-key", "FILE", TEXT, tls_key, 0, 0, NULL,                                \
      "private key, PEM, when it is not in the file of the chain")                                 \
    X(OPTION_TLS_CA, "tls-ca", "FILE", TEXT, tls_ca, 0, 0, NULL,                                   \
      "who may sign the certificates of clients, PEM")                                             \
    X(OPTION_TLS_VERIFY, "tls-verify", "N", NUMBER, tls_verify, 0, 3, "0",                         \
      "client certificates: 0 none, 1 asked for, 2 required")                                      \
    X(OPTION_TLS_CIPHERS, "tls-ciphers", "LIST", TEXT, tls_ciphers, 0, 0, NULL,                    \
      "ciphers of TLS 1.2, as OpenSSL names them")                                                 \
    X(OPTION_TLS_MIN_VERSION, "tls-min-version", "V", TLS_VERSION, tls_1_3_only, 0, 0, "tlsv1.2",  \
      "tlsv1.2 or tlsv1.3")                                                                        \
    X(OPTION_DATA, "data", "DIR", TEXT, data, 0, 0, "./var",                                       \
      "directory of journal, L2 and the default database")                                         \
    X(OPTION_L3, "l3", "URL", TEXT, l3, 0, 0, NULL,                                                \
      "database: sqlite:PATH, postgresql://USER@HOST/NAME, mysql://USER@HOST/NAME or none "        \
      "(default sqlite:DIR/cartd.sqlite)")                                                         \
    X(OPTION_L3_PASSWORD_FILE, "l3-password-file", "FILE", TEXT, l3_password_file, 0, 0, NULL,     \
      "password of the user in --l3: the first line of this file")                                 \
    X(OPTION_L3_MIGRATE, "l3-migrate", "WHEN", MIGRATE, l3_fixed, 0, 0, "auto",                    \
      "auto: make the tables and bring them up to date; off: only check them")                     \
    X(OPTION_L3_INBOX_MS, "l3-inbox-ms", "MS", NUMBER, l3_inbox_ms, 0, 3600000, "1000",            \
      "how often the table cart_inbox is looked at for commands; 0 = never")                       \
    X(OPTION_L3_READS_MAX, "l3-reads-max", "N", NUMBER, l3_reads_max, 0, 1000000, "2000",          \
      "queries to the database in a second, for carts that only it may have; 0 = no limit")        \
    X(OPTION_L3_WAIT_MS, "l3-wait-ms", "MS", NUMBER, l3_wait_ms, 1, 60000, "1000",                 \
      "how long a request waits for its turn with them, then BUSY")                                \
    X(OPTION_L3_DELAY, "l3-delay", "MS", NUMBER, l3_delay_ms, 0, CONF_L3_DELAY_MS_HARD, "200",     \
      "how long a cart waits for more changes before it is written to the database")               \
    X(OPTION_L3_BATCH, "l3-batch", "N", NUMBER, l3_batch, 1, CONF_L3_BATCH_HARD, "1000",           \
      "most carts of one transaction")                                                             \
    X(OPTION_L3_CONNECTIONS, "l3-connections", "N", NUMBER, l3_connections, 1,                     \
      CONF_L3_CONNECTIONS_HARD, "2",                                                               \
      "connections that write to the database at the same time; SQLite has one")                   \
    X(OPTION_ACK, "ack", "LEVEL", ACK, ack, 0, 0, "sync",                                          \
      "when a cart write is acknowledged: ram, os or sync")                                        \
    X(OPTION_HISTORY_BYTES, "history-bytes", "SIZE", SIZE, history_bytes, 0, 4095u << 20, "1024m", \
      "disk for the history of carts (`chst`), with suffix k or m; 0 = none")                      \
    X(OPTION_L2_MAX, "l2-max", "MIB", NUMBER, l2_megabytes, 0, UINT32_MAX, "0",                    \
      "at most so many MiB of carts in L2; the others are in the database only; 0 = all")          \
    X(OPTION_QTY_MAX, "qty-max", "N", NUMBER, qty_max, 1, CONF_QTY_HARD, "1000000",                \
      "largest quantity of a cart line")                                                           \
    X(OPTION_LINES_MAX, "lines-max", "N", NUMBER, lines_max, 1, CONF_LINES_HARD, "200",            \
      "most lines of a cart")                                                                      \
    X(OPTION_LIFE, "life", "TIME", LIFE, life_s, 0, CONF_LIFE_S_MAX, "0",                          \
      "life of a new cart, in seconds or with suffix s, m, h or d; 0 = no end")                    \
    X(OPTION_LIFE_KIND, "life-kind", "KIND", LIFE_KIND, life_kind, 0, 0, "sliding",                \
      "sliding: after its last write; fixed: after its first one")                                 \
    X(OPTION_CONFIG, "config", "FILE", TEXT, config_path, 0, 0, NULL,                              \
      "file with long options, users and buckets; read again on SIGHUP")                           \
    X('A', "enable-shutdown", NULL, FLAG, shutdown_allowed, 0, 0, NULL, "allow `shutdown`")        \
    X('F', "disable-flush-all", NULL, FLAG, flush_all_refused, 0, 0, NULL, "refuse `flush_all`")   \
    X('X', "disable-dumping", NULL, FLAG, dump_refused, 0, 0, NULL,                                \
      "refuse `stats cachedump` and `lru_crawler metadump`")                                       \
    X('d', "daemon", NULL, FLAG, daemon, 0, 0, NULL,                                               \
      "run in the background; returns when it serves, or could not start")                         \
    X('u', "user", "NAME", TEXT, user, 0, 0, NULL, "become this user (started as root)")           \
    X('P', "pidfile", "FILE", TEXT, pid_path, 0, 0, NULL, "write the process id there")            \
    X('k', "lock-memory", NULL, FLAG, lock_memory, 0, 0, NULL, "keep all memory out of swap")      \
    X('r', "enable-coredumps", NULL, FLAG, coredumps, 0, 0, NULL, "raise the limit of cores")      \
    X('o', "extended", "LIST", EXTENDED, listen, 0, 0, NULL,                                       \
      "memcached's suboptions: idle_timeout, ssl_chain_cert, ssl_key, ssl_ca_cert, "               \
      "ssl_verify_mode, ssl_ciphers, ssl_min_version; others have no effect")                      \
    X('v', "verbose", NULL, COUNT, verbose, 0, 0, NULL, "log more")                                \
    X('h', "help", NULL, FLAG, help, 0, 0, NULL, "print this and exit")                            \
    X('V', "version", NULL, FLAG, version, 0, 0, NULL, "print the version and exit")               \
    X('i', "license", NULL, FLAG, license, 0, 0, NULL, "print the licenses and exit")              \
    X('f', "slab-growth-factor", "N", IGNORED, listen, 0, 0, NULL, NULL)                           \
    X('n', "slab-min-size", "BYTES", IGNORED, listen, 0, 0, NULL, NULL)                            \
    X('L', "enable-largepages", NULL, IGNORED, listen, 0, 0, NULL, NULL)                           \
    X('D', "delimiter", "CHAR", IGNORED, listen, 0, 0, NULL, NULL)                                 \
    X('R', "max-reqs-per-event", "N", IGNORED, listen, 0, 0, NULL, NULL)                           \
    X('C', "disable-cas", NULL, IGNORED, listen, 0, 0, NULL, NULL)                                 \
    X('W', "disable-watch", NULL, IGNORED, listen, 0, 0, NULL, NULL)                               \
    X('e', "memory-file", "FILE", IGNORED, listen, 0, 0, NULL, NULL)

enum option_kind {
    KIND_TEXT,
    KIND_LIST,   /* a text; given again it is added behind a comma */
    KIND_NUMBER, /* min..max */
    KIND_PORT,   /* a number that says TCP is wanted */
    KIND_OCTAL,
    KIND_SIZE, /* digits, k or m */
    KIND_LIFE, /* seconds, or with a suffix */
    KIND_ACK,
    KIND_PROTOCOL,
    KIND_LIFE_KIND,
    KIND_CLASS,
    KIND_MERGE,
    KIND_PREFIXES, /* of a bucket */
    KIND_TLS_VERSION,
    KIND_MIGRATE,
    KIND_FLAG,
    KIND_COUNT,    /* a flag that may be given several times */
    KIND_EXTENDED, /* -o */
    KIND_IGNORED,  /* memcached's, without effect here */
};

struct option_row {
    int letter;
    const char *name, *arg;
    enum option_kind kind;
    size_t offset;
    uint32_t min, max;
    const char *standard, *what;
};

extern const struct option_row conf_rows[];
extern const size_t conf_rows_count;

const struct option_row *conf_row_of_letter(int letter);
/* NULL: there is none. */
const struct option_row *conf_row_of_name(struct slice name);

/* Sets one field of what `base` points to, for kinds that are no more than a value; false when it
 * is bad, or another kind. */
bool conf_set_value(void *base, const struct option_row *row, const char *text);
/* Sets one option; false when the value is bad. `text` must outlive conf; NULL for a flag. */
bool conf_set(struct conf *conf, const struct option_row *row, const char *text);
/* -o: false, and conf->message. */
bool conf_set_extended(struct conf *conf, const char *list);

/* A copy of `text` that lives as long as conf; NULL: no memory. */
char *conf_keep(struct conf *conf, struct slice text);

/* conf_file.c: reads conf->config_path. CE_INVAL and conf->message. */
int conf_file_read(const struct env *env, struct conf *conf) MUST_USE;

/* conf_bucket.c: [bucket NAME]. */
/* One setting; false, and *problem: what is wrong with it. */
bool conf_bucket_set(struct conf *conf, const char *bucket, const char *name, const char *value,
                     const char **problem);
/* Behind file and command line: fills in what is not given, adds the defaults, and judges what can
 * only be judged when all is known. CE_INVAL and conf->message, CE_NOMEM. */
int conf_buckets_finish(struct conf *conf) MUST_USE;
/* Whether an option is the default of a setting of buckets. */
bool conf_bucket_has(const struct option_row *row);
/* --help */
void conf_bucket_help(FILE *out);

/* Words in lines of a width, the first behind what stands there already. */
void conf_print_wrapped(FILE *out, const char *text, const char *standard);

/* The field of a row, in what `base` points to. */
static inline uint32_t *conf_number(const void *base, const struct option_row *row)
{
    return (uint32_t *)((char *)base + row->offset);
}
static inline const char **conf_text(const void *base, const struct option_row *row)
{
    return (const char **)((char *)base + row->offset);
}
static inline bool *conf_flag(const void *base, const struct option_row *row)
{
    return (bool *)((char *)base + row->offset);
}

#endif
