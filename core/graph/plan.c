/* Plans: compiling, binding programs to memory, and running a step. After a batch size was met once, a
 * step allocates nothing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plan.h"
#include "tensor.h"

/* ---- compiling ---- */

static wtl_status open_providers(wtl_plan *p, const char *backend) {
  WTL_TRY(wtl_providers(p->ctx, backend, p->graph->dtype, p->provider));
  for (int k = 0; p->provider[k]; k++) WTL_TRY(p->provider[k]->open(p->ctx, &p->engine[k]));
  return WTL_OK;
}

/* What a parameter was when the plan was compiled; a change makes the plan stale. */
static wtl_seen seen(const wtl_param *w) { return (wtl_seen){ w->requires_grad, w->moves }; }

static wtl_status see_params(wtl_plan *p) {
  const wtl_graph *g = p->graph;
  p->seen = wtl_calloc(p->ctx, (size_t)g->n_value + 1, sizeof *p->seen);
  if (!p->seen) return WTL_ERR_MEMORY;
  for (int v = 0; v < g->n_value; v++)
    if (g->value[v].param) p->seen[v] = seen(g->value[v].param);
  return WTL_OK;
}

/* Before every backward: where the loss is a sum with a parameter in it, this is that parameter's gradient too, and
 * clipping scales it in place. */
static void set_one(wtl_plan *p) {
  if (p->graph->dtype == WTL_F64) *(double *)p->one = 1;
  else *(float *)p->one = 1;
}

static wtl_status check_graph(wtl_plan *p) {
  const wtl_graph *g = p->graph;
  if (!g->n_output && g->loss < 0)
    return wtl_fail(p->ctx, WTL_ERR_ARG, "compile: the graph has neither an output nor a loss");
  if (g->n_output > 64) return wtl_fail(p->ctx, WTL_ERR_ARG, "compile: %d outputs; at most 64", g->n_output);
  if (p->has_rule && g->loss < 0) return wtl_fail(p->ctx, WTL_ERR_ARG, "compile: an optimizer needs a loss");
  if (p->gradients && g->loss < 0) return wtl_fail(p->ctx, WTL_ERR_ARG, "compile: gradients need a loss");
  for (int v = 0; v < g->n_value; v++) {
    const wtl_param *w = g->value[v].param;
    if (w && wtl_tensor_dtype(w->value) != g->value[v].dtype)
      return wtl_fail(p->ctx, WTL_ERR_DTYPE, "compile: %s is %s now, it was traced as %s; trace again",
                      g->value[v].name, wtl_dtype_name(wtl_tensor_dtype(w->value)),
                      wtl_dtype_name(g->value[v].dtype));
  }
  return WTL_OK;
}

/* How many of the inputs, which come in order, the outputs depend on. */
static int inputs_needed(const wtl_plan *p) {
  const wtl_graph *g = p->graph;
  int needed = 0;
  for (int i = 0; i < g->n_input; i++)
    for (int n = 0; n < g->n_node; n++)
      for (int k = 0; k < g->node[n].n_in; k++)
        if (g->node[n].in[k] == g->input[i] && !p->programs->node[n].loss_only) needed = i + 1;
  return needed;
}

wtl_status wtl_plan_build(wtl_ctx *ctx, wtl_graph *g, const wtl_plan_options *o, const wtl_update_rule *rule,
                          wtl_plan **out) {
  wtl_plan *p = wtl_alloc(ctx, sizeof *p);
  if (!p) return WTL_ERR_MEMORY;
  p->ctx = ctx;
  p->graph = wtl_graph_retain(g);
  p->gradients = o->gradients || o->keep_values;
  p->keep_values = o->keep_values;
  p->seed = o->seed;
  if (g->loss < 0 && !o->gradients) p->gradients = false;
  if (rule) p->rule = *rule, p->has_rule = true;
  wtl_status s = check_graph(p);
  if (s == WTL_OK) s = open_providers(p, o->backend);
  if (s == WTL_OK) s = see_params(p);
  if (s == WTL_OK) s = wtl_update_open(p, rule, o->optim);
  if (s == WTL_OK && !(p->one = wtl_alloc(p->ctx, sizeof(double)))) s = WTL_ERR_MEMORY;
  int64_t batch = g->n_input ? g->value[g->input[0]].shape.size[0] : 1;
  if (s == WTL_OK) s = wtl_program_create(p, batch, &p->programs);
  if (s != WTL_OK) {
    wtl_plan_release(p);
    return s;
  }
  p->current = p->programs;
  p->needed = inputs_needed(p);
  *out = p;
  return WTL_OK;
}

