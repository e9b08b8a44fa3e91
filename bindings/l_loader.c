/* l_loader.c - samples on their way into batches: sets of samples, transforms, loaders; and the files that data sets come
 * from. Data sets themselves are in lua/wattle/data.lua, the transforms' defaults and checks in lua/wattle/data/. */
#include "box.h"

#include <limits.h>
#include <string.h>

/* ---- samples ---------------------------------------------------------------------------------- */

static void samples_release(wl_box *b) { wtl_samples_release(b->obj); }
static void loader_release(wl_box *b) { wtl_loader_destroy(b->obj); }

static const wl_class samples_class = { .name = "samples", .release = samples_release };

/* Pushes userdata with the strings of the list at idx, which live as long as it. */
static const char **check_strings(lua_State *L, int idx, const char *what, lua_Integer *n) {
  luaL_checktype(L, idx, LUA_TTABLE);
  *n = (lua_Integer)lua_rawlen(L, idx);
  const char **s = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *s, 0);
  for (lua_Integer i = 0; i < *n; i++) {
    size_t length;
    if (lua_rawgeti(L, idx, i + 1) != LUA_TSTRING) wl_error(L, "%s: entry %I of the list is not a string", what, i + 1);
    s[i] = lua_tolstring(L, -1, &length);
    if (strlen(s[i]) != length) wl_error(L, "%s: entry %I of the list holds a NUL byte", what, i + 1);
    lua_pop(L, 1); /* the list keeps it */
  }
  return s;
}

static wtl_tensor *tensor_field(lua_State *L, int idx, const char *what, const char *key) {
  lua_getfield(L, idx, key);
  if (!wl_test(L, -1, &wl_tensor_class))
    wl_error(L, "%s: %s must be a tensor, not %s", what, key, luaL_typename(L, -1));
  wtl_tensor *t = wl_check_obj(L, -1, &wl_tensor_class);
  lua_pop(L, 1);
  return t;
}

static int integer_field(lua_State *L, int idx, const char *what, const char *key, int def) {
  lua_Number v = wl_opt_number(L, idx, what, key, def);
  if (!(v >= INT_MIN && v <= INT_MAX) || v != (lua_Number)(int)v) wl_error(L, "%s: %s must be an integer", what, key);
  return (int)v;
}

static int samples(lua_State *L) {
  static const char *const names[] = { "values", "paths", "labels", "channels", NULL };
  wl_ctx *c = wl_ctx_of(L);
  wtl_samples *o = NULL;
  luaL_checktype(L, 1, LUA_TTABLE);
  wl_check_options(L, 1, "samples", names, false);
  wtl_tensor *labels = tensor_field(L, 1, "samples", "labels");
  wl_box *b = wl_box_new(L, c, &samples_class);
  if (lua_getfield(L, 1, "paths") != LUA_TNIL) {
    lua_Integer n;
    const char **path = check_strings(L, lua_gettop(L), "samples", &n);
    wl_try(L, c, wtl_samples_of_files(c->core, path, n, labels, integer_field(L, 1, "samples", "channels", 3), &o));
    lua_pop(L, 1);
  } else {
    wl_try(L, c, wtl_samples_of_tensors(c->core, tensor_field(L, 1, "samples", "values"), labels, &o));
  }
  lua_pop(L, 1);
  wl_box_fill(L, b, o, 0);
  return 1;
}

/* ---- transforms ----------------------------------------------------------------------------------- */

