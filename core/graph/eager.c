/* Ops run at once, without a graph: shapes are checked as in tracing, operands made plain where a kernel needs it,
 * results are fresh tensors. The vector-Jacobian product runs forward and backward and keeps nothing. */
#include <string.h>

#include "provider.h"
#include "tensor.h"

/* One call and what it holds. Cleared by `finish`, whatever happened. */
typedef struct eager {
  const wtl_op_kernels *kernels;
  wtl_kernel *fast; /* OpenBLAS's, which reads plain layouts; NULL: the op's own kernels */
  wtl_infer infer;
  wtl_call call;
  wtl_tensor *in[WTL_MAX_IN], *out[WTL_MAX_OUT], *dout[WTL_MAX_OUT], *din[WTL_MAX_IN];
} eager;

static wtl_view view_of(wtl_tensor *t) {
  wtl_view v = { .data = t->data, .dtype = t->dtype, .ndim = t->shape.ndim };
  memcpy(v.size, t->shape.size, sizeof v.size);
  memcpy(v.stride, t->stride, sizeof v.stride);
  return v;
}

/* What the op computes in: the type of its first input that is no label. */
static wtl_dtype computes_in(const wtl_op *op, wtl_tensor *const in[], int n_in) {
  for (int i = 0; i < n_in && i < op->n_in; i++)
    if (in[i] && !(op->labels >> i & 1)) return in[i]->dtype;
  return WTL_F32;
}

static wtl_status infer(eager *e, wtl_ctx *ctx, const wtl_op *op, const wtl_attr *attrs, wtl_tensor *const in[],
                        int n_in) {
  wtl_infer *f = &e->infer;
  if (wtl_op_internal(op)) return wtl_fail(ctx, WTL_ERR_ARG, "%s: written by plans only", op->name);
  f->ctx = ctx;
  f->op = op;
  f->attr = attrs;
  f->n_in = n_in;
  f->real = computes_in(op, in, n_in);
  for (int i = 0; i < n_in && i < op->n_in; i++) {
    if (!in[i]) continue;
    f->present[i] = true;
    f->in[i] = in[i]->shape;
    f->in_dtype[i] = in[i]->dtype;
  }
  return wtl_op_infer(f);
}

static wtl_status buffer(wtl_ctx *ctx, size_t bytes, void **out) {
  if (bytes == 0) return WTL_OK;
  *out = wtl_alloc(ctx, bytes);
  return *out ? WTL_OK : WTL_ERR_MEMORY;
}

/* Take OpenBLAS's kernel where it has one; its scratch replaces what the rule asked for. */
static wtl_status bind_fast(eager *e, const bool want[]) {
  wtl_infer *f = &e->infer;
  wtl_bind b = { .ctx = f->ctx, .op = f->op, .attr = f->attr, .n_in = f->op->n_in, .n_out = f->op->n_out,
                 .real = f->real, .backward = want != NULL };
  memcpy(b.present, f->present, sizeof b.present);
  memcpy(b.in, f->in, sizeof b.in);
  memcpy(b.out, f->out, sizeof b.out);
  if (want) memcpy(b.want_din, want, sizeof(bool) * (size_t)f->n_in);
  wtl_status s = wtl_provider_blas.bind(&b, &e->fast);
  if (s == WTL_OK) f->scratch_bytes = b.scratch_bytes, f->saved_bytes = 0;
  return s == WTL_ERR_UNSUPPORTED ? WTL_OK : s;
}

/* Random ops draw from a stream of their own each run; a gradient is that of the latest run. */
static void draw(eager *e, bool again) {
  const wtl_op *op = e->infer.op;
  wtl_random *r = wtl_random_of(e->infer.ctx);
  if (!(op->flags & WTL_OP_RANDOM)) return;
  uint64_t k = !again ? r->runs++ : r->runs ? r->runs - 1 : 0;
  e->call.rng = wtl_rng_make(r->seed, op->name, "", k);
}

static wtl_status run_forward(eager *e) {
  return e->fast ? e->fast->forward(e->fast, &e->call) : e->kernels->forward(&e->call);
}

static wtl_status run_backward(eager *e) {
  return e->fast ? e->fast->backward(e->fast, &e->call) : e->kernels->backward(&e->call);
}

/* Everything a forward needs; `keep`: with what backward or commit will read; want: the gradients, or NULL. */
static wtl_status prepare(eager *e, wtl_ctx *ctx, const wtl_op *op, const wtl_attr *attrs, wtl_tensor *const in[],
                          int n_in, bool keep, const bool want[]) {
  WTL_TRY(infer(e, ctx, op, attrs, in, n_in));
  wtl_call *c = &e->call;
  e->kernels = wtl_op_kernels_of(op, e->infer.real);
  WTL_TRY(bind_fast(e, want));
  c->ctx = ctx;
  c->attr = attrs;
  c->n_in = op->n_in;
  c->n_out = op->n_out;
  for (int i = 0; i < n_in; i++) {
    if (!in[i]) continue;
    if (op->flags & WTL_OP_STRIDED) e->in[i] = wtl_tensor_retain(in[i]);
    else WTL_TRY(wtl_tensor_as_contiguous(in[i], &e->in[i]));
    c->in[i] = view_of(e->in[i]);
  }
  for (int j = 0; j < op->n_out; j++) {
    WTL_TRY(wtl_tensor_create(ctx, e->infer.out_dtype[j], &e->infer.out[j], &e->out[j]));
    c->out[j] = view_of(e->out[j]);
  }
  if (keep) WTL_TRY(buffer(ctx, e->infer.saved_bytes, &c->saved));
  return buffer(ctx, e->infer.scratch_bytes, &c->scratch);
}

