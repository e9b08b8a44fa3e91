/* What a perfect sparse kernel would do: the arithmetic of a forward pass without multiplications by zeros of
 * weights. */
#include "plan.h"

static double zero_share(const wtl_tensor *t) {
  int64_t n = wtl_tensor_numel(t), zeros = 0;
  if (wtl_tensor_dtype(t) == WTL_F64) {
    const double *x = wtl_tensor_cdata(t);
    for (int64_t i = 0; i < n; i++) zeros += x[i] == 0;
  } else {
    const float *x = wtl_tensor_cdata(t);
    for (int64_t i = 0; i < n; i++) zeros += x[i] == 0;
  }
  return n ? (double)zeros / (double)n : 0;
}

/* Every element of the weight of these ops has as many multiplications as any other, and they do nothing else that
 * counts. */
static bool multiplies(const wtl_op *op) {
  return op == wtl_op_at(WTL_OPID_conv2d) || op == wtl_op_at(WTL_OPID_linear) || op == wtl_op_at(WTL_OPID_matmul);
}

wtl_status wtl_plan_nonzero_flops(wtl_plan *p, double *out) {
  const wtl_program *g = p->current ? p->current : p->programs;
  double flops = 0;
  for (int n = 0; n < g->end[WTL_PHASE_FORWARD]; n++) {
    const wtl_instr *i = &g->instr[n];
    double share = 1;
    flops += i->cost.flops;
    if (i->what != WTL_DO_FORWARD || !multiplies(p->graph->node[i->node].op)) continue;
    for (int k = 0; k < 2; k++) {
      const wtl_param *w = p->graph->value[p->graph->node[i->node].in[k]].param;
      if (w) share *= 1 - zero_share(w->value);
    }
    flops -= i->cost.flops * (1 - share);
  }
  *out = flops;
  return WTL_OK;
}
