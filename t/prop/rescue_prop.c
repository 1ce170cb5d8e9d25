/* rescue_prop: random carts, changed by two sides at random, in every form. What must hold:
 *
 *   merge(b, m, b) = m and merge(b, b, t) = t, byte for byte
 *   what comes out can be read, and merged again
 *   lines and quantities are those of the rules, as a model of plain arrays says
 *
 * usage: rescue_prop [--histories N] [--seed N] */
#include "rescue/rescue.h"

#include <stdio.h>
#include <stdlib.h>

#define SKUS  6
#define QTY   9
#define FORMS 5
/* clang-format off */
static const struct form {
    const char *open, *line, *between, *close;
    bool counted; /* the head holds how many there are, the line begins with its place */
} forms[FORMS] = {
    {"[", "{\"sku\":\"s%1$d\",\"qty\":%2$d}", ",", "]", false},
    {"{\"lines\":{", "\"s%1$d\":{\"qty\":%2$d}", ",", "}}", false},
    {"{ \"id\" : 7, \"lines\" : [ ", "{ \"qty\" : \"%2$d\", \"id\" : %1$d }", " , ", " ] }", false},
    {"a:%d:{", "i:%3$d;a:2:{s:3:\"sku\";s:2:\"s%1$d\";s:3:\"qty\";i:%2$d;}", "", "}", true},
    {"user|i:7;cart|a:%d:{", "s:2:\"s%1$d\";a:1:{s:3:\"qty\";i:%2$d;}", "", "}", true},
};
/* clang-format on */

static uint64_t seed = 1;

static unsigned random_below(unsigned limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 32) % limit;
}

/* A quantity for each sku; -1: no such line. */
struct cart {
    int qty[SKUS];
};

static struct cart random_cart(void)
{
    struct cart cart;
    for (int i = 0; i < SKUS; i++)
        cart.qty[i] = random_below(2) ? (int)random_below(QTY) : -1;
    return cart;
}

static struct cart change(struct cart cart)
{
    for (unsigned changes = random_below(4); changes; changes--)
        cart.qty[random_below(SKUS)] = random_below(3) ? (int)random_below(QTY) : -1;
    return cart;
}

/* The rules, for one line. */
static int merge_qty(int base, int mine, int theirs)
{
    if (mine >= 0 && theirs >= 0) {
        int sum = theirs + mine - (base >= 0 ? base : 0);
        return sum > 0 ? sum : 0;
    }
    if (mine < 0)
        return theirs == base ? -1 : theirs;
    return mine == base ? -1 : mine;
}

/* The lines of one cart in the order in which a merge leaves them: those of `first` in front. */
static void write_cart(const struct form *form, const struct cart *cart, const struct cart *first,
                       struct buf *out)
{
    int place = 0, count = 0;
    out->len = 0;
    for (int i = 0; i < SKUS; i++)
        count += cart->qty[i] >= 0;
    int rc = form->counted ? buf_printf(out, form->open, count) : buf_append_str(out, form->open);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < SKUS && rc == 0; i++) {
            if (cart->qty[i] < 0 || (first->qty[i] >= 0) != (pass == 0))
                continue;
            if (place)
                rc = buf_append_str(out, form->between);
            rc = rc ? rc : buf_printf(out, form->line, i, cart->qty[i], place);
            place++;
        }
    }
    MUST(rc == 0 && buf_append_str(out, form->close) == 0);
}

struct texts {
    struct buf base, mine, theirs, want, got, again;
};

static void remove_spaces(struct buf *text)
{
    size_t kept = 0;
    for (size_t i = 0; i < text->len; i++)
        if (text->bytes[i] != ' ')
            text->bytes[kept++] = text->bytes[i];
    text->len = kept;
}

static int merge(struct rescue *rescue, const struct buf *base, const struct buf *mine,
                 const struct buf *theirs, struct buf *out)
{
    out->len = 0;
    return rescue_merge(rescue, buf_slice(base), buf_slice(mine), buf_slice(theirs), out);
}

static bool equal(const struct buf *a, const struct buf *b)
{
    return slice_eq(buf_slice(a), buf_slice(b));
}

static bool history(struct rescue *rescue, struct texts *texts)
{
    const struct form *form = &forms[random_below(FORMS)];
    struct cart base = random_cart(), mine = change(base), theirs = change(base), want;
    bool nothing = random_below(8) == 0; /* the base was no cart */
    for (int i = 0; i < SKUS; i++) {
        if (nothing)
            base.qty[i] = -1;
        want.qty[i] = merge_qty(base.qty[i], mine.qty[i], theirs.qty[i]);
    }
    write_cart(form, &base, &base, &texts->base);
    write_cart(form, &mine, &mine, &texts->mine);
    write_cart(form, &theirs, &theirs, &texts->theirs);
    bool same = memcmp(&base, &theirs, sizeof base) == 0; /* then it is ours as it is written */
    write_cart(form, &want, same ? &mine : &theirs, &texts->want);
    if (merge(rescue, &texts->base, &texts->mine, &texts->base, &texts->got) ||
        !equal(&texts->got, &texts->mine))
        return false;
    if (merge(rescue, &texts->base, &texts->base, &texts->theirs, &texts->got) ||
        !equal(&texts->got, &texts->theirs))
        return false;
    if (merge(rescue, &texts->base, &texts->mine, &texts->theirs, &texts->got))
        return false;
    if (merge(rescue, &texts->got, &texts->got, &texts->got, &texts->again) ||
        !equal(&texts->got, &texts->again))
        return false;
    remove_spaces(&texts->got);
    remove_spaces(&texts->want);
    return equal(&texts->got, &texts->want);
}

static int show(const struct texts *texts, unsigned long at, uint64_t begun)
{
    const struct buf *all[] = {&texts->base, &texts->mine, &texts->theirs, &texts->want,
                               &texts->got};
    static const char *const names[] = {"base", "mine", "theirs", "want", "got"};
    printf("history %lu, --seed %llu\n", at, (unsigned long long)begun);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        printf("%-7s%.*s\n", names[i], (int)all[i]->len, (const char *)all[i]->bytes);
    return 1;
}

int main(int argc, char **argv)
{
    unsigned long histories = 200000;
    struct texts texts = {0};
    struct rescue *rescue;
    int status = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--histories") == 0)
            histories = strtoul(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10) | 1;
    }
    MUST(rescue_new(&rescue) == 0);
    for (unsigned long i = 0; i < histories && status == 0; i++) {
        uint64_t begun = seed;
        if (!history(rescue, &texts))
            status = show(&texts, i, begun);
    }
    struct buf *all[] = {&texts.base, &texts.mine, &texts.theirs,
                         &texts.want, &texts.got,  &texts.again};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
    rescue_free(&rescue);
    if (status == 0)
        printf("rescue_prop: %lu histories, 0 failures\n", histories);
    return status;
}
