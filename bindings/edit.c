/* edit.c - reading a line at a terminal: libedit's editing, the history file, and TAB, which asks Lua (wattle.repl's
 * complete). The prompt's loop is repl.c; nothing here runs unless standard input and output are a terminal.
 *
 * At the prompt Ctrl-C and Ctrl-Z are keys, not signals, so nothing is ever interrupted half-way in here; while a
 * statement runs the terminal is as the shell left it and Ctrl-C is interrupt.c's. */
#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "box.h"
#include "program.h"

enum { HISTORY_MAX = 1000, ENTRY_MAX = 64 << 10 };

struct wl_edit {
  lua_State *L;
  EditLine *el;
  History *history;
  locale_t locale;      /* the terminal's characters; Lua's own locale stays "C" */
  bool dropped;         /* Ctrl-C on this line */
  const char *prompt;
  char *path;           /* of the history, NULL: not kept */
  char folder[WL_PATH_MAX];
};

static wl_edit *edit_of(EditLine *el) {
  void *e = NULL;
  el_get(el, EL_CLIENTDATA, &e);
  return e;
}

static char *show_prompt(EditLine *el) {
  return (char *)edit_of(el)->prompt;
}

/* ---- keys ---------------------------------------------------------------------------------------- */

/* Ctrl-C, in two keys: to the line's end, where the terminal's cursor is only once libedit has shown it, and drop. */
#define DROP "\033[999~"

static unsigned char on_cancel(EditLine *el, int ch) {
  const LineInfo *li = el_line(el);
  (void)ch;
  el_cursor(el, (int)(li->lastchar - li->cursor));
  el_push(el, DROP);
  return CC_REFRESH;
}

static unsigned char on_drop(EditLine *el, int ch) {
  (void)ch;
  fputs("^C\n", stdout);
  edit_of(el)->dropped = true;
  return CC_NEWLINE;
}

static unsigned char on_suspend(EditLine *el, int ch) {
  (void)el;
  (void)ch;
  kill(0, SIGTSTP); /* libedit's handler gives the terminal back, and takes it again on SIGCONT */
  return CC_REDISPLAY;
}

/* Lua's part of TAB: the text before the cursor -> what to insert, what to list. Protected: errors may not cross
 * libedit. */
typedef struct completion {
  const char *before;
  size_t n;
} completion;

static int ask_completion(lua_State *L) {
  const completion *c = lua_touserdata(L, 1);
  wl_repl_function(L, "complete");
  lua_pushlstring(L, c->before, c->n);
  lua_call(L, 1, 2);
  return 2;
}

static unsigned char on_tab(EditLine *el, int ch) {
  wl_edit *e = edit_of(el);
  lua_State *L = e->L;
  const LineInfo *li = el_line(el);
  completion c = { li->buffer, (size_t)(li->cursor - li->buffer) };
  unsigned char result = CC_ERROR;
  int top = lua_gettop(L);
  (void)ch;
  if (!lua_checkstack(L, 8)) return CC_ERROR;
  lua_pushcfunction(L, ask_completion);
  lua_pushlightuserdata(L, &c);
  if (lua_pcall(L, 1, 2, 0) == LUA_OK) {
    const char *insert = lua_tostring(L, -2), *list = lua_tostring(L, -1);
    if (insert && insert[0] && el_insertstr(el, insert) == 0) result = CC_REFRESH;
    if (list && list[0]) {
      printf("\n%s\n", list);
      result = CC_REDISPLAY;
    }
  }
  lua_settop(L, top);
  return result;
}

