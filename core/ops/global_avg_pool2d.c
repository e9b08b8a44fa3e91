/* global_avg_pool2d: y[n,c] = mean of x[n,c,:,:]. Row in ops.def. */
#include "real.h"
#include "walk.h"

enum { PLANE = 4 | 8 }; /* axes H and W */

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  WTL_TRY(wtl_rule_image(f));
  f->out[0] = (wtl_shape){ 2, { f->in[0].size[0], f->in[0].size[1] } };
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->in[0]),
         bytes = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ n, bytes };
  *backward = (wtl_cost){ (double)wtl_shape_numel(&f->out[0]), bytes };
}

WTL_OP_RULES(global_avg_pool2d, infer, cost, 0, 0);
#endif

static double one_over_plane(const wtl_call *c) {
  return 1 / ((double)c->in[0].size[2] * (double)c->in[0].size[3]);
}

static wtl_status forward(wtl_call *c) {
  REAL(wtl_reduce)(c->ctx, &c->in[0], NULL, PLANE, one_over_plane(c), c->out[0].data);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  REAL(wtl_spread)(c->ctx, &c->din[0], PLANE, one_over_plane(c), c->dout[0].data);
  return WTL_OK;
}

WTL_OP_KERNELS(global_avg_pool2d, forward, backward, NULL);
