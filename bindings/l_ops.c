/* l_ops.c - every row of ops.def as a Lua function: inputs by position, attributes as named fields of one table at
 * the end or by position. Inputs that are all concrete run at once; a symbolic one among them
 * makes the call part of its trace. The operators of tensors and symbolic values are here too. Next: core/ops/ops.def,
 * l_graph.c. */
#include "box.h"

#include <math.h>
#include <string.h>

/* ---- attributes ---------------------------------------------------------------------------- */

/* The value on the stack's top into a. */
static void read_attr(lua_State *L, const wtl_op *op, const wtl_attr_spec *spec, wtl_attr *a) {
  const char *what = wtl_op_name(op);
  int ok = 0;
  switch (spec->kind) {
    case WTL_ATTR_REAL:
      if (lua_type(L, -1) != LUA_TNUMBER)
        wl_error(L, "%s: %s must be a number, not %s", what, spec->name, luaL_typename(L, -1));
      a->n = 1;
      a->f = lua_tonumber(L, -1);
      return;
    case WTL_ATTR_FLAG:
      if (!lua_isboolean(L, -1))
        wl_error(L, "%s: %s must be true or false, not %s", what, spec->name, luaL_typename(L, -1));
      a->n = 1;
      a->i[0] = lua_toboolean(L, -1);
      return;
    default: break;
  }
  if (lua_istable(L, -1) && spec->kind != WTL_ATTR_INT) {
    lua_pushfstring(L, "%s: %s", what, spec->name);
    a->n = wl_check_list(L, -2, lua_tostring(L, -1), a->i, spec->kind == WTL_ATTR_PAIR ? 2 : WTL_MAX_DIMS);
    lua_pop(L, 1);
    if (spec->kind != WTL_ATTR_PAIR || a->n == 2) return;
  } else {
    a->i[0] = a->i[1] = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &ok) : 0;
    a->n = spec->kind == WTL_ATTR_PAIR ? 2 : 1;
    if (ok) return;
  }
  wl_error(L, "%s: %s must be %s", what, spec->name, spec->kind == WTL_ATTR_INT ? "an integer"
           : spec->kind == WTL_ATTR_PAIR ? "an integer or two" : "a list of integers");
}

void wl_op_attrs(lua_State *L, int idx, const wtl_op *op, wtl_attr attrs[WTL_MAX_ATTRS]) {
  const char *names[WTL_MAX_ATTRS + 1] = { NULL };
  int n = wtl_op_attrs(op);
  memset(attrs, 0, WTL_MAX_ATTRS * sizeof *attrs);
  wtl_op_defaults(op, attrs);
  for (int i = 0; i < n; i++) names[i] = wtl_op_attr(op, i)->name;
  if (idx) wl_check_options(L, idx, wtl_op_name(op), names, false);
  for (int i = 0; i < n; i++) {
    const wtl_attr_spec *spec = wtl_op_attr(op, i);
    if (idx && lua_getfield(L, idx, names[i]) != LUA_TNIL) {
      read_attr(L, op, spec, &attrs[i]);
    } else if (spec->kind == WTL_ATTR_REAL ? isnan(spec->f) : (spec->kind != WTL_ATTR_LIST && spec->i == INT64_MIN)) {
      wl_error(L, "%s: %s must be given", wtl_op_name(op), names[i]);
    }
    if (idx) lua_pop(L, 1);
  }
}

/* ---- calling -------------------------------------------------------------------------------- */

/* One input: at most one of the three is set. */
typedef struct operand { wtl_tensor *tensor; wl_box *param, *value; } operand;

static operand read_operand(lua_State *L, int idx, const wtl_op *op, int i) {
  operand o = { 0 };
  if (lua_isnil(L, idx)) return o;
  if (wl_test(L, idx, &wl_tensor_class)) o.tensor = wl_check_obj(L, idx, &wl_tensor_class);
  else if (wl_test(L, idx, &wl_param_class)) o.param = wl_check(L, idx, &wl_param_class);
  else if (wl_test(L, idx, &wl_value_class)) o.value = wl_check(L, idx, &wl_value_class);
  else wl_error(L, "%s: %s must be a tensor, a parameter or a symbolic value, not %s", wtl_op_name(op),
                wtl_op_input_name(op, i), luaL_typename(L, idx));
  if (o.param) o.tensor = wtl_param_tensor(o.param->obj);
  return o;
}

