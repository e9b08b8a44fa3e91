/* Element types: names, sizes, and exact conversion of single values and short runs. Every conversion rounds once, to
 * nearest even: values pass through double or int64, which hold any smaller type exactly. */
#include <math.h>
#include <string.h>

#include "tensor.h"

static const struct { const char *name; size_t size; bool is_float; } types[WTL_NDTYPES] = {
  [WTL_F32] = { "f32", 4, true },   [WTL_F64] = { "f64", 8, true },   [WTL_BF16] = { "bf16", 2, true },
  [WTL_F16] = { "f16", 2, true },   [WTL_I64] = { "i64", 8, false },  [WTL_I32] = { "i32", 4, false },
  [WTL_U8] = { "u8", 1, false },
};

static bool known(wtl_dtype d) { return (unsigned)d < WTL_NDTYPES; }

const char *wtl_dtype_name(wtl_dtype d) { return known(d) ? types[d].name : "unknown"; }
size_t wtl_dtype_size(wtl_dtype d) { return known(d) ? types[d].size : 0; }
bool wtl_dtype_is_float(wtl_dtype d) { return known(d) && types[d].is_float; }

wtl_status wtl_dtype_parse(wtl_ctx *ctx, const char *name, wtl_dtype *out) {
  for (int d = 0; d < WTL_NDTYPES; d++) {
    if (name && !strcmp(name, types[d].name)) {
      *out = (wtl_dtype)d;
      return WTL_OK;
    }
  }
  return wtl_fail(ctx, WTL_ERR_DTYPE, "dtype: \"%s\" is unknown; it is one of f32, f64, bf16, f16, i64, i32, u8",
                  name ? name : "");
}

/* ---- 16-bit floats ------------------------------------------------------------------ */

/* A double's nearest value with `m` mantissa bits and exponent bias `bias`, as a sign-less bit pattern of width 15.
 * Works on the significand as an integer: what is shifted out decides the rounding, and a carry out of the
 * mantissa moves into the exponent by itself. */
static uint16_t round_double(double x, int m, int bias) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  uint16_t sign = (uint16_t)(bits >> 63 << 15), infinite = (uint16_t)(((1u << (15 - m)) - 1) << m);
  int e = (int)(bits >> 52 & 0x7FF);
  uint64_t fraction = bits & 0xFFFFFFFFFFFFFu;
  if (e == 0x7FF) {
    if (!fraction) return sign | infinite;
    return (uint16_t)(sign | infinite | 1u << (m - 1) | fraction >> (52 - m)); /* quiet */
  }
  if (e == 0) return sign; /* double's subnormals are far below half the smallest value here */
  int exponent = e - 1023 + bias, shift = 52 - m;
  uint64_t significand = fraction | 1ull << 52;
  if (exponent >= 1 << (15 - m)) return sign | infinite;
  if (exponent < 1) shift += 1 - exponent, exponent = 1; /* subnormal */
  if (shift > 54) return sign;
  uint64_t kept = significand >> shift, rest = significand & ((1ull << shift) - 1), half = 1ull << (shift - 1);
  if (rest > half || (rest == half && kept & 1)) kept++;
  /* kept has the implicit bit unless subnormal: adding it to exponent - 1 sets the exponent right. */
  uint64_t result = ((uint64_t)(exponent - 1) << m) + kept;
  return sign | (result >= infinite ? infinite : (uint16_t)result);
}

uint16_t wtl_f64_to_bf16(double x) { return round_double(x, 7, 127); }
uint16_t wtl_f64_to_f16(double x) { return round_double(x, 10, 15); }

