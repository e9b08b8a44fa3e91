/* mul: y = a * b with broadcasting. Row in ops.def. */
#include "real.h"
#include "walk.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) { return wtl_broadcast(f->ctx, "mul", &f->in[0], &f->in[1], &f->out[0]); }

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->out[0]), in = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->in[1]);
  *forward = (wtl_cost){ n, in + wtl_rule_bytes(f, &f->out[0]) };
  *backward = (wtl_cost){ 2 * n, 2 * in + wtl_rule_bytes(f, &f->out[0]) };
}

WTL_OP_RULES(mul, infer, cost, 1 | 2, 0);
#endif

static void row(real *y, const real *a, int64_t sa, const real *b, int64_t sb, int64_t n) {
  if (sa == 1 && sb == 1) {
    WTL_INDEPENDENT
    for (int64_t k = 0; k < n; k++) y[k] = a[k] * b[k];
  } else if (sa == 1 && sb == 0) {
    real c = b[0];
    WTL_INDEPENDENT
    for (int64_t k = 0; k < n; k++) y[k] = a[k] * c;
  } else {
    for (int64_t k = 0; k < n; k++) y[k] = a[k * sa] * b[k * sb];
  }
}

static wtl_status forward(wtl_call *c) {
  REAL(wtl_map2)(c->ctx, &c->out[0], &c->in[0], &c->in[1], row);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  const wtl_view *dy = &c->dout[0];
  /* din[0] may be dout's own memory: the other is computed first. */
  for (int i = 1; i >= 0; i--) {
    const wtl_view *other = &c->in[1 - i];
    unsigned repeated = wtl_repeated_axes(dy, &c->in[i]);
    if (!c->din[i].data) continue;
    if (repeated) REAL(wtl_reduce)(c->ctx, dy, other, repeated, 1, c->din[i].data);
    else REAL(wtl_map2)(c->ctx, &c->din[i], dy, other, row);
  }
  return WTL_OK;
}

WTL_OP_KERNELS(mul, forward, backward, NULL);
