/* Parameters: a master tensor, its version, and the constraints kept after each update; and the
 * stamps by which plans learn that a module changed. */
#include <string.h>

#include "graph.h"

wtl_status wtl_param_create(wtl_ctx *ctx, wtl_tensor *value, wtl_param_kind kind, wtl_param **out) {
  wtl_dtype d = wtl_tensor_dtype(value);
  if (d != WTL_F32 && d != WTL_F64)
    return wtl_fail(ctx, WTL_ERR_DTYPE, "param: a parameter is f32 or f64, this tensor is %s", wtl_dtype_name(d));
  if (!wtl_tensor_contiguous(value)) return wtl_fail(ctx, WTL_ERR_ARG, "param: the tensor must be contiguous; clone it first");
  wtl_param *p = wtl_alloc(ctx, sizeof *p);
  if (!p) return WTL_ERR_MEMORY;
  p->ctx = ctx;
  p->refs = 1;
  p->value = wtl_tensor_retain(value);
  p->kind = kind;
  p->requires_grad = kind == WTL_PARAMETER;
  p->version = 1;
  *out = p;
  return WTL_OK;
}

wtl_param *wtl_param_retain(wtl_param *p) {
  if (p) p->refs++;
  return p;
}

void wtl_param_release(wtl_param *p) {
  if (!p || --p->refs > 0) return;
  wtl_tensor_release(p->value);
  wtl_tensor_release(p->mask);
  wtl_free(p->ctx, p);
}

wtl_tensor *wtl_param_tensor(wtl_param *p) { return p->value; }
wtl_param_kind wtl_param_kind_of(const wtl_param *p) { return p->kind; }
uint64_t wtl_param_version(const wtl_param *p) { return p->version; }
void wtl_param_touch(wtl_param *p) { p->version++; }
bool wtl_param_requires_grad(const wtl_param *p) { return p->requires_grad; }
void wtl_param_set_requires_grad(wtl_param *p, bool on) { p->requires_grad = on && p->kind == WTL_PARAMETER; }
wtl_tensor *wtl_param_mask(wtl_param *p) { return p->mask; }
int wtl_param_truncation(const wtl_param *p) { return p->truncation; }

wtl_status wtl_param_clone(wtl_param *p, wtl_param **out) {
  wtl_tensor *value = NULL, *mask = NULL;
  wtl_param *q = NULL;
  wtl_status s = wtl_tensor_clone(p->value, &value);
  if (s == WTL_OK && p->mask) s = wtl_tensor_clone(p->mask, &mask);
  if (s == WTL_OK) s = wtl_param_create(p->ctx, value, p->kind, &q);
  if (s == WTL_OK) {
    q->requires_grad = p->requires_grad;
    q->truncation = p->truncation;
    q->mask = wtl_tensor_retain(mask);
    *out = q;
  }
  wtl_tensor_release(value);
  wtl_tensor_release(mask);
  return s;
}

wtl_status wtl_param_assign(wtl_param *p, const wtl_tensor *value) {
  char a[96], b[96];
  if (!wtl_shape_equal(wtl_tensor_shape(p->value), wtl_tensor_shape(value)))
    return wtl_fail(p->ctx, WTL_ERR_SHAPE, "param: it has shape %s, the value has %s",
                    wtl_shape_text(wtl_tensor_shape(p->value), a, sizeof a), wtl_shape_text(wtl_tensor_shape(value), b, sizeof b));
  WTL_TRY(wtl_tensor_copy(p->value, value));
  p->version++;
  return WTL_OK;
}

wtl_status wtl_param_convert(wtl_param *p, wtl_dtype d) {
  wtl_tensor *t;
  if (d != WTL_F32 && d != WTL_F64)
    return wtl_fail(p->ctx, WTL_ERR_DTYPE, "param: a parameter is f32 or f64, not %s", wtl_dtype_name(d));
  if (d == wtl_tensor_dtype(p->value)) return WTL_OK;
  if (d == WTL_F64 && p->truncation)
    return wtl_fail(p->ctx, WTL_ERR_ARG, "param: its low bits are truncated, which is defined for f32 alone");
  WTL_TRY(wtl_tensor_convert(p->value, d, &t));
  wtl_tensor_release(p->value);
  p->value = t;
  p->version++;
  return WTL_OK;
}

