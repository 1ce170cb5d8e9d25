/* A file is found by `path`; `durable_path` is its name after power loss, NULL when it has none.
 * Files are never freed before the env is: open descriptors and durable names may need them. */
#include "fake_env.h"

#include <pthread.h>
#include <stdlib.h>

#define FD_BASE        1000
#define CLOCK_START_MS 1000000

struct fake_file {
    char *path; /* NULL when removed */
    char *durable_path;
    struct buf data;
    size_t synced;
    size_t lost_from; /* a sync failed: readable from there on, until the power goes */
    bool open;
};

struct fake_env {
    struct env vtable;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t random;
    uint64_t mono_ms;
    uint64_t wall_us;
    uint64_t free_bytes;
    struct fake_file **files; /* the descriptor of files[i] is FD_BASE + i */
    size_t file_count;
    char **dirs;
    size_t dir_count;
    struct fake_fault faults[FAKE_CALLS];
    uint64_t calls[FAKE_CALLS];
    bool held[FAKE_CALLS];
    uint64_t faults_hit;
    bool off;
};

static void lock(struct fake_env *fake)
{
    MUST(pthread_mutex_lock(&fake->mutex) == 0);
}

static void unlock(struct fake_env *fake)
{
    MUST(pthread_mutex_unlock(&fake->mutex) == 0);
}

static void *must_realloc(void *memory, size_t size)
{
    void *grown = realloc(memory, size);
    MUST(grown);
    return grown;
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    MUST(copy);
    return copy;
}

/* splitmix64 */
static uint64_t next_random(struct fake_env *fake)
{
    uint64_t z = fake->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* ---- paths -------------------------------------------------------------------------------------
 */

static size_t parent_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static bool is_in_dir(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    while (len && dir[len - 1] == '/')
        len--;
    return path && parent_len(path) == len && strncmp(path, dir, len) == 0;
}

static bool is_dir(const struct fake_env *fake, const char *path, size_t len)
{
    if (len == 0)
        return true; /* "/" or the current one */
    for (size_t i = 0; i < fake->dir_count; i++)
        if (strlen(fake->dirs[i]) == len && strncmp(fake->dirs[i], path, len) == 0)
            return true;
    return false;
}

static void make_dirs(struct fake_env *fake, const char *path, size_t len)
{
    for (size_t i = 1; i <= len; i++) {
        if ((i < len && path[i] != '/') || is_dir(fake, path, i))
            continue;
        fake->dirs = must_realloc(fake->dirs, (fake->dir_count + 1) * sizeof *fake->dirs);
        fake->dirs[fake->dir_count] = strndup(path, i);
        MUST(fake->dirs[fake->dir_count++]);
    }
}

static struct fake_file *find_file(const struct fake_env *fake, const char *path)
{
    for (size_t i = 0; i < fake->file_count; i++)
        if (fake->files[i]->path && strcmp(fake->files[i]->path, path) == 0)
            return fake->files[i];
    return NULL;
}

static struct fake_file *add_file(struct fake_env *fake, const char *path)
{
    struct fake_file *file = calloc(1, sizeof *file);
    MUST(file);
    file->path = copy_text(path);
    file->lost_from = SIZE_MAX;
    fake->files = must_realloc(fake->files, (fake->file_count + 1) * sizeof(void *));
    fake->files[fake->file_count++] = file;
    return file;
}

static void replace_text(char **text, const char *with)
{
    char *copy = with ? copy_text(with) : NULL;
    free(*text);
    *text = copy;
}

/* ---- faults ------------------------------------------------------------------------------------
 */

static int take_fault(struct fake_env *fake, enum fake_call call)
{
    struct fake_fault *fault = &fake->faults[call];
    if (fault->countdown == 0 || --fault->countdown > 0)
        return 0;
    int code = fault->code;
    fault->countdown = 1; /* the next one, too */
    if (fault->repeat != FAKE_ALWAYS && --fault->repeat == 0)
        fault->countdown = 0;
    fake->faults_hit++;
    return code;
}

/* Begins a call: takes the lock, which the caller drops. */
static int begin_call(struct fake_env *fake, enum fake_call call)
{
    lock(fake);
    fake->calls[call]++;
    fake->calls[FAKE_ANY]++;
    pthread_cond_broadcast(&fake->changed);
    while (fake->held[call])
        pthread_cond_wait(&fake->changed, &fake->mutex);
    if (fake->off)
        return CE_IO;
    int by_call = take_fault(fake, call);
    int by_any = take_fault(fake, FAKE_ANY);
    return by_call ? by_call : by_any;
}

static int end_call(struct fake_env *fake, int rc)
{
    unlock(fake);
    return rc;
}

/* ---- the vtable --------------------------------------------------------------------------------
 */

static uint64_t fake_mono_ms(void *ctx)
{
    struct fake_env *fake = ctx;
    lock(fake);
    uint64_t now = fake->mono_ms;
    unlock(fake);
    return now;
}

static uint64_t fake_wall_us(void *ctx)
{
    struct fake_env *fake = ctx;
    lock(fake);
    uint64_t now = fake->wall_us;
    unlock(fake);
    return now;
}

static uint64_t fake_random_u64(void *ctx)
{
    struct fake_env *fake = ctx;
    lock(fake);
    uint64_t number = next_random(fake);
    unlock(fake);
    return number;
}

static int fake_file_create(void *ctx, const char *path, int *fd)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_CREATE);
    *fd = -1;
    if (rc == 0 && !is_dir(fake, path, parent_len(path)))
        rc = CE_NOTFOUND;
    if (rc == 0 && find_file(fake, path))
        rc = CE_IO;
    if (rc == 0) {
        add_file(fake, path)->open = true;
        *fd = FD_BASE + (int)fake->file_count - 1;
    }
    return end_call(fake, rc);
}