void wtl_plan_release(wtl_plan *p) {
  if (!p) return;
  for (wtl_program *g = p->programs, *next; g; g = next) {
    next = g->next;
    wtl_program_destroy(g);
  }
  for (wtl_form *f = p->forms, *next; f; f = next) {
    next = f->next;
    if (f->reorder) f->reorder->destroy(f->reorder);
    wtl_free(p->ctx, f->data);
    wtl_free(p->ctx, f);
  }
  for (int k = 0; k < 4; k++)
    if (p->engine[k]) p->engine[k]->provider->close(p->engine[k]);
  wtl_update_close(p);
  wtl_free(p->ctx, p->seen);
  wtl_free(p->ctx, p->one);
  wtl_free(p->ctx, p->arena);
  wtl_graph_release(p->graph);
  wtl_free(p->ctx, p);
}

/* ---- binding to memory ---- */

static void *buf_memory(const wtl_program *g, int b) {
  if (b < 0) return NULL;
  const wtl_buf *r = &g->bufs[wtl_buf_root(g, b)];
  return r->fixed ? r->fixed : g->plan->arena + r->offset;
}

static void bind_memory(wtl_program *g) {
  for (int n = 0; n < g->n_instr; n++) {
    wtl_instr *i = &g->instr[n];
    wtl_call *c = &i->call;
    for (int k = 0; k < WTL_MAX_IN; k++)
      c->in[k].data = buf_memory(g, i->in[k]), c->din[k].data = buf_memory(g, i->din[k]);
    for (int k = 0; k < WTL_MAX_OUT; k++)
      c->out[k].data = buf_memory(g, i->out[k]), c->dout[k].data = buf_memory(g, i->dout[k]);
    c->saved = buf_memory(g, i->saved);
    c->scratch = buf_memory(g, i->scratch);
    i->step_grad = buf_memory(g, i->step_buf);
  }
  g->bound = g->plan->arena;
}

/* The program of this batch, bound to an arena that is large enough. */
static wtl_status enter(wtl_plan *p, int64_t batch) {
  wtl_program **at = &p->programs, *g;
  while (*at && (*at)->batch != batch) at = &(*at)->next;
  wtl_program *old = *at;
  if (!old || old->threads != wtl_threads(p->ctx)) { /* scratch was sized for another number */
    WTL_TRY(wtl_program_create(p, batch, &g)); /* before the old one goes: a plan is never without a program */
    if (old) g->next = old->next;
    if (old && p->current == old) p->current = NULL;
    wtl_program_destroy(old);
    *at = g;
  }
  g = *at;
  if (g->arena_bytes > p->arena_bytes || !p->arena) {
    char *arena = wtl_alloc(p->ctx, g->arena_bytes ? g->arena_bytes : 1);
    if (!arena) return WTL_ERR_MEMORY;
    wtl_free(p->ctx, p->arena);
    p->arena = arena;
    p->arena_bytes = g->arena_bytes;
    for (wtl_program *q = p->programs; q; q = q->next) q->bound = NULL;
  }
  if (g->bound != p->arena || p->current != g) p->have_gradients = false; /* its arena is new, or was another's */
  if (g->bound != p->arena) bind_memory(g);
  p->current = g;
  return WTL_OK;
}

/* ---- running ---- */

static wtl_status run_update(wtl_plan *p, wtl_instr *i) {
  wtl_param *w = p->graph->value[i->value].param;
  WTL_TRY(wtl_op_kernels_of(p->rule.op, p->graph->dtype)->forward(&i->call));
  w->version++;
  return wtl_param_constrain(w);
}

static wtl_status run_commit(wtl_plan *p, wtl_instr *i) {
  const wtl_gnode *d = &p->graph->node[i->node];
  WTL_TRY(i->kernel->commit(i->kernel, &i->call));
  for (int k = 0; k < d->n_in; k++) {
    wtl_param *w = d->in[k] >= 0 ? p->graph->value[d->in[k]].param : NULL;
    if (w && w->kind == WTL_BUFFER) w->version++;
  }
  return WTL_OK;
}

/* Every random node draws from a stream of its own, every step anew; the same in backward. */
static void draw(const wtl_plan *p, wtl_instr *i) {
  const wtl_gnode *d = &p->graph->node[i->node];
  char purpose[64];
  if (!(d->op->flags & WTL_OP_RANDOM)) return;
  snprintf(purpose, sizeof purpose, i->stream ? "%s.%d" : "%s", d->op->name, i->stream);
  i->call.rng = wtl_rng_make(p->seed, purpose, d->name, (uint64_t)p->count.steps);
}

