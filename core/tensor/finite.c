/* Is every number finite? Asked of whole networks when they are loaded, so it looks at bits, many at once, and stops at the
 * first block that holds a NaN or an infinity. */
#include "tensor.h"

#define BLOCK 4096   /* elements between two looks at what was found */
#define GRAIN 262144 /* elements a thread takes at a time */

/* One added to the exponent's lowest bit carries into the sign only where all of the exponent's bits are 1; the sign is
 * masked off before. Branch-free, so compilers vectorize it. */
#define DEFINE_FINITE(name, type, exponent, step)                      \
  static bool name(const void *p, int64_t stride, int64_t n) {         \
    const type *x = p;                                                 \
    for (int64_t i = 0; i < n; i += BLOCK) {                           \
      int64_t end = n - i < BLOCK ? n : i + BLOCK;                     \
      type found = 0;                                                  \
      if (stride == 1)                                                 \
        for (int64_t k = i; k < end; k++) found |= (type)((x[k] & (exponent)) + (step)); \
      else                                                             \
        for (int64_t k = i; k < end; k++) found |= (type)((x[k * stride] & (exponent)) + (step)); \
      if (found >> (8 * sizeof(type) - 1)) return false;               \
    }                                                                  \
    return true;                                                       \
  }
DEFINE_FINITE(finite_f32, uint32_t, 0x7f800000u, 0x00800000u)
DEFINE_FINITE(finite_f64, uint64_t, 0x7ff0000000000000u, 0x0010000000000000u)
DEFINE_FINITE(finite_bf16, uint16_t, 0x7f80u, 0x0080u)
DEFINE_FINITE(finite_f16, uint16_t, 0x7c00u, 0x0400u)

bool wtl_all_finite(wtl_dtype d, const void *p, int64_t stride, int64_t n) {
  switch (d) {
    case WTL_F32: return finite_f32(p, stride, n);
    case WTL_F64: return finite_f64(p, stride, n);
    case WTL_BF16: return finite_bf16(p, stride, n);
    case WTL_F16: return finite_f16(p, stride, n);
    default: return true; /* integers */
  }
}

typedef struct job { const wtl_tensor *t; wtl_walk walk; atomic_bool found; } job;

/* Elements begin..end-1 in logical order. */
static void look(void *arg, int64_t begin, int64_t end, int thread) {
  job *j = arg;
  const wtl_walk *w = &j->walk;
  int64_t length = w->size[w->ndim - 1], stride = w->stride[0][w->ndim - 1], size = (int64_t)wtl_dtype_size(j->t->dtype);
  (void)thread;
  for (int64_t i = begin; i < end && !atomic_load_explicit(&j->found, memory_order_relaxed);) {
    int64_t offset, column = i % length, part = length - column < end - i ? length - column : end - i;
    wtl_walk_row(w, i / length, 1, &offset);
    if (!wtl_all_finite(j->t->dtype, j->t->data + (offset + column * stride) * size, stride, part))
      atomic_store_explicit(&j->found, true, memory_order_relaxed);
    i += part;
  }
}

bool wtl_tensor_all_finite(const wtl_tensor *t) {
  job j = { .t = t };
  if (!wtl_dtype_is_float(t->dtype)) return true;
  atomic_init(&j.found, false);
  wtl_walk_init(&j.walk, 1, &t);
  wtl_parallel(t->ctx, wtl_tensor_numel(t), GRAIN, look, &j);
  return !atomic_load(&j.found);
}
