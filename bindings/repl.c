/* repl.c - the prompt's loop: a line is run as an expression if it is one, otherwise as a statement; a chunk that ends
 * too early goes on on the next line; values are printed. From a pipe or a file all is as lua does it. At a terminal
 * lines come from edit.c, and lua/wattle/repl.lua shows values and errors, answers ?name and completes. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "box.h"
#include "program.h"

typedef struct repl {
  wattle_host *host;
  lua_State *L;
  bool helped;   /* wattle.repl is there */
  wl_edit *edit; /* NULL: plain lines */
} repl;

/* _PROMPT's text, raw: a script may have made reading an unknown global an error. */
static int prompt_text(lua_State *L) {
  lua_pushglobaltable(L);
  lua_insert(L, 1);
  lua_rawget(L, 1);
  if (!lua_isnil(L, -1)) luaL_tolstring(L, -1, NULL);
  return 1;
}

/* Pushes _PROMPT or _PROMPT2 as text; where there is none, or its __tostring fails, lua's own. */
static const char *push_prompt(lua_State *L, bool first) {
  lua_pushcfunction(L, prompt_text);
  lua_pushstring(L, first ? "_PROMPT" : "_PROMPT2");
  if (lua_pcall(L, 1, 1, 0) != LUA_OK || lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_pushstring(L, first ? "> " : ">> ");
  }
  return lua_tostring(L, -1);
}

/* ---- reading ---------------------------------------------------------------------------------------- */

/* Pushes a line without its newline; false at the end of input. A line dropped by Ctrl-C sets *dropped and is empty. */
static bool read_plain(lua_State *L, bool first, bool *dropped) {
  char part[1024];
  luaL_Buffer b;
  fputs(push_prompt(L, first), stdout);
  fflush(stdout);
  lua_pop(L, 1);
  luaL_buffinit(L, &b);
  bool some = false;
  while (fgets(part, sizeof part, stdin)) {
    size_t n = strlen(part);
    some = true;
    bool end = n > 0 && part[n - 1] == '\n';
    luaL_addlstring(&b, part, end ? n - 1 : n);
    if (end) break;
  }
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

static bool read_line(repl *r, bool first, bool *dropped) {
  size_t n;
  if (!r->edit) return read_plain(r->L, first, dropped);
  const char *prompt = push_prompt(r->L, first);
  const char *line = wl_edit_line(r->edit, prompt, &n, dropped);
  lua_pop(r->L, 1);
  if (!line && !*dropped) return false;
  if (*dropped) n = 0;
  if (n > 0 && line[n - 1] == '\n') n--;
  lua_pushlstring(r->L, line ? line : "", n);
  return true;
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

static void keep(repl *r, int text) {
  if (r->edit) wl_edit_keep(r->edit, lua_tostring(r->L, text));
}

/* ?name becomes a function that answers. */
static int compile_question(lua_State *L) {
  wl_repl_function(L, "question");
  lua_pushvalue(L, 1);
  return lua_pcall(L, 1, 1, 0);
}

/* Leaves a function or an error message as the only value; -1 at the end of input. */
static int read_chunk(repl *r) {
  lua_State *L = r->L;
  bool dropped;
  int status;
  do {
    lua_settop(L, 0);
    if (!read_line(r, true, &dropped)) return -1;
  } while (dropped);
  const char *line = lua_tostring(L, 1);
  if (r->helped && line[strspn(line, " \t")] == '?') {
    keep(r, 1);
    status = compile_question(L);
    lua_replace(L, 1);
    lua_settop(L, 1);
    return status;
  }
  lua_pushfstring(L, "return %s", line[0] == '=' ? line + 1 : line);
  status = compile(L, 2);
  if (status == LUA_OK) keep(r, 1);
  if (status != LUA_OK && line[0] == '=') {
    lua_copy(L, 2, 1); /* "= x" is "return x", also in what follows */
  }
  if (status != LUA_OK) {
    lua_settop(L, 1);
    status = compile(L, 1);
    while (incomplete(L, status)) {
      lua_settop(L, 1);
      bool more = read_line(r, false, &dropped);
      if (dropped) return read_chunk(r);
      if (!more) {
        status = compile(L, 1); /* the message again */
        break;
      }
      lua_pushliteral(L, "\n");
      lua_insert(L, 2);
      lua_concat(L, 3);
      status = compile(L, 1);
    }
    keep(r, 1);
  }
  lua_replace(L, 1);
  lua_settop(L, 1);
  return status;
}

/* ---- showing ------------------------------------------------------------------------------------------ */

static void print_plain(lua_State *L) {
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

static void show_error(repl *r) {
  lua_State *L = r->L;
  if (r->helped) {
    wl_repl_function(L, "explain");
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) lua_pop(L, 1); /* as it is, then */
  }
  wl_print_error(NULL, lua_tostring(L, -1));
}

/* The values on the stack, by wattle.repl at a terminal; Ctrl-C ends what is long. */
static void print_values(repl *r) {
  lua_State *L = r->L;
  int n = lua_gettop(L);
  if (!r->helped) {
    print_plain(L);
    return;
  }
  if (n == 0) return;
  luaL_checkstack(L, LUA_MINSTACK, "too many results to print");
  wl_repl_function(L, "show");
  lua_insert(L, 1);
  if (wl_guarded_call(r->host, n, 0) != LUA_OK) show_error(r);
}

/* ---- the loop -------------------------------------------------------------------------------------------- */

static const char repl_key[] = "wattle.repl"; /* in the registry, whatever becomes of package.loaded */

void wl_repl_function(lua_State *L, const char *name) {
  lua_getfield(L, LUA_REGISTRYINDEX, repl_key);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

/* require "wattle.repl".start(greet). Without it (share/wattle is missing, say) the prompt is lua's. */
static bool start(repl *r, bool greet) {
  lua_State *L = r->L;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "wattle.repl");
  bool ok = wl_guarded_call(r->host, 1, 1) == LUA_OK;
  if (ok) {
    lua_setfield(L, LUA_REGISTRYINDEX, repl_key);
    wl_repl_function(L, "start");
    lua_pushboolean(L, greet);
    ok = wl_guarded_call(r->host, 1, 0) == LUA_OK;
  }
  if (!ok) wl_print_error(NULL, lua_tostring(L, -1));
  lua_settop(L, 0);
  return ok;
}

void wl_repl(wattle_host *h, bool greet) {
  repl r = { .host = h, .L = wattle_host_state(h) };
  lua_State *L = r.L;
  lua_settop(L, 0);
  wl_prompt_guard(true);
  if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
    r.helped = start(&r, greet);
    r.edit = wl_edit_open(L);
  }
  for (int status; (status = read_chunk(&r)) != -1;) {
    if (status == LUA_OK) status = wl_guarded_call(h, 0, LUA_MULTRET);
    if (status == LUA_OK) print_values(&r);
    else show_error(&r);
    wl_host_interrupt_clear(L); /* a Ctrl-C that came when all was done */
    wl_prompt_dropped();
  }
  wl_prompt_guard(false);
  wl_edit_close(r.edit);
  lua_settop(L, 0);
  fputc('\n', stdout);
  fflush(stdout);
}
