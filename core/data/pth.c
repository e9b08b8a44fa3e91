/* What torch.save writes: a zip archive (NAME/data.pkl, NAME/data/KEY, NAME/version) or, before PyTorch 1.6, a stream of
 * pickles with the storages behind them. A tensor that covers its storage is read straight into place, side by side with
 * the others; one that is a window on it is cut out of it. pickle.c reads what the tensors are, pickle_flat.c names them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pickle.h"
#include "tensor.h"
#include "zip.h"

#define AS_PYTORCH "load it with PyTorch and torch.save it again"
#define FREE_BYTES (64 << 20) /* tensors of a file may take this, and 4 times the file */

typedef struct pth {
  wtl_ctx *ctx;
  const char *path;
  wtl_zip zip;                     /* of the legacy form: fd and file_bytes alone */
  unsigned char *bytes;            /* of the pickle */
  wtl_pickle pickle;
  wtl_pk_flat flat;
  const wtl_zip_entry **entry;     /* of each storage; zip form */
  int64_t *at;                     /* likewise, in the file; legacy form */
} pth;

static wtl_status bad(const pth *f, const char *what) {
  return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: pth: %s", f->path, what);
}

/* ---- reading storages ---- */

/* A whole storage, as the elements of t. */
typedef struct whole {
  const wtl_pk_storage *storage;
  const char *name; /* of the first tensor on it */
  wtl_tensor *t;
  atomic_bool nonfinite;
} whole;

static void look(void *arg, const void *bytes, int64_t n) {
  whole *w = arg;
  wtl_dtype d = w->t->dtype;
  if (!atomic_load_explicit(&w->nonfinite, memory_order_relaxed) &&
      !wtl_all_finite(d, bytes, 1, n / (int64_t)wtl_dtype_size(d)))
    atomic_store_explicit(&w->nonfinite, true, memory_order_relaxed);
}

static wtl_status read_from_zip(pth *f, whole *w, int64_t n) {
  wtl_zip_want *want = wtl_calloc(f->ctx, (size_t)n + 1, sizeof *want);
  if (!want) return WTL_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    const wtl_zip_entry *e = f->entry[w[i].storage->id];
    char *end = (char *)wtl_tensor_data(w[i].t) + wtl_tensor_bytes(w[i].t); /* where wtl_expand wants them */
    want[i] = (wtl_zip_want){ .entry = e, .body = end - e->size };
    if (wtl_dtype_is_float(w[i].t->dtype)) want[i].look = look, want[i].arg = &w[i];
  }
  wtl_status s = wtl_zip_read_all(&f->zip, want, n);
  for (int64_t i = 0; s == WTL_OK && i < n; i++) {
    if (!wtl_expand(&w[i].storage->as, wtl_tensor_data(w[i].t), w[i].storage->numel))
      s = wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: pth: %.200s: a truth value that is neither 0 nor 1", f->path,
                   w[i].name);
  }
  wtl_free(f->ctx, want);
  return s;
}

static wtl_status read_from_stream(pth *f, whole *w, int64_t n) {
  wtl_piece *piece = wtl_calloc(f->ctx, (size_t)n + 1, sizeof *piece);
  if (!piece) return WTL_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    piece[i].name = w[i].name;
    piece[i].data = wtl_tensor_data(w[i].t);
    piece[i].n = w[i].storage->numel;
    piece[i].as = w[i].storage->as;
    piece[i].at = f->at[w[i].storage->id];
  }
  wtl_status s = wtl_read_pieces(f->ctx, f->path, f->zip.fd, "pth", piece, n);
  for (int64_t i = 0; s == WTL_OK && i < n; i++) atomic_store(&w[i].nonfinite, atomic_load(&piece[i].nonfinite));
  wtl_free(f->ctx, piece);
  return s;
}

static wtl_status read_whole(pth *f, whole *w, int64_t n) {
  return f->entry ? read_from_zip(f, w, n) : read_from_stream(f, w, n);
}

/* ---- from storages to tensors ---- */

