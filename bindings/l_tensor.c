/* l_tensor.c - tensors in Lua: making them, their shapes, views, copies and operators. What looks at single
 * elements is in l_elements.c; ops are in l_ops.c. */
#include "box.h"

#include <math.h>
#include <string.h>

/* ---- boxes of tensors -------------------------------------------------------------------- */

static void tensor_release(wl_box *b) {
  wtl_tensor_release(b->obj);
}

void wl_tensor_fill(lua_State *L, wl_box *b, wtl_tensor *t, bool view) {
  wl_box_fill(L, b, t, view ? 0 : wtl_tensor_bytes(t));
}

wl_box *wl_tensor_new(lua_State *L, wl_ctx *c, wtl_dtype d, const wtl_shape *s) {
  wl_box *b = wl_box_new(L, c, &wl_tensor_class);
  wtl_tensor *t = NULL;
  wtl_status st = wtl_tensor_create(c->core, d, s, &t);
  if (st == WTL_ERR_MEMORY) { /* what is garbage to Lua may be what is missing */
    lua_gc(L, LUA_GCCOLLECT);
    st = wtl_tensor_create(c->core, d, s, &t);
  }
  wl_try(L, c, st);
  wl_tensor_fill(L, b, t, false);
  return b;
}

wtl_tensor *wl_check_tensor(lua_State *L, int idx) {
  wl_box *p = wl_test(L, idx, &wl_param_class);
  if (p) return wtl_param_tensor(wl_check_obj(L, idx, &wl_param_class));
  if (wl_test(L, idx, &wl_value_class))
    wl_error(L, "symbolic value: a tensor is needed here, but this has no value while the model is traced");
  return wl_check_obj(L, idx, &wl_tensor_class);
}

void wl_written(wl_box *b) {
  if (b->owner) wtl_param_touch(b->owner);
}

/* A closed box for a view of b's tensor: it is a window on the same parameter. */
static wl_box *view_new(lua_State *L, wl_box *b) {
  wl_box *v = wl_box_new(L, b->ctx, &wl_tensor_class);
  if (b->owner) v->owner = wtl_param_retain(b->owner);
  return v;
}

/* The tensor by its address: it is written by the call whose status stands beside it. */
static int view_done(lua_State *L, wl_box *v, wtl_status s, wtl_tensor **t) {
  if (s != WTL_OK) {
    if (v->owner) wtl_param_release(v->owner);
    v->owner = NULL;
    return wl_raise(L, v->ctx, s);
  }
  wl_tensor_fill(L, v, *t, true);
  return 1;
}

static int copy_done(lua_State *L, wl_box *b, wtl_status s, wtl_tensor **t) {
  wl_try(L, b->ctx, s);
  wl_tensor_fill(L, b, *t, false);
  return 1;
}

/* ---- making them ------------------------------------------------------------------------------ */

static int new_tensor(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  wtl_dtype d = lua_isnoneornil(L, 2) ? WTL_F32 : wl_check_dtype(L, 2);
  lua_settop(L, 2);
  if (lua_istable(L, 1)) return wl_from_table(L, c, 1, d);
  if (lua_type(L, 1) == LUA_TNUMBER) {
    wtl_shape scalar = { 0 };
    wl_box *b = wl_tensor_new(L, c, d, &scalar);
    wl_try(L, c, wtl_tensor_fill(b->obj, lua_tonumber(L, 1)));
    return 1;
  }
  wtl_tensor *src = wl_check_tensor(L, 1), *t = NULL;
  if (lua_isnil(L, 2)) d = wtl_tensor_dtype(src);
  wl_box *b = wl_box_new(L, c, &wl_tensor_class);
  return copy_done(L, b, wtl_tensor_convert(src, d, &t), &t);
}

static wl_box *shaped(lua_State *L, const char *what) {
  wtl_shape s;
  wtl_dtype d = WTL_F32;
  wl_check_shape(L, 1, what, &s, &d);
  return wl_tensor_new(L, wl_ctx_of(L), d, &s);
}

static int new_zeros(lua_State *L) {
  shaped(L, "zeros");
  return 1;
}

static int new_ones(lua_State *L) {
  wl_box *b = shaped(L, "ones");
  wl_try(L, b->ctx, wtl_tensor_fill(b->obj, 1));
  return 1;
}

