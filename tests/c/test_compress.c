/* core/compress and a parameter's constraints: bits, masks and ranks against values worked out by hand and against what must always hold. */
#include "check.h"

#include <math.h>

static wtl_tensor *floats(const wtl_shape *s, const float *v) {
  wtl_tensor *t = NULL;
  OK(wtl_tensor_create(ctx, WTL_F32, s, &t));
  memcpy(wtl_tensor_data(t), v, wtl_tensor_bytes(t));
  return t;
}

static wtl_tensor *normals(wtl_dtype d, const wtl_shape *s, const char *name) {
  wtl_rng r = wtl_rng_make(3, "test", name, 0);
  wtl_tensor *t = NULL;
  OK(wtl_tensor_create(ctx, d, s, &t));
  OK(wtl_tensor_normal(t, &r, 0, 1));
  return t;
}

static uint32_t bits_of(float f) {
  uint32_t b;
  memcpy(&b, &f, 4);
  return b;
}

static float float_of(uint32_t b) {
  float f;
  memcpy(&f, &b, 4);
  return f;
}

/* ---- truncation ---- */

static void test_truncate(void **state) {
  const struct { uint32_t in; int bits; uint32_t out; } want[] = {
    { 0x3f9e0652, 0, 0x3f9e0652 },  { 0x3f9e0652, 1, 0x3f9e0652 },  { 0x3f9e0653, 1, 0x3f9e0652 },
    { 0x3f9e0652, 8, 0x3f9e0600 },  { 0x3f9e0652, 16, 0x3f9e0000 }, { 0x3f9e0652, 22, 0x3f800000 },
    { 0x3fdfffff, 22, 0x3fc00000 }, { 0x3fffffff, 23, 0x3f800000 }, /* 1.99.. -> 1: the exponent stays */
    { 0xbf9e0652, 16, 0xbf9e0000 }, { 0x80000000, 23, 0x80000000 }, /* the sign stays, of zero too */
    { 0x00000003, 1, 0x00000002 },  { 0x007fffff, 23, 0x00000000 }, /* subnormals */
    { 0x7f800000, 23, 0x7f800000 }, { 0xff800000, 23, 0xff800000 }, /* infinities */
    { 0x7f800001, 23, 0x7f800001 }, { 0xffc00abc, 12, 0xffc00abc }, /* NaN does not become one */
  };
  (void)state;
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    wtl_tensor *t = floats(SHAPE(1), &(float){ float_of(want[i].in) });
    OK(wtl_truncate(t, want[i].bits, WTL_BITS_ZERO, NULL));
    assert_int_equal(bits_of(*(float *)wtl_tensor_data(t)), want[i].out);
    wtl_tensor_release(t);
  }
}

static void test_truncate_all(void **state) {
  (void)state;
  for (int bits = 0; bits <= 23; bits++) {
    wtl_tensor *t = normals(WTL_F32, SHAPE(300, 300), "w"), *before = NULL, *turned = NULL, *part = NULL;
    OK(wtl_tensor_clone(t, &before));
    OK(wtl_tensor_transpose(t, 0, 1, &turned));
    OK(wtl_tensor_narrow(turned, 0, 1, 298, &part)); /* all columns but the first and the last */
    OK(wtl_truncate(part, bits, WTL_BITS_ZERO, NULL));
    const float *a = wtl_tensor_cdata(before), *b = wtl_tensor_cdata(t);
    for (int i = 0; i < 90000; i++) {
      bool inside = i % 300 >= 1 && i % 300 <= 298;
      assert_int_equal(bits_of(b[i]), bits_of(a[i]) & (inside ? ~((1u << bits) - 1) : ~0u));
    }
    wtl_tensor_release(before);
    wtl_tensor_release(part);
    wtl_tensor_release(turned);
    wtl_tensor_release(t);
  }
}

static void test_truncate_misuse(void **state) {
  wtl_tensor *t = normals(WTL_F32, SHAPE(4), "w"), *d = normals(WTL_F64, SHAPE(4), "w"), *row = NULL, *wide = NULL,
             *none = NULL;
  (void)state;
  FAILS(wtl_truncate(t, -1, WTL_BITS_ZERO, NULL), WTL_ERR_ARG, "bits is -1, not 0 to 23");
  FAILS(wtl_truncate(t, 24, WTL_BITS_ZERO, NULL), WTL_ERR_ARG, "bits is 24, not 0 to 23");
  FAILS(wtl_truncate(d, 3, WTL_BITS_ZERO, NULL), WTL_ERR_DTYPE, "the tensor is f64, not f32");
  OK(wtl_tensor_reshape(t, SHAPE(1, 4), &row));
  OK(wtl_tensor_expand(row, SHAPE(5, 4), &wide));
  FAILS(wtl_truncate(wide, 23, WTL_BITS_ZERO, NULL), WTL_ERR_ARG, "expanded");
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(0, 3), &none));
  OK(wtl_truncate(none, 5, WTL_BITS_ZERO, NULL));
  wtl_tensor *all[] = { t, d, row, wide, none };
  for (int i = 0; i < 5; i++) wtl_tensor_release(all[i]);
}

