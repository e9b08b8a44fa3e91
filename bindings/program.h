/* program.h - between the files of the wattle program: main.c (command line), repl.c, interrupt.c (Ctrl-C). */
#ifndef WL_PROGRAM_H
#define WL_PROGRAM_H

#include "wattle_host.h"

/* wattle_host_call during which Ctrl-C interrupts the script; a second one ends the program. */
int wl_guarded_call(wattle_host *h, int n_args, int n_results);
/* While the REPL waits for a line, Ctrl-C only marks it as dropped. */
void wl_prompt_guard(bool on);
bool wl_prompt_dropped(void); /* and forgets it */

void wl_repl(wattle_host *h);
/* "prefix: message" to standard error; prefix NULL leaves it out. */
void wl_print_error(const char *prefix, const char *message);

#endif