static void run_traced(lua_State *L, wl_ctx *c, const wtl_op *op, const wtl_attr *attrs, const operand *in, int n_in,
                       wtl_graph *g) {
  wtl_value v[WTL_MAX_IN], out[WTL_MAX_OUT] = { 0 };
  for (int i = 0; i < n_in; i++) {
    v[i] = -1;
    if (in[i].value) {
      if (in[i].value->obj != g) wl_error(L, "%s: values of two different traces", wtl_op_name(op));
      v[i] = in[i].value->value;
    } else if (in[i].param) {
      wl_try(L, c, wtl_graph_param(g, NULL, in[i].param->obj, &v[i]));
    } else if (in[i].tensor) {
      wl_try(L, c, wtl_graph_const(g, in[i].tensor, &v[i]));
    }
  }
  wl_try(L, c, wtl_graph_op(g, op, attrs, v, n_in, out));
  for (int i = 0; i < wtl_op_outputs(op); i++) wl_push_value(L, c, g, out[i]);
}

/* Running statistics were changed by an op with `training` set: parameters that hold them are newer now. */
static void touch_buffers(const wtl_op *op, const wtl_attr *attrs, const operand *in, int n_in) {
  for (int i = 0; i < wtl_op_attrs(op); i++) {
    if (strcmp(wtl_op_attr(op, i)->name, "training") != 0 || !attrs[i].i[0]) continue;
    for (int k = 0; k < n_in; k++)
      if (in[k].param && wtl_param_kind_of(in[k].param->obj) == WTL_BUFFER) wtl_param_touch(in[k].param->obj);
  }
}

static void run_now(lua_State *L, wl_ctx *c, const wtl_op *op, const wtl_attr *attrs, const operand *in, int n_in) {
  wtl_tensor *t[WTL_MAX_IN], *out[WTL_MAX_OUT] = { NULL };
  wl_box *b[WTL_MAX_OUT] = { NULL };
  int n_out = wtl_op_outputs(op);
  for (int i = 0; i < n_in; i++) t[i] = in[i].tensor;
  for (int i = 0; i < n_out; i++) b[i] = wl_box_new(L, c, &wl_tensor_class);
  wtl_status s = wtl_op_run(c->core, op, attrs, t, n_in, out);
  if (s == WTL_ERR_MEMORY) { /* what is garbage to Lua may be what is missing */
    lua_gc(L, LUA_GCCOLLECT);
    s = wtl_op_run(c->core, op, attrs, t, n_in, out);
  }
  wl_try(L, c, s);
  touch_buffers(op, attrs, in, n_in);
  for (int i = 0; i < n_out; i++) wl_box_fill(L, b[i], out[i], 0); /* all owned before the collector may run */
  for (int i = 0; i < n_out; i++) {
    b[i]->charge = wtl_tensor_bytes(out[i]);
    c->live += b[i]->charge;
    wl_collect_step(L, c, b[i]->charge);
  }
}

/* Inputs stand at 1..n_in of the stack; results are pushed. */
static int apply(lua_State *L, wl_ctx *c, const wtl_op *op, const wtl_attr *attrs, int n_in) {
  operand in[WTL_MAX_IN] = { 0 };
  wtl_graph *g = NULL;
  bool of_params = false;
  luaL_checkstack(L, 16, wtl_op_name(op));
  for (int i = 0; i < n_in; i++) {
    in[i] = read_operand(L, i + 1, op, i);
    if (in[i].value && !g) g = in[i].value->obj;
    of_params |= in[i].param != NULL;
  }
  if (of_params && !g) g = c->tracing; /* else w:exp() would be a constant, and w not trained */
  if (g) run_traced(L, c, op, attrs, in, n_in, g);
  else run_now(L, c, op, attrs, in, n_in);
  return wtl_op_outputs(op);
}

/* A number at idx becomes a scalar tensor of the other operand's type. */
static void scalar_operand(lua_State *L, wl_ctx *c, int idx, int other) {
  wtl_dtype d = WTL_F64; /* beside a symbolic value: the trace converts */
  wtl_shape scalar = { 0 };
  if (lua_type(L, idx) != LUA_TNUMBER) return;
  if (wl_test(L, other, &wl_tensor_class)) d = wtl_tensor_dtype(wl_check_obj(L, other, &wl_tensor_class));
  else if (wl_test(L, other, &wl_param_class)) d = wtl_tensor_dtype(wl_check_tensor(L, other));
  wl_box *b = wl_tensor_new(L, c, d, &scalar);
  wl_try(L, c, wtl_tensor_fill(b->obj, lua_tonumber(L, idx)));
  lua_replace(L, idx);
}

