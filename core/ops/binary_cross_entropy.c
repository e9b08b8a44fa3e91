/* binary_cross_entropy: mean of -(t ln x + (1-t) ln(1-x)), x probabilities. Row in ops.def. Logarithms are at least -100
 * and the derivative's divisor at least 1e-12, as in PyTorch, so x = 0 and x = 1 are finite. */
#include "loss.h"

#if WTL_ONCE
WTL_OP_RULES(binary_cross_entropy, wtl_rule_loss, wtl_loss_cost, 1 | 2, 0);
#endif

/* Keeps NaN. */
static double bounded_log(double x) {
  double l = log(x);
  return l < -100 ? -100 : l;
}

static double sum(const real *x, const real *t, int64_t n) {
  double s = 0;
  for (int64_t k = 0; k < n; k++) {
    double p = (double)x[k], q = (double)t[k];
    s -= q * bounded_log(p) + (1 - q) * bounded_log(1 - p);
  }
  return s;
}

/* Outside 0..1 a logarithm is NaN, so that the elements are looked at only where the loss is NaN. */
static wtl_status forward(wtl_call *c) {
  const real *x = c->in[0].data;
  int64_t n = wtl_view_numel(&c->in[0]);
  WTL_TRY(loss_forward(c, sum, n));
  if (!isnan(*(real *)c->out[0].data)) return WTL_OK;
  for (int64_t k = 0; k < n; k++)
    if (x[k] < 0 || x[k] > 1)
      return wtl_fail(c->ctx, WTL_ERR_ARG,
                      "binary_cross_entropy: element %lld of x is %g; probabilities are in 0..1 (for logits there is "
                      "binary_cross_entropy_with_logits)", (long long)k, (double)x[k]);
  return WTL_OK;
}

static void of_x(real *d, const real *x, const real *t, real scale, int64_t n) {
  const real least = 1e-12f; /* a float in PyTorch's f64 too */
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real variance = (1 - x[k]) * x[k];
    d[k] = scale * (x[k] - t[k]) / (variance < least ? least : variance);
  }
}

static void of_target(real *d, const real *x, const real *t, real scale, int64_t n) {
  (void)t;
  for (int64_t k = 0; k < n; k++)
    d[k] = (real)((double)scale * (bounded_log(1 - (double)x[k]) - bounded_log((double)x[k])));
}

static wtl_status backward(wtl_call *c) {
  return loss_backward(c, of_x, of_target, wtl_view_numel(&c->in[0]));
}

WTL_OP_KERNELS(binary_cross_entropy, forward, backward, NULL);
