/* The loader from C: the same bits for any workers and threads, errors in order, interrupts, ends in the middle, and what
 * is refused. Its steps against torchvision's: tests/lua/test_augment.lua; files and folders: tests/lua/test_loader.lua. */
#include "check.h"

#define N 23

static const wtl_transform steps[] = {
  { .kind = WTL_RANDOM_CROP, .size = { 12, 10 }, .padding = { 2, 1, 2, 1 } },
  { .kind = WTL_COLOR_JITTER, .brightness = { 0.5, 1.5 }, .contrast = { 0.5, 1.5 }, .saturation = { 0.5, 1.5 }, .hue = { -0.1, 0.1 } },
  { .kind = WTL_RANDOM_RESIZED_CROP, .size = { 8, 8 }, .scale = { 0.2, 1 }, .ratio = { 0.75, 1.33 }, .filter = WTL_BICUBIC },
  { .kind = WTL_NORMALIZE, .n_value = 3, .mean = { 0.4, 0.5, 0.6 }, .sd = { 0.2, 0.3, 0.4 } },
  { .kind = WTL_RANDOM_ERASING, .p = 0.5, .scale = { 0.05, 0.3 }, .ratio = { 0.5, 2 }, .noise = true },
};
enum { STEPS = sizeof steps / sizeof *steps };

static wtl_samples *pictures(void) {
  wtl_tensor *x = NULL, *y = NULL;
  wtl_samples *s = NULL;
  OK(wtl_tensor_create(ctx, WTL_U8, SHAPE(N, 3, 14, 11), &x));
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(N), &y));
  wtl_rng r = wtl_rng_make(1, "test", "pictures", 0);
  for (int64_t i = 0; i < wtl_tensor_numel(x); i++) ((unsigned char *)wtl_tensor_data(x))[i] = (unsigned char)wtl_rng_u32(&r, (uint64_t)i);
  for (int64_t i = 0; i < N; i++) ((int64_t *)wtl_tensor_data(y))[i] = i % 5;
  OK(wtl_samples_of_tensors(ctx, x, y, &s));
  wtl_tensor_release(x);
  wtl_tensor_release(y);
  return s;
}

static const int64_t *order(void) {
  static int64_t index[N];
  for (int64_t i = 0; i < N; i++) index[i] = (i * 7 + 3) % N;
  return index;
}

static wtl_loader_options options(int workers, int prefetch) {
  return (wtl_loader_options){ .step = steps, .n_step = STEPS, .index = order(), .n = N, .batch_size = 5, .workers = workers,
                               .prefetch = prefetch, .seed = 9, .epoch = 1, .name = "test" };
}

static uint64_t mix(uint64_t h, const wtl_tensor *t) {
  const unsigned char *p = wtl_tensor_cdata(t);
  for (size_t i = 0; i < wtl_tensor_bytes(t); i++) h = (h ^ p[i]) * 0x100000001b3;
  return h;
}

/* A hash of all batches; *sizes: their sizes as decimal digits. */
static uint64_t epoch(wtl_samples *s, const wtl_loader_options *o, int *sizes) {
  wtl_loader *l = NULL;
  wtl_tensor *x = NULL, *y = NULL;
  uint64_t h = 0xcbf29ce484222325;
  *sizes = 0;
  OK(wtl_loader_create(ctx, s, o, &l));
  for (;;) {
    OK(wtl_loader_next(l, &x, &y));
    if (!x) break;
    *sizes = 10 * *sizes + (int)wtl_tensor_shape(x)->size[0];
    h = mix(mix(h, x), y);
    wtl_tensor_release(x);
    wtl_tensor_release(y);
  }
  OK(wtl_loader_next(l, &x, &y)); /* the end stays the end */
  assert_null(x);
  wtl_loader_destroy(l);
  return h;
}

static void same_bits(void **state) {
  wtl_samples *s = pictures();
  wtl_loader_options o = options(0, 1);
  int sizes;
  (void)state;
  uint64_t want = epoch(s, &o, &sizes);
  assert_int_equal(sizes, 55553);
  for (int threads = 1; threads <= 4; threads++) {
    OK(wtl_set_threads(ctx, threads));
    for (int workers = 0; workers <= 4; workers++) {
      for (int prefetch = 1; prefetch <= 3; prefetch += 2) {
        o = options(workers, prefetch);
        assert_true(epoch(s, &o, &sizes) == want);
      }
    }
  }
  o = options(2, 2);
  o.drop_last = true;
  epoch(s, &o, &sizes);
  assert_int_equal(sizes, 5555);
  o = options(0, 1);
  o.epoch = 2;
  assert_true(epoch(s, &o, &sizes) != want);
  wtl_samples_release(s);
}

static void ends_in_the_middle(void **state) {
  wtl_samples *s = pictures();
  (void)state;
  for (int k = 0; k < 40; k++) {
    wtl_loader_options o = options(1 + k % 4, 1 + k % 3);
    wtl_loader *l = NULL;
    wtl_tensor *x = NULL, *y = NULL;
    OK(wtl_loader_create(ctx, s, &o, &l));
    for (int i = 0; i < k % 4; i++) {
      OK(wtl_loader_next(l, &x, &y));
      wtl_tensor_release(x);
      wtl_tensor_release(y);
    }
    wtl_loader_destroy(l);
  }
  wtl_samples_release(s);
}

