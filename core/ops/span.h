/* Inner loops on contiguous spans of `real`, written so that compilers vectorize them without reordering sums on
 * their own: a sum is kept in lanes, always as many, added in order at the end; unrolled, gcc keeps them in
 * registers. Include after real.h. */
#ifndef WTL_SPAN_H
#define WTL_SPAN_H

enum { LANES = 8 };

/* sum a[k]*b[k] */
static inline real span_dot(const real *a, const real *b, int64_t n) {
  real lane[LANES] = { 0 }, sum = 0;
  int64_t k = 0;
  for (; k + LANES <= n; k += LANES)
#pragma GCC unroll 8
    for (int l = 0; l < LANES; l++) lane[l] += a[k + l] * b[k + l];
  for (; k < n; k++) sum += a[k] * b[k];
#pragma GCC unroll 8
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum;
}

/* sum x[k], in double */
static inline double span_sum(const real *x, int64_t n) {
  double lane[LANES] = { 0 }, sum = 0;
  int64_t k = 0;
  for (; k + LANES <= n; k += LANES)
#pragma GCC unroll 8
    for (int l = 0; l < LANES; l++) lane[l] += (double)x[k + l];
  for (; k < n; k++) sum += (double)x[k];
#pragma GCC unroll 8
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum;
}

/* sum (x[k]-mean)^2, in double */
static inline double span_squares(const real *x, double mean, int64_t n) {
  double lane[LANES] = { 0 }, sum = 0;
  int64_t k = 0;
  for (; k + LANES <= n; k += LANES)
#pragma GCC unroll 8
    for (int l = 0; l < LANES; l++) lane[l] += ((double)x[k + l] - mean) * ((double)x[k + l] - mean);
  for (; k < n; k++) sum += ((double)x[k] - mean) * ((double)x[k] - mean);
#pragma GCC unroll 8
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum;
}

/* sum a[k]*(x[k]-mean), in double */
static inline double span_covariance(const real *a, const real *x, double mean, int64_t n) {
  double lane[LANES] = { 0 }, sum = 0;
  int64_t k = 0;
  for (; k + LANES <= n; k += LANES)
#pragma GCC unroll 8
    for (int l = 0; l < LANES; l++) lane[l] += (double)a[k + l] * ((double)x[k + l] - mean);
  for (; k < n; k++) sum += (double)a[k] * ((double)x[k] - mean);
#pragma GCC unroll 8
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum;
}

/* sum (a[k]-b[k])^2, in double */
static inline double span_distance(const real *a, const real *b, int64_t n) {
  double lane[LANES] = { 0 }, sum = 0;
  int64_t k = 0;
  for (; k + LANES <= n; k += LANES)
#pragma GCC unroll 8
    for (int l = 0; l < LANES; l++) {
      double d = (double)a[k + l] - (double)b[k + l];
      lane[l] += d * d;
    }
  for (; k < n; k++) sum += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
#pragma GCC unroll 8
  for (int l = 0; l < LANES; l++) sum += lane[l];
  return sum;
}

/* The largest x[k], n > 0; unspecified with a NaN among them. */
static inline real span_max(const real *x, int64_t n) {
  real lane[LANES], max = x[0];
  int64_t k = 0;
  for (int l = 0; l < LANES; l++) lane[l] = max;
  for (; k + LANES <= n; k += LANES)
#pragma GCC unroll 8
    for (int l = 0; l < LANES; l++) lane[l] = x[k + l] > lane[l] ? x[k + l] : lane[l];
  for (; k < n; k++) max = x[k] > max ? x[k] : max;
#pragma GCC unroll 8
  for (int l = 0; l < LANES; l++) max = lane[l] > max ? lane[l] : max;
  return max;
}

/* y += a*x */
static inline void span_axpy(real *restrict y, real a, const real *restrict x, int64_t n) {
  for (int64_t k = 0; k < n; k++) y[k] += a * x[k];
}

/* Chunk size such that a chunk does about 2 x WTL_SPAN multiplications, `each` per unit. */
static inline int64_t span_grain(int64_t each) {
  return each >= 2 * WTL_SPAN ? 1 : 2 * WTL_SPAN / (each < 1 ? 1 : each);
}

#endif
