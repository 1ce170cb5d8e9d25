/* client_libmemcached: the steps of libmemcached; see README.md.
 *
 * usage: client_libmemcached PART OPTIONS SERVERS [USER PASSWORD]
 * options: binary noblock nodelay ketama udp */
#include <inttypes.h>
#include <libmemcached-1.0/memcached.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LARGE_BYTES = 1000000, TEXT_BYTES = 256, MANY = 1000, SOME = 100, RING = 300 };

static memcached_st *mc;
static char **args;        /* what we were called with, from PART on */
static char text[1 << 21]; /* of the last get() */
static size_t text_bytes;
static uint32_t text_flags;

static bool has_option(const char *option)
{
    return strstr(args[1], option) != NULL;
}

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, memcached_last_error_message(mc));
    exit(EXIT_FAILURE);
}

/* ---- what is printed ---- */

__attribute__((format(printf, 2, 3))) static void step(const char *name, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    printf("%s ", name);
    vprintf(format, values);
    putchar('\n');
    va_end(values);
}

/* yes or no, and behind a tab what the library says. */
static void step_rc(const char *name, memcached_return_t rc)
{
    if (rc == MEMCACHED_SUCCESS)
        step(name, "yes");
    else
        step(name, "no\t%s", memcached_strerror(mc, rc));
}

static void step_bool(const char *name, bool yes)
{
    step(name, yes ? "yes" : "no");
}

static void step_number(const char *name, memcached_return_t rc, uint64_t number)
{
    if (rc == MEMCACHED_SUCCESS)
        step(name, "%" PRIu64, number);
    else
        step_rc(name, rc);
}

/* ---- libmemcached with C strings ---- */

static memcached_return_t set_bytes(const char *key, const void *value, size_t bytes)
{
    return memcached_set(mc, key, strlen(key), value, bytes, 0, 0);
}

static memcached_return_t set(const char *key, const char *value)
{
    return set_bytes(key, value, strlen(value));
}

static memcached_return_t set_until(const char *key, const char *value, time_t end)
{
    return memcached_set(mc, key, strlen(key), value, strlen(value), end, 0);
}

static memcached_return_t add(const char *key, const char *value)
{
    return memcached_add(mc, key, strlen(key), value, strlen(value), 0, 0);
}

static memcached_return_t replace(const char *key, const char *value)
{
    return memcached_replace(mc, key, strlen(key), value, strlen(value), 0, 0);
}

static memcached_return_t append(const char *key, const char *value)
{
    return memcached_append(mc, key, strlen(key), value, strlen(value), 0, 0);
}

static memcached_return_t prepend(const char *key, const char *value)
{
    return memcached_prepend(mc, key, strlen(key), value, strlen(value), 0, 0);
}

static memcached_return_t forget(const char *key)
{
    return memcached_delete(mc, key, strlen(key), 0);
}

static memcached_return_t cas(const char *key, const char *value, uint64_t unique)
{
    return memcached_cas(mc, key, strlen(key), value, strlen(value), 0, 0, unique);
}

static memcached_return_t count(const char *key, bool up, uint32_t by, uint64_t *number)
{
    return up ? memcached_increment(mc, key, strlen(key), by, number)
              : memcached_decrement(mc, key, strlen(key), by, number);
}

/* The value into `text`; "none" on a miss, or what went wrong. */
static const char *get(const char *key)
{
    memcached_return_t rc;
    char *value = memcached_get(mc, key, strlen(key), &text_bytes, &text_flags, &rc);
    if (rc == MEMCACHED_NOTFOUND)
        return "none";
    if (rc != MEMCACHED_SUCCESS)
        return memcached_strerror(mc, rc);
    if (text_bytes >= sizeof text)
        die("get");
    if (text_bytes > 0)
        memcpy(text, value, text_bytes);
    text[text_bytes] = 0;
    free(value);
    return text;
}

