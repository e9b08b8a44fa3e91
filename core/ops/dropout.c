/* dropout: in training each element is kept with probability 1-p, and made larger by as much. Row in ops.def.
 * Element i is dropped where the call's random word i is below p*2^32. saved: what was kept, one byte an element;
 * drawing again in backward would cost ten rounds of Philox for every four elements, many times what a byte's
 * reading does. */
#include "real.h"
#include "rng.h"
#include "rules.h"

enum { P, TRAINING }; /* attributes */

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  double p = f->attr[P].f;
  if (!(p >= 0 && p < 1))
    return wtl_fail(f->ctx, WTL_ERR_ARG, "dropout: p is %g; it must be at least 0 and below 1", p);
  f->out[0] = f->in[0];
  if (f->attr[TRAINING].i[0]) f->saved_bytes = (size_t)wtl_shape_numel(&f->in[0]);
  return WTL_OK;
}

static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  bool training = f->attr[TRAINING].i[0];
  double n = (double)wtl_shape_numel(&f->in[0]), bytes = 2 * wtl_rule_bytes(f, &f->in[0]) + (training ? n : 0);
  *forward = *backward = (wtl_cost){ training ? n : 0, bytes };
}

WTL_OP_RULES(dropout, infer, cost, 0, 0);
#endif

/* kept NULL: everything is. */
typedef struct drop_job {
  const wtl_rng *rng;
  const real *from;
  real *to, scale;
  uint8_t *kept;
  uint32_t threshold;
} drop_job;

static drop_job describe(const wtl_call *c, const wtl_view *from, const wtl_view *to) {
  double p = c->attr[P].f;
  return (drop_job){ &c->rng, from->data, to->data, (real)(1 / (1 - p)), c->saved, (uint32_t)(p * 0x1p32) };
}

/* The words of wtl_rng_u32, four at a time: begin is a multiple of WTL_SPAN. */
static void forward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const drop_job *j = arg;
  uint32_t word[4];
  (void)thread;
  for (int64_t i = begin; i < end; i++) {
    if (i % 4 == 0) wtl_rng_block(j->rng, (uint64_t)i / 4, word);
    bool keep = word[i % 4] >= j->threshold;
    j->to[i] = keep ? j->from[i] * j->scale : 0;
    if (j->kept) j->kept[i] = keep;
  }
}

static void backward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const drop_job *j = arg;
  (void)thread;
  for (int64_t i = begin; i < end; i++) j->to[i] = j->kept[i] ? j->from[i] * j->scale : 0;
}

static wtl_status run(wtl_call *c, const wtl_view *from, const wtl_view *to,
                      void (*span)(void *, int64_t, int64_t, int)) {
  int64_t n = wtl_view_numel(to);
  drop_job j = describe(c, from, to);
  if (!c->attr[TRAINING].i[0]) memcpy(j.to, j.from, (size_t)n * sizeof(real));
  else wtl_parallel(c->ctx, n, WTL_SPAN, span, &j);
  return WTL_OK;
}

static wtl_status forward(wtl_call *c) { return run(c, &c->in[0], &c->out[0], forward_span); }
static wtl_status backward(wtl_call *c) { return run(c, &c->dout[0], &c->din[0], backward_span); }

WTL_OP_KERNELS(dropout, forward, backward, NULL);
