/* ctx.c - the context of a Lua state: one wtl_ctx, made when wattle is first required, counted so that it ends
 * after the last box, and the account by which the collector learns of C memory. Next: box.h. */
#include "box.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
  STEP_BYTES = 256 << 10,  /* smaller debts wait */
  FLOOR_BYTES = 16 << 20   /* garbage of this size is always tolerated */
};

static int ctx_gc(lua_State *L) {
  wl_ctx **slot = lua_touserdata(L, 1);
  if (*slot) {
    wl_ctx *c = *slot;
    *slot = NULL;
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, (void *)wl_ctx_push);
    wl_host_attach(L, NULL);
    wl_ctx_unref(c);
  }
  return 0;
}

/* The registry key is the address of this function. */
wl_ctx *wl_ctx_push(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, (void *)wl_ctx_push) == LUA_TUSERDATA) {
    wl_ctx *c = *(wl_ctx **)lua_touserdata(L, -1);
    if (!c) luaL_error(L, "wattle: the state is closing");
    return c;
  }
  lua_pop(L, 1);
  wl_ctx **slot = lua_newuserdatauv(L, sizeof *slot, 0);
  *slot = NULL;
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, "context");
  lua_setfield(L, -2, "__name");
  lua_pushcfunction(L, ctx_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, (void *)wl_ctx_push);
  wl_ctx *c = calloc(1, sizeof *c);
  if (!c || wtl_ctx_create(0, &c->core) != WTL_OK) {
    free(c);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, (void *)wl_ctx_push);
    luaL_error(L, "wattle: no memory for the context");
  }
  c->refs = 1;
  *slot = c;
  wl_host_attach(L, c->core);
  return c;
}

wl_ctx *wl_ctx_of(lua_State *L) {
  wl_ctx **slot = lua_touserdata(L, lua_upvalueindex(1));
  if (!*slot) luaL_error(L, "wattle: the state is closing");
  return *slot;
}

void wl_ctx_unref(wl_ctx *c) {
  if (--c->refs > 0) return;
  wtl_graph_release(c->tracing);
  wtl_ctx_destroy(c->core);
  free(c);
}

/* Allocating an eighth of the bytes that are alive (but at least FLOOR_BYTES) counts as much as doubling Lua's own
 * heap would, so a cycle of the collector comes with the one or the other, and its cost is spread in the same way. */
void wl_collect_step(lua_State *L, wl_ctx *c, size_t bytes) {
  c->pending += bytes;
  if (c->pending < STEP_BYTES || lua_gc(L, LUA_GCISRUNNING) <= 0) return;
  double base = c->live / 8 > FLOOR_BYTES ? (double)c->live / 8 : FLOOR_BYTES;
  double share = (double)c->pending / base;
  double kb = lua_gc(L, LUA_GCCOUNT) * (share < 4 ? share : 4);
  c->pending = 0;
  lua_gc(L, LUA_GCSTEP, kb < INT_MAX / 2 ? (int)kb + 1 : INT_MAX / 2);
}

static bool try_home(const char *dir, const char *below, char out[WL_PATH_MAX]) {
  char path[WL_PATH_MAX], probe[WL_PATH_MAX + 32];
  struct stat st;
  if ((size_t)snprintf(path, sizeof path, "%s%s", dir, below) >= sizeof path) return false;
  char *real = realpath(path, NULL);
  if (!real) return false;
  snprintf(out, WL_PATH_MAX, "%s", real);
  free(real);
  snprintf(probe, sizeof probe, "%s/lua/wattle/init.lua", out);
  if (stat(probe, &st) == 0) return true;
  out[0] = '\0';
  return false;
}

/* In `dir` or one of at most `up` (<= 4) folders above it. */
static bool home_near(const char *dir, int up, char out[WL_PATH_MAX]) {
  static const char below[] = "/../../../../share/wattle";
  for (int i = 0; dir[0] && i <= up; i++)
    if (try_home(dir, below + 3 * (4 - i), out)) return true;
  return false;
}

/* The folder of the shared object that this code is in; "" where that is the program itself. */
static void object_folder(char out[WL_PATH_MAX]) {
  Dl_info info;
  struct link_map *map = NULL;
  out[0] = '\0';
  if (!dladdr1((void *)object_folder, &info, (void **)&map, RTLD_DL_LINKMAP) || !map || !map->l_name[0]) return;
  char *real = realpath(map->l_name, NULL);
  char *slash = real ? strrchr(real, '/') : NULL;
  if (slash && slash - real < WL_PATH_MAX) snprintf(out, WL_PATH_MAX, "%.*s", (int)(slash - real), real);
  free(real);
}

void wl_home_find(const char *dir, char out[WL_PATH_MAX], char near[WL_PATH_MAX]) {
  const char *env = getenv("WATTLE_HOME");
  char object[WL_PATH_MAX];
  out[0] = '\0';
  object_folder(object);
  snprintf(near, WL_PATH_MAX, "%s", dir ? dir : object);
  if (dir && home_near(dir, 1, out)) return;
  if (home_near(object, 4, out)) return; /* PREFIX/lib/ARCHITECTURE/lua/5.4/wattle.so */
  if (env && env[0]) try_home(env, "", out);
}
