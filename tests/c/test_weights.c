/* core/data: what files of weights have in common: the look for NaN and infinity, reading into place, the choice of a format
 * by content or name. */
#include "check.h"

#include <math.h>

#include "data.h"
#include "tensor.h"

/* ---- finite ---- */

/* Bits of NaNs, infinities, and numbers near them, for each float type. */
static const struct { wtl_dtype dtype; uint64_t bad[6], good[6]; } special[] = {
  { WTL_F32, { 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff, 0xffc00000 },
    { 0x7f7fffff, 0xff7fffff, 0, 0x80000000, 1, 0x807fffff } },
  { WTL_F64, { 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, UINT64_MAX, 0xfff8000000000000 },
    { 0x7fefffffffffffff, 0xffefffffffffffff, 0, 0x8000000000000000, 1, 0x800fffffffffffff } },
  { WTL_BF16, { 0x7f80, 0xff80, 0x7fc0, 0x7f81, 0xffff, 0xffc0 }, { 0x7f7f, 0xff7f, 0, 0x8000, 1, 0x807f } },
  { WTL_F16, { 0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xffff, 0xfe00 }, { 0x7bff, 0xfbff, 0, 0x8000, 1, 0x83ff } },
};

static void test_finite(void **state) {
  const int64_t n = 300001, places[] = { 0, 1, 4095, 4096, 262143, 262144, 300000 };
  (void)state;
  for (size_t k = 0; k < sizeof special / sizeof *special; k++) {
    size_t size = wtl_dtype_size(special[k].dtype);
    wtl_tensor *t = NULL;
    OK(wtl_tensor_create(ctx, special[k].dtype, SHAPE(n), &t));
    char *p = wtl_tensor_data(t);
    for (int64_t i = 0; i < n; i++) memcpy(p + i * (int64_t)size, &special[k].good[i % 6], size);
    assert_true(wtl_tensor_all_finite(t));
    for (int v = 0; v < 6; v++) {
      int64_t at = places[v % 7];
      memcpy(p + at * (int64_t)size, &special[k].bad[v], size);
      if (wtl_tensor_all_finite(t)) fail_msg("%s: %llx", wtl_dtype_name(special[k].dtype), (unsigned long long)special[k].bad[v]);
      memcpy(p + at * (int64_t)size, &special[k].good[0], size);
    }
    for (size_t v = 0; v < sizeof places / sizeof *places; v++) {
      memcpy(p + places[v] * (int64_t)size, &special[k].bad[0], size);
      assert_false(wtl_tensor_all_finite(t));
      memcpy(p + places[v] * (int64_t)size, &special[k].good[0], size);
    }
    wtl_tensor_release(t);
  }
}

/* A view is judged by its own elements alone. */
static void test_finite_views(void **state) {
  wtl_tensor *t = NULL, *column = NULL, *turned = NULL, *wide = NULL, *none = NULL;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(100, 3), &t));
  OK(wtl_tensor_set(t, (int64_t[]){ 99, 1 }, INFINITY));
  const bool want[3] = { true, false, true };
  for (int c = 0; c < 3; c++) {
    OK(wtl_tensor_select(t, 1, c, &column));
    assert_int_equal(wtl_tensor_all_finite(column), want[c]);
    wtl_tensor_release(column);
  }
  OK(wtl_tensor_transpose(t, 0, 1, &turned));
  assert_false(wtl_tensor_all_finite(turned));
  OK(wtl_tensor_narrow(t, 0, 0, 99, &column));
  assert_true(wtl_tensor_all_finite(column));
  OK(wtl_tensor_narrow(t, 0, 0, 0, &none));
  assert_true(wtl_tensor_all_finite(none));
  wtl_tensor_release(none);
  OK(wtl_tensor_create(ctx, WTL_F32, &(wtl_shape){ 0, { 0 } }, &none));
  assert_true(wtl_tensor_all_finite(none));
  OK(wtl_tensor_fill(none, NAN));
  OK(wtl_tensor_expand(none, SHAPE(500, 7), &wide));
  assert_false(wtl_tensor_all_finite(wide));
  wtl_tensor_release(wide);
  wtl_tensor_release(none);
  wtl_tensor_release(column);
  wtl_tensor_release(turned);
  wtl_tensor_release(t);
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(3), &t));
  OK(wtl_tensor_set(t, (int64_t[]){ 1 }, -1));
  assert_true(wtl_tensor_all_finite(t));
  wtl_tensor_release(t);
}

