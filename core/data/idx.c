/* IDX files (the format of MNIST: http://yann.lecun.com/exdb/mnist), plain or gzip: two zero bytes, an element type, a
 * number of dimensions, their sizes as big-endian 32-bit integers, then the elements. Only u8 is read. */
#include <stdio.h>

#include "data.h"
#include "tensor.h"

#define MAX_BYTES_DEFAULT ((size_t)4 << 30)

static const char *type_name(unsigned char type) {
  switch (type) {
    case 0x08: return "u8";
    case 0x09: return "i8";
    case 0x0b: return "i16";
    case 0x0c: return "i32";
    case 0x0d: return "f32";
    case 0x0e: return "f64";
    default: return NULL;
  }
}

/* "10000x28x28" */
static void sizes_text(const wtl_shape *s, char *buf, size_t n) {
  size_t used = 0;
  for (int i = 0; i < s->ndim; i++) {
    used += (size_t)snprintf(buf + used, n - used, "%s%lld", i ? "x" : "", (long long)s->size[i]);
  }
}

/* The first four bytes: what follows is `ndim` sizes. */
static wtl_status read_magic(wtl_stream *f, int *ndim) {
  unsigned char b[4];
  size_t got;
  WTL_TRY(wtl_stream_read(f, b, 4, &got));
  if (got < 4 || b[0] != 0 || b[1] != 0 || !type_name(b[2])) {
    return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: idx: this is no IDX file", f->path);
  }
  if (b[2] != 0x08) {
    return wtl_fail(f->ctx, WTL_ERR_UNSUPPORTED, "%s: idx: elements are %s, only u8 is read", f->path, type_name(b[2]));
  }
  if (b[3] < 1 || b[3] > WTL_MAX_DIMS) {
    return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: idx: %d dimensions, not 1 to %d", f->path, b[3], WTL_MAX_DIMS);
  }
  *ndim = b[3];
  return WTL_OK;
}

static wtl_status read_header(wtl_stream *f, size_t max_bytes, wtl_shape *s) {
  unsigned char b[4 * WTL_MAX_DIMS];
  size_t got, bytes = 1;
  char text[128];
  *s = (wtl_shape){ 0 };
  WTL_TRY(read_magic(f, &s->ndim));
  WTL_TRY(wtl_stream_read(f, b, 4 * (size_t)s->ndim, &got));
  if (got < 4 * (size_t)s->ndim) return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: idx: the header is cut off", f->path);
  bool fits = true;
  for (int i = 0; i < s->ndim; i++) {
    const unsigned char *p = b + 4 * i;
    s->size[i] = (int64_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
    fits = wtl_mul_size(bytes, (size_t)s->size[i], &bytes) && fits;
  }
  sizes_text(s, text, sizeof text);
  if (!fits || bytes > max_bytes) {
    return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: idx: header says %s, more than the limit of %zu bytes", f->path,
                    text, max_bytes);
  }
  /* Before any memory is asked for: a short file must not claim much. */
  uint64_t most = wtl_stream_most(f), head = 4 + 4 * (uint64_t)s->ndim;
  if (bytes + head > most) {
    return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: idx: header says %s = %zu bytes, file has %s%llu", f->path, text,
                    bytes, f->gzip ? "at most " : "", (unsigned long long)(most > head ? most - head : 0));
  }
  return WTL_OK;
}

static wtl_status read_elements(wtl_stream *f, wtl_tensor *t) {
  size_t want = wtl_tensor_bytes(t), got, more;
  char text[128], extra;
  WTL_TRY(wtl_stream_read(f, wtl_tensor_data(t), want, &got));
  sizes_text(wtl_tensor_shape(t), text, sizeof text);
  if (got < want) {
    return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: idx: header says %s = %zu bytes, file has %zu", f->path, text, want,
                    got);
  }
  WTL_TRY(wtl_stream_read(f, &extra, 1, &more));
  if (more)
    return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: idx: header says %s = %zu bytes, file has more", f->path, text,
                    want);
  return WTL_OK;
}

wtl_status wtl_idx_load(wtl_ctx *ctx, const char *path, size_t max_bytes, wtl_tensor **out) {
  wtl_stream f;
  wtl_shape shape;
  wtl_tensor *t = NULL;
  WTL_TRY(wtl_stream_open(ctx, path, &f));
  wtl_status s = read_header(&f, max_bytes ? max_bytes : MAX_BYTES_DEFAULT, &shape);
  if (s == WTL_OK) s = wtl_tensor_create(ctx, WTL_U8, &shape, &t);
  if (s == WTL_ERR_SHAPE)
    s = wtl_prefix(ctx, WTL_ERR_FORMAT, "%s: idx", path); /* sizes beside a 0 that no tensor may have */
  if (s == WTL_OK) s = read_elements(&f, t);
  wtl_stream_close(&f);
  if (s == WTL_OK) *out = t;
  else wtl_tensor_release(t);
  return s;
}
