/* From the values of a checkpoint to names: which of its entries are the weights, what they are called, and what else it
 * says about itself. Shared values are walked each time they are met, under a bound; cycles are refused. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pickle.h"

#define MAX_VISITS 1000000
#define MAX_NAMES (64 << 20) /* bytes of all names and texts */
#define MAX_DEPTH 64
#define MAX_TEXT 1000        /* bytes of one */

typedef struct walk {
  wtl_pickle *p;
  wtl_pk_flat *out; /* NULL: tensors and others are only counted */
  int64_t visits, names, tensors, others;
  int depth;
  char name[MAX_TEXT + 1];
} walk;

/* Where checkpoints keep the weights; the first that is a dict with a tensor in it. */
static const char *const weights[] = { "state_dict", "model", "model_state_dict", "model_ema" };

static wtl_status bad(const walk *w, const char *what) {
  return wtl_fail(w->p->ctx, WTL_ERR_FORMAT, "%s: %.80s%s%s", w->p->path, w->name, *w->name ? ": " : "", what);
}

/* ---- what comes out ---- */

static wtl_status charge(walk *w, size_t bytes) {
  w->names += (int64_t)bytes;
  return w->names <= MAX_NAMES ? WTL_OK : bad(w, "the names take too much memory");
}

static wtl_status add_tensor(walk *w, const wtl_pk_tensor *t) {
  wtl_pk_flat *f = w->out;
  WTL_TRY(charge(w, strlen(w->name)));
  if (!t->storage) return bad(w, "a tensor without its state");
  if (f->n == f->cap) {
    int64_t cap = f->cap ? 2 * f->cap : 64;
    wtl_pk_item *item = wtl_realloc(f->ctx, f->item, (size_t)f->cap * sizeof *item, (size_t)cap * sizeof *item);
    if (!item) return WTL_ERR_MEMORY;
    f->item = item;
    f->cap = cap;
  }
  char *name = wtl_strdup(f->ctx, *w->name ? w->name : "data");
  if (!name) return WTL_ERR_MEMORY;
  f->item[f->n++] = (wtl_pk_item){ name, t };
  return WTL_OK;
}

static wtl_status add_meta(walk *w, const char *key, const char *value) {
  wtl_pk_flat *f = w->out;
  wtl_meta *m = &f->meta;
  WTL_TRY(charge(w, strlen(key) + strlen(value)));
  if (m->n == f->meta_cap) {
    int64_t cap = f->meta_cap ? 2 * f->meta_cap : 16;
    size_t pair = 2 * sizeof *m->s;
    char **s = wtl_realloc(f->ctx, m->s, m->s ? (size_t)m->n * pair + sizeof *s : 0, (size_t)cap * pair + sizeof *s);
    if (!s) return WTL_ERR_MEMORY;
    m->s = s; /* with room for the NULL at the end */
    f->meta_cap = cap;
  }
  char *k = wtl_strdup(f->ctx, key), *v = wtl_strdup(f->ctx, value);
  if (!k || !v) {
    wtl_free(f->ctx, k);
    wtl_free(f->ctx, v);
    return WTL_ERR_MEMORY;
  }
  m->s[2 * m->n] = k;
  m->s[2 * m->n++ + 1] = v;
  return WTL_OK;
}

/* ---- values as text, as Python prints them ---- */

/* The shortest that reads back as the same number. */
static void real_text(double f, char *buf, size_t n) {
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(buf, n, "%.*g", digits, f);
    if (strtod(buf, NULL) == f) return;
  }
}

static void big_text(const wtl_pk *v, char *buf, size_t n) {
  size_t at = (size_t)snprintf(buf, n, "0x");
  for (size_t i = v->text.n; i > 0 && at + 3 < n; i--)
    at += (size_t)snprintf(buf + at, n - at, "%02x", (unsigned char)v->text.s[i - 1]);
}

static bool is_plain(const wtl_pk *v) { return v->text.n <= MAX_TEXT && !memchr(v->text.s, 0, v->text.n); }

