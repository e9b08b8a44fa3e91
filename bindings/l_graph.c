/* l_graph.c - traces: a graph that grows while Lua code runs on symbolic values, and stamps, by which a plan learns
 * that the code's structure changed. Ops reach the graph through l_ops.c. Next: l_plan.c. */
#include "box.h"

#include <string.h>

/* ---- symbolic values ------------------------------------------------------------------------- */

static void graph_release(wl_box *b) {
  wtl_graph_release(b->obj);
}

void wl_push_value(lua_State *L, wl_ctx *c, wtl_graph *g, wtl_value v) {
  wl_box *b = wl_box_new(L, c, &wl_value_class);
  b->value = v;
  wl_box_fill(L, b, wtl_graph_retain(g), 0);
}

static const wtl_shape *value_shape(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_value_class);
  const wtl_shape *s = wtl_graph_value_shape(b->obj, b->value);
  if (!s) wl_error(L, "symbolic value: not of this trace any more");
  return s;
}

static int v_shape(lua_State *L) {
  const wtl_shape *s = value_shape(L);
  lua_createtable(L, s->ndim, 0);
  for (int i = 0; i < s->ndim; i++) {
    lua_pushinteger(L, s->size[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int v_size(lua_State *L) {
  const wtl_shape *s = value_shape(L);
  if (lua_isnoneornil(L, 2)) return v_shape(L);
  lua_pushinteger(L, s->size[wl_dim(L, 2, "size", s->ndim)]);
  return 1;
}

static int v_dim(lua_State *L) {
  lua_pushinteger(L, value_shape(L)->ndim);
  return 1;
}

static int v_numel(lua_State *L) {
  lua_pushinteger(L, wtl_shape_numel(value_shape(L)));
  return 1;
}

static int v_len(lua_State *L) {
  const wtl_shape *s = value_shape(L);
  if (s->ndim == 0) return wl_error(L, "length of a symbolic scalar");
  lua_pushinteger(L, s->size[0]);
  return 1;
}

/* The op on the value at index 1, its one attribute being the list of n integers; the result is pushed. */
static void call_with_list(lua_State *L, const char *op, const char *attr, const int64_t *list, int n) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushlightuserdata(L, (void *)wtl_op_find(op));
  lua_pushcclosure(L, wl_op_call, 2);
  lua_pushvalue(L, 1);
  lua_createtable(L, 0, 1);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_pushinteger(L, list[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, attr);
  lua_call(L, 2, 1);
}

/* x:reshape{...} and x:view{...}: sizes by position, as for tensors. */
static int v_reshape(lua_State *L) {
  wtl_shape s;
  wl_check_shape(L, 2, "reshape", &s, NULL);
  call_with_list(L, "reshape", "shape", s.size, s.ndim);
  return 1;
}

static int v_permute(lua_State *L) {
  int64_t dims[WTL_MAX_DIMS];
  int n = wl_check_list(L, 2, "permute", dims, WTL_MAX_DIMS);
  call_with_list(L, "permute", "dims", dims, n);
  return 1;
}

static int v_transpose(lua_State *L) {
  int n = value_shape(L)->ndim, d0 = wl_dim(L, 2, "transpose", n), d1 = wl_dim(L, 3, "transpose", n);
  int64_t dims[WTL_MAX_DIMS];
  for (int i = 0; i < n; i++) dims[i] = i == d0 ? d1 : i == d1 ? d0 : i;
  call_with_list(L, "permute", "dims", dims, n);
  return 1;
}

/* The part of the value at index 1 from `start` up to `stop` of a dim; pushed. */
static void slice(lua_State *L, int dim, lua_Integer start, lua_Integer stop) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushlightuserdata(L, (void *)wtl_op_find("slice"));
  lua_pushcclosure(L, wl_op_call, 2);
  lua_pushvalue(L, 1);
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, dim);
  lua_setfield(L, -2, "dim");
  lua_pushinteger(L, start);
  lua_setfield(L, -2, "start");
  lua_pushinteger(L, stop);
  lua_setfield(L, -2, "stop");
  lua_call(L, 2, 1);
}

static int v_narrow(lua_State *L) {
  const wtl_shape *s = value_shape(L);
  int dim = wl_dim(L, 2, "narrow", s->ndim);
  lua_Integer start = luaL_checkinteger(L, 3), length = luaL_checkinteger(L, 4), size = s->size[dim];
  if (start < 0 || length < 0 || start > size || length > size - start)
    return wl_error(L, "narrow: %I elements from %I on do not lie in dimension %d, of size %I", length, start, dim, size);
  slice(L, dim, start, start + length);
  return 1;
}

static int v_select(lua_State *L) {
  wtl_shape s = *value_shape(L);
  int dim = wl_dim(L, 2, "select", s.ndim);
  lua_Integer i = luaL_checkinteger(L, 3), size = s.size[dim];
  if (i < 0) i += size;
  if (i < 0 || i >= size) return wl_error(L, "select: index %I of dimension %d, of size %I", i, dim, size);
  slice(L, dim, i, i + 1);
  lua_replace(L, 1);
  if (dim > 0) s.size[0] = 0; /* whatever the batch */
  s.ndim--;
  for (int d = dim; d < s.ndim; d++) s.size[d] = s.size[d + 1];
  call_with_list(L, "reshape", "shape", s.size, s.ndim);
  return 1;
}

static bool names_method(const wl_fn *f, const char *key) {
  for (; f && f->name; f++)
    if (strcmp(f->name, key) == 0) return true;
  return false;
}

static int no_value(lua_State *L, const char *what) {
  return wl_error(L, "symbolic value: %s has no value while the model is traced", what);
}

static int v_index(lua_State *L) {
  wl_box *b = lua_touserdata(L, 1);
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL || lua_type(L, 2) != LUA_TSTRING) return 1;
  const char *key = lua_tostring(L, 2);
  if (strcmp(key, "dtype") == 0 && b->obj) {
    lua_pushstring(L, wtl_dtype_name(wtl_graph_value_dtype(b->obj, b->value)));
    return 1;
  }
  if (names_method(wl_tensor_class.methods, key) || names_method(wl_tensor_class.more, key)) return no_value(L, key);
  return 1;
}

static int v_compare(lua_State *L) {
  return wl_error(L, "symbolic value: a comparison has no value while the model is traced; x:lt(y), x:ge(y), ... are traced");
}

static int v_concat(lua_State *L) {
  return no_value(L, "conversion to a string");
}

static int v_tostring(lua_State *L) {
  wl_box *b = wl_test(L, 1, &wl_value_class);
  char shape[160];
  if (!b || !b->obj) return lua_pushliteral(L, "symbolic value (closed)"), 1;
  lua_pushfstring(L, "symbolic value %d: %s %s", (int)b->value, wtl_dtype_name(wtl_graph_value_dtype(b->obj, b->value)),
                  wtl_shape_text(value_shape(L), shape, sizeof shape));
  return 1;
}

static const wl_fn value_methods[] = {
  { "shape", v_shape, "() -> {sizes}", "The sizes of all dimensions, a new table." },
  { "size", v_size, "(dim?) -> size or {sizes}",
    "The size of a dimension (from 0; negative from the end), or all." },
  { "dim", v_dim, "() -> n", "How many dimensions; 0 is a scalar." },
  { "numel", v_numel, "() -> n", "How many elements." },
  { "reshape", v_reshape, "{sizes} -> value",
    "Another shape; one size may be -1, 0 keeps x's size at that place (write 0 for the batch)." },
  { "view", v_reshape, "{sizes} -> value", "As reshape." },
  { "permute", v_permute, "{dims} -> value", "The dimensions in another order, negative ones from the end: a copy." },
  { "transpose", v_transpose, "(d0, d1) -> value", "Two dimensions swapped." },
  { "narrow", v_narrow, "(dim, start, length) -> value", "A part of one dimension (from 0)." },
  { "select", v_select, "(dim, i) -> value", "One position of a dimension, which goes; i from 0, negative from the end." },
  { "sum", wl_op_sum, "(dim, ...) or {dims..., keepdim = false} -> value",
    "Sum over the dimensions given, or over all." },
  { "mean", wl_op_mean, "(dim, ...) or {dims..., keepdim = false} -> value",
    "Mean over the dimensions given, or over all." },
  { NULL, NULL, NULL, NULL }
};

static const luaL_Reg value_meta[] = {
  { "__index", v_index }, { "__tostring", v_tostring }, { "__len", v_len }, { "__concat", v_concat },
  { "__add", wl_op_add }, { "__sub", wl_op_sub }, { "__mul", wl_op_mul }, { "__unm", wl_op_unm },
  { "__div", wl_op_div }, { "__pow", wl_op_pow },
  { "__lt", v_compare }, { "__le", v_compare },
  { NULL, NULL }
};

const wl_class wl_value_class = { .name = "symbolic value", .release = graph_release, .methods = value_methods,
                                  .meta = value_meta, .op_methods = true };

/* ---- graphs ------------------------------------------------------------------------------------- */

static int trace(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  wtl_dtype d = lua_isnoneornil(L, 1) ? WTL_F32 : wl_check_dtype(L, 1);
  wtl_graph *g = NULL;
  wl_box *b = wl_box_new(L, c, &wl_graph_class);
  wl_try(L, c, wtl_graph_create(c->core, d, &g));
  wl_box_fill(L, b, g, 0);
  return 1;
}

static int tracing(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  wtl_graph *g = lua_isnoneornil(L, 1) ? NULL : wl_check_obj(L, 1, &wl_graph_class);
  wtl_graph_release(c->tracing);
  c->tracing = g ? wtl_graph_retain(g) : NULL;
  return 0;
}

static int g_input(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_graph_class);
  const char *name = luaL_checkstring(L, 2);
  wtl_dtype d = wl_check_dtype(L, 3);
  wtl_shape s;
  wtl_value v = 0;
  wl_check_shape(L, 4, "input", &s, NULL);
  wl_try(L, b->ctx, wtl_graph_input(b->obj, name, d, &s, &v));
  wl_push_value(L, b->ctx, b->obj, v);
  return 1;
}

