/* box.c - the userdata box around every C object, and the functions that turn a status into a Lua error or into
 * nil, message, code. Knows nothing of particular objects. Next: args.c, lib.c. */
#include "box.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- boxes ----------------------------------------------------------------------------- */

wl_box *wl_test(lua_State *L, int idx, const wl_class *cls) {
  if (lua_type(L, idx) != LUA_TUSERDATA || !lua_getmetatable(L, idx)) return NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, cls);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same ? lua_touserdata(L, idx) : NULL;
}

wl_box *wl_check(lua_State *L, int idx, const wl_class *cls) {
  wl_box *b = wl_test(L, idx, cls);
  if (!b) luaL_typeerror(L, idx, cls->name);
  if (!b->obj) wl_error(L, "%s is closed", cls->name);
  return b;
}

void *wl_check_obj(lua_State *L, int idx, const wl_class *cls) {
  return wl_check(L, idx, cls)->obj;
}

wl_box *wl_box_new(lua_State *L, wl_ctx *c, const wl_class *cls) {
  wl_box *b = lua_newuserdatauv(L, sizeof *b + cls->extra, 1);
  memset(b, 0, sizeof *b + cls->extra);
  b->cls = cls;
  b->ctx = c;
  lua_rawgetp(L, LUA_REGISTRYINDEX, cls);
  lua_setmetatable(L, -2);
  return b;
}

void wl_box_fill(lua_State *L, wl_box *b, void *obj, size_t bytes) {
  b->obj = obj;
  b->charge = bytes;
  b->ctx->refs++;
  b->ctx->live += bytes;
  if (bytes) wl_collect_step(L, b->ctx, bytes);
}

void wl_box_close(wl_box *b) {
  if (!b->obj) return;
  b->cls->release(b);
  b->obj = NULL;
  if (b->owner) wtl_param_release(b->owner);
  b->owner = NULL;
  b->ctx->live -= b->charge;
  b->charge = 0;
  wl_ctx_unref(b->ctx);
}

/* __gc, __close and the method close of every class; upvalue 2 is the class. */
static int box_close(lua_State *L) {
  const wl_class *cls = lua_touserdata(L, lua_upvalueindex(2));
  wl_box *b = wl_test(L, 1, cls);
  if (!b) return luaL_typeerror(L, 1, cls->name);
  wl_box_close(b);
  return 0;
}

static void push_close(lua_State *L, int ctx, const wl_class *cls) {
  lua_pushvalue(L, ctx);
  lua_pushlightuserdata(L, (void *)cls);
  lua_pushcclosure(L, box_close, 2);
}

static void add_methods(lua_State *L, int ctx, const wl_fn *f) {
  for (; f && f->name; f++) {
    wl_push_function(L, ctx, f->f);
    lua_setfield(L, -2, f->name);
  }
}

void wl_class_register(lua_State *L, int ctx, const wl_class *cls) {
  lua_newtable(L); /* metatable */
  int mt = lua_gettop(L);
  lua_pushstring(L, cls->name);
  lua_setfield(L, mt, "__name");
  lua_newtable(L); /* methods */
  for (int i = 0; cls->op_methods && i < wtl_op_count(); i++) {
    const wtl_op *op = wtl_op_at(i);
    if (wtl_op_internal(op)) continue;
    lua_pushvalue(L, ctx);
    lua_pushlightuserdata(L, (void *)op);
    lua_pushcclosure(L, wl_op_call, 2);
    lua_setfield(L, -2, wtl_op_name(op));
  }
  push_close(L, ctx, cls);
  lua_setfield(L, -2, "close");
  add_methods(L, ctx, cls->methods);
  add_methods(L, ctx, cls->more);
  lua_pushvalue(L, -1);
  lua_setfield(L, mt, "__index");
  push_close(L, ctx, cls);
  lua_pushvalue(L, -1);
  lua_setfield(L, mt, "__close");
  lua_setfield(L, mt, "__gc");
  for (const luaL_Reg *m = cls->meta; m && m->name; m++) {
    lua_pushvalue(L, ctx);
    lua_pushvalue(L, mt + 1);
    lua_pushcclosure(L, m->func, 2);
    lua_setfield(L, mt, m->name);
  }
  lua_pushvalue(L, mt);
  lua_rawsetp(L, LUA_REGISTRYINDEX, cls);
  lua_remove(L, mt);
}

