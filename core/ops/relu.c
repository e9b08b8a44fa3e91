/* relu: y = max(x, 0). Row in ops.def. */
#include "real.h"

#if WTL_ONCE
static wtl_status infer(wtl_infer *i) {
  i->out[0] = i->in[0];
  return WTL_OK;
}

static void cost(const wtl_infer *i, wtl_cost *forward, wtl_cost *backward) {
  double n = (double)wtl_shape_numel(&i->in[0]), e = (double)wtl_dtype_size(i->real);
  *forward = (wtl_cost){ n, 2 * n * e };
  *backward = (wtl_cost){ n, 3 * n * e };
}

WTL_OP_RULES(relu, infer, cost, 0, 1);
#endif

static void forward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  const real *x = c->in[0].data;
  real *y = c->out[0].data;
  (void)thread;
  WTL_INDEPENDENT
  for (int64_t k = begin; k < end; k++) y[k] = x[k] < 0 ? 0 : x[k]; /* keeps NaN */
}

static wtl_status forward(wtl_call *c) {
  wtl_parallel(c->ctx, wtl_view_numel(&c->in[0]), WTL_SPAN, forward_span, c);
  return WTL_OK;
}

static void backward_span(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  const real *dy = c->dout[0].data, *y = c->out[0].data;
  real *dx = c->din[0].data;
  (void)thread;
  WTL_INDEPENDENT
  for (int64_t k = begin; k < end; k++) {
    real g = dy[k]; /* read always, or the loop is not vectorized */
    dx[k] = y[k] > 0 ? g : 0;
  }
}

static wtl_status backward(wtl_call *c) {
  wtl_parallel(c->ctx, wtl_view_numel(&c->din[0]), WTL_SPAN, backward_span, c);
  return WTL_OK;
}

WTL_OP_KERNELS(relu, forward, backward, NULL);
