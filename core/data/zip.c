/* Zip archives (APPNOTE 6.3), read strictly: the directory at the end is checked against the headers before each member
 * when the archive is opened, so that nothing that reads members later meets a surprise but a wrong checksum. Nothing is
 * ever written to a member's name. Who uses it: pth.c and npz.c. */
#include "zip.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_DIRECTORY (256 << 20)
#define END_BYTES 22     /* the end record, without its comment */
#define LOCATOR_BYTES 20 /* of the zip64 end record */
#define END64_BYTES 56
#define CENTRAL_BYTES 46 /* without name, extra field and comment */
#define LOCAL_BYTES 30   /* without name and extra field */
#define MAX32 0xffffffffu
#define MAX16 0xffffu
#define PACKS_AT_MOST 1032 /* deflate's best ratio */

static uint64_t get(const unsigned char *p, int bytes) {
  uint64_t v = 0;
  for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
  return v;
}
static unsigned get16(const unsigned char *p) { return (unsigned)get(p, 2); }
static uint32_t get32(const unsigned char *p) { return (uint32_t)get(p, 4); }
static bool is_record(const unsigned char *p, char a, char b) {
  return p[0] == 'P' && p[1] == 'K' && p[2] == a && p[3] == b;
}

static wtl_status bad(const wtl_zip *z, const char *name, const char *what) {
  return wtl_fail(z->ctx, WTL_ERR_FORMAT, "%s: zip: %.100s%s%s", z->path, name ? name : "", name ? ": " : "", what);
}

/* n bytes from `at` on, all of them. */
static wtl_status read_at(const wtl_zip *z, int64_t at, void *buf, size_t n) {
  int code = wtl_read_at(z->fd, buf, n, at);
  if (code == WTL_TOO_SHORT) return bad(z, NULL, "became shorter while it was read");
  return code == 0 ? WTL_OK : wtl_fail_io(z->ctx, z->path, "cannot be read", code);
}

/* ---- the end of the file: where the directory is ---- */

typedef struct directory {
  int64_t at, bytes, n;
} directory;

/* The end record is the last 22 bytes and a comment of at most 65535; the comment reaches the end of the file. */
static wtl_status find_end(const wtl_zip *z, unsigned char end[END_BYTES], int64_t *at) {
  int64_t n = z->file_bytes < END_BYTES + (int64_t)MAX16 ? z->file_bytes : END_BYTES + (int64_t)MAX16;
  if (n < END_BYTES) return bad(z, NULL, "shorter than an archive's end record");
  unsigned char *tail = wtl_alloc(z->ctx, (size_t)n);
  if (!tail) return WTL_ERR_MEMORY;
  wtl_status s = read_at(z, z->file_bytes - n, tail, (size_t)n);
  int64_t i = n - END_BYTES;
  while (i >= 0 && !(is_record(tail + i, 5, 6) && i + END_BYTES + (int64_t)get16(tail + i + 20) == n)) i--;
  if (s == WTL_OK && i < 0) s = bad(z, NULL, "no end record: not an archive, or cut off");
  if (s == WTL_OK) {
    memcpy(end, tail + i, END_BYTES);
    *at = z->file_bytes - n + i;
  }
  wtl_free(z->ctx, tail);
  return s;
}

/* A figure of the end record against the same one of the zip64 record, which replaces it where it is all ones. */
static bool agrees(uint64_t small, uint64_t most, uint64_t large) { return small == most || small == large; }

