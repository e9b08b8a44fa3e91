/* repl.c - the prompt: a line is run as an expression if it is one, otherwise as a statement; a chunk that ends too
 * early goes on on the next line; values are printed. Plain lines, no editing. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "box.h"
#include "program.h"

static void show_prompt(lua_State *L, bool first) {
  int top = lua_gettop(L);
  if (lua_getglobal(L, first ? "_PROMPT" : "_PROMPT2") == LUA_TNIL) fputs(first ? "> " : ">> ", stdout);
  else fputs(luaL_tolstring(L, -1, NULL), stdout);
  fflush(stdout);
  lua_settop(L, top);
}

/* Pushes a line without its newline; false at the end of input. A line dropped by Ctrl-C sets *dropped and is empty. */
static bool read_line(lua_State *L, bool first, bool *dropped) {
  char part[1024];
  luaL_Buffer b;
  show_prompt(L, first);
  luaL_buffinit(L, &b);
  wl_prompt_guard(true);
  bool some = false;
  while (fgets(part, sizeof part, stdin)) {
    size_t n = strlen(part);
    some = true;
    bool end = n > 0 && part[n - 1] == '\n';
    luaL_addlstring(&b, part, end ? n - 1 : n);
    if (end) break;
  }
  wl_prompt_guard(false);
  *dropped = wl_prompt_dropped();
  luaL_pushresult(&b);
  if (*dropped) {
    clearerr(stdin);
    fputc('\n', stdout);
    lua_pop(L, 1);
    lua_pushliteral(L, "");
    return true;
  }
  if (!some) lua_pop(L, 1);
  else if (!isatty(STDIN_FILENO)) printf("%s\n", lua_tostring(L, -1)); /* a transcript shows what was read, as readline does */
  return some;
}

static int compile(lua_State *L, int text) {
  size_t n;
  const char *s = lua_tolstring(L, text, &n);
  return luaL_loadbuffer(L, s, n, "=stdin");
}

/* Is the error on the stack's top that the text ends too early? */
static bool incomplete(lua_State *L, int status) {
  size_t n;
  const char *s = status == LUA_ERRSYNTAX ? lua_tolstring(L, -1, &n) : NULL;
  return s && n >= 5 && strcmp(s + n - 5, "<eof>") == 0;
}

/* Leaves a function or an error message as the only value; -1 at the end of input. */
static int read_chunk(lua_State *L) {
  bool dropped;
  lua_settop(L, 0);
  do {
    lua_settop(L, 0);
    if (!read_line(L, true, &dropped)) return -1;
  } while (dropped);
  const char *line = lua_tostring(L, 1);
  lua_pushfstring(L, "return %s", line[0] == '=' ? line + 1 : line);
  int status = compile(L, 2);
  if (status != LUA_OK && line[0] == '=') {
    lua_copy(L, 2, 1); /* "= x" is "return x", also in what follows */
  }
  if (status != LUA_OK) {
    lua_settop(L, 1);
    status = compile(L, 1);
    while (incomplete(L, status)) {
      lua_settop(L, 1);
      bool more = read_line(L, false, &dropped);
      if (dropped) return read_chunk(L);
      if (!more) {
        status = compile(L, 1); /* the message again */
        break;
      }
      lua_pushliteral(L, "\n");
      lua_insert(L, 2);
      lua_concat(L, 3);
      status = compile(L, 1);
    }
  }
  lua_replace(L, 1);
  lua_settop(L, 1);
  return status;
}

static void print_values(lua_State *L) {
  int n = lua_gettop(L);
  if (n == 0) return;
  luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
  lua_getglobal(L, "print");
  lua_insert(L, 1);
  if (lua_pcall(L, n, 0, 0) != LUA_OK) {
    lua_pushfstring(L, "error calling 'print' (%s)", lua_tostring(L, -1));
    wl_print_error(NULL, lua_tostring(L, -1));
  }
}

void wl_repl(wattle_host *h) {
  lua_State *L = wattle_host_state(h);
  for (int status; (status = read_chunk(L)) != -1;) {
    if (status == LUA_OK) status = wl_guarded_call(h, 0, LUA_MULTRET);
    if (status == LUA_OK) print_values(L);
    else wl_print_error(NULL, lua_tostring(L, -1));
  }
  lua_settop(L, 0);
  fputc('\n', stdout);
  fflush(stdout);
}
