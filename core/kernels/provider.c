/* The list of providers and the reference one, which wraps the ops' own kernels. Pointwise ops run
 * on any provider's layout, padding and all, since f(0) = 0. */
#include <string.h>

#include "provider.h"

wtl_status wtl_providers(wtl_ctx *ctx, const char *backend, wtl_dtype real, const wtl_provider *out[4]) {
  int n = 0;
  bool all = !backend || !strcmp(backend, "auto");
  bool onednn = all || !strcmp(backend, "onednn");
  bool blas = onednn || !strcmp(backend, "blas");
  if (!blas && strcmp(backend, "reference") != 0)
    return wtl_fail(ctx, WTL_ERR_ARG, "backend: \"%s\" is unknown; it is one of auto, onednn, blas, reference", backend);
#ifdef WTL_ONEDNN
  if (onednn && real == WTL_F32) out[n++] = &wtl_provider_onednn;
#else
  if (onednn && !all) return wtl_fail(ctx, WTL_ERR_UNSUPPORTED, "backend: this build has no oneDNN; use auto or blas");
#endif
  if (blas && real == WTL_F32) out[n++] = &wtl_provider_blas;
  out[n++] = &wtl_provider_reference;
  out[n] = NULL;
  return WTL_OK;
}

int64_t wtl_layout_count(const wtl_layout *l, const wtl_shape *s) { return l ? l->count : wtl_shape_numel(s); }

typedef struct reference_kernel {
  wtl_kernel base;
  const wtl_op_kernels *plain;
  int64_t count; /* pointwise on a provider's layout: elements with padding; else -1 */
  int64_t samples; /* among which they are shared out; 1 where that does not matter */
} reference_kernel;

/* Views as the samples, and one flat axis of all stored elements of each. */
static void flat(wtl_view *v, int64_t count, int64_t samples) {
  v->ndim = 2;
  v->size[0] = samples;
  v->size[1] = v->stride[0] = count / samples;
  v->stride[1] = 1;
}

static void flat_call(wtl_call *c, int64_t count, int64_t samples) {
  for (int i = 0; i < c->n_in; i++) flat(&c->in[i], count, samples), flat(&c->din[i], count, samples);
  for (int i = 0; i < c->n_out; i++) flat(&c->out[i], count, samples), flat(&c->dout[i], count, samples);
}

static wtl_status run(wtl_kernel *k, wtl_call *c, wtl_status (*fn)(wtl_call *)) {
  const reference_kernel *r = (const reference_kernel *)k;
  if (r->count >= 0) flat_call(c, r->count, r->samples);
  return fn(c);
}

static wtl_status forward(wtl_kernel *k, wtl_call *c) { return run(k, c, ((reference_kernel *)k)->plain->forward); }
static wtl_status backward(wtl_kernel *k, wtl_call *c) { return run(k, c, ((reference_kernel *)k)->plain->backward); }
static wtl_status commit(wtl_kernel *k, wtl_call *c) { return run(k, c, ((reference_kernel *)k)->plain->commit); }
static void destroy(wtl_kernel *k) { wtl_free(k->ctx, k); }

/* A provider's layout among the inputs that every input can share. */
static const wtl_layout *common_layout(const wtl_bind *b) {
  const wtl_layout *l = NULL;
  if (!(b->op->flags & WTL_OP_POINTWISE)) return NULL;
  for (int i = 0; i < b->n_in; i++) {
    if (!b->present[i] || !wtl_shape_equal(&b->in[i], &b->in[0])) return NULL;
    if (!l) l = b->in_layout[i];
  }
  if (l && b->op->flags & WTL_OP_SAMPLES && !l->block) return NULL; /* samples may not come one after the other */
  return l;
}

static wtl_status bind(wtl_bind *b, wtl_kernel **out) {
  reference_kernel *k = wtl_alloc(b->ctx, sizeof *k);
  if (!k) return WTL_ERR_MEMORY;
  const wtl_layout *l = common_layout(b);
  k->plain = wtl_op_kernels_of(b->op, b->real);
  k->base = (wtl_kernel){ &wtl_provider_reference, "plain", forward, k->plain->backward ? backward : NULL,
                          k->plain->commit ? commit : NULL, destroy, b->ctx };
  k->count = -1;
  if (l) {
    k->count = l->count;
    k->samples = b->op->flags & WTL_OP_SAMPLES && b->in[0].size[0] > 0 ? b->in[0].size[0] : 1;
    for (int i = 0; i < b->n_in; i++) b->in_want[i] = b->back_want[i] = b->din_layout[i] = l;
    for (int i = 0; i < b->n_out; i++) b->out_layout[i] = l;
  }
  *out = &k->base;
  return WTL_OK;
}

static wtl_status open_(wtl_ctx *ctx, wtl_engine **out) {
  wtl_engine *e = wtl_alloc(ctx, sizeof *e);
  if (!e) return WTL_ERR_MEMORY;
  *e = (wtl_engine){ &wtl_provider_reference, ctx };
  *out = e;
  return WTL_OK;
}

static void close_(wtl_engine *e) { wtl_free(e->ctx, e); }

const wtl_provider wtl_provider_reference = { "reference", open_, close_, bind, NULL };
