/* Inside of tensors, for the parts above (ops, graph, data): the struct, foreign memory, element types and checked
 * shapes. May touch base only. Files: dtype.c, shape.c, tensor.c (storage), view.c, copy.c, random.c,
 * finite.c, low_bits.c, print.c. */
#ifndef WTL_TENSOR_H
#define WTL_TENSOR_H

#include "base.h"

/* Ends foreign memory when its last tensor goes. */
typedef void (*wtl_free_fn)(void *arg, void *data);

typedef struct wtl_storage {
  wtl_ctx *ctx;
  atomic_int refs;
  void *data;          /* 64-byte aligned unless foreign */
  wtl_free_fn free_fn; /* foreign memory only; may be NULL */
  void *arg;
} wtl_storage;

struct wtl_tensor {
  wtl_ctx *ctx;
  atomic_int refs;
  wtl_storage *storage;
  char *data;                    /* of element [0,0,...] */
  wtl_dtype dtype;
  wtl_shape shape;
  int64_t stride[WTL_MAX_DIMS];  /* in elements; 0 where expanded; never negative */
};

/* A contiguous tensor on memory that the caller made: an arena's slice, a mapped file. free_fn(arg, data) is called
 * once when the last reference goes (NULL: the memory outlives it); on failure it is not called. */
wtl_status wtl_tensor_wrap(wtl_ctx *ctx, wtl_dtype d, const wtl_shape *s, void *data, wtl_free_fn free_fn, void *arg,
                           wtl_tensor **out);
/* t itself (retained) where it is contiguous, else a clone. New reference. */
wtl_status wtl_tensor_as_contiguous(wtl_tensor *t, wtl_tensor **out);
/* Another window on t's storage, for views; data, shape and strides are t's until the caller sets them. New reference. */
wtl_status wtl_tensor_alias(wtl_tensor *t, wtl_tensor **out);
/* Fails where t is expanded, so that several indices name one element. */
wtl_status wtl_tensor_check_writable(wtl_tensor *t, const char *what);

/* Sizes not negative, at most WTL_MAX_DIMS of them, and bytes that fit ptrdiff_t even where a size is 0. */
wtl_status wtl_shape_check(wtl_ctx *ctx, const char *what, const wtl_shape *s, wtl_dtype d);
/* Row-major strides; s must be checked. */
void wtl_shape_strides(const wtl_shape *s, int64_t stride[WTL_MAX_DIMS]);
/* Room for wtl_shape_text of any shape. */
#define WTL_SHAPE_TEXT 176

bool wtl_dtype_is_float(wtl_dtype d);
/* Are n elements that lie `stride` apart neither NaN nor infinite? Integers always. */
bool wtl_all_finite(wtl_dtype d, const void *p, int64_t stride, int64_t n);
/* Bits of the 16-bit floats, rounding to nearest even; NaN stays a (quiet) NaN. */
float wtl_bf16_to_f32(uint16_t x);
float wtl_f16_to_f32(uint16_t x);
uint16_t wtl_f64_to_bf16(double x);
uint16_t wtl_f64_to_f16(double x);

/* n elements that lie `stride` apart, from and to double or int64. Integer types give and take either; floats' int64 is
 * not defined. Storing needs values in range (wtl_fits_*). */
void wtl_load_reals(wtl_dtype d, const void *p, int64_t stride, int64_t n, double *out);
void wtl_load_ints(wtl_dtype d, const void *p, int64_t stride, int64_t n, int64_t *out);
void wtl_store_reals(wtl_dtype d, void *p, int64_t stride, int64_t n, const double *in);
void wtl_store_ints(wtl_dtype d, void *p, int64_t stride, int64_t n, const int64_t *in);
/* Can d hold the value, after rounding to nearest even? Always for floats. */
bool wtl_fits_real(wtl_dtype d, double v);
bool wtl_fits_int(wtl_dtype d, int64_t v);
/* The largest value of float type d below x. */
double wtl_dtype_below(wtl_dtype d, double x);

/* What becomes of the low-order bits of f32 elements; rng is not read by arm zero. */
typedef struct wtl_low_bits { int bits; wtl_bits_arm arm; const wtl_rng *rng; } wtl_low_bits;
wtl_status wtl_low_bits_check(wtl_ctx *ctx, const char *what, int bits, wtl_bits_arm arm);
/* n elements that lie `stride` apart; the first has the logical index `first`, which says what it draws. */
void wtl_low_bits_apply(const wtl_low_bits *b, void *p, int64_t stride, int64_t first, int64_t n);

/* Loops over several windows of one shape as rows: sizes of 1 are dropped, and axes that all windows
 * walk in one stride are merged. n windows, at most 2. */
typedef struct wtl_walk {
  int ndim;                             /* at least 1; the last axis is the row */
  int64_t size[WTL_MAX_DIMS], stride[2][WTL_MAX_DIMS];
  int64_t rows;                         /* 0 when there is no element */
} wtl_walk;
void wtl_walk_init(wtl_walk *w, int n, const wtl_tensor *const t[]);
/* Element offsets of row number `row` in each window. */
void wtl_walk_row(const wtl_walk *w, int64_t row, int n, int64_t offset[]);

#endif
