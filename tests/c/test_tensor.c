/* core/tensor: storage and views, exact conversion, random filling, printing; all of it with memory gone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tensor.h"

static wtl_ctx *ctx;

#define OK(expr) \
  do { \
    wtl_status ok_ = (expr); \
    if (ok_ != WTL_OK) fail_msg("%s: %s", #expr, wtl_message(ctx)); \
  } while (0)
/* The status, and a piece of the message. */
#define FAILS(expr, status, text) \
  do { \
    assert_int_equal(expr, status); \
    if (!strstr(wtl_message(ctx), text)) fail_msg("message: %s", wtl_message(ctx)); \
  } while (0)
#define SHAPE(...) (&(wtl_shape){ (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ } })
#define SCALAR (&(wtl_shape){ 0, { 0 } })
#define AT(...) ((const int64_t[]){ __VA_ARGS__ })

static uint64_t live(void) {
  wtl_memory m;
  wtl_memory_stats(ctx, &m);
  return m.live;
}

static int set_up(void **state) {
  (void)state;
  return wtl_ctx_create(2, &ctx);
}

static int tear_down(void **state) {
  uint64_t left = live();
  (void)state;
  if (left) print_error("%llu blocks are left\n", (unsigned long long)left);
  wtl_ctx_destroy(ctx);
  return left != 0;
}

/* 0, 1, 2, ... in shape s. */
static wtl_tensor *count_up(wtl_dtype d, const wtl_shape *s) {
  wtl_tensor *t = NULL, *flat = NULL;
  OK(wtl_tensor_create(ctx, d, s, &t));
  OK(wtl_tensor_reshape(t, SHAPE(-1), &flat));
  for (int64_t i = 0; i < wtl_tensor_numel(t); i++) OK(wtl_tensor_set(flat, &i, (double)i));
  wtl_tensor_release(flat);
  return t;
}

static wtl_tensor *from_doubles(wtl_dtype d, const wtl_shape *s, const double *v) {
  wtl_tensor *t = NULL, *wide = NULL;
  OK(wtl_tensor_wrap(ctx, WTL_F64, s, (void *)(uintptr_t)v, NULL, NULL, &wide));
  OK(wtl_tensor_convert(wide, d, &t));
  wtl_tensor_release(wide);
  return t;
}

static double at(const wtl_tensor *t, const int64_t *index) {
  double v = NAN;
  OK(wtl_tensor_get(t, index, &v));
  return v;
}

/* Logical order. */
static void assert_values(wtl_tensor *t, const wtl_shape *s, const double *v) {
  wtl_tensor *wide = NULL;
  assert_true(wtl_shape_equal(wtl_tensor_shape(t), s));
  OK(wtl_tensor_convert(t, WTL_F64, &wide));
  const double *w = wtl_tensor_cdata(wide);
  for (int64_t i = 0; i < wtl_shape_numel(s); i++)
    if (w[i] != v[i]) fail_msg("element %d is %g, not %g", (int)i, w[i], v[i]);
  wtl_tensor_release(wide);
}
#define VALUES(...) ((const double[]){ __VA_ARGS__ })

/* ---- dtypes and shapes --------------------------------------------------------------- */

static void test_dtypes(void **state) {
  static const char *const name[] = { "f32", "f64", "bf16", "f16", "i64", "i32", "u8" };
  static const size_t size[] = { 4, 8, 2, 2, 8, 4, 1 };
  wtl_dtype d = WTL_NDTYPES;
  (void)state;
  for (int i = 0; i < WTL_NDTYPES; i++) {
    assert_string_equal(wtl_dtype_name((wtl_dtype)i), name[i]);
    assert_int_equal(wtl_dtype_size((wtl_dtype)i), size[i]);
    OK(wtl_dtype_parse(ctx, name[i], &d));
    assert_int_equal(d, i);
    assert_int_equal(wtl_dtype_is_float((wtl_dtype)i), name[i][0] == 'f' || name[i][0] == 'b');
  }
  FAILS(wtl_dtype_parse(ctx, "float", &d), WTL_ERR_DTYPE, "\"float\" is unknown; it is one of f32, f64");
  FAILS(wtl_dtype_parse(ctx, NULL, &d), WTL_ERR_DTYPE, "unknown");
  assert_string_equal(wtl_dtype_name((wtl_dtype)77), "unknown");
  assert_int_equal(wtl_dtype_size((wtl_dtype)77), 0);
}

static void test_shapes(void **state) {
  char buf[WTL_SHAPE_TEXT], small[4];
  (void)state;
  assert_int_equal(wtl_shape_numel(SCALAR), 1);
  assert_int_equal(wtl_shape_numel(SHAPE(2, 3, 4)), 24);
  assert_int_equal(wtl_shape_numel(SHAPE(2, 0, 4)), 0);
  assert_int_equal(wtl_shape_numel(SHAPE(INT64_MAX, 2, 0)), 0);
  assert_true(wtl_shape_equal(SHAPE(2, 3), SHAPE(2, 3)));
  assert_false(wtl_shape_equal(SHAPE(2, 3), SHAPE(2, 3, 1)));
  assert_false(wtl_shape_equal(SHAPE(2, 3), SHAPE(3, 2)));
  assert_string_equal(wtl_shape_text(SHAPE(2, 3), buf, sizeof buf), "[2,3]");
  assert_string_equal(wtl_shape_text(SCALAR, buf, sizeof buf), "[]");
  assert_string_equal(wtl_shape_text(SHAPE(123456, 3), small, sizeof small), "[12");
  const int64_t n = INT64_MIN;
  wtl_shape_text(SHAPE(n, n, n, n, n, n, n, n), buf, sizeof buf);
  assert_int_equal(buf[strlen(buf) - 1], ']'); /* the longest there is */
}

