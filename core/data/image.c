/* Pictures: the decoder that every thread has one of, JPEG and PNG told apart, files, and tensors from them. The formats
 * are in jpeg.c and png.c, EXIF in exif.c, scaling in resize.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data.h"
#include "decoder.h"
#include "resize.h"

#define MAX_FILE ((int64_t)1 << 30)

wtl_status wtl_decoder_fail(wtl_decoder *d, wtl_status s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(d->message, sizeof d->message, fmt, ap);
  va_end(ap);
  d->blames_file = s == WTL_ERR_IO || s == WTL_ERR_FORMAT || s == WTL_ERR_UNSUPPORTED;
  return s;
}

static wtl_status out_of_memory(wtl_decoder *d, size_t bytes) {
  return wtl_decoder_fail(d, WTL_ERR_MEMORY, "out of memory: %zu bytes more were asked for", bytes);
}

void *wtl_block_need(wtl_decoder *d, wtl_block *b, size_t n) {
  if (b->cap >= n && b->p) return b->p;
  wtl_free(d->ctx, b->p);
  b->p = wtl_alloc(d->ctx, n);
  b->cap = b->p ? n : 0;
  if (!b->p) out_of_memory(d, n);
  return b->p;
}

void wtl_pixels_free(wtl_ctx *ctx, wtl_pixels *p) {
  wtl_free(ctx, p->data);
  *p = (wtl_pixels){ 0 };
}

wtl_status wtl_pixels_reserve(wtl_decoder *d, wtl_pixels *p, int width, int height, int channels) {
  wtl_block b = { p->data, p->cap };
  p->data = wtl_block_need(d, &b, (size_t)width * (size_t)height * (size_t)channels);
  p->cap = b.cap;
  p->width = p->data ? width : 0;
  p->height = p->data ? height : 0;
  p->channels = channels;
  return p->data ? WTL_OK : WTL_ERR_MEMORY;
}

wtl_status wtl_check_size(wtl_decoder *d, const char *what, uint64_t width, uint64_t height) {
  if (width == 0 || height == 0)
    return wtl_decoder_fail(d, WTL_ERR_FORMAT, "%s is empty: %llux%llu", what, (unsigned long long)width, (unsigned long long)height);
  if (width > WTL_MAX_SIDE || height > WTL_MAX_SIDE || width * height > WTL_MAX_PIXELS) {
    return wtl_decoder_fail(d, WTL_ERR_FORMAT, "%s says %llux%llu pixels; at most %d and %d a side are read", what,
                            (unsigned long long)width, (unsigned long long)height, WTL_MAX_PIXELS, WTL_MAX_SIDE);
  }
  return WTL_OK;
}

wtl_status wtl_decoder_create(wtl_ctx *ctx, wtl_decoder **out) {
  wtl_decoder *d = wtl_alloc(ctx, sizeof *d);
  if (!d) return WTL_ERR_MEMORY;
  d->ctx = ctx;
  wtl_status s = wtl_jpeg_create(d);
  if (s != WTL_OK) {
    wtl_fail(ctx, s, "%s", d->message);
    wtl_decoder_destroy(d);
    return s;
  }
  *out = d;
  return WTL_OK;
}

void wtl_decoder_destroy(wtl_decoder *d) {
  if (!d) return;
  wtl_jpeg_destroy(d);
  wtl_free(d->ctx, d->row.p);
  for (int i = 0; i < 3; i++) {
    wtl_free(d->ctx, d->horizontal[i].p);
    wtl_free(d->ctx, d->vertical[i].p);
  }
  wtl_pixels_free(d->ctx, &d->unturned);
  wtl_pixels_free(d->ctx, &d->narrowed);
  wtl_free(d->ctx, d);
}

const char *wtl_decoder_message(const wtl_decoder *d) { return d->message; }

bool wtl_decoder_blames_file(const wtl_decoder *d) { return d->blames_file; }

void wtl_luma(const unsigned char *rgb, unsigned char *out, int n) {
  for (int i = 0; i < n; i++, rgb += 3) out[i] = wtl_luma_of(rgb);
}

void wtl_interleave(const unsigned char *planes, size_t n, int channels, unsigned char *pixels) {
  size_t c = (size_t)channels;
  if (c == 3) {
    wtl_resize_fastest()->from_planes(planes, n, pixels);
    return;
  }
  for (size_t k = 0; k < c; k++)
    for (size_t i = 0; i < n; i++) pixels[i * c + k] = planes[k * n + i];
}

void wtl_separate(const unsigned char *pixels, size_t n, int channels, unsigned char *planes) {
  size_t c = (size_t)channels;
  if (c == 3) {
    wtl_resize_fastest()->to_planes(pixels, n, planes);
    return;
  }
  for (size_t k = 0; k < c; k++)
    for (size_t i = 0; i < n; i++) planes[k * n + i] = pixels[i * c + k];
}

wtl_status wtl_decode(wtl_decoder *d, const unsigned char *bytes, size_t n, int channels, wtl_pixels *out) {
  static const unsigned char png[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
  int orientation = 1;
  wtl_status s;
  if (channels != 1 && channels != 3)
    return wtl_decoder_fail(d, WTL_ERR_ARG, "channels must be 1 or 3, got %d", channels);
  if (n == 0) return wtl_decoder_fail(d, WTL_ERR_FORMAT, "the file is empty");
  if (n >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff)
    s = wtl_jpeg_decode(d, bytes, n, channels, &d->unturned, &orientation);
  else if (n >= 8 && memcmp(bytes, png, 8) == 0)
    s = wtl_png_decode(d, bytes, n, channels, &d->unturned, &orientation);
  else
    return wtl_decoder_fail(d, WTL_ERR_FORMAT, "neither JPEG nor PNG");
  if (s != WTL_OK) return s;
  if (orientation > 1) return wtl_turn(d, &d->unturned, orientation, out);
  wtl_pixels kept = *out; /* its buffer is the next picture's */
  *out = d->unturned;
  d->unturned = kept;
  return WTL_OK;
}

