/* replay_main: runs a fuzz target over its corpus as a normal program, in every check. Each
 * argument is a file or a folder of files. A target tells a failure by crashing: the file named
 * last did it. */
#include "base/base.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned inputs_run;

static void replay_file(const char *path)
{
    const struct env *env = env_real();
    struct buf input = {0};
    MUST(env->file_read(env->ctx, path, &input) == 0);
    printf("%s\n", path);
    fflush(stdout);
    /* In memory of exactly its size, so that a sanitizer sees a read behind the end. */
    uint8_t *exact = malloc(input.len);
    MUST(exact);
    if (input.len > 0)
        memcpy(exact, input.bytes, input.len);
    LLVMFuzzerTestOneInput(exact, input.len);
    free(exact);
    buf_free(&input);
    inputs_run++;
}

static void replay_entry(void *folder, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", (const char *)folder, name);
    replay_file(path);
}

int main(int argc, char **argv)
{
    const struct env *env = env_real();
    for (int i = 1; i < argc; i++) {
        struct stat info;
        MUST(stat(argv[i], &info) == 0);
        if (S_ISDIR(info.st_mode))
            MUST(env->dir_list(env->ctx, argv[i], replay_entry, argv[i]) == 0);
        else
            replay_file(argv[i]);
    }
    printf("%u passed, 0 failed\n", inputs_run);
    return inputs_run == 0;
}
