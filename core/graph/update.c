/* The update half of a plan: parameter groups and their hyperparameters, gradients accumulated over steps and
 * clipped, the optimizer's state. The update itself is an op (sgd_update, adam_update) that the program runs. */
#include <math.h>
#include <string.h>

#include "plan.h"
#include "tensor.h"

enum { P, G }; /* the first inputs of an update op */

/* ---- opening ---- */

static wtl_status open_groups(wtl_plan *p, const wtl_update_rule *rule, const wtl_optim *o) {
  const wtl_graph *g = p->graph;
  p->n_group = o->n_group + 1;
  p->group = wtl_calloc(p->ctx, (size_t)p->n_group, sizeof *p->group);
  if (!p->group) return WTL_ERR_MEMORY;
  for (int k = 0; k < p->n_group; k++) {
    wtl_group *r = &p->group[k];
    for (int i = 0; i < rule[k].n_hyper; i++) r->h[i] = rule[k].hyper[i].value;
    r->own = rule[k].own;
    r->lr_ratio = r->own & 1 ? rule[k].hyper[0].value / rule[0].hyper[0].value : 1;
    if (!isfinite(r->lr_ratio))
      return wtl_fail(p->ctx, WTL_ERR_ARG,
                      "optimizer: group %d has an lr of its own, so the optimizer's own must be given and above 0", k);
    for (int i = 0; k > 0 && i < o->group[k - 1].n_param; i++) {
      int v = 0;
      while (v < g->n_value && g->value[v].param != o->group[k - 1].param[i]) v++;
      if (v == g->n_value)
        return wtl_fail(p->ctx, WTL_ERR_ARG, "optimizer: parameter %d of group %d is not in the graph", i + 1, k);
      if (p->group_of[v]) return wtl_fail(p->ctx, WTL_ERR_ARG, "optimizer: %s is in two groups", g->value[v].name);
      p->group_of[v] = k;
    }
  }
  return WTL_OK;
}

wtl_status wtl_update_open(wtl_plan *p, const wtl_update_rule *rule, const wtl_optim *o) {
  const wtl_graph *g = p->graph;
  size_t values = (size_t)g->n_value;
  int64_t chunks = 0;
  p->state = wtl_calloc(p->ctx, values * WTL_STATES + 1, sizeof *p->state);
  p->sum = wtl_calloc(p->ctx, values + 1, sizeof *p->sum);
  p->group_of = wtl_calloc(p->ctx, values + 1, sizeof *p->group_of);
  if (!p->state || !p->sum || !p->group_of) return WTL_ERR_MEMORY;
  if (!p->has_rule) return WTL_OK;
  WTL_TRY(open_groups(p, rule, o));
  for (int v = 0; v < g->n_value; v++) {
    const wtl_param *w = g->value[v].param;
    if (!w || !w->requires_grad) continue;
    int64_t n = wtl_tensor_numel(w->value);
    if (n / WTL_SPAN + 1 > chunks) chunks = n / WTL_SPAN + 1;
    for (int k = 0; k < p->rule.n_state; k++)
      WTL_TRY(wtl_tensor_create(p->ctx, g->dtype, wtl_tensor_shape(w->value), &p->state[v * WTL_STATES + k]));
    if (p->rule.accumulate > 1)
      WTL_TRY(wtl_tensor_create(p->ctx, g->dtype, wtl_tensor_shape(w->value), &p->sum[v]));
  }
  if (p->rule.clip_norm > 0 && !(p->partial = wtl_calloc(p->ctx, (size_t)chunks + 1, sizeof *p->partial)))
    return WTL_ERR_MEMORY;
  return WTL_OK;
}

void wtl_update_close(wtl_plan *p) {
  int n = p->graph->n_value;
  for (int i = 0; p->state && i < n * WTL_STATES; i++) wtl_tensor_release(p->state[i]);
  for (int v = 0; p->sum && v < n; v++) wtl_tensor_release(p->sum[v]);
  wtl_free(p->ctx, p->state);
  wtl_free(p->ctx, p->sum);
  wtl_free(p->ctx, p->group_of);
  wtl_free(p->ctx, p->group);
  wtl_free(p->ctx, p->partial);
}

/* ---- gradients before an update ---- */

typedef struct grad_job { void *g; const void *x; bool wide; double factor, limit, *partial; } grad_job;

