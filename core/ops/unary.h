/* The kernels of a function of x, element by element: an op's file gives the function and its derivative for a span.
 * Compiled for float and double like the ops; include it first. */
#ifndef WTL_UNARY_H
#define WTL_UNARY_H

#include "real.h"
#include "rules.h"

/* y[k] = f(x[k]) for k < n; y may be x. */
typedef void unary_row(const wtl_attr *attr, real *y, const real *x, int64_t n);
/* dx[k] = dy[k] * f'(x[k]); x and y are NULL where the op's masks do not name them; dx may be dy. */
typedef void unary_back_row(const wtl_attr *attr, real *dx, const real *dy, const real *x, const real *y, int64_t n);

typedef struct unary_job { const wtl_call *c; unary_row *row; unary_back_row *back; } unary_job;

static inline void unary_span(void *arg, int64_t begin, int64_t end, int thread) {
  const unary_job *j = arg;
  const wtl_call *c = j->c;
  (void)thread;
  j->row(c->attr, (real *)c->out[0].data + begin, (const real *)c->in[0].data + begin, end - begin);
}

static inline wtl_status unary_forward(wtl_call *c, unary_row *row) {
  unary_job j = { c, row, NULL };
  wtl_parallel(c->ctx, wtl_view_numel(&c->out[0]), WTL_SPAN, unary_span, &j);
  return WTL_OK;
}

static inline void unary_back_span(void *arg, int64_t begin, int64_t end, int thread) {
  const unary_job *j = arg;
  const wtl_call *c = j->c;
  const real *x = c->in[0].data, *y = c->out[0].data;
  (void)thread;
  j->back(c->attr, (real *)c->din[0].data + begin, (const real *)c->dout[0].data + begin, x ? x + begin : NULL,
          y ? y + begin : NULL, end - begin);
}

static inline wtl_status unary_backward(wtl_call *c, unary_back_row *back) {
  unary_job j = { c, NULL, back };
  wtl_parallel(c->ctx, wtl_view_numel(&c->din[0]), WTL_SPAN, unary_back_span, &j);
  return WTL_OK;
}

#endif