/* Bit patterns of every kind: normal, subnormal, zero, largest, infinite, NaN. */
static wtl_tensor *patterns(int n) {
  wtl_rng r = wtl_rng_make(8, "test", "patterns", 0);
  wtl_tensor *t = NULL;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(n), &t));
  for (int i = 0; i < n; i++) {
    uint32_t x = wtl_rng_u32(&r, (uint64_t)i), sign = x & 0x80000000u;
    if (i % 8 == 1) x = sign | 0x7f7fffffu >> (i / 8 % 2 * 9); /* the largest; and a subnormal */
    if (i % 8 == 2) x = sign | (i / 8 % 2 ? 0x7f800000u : 0);
    if (i % 8 == 3) x |= 0x7f800000u;
    if (i % 8 == 4) x &= 0x807fffffu;
    memcpy((char *)wtl_tensor_data(t) + 4 * i, &x, 4);
  }
  return t;
}

/* The definition, element by element, from wtl_rng_u32 alone. */
static uint32_t by_definition(uint32_t x, int bits, wtl_bits_arm arm, const wtl_rng *r, int i) {
  uint64_t low = (UINT64_C(1) << bits) - 1, drawn = ((uint64_t)wtl_rng_u32(r, (uint64_t)i) << bits) >> 32;
  if (!isfinite(float_of(x))) return x;
  if (arm == WTL_BITS_ZERO) return (uint32_t)(x & ~low);
  if (arm == WTL_BITS_RANDOM) return (uint32_t)((x & ~low) | drawn);
  uint32_t up = (uint32_t)((x + drawn) & ~low);
  return isfinite(float_of(up)) && (up ^ x) >> 31 == 0 ? up : (uint32_t)(x & ~low);
}

static void test_low_bits(void **state) {
  enum { N = 70001 }; /* several chunks, the last one odd */
  wtl_rng r = wtl_rng_make(5, "scr", "w", 2);
  (void)state;
  wtl_tensor *all = patterns(N);
  for (int arm = WTL_BITS_ZERO; arm <= WTL_BITS_STOCHASTIC; arm++) {
    for (int bits = 0; bits <= 23; bits += bits % 5 == 3 ? 1 : 2) {
      wtl_tensor *t = NULL;
      OK(wtl_tensor_clone(all, &t));
      OK(wtl_truncate(t, bits, (wtl_bits_arm)arm, &r));
      const float *was = wtl_tensor_cdata(all), *is = wtl_tensor_cdata(t);
      for (int i = 0; i < N; i++) {
        uint32_t want = by_definition(bits_of(was[i]), bits, (wtl_bits_arm)arm, &r, i);
        if (bits_of(is[i]) != want)
          fail_msg("%s, %d bits: %08x -> %08x, not %08x", wtl_bits_arm_name((wtl_bits_arm)arm), bits, bits_of(was[i]), bits_of(is[i]), want);
        assert_int_equal(isfinite(was[i]) != 0, isfinite(is[i]) != 0);
      }
      wtl_tensor_release(t);
    }
  }
  wtl_tensor_release(all);
}

/* The same bits for every layout and number of threads; another draw has others. */
static void test_low_bits_by_logical_index(void **state) {
  wtl_rng r = wtl_rng_make(5, "scr", "w", 0), later = wtl_rng_make(5, "scr", "w", 1);
  (void)state;
  for (int arm = WTL_BITS_RANDOM; arm <= WTL_BITS_STOCHASTIC; arm++) {
    wtl_tensor *plain = normals(WTL_F32, SHAPE(61, 3, 517), "w"), *other = NULL, *again = NULL, *next = NULL;
    OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(517, 61, 3), &other));
    wtl_tensor *turned = NULL;
    OK(wtl_tensor_permute(other, (int[]){ 1, 2, 0 }, &turned));
    OK(wtl_tensor_copy(turned, plain));
    OK(wtl_tensor_clone(plain, &again));
    OK(wtl_tensor_clone(plain, &next));
    OK(wtl_truncate(plain, 17, (wtl_bits_arm)arm, &r));
    OK(wtl_truncate(turned, 17, (wtl_bits_arm)arm, &r));
    OK(wtl_truncate(next, 17, (wtl_bits_arm)arm, &later));
    OK(wtl_set_threads(ctx, 1));
    OK(wtl_truncate(again, 17, (wtl_bits_arm)arm, &r));
    OK(wtl_set_threads(ctx, 2));
    wtl_tensor *copy = NULL;
    OK(wtl_tensor_clone(turned, &copy));
    assert_memory_equal(wtl_tensor_cdata(plain), wtl_tensor_cdata(copy), wtl_tensor_bytes(plain));
    assert_memory_equal(wtl_tensor_cdata(plain), wtl_tensor_cdata(again), wtl_tensor_bytes(plain));
    assert_memory_not_equal(wtl_tensor_cdata(plain), wtl_tensor_cdata(next), wtl_tensor_bytes(plain));
    OK(wtl_tensor_copy(next, plain)); /* drawing the same again changes nothing */
    OK(wtl_truncate(next, 17, (wtl_bits_arm)arm, &r));
    assert_memory_equal(wtl_tensor_cdata(plain), wtl_tensor_cdata(next), wtl_tensor_bytes(plain));
    wtl_tensor *made[] = { plain, other, again, next, turned, copy };
    for (int i = 0; i < 6; i++) wtl_tensor_release(made[i]);
  }
}

