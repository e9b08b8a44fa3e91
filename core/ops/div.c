/* div: y = a / b with broadcasting. Row in ops.def. */
#include "binary.h"

#if WTL_ONCE
WTL_OP_RULES(div, wtl_rule_binary, wtl_binary_cost, 1 | 2, 0);
#endif

static real quotient(real a, real b) { return a / b; }
static void row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(quotient, y, x, s, n); }
static wtl_status forward(wtl_call *c) { return binary_forward(c, row); }

static real of_a(real dy, real a, real b) {
  (void)a;
  return dy / b;
}

static real of_b(real dy, real a, real b) { return -dy * (a / b / b); }

static void row_of_a(real *y, const real *const x[], const int64_t s[], int64_t n) { ternary_row(of_a, y, x, s, n); }
static void row_of_b(real *y, const real *const x[], const int64_t s[], int64_t n) { ternary_row(of_b, y, x, s, n); }
static wtl_status backward(wtl_call *c) { return binary_backward(c, row_of_a, row_of_b); }

WTL_OP_KERNELS(div, forward, backward, NULL);