static int new_full(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Number v = luaL_checknumber(L, 2);
  wl_box *b = shaped(L, "full");
  wl_try(L, b->ctx, wtl_tensor_fill(b->obj, v));
  return 1;
}

static int new_rand(lua_State *L) {
  wl_box *b = shaped(L, "rand");
  wtl_rng r = wtl_rng_make(b->ctx->seed, "rand", "", b->ctx->draws++);
  wl_try(L, b->ctx, wtl_tensor_uniform(b->obj, &r, 0, 1));
  return 1;
}

static int new_randn(lua_State *L) {
  wl_box *b = shaped(L, "randn");
  wtl_rng r = wtl_rng_make(b->ctx->seed, "randn", "", b->ctx->draws++);
  wl_try(L, b->ctx, wtl_tensor_normal(b->obj, &r, 0, 1));
  return 1;
}

static int new_arange(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  lua_Integer n = luaL_checkinteger(L, 1);
  wtl_dtype d = lua_isnoneornil(L, 2) ? WTL_I64 : wl_check_dtype(L, 2);
  wtl_shape s = { 1, { n } };
  luaL_argcheck(L, n >= 0, 1, "negative length");
  wl_box *b = wl_tensor_new(L, c, WTL_I64, &s);
  int64_t *x = wtl_tensor_data(b->obj);
  for (int64_t i = 0; i < n; i++) x[i] = i;
  if (d == WTL_I64) return 1;
  wtl_tensor *t = NULL;
  wl_box *other = wl_box_new(L, c, &wl_tensor_class);
  return copy_done(L, other, wtl_tensor_convert(b->obj, d, &t), &t);
}

static int manual_seed(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  c->seed = (uint64_t)luaL_checkinteger(L, 1);
  wtl_seed(c->core, c->seed);
  c->draws = 0;
  return 0;
}

static int get_seed(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)wl_ctx_of(L)->seed);
  return 1;
}

static wtl_rng check_rng(lua_State *L, int first) {
  uint64_t seed = (uint64_t)luaL_checkinteger(L, first);
  const char *purpose = luaL_checkstring(L, first + 1), *name = luaL_checkstring(L, first + 2);
  return wtl_rng_make(seed, purpose, name, (uint64_t)luaL_checkinteger(L, first + 3));
}

static int fill_random(lua_State *L, wtl_status (*fill)(wtl_tensor *, const wtl_rng *, double, double)) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wtl_rng r = check_rng(L, 2);
  wl_try(L, b->ctx, fill(b->obj, &r, luaL_checknumber(L, 6), luaL_checknumber(L, 7)));
  wl_written(b);
  lua_settop(L, 1);
  return 1;
}

static int fill_uniform(lua_State *L) {
  return fill_random(L, wtl_tensor_uniform);
}

static int fill_normal(lua_State *L) {
  return fill_random(L, wtl_tensor_normal);
}

static int permutation(lua_State *L) {
  wtl_rng r = check_rng(L, 1);
  lua_Integer n = luaL_checkinteger(L, 5);
  wtl_shape s = { 1, { n } };
  luaL_argcheck(L, n >= 0, 5, "negative length");
  wl_box *b = wl_tensor_new(L, wl_ctx_of(L), WTL_I64, &s);
  wtl_rng_permutation(&r, n, wtl_tensor_data(b->obj));
  return 1;
}

/* ---- what they are ------------------------------------------------------------------------------- */

