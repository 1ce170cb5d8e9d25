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

/* How long the escape at the front is; 0 when it is none. */
static size_t escape_len(struct slice text)
{
    if (text.len < 2)
        return 0;
    if (text.bytes[1] != 'u')
        return text.bytes[1] && strchr("\"\\/bfnrt", text.bytes[1]) ? 2 : 0;
    for (size_t i = 2; i < 6; i++)
        if (i >= text.len || !is_hex(text.bytes[i]))
            return 0;
    return 6;
}

/* *text is what is between the quotes. */
static bool read_string(struct reader *reader, struct slice *text)
{
    if (!reader_takes(reader, '"'))
        return false;
    struct slice from = reader->rest;
    while (reader->rest.len && reader->rest.bytes[0] != '"') {
        uint8_t byte = reader->rest.bytes[0];
        size_t step = byte == '\\' ? escape_len(reader->rest) : byte >= ' ';
        if (step == 0)
            return false;
        reader->rest = slice_from(reader->rest, step);
    }
    *text = reader_since(reader, from);
    return reader_takes(reader, '"');
}

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
    if (!read_string(reader, &node->text))
        return false;
    node->has_number = doc_int(node->text, &node->number);
    return true;
}

static bool read_key(struct reader *reader, struct slice *key, struct slice *name)
{
    struct slice from = reader->rest;
    if (!read_string(reader, name))
        return false;
    *key = reader_since(reader, from);
    json_skip_spaces(reader);
    return reader_takes(reader, ':');
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
        struct slice key = {0}, name = {0};
        json_skip_spaces(reader);
        if (kind == NODE_MAP && !read_key(reader, &key, &name))
            return CE_BAD_DOC;
        int rc = json_read_value(reader, &child);
        if (rc)
            return rc;
        struct node *node = &doc->nodes[child];
        node->key = key;
        node->name = name;
        node->has_int_key = doc_int(name, &node->key_number);
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
    int rc = read_members(reader, at, kind);
    reader->depth--;
    reader->doc->nodes[at].kind = kind;
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
    return rc;
}
