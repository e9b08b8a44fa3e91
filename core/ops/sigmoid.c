/* sigmoid: y = 1 / (1 + e^-x). Row in ops.def. Where e^-x is infinite, y is 0. */
#include "unary.h"

#if WTL_ONCE
WTL_OP_RULES(sigmoid, wtl_rule_unary, wtl_unary_cost, 0, 1);
#endif

static void row(const wtl_attr *attr, real *y, const real *x, int64_t n) {
  (void)attr;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) y[k] = real_logistic(x[k]);
}

static void back_row(const wtl_attr *attr, real *dx, const real *dy, const real *x, const real *y, int64_t n) {
  (void)attr, (void)x;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) dx[k] = dy[k] * ((1 - y[k]) * y[k]);
}

static wtl_status forward(wtl_call *c) { return unary_forward(c, row); }
static wtl_status backward(wtl_call *c) { return unary_backward(c, back_row); }

WTL_OP_KERNELS(sigmoid, forward, backward, NULL);
