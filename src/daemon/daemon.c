#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int refuse(char *message, size_t message_bytes, int rc, const char *what, const char *name)
{
    snprintf(message, message_bytes, "%s%s%s: %s", what, name ? " " : "", name ? name : "",
             strerror(errno));
    return rc;
}

/* ---- background ---- */

/* In the process that was called: ends when the child serves, or with the child. */
static _Noreturn void wait_for_child(pid_t child, int ready_fd)
{
    char byte;
    ssize_t got;
    int status = 0;
    while ((got = read(ready_fd, &byte, 1)) < 0 && errno == EINTR)
        ;
    if (got == 1)
        _exit(EXIT_SUCCESS);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    _exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

int daemon_begin(struct daemon *daemon, char *message, size_t message_bytes)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return refuse(message, message_bytes, CE_IO, "pipe", NULL);
    pid_t child = fork();
    if (child < 0)
        return refuse(message, message_bytes, CE_IO, "fork", NULL);
    if (child > 0) {
        close(ends[1]);
        wait_for_child(child, ends[0]);
    }
    close(ends[0]);
    daemon->ready_fd = ends[1];
    setsid();
    return 0;
}

/* A log that goes to a file stays; a pipe would keep its reader waiting for us. */
static void leave_streams(void)
{
    struct stat log;
    bool to_file = fstat(STDERR_FILENO, &log) == 0 && S_ISREG(log.st_mode);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        if (fd != STDERR_FILENO || !to_file)
            dup2(null, fd);
    if (null > STDERR_FILENO)
        close(null);
}

void daemon_ready(struct daemon *daemon)
{
    if (daemon->ready_fd < 0)
        return;
    leave_streams();
    ssize_t sent = write(daemon->ready_fd, "", 1);
    (void)sent; /* who called may be gone; we serve anyway */
    close(daemon->ready_fd);
    daemon->ready_fd = -1;
}

/* ---- pid file ---- */

int daemon_write_pid(struct daemon *daemon, const char *path, char *message, size_t message_bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool written = fd >= 0 && dprintf(fd, "%ld\n", (long)getpid()) > 0;
    if (fd >= 0 && close(fd))
        written = false;
    if (!written)
        return refuse(message, message_bytes, CE_IO, "pid file", path);
    daemon->pid_path = path;
    return 0;
}

void daemon_end(struct daemon *daemon)
{
    if (daemon->pid_path && unlink(daemon->pid_path) && errno != ENOENT)
        log_warn("daemon", "pid file %s stays: %s", daemon->pid_path, strerror(errno));
    daemon->pid_path = NULL;
}

/* ---- identity and limits ---- */

int daemon_become(const char *user, char *message, size_t message_bytes)
{
    if (geteuid() != 0)
        return 0;
    errno = 0;
    const struct passwd *entry = getpwnam(user);
    if (!entry) {
        snprintf(message, message_bytes, "there is no user %s", user);
        return CE_INVAL;
    }
    uid_t uid = entry->pw_uid;
    gid_t gid = entry->pw_gid;
    if (initgroups(user, gid) || setgid(gid) || setuid(uid))
        return refuse(message, message_bytes, CE_IO, "cannot become user", user);
    return 0;
}

int daemon_lock_memory(char *message, size_t message_bytes)
{
    return mlockall(MCL_CURRENT | MCL_FUTURE)
               ? refuse(message, message_bytes, CE_IO, "cannot lock memory (-k)", NULL)
               : 0;
}

int daemon_raise_cores(char *message, size_t message_bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_CORE, &limit))
        return refuse(message, message_bytes, CE_IO, "core limit", NULL);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_CORE, &limit) || limit.rlim_cur == 0) {
        snprintf(message, message_bytes, "core files are not allowed here (-r)");
        return CE_INVAL;
    }
    return 0;
}
