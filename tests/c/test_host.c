/* The host as a library: hosts beside each other, messages, interruption from another thread, memory gone, and
 * wattle opened in a state that is not a host's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>

#include "wattle_host.h"

static void two_hosts(void **state) {
  (void)state;
  wattle_host *a = wattle_host_create(0), *b = wattle_host_create(WATTLE_HOST_NO_ENV);
  assert_non_null(a);
  assert_non_null(b);
  assert_string_not_equal(wattle_host_home(a), "");
  assert_int_equal(wattle_host_run_string(a, "w = require 'wattle'; x = w.ones{3}; w.manual_seed(5)", "=a"), 0);
  assert_int_equal(wattle_host_run_string(b, "w = require 'wattle'; assert(x == nil and w.core.seed() == 0)", "=b"), 0);
  wattle_host_destroy(a);
  assert_int_equal(wattle_host_run_string(b, "assert((w.ones{3} + 1):sum():item() == 6)", "=b"), 0);
  assert_string_equal(wattle_host_message(b), "");
  wattle_host_destroy(b);
  wattle_host_destroy(NULL);
}

static void messages(void **state) {
  (void)state;
  wattle_host *h = wattle_host_create(0);
  assert_int_not_equal(wattle_host_run_string(h, "local function f()\n  error 'oh' end f()", "=chunk"), 0);
  assert_non_null(strstr(wattle_host_message(h), "chunk:2: oh\nstack traceback:"));
  assert_int_not_equal(wattle_host_run_string(h, "x = = 1", "=chunk"), 0);
  assert_non_null(strstr(wattle_host_message(h), "chunk:1: unexpected symbol"));
  assert_int_not_equal(wattle_host_run_file(h, "/no/such/file.lua", 0, NULL), 0);
  assert_non_null(strstr(wattle_host_message(h), "/no/such/file.lua"));
  assert_false(wattle_host_interrupted(h));
  assert_int_equal(lua_gettop(wattle_host_state(h)), 0);
  wattle_host_destroy(h);
}

static void file_with_arguments(void **state) {
  (void)state;
  char path[] = "/tmp/wattle-host-XXXXXX";
  const char *const args[] = { "a", "b c" };
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  FILE *f = fdopen(fd, "w");
  fputs("local a, b = ... assert(a == 'a' and b == 'b c' and select('#', ...) == 2)", f);
  fclose(f);
  wattle_host *h = wattle_host_create(0);
  assert_int_equal(wattle_host_run_file(h, path, 2, args), 0);
  assert_int_not_equal(wattle_host_run_file(h, path, 1, args), 0);
  wattle_host_destroy(h);
  remove(path);
}

static void *interrupt_soon(void *host) {
  usleep(50000);
  wattle_host_interrupt(host);
  return NULL;
}

static void interrupted_from_a_thread(void **state) {
  (void)state;
  wattle_host *h = wattle_host_create(0);
  const char *const endless[] = { "while true do end", "local w = require 'wattle' while true do w.ones{8}:sum() end" };
  for (int i = 0; i < 2; i++) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, h), 0);
    int status = wattle_host_run_string(h, endless[i], "=endless");
    pthread_join(thread, NULL);
    assert_int_not_equal(status, 0);
    assert_true(wattle_host_interrupted(h));
    assert_non_null(strstr(wattle_host_message(h), "interrupted!"));
  }
  assert_int_equal(wattle_host_run_string(h, "assert(require 'wattle'.ones{2}:sum():item() == 2)", "=after"), 0);
  assert_false(wattle_host_interrupted(h));
  wattle_host_destroy(h);
}

/* Requiring wattle with Lua's n-th request failing, for every n until it succeeds: an error, never a crash or a leak. */
static void memory_gone_while_opening(void **state) {
  (void)state;
  int n = 1;
  for (int status = 1; status != 0; n++) {
    wattle_host *h = wattle_host_create(0);
    assert_non_null(h);
    assert_int_equal(luaL_loadstring(wattle_host_state(h), "require 'wattle'"), LUA_OK);
    uint64_t before = wattle_host_allocations(h);
    wattle_host_fail_at(h, (uint64_t)n);
    status = wattle_host_call(h, 0, 0);
    wattle_host_fail_at(h, 0);
    if (status != 0) assert_non_null(strstr(wattle_host_message(h), "memory"));
    else assert_true(wattle_host_allocations(h) > before);
    wattle_host_destroy(h);
    if (n > 200) n += 20; /* a sample of the rest */
  }
  assert_true(n > 100);
}

static void a_state_of_ones_own(void **state) {
  (void)state;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "wattle", wattle_open, 0);
  lua_setglobal(L, "w");
  assert_int_equal(luaL_dostring(L, "assert(w.ones{2, 2}:matmul(w.ones{2, 2}):sum():item() == 8)"
                                    "assert(w.core.memory().lua_allocations == nil and not w.core.lua_fail_at(0))"
                                    "keep = w.ones{9}"), LUA_OK);
  lua_close(L);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(two_hosts), cmocka_unit_test(messages), cmocka_unit_test(file_with_arguments),
    cmocka_unit_test(interrupted_from_a_thread), cmocka_unit_test(memory_gone_while_opening),
    cmocka_unit_test(a_state_of_ones_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