/* Numbers of the list `key` of the table on top into out, at most max; how many, 0 where there is none. */
static int numbers_field(lua_State *L, const char *key, double *out, int max) {
  int n = 0, type = lua_getfield(L, -1, key);
  if (type != LUA_TNIL && type != LUA_TTABLE) wl_error(L, "transform: %s must be a list of numbers", key);
  if (type == LUA_TTABLE) n = lua_rawlen(L, -1) > (lua_Unsigned)max ? max + 1 : (int)lua_rawlen(L, -1);
  if (n > max) wl_error(L, "transform: %s has more than %d numbers", key, max);
  for (int i = 0; i < n; i++) {
    int ok;
    lua_rawgeti(L, -1, i + 1);
    out[i] = lua_tonumberx(L, -1, &ok);
    if (!ok) wl_error(L, "transform: %s must be a list of numbers", key);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return n;
}

static void pair_field(lua_State *L, const char *key, double out[2]) {
  int n = numbers_field(L, key, out, 2);
  if (n == 1) wl_error(L, "transform: %s must be {low, high}", key);
}

static void integers_field(lua_State *L, const char *key, int *out, int max) {
  double v[4] = { 0 };
  numbers_field(L, key, v, max);
  for (int i = 0; i < max; i++) {
    if (!(v[i] >= -1e6 && v[i] <= 1e6) || v[i] != (double)(int)v[i])
      wl_error(L, "transform: %s must be integers up to 10^6", key);
    out[i] = (int)v[i];
  }
}

/* The step in the table on top. */
static void read_step(lua_State *L, wtl_transform *t) {
  static const char *const filters[] = { "nearest", "bilinear", "bicubic" };
  const char *kind, *filter;
  int at = lua_gettop(L), n_sd;
  if (!lua_istable(L, at))
    wl_error(L, "transform: a step is a table, as data.transforms makes, not %s", luaL_typename(L, at));
  *t = (wtl_transform){ .kind = (wtl_transform_kind)-1, .brightness = { 1, 1 }, .contrast = { 1, 1 },
                        .saturation = { 1, 1 } };
  kind = wl_opt_string(L, at, "transform", "kind", "");
  for (int k = WTL_RESIZE; k <= WTL_RANDOM_ERASING; k++)
    if (strcmp(kind, wtl_transform_name((wtl_transform_kind)k)) == 0) t->kind = (wtl_transform_kind)k;
  if ((int)t->kind < 0) wl_error(L, "transform: unknown kind of step '%s'", kind);
  filter = wl_opt_string(L, at, "transform", "interpolation", "bilinear");
  for (t->filter = WTL_NEAREST; t->filter <= WTL_BICUBIC && strcmp(filters[t->filter], filter) != 0; t->filter++) {}
  if (t->filter > WTL_BICUBIC) wl_unknown(L, "transform", "interpolation", filter, filters, 3);
  integers_field(L, "size", t->size, 2);
  integers_field(L, "padding", t->padding, 4);
  t->p = wl_opt_number(L, at, "transform", "p", 0);
  pair_field(L, "scale", t->scale);
  pair_field(L, "ratio", t->ratio);
  pair_field(L, "brightness", t->brightness);
  pair_field(L, "contrast", t->contrast);
  pair_field(L, "saturation", t->saturation);
  pair_field(L, "hue", t->hue);
  t->n_value = numbers_field(L, "mean", t->mean, WTL_MAX_CHANNELS);
  n_sd = numbers_field(L, "sd", t->sd, WTL_MAX_CHANNELS);
  if (t->kind == WTL_NORMALIZE && n_sd != t->n_value) wl_error(L, "normalize: %d means and %d sds", t->n_value, n_sd);
  t->noise = wl_opt_bool(L, at, "transform", "noise", false);
}

/* Pushes userdata with the steps of the list at idx. */
static wtl_transform *check_steps(lua_State *L, int idx, int *n) {
  luaL_checktype(L, idx, LUA_TTABLE);
  if (lua_rawlen(L, idx) > WTL_MAX_TRANSFORMS) wl_error(L, "transform: more than %d steps", WTL_MAX_TRANSFORMS);
  *n = (int)lua_rawlen(L, idx);
  wtl_transform *t = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *t, 0);
  for (int i = 0; i < *n; i++) {
    lua_rawgeti(L, idx, i + 1);
    read_step(L, &t[i]);
    lua_pop(L, 1);
  }
  return t;
}

