/* Pooling on blocked layouts: maximum through oneDNN, global average by own loops that read [N][C/b][H*W][b] and
 * write the logical (N,C), so that the classifier behind it needs no reorder. */
#include <string.h>

#include "onednn.h"

/* ---- max_pool2d ---- */

typedef struct pool_kernel { wtl_kernel base; onednn_engine *e; bool workspace; onednn_prim fwd, bwd; } pool_kernel;

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

static wtl_status pool_make(pool_kernel *v, const wtl_bind *b) {
  const wtl_attr *a = b->attr;
  dnnl_pooling_desc_t d;
  dnnl_memory_desc_t x, y;
  dnnl_dims_t kernel, stride, pad, pad_end;
  for (int i = 0; i < 2; i++) {
    kernel[i] = a[0].i[i];
    stride[i] = a[1].i[i] ? a[1].i[i] : kernel[i];
    pad[i] = a[2].i[i];
    pad_end[i] = (b->out[0].size[2 + i] - 1) * stride[i] + kernel[i] - b->in[0].size[2 + i] - pad[i];
    if (pad_end[i] < 0) pad_end[i] = 0;
  }
  WTL_TRY(onednn_md(b->ctx, &b->in[0], b->in_layout[0], false, &x));
  WTL_TRY(onednn_md(b->ctx, &b->out[0], NULL, true, &y));
  dnnl_status_t s = dnnl_pooling_forward_desc_init(&d, b->backward ? dnnl_forward_training : dnnl_forward_inference,
                                                   dnnl_pooling_max, &x, &y, stride, kernel, pad, pad_end);
  if (s) return onednn_fail(b->ctx, "max_pool2d forward", s);
  onednn_prim *p = &v->fwd;
  WTL_TRY(onednn_prim_create(v->e, &d, NULL, p));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SRC, onednn_prim_md(p, dnnl_query_src_md, 0)));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DST, onednn_prim_md(p, dnnl_query_dst_md, 0)));
  if (!b->backward) return WTL_OK;
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_WORKSPACE, onednn_prim_md(p, dnnl_query_workspace_md, 0)));
  y = *onednn_prim_md(p, dnnl_query_dst_md, 0);
  s = dnnl_pooling_backward_desc_init(&d, dnnl_pooling_max, &x, &y, stride, kernel, pad, pad_end);
  if (s) return onednn_fail(b->ctx, "max_pool2d backward", s);
  p = &v->bwd;
  WTL_TRY(onednn_prim_create(v->e, &d, v->fwd.pd, p));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_DST, &y));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_SRC, &x));
  return onednn_prim_arg(v->e, p, DNNL_ARG_WORKSPACE, onednn_prim_md(&v->fwd, dnnl_query_workspace_md, 0));
}

static wtl_status pool_answer(pool_kernel *v, wtl_bind *b) {
  const wtl_layout *l = b->in_layout[0];
  b->in_want[0] = b->back_want[0] = b->din_layout[0] = l;
  WTL_TRY(onednn_layout(v->e, onednn_prim_md(&v->fwd, dnnl_query_dst_md, 0), &b->out_layout[0]));
  b->scratch_bytes = v->fwd.scratch_bytes > v->bwd.scratch_bytes ? v->fwd.scratch_bytes : v->bwd.scratch_bytes;
  b->saved_bytes = b->backward ? dnnl_memory_desc_get_size(onednn_prim_md(&v->fwd, dnnl_query_workspace_md, 0)) : 0;
  b->reads_in = b->reads_out = 0;
  return WTL_OK;
}

wtl_status onednn_bind_max_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  if (!b->in_layout[0]) return WTL_ERR_UNSUPPORTED; /* planes that were never blocked: the plain kernel is as good */
  pool_kernel *v = wtl_alloc(b->ctx, sizeof *v);
  if (!v) return WTL_ERR_MEMORY;
  v->e = e;
  v->base = (wtl_kernel){ &wtl_provider_onednn, "", pool_forward, pool_backward, NULL, pool_destroy, b->ctx };
  wtl_status s = pool_make(v, b);
  if (s == WTL_OK) s = pool_answer(v, b);
  if (s != WTL_OK) {
    pool_destroy(&v->base);
    return s;
  }
  v->base.impl = onednn_prim_impl(&v->fwd);
  *out = &v->base;
  return WTL_OK;
}

/* ---- global_avg_pool2d ---- */

typedef struct mean_kernel { wtl_kernel base; int block; int64_t channels, blocks, plane; } mean_kernel;
typedef struct mean_job { const mean_kernel *k; const float *from; float *to; } mean_job;

static void mean_destroy(wtl_kernel *k) { wtl_free(k->ctx, k); }

static int mean_lanes(const mean_kernel *k, int64_t block_index) {
  int64_t left = k->channels - block_index * k->block;
  return left < k->block ? (int)left : k->block;
}

/* One unit of work is one channel block of one image. */
static void mean_forward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const mean_job *j = arg;
  const mean_kernel *k = j->k;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    const float *x = j->from + u * k->plane * k->block;
    float *y = j->to + (u / k->blocks) * k->channels + (u % k->blocks) * k->block;
    double sum[64] = { 0 };
    for (int64_t p = 0; p < k->plane; p++)
      for (int b = 0; b < k->block; b++) sum[b] += x[p * k->block + b];
    for (int b = 0, n = mean_lanes(k, u % k->blocks); b < n; b++) y[b] = (float)(sum[b] / (double)k->plane);
  }
}

static void mean_backward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const mean_job *j = arg;
  const mean_kernel *k = j->k;
  float scale = 1.0f / (float)k->plane;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    const float *dy = j->from + (u / k->blocks) * k->channels + (u % k->blocks) * k->block;
    float *dx = j->to + u * k->plane * k->block, g[64] = { 0 };
    for (int b = 0, n = mean_lanes(k, u % k->blocks); b < n; b++) g[b] = dy[b] * scale;
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

wtl_status onednn_bind_global_avg_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  const wtl_layout *l = b->in_layout[0];
  (void)e;
  if (!l || !l->block || l->block > 64) return WTL_ERR_UNSUPPORTED;
  mean_kernel *k = wtl_alloc(b->ctx, sizeof *k);
  if (!k) return WTL_ERR_MEMORY;
  k->base = (wtl_kernel){ &wtl_provider_onednn, "own:blocked", mean_forward, mean_backward, NULL, mean_destroy, b->ctx };
  k->block = l->block;
  k->channels = b->in[0].size[1];
  k->blocks = (k->channels + l->block - 1) / l->block;
  k->plane = b->in[0].size[2] * b->in[0].size[3];
  b->in_want[0] = b->back_want[0] = b->din_layout[0] = l;
  b->saved_bytes = b->scratch_bytes = 0;
  b->reads_in = b->reads_out = 0;
  *out = &k->base;
  return WTL_OK;
}
