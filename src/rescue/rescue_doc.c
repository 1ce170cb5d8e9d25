/* rescue_doc: a document's nodes, and finding children by key. */
#include "rescue/rescue_int.h"

#include <stdlib.h>

#define NODES_MIN 64

bool doc_int(struct slice digits, int64_t *number)
{
    bool minus = digits.len && digits.bytes[0] == '-';
    struct slice rest = slice_from(digits, minus);
    bool zero = rest.len && rest.bytes[0] == '0';
    return rest.len && (!zero || (rest.len == 1 && !minus)) && num_i64(digits, number);
}

void doc_release(struct doc *doc)
{
    free(doc->nodes);
    free(doc->sorted);
    *doc = (struct doc){0};
}

/* Room for one more of `size` bytes each. */
static int grow(void **array, uint32_t need, uint32_t *cap, size_t size)
{
    if (need <= *cap)
        return 0;
    uint32_t more = *cap ? *cap : NODES_MIN;
    while (more < need)
        more *= 2;
    void *bigger = realloc(*array, more * size);
    if (!bigger)
        return CE_NOMEM;
    *array = bigger;
    *cap = more;
    return 0;
}

int doc_add(struct doc *doc, uint32_t *at)
{
    if (doc->count == RESCUE_NODES_MAX)
        return CE_BAD_DOC;
    if (grow((void **)&doc->nodes, doc->count + 1, &doc->cap, sizeof *doc->nodes))
        return CE_NOMEM;
    *at = doc->count++;
    doc->nodes[*at] = (struct node){0};
    return 0;
}

void doc_link(struct doc *doc, uint32_t parent, uint32_t *last, uint32_t child)
{
    if (*last)
        doc->nodes[*last].next = child;
    else
        doc->nodes[parent].first = child;
    doc->nodes[parent].count++;
    *last = child;
}

/* ---- what a value says ---- */

/* FNV-1a, which goes byte by byte, since an escape is one byte or several. */
uint64_t doc_hash_byte(uint64_t hash, uint8_t byte)
{
    return (hash ^ byte) * 0x100000001b3ull;
}

uint64_t doc_hash_string(struct slice text)
{
    uint64_t hash = DOC_HASH_STRING;
    for (size_t i = 0; i < text.len; i++)
        hash = doc_hash_byte(hash, text.bytes[i]);
    return hash;
}

void doc_set_hash(struct node *scalar)
{
    if (!scalar->is_string)
        scalar->hash = hash_64(scalar->raw);
}

/* Of a map in any order. What is empty is the same as a map and as a list. */
static uint64_t hash_children(const struct doc *doc, const struct node *parent)
{
    uint64_t hash = 0;
    for (const struct node *child = doc_child(doc, parent); child; child = doc_next(doc, child)) {
        uint64_t pair[2] = {parent->kind == NODE_MAP ? child->key_hash : hash, child->hash};
        uint64_t both = hash_64(slice_of(pair, sizeof pair));
        hash = parent->kind == NODE_MAP ? hash + both : both;
    }
    return hash;
}

int doc_close(struct doc *doc, uint32_t parent)
{
    uint32_t need = doc->sorted_count + doc->nodes[parent].count;
    if (grow((void **)&doc->sorted, need, &doc->sorted_cap, sizeof *doc->sorted))
        return CE_NOMEM;
    doc->nodes[parent].sorted = doc->sorted_count;
    doc->nodes[parent].hash = hash_children(doc, &doc->nodes[parent]);
    doc->sorted_count = need;
    return 0;
}

/* ---- by key ---- */

static int compare_keys(const void *left, const void *right, void *nodes)
{
    uint64_t a = ((const struct node *)nodes)[*(const uint32_t *)left].key_hash;
    uint64_t b = ((const struct node *)nodes)[*(const uint32_t *)right].key_hash;
    return (a > b) - (a < b);
}

bool doc_sort(struct doc *doc, const struct node *parent)
{
    if (!parent || parent->count == 0)
        return true;
    uint32_t *sorted = doc->sorted + parent->sorted, count = 0;
    for (const struct node *child = doc_child(doc, parent); child; child = doc_next(doc, child))
        sorted[count++] = (uint32_t)(child - doc->nodes);
    qsort_r(sorted, count, sizeof *sorted, compare_keys, doc->nodes);
    for (uint32_t i = 1; i < count; i++)
        if (doc->nodes[sorted[i - 1]].key_hash == doc->nodes[sorted[i]].key_hash)
            return false;
    return true;
}

struct node *doc_find(const struct doc *doc, const struct node *parent, uint64_t key_hash)
{
    uint32_t low = 0, high = parent ? parent->count : 0;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        struct node *child = &doc->nodes[doc->sorted[parent->sorted + middle]];
        if (child->key_hash == key_hash)
            return child;
        if (child->key_hash < key_hash)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct node *doc_member(const struct doc *doc, const struct node *map, struct slice name)
{
    if (map->kind != NODE_MAP)
        return NULL;
    for (const struct node *child = doc_child(doc, map); child; child = doc_next(doc, child))
        if (child->kind == NODE_SCALAR && slice_eq(child->name, name))
            return child;
    return NULL;
}

bool doc_identify(struct doc *doc, const struct node *list, struct slice name)
{
    for (struct node *child = doc_child(doc, list); child; child = doc_next(doc, child)) {
        const struct node *identity = doc_member(doc, child, name);
        if (!identity)
            return false;
        child->key_hash = identity->hash;
    }
    return doc_sort(doc, list);
}

/* ---- reading ---- */

static enum format format_of(struct slice text)
{
    struct reader reader = {.rest = text};
    json_skip_spaces(&reader);
    if (reader.rest.len && (reader.rest.bytes[0] == '{' || reader.rest.bytes[0] == '['))
        return FORMAT_JSON;
    return slice_starts(text, slice_str("a:")) ? FORMAT_PHP : FORMAT_SESSION;
}

int doc_read(struct doc *doc, struct slice text)
{
    struct reader reader = {.doc = doc, .rest = text};
    uint32_t root;
    int rc;
    doc->count = doc->sorted_count = 0;
    if (text.len > RESCUE_BYTES_MAX)
        return CE_BAD_DOC;
    doc->format = format_of(text);
    if (doc->format == FORMAT_SESSION)
        rc = php_read_session(&reader, &root);
    else if (doc->format == FORMAT_PHP)
        rc = php_read_value(&reader, &root);
    else
        rc = json_read_value(&reader, &root);
    if (rc)
        return rc;
    if (doc->format == FORMAT_JSON)
        json_skip_spaces(&reader);
    MUST(root == 0);
    return reader.rest.len || doc->nodes[0].kind == NODE_SCALAR ? CE_BAD_DOC : 0;
}