/* g = x * factor (x may be g), then clipped. */
static void scale_span(void *arg, int64_t begin, int64_t end, int thread) {
  const grad_job *j = arg;
  (void)thread;
  if (j->wide) {
    double *g = j->g;
    const double *x = j->x;
    for (int64_t k = begin; k < end; k++) {
      double y = x[k] * j->factor;
      g[k] = y > j->limit ? j->limit : y < -j->limit ? -j->limit : y;
    }
  } else {
    float *g = j->g, factor = (float)j->factor, limit = (float)j->limit;
    const float *x = j->x;
    for (int64_t k = begin; k < end; k++) {
      float y = x[k] * factor;
      g[k] = y > limit ? limit : y < -limit ? -limit : y;
    }
  }
}

/* g += factor * x */
static void add_span(void *arg, int64_t begin, int64_t end, int thread) {
  const grad_job *j = arg;
  (void)thread;
  if (j->wide) {
    double *g = j->g;
    const double *x = j->x;
    for (int64_t k = begin; k < end; k++) g[k] += x[k] * j->factor;
  } else {
    float *g = j->g, factor = (float)j->factor;
    const float *x = j->x;
    for (int64_t k = begin; k < end; k++) g[k] += x[k] * factor;
  }
}

/* Sums of squares, a chunk each, so that the total has the same bits on any number of threads. */
static void square_span(void *arg, int64_t begin, int64_t end, int thread) {
  const grad_job *j = arg;
  double sum = 0;
  (void)thread;
  if (j->wide) {
    const double *g = j->g;
    for (int64_t k = begin; k < end; k++) sum += g[k] * g[k];
  } else {
    const float *g = j->g;
    for (int64_t k = begin; k < end; k++) sum += (double)g[k] * (double)g[k];
  }
  j->partial[begin / WTL_SPAN] = sum;
}

static void each(wtl_plan *p, const wtl_instr *i, wtl_parallel_fn fn, grad_job j) {
  j.wide = p->graph->dtype == WTL_F64;
  wtl_parallel(p->ctx, wtl_view_numel(&i->call.in[G]), WTL_SPAN, fn, &j);
}

static wtl_instr *updates(wtl_plan *p, int *n) {
  wtl_program *r = p->current;
  *n = r->end[WTL_PHASE_UPDATE] - r->end[WTL_PHASE_COMMIT];
  return r->instr + r->end[WTL_PHASE_COMMIT];
}

/* Adds the gradients of the step just run, weighted by its samples. */
static void accumulate(wtl_plan *p) {
  int n;
  wtl_instr *i = updates(p, &n);
  double weight = (double)p->current->batch;
  bool first = p->pending == 0;
  for (int k = 0; k < n; k++)
    each(p, &i[k], first ? scale_span : add_span,
         (grad_job){ .g = i[k].call.in[G].data, .x = i[k].step_grad, .factor = weight, .limit = INFINITY });
  if (first) p->pending_samples = 0;
  p->pending++;
  p->pending_samples += p->current->batch;
}

static double norm(wtl_plan *p, const wtl_instr *i, int n) {
  double sum = 0;
  for (int k = 0; k < n; k++) {
    int64_t chunks = (wtl_view_numel(&i[k].call.in[G]) + WTL_SPAN - 1) / WTL_SPAN;
    each(p, &i[k], square_span, (grad_job){ .g = i[k].call.in[G].data, .partial = p->partial });
    for (int64_t c = 0; c < chunks; c++) sum += p->partial[c];
  }
  return sqrt(sum);
}

static void scale(wtl_plan *p, const wtl_instr *i, int n, double factor, double limit) {
  for (int k = 0; k < n; k++) /* two parameters may have one gradient */
    if (!i[k].shared)
      each(p, &i[k], scale_span,
           (grad_job){ .g = i[k].call.in[G].data, .x = i[k].call.in[G].data, .factor = factor, .limit = limit });
}

/* Means over accumulated samples, clipped by value, then by norm (torch.nn.utils.clip_grad_norm_). */
static wtl_status shape_gradients(wtl_plan *p) {
  const wtl_update_rule *r = &p->rule;
  int n;
  wtl_instr *i = updates(p, &n);
  double factor = p->pending ? 1.0 / (double)p->pending_samples : 1,
         limit = r->clip_value > 0 ? r->clip_value : INFINITY;
  if (factor != 1 || isfinite(limit)) scale(p, i, n, factor, limit);
  if (!(r->clip_norm > 0)) return WTL_OK;
  double size = norm(p, i, n);
  if (!isfinite(size))
    return wtl_fail(p->ctx, WTL_ERR_NUMERIC, "plan: the gradient's norm is %s; nothing was updated",
                    isnan(size) ? "nan" : "infinite");
  if (size > r->clip_norm) scale(p, i, n, r->clip_norm / (size + 1e-6), INFINITY);
  return WTL_OK;
}

