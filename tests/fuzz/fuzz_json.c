/* core.json_decode and json_encode: text is refused with a reason or becomes a Lua value; what is written of it reads again
 * and is written the same. */
#include "fuzz.h"

#include <lauxlib.h>
#include <lualib.h>

#include "wattle_host.h"

static lua_State *L;

static void begin_lua(void) {
  if (L) return;
  L = luaL_newstate();
  if (!L) abort();
  luaL_openlibs(L);
  luaL_requiref(L, "wattle", wattle_open, 0);
  lua_getfield(L, -1, "core"); /* at 2 */
}

/* Calls core.NAME with the value on the stack's top; returns lua_pcall's. */
static int call(const char *name, int results) {
  lua_getfield(L, 2, name);
  lua_insert(L, -2);
  return lua_pcall(L, 1, results, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  begin();
  begin_lua();
  lua_pushlstring(L, (const char *)data, n);
  CHECK(call("json_decode", 3) == LUA_OK); /* value or nil, message, code: 3, 4, 5 */
  if (lua_isnil(L, 3)) {
    CHECK(lua_type(L, 4) == LUA_TSTRING && lua_type(L, 5) == LUA_TSTRING && !strcmp(lua_tostring(L, 5), "format"));
  } else {
    lua_settop(L, 3);
    if (call("json_encode", 1) == LUA_OK) {
      lua_pushvalue(L, 3);
      CHECK(call("json_decode", 1) == LUA_OK && !lua_isnil(L, 4));
      CHECK(call("json_encode", 1) == LUA_OK && lua_rawequal(L, 3, 4));
    } else {
      CHECK(strstr(lua_tostring(L, -1), "nest deeper") != NULL);
    }
  }
  lua_settop(L, 2);
  return 0;
}
