/* One sample: its bytes from memory or from a file, through the steps, into a row of a batch. Runs in any thread: what
 * goes wrong stays in the thread's scratch. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sample.h"
#include "tensor.h"

struct wtl_samples {
  wtl_ctx *ctx;
  atomic_int refs;
  int64_t n;
  wtl_tensor *values, *labels; /* of tensors: values u8 or f32 [n, ...]; labels u8 or i64 [n] */
  char *text;                  /* of files: their paths, each with a NUL */
  size_t *path;                /* where each begins in text */
  int channels;                /* of an image; 0: not images */
};

/* ---- sets of samples ---- */

static wtl_status check_labels(wtl_ctx *ctx, const wtl_tensor *labels, int64_t n) {
  char text[WTL_SHAPE_TEXT];
  if (wtl_tensor_dtype(labels) != WTL_U8 && wtl_tensor_dtype(labels) != WTL_I64)
    return wtl_fail(ctx, WTL_ERR_DTYPE, "samples: labels are %s; u8 or i64 is needed",
                    wtl_dtype_name(wtl_tensor_dtype(labels)));
  if (!wtl_tensor_contiguous(labels)) return wtl_fail(ctx, WTL_ERR_ARG, "samples: labels must be contiguous");
  if (wtl_tensor_shape(labels)->ndim != 1 || wtl_tensor_numel(labels) != n)
    return wtl_fail(ctx, WTL_ERR_SHAPE, "samples: labels are %s; [%lld] is needed",
                    wtl_shape_text(wtl_tensor_shape(labels), text, sizeof text), (long long)n);
  return WTL_OK;
}

static wtl_samples *new_samples(wtl_ctx *ctx, wtl_tensor *labels, int64_t n, int channels) {
  wtl_samples *s = wtl_alloc(ctx, sizeof *s);
  if (!s) return NULL;
  s->ctx = ctx;
  atomic_init(&s->refs, 1);
  s->n = n;
  s->labels = wtl_tensor_retain(labels);
  s->channels = channels;
  return s;
}

wtl_status wtl_samples_of_tensors(wtl_ctx *ctx, wtl_tensor *values, wtl_tensor *labels, wtl_samples **out) {
  const wtl_shape *shape = wtl_tensor_shape(values);
  wtl_dtype d = wtl_tensor_dtype(values);
  char text[WTL_SHAPE_TEXT];
  bool image = d == WTL_U8;
  if (d != WTL_U8 && d != WTL_F32)
    return wtl_fail(ctx, WTL_ERR_DTYPE, "samples: values are %s; u8 images or f32 are needed", wtl_dtype_name(d));
  if (!wtl_tensor_contiguous(values)) return wtl_fail(ctx, WTL_ERR_ARG, "samples: values must be contiguous");
  bool fits = image ? shape->ndim == 3 || shape->ndim == 4 : shape->ndim >= 2;
  for (int i = 1; i < shape->ndim; i++)
    fits = fits && shape->size[i] > 0 && shape->size[i] <= (image ? WTL_MAX_SIDE : INT64_MAX);
  int64_t channels = shape->ndim == 4 ? shape->size[1] : 1;
  if (!fits || (image && channels > WTL_MAX_CHANNELS))
    return wtl_fail(ctx, WTL_ERR_SHAPE,
                    "samples: values are %s; u8 images are (N,H,W) or (N,C,H,W) with C up to %d, f32 (N,...)",
                    wtl_shape_text(shape, text, sizeof text), WTL_MAX_CHANNELS);
  WTL_TRY(check_labels(ctx, labels, shape->size[0]));
  wtl_samples *s = new_samples(ctx, labels, shape->size[0], image ? (int)channels : 0);
  if (!s) return WTL_ERR_MEMORY;
  s->values = wtl_tensor_retain(values);
  *out = s;
  return WTL_OK;
}

