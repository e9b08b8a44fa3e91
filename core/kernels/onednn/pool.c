/* Pooling on blocked layouts: maximum and average through oneDNN, global average by own loops that read
 * [N][C/b][H*W][b] and write the logical (N,C), so that the classifier behind it needs no reorder, or, as
 * adaptive_avg_pool2d to 1x1, (N,C,1,1) in x's layout, for convolutions behind it. */
#include <string.h>

#include "onednn.h"

/* ---- max_pool2d, avg_pool2d, adaptive_avg_pool2d ---- */

typedef struct pool_kernel { wtl_kernel base; onednn_engine *e; onednn_prim fwd, bwd; } pool_kernel;

/* One pooling as oneDNN asks for it. Only the maximum has a workspace: the places. */
typedef struct pool_shape { dnnl_alg_kind_t kind; dnnl_dims_t kernel, stride, pad, pad_end; } pool_shape;

static void pool_destroy(wtl_kernel *k) {
  pool_kernel *v = (pool_kernel *)k;
  onednn_prim_destroy(&v->fwd);
  onednn_prim_destroy(&v->bwd);
  wtl_free(k->ctx, v);
}

static wtl_status pool_forward(wtl_kernel *k, wtl_call *c) {
  pool_kernel *v = (pool_kernel *)k;
  return onednn_prim_run(v->e, &v->fwd, (void *const[]){ c->scratch, c->in[0].data, c->out[0].data, c->saved });
}

static wtl_status pool_backward(wtl_kernel *k, wtl_call *c) {
  pool_kernel *v = (pool_kernel *)k;
  return onednn_prim_run(v->e, &v->bwd, (void *const[]){ c->scratch, c->dout[0].data, c->din[0].data, c->saved });
}

/* Of an op with kernel_size, stride and padding. */
static void windows(const wtl_bind *b, pool_shape *g) {
  const wtl_attr *a = b->attr;
  for (int i = 0; i < 2; i++) {
    g->kernel[i] = a[0].i[i];
    g->stride[i] = a[1].i[i] ? a[1].i[i] : g->kernel[i];
    g->pad[i] = a[2].i[i];
    g->pad_end[i] = (b->out[0].size[2 + i] - 1) * g->stride[i] + g->kernel[i] - b->in[0].size[2 + i] - g->pad[i];
    if (g->pad_end[i] < 0) g->pad_end[i] = 0;
  }
}

static wtl_status pool_make(pool_kernel *v, const wtl_bind *b, const pool_shape *g) {
  const char *op = b->op->name;
  bool places = b->backward && g->kind == dnnl_pooling_max;
  dnnl_pooling_desc_t d;
  dnnl_memory_desc_t x, y;
  WTL_TRY(onednn_md(b->ctx, &b->in[0], b->in_layout[0], false, &x));
  WTL_TRY(onednn_md(b->ctx, &b->out[0], NULL, true, &y));
  dnnl_status_t s = dnnl_pooling_forward_desc_init(&d, b->backward ? dnnl_forward_training : dnnl_forward_inference,
                                                   g->kind, &x, &y, g->stride, g->kernel, g->pad, g->pad_end);
  if (s) return onednn_fail(b->ctx, op, s);
  onednn_prim *p = &v->fwd;
  WTL_TRY(onednn_prim_create(v->e, &d, NULL, p));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SRC, onednn_prim_md(p, dnnl_query_src_md, 0)));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DST, onednn_prim_md(p, dnnl_query_dst_md, 0)));
  if (!b->backward) return WTL_OK;
  if (places) WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_WORKSPACE, onednn_prim_md(p, dnnl_query_workspace_md, 0)));
  y = *onednn_prim_md(p, dnnl_query_dst_md, 0);
  s = dnnl_pooling_backward_desc_init(&d, g->kind, &x, &y, g->stride, g->kernel, g->pad, g->pad_end);
  if (s) return onednn_fail(b->ctx, op, s);
  p = &v->bwd;
  WTL_TRY(onednn_prim_create(v->e, &d, v->fwd.pd, p));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_DST, &y));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_SRC, &x));
  return places ? onednn_prim_arg(v->e, p, DNNL_ARG_WORKSPACE, onednn_prim_md(&v->fwd, dnnl_query_workspace_md, 0))
                : WTL_OK;
}

static wtl_status pool_answer(pool_kernel *v, wtl_bind *b, const pool_shape *g) {
  const wtl_layout *l = b->in_layout[0];
  b->in_want[0] = b->back_want[0] = b->din_layout[0] = l;
  WTL_TRY(onednn_layout(v->e, onednn_prim_md(&v->fwd, dnnl_query_dst_md, 0), &b->out_layout[0]));
  b->scratch_bytes = v->fwd.scratch_bytes > v->bwd.scratch_bytes ? v->fwd.scratch_bytes : v->bwd.scratch_bytes;
  b->saved_bytes = 0;
  if (b->backward && g->kind == dnnl_pooling_max)
    b->saved_bytes = dnnl_memory_desc_get_size(onednn_prim_md(&v->fwd, dnnl_query_workspace_md, 0));
  b->reads_in = b->reads_out = 0;
  return WTL_OK;
}

static wtl_status pool_bind(onednn_engine *e, wtl_bind *b, const pool_shape *g, wtl_kernel **out) {
  if (!b->in_layout[0]) return WTL_ERR_UNSUPPORTED; /* never blocked: the plain kernel is as good */
  pool_kernel *v = wtl_alloc(b->ctx, sizeof *v);
  if (!v) return WTL_ERR_MEMORY;
  v->e = e;
  v->base = (wtl_kernel){ &wtl_provider_onednn, "", pool_forward, pool_backward, NULL, pool_destroy, b->ctx };
  wtl_status s = pool_make(v, b, g);
  if (s == WTL_OK) s = pool_answer(v, b, g);
  if (s != WTL_OK) {
    pool_destroy(&v->base);
    return s;
  }
  v->base.impl = onednn_prim_impl(&v->fwd);
  *out = &v->base;
  return WTL_OK;
}

