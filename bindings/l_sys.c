/* l_sys.c - the machine, the process and the file system, as far as experiments need them; memory counts and failure
 * injection for tests. */
#include "box.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- time, threads, memory --------------------------------------------------------------------- */

static int now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)wtl_now_us() / 1e6);
  return 1;
}

static int cpu_time(lua_State *L) {
  lua_pushnumber(L, (lua_Number)wtl_process_cpu_us() / 1e6);
  return 1;
}

static int sleep_s(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  lua_Number s = luaL_checknumber(L, 1);
  luaL_argcheck(L, s >= 0 && s < 1e9, 1, "seconds from 0 on");
  struct timespec t = { .tv_sec = (time_t)s, .tv_nsec = (long)((s - floor(s)) * 1e9) };
  while (nanosleep(&t, &t) != 0 && errno == EINTR)
    if (wtl_interrupted(c->core)) return wl_raise(L, c, WTL_ERR_INTERRUPTED);
  return 0;
}

static int threads(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  if (!lua_isnoneornil(L, 1)) {
    lua_Integer n = luaL_checkinteger(L, 1);
    wl_try(L, c, wtl_set_threads(c->core, n < 0 || n > 1 << 20 ? 0 : (int)n));
  }
  lua_pushinteger(L, wtl_threads(c->core));
  return 1;
}

static int memory(lua_State *L) {
  wtl_memory m;
  uint64_t n;
  lua_createtable(L, 0, 5);
  wtl_memory_stats(wl_ctx_of(L)->core, &m);
  lua_pushinteger(L, (lua_Integer)m.allocations);
  lua_setfield(L, -2, "allocations");
  lua_pushinteger(L, (lua_Integer)m.live);
  lua_setfield(L, -2, "live");
  lua_pushinteger(L, (lua_Integer)m.live_bytes);
  lua_setfield(L, -2, "live_bytes");
  lua_pushinteger(L, (lua_Integer)m.peak_bytes);
  lua_setfield(L, -2, "peak_bytes");
  if (wl_host_allocations(L, &n)) {
    lua_pushinteger(L, (lua_Integer)n);
    lua_setfield(L, -2, "lua_allocations");
  }
  return 1;
}

static int lua_allocations(lua_State *L) {
  uint64_t n;
  if (!wl_host_allocations(L, &n)) return luaL_pushfail(L), 1;
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

static int fail_at(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 0, 1, "a count from 0 on");
  wtl_memory_fail_at(wl_ctx_of(L)->core, (uint64_t)n);
  return 0;
}

static int lua_fail_at(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 0, 1, "a count from 0 on");
  lua_pushboolean(L, wl_host_fail_at(L, (uint64_t)n));
  return 1;
}

static int peak_rss(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  int64_t bytes;
  wtl_status s = wtl_peak_rss(c->core, &bytes);
  if (s != WTL_OK) return wl_world(L, c, s);
  lua_pushinteger(L, bytes);
  return 1;
}

static int peak_rss_reset(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  wtl_status s = wtl_peak_rss_reset(c->core);
  if (s != WTL_OK) return wl_world(L, c, s);
  lua_pushboolean(L, true);
  return 1;
}

static int build_info(lua_State *L) {
  lua_pushstring(L, wtl_build_info());
  return 1;
}

/* Ctrl-C's own words, alone or behind a place and a colon; not "the download was interrupted!". */
static bool says_interrupted(const char *message) {
  for (const char *p = message; (p = strstr(p, "interrupted!")); p++)
    if (p == message || (p - message >= 2 && !strncmp(p - 2, ": ", 2))) return true;
  return false;
}

/* The one place that tells by an error what it was. Lua code may have put its own words around the text. */
static int error_code(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  const char *message = lua_tostring(L, 1);
  luaL_checkany(L, 1);
  if (message && says_interrupted(message)) lua_pushstring(L, wtl_status_name(WTL_ERR_INTERRUPTED));
  else if (message && c->raised != WTL_OK && c->raised_text[0] && strstr(message, c->raised_text))
    lua_pushstring(L, wtl_status_name(c->raised));
  else luaL_pushfail(L);
  return 1;
}

/* ---- the file system -------------------------------------------------------------------------------- */

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int make_folder(lua_State *L) {
  const char *path = wl_path(L, 1);
  char part[WL_PATH_MAX];
  size_t n = strlen(path);
  if (n == 0 || n >= sizeof part) return wl_errno(L, "mkdir", path, n ? ENAMETOOLONG : ENOENT);
  for (size_t i = 1; i <= n; i++) {
    if (path[i] != '/' && path[i] != '\0') continue;
    memcpy(part, path, i);
    part[i] = '\0';
    if (mkdir(part, 0777) == 0 || is_folder(part)) continue;
    return wl_errno(L, "mkdir", path, errno == EEXIST && i < n ? ENOTDIR : errno); /* a file stands where a folder must */
  }
  lua_pushboolean(L, true);
  return 1;
}

