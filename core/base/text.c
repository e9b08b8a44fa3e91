/* Text that grows. After a failure it is as it was before the call. */
#include <stdio.h>

#include "base.h"

void wtl_text_init(wtl_text *t, wtl_ctx *ctx) { *t = (wtl_text){ ctx, NULL, 0, 0 }; }

void wtl_text_free(wtl_text *t) {
  wtl_free(t->ctx, t->s);
  *t = (wtl_text){ t->ctx, NULL, 0, 0 };
}

static wtl_status reserve(wtl_text *t, size_t more) {
  if (t->cap - t->n >= more) return WTL_OK;
  if (more > SIZE_MAX / 4 || t->n > SIZE_MAX / 4) return wtl_fail(t->ctx, WTL_ERR_MEMORY, "text: too long");
  size_t cap = 2 * t->cap > t->n + more ? 2 * t->cap : t->n + more < 256 ? 256 : t->n + more;
  char *s = wtl_realloc(t->ctx, t->s, t->n, cap);
  if (!s) return WTL_ERR_MEMORY;
  t->s = s;
  t->cap = cap;
  return WTL_OK;
}

wtl_status wtl_text_add(wtl_text *t, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(NULL, 0, fmt, args);
  va_end(args);
  if (n < 0) return wtl_fail(t->ctx, WTL_ERR_ARG, "text: \"%s\" cannot be formatted", fmt);
  WTL_TRY(reserve(t, (size_t)n + 1));
  va_start(args, fmt);
  vsnprintf(t->s + t->n, (size_t)n + 1, fmt, args);
  va_end(args);
  t->n += (size_t)n;
  return WTL_OK;
}
