/* program.h - between the files of the wattle program: main.c (command line), repl.c (the prompt's loop), edit.c (a
 * line at a terminal), interrupt.c (Ctrl-C). */
#ifndef WL_PROGRAM_H
#define WL_PROGRAM_H

#include "wattle_host.h"

/* wattle_host_call during which Ctrl-C interrupts the script; two within a second end the program. */
int wl_guarded_call(wattle_host *h, int n_args, int n_results);
/* In the REPL, while no statement runs: Ctrl-C only marks the line as dropped. */
void wl_prompt_guard(bool on);
bool wl_prompt_dropped(void); /* and forgets it */

/* At a terminal with editing, history, help and values shown well; else line by line, as lua reads a pipe. `greet`
 * says what there is. */
void wl_repl(wattle_host *h, bool greet);
/* Pushes a function of wattle.repl, which the REPL at a terminal has loaded. */
void wl_repl_function(lua_State *L, const char *name);

typedef struct wl_edit wl_edit;
wl_edit *wl_edit_open(lua_State *L); /* NULL: a terminal that cannot edit */
void wl_edit_close(wl_edit *e);      /* NULL is fine */
/* A line with its newline, valid until the next; NULL at the end of input. *dropped: Ctrl-C. */
const char *wl_edit_line(wl_edit *e, const char *prompt, size_t *n, bool *dropped);
void wl_edit_keep(wl_edit *e, const char *text); /* in the history */

/* "prefix: message" to standard error; prefix NULL leaves it out. */
void wl_print_error(const char *prefix, const char *message);

#endif