wtl_status onednn_bind_max_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  pool_shape g = { .kind = dnnl_pooling_max };
  windows(b, &g);
  return pool_bind(e, b, &g, out);
}

wtl_status onednn_bind_avg_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  pool_shape g = { .kind = b->attr[3].i[0] ? dnnl_pooling_avg_include_padding : dnnl_pooling_avg_exclude_padding };
  windows(b, &g);
  for (int i = 0; i < 2; i++) /* it would count what lies behind the padding */
    if (b->attr[3].i[0] && g.pad_end[i] > g.pad[i]) return WTL_ERR_UNSUPPORTED;
  return pool_bind(e, b, &g, out);
}

/* ---- global_avg_pool2d, adaptive_avg_pool2d ---- */

typedef struct mean_kernel { wtl_kernel base; int block; bool blocked; int64_t channels, blocks, plane; } mean_kernel;
typedef struct mean_job { const mean_kernel *k; const float *from; float *to; } mean_job;

static void mean_destroy(wtl_kernel *k) { wtl_free(k->ctx, k); }

/* Where the means of channel block `unit` (of all images) are, and how many. */
static int mean_lanes(const mean_kernel *k, int64_t unit, int64_t *at) {
  int64_t first = unit % k->blocks * k->block, left = k->channels - first;
  *at = k->blocked ? unit * k->block : unit / k->blocks * k->channels + first;
  return k->blocked || left >= k->block ? k->block : (int)left;
}

/* One unit of work is one channel block of one image. */
static void mean_forward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const mean_job *j = arg;
  const mean_kernel *k = j->k;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    const float *x = j->from + u * k->plane * k->block;
    int64_t at;
    int n = mean_lanes(k, u, &at);
    double sum[64] = { 0 };
    for (int64_t p = 0; p < k->plane; p++)
      for (int b = 0; b < k->block; b++) sum[b] += x[p * k->block + b];
    for (int b = 0; b < n; b++) j->to[at + b] = (float)(sum[b] / (double)k->plane);
  }
}

static void mean_backward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const mean_job *j = arg;
  const mean_kernel *k = j->k;
  float scale = 1.0f / (float)k->plane;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    float *dx = j->to + u * k->plane * k->block, g[64] = { 0 };
    int64_t at;
    for (int b = 0, n = mean_lanes(k, u, &at); b < n; b++) g[b] = j->from[at + b] * scale;
    for (int64_t p = 0; p < k->plane; p++) memcpy(dx + p * k->block, g, (size_t)k->block * sizeof *g);
  }
}

static wtl_status mean_forward(wtl_kernel *k, wtl_call *c) {
  mean_job j = { (mean_kernel *)k, c->in[0].data, c->out[0].data };
  wtl_parallel(c->ctx, c->in[0].size[0] * j.k->blocks, 8, mean_forward_span, &j);
  return WTL_OK;
}

static wtl_status mean_backward(wtl_kernel *k, wtl_call *c) {
  mean_job j = { (mean_kernel *)k, c->dout[0].data, c->din[0].data };
  wtl_parallel(c->ctx, c->in[0].size[0] * j.k->blocks, 8, mean_backward_span, &j);
  return WTL_OK;
}

static wtl_status mean_bind(wtl_bind *b, const wtl_layout *y, wtl_kernel **out) {
  const wtl_layout *l = b->in_layout[0];
  if (!l || !l->block || l->block > 64) return WTL_ERR_UNSUPPORTED;
  mean_kernel *k = wtl_alloc(b->ctx, sizeof *k);
  if (!k) return WTL_ERR_MEMORY;
  k->base = (wtl_kernel){ &wtl_provider_onednn, "own:blocked", mean_forward, mean_backward, NULL, mean_destroy,
                          b->ctx };
  k->block = l->block;
  k->blocked = y;
  b->out_layout[0] = y;
  k->channels = b->in[0].size[1];
  k->blocks = (k->channels + l->block - 1) / l->block;
  k->plane = b->in[0].size[2] * b->in[0].size[3];
  b->in_want[0] = b->back_want[0] = b->din_layout[0] = l;
  b->saved_bytes = b->scratch_bytes = 0;
  b->reads_in = b->reads_out = 0;
  *out = &k->base;
  return WTL_OK;
}

wtl_status onednn_bind_global_avg_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  (void)e;
  return mean_bind(b, NULL, out);
}

/* Bins of one size are windows side by side; others are not oneDNN's. */
wtl_status onednn_bind_adaptive_avg_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  pool_shape g = { .kind = dnnl_pooling_avg_exclude_padding };
  const wtl_layout *l = b->in_layout[0], *y;
  if (l && (l->block == 8 || l->block == 16) && b->out[0].size[2] == 1 && b->out[0].size[3] == 1) {
    WTL_TRY(onednn_blocked(e, &b->out[0], l->block, &y));
    return mean_bind(b, y, out);
  }
  for (int i = 0; i < 2; i++) {
    int64_t n = b->in[0].size[2 + i], bins = b->out[0].size[2 + i];
    if (n % bins) return WTL_ERR_UNSUPPORTED;
    g.kernel[i] = g.stride[i] = n / bins;
  }
  return pool_bind(e, b, &g, out);
}
