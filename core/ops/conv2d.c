/* conv2d: 2-d convolution. Row in ops.def. Plain loops over rows of an image: for each tap (u,v) of the kernel the
 * valid part of a row is found first, so that the inner loop has no test. Sums run over (c,u,v) in a fixed order. */
#include "real.h"
#include "rules.h"
#include "span.h"

enum { X, W, B };                           /* inputs */
enum { STRIDE, PADDING, DILATION, GROUPS }; /* attributes */

#if WTL_ONCE
static wtl_status check_channels(const wtl_infer *f, int64_t groups) {
  const wtl_shape *x = &f->in[X], *w = &f->in[W], *b = &f->in[B];
  if (x->size[1] % groups || w->size[0] % groups)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "conv2d: x is %s, w is %s; groups is %lld, which must divide C and O",
                    SHAPE(x), SHAPE(w), (long long)groups);
  if (x->size[1] / groups != w->size[1])
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "conv2d: x is %s, w is %s; x has %lld channels, w wants %lld", SHAPE(x),
                    SHAPE(w), (long long)x->size[1], (long long)(w->size[1] * groups));
  if (f->present[B] && (b->ndim != 1 || b->size[0] != w->size[0]))
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "conv2d: w is %s, b is %s; b must be [%lld]", SHAPE(w), SHAPE(b),
                    (long long)w->size[0]);
  return WTL_OK;
}

static wtl_status infer(wtl_infer *f) {
  const wtl_shape *x = &f->in[X], *w = &f->in[W];
  WTL_TRY(wtl_rule_image(f));
  if (w->ndim != 4)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "conv2d: x is %s, w is %s; w must be (O,C/groups,KH,KW)", SHAPE(x),
                    SHAPE(w));
  WTL_TRY(wtl_rule_range(f, STRIDE, 1));
  WTL_TRY(wtl_rule_range(f, PADDING, 0));
  WTL_TRY(wtl_rule_range(f, DILATION, 1));
  WTL_TRY(wtl_rule_range(f, GROUPS, 1));
  WTL_TRY(check_channels(f, f->attr[GROUPS].i[0]));
  f->out[0] = (wtl_shape){ 4, { x->size[0], w->size[0] } };
  for (int k = 2; k < 4; k++) {
    int64_t pad = f->attr[PADDING].i[k - 2];
    f->out[0].size[k] = wtl_window_out(x->size[k], w->size[k], f->attr[STRIDE].i[k - 2], pad,
                                       f->attr[DILATION].i[k - 2]);
    if (f->out[0].size[k] < 1)
      return wtl_fail(f->ctx, WTL_ERR_SHAPE,
                      "conv2d: x is %s, w is %s; with padding [%lld,%lld] and dilation [%lld,%lld] the kernel is "
                      "empty or larger than the image",
                      SHAPE(x), SHAPE(w), (long long)f->attr[PADDING].i[0], (long long)f->attr[PADDING].i[1],
                      (long long)f->attr[DILATION].i[0], (long long)f->attr[DILATION].i[1]);
  }
  return WTL_OK;
}

/* Taps on the padding count too, as everywhere in the literature; the bias is where the sums begin and costs
 * nothing. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  const wtl_shape *w = &f->in[W];
  double taps = (double)w->size[1] * (double)w->size[2] * (double)w->size[3];
  double flops = 2 * (double)wtl_shape_numel(&f->out[0]) * taps;
  double x = wtl_rule_bytes(f, &f->in[X]), y = wtl_rule_bytes(f, &f->out[0]);
  double weights = wtl_rule_bytes(f, w), bias = f->present[B] ? wtl_rule_bytes(f, &f->in[B]) : 0;
  *forward = (wtl_cost){ flops, x + y + weights + bias };
  *backward = (wtl_cost){ 2 * flops, 2 * x + y + 2 * weights + bias };
}

WTL_OP_RULES(conv2d, infer, cost, 1 | 2, 0);
#endif

/* One axis of the image: input i = o*stride - pad + tap*dilation. */
typedef struct axis { int64_t in, out, taps, stride, pad, dilation; } axis;

typedef struct conv {
  int64_t batch, in_ch, out_ch, group_in, group_out; /* channels of a group */
  axis h, w;
  const real *x, *weight, *bias, *dy; /* x (batch,in_ch,h.in,w.in), weight (out_ch,group_in,h.taps,w.taps) */
  real *y, *dx, *dw, *db;             /* y and dy (batch,out_ch,h.out,w.out) */
} conv;

