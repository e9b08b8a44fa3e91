/* A batch from a data set in memory: the chosen images as normalized f32 in NCHW, their labels as i64. */
#include <math.h>
#include <string.h>

#include "data.h"
#include "tensor.h"

/* What every chunk of images needs. */
typedef struct gather {
  const unsigned char *images;
  const int64_t *index;
  int64_t pixels;   /* of one image */
  float value[256]; /* of each byte */
  float *x;
} gather;

static void gather_images(void *arg, int64_t begin, int64_t end, int thread) {
  const gather *g = arg;
  (void)thread;
  for (int64_t i = begin; i < end; i++) {
    const unsigned char *from = g->images + g->index[i] * g->pixels;
    float *to = g->x + i * g->pixels;
    for (int64_t k = 0; k < g->pixels; k++) to[k] = g->value[from[k]];
  }
}

static wtl_status check_images(wtl_ctx *ctx, const wtl_tensor *images, const wtl_tensor *labels, int64_t n,
                               const wtl_tensor *x, const wtl_tensor *y) {
  const wtl_shape *si = wtl_tensor_shape(images), *sl = wtl_tensor_shape(labels);
  const wtl_shape *sx = wtl_tensor_shape(x), *sy = wtl_tensor_shape(y);
  char a[WTL_SHAPE_TEXT], b[WTL_SHAPE_TEXT];
  if (wtl_tensor_dtype(images) != WTL_U8 || wtl_tensor_dtype(x) != WTL_F32 || wtl_tensor_dtype(y) != WTL_I64 ||
      (wtl_tensor_dtype(labels) != WTL_U8 && wtl_tensor_dtype(labels) != WTL_I64)) {
    return wtl_fail(ctx, WTL_ERR_DTYPE,
                    "gather_batch: images are %s, labels %s, x %s, y %s; they must be u8, u8 or i64, f32, i64",
                    wtl_dtype_name(wtl_tensor_dtype(images)), wtl_dtype_name(wtl_tensor_dtype(labels)),
                    wtl_dtype_name(wtl_tensor_dtype(x)), wtl_dtype_name(wtl_tensor_dtype(y)));
  }
  if (!wtl_tensor_contiguous(images) || !wtl_tensor_contiguous(labels) || !wtl_tensor_contiguous(x) ||
      !wtl_tensor_contiguous(y)) {
    return wtl_fail(ctx, WTL_ERR_ARG, "gather_batch: images, labels, x and y must be contiguous");
  }
  if ((si->ndim != 3 && si->ndim != 4) || sl->ndim != 1 || sl->size[0] != si->size[0]) {
    return wtl_fail(ctx, WTL_ERR_SHAPE,
                    "gather_batch: images are %s, labels %s; they must be [N,H,W] or [N,C,H,W], and [N]",
                    wtl_shape_text(si, a, sizeof a), wtl_shape_text(sl, b, sizeof b));
  }
  wtl_shape want = { 4, { n, si->ndim == 4 ? si->size[1] : 1, si->size[si->ndim - 2], si->size[si->ndim - 1] } };
  if (!wtl_shape_equal(sx, &want)) {
    return wtl_fail(ctx, WTL_ERR_SHAPE, "gather_batch: x is %s, not %s", wtl_shape_text(sx, a, sizeof a),
                    wtl_shape_text(&want, b, sizeof b));
  }
  if (sy->ndim != 1 || sy->size[0] != n) {
    return wtl_fail(ctx, WTL_ERR_SHAPE, "gather_batch: y is %s, not [%lld]", wtl_shape_text(sy, a, sizeof a),
                    (long long)n);
  }
  return WTL_OK;
}

wtl_status wtl_gather_batch(wtl_ctx *ctx, const wtl_tensor *images, const wtl_tensor *labels, const int64_t *index,
                            int64_t n, double mean, double sd, wtl_tensor *x, wtl_tensor *y) {
  gather g = { .images = wtl_tensor_cdata(images), .index = index };
  WTL_TRY(check_images(ctx, images, labels, n, x, y));
  if (!isfinite(mean) || !isfinite(sd) || sd <= 0) {
    return wtl_fail(ctx, WTL_ERR_ARG, "gather_batch: mean is %g, sd %g; sd must be positive and both finite", mean, sd);
  }
  int64_t total = wtl_tensor_shape(images)->size[0];
  for (int64_t i = 0; i < n; i++) {
    if (index[i] < 0 || index[i] >= total) {
      return wtl_fail(ctx, WTL_ERR_ARG, "gather_batch: index %lld is not in 0..%lld", (long long)index[i],
                      (long long)total - 1);
    }
  }
  for (int v = 0; v < 256; v++) g.value[v] = (float)((v / 255.0 - mean) / sd);
  g.x = wtl_tensor_data(x);
  g.pixels = n ? wtl_tensor_numel(x) / n : 0;
  int64_t grain = g.pixels && g.pixels < 65536 ? 65536 / g.pixels : 1;
  wtl_parallel(ctx, n, grain, gather_images, &g);
  int64_t *to = wtl_tensor_data(y);
  const void *from = wtl_tensor_cdata(labels);
  bool bytes = wtl_tensor_dtype(labels) == WTL_U8;
  for (int64_t i = 0; i < n; i++)
    to[i] = bytes ? ((const unsigned char *)from)[index[i]] : ((const int64_t *)from)[index[i]];
  return WTL_OK;
}