/* Before the end record at *at there may be a locator, and before that the zip64 record; *at moves to that. */
static wtl_status read_end64(const wtl_zip *z, const unsigned char *end, directory *d, int64_t *at) {
  unsigned char locator[LOCATOR_BYTES], r[END64_BYTES];
  if (*at < LOCATOR_BYTES + END64_BYTES) return WTL_OK;
  WTL_TRY(read_at(z, *at - LOCATOR_BYTES, locator, LOCATOR_BYTES));
  if (!is_record(locator, 6, 7)) return WTL_OK;
  uint64_t where = get(locator + 8, 8);
  if (get32(locator + 4) != 0 || get32(locator + 16) > 1) return bad(z, NULL, "spans several disks");
  if (where != (uint64_t)(*at - LOCATOR_BYTES - END64_BYTES))
    return bad(z, NULL, "the zip64 end record is not before its locator");
  WTL_TRY(read_at(z, (int64_t)where, r, END64_BYTES));
  if (!is_record(r, 6, 6) || get(r + 4, 8) != END64_BYTES - 12)
    return bad(z, NULL, "the zip64 end record is damaged");
  uint64_t n = get(r + 32, 8), bytes = get(r + 40, 8), begin = get(r + 48, 8);
  if (get32(r + 16) != 0 || get32(r + 20) != 0) return bad(z, NULL, "spans several disks");
  if (get(r + 24, 8) != n || !agrees(get16(end + 10), MAX16, n) || !agrees(get32(end + 12), MAX32, bytes) ||
      !agrees(get32(end + 16), MAX32, begin))
    return bad(z, NULL, "the two end records differ");
  if (n > INT64_MAX || bytes > INT64_MAX || begin > INT64_MAX)
    return bad(z, NULL, "the zip64 end record is damaged");
  *d = (directory){ (int64_t)begin, (int64_t)bytes, (int64_t)n };
  *at = (int64_t)where;
  return WTL_OK;
}

static wtl_status find_directory(const wtl_zip *z, directory *d) {
  unsigned char end[END_BYTES];
  int64_t at = 0;
  WTL_TRY(find_end(z, end, &at));
  if (get16(end + 4) != 0 || get16(end + 6) != 0 || get16(end + 8) != get16(end + 10))
    return bad(z, NULL, "spans several disks");
  *d = (directory){ get32(end + 16), get32(end + 12), get16(end + 10) };
  WTL_TRY(read_end64(z, end, d, &at));
  if (d->bytes > at || d->at != at - d->bytes)
    return bad(z, NULL, "the directory is not right before the end record");
  if (d->bytes > MAX_DIRECTORY)
    return wtl_fail(z->ctx, WTL_ERR_UNSUPPORTED, "%s: zip: a directory of %lld bytes", z->path,
                    (long long)d->bytes);
  if (d->n > d->bytes / CENTRAL_BYTES) return bad(z, NULL, "the directory is too short for its entries");
  return WTL_OK;
}

/* ---- the directory ---- */

typedef struct sizes {
  uint64_t size, packed, header;
} sizes;

/* The extra field: blocks of id, length, bytes. The zip64 one holds, in this order, what is all ones elsewhere. */
static wtl_status read_extra(const wtl_zip *z, const char *name, const unsigned char *p, size_t n, sizes *s) {
  uint64_t *of[3] = { &s->size, &s->packed, &s->header };
  bool found = false;
  for (size_t at = 0; at < n;) {
    if (n - at < 4 || n - at - 4 < get16(p + at + 2)) return bad(z, name, "the extra field is damaged");
    size_t length = get16(p + at + 2), used = at + 4;
    if (get16(p + at) == 1) {
      if (found) return bad(z, name, "two zip64 fields");
      found = true;
      for (int i = 0; i < 3; i++) {
        if (*of[i] != MAX32) continue;
        if (used + 8 > at + 4 + length) return bad(z, name, "the zip64 field is too short");
        *of[i] = get(p + used, 8);
        used += 8;
      }
    }
    at += 4 + length;
  }
  if (!found && (s->size == MAX32 || s->packed == MAX32 || s->header == MAX32))
    return bad(z, name, "a zip64 field is missing");
  return WTL_OK;
}

