/* Op-by-op agreement inside a network: every node of an f64 plan that has run a step is run alone in f32 through another
 * provider, fed what the f64 run recorded. Each becomes a small graph of its own, loss = sum(y * g), whose gradient with
 * respect to y is the recorded g. */
#include <math.h>
#include <string.h>

#include "plan.h"
#include "tensor.h"

typedef struct agree_node {
  wtl_plan *whole;
  const wtl_gnode *node;
  wtl_graph *g;
  wtl_plan *plan;
  wtl_param *param[WTL_MAX_IN]; /* f32 copies of the float inputs, as parameters */
  wtl_tensor *target;           /* the integer input, if any */
  wtl_value y;
} agree_node;

static double norm(const wtl_tensor *t) {
  const double *x = wtl_tensor_cdata(t);
  double sum = 0;
  for (int64_t i = 0, n = wtl_tensor_numel(t); i < n; i++) sum += x[i] * x[i];
  return sqrt(sum);
}

/* |a - b| / max(|b|, floor), with a in f32 and b in f64. */
static wtl_status relative_error(wtl_tensor *a, wtl_tensor *b, double floor, double *out) {
  wtl_tensor *wide;
  WTL_TRY(wtl_tensor_convert(a, WTL_F64, &wide));
  double *x = wtl_tensor_data(wide), below = norm(b), diff = 0;
  const double *y = wtl_tensor_cdata(b);
  if (below < floor) below = floor;
  for (int64_t i = 0, n = wtl_tensor_numel(b); i < n; i++) diff += (x[i] - y[i]) * (x[i] - y[i]);
  wtl_tensor_release(wide);
  *out = diff == 0 ? 0 : sqrt(diff) / (below > 0 ? below : 1);
  return WTL_OK;
}

static wtl_status recorded(wtl_plan *p, wtl_value v, bool gradient, wtl_dtype d, wtl_tensor **out) {
  wtl_tensor *wide;
  WTL_TRY(wtl_plan_value(p, v, gradient, &wide));
  wtl_status s = wtl_tensor_convert(wide, d, out);
  wtl_tensor_release(wide);
  return s;
}

/* A recorded value in f64; rounded: to what f32 holds of it. Labels stay as they are. */
static wtl_status recorded_wide(wtl_plan *p, wtl_value v, bool gradient, bool rounded, wtl_tensor **out) {
  wtl_tensor *narrow;
  if (!rounded || p->graph->value[v].dtype != WTL_F64) return wtl_plan_value(p, v, gradient, out);
  WTL_TRY(recorded(p, v, gradient, WTL_F32, &narrow));
  wtl_status s = wtl_tensor_convert(narrow, WTL_F64, out);
  wtl_tensor_release(narrow);
  return s;
}

/* A float input as a parameter of the small graph. */
static wtl_status add_param(agree_node *a, int k, bool grad, wtl_value *out) {
  wtl_tensor *t;
  WTL_TRY(recorded(a->whole, a->node->in[k], false, WTL_F32, &t));
  wtl_status s = wtl_param_create(a->g->ctx, t, WTL_PARAMETER, &a->param[k]);
  wtl_tensor_release(t);
  if (s != WTL_OK) return s;
  wtl_param_set_requires_grad(a->param[k], grad);
  return wtl_graph_param(a->g, "", a->param[k], out);
}

static wtl_status add_inputs(agree_node *a, wtl_value in[]) {
  const wtl_program *r = a->whole->current;
  for (int k = 0; k < a->node->n_in; k++) {
    wtl_value v = a->node->in[k];
    in[k] = -1;
    if (v < 0) continue;
    if (a->whole->graph->value[v].dtype == WTL_I64) {
      WTL_TRY(wtl_plan_value(a->whole, v, false, &a->target));
      WTL_TRY(wtl_graph_input(a->g, "target", WTL_I64, wtl_tensor_shape(a->target), &in[k]));
    } else {
      WTL_TRY(add_param(a, k, r->need_grad[v], &in[k]));
    }
  }
  return WTL_OK;
}

/* loss = sum(y * g) where the f64 run has a gradient of y. */
static wtl_status add_loss(agree_node *a) {
  wtl_tensor *g;
  wtl_value weight, product, loss;
  wtl_attr attr[WTL_MAX_ATTRS];
  WTL_TRY(recorded(a->whole, a->node->out[0], true, WTL_F32, &g));
  wtl_status s = wtl_graph_const(a->g, g, &weight);
  wtl_tensor_release(g);
  if (s != WTL_OK) return s;
  wtl_op_defaults(wtl_op_at(WTL_OPID_mul), attr);
  WTL_TRY(wtl_graph_op(a->g, wtl_op_at(WTL_OPID_mul), attr, (wtl_value[]){ a->y, weight }, 2, &product));
  wtl_op_defaults(wtl_op_at(WTL_OPID_sum), attr);
  WTL_TRY(wtl_graph_op(a->g, wtl_op_at(WTL_OPID_sum), attr, &product, 1, &loss));
  return wtl_graph_loss(a->g, loss);
}