/* Stochastic: the mean of many draws is w, within 5 standard deviations, and both neighbours occur as often as they
 * should. Random: each bit is 1 half of the time, and bits of a pair are independent. */
static void test_low_bits_statistics(void **state) {
  enum { N = 100000 };
  const struct { uint32_t w; int bits; } case_of[] = {
    { 0x3f9e0652, 8 }, { 0xbf9e0652, 16 }, { 0x3fffffff, 22 }, /* carries into the exponent */
    { 0x3f812345, 23 }, { 0x00000abc, 14 }, { 0x3f800001, 5 },
  };
  (void)state;
  for (size_t k = 0; k < sizeof case_of / sizeof *case_of; k++) {
    wtl_tensor *t = NULL;
    uint32_t low = (1u << case_of[k].bits) - 1, down = case_of[k].w & ~low;
    double w = (double)float_of(case_of[k].w), a = (double)float_of(down), b = (double)float_of(down + low + 1), sum = 0;
    double chance = (double)(case_of[k].w & low) / ((double)low + 1), sd = fabs(b - a) * sqrt(chance * (1 - chance) / N);
    wtl_rng r = wtl_rng_make(k, "scr", "mean", 3);
    int ups = 0;
    OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(N), &t));
    OK(wtl_tensor_fill(t, w));
    OK(wtl_truncate(t, case_of[k].bits, WTL_BITS_STOCHASTIC, &r));
    for (int i = 0; i < N; i++) {
      double v = (double)((const float *)wtl_tensor_cdata(t))[i];
      assert_true(v == a || v == b);
      ups += v == b;
      sum += v - w;
    }
    assert_true(fabs(a + (b - a) * chance - w) <= 1e-12 * fabs(w)); /* so unbiased is what the chance makes it */
    if (fabs(sum / N) > 5 * sd) fail_msg("case %zu: the mean is off by %g, one sd is %g (%d up)", k, sum / N, sd, ups);
    wtl_tensor_release(t);
  }
  wtl_tensor *t = NULL;
  wtl_rng r = wtl_rng_make(1, "scr", "bits", 0);
  int ones[23] = { 0 }, both[23] = { 0 };
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(N), &t));
  OK(wtl_tensor_fill(t, 1.25));
  OK(wtl_truncate(t, 20, WTL_BITS_RANDOM, &r));
  for (int i = 0; i < N; i++) {
    uint32_t x = bits_of(((const float *)wtl_tensor_cdata(t))[i]);
    assert_int_equal(x >> 20, 0x3fa);
    for (int k = 0; k < 20; k++) ones[k] += x >> k & 1, both[k] += (x >> k & 1) && (x >> (k + 1) % 20 & 1);
  }
  for (int k = 0; k < 20; k++) {
    assert_true(fabs(ones[k] - N / 2.0) < 5 * sqrt(N / 4.0));
    assert_true(fabs(both[k] - N / 4.0) < 5 * sqrt(N * 3 / 16.0));
  }
  wtl_tensor_release(t);
}

static wtl_param *param_of(wtl_tensor *t) {
  wtl_param *p = NULL;
  OK(wtl_param_create(ctx, t, WTL_PARAMETER, &p));
  wtl_tensor_release(t);
  return p;
}

static void assert_tensor(wtl_tensor *a, const wtl_tensor *b) {
  assert_memory_equal(wtl_tensor_cdata(a), wtl_tensor_cdata(b), wtl_tensor_bytes(a));
}

