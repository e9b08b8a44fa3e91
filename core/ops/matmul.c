/* matmul: y = a.b, one product or a batch of them. Row in ops.def. A b of two dims multiplies every matrix of a: then
 * a's matrices are as good as one, with all their rows. */
#include "real.h"
#include "rules.h"
#include "span.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *a = &f->in[0], *b = &f->in[1];
  int n = a->ndim;
  if (n < 2 || b->ndim < 2)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "matmul: a is %s, b is %s; both must be matrices", SHAPE(a), SHAPE(b));
  bool same = b->ndim == 2 || b->ndim == n;
  for (int k = 0; k < n - 2 && b->ndim != 2 && same; k++) same = a->size[k] == b->size[k];
  if (!same)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "matmul: a is %s, b is %s; all dims but the last two must be equal, or b one "
                    "matrix", SHAPE(a), SHAPE(b));
  if (a->size[n - 1] != b->size[b->ndim - 2])
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "matmul: a is %s, b is %s; inner sizes differ", SHAPE(a), SHAPE(b));
  f->out[0] = *a;
  f->out[0].size[n - 1] = b->size[b->ndim - 1];
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double flops = 2 * (double)wtl_shape_numel(&f->out[0]) * (double)f->in[0].size[f->in[0].ndim - 1];
  double in = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->in[1]), out = wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ flops, in + out };
  *backward = (wtl_cost){ 2 * flops, 2 * in + out };
}

WTL_OP_RULES(matmul, infer, cost, 1 | 2, 0);
#endif

typedef struct product {
  int64_t batch, m, k, n;
  const real *a, *b, *dy; /* a (batch,m,k), b (batch,k,n), dy (batch,m,n) */
  real *y, *da, *db;
} product;

static product describe(const wtl_call *c) {
  const wtl_view *a = &c->in[0], *b = &c->in[1];
  product p = { 1, a->size[a->ndim - 2], a->size[a->ndim - 1], b->size[b->ndim - 1], a->data, b->data, c->dout[0].data,
                c->out[0].data, c->din[0].data, c->din[1].data };
  for (int i = 0; i < a->ndim - 2; i++) *(b->ndim == 2 ? &p.m : &p.batch) *= a->size[i];
  return p;
}

/* One unit of work is one row of y. */
static void y_rows(void *arg, int64_t begin, int64_t end, int thread) {
  const product *p = arg;
  (void)thread;
  memset(p->y + begin * p->n, 0, (size_t)((end - begin) * p->n) * sizeof *p->y);
  for (int64_t i = begin; i < end; i++) {
    const real *b = p->b + i / p->m * p->k * p->n;
    for (int64_t k = 0; k < p->k; k++) span_axpy(p->y + i * p->n, p->a[i * p->k + k], b + k * p->n, p->n);
  }
}

static wtl_status forward(wtl_call *c) {
  product p = describe(c);
  wtl_parallel(c->ctx, p.batch * p.m, span_grain(p.k * p.n), y_rows, &p);
  return WTL_OK;
}

/* One unit of work is one element of da = dy.b^T. */
static void da_span(void *arg, int64_t begin, int64_t end, int thread) {
  const product *p = arg;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    int64_t row = u / p->k;
    p->da[u] = span_dot(p->dy + row * p->n, p->b + (row / p->m * p->k + u % p->k) * p->n, p->n);
  }
}

/* db = a^T.dy; one unit of work is one row of it. */
static void db_rows(void *arg, int64_t begin, int64_t end, int thread) {
  const product *p = arg;
  (void)thread;
  memset(p->db + begin * p->n, 0, (size_t)((end - begin) * p->n) * sizeof *p->db);
  for (int64_t u = begin; u < end; u++) {
    int64_t first = u / p->k * p->m; /* row of a and dy */
    for (int64_t i = first; i < first + p->m; i++)
      span_axpy(p->db + u * p->n, p->a[i * p->k + u % p->k], p->dy + i * p->n, p->n);
  }
}

static wtl_status backward(wtl_call *c) {
  product p = describe(c);
  if (p.da) wtl_parallel(c->ctx, p.batch * p.m * p.k, span_grain(p.n), da_span, &p);
  if (p.db) wtl_parallel(c->ctx, p.batch * p.k, span_grain(p.m * p.n), db_rows, &p);
  return WTL_OK;
}

WTL_OP_KERNELS(matmul, forward, backward, NULL);