wtl_status wtl_param_set_mask(wtl_param *p, wtl_tensor *mask) {
  char a[96], b[96];
  if (mask && wtl_tensor_dtype(mask) != WTL_U8)
    return wtl_fail(p->ctx, WTL_ERR_DTYPE, "mask: it must be u8, not %s", wtl_dtype_name(wtl_tensor_dtype(mask)));
  if (mask && !wtl_tensor_contiguous(mask)) return wtl_fail(p->ctx, WTL_ERR_ARG, "mask: it must be contiguous");
  if (mask && !wtl_shape_equal(wtl_tensor_shape(mask), wtl_tensor_shape(p->value)))
    return wtl_fail(p->ctx, WTL_ERR_SHAPE, "mask: the parameter has shape %s, the mask has %s",
                    wtl_shape_text(wtl_tensor_shape(p->value), a, sizeof a), wtl_shape_text(wtl_tensor_shape(mask), b, sizeof b));
  wtl_tensor_release(p->mask);
  p->mask = wtl_tensor_retain(mask);
  return WTL_OK;
}

wtl_status wtl_param_set_truncation(wtl_param *p, int bits) {
  if (bits < 0 || bits > 23)
    return wtl_fail(p->ctx, WTL_ERR_ARG, "truncation: %d bits; 0 to 23, since bit 24 and above are exponent and sign", bits);
  if (bits && wtl_tensor_dtype(p->value) != WTL_F32)
    return wtl_fail(p->ctx, WTL_ERR_DTYPE, "truncation: the parameter is %s; it is defined for f32", wtl_dtype_name(wtl_tensor_dtype(p->value)));
  p->truncation = bits;
  return WTL_OK;
}

typedef struct constrain_job { wtl_param *p; char *data; const uint8_t *mask; size_t size; uint32_t keep; } constrain_job;

static void constrain_span(void *arg, int64_t begin, int64_t end, int thread) {
  constrain_job *j = arg;
  (void)thread;
  if (j->mask && j->size == sizeof(float)) {
    float *w = (float *)j->data;
    for (int64_t i = begin; i < end; i++) w[i] = j->mask[i] ? w[i] : 0;
  } else if (j->mask) {
    double *w = (double *)j->data;
    for (int64_t i = begin; i < end; i++) w[i] = j->mask[i] ? w[i] : 0;
  }
  if (j->p->truncation) {
    uint32_t *w = (uint32_t *)j->data;
    for (int64_t i = begin; i < end; i++) {
      bool finite = (w[i] & 0x7f800000u) != 0x7f800000u; /* a NaN must not become an infinity */
      w[i] &= finite ? j->keep : 0xffffffffu;
    }
  }
}

wtl_status wtl_param_constrain(wtl_param *p) {
  constrain_job j = { p, wtl_tensor_data(p->value), p->mask ? wtl_tensor_cdata(p->mask) : NULL,
                      wtl_dtype_size(wtl_tensor_dtype(p->value)), ~((UINT32_C(1) << p->truncation) - 1) };
  if (!p->mask && !p->truncation) return WTL_OK;
  wtl_parallel(p->ctx, wtl_tensor_numel(p->value), WTL_SPAN, constrain_span, &j);
  p->version++;
  return WTL_OK;
}

wtl_status wtl_stamp_create(wtl_ctx *ctx, wtl_stamp **out) {
  wtl_stamp *s = wtl_alloc(ctx, sizeof *s);
  if (!s) return WTL_ERR_MEMORY;
  s->ctx = ctx;
  s->refs = 1;
  *out = s;
  return WTL_OK;
}

wtl_stamp *wtl_stamp_retain(wtl_stamp *s) {
  if (s) s->refs++;
  return s;
}

void wtl_stamp_release(wtl_stamp *s) {
  if (s && --s->refs == 0) wtl_free(s->ctx, s);
}

void wtl_stamp_bump(wtl_stamp *s) { s->count++; }
