/* Global magnitude pruning (Han et al. 2015): one threshold for all tensors together. The threshold is found digit by digit
 * from the top (radix selection), so there is no sorting, no copy of the weights, and no tie that order could decide. */
#include <math.h>
#include <string.h>

#include "base.h"
#include "tensor.h"

#define DIGIT_BITS 16
#define DIGITS (1 << DIGIT_BITS)
#define SIGN (UINT64_C(1) << 63)
#define INF_BITS UINT64_C(0x7ff0000000000000)

/* Bits of |w| as a double: they order as the magnitudes do, and f32 fits exactly. */
static uint64_t key_of(wtl_dtype d, const char *p) {
  double x;
  float f;
  uint64_t bits;
  if (d == WTL_F32) {
    memcpy(&f, p, sizeof f);
    x = (double)f;
  } else {
    memcpy(&x, p, sizeof x);
  }
  memcpy(&bits, &x, sizeof bits);
  return bits & ~SIGN;
}

/* Calls fn for each element in logical order; fn returns false to stop. Inlined, so that fn is too. */
typedef bool (*visit_fn)(void *arg, uint64_t key);
static inline __attribute__((always_inline)) bool visit(const wtl_tensor *t, visit_fn fn, void *arg) {
  wtl_walk w;
  int64_t size = (int64_t)wtl_dtype_size(t->dtype);
  wtl_walk_init(&w, 1, (const wtl_tensor *const[]){ t });
  int last = w.ndim - 1;
  for (int64_t row = 0; row < w.rows; row++) {
    int64_t offset;
    wtl_walk_row(&w, row, 1, &offset);
    for (int64_t i = 0; i < w.size[last]; i++) {
      if (!fn(arg, key_of(t->dtype, t->data + (offset + i * w.stride[0][last]) * size))) return false;
    }
  }
  return true;
}

static bool is_number(void *arg, uint64_t key) {
  (void)arg;
  return key <= INF_BITS;
}

static wtl_status check(wtl_ctx *ctx, wtl_tensor *const w[], int n, double amount, int64_t *total) {
  if (!(amount >= 0 && amount < 1))
    return wtl_fail(ctx, WTL_ERR_ARG, "prune: amount is %g, not 0 <= amount < 1", amount);
  for (int i = 0; i < n; i++) {
    if (w[i]->dtype != WTL_F32 && w[i]->dtype != WTL_F64) {
      return wtl_fail(ctx, WTL_ERR_DTYPE, "prune: tensor %d of %d is %s, not f32 or f64", i + 1, n,
                      wtl_dtype_name(w[i]->dtype));
    }
    if (!visit(w[i], is_number, NULL))
      return wtl_fail(ctx, WTL_ERR_NUMERIC, "prune: tensor %d of %d has a NaN", i + 1, n);
    *total += wtl_tensor_numel(w[i]);
  }
  return WTL_OK;
}

/* Counts the elements that have the threshold's digits above `shift`, by their next digit. */
typedef struct histogram { uint64_t above; int shift; int64_t *count; } histogram;

static bool count_digit(void *arg, uint64_t key) {
  histogram *h = arg;
  uint64_t shifted = key >> h->shift;
  if (shifted >> DIGIT_BITS == h->above) h->count[shifted & (DIGITS - 1)]++;
  return true;
}

/* Elements below `threshold` go, and the first `ties` of those equal to it. */
typedef struct cut { uint64_t threshold; int64_t ties; } cut;

/* The k smallest of all, 1 <= k <= total. */
static wtl_status find_cut(wtl_ctx *ctx, wtl_tensor *const w[], int n, int64_t k, cut *out) {
  histogram h = { 0, 64, wtl_calloc(ctx, DIGITS, sizeof *h.count) };
  if (!h.count) return WTL_ERR_MEMORY;
  while (h.shift > 0) {
    h.shift -= DIGIT_BITS;
    memset(h.count, 0, DIGITS * sizeof *h.count);
    for (int i = 0; i < n; i++) visit(w[i], count_digit, &h);
    uint64_t digit = 0;
    while (h.count[digit] < k) k -= h.count[digit++];
    h.above = h.above << DIGIT_BITS | digit;
  }
  wtl_free(ctx, h.count);
  *out = (cut){ h.above, k };
  return WTL_OK;
}

typedef struct writer { cut *cut; unsigned char *mask; } writer;

static bool write_mask(void *arg, uint64_t key) {
  writer *m = arg;
  bool goes = key < m->cut->threshold || (key == m->cut->threshold && m->cut->ties > 0);
  if (goes && key == m->cut->threshold) m->cut->ties--;
  *m->mask++ = !goes;
  return true;
}

wtl_status wtl_prune_global(wtl_ctx *ctx, wtl_tensor *const w[], int n, double amount, wtl_tensor *masks[]) {
  int64_t total = 0;
  cut c = { 0, 0 };
  int made = 0;
  WTL_TRY(check(ctx, w, n, amount, &total));
  wtl_tensor **mask = wtl_calloc(ctx, (size_t)n + 1, sizeof *mask);
  if (!mask) return WTL_ERR_MEMORY;
  int64_t k = (int64_t)floor(amount * (double)total);
  wtl_status s = k > 0 ? find_cut(ctx, w, n, k, &c) : WTL_OK;
  for (; s == WTL_OK && made < n; made += s == WTL_OK) s = wtl_tensor_create(ctx, WTL_U8, &w[made]->shape, &mask[made]);
  for (int i = 0; s == WTL_OK && i < n; i++) {
    visit(w[i], write_mask, &(writer){ &c, wtl_tensor_data(mask[i]) });
    masks[i] = mask[i];
  }
  for (int i = 0; s != WTL_OK && i < made; i++) wtl_tensor_release(mask[i]);
  wtl_free(ctx, mask);
  return s;
}
