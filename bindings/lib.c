/* lib.c - the one list of the binding's modules, and what require "wattle" does: bind them all, find share/wattle, and
 * let lua/wattle/init.lua finish the table. Every function bound is in a table with its help; core.documentation
 * reads it (and lua/wattle/help.lua that). */
#include "box.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wattle_host.h"

const wl_module *const wl_modules[] = {
  &wl_help_module, &wl_tensor_module, &wl_ops_module, &wl_param_module, &wl_graph_module, &wl_plan_module,
  &wl_data_module, &wl_image_module, &wl_loader_module, &wl_json_module, &wl_energy_module, &wl_compress_module,
  &wl_sys_module, NULL
};

/* ---- help ------------------------------------------------------------------------------------ */

static const wl_fn *find_fn(const wl_fn *f, const char *name) {
  for (; f && f->name; f++)
    if (strcmp(f->name, name) == 0) return f;
  return NULL;
}

/* "zeros", "ops.list", "tensor:shape". */
static const wl_fn *find_help(const char *name) {
  const char *dot = strchr(name, '.'), *colon = strchr(name, ':');
  for (const wl_module *const *m = wl_modules; *m; m++) {
    const wl_fn *f = NULL;
    if (colon) {
      for (const wl_class *const *k = (*m)->classes; !f && k && *k; k++) {
        size_t n = strlen((*k)->name);
        if (n != (size_t)(colon - name) || strncmp((*k)->name, name, n) != 0) continue;
        f = find_fn((*k)->methods, colon + 1);
        if (!f) f = find_fn((*k)->more, colon + 1);
      }
    } else if (dot) {
      if ((*m)->table && strlen((*m)->table) == (size_t)(dot - name) && strncmp((*m)->table, name, dot - name) == 0)
        f = find_fn((*m)->functions, dot + 1);
    } else {
      f = find_fn((*m)->core, name);
      if (!f) f = find_fn((*m)->shared, name);
    }
    if (f) return f;
  }
  return NULL;
}

static void add_names(lua_State *L, const char *prefix, const wl_fn *f) {
  for (; f && f->name; f++) {
    lua_pushfstring(L, "%s%s", prefix, f->name);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  }
}

