/* Scaling as Pillow's Image.resize does it, to the last bit: antialiased bilinear and bicubic (the filter widens with the
 * reduction) in two passes, rows first, each rounded to bytes, with weights in 22 bits of fraction; and nearest. The box
 * goes through float, as there. Kernels: plain C here, AVX2 in resize_avx2.c, chosen at run time, the same bits. */
#include <math.h>
#include <string.h>

#include "decoder.h"
#include "resize.h"

/* ---- weights ---- */

static double triangle(double x) {
  x = fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

/* Keys's cubic convolution with a = -1/2. */
static double cubic(double x) {
  x = fabs(x);
  if (x < 1.0) return ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * -0.5;
  return 0.0;
}

typedef struct axis { int in, out; float low, high; } axis; /* sizes, and the box along it */

static void split(const int32_t *weight, int most, int16_t *to) {
  for (int t = 0; t < most; t++) {
    to[t / 4 * 8 + t % 4] = (int16_t)(weight[t] & 4095);
    to[t / 4 * 8 + 4 + t % 4] = (int16_t)(weight[t] >> 12);
  }
}

static void weigh(wtl_weights *w, int i, axis a, wtl_filter f, double scale, double support, double *real) {
  double center = a.low + (i + 0.5) * scale, stretch = scale < 1.0 ? 1.0 : scale, shrink = 1.0 / stretch, sum = 0.0;
  int32_t *weight = w->weight + (size_t)i * (size_t)w->most;
  int first = (int)(center - support + 0.5), last = (int)(center + support + 0.5);
  if (first < 0) first = 0;
  if (last > a.in) last = a.in;
  int count = last > first ? last - first : 0;
  for (int t = 0; t < count; t++) {
    double x = (t + first - center + 0.5) * shrink;
    real[t] = f == WTL_BICUBIC ? cubic(x) : triangle(x);
    sum += real[t];
  }
  for (int t = 0; t < count; t++) {
    double v = (sum != 0.0 ? real[t] / sum : real[t]) * (1 << WTL_RESIZE_BITS);
    weight[t] = v < 0 ? (int)(-0.5 + v) : (int)(0.5 + v);
  }
  for (int t = count; t < w->most; t++) weight[t] = 0;
  w->bounds[2 * i] = first;
  w->bounds[2 * i + 1] = count;
  split(weight, w->most, w->split + 2 * (size_t)i * (size_t)w->most);
}

/* block: the decoder's, for bounds, weights (a row of reals in front) and split weights. */
static wtl_status make_weights(wtl_decoder *d, axis a, wtl_filter f, wtl_block block[3], wtl_weights *w) {
  double scale = (double)(a.high - a.low) / a.out, stretch = scale < 1.0 ? 1.0 : scale;
  double support = (f == WTL_BICUBIC ? 2.0 : 1.0) * stretch;
  int64_t most = ((int64_t)ceil(support) * 2 + 1 + 7) / 8 * 8;
  size_t all = (size_t)most * (size_t)a.out;
  w->n = a.out;
  w->most = (int)most;
  w->bounds = wtl_block_need(d, &block[0], 2 * (size_t)a.out * sizeof *w->bounds);
  if (!w->bounds) return WTL_ERR_MEMORY;
  double *real = wtl_block_need(d, &block[1], (size_t)most * sizeof(double) + all * sizeof *w->weight);
  if (!real) return WTL_ERR_MEMORY;
  w->weight = (int32_t *)(real + most);
  w->split = wtl_block_need(d, &block[2], 2 * all * sizeof *w->split);
  if (!w->split) return WTL_ERR_MEMORY;
  for (int i = 0; i < a.out; i++) weigh(w, i, a, f, scale, support, real);
  return WTL_OK;
}

/* ---- kernels in plain C ---- */

static void row_plain(const wtl_weights *w, const unsigned char *in, int channels, unsigned char *out) {
  for (int i = 0; i < w->n; i++, out += channels) {
    const int32_t *k = w->weight + (size_t)i * (size_t)w->most;
    const unsigned char *p = in + (size_t)w->bounds[2 * i] * (size_t)channels;
    int32_t half = 1 << (WTL_RESIZE_BITS - 1), sum[4] = { half, half, half, half };
    if (channels == 3) {
      for (int t = 0; t < w->bounds[2 * i + 1]; t++, p += 3) {
        sum[0] += p[0] * k[t];
        sum[1] += p[1] * k[t];
        sum[2] += p[2] * k[t];
      }
    } else {
      for (int t = 0; t < w->bounds[2 * i + 1]; t++, p += channels)
        for (int c = 0; c < channels; c++) sum[c] += p[c] * k[t];
    }
    for (int c = 0; c < channels; c++) out[c] = wtl_resize_clip(sum[c]);
  }
}

static void across_plain(const wtl_weights *w, const wtl_pixels *in, int first, wtl_pixels *out) {
  size_t c = (size_t)in->channels, from = (size_t)in->width * c, to = (size_t)out->width * c;
  for (int y = 0; y < out->height; y++)
    row_plain(w, in->data + (size_t)(first + y) * from, in->channels, out->data + (size_t)y * to);
}

#define LANES 256 /* sums at a time, all in the first cache */

static void down_plain(const int32_t *weight, int count, const unsigned char *in, size_t bytes, unsigned char *out) {
  int32_t sum[LANES];
  for (size_t x = 0; x < bytes; x += LANES) {
    size_t n = bytes - x < LANES ? bytes - x : LANES;
    for (size_t i = 0; i < LANES; i++) sum[i] = 1 << (WTL_RESIZE_BITS - 1);
    for (int t = 0; t < count; t++) {
      const unsigned char *p = in + (size_t)t * bytes + x;
      for (size_t i = 0; i < n; i++) sum[i] += p[i] * weight[t];
    }
    for (size_t i = 0; i < n; i++) out[x + i] = wtl_resize_clip(sum[i]);
  }
}

static void to_planes_plain(const unsigned char *from, size_t n, unsigned char *to) {
  for (size_t i = 0; i < n; i++, from += 3) {
    to[i] = from[0];
    to[n + i] = from[1];
    to[2 * n + i] = from[2];
  }
}

static void from_planes_plain(const unsigned char *from, size_t n, unsigned char *to) {
  for (size_t i = 0; i < n; i++, to += 3) {
    to[0] = from[i];
    to[1] = from[n + i];
    to[2] = from[2 * n + i];
  }
}

const wtl_resize_kernels wtl_resize_plain = { across_plain, down_plain, to_planes_plain, from_planes_plain };

const wtl_resize_kernels *wtl_resize_fastest(void) {
  const wtl_resize_kernels *k = wtl_resize_avx2();
  return k ? k : &wtl_resize_plain;
}

/* ---- passes ---- */

static void crop(const wtl_pixels *in, const float box[4], wtl_pixels *out) {
  size_t c = (size_t)in->channels, from = (size_t)in->width * c, to = (size_t)out->width * c;
  const unsigned char *p = in->data + (size_t)box[1] * from + (size_t)box[0] * c;
  for (int y = 0; y < out->height; y++) memcpy(out->data + (size_t)y * to, p + (size_t)y * from, to);
}

/* The position of sample i is summed up, not multiplied out, as in Pillow. Outside is black. */
static wtl_status nearest(wtl_decoder *d, const wtl_pixels *in, const float box[4], wtl_pixels *out) {
  double step_x = (double)(box[2] - box[0]) / out->width, step_y = (double)(box[3] - box[1]) / out->height;
  double x = box[0] + step_x * 0.5, y = box[1] + step_y * 0.5;
  size_t c = (size_t)in->channels;
  int *column = wtl_block_need(d, &d->horizontal[0], (size_t)out->width * sizeof *column);
  if (!column) return WTL_ERR_MEMORY;
  for (int i = 0; i < out->width; i++, x += step_x) column[i] = x < in->width ? (int)x : -1;
  unsigned char *to = out->data;
  for (int i = 0; i < out->height; i++, y += step_y) {
    const unsigned char *row = y < in->height ? in->data + (size_t)(int)y * (size_t)in->width * c : NULL;
    int seen = row ? out->width : 0; /* columns that are inside: those outside come last */
    while (seen > 0 && column[seen - 1] < 0) seen--;
    if (c == 3) {
      for (int k = 0; k < seen; k++, to += 3) memcpy(to, row + (size_t)column[k] * 3, 3);
    } else {
      for (int k = 0; k < seen; k++, to += c) memcpy(to, row + (size_t)column[k] * c, c);
    }
    memset(to, 0, (size_t)(out->width - seen) * c);
    to += (size_t)(out->width - seen) * c;
  }
  return WTL_OK;
}

/* first: the row of the source that in begins with. */
static void pass_down(const wtl_resize_kernels *k, const wtl_weights *w, const wtl_pixels *in, int first, wtl_pixels *out) {
  size_t bytes = (size_t)out->width * (size_t)out->channels;
  for (int y = 0; y < out->height; y++) {
    const unsigned char *from = in->data + (size_t)(w->bounds[2 * y] - first) * bytes;
    k->down(w->weight + (size_t)y * (size_t)w->most, w->bounds[2 * y + 1], from, bytes, out->data + (size_t)y * bytes);
  }
}

static wtl_status two_passes(wtl_decoder *d, const wtl_pixels *in, const float box[4], wtl_filter f, wtl_pixels *out) {
  const wtl_resize_kernels *k = wtl_resize_fastest();
  bool across = out->width != in->width || box[0] != 0 || box[2] != (float)out->width;
  bool down = out->height != in->height || box[1] != 0 || box[3] != (float)out->height;
  wtl_weights h, v;
  WTL_TRY(make_weights(d, (axis){ in->width, out->width, box[0], box[2] }, f, d->horizontal, &h));
  WTL_TRY(make_weights(d, (axis){ in->height, out->height, box[1], box[3] }, f, d->vertical, &v));
  /* Only the rows that the second pass reads. */
  int first = v.bounds[0], last = v.bounds[2 * v.n - 2] + v.bounds[2 * v.n - 1];
  if (!down) {
    k->across(&h, in, 0, out);
  } else if (!across) {
    pass_down(k, &v, in, 0, out);
  } else {
    WTL_TRY(wtl_pixels_reserve(d, &d->narrowed, out->width, last - first, in->channels));
    k->across(&h, in, first, &d->narrowed);
    pass_down(k, &v, &d->narrowed, first, out);
  }
  return WTL_OK;
}

wtl_status wtl_resize(wtl_decoder *d, const wtl_pixels *in, const double given[4], int width, int height, wtl_filter f,
                      wtl_pixels *out) {
  float box[4] = { 0, 0, (float)in->width, (float)in->height };
  for (int i = 0; given && i < 4; i++) box[i] = (float)given[i];
  if (f != WTL_NEAREST && f != WTL_BILINEAR && f != WTL_BICUBIC) return wtl_decoder_fail(d, WTL_ERR_ARG, "resize: no filter %d", (int)f);
  if (in->channels < 1 || in->channels > 4) return wtl_decoder_fail(d, WTL_ERR_ARG, "resize: %d channels; 1 to 4 are known", in->channels);
  if (width < 1 || height < 1 || width > WTL_MAX_SIDE || height > WTL_MAX_SIDE || (int64_t)width * height > WTL_MAX_PIXELS) {
    return wtl_decoder_fail(d, WTL_ERR_ARG, "resize: to %dx%d; each is 1 to %d, and both make at most %d pixels", width, height,
                            WTL_MAX_SIDE, WTL_MAX_PIXELS);
  }
  if (!(box[0] >= 0 && box[1] >= 0 && box[2] > box[0] && box[3] > box[1] && box[2] <= (float)in->width && box[3] <= (float)in->height)) {
    return wtl_decoder_fail(d, WTL_ERR_ARG, "resize: the box %g, %g .. %g, %g is empty or not inside %dx%d", box[0], box[1], box[2],
                            box[3], in->width, in->height);
  }
  WTL_TRY(wtl_pixels_reserve(d, out, width, height, in->channels));
  bool whole = box[0] == floorf(box[0]) && box[1] == floorf(box[1]);
  if (whole && box[2] - box[0] == (float)width && box[3] - box[1] == (float)height) {
    crop(in, box, out);
    return WTL_OK;
  }
  return f == WTL_NEAREST ? nearest(d, in, box, out) : two_passes(d, in, box, f, out);
}
