/* sim_disk: one file system in shared memory. It knows of each file what was synced, and keeps a
 * journal of changed names, as file systems do: in order, made to last up to a point by a sync.
 *
 * At power loss each sector that was not synced is kept, lost (zeros or garbage) or torn, whatever
 * became of those before it; the length is anywhere between the synced one and that of now. What a
 * failed sync was for is lost even if a later one succeeds (Linux). */
#include "sim/sim.h"

#include <stdlib.h>

#define FILES_MAX    4096
#define NAMES_MAX    512
#define PATH_MAX_SIM 96
#define SECTOR       512
#define LOST_MAX     16

struct span {
    uint64_t from, to;
};

struct sim_file {
    uint8_t *bytes;
    size_t len, cap, synced;
    struct span lost[LOST_MAX]; /* a sync failed; LOST_MAX: the last goes on to the end */
    unsigned lost_count;
    bool used; /* in a name, now or after power loss */
};

struct name {
    char path[PATH_MAX_SIM];
    struct sim_file *file; /* NULL: none of this name */
};

/* A change of names that power loss may undo. */
struct change {
    enum { CHANGE_ADD, CHANGE_RENAME, CHANGE_REMOVE } kind;
    char path[PATH_MAX_SIM], to[PATH_MAX_SIM];
    struct sim_file *file;
};

struct table {
    struct name names[NAMES_MAX];
    unsigned count;
};

struct sim_disk {
    struct sim_file files[FILES_MAX];
    unsigned file_count;
    struct table now, lasting;
    struct change changes[NAMES_MAX];
    unsigned change_count;
    char dirs[64][PATH_MAX_SIM];
    unsigned dir_count;
    uint64_t bytes;
};

void sim_disk_new(void)
{
    sim->disk = sim_alloc(sizeof *sim->disk);
}

/* ---- names ---- */

static void copy_path(char to[PATH_MAX_SIM], const char *path)
{
    size_t len = strlen(path);
    MUST(len < PATH_MAX_SIM);
    memcpy(to, path, len + 1);
}

static struct name *find_name(struct table *table, const char *path)
{
    for (unsigned i = 0; i < table->count; i++)
        if (table->names[i].file && strcmp(table->names[i].path, path) == 0)
            return &table->names[i];
    return NULL;
}

static void set_name(struct table *table, const char *path, struct sim_file *file)
{
    struct name *name = find_name(table, path);
    for (unsigned i = 0; !name && i < table->count; i++)
        if (!table->names[i].file)
            name = &table->names[i];
    if (!name) {
        MUST(table->count < NAMES_MAX);
        name = &table->names[table->count++];
    }
    copy_path(name->path, path);
    name->file = file;
}

static void drop_name(struct table *table, const char *path)
{
    struct name *name = find_name(table, path);
    if (name)
        name->file = NULL;
}

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && path[len] == '/';
}

/* A directory moves with all that is in it. */
static void rename_in(struct table *table, const char *from, const char *to)
{
    struct name *name = find_name(table, from);
    if (name) {
        struct sim_file *file = name->file;
        name->file = NULL;
        set_name(table, to, file);
        return;
    }
    for (unsigned i = 0; i < table->count; i++) {
        char path[2 * PATH_MAX_SIM];
        name = &table->names[i];
        if (!name->file || !is_below(name->path, from))
            continue;
        strcpy(path, to);
        strcat(path, name->path + strlen(from));
        copy_path(name->path, path);
    }
}

static void apply_change(struct table *table, const struct change *change)
{
    switch (change->kind) {
    case CHANGE_ADD: set_name(table, change->path, change->file); break;
    case CHANGE_RENAME: rename_in(table, change->path, change->to); break;
    case CHANGE_REMOVE: drop_name(table, change->path); break;
    }
}

/* Makes the first `count` changes last. */
static void commit_changes(unsigned count)
{
    struct sim_disk *disk = sim->disk;
    for (unsigned i = 0; i < count; i++)
        apply_change(&disk->lasting, &disk->changes[i]);
    if (!count)
        return;
    disk->change_count -= count;
    memmove(disk->changes, disk->changes + count, disk->change_count * sizeof *disk->changes);
}

static void add_change(int kind, const char *path, const char *to, struct sim_file *file)
{
    struct sim_disk *disk = sim->disk;
    if (disk->change_count == NAMES_MAX)
        commit_changes(NAMES_MAX / 2); /* file systems do by themselves after a while */
    struct change *change = &disk->changes[disk->change_count++];
    change->kind = kind;
    change->file = file;
    copy_path(change->path, path);
    copy_path(change->to, to);
    apply_change(&disk->now, change);
}

static int name_fault(const char *what, const char *path)
{
    sim_call_step();
    sim_trace("disk %s %s", what, path);
    if (sim_strikes(SIM_NAME_EIO)) {
        sim_trace("disk EIO");
        return CE_IO;
    }
    return 0;
}

