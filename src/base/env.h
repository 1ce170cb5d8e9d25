/* env: time, randomness and files as a vtable, so that tests and the simulation can own them.
 * env_real() is the machine; t/lib has fakes. All calls are thread safe. */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include "base/buf.h"
#include "base/must.h"
#include "base/slice.h"

struct env {
    void *ctx;
    /* Monotonic, for intervals and time-outs. */
    uint64_t (*mono_ms)(void *ctx);
    /* Microseconds since 1970; may jump. */
    uint64_t (*wall_us)(void *ctx);
    uint64_t (*random_u64)(void *ctx);

    /* Files. 0 or CE_NODISK (ENOSPC, EDQUOT, EROFS) / CE_NOTFOUND / CE_IO. */
    int (*file_create)(void *ctx, const char *path, int *fd); /* new, write-only, must not exist */
    int (*file_write)(void *ctx, int fd, struct slice bytes); /* all of it, at the end */
    int (*file_sync)(void *ctx, int fd);                      /* fdatasync */
    int (*file_close)(void *ctx, int fd);
    int (*file_read)(void *ctx, const char *path, struct buf *out); /* appends the whole file */
    /* Appends `bytes` bytes of the file from `offset` on; fewer only where it ends. CE_NOMEM. */
    int (*file_read_part)(void *ctx, const char *path, uint64_t offset, size_t bytes,
                          struct buf *out);
    int (*file_size)(void *ctx, const char *path, uint64_t *bytes);
    int (*file_truncate)(void *ctx, const char *path, uint64_t len); /* and fsyncs it */
    int (*file_rename)(void *ctx, const char *from, const char *to);
    int (*file_remove)(void *ctx, const char *path);
    int (*file_flush)(void *ctx, const char *path); /* fsync of a file that another has written */
    /* Existing is success; parents too. CE_NOACCESS: no permission, or something else is there. */
    int (*dir_make)(void *ctx, const char *path);
    int (*dir_remove)(void *ctx, const char *path); /* an empty one */
    int (*dir_sync)(void *ctx, const char *path);
    /* How many bytes more the file system of a directory takes from us. */
    int (*dir_free)(void *ctx, const char *path, uint64_t *bytes);
    /* Keeps other processes out of a directory until *fd is closed; -1 = not. CE_BUSY: one is
     * there. CE_NOACCESS. */
    int (*dir_lock)(void *ctx, const char *path, int *fd);
    /* Calls `each` with the base name of every entry but "." and "..", in name order. */
    int (*dir_list)(void *ctx, const char *path, void (*each)(void *arg, const char *name),
                    void *arg);
};

/* The real machine. Never freed. */
const struct env *env_real(void);

static inline uint64_t env_mono_ms(const struct env *env)
{
    return env->mono_ms(env->ctx);
}
static inline uint64_t env_wall_us(const struct env *env)
{
    return env->wall_us(env->ctx);
}
static inline uint64_t env_random_u64(const struct env *env)
{
    return env->random_u64(env->ctx);
}

#endif