static void test_create_limits(void **state) {
  wtl_tensor *t = NULL;
  (void)state;
  FAILS(wtl_tensor_create(ctx, WTL_F32, SHAPE(2, -1), &t), WTL_ERR_SHAPE, "tensor: shape is [2,-1]; size -1 is negative");
  FAILS(wtl_tensor_create(ctx, WTL_F32, SHAPE(INT64_MAX / 4 + 1), &t), WTL_ERR_SHAPE, "too large to address");
  FAILS(wtl_tensor_create(ctx, WTL_F64, SHAPE(1ll << 31, 1ll << 31), &t), WTL_ERR_SHAPE, "too large");
  FAILS(wtl_tensor_create(ctx, WTL_U8, SHAPE(0, 1ll << 40, 1ll << 40), &t), WTL_ERR_SHAPE, "too large");
  FAILS(wtl_tensor_create(ctx, (wtl_dtype)9, SHAPE(1), &t), WTL_ERR_DTYPE, "9 is no dtype");
  wtl_shape deep = { WTL_MAX_DIMS + 1, { 1, 1, 1, 1, 1, 1, 1, 1 } };
  FAILS(wtl_tensor_create(ctx, WTL_F32, &deep, &t), WTL_ERR_SHAPE, "9 dimensions");
  deep.ndim = -1;
  FAILS(wtl_tensor_create(ctx, WTL_F32, &deep, &t), WTL_ERR_SHAPE, "-1 dimensions");
  assert_null(t);
  deep = (wtl_shape){ 8, { 1, 2, 1, 2, 1, 2, 1, 2 } };
  OK(wtl_tensor_create(ctx, WTL_U8, &deep, &t));
  assert_int_equal(wtl_tensor_bytes(t), 16);
  wtl_tensor_release(t);
}

static void test_create_and_release(void **state) {
  wtl_tensor *t = NULL, *view = NULL;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(2, 3, 4), &t));
  assert_ptr_equal(wtl_tensor_ctx(t), ctx);
  assert_int_equal(wtl_tensor_dtype(t), WTL_F32);
  assert_int_equal(wtl_tensor_numel(t), 24);
  assert_int_equal(wtl_tensor_bytes(t), 96);
  assert_int_equal((uintptr_t)wtl_tensor_data(t) % 64, 0);
  assert_memory_equal(wtl_tensor_strides(t), AT(12, 4, 1), 3 * sizeof(int64_t));
  assert_true(wtl_tensor_contiguous(t));
  for (int i = 0; i < 24; i++) assert_true(((float *)wtl_tensor_data(t))[i] == 0);
  assert_ptr_equal(wtl_tensor_retain(t), t);
  OK(wtl_tensor_select(t, 0, 1, &view));
  wtl_tensor_release(t);
  wtl_tensor_release(t);
  assert_int_equal(live(), 2); /* the view and the storage it keeps */
  OK(wtl_tensor_fill(view, 3));
  wtl_tensor_release(view);
  wtl_tensor_release(NULL);
  assert_null(wtl_tensor_retain(NULL));
}

static void free_counted(void *arg, void *data) {
  ++*(int *)arg;
  free(data);
}

static void test_wrap(void **state) {
  int freed = 0;
  float *memory = calloc(6, sizeof *memory);
  wtl_tensor *t = NULL, *view = NULL;
  (void)state;
  for (uint64_t k = 1; k <= 2; k++) { /* on failure the memory stays the caller's */
    wtl_memory_fail_at(ctx, k);
    assert_int_equal(wtl_tensor_wrap(ctx, WTL_F32, SHAPE(2, 3), memory, free_counted, &freed, &t), WTL_ERR_MEMORY);
    assert_int_equal(freed, 0);
  }
  wtl_memory_fail_at(ctx, 0);
  OK(wtl_tensor_wrap(ctx, WTL_F32, SHAPE(2, 3), memory, free_counted, &freed, &t));
  OK(wtl_tensor_set(t, AT(1, 2), 5));
  assert_true(memory[5] == 5);
  OK(wtl_tensor_transpose(t, 0, 1, &view));
  wtl_tensor_release(t);
  assert_int_equal(freed, 0);
  wtl_tensor_release(view);
  assert_int_equal(freed, 1);
}

/* ---- views -------------------------------------------------------------------------- */

static void test_reshape(void **state) {
  wtl_tensor *t = count_up(WTL_F32, SHAPE(2, 3, 4)), *v = NULL, *w = NULL;
  (void)state;
  OK(wtl_tensor_reshape(t, SHAPE(4, -1), &v));
  assert_true(wtl_shape_equal(wtl_tensor_shape(v), SHAPE(4, 6)));
  assert_true(at(v, AT(1, 1)) == 7);
  assert_ptr_equal(wtl_tensor_data(v), wtl_tensor_data(t));
  FAILS(wtl_tensor_reshape(t, SHAPE(5, 5), &w), WTL_ERR_SHAPE, "reshape: [2,3,4] has 24 elements and does not fit [5,5]");
  FAILS(wtl_tensor_reshape(t, SHAPE(5, -1), &w), WTL_ERR_SHAPE, "does not fit [5,-1]");
  FAILS(wtl_tensor_reshape(t, SHAPE(-1, -1), &w), WTL_ERR_SHAPE, "more than one -1");
  FAILS(wtl_tensor_reshape(t, SHAPE(-2, 3), &w), WTL_ERR_SHAPE, "negative");
  FAILS(wtl_tensor_reshape(t, SHAPE(0, -1), &w), WTL_ERR_SHAPE, "-1 open");
  FAILS(wtl_tensor_reshape(t, SHAPE(1ll << 40, 1ll << 40), &w), WTL_ERR_SHAPE, "too large");
  wtl_tensor_release(v);
  OK(wtl_tensor_transpose(t, 0, 2, &v));
  FAILS(wtl_tensor_reshape(v, SHAPE(24), &w), WTL_ERR_ARG, "reshape: [4,3,2] is not contiguous");
  OK(wtl_tensor_as_contiguous(v, &w));
  assert_true(w != v && wtl_tensor_contiguous(w));
  wtl_tensor_release(v);
  OK(wtl_tensor_as_contiguous(w, &v));
  assert_ptr_equal(v, w);
  wtl_tensor_release(w);
  wtl_tensor_release(v);
  wtl_tensor_release(t);
  t = count_up(WTL_F32, SHAPE(1));
  OK(wtl_tensor_reshape(t, SCALAR, &v));
  assert_int_equal(wtl_tensor_shape(v)->ndim, 0);
  wtl_tensor_release(v);
  wtl_tensor_release(t);
}

