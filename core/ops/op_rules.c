/* Shared parts of shape rules and of walking over operands (rules.h), and the small functions of op.h. */
#include <math.h>
#include <string.h>

#include "rules.h"

/* ---- views and windows ---- */

int64_t wtl_window_out(int64_t n, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
  int64_t extent;
  if (kernel < 1 || stride < 1 || __builtin_mul_overflow(kernel - 1, dilation, &extent)) return 0;
  int64_t room = n + 2 * pad - extent - 1;
  return room < 0 ? 0 : room / stride + 1;
}

wtl_view wtl_view_plain(void *data, wtl_dtype d, const wtl_shape *s) {
  wtl_view v = { .data = data, .dtype = d, .ndim = s->ndim };
  wtl_shape_strides(s, v.stride);
  for (int k = 0; k < s->ndim; k++) v.size[k] = s->size[k];
  return v;
}

int64_t wtl_view_numel(const wtl_view *v) {
  int64_t n = 1;
  for (int k = 0; k < v->ndim; k++) n *= v->size[k];
  return n;
}

wtl_view wtl_view_window(const wtl_view *v, int dim, int64_t start, int64_t size, int64_t step) {
  wtl_view w = *v;
  if (w.data && size > 0) w.data = (char *)v->data + start * v->stride[dim] * (int64_t)wtl_dtype_size(v->dtype);
  w.size[dim] = size;
  w.stride[dim] = v->stride[dim] * step;
  return w;
}

bool wtl_view_plain_p(const wtl_view *v) {
  int64_t next = 1;
  for (int k = v->ndim - 1; k >= 0; k--) {
    if (v->size[k] == 0) return true;
    if (v->size[k] == 1) continue;
    if (v->stride[k] != next) return false;
    next *= v->size[k];
  }
  return true;
}

/* ---- texts and checks ---- */

wtl_shape_str wtl_shape_as_text(const wtl_shape *s) {
  wtl_shape_str t;
  wtl_shape_text(s, t.s, sizeof t.s);
  return t;
}

double wtl_rule_bytes(const wtl_infer *f, const wtl_shape *s) {
  return (double)wtl_shape_numel(s) * (double)wtl_dtype_size(f->real);
}

wtl_status wtl_rule_image(const wtl_infer *f) {
  if (f->in[0].ndim == 4) return WTL_OK;
  return wtl_fail(f->ctx, WTL_ERR_SHAPE, "%s: x is %s; it must be (N,C,H,W)", f->op->name, SHAPE(&f->in[0]));
}

wtl_status wtl_rule_range(const wtl_infer *f, int attr, int64_t low) {
  const wtl_attr *a = &f->attr[attr];
  for (int k = 0; k < a->n; k++)
    if (a->i[k] < low || a->i[k] > INT32_MAX)
      return wtl_fail(f->ctx, WTL_ERR_ARG, "%s: %s is %lld; it must be at %s %lld", f->op->name,
                      f->op->attr[attr].name, (long long)a->i[k], a->i[k] < low ? "least" : "most",
                      (long long)(a->i[k] < low ? low : INT32_MAX));
  return WTL_OK;
}

wtl_status wtl_rule_dim(const wtl_infer *f, int64_t d, int *out) {
  const wtl_shape *x = &f->in[0];
  if (d < -x->ndim || d >= x->ndim)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "%s: %s is %s; it has no dim %lld", f->op->name, f->op->in_name[0], SHAPE(x),
                    (long long)d);
  *out = wtl_dim_of(d, x->ndim);
  return WTL_OK;
}

int wtl_dim_of(int64_t d, int ndim) { return (int)(d < 0 ? d + ndim : d); }

/* ---- element by element ---- */

wtl_status wtl_rule_unary(wtl_infer *f) {
  f->out[0] = f->in[0];
  return WTL_OK;
}

void wtl_unary_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->in[0]), bytes = wtl_rule_bytes(f, &f->in[0]);
  *forward = (wtl_cost){ n, 2 * bytes };
  *backward = (wtl_cost){ n, 3 * bytes };
}

wtl_status wtl_rule_binary(wtl_infer *f) {
  WTL_TRY(wtl_broadcast(f->ctx, f->op->name, &f->in[0], &f->in[1], &f->out[0]));
  bool repeats = !wtl_shape_equal(&f->in[0], &f->out[0]) || !wtl_shape_equal(&f->in[1], &f->out[0]);
  f->scratch_bytes = repeats ? (size_t)wtl_rule_bytes(f, &f->out[0]) : 0;
  return WTL_OK;
}

void wtl_binary_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->out[0]), in = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->in[1]);
  *forward = (wtl_cost){ n, in + wtl_rule_bytes(f, &f->out[0]) };
  *backward = (wtl_cost){ 2 * n, 2 * in + wtl_rule_bytes(f, &f->out[0]) };
}

/* ---- lines along a dim ---- */

wtl_status wtl_rule_lines(wtl_infer *f) {
  int dim;
  f->out[0] = f->in[0];
  return wtl_rule_dim(f, f->attr[0].i[0], &dim);
}

/* Per element: maximum, difference, exponential, sum, quotient or difference; an exponential counts as one. */
void wtl_lines_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->in[0]), bytes = wtl_rule_bytes(f, &f->in[0]);
  *forward = (wtl_cost){ 5 * n, 2 * bytes };
  *backward = (wtl_cost){ 4 * n, 3 * bytes };
}

/* ---- losses ---- */

