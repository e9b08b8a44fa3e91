/* CIFAR-10 and CIFAR-100 (Krizhevsky 2009) in their binary version: records of one or two label bytes and 3x32x32 bytes of
 * red, green and blue planes. Strict: whole records, as many as there must be, labels within their classes. */
#include <string.h>
#include <unistd.h>

#include "data.h"

#define PIXELS 3072
#define CHUNK 64 /* records read at once */

typedef struct reading { const wtl_cifar_options *o; unsigned char *image, *label; int64_t done; } reading;

static wtl_status read_records(wtl_ctx *ctx, const char *path, int fd, int64_t n, unsigned char *buf, reading *r) {
  size_t row = (size_t)r->o->label_bytes + PIXELS, got;
  for (int64_t k = 0; k < n; k += CHUNK) {
    int64_t now = n - k < CHUNK ? n - k : CHUNK;
    WTL_TRY(wtl_read_up_to(ctx, path, fd, buf, (size_t)now * row, &got));
    if (got != (size_t)now * row) return wtl_fail(ctx, WTL_ERR_IO, "%s: it became shorter while it was read", path);
    for (int64_t i = 0; i < now; i++, r->done++) {
      const unsigned char *from = buf + (size_t)i * row;
      int label = from[r->o->label_at];
      if (label >= r->o->classes)
        return wtl_fail(ctx, WTL_ERR_FORMAT, "%s: the label of record %lld is %d; there are %d classes", path,
                        (long long)(k + i), label, r->o->classes);
      r->label[r->done] = (unsigned char)label;
      memcpy(r->image + r->done * PIXELS, from + r->o->label_bytes, PIXELS);
    }
  }
  return WTL_OK;
}

static wtl_status read_one(wtl_ctx *ctx, const char *path, unsigned char *buf, reading *r) {
  int fd;
  int64_t size, row = r->o->label_bytes + PIXELS;
  WTL_TRY(wtl_open_regular(ctx, path, &fd, &size));
  wtl_status s = size == r->o->records * row ? read_records(ctx, path, fd, r->o->records, buf, r)
                 : wtl_fail(ctx, WTL_ERR_FORMAT, "%s: it has %lld bytes; %lld records of %lld bytes are %lld", path,
                            (long long)size, (long long)r->o->records, (long long)row, (long long)(r->o->records * row));
  close(fd);
  return s;
}

wtl_status wtl_cifar_load(wtl_ctx *ctx, const char *const *path, int n, const wtl_cifar_options *o,
                          wtl_tensor **images, wtl_tensor **labels) {
  wtl_tensor *x = NULL, *y = NULL;
  unsigned char *buf = NULL;
  if (n < 1 || n > 1000 || o->records < 1 || o->records > 1000000 || (o->label_bytes != 1 && o->label_bytes != 2) ||
      o->label_at < 0 || o->label_at >= o->label_bytes || o->classes < 1 || o->classes > 256)
    return wtl_fail(ctx, WTL_ERR_ARG, "cifar: %d files of %lld records, label byte %d of %d, %d classes", n,
                    (long long)o->records, o->label_at, o->label_bytes, o->classes);
  wtl_status s = wtl_tensor_create(ctx, WTL_U8, &(wtl_shape){ 4, { n * o->records, 3, 32, 32 } }, &x);
  if (s == WTL_OK) s = wtl_tensor_create(ctx, WTL_U8, &(wtl_shape){ 1, { n * o->records } }, &y);
  if (s == WTL_OK && !(buf = wtl_alloc(ctx, CHUNK * (PIXELS + 2)))) s = WTL_ERR_MEMORY;
  if (s == WTL_OK) {
    reading r = { o, wtl_tensor_data(x), wtl_tensor_data(y), 0 };
    for (int i = 0; i < n && s == WTL_OK; i++) s = read_one(ctx, path[i], buf, &r);
  }
  wtl_free(ctx, buf);
  if (s != WTL_OK) {
    wtl_tensor_release(x);
    wtl_tensor_release(y);
    return s;
  }
  *images = x;
  *labels = y;
  return WTL_OK;
}
