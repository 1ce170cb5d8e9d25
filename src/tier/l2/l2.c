/* The database itself: open, move aside, close, open again, and what its errors mean. LevelDB tells
 * errors as text only, and after a failed write refuses all others until it was closed. */
#include "tier/l2/l2_int.h"

#include <malloc.h>
#include <stdlib.h>

#define WRITE_BUFFER_BYTES (8u << 20)
#define BLOCK_BYTES        (32u << 10) /* LevelDB asks the kernel to write each block */
#define CACHE_BYTES        (1u << 20)  /* only for what can not be mapped */
#define BLOOM_BITS         20          /* each miss that passes makes a block resident */
#define FILE_BYTES                                                                                 \
    (8u << 20) /* of each the index, and what the kernel maps around it, is resident */
#define SETTLE_BYTES_MIN (512u << 10) /* a table of less is not worth its file */
#define REOPEN_BYTES_MIN (2 * WRITE_BUFFER_BYTES)

/* ---- errors ------------------------------------------------------------------------------------
 */

int l2_error_code(const char *text)
{
    static const struct {
        const char *part;
        int code;
    } table[] = {
        {"No space left", CE_NODISK},
        {"Disk quota exceeded", CE_NODISK},
        {"Read-only file system", CE_NODISK},
        {"Input/output error", CE_IO},
        {"/LOCK: ", CE_BUSY}, /* another process has it */
        {"Too many open files", CE_BUSY},
        {"Permission denied", CE_BUSY},
        {"Cannot allocate memory", CE_NOMEM},
        {"create_if_missing", CE_IO}, /* it is not there */
        {"Invalid argument: ", CE_CORRUPT},
        {"Corruption: ", CE_CORRUPT},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strstr(text, table[i].part))
            return table[i].code;
    return CE_IO;
}

/* To the other rooms what keeps us from the files is as good as a disk that fails. */
static int outer_code(int rc)
{
    return rc == CE_BUSY ? CE_IO : rc;
}

int l2_tell_error(char *error)
{
    if (!error)
        return 0;
    int rc = l2_error_code(error);
    log_error("l2", "%s", error);
    leveldb_free(error);
    return rc;
}

/* l2_take_error with the code as it is. */
static int take_raw_error(struct l2 *l2, char *error)
{
    int rc = l2_tell_error(error);
    atomic_fetch_add_explicit(&l2->errors, 1, memory_order_relaxed);
    if (rc == CE_CORRUPT)
        l2_note_damage(l2, atomic_load(&l2->opened));
    return rc;
}

int l2_take_error(struct l2 *l2, char *error)
{
    return error ? outer_code(take_raw_error(l2, error)) : 0;
}

void l2_note_damage(struct l2 *l2, unsigned opened)
{
    if (opened == atomic_load(&l2->opened))
        atomic_store(&l2->damaged, true);
}

bool l2_is_damaged(const struct l2 *l2)
{
    return atomic_load(&l2->damaged);
}

/* ---- open --------------------------------------------------------------------------------------
 */

static bool has_suffix(const char *name, const char *suffix)
{
    size_t len = strlen(name);
    return len >= strlen(suffix) && strcmp(name + len - strlen(suffix), suffix) == 0;
}

static void note_name(void *arg, const char *name)
{
    struct l2_listing *listing = arg;
    listing->has_current |= strcmp(name, "CURRENT") == 0;
    listing->has_data |=
        has_suffix(name, ".ldb") || has_suffix(name, ".sst") || has_suffix(name, ".log");
}

int l2_look(const struct l2 *l2, const char *path, struct l2_listing *listing)
{
    *listing = (struct l2_listing){0};
    int rc = l2->env->dir_list(l2->env->ctx, path, note_name, listing);
    return rc == CE_NOTFOUND ? 0 : rc;
}

/* Without its CURRENT file LevelDB takes a full database for a new one and deletes the rest; it
 * does so, too, when it may make one and the disk does not show it that file. */
static int look_before(struct l2 *l2)
{
    struct l2_listing listing;
    int rc = l2_look(l2, l2->path, &listing);
    if (rc)
        return rc;
    if (listing.has_current)
        leveldb_options_set_create_if_missing(l2->options, 0);
    if (!listing.has_data || listing.has_current)
        return 0;
    log_error("l2", "%s: no CURRENT file", l2->path);
    return CE_CORRUPT;
}

