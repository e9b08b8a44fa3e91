/* add: y = a + b with broadcasting. Row in ops.def. */
#include "binary.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) { return wtl_broadcast(f->ctx, "add", &f->in[0], &f->in[1], &f->out[0]); }

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double bytes = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->in[1]) + wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ (double)wtl_shape_numel(&f->out[0]), bytes };
  *backward = (wtl_cost){ 0, bytes };
}

WTL_OP_RULES(add, infer, cost, 0, 0);
#endif

static real sum(real a, real b) { return a + b; }
static void row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(sum, y, x, s, n); }
static wtl_status forward(wtl_call *c) { return binary_forward(c, row); }

static wtl_status backward(wtl_call *c) {
  const wtl_view *dy = &c->dout[0];
  for (int i = 0; i < 2; i++) {
    real *d = c->din[i].data;
    unsigned repeated = wtl_repeated_axes(dy, &c->in[i]);
    if (!d || d == dy->data) continue;
    if (repeated) REAL(wtl_reduce)(c->ctx, dy, NULL, repeated, 1, d);
    else memcpy(d, dy->data, (size_t)wtl_view_numel(dy) * sizeof *d);
  }
  return WTL_OK;
}

WTL_OP_KERNELS(add, forward, backward, NULL);
