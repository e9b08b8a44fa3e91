/* l_data.c - files of tensors and tables: IDX, safetensors, CSV, appenders, digests; and batches gathered from data
 * sets. Data sets and loops are in lua/wattle/data.lua. JSON is in l_json.c. */
#include "box.h"

#include <stdlib.h>
#include <string.h>

/* ---- tensors from files ------------------------------------------------------------------- */

static int idx(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  const char *path = wl_path(L, 1);
  lua_Integer max = luaL_optinteger(L, 2, 0);
  wtl_tensor *t = NULL;
  luaL_argcheck(L, max >= 0, 2, "negative size");
  wl_box *b = wl_box_new(L, c, &wl_tensor_class);
  wtl_status s = wtl_idx_load(c->core, path, (size_t)max, &t);
  if (s != WTL_OK) return wl_world(L, c, s);
  wl_tensor_fill(L, b, t, false);
  return 1;
}

static wtl_tensor *batch_out(lua_State *L, wl_ctx *c, int given, wtl_dtype d, const wtl_shape *s) {
  if (!lua_isnoneornil(L, given)) {
    wl_box *b = wl_check(L, given, &wl_tensor_class);
    lua_pushvalue(L, given);
    return b->obj;
  }
  return wl_tensor_new(L, c, d, s)->obj;
}

static int gather_batch(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  wtl_tensor *images = wl_check_obj(L, 1, &wl_tensor_class), *labels = wl_check_obj(L, 2, &wl_tensor_class);
  wtl_tensor *index = wl_check_obj(L, 3, &wl_tensor_class);
  lua_Integer first = luaL_checkinteger(L, 4), n = luaL_checkinteger(L, 5);
  lua_Number mean = luaL_checknumber(L, 6), sd = luaL_checknumber(L, 7);
  const wtl_shape *from = wtl_tensor_shape(images);
  wtl_shape xs = { 4, { n, 1, 0, 0 } }, ys = { 1, { n } };
  lua_settop(L, 9);
  if (wtl_tensor_dtype(index) != WTL_I64 || !wtl_tensor_contiguous(index))
    return wl_error(L, "gather_batch: index must be a contiguous i64 tensor");
  if (first < 0 || n < 0 || first > wtl_tensor_numel(index) - n)
    return wl_error(L, "gather_batch: positions %I..%I of an index of %I", first, first + n - 1,
                    (lua_Integer)wtl_tensor_numel(index));
  if (from->ndim != 3 && from->ndim != 4)
    return wl_error(L, "gather_batch: images have %d dimensions; (N,H,W) or (N,C,H,W) is needed", from->ndim);
  for (int i = from->ndim == 3 ? 2 : 1, k = 1; k < from->ndim; i++, k++) xs.size[i] = from->size[k];
  wtl_tensor *x = batch_out(L, c, 8, WTL_F32, &xs), *y = batch_out(L, c, 9, WTL_I64, &ys);
  const int64_t *at = wtl_tensor_cdata(index);
  wl_try(L, c, wtl_gather_batch(c->core, images, labels, at + first, n, mean, sd, x, y));
  return 2;
}

/* ---- dicts ------------------------------------------------------------------------------------ */

typedef struct dict_box { wl_box *box; wtl_dict *d; } dict_box;

static void dict_release(wl_box *b) {
  wtl_dict_free(b->obj);
}

static const wl_class dict_class = { .name = "dict", .release = dict_release, .extra = sizeof(wtl_dict) };

/* Pushes the box of an empty dict. */
static dict_box dict_new(lua_State *L, wl_ctx *c) {
  wl_box *b = wl_box_new(L, c, &dict_class);
  wtl_dict *d = (wtl_dict *)(b + 1);
  wtl_dict_init(d, c->core);
  wl_box_fill(L, b, d, 0);
  return (dict_box){ b, d };
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A string, which a NUL would cut short in C. */
static const char *whole_string(lua_State *L, int idx, const char *what) {
  size_t n;
  const char *s = lua_tolstring(L, idx, &n);
  if (strlen(s) != n) wl_error(L, "%s: '%s...' holds a NUL byte", what, s);
  return s;
}

/* A key that is neither a name nor a place in the list: what stands under it would be left out. */
static void refuse_key(lua_State *L, int idx, const char *what, lua_Integer listed) {
  lua_Integer i = lua_isinteger(L, idx) ? lua_tointeger(L, idx) : 0;
  if (i >= 1 && i <= listed) return;
  lua_pushvalue(L, idx); /* tolstring may not change the key itself */
  wl_error(L, "%s: the key %s is not a name", what, luaL_tolstring(L, -1, NULL));
}

/* Pushes userdata with the table's string keys, sorted; *n is how many. The strings live as long as the table. The only
 * other keys are 1 to `listed`. */
static const char **sorted_keys(lua_State *L, int table, const char *what, lua_Integer listed, lua_Integer *n) {
  *n = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) == LUA_TSTRING) ++*n;
    else refuse_key(L, -2, what, listed);
  }
  const char **key = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *key, 0);
  lua_Integer i = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    if (lua_type(L, -2) == LUA_TSTRING) key[i++] = whole_string(L, -2, what);
  qsort(key, (size_t)*n, sizeof *key, by_name);
  return key;
}

