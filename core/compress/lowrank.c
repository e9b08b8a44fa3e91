/* Low rank: a matrix becomes the product of two by a truncated singular value decomposition (LAPACK's dgesdd). Always in
 * double: the rank then does not hang on the rounding of small singular values. */
#include <cblas.h>
#include <math.h>
#include <string.h>

#include "base.h"
#include "tensor.h"

/* OpenBLAS exports LAPACK's Fortran symbols; the last argument is the hidden length of `jobz`. */
void dgesdd_(const char *jobz, const int *m, const int *n, double *a, const int *lda, double *s, double *u,
             const int *ldu, double *vt, const int *ldvt, double *work, const int *lwork, int *iwork, int *info,
             size_t jobz_len);

/* w [m,n] in row-major order is a column-major n x m matrix A = w^T, so A = U S V^T gives w = V S U^T:
 * row i of u below is U's column i, and v[j*k + i] is element j of V's column i. */
typedef struct svd {
  int m, n, k;     /* k = min(m, n) */
  double *a;       /* (m, n), destroyed */
  double *s;       /* (k) */
  double *u, *v;   /* (k, n), (m, k) */
  double *work;
  int *iwork;      /* (8k) */
} svd;

static void svd_free(wtl_ctx *ctx, svd *d) {
  wtl_free(ctx, d->a);
  wtl_free(ctx, d->s);
  wtl_free(ctx, d->u);
  wtl_free(ctx, d->v);
  wtl_free(ctx, d->work);
  wtl_free(ctx, d->iwork);
}

static wtl_status svd_alloc(wtl_ctx *ctx, svd *d) {
  size_t m = (size_t)d->m, n = (size_t)d->n, k = (size_t)d->k;
  d->a = wtl_calloc(ctx, m * n, sizeof *d->a);
  d->s = wtl_calloc(ctx, k, sizeof *d->s);
  d->u = wtl_calloc(ctx, k * n, sizeof *d->u);
  d->v = wtl_calloc(ctx, m * k, sizeof *d->v);
  d->iwork = wtl_calloc(ctx, 8 * k, sizeof *d->iwork);
  return d->a && d->s && d->u && d->v && d->iwork ? WTL_OK : WTL_ERR_MEMORY;
}

static int call(svd *d, double *work, int lwork) {
  int info = 0;
  dgesdd_("S", &d->n, &d->m, d->a, &d->n, d->s, d->u, &d->n, d->v, &d->k, work, &lwork, d->iwork, &info, 1);
  return info;
}

static wtl_status decompose(wtl_ctx *ctx, svd *d) {
  double best;
  openblas_set_num_threads(1); /* everywhere in the core: a second pool of threads costs more than it gives */
  int info = call(d, &best, -1);
  if (info == 0 && best > 2147483647.0)
    return wtl_fail(ctx, WTL_ERR_UNSUPPORTED, "lowrank: w [%d,%d] is too large", d->m, d->n);
  if (info == 0) {
    d->work = wtl_calloc(ctx, (size_t)best, sizeof *d->work);
    if (!d->work) return WTL_ERR_MEMORY;
    info = call(d, d->work, (int)best);
  }
  return info == 0
             ? WTL_OK
             : wtl_fail(ctx, WTL_ERR_NUMERIC, "lowrank: the decomposition of w [%d,%d] did not converge", d->m, d->n);
}

/* The smallest rank that keeps `energy`, and what it keeps. Squares are relative to the largest: no overflow. */
static int choose_rank(const svd *d, double energy, double *kept) {
  double total = 0, sum = 0, unit = d->s[0] > 0 ? d->s[0] : 1;
  int r = 0;
  for (int i = 0; i < d->k; i++) total += d->s[i] / unit * (d->s[i] / unit);
  for (; r < d->k && (r == 0 || sum < energy * total); r++) sum += d->s[r] / unit * (d->s[r] / unit);
  *kept = total > 0 ? sum / total : 1;
  return r;
}

