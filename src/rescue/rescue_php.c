/* rescue_php: reads what PHP's serialize() writes for null, bool, int, float, string and array, and
 * its session form. Objects, references and whatever else there is are not understood. */
#include "rescue/rescue_int.h"

#define FLOAT_CHARS        "0123456789+-.eEINFAinfa"
#define NAME_CHARS_REFUSED "|!;{}\"" /* of a session's variable */

/* Up to `end`, which is taken too. */
static bool read_until(struct reader *reader, uint8_t end, struct slice *text)
{
    const uint8_t *at = reader->rest.len ? memchr(reader->rest.bytes, end, reader->rest.len) : NULL;
    if (!at)
        return false;
    *text = slice_of(reader->rest.bytes, (size_t)(at - reader->rest.bytes));
    reader->rest = slice_from(reader->rest, text->len + 1);
    return true;
}

static bool read_int(struct reader *reader, uint8_t end, int64_t *number)
{
    struct slice digits;
    return read_until(reader, end, &digits) && doc_int(digits, number);
}

static bool read_string(struct reader *reader, struct slice *text)
{
    int64_t len;
    if (!read_int(reader, ':', &len) || len < 0 || !reader_takes(reader, '"') ||
        (uint64_t)len > reader->rest.len)
        return false;
    *text = slice_of(reader->rest.bytes, (size_t)len);
    reader->rest = slice_from(reader->rest, (size_t)len);
    return reader_takes(reader, '"') && reader_takes(reader, ';');
}

static bool read_float(struct reader *reader)
{
    struct slice text;
    if (!read_until(reader, ';', &text) || text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!memchr(FLOAT_CHARS, text.bytes[i], sizeof FLOAT_CHARS - 1))
            return false;
    return true;
}

static bool read_bool(struct reader *reader)
{
    int64_t number;
    return read_int(reader, ';', &number) && (number == 0 || number == 1);
}

/* The letter and what stands behind it. */
static bool read_scalar(struct reader *reader, struct node *node)
{
    if (reader->rest.len < 2)
        return false;
    uint8_t letter = reader->rest.bytes[0];
    bool colon = reader->rest.bytes[1] == ':';
    reader->rest = slice_from(reader->rest, letter == 'N' ? 1 : 2);
    if (letter == 'N')
        return reader_takes(reader, ';');
    if (!colon)
        return false;
    switch (letter) {
    case 'b': return read_bool(reader);
    case 'd': return read_float(reader);
    case 'i': return node->has_number = read_int(reader, ';', &node->number);
    case 's':
        node->is_string = read_string(reader, &node->text);
        node->has_number = node->is_string && doc_int(node->text, &node->number);
        node->hash = doc_hash_string(node->text);
        return node->is_string;
    default: return false;
    }
}

/* ---- arrays ---- */

struct key {
    struct slice raw, name;
    bool is_int;
    int64_t number;
};

static bool read_key(struct reader *reader, struct key *key)
{
    struct slice from = reader->rest;
    struct node node = {0};
    if (!read_scalar(reader, &node) || (!node.is_string && !node.has_number))
        return false;
    *key = (struct key){.raw = reader_since(reader, from),
                        .name = node.text,
                        .is_int = !node.is_string,
                        .number = node.number};
    return true;
}

static void set_key(struct node *node, const struct key *key)
{
    node->key = key->raw;
    node->name = key->name;
    node->has_int_key = key->is_int;
    node->key_number = key->number;
    node->key_hash = key->is_int ? hash_64(key->raw) : doc_hash_string(key->name);
}

/* An array whose keys are 0, 1, 2 ... in order is a list. */
static int read_elements(struct reader *reader, uint32_t at, int64_t count)
{
    struct doc *doc = reader->doc;
    bool is_list = true;
    uint32_t last = 0, child;
    struct key key;
    for (int64_t i = 0; i < count; i++) {
        if (!read_key(reader, &key))
            return CE_BAD_DOC;
        int rc = php_read_value(reader, &child);
        if (rc)
            return rc;
        set_key(&doc->nodes[child], &key);
        doc_link(doc, at, &last, child);
        is_list = is_list && key.is_int && key.number == i;
    }
    doc->nodes[at].kind = is_list ? NODE_LIST : NODE_MAP;
    return reader_takes(reader, '}') ? doc_close(doc, at) : CE_BAD_DOC;
}

static int read_array(struct reader *reader, uint32_t at)
{
    int64_t count;
    if (reader->depth == RESCUE_DEPTH_MAX || !read_int(reader, ':', &count) || count < 0 ||
        !reader_takes(reader, '{'))
        return CE_BAD_DOC;
    reader->depth++;
    int rc = read_elements(reader, at, count);
    reader->depth--;
    return rc;
}

int php_read_value(struct reader *reader, uint32_t *at)
{
    struct doc *doc = reader->doc;
    struct slice from = reader->rest;
    int rc = doc_add(doc, at);
    if (rc)
        return rc;
    if (slice_starts(reader->rest, slice_str("a:"))) {
        reader->rest = slice_from(reader->rest, 2);
        rc = read_array(reader, *at);
    } else {
        rc = read_scalar(reader, &doc->nodes[*at]) ? 0 : CE_BAD_DOC;
    }
    doc->nodes[*at].raw = reader_since(reader, from);
    if (doc->nodes[*at].kind == NODE_SCALAR)
        doc_set_hash(&doc->nodes[*at]);
    return rc;
}

/* ---- sessions ---- */

static bool read_variable(struct reader *reader, struct key *key)
{
    struct slice from = reader->rest;
    *key = (struct key){0};
    if (!read_until(reader, '|', &key->name) || key->name.len == 0)
        return false;
    for (size_t i = 0; i < key->name.len; i++)
        if (memchr(NAME_CHARS_REFUSED, key->name.bytes[i], sizeof NAME_CHARS_REFUSED - 1))
            return false;
    key->raw = reader_since(reader, from);
    return true;
}

int php_read_session(struct reader *reader, uint32_t *at)
{
    struct doc *doc = reader->doc;
    struct slice from = reader->rest;
    uint32_t last = 0, child;
    struct key key;
    int rc = doc_add(doc, at);
    if (rc)
        return rc;
    do {
        if (!read_variable(reader, &key))
            return CE_BAD_DOC;
        rc = php_read_value(reader, &child);
        if (rc)
            return rc;
        set_key(&doc->nodes[child], &key);
        doc_link(doc, *at, &last, child);
    } while (reader->rest.len);
    doc->nodes[*at].kind = NODE_MAP;
    doc->nodes[*at].raw = reader_since(reader, from);
    return doc_close(doc, *at);
}