/* {{area =, names...}, ...} */
static int all_names(lua_State *L) {
  char prefix[64];
  lua_newtable(L);
  for (int i = 0; wl_modules[i]; i++) {
    const wl_module *m = wl_modules[i];
    lua_newtable(L);
    lua_pushstring(L, m->area);
    lua_setfield(L, -2, "area");
    add_names(L, "", m->shared);
    add_names(L, "", m->core);
    add_names(L, "ops.", m->functions);
    for (const wl_class *const *k = m->classes; k && *k; k++) {
      snprintf(prefix, sizeof prefix, "%s:", (*k)->name);
      add_names(L, prefix, (*k)->methods);
      add_names(L, prefix, (*k)->more);
    }
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int documentation(lua_State *L) {
  if (lua_isnoneornil(L, 1)) return all_names(L);
  const char *name = luaL_checkstring(L, 1), *last = strpbrk(name, ".:");
  const wl_fn *f = find_help(name);
  if (f) {
    lua_pushfstring(L, "%s%s\n  %s\n", name, f->signature, f->help);
    return 1;
  }
  /* Methods and functions made from ops.def; close, which every class has. */
  const wtl_op *op = wtl_op_find(last ? last + 1 : name);
  if (op && last && !wtl_op_internal(op)) {
    wtl_text *t = wl_text_new(L, wl_ctx_of(L));
    wl_op_help(L, t, op);
    return wl_text_finish(L, -1);
  }
  if (last && *last == ':' && strcmp(last, ":close") == 0) {
    lua_pushfstring(L, "%s()\n  Frees it now; using it afterwards is an error, closing it again is not.\n", name);
    return 1;
  }
  luaL_pushfail(L);
  return 1;
}

/* ---- names ------------------------------------------------------------------------------------- */

static int nearest(lua_State *L) {
  const char *word = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_Integer n = (lua_Integer)lua_rawlen(L, 2);
  lua_settop(L, 2);
  const char **name = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *name, 0);
  for (lua_Integer i = 0; i < n; i++) {
    if (lua_rawgeti(L, 2, i + 1) != LUA_TSTRING) return luaL_argerror(L, 2, "a list of strings expected");
    name[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  lua_pushstring(L, wl_nearest(word, name, (int)n));
  return 1;
}

static const wl_fn core[] = {
  { "documentation", documentation, "(name?) -> text or nil",
    "What a function of the C core does: \"zeros\", \"tensor:reshape\", \"ops.conv2d\". Without a name: {{area =, names...}, ...}. "
    "wattle.help asks this, and the comments of what is Lua." },
  { "nearest", nearest, "(word, {names}) -> name or nil", "The name at the least edit distance, if one is near." },
  { NULL, NULL, NULL, NULL }
};

const wl_module wl_help_module = { .area = "help", .core = core };

/* ---- binding ------------------------------------------------------------------------------------- */

void wl_push_function(lua_State *L, int ctx, lua_CFunction f) {
  lua_pushvalue(L, ctx);
  lua_pushcclosure(L, f, 1);
}

static void add_functions(lua_State *L, int ctx, int table, const wl_fn *f) {
  for (; f && f->name; f++) {
    wl_push_function(L, ctx, f->f);
    lua_setfield(L, table, f->name);
  }
}

static void bind_module(lua_State *L, const wl_module *m, int ctx, int wattle, int wcore, int classes) {
  int table = wcore;
  add_functions(L, ctx, wcore, m->core);
  add_functions(L, ctx, wcore, m->shared);
  add_functions(L, ctx, wattle, m->shared);
  for (const wl_class *const *k = m->classes; k && *k; k++) {
    wl_class_register(L, ctx, *k);
    lua_setfield(L, classes, (*k)->name);
  }
  if (m->table) {
    lua_newtable(L);
    table = lua_gettop(L);
    lua_pushvalue(L, table);
    lua_setfield(L, wcore, m->table);
    lua_pushvalue(L, table);
    lua_setfield(L, wattle, m->table);
    add_functions(L, ctx, table, m->functions);
  }
  if (m->open) m->open(L, ctx, table);
  if (m->table) lua_pop(L, 1);
}

/* package.path = HOME/lua/?.lua;HOME/lua/?/init.lua;... unless it has them. */
static void extend_path(lua_State *L, const char *home) {
  if (lua_getglobal(L, "package") != LUA_TTABLE) {
    lua_pop(L, 1);
    return;
  }
  lua_pushfstring(L, "%s/lua/?.lua;%s/lua/?/init.lua;", home, home);
  if (lua_getfield(L, -2, "path") == LUA_TSTRING && !strstr(lua_tostring(L, -1), lua_tostring(L, -2))) {
    lua_concat(L, 2);
    lua_setfield(L, -2, "path");
    lua_pop(L, 1);
    return;
  }
  lua_pop(L, 3);
}

int wl_open(lua_State *L, const char *dir) {
  lua_settop(L, 0);
  wl_ctx *c = wl_ctx_push(L);
  char near[WL_PATH_MAX];
  wl_home_find(dir, c->home, near);
  lua_newtable(L); /* 2: wattle */
  lua_newtable(L); /* 3: wattle.core */
  lua_newtable(L); /* 4: methods of each class, for help and tests */
  for (const wl_module *const *m = wl_modules; *m; m++) bind_module(L, *m, 1, 2, 3, 4);
  lua_setfield(L, 3, "classes");
  lua_pushvalue(L, 3);
  lua_setfield(L, 2, "core");
  lua_pushliteral(L, WTL_VERSION);
  lua_setfield(L, 2, "version");
  if (!c->home[0])
    return luaL_error(L, "wattle: share/wattle is neither in '%s' nor above it, and WATTLE_HOME does not name it", near);
  lua_pushstring(L, c->home);
  lua_setfield(L, 2, "home");
  extend_path(L, c->home);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, "wattle.core");
  lua_pop(L, 1);
  lua_pushfstring(L, "%s/lua/wattle/init.lua", c->home);
  if (luaL_loadfile(L, lua_tostring(L, -1)) != LUA_OK) return lua_error(L);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  lua_call(L, 2, 0);
  lua_settop(L, 2);
  return 1;
}

int wattle_open(lua_State *L) {
  char dir[WL_PATH_MAX];
  wattle_program_folder(dir, sizeof dir);
  return wl_open(L, dir);
}
