/* log_softmax: y = x - ln(sum of e^x) along dim. Row in ops.def. Exponentials and sums are in double, after the largest
 * x is subtracted; a NaN makes its whole line NaN. */
#include "lines.h"

#if WTL_ONCE
WTL_OP_RULES(log_softmax, wtl_rule_lines, wtl_lines_cost, 0, 1);
#endif

static void forward_lines(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  line_axis a = line_axis_of(c);
  (void)thread;
  for (int64_t i = begin; i < end; i++) {
    const real *x = (const real *)c->in[0].data + line_begin(&a, i);
    real *y = (real *)c->out[0].data + line_begin(&a, i);
    double max, log_sum = log(line_sum(x, &a, &max));
    for (int64_t k = 0; k < a.n; k++) y[k * a.step] = (real)((double)x[k * a.step] - max - log_sum);
  }
}

static wtl_status forward(wtl_call *c) { return lines_run(c, forward_lines); }

/* dx = dy - e^y * sum dy */
static void backward_lines(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  line_axis a = line_axis_of(c);
  (void)thread;
  for (int64_t i = begin; i < end; i++) {
    int64_t at = line_begin(&a, i);
    const real *y = (const real *)c->out[0].data + at, *dy = (const real *)c->dout[0].data + at;
    real *dx = (real *)c->din[0].data + at;
    double sum = 0;
    for (int64_t k = 0; k < a.n; k++) sum += (double)dy[k * a.step];
    for (int64_t k = 0; k < a.n; k++)
      dx[k * a.step] = (real)((double)dy[k * a.step] - exp((double)y[k * a.step]) * sum);
  }
}

static wtl_status backward(wtl_call *c) { return lines_run(c, backward_lines); }

WTL_OP_KERNELS(log_softmax, forward, backward, NULL);
