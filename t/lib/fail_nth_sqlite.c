/* SQLite's memory and files by its own seams: a file system in front of the real one, which fails
 * as a disk does. */
#include "fail_nth_sqlite.h"

#include "base/must.h"

#include <sqlite3.h>
#include <stddef.h>
#include <string.h>

static sqlite3_mem_methods memory;
static sqlite3_vfs *disk;

static void *allocate(int bytes)
{
    return fail_nth_hits(FAIL_SQL_MEMORY_BIT, "xMalloc") ? NULL : memory.xMalloc(bytes);
}

static void *reallocate(void *old, int bytes)
{
    return fail_nth_hits(FAIL_SQL_MEMORY_BIT, "xRealloc") ? NULL : memory.xRealloc(old, bytes);
}

/* ---- files -------------------------------------------------------------------------------------
 */

struct failing {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct failing *)file)->real;
}

#define WRAP(name, code, params, args)                                                             \
    static int fail_##name params                                                                  \
    {                                                                                              \
        sqlite3_file *real = real_of(file);                                                        \
        if (fail_nth_hits(FAIL_SQL_FILE_BIT, #name))                                               \
            return code;                                                                           \
        return real->pMethods->name args;                                                          \
    }
/* The same without a fault. */
#define PASS(result, name, params, args)                                                           \
    static result fail_##name params                                                               \
    {                                                                                              \
        sqlite3_file *real = real_of(file);                                                        \
        return real->pMethods->name args;                                                          \
    }

WRAP(xRead, SQLITE_IOERR_READ, (sqlite3_file * file, void *to, int len, sqlite3_int64 at),
     (real, to, len, at))
WRAP(xWrite, SQLITE_IOERR_WRITE, (sqlite3_file * file, const void *from, int len, sqlite3_int64 at),
     (real, from, len, at))
WRAP(xTruncate, SQLITE_IOERR_TRUNCATE, (sqlite3_file * file, sqlite3_int64 len), (real, len))
WRAP(xSync, SQLITE_IOERR_FSYNC, (sqlite3_file * file, int how), (real, how))
WRAP(xFileSize, SQLITE_IOERR_FSTAT, (sqlite3_file * file, sqlite3_int64 *len), (real, len))
WRAP(xLock, SQLITE_IOERR_LOCK, (sqlite3_file * file, int how), (real, how))
WRAP(xShmMap, SQLITE_IOERR_SHMMAP,
     (sqlite3_file * file, int page, int bytes, int extend, void volatile **out),
     (real, page, bytes, extend, out))
PASS(int, xClose, (sqlite3_file * file), (real))
PASS(int, xUnlock, (sqlite3_file * file, int how), (real, how))
PASS(int, xCheckReservedLock, (sqlite3_file * file, int *out), (real, out))
PASS(int, xFileControl, (sqlite3_file * file, int what, void *arg), (real, what, arg))
PASS(int, xSectorSize, (sqlite3_file * file), (real))
PASS(int, xDeviceCharacteristics, (sqlite3_file * file), (real))
PASS(int, xShmUnmap, (sqlite3_file * file, int remove), (real, remove))

/* As with xUnlock, giving a lock back works: SQLite does not look whether it did, and what was not
 * given back stays locked for this whole program, even when the connection is closed. */
static int fail_xShmLock(sqlite3_file *file, int at, int count, int how)
{
    sqlite3_file *real = real_of(file);
    if (!(how & SQLITE_SHM_UNLOCK) && fail_nth_hits(FAIL_SQL_FILE_BIT, "xShmLock"))
        return SQLITE_BUSY;
    return real->pMethods->xShmLock(real, at, count, how);
}

static void fail_xShmBarrier(sqlite3_file *file)
{
    sqlite3_file *real = real_of(file);
    real->pMethods->xShmBarrier(real);
}

static const sqlite3_io_methods failing_methods = {
    .iVersion = 2, /* without mapped pages: they would be read unseen */
    .xClose = fail_xClose,
    .xRead = fail_xRead,
    .xWrite = fail_xWrite,
    .xTruncate = fail_xTruncate,
    .xSync = fail_xSync,
    .xFileSize = fail_xFileSize,
    .xLock = fail_xLock,
    .xUnlock = fail_xUnlock,
    .xCheckReservedLock = fail_xCheckReservedLock,
    .xFileControl = fail_xFileControl,
    .xSectorSize = fail_xSectorSize,
    .xDeviceCharacteristics = fail_xDeviceCharacteristics,
    .xShmMap = fail_xShmMap,
    .xShmLock = fail_xShmLock,
    .xShmBarrier = fail_xShmBarrier,
    .xShmUnmap = fail_xShmUnmap,
};

static int open_file(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int how, int *out)
{
    struct failing *failing = (struct failing *)file;
    (void)vfs;
    file->pMethods = NULL;
    if (fail_nth_hits(FAIL_SQL_FILE_BIT, "xOpen"))
        return SQLITE_CANTOPEN;
    failing->real = (sqlite3_file *)(failing + 1);
    int rc = disk->xOpen(disk, path, failing->real, how, out);
    if (failing->real->pMethods)
        file->pMethods = &failing_methods;
    return rc;
}

static int delete_file(sqlite3_vfs *vfs, const char *path, int sync)
{
    (void)vfs;
    if (fail_nth_hits(FAIL_SQL_FILE_BIT, "xDelete"))
        return SQLITE_IOERR_DELETE;
    return disk->xDelete(disk, path, sync);
}

static int access_file(sqlite3_vfs *vfs, const char *path, int how, int *out)
{
    (void)vfs;
    if (fail_nth_hits(FAIL_SQL_FILE_BIT, "xAccess"))
        return SQLITE_IOERR_ACCESS;
    return disk->xAccess(disk, path, how, out);
}

void fail_nth_sqlite_begin(void)
{
    static sqlite3_vfs failing;
    sqlite3_mem_methods ours;
    MUST(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory) == SQLITE_OK);
    ours = memory;
    ours.xMalloc = allocate;
    ours.xRealloc = reallocate;
    MUST(sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) == SQLITE_OK);
    disk = sqlite3_vfs_find(NULL);
    failing = *disk;
    failing.szOsFile += (int)sizeof(struct failing);
    failing.zName = "failing";
    failing.xOpen = open_file;
    failing.xDelete = delete_file;
    failing.xAccess = access_file;
    MUST(sqlite3_vfs_register(&failing, 1) == SQLITE_OK);
}
