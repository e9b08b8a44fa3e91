/* What a plan says of itself: the listing of its current program, its totals, and its profile. */
#include <string.h>

#include "plan.h"

static const char *layout_name(const wtl_layout *l) { return l ? l->tag : "logical"; }

/* "layer1.0.conv1", or the value's own name where it has no module. */
static const char *instr_name(const wtl_plan *p, const wtl_instr *i) {
  const char *name = i->node >= 0 ? p->graph->node[i->node].name : p->graph->value[i->value].name;
  return name[0] ? name : "-";
}

static const char *instr_op(const wtl_plan *p, const wtl_instr *i) {
  switch (i->what) {
    case WTL_DO_REORDER: return p->graph->value[i->value].kind == WTL_VALUE_PARAM ? "to the master" : "reorder";
    case WTL_DO_ADD: return "add gradients";
    case WTL_DO_UPDATE: return p->rule.op->name;
    default: return p->current->node[i->node].bind.relu_taken ? "batch_norm+relu" : p->graph->node[i->node].op->name;
  }
}

static const char *instr_provider(const wtl_instr *i) { return i->kernel ? i->kernel->provider->name : "reference"; }
static const char *instr_impl(const wtl_instr *i) { return i->kernel ? i->kernel->impl : "plain"; }

static wtl_status describe_instr(const wtl_program *g, const wtl_instr *i, wtl_text *out) {
  static const char *const does[] = { "forward", "backward", "commit", "", "", "" };
  const wtl_plan *p = g->plan;
  char shape[96], path[96] = "";
  wtl_value v = i->node >= 0 && p->graph->node[i->node].op->n_out ? p->graph->node[i->node].out[0] : i->value;
  WTL_TRY(wtl_text_add(out, "%-28s %-9s%-18s %-9s %-22s", instr_name(p, i), does[i->what], instr_op(p, i), instr_provider(i), instr_impl(i)));
  if (v >= 0) wtl_shape_text(&g->shape[v], shape, sizeof shape);
  else shape[0] = 0;
  if (i->what == WTL_DO_REORDER)
    return wtl_text_add(out, " %s %s -> %s%s\n", shape, layout_name(i->from), layout_name(i->to), i->gradient ? " (gradient)" : "");
  if (v >= 0) strncpy(path, layout_name(g->layout[v]), sizeof path - 1);
  return wtl_text_add(out, " %s %s  %.3g MFLOP\n", shape, path, i->cost.flops / 1e6);
}

static wtl_status describe_forms(const wtl_plan *p, wtl_text *out) {
  if (!p->forms) return WTL_OK;
  WTL_TRY(wtl_text_add(out, "\nderived forms of parameters, refreshed when the master changed:\n"));
  for (const wtl_form *f = p->forms; f; f = f->next)
    WTL_TRY(wtl_text_add(out, "%-28s %s, %zu bytes\n", p->graph->value[f->v].name, f->layout->tag, f->layout->bytes));
  return WTL_OK;
}

wtl_status wtl_plan_describe(wtl_plan *p, wtl_text *out) {
  static const char *const phase[] = { "forward", "backward", "running statistics", "update" };
  const wtl_program *g = p->current ? p->current : p->programs;
  WTL_TRY(wtl_text_add(out, "plan: %s, batch %lld, %d instructions, %d reorders, arena %.2f MB (%.2f MB without sharing)\n",
                       wtl_dtype_name(p->graph->dtype), (long long)g->batch, g->n_instr, g->reorders,
                       (double)g->arena_bytes / 1e6, (double)g->sum_bytes / 1e6));
  for (int k = 0, n = 0; k < WTL_PHASES; k++) {
    if (n == g->end[k]) continue;
    WTL_TRY(wtl_text_add(out, "\n%s:\n", phase[k]));
    for (; n < g->end[k]; n++) WTL_TRY(describe_instr(g, &g->instr[n], out));
  }
  return describe_forms(p, out);
}

wtl_status wtl_plan_info_get(wtl_plan *p, wtl_plan_info *out) {
  const wtl_program *g = p->current ? p->current : p->programs;
  wtl_plan_info i = { .nodes = p->graph->n_node, .reorders = g->reorders, .arena_bytes = g->arena_bytes,
                      .sum_bytes = g->sum_bytes, .batch = g->batch };
  for (const wtl_form *f = p->forms; f; f = f->next) i.weight_forms++;
  for (const wtl_program *q = p->programs; q; q = q->next) i.specialisations++;
  for (int n = 0; n < g->n_instr; n++) {
    wtl_cost *c = n < g->end[WTL_PHASE_FORWARD] ? &i.forward : &i.backward;
    c->flops += g->instr[n].cost.flops;
    c->bytes += g->instr[n].cost.bytes;
  }
  *out = i;
  return WTL_OK;
}

wtl_status wtl_plan_profile(wtl_plan *p, bool on) {
  for (wtl_program *g = p->programs; on && g; g = g->next)
    for (int n = 0; n < g->n_instr; n++) g->instr[n].calls = g->instr[n].time_us = 0;
  p->profiling = on;
  return WTL_OK;
}

int wtl_plan_profile_rows(const wtl_plan *p) { return (p->current ? p->current : p->programs)->n_instr; }

wtl_status wtl_plan_profile_row(const wtl_plan *p, int i, wtl_profile_row *out) {
  const wtl_program *g = p->current ? p->current : p->programs;
  if (i < 0 || i >= g->n_instr) return wtl_fail(p->ctx, WTL_ERR_ARG, "profile: row %d; there are %d", i, g->n_instr);
  const wtl_instr *x = &g->instr[i];
  *out = (wtl_profile_row){ instr_name(p, x), instr_op(p, x), instr_provider(x), instr_impl(x), i >= g->end[WTL_PHASE_FORWARD],
                            x->calls, x->time_us, x->cost };
  return WTL_OK;
}