/* Numbers among the inputs of an op that broadcasts, beside an input that is none. */
static void scalar_operands(lua_State *L, wl_ctx *c, const wtl_op *op) {
  int other = 1, n_in = wtl_op_inputs(op, NULL);
  if (!wtl_op_broadcasts(op)) return;
  while (other <= n_in && lua_type(L, other) != LUA_TUSERDATA) other++;
  if (other > n_in) return;
  for (int i = 1; i <= n_in; i++) scalar_operand(L, c, i, other);
}

/* What stands behind the inputs are attributes in their order, x:softmax(1): made a table of them, which is pushed. */
static void positional_attrs(lua_State *L, const wtl_op *op, int n_in, int given) {
  lua_createtable(L, 0, given - n_in);
  for (int i = n_in; i < given; i++) {
    if (i - n_in >= wtl_op_attrs(op) || lua_isuserdata(L, i + 1))
      wl_error(L, "%s: %d inputs given, it takes %d", wtl_op_name(op), given, n_in);
    lua_pushvalue(L, i + 1);
    lua_setfield(L, -2, wtl_op_attr(op, i - n_in)->name);
  }
}

int wl_op_call(lua_State *L) {
  const wtl_op *op = lua_touserdata(L, lua_upvalueindex(2));
  wl_ctx *c = wl_ctx_of(L);
  wtl_attr attrs[WTL_MAX_ATTRS];
  int n_in = wtl_op_inputs(op, NULL), given = lua_gettop(L);
  int table = given > 0 && lua_istable(L, given) ? given : 0;
  if (table) given--;
  if (given > n_in && table) return wl_error(L, "%s: %d inputs given, it takes %d", wtl_op_name(op), given, n_in);
  if (given > n_in) {
    positional_attrs(L, op, n_in, given);
    table = lua_gettop(L);
  }
  wl_op_attrs(L, table, op, attrs);
  if (table) lua_remove(L, table);
  lua_settop(L, n_in);
  scalar_operands(L, c, op);
  return apply(L, c, op, attrs, n_in);
}

/* ---- methods and operators ------------------------------------------------------------------------ */

static int reduce(lua_State *L, const char *name) {
  const wtl_op *op = wtl_op_find(name);
  static const char *const options[] = { "dims", "keepdim", NULL };
  wtl_attr attrs[WTL_MAX_ATTRS];
  int top = lua_gettop(L);
  if (top == 2 && lua_istable(L, 2)) {
    wl_check_options(L, 2, name, options, true);
    lua_createtable(L, 0, 2);
    if (lua_rawlen(L, 2) == 0) lua_getfield(L, 2, "dims");
    else {
      wtl_shape s = { 0 };
      lua_createtable(L, 4, 0);
      s.ndim = wl_check_list(L, 2, name, s.size, WTL_MAX_DIMS);
      for (int i = 0; i < s.ndim; i++) {
        lua_pushinteger(L, s.size[i]);
        lua_rawseti(L, -2, i + 1);
      }
    }
    lua_setfield(L, 3, "dims");
    lua_getfield(L, 2, "keepdim");
    lua_setfield(L, 3, "keepdim");
  } else {
    lua_createtable(L, 0, 1);
    lua_createtable(L, top, 0);
    for (int i = 2; i <= top; i++) {
      luaL_checkinteger(L, i);
      lua_pushvalue(L, i);
      lua_rawseti(L, -2, i - 1);
    }
    lua_setfield(L, top + 1, "dims");
  }
  wl_op_attrs(L, lua_gettop(L), op, attrs);
  lua_settop(L, 1);
  if (wl_test(L, 1, &wl_tensor_class)) { /* integers are counted exactly in double */
    wtl_tensor *x = wl_check_obj(L, 1, &wl_tensor_class), *wide = NULL;
    if (wtl_tensor_dtype(x) != WTL_F32 && wtl_tensor_dtype(x) != WTL_F64) {
      wl_box *b = wl_box_new(L, wl_ctx_of(L), &wl_tensor_class);
      wl_try(L, b->ctx, wtl_tensor_convert(x, WTL_F64, &wide));
      wl_tensor_fill(L, b, wide, false);
      lua_replace(L, 1);
    }
  }
  return apply(L, wl_ctx_of(L), op, attrs, 1);
}

int wl_op_sum(lua_State *L) {
  return reduce(L, "sum");
}

int wl_op_mean(lua_State *L) {
  return reduce(L, "mean");
}

