/* stochastic_depth: in training a whole sample (row) or the whole batch is dropped with probability p, and what is kept
 * becomes larger by 1/(1-p). Row in ops.def. Sample n is dropped where the call's random word n is below p*2^32;
 * backward draws the same words again. Nothing else depends on where an element stands, so x may come in any layout
 * that has the samples one after the other. */
#include "real.h"
#include "rng.h"
#include "rules.h"

enum { P, TRAINING, ROW }; /* attributes */

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  double p = f->attr[P].f;
  if (!(p >= 0 && p <= 1))
    return wtl_fail(f->ctx, WTL_ERR_ARG, "stochastic_depth: p is %g; it must be in 0..1", p);
  if (f->attr[ROW].i[0] && f->in[0].ndim == 0)
    return wtl_fail(f->ctx, WTL_ERR_SHAPE, "stochastic_depth: x is []; with row it must be (N,...)");
  f->out[0] = f->in[0];
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  bool training = f->attr[TRAINING].i[0];
  double n = (double)wtl_shape_numel(&f->in[0]);
  *forward = *backward = (wtl_cost){ training ? n : 0, 2 * wtl_rule_bytes(f, &f->in[0]) };
}

WTL_OP_RULES(stochastic_depth, infer, cost, 0, 0);
#endif

typedef struct depth_job {
  const wtl_call *c;
  const real *from;
  real *to;
  int64_t each;       /* elements of a sample, or of the batch */
  uint64_t threshold; /* a word below it drops */
  real scale;
} depth_job;

static void scale_part(real *to, const real *from, bool keep, real scale, int64_t n) {
  if (!keep) memset(to, 0, (size_t)n * sizeof *to);
  else
    for (int64_t k = 0; k < n; k++) to[k] = from[k] * scale;
}

static void span(void *arg, int64_t begin, int64_t end, int thread) {
  const depth_job *j = arg;
  (void)thread;
  for (int64_t at = begin; at < end;) {
    int64_t sample = at / j->each, stop = (sample + 1) * j->each < end ? (sample + 1) * j->each : end;
    bool keep = wtl_rng_u32(&j->c->rng, (uint64_t)sample) >= j->threshold;
    scale_part(j->to + at, j->from + at, keep, j->scale, stop - at);
    at = stop;
  }
}

static wtl_status run(wtl_call *c, const wtl_view *from, const wtl_view *to) {
  int64_t n = wtl_view_numel(to);
  double p = c->attr[P].f;
  if (n == 0) return WTL_OK;
  if (!c->attr[TRAINING].i[0]) {
    if (to->data != from->data) memcpy(to->data, from->data, (size_t)n * sizeof(real));
    return WTL_OK;
  }
  depth_job j = { c, from->data, to->data, c->attr[ROW].i[0] ? n / to->size[0] : n, (uint64_t)(p * 0x1p32),
                  p < 1 ? (real)(1 / (1 - p)) : 0 };
  wtl_parallel(c->ctx, n, WTL_SPAN, span, &j);
  return WTL_OK;
}

static wtl_status forward(wtl_call *c) { return run(c, &c->in[0], &c->out[0]); }
static wtl_status backward(wtl_call *c) { return run(c, &c->dout[0], &c->din[0]); }

WTL_OP_KERNELS(stochastic_depth, forward, backward, NULL);
