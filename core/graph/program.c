/* Writing a program: providers are asked node by node, reorders go where a reader wants another layout than
 * the writer's, then backward in reverse, running statistics, updates. Buffers are single-assignment here;
 * arena.c merges what can be written in place. */
#include <string.h>

#include "plan.h"

#define GROW(g, what) \
  wtl_grow((g)->plan->ctx, (void **)&(g)->what, (g)->n_##what, &(g)->cap_##what, sizeof *(g)->what)

/* ---- buffers and instructions ---- */

static wtl_status new_buf(wtl_program *g, size_t bytes, void *fixed, int *out) {
  WTL_TRY(GROW(g, bufs));
  g->bufs[g->n_bufs] = (wtl_buf){ .bytes = bytes ? bytes : 1, .first = g->n_instr, .last = g->n_instr, .fixed = fixed,
                                  .same = -1,
                                  .pinned = g->plan->keep_values };
  *out = g->n_bufs++;
  return WTL_OK;
}

static size_t value_bytes(const wtl_program *g, wtl_value v, const wtl_layout *l) {
  return l ? l->bytes : (size_t)wtl_shape_numel(&g->shape[v]) * wtl_dtype_size(g->plan->graph->value[v].dtype);
}

static wtl_status value_buf(wtl_program *g, wtl_value v, const wtl_layout *l, int *out) {
  return new_buf(g, value_bytes(g, v, l), NULL, out);
}

static void touch(wtl_program *g, int buf, int at) {
  if (buf >= 0 && g->bufs[buf].last < at) g->bufs[buf].last = at;
}

static wtl_view value_view(const wtl_program *g, wtl_value v) {
  return wtl_view_plain(NULL, g->plan->graph->value[v].dtype, &g->shape[v]);
}

/* An empty instruction, not yet counted. */
static wtl_status new_instr(wtl_program *g, wtl_do what, wtl_instr **out) {
  WTL_TRY(GROW(g, instr));
  wtl_instr *i = &g->instr[g->n_instr];
  memset(i, 0, sizeof *i);
  i->what = what;
  i->node = -1;
  i->value = -1;
  i->saved = i->scratch = i->step_buf = -1;
  for (int k = 0; k < WTL_MAX_IN; k++) i->in[k] = i->din[k] = -1;
  for (int k = 0; k < WTL_MAX_OUT; k++) i->out[k] = i->dout[k] = -1;
  i->call.ctx = g->plan->ctx;
  *out = i;
  return WTL_OK;
}

/* Count it, and extend the life of all it touches to here. */
static int emit(wtl_program *g, wtl_instr *i) {
  int at = g->n_instr++;
  for (int k = 0; k < WTL_MAX_IN; k++) touch(g, i->in[k], at), touch(g, i->din[k], at);
  for (int k = 0; k < WTL_MAX_OUT; k++) touch(g, i->out[k], at), touch(g, i->dout[k], at);
  touch(g, i->saved, at);
  touch(g, i->scratch, at);
  return at;
}

/* ---- layouts ---- */

wtl_engine *wtl_layout_engine(const wtl_layout *from, const wtl_layout *to) {
  return from ? from->engine : to->engine;
}

static wtl_status reorder_kernel(wtl_program *g, const wtl_shape *s, const wtl_layout *from, const wtl_layout *to,
                                 wtl_kernel **out) {
  wtl_engine *e = wtl_layout_engine(from, to);
  WTL_TRY(GROW(g, own));
  WTL_TRY(e->provider->reorder(e, s, from, to, out));
  g->own[g->n_own++] = *out;
  return WTL_OK;
}

/* Copy buffer `from_buf` of value v (or of its gradient) into another layout. */
static wtl_status emit_reorder(wtl_program *g, wtl_value v, bool gradient, int from_buf, const wtl_layout *from,
                               const wtl_layout *to, bool loss_only, int *out_buf, int *at) {
  wtl_kernel *k;
  wtl_instr *i;
  int buf;
  WTL_TRY(reorder_kernel(g, &g->shape[v], from, to, &k));
  WTL_TRY(value_buf(g, v, to, &buf));
  WTL_TRY(new_instr(g, WTL_DO_REORDER, &i));
  i->value = v;
  i->gradient = gradient;
  i->loss_only = loss_only;
  i->kernel = k;
  i->from = from;
  i->to = to;
  i->in[0] = from_buf;
  i->out[0] = buf;
  i->call.n_in = i->call.n_out = 1;
  i->call.in[0] = i->call.out[0] = value_view(g, v);
  i->cost.bytes = (double)(value_bytes(g, v, from) + value_bytes(g, v, to));
  *at = emit(g, i);
  *out_buf = buf;
  if (g->plan->graph->value[v].kind != WTL_VALUE_PARAM) g->reorders++;
  return WTL_OK;
}

/* The derived form of a parameter, shared by all programs of the plan. */
static wtl_status param_form(wtl_program *g, wtl_value v, const wtl_layout *l, wtl_form **out) {
  wtl_plan *p = g->plan;
  wtl_engine *e = wtl_layout_engine(NULL, l);
  for (wtl_form *f = p->forms; f; f = f->next)
    if (f->v == v && f->layout == l) {
      *out = f;
      return WTL_OK;
    }
  wtl_form *f = wtl_alloc(p->ctx, sizeof *f);
  if (!f) return WTL_ERR_MEMORY;
  f->v = v;
  f->layout = l;
  f->data = wtl_alloc(p->ctx, l->bytes);
  wtl_status s = f->data ? e->provider->reorder(e, &g->shape[v], NULL, l, &f->reorder) : WTL_ERR_MEMORY;
  if (s != WTL_OK) {
    wtl_free(p->ctx, f->data);
    wtl_free(p->ctx, f);
    return s;
  }
  f->next = p->forms; /* whole: a plan outlives a batch size that it failed to specialise for */
  p->forms = f;
  *out = f;
  return WTL_OK;
}

/* The buffer that holds v in layout l at this point, made if need be. */
static wtl_status in_layout(wtl_program *g, wtl_value v, const wtl_layout *l, bool loss_only, int *out) {
  if (g->layout[v] == l) {
    *out = g->buf[v];
    return WTL_OK;
  }
  for (int i = 0; i < g->n_alt; i++)
    if (g->alt[i].v == v && g->alt[i].layout == l) {
      if (g->alt[i].instr >= 0 && !loss_only) g->instr[g->alt[i].instr].loss_only = false;
      *out = g->alt[i].buf;
      return WTL_OK;
    }
  WTL_TRY(GROW(g, alt));
  wtl_alt a = { v, l, -1, -1 };
  if (g->plan->graph->value[v].kind == WTL_VALUE_PARAM) {
    wtl_form *f = NULL;
    WTL_TRY(param_form(g, v, l, &f));
    WTL_TRY(new_buf(g, l->bytes, f->data, &a.buf));
  } else {
    WTL_TRY(emit_reorder(g, v, false, g->buf[v], g->layout[v], l, loss_only, &a.buf, &a.instr));
  }
  g->alt[g->n_alt++] = a;
  *out = a.buf;
  return WTL_OK;
}

/* ---- marks ---- */

/* Which values carry a gradient, which nodes run backward, which serve the loss alone. */
static wtl_status mark(wtl_program *g) {
  const wtl_plan *p = g->plan;
  const wtl_graph *r = p->graph;
  bool differentiate = r->loss >= 0 && (p->has_rule || p->gradients);
  bool *on_path = wtl_calloc(p->ctx, 2 * (size_t)r->n_value + 1, sizeof *on_path);
  if (!on_path) return WTL_ERR_MEMORY;
  bool *for_output = on_path + r->n_value;
  for (int v = 0; v < r->n_value; v++) {
    const wtl_gvalue *x = &r->value[v];
    g->need_grad[v] = differentiate && ((x->kind == WTL_VALUE_PARAM && x->param->requires_grad) ||
                                        (x->kind == WTL_VALUE_INPUT && p->gradients && x->dtype == r->dtype));
  }
  for (int n = 0; n < r->n_node; n++) {
    const wtl_gnode *d = &r->node[n];
    bool any = false;
    for (int i = 0; i < d->n_in; i++) any |= d->in[i] >= 0 && g->need_grad[d->in[i]];
    for (int j = 0; j < d->op->n_out; j++) g->need_grad[d->out[j]] = any && wtl_op_differentiable(d->op);
  }
  if (differentiate) on_path[r->loss] = true;
  for (int i = 0; i < r->n_output; i++) for_output[r->output[i].v] = true;
  for (int n = r->n_node - 1; n >= 0; n--) {
    const wtl_gnode *d = &r->node[n];
    bool back = false, output = false;
    for (int j = 0; j < d->op->n_out; j++) {
      back |= on_path[d->out[j]] && g->need_grad[d->out[j]];
      output |= for_output[d->out[j]];
    }
    g->node[n].backward = back;
    g->node[n].loss_only = !output;
    for (int i = 0; i < d->n_in; i++) {
      if (d->in[i] < 0) continue;
      if (back && g->need_grad[d->in[i]]) on_path[d->in[i]] = true;
      if (output) for_output[d->in[i]] = true;
    }
  }
  wtl_free(p->ctx, on_path);
  return WTL_OK;
}

/* ---- forward ---- */

/* The relu that alone reads what node n makes, or -1. */
static int relu_after(const wtl_program *g, int n) {
  const wtl_graph *r = g->plan->graph;
  wtl_value y = r->node[n].out[0];
  int reader = -1;
  if (g->plan->keep_values || r->loss == y || r->metric == y) return -1;
  for (int i = 0; i < r->n_output; i++)
    if (r->output[i].v == y) return -1;
  for (int m = n + 1; m < r->n_node; m++)
    for (int k = 0; k < r->node[m].n_in; k++) {
      if (r->node[m].in[k] != y) continue;
      if (reader >= 0 || r->node[m].op != wtl_op_at(WTL_OPID_relu)) return -1;
      reader = m;
    }
  return reader;
}

/* Node n was taken together with its writer: its output is the same memory. */
static void absorb_relu(wtl_program *g, int n) {
  const wtl_gnode *d = &g->plan->graph->node[n];
  g->node[n].absorbed = true;
  g->layout[d->out[0]] = g->layout[d->in[0]];
  g->buf[d->out[0]] = g->buf[d->in[0]];
}

static wtl_status bind_node(wtl_program *g, int n, const wtl_infer *f) {
  wtl_plan *p = g->plan;
  const wtl_gnode *d = &p->graph->node[n];
  wtl_node_plan *np = &g->node[n];
  for (int k = 0; p->provider[k]; k++) {
    wtl_bind *b = &np->bind;
    memset(b, 0, sizeof *b);
    b->ctx = p->ctx;
    b->engine = p->engine[k];
    b->op = d->op;
    b->attr = d->attr;
    b->n_in = d->n_in;
    b->n_out = d->op->n_out;
    b->real = p->graph->dtype;
    b->backward = np->backward;
    b->saved_bytes = f->saved_bytes;
    b->scratch_bytes = f->scratch_bytes;
    b->relu_follows = relu_after(g, n) >= 0;
    b->reads_in = d->op->rules->reads_in;
    b->reads_out = d->op->rules->reads_out;
    for (int i = 0; i < d->n_in; i++) {
      wtl_value v = d->in[i];
      if (v < 0) continue;
      b->present[i] = true;
      b->in[i] = g->shape[v];
      b->in_layout[i] = g->layout[v];
      b->want_din[i] = np->backward && g->need_grad[v];
    }
    for (int j = 0; j < b->n_out; j++) b->out[j] = g->shape[d->out[j]];
    wtl_status s = p->provider[k]->bind(b, &np->kernel);
    if (s == WTL_OK) return WTL_OK;
    if (s != WTL_ERR_UNSUPPORTED) return s;
  }
  return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED, "%s: no provider takes it", d->op->name);
}