/* A parameter does what wtl_truncate does, of its master, mask last; draws count up and can be put back. */
static void test_param(void **state) {
  const wtl_bits_arm arms[] = { WTL_BITS_ZERO, WTL_BITS_RANDOM, WTL_BITS_STOCHASTIC };
  (void)state;
  for (int k = 0; k < 6; k++) {
    wtl_bits_arm arm = arms[k % 3];
    bool master = k >= 3;
    wtl_tensor *start = normals(WTL_F32, SHAPE(40, 1000), "w"), *want = NULL, *mask = NULL, *kept = NULL;
    wtl_truncation t = { .bits = 14, .arm = arm, .master = master, .seed = 77, .name = "fc.weight" }, got;
    wtl_param *p = NULL, *q = NULL;
    OK(wtl_tensor_clone(start, &kept));
    p = param_of(kept);
    OK(wtl_tensor_create(ctx, WTL_U8, SHAPE(40, 1000), &mask));
    for (int i = 0; i < 40000; i++) ((unsigned char *)wtl_tensor_data(mask))[i] = i % 3 != 0;
    OK(wtl_param_set_mask(p, mask));
    OK(wtl_param_set_truncation(p, &t));
    wtl_param_truncation(p, &got);
    assert_true(got.bits == 14 && got.arm == arm && got.master == master && got.seed == 77 && !strcmp(got.name, "fc.weight"));
    assert_true(!wtl_param_master(p) == !master);
    uint64_t draws = arm != WTL_BITS_ZERO, version = wtl_param_version(p);
    OK(wtl_tensor_clone(start, &want));
    for (uint64_t n = 0; n < 3; n++) {
      wtl_rng r = wtl_rng_make(77, "scr", "fc.weight", n);
      OK(wtl_param_constrain(p));
      assert_true(wtl_param_version(p) > version);
      if (master) OK(wtl_tensor_copy(want, start));
      OK(wtl_truncate(want, 14, arm, &r));
      for (int i = 0; i < 40000; i += 3) ((float *)wtl_tensor_data(want))[i] = 0;
      assert_tensor(wtl_param_tensor(p), want);
      if (master) assert_tensor(wtl_param_master(p), start);
      assert_true(wtl_param_redraws(p) == draws * (n + 1));
    }
    /* A copy goes on the same way. */
    OK(wtl_param_clone(p, &q));
    assert_true(wtl_param_redraws(q) == wtl_param_redraws(p) && !wtl_param_master(q) == !master);
    if (master) assert_ptr_not_equal(wtl_param_master(q), wtl_param_master(p));
    OK(wtl_param_constrain(q));
    OK(wtl_param_constrain(p));
    assert_tensor(wtl_param_tensor(q), wtl_param_tensor(p));
    /* A checkpoint into a fresh one: value, master, count. */
    wtl_param_release(q);
    q = param_of(normals(WTL_F32, SHAPE(40, 1000), "other"));
    OK(wtl_param_set_mask(q, mask));
    OK(wtl_param_set_truncation(q, &t));
    OK(wtl_param_assign(q, wtl_param_tensor(p)));
    OK(wtl_param_constrain(q)); /* as loading a state dict does */
    if (master) {
      assert_true(wtl_param_master(q) != NULL);
      OK(wtl_tensor_copy(wtl_param_master(q), wtl_param_master(p)));
    }
    OK(wtl_param_set_redraws(q, wtl_param_redraws(p)));
    assert_true(wtl_param_redraws(q) == wtl_param_redraws(p));
    assert_tensor(wtl_param_tensor(q), wtl_param_tensor(p));
    OK(wtl_param_constrain(q));
    OK(wtl_param_constrain(p));
    assert_tensor(wtl_param_tensor(q), wtl_param_tensor(p));
    /* Assigning writes both. */
    OK(wtl_param_assign(p, start));
    assert_tensor(wtl_param_tensor(p), start);
    if (master) assert_tensor(wtl_param_master(p), start);
    /* A master stays when bits change and goes with the truncation. */
    wtl_tensor *stood = wtl_param_master(p);
    t.bits = 3;
    OK(wtl_param_set_truncation(p, &t));
    assert_ptr_equal(wtl_param_master(p), stood);
    OK(wtl_param_set_truncation(p, NULL));
    assert_null(wtl_param_master(p));
    wtl_param_truncation(p, &got);
    assert_int_equal(got.bits, 0);
    wtl_param_release(p);
    wtl_param_release(q);
    wtl_tensor *all[] = { start, want, mask };
    for (int i = 0; i < 3; i++) wtl_tensor_release(all[i]);
  }
}

static void test_param_misuse(void **state) {
  wtl_param *p = param_of(normals(WTL_F32, SHAPE(4), "w")), *d = param_of(normals(WTL_F64, SHAPE(4), "w"));
  wtl_truncation t = { .bits = 24 };
  wtl_bits_arm arm;
  (void)state;
  FAILS(wtl_param_set_truncation(p, &t), WTL_ERR_ARG, "exponent and sign");
  t.bits = -1;
  FAILS(wtl_param_set_truncation(p, &t), WTL_ERR_ARG, "bits is -1");
  t.bits = 3;
  FAILS(wtl_param_set_truncation(d, &t), WTL_ERR_DTYPE, "the parameter is f64");
  t.arm = (wtl_bits_arm)3;
  FAILS(wtl_param_set_truncation(p, &t), WTL_ERR_ARG, "no arm 3");
  t.arm = WTL_BITS_RANDOM;
  memset(t.name, 'x', sizeof t.name);
  FAILS(wtl_param_set_truncation(p, &t), WTL_ERR_ARG, "name has no end");
  t.name[0] = 0;
  OK(wtl_param_set_truncation(p, &t));
  FAILS(wtl_param_convert(p, WTL_F64), WTL_ERR_ARG, "low bits are truncated");
  FAILS(wtl_truncate(wtl_param_tensor(p), 3, WTL_BITS_RANDOM, NULL), WTL_ERR_ARG, "random needs random numbers");
  FAILS(wtl_bits_arm_parse(ctx, "ones", &arm), WTL_ERR_ARG, "arm is \"ones\", not zero, random or stochastic");
  OK(wtl_bits_arm_parse(ctx, "stochastic", &arm));
  assert_int_equal(arm, WTL_BITS_STOCHASTIC);
  assert_string_equal(wtl_bits_arm_name((wtl_bits_arm)-1), "?");
  wtl_param_release(p);
  wtl_param_release(d);
}

