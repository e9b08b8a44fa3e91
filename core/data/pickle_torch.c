/* What a pickle of PyTorch may name, and what becomes of it: tensors and parameters, in the forms of all its versions,
 * storages, OrderedDict, Size, device, dtype and Python 2's bytes. A name that is not in the table is refused by that name.
 * The forms are those of torch/_utils.py, torch/_tensor.py (__setstate__) and torch/serialization.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pickle.h"
#include "tensor.h"

typedef wtl_status (*call_fn)(wtl_pickle *p, const struct wtl_pk_global *f, wtl_pk *const *arg, int64_t n,
                              wtl_pk **out);

typedef struct wtl_pk_global {
  const char *module, *name;
  call_fn call; /* NULL: stands for itself only */
  call_fn make; /* by NEWOBJ; NULL: refused */
  wtl_element as; /* of a storage */
} global;

/* ---- arguments ---- */

static wtl_status bad_arguments(wtl_pickle *p, const global *f) {
  return wtl_fail(p->ctx, WTL_ERR_FORMAT, "%s: pickle: %s.%s with arguments that it does not take", p->path,
                  f->module, f->name);
}

/* Calls may be given one large argument many times: what they copy of it altogether is bounded by the pickle's size. */
static wtl_status charge(wtl_pickle *p, uint64_t n) {
  p->copied += n;
  return p->copied <= p->bytes ? WTL_OK : wtl_pk_bad(p, "calls that copy more than it holds");
}

static bool is_list(const wtl_pk *v) { return v->kind == WTL_PK_TUPLE || v->kind == WTL_PK_LIST; }

/* A tuple of up to 8 integers that are not negative. */
static wtl_status read_sizes(wtl_pickle *p, const wtl_pk *v, const char *what, int64_t *out, int *n) {
  if (!is_list(v)) return wtl_fail(p->ctx, WTL_ERR_FORMAT, "%s: pickle: a tensor's %s is no tuple", p->path, what);
  if (v->list.n > WTL_MAX_DIMS)
    return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: a tensor of %lld dimensions; at most %d", p->path,
                    (long long)v->list.n, WTL_MAX_DIMS);
  *n = (int)v->list.n;
  for (int i = 0; i < *n; i++) {
    const wtl_pk *e = v->list.item[i];
    if (e->kind != WTL_PK_INT || e->i < 0)
      return wtl_fail(p->ctx, WTL_ERR_FORMAT, "%s: pickle: a tensor's %s holds something that is none", p->path,
                      what);
    out[i] = e->i;
  }
  return WTL_OK;
}

/* ---- tensors ---- */

/* Does the window lie in its storage? */
static wtl_status check_window(wtl_pickle *p, const wtl_pk_tensor *t) {
  char text[WTL_SHAPE_TEXT];
  int64_t last = t->offset, step;
  bool inside = t->offset <= t->storage->numel, some = wtl_shape_numel(&t->shape) > 0;
  for (int i = 0; some && inside && i < t->shape.ndim; i++) {
    inside = !__builtin_mul_overflow(t->shape.size[i] - 1, t->stride[i], &step) &&
             !__builtin_add_overflow(last, step, &last);
  }
  if (inside && !(some && last >= t->storage->numel)) return WTL_OK;
  return wtl_fail(p->ctx, WTL_ERR_FORMAT, "%s: pickle: a tensor %s at %lld lies beyond its storage of %lld elements",
                  p->path, wtl_shape_text(&t->shape, text, sizeof text), (long long)t->offset,
                  (long long)t->storage->numel);
}

/* Storage, offset, size, stride. */
static wtl_status fill_tensor(wtl_pickle *p, wtl_pk_tensor *t, wtl_pk *const *arg) {
  int strides;
  wtl_pk_tensor r = { 0 };
  if (arg[0]->kind != WTL_PK_STORAGE) return wtl_pk_bad(p, "a tensor without a storage");
  if (arg[1]->kind != WTL_PK_INT || arg[1]->i < 0) return wtl_pk_bad(p, "a tensor's offset is none");
  r.storage = arg[0]->storage;
  r.offset = arg[1]->i;
  WTL_TRY(read_sizes(p, arg[2], "size", r.shape.size, &r.shape.ndim));
  WTL_TRY(read_sizes(p, arg[3], "stride", r.stride, &strides));
  if (strides != r.shape.ndim) return wtl_pk_bad(p, "a tensor's size and stride differ in length");
  if (wtl_shape_check(p->ctx, "pickle", &r.shape, r.storage->as.dtype) != WTL_OK)
    return wtl_prefix(p->ctx, WTL_ERR_FORMAT, "%s", p->path);
  WTL_TRY(check_window(p, &r));
  *t = r;
  return WTL_OK;
}