static void finish(eager *e) {
  for (int i = 0; i < WTL_MAX_IN; i++) wtl_tensor_release(e->in[i]), wtl_tensor_release(e->din[i]);
  for (int j = 0; j < WTL_MAX_OUT; j++) wtl_tensor_release(e->out[j]), wtl_tensor_release(e->dout[j]);
  if (e->fast) e->fast->destroy(e->fast);
  if (!e->call.ctx) return;
  wtl_free(e->call.ctx, e->call.saved);
  wtl_free(e->call.ctx, e->call.scratch);
}

/* Running statistics were changed in place, or in a plain copy of them. */
static wtl_status commit(eager *e, const wtl_op *op, wtl_tensor *const in[], int n_in) {
  WTL_TRY(e->kernels->commit(&e->call));
  for (int i = 0; i < n_in; i++)
    if ((op->state >> i & 1) && e->in[i] != in[i]) WTL_TRY(wtl_tensor_copy(in[i], e->in[i]));
  return WTL_OK;
}

wtl_status wtl_op_run(wtl_ctx *ctx, const wtl_op *op, const wtl_attr attrs[WTL_MAX_ATTRS], wtl_tensor *const in[],
                      int n_in, wtl_tensor *out[]) {
  eager e = { .kernels = NULL };
  wtl_status s = prepare(&e, ctx, op, attrs, in, n_in, op->state != 0, NULL);
  if (s == WTL_OK) draw(&e, false);
  if (s == WTL_OK) s = run_forward(&e);
  if (s == WTL_OK && e.kernels->commit) s = commit(&e, op, in, n_in);
  for (int j = 0; s == WTL_OK && j < op->n_out; j++) {
    out[j] = e.out[j];
    e.out[j] = NULL;
  }
  finish(&e);
  return s;
}

static wtl_status check_want(const wtl_infer *f, const bool want[]) {
  const wtl_op *op = f->op;
  if (!wtl_op_differentiable(op)) return wtl_fail(f->ctx, WTL_ERR_ARG, "%s: it has no gradient", op->name);
  for (int i = 0; i < f->n_in; i++) {
    if (!want[i] || (f->present[i] && !((op->labels | op->state) >> i & 1))) continue;
    return wtl_fail(f->ctx, WTL_ERR_ARG, "%s: %s %s, so it has no gradient", op->name, op->in_name[i],
                    !f->present[i] ? "is absent" : op->labels >> i & 1 ? "holds labels" : "is state");
  }
  return WTL_OK;
}

static wtl_status take_dout(eager *e, wtl_tensor *const dout[], bool *any) {
  const wtl_infer *f = &e->infer;
  char a[WTL_SHAPE_TEXT], b[WTL_SHAPE_TEXT];
  for (int j = 0; j < f->op->n_out; j++) {
    if (!dout[j]) continue;
    if (!wtl_shape_equal(&dout[j]->shape, &f->out[j]) || dout[j]->dtype != f->out_dtype[j])
      return wtl_fail(f->ctx, WTL_ERR_SHAPE, "%s: the output's gradient is %s %s, the output is %s %s",
                      f->op->name, wtl_dtype_name(dout[j]->dtype), wtl_shape_text(&dout[j]->shape, a, sizeof a),
                      wtl_dtype_name(f->out_dtype[j]), wtl_shape_text(&f->out[j], b, sizeof b));
    WTL_TRY(wtl_tensor_as_contiguous(dout[j], &e->dout[j]));
    e->call.dout[j] = view_of(e->dout[j]);
    *any = true;
  }
  return WTL_OK;
}

static wtl_status vjp(eager *e, wtl_tensor *const dout[], const bool want[]) {
  const wtl_infer *f = &e->infer;
  bool any = false;
  WTL_TRY(check_want(f, want));
  WTL_TRY(take_dout(e, dout, &any));
  for (int i = 0; i < f->n_in; i++) {
    e->call.din[i] = wtl_view_plain(NULL, f->real, &f->in[i]);
    if (!want[i]) continue;
    WTL_TRY(wtl_tensor_create(f->ctx, f->real, &f->in[i], &e->din[i]));
    e->call.din[i].data = e->din[i]->data;
  }
  if (!any) return WTL_OK; /* the new tensors are zeros */
  WTL_TRY(run_forward(e));
  return run_backward(e);
}

wtl_status wtl_op_vjp(wtl_ctx *ctx, const wtl_op *op, const wtl_attr attrs[WTL_MAX_ATTRS], wtl_tensor *const in[],
                      int n_in, wtl_tensor *const dout[], const bool want[], wtl_tensor *din[]) {
  eager e = { .kernels = NULL };
  wtl_status s = prepare(&e, ctx, op, attrs, in, n_in, true, want);
  if (s == WTL_OK) draw(&e, true);
  if (s == WTL_OK) s = vjp(&e, dout, want);
  for (int i = 0; s == WTL_OK && i < n_in; i++) {
    din[i] = e.din[i];
    e.din[i] = NULL;
  }
  finish(&e);
  return s;
}
