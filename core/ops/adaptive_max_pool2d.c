/* adaptive_max_pool2d: maximum over the bins of adaptive_avg_pool2d. Row in ops.def. saved: the place of each maximum in
 * its plane, int32. */
#include "real.h"
#include "window.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  WTL_TRY(wtl_rule_adaptive(f));
  if ((double)f->in[0].size[2] * (double)f->in[0].size[3] > INT32_MAX)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "adaptive_max_pool2d: x is %s; a plane may have 2^31-1 elements at most",
                    SHAPE(&f->in[0]));
  f->saved_bytes = (size_t)wtl_shape_numel(&f->out[0]) * sizeof(int32_t);
  return WTL_OK;
}

/* A comparison counts as one operation. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&f->out[0]);
  double bytes = wtl_rule_bytes(f, &f->in[0]) + wtl_rule_bytes(f, &f->out[0]) + n * sizeof(int32_t);
  *forward = (wtl_cost){ (double)wtl_shape_numel(&f->in[0]), bytes };
  *backward = (wtl_cost){ n, bytes };
}

WTL_OP_RULES(adaptive_max_pool2d, infer, cost, 0, 0);
#endif

/* at NULL: nobody asks for the places. */
typedef struct max_job { wtl_window h, w; const real *from; real *to; int32_t *at; } max_job;

/* The first of equals; NaN wins, as in PyTorch. */
static int32_t largest(const max_job *j, const real *x, int64_t i, int64_t k) {
  int64_t i0, i1, k0, k1;
  wtl_window_range(&j->h, i, &i0, &i1);
  wtl_window_range(&j->w, k, &k0, &k1);
  int64_t best = i0 * j->w.in + k0;
  for (int64_t r = i0; r < i1; r++)
    for (int64_t c = k0; c < k1; c++) {
      real v = x[r * j->w.in + c];
      if (v > x[best] || v != v) best = r * j->w.in + c;
    }
  return (int32_t)best;
}

static void forward_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const max_job *j = arg;
  int64_t out = j->h.out * j->w.out;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    const real *x = j->from + u * j->h.in * j->w.in;
    for (int64_t o = 0; o < out; o++) {
      int32_t place = largest(j, x, o / j->w.out, o % j->w.out);
      j->to[u * out + o] = x[place];
      if (j->at) j->at[u * out + o] = place;
    }
  }
}

static void backward_planes(void *arg, int64_t begin, int64_t end, int thread) {
  const max_job *j = arg;
  int64_t out = j->h.out * j->w.out, in = j->h.in * j->w.in;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    real *dx = j->to + u * in;
    memset(dx, 0, (size_t)in * sizeof *dx);
    for (int64_t o = 0; o < out; o++) dx[j->at[u * out + o]] += j->from[u * out + o];
  }
}

static wtl_status run(wtl_call *c, const wtl_view *from, const wtl_view *to,
                      void (*planes)(void *, int64_t, int64_t, int)) {
  max_job j = { wtl_window_adaptive(c, 0), wtl_window_adaptive(c, 1), from->data, to->data, c->saved };
  wtl_parallel(c->ctx, c->in[0].size[0] * c->in[0].size[1], 1, planes, &j);
  return WTL_OK;
}

static wtl_status forward(wtl_call *c) { return run(c, &c->in[0], &c->out[0], forward_planes); }
static wtl_status backward(wtl_call *c) { return run(c, &c->dout[0], &c->din[0], backward_planes); }

WTL_OP_KERNELS(adaptive_max_pool2d, forward, backward, NULL);
