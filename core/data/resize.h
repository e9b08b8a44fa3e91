/* Between resize.c and its kernels for single instruction sets: weights in fixed point. */
#ifndef WTL_RESIZE_H
#define WTL_RESIZE_H

#include "image.h"

#define WTL_RESIZE_BITS 22 /* of fraction, as in Pillow */

/* Weights of one pass. Sample i of the result is the sum over t < count(i) of weight[i * most + t] * in[first(i) + t],
 * plus a half, shifted right by WTL_RESIZE_BITS and clipped to 0..255. Weights behind count(i) are 0; most is a multiple
 * of 8. */
typedef struct wtl_weights {
  int n, most;
  int *bounds;      /* first, count of each */
  int32_t *weight;  /* (n, most) */
  int16_t *split;   /* (n, most / 4, 8): of each 4 weights the low 12 bits, then the rest: weight = low + 4096 * rest */
} wtl_weights;

/* Rows first, first + 1, ... of in, as many as out has, each scaled to out's width. Reads nothing behind in's last row. */
typedef void (*wtl_across_fn)(const wtl_weights *w, const wtl_pixels *in, int first, wtl_pixels *out);
/* One row of the result, `bytes` long: in is the first of its source rows, which follow each other at `bytes`. */
typedef void (*wtl_down_fn)(const int32_t *weight, int count, const unsigned char *in, size_t bytes, unsigned char *out);

/* n pixels of RGB to three planes of n, and back. */
typedef void (*wtl_planes_fn)(const unsigned char *from, size_t n, unsigned char *to);

typedef struct wtl_resize_kernels {
  wtl_across_fn across;
  wtl_down_fn down;
  wtl_planes_fn to_planes, from_planes;
} wtl_resize_kernels;
extern const wtl_resize_kernels wtl_resize_plain;
const wtl_resize_kernels *wtl_resize_fastest(void);
const wtl_resize_kernels *wtl_resize_avx2(void); /* NULL where the processor or the build has no AVX2 */

/* sum / 2^22, rounded before it comes here, to a byte. */
static inline unsigned char wtl_resize_clip(int32_t sum) {
  int32_t v = sum >> WTL_RESIZE_BITS;
  return (unsigned char)(v < 0 ? 0 : v > 255 ? 255 : v);
}

#endif
