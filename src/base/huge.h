/* huge: memory for what is large and looked at here and there. On huge pages where the kernel has
 * them for who asks (transparent huge pages, "madvise"): with pages of 4 KiB most looks first wait
 * for the page to be found. All begins at a multiple of HUGE_BYTES. */
#ifndef BASE_HUGE_H
#define BASE_HUGE_H

#include <stddef.h>

#define HUGE_BYTES ((size_t)2 << 20)

/* Zeroed memory, which costs nothing until it is touched, or NULL. The caller remembers its bytes,
 * which MUST NOT be 0. Any thread. */
void *huge_new(size_t bytes);
/* The same, but addresses only, without memory behind them. */
void *huge_reserve(size_t bytes);
/* As malloc, for free(); on huge pages when that is worth it. */
void *huge_malloc(size_t bytes);
/* Of huge_new or huge_reserve. NULL is fine. */
void huge_free(void *mem, size_t bytes);

#endif
