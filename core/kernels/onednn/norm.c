/* batch_norm through oneDNN. Statistics are kept in `saved` (mean, biased variance), as float; running
 * ones are updated by commit, with the unbiased variance as in PyTorch. */
#include <math.h>
#include <string.h>

#include "onednn.h"

typedef struct norm_kernel {
  wtl_kernel base;
  onednn_engine *e;
  bool batch_stats; /* training: the batch's own statistics */
  bool relu;        /* with the relu behind it; which elements passed is kept in saved too */
  size_t passed_at, passed_bytes;
  int64_t channels, per_channel;
  float momentum;
  size_t dscale_at, dshift_at, dx_at; /* in scratch: gradients that nobody wants */
  onednn_prim fwd, bwd;
} norm_kernel;

static void destroy(wtl_kernel *k) {
  norm_kernel *v = (norm_kernel *)k;
  onednn_prim_destroy(&v->fwd);
  onednn_prim_destroy(&v->bwd);
  wtl_free(k->ctx, v);
}

static float *mean_of(const norm_kernel *v, wtl_call *c) { return v->batch_stats ? c->saved : c->in[3].data; }
static float *variance_of(const norm_kernel *v, wtl_call *c) {
  return v->batch_stats ? (float *)c->saved + v->channels : c->in[4].data;
}

static void *passed_of(const norm_kernel *v, wtl_call *c) { return v->passed_bytes ? (char *)c->saved + v->passed_at : NULL; }

/* oneDNN's fused relu turns NaN into 0 and would hide a diverged network; the statistics still show it. */
static wtl_status check_finite(const norm_kernel *v, wtl_call *c) {
  const float *mean = mean_of(v, c), *variance = variance_of(v, c);
  for (int64_t i = 0; i < v->channels; i++)
    if (!isfinite(mean[i]) || !isfinite(variance[i]))
      return wtl_fail(c->ctx, WTL_ERR_NUMERIC, "batch_norm: channel %lld has mean %g and variance %g: the input is not finite",
                      (long long)i, (double)mean[i], (double)variance[i]);
  return WTL_OK;
}

static wtl_status forward(wtl_kernel *k, wtl_call *c) {
  norm_kernel *v = (norm_kernel *)k;
  WTL_TRY(onednn_prim_run(v->e, &v->fwd, (void *const[]){ c->scratch, c->in[0].data, c->in[1].data, c->in[2].data,
                                                         mean_of(v, c), variance_of(v, c), c->out[0].data,
                                                         passed_of(v, c) }));
  return v->relu ? check_finite(v, c) : WTL_OK;
}

static wtl_status backward(wtl_kernel *k, wtl_call *c) {
  norm_kernel *v = (norm_kernel *)k;
  char *s = c->scratch;
  return onednn_prim_run(v->e, &v->bwd, (void *const[]){
    s, c->in[0].data, c->in[1].data, c->in[2].data, mean_of(v, c), variance_of(v, c), c->dout[0].data,
    c->din[0].data ? c->din[0].data : s + v->dx_at, c->din[1].data ? c->din[1].data : s + v->dscale_at,
    c->din[2].data ? c->din[2].data : s + v->dshift_at,
    passed_of(v, c) });
}

static wtl_status commit(wtl_kernel *k, wtl_call *c) {
  norm_kernel *v = (norm_kernel *)k;
  const float *mean = c->saved, *variance = mean + v->channels;
  float *running_mean = c->in[3].data, *running_var = c->in[4].data;
  float m = v->momentum, unbias = (float)v->per_channel / (float)(v->per_channel - 1);
  for (int64_t i = 0; i < v->channels; i++) {
    running_mean[i] = (1 - m) * running_mean[i] + m * mean[i];
    running_var[i] = (1 - m) * running_var[i] + m * (variance[i] * unbias);
  }
  return WTL_OK;
}