/* ---- pruning ---- */

static void assert_mask(wtl_tensor *mask, const char *want) {
  const unsigned char *m = wtl_tensor_cdata(mask);
  assert_int_equal(wtl_tensor_dtype(mask), WTL_U8);
  assert_int_equal(wtl_tensor_numel(mask), strlen(want));
  for (size_t i = 0; want[i]; i++) {
    if (m[i] != want[i] - '0') fail_msg("mask[%zu] is %d, wanted %s", i, m[i], want);
  }
  wtl_tensor_release(mask);
}

static void test_prune(void **state) {
  const float a[6] = { 3, -1, 0.5f, -0.0f, 2, -4 }, b[4] = { 1, -2, 0.25f, 7 };
  const struct { double amount; const char *a, *b; } want[] = {
    { 0, "111111", "1111" },
    { 0.0999, "111111", "1111" },
    { 0.1, "111011", "1111" },      /* zero first, whatever its sign */
    { 0.2, "111011", "1101" },
    { 0.3, "110011", "1101" },
    { 0.4, "100011", "1101" },      /* |-1| = |1|: the earlier goes */
    { 0.5, "100011", "0101" },
    { 0.6, "100001", "0101" },      /* |2| = |-2| over two tensors */
    { 0.7, "100001", "0001" },
    { 0.99, "000000", "0001" },
  };
  (void)state;
  wtl_tensor *w[2] = { floats(SHAPE(2, 3), a), floats(SHAPE(4), b) };
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    wtl_tensor *m[2] = { NULL, NULL };
    OK(wtl_prune_global(ctx, w, 2, want[i].amount, m));
    assert_true(wtl_shape_equal(wtl_tensor_shape(m[0]), SHAPE(2, 3)));
    assert_mask(m[0], want[i].a);
    assert_mask(m[1], want[i].b);
  }
  assert_memory_equal(wtl_tensor_cdata(w[0]), a, sizeof a); /* the weights stay */
  wtl_tensor_release(w[0]);
  wtl_tensor_release(w[1]);
}

/* By logical index, whatever the strides; f64 and f32 together. */
static void test_prune_strided(void **state) {
  const float v[6] = { 1, 1, 2, 1, 3, 1 }; /* turned: 1 1 1 3 2 1 */
  wtl_tensor *t = floats(SHAPE(2, 3), v), *turned = NULL, *wide = NULL;
  (void)state;
  OK(wtl_tensor_transpose(t, 0, 1, &turned));
  OK(wtl_tensor_convert(t, WTL_F64, &wide));
  wtl_tensor *w[2] = { turned, wide }, *m[2];
  OK(wtl_prune_global(ctx, w, 2, 6 / 12.0, m));
  assert_true(wtl_shape_equal(wtl_tensor_shape(m[0]), SHAPE(3, 2)));
  assert_mask(m[0], "000110");
  assert_mask(m[1], "001111");
  OK(wtl_prune_global(ctx, w, 0, 0.5, m));
  wtl_tensor_release(t);
  wtl_tensor_release(turned);
  wtl_tensor_release(wide);
}

typedef struct ranked { uint64_t key; int64_t position; } ranked;
static int by_rank(const void *x, const void *y) {
  const ranked *a = x, *b = y;
  if (a->key != b->key) return a->key < b->key ? -1 : 1;
  return a->position < b->position ? -1 : a->position > b->position;
}

