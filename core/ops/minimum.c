/* minimum: y = the smaller of a and b, with broadcasting. Row in ops.def. NaN wins; equals share the gradient. */
#include "binary.h"

#if WTL_ONCE
WTL_OP_RULES(minimum, wtl_rule_binary, wtl_binary_cost, 1 | 2, 0);
#endif

static real smaller(real a, real b) { return a != a || a < b ? a : b; }
static void row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(smaller, y, x, s, n); }
static wtl_status forward(wtl_call *c) { return binary_forward(c, row); }

/* Where either is NaN both have all of it, as in PyTorch. */
static real of_a(real dy, real a, real b) { return a == b ? dy / 2 : a > b ? 0 : dy; }
static real of_b(real dy, real a, real b) { return of_a(dy, b, a); }

static void row_of_a(real *y, const real *const x[], const int64_t s[], int64_t n) { ternary_row(of_a, y, x, s, n); }
static void row_of_b(real *y, const real *const x[], const int64_t s[], int64_t n) { ternary_row(of_b, y, x, s, n); }
static wtl_status backward(wtl_call *c) { return binary_backward(c, row_of_a, row_of_b); }

WTL_OP_KERNELS(minimum, forward, backward, NULL);
