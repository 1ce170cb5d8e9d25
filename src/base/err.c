#include "base/base.h"

static const struct {
    const char *text;
    const char *wire;
} errors[] = {{"ok", ""},
#define X(name, text, wire) {text, wire},
              ERR_TABLE(X)
#undef X
};

#define ERRORS_COUNT ((int)(sizeof errors / sizeof errors[0]))

const char *err_text(int code)
{
    MUST(code <= 0 && -code < ERRORS_COUNT);
    return errors[-code].text;
}

const char *err_wire(int code)
{
    MUST(code < 0 && -code < ERRORS_COUNT);
    return errors[-code].wire;
}
