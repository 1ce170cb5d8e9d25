/* daemon: what a Unix process does with itself before it serves: background, user, pid file,
 * limits; later, its heap. Start-up thread; no other thread runs during daemon_begin. Every
 * function says in `message` what failed, and returns CE_INVAL or CE_IO. */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "base/base.h"

struct daemon {
    int ready_fd; /* the process that was called waits at the other end; -1 = there is none */
    const char *pid_path;
};

/* Goes on in a child of a session of its own; the process that was called stays until the child
 * says daemon_ready (and ends with 0) or ends (and ends with its status), so a script knows whether
 * cartd serves. The log goes on to standard error if that is a file, and nowhere if not. */
int daemon_begin(struct daemon *daemon, char *message, size_t message_bytes) MUST_USE;

/* It serves: lets the caller go. Harmless without daemon_begin. */
void daemon_ready(struct daemon *daemon);

/* Writes the process id to `path`; the file goes with daemon_end. */
int daemon_write_pid(struct daemon *daemon, const char *path, char *message,
                     size_t message_bytes) MUST_USE;
void daemon_end(struct daemon *daemon);

/* Becomes `user` with its groups, when started as root; anybody else stays who he is (memcached).
 * All threads. */
int daemon_become(const char *user, char *message, size_t message_bytes) MUST_USE;

/* -k and -r. */
int daemon_lock_memory(char *message, size_t message_bytes) MUST_USE;
int daemon_raise_cores(char *message, size_t message_bytes) MUST_USE;

/* ---- while it serves ---- */

struct daemon_heap {
    uint64_t next_ms; /* not before; starts as 0 */
};

/* Gives memory that the C library holds unused back to the system, when there is much of it beside
 * the `items_bytes` that are known to be used, and not too often: see heap.c. To be called each
 * second, by one thread. Whether it was time to. */
bool daemon_trim_heap(struct daemon_heap *heap, const struct env *env, size_t items_bytes);

#endif
