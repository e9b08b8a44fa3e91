/* exp, log, tanh, the logistic function and the normal distribution in float, for the f32 kernels: without branches,
 * tables or calls, so that compilers vectorize a loop over them on every instruction set, with the same bits on each.
 * The f64 kernels, which judge these, keep libm. Special values are libm's: NaN, infinities, overflow, and subnormal
 * results, but where a function below says that it has 0 for these. The polynomials are least-maximum fits made for this
 * file. The bounds are what tests/c/test_fast.c holds them to, over all exponents, in units of the last place (ulp):
 *   exp 1.1   log 1   tanh 2.5   logistic 2.5 (it is 0 below -88.8)
 *   normal: 4 for x >= 0; below, 7 + x^2, since x^2 is rounded before its exponential is taken (it is 0 below -13.2) */
#ifndef WTL_FAST_H
#define WTL_FAST_H

#include <stdint.h>
#include <string.h>

static inline uint32_t fast_bits(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

static inline float fast_float(uint32_t u) {
  float x;
  memcpy(&x, &u, sizeof x);
  return x;
}

#define FAST_ROUND 0x1.8p23f /* added to a number below 2^22, it leaves the nearest integer in the low bits */

/* x = n*ln 2 + r with whole n and |r| <= ln(2)/2: n in two's complement, and e^r - 1. For |x| < 2^20. */
static inline float fast_reduce(float x, int32_t *n) {
  float shifted = x * 1.44269504f + FAST_ROUND, whole = shifted - FAST_ROUND;
  float r = (x - whole * 0x1.62ep-1f) - whole * 0x1.0bfbe8p-15f; /* ln 2 in two parts; the first product is exact */
  float p = 0.0013946554f;
  p = p * r + 0.008366644f;
  p = p * r + 0.04166628f;
  p = p * r + 0.16666542f;
  p = p * r + 0.5f;
  *n = (int32_t)(fast_bits(shifted) - fast_bits(FAST_ROUND));
  return r + r * r * p;
}

/* 2^n for -126 <= n <= 127. */
static inline float fast_power_of_2(int32_t n) { return fast_float(((uint32_t)n + 127) << 23); }

static inline float fast_exp(float x) {
  int32_t n;
  x = x < -105 ? -105 : x; /* where the result is 0, and infinite */
  x = x > 89 ? 89 : x;
  float y = 1 + fast_reduce(x, &n);
  int32_t half = n >> 1; /* in two steps, for the powers of 2 that are subnormal or too large */
  return y * fast_power_of_2(half) * fast_power_of_2(n - half);
}

/* The same for x <= 0, with 0 below -87.3: no result is subnormal, so one step is enough. */
static inline float fast_exp_down(float x) {
  int32_t n;
  float y = 1 + fast_reduce(x < -87.3f ? -87.3f : x, &n);
  y *= fast_power_of_2(n);
  return x < -87.3f ? 0 : y;
}

static inline float fast_logistic(float x) { return 1 / (1 + fast_exp(-x)); }

/* (e^2|x| - 1) / (e^2|x| + 1) with the sign of x. */
static inline float fast_tanh(float x) {
  int32_t n;
  uint32_t sign = fast_bits(x) & 0x80000000u;
  float twice = fast_float(fast_bits(x) ^ sign) * 2;
  twice = twice > 20 ? 20 : twice; /* where the result is 1 */
  float q = fast_reduce(twice, &n), power = fast_power_of_2(n);
  float e = power * q + (power - 1); /* e^2|x| - 1, without cancelling near 0 */
  return fast_float(fast_bits(e / (e + 2)) | sign);
}

/* P(a standard normal number is below x), and its density at x. For x < 0: density * t * polynomial(t) with
 * t = 1/(1 + 0.35 |x|). */
static inline float fast_normal(float x, float *density) {
  float a = fast_float(fast_bits(x) & 0x7fffffffu), e = fast_exp_down(-0.5f * a * a), t = 1 / (1 + 0.35f * a);
  float p = -0.029157886f;
  p = p * t + 0.14403091f;
  p = p * t - 0.255839f;
  p = p * t + 0.1593197f;
  p = p * t - 0.023212353f;
  p = p * t + 0.1055525f;
  p = p * t + 0.11982129f;
  p = p * t + 0.13986352f;
  p = p * t + 0.1396213f;
  float tail = e * (t * p);
  *density = 0.398942280f * e;
  return x < 0 ? tail : 1 - tail;
}

/* x = m*2^n with m in sqrt(1/2)..sqrt(2): n*ln 2 + ln m */
static inline float fast_log(float x) {
  float scaled = x < 0x1p-126f ? x * 0x1p23f : x; /* subnormal */
  uint32_t u = fast_bits(scaled) - 0x3f3504f3u; /* sqrt(1/2) */
  float n = (float)((int32_t)u >> 23) - (x < 0x1p-126f ? 23.0f : 0.0f);
  float f = fast_float((u & 0x007fffffu) + 0x3f3504f3u) - 1, p = -0.07860939f;
  p = p * f + 0.12883495f;
  p = p * f - 0.13129102f;
  p = p * f + 0.14180957f;
  p = p * f - 0.16624498f;
  p = p * f + 0.20002295f;
  p = p * f - 0.2500081f;
  p = p * f + 0.33333316f;
  float square = f * f, y = n * 0x1.0bfbe8p-15f + (square * f * p - 0.5f * square);
  y = (y + f) + n * 0x1.62ep-1f;
  y = x > 0 ? y : x == 0 ? -__builtin_inff() : __builtin_nanf(""); /* NaN, too */
  return x == __builtin_inff() ? x : y;
}

#endif
