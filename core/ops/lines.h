/* Lines along one axis of a contiguous tensor, for the ops that normalize them: softmax and log_softmax. Compiled for
 * float and double like the ops; include it first. */
#ifndef WTL_LINES_H
#define WTL_LINES_H

#include "real.h"
#include "rules.h"
#include "span.h"

/* The axis has n elements, `step` apart; attribute 0 is its dim. */
typedef struct line_axis { int64_t n, step, lines; } line_axis;

static inline line_axis line_axis_of(const wtl_call *c) {
  const wtl_view *y = &c->out[0];
  int dim = wtl_dim_of(c->attr[0].i[0], y->ndim);
  line_axis a = { y->size[dim], 1, 1 };
  for (int k = 0; k < y->ndim; k++) {
    if (k > dim) a.step *= y->size[k];
    if (k != dim) a.lines *= y->size[k];
  }
  return a;
}

/* Offset of the first element of line i. */
static inline int64_t line_begin(const line_axis *a, int64_t i) { return i / a->step * a->n * a->step + i % a->step; }

/* fn runs over [0, lines). An element costs about as much as 32 multiplications. */
static inline wtl_status lines_run(wtl_call *c, wtl_parallel_fn fn) {
  line_axis a = line_axis_of(c);
  if (a.n > 0) wtl_parallel(c->ctx, a.lines, span_grain(32 * a.n), fn, c);
  return WTL_OK;
}

/* The largest x and the sum of e^(x - largest), in double; with a NaN the sum is NaN. */
static inline double line_sum(const real *x, const line_axis *a, double *max) {
  double sum = 0;
  *max = (double)x[0];
  for (int64_t k = 1; k < a->n; k++) *max = (double)x[k * a->step] > *max ? (double)x[k * a->step] : *max;
  for (int64_t k = 0; k < a->n; k++) sum += exp((double)x[k * a->step] - *max);
  return sum;
}

#endif
