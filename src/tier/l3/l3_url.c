/* URLs of databases: taking the password out, for everything that people see, and putting it in. */
#include "tier/l3/l3_int.h"

#define MASK "***"

/* Where a password begins and ends: behind "//user:" up to '@', or behind "password=" among the
 * settings. */
static bool find_password(struct slice url, struct slice *password)
{
    const char *text = (const char *)url.bytes;
    const char *end = text + url.len;
    const char *slashes = memmem(text, url.len, "://", 3);
    if (!slashes)
        return false;
    const char *user = slashes + 3;
    const char *path = user;
    while (path < end && *path != '/' && *path != '?')
        path++;
    const char *at = memrchr(user, '@', (size_t)(path - user));
    const char *colon = at ? memchr(user, ':', (size_t)(at - user)) : NULL;
    if (colon) {
        *password = slice_of(colon + 1, (size_t)(at - colon - 1));
        return true;
    }
    const char *setting = memmem(path, (size_t)(end - path), "password=", 9);
    if (!setting)
        return false;
    setting += 9;
    const char *next = memchr(setting, '&', (size_t)(end - setting));
    *password = slice_of(setting, (size_t)((next ? next : end) - setting));
    return true;
}

int l3_mask_url(const char *url, struct buf *out)
{
    url += strncmp(url, L3_FIXED, strlen(L3_FIXED)) == 0 ? strlen(L3_FIXED) : 0;
    struct slice rest = slice_str(url), password;
    if (!find_password(rest, &password))
        return buf_append(out, rest.bytes, rest.len);
    const uint8_t *behind = password.bytes + password.len;
    int err = buf_append(out, url, (size_t)(password.bytes - rest.bytes));
    if (!err)
        err = buf_append_str(out, MASK);
    return err ? err : buf_append_str(out, (const char *)behind);
}

int l3_put_password(const char *url, struct slice password, struct buf *out)
{
    const char *user = strstr(url, "://");
    const char *host = user ? user + 3 + strcspn(user + 3, "@/?") : NULL;
    struct slice old;
    if (!host || *host != '@' || find_password(slice_str(url), &old))
        return CE_INVAL;
    int err = buf_append(out, url, (size_t)(host - url));
    if (!err)
        err = buf_append_str(out, ":");
    for (size_t i = 0; i < password.len && !err; i++)
        err = buf_printf(out, "%%%02x", password.bytes[i]);
    return err ? err : buf_append_str(out, host);
}
