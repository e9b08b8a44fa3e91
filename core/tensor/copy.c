/* Everything that moves elements: copies with conversion, filling, single elements. A conversion that cannot be done
 * (out of an integer's range) is found before anything is written. */
#include <stdio.h>
#include <string.h>

#include "tensor.h"

/* ---- walking ------------------------------------------------------------------------ */

void wtl_walk_init(wtl_walk *w, int n, const wtl_tensor *const t[]) {
  const wtl_shape *s = &t[0]->shape;
  int k = 0;
  w->rows = wtl_shape_numel(s) == 0 ? 0 : 1;
  for (int d = 0; d < s->ndim; d++) {
    if (s->size[d] == 1) continue;
    bool merge = k > 0;
    for (int i = 0; i < n && merge; i++) merge = w->stride[i][k - 1] == t[i]->stride[d] * s->size[d];
    if (merge) k--, w->size[k] *= s->size[d];
    else w->size[k] = s->size[d];
    for (int i = 0; i < n; i++) w->stride[i][k] = t[i]->stride[d];
    k++;
  }
  if (k == 0) {
    w->size[0] = 1;
    for (int i = 0; i < n; i++) w->stride[i][0] = 1;
    k = 1;
  }
  w->ndim = k;
  for (int d = 0; d < k - 1; d++) w->rows *= w->size[d];
}

void wtl_walk_row(const wtl_walk *w, int64_t row, int n, int64_t offset[]) {
  for (int i = 0; i < n; i++) offset[i] = 0;
  for (int d = w->ndim - 2; d >= 0; d--) {
    int64_t k = row % w->size[d];
    row /= w->size[d];
    for (int i = 0; i < n; i++) offset[i] += k * w->stride[i][d];
  }
}

/* ---- checking ----------------------------------------------------------------------- */

/* Elements converted at a time, through a buffer on the stack. */
#define RUN 256

static wtl_status does_not_fit(const wtl_tensor *t, const char *what, int64_t logical, wtl_dtype d) {
  char text[WTL_SHAPE_TEXT], value[40];
  wtl_shape index = { t->shape.ndim, { 0 } };
  int64_t offset = 0;
  for (int k = t->shape.ndim - 1; k >= 0; k--) {
    index.size[k] = logical % t->shape.size[k];
    logical /= t->shape.size[k];
    offset += index.size[k] * t->stride[k];
  }
  const void *p = t->data + offset * (int64_t)wtl_dtype_size(t->dtype);
  double real;
  int64_t integer;
  if (wtl_dtype_is_float(t->dtype)) {
    wtl_load_reals(t->dtype, p, 1, 1, &real);
    snprintf(value, sizeof value, "%.9g", real);
  } else {
    wtl_load_ints(t->dtype, p, 1, 1, &integer);
    snprintf(value, sizeof value, "%lld", (long long)integer);
  }
  return wtl_fail(t->ctx, WTL_ERR_NUMERIC, "%s: %s at %s does not fit %s", what, value,
                  wtl_shape_text(&index, text, sizeof text), wtl_dtype_name(d));
}

/* Does every element of t fit integer type d? */
static wtl_status check_fit(const wtl_tensor *t, const char *what, wtl_dtype d) {
  if (wtl_dtype_is_float(d) || d == t->dtype || (d == WTL_I64 && !wtl_dtype_is_float(t->dtype))) return WTL_OK;
  bool reals = wtl_dtype_is_float(t->dtype);
  int64_t size = (int64_t)wtl_dtype_size(t->dtype), offset;
  double real[RUN];
  int64_t integer[RUN];
  wtl_walk w;
  wtl_walk_init(&w, 1, &t);
  int64_t length = w.size[w.ndim - 1], stride = w.stride[0][w.ndim - 1];
  for (int64_t row = 0; row < w.rows; row++) {
    wtl_walk_row(&w, row, 1, &offset);
    for (int64_t i = 0; i < length; i += RUN) {
      int64_t n = length - i < RUN ? length - i : RUN;
      const void *p = t->data + (offset + i * stride) * size;
      if (reals) wtl_load_reals(t->dtype, p, stride, n, real);
      else wtl_load_ints(t->dtype, p, stride, n, integer);
      for (int64_t k = 0; k < n; k++)
        if (reals ? !wtl_fits_real(d, real[k]) : !wtl_fits_int(d, integer[k]))
          return does_not_fit(t, what, row * length + i + k, d);
    }
  }
  return WTL_OK;
}

