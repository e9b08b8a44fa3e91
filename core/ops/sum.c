/* sum: y = sum of x over dims. Row in ops.def. */
#include "real.h"
#include "walk.h"

#if WTL_ONCE
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double bytes = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ (double)wtl_shape_numel(&f->in[0]), bytes };
  *backward = (wtl_cost){ 0, bytes };
}

WTL_OP_RULES(sum, wtl_rule_reduce, cost, 0, 0);
#endif

static wtl_status forward(wtl_call *c) {
  unsigned axes = wtl_reduced_axes(&c->attr[0], c->in[0].ndim);
  REAL(wtl_reduce)(c->ctx, &c->in[0], NULL, axes, 1, c->out[0].data);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  unsigned axes = wtl_reduced_axes(&c->attr[0], c->in[0].ndim);
  REAL(wtl_spread)(c->ctx, &c->din[0], axes, 1, c->dout[0].data);
  return WTL_OK;
}

WTL_OP_KERNELS(sum, forward, backward, NULL);
