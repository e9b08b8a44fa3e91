/* silu: y = x * sigmoid(x). Row in ops.def. */
#include "unary.h"

#if WTL_ONCE
WTL_OP_RULES(silu, wtl_rule_unary, wtl_unary_cost, 1, 0);
#endif

static void row(const wtl_attr *attr, real *y, const real *x, int64_t n) {
  (void)attr;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) y[k] = x[k] * real_logistic(x[k]);
}

static void back_row(const wtl_attr *attr, real *dx, const real *dy, const real *x, const real *y, int64_t n) {
  (void)attr, (void)y;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real s = real_logistic(x[k]);
    dx[k] = dy[k] * (s * (1 + x[k] * (1 - s)));
  }
}

static wtl_status forward(wtl_call *c) { return unary_forward(c, row); }
static wtl_status backward(wtl_call *c) { return unary_backward(c, back_row); }

WTL_OP_KERNELS(silu, forward, backward, NULL);