/* How many nodes of n's op and name come before it: calls of one function in one module's forward. */
static int stream_of(const wtl_program *g, int n) {
  const wtl_gnode *d = g->plan->graph->node;
  int before = 0;
  if (!(d[n].op->flags & WTL_OP_RANDOM)) return 0;
  for (int m = 0; m < n; m++) before += d[m].op == d[n].op && !strcmp(d[m].name, d[n].name);
  return before;
}

static void node_call(const wtl_program *g, const wtl_gnode *d, wtl_call *c) {
  c->attr = d->attr;
  c->n_in = d->n_in;
  c->n_out = d->op->n_out;
  for (int i = 0; i < d->n_in; i++) {
    if (d->in[i] < 0) continue;
    c->in[i] = c->din[i] = value_view(g, d->in[i]);
  }
  for (int j = 0; j < d->op->n_out; j++) c->out[j] = c->dout[j] = value_view(g, d->out[j]);
}

static wtl_status alias_node(wtl_program *g, int n) {
  const wtl_gnode *d = &g->plan->graph->node[n];
  g->layout[d->out[0]] = NULL;
  return in_layout(g, d->in[0], NULL, g->node[n].loss_only, &g->buf[d->out[0]]);
}

static wtl_status forward_node(wtl_program *g, int n) {
  const wtl_gnode *d = &g->plan->graph->node[n];
  wtl_node_plan *np = &g->node[n];
  wtl_infer f;
  wtl_instr *i;
  int in[WTL_MAX_IN];
  WTL_TRY(wtl_node_infer(g->plan->graph, d, g->shape, &f));
  d->op->rules->cost(&f, &np->forward_cost, &np->backward_cost);
  np->saved = -1;
  if (np->absorbed) return WTL_OK;
  if (d->op->flags & WTL_OP_ALIAS) return alias_node(g, n);
  WTL_TRY(bind_node(g, n, &f));
  const wtl_bind *b = &np->bind;
  for (int k = 0; k < d->n_in; k++) {
    in[k] = -1;
    if (d->in[k] >= 0) WTL_TRY(in_layout(g, d->in[k], b->in_want[k], np->loss_only, &in[k]));
  }
  for (int j = 0; j < d->op->n_out; j++) {
    g->layout[d->out[j]] = b->out_layout[j];
    WTL_TRY(value_buf(g, d->out[j], b->out_layout[j], &g->buf[d->out[j]]));
  }
  if (b->saved_bytes && (np->backward || np->kernel->commit)) WTL_TRY(new_buf(g, b->saved_bytes, NULL, &np->saved));
  WTL_TRY(new_instr(g, WTL_DO_FORWARD, &i));
  if (b->scratch_bytes) WTL_TRY(new_buf(g, b->scratch_bytes, NULL, &i->scratch));
  i->node = n;
  i->loss_only = np->loss_only;
  i->kernel = np->kernel;
  i->saved = np->saved;
  i->stream = stream_of(g, n);
  i->cost = np->forward_cost;
  memcpy(i->in, in, sizeof(int) * (size_t)d->n_in);
  for (int j = 0; j < d->op->n_out; j++) i->out[j] = g->buf[d->out[j]];
  node_call(g, d, &i->call);
  emit(g, i);
  if (b->relu_taken) absorb_relu(g, relu_after(g, n));
  return WTL_OK;
}