/* Against sorting, on values with many ties, subnormals and infinities. */
static void test_prune_sorted(void **state) {
  enum { N = 20000 };
  static ranked order[2 * N];
  (void)state;
  wtl_tensor *w[2] = { normals(WTL_F32, SHAPE(100, 200), "a"), normals(WTL_F32, SHAPE(N), "b") };
  float *v[2] = { wtl_tensor_data(w[0]), wtl_tensor_data(w[1]) };
  for (int i = 0; i < N; i++) {
    v[1][i] = roundf(v[1][i] * 4) / 4;
    if (i % 1000 == 0) v[0][i] = i % 2000 ? INFINITY : -INFINITY;
    if (i % 1000 == 1) v[0][i] = float_of((uint32_t)i / 2);
  }
  for (int64_t i = 0; i < 2 * N; i++) order[i] = (ranked){ bits_of(v[i / N][i % N]) & 0x7fffffff, i };
  qsort(order, 2 * N, sizeof *order, by_rank);
  const double amounts[] = { 0.001, 0.25, 0.5, 0.731, 0.9, 0.9999 };
  for (size_t k = 0; k < sizeof amounts / sizeof *amounts; k++) {
    wtl_tensor *m[2];
    OK(wtl_prune_global(ctx, w, 2, amounts[k], m));
    int64_t gone = (int64_t)floor(amounts[k] * 2 * N);
    for (int64_t i = 0; i < 2 * N; i++) {
      int64_t p = order[i].position;
      assert_int_equal(((const unsigned char *)wtl_tensor_cdata(m[p / N]))[p % N], i >= gone);
    }
    wtl_tensor_release(m[0]);
    wtl_tensor_release(m[1]);
  }
  wtl_tensor_release(w[0]);
  wtl_tensor_release(w[1]);
}

static void test_prune_misuse(void **state) {
  wtl_tensor *w[2] = { normals(WTL_F32, SHAPE(4), "w"), NULL }, *m[2] = { NULL, NULL };
  (void)state;
  OK(wtl_tensor_convert(w[0], WTL_I32, &w[1]));
  FAILS(wtl_prune_global(ctx, w, 1, 1, m), WTL_ERR_ARG, "amount is 1, not 0 <= amount < 1");
  FAILS(wtl_prune_global(ctx, w, 1, -0.1, m), WTL_ERR_ARG, "amount is -0.1");
  FAILS(wtl_prune_global(ctx, w, 1, NAN, m), WTL_ERR_ARG, "amount is nan");
  FAILS(wtl_prune_global(ctx, w, 2, 0.5, m), WTL_ERR_DTYPE, "tensor 2 of 2 is i32");
  ((float *)wtl_tensor_data(w[0]))[2] = NAN;
  FAILS(wtl_prune_global(ctx, w, 1, 0.5, m), WTL_ERR_NUMERIC, "tensor 1 of 1 has a NaN");
  assert_null(m[0]);
  wtl_tensor_release(w[0]);
  wtl_tensor_release(w[1]);
}

/* ---- low rank ---- */

/* The share of |w|^2 that is in w - a.b; a and b may be NULL. */
static double lost(const wtl_tensor *w, const wtl_tensor *a, const wtl_tensor *b) {
  int64_t m = wtl_tensor_shape(w)->size[0], n = wtl_tensor_shape(w)->size[1], r = wtl_tensor_shape(a)->size[1];
  double all = 0, left = 0, wv, av, bv;
  assert_true(wtl_shape_equal(wtl_tensor_shape(a), SHAPE(m, r)) && wtl_shape_equal(wtl_tensor_shape(b), SHAPE(r, n)));
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      OK(wtl_tensor_get(w, (int64_t[]){ i, j }, &wv));
      double x = wv;
      for (int64_t k = 0; k < r; k++) {
        OK(wtl_tensor_get(a, (int64_t[]){ i, k }, &av));
        OK(wtl_tensor_get(b, (int64_t[]){ k, j }, &bv));
        x -= av * bv;
      }
      all += wv * wv;
      left += x * x;
    }
  }
  return all > 0 ? left / all : left;
}

/* diag(4, 2, 1, 0..) in 6 x 9: energies 16, 4, 1 of 21. */
static void test_lowrank_by_hand(void **state) {
  const struct { double energy; int64_t rank; double kept;
  } want[] = {
    { 0.1, 1, 16 / 21.0 },  { 0.76, 1, 16 / 21.0 }, { 0.77, 2, 20 / 21.0 },
    { 0.95, 2, 20 / 21.0 }, { 0.96, 3, 1 },         { 1, 3, 1 },
  };
  wtl_tensor *w = NULL;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F64, SHAPE(6, 9), &w));
  OK(wtl_tensor_set(w, (int64_t[]){ 0, 2 }, 4));
  OK(wtl_tensor_set(w, (int64_t[]){ 5, 0 }, -2));
  OK(wtl_tensor_set(w, (int64_t[]){ 3, 8 }, 1));
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
    wtl_tensor *a = NULL, *b = NULL;
    int64_t rank = -1;
    double kept = -1, av, bv;
    OK(wtl_lowrank(ctx, w, want[i].energy, false, &rank, &kept, &a, &b));
    assert_int_equal(rank, want[i].rank);
    assert_true(fabs(kept - want[i].kept) < 1e-14);
    assert_true(fabs(lost(w, a, b) - (1 - want[i].kept)) < 1e-14);
    OK(wtl_tensor_get(a, (int64_t[]){ 0, 0 }, &av)); /* 4 = 2 * 2: split evenly */
    OK(wtl_tensor_get(b, (int64_t[]){ 0, 2 }, &bv));
    assert_true(fabs(fabs(av) - 2) < 1e-14 && fabs(av * bv - 4) < 1e-14);
    wtl_tensor_release(a);
    wtl_tensor_release(b);
  }
  wtl_tensor_release(w);
}