static int exists(lua_State *L) {
  struct stat st;
  bool found = stat(wl_path(L, 1), &st) == 0;
  lua_pushboolean(L, found);
  if (!found) return 1;
  lua_pushstring(L, S_ISDIR(st.st_mode) ? "directory" : S_ISREG(st.st_mode) ? "file" : "other");
  return 2;
}

static void close_folder(void *p) {
  closedir(p);
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts the list of strings on the stack's top. */
static void sort_list(lua_State *L, int n) {
  int list = lua_gettop(L);
  const char **s = lua_newuserdatauv(L, (size_t)(n + 1) * sizeof *s, 0);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, list, i + 1);
    s[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  qsort(s, (size_t)n, sizeof *s, by_name);
  for (int i = 0; i < n; i++) {
    lua_pushstring(L, s[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

static int list_folder(lua_State *L) {
  const char *path = wl_path(L, 1);
  wl_box *hold = wl_hold(L, wl_ctx_of(L), close_folder);
  DIR *d = opendir(path);
  int n = 0;
  if (!d) return wl_errno(L, "listdir", path, errno);
  wl_box_fill(L, hold, d, 0);
  lua_newtable(L);
  for (struct dirent *e; errno = 0, (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    lua_pushstring(L, e->d_name);
    lua_rawseti(L, -2, ++n);
  }
  if (errno) return wl_errno(L, "listdir", path, errno);
  wl_box_close(hold);
  sort_list(L, n);
  return 1;
}

static int remove_path(lua_State *L) {
  const char *path = wl_path(L, 1);
  if (remove(path) != 0) return wl_errno(L, "remove", path, errno);
  lua_pushboolean(L, true);
  return 1;
}

/* ---- terminal and machine ------------------------------------------------------------------------------ */

static int is_a_tty(lua_State *L) {
  lua_Integer fd = luaL_checkinteger(L, 1);
  lua_pushboolean(L, fd >= 0 && fd < 1 << 20 && isatty((int)fd));
  return 1;
}

static int columns(lua_State *L) {
  struct winsize w;
  const char *env = getenv("COLUMNS");
  int n = env ? atoi(env) : 0;
  for (int fd = 1; n <= 0 && fd <= 2; fd++)
    if (ioctl(fd, TIOCGWINSZ, &w) == 0) n = w.ws_col;
  lua_pushinteger(L, n > 0 && n < 10000 ? n : 80);
  return 1;
}

static int host_name(lua_State *L) {
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0) return wl_errno(L, "hostname", "", errno);
  lua_pushstring(L, name);
  return 1;
}

static const wl_fn core[] = {
  { "now", now, "() -> s", "A monotonic clock, seconds." },
  { "cpu_time", cpu_time, "() -> s", "User and system time of this process, all threads, seconds." },
  { "sleep", sleep_s, "(s)", "Waits; Ctrl-C ends it with an error." },
  { "memory", memory, "() -> table",
    "The core's allocations since the start, live blocks, live_bytes, peak_bytes; lua_allocations under the "
    "wattle program." },
  { "lua_allocations", lua_allocations, "() -> n or nil",
    "Lua's allocations since the start, counted without making one." },
  { "fail_at", fail_at, "(n)",
    "For tests: the n-th allocation of the core from now and all after it fail; 0 ends it." },
  { "lua_fail_at", lua_fail_at, "(n) -> boolean",
    "For tests: as fail_at, for Lua's own allocations; false where the state is not the wattle program's." },
  { "peak_rss", peak_rss, "() -> bytes or nil, message, code",
    "The largest resident memory since the last reset (VmHWM)." },
  { "peak_rss_reset", peak_rss_reset, "() -> true or nil, message, code", "Starts the peak anew." },
  { "build_info", build_info, "() -> text",
    "Versions, processor, instruction sets, providers: \"key: value\" lines." },
  { "error_code", error_code, "(error) -> code or nil",
    "What kind of error a pcall caught: \"numeric\" (a loss that is not finite), \"interrupted\" (Ctrl-C), \"memory\", "
    "\"shape\" and so on for the core's latest error; nil for an error that is not the core's, or an older one." },
  { "mkdir", make_folder, "(path) -> true or nil, message, code",
    "Makes a folder and its parents; one that is there is fine." },
  { "exists", exists, "(path) -> boolean, kind",
    "Whether it is there, and if so \"file\", \"directory\" or \"other\"." },
  { "listdir", list_folder, "(path) -> {names} or nil, message, code",
    "Names in a folder, sorted, without . and ..." },
  { "remove", remove_path, "(path) -> true or nil, message, code", "Removes a file or an empty folder." },
  { "isatty", is_a_tty, "(fd) -> boolean", "Whether a descriptor (0, 1, 2) is a terminal." },
  { "columns", columns, "() -> n", "The terminal's width: $COLUMNS, the terminal's own, or 80." },
  { "hostname", host_name, "() -> name", "This machine's name." },
  { NULL, NULL, NULL, NULL }
};

static const wl_fn shared[] = {
  { "threads", threads, "(n?) -> n", "Sets (1..1024) and returns how many threads the core computes on." },
  { NULL, NULL, NULL, NULL }
};

const wl_module wl_sys_module = { .area = "sys", .core = core, .shared = shared };
