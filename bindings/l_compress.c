/* l_compress.c - what compression does to tensors; which tensors, and what becomes of the model, is decided in
 * lua/wattle/compress.lua. */
#include "box.h"

#include <string.h>

enum { LIST_MAX = 1 << 16 };

static int truncate_bits(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_tensor_class);
  lua_Integer n = luaL_checkinteger(L, 2);
  wtl_bits_arm arm;
  wl_try(L, b->ctx, wtl_bits_arm_parse(b->ctx->core, luaL_optstring(L, 3, "zero"), &arm));
  wtl_rng r = wtl_rng_make((uint64_t)luaL_optinteger(L, 4, (lua_Integer)b->ctx->seed), "scr", luaL_optstring(L, 5, ""),
                           (uint64_t)luaL_optinteger(L, 6, 0));
  wl_try(L, b->ctx, wtl_truncate(b->obj, n < 0 || n > 64 ? -1 : (int)n, arm, &r));
  wl_written(b);
  lua_settop(L, 1);
  return 1;
}

static int prune_global(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Number amount = luaL_checknumber(L, 2);
  lua_Unsigned n = lua_rawlen(L, 1);
  luaL_argcheck(L, n <= LIST_MAX, 1, "too many tensors");
  lua_settop(L, 2);
  /* Lua's memory, on the stack while it is used. */
  wtl_tensor **w = lua_newuserdatauv(L, (2 * n + 1) * sizeof *w, 0), **mask = w + n;
  wl_box **box = lua_newuserdatauv(L, (n + 1) * sizeof *box, 0);
  for (lua_Unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    w[i] = wl_check_tensor(L, -1);
    mask[i] = NULL;
    lua_pop(L, 1);
  }
  lua_createtable(L, (int)n, 0);
  for (lua_Unsigned i = 0; i < n; i++) {
    box[i] = wl_box_new(L, c, &wl_tensor_class);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  wl_try(L, c, wtl_prune_global(c->core, w, (int)n, amount, mask));
  /* Uncharged: the collector may not run before all are owned. */
  for (lua_Unsigned i = 0; i < n; i++) wl_tensor_fill(L, box[i], mask[i], true);
  return 1;
}

static int lowrank(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  wtl_tensor *w = wl_check_tensor(L, 1), *a = NULL, *b = NULL;
  bool full = lua_type(L, 2) == LUA_TSTRING && !strcmp(lua_tostring(L, 2), "full");
  lua_Number energy = full ? 1 : luaL_checknumber(L, 2);
  int64_t rank = 0;
  double kept = 0;
  wl_box *box_a = wl_box_new(L, c, &wl_tensor_class), *box_b = wl_box_new(L, c, &wl_tensor_class);
  wl_try(L, c, wtl_lowrank(c->core, w, energy, full, &rank, &kept, &a, &b));
  if (a) wl_box_fill(L, box_a, a, 0);
  if (b) wl_tensor_fill(L, box_b, b, false);
  lua_pushinteger(L, rank);
  lua_pushnumber(L, kept);
  lua_rotate(L, -4, 2);
  if (rank > 0) return 4;
  lua_pop(L, 2);
  return 2;
}

static const wl_fn core[] = {
  { "truncate", truncate_bits, "(t, bits, arm = \"zero\", seed = manual_seed's, name = \"\", draw = 0) -> t",
    "The bits (0..23) low-order bits of each f32 element, in place: \"zero\" clears them, \"random\" fills them with "
    "random bits, \"stochastic\" rounds to the format without them, with the mean unchanged. What an element draws is "
    "a function of (seed, name, draw) and its position, as in a parameter's truncation." },
  { "prune_global", prune_global, "({tensors}, amount) -> {masks}",
    "u8 masks (1 keeps) that drop the floor(amount x total) smallest |w| over all tensors together (Han et "
    "al. 2015); ties go by position. 0 <= amount < 1." },
  { "lowrank", lowrank, "(w, energy | \"full\") -> rank, kept, a, b",
    "Truncated SVD of w (m,n): the least rank that keeps this share (0 < energy <= 1) of the squared "
    "singular values; a (m,rank), b (rank,n). Rank 0, and no tensors, where rank*(m+n) >= m*n. \"full\": rank min(m,n), always." },
  { NULL, NULL, NULL, NULL }
};

const wl_module wl_compress_module = { .area = "compress", .core = core };
