/* core/data: safetensors to the letter, in both directions, and the dicts they are read into. */
#include "check.h"

#include <jansson.h>
#include <sys/resource.h>
#include <signal.h>

/* A file of this header and n data bytes 0, 1, 2, ... */
static const char *put_tensors(const char *name, const char *header, size_t n) {
  char bytes[4096];
  uint64_t length = strlen(header);
  memcpy(bytes, &length, 8);
  memcpy(bytes + 8, header, length);
  for (size_t i = 0; i < n; i++) bytes[8 + length + i] = (char)i;
  return put(name, bytes, 8 + length + n);
}

static wtl_status load(const char *path) {
  wtl_dict d;
  wtl_dict_init(&d, ctx);
  wtl_status s = wtl_safetensors_load(ctx, path, &d);
  if (s != WTL_OK) assert_true(d.n == 0 && !d.item);
  wtl_dict_free(&d);
  return s;
}

static wtl_tensor *make(wtl_dtype d, const wtl_shape *s, const void *bytes) {
  wtl_tensor *t = NULL;
  OK(wtl_tensor_create(ctx, d, s, &t));
  memcpy(wtl_tensor_data(t), bytes, wtl_tensor_bytes(t));
  return t;
}

static void add(wtl_dict *d, const char *name, wtl_tensor *t) {
  OK(wtl_dict_add(d, name, t));
  wtl_tensor_release(t);
}

static void test_dict(void **state) {
  wtl_dict d;
  char name[16];
  (void)state;
  wtl_dict_init(&d, ctx);
  assert_null(wtl_dict_find(&d, "w"));
  for (int i = 0; i < 100; i++) {
    sprintf(name, "p%d", i);
    add(&d, name, make(WTL_U8, SHAPE(1), &(unsigned char){ (unsigned char)i }));
  }
  for (int i = 0; i < 100; i++) {
    sprintf(name, "p%d", i);
    assert_string_equal(d.item[i].name, name);
    assert_ptr_equal(wtl_dict_find(&d, name), d.item[i].tensor);
  }
  FAILS(wtl_dict_add(&d, "p7", d.item[0].tensor), WTL_ERR_ARG, "\"p7\" is there already");
  FAILS(wtl_dict_add(&d, NULL, d.item[0].tensor), WTL_ERR_ARG, "needed");
  assert_int_equal(d.n, 100);
  wtl_dict_free(&d);
  wtl_dict_free(&d);
}

/* Byte for byte, as the format's description has it. */
static void test_bytes(void **state) {
  const float w[6] = { 1, 2, 3, 4, 5, 6 };
  const char *const meta[] = { "format", "pt", "quote", "\"\xc3\xa4\\\n", NULL };
  const char *want =
      "{\"__metadata__\":{\"format\":\"pt\",\"quote\":\"\\\"\xc3\xa4\\\\\\u000a\"},\"b.w\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]},"
      "\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[24,25]}}";
  wtl_dict d;
  wtl_tensor *turned = NULL;
  size_t n, head;
  (void)state;
  wtl_dict_init(&d, ctx);
  wtl_tensor *t = make(WTL_F32, SHAPE(2, 3), w);
  OK(wtl_tensor_transpose(t, 0, 1, &turned));
  add(&d, "b.w", turned);
  add(&d, "a", make(WTL_U8, &(wtl_shape){ 0, { 0 } }, "\x2a"));
  OK(wtl_safetensors_save(ctx, path_of("x.safetensors"), &d, meta));
  char *s = slurp(path_of("x.safetensors"), &n);
  uint64_t length;
  memcpy(&length, s, 8);
  head = strlen(want);
  assert_int_equal(length % 8, 0);
  assert_true(length >= head && length < head + 8);
  assert_memory_equal(s + 8, want, head);
  for (size_t i = head; i < length; i++) assert_int_equal(s[8 + i], ' ');
  const float by_columns[6] = { 1, 4, 2, 5, 3, 6 };
  assert_int_equal(n, 8 + length + 25);
  assert_memory_equal(s + 8 + length, by_columns, 24);
  assert_int_equal(s[8 + length + 24], 0x2a);
  for (size_t k = 0; k < n; k++) { /* cut anywhere */
    FAILS(load(put("cut", s, k)), WTL_ERR_FORMAT, "cut: safetensors: ");
  }
  char *more = malloc(n + 1);
  memcpy(more, s, n);
  more[n] = 0;
  FAILS(load(put("more", more, n + 1)), WTL_ERR_FORMAT, "bytes behind the last tensor");
  free(more);
  free(s);
  wtl_tensor_release(t);
  wtl_dict_free(&d);
}

