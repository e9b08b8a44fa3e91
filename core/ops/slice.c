/* slice: every step-th position of one axis from start up to stop, as Python's x[start:stop:step]. Row in ops.def. */
#include "real.h"
#include "walk.h"

enum { DIM, START, STOP, STEP }; /* attributes */

/* A bound as Python reads it: negative from the end, then moved into 0..n. */
static int64_t bound(int64_t at, int64_t n) {
  if (at < 0) at += n;
  return at < 0 ? 0 : at > n ? n : at;
}

/* Positions that stay, and the first of them. */
static int64_t chosen(const wtl_attr *a, int64_t n, int64_t *start) {
  int64_t stop = bound(a[STOP].i[0], n);
  *start = bound(a[START].i[0], n);
  return stop > *start ? (stop - *start - 1) / a[STEP].i[0] + 1 : 0;
}

#if WTL_ONCE
static wtl_status infer(wtl_infer *f) {
  int dim;
  int64_t start;
  WTL_TRY(wtl_rule_dim(f, f->attr[DIM].i[0], &dim));
  if (f->attr[STEP].i[0] < 1)
    return wtl_fail(f->ctx, WTL_ERR_ARG, "slice: step is %lld; it must be at least 1", (long long)f->attr[STEP].i[0]);
  f->out[0] = f->in[0];
  f->out[0].size[dim] = chosen(f->attr, f->in[0].size[dim], &start);
  return WTL_OK;
}

/* Backward also writes the zeros. */
static void cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward) {
  double x = wtl_rule_bytes(f, &f->in[0]), y = wtl_rule_bytes(f, &f->out[0]);
  *forward = (wtl_cost){ 0, 2 * y };
  *backward = (wtl_cost){ 0, x + y };
}

WTL_OP_RULES(slice, infer, cost, 0, 0);
#endif

static wtl_view part(const wtl_call *c, const wtl_view *v) {
  int dim = wtl_dim_of(c->attr[DIM].i[0], v->ndim);
  int64_t start, n = chosen(c->attr, v->size[dim], &start);
  return wtl_view_window(v, dim, start, n, c->attr[STEP].i[0]);
}

static wtl_status forward(wtl_call *c) {
  wtl_view x = part(c, &c->in[0]);
  REAL(wtl_copy)(c->ctx, &c->out[0], &x);
  return WTL_OK;
}

static wtl_status backward(wtl_call *c) {
  wtl_view dx = part(c, &c->din[0]);
  memset(c->din[0].data, 0, (size_t)wtl_view_numel(&c->din[0]) * sizeof(real));
  REAL(wtl_copy)(c->ctx, &dx, &c->dout[0]);
  return WTL_OK;
}

WTL_OP_KERNELS(slice, forward, backward, NULL);