static wtl_status check_flags(const wtl_zip *z, const char *name, unsigned flags, unsigned method) {
  if (flags & (1 | 1 << 6 | 1 << 13))
    return wtl_fail(z->ctx, WTL_ERR_UNSUPPORTED, "%s: zip: %.100s: is encrypted", z->path, name);
  if (flags & 1 << 5) return wtl_fail(z->ctx, WTL_ERR_UNSUPPORTED, "%s: zip: %.100s: is a patch", z->path, name);
  if (method != WTL_ZIP_STORED && method != WTL_ZIP_DEFLATED)
    return wtl_fail(z->ctx, WTL_ERR_UNSUPPORTED,
                    "%s: zip: %.100s: packed by method %u; only stored and deflated are read", z->path, name,
                    method);
  return WTL_OK;
}

/* Sizes that the file can hold, and that the method can give. */
static wtl_status check_sizes(const wtl_zip *z, const wtl_zip_entry *e, const sizes *s, int64_t data_end) {
  if (s->header > (uint64_t)data_end || s->packed > (uint64_t)data_end)
    return bad(z, e->name, "lies beyond the file");
  if (e->method == WTL_ZIP_STORED ? s->size != s->packed : s->size / PACKS_AT_MOST > s->packed)
    return wtl_fail(z->ctx, WTL_ERR_FORMAT, "%s: zip: %.100s: %llu bytes cannot come from %llu", z->path, e->name,
                    (unsigned long long)s->size, (unsigned long long)s->packed);
  return WTL_OK;
}

/* The header before a member, against what the directory says. *begin, *end: the bytes that header and member take. */
static wtl_status check_local(const wtl_zip *z, wtl_zip_entry *e, unsigned flags, int64_t header, int64_t data_end,
                              int64_t *end) {
  size_t name_bytes = strlen(e->name);
  unsigned char h[LOCAL_BYTES], fixed[512], *more = fixed;
  if (data_end - header < LOCAL_BYTES) return bad(z, e->name, "lies beyond the file");
  WTL_TRY(read_at(z, header, h, LOCAL_BYTES));
  if (!is_record(h, 3, 4)) return bad(z, e->name, "no header where the directory says");
  size_t extra = get16(h + 28), n = name_bytes + extra;
  if (get16(h + 26) != name_bytes || get16(h + 8) != (unsigned)e->method || ((get16(h + 6) ^ flags) & ~0x800u))
    return bad(z, e->name, "its header differs from the directory");
  e->at = header + LOCAL_BYTES + (int64_t)n;
  if (e->at > data_end || e->packed > data_end - e->at) return bad(z, e->name, "lies beyond the file");
  *end = e->at + e->packed;
  if (n > sizeof fixed && !(more = wtl_alloc(z->ctx, n))) return WTL_ERR_MEMORY;
  sizes s = { get32(h + 22), get32(h + 18), 0 };
  uint32_t crc = get32(h + 14);
  wtl_status st = read_at(z, header + LOCAL_BYTES, more, n);
  if (st == WTL_OK && memcmp(more, e->name, name_bytes) != 0) st = bad(z, e->name, "its header has another name");
  if (st == WTL_OK) st = read_extra(z, e->name, more + name_bytes, extra, &s);
  /* Bit 3: sizes and checksum follow the member, and here they are 0 (or known already). */
  bool later = flags & 8 && (crc == 0 || crc == e->crc) && (s.size == 0 || s.size == (uint64_t)e->size) &&
               (s.packed == 0 || s.packed == (uint64_t)e->packed);
  if (st == WTL_OK && !later && (s.size != (uint64_t)e->size || s.packed != (uint64_t)e->packed || crc != e->crc))
    st = bad(z, e->name, "its header differs from the directory");
  if (more != fixed) wtl_free(z->ctx, more);
  return st;
}

typedef struct span {
  int64_t begin, end;
} span;