static void test_permute(void **state) {
  wtl_tensor *t = count_up(WTL_I32, SHAPE(2, 3, 2)), *v = NULL;
  (void)state;
  OK(wtl_tensor_transpose(t, 0, -1, &v));
  assert_values(v, SHAPE(2, 3, 2), VALUES(0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11));
  assert_false(wtl_tensor_contiguous(v));
  wtl_tensor_release(v);
  OK(wtl_tensor_permute(t, (const int[]){ 1, 0, 2 }, &v));
  assert_values(v, SHAPE(3, 2, 2), VALUES(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11));
  wtl_tensor_release(v);
  FAILS(wtl_tensor_permute(t, (const int[]){ 1, 0, 1 }, &v), WTL_ERR_ARG, "named twice");
  FAILS(wtl_tensor_permute(t, (const int[]){ 1, 0, 3 }, &v), WTL_ERR_ARG, "dimension 3 of [2,3,2]; it has 3");
  FAILS(wtl_tensor_transpose(t, 0, -4, &v), WTL_ERR_ARG, "dimension -4");
  wtl_tensor_release(t);
}

static void test_narrow_select(void **state) {
  wtl_tensor *t = count_up(WTL_F64, SHAPE(3, 4)), *v = NULL, *w = NULL;
  (void)state;
  OK(wtl_tensor_narrow(t, 1, 1, 2, &v));
  assert_values(v, SHAPE(3, 2), VALUES(1, 2, 5, 6, 9, 10));
  OK(wtl_tensor_select(v, 1, 1, &w));
  assert_values(w, SHAPE(3), VALUES(2, 6, 10));
  OK(wtl_tensor_fill(w, -1));
  assert_true(at(t, AT(1, 2)) == -1);
  wtl_tensor_release(w);
  wtl_tensor_release(v);
  OK(wtl_tensor_narrow(t, 0, 3, 0, &v));
  assert_int_equal(wtl_tensor_numel(v), 0);
  FAILS(wtl_tensor_select(v, 0, 0, &w), WTL_ERR_ARG, "index 0 of dimension 0, of size 0");
  wtl_tensor_release(v);
  FAILS(wtl_tensor_narrow(t, 0, 2, 2, &v), WTL_ERR_ARG, "2 elements from 2 on do not lie in dimension 0, of size 3");
  FAILS(wtl_tensor_narrow(t, 0, -1, 1, &v), WTL_ERR_ARG, "narrow");
  FAILS(wtl_tensor_narrow(t, 0, 1, -1, &v), WTL_ERR_ARG, "narrow");
  FAILS(wtl_tensor_narrow(t, 0, 1, INT64_MAX, &v), WTL_ERR_ARG, "narrow");
  FAILS(wtl_tensor_narrow(t, 0, INT64_MAX, 1, &v), WTL_ERR_ARG, "narrow");
  FAILS(wtl_tensor_select(t, 1, 4, &v), WTL_ERR_ARG, "index 4");
  FAILS(wtl_tensor_select(t, 1, -1, &v), WTL_ERR_ARG, "index -1");
  FAILS(wtl_tensor_select(t, 2, 0, &v), WTL_ERR_ARG, "dimension 2");
  wtl_tensor_release(t);
}

static void test_expand(void **state) {
  wtl_tensor *t = count_up(WTL_F32, SHAPE(2, 1)), *v = NULL, *c = NULL;
  wtl_rng r = wtl_rng_make(0, "", "", 0);
  (void)state;
  OK(wtl_tensor_expand(t, SHAPE(2, -1, 3), &v));
  assert_values(v, SHAPE(2, 2, 3), VALUES(0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1));
  OK(wtl_tensor_clone(v, &c));
  assert_true(wtl_tensor_contiguous(c));
  FAILS(wtl_tensor_copy(v, c), WTL_ERR_ARG, "expanded");
  FAILS(wtl_tensor_normal(v, &r, 0, 1), WTL_ERR_ARG, "expanded");
  OK(wtl_tensor_fill(v, 7));
  assert_true(at(t, AT(0, 0)) == 7 && at(t, AT(1, 0)) == 7);
  wtl_tensor_release(c);
  wtl_tensor_release(v);
  OK(wtl_tensor_expand(t, SHAPE(2, 0), &v));
  assert_int_equal(wtl_tensor_numel(v), 0);
  wtl_tensor_release(v);
  FAILS(wtl_tensor_expand(t, SHAPE(3, 1), &v), WTL_ERR_SHAPE, "expand: [2,1] does not broadcast to [3,1]");
  FAILS(wtl_tensor_expand(t, SHAPE(2), &v), WTL_ERR_SHAPE, "does not broadcast");
  FAILS(wtl_tensor_expand(t, SHAPE(-1, 2, 1), &v), WTL_ERR_SHAPE, "negative");
  FAILS(wtl_tensor_expand(t, SHAPE(1ll << 61, 2, 1), &v), WTL_ERR_SHAPE, "too large");
  wtl_tensor_release(t);
}

static void test_no_elements(void **state) {
  wtl_tensor *t = NULL, *v = NULL, *c = NULL;
  wtl_rng r = wtl_rng_make(0, "", "", 0);
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(3, 0, 2), &t));
  assert_non_null(wtl_tensor_data(t));
  assert_int_equal(wtl_tensor_bytes(t), 0);
  OK(wtl_tensor_fill(t, 1));
  OK(wtl_tensor_uniform(t, &r, 0, 1));
  OK(wtl_tensor_select(t, 0, 2, &v));
  OK(wtl_tensor_convert(v, WTL_U8, &c));
  assert_true(wtl_shape_equal(wtl_tensor_shape(c), SHAPE(0, 2)));
  wtl_tensor_release(v);
  OK(wtl_tensor_transpose(t, 0, 1, &v));
  assert_true(wtl_tensor_contiguous(v));
  wtl_tensor_release(c);
  OK(wtl_tensor_reshape(v, SHAPE(5, 0), &c));
  OK(wtl_tensor_copy(t, t));
  FAILS(wtl_tensor_get(t, AT(0, 0, 0), &(double){ 0 }), WTL_ERR_ARG, "get: index 0 of dimension 1 is outside [3,0,2]");
  wtl_tensor_release(c);
  wtl_tensor_release(v);
  wtl_tensor_release(t);
}