static void value_text(const wtl_pk *v, char *buf, size_t n) {
  static const char *const kinds[] = {
    [WTL_PK_TUPLE] = "()",       [WTL_PK_LIST] = "[]",           [WTL_PK_DICT] = "{}",
    [WTL_PK_GLOBAL] = "a class", [WTL_PK_STORAGE] = "a storage", [WTL_PK_TENSOR] = ""
  };
  switch (v->kind) {
  case WTL_PK_NONE: snprintf(buf, n, "None"); break;
  case WTL_PK_BOOL: snprintf(buf, n, v->i ? "True" : "False"); break;
  case WTL_PK_INT: snprintf(buf, n, "%" PRId64, v->i); break;
  case WTL_PK_BIG: big_text(v, buf, n); break;
  case WTL_PK_REAL: real_text(v->f, buf, n); break;
  case WTL_PK_STR:
    if (is_plain(v)) snprintf(buf, n, "%.*s", (int)v->text.n, v->text.n ? v->text.s : "");
    else snprintf(buf, n, "text of %zu bytes", v->text.n);
    break;
  case WTL_PK_BYTES: snprintf(buf, n, "%zu bytes", v->text.n); break;
  default: snprintf(buf, n, "%s", kinds[v->kind]); break;
  }
}

/* ---- walking ---- */

/* Puts ".key" behind the first n bytes of the name; *end is where it ends. */
static wtl_status add_key(walk *w, size_t n, const wtl_pk *key, int64_t position, size_t *end) {
  char number[24];
  wtl_pk k = { .kind = WTL_PK_STR };
  if (key && key->kind != WTL_PK_STR && key->kind != WTL_PK_INT)
    return wtl_fail(w->p->ctx, WTL_ERR_UNSUPPORTED, "%s: %.200s: a dict's key that is neither text nor an integer",
                    w->p->path, n ? w->name : "it");
  if (key && key->kind == WTL_PK_STR) {
    k = *key;
  } else {
    snprintf(number, sizeof number, "%" PRId64, key ? key->i : position);
    k.text.s = number;
    k.text.n = strlen(number);
  }
  size_t dot = n > 0;
  if (!is_plain(&k) || n + dot + k.text.n > MAX_TEXT) return bad(w, "a name that is too long or holds a zero byte");
  if (dot) w->name[n] = '.';
  if (k.text.n) memcpy(w->name + n + dot, k.text.s, k.text.n);
  *end = n + dot + k.text.n;
  w->name[*end] = 0;
  return WTL_OK;
}

static wtl_status visit(walk *w, wtl_pk *v);

static wtl_status visit_items(walk *w, wtl_pk *v) {
  size_t n = strlen(w->name), end;
  bool dict = v->kind == WTL_PK_DICT;
  for (int64_t i = 0; i < v->list.n; i += 1 + dict) {
    if (w->out) WTL_TRY(add_key(w, n, dict ? v->list.item[i] : NULL, i, &end));
    WTL_TRY(visit(w, v->list.item[i + dict]));
    w->name[n] = 0;
  }
  return WTL_OK;
}

static bool has_items(const wtl_pk *v) {
  return (v->kind == WTL_PK_TUPLE || v->kind == WTL_PK_LIST || v->kind == WTL_PK_DICT) && v->list.n > 0;
}

static wtl_status visit(walk *w, wtl_pk *v) {
  char text[MAX_TEXT + 1];
  if (++w->visits > MAX_VISITS) return bad(w, "more than a million values, shared ones counted each time");
  if (v->kind == WTL_PK_TENSOR) {
    w->tensors++;
    return w->out ? add_tensor(w, v->tensor) : WTL_OK;
  }
  if (!has_items(v)) {
    w->others++;
    if (!w->out) return WTL_OK;
    value_text(v, text, sizeof text);
    return add_meta(w, w->name, text);
  }
  if (v->busy) return bad(w, "holds itself");
  if (w->depth == MAX_DEPTH) return bad(w, "nested too deep");
  v->busy = true;
  w->depth++;
  wtl_status s = visit_items(w, v);
  w->depth--;
  v->busy = false;
  return s;
}

/* ---- checkpoints ---- */

/* How many tensors and other values there are in v. */
static wtl_status count(walk *w, wtl_pk *v, int64_t *tensors, int64_t *others) {
  wtl_pk_flat *out = w->out;
  int64_t t = w->tensors, o = w->others;
  w->out = NULL;
  wtl_status s = visit(w, v);
  w->out = out;
  *tensors = w->tensors - t;
  *others = w->others - o;
  return s;
}

/* The value of a key in a dict; NULL without. One that is there twice would be a matter of who reads it. */
static wtl_status look_up(walk *w, const wtl_pk *dict, const char *key, wtl_pk **out) {
  *out = NULL;
  for (int64_t i = 0; i < dict->list.n; i += 2) {
    if (!wtl_pk_is(dict->list.item[i], key)) continue;
    if (*out) return wtl_fail(w->p->ctx, WTL_ERR_FORMAT, "%s: \"%s\" is there twice", w->p->path, key);
    *out = dict->list.item[i + 1];
  }
  return WTL_OK;
}