/* Entry number z->n from the directory's bytes at p; its name goes to `name`, *used says how many bytes it takes. */
static wtl_status read_entry(wtl_zip *z, const unsigned char *p, int64_t left, int64_t data_end, char *name,
                             span *taken, int64_t *used) {
  if (left < CENTRAL_BYTES || !is_record(p, 1, 2)) return bad(z, NULL, "the directory is damaged");
  size_t name_bytes = get16(p + 28), extra = get16(p + 30), comment = get16(p + 32);
  wtl_zip_entry *e = &z->entry[z->n];
  *used = CENTRAL_BYTES + (int64_t)(name_bytes + extra + comment);
  if (*used > left) return bad(z, NULL, "the directory is damaged");
  memcpy(name, p + CENTRAL_BYTES, name_bytes);
  name[name_bytes] = 0;
  if (name_bytes == 0 || strlen(name) != name_bytes)
    return bad(z, NULL, "a name that is empty or holds a zero byte");
  *e = (wtl_zip_entry){ .name = name, .method = (int)get16(p + 10), .crc = get32(p + 16) };
  sizes s = { get32(p + 24), get32(p + 20), get32(p + 42) };
  WTL_TRY(check_flags(z, name, get16(p + 8), get16(p + 10)));
  if (get16(p + 34) != 0) return bad(z, NULL, "spans several disks");
  WTL_TRY(read_extra(z, name, p + CENTRAL_BYTES + name_bytes, extra, &s));
  WTL_TRY(check_sizes(z, e, &s, data_end));
  e->packed = (int64_t)s.packed;
  e->size = (int64_t)s.size;
  taken->begin = (int64_t)s.header;
  return check_local(z, e, get16(p + 8), taken->begin, data_end, &taken->end);
}

static int by_begin(const void *a, const void *b) {
  const span *x = a, *y = b;
  return (x->begin > y->begin) - (x->begin < y->begin);
}

static int by_name(const void *a, const void *b, void *arg) {
  const wtl_zip_entry *e = arg;
  return strcmp(e[*(const int64_t *)a].name, e[*(const int64_t *)b].name);
}

static wtl_status check_overlaps(const wtl_zip *z, span *taken, int64_t data_end) {
  qsort(taken, (size_t)z->n, sizeof *taken, by_begin);
  if ((z->n ? taken[0].begin : data_end) != 0) return bad(z, NULL, "bytes before the first member");
  for (int64_t i = 1; i < z->n; i++)
    if (taken[i].begin < taken[i - 1].end) return bad(z, NULL, "members overlap");
  return WTL_OK;
}

static wtl_status sort_names(wtl_zip *z) {
  for (int64_t i = 0; i < z->n; i++) z->by_name[i] = i;
  qsort_r(z->by_name, (size_t)z->n, sizeof *z->by_name, by_name, z->entry);
  for (int64_t i = 1; i < z->n; i++) {
    const char *name = z->entry[z->by_name[i]].name;
    if (strcmp(z->entry[z->by_name[i - 1]].name, name) == 0) return bad(z, name, "is there twice");
  }
  return WTL_OK;
}

static wtl_status read_entries(wtl_zip *z, const unsigned char *p, const directory *d, span *taken) {
  int64_t at = 0, used = 0, names = 0;
  for (int64_t i = 0; i < d->n; i++, at += used) {
    WTL_TRY(read_entry(z, p + at, d->bytes - at, d->at, z->names + names, &taken[i], &used));
    names += (int64_t)strlen(z->entry[i].name) + 1;
    z->n++;
  }
  if (at != d->bytes) return bad(z, NULL, "bytes between the directory's entries and its end");
  WTL_TRY(check_overlaps(z, taken, d->at));
  return sort_names(z);
}

