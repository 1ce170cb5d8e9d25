/* must: assertions that stay on. A bug stops the process at the place where it is seen; an
 * operating error is never a MUST but a CE_* code (err.h). */
#ifndef BASE_MUST_H
#define BASE_MUST_H

#define MUST_USE __attribute__((warn_unused_result))

/* Prints where and what, then aborts. Any thread. */
_Noreturn void must_fail(const char *file, int line, const char *func, const char *what);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            must_fail(__FILE__, __LINE__, __func__, #cond);                                        \
    } while (0)

/* Every long-lived object starts with `unsigned magic`; its functions check it first. */
#define MUST_OBJ(ptr, type_magic) MUST((ptr) != NULL && (ptr)->magic == (type_magic))

#endif