wtl_status wtl_rule_loss(wtl_infer *f) {
  const wtl_shape *x = &f->in[0], *target = &f->in[1];
  if (!wtl_shape_equal(x, target))
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "%s: x is %s, target is %s; they must be equal", f->op->name, SHAPE(x),
                    SHAPE(target));
  f->out[0].ndim = 0;
  f->scratch_bytes = (size_t)(wtl_shape_numel(x) / WTL_SPAN + 1) * sizeof(double);
  return WTL_OK;
}

/* Per element about four operations, a logarithm or an exponential counted as one. */
void wtl_loss_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->in[0]), bytes = wtl_rule_bytes(f, &f->in[0]);
  *forward = (wtl_cost){ 4 * n, 2 * bytes };
  *backward = (wtl_cost){ 4 * n, 3 * bytes };
}

/* ---- reductions ---- */

unsigned wtl_reduced_axes(const wtl_attr *dims, int ndim) {
  unsigned axes = dims->n == 0 ? (1u << ndim) - 1 : 0;
  for (int k = 0; k < dims->n; k++) axes |= 1u << wtl_dim_of(dims->i[k], ndim);
  return axes;
}

wtl_status wtl_rule_reduce(wtl_infer *f) {
  const wtl_attr *dims = &f->attr[0];
  const wtl_shape *x = &f->in[0];
  bool keepdim = f->attr[1].i[0];
  unsigned seen = 0;
  for (int k = 0; k < dims->n; k++) {
    int d;
    WTL_TRY(wtl_rule_dim(f, dims->i[k], &d));
    if (seen >> d & 1)
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "%s: x is %s; dim %lld is given twice", f->op->name, SHAPE(x),
                      (long long)dims->i[k]);
    seen |= 1u << d;
  }
  unsigned axes = wtl_reduced_axes(dims, x->ndim);
  f->out[0].ndim = 0;
  for (int k = 0; k < x->ndim; k++) {
    bool reduced = axes >> k & 1;
    if (!reduced || keepdim) f->out[0].size[f->out[0].ndim++] = reduced ? 1 : x->size[k];
  }
  return WTL_OK;
}

/* ---- labels ---- */

wtl_status wtl_rule_labels(wtl_infer *f) {
  const wtl_shape *logits = &f->in[0], *target = &f->in[1];
  if (logits->ndim != 2)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "%s: logits is %s; it must be (N,C)", f->op->name, SHAPE(logits));
  if (target->ndim != 1 || target->size[0] != logits->size[0])
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "%s: logits is %s, target is %s; target must be [%lld]", f->op->name,
                    SHAPE(logits), SHAPE(target), (long long)logits->size[0]);
  f->out[0].ndim = 0;
  return WTL_OK;
}

wtl_status wtl_check_labels(const wtl_call *c, const char *what) {
  const int64_t *target = c->in[1].data;
  int64_t rows = c->in[0].size[0], classes = c->in[0].size[1];
  for (int64_t n = 0; n < rows; n++)
    if (target[n] < 0 || target[n] >= classes)
      return wtl_fail(c->ctx, WTL_ERR_ARG,
                      "%s: the target of row %lld is %lld; with %lld classes it must be in 0..%lld", what,
                      (long long)n, (long long)target[n], (long long)classes, (long long)classes - 1);
  return WTL_OK;
}

/* ---- walking ---- */

/* Stride of the operand along axis k of v. */
static int64_t broadcast_stride(const wtl_view *v, const wtl_view *operand, int k) {
  int j = k - (v->ndim - operand->ndim);
  return j < 0 || operand->size[j] == 1 ? 0 : operand->stride[j];
}

unsigned wtl_repeated_axes(const wtl_view *v, const wtl_view *operand) {
  unsigned axes = 0;
  for (int k = 0; k < v->ndim; k++) {
    int j = k - (v->ndim - operand->ndim);
    if (v->size[k] != 1 && (j < 0 || operand->size[j] == 1)) axes |= 1u << k;
  }
  return axes;
}

void wtl_axes_init(wtl_axes *a, const wtl_view *v, int n, const wtl_view *const operand[], unsigned marked) {
  a->ndim = 0;
  a->marked = 0;
  for (int k = 0; k < v->ndim; k++) {
    if (v->size[k] == 1) continue;
    unsigned mark = marked >> k & 1;
    int at = a->ndim - 1;
    bool merge = at >= 0 && (a->marked >> at & 1) == mark;
    for (int i = 0; i < n && merge; i++)
      merge = a->stride[i][at] == broadcast_stride(v, operand[i], k) * v->size[k];
    if (merge) {
      a->size[at] *= v->size[k];
    } else {
      at = a->ndim++;
      a->size[at] = v->size[k];
      a->marked |= mark << at;
    }
    for (int i = 0; i < n; i++) a->stride[i][at] = broadcast_stride(v, operand[i], k);
  }
  if (a->ndim > 0) return;
  a->ndim = 1;
  a->size[0] = 1;
  for (int i = 0; i < n; i++) a->stride[i][0] = 1;
}

/* ---- copies ---- */

void wtl_copy_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  *forward = *backward = (wtl_cost){ 0, 2 * wtl_rule_bytes(f, &f->out[0]) };
}

void wtl_alias_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  (void)f;
  *forward = *backward = (wtl_cost){ 0, 0 };
}

static wtl_status copy(const wtl_view *to, const wtl_view *from) {
  if (to->data != from->data) memcpy(to->data, from->data, (size_t)wtl_view_numel(to) * wtl_dtype_size(to->dtype));
  return WTL_OK;
}

wtl_status wtl_alias_forward(wtl_call *c) { return copy(&c->out[0], &c->in[0]); }
wtl_status wtl_alias_backward(wtl_call *c) { return copy(&c->din[0], &c->dout[0]); }