static wtl_status forward(wtl_program *g) {
  const wtl_graph *r = g->plan->graph;
  for (int n = 0; n < r->n_node; n++) {
    wtl_status s = forward_node(g, n);
    if (s != WTL_OK) return r->node[n].name[0] ? wtl_prefix(g->plan->ctx, s, "%s", r->node[n].name) : s;
  }
  for (int i = 0; i < r->n_output; i++) WTL_TRY(in_layout(g, r->output[i].v, NULL, false, &g->output[i]));
  /* Results are read when the phase is over. */
  for (int i = 0; i < r->n_output; i++) touch(g, g->output[i], g->n_instr);
  if (r->loss >= 0) touch(g, g->buf[r->loss], g->n_instr), g->bufs[g->buf[r->loss]].pinned = true;
  if (r->metric >= 0) g->bufs[g->buf[r->metric]].pinned = true;
  return WTL_OK;
}

/* ---- backward ---- */

/* One more contribution to the gradient of v, in v's own layout. */
static wtl_status contribute(wtl_program *g, wtl_value v, int buf, const wtl_layout *l) {
  wtl_instr *i;
  int at, sum;
  if (l != g->layout[v]) WTL_TRY(emit_reorder(g, v, true, buf, l, g->layout[v], false, &buf, &at));
  if (g->grad[v] < 0) {
    g->grad[v] = buf;
    return WTL_OK;
  }
  WTL_TRY(value_buf(g, v, g->layout[v], &sum));
  WTL_TRY(new_instr(g, WTL_DO_ADD, &i));
  i->value = v;
  i->from = g->layout[v];
  i->in[0] = g->grad[v];
  i->in[1] = buf;
  i->out[0] = sum;
  wtl_shape flat = { 1, { wtl_layout_count(g->layout[v], &g->shape[v]) } };
  wtl_view view = wtl_view_plain(NULL, g->plan->graph->dtype, &flat);
  i->call.n_in = 2;
  i->call.n_out = 1;
  i->call.in[0] = i->call.in[1] = i->call.out[0] = view;
  i->cost.flops = (double)flat.size[0];
  i->cost.bytes = 3.0 * (double)value_bytes(g, v, g->layout[v]);
  emit(g, i);
  g->grad[v] = sum;
  return WTL_OK;
}