static wtl_status new_tensor(wtl_pickle *p, wtl_pk **out) {
  WTL_TRY(wtl_pk_new(p, WTL_PK_TENSOR, out));
  (*out)->tensor = wtl_pk_alloc(p, sizeof *(*out)->tensor);
  return (*out)->tensor ? WTL_OK : WTL_ERR_MEMORY;
}

/* _rebuild_tensor(storage, offset, size, stride), _rebuild_tensor_v2(..., requires_grad, hooks[, metadata]) */
static wtl_status rebuild_tensor(wtl_pickle *p, const global *f, wtl_pk *const *arg, int64_t n, wtl_pk **out) {
  bool second = f->name[strlen("_rebuild_tensor")] != 0;
  if (second ? n != 6 && n != 7 : n != 4) return bad_arguments(p, f);
  if (n == 7 && arg[6]->kind != WTL_PK_NONE && !(arg[6]->kind == WTL_PK_DICT && arg[6]->list.n == 0))
    return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: a tensor that is a lazy conjugate or negation",
                    p->path);
  WTL_TRY(new_tensor(p, out));
  return fill_tensor(p, (*out)->tensor, arg);
}

/* _rebuild_parameter(data, requires_grad, hooks), _rebuild_parameter_with_state(data, requires_grad, hooks, state),
 * Parameter(data[, requires_grad]) and Variable(data...): the tensor itself. */
static wtl_status parameter(wtl_pickle *p, const global *f, wtl_pk *const *arg, int64_t n, wtl_pk **out) {
  if (n < 1 || n > 4 || arg[0]->kind != WTL_PK_TENSOR) return bad_arguments(p, f);
  *out = arg[0];
  return WTL_OK;
}

/* An object of a tensor class, whose state comes later, as PyTorch 0.1 had it. */
static wtl_status empty_tensor(wtl_pickle *p, const global *f, wtl_pk *const *arg, int64_t n, wtl_pk **out) {
  if (n == 1 && arg[0]->kind == WTL_PK_TENSOR) {
    *out = arg[0];
    return WTL_OK;
  }
  return n == 0 ? new_tensor(p, out) : bad_arguments(p, f);
}

/* State of a tensor: (storage, offset, size, stride) of an old tensor, (data, _, hooks, requires_grad, volatile) of an old
 * Variable, (requires_grad, volatile, hooks) otherwise. */
static wtl_status set_tensor(wtl_pickle *p, wtl_pk_tensor *t, const wtl_pk *state) {
  if (state->kind != WTL_PK_TUPLE) return wtl_pk_bad(p, "a tensor's state is no tuple");
  if (state->list.n == 3) return WTL_OK;
  if (state->list.n == 4) return fill_tensor(p, t, state->list.item);
  if (state->list.n != 5 || state->list.item[0]->kind != WTL_PK_TENSOR)
    return wtl_pk_bad(p, "a tensor's state is of no known form");
  *t = *state->list.item[0]->tensor;
  return WTL_OK;
}

/* ---- the rest ---- */

/* Without arguments, or with a list of pairs, as Python 2 writes it. */
static wtl_status ordered_dict(wtl_pickle *p, const global *f, wtl_pk *const *arg, int64_t n, wtl_pk **out) {
  if (n > 1 || (n == 1 && !is_list(arg[0]))) return bad_arguments(p, f);
  WTL_TRY(charge(p, n ? 2 * (uint64_t)arg[0]->list.n : 0));
  WTL_TRY(wtl_pk_new(p, WTL_PK_DICT, out));
  for (int64_t i = 0; n == 1 && i < arg[0]->list.n; i++) {
    const wtl_pk *pair = arg[0]->list.item[i];
    if (!is_list(pair) || pair->list.n != 2) return bad_arguments(p, f);
    WTL_TRY(wtl_pk_append(p, *out, pair->list.item, 2));
  }
  return WTL_OK;
}

static wtl_status size(wtl_pickle *p, const global *f, wtl_pk *const *arg, int64_t n, wtl_pk **out) {
  if (n > 1 || (n == 1 && !is_list(arg[0]))) return bad_arguments(p, f);
  if (n == 0) return wtl_pk_new(p, WTL_PK_TUPLE, out);
  *out = arg[0];
  return WTL_OK;
}

