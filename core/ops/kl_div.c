/* kl_div: sum of t (ln t - x) over all elements, divided by the batch's size (PyTorch's "batchmean"); x holds logarithms
 * of probabilities, t probabilities. Row in ops.def. t ln t is 0 at t = 0. */
#include "loss.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  WTL_TRY(wtl_rule_loss(f));
  if (f->in[0].ndim > 0) return WTL_OK;
  return wtl_fail(f->ctx, WTL_ERR_SHAPE, "kl_div: x is []; it must be (N,...)");
}

WTL_OP_RULES(kl_div, infer, wtl_loss_cost, 1 | 2, 0);
#endif

static double sum(const real *x, const real *t, int64_t n) {
  double s = 0;
  for (int64_t k = 0; k < n; k++) {
    double q = (double)t[k];
    s += (q == 0 ? 0 : q * log(q)) - q * (double)x[k]; /* NaN in x stays, also at q = 0 */
  }
  return s;
}

static wtl_status forward(wtl_call *c) { return loss_forward(c, sum, c->in[0].size[0]); }

static void of_x(real *d, const real *x, const real *t, real scale, int64_t n) {
  (void)x;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) d[k] = -scale * t[k];
}

static void of_target(real *d, const real *x, const real *t, real scale, int64_t n) {
  for (int64_t k = 0; k < n; k++) d[k] = scale * (real_log(t[k]) + 1 - x[k]);
}

static wtl_status backward(wtl_call *c) { return loss_backward(c, of_x, of_target, c->in[0].size[0]); }

WTL_OP_KERNELS(kl_div, forward, backward, NULL);
