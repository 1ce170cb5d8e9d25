#include "base/base.h"

#include <openssl/evp.h>
#include <pthread.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_64(struct slice bytes)
{
    return XXH3_64bits(bytes.bytes, bytes.len);
}

uint64_t hash_64_seed(struct slice bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.bytes, bytes.len, seed);
}

/* Found once: looking the algorithm up costs more than a digest. */
static EVP_MD *md5;

static void find_md5(void)
{
    md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    MUST(md5 != NULL);
}

uint32_t hash_ring(struct slice bytes)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    uint8_t md[EVP_MAX_MD_SIZE];
    unsigned md_len = 0;
    MUST(pthread_once(&once, find_md5) == 0);
    MUST(EVP_Digest(bytes.bytes, bytes.len, md, &md_len, md5, NULL) == 1 && md_len == 16);
    return (uint32_t)md[0] | (uint32_t)md[1] << 8 | (uint32_t)md[2] << 16 | (uint32_t)md[3] << 24;
}
