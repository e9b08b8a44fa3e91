/* layer_norm: normalization over the last dims, each row on its own. Row in ops.def. saved: each row's mean and
 * 1/sqrt(var+eps). Sums are kept in double; the variance takes a second pass, since one pass would cancel. The
 * gradients of w and b are summed over blocks of rows whose number depends on the shape alone, then over the blocks in
 * order, so that any number of threads gives the same bits. */
#include "real.h"
#include "rules.h"
#include "span.h"

enum { X, W, B };    /* inputs */
enum { DIMS, EPS };  /* attributes */
enum { MOST_BLOCKS = 32, LEAST_ROWS = 4 }; /* rows in a block, so that the partial sums stay smaller than x */

/* x as rows of n elements. */
typedef struct norm_shape { int64_t rows, n, blocks; } norm_shape;

static norm_shape shape_of(const int64_t *size, int ndim, int64_t dims) {
  norm_shape s = { 1, 1, 1 };
  for (int k = 0; k < ndim; k++) *(k < ndim - dims ? &s.rows : &s.n) *= size[k];
  s.blocks = s.rows / LEAST_ROWS < 1 ? 1 : s.rows / LEAST_ROWS > MOST_BLOCKS ? MOST_BLOCKS : s.rows / LEAST_ROWS;
  return s;
}

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *x = &f->in[X];
  int64_t dims = f->attr[DIMS].i[0];
  double eps = f->attr[EPS].f;
  if (dims < 1 || dims > x->ndim)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "layer_norm: x is %s, dims is %lld; it must be in 1..%d", SHAPE(x),
                    (long long)dims, x->ndim);
  if (eps < 0) return wtl_fail(f->ctx, WTL_ERR_ARG, "layer_norm: eps is %g; it must be at least 0", eps);
  wtl_shape last = { .ndim = (int)dims };
  for (int k = 0; k < last.ndim; k++) last.size[k] = x->size[x->ndim - last.ndim + k];
  for (int k = W; k <= B; k++)
    if (f->present[k] && !wtl_shape_equal(&f->in[k], &last))
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "layer_norm: x is %s, dims is %lld, %s is %s; it must be %s", SHAPE(x),
                      (long long)dims, f->op->in_name[k], SHAPE(&f->in[k]), SHAPE(&last));
  norm_shape s = shape_of(x->size, x->ndim, dims);
  f->out[0] = *x;
  f->saved_bytes = 2 * (size_t)s.rows * wtl_dtype_size(f->real);
  f->scratch_bytes = 2 * (size_t)(s.blocks * s.n) * sizeof(double);
  return WTL_OK;
}

/* Per element: forward 1 for the mean, 3 for the variance, 4 to write; backward 1 for dy*w, 3 for two sums, 4 for dx and
 * 3 for the sums of dw and db. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->in[X]), x = wtl_rule_bytes(f, &f->in[X]);
  norm_shape s = shape_of(f->in[X].size, f->in[X].ndim, f->attr[DIMS].i[0]);
  double last = (double)s.n * (double)wtl_dtype_size(f->real); /* of w, b and their gradients */
  *forward = (wtl_cost){ 8 * n, 2 * x + 2 * last };
  *backward = (wtl_cost){ 11 * n, 3 * x + 3 * last };
}

WTL_OP_RULES(layer_norm, infer, cost, 1u << X | 1u << W, 0);
#endif

static norm_shape shape_of_call(const wtl_call *c) { return shape_of(c->in[X].size, c->in[X].ndim, c->attr[DIMS].i[0]); }

/* y = (x-mean)*inv_std*w + b; w and b may be absent. */
static void write_row(real *y, const real *x, real mean, real inv_std, const real *w, const real *b, int64_t n) {
  if (w && b)
    for (int64_t k = 0; k < n; k++) y[k] = (x[k] - mean) * inv_std * w[k] + b[k];
  else if (w)
    for (int64_t k = 0; k < n; k++) y[k] = (x[k] - mean) * inv_std * w[k];
  else if (b)
    for (int64_t k = 0; k < n; k++) y[k] = (x[k] - mean) * inv_std + b[k];
  else
    for (int64_t k = 0; k < n; k++) y[k] = (x[k] - mean) * inv_std;
}