static int open_files(struct l2 *l2)
{
    char *error = NULL;
    int rc = look_before(l2);
    if (rc)
        return rc;
    leveldb_t *opened = leveldb_open(l2->options, l2->path, &error);
    if (error)
        return take_raw_error(l2, error);
    l2->db = opened;
    return 0;
}

/* The disk fails for a moment, or these files have gone: only time tells. */
static int judge_io_error(struct l2 *l2)
{
    if (++l2->io_errors < L2_IO_TRIES)
        return CE_IO;
    log_error("l2", "%s: cannot be read again and again; taken for damaged", l2->path);
    l2_note_damage(l2, atomic_load(&l2->opened));
    return CE_CORRUPT;
}

static void close_db(struct l2 *l2)
{
    if (l2->db) {
        l2_views_end(l2);
        leveldb_close(l2->db);
    }
    l2->db = NULL;
}

/* CE_CORRUPT: it has to begin anew. CE_BUSY: others keep us from the files. */
static int open_db(struct l2 *l2)
{
    int rc = open_files(l2);
    if (rc)
        return rc == CE_IO ? judge_io_error(l2) : rc;
    rc = l2_finish_salvage(l2);
    if (rc) { /* it goes on at the next open */
        l2->io_errors += rc == CE_IO;
        close_db(l2);
        return rc;
    }
    l2->io_errors = 0;
    atomic_fetch_add(&l2->opened, 1);
    atomic_store(&l2->damaged, false);
    return 0;
}

static int open_or_begin_anew(struct l2 *l2, bool *moved_aside)
{
    int rc = open_db(l2);
    if (rc != CE_CORRUPT || l2->keep_damaged)
        return outer_code(rc);
    rc = l2_begin_anew(l2);
    if (rc)
        return rc;
    *moved_aside = true;
    return open_db(l2) ? CE_NODISK : 0;
}

static void set_options(struct l2 *l2, const struct l2_config *config)
{
    size_t buffer = config->write_buffer_bytes ? config->write_buffer_bytes : WRITE_BUFFER_BYTES;
    l2->cache = leveldb_cache_create_lru(config->cache_bytes ? config->cache_bytes : CACHE_BYTES);
    l2->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
    l2->options = leveldb_options_create();
    leveldb_options_set_create_if_missing(l2->options, 1);
    leveldb_options_set_paranoid_checks(l2->options, 1);
    leveldb_options_set_write_buffer_size(l2->options, buffer);
    leveldb_options_set_max_file_size(l2->options, FILE_BYTES);
    leveldb_options_set_cache(l2->options, l2->cache);
    /* States hardly shrink, and blocks that are as in the file are read in place, without a copy.
     */
    leveldb_options_set_compression(l2->options, leveldb_no_compression);
    leveldb_options_set_block_size(l2->options, BLOCK_BYTES);
    leveldb_options_set_filter_policy(l2->options, l2->filter);
    l2->get_options = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(l2->get_options, 1);
    l2->scan_options = leveldb_readoptions_create();
    leveldb_readoptions_set_verify_checksums(l2->scan_options, 1);
    leveldb_readoptions_set_fill_cache(l2->scan_options, 0);
    l2->write_options = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(l2->write_options, 1);
}