static axis describe_axis(const wtl_call *c, int k) {
  return (axis){ c->in[X].size[2 + k], c->out[0].size[2 + k], c->in[W].size[2 + k],
                 c->attr[STRIDE].i[k], c->attr[PADDING].i[k], c->attr[DILATION].i[k] };
}

static bool pointwise(const axis *a) { return a->taps == 1 && a->stride == 1 && a->pad == 0; }

static conv describe(const wtl_call *c) {
  int64_t groups = c->attr[GROUPS].i[0];
  conv v = { .batch = c->in[X].size[0], .in_ch = c->in[X].size[1] };
  v.out_ch = c->in[W].size[0];
  v.group_in = c->in[W].size[1];
  v.group_out = v.out_ch / groups;
  v.h = describe_axis(c, 0);
  v.w = describe_axis(c, 1);
  if (pointwise(&v.h) && pointwise(&v.w)) { /* 1x1: a plane is one long row */
    v.w.in = v.w.out = v.h.in * v.w.in;
    v.h.in = v.h.out = 1;
  }
  v.x = c->in[X].data, v.weight = c->in[W].data, v.bias = c->in[B].data, v.dy = c->dout[0].data;
  v.y = c->out[0].data, v.dx = c->din[X].data, v.dw = c->din[W].data, v.db = c->din[B].data;
  return v;
}

/* Outputs [*begin, *end) whose tap lies inside the image; returns the input position of output 0 (may be
 * negative). */
static int64_t valid(const axis *a, int64_t tap, int64_t *begin, int64_t *end) {
  int64_t first = tap * a->dilation - a->pad;
  *begin = first >= 0 ? 0 : (-first + a->stride - 1) / a->stride;
  *end = first >= a->in ? 0 : (a->in - 1 - first) / a->stride + 1;
  if (*end > a->out) *end = a->out;
  return first;
}

/* y[k] += a * x[k*s] */
static void gather(real *restrict y, real a, const real *restrict x, int64_t s, int64_t n) {
  if (s == 1) span_axpy(y, a, x, n);
  else
    for (int64_t k = 0; k < n; k++) y[k] += a * x[k * s];
}

/* x[k*s] += a * y[k] */
static void scatter(real *restrict x, real a, const real *restrict y, int64_t s, int64_t n) {
  if (s == 1) span_axpy(x, a, y, n);
  else
    for (int64_t k = 0; k < n; k++) x[k * s] += a * y[k];
}

/* sum y[k] * x[k*s] */
static real product(const real *y, const real *x, int64_t s, int64_t n) {
  if (s == 1) return span_dot(y, x, n);
  real sum = 0;
  for (int64_t k = 0; k < n; k++) sum += y[k] * x[k * s];
  return sum;
}

/* What one input plane x with kernel plane w adds to output plane y. */
static void forward_plane(const conv *v, real *y, const real *x, const real *w) {
  int64_t i0, i1, j0, j1;
  for (int64_t u = 0; u < v->h.taps; u++) {
    int64_t top = valid(&v->h, u, &i0, &i1);
    for (int64_t t = 0; t < v->w.taps; t++) {
      int64_t left = valid(&v->w, t, &j0, &j1);
      if (j0 >= j1) continue;
      for (int64_t i = i0; i < i1; i++)
        gather(y + i * v->w.out + j0, w[u * v->w.taps + t],
               x + (top + i * v->h.stride) * v->w.in + left + j0 * v->w.stride, v->w.stride, j1 - j0);
    }
  }
}

/* One unit of work is one output plane. */
static void forward_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const conv *v = arg;
  int64_t in_plane = v->h.in * v->w.in, out_plane = v->h.out * v->w.out, taps = v->h.taps * v->w.taps;
  (void)thread;
  for (int64_t p = begin; p < end; p++) {
    int64_t n = p / v->out_ch, o = p % v->out_ch, first = o / v->group_out * v->group_in;
    real *y = v->y + p * out_plane, b = v->bias ? v->bias[o] : 0;
    for (int64_t k = 0; k < out_plane; k++) y[k] = b;
    for (int64_t c = 0; c < v->group_in; c++)
      forward_plane(v, y, v->x + (n * v->in_ch + first + c) * in_plane, v->weight + (o * v->group_in + c) * taps);
  }
}