/* All dtypes, empty and many-dimensional tensors, metadata. */
static void test_round_trip(void **state) {
  const char *const pairs[] = { "k", "v", "empty", "", NULL };
  unsigned char bytes[8 * 24];
  wtl_dict d, e;
  wtl_meta m = { 0 };
  (void)state;
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(37 * i + 11); /* NaNs among them */
  wtl_dict_init(&d, ctx);
  wtl_dict_init(&e, ctx);
  for (int i = 0; i < WTL_NDTYPES; i++)
    add(&d, wtl_dtype_name((wtl_dtype)i), make((wtl_dtype)i, SHAPE(2, 3, 4), bytes));
  add(&d, "none", make(WTL_F32, SHAPE(0, 5), bytes));
  add(&d, "deep", make(WTL_U8, SHAPE(1, 2, 1, 2, 1, 2, 1, 3), bytes));
  add(&d, "", make(WTL_F64, &(wtl_shape){ 0, { 0 } }, bytes));
  OK(wtl_safetensors_save(ctx, path_of("all"), &d, pairs));
  OK(wtl_safetensors_load_meta(ctx, path_of("all"), &e, &m));
  assert_int_equal(e.n, d.n);
  for (int64_t i = 0; i < d.n; i++) {
    wtl_tensor *a = d.item[i].tensor, *b = e.item[i].tensor;
    assert_string_equal(e.item[i].name, d.item[i].name);
    assert_int_equal(wtl_tensor_dtype(b), wtl_tensor_dtype(a));
    assert_true(wtl_shape_equal(wtl_tensor_shape(b), wtl_tensor_shape(a)));
    assert_memory_equal(wtl_tensor_cdata(b), wtl_tensor_cdata(a), wtl_tensor_bytes(a));
  }
  assert_int_equal(m.n, 2);
  for (int i = 0; i < 4; i++) assert_string_equal(m.s[i], pairs[i]);
  assert_null(m.s[4]);
  OK(wtl_safetensors_save(ctx, path_of("again"), &e, (const char *const *)m.s)); /* what was read is what is written */
  size_t n1, n2;
  char *s1 = slurp(path_of("all"), &n1), *s2 = slurp(path_of("again"), &n2);
  assert_int_equal(n1, n2);
  assert_memory_equal(s1, s2, n1);
  free(s1);
  free(s2);
  wtl_meta_free(&m);
  wtl_dict_free(&d);
  wtl_dict_free(&e);
}

#define W(dtype, shape, offsets) "{\"w\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_accepts(void **state) {
  const struct { const char *header; size_t n;
  } good[] = {
    { "{}", 0 },
    { "{}      ", 0 },
    { "{\"__metadata__\":{}}", 0 },
    { W("F32", "[2]", "[0,8]"), 8 },
    { W("F32", "[]", "[0,4]"), 4 },
    { W("F32", "[0]", "[0,0]"), 0 },
    { "{ \"b\" : {\"shape\":[2], \"data_offsets\":[1,3], \"dtype\":\"U8\"},\n\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
      3 },
  };
  wtl_dict d;
  (void)state;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) OK(load(put_tensors("good", good[i].header, good[i].n)));
  wtl_dict_init(&d, ctx);
  OK(wtl_safetensors_load(ctx, path_of("good"), &d));
  assert_string_equal(d.item[0].name, "b"); /* in the order of the header */
  assert_string_equal(d.item[1].name, "a");
  assert_memory_equal(wtl_tensor_cdata(d.item[0].tensor), "\x01\x02", 2);
  wtl_dict_free(&d);
}