static int transform_size(lua_State *L) {
  int n, height = (int)luaL_optinteger(L, 2, 0), width = (int)luaL_optinteger(L, 3, 0);
  wtl_transform *t = check_steps(L, 1, &n);
  if (!wtl_transform_size(t, n, &height, &width)) return 0;
  lua_pushinteger(L, height);
  lua_pushinteger(L, width);
  return 2;
}

static void push_integers(lua_State *L, const int *v, int n, int add) {
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_pushinteger(L, v[i] + add);
    lua_rawseti(L, -2, i + 1);
  }
}

static void push_drawn(lua_State *L, const wtl_transform *t, const wtl_drawn *d) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, wtl_transform_name(t->kind));
  lua_setfield(L, -2, "kind");
  if (t->kind == WTL_RANDOM_FLIP || t->kind == WTL_RANDOM_ERASING) {
    lua_pushboolean(L, d->done);
    lua_setfield(L, -2, "done");
  }
  if (t->kind == WTL_CENTER_CROP || t->kind == WTL_RANDOM_CROP || t->kind == WTL_RANDOM_RESIZED_CROP ||
      (t->kind == WTL_RANDOM_ERASING && d->done)) {
    push_integers(L, d->box, 4, 0);
    lua_setfield(L, -2, "box");
  }
  if (t->kind != WTL_COLOR_JITTER) return;
  push_integers(L, d->order, 4, 1);
  lua_setfield(L, -2, "order");
  lua_createtable(L, 4, 0);
  for (int k = 0; k < 4; k++) {
    lua_pushnumber(L, d->factor[k]);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "factor");
}

