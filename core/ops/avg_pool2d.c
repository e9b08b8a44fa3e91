/* avg_pool2d: mean over windows. Row in ops.def. */
#include "real.h"
#include "window.h"

enum { INCLUDE_PAD = 3 }; /* attribute */

#if WTL_ONCE
/* An addition counts as one operation. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double flops = (double)wtl_shape_numel(&f->out[0]) * (double)f->attr[0].i[0] * (double)f->attr[0].i[1];
  double bytes = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->out[0]);
  *forward = *backward = (wtl_cost){ flops, bytes };
}

WTL_OP_RULES(avg_pool2d, wtl_rule_windows, cost, 0, 0);
#endif

static wtl_status forward(wtl_call *c) {
  wtl_window w[2] = { wtl_window_of(c, 0), wtl_window_of(c, 1) };
  REAL(wtl_window_mean)(c->ctx, w, c->attr[INCLUDE_PAD].i[0], c->in[0].size[0] * c->in[0].size[1], c->in[0].data,
                        c->out[0].data);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  wtl_window w[2] = { wtl_window_of(c, 0), wtl_window_of(c, 1) };
  REAL(wtl_window_mean_back)(c->ctx, w, c->attr[INCLUDE_PAD].i[0], c->in[0].size[0] * c->in[0].size[1], c->dout[0].data,
                             c->din[0].data);
  return WTL_OK;
}

WTL_OP_KERNELS(avg_pool2d, forward, backward, NULL);