static struct fake_file *file_of(struct fake_env *fake, int fd)
{
    MUST(fd >= FD_BASE && (size_t)(fd - FD_BASE) < fake->file_count);
    struct fake_file *file = fake->files[fd - FD_BASE];
    MUST(file->open); /* a closed descriptor is a bug of the caller */
    return file;
}

static int fake_file_write(void *ctx, int fd, struct slice bytes)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_WRITE);
    struct fake_file *file = file_of(fake, fd);
    if (rc)
        bytes.len = fake->off ? 0 : next_random(fake) % (bytes.len + 1);
    MUST(buf_append(&file->data, bytes.bytes, bytes.len) == 0);
    return end_call(fake, rc);
}

/* The kernel has given it up: gone at once, or with its memory. */
static void lose_loose(struct fake_env *fake, struct fake_file *file)
{
    if (next_random(fake) & 1)
        memset(file->data.bytes + file->synced, 0, file->data.len - file->synced);
    else if (file->synced < file->lost_from)
        file->lost_from = file->synced;
}

static int fake_file_sync(void *ctx, int fd)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_SYNC);
    struct fake_file *file = file_of(fake, fd);
    if (rc && !fake->off && file->data.len > file->synced)
        lose_loose(fake, file);
    if (!fake->off)
        file->synced = file->data.len;
    return end_call(fake, rc);
}

static int fake_file_close(void *ctx, int fd)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_CLOSE);
    file_of(fake, fd)->open = false;
    return end_call(fake, rc);
}

static int fake_file_read(void *ctx, const char *path, struct buf *out)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_READ);
    struct fake_file *file = find_file(fake, path);
    if (rc == 0 && !file)
        rc = CE_NOTFOUND;
    if (rc == 0)
        rc = buf_append(out, file->data.bytes, file->data.len);
    return end_call(fake, rc);
}

static int fake_file_read_part(void *ctx, const char *path, uint64_t offset, size_t bytes,
                               struct buf *out)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_READ_PART);
    struct fake_file *file = find_file(fake, path);
    if (rc == 0 && !file)
        rc = CE_NOTFOUND;
    if (rc == 0 && offset < file->data.len) {
        size_t left = file->data.len - (size_t)offset;
        rc = buf_append(out, file->data.bytes + offset, bytes < left ? bytes : left);
    }
    return end_call(fake, rc);
}

static int fake_file_size(void *ctx, const char *path, uint64_t *bytes)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_SIZE);
    struct fake_file *file = find_file(fake, path);
    if (rc == 0 && !file)
        rc = CE_NOTFOUND;
    if (rc == 0)
        *bytes = file->data.len;
    return end_call(fake, rc);
}

static int fake_file_truncate(void *ctx, const char *path, uint64_t len)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_TRUNCATE);
    struct fake_file *file = find_file(fake, path);
    if (rc == 0 && !file)
        rc = CE_NOTFOUND;
    if (rc == 0) {
        MUST(len <= file->data.len); /* nobody makes a file longer in this way */
        file->data.len = len;
        file->synced = len;
    }
    return end_call(fake, rc);
}

