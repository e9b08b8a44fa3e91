/* Convolutions onto planes of a few pixels, as matrix products over the whole batch: the windows of many images side by side
 * make one matrix as long as a product needs, so the filters are read once for all, where oneDNN's loops read them for each
 * image. Activations stay blocked; weights and their gradient stay logical, so neither has a derived form to refresh. */
#include <string.h>

#include "blas.h"
#include "onednn.h"

typedef struct small_kernel {
  wtl_kernel base;
  int block;
  int64_t n, c, o, in[2], out[2], kernel[2], stride[2], pad[2], dilation[2];
  int64_t rows, plane;          /* a window's inputs; pixels of an output plane */
  int64_t images;               /* in one matrix product */
} small_kernel;

/* Images [first, first + images) at work: columns (pixels, rows) and values (pixels, o). */
typedef struct small_job {
  const small_kernel *k;
  const wtl_call *c;
  int64_t first, images;
  float *columns, *values;
} small_job;

enum { COLUMN_FLOATS = 1 << 21 }; /* about as many columns at once */

static void destroy(wtl_kernel *k) { wtl_free(k->ctx, k); }

static int64_t blocks_of(const small_kernel *k, int64_t channels) { return (channels + k->block - 1) / k->block; }

/* Where in its plane tap (u,v) of output pixel p lies, or -1. */
static int64_t tap_place(const small_kernel *k, int64_t p, int64_t u, int64_t v) {
  int64_t row = p / k->out[1] * k->stride[0] - k->pad[0] + u * k->dilation[0];
  int64_t col = p % k->out[1] * k->stride[1] - k->pad[1] + v * k->dilation[1];
  return row < 0 || row >= k->in[0] || col < 0 || col >= k->in[1] ? -1 : row * k->in[1] + col;
}

/* One unit of work is one block of channels of one image: its part of the windows to columns, or back and summed. */
static void window_span(const small_job *j, const wtl_view *x, bool back, int64_t begin, int64_t end) {
  const small_kernel *k = j->k;
  int64_t blocks = blocks_of(k, k->c), taps = k->kernel[0] * k->kernel[1], pixels = k->in[0] * k->in[1];
  for (int64_t unit = begin; unit < end; unit++) {
    int64_t n = unit / blocks, c0 = unit % blocks * k->block, lanes = k->c - c0 < k->block ? k->c - c0 : k->block;
    float *plane = (float *)x->data + ((j->first + n) * blocks * k->block + c0) * pixels;
    if (back) memset(plane, 0, (size_t)(pixels * k->block) * sizeof *plane);
    for (int64_t p = 0; p < k->plane; p++)
      for (int64_t t = 0; t < taps; t++) {
        int64_t place = tap_place(k, p, t / k->kernel[1], t % k->kernel[1]);
        float *column = j->columns + (n * k->plane + p) * k->rows + c0 * taps + t, *at = plane + place * k->block;
        if (back && place >= 0)
          for (int64_t l = 0; l < lanes; l++) at[l] += column[l * taps];
        else if (!back)
          for (int64_t l = 0; l < lanes; l++) column[l * taps] = place < 0 ? 0 : at[l];
      }
  }
}

static void columns_span(void *arg, int64_t begin, int64_t end, int thread) {
  const small_job *j = arg;
  (void)thread;
  window_span(j, &j->c->in[0], false, begin, end);
}

static void columns_back_span(void *arg, int64_t begin, int64_t end, int thread) {
  const small_job *j = arg;
  (void)thread;
  window_span(j, &j->c->din[0], true, begin, end);
}

/* One unit of work is one block of channels of one image, its padding too. */
static void values_out_span(void *arg, int64_t begin, int64_t end, int thread) {
  const small_job *j = arg;
  const small_kernel *k = j->k;
  const float *b = j->c->in[2].data;
  int64_t blocks = blocks_of(k, k->o);
  (void)thread;
  for (int64_t unit = begin; unit < end; unit++) {
    int64_t n = unit / blocks, o0 = unit % blocks * k->block, lanes = k->o - o0 < k->block ? k->o - o0 : k->block;
    float *y = (float *)j->c->out[0].data + ((j->first + n) * blocks * k->block + o0) * k->plane;
    for (int64_t p = 0; p < k->plane; p++, y += k->block) {
      const float *value = j->values + (n * k->plane + p) * k->o + o0;
      for (int64_t l = 0; l < k->block; l++) y[l] = l < lanes ? value[l] + (b ? b[o0 + l] : 0) : 0;
    }
  }
}

static void values_in_span(void *arg, int64_t begin, int64_t end, int thread) {
  const small_job *j = arg;
  const small_kernel *k = j->k;
  int64_t blocks = blocks_of(k, k->o);
  (void)thread;
  for (int64_t unit = begin; unit < end; unit++) {
    int64_t n = unit / blocks, o0 = unit % blocks * k->block, lanes = k->o - o0 < k->block ? k->o - o0 : k->block;
    const float *dy = (const float *)j->c->dout[0].data + ((j->first + n) * blocks * k->block + o0) * k->plane;
    for (int64_t p = 0; p < k->plane; p++, dy += k->block)
      memcpy(j->values + (n * k->plane + p) * k->o + o0, dy, (size_t)lanes * sizeof *dy);
  }
}

