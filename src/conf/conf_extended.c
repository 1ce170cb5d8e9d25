/* conf_extended: memcached's -o. Its suboptions are names for options of the table, or have no
 * effect here. */
#include "conf/conf_int.h"

#include <stdlib.h>

/* memcached's name, ours */
#define SUBOPTIONS(X)                                                                              \
    X("idle_timeout", "idle-timeout")                                                              \
    X("ssl_chain_cert", "tls-cert")                                                                \
    X("ssl_key", "tls-key")                                                                        \
    X("ssl_ca_cert", "tls-ca")                                                                     \
    X("ssl_verify_mode", "tls-verify")                                                             \
    X("ssl_ciphers", "tls-ciphers")                                                                \
    X("ssl_min_version", "tls-min-version")

/* Legal there, without effect here: hash table, LRU threads, log buffers, extstore, ... */
static const char *const ignored[] = {"maxconns_fast",
                                      "hashpower",
                                      "tail_repair_time",
                                      "hash_algorithm",
                                      "lru_crawler",
                                      "lru_crawler_sleep",
                                      "lru_crawler_tocrawl",
                                      "read_buf_mem_limit",
                                      "lru_maintainer",
                                      "hot_lru_pct",
                                      "warm_lru_pct",
                                      "hot_max_factor",
                                      "warm_max_factor",
                                      "temporary_ttl",
                                      "slab_chunk_max",
                                      "watcher_logbuf_size",
                                      "worker_logbuf_size",
                                      "track_sizes",
                                      "hashexpand",
                                      "modern",
                                      "sock_cookie_id",
                                      "slab_reassign",
                                      "slab_automove",
                                      "slab_automove_ratio",
                                      "slab_automove_window",
                                      "slab_automove_freeratio",
                                      "inline_ascii_response",
                                      "lru_segmented",
                                      "resp_obj_mem_limit",
                                      "drop_privileges",
                                      "ssl_keyformat",
                                      "ssl_wbuf_size",
                                      "ssl_session_cache",
                                      "ssl_kernel_tls",
                                      "temp_lru",
                                      "flush_enabled",
                                      "dump_enabled"};

static bool is_ignored(struct slice name)
{
    if (slice_starts(name, slice_str("no_")))
        name = slice_from(name, 3);
    if (slice_starts(name, slice_str("ext_")))
        return true;
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        if (slice_eq(name, slice_str(ignored[i])))
            return true;
    return false;
}

static const struct option_row *find_suboption(struct slice name)
{
    static const struct {
        const char *theirs, *ours;
    } rows[] = {
#define X(theirs, ours) {theirs, ours},
        SUBOPTIONS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (slice_eq(name, slice_str(rows[i].theirs)))
            return conf_row_of_name(slice_str(rows[i].ours));
    return NULL;
}

static bool refuse(struct conf *conf, struct slice part, const char *problem)
{
    snprintf(conf->message, sizeof conf->message, "-o %.*s: %s", (int)part.len,
             (const char *)part.bytes, problem);
    return false;
}

/* memcached numbers the versions: 0 = 1.0, 1 = 1.1, 2 = 1.2, 3 = 1.3. Older than 1.2 becomes 1.2.
 */
static const char *name_tls_version(const char *text)
{
    static const char *const names[] = {"tlsv1.2", "tlsv1.2", "tlsv1.2", "tlsv1.3"};
    return text[0] >= '0' && text[0] <= '3' && !text[1] ? names[text[0] - '0'] : text;
}

static bool set_part(struct conf *conf, struct slice part)
{
    const uint8_t *equals = memchr(part.bytes, '=', part.len);
    struct slice name = equals ? slice_of(part.bytes, (size_t)(equals - part.bytes)) : part;
    const struct option_row *row = find_suboption(name);
    if (!row && is_ignored(name)) {
        if (!conf->ignored_suboptions)
            conf->ignored_suboptions = conf_keep(conf, name);
        return true;
    }
    if (!row)
        return refuse(conf, name, "is no suboption");
    if (!equals)
        return refuse(conf, name, "needs a value");
    const char *text = conf_keep(conf, slice_from(part, name.len + 1));
    if (text && row->kind == KIND_TLS_VERSION)
        text = name_tls_version(text);
    return (text && conf_set(conf, row, text)) || refuse(conf, part, "has a bad value");
}

bool conf_set_extended(struct conf *conf, const char *list)
{
    while (*list) {
        size_t len = strcspn(list, ",");
        if (len && !set_part(conf, slice_of((const uint8_t *)list, len)))
            return false;
        list += len + (list[len] == ',');
    }
    return true;
}