static wtl_status read_directory(wtl_zip *z) {
  directory d = { 0 };
  WTL_TRY(find_directory(z, &d));
  z->entry = wtl_calloc(z->ctx, (size_t)d.n + 1, sizeof *z->entry);
  z->by_name = wtl_calloc(z->ctx, (size_t)d.n + 1, sizeof *z->by_name);
  z->names = wtl_alloc(z->ctx, (size_t)d.bytes + 1); /* each name and a NUL take less than its entry */
  span *taken = wtl_calloc(z->ctx, (size_t)d.n + 1, sizeof *taken);
  unsigned char *p = wtl_alloc(z->ctx, (size_t)d.bytes + 1);
  wtl_status s =
      z->entry && z->by_name && z->names && taken && p ? read_at(z, d.at, p, (size_t)d.bytes) : WTL_ERR_MEMORY;
  if (s == WTL_OK) s = read_entries(z, p, &d, taken);
  wtl_free(z->ctx, p);
  wtl_free(z->ctx, taken);
  return s;
}

wtl_status wtl_zip_open(wtl_ctx *ctx, const char *path, wtl_zip *z) {
  *z = (wtl_zip){ .ctx = ctx, .path = path, .fd = -1 };
  wtl_status s = wtl_open_regular(ctx, path, &z->fd, &z->file_bytes);
  if (s == WTL_OK) s = read_directory(z);
  if (s != WTL_OK) wtl_zip_close(z);
  return s;
}

void wtl_zip_close(wtl_zip *z) {
  if (!z->ctx) return;
  wtl_free(z->ctx, z->entry);
  wtl_free(z->ctx, z->names);
  wtl_free(z->ctx, z->by_name);
  if (z->fd >= 0) close(z->fd);
  *z = (wtl_zip){ .fd = -1 };
}

const wtl_zip_entry *wtl_zip_find(const wtl_zip *z, const char *name) {
  int64_t low = 0, high = z->n;
  while (low < high) {
    int64_t mid = low + (high - low) / 2;
    const wtl_zip_entry *e = &z->entry[z->by_name[mid]];
    int order = strcmp(name, e->name);
    if (order == 0) return e;
    if (order < 0) high = mid;
    else low = mid + 1;
  }
  return NULL;
}

/* ---- members ---- */

static void *z_alloc(void *ctx, unsigned n, unsigned size) { return wtl_calloc(ctx, n, size); }
static void z_free(void *ctx, void *p) { wtl_free(ctx, p); }

typedef struct inflater {
  const wtl_zip *zip;
  const wtl_zip_entry *entry;
  z_stream z;
  unsigned char *in;
  int64_t taken;     /* packed bytes read so far */
  unsigned char one; /* there must be no byte for it */
  bool ended;
} inflater;

static wtl_status inflater_open(const wtl_zip *zip, const wtl_zip_entry *e, inflater *f) {
  *f = (inflater){ .zip = zip, .entry = e };
  f->z.zalloc = z_alloc;
  f->z.zfree = z_free;
  f->z.opaque = zip->ctx;
  f->in = wtl_alloc(zip->ctx, WTL_STREAM_CHUNK);
  if (!f->in) return WTL_ERR_MEMORY;
  if (inflateInit2(&f->z, -MAX_WBITS) == Z_OK) return WTL_OK; /* negative: without zlib's own header */
  wtl_free(zip->ctx, f->in);
  return wtl_fail(zip->ctx, WTL_ERR_MEMORY, "%s: zip: out of memory", zip->path);
}

static void inflater_close(inflater *f) {
  inflateEnd(&f->z);
  wtl_free(f->zip->ctx, f->in);
}

/* More packed bytes, if there are any. */
static wtl_status refill(inflater *f) {
  int64_t rest = f->entry->packed - f->taken, n = rest < WTL_STREAM_CHUNK ? rest : WTL_STREAM_CHUNK;
  if (f->z.avail_in > 0 || n == 0) return WTL_OK;
  WTL_TRY(read_at(f->zip, f->entry->at + f->taken, f->in, (size_t)n));
  f->z.next_in = f->in;
  f->z.avail_in = (unsigned)n;
  f->taken += n;
  return WTL_OK;
}

