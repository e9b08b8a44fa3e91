/* hardsigmoid: y = min(max(x + 3, 0), 6) / 6. Row in ops.def. NaN stays NaN. */
#include "unary.h"

#if WTL_ONCE
WTL_OP_RULES(hardsigmoid, wtl_rule_unary, wtl_unary_cost, 1, 0);
#endif

static void row(const wtl_attr *attr, real *y, const real *x, int64_t n) {
  (void)attr;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real v = x[k] + 3;
    v = v < 0 ? 0 : v;
    y[k] = (v > 6 ? 6 : v) * (real)(1.0 / 6);
  }
}

static void back_row(const wtl_attr *attr, real *dx, const real *dy, const real *x, const real *y, int64_t n) {
  (void)attr, (void)y;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real g = dy[k] * (real)(1.0 / 6); /* read always, or the loop is not vectorized */
    dx[k] = (x[k] > -3 && x[k] < 3) ? g : 0;
  }
}

static wtl_status forward(wtl_call *c) { return unary_forward(c, row); }
static wtl_status backward(wtl_call *c) { return unary_backward(c, back_row); }

WTL_OP_KERNELS(hardsigmoid, forward, backward, NULL);
