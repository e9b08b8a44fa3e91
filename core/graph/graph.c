/* Tracing: a graph grows value by value, with shapes checked at once, so that an error comes from the
 * user's line that caused it. Nothing is computed here. */
#include <stdio.h>
#include <string.h>

#include "graph.h"

wtl_status wtl_grow(wtl_ctx *ctx, void **array, int n, int *cap, size_t size) {
  if (n < *cap) return WTL_OK;
  int wider = *cap ? *cap * 2 : 16;
  void *p = wtl_realloc(ctx, *array, (size_t)*cap * size, (size_t)wider * size);
  if (!p) return WTL_ERR_MEMORY;
  *array = p;
  *cap = wider;
  return WTL_OK;
}
#define GROW(g, what) wtl_grow((g)->ctx, (void **)&(g)->what, (g)->n_##what, &(g)->cap_##what, sizeof *(g)->what)

wtl_status wtl_graph_create(wtl_ctx *ctx, wtl_dtype dtype, wtl_graph **out) {
  if (dtype != WTL_F32 && dtype != WTL_F64)
    return wtl_fail(ctx, WTL_ERR_DTYPE, "graph: it computes in f32 or f64, not %s", wtl_dtype_name(dtype));
  wtl_graph *g = wtl_alloc(ctx, sizeof *g);
  if (!g) return WTL_ERR_MEMORY;
  g->ctx = ctx;
  g->refs = 1;
  g->dtype = dtype;
  g->loss = g->metric = -1;
  *out = g;
  return WTL_OK;
}

wtl_graph *wtl_graph_retain(wtl_graph *g) {
  if (g) g->refs++;
  return g;
}

void wtl_graph_release(wtl_graph *g) {
  if (!g || --g->refs > 0) return;
  for (int i = 0; i < g->n_value; i++) {
    wtl_param_release(g->value[i].param);
    wtl_tensor_release(g->value[i].constant);
  }
  for (int i = 0; i < g->n_stamp; i++) wtl_stamp_release(g->stamp[i].stamp);
  wtl_free(g->ctx, g->value);
  wtl_free(g->ctx, g->node);
  wtl_free(g->ctx, g->input);
  wtl_free(g->ctx, g->output);
  wtl_free(g->ctx, g->stamp);
  wtl_free(g->ctx, g);
}

wtl_dtype wtl_graph_dtype(const wtl_graph *g) { return g->dtype; }

static bool known(const wtl_graph *g, wtl_value v) { return v >= 0 && v < g->n_value; }
const wtl_shape *wtl_graph_value_shape(const wtl_graph *g, wtl_value v) { return known(g, v) ? &g->value[v].shape : NULL; }
wtl_dtype wtl_graph_value_dtype(const wtl_graph *g, wtl_value v) { return known(g, v) ? g->value[v].dtype : g->dtype; }

static wtl_status need(wtl_graph *g, const char *what, wtl_value v) {
  return known(g, v) ? WTL_OK : wtl_fail(g->ctx, WTL_ERR_ARG, "%s: value %d is not of this graph", what, (int)v);
}

static void copy_name(char to[WTL_NAME_MAX], const char *name) { snprintf(to, WTL_NAME_MAX, "%s", name ? name : ""); }

static wtl_status add_value(wtl_graph *g, wtl_value_kind kind, const char *name, wtl_dtype d, const wtl_shape *s, wtl_value *out) {
  WTL_TRY(GROW(g, value));
  wtl_gvalue *v = &g->value[g->n_value];
  memset(v, 0, sizeof *v);
  v->kind = kind;
  v->dtype = d;
  v->shape = *s;
  v->node = -1;
  copy_name(v->name, name);
  *out = g->n_value++;
  return WTL_OK;
}