static int t_shape(lua_State *L) {
  const wtl_shape *s = wtl_tensor_shape(wl_check_obj(L, 1, &wl_tensor_class));
  lua_createtable(L, s->ndim, 0);
  for (int i = 0; i < s->ndim; i++) {
    lua_pushinteger(L, s->size[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int t_size(lua_State *L) {
  const wtl_shape *s = wtl_tensor_shape(wl_check_obj(L, 1, &wl_tensor_class));
  if (lua_isnoneornil(L, 2)) return t_shape(L);
  lua_pushinteger(L, s->size[wl_dim(L, 2, "size", s->ndim)]);
  return 1;
}

static int t_dim(lua_State *L) {
  lua_pushinteger(L, wtl_tensor_shape(wl_check_obj(L, 1, &wl_tensor_class))->ndim);
  return 1;
}

static int t_numel(lua_State *L) {
  lua_pushinteger(L, wtl_tensor_numel(wl_check_obj(L, 1, &wl_tensor_class)));
  return 1;
}

static int t_bytes(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)wtl_tensor_bytes(wl_check_obj(L, 1, &wl_tensor_class)));
  return 1;
}

static int t_is_contiguous(lua_State *L) {
  lua_pushboolean(L, wtl_tensor_contiguous(wl_check_obj(L, 1, &wl_tensor_class)));
  return 1;
}

static int t_len(lua_State *L) {
  const wtl_shape *s = wtl_tensor_shape(wl_check_obj(L, 1, &wl_tensor_class));
  if (s->ndim == 0) return wl_error(L, "length of a scalar tensor");
  lua_pushinteger(L, s->size[0]);
  return 1;
}

static int t_index(lua_State *L) {
  wl_box *b = lua_touserdata(L, 1);
  const char *key = lua_tostring(L, 2);
  if (key && strcmp(key, "dtype") == 0 && b->obj) {
    lua_pushstring(L, wtl_dtype_name(wtl_tensor_dtype(b->obj)));
    return 1;
  }
  lua_settop(L, 2);
  lua_rawget(L, lua_upvalueindex(2));
  return 1;
}

static int t_tostring(lua_State *L) {
  wl_box *b = wl_test(L, 1, &wl_tensor_class);
  if (!b || !b->obj) return lua_pushliteral(L, "tensor (closed)"), 1;
  wtl_text *t = wl_text_new(L, b->ctx);
  wl_try(L, b->ctx, wtl_tensor_print(b->obj, t));
  return wl_text_finish(L, -1);
}

/* ---- copies ----------------------------------------------------------------------------------------- */

static int t_to(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wtl_dtype d = wl_check_dtype(L, 2);
  wtl_tensor *t = NULL;
  lua_settop(L, 1);
  if (d == wtl_tensor_dtype(b->obj)) return 1;
  wl_box *n = wl_box_new(L, b->ctx, &wl_tensor_class);
  return copy_done(L, n, wtl_tensor_convert(b->obj, d, &t), &t);
}

static int t_clone(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wtl_tensor *t = NULL;
  wl_box *n = wl_box_new(L, b->ctx, &wl_tensor_class);
  return copy_done(L, n, wtl_tensor_clone(b->obj, &t), &t);
}

static int t_contiguous(lua_State *L) {
  lua_settop(L, 1);
  return wtl_tensor_contiguous(wl_check_obj(L, 1, &wl_tensor_class)) ? 1 : t_clone(L);
}

static int t_copy_(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wl_try(L, b->ctx, wtl_tensor_copy(b->obj, wl_check_tensor(L, 2)));
  wl_written(b);
  lua_settop(L, 1);
  return 1;
}

static int t_fill_(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wl_try(L, b->ctx, wtl_tensor_fill(b->obj, luaL_checknumber(L, 2)));
  wl_written(b);
  lua_settop(L, 1);
  return 1;
}

/* ---- views ------------------------------------------------------------------------------------------- */

static int t_view(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wtl_shape s;
  wtl_tensor *t = NULL;
  wl_check_shape(L, 2, "view", &s, NULL);
  wl_box *v = view_new(L, b);
  return view_done(L, v, wtl_tensor_reshape(b->obj, &s, &t), &t);
}

static int reshape_to(lua_State *L, wl_box *b, const wtl_shape *s) {
  wtl_tensor *t = NULL;
  if (wtl_tensor_contiguous(b->obj)) {
    wl_box *v = view_new(L, b);
    return view_done(L, v, wtl_tensor_reshape(b->obj, s, &t), &t);
  }
  wl_box *copy = wl_box_new(L, b->ctx, &wl_tensor_class);
  copy_done(L, copy, wtl_tensor_clone(b->obj, &t), &t);
  wl_box *v = wl_box_new(L, b->ctx, &wl_tensor_class);
  return view_done(L, v, wtl_tensor_reshape(copy->obj, s, &t), &t);
}

static int t_reshape(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wtl_shape s;
  wl_check_shape(L, 2, "reshape", &s, NULL);
  return reshape_to(L, b, &s);
}

static int t_flatten(lua_State *L) {
  static const char *const options[] = { "start_dim", "end_dim", NULL };
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  const wtl_shape *from = wtl_tensor_shape(b->obj);
  wtl_shape s = { 0 };
  int first = from->ndim > 1 ? 1 : 0, last = from->ndim - 1;
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    wl_check_options(L, 2, "flatten", options, false);
    if (lua_getfield(L, 2, "start_dim") != LUA_TNIL) first = wl_dim(L, -1, "flatten", from->ndim);
    if (lua_getfield(L, 2, "end_dim") != LUA_TNIL) last = wl_dim(L, -1, "flatten", from->ndim);
  }
  if (first > last && from->ndim > 0) return wl_error(L, "flatten: start_dim %d is after end_dim %d", first, last);
  for (int i = 0; i < from->ndim; i++) {
    if (i <= first || i > last) s.size[s.ndim++] = from->size[i];
    else s.size[first] *= from->size[i];
  }
  if (from->ndim == 0) s.size[s.ndim++] = 1;
  return reshape_to(L, b, &s);
}

static int t_transpose(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  int n = wtl_tensor_shape(b->obj)->ndim;
  int d0 = wl_dim(L, 2, "transpose", n), d1 = wl_dim(L, 3, "transpose", n);
  wtl_tensor *t = NULL;
  wl_box *v = view_new(L, b);
  return view_done(L, v, wtl_tensor_transpose(b->obj, d0, d1, &t), &t);
}

static int t_permute(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wtl_shape s;
  int dims[WTL_MAX_DIMS], n = wtl_tensor_shape(b->obj)->ndim;
  wl_check_shape(L, 2, "permute", &s, NULL);
  if (s.ndim != n) return wl_error(L, "permute: %d dimensions given, the tensor has %d", s.ndim, n);
  for (int i = 0; i < n; i++) {
    lua_pushinteger(L, s.size[i]);
    dims[i] = wl_dim(L, -1, "permute", n);
    lua_pop(L, 1);
  }
  wtl_tensor *t = NULL;
  wl_box *v = view_new(L, b);
  return view_done(L, v, wtl_tensor_permute(b->obj, dims, &t), &t);
}

static int t_narrow(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  int dim = wl_dim(L, 2, "narrow", wtl_tensor_shape(b->obj)->ndim);
  lua_Integer start = luaL_checkinteger(L, 3), length = luaL_checkinteger(L, 4);
  wtl_tensor *t = NULL;
  wl_box *v = view_new(L, b);
  return view_done(L, v, wtl_tensor_narrow(b->obj, dim, start, length, &t), &t);
}

static int t_select(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  int dim = wl_dim(L, 2, "select", wtl_tensor_shape(b->obj)->ndim);
  lua_Integer i = luaL_checkinteger(L, 3);
  if (i < 0) i += wtl_tensor_shape(b->obj)->size[dim];
  wtl_tensor *t = NULL;
  wl_box *v = view_new(L, b);
  return view_done(L, v, wtl_tensor_select(b->obj, dim, i, &t), &t);
}

static int t_expand(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wtl_shape s;
  wtl_tensor *t = NULL;
  wl_check_shape(L, 2, "expand", &s, NULL);
  wl_box *v = view_new(L, b);
  return view_done(L, v, wtl_tensor_expand(b->obj, &s, &t), &t);
}

/* ---- tables --------------------------------------------------------------------------------------------- */

static const wl_fn methods[] = {
  { "shape", t_shape, "() -> {sizes}", "The sizes of all dimensions, a new table." },
  { "size", t_size, "(dim?) -> size or {sizes}",
    "The size of a dimension (from 0; negative from the end), or all." },
  { "dim", t_dim, "() -> n", "How many dimensions; 0 is a scalar." },
  { "numel", t_numel, "() -> n", "How many elements." },
  { "bytes", t_bytes, "() -> n", "Elements times the size of one, in bytes." },
  { "is_contiguous", t_is_contiguous, "() -> boolean",
    "Whether the elements stand in row-major order without gaps." },
  { "to", t_to, "(dtype) -> tensor",
    "A copy with another element type (itself if it has that type). Rounds to nearest even; out of an integer "
    "type's range is an error." },
  { "clone", t_clone, "() -> tensor", "A contiguous copy." },
  { "contiguous", t_contiguous, "() -> tensor", "Itself if contiguous, else a copy." },
  { "copy_", t_copy_, "(src) -> self", "Copies src's elements in, converting; the shapes must be equal." },
  { "fill_", t_fill_, "(value) -> self", "Sets every element." },
  { "view", t_view, "{sizes} -> tensor",
    "The same memory under another shape; one size may be -1. Only of a contiguous tensor." },
  { "reshape", t_reshape, "{sizes} -> tensor", "As view, but copies where the tensor is not contiguous." },
  { "flatten", t_flatten, "({start_dim = 1, end_dim = -1}?) -> tensor",
    "Dimensions start_dim..end_dim made one: (N,C,H,W) becomes (N,C*H*W)." },
  { "transpose", t_transpose, "(d0, d1) -> tensor", "A view with two dimensions swapped." },
  { "permute", t_permute, "{dims} -> tensor",
    "A view with the dimensions in the order given (each from 0, once)." },
  { "narrow", t_narrow, "(dim, start, length) -> tensor",
    "A view of positions start..start+length-1 (from 0) of a dimension." },
  { "select", t_select, "(dim, i) -> tensor",
    "A view of position i (from 0; negative from the end), without that dimension." },
  { "expand", t_expand, "{sizes} -> tensor",
    "A view where dimensions of size 1 are repeated, as NumPy broadcasts." },
  { "sum", wl_op_sum, "(dim, ...) or {dims..., keepdim = false} -> tensor",
    "Sum over the dimensions given, or over all. Integers are summed as f64." },
  { "mean", wl_op_mean, "(dim, ...) or {dims..., keepdim = false} -> tensor",
    "Mean over the dimensions given, or over all. Integers are averaged as f64." },
  { NULL, NULL, NULL, NULL }
};

static const luaL_Reg meta[] = {
  { "__index", t_index }, { "__tostring", t_tostring }, { "__len", t_len },
  { "__add", wl_op_add }, { "__sub", wl_op_sub }, { "__mul", wl_op_mul }, { "__unm", wl_op_unm },
  { "__div", wl_op_div }, { "__pow", wl_op_pow },
  { NULL, NULL }
};

const wl_class wl_tensor_class = { .name = "tensor", .release = tensor_release, .methods = methods,
                                   .more = wl_element_methods, .meta = meta, .op_methods = true };

static const wl_fn shared[] = {
  { "tensor", new_tensor, "(nested tables | number | tensor, dtype = \"f32\") -> tensor",
    "A tensor from numbers: tables nest as dimensions do, and rows must be equally long. A tensor is copied." },
  { "zeros", new_zeros, "{sizes, dtype = \"f32\"} -> tensor", "All 0." },
  { "ones", new_ones, "{sizes, dtype = \"f32\"} -> tensor", "All 1." },
  { "full", new_full, "({sizes, dtype = \"f32\"}, value) -> tensor", "All the value." },
  { "rand", new_rand, "{sizes, dtype = \"f32\"} -> tensor",
    "Uniform in [0,1): a function of the seed (manual_seed) and of how many tensors were drawn since." },
  { "randn", new_randn, "{sizes, dtype = \"f32\"} -> tensor",
    "Normal, mean 0, standard deviation 1; seeded as rand." },
  { "arange", new_arange, "(n, dtype = \"i64\") -> tensor", "0, 1, ..., n-1." },
  { "manual_seed", manual_seed, "(n)",
    "The seed of rand, randn and of parameters' initial values; 0 at the start." },
  { NULL, NULL, NULL, NULL }
};

static const wl_fn core[] = {
  { "seed", get_seed, "() -> n", "The seed set by manual_seed." },
  { "uniform", fill_uniform, "(t, seed, purpose, name, step, low, high) -> t",
    "Fills t with uniform numbers in [low, high), a function of the arguments and each element's position alone." },
  { "normal", fill_normal, "(t, seed, purpose, name, step, mean, sd) -> t",
    "Fills t with normal numbers, a function of the arguments and each element's position alone." },
  { "permutation", permutation, "(seed, purpose, name, step, n) -> tensor", "A permutation of 0..n-1, i64." },
  { NULL, NULL, NULL, NULL }
};

static const wl_class *const classes[] = { &wl_tensor_class, &wl_text_class, &wl_hold_class, NULL };

const wl_module wl_tensor_module = { .area = "tensor", .core = core, .shared = shared, .classes = classes };