static wtl_status make(norm_kernel *v, const wtl_bind *b) {
  dnnl_batch_normalization_desc_t d;
  dnnl_memory_desc_t x;
  float eps = (float)b->attr[2].f;
  unsigned flags = dnnl_use_scale | dnnl_use_shift | (v->batch_stats ? 0 : dnnl_use_global_stats) | (v->relu ? dnnl_fuse_norm_relu : 0);
  bool train = v->batch_stats || b->backward;
  const dnnl_memory_desc_t *weight, *stat;
  onednn_prim *p = &v->fwd;
  WTL_TRY(onednn_md(b->ctx, &b->in[0], b->in_layout[0], false, &x));
  dnnl_status_t s = dnnl_batch_normalization_forward_desc_init(&d, train ? dnnl_forward_training : dnnl_forward_inference, &x, eps, flags);
  if (s) return onednn_fail(b->ctx, "batch_norm forward", s);
  WTL_TRY(onednn_prim_create(v->e, &d, NULL, p));
  dnnl_memory_desc_t per_channel;
  dnnl_dims_t dims = { v->channels };
  dnnl_memory_desc_init_by_tag(&per_channel, 1, dims, dnnl_f32, dnnl_a);
  weight = stat = &per_channel;
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SRC, &x));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SCALE, weight));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SHIFT, weight));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_MEAN, stat));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_VARIANCE, stat));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DST, &x));
  const dnnl_memory_desc_t *passed = onednn_prim_md(p, dnnl_query_workspace_md, 0);
  v->passed_bytes = dnnl_memory_desc_get_size(passed);
  if (v->passed_bytes) WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_WORKSPACE, passed));
  if (!b->backward) return WTL_OK;
  p = &v->bwd;
  s = dnnl_batch_normalization_backward_desc_init(&d, dnnl_backward, &x, &x, eps, flags);
  if (s) return onednn_fail(b->ctx, "batch_norm backward", s);
  WTL_TRY(onednn_prim_create(v->e, &d, v->fwd.pd, p));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SRC, &x));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SCALE, weight));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SHIFT, weight)); /* unused there, yet counted */
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_MEAN, stat));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_VARIANCE, stat));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_DST, &x));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_SRC, &x));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_SCALE, weight));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_SHIFT, weight));
  return v->passed_bytes ? onednn_prim_arg(v->e, p, DNNL_ARG_WORKSPACE, passed) : WTL_OK;
}

static void answer(norm_kernel *v, wtl_bind *b) {
  const wtl_layout *l = b->in_layout[0];
  size_t data = l ? l->bytes : (size_t)wtl_shape_numel(&b->in[0]) * sizeof(float);
  size_t channels = onednn_round((size_t)v->channels * sizeof(float));
  size_t at = v->fwd.scratch_bytes > v->bwd.scratch_bytes ? v->fwd.scratch_bytes : v->bwd.scratch_bytes;
  b->in_want[0] = b->back_want[0] = b->out_layout[0] = b->din_layout[0] = l;
  v->dscale_at = onednn_round(at);
  v->dshift_at = v->dscale_at + channels;
  v->dx_at = v->dshift_at + channels;
  b->scratch_bytes = v->dx_at + (b->backward && !b->want_din[0] ? data : 0);
  v->passed_at = onednn_round(v->batch_stats ? 2 * (size_t)v->channels * sizeof(float) : 0);
  b->saved_bytes = v->passed_at + v->passed_bytes;
  b->relu_taken = v->relu;
  b->reads_in = 1u | 2u | 4u | (v->batch_stats ? 0 : 8u | 16u);
  b->reads_out = 0;
}

wtl_status onednn_bind_batch_norm(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  if (!b->present[1] || !b->present[2] || b->in[0].ndim != 4) return WTL_ERR_UNSUPPORTED;
  norm_kernel *v = wtl_alloc(b->ctx, sizeof *v);
  if (!v) return WTL_ERR_MEMORY;
  v->e = e;
  v->batch_stats = b->attr[0].i[0];
  v->relu = b->relu_follows && v->batch_stats;
  v->momentum = (float)b->attr[1].f;
  v->channels = b->in[0].size[1];
  v->per_channel = wtl_shape_numel(&b->in[0]) / (v->channels ? v->channels : 1);
  v->base = (wtl_kernel){ &wtl_provider_onednn, "", forward, backward, v->batch_stats ? commit : NULL, destroy, b->ctx };
  wtl_status s = make(v, b);
  if (s != WTL_OK) {
    destroy(&v->base);
    return s;
  }
  answer(v, b);
  v->base.impl = onednn_prim_impl(&v->fwd);
  *out = &v->base;
  return WTL_OK;
}
