/* log: one line a message on standard error: time, level, room, text. Never a key's value, never a
 * password. Any thread; a line is written whole. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Messages above `max` are dropped. Start-up only, or the `verbosity` command. */
void log_level_set(enum log_level max);

void log_write(enum log_level level, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(room, ...) log_write(LOG_ERROR, room, __VA_ARGS__)
#define log_warn(room, ...)  log_write(LOG_WARN, room, __VA_ARGS__)
#define log_info(room, ...)  log_write(LOG_INFO, room, __VA_ARGS__)
#define log_debug(room, ...) log_write(LOG_DEBUG, room, __VA_ARGS__)

#endif