static uint64_t get_cas(const char *key)
{
    size_t bytes = strlen(key);
    memcached_return_t rc;
    if (memcached_mget(mc, &key, &bytes, 1) != MEMCACHED_SUCCESS)
        die("gets");
    memcached_result_st *result = memcached_fetch_result(mc, NULL, &rc);
    if (!result)
        die("gets");
    uint64_t unique = memcached_result_cas(result);
    snprintf(text, sizeof text, "%.*s", (int)memcached_result_length(result),
             memcached_result_value(result));
    memcached_result_free(result);
    if (memcached_fetch_result(mc, NULL, &rc))
        die("two values for one key");
    return unique;
}

/* How many of the keys PREFIX-0 ... have the value NUMBER. */
static unsigned get_many(const char *prefix, unsigned keys_count)
{
    static char keys[MANY][32];
    const char *names[MANY];
    size_t bytes[MANY];
    unsigned found = 0;
    for (unsigned i = 0; i < keys_count; i++) {
        bytes[i] = (size_t)snprintf(keys[i], sizeof keys[i], "%s-%u", prefix, i);
        names[i] = keys[i];
    }
    if (memcached_mget(mc, names, bytes, keys_count) != MEMCACHED_SUCCESS)
        die("mget");
    memcached_return_t rc;
    memcached_result_st *result;
    while ((result = memcached_fetch_result(mc, NULL, &rc))) {
        const char *key = memcached_result_key_value(result);
        size_t skip = strlen(prefix) + 1, digits = memcached_result_key_length(result) - skip;
        found += memcached_result_length(result) == digits &&
                 memcmp(memcached_result_value(result), key + skip, digits) == 0;
        memcached_result_free(result);
    }
    return found;
}

static void set_many(const char *prefix, unsigned keys_count)
{
    char key[32], number[16];
    for (unsigned i = 0; i < keys_count; i++) {
        snprintf(key, sizeof key, "%s-%u", prefix, i);
        snprintf(number, sizeof number, "%u", i);
        memcached_return_t rc = set(key, number);
        if (rc != MEMCACHED_SUCCESS && rc != MEMCACHED_BUFFERED)
            die(key);
    }
}

/* ---- the parts ---- */

static memcached_st *connect_servers(void)
{
    memcached_st *made = memcached_create(NULL);
    char list[TEXT_BYTES];
    snprintf(list, sizeof list, "%s", args[2]);
    if (has_option("udp"))
        memcached_behavior_set(made, MEMCACHED_BEHAVIOR_USE_UDP, 1);
    memcached_behavior_set(made, MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1);
    memcached_behavior_set(made, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, has_option("binary"));
    memcached_behavior_set(made, MEMCACHED_BEHAVIOR_NO_BLOCK, has_option("noblock"));
    memcached_behavior_set(made, MEMCACHED_BEHAVIOR_TCP_NODELAY, has_option("nodelay"));
    if (has_option("ketama"))
        memcached_behavior_set(made, MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED, 1);
    if (args[3] && memcached_set_sasl_auth_data(made, args[3], args[4]) != MEMCACHED_SUCCESS)
        die("sasl");
    char *rest = list, *name;
    while ((name = strsep(&rest, ","))) {
        char *port = strrchr(name, ':');
        if (port)
            *port++ = 0;
        if (port)
            memcached_server_add(made, name, (in_port_t)strtoul(port, NULL, 10));
        else
            memcached_server_add_unix_socket(made, name);
    }
    return made;
}

