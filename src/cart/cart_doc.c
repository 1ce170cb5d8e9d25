/* cart_doc: reading what clients write: the value of one line, or a whole document.
 *
 * jansson parses, refuses duplicate members and bounds the depth; numbers must be integers. Text is
 * copied into the arena, which gets room for all of it first (decoded text is never longer than the
 * document) so that slices into it stay put. Members that are not given leave the line as it is. */
#include "cart/cart.h"

#include <jansson.h>

#include "cart/cart_int.h"

static int copy_text(struct slice text, struct buf *arena, struct slice *out)
{
    MUST(arena->cap - arena->len >= text.len);
    *out = slice_of(arena->bytes + arena->len, text.len);
    return buf_append(arena, text.bytes, text.len);
}

static int copy_base64(struct slice text, struct buf *arena, struct slice *out)
{
    uint8_t *to = arena->bytes + arena->len;
    size_t len;
    MUST(arena->cap - arena->len >= text.len);
    if (!cart_base64_take(text, to, &len))
        return CE_BAD_DOC;
    *out = slice_of(to, len);
    arena->len += len;
    return 0;
}

/* The bytes of member `name`, or of `name_b64`, which wins; *given tells whether there is one. */
static int read_bytes(const json_t *object, const char *name, const char *name_b64,
                      struct buf *arena, struct slice *out, bool *given)
{
    const json_t *plain = json_object_get(object, name);
    const json_t *b64 = json_object_get(object, name_b64);
    const json_t *value = b64 ? b64 : plain;
    *given = value != NULL;
    if (!value)
        return 0;
    if (!json_is_string(value))
        return CE_BAD_DOC;
    struct slice text = slice_of(json_string_value(value), json_string_length(value));
    return b64 ? copy_base64(text, arena, out) : copy_text(text, arena, out);
}

static int read_integer(const json_t *value, int64_t max, int64_t *out)
{
    if (!json_is_integer(value))
        return CE_BAD_DOC;
    *out = json_integer_value(value);
    return *out < 0 || *out > max ? CE_BAD_QTY : 0;
}

static int read_numbers(const json_t *object, struct cart_op *op)
{
    const json_t *qty = json_object_get(object, "qty");
    const json_t *price = json_object_get(object, "price");
    const json_t *checked = json_object_get(object, "checked");
    if (!qty || (checked && !json_is_boolean(checked)))
        return CE_BAD_DOC;
    int err = read_integer(qty, INT32_MAX, &op->n);
    if (!err && price) {
        op->flags |= CART_OP_PRICE;
        err = read_integer(price, INT64_MAX, &op->price);
    }
    if (checked) {
        op->flags |= CART_OP_CHECKED;
        op->checked = json_is_true(checked);
    }
    return err;
}

static int read_texts(const json_t *object, struct cart_op *op, struct buf *arena)
{
    bool given;
    int err = read_bytes(object, "shop", "shop_b64", arena, &op->shop, &given);
    if (err)
        return err;
    op->flags |= given ? CART_OP_SHOP : 0;
    err = read_bytes(object, "ext", "ext_b64", arena, &op->ext, &given);
    if (err)
        return err;
    op->flags |= given ? CART_OP_EXT : 0;
    return 0;
}

static int read_currency(const json_t *object, char currency[4])
{
    const json_t *value = json_object_get(object, "currency");
    memset(currency, 0, 4);
    if (!value)
        return 0;
    if (!json_is_string(value) || json_string_length(value) != 3)
        return CE_BAD_DOC;
    char given[4] = {0};
    memcpy(given, json_string_value(value), 3);
    if (!cart_currency_ok(given))
        return CE_BAD_DOC;
    memcpy(currency, given, 4);
    return 0;
}

static int read_line(const json_t *object, struct cart_op *op, struct buf *arena)
{
    *op = (struct cart_op){.kind = CART_SET};
    int err = read_numbers(object, op);
    return err ? err : read_texts(object, op, arena);
}

/* Members and elements cost the parser far more than bytes. A document that fits a cart has a few
 * for each line; one with many more is refused before it is parsed. */
#define DOC_MARKS_MAX (CART_LINES_HARD * 32)

