/* concat: inputs one behind the other along an axis. Row in ops.def. */
#include "real.h"
#include "walk.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *a = &f->in[0];
  int dim;
  WTL_TRY(wtl_rule_dim(f, f->attr[0].i[0], &dim));
  f->out[0] = *a;
  for (int i = 1; i < f->op->n_in && i < f->n_in; i++) {
    const wtl_shape *x = &f->in[i];
    bool fits = x->ndim == a->ndim;
    if (!f->present[i]) continue;
    for (int k = 0; k < a->ndim && fits; k++) fits = k == dim || x->size[k] == a->size[k];
    if (!fits)
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "concat: a is %s, %s is %s; they must agree in all dims but %d", SHAPE(a),
                      f->op->in_name[i], SHAPE(x), dim);
    f->out[0].size[dim] += x->size[dim];
  }
  return WTL_OK;
}

WTL_OP_RULES(concat, infer, wtl_copy_cost, 0, 0);
#endif

/* Calls copy() for every input with its place in y. */
static void each(wtl_call *c, const wtl_view *y, const wtl_view x[], bool forward_) {
  int dim = wtl_dim_of(c->attr[0].i[0], y->ndim);
  int64_t at = 0;
  for (int i = 0; i < c->n_in; i++) {
    if (c->in[i].ndim == 0) continue; /* absent: what is present has the axis */
    wtl_view part = wtl_view_window(y, dim, at, c->in[i].size[dim], 1);
    if (x[i].data) REAL(wtl_copy)(c->ctx, forward_ ? &part : &x[i], forward_ ? &x[i] : &part);
    at += c->in[i].size[dim];
  }
}

static wtl_status forward(wtl_call *c) {
  each(c, &c->out[0], c->in, true);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  each(c, &c->dout[0], c->din, false);
  return WTL_OK;
}

WTL_OP_KERNELS(concat, forward, backward, NULL);
