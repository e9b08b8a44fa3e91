/* main.c - the wattle program: the command line that lua has, commands by name, and nothing else. Running is in
 * host.c, the prompt in repl.c, Ctrl-C in interrupt.c. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "box.h"
#include "program.h"

static const char usage_text[] =
  "usage: wattle [options] [script [args]]\n"
  "       wattle [options] command [args]     (wattle command --help tells more)\n"
  "Available options are:\n"
  "  -e stat   execute string 'stat'\n"
  "  -i        enter interactive mode after executing 'script'\n"
  "  -l mod    require library 'mod' into global 'mod'\n"
  "  -l g=mod  require library 'mod' into global 'g'\n"
  "  -v        show version information\n"
  "  -E        ignore environment variables\n"
  "  -W        turn warnings on\n"
  "  --        stop handling options\n"
  "  -         stop handling options and execute stdin\n"
  "  --help    this text and the commands\n"
  "  --version the version alone\n";

static const char version_text[] = "Wattle " WTL_VERSION " on " LUA_COPYRIGHT "\n";

typedef struct options {
  int script;      /* index of the script's name; argc if there is none */
  int bad;         /* index of an option that is none, or lacks its argument; 0: all are good */
  bool no_env, version, interactive, chunks; /* chunks: there is an -e */
  bool help_only, version_only;
} options;

typedef struct program {
  wattle_host *host;
  options o;
  int argc;
  char **argv;
  bool ok;
} program;

/* The name it was called by, as lua does. */
static const char *program_name(char *const *argv) {
  return argv[0] && argv[0][0] ? argv[0] : "wattle";
}

void wl_print_error(const char *prefix, const char *message) {
  fflush(stdout);
  if (prefix) fprintf(stderr, "%s: ", prefix);
  fprintf(stderr, "%s\n", message ? message : "(error message is not a string)");
  fflush(stderr);
}

/* ---- options --------------------------------------------------------------------------------- */

static options read_options(int argc, char **argv) {
  options o = { 0 };
  int i = 1;
  for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
    const char *a = argv[i];
    bool takes_text = a[1] == 'e' || a[1] == 'l';
    if (strcmp(a, "--") == 0) {
      i++;
      break;
    }
    if (strcmp(a, "--help") == 0) o.help_only = true;
    else if (strcmp(a, "--version") == 0) o.version_only = true;
    else if (!strchr("eilvEW", a[1]) || (!takes_text && a[2] != '\0')) o.bad = i;
    else if (takes_text && a[2] == '\0' && (i + 1 >= argc || argv[i + 1][0] == '-')) o.bad = i;
    if (o.bad || o.help_only || o.version_only) break;
    o.chunks |= a[1] == 'e';
    o.no_env |= a[1] == 'E';
    o.interactive |= a[1] == 'i';
    o.version |= a[1] == 'v' || a[1] == 'i';
    if (takes_text && a[2] == '\0') i++;
  }
  o.script = i < argc ? i : argc;
  return o;
}

static void complain(const char *name, const char *option) {
  bool lacks = option[1] == 'e' || option[1] == 'l';
  fprintf(stderr, lacks ? "%s: '%s' needs argument\n" : "%s: unrecognized option '%s'\n", name, option);
  fputs(usage_text, stderr);
}

/* ---- commands ---------------------------------------------------------------------------------- */

static bool bare_name(const char *name) {
  size_t n = strlen(name);
  return !strchr(name, '/') && strcmp(name, "-") != 0 && !(n > 4 && strcmp(name + n - 4, ".lua") == 0);
}

