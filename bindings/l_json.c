/* l_json.c - JSON. Reading is jansson's (strict: no duplicate keys); writing is done here, straight into a Lua buffer,
 * because jansson prints 0.1 as 0.10000000000000001. */
#include "box.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64 };

/* ---- writing: a Lua table of pieces, joined at the end ---------------------------------------- */

typedef struct writer { int pieces; lua_Integer n; } writer; /* stack index of the table; how many pieces */

/* Takes the string on the stack's top. */
static void put(lua_State *L, writer *w) {
  lua_rawseti(L, w->pieces, ++w->n);
}

static void put_text(lua_State *L, writer *w, const char *s) {
  lua_pushstring(L, s);
  put(L, w);
}

static void put_line(lua_State *L, writer *w, int depth) {
  lua_pushliteral(L, "\n");
  for (int i = 0; i < depth; i++) {
    lua_pushliteral(L, "  ");
    lua_concat(L, 2);
  }
  put(L, w);
}

/* Bytes of the character at s, which has n more bytes; 0 where that is no UTF-8 (RFC 3629). */
static size_t character(const unsigned char *s, size_t n) {
  size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
  if (length > n) return 0;
  for (size_t i = 1; i < length; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90)) return 0; /* longer than it need be */
  if ((s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0; /* a surrogate; beyond U+10FFFF */
  return length;
}

/* What is not UTF-8 could be written, but by nobody be read again. */
static void check_utf8(lua_State *L, const char *s, size_t n) {
  for (size_t i = 0, length; i < n; i += length) {
    length = character((const unsigned char *)s + i, n - i);
    if (length == 0) wl_error(L, "json_encode: '%s' is not UTF-8 at byte %I", s, (lua_Integer)i + 1);
  }
}

static void put_string(lua_State *L, writer *w, int idx) {
  static const char plain[] = "\"\\\b\f\n\r\t", escaped[] = "\"\\bfnrt";
  size_t n;
  const char *s = lua_tolstring(L, idx, &n);
  luaL_Buffer b;
  check_utf8(L, s, n);
  luaL_buffinit(L, &b);
  luaL_addchar(&b, '"');
  for (size_t i = 0; i < n; i++) {
    unsigned char ch = (unsigned char)s[i];
    const char *at = ch ? strchr(plain, ch) : NULL;
    char hex[8];
    if (at) {
      luaL_addchar(&b, '\\');
      luaL_addchar(&b, escaped[at - plain]);
    } else if (ch < 0x20) {
      snprintf(hex, sizeof hex, "\\u%04x", ch);
      luaL_addstring(&b, hex);
    } else {
      luaL_addchar(&b, (char)ch);
    }
  }
  luaL_addchar(&b, '"');
  luaL_pushresult(&b);
  put(L, w);
}

/* A program's locale may write 0,5 (or a point of several bytes). */
static void make_point(char *text) {
  char *at = text + strspn(text, "+-0123456789e");
  size_t n = strcspn(at, "0123456789");
  if (n == 0) return;
  *at = '.';
  memmove(at + 1, at + n, strlen(at + n) + 1);
}

static void put_number(lua_State *L, writer *w, int idx) {
  char text[40];
  if (lua_isinteger(L, idx)) {
    snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(L, idx));
  } else {
    double v = lua_tonumber(L, idx);
    if (!isfinite(v)) wl_error(L, "json_encode: %f has no form in JSON", v);
    for (int digits = 15; digits <= 17; digits++) { /* the shortest that reads back */
      snprintf(text, sizeof text, "%.*g", digits, v);
      if (strtod(text, NULL) == v) break;
    }
    make_point(text);
    if (!strpbrk(text, ".e")) strcat(text, ".0"); /* a float when read again */
  }
  put_text(L, w, text);
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_value(lua_State *L, writer *w, int idx, int depth);

static void put_array(lua_State *L, writer *w, int idx, int depth) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, idx), count = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) count++;
  if (count != n)
    wl_error(L, "json_encode: %I entries by position and %I others; a table must be a list or an object", n, count - n);
  put_text(L, w, "[");
  for (lua_Integer i = 1; i <= n; i++) {
    if (i > 1) put_text(L, w, ",");
    put_line(L, w, depth + 1);
    lua_rawgeti(L, idx, i);
    put_value(L, w, lua_gettop(L), depth + 1);
    lua_pop(L, 1);
  }
  put_line(L, w, depth);
  put_text(L, w, "]");
}

