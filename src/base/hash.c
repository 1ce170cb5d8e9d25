#include "base/base.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/md5.h>
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

/* OpenSSL's newer way to a digest first loads tables of all algorithms: 2 MB that stay resident. */
uint32_t hash_ring(struct slice bytes)
{
    MD5_CTX md5;
    uint8_t md[MD5_DIGEST_LENGTH];
    MUST(MD5_Init(&md5) == 1 && MD5_Update(&md5, bytes.bytes, bytes.len) == 1);
    MUST(MD5_Final(md, &md5) == 1);
    return (uint32_t)md[0] | (uint32_t)md[1] << 8 | (uint32_t)md[2] << 16 | (uint32_t)md[3] << 24;
}