static wtl_status fail_io(wtl_decoder *d, const char *what, int err) {
  char text[128];
  wtl_decoder_fail(d, WTL_ERR_IO, "%s: %s", what, strerror_r(err, text, sizeof text));
  d->blames_file = err != EMFILE && err != ENFILE && err != ENOMEM;
  return WTL_ERR_IO;
}

wtl_status wtl_decoder_read(wtl_decoder *d, const char *path, unsigned char **bytes, size_t *cap, size_t *n) {
  struct stat st;
  wtl_block b = { *bytes, *cap };
  wtl_status s = WTL_ERR_MEMORY;
  int code;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer would hang here */
  if (fd < 0) return fail_io(d, "cannot be opened", errno);
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    s = wtl_decoder_fail(d, WTL_ERR_IO, "not a regular file");
  } else if (st.st_size > MAX_FILE) {
    s = wtl_decoder_fail(d, WTL_ERR_FORMAT, "%lld bytes; a picture has at most %lld", (long long)st.st_size, (long long)MAX_FILE);
  } else if (b.cap > (size_t)st.st_size || wtl_block_need(d, &b, (size_t)(st.st_size + st.st_size / 4) + 1)) {
    *n = (size_t)st.st_size;
    code = wtl_read_at(fd, b.p, *n, 0);
    s = code == 0 ? WTL_OK : code != WTL_TOO_SHORT ? fail_io(d, "cannot be read", code) :
        wtl_decoder_fail(d, WTL_ERR_IO, "it became shorter while it was read");
  }
  *bytes = b.p;
  *cap = b.cap;
  close(fd);
  return s;
}

/* ---- tensors ---- */

wtl_status wtl_image_load(wtl_ctx *ctx, const char *path, int channels, wtl_tensor **out) {
  wtl_decoder *d = NULL;
  wtl_pixels p = { 0 };
  wtl_tensor *t = NULL;
  unsigned char *bytes = NULL;
  size_t cap = 0, n = 0;
  if (channels != 1 && channels != 3) return wtl_fail(ctx, WTL_ERR_ARG, "image: channels must be 1 or 3, got %d", channels);
  WTL_TRY(wtl_decoder_create(ctx, &d));
  wtl_status s = wtl_decoder_read(d, path, &bytes, &cap, &n);
  if (s == WTL_OK) s = wtl_decode(d, bytes, n, channels, &p);
  if (s != WTL_OK) {
    wtl_fail(ctx, s, "%s: %s", path, d->message);
    goto out;
  }
  s = wtl_tensor_create(ctx, WTL_U8, &(wtl_shape){ 3, { channels, p.height, p.width } }, &t);
  if (s != WTL_OK) goto out;
  wtl_separate(p.data, (size_t)p.width * (size_t)p.height, channels, wtl_tensor_data(t));
  *out = t;
out:
  wtl_pixels_free(ctx, &p);
  wtl_free(ctx, bytes);
  wtl_decoder_destroy(d);
  return s;
}

