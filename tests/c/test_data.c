/* core/data: readers that refuse what is not exactly right, and batches. Writers are in test_files.c, safetensors in
 * test_safetensors.c. */
#include "check.h"

#include <math.h>
#include <zlib.h>

/* ---- IDX ---- */

/* 2x3 bytes: 10, 20, ..., 60. */
static const unsigned char small[] = { 0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 20, 30, 40, 50, 60 };

static const char *put_gzip(const char *name, const void *data, size_t n, const char *mode) {
  const char *path = path_of(name);
  gzFile f = gzopen(path, mode);
  if (!f || gzwrite(f, data, (unsigned)n) != (int)n || gzclose(f) != Z_OK) fail_msg("%s cannot be written", path);
  return path;
}

static void assert_small(const char *path) {
  wtl_tensor *t = NULL;
  OK(wtl_idx_load(ctx, path, 0, &t));
  assert_true(wtl_shape_equal(wtl_tensor_shape(t), SHAPE(2, 3)));
  assert_int_equal(wtl_tensor_dtype(t), WTL_U8);
  assert_memory_equal(wtl_tensor_cdata(t), small + 12, 6);
  wtl_tensor_release(t);
}

static void test_idx(void **state) {
  wtl_tensor *t = NULL;
  (void)state;
  assert_small(put("a", small, sizeof small));
  assert_small(put_gzip("a.gz", small, sizeof small, "wb"));
  assert_small(put_gzip("named-otherwise", small, sizeof small, "wb9"));
  put_gzip("two", small, 7, "wb");
  assert_small(put_gzip("two", small + 7, sizeof small - 7, "ab")); /* two members, one file */
  OK(wtl_idx_load(ctx, put("none", "\0\0\x08\x02\0\0\0\0\0\0\0\x07", 12), 0, &t));
  assert_true(wtl_shape_equal(wtl_tensor_shape(t), SHAPE(0, 7)));
  wtl_tensor_release(t);
  OK(wtl_idx_load(ctx, path_of("a"), 6, &t)); /* the limit counts elements */
  wtl_tensor_release(t);
  FAILS(wtl_idx_load(ctx, path_of("a"), 5, &t), WTL_ERR_FORMAT, "limit of 5 bytes");
}

static void test_idx_refuses(void **state) {
  const struct { const char *bytes; size_t n; wtl_status status; const char *message; } bad[] = {
    { "", 0, WTL_ERR_FORMAT, "this is no IDX file" },
    { "\0\0\x08", 3, WTL_ERR_FORMAT, "this is no IDX file" },
    { "\x01\0\x08\x01\0\0\0\x01" "a", 9, WTL_ERR_FORMAT, "this is no IDX file" },
    { "\0\0\x0a\x01\0\0\0\x01" "a", 9, WTL_ERR_FORMAT, "this is no IDX file" },
    { "\0\0\x0d\x01\0\0\0\x01" "abcd", 12, WTL_ERR_UNSUPPORTED, "elements are f32, only u8 is read" },
    { "\0\0\x08\x00", 4, WTL_ERR_FORMAT, "0 dimensions, not 1 to 8" },
    { "\0\0\x08\x09\0\0\0\x01", 8, WTL_ERR_FORMAT, "9 dimensions, not 1 to 8" },
    { "\0\0\x08\x02\0\0\0\x01\0\0\0", 11, WTL_ERR_FORMAT, "the header is cut off" },
    { "\0\0\x08\x01\0\0\0\x03" "ab", 10, WTL_ERR_FORMAT, "header says 3 = 3 bytes, file has 2" },
    { "\0\0\x08\x01\0\0\0\x03" "abcd", 12, WTL_ERR_FORMAT, "header says 3 = 3 bytes, file has more" },
    { "\0\0\x08\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16, WTL_ERR_FORMAT,
      "header says 4294967295x4294967295x4294967295, more than the limit" },
    { "\0\0\x08\x03\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 16, WTL_ERR_FORMAT, "idx: tensor: " },
  };
  wtl_tensor *t = NULL;
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    FAILS(wtl_idx_load(ctx, put("bad", bad[i].bytes, bad[i].n), 0, &t), bad[i].status, bad[i].message);
    assert_non_null(strstr(wtl_message(ctx), path_of("bad")));
  }
  FAILS(wtl_idx_load(ctx, path_of("absent"), 0, &t), WTL_ERR_IO, "absent: cannot be opened: No such file");
  FAILS(wtl_idx_load(ctx, folder, 0, &t), WTL_ERR_IO, "not a regular file");
  FAILS(wtl_idx_load(ctx, "/dev/zero", 0, &t), WTL_ERR_IO, "not a regular file");
  assert_null(t);
}

