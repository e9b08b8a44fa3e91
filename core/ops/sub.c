/* sub: y = a - b with broadcasting. Row in ops.def. */
#include "binary.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) { return wtl_broadcast(f->ctx, "sub", &f->in[0], &f->in[1], &f->out[0]); }

WTL_OP_RULES(sub, infer, wtl_binary_cost, 0, 0);
#endif

static real difference(real a, real b) { return a - b; }
static void row(real *y, const real *const x[], const int64_t s[], int64_t n) { binary_row(difference, y, x, s, n); }
static wtl_status forward(wtl_call *c) { return binary_forward(c, row); }

static void negative(real *y, const real *const x[], const int64_t s[], int64_t n) {
  const real *dy = x[0];
  (void)s; /* dy is contiguous */
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) y[k] = -dy[k];
}

/* din[0] may be dout's own memory: it is written last. */
static wtl_status backward(wtl_call *c) {
  const wtl_view *dy = &c->dout[0];
  real *da = c->din[0].data, *db = c->din[1].data;
  unsigned repeated_a = wtl_repeated_axes(dy, &c->in[0]), repeated_b = wtl_repeated_axes(dy, &c->in[1]);
  if (db && repeated_b) REAL(wtl_reduce)(c->ctx, dy, NULL, repeated_b, -1, db);
  else if (db) REAL(wtl_map)(c->ctx, &c->din[1], 1, &dy, negative);
  if (da && repeated_a) REAL(wtl_reduce)(c->ctx, dy, NULL, repeated_a, 1, da);
  else if (da && da != dy->data) memcpy(da, dy->data, (size_t)wtl_view_numel(dy) * sizeof *da);
  return WTL_OK;
}

WTL_OP_KERNELS(sub, forward, backward, NULL);
