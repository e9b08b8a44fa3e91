/* mse_loss: mean of (x - target)^2. Row in ops.def. */
#include "loss.h"

#if WTL_ONCE
WTL_OP_RULES(mse_loss, wtl_rule_loss, wtl_loss_cost, 1 | 2, 0);
#endif

static wtl_status forward(wtl_call *c) { return loss_forward(c, span_distance, wtl_view_numel(&c->in[0])); }

static void of_x(real *d, const real *x, const real *t, real scale, int64_t n) {
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) d[k] = 2 * scale * (x[k] - t[k]);
}

static void of_target(real *d, const real *x, const real *t, real scale, int64_t n) { of_x(d, t, x, scale, n); }

static wtl_status backward(wtl_call *c) {
  return loss_backward(c, of_x, of_target, wtl_view_numel(&c->in[0]));
}

WTL_OP_KERNELS(mse_loss, forward, backward, NULL);