static void test_broadcast(void **state) {
  static const struct { wtl_shape a, b, out; } case_[] = {
    { { 2, { 2, 3 } }, { 1, { 3 } }, { 2, { 2, 3 } } },
    { { 0, { 0 } }, { 2, { 2, 3 } }, { 2, { 2, 3 } } },
    { { 3, { 4, 1, 3 } }, { 2, { 5, 1 } }, { 3, { 4, 5, 3 } } },
    { { 1, { 1 } }, { 1, { 0 } }, { 1, { 0 } } },
    { { 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } } },
  };
  wtl_shape out;
  (void)state;
  for (size_t i = 0; i < sizeof case_ / sizeof *case_; i++) {
    OK(wtl_broadcast(ctx, "add", &case_[i].a, &case_[i].b, &out));
    assert_true(wtl_shape_equal(&out, &case_[i].out));
    OK(wtl_broadcast(ctx, "add", &case_[i].b, &case_[i].a, &out));
    assert_true(wtl_shape_equal(&out, &case_[i].out));
  }
  FAILS(wtl_broadcast(ctx, "add", SHAPE(2, 3), SHAPE(4), &out), WTL_ERR_SHAPE,
        "add: a is [2,3], b is [4]; sizes 3 and 4 do not broadcast");
  FAILS(wtl_broadcast(ctx, "add", SHAPE(2), SHAPE(0), &out), WTL_ERR_SHAPE, "do not broadcast");
  FAILS(wtl_broadcast(ctx, "mul", SHAPE(1ll << 40, 1), SHAPE(1ll << 40), &out), WTL_ERR_SHAPE, "too large");
}

/* ---- copies and conversion ---------------------------------------------------------- */

static void test_copy_strided(void **state) {
  wtl_tensor *t = count_up(WTL_F32, SHAPE(3, 4)), *v = NULL, *w = NULL, *a = NULL, *b = NULL;
  (void)state;
  OK(wtl_tensor_transpose(t, 0, 1, &v));
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(4, 6), &w));
  OK(wtl_tensor_narrow(w, 1, 2, 3, &a));
  OK(wtl_tensor_copy(a, v)); /* strided both sides, with conversion */
  assert_values(w, SHAPE(4, 6), VALUES(0, 0, 0, 4, 8, 0, 0, 0, 1, 5, 9, 0, 0, 0, 2, 6, 10, 0, 0, 0, 3, 7, 11, 0));
  OK(wtl_tensor_copy(t, t));
  FAILS(wtl_tensor_copy(t, v), WTL_ERR_SHAPE, "copy: to [3,4] from [4,3]; shapes differ");
  wtl_tensor_release(a);
  wtl_tensor_release(w);
  wtl_tensor_release(v);
  wtl_tensor_release(t);
  /* Onto itself: transposed in place, and moved by one. */
  t = count_up(WTL_U8, SHAPE(3, 3));
  OK(wtl_tensor_transpose(t, 0, 1, &v));
  OK(wtl_tensor_copy(t, v));
  assert_values(t, SHAPE(3, 3), VALUES(0, 3, 6, 1, 4, 7, 2, 5, 8));
  OK(wtl_tensor_reshape(t, SHAPE(9), &w));
  OK(wtl_tensor_narrow(w, 0, 1, 8, &a));
  OK(wtl_tensor_narrow(w, 0, 0, 8, &b));
  OK(wtl_tensor_copy(a, b));
  assert_values(w, SHAPE(9), VALUES(0, 0, 3, 6, 1, 4, 7, 2, 5));
  wtl_tensor_release(b);
  wtl_tensor_release(a);
  wtl_tensor_release(w);
  wtl_tensor_release(v);
  wtl_tensor_release(t);
}

/* Every value of a 16-bit float survives; halfway goes to even; anything off halfway to the nearer. */
static void check_16_bit(uint16_t (*narrow)(double), float (*widen)(uint16_t), uint16_t infinity) {
  for (uint32_t bits = 0; bits < 0x10000; bits++) {
    uint16_t h = (uint16_t)bits, magnitude = h & 0x7FFF;
    double v = widen(h);
    if (magnitude > infinity) {
      assert_true(isnan(v));
      assert_true(isnan(widen(narrow(v))));
      assert_int_equal(narrow(v) & 0x8000, h & 0x8000);
      continue;
    }
    if (narrow(v) != h) fail_msg("%04x comes back as %04x", h, narrow(v));
    assert_true((signbit(v) != 0) == (h >> 15));
    if (magnitude == infinity) {
      assert_true(isinf(v));
      continue;
    }
    /* Beyond the largest value stands what would be the next power of two. */
    double next = magnitude + 1 == infinity ? 2 * v - widen((uint16_t)(h - 1)) : widen((uint16_t)(h + 1));
    double half = v + (next - v) / 2;
    uint16_t even = h & 1 ? (uint16_t)(h + 1) : h;
    if (narrow(half) != even) fail_msg("halfway above %04x goes to %04x", h, narrow(half));
    if (narrow(nextafter(half, v)) != h) fail_msg("below halfway above %04x", h);
    if (narrow(nextafter(half, next)) != h + 1) fail_msg("above halfway above %04x", h);
  }
  assert_int_equal(narrow(1e300), infinity);
  assert_int_equal(narrow(-INFINITY), infinity | 0x8000);
  assert_int_equal(narrow(5e-324), 0);
  assert_int_equal(narrow(-1e-300), 0x8000);
}