/* dx = dy under another shape, or unchanged: no instruction, the gradient's buffer is passed on. */
static bool passes_gradient(const wtl_program *g, int n) {
  const wtl_gnode *d = &g->plan->graph->node[n];
  if (d->op->flags & WTL_OP_ALIAS || g->node[n].absorbed) return true;
  if (d->op != wtl_op_at(WTL_OPID_add)) return false;
  for (int i = 0; i < 2; i++)
    if (!wtl_shape_equal(&g->shape[d->in[i]], &g->shape[d->out[0]]) || g->layout[d->in[i]] != g->layout[d->out[0]])
      return false;
  return true;
}

static wtl_status backward_node(wtl_program *g, int n) {
  const wtl_gnode *d = &g->plan->graph->node[n];
  wtl_node_plan *np = &g->node[n];
  const wtl_bind *b = &np->bind;
  wtl_instr *i;
  int in[WTL_MAX_IN], din[WTL_MAX_IN];
  bool reached = false;
  for (int j = 0; j < d->op->n_out; j++) reached |= g->grad[d->out[j]] >= 0;
  if (!np->backward || !reached) return WTL_OK;
  if (passes_gradient(g, n)) {
    for (int k = 0; k < d->n_in; k++)
      if (d->in[k] >= 0 && g->need_grad[d->in[k]])
        WTL_TRY(contribute(g, d->in[k], g->grad[d->out[0]],
                           d->op->flags & WTL_OP_ALIAS ? NULL : g->layout[d->out[0]]));
    return WTL_OK;
  }
  for (int k = 0; k < d->n_in; k++) {
    in[k] = din[k] = -1;
    if (d->in[k] < 0) continue;
    if (b->reads_in >> k & 1) WTL_TRY(in_layout(g, d->in[k], b->back_want[k], false, &in[k]));
    if (b->want_din[k]) WTL_TRY(value_buf(g, d->in[k], b->din_layout[k], &din[k]));
  }
  WTL_TRY(new_instr(g, WTL_DO_BACKWARD, &i));
  if (b->scratch_bytes) WTL_TRY(new_buf(g, b->scratch_bytes, NULL, &i->scratch));
  i->node = n;
  i->kernel = np->kernel;
  i->saved = np->saved;
  i->stream = stream_of(g, n);
  i->cost = np->backward_cost;
  node_call(g, d, &i->call);
  for (int k = 0; k < d->n_in; k++) i->in[k] = in[k], i->din[k] = din[k];
  for (int j = 0; j < d->op->n_out; j++) {
    i->dout[j] = g->grad[d->out[j]];
    if (b->reads_out >> j & 1) i->out[j] = g->buf[d->out[j]];
  }
  for (int k = 0; k < d->n_in; k++) /* buffers made above begin here, after any reorder */
    if (din[k] >= 0) g->bufs[din[k]].first = g->n_instr;
  emit(g, i);
  for (int k = 0; k < d->n_in; k++)
    if (din[k] >= 0) WTL_TRY(contribute(g, d->in[k], din[k], b->din_layout[k]));
  return WTL_OK;
}