/* The message that the issue of a wrong file begins with. */
static void test_idx_message(void **state) {
  unsigned char head[116] = { 0, 0, 8, 3, 0, 0, 0x27, 0x10, 0, 0, 0, 28, 0, 0, 0, 28 };
  char want[600];
  wtl_tensor *t = NULL;
  (void)state;
  const char *path = put("t10k-images", head, sizeof head);
  snprintf(want, sizeof want, "%s: idx: header says 10000x28x28 = 7840000 bytes, file has 100", path);
  FAILS(wtl_idx_load(ctx, path, 0, &t), WTL_ERR_FORMAT, want);
}

static void test_idx_cut_anywhere(void **state) {
  size_t n;
  wtl_tensor *t = NULL;
  (void)state;
  for (size_t k = 0; k < sizeof small; k++) {
    FAILS(wtl_idx_load(ctx, put("cut", small, k), 0, &t), WTL_ERR_FORMAT, "cut: ");
  }
  char *gz = slurp(put_gzip("a.gz", small, sizeof small, "wb"), &n);
  for (size_t k = 0; k < n; k++) FAILS(wtl_idx_load(ctx, put("cut.gz", gz, k), 0, &t), WTL_ERR_FORMAT, "cut.gz: ");
  for (size_t k = n - 8; k < n; k++) { /* checksum and length */
    gz[k] ^= 1;
    FAILS(wtl_idx_load(ctx, put("damaged.gz", gz, n), 0, &t), WTL_ERR_FORMAT, "gzip: incorrect");
    gz[k] ^= 1;
  }
  free(gz);
}

static void test_idx_gzip_bounds(void **state) {
  size_t n;
  wtl_tensor *t = NULL;
  unsigned char large[12 + 1000] = { 0, 0, 8, 2, 0, 0, 0, 10, 0, 0, 0, 100 };
  (void)state;
  char *gz = slurp(put_gzip("a.gz", large, sizeof large, "wb"), &n);
  char *more = calloc(1, n + 4);
  memcpy(more, gz, n);
  FAILS(wtl_idx_load(ctx, put("zero.gz", more, n + 1), 0, &t), WTL_ERR_FORMAT, "bytes follow the compressed data");
  memcpy(more + n, "\x1f\x8b\x08", 3);
  FAILS(wtl_idx_load(ctx, put("half.gz", more, n + 3), 0, &t), WTL_ERR_FORMAT, "gzip: cut off");
  FAILS(wtl_idx_load(ctx, put("half.gz", more, n + 1), 0, &t), WTL_ERR_FORMAT, "gzip: cut off");
  free(more);
  free(gz);
  put_gzip("less.gz", large, sizeof large - 1, "wb");
  FAILS(wtl_idx_load(ctx, path_of("less.gz"), 0, &t), WTL_ERR_FORMAT, "header says 10x100 = 1000 bytes, file has 999");
  put_gzip("more.gz", large, sizeof large, "wb");
  put_gzip("more.gz", "x", 1, "ab");
  FAILS(wtl_idx_load(ctx, path_of("more.gz"), 0, &t), WTL_ERR_FORMAT, "file has more");
  /* 2 GB claimed by a file of some 50 bytes: refused before memory is asked for */
  memcpy(large + 4, "\x7f\xff\xff\xff\0\0\0\x01", 8);
  put_gzip("claim.gz", large, sizeof large, "wb");
  FAILS(wtl_idx_load(ctx, path_of("claim.gz"), 0, &t), WTL_ERR_FORMAT, "file has at most");
  wtl_memory m;
  wtl_memory_stats(ctx, &m);
  assert_true(m.peak_bytes < 1 << 20);
}

