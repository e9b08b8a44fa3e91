/* .npz: a zip archive of .npy files, NAME.npy the array NAME, as numpy.savez and savez_compressed write them. zip.c reads
 * archives; the one that is written here holds stored members, with zip64 (APPNOTE 4.5.3) where a number needs it. */
#include <string.h>
#include <unistd.h>

#include "npy.h"
#include "zip.h"

static bool ends_in_npy(const char *name) {
  size_t n = strlen(name);
  return n >= 4 && strcmp(name + n - 4, ".npy") == 0;
}

static bool all_npy(const wtl_zip *z) {
  for (int64_t i = 0; i < z->n; i++) {
    if (!ends_in_npy(z->entry[i].name)) return false;
  }
  return true;
}

wtl_status wtl_npz_is(wtl_ctx *ctx, const char *path, bool *out) {
  wtl_zip z = { 0 };
  WTL_TRY(wtl_zip_open(ctx, path, &z));
  *out = all_npy(&z);
  wtl_zip_close(&z);
  return WTL_OK;
}

/* ---- loading ---- */

typedef struct member {
  wtl_npy npy;
  char *head;     /* the header, and room for the rest of the prefix */
  wtl_tensor *t;
} member;

static wtl_status read_header(const wtl_npy_place *at, wtl_zip *z, const wtl_zip_entry *e, member *m) {
  unsigned char prefix[WTL_NPY_PREFIX];
  size_t n = e->size < WTL_NPY_PREFIX ? (size_t)e->size : WTL_NPY_PREFIX;
  int64_t header;
  WTL_TRY(wtl_zip_peek(z, e, prefix, n));
  WTL_TRY(wtl_npy_header_bytes(at, prefix, n, e->size, &header));
  m->head = wtl_alloc(z->ctx, (size_t)header);
  if (!m->head) return WTL_ERR_MEMORY;
  WTL_TRY(wtl_zip_peek(z, e, m->head, (size_t)header));
  return wtl_npy_parse(at, m->head, header, e->size, &m->npy);
}

/* The bytes go to where wtl_expand wants them. */
static wtl_status make_room(wtl_zip *z, const wtl_zip_entry *e, member *m, wtl_zip_want *want) {
  char shown[WTL_SHOWN];
  const wtl_npy_place at = { z->ctx, z->path, wtl_shown(e->name, shown) };
  WTL_TRY(read_header(&at, z, e, m));
  WTL_TRY(wtl_npy_tensor(z->ctx, &m->npy, &m->t));
  int64_t wider = (int64_t)wtl_tensor_bytes(m->t) - wtl_tensor_numel(m->t) * m->npy.as.size;
  *want = (wtl_zip_want){ .entry = e, .head = m->head, .head_bytes = m->npy.header };
  want->body = (char *)wtl_tensor_data(m->t) + wider;
  return WTL_OK;
}

static wtl_status finish(wtl_zip *z, const wtl_zip_entry *e, member *m, wtl_dict *d) {
  wtl_tensor *t = NULL;
  char shown[WTL_SHOWN];
  if (!wtl_expand(&m->npy.as, wtl_tensor_data(m->t), wtl_tensor_numel(m->t)))
    return wtl_fail(z->ctx, WTL_ERR_FORMAT, "%s: %s: npy: a truth value that is neither 0 nor 1", z->path,
                    wtl_shown(e->name, shown));
  wtl_tensor *raw = m->t;
  m->t = NULL;
  WTL_TRY(wtl_npy_finish(&m->npy, raw, &t));
  char *name = wtl_strdup(z->ctx, e->name);
  wtl_status s = name ? WTL_OK : WTL_ERR_MEMORY;
  if (s == WTL_OK) {
    name[strlen(name) - 4] = 0;
    s = wtl_dict_append(d, name, t);
  }
  if (s == WTL_OK) d->item[d->n - 1].finite = wtl_tensor_all_finite(t);
  wtl_free(z->ctx, name);
  wtl_tensor_release(t);
  return s;
}

static wtl_status read_members(wtl_zip *z, member *m, wtl_zip_want *want, wtl_dict *d) {
  for (int64_t i = 0; i < z->n; i++) WTL_TRY(make_room(z, &z->entry[i], &m[i], &want[i]));
  WTL_TRY(wtl_zip_read_all(z, want, z->n));
  for (int64_t i = 0; i < z->n; i++) WTL_TRY(finish(z, &z->entry[i], &m[i], d));
  return WTL_OK;
}