static wtl_status run_instr(wtl_plan *p, wtl_instr *i) {
  if (i->what == WTL_DO_FORWARD || i->what == WTL_DO_BACKWARD) draw(p, i);
  switch (i->what) {
    case WTL_DO_FORWARD:
    case WTL_DO_REORDER: return i->kernel->forward(i->kernel, &i->call);
    case WTL_DO_BACKWARD: return i->kernel->backward(i->kernel, &i->call);
    case WTL_DO_COMMIT: return run_commit(p, i);
    case WTL_DO_ADD: return wtl_op_kernels_of(wtl_op_at(WTL_OPID_add), p->graph->dtype)->forward(&i->call);
    case WTL_DO_UPDATE: return run_update(p, i);
  }
  return WTL_OK;
}

static wtl_status run(wtl_program *g, wtl_phase from, wtl_phase to, bool with_loss) {
  wtl_plan *p = g->plan;
  for (int n = from == WTL_PHASE_FORWARD ? 0 : g->end[from - 1]; n < g->end[to]; n++) {
    wtl_instr *i = &g->instr[n];
    if (i->loss_only && !with_loss) continue;
    int64_t begin = p->profiling ? wtl_now_us() : 0;
    wtl_status s = run_instr(p, i);
    const char *name = i->node >= 0 ? p->graph->node[i->node].name : "";
    if (s != WTL_OK) return name[0] ? wtl_prefix(p->ctx, s, "%s", name) : s;
    if (p->profiling) i->time_us += wtl_now_us() - begin, i->calls++;
  }
  return WTL_OK;
}

wtl_status wtl_program_update(wtl_plan *p) { return run(p->current, WTL_PHASE_UPDATE, WTL_PHASE_UPDATE, true); }

static wtl_status refresh_forms(wtl_plan *p) {
  for (wtl_form *f = p->forms; f; f = f->next) {
    wtl_param *w = p->graph->value[f->v].param;
    if (f->version == w->version) continue;
    wtl_call c = { .ctx = p->ctx, .n_in = 1, .n_out = 1 };
    c.in[0].data = wtl_tensor_data(w->value);
    c.out[0].data = f->data;
    WTL_TRY(f->reorder->forward(f->reorder, &c));
    f->version = w->version;
  }
  return WTL_OK;
}

static wtl_status check_fresh(wtl_plan *p) {
  const wtl_graph *g = p->graph;
  bool stale = false;
  for (int i = 0; i < g->n_stamp; i++) stale |= g->stamp[i].stamp->count != g->stamp[i].count;
  for (int v = 0; v < g->n_value; v++) {
    const wtl_param *w = g->value[v].param;
    if (!w) continue;
    wtl_seen was = p->seen[v], is = seen(w);
    stale |= was.requires_grad != is.requires_grad || was.moves != is.moves;
  }
  return stale ? wtl_fail(p->ctx, WTL_ERR_STATE, "plan: the model changed since it was compiled; compile it again")
               : WTL_OK;
}

static wtl_status check_inputs(wtl_plan *p, wtl_tensor *const in[], int n_in, int64_t *batch) {
  const wtl_graph *g = p->graph;
  char a[96], b[96];
  for (int i = 0; i < n_in; i++) {
    const wtl_gvalue *v = &g->value[g->input[i]];
    const wtl_shape *s = wtl_tensor_shape(in[i]);
    bool fits = s->ndim == v->shape.ndim;
    for (int d = 1; fits && d < s->ndim; d++) fits = s->size[d] == v->shape.size[d];
    if (!fits)
      return wtl_fail(p->ctx, WTL_ERR_SHAPE, "plan: input %s is %s, it was compiled for %s (dim 0 is free)",
                      v->name, wtl_shape_text(s, a, sizeof a), wtl_shape_text(&v->shape, b, sizeof b));
    if (i == 0) *batch = s->size[0];
    if (s->size[0] != *batch || *batch < 1)
      return wtl_fail(p->ctx, WTL_ERR_SHAPE,
                      "plan: input %s has a batch (dim 0) of %lld, the first input has %lld", v->name,
                      (long long)s->size[0], (long long)*batch);
    bool integer = v->dtype == WTL_I64, given = wtl_tensor_dtype(in[i]) == WTL_I64;
    if (integer != given)
      return wtl_fail(p->ctx, WTL_ERR_DTYPE, "plan: input %s is %s, it was compiled for %s", v->name,
                      wtl_dtype_name(wtl_tensor_dtype(in[i])), wtl_dtype_name(v->dtype));
  }
  return WTL_OK;
}