/* As text: "cuda:1". */
static wtl_status device(wtl_pickle *p, const global *f, wtl_pk *const *arg, int64_t n, wtl_pk **out) {
  if (n < 1 || n > 2 || arg[0]->kind != WTL_PK_STR || (n == 2 && arg[1]->kind != WTL_PK_INT))
    return bad_arguments(p, f);
  if (n == 1) {
    *out = arg[0];
    return WTL_OK;
  }
  WTL_TRY(charge(p, arg[0]->text.n));
  size_t room = arg[0]->text.n + 32;
  char *s = wtl_pk_alloc(p, room);
  if (!s) return WTL_ERR_MEMORY;
  int used = snprintf(s, room, "%.*s:%lld", (int)(room - 32), arg[0]->text.s, (long long)arg[1]->i);
  WTL_TRY(wtl_pk_new(p, WTL_PK_STR, out));
  (*out)->text.s = s;
  (*out)->text.n = (size_t)used;
  return WTL_OK;
}

/* Protocol 2 has no bytes: _codecs.encode(text, 'latin1'), where each character is a byte. */
static wtl_status encode(wtl_pickle *p, const global *f, wtl_pk *const *arg, int64_t n, wtl_pk **out) {
  if (n != 2 || arg[0]->kind != WTL_PK_STR || !wtl_pk_is(arg[1], "latin1")) return bad_arguments(p, f);
  const unsigned char *s = (const unsigned char *)arg[0]->text.s;
  size_t to = 0, bytes = arg[0]->text.n;
  WTL_TRY(charge(p, bytes));
  char *b = wtl_pk_alloc(p, bytes + 1);
  if (!b) return WTL_ERR_MEMORY;
  for (size_t i = 0; i < bytes; i++) {
    if (s[i] < 0x80) {
      b[to++] = (char)s[i];
    } else { /* U+0080 to U+00FF in UTF-8 */
      if ((s[i] != 0xc2 && s[i] != 0xc3) || i + 1 == bytes || (s[i + 1] & 0xc0) != 0x80) return bad_arguments(p, f);
      b[to++] = (char)(s[i] << 6 | (s[i + 1] & 0x3f));
      i++;
    }
  }
  WTL_TRY(wtl_pk_new(p, WTL_PK_BYTES, out));
  (*out)->text.s = b;
  (*out)->text.n = to;
  return WTL_OK;
}

static wtl_status no_bytes(wtl_pickle *p, const global *f, wtl_pk *const *arg, int64_t n, wtl_pk **out) {
  (void)arg;
  return n == 0 ? wtl_pk_new(p, WTL_PK_BYTES, out) : bad_arguments(p, f);
}

static const char utils[] = "torch._utils";
static const global globals[] = {
  { "collections", "OrderedDict", ordered_dict, NULL, { 0 } },
  { utils, "_rebuild_tensor", rebuild_tensor, NULL, { 0 } },
  { utils, "_rebuild_tensor_v2", rebuild_tensor, NULL, { 0 } },
  { utils, "_rebuild_parameter", parameter, NULL, { 0 } },
  { utils, "_rebuild_parameter_with_state", parameter, NULL, { 0 } },
  { "torch.nn.parameter", "Parameter", parameter, empty_tensor, { 0 } },
  { "torch.autograd.variable", "Variable", parameter, empty_tensor, { 0 } },
  { "torch", "Size", size, size, { 0 } },
  { "torch", "device", device, NULL, { 0 } },
  { "_codecs", "encode", encode, NULL, { 0 } },
  { "__builtin__", "bytes", no_bytes, NULL, { 0 } },
  { "builtins", "bytes", no_bytes, NULL, { 0 } },
};

/* Storages, and the tensor classes of PyTorch 0.1. Types that are not here become wider ones. */
#define CLASSES(name, ...) \
  { "torch", name "Storage", NULL, NULL, __VA_ARGS__ }, { "torch", name "Tensor", NULL, empty_tensor, __VA_ARGS__ }