/* Reads name -> tensor in the order of 1..n if names stand there, else sorted by name. Pushes the dict's box. */
static dict_box check_dict(lua_State *L, int table, const char *what) {
  wl_ctx *c = wl_ctx_of(L);
  luaL_checktype(L, table, LUA_TTABLE);
  lua_Integer n, listed = (lua_Integer)lua_rawlen(L, table);
  dict_box d = dict_new(L, c);
  const char **key = sorted_keys(L, table, what, listed, &n);
  if (listed > 0 && listed != n)
    wl_error(L, "%s: the dict lists %I names but holds %I tensors", what, listed, n);
  for (lua_Integer i = 0; i < n; i++) {
    const char *name = key[i];
    if (listed > 0) {
      if (lua_rawgeti(L, table, i + 1) != LUA_TSTRING) wl_error(L, "%s: entry %I of the dict is not a name", what, i + 1);
      name = lua_tostring(L, -1);
      lua_pop(L, 1); /* the table keeps it */
    }
    lua_getfield(L, table, name);
    if (!wl_test(L, -1, &wl_tensor_class) && !wl_test(L, -1, &wl_param_class))
      wl_error(L, "%s: '%s' is not a tensor but %s", what, name, luaL_typename(L, -1));
    wl_try(L, c, wtl_dict_add(d.d, name, wl_check_tensor(L, -1)));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return d;
}

static void meta_release(wl_box *b) {
  wtl_meta_free(b->obj);
}

static const wl_class meta_class = { .name = "metadata", .release = meta_release, .extra = sizeof(wtl_meta) };

static int load(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  const char *path = wl_path(L, 1);
  dict_box d = dict_new(L, c);
  wl_box *mb = wl_box_new(L, c, &meta_class);
  wtl_meta *m = (wtl_meta *)(mb + 1);
  wtl_status s = wtl_load(c->core, path, d.d, m);
  if (s != WTL_OK) return wl_world(L, c, s);
  wl_box_fill(L, mb, m, 0);
  lua_createtable(L, (int)d.d->n, (int)d.d->n);
  for (int64_t i = 0; i < d.d->n; i++) {
    wl_box *b = wl_box_new(L, c, &wl_tensor_class);
    wl_tensor_fill(L, b, wtl_tensor_retain(d.d->item[i].tensor), false);
    lua_setfield(L, -2, d.d->item[i].name);
    lua_pushstring(L, d.d->item[i].name);
    lua_rawseti(L, -2, i + 1);
  }
  lua_createtable(L, 0, (int)m->n);
  for (int64_t i = 0; i < m->n; i++) {
    lua_pushstring(L, m->s[2 * i + 1]);
    lua_setfield(L, -2, m->s[2 * i]);
  }
  lua_newtable(L);
  for (int64_t i = 0; i < d.d->n; i++) {
    lua_pushboolean(L, d.d->item[i].finite);
    lua_setfield(L, -2, d.d->item[i].name);
  }
  wl_box_close(d.box);
  wl_box_close(mb);
  return 3;
}

typedef wtl_status (*save_fn)(wtl_ctx *ctx, const char *path, const wtl_dict *d, const char *const *meta);

static int save_with(lua_State *L, save_fn fn) {
  wl_ctx *c = wl_ctx_of(L);
  const char *path = wl_path(L, 1), **meta = NULL;
  lua_settop(L, 3);
  dict_box d = check_dict(L, 2, "save");
  if (!lua_isnil(L, 3)) {
    lua_Integer n;
    luaL_checktype(L, 3, LUA_TTABLE);
    const char **key = sorted_keys(L, 3, "save", 0, &n);
    meta = lua_newuserdatauv(L, (size_t)(2 * n + 1) * sizeof *meta, 0);
    for (lua_Integer i = 0; i < n; i++) {
      if (lua_getfield(L, 3, key[i]) != LUA_TSTRING) return wl_error(L, "save: metadata '%s' is not a string", key[i]);
      meta[2 * i] = key[i];
      meta[2 * i + 1] = whole_string(L, -1, "save");
      lua_pop(L, 1);
    }
    meta[2 * n] = NULL;
  }
  wtl_status s = fn(c->core, path, d.d, meta);
  wl_box_close(d.box);
  if (s != WTL_OK) return wl_world(L, c, s);
  lua_pushboolean(L, true);
  return 1;
}

static int save(lua_State *L) {
  return save_with(L, wtl_save);
}

static int save_safetensors(lua_State *L) {
  return save_with(L, wtl_safetensors_save);
}

static int sha256_dict(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  char hex[65];
  dict_box d = check_dict(L, 1, "sha256_dict");
  wl_try(L, c, wtl_sha256_dict(c->core, d.d, hex));
  wl_box_close(d.box);
  lua_pushstring(L, hex);
  return 1;
}

static int sha256_file(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  char hex[65];
  wtl_status s = wtl_sha256_file(c->core, wl_path(L, 1), hex);
  if (s != WTL_OK) return wl_world(L, c, s);
  lua_pushstring(L, hex);
  return 1;
}

static int all_finite(lua_State *L) {
  lua_pushboolean(L, wtl_tensor_all_finite(wl_check_tensor(L, 1)));
  return 1;
}

/* ---- text files --------------------------------------------------------------------------------- */

static int write_file(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  size_t n;
  const char *path = wl_path(L, 1), *data = luaL_checklstring(L, 2, &n);
  wtl_status s = wtl_file_write(c->core, path, data, n);
  if (s != WTL_OK) return wl_world(L, c, s);
  lua_pushboolean(L, true);
  return 1;
}

static void appender_release(wl_box *b) {
  wtl_appender_close(b->obj);
}

static int appender(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  const char *path = wl_path(L, 1), *header = luaL_checkstring(L, 2);
  wtl_appender *a = NULL;
  wl_box *b = wl_box_new(L, c, &wl_appender_class);
  wtl_status s = wtl_appender_open(c->core, path, header, &a);
  if (s != WTL_OK) return wl_world(L, c, s);
  wl_box_fill(L, b, a, 0);
  return 1;
}

static int a_add(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_appender_class);
  size_t n;
  const char *rows = luaL_checklstring(L, 2, &n);
  wtl_status s = wtl_appender_add(b->obj, rows, n);
  if (s != WTL_OK) return wl_world(L, b->ctx, s);
  lua_pushboolean(L, true);
  return 1;
}

