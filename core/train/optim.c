/* Optimizers: which update op each is, and what its hyperparameters are called. A new optimizer is an update op
 * in ops.def and a row here. */
#include <math.h>
#include <string.h>

#include "plan.h"

static wtl_status sgd(wtl_ctx *ctx, const wtl_optim *o, wtl_update_rule *r) {
  const struct { const char *name; double value; } h[] = { { "lr", o->lr }, { "momentum", o->momentum }, { "weight_decay", o->weight_decay } };
  r->op = wtl_op_at(WTL_OPID_sgd_update);
  wtl_op_defaults(r->op, r->attr);
  r->attr[0].i[0] = o->nesterov;
  r->states = o->momentum > 0;
  for (size_t k = 0; k < sizeof h / sizeof *h; k++) {
    if (!isfinite(h[k].value) || h[k].value < 0)
      return wtl_fail(ctx, WTL_ERR_ARG, "sgd: %s = %g; it must be finite and not negative", h[k].name, h[k].value);
    r->hyper_name[r->n_hyper] = h[k].name;
    r->hyper[r->n_hyper++] = h[k].value;
  }
  if (o->momentum >= 1) return wtl_fail(ctx, WTL_ERR_ARG, "sgd: momentum = %g; it must be below 1", o->momentum);
  if (o->nesterov && !(o->momentum > 0)) return wtl_fail(ctx, WTL_ERR_ARG, "sgd: nesterov needs a momentum above 0");
  return WTL_OK;
}

wtl_status wtl_plan_compile(wtl_ctx *ctx, wtl_graph *g, const wtl_plan_options *o, wtl_plan **out) {
  static const struct { const char *kind; wtl_status (*make)(wtl_ctx *, const wtl_optim *, wtl_update_rule *); } table[] = {
    { "sgd", sgd },
  };
  wtl_update_rule rule = { 0 };
  if (!o->optim) return wtl_plan_build(ctx, g, o, NULL, out);
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (strcmp(table[i].kind, o->optim->kind) != 0) continue;
    WTL_TRY(table[i].make(ctx, o->optim, &rule));
    return wtl_plan_build(ctx, g, o, &rule, out);
  }
  return wtl_fail(ctx, WTL_ERR_ARG, "optimizer: \"%s\" is unknown; there is sgd", o->optim->kind);
}
