/* The inner loops of depthwise.c: eight channels side by side, one plane at a time. depthwise_loops.h has them,
 * depthwise.c and depthwise_avx2.c compile it for their instruction set. */
#ifndef WTL_DEPTHWISE_H
#define WTL_DEPTHWISE_H

#include <stdint.h>

/* A plane x of rows of `row` floats (columns of 8 channels), framed so that no tap leaves it, and a plane y whose columns
 * are `step` floats apart: y[i][j] = sum_{u,v} x[i*sh + u*dh][j*sw + v*dw] * w[u][v]. */
typedef struct depthwise_grid { int64_t oh, ow, kh, kw, sh, sw, dh, dw, row, step; } depthwise_grid;

typedef struct depthwise_loops {
  /* y = sum + bias (8 floats); w: (kh,kw,8). */
  void (*correlate)(const depthwise_grid *g, const float *x, const float *w, const float *bias, float *y);
  /* total (kh,kw,8) += sum over y of x times y, y being the gradient; sum8 += the sum of y. */
  void (*weights)(const depthwise_grid *g, const float *x, const float *y, float *total, float *sum8);
} depthwise_loops;

const depthwise_loops *depthwise_avx2(void); /* NULL where the processor lacks it */

#endif
