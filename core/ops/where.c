/* where: y = cond != 0 ? a : b with broadcasting. Row in ops.def. What is not chosen has no gradient, even if it is
 * NaN; cond's own gradient is 0. */
#include "binary.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  wtl_shape both;
  WTL_TRY(wtl_broadcast(f->ctx, "where", &f->in[1], &f->in[2], &both));
  if (wtl_broadcast(f->ctx, "where", &f->in[0], &both, &f->out[0]) != WTL_OK)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "where: cond is %s, a is %s, b is %s; cond does not broadcast with them",
                    SHAPE(&f->in[0]), SHAPE(&f->in[1]), SHAPE(&f->in[2]));
  f->scratch_bytes = (size_t)wtl_rule_bytes(f, &f->out[0]);
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->out[0]), cond = wtl_rule_bytes(f, &f->in[0]),
         rest = wtl_rule_bytes(f, &f->in[1]) + wtl_rule_bytes(f, &f->in[2]) + wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ n, cond + rest };
  *backward = (wtl_cost){ 2 * n, 2 * cond + rest };
}

WTL_OP_RULES(where, infer, cost, 1, 0);
#endif

static real choice(real cond, real a, real b) { return cond != 0 ? a : b; }
static void row(real *y, const real *const x[], const int64_t s[], int64_t n) { ternary_row(choice, y, x, s, n); }

static wtl_status forward(wtl_call *c) {
  REAL(wtl_map)(c->ctx, &c->out[0], 3, (const wtl_view *const[]){ &c->in[0], &c->in[1], &c->in[2] }, row);
  return WTL_OK;
}

static real of_a(real dy, real cond) { return cond != 0 ? dy : 0; }
static real of_b(real dy, real cond) { return cond != 0 ? 0 : dy; }
static void row_of_a(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(of_a, y, x, s, n); }
static void row_of_b(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(of_b, y, x, s, n); }

/* din[0] may be dout's own memory: it is written last. */
static wtl_status backward(wtl_call *c) {
  const wtl_view *const x[] = { &c->dout[0], &c->in[0] };
  binary_gradient(c, 2, 2, x, row_of_b);
  binary_gradient(c, 1, 2, x, row_of_a);
  if (c->din[0].data) memset(c->din[0].data, 0, (size_t)wtl_view_numel(&c->din[0]) * sizeof(real));
  return WTL_OK;
}

WTL_OP_KERNELS(where, forward, backward, NULL);