/* n more bytes into buf. */
static wtl_status inflate_more(inflater *f, void *buf, int64_t n) {
  unsigned char *out = buf;
  while (n > 0) {
    unsigned room = n < (1 << 30) ? (unsigned)n : 1u << 30;
    WTL_TRY(refill(f));
    f->z.next_out = out;
    f->z.avail_out = room;
    int code = f->ended ? Z_BUF_ERROR : inflate(&f->z, Z_NO_FLUSH);
    out += room - f->z.avail_out;
    n -= room - f->z.avail_out;
    if (code == Z_STREAM_END) f->ended = true;
    else if (code == Z_MEM_ERROR)
      return wtl_fail(f->zip->ctx, WTL_ERR_MEMORY, "%s: zip: out of memory", f->zip->path);
    else if (code == Z_BUF_ERROR) return bad(f->zip, f->entry->name, "its packed bytes end too early");
    else if (code != Z_OK) return bad(f->zip, f->entry->name, f->z.msg ? f->z.msg : "its packed bytes are damaged");
  }
  return WTL_OK;
}

/* All bytes were given: the packed ones are used up too, and would give no more. */
static wtl_status inflate_end(inflater *f) {
  f->z.next_out = &f->one;
  while (!f->ended) {
    WTL_TRY(refill(f));
    f->z.avail_out = 1;
    int code = inflate(&f->z, Z_NO_FLUSH);
    if (code == Z_STREAM_END) f->ended = true;
    else if (code != Z_OK) return bad(f->zip, f->entry->name, "its packed bytes end too early");
    if (f->z.avail_out == 0) return bad(f->zip, f->entry->name, "holds more than its size");
  }
  if (f->z.avail_in || f->taken != f->entry->packed)
    return bad(f->zip, f->entry->name, "bytes behind its packed ones");
  return WTL_OK;
}

wtl_status wtl_zip_peek(wtl_zip *z, const wtl_zip_entry *e, void *buf, size_t n) {
  inflater f;
  if ((int64_t)n > e->size) return bad(z, e->name, "is too short");
  if (e->method == WTL_ZIP_STORED) return read_at(z, e->at, buf, n);
  WTL_TRY(inflater_open(z, e, &f));
  wtl_status s = inflate_more(&f, buf, (int64_t)n);
  inflater_close(&f);
  return s;
}

/* ---- reading, in pieces and side by side ---- */

#define BLOCK 262144       /* bytes read at a time: half of a usual second-level cache, for the checksum */
#define PIECE (16 * BLOCK) /* bytes that a thread takes at a time */

/* Bytes [begin, begin + n) of a want; all of a deflated one. */
typedef struct piece {
  const wtl_zip_want *want;
  int64_t begin, n;
  uint32_t crc;
  wtl_status status;
} piece;

typedef struct reading {
  const wtl_zip *zip;
  piece *piece;
  int64_t n;
  _Atomic int64_t next; /* piece to be read: threads take them in order, so the file is read from front to back */
  atomic_bool failed;
} reading;

/* n bytes of a member from `at` on, to where they go; f: of a deflated one. */
static wtl_status read_block(const wtl_zip *z, piece *p, inflater *f, int64_t at, char *to, int64_t n) {
  if (wtl_interrupted(z->ctx)) return wtl_fail(z->ctx, WTL_ERR_INTERRUPTED, "%s: interrupted", z->path);
  WTL_TRY(f ? inflate_more(f, to, n) : read_at(z, p->want->entry->at + at, to, (size_t)n));
  if (n) p->crc = (uint32_t)crc32_z(p->crc, (unsigned char *)to, (size_t)n);
  return WTL_OK;
}