static void do_one_key(void)
{
    step_rc("flush", memcached_flush(mc, 0));
    if (memcached_version(mc) != MEMCACHED_SUCCESS)
        die("version");
    const memcached_instance_st *server = memcached_server_instance_by_position(mc, 0);
    step("version", "%u.%u.%u", memcached_server_major_version(server),
         memcached_server_minor_version(server), memcached_server_micro_version(server));
    step("get-absent", "%s", get("k"));
    step_rc("set", set("k", "hello"));
    step("get", "%s", get("k"));
    set("empty", "");
    step("empty", strcmp(get("empty"), "") == 0 ? "same" : "other");
    step_rc("add-present", add("k", "other"));
    step_rc("add-absent", add("k2", "other"));
    step_rc("replace-present", replace("k", "hello"));
    step_rc("replace-absent", replace("k3", "other"));
    step_rc("append", append("k", ">"));
    step_rc("prepend", prepend("k", "<"));
    step("joined", "%s", get("k"));
    step_rc("append-absent", append("k3", ">"));
    step_rc("prepend-absent", prepend("k3", "<"));
    step_rc("delete", forget("k"));
    step_rc("delete-again", forget("k"));
    step("deleted", "%s", get("k"));
}

static void do_counting(void)
{
    uint64_t number = 0;
    memcached_return_t rc;
    set("n", "10");
    rc = count("n", true, 5, &number);
    step_number("incr", rc, number);
    rc = count("n", false, 1, &number);
    step_number("decr", rc, number);
    step_rc("incr-absent", count("n2", true, 1, &number));
    rc = count("n", false, 100, &number);
    step_number("decr-floor", rc, number);
    set("n", "10");
    count("n", false, 1, &number);
    step("decr-padded", "[%s]", get("n"));
    set("n", "18446744073709551615");
    rc = count("n", true, 5, &number);
    step_number("incr-wraps", rc, number);
    set("n", "ten");
    step_rc("incr-text", count("n", true, 1, &number));
    if (!has_option("binary"))
        return;
    rc = memcached_increment_with_initial(mc, "n3", 2, 5, 7, 0, &number);
    step_number("incr-initial", rc, number);
    rc = memcached_decrement_with_initial(mc, "n4", 2, 5, 7, 0, &number);
    step_number("decr-initial", rc, number);
}

static void do_cas(void)
{
    set("c", "first");
    uint64_t unique = get_cas("c");
    step_rc("cas", cas("c", "second", unique));
    step("cas-value", "%s", get("c"));
    step_rc("cas-stale", cas("c", "other", unique));
    step_rc("cas-absent", cas("c2", "other", unique));
}

/* On a connection of its own; the first get sends what waits in the library. */
static void do_buffered(void)
{
    memcached_st *unbuffered = mc;
    char key[32], number[16];
    unsigned found = 0;
    mc = connect_servers();
    memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_BUFFER_REQUESTS, 1);
    set_many("buffered", SOME);
    for (unsigned i = 0; i < SOME; i++) {
        snprintf(key, sizeof key, "buffered-%u", i);
        snprintf(number, sizeof number, "%u", i);
        found += strcmp(get(key), number) == 0;
    }
    step("buffered", "%u", found);
    memcached_free(mc);
    mc = unbuffered;
}

static void do_many(void)
{
    set_many("many", MANY);
    step("multi-get-1000", "%u", get_many("many", MANY));
    step("multi-get-none", "%u", get_many("absent", 3));
}

static bool is_stored(const char *key, size_t key_bytes)
{
    size_t bytes;
    uint32_t flags;
    memcached_return_t rc = memcached_set(mc, key, key_bytes, "x", 1, 0, 0);
    char *value = rc ? NULL : memcached_get(mc, key, key_bytes, &bytes, &flags, &rc);
    bool stored = value && rc == MEMCACHED_SUCCESS && bytes == 1 && *value == 'x';
    free(value);
    return stored;
}