/* ---- copying ------------------------------------------------------------------------ */

static void move_row(char *q, int64_t q_stride, const char *p, int64_t p_stride, int64_t n, size_t size) {
  if (q_stride == 1 && p_stride == 1) {
    memcpy(q, p, (size_t)n * size);
    return;
  }
#define MOVE(type)                                                      \
  do {                                                                  \
    type *to = (type *)q;                                               \
    const type *from = (const type *)p;                                 \
    for (int64_t i = 0; i < n; i++) to[i * q_stride] = from[i * p_stride]; \
  } while (0)
  switch (size) {
  case 8: MOVE(uint64_t); break;
  case 4: MOVE(uint32_t); break;
  case 2: MOVE(uint16_t); break;
  default: MOVE(uint8_t); break;
  }
#undef MOVE
}

static void convert_row(wtl_dtype to, char *q, int64_t q_stride, wtl_dtype from, const char *p, int64_t p_stride,
                        int64_t length) {
  int64_t q_size = (int64_t)wtl_dtype_size(to), p_size = (int64_t)wtl_dtype_size(from);
  double real[RUN];
  int64_t integer[RUN];
  for (int64_t i = 0; i < length; i += RUN) {
    int64_t n = length - i < RUN ? length - i : RUN;
    if (wtl_dtype_is_float(from)) {
      wtl_load_reals(from, p + i * p_stride * p_size, p_stride, n, real);
      wtl_store_reals(to, q + i * q_stride * q_size, q_stride, n, real);
    } else {
      wtl_load_ints(from, p + i * p_stride * p_size, p_stride, n, integer);
      wtl_store_ints(to, q + i * q_stride * q_size, q_stride, n, integer);
    }
  }
}

/* Same shape; src fits dst's type; no overlap. */
static void copy_elements(wtl_tensor *dst, const wtl_tensor *src) {
  wtl_walk w;
  int64_t offset[2], q_size = (int64_t)wtl_dtype_size(dst->dtype), p_size = (int64_t)wtl_dtype_size(src->dtype);
  wtl_walk_init(&w, 2, (const wtl_tensor *const[]){ dst, src });
  int last = w.ndim - 1;
  for (int64_t row = 0; row < w.rows; row++) {
    wtl_walk_row(&w, row, 2, offset);
    char *q = dst->data + offset[0] * q_size;
    const char *p = src->data + offset[1] * p_size;
    if (dst->dtype == src->dtype) move_row(q, w.stride[0][last], p, w.stride[1][last], w.size[last], (size_t)q_size);
    else convert_row(dst->dtype, q, w.stride[0][last], src->dtype, p, w.stride[1][last], w.size[last]);
  }
}

/* First byte and the byte after the last. */
static void extent(const wtl_tensor *t, uintptr_t *first, uintptr_t *end) {
  int64_t last = 0;
  for (int d = 0; d < t->shape.ndim; d++) last += (t->shape.size[d] - 1) * t->stride[d];
  *first = (uintptr_t)t->data;
  *end = *first + (uintptr_t)((last + 1) * (int64_t)wtl_dtype_size(t->dtype));
}

static bool overlap(const wtl_tensor *a, const wtl_tensor *b) {
  uintptr_t a0, a1, b0, b1;
  if (wtl_tensor_numel(a) == 0) return false;
  extent(a, &a0, &a1);
  extent(b, &b0, &b1);
  return a0 < b1 && b0 < a1;
}

static bool same_window(const wtl_tensor *a, const wtl_tensor *b) {
  if (a->data != b->data || a->dtype != b->dtype) return false;
  for (int d = 0; d < a->shape.ndim; d++)
    if (a->shape.size[d] > 1 && a->stride[d] != b->stride[d]) return false;
  return true;
}

wtl_status wtl_tensor_check_writable(wtl_tensor *t, const char *what) {
  for (int d = 0; d < t->shape.ndim; d++)
    if (t->shape.size[d] > 1 && t->stride[d] == 0 && wtl_tensor_numel(t) > 0)
      return wtl_fail(t->ctx, WTL_ERR_ARG, "%s: an expanded tensor cannot be written; clone it first", what);
  return WTL_OK;
}

