/* batch_norm: normalization of each channel over the batch and the plane. Row in ops.def. In training, saved holds
 * what backward and commit need, C values each: mean, 1/sqrt(var+eps), unbiased variance. Otherwise backward takes
 * the running statistics. Sums are kept in double; the variance takes a second pass, since one pass would cancel. */
#include "real.h"
#include "rules.h"
#include "span.h"

enum { X, W, B, RUNNING_MEAN, RUNNING_VAR }; /* inputs */

#if WTL_ONCE
static int64_t values_per_channel(const wtl_shape *x) {
  int64_t n = x->size[0];
  for (int k = 2; k < x->ndim; k++) n *= x->size[k];
  return n;
}

static wtl_status infer(wtl_infer *f) {
  const wtl_shape *x = &f->in[X];
  if (x->ndim < 2) return wtl_fail(f->ctx, WTL_ERR_SHAPE, "batch_norm: x is %s; it must be (N,C,...)", SHAPE(x));
  int64_t channels = x->size[1];
  for (int k = W; k <= RUNNING_VAR; k++)
    if (f->present[k] && (f->in[k].ndim != 1 || f->in[k].size[0] != channels))
      return wtl_fail(f->ctx, WTL_ERR_SHAPE,
                      "batch_norm: x is %s, %s is %s; x has %lld channels, so it must be [%lld]", SHAPE(x),
                      f->op->in_name[k], SHAPE(&f->in[k]), (long long)channels, (long long)channels);
  bool training = f->attr[0].i[0];
  if (training && values_per_channel(x) < 2)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "batch_norm: x is %s; training expected more than 1 value per channel",
                    SHAPE(x));
  f->out[0] = *x;
  f->saved_bytes = f->scratch_bytes = training ? 3 * (size_t)channels * wtl_dtype_size(f->real) : 0;
  return WTL_OK;
}

/* Per element: forward 3, and in training 1 for the mean and 3 for the variance; backward 4 for the two sums, and
 * 5 more for dx in training, 1 otherwise. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->in[X]), x = wtl_rule_bytes(f, &f->in[X]);
  double channel = (double)f->in[X].size[1] * (double)wtl_dtype_size(f->real);
  bool training = f->attr[0].i[0];
  *forward = (wtl_cost){ n * (training ? 7 : 3), 2 * x + 4 * channel };
  *backward = (wtl_cost){ n * (training ? 9 : 5), 3 * x + 6 * channel };
}

WTL_OP_RULES(batch_norm, infer, cost, 1u << X | 1u << W | 1u << RUNNING_MEAN | 1u << RUNNING_VAR, 0);
#endif

typedef struct norm {
  const wtl_call *c;
  bool training;
  double eps;
  int64_t batch, channels, plane;
  real *mean, *inv_std, *unbiased; /* training */
} norm;

static norm describe(const wtl_call *c) {
  const wtl_view *x = &c->in[X];
  norm v = { .c = c, .training = c->attr[0].i[0], .eps = c->attr[2].f };
  v.batch = x->size[0];
  v.channels = x->size[1];
  v.plane = 1;
  for (int k = 2; k < x->ndim; k++) v.plane *= x->size[k];
  v.mean = c->saved ? c->saved : c->scratch;
  v.inv_std = v.mean ? v.mean + v.channels : NULL;
  v.unbiased = v.mean ? v.mean + 2 * v.channels : NULL;
  return v;
}

/* Channels in a unit of work: several where planes are small, so that a thread reads whole cache lines. */
static int64_t grain(const norm *v) { return v->plane >= 16 ? 1 : 16; }

static void statistics(const norm *v, int64_t ch) {
  const real *x = (const real *)v->c->in[X].data + ch * v->plane;
  int64_t step = v->channels * v->plane;
  double n = (double)v->batch * (double)v->plane, sum = 0, squares = 0;
  for (int64_t b = 0; b < v->batch; b++) sum += span_sum(x + b * step, v->plane);
  double mean = sum / n;
  for (int64_t b = 0; b < v->batch; b++) squares += span_squares(x + b * step, mean, v->plane);
  v->mean[ch] = (real)mean;
  v->inv_std[ch] = (real)(1 / sqrt(squares / n + v->eps));
  v->unbiased[ch] = (real)(squares / (n - 1));
}