static wtl_status backward(wtl_program *g) {
  wtl_plan *p = g->plan;
  const wtl_graph *r = p->graph;
  if (r->loss < 0 || !g->need_grad[r->loss]) return WTL_OK;
  WTL_TRY(new_buf(g, wtl_dtype_size(r->dtype), p->one, &g->grad[r->loss]));
  for (int n = r->n_node - 1; n >= 0; n--) {
    wtl_status s = backward_node(g, n);
    if (s != WTL_OK) return r->node[n].name[0] ? wtl_prefix(p->ctx, s, "%s", r->node[n].name) : s;
  }
  if (p->gradients)
    for (int v = 0; v < r->n_value; v++)
      if (g->grad[v] >= 0 && r->value[v].kind != WTL_VALUE_NODE) g->bufs[g->grad[v]].pinned = true;
  return WTL_OK;
}

/* ---- running statistics and updates ---- */

static wtl_status commit(wtl_program *g) {
  const wtl_graph *r = g->plan->graph;
  wtl_instr *i;
  if (r->loss < 0) return WTL_OK;
  for (int n = 0; n < r->n_node; n++) {
    wtl_node_plan *np = &g->node[n];
    const wtl_gnode *d = &r->node[n];
    if (!np->kernel || !np->kernel->commit || np->saved < 0) continue;
    WTL_TRY(new_instr(g, WTL_DO_COMMIT, &i));
    i->node = n;
    i->kernel = np->kernel;
    i->saved = np->saved;
    node_call(g, d, &i->call);
    for (int k = 0; k < d->n_in; k++) /* buffers are changed in their masters */
      if (d->in[k] >= 0 && r->value[d->in[k]].kind == WTL_VALUE_PARAM) i->in[k] = g->buf[d->in[k]];
    emit(g, i);
  }
  return WTL_OK;
}