bool sim_dir_exists(const char *path)
{
    for (unsigned i = 0; i < sim->disk->dir_count; i++)
        if (strcmp(sim->disk->dirs[i], path) == 0)
            return true;
    return false;
}

/* Directories last from the first moment: nobody here counts on less. */
int sim_dir_make(const char *path)
{
    int rc = name_fault("make", path);
    if (rc || sim_dir_exists(path))
        return rc;
    MUST(sim->disk->dir_count < 64);
    copy_path(sim->disk->dirs[sim->disk->dir_count++], path);
    return 0;
}

int sim_name_rename(const char *from, const char *to)
{
    int rc = name_fault("rename", from);
    if (rc)
        return rc;
    if (!find_name(&sim->disk->now, from) && !sim_dir_exists(from))
        return CE_NOTFOUND;
    for (unsigned i = 0; i < sim->disk->dir_count; i++)
        if (strcmp(sim->disk->dirs[i], from) == 0)
            copy_path(sim->disk->dirs[i], to);
    add_change(CHANGE_RENAME, from, to, NULL);
    return 0;
}

int sim_name_remove(const char *path)
{
    int rc = name_fault("remove", path);
    if (rc)
        return rc;
    if (!find_name(&sim->disk->now, path))
        return CE_NOTFOUND;
    add_change(CHANGE_REMOVE, path, "", NULL);
    return 0;
}

int sim_names_sync(void)
{
    sim_call_step();
    sim_sleep_us(sim_below(2000));
    if (sim_strikes(SIM_SYNC_EIO))
        return CE_IO;
    commit_changes(sim->disk->change_count);
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int sim_dir_each(const char *dir, void (*each)(void *arg, const char *name), void *arg)
{
    sim_call_step();
    if (sim_strikes(SIM_READ_EIO))
        return CE_IO;
    if (!sim_dir_exists(dir))
        return CE_NOTFOUND;
    static const char *found[NAMES_MAX];
    const struct table *table = &sim->disk->now;
    size_t count = 0;
    for (unsigned i = 0; i < table->count; i++) {
        const char *path = table->names[i].path;
        if (table->names[i].file && is_below(path, dir) && !strchr(path + strlen(dir) + 1, '/'))
            found[count++] = path + strlen(dir) + 1;
    }
    qsort(found, count, sizeof *found, compare_names);
    for (size_t i = 0; i < count; i++)
        each(arg, found[i]);
    return 0;
}

/* ---- content ---- */

static struct sim_file *new_file(void)
{
    MUST(sim->disk->file_count < FILES_MAX);
    return &sim->disk->files[sim->disk->file_count++];
}

struct sim_file *sim_file_find(const char *path)
{
    struct name *name = find_name(&sim->disk->now, path);
    return name ? name->file : NULL;
}

int sim_file_create(const char *path, bool fresh, struct sim_file **file)
{
    int rc = name_fault("create", path);
    if (rc)
        return rc;
    if (sim_strikes(SIM_DISK_FULL) && sim_chance(300))
        return CE_NODISK;
    if (fresh && find_name(&sim->disk->now, path))
        return CE_IO;
    *file = new_file();
    add_change(CHANGE_ADD, path, "", *file);
    return 0;
}

uint64_t sim_file_len(const struct sim_file *file)
{
    return file->len;
}

static void append(struct sim_file *file, const void *bytes, size_t len)
{
    if (file->len + len > file->cap) {
        size_t cap = file->cap ? 2 * file->cap : 4096;
        while (cap < file->len + len)
            cap *= 2;
        uint8_t *grown = sim_alloc(cap);
        if (file->len)
            memcpy(grown, file->bytes, file->len);
        file->bytes = grown;
        file->cap = cap;
    }
    if (len)
        memcpy(file->bytes + file->len, bytes, len);
    file->len += len;
    sim->disk->bytes += len;
}

int sim_file_append(struct sim_file *file, const void *bytes, size_t len)
{
    sim_call_step();
    int rc = 0;
    if (sim_strikes(SIM_DISK_FULL) || sim->disk->bytes + len > 4ull * SIM_DISK_BYTES)
        rc = CE_NODISK;
    else if (sim_strikes(SIM_WRITE_EIO))
        rc = CE_IO;
    append(file, bytes, rc ? sim_below(len + 1) : len);
    if (rc)
        sim_trace("disk write fails: %s", err_text(rc));
    return rc;
}

/* The name of a new file lasts with its content, and so do all changes before it. */
static void commit_name_of(const struct sim_file *file)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sim->disk->change_count; i++)
        if (sim->disk->changes[i].file == file)
            count = i + 1;
    commit_changes(count);
}

static void lose_unsynced(struct sim_file *file)
{
    if (file->lost_count == LOST_MAX)
        file->lost_count--;
    else
        file->lost[file->lost_count].from = file->synced;
    file->lost[file->lost_count++].to = file->len;
}

