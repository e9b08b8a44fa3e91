/* Pictures against Pillow 9.4: every file of tests/golden/images decoded and scaled as images.csv says (see make_images.py),
 * to the last bit; the two kernels of the resize against each other; malformed files; limits; what a failure leaves. */
#include "check.h"

#include <math.h>

#include "image.h"
#include "resize.h"

#define FOLDER "tests/golden/images/"

static wtl_decoder *decoder(void) {
  wtl_decoder *d = NULL;
  OK(wtl_decoder_create(ctx, &d));
  return d;
}

#define DECODES(expr) \
  do { \
    if ((expr) != WTL_OK) fail_msg("%s: %s", #expr, wtl_decoder_message(d)); \
  } while (0)
#define REFUSES(expr, status, text) \
  do { \
    wtl_status got_ = (expr); \
    if (got_ != (status) || !strstr(wtl_decoder_message(d), text)) \
      fail_msg("%s: %s: %s", #expr, wtl_status_name(got_), wtl_decoder_message(d)); \
  } while (0)

/* ---- Pillow's pixels ---- */

typedef struct expected {
  char file[64], mode[8], how[96], sha[65], sample[128];
  int height, width, out_height, out_width;
} expected;

/* image of (C,H,W) after "FILTER SIZE...": new reference. */
static wtl_tensor *scaled(const expected *e, wtl_tensor *image) {
  static const char *const names[] = { "nearest", "bilinear", "bicubic" };
  int64_t h = e->height, w = e->width, size = 0, crop = 0, wide = 0;
  double box[4];
  char name[16];
  wtl_tensor *t = NULL, *rows = NULL, *out = NULL;
  if (!strcmp(e->how, "decode")) return wtl_tensor_retain(image);
  wtl_filter f = WTL_NEAREST;
  int n = sscanf(e->how, "%15s %ldx%ld %lf,%lf,%lf,%lf", name, &size, &wide, box, box + 1, box + 2, box + 3);
  while (strcmp(names[f], name)) f++;
  if (n >= 3) {
    OK(wtl_image_resize(ctx, image, n == 7 ? box : NULL, size, wide, f, &out));
    return out;
  }
  sscanf(e->how, "%*s %ld %ld", &size, &crop);
  OK(wtl_image_resize(ctx, image, NULL, w <= h ? (int64_t)((double)size * (double)h / (double)w) : size,
                      w <= h ? size : (int64_t)((double)size * (double)w / (double)h), f, &t));
  if (!crop) return t;
  h = wtl_tensor_shape(t)->size[1];
  w = wtl_tensor_shape(t)->size[2];
  OK(wtl_tensor_narrow(t, 1, (int64_t)nearbyint((double)(h - crop) / 2), crop, &rows));
  OK(wtl_tensor_narrow(rows, 2, (int64_t)nearbyint((double)(w - crop) / 2), crop, &out));
  wtl_tensor_release(t);
  wtl_tensor_release(rows);
  return out;
}

/* The farthest sample from Pillow's: says how wrong a picture is whose digest differs. */
static int farthest(const expected *e, const wtl_tensor *t) {
  const wtl_shape *s = wtl_tensor_shape(t);
  int64_t n = wtl_tensor_numel(t);
  int worst = 0;
  const char *p = e->sample;
  for (int64_t i = 0; i < 12; i++) {
    int64_t at = i * n / 12, index[3] = { at / (s->size[1] * s->size[2]), at / s->size[2] % s->size[1], at % s->size[2] };
    double v;
    char *end;
    long want = strtol(p, &end, 10);
    assert_true(end > p);
    p = end;
    OK(wtl_tensor_get(t, index, &v));
    int off = abs((int)v - (int)want);
    if (off > worst) worst = off;
  }
  return worst;
}

/* Is it Pillow's picture exactly? */
static bool same(const expected *e, wtl_tensor *t) {
  char sha[65];
  wtl_dict dict;
  const wtl_shape *s = wtl_tensor_shape(t);
  if (s->size[1] != e->out_height || s->size[2] != e->out_width) {
    print_error("%s %s %s: %ldx%ld\n", e->file, e->mode, e->how, s->size[2], s->size[1]);
    return false;
  }
  wtl_dict_init(&dict, ctx);
  OK(wtl_dict_add(&dict, "image", t));
  OK(wtl_sha256_dict(ctx, &dict, sha));
  wtl_dict_free(&dict);
  int off = farthest(e, t);
  if (!strcmp(sha, e->sha) && off == 0) return true;
  print_error("%s %s %s: not Pillow's; of 12 samples one is %d off\n", e->file, e->mode, e->how, off);
  return false;
}

static void every_picture_is_pillows(void **state) {
  FILE *f = fopen(FOLDER "images.csv", "r");
  char line[512], path[128], loaded[128] = "";
  int rows = 0, bad = 0, files = 0;
  wtl_tensor *image = NULL;
  (void)state;
  assert_non_null(f);
  assert_non_null(fgets(line, sizeof line, f));
  while (fgets(line, sizeof line, f)) {
    expected e;
    char box[64] = "";
    int n = sscanf(line, "%63[^,],%7[^,],%d,%d,%95[^,\"],%d,%d,%64[^,],%127[^\n]", e.file, e.mode, &e.height, &e.width, e.how, &e.out_height,
                   &e.out_width, e.sha, e.sample);
    if (n != 9) { /* a box has commas, so it stands in quotes */
      n = sscanf(line, "%63[^,],%7[^,],%d,%d,\"%63[^\"]\",%d,%d,%64[^,],%127[^\n]", e.file, e.mode, &e.height, &e.width, box, &e.out_height,
                 &e.out_width, e.sha, e.sample);
      snprintf(e.how, sizeof e.how, "%s", box);
    }
    if (n != 9) fail_msg("a row of another form: %s", line);
    snprintf(path, sizeof path, "%s %s", e.file, e.mode);
    if (strcmp(path, loaded)) {
      wtl_tensor_release(image);
      image = NULL;
      snprintf(loaded, sizeof loaded, "%s", path);
      snprintf(path, sizeof path, FOLDER "%s", e.file);
      OK(wtl_image_load(ctx, path, e.mode[0] == 'L' ? 1 : 3, &image));
      files++;
    }
    wtl_tensor *t = scaled(&e, image);
    bad += !same(&e, t);
    wtl_tensor_release(t);
    rows++;
  }
  fclose(f);
  wtl_tensor_release(image);
  print_message("           %d pictures in %d forms, %d not exactly Pillow's\n", files, rows, bad);
  assert_true(files >= 80 && rows >= 500);
  assert_int_equal(bad, 0);
}

/* ---- the resize by itself ---- */

static void fill(wtl_decoder *d, wtl_pixels *p, int w, int h, int channels, uint64_t seed) {
  wtl_rng r = wtl_rng_make(seed, "pixels", "", 0);
  assert_int_equal(wtl_pixels_reserve(d, p, w, h, channels), WTL_OK);
  for (int i = 0; i < w * h * channels; i++) p->data[i] = (unsigned char)(wtl_rng_u32(&r, (uint64_t)i) % 3 ? wtl_rng_u32(&r, (uint64_t)i) >> 8 : 255);
}

static void a_channel_is_scaled_by_itself(void **state) {
  wtl_decoder *d = decoder();
  wtl_pixels in = { 0 }, out = { 0 }, plane = { 0 }, one = { 0 };
  (void)state;
  for (int i = 0; i < 120; i++) {
    int channels = 1 + i % 4, w = 1 + i * 7 % 61, h = 1 + i * 11 % 53, to_w = 1 + i * 13 % 67, to_h = 1 + i * 5 % 59;
    double box[4] = { w * 0.13, h * 0.21, w * 0.93, h * 0.9 };
    fill(d, &in, w, h, channels, (uint64_t)i);
    wtl_filter f = (wtl_filter)(i / 4 % 3);
    DECODES(wtl_resize(d, &in, i % 2 ? box : NULL, to_w, to_h, f, &out));
    for (int c = 0; c < channels; c++) {
      DECODES(wtl_pixels_reserve(d, &plane, w, h, 1));
      for (int k = 0; k < w * h; k++) plane.data[k] = in.data[k * channels + c];
      DECODES(wtl_resize(d, &plane, i % 2 ? box : NULL, to_w, to_h, f, &one));
      for (int k = 0; k < to_w * to_h; k++) assert_int_equal(one.data[k], out.data[k * channels + c]);
    }
  }
  wtl_pixels *const all[] = { &in, &out, &plane, &one };
  for (int i = 0; i < 4; i++) wtl_pixels_free(ctx, all[i]);
  wtl_decoder_destroy(d);
}

/* Weights like those of a filter: they add up to one, some below 0. */
static void random_weights(wtl_weights *w, int in, const wtl_rng *r) {
  for (int i = 0; i < w->n; i++) {
    int count = 1 + (int)(wtl_rng_u32(r, (uint64_t)(7 * i)) % (uint32_t)w->most), left = 1 << WTL_RESIZE_BITS;
    if (count > in) count = in;
    w->bounds[2 * i] = (int)(wtl_rng_u32(r, (uint64_t)(7 * i + 1)) % (uint32_t)(in - count + 1));
    w->bounds[2 * i + 1] = count;
    for (int t = 0; t < w->most; t++) {
      int32_t v = t + 1 < count ? (int32_t)(wtl_rng_u32(r, (uint64_t)(1000 + i * w->most + t)) % 200000) - 80000 : t + 1 == count ? left : 0;
      left -= v;
      w->weight[i * w->most + t] = v;
      w->split[(i * w->most + t / 4 * 4) * 2 + t % 4] = (int16_t)(v & 4095);
      w->split[(i * w->most + t / 4 * 4) * 2 + 4 + t % 4] = (int16_t)(v >> 12);
    }
  }
}

static void kernels_agree(void **state) {
  const wtl_resize_kernels *fast = wtl_resize_avx2();
  enum { N = 40, IN = 70, MOST = 24, ROWS = 30 };
  wtl_weights w = { N, MOST, wtl_alloc(ctx, 2 * N * sizeof(int)), wtl_alloc(ctx, N * MOST * 4), wtl_alloc(ctx, N * MOST * 4) };
  unsigned char a[7 * 3 * N], b[7 * 3 * N], *in = wtl_alloc(ctx, ROWS * 3 * IN);
  (void)state;
  for (uint64_t seed = 0; fast && seed < 200; seed++) {
    wtl_rng r = wtl_rng_make(seed, "weights", "", 0);
    int channels = seed % 2 ? 3 : 1, wide = 1 + (int)(seed % IN);
    for (int i = 0; i < ROWS * 3 * IN; i++) in[i] = (unsigned char)wtl_rng_u32(&r, (uint64_t)(90000 + i));
    random_weights(&w, wide, &r);
    int rows = 1 + (int)(seed / 2 % 7);
    wtl_pixels source = { wide, rows + 2, channels, in + ROWS * 3 * IN - (rows + 2) * wide * channels, 0 }; /* up to the block's end */
    wtl_pixels plain = { N, rows, channels, a, sizeof a }, quick = { N, rows, channels, b, sizeof b };
    wtl_resize_plain.across(&w, &source, 2, &plain);
    fast->across(&w, &source, 2, &quick);
    assert_memory_equal(a, b, (size_t)(N * channels * rows));
    size_t bytes = 1 + seed % (3 * N);
    wtl_resize_plain.down(w.weight, w.bounds[1], in, bytes, a);
    fast->down(w.weight, w.bounds[1], in, bytes, b);
    assert_memory_equal(a, b, bytes);
    size_t pixels = 1 + seed % 97;
    wtl_resize_plain.to_planes(in, pixels, a);
    fast->to_planes(in, pixels, b);
    assert_memory_equal(a, b, 3 * pixels);
    fast->from_planes(a, pixels, b);
    assert_memory_equal(in, b, 3 * pixels);
    wtl_resize_plain.from_planes(a, pixels, b);
    assert_memory_equal(in, b, 3 * pixels);
  }
  if (!fast) print_message("           no AVX2 here: one kernel\n");
  void *const all[] = { w.bounds, w.weight, w.split, in };
  for (int i = 0; i < 4; i++) wtl_free(ctx, all[i]);
}

static void boxes_and_sizes_are_checked(void **state) {
  wtl_decoder *d = decoder();
  wtl_pixels in = { 0 }, out = { 0 };
  (void)state;
  fill(d, &in, 4, 3, 1, 1);
  static const double bad[][4] = { { -0.1, 0, 4, 3 }, { 0, 0, 4.1, 3 }, { 2, 0, 2, 3 }, { 3, 0, 1, 3 }, { 0, 3, 4, 3 }, { NAN, 0, 4, 3 }, { 0, 0, INFINITY, 3 } };
  for (int i = 0; i < 7; i++) REFUSES(wtl_resize(d, &in, bad[i], 2, 2, WTL_BILINEAR, &out), WTL_ERR_ARG, "the box");
  REFUSES(wtl_resize(d, &in, NULL, 0, 2, WTL_BILINEAR, &out), WTL_ERR_ARG, "to 0x2");
  REFUSES(wtl_resize(d, &in, NULL, 2, WTL_MAX_SIDE + 1, WTL_BILINEAR, &out), WTL_ERR_ARG, "at most 268435456 pixels");
  REFUSES(wtl_resize(d, &in, NULL, 20000, 20000, WTL_BILINEAR, &out), WTL_ERR_ARG, "at most 268435456 pixels");
  REFUSES(wtl_resize(d, &in, NULL, 2, 2, (wtl_filter)7, &out), WTL_ERR_ARG, "no filter 7");
  in.channels = 5;
  REFUSES(wtl_resize(d, &in, NULL, 2, 2, WTL_BILINEAR, &out), WTL_ERR_ARG, "5 channels");
  wtl_pixels_free(ctx, &in);
  wtl_pixels_free(ctx, &out);
  wtl_decoder_destroy(d);
}

static void tensors_are_checked(void **state) {
  wtl_tensor *t = NULL, *o = NULL;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(1, 2, 2), &t));
  FAILS(wtl_image_resize(ctx, t, NULL, 2, 2, WTL_BILINEAR, &o), WTL_ERR_DTYPE, "f32; u8 is needed");
  wtl_tensor_release(t);
  OK(wtl_tensor_create(ctx, WTL_U8, SHAPE(2, 2), &t));
  FAILS(wtl_image_resize(ctx, t, NULL, 2, 2, WTL_BILINEAR, &o), WTL_ERR_SHAPE, "[2,2]; (C,H,W)");
  wtl_tensor_release(t);
  OK(wtl_tensor_create(ctx, WTL_U8, SHAPE(1, 2, 2), &t));
  FAILS(wtl_image_resize(ctx, t, NULL, 0, 2, WTL_BILINEAR, &o), WTL_ERR_ARG, "size 0x2");
  FAILS(wtl_image_resize(ctx, t, (double[]){ 0, 0, 3, 1 }, 2, 2, WTL_BILINEAR, &o), WTL_ERR_ARG, "not inside 2x2");
  FAILS(wtl_image_resize(ctx, t, NULL, 1 << 20, 2, WTL_BILINEAR, &o), WTL_ERR_ARG, "at most");
  wtl_tensor_release(t);
  FAILS(wtl_image_load(ctx, FOLDER "dot.jpg", 2, &o), WTL_ERR_ARG, "1 or 3, got 2");
  FAILS(wtl_image_load(ctx, FOLDER "none.jpg", 3, &o), WTL_ERR_IO, "none.jpg: cannot be opened");
  FAILS(wtl_image_load(ctx, "tests/golden", 3, &o), WTL_ERR_IO, "tests/golden: not a regular file");
  FAILS(wtl_image_load(ctx, "tests/golden/make_images.py", 3, &o), WTL_ERR_FORMAT, "make_images.py: neither JPEG nor PNG");
  assert_null(o);
}