static int g_param(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_graph_class);
  wtl_value v = 0;
  wl_try(L, b->ctx, wtl_graph_param(b->obj, luaL_checkstring(L, 2), wl_check_obj(L, 3, &wl_param_class), &v));
  wl_push_value(L, b->ctx, b->obj, v);
  return 1;
}

static int g_scope(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_graph_class);
  wl_try(L, b->ctx, wtl_graph_scope(b->obj, luaL_optstring(L, 2, "")));
  return 0;
}

static wtl_value check_value(lua_State *L, int idx, const wl_box *graph, const char *what) {
  wl_box *v = wl_check(L, idx, &wl_value_class);
  if (v->obj != graph->obj) wl_error(L, "%s: the value is of another trace", what);
  return v->value;
}

static int g_output(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_graph_class);
  wl_try(L, b->ctx, wtl_graph_output(b->obj, luaL_checkstring(L, 2), check_value(L, 3, b, "output")));
  return 0;
}

static int g_loss(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_graph_class);
  wl_try(L, b->ctx, wtl_graph_loss(b->obj, check_value(L, 2, b, "loss")));
  return 0;
}

static int g_metric(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_graph_class);
  wl_try(L, b->ctx, wtl_graph_metric(b->obj, check_value(L, 2, b, "metric")));
  return 0;
}