static const global classes[] = {
  CLASSES("Float", { WTL_F32, WTL_SAME, 4, false }),  CLASSES("Double", { WTL_F64, WTL_SAME, 8, false }),
  CLASSES("Half", { WTL_F16, WTL_SAME, 2, false }),   CLASSES("BFloat16", { WTL_BF16, WTL_SAME, 2, false }),
  CLASSES("Long", { WTL_I64, WTL_SAME, 8, false }),   CLASSES("Int", { WTL_I32, WTL_SAME, 4, false }),
  CLASSES("Byte", { WTL_U8, WTL_SAME, 1, false }),    CLASSES("Bool", { WTL_U8, WTL_FROM_BOOL, 1, false }),
  CLASSES("Char", { WTL_I32, WTL_FROM_I8, 1, false }), CLASSES("Short", { WTL_I32, WTL_FROM_I16, 2, false }),
};

/* Storages whose elements have no dtype here. */
static const char *const foreign[] = { "ComplexFloatStorage", "ComplexDoubleStorage", "QInt8Storage", "QUInt8Storage",
                                       "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage" };
static const char *const dtypes[] = {
  "torch.float32", "torch.float", "torch.float64", "torch.double", "torch.float16", "torch.half", "torch.bfloat16",
  "torch.int64",   "torch.long",  "torch.int32",   "torch.int",    "torch.int16",   "torch.short", "torch.int8",
  "torch.uint8",   "torch.bool",  "torch.complex64", "torch.complex128",
};

/* ---- names ---- */

static bool same(const wtl_pk *v, const char *text) { return wtl_pk_is(v, text); }

static bool begins(const wtl_pk *v, const char *text) {
  size_t n = strlen(text);
  return v->text.n >= n && memcmp(v->text.s, text, n) == 0;
}

/* At most 80 characters, those that a terminal would act on as '?'. */
static const char *plain(const wtl_pk *v, char buf[84]) {
  size_t n = v->text.n < 80 ? v->text.n : 80;
  for (size_t i = 0; i < n; i++) buf[i] = v->text.s[i] < 0x20 || v->text.s[i] > 0x7e ? '?' : v->text.s[i];
  strcpy(buf + n, v->text.n > n ? "..." : "");
  return buf;
}

static wtl_status refuse(wtl_pickle *p, const wtl_pk *module, const wtl_pk *name) {
  static const char *const modules[] = { "torch.nn.", "torchvision.", "timm.", "__main__", "transformers." };
  char m[84], n[84];
  bool whole = false;
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
    if (same(module, "torch") && same(name, foreign[i]))
      return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: refuses torch.%s: its elements have no dtype here",
                      p->path, foreign[i]);
  for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) whole |= begins(module, modules[i]);
  plain(module, m);
  plain(name, n);
  if (whole)
    return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: refuses %s.%s: a whole module was pickled; "
                    "save model.state_dict() instead", p->path, m, n);
  return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED,
                  "%s: pickle: refuses %s.%s; only tensors, dicts, lists and numbers are read", p->path, m, n);
}

static const global *find_in(const global *g, size_t n, const wtl_pk *module, const wtl_pk *name) {
  for (size_t i = 0; i < n; i++)
    if (same(module, g[i].module) && same(name, g[i].name)) return &g[i];
  return NULL;
}

wtl_status wtl_pk_find(wtl_pickle *p, const wtl_pk *module, const wtl_pk *name, wtl_pk **out) {
  const global *g = find_in(globals, sizeof globals / sizeof *globals, module, name);
  if (!g) g = find_in(classes, sizeof classes / sizeof *classes, module, name);
  if (g) {
    WTL_TRY(wtl_pk_new(p, WTL_PK_GLOBAL, out));
    (*out)->global = g;
    return WTL_OK;
  }
  for (size_t i = 0; same(module, "torch") && i < sizeof dtypes / sizeof *dtypes; i++) {
    if (!same(name, dtypes[i] + strlen("torch."))) continue;
    WTL_TRY(wtl_pk_new(p, WTL_PK_STR, out));
    (*out)->text.s = dtypes[i];
    (*out)->text.n = strlen(dtypes[i]);
    return WTL_OK;
  }
  return refuse(p, module, name);
}

wtl_status wtl_pk_call(wtl_pickle *p, const wtl_pk *f, const wtl_pk *args, wtl_pk **out) {
  const global *g = f->global;
  if (!g->call)
    return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: refuses a call of %s.%s", p->path, g->module, g->name);
  return g->call(p, g, args->list.item, args->list.n, out);
}

