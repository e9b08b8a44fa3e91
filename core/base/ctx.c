/* Contexts: status names, the message, the interrupt flag and the number of threads. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctx.h"

const char *wtl_status_name(wtl_status s) {
  static const char *const name[] = { "ok", "memory", "arg", "shape", "dtype", "state", "io",
                                      "format", "numeric", "unsupported", "interrupted" };
  return (unsigned)s < sizeof name / sizeof *name ? name[s] : "unknown";
}

int wtl_processors(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return n < 1 ? 1 : n > WTL_MAX_THREADS ? WTL_MAX_THREADS : n;
}

wtl_status wtl_ctx_create(int threads, wtl_ctx **out) {
  if (threads < 0 || threads > WTL_MAX_THREADS) return WTL_ERR_ARG;
  wtl_ctx *ctx = calloc(1, sizeof *ctx);
  if (!ctx) return WTL_ERR_MEMORY;
  if (pthread_mutex_init(&ctx->message_lock, NULL) != 0) {
    free(ctx);
    return WTL_ERR_MEMORY;
  }
  atomic_init(&ctx->fuse, INT64_MAX);
  wtl_status s = wtl_set_threads(ctx, threads ? threads : wtl_processors());
  if (s != WTL_OK) {
    wtl_ctx_destroy(ctx);
    return s;
  }
  *out = ctx;
  return WTL_OK;
}

void wtl_ctx_destroy(wtl_ctx *ctx) {
  if (!ctx) return;
  wtl_team_destroy(ctx);
  pthread_mutex_destroy(&ctx->message_lock);
  free(ctx);
}

const char *wtl_message(const wtl_ctx *ctx) { return ctx->message; }

/* Formats beside the message first: the arguments may point into it. A message is one line, and names in it, which come from
 * files, tell a terminal nothing. */
static void set_message(wtl_ctx *ctx, const char *tail, const char *fmt, va_list args) {
  char text[WTL_MESSAGE_MAX];
  int n = vsnprintf(text, sizeof text, fmt, args);
  if (n < 0) n = 0, text[0] = '\0';
  if (n > (int)sizeof text - 1) n = (int)sizeof text - 1;
  for (int i = 0; i < n; i++)
    if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) text[i] = '?';
  pthread_mutex_lock(&ctx->message_lock);
  if (tail && n < (int)sizeof text - 1) {
    size_t room = sizeof text - 1 - (size_t)n;
    snprintf(text + n, room + 1, ": %s", tail);
  }
  memcpy(ctx->message, text, sizeof text);
  pthread_mutex_unlock(&ctx->message_lock);
}

wtl_status wtl_fail(wtl_ctx *ctx, wtl_status s, const char *fmt, ...) {
  if (!ctx) return s;
  va_list args;
  va_start(args, fmt);
  set_message(ctx, NULL, fmt, args);
  va_end(args);
  return s;
}

wtl_status wtl_prefix(wtl_ctx *ctx, wtl_status s, const char *fmt, ...) {
  if (!ctx) return s;
  va_list args;
  va_start(args, fmt);
  set_message(ctx, ctx->message, fmt, args);
  va_end(args);
  return s;
}

int wtl_threads(const wtl_ctx *ctx) { return ctx->threads; }

wtl_status wtl_set_threads(wtl_ctx *ctx, int n) {
  if (n < 1 || n > WTL_MAX_THREADS)
    return wtl_fail(ctx, WTL_ERR_ARG, "threads: %d is not in 1..%d", n, WTL_MAX_THREADS);
  WTL_TRY(wtl_team_resize(ctx, n));
  ctx->threads = n;
  return WTL_OK;
}

void wtl_seed(wtl_ctx *ctx, uint64_t seed) { ctx->random = (wtl_random){ seed, 0 }; }

wtl_random *wtl_random_of(wtl_ctx *ctx) { return &ctx->random; }

void wtl_interrupt(wtl_ctx *ctx, int n) { atomic_store(&ctx->interrupt, n); }

bool wtl_interrupted(const wtl_ctx *ctx) { return atomic_load_explicit(&ctx->interrupt, memory_order_relaxed) != 0; }