static float float_of(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

float wtl_bf16_to_f32(uint16_t x) { return float_of((uint32_t)x << 16); }

float wtl_f16_to_f32(uint16_t x) {
  uint32_t sign = (uint32_t)(x & 0x8000) << 16, e = x >> 10 & 31, m = x & 1023;
  if (e == 31) return float_of(sign | 0x7F800000u | m << 13 | (m ? 0x400000u : 0));
  if (e) return float_of(sign | (e + 112) << 23 | m << 13);
  float f = (float)m * 0x1p-24f; /* subnormal or zero: exact */
  return sign ? -f : f;
}

/* ---- runs ---------------------------------------------------------------------------- */

#define EACH(type, expr)                                      \
  do {                                                        \
    const type *q = p;                                        \
    for (int64_t i = 0; i < n; i++, q += stride) out[i] = (expr); \
  } while (0)

void wtl_load_reals(wtl_dtype d, const void *p, int64_t stride, int64_t n, double *out) {
  switch (d) {
  case WTL_F32: EACH(float, (double)*q); break;
  case WTL_F64: EACH(double, *q); break;
  case WTL_BF16: EACH(uint16_t, (double)wtl_bf16_to_f32(*q)); break;
  case WTL_F16: EACH(uint16_t, (double)wtl_f16_to_f32(*q)); break;
  case WTL_I64: EACH(int64_t, (double)*q); break;
  case WTL_I32: EACH(int32_t, (double)*q); break;
  case WTL_U8: EACH(uint8_t, (double)*q); break;
  case WTL_NDTYPES: break;
  }
}

void wtl_load_ints(wtl_dtype d, const void *p, int64_t stride, int64_t n, int64_t *out) {
  switch (d) {
  case WTL_I64: EACH(int64_t, *q); break;
  case WTL_I32: EACH(int32_t, *q); break;
  case WTL_U8: EACH(uint8_t, *q); break;
  default: break;
  }
}

#undef EACH
#define EACH(type, expr)                                      \
  do {                                                        \
    type *q = p;                                              \
    for (int64_t i = 0; i < n; i++, q += stride) *q = (type)(expr); \
  } while (0)

void wtl_store_reals(wtl_dtype d, void *p, int64_t stride, int64_t n, const double *in) {
  switch (d) {
  case WTL_F32: EACH(float, in[i]); break;
  case WTL_F64: EACH(double, in[i]); break;
  case WTL_BF16: EACH(uint16_t, wtl_f64_to_bf16(in[i])); break;
  case WTL_F16: EACH(uint16_t, wtl_f64_to_f16(in[i])); break;
  case WTL_I64: EACH(int64_t, rint(in[i])); break;
  case WTL_I32: EACH(int32_t, rint(in[i])); break;
  case WTL_U8: EACH(uint8_t, rint(in[i])); break;
  case WTL_NDTYPES: break;
  }
}

/* A double that rounds to any narrower float as v itself would: where v has more than 53 bits, the lowest bit kept says
 * whether any below was set (rounding to odd), so nothing is rounded twice. */
static double odd_double(int64_t v) {
  uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
  int shift = u >> 53 ? 11 - __builtin_clzll(u) : 0;
  uint64_t lost = u & ((1ull << shift) - 1);
  double d = (double)((u >> shift | (lost != 0)) << shift);
  return v < 0 ? -d : d;
}

void wtl_store_ints(wtl_dtype d, void *p, int64_t stride, int64_t n, const int64_t *in) {
  switch (d) {
  case WTL_F32: EACH(float, in[i]); break;
  case WTL_F64: EACH(double, in[i]); break;
  case WTL_BF16: EACH(uint16_t, wtl_f64_to_bf16(odd_double(in[i]))); break;
  case WTL_F16: EACH(uint16_t, wtl_f64_to_f16(odd_double(in[i]))); break;
  case WTL_I64: EACH(int64_t, in[i]); break;
  case WTL_I32: EACH(int32_t, in[i]); break;
  case WTL_U8: EACH(uint8_t, in[i]); break;
  case WTL_NDTYPES: break;
  }
}

#undef EACH

bool wtl_fits_real(wtl_dtype d, double v) {
  double r = rint(v);
  switch (d) {
  case WTL_I64: return r >= -0x1p63 && r < 0x1p63; /* false for NaN */
  case WTL_I32: return r >= INT32_MIN && r <= INT32_MAX;
  case WTL_U8: return r >= 0 && r <= 255;
  default: return true;
  }
}

bool wtl_fits_int(wtl_dtype d, int64_t v) {
  switch (d) {
  case WTL_I32: return v >= INT32_MIN && v <= INT32_MAX;
  case WTL_U8: return v >= 0 && v <= 255;
  default: return true;
  }
}

/* Next pattern towards minus infinity, sign in the top bit. */
static uint64_t bits_below(uint64_t bits, uint64_t sign) {
  return bits & sign ? bits + 1 : bits ? bits - 1 : sign | 1;
}

double wtl_dtype_below(wtl_dtype d, double x) {
  union { float f; double d; uint16_t h; uint32_t u32; uint64_t u64; } v;
  double near;
  wtl_store_reals(d, &v, 1, 1, &x);
  wtl_load_reals(d, &v, 1, 1, &near);
  if (near < x) return near; /* rounding went down: nothing lies between */
  if (d == WTL_F64) v.u64 = bits_below(v.u64, 1ull << 63);
  else if (d == WTL_F32) v.u32 = (uint32_t)bits_below(v.u32, 1u << 31);
  else v.h = (uint16_t)bits_below(v.h, 1u << 15);
  wtl_load_reals(d, &v, 1, 1, &near);
  return near;
}