static wtl_status read_blocks(const wtl_zip *z, piece *p, inflater *f) {
  const wtl_zip_want *w = p->want;
  int64_t at = p->begin, end = p->begin + p->n;
  if (at < w->head_bytes) {
    int64_t n = end < w->head_bytes ? end - at : w->head_bytes - at;
    WTL_TRY(read_block(z, p, f, at, (char *)w->head + at, n));
    at += n;
  }
  for (int64_t n; at < end; at += n) {
    char *to = (char *)w->body + (at - w->head_bytes);
    n = end - at < BLOCK ? end - at : BLOCK;
    WTL_TRY(read_block(z, p, f, at, to, n));
    if (w->look) w->look(w->arg, to, n);
  }
  return f ? inflate_end(f) : WTL_OK;
}

static wtl_status read_piece(const wtl_zip *z, piece *p) {
  inflater f;
  if (p->want->entry->method == WTL_ZIP_STORED) return read_blocks(z, p, NULL);
  WTL_TRY(inflater_open(z, p->want->entry, &f));
  wtl_status s = read_blocks(z, p, &f);
  inflater_close(&f);
  return s;
}

static void read_pieces(void *arg, int64_t begin, int64_t end, int thread) {
  reading *r = arg;
  int64_t i;
  (void)begin, (void)end, (void)thread;
  while (!atomic_load(&r->failed) && (i = atomic_fetch_add(&r->next, 1)) < r->n) {
    r->piece[i].status = read_piece(r->zip, &r->piece[i]);
    if (r->piece[i].status != WTL_OK) atomic_store(&r->failed, true);
  }
}

static int64_t pieces_of(const wtl_zip_entry *e) {
  return e->method == WTL_ZIP_STORED && e->size > PIECE ? (e->size - 1) / PIECE + 1 : 1;
}

/* The pieces' checksums put together, want by want. */
static wtl_status check_pieces(const wtl_zip *z, const piece *p, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (p[i].status != WTL_OK) return p[i].status;
  for (int64_t i = 0; i < n;) {
    const wtl_zip_want *w = p[i].want;
    uint32_t crc = p[i].crc;
    for (i++; i < n && p[i].want == w; i++) crc = (uint32_t)crc32_combine(crc, p[i].crc, (z_off_t)p[i].n);
    if (crc != w->entry->crc)
      return wtl_fail(z->ctx, WTL_ERR_FORMAT, "%s: zip: %.100s: its checksum is %08x, its bytes give %08x", z->path,
                      w->entry->name, w->entry->crc, crc);
  }
  return WTL_OK;
}

wtl_status wtl_zip_read(wtl_zip *z, const wtl_zip_entry *e, void *buf) {
  wtl_zip_want want = { .entry = e, .body = buf };
  piece p = { .want = &want, .n = e->size };
  p.status = read_piece(z, &p);
  return check_pieces(z, &p, 1);
}

wtl_status wtl_zip_read_all(wtl_zip *z, const wtl_zip_want *want, int64_t n) {
  int64_t k = 0;
  reading r = { .zip = z };
  for (int64_t i = 0; i < n; i++) r.n += pieces_of(want[i].entry);
  r.piece = wtl_calloc(z->ctx, (size_t)r.n + 1, sizeof *r.piece);
  if (!r.piece) return WTL_ERR_MEMORY;
  for (int64_t i = 0; i < n; i++) {
    int64_t pieces = pieces_of(want[i].entry), left = want[i].entry->size;
    for (int64_t j = 0; j < pieces; j++, left -= PIECE)
      r.piece[k++] = (piece){ .want = &want[i], .begin = j * PIECE, .n = j + 1 < pieces ? PIECE : left };
    wtl_wish_big_pages(want[i].body, (size_t)(want[i].entry->size - want[i].head_bytes));
  }
  int64_t threads = wtl_threads(z->ctx) < r.n ? wtl_threads(z->ctx) : r.n;
  wtl_parallel(z->ctx, threads, 1, read_pieces, &r);
  wtl_status s = check_pieces(z, r.piece, r.n);
  wtl_free(z->ctx, r.piece);
  return s;
}
