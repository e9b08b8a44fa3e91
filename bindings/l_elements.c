/* l_elements.c - the methods of tensors that look at single elements: reading, writing, comparing, and tensors from
 * nested Lua tables. bf16 and f16 are read through an f32 copy. Next: l_tensor.c. */
#include "box.h"

#include <math.h>
#include <string.h>

static lua_Number element(const void *data, wtl_dtype d, int64_t at) {
  switch (d) {
    case WTL_F32: return ((const float *)data)[at];
    case WTL_F64: return ((const double *)data)[at];
    case WTL_I64: return (lua_Number)((const int64_t *)data)[at];
    case WTL_I32: return ((const int32_t *)data)[at];
    default: return ((const uint8_t *)data)[at];
  }
}

static bool integral(wtl_dtype d) {
  return d == WTL_I64 || d == WTL_I32 || d == WTL_U8;
}

void wl_push_element(lua_State *L, const void *data, wtl_dtype d, int64_t at) {
  if (d == WTL_I64) lua_pushinteger(L, ((const int64_t *)data)[at]);
  else if (integral(d)) lua_pushinteger(L, (lua_Integer)element(data, d, at));
  else lua_pushnumber(L, element(data, d, at));
}

/* The tensor at index 1, or a copy (pushed) of a type that element() reads, contiguous if asked for. */
static const wtl_tensor *readable(lua_State *L, int idx, bool plain) {
  wtl_tensor *t = wl_check_tensor(L, idx), *copy = NULL;
  wtl_dtype d = wtl_tensor_dtype(t);
  bool half = d == WTL_BF16 || d == WTL_F16;
  if (!half && (!plain || wtl_tensor_contiguous(t))) return t;
  wl_box *b = wl_box_new(L, wl_ctx_of(L), &wl_tensor_class);
  wl_try(L, b->ctx, half ? wtl_tensor_convert(t, WTL_F32, &copy) : wtl_tensor_clone(t, &copy));
  wl_tensor_fill(L, b, copy, false);
  return copy;
}

static int t_item(lua_State *L) {
  const wtl_tensor *t = readable(L, 1, false);
  if (wtl_tensor_numel(t) != 1)
    return wl_error(L, "item: the tensor has %I elements, not one", (lua_Integer)wtl_tensor_numel(t));
  wl_push_element(L, wtl_tensor_cdata(t), wtl_tensor_dtype(t), 0);
  return 1;
}

static void push_list(lua_State *L, const wtl_tensor *t, int dim, int64_t at) {
  const wtl_shape *s = wtl_tensor_shape(t);
  if (dim == s->ndim) {
    wl_push_element(L, wtl_tensor_cdata(t), wtl_tensor_dtype(t), at);
    return;
  }
  luaL_checkstack(L, 4, "tolist");
  lua_createtable(L, s->size[dim] < 1 << 20 ? (int)s->size[dim] : 0, 0);
  for (int64_t i = 0; i < s->size[dim]; i++) {
    push_list(L, t, dim + 1, at + i * wtl_tensor_strides(t)[dim]);
    lua_rawseti(L, -2, i + 1);
  }
}

static int t_tolist(lua_State *L) {
  push_list(L, readable(L, 1, false), 0, 0);
  return 1;
}

/* Indices from the stack, checked; *at is the element's place from the data pointer. */
static void check_index(lua_State *L, const char *what, const wtl_tensor *t, int given, int64_t index[], int64_t *at) {
  const wtl_shape *s = wtl_tensor_shape(t);
  if (given != s->ndim) wl_error(L, "%s: %d indices for %d dimensions", what, given, s->ndim);
  *at = 0;
  for (int i = 0; i < s->ndim; i++) {
    index[i] = luaL_checkinteger(L, 2 + i);
    if (index[i] < 0 || index[i] >= s->size[i])
      wl_error(L, "%s: index %I is out of range for dimension %d of size %I (indices count from 0)", what,
               (lua_Integer)index[i], i, (lua_Integer)s->size[i]);
    *at += index[i] * wtl_tensor_strides(t)[i];
  }
}

static int t_get(lua_State *L) {
  int64_t index[WTL_MAX_DIMS], at;
  wtl_tensor *t = wl_check_obj(L, 1, &wl_tensor_class);
  wtl_dtype d = wtl_tensor_dtype(t);
  double v;
  check_index(L, "get", t, lua_gettop(L) - 1, index, &at);
  if (d != WTL_BF16 && d != WTL_F16) {
    wl_push_element(L, wtl_tensor_cdata(t), d, at);
    return 1;
  }
  wl_try(L, wl_ctx_of(L), wtl_tensor_get(t, index, &v));
  lua_pushnumber(L, v);
  return 1;
}

