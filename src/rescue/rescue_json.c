/* rescue_json: reads JSON, strictly. Scalars and names stay as they are written. */
#include "rescue/rescue_int.h"

void json_skip_spaces(struct reader *reader)
{
    while (reader->rest.len && reader->rest.bytes[0] && strchr(" \t\r\n", reader->rest.bytes[0]))
        reader->rest = slice_from(reader->rest, 1);
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static bool is_hex(uint8_t byte)
{
    return is_digit(byte) || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

/* ---- strings ---- */

static bool read_hex(struct slice text, unsigned *unit)
{
    *unit = 0;
    if (text.len < 6 || text.bytes[0] != '\\' || text.bytes[1] != 'u')
        return false;
    for (size_t i = 2; i < 6; i++) {
        uint8_t byte = text.bytes[i];
        if (!is_hex(byte))
            return false;
        *unit = *unit << 4 | (is_digit(byte) ? byte - '0' : (byte | 0x20) - 'a' + 10);
    }
    return true;
}

static uint64_t hash_point(uint64_t hash, unsigned point)
{
    if (point < 0x80)
        return doc_hash_byte(hash, (uint8_t)point);
    if (point < 0x800) {
        hash = doc_hash_byte(hash, (uint8_t)(0xc0 | point >> 6));
    } else if (point < 0x10000) {
        hash = doc_hash_byte(hash, (uint8_t)(0xe0 | point >> 12));
        hash = doc_hash_byte(hash, (uint8_t)(0x80 | (point >> 6 & 0x3f)));
    } else {
        hash = doc_hash_byte(hash, (uint8_t)(0xf0 | point >> 18));
        hash = doc_hash_byte(hash, (uint8_t)(0x80 | (point >> 12 & 0x3f)));
        hash = doc_hash_byte(hash, (uint8_t)(0x80 | (point >> 6 & 0x3f)));
    }
    return doc_hash_byte(hash, (uint8_t)(0x80 | (point & 0x3f)));
}

/* The escape at the front as the bytes that it stands for. Its length; 0 when it is none. */
static size_t hash_escape(struct slice text, uint64_t *hash)
{
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    unsigned high, low;
    const char *letter = text.len > 1 && text.bytes[1] ? strchr(letters, text.bytes[1]) : NULL;
    if (letter) {
        *hash = doc_hash_byte(*hash, (uint8_t)bytes[letter - letters]);
        return 2;
    }
    if (!read_hex(text, &high))
        return 0;
    bool pair = high >= 0xd800 && high < 0xdc00 && read_hex(slice_from(text, 6), &low) &&
                low >= 0xdc00 && low < 0xe000;
    *hash = hash_point(*hash, pair ? 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00) : high);
    return pair ? 12 : 6;
}

/* *text is what is between the quotes, *hash of what it says. */
static bool read_string(struct reader *reader, struct slice *text, uint64_t *hash)
{
    if (!reader_takes(reader, '"'))
        return false;
    struct slice from = reader->rest;
    *hash = DOC_HASH_STRING;
    while (reader->rest.len && reader->rest.bytes[0] != '"') {
        uint8_t byte = reader->rest.bytes[0];
        size_t step = byte == '\\' ? hash_escape(reader->rest, hash) : byte >= ' ';
        if (step == 0)
            return false;
        if (byte != '\\')
            *hash = doc_hash_byte(*hash, byte);
        reader->rest = slice_from(reader->rest, step);
    }
    *text = reader_since(reader, from);
    return reader_takes(reader, '"');
}

/* ---- the rest ---- */

static bool skip_digits(struct reader *reader)
{
    size_t len = 0;
    while (len < reader->rest.len && is_digit(reader->rest.bytes[len]))
        len++;
    reader->rest = slice_from(reader->rest, len);
    return len > 0;
}

static bool read_number(struct reader *reader, struct node *node)
{
    struct slice from = reader->rest;
    bool real = false;
    (void)reader_takes(reader, '-');
    if (!reader_takes(reader, '0') && !skip_digits(reader))
        return false;
    struct slice whole = reader_since(reader, from);
    if (reader_takes(reader, '.')) {
        real = true;
        if (!skip_digits(reader))
            return false;
    }
    if (reader_takes(reader, 'e') || reader_takes(reader, 'E')) {
        real = true;
        if (!reader_takes(reader, '-'))
            (void)reader_takes(reader, '+');
        if (!skip_digits(reader))
            return false;
    }
    node->has_number = !real && num_i64(whole, &node->number);
    return true;
}

static bool read_word(struct reader *reader)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct slice word = slice_str(words[i]);
        if (slice_starts(reader->rest, word)) {
            reader->rest = slice_from(reader->rest, word.len);
            return true;
        }
    }
    return false;
}