static void test_lowrank_holds(void **state) {
  const int64_t sizes[][2] = { { 40, 40 }, { 12, 90 }, { 90, 12 }, { 2, 50 }, { 50, 2 } };
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int64_t m = sizes[i][0], n = sizes[i][1];
    wtl_tensor *w = normals(i % 2 ? WTL_F32 : WTL_F64, SHAPE(n, m), "w"), *turned = NULL;
    OK(wtl_tensor_transpose(w, 0, 1, &turned));
    int64_t before = 0;
    for (double energy = 0.05; energy <= 1; energy += 0.095) {
      wtl_tensor *a = NULL, *b = NULL;
      int64_t rank = -1;
      double kept = -1;
      OK(wtl_lowrank(ctx, turned, energy, false, &rank, &kept, &a, &b));
      if (rank == 0) {
        assert_true(!a && !b && kept == 1);
        continue;
      }
      assert_true(rank * (m + n) < m * n);
      assert_true(kept >= energy && kept <= 1 && rank >= before);
      assert_int_equal(wtl_tensor_dtype(a), wtl_tensor_dtype(w));
      double share = lost(turned, a, b);
      assert_true(fabs(share - (1 - kept)) < (i % 2 ? 1e-6 : 1e-12));
      /* minimal: one rank less would keep too little; the last singular value is |a's last column|^2 */
      double last = 0, all = 0, v;
      for (int64_t k = 0; k < m; k++) {
        OK(wtl_tensor_get(a, (int64_t[]){ k, rank - 1 }, &v));
        last += v * v;
      }
      for (int64_t k = 0; k < m * n; k++) {
        OK(wtl_tensor_get(turned, (int64_t[]){ k / n, k % n }, &v));
        all += v * v;
      }
      if (rank > 1) assert_true(kept - last * last / all < energy + 1e-6);
      before = rank;
      wtl_tensor_release(a);
      wtl_tensor_release(b);
    }
    wtl_tensor_release(turned);
    wtl_tensor_release(w);
  }
}

/* Two factors of rank 3 multiplied: energy 1 finds them again, in f32 up to its rounding. */
static void test_lowrank_exact(void **state) {
  wtl_tensor *p = normals(WTL_F64, SHAPE(30, 3), "p"), *q = normals(WTL_F64, SHAPE(3, 20), "q"), *w = NULL, *a = NULL,
             *b = NULL;
  int64_t rank;
  double kept;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F64, SHAPE(30, 20), &w));
  const double *x = wtl_tensor_cdata(p), *y = wtl_tensor_cdata(q);
  double *z = wtl_tensor_data(w);
  for (int i = 0; i < 30; i++) {
    for (int j = 0; j < 20; j++) {
      for (int k = 0; k < 3; k++) z[20 * i + j] += x[3 * i + k] * y[20 * k + j];
    }
  }
  OK(wtl_lowrank(ctx, w, 1, false, &rank, &kept, &a, &b));
  assert_int_equal(rank, 3);
  assert_true(kept == 1 && lost(w, a, b) < 1e-28);
  wtl_tensor *all[] = { p, q, w, a, b };
  for (int i = 0; i < 5; i++) wtl_tensor_release(all[i]);
}

/* Full rank, on request alone: as good as w, though it saves nothing. */
static void test_lowrank_full(void **state) {
  const int64_t sizes[][2] = { { 7, 7 }, { 4, 30 }, { 30, 4 }, { 1, 5 } };
  (void)state;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int64_t m = sizes[i][0], n = sizes[i][1], rank = 0;
    wtl_tensor *w = normals(WTL_F64, SHAPE(m, n), "w"), *a = NULL, *b = NULL;
    double kept = 0;
    OK(wtl_lowrank(ctx, w, NAN, true, &rank, &kept, &a, &b));
    assert_true(rank == (m < n ? m : n) && kept == 1 && lost(w, a, b) < 1e-28);
    wtl_tensor *all[] = { w, a, b };
    for (int k = 0; k < 3; k++) wtl_tensor_release(all[k]);
  }
}

