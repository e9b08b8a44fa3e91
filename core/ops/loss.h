/* The kernels of a loss that is a sum over the elements of x and target, divided by a count: an op's file gives the sum
 * over a span and the two derivatives. Spans are summed in double and added in order, so the bits do not depend on the
 * threads. Compiled for float and double like the ops; include it first. */
#ifndef WTL_LOSS_H
#define WTL_LOSS_H

#include "real.h"
#include "rules.h"
#include "span.h"

typedef double loss_sum(const real *x, const real *t, int64_t n);
/* d[k] = scale * derivative at x[k], t[k] */
typedef void loss_row(real *d, const real *x, const real *t, real scale, int64_t n);

typedef struct loss_job { const wtl_call *c; loss_sum *sum; loss_row *row; real *d, scale; } loss_job;

static inline void loss_span(void *arg, int64_t begin, int64_t end, int thread) {
  const loss_job *j = arg;
  double *partial = j->c->scratch;
  (void)thread;
  partial[begin / WTL_SPAN] =
    j->sum((const real *)j->c->in[0].data + begin, (const real *)j->c->in[1].data + begin, end - begin);
}

static inline wtl_status loss_forward(wtl_call *c, loss_sum *sum, int64_t count) {
  int64_t n = wtl_view_numel(&c->in[0]);
  const double *partial = c->scratch;
  double y = 0;
  wtl_parallel(c->ctx, n, WTL_SPAN, loss_span, &(loss_job){ .c = c, .sum = sum });
  for (int64_t k = 0; k * WTL_SPAN < n; k++) y += partial[k];
  *(real *)c->out[0].data = (real)(y / (double)count);
  return WTL_OK;
}

static inline void loss_back_span(void *arg, int64_t begin, int64_t end, int thread) {
  const loss_job *j = arg;
  (void)thread;
  j->row(j->d + begin, (const real *)j->c->in[0].data + begin, (const real *)j->c->in[1].data + begin, j->scale,
         end - begin);
}

static inline wtl_status loss_backward(wtl_call *c, loss_row *of_x, loss_row *of_target, int64_t count) {
  real scale = (real)((double)*(const real *)c->dout[0].data / (double)count);
  for (int i = 0; i < 2; i++) {
    if (!c->din[i].data) continue;
    loss_job j = { .c = c, .row = i ? of_target : of_x, .d = c->din[i].data, .scale = scale };
    wtl_parallel(c->ctx, wtl_view_numel(&c->in[0]), WTL_SPAN, loss_back_span, &j);
  }
  return WTL_OK;
}

#endif