static void do_values(void)
{
    static char large[3 * LARGE_BYTES];
    char key[252] = "";
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * i % 251);
    set_bytes("large", large, LARGE_BYTES);
    get("large");
    bool equal = text_bytes == LARGE_BYTES && memcmp(text, large, LARGE_BYTES) == 0;
    step("large", equal ? "same" : "other");
    step_rc("too-large", set_bytes("large", large, sizeof large));
    step("too-large-dropped", "%s", get("large"));
    set("k", "hello");
    step("after-too-large", "%s", get("k"));
    memcached_set(mc, "flags", 5, "x", 1, 0, 3735928559);
    get("flags");
    step("flags", "%" PRIu32, text_flags);
    memcached_set(mc, "flags", 5, "x", 1, 0, 77);
    append("flags", "y");
    get("flags");
    step("kept-flags", "%" PRIu32, text_flags);
    memset(key, 'k', 251);
    step_bool("key-250", is_stored(key, 250));
    step_bool("key-251", is_stored(key, 251));
    step_bool("key-utf8", is_stored("cl\303\251", 4));
    if (has_option("binary"))
        step_bool("key-binary", is_stored("a b\r\nc\0d", 8));
    memcached_callback_set(mc, MEMCACHED_CALLBACK_PREFIX_KEY, "shop:");
    set("k", "prefixed");
    memcached_callback_set(mc, MEMCACHED_CALLBACK_PREFIX_KEY, NULL);
    step("prefix", strcmp(get("shop:k"), "prefixed") == 0 ? "same" : "other");
}

static void do_time(void)
{
    set("k", "hello");
    step_rc("touch", memcached_touch(mc, "k", 1, 100));
    step_rc("touch-absent", memcached_touch(mc, "absent", 6, 100));
    step("touched", "%s", get("k"));
    if (!has_option("binary")) {
        set_until("past", "x", -1);
        step("past", "%s", get("past"));
    }
    set_until("past", "x", 1000000000);
    step("past-date", "%s", get("past"));
    set_until("future", "hello", 2592000);
    step("future", "%s", get("future"));
    set_until("future", "hello", time(NULL) + 3000000);
    step("future-date", "%s", get("future"));
    memcached_touch(mc, "future", 6, 1000000000);
    step("touch-past", "%s", get("future"));
    memcached_flush(mc, 1000);
    step("flush-later", "%s", get("k"));
    step_rc("flush-again", memcached_flush(mc, 0));
    step("flushed", "%s", get("k"));
}

static void do_silence(void)
{
    uint64_t number;
    memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_NOREPLY, 1);
    set_many("quiet", SOME);
    step("quiet-set", "%u", get_many("quiet", SOME));
    set("q", "<");
    append("q", "<");
    step("quiet-append", "%s", get("q"));
    set("n", "10");
    count("n", true, 5, &number);
    count("n", false, 3, &number);
    step("quiet-count", "%s", get("n"));
    forget("q");
    step("quiet-delete", "%s", get("q"));
    replace("q", "x");
    prepend("q", "x");
    step("quiet-replace-absent", "%s", get("q"));
    set("k", "hello");
    add("k", "other");
    step("quiet-add-present", "%s", get("k"));
    memcached_flush(mc, 0);
    step("quiet-flush", "%s", get("k"));
    memcached_behavior_set(mc, MEMCACHED_BEHAVIOR_NOREPLY, 0);
}

static memcached_return_t look_at_stat(const memcached_instance_st *server, const char *name,
                                       size_t name_bytes, const char *value, size_t value_bytes,
                                       void *seen)
{
    (void)server;
    if (name_bytes == 8 && memcmp(name, "maxbytes", 8) == 0)
        *(bool *)seen = value_bytes == 8 && memcmp(value, "67108864", 8) == 0;
    return MEMCACHED_SUCCESS;
}

static void do_server(void)
{
    memcached_return_t rc;
    memcached_stat_st *stats = memcached_stat(mc, NULL, &rc);
    step_bool("stats", stats && rc == MEMCACHED_SUCCESS && stats->pid > 0 && stats->cmd_get > 0);
    memcached_stat_free(mc, stats);
    bool seen = false;
    rc = memcached_stat_execute(mc, "settings", look_at_stat, &seen);
    step_bool("stats-settings", rc == MEMCACHED_SUCCESS && seen);
    if (has_option("binary") || has_option("noblock"))
        return; /* the library can't */
    step_rc("verbosity", memcached_verbosity(mc, 0));
}

