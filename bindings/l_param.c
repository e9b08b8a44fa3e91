/* l_param.c - parameters and buffers of models: the value, its version, its constraints and its master. Modules
 * (lua/wattle/nn.lua) own them. Next: l_graph.c. */
#include "box.h"

#include <string.h>

static void param_release(wl_box *b) {
  wtl_param_release(b->obj);
}

static int new_param(lua_State *L) {
  static const char *const kinds[] = { "parameter", "buffer", NULL };
  wl_ctx *c = wl_ctx_of(L);
  wtl_tensor *t = wl_check_obj(L, 1, &wl_tensor_class);
  wtl_param_kind kind = luaL_checkoption(L, 2, "parameter", kinds) == 0 ? WTL_PARAMETER : WTL_BUFFER;
  wtl_param *p = NULL;
  wl_box *b = wl_box_new(L, c, &wl_param_class);
  wl_try(L, c, wtl_param_create(c->core, t, kind, &p));
  wl_box_fill(L, b, p, 0);
  return 1;
}

static int p_tensor(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  wl_box *t = wl_box_new(L, b->ctx, &wl_tensor_class);
  t->owner = wtl_param_retain(b->obj);
  wl_tensor_fill(L, t, wtl_tensor_retain(wtl_param_tensor(b->obj)), true);
  return 1;
}

static int p_assign(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  wl_try(L, b->ctx, wtl_param_assign(b->obj, wl_check_tensor(L, 2)));
  lua_settop(L, 1);
  return 1;
}

static int p_adopt(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  wl_try(L, b->ctx, wtl_param_adopt(b->obj, wl_check_obj(L, 2, &wl_tensor_class)));
  lua_settop(L, 1);
  return 1;
}

static int p_touch(lua_State *L) {
  wtl_param_touch(wl_check_obj(L, 1, &wl_param_class));
  return 0;
}

static int p_requires_grad(lua_State *L) {
  wtl_param *p = wl_check_obj(L, 1, &wl_param_class);
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TBOOLEAN);
    wtl_param_set_requires_grad(p, lua_toboolean(L, 2));
  }
  lua_pushboolean(L, wtl_param_requires_grad(p));
  return 1;
}

static int p_kind(lua_State *L) {
  lua_pushstring(L, wtl_param_kind_of(wl_check_obj(L, 1, &wl_param_class)) == WTL_PARAMETER ? "parameter" : "buffer");
  return 1;
}

static int p_version(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)wtl_param_version(wl_check_obj(L, 1, &wl_param_class)));
  return 1;
}

static int p_clone(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  wl_box *n = wl_box_new(L, b->ctx, &wl_param_class);
  wtl_param *p = NULL;
  wl_try(L, b->ctx, wtl_param_clone(b->obj, &p));
  wl_box_fill(L, n, p, wtl_tensor_bytes(wtl_param_tensor(p)));
  return 1;
}

static int p_mask(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  if (lua_isnoneornil(L, 2)) {
    wl_box *m = wl_box_new(L, b->ctx, &wl_tensor_class);
    if (wtl_param_mask(b->obj)) wl_tensor_fill(L, m, wtl_tensor_retain(wtl_param_mask(b->obj)), true);
    else lua_pushnil(L);
    return 1;
  }
  bool off = lua_isboolean(L, 2) && !lua_toboolean(L, 2);
  wl_try(L, b->ctx, wtl_param_set_mask(b->obj, off ? NULL : wl_check_obj(L, 2, &wl_tensor_class)));
  lua_settop(L, 1);
  return 1;
}

/* The table at idx, or a count of bits that are cleared. */
static void read_truncation(lua_State *L, wl_ctx *c, int idx, wtl_truncation *t) {
  static const char *const names[] = { "bits", "arm", "master", "seed", "name", NULL };
  static const char *const what = "truncation";
  lua_Integer bits;
  size_t n = 0;
  int isint = lua_isinteger(L, idx);
  *t = (wtl_truncation){ .seed = c->seed };
  if (!isint) {
    luaL_checktype(L, idx, LUA_TTABLE);
    wl_check_options(L, idx, what, names, false);
    lua_getfield(L, idx, "bits");
  } else {
    lua_pushvalue(L, idx);
  }
  bits = lua_tointegerx(L, -1, &isint);
  if (!isint) wl_error(L, "truncation: bits must be an integer, got %s", luaL_tolstring(L, -1, NULL));
  t->bits = bits < 0 || bits > 64 ? -1 : (int)bits;
  if (!lua_istable(L, idx)) return;
  wl_try(L, c, wtl_bits_arm_parse(c->core, wl_opt_string(L, idx, what, "arm", "zero"), &t->arm));
  t->master = wl_opt_bool(L, idx, what, "master", false);
  if (lua_getfield(L, idx, "seed") != LUA_TNIL) {
    t->seed = (uint64_t)lua_tointegerx(L, -1, &isint);
    if (!isint) wl_error(L, "truncation: seed must be an integer, got %s", luaL_tolstring(L, -1, NULL));
  }
  const char *name = wl_opt_string(L, idx, what, "name", "");
  n = strlen(name);
  if (n >= sizeof t->name) wl_error(L, "truncation: the name has %d bytes; at most %d", (int)n, (int)sizeof t->name - 1);
  memcpy(t->name, name, n + 1);
}

static void push_truncation(lua_State *L, const wtl_truncation *t) {
  lua_createtable(L, 0, 5);
  lua_pushinteger(L, t->bits);
  lua_setfield(L, -2, "bits");
  lua_pushstring(L, wtl_bits_arm_name(t->arm));
  lua_setfield(L, -2, "arm");
  lua_pushboolean(L, t->master);
  lua_setfield(L, -2, "master");
  lua_pushinteger(L, (lua_Integer)t->seed);
  lua_setfield(L, -2, "seed");
  lua_pushstring(L, t->name);
  lua_setfield(L, -2, "name");
}

