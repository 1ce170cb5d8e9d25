/* sim_disk: what LevelDB's environment, which is C++, needs of the simulated world. Codes: 0,
 * sim_not_found, sim_no_space, or another for an input/output error. */
#ifndef T_SIM_SIM_DISK_H
#define T_SIM_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sim_file;

extern const int sim_not_found, sim_no_space;

int sim_leveldb_open(const char *path, struct sim_file **file);
int sim_leveldb_create(const char *path, struct sim_file **file);
int sim_leveldb_read(struct sim_file *file, uint64_t offset, size_t len, char *out, size_t *got);
int sim_leveldb_append(struct sim_file *file, const void *bytes, size_t len);
int sim_leveldb_sync(struct sim_file *file);
int sim_leveldb_list(const char *dir, void (*each)(void *arg, const char *name), void *arg);
/* Where LevelDB would abort. */
void sim_leveldb_aborts(const char *assertion) __attribute__((noreturn));
struct sim_file *sim_leveldb_find(const char *path);
uint64_t sim_file_len(const struct sim_file *file);
int sim_name_rename(const char *from, const char *to);
int sim_name_remove(const char *path);
int sim_dir_make(const char *path);
void sim_spawn(const char *name, void (*run)(void *arg), void *arg);
bool sim_wait(const void *object, uint64_t timeout_us);
void sim_wake(const void *object);
void sim_sleep_us(uint64_t us);
uint64_t sim_wall_us(void);

#ifdef __cplusplus
}
#endif

#endif
