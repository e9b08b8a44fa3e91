/* Windows of a plane, for the pooling ops whose windows are rectangles of neighbours: which inputs of an axis an output
 * sees, and means over them. Compiled for float and double like the ops. Include after real.h. */
#ifndef WTL_WINDOW_H
#define WTL_WINDOW_H

#include "rules.h"

/* One axis. kernel 0: adaptive, output o of `out` sees inputs floor(o*in/out) up to ceil((o+1)*in/out). */
typedef struct wtl_window { int64_t in, out, kernel, stride, pad; } wtl_window;

/* Inputs [*begin, *end) that output o sees: the part of its window inside the image. */
static inline void wtl_window_range(const wtl_window *a, int64_t o, int64_t *begin, int64_t *end) {
  if (a->kernel == 0) {
    *begin = o * a->in / a->out;
    *end = ((o + 1) * a->in + a->out - 1) / a->out;
    return;
  }
  *begin = o * a->stride - a->pad;
  *end = *begin + a->kernel;
  if (*begin < 0) *begin = 0;
  if (*end > a->in) *end = a->in;
}

/* Rule of a window op (kernel_size, stride, padding as attributes 0 to 2, ceil_mode the last): sets out[0] of an image x. */
wtl_status wtl_rule_windows(wtl_infer *f);
/* Rule of an adaptive one: attribute 0 is output_size. */
wtl_status wtl_rule_adaptive(wtl_infer *f);
/* The axis (0: height, 1: width) of either. */
wtl_window wtl_window_of(const wtl_call *c, int axis);
wtl_window wtl_window_adaptive(const wtl_call *c, int axis);

/* y = mean of x over each window, and dx from dy. `whole`: the divisor counts the padding too. */
void REAL(wtl_window_mean)(wtl_ctx *ctx, const wtl_window w[2], bool whole, int64_t planes, const real *x, real *y);
void REAL(wtl_window_mean_back)(wtl_ctx *ctx, const wtl_window w[2], bool whole, int64_t planes, const real *dy, real *dx);

#endif