static int p_truncation(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  wtl_truncation t;
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    wtl_param_truncation(b->obj, &t);
    if (t.bits) push_truncation(L, &t);
    return 1;
  }
  bool off = lua_isboolean(L, 2) && !lua_toboolean(L, 2);
  if (!off) read_truncation(L, b->ctx, 2, &t);
  wl_try(L, b->ctx, wtl_param_set_truncation(b->obj, off ? NULL : &t));
  lua_settop(L, 1);
  return 1;
}

static int p_master(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  wl_box *t = wl_box_new(L, b->ctx, &wl_tensor_class);
  if (!wtl_param_master(b->obj)) return lua_pushnil(L), 1;
  t->owner = wtl_param_retain(b->obj);
  wl_tensor_fill(L, t, wtl_tensor_retain(wtl_param_master(b->obj)), true);
  return 1;
}

static int p_redraws(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  if (!lua_isnoneornil(L, 2)) {
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 0, 2, "must not be negative");
    wl_try(L, b->ctx, wtl_param_set_redraws(b->obj, (uint64_t)n));
  }
  lua_pushinteger(L, (lua_Integer)wtl_param_redraws(b->obj));
  return 1;
}

static int p_constrain(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  wl_try(L, b->ctx, wtl_param_constrain(b->obj));
  lua_settop(L, 1);
  return 1;
}

static int p_convert(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_param_class);
  wl_try(L, b->ctx, wtl_param_convert(b->obj, wl_check_dtype(L, 2)));
  lua_settop(L, 1);
  return 1;
}

static int p_tostring(lua_State *L) {
  wl_box *b = wl_test(L, 1, &wl_param_class);
  char shape[160];
  if (!b || !b->obj) return lua_pushliteral(L, "parameter (closed)"), 1;
  wtl_tensor *t = wtl_param_tensor(b->obj);
  wtl_shape_text(wtl_tensor_shape(t), shape, sizeof shape);
  lua_pushfstring(L, "%s %s %s", wtl_param_kind_of(b->obj) == WTL_PARAMETER ? "parameter" : "buffer",
                  wtl_dtype_name(wtl_tensor_dtype(t)), shape);
  return 1;
}

static const wl_fn methods[] = {
  { "tensor", p_tensor, "() -> tensor",
    "A window on the value: the same memory. Writing through it or its views makes derived forms stale, as "
    "it must." },
  { "assign", p_assign, "(tensor) -> self", "Copies values in, into the master too, converting; the shapes must be equal." },
  { "adopt", p_adopt, "(tensor) -> self",
    "The tensor itself becomes the value, with no copy, where it is contiguous, of the same dtype and no view; else as assign. "
    "From then on change it through the parameter alone. Plans are stale then." },
  { "touch", p_touch, "()", "The value changed behind the parameter's back: derived forms are stale." },
  { "requires_grad", p_requires_grad, "(boolean?) -> boolean",
    "Whether it is trained. Setting it makes plans stale." },
  { "kind", p_kind, "() -> \"parameter\" or \"buffer\"",
    "Buffers (running statistics) are saved but not trained." },
  { "version", p_version, "() -> n", "A count that rises with every change." },
  { "clone", p_clone, "() -> parameter", "A deep copy, constraints and all." },
  { "mask", p_mask, "(u8 tensor | false | nil) -> self or tensor or nil",
    "Sets (1 keeps), removes (false) or reads (nil) the mask that every update applies." },
  { "truncation", p_truncation,
    "(bits | {bits =, arm = \"zero\", master = false, seed =, name = \"\"} | false | nil) -> self or table or nil",
    "Sets, removes (false or 0 bits) or reads what every update does to the bits (0..23) low-order bits of each f32 "
    "element: arm \"zero\" clears them, \"random\" fills them with random bits, \"stochastic\" rounds to the format "
    "without them, with the mean unchanged; draw k of the latter two is a function of (seed, name, k, position). "
    "master = true: updates go to an f32 master of its own, of which the value is made." },
  { "master", p_master, "() -> tensor or nil",
    "A window on the master that updates go to, where there is one; the value follows at the next constrain or update." },
  { "redraws", p_redraws, "(n?) -> n",
    "How many draws the arms random and stochastic made. Setting it, after value and master were put back, repeats "
    "draw n, so that training goes on as it would have." },
  { "constrain", p_constrain, "() -> self", "Applies truncation, then the mask, now." },
  { "convert", p_convert, "(dtype) -> self",
    "Replaces the value by a copy of another type (f32, f64), not where it is truncated. Plans are stale then." },
  { NULL, NULL, NULL, NULL }
};

static const luaL_Reg meta[] = {
  { "__tostring", p_tostring },
  { "__add", wl_op_add }, { "__sub", wl_op_sub }, { "__mul", wl_op_mul }, { "__unm", wl_op_unm },
  { "__div", wl_op_div }, { "__pow", wl_op_pow },
  { NULL, NULL }
};

const wl_class wl_param_class = { .name = "parameter", .release = param_release, .methods = methods, .meta = meta };

static const wl_fn core[] = {
  { "param", new_param, "(tensor, kind = \"parameter\") -> parameter",
    "A parameter or \"buffer\" whose value is the tensor (contiguous), not a copy." },
  { NULL, NULL, NULL, NULL }
};

static const wl_class *const classes[] = { &wl_param_class, NULL };

const wl_module wl_param_module = { .area = "param", .core = core, .classes = classes };
