/* Tensors and their storage: making, counting references, and looking. */
#include "tensor.h"

/* Where the elements of owned storage begin: one allocation holds both. */
#define DATA_OFFSET 64
_Static_assert(sizeof(wtl_storage) <= DATA_OFFSET, "the storage's header fits before its data");

static void storage_release(wtl_storage *s) {
  if (!s || atomic_fetch_sub(&s->refs, 1) != 1) return;
  if (s->free_fn) s->free_fn(s->arg, s->data);
  wtl_free(s->ctx, s);
}

static wtl_tensor *window(wtl_ctx *ctx, wtl_storage *storage, wtl_dtype d, const wtl_shape *s) {
  wtl_tensor *t = wtl_alloc(ctx, sizeof *t);
  if (!t) return NULL;
  t->ctx = ctx;
  atomic_init(&t->refs, 1);
  t->storage = storage;
  t->data = storage->data;
  t->dtype = d;
  t->shape.ndim = s->ndim;
  for (int i = 0; i < s->ndim; i++) t->shape.size[i] = s->size[i];
  wtl_shape_strides(&t->shape, t->stride);
  return t;
}

wtl_status wtl_tensor_create(wtl_ctx *ctx, wtl_dtype d, const wtl_shape *s, wtl_tensor **out) {
  WTL_TRY(wtl_shape_check(ctx, "tensor", s, d));
  size_t bytes = (size_t)wtl_shape_numel(s) * wtl_dtype_size(d);
  wtl_storage *storage = wtl_alloc(ctx, DATA_OFFSET + bytes);
  if (!storage) return WTL_ERR_MEMORY;
  storage->ctx = ctx;
  atomic_init(&storage->refs, 1);
  storage->data = (char *)storage + DATA_OFFSET;
  wtl_tensor *t = window(ctx, storage, d, s);
  if (!t) {
    storage_release(storage);
    return WTL_ERR_MEMORY;
  }
  *out = t;
  return WTL_OK;
}

wtl_status wtl_tensor_wrap(wtl_ctx *ctx, wtl_dtype d, const wtl_shape *s, void *data, wtl_free_fn free_fn, void *arg,
                           wtl_tensor **out) {
  WTL_TRY(wtl_shape_check(ctx, "tensor", s, d));
  wtl_storage *storage = wtl_alloc(ctx, sizeof *storage);
  if (!storage) return WTL_ERR_MEMORY;
  storage->ctx = ctx;
  atomic_init(&storage->refs, 1);
  storage->data = data;
  wtl_tensor *t = window(ctx, storage, d, s);
  if (!t) {
    storage_release(storage);
    return WTL_ERR_MEMORY;
  }
  storage->free_fn = free_fn; /* set last: a failure leaves the memory with the caller */
  storage->arg = arg;
  *out = t;
  return WTL_OK;
}

wtl_status wtl_tensor_alias(wtl_tensor *t, wtl_tensor **out) {
  wtl_tensor *view = window(t->ctx, t->storage, t->dtype, &t->shape);
  if (!view) return WTL_ERR_MEMORY;
  atomic_fetch_add(&t->storage->refs, 1);
  view->data = t->data;
  for (int d = 0; d < t->shape.ndim; d++) view->stride[d] = t->stride[d];
  *out = view;
  return WTL_OK;
}

wtl_tensor *wtl_tensor_retain(wtl_tensor *t) {
  if (t) atomic_fetch_add(&t->refs, 1);
  return t;
}

void wtl_tensor_release(wtl_tensor *t) {
  if (!t || atomic_fetch_sub(&t->refs, 1) != 1) return;
  storage_release(t->storage);
  wtl_free(t->ctx, t);
}

wtl_ctx *wtl_tensor_ctx(const wtl_tensor *t) { return t->ctx; }
wtl_dtype wtl_tensor_dtype(const wtl_tensor *t) { return t->dtype; }
const wtl_shape *wtl_tensor_shape(const wtl_tensor *t) { return &t->shape; }
const int64_t *wtl_tensor_strides(const wtl_tensor *t) { return t->stride; }
int64_t wtl_tensor_numel(const wtl_tensor *t) { return wtl_shape_numel(&t->shape); }
size_t wtl_tensor_bytes(const wtl_tensor *t) { return (size_t)wtl_tensor_numel(t) * wtl_dtype_size(t->dtype); }
void *wtl_tensor_data(wtl_tensor *t) { return t->data; }
const void *wtl_tensor_cdata(const wtl_tensor *t) { return t->data; }

bool wtl_tensor_contiguous(const wtl_tensor *t) {
  int64_t n = 1;
  bool plain = true;
  for (int d = t->shape.ndim - 1; d >= 0; d--) {
    if (t->shape.size[d] == 0) return true; /* no element is out of place */
    if (t->shape.size[d] != 1 && t->stride[d] != n) plain = false;
    n *= t->shape.size[d];
  }
  return plain;
}

wtl_status wtl_tensor_as_contiguous(wtl_tensor *t, wtl_tensor **out) {
  if (!wtl_tensor_contiguous(t)) return wtl_tensor_clone(t, out);
  *out = wtl_tensor_retain(t);
  return WTL_OK;
}