static void interrupted(void **state) {
  wtl_samples *s = pictures();
  (void)state;
  for (int workers = 0; workers <= 2; workers++) {
    wtl_loader_options o = options(workers, 1);
    wtl_loader *l = NULL;
    wtl_tensor *x = NULL, *y = NULL;
    OK(wtl_loader_create(ctx, s, &o, &l));
    wtl_interrupt(ctx, 1);
    FAILS(wtl_loader_next(l, &x, &y), WTL_ERR_INTERRUPTED, "interrupted");
    assert_null(x);
    wtl_interrupt(ctx, 0);
    FAILS(wtl_loader_next(l, &x, &y), WTL_ERR_STATE, "an error stopped it");
    wtl_loader_destroy(l);
  }
  wtl_samples_release(s);
}

/* Four files, of which the second and third are bad. */
static void errors_in_order(void **state) {
  wtl_tensor *picture = NULL, *labels = NULL, *x = NULL, *y = NULL;
  wtl_samples *s = NULL;
  const wtl_transform size = { .kind = WTL_RESIZE, .size = { 6, 5 }, .filter = WTL_BILINEAR };
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_U8, SHAPE(3, 9, 9), &picture));
  OK(wtl_image_save(ctx, path_of("a.png"), picture, 90, false));
  OK(wtl_image_save(ctx, path_of("d.jpg"), picture, 90, false));
  put_text("c.jpg", "\xff\xd8\xff and no more");
  OK(wtl_tensor_create(ctx, WTL_U8, SHAPE(4), &labels));
  const char *const path[] = { path_of("a.png"), path_of("missing.png"), path_of("c.jpg"), path_of("d.jpg") };
  OK(wtl_samples_of_files(ctx, path, 4, labels, 3, &s));
  assert_string_equal(wtl_samples_path(s, 3), path[3]);
  assert_null(wtl_samples_path(s, 4));
  for (int k = 0; k < 8; k++) {
    int workers = k / 2;
    bool skip = k % 2;
    const wtl_loader_options o = { .step = &size, .n_step = 1, .index = (int64_t[]){ 0, 1, 2, 3 }, .n = 4, .batch_size = 2,
                                   .workers = workers, .prefetch = 2, .skip = skip };
    wtl_loader *l = NULL;
    OK(wtl_loader_create(ctx, s, &o, &l));
    if (!skip) {
      FAILS(wtl_loader_next(l, &x, &y), WTL_ERR_IO, "missing.png: cannot be opened");
    } else {
      int64_t sample;
      const char *reason;
      OK(wtl_loader_next(l, &x, &y));
      assert_true(wtl_shape_equal(wtl_tensor_shape(x), SHAPE(2, 3, 6, 5)));
      wtl_tensor_release(x);
      wtl_tensor_release(y);
      OK(wtl_loader_next(l, &x, &y));
      assert_null(x);
      assert_int_equal(wtl_loader_skipped(l), 2);
      OK(wtl_loader_skip(l, 1, &sample, &reason));
      assert_int_equal(sample, 2);
      FAILS(wtl_loader_skip(l, 2, &sample, &reason), WTL_ERR_ARG, "skip 2 of 2");
    }
    wtl_loader_destroy(l);
  }
  wtl_samples_release(s);
  wtl_tensor_release(labels);
  wtl_tensor_release(picture);
}

static void refused(void **state) {
  wtl_samples *s = pictures();
  wtl_loader *l = NULL;
  wtl_loader_options o = options(0, 1);
  (void)state;
  o.prefetch = 0; /* nothing without workers */
  OK(wtl_loader_create(ctx, s, &o, &l));
  wtl_loader_destroy(l);
  l = NULL;
  o.batch_size = 0;
  FAILS(wtl_loader_create(ctx, s, &o, &l), WTL_ERR_ARG, "batch_size is 0");
  o = options(257, 1);
  FAILS(wtl_loader_create(ctx, s, &o, &l), WTL_ERR_ARG, "workers is 257");
  o = options(1, 65);
  FAILS(wtl_loader_create(ctx, s, &o, &l), WTL_ERR_ARG, "prefetch is 65");
  o = options(1, 1);
  o.index = (int64_t[N]){ N };
  FAILS(wtl_loader_create(ctx, s, &o, &l), WTL_ERR_ARG, "index 23 is not in 0..22");
  o = options(1, 1);
  o.step = (const wtl_transform[]){ steps[3], steps[0] };
  o.n_step = 2;
  FAILS(wtl_loader_create(ctx, s, &o, &l), WTL_ERR_ARG, "random_crop comes after normalize");
  wtl_transform t = steps[3];
  t.n_value = 2;
  o.step = &t;
  o.n_step = 1;
  FAILS(wtl_loader_create(ctx, s, &o, &l), WTL_ERR_ARG, "2 values for 3 channels");
  t = (wtl_transform){ .kind = WTL_RESIZE, .size = { 0, 3 } };
  FAILS(wtl_loader_create(ctx, s, &o, &l), WTL_ERR_ARG, "size is 0 x 3");
  t = (wtl_transform){ .kind = (wtl_transform_kind)99 };
  FAILS(wtl_loader_create(ctx, s, &o, &l), WTL_ERR_ARG, "unknown step 99");
  wtl_drawn d;
  wtl_rng r = wtl_rng_make(1, "augment", "", 0);
  FAILS(wtl_transform_draw(ctx, &steps[3], 1, &r, 0, WTL_MAX_CHANNELS + 1, 9, 9, &d), WTL_ERR_ARG, "5 channels");
  assert_null(l);
  wtl_samples_release(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(same_bits), CASE(ends_in_the_middle), CASE(interrupted), CASE(errors_in_order), CASE(refused),
  };
  return cmocka_run_group_tests_name("loader", tests, NULL, NULL);
}
