/* matmul: y = a.b. Row in ops.def. */
#include "real.h"
#include "rules.h"
#include "span.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *a = &f->in[0], *b = &f->in[1];
  if (a->ndim != 2 || b->ndim != 2)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "matmul: a is %s, b is %s; both must be matrices", SHAPE(a), SHAPE(b));
  if (a->size[1] != b->size[0])
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "matmul: a is %s, b is %s; inner sizes differ", SHAPE(a), SHAPE(b));
  f->out[0] = (wtl_shape){ 2, { a->size[0], b->size[1] } };
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double flops = 2 * (double)wtl_shape_numel(&f->out[0]) * (double)f->in[0].size[1];
  double in = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->in[1]), out = wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ flops, in + out };
  *backward = (wtl_cost){ 2 * flops, 2 * in + out };
}

WTL_OP_RULES(matmul, infer, cost, 1 | 2, 0);
#endif

typedef struct product {
  int64_t m, k, n;
  const real *a, *b, *dy; /* a (m,k), b (k,n), dy (m,n) */
  real *y, *da, *db;
} product;

static product describe(const wtl_call *c) {
  return (product) { c->in[0].size[0], c->in[0].size[1], c->in[1].size[1], c->in[0].data, c->in[1].data,
                     c->dout[0].data,  c->out[0].data,   c->din[0].data,   c->din[1].data };
}

static void y_rows(void *arg, int64_t begin, int64_t end, int thread) {
  const product *p = arg;
  (void)thread;
  memset(p->y + begin * p->n, 0, (size_t)((end - begin) * p->n) * sizeof *p->y);
  for (int64_t i = begin; i < end; i++)
    for (int64_t k = 0; k < p->k; k++) span_axpy(p->y + i * p->n, p->a[i * p->k + k], p->b + k * p->n, p->n);
}

static wtl_status forward(wtl_call *c) {
  product p = describe(c);
  wtl_parallel(c->ctx, p.m, span_grain(p.k * p.n), y_rows, &p);
  return WTL_OK;
}

/* One unit of work is one element of da = dy.b^T. */
static void da_span(void *arg, int64_t begin, int64_t end, int thread) {
  const product *p = arg;
  (void)thread;
  for (int64_t u = begin; u < end; u++) p->da[u] = span_dot(p->dy + u / p->k * p->n, p->b + u % p->k * p->n, p->n);
}

/* db = a^T.dy */
static void db_rows(void *arg, int64_t begin, int64_t end, int thread) {
  const product *p = arg;
  (void)thread;
  memset(p->db + begin * p->n, 0, (size_t)((end - begin) * p->n) * sizeof *p->db);
  for (int64_t k = begin; k < end; k++)
    for (int64_t i = 0; i < p->m; i++) span_axpy(p->db + k * p->n, p->a[i * p->k + k], p->dy + i * p->n, p->n);
}

static wtl_status backward(wtl_call *c) {
  product p = describe(c);
  if (p.da) wtl_parallel(c->ctx, p.m * p.k, span_grain(p.n), da_span, &p);
  if (p.db) wtl_parallel(c->ctx, p.k, span_grain(p.m * p.n), db_rows, &p);
  return WTL_OK;
}

WTL_OP_KERNELS(matmul, forward, backward, NULL);