/* Copy the inputs into the arena, converting where need be; no allocation. */
static wtl_status load_inputs(wtl_program *g, wtl_tensor *const in[], int n_in) {
  const wtl_graph *r = g->plan->graph;
  for (int i = 0; i < n_in; i++) {
    wtl_value v = r->input[i];
    wtl_tensor window = {
      .ctx = g->plan->ctx, .data = buf_memory(g, g->buf[v]), .dtype = r->value[v].dtype, .shape = g->shape[v]
    };
    wtl_shape_strides(&window.shape, window.stride);
    WTL_TRY(wtl_tensor_copy(&window, in[i]));
  }
  return WTL_OK;
}

static double scalar(const wtl_program *g, wtl_value v) {
  if (v < 0) return NAN;
  const void *x = buf_memory(g, g->buf[v]);
  return g->plan->graph->dtype == WTL_F64 ? *(const double *)x : *(const float *)x;
}

static wtl_status begin(wtl_plan *p, wtl_tensor *const in[], int n_in) {
  int64_t batch = 1;
  if (wtl_interrupted(p->ctx)) return wtl_fail(p->ctx, WTL_ERR_INTERRUPTED, "plan: interrupted");
  WTL_TRY(check_fresh(p));
  WTL_TRY(check_inputs(p, in, n_in, &batch));
  WTL_TRY(enter(p, batch));
  WTL_TRY(load_inputs(p->current, in, n_in));
  return refresh_forms(p);
}

static wtl_status check_count(wtl_plan *p, const char *what, int n_in) {
  if (n_in == p->graph->n_input) return WTL_OK;
  return wtl_fail(p->ctx, WTL_ERR_ARG, "plan: %s takes %d inputs, %d were given", what, p->graph->n_input, n_in);
}

wtl_status wtl_plan_step(wtl_plan *p, wtl_tensor *const in[], int n_in, wtl_step *out) {
  const wtl_graph *g = p->graph;
  if (g->loss < 0)
    return wtl_fail(p->ctx, WTL_ERR_STATE, "plan: step needs a loss; compile{loss = ...}, or use forward");
  WTL_TRY(check_count(p, "step", n_in));
  WTL_TRY(begin(p, in, n_in));
  wtl_program *r = p->current;
  wtl_status s = run(r, WTL_PHASE_FORWARD, WTL_PHASE_FORWARD, true);
  if (s == WTL_ERR_NUMERIC) /* a kernel saw it first: every provider tells of a diverged network in the same words */
    return wtl_prefix(p->ctx, s, "plan: the loss is not finite; nothing was updated");
  WTL_TRY(s);
  wtl_step step = { scalar(r, g->loss), scalar(r, g->metric), r->batch };
  if (!isfinite(step.loss))
    return wtl_fail(p->ctx, WTL_ERR_NUMERIC, "plan: the loss is %s; nothing was updated",
                    isnan(step.loss) ? "nan" : "infinite");
  bool due;
  p->have_gradients = false;
  set_one(p);
  WTL_TRY(run(r, WTL_PHASE_BACKWARD, WTL_PHASE_BACKWARD, true));
  WTL_TRY(wtl_update_prepare(p, &due));
  WTL_TRY(run(r, WTL_PHASE_COMMIT, due ? WTL_PHASE_UPDATE : WTL_PHASE_COMMIT, true));
  p->have_gradients = true;
  p->count.steps++;
  *out = step;
  return WTL_OK;
}

static wtl_status read_buf(wtl_plan *p, const wtl_shape *s, wtl_dtype d, const wtl_layout *l, const void *data,
                           wtl_tensor **out) {
  char a[96], b[96];
  wtl_tensor *t = *out;
  if (t && (!wtl_shape_equal(wtl_tensor_shape(t), s) || wtl_tensor_dtype(t) != d || !wtl_tensor_contiguous(t)))
    return wtl_fail(p->ctx, WTL_ERR_SHAPE, "plan: out is %s %s, the result is a contiguous %s %s",
                    wtl_dtype_name(wtl_tensor_dtype(t)), wtl_shape_text(wtl_tensor_shape(t), a, sizeof a),
                    wtl_dtype_name(d), wtl_shape_text(s, b, sizeof b));
  if (!t) WTL_TRY(wtl_tensor_create(p->ctx, d, s, &t));
  wtl_status st = WTL_OK;
  if (l) st = wtl_plan_relayout(p, s, l, data, NULL, wtl_tensor_data(t));
  else memcpy(wtl_tensor_data(t), data, wtl_tensor_bytes(t));
  if (st != WTL_OK && !*out) wtl_tensor_release(t);
  if (st == WTL_OK) *out = t;
  return st;
}

