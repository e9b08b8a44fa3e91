/* The comparisons gt, ge, lt, le, eq, ne: y = 1 where they hold, else 0, with broadcasting. Rows in ops.def. With a NaN
 * only ne holds. They have no gradient: none flows through them. */
#include "binary.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) { return wtl_broadcast(f->ctx, f->op->name, &f->in[0], &f->in[1], &f->out[0]); }

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  wtl_binary_cost(f, forward, backward);
  *backward = (wtl_cost){ 0, 0 };
}

WTL_OP_RULES(gt, infer, cost, 0, 0);
WTL_OP_RULES(ge, infer, cost, 0, 0);
WTL_OP_RULES(lt, infer, cost, 0, 0);
WTL_OP_RULES(le, infer, cost, 0, 0);
WTL_OP_RULES(eq, infer, cost, 0, 0);
WTL_OP_RULES(ne, infer, cost, 0, 0);
#endif

static real gt(real a, real b) { return a > b; }
static real ge(real a, real b) { return a >= b; }
static real lt(real a, real b) { return a < b; }
static real le(real a, real b) { return a <= b; }
static real eq(real a, real b) { return a == b; }
static real ne(real a, real b) { return a != b; }

static void gt_row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(gt, y, x, s, n); }
static void ge_row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(ge, y, x, s, n); }
static void lt_row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(lt, y, x, s, n); }
static void le_row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(le, y, x, s, n); }
static void eq_row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(eq, y, x, s, n); }
static void ne_row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(ne, y, x, s, n); }

static wtl_status gt_forward(wtl_call *c) { return binary_forward(c, gt_row); }
static wtl_status ge_forward(wtl_call *c) { return binary_forward(c, ge_row); }
static wtl_status lt_forward(wtl_call *c) { return binary_forward(c, lt_row); }
static wtl_status le_forward(wtl_call *c) { return binary_forward(c, le_row); }
static wtl_status eq_forward(wtl_call *c) { return binary_forward(c, eq_row); }
static wtl_status ne_forward(wtl_call *c) { return binary_forward(c, ne_row); }

WTL_OP_KERNELS(gt, gt_forward, NULL, NULL);
WTL_OP_KERNELS(ge, ge_forward, NULL, NULL);
WTL_OP_KERNELS(lt, lt_forward, NULL, NULL);
WTL_OP_KERNELS(le, le_forward, NULL, NULL);
WTL_OP_KERNELS(eq, eq_forward, NULL, NULL);
WTL_OP_KERNELS(ne, ne_forward, NULL, NULL);
