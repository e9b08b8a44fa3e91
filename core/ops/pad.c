/* pad: x inside a frame of one value. Row in ops.def. */
#include "real.h"
#include "walk.h"

enum { PADS, VALUE }; /* attributes */

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_attr *pads = &f->attr[PADS];
  const wtl_shape *x = &f->in[0];
  if (pads->n % 2 || pads->n / 2 > x->ndim)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "pad: x is %s; %d pads are given, two for each of the last dims", SHAPE(x),
                    pads->n);
  WTL_TRY(wtl_rule_range(f, PADS, 0));
  f->out[0] = *x;
  for (int k = 0; k < pads->n; k++) f->out[0].size[x->ndim - 1 - k / 2] += pads->i[k];
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double x = wtl_rule_bytes(f, &f->in[0]), y = wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ 0, x + y };
  *backward = (wtl_cost){ 0, 2 * x };
}

WTL_OP_RULES(pad, infer, cost, 0, 0);
#endif

/* Where x stands in y. */
static wtl_view inside(const wtl_call *c, const wtl_view *y) {
  wtl_view w = *y;
  for (int k = 0; k < c->attr[PADS].n; k += 2) {
    int dim = y->ndim - 1 - k / 2;
    w = wtl_view_window(&w, dim, c->attr[PADS].i[k], c->in[0].size[dim], 1);
  }
  return w;
}

static wtl_status forward(wtl_call *c) {
  real value = (real)c->attr[VALUE].f, *y = c->out[0].data;
  wtl_view x = inside(c, &c->out[0]);
  for (int64_t k = 0, n = wtl_view_numel(&c->out[0]); k < n; k++) y[k] = value;
  REAL(wtl_copy)(c->ctx, &x, &c->in[0]);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  wtl_view dy = inside(c, &c->dout[0]);
  REAL(wtl_copy)(c->ctx, &c->din[0], &dy);
  return WTL_OK;
}

WTL_OP_KERNELS(pad, forward, backward, NULL);
