/* linear and matmul through SGEMM. */
#include <string.h>

#include "blas.h"

static void destroy(wtl_kernel *k) { wtl_free(k->ctx, k); }

static wtl_status make(wtl_bind *b, wtl_status (*forward)(wtl_kernel *, wtl_call *), wtl_status (*backward)(wtl_kernel *, wtl_call *),
                       wtl_kernel **out) {
  wtl_kernel *k = wtl_alloc(b->ctx, sizeof *k);
  if (!k) return WTL_ERR_MEMORY;
  *k = (wtl_kernel){ &wtl_provider_blas, "sgemm", forward, backward, NULL, destroy, b->ctx };
  b->saved_bytes = b->scratch_bytes = 0;
  b->reads_in = 3; /* x and w */
  b->reads_out = 0;
  *out = k;
  return WTL_OK;
}

/* ---- linear: x (M,I), w (O,I), y (M,O) ---- */

static void rows_of(const wtl_view *x, int64_t *rows, int64_t *width) {
  *width = x->size[x->ndim - 1];
  *rows = *width ? wtl_view_numel(x) / *width : 0;
}

typedef struct bias_job { const float *from; float *to; int64_t rows, width; } bias_job;

static void bias_add_span(void *arg, int64_t begin, int64_t end, int thread) {
  const bias_job *j = arg;
  (void)thread;
  for (int64_t r = begin; r < end; r++) memcpy(j->to + r * j->width, j->from, (size_t)j->width * sizeof(float));
}

/* Column sums, in doubles, side by side for a span of at most SUM_COLUMNS, each column by one thread. */
enum { SUM_COLUMNS = 64 };
static void bias_sum_span(void *arg, int64_t begin, int64_t end, int thread) {
  const bias_job *j = arg;
  (void)thread;
  for (int64_t o = begin; o < end; o += SUM_COLUMNS) {
    double sum[SUM_COLUMNS] = { 0 };
    int64_t n = end - o < SUM_COLUMNS ? end - o : SUM_COLUMNS;
    for (int64_t r = 0; r < j->rows; r++)
      for (int64_t k = 0; k < n; k++) sum[k] += j->from[r * j->width + o + k];
    for (int64_t k = 0; k < n; k++) j->to[o + k] = (float)sum[k];
  }
}

static wtl_status linear_forward(wtl_kernel *k, wtl_call *c) {
  int64_t rows, in, out = c->in[1].size[0];
  (void)k;
  rows_of(&c->in[0], &rows, &in);
  bias_job j = { c->in[2].data, c->out[0].data, rows, out };
  if (j.from) wtl_parallel(c->ctx, rows, 64, bias_add_span, &j);
  blas_gemm_parallel(c->ctx, &(blas_gemm){ false, true, rows, out, in, c->in[0].data, c->in[1].data, in, in, out, j.from ? 1 : 0, j.to });
  return WTL_OK;
}

static wtl_status linear_backward(wtl_kernel *k, wtl_call *c) {
  int64_t rows, in, out = c->in[1].size[0];
  const float *dy = c->dout[0].data;
  (void)k;
  rows_of(&c->in[0], &rows, &in);
  if (c->din[0].data) blas_gemm_parallel(c->ctx, &(blas_gemm){ false, false, rows, in, out, dy, c->in[1].data, out, in, in, 0, c->din[0].data });
  if (c->din[1].data) blas_gemm_parallel(c->ctx, &(blas_gemm){ true, false, out, in, rows, dy, c->in[0].data, out, in, in, 0, c->din[1].data });
  bias_job j = { dy, c->din[2].data, rows, out };
  if (j.to) wtl_parallel(c->ctx, out, SUM_COLUMNS, bias_sum_span, &j);
  return WTL_OK;
}

wtl_status blas_bind_linear(wtl_bind *b, wtl_kernel **out) { return make(b, linear_forward, linear_backward, out); }

/* ---- matmul: a (...,M,K), b (...,K,N) or (K,N) for all, y (...,M,N) ---- */

typedef struct batch_job { blas_gemm g; int64_t batch, a_step, b_step, c_step; } batch_job;

static blas_gemm item(const batch_job *j, int64_t i) {
  blas_gemm g = j->g;
  g.a += i * j->a_step;
  g.b += i * j->b_step;
  g.c += i * j->c_step;
  return g;
}

static void batch_span(void *arg, int64_t begin, int64_t end, int thread) {
  (void)thread;
  for (int64_t i = begin; i < end; i++) {
    blas_gemm g = item(arg, i);
    blas_gemm_serial(&g);
  }
}

/* Few large products are cut into tiles one by one, many are shared out whole. */
static void multiply_batch(wtl_ctx *ctx, const batch_job *j) {
  double each = (double)j->g.m * (double)j->g.n * (double)j->g.k;
  if (j->batch < 8 && each >= 1e6) {
    for (int64_t i = 0; i < j->batch; i++) {
      blas_gemm g = item(j, i);
      blas_gemm_parallel(ctx, &g);
    }
  } else {
    wtl_parallel(ctx, j->batch, each >= 64e3 ? 1 : (int64_t)(64e3 / (each < 1 ? 1 : each)), batch_span, (void *)j);
  }
}

typedef struct product { int64_t batch, m, k, n; } product;

/* One matrix for all of a's makes those one, with all their rows. */
static product product_of(const wtl_call *c) {
  const wtl_view *a = &c->in[0], *b = &c->in[1];
  product p = { 1, a->size[a->ndim - 2], a->size[a->ndim - 1], b->size[b->ndim - 1] };
  for (int i = 0; i < a->ndim - 2; i++) *(b->ndim == 2 ? &p.m : &p.batch) *= a->size[i];
  return p;
}

static wtl_status matmul_forward(wtl_kernel *kernel, wtl_call *c) {
  product p = product_of(c);
  (void)kernel;
  blas_gemm g = { false, false, p.m, p.n, p.k, c->in[0].data, c->in[1].data, p.k, p.n, p.n, 0, c->out[0].data };
  multiply_batch(c->ctx, &(batch_job){ g, p.batch, p.m * p.k, p.k * p.n, p.m * p.n });
  return WTL_OK;
}

static wtl_status matmul_backward(wtl_kernel *kernel, wtl_call *c) {
  product p = product_of(c);
  const float *dy = c->dout[0].data;
  (void)kernel;
  if (c->din[0].data) {
    blas_gemm g = { false, true, p.m, p.k, p.n, dy, c->in[1].data, p.n, p.n, p.k, 0, c->din[0].data };
    multiply_batch(c->ctx, &(batch_job){ g, p.batch, p.m * p.n, p.k * p.n, p.m * p.k });
  }
  if (c->din[1].data) {
    blas_gemm g = { true, false, p.k, p.n, p.m, c->in[0].data, dy, p.k, p.n, p.n, 0, c->din[1].data };
    multiply_batch(c->ctx, &(batch_job){ g, p.batch, p.m * p.k, p.m * p.n, p.k * p.n });
  }
  return WTL_OK;
}

wtl_status blas_bind_matmul(wtl_bind *b, wtl_kernel **out) { return make(b, matmul_forward, matmul_backward, out); }
