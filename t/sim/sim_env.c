/* sim_env: a struct env on the simulated disk and clock. */
#include "sim/sim.h"

#define FDS_MAX 1024
#define LOCK_FD 4000

static struct sim_file *open_files[FDS_MAX];
static int fd_count;

static uint64_t get_mono_ms(void *ctx)
{
    (void)ctx;
    return sim->mono_us / 1000;
}

static uint64_t get_wall_us(void *ctx)
{
    (void)ctx;
    return sim_wall_us();
}

static uint64_t get_random(void *ctx)
{
    (void)ctx;
    return sim_random();
}

static int create_file(void *ctx, const char *path, int *fd)
{
    (void)ctx;
    *fd = -1;
    MUST(fd_count < FDS_MAX);
    int rc = sim_file_create(path, true, &open_files[fd_count]);
    if (rc == 0)
        *fd = fd_count++;
    return rc;
}

static struct sim_file *file_of(int fd)
{
    MUST(fd >= 0 && fd < fd_count && open_files[fd]);
    return open_files[fd];
}

static int write_file(void *ctx, int fd, struct slice bytes)
{
    (void)ctx;
    return sim_file_append(file_of(fd), bytes.bytes, bytes.len);
}

static int sync_file(void *ctx, int fd)
{
    (void)ctx;
    return sim_file_sync(file_of(fd), false);
}

static int close_file(void *ctx, int fd)
{
    (void)ctx;
    if (fd == LOCK_FD)
        return 0;
    file_of(fd);
    open_files[fd] = NULL;
    sim_call_step();
    return 0;
}

static int read_part(void *ctx, const char *path, uint64_t offset, size_t bytes, struct buf *out)
{
    (void)ctx;
    struct slice found;
    struct sim_file *file = sim_file_find(path);
    int rc = file ? sim_file_read(file, offset, bytes, &found) : CE_NOTFOUND;
    return rc ? rc : buf_append(out, found.bytes, found.len);
}

static int read_file(void *ctx, const char *path, struct buf *out)
{
    return read_part(ctx, path, 0, SIZE_MAX, out);
}

static int size_of_file(void *ctx, const char *path, uint64_t *bytes)
{
    (void)ctx;
    struct slice found;
    struct sim_file *file = sim_file_find(path);
    int rc = file ? sim_file_read(file, 0, SIZE_MAX, &found) : CE_NOTFOUND;
    if (rc == 0)
        *bytes = found.len;
    return rc;
}

static int truncate_file(void *ctx, const char *path, uint64_t len)
{
    (void)ctx;
    return sim_file_truncate(path, len);
}

static int rename_name(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return sim_name_rename(from, to);
}

static int remove_name(void *ctx, const char *path)
{
    (void)ctx;
    return sim_name_remove(path);
}

static int make_dir(void *ctx, const char *path)
{
    (void)ctx;
    return sim_dir_make(path);
}

static int sync_dir(void *ctx, const char *path)
{
    (void)ctx, (void)path;
    return sim_names_sync();
}

static int free_of_dir(void *ctx, const char *path, uint64_t *bytes)
{
    (void)ctx, (void)path;
    *bytes = sim_disk_free();
    return 0;
}

static int lock_dir(void *ctx, const char *path, int *fd)
{
    (void)ctx, (void)path;
    *fd = LOCK_FD;
    return 0;
}

static int list_dir(void *ctx, const char *path, void (*each)(void *, const char *), void *arg)
{
    (void)ctx;
    return sim_dir_each(path, each, arg);
}

const struct env *sim_env(void)
{
    static const struct env env = {
        .mono_ms = get_mono_ms,
        .wall_us = get_wall_us,
        .random_u64 = get_random,
        .file_create = create_file,
        .file_write = write_file,
        .file_sync = sync_file,
        .file_close = close_file,
        .file_read = read_file,
        .file_read_part = read_part,
        .file_size = size_of_file,
        .file_truncate = truncate_file,
        .file_rename = rename_name,
        .file_remove = remove_name,
        .dir_make = make_dir,
        .dir_sync = sync_dir,
        .dir_free = free_of_dir,
        .dir_lock = lock_dir,
        .dir_list = list_dir,
    };
    return &env;
}
