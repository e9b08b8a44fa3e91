/* The gradient check: an op's vector-Jacobian product against central differences in f64. The output is projected
 * on random vectors r; the differences are taken of out(x+h) - out(x-h) element by element before the projection,
 * so that outputs which do not move add no rounding. */
#include <math.h>

#include "tensor.h"
#include "op.h"

enum { PROJECTIONS = 3 };

typedef struct check {
  wtl_ctx *ctx;
  const wtl_op *op;
  const wtl_attr *attr;
  int n_in;
  const bool *want;
  double eps;
  uint64_t runs;                                /* random ops draw the same in every run */
  wtl_tensor *in[WTL_MAX_IN];                   /* contiguous copies, moved one element at a time */
  wtl_tensor *r[PROJECTIONS][WTL_MAX_OUT];
  wtl_tensor *analytic[PROJECTIONS][WTL_MAX_IN];
  double *numeric[WTL_MAX_IN];                  /* [PROJECTIONS][numel] */
} check;

static wtl_status copy_inputs(check *k, wtl_tensor *const in[]) {
  for (int i = 0; i < k->n_in; i++) {
    if (!in[i]) continue;
    if (in[i]->dtype != WTL_F64 && in[i]->dtype != WTL_I64)
      return wtl_fail(k->ctx, WTL_ERR_DTYPE, "gradcheck: input %d of %s is %s; it works in f64", i, k->op->name,
                      wtl_dtype_name(in[i]->dtype));
    WTL_TRY(wtl_tensor_clone(in[i], &k->in[i]));
  }
  return WTL_OK;
}

static wtl_status run(check *k, wtl_tensor *out[WTL_MAX_OUT]) {
  wtl_random_of(k->ctx)->runs = k->runs;
  return wtl_op_run(k->ctx, k->op, k->attr, k->in, k->n_in, out);
}

static void release_all(wtl_tensor **t, int n) {
  for (int i = 0; i < n; i++) wtl_tensor_release(t[i]), t[i] = NULL;
}

/* Random r of the outputs' shapes, and the products to be checked. */
static wtl_status project(check *k) {
  wtl_tensor *out[WTL_MAX_OUT] = { NULL };
  WTL_TRY(run(k, out));
  wtl_status s = WTL_OK;
  for (int p = 0; p < PROJECTIONS && s == WTL_OK; p++) {
    wtl_rng rng = wtl_rng_make(0, "gradcheck", k->op->name, (uint64_t)p);
    for (int j = 0; j < k->op->n_out && s == WTL_OK; j++) {
      s = wtl_tensor_create(k->ctx, WTL_F64, wtl_tensor_shape(out[j]), &k->r[p][j]);
      if (s == WTL_OK) s = wtl_tensor_normal(k->r[p][j], &rng, 0, 1);
    }
    if (s == WTL_OK) s = wtl_op_vjp(k->ctx, k->op, k->attr, k->in, k->n_in, k->r[p], k->want, k->analytic[p]);
  }
  release_all(out, WTL_MAX_OUT);
  return s;
}

/* d(sum r*out)/d in[i][at] for every projection. */
static wtl_status difference(check *k, int i, int64_t at) {
  wtl_tensor *up[WTL_MAX_OUT] = { NULL }, *down[WTL_MAX_OUT] = { NULL };
  double *x = wtl_tensor_data(k->in[i]), before = x[at];
  int64_t n = wtl_tensor_numel(k->in[i]);
  x[at] = before + k->eps;
  double high = x[at];
  wtl_status s = run(k, up);
  x[at] = before - k->eps;
  double low = x[at];
  if (s == WTL_OK) s = run(k, down);
  x[at] = before;
  for (int p = 0; p < PROJECTIONS && s == WTL_OK; p++) {
    double sum = 0;
    for (int j = 0; j < k->op->n_out; j++) {
      const double *r = wtl_tensor_cdata(k->r[p][j]), *u = wtl_tensor_cdata(up[j]), *d = wtl_tensor_cdata(down[j]);
      for (int64_t e = 0; e < wtl_tensor_numel(up[j]); e++) sum += r[e] * (u[e] - d[e]);
    }
    k->numeric[i][p * n + at] = sum / (high - low);
  }
  release_all(up, WTL_MAX_OUT);
  release_all(down, WTL_MAX_OUT);
  return s;
}

static double norm(const double *x, int64_t n) {
  double sum = 0;
  for (int64_t e = 0; e < n; e++) sum += x[e] * x[e];
  return sqrt(sum);
}

/* The largest relative error over inputs and projections; a denominator is at least 1e-6 of the whole gradient's
 * norm. */
static double worst_error(const check *k) {
  double worst = 0;
  for (int p = 0; p < PROJECTIONS; p++) {
    double whole = 0;
    for (int i = 0; i < k->n_in; i++)
      if (k->want[i]) {
        int64_t n = wtl_tensor_numel(k->in[i]);
        whole = hypot(whole, norm(k->numeric[i] + p * n, n));
      }
    for (int i = 0; i < k->n_in; i++) {
      if (!k->want[i]) continue;
      int64_t n = wtl_tensor_numel(k->in[i]);
      const double *a = wtl_tensor_cdata(k->analytic[p][i]), *b = k->numeric[i] + p * n;
      double off = 0, size = norm(b, n);
      for (int64_t e = 0; e < n; e++) off += (a[e] - b[e]) * (a[e] - b[e]);
      off = sqrt(off);
      if (size < 1e-6 * whole) size = 1e-6 * whole;
      double error = off == 0 ? 0 : off / size; /* against a zero gradient: infinite */
      if (!(error <= worst)) worst = error;     /* NaN counts as worst */
    }
  }
  return worst;
}

static wtl_status compare(check *k, wtl_tensor *const in[], double *worst) {
  WTL_TRY(copy_inputs(k, in));
  WTL_TRY(project(k));
  for (int i = 0; i < k->n_in; i++) {
    if (!k->want[i]) continue;
    int64_t n = wtl_tensor_numel(k->in[i]);
    k->numeric[i] = wtl_calloc(k->ctx, (size_t)n * PROJECTIONS + 1, sizeof(double));
    if (!k->numeric[i]) return WTL_ERR_MEMORY;
    for (int64_t at = 0; at < n; at++) WTL_TRY(difference(k, i, at));
  }
  *worst = worst_error(k);
  return WTL_OK;
}

wtl_status wtl_op_gradcheck(wtl_ctx *ctx, const wtl_op *op, const wtl_attr attrs[WTL_MAX_ATTRS],
                            wtl_tensor *const in[], int n_in, const bool want[], double eps, double *worst) {
  check k = { .ctx = ctx, .op = op, .attr = attrs, .n_in = n_in, .want = want, .eps = eps,
              .runs = wtl_random_of(ctx)->runs };
  if (n_in < 0 || n_in > WTL_MAX_IN)
    return wtl_fail(ctx, WTL_ERR_ARG, "gradcheck: %s has no %d inputs", op->name, n_in);
  if (!(eps > 0)) return wtl_fail(ctx, WTL_ERR_ARG, "gradcheck: eps is %g; it must be positive", eps);
  wtl_status s = compare(&k, in, worst);
  release_all(k.in, WTL_MAX_IN);
  for (int p = 0; p < PROJECTIONS; p++) release_all(k.r[p], WTL_MAX_OUT), release_all(k.analytic[p], WTL_MAX_IN);
  for (int i = 0; i < WTL_MAX_IN; i++) wtl_free(ctx, k.numeric[i]);
  return s;
}