/* db += the sum of values over pixels; one unit of work is one output channel. */
static void bias_span(void *arg, int64_t begin, int64_t end, int thread) {
  const small_job *j = arg;
  float *db = j->c->din[2].data;
  (void)thread;
  for (int64_t o = begin; o < end; o++) {
    double sum = j->first ? db[o] : 0;
    for (int64_t p = 0; p < j->images * j->k->plane; p++) sum += j->values[p * j->k->o + o];
    db[o] = (float)sum;
  }
}

/* The next images at work; false after the last. */
static bool next(small_job *j) {
  const small_kernel *k = j->k;
  j->first += j->images;
  j->images = k->n - j->first < k->images ? k->n - j->first : k->images;
  return j->images > 0;
}

static small_job start(const wtl_kernel *kernel, const wtl_call *c) {
  const small_kernel *k = (const small_kernel *)kernel;
  float *columns = c->scratch;
  return (small_job){ k, c, 0, 0, columns, columns + k->images * k->plane * k->rows };
}

static wtl_status forward(wtl_kernel *kernel, wtl_call *c) {
  small_job j = start(kernel, c);
  const small_kernel *k = j.k;
  while (next(&j)) {
    wtl_parallel(c->ctx, j.images * blocks_of(k, k->c), 8, columns_span, &j);
    blas_gemm_parallel(c->ctx, &(blas_gemm){ false, true, j.images * k->plane, k->o, k->rows, j.columns, c->in[1].data, k->rows,
                                             k->rows, k->o, 0, j.values });
    wtl_parallel(c->ctx, j.images * blocks_of(k, k->o), 64, values_out_span, &j);
  }
  return WTL_OK;
}

static wtl_status backward(wtl_kernel *kernel, wtl_call *c) {
  small_job j = start(kernel, c);
  const small_kernel *k = j.k;
  while (next(&j)) {
    int64_t pixels = j.images * k->plane;
    wtl_parallel(c->ctx, j.images * blocks_of(k, k->o), 64, values_in_span, &j);
    if (c->din[2].data) wtl_parallel(c->ctx, k->o, 64, bias_span, &j);
    if (c->din[1].data) {
      wtl_parallel(c->ctx, j.images * blocks_of(k, k->c), 8, columns_span, &j);
      blas_gemm_parallel(c->ctx, &(blas_gemm){ true, false, k->o, k->rows, pixels, j.values, j.columns, k->o, k->rows, k->rows,
                                               j.first ? 1 : 0, c->din[1].data });
    }
    if (c->din[0].data) {
      blas_gemm_parallel(c->ctx, &(blas_gemm){ false, false, pixels, k->rows, k->o, j.values, c->in[1].data, k->o, k->rows,
                                               k->rows, 0, j.columns });
      wtl_parallel(c->ctx, j.images * blocks_of(k, k->c), 8, columns_back_span, &j);
    }
  }
  return WTL_OK;
}

static void measure(small_kernel *k, const wtl_bind *b) {
  const wtl_attr *a = b->attr;
  k->n = b->in[0].size[0];
  k->c = b->in[0].size[1];
  k->o = b->out[0].size[1];
  for (int i = 0; i < 2; i++) {
    k->in[i] = b->in[0].size[2 + i];
    k->out[i] = b->out[0].size[2 + i];
    k->kernel[i] = b->in[1].size[2 + i];
    k->stride[i] = a[0].i[i];
    k->pad[i] = a[1].i[i];
    k->dilation[i] = a[2].i[i];
  }
  k->rows = k->c * k->kernel[0] * k->kernel[1];
  k->plane = k->out[0] * k->out[1];
  k->images = COLUMN_FLOATS / (k->rows * k->plane);
  if (k->images < 1) k->images = 1;
  if (k->images > k->n) k->images = k->n;
}

wtl_status onednn_bind_conv_small(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  const wtl_layout *l = b->in_layout[0];
  bool any = wtl_shape_numel(&b->in[0]) && wtl_shape_numel(&b->out[0]) && wtl_shape_numel(&b->in[1]) <= INT32_MAX;
  if (b->attr[3].i[0] != 1 || !l || (l->block != 8 && l->block != 16) || !any) return WTL_ERR_UNSUPPORTED;
  small_kernel *k = wtl_alloc(b->ctx, sizeof *k);
  if (!k) return WTL_ERR_MEMORY;
  k->base = (wtl_kernel){ &wtl_provider_onednn, "own:sgemm", forward, backward, NULL, destroy, b->ctx };
  k->block = l->block;
  measure(k, b);
  wtl_status s = onednn_blocked(e, &b->out[0], l->block, &b->out_layout[0]);
  if (s != WTL_OK) {
    destroy(&k->base);
    return s;
  }
  b->in_want[0] = b->back_want[0] = b->din_layout[0] = l;
  b->scratch_bytes = (size_t)(k->images * k->plane * (k->rows + k->o)) * sizeof(float);
  b->saved_bytes = 0;
  b->reads_in = (b->want_din[1] ? 1u : 0) | (b->want_din[0] ? 2u : 0);
  b->reads_out = 0;
  *out = &k->base;
  return WTL_OK;
}