/* Is the tensor all of its storage, in order? */
static bool covers(const wtl_pk_tensor *t) {
  int64_t n = 1;
  if (t->offset != 0 || wtl_shape_numel(&t->shape) != t->storage->numel) return false;
  for (int d = t->shape.ndim - 1; d >= 0; d--) {
    if (t->shape.size[d] != 1 && t->stride[d] != n) return false;
    n *= t->shape.size[d];
  }
  return true;
}

/* A contiguous copy of t's window on its storage's elements. */
static wtl_status cut_out(const wtl_pk_tensor *t, wtl_tensor *storage, wtl_tensor **out) {
  wtl_tensor *view;
  WTL_TRY(wtl_tensor_alias(storage, &view));
  view->data = (char *)wtl_tensor_data(storage) + t->offset * (int64_t)wtl_dtype_size(storage->dtype);
  view->shape = t->shape;
  for (int d = 0; d < t->shape.ndim; d++) view->stride[d] = t->stride[d];
  wtl_status s = wtl_tensor_clone(view, out);
  wtl_tensor_release(view);
  return s;
}

/* Where the tensors of a file are while they are made: lists of those on one storage. */
typedef struct plan {
  wtl_tensor **t;   /* of each item, NULL until it is made */
  bool *finite;
  whole *w;         /* storages that a tensor covers */
  int64_t n_whole;
  int64_t *cover;   /* of each storage: its place in w, or -1 */
  int64_t *first;   /* of each storage: an item that is a window, or -1 */
  int64_t *next;    /* of each item: another such, or -1 */
} plan;

/* What the tensors take, and the storages that are read beside them, in the bounds of what the file can mean. */
static wtl_status check_bytes(const pth *f) {
  int64_t file = f->zip.file_bytes, total = 0, most = (file < INT64_MAX / 16 ? file : INT64_MAX / 16) * 4 + FREE_BYTES;
  for (int64_t i = 0; i < f->flat.n && total <= most; i++) {
    const wtl_pk_tensor *t = f->flat.item[i].tensor;
    int64_t size = (int64_t)wtl_dtype_size(t->storage->as.dtype), bytes = wtl_shape_numel(&t->shape) * size;
    if (wtl_shape_numel(&t->shape) > 0 && !covers(t))
      bytes = bytes > t->storage->numel * size ? bytes : t->storage->numel * size;
    total = bytes > most ? most + 1 : total + bytes;
  }
  if (total <= most) return WTL_OK;
  return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: pth: tensors of more than %" PRId64 " bytes in a file of %" PRId64,
                  f->path, most, f->zip.file_bytes);
}

static wtl_status make_plan(pth *f, plan *p) {
  int64_t n = f->flat.n, storages = f->pickle.n_storages;
  p->t = wtl_calloc(f->ctx, (size_t)n + 1, sizeof *p->t);
  p->finite = wtl_calloc(f->ctx, (size_t)n + 1, sizeof *p->finite);
  p->next = wtl_calloc(f->ctx, (size_t)n + 1, sizeof *p->next);
  p->w = wtl_calloc(f->ctx, (size_t)storages + 1, sizeof *p->w);
  p->cover = wtl_calloc(f->ctx, (size_t)storages + 1, sizeof *p->cover);
  p->first = wtl_calloc(f->ctx, (size_t)storages + 1, sizeof *p->first);
  if (!p->t || !p->finite || !p->next || !p->w || !p->cover || !p->first) return WTL_ERR_MEMORY;
  for (int64_t i = 0; i < storages; i++) p->cover[i] = p->first[i] = -1;
  for (int64_t i = 0; i < n; i++) {
    const wtl_pk_tensor *t = f->flat.item[i].tensor;
    int64_t id = t->storage->id;
    bool none = wtl_shape_numel(&t->shape) == 0, all = !none && p->cover[id] < 0 && covers(t);
    p->finite[i] = true;
    if (none || all) WTL_TRY(wtl_tensor_create(f->ctx, t->storage->as.dtype, &t->shape, &p->t[i]));
    if (all) {
      p->cover[id] = p->n_whole;
      p->w[p->n_whole].storage = t->storage;
      p->w[p->n_whole].name = f->flat.item[i].name;
      p->w[p->n_whole++].t = p->t[i];
    } else if (!none) {
      p->next[i] = p->first[id];
      p->first[id] = i;
    }
  }
  return WTL_OK;
}

