/* binary_cross_entropy_with_logits: mean of max(x,0) - x t + ln(1 + e^-|x|), which is the binary cross-entropy of
 * sigmoid(x) without its overflow. Row in ops.def. */
#include "loss.h"

#if WTL_ONCE
WTL_OP_RULES(binary_cross_entropy_with_logits, wtl_rule_loss, wtl_loss_cost, 1 | 2, 0);
#endif

static double sum(const real *x, const real *t, int64_t n) {
  double s = 0;
  for (int64_t k = 0; k < n; k++) {
    double z = (double)x[k];
    s += (z > 0 ? z : 0) - z * (double)t[k] + log1p(exp(-fabs(z)));
  }
  return s;
}

static wtl_status forward(wtl_call *c) { return loss_forward(c, sum, wtl_view_numel(&c->in[0])); }

static void of_x(real *d, const real *x, const real *t, real scale, int64_t n) {
  for (int64_t k = 0; k < n; k++) d[k] = scale * (real_logistic(x[k]) - t[k]);
}

static void of_target(real *d, const real *x, const real *t, real scale, int64_t n) {
  (void)t;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) d[k] = -scale * x[k];
}

static wtl_status backward(wtl_call *c) {
  return loss_backward(c, of_x, of_target, wtl_view_numel(&c->in[0]));
}

WTL_OP_KERNELS(binary_cross_entropy_with_logits, forward, backward, NULL);