/* Memory of the plan's own, or of a parameter. */
static wtl_status fixed_buf(wtl_program *g, wtl_tensor *t, int *out) {
  return new_buf(g, wtl_tensor_bytes(t), wtl_tensor_data(t), out);
}

static wtl_status update(wtl_program *g) {
  wtl_plan *p = g->plan;
  const wtl_graph *r = p->graph;
  wtl_instr *i;
  if (!p->has_rule) return WTL_OK;
  for (int v = 0; v < r->n_value; v++) {
    if (r->value[v].kind != WTL_VALUE_PARAM || g->grad[v] < 0) continue;
    wtl_tensor *sum = p->sum[v], *master = r->value[v].param->master;
    int target = g->buf[v], grad = g->grad[v];
    if (master) WTL_TRY(fixed_buf(g, master, &target));
    if (sum) WTL_TRY(fixed_buf(g, sum, &grad));
    WTL_TRY(new_instr(g, WTL_DO_UPDATE, &i));
    wtl_shape h = { 1, { p->rule.n_h } };
    i->value = v;
    i->in[0] = target;
    i->in[1] = grad;
    if (sum) i->step_buf = g->grad[v];
    for (int u = 0; u < v && !sum; u++)
      i->shared |= r->value[u].kind == WTL_VALUE_PARAM && g->grad[u] == g->grad[v];
    i->call.attr = p->rule.attr;
    i->call.n_in = p->rule.op->n_in;
    i->call.in[0] = i->call.in[1] = value_view(g, v);
    for (int k = 0; k < p->rule.n_state; k++) {
      WTL_TRY(fixed_buf(g, p->state[v * WTL_STATES + k], &i->in[2 + k]));
      i->call.in[2 + k] = value_view(g, v);
    }
    int last = i->call.n_in - 1;
    double *group = p->group[p->group_of[v]].h;
    WTL_TRY(new_buf(g, sizeof p->group->h, group, &i->in[last]));
    i->call.in[last] = wtl_view_plain(NULL, WTL_F64, &h);
    i->cost.bytes = 3.0 * (double)value_bytes(g, v, NULL);
    touch(g, g->grad[v], emit(g, i));
  }
  return WTL_OK;
}