/* The windows on storage id, whose elements are in `whole`. */
static wtl_status cut_windows(pth *f, plan *p, int64_t id, wtl_tensor *elements) {
  for (int64_t i = p->first[id]; i >= 0; i = p->next[i]) {
    WTL_TRY(cut_out(f->flat.item[i].tensor, elements, &p->t[i]));
    p->finite[i] = wtl_tensor_all_finite(p->t[i]);
  }
  return WTL_OK;
}

/* A storage that no tensor covers is read for its windows' sake, and given up again. */
static wtl_status read_windows(pth *f, plan *p, int64_t id) {
  const wtl_pk_storage *s = f->pickle.storage[id];
  whole w = { .storage = s, .name = f->flat.item[p->first[id]].name };
  WTL_TRY(wtl_tensor_create(f->ctx, s->as.dtype, &(wtl_shape){ 1, { s->numel } }, &w.t));
  wtl_status st = read_whole(f, &w, 1);
  if (st == WTL_OK) st = cut_windows(f, p, id, w.t);
  wtl_tensor_release(w.t);
  return st;
}

static wtl_status make_tensors(pth *f, plan *p) {
  WTL_TRY(make_plan(f, p));
  WTL_TRY(read_whole(f, p->w, p->n_whole));
  for (int64_t id = 0; id < f->pickle.n_storages; id++) {
    if (p->first[id] < 0) continue;
    WTL_TRY(p->cover[id] >= 0 ? cut_windows(f, p, id, p->w[p->cover[id]].t) : read_windows(f, p, id));
  }
  for (int64_t i = 0; i < f->flat.n; i++) {
    int64_t id = f->flat.item[i].tensor->storage->id;
    if (p->cover[id] >= 0 && p->w[p->cover[id]].t == p->t[i])
      p->finite[i] = !atomic_load(&p->w[p->cover[id]].nonfinite);
  }
  return WTL_OK;
}

static wtl_status fill_dict(pth *f, wtl_dict *d) {
  plan p = { 0 };
  wtl_status s = make_tensors(f, &p);
  for (int64_t i = 0; s == WTL_OK && i < f->flat.n; i++) {
    s = wtl_dict_append(d, f->flat.item[i].name, p.t[i]);
    if (s == WTL_OK) d->item[d->n - 1].finite = p.finite[i];
  }
  for (int64_t i = 0; p.t && i < f->flat.n; i++) wtl_tensor_release(p.t[i]);
  void *all[] = { p.t, p.finite, p.next, p.w, p.cover, p.first };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) wtl_free(f->ctx, all[i]);
  return s;
}

/* ---- the zip form ---- */

#define MAX_NAME 1024

/* The member PREFIX/name of an archive whose members are all called PREFIX/...; NULL if there is none. */
static const wtl_zip_entry *member(const pth *f, const char *name) {
  char full[MAX_NAME];
  const char *first = f->zip.n ? f->zip.entry[0].name : "", *slash = strchr(first, '/');
  int n = slash ? snprintf(full, sizeof full, "%.*s/%s", (int)(slash - first), first, name) : -1;
  return n > 0 && n < MAX_NAME ? wtl_zip_find(&f->zip, full) : NULL;
}

/* A member that is a short line of text, into buf. */
static wtl_status read_line(pth *f, const char *name, char *buf, size_t n, bool *found) {
  const wtl_zip_entry *e = member(f, name);
  *found = e != NULL;
  if (!e) return WTL_OK;
  if (e->size >= (int64_t)n) return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: pth: %s is too long", f->path, name);
  memset(buf, 0, n);
  WTL_TRY(wtl_zip_read(&f->zip, e, buf));
  buf[strcspn(buf, "\n")] = 0;
  return WTL_OK;
}