/* The gradients are complete: from here on the update phase may run. */
static wtl_status begin_update(wtl_plan *p) {
  wtl_status s = shape_gradients(p);
  p->pending = 0; /* a sum that is not finite is given up */
  if (s != WTL_OK) return s;
  p->count.updates++;
  for (int k = 0; k < p->n_group && p->rule.derive; k++) p->rule.derive(p->group[k].h, p->count.updates);
  return WTL_OK;
}

wtl_status wtl_update_prepare(wtl_plan *p, bool *due) {
  *due = p->has_rule;
  if (!p->has_rule) return WTL_OK;
  if (p->rule.accumulate > 1) {
    accumulate(p);
    *due = p->pending == p->rule.accumulate;
  }
  return *due ? begin_update(p) : WTL_OK;
}

wtl_status wtl_plan_flush(wtl_plan *p) {
  if (!p->pending) return WTL_OK;
  WTL_TRY(begin_update(p));
  return wtl_program_update(p);
}

/* ---- hyperparameters ---- */

static wtl_status hyper_index(const wtl_plan *p, const char *name, int *out) {
  if (!p->has_rule) return wtl_fail(p->ctx, WTL_ERR_ARG, "plan: \"%s\": compiled without an optimizer", name);
  for (int k = 0; k < p->rule.n_hyper; k++)
    if (!strcmp(p->rule.hyper[k].name, name)) {
      *out = k;
      return WTL_OK;
    }
  return wtl_fail(p->ctx, WTL_ERR_ARG, "plan: \"%s\" is no hyperparameter of %s", name, p->rule.kind);
}

wtl_status wtl_hyper_check(wtl_ctx *ctx, const char *what, const wtl_hyper *h, double value) {
  if (!isfinite(value) || value < 0)
    return wtl_fail(ctx, WTL_ERR_ARG, "%s: %s = %g; it must be finite and not negative", what, h->name, value);
  if (value >= h->below)
    return wtl_fail(ctx, WTL_ERR_ARG, "%s: %s = %g; it must be below %g", what, h->name, value, h->below);
  return WTL_OK;
}

wtl_status wtl_plan_set(wtl_plan *p, const char *name, double value) {
  int k;
  WTL_TRY(hyper_index(p, name, &k));
  WTL_TRY(wtl_hyper_check(p->ctx, "plan", &p->rule.hyper[k], value));
  if (!p->rule.n_state && !strcmp(name, "momentum") && value != 0)
    return wtl_fail(p->ctx, WTL_ERR_ARG,
                    "plan: compiled with momentum 0, so there is no momentum buffer; compile it again");
  for (int i = 0; i < p->n_group; i++)
    if (k == 0) p->group[i].h[0] = value * p->group[i].lr_ratio;
    else if (i == 0 || !(p->group[i].own >> k & 1)) p->group[i].h[k] = value;
  return WTL_OK;
}

wtl_status wtl_plan_get(const wtl_plan *p, const char *name, double *out) {
  int k;
  WTL_TRY(hyper_index(p, name, &k));
  *out = p->group[0].h[k];
  return WTL_OK;
}

/* ---- state ---- */

int wtl_plan_states(const wtl_plan *p) {
  int n = 0;
  for (int i = 0; i < p->graph->n_value * WTL_STATES; i++) n += p->state[i] != NULL;
  return n;
}

/* What was accumulated is no part of the state. */
static wtl_status check_flushed(const wtl_plan *p) {
  if (!p->pending) return WTL_OK;
  return wtl_fail(p->ctx, WTL_ERR_STATE, "plan: %d step%s accumulated; flush before the state is read or set",
                  p->pending, p->pending == 1 ? " is" : "s are");
}

wtl_status wtl_plan_state(wtl_plan *p, int i, const char **param, const char **name, wtl_tensor **out) {
  int k = i;
  WTL_TRY(check_flushed(p));
  for (int at = 0; k >= 0 && at < p->graph->n_value * WTL_STATES; at++) {
    if (!p->state[at] || k-- > 0) continue;
    *param = p->graph->value[at / WTL_STATES].name;
    *name = p->rule.state_name[at % WTL_STATES];
    *out = p->state[at];
    return WTL_OK;
  }
  return wtl_fail(p->ctx, WTL_ERR_ARG, "plan: state %d; there are %d, counted from 0", i, wtl_plan_states(p));
}

wtl_plan_count wtl_plan_count_get(const wtl_plan *p) { return p->count; }

wtl_status wtl_plan_count_set(wtl_plan *p, wtl_plan_count count) {
  WTL_TRY(check_flushed(p));
  if (count.steps < 0 || count.updates < 0)
    return wtl_fail(p->ctx, WTL_ERR_ARG, "plan: %lld steps and %lld updates; neither can be negative",
                    (long long)count.steps, (long long)count.updates);
  p->count = count;
  return WTL_OK;
}