static void bind_keys(EditLine *el) {
  static const char *const keys[][2] = {
    { "^I", "wattle-complete" }, { "^C", "wattle-cancel" }, { DROP, "wattle-drop" }, { "^Z", "wattle-suspend" },
    { "^R", "em-inc-search-prev" }, { "^W", "ed-delete-prev-word" },
    { "\\e[1~", "ed-move-to-beg" }, { "\\e[H", "ed-move-to-beg" }, { "\\eOH", "ed-move-to-beg" },
    { "\\e[4~", "ed-move-to-end" }, { "\\e[F", "ed-move-to-end" }, { "\\eOF", "ed-move-to-end" },
    { "\\e[3~", "ed-delete-next-char" }, { "\\e[1;5C", "em-next-word" }, { "\\e[1;5D", "ed-prev-word" },
  };
  /* el_set would copy the names and never free them */
  el_wset(el, EL_ADDFN, L"wattle-complete", L"complete the name before the cursor", on_tab);
  el_wset(el, EL_ADDFN, L"wattle-cancel", L"go to the line's end and drop it", on_cancel);
  el_wset(el, EL_ADDFN, L"wattle-drop", L"drop the line", on_drop);
  el_wset(el, EL_ADDFN, L"wattle-suspend", L"give the terminal back to the shell", on_suspend);
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) el_set(el, EL_BIND, keys[i][0], keys[i][1], NULL);
  el_set(el, EL_SETTY, "-d", "-isig", NULL);
}

/* ---- the history's file --------------------------------------------------------------------------- */

/* $XDG_STATE_HOME/wattle/history, or ~/.local/state/wattle/history. One entry a line, newlines as \n and
 * backslashes doubled; sessions beside each other append to it under a lock on its folder, and one that finds it twice
 * too long shortens it. */
static bool find_history(wl_edit *e) {
  const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  int n;
  if (state && state[0] == '/') n = snprintf(e->folder, sizeof e->folder, "%s/wattle", state);
  else if (home && home[0]) n = snprintf(e->folder, sizeof e->folder, "%s/.local/state/wattle", home);
  else n = -1;
  if (n < 0 || (size_t)n >= sizeof e->folder) return false;
  for (char *slash = e->folder; slash; slash = strchr(slash + 1, '/')) { /* and its parents */
    if (slash == e->folder) continue;
    *slash = '\0';
    mkdir(e->folder, 0700);
    *slash = '/';
  }
  mkdir(e->folder, 0700);
  return asprintf(&e->path, "%s/history", e->folder) >= 0;
}

static int lock_folder(const wl_edit *e) {
  int fd = open(e->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) flock(fd, LOCK_EX); /* where there are no locks, sessions still only append */
  return fd;
}

/* -1 with errno. A pipe or a device would never end. */
static int open_history(const wl_edit *e, int how) {
  struct stat st;
  int fd = open(e->path, how | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600);
  if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))) return fd;
  close(fd);
  errno = EINVAL;
  return -1;
}

static void unescape(char *s) {
  char *to = s;
  for (; *s; s++) {
    if (*s == '\\' && s[1]) *to++ = *++s == 'n' ? '\n' : *s;
    else *to++ = *s;
  }
  *to = '\0';
}

/* The last HISTORY_MAX lines of an open file, written beside and renamed. */
static void shorten(const wl_edit *e, FILE *f, long skip) {
  char *line = NULL, beside[WL_PATH_MAX + 32];
  size_t cap = 0;
  ssize_t n;
  snprintf(beside, sizeof beside, "%s/history.new", e->folder);
  int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  FILE *to = fd >= 0 ? fdopen(fd, "w") : NULL;
  if (!to) {
    if (fd >= 0) close(fd);
    return;
  }
  rewind(f);
  while ((n = getline(&line, &cap, f)) > 0)
    if (skip-- <= 0) fwrite(line, 1, (size_t)n, to);
  bool whole = !ferror(f) && fflush(to) == 0 && !ferror(to);
  fclose(to);
  if (!whole || rename(beside, e->path) != 0) unlink(beside);
  free(line);
}

static bool read_history(wl_edit *e) {
  HistEvent ev;
  int lock = lock_folder(e), fd = open_history(e, O_RDWR);
  FILE *f = fd >= 0 ? fdopen(fd, "r+") : NULL;
  int error = errno;
  if (f) {
    char *line = NULL;
    size_t cap = 0;
    long lines = 0;
    for (ssize_t n; (n = getline(&line, &cap, f)) > 0; lines++) {
      if (line[n - 1] == '\n') line[n - 1] = '\0';
      unescape(line);
      if (line[0]) history(e->history, &ev, H_ENTER, line);
    }
    free(line);
    if (lines > 2 * HISTORY_MAX) shorten(e, f, lines - HISTORY_MAX);
    fclose(f);
  } else if (fd >= 0) {
    close(fd);
  }
  if (lock >= 0) close(lock);
  errno = error;
  return f != NULL;
}

