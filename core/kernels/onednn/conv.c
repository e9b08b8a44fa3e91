/* conv2d through oneDNN: forward, backward data and backward weights, each free to choose its weight layout;
 * activations keep one layout for a value and its gradient, so that nothing is reordered between layers. With groups
 * oneDNN sees the weights as (g, O/g, C/g, KH, KW), which is the same memory. */
#include <string.h>

#include "onednn.h"

typedef struct conv_kernel {
  wtl_kernel base;
  onednn_engine *e;
  bool bias;
  onednn_prim fwd, data, weights;

  size_t bias_scratch;
} conv_kernel;

typedef struct conv_shape { dnnl_dims_t stride, dilation, pad; wtl_shape weights; } conv_shape;

static void destroy(wtl_kernel *k) {
  conv_kernel *c = (conv_kernel *)k;
  onednn_prim_destroy(&c->fwd);
  onednn_prim_destroy(&c->data);
  onednn_prim_destroy(&c->weights);
  wtl_free(k->ctx, c);
}

static wtl_status forward(wtl_kernel *k, wtl_call *c) {
  conv_kernel *v = (conv_kernel *)k;
  return onednn_prim_run(v->e, &v->fwd, (void *const[]){ c->scratch, c->in[0].data, c->in[1].data, c->out[0].data, c->in[2].data });
}

static wtl_status backward(wtl_kernel *k, wtl_call *c) {
  conv_kernel *v = (conv_kernel *)k;
  if (v->data.prim && c->din[0].data)
    WTL_TRY(onednn_prim_run(v->e, &v->data, (void *const[]){ c->scratch, c->dout[0].data, c->in[1].data, c->din[0].data }));
  if (v->weights.prim) {
    void *db = c->din[2].data; /* oneDNN always computes a bias's gradient, wanted or not */
    if (v->bias && !db) db = (char *)c->scratch + v->bias_scratch;
    WTL_TRY(onednn_prim_run(v->e, &v->weights, (void *const[]){ c->scratch, c->in[0].data, c->dout[0].data, c->din[1].data, db }));
  }
  return WTL_OK;
}

/* Forward with the source's format given, or left open. */
static wtl_status make_forward(conv_kernel *v, const wtl_bind *b, const conv_shape *g, bool any_src) {
  dnnl_convolution_desc_t d;
  dnnl_memory_desc_t x, w, bias, y;
  WTL_TRY(onednn_md(b->ctx, &b->in[0], b->in_layout[0], any_src, &x));
  WTL_TRY(onednn_md(b->ctx, &g->weights, NULL, true, &w));
  WTL_TRY(onednn_md(b->ctx, &b->out[0], NULL, true, &y));
  if (v->bias) WTL_TRY(onednn_md(b->ctx, &b->in[2], NULL, false, &bias));
  dnnl_status_t s = dnnl_dilated_convolution_forward_desc_init(
    &d, b->backward ? dnnl_forward_training : dnnl_forward_inference, dnnl_convolution_direct, &x, &w, v->bias ? &bias : NULL, &y,
    g->stride, g->dilation, g->pad, g->pad);
  if (s) return onednn_fail(b->ctx, "conv2d forward", s);
  return onednn_prim_create(v->e, &d, NULL, &v->fwd);
}

static wtl_status forward_args(conv_kernel *v) {
  onednn_prim *p = &v->fwd;
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SRC, onednn_prim_md(p, dnnl_query_src_md, 0)));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_WEIGHTS, onednn_prim_md(p, dnnl_query_weights_md, 0)));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DST, onednn_prim_md(p, dnnl_query_dst_md, 0)));
  return v->bias ? onednn_prim_arg(v->e, p, DNNL_ARG_BIAS, onednn_prim_md(p, dnnl_query_weights_md, 1)) : WTL_OK;
}

