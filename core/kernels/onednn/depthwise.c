/* Convolutions of one channel a group (depthwise) on blocked activations, by own loops over eight channels at a time: oneDNN
 * 2.6 has fast ones for few shapes only. A plane is copied into a frame of zeros first, so that no loop meets an edge.
 * Backward data is the same loop over dy, spread by the stride, and the filter turned round. Weights and their gradient stay
 * in the logical layout, which is small. */
#include <stdbool.h>
#include <string.h>

#include "depthwise.h"
#include "onednn.h"

#define TARGET
#include "depthwise_loops.h"

typedef struct depthwise {
  wtl_kernel base;
  const depthwise_loops *loops;
  int block;
  int64_t n, channels, groups; /* groups of 8 lanes in a block row, padding too */
  int64_t in[2], out[2], kernel[2], stride[2], pad[2], dilation[2];
  int64_t frame[2], back_frame[2];
  int64_t thread_floats;       /* of scratch: a frame, then the filter and its gradient, then the bias and its own */
} depthwise;

typedef struct job { const depthwise *k; const wtl_call *c; } job;

static void destroy(wtl_kernel *k) { wtl_free(k->ctx, k); }

static int64_t taps(const depthwise *k) { return k->kernel[0] * k->kernel[1]; }
static float *frame_of(const job *j, int thread) { return (float *)j->c->scratch + thread * j->k->thread_floats; }
static float *filter_of(const job *j, int thread) { return frame_of(j, thread) + j->k->thread_floats - 16 * (taps(j->k) + 1); }

/* Channel group `g` of image n of an activation with planes of `plane` columns. */
static float *group_of(const depthwise *k, const wtl_view *v, int64_t n, int64_t g, int64_t plane) {
  int64_t per = k->block / 8;
  return (float *)v->data + (n * k->groups * 8 + g / per * k->block) * plane + g % per * 8;
}

/* Rows of 8 floats, `spread` apart, into a frame of zeros at (top, left); what lies beyond the frame is left out. */
static void put(float *frame, const int64_t size[2], const int64_t at[2], const int64_t spread[2], const float *from,
                const int64_t in[2], int64_t step) {
  memset(frame, 0, (size_t)(size[0] * size[1] * 8) * sizeof *frame);
  for (int64_t r = 0; r < in[0] && at[0] + r * spread[0] < size[0]; r++) {
    float *to = frame + ((at[0] + r * spread[0]) * size[1] + at[1]) * 8;
    const float *row = from + r * in[1] * step;
    int64_t fits = (size[1] - at[1] + spread[1] - 1) / spread[1], n = in[1] < fits ? in[1] : fits;
    if (step == 8 && spread[1] == 1) memcpy(to, row, (size_t)n * 8 * sizeof *to);
    else
      for (int64_t c = 0; c < n; c++) memcpy(to + c * spread[1] * 8, row + c * step, 8 * sizeof *to);
  }
}

/* The filter of 8 channels as (kh,kw,8), turned round or not; channels beyond the last have zeros, as padding does. */
static void gather(const depthwise *k, const float *w, int64_t g, bool turned, float *to) {
  int64_t n = taps(k);
  for (int64_t t = 0; t < n; t++)
    for (int64_t l = 0; l < 8; l++) {
      int64_t ch = g * 8 + l;
      to[(turned ? n - 1 - t : t) * 8 + l] = ch < k->channels ? w[ch * n + t] : 0;
    }
}

static depthwise_grid grid_of(const depthwise *k, const int64_t out[2], const int64_t stride[2], int64_t row) {
  return (depthwise_grid){ out[0], out[1], k->kernel[0], k->kernel[1], stride[0], stride[1], k->dilation[0], k->dilation[1],
                           row * 8, k->block };
}

/* One unit of work is one group of channels of one image; a filter is gathered once for all images of a span. */
static void forward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const job *j = arg;
  const depthwise *k = j->k;
  const float *b = j->c->in[2].data;
  float *frame = frame_of(j, thread), *w = filter_of(j, thread), *bias = w + 8 * taps(k);
  static const int64_t once[2] = { 1, 1 };
  depthwise_grid grid = grid_of(k, k->out, k->stride, k->frame[1]);
  for (int64_t u = begin, last = -1; u < end; u++) {
    int64_t g = u / k->n, n = u % k->n;
    if (g != last) {
      gather(k, j->c->in[1].data, g, false, w);
      for (int64_t l = 0; l < 8; l++) bias[l] = b && g * 8 + l < k->channels ? b[g * 8 + l] : 0;
      last = g;
    }
    put(frame, k->frame, k->pad, once, group_of(k, &j->c->in[0], n, g, k->in[0] * k->in[1]), k->in, k->block);
    k->loops->correlate(&grid, frame, w, bias, group_of(k, &j->c->out[0], n, g, k->out[0] * k->out[1]));
  }
}

static void backward_data_span(void *arg, int64_t begin, int64_t end, int thread) {
  const job *j = arg;
  const depthwise *k = j->k;
  float *frame = frame_of(j, thread), *w = filter_of(j, thread), *zero = w + 8 * taps(k);
  static const int64_t once[2] = { 1, 1 };
  int64_t at[2];
  depthwise_grid grid = grid_of(k, k->in, once, k->back_frame[1]);
  for (int i = 0; i < 2; i++) at[i] = k->dilation[i] * (k->kernel[i] - 1) - k->pad[i];
  memset(zero, 0, 8 * sizeof *zero);
  for (int64_t u = begin, last = -1; u < end; u++) {
    int64_t g = u / k->n, n = u % k->n;
    if (g != last) gather(k, j->c->in[1].data, g, true, w);
    last = g;
    put(frame, k->back_frame, at, k->stride, group_of(k, &j->c->dout[0], n, g, k->out[0] * k->out[1]), k->out, k->block);
    k->loops->correlate(&grid, frame, w, zero, group_of(k, &j->c->din[0], n, g, k->in[0] * k->in[1]));
  }
}

