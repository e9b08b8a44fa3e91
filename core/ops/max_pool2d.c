/* max_pool2d: maximum over windows. Row in ops.def. saved: the place of each maximum in its plane, int32. */
#include "real.h"
#include "rules.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *x = &f->in[0];
  WTL_TRY(wtl_rule_image(f));
  WTL_TRY(wtl_rule_range(f, 0, 1));
  WTL_TRY(wtl_rule_range(f, 1, 0));
  WTL_TRY(wtl_rule_range(f, 2, 0));
  const int64_t *kernel = f->attr[0].i, *pad = f->attr[2].i;
  f->out[0] = *x;
  for (int k = 0; k < 2; k++) {
    int64_t stride = f->attr[1].i[k] ? f->attr[1].i[k] : kernel[k];
    if (pad[k] > kernel[k] / 2) /* else a window could lie in the padding altogether */
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "max_pool2d: padding is [%lld,%lld], kernel_size is [%lld,%lld]; padding must be at most half of it",
                      (long long)pad[0], (long long)pad[1], (long long)kernel[0], (long long)kernel[1]);
    f->out[0].size[2 + k] = wtl_window_out(x->size[2 + k], kernel[k], stride, pad[k], 1);
    if (f->out[0].size[2 + k] < 1 || x->size[2 + k] < 1)
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "max_pool2d: x is %s, kernel_size is [%lld,%lld], padding is [%lld,%lld]; the window is larger than the image",
                      SHAPE(x), (long long)kernel[0], (long long)kernel[1], (long long)pad[0], (long long)pad[1]);
  }
  if ((double)x->size[2] * (double)x->size[3] > INT32_MAX)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "max_pool2d: x is %s; a plane may have 2^31-1 elements at most", SHAPE(x));
  f->saved_bytes = (size_t)wtl_shape_numel(&f->out[0]) * sizeof(int32_t);
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

/* The part of window o that lies in 0..n-1. */
static void window(const pool *p, int axis, int64_t o, int64_t n, int64_t *begin, int64_t *end) {
  *begin = o * p->stride[axis] - p->pad[axis];
  *end = *begin + p->kernel[axis] < n ? *begin + p->kernel[axis] : n;
  if (*begin < 0) *begin = 0;
}

/* One unit of work is one plane. */
static void forward_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const pool *p = arg;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    const real *x = (const real *)p->c->in[0].data + u * p->height * p->width;
    real *y = (real *)p->c->out[0].data + u * p->out_height * p->out_width;
    int32_t *at = p->c->saved ? (int32_t *)p->c->saved + u * p->out_height * p->out_width : NULL;
    for (int64_t i = 0, o = 0; i < p->out_height; i++) {
      int64_t i0, i1, j0, j1;
      window(p, 0, i, p->height, &i0, &i1);
      for (int64_t j = 0; j < p->out_width; j++, o++) {
        window(p, 1, j, p->width, &j0, &j1);
        int64_t best = i0 * p->width + j0;
        real max = x[best];
        for (int64_t h = i0; h < i1; h++)
          for (int64_t k = h * p->width + j0; k < h * p->width + j1; k++)
            if (x[k] > max || isnan(x[k])) max = x[k], best = k; /* NaN wins, as in PyTorch */
        y[o] = max;
        if (at) at[o] = (int32_t)best;
      }
    }
  }
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
