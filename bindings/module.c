/* module.c - wattle for the stock interpreter: lua5.4 -e 'require "wattle"'. That interpreter contains Lua, so the
 * module does not link it. share/wattle is looked for beside this file. */
#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"

__attribute__((visibility("default"))) int luaopen_wattle(lua_State *L);

int luaopen_wattle(lua_State *L) {
  Dl_info info;
  char dir[WL_PATH_MAX] = "";
  if (dladdr((void *)luaopen_wattle, &info) && info.dli_fname) {
    /* Threads of libraries below may outlive the state: never unload. */
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
    char *real = realpath(info.dli_fname, NULL);
    char *slash = real ? strrchr(real, '/') : NULL;
    if (slash) {
      *slash = '\0';
      strncpy(dir, real, sizeof dir - 1);
    }
    free(real);
  }
  return wl_open(L, dir);
}