static wtl_status load_idx(void *path) {
  wtl_tensor *t = NULL;
  wtl_status s = wtl_idx_load(ctx, path, 0, &t);
  wtl_tensor_release(t);
  return s;
}

static void test_idx_memory(void **state) {
  (void)state;
  assert_int_equal(sweep("idx", load_idx, (void *)put("a", small, sizeof small)), 3);
  assert_true(sweep("idx.gz", load_idx, (void *)put_gzip("a.gz", small, sizeof small, "wb")) >= 4);
}

#define FASHION "/usr/share/datasets/fashion-mnist/"

static void test_fashion_mnist(void **state) {
  wtl_tensor *x = NULL, *y = NULL;
  int count[10] = { 0 };
  (void)state;
  if (access(FASHION "t10k-images-idx3-ubyte.gz", R_OK) != 0) skip();
  OK(wtl_idx_load(ctx, FASHION "t10k-images-idx3-ubyte.gz", 0, &x));
  OK(wtl_idx_load(ctx, FASHION "t10k-labels-idx1-ubyte.gz", 0, &y));
  assert_true(wtl_shape_equal(wtl_tensor_shape(x), SHAPE(10000, 28, 28)));
  assert_true(wtl_shape_equal(wtl_tensor_shape(y), SHAPE(10000)));
  for (int i = 0; i < 10000; i++) count[((const unsigned char *)wtl_tensor_cdata(y))[i]]++;
  for (int c = 0; c < 10; c++) assert_int_equal(count[c], 1000);
  wtl_tensor_release(x);
  wtl_tensor_release(y);
}

/* ---- batches ---- */

static wtl_tensor *bytes_of(const wtl_shape *s, const unsigned char *v) {
  wtl_tensor *t = NULL;
  OK(wtl_tensor_create(ctx, WTL_U8, s, &t));
  memcpy(wtl_tensor_data(t), v, wtl_tensor_bytes(t));
  return t;
}

