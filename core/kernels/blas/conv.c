/* conv2d as matrix products: per image, the windows are laid out as columns (im2col) and multiplied by the weights
 * with SGEMM. Images run in parallel; weight gradients are summed per fixed chunk of images, chunks in order. */
#include <string.h>

#include "blas.h"

typedef struct conv_kernel {
  wtl_kernel base;
  int64_t n, c, h, w, o, kh, kw, oh, ow;
  int64_t sh, sw, ph, pw, dh, dw, groups;
  int64_t rows, plane;     /* of one group's columns: (C/groups)*KH*KW and OH*OW */
  bool direct;             /* 1x1, stride 1: the image is its own columns */
  int64_t chunks, per_chunk;
  size_t col_floats;       /* one thread's columns, rounded to a cache line */
} conv_kernel;

typedef struct conv_job { const conv_kernel *k; const wtl_call *c; float *cols, *partial; bool serial; } conv_job;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Output columns whose input column j*s - p + v*d lies in [0, w): [*lo, *hi). */
static void valid_range(int64_t ow, int64_t s, int64_t shift, int64_t w, int64_t *lo, int64_t *hi) {
  *lo = shift >= 0 ? 0 : least(ow, (-shift + s - 1) / s);
  *hi = shift >= w ? *lo : least(ow, (w - shift + s - 1) / s);
  if (*hi < *lo) *hi = *lo;
}

/* x (C/groups,H,W) -> col (C/groups*KH*KW, OH*OW) */
static void im2col(const conv_kernel *k, const float *x, float *col) {
  int64_t channels = k->rows / (k->kh * k->kw);
  for (int64_t c = 0; c < channels; c++)
    for (int64_t u = 0; u < k->kh; u++)
      for (int64_t v = 0; v < k->kw; v++) {
        int64_t lo, hi, shift = v * k->dw - k->pw;
        valid_range(k->ow, k->sw, shift, k->w, &lo, &hi);
        for (int64_t i = 0; i < k->oh; i++, col += k->ow) {
          int64_t row = i * k->sh - k->ph + u * k->dh;
          if (row < 0 || row >= k->h) {
            memset(col, 0, (size_t)k->ow * sizeof *col);
            continue;
          }
          const float *from = x + (c * k->h + row) * k->w + shift;
          for (int64_t j = 0; j < lo; j++) col[j] = 0;
          for (int64_t j = lo; j < hi; j++) col[j] = from[j * k->sw];
          for (int64_t j = hi; j < k->ow; j++) col[j] = 0;
        }
      }
}

/* The transpose: dx += windows of col. */
static void col2im(const conv_kernel *k, const float *col, float *dx) {
  int64_t channels = k->rows / (k->kh * k->kw);
  for (int64_t c = 0; c < channels; c++)
    for (int64_t u = 0; u < k->kh; u++)
      for (int64_t v = 0; v < k->kw; v++) {
        int64_t lo, hi, shift = v * k->dw - k->pw;
        valid_range(k->ow, k->sw, shift, k->w, &lo, &hi);
        for (int64_t i = 0; i < k->oh; i++, col += k->ow) {
          int64_t row = i * k->sh - k->ph + u * k->dh;
          if (row < 0 || row >= k->h) continue;
          float *to = dx + (c * k->h + row) * k->w + shift;
          for (int64_t j = lo; j < hi; j++) to[j * k->sw] += col[j];
        }
      }
}

static void multiply(const conv_job *j, const blas_gemm *g) {
  if (j->serial) blas_gemm_parallel(j->c->ctx, g);
  else blas_gemm_serial(g);
}

static const float *columns(const conv_kernel *k, const float *x, float *cols) {
  if (k->direct) return x;
  im2col(k, x, cols);
  return cols;
}

/* This thread's room for columns; NULL where the image is its own columns. */
static float *thread_columns(const conv_job *j, int thread) {
  return j->k->direct ? NULL : j->cols + (size_t)thread * j->k->col_floats;
}

static void forward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const conv_job *j = arg;
  const conv_kernel *k = j->k;
  const float *x = j->c->in[0].data, *w = j->c->in[1].data, *b = j->c->in[2].data;
  float *y = j->c->out[0].data, *cols = thread_columns(j, thread);
  int64_t og = k->o / k->groups, cg = k->c / k->groups;
  for (int64_t n = begin; n < end; n++)
    for (int64_t g = 0; g < k->groups; g++) {
      const float *col = columns(k, x + (n * k->c + g * cg) * k->h * k->w, cols);
      float *to = y + (n * k->o + g * og) * k->plane;
      for (int64_t o = 0; b && o < og; o++)
        for (int64_t p = 0; p < k->plane; p++) to[o * k->plane + p] = b[g * og + o];
      multiply(j, &(blas_gemm){ false, false, og, k->plane, k->rows, w + g * og * k->rows, col, k->rows, k->plane, k->plane, b ? 1 : 0, to });
    }
}

static void backward_data_span(void *arg, int64_t begin, int64_t end, int thread) {
  const conv_job *j = arg;
  const conv_kernel *k = j->k;
  const float *w = j->c->in[1].data, *dy = j->c->dout[0].data;
  float *dx = j->c->din[0].data, *cols = thread_columns(j, thread);
  int64_t og = k->o / k->groups, cg = k->c / k->groups;
  for (int64_t n = begin; n < end; n++)
    for (int64_t g = 0; g < k->groups; g++) {
      float *to = dx + (n * k->c + g * cg) * k->h * k->w;
      const float *from = dy + (n * k->o + g * og) * k->plane;
      multiply(j, &(blas_gemm){ true, false, k->rows, k->plane, og, w + g * og * k->rows, from, k->rows, k->plane, k->plane, 0,
                                k->direct ? to : cols });
      if (k->direct) continue;
      memset(to, 0, (size_t)(cg * k->h * k->w) * sizeof *to);
      col2im(k, cols, to);
    }
}