int sim_file_sync(struct sim_file *file, bool with_name)
{
    size_t len = file->len; /* what is written meanwhile is not part of it */
    sim_call_step();
    sim_sleep_us(sim_is_open(SIM_DISK_SLOW) ? sim_below(1500000) : 100 + sim_below(4000));
    sim_call_step();
    if (sim_strikes(SIM_SYNC_EIO)) {
        sim_trace("disk sync fails");
        lose_unsynced(file);
        return CE_IO;
    }
    if (len > file->synced && len <= file->len)
        file->synced = len;
    if (with_name)
        commit_name_of(file);
    return 0;
}

int sim_file_read(struct sim_file *file, uint64_t offset, size_t len, struct slice *out)
{
    sim_call_step();
    if (sim_strikes(SIM_READ_EIO)) {
        sim_trace("disk read fails");
        return CE_IO;
    }
    uint64_t left = offset < file->len ? file->len - offset : 0;
    *out = slice_of(file->bytes + offset, len < left ? len : (size_t)left);
    return 0;
}

int sim_file_truncate(const char *path, uint64_t len)
{
    struct sim_file *file = sim_file_find(path);
    int rc = name_fault("truncate", path);
    if (rc)
        return rc;
    if (!file)
        return CE_NOTFOUND;
    MUST(len <= file->len);
    file->len = len;
    if (sim_strikes(SIM_SYNC_EIO)) {
        file->synced = file->synced < len ? file->synced : len;
        lose_unsynced(file);
        return CE_IO;
    }
    file->synced = len;
    for (unsigned i = 0; i < file->lost_count; i++)
        if (file->lost[i].to > len)
            file->lost[i].to = len > file->lost[i].from ? len : file->lost[i].from;
    return 0;
}

uint64_t sim_disk_free(void)
{
    return sim_is_open(SIM_DISK_FULL) ? sim_below(1u << 20) : (uint64_t)1 << 32;
}

/* ---- power loss ---- */

static void spoil(uint8_t *bytes, size_t len)
{
    bool garbage = sim_chance(500);
    for (size_t i = 0; i < len; i++)
        bytes[i] = garbage ? (uint8_t)sim_random() : 0;
}

/* A sector, or the part of it that was not synced. */
static void decide_sector(uint8_t *bytes, size_t len)
{
    uint64_t fate = sim_below(3);
    size_t keeps = fate == 0 ? len : fate == 1 ? 0 : sim_below(len + 1);
    spoil(bytes + keeps, len - keeps);
}

static void lose_power(struct sim_file *file)
{
    uint64_t fate = sim_below(3);
    if (fate == 0)
        file->len = file->synced;
    else if (fate == 1)
        file->len = file->synced + sim_below(file->len - file->synced + 1);
    for (size_t at = file->synced; at < file->len;) {
        size_t next = (at / SECTOR + 1) * SECTOR;
        next = next < file->len ? next : file->len;
        decide_sector(file->bytes + at, next - at);
        at = next;
    }
    for (unsigned i = 0; i < file->lost_count; i++)
        for (uint64_t at = file->lost[i].from; at < file->lost[i].to && at < file->len; at++)
            file->bytes[at] = 0;
    file->lost_count = 0;
    file->synced = file->len; /* what is there now is what there is */
}

void sim_disk_power_loss(void)
{
    struct sim_disk *disk = sim->disk;
    unsigned kept = (unsigned)sim_below(disk->change_count + 1);
    sim_trace("power lost: %u of %u changes of names last", kept, disk->change_count);
    commit_changes(kept);
    disk->change_count = 0;
    disk->now = disk->lasting;
    for (unsigned i = 0; i < disk->file_count; i++)
        lose_power(&disk->files[i]);
}

/* ---- for LevelDB ---- */

const int sim_not_found = CE_NOTFOUND, sim_no_space = CE_NODISK;

void sim_leveldb_aborts(const char *assertion)
{
    sim_fail("LevelDB: %s", assertion);
}

int sim_leveldb_open(const char *path, struct sim_file **file)
{
    sim_call_step();
    *file = sim_file_find(path);
    if (!*file)
        return CE_NOTFOUND;
    return sim_strikes(SIM_READ_EIO) ? CE_IO : 0;
}

int sim_leveldb_create(const char *path, struct sim_file **file)
{
    return sim_file_create(path, false, file);
}

int sim_leveldb_read(struct sim_file *file, uint64_t offset, size_t len, char *out, size_t *got)
{
    struct slice found;
    int rc = sim_file_read(file, offset, len, &found);
    *got = rc ? 0 : found.len;
    if (*got)
        memcpy(out, found.bytes, found.len);
    return rc;
}

int sim_leveldb_append(struct sim_file *file, const void *bytes, size_t len)
{
    return sim_file_append(file, bytes, len);
}

int sim_leveldb_sync(struct sim_file *file)
{
    return sim_file_sync(file, true);
}

int sim_leveldb_list(const char *dir, void (*each)(void *arg, const char *name), void *arg)
{
    return sim_dir_each(dir, each, arg);
}

struct sim_file *sim_leveldb_find(const char *path)
{
    return sim_file_find(path);
}
