/* args.c - readers of arguments and option tables, with one wording for their errors. Next: box.h, which
 * declares them. */
#include "box.h"

#include <math.h>
#include <string.h>

enum { NEAREST_MAX = 64 };

static int min3(int a, int b, int c) {
  int m = a < b ? a : b;
  return m < c ? m : c;
}

/* Edit distance, where swapping neighbours is one edit (optimal string alignment). */
static int edit_distance(const char *a, const char *b) {
  int row[3][NEAREST_MAX + 1];
  int la = (int)strlen(a), lb = (int)strlen(b);
  if (la > NEAREST_MAX || lb > NEAREST_MAX) return NEAREST_MAX;
  for (int j = 0; j <= lb; j++) row[0][j] = j;
  for (int i = 1; i <= la; i++) {
    int *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];
    now[0] = i;
    for (int j = 1; j <= lb; j++) {
      now[j] = min3(before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && earlier[j - 2] + 1 < now[j])
        now[j] = earlier[j - 2] + 1;
    }
  }
  return row[la % 3][lb];
}

const char *wl_path(lua_State *L, int idx) {
  size_t n;
  const char *path = luaL_checklstring(L, idx, &n);
  luaL_argcheck(L, strlen(path) == n, idx, "a path that holds a NUL byte");
  return path;
}

const char *wl_nearest(const char *word, const char *const *name, int n) {
  const char *best = NULL;
  int least = (int)strlen(word) / 3 + 2; /* farther than this is another word */
  for (int i = 0; i < n; i++) {
    int d = edit_distance(word, name[i]);
    if (d >= least || d >= (int)strlen(name[i])) continue;
    least = d;
    best = name[i];
  }
  return best;
}

int wl_unknown(lua_State *L, const char *what, const char *kind, const char *word, const char *const *name, int n) {
  const char *near = wl_nearest(word, name, n);
  if (near) return wl_error(L, "%s: unknown %s '%s'; did you mean '%s'?", what, kind, word, near);
  if (n == 0) return wl_error(L, "%s: unknown %s '%s'; there is none", what, kind, word);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (int i = 0; i < n; i++) {
    if (i) luaL_addstring(&b, ", ");
    luaL_addstring(&b, name[i]);
  }
  luaL_pushresult(&b);
  return wl_error(L, "%s: unknown %s '%s'; known: %s", what, kind, word, lua_tostring(L, -1));
}

void wl_check_options(lua_State *L, int idx, const char *what, const char *const *names, bool list) {
  int n = 0;
  while (names[n]) n++;
  lua_Integer length = list ? (lua_Integer)lua_rawlen(L, idx) : 0;
  idx = lua_absindex(L, idx);
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    if (lua_type(L, -2) == LUA_TSTRING) {
      const char *key = lua_tostring(L, -2);
      int i = 0;
      while (i < n && strcmp(names[i], key) != 0) i++;
      if (i == n) wl_unknown(L, what, "option", key, names, n);
    } else if (!(lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= length)) {
      wl_error(L, "%s: options are named fields; got %s as a key", what, luaL_tolstring(L, -2, NULL));
    }
  }
}

int wl_dim(lua_State *L, int idx, const char *what, int ndim) {
  lua_Integer d = luaL_checkinteger(L, idx);
  if (d < -ndim || d >= ndim) wl_error(L, "%s: dimension %I is out of range for %d dimensions", what, d, ndim);
  return (int)(d < 0 ? d + ndim : d);
}

wtl_dtype wl_check_dtype(lua_State *L, int idx) {
  wl_ctx *c = wl_ctx_of(L);
  wtl_dtype d = WTL_F32;
  wl_try(L, c, wtl_dtype_parse(c->core, luaL_checkstring(L, idx), &d));
  return d;
}

int wl_check_list(lua_State *L, int idx, const char *what, int64_t *out, int max) {
  idx = lua_absindex(L, idx);
  lua_Unsigned n = lua_rawlen(L, idx);
  if (n > (lua_Unsigned)max) wl_error(L, "%s: %I entries; at most %d", what, (lua_Integer)n, max);
  for (int i = 0; i < (int)n; i++) {
    int ok;
    lua_rawgeti(L, idx, i + 1);
    out[i] = lua_tointegerx(L, -1, &ok);
    if (!ok || lua_type(L, -1) != LUA_TNUMBER)
      wl_error(L, "%s: entry %d is not an integer but %s", what, i + 1, luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
  }
  return (int)n;
}

void wl_check_shape(lua_State *L, int idx, const char *what, wtl_shape *s, wtl_dtype *dtype) {
  static const char *const with_dtype[] = { "dtype", NULL }, *const none[] = { NULL };
  memset(s, 0, sizeof *s);
  if (lua_istable(L, idx)) {
    wl_check_options(L, idx, what, dtype ? with_dtype : none, true);
    s->ndim = wl_check_list(L, idx, what, s->size, WTL_MAX_DIMS);
    if (dtype && lua_getfield(L, idx, "dtype") != LUA_TNIL) *dtype = wl_check_dtype(L, -1);
    if (dtype) lua_pop(L, 1);
    return;
  }
  for (int i = idx; i <= lua_gettop(L); i++) {
    if (s->ndim == WTL_MAX_DIMS) wl_error(L, "%s: more than %d dimensions", what, WTL_MAX_DIMS);
    s->size[s->ndim++] = luaL_checkinteger(L, i);
  }
}

lua_Number wl_opt_number(lua_State *L, int idx, const char *what, const char *key, lua_Number def) {
  int type = lua_getfield(L, idx, key);
  if (type != LUA_TNIL && type != LUA_TNUMBER)
    wl_error(L, "%s: %s must be a number, not %s", what, key, luaL_typename(L, -1));
  lua_Number v = type == LUA_TNIL ? def : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return v;
}

bool wl_opt_bool(lua_State *L, int idx, const char *what, const char *key, bool def) {
  int type = lua_getfield(L, idx, key);
  if (type != LUA_TNIL && type != LUA_TBOOLEAN)
    wl_error(L, "%s: %s must be true or false, not %s", what, key, luaL_typename(L, -1));
  bool v = type == LUA_TNIL ? def : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return v;
}

/* The string stays alive with the table. */
const char *wl_opt_string(lua_State *L, int idx, const char *what, const char *key, const char *def) {
  int type = lua_getfield(L, idx, key);
  if (type != LUA_TNIL && type != LUA_TSTRING)
    wl_error(L, "%s: %s must be a string, not %s", what, key, luaL_typename(L, -1));
  const char *v = type == LUA_TNIL ? def : lua_tostring(L, -1);
  lua_pop(L, 1);
  return v;
}
