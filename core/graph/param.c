/* Parameters: a value, its version, the constraints kept after each update, and the master that updates go to
 * where the value is only made from it; and the stamps by which plans learn that a module changed. */
#include <string.h>

#include "graph.h"
#include "tensor.h"

wtl_status wtl_param_create(wtl_ctx *ctx, wtl_tensor *value, wtl_param_kind kind, wtl_param **out) {
  wtl_dtype d = wtl_tensor_dtype(value);
  if (d != WTL_F32 && d != WTL_F64)
    return wtl_fail(ctx, WTL_ERR_DTYPE, "param: a parameter is f32 or f64, this tensor is %s", wtl_dtype_name(d));
  if (!wtl_tensor_contiguous(value))
    return wtl_fail(ctx, WTL_ERR_ARG, "param: the tensor must be contiguous; clone it first");
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
  wtl_tensor_release(p->master);
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
void wtl_param_truncation(const wtl_param *p, wtl_truncation *out) { *out = p->cut; }
wtl_tensor *wtl_param_master(wtl_param *p) { return p->master; }
uint64_t wtl_param_redraws(const wtl_param *p) { return p->redraws; }

wtl_status wtl_param_clone(wtl_param *p, wtl_param **out) {
  wtl_tensor *value = NULL, *master = NULL, *mask = NULL;
  wtl_param *q = NULL;
  wtl_status s = wtl_tensor_clone(p->value, &value);
  if (s == WTL_OK && p->master) s = wtl_tensor_clone(p->master, &master);
  if (s == WTL_OK && p->mask) s = wtl_tensor_clone(p->mask, &mask);
  if (s == WTL_OK) s = wtl_param_create(p->ctx, value, p->kind, &q);
  if (s == WTL_OK) {
    q->requires_grad = p->requires_grad;
    q->cut = p->cut;
    q->redraws = p->redraws;
    q->master = wtl_tensor_retain(master);
    q->mask = wtl_tensor_retain(mask);
    *out = q;
  }
  wtl_tensor_release(value);
  wtl_tensor_release(master);
  wtl_tensor_release(mask);
  return s;
}

wtl_status wtl_param_assign(wtl_param *p, const wtl_tensor *value) {
  char a[96], b[96];
  if (!wtl_shape_equal(wtl_tensor_shape(p->value), wtl_tensor_shape(value)))
    return wtl_fail(p->ctx, WTL_ERR_SHAPE, "param: it has shape %s, the value has %s",
                    wtl_shape_text(wtl_tensor_shape(p->value), a, sizeof a),
                    wtl_shape_text(wtl_tensor_shape(value), b, sizeof b));
  WTL_TRY(wtl_tensor_copy(p->value, value));
  p->version++;
  return p->master ? wtl_tensor_copy(p->master, p->value) : WTL_OK; /* of one type and apart: cannot fail */
}

wtl_status wtl_param_adopt(wtl_param *p, wtl_tensor *value) {
  bool alone = atomic_load(&value->storage->refs) == 1 && !value->storage->free_fn && /* and no parameter has it already: */
               atomic_load(&value->refs) == 1 && value->data == (char *)value->storage->data;
  if (!alone || !wtl_tensor_contiguous(value) || wtl_tensor_dtype(value) != wtl_tensor_dtype(p->value) ||
      !wtl_shape_equal(wtl_tensor_shape(value), wtl_tensor_shape(p->value)))
    return wtl_param_assign(p, value);
  wtl_tensor_retain(value);
  wtl_tensor_release(p->value);
  p->value = value;
  p->version++;
  p->moves++;
  return p->master ? wtl_tensor_copy(p->master, p->value) : WTL_OK;
}

wtl_status wtl_param_convert(wtl_param *p, wtl_dtype d) {
  wtl_tensor *t;
  if (d != WTL_F32 && d != WTL_F64)
    return wtl_fail(p->ctx, WTL_ERR_DTYPE, "param: a parameter is f32 or f64, not %s", wtl_dtype_name(d));
  if (d == wtl_tensor_dtype(p->value)) return WTL_OK;
  if (d == WTL_F64 && p->cut.bits)
    return wtl_fail(p->ctx, WTL_ERR_ARG, "param: its low bits are truncated, which is defined for f32 alone");
  WTL_TRY(wtl_tensor_convert(p->value, d, &t));
  wtl_tensor_release(p->value);
  p->value = t;
  p->version++;
  p->moves++;
  return WTL_OK;
}

wtl_status wtl_param_set_mask(wtl_param *p, wtl_tensor *mask) {
  char a[96], b[96];
  if (mask && wtl_tensor_dtype(mask) != WTL_U8)
    return wtl_fail(p->ctx, WTL_ERR_DTYPE, "mask: it must be u8, not %s", wtl_dtype_name(wtl_tensor_dtype(mask)));
  if (mask && !wtl_tensor_contiguous(mask)) return wtl_fail(p->ctx, WTL_ERR_ARG, "mask: it must be contiguous");
  if (mask && !wtl_shape_equal(wtl_tensor_shape(mask), wtl_tensor_shape(p->value)))
    return wtl_fail(p->ctx, WTL_ERR_SHAPE, "mask: the parameter has shape %s, the mask has %s",
                    wtl_shape_text(wtl_tensor_shape(p->value), a, sizeof a),
                    wtl_shape_text(wtl_tensor_shape(mask), b, sizeof b));
  wtl_tensor_release(p->mask);
  p->mask = wtl_tensor_retain(mask);
  return WTL_OK;
}

wtl_status wtl_param_set_truncation(wtl_param *p, const wtl_truncation *t) {
  static const wtl_truncation none;
  wtl_tensor *master = NULL;
  if (!t) t = &none;
  WTL_TRY(wtl_low_bits_check(p->ctx, "truncation", t->bits, t->arm));
  if (t->bits && wtl_tensor_dtype(p->value) != WTL_F32)
    return wtl_fail(p->ctx, WTL_ERR_DTYPE, "truncation: the parameter is %s; it is defined for f32",
                    wtl_dtype_name(wtl_tensor_dtype(p->value)));
  if (!memchr(t->name, 0, sizeof t->name)) return wtl_fail(p->ctx, WTL_ERR_ARG, "truncation: the name has no end");
  if (!t->bits) t = &none;
  if (t->master && p->master) master = wtl_tensor_retain(p->master);
  else if (t->master) WTL_TRY(wtl_tensor_clone(p->value, &master));
  p->moves += master != p->master;
  wtl_tensor_release(p->master);
  p->master = master;
  p->cut = *t;
  return WTL_OK;
}

typedef struct constrain_job {
  char *value;
  const char *master;  /* NULL: the value itself is constrained */
  const uint8_t *mask; /* or NULL */
  size_t size;
  wtl_low_bits bits;
} constrain_job;

static void constrain_span(void *arg, int64_t begin, int64_t end, int thread) {
  constrain_job *j = arg;
  size_t at = (size_t)begin * j->size, bytes = (size_t)(end - begin) * j->size;
  (void)thread;
  if (j->master) memcpy(j->value + at, j->master + at, bytes);
  wtl_low_bits_apply(&j->bits, j->value + at, 1, begin, end - begin);
  if (j->mask && j->size == sizeof(float)) {
    float *w = (float *)(void *)j->value;
    for (int64_t i = begin; i < end; i++) w[i] = j->mask[i] ? w[i] : 0;
  } else if (j->mask) {
    double *w = (double *)(void *)j->value;
    for (int64_t i = begin; i < end; i++) w[i] = j->mask[i] ? w[i] : 0;
  }
}

wtl_status wtl_param_constrain(wtl_param *p) {
  if (!p->mask && !p->cut.bits) return WTL_OK;
  bool draws = p->cut.bits && p->cut.arm != WTL_BITS_ZERO;
  wtl_rng rng = draws ? wtl_rng_make(p->cut.seed, "scr", p->cut.name, p->redraws) : (wtl_rng){ { 0 }, { 0 } };
  constrain_job j = { .value = wtl_tensor_data(p->value), .size = wtl_dtype_size(wtl_tensor_dtype(p->value)),
                      .bits = { p->cut.bits, p->cut.arm, &rng } };
  if (p->master) j.master = wtl_tensor_cdata(p->master);
  if (p->mask) j.mask = wtl_tensor_cdata(p->mask);
  wtl_parallel(p->ctx, wtl_tensor_numel(p->value), WTL_SPAN, constrain_span, &j);
  p->redraws += draws;
  p->version++;
  return WTL_OK;
}

/* A draw of a value that it drew before changes nothing: the bits above are the same, and rounded ones stay
 * rounded. */
wtl_status wtl_param_set_redraws(wtl_param *p, uint64_t n) {
  p->redraws = n;
  if (!n || !p->cut.bits || p->cut.arm == WTL_BITS_ZERO) return WTL_OK;
  p->redraws--;
  return wtl_param_constrain(p);
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