/* Waiting writers first: a stream of readers must not keep a broken database open. */
static void init_rwlock(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;
    MUST(pthread_rwlockattr_init(&attr) == 0);
    MUST(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
    MUST(pthread_rwlock_init(lock, &attr) == 0);
    pthread_rwlockattr_destroy(&attr);
}

int l2_open(const struct l2_config *config, struct l2 **l2, bool *moved_aside)
{
    bool finished;
    struct l2 *opened = calloc(1, sizeof *opened);
    char *path = strdup(config->path);
    *l2 = NULL;
    *moved_aside = false;
    if (!opened || !path) {
        free(opened);
        free(path);
        return CE_NOMEM;
    }
    opened->magic = L2_MAGIC;
    opened->env = config->env;
    opened->path = path;
    opened->keep_damaged = config->keep_damaged;
    opened->io_errors = config->io_errors ? *config->io_errors : 0;
    init_rwlock(&opened->lock);
    lock_init(&opened->views_lock, LOCK_L2_VIEWS);
    set_options(opened, config);
    int rc = config->env->dir_make(config->env->ctx, path);
    if (rc == 0)
        rc = l2_finish_rename(opened, &finished);
    if (rc == 0)
        rc = open_or_begin_anew(opened, moved_aside);
    if (config->io_errors)
        *config->io_errors = opened->io_errors;
    if (rc) {
        l2_close(&opened);
        return rc;
    }
    /* From here on a database that is not there is an error, not a new one. */
    leveldb_options_set_create_if_missing(opened->options, 0);
    *l2 = opened;
    return 0;
}

void l2_close(struct l2 **l2)
{
    struct l2 *gone = *l2;
    MUST_OBJ(gone, L2_MAGIC);
    *l2 = NULL;
    close_db(gone);
    leveldb_writeoptions_destroy(gone->write_options);
    leveldb_readoptions_destroy(gone->scan_options);
    leveldb_readoptions_destroy(gone->get_options);
    leveldb_options_destroy(gone->options);
    leveldb_filterpolicy_destroy(gone->filter);
    leveldb_cache_destroy(gone->cache);
    lock_fini(&gone->views_lock);
    MUST(pthread_rwlock_destroy(&gone->lock) == 0);
    gone->magic = 0;
    free(gone->path);
    free(gone);
}

/* ---- enter, leave, reopen ----------------------------------------------------------------------
 */

int l2_enter(struct l2 *l2)
{
    MUST_OBJ(l2, L2_MAGIC);
    MUST(pthread_rwlock_rdlock(&l2->lock) == 0);
    if (l2->db)
        return 0;
    l2_leave(l2);
    atomic_fetch_add_explicit(&l2->errors, 1, memory_order_relaxed);
    return CE_IO;
}

void l2_leave(struct l2 *l2)
{
    MUST(pthread_rwlock_unlock(&l2->lock) == 0);
}

bool l2_disk_is_full(const struct l2 *l2)
{
    uint64_t bytes = 0;
    int rc = l2->env->dir_free(l2->env->ctx, l2->path, &bytes);
    return rc == 0 && bytes < REOPEN_BYTES_MIN;
}

/* A range behind all keys: LevelDB empties its write buffer and finds nothing else to do. */
void l2_settle(struct l2 *l2)
{
    static const char behind_all[] = "\xff";
    uint64_t written = atomic_load_explicit(&l2->bytes_written, memory_order_relaxed);
    if (written - l2->settled_bytes < SETTLE_BYTES_MIN || l2->broken || l2_enter(l2))
        return;
    l2->settled_bytes = written;
    leveldb_compact_range(l2->db, behind_all, 1, behind_all, 1);
    l2_leave(l2);
    malloc_trim(0); /* the buffer was in small pieces, which the C library would keep */
}

int l2_reopen(struct l2 *l2)
{
    if (l2->db && l2_disk_is_full(l2))
        return CE_NODISK;
    MUST(pthread_rwlock_wrlock(&l2->lock) == 0);
    close_db(l2);
    int rc = outer_code(open_db(l2));
    l2_leave(l2);
    atomic_fetch_add_explicit(&l2->reopens, 1, memory_order_relaxed);
    l2->broken = rc != 0;
    return rc;
}

static int renew(struct l2 *l2)
{
    bool finished;
    int rc = l2_finish_rename(l2, &finished);
    if (rc == 0 && !finished && !l2->renewed)
        rc = l2_begin_anew(l2);
    l2->renewed |= rc == 0;
    int open_rc = open_db(l2); /* if only the damaged one, for reading */
    if (open_rc == 0 || open_rc == CE_CORRUPT)
        l2->renewed = false;
    return rc ? rc : open_rc;
}

int l2_rebuild(struct l2 *l2)
{
    MUST(pthread_rwlock_wrlock(&l2->lock) == 0);
    close_db(l2);
    int rc = renew(l2);
    l2_leave(l2);
    l2->broken = rc != 0;
    return rc ? CE_NODISK : 0;
}

uint64_t l2_bytes_written(const struct l2 *l2)
{
    return atomic_load_explicit(&l2->bytes_written, memory_order_relaxed);
}

void l2_stats(const struct l2 *l2, const struct stat_sink *sink)
{
    MUST_OBJ(l2, L2_MAGIC);
    const struct {
#define X(name, text) uint64_t name;
        L2_STATS(X)
#undef X
    } now = {
        .l2_gets = l2->gets,
        .l2_hits = l2->hits,
        .l2_writes = l2->writes,
        .l2_carts_written = l2->carts_written,
        .l2_bytes_written = l2->bytes_written,
        .l2_errors = l2->errors,
        .l2_reopens = l2->reopens,
        .l2_rebuilds = l2->rebuilds,
        .l2_salvaged = l2->has_salvaged,
    };
#define X(name, text) stat_u64(sink, #name, now.name);
    L2_STATS(X)
#undef X
}
