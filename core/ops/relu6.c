/* relu6: y = min(max(x, 0), 6). Row in ops.def. NaN stays NaN. The gradient is found from y, so that x need not be kept. */
#include "unary.h"

#if WTL_ONCE
WTL_OP_RULES(relu6, wtl_rule_unary, wtl_unary_cost, 0, 1);
#endif

static void row(const wtl_attr *attr, real *y, const real *x, int64_t n) {
  (void)attr;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real v = x[k] < 0 ? 0 : x[k];
    y[k] = v > 6 ? 6 : v;
  }
}

static void back_row(const wtl_attr *attr, real *dx, const real *dy, const real *x, const real *y, int64_t n) {
  (void)attr, (void)x;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real g = dy[k]; /* read always, or the loop is not vectorized */
    dx[k] = (y[k] <= 0 || y[k] >= 6) ? 0 : g;
  }
}

static wtl_status forward(wtl_call *c) { return unary_forward(c, row); }
static wtl_status backward(wtl_call *c) { return unary_backward(c, back_row); }

WTL_OP_KERNELS(relu6, forward, backward, NULL);