static void test_gather(void **state) {
  const unsigned char pixels[12] = { 0, 255, 51, 102, 1, 2, 3, 4, 5, 6, 7, 8 }, classes[3] = { 7, 0, 9 };
  wtl_tensor *images = bytes_of(SHAPE(3, 2, 2), pixels), *labels = bytes_of(SHAPE(3), classes), *x = NULL, *y = NULL,
             *wide = NULL;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(4, 1, 2, 2), &x));
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(4), &y));
  const int64_t index[4] = { 2, 0, 2, 1 };
  OK(wtl_gather_batch(ctx, images, labels, index, 4, 0.2, 0.5, x, y));
  const float *v = wtl_tensor_cdata(x);
  const int64_t *k = wtl_tensor_cdata(y);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(k[i], classes[index[i]]);
    for (int p = 0; p < 4; p++) assert_true(v[4 * i + p] == (float)((pixels[4 * index[i] + p] / 255.0 - 0.2) / 0.5));
  }
  assert_true(v[4] == -0.4f && v[5] == 1.6f && v[6] == 0.0f); /* (0, 1, 0.2) */
  OK(wtl_tensor_convert(labels, WTL_I64, &wide));
  OK(wtl_gather_batch(ctx, images, wide, index, 4, 0, 1, x, y));
  assert_int_equal(k[0], 9);
  assert_true(v[5] == 1);
  const int64_t beyond[4] = { 0, 3, 0, 0 }, before[4] = { 0, 0, -1, 0 };
  FAILS(wtl_gather_batch(ctx, images, labels, beyond, 4, 0, 1, x, y), WTL_ERR_ARG, "index 3 is not in 0..2");
  FAILS(wtl_gather_batch(ctx, images, labels, before, 4, 0, 1, x, y), WTL_ERR_ARG, "index -1 is not in 0..2");
  FAILS(wtl_gather_batch(ctx, images, labels, index, 3, 0, 1, x, y), WTL_ERR_SHAPE, "x is [4,1,2,2], not [3,1,2,2]");
  FAILS(wtl_gather_batch(ctx, images, labels, index, 4, 0, 0, x, y), WTL_ERR_ARG, "sd must be positive");
  FAILS(wtl_gather_batch(ctx, images, labels, index, 4, NAN, 1, x, y), WTL_ERR_ARG, "mean is nan");
  FAILS(wtl_gather_batch(ctx, images, images, index, 4, 0, 1, x, y), WTL_ERR_SHAPE, "labels [3,2,2]");
  FAILS(wtl_gather_batch(ctx, images, labels, index, 4, 0, 1, y, x), WTL_ERR_DTYPE, "x i64, y f32");
  wtl_tensor_release(wide);
  wtl_tensor_release(images);
  wtl_tensor_release(labels);
  wtl_tensor_release(x);
  wtl_tensor_release(y);
}

static void test_gather_colour(void **state) {
  unsigned char pixels[2 * 3 * 4], classes[2] = { 1, 2 };
  for (int i = 0; i < 24; i++) pixels[i] = (unsigned char)(10 * i);
  wtl_tensor *images = bytes_of(SHAPE(2, 3, 2, 2), pixels), *labels = bytes_of(SHAPE(2), classes), *x = NULL, *y = NULL;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(1, 3, 2, 2), &x));
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(1), &y));
  OK(wtl_gather_batch(ctx, images, labels, (int64_t[]){ 1 }, 1, 0, 1, x, y));
  for (int i = 0; i < 12; i++) assert_true(((const float *)wtl_tensor_cdata(x))[i] == (float)(pixels[12 + i] / 255.0));
  FAILS(wtl_gather_batch(ctx, labels, labels, (int64_t[]){ 1 }, 1, 0, 1, x, y), WTL_ERR_SHAPE, "images are [2]");
  wtl_tensor_release(images);
  wtl_tensor_release(labels);
  wtl_tensor_release(x);
  wtl_tensor_release(y);
}

/* ---- CSV ---- */

/* Rows as "a|b;c|d;"; stops at `stop` rows. */
typedef struct seen { char text[4096]; size_t n; int64_t rows, stop; } seen;

static wtl_status note_row(void *arg, int64_t row, const char *const *field, const size_t *len, int n) {
  seen *s = arg;
  assert_int_equal(row, s->rows);
  if (s->stop && s->rows == s->stop) return WTL_ERR_INTERRUPTED;
  s->rows++;
  for (int i = 0; i < n; i++) {
    assert_int_equal(strlen(field[i]), len[i]);
    if (s->n + len[i] + 2 < sizeof s->text)
      s->n += (size_t)sprintf(s->text + s->n, "%s%s", field[i], i + 1 < n ? "|" : ";");
  }
  return WTL_OK;
}

