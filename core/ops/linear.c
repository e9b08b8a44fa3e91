/* linear: y = x.w^T + b over the last dimension. Row in ops.def. */
#include "real.h"
#include "rules.h"
#include "span.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *x = &f->in[0], *w = &f->in[1], *b = &f->in[2];
  if (x->ndim < 1 || w->ndim != 2 || x->size[x->ndim - 1] != w->size[1])
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "linear: x is %s, w is %s; x must be (...,I) and w (O,I)", SHAPE(x),
                    SHAPE(w));
  if (f->present[2] && (b->ndim != 1 || b->size[0] != w->size[0]))
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "linear: w is %s, b is %s; b must be [%lld]", SHAPE(w), SHAPE(b),
                    (long long)w->size[0]);
  f->out[0] = *x;
  f->out[0].size[x->ndim - 1] = w->size[0];
  return WTL_OK;
}

/* The bias is where the sums begin, so it costs no operation. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  const wtl_shape *w = &f->in[1];
  double flops = 2 * (double)wtl_shape_numel(&f->out[0]) * (double)w->size[1];
  double params = wtl_rule_bytes(f, w) + (f->present[2] ? wtl_rule_bytes(f, &f->in[2]) : 0);
  double values = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ flops, values + params };
  *backward = (wtl_cost){ 2 * flops, values + wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, w) + params };
}

WTL_OP_RULES(linear, infer, cost, 1 | 2, 0);
#endif

typedef struct affine {
  int64_t rows, in, out;
  const real *x, *w, *b, *dy; /* x (rows,in), w (out,in), b (out), dy (rows,out) */
  real *y, *dx, *dw, *db;
} affine;

static affine describe(const wtl_call *c) {
  affine a = { .out = c->in[1].size[0], .in = c->in[1].size[1], .rows = 1 };
  for (int k = 0; k < c->in[0].ndim - 1; k++) a.rows *= c->in[0].size[k];
  a.x = c->in[0].data, a.w = c->in[1].data, a.b = c->in[2].data, a.dy = c->dout[0].data;
  a.y = c->out[0].data, a.dx = c->din[0].data, a.dw = c->din[1].data, a.db = c->din[2].data;
  return a;
}

/* One unit of work is one element of y, those of one row of w together. */
static void forward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const affine *a = arg;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    int64_t o = u / a->rows, r = u % a->rows;
    a->y[r * a->out + o] = span_dot(a->x + r * a->in, a->w + o * a->in, a->in) + (a->b ? a->b[o] : 0);
  }
}

static wtl_status forward(wtl_call *c) {
  affine a = describe(c);
  wtl_parallel(c->ctx, a.rows * a.out, span_grain(a.in), forward_span, &a);
  return WTL_OK;
}

static void dx_rows(void *arg, int64_t begin, int64_t end, int thread) {
  const affine *a = arg;
  (void)thread;
  memset(a->dx + begin * a->in, 0, (size_t)((end - begin) * a->in) * sizeof *a->dx);
  for (int64_t r = begin; r < end; r++)
    for (int64_t o = 0; o < a->out; o++)
      span_axpy(a->dx + r * a->in, a->dy[r * a->out + o], a->w + o * a->in, a->in);
}

static void dw_rows(void *arg, int64_t begin, int64_t end, int thread) {
  const affine *a = arg;
  (void)thread;
  memset(a->dw + begin * a->in, 0, (size_t)((end - begin) * a->in) * sizeof *a->dw);
  for (int64_t o = begin; o < end; o++)
    for (int64_t r = 0; r < a->rows; r++)
      span_axpy(a->dw + o * a->in, a->dy[r * a->out + o], a->x + r * a->in, a->in);
}

static void db_span(void *arg, int64_t begin, int64_t end, int thread) {
  const affine *a = arg;
  (void)thread;
  for (int64_t o = begin; o < end; o++) {
    double sum = 0;
    for (int64_t r = 0; r < a->rows; r++) sum += (double)a->dy[r * a->out + o];
    a->db[o] = (real)sum;
  }
}

static wtl_status backward(wtl_call *c) {
  affine a = describe(c);
  if (a.dx) wtl_parallel(c->ctx, a.rows, span_grain(a.in * a.out), dx_rows, &a);
  if (a.dw) wtl_parallel(c->ctx, a.out, span_grain(a.in * a.rows), dw_rows, &a);
  if (a.db) wtl_parallel(c->ctx, a.out, span_grain(a.rows), db_span, &a);
  return WTL_OK;
}

WTL_OP_KERNELS(linear, forward, backward, NULL);
