/* log_softmax: y = x - ln(sum of e^x) along dim. Row in ops.def. The largest x is subtracted first; sums are in double; a
 * NaN makes its whole line NaN. */
#include "lines.h"

#if WTL_ONCE
WTL_OP_RULES(log_softmax, wtl_rule_lines, wtl_lines_cost, 0, 1);
#endif

static void forward_line(real *y, const real *x, int64_t n) {
  real max, log_sum = (real)log(line_exp(y, x, n, &max));
  for (int64_t k = 0; k < n; k++) y[k] = (x[k] - max) - log_sum;
}

static void forward_group(real *y, const real *x, const line_axis *a, int64_t m) {
  real max[LINE_GROUP], log_sum[LINE_GROUP];
  double sum[LINE_GROUP];
  lines_exp(y, x, a, m, max, sum);
  for (int64_t l = 0; l < m; l++) log_sum[l] = (real)log(sum[l]);
  for (int64_t k = 0; k < a->n; k++)
    for (int64_t l = 0; l < m; l++) y[k * a->step + l] = (x[k * a->step + l] - max[l]) - log_sum[l];
}

static void forward_lines(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  line_axis a = line_axis_of(c);
  (void)thread;
  for (int64_t i = begin, m; i < end; i += m) {
    const real *x = (const real *)c->in[0].data + line_begin(&a, i);
    real *y = (real *)c->out[0].data + line_begin(&a, i);
    m = line_group(&a, i, end);
    if (a.step == 1) forward_line(y, x, a.n);
    else forward_group(y, x, &a, m);
  }
}

static wtl_status forward(wtl_call *c) { return lines_run(c, forward_lines); }

/* dx = dy - e^y * sum dy */
static void backward_line(real *dx, const real *dy, const real *y, int64_t n) {
  real sum = (real)span_sum(dy, n);
  WTL_INDEPENDENT
  for (int64_t k = 0; k < n; k++) dx[k] = dy[k] - real_exp_down(y[k]) * sum;
}

static void backward_group(real *dx, const real *dy, const real *y, const line_axis *a, int64_t m) {
  double sum[LINE_GROUP] = { 0 };
  for (int64_t k = 0; k < a->n; k++)
    for (int64_t l = 0; l < m; l++) sum[l] += (double)dy[k * a->step + l];
  for (int64_t k = 0; k < a->n; k++) {
    WTL_INDEPENDENT
    for (int64_t l = 0; l < m; l++)
      dx[k * a->step + l] = dy[k * a->step + l] - real_exp_down(y[k * a->step + l]) * (real)sum[l];
  }
}

static void backward_lines(void *arg, int64_t begin, int64_t end, int thread) {
  const wtl_call *c = arg;
  line_axis a = line_axis_of(c);
  (void)thread;
  for (int64_t i = begin, m; i < end; i += m) {
    int64_t at = line_begin(&a, i);
    const real *y = (const real *)c->out[0].data + at, *dy = (const real *)c->dout[0].data + at;
    real *dx = (real *)c->din[0].data + at;
    m = line_group(&a, i, end);
    if (a.step == 1) backward_line(dx, dy, y, a.n);
    else backward_group(dx, dy, y, &a, m);
  }
}

static wtl_status backward(wtl_call *c) { return lines_run(c, backward_lines); }

WTL_OP_KERNELS(log_softmax, forward, backward, NULL);
