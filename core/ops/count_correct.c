/* count_correct: how many rows have their largest logit at the target. Row in ops.def. NaN counts as largest, as
 * in PyTorch's argmax. */
#include "real.h"
#include "rules.h"

#if WTL_ONCE
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double bytes = wtl_rule_bytes(f, &f->in[0]) + (double)f->in[0].size[0] * sizeof(int64_t);
  *forward = (wtl_cost){ (double)wtl_shape_numel(&f->in[0]), bytes };
  *backward = (wtl_cost){ 0, 0 };
}

WTL_OP_RULES(count_correct, wtl_rule_labels, cost, 0, 0);
#endif

static int64_t largest(const real *x, int64_t n) {
  int64_t best = 0;
  for (int64_t k = 1; k < n; k++)
    if (x[k] > x[best] || (isnan(x[k]) && !isnan(x[best]))) best = k;
  return best;
}

static wtl_status forward(wtl_call *c) {
  const real *logits = c->in[0].data;
  const int64_t *target = c->in[1].data;
  int64_t classes = c->in[0].size[1], correct = 0;
  WTL_TRY(wtl_check_labels(c, "count_correct"));
  for (int64_t r = 0; r < c->in[0].size[0]; r++) correct += largest(logits + r * classes, classes) == target[r];
  *(real *)c->out[0].data = (real)correct;
  return WTL_OK;
}

WTL_OP_KERNELS(count_correct, forward, NULL, NULL);
