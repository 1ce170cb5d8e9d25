/* cart_bench: what a cart costs: time of one add (load, apply, store), bytes of a state.
 *
 *   cart_bench            prints one line a measure */
#include "cart/cart.h"

#include <stdio.h>
#include <time.h>

#define START_US 1790000000000000ull

static const struct cart_limits limits = {CART_LINES_HARD, CART_QTY_HARD, 512, 1u << 20};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* One add from the state in `state` to the next, as a worker does it. */
static void add(struct cart *cart, struct buf *state, int line, uint64_t at, const char *token)
{
    char name[16];
    struct slice next;
    struct cart_result result;
    struct cart_op op = {.kind = CART_ADD, .flags = CART_OP_PRICE, .n = 1, .price = 1999};
    op.line = slice_of(name, (size_t)snprintf(name, sizeof(name), "SKU-%08d", line));
    struct cart_step step = {.actor = 0x6ad3c0de12345678ull,
                             .now_us = START_US + at,
                             .fold = CART_FOLD_ALONE,
                             .token = slice_str(token),
                             .limits = &limits,
                             .ops = &op,
                             .ops_count = 1};
    memcpy(step.currency, "EUR", 4);
    MUST(cart_load(cart, buf_slice(state)) == 0);
    MUST(cart_apply(cart, &step, &result) == 0 && result.changed);
    MUST(cart_store(cart, &next) == 0);
    state->len = 0;
    MUST(buf_append(state, next.bytes, next.len) == 0);
}

static void run_adds(struct cart *cart, int lines, int rounds)
{
    struct buf state = {0};
    for (int i = 0; i < lines; i++)
        add(cart, &state, i, (uint64_t)i * 1000, "");
    size_t fresh_len = state.len;
    double start = now_ns();
    for (int i = 0; i < rounds; i++)
        add(cart, &state, i * 7 % lines, (uint64_t)(lines + i) * 1000, "");
    double each = (now_ns() - start) / rounds;
    printf("add to a cart of %d lines: %.0f ns, %zu bytes\n", lines, each, fresh_len);
    buf_free(&state);
}

static void run_tokens(struct cart *cart, int tokens)
{
    struct buf state = {0};
    char token[40];
    double start = now_ns(), last = 0;
    for (int i = 0; i < tokens; i++) {
        snprintf(token, sizeof(token), "client-%d-request-%d", i % 64, i / 64);
        if (i == tokens - 1000)
            last = now_ns();
        add(cart, &state, i % 10, (uint64_t)i * 1000, token);
    }
    double end = now_ns();
    printf("add with a token: %.1f us on average over %d, %.1f us at the end, %zu bytes\n",
           (end - start) / tokens / 1000, tokens, (end - last) / 1e6, state.len);
    buf_free(&state);
}

static void run_merge(struct cart *cart, int lines, int rounds)
{
    struct buf state = {0}, old = {0};
    for (int i = 0; i < lines; i++)
        add(cart, &state, i, (uint64_t)i * 1000, "");
    MUST(buf_append(&old, state.bytes, state.len) == 0);
    add(cart, &state, 0, 10000000, "");
    double start = now_ns();
    for (int i = 0; i < rounds; i++)
        MUST(cart_load(cart, buf_slice(&old)) == 0 && cart_merge(cart, buf_slice(&state)) == 0);
    double each = (now_ns() - start) / rounds;
    start = now_ns();
    for (int i = 0; i < rounds; i++)
        MUST(cart_check(buf_slice(&state)) == 0);
    printf("merge of %d lines: %.0f ns; check: %.0f ns\n", lines, each,
           (now_ns() - start) / rounds);
    buf_free(&state);
    buf_free(&old);
}

static void run_json(struct cart *cart, int lines, int rounds)
{
    struct buf state = {0}, json = {0};
    struct cart_summary summary;
    for (int i = 0; i < lines; i++)
        add(cart, &state, i, (uint64_t)i * 1000, "");
    double start = now_ns();
    for (int i = 0; i < rounds; i++) {
        json.len = 0;
        MUST(cart_json(buf_slice(&state), 0, slice_str("cart:u42"), CART_JSON_ALL, &json) == 0);
    }
    double each = (now_ns() - start) / rounds;
    start = now_ns();
    uint64_t sum = 0;
    for (int i = 0; i < rounds; i++) {
        cart_summary(buf_slice(&state), START_US + (uint64_t)i, &summary);
        sum += summary.qty;
    }
    printf("JSON of %d lines: %.0f ns, %zu bytes; summary: %.0f ns (%lu)\n", lines, each, json.len,
           (now_ns() - start) / rounds, (unsigned long)sum);
    buf_free(&state);
    buf_free(&json);
}

int main(void)
{
    struct cart *cart;
    MUST(cart_new(&cart) == 0);
    run_adds(cart, 10, 1000000);
    run_adds(cart, 500, 100000);
    run_merge(cart, 10, 200000);
    run_json(cart, 10, 200000);
    run_tokens(cart, 64000);
    cart_free(&cart);
    return 0;
}