static int fake_file_rename(void *ctx, const char *from, const char *to)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_RENAME);
    struct fake_file *file = find_file(fake, from);
    struct fake_file *old = find_file(fake, to);
    if (rc == 0 && !file)
        rc = CE_NOTFOUND;
    if (rc == 0 && old && old != file)
        replace_text(&old->path, NULL);
    if (rc == 0)
        replace_text(&file->path, to);
    return end_call(fake, rc);
}

static int fake_file_remove(void *ctx, const char *path)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_REMOVE);
    struct fake_file *file = find_file(fake, path);
    if (rc == 0 && !file)
        rc = CE_NOTFOUND;
    if (rc == 0)
        replace_text(&file->path, NULL);
    return end_call(fake, rc);
}

static int fake_dir_make(void *ctx, const char *path)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_DIR_MAKE);
    if (rc == 0)
        make_dirs(fake, path, strlen(path));
    return end_call(fake, rc);
}

static int fake_dir_sync(void *ctx, const char *path)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_DIR_SYNC);
    for (size_t i = 0; rc == 0 && i < fake->file_count; i++) {
        struct fake_file *file = fake->files[i];
        if (is_in_dir(file->path, path) || is_in_dir(file->durable_path, path))
            replace_text(&file->durable_path, file->path);
    }
    return end_call(fake, rc);
}

static int fake_dir_free(void *ctx, const char *path, uint64_t *bytes)
{
    struct fake_env *fake = ctx;
    (void)path;
    int rc = begin_call(fake, FAKE_DIR_FREE);
    *bytes = fake->free_bytes;
    return end_call(fake, rc);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int fake_dir_list(void *ctx, const char *path, void (*each)(void *arg, const char *name),
                         void *arg)
{
    struct fake_env *fake = ctx;
    int rc = begin_call(fake, FAKE_DIR_LIST);
    size_t count = 0;
    char **names = must_realloc(NULL, (fake->file_count + 1) * sizeof *names);
    if (rc == 0 && !is_dir(fake, path, strlen(path)))
        rc = CE_NOTFOUND;
    for (size_t i = 0; rc == 0 && i < fake->file_count; i++)
        if (is_in_dir(fake->files[i]->path, path))
            names[count++] = copy_text(strrchr(fake->files[i]->path, '/') + 1);
    unlock(fake); /* `each` may call back */
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++) {
        each(arg, names[i]);
        free(names[i]);
    }
    free(names);
    return rc;
}

/* ---- the test's side ---------------------------------------------------------------------------
 */

static const struct env fake_vtable = {
    .mono_ms = fake_mono_ms,
    .wall_us = fake_wall_us,
    .random_u64 = fake_random_u64,
    .file_create = fake_file_create,
    .file_write = fake_file_write,
    .file_sync = fake_file_sync,
    .file_close = fake_file_close,
    .file_read = fake_file_read,
    .file_read_part = fake_file_read_part,
    .file_size = fake_file_size,
    .file_truncate = fake_file_truncate,
    .file_rename = fake_file_rename,
    .file_remove = fake_file_remove,
    .dir_make = fake_dir_make,
    .dir_sync = fake_dir_sync,
    .dir_free = fake_dir_free,
    .dir_list = fake_dir_list,
};

struct fake_env *fake_env_new(uint64_t seed)
{
    struct fake_env *fake = calloc(1, sizeof *fake);
    MUST(fake);
    fake->vtable = fake_vtable;
    fake->vtable.ctx = fake;
    fake->random = seed;
    fake->mono_ms = CLOCK_START_MS;
    fake->free_bytes = UINT64_MAX;
    fake->wall_us = CLOCK_START_MS * 1000ull;
    MUST(pthread_mutex_init(&fake->mutex, NULL) == 0);
    MUST(pthread_cond_init(&fake->changed, NULL) == 0);
    return fake;
}

void fake_env_free(struct fake_env **fake)
{
    struct fake_env *gone = *fake;
    *fake = NULL;
    for (size_t i = 0; i < gone->file_count; i++) {
        free(gone->files[i]->path);
        free(gone->files[i]->durable_path);
        buf_free(&gone->files[i]->data);
        free(gone->files[i]);
    }
    for (size_t i = 0; i < gone->dir_count; i++)
        free(gone->dirs[i]);
    free(gone->files);
    free(gone->dirs);
    pthread_cond_destroy(&gone->changed);
    pthread_mutex_destroy(&gone->mutex);
    free(gone);
}

const struct env *fake_env_vtable(struct fake_env *fake)
{
    return &fake->vtable;
}

