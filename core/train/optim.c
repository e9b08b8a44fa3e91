/* Optimizers: which update op each is, what its hyperparameters and states are called. A new optimizer is an
 * update op in ops.def and a function here. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "plan.h"

static void hyper(wtl_update_rule *r, const char *name, double value, double below) {
  r->hyper[r->n_hyper++] = (wtl_hyper){ name, value, below };
  r->n_h = r->n_hyper;
}

/* ---- sgd ---- */

static wtl_status sgd(wtl_ctx *ctx, const wtl_optim *o, wtl_update_rule *r) {
  r->kind = "sgd";
  r->op = wtl_op_at(WTL_OPID_sgd_update);
  wtl_op_defaults(r->op, r->attr);
  r->attr[0].i[0] = o->nesterov;
  r->state_name[0] = "momentum_buffer";
  r->n_state = o->momentum > 0;
  hyper(r, "lr", o->lr, INFINITY);
  hyper(r, "momentum", o->momentum, 1);
  hyper(r, "weight_decay", o->weight_decay, INFINITY);
  if (o->nesterov && !(o->momentum > 0)) return wtl_fail(ctx, WTL_ERR_ARG, "sgd: nesterov needs a momentum above 0");
  return WTL_OK;
}

/* ---- adam, adamw ---- */

/* b^t by squaring: the same bits everywhere, which pow does not promise. */
static double power(double b, int64_t t) {
  double y = 1;
  for (; t; t >>= 1, b *= b)
    if (t & 1) y *= b;
  return y;
}

static void adam_derive(double *h, int64_t update) {
  h[5] = 1 - power(h[1], update);
  h[6] = 1 - power(h[2], update);
}

static wtl_status adam(wtl_ctx *ctx, const wtl_optim *o, wtl_update_rule *r) {
  r->op = wtl_op_at(WTL_OPID_adam_update);
  wtl_op_defaults(r->op, r->attr);
  bool decoupled = !strcmp(o->kind, "adamw");
  r->kind = decoupled ? "adamw" : "adam";
  r->attr[0].i[0] = decoupled;
  r->state_name[0] = "exp_avg";
  r->state_name[1] = "exp_avg_sq";
  r->n_state = 2;
  hyper(r, "lr", o->lr, INFINITY);
  hyper(r, "beta1", o->beta1, 1);
  hyper(r, "beta2", o->beta2, 1);
  hyper(r, "eps", o->eps, INFINITY);
  hyper(r, "weight_decay", o->weight_decay, INFINITY);
  r->n_h = 7;
  r->derive = adam_derive;
  if (o->momentum == 0 && !o->nesterov) return WTL_OK;
  return wtl_fail(ctx, WTL_ERR_ARG, "%s: momentum and nesterov are sgd's; give beta1", o->kind);
}

/* ---- any ---- */

typedef wtl_status (*make_fn)(wtl_ctx *ctx, const wtl_optim *o, wtl_update_rule *r);

static wtl_status make_rule(wtl_ctx *ctx, make_fn make, const wtl_optim *o, wtl_update_rule *r) {
  r->clip_value = o->clip_value;
  r->clip_norm = o->clip_norm;
  r->accumulate = o->accumulate > 1 ? o->accumulate : 1;
  WTL_TRY(make(ctx, o, r));
  for (int k = 0; k < r->n_hyper; k++) WTL_TRY(wtl_hyper_check(ctx, o->kind, &r->hyper[k], r->hyper[k].value));
  return WTL_OK;
}

/* What a group may have of its own: its name, and where it stands in an optimizer and in a group. */
#define FIELD(name) { #name, offsetof(wtl_optim, name), offsetof(wtl_optim_group, name) }
static const struct { const char *name; size_t in_optim, in_group; } field[] = {
  FIELD(lr), FIELD(momentum), FIELD(weight_decay), FIELD(beta1), FIELD(beta2), FIELD(eps),
};
enum { FIELDS = sizeof field / sizeof *field };

static double own_value(const wtl_optim_group *g, int k) { return *(const double *)((const char *)g + field[k].in_group); }

/* The optimizer's rule with the group's own values in it, which r->own marks. */
static wtl_status make_group(wtl_ctx *ctx, make_fn make, const wtl_optim *o, const wtl_optim_group *g, wtl_update_rule *r) {
  wtl_optim m = *o;
  for (int k = 0; k < FIELDS; k++)
    if (!isnan(own_value(g, k))) *(double *)((char *)&m + field[k].in_optim) = own_value(g, k);
  WTL_TRY(make_rule(ctx, make, &m, r));
  for (int k = 0; k < FIELDS; k++) {
    int at = 0;
    if (isnan(own_value(g, k))) continue;
    while (at < r->n_hyper && strcmp(r->hyper[at].name, field[k].name)) at++;
    if (at == r->n_hyper) return wtl_fail(ctx, WTL_ERR_ARG, "%s has no %s", o->kind, field[k].name);
    r->own |= 1u << at;
  }
  return WTL_OK;
}

static wtl_status make_groups(wtl_ctx *ctx, make_fn make, const wtl_optim *o, wtl_update_rule *rule) {
  for (int i = 0; i < o->n_group; i++) {
    wtl_status s = make_group(ctx, make, o, &o->group[i], &rule[i + 1]);
    if (s == WTL_OK && rule[i + 1].n_state > rule[0].n_state) /* one state is made for all */
      s = wtl_fail(ctx, WTL_ERR_ARG, "a momentum needs one above 0 in the optimizer itself");
    if (s != WTL_OK) return wtl_prefix(ctx, s, "optimizer: group %d", i + 1);
  }
  return WTL_OK;
}

static wtl_status check_common(wtl_ctx *ctx, const wtl_optim *o) {
  const struct { const char *name; double value; } clip[] = { { "clip_value", o->clip_value },
                                                              { "clip_norm", o->clip_norm } };
  for (size_t k = 0; k < sizeof clip / sizeof *clip; k++)
    if (!isfinite(clip[k].value) || clip[k].value < 0)
      return wtl_fail(ctx, WTL_ERR_ARG, "optimizer: %s = %g; it must be finite and not negative (0: not clipped)",
                      clip[k].name, clip[k].value);
  if (o->accumulate >= 0) return WTL_OK;
  return wtl_fail(ctx, WTL_ERR_ARG, "optimizer: accumulate = %d; it must be a count of steps, 1 or more", o->accumulate);
}

wtl_status wtl_plan_compile(wtl_ctx *ctx, wtl_graph *g, const wtl_plan_options *o, wtl_plan **out) {
  static const struct { const char *kind; make_fn make; } table[] = { { "sgd", sgd }, { "adam", adam },
                                                                      { "adamw", adam } };
  const wtl_optim *optim = o->optim;
  make_fn make = NULL;
  if (!optim) return wtl_plan_build(ctx, g, o, NULL, out);
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (!strcmp(table[i].kind, optim->kind)) make = table[i].make;
  if (!make)
    return wtl_fail(ctx, WTL_ERR_ARG, "optimizer: \"%s\" is unknown; there are sgd, adam and adamw", optim->kind);
  WTL_TRY(check_common(ctx, optim));
  wtl_update_rule *rule = wtl_calloc(ctx, (size_t)optim->n_group + 1, sizeof *rule);
  if (!rule) return WTL_ERR_MEMORY;
  wtl_status s = make_rule(ctx, make, optim, rule);
  if (s == WTL_OK) s = make_groups(ctx, make, optim, rule);
  if (s == WTL_OK) s = wtl_plan_build(ctx, g, o, rule, out);
  wtl_free(ctx, rule);
  return s;
}