wtl_status wtl_plan_forward(wtl_plan *p, wtl_tensor *const in[], int n_in, wtl_tensor *out[], wtl_step *step) {
  const wtl_graph *g = p->graph;
  bool with_loss = n_in == g->n_input;
  if (n_in < p->needed || n_in > g->n_input) return check_count(p, "forward", n_in);
  if (step && !with_loss) return check_count(p, "forward with a loss", n_in);
  WTL_TRY(begin(p, in, n_in));
  wtl_program *r = p->current;
  WTL_TRY(run(r, WTL_PHASE_FORWARD, WTL_PHASE_FORWARD, with_loss));
  uint64_t made = 0;
  for (int i = 0; out && i < g->n_output; i++) {
    wtl_value v = g->output[i].v;
    if (!out[i]) made |= UINT64_C(1) << i;
    wtl_status s = read_buf(p, &r->shape[v], g->value[v].dtype, NULL, buf_memory(r, r->output[i]), &out[i]);
    if (s == WTL_OK) continue;
    for (int k = 0; k <= i; k++)
      if (made >> k & 1) wtl_tensor_release(out[k]), out[k] = NULL;
    return s;
  }
  if (step) *step = (wtl_step){ scalar(r, g->loss), scalar(r, g->metric), r->batch };
  return WTL_OK;
}

int wtl_plan_outputs(const wtl_plan *p) { return p->graph->n_output; }
int wtl_plan_inputs(const wtl_plan *p) { return p->graph->n_input; }

/* ---- results ---- */

wtl_status wtl_plan_relayout(wtl_plan *p, const wtl_shape *s, const wtl_layout *from, const void *src,
                             const wtl_layout *to, void *dst) {
  wtl_engine *e = wtl_layout_engine(from, to);
  wtl_kernel *k;
  wtl_call c = { .ctx = p->ctx, .n_in = 1, .n_out = 1 };
  WTL_TRY(e->provider->reorder(e, s, from, to, &k));
  c.in[0].data = (void *)(uintptr_t)src;
  c.out[0].data = dst;
  wtl_status st = k->forward(k, &c);
  k->destroy(k);
  return st;
}

static wtl_status gradient_of(wtl_plan *p, wtl_value v, wtl_tensor **out) {
  wtl_program *r = p->current;
  if (!p->gradients)
    return wtl_fail(p->ctx, WTL_ERR_STATE, "plan: compile{gradients = true} keeps gradients; this plan does not");
  if (!r || !p->have_gradients)
    return wtl_fail(p->ctx, WTL_ERR_STATE,
                    "plan: no gradients: no step was run since the batch size or threads changed");
  if (r->grad[v] < 0)
    return wtl_fail(p->ctx, WTL_ERR_ARG, "plan: %s has no gradient: the loss does not depend on it",
                    p->graph->value[v].name);
  *out = NULL;
  const wtl_layout *l = p->graph->value[v].kind == WTL_VALUE_NODE ? r->layout[v] : NULL;
  return read_buf(p, &r->shape[v], p->graph->dtype, l, buf_memory(r, r->grad[v]), out);
}

wtl_status wtl_plan_param_gradient(wtl_plan *p, wtl_param *param, wtl_tensor **out) {
  for (int v = 0; v < p->graph->n_value; v++)
    if (p->graph->value[v].param == param) return gradient_of(p, v, out);
  return wtl_fail(p->ctx, WTL_ERR_ARG, "plan: that parameter is not in the graph");
}

wtl_status wtl_plan_input_gradient(wtl_plan *p, int input, wtl_tensor **out) {
  if (input < 0 || input >= p->graph->n_input)
    return wtl_fail(p->ctx, WTL_ERR_ARG, "plan: input %d; there are %d, counted from 0", input, p->graph->n_input);
  return gradient_of(p, p->graph->input[input], out);
}

wtl_status wtl_plan_value(wtl_plan *p, wtl_value v, bool gradient, wtl_tensor **out) {
  wtl_program *r = p->current;
  if (!p->keep_values)
    return wtl_fail(p->ctx, WTL_ERR_STATE, "plan: compile{keep_values = true} keeps values; this plan does not");
  if (v < 0 || v >= p->graph->n_value)
    return wtl_fail(p->ctx, WTL_ERR_ARG, "plan: value %d is not of this graph", (int)v);
  if (gradient) return gradient_of(p, v, out);
  if (!r || !r->bound) return wtl_fail(p->ctx, WTL_ERR_STATE, "plan: no step was run yet");
  *out = NULL;
  return read_buf(p, &r->shape[v], p->graph->value[v].dtype, r->layout[v], buf_memory(r, r->buf[v]), out);
}