/* Operands at 1 and 2; the result is pushed. */
static int binary(lua_State *L, const char *name) {
  const wtl_op *op = wtl_op_find(name);
  wl_ctx *c = wl_ctx_of(L);
  wtl_attr attrs[WTL_MAX_ATTRS];
  lua_settop(L, 2);
  scalar_operands(L, c, op);
  wl_op_attrs(L, 0, op, attrs);
  return apply(L, c, op, attrs, 2);
}

int wl_op_add(lua_State *L) {
  return binary(L, "add");
}

int wl_op_sub(lua_State *L) {
  return binary(L, "sub");
}

int wl_op_mul(lua_State *L) {
  return binary(L, "mul");
}

int wl_op_div(lua_State *L) {
  return binary(L, "div");
}

int wl_op_pow(lua_State *L) {
  return binary(L, "pow");
}

/* -x is x*(-1), which is exact. */
int wl_op_unm(lua_State *L) {
  lua_settop(L, 1);
  lua_pushinteger(L, -1);
  return binary(L, "mul");
}

/* ---- ops.help, ops.list ---------------------------------------------------------------------------- */

static wtl_status help_default(wtl_text *t, const wtl_attr_spec *s) {
  if (s->kind == WTL_ATTR_REAL) return isnan(s->f) ? WTL_OK : wtl_text_add(t, " = %g", s->f);
  if (s->kind == WTL_ATTR_FLAG) return wtl_text_add(t, " = %s", s->i ? "true" : "false");
  if (s->kind == WTL_ATTR_LIST) return wtl_text_add(t, " = {}");
  return s->i == INT64_MIN ? WTL_OK : wtl_text_add(t, " = %lld", (long long)s->i);
}

void wl_op_help(lua_State *L, wtl_text *t, const wtl_op *op) {
  wl_ctx *c = wl_ctx_of(L);
  int n = wtl_op_inputs(op, NULL);
  wl_try(L, c, wtl_text_add(t, "%s(", wtl_op_name(op)));
  for (int i = 0; i < n; i++) wl_try(L, c, wtl_text_add(t, "%s%s", i ? ", " : "", wtl_op_input_name(op, i)));
  for (int i = 0; i < wtl_op_attrs(op); i++) {
    const wtl_attr_spec *s = wtl_op_attr(op, i);
    wl_try(L, c, wtl_text_add(t, "%s%s", i ? ", " : n ? ", {" : "{", s->name));
    wl_try(L, c, help_default(t, s));
  }
  wl_try(L, c, wtl_text_add(t, "%s) -> %s\n", wtl_op_attrs(op) ? "}" : "",
                            wtl_op_outputs(op) == 1 ? "y" : "2 results"));
  wl_try(L, c, wtl_text_add(t, "  %s\n  %s\n", wtl_op_formula(op), wtl_op_help(op)));
}

static const wtl_op *check_op(lua_State *L, const char *what, int idx) {
  const char *name = luaL_checkstring(L, idx);
  const wtl_op *op = wtl_op_find(name);
  const char *names[256];
  int n = 0;
  if (op) return op;
  for (; n < wtl_op_count() && n < 256; n++) names[n] = wtl_op_name(wtl_op_at(n));
  wl_unknown(L, what, "op", name, names, n);
  return NULL;
}

static int ops_help(lua_State *L) {
  const wtl_op *op = check_op(L, "ops.help", 1);
  wtl_text *t = wl_text_new(L, wl_ctx_of(L));
  wl_op_help(L, t, op);
  return wl_text_finish(L, -1);
}