static wtl_status forward(wtl_call *c) {
  conv v = describe(c);
  int64_t each = v.h.out * v.w.out * v.group_in * v.h.taps * v.w.taps;
  wtl_parallel(c->ctx, v.batch * v.out_ch, span_grain(each), forward_planes, &v);
  return WTL_OK;
}

static void dx_plane(const conv *v, real *dx, const real *dy, const real *w) {
  int64_t i0, i1, j0, j1;
  for (int64_t u = 0; u < v->h.taps; u++) {
    int64_t top = valid(&v->h, u, &i0, &i1);
    for (int64_t t = 0; t < v->w.taps; t++) {
      int64_t left = valid(&v->w, t, &j0, &j1);
      if (j0 >= j1) continue;
      for (int64_t i = i0; i < i1; i++)
        scatter(dx + (top + i * v->h.stride) * v->w.in + left + j0 * v->w.stride, w[u * v->w.taps + t],
                dy + i * v->w.out + j0, v->w.stride, j1 - j0);
    }
  }
}

/* One unit of work is one input plane. */
static void dx_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const conv *v = arg;
  int64_t in_plane = v->h.in * v->w.in, out_plane = v->h.out * v->w.out, taps = v->h.taps * v->w.taps;
  (void)thread;
  for (int64_t p = begin; p < end; p++) {
    int64_t n = p / v->in_ch, g = p % v->in_ch / v->group_in, c = p % v->group_in;
    real *dx = v->dx + p * in_plane;
    memset(dx, 0, (size_t)in_plane * sizeof *dx);
    for (int64_t o = g * v->group_out; o < (g + 1) * v->group_out; o++)
      dx_plane(v, dx, v->dy + (n * v->out_ch + o) * out_plane, v->weight + (o * v->group_in + c) * taps);
  }
}

/* One unit of work is one kernel plane; each tap sums over batch and plane, rows in double. */
static void dw_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const conv *v = arg;
  int64_t in_plane = v->h.in * v->w.in, out_plane = v->h.out * v->w.out, taps = v->h.taps * v->w.taps;
  int64_t i0, i1, j0, j1;
  (void)thread;
  for (int64_t p = begin; p < end; p++) {
    int64_t o = p / v->group_in, c = o / v->group_out * v->group_in + p % v->group_in;
    for (int64_t tap = 0; tap < taps; tap++) {
      int64_t top = valid(&v->h, tap / v->w.taps, &i0, &i1), left = valid(&v->w, tap % v->w.taps, &j0, &j1);
      double sum = 0;
      for (int64_t n = 0; n < v->batch && j0 < j1; n++) {
        const real *dy = v->dy + (n * v->out_ch + o) * out_plane, *x = v->x + (n * v->in_ch + c) * in_plane;
        for (int64_t i = i0; i < i1; i++)
          sum += (double)product(dy + i * v->w.out + j0,
                                 x + (top + i * v->h.stride) * v->w.in + left + j0 * v->w.stride, v->w.stride,
                                 j1 - j0);
      }
      v->dw[p * taps + tap] = (real)sum;
    }
  }
}

static void db_channels(void *arg, int64_t begin, int64_t end, int thread) {
  const conv *v = arg;
  int64_t plane = v->h.out * v->w.out;
  (void)thread;
  for (int64_t o = begin; o < end; o++) {
    double sum = 0;
    for (int64_t n = 0; n < v->batch; n++) sum += span_sum(v->dy + (n * v->out_ch + o) * plane, plane);
    v->db[o] = (real)sum;
  }
}

static wtl_status backward(wtl_call *c) {
  conv v = describe(c);
  int64_t out_plane = v.h.out * v.w.out, taps = v.h.taps * v.w.taps;
  if (v.dx) wtl_parallel(c->ctx, v.batch * v.in_ch, span_grain(out_plane * taps * v.group_out), dx_planes, &v);
  if (v.dw) wtl_parallel(c->ctx, v.out_ch * v.group_in, span_grain(out_plane * taps * v.batch), dw_planes, &v);
  if (v.db) wtl_parallel(c->ctx, v.out_ch, span_grain(out_plane * v.batch), db_channels, &v);
  return WTL_OK;
}

WTL_OP_KERNELS(conv2d, forward, backward, NULL);