static int transform_draw(lua_State *L) {
  static const char *const names[] = { "seed", "name", "epoch", "index", "channels", "height", "width", NULL };
  const char *what = "transform_draw";
  wl_ctx *c = wl_ctx_of(L);
  wtl_drawn drawn[WTL_MAX_TRANSFORMS];
  int n;
  luaL_checktype(L, 2, LUA_TTABLE);
  wl_check_options(L, 2, what, names, false);
  lua_settop(L, 2);
  wtl_transform *t = check_steps(L, 1, &n);
  lua_getfield(L, 2, "seed");
  wtl_rng r = wtl_rng_make((uint64_t)luaL_optinteger(L, -1, 0), "augment", wl_opt_string(L, 2, what, "name", ""),
                           (uint64_t)(int64_t)wl_opt_number(L, 2, what, "epoch", 0));
  wl_try(L, c, wtl_transform_draw(c->core, t, n, &r, integer_field(L, 2, what, "index", 0),
                                  integer_field(L, 2, what, "channels", 3), integer_field(L, 2, what, "height", 0),
                                  integer_field(L, 2, what, "width", 0), drawn));
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    push_drawn(L, &t[i], &drawn[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* ---- loaders -------------------------------------------------------------------------------------- */

static const wl_class loader_class;

static int loader(lua_State *L) {
  static const char *const names[] = { "steps", "height", "width", "index", "n", "batch_size", "drop_last",
                                       "workers", "prefetch", "skip", "seed", "epoch", "name", NULL };
  const char *what = "loader";
  wl_ctx *c = wl_ctx_of(L);
  wtl_samples *of = wl_check_obj(L, 1, &samples_class);
  wtl_loader *l = NULL;
  luaL_checktype(L, 2, LUA_TTABLE);
  wl_check_options(L, 2, what, names, false);
  wtl_tensor *index = tensor_field(L, 2, what, "index");
  if (wtl_tensor_dtype(index) != WTL_I64 || !wtl_tensor_contiguous(index))
    return wl_error(L, "loader: index must be a contiguous i64 tensor");
  wtl_loader_options o = {
    .height = integer_field(L, 2, what, "height", 0), .width = integer_field(L, 2, what, "width", 0),
    .index = wtl_tensor_cdata(index), .n = wtl_tensor_numel(index),
    .batch_size = integer_field(L, 2, what, "batch_size", 0),
    .drop_last = wl_opt_bool(L, 2, what, "drop_last", false), .workers = integer_field(L, 2, what, "workers", 0),
    .prefetch = integer_field(L, 2, what, "prefetch", 2), .skip = wl_opt_bool(L, 2, what, "skip", false),
    .epoch = (uint64_t)integer_field(L, 2, what, "epoch", 0), .name = wl_opt_string(L, 2, what, "name", ""),
  };
  lua_getfield(L, 2, "seed");
  o.seed = (uint64_t)luaL_optinteger(L, -1, 0);
  if (lua_getfield(L, 2, "steps") != LUA_TNIL) o.step = check_steps(L, lua_gettop(L), &o.n_step);
  wl_box *b = wl_box_new(L, c, &loader_class);
  wl_try(L, c, wtl_loader_create(c->core, of, &o, &l));
  wl_box_fill(L, b, l, 0);
  return 1;
}

static int l_next(lua_State *L) {
  wl_box *b = wl_check(L, 1, &loader_class);
  wtl_tensor *x = NULL, *y = NULL;
  wl_box *bx = wl_box_new(L, b->ctx, &wl_tensor_class), *by = wl_box_new(L, b->ctx, &wl_tensor_class);
  wl_try(L, b->ctx, wtl_loader_next(b->obj, &x, &y));
  if (!x) return 0;
  wl_tensor_fill(L, bx, x, false); /* filling never raises */
  wl_tensor_fill(L, by, y, false);
  return 2;
}

static int l_skipped(lua_State *L) {
  wl_box *b = wl_check(L, 1, &loader_class);
  lua_Integer from = luaL_optinteger(L, 2, 0), n = wtl_loader_skipped(b->obj);
  luaL_argcheck(L, from >= 0, 2, "negative");
  lua_newtable(L);
  for (lua_Integer i = from; i < n; i++) {
    const char *reason;
    int64_t sample;
    wl_try(L, b->ctx, wtl_loader_skip(b->obj, i, &sample, &reason));
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, sample);
    lua_setfield(L, -2, "sample");
    lua_pushstring(L, reason);
    lua_setfield(L, -2, "reason");
    lua_rawseti(L, -2, i - from + 1);
  }
  return 1;
}

/* ---- files of samples --------------------------------------------------------------------------------- */

static int cifar(lua_State *L) {
  static const char *const names[] = { "records", "label_bytes", "label_at", "classes", NULL };
  wl_ctx *c = wl_ctx_of(L);
  lua_Integer n;
  wtl_tensor *x = NULL, *y = NULL;
  luaL_checktype(L, 2, LUA_TTABLE);
  wl_check_options(L, 2, "cifar", names, false);
  const char **path = check_strings(L, 1, "cifar", &n);
  luaL_argcheck(L, n >= 1 && n <= 1000, 1, "1 to 1000 paths are needed");
  wtl_cifar_options o = { integer_field(L, 2, "cifar", "records", 10000),
                          integer_field(L, 2, "cifar", "label_bytes", 1),
                          integer_field(L, 2, "cifar", "label_at", 0), integer_field(L, 2, "cifar", "classes", 10) };
  wl_box *a = wl_box_new(L, c, &wl_tensor_class), *b = wl_box_new(L, c, &wl_tensor_class);
  wtl_status s = wtl_cifar_load(c->core, path, (int)n, &o, &x, &y);
  if (s != WTL_OK) return wl_world(L, c, s);
  wl_tensor_fill(L, a, x, false);
  wl_tensor_fill(L, b, y, false);
  return 2;
}

static void names_release(wl_box *b) { wtl_names_free(b->obj); }
static const wl_class names_class = { .name = "names", .release = names_release, .extra = sizeof(wtl_names) };

static int csv_samples(lua_State *L) {
  static const char *const names[] = { "header", "label", "pixels", NULL };
  wl_ctx *c = wl_ctx_of(L);
  const char *path = wl_path(L, 1);
  wtl_tensor *x = NULL, *y = NULL;
  luaL_checktype(L, 2, LUA_TTABLE);
  wl_check_options(L, 2, "csv_samples", names, false);
  wtl_csv_samples_options o = { .header = wl_opt_bool(L, 2, "csv_samples", "header", true),
                                .pixels = wl_opt_bool(L, 2, "csv_samples", "pixels", false) };
  int type = lua_getfield(L, 2, "label");
  if (type == LUA_TSTRING) o.label = lua_tostring(L, -1);
  else if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1 && lua_tointeger(L, -1) <= 65536)
    o.label_at = (int)lua_tointeger(L, -1) - 1;
  else wl_error(L, "csv_samples: label must be a column's name, or its number from 1");
  wl_box *a = wl_box_new(L, c, &wl_tensor_class), *b = wl_box_new(L, c, &wl_tensor_class),
      *k = wl_box_new(L, c, &names_class);
  wtl_names *found = (wtl_names *)(k + 1);
  wtl_status s = wtl_csv_samples(c->core, path, &o, &x, &y, found);
  if (s != WTL_OK) return wl_world(L, c, s);
  wl_box_fill(L, k, found, 0);
  wl_tensor_fill(L, a, x, false);
  wl_tensor_fill(L, b, y, false);
  lua_createtable(L, (int)found->n, 0);
  for (int64_t i = 0; i < found->n; i++) {
    lua_pushstring(L, found->s[i]);
    lua_rawseti(L, -2, i + 1);
  }
  wl_box_close(k);
  lua_remove(L, -2);
  return 3;
}

/* ---- the list ----------------------------------------------------------------------------------------- */

static const wl_fn loader_methods[] = {
  { "next", l_next, "() -> x, y or nothing",
    "The next batch: x f32 (n,C,H,W), y i64 (n); nothing at the end. A file that cannot be read or is corrupt is an error that "
    "names it, unless the loader skips." },
  { "skipped", l_skipped, "(from = 0) -> list",
    "What was skipped so far, from the from-th (0: the first) on: {sample =, reason =}." },
  { NULL, NULL, NULL, NULL }
};

static const wl_class loader_class = { .name = "loader", .release = loader_release, .methods = loader_methods };

static const wl_fn core[] = {
  { "samples", samples, "{values = tensor | paths = list, labels =, channels = 3} -> samples",
    "What a loader deals out: values u8 (N,H,W) or (N,C,H,W), or f32 (N,...); or image files. labels u8 or i64 (N)." },
  { "loader", loader,
    "(samples, {index =, batch_size =, steps = {}, height =, width =, drop_last = false, workers = 0, prefetch = 2, skip = false, "
    "seed = 0, epoch = 0, name = \"\"}) -> loader",
    "Batches of the samples whose numbers (from 0) stand in index (i64), made by steps (data.transforms). height, width: of a "
    "finished sample where the steps leave it open. dataset:batches is the usual way to have one." },
  { "transform_size", transform_size, "(steps, height = 0, width = 0) -> height, width or nothing",
    "The size of an image after the steps; 0 is unknown. Nothing where the steps leave it open." },
  { "transform_draw", transform_draw,
    "(steps, {seed =, name =, epoch =, index =, channels = 3, height =, width =}) -> list",
    "What each step draws for a sample: see data.transforms.draws." },
  { "cifar", cifar, "(paths, {records = 10000, label_bytes = 1, label_at = 0, classes = 10}) -> images, labels or nil, message, code",
    "CIFAR's binary files, of so many records each: images u8 (N,3,32,32), labels u8 (N)." },
  { "csv_samples", csv_samples,
    "(path, {label =, header = true, pixels = false}) -> values, labels, names or nil, message, code",
    "A CSV file of numbers and a label's column (its name, or its number from 1): values (N,F) f32, or u8 where they are pixels; "
    "labels i64 (N), names: label k is names[k + 1], in the order of the file." },
  { NULL, NULL, NULL, NULL }
};

static const wl_class *const classes[] = { &samples_class, &loader_class, &names_class, NULL };

const wl_module wl_loader_module = { .area = "data", .core = core, .classes = classes };
