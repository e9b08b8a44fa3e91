/* reshape: y is x under another shape. Row in ops.def. In plans y is x's memory and nothing runs; at once, it is a
 * copy. */
#include "real.h"
#include "rules.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  const wtl_attr *shape = &f->attr[0];
  const wtl_shape *x = &f->in[0];
  wtl_shape *y = &f->out[0], wanted = { shape->n, { 0 } };
  int open = -1;
  int64_t known = 1, n = wtl_shape_numel(x);
  bool fits = true;
  for (int k = 0; k < shape->n; k++) wanted.size[k] = shape->i[k];
  *y = wanted;
  for (int k = 0; k < shape->n; k++) {
    if (y->size[k] == 0 && k >= x->ndim)
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "reshape: x is %s, shape is %s; dim %d is to be kept, but x has none",
                      SHAPE(x), SHAPE(&wanted), k);
    if (y->size[k] == 0) y->size[k] = x->size[k];
    if (y->size[k] < -1 || (y->size[k] == -1 && open >= 0))
      return wtl_fail(f->ctx, WTL_ERR_SHAPE,
                      "reshape: x is %s, shape is %s; sizes are positive, and at most one is -1", SHAPE(x),
                      SHAPE(&wanted));
    if (y->size[k] == -1) open = k;
    else fits = fits && !__builtin_mul_overflow(known, y->size[k], &known);
  }
  if (open >= 0 && fits) {
    fits = known > 0 && n % known == 0;
    y->size[open] = fits ? n / known : 0;
  } else {
    fits = fits && known == n;
  }
  if (fits) return WTL_OK;
  return wtl_fail(f->ctx, WTL_ERR_SHAPE, "reshape: x is %s, shape is %s; x has %lld elements", SHAPE(x),
                  SHAPE(&wanted), (long long)n);
}

WTL_OP_RULES(reshape, infer, wtl_alias_cost, 0, 0);
#endif

WTL_OP_KERNELS(reshape, wtl_alias_forward, wtl_alias_backward, NULL);
