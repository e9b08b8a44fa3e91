/* wattle_host.h - Wattle's Lua side for a C program: make a host, run scripts in it, or open the library in a Lua state
 * of your own. One context per state, no globals. The core alone, without Lua, is wattle.h.
 *
 *   wattle_host *h = wattle_host_create(0);
 *   if (h && wattle_host_run_file(h, "train.lua", 0, NULL) != 0) fprintf(stderr, "%s\n", wattle_host_message(h));
 *   wattle_host_destroy(h);
 *
 * A host and all that it runs belong to one thread at a time; only wattle_host_interrupt may be called from elsewhere. */
#ifndef WATTLE_HOST_H
#define WATTLE_HOST_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the shared library exports */

/* require "wattle" for a state of your own: luaL_requiref(L, "wattle", wattle_open, 0). share/wattle is looked for
 * beside the running program (DIR/share/wattle, DIR/../share/wattle), then above the library, then in $WATTLE_HOME. */
int wattle_open(lua_State *L);

typedef struct wattle_host wattle_host;

enum { WATTLE_HOST_NO_ENV = 1 }; /* ignore LUA_PATH and LUA_CPATH, as lua -E does */

/* A state with Lua's libraries and wattle in package.preload. NULL when memory is gone. */
wattle_host *wattle_host_create(unsigned flags);
void wattle_host_destroy(wattle_host *h); /* NULL is fine */
lua_State *wattle_host_state(wattle_host *h);
/* share/wattle, or "" if it was not found. */
const char *wattle_host_home(const wattle_host *h);

/* Run a file (NULL: standard input) or a chunk; argv are its arguments (...). 0, or not 0 with the message and one
 * traceback in wattle_host_message. */
int wattle_host_run_file(wattle_host *h, const char *path, int argc, const char *const *argv);
int wattle_host_run_string(wattle_host *h, const char *code, const char *chunk_name);
/* lua_pcall with a traceback: on failure the message is on the stack. */
int wattle_host_call(wattle_host *h, int n_args, int n_results);
/* The last failure's message; "" before the first. */
const char *wattle_host_message(const wattle_host *h);

/* Stop what runs: the next Lua instruction, or the next boundary of a step of the core, raises "interrupted!".
 * Safe in a signal handler and from another thread. */
void wattle_host_interrupt(wattle_host *h);
/* Did the last failure come from that? */
bool wattle_host_interrupted(const wattle_host *h);

/* How often Lua has asked for memory (new or more). */
uint64_t wattle_host_allocations(const wattle_host *h);
/* For tests: Lua's n-th request from now and all after it fail; 0 ends it. */
void wattle_host_fail_at(wattle_host *h, uint64_t n);

/* The folder of the running program, "" if it cannot be told. */
void wattle_program_folder(char *out, size_t n);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