static void test_16_bit_floats(void **state) {
  (void)state;
  check_16_bit(wtl_f64_to_bf16, wtl_bf16_to_f32, 0x7F80);
  check_16_bit(wtl_f64_to_f16, wtl_f16_to_f32, 0x7C00);
  assert_true(wtl_bf16_to_f32(0x3F80) == 1 && wtl_bf16_to_f32(1) == 0x1p-133f);
  assert_true(wtl_f16_to_f32(0x3C00) == 1 && wtl_f16_to_f32(1) == 0x1p-24f && wtl_f16_to_f32(0x7BFF) == 65504);
  assert_int_equal(wtl_f64_to_f16(65519.99), 0x7BFF);
  assert_int_equal(wtl_f64_to_f16(65520), 0x7C00);
}

static void test_convert_rounds_once(void **state) {
  (void)state;
  /* Through f32 these would round twice. */
  double v[] = { 1 + 0x1p-8 + 0x1p-40, 1 + 0x1p-11 + 0x1p-50, 0x1p-25 + 0x1p-60 };
  wtl_tensor *t = from_doubles(WTL_BF16, SHAPE(3), v);
  assert_true(at(t, AT(0)) == 1 + 0x1p-7);
  wtl_tensor_release(t);
  t = from_doubles(WTL_F16, SHAPE(3), v);
  assert_true(at(t, AT(1)) == 1 + 0x1p-10);
  assert_true(at(t, AT(2)) == 0x1p-24);
  wtl_tensor_release(t);
  /* 2^62 + 2^54 is halfway between bf16 values; one more must go up. */
  int64_t big[] = { (1ll << 62) + (1ll << 54), (1ll << 62) + (1ll << 54) + 1, -(1ll << 62) - (1ll << 54) - 1, INT64_MIN,
                    (1ll << 53) + 1, 2049 };
  wtl_tensor *w = NULL, *n = NULL;
  OK(wtl_tensor_wrap(ctx, WTL_I64, SHAPE(6), big, NULL, NULL, &w));
  OK(wtl_tensor_convert(w, WTL_BF16, &n));
  assert_values(n, SHAPE(6), VALUES(0x1p62, 0x1p62 + 0x1p55, -0x1p62 - 0x1p55, -0x1p63, 0x1p53, 2048));
  wtl_tensor_release(n);
  OK(wtl_tensor_convert(w, WTL_F64, &n));
  assert_values(n, SHAPE(6), VALUES(0x1p62 + 0x1p54, 0x1p62 + 0x1p54, -0x1p62 - 0x1p54, -0x1p63, 0x1p53, 2049));
  wtl_tensor_release(n);
  OK(wtl_tensor_convert(w, WTL_F32, &n));
  assert_true(at(n, AT(5)) == 2049);
  wtl_tensor_release(n);
  OK(wtl_tensor_convert(w, WTL_F16, &n));
  assert_true(isinf(at(n, AT(0))) && at(n, AT(3)) == -INFINITY && at(n, AT(5)) == 2048);
  wtl_tensor_release(n);
  OK(wtl_tensor_clone(w, &n));
  assert_memory_equal(wtl_tensor_cdata(n), big, sizeof big); /* no way through double */
  wtl_tensor_release(n);
  wtl_tensor_release(w);
}

/* Small whole numbers pass between any two types. */
static void test_convert_all_pairs(void **state) {
  double v[300];
  (void)state;
  for (int i = 0; i < 300; i++) v[i] = i % 200;
  for (int from = 0; from < WTL_NDTYPES; from++)
    for (int to = 0; to < WTL_NDTYPES; to++) {
      wtl_tensor *a = from_doubles((wtl_dtype)from, SHAPE(100, 3), v), *b = NULL, *t = NULL, *c = NULL;
      OK(wtl_tensor_convert(a, (wtl_dtype)to, &b));
      assert_int_equal(wtl_tensor_dtype(b), to);
      assert_values(b, SHAPE(100, 3), v);
      OK(wtl_tensor_transpose(a, 0, 1, &t)); /* strided source and target */
      OK(wtl_tensor_convert(t, (wtl_dtype)to, &c));
      OK(wtl_tensor_fill(b, 0));
      wtl_tensor_release(t);
      OK(wtl_tensor_transpose(b, 0, 1, &t));
      OK(wtl_tensor_copy(t, c));
      assert_values(b, SHAPE(100, 3), v);
      wtl_tensor_release(t);
      wtl_tensor_release(c);
      wtl_tensor_release(b);
      wtl_tensor_release(a);
    }
}

static void test_float_special(void **state) {
  static const double v[] = { INFINITY, -INFINITY, NAN, -0.0, 1e300, 1e-320 };
  static const wtl_dtype d[] = { WTL_F32, WTL_BF16, WTL_F16 };
  (void)state;
  for (int i = 0; i < 3; i++) {
    wtl_tensor *t = from_doubles(d[i], SHAPE(6), v);
    assert_true(at(t, AT(0)) == INFINITY && at(t, AT(1)) == -INFINITY && isnan(at(t, AT(2))));
    assert_true(signbit(at(t, AT(3))) && at(t, AT(3)) == 0);
    assert_true(at(t, AT(4)) == INFINITY && at(t, AT(5)) == 0);
    wtl_tensor_release(t);
  }
}