static bool has_too_many_parts(struct slice text)
{
    size_t marks = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.bytes[i];
        if (in_string && byte == '\\')
            i++;
        else if (byte == '"')
            in_string = !in_string;
        else if (!in_string && (byte == ',' || byte == ':' || byte == '[' || byte == '{'))
            marks++;
    }
    return marks > DOC_MARKS_MAX;
}

/* Parses `value` as an object, with room in the arena for all its text. Owner: the caller. */
static int parse_object(struct slice value, struct buf *arena, json_t **out)
{
    json_error_t error;
    if (has_too_many_parts(value))
        return CE_BAD_DOC;
    if (buf_reserve(arena, value.len + 1))
        return CE_NOMEM;
    json_t *root = json_loadb((const char *)value.bytes, value.len,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!root) {
        enum json_error_code code = json_error_code(&error);
        if (code == json_error_out_of_memory)
            return CE_NOMEM;
        return code == json_error_numeric_overflow ? CE_BAD_QTY : CE_BAD_DOC;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return CE_BAD_DOC;
    }
    *out = root;
    return 0;
}

static bool all_digits(struct slice value)
{
    size_t at = value.len > 1 && value.bytes[0] == '-';
    for (size_t i = at; i < value.len; i++)
        if (value.bytes[i] < '0' || value.bytes[i] > '9')
            return false;
    return value.len > 0;
}

int cart_line_parse(struct slice value, struct cart_op *op, char currency[4], struct buf *arena)
{
    struct slice line = op->line;
    memset(currency, 0, 4);
    if (all_digits(value)) {
        *op = (struct cart_op){.kind = CART_SET, .line = line};
        bool fits = num_i64(value, &op->n) && op->n >= 0 && op->n <= INT32_MAX;
        return fits ? 0 : CE_BAD_QTY;
    }
    json_t *object = NULL;
    int err = parse_object(value, arena, &object);
    if (err)
        return err;
    err = read_line(object, op, arena);
    if (!err)
        err = read_currency(object, currency);
    op->line = line;
    json_decref(object);
    return err;
}

/* ---- documents --------------------------------------------------------------------------------
 */

static int compare_lines(const void *left, const void *right)
{
    const struct slice *a = left, *b = right;
    return slice_cmp(*a, *b);
}

static bool lines_differ(const struct cart_op *ops, size_t count)
{
    struct slice lines[CART_LINES_HARD];
    MUST(count <= CART_LINES_HARD);
    for (size_t i = 0; i < count; i++)
        lines[i] = ops[i].line;
    qsort(lines, count, sizeof(*lines), compare_lines);
    for (size_t i = 1; i < count; i++)
        if (slice_eq(lines[i - 1], lines[i]))
            return false;
    return true;
}

static int read_lines(const json_t *lines, struct cart_op *ops, struct buf *arena)
{
    bool given;
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *object = json_array_get(lines, i);
        if (!json_is_object(object))
            return CE_BAD_DOC;
        int err = read_line(object, &ops[i], arena);
        if (!err)
            err = read_bytes(object, "line", "line_b64", arena, &ops[i].line, &given);
        if (err)
            return err;
        if (!given)
            return CE_BAD_DOC;
        if (!cart_line_key_ok(ops[i].line))
            return CE_BAD_LINE;
    }
    return lines_differ(ops, json_array_size(lines)) ? 0 : CE_BAD_DOC;
}

static int read_document(const json_t *root, struct cart_op *ops, size_t *ops_count,
                         char currency[4], struct buf *arena)
{
    const json_t *lines = json_object_get(root, "lines");
    if (!json_is_array(lines))
        return CE_BAD_DOC;
    if (json_array_size(lines) > CART_LINES_HARD)
        return CE_LINE_LIMIT;
    int err = read_lines(lines, ops, arena);
    if (!err)
        err = read_currency(root, currency);
    if (err)
        return err;
    *ops_count = json_array_size(lines);
    ops[(*ops_count)++] = (struct cart_op){.kind = CART_RETAIN};
    return 0;
}

int cart_doc_parse(struct slice value, struct cart_op *ops, size_t *ops_count, char currency[4],
                   struct buf *arena)
{
    json_t *root = NULL;
    *ops_count = 0;
    memset(currency, 0, 4);
    int err = parse_object(value, arena, &root);
    if (err)
        return err;
    err = read_document(root, ops, ops_count, currency, arena);
    json_decref(root);
    return err;
}