/* ---- whole ---- */

static wtl_status place_values(wtl_program *g) {
  const wtl_graph *r = g->plan->graph;
  for (int v = 0; v < r->n_value; v++) {
    const wtl_gvalue *x = &r->value[v];
    g->buf[v] = g->grad[v] = -1;
    if (x->kind == WTL_VALUE_NODE) continue;
    void *fixed = x->param ? wtl_tensor_data(x->param->value) : x->constant ? wtl_tensor_data(x->constant) : NULL;
    WTL_TRY(new_buf(g, value_bytes(g, v, NULL), fixed, &g->buf[v]));
    g->bufs[g->buf[v]].first = -1;
  }
  return WTL_OK;
}

static wtl_status allocate(wtl_program *g) {
  wtl_ctx *ctx = g->plan->ctx;
  size_t values = (size_t)g->plan->graph->n_value + 1, nodes = (size_t)g->plan->graph->n_node + 1;
  g->shape = wtl_calloc(ctx, values, sizeof *g->shape);
  g->layout = wtl_calloc(ctx, values, sizeof *g->layout);
  g->buf = wtl_calloc(ctx, values, sizeof *g->buf);
  g->grad = wtl_calloc(ctx, values, sizeof *g->grad);
  g->need_grad = wtl_calloc(ctx, values, sizeof *g->need_grad);
  g->node = wtl_calloc(ctx, nodes, sizeof *g->node);
  g->output = wtl_calloc(ctx, (size_t)g->plan->graph->n_output + 1, sizeof *g->output);
  bool all = g->shape && g->layout && g->buf && g->grad && g->need_grad && g->node && g->output;
  return all ? WTL_OK : WTL_ERR_MEMORY;
}

wtl_status wtl_program_create(wtl_plan *p, int64_t batch, wtl_program **out) {
  wtl_program *g = wtl_alloc(p->ctx, sizeof *g);
  if (!g) return WTL_ERR_MEMORY;
  g->plan = p;
  g->batch = batch;
  g->threads = wtl_threads(p->ctx);
  wtl_status s = allocate(g);
  if (s == WTL_OK) s = wtl_graph_shapes(p->graph, batch, g->shape);
  if (s == WTL_OK) s = mark(g);
  if (s == WTL_OK) s = place_values(g);
  wtl_status (*const phase[WTL_PHASES])(wtl_program *) = { forward, backward, commit, update };
  for (int k = 0; k < WTL_PHASES && s == WTL_OK; k++) {
    s = phase[k](g);
    g->end[k] = g->n_instr;
  }
  if (s == WTL_OK) s = wtl_arena_place(g);
  if (s != WTL_OK) {
    wtl_program_destroy(g);
    return s;
  }
  *out = g;
  return WTL_OK;
}

void wtl_program_destroy(wtl_program *g) {
  if (!g) return;
  wtl_ctx *ctx = g->plan->ctx;
  for (int n = 0; g->node && n < g->plan->graph->n_node; n++)
    if (g->node[n].kernel) g->node[n].kernel->destroy(g->node[n].kernel);
  for (int i = 0; i < g->n_own; i++) g->own[i]->destroy(g->own[i]);
  void *const blocks[] = { g->shape,  g->layout, g->buf,  g->grad,  g->need_grad, g->node,
                           g->output, g->alt,    g->bufs, g->instr, g->own };
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) wtl_free(ctx, blocks[i]);
  wtl_free(ctx, g);
}
