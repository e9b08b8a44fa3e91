/* core/ops/fast.h against libm in double, over floats of every exponent, in units of the last place of the true result;
 * and its special values. The bounds are those that the header states. */
#include <math.h>

#include "check.h"

#include "fast.h"

static float tail(float x) {
  float density;
  return fast_normal(x, &density);
}

static float density(float x) {
  float d;
  fast_normal(x, &d);
  return d;
}

static double logistic(double x) { return 1 / (1 + exp(-x)); }
static double normal(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
static double normal_density(double x) { return 0.39894228040143267794 * exp(-0.5 * x * x); }

/* from..to: where the bound, a + b*x^2, holds. */
static const struct { const char *name; float (*fast)(float); double (*exact)(double), a, b, from, to; } functions[] = {
  { "exp", fast_exp, exp, 1.1, 0, -INFINITY, INFINITY },
  { "exp below 0", fast_exp_down, exp, 1.1, 0, -87.3, 0 },
  { "log", fast_log, log, 1, 0, -INFINITY, INFINITY },
  { "tanh", fast_tanh, tanh, 2.5, 0, -INFINITY, INFINITY },
  { "logistic", fast_logistic, logistic, 2.5, 0, -88.7, INFINITY },
  { "normal above 0", tail, normal, 4, 0, 0, INFINITY },
  { "normal below 0", tail, normal, 7, 1, -13, 0 },
  { "density", density, normal_density, 3, 1, -13, 13 },
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

/* |got - want| in units of the last place of a float near want; 0 where they are one float. */
static double ulps(float got, double want) {
  int exponent;
  if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
  if (got == (float)want) return 0;
  if (isinf((float)want) || isinf(got)) return INFINITY;
  frexp(want, &exponent);
  return fabs((double)got - want) / ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
}

static void check_one(int f, uint32_t bits, double worst[FUNCTIONS]) {
  double x = (double)fast_float(bits);
  if (!(x >= functions[f].from && x <= functions[f].to) && !isnan(x)) return;
  double off = ulps(functions[f].fast((float)x), functions[f].exact(x)) / (1 + functions[f].b / functions[f].a * x * x);
  if (off > functions[f].a) fail_msg("%s(%.9g) is %.9g, %.3g off", functions[f].name, x, functions[f].fast((float)x), off);
  if (off > worst[f]) worst[f] = off;
}

/* 4099 floats of each sign and exponent: both ends, and between them steps that hit all low bits. */
static void every_exponent(void **state) {
  double worst[FUNCTIONS] = { 0 };
  (void)state;
  for (uint32_t top = 0; top < 512; top++)
    for (uint32_t k = 0; k < 4099; k++) {
      uint32_t low = k == 4098 ? 0x7fffff : (k * 2047) & 0x7fffff;
      for (int f = 0; f < FUNCTIONS; f++) check_one(f, top << 23 | low, worst);
    }
  for (int f = 0; f < FUNCTIONS; f++) print_message("           %s: %.2f\n", functions[f].name, worst[f]);
}

/* Where most arguments are, more closely. */
static void near_zero(void **state) {
  double worst[FUNCTIONS] = { 0 };
  (void)state;
  for (int k = -400000; k <= 400000; k++)
    for (int f = 0; f < FUNCTIONS; f++) check_one(f, fast_bits((float)k * 2.3e-5f), worst);
  for (int f = 0; f < FUNCTIONS; f++) print_message("           %s: %.2f\n", functions[f].name, worst[f]);
}

static void special_values(void **state) {
  (void)state;
  assert_true(fast_exp(-INFINITY) == 0 && fast_exp(INFINITY) == INFINITY && isnan(fast_exp(NAN)) && fast_exp(0) == 1);
  assert_true(fast_exp(88.73f) == INFINITY && fast_exp(88.72f) < INFINITY && fast_exp(-104) == 0 && fast_exp(-103.9f) > 0);
  assert_true(fast_exp_down(-INFINITY) == 0 && fast_exp_down(-87.4f) == 0 && fast_exp_down(-87.2f) > 0);
  assert_true(fast_exp_down(0) == 1 && fast_exp_down(-0.0f) == 1 && isnan(fast_exp_down(NAN)));
  assert_true(fast_log(0) == -INFINITY && fast_log(-0.0f) == -INFINITY && isnan(fast_log(-1)) && isnan(fast_log(-INFINITY)));
  assert_true(fast_log(INFINITY) == INFINITY && fast_log(1) == 0 && isnan(fast_log(NAN)) && isnan(fast_log(-1e-40f)));
  assert_true(fast_tanh(INFINITY) == 1 && fast_tanh(-INFINITY) == -1 && isnan(fast_tanh(NAN)));
  assert_true(fast_tanh(1e-40f) == 1e-40f && signbit(fast_tanh(-0.0f)) && fast_tanh(-0.0f) == 0);
  assert_true(fast_logistic(-INFINITY) == 0 && fast_logistic(INFINITY) == 1 && isnan(fast_logistic(NAN)));
  assert_true(tail(-INFINITY) == 0 && tail(INFINITY) == 1 && isnan(tail(NAN)) && tail(0) == 0.5f);
  assert_true(density(-INFINITY) == 0 && density(INFINITY) == 0 && isnan(density(NAN)));
}

int main(void) {
  const struct CMUnitTest tests[] = { CASE(every_exponent), CASE(near_zero), CASE(special_values) };
  return cmocka_run_group_tests_name("fast", tests, NULL, NULL);
}
