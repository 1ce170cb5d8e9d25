/* log_heard: the log of this process, for a test that asks for it. */
#ifndef T_LIB_LOG_HEARD_H
#define T_LIB_LOG_HEARD_H

/* What this process writes to standard error, from here on; the log down to LOG_INFO. */
void log_listen(void);
/* Until here. Valid until the next call. Needs no descriptor. */
const char *log_heard(void);

#endif
