/* gelu: y = x * P(a standard normal number is below x), or its approximation by tanh. Row in ops.def. */
#include "unary.h"

enum { TANH }; /* attributes */

#if WTL_ONCE
WTL_OP_RULES(gelu, wtl_rule_unary, wtl_unary_cost, 1, 0);
#endif

#define SQRT_2_BY_PI ((real)0.79788456080286535588) /* sqrt(2/pi) */
#define CUBIC ((real)0.044715)

static void exact_row(real *y, const real *x, int64_t n) {
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real density;
    y[k] = x[k] * real_normal(x[k], &density);
  }
}

static void tanh_row(real *y, const real *x, int64_t n) {
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real t = real_tanh(SQRT_2_BY_PI * (x[k] + CUBIC * x[k] * x[k] * x[k]));
    y[k] = (real)0.5 * x[k] * (1 + t);
  }
}

/* dy * (P(x) + x * density(x)) */
static void exact_back_row(real *dx, const real *dy, const real *x, int64_t n) {
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real density, p = real_normal(x[k], &density);
    dx[k] = dy[k] * (p + x[k] * density);
  }
}

/* With u = sqrt(2/pi)*(x + c*x^3), t = tanh u: dy * (1 + t + x*(1-t^2)*u') / 2 */
static void tanh_back_row(real *dx, const real *dy, const real *x, int64_t n) {
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) {
    real v = x[k], square = v * v, t = real_tanh(SQRT_2_BY_PI * (v + CUBIC * square * v));
    real slope = SQRT_2_BY_PI * (1 + 3 * CUBIC * square);
    dx[k] = dy[k] * ((real)0.5 * (1 + t + v * (1 - t * t) * slope));
  }
}

static void row(const wtl_attr *attr, real *y, const real *x, int64_t n) {
  if (attr[TANH].i[0]) tanh_row(y, x, n);
  else exact_row(y, x, n);
}

static void back_row(const wtl_attr *attr, real *dx, const real *dy, const real *x, const real *y, int64_t n) {
  (void)y;
  if (attr[TANH].i[0]) tanh_back_row(dx, dy, x, n);
  else exact_back_row(dx, dy, x, n);
}

static wtl_status forward(wtl_call *c) { return unary_forward(c, row); }
static wtl_status backward(wtl_call *c) { return unary_backward(c, back_row); }

WTL_OP_KERNELS(gelu, forward, backward, NULL);
