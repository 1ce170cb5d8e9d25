#include "fail_nth.h"

#include "base/base.h"
#include "fail_nth_sqlite.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <execinfo.h>
#include <fcntl.h>
#include <leveldb/c.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define TRACE_FRAMES 24

/* ---- the switch -------------------------------------------------------------------------------
 */

static struct fail_nth own;
static struct fail_nth *now = &own;
static bool traces;
static pthread_mutex_t last_lock = PTHREAD_MUTEX_INITIALIZER; /* several threads may fail at once */

static void note_last(const char *call, const char *thread)
{
    pthread_mutex_lock(&last_lock);
    snprintf(now->last_call, sizeof now->last_call, "%s", call);
    snprintf(now->last_thread, sizeof now->last_thread, "%s", thread);
    pthread_mutex_unlock(&last_lock);
}

static bool is_thread(const char *prefix, char *name)
{
    if (pthread_getname_np(pthread_self(), name, 16))
        name[0] = 0;
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

bool fail_nth_hits(enum fail_kind kind, const char *call)
{
    char name[16];
    if (!atomic_load(&now->armed) || !(now->kinds & 1u << kind) || !is_thread(now->thread, name))
        return false;
    int64_t left = atomic_fetch_sub(&now->in, 1);
    if (left > 1 || (left < 1 && !now->lasting))
        return false;
    atomic_fetch_add(&now->hits, 1);
    note_last(call, name);
    if (traces) {
        void *frames[TRACE_FRAMES];
        dprintf(STDERR_FILENO, "fail_nth: %s in %s fails\n", call, name);
        backtrace_symbols_fd(frames, backtrace(frames, TRACE_FRAMES), STDERR_FILENO);
    }
    return true;
}

/* For calls that tell their errors by errno. */
static bool breaks(enum fail_kind kind, const char *call)
{
    if (!fail_nth_hits(kind, call))
        return false;
    errno = kind == FAIL_MEMORY_BIT ? ENOMEM : (int)now->error;
    return true;
}

void fail_nth_arm(uint32_t kinds, int64_t n, int lasting, int error, const char *thread)
{
    atomic_store(&now->armed, 0);
    now->kinds = kinds;
    now->lasting = (uint32_t)lasting;
    now->error = (uint32_t)error;
    atomic_store(&now->in, n);
    atomic_store(&now->hits, 0);
    snprintf(now->thread, sizeof now->thread, "%s", thread ? thread : "");
    atomic_store(&now->armed, 1);
}

uint64_t fail_nth_disarm(void)
{
    atomic_store(&now->armed, 0);
    return atomic_load(&now->hits);
}

const char *fail_nth_last(void)
{
    return now->last_call;
}

/* ---- memory ------------------------------------------------------------------------------------
 */

void *__real_huge_new(size_t bytes);
void *__real_l1_mem_new(size_t bytes);
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);
void *__wrap_huge_new(size_t bytes);
void *__wrap_l1_mem_new(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
char *__wrap_strdup(const char *text);

void *__wrap_huge_new(size_t bytes)
{
    return breaks(FAIL_MEMORY_BIT, "huge_new") ? NULL : __real_huge_new(bytes);
}

void *__wrap_l1_mem_new(size_t bytes)
{
    return breaks(FAIL_MEMORY_BIT, "l1_mem_new") ? NULL : __real_l1_mem_new(bytes);
}

void *__wrap_malloc(size_t bytes)
{
    return breaks(FAIL_MEMORY_BIT, "malloc") ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return breaks(FAIL_MEMORY_BIT, "calloc") ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return breaks(FAIL_MEMORY_BIT, "realloc") ? NULL : __real_realloc(old, bytes);
}

char *__wrap_strdup(const char *text)
{
    return breaks(FAIL_MEMORY_BIT, "strdup") ? NULL : __real_strdup(text);
}

/* ---- calls of the system -----------------------------------------------------------------------
 */

/* A call that is -1 when it fails, given its declaration and how it is called. */
#define WRAP(kind, name, params, args)                                                             \
    int __real_##name params;                                                                      \
    int __wrap_##name params;                                                                      \
    int __wrap_##name params                                                                       \
    {                                                                                              \
        return breaks(FAIL_##kind##_BIT, #name) ? -1 : __real_##name args;                         \
    }

WRAP(FILE, fdatasync, (int fd), (fd))
WRAP(FILE, fsync, (int fd), (fd))
WRAP(FILE, ftruncate, (int fd, off_t len), (fd, len))
WRAP(FILE, rename, (const char *from, const char *to), (from, to))
WRAP(FILE, unlink, (const char *path), (path))
WRAP(FILE, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(FILE, statvfs, (const char *path, struct statvfs *out), (path, out))
WRAP(FILE, flock, (int fd, int how), (fd, how))
WRAP(FILE, scandir,
     (const char *path, struct dirent ***out, int (*is)(const struct dirent *),
      int (*order)(const struct dirent **, const struct dirent **)),
     (path, out, is, order))
WRAP(SOCKET, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(SOCKET, bind, (int fd, const struct sockaddr *to, socklen_t len), (fd, to, len))
WRAP(SOCKET, listen, (int fd, int backlog), (fd, backlog))
WRAP(SOCKET, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),
     (fd, level, name, value, len))
WRAP(SOCKET, accept4, (int fd, struct sockaddr *from, socklen_t *len, int how),
     (fd, from, len, how))
WRAP(SOCKET, eventfd, (unsigned start, int how), (start, how))

int __real_open(const char *path, int how, ...);
int __wrap_open(const char *path, int how, mode_t mode);
int __wrap_open(const char *path, int how, mode_t mode)
{
    return breaks(FAIL_FILE_BIT, "open") ? -1 : __real_open(path, how, mode);
}

/* Descriptors of events, pipes and the log never fail. */
static bool breaks_fd(int fd, const char *call)
{
    struct stat of;
    if (!atomic_load(&now->armed) || fstat(fd, &of))
        return false;
    if (S_ISSOCK(of.st_mode))
        return breaks(FAIL_SOCKET_BIT, call);
    return S_ISREG(of.st_mode) && fd != STDERR_FILENO && breaks(FAIL_FILE_BIT, call);
}

#define WRAP_FD(name, params, args)                                                                \
    ssize_t __real_##name params;                                                                  \
    ssize_t __wrap_##name params;                                                                  \
    ssize_t __wrap_##name params                                                                   \
    {                                                                                              \
        return breaks_fd(fd, #name) ? -1 : __real_##name args;                                     \
    }

WRAP_FD(read, (int fd, void *bytes, size_t len), (fd, bytes, len))
WRAP_FD(pread, (int fd, void *bytes, size_t len, off_t at), (fd, bytes, len, at))
WRAP_FD(write, (int fd, const void *bytes, size_t len), (fd, bytes, len))
WRAP_FD(send, (int fd, const void *bytes, size_t len, int how), (fd, bytes, len, how))
WRAP_FD(sendmsg, (int fd, const struct msghdr *message, int how), (fd, message, how))
WRAP_FD(recvmsg, (int fd, struct msghdr *message, int how), (fd, message, how))

/* pthread_create tells its error as its result. */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *),
                          void *arg)
{
    bool fails = fail_nth_hits(FAIL_THREAD_BIT, "pthread_create");
    return fails ? EAGAIN : __real_pthread_create(thread, how, run, arg);
}

/* ---- LevelDB: its C calls tell errors by a text of theirs
 * ----------------------------------------
 */

static bool breaks_l2(const char *call, char **error)
{
    char text[128];
    if (!fail_nth_hits(FAIL_L2_BIT, call))
        return false;
    snprintf(text, sizeof text, "IO error: %s: %s", call, strerror((int)now->error));
    *error = __real_strdup(text);
    return true;
}

#define WRAP_L2(result, none, name, params, args)                                                  \
    result __real_##name params;                                                                   \
    result __wrap_##name params;                                                                   \
    result __wrap_##name params                                                                    \
    {                                                                                              \
        return breaks_l2(#name, error) ? none : __real_##name args;                                \
    }

WRAP_L2(leveldb_t *, NULL, leveldb_open,
        (const leveldb_options_t *options, const char *path, char **error), (options, path, error))
WRAP_L2(char *, NULL, leveldb_get,
        (leveldb_t * db, const leveldb_readoptions_t *options, const char *key, size_t key_len,
         size_t *len, char **error),
        (db, options, key, key_len, len, error))
WRAP_L2(void, (void)0, leveldb_write,
        (leveldb_t * db, const leveldb_writeoptions_t *options, leveldb_writebatch_t *batch,
         char **error),
        (db, options, batch, error))
WRAP_L2(void, (void)0, leveldb_put,
        (leveldb_t * db, const leveldb_writeoptions_t *options, const char *key, size_t key_len,
         const char *value, size_t len, char **error),
        (db, options, key, key_len, value, len, error))
WRAP_L2(void, (void)0, leveldb_destroy_db,
        (const leveldb_options_t *options, const char *path, char **error), (options, path, error))
WRAP_L2(void, (void)0, leveldb_iter_get_error, (const leveldb_iterator_t *iter, char **error),
        (iter, error))

/* ---- the start ---------------------------------------------------------------------------------
 */

static void map_switch(const char *path)
{
    int fd = __real_open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 ||
        (now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
        perror(path);
        abort();
    }
    close(fd);
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FAIL_NTH");
    traces = getenv("FAIL_NTH_TRACE") != NULL;
    event_set_mem_functions(__wrap_malloc, __wrap_realloc, free);
    fail_nth_sqlite_begin();
    if (path) /* the last: nothing of the above may fail */
        map_switch(path);
}