/* Mean and 1/std that normalize channel ch. */
static void read_statistics(const norm *v, int64_t ch, real *mean, real *inv_std) {
  if (v->training) {
    *mean = v->mean[ch];
    *inv_std = v->inv_std[ch];
  } else {
    *mean = ((const real *)v->c->in[RUNNING_MEAN].data)[ch];
    *inv_std = (real)(1 / sqrt((double)((const real *)v->c->in[RUNNING_VAR].data)[ch] + v->eps));
  }
}

static real or_else(const wtl_view *v, int64_t ch, real value) {
  return v->data ? ((const real *)v->data)[ch] : value;
}

static void forward_channels(void *arg, int64_t begin, int64_t end, int thread) {
  const norm *v = arg;
  (void)thread;
  for (int64_t ch = begin; ch < end; ch++) {
    if (v->training) statistics(v, ch);
    real mean, inv_std;
    read_statistics(v, ch, &mean, &inv_std);
    real scale = inv_std * or_else(&v->c->in[W], ch, 1), shift = or_else(&v->c->in[B], ch, 0);
    for (int64_t b = 0; b < v->batch; b++) {
      int64_t at = (b * v->channels + ch) * v->plane;
      const real *x = (const real *)v->c->in[X].data + at;
      real *y = (real *)v->c->out[0].data + at;
      for (int64_t k = 0; k < v->plane; k++) y[k] = (x[k] - mean) * scale + shift;
    }
  }
}

static wtl_status forward(wtl_call *c) {
  norm v = describe(c);
  wtl_parallel(c->ctx, v.channels, grain(&v), forward_channels, &v);
  return WTL_OK;
}

/* With h = (x-mean)/std, s = w/std and means over the channel: dw = sum dy*h, db = sum dy,
 * dx = s*(dy - mean(dy) - h*mean(dy*h)) in training, s*dy otherwise. */
static void backward_channels(void *arg, int64_t begin, int64_t end, int thread) {
  const norm *v = arg;
  const wtl_call *c = v->c;
  real *dw = c->din[W].data, *db = c->din[B].data;
  double n = (double)v->batch * (double)v->plane;
  (void)thread;
  for (int64_t ch = begin; ch < end; ch++) {
    real mean, inv_std;
    double sum = 0, product = 0; /* of dy, of dy*(x-mean) */
    read_statistics(v, ch, &mean, &inv_std);
    for (int64_t b = 0; b < v->batch; b++) {
      int64_t at = (b * v->channels + ch) * v->plane;
      const real *dy = (const real *)c->dout[0].data + at;
      sum += span_sum(dy, v->plane);
      product += span_covariance(dy, (const real *)c->in[X].data + at, (double)mean, v->plane);
    }
    if (dw) dw[ch] = (real)(product * (double)inv_std);
    if (db) db[ch] = (real)sum;
    if (!c->din[X].data) continue;
    real scale = inv_std * or_else(&c->in[W], ch, 1);
    real mean_dy = v->training ? (real)(sum / n) : 0;
    real slope = v->training ? (real)(product / n * (double)inv_std * (double)inv_std) : 0;
    for (int64_t b = 0; b < v->batch; b++) {
      int64_t at = (b * v->channels + ch) * v->plane;
      const real *x = (const real *)c->in[X].data + at, *dy = (const real *)c->dout[0].data + at;
      real *dx = (real *)c->din[X].data + at;
      for (int64_t k = 0; k < v->plane; k++) dx[k] = scale * (dy[k] - mean_dy - (x[k] - mean) * slope);
    }
  }
}

static wtl_status backward(wtl_call *c) {
  norm v = describe(c);
  wtl_parallel(c->ctx, v.channels, grain(&v), backward_channels, &v);
  return WTL_OK;
}

static wtl_status commit(wtl_call *c) {
  norm v = describe(c);
  real m = (real)c->attr[1].f, *running_mean = c->in[RUNNING_MEAN].data, *running_var = c->in[RUNNING_VAR].data;
  if (!v.training) return WTL_OK;
  for (int64_t ch = 0; ch < v.channels; ch++) {
    running_mean[ch] = (1 - m) * running_mean[ch] + m * v.mean[ch];
    running_var[ch] = (1 - m) * running_var[ch] + m * v.unbiased[ch];
  }
  return WTL_OK;
}

WTL_OP_KERNELS(batch_norm, forward, backward, commit);
