/* host.c - a Lua state as a host runs it: an allocator that counts and can be made to fail, wattle preloaded, calls with
 * one traceback, and interruption. Nothing here is global; Ctrl-C is in interrupt.c, the command line in main.c. */
#include "wattle_host.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "box.h"

struct wattle_host {
  lua_State *L;
  uint64_t allocations;
  uint64_t fuse;           /* requests left until they fail; 0: off, 1: the next and all after */
  wtl_ctx *core;           /* once wattle was required */
  volatile sig_atomic_t raised; /* "interrupted!" was raised since the last call began */
  bool stepped;                 /* a training step ended since the last call began */
  char home[WL_PATH_MAX];
  char *message;
};

/* ---- memory ---------------------------------------------------------------------------------- */

static void *host_alloc(void *ud, void *p, size_t old, size_t size) {
  wattle_host *h = ud;
  if (size == 0) {
    free(p);
    return NULL;
  }
  if (!p || size > old) { /* Lua relies on shrinking never to fail */
    h->allocations++;
    if (h->fuse == 1) return NULL;
    if (h->fuse > 1) h->fuse--;
  }
  return realloc(p, size);
}

/* The host of a state, or NULL: the state belongs to another program. */
static wattle_host *host_of(lua_State *L) {
  void *ud = NULL;
  return lua_getallocf(L, &ud) == host_alloc ? ud : NULL;
}

bool wl_host_allocations(lua_State *L, uint64_t *n) {
  wattle_host *h = host_of(L);
  if (h) *n = h->allocations;
  return h != NULL;
}

bool wl_host_fail_at(lua_State *L, uint64_t n) {
  wattle_host *h = host_of(L);
  if (h) h->fuse = n;
  return h != NULL;
}

uint64_t wattle_host_allocations(const wattle_host *h) {
  return h->allocations;
}

void wattle_host_fail_at(wattle_host *h, uint64_t n) {
  h->fuse = n;
}

/* ---- interruption --------------------------------------------------------------------------------- */

void wl_host_attach(lua_State *L, wtl_ctx *core) {
  wattle_host *h = host_of(L);
  if (h) h->core = core;
}

void wl_host_step_ended(lua_State *L) {
  wattle_host *h = host_of(L);
  if (h) h->stepped = true;
}

void wl_host_interrupt_taken(lua_State *L) {
  wattle_host *h = host_of(L);
  if (!h) return;
  lua_sethook(h->L, NULL, 0, 0);
  h->raised = 1;
}

void wl_host_interrupt_clear(lua_State *L) {
  wattle_host *h = host_of(L);
  if (!h) return;
  lua_sethook(h->L, NULL, 0, 0);
  if (h->core) wtl_interrupt(h->core, 0);
}

static void on_hook(lua_State *L, lua_Debug *ar) {
  wattle_host *h = host_of(L);
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  if (h) {
    if (h->core) wtl_interrupt(h->core, 0);
    h->raised = 1;
  }
  luaL_error(L, "interrupted!%s", h && h->stepped ? " Between training steps: a model is as its last whole step left it" : "");
}

