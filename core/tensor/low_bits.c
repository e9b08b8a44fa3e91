/* The low-order bits of f32 elements: cleared, filled with random bits, or rounded away (Mei & Stamp 2025;
 * stochastic rounding as in Gupta et al. 2015). The one place for this work: wtl_truncate uses it on tensors,
 * graph/param.c on spans of parameters. Which random number an element gets hangs on its logical index alone. */
#include <string.h>

#include "rng.h"
#include "tensor.h"

/* Elements in one chunk of work. */
#define GRAIN 16384
#define SIGN UINT32_C(0x80000000)
#define INF UINT32_C(0x7f800000)

static const char *const arm_name[] = { "zero", "random", "stochastic" };

const char *wtl_bits_arm_name(wtl_bits_arm arm) {
  return (unsigned)arm < sizeof arm_name / sizeof *arm_name ? arm_name[arm] : "?";
}

wtl_status wtl_bits_arm_parse(wtl_ctx *ctx, const char *name, wtl_bits_arm *out) {
  for (int i = 0; i < (int)(sizeof arm_name / sizeof *arm_name); i++)
    if (!strcmp(name, arm_name[i])) {
      *out = (wtl_bits_arm)i;
      return WTL_OK;
    }
  return wtl_fail(ctx, WTL_ERR_ARG, "truncation: arm is \"%s\", not zero, random or stochastic", name);
}

wtl_status wtl_low_bits_check(wtl_ctx *ctx, const char *what, int bits, wtl_bits_arm arm) {
  if (bits < 0 || bits > 23)
    return wtl_fail(ctx, WTL_ERR_ARG, "%s: bits is %d, not 0 to 23: from the 24th on they are exponent and sign",
                    what, bits);
  if ((unsigned)arm > WTL_BITS_STOCHASTIC)
    return wtl_fail(ctx, WTL_ERR_ARG, "%s: there is no arm %d", what, (int)arm);
  return WTL_OK;
}

static inline uint32_t load(const char *p) {
  uint32_t x;
  memcpy(&x, p, sizeof x);
  return x;
}

static inline void store(char *p, uint32_t x) { memcpy(p, &x, sizeof x); }

static inline __attribute__((always_inline)) void clear(char *p, int64_t stride, int64_t n, uint32_t low) {
  for (int64_t i = 0; i < n; i++) {
    uint32_t x = load(p + i * stride);
    /* A NaN with its payload there would become an infinity. */
    store(p + i * stride, (x & INF) == INF ? x : x & ~low);
  }
}

/* The magnitude plus a random number of `low`'s bits, cut off: up with a chance of (what is cut off) / 2^bits, the
 * carry going into the exponent as it must. What would round to infinity is rounded toward 0. */
static uint32_t round_up_or_down(uint32_t x, uint32_t r, uint32_t low) {
  uint32_t magnitude = x & ~SIGN, up = (magnitude + r) & ~low;
  return (x & SIGN) | (up < INF ? up : magnitude & ~low);
}

static void draw(const wtl_low_bits *b, char *p, int64_t stride, int64_t first, int64_t n, uint32_t low) {
  uint32_t number[4];
  if (first % 4) wtl_rng_block(b->rng, (uint64_t)first / 4, number);
  for (int64_t i = 0; i < n; i++) {
    int k = (int)((first + i) % 4);
    if (k == 0) wtl_rng_block(b->rng, (uint64_t)(first + i) / 4, number);
    uint32_t x = load(p + i * stride), r = number[k] >> (32 - b->bits);
    if ((x & INF) == INF) continue;
    store(p + i * stride, b->arm == WTL_BITS_RANDOM ? (x & ~low) | r : round_up_or_down(x, r, low));
  }
}

void wtl_low_bits_apply(const wtl_low_bits *b, void *p, int64_t stride, int64_t first, int64_t n) {
  uint32_t low = (UINT32_C(1) << b->bits) - 1;
  if (!b->bits) return;
  if (b->arm != WTL_BITS_ZERO) draw(b, p, 4 * stride, first, n, low);
  else if (stride == 1) clear(p, 4, n, low);
  else clear(p, 4 * stride, n, low);
}

typedef struct bits_job { wtl_tensor *t; wtl_low_bits b; wtl_walk walk; } bits_job;

static void apply_chunk(void *arg, int64_t begin, int64_t end, int thread) {
  const bits_job *j = arg;
  const wtl_walk *w = &j->walk;
  int64_t length = w->size[w->ndim - 1], stride = w->stride[0][w->ndim - 1], part;
  (void)thread;
  for (int64_t first = begin; first < end; first += part) { /* row by row */
    int64_t offset, column = first % length;
    part = length - column < end - first ? length - column : end - first;
    wtl_walk_row(w, first / length, 1, &offset);
    wtl_low_bits_apply(&j->b, j->t->data + 4 * (offset + column * stride), stride, first, part);
  }
}

wtl_status wtl_truncate(wtl_tensor *t, int bits, wtl_bits_arm arm, const wtl_rng *r) {
  if (t->dtype != WTL_F32)
    return wtl_fail(t->ctx, WTL_ERR_DTYPE, "truncate: the tensor is %s, not f32", wtl_dtype_name(t->dtype));
  WTL_TRY(wtl_low_bits_check(t->ctx, "truncate", bits, arm));
  if (arm != WTL_BITS_ZERO && !r)
    return wtl_fail(t->ctx, WTL_ERR_ARG, "truncate: arm %s needs random numbers", wtl_bits_arm_name(arm));
  WTL_TRY(wtl_tensor_check_writable(t, "truncate"));
  bits_job j = { .t = t, .b = { bits, arm, r } };
  wtl_walk_init(&j.walk, 1, &(const wtl_tensor *){ t });
  wtl_parallel(t->ctx, wtl_tensor_numel(t), GRAIN, apply_chunk, &j);
  return WTL_OK;
}
