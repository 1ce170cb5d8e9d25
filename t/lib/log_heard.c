#include "lib/log_heard.h"

#include "base/log.h"

#include <check.h>
#include <stdio.h>
#include <unistd.h>

static FILE *heard;

void log_listen(void)
{
    heard = tmpfile();
    ck_assert_ptr_nonnull(heard);
    log_level_set(LOG_INFO);
    ck_assert_int_ge(dup2(fileno(heard), STDERR_FILENO), 0);
}

const char *log_heard(void)
{
    static char text[1 << 16];
    rewind(heard);
    size_t len = fread(text, 1, sizeof text - 1, heard);
    text[len] = 0;
    return text;
}