static void test_csv(void **state) {
  const struct { const char *csv, *rows; } good[] = {
    { "", "" },
    { "\xef\xbb\xbf", "" },
    { "a,b\n1,2\n", "a|b;1|2;" },
    { "a,b\r\n1,2\r\n", "a|b;1|2;" },
    { "a,b\n1,2", "a|b;1|2;" },
    { "\xef\xbb\xbf" "a,b\n1,2\n", "a|b;1|2;" },
    { "a,b\n\n1,2\n\r\n\n", "a|b;1|2;" },          /* blank lines are no rows */
    { " a , b\n\t1,2 \n", " a | b;\t1|2 ;" },       /* spaces are data */
    { "\"a\",\"b\"\n", "a|b;" },
    { "\"a,b\",\"c\"\"d\"\n", "a,b|c\"d;" },
    { "\"line\nbreak\",\"cr\rlf\r\n\"\n", "line\nbreak|cr\rlf\r\n;" },
    { ",\n,\n", "|;|;" },
    { "a,\n", "a|;" },
    { "\"\"\n", ";" },
    { "\"\",\"\"", "|;" },
    { "x,\"\"\"\"\n", "x|\";" },
  };
  const struct { const char *csv; int line; const char *message; } bad[] = {
    { "a,b\n1\n", 2, "1 field where the first row has 2" },
    { "a,b\n1,2\n1,2,3", 3, "3 fields where the first row has 2" },
    { "a,b\n1,\"x\n\ny\"\n1,2,3\n", 5, "3 fields" },
    { "a,b\n1,\"x\n\ny\",3\n", 2, "3 fields" },      /* the line where the row began */
    { "a\nb\"c\n", 2, "a quote inside a field" },
    { "a\n\"b\"c\n", 2, "text behind a closing quote" },
    { "a\n\"b\" \n", 2, "text behind a closing quote" },
    { "a\n\"b\n\nc", 2, "a quoted field is not closed" },
    { "\"", 1, "a quoted field is not closed" },
    { "a\rb\n", 1, "a carriage return without a line feed" },
    { "a\nb\r", 2, "a carriage return without a line feed" },
  };
  (void)state;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    seen s = { .n = 0 };
    OK(wtl_csv_load(ctx, put_text("a.csv", good[i].csv), note_row, &s));
    assert_string_equal(s.text, good[i].rows);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    seen s = { .n = 0 };
    char want[600];
    const char *path = put_text("a.csv", bad[i].csv);
    snprintf(want, sizeof want, "%s:%d: csv: ", path, bad[i].line);
    FAILS(wtl_csv_load(ctx, path, note_row, &s), WTL_ERR_FORMAT, want);
    assert_non_null(strstr(wtl_message(ctx), bad[i].message));
  }
  seen s = { .stop = 2 };
  FAILS(wtl_csv_load(ctx, put("nul.csv", "a\nb\0c\n", 6), note_row, &s), WTL_ERR_FORMAT, "nul.csv:2: csv: a NUL byte");
  s = (seen){ .stop = 2 };
  assert_int_equal(wtl_csv_load(ctx, put_text("a.csv", "a\nb\nc\nd\n"), note_row, &s), WTL_ERR_INTERRUPTED);
  assert_string_equal(s.text, "a;b;");
  FAILS(wtl_csv_load(ctx, path_of("absent"), note_row, &s), WTL_ERR_IO, "absent: cannot be opened");
}

/* Fields across the reader's chunks, and more of them than it takes. */
static void test_csv_bounds(void **state) {
  size_t n = 17 << 20;
  char *text = malloc(n);
  seen s = { .n = 0 };
  (void)state;
  memset(text, 'x', n);
  text[100000] = ',';
  text[200001] = '\n';
  OK(wtl_csv_load(ctx, put("long.csv", text, 200002), note_row, &s));
  assert_int_equal(s.rows, 1);
  FAILS(wtl_csv_load(ctx, put("huge.csv", text + 200002, n - 200002), note_row, &s), WTL_ERR_FORMAT,
        "longer than 16 MiB");
  text[200002] = '"'; /* never closed, and refused before all of it is kept */
  FAILS(wtl_csv_load(ctx, put("open.csv", text + 200002, n - 200002), note_row, &s), WTL_ERR_FORMAT,
        "open.csv:1: csv: the row is longer than 16 MiB");
  memset(text, ',', 65535);
  s = (seen){ .n = 0 };
  OK(wtl_csv_load(ctx, put("wide.csv", text, 65535), note_row, &s));
  text[65535] = ',';
  FAILS(wtl_csv_load(ctx, put("wide.csv", text, 65536), note_row, &s), WTL_ERR_FORMAT, "more than 65536 fields");
  free(text);
}