/* Every tensor lies at a multiple of its element's size, whatever the dict's order, which the header keeps. */
static void test_aligned(void **state) {
  const wtl_dtype dtype[] = { WTL_U8, WTL_F16, WTL_F64, WTL_F32, WTL_U8, WTL_BF16, WTL_I64 };
  unsigned char bytes[24];
  char name[] = "p0";
  wtl_dict d, e;
  json_error_t error;
  size_t n, at;
  (void)state;
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(37 * i + 11);
  wtl_dict_init(&d, ctx);
  for (int i = 0; i < 7; i++) {
    name[1] = (char)('0' + i);
    add(&d, name, make(dtype[i], SHAPE(3), bytes));
  }
  OK(wtl_safetensors_save(ctx, path_of("mixed"), &d, NULL));
  char *s = slurp(path_of("mixed"), &n);
  json_t *header = json_loadb(s + 8, (size_t)((unsigned char)s[0] | (unsigned char)s[1] << 8), 0, &error), *offsets;
  assert_non_null(header);
  for (int i = 0; i < 7; i++) {
    offsets = json_object_get(json_object_get(header, d.item[i].name), "data_offsets");
    at = (size_t)json_integer_value(json_array_get(offsets, 0));
    assert_int_equal(at % wtl_dtype_size(dtype[i]), 0);
  }
  json_decref(header);
  free(s);
  wtl_dict_init(&e, ctx);
  OK(wtl_safetensors_load(ctx, path_of("mixed"), &e));
  assert_int_equal(e.n, 7);
  for (int i = 0; i < 7; i++) {
    assert_string_equal(e.item[i].name, d.item[i].name);
    assert_memory_equal(wtl_tensor_cdata(e.item[i].tensor), bytes, wtl_tensor_bytes(e.item[i].tensor));
  }
  wtl_dict_free(&d);
  wtl_dict_free(&e);
}