wtl_status wtl_samples_of_files(wtl_ctx *ctx, const char *const *path, int64_t n, wtl_tensor *labels, int channels,
                                wtl_samples **out) {
  size_t bytes = 1, used = 0;
  if (channels != 1 && channels != 3)
    return wtl_fail(ctx, WTL_ERR_ARG, "samples: channels must be 1 or 3, got %d", channels);
  WTL_TRY(check_labels(ctx, labels, n));
  for (int64_t i = 0; i < n; i++) bytes += strlen(path[i]) + 1;
  wtl_samples *s = new_samples(ctx, labels, n, channels);
  if (!s) return WTL_ERR_MEMORY;
  s->text = wtl_alloc(ctx, bytes);
  s->path = wtl_calloc(ctx, (size_t)n + 1, sizeof *s->path);
  if (!s->text || !s->path) {
    wtl_samples_release(s);
    return WTL_ERR_MEMORY;
  }
  for (int64_t i = 0; i < n; i++) {
    size_t k = strlen(path[i]) + 1;
    s->path[i] = used;
    memcpy(s->text + used, path[i], k);
    used += k;
  }
  *out = s;
  return WTL_OK;
}

wtl_samples *wtl_samples_retain(wtl_samples *s) {
  atomic_fetch_add(&s->refs, 1);
  return s;
}

void wtl_samples_release(wtl_samples *s) {
  if (!s || atomic_fetch_sub(&s->refs, 1) > 1) return;
  wtl_tensor_release(s->values);
  wtl_tensor_release(s->labels);
  wtl_free(s->ctx, s->text);
  wtl_free(s->ctx, s->path);
  wtl_free(s->ctx, s);
}

int64_t wtl_samples_count(const wtl_samples *s) { return s->n; }

const char *wtl_samples_path(const wtl_samples *s, int64_t i) {
  return s->text && i >= 0 && i < s->n ? s->text + s->path[i] : NULL;
}

int64_t wtl_sample_label(const wtl_samples *s, int64_t i) {
  const void *p = wtl_tensor_cdata(s->labels);
  return wtl_tensor_dtype(s->labels) == WTL_U8 ? ((const unsigned char *)p)[i] : ((const int64_t *)p)[i];
}

const char *wtl_sample_name(const wtl_samples *s, int64_t i, char *buf, size_t n) {
  if (s->text) return wtl_samples_path(s, i);
  snprintf(buf, n, "sample %lld", (long long)i);
  return buf;
}