static void test_csv_field(void **state) {
  const struct { const char *in, *out;
  } want[] = {
    { "plain", "plain" },
    { "", "" },
    { " spaces ", " spaces " },
    { "a,b", "\"a,b\"" },
    { "\"", "\"\"\"\"" },
    { "a\"b\"", "\"a\"\"b\"\"\"" },
    { "a\nb", "\"a\nb\"" },
    { "a\rb", "\"a\rb\"" },
    { "NA", "NA" },
    { "\xc3\xa4", "\xc3\xa4" },
  };
  wtl_text t;
  (void)state;
  wtl_text_init(&t, ctx);
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    t.n = 0;
    OK(wtl_text_add(&t, ">"));
    OK(wtl_csv_field(&t, want[i].in, strlen(want[i].in)));
    assert_string_equal(t.s + 1, want[i].out);
  }
  t.n = 0;
  OK(wtl_text_add(&t, ">"));
  FAILS(wtl_csv_field(&t, "a\0b", 3), WTL_ERR_ARG, "NUL");
  assert_string_equal(t.s, ">");
  wtl_text_free(&t);
}

/* Whatever is written comes back: random fields of the bytes that matter. */
static void test_csv_round_trip(void **state) {
  static const char letter[] = ",\"\n\r ab";
  wtl_rng r = wtl_rng_make(1, "test", "csv", 0);
  wtl_text t;
  uint64_t at = 0;
  (void)state;
  wtl_text_init(&t, ctx);
  for (int k = 0; k < 300; k++) {
    seen s = { .n = 0 };
    char want[256] = "";
    t.n = 0;
    for (int i = 0; i < 6; i++) {
      char field[8] = "";
      for (uint32_t j = 0, n = wtl_rng_u32(&r, at++) % 8; j < n; j++) field[j] = letter[wtl_rng_u32(&r, at++) % 7];
      OK(wtl_csv_field(&t, field, strlen(field)));
      OK(wtl_text_add(&t, i % 3 < 2 ? "," : "\r\n"));
      strcat(strcat(want, field), i % 3 < 2 ? "|" : ";");
    }
    OK(wtl_csv_load(ctx, put("r.csv", t.s, t.n), note_row, &s));
    assert_string_equal(s.text, want);
  }
  wtl_text_free(&t);
}

static wtl_status load_csv(void *path) {
  seen s = { .n = 0 };
  return wtl_csv_load(ctx, path, note_row, &s);
}

static wtl_status write_field(void *arg) {
  char *text = arg;
  wtl_text t;
  wtl_text_init(&t, ctx);
  wtl_status s = wtl_csv_field(&t, text, strlen(text));
  wtl_text_free(&t);
  return s;
}

static void test_csv_memory(void **state) {
  (void)state;
  assert_int_equal(sweep("csv", load_csv, (void *)put_text("a.csv", "a,b\n1,2\n")), 5);
  assert_true(sweep("csv field", write_field, "plain") == 1);
  assert_true(sweep("csv field", write_field, "\"a\"") >= 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(test_idx),
    CASE(test_idx_refuses),
    CASE(test_idx_message),
    CASE(test_idx_cut_anywhere),
    CASE(test_idx_gzip_bounds),
    CASE(test_idx_memory),
    CASE(test_fashion_mnist),
    CASE(test_gather),
    CASE(test_gather_colour),
    CASE(test_csv),
    CASE(test_csv_bounds),
    CASE(test_csv_field),
    CASE(test_csv_round_trip),
    CASE(test_csv_memory),
  };
  return cmocka_run_group_tests_name("data", tests, NULL, NULL);
}