wtl_status wtl_tensor_copy(wtl_tensor *dst, const wtl_tensor *src) {
  char to[WTL_SHAPE_TEXT], from[WTL_SHAPE_TEXT];
  if (!wtl_shape_equal(&dst->shape, &src->shape))
    return wtl_fail(dst->ctx, WTL_ERR_SHAPE, "copy: to %s from %s; shapes differ",
                    wtl_shape_text(&dst->shape, to, sizeof to), wtl_shape_text(&src->shape, from, sizeof from));
  WTL_TRY(wtl_tensor_check_writable(dst, "copy"));
  WTL_TRY(check_fit(src, "copy", dst->dtype));
  if (same_window(dst, src)) return WTL_OK;
  wtl_tensor *apart = NULL;
  if (overlap(dst, src)) {
    WTL_TRY(wtl_tensor_clone(src, &apart));
    src = apart;
  }
  copy_elements(dst, src);
  wtl_tensor_release(apart);
  return WTL_OK;
}

wtl_status wtl_tensor_convert(const wtl_tensor *t, wtl_dtype d, wtl_tensor **out) {
  WTL_TRY(wtl_shape_check(t->ctx, "convert", &t->shape, d));
  WTL_TRY(check_fit(t, "convert", d));
  wtl_tensor *copy;
  WTL_TRY(wtl_tensor_create(t->ctx, d, &t->shape, &copy));
  copy_elements(copy, t);
  *out = copy;
  return WTL_OK;
}

wtl_status wtl_tensor_clone(const wtl_tensor *t, wtl_tensor **out) { return wtl_tensor_convert(t, t->dtype, out); }

/* ---- single values ------------------------------------------------------------------ */

wtl_status wtl_tensor_fill(wtl_tensor *t, double value) {
  uint64_t element = 0; /* room for any type */
  if (!wtl_fits_real(t->dtype, value))
    return wtl_fail(t->ctx, WTL_ERR_NUMERIC, "fill: %.9g does not fit %s", value, wtl_dtype_name(t->dtype));
  wtl_store_reals(t->dtype, &element, 1, 1, &value);
  wtl_walk w;
  int64_t offset, size = (int64_t)wtl_dtype_size(t->dtype);
  wtl_walk_init(&w, 1, &(const wtl_tensor *){ t });
  for (int64_t row = 0; row < w.rows; row++) {
    wtl_walk_row(&w, row, 1, &offset);
    move_row(t->data + offset * size, w.stride[0][w.ndim - 1], (const char *)&element, 0, w.size[w.ndim - 1],
             (size_t)size);
  }
  return WTL_OK;
}

static wtl_status locate(const wtl_tensor *t, const char *what, const int64_t *index, void **out) {
  char text[WTL_SHAPE_TEXT];
  int64_t offset = 0;
  for (int d = 0; d < t->shape.ndim; d++) {
    if (index[d] < 0 || index[d] >= t->shape.size[d])
      return wtl_fail(t->ctx, WTL_ERR_ARG, "%s: index %lld of dimension %d is outside %s", what, (long long)index[d], d,
                      wtl_shape_text(&t->shape, text, sizeof text));
    offset += index[d] * t->stride[d];
  }
  *out = t->data + offset * (int64_t)wtl_dtype_size(t->dtype);
  return WTL_OK;
}

wtl_status wtl_tensor_get(const wtl_tensor *t, const int64_t *index, double *out) {
  void *p;
  WTL_TRY(locate(t, "get", index, &p));
  wtl_load_reals(t->dtype, p, 1, 1, out);
  return WTL_OK;
}

wtl_status wtl_tensor_set(wtl_tensor *t, const int64_t *index, double value) {
  void *p;
  WTL_TRY(locate(t, "set", index, &p));
  if (!wtl_fits_real(t->dtype, value))
    return wtl_fail(t->ctx, WTL_ERR_NUMERIC, "set: %.9g does not fit %s", value, wtl_dtype_name(t->dtype));
  wtl_store_reals(t->dtype, p, 1, 1, &value);
  return WTL_OK;
}
