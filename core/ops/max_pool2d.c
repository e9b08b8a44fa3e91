/* max_pool2d: maximum over windows. Row in ops.def. saved: the place of each maximum in its plane, int32. */
#include "real.h"
#include "window.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *x = &f->in[0];
  WTL_TRY(wtl_rule_windows(f));
  if ((double)x->size[2] * (double)x->size[3] > INT32_MAX)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "max_pool2d: x is %s; a plane may have 2^31-1 elements at most",
                    SHAPE(x));
  f->saved_bytes = (size_t)wtl_shape_numel(&f->out[0]) * sizeof(int32_t);
  f->scratch_bytes = f->saved_bytes; /* used where nothing is saved */
  return WTL_OK;
}

/* A comparison counts as one operation. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->out[0]), window = (double)f->attr[0].i[0] * (double)f->attr[0].i[1];
  double bytes = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->out[0]) + n * sizeof(int32_t);
  *forward = (wtl_cost){ n * window, bytes };
  *backward = (wtl_cost){ n, bytes };
}

WTL_OP_RULES(max_pool2d, infer, cost, 0, 0);
#endif

typedef struct pool {
  const wtl_call *c;
  int64_t height, width, out_height, out_width, kernel[2], stride[2], pad[2];
} pool;

static pool describe(const wtl_call *c) {
  pool p = { c, c->in[0].size[2], c->in[0].size[3], c->out[0].size[2], c->out[0].size[3], { 0 }, { 0 }, { 0 } };
  for (int k = 0; k < 2; k++) {
    p.kernel[k] = c->attr[0].i[k];
    p.stride[k] = c->attr[1].i[k] ? c->attr[1].i[k] : p.kernel[k];
    p.pad[k] = c->attr[2].i[k];
  }
  return p;
}

/* Outputs [*begin, *end) whose tap lies in 0..n-1; returns the input position of output 0 (may be negative). */
static int64_t valid(const pool *p, int axis, int64_t tap, int64_t n, int64_t out, int64_t *begin, int64_t *end) {
  int64_t first = tap - p->pad[axis], stride = p->stride[axis];
  *begin = first >= 0 ? 0 : (-first + stride - 1) / stride;
  *end = first >= n ? 0 : (n - 1 - first) / stride + 1;
  if (*end > out) *end = out;
  return first;
}

/* Taps outside [first, last) lie in the padding of every window: a kernel may be far larger than the image. */
static int64_t first_tap(const pool *p, int axis, int64_t out) {
  int64_t tap = p->pad[axis] - (out - 1) * p->stride[axis];
  return tap > 0 ? tap : 0;
}

static int64_t last_tap(const pool *p, int axis, int64_t n) {
  int64_t tap = p->pad[axis] + n;
  return tap < p->kernel[axis] ? tap : p->kernel[axis];
}

/* A row of windows meets one more row of taps: x (every stride-th) against the maxima so far; `place` is x's in
 * its plane. NaN wins, as in PyTorch. */
static void take_row(real *y, int32_t *at, const real *x, int32_t place, int32_t stride, int64_t n) {
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real v = x[k * stride];
    int32_t here = place + (int32_t)k * stride;
    bool take = (v > y[k]) | (v != v);
    y[k] = take ? v : y[k];
    at[k] = take ? here : at[k];
  }
}

/* Tap by tap in row-major order, so that the first of equals stays. */
static void forward_plane(const pool *p, real *y, int32_t *at, const real *x) {
  int64_t i0, i1, j0, j1;
  /* The first tap of a window is its maximum so far, whatever it is. */
  for (int64_t i = 0, o = 0; i < p->out_height; i++) {
    int64_t h = i * p->stride[0] - p->pad[0];
    for (int64_t j = 0; j < p->out_width; j++, o++) {
      int64_t w = j * p->stride[1] - p->pad[1];
      at[o] = (int32_t)((h < 0 ? 0 : h) * p->width + (w < 0 ? 0 : w));
      y[o] = x[at[o]];
    }
  }
  for (int64_t u = first_tap(p, 0, p->out_height); u < last_tap(p, 0, p->height); u++) {
    int64_t top = valid(p, 0, u, p->height, p->out_height, &i0, &i1);
    for (int64_t t = first_tap(p, 1, p->out_width); t < last_tap(p, 1, p->width); t++) {
      int64_t left = valid(p, 1, t, p->width, p->out_width, &j0, &j1);
      for (int64_t i = i0; i < i1; i++) {
        int64_t place = (top + i * p->stride[0]) * p->width + left + j0 * p->stride[1];
        take_row(y + i * p->out_width + j0, at + i * p->out_width + j0, x + place, (int32_t)place,
                 (int32_t)p->stride[1], j1 - j0);
      }
    }
  }
}

/* One unit of work is one plane. */
static void forward_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const pool *p = arg;
  int64_t plane = p->height * p->width, out_plane = p->out_height * p->out_width;
  int32_t *at = p->c->saved ? p->c->saved : p->c->scratch;
  (void)thread;
  for (int64_t u = begin; u < end; u++)
    forward_plane(p, (real *)p->c->out[0].data + u * out_plane, at + u * out_plane,
                  (const real *)p->c->in[0].data + u * plane);
}

static wtl_status forward(wtl_call *c) {
  pool p = describe(c);
  wtl_parallel(c->ctx, c->in[0].size[0] * c->in[0].size[1], 1, forward_planes, &p);
  return WTL_OK;
}

static void backward_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const pool *p = arg;
  int64_t plane = p->height * p->width, out_plane = p->out_height * p->out_width;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    const real *dy = (const real *)p->c->dout[0].data + u * out_plane;
    const int32_t *at = (const int32_t *)p->c->saved + u * out_plane;
    real *dx = (real *)p->c->din[0].data + u * plane;
    memset(dx, 0, (size_t)plane * sizeof *dx);
    for (int64_t o = 0; o < out_plane; o++) dx[at[o]] += dy[o];
  }
}

static wtl_status backward(wtl_call *c) {
  pool p = describe(c);
  wtl_parallel(c->ctx, c->in[0].size[0] * c->in[0].size[1], 1, backward_planes, &p);
  return WTL_OK;
}

WTL_OP_KERNELS(max_pool2d, forward, backward, NULL);
