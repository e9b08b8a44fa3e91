/* cross_entropy: mean over the batch of -sum_c q[c] log softmax(logits)[c], where q is 1 at the target, or with label
 * smoothing s is (1-s) there plus s/C everywhere (Szegedy et al. 2016). Row in ops.def. saved: the softmax, (N,C).
 * Exponentials and sums are in double; NaN and infinity pass through. */
#include "real.h"
#include "rules.h"
#include "span.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  double smoothing = f->attr[0].f;
  WTL_TRY(wtl_rule_labels(f));
  if (!(smoothing >= 0 && smoothing <= 1))
    return wtl_fail(f->ctx, WTL_ERR_ARG, "cross_entropy: label_smoothing is %g; it must be in 0..1", smoothing);
  f->saved_bytes = (size_t)wtl_shape_numel(&f->in[0]) * wtl_dtype_size(f->real);
  f->scratch_bytes = (size_t)f->in[0].size[0] * sizeof(double); /* the loss of each row */
  return WTL_OK;
}

/* Per logit: maximum, difference, exponential, sum, quotient; an exponential counts as one. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->in[0]), bytes = wtl_rule_bytes(f, &f->in[0]);
  double labels = (double)f->in[0].size[0] * sizeof(int64_t);
  *forward = (wtl_cost){ 5 * n, 2 * bytes + labels };
  *backward = (wtl_cost){ n, 2 * bytes + labels };
}

WTL_OP_RULES(cross_entropy, infer, cost, 2, 0);
#endif

static void forward_rows(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  const int64_t *target = c->in[1].data;
  int64_t classes = c->in[0].size[1];
  double *loss = c->scratch, smoothing = c->attr[0].f;
  (void)thread;
  for (int64_t r = begin; r < end; r++) {
    const real *x = (const real *)c->in[0].data + r * classes;
    real *p = c->saved ? (real *)c->saved + r * classes : NULL;
    double max = (double)x[0], sum = 0;
    for (int64_t k = 1; k < classes; k++) max = (double)x[k] > max ? (double)x[k] : max;
    for (int64_t k = 0; k < classes; k++) {
      double e = exp((double)x[k] - max);
      sum += e;
      if (p) p[k] = (real)e;
    }
    if (p)
      for (int64_t k = 0; k < classes; k++) p[k] = (real)((double)p[k] / sum);
    loss[r] = log(sum) - ((double)x[target[r]] - max);
    if (smoothing > 0) { /* else an infinite logit, though times 0, would count */
      double uniform = log(sum) - (span_sum(x, classes) / (double)classes - max);
      loss[r] = (1 - smoothing) * loss[r] + smoothing * uniform;
    }
  }
}

static wtl_status forward(wtl_call *c) {
  int64_t rows = c->in[0].size[0];
  const double *loss = c->scratch;
  double sum = 0;
  WTL_TRY(wtl_check_labels(c, "cross_entropy"));
  wtl_parallel(c->ctx, rows, span_grain(32 * c->in[0].size[1]), forward_rows, c);
  for (int64_t r = 0; r < rows; r++) sum += loss[r];
  *(real *)c->out[0].data = (real)(sum / (double)rows);
  return WTL_OK;
}

/* dlogits = (softmax - q) * dy/N */
static void backward_rows(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  const int64_t *target = c->in[1].data;
  int64_t classes = c->in[0].size[1];
  real scale = (real)((double)*(const real *)c->dout[0].data / (double)c->in[0].size[0]);
  real sure = (real)(1 - c->attr[0].f), each = (real)(c->attr[0].f / (double)classes);
  (void)thread;
  for (int64_t r = begin; r < end; r++) {
    const real *p = (const real *)c->saved + r * classes;
    real *d = (real *)c->din[0].data + r * classes;
    for (int64_t k = 0; k < classes; k++) d[k] = (p[k] - each) * scale;
    d[target[r]] = (p[target[r]] - each - sure) * scale;
  }
}

static wtl_status backward(wtl_call *c) {
  if (c->din[0].data) wtl_parallel(c->ctx, c->in[0].size[0], span_grain(c->in[0].size[1]), backward_rows, c);
  return WTL_OK;
}

WTL_OP_KERNELS(cross_entropy, forward, backward, NULL);