static bool find_command(const program *p, const char *name, char *path, size_t size) {
  const char *home = wattle_host_home(p->host);
  if (!home[0] || !bare_name(name)) return false;
  if ((size_t)snprintf(path, size, "%s/scripts/%s.lua", home, name) >= size) return false;
  return access(path, R_OK) == 0;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names of the installed commands, sorted; the caller frees. */
static int list_commands(const program *p, char **name, int max) {
  char path[WL_PATH_MAX];
  int n = 0;
  snprintf(path, sizeof path, "%s/scripts", wattle_host_home(p->host));
  DIR *d = opendir(path);
  if (!d) return 0;
  for (struct dirent *e; n < max && (e = readdir(d));) {
    size_t len = strlen(e->d_name);
    if (len > 4 && strcmp(e->d_name + len - 4, ".lua") == 0 && (name[n] = strndup(e->d_name, len - 4))) n++;
  }
  closedir(d);
  qsort(name, (size_t)n, sizeof *name, by_name);
  return n;
}

enum { COMMANDS_MAX = 256 };

static void print_help(const program *p) {
  char *name[COMMANDS_MAX];
  int n = list_commands(p, name, COMMANDS_MAX);
  fputs(usage_text, stdout);
  if (n > 0) fputs("Commands:", stdout);
  for (int i = 0; i < n; i++) {
    printf(" %s", name[i]);
    free(name[i]);
  }
  if (n > 0) fputc('\n', stdout);
}

/* To "cannot open NAME" on the stack's top: which command may have been meant. */
static void add_commands(lua_State *L, const program *p, const char *word) {
  char *name[COMMANDS_MAX];
  int n = list_commands(p, name, COMMANDS_MAX);
  const char *near = wl_nearest(word, (const char *const *)name, n);
  lua_pushfstring(L, "\n  '%s' is no command either", word);
  if (near) lua_pushfstring(L, "; did you mean '%s'?", near);
  else lua_pushstring(L, n > 0 ? "; there are:" : "; none is installed");
  lua_concat(L, 3);
  for (int i = 0; i < n; i++) {
    if (!near) {
      lua_pushfstring(L, " %s", name[i]);
      lua_concat(L, 2);
    }
    free(name[i]);
  }
}

/* ---- running ------------------------------------------------------------------------------------- */

/* Calls what was loaded, or reports why it was not. */
static bool run(program *p, int load_status, int n_args, int n_results) {
  lua_State *L = wattle_host_state(p->host);
  int status = load_status == LUA_OK ? wl_guarded_call(p->host, n_args, n_results) : load_status;
  if (status == LUA_OK) return true;
  wl_print_error(program_name(p->argv), lua_tostring(L, -1));
  lua_pop(L, 1);
  return false;
}

static bool run_chunk(program *p, const char *code, const char *name) {
  return run(p, luaL_loadbuffer(wattle_host_state(p->host), code, strlen(code), name), 0, 0);
}

static bool run_init(program *p) {
  static const char *const names[] = { "=LUA_INIT" LUA_VERSUFFIX, "=LUA_INIT" };
  for (int i = 0; i < 2; i++) {
    const char *init = getenv(names[i] + 1);
    if (!init) continue;
    if (init[0] == '@') return run(p, luaL_loadfile(wattle_host_state(p->host), init + 1), 0, 0);
    return run_chunk(p, init, names[i]);
  }
  return true;
}

/* -l mod, -l global=mod */
static bool run_library(program *p, const char *spec) {
  lua_State *L = wattle_host_state(p->host);
  const char *equals = strchr(spec, '=');
  lua_pushlstring(L, spec, equals ? (size_t)(equals - spec) : strlen(spec)); /* the global */
  lua_getglobal(L, "require");
  lua_pushstring(L, equals ? equals + 1 : spec);
  bool ok = run(p, LUA_OK, 1, 1);
  if (ok) {
    lua_pushglobaltable(L);
    lua_insert(L, -3);
    lua_settable(L, -3);
  }
  lua_pop(L, 1);
  return ok;
}

static bool run_options(program *p) {
  lua_State *L = wattle_host_state(p->host);
  for (int i = 1; i < p->o.script; i++) {
    char letter = p->argv[i][1];
    if (letter == 'W') lua_warning(L, "@on", 0);
    if (letter != 'e' && letter != 'l') continue;
    const char *text = p->argv[i][2] ? p->argv[i] + 2 : p->argv[++i];
    if (!(letter == 'e' ? run_chunk(p, text, "=(command line)") : run_library(p, text))) return false;
  }
  return true;
}

static int push_arguments(lua_State *L) {
  if (lua_getglobal(L, "arg") != LUA_TTABLE) luaL_error(L, "'arg' is not a table");
  int n = (int)luaL_len(L, -1);
  luaL_checkstack(L, n + 3, "too many arguments to script");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, -i, i);
  lua_remove(L, -1 - n);
  return n;
}