wtl_status wtl_graph_input(wtl_graph *g, const char *name, wtl_dtype d, const wtl_shape *s, wtl_value *out) {
  char text[96];
  if (s->ndim < 1 || s->ndim > WTL_MAX_DIMS)
    return wtl_fail(g->ctx, WTL_ERR_SHAPE, "input %s: it has %d dims; 1 to %d, the first being the batch", name, s->ndim, WTL_MAX_DIMS);
  for (int i = 0; i < s->ndim; i++)
    if (s->size[i] < 1)
      return wtl_fail(g->ctx, WTL_ERR_SHAPE, "input %s: %s has a size below 1", name, wtl_shape_text(s, text, sizeof text));
  if (g->n_input && g->value[g->input[0]].shape.size[0] != s->size[0])
    return wtl_fail(g->ctx, WTL_ERR_SHAPE, "input %s: its batch (dim 0) is %lld, the first input's is %lld", name,
                    (long long)s->size[0], (long long)g->value[g->input[0]].shape.size[0]);
  if (d == WTL_F32 || d == WTL_F64) d = g->dtype;
  WTL_TRY(GROW(g, input));
  WTL_TRY(add_value(g, WTL_VALUE_INPUT, name, d, s, out));
  g->input[g->n_input++] = *out;
  return WTL_OK;
}

wtl_status wtl_graph_param(wtl_graph *g, const char *name, wtl_param *p, wtl_value *out) {
  for (int i = 0; i < g->n_value; i++)
    if (g->value[i].param == p) {
      *out = i;
      return WTL_OK;
    }
  if (!name) return wtl_fail(g->ctx, WTL_ERR_STATE, "this parameter belongs to no module of the trace");
  wtl_dtype d = wtl_tensor_dtype(p->value);
  if (d != g->dtype)
    return wtl_fail(g->ctx, WTL_ERR_DTYPE, "parameter %s is %s, the plan computes in %s; convert the model first (model:to(\"%s\"))",
                    name, wtl_dtype_name(d), wtl_dtype_name(g->dtype), wtl_dtype_name(g->dtype));
  WTL_TRY(add_value(g, WTL_VALUE_PARAM, name, d, wtl_tensor_shape(p->value), out));
  g->value[*out].param = wtl_param_retain(p);
  return WTL_OK;
}

wtl_status wtl_graph_const(wtl_graph *g, wtl_tensor *t, wtl_value *out) {
  wtl_tensor *copy;
  wtl_dtype d = wtl_tensor_dtype(t);
  if (d != WTL_I64) d = g->dtype;
  WTL_TRY(wtl_tensor_convert(t, d, &copy));
  wtl_status s = add_value(g, WTL_VALUE_CONST, "", d, wtl_tensor_shape(copy), out);
  if (s == WTL_OK) g->value[*out].constant = wtl_tensor_retain(copy);
  wtl_tensor_release(copy);
  return s;
}

wtl_status wtl_node_infer(const wtl_graph *g, const wtl_gnode *n, const wtl_shape *shape, wtl_infer *f) {
  memset(f, 0, sizeof *f);
  f->ctx = g->ctx;
  f->op = n->op;
  f->attr = n->attr;
  f->n_in = n->n_in;
  f->real = g->dtype;
  for (int i = 0; i < n->n_in; i++) {
    if (n->in[i] < 0) continue;
    f->present[i] = true;
    f->in[i] = shape ? shape[n->in[i]] : g->value[n->in[i]].shape;
    f->in_dtype[i] = g->value[n->in[i]].dtype;
  }
  wtl_status s = wtl_op_infer(f);
  return s != WTL_OK && n->name[0] ? wtl_prefix(g->ctx, s, "%s", n->name) : s;
}

/* A batch that was written out (x:reshape{64, -1}) becomes "keep dim 0", so that the graph fits other batches. */
static void keep_batch(const wtl_graph *g, wtl_gnode *n) {
  if (n->op != wtl_op_at(WTL_OPID_reshape) || n->attr[0].n < 1) return;
  const wtl_shape *x = &g->value[n->in[0]].shape;
  if (x->ndim && n->attr[0].i[0] == x->size[0]) n->attr[0].i[0] = 0;
}

