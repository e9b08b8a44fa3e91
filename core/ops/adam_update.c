/* adam_update: one step of torch.optim.Adam or AdamW, in place on p, m and v. Row in ops.def. */
#include "real.h"
#include "rules.h"

enum { P, G, M, V, H }; /* inputs */

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *p = &f->in[P];
  for (int k = G; k <= V; k++)
    if (!wtl_shape_equal(p, &f->in[k]))
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "adam_update: p is %s, %s is %s; they must be of one shape", SHAPE(p),
                      f->op->in_name[k], SHAPE(&f->in[k]));
  if (f->in[H].ndim != 1 || f->in[H].size[0] != 7 || f->in_dtype[H] != WTL_F64)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "adam_update: h is %s %s; it must be f64 [7]",
                    wtl_dtype_name(f->in_dtype[H]), SHAPE(&f->in[H]));
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  *forward = (wtl_cost){ 14 * (double)wtl_shape_numel(&f->in[P]), 7 * wtl_rule_bytes(f, &f->in[P]) };
  *backward = (wtl_cost){ 0, 0 };
}

WTL_OP_RULES(adam_update, infer, cost, 0, 0);
#endif

static void update_span(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  const double *h = c->in[H].data;
  bool decoupled = c->attr[0].i[0];
  real b1 = (real)h[1], a1 = (real)(1 - h[1]), b2 = (real)h[2], a2 = (real)(1 - h[2]), eps = (real)h[3];
  real step = (real)(h[0] / h[5]), root = (real)(1 / sqrt(h[6])); /* corrected for the start at zero */
  real keep = decoupled ? (real)(1 - h[0] * h[4]) : 1, wd = decoupled ? 0 : (real)h[4];
  real *restrict p = c->in[P].data, *restrict m = c->in[M].data, *restrict v = c->in[V].data;
  const real *restrict g = c->in[G].data;
  (void)thread;
  for (int64_t k = begin; k < end; k++) {
    real w = keep * p[k], d = g[k] + wd * p[k];
    m[k] = b1 * m[k] + a1 * d;
    v[k] = b2 * v[k] + a2 * d * d;
    p[k] = w - step * m[k] / (real_sqrt(v[k]) * root + eps);
  }
}

static wtl_status forward(wtl_call *c) {
  wtl_parallel(c->ctx, wtl_view_numel(&c->in[P]), WTL_SPAN, update_span, c);
  return WTL_OK;
}

WTL_OP_KERNELS(adam_update, forward, NULL, NULL);