/* a = V sqrt(S) [m,r], b = sqrt(S) U^T [r,n], written over v and u, then converted to w's type. */
static wtl_status make_factors(wtl_ctx *ctx, svd *d, int r, wtl_dtype dtype, wtl_tensor **a, wtl_tensor **b) {
  wtl_tensor *wide[2] = { NULL, NULL }, *made[2] = { NULL, NULL };
  for (int i = 0; i < r; i++) {
    double root = sqrt(d->s[i]);
    for (int64_t j = 0; j < d->n; j++) d->u[(int64_t)i * d->n + j] *= root;
    for (int64_t j = 0; j < d->m; j++) d->v[j * d->k + i] *= root;
  }
  for (int64_t j = 1; j < d->m; j++) memmove(d->v + j * r, d->v + j * d->k, (size_t)r * sizeof *d->v); /* rows of r */
  wtl_status s = wtl_tensor_wrap(ctx, WTL_F64, &(wtl_shape){ 2, { d->m, r } }, d->v, NULL, NULL, &wide[0]);
  if (s == WTL_OK) s = wtl_tensor_wrap(ctx, WTL_F64, &(wtl_shape){ 2, { r, d->n } }, d->u, NULL, NULL, &wide[1]);
  for (int i = 0; s == WTL_OK && i < 2; i++) s = wtl_tensor_create(ctx, dtype, &wide[i]->shape, &made[i]);
  for (int i = 0; s == WTL_OK && i < 2; i++) s = wtl_tensor_copy(made[i], wide[i]);
  for (int i = 0; i < 2; i++) {
    wtl_tensor_release(wide[i]);
    if (s != WTL_OK) wtl_tensor_release(made[i]);
  }
  if (s == WTL_OK) {
    *a = made[0];
    *b = made[1];
  }
  return s;
}

static wtl_status check(wtl_ctx *ctx, const wtl_tensor *w, double energy, bool full) {
  char text[WTL_SHAPE_TEXT];
  if (w->dtype != WTL_F32 && w->dtype != WTL_F64)
    return wtl_fail(ctx, WTL_ERR_DTYPE, "lowrank: w is %s, not f32 or f64", wtl_dtype_name(w->dtype));
  if (w->shape.ndim != 2 || w->shape.size[0] < 1 || w->shape.size[1] < 1 || w->shape.size[0] > INT32_MAX ||
      w->shape.size[1] > INT32_MAX) {
    return wtl_fail(ctx, WTL_ERR_SHAPE, "lowrank: w is %s, not a matrix", wtl_shape_text(&w->shape, text, sizeof text));
  }
  if (!full && !(energy > 0 && energy <= 1))
    return wtl_fail(ctx, WTL_ERR_ARG, "lowrank: energy is %g, not 0 < energy <= 1", energy);
  return WTL_OK;
}

/* w as double into d->a. */
static wtl_status load(wtl_ctx *ctx, const wtl_tensor *w, svd *d) {
  wtl_tensor *wide;
  WTL_TRY(wtl_tensor_wrap(ctx, WTL_F64, &w->shape, d->a, NULL, NULL, &wide));
  wtl_status s = wtl_tensor_copy(wide, w);
  wtl_tensor_release(wide);
  for (int64_t i = 0; s == WTL_OK && i < (int64_t)d->m * d->n; i++) {
    if (!isfinite(d->a[i])) s = wtl_fail(ctx, WTL_ERR_NUMERIC, "lowrank: w has a NaN or an infinity");
  }
  return s;
}

wtl_status wtl_lowrank(wtl_ctx *ctx, const wtl_tensor *w, double energy, bool full, int64_t *rank, double *kept,
                       wtl_tensor **a, wtl_tensor **b) {
  WTL_TRY(check(ctx, w, energy, full));
  svd d = { .m = (int)w->shape.size[0], .n = (int)w->shape.size[1] };
  d.k = d.m < d.n ? d.m : d.n;
  double share = 1;
  int r = 0;
  wtl_status s = svd_alloc(ctx, &d);
  if (s == WTL_OK) s = load(ctx, w, &d);
  if (s == WTL_OK) s = decompose(ctx, &d);
  if (s != WTL_OK) goto out;
  r = full ? d.k : choose_rank(&d, energy, &share);
  if (!full && (int64_t)r * ((int64_t)d.m + d.n) >= (int64_t)d.m * d.n) {
    r = 0;
    share = 1;
    *a = *b = NULL;
  } else {
    s = make_factors(ctx, &d, r, w->dtype, a, b);
  }
out:
  svd_free(ctx, &d);
  if (s == WTL_OK) {
    *rank = r;
    *kept = share;
  }
  return s;
}