/* ---- scratch boxes ----------------------------------------------------------------------- */

static void text_release(wl_box *b) {
  wtl_text_free(b->obj);
}

const wl_class wl_text_class = { .name = "text", .release = text_release, .extra = sizeof(wtl_text) };

wtl_text *wl_text_new(lua_State *L, wl_ctx *c) {
  wl_box *b = wl_box_new(L, c, &wl_text_class);
  wtl_text *t = (wtl_text *)(b + 1);
  wtl_text_init(t, c->core);
  wl_box_fill(L, b, t, 0);
  return t;
}

int wl_text_finish(lua_State *L, int idx) {
  wl_box *b = wl_test(L, idx, &wl_text_class);
  wtl_text *t = b->obj;
  lua_pushlstring(L, t->s ? t->s : "", t->n);
  wl_box_close(b);
  return 1;
}

static void hold_release(wl_box *b) {
  b->free(b->obj);
}

const wl_class wl_hold_class = { .name = "holder", .release = hold_release };

wl_box *wl_hold(lua_State *L, wl_ctx *c, void (*fn)(void *)) {
  wl_box *b = wl_box_new(L, c, &wl_hold_class);
  b->free = fn;
  return b;
}

/* ---- errors ---------------------------------------------------------------------------------- */

void wl_where(lua_State *L) {
  char library[WL_PATH_MAX + 32] = "";
  lua_Debug ar;
  bool found = false;
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, (void *)wl_ctx_push) == LUA_TUSERDATA) {
    const wl_ctx *c = *(wl_ctx **)lua_touserdata(L, -1);
    if (c && c->home[0]) snprintf(library, sizeof library, "@%s/lua/wattle/", c->home);
  }
  lua_pop(L, 1);
  lua_pushliteral(L, "");
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0) continue;
    bool ours = library[0] && strncmp(ar.source, library, strlen(library)) == 0;
    if (found && ours) continue;
    lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
    lua_replace(L, -2);
    found = true;
    if (!ours) return;
  }
}

int wl_error(lua_State *L, const char *fmt, ...) {
  va_list ap;
  wl_where(L);
  va_start(ap, fmt);
  lua_pushvfstring(L, fmt, ap);
  va_end(ap);
  lua_concat(L, 2);
  return lua_error(L);
}

int wl_raise(lua_State *L, wl_ctx *c, wtl_status s) {
  if (s == WTL_ERR_INTERRUPTED) {
    wtl_interrupt(c->core, 0);
    wl_host_interrupt_taken(L);
    return wl_error(L, "interrupted!");
  }
  c->raised = s;
  snprintf(c->raised_text, sizeof c->raised_text, "%s", wtl_message(c->core));
  return wl_error(L, "%s", wtl_message(c->core));
}

void wl_try(lua_State *L, wl_ctx *c, wtl_status s) {
  if (s != WTL_OK) wl_raise(L, c, s);
}

int wl_world(lua_State *L, wl_ctx *c, wtl_status s) {
  if (s != WTL_ERR_IO && s != WTL_ERR_FORMAT && s != WTL_ERR_UNSUPPORTED) return wl_raise(L, c, s);
  luaL_pushfail(L);
  lua_pushstring(L, wtl_message(c->core));
  lua_pushstring(L, wtl_status_name(s));
  return 3;
}

int wl_errno(lua_State *L, const char *what, const char *path, int e) {
  luaL_pushfail(L);
  lua_pushfstring(L, "%s %s: %s", what, path, strerror(e));
  lua_pushliteral(L, "io");
  return 3;
}