static void test_lowrank_edges(void **state) {
  wtl_tensor *w = NULL, *a = NULL, *b = NULL, *cube = NULL, *none = NULL, *bytes = NULL, *full = NULL;
  int64_t rank = -1;
  double kept = -1;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(5, 7), &w));
  OK(wtl_lowrank(ctx, w, 1, false, &rank, &kept, &a, &b)); /* zeros: rank 1 holds them */
  assert_true(rank == 1 && kept == 1 && lost(w, a, b) == 0);
  wtl_tensor_release(a);
  wtl_tensor_release(b);
  ((float *)wtl_tensor_data(w))[3] = 1e30f; /* its square is no float */
  OK(wtl_lowrank(ctx, w, 1, false, &rank, &kept, &a, &b));
  assert_true(rank == 1 && kept == 1 && lost(w, a, b) < 1e-12);
  wtl_tensor_release(a);
  wtl_tensor_release(b);
  a = b = NULL;
  full = normals(WTL_F32, SHAPE(4, 4), "w");
  OK(wtl_lowrank(ctx, full, 1, false, &rank, &kept, &a, &b)); /* rank 4 of 4: no gain */
  assert_true(rank == 0 && kept == 1 && !a && !b);
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(2, 2, 2), &cube));
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(0, 2), &none));
  OK(wtl_tensor_create(ctx, WTL_U8, SHAPE(2, 2), &bytes));
  FAILS(wtl_lowrank(ctx, cube, 1, false, &rank, &kept, &a, &b), WTL_ERR_SHAPE, "w is [2,2,2], not a matrix");
  FAILS(wtl_lowrank(ctx, none, 1, false, &rank, &kept, &a, &b), WTL_ERR_SHAPE, "w is [0,2]");
  FAILS(wtl_lowrank(ctx, bytes, 1, false, &rank, &kept, &a, &b), WTL_ERR_DTYPE, "w is u8");
  FAILS(wtl_lowrank(ctx, w, 0, false, &rank, &kept, &a, &b), WTL_ERR_ARG, "energy is 0");
  FAILS(wtl_lowrank(ctx, w, 1.01, false, &rank, &kept, &a, &b), WTL_ERR_ARG, "energy is 1.01");
  ((float *)wtl_tensor_data(w))[4] = INFINITY;
  FAILS(wtl_lowrank(ctx, w, 1, false, &rank, &kept, &a, &b), WTL_ERR_NUMERIC, "NaN or an infinity");
  assert_true(rank == 0 && !a && !b);
  wtl_tensor *all[] = { w, cube, none, bytes, full };
  for (int i = 0; i < 5; i++) wtl_tensor_release(all[i]);
}

/* ---- memory ---- */

static wtl_status truncate_it(void *w) { return wtl_truncate(w, 8, WTL_BITS_ZERO, NULL); }

static wtl_status prune_it(void *w) {
  wtl_tensor *m[3] = { NULL, NULL, NULL };
  wtl_status s = wtl_prune_global(ctx, (wtl_tensor *[]){ w, w, w }, 3, 0.5, m);
  if (s != WTL_OK) assert_true(!m[0] && !m[1] && !m[2]);
  for (int i = 0; i < 3; i++) wtl_tensor_release(m[i]);
  return s;
}

static wtl_status lowrank_it(void *w) {
  wtl_tensor *a = NULL, *b = NULL;
  int64_t rank;
  double kept;
  wtl_status s = wtl_lowrank(ctx, w, 0.3, false, &rank, &kept, &a, &b);
  if (s != WTL_OK) assert_true(!a && !b);
  wtl_tensor_release(a);
  wtl_tensor_release(b);
  return s;
}

/* Making a master, and a copy of it all. */
static wtl_status master_it(void *w) {
  wtl_param *p = NULL, *q = NULL;
  wtl_status s = wtl_param_create(ctx, w, WTL_PARAMETER, &p);
  if (s == WTL_OK) s = wtl_param_set_truncation(p, &(wtl_truncation){ .bits = 9, .arm = WTL_BITS_RANDOM, .master = true });
  if (s == WTL_OK) s = wtl_param_constrain(p);
  else if (p) assert_null(wtl_param_master(p));
  if (s == WTL_OK) s = wtl_param_clone(p, &q);
  wtl_param_release(p);
  wtl_param_release(q);
  return s;
}

static void test_memory(void **state) {
  wtl_tensor *w = normals(WTL_F32, SHAPE(20, 30), "w");
  (void)state;
  assert_int_equal(sweep("master", master_it, w), 8);  /* two parameters, three tensors of two blocks */
  assert_int_equal(sweep("truncate", truncate_it, w), 0);
  assert_int_equal(sweep("prune", prune_it, w), 8);    /* a list, a histogram, three masks of two blocks */
  assert_int_equal(sweep("lowrank", lowrank_it, w), 16);
  wtl_tensor_release(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(test_low_bits),      CASE(test_low_bits_by_logical_index), CASE(test_low_bits_statistics),
    CASE(test_param),         CASE(test_param_misuse),
    CASE(test_truncate),      CASE(test_truncate_all),  CASE(test_truncate_misuse), CASE(test_prune),
    CASE(test_prune_strided), CASE(test_prune_sorted),  CASE(test_prune_misuse),    CASE(test_lowrank_by_hand),
    CASE(test_lowrank_holds), CASE(test_lowrank_exact), CASE(test_lowrank_full), CASE(test_lowrank_edges),   CASE(test_memory),
  };
  return cmocka_run_group_tests_name("compress", tests, NULL, NULL);
}
