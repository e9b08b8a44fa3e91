/* adaptive_avg_pool2d: mean over bins that share the plane out, as many as were asked for. Row in ops.def. */
#include "real.h"
#include "window.h"

#if WTL_ONCE
/* Every input once; bins overlap by a row or column at most. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double bytes = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->out[0]);
  *forward = *backward = (wtl_cost){ (double)wtl_shape_numel(&f->in[0]), bytes };
}

WTL_OP_RULES(adaptive_avg_pool2d, wtl_rule_adaptive, cost, 0, 0);
#endif

static wtl_status forward(wtl_call *c) {
  wtl_window w[2] = { wtl_window_adaptive(c, 0), wtl_window_adaptive(c, 1) };
  REAL(wtl_window_mean)(c->ctx, w, false, c->in[0].size[0] * c->in[0].size[1], c->in[0].data, c->out[0].data);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  wtl_window w[2] = { wtl_window_adaptive(c, 0), wtl_window_adaptive(c, 1) };
  REAL(wtl_window_mean_back)(c->ctx, w, false, c->in[0].size[0] * c->in[0].size[1], c->dout[0].data, c->din[0].data);
  return WTL_OK;
}

WTL_OP_KERNELS(adaptive_avg_pool2d, forward, backward, NULL);
