/* interrupt.c - Ctrl-C for the wattle program. A signal handler has no argument, so here, and nowhere else, is a global
 * variable. */
#include <signal.h>
#include <string.h>

#include "program.h"

static wattle_host *volatile running;
static volatile sig_atomic_t dropped;

static struct sigaction set_handler(void (*fn)(int)) {
  struct sigaction now, before;
  memset(&now, 0, sizeof now);
  now.sa_handler = fn;
  sigemptyset(&now.sa_mask); /* no SA_RESTART: waiting calls end */
  sigaction(SIGINT, &now, &before);
  return before;
}

static void on_interrupt(int sig) {
  set_handler(SIG_DFL); /* the second one ends the program, whatever it is doing */
  (void)sig;
  if (running) wattle_host_interrupt(running);
}

static void on_prompt(int sig) {
  (void)sig;
  dropped = 1;
}

int wl_guarded_call(wattle_host *h, int n_args, int n_results) {
  running = h;
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
