/* conf_options: what one option's text means, and what a set of options looks like: --help,
 * differences, defaults. */
#include "conf/conf_int.h"

#include <stdlib.h>

const struct option_row conf_rows[] = {
#define X(letter, name, arg, kind, field, min, max, standard, what)                                \
    {letter, name, arg, KIND_##kind, offsetof(struct conf, field), min, max, standard, what},
    CONF_TABLE(X)
#undef X
};
const size_t conf_rows_count = sizeof conf_rows / sizeof conf_rows[0];

const struct option_row *conf_row_of_letter(int letter)
{
    for (size_t i = 0; i < conf_rows_count; i++)
        if (conf_rows[i].letter == letter)
            return &conf_rows[i];
    return NULL;
}

const struct option_row *conf_row_of_name(struct slice name)
{
    for (size_t i = 0; i < conf_rows_count; i++)
        if (slice_eq(slice_str(conf_rows[i].name), name))
            return &conf_rows[i];
    return NULL;
}

char *conf_keep(struct conf *conf, struct slice text)
{
    char **texts = realloc(conf->texts, (conf->texts_count + 1) * sizeof *texts);
    if (!texts)
        return NULL;
    conf->texts = texts;
    char *copy = malloc(text.len + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text.bytes, text.len);
    copy[text.len] = 0;
    conf->texts[conf->texts_count++] = copy;
    return copy;
}

void conf_free(struct conf *conf)
{
    for (size_t i = 0; i < conf->texts_count; i++) {
        explicit_bzero(conf->texts[i], strlen(conf->texts[i])); /* it may be a password */
        free(conf->texts[i]);
    }
    free(conf->texts);
    free(conf->users);
    free(conf->buckets);
    conf->texts = NULL;
    conf->users = NULL;
    conf->buckets = NULL;
    conf->texts_count = conf->users_count = conf->buckets_count = 0;
}

/* ---- values ---- */

static bool read_number(const struct option_row *row, struct slice text, uint32_t *out)
{
    uint32_t value;
    if (!num_u32(text, &value) || value < row->min || value > row->max)
        return false;
    *out = value;
    return true;
}

static bool read_octal(const struct option_row *row, const char *text, uint32_t *out)
{
    uint32_t value = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '7' || value > row->max)
            return false;
        value = value << 3 | (uint32_t)(*text - '0');
    }
    *out = value;
    return value <= row->max;
}

/* Digits with an optional k or m, as memcached's -I. */
static bool read_size(const struct option_row *row, const char *text, uint32_t *out)
{
    struct slice digits = slice_str(text);
    uint64_t unit = 1, value;
    char last = digits.len ? text[digits.len - 1] : 0;
    if (last == 'k' || last == 'K')
        unit = 1024;
    else if (last == 'm' || last == 'M')
        unit = 1024 * 1024;
    if (unit > 1)
        digits.len--;
    if (!num_u64(digits, &value) || value > row->max / unit || value * unit < row->min)
        return false;
    *out = (uint32_t)(value * unit);
    return true;
}

