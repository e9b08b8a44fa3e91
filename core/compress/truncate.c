/* Bit reduction (Mei & Stamp 2025): the low-order bits of each f32's mantissa are cleared. */
#include <string.h>

#include "base.h"
#include "tensor.h"

#define GRAIN 65536

typedef struct span { char *data; int64_t stride; uint32_t keep; } span;

static void truncate_span(void *arg, int64_t begin, int64_t end, int thread) {
  const span *s = arg;
  (void)thread;
  for (int64_t i = begin; i < end; i++) {
    char *p = s->data + i * s->stride * 4;
    uint32_t bits;
    memcpy(&bits, p, 4);
    /* A NaN whose payload stands in the cleared bits would become an infinity. */
    if ((bits & 0x7f800000u) != 0x7f800000u) bits &= s->keep;
    memcpy(p, &bits, 4);
  }
}

wtl_status wtl_truncate(wtl_tensor *t, int bits) {
  if (t->dtype != WTL_F32)
    return wtl_fail(t->ctx, WTL_ERR_DTYPE, "truncate: the tensor is %s, not f32", wtl_dtype_name(t->dtype));
  if (bits < 0 || bits > 23) return wtl_fail(t->ctx, WTL_ERR_ARG, "truncate: bits is %d, not 0 to 23", bits);
  wtl_walk w;
  wtl_walk_init(&w, 1, (const wtl_tensor *const[]){ t });
  int last = w.ndim - 1;
  for (int64_t row = 0; row < w.rows; row++) {
    int64_t offset;
    wtl_walk_row(&w, row, 1, &offset);
    span s = { t->data + offset * 4, w.stride[0][last], ~((UINT32_C(1) << bits) - 1) };
    if (s.stride == 0) truncate_span(&s, 0, 1, 0); /* one element, seen many times */
    else wtl_parallel(t->ctx, w.size[last], GRAIN, truncate_span, &s);
  }
  return WTL_OK;
}