static bool read_scalar(struct reader *reader, struct node *node)
{
    if (reader->rest.len == 0)
        return false;
    if (reader->rest.bytes[0] != '"')
        return is_digit(reader->rest.bytes[0]) || reader->rest.bytes[0] == '-'
                   ? read_number(reader, node)
                   : read_word(reader);
    node->is_string = true;
    if (!read_string(reader, &node->text, &node->hash))
        return false;
    node->has_number = doc_int(node->text, &node->number);
    return true;
}

struct key {
    struct slice raw, name;
    uint64_t hash;
};

static bool read_key(struct reader *reader, struct key *key)
{
    struct slice from = reader->rest;
    if (!read_string(reader, &key->name, &key->hash))
        return false;
    key->raw = reader_since(reader, from);
    json_skip_spaces(reader);
    return reader_takes(reader, ':');
}

static void set_key(struct node *node, const struct key *key)
{
    node->key = key->raw;
    node->name = key->name;
    node->key_hash = key->hash;
    node->has_int_key = doc_int(key->name, &node->key_number);
}

static int read_members(struct reader *reader, uint32_t parent, enum node_kind kind)
{
    struct doc *doc = reader->doc;
    uint8_t end = kind == NODE_MAP ? '}' : ']';
    uint32_t last = 0, child;
    json_skip_spaces(reader);
    if (reader_takes(reader, end))
        return 0;
    do {
        struct key key = {0};
        json_skip_spaces(reader);
        if (kind == NODE_MAP && !read_key(reader, &key))
            return CE_BAD_DOC;
        int rc = json_read_value(reader, &child);
        if (rc)
            return rc;
        set_key(&doc->nodes[child], &key);
        doc_link(doc, parent, &last, child);
        json_skip_spaces(reader);
    } while (reader_takes(reader, ','));
    return reader_takes(reader, end) ? 0 : CE_BAD_DOC;
}

static int read_container(struct reader *reader, uint32_t at, enum node_kind kind)
{
    if (reader->depth == RESCUE_DEPTH_MAX)
        return CE_BAD_DOC;
    reader->depth++;
    reader->doc->nodes[at].kind = kind;
    int rc = read_members(reader, at, kind);
    reader->depth--;
    return rc ? rc : doc_close(reader->doc, at);
}

int json_read_value(struct reader *reader, uint32_t *at)
{
    struct doc *doc = reader->doc;
    json_skip_spaces(reader);
    struct slice from = reader->rest;
    int rc = doc_add(doc, at);
    if (rc)
        return rc;
    if (reader_takes(reader, '{'))
        rc = read_container(reader, *at, NODE_MAP);
    else if (reader_takes(reader, '['))
        rc = read_container(reader, *at, NODE_LIST);
    else
        rc = read_scalar(reader, &doc->nodes[*at]) ? 0 : CE_BAD_DOC;
    doc->nodes[*at].raw = reader_since(reader, from);
    if (doc->nodes[*at].kind == NODE_SCALAR)
        doc_set_hash(&doc->nodes[*at]);
    return rc;
}
