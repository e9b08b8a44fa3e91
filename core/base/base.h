/* What every part of the core uses: the context, failing, allocation and running in parallel.
 * May touch nothing but the C library. Public declarations are in wattle.h. */
#ifndef WTL_BASE_H
#define WTL_BASE_H

#include <stdatomic.h>
#include <stdarg.h>

#include "wattle.h"

/* Set the message and return `s`: `return wtl_fail(ctx, WTL_ERR_SHAPE, "matmul: a is %s", ...)`. */
wtl_status wtl_fail(wtl_ctx *ctx, wtl_status s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Put "prefix: " before the current message (a file name, a module's path). */
wtl_status wtl_prefix(wtl_ctx *ctx, wtl_status s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The one macro that hides control flow: pass a failure on. */
#define WTL_TRY(expr)                   \
  do {                                  \
    wtl_status try_ = (expr);           \
    if (try_ != WTL_OK) return try_;    \
  } while (0)

/* Zeroed array of n elements; NULL with the message set on overflow or when memory is gone. */
void *wtl_calloc(wtl_ctx *ctx, size_t n, size_t size);
/* Contents kept, growth zeroed; on NULL the old block is still there. */
void *wtl_realloc(wtl_ctx *ctx, void *p, size_t old_bytes, size_t new_bytes);
char *wtl_strdup(wtl_ctx *ctx, const char *s);
/* *out = a*b; false on overflow. */
bool wtl_mul_size(size_t a, size_t b, size_t *out);

/* What ops run at once draw from: see wtl_seed. */
typedef struct wtl_random { uint64_t seed, runs; } wtl_random;
wtl_random *wtl_random_of(wtl_ctx *ctx);

/* Run fn over [0, n) in chunks of `grain` (>= 1): chunk c covers [c*grain, min(n, (c+1)*grain)). Chunks do not
 * depend on the thread count, so a sum kept per chunk and added in order has the same bits on any number of
 * threads. `thread` < wtl_threads(ctx) picks scratch. Nested calls run in the calling thread. */
typedef void (*wtl_parallel_fn)(void *arg, int64_t begin, int64_t end, int thread);
void wtl_parallel(wtl_ctx *ctx, int64_t n, int64_t grain, wtl_parallel_fn fn, void *arg);

#endif
