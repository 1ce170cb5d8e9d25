/* shop_libmemcached: a shopping session of a program that knows memcached and nothing else. Leaves
 * cart:c1 with 4 of SKU-1 and 1 of SKU-3; no cart:c2. Says what went wrong, and exits with 1. */
#include <inttypes.h>
#include <libmemcached/memcached.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static memcached_st *shop;

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "line %d: %s; last error: %s\n", __LINE__, #cond,                      \
                    memcached_last_error_message(shop));                                           \
            exit(EXIT_FAILURE);                                                                    \
        }                                                                                          \
    } while (0)

static memcached_return_t set(const char *key, const char *value)
{
    return memcached_set(shop, key, strlen(key), value, strlen(value), 0, 0);
}

static memcached_return_t add(const char *key, const char *value)
{
    return memcached_add(shop, key, strlen(key), value, strlen(value), 0, 0);
}

static memcached_return_t replace(const char *key, const char *value)
{
    return memcached_replace(shop, key, strlen(key), value, strlen(value), 0, 0);
}

static memcached_return_t forget(const char *key)
{
    return memcached_delete(shop, key, strlen(key), 0);
}

/* Copies the value into text; false on a miss. */
static bool get(const char *key, char *text, size_t text_bytes)
{
    size_t len;
    uint32_t flags;
    memcached_return_t rc;
    char *value = memcached_get(shop, key, strlen(key), &len, &flags, &rc);
    if (!value) {
        CHECK(rc == MEMCACHED_NOTFOUND);
        return false;
    }
    CHECK(len < text_bytes);
    memcpy(text, value, len);
    text[len] = 0;
    free(value);
    return true;
}

static bool is_qty(const char *key, const char *digits)
{
    char text[32];
    return get(key, text, sizeof text) && strcmp(text, digits) == 0;
}

static uint64_t get_cas(const char *key, char *text, size_t text_bytes)
{
    const char *keys[] = {key};
    size_t lens[] = {strlen(key)};
    memcached_return_t rc;
    CHECK(memcached_mget(shop, keys, lens, 1) == MEMCACHED_SUCCESS);
    memcached_result_st *result = memcached_fetch_result(shop, NULL, &rc);
    CHECK(result && rc == MEMCACHED_SUCCESS);
    uint64_t cas = memcached_result_cas(result);
    CHECK(memcached_result_length(result) < text_bytes);
    memcpy(text, memcached_result_value(result), memcached_result_length(result));
    text[memcached_result_length(result)] = 0;
    memcached_result_free(result);
    CHECK(memcached_fetch_result(shop, NULL, &rc) == NULL);
    return cas;
}

static void buy(void)
{
    uint64_t qty = 0;
    CHECK(memcached_increment(shop, "cart:c1/SKU-1/qty", 17, 1, &qty) == MEMCACHED_NOTFOUND);
    CHECK(set("cart:c1/SKU-1", "2") == MEMCACHED_SUCCESS);
    CHECK(memcached_increment(shop, "cart:c1/SKU-1/qty", 17, 3, &qty) == MEMCACHED_SUCCESS);
    CHECK(qty == 5);
    CHECK(memcached_decrement(shop, "cart:c1/SKU-1/qty", 17, 1, &qty) == MEMCACHED_SUCCESS);
    CHECK(qty == 4);
    CHECK(is_qty("cart:c1/SKU-1/qty", "4"));
    CHECK(set("cart:c1/SKU-2", "{\"qty\":3,\"price\":1999,\"currency\":\"EUR\"}") ==
          MEMCACHED_SUCCESS);
    CHECK(is_qty("cart:c1/SKU-2/qty", "3"));
}

static void change_mind(void)
{
    char text[4096];
    CHECK(add("cart:c1/SKU-2", "9") == MEMCACHED_NOTSTORED);
    CHECK(replace("cart:c1/SKU-3", "9") == MEMCACHED_NOTSTORED);
    CHECK(add("cart:c1/SKU-3", "1") == MEMCACHED_SUCCESS);
    CHECK(replace("cart:c1/SKU-2", "8") == MEMCACHED_SUCCESS);
    CHECK(is_qty("cart:c1/SKU-2/qty", "8"));
    CHECK(forget("cart:c1/SKU-2") == MEMCACHED_SUCCESS);
    CHECK(forget("cart:c1/SKU-2") == MEMCACHED_NOTFOUND);
    CHECK(!get("cart:c1/SKU-2", text, sizeof text));
    CHECK(get("cart:c1", text, sizeof text));
    CHECK(strstr(text, "\"SKU-1\"") && strstr(text, "\"SKU-3\"") && !strstr(text, "\"SKU-2\""));
    CHECK(set("cart:c1", "this is no cart") != MEMCACHED_SUCCESS);
    CHECK(memcached_append(shop, "cart:c1", 7, "x", 1, 0, 0) != MEMCACHED_SUCCESS);
}

static void race(void)
{
    static const char document[] = "{\"lines\":[{\"line\":\"SKU-1\",\"qty\":7}]}";
    char text[4096];
    CHECK(set("cart:c2/SKU-1", "1") == MEMCACHED_SUCCESS);
    uint64_t cas = get_cas("cart:c2", text, sizeof text);
    CHECK(set("cart:c2/SKU-2", "1") == MEMCACHED_SUCCESS);
    CHECK(memcached_cas(shop, "cart:c2", 7, document, strlen(document), 0, 0, cas) ==
          MEMCACHED_DATA_EXISTS);
    CHECK(is_qty("cart:c2/SKU-2/qty", "1"));
    cas = get_cas("cart:c2", text, sizeof text);
    CHECK(memcached_cas(shop, "cart:c2", 7, document, strlen(document), 0, 0, cas) ==
          MEMCACHED_SUCCESS);
    CHECK(is_qty("cart:c2/SKU-1/qty", "7"));
    CHECK(!get("cart:c2/SKU-2", text, sizeof text));
    CHECK(forget("cart:c2") == MEMCACHED_SUCCESS);
    CHECK(!get("cart:c2", text, sizeof text));
}

int main(int argc, char **argv)
{
    shop = memcached_create(NULL);
    if (argc != 2 || !shop) {
        fprintf(stderr, "usage: shop_libmemcached PORT\n");
        return EXIT_FAILURE;
    }
    in_port_t port = (in_port_t)strtoul(argv[1], NULL, 10);
    CHECK(memcached_server_add(shop, "127.0.0.1", port) == MEMCACHED_SUCCESS);
    CHECK(memcached_behavior_set(shop, MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1) == MEMCACHED_SUCCESS);
    buy();
    change_mind();
    race();
    memcached_free(shop);
    return EXIT_SUCCESS;
}