static void test_convert_to_integers(void **state) {
  static const double rounds[] = { 0.5, 1.5, 2.5, -0.5, 254.5, 255.49 };
  static const struct { wtl_dtype d; double v; const char *message; } bad[] = {
    { WTL_U8, 255.5, "convert: 255.5 at [1,2] does not fit u8" },
    { WTL_U8, -0.51, "convert: -0.51 at [1,2] does not fit u8" },
    { WTL_U8, NAN, "nan at [1,2] does not fit u8" },
    { WTL_I32, 2147483647.5, "does not fit i32" },
    { WTL_I32, -2147483649., "convert: -2.14748365e+09 at [1,2] does not fit i32" },
    { WTL_I64, 0x1p63, "does not fit i64" },
    { WTL_I64, -0x1.0000000000001p63, "does not fit i64" },
    { WTL_I64, INFINITY, "convert: inf at [1,2] does not fit i64" },
  };
  static const struct { wtl_dtype d; double v; } good[] = {
    { WTL_I32, 2147483647.25 }, { WTL_I32, -2147483648.5 }, { WTL_I64, -0x1p63 }, { WTL_I64, 0x1.fffffffffffffp62 },
  };
  wtl_tensor *t = from_doubles(WTL_U8, SHAPE(6), rounds), *w = NULL, *n = NULL;
  (void)state;
  assert_values(t, SHAPE(6), VALUES(0, 2, 2, 0, 254, 255));
  FAILS(wtl_tensor_fill(t, 256), WTL_ERR_NUMERIC, "fill: 256 does not fit u8");
  FAILS(wtl_tensor_set(t, AT(3), NAN), WTL_ERR_NUMERIC, "set: nan does not fit u8");
  FAILS(wtl_tensor_set(t, AT(6), 1), WTL_ERR_ARG, "set: index 6 of dimension 0 is outside [6]");
  wtl_tensor_release(t);
  OK(wtl_tensor_create(ctx, WTL_F64, SHAPE(3, 4), &w));
  OK(wtl_tensor_transpose(w, 0, 1, &t)); /* the index is the view's */
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    OK(wtl_tensor_set(t, AT(1, 2), bad[i].v));
    n = NULL;
    FAILS(wtl_tensor_convert(t, bad[i].d, &n), WTL_ERR_NUMERIC, bad[i].message);
    assert_null(n);
  }
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    OK(wtl_tensor_set(t, AT(1, 2), good[i].v));
    OK(wtl_tensor_convert(t, good[i].d, &n));
    assert_true(at(n, AT(1, 2)) == rint(good[i].v));
    wtl_tensor_release(n);
  }
  wtl_tensor_release(t);
  /* A copy that cannot be done changes nothing. */
  OK(wtl_tensor_fill(w, 3));
  OK(wtl_tensor_set(w, AT(2, 3), 1000));
  OK(wtl_tensor_create(ctx, WTL_U8, SHAPE(3, 4), &n));
  FAILS(wtl_tensor_copy(n, w), WTL_ERR_NUMERIC, "copy: 1000 at [2,3] does not fit u8");
  for (int i = 0; i < 12; i++) assert_int_equal(((uint8_t *)wtl_tensor_data(n))[i], 0);
  wtl_tensor_release(n);
  wtl_tensor_release(w);
  int64_t big[] = { 1, 1ll << 40 };
  OK(wtl_tensor_wrap(ctx, WTL_I64, SHAPE(2), big, NULL, NULL, &w));
  FAILS(wtl_tensor_convert(w, WTL_I32, &n), WTL_ERR_NUMERIC, "convert: 1099511627776 at [1] does not fit i32");
  FAILS(wtl_tensor_convert(w, WTL_U8, &n), WTL_ERR_NUMERIC, "convert: 1099511627776 at [1] does not fit u8");
  wtl_tensor_release(w);
}

/* ---- random filling ----------------------------------------------------------------- */

static void test_random_is_by_logical_index(void **state) {
  wtl_rng r = wtl_rng_make(1, "init", "w", 0);
  wtl_tensor *a = NULL, *b = NULL, *v = NULL, *plain = NULL;
  (void)state;
  for (int normal = 0; normal < 2; normal++) {
    OK(wtl_tensor_create(ctx, WTL_F64, SHAPE(101, 203), &a));
    OK(wtl_tensor_create(ctx, WTL_F64, SHAPE(203, 101), &b));
    OK(wtl_tensor_transpose(b, 0, 1, &v)); /* column-major */
    OK(wtl_set_threads(ctx, 1));
    OK(normal ? wtl_tensor_normal(a, &r, 0, 1) : wtl_tensor_uniform(a, &r, 0, 1));
    OK(wtl_set_threads(ctx, 4));
    OK(normal ? wtl_tensor_normal(v, &r, 0, 1) : wtl_tensor_uniform(v, &r, 0, 1));
    OK(wtl_tensor_clone(v, &plain));
    assert_memory_equal(wtl_tensor_cdata(a), wtl_tensor_cdata(plain), wtl_tensor_bytes(a));
    const double *x = wtl_tensor_cdata(a);
    for (uint64_t i = 0; i < 101 * 203; i += 97)
      assert_true(x[i] == (normal ? wtl_rng_normal(&r, i) : wtl_rng_uniform(&r, i)));
    wtl_tensor_release(plain);
    wtl_tensor_release(v);
    wtl_tensor_release(b);
    wtl_tensor_release(a);
  }
}

static void test_random_ranges(void **state) {
  static const wtl_dtype d[] = { WTL_F32, WTL_F64, WTL_BF16, WTL_F16 };
  wtl_rng r = wtl_rng_make(2, "init", "w", 0);
  wtl_tensor *t = NULL;
  (void)state;
  for (int i = 0; i < 4; i++) {
    OK(wtl_tensor_create(ctx, d[i], SHAPE(20000), &t));
    OK(wtl_tensor_uniform(t, &r, 1, 2)); /* bf16 has 128 values there: rounding up would reach 2 */
    double least = 3, most = 0;
    for (int64_t k = 0; k < 20000; k++) {
      double v = at(t, &k);
      least = v < least ? v : least;
      most = v > most ? v : most;
    }
    assert_true(least >= 1 && least < 1.01 && most < 2 && most > 1.99);
    OK(wtl_tensor_uniform(t, &r, 4, 4));
    assert_true(at(t, AT(77)) == 4);
    FAILS(wtl_tensor_uniform(t, &r, 2, 1), WTL_ERR_ARG, "uniform: from 2 to 1 is no range");
    FAILS(wtl_tensor_uniform(t, &r, 0, NAN), WTL_ERR_ARG, "uniform");
    FAILS(wtl_tensor_uniform(t, &r, -1e308, 1e308), WTL_ERR_ARG, "uniform");
    FAILS(wtl_tensor_normal(t, &r, 0, -1), WTL_ERR_ARG, "normal: mean 0 and standard deviation -1");
    wtl_tensor_release(t);
  }
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(2), &t));
  FAILS(wtl_tensor_uniform(t, &r, 0, 1), WTL_ERR_DTYPE, "uniform: a float tensor is needed, this one is i64");
  FAILS(wtl_tensor_normal(t, &r, 0, 1), WTL_ERR_DTYPE, "i64");
  wtl_tensor_release(t);
  assert_true(wtl_dtype_below(WTL_F32, 1) == 0x1.fffffep-1);
  assert_true(wtl_dtype_below(WTL_F32, 0) == -0x1p-149);
  assert_true(wtl_dtype_below(WTL_F32, 1e300) == 0x1.fffffep127);
  assert_true(wtl_dtype_below(WTL_F64, 1) == 0x1.fffffffffffffp-1);
  assert_true(wtl_dtype_below(WTL_BF16, -1) == -1 - 0x1p-7);
  assert_true(wtl_dtype_below(WTL_F16, 65520) == 65504);
}