static int t_set(lua_State *L) {
  int64_t index[WTL_MAX_DIMS], at;
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  int top = lua_gettop(L);
  luaL_argcheck(L, top >= 2, 2, "value expected");
  check_index(L, "set", b->obj, top - 2, index, &at);
  if (wtl_tensor_dtype(b->obj) == WTL_I64)
    ((int64_t *)wtl_tensor_data(b->obj))[at] = luaL_checkinteger(L, top);
  else
    wl_try(L, b->ctx, wtl_tensor_set(b->obj, index, luaL_checknumber(L, top)));
  wl_written(b);
  lua_settop(L, 1);
  return 1;
}

static int t_tobytes(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  wtl_tensor *t = b->obj, *copy = NULL;
  if (!wtl_tensor_contiguous(t)) {
    wl_box *n = wl_box_new(L, b->ctx, &wl_tensor_class);
    wl_try(L, b->ctx, wtl_tensor_clone(t, &copy));
    wl_tensor_fill(L, n, copy, false);
    t = copy;
  }
  lua_pushlstring(L, wtl_tensor_cdata(t), wtl_tensor_bytes(t));
  return 1;
}

/* Is b a better extreme than a? NaN beats everything, the first one stays. */
static bool beats(lua_Number b, lua_Number a, bool greatest) {
  if (isnan(a)) return false;
  return isnan(b) || (greatest ? b > a : b < a);
}

static int extreme(lua_State *L, const char *what, bool greatest) {
  const wtl_tensor *t = readable(L, 1, true);
  const void *data = wtl_tensor_cdata(t);
  wtl_dtype d = wtl_tensor_dtype(t);
  int64_t n = wtl_tensor_numel(t), best = 0;
  if (n == 0) return wl_error(L, "%s: the tensor has no elements", what);
  for (int64_t i = 1; i < n; i++) {
    bool better = d == WTL_I64
      ? (greatest ? ((const int64_t *)data)[i] > ((const int64_t *)data)[best]
                  : ((const int64_t *)data)[i] < ((const int64_t *)data)[best])
      : beats(element(data, d, i), element(data, d, best), greatest);
    if (better) best = i;
  }
  wl_push_element(L, data, d, best);
  return 1;
}

static int t_max(lua_State *L) {
  return extreme(L, "max", true);
}

static int t_min(lua_State *L) {
  return extreme(L, "min", false);
}

static int t_argmax(lua_State *L) {
  bool all = lua_isnoneornil(L, 2);
  lua_settop(L, 2);
  const wtl_tensor *t = readable(L, 1, true);
  const wtl_shape *s = wtl_tensor_shape(t);
  wtl_shape out = { 0 };
  int dim = all ? 0 : wl_dim(L, 2, "argmax", s->ndim);
  int64_t outer = 1, inner = 1, n = all ? wtl_tensor_numel(t) : s->size[dim];
  for (int i = 0; !all && i < s->ndim; i++) {
    if (i == dim) continue;
    out.size[out.ndim++] = s->size[i];
    if (i < dim) outer *= s->size[i];
    else inner *= s->size[i];
  }
  if (n == 0) return wl_error(L, "argmax: no elements to choose from");
  wl_box *b = wl_tensor_new(L, wl_ctx_of(L), WTL_I64, &out);
  int64_t *y = wtl_tensor_data(b->obj);
  const void *data = wtl_tensor_cdata(t);
  wtl_dtype d = wtl_tensor_dtype(t);
  for (int64_t o = 0; o < outer; o++) {
    for (int64_t i = 0; i < inner; i++) {
      int64_t base = o * n * inner + i, best = 0;
      for (int64_t k = 1; k < n; k++)
        if (beats(element(data, d, base + k * inner), element(data, d, base + best * inner), true)) best = k;
      y[o * inner + i] = best;
    }
  }
  return 1;
}

static int t_count_nonzero(lua_State *L) {
  const wtl_tensor *t = readable(L, 1, true);
  const void *data = wtl_tensor_cdata(t);
  wtl_dtype d = wtl_tensor_dtype(t);
  int64_t n = wtl_tensor_numel(t), count = 0;
  for (int64_t i = 0; i < n; i++) count += element(data, d, i) != 0;
  lua_pushinteger(L, count);
  return 1;
}

static int t_equal(lua_State *L) {
  wtl_tensor *a = wl_check_obj(L, 1, &wl_tensor_class), *b = wl_check_tensor(L, 2);
  if (wtl_tensor_dtype(a) != wtl_tensor_dtype(b) || !wtl_shape_equal(wtl_tensor_shape(a), wtl_tensor_shape(b))) {
    lua_pushboolean(L, false);
    return 1;
  }
  lua_settop(L, 2);
  for (int i = 1; i <= 2; i++) { /* contiguous copies of what is not */
    wtl_tensor *copy = NULL;
    wl_box *n = wl_box_new(L, wl_ctx_of(L), &wl_tensor_class);
    if (wtl_tensor_contiguous(i == 1 ? a : b)) continue;
    wl_try(L, n->ctx, wtl_tensor_clone(i == 1 ? a : b, &copy));
    wl_tensor_fill(L, n, copy, false);
    if (i == 1) a = copy;
    else b = copy;
  }
  size_t bytes = wtl_tensor_bytes(a);
  lua_pushboolean(L, bytes == 0 || memcmp(wtl_tensor_cdata(a), wtl_tensor_cdata(b), bytes) == 0);
  return 1;
}

