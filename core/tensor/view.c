/* Views: new windows on the same storage. Dimensions count from 0, or from the end where negative. */
#include "tensor.h"

static wtl_status find_dim(wtl_tensor *t, const char *what, int dim, int *out) {
  char text[WTL_SHAPE_TEXT];
  int n = t->shape.ndim, d = dim < 0 ? dim + n : dim;
  if (d < 0 || d >= n)
    return wtl_fail(t->ctx, WTL_ERR_ARG, "%s: dimension %d of %s; it has %d", what, dim,
                    wtl_shape_text(&t->shape, text, sizeof text), n);
  *out = d;
  return WTL_OK;
}

wtl_status wtl_tensor_reshape(wtl_tensor *t, const wtl_shape *s, wtl_tensor **out) {
  char from[WTL_SHAPE_TEXT], to[WTL_SHAPE_TEXT];
  if (s->ndim < 0 || s->ndim > WTL_MAX_DIMS) return wtl_shape_check(t->ctx, "reshape", s, t->dtype);
  wtl_shape_text(&t->shape, from, sizeof from);
  wtl_shape_text(s, to, sizeof to);
  if (!wtl_tensor_contiguous(t))
    return wtl_fail(t->ctx, WTL_ERR_ARG, "reshape: %s is not contiguous; clone it first", from);
  wtl_shape r = *s;
  int unknown = -1;
  for (int d = 0; d < r.ndim; d++) {
    if (r.size[d] != -1) continue;
    if (unknown >= 0) return wtl_fail(t->ctx, WTL_ERR_SHAPE, "reshape: %s has more than one -1", to);
    unknown = d;
    r.size[d] = 1;
  }
  WTL_TRY(wtl_shape_check(t->ctx, "reshape", &r, t->dtype));
  int64_t n = wtl_tensor_numel(t), rest = wtl_shape_numel(&r);
  if (unknown >= 0) {
    if (rest == 0) return wtl_fail(t->ctx, WTL_ERR_SHAPE, "reshape: %s leaves -1 open: the other sizes give 0", to);
    r.size[unknown] = n / rest;
    rest *= r.size[unknown];
  }
  if (rest != n)
    return wtl_fail(t->ctx, WTL_ERR_SHAPE, "reshape: %s has %lld elements and does not fit %s", from, (long long)n, to);
  wtl_tensor *view;
  WTL_TRY(wtl_tensor_alias(t, &view));
  view->shape = r;
  wtl_shape_strides(&r, view->stride);
  *out = view;
  return WTL_OK;
}

wtl_status wtl_tensor_transpose(wtl_tensor *t, int d0, int d1, wtl_tensor **out) {
  int dims[WTL_MAX_DIMS];
  WTL_TRY(find_dim(t, "transpose", d0, &d0));
  WTL_TRY(find_dim(t, "transpose", d1, &d1));
  for (int d = 0; d < t->shape.ndim; d++) dims[d] = d == d0 ? d1 : d == d1 ? d0 : d;
  return wtl_tensor_permute(t, dims, out);
}

wtl_status wtl_tensor_permute(wtl_tensor *t, const int *dims, wtl_tensor **out) {
  int order[WTL_MAX_DIMS], n = t->shape.ndim;
  bool seen[WTL_MAX_DIMS] = { false };
  for (int d = 0; d < n; d++) {
    WTL_TRY(find_dim(t, "permute", dims[d], &order[d]));
    if (seen[order[d]]) return wtl_fail(t->ctx, WTL_ERR_ARG, "permute: dimension %d is named twice", dims[d]);
    seen[order[d]] = true;
  }
  wtl_tensor *view;
  WTL_TRY(wtl_tensor_alias(t, &view));
  for (int d = 0; d < n; d++) {
    view->shape.size[d] = t->shape.size[order[d]];
    view->stride[d] = t->stride[order[d]];
  }
  *out = view;
  return WTL_OK;
}

static void skip(wtl_tensor *view, int dim, int64_t start) {
  if (wtl_tensor_numel(view) == 0) return; /* there may be no such element */
  view->data += start * view->stride[dim] * (int64_t)wtl_dtype_size(view->dtype);
}

wtl_status wtl_tensor_narrow(wtl_tensor *t, int dim, int64_t start, int64_t length, wtl_tensor **out) {
  WTL_TRY(find_dim(t, "narrow", dim, &dim));
  int64_t size = t->shape.size[dim];
  if (start < 0 || length < 0 || start > size || length > size - start)
    return wtl_fail(t->ctx, WTL_ERR_ARG, "narrow: %lld elements from %lld on do not lie in dimension %d, of size %lld",
                    (long long)length, (long long)start, dim, (long long)size);
  wtl_tensor *view;
  WTL_TRY(wtl_tensor_alias(t, &view));
  view->shape.size[dim] = length;
  skip(view, dim, start);
  *out = view;
  return WTL_OK;
}

wtl_status wtl_tensor_select(wtl_tensor *t, int dim, int64_t index, wtl_tensor **out) {
  WTL_TRY(find_dim(t, "select", dim, &dim));
  int64_t size = t->shape.size[dim];
  if (index < 0 || index >= size)
    return wtl_fail(t->ctx, WTL_ERR_ARG, "select: index %lld of dimension %d, of size %lld", (long long)index, dim,
                    (long long)size);
  wtl_tensor *view;
  WTL_TRY(wtl_tensor_alias(t, &view));
  skip(view, dim, index);
  view->shape.ndim--;
  for (int d = dim; d < view->shape.ndim; d++) {
    view->shape.size[d] = t->shape.size[d + 1];
    view->stride[d] = t->stride[d + 1];
  }
  *out = view;
  return WTL_OK;
}

/* A size of -1 keeps t's. */
wtl_status wtl_tensor_expand(wtl_tensor *t, const wtl_shape *s, wtl_tensor **out) {
  char from[WTL_SHAPE_TEXT], to[WTL_SHAPE_TEXT];
  if (s->ndim < 0 || s->ndim > WTL_MAX_DIMS) return wtl_shape_check(t->ctx, "expand", s, t->dtype);
  wtl_shape_text(&t->shape, from, sizeof from);
  wtl_shape_text(s, to, sizeof to);
  wtl_shape r = *s;
  int64_t stride[WTL_MAX_DIMS] = { 0 };
  int lead = r.ndim - t->shape.ndim;
  bool fits = lead >= 0;
  for (int d = 0; fits && d < t->shape.ndim; d++) {
    int64_t *size = &r.size[lead + d], own = t->shape.size[d];
    if (*size == -1) *size = own;
    fits = *size == own || own == 1;
    if (*size == own) stride[lead + d] = t->stride[d];
  }
  if (!fits) return wtl_fail(t->ctx, WTL_ERR_SHAPE, "expand: %s does not broadcast to %s", from, to);
  WTL_TRY(wtl_shape_check(t->ctx, "expand", &r, t->dtype));
  wtl_tensor *view;
  WTL_TRY(wtl_tensor_alias(t, &view));
  view->shape = r;
  for (int d = 0; d < r.ndim; d++) view->stride[d] = stride[d];
  *out = view;
  return WTL_OK;
}
