/* env_real: the machine's own clock, random numbers and files. */
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define FILE_MODE   0640
#define DIR_MODE    0750
#define RANDOM_POOL 64 /* numbers fetched from the kernel at a time, per thread */

static int errno_code(void)
{
    switch (errno) {
    case ENOSPC:
    case EDQUOT:
    case EROFS: return CE_NODISK;
    case ENOENT: return CE_NOTFOUND;
    case ENOMEM: return CE_NOMEM;
    default: return CE_IO;
    }
}

/* Of a directory that somebody has named: what is no fault of the disk. */
static int place_code(void)
{
    switch (errno) {
    case EACCES:
    case EPERM:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG: return CE_NOACCESS;
    default: return errno_code();
    }
}

static int rc_code(int rc)
{
    return rc < 0 ? errno_code() : 0;
}

static uint64_t real_mono_ms(void *ctx)
{
    (void)ctx;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t real_wall_us(void *ctx)
{
    (void)ctx;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t real_random_u64(void *ctx)
{
    (void)ctx;
    static _Thread_local uint64_t pool[RANDOM_POOL];
    static _Thread_local size_t left;
    if (left == 0) {
        MUST(getrandom(pool, sizeof pool, 0) == (ssize_t)sizeof pool);
        left = RANDOM_POOL;
    }
    return pool[--left];
}

static int real_file_create(void *ctx, const char *path, int *fd)
{
    (void)ctx;
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, FILE_MODE);
    return rc_code(*fd);
}

static int real_file_write(void *ctx, int fd, struct slice bytes)
{
    (void)ctx;
    while (bytes.len) {
        ssize_t done = write(fd, bytes.bytes, bytes.len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno_code();
        bytes = slice_from(bytes, (size_t)done);
    }
    return 0;
}

static int real_file_sync(void *ctx, int fd)
{
    (void)ctx;
    return rc_code(fdatasync(fd));
}

static int real_file_close(void *ctx, int fd)
{
    (void)ctx;
    return rc_code(close(fd));
}

static int read_all(int fd, struct buf *out)
{
    for (;;) {
        if (buf_reserve(out, 1 << 16))
            return CE_NOMEM;
        ssize_t got = read(fd, out->bytes + out->len, out->cap - out->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return rc_code((int)got);
        out->len += (size_t)got;
    }
}

static int real_file_read(void *ctx, const char *path, struct buf *out)
{
    (void)ctx;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno_code();
    int rc = read_all(fd, out);
    close(fd);
    return rc;
}

static int read_part(int fd, uint64_t offset, size_t bytes, struct buf *out)
{
    if (buf_reserve(out, bytes))
        return CE_NOMEM;
    while (bytes) {
        ssize_t got = pread(fd, out->bytes + out->len, bytes, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return rc_code((int)got);
        out->len += (size_t)got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return 0;
}

static int real_file_read_part(void *ctx, const char *path, uint64_t offset, size_t bytes,
                               struct buf *out)
{
    (void)ctx;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno_code();
    int rc = read_part(fd, offset, bytes, out);
    close(fd);
    return rc;
}

static int real_file_size(void *ctx, const char *path, uint64_t *bytes)
{
    (void)ctx;
    struct stat of;
    if (stat(path, &of))
        return errno_code();
    *bytes = (uint64_t)of.st_size;
    return 0;
}

static int sync_and_close(int fd, int rc)
{
    if (rc == 0)
        rc = rc_code(fsync(fd));
    close(fd);
    return rc;
}

static int real_file_truncate(void *ctx, const char *path, uint64_t len)
{
    (void)ctx;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno_code();
    return sync_and_close(fd, rc_code(ftruncate(fd, (off_t)len)));
}

static int real_file_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return rc_code(rename(from, to));
}

static int real_file_remove(void *ctx, const char *path)
{
    (void)ctx;
    return rc_code(unlink(path));
}

static int real_file_flush(void *ctx, const char *path)
{
    (void)ctx;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno_code();
    return sync_and_close(fd, 0);
}

static int real_dir_remove(void *ctx, const char *path)
{
    (void)ctx;
    return rc_code(rmdir(path));
}

static int real_dir_make(void *ctx, const char *path)
{
    (void)ctx;
    char *walk = strdup(path);
    if (!walk)
        return CE_NOMEM;
    int rc = 0;
    for (char *at = walk + 1; rc == 0; at++) {
        if (*at != '/' && *at != 0)
            continue;
        char stop = *at;
        *at = 0;
        if (mkdir(walk, DIR_MODE) < 0 && errno != EEXIST)
            rc = place_code();
        *at = stop;
        if (!stop)
            break;
    }
    free(walk);
    return rc;
}

static int real_dir_sync(void *ctx, const char *path)
{
    (void)ctx;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno_code();
    return sync_and_close(fd, 0);
}

static int real_dir_free(void *ctx, const char *path, uint64_t *bytes)
{
    (void)ctx;
    struct statvfs room;
    *bytes = 0;
    if (statvfs(path, &room) < 0)
        return errno_code();
    *bytes = (uint64_t)room.f_bavail * room.f_frsize;
    return 0;
}

static int real_dir_lock(void *ctx, const char *path, int *fd)
{
    (void)ctx;
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return place_code();
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    int rc = errno == EWOULDBLOCK ? CE_BUSY : errno_code();
    close(*fd);
    *fd = -1;
    return rc;
}

static int real_dir_list(void *ctx, const char *path, void (*each)(void *, const char *), void *arg)
{
    (void)ctx;
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    if (count < 0)
        return errno_code();
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            each(arg, name);
        free(names[i]);
    }
    free(names);
    return 0;
}

static const struct env real = {
    .mono_ms = real_mono_ms,
    .wall_us = real_wall_us,
    .random_u64 = real_random_u64,
    .file_create = real_file_create,
    .file_write = real_file_write,
    .file_sync = real_file_sync,
    .file_close = real_file_close,
    .file_read = real_file_read,
    .file_read_part = real_file_read_part,
    .file_size = real_file_size,
    .file_truncate = real_file_truncate,
    .file_rename = real_file_rename,
    .file_remove = real_file_remove,
    .file_flush = real_file_flush,
    .dir_make = real_dir_make,
    .dir_remove = real_dir_remove,
    .dir_sync = real_dir_sync,
    .dir_free = real_dir_free,
    .dir_lock = real_dir_lock,
    .dir_list = real_dir_list,
};

const struct env *env_real(void)
{
    return &real;
}
