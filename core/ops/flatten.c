/* flatten: y is x with dims start_dim..end_dim made one. Row in ops.def. In plans y is x's memory and nothing
 * runs; at once, it is a copy. */
#include "real.h"
#include "rules.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_shape *x = &f->in[0];
  wtl_shape *y = &f->out[0];
  int64_t first = f->attr[0].i[0], last = f->attr[1].i[0], ndim = x->ndim;
  if (ndim == 0) { /* as PyTorch: a scalar becomes [1], whatever the dims */
    *y = (wtl_shape){ 1, { 1 } };
    return WTL_OK;
  }
  if (first < -ndim || first >= ndim || last < -ndim || last >= ndim)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "flatten: x is %s; it has no dims %lld..%lld", SHAPE(x),
                    (long long)first, (long long)last);
  if (first < 0) first += ndim;
  if (last < 0) last += ndim;
  if (first > last)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "flatten: x is %s; start_dim %lld comes after end_dim %lld", SHAPE(x),
                    (long long)first, (long long)last);
  y->ndim = 0;
  for (int64_t k = 0; k < ndim; k++) {
    if (k > first && k <= last) y->size[y->ndim - 1] *= x->size[k];
    else y->size[y->ndim++] = x->size[k];
  }
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  (void)f;
  *forward = *backward = (wtl_cost){ 0, 0 };
}

WTL_OP_RULES(flatten, infer, cost, 0, 0);
#endif

static void copy(void *to, const void *from, const wtl_view *v) {
  if (to != from) memcpy(to, from, (size_t)wtl_view_numel(v) * sizeof(real));
}

static wtl_status forward(wtl_call *c) {
  copy(c->out[0].data, c->in[0].data, &c->out[0]);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  copy(c->din[0].data, c->dout[0].data, &c->dout[0]);
  return WTL_OK;
}

WTL_OP_KERNELS(flatten, forward, backward, NULL);