/* Three planes at once, as RGB; others one after another, since channels do not mix. */
static wtl_status resize_planes(wtl_decoder *d, const wtl_tensor *in, const double box[4], wtl_filter f, wtl_tensor *out) {
  const int64_t *from = wtl_tensor_shape(in)->size, *to = wtl_tensor_shape(out)->size;
  size_t n_in = (size_t)(from[1] * from[2]), n_out = (size_t)(to[1] * to[2]);
  bool rgb = from[0] == 3;
  wtl_pixels p = { 0 }, q = { 0 };
  wtl_status s = wtl_pixels_reserve(d, &p, (int)from[2], (int)from[1], rgb ? 3 : 1);
  for (int64_t c = 0; s == WTL_OK && c < (rgb ? 1 : from[0]); c++) {
    const unsigned char *planes = (const unsigned char *)wtl_tensor_cdata(in) + (size_t)c * n_in;
    unsigned char *result = (unsigned char *)wtl_tensor_data(out) + (size_t)c * n_out;
    wtl_interleave(planes, n_in, p.channels, p.data);
    s = wtl_resize(d, &p, box, (int)to[2], (int)to[1], f, &q);
    if (s == WTL_OK) wtl_separate(q.data, n_out, q.channels, result);
  }
  wtl_pixels_free(d->ctx, &p);
  wtl_pixels_free(d->ctx, &q);
  return s == WTL_OK ? s : wtl_fail(d->ctx, s, "%s", d->message);
}

static wtl_status check_resize(wtl_decoder *d, const int64_t *from, int64_t height, int64_t width) {
  WTL_TRY(wtl_check_size(d, "resize: the image", (uint64_t)from[2], (uint64_t)from[1]));
  if (height < 1 || width < 1)
    return wtl_decoder_fail(d, WTL_ERR_ARG, "resize: size %lldx%lld; both must be at least 1", (long long)height,
                            (long long)width);
  return wtl_check_size(d, "resize: the result", (uint64_t)width, (uint64_t)height);
}

wtl_status wtl_image_resize(wtl_ctx *ctx, const wtl_tensor *image, const double box[4], int64_t height, int64_t width,
                            wtl_filter f, wtl_tensor **out) {
  const wtl_shape *shape = wtl_tensor_shape(image);
  char text[128];
  wtl_decoder *d = NULL;
  wtl_tensor *plain = NULL, *t = NULL;
  if (wtl_tensor_dtype(image) != WTL_U8)
    return wtl_fail(ctx, WTL_ERR_DTYPE, "resize: the image is %s; u8 is needed", wtl_dtype_name(wtl_tensor_dtype(image)));
  if (shape->ndim != 3 || wtl_shape_numel(shape) == 0)
    return wtl_fail(ctx, WTL_ERR_SHAPE, "resize: the image is %s; (C,H,W) is needed, none of them 0", wtl_shape_text(shape, text, sizeof text));
  WTL_TRY(wtl_decoder_create(ctx, &d));
  wtl_status s = check_resize(d, shape->size, height, width);
  if (s != WTL_OK) {
    s = wtl_fail(ctx, WTL_ERR_ARG, "%s", d->message);
    goto out;
  }
  if (!wtl_tensor_contiguous(image)) s = wtl_tensor_clone(image, &plain);
  if (s == WTL_OK) s = wtl_tensor_create(ctx, WTL_U8, &(wtl_shape){ 3, { shape->size[0], height, width } }, &t);
  if (s == WTL_OK) s = resize_planes(d, plain ? plain : image, box, f, t);
  if (s == WTL_OK) *out = t;
  else wtl_tensor_release(t);
out:
  wtl_tensor_release(plain);
  wtl_decoder_destroy(d);
  return s;
}
