/* pow: y = a^b with broadcasting. Row in ops.def. A square, which is the common case, is a product. */
#include "binary.h"

#if WTL_ONCE
WTL_OP_RULES(pow, wtl_rule_binary, wtl_binary_cost, 1 | 2, 0);
#endif

/* The same for every layout: what is not vectorized squares too. */
static real power(real a, real b) { return b == 2 ? a * a : real_pow(a, b); }
static real square(real a, real b) {
  (void)b;
  return a * a;
}

static void row(real *y, const real *const x[], const int64_t s[], int64_t n) {
  if (s[1] == 0 && x[1][0] == 2) binary_row(square, y, x, s, n);
  else binary_row(power, y, x, s, n);
}
static wtl_status forward(wtl_call *c) { return binary_forward(c, row); }

/* Where the formula is 0 * infinity, the derivative is 0, as in PyTorch. */
static real of_a(real dy, real a, real b) { return b == 0 ? 0 : dy * (b * (b == 2 ? a : real_pow(a, b - 1))); }
static real of_a_square(real dy, real a, real b) { return dy * (b * a); }
static real of_b(real dy, real a, real b) { return a == 0 && b >= 0 ? 0 : dy * (power(a, b) * real_log(a)); }
static void row_of_a(real *y, const real *const x[], const int64_t s[], int64_t n) {
  if (s[2] == 0 && x[2][0] == 2) ternary_row(of_a_square, y, x, s, n);
  else ternary_row(of_a, y, x, s, n);
}
static void row_of_b(real *y, const real *const x[], const int64_t s[], int64_t n) { ternary_row(of_b, y, x, s, n); }
static wtl_status backward(wtl_call *c) { return binary_backward(c, row_of_a, row_of_b); }

WTL_OP_KERNELS(pow, forward, backward, NULL);