/* The f64 gradients of this node's inputs alone: what the plan recorded sums over all readers of a value. */
static wtl_status exact_gradients(agree_node *a, bool rounded, wtl_tensor *din[]) {
  wtl_tensor *in[WTL_MAX_IN] = { NULL }, *dy = NULL;
  bool want[WTL_MAX_IN] = { false };
  wtl_status s = recorded_wide(a->whole, a->node->out[0], true, rounded, &dy);
  for (int k = 0; k < a->node->n_in && s == WTL_OK; k++) {
    if (a->node->in[k] < 0) continue;
    want[k] = a->param[k] && a->param[k]->requires_grad;
    s = recorded_wide(a->whole, a->node->in[k], false, rounded, &in[k]);
  }
  if (s == WTL_OK) s = wtl_op_vjp(a->g->ctx, a->node->op, a->node->attr, in, a->node->n_in, &dy, want, din);
  for (int k = 0; k < WTL_MAX_IN; k++) wtl_tensor_release(in[k]);
  wtl_tensor_release(dy);
  return s;
}

static wtl_status compare_forward(agree_node *a, wtl_agree_row *row) {
  wtl_tensor *y = NULL, *want = NULL;
  WTL_TRY(wtl_plan_forward(a->plan, &a->target, a->target ? 1 : 0, &y, NULL));
  wtl_status s = wtl_plan_value(a->whole, a->node->out[0], false, &want);
  if (s == WTL_OK) s = relative_error(y, want, 0, &row->forward_err);
  wtl_tensor_release(y);
  wtl_tensor_release(want);
  return s;
}

static wtl_status compare_backward(agree_node *a, double floor, wtl_agree_row *row) {
  wtl_tensor *want[WTL_MAX_IN] = { NULL }, *near[WTL_MAX_IN] = { NULL };
  wtl_step step;
  WTL_TRY(wtl_plan_step(a->plan, &a->target, a->target ? 1 : 0, &step));
  wtl_status s = exact_gradients(a, false, want);
  if (s == WTL_OK) s = exact_gradients(a, true, near);
  for (int k = 0; k < a->node->n_in && s == WTL_OK; k++) {
    wtl_tensor *got = NULL;
    if (!want[k]) continue;
    s = wtl_plan_param_gradient(a->plan, a->param[k], &got);
    double *err = &row->gradient_err[row->gradients], *rounding = &row->rounding_err[row->gradients];
    if (s == WTL_OK) s = relative_error(got, want[k], floor, err);
    if (s == WTL_OK) s = relative_error(near[k], want[k], floor, rounding);
    if (s == WTL_OK) row->gradients++;
    if (s == WTL_OK && !(*err <= row->backward_err)) row->backward_err = *err; /* NaN too */
    wtl_tensor_release(got);
  }
  for (int k = 0; k < WTL_MAX_IN; k++) wtl_tensor_release(want[k]), wtl_tensor_release(near[k]);
  return s;
}

static void release(agree_node *a) {
  wtl_plan_release(a->plan);
  wtl_graph_release(a->g);
  for (int k = 0; k < WTL_MAX_IN; k++) wtl_param_release(a->param[k]);
  wtl_tensor_release(a->target);
}

static wtl_status agree_one(agree_node *a, const char *backend, bool backward, double floor, wtl_agree_row *row) {
  wtl_value in[WTL_MAX_IN];
  wtl_plan_options o = { .backend = backend, .gradients = backward };
  WTL_TRY(wtl_graph_create(a->whole->ctx, WTL_F32, &a->g));
  WTL_TRY(add_inputs(a, in));
  WTL_TRY(wtl_graph_op(a->g, a->node->op, a->node->attr, in, a->node->n_in, &a->y));
  WTL_TRY(wtl_graph_output(a->g, "y", a->y));
  if (backward) WTL_TRY(add_loss(a));
  WTL_TRY(wtl_plan_build(a->whole->ctx, a->g, &o, NULL, &a->plan));
  const wtl_kernel *k = a->plan->programs->node[0].kernel;
  row->provider = k ? k->provider->name : "-";
  row->impl = k ? k->impl : "alias";
  WTL_TRY(compare_forward(a, row));
  return backward ? compare_backward(a, floor, row) : WTL_OK;
}

/* The norm of the whole gradient: all parameters and inputs together. */
static wtl_status gradient_norm(wtl_plan *p, double *out) {
  double sum = 0;
  for (int v = 0; v < p->graph->n_value; v++) {
    wtl_tensor *t = NULL;
    if (p->graph->value[v].kind == WTL_VALUE_NODE || p->current->grad[v] < 0) continue;
    WTL_TRY(wtl_plan_value(p, v, true, &t));
    sum += norm(t) * norm(t);
    wtl_tensor_release(t);
  }
  *out = sqrt(sum);
  return WTL_OK;
}

wtl_status wtl_plan_agree(wtl_plan *p, const char *backend, wtl_agree_fn fn, void *arg) {
  double whole;
  if (p->graph->dtype != WTL_F64 || !p->keep_values || !p->current || !p->have_gradients)
    return wtl_fail(p->ctx, WTL_ERR_STATE, "agree: it needs a plan compiled with dtype f64 and keep_values that has run a step");
  if (p->has_rule) return wtl_fail(p->ctx, WTL_ERR_STATE, "agree: compile without an optimizer; a step changes the recorded weights");
  WTL_TRY(gradient_norm(p, &whole));
  for (int n = 0; n < p->graph->n_node; n++) {
    agree_node a = { .whole = p, .node = &p->graph->node[n] };
    wtl_agree_row row = { .name = a.node->name, .op = a.node->op->name };
    bool backward = p->current->node[n].backward && p->current->grad[a.node->out[0]] >= 0;
    wtl_status s = agree_one(&a, backend, backward, 1e-6 * whole, &row);
    if (s == WTL_OK) fn(arg, &row);
    release(&a);
    if (s != WTL_OK) return wtl_prefix(p->ctx, s, "agree: %s %s", a.node->name, a.node->op->name);
  }
  return WTL_OK;
}