void wattle_host_interrupt(wattle_host *h) {
  if (h->core) wtl_interrupt(h->core, 1);
  lua_sethook(h->L, on_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

bool wattle_host_interrupted(const wattle_host *h) {
  return h->raised && h->message && strstr(h->message, "interrupted!");
}

/* ---- running -------------------------------------------------------------------------------------------- */

/* To an error that names a line of Wattle's own Lua files, which no user wrote: the user's line in front. */
static void name_users_line(lua_State *L) {
  const char *message = lua_tostring(L, 1), *own = strstr(message, "/lua/wattle/"), *place = strstr(message, ": ");
  if (!own || !place || own > place) return;
  wl_where(L);
  if (lua_rawlen(L, -1) == 0 || strstr(lua_tostring(L, -1), "/lua/wattle/")) {
    lua_pop(L, 1);
    return;
  }
  lua_pushvalue(L, 1);
  lua_concat(L, 2);
  lua_replace(L, 1);
}

/* Makes a text of any error object and adds the traceback, except where the object makes its own text. */
static int on_error(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING && lua_type(L, 1) != LUA_TNUMBER) {
    if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    lua_replace(L, 1);
  }
  name_users_line(L);
  luaL_traceback(L, L, lua_tostring(L, 1), 1);
  return 1;
}

static void keep_message(wattle_host *h) {
  const char *s = lua_tostring(h->L, -1);
  free(h->message);
  h->message = strdup(s ? s : "(error message is not a string)");
}

int wattle_host_call(wattle_host *h, int n_args, int n_results) {
  int handler = lua_gettop(h->L) - n_args;
  lua_pushcfunction(h->L, on_error);
  lua_insert(h->L, handler);
  h->raised = 0;
  h->stepped = false;
  int status = lua_pcall(h->L, n_args, n_results, handler);
  lua_remove(h->L, handler);
  if (status != LUA_OK) keep_message(h);
  return status;
}

static int finish(wattle_host *h, int status, int argc, const char *const *argv) {
  if (status == LUA_OK) {
    luaL_checkstack(h->L, argc + 8, "too many arguments");
    for (int i = 0; i < argc; i++) lua_pushstring(h->L, argv[i]);
    status = wattle_host_call(h, argc, 0);
  } else {
    keep_message(h);
  }
  lua_settop(h->L, 0);
  return status;
}

int wattle_host_run_file(wattle_host *h, const char *path, int argc, const char *const *argv) {
  return finish(h, luaL_loadfile(h->L, path), argc, argv);
}

int wattle_host_run_string(wattle_host *h, const char *code, const char *chunk_name) {
  return finish(h, luaL_loadbuffer(h->L, code, strlen(code), chunk_name), 0, NULL);
}

const char *wattle_host_message(const wattle_host *h) {
  return h->message ? h->message : "";
}

/* ---- life ------------------------------------------------------------------------------------------------ */

void wattle_program_folder(char *out, size_t n) {
  ssize_t got = n > 0 ? readlink("/proc/self/exe", out, n - 1) : -1;
  if (n > 0) out[got > 0 ? got : 0] = '\0';
  char *slash = n > 0 ? strrchr(out, '/') : NULL;
  if (slash) *slash = '\0';
}

/* package.preload's __index. Asking for a part of wattle first opens all of it, which leads package.path there; until
 * then package.path is what lua would have. */
static int preload_part(lua_State *L) {
  const char *name = lua_tostring(L, 2);
  if (!name || strncmp(name, "wattle.", 7) != 0) return 0;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, "wattle") != LUA_TNIL) return 0;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "wattle");
  lua_call(L, 1, 0);
  return 0;
}

/* wattle.core has no file: wattle itself puts it into package.loaded. */
static int open_core(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "wattle");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "core");
  return 1;
}

static int open_libraries(lua_State *L) {
  unsigned flags = (unsigned)lua_tointeger(L, 1);
  if (flags & WATTLE_HOST_NO_ENV) {
    lua_pushboolean(L, true);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV"); /* read by the package library */
  }
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, wattle_open);
  lua_setfield(L, -2, "wattle");
  lua_pushcfunction(L, open_core);
  lua_setfield(L, -2, "wattle.core");
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, preload_part);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  return 0;
}

wattle_host *wattle_host_create(unsigned flags) {
  char dir[WL_PATH_MAX], near[WL_PATH_MAX];
  wattle_host *h = calloc(1, sizeof *h);
  if (!h) return NULL;
  /* luaL_newstate sets the warning and panic functions; its blocks are realloc's, as ours are. */
  h->L = luaL_newstate();
  if (!h->L) {
    free(h);
    return NULL;
  }
  lua_setallocf(h->L, host_alloc, h);
  wattle_program_folder(dir, sizeof dir);
  wl_home_find(dir, h->home, near);
  lua_pushcfunction(h->L, open_libraries);
  lua_pushinteger(h->L, flags);
  if (lua_pcall(h->L, 1, 0, 0) == LUA_OK) return h;
  wattle_host_destroy(h);
  return NULL;
}

void wattle_host_destroy(wattle_host *h) {
  if (!h) return;
  lua_close(h->L);
  free(h->message);
  free(h);
}

lua_State *wattle_host_state(wattle_host *h) {
  return h->L;
}

const char *wattle_host_home(const wattle_host *h) {
  return h->home;
}
