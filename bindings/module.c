/* module.c - wattle for the stock interpreter: lua5.4 -e 'require "wattle"'. That interpreter contains Lua, so the
 * module does not link it. share/wattle is looked for beside this file and above it. */
#include <dlfcn.h>

#include "box.h"

__attribute__((visibility("default"))) int luaopen_wattle(lua_State *L);

int luaopen_wattle(lua_State *L) {
  Dl_info info;
  /* Threads of libraries below may outlive the state: never unload. */
  if (dladdr((void *)luaopen_wattle, &info) && info.dli_fname)
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  return wl_open(L, NULL);
}