static int g_stamp(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_graph_class);
  wl_try(L, b->ctx, wtl_graph_stamp(b->obj, wl_check_obj(L, 2, &wl_stamp_class)));
  return 0;
}

static const wl_fn graph_methods[] = {
  { "input", g_input, "(name, dtype, {sizes}) -> value", "An input; dimension 0 is the batch." },
  { "param", g_param, "(name, parameter) -> value",
    "A parameter under its full name; the same parameter is the same value." },
  { "scope", g_scope, "(path?)",
    "The module path of what is traced from now on, in names and errors; none ends it." },
  { "output", g_output, "(name, value)", "What plan:forward returns, in the order of these calls." },
  { "loss", g_loss, "(value)", "The scalar that a step lowers." },
  { "metric", g_metric, "(value)", "A scalar count that a step returns beside the loss." },
  { "stamp", g_stamp, "(stamp)",
    "Remember a module's structure: bumping the stamp makes plans of this trace stale." },
  { NULL, NULL, NULL, NULL }
};

const wl_class wl_graph_class = { .name = "trace", .release = graph_release, .methods = graph_methods };

/* ---- stamps --------------------------------------------------------------------------------------- */

static void stamp_release(wl_box *b) {
  wtl_stamp_release(b->obj);
}

static int stamp(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  wtl_stamp *s = NULL;
  wl_box *b = wl_box_new(L, c, &wl_stamp_class);
  wl_try(L, c, wtl_stamp_create(c->core, &s));
  wl_box_fill(L, b, s, 0);
  return 1;
}

static int s_bump(lua_State *L) {
  wtl_stamp_bump(wl_check_obj(L, 1, &wl_stamp_class));
  return 0;
}

static const wl_fn stamp_methods[] = {
  { "bump", s_bump, "()", "The structure changed: plans that saw an older count are stale." },
  { NULL, NULL, NULL, NULL }
};

const wl_class wl_stamp_class = { .name = "stamp", .release = stamp_release, .methods = stamp_methods };

static const wl_fn core[] = {
  { "tracing", tracing, "(trace or nil)", "Ops on parameters alone go into this trace from now on; nil: they run at once." },
  { "trace", trace, "(dtype = \"f32\") -> trace", "An empty graph; its floats are f32 or f64." },
  { "stamp", stamp, "() -> stamp", "A counter that a module bumps when its structure changes." },
  { NULL, NULL, NULL, NULL }
};

static const wl_class *const classes[] = { &wl_value_class, &wl_graph_class, &wl_stamp_class, NULL };

const wl_module wl_graph_module = { .area = "graph", .core = core, .classes = classes };
