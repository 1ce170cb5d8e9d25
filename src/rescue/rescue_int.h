/* rescue_int: what the files of rescue share: a document as nodes that point into its text. */
#ifndef RESCUE_RESCUE_INT_H
#define RESCUE_RESCUE_INT_H

#include "rescue/rescue.h"

enum format {
    FORMAT_JSON,
    FORMAT_PHP,     /* serialize() */
    FORMAT_SESSION, /* PHP's own session form: name|value name|value; only the outermost map */
};

enum node_kind { NODE_SCALAR, NODE_MAP, NODE_LIST };

/* Indices are into doc->nodes; 0 is the root, so 0 says none. */
struct node {
    enum node_kind kind;
    bool is_string, has_number;
    bool has_int_key; /* the key is an integer (JSON: a string of digits), in key_number */
    uint32_t first, next, count;
    uint32_t sorted;   /* where its children begin in doc->sorted */
    uint64_t hash;     /* of what it says, however that is written */
    uint64_t key_hash; /* of the key; of a list's element: of its identity, once it is asked for */
    int64_t number;    /* of an integer, or of a string of digits */
    int64_t key_number;
    struct slice raw;  /* as written */
    struct slice text; /* of a string: what is between the quotes */
    struct slice key;  /* as written */
    struct slice name; /* the key's text */
};

struct doc {
    enum format format;
    struct node *nodes;
    uint32_t count, cap;
    uint32_t *sorted; /* children by key; a range for each parent, filled by doc_sort */
    uint32_t sorted_count, sorted_cap;
};

struct reader {
    struct doc *doc;
    struct slice rest;
    unsigned depth;
};

/* rescue_doc.c */
/* An integer without leading zeros, plus, or minus zero. */
bool doc_int(struct slice digits, int64_t *number);
void doc_release(struct doc *doc);
/* Reads a whole text, JSON or PHP, whose root must be a map or a list. CE_BAD_DOC, CE_NOMEM. */
int doc_read(struct doc *doc, struct slice text) MUST_USE;
/* A new node; *at is its index. CE_BAD_DOC above RESCUE_NODES_MAX, CE_NOMEM. */
int doc_add(struct doc *doc, uint32_t *at) MUST_USE;
/* A child of `parent`; *last is the child before it, 0 for the first. */
void doc_link(struct doc *doc, uint32_t parent, uint32_t *last, uint32_t child);
/* All children of `parent` are linked, and its kind is set. CE_NOMEM. */
int doc_close(struct doc *doc, uint32_t parent) MUST_USE;
/* Equal hashes are taken for equal: who writes texts to make two the same spoils his own cart. */
uint64_t doc_hash_byte(uint64_t hash, uint8_t byte);
#define DOC_HASH_STRING 0xcbf29ce484222325ull /* a string's hash begins with it */
uint64_t doc_hash_string(struct slice text);
void doc_set_hash(struct node *scalar);
/* Sorts the children by key. False when two have the same. */
bool doc_sort(struct doc *doc, const struct node *parent);
/* After doc_sort. NULL when there is none, or no parent. */
struct node *doc_find(const struct doc *doc, const struct node *parent, uint64_t key_hash);
/* The identity: gives each element of a list its member `name` as key, and sorts. False when one
 * has none, or two have the same. */
bool doc_identify(struct doc *doc, const struct node *list, struct slice name);
/* The scalar member of a map, or NULL. */
const struct node *doc_member(const struct doc *doc, const struct node *map, struct slice name);

static inline struct node *doc_child(const struct doc *doc, const struct node *parent)
{
    return parent && parent->first ? &doc->nodes[parent->first] : NULL;
}

static inline struct node *doc_next(const struct doc *doc, const struct node *child)
{
    return child->next ? &doc->nodes[child->next] : NULL;
}

static inline bool reader_takes(struct reader *reader, uint8_t byte)
{
    if (reader->rest.len == 0 || reader->rest.bytes[0] != byte)
        return false;
    reader->rest = slice_from(reader->rest, 1);
    return true;
}

/* What was read since `from`. */
static inline struct slice reader_since(const struct reader *reader, struct slice from)
{
    return slice_of(from.bytes, from.len - reader->rest.len);
}

/* One value; *at is its node. CE_BAD_DOC, CE_NOMEM. */
int json_read_value(struct reader *reader, uint32_t *at) MUST_USE;
int php_read_value(struct reader *reader, uint32_t *at) MUST_USE;
/* rescue_json.c: spaces between values. */
void json_skip_spaces(struct reader *reader);
/* rescue_php.c: all of a session's text, as a map. */
int php_read_session(struct reader *reader, uint32_t *at) MUST_USE;

/* rescue_write.c: a map or list, member by member. */
struct writer {
    struct buf *out;
    enum format format;
    enum node_kind kind;
    size_t start;
    uint64_t count;
};
void writer_begin(struct writer *writer, struct buf *out, enum format format, enum node_kind kind);
/* What stands before a member's value; `key` as written, of a map. CE_NOMEM. */
int writer_key(struct writer *writer, struct slice key) MUST_USE;
/* The same with an integer key (PHP). */
int writer_int_key(struct writer *writer, int64_t key) MUST_USE;
int writer_end(struct writer *writer) MUST_USE;
int write_raw(struct buf *out, struct slice raw) MUST_USE;
/* A number, as a string of digits where `like` is one. */
int write_number(struct buf *out, enum format format, const struct node *like,
                 int64_t number) MUST_USE;
/* Makes what was appended since `start` a PHP string. */
int write_as_string(struct buf *out, size_t start) MUST_USE;

#endif
