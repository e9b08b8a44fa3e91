/* mul: y = a * b with broadcasting. Row in ops.def. */
#include "binary.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) { return wtl_broadcast(f->ctx, "mul", &f->in[0], &f->in[1], &f->out[0]); }

WTL_OP_RULES(mul, infer, wtl_binary_cost, 1 | 2, 0);
#endif

static real product(real a, real b) { return a * b; }
static void row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(product, y, x, s, n); }
static wtl_status forward(wtl_call *c) { return binary_forward(c, row); }

static wtl_status backward(wtl_call *c) {
  const wtl_view *dy = &c->dout[0];
  /* din[0] may be dout's own memory: the other is computed first. */
  for (int i = 1; i >= 0; i--) {
    const wtl_view *other = &c->in[1 - i];
    unsigned repeated = wtl_repeated_axes(dy, &c->in[i]);
    if (!c->din[i].data) continue;
    if (repeated) REAL(wtl_reduce)(c->ctx, dy, other, repeated, 1, c->din[i].data);
    else REAL(wtl_map)(c->ctx, &c->din[i], 2, (const wtl_view *const[]){ dy, other }, row);
  }
  return WTL_OK;
}

WTL_OP_KERNELS(mul, forward, backward, NULL);