/* ---- printing ----------------------------------------------------------------------- */

static void assert_prints(const wtl_tensor *t, const char *expected) {
  wtl_text text;
  wtl_text_init(&text, ctx);
  OK(wtl_tensor_print(t, &text));
  assert_string_equal(text.s, expected);
  wtl_text_free(&text);
}

static void prints(wtl_dtype d, const wtl_shape *s, const double *v, const char *expected) {
  wtl_tensor *t = from_doubles(d, s, v);
  assert_prints(t, expected);
  wtl_tensor_release(t);
}

static void prints_count(wtl_dtype d, const wtl_shape *s, const char *expected) {
  wtl_tensor *t = count_up(d, s);
  assert_prints(t, expected);
  wtl_tensor_release(t);
}

/* The numbers and their columns are those that PyTorch 1.13 prints. */
static void test_print(void **state) {
  (void)state;
  prints(WTL_F32, SCALAR, VALUES(3.5), "3.5000\nf32 []");
  prints(WTL_I64, SCALAR, VALUES(7), "7\ni64 []");
  prints(WTL_F32, SHAPE(2, 2), VALUES(1.5, NAN, INFINITY, -2), "[[ 1.5000,     nan],\n [    inf, -2.0000]]\nf32 [2,2]");
  prints(WTL_F64, SHAPE(2), VALUES(1e-5, 1), "[1.0000e-05, 1.0000e+00]\nf64 [2]");
  prints(WTL_F32, SHAPE(2), VALUES(1, 100000), "[1.0000e+00, 1.0000e+05]\nf32 [2]");
  prints(WTL_F32, SHAPE(2), VALUES(1e9, 2e9), "[1.0000e+09, 2.0000e+09]\nf32 [2]");
  prints(WTL_F32, SHAPE(3), VALUES(1, 0.5, 300.25), "[  1.0000,   0.5000, 300.2500]\nf32 [3]");
  prints(WTL_F32, SHAPE(3), VALUES(1, -2, 1000), "[   1.,   -2., 1000.]\nf32 [3]");
  prints(WTL_BF16, SHAPE(2, 2), VALUES(0, 0, 0, 0), "[[0., 0.],\n [0., 0.]]\nbf16 [2,2]");
  prints(WTL_F32, SHAPE(1), VALUES(NAN), "[nan]\nf32 [1]");
  prints(WTL_I64, SHAPE(1, 2), VALUES(-1, 200), "[[ -1, 200]]\ni64 [1,2]");
  prints(WTL_F16, SHAPE(0, 3), VALUES(0), "[]\nf16 [0,3]");
  prints_count(WTL_U8, SHAPE(2, 2, 1, 2), "[[[[0, 1]],\n\n  [[2, 3]]],\n\n\n [[[4, 5]],\n\n  [[6, 7]]]]\nu8 [2,2,1,2]");
}

static void test_print_long(void **state) {
  double v[30];
  (void)state;
  prints_count(WTL_I32, SHAPE(2, 600),
               "[[   0,    1,    2,  ...,  597,  598,  599],\n [ 600,  601,  602,  ..., 1197, 1198, 1199]]\ni32 [2,600]");
  prints_count(WTL_F32, SHAPE(2000),
               "[0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 1.9970e+03, 1.9980e+03,\n 1.9990e+03]\nf32 [2000]");
  prints_count(WTL_F32, SHAPE(1001), "[   0.,    1.,    2.,  ...,  998.,  999., 1000.]\nf32 [1001]");
  prints_count(WTL_I32, SHAPE(700, 2),
               "[[   0,    1],\n [   2,    3],\n [   4,    5],\n ...,\n [1394, 1395],\n [1396, 1397],\n [1398, 1399]]\n"
               "i32 [700,2]");
  /* Few elements are all shown, on lines of 80 columns. */
  for (int i = 0; i < 30; i++) v[i] = i / 8.;
  prints(WTL_F32, SHAPE(30), v,
         "[0.0000, 0.1250, 0.2500, 0.3750, 0.5000, 0.6250, 0.7500, 0.8750, 1.0000,\n"
         " 1.1250, 1.2500, 1.3750, 1.5000, 1.6250, 1.7500, 1.8750, 2.0000, 2.1250,\n"
         " 2.2500, 2.3750, 2.5000, 2.6250, 2.7500, 2.8750, 3.0000, 3.1250, 3.2500,\n"
         " 3.3750, 3.5000, 3.6250]\nf32 [30]");
}

static void test_print_view(void **state) {
  wtl_tensor *t = count_up(WTL_I64, SHAPE(2, 3)), *v = NULL;
  (void)state;
  OK(wtl_tensor_transpose(t, 0, 1, &v));
  assert_prints(v, "[[0, 3],\n [1, 4],\n [2, 5]]\ni64 [3,2]");
  wtl_tensor_release(v);
  wtl_tensor_release(t);
}