static void lock_release(wl_box *b) {
  wtl_lock_close(b->obj);
}

static const wl_class lock_class = { .name = "lock", .release = lock_release };

static int lock(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  const char *folder = wl_path(L, 1);
  wtl_lock *k = NULL;
  wl_box *b = wl_box_new(L, c, &lock_class);
  wtl_status s = wtl_lock_open(c->core, folder, &k);
  if (s != WTL_OK) return wl_world(L, c, s);
  wl_box_fill(L, b, k, 0);
  return 1;
}

/* One row of a CSV file on its way into the table at index `table`. */
typedef struct csv_row { lua_State *L; int table; const char *const *field; const size_t *len; int n; } csv_row;

static int add_csv_row(lua_State *L) {
  const csv_row *r = lua_touserdata(L, 2);
  lua_createtable(L, r->n, 0);
  for (int i = 0; i < r->n; i++) {
    lua_pushlstring(L, r->field[i], r->len[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
  return 0;
}

/* Lua's errors (memory) may not cross the core: a protected call, whose message stays on the stack. */
static wtl_status on_csv_row(void *arg, int64_t row, const char *const *field, const size_t *len, int n) {
  csv_row *r = arg;
  (void)row;
  r->field = field;
  r->len = len;
  r->n = n;
  lua_pushcfunction(r->L, add_csv_row);
  lua_pushvalue(r->L, r->table);
  lua_pushlightuserdata(r->L, r);
  return lua_pcall(r->L, 2, 0, 0) == LUA_OK ? WTL_OK : WTL_ERR_MEMORY;
}

static int csv_read(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  const char *path = wl_path(L, 1);
  luaL_checkstack(L, 8, "csv_read");
  lua_newtable(L);
  csv_row r = { .L = L, .table = lua_gettop(L) };
  wtl_status s = wtl_csv_load(c->core, path, on_csv_row, &r);
  if (lua_gettop(L) > r.table) return lua_error(L);
  if (s != WTL_OK) return wl_world(L, c, s);
  return 1;
}

static int csv_field(lua_State *L) {
  wl_ctx *c = wl_ctx_of(L);
  size_t n;
  const char *s = luaL_checklstring(L, 1, &n);
  wtl_text *t = wl_text_new(L, c);
  wl_try(L, c, wtl_csv_field(t, s, n));
  return wl_text_finish(L, -1);
}

static const wl_fn appender_methods[] = {
  { "add", a_add, "(lines) -> true or nil, message, code",
    "Appends whole lines (each ends in a newline) with one write and syncs; on failure the file is as it was." },
  { NULL, NULL, NULL, NULL }
};

const wl_class wl_appender_class = { .name = "appender", .release = appender_release, .methods = appender_methods };

static const wl_fn core[] = {
  { "idx", idx, "(path, max_bytes?) -> u8 tensor or nil, message, code",
    "An IDX file, plain or gzip. max_bytes bounds its payload (4 GiB if not given)." },
  { "gather_batch", gather_batch, "(images, labels, index, first, n, mean, sd, x?, y?) -> x, y",
    "The n samples whose numbers stand at first.. (from 0) in index (i64): x (n,C,H,W) f32 = (pixel/255 - "
    "mean)/sd, y (n) i64. images (N,H,W) or (N,C,H,W) u8. x and y are reused if given." },
  { "save_safetensors", save_safetensors, "(path, dict, metadata?) -> true or nil, message, code",
    "wattle.save in the one format that keeps metadata, whatever the name ends in: for files of Wattle's own." },
  { "all_finite", all_finite, "(tensor) -> boolean",
    "Is no element of a tensor or parameter NaN or infinite? Integers never are; true of none. On all threads, up to the first "
    "that is." },
  { "sha256_file", sha256_file, "(path) -> hex or nil, message, code", "SHA-256 of a file, 64 hex digits." },
  { "sha256_dict", sha256_dict, "(dict) -> hex",
    "SHA-256 over names, types, shapes and bytes in the dict's order." },
  { "write_file", write_file, "(path, text) -> true or nil, message, code",
    "Written beside, synced, renamed: the file is old or new, never half." },
  { "appender", appender, "(path, header) -> appender or nil, message, code",
    "A file open for whole lines; made with the header if new, and its first line must equal it otherwise." },
  { "lock", lock, "(folder) -> lock or nil, message, code",
    "The folder for this run alone, by FOLDER/.lock, until closed or the process ends. Where another run holds it, in "
    "this process or any, the message names the folder and that process." },
  { "csv_read", csv_read, "(path) -> {{fields}} or nil, message, code",
    "All rows (the header too) as tables of strings." },
  { "csv_field", csv_field, "(text) -> text", "Quoted where CSV needs it." },
  { NULL, NULL, NULL, NULL }
};

static const wl_fn shared[] = {
  { "load", load, "(path) -> dict, metadata, finite or nil, message, code",
    "A file of tensors, its format told by its content, whatever its name (safetensors, .pth, .npz, .npy): d[name] is a tensor, "
    "d[1..n] the names in the file's order; metadata is a table of strings. A .npy file's tensor is called data. "
    "Of a .pth file (torch.save, either form), a checkpoint gives what it has under state_dict, model, model_state_dict or "
    "model_ema, metadata.from says which, and its other entries are in metadata as text; other nested dicts and lists become "
    "names with dots. Nothing in it is run: what asks for more than tensors, dicts, lists, text and numbers is refused. Types are kept, "
    "or widened where there is no such type here: truth values to u8, i8, i16 and u16 to i32, u32 to i64. finite[name] is "
    "true where no NaN and no infinity was seen while the file was read." },
  { "save", save, "(path, dict, metadata?) -> true or nil, message, code",
    "Writes tensors (or parameters) by name, atomically: in the order of d[1..n] if names stand there, else sorted. The "
    "format goes by the name's end: .npz, .npy (one tensor), .safetensors, which any other name gets too, unless it is that of "
    "a format that is not written (.pth, .h5, ...). metadata: string to string; only safetensors keeps it. bf16 is not for "
    ".npz and .npy." },
  { NULL, NULL, NULL, NULL }
};

static const wl_class *const classes[] = { &wl_appender_class, &lock_class, &dict_class, &meta_class, NULL };

const wl_module wl_data_module = { .area = "data", .core = core, .shared = shared, .classes = classes };