/* ---- files that are cut off or damaged ---- */

/* Every beginning of a file is refused; with a byte in it changed, it is read or refused, and the next file is read. */
static void cut_and_damaged(const char *name) {
  wtl_decoder *d = decoder();
  wtl_pixels p = { 0 };
  char path[128];
  size_t n;
  snprintf(path, sizeof path, FOLDER "%s", name);
  unsigned char *bytes = (unsigned char *)slurp(path, &n), *copy = malloc(n);
  DECODES(wtl_decode(d, bytes, n, 3, &p));
  for (size_t k = 0; k < n; k += k < 700 ? 1 : 97) {
    memcpy(copy, bytes, k); /* of its own size: a sanitizer sees a read behind it */
    unsigned char *exact = malloc(k ? k : 1);
    memcpy(exact, bytes, k);
    wtl_status s = wtl_decode(d, exact, k, 3, &p);
    if (s != WTL_ERR_FORMAT) fail_msg("%s cut to %zu of %zu bytes: %s", name, k, n, wtl_status_name(s));
    free(exact);
  }
  for (size_t k = 0; k < n; k += k < 700 ? 1 : 31) {
    memcpy(copy, bytes, n);
    copy[k] ^= (unsigned char)(1 + k % 255);
    wtl_status s = wtl_decode(d, copy, n, k % 2 ? 1 : 3, &p);
    if (s != WTL_OK && s != WTL_ERR_FORMAT && s != WTL_ERR_UNSUPPORTED) fail_msg("%s with byte %zu changed: %s", name, k, wtl_decoder_message(d));
  }
  DECODES(wtl_decode(d, bytes, n, 1, &p));
  free(copy);
  free(bytes);
  wtl_pixels_free(ctx, &p);
  wtl_decoder_destroy(d);
}