/* ---- memory gone -------------------------------------------------------------------- */

typedef struct fixture { wtl_tensor *t, *view; wtl_text text; } fixture;

static wtl_status do_create(fixture *f, wtl_tensor **out) { (void)f; return wtl_tensor_create(ctx, WTL_F32, SHAPE(4, 4), out); }
static wtl_status do_wrap(fixture *f, wtl_tensor **out) {
  return wtl_tensor_wrap(ctx, WTL_F32, SHAPE(4), wtl_tensor_data(f->t), NULL, NULL, out);
}
static wtl_status do_alias(fixture *f, wtl_tensor **out) { return wtl_tensor_alias(f->t, out); }
static wtl_status do_reshape(fixture *f, wtl_tensor **out) { return wtl_tensor_reshape(f->t, SHAPE(16), out); }
static wtl_status do_transpose(fixture *f, wtl_tensor **out) { return wtl_tensor_transpose(f->t, 0, 1, out); }
static wtl_status do_permute(fixture *f, wtl_tensor **out) { return wtl_tensor_permute(f->t, (const int[]){ 1, 0 }, out); }
static wtl_status do_narrow(fixture *f, wtl_tensor **out) { return wtl_tensor_narrow(f->t, 0, 1, 2, out); }
static wtl_status do_select(fixture *f, wtl_tensor **out) { return wtl_tensor_select(f->t, 0, 1, out); }
static wtl_status do_expand(fixture *f, wtl_tensor **out) { return wtl_tensor_expand(f->t, SHAPE(2, 4, 4), out); }
static wtl_status do_clone(fixture *f, wtl_tensor **out) { return wtl_tensor_clone(f->t, out); }
static wtl_status do_convert(fixture *f, wtl_tensor **out) { return wtl_tensor_convert(f->t, WTL_U8, out); }
static wtl_status do_contiguous(fixture *f, wtl_tensor **out) { return wtl_tensor_as_contiguous(f->view, out); }
static wtl_status do_copy(fixture *f, wtl_tensor **out) { (void)out; return wtl_tensor_copy(f->t, f->view); } /* overlapping */
static wtl_status do_print(fixture *f, wtl_tensor **out) { (void)out; return wtl_tensor_print(f->t, &f->text); }

static void test_memory_gone(void **state) {
  static const struct { const char *name; wtl_status (*fn)(fixture *f, wtl_tensor **out); int allocations; } function[] = {
    { "create", do_create, 2 }, { "wrap", do_wrap, 2 }, { "alias", do_alias, 1 }, { "reshape", do_reshape, 1 },
    { "transpose", do_transpose, 1 }, { "permute", do_permute, 1 }, { "narrow", do_narrow, 1 },
    { "select", do_select, 1 }, { "expand", do_expand, 1 }, { "clone", do_clone, 2 }, { "convert", do_convert, 2 },
    { "as_contiguous", do_contiguous, 2 }, { "copy", do_copy, 2 }, { "print", do_print, 1 },
  };
  (void)state;
  for (size_t i = 0; i < sizeof function / sizeof *function; i++) {
    fixture f = { .t = count_up(WTL_F32, SHAPE(4, 4)) };
    OK(wtl_tensor_transpose(f.t, 0, 1, &f.view));
    wtl_text_init(&f.text, ctx);
    wtl_status s = WTL_ERR_MEMORY;
    uint64_t before = live();
    int failures = 0;
    while (s == WTL_ERR_MEMORY && failures < 10) {
      wtl_tensor *out = NULL;
      wtl_fail(ctx, WTL_OK, "fresh");
      wtl_memory_fail_at(ctx, (uint64_t)failures + 1);
      s = function[i].fn(&f, &out);
      wtl_memory_fail_at(ctx, 0);
      if (s == WTL_ERR_MEMORY) {
        failures++;
        assert_null(out);
        assert_int_equal(live(), before);
        assert_non_null(strstr(wtl_message(ctx), "out of memory"));
      }
      wtl_tensor_release(out);
    }
    if (s != WTL_OK) fail_msg("%s: %s", function[i].name, wtl_message(ctx));
    if (failures != function[i].allocations) fail_msg("%s fails %d times", function[i].name, failures);
    wtl_text_free(&f.text);
    wtl_tensor_release(f.view);
    wtl_tensor_release(f.t);
  }
}

static void test_print_fails_clean(void **state) {
  wtl_tensor *t = count_up(WTL_I64, SHAPE(900));
  wtl_text text;
  wtl_status s = WTL_ERR_MEMORY;
  int failures = 0;
  (void)state;
  wtl_text_init(&text, ctx);
  OK(wtl_text_add(&text, "before"));
  while (s == WTL_ERR_MEMORY) {
    wtl_memory_fail_at(ctx, 1 + (uint64_t)(failures > 0)); /* the buffer has grown once by then */
    s = wtl_tensor_print(t, &text);
    wtl_memory_fail_at(ctx, 0);
    failures += s == WTL_ERR_MEMORY;
    if (s == WTL_ERR_MEMORY) assert_string_equal(text.s, "before");
    assert_true(failures < 30);
  }
  OK(s);
  assert_true(failures >= 2);
  assert_string_equal(text.s + text.n - 9, "i64 [900]");
  wtl_text_free(&text);
  wtl_tensor_release(t);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(test_dtypes), CASE(test_shapes), CASE(test_create_limits), CASE(test_create_and_release), CASE(test_wrap),
    CASE(test_reshape), CASE(test_permute), CASE(test_narrow_select), CASE(test_expand), CASE(test_no_elements),
    CASE(test_broadcast), CASE(test_copy_strided), CASE(test_16_bit_floats), CASE(test_convert_rounds_once),
    CASE(test_convert_all_pairs), CASE(test_float_special), CASE(test_convert_to_integers),
    CASE(test_random_is_by_logical_index), CASE(test_random_ranges), CASE(test_print), CASE(test_print_long),
    CASE(test_print_view), CASE(test_memory_gone), CASE(test_print_fails_clean),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