/* ---- which format ---- */

static wtl_status load(const char *path) {
  wtl_dict d;
  wtl_meta m = { 0 };
  wtl_dict_init(&d, ctx);
  wtl_status s = wtl_load(ctx, path, &d, &m);
  if (s != WTL_OK) assert_true(d.n == 0 && !d.item && m.n == 0 && !m.s);
  wtl_dict_free(&d);
  wtl_meta_free(&m);
  return s;
}

static void test_unknown_formats(void **state) {
  const struct { const char *name, *bytes; size_t n; wtl_status status; const char *message; } bad[] = {
    { "empty", "", 0, WTL_ERR_FORMAT, "empty: the file is empty" },
    { "text", "no format at all", 16, WTL_ERR_FORMAT, "text: no file of tensors that is known: safetensors" },
    { "short.safetensors", "abc", 3, WTL_ERR_FORMAT, "shorter than its 8 bytes" },
    { "list.SafeTensors", "\2\0\0\0\0\0\0\0[]", 10, WTL_ERR_FORMAT, "the header is no JSON object" },
    { "brace", "\3\0\0\0\0\0\0\0{ ]", 11, WTL_ERR_FORMAT, "the header is no JSON object" },
    { "gz", "\x1f\x8b\x08\0", 4, WTL_ERR_UNSUPPORTED, "compressed by gzip" },
    { "h5", "\x89HDF\r\n\x1a\n\0\0", 10, WTL_ERR_UNSUPPORTED, "HDF5" },
    { "gguf", "GGUF\3\0\0\0", 8, WTL_ERR_UNSUPPORTED, "GGUF" },
    { "page", "<!DOCTYPE html><html>", 21, WTL_ERR_UNSUPPORTED, "download went wrong" },
    { "lfs", "version https://git-lfs.github.com/spec/v1\n", 43, WTL_ERR_UNSUPPORTED, "git lfs pull" },
  };
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const char *path = put(bad[i].name, bad[i].bytes, bad[i].n);
    if (load(path) != bad[i].status || !strstr(wtl_message(ctx), bad[i].message) || !strstr(wtl_message(ctx), path))
      fail_msg("%s: %s", bad[i].name, wtl_message(ctx));
  }
  FAILS(load(path_of("absent")), WTL_ERR_IO, "absent: cannot be opened");
  FAILS(load(folder), WTL_ERR_IO, "not a regular file");
}

static void test_save_by_name(void **state) {
  const char *const good[] = { "x.safetensors", "x.SAFETENSORS", "plain", "x.weights", "x.safetensors.1" };
  const char *const bad[] = { "x.pth", "x.pt", "x.bin", "x.h5", "x.ONNX", "x.ckpt" };
  wtl_dict d;
  wtl_tensor *t = NULL;
  (void)state;
  wtl_dict_init(&d, ctx);
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(2), &t));
  OK(wtl_dict_add(&d, "w", t));
  wtl_tensor_release(t);
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    OK(wtl_save(ctx, path_of(good[i]), &d, NULL));
    OK(load(path_of(good[i])));
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    FAILS(wtl_save(ctx, path_of(bad[i]), &d, NULL), WTL_ERR_ARG, "files are written; give a name");
    assert_int_equal(access(path_of(bad[i]), F_OK), -1);
  }
  wtl_dict_free(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(test_finite), CASE(test_finite_views), CASE(test_unknown_formats), CASE(test_save_by_name),
  };
  return cmocka_run_group_tests_name("weights", tests, NULL, NULL);
}
