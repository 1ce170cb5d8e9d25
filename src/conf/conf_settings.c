/* conf_settings: `stats settings`. First memcached's names in memcached's order, so that its tools
 * find what they look for, then the options that are ours. What memcached has and cartd has not is
 * told as turned off. */
#include "conf/conf_int.h"

static const char *word(bool yes)
{
    return yes ? "yes" : "no";
}

static const char *text_or(const char *text, const char *none)
{
    return text ? text : none;
}

static void put_octal(const struct stat_sink *sink, const char *name, uint32_t value)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%o", (unsigned)value);
    stat_text(sink, name, digits);
}

static void put_serving(const struct conf *conf, const struct stat_sink *sink)
{
    static const char *const protocols[] = {"auto-negotiate", "ascii", "binary"};
    stat_u64(sink, "maxbytes", (uint64_t)conf->megabytes << 20);
    stat_u64(sink, "maxconns", conf->conns_max);
    stat_u64(sink, "tcpport", conf->port);
    stat_u64(sink, "udpport", conf->udp_port);
    stat_text(sink, "inter", conf->listen);
    stat_u64(sink, "verbosity", conf->verbose);
    stat_u64(sink, "oldest", 0);
    stat_text(sink, "evictions", conf->evictions_refused ? "off" : "on");
    stat_text(sink, "domain_socket", text_or(conf->unix_path, "NULL"));
    put_octal(sink, "umask", conf->unix_mode);
    stat_text(sink, "shutdown_command", word(conf->shutdown_allowed));
    stat_u64(sink, "num_threads", conf->threads);
    stat_u64(sink, "num_threads_per_udp", conf->threads);
    stat_text(sink, "cas_enabled", "yes");
    stat_u64(sink, "tcp_backlog", conf->backlog);
    stat_text(sink, "binding_protocol", protocols[conf->protocol]);
    stat_text(sink, "auth_enabled_sasl", word(conf->sasl));
    stat_text(sink, "auth_enabled_ascii", word(conf->auth_file || conf->users_count));
    stat_u64(sink, "item_size_max", conf->item_bytes_max);
    stat_text(sink, "maxconns_fast", "yes");
    stat_text(sink, "flush_enabled", word(!conf->flush_all_refused));
    stat_text(sink, "dump_enabled", word(!conf->dump_refused));
    stat_text(sink, "hash_algorithm", "xxh3");
    stat_u64(sink, "idle_timeout", conf->idle_timeout_s);
}

static void put_tls(const struct conf *conf, const struct stat_sink *sink)
{
    stat_text(sink, "ssl_enabled", word(conf->tls));
    stat_text(sink, "ssl_chain_cert", text_or(conf->tls_cert, "(null)"));
    stat_text(sink, "ssl_key", text_or(conf->tls_key, "(null)"));
    stat_u64(sink, "ssl_verify_mode", conf->tls_verify);
    stat_u64(sink, "ssl_keyformat", 1); /* PEM */
    stat_text(sink, "ssl_ciphers", text_or(conf->tls_ciphers, "NULL"));
    stat_text(sink, "ssl_ca_cert", text_or(conf->tls_ca, "NULL"));
    stat_text(sink, "ssl_min_version", conf->tls_1_3_only ? "tlsv1.3" : "tlsv1.2");
}

/* memcached's inside: name, value here */
static void put_absent(const struct stat_sink *sink)
{
    static const struct {
        const char *name, *value;
    } rows[] = {{"growth_factor", "1.00"},     {"chunk_size", "0"},
                {"stat_key_prefix", ":"},      {"detail_enabled", "no"},
                {"hashpower_init", "0"},       {"slab_reassign", "no"},
                {"slab_automove", "0"},        {"slab_automove_ratio", "0.00"},
                {"slab_automove_window", "0"}, {"slab_automove_freeratio", "0.000"},
                {"slab_chunk_max", "0"},       {"lru_crawler", "no"},
                {"lru_crawler_sleep", "0"},    {"lru_crawler_tocrawl", "0"},
                {"tail_repair_time", "0"},     {"lru_maintainer_thread", "no"},
                {"lru_segmented", "no"},       {"hot_lru_pct", "0"},
                {"warm_lru_pct", "0"},         {"hot_max_factor", "0.00"},
                {"warm_max_factor", "0.00"},   {"temp_lru", "no"},
                {"temporary_ttl", "0"},        {"watcher_logbuf_size", "0"},
                {"worker_logbuf_size", "0"},   {"read_buf_mem_limit", "0"},
                {"track_sizes", "no"},         {"inline_ascii_response", "no"},
                {"ext_item_size", "0"},        {"ext_item_age", "0"},
                {"ext_low_ttl", "0"},          {"ext_recache_rate", "0"},
                {"ext_wbuf_size", "0"},        {"ext_compact_under", "0"},
                {"ext_drop_under", "0"},       {"ext_max_sleep", "0"},
                {"ext_max_frag", "0.00"},      {"ext_drop_unread", "no"},
                {"ssl_wbuf_size", "0"},        {"ssl_session_cache", "no"},
                {"ssl_kernel_tls", "no"},      {"num_napi_ids", "(null)"},
                {"memory_file", "(null)"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        stat_text(sink, rows[i].name, rows[i].value);
}

static void put_ours(const struct conf *conf, const struct stat_sink *sink)
{
    stat_text(sink, "data", conf->data);
    stat_u64(sink, "history_bytes", conf->history_bytes);
    stat_u64(sink, "l2_max", (uint64_t)conf->l2_megabytes << 20);
    stat_u64(sink, "udp_answer_max", conf->udp_answer_bytes_max);
    stat_u64(sink, "users", conf->users_count);
    stat_text(sink, "config", text_or(conf->config_path, "NULL"));
}

void conf_settings(const struct conf *conf, const struct stat_sink *sink)
{
    put_serving(conf, sink);
    put_tls(conf, sink);
    put_absent(sink);
    put_ours(conf, sink);
}
