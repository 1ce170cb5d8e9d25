/* listen_unix: the unix socket as a file: its permissions, a stale one before us, none behind us.
 */
#include "net/net_int.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

static int fail(const char *path, const char *why, char *message, size_t message_bytes)
{
    snprintf(message, message_bytes, "cannot listen on unix socket %s: %s", path, why);
    return CE_IO;
}

/* 0 when nobody listens on it; what is wrong else. */
static int try_connect(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
    int why = rc == 0 || errno == EAGAIN ? EADDRINUSE : errno;
    close(fd);
    return why == ECONNREFUSED || why == ENOENT ? 0 : why;
}

/* Makes room for our file: what a dead process has left is removed, and nothing else. */
static int remove_stale(const struct sockaddr_un *address, char *message, size_t message_bytes)
{
    const char *path = address->sun_path;
    struct stat info;
    if (lstat(path, &info))
        return errno == ENOENT ? 0 : fail(path, strerror(errno), message, message_bytes);
    if (!S_ISSOCK(info.st_mode))
        return fail(path, "it exists and is no socket", message, message_bytes);
    int why = try_connect(address);
    if (why)
        return fail(path, strerror(why), message, message_bytes);
    if (unlink(path) && errno != ENOENT)
        return fail(path, strerror(errno), message, message_bytes);
    return 0;
}

/* The umask gives the file its permissions as it is made: there is no moment with others. */
static int bind_with_mode(int fd, const struct sockaddr_un *address, unsigned mode)
{
    mode_t before = umask(~mode & 0777);
    int rc = bind(fd, (const struct sockaddr *)address, sizeof *address);
    int why = errno;
    umask(before);
    return rc ? why : 0;
}

int listen_unix_open(struct net *net, char *message, size_t message_bytes)
{
    const char *path = net->config.unix_path;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat info;
    if (strlen(path) == 0 || strlen(path) >= sizeof address.sun_path) {
        snprintf(message, message_bytes,
                 "cannot listen on unix socket %s: a path has 1 to %zu bytes", path,
                 sizeof address.sun_path - 1);
        return CE_INVAL;
    }
    memcpy(address.sun_path, path, strlen(path));
    int rc = remove_stale(&address, message, message_bytes);
    if (rc)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(path, strerror(errno), message, message_bytes);
    int why = bind_with_mode(fd, &address, net->config.unix_mode);
    if (why == 0 && lstat(path, &info) == 0) {
        net->unix_file.made = true;
        net->unix_file.device = info.st_dev;
        net->unix_file.inode = info.st_ino;
    }
    if (why == 0 && listen(fd, (int)net->config.backlog))
        why = errno;
    if (why == 0)
        return fd;
    close(fd);
    listen_unix_remove(net);
    return fail(path, strerror(why), message, message_bytes);
}

void listen_unix_remove(struct net *net)
{
    const char *path = net->config.unix_path;
    struct stat info;
    if (!net->unix_file.made)
        return;
    net->unix_file.made = false;
    /* Another process may have put its own there. */
    if (lstat(path, &info) || info.st_dev != net->unix_file.device ||
        info.st_ino != net->unix_file.inode)
        return;
    if (unlink(path))
        log_warn("net", "cannot remove unix socket %s: %s", path, strerror(errno));
}
