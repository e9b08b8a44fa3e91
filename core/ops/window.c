/* window.h's rules and means. One unit of work is a plane, so that windows that overlap are summed by one thread
 * in one order. */
#include "real.h"
#include "span.h"
#include "window.h"

#if WTL_ONCE
/* Positions of a window along one axis. ceil_mode: the last one may reach over the edge, but begins inside the image or the
 * padding before it. */
static int64_t positions(int64_t n, int64_t kernel, int64_t stride, int64_t pad, bool ceil_mode) {
  if (!ceil_mode) return wtl_window_out(n, kernel, stride, pad, 1);
  int64_t room = n + 2 * pad - kernel + stride - 1;
  int64_t out = room < 0 ? 0 : room / stride + 1;
  return out > 0 && (out - 1) * stride >= n + pad ? out - 1 : out;
}

wtl_status wtl_rule_windows(wtl_infer *f) {
  const wtl_shape *x = &f->in[0];
  const char *op = f->op->name;
  WTL_TRY(wtl_rule_image(f));
  WTL_TRY(wtl_rule_range(f, 0, 1));
  WTL_TRY(wtl_rule_range(f, 1, 0));
  WTL_TRY(wtl_rule_range(f, 2, 0));
  const int64_t *kernel = f->attr[0].i, *pad = f->attr[2].i;
  bool ceil_mode = f->attr[f->op->n_attr - 1].i[0];
  f->out[0] = *x;
  for (int k = 0; k < 2; k++) {
    int64_t stride = f->attr[1].i[k] ? f->attr[1].i[k] : kernel[k];
    if (pad[k] > kernel[k] / 2) /* else a window could lie in the padding altogether */
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "%s: padding is [%lld,%lld], kernel_size is [%lld,%lld]; "
                      "padding must be at most half of it", op,
                      (long long)pad[0], (long long)pad[1], (long long)kernel[0], (long long)kernel[1]);
    f->out[0].size[2 + k] = positions(x->size[2 + k], kernel[k], stride, pad[k], ceil_mode);
    if (f->out[0].size[2 + k] < 1 || x->size[2 + k] < 1)
      return wtl_fail(f->ctx, WTL_ERR_SHAPE,
                      "%s: x is %s, kernel_size is [%lld,%lld], padding is [%lld,%lld]; the window is "
                      "larger than the image", op,
                      SHAPE(x), (long long)kernel[0], (long long)kernel[1], (long long)pad[0], (long long)pad[1]);
  }
  return WTL_OK;
}

wtl_status wtl_rule_adaptive(wtl_infer *f) {
  const wtl_shape *x = &f->in[0];
  WTL_TRY(wtl_rule_image(f));
  WTL_TRY(wtl_rule_range(f, 0, 1));
  if (x->size[2] < 1 || x->size[3] < 1 || x->size[2] > INT32_MAX || x->size[3] > INT32_MAX)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "%s: x is %s; its planes must have 1 to 2^31-1 rows and columns",
                    f->op->name, SHAPE(x));
  f->out[0] = (wtl_shape){ 4, { x->size[0], x->size[1], f->attr[0].i[0], f->attr[0].i[1] } };
  return WTL_OK;
}

wtl_window wtl_window_of(const wtl_call *c, int axis) {
  const wtl_attr *a = c->attr;
  return (wtl_window){ c->in[0].size[2 + axis], c->out[0].size[2 + axis], a[0].i[axis],
                       a[1].i[axis] ? a[1].i[axis] : a[0].i[axis], a[2].i[axis] };
}

wtl_window wtl_window_adaptive(const wtl_call *c, int axis) {
  return (wtl_window){ .in = c->in[0].size[2 + axis], .out = c->out[0].size[2 + axis] };
}
#endif

typedef struct mean_job { const wtl_window *h, *w; bool whole; const real *from; real *to; } mean_job;

/* How many positions of window o count: all in the padded image, or those in the image. */
static int64_t counted(const wtl_window *a, bool whole, int64_t o, int64_t inside) {
  int64_t left = a->in + 2 * a->pad - o * a->stride;
  if (!whole) return inside;
  return left < a->kernel ? left : a->kernel;
}

/* What the sum of window (i,k) is divided by. */
static double divisor(const mean_job *j, int64_t i, int64_t k, int64_t rows, int64_t columns) {
  return (double)counted(j->h, j->whole, i, rows) * (double)counted(j->w, j->whole, k, columns);
}

static void forward_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const mean_job *j = arg;
  const wtl_window *h = j->h, *w = j->w;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    const real *x = j->from + u * h->in * w->in;
    real *y = j->to + u * h->out * w->out;
    for (int64_t i = 0; i < h->out; i++)
      for (int64_t k = 0; k < w->out; k++) {
        int64_t i0, i1, k0, k1;
        double sum = 0;
        wtl_window_range(h, i, &i0, &i1);
        wtl_window_range(w, k, &k0, &k1);
        for (int64_t r = i0; r < i1; r++) sum += span_sum(x + r * w->in + k0, k1 - k0);
        *y++ = (real)(sum / divisor(j, i, k, i1 - i0, k1 - k0));
      }
  }
}

static void backward_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const mean_job *j = arg;
  const wtl_window *h = j->h, *w = j->w;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    const real *dy = j->from + u * h->out * w->out;
    real *dx = j->to + u * h->in * w->in;
    memset(dx, 0, (size_t)(h->in * w->in) * sizeof *dx);
    for (int64_t i = 0; i < h->out; i++)
      for (int64_t k = 0; k < w->out; k++) {
        int64_t i0, i1, k0, k1;
        wtl_window_range(h, i, &i0, &i1);
        wtl_window_range(w, k, &k0, &k1);
        real g = (real)((double)*dy++ / divisor(j, i, k, i1 - i0, k1 - k0));
        for (int64_t r = i0; r < i1; r++)
          for (int64_t c = k0; c < k1; c++) dx[r * w->in + c] += g;
      }
  }
}

void REAL(wtl_window_mean)(wtl_ctx *ctx, const wtl_window w[2], bool whole, int64_t planes, const real *x,
                           real *y) {
  mean_job j = { &w[0], &w[1], whole, x, y };
  wtl_parallel(ctx, planes, 1, forward_planes, &j);
}

void REAL(wtl_window_mean_back)(wtl_ctx *ctx, const wtl_window w[2], bool whole, int64_t planes, const real *dy,
                                real *dx) {
  mean_job j = { &w[0], &w[1], whole, dy, dx };
  wtl_parallel(ctx, planes, 1, backward_planes, &j);
}
