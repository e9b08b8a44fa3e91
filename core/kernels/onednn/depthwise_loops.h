/* Bodies of depthwise.h's loops, compiled for the instruction set that TARGET names. A tile of outputs, or of taps, is kept
 * in registers; at an edge the last tile overlaps the one before, where that only repeats a result. No fused
 * multiplications: the same bits on each instruction set. */
#include "depthwise.h"

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias)); /* never passed by value */
#define TILE TARGET static inline __attribute__((always_inline))

TILE void correlate_tile(const depthwise_grid *g, const float *x, const float *w, const float *bias, float *y, const int rows,
                         const int cols) {
  v8 acc[8];
#pragma GCC unroll 8
  for (int k = 0; k < rows * cols; k++) acc[k] = *(const v8 *)bias;
  for (int64_t u = 0; u < g->kh; u++)
    for (int64_t v = 0; v < g->kw; v++, w += 8) {
      const float *from = x + u * g->dh * g->row + v * g->dw * 8;
      const v8 k = *(const v8 *)w;
#pragma GCC unroll 8
      for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < cols; c++) acc[r * cols + c] += k * *(const v8 *)(from + r * g->sh * g->row + c * g->sw * 8);
    }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
    for (int c = 0; c < cols; c++) *(v8 *)(y + (r * g->ow + c) * g->step) = acc[r * cols + c];
}

/* rows <= oh, cols <= ow */
TILE void correlate_tiles(const depthwise_grid *g, const float *x, const float *w, const float *bias, float *y, const int rows,
                          const int cols) {
  for (int64_t i = 0; i < g->oh; i += rows) {
    if (i + rows > g->oh) i = g->oh - rows;
    for (int64_t j = 0; j < g->ow; j += cols) {
      if (j + cols > g->ow) j = g->ow - cols;
      correlate_tile(g, x + i * g->sh * g->row + j * g->sw * 8, w, bias, y + (i * g->ow + j) * g->step, rows, cols);
    }
  }
}

TARGET static void correlate(const depthwise_grid *g, const float *x, const float *w, const float *bias, float *y) {
  if (g->ow >= 8) correlate_tiles(g, x, w, bias, y, 1, 8);
  else if (g->ow >= 4 && g->oh >= 2) correlate_tiles(g, x, w, bias, y, 2, 4);
  else if (g->ow >= 4) correlate_tiles(g, x, w, bias, y, 1, 4);
  else if (g->ow >= 2 && g->oh >= 4) correlate_tiles(g, x, w, bias, y, 4, 2);
  else if (g->ow >= 2 && g->oh >= 2) correlate_tiles(g, x, w, bias, y, 2, 2);
  else if (g->oh >= 4) correlate_tiles(g, x, w, bias, y, 4, 1);
  else correlate_tiles(g, x, w, bias, y, 1, 1);
}

/* Taps [u, u+rows) x [v, v+cols). The sum over a plane is added to the total as one number, which keeps it short. */
TILE void weights_tile(const depthwise_grid *g, const float *x, const float *y, float *total, int64_t u, int64_t v,
                       const int rows, const int cols) {
  v8 acc[9] = { { 0 } };
  for (int64_t i = 0; i < g->oh; i++) {
    const float *from = x + (i * g->sh + u * g->dh) * g->row + v * g->dw * 8;
    for (int64_t j = 0; j < g->ow; j++, y += g->step, from += g->sw * 8) {
      const v8 d = *(const v8 *)y;
#pragma GCC unroll 8
      for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < cols; c++) acc[r * cols + c] += d * *(const v8 *)(from + r * g->dh * g->row + c * g->dw * 8);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
    for (int c = 0; c < cols; c++) *(v8 *)(total + ((u + r) * g->kw + v + c) * 8) += acc[r * cols + c];
}

TILE void weights_tiles(const depthwise_grid *g, const float *x, const float *y, float *total, const int rows,
                        const int cols) {
  for (int64_t u = 0; u < g->kh;) {
    bool whole = u + rows <= g->kh;
    for (int64_t v = 0; v < g->kw; v += cols)
      if (whole) weights_tile(g, x, y, total, u, v, rows, cols);
      else weights_tile(g, x, y, total, u, v, 1, cols);
    u += whole ? rows : 1;
  }
}

TARGET static void weights(const depthwise_grid *g, const float *x, const float *y, float *total, float *sum8) {
  v8 sum = { 0 };
  if (g->kw == 3) weights_tiles(g, x, y, total, 3, 3);
  else if (g->kw == 5) weights_tiles(g, x, y, total, 1, 5);
  else if (g->kw == 7) weights_tiles(g, x, y, total, 1, 7);
  else weights_tiles(g, x, y, total, 1, 1);
  for (int64_t k = 0; k < g->oh * g->ow; k++) sum += *(const v8 *)(y + k * g->step);
  *(v8 *)sum8 += sum;
}

static const depthwise_loops loops = { correlate, weights };
