/* hash: the two hashes of the project. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/slice.h"

/* XXH3, for tables and checksums. Not for placement on the ring. */
uint64_t hash_64(struct slice bytes);
uint64_t hash_64_seed(struct slice bytes, uint64_t seed);

/* First little-endian word of MD5(bytes): libmemcached's ring hash (cluster-notes 1.1). Some
 * 0.13 us: for background threads, not for the reply path. */
uint32_t hash_ring(struct slice bytes);

#endif
