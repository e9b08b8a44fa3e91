/* interrupt.c - Ctrl-C for the wattle program. A signal handler has no argument, so here, and nowhere else, are global
 * variables. */
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lua.h>

#include "program.h"

static wattle_host *volatile running;
static volatile sig_atomic_t dropped;
static volatile int64_t asked_ms; /* when Ctrl-C came last during this call; 0: not yet */

static struct sigaction set_handler(void (*fn)(int)) {
  struct sigaction now, before;
  memset(&now, 0, sizeof now);
  now.sa_handler = fn;
  sigemptyset(&now.sa_mask); /* no SA_RESTART: waiting calls end */
  sigaction(SIGINT, &now, &before);
  return before;
}

/* The first asks what runs to stop, at the next instruction of Lua or the next boundary of a step. A second within a
 * second ends the program, whatever it is doing; a later one asks again. */
static void on_interrupt(int sig) {
  static const char waiting[] = "\nstill waiting for a step to end; Ctrl-C twice within a second ends the program\n";
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  int64_t now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + 1, before = asked_ms;
  asked_ms = now;
  if (before && now - before < 1000) {
    set_handler(SIG_DFL);
    raise(sig); /* delivered when this handler returns */
    return;
  }
  if (!running) return;
  bool pending = lua_gethook(wattle_host_state(running)) != NULL;
  if (before && pending && isatty(STDERR_FILENO) && write(STDERR_FILENO, waiting, sizeof waiting - 1) < 0) return;
  wattle_host_interrupt(running);
}

static void on_prompt(int sig) {
  (void)sig;
  dropped = 1;
}

int wl_guarded_call(wattle_host *h, int n_args, int n_results) {
  running = h;
  asked_ms = 0;
  struct sigaction before = set_handler(on_interrupt);
  int status = wattle_host_call(h, n_args, n_results);
  sigaction(SIGINT, &before, NULL);
  running = NULL;
  return status;
}

void wl_prompt_guard(bool on) {
  set_handler(on ? on_prompt : SIG_DFL);
}

bool wl_prompt_dropped(void) {
  bool was = dropped;
  dropped = 0;
  return was;
}