/* ---- from nested tables ------------------------------------------------------------------------ */

/* The shape by the first entry of each level. */
static void nested_shape(lua_State *L, int idx, wtl_shape *s) {
  lua_pushvalue(L, idx);
  memset(s, 0, sizeof *s);
  while (lua_istable(L, -1)) {
    if (s->ndim == WTL_MAX_DIMS) wl_error(L, "tensor: tables nest deeper than %d", WTL_MAX_DIMS);
    s->size[s->ndim++] = (int64_t)lua_rawlen(L, -1);
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
  }
  lua_pop(L, 1);
}

static void put(lua_State *L, void *data, wtl_dtype d, int64_t at) {
  int ok;
  if (lua_type(L, -1) != LUA_TNUMBER)
    wl_error(L, "tensor: element %I is not a number but %s", (lua_Integer)at, luaL_typename(L, -1));
  if (d == WTL_F64) {
    ((double *)data)[at] = lua_tonumber(L, -1);
    return;
  }
  ((int64_t *)data)[at] = lua_tointegerx(L, -1, &ok);
  if (!ok) wl_error(L, "tensor: element %I is %s, not an integer", (lua_Integer)at, luaL_tolstring(L, -1, NULL));
}

static void fill_nested(lua_State *L, const wtl_shape *s, int dim, void *data, wtl_dtype d, int64_t *at) {
  if (dim == s->ndim) {
    put(L, data, d, (*at)++);
    return;
  }
  luaL_checkstack(L, 4, "tensor");
  lua_Integer size = s->size[dim];
  if (!lua_istable(L, -1))
    wl_error(L, "tensor: ragged: a %s stands where a table of %I is expected", luaL_typename(L, -1), size);
  if ((lua_Integer)lua_rawlen(L, -1) != size)
    wl_error(L, "tensor: ragged: a row of dimension %d has %I entries, the first has %I", dim,
             (lua_Integer)lua_rawlen(L, -1), size);
  for (lua_Integer i = 0; i < size; i++) {
    lua_rawgeti(L, -1, i + 1);
    fill_nested(L, s, dim + 1, data, d, at);
    lua_pop(L, 1);
  }
}

int wl_from_table(lua_State *L, wl_ctx *c, int idx, wtl_dtype d) {
  wtl_dtype wide = integral(d) ? WTL_I64 : WTL_F64;
  wtl_shape s;
  int64_t at = 0;
  wtl_tensor *t = NULL;
  nested_shape(L, idx, &s);
  wl_box *b = wl_tensor_new(L, c, wide, &s);
  lua_pushvalue(L, idx);
  fill_nested(L, &s, 0, wtl_tensor_data(b->obj), wide, &at);
  lua_pop(L, 1);
  if (d == wide) return 1;
  wl_box *n = wl_box_new(L, c, &wl_tensor_class);
  wl_try(L, c, wtl_tensor_convert(b->obj, d, &t));
  wl_tensor_fill(L, n, t, false);
  wl_box_close(b);
  return 1;
}

const wl_fn wl_element_methods[] = {
  { "item", t_item, "() -> number", "The only element's value: an integer of integer types, else a float." },
  { "tolist", t_tolist, "() -> nested tables or number", "All values, nested as the dimensions are." },
  { "get", t_get, "(i, j, ...) -> number", "One element; indices count from 0." },
  { "set", t_set, "(i, j, ..., value) -> self", "Sets one element; indices count from 0." },
  { "tobytes", t_tobytes, "() -> string",
    "The elements in row-major order as they are in memory (little-endian)." },
  { "max", t_max, "() -> number", "The largest element; NaN if there is one." },
  { "min", t_min, "() -> number", "The smallest element; NaN if there is one." },
  { "argmax", t_argmax, "(dim?) -> tensor",
    "i64 positions (from 0) of the largest elements along a dimension, which goes; without one, a scalar: "
    "the row-major position of the largest of all. The first of equals; NaN counts as largest." },
  { "count_nonzero", t_count_nonzero, "() -> n", "How many elements are not 0 (NaN is not)." },
  { "equal", t_equal, "(other) -> boolean", "Same type, shape and bits." },
  { NULL, NULL, NULL, NULL }
};