static wtl_status load(wtl_zip *z, wtl_dict *d) {
  if (!all_npy(z))
    return wtl_fail(z->ctx, WTL_ERR_FORMAT, "%s: npz: a member whose name does not end in .npy", z->path);
  member *m = wtl_calloc(z->ctx, (size_t)z->n + 1, sizeof *m);
  wtl_zip_want *want = wtl_calloc(z->ctx, (size_t)z->n + 1, sizeof *want);
  wtl_status s = m && want ? read_members(z, m, want, d) : WTL_ERR_MEMORY;
  for (int64_t i = 0; m && i < z->n; i++) {
    wtl_free(z->ctx, m[i].head);
    wtl_tensor_release(m[i].t);
  }
  wtl_free(z->ctx, m);
  wtl_free(z->ctx, want);
  return s;
}

wtl_status wtl_npz_load(wtl_ctx *ctx, const char *path, wtl_dict *out) {
  wtl_zip z = { 0 };
  wtl_dict d;
  wtl_dict_init(&d, ctx);
  WTL_TRY(wtl_zip_open(ctx, path, &z));
  wtl_status s = load(&z, &d);
  wtl_zip_close(&z);
  if (s == WTL_OK) *out = d;
  else wtl_dict_free(&d);
  return s;
}

/* ---- saving ---- */

#define MAX16 0xffffu
#define MAX32 0xffffffffu
#define UTF8 (1u << 11)  /* flag: the name is UTF-8 */
#define DATE 0x21u       /* 1980-01-01: what is written depends on the tensors alone */
#define UNIX 3u
#define MODE 0600u       /* of the file, where somebody unpacks it */

typedef struct record { unsigned char b[64]; size_t n; } record;

static void put(record *r, uint64_t v, int bytes) {
  for (int i = 0; i < bytes; i++) r->b[r->n++] = (unsigned char)(v >> (8 * i));
}

/* A member as it will stand in the file. */
typedef struct placed { char *name; wtl_npy_head head; uint32_t crc; uint64_t size, at; } placed;

static bool big(uint64_t v) { return v >= MAX32; }

/* Version needed, flags, method, time, date, checksum: the same in both headers. */
static void put_common(record *r, const placed *p, bool zip64) {
  bool ascii = true;
  for (const char *c = p->name; *c; c++) ascii = ascii && (unsigned char)*c < 0x80;
  put(r, zip64 ? 45 : 20, 2);
  put(r, ascii ? 0 : UTF8, 2);
  put(r, WTL_ZIP_STORED, 2);
  put(r, 0, 2);
  put(r, DATE, 2);
  put(r, p->crc, 4);
}

static wtl_status put_local(wtl_writer *w, const placed *p) {
  record r = { .n = 0 };
  bool zip64 = big(p->size);
  put(&r, 0x04034b50, 4);
  put_common(&r, p, zip64);
  put(&r, zip64 ? MAX32 : p->size, 4);
  put(&r, zip64 ? MAX32 : p->size, 4);
  put(&r, strlen(p->name), 2);
  put(&r, zip64 ? 20 : 0, 2);
  WTL_TRY(wtl_writer_put(w, r.b, r.n));
  WTL_TRY(wtl_writer_put(w, p->name, strlen(p->name)));
  r.n = 0;
  if (!zip64) return WTL_OK;
  put(&r, 1, 2);
  put(&r, 16, 2);
  put(&r, p->size, 8);
  put(&r, p->size, 8);
  return wtl_writer_put(w, r.b, r.n);
}

static wtl_status put_central(wtl_writer *w, const placed *p, uint64_t *bytes) {
  record r = { .n = 0 };
  bool wide = big(p->size), far = big(p->at);
  unsigned extra = (wide ? 16u : 0) + (far ? 8u : 0);
  put(&r, 0x02014b50, 4);
  put(&r, UNIX << 8 | (extra ? 45u : 20u), 2);
  put_common(&r, p, extra > 0);
  put(&r, wide ? MAX32 : p->size, 4);
  put(&r, wide ? MAX32 : p->size, 4);
  put(&r, strlen(p->name), 2);
  put(&r, extra ? extra + 4 : 0, 2);
  put(&r, 0, 2); /* comment, disk, inside */
  put(&r, 0, 2);
  put(&r, 0, 2);
  put(&r, MODE << 16, 4);
  put(&r, far ? MAX32 : p->at, 4);
  *bytes += r.n + strlen(p->name) + (extra ? extra + 4 : 0);
  WTL_TRY(wtl_writer_put(w, r.b, r.n));
  WTL_TRY(wtl_writer_put(w, p->name, strlen(p->name)));
  r.n = 0;
  if (!extra) return WTL_OK;
  put(&r, 1, 2);
  put(&r, extra, 2);
  if (wide) put(&r, p->size, 8), put(&r, p->size, 8);
  if (far) put(&r, p->at, 8);
  return wtl_writer_put(w, r.b, r.n);
}