static wtl_status check_archive(pth *f) {
  char text[16];
  bool found;
  if (member(f, "constants.pkl"))
    return wtl_fail(f->ctx, WTL_ERR_UNSUPPORTED, "%s: pth: a TorchScript program; save model.state_dict() instead",
                    f->path);
  if (!member(f, "data.pkl")) return bad(f, "a zip archive without data.pkl, so not of torch.save");
  WTL_TRY(read_line(f, "version", text, sizeof text, &found));
  if (!found) return bad(f, "no version in the archive");
  long version = strtol(text, NULL, 10);
  if (strspn(text, "0123456789") != strlen(text) || version < 1 || version > 10)
    return wtl_fail(f->ctx, WTL_ERR_UNSUPPORTED, "%s: pth: version \"%s\" of the format; 1 to 10 are known", f->path,
                    text);
  WTL_TRY(read_line(f, "byteorder", text, sizeof text, &found));
  if (found && strcmp(text, "little") != 0)
    return wtl_fail(f->ctx, WTL_ERR_UNSUPPORTED, "%s: pth: byte order \"%s\"; only little is read", f->path, text);
  return WTL_OK;
}

static wtl_status read_archive_pickle(pth *f) {
  const wtl_zip_entry *e = member(f, "data.pkl");
  if (e->size > WTL_PICKLE_MOST)
    return wtl_fail(f->ctx, WTL_ERR_UNSUPPORTED, "%s: pth: data.pkl has %" PRId64 " bytes", f->path, e->size);
  f->bytes = wtl_alloc(f->ctx, (size_t)e->size + 1);
  if (!f->bytes) return WTL_ERR_MEMORY;
  WTL_TRY(wtl_zip_read(&f->zip, e, f->bytes));
  WTL_TRY(wtl_pickle_read(f->ctx, f->path, f->bytes, (size_t)e->size, &f->pickle));
  return f->pickle.used == (size_t)e->size ? WTL_OK : bad(f, "bytes behind the pickle's end");
}

/* The member of each storage that a tensor needs. */
static wtl_status find_members(pth *f) {
  char name[MAX_NAME];
  f->entry = wtl_calloc(f->ctx, (size_t)f->pickle.n_storages + 1, sizeof *f->entry);
  if (!f->entry) return WTL_ERR_MEMORY;
  for (int64_t i = 0; i < f->flat.n; i++) {
    const wtl_pk_storage *s = f->flat.item[i].tensor->storage;
    if (f->entry[s->id] || wtl_shape_numel(&f->flat.item[i].tensor->shape) == 0) continue;
    snprintf(name, sizeof name, "data/%.*s", (int)s->key_bytes, s->key);
    const wtl_zip_entry *e = f->entry[s->id] = member(f, name);
    if (!e)
      return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: pth: %.200s: no member %s in the archive", f->path,
                      f->flat.item[i].name, name);
    if (e->size != s->numel * s->as.size)
      return wtl_fail(f->ctx, WTL_ERR_FORMAT,
                      "%s: pth: %.200s: its storage has %" PRId64 " elements of %d bytes, %s has %" PRId64 " bytes",
                      f->path, f->flat.item[i].name, s->numel, s->as.size, name, e->size);
  }
  return WTL_OK;
}

static wtl_status load_archive(pth *f, wtl_dict *d) {
  WTL_TRY(wtl_zip_open(f->ctx, f->path, &f->zip));
  WTL_TRY(check_archive(f));
  WTL_TRY(read_archive_pickle(f));
  WTL_TRY(wtl_pk_flatten(&f->pickle, &f->flat));
  WTL_TRY(check_bytes(f));
  WTL_TRY(find_members(f));
  return fill_dict(f, d);
}

/* ---- the legacy form: five pickles, then each storage as a count and its elements ---- */

