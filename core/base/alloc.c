/* Allocation: every block of the core comes from here, so that it can be counted and made to fail. A block is
 * zeroed, aligned to a cache line, and preceded by a header that knows its size. Safe from several threads. */
#include <stdlib.h>
#include <string.h>

#include "ctx.h"

#if defined(__SANITIZE_ADDRESS__)
#define WTL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WTL_ASAN 1
#endif
#endif
#ifdef WTL_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define ALIGN 64

/* Stands right before the block. */
typedef struct header {
  void *raw;    /* what calloc gave */
  size_t bytes; /* asked for */
} header;

#define EXTRA (sizeof(header) + ALIGN - 1)

bool wtl_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }

static header *header_of(void *p) { return (header *)p - 1; }

static bool injected_failure(wtl_ctx *ctx) {
  if (atomic_load_explicit(&ctx->fuse, memory_order_relaxed) == INT64_MAX) return false;
  return atomic_fetch_sub(&ctx->fuse, 1) <= 1;
}

static void count_in(wtl_ctx *ctx, size_t bytes) {
  atomic_fetch_add_explicit(&ctx->live, 1, memory_order_relaxed);
  uint64_t now = atomic_fetch_add_explicit(&ctx->live_bytes, bytes, memory_order_relaxed) + bytes;
  uint64_t peak = atomic_load_explicit(&ctx->peak_bytes, memory_order_relaxed);
  while (now > peak && !atomic_compare_exchange_weak(&ctx->peak_bytes, &peak, now)) {}
}

void *wtl_alloc(wtl_ctx *ctx, size_t bytes) {
  atomic_fetch_add_explicit(&ctx->allocations, 1, memory_order_relaxed);
  char *raw = NULL;
  /* calloc: pages fresh from the system are zero already and stay untouched. */
  if (!injected_failure(ctx) && bytes <= PTRDIFF_MAX - EXTRA) raw = calloc(1, bytes + EXTRA);
  if (!raw) {
    wtl_fail(ctx, WTL_ERR_MEMORY, "out of memory: %zu bytes more were asked for", bytes);
    return NULL;
  }
  char *p = (char *)(((uintptr_t)raw + EXTRA) & ~(uintptr_t)(ALIGN - 1));
  *header_of(p) = (header){ raw, bytes };
  ASAN_POISON_MEMORY_REGION(p + bytes, (size_t)(raw + bytes + EXTRA - (p + bytes)));
  count_in(ctx, bytes);
  return p;
}

void wtl_free(wtl_ctx *ctx, void *p) {
  if (!p) return;
  header *h = header_of(p);
  atomic_fetch_sub_explicit(&ctx->live, 1, memory_order_relaxed);
  atomic_fetch_sub_explicit(&ctx->live_bytes, h->bytes, memory_order_relaxed);
  ASAN_UNPOISON_MEMORY_REGION(h->raw, h->bytes + EXTRA);
  free(h->raw);
}

void *wtl_calloc(wtl_ctx *ctx, size_t n, size_t size) {
  size_t bytes;
  if (wtl_mul_size(n, size, &bytes)) return wtl_alloc(ctx, bytes);
  wtl_fail(ctx, WTL_ERR_MEMORY, "out of memory: %zu elements of %zu bytes were asked for", n, size);
  return NULL;
}

void *wtl_realloc(wtl_ctx *ctx, void *p, size_t old_bytes, size_t new_bytes) {
  void *q = wtl_alloc(ctx, new_bytes);
  if (!q) return NULL;
  if (p) memcpy(q, p, old_bytes < new_bytes ? old_bytes : new_bytes);
  wtl_free(ctx, p);
  return q;
}

char *wtl_strdup(wtl_ctx *ctx, const char *s) {
  size_t n = strlen(s) + 1;
  char *copy = wtl_alloc(ctx, n);
  if (copy) memcpy(copy, s, n);
  return copy;
}

void wtl_memory_stats(const wtl_ctx *ctx, wtl_memory *out) {
  out->allocations = atomic_load(&ctx->allocations);
  out->live = atomic_load(&ctx->live);
  out->live_bytes = atomic_load(&ctx->live_bytes);
  out->peak_bytes = atomic_load(&ctx->peak_bytes);
}

void wtl_memory_fail_at(wtl_ctx *ctx, uint64_t n) {
  atomic_store(&ctx->fuse, n == 0 || n >= INT64_MAX ? INT64_MAX : (int64_t)n);
}
