/* permute: y is x with its axes in another order. Row in ops.def. A copy, since plans keep values contiguous. */
#include "real.h"
#include "walk.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_attr *dims = &f->attr[0];
  const wtl_shape *x = &f->in[0];
  unsigned seen = 0;
  if (dims->n != x->ndim)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "permute: x is %s; %d dims are given", SHAPE(x), dims->n);
  f->out[0].ndim = x->ndim;
  for (int k = 0; k < x->ndim; k++) {
    int d;
    WTL_TRY(wtl_rule_dim(f, dims->i[k], &d));
    if (seen >> d & 1)
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "permute: x is %s; dim %lld is given twice", SHAPE(x),
                      (long long)dims->i[k]);
    seen |= 1u << d;
    f->out[0].size[k] = x->size[d];
  }
  return WTL_OK;
}

WTL_OP_RULES(permute, infer, wtl_copy_cost, 0, 0);
#endif

/* The view with v's axes in the op's order. */
static wtl_view permuted(const wtl_call *c, const wtl_view *v) {
  wtl_view w = *v;
  for (int k = 0; k < v->ndim; k++) {
    int d = wtl_dim_of(c->attr[0].i[k], v->ndim);
    w.size[k] = v->size[d];
    w.stride[k] = v->stride[d];
  }
  return w;
}

static wtl_status forward(wtl_call *c) {
  wtl_view x = permuted(c, &c->in[0]);
  REAL(wtl_copy)(c->ctx, &c->out[0], &x);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  wtl_view dx = permuted(c, &c->din[0]);
  REAL(wtl_copy)(c->ctx, &dx, &c->dout[0]);
  return WTL_OK;
}

WTL_OP_KERNELS(permute, forward, backward, NULL);