static const char *member(const char *name)
{
    const char *found = strstr(text, name);
    return found ? found + strlen(name) : "nothing";
}

static void do_cart(void)
{
    uint64_t number = 0;
    memcached_return_t rc;
    step("cart-absent", "%s", get("cart:u1"));
    step_rc("cart-incr-absent", count("cart:u1/SKU-1/qty", true, 1, &number));
    step_rc("cart-add", add("cart:u1/SKU-1", "2"));
    step_rc("cart-add-again", add("cart:u1/SKU-1", "7"));
    rc = count("cart:u1/SKU-1/qty", true, 3, &number);
    step_number("cart-incr", rc, number);
    rc = count("cart:u1/SKU-1/qty", false, 1, &number);
    step_number("cart-decr", rc, number);
    step("cart-qty", "%s", get("cart:u1/SKU-1/qty"));
    step_rc("cart-set", set("cart:u1/SKU-2", "{\"qty\":3,\"price\":1999,\"currency\":\"EUR\"}"));
    step_rc("cart-replace", replace("cart:u1/SKU-2", "8"));
    step_rc("cart-replace-absent", replace("cart:u1/SKU-3", "8"));
    step_rc("cart-append", append("cart:u1", "x"));
    step_rc("cart-no-number", count("cart:u1", true, 1, &number));
    step_rc("cart-no-document", set("cart:u1", "no document"));
    step_rc("cart-touch", memcached_touch(mc, "cart:u1", 7, 1000));
    step_rc("cart-remove", forget("cart:u1/SKU-2"));
    step_rc("cart-remove-again", forget("cart:u1/SKU-2"));
    step("cart-removed", "%s", get("cart:u1/SKU-2/qty"));
    uint64_t unique = get_cas("cart:u1");
    set("cart:u1/SKU-3", "1");
    const char *document = "{\"lines\":[{\"line\":\"SKU-1\",\"qty\":9}]}";
    step_rc("cart-cas-stale", cas("cart:u1", document, unique));
    step_rc("cart-cas", cas("cart:u1", document, get_cas("cart:u1")));
    memcached_flush(mc, 0);
    get("cart:u1");
    step("cart-after-flush", "%.5s=%.1s", member("\"line\":\""), member("\"qty\":"));
    step_rc("cart-delete", forget("cart:u1"));
    step_rc("cart-delete-again", forget("cart:u1"));
    step("cart-deleted", "%s", get("cart:u1"));
    step_rc("cart-left", set("cart:left/SKU-1", "2"));
}

static void do_ring(void)
{
    if (strcmp(args[0], "ring") == 0) {
        set_many("ring", RING);
        step("ring-put", "%d", RING);
    }
    step("ring-get", "%u", get_many("ring", RING));
}

/* libmemcached reads no answers there, and datagrams have no order. */
static void do_udp(void)
{
    set_many("udp", SOME);
    forget("old");
    step("udp-sent", "yes");
}

static void do_login(void)
{
    step_rc("login", set("k", "hello"));
    step("login-get", "%s", get("k"));
}

static void do_plain(void)
{
    do_one_key();
    do_counting();
    do_cas();
    do_many();
    do_buffered();
    do_values();
    do_time();
    do_silence();
    do_server();
}

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {{"plain", do_plain},   {"cart", do_cart}, {"ring", do_ring},
             {"ring-get", do_ring}, {"udp", do_udp},   {"login", do_login}};

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 6)
        return EXIT_FAILURE;
    args = argv + 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    mc = connect_servers();
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strcmp(parts[i].name, args[0]) == 0)
            parts[i].run();
    memcached_free(mc);
    return EXIT_SUCCESS;
}