static bool run_script(program *p, const char *name, bool literal) {
  lua_State *L = wattle_host_state(p->host);
  char path[WL_PATH_MAX];
  if (!literal && strcmp(name, "-") == 0) name = NULL;
  const char *file = name && find_command(p, name, path, sizeof path) ? path : name;
  int status = luaL_loadfile(L, file);
  if (status == LUA_ERRFILE && name && bare_name(name)) add_commands(L, p, name);
  return run(p, status, status == LUA_OK ? push_arguments(L) : 0, LUA_MULTRET);
}

/* arg[0] is the script, positive indices its arguments, negative ones what stands before it. */
static void set_arg(lua_State *L, const program *p) {
  int zero = p->o.script == p->argc ? 0 : p->o.script;
  lua_createtable(L, p->argc - zero, zero + 1);
  for (int i = 0; i < p->argc; i++) {
    lua_pushstring(L, p->argv[i]);
    lua_rawseti(L, -2, i - zero);
  }
  lua_setglobal(L, "arg");
}

/* Everything, protected, so that memory gone is a message too. */
static int protected_main(lua_State *L) {
  program *p = lua_touserdata(L, 1);
  lua_settop(L, 0);
  if (p->o.version) {
    fputs(version_text, stdout);
    fflush(stdout);
  }
  set_arg(L, p);
  if (!p->o.no_env && !run_init(p)) return 0;
  if (!run_options(p)) return 0;
  bool script = p->o.script < p->argc;
  bool dashes = p->o.script > 1 && strcmp(p->argv[p->o.script - 1], "--") == 0;
  if (script && !run_script(p, p->argv[p->o.script], dashes)) return 0;
  if (p->o.interactive) {
    wl_repl(p->host, false);
  } else if (!script && !p->o.chunks && !p->o.version) {
    if (isatty(STDIN_FILENO)) {
      fputs(version_text, stdout);
      wl_repl(p->host, true);
    } else if (!run(p, luaL_loadfile(L, NULL), 0, 0)) {
      return 0;
    }
  }
  p->ok = true;
  return 0;
}

/* A standard stream that came closed is opened on nothing: else the first result file would get its number, and
 * every message would go into that file. */
static void open_standard_streams(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd > STDERR_FILENO) close(fd);
}

/* A write beyond the limit on a file's size (ulimit -f) fails and is told, as one to a full disk is, instead of ending the
 * program. A handler, since programs that are started would go on ignoring what is ignored. */
static void on_file_too_large(int sig) { (void)sig; }

int main(int argc, char **argv) {
  open_standard_streams();
  signal(SIGXFSZ, on_file_too_large);
  program p = { .argc = argc, .argv = argv, .o = read_options(argc, argv) };
  if (p.o.bad) {
    complain(program_name(argv), argv[p.o.bad]);
    return EXIT_FAILURE;
  }
  p.host = wattle_host_create(p.o.no_env ? WATTLE_HOST_NO_ENV : 0);
  if (!p.host) {
    wl_print_error(program_name(argv), "cannot create state: not enough memory");
    return EXIT_FAILURE;
  }
  if (p.o.help_only || p.o.version_only) {
    if (p.o.help_only) print_help(&p);
    else fputs(version_text, stdout);
    wattle_host_destroy(p.host);
    return EXIT_SUCCESS;
  }
  lua_State *L = wattle_host_state(p.host);
  lua_pushcfunction(L, protected_main);
  lua_pushlightuserdata(L, &p);
  int status = lua_pcall(L, 1, 0, 0);
  if (status != LUA_OK) wl_print_error(program_name(argv), lua_tostring(L, -1));
  int code = status == LUA_OK && p.ok ? EXIT_SUCCESS : wattle_host_interrupted(p.host) ? 130 : EXIT_FAILURE;
  wattle_host_destroy(p.host);
  /* lua says nothing here; but a report that a full disk swallowed is no success. */
  if (code == EXIT_SUCCESS && (fflush(stdout) != 0 || ferror(stdout))) {
    wl_print_error(program_name(argv), "standard output could not be written");
    return EXIT_FAILURE;
  }
  return code;
}