static wtl_status make_backward_data(conv_kernel *v, const wtl_bind *b, const conv_shape *g) {
  dnnl_convolution_desc_t d;
  dnnl_memory_desc_t w;
  onednn_prim *p = &v->data;
  WTL_TRY(onednn_md(b->ctx, &g->weights, NULL, true, &w));
  dnnl_status_t s = dnnl_dilated_convolution_backward_data_desc_init(
    &d, dnnl_convolution_direct, onednn_prim_md(&v->fwd, dnnl_query_src_md, 0), &w, onednn_prim_md(&v->fwd, dnnl_query_dst_md, 0),
    g->stride, g->dilation, g->pad, g->pad);
  if (s) return onednn_fail(b->ctx, "conv2d backward data", s);
  WTL_TRY(onednn_prim_create(v->e, &d, v->fwd.pd, p));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_DST, onednn_prim_md(p, dnnl_query_diff_dst_md, 0)));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_WEIGHTS, onednn_prim_md(p, dnnl_query_weights_md, 0)));
  return onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_SRC, onednn_prim_md(p, dnnl_query_diff_src_md, 0));
}

static wtl_status make_backward_weights(conv_kernel *v, const wtl_bind *b, const conv_shape *g, bool any_src) {
  dnnl_convolution_desc_t d;
  dnnl_memory_desc_t w, bias, x = *onednn_prim_md(&v->fwd, dnnl_query_src_md, 0);
  onednn_prim *p = &v->weights;
  if (any_src) WTL_TRY(onednn_md(b->ctx, &b->in[0], NULL, true, &x));
  WTL_TRY(onednn_md(b->ctx, &g->weights, NULL, true, &w));
  if (v->bias) WTL_TRY(onednn_md(b->ctx, &b->in[2], NULL, false, &bias));
  dnnl_status_t s = dnnl_dilated_convolution_backward_weights_desc_init(
    &d, dnnl_convolution_direct, &x, &w, v->bias ? &bias : NULL,
    onednn_prim_md(&v->fwd, dnnl_query_dst_md, 0), g->stride, g->dilation, g->pad, g->pad);
  if (s) return onednn_fail(b->ctx, "conv2d backward weights", s);
  WTL_TRY(onednn_prim_create(v->e, &d, v->fwd.pd, p));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_SRC, onednn_prim_md(p, dnnl_query_src_md, 0)));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_DST, onednn_prim_md(p, dnnl_query_diff_dst_md, 0)));
  WTL_TRY(onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_WEIGHTS, onednn_prim_md(p, dnnl_query_diff_weights_md, 0)));
  return v->bias ? onednn_prim_arg(v->e, p, DNNL_ARG_DIFF_BIAS, onednn_prim_md(p, dnnl_query_diff_weights_md, 1)) : WTL_OK;
}

static wtl_status layout_of(conv_kernel *v, const onednn_prim *p, dnnl_query_t what, const wtl_layout **out) {
  return onednn_layout(v->e, onednn_prim_md(p, what, 0), out);
}

static wtl_status answer(conv_kernel *v, wtl_bind *b) {
  bool data = v->data.prim, weights = v->weights.prim;
  WTL_TRY(onednn_layout(v->e, onednn_prim_md(&v->fwd, dnnl_query_src_md, 0), &b->in_want[0]));
  WTL_TRY(onednn_layout(v->e, onednn_prim_md(&v->fwd, dnnl_query_dst_md, 0), &b->out_layout[0]));
  WTL_TRY(layout_of(v, &v->fwd, dnnl_query_weights_md, &b->in_want[1]));
  b->back_want[0] = b->din_layout[0] = b->in_want[0];
  b->scratch_bytes = v->fwd.scratch_bytes;
  b->saved_bytes = 0;
  b->reads_in = (weights ? 1u : 0) | (data ? 2u : 0);
  b->reads_out = 0;
  if (data) WTL_TRY(layout_of(v, &v->data, dnnl_query_weights_md, &b->back_want[1]));
  if (weights) {
    WTL_TRY(layout_of(v, &v->weights, dnnl_query_diff_weights_md, &b->din_layout[1]));
    WTL_TRY(layout_of(v, &v->weights, dnnl_query_src_md, &b->back_want[0]));
  }
  size_t back = v->data.scratch_bytes > v->weights.scratch_bytes ? v->data.scratch_bytes : v->weights.scratch_bytes;
  if (back > b->scratch_bytes) b->scratch_bytes = back;
  v->bias_scratch = onednn_round(b->scratch_bytes);
  b->scratch_bytes = v->bias_scratch + (v->bias ? (size_t)b->out[0].size[1] * sizeof(float) : 0);
  return WTL_OK;
}