static void test_refuses(void **state) {
  const struct { const char *header; size_t n; wtl_status status; const char *message;
  } bad[] = {
    { "", 0, WTL_ERR_FORMAT, "the header is no JSON object" },
    { "[]", 0, WTL_ERR_FORMAT, "the header is no JSON object" },
    { " {}", 0, WTL_ERR_FORMAT, "the header is no JSON object" },
    { "{}\n", 0, WTL_ERR_FORMAT, "the header is no JSON object" },
    { "{\"w\":}", 0, WTL_ERR_FORMAT, "header: unexpected token near '}'" },
    { "{}{}", 0, WTL_ERR_FORMAT, "header: end of file expected" },
    { "{\"w\":1}", 0, WTL_ERR_FORMAT, "w: not dtype, shape and data_offsets" },
    { "{\"w\":{\"dtype\":\"F32\",\"shape\":[]}}", 0, WTL_ERR_FORMAT, "w: not dtype, shape and data_offsets" },
    { "{\"w\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1],\"x\":1}}", 1, WTL_ERR_FORMAT,
      "and nothing else" },
    { "{\"w\":{\"dtype\":\"U8\",\"shape\":[],\"x\":[0,1]}}", 1, WTL_ERR_FORMAT, "data_offsets is no list of two" },
    { "{\"w\":{\"dtype\":\"U8\",\"x\":[],\"data_offsets\":[0,1]}}", 1, WTL_ERR_FORMAT, "shape is no list" },
    { "{\"w\":{\"dtype\":8,\"shape\":[],\"data_offsets\":[0,1]}}", 1, WTL_ERR_FORMAT, "dtype is no string" },
    { W("F8_E4M3", "[1]", "[0,1]"), 1, WTL_ERR_UNSUPPORTED, "w: dtype F8_E4M3 is not supported" },
    { W("f32", "[1]", "[0,4]"), 4, WTL_ERR_UNSUPPORTED, "dtype f32" },
    { W("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, WTL_ERR_UNSUPPORTED, "more than 8 numbers" },
    { W("U8", "[-1]", "[0,1]"), 1, WTL_ERR_FORMAT, "no size" },
    { W("U8", "[1.0]", "[0,1]"), 1, WTL_ERR_FORMAT, "no size" },
    { W("U8", "[\"1\"]", "[0,1]"), 1, WTL_ERR_FORMAT, "no size" },
    { W("U8", "[9223372036854775808]", "[0,1]"), 1, WTL_ERR_FORMAT, "too big integer" },
    { W("F32", "[4611686018427387904,4611686018427387904]", "[0,0]"), 0, WTL_ERR_FORMAT, "bad: safetensors: w: " },
    { W("F64", "[2305843009213693952]", "[0,0]"), 0, WTL_ERR_FORMAT, "bad: safetensors: w: " },
    { W("U8", "[1]", "[0]"), 1, WTL_ERR_FORMAT, "no list of two" },
    { W("U8", "[1]", "[0,1,2]"), 1, WTL_ERR_FORMAT, "no list of two" },
    { W("U8", "[1]", "[1,0]"), 1, WTL_ERR_FORMAT, "data_offsets are [1,0] of 1" },
    { W("U8", "[1]", "[-1,0]"), 1, WTL_ERR_FORMAT, "no size" },
    { W("U8", "[2]", "[0,1]"), 2, WTL_ERR_FORMAT, "U8 [2] needs 2 bytes, data_offsets are [0,1] of 2" },
    { W("U8", "[2]", "[0,2]"), 1, WTL_ERR_FORMAT, "data_offsets are [0,2] of 1" },
    { W("U8", "[1]", "[9223372036854775806,9223372036854775807]"), 1, WTL_ERR_FORMAT, "of 1" },
    { W("U8", "[1]", "[1,2]"), 2, WTL_ERR_FORMAT, "w: bytes before it belong to nothing" },
    { W("U8", "[1]", "[0,1]"), 2, WTL_ERR_FORMAT, "bytes behind the last tensor" },
    { "{}", 1, WTL_ERR_FORMAT, "bytes behind the last tensor" },
    { "{\"w\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"v\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
      3, WTL_ERR_FORMAT, "v: overlaps another tensor" },
    { "{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"v\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}",
      3, WTL_ERR_FORMAT, "v: bytes before it belong to nothing" },
    { "{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
      1, WTL_ERR_FORMAT, "duplicate object key" },
    { "{\"w\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, WTL_ERR_FORMAT,
      "duplicate object key" },
    { "{\"w\\u0000\":1}", 0, WTL_ERR_FORMAT, "header: " },
    { "{\"\xff\":1}", 0, WTL_ERR_FORMAT, "header: " },
    { "{\"__metadata__\":[]}", 0, WTL_ERR_FORMAT, "__metadata__: no JSON object" },
    { "{\"__metadata__\":null}", 0, WTL_ERR_FORMAT, "__metadata__: no JSON object" },
    { "{\"__metadata__\":{\"a\":\"b\",\"k\":1}}", 0, WTL_ERR_FORMAT, "__metadata__: a value that is no string" },
  };
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const char *path = put_tensors("bad", bad[i].header, bad[i].n);
    if (load(path) != bad[i].status || !strstr(wtl_message(ctx), bad[i].message) || !strstr(wtl_message(ctx), path)) {
      fail_msg("%s: %s", bad[i].header, wtl_message(ctx));
    }
  }
  FAILS(load(put("short", "1234567", 7)), WTL_ERR_FORMAT, "shorter than its 8 bytes");
  FAILS(load(put("long", "\x02\0\0\0\0\0\0\0{", 9)), WTL_ERR_FORMAT, "a header of 2 bytes, file has 1");
  FAILS(load(put("large", "\0\xe1\xf5\x05\0\0\0\0", 8)), WTL_ERR_FORMAT, "a header of 100000000 bytes, file has 0");
  FAILS(load(put("large", "\x01\xe1\xf5\x05\0\0\0\0", 8)), WTL_ERR_FORMAT, "more than the limit of 100000000");
  FAILS(load(put("large", "\xff\xff\xff\xff\xff\xff\xff\xff", 8)), WTL_ERR_FORMAT, "more than the limit of 100000000");
  FAILS(load(path_of("absent")), WTL_ERR_IO, "absent: cannot be opened");
  FAILS(load(folder), WTL_ERR_IO, "not a regular file");
}