void wl_edit_keep(wl_edit *e, const char *text) {
  HistEvent ev;
  size_t n = strlen(text), at = 0;
  if (n == 0 || n > ENTRY_MAX) return;
  locale_t before = uselocale(e->locale);
  bool repeated = history(e->history, &ev, H_FIRST) >= 0 && strcmp(ev.str, text) == 0;
  if (!repeated) history(e->history, &ev, H_ENTER, text);
  uselocale(before);
  char *entry = repeated || !e->path ? NULL : malloc(2 * n + 1);
  if (!entry) return;
  for (size_t i = 0; i < n; i++) {
    if (text[i] == '\n' || text[i] == '\\') entry[at++] = '\\';
    entry[at++] = text[i] == '\n' ? 'n' : text[i];
  }
  entry[at++] = '\n';
  int lock = lock_folder(e), fd = open_history(e, O_WRONLY);
  if (fd >= 0) {
    if (write(fd, entry, at) < 0) errno = 0; /* told once, at the start; a disk that fills later costs only this */
    close(fd);
  }
  if (lock >= 0) close(lock);
  free(entry);
}

/* ---- life ------------------------------------------------------------------------------------------ */

/* The environment's characters; UTF-8 where it says nothing, as terminals are. */
static locale_t find_locale(void) {
  locale_t own = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
  if (own && strcmp(nl_langinfo_l(CODESET, own), "ANSI_X3.4-1968") != 0) return own;
  locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
  if (!utf8) return own;
  if (own) freelocale(own);
  return utf8;
}

wl_edit *wl_edit_open(lua_State *L) {
  const char *term = getenv("TERM");
  HistEvent ev;
  if (!term || !term[0] || strcmp(term, "dumb") == 0) return NULL;
  wl_edit *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  e->L = L;
  e->prompt = "";
  e->locale = find_locale();
  if (!e->locale) goto fail;
  locale_t before = uselocale(e->locale);
  e->history = history_init();
  e->el = e->history ? el_init("wattle", stdin, stdout, stderr) : NULL;
  if (e->el) {
    history(e->history, &ev, H_SETSIZE, HISTORY_MAX);
    el_set(e->el, EL_CLIENTDATA, e);
    el_set(e->el, EL_PROMPT, show_prompt);
    el_set(e->el, EL_EDITOR, "emacs");
    el_set(e->el, EL_SIGNAL, 1); /* a window that changes its size */
    el_set(e->el, EL_HIST, history, e->history);
    el_source(e->el, NULL); /* ~/.editrc */
    bind_keys(e->el);
    if (!find_history(e)) fputs("(history is not kept: neither XDG_STATE_HOME nor HOME says where)\n", stderr);
    else if (!read_history(e)) {
      fprintf(stderr, "(history is not kept: %s: %s)\n", e->path, strerror(errno));
      free(e->path);
      e->path = NULL;
    }
  }
  uselocale(before);
  if (e->el) return e;
fail:
  wl_edit_close(e);
  return NULL;
}

void wl_edit_close(wl_edit *e) {
  if (!e) return;
  if (e->el) el_end(e->el);
  if (e->history) history_end(e->history);
  if (e->locale) freelocale(e->locale);
  free(e->path);
  free(e);
}

const char *wl_edit_line(wl_edit *e, const char *prompt, size_t *n, bool *dropped) {
  int count = 0;
  e->prompt = prompt;
  e->dropped = false;
  fflush(stdout);
  locale_t before = uselocale(e->locale);
  el_set(e->el, EL_PREP_TERM, 1); /* before the prompt is seen: Ctrl-C is a key from then on */
  const char *line = el_gets(e->el, &count);
  uselocale(before);
  *dropped = e->dropped;
  *n = line && count > 0 ? (size_t)count : 0;
  return *n > 0 || e->dropped ? line : NULL;
}
