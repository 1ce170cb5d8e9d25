/* rescue_fuzz: three texts, each ended by a zero byte but the last: base, mine, theirs.
 *
 * Nothing may crash or read out of bounds. What is understood gives a text that is understood;
 * where a strict JSON parser takes all three, it takes what comes out. */
#include "rescue/rescue.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct slice take_text(struct slice *rest)
{
    const uint8_t *end = rest->len ? memchr(rest->bytes, 0, rest->len) : NULL;
    struct slice text = slice_of(rest->bytes, end ? (size_t)(end - rest->bytes) : rest->len);
    *rest = slice_from(*rest, end ? text.len + 1 : text.len);
    return text;
}

static bool is_json(struct slice text)
{
    json_error_t error;
    json_t *root = json_loadb((const char *)text.bytes, text.len, JSON_REJECT_DUPLICATES, &error);
    json_decref(root);
    return root != NULL;
}

static void expect(bool right)
{
    MUST(right);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct rescue *rescue;
    struct slice rest = slice_of(bytes, len);
    struct slice base = take_text(&rest), mine = take_text(&rest), theirs = rest;
    struct buf out = {0}, again = {0};
    if (!rescue)
        expect(rescue_new(&rescue) == 0);
    int rc = rescue_merge(rescue, base, mine, theirs, &out);
    expect(rc == 0 || rc == CE_BAD_DOC);
    expect(rc == 0 || out.len == 0);
    if (rc == 0) {
        struct slice got = buf_slice(&out);
        expect(rescue_merge(rescue, got, got, got, &again) == 0);
        expect(slice_eq(got, buf_slice(&again)));
        if ((base.len == 0 || is_json(base)) && is_json(mine) && is_json(theirs))
            expect(is_json(got));
        again.len = 0;
        if (base.len) {
            expect(rescue_merge(rescue, base, mine, base, &again) == 0);
            expect(slice_eq(buf_slice(&again), mine));
        }
    }
    buf_free(&out);
    buf_free(&again);
    return 0;
}