static void test_save_refuses(void **state) {
  const char *const half[] = { "key", NULL }, *const twice[] = { "k", "1", "k", "2", NULL },
                    *const latin[] = { "k", "\xe4", NULL };
  const char *const latin_key[] = { "\xe4", "v", NULL };
  const char *names[] = { "\xe4", "a\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\xf8\x88\x80\x80\x80" };
  const char *path = put_text("kept", "old");
  wtl_dict d;
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    wtl_dict_init(&d, ctx);
    add(&d, names[i], make(WTL_U8, SHAPE(1), "x"));
    FAILS(wtl_safetensors_save(ctx, path, &d, NULL), WTL_ERR_ARG, "is no UTF-8");
    wtl_dict_free(&d);
  }
  wtl_dict_init(&d, ctx);
  add(&d, "\xf0\x9f\x8d\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf\xc2\x80", make(WTL_U8, SHAPE(100000), (char[100000]){ 0 }));
  FAILS(wtl_safetensors_save(ctx, path, &d, half), WTL_ERR_ARG, "metadata \"key\" has no value");
  FAILS(wtl_safetensors_save(ctx, path, &d, twice), WTL_ERR_ARG, "metadata \"k\" is there twice");
  FAILS(wtl_safetensors_save(ctx, path, &d, latin), WTL_ERR_ARG, "is no UTF-8");
  FAILS(wtl_safetensors_save(ctx, path, &d, latin_key), WTL_ERR_ARG, "is no UTF-8");
  FAILS(wtl_safetensors_save(ctx, path_of("no/such"), &d, NULL), WTL_ERR_IO, "no/such: cannot be written");
  struct rlimit r, small;
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &r);
  small = r;
  small.rlim_cur = 50000; /* the disk is full in the middle of the tensor */
  setrlimit(RLIMIT_FSIZE, &small);
  wtl_status s = wtl_safetensors_save(ctx, path, &d, NULL);
  setrlimit(RLIMIT_FSIZE, &r);
  assert_int_equal(s, WTL_ERR_IO);
  assert_non_null(strstr(wtl_message(ctx), "kept: cannot be written: File too large"));
  assert_file(path, "old");
  assert_int_equal(count_files(0), 1);
  OK(wtl_safetensors_save(ctx, path, &d, NULL));
  OK(load(path));
  wtl_dict_free(&d);
  wtl_dict_init(&d, ctx);
  add(&d, "__metadata__", make(WTL_U8, SHAPE(1), "x"));
  FAILS(wtl_safetensors_save(ctx, path, &d, NULL), WTL_ERR_ARG, "no tensor may be called __metadata__");
  wtl_dict_free(&d);
}

/* ---- memory ---- */

typedef struct saved { const char *path; wtl_dict *d; } saved;

static wtl_status save_it(void *arg) {
  const char *const meta[] = { "k", "v", NULL };
  saved *s = arg;
  return wtl_safetensors_save(ctx, s->path, s->d, meta);
}

static wtl_status load_it(void *arg) {
  saved *f = arg;
  wtl_dict d;
  wtl_meta m = { 0 };
  wtl_dict_init(&d, ctx);
  wtl_status s = wtl_safetensors_load_meta(ctx, f->path, &d, &m);
  wtl_dict_free(&d);
  wtl_meta_free(&m);
  return s;
}

/* jansson has an allocator of its own, and calls some failures of it bad syntax. */
static int json_left = -1;
static void *json_alloc(size_t n) { return json_left >= 0 && json_left-- == 0 ? NULL : malloc(n); }

static void sweep_json(wtl_status (*fn)(void *arg), void *arg) {
  json_set_alloc_funcs(json_alloc, free);
  for (int n = 0;; n++) {
    assert_true(n < 1000);
    uint64_t before = live();
    json_left = n;
    wtl_status s = fn(arg);
    bool failed = json_left < 0;
    json_left = -1;
    assert_int_equal(live(), before);
    if (!failed) {
      OK(s);
      break;
    }
    if (s != WTL_ERR_MEMORY && s != WTL_ERR_FORMAT) fail_msg("failure %d: %s", n, wtl_status_name(s));
  }
  json_set_alloc_funcs(malloc, free);
}

static void test_memory(void **state) {
  const float w[6] = { 1, 2, 3, 4, 5, 6 };
  wtl_tensor *turned = NULL;
  wtl_dict d;
  (void)state;
  wtl_dict_init(&d, ctx);
  wtl_tensor *t = make(WTL_F32, SHAPE(2, 3), w);
  OK(wtl_tensor_transpose(t, 0, 1, &turned));
  add(&d, "b", turned);
  add(&d, "a", t);
  saved s = { path_of("x"), &d };
  assert_true(sweep("save", save_it, &s) >= 2);
  assert_true(sweep("load", load_it, &s) >= 8);
  sweep_json(load_it, &s);
  assert_int_equal(count_files(0), 1);
  wtl_dict_free(&d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(test_dict),    CASE(test_bytes),        CASE(test_round_trip), CASE(test_accepts), CASE(test_aligned),
    CASE(test_refuses), CASE(test_save_refuses), CASE(test_memory),
  };
  return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