static int ops_list(lua_State *L) {
  lua_newtable(L);
  for (int i = 0, n = 0; i < wtl_op_count(); i++) {
    if (wtl_op_internal(wtl_op_at(i))) continue;
    lua_pushstring(L, wtl_op_name(wtl_op_at(i)));
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* Part number i (from 0) of ops.split: its size, or -1 behind the last. at: where it begins. */
static lua_Integer part_size(lua_State *L, lua_Integer i, lua_Integer at, lua_Integer total) {
  bool list = lua_istable(L, 2);
  if (list ? i >= (lua_Integer)lua_rawlen(L, 2) : i > 0 && at >= total) return -1;
  if (list) lua_geti(L, 2, i + 1);
  else lua_pushvalue(L, 2);
  int ok;
  lua_Integer size = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &ok) : (ok = 0);
  if (!ok || size < !list)
    wl_error(L, "split: sizes must be integers of at least %d, got %s", !list, luaL_tolstring(L, -1, NULL));
  lua_pop(L, 1);
  return list || size < total - at ? size : total - at;
}

/* ops.split(x, size or {sizes}, dim = 0) -> parts... */
static int ops_split(lua_State *L) {
  const wtl_op *op = wtl_op_find("slice");
  wtl_attr attrs[WTL_MAX_ATTRS];
  lua_Integer at = 0, i = 0, size;
  lua_settop(L, 3);
  operand x = read_operand(L, 1, op, 0);
  const wtl_shape *s = x.value ? wtl_graph_value_shape(x.value->obj, x.value->value) : x.tensor ? wtl_tensor_shape(x.tensor) : NULL;
  if (!s) return wl_error(L, "split: x is missing");
  if (lua_isnil(L, 3)) lua_pushinteger(L, 0), lua_replace(L, 3);
  int dim = wl_dim(L, 3, "split", s->ndim);
  lua_Integer total = s->size[dim];
  wtl_op_defaults(op, attrs);
  attrs[0] = (wtl_attr){ .n = 1, .i = { dim } };
  for (; (size = part_size(L, i, at, total)) >= 0; i++, at += size) {
    if (size > total - at) return wl_error(L, "split: part %I goes beyond dimension %d, of size %I", i + 1, dim, total);
    attrs[1].i[0] = at;
    attrs[2].i[0] = at + size;
    apply(L, wl_ctx_of(L), op, attrs, 1);
  }
  if (at != total) return wl_error(L, "split: the sizes add up to %I, dimension %d has %I", at, dim, total);
  return (int)i;
}

static int unknown_op(lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING) check_op(L, "ops", 2);
  return 0;
}

/* core.gradcheck(op, {inputs}, {want}, attrs?, eps?) */
static int gradcheck(lua_State *L) {
  const wtl_op *op = check_op(L, "gradcheck", 1);
  wtl_tensor *in[WTL_MAX_IN] = { NULL };
  bool want[WTL_MAX_IN] = { false };
  wtl_attr attrs[WTL_MAX_ATTRS];
  double worst = 0;
  int n = wtl_op_inputs(op, NULL);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 5);
  for (int i = 0; i < n; i++) {
    if (lua_geti(L, 2, i + 1) != LUA_TNIL && lua_type(L, -1) != LUA_TBOOLEAN) in[i] = wl_check_tensor(L, -1);
    lua_geti(L, 3, i + 1);
    want[i] = lua_toboolean(L, -1);
    lua_pop(L, 2);
  }
  if (!lua_isnil(L, 4)) luaL_checktype(L, 4, LUA_TTABLE);
  wl_op_attrs(L, lua_isnil(L, 4) ? 0 : 4, op, attrs);
  wl_ctx *c = wl_ctx_of(L);
  wl_try(L, c, wtl_op_gradcheck(c->core, op, attrs, in, n, want, luaL_optnumber(L, 5, 1e-6), &worst));
  lua_pushnumber(L, worst);
  return 1;
}

static const wl_fn core[] = {
  { "gradcheck", gradcheck, "(op, {inputs}, {want}, {attributes}?, eps = 1e-6) -> worst",
    "Central-difference gradient check of an op at f64 inputs (false: absent): the largest norm-relative "
    "error over the inputs wanted." },
  { NULL, NULL, NULL, NULL }
};

static const wl_fn ops_functions[] = {
  { "help", ops_help, "(name) -> text", "An op's call, formula and shapes." },
  { "list", ops_list, "() -> {names}", "The names of all ops, in the order of ops.def." },
  { "split", ops_split, "(x, size or {sizes}, dim = 0) -> parts...",
    "Parts of `size` positions each along dim, the last one of what is left, or of these sizes, which must add up "
    "(torch.split). x is a tensor or a symbolic value." },
  { NULL, NULL, NULL, NULL }
};

/* wattle.ops: every op that is not a plan's own; a name that is none is an error that suggests the nearest. */
static void open_ops(lua_State *L, int ctx, int table) {
  for (int i = 0; i < wtl_op_count(); i++) {
    const wtl_op *op = wtl_op_at(i);
    if (wtl_op_internal(op)) continue;
    lua_pushvalue(L, ctx);
    lua_pushlightuserdata(L, (void *)op);
    lua_pushcclosure(L, wl_op_call, 2);
    lua_setfield(L, table, wtl_op_name(op));
  }
  lua_createtable(L, 0, 1);
  wl_push_function(L, ctx, unknown_op);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, table);
}

const wl_module wl_ops_module = { .area = "ops", .core = core, .table = "ops", .functions = ops_functions,
                                  .open = open_ops };