wtl_status wtl_graph_op(wtl_graph *g, const wtl_op *op, const wtl_attr attrs[WTL_MAX_ATTRS], const wtl_value in[], int n_in,
                        wtl_value out[]) {
  wtl_infer f;
  if (op->flags & WTL_OP_INTERNAL) return wtl_fail(g->ctx, WTL_ERR_ARG, "%s: written by plans only", op->name);
  if (n_in > op->n_in) return wtl_fail(g->ctx, WTL_ERR_ARG, "%s: %d inputs; it takes at most %d", op->name, n_in, op->n_in);
  for (int i = 0; i < n_in; i++)
    if (in[i] >= 0) WTL_TRY(need(g, op->name, in[i]));
  WTL_TRY(GROW(g, node));
  wtl_gnode *n = &g->node[g->n_node];
  memset(n, 0, sizeof *n);
  n->op = op;
  n->n_in = op->n_in;
  for (int i = 0; i < op->n_in; i++) n->in[i] = i < n_in ? in[i] : -1;
  memcpy(n->attr, attrs, (size_t)op->n_attr * sizeof *attrs);
  copy_name(n->name, g->scope);
  keep_batch(g, n);
  WTL_TRY(wtl_node_infer(g, n, NULL, &f));
  int made = g->n_value;
  for (int i = 0; i < op->n_out; i++) {
    wtl_status s = add_value(g, WTL_VALUE_NODE, g->scope, f.out_dtype[i], &f.out[i], &n->out[i]);
    if (s != WTL_OK) {
      g->n_value = made;
      return s;
    }
    g->value[n->out[i]].node = g->n_node;
    out[i] = n->out[i];
  }
  g->n_node++;
  return WTL_OK;
}

wtl_status wtl_graph_shapes(const wtl_graph *g, int64_t batch, wtl_shape *shape) {
  for (int i = 0; i < g->n_value; i++) shape[i] = g->value[i].shape;
  for (int i = 0; i < g->n_input; i++) shape[g->input[i]].size[0] = batch;
  for (int i = 0; i < g->n_node; i++) {
    wtl_infer f;
    WTL_TRY(wtl_node_infer(g, &g->node[i], shape, &f));
    for (int j = 0; j < g->node[i].op->n_out; j++) shape[g->node[i].out[j]] = f.out[j];
  }
  return WTL_OK;
}

wtl_status wtl_graph_scope(wtl_graph *g, const char *scope) {
  copy_name(g->scope, scope);
  return WTL_OK;
}

wtl_status wtl_graph_output(wtl_graph *g, const char *name, wtl_value v) {
  WTL_TRY(need(g, "output", v));
  WTL_TRY(GROW(g, output));
  copy_name(g->output[g->n_output].name, name);
  g->output[g->n_output++].v = v;
  return WTL_OK;
}

static wtl_status need_scalar(wtl_graph *g, const char *what, wtl_value v) {
  char text[96];
  WTL_TRY(need(g, what, v));
  if (wtl_shape_numel(&g->value[v].shape) != 1)
    return wtl_fail(g->ctx, WTL_ERR_SHAPE, "%s: it must be a scalar, this value is %s (take its mean)", what,
                    wtl_shape_text(&g->value[v].shape, text, sizeof text));
  if (g->value[v].dtype != g->dtype) return wtl_fail(g->ctx, WTL_ERR_DTYPE, "%s: it must be %s", what, wtl_dtype_name(g->dtype));
  return WTL_OK;
}

wtl_status wtl_graph_loss(wtl_graph *g, wtl_value v) {
  WTL_TRY(need_scalar(g, "loss", v));
  g->loss = v;
  return WTL_OK;
}

wtl_status wtl_graph_metric(wtl_graph *g, wtl_value v) {
  WTL_TRY(need_scalar(g, "metric", v));
  g->metric = v;
  return WTL_OK;
}

wtl_status wtl_graph_stamp(wtl_graph *g, wtl_stamp *s) {
  WTL_TRY(GROW(g, stamp));
  g->stamp[g->n_stamp].count = s->count;
  g->stamp[g->n_stamp++].stamp = wtl_stamp_retain(s);
  return WTL_OK;
}