static void put_object(lua_State *L, writer *w, int idx, int depth) {
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1), n++)
    if (lua_type(L, -2) != LUA_TSTRING)
      wl_error(L, "json_encode: a %s as a key; an object's keys are strings", luaL_typename(L, -2));
  if (n == 0) {
    put_text(L, w, "{}");
    return;
  }
  const char **key = lua_newuserdatauv(L, n * sizeof *key, 0); /* the table keeps the strings */
  n = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1), n++) {
    size_t length;
    key[n] = lua_tolstring(L, -2, &length);
    if (strlen(key[n]) != length) wl_error(L, "json_encode: the key '%s...' holds a NUL byte", key[n]);
  }
  qsort(key, n, sizeof *key, by_name);
  put_text(L, w, "{");
  for (size_t i = 0; i < n; i++) {
    if (i > 0) put_text(L, w, ",");
    put_line(L, w, depth + 1);
    lua_pushstring(L, key[i]);
    put_string(L, w, lua_gettop(L));
    put_text(L, w, ": ");
    lua_rawget(L, idx);
    put_value(L, w, lua_gettop(L), depth + 1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  put_line(L, w, depth);
  put_text(L, w, "}");
}

static void put_value(lua_State *L, writer *w, int idx, int depth) {
  luaL_checkstack(L, 12, "json_encode");
  if (depth > DEPTH_MAX) wl_error(L, "json_encode: tables nest deeper than %d (or in a ring)", DEPTH_MAX);
  switch (lua_type(L, idx)) {
    case LUA_TNIL: put_text(L, w, "null"); return;
    case LUA_TBOOLEAN: put_text(L, w, lua_toboolean(L, idx) ? "true" : "false"); return;
    case LUA_TNUMBER: put_number(L, w, idx); return;
    case LUA_TSTRING: put_string(L, w, idx); return;
    case LUA_TTABLE:
      if (lua_rawlen(L, idx) > 0) put_array(L, w, idx, depth);
      else put_object(L, w, idx, depth);
      return;
    case LUA_TLIGHTUSERDATA:
      if (!lua_touserdata(L, idx)) {
        put_text(L, w, "null");
        return;
      }
      break;
    default: break;
  }
  wl_error(L, "json_encode: a %s has no form in JSON", luaL_typename(L, idx));
}

static int json_encode(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  lua_newtable(L);
  writer w = { 2, 0 };
  put_value(L, &w, 1, 0);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  for (lua_Integer i = 1; i <= w.n; i++) {
    lua_rawgeti(L, 2, i);
    luaL_addvalue(&b);
  }
  luaL_pushresult(&b);
  return 1;
}

/* ---- reading -------------------------------------------------------------------------------------- */

static void json_free(void *p) {
  json_decref(p);
}

static void push_json(lua_State *L, json_t *v) {
  const char *key;
  json_t *item;
  size_t i;
  luaL_checkstack(L, 4, "json_decode");
  switch (json_typeof(v)) {
    case JSON_OBJECT:
      lua_createtable(L, 0, (int)json_object_size(v));
      json_object_foreach(v, key, item) {
        push_json(L, item);
        lua_setfield(L, -2, key);
      }
      return;
    case JSON_ARRAY:
      lua_createtable(L, (int)json_array_size(v), 0);
      json_array_foreach(v, i, item) {
        push_json(L, item);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
      }
      return;
    case JSON_STRING: lua_pushlstring(L, json_string_value(v), json_string_length(v)); return;
    case JSON_INTEGER: lua_pushinteger(L, json_integer_value(v)); return;
    case JSON_REAL: lua_pushnumber(L, json_real_value(v)); return;
    case JSON_TRUE: lua_pushboolean(L, true); return;
    case JSON_FALSE: lua_pushboolean(L, false); return;
    default: lua_pushlightuserdata(L, NULL); return;
  }
}

static int json_decode(lua_State *L) {
  size_t n;
  json_error_t e;
  const char *s = luaL_checklstring(L, 1, &n);
  wl_box *hold = wl_hold(L, wl_ctx_of(L), json_free);
  json_t *v = json_loadb(s, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
  if (!v) {
    luaL_pushfail(L);
    lua_pushfstring(L, "json: line %d, column %d: %s", e.line, e.column, e.text);
    lua_pushliteral(L, "format");
    return 3;
  }
  wl_box_fill(L, hold, v, 0);
  push_json(L, v);
  wl_box_close(hold);
  return 1;
}

static const wl_fn core[] = {
  { "json_encode", json_encode, "(value) -> text",
    "JSON with sorted keys, indented by 2. A table with #t > 0 is an array, else an object; core.null is "
    "null; NaN and infinity are errors." },
  { "json_decode", json_decode, "(text) -> value or nil, message, code",
    "Strict: no duplicate keys, no NUL in a key. null is core.null." },
  { NULL, NULL, NULL, NULL }
};

static void open_json(lua_State *L, int ctx, int table) {
  (void)ctx;
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, table, "null");
}

const wl_module wl_json_module = { .area = "json", .core = core, .open = open_json };
