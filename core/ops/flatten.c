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

WTL_OP_RULES(flatten, infer, wtl_alias_cost, 0, 0);
#endif

WTL_OP_KERNELS(flatten, wtl_alias_forward, wtl_alias_backward, NULL);
