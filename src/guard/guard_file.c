/* guard_file: the password file, in memcached's format: a line is `user:password`, and the clear
 * password goes up to the end of the line, as it does there. A hashed one ends at the next ':', so
 * that lines of shadow(5) fit. Empty lines and lines that begin with '#' say nothing. */
#include "guard/guard_int.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_ROOM (1u << 20) /* most files fit: no copy is left behind by growing */

static void warn_if_readable(const char *path)
{
    struct stat found;
    if (stat(path, &found) == 0 && (found.st_mode & S_IROTH))
        log_warn("guard", "%s: everybody on this machine can read the passwords", path);
}

static struct slice take_line(struct slice *text)
{
    const uint8_t *end = memchr(text->bytes, '\n', text->len);
    struct slice line = slice_of(text->bytes, end ? (size_t)(end - text->bytes) : text->len);
    *text = slice_from(*text, line.len + (end ? 1 : 0));
    while (line.len && line.bytes[line.len - 1] == '\r')
        line.len--;
    return line;
}

static bool says_nothing(struct slice line)
{
    size_t blanks = 0;
    while (blanks < line.len && (line.bytes[blanks] == ' ' || line.bytes[blanks] == '\t'))
        blanks++;
    return blanks == line.len || line.bytes[0] == '#';
}

static int add_line(struct slice line, const char *where, struct guard_users *users,
                    const uint8_t key[GUARD_KEY_BYTES], const struct guard_message *message)
{
    if (memchr(line.bytes, 0, line.len))
        return guard_refuse(message, CE_INVAL, "%sa NUL byte", where);
    const uint8_t *colon = memchr(line.bytes, ':', line.len);
    if (!colon)
        return guard_refuse(message, CE_INVAL, "%snot user:password", where);
    size_t name_len = (size_t)(colon - line.bytes);
    struct slice password = slice_from(line, name_len + 1);
    return guard_users_add(users, key, slice_of(line.bytes, name_len), password, NULL, where,
                           message);
}

static int add_lines(const char *path, struct slice text, struct guard_users *users,
                     const uint8_t key[GUARD_KEY_BYTES], const struct guard_message *message)
{
    size_t before = users->count;
    struct buf where = {0};
    int rc = 0;
    for (unsigned number = 1; rc == 0 && text.len; number++) {
        struct slice line = take_line(&text);
        if (says_nothing(line))
            continue;
        where.len = 0;
        rc = buf_printf(&where, "%s:%u: ", path, number);
        if (rc == 0)
            rc = add_line(line, (const char *)where.bytes, users, key, message);
    }
    buf_free(&where);
    /* A file that is just being written must not open the door. */
    if (rc == 0 && users->count == before)
        rc = guard_refuse(message, CE_INVAL, "%s: no user in it", path);
    return rc;
}

int guard_file_read(const struct env *env, const char *path, struct guard_users *users,
                    const uint8_t key[GUARD_KEY_BYTES], const struct guard_message *message)
{
    struct buf text = {0};
    int rc = buf_reserve(&text, FILE_ROOM);
    if (rc)
        return rc;
    rc = env->file_read(env->ctx, path, &text);
    if (rc)
        guard_refuse(message, rc, "%s: %s", path, err_text(rc));
    else
        rc = add_lines(path, buf_slice(&text), users, key, message);
    OPENSSL_cleanse(text.bytes, text.len);
    buf_free(&text);
    if (rc == 0)
        warn_if_readable(path);
    return rc;
}
