/* clamp: y = x brought into [min, max]. Row in ops.def. NaN stays NaN. */
#include "unary.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  if (f->attr[0].f > f->attr[1].f)
    return wtl_fail(f->ctx, WTL_ERR_ARG, "clamp: min is %g, max is %g; min must not be above max", f->attr[0].f,
                    f->attr[1].f);
  return wtl_rule_unary(f);
}

WTL_OP_RULES(clamp, infer, wtl_unary_cost, 1, 0);
#endif

static void row(const wtl_attr *attr, real *y, const real *x, int64_t n) {
  real low = (real)attr[0].f, high = (real)attr[1].f;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real v = x[k] < low ? low : x[k];
    y[k] = v > high ? high : v;
  }
}

static void back_row(const wtl_attr *attr, real *dx, const real *dy, const real *x, const real *y, int64_t n) {
  real low = (real)attr[0].f, high = (real)attr[1].f;
  (void)y;
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real g = dy[k]; /* read always, or the loop is not vectorized */
    dx[k] = (x[k] >= low && x[k] <= high) ? g : 0;
  }
}

static wtl_status forward(wtl_call *c) { return unary_forward(c, row); }
static wtl_status backward(wtl_call *c) { return unary_backward(c, back_row); }

WTL_OP_KERNELS(clamp, forward, backward, NULL);