/* One unit of work is one group of channels of all images, in their order. */
static void backward_weights_span(void *arg, int64_t begin, int64_t end, int thread) {
  const job *j = arg;
  const depthwise *k = j->k;
  int64_t n_taps = taps(k);
  float *dw = j->c->din[1].data, *db = j->c->din[2].data;
  float *frame = frame_of(j, thread), *total = filter_of(j, thread), *sum = total + 8 * n_taps;
  static const int64_t once[2] = { 1, 1 };
  depthwise_grid grid = grid_of(k, k->out, k->stride, k->frame[1]);
  for (int64_t g = begin; g < end; g++) {
    memset(total, 0, (size_t)(8 * (n_taps + 1)) * sizeof *total);
    for (int64_t n = 0; n < k->n; n++) {
      put(frame, k->frame, k->pad, once, group_of(k, &j->c->in[0], n, g, k->in[0] * k->in[1]), k->in, k->block);
      k->loops->weights(&grid, frame, group_of(k, &j->c->dout[0], n, g, k->out[0] * k->out[1]), total, sum);
    }
    for (int64_t l = 0; l < 8 && g * 8 + l < k->channels; l++) {
      for (int64_t t = 0; dw && t < n_taps; t++) dw[(g * 8 + l) * n_taps + t] = total[t * 8 + l];
      if (db) db[g * 8 + l] = sum[l];
    }
  }
}

static wtl_status forward(wtl_kernel *kernel, wtl_call *c) {
  job j = { (const depthwise *)kernel, c };
  wtl_parallel(c->ctx, j.k->n * j.k->groups, (j.k->n + 7) / 8, forward_span, &j);
  return WTL_OK;
}

static wtl_status backward(wtl_kernel *kernel, wtl_call *c) {
  job j = { (const depthwise *)kernel, c };
  if (c->din[0].data) wtl_parallel(c->ctx, j.k->n * j.k->groups, (j.k->n + 7) / 8, backward_data_span, &j);
  if (c->din[1].data || c->din[2].data) wtl_parallel(c->ctx, j.k->groups, 1, backward_weights_span, &j);
  return WTL_OK;
}

static bool measure(depthwise *k, const wtl_bind *b) {
  const wtl_attr *a = b->attr;
  k->n = b->in[0].size[0];
  k->channels = b->in[0].size[1];
  k->groups = (k->channels + k->block - 1) / k->block * (k->block / 8);
  for (int i = 0; i < 2; i++) {
    k->in[i] = b->in[0].size[2 + i];
    k->out[i] = b->out[0].size[2 + i];
    k->kernel[i] = b->in[1].size[2 + i];
    k->stride[i] = a[0].i[i];
    k->pad[i] = a[1].i[i];
    k->dilation[i] = a[2].i[i];
    int64_t reach = k->dilation[i] * (k->kernel[i] - 1);
    k->frame[i] = (k->out[i] - 1) * k->stride[i] + reach + 1;
    k->back_frame[i] = k->in[i] + reach;
    if (k->pad[i] > reach) return false; /* outputs that see padding alone */
  }
  int64_t one = k->frame[0] * k->frame[1], other = k->back_frame[0] * k->back_frame[1];
  k->thread_floats = 8 * (b->backward && other > one ? other : one) + 16 * (taps(k) + 1);
  return true;
}

static wtl_status answer(depthwise *k, onednn_engine *e, wtl_bind *b) {
  WTL_TRY(onednn_blocked(e, &b->in[0], k->block, &b->in_want[0]));
  WTL_TRY(onednn_blocked(e, &b->out[0], k->block, &b->out_layout[0]));
  b->back_want[0] = b->din_layout[0] = b->in_want[0];
  b->scratch_bytes = (size_t)(wtl_threads(b->ctx) * k->thread_floats) * sizeof(float);
  b->saved_bytes = 0;
  b->reads_in = (b->want_din[1] || b->want_din[2] ? 1u : 0) | (b->want_din[0] ? 2u : 0);
  b->reads_out = 0;
  return WTL_OK;
}

wtl_status onednn_bind_depthwise(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  int block = b->in_layout[0] ? b->in_layout[0]->block : 8;
  const depthwise_loops *fast = depthwise_avx2();
  depthwise *k = wtl_alloc(b->ctx, sizeof *k);
  if (!k) return WTL_ERR_MEMORY;
  k->base = (wtl_kernel){ &wtl_provider_onednn, "own:depthwise", forward, backward, NULL, destroy, b->ctx };
  k->loops = fast ? fast : &loops;
  k->block = block == 16 ? 16 : 8;
  bool any = wtl_shape_numel(&b->in[0]) && wtl_shape_numel(&b->out[0]);
  wtl_status s = any && measure(k, b) ? answer(k, e, b) : WTL_ERR_UNSUPPORTED;
  if (s != WTL_OK) {
    destroy(&k->base);
    return s;
  }
  *out = &k->base;
  return WTL_OK;
}
