/* base: what every room stands on. No shop, no wire format. The one header other rooms include. */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include "base/buf.h"
#include "base/env.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/huge.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/must.h"
#include "base/num.h"
#include "base/slice.h"
#include "base/stat.h"
#include "base/varint.h"
#include "base/word.h"

#endif