static wtl_status put_end(wtl_writer *w, uint64_t n, uint64_t at, uint64_t bytes) {
  record r = { .n = 0 };
  if (n >= MAX16 || big(at) || big(bytes)) {
    put(&r, 0x06064b50, 4);
    put(&r, 44, 8);
    put(&r, UNIX << 8 | 45u, 2);
    put(&r, 45, 2);
    put(&r, 0, 8); /* disks */
    put(&r, n, 8);
    put(&r, n, 8);
    put(&r, bytes, 8);
    put(&r, at, 8);
    WTL_TRY(wtl_writer_put(w, r.b, r.n));
    r.n = 0;
    put(&r, 0x07064b50, 4);
    put(&r, 0, 4);
    put(&r, at + bytes, 8);
    put(&r, 1, 4);
    WTL_TRY(wtl_writer_put(w, r.b, r.n));
    r.n = 0;
  }
  put(&r, 0x06054b50, 4);
  put(&r, 0, 4); /* disks */
  put(&r, n >= MAX16 ? MAX16 : n, 2);
  put(&r, n >= MAX16 ? MAX16 : n, 2);
  put(&r, big(bytes) ? MAX32 : bytes, 4);
  put(&r, big(at) ? MAX32 : at, 4);
  put(&r, 0, 2); /* comment */
  return wtl_writer_put(w, r.b, r.n);
}

/* Name, header and checksum: the checksum stands before the bytes. */
static wtl_status place(const wtl_npy_place *at, const wtl_named *item, wtl_tensor *plain, placed *p) {
  size_t n = strlen(item->name);
  if (n > MAX16 - 4) return wtl_fail(at->ctx, WTL_ERR_ARG, "%s: npz: a name of %zu bytes", at->path, n);
  if (!wtl_is_utf8(item->name)) return wtl_fail(at->ctx, WTL_ERR_ARG, "%s: npz: \"%.200s\" is no UTF-8", at->path, item->name);
  p->name = wtl_alloc(at->ctx, n + 5);
  if (!p->name) return WTL_ERR_MEMORY;
  memcpy(p->name, item->name, n);
  memcpy(p->name + n, ".npy", 5);
  WTL_TRY(wtl_npy_head_of(at, plain, &p->head));
  p->crc = (uint32_t)crc32_z(0, (const unsigned char *)p->head.b, p->head.n);
  p->crc = (uint32_t)crc32_z(p->crc, wtl_tensor_cdata(plain), wtl_tensor_bytes(plain));
  p->size = p->head.n + wtl_tensor_bytes(plain);
  return WTL_OK;
}

static wtl_status put_member(wtl_writer *w, const wtl_named *item, placed *p) {
  const wtl_npy_place at = { w->ctx, w->path, item->name };
  wtl_tensor *plain;
  WTL_TRY(wtl_tensor_as_contiguous(item->tensor, &plain));
  wtl_status s = place(&at, item, plain, p);
  if (s == WTL_OK) s = put_local(w, p);
  if (s == WTL_OK) s = wtl_writer_put(w, p->head.b, p->head.n);
  if (s == WTL_OK) s = wtl_writer_put(w, wtl_tensor_cdata(plain), wtl_tensor_bytes(plain));
  wtl_tensor_release(plain);
  return s;
}

static wtl_status put_all(wtl_writer *w, const wtl_dict *d, placed *p) {
  uint64_t at = 0, bytes = 0;
  for (int64_t i = 0; i < d->n; i++) {
    p[i].at = at;
    WTL_TRY(put_member(w, &d->item[i], &p[i]));
    at += 30 + strlen(p[i].name) + (big(p[i].size) ? 20 : 0) + p[i].size;
  }
  for (int64_t i = 0; i < d->n; i++) WTL_TRY(put_central(w, &p[i], &bytes));
  return put_end(w, (uint64_t)d->n, at, bytes);
}

wtl_status wtl_npz_save(wtl_ctx *ctx, const char *path, const wtl_dict *d) {
  wtl_writer w = { 0 };
  placed *p = wtl_calloc(ctx, (size_t)d->n + 1, sizeof *p);
  if (!p) return WTL_ERR_MEMORY;
  wtl_status s = wtl_writer_open(ctx, path, &w);
  if (s == WTL_OK) s = put_all(&w, d, p);
  if (s == WTL_OK) s = wtl_writer_commit(&w);
  wtl_writer_abort(&w);
  for (int64_t i = 0; i < d->n; i++) wtl_free(ctx, p[i].name);
  wtl_free(ctx, p);
  return s;
}
