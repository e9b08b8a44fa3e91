/* Lines along one axis of a contiguous tensor, for the ops that normalize them: softmax and log_softmax. Where the axis
 * is not the last one, neighbouring lines are walked together, so that memory is read in order. Compiled for float and
 * double like the ops; include it first. */
#ifndef WTL_LINES_H
#define WTL_LINES_H

#include "real.h"
#include "rules.h"
#include "span.h"

/* The axis has n elements, `step` apart; attribute 0 is its dim. */
typedef struct line_axis { int64_t n, step, lines; } line_axis;

enum { LINE_GROUP = 32 };

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

/* How many of the lines i..end-1 to walk together: neighbours in memory, LINE_GROUP at most. */
static inline int64_t line_group(const line_axis *a, int64_t i, int64_t end) {
  int64_t m = a->step - i % a->step;
  m = m < end - i ? m : end - i;
  return m < LINE_GROUP ? m : LINE_GROUP;
}

/* fn runs over [0, lines). An element costs about as much as 8 multiplications. */
static inline wtl_status lines_run(wtl_call *c, wtl_parallel_fn fn) {
  line_axis a = line_axis_of(c);
  int64_t grain = span_grain(8 * a.n);
  if (a.step > 1 && grain < LINE_GROUP) grain = LINE_GROUP;
  if (a.n > 0) wtl_parallel(c->ctx, a.lines, grain, fn, c);
  return WTL_OK;
}

/* Of one line without gaps: y = e^(x - largest), the largest x, and the sum of y in double. A NaN makes the sum NaN. */
static inline double line_exp(real *y, const real *x, int64_t n, real *largest) {
  real max = span_max(x, n);
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) y[k] = real_exp_down(x[k] - max);
  *largest = max;
  return span_sum(y, n);
}

/* The same of m neighbouring lines. */
static inline void lines_exp(real *y, const real *x, const line_axis *a, int64_t m, real *max, double *sum) {
  for (int64_t l = 0; l < m; l++) max[l] = x[l], sum[l] = 0;
  for (int64_t k = 1; k < a->n; k++)
    for (int64_t l = 0; l < m; l++) {
      real v = x[k * a->step + l];
      max[l] = v > max[l] ? v : max[l];
    }
  for (int64_t k = 0; k < a->n; k++) {
    WTL_INDEPENDENT
    for (int64_t l = 0; l < m; l++) y[k * a->step + l] = real_exp_down(x[k * a->step + l] - max[l]);
    for (int64_t l = 0; l < m; l++) sum[l] += (double)y[k * a->step + l];
  }
}

#endif
