/* The kernels of a function of a and b with broadcasting: an op's file gives the function and its two derivatives.
 * Rows have a loop of their own for each pattern of strides that matters, so that they vectorize; `f` is inlined there.
 * Compiled for float and double like the ops; include it first. */
#ifndef WTL_BINARY_H
#define WTL_BINARY_H

#include "real.h"
#include "walk.h"

#define ROW_INLINE static inline __attribute__((always_inline))

/* y[k] = f(a[k], b[k]): the body of a wtl_row of two operands. */
ROW_INLINE void binary_row(real (*f)(real, real), real *y, const real *const x[], const int64_t s[], int64_t n) {
  const real *a = x[0], *b = x[1];
  if (s[0] == 1 && s[1] == 1) {
    WTL_INDEPENDENT
    for (int64_t k = 0; k < n; k++) y[k] = f(a[k], b[k]);
  } else if (s[0] == 1 && s[1] == 0) {
    real c = b[0];
    WTL_INDEPENDENT
    for (int64_t k = 0; k < n; k++) y[k] = f(a[k], c);
  } else if (s[0] == 0 && s[1] == 1) {
    real c = a[0];
    WTL_INDEPENDENT
    for (int64_t k = 0; k < n; k++) y[k] = f(c, b[k]);
  } else {
    for (int64_t k = 0; k < n; k++) y[k] = f(a[k * s[0]], b[k * s[1]]);
  }
}

/* The same of three: of dy, a, b in backward, or of a condition and two choices. */
ROW_INLINE void ternary_row(real (*f)(real, real, real), real *y, const real *const x[], const int64_t s[], int64_t n) {
  const real *a = x[0], *b = x[1], *c = x[2];
  if (s[0] == 1 && s[1] == 1 && s[2] == 1) {
    WTL_INDEPENDENT
    for (int64_t k = 0; k < n; k++) y[k] = f(a[k], b[k], c[k]);
  } else if (s[0] == 1 && s[1] == 1 && s[2] == 0) {
    real d = c[0];
    WTL_INDEPENDENT
    for (int64_t k = 0; k < n; k++) y[k] = f(a[k], b[k], d);
  } else {
    for (int64_t k = 0; k < n; k++) y[k] = f(a[k * s[0]], b[k * s[1]], c[k * s[2]]);
  }
}

static inline wtl_status binary_forward(wtl_call *c, REAL(wtl_row) row) {
  REAL(wtl_map)(c->ctx, &c->out[0], 2, (const wtl_view *const[]){ &c->in[0], &c->in[1] }, row);
  return WTL_OK;
}

/* din[i] = row(x...), x broadcast to the output, summed over the axes along which input i repeats. */
static inline void binary_gradient(wtl_call *c, int i, int n, const wtl_view *const x[], REAL(wtl_row) row) {
  wtl_view d = c->dout[0]; /* contiguous, of the output's shape */
  unsigned repeated = wtl_repeated_axes(&c->dout[0], &c->in[i]);
  if (!c->din[i].data) return;
  d.data = repeated ? c->scratch : c->din[i].data;
  REAL(wtl_map)(c->ctx, &d, n, x, row);
  if (repeated) REAL(wtl_reduce)(c->ctx, &d, NULL, repeated, 1, c->din[i].data);
}

/* Rows of (dy, a, b). din[0] may be dout's own memory, so it is written last. */
static inline wtl_status binary_backward(wtl_call *c, REAL(wtl_row) of_a, REAL(wtl_row) of_b) {
  const wtl_view *const x[] = { &c->dout[0], &c->in[0], &c->in[1] };
  binary_gradient(c, 1, 3, x, of_b);
  binary_gradient(c, 0, 3, x, of_a);
  return WTL_OK;
}

#endif