static wtl_status find_weights(walk *w, const wtl_pk *root, const char **from, wtl_pk **out) {
  *from = NULL;
  for (size_t i = 0; root->kind == WTL_PK_DICT && i < sizeof weights / sizeof *weights; i++) {
    wtl_pk *v = NULL;
    int64_t tensors = 0, others;
    WTL_TRY(look_up(w, root, weights[i], &v));
    if (v && v->kind == WTL_PK_DICT) WTL_TRY(count(w, v, &tensors, &others));
    if (tensors == 0) continue;
    *from = weights[i];
    *out = v;
    break;
  }
  return WTL_OK;
}

/* A checkpoint's entries beside the weights, each one line of metadata. */
static wtl_status describe_others(walk *w, const wtl_pk *root, const wtl_pk *chosen) {
  char text[MAX_TEXT + 1];
  size_t end;
  for (int64_t i = 0; i < root->list.n; i += 2) {
    wtl_pk *v = root->list.item[i + 1];
    int64_t tensors, others;
    if (v == chosen) continue;
    WTL_TRY(add_key(w, 0, root->list.item[i], 0, &end));
    if (strcmp(w->name, "from") == 0) strcpy(w->name, "_from");
    WTL_TRY(count(w, v, &tensors, &others));
    if (!has_items(v) && tensors == 0) value_text(v, text, sizeof text);
    else snprintf(text, sizeof text, "not loaded: tensors %" PRId64 ", other values %" PRId64, tensors, others);
    WTL_TRY(add_meta(w, w->name, text));
    *w->name = 0;
  }
  return WTL_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* n names that lie `step` bytes apart. */
static wtl_status check_names(const walk *w, const char *first, size_t step, int64_t n) {
  const char **name = wtl_calloc(w->p->ctx, (size_t)n + 1, sizeof *name);
  wtl_status s = WTL_OK;
  if (!name) return WTL_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) memcpy(&name[i], first + (size_t)i * step, sizeof *name);
  qsort(name, (size_t)n, sizeof *name, by_text);
  for (int64_t i = 1; i < n && s == WTL_OK; i++) {
    if (strcmp(name[i - 1], name[i]) == 0)
      s = wtl_fail(w->p->ctx, WTL_ERR_FORMAT, "%s: two values are called \"%.200s\"", w->p->path, name[i]);
  }
  wtl_free(w->p->ctx, name);
  return s;
}

static wtl_status flatten(walk *w, wtl_pk *root) {
  const char *from = NULL;
  wtl_pk *chosen = NULL;
  if (root->kind != WTL_PK_TENSOR && root->kind != WTL_PK_DICT && root->kind != WTL_PK_LIST &&
      root->kind != WTL_PK_TUPLE)
    return bad(w, "holds no tensor, dict or list");
  WTL_TRY(find_weights(w, root, &from, &chosen));
  if (from) {
    WTL_TRY(add_meta(w, "from", from));
    WTL_TRY(describe_others(w, root, chosen));
    WTL_TRY(visit(w, chosen));
  } else if (root->kind == WTL_PK_TENSOR || root->list.n) {
    WTL_TRY(visit(w, root));
  }
  WTL_TRY(check_names(w, (const char *)w->out->item, sizeof *w->out->item, w->out->n));
  return check_names(w, (const char *)w->out->meta.s, 2 * sizeof *w->out->meta.s, w->out->meta.n);
}

wtl_status wtl_pk_flatten(wtl_pickle *p, wtl_pk_flat *out) {
  *out = (wtl_pk_flat){ .ctx = p->ctx, .meta.ctx = p->ctx };
  walk *w = wtl_alloc(p->ctx, sizeof *w);
  if (!w) return WTL_ERR_MEMORY;
  w->p = p;
  w->out = out;
  wtl_status s = flatten(w, p->root);
  if (s == WTL_OK && !out->meta.s) { /* its end is a NULL that must be there */
    out->meta.s = wtl_calloc(p->ctx, 1, sizeof *out->meta.s);
    if (!out->meta.s) s = WTL_ERR_MEMORY;
  }
  wtl_free(p->ctx, w);
  return s;
}

void wtl_pk_flat_free(wtl_pk_flat *f) {
  if (!f->ctx) return;
  for (int64_t i = 0; i < f->n; i++) wtl_free(f->ctx, f->item[i].name);
  wtl_free(f->ctx, f->item);
  wtl_meta_free(&f->meta);
  *f = (wtl_pk_flat){ 0 };
}