wtl_status wtl_pk_make(wtl_pickle *p, const wtl_pk *f, const wtl_pk *args, wtl_pk **out) {
  const global *g = f->global;
  if (!g->make)
    return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: refuses an object of %s.%s", p->path, g->module,
                    g->name);
  return g->make(p, g, args->list.item, args->list.n, out);
}

/* What a dict has beside its items (state_dict's _metadata) is of no use here. */
wtl_status wtl_pk_build(wtl_pickle *p, wtl_pk *object, const wtl_pk *state) {
  if (object->kind == WTL_PK_DICT) return WTL_OK;
  if (object->kind == WTL_PK_TENSOR) return set_tensor(p, object->tensor, state);
  return wtl_pk_bad(p, "sets the state of what has none");
}

/* ---- storages ---- */

#define MAX_KEY 64 /* they are numbers */

static wtl_status add_storage(wtl_pickle *p, wtl_pk_storage *s) {
  if (p->n_storages == p->storage_cap) {
    int64_t cap = p->storage_cap ? 2 * p->storage_cap : 64;
    void *more = wtl_realloc(p->ctx, p->storage, (size_t)p->storage_cap * sizeof *p->storage,
                             (size_t)cap * sizeof *p->storage);
    if (!more) return WTL_ERR_MEMORY;
    p->storage = more;
    p->storage_cap = cap;
  }
  p->storage[p->n_storages++] = s;
  return WTL_OK;
}

/* ('storage', class, key, location, elements[, None]): the last, in the legacy form, is a view of another storage. */
wtl_status wtl_pk_persistent(wtl_pickle *p, const wtl_pk *id, wtl_pk **out) {
  wtl_pk *const *arg = id->list.item;
  int64_t n = id->kind == WTL_PK_TUPLE ? id->list.n : 0;
  if (n && wtl_pk_is(arg[0], "module"))
    return wtl_pk_bad(p, "a whole module was pickled; save model.state_dict() instead");
  if ((n != 5 && n != 6) || !wtl_pk_is(arg[0], "storage") || arg[1]->kind != WTL_PK_GLOBAL || arg[1]->global->call ||
      arg[1]->global->make || arg[2]->kind != WTL_PK_STR || arg[2]->text.n > MAX_KEY ||
      (arg[2]->text.n && memchr(arg[2]->text.s, 0, arg[2]->text.n)) ||
      arg[4]->kind != WTL_PK_INT || arg[4]->i < 0)
    return wtl_pk_bad(p, "a persistent id that is no storage");
  if (n == 6 && arg[5]->kind != WTL_PK_NONE)
    return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: a storage that is a view of another; "
                    "load it with PyTorch and save it again", p->path);
  wtl_pk_storage *s = wtl_pk_alloc(p, sizeof *s);
  if (!s) return WTL_ERR_MEMORY;
  *s = (wtl_pk_storage){ arg[2]->text.s, arg[2]->text.n, arg[1]->global->as, arg[4]->i, 0 };
  int64_t bytes;
  if (__builtin_mul_overflow(s->numel, (int64_t)wtl_dtype_size(s->as.dtype), &bytes))
    return wtl_pk_bad(p, "a storage that is too large");
  WTL_TRY(wtl_pk_new(p, WTL_PK_STORAGE, out));
  (*out)->storage = s;
  return add_storage(p, s);
}

static int by_key(const void *a, const void *b) {
  const wtl_pk_storage *x = *(wtl_pk_storage *const *)a, *y = *(wtl_pk_storage *const *)b;
  size_t n = x->key_bytes < y->key_bytes ? x->key_bytes : y->key_bytes;
  int order = memcmp(x->key, y->key, n);
  return order ? order : (x->key_bytes > y->key_bytes) - (x->key_bytes < y->key_bytes);
}

wtl_status wtl_pk_unify(wtl_pickle *p) {
  int64_t n = 0;
  if (p->n_storages == 0) return WTL_OK;
  qsort(p->storage, (size_t)p->n_storages, sizeof *p->storage, by_key);
  for (int64_t i = 0; i < p->n_storages; i++) {
    wtl_pk_storage *s = p->storage[i], *last = n ? p->storage[n - 1] : NULL;
    if (last && by_key(&last, &s) == 0) {
      if (s->as.dtype != last->as.dtype || s->as.kind != last->as.kind || s->numel != last->numel)
        return wtl_pk_bad(p, "one storage with two types or sizes");
    } else {
      p->storage[n++] = s;
    }
    s->id = n - 1;
  }
  p->n_storages = n;
  return WTL_OK;
}