void fake_env_advance_ms(struct fake_env *fake, uint64_t ms)
{
    lock(fake);
    fake->mono_ms += ms;
    fake->wall_us += ms * 1000;
    unlock(fake);
}

void fake_env_set_wall_us(struct fake_env *fake, uint64_t wall_us)
{
    lock(fake);
    fake->wall_us = wall_us;
    unlock(fake);
}

void fake_env_set_free(struct fake_env *fake, uint64_t bytes)
{
    lock(fake);
    fake->free_bytes = bytes;
    unlock(fake);
}

void fake_env_fault(struct fake_env *fake, enum fake_call call, struct fake_fault fault)
{
    MUST(fault.countdown == 0 || (fault.repeat > 0 && fault.code < 0));
    lock(fake);
    fake->faults[call] = fault;
    unlock(fake);
}

void fake_env_clear_faults(struct fake_env *fake)
{
    lock(fake);
    memset(fake->faults, 0, sizeof fake->faults);
    unlock(fake);
}

uint64_t fake_env_faults_hit(struct fake_env *fake)
{
    lock(fake);
    uint64_t hit = fake->faults_hit;
    unlock(fake);
    return hit;
}

uint64_t fake_env_calls(struct fake_env *fake, enum fake_call call)
{
    lock(fake);
    uint64_t calls = fake->calls[call];
    unlock(fake);
    return calls;
}

void fake_env_wait_calls(struct fake_env *fake, enum fake_call call, uint64_t count)
{
    lock(fake);
    while (fake->calls[call] < count)
        pthread_cond_wait(&fake->changed, &fake->mutex);
    unlock(fake);
}

static void set_held(struct fake_env *fake, enum fake_call call, bool held)
{
    MUST(call != FAKE_ANY);
    lock(fake);
    fake->held[call] = held;
    pthread_cond_broadcast(&fake->changed);
    unlock(fake);
}

void fake_env_hold(struct fake_env *fake, enum fake_call call)
{
    set_held(fake, call, true);
}

void fake_env_let_go(struct fake_env *fake, enum fake_call call)
{
    set_held(fake, call, false);
}

static void lose_data(struct fake_env *fake, struct fake_file *file, bool torn)
{
    if (file->lost_from < file->data.len)
        memset(file->data.bytes + file->lost_from, 0, file->data.len - file->lost_from);
    file->lost_from = SIZE_MAX;
    size_t loose = file->data.len - file->synced;
    size_t left = next_random(fake) % (loose + 1);
    file->data.len = file->synced + left;
    size_t garbage = torn ? next_random(fake) % (left + 1) : 0;
    for (size_t i = file->data.len - garbage; i < file->data.len; i++)
        file->data.bytes[i] = (uint8_t)next_random(fake);
}

/* Names that are not synced go back all together, or not at all. */
static void lose_power(struct fake_env *fake, bool torn)
{
    bool keep_names = next_random(fake) & 1;
    for (size_t i = 0; i < fake->file_count; i++) {
        struct fake_file *file = fake->files[i];
        lose_data(fake, file, torn);
        if (!keep_names)
            replace_text(&file->path, file->durable_path);
        replace_text(&file->durable_path, file->path);
        file->synced = file->data.len;
    }
}

void fake_env_crash(struct fake_env *fake, enum fake_crash how)
{
    lock(fake);
    fake->off = true;
    memset(fake->held, 0, sizeof fake->held);
    if (how != FAKE_KILL)
        lose_power(fake, how == FAKE_POWER_TORN);
    pthread_cond_broadcast(&fake->changed);
    unlock(fake);
}

void fake_env_boot(struct fake_env *fake)
{
    lock(fake);
    fake->off = false;
    for (size_t i = 0; i < fake->file_count; i++)
        MUST(!fake->files[i]->open); /* end the old process first */
    unlock(fake);
}

void fake_env_put_file(struct fake_env *fake, const char *path, struct slice content)
{
    lock(fake);
    make_dirs(fake, path, parent_len(path));
    struct fake_file *file = find_file(fake, path);
    if (!file)
        file = add_file(fake, path);
    replace_text(&file->durable_path, path);
    file->data.len = 0;
    MUST(buf_append(&file->data, content.bytes, content.len) == 0);
    file->synced = content.len;
    file->lost_from = SIZE_MAX;
    unlock(fake);
}

size_t fake_env_count_files(struct fake_env *fake, const char *dir)
{
    size_t count = 0;
    lock(fake);
    for (size_t i = 0; i < fake->file_count; i++)
        count += is_in_dir(fake->files[i]->path, dir);
    unlock(fake);
    return count;
}