#define FIRST_READ (1 << 20)
static const unsigned char magic[] = { 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19 };
enum { MAGIC, PROTOCOL, SYSTEM, OBJECT, KEYS, PICKLES };

static wtl_status check_pickle(const pth *f, int which, const wtl_pk *v) {
  if (which == MAGIC &&
      !(v->kind == WTL_PK_BIG && v->text.n == sizeof magic && memcmp(v->text.s, magic, sizeof magic) == 0))
    return bad(f, "a pickle, but none of torch.save");
  if (which == PROTOCOL && !(v->kind == WTL_PK_INT && v->i == 1001)) return bad(f, "a protocol other than 1001");
  if (which == KEYS && v->kind != WTL_PK_LIST) return bad(f, "no list of storages behind the pickle");
  if (which != SYSTEM) return WTL_OK;
  for (int64_t i = 0; v->kind == WTL_PK_DICT && i < v->list.n; i += 2) {
    if (!wtl_pk_is(v->list.item[i], "little_endian")) continue;
    if (v->list.item[i + 1]->kind == WTL_PK_BOOL && v->list.item[i + 1]->i) return WTL_OK;
    return wtl_fail(f->ctx, WTL_ERR_UNSUPPORTED, "%s: pth: a big-endian machine wrote it; " AS_PYTORCH " on another",
                    f->path);
  }
  return bad(f, "does not say what machine wrote it");
}

/* The five pickles of the n bytes at f->bytes; the fourth stays in f, the fifth in *keys. */
static wtl_status read_pickles(pth *f, size_t n, wtl_pickle *keys, size_t *used, bool *cut) {
  *used = 0;
  for (int i = 0; i < PICKLES; i++) {
    wtl_pickle other = { 0 }, *p = i == OBJECT ? &f->pickle : i == KEYS ? keys : &other;
    wtl_status s = wtl_pickle_read(f->ctx, f->path, f->bytes + *used, n - *used, p);
    *cut = p->cut;
    *used += p->used;
    if (s == WTL_OK) s = check_pickle(f, i, p->root);
    wtl_pickle_free(&other);
    WTL_TRY(s);
  }
  return WTL_OK;
}

/* How long the pickles are is known when they are read: from more and more bytes, until these are enough. */
static wtl_status read_stream_pickles(pth *f, wtl_pickle *keys, size_t *used) {
  int64_t most = f->zip.file_bytes < WTL_PICKLE_MOST ? f->zip.file_bytes : WTL_PICKLE_MOST;
  for (int64_t n = FIRST_READ;; n *= 8) {
    bool cut = false;
    size_t got;
    if (n > most) n = most;
    f->bytes = wtl_alloc(f->ctx, (size_t)n + 1);
    if (!f->bytes) return WTL_ERR_MEMORY;
    if (lseek(f->zip.fd, 0, SEEK_SET) < 0) return bad(f, "cannot be read from its start");
    WTL_TRY(wtl_read_up_to(f->ctx, f->path, f->zip.fd, f->bytes, (size_t)n, &got));
    wtl_status s = read_pickles(f, got, keys, used, &cut);
    if (s == WTL_OK || !cut || n == most) return s;
    wtl_pickle_free(&f->pickle);
    wtl_pickle_free(keys);
    wtl_free(f->ctx, f->bytes);
    f->bytes = NULL;
  }
}

static const wtl_pk_storage *find_storage(const pth *f, const wtl_pk *key) {
  int64_t low = 0, high = f->pickle.n_storages;
  while (low < high) {
    int64_t mid = low + (high - low) / 2;
    const wtl_pk_storage *s = f->pickle.storage[mid];
    size_t n = s->key_bytes < key->text.n ? s->key_bytes : key->text.n;
    int order = n ? memcmp(key->text.s, s->key, n) : 0;
    if (order == 0) order = (key->text.n > s->key_bytes) - (key->text.n < s->key_bytes);
    if (order == 0) return s;
    if (order < 0) high = mid;
    else low = mid + 1;
  }
  return NULL;
}

