/* mean: y = mean of x over dims. Row in ops.def. The mean of nothing is NaN. */
#include "real.h"
#include "walk.h"

#if WTL_ONCE
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->in[0]),
         bytes = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ n, bytes };
  *backward = (wtl_cost){ n, bytes };
}

WTL_OP_RULES(mean, wtl_rule_reduce, cost, 0, 0);
#endif

/* The reduced axes, and one over the number of elements in each mean. */
static unsigned reduced(const wtl_call *c, double *scale) {
  unsigned axes = wtl_reduced_axes(&c->attr[0], c->in[0].ndim);
  double n = 1;
  for (int k = 0; k < c->in[0].ndim; k++)
    if (axes >> k & 1) n *= (double)c->in[0].size[k];
  *scale = 1 / n;
  return axes;
}

static wtl_status forward(wtl_call *c) {
  double scale;
  unsigned axes = reduced(c, &scale);
  REAL(wtl_reduce)(c->ctx, &c->in[0], NULL, axes, scale, c->out[0].data);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  double scale;
  unsigned axes = reduced(c, &scale);
  REAL(wtl_spread)(c->ctx, &c->din[0], axes, scale, c->dout[0].data);
  return WTL_OK;
}

WTL_OP_KERNELS(mean, forward, backward, NULL);
