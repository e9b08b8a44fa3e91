/* mul of an activation (N,C,H,W) in a blocked layout by a gate (N,C,1,1), as squeeze-and-excite has it, by own loops. The gate
 * stays logical: it comes from a function that does not keep 0. Other products are the plain kernel's. */
#include <string.h>

#include "onednn.h"

typedef struct gate_kernel { wtl_kernel base; int x, gate, block; int64_t channels, blocks, plane; } gate_kernel;
typedef struct gate_job { const gate_kernel *k; const wtl_call *c; } gate_job;

static void destroy(wtl_kernel *k) { wtl_free(k->ctx, k); }

/* How many channels block `unit` (of all images) has, and where its gates are. */
static int lanes_of(const gate_kernel *k, int64_t unit, int64_t *at) {
  int64_t first = unit % k->blocks * k->block, left = k->channels - first;
  *at = unit / k->blocks * k->channels + first;
  return left < k->block ? (int)left : k->block;
}

/* to = from * gate over a block's plane; gate has zeros where the layout has padding. */
static void scale(const gate_kernel *k, float *to, const float *from, const float *gate) {
  for (int64_t p = 0; p < k->plane; p++)
    for (int h = 0; h < k->block; h += 8, to += 8, from += 8)
      for (int l = 0; l < 8; l++) to[l] = from[l] * gate[h + l];
}

/* One unit of work is one block of channels of one image. */
static void forward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const gate_job *j = arg;
  const gate_kernel *k = j->k;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    int64_t place = u * k->plane * k->block, at;
    float gate[16] = { 0 };
    int n = lanes_of(k, u, &at);
    memcpy(gate, (const float *)j->c->in[k->gate].data + at, (size_t)n * sizeof *gate);
    scale(k, (float *)j->c->out[0].data + place, (const float *)j->c->in[k->x].data + place, gate);
  }
}

static void backward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const gate_job *j = arg;
  const gate_kernel *k = j->k;
  float *dx = j->c->din[k->x].data, *dgate = j->c->din[k->gate].data;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    int64_t place = u * k->plane * k->block, at;
    const float *dy = (const float *)j->c->dout[0].data + place;
    int n = lanes_of(k, u, &at);
    if (dgate) {
      const float *x = (const float *)j->c->in[k->x].data + place;
      double sum[16] = { 0 };
      for (int64_t p = 0; p < k->plane; p++)
        for (int l = 0; l < k->block; l++) sum[l] += (double)(dy[p * k->block + l] * x[p * k->block + l]);
      for (int l = 0; l < n; l++) dgate[at + l] = (float)sum[l];
    }
    if (dx) {
      float gate[16] = { 0 };
      memcpy(gate, (const float *)j->c->in[k->gate].data + at, (size_t)n * sizeof *gate);
      scale(k, dx + place, dy, gate);
    }
  }
}

static wtl_status forward(wtl_kernel *kernel, wtl_call *c) {
  gate_job j = { (const gate_kernel *)kernel, c };
  wtl_parallel(c->ctx, c->out[0].size[0] * j.k->blocks, 8, forward_span, &j);
  return WTL_OK;
}

static wtl_status backward(wtl_kernel *kernel, wtl_call *c) {
  gate_job j = { (const gate_kernel *)kernel, c };
  wtl_parallel(c->ctx, c->dout[0].size[0] * j.k->blocks, 8, backward_span, &j);
  return WTL_OK;
}

/* Which input is the activation; -1: neither is gated by the other. */
static int activation(const wtl_bind *b) {
  for (int x = 0; x < 2; x++) {
    const wtl_shape *s = &b->in[x], *g = &b->in[1 - x];
    const wtl_layout *l = b->in_layout[x];
    if (!l || (l->block != 8 && l->block != 16) || s->ndim != 4 || g->ndim != 4 || wtl_shape_numel(s) == 0) continue;
    if (g->size[0] == s->size[0] && g->size[1] == s->size[1] && g->size[2] == 1 && g->size[3] == 1 && s->size[2] * s->size[3] > 1)
      return x;
  }
  return -1;
}

wtl_status onednn_bind_mul(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  int x = activation(b);
  (void)e;
  if (x < 0) return WTL_ERR_UNSUPPORTED;
  gate_kernel *k = wtl_alloc(b->ctx, sizeof *k);
  if (!k) return WTL_ERR_MEMORY;
  k->base = (wtl_kernel){ &wtl_provider_onednn, "own:blocked", forward, backward, NULL, destroy, b->ctx };
  k->x = x;
  k->gate = 1 - x;
  k->block = b->in_layout[x]->block;
  k->channels = b->in[x].size[1];
  k->blocks = (k->channels + k->block - 1) / k->block;
  k->plane = b->in[x].size[2] * b->in[x].size[3];
  b->in_want[x] = b->back_want[x] = b->din_layout[x] = b->out_layout[0] = b->in_layout[x];
  b->saved_bytes = b->scratch_bytes = 0;
  b->reads_in = (b->want_din[1 - x] ? 1u << x : 0) | (b->want_din[x] ? 1u << (1 - x) : 0);
  b->reads_out = 0;
  *out = &k->base;
  return WTL_OK;
}