/* Where each storage is: they follow one another in the order of the keys, up to the file's end. */
static wtl_status place_storages(pth *f, const wtl_pk *keys, int64_t at) {
  int64_t storages = f->pickle.n_storages, end = f->zip.file_bytes;
  f->at = wtl_calloc(f->ctx, (size_t)storages + 1, sizeof *f->at);
  if (!f->at) return WTL_ERR_MEMORY;
  if (keys->list.n != storages) return bad(f, "the list of storages is not that of the tensors");
  for (int64_t i = 0; i < storages; i++) {
    const wtl_pk *key = keys->list.item[i];
    const wtl_pk_storage *s = key->kind == WTL_PK_STR ? find_storage(f, key) : NULL;
    int64_t count;
    if (!s || f->at[s->id]) return bad(f, "the list of storages is not that of the tensors");
    if (end - at < 8 || (end - at - 8) / s->as.size < s->numel)
      return bad(f, "cut off: a storage lies beyond the file");
    if (pread(f->zip.fd, &count, 8, at) != 8) return bad(f, "became shorter while it was read");
    if (count != s->numel)
      return wtl_fail(f->ctx, WTL_ERR_FORMAT,
                      "%s: pth: a storage of %" PRId64 " elements that the pickle says has %" PRId64, f->path, count,
                      s->numel);
    f->at[s->id] = at + 8;
    at += 8 + s->numel * s->as.size;
  }
  return at == end ? WTL_OK : bad(f, "bytes behind the last storage");
}

static wtl_status load_stream(pth *f, wtl_dict *d) {
  wtl_pickle keys = { 0 };
  size_t used = 0;
  WTL_TRY(wtl_open_regular(f->ctx, f->path, &f->zip.fd, &f->zip.file_bytes));
  f->zip.ctx = f->ctx; /* so that closing closes it */
  wtl_status s = read_stream_pickles(f, &keys, &used);
  if (s == WTL_OK) s = place_storages(f, keys.root, (int64_t)used);
  wtl_pickle_free(&keys);
  if (s == WTL_OK) s = wtl_pk_flatten(&f->pickle, &f->flat);
  if (s == WTL_OK) s = check_bytes(f);
  return s == WTL_OK ? fill_dict(f, d) : s;
}

/* ---- either ---- */

#define HEAD 265

static wtl_status load(pth *f, wtl_dict *d) {
  char head[HEAD];
  int fd;
  int64_t size;
  size_t got;
  WTL_TRY(wtl_open_regular(f->ctx, f->path, &fd, &size));
  wtl_status s = wtl_read_up_to(f->ctx, f->path, fd, head, sizeof head, &got);
  close(fd);
  WTL_TRY(s);
  if (got >= 2 && memcmp(head, "PK", 2) == 0) return load_archive(f, d);
  if (got >= 2 && memcmp(head, "\x80", 1) == 0) return load_stream(f, d);
  if (got == HEAD && memcmp(head + 257, "ustar", 5) == 0)
    return wtl_fail(f->ctx, WTL_ERR_UNSUPPORTED, "%s: pth: the tar form of PyTorch 0.1; " AS_PYTORCH, f->path);
  return bad(f, "neither a zip archive nor a pickle, so not of torch.save");
}

wtl_status wtl_pth_load(wtl_ctx *ctx, const char *path, wtl_dict *out, wtl_meta *meta) {
  pth f = { .ctx = ctx, .path = path, .zip.fd = -1 };
  wtl_dict d;
  wtl_dict_init(&d, ctx);
  wtl_status s = load(&f, &d);
  if (s == WTL_OK) {
    *out = d;
    *meta = f.flat.meta;
    f.flat.meta = (wtl_meta){ 0 };
  } else {
    wtl_dict_free(&d);
  }
  wtl_pk_flat_free(&f.flat);
  wtl_pickle_free(&f.pickle);
  wtl_free(ctx, f.bytes);
  wtl_free(ctx, f.entry);
  wtl_free(ctx, f.at);
  wtl_zip_close(&f.zip);
  return s;
}