/* Seconds, or a number with its unit. */
static bool read_life(const struct option_row *row, const char *text, uint32_t *out)
{
    static const struct {
        char letter;
        uint32_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    struct slice digits = slice_str(text);
    uint64_t unit = 1, value;
    for (size_t i = 0; digits.len && i < sizeof units / sizeof units[0]; i++) {
        if (text[digits.len - 1] == units[i].letter) {
            unit = units[i].seconds;
            digits.len--;
            break;
        }
    }
    if (!num_u64(digits, &value) || value > row->max / unit || value * unit < row->min)
        return false;
    *out = (uint32_t)(value * unit);
    return true;
}

/* The index of a word in a list that ends with NULL. */
static bool read_word(const char *const *words, const char *text, uint32_t *out)
{
    for (uint32_t i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool read_flag(const char *text, bool *out)
{
    static const char *const words[] = {"no", "yes", "off", "on", "false", "true", "0", "1", NULL};
    uint32_t index = 1;
    if (text && !read_word(words, text, &index))
        return false;
    *out = index & 1;
    return true;
}

/* Given for the first time it takes the place of the default. */
static bool read_list(struct conf *conf, const struct option_row *row, const char *text)
{
    const char **field = conf_text(conf, row);
    struct buf both = {0};
    conf->tcp_asked = true;
    if (*field == row->standard || !*field) {
        *field = text;
        return *text != 0;
    }
    bool good = *text && buf_printf(&both, "%s,%s", *field, text) == 0 &&
                (*field = conf_keep(conf, buf_slice(&both))) != NULL;
    buf_free(&both);
    return good;
}

static bool ignore_option(struct conf *conf, const struct option_row *row)
{
    if (conf->ignored_count < sizeof conf->ignored / sizeof conf->ignored[0])
        conf->ignored[conf->ignored_count++] = row->letter;
    return true;
}

bool conf_set_value(void *base, const struct option_row *row, const char *text)
{
    static const char *const acks[] = {"ram", "os", "sync", NULL};
    static const char *const protocols[] = {"auto", "ascii", "binary", NULL};
    static const char *const migrates[] = {"auto", "off", NULL};
    static const char *const versions[] = {"tlsv1.2", "tlsv1.3", NULL};
    static const char *const life_kinds[] = {"sliding", "fixed", NULL};
    static const char *const classes[] = {"cart", "checkout", "cache", NULL};
    static const char *const merges[] = {"max", "sum", "src", "dst", "replace", NULL};
    uint32_t *number = conf_number(base, row), word;
    switch (row->kind) {
    case KIND_TEXT: *conf_text(base, row) = text; return *text != 0;
    case KIND_NUMBER: return read_number(row, slice_str(text), number);
    case KIND_OCTAL: return read_octal(row, text, number);
    case KIND_SIZE: return read_size(row, text, number);
    case KIND_LIFE: return read_life(row, text, number);
    case KIND_ACK: return read_word(acks, text, number);
    case KIND_PROTOCOL: return read_word(protocols, text, number);
    case KIND_LIFE_KIND: return read_word(life_kinds, text, number);
    case KIND_CLASS: return read_word(classes, text, number);
    case KIND_MERGE: return read_word(merges, text, number);
    case KIND_TLS_VERSION:
    case KIND_MIGRATE:
        if (!read_word(row->kind == KIND_MIGRATE ? migrates : versions, text, &word))
            return false;
        *conf_flag(base, row) = word == 1;
        return true;
    case KIND_FLAG: return read_flag(text, conf_flag(base, row));
    case KIND_COUNT: *number += 1; return true;
    default: return false;
    }
}

bool conf_set(struct conf *conf, const struct option_row *row, const char *text)
{
    switch (row->kind) {
    case KIND_LIST: return read_list(conf, row, text);
    case KIND_PORT:
        conf->tcp_asked = true;
        return read_number(row, slice_str(text), conf_number(conf, row));
    case KIND_EXTENDED: return conf_set_extended(conf, text);
    case KIND_IGNORED: return ignore_option(conf, row);
    default: return conf_set_value(conf, row, text);
    }
}

/* ---- the whole set ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

const char *conf_differs(const struct conf *a, const struct conf *b, size_t *at)
{
    while (*at < conf_rows_count) {
        const struct option_row *row = &conf_rows[(*at)++];
        if (conf_bucket_has(row))
            continue;
        switch (row->kind) {
        case KIND_TEXT:
        case KIND_LIST:
            if (!same_text(*conf_text(a, row), *conf_text(b, row)))
                return row->name;
            break;
        case KIND_FLAG:
        case KIND_TLS_VERSION:
        case KIND_MIGRATE:
            if (*conf_flag(a, row) != *conf_flag(b, row))
                return row->name;
            break;
        case KIND_EXTENDED:
        case KIND_IGNORED: break;
        default:
            if (*conf_number(a, row) != *conf_number(b, row))
                return row->name;
        }
    }
    return NULL;
}

void conf_print_wrapped(FILE *out, const char *text, const char *standard)
{
    enum { COLUMN = 33, WIDTH = 96 };
    size_t column = COLUMN;
    while (*text) {
        size_t len = strcspn(text, " ");
        if (column + 1 + len > WIDTH) {
            fprintf(out, "\n%*s", COLUMN, "");
            column = COLUMN;
        }
        column += (size_t)fprintf(out, " %.*s", (int)len, text);
        text += len + (text[len] == ' ');
    }
    if (standard)
        fprintf(out, " (default %s)", standard);
    fputc('\n', out);
}

void conf_help(FILE *out)
{
    fprintf(out, "cartd " PACKAGE_VERSION ": a shopping-cart tier that speaks memcached\n\n"
                 "usage: cartd [option...]\n"
                 "       cartd verify DIR [--repair] [option...]  do the tiers of a stopped daemon "
                 "agree?\n\n");
    for (size_t i = 0; i < conf_rows_count; i++) {
        const struct option_row *row = &conf_rows[i];
        char left[64];
        bool has_letter = row->letter < OPTION_DATA;
        if (!row->what)
            continue;
        snprintf(left, sizeof left, "%c%c%c --%s %s", has_letter ? '-' : ' ',
                 has_letter ? row->letter : ' ', has_letter ? ',' : ' ', row->name,
                 row->arg ? row->arg : "");
        fprintf(out, "  %-31s", left);
        conf_print_wrapped(out, row->what, row->standard);
    }
    fprintf(out, "\nTaken from memcached's command lines, without effect here:");
    for (size_t i = 0; i < conf_rows_count; i++)
        if (conf_rows[i].kind == KIND_IGNORED)
            fprintf(out, " -%c", conf_rows[i].letter);
    fprintf(out, "\n");
    conf_bucket_help(out);
}