static void forward_rows(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  norm_shape s = shape_of_call(c);
  real *saved = c->saved;
  (void)thread;
  for (int64_t r = begin; r < end; r++) {
    const real *x = (const real *)c->in[X].data + r * s.n;
    double mean = span_sum(x, s.n) / (double)s.n;
    double variance = span_squares(x, mean, s.n) / (double)s.n;
    real inv_std = (real)(1 / sqrt(variance + c->attr[EPS].f));
    write_row((real *)c->out[0].data + r * s.n, x, (real)mean, inv_std, c->in[W].data, c->in[B].data, s.n);
    if (saved) saved[2 * r] = (real)mean, saved[2 * r + 1] = inv_std;
  }
}

static wtl_status forward(wtl_call *c) {
  norm_shape s = shape_of_call(c);
  if (s.n > 0) wtl_parallel(c->ctx, s.rows, span_grain(8 * s.n), forward_rows, c);
  return WTL_OK;
}

/* With h = (x-mean)*inv_std, g = dy*w and means over the row: dx = inv_std*(g - mean(g) - h*mean(g*h)). */
static void row_dx(real *dx, const real *dy, const real *x, const real *w, real mean, real inv_std, int64_t n) {
  double sum, product; /* of g, of g*(x-mean) */
  if (w) {
    for (int64_t k = 0; k < n; k++) dx[k] = dy[k] * w[k];
    dy = dx;
  }
  sum = span_sum(dy, n);
  product = span_covariance(dy, x, (double)mean, n);
  real mean_g = (real)(sum / (double)n);
  real slope = (real)(product / (double)n * (double)inv_std * (double)inv_std);
  for (int64_t k = 0; k < n; k++) dx[k] = inv_std * (dy[k] - mean_g - (x[k] - mean) * slope);
}

/* dw += dy*h, db += dy */
static void row_sums(double *restrict dw, double *restrict db, const real *dy, const real *x, real mean, real inv_std,
                     int64_t n) {
  for (int64_t k = 0; k < n; k++) dw[k] += (double)(dy[k] * ((x[k] - mean) * inv_std));
  for (int64_t k = 0; k < n; k++) db[k] += (double)dy[k];
}

static void backward_blocks(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  norm_shape s = shape_of_call(c);
  const real *saved = c->saved;
  bool sums = c->din[W].data || c->din[B].data;
  (void)thread;
  for (int64_t block = begin; block < end; block++) {
    double *dw = (double *)c->scratch + 2 * block * s.n, *db = dw + s.n;
    if (sums) memset(dw, 0, 2 * (size_t)s.n * sizeof *dw);
    for (int64_t r = s.rows * block / s.blocks; r < s.rows * (block + 1) / s.blocks; r++) {
      const real *x = (const real *)c->in[X].data + r * s.n, *dy = (const real *)c->dout[0].data + r * s.n;
      real mean = saved[2 * r], inv_std = saved[2 * r + 1], *dx = c->din[X].data;
      if (sums) row_sums(dw, db, dy, x, mean, inv_std, s.n);
      if (dx) row_dx(dx + r * s.n, dy, x, c->in[W].data, mean, inv_std, s.n);
    }
  }
}

static void add_blocks(const wtl_call *c, const norm_shape *s) {
  real *dw = c->din[W].data, *db = c->din[B].data;
  for (int64_t k = 0; k < s->n; k++) {
    double w = 0, b = 0;
    for (int64_t block = 0; block < s->blocks; block++) {
      const double *part = (const double *)c->scratch + 2 * block * s->n;
      w += part[k];
      b += part[s->n + k];
    }
    if (dw) dw[k] = (real)w;
    if (db) db[k] = (real)b;
  }
}

static wtl_status backward(wtl_call *c) {
  norm_shape s = shape_of_call(c);
  if (s.n == 0) return WTL_OK;
  wtl_parallel(c->ctx, s.blocks, 1, backward_blocks, c);
  if (c->din[W].data || c->din[B].data) add_blocks(c, &s);
  return WTL_OK;
}

WTL_OP_KERNELS(layer_norm, forward, backward, NULL);