/* begin and end count chunks of images. */
static void backward_weights_span(void *arg, int64_t begin, int64_t end, int thread) {
  const conv_job *j = arg;
  const conv_kernel *k = j->k;
  const float *x = j->c->in[0].data, *dy = j->c->dout[0].data;
  float *cols = thread_columns(j, thread);
  int64_t og = k->o / k->groups, cg = k->c / k->groups;
  for (int64_t chunk = begin; chunk < end; chunk++) {
    float *dw = j->partial + chunk * k->o * k->rows;
    int64_t first = chunk * k->per_chunk, last = least(k->n, first + k->per_chunk);
    for (int64_t n = first; n < last; n++)
      for (int64_t g = 0; g < k->groups; g++) {
        const float *col = columns(k, x + (n * k->c + g * cg) * k->h * k->w, cols);
        const float *from = dy + (n * k->o + g * og) * k->plane;
        multiply(j, &(blas_gemm){ false, true, og, k->rows, k->plane, from, col, k->plane, k->plane, k->rows, n > first ? 1 : 0,
                                  dw + g * og * k->rows });
      }
  }
}

static void sum_partials_span(void *arg, int64_t begin, int64_t end, int thread) {
  const conv_job *j = arg;
  int64_t size = j->k->o * j->k->rows;
  float *dw = j->c->din[1].data;
  (void)thread;
  for (int64_t i = begin; i < end; i++) {
    float sum = j->partial[i];
    for (int64_t c = 1; c < j->k->chunks; c++) sum += j->partial[c * size + i];
    dw[i] = sum;
  }
}

static void bias_span(void *arg, int64_t begin, int64_t end, int thread) {
  const conv_job *j = arg;
  const conv_kernel *k = j->k;
  const float *dy = j->c->dout[0].data;
  float *db = j->c->din[2].data;
  (void)thread;
  for (int64_t o = begin; o < end; o++) {
    double sum = 0;
    for (int64_t n = 0; n < k->n; n++)
      for (int64_t p = 0; p < k->plane; p++) sum += dy[(n * k->o + o) * k->plane + p];
    db[o] = (float)sum;
  }
}

static conv_job job(wtl_kernel *kernel, const wtl_call *c) {
  const conv_kernel *k = (const conv_kernel *)kernel;
  size_t cols = (size_t)wtl_threads(c->ctx) * k->col_floats;
  float *scratch = c->scratch; /* NULL where a direct convolution needs none */
  return (conv_job){ k, c, scratch, scratch ? scratch + cols : NULL, k->n == 1 };
}

static wtl_status forward(wtl_kernel *kernel, wtl_call *c) {
  conv_job j = job(kernel, c);
  wtl_parallel(c->ctx, j.k->n, 1, forward_span, &j);
  return WTL_OK;
}

static wtl_status backward(wtl_kernel *kernel, wtl_call *c) {
  conv_job j = job(kernel, c);
  if (c->din[0].data) wtl_parallel(c->ctx, j.k->n, 1, backward_data_span, &j);
  if (c->din[1].data) {
    wtl_parallel(c->ctx, j.k->chunks, 1, backward_weights_span, &j);
    wtl_parallel(c->ctx, j.k->o * j.k->rows, WTL_SPAN, sum_partials_span, &j);
  }
  if (c->din[2].data) wtl_parallel(c->ctx, j.k->o, 1, bias_span, &j);
  return WTL_OK;
}

static void destroy(wtl_kernel *k) { wtl_free(k->ctx, k); }

wtl_status blas_bind_conv2d(wtl_bind *b, wtl_kernel **out) {
  const wtl_attr *a = b->attr;
  const wtl_shape *x = &b->in[0], *w = &b->in[1], *y = &b->out[0];
  if (wtl_shape_numel(x) == 0 || wtl_shape_numel(y) == 0) return WTL_ERR_UNSUPPORTED;
  conv_kernel *k = wtl_alloc(b->ctx, sizeof *k);
  if (!k) return WTL_ERR_MEMORY;
  *k = (conv_kernel){
    .base = { &wtl_provider_blas, "im2col+sgemm", forward, backward, NULL, destroy, b->ctx },
    .n = x->size[0], .c = x->size[1], .h = x->size[2], .w = x->size[3], .o = w->size[0], .kh = w->size[2], .kw = w->size[3],
    .oh = y->size[2], .ow = y->size[3], .sh = a[0].i[0], .sw = a[0].i[1], .ph = a[1].i[0], .pw = a[1].i[1],
    .dh = a[2].i[0], .dw = a[2].i[1], .groups = a[3].i[0] };
  k->rows = w->size[1] * k->kh * k->kw;
  k->plane = k->oh * k->ow;
  k->direct = k->kh == 1 && k->kw == 1 && k->sh == 1 && k->sw == 1 && !k->ph && !k->pw;
  k->base.impl = k->direct ? "sgemm" : "im2col+sgemm";
  k->per_chunk = (k->n + 7) / 8;
  k->chunks = (k->n + k->per_chunk - 1) / k->per_chunk;
  k->col_floats = k->direct ? 0 : ((size_t)(k->rows * k->plane) + 15) / 16 * 16;
  size_t partial = b->backward && b->want_din[1] ? (size_t)(k->chunks * k->o * k->rows) : 0;
  b->scratch_bytes = ((size_t)wtl_threads(b->ctx) * k->col_floats + partial) * sizeof(float);
  b->saved_bytes = 0;
  b->reads_in = (b->want_din[1] ? 1u : 0) | (b->want_din[0] ? 2u : 0);
  b->reads_out = 0;
  *out = &k->base;
  return WTL_OK;
}
