/* sgd_update: one step of torch.optim.SGD, in place on p and m. Row in ops.def. */
#include "real.h"
#include "rules.h"

enum { P, G, M, H }; /* inputs */

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *p = &f->in[P];
  bool momentum = f->present[M];
  if (!wtl_shape_equal(p, &f->in[G]) || (momentum && !wtl_shape_equal(p, &f->in[M])))
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "sgd_update: p is %s, g is %s, m is %s; they must be of one shape",
                    SHAPE(p), SHAPE(&f->in[G]), momentum ? SHAPE(&f->in[M]) : "absent");
  if (f->in[H].ndim != 1 || f->in[H].size[0] != 3 || f->in_dtype[H] != WTL_F64)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "sgd_update: h is %s %s; it must be f64 [3]",
                    wtl_dtype_name(f->in_dtype[H]), SHAPE(&f->in[H]));
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->in[P]), bytes = wtl_rule_bytes(f, &f->in[P]);
  bool momentum = f->present[M], nesterov = f->attr[0].i[0];
  *forward = (wtl_cost){ n * (4 + (momentum ? 2 : 0) + (momentum && nesterov ? 2 : 0)),
                          bytes * (momentum ? 5 : 3) };
  *backward = (wtl_cost){ 0, 0 };
}

WTL_OP_RULES(sgd_update, infer, cost, 0, 0);
#endif

static void update_span(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  const double *h = c->in[H].data;
  real lr = (real)h[0], mu = (real)h[1], wd = (real)h[2];
  real *restrict p = c->in[P].data, *restrict m = c->in[M].data;
  const real *restrict g = c->in[G].data;
  (void)thread;
  if (!m) {
    for (int64_t k = begin; k < end; k++) p[k] -= lr * (g[k] + wd * p[k]);
  } else if (c->attr[0].i[0]) {
    for (int64_t k = begin; k < end; k++) {
      real d = g[k] + wd * p[k];
      m[k] = mu * m[k] + d;
      p[k] -= lr * (d + mu * m[k]);
    }
  } else {
    for (int64_t k = begin; k < end; k++) {
      m[k] = mu * m[k] + (g[k] + wd * p[k]);
      p[k] -= lr * m[k];
    }
  }
}

static wtl_status forward(wtl_call *c) {
  wtl_parallel(c->ctx, wtl_view_numel(&c->in[P]), WTL_SPAN, update_span, c);
  return WTL_OK;
}

WTL_OP_KERNELS(sgd_update, forward, NULL, NULL);