static void cut_and_damaged_files(void **state) {
  static const char *const names[] = { "small.jpg", "exif6.jpg", "dot.jpg", "restart-progressive.jpg", "grey4.png", "palette4-interlaced.png", "turned.png" };
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) cut_and_damaged(names[i]);
}

/* A picture whose tables are missing is not read with those of the picture before. */
static void the_picture_before_leaves_nothing(void **state) {
  wtl_decoder *d = decoder();
  wtl_pixels p = { 0 };
  size_t n;
  unsigned char *bytes = (unsigned char *)slurp(FOLDER "small.jpg", &n);
  (void)state;
  DECODES(wtl_decode(d, bytes, n, 3, &p));
  for (size_t i = 2; bytes[i + 1] != 0xda; i += 2 + (size_t)(bytes[i + 2] << 8 | bytes[i + 3]))
    if (bytes[i + 1] == 0xdb) bytes[i + 1] = 0xfe; /* tables become comments */
  REFUSES(wtl_decode(d, bytes, n, 3, &p), WTL_ERR_FORMAT, "table 0x00 was not defined");
  free(bytes);
  wtl_pixels_free(ctx, &p);
  wtl_decoder_destroy(d);
}

/* A decoder whose memory is gone for each allocation in turn, and that then reads. */
static void a_decoder_survives(void **state) {
  static const char *const names[] = { "420.jpg", "cmyk.jpg", "exif5.jpg", "palette4-interlaced.png", "rgba8.png" };
  (void)state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[128];
    size_t n;
    snprintf(path, sizeof path, FOLDER "%s", names[i]);
    unsigned char *bytes = (unsigned char *)slurp(path, &n);
    uint64_t before = live();
    for (uint64_t k = 1;; k++) {
      wtl_decoder *d = decoder();
      wtl_pixels p = { 0 }, small = { 0 };
      wtl_memory_fail_at(ctx, k);
      wtl_status s = wtl_decode(d, bytes, n, 3, &p);
      if (s == WTL_OK) s = wtl_resize(d, &p, NULL, 20, 30, WTL_BICUBIC, &small);
      wtl_memory_fail_at(ctx, 0);
      if (s != WTL_OK) {
        REFUSES(s, WTL_ERR_MEMORY, "out of memory");
        DECODES(wtl_decode(d, bytes, n, 3, &p));
        DECODES(wtl_resize(d, &p, NULL, 20, 30, WTL_BICUBIC, &small));
      }
      wtl_pixels_free(ctx, &p);
      wtl_pixels_free(ctx, &small);
      wtl_decoder_destroy(d);
      assert_int_equal(live(), before);
      if (s == WTL_OK) break;
      assert_true(k < 100);
    }
    free(bytes);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(every_picture_is_pillows), CASE(a_channel_is_scaled_by_itself), CASE(kernels_agree), CASE(boxes_and_sizes_are_checked),
    CASE(tensors_are_checked), CASE(cut_and_damaged_files), CASE(the_picture_before_leaves_nothing),
    CASE(a_decoder_survives),
  };
  return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
