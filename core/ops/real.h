/* Each op's file is compiled twice: as it is for float, and with WTL_REAL_F64 for double; on x86-64 a third time, with
 * WTL_REAL_AVX2 for float on processors that have AVX2, in the same order and so with the same bits. `real` is the element
 * type, REAL(conv2d_forward) the name with its suffix; type-independent code stands under #if WTL_ONCE. */
#ifndef WTL_REAL_H
#define WTL_REAL_H

#include <math.h>
#include <string.h>
#include "fast.h"
#include "op.h"

#ifdef WTL_REAL_F64
typedef double real;
#define REAL_DTYPE WTL_F64
#define REAL(name) name##_f64
#define real_sqrt sqrt
#define real_exp exp
#define real_exp_down exp /* of x <= 0 */
#define real_log log
#define real_pow pow
#define real_tanh tanh
#define real_abs fabs
#define WTL_ONCE 0
static inline double real_logistic(double x) { return 1 / (1 + exp(-x)); }
/* P(a standard normal number is below x), and its density at x. By erfc: 1 + erf would cancel far below 0. */
static inline double real_normal(double x, double *density) {
  *density = 0.39894228040143267794 * exp(-0.5 * x * x);
  return 0.5 * erfc(-x * 0.70710678118654752440);
}
#else
typedef float real;
#define REAL_DTYPE WTL_F32
#ifdef WTL_REAL_AVX2
#define REAL(name) name##_f32_avx2
#define WTL_ONCE 0
#else
#define REAL(name) name##_f32
#define WTL_ONCE 1
#endif
#define real_sqrt sqrtf
#define real_exp fast_exp
#define real_exp_down fast_exp_down
#define real_log fast_log
#define real_pow powf
#define real_tanh fast_tanh
#define real_logistic fast_logistic
#define real_normal fast_normal
#define real_abs fabsf
#endif

/* Before a loop whose rounds do not depend on each other: element i is written from element i alone, in place or
 * not. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed" /* a hint; sanitizers and -O0 do without */
#define WTL_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define WTL_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* WTL_OP_RULES(relu, infer, cost, 0, 1) with the reads_in and reads_out masks; WTL_OP_KERNELS(relu, forward, backward, NULL); */
#define WTL_OP_RULES(name, infer_, cost_, reads_in_, reads_out_) \
  extern const wtl_op_rules wtl_rules_##name; \
  const wtl_op_rules wtl_rules_##name = { infer_, cost_, reads_in_, reads_out_ }
#define WTL_OP_KERNELS_AS(sym, f, b, c) \
  extern const wtl_op_kernels sym; \
  const wtl_op_kernels sym = { f, b, c }
#define WTL_OP_KERNELS(name, f, b, c) WTL_OP_KERNELS_AS(REAL(wtl_kernels_##name), f, b, c)

#endif
