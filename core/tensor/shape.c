/* Shapes: counting, checking, printing, broadcasting. */
#include <stdio.h>

#include "tensor.h"

int64_t wtl_shape_numel(const wtl_shape *s) {
  int64_t n = 1;
  bool overflow = false, none = false;
  for (int d = 0; d < s->ndim; d++) {
    none |= s->size[d] == 0;
    overflow |= __builtin_mul_overflow(n, s->size[d], &n);
  }
  return none ? 0 : overflow ? INT64_MAX : n; /* overflow: of shapes that wtl_shape_check has not seen */
}

bool wtl_shape_equal(const wtl_shape *a, const wtl_shape *b) {
  if (a->ndim != b->ndim) return false;
  for (int d = 0; d < a->ndim; d++)
    if (a->size[d] != b->size[d]) return false;
  return true;
}

const char *wtl_shape_text(const wtl_shape *s, char *buf, size_t n) {
  size_t used = (size_t)snprintf(buf, n, "[");
  for (int d = 0; d < s->ndim && used < n; d++)
    used += (size_t)snprintf(buf + used, n - used, "%s%lld", d ? "," : "", (long long)s->size[d]);
  if (used < n) snprintf(buf + used, n - used, "]");
  return buf;
}

wtl_status wtl_shape_check(wtl_ctx *ctx, const char *what, const wtl_shape *s, wtl_dtype d) {
  char text[WTL_SHAPE_TEXT];
  if ((unsigned)d >= WTL_NDTYPES) return wtl_fail(ctx, WTL_ERR_DTYPE, "%s: %d is no dtype", what, (int)d);
  if (s->ndim < 0 || s->ndim > WTL_MAX_DIMS)
    return wtl_fail(ctx, WTL_ERR_SHAPE, "%s: %d dimensions; a tensor has 0 to %d", what, s->ndim, WTL_MAX_DIMS);
  int64_t bytes = (int64_t)wtl_dtype_size(d);
  bool overflow = false;
  for (int i = 0; i < s->ndim; i++) {
    if (s->size[i] < 0)
      return wtl_fail(ctx, WTL_ERR_SHAPE, "%s: shape is %s; size %lld is negative", what,
                      wtl_shape_text(s, text, sizeof text), (long long)s->size[i]);
    /* A size of 0 counts as 1, so that strides cannot overflow either. */
    overflow |= __builtin_mul_overflow(bytes, s->size[i] ? s->size[i] : 1, &bytes);
  }
  if (overflow || bytes > PTRDIFF_MAX)
    return wtl_fail(ctx, WTL_ERR_SHAPE, "%s: %s of %s is too large to address", what,
                    wtl_shape_text(s, text, sizeof text), wtl_dtype_name(d));
  return WTL_OK;
}

void wtl_shape_strides(const wtl_shape *s, int64_t stride[WTL_MAX_DIMS]) {
  int64_t n = 1;
  for (int d = s->ndim - 1; d >= 0; d--) {
    stride[d] = n;
    n *= s->size[d] ? s->size[d] : 1;
  }
}

wtl_status wtl_broadcast(wtl_ctx *ctx, const char *what, const wtl_shape *a, const wtl_shape *b, wtl_shape *out) {
  char ta[WTL_SHAPE_TEXT], tb[WTL_SHAPE_TEXT];
  wtl_shape r = { a->ndim > b->ndim ? a->ndim : b->ndim, { 0 } };
  for (int k = 1; k <= r.ndim; k++) { /* from the last axis */
    int64_t m = k <= a->ndim ? a->size[a->ndim - k] : 1, n = k <= b->ndim ? b->size[b->ndim - k] : 1;
    if (m != n && m != 1 && n != 1)
      return wtl_fail(ctx, WTL_ERR_SHAPE, "%s: a is %s, b is %s; sizes %lld and %lld do not broadcast", what,
                      wtl_shape_text(a, ta, sizeof ta), wtl_shape_text(b, tb, sizeof tb), (long long)m, (long long)n);
    r.size[r.ndim - k] = m == 1 ? n : m;
  }
  WTL_TRY(wtl_shape_check(ctx, what, &r, WTL_F64)); /* the widest type */
  *out = r;
  return WTL_OK;
}
