/* rescue_write: maps and lists in the form they were read in. */
#include "rescue/rescue_int.h"

void writer_begin(struct writer *writer, struct buf *out, enum format format, enum node_kind kind)
{
    *writer = (struct writer){.out = out, .format = format, .kind = kind, .start = out->len};
}

int write_raw(struct buf *out, struct slice raw)
{
    return buf_append(out, raw.bytes, raw.len);
}

/* PHP's lists are numbered anew, as serialize() would. */
int writer_key(struct writer *writer, struct slice key)
{
    uint64_t at = writer->count++;
    bool is_map = writer->kind == NODE_MAP;
    if (writer->format == FORMAT_JSON) {
        int rc = buf_append_str(writer->out, at ? "," : is_map ? "{" : "[");
        if (rc == 0 && is_map)
            rc = write_raw(writer->out, key);
        return rc || !is_map ? rc : buf_append_str(writer->out, ":");
    }
    return is_map ? write_raw(writer->out, key)
                  : buf_printf(writer->out, "i:%llu;", (unsigned long long)at);
}

int writer_int_key(struct writer *writer, int64_t key)
{
    uint64_t at = writer->count++;
    if (writer->format == FORMAT_JSON)
        return buf_printf(writer->out, "%s\"%lld\":", at ? "," : "{", (long long)key);
    return buf_printf(writer->out, "i:%lld;", (long long)key);
}

int writer_end(struct writer *writer)
{
    char head[NUM_DIGITS_MAX + sizeof "a::{"] = "a:";
    bool is_map = writer->kind == NODE_MAP;
    if (writer->format == FORMAT_SESSION)
        return 0;
    if (writer->format == FORMAT_JSON) {
        if (writer->count == 0 && buf_append_str(writer->out, is_map ? "{" : "["))
            return CE_NOMEM;
        return buf_append_str(writer->out, is_map ? "}" : "]");
    }
    size_t len = 2 + num_put_u64(head + 2, writer->count);
    head[len++] = ':';
    head[len++] = '{';
    int rc = buf_splice(writer->out, writer->start, 0, slice_of(head, len));
    return rc ? rc : buf_append_str(writer->out, "}");
}

int write_as_string(struct buf *out, size_t start)
{
    char head[NUM_DIGITS_MAX + sizeof "s::\""] = "s:";
    size_t len = 2 + num_put_u64(head + 2, out->len - start);
    head[len++] = ':';
    head[len++] = '"';
    int rc = buf_splice(out, start, 0, slice_of(head, len));
    return rc ? rc : buf_append_str(out, "\";");
}

int write_number(struct buf *out, enum format format, const struct node *like, int64_t number)
{
    size_t start = out->len;
    if (format == FORMAT_JSON)
        return buf_printf(out, like->is_string ? "\"%lld\"" : "%lld", (long long)number);
    int rc = buf_printf(out, like->is_string ? "%lld" : "i:%lld;", (long long)number);
    return rc || !like->is_string ? rc : write_as_string(out, start);
}