void wtl_sample_ahead(const wtl_samples *s, int64_t i) {
  int fd = s->text ? open(wtl_samples_path(s, i), O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
  if (fd < 0) return;
  posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
  close(fd);
}

/* ---- recipes ---- */

static void fill_values(wtl_recipe *r) {
  const wtl_transform *t = r->n_pixel < r->n_step && r->step[r->n_pixel].kind == WTL_NORMALIZE
      ? &r->step[r->n_pixel] : NULL;
  for (int c = 0; c < r->channels; c++) {
    int k = t && t->n_value > 1 ? c : 0;
    for (int v = 0; v < 256; v++) r->value[c][v] = (float)((v / 255.0 - (t ? t->mean[k] : 0)) / (t ? t->sd[k] : 1));
  }
}

wtl_status wtl_recipe_init(wtl_ctx *ctx, wtl_samples *s, const wtl_loader_options *o, wtl_recipe *r) {
  const wtl_shape *shape = s->values ? wtl_tensor_shape(s->values) : NULL;
  const char *name = o->name ? o->name : "";
  WTL_TRY(wtl_transform_check(ctx, o->step, o->n_step, s->channels));
  *r = (wtl_recipe){ .ctx = ctx, .n_step = o->n_step, .channels = s->channels };
  r->n_pixel = wtl_transform_pixel_steps(o->step, o->n_step);
  if (s->channels) {
    r->height = shape ? (int)shape->size[shape->ndim - 2] : o->height;
    r->width = shape ? (int)shape->size[shape->ndim - 1] : o->width;
    int size[2] = { shape ? r->height : 0, shape ? r->width : 0 };
    if (wtl_transform_size(o->step, o->n_step, &size[0], &size[1])) r->height = size[0], r->width = size[1];
    if (r->height < 1 || r->width < 1 || r->height > WTL_MAX_SIDE || r->width > WTL_MAX_SIDE)
      return wtl_fail(ctx, WTL_ERR_SHAPE,
                      "loader: the steps leave the size of a sample open; height and width are %d and %d",
                      o->height, o->width);
    r->numel = (int64_t)s->channels * r->height * r->width;
  } else {
    r->numel = s->n ? wtl_tensor_numel(s->values) / s->n : 0;
  }
  r->step = wtl_calloc(ctx, (size_t)o->n_step + 1, sizeof *r->step);
  if (!r->step) return WTL_ERR_MEMORY;
  if (o->n_step) memcpy(r->step, o->step, (size_t)o->n_step * sizeof *r->step);
  r->samples = wtl_samples_retain(s);
  r->rng = wtl_rng_make(o->seed, "augment", name, o->epoch);
  r->noise = wtl_rng_make(o->seed, "erase", name, o->epoch);
  fill_values(r);
  return WTL_OK;
}

void wtl_recipe_free(wtl_recipe *r) {
  wtl_free(r->ctx, r->step);
  wtl_samples_release(r->samples);
  *r = (wtl_recipe){ .ctx = r->ctx };
}

void wtl_recipe_shape(const wtl_recipe *r, wtl_shape *out) {
  if (r->channels) *out = (wtl_shape){ 4, { 0, r->channels, r->height, r->width } };
  else *out = *wtl_tensor_shape(r->samples->values);
}

/* ---- scratch ---- */

wtl_status wtl_scratch_init(wtl_ctx *ctx, wtl_scratch *t) { return wtl_decoder_create(ctx, &t->decoder); }

void wtl_scratch_free(wtl_ctx *ctx, wtl_scratch *t) {
  wtl_decoder_destroy(t->decoder);
  wtl_pixels_free(ctx, &t->a);
  wtl_pixels_free(ctx, &t->b);
  wtl_free(ctx, t->bytes);
  *t = (wtl_scratch){ 0 };
}

static wtl_status fail(wtl_scratch *t, wtl_status s, bool skippable, const char *fmt, ...)
  __attribute__((format(printf, 4, 5)));
static wtl_status fail(wtl_scratch *t, wtl_status s, bool skippable, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(t->message, sizeof t->message, fmt, args);
  va_end(args);
  t->skippable = skippable;
  return s;
}

static wtl_status decoder_failed(wtl_scratch *t, wtl_status s) {
  return fail(t, s, wtl_decoder_blames_file(t->decoder), "%s", wtl_decoder_message(t->decoder));
}

/* ---- reading and making ---- */

/* Sample i as interleaved pixels in t->a. */
static wtl_status take_pixels(const wtl_recipe *r, wtl_scratch *t, int64_t i) {
  const wtl_samples *s = r->samples;
  size_t n = 0;
  if (s->text) {
    wtl_status got = wtl_decoder_read(t->decoder, wtl_samples_path(s, i), &t->bytes, &t->cap, &n);
    if (got == WTL_OK) got = wtl_decode(t->decoder, t->bytes, n, s->channels, &t->a);
    return got == WTL_OK ? got : decoder_failed(t, got);
  }
  const wtl_shape *shape = wtl_tensor_shape(s->values);
  int height = (int)shape->size[shape->ndim - 2], width = (int)shape->size[shape->ndim - 1], c = s->channels;
  if (wtl_pixels_reserve(t->decoder, &t->a, width, height, c) != WTL_OK)
    return fail(t, WTL_ERR_MEMORY, false, "out of memory");
  n = (size_t)height * (size_t)width;
  const unsigned char *from = (const unsigned char *)wtl_tensor_cdata(s->values) + (size_t)i * n * (size_t)c;
  wtl_interleave(from, n, c, t->a.data);
  return WTL_OK;
}

static void swap_pixels(wtl_scratch *t) {
  wtl_pixels a = t->a;
  t->a = t->b;
  t->b = a;
}

static wtl_status crop(wtl_scratch *t, const int box[4]) {
  if (box[0] == 0 && box[1] == 0 && box[2] == t->a.height && box[3] == t->a.width) return WTL_OK;
  if (wtl_crop(t->decoder, &t->a, box, &t->b) != WTL_OK) return fail(t, WTL_ERR_MEMORY, false, "out of memory");
  swap_pixels(t);
  return WTL_OK;
}

static wtl_status resize(wtl_scratch *t, const int size[2], wtl_filter f) {
  if (size[0] == t->a.height && size[1] == t->a.width) return WTL_OK;
  wtl_status s = wtl_resize(t->decoder, &t->a, NULL, size[1], size[0], f, &t->b);
  if (s != WTL_OK) return decoder_failed(t, s);
  swap_pixels(t);
  return WTL_OK;
}

static wtl_status pixel_step(const wtl_recipe *r, wtl_scratch *t, int k, int64_t i) {
  const wtl_transform *step = &r->step[k];
  int size[2], height = t->a.height, width = t->a.width;
  wtl_drawn d;
  wtl_transform_draw_step(r->step, k, &r->rng, i, height, width, &d);
  switch (step->kind) {
    case WTL_RESIZE:
      wtl_resized_size(step, height, width, size);
      return resize(t, size, step->filter);
    case WTL_RANDOM_CROP:
      if (height + step->padding[1] + step->padding[3] < step->size[0] ||
          width + step->padding[0] + step->padding[2] < step->size[1])
        return fail(t, WTL_ERR_SHAPE, false,
                    "random_crop: the image is %dx%d (height x width), less than %dx%d even with its padding; "
                    "resize it first", height, width, step->size[0], step->size[1]);
      return crop(t, d.box);
    case WTL_CENTER_CROP: return crop(t, d.box);
    case WTL_RANDOM_RESIZED_CROP:
      WTL_TRY(crop(t, d.box));
      return resize(t, step->size, step->filter);
    case WTL_RANDOM_FLIP: if (d.done) wtl_mirror(&t->a); return WTL_OK;
    default: wtl_jitter(&t->a, step, &d); return WTL_OK;
  }
}

/* A rectangle of each channel becomes a value, or normal noise numbered by the sample and the element. */
static void erase(const wtl_recipe *r, int k, int64_t i, float *x) {
  const wtl_transform *t = &r->step[k];
  wtl_drawn d;
  wtl_transform_draw_step(r->step, k, &r->rng, i, r->height, r->width, &d);
  if (!d.done) return;
  uint64_t number = ((uint64_t)i * WTL_MAX_TRANSFORMS + (uint64_t)k) * (uint64_t)r->numel;
  for (int c = 0; c < r->channels; c++) {
    for (int row = d.box[0]; row < d.box[0] + d.box[2]; row++) {
      for (int column = d.box[1]; column < d.box[1] + d.box[3]; column++) {
        int64_t at = ((int64_t)c * r->height + row) * r->width + column;
        x[at] = t->noise ? (float)wtl_rng_normal(&r->noise, number + (uint64_t)at)
            : (float)t->mean[t->n_value > 1 ? c : 0];
      }
    }
  }
}

static void planes(const wtl_recipe *r, const wtl_pixels *p, float *x) {
  size_t n = (size_t)r->height * (size_t)r->width, c = (size_t)r->channels;
  for (size_t k = 0; k < c; k++) {
    const unsigned char *from = p->data + k;
    const float *value = r->value[k];
    for (size_t i = 0; i < n; i++) x[k * n + i] = value[from[i * c]];
  }
}

static wtl_status make_floats(const wtl_recipe *r, int64_t i, float *x) {
  const float *from = (const float *)wtl_tensor_cdata(r->samples->values) + i * r->numel;
  const wtl_transform *t = r->n_step ? r->step : NULL;
  if (!t) memcpy(x, from, (size_t)r->numel * sizeof *x);
  else for (int64_t k = 0; k < r->numel; k++) x[k] = (float)(((double)from[k] - t->mean[0]) / t->sd[0]);
  return WTL_OK;
}

wtl_status wtl_sample_make(const wtl_recipe *r, wtl_scratch *t, int64_t i, float *x) {
  if (r->channels == 0) return make_floats(r, i, x);
  WTL_TRY(take_pixels(r, t, i));
  for (int k = 0; k < r->n_pixel; k++) WTL_TRY(pixel_step(r, t, k, i));
  if (t->a.height != r->height || t->a.width != r->width)
    return fail(t, WTL_ERR_SHAPE, false,
                "it is %dx%d (height x width) after the transform, others are %dx%d; end it with a "
                "crop or a resize to {h, w}", t->a.height, t->a.width, r->height, r->width);
  planes(r, &t->a, x);
  for (int k = r->n_pixel; k < r->n_step; k++)
    if (r->step[k].kind == WTL_RANDOM_ERASING) erase(r, k, i, x);
  return WTL_OK;
}