/* A matrix product for each group: with one channel in each, slower than anything. */
static bool by_gemm(const onednn_prim *p) { return p->pd && strstr(onednn_prim_impl(p), "gemm"); }

/* Where reading the filters for each image takes longer than windows written out: measured on planes of 2x2 to 8x8. */
static bool few_pixels(const wtl_bind *b) {
  int64_t pixels = b->out[0].size[2] * b->out[0].size[3], taps = b->in[1].size[2] * b->in[1].size[3];
  return taps > 1 && (pixels <= 4 || (pixels <= 16 && wtl_shape_numel(&b->in[1]) >= 1 << 21));
}

/* All primitives that the node needs. */
static wtl_status make_all(conv_kernel *v, const wtl_bind *b, const conv_shape *g) {
  /* Take the source as it comes if a fast kernel does; else let oneDNN choose and the plan reorder. */
  wtl_status s = WTL_ERR_UNSUPPORTED;
  if (b->in_layout[0]) s = make_forward(v, b, g, false);
  if (s == WTL_ERR_UNSUPPORTED) {
    onednn_prim_destroy(&v->fwd);
    s = make_forward(v, b, g, true);
  }
  if (s == WTL_OK) s = forward_args(v);
  if (s == WTL_OK && b->backward && b->want_din[0]) s = make_backward_data(v, b, g);
  if (s == WTL_OK && b->backward && b->want_din[1]) {
    /* One or two input channels have no fast kernel on plain planes: read a padded copy instead. */
    s = make_backward_weights(v, b, g, false);
    if (s == WTL_ERR_UNSUPPORTED) {
      onednn_prim_destroy(&v->weights);
      s = make_backward_weights(v, b, g, true);
    }
  }
  return s;
}

static conv_shape shape_of(const wtl_bind *b) {
  const wtl_attr *a = b->attr;
  const wtl_shape *w = &b->in[1];
  int64_t groups = a[3].i[0];
  conv_shape g;
  for (int i = 0; i < 2; i++) {
    g.stride[i] = a[0].i[i];
    g.pad[i] = a[1].i[i];
    g.dilation[i] = a[2].i[i] - 1; /* oneDNN counts the holes */
  }
  g.weights = *w;
  if (groups > 1) g.weights = (wtl_shape){ 5, { groups, w->size[0] / groups, w->size[1], w->size[2], w->size[3] } };
  return g;
}

wtl_status onednn_bind_conv2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  int64_t groups = b->attr[3].i[0];
  bool depthwise = groups > 1 && groups == b->in[0].size[1] && b->in[1].size[0] == groups;
  conv_shape g = shape_of(b);
  if (b->want_din[2] && !b->want_din[1]) return WTL_ERR_UNSUPPORTED; /* a bias alone */
  if (few_pixels(b)) {
    wtl_status small = onednn_bind_conv_small(e, b, out);
    if (small != WTL_ERR_UNSUPPORTED) return small;
  }
  conv_kernel *v = wtl_alloc(b->ctx, sizeof *v);
  if (!v) return WTL_ERR_MEMORY;
  v->base = (wtl_kernel){ &wtl_provider_onednn, "", forward, backward, NULL, destroy, b->ctx };
  v->e = e;
  v->bias = b->present[2];
  wtl_status s = make_all(v, b, &g);
  if (s == WTL_OK && depthwise && (by_gemm(&v->fwd) || by_gemm(&v->data) || by_gemm(&v->weights))) s = WTL_ERR_UNSUPPORTED;
  if (s == WTL_OK) s = answer(v, b);
  if (s != WTL_OK) {
    destroy(&v->base);
    if (s != WTL_ERR_UNSUPPORTED) return s;
    return depthwise ? onednn_bind_depthwise(e, b, out) : onednn_bind_conv_small(e, b, out);
  }
  v->base.impl = onednn_prim_impl(&v->fwd);
  *out = &v->base;
  return WTL_OK;
}
