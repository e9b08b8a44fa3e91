/* Every op of the table, through its cases in op_cases.h: documented, differentiated rightly, alike in f32 and
 * f64, on strided inputs and on any number of threads, and whole when memory is gone. Then shape errors, special
 * values and costs, which no generic rule can know. */
#include "op_cases.h"

/* ---- the table ---- */

static void table_is_complete(void **state) {
  (void)state;
  assert_int_equal(wtl_op_count(), WTL_OPID_COUNT);
  assert_null(wtl_op_at(-1));
  assert_null(wtl_op_at(wtl_op_count()));
  assert_null(wtl_op_find("no_such_op"));
  for (int i = 0; i < wtl_op_count(); i++) {
    const wtl_op *op = wtl_op_at(i);
    int required, n = wtl_op_inputs(op, &required);
    assert_ptr_equal(wtl_op_find(wtl_op_name(op)), op);
    assert_true(n >= 1 && n <= WTL_MAX_IN && required >= 1 && required <= n);
    assert_true(wtl_op_outputs(op) >= (wtl_op_internal(op) ? 0 : 1) && wtl_op_outputs(op) <= WTL_MAX_OUT);
    assert_true(strlen(wtl_op_formula(op)) > 5 && strlen(wtl_op_help(op)) > 10);
    for (int k = 0; k < n; k++)
      assert_true(wtl_op_input_name(op, k)[0] >= 'a' && wtl_op_input_name(op, k)[0] <= 'z');
    assert_null(wtl_op_input_name(op, n));
    for (int k = 0; k < wtl_op_attrs(op); k++) assert_true(wtl_op_attr(op, k)->name[0] >= 'a' && wtl_op_attr(op, k)->name[0] <= 'z');
    assert_null(wtl_op_attr(op, wtl_op_attrs(op)));
    assert_true(wtl_op_differentiable(op) == (op->kernels[0]->backward != NULL));
    assert_true(wtl_op_differentiable(op) == (op->kernels[1]->backward != NULL));
    assert_true((op->kernels[0]->commit != NULL) == (op->state != 0));
  }
}

static void rows_mean_what_they_say(void **state) {
  const wtl_op *norm = wtl_op_find("batch_norm"), *loss = wtl_op_find("cross_entropy"),
               *pool = wtl_op_find("max_pool2d");
  wtl_attr a[WTL_MAX_ATTRS];
  int required;
  (void)state;
  assert_int_equal(wtl_op_inputs(norm, &required), 5);
  assert_int_equal(required, 3);
  assert_string_equal(wtl_op_input_name(norm, 1), "w");
  assert_string_equal(wtl_op_input_name(norm, 3), "running_mean");
  assert_string_equal(wtl_op_input_name(loss, 1), "target");
  assert_int_equal(norm->optional, 2 | 4);
  assert_int_equal(norm->state, 8 | 16);
  assert_int_equal(loss->labels, 2);
  assert_true(wtl_op_internal(wtl_op_find("sgd_update")));
  wtl_op_defaults(norm, a);
  assert_true(a[0].n == 1 && a[0].i[0] == 0 && a[1].f == 0.1 && a[2].f == 1e-5);
  wtl_op_defaults(pool, a);
  assert_true(a[0].n == -1 && a[1].n == 2 && a[1].i[0] == 0 && a[1].i[1] == 0);
  wtl_op_defaults(wtl_op_find("sum"), a);
  assert_true(a[0].n == 0 && a[1].n == 1);
}

static void every_op_has_cases(void **state) {
  (void)state;
  for (int i = 0; i < wtl_op_count(); i++) {
    const wtl_op *op = wtl_op_at(i);
    int small = 0;
    for (int k = 0; k < OP_CASES; k++) small += !op_cases[k].large && !strcmp(op_cases[k].op, op->name);
    if (!small && !wtl_op_internal(op)) fail_msg("%s has no case in op_cases.h", op->name);
  }
}

/* ---- every case ---- */

static void gradients(void **state) {
  double worst_of_all = 0;
  (void)state;
  for (int k = 0; k < OP_CASES; k++) {
    const op_case *c = &op_cases[k];
    op_setup s;
    double worst = -1;
    if (c->large || !wtl_op_differentiable(wtl_op_find(c->op))) continue;
    op_setup_make(c, WTL_F64, &s);
    OK(wtl_op_gradcheck(ctx, s.op, s.attr, s.in, s.n_in, s.want, 1e-6, &worst));
    if (!(worst < 1e-7)) fail_msg("%s %s %s: gradient is off by %.3g", c->op, c->inputs, c->attrs, worst);
    if (worst > worst_of_all) worst_of_all = worst;
    op_setup_free(&s);
  }
  print_message("           worst gradient: %.2g\n", worst_of_all);
}

static void gradcheck_can_fail(void **state) {
  const op_case c = { "relu", "[3]", "", false };
  op_setup s;
  double worst;
  (void)state;
  op_setup_make(&c, WTL_F64, &s);
  OK(wtl_tensor_fill(s.in[0], 0)); /* at the kink the difference quotient is 1/2, the gradient is 0 */
  OK(wtl_op_gradcheck(ctx, s.op, s.attr, s.in, s.n_in, s.want, 1e-6, &worst));
  assert_true(worst > 0.5);
  FAILS(wtl_op_gradcheck(ctx, s.op, s.attr, s.in, s.n_in, s.want, 0, &worst), WTL_ERR_ARG, "eps");
  op_setup_free(&s);
  op_setup_make(&c, WTL_F32, &s);
  FAILS(wtl_op_gradcheck(ctx, s.op, s.attr, s.in, s.n_in, s.want, 1e-6, &worst), WTL_ERR_DTYPE, "f64");
  op_setup_free(&s);
}

static void close_to(const op_case *c, const char *what, const wtl_tensor *a, const wtl_tensor *b, double bound) {
  if (!a || !b) {
    assert_true(!a && !b);
    return;
  }
  double e = op_error(a, b);
  if (!(e <= bound)) fail_msg("%s %s %s: %s is off by %.3g", c->op, c->inputs, c->attrs, what, e);
}

static void f32_agrees_with_f64(void **state) {
  (void)state;
  for (int k = 0; k < OP_CASES; k++) {
    op_setup s, d;
    op_result a, b;
    op_setup_make(&op_cases[k], WTL_F32, &s);
    op_setup_make(&op_cases[k], WTL_F64, &d);
    OK(op_result_run(&s, &a));
    OK(op_result_run(&d, &b));
    for (int j = 0; j < WTL_MAX_OUT; j++) close_to(&op_cases[k], "y", a.out[j], b.out[j], 2e-6);
    for (int i = 0; i < WTL_MAX_IN; i++) {
      close_to(&op_cases[k], "a gradient", a.din[i], b.din[i], 5e-6);
      close_to(&op_cases[k], "state", a.state[i], b.state[i], 1e-6);
    }
    op_result_free(&a);
    op_result_free(&b);
    op_setup_free(&s);
    op_setup_free(&d);
  }
}

static void bits_do_not_depend_on_threads(void **state) {
  (void)state;
  for (int k = 0; k < OP_CASES; k++)
    for (int d = WTL_F32; d <= WTL_F64; d++) {
      op_setup s;
      op_result r[3];
      op_setup_make(&op_cases[k], (wtl_dtype)d, &s);
      for (int threads = 1; threads <= 3; threads++) {
        OK(wtl_set_threads(ctx, threads));
        OK(op_result_run(&s, &r[threads - 1]));
      }
      for (int t = 1; t < 3; t++)
        if (!op_same_result(&r[0], &r[t]))
          fail_msg("%s %s: %d threads give other bits", op_cases[k].op, op_cases[k].inputs, t + 1);
      for (int t = 0; t < 3; t++) op_result_free(&r[t]);
      op_setup_free(&s);
    }
}

/* The same values as a window of a wider tensor whose axes are reversed. */
static wtl_tensor *scatter(wtl_tensor *t) {
  const wtl_shape *s = wtl_tensor_shape(t);
  wtl_shape wide = { s->ndim + 1, { 0 } };
  int order[WTL_MAX_DIMS];
  wtl_tensor *base, *window, *view;
  for (int k = 0; k < s->ndim; k++) wide.size[k] = s->size[s->ndim - 1 - k], order[k] = s->ndim - 1 - k;
  wide.size[s->ndim] = 2;
  OK(wtl_tensor_create(ctx, wtl_tensor_dtype(t), &wide, &base));
  OK(wtl_tensor_select(base, s->ndim, 1, &window));
  OK(wtl_tensor_permute(window, order, &view));
  OK(wtl_tensor_copy(view, t));
  assert_true(wtl_tensor_numel(view) < 2 || !wtl_tensor_contiguous(view));
  wtl_tensor_release(base);
  wtl_tensor_release(window);
  return view;
}

static void strided_inputs(void **state) {
  (void)state;
  for (int k = 0; k < OP_CASES; k++) {
    const op_case *c = &op_cases[k];
    op_setup s;
    op_result plain, strided;
    if (c->large) continue;
    op_setup_make(c, WTL_F64, &s);
    OK(op_result_run(&s, &plain));
    for (int i = 0; i < s.n_in; i++) {
      if (!s.in[i]) continue;
      wtl_tensor *view = scatter(s.in[i]);
      wtl_tensor_release(s.in[i]);
      s.in[i] = view;
    }
    OK(op_result_run(&s, &strided));
    /* Sums over axes that no longer merge go in another order. */
    for (int j = 0; j < WTL_MAX_OUT; j++) close_to(c, "y of strided inputs", strided.out[j], plain.out[j], 0);
    for (int i = 0; i < WTL_MAX_IN; i++) {
      close_to(c, "a gradient of strided inputs", strided.din[i], plain.din[i], 1e-15);
      close_to(c, "state of strided inputs", strided.state[i], plain.state[i], 0);
    }
    op_result_free(&plain);
    op_result_free(&strided);
    op_setup_free(&s);
  }
}

/* Statistics are changed where they stand, also in a window of something else. */
static void strided_state(void **state) {
  const op_case c = { "batch_norm", "[3,2,4] [2] [2] [2] [2]", "training=1", false };
  op_setup s;
  wtl_tensor *out, *view[2], *dense[2];
  (void)state;
  op_setup_make(&c, WTL_F32, &s);
  for (int i = 0; i < 2; i++) view[i] = scatter(s.in[3 + i]), dense[i] = s.in[3 + i];
  OK(wtl_op_run(ctx, s.op, s.attr, s.in, s.n_in, &out));
  wtl_tensor_release(out);
  for (int i = 0; i < 2; i++) s.in[3 + i] = view[i];
  OK(wtl_op_run(ctx, s.op, s.attr, s.in, s.n_in, &out));
  wtl_tensor_release(out);
  for (int i = 0; i < 2; i++) {
    assert_true(op_error(view[i], dense[i]) == 0);
    wtl_tensor_release(dense[i]);
  }
  op_setup_free(&s);
}

static wtl_status run_case(void *arg) {
  op_result r;
  wtl_status s = op_result_run(arg, &r);
  op_result_free(&r);
  return s;
}

static wtl_status check_case(void *arg) {
  const op_setup *s = arg;
  double worst;
  return wtl_op_gradcheck(ctx, s->op, s->attr, s->in, s->n_in, s->want, 1e-6, &worst);
}

static void memory_gone(void **state) {
  op_setup s;
  (void)state;
  for (int k = 0; k < OP_CASES; k++) {
    const op_case *c = &op_cases[k];
    if (c->large) continue;
    op_setup_make(c, WTL_F32, &s);
    assert_true(sweep(c->op, run_case, &s) > 0);
    op_setup_free(&s);
  }
  op_setup_make(&(op_case){ "linear", "[2,2] [1,2] [1]", "", false }, WTL_F64, &s);
  assert_true(sweep("gradcheck", check_case, &s) > 50);
  op_setup_free(&s);
}

/* ---- errors ---- */

static const struct {
  const char *op, *inputs, *attrs;
  wtl_status status;
  const char *message;
} errors[] = {
  { "conv2d", "[64,3,32,32] [16,1,3,3]", "", WTL_ERR_SHAPE,
    "conv2d: x is [64,3,32,32], w is [16,1,3,3]; x has 3 channels, w wants 1" },
  { "conv2d", "[1,4,5,5] [6,4,3,3]", "groups=2", WTL_ERR_SHAPE,
    "conv2d: x is [1,4,5,5], w is [6,4,3,3]; x has 4 channels, w wants 8" },
  { "conv2d", "[1,4,5,5] [6,4,3,3]", "groups=3", WTL_ERR_SHAPE,
    "conv2d: x is [1,4,5,5], w is [6,4,3,3]; groups is 3, which must divide C and O" },
  { "conv2d", "[3,32,32] [16,3,3,3]", "", WTL_ERR_SHAPE, "conv2d: x is [3,32,32]; it must be (N,C,H,W)" },
  { "conv2d", "[1,3,8,8] [16,3,3]", "", WTL_ERR_SHAPE,
    "conv2d: x is [1,3,8,8], w is [16,3,3]; w must be (O,C/groups,KH,KW)" },
  { "conv2d", "[1,3,4,4] [2,3,3,3] [3]", "", WTL_ERR_SHAPE, "conv2d: w is [2,3,3,3], b is [3]; b must be [2]" },
  { "conv2d", "[1,3,4,4] [2,3,3,3]", "dilation=2,2", WTL_ERR_SHAPE,
    "conv2d: x is [1,3,4,4], w is [2,3,3,3]; with padding [0,0] and dilation [2,2] the kernel is empty or larger "
    "than the image" },
  { "conv2d", "[1,3,4,4] [2,3,0,3]", "", WTL_ERR_SHAPE,
    "conv2d: x is [1,3,4,4], w is [2,3,0,3]; with padding [0,0] and dilation [1,1] the kernel is empty or larger "
    "than the image" },
  { "conv2d", "[1,3,4,4] [2,3,3,3]", "stride=0,1", WTL_ERR_ARG, "conv2d: stride is 0; it must be at least 1" },
  { "conv2d", "[1,3,4,4] [2,3,3,3]", "padding=-1,1", WTL_ERR_ARG, "conv2d: padding is -1; it must be at least 0" },
  { "conv2d", "[1,3,4,4] [2,3,3,3]", "padding=9000000000,1", WTL_ERR_ARG,
    "conv2d: padding is 9000000000; it must be at most 2147483647" },
  { "conv2d", "[1,3,4,4] [2,3,3,3]", "padding=1", WTL_ERR_ARG, "conv2d: padding must be given: two integers" },
  { "conv2d", "[1,3,4,4]", "", WTL_ERR_ARG, "conv2d: input w is missing" },
  { "conv2d", "[1,3,4,4] [1,3,1,1] [1] [1]", "", WTL_ERR_ARG, "conv2d: 4 inputs; it takes at most 3" },
  { "conv2d", "[1,1,1,1] [1,1,1,1]", "padding=2000000000,2000000000", WTL_ERR_SHAPE,
    "conv2d: [1,1,4000000001,4000000001] of f32 is too large to address" },
  { "linear", "[2,3] [4,5]", "", WTL_ERR_SHAPE, "linear: x is [2,3], w is [4,5]; x must be (...,I) and w (O,I)" },
  { "linear", "[] [4,5]", "", WTL_ERR_SHAPE, "linear: x is [], w is [4,5]; x must be (...,I) and w (O,I)" },
  { "linear", "[2,5] [4,5] [5]", "", WTL_ERR_SHAPE, "linear: w is [4,5], b is [5]; b must be [4]" },
  { "matmul", "[2,3] [4,5]", "", WTL_ERR_SHAPE, "matmul: a is [2,3], b is [4,5]; inner sizes differ" },
  { "matmul", "[2,3] [3]", "", WTL_ERR_SHAPE, "matmul: a is [2,3], b is [3]; both must be matrices" },
  { "matmul", "[2,3,4] [3,4,5]", "", WTL_ERR_SHAPE,
    "matmul: a is [2,3,4], b is [3,4,5]; all dims but the last two must be equal, or b one matrix" },
  { "matmul", "[3,4] [2,4,5]", "", WTL_ERR_SHAPE,
    "matmul: a is [3,4], b is [2,4,5]; all dims but the last two must be equal, or b one matrix" },
  { "matmul", "[2,3,4] [2,3,4]", "", WTL_ERR_SHAPE, "matmul: a is [2,3,4], b is [2,3,4]; inner sizes differ" },
  { "matmul", "[2,3,4] [3,4]", "", WTL_ERR_SHAPE, "matmul: a is [2,3,4], b is [3,4]; inner sizes differ" },
  { "batch_norm", "[8,3,4,4] [4] [3] [3] [3]", "", WTL_ERR_SHAPE,
    "batch_norm: x is [8,3,4,4], w is [4]; x has 3 channels, so it must be [3]" },
  { "batch_norm", "[8,3,4,4] - - [3] [3,1]", "", WTL_ERR_SHAPE,
    "batch_norm: x is [8,3,4,4], running_var is [3,1]; x has 3 channels, so it must be [3]" },
  { "batch_norm", "[3] - - [3] [3]", "", WTL_ERR_SHAPE, "batch_norm: x is [3]; it must be (N,C,...)" },
  { "batch_norm", "[1,3,1,1] - - [3] [3]", "training=1", WTL_ERR_SHAPE,
    "batch_norm: x is [1,3,1,1]; training expected more than 1 value per channel" },
  { "batch_norm", "[8,3]", "", WTL_ERR_ARG, "batch_norm: input running_mean is missing" },
  { "batch_norm", "[8,3] - - [3] [3]", "training=2", WTL_ERR_ARG,
    "batch_norm: training must be given: true or false" },
  { "batch_norm", "[8,3] - - [3] [3]", "eps=nan", WTL_ERR_ARG, "batch_norm: eps must be given: a number" },
  { "max_pool2d", "[1,2,4,4]", "", WTL_ERR_ARG, "max_pool2d: kernel_size must be given: two integers" },
  { "max_pool2d", "[1,2,4,4]", "kernel_size=5,2", WTL_ERR_SHAPE,
    "max_pool2d: x is [1,2,4,4], kernel_size is [5,2], padding is [0,0]; the window is larger than the image" },
  { "max_pool2d", "[1,2,0,4]", "kernel_size=2,2 padding=1,1", WTL_ERR_SHAPE,
    "max_pool2d: x is [1,2,0,4], kernel_size is [2,2], padding is [1,1]; the window is larger than the image" },
  { "max_pool2d", "[1,2,4,4]", "kernel_size=3,3 padding=2,1", WTL_ERR_SHAPE,
    "max_pool2d: padding is [2,1], kernel_size is [3,3]; padding must be at most half of it" },
  { "max_pool2d", "[1,2,4,4]", "kernel_size=9,2 stride=2,2 ceil_mode=1", WTL_ERR_SHAPE,
    "max_pool2d: x is [1,2,4,4], kernel_size is [9,2], padding is [0,0]; the window is larger than the image" },
  { "max_pool2d", "[1,2,4,4]", "kernel_size=2,2 ceil_mode=2", WTL_ERR_ARG,
    "max_pool2d: ceil_mode must be given: true or false" },
  { "max_pool2d", "[2,4,4]", "kernel_size=2,2", WTL_ERR_SHAPE, "max_pool2d: x is [2,4,4]; it must be (N,C,H,W)" },
  { "avg_pool2d", "[1,2,4,4]", "", WTL_ERR_ARG, "avg_pool2d: kernel_size must be given: two integers" },
  { "avg_pool2d", "[1,2,4,4]", "kernel_size=5,2", WTL_ERR_SHAPE,
    "avg_pool2d: x is [1,2,4,4], kernel_size is [5,2], padding is [0,0]; the window is larger than the image" },
  { "avg_pool2d", "[1,2,4,4]", "kernel_size=3,3 padding=2,1", WTL_ERR_SHAPE,
    "avg_pool2d: padding is [2,1], kernel_size is [3,3]; padding must be at most half of it" },
  { "avg_pool2d", "[1,2,4,4]", "kernel_size=2,2 count_include_pad=2", WTL_ERR_ARG,
    "avg_pool2d: count_include_pad must be given: true or false" },
  { "adaptive_avg_pool2d", "[1,2,4,4]", "", WTL_ERR_ARG, "adaptive_avg_pool2d: output_size must be given: two integers" },
  { "adaptive_avg_pool2d", "[1,2,4,4]", "output_size=0,1", WTL_ERR_ARG,
    "adaptive_avg_pool2d: output_size is 0; it must be at least 1" },
  { "adaptive_avg_pool2d", "[1,2,0,4]", "output_size=1,1", WTL_ERR_SHAPE,
    "adaptive_avg_pool2d: x is [1,2,0,4]; its planes must have 1 to 2^31-1 rows and columns" },
  { "adaptive_max_pool2d", "[2,4,4]", "output_size=1,1", WTL_ERR_SHAPE,
    "adaptive_max_pool2d: x is [2,4,4]; it must be (N,C,H,W)" },
  { "global_avg_pool2d", "[2,4]", "", WTL_ERR_SHAPE, "global_avg_pool2d: x is [2,4]; it must be (N,C,H,W)" },
  { "add", "[2,3] [4]", "", WTL_ERR_SHAPE, "add: a is [2,3], b is [4]; sizes 3 and 4 do not broadcast" },
  { "mul", "[2,3] [3,2]", "", WTL_ERR_SHAPE, "mul: a is [2,3], b is [3,2]; sizes 3 and 2 do not broadcast" },
  { "sub", "[2,3] [3,2]", "", WTL_ERR_SHAPE, "sub: a is [2,3], b is [3,2]; sizes 3 and 2 do not broadcast" },
  { "pow", "[2,3] [4]", "", WTL_ERR_SHAPE, "pow: a is [2,3], b is [4]; sizes 3 and 4 do not broadcast" },
  { "maximum", "[2,3]", "", WTL_ERR_ARG, "maximum: input b is missing" },
  { "ge", "[2,3] [2]", "", WTL_ERR_SHAPE, "ge: a is [2,3], b is [2]; sizes 3 and 2 do not broadcast" },
  { "where", "[2] [2,3] [4]", "", WTL_ERR_SHAPE, "where: a is [2,3], b is [4]; sizes 3 and 4 do not broadcast" },
  { "where", "[2] [2,3] [3]", "", WTL_ERR_SHAPE,
    "where: cond is [2], a is [2,3], b is [3]; cond does not broadcast with them" },
  { "clamp", "[2]", "min=2 max=1", WTL_ERR_ARG, "clamp: min is 2, max is 1; min must not be above max" },
  { "clamp", "[2]", "min=nan", WTL_ERR_ARG, "clamp: min must be given: a number" },
  { "softmax", "[2,3]", "", WTL_ERR_ARG, "softmax: dim must be given: one integer" },
  { "softmax", "[2,3]", "dim=2", WTL_ERR_SHAPE, "softmax: x is [2,3]; it has no dim 2" },
  { "log_softmax", "[]", "dim=0", WTL_ERR_SHAPE, "log_softmax: x is []; it has no dim 0" },
  { "reshape", "[2,3]", "shape=4,2", WTL_ERR_SHAPE, "reshape: x is [2,3], shape is [4,2]; x has 6 elements" },
  { "reshape", "[2,3]", "shape=4,-1", WTL_ERR_SHAPE, "reshape: x is [2,3], shape is [4,-1]; x has 6 elements" },
  { "reshape", "[2,3]", "shape=-1,-1", WTL_ERR_SHAPE,
    "reshape: x is [2,3], shape is [-1,-1]; sizes are positive, and at most one is -1" },
  { "reshape", "[2,3]", "shape=2,3,0", WTL_ERR_SHAPE,
    "reshape: x is [2,3], shape is [2,3,0]; dim 2 is to be kept, but x has none" },
  { "reshape", "[2,3]", "shape=9000000000,9000000000,-1", WTL_ERR_SHAPE,
    "reshape: x is [2,3], shape is [9000000000,9000000000,-1]; x has 6 elements" },
  { "flatten", "[2,3]", "start_dim=2", WTL_ERR_SHAPE, "flatten: x is [2,3]; it has no dims 2..-1" },
  { "flatten", "[2,3]", "start_dim=1 end_dim=0", WTL_ERR_SHAPE,
    "flatten: x is [2,3]; start_dim 1 comes after end_dim 0" },
  { "permute", "[2,3,4]", "dims=0,1", WTL_ERR_SHAPE, "permute: x is [2,3,4]; 2 dims are given" },
  { "permute", "[2,3]", "dims=0,2", WTL_ERR_SHAPE, "permute: x is [2,3]; it has no dim 2" },
  { "permute", "[2,3]", "dims=1,-1", WTL_ERR_SHAPE, "permute: x is [2,3]; dim -1 is given twice" },
  { "slice", "[2,3]", "", WTL_ERR_ARG, "slice: dim must be given: one integer" },
  { "slice", "[2,3]", "dim=-3", WTL_ERR_SHAPE, "slice: x is [2,3]; it has no dim -3" },
  { "slice", "[2,3]", "dim=0 step=0", WTL_ERR_ARG, "slice: step is 0; it must be at least 1" },
  { "slice", "[]", "dim=0", WTL_ERR_SHAPE, "slice: x is []; it has no dim 0" },
  { "pad", "[2,3]", "pads=1", WTL_ERR_SHAPE, "pad: x is [2,3]; 1 pads are given, two for each of the last dims" },
  { "pad", "[3]", "pads=1,1,1,1", WTL_ERR_SHAPE, "pad: x is [3]; 4 pads are given, two for each of the last dims" },
  { "pad", "[2,3]", "pads=1,-1", WTL_ERR_ARG, "pad: pads is -1; it must be at least 0" },
  { "pad", "[2,3]", "pads=1,1 value=nan", WTL_ERR_ARG, "pad: value must be given: a number" },
  { "concat", "[2,3] [2,4,1]", "dim=1", WTL_ERR_SHAPE,
    "concat: a is [2,3], b is [2,4,1]; they must agree in all dims but 1" },
  { "concat", "[2,3] [2,3] - [3,3]", "dim=-1", WTL_ERR_SHAPE,
    "concat: a is [2,3], d is [3,3]; they must agree in all dims but 1" },
  { "concat", "[2,3]", "dim=0", WTL_ERR_ARG, "concat: input b is missing" },
  { "concat", "[] []", "dim=0", WTL_ERR_SHAPE, "concat: a is []; it has no dim 0" },
  { "dropout", "[2,3]", "p=1", WTL_ERR_ARG, "dropout: p is 1; it must be at least 0 and below 1" },
  { "dropout", "[2,3]", "p=-0.1", WTL_ERR_ARG, "dropout: p is -0.1; it must be at least 0 and below 1" },
  { "dropout", "[2,3]", "p=nan", WTL_ERR_ARG, "dropout: p must be given: a number" },
  { "stochastic_depth", "[2,3]", "", WTL_ERR_ARG, "stochastic_depth: p must be given: a number" },
  { "stochastic_depth", "[2,3]", "p=1.5", WTL_ERR_ARG, "stochastic_depth: p is 1.5; it must be in 0..1" },
  { "stochastic_depth", "[]", "p=0.5", WTL_ERR_SHAPE, "stochastic_depth: x is []; with row it must be (N,...)" },
  { "layer_norm", "[2,3] [2] [3]", "", WTL_ERR_SHAPE, "layer_norm: x is [2,3], dims is 1, w is [2]; it must be [3]" },
  { "layer_norm", "[2,3] - [3]", "dims=2", WTL_ERR_SHAPE,
    "layer_norm: x is [2,3], dims is 2, b is [3]; it must be [2,3]" },
  { "layer_norm", "[2,3]", "dims=3", WTL_ERR_SHAPE, "layer_norm: x is [2,3], dims is 3; it must be in 1..2" },
  { "layer_norm", "[2,3]", "dims=0", WTL_ERR_SHAPE, "layer_norm: x is [2,3], dims is 0; it must be in 1..2" },
  { "layer_norm", "[2,3]", "eps=-1", WTL_ERR_ARG, "layer_norm: eps is -1; it must be at least 0" },
  { "sum", "[2,3]", "dims=2", WTL_ERR_SHAPE, "sum: x is [2,3]; it has no dim 2" },
  { "mean", "[2,3]", "dims=1,-1", WTL_ERR_SHAPE, "mean: x is [2,3]; dim -1 is given twice" },
  { "cross_entropy", "[4,3] [5]", "", WTL_ERR_SHAPE,
    "cross_entropy: logits is [4,3], target is [5]; target must be [4]" },
  { "cross_entropy", "[4,3,2] [4]", "", WTL_ERR_SHAPE, "cross_entropy: logits is [4,3,2]; it must be (N,C)" },
  { "cross_entropy", "[4,3] [4]", "label_smoothing=1.5", WTL_ERR_ARG,
    "cross_entropy: label_smoothing is 1.5; it must be in 0..1" },
  { "cross_entropy", "[4,3] [4]", "label_smoothing=-0.1", WTL_ERR_ARG,
    "cross_entropy: label_smoothing is -0.1; it must be in 0..1" },
  { "mse_loss", "[4,3] [4]", "", WTL_ERR_SHAPE, "mse_loss: x is [4,3], target is [4]; they must be equal" },
  { "binary_cross_entropy", "[4,1] [4]", "", WTL_ERR_SHAPE,
    "binary_cross_entropy: x is [4,1], target is [4]; they must be equal" },
  { "binary_cross_entropy_with_logits", "[4] []", "", WTL_ERR_SHAPE,
    "binary_cross_entropy_with_logits: x is [4], target is []; they must be equal" },
  { "kl_div", "[4,3] [3]", "", WTL_ERR_SHAPE, "kl_div: x is [4,3], target is [3]; they must be equal" },
  { "kl_div", "[] []", "", WTL_ERR_SHAPE, "kl_div: x is []; it must be (N,...)" },
  { "count_correct", "[4,3] [4,1]", "", WTL_ERR_SHAPE,
    "count_correct: logits is [4,3], target is [4,1]; target must be [4]" },
  { "sgd_update", "[2] [2] [2] [3]", "", WTL_ERR_ARG, "sgd_update: written by plans only" },
};

/* Tensors of zeros: only shapes matter. */
static void shape_errors(void **state) {
  (void)state;
  for (size_t k = 0; k < sizeof errors / sizeof *errors; k++) {
    const wtl_op *op = wtl_op_find(errors[k].op);
    wtl_attr attr[WTL_MAX_ATTRS];
    wtl_tensor *in[WTL_MAX_IN] = { NULL }, *out[WTL_MAX_OUT] = { NULL };
    int n = 0;
    op_parse_attrs(op, errors[k].attrs, attr);
    for (const char *text = errors[k].inputs; *text; n++) {
      wtl_shape s;
      if (op_parse_shape(&text, &s))
        OK(wtl_tensor_create(ctx, op->labels >> n & 1 ? WTL_I64 : WTL_F32, &s, &in[n]));
    }
    wtl_status s = wtl_op_run(ctx, op, attr, in, n, out);
    if (s != errors[k].status || strcmp(wtl_message(ctx), errors[k].message) != 0)
      fail_msg("%s %s %s: %s: %s", errors[k].op, errors[k].inputs, errors[k].attrs, wtl_status_name(s),
               wtl_message(ctx));
    for (int i = 0; i < n; i++) wtl_tensor_release(in[i]);
  }
}

static void type_errors(void **state) {
  wtl_attr a[WTL_MAX_ATTRS] = { { 0 } };
  wtl_tensor *f32, *f64, *i64, *in[2], *out;
  bool want[2] = { false, true };
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(2, 2), &f32));
  OK(wtl_tensor_create(ctx, WTL_F64, SHAPE(2, 2), &f64));
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(2), &i64));
  in[0] = f32, in[1] = f64;
  FAILS(wtl_op_run(ctx, wtl_op_find("add"), a, in, 2, &out), WTL_ERR_DTYPE, "add: b is f64, it must be f32");
  FAILS(wtl_op_run(ctx, wtl_op_find("cross_entropy"), a, in, 2, &out), WTL_ERR_DTYPE,
        "cross_entropy: target is f64, it must be i64");
  in[0] = i64;
  FAILS(wtl_op_run(ctx, wtl_op_find("relu"), a, in, 1, &out), WTL_ERR_DTYPE,
        "relu: it computes in f32 or f64, not i64");
  in[0] = f64, in[1] = i64;
  FAILS(wtl_op_vjp(ctx, wtl_op_find("cross_entropy"), a, in, 2, &f64, want, &out), WTL_ERR_ARG,
        "target holds labels");
  FAILS(wtl_op_vjp(ctx, wtl_op_find("count_correct"), a, in, 2, &f64, want, &out), WTL_ERR_ARG,
        "it has no gradient");
  want[0] = true, want[1] = false;
  FAILS(wtl_op_vjp(ctx, wtl_op_find("cross_entropy"), a, in, 2, &f64, want, &out), WTL_ERR_SHAPE,
        "cross_entropy: the output's gradient is f64 [2,2], the output is f64 []");
  wtl_tensor_release(f32);
  wtl_tensor_release(f64);
  wtl_tensor_release(i64);
}

static void labels_out_of_range(void **state) {
  wtl_attr a[WTL_MAX_ATTRS] = { { 0 } };
  wtl_tensor *in[2], *out;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(4, 3), &in[0]));
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(4), &in[1]));
  int64_t *label = wtl_tensor_data(in[1]);
  label[2] = 3;
  FAILS(wtl_op_run(ctx, wtl_op_find("cross_entropy"), a, in, 2, &out), WTL_ERR_ARG,
        "cross_entropy: the target of row 2 is 3; with 3 classes it must be in 0..2");
  label[2] = -1;
  FAILS(wtl_op_run(ctx, wtl_op_find("count_correct"), a, in, 2, &out), WTL_ERR_ARG,
        "count_correct: the target of row 2 is -1; with 3 classes it must be in 0..2");
  wtl_tensor_release(in[0]);
  wtl_tensor_release(in[1]);
}

/* ---- values that no random case meets ---- */

static wtl_tensor *tensor_of(const wtl_shape *s, const double *v) {
  wtl_tensor *t, *single;
  OK(wtl_tensor_create(ctx, WTL_F64, s, &t));
  memcpy(wtl_tensor_data(t), v, wtl_tensor_bytes(t));
  OK(wtl_tensor_convert(t, WTL_F32, &single));
  wtl_tensor_release(t);
  return single;
}

static wtl_tensor *run_one(const char *name, const char *attrs, wtl_tensor *a, wtl_tensor *b) {
  const wtl_op *op = wtl_op_find(name);
  wtl_attr attr[WTL_MAX_ATTRS];
  wtl_tensor *out, *in[2] = { a, b };
  op_parse_attrs(op, attrs, attr);
  OK(wtl_op_run(ctx, op, attr, in, b ? 2 : 1, &out));
  return out;
}

static float at(const wtl_tensor *t, int64_t k) { return ((const float *)wtl_tensor_cdata(t))[k]; }

static void nan_passes(void **state) {
  (void)state;
  wtl_tensor *x = tensor_of(SHAPE(1, 1, 2, 4), (double[]){ -1, NAN, 3, 4, 5, NAN, -INFINITY, 2 }), *y;
  y = run_one("relu", "", x, NULL);
  assert_true(at(y, 0) == 0 && isnan(at(y, 1)) && at(y, 6) == 0);
  wtl_tensor_release(y);
  y = run_one("max_pool2d", "kernel_size=2,2", x, NULL);
  assert_true(isnan(at(y, 0)) && at(y, 1) == 4);
  wtl_tensor_release(y);
  wtl_tensor_release(x);
  wtl_tensor *logits = tensor_of(SHAPE(2, 3), (double[]){ 1, NAN, 2, 0, 9, 1 }), *target;
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(2), &target));
  ((int64_t *)wtl_tensor_data(target))[0] = 1;
  y = run_one("cross_entropy", "", logits, target);
  assert_true(isnan(at(y, 0))); /* the plan's business */
  wtl_tensor_release(y);
  y = run_one("count_correct", "", logits, target);
  assert_true(at(y, 0) == 1); /* NaN is largest, row 1 has 9 at 1 */
  wtl_tensor_release(y);
  wtl_tensor_release(logits);
  wtl_tensor_release(target);
}

static void large_logits_do_not_overflow(void **state) {
  (void)state;
  wtl_tensor *logits = tensor_of(SHAPE(2, 3), (double[]){ 1e4, 0, -1e4, -1e4, -1e4, -1e4 }), *target;
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(2), &target));
  wtl_tensor *y = run_one("cross_entropy", "", logits, target);
  assert_true(fabsf(at(y, 0) - 0.5f * logf(3)) < 1e-6f);
  wtl_tensor_release(y);
  wtl_tensor_release(logits);
  wtl_tensor_release(target);
}

/* The first of equals wins, in pooling and in counting. */
static void ties(void **state) {
  bool want = true;
  const wtl_op *pool = wtl_op_find("max_pool2d");
  wtl_attr attr[WTL_MAX_ATTRS];
  wtl_tensor *dx;
  (void)state;
  wtl_tensor *x = tensor_of(SHAPE(1, 1, 2, 2), (double[]){ 1, 2, 2, 2 }),
             *g = tensor_of(SHAPE(1, 1, 1, 1), (double[]){ 5 });
  op_parse_attrs(pool, "kernel_size=2,2", attr);
  OK(wtl_op_vjp(ctx, pool, attr, &x, 1, &g, &want, &dx));
  assert_true(at(dx, 0) == 0 && at(dx, 1) == 5 && at(dx, 2) == 0 && at(dx, 3) == 0);
  wtl_tensor_release(dx);
  wtl_tensor_release(x);
  wtl_tensor_release(g);
  wtl_tensor *logits = tensor_of(SHAPE(2, 3), (double[]){ 7, 7, 7, 7, 7, 7 }), *target;
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(2), &target));
  wtl_tensor *y = run_one("count_correct", "", logits, target);
  assert_true(at(y, 0) == 2);
  wtl_tensor_release(y);
  wtl_tensor_release(logits);
  wtl_tensor_release(target);
}

/* Any one input may be a scalar, and gets the whole gradient; what does not broadcast says so. */
static void scalars_broadcast(void **state) {
  int ops = 0;
  (void)state;
  for (int i = 0; i < wtl_op_count(); i++) {
    const wtl_op *op = wtl_op_at(i);
    if (!wtl_op_broadcasts(op)) continue;
    ops++;
    for (int scalar = 0; scalar < op->n_in; scalar++) {
      char inputs[32] = "";
      for (int k = 0; k < op->n_in; k++) strcat(inputs, k == scalar ? "[] " : "[2,3] ");
      op_setup s;
      op_result r;
      op_setup_make(&(op_case){ op->name, inputs, "", false }, WTL_F32, &s);
      OK(op_result_run(&s, &r));
      assert_true(wtl_shape_equal(wtl_tensor_shape(r.out[0]), SHAPE(2, 3)));
      assert_true(!r.din[scalar] || wtl_tensor_numel(r.din[scalar]) == 1);
      op_result_free(&r);
      op_setup_free(&s);
    }
  }
  assert_true(ops >= 14);
  assert_false(wtl_op_broadcasts(wtl_op_find("matmul")));
}

static void empty_tensors(void **state) {
  wtl_tensor *x, *w, *y;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(0, 3, 4, 4), &x));
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(2, 3, 3, 3), &w));
  y = run_one("conv2d", "", x, w);
  assert_int_equal(wtl_tensor_numel(y), 0);
  wtl_tensor_release(y);
  y = run_one("sum", "dims=0", x, NULL);
  assert_true(wtl_tensor_numel(y) == 48 && at(y, 47) == 0);
  wtl_tensor_release(y);
  y = run_one("mean", "", x, NULL);
  assert_true(isnan(at(y, 0)));
  wtl_tensor_release(y);
  y = run_one("add", "", x, x);
  assert_int_equal(wtl_tensor_numel(y), 0);
  wtl_tensor_release(y);
  wtl_tensor_release(x);
  wtl_tensor_release(w);
}

/* Bounds that choose nothing give an empty tensor, as in Python, and a gradient of zeros. */
static void empty_slices(void **state) {
  const wtl_op *slice = wtl_op_find("slice");
  wtl_attr attr[WTL_MAX_ATTRS];
  wtl_tensor *x = tensor_of(SHAPE(2, 2), (double[]){ 1, 2, 3, 4 }), *y = run_one("slice", "dim=1 start=3", x, NULL), *dx;
  bool want = true;
  (void)state;
  assert_true(wtl_shape_equal(wtl_tensor_shape(y), SHAPE(2, 0)));
  op_parse_attrs(slice, "dim=1 start=3", attr);
  OK(wtl_op_vjp(ctx, slice, attr, &x, 1, &y, &want, &dx));
  for (int k = 0; k < 4; k++) assert_true(at(dx, k) == 0);
  wtl_tensor_release(y);
  wtl_tensor_release(dx);
  wtl_tensor_release(x);
}

/* ---- dropout ---- */

/* Of n elements about p*n are dropped, the rest grow so that the mean stays; the gradient goes the same way. */
static void dropout_rate_and_mask(void **state) {
  enum { N = 100003 };
  const double rates[] = { 0, 0.1, 0.5, 0.9 };
  const wtl_op *op = wtl_op_find("dropout");
  wtl_attr attr[WTL_MAX_ATTRS];
  wtl_tensor *x, *y, *g, *dx;
  bool want = true;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(N), &x));
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(N), &g));
  OK(wtl_tensor_fill(x, 2));
  OK(wtl_tensor_fill(g, 3));
  wtl_seed(ctx, 11);
  for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
    double p = rates[k], sd = sqrt(p * (1 - p) / N), dropped = 0, sum = 0;
    int runs = 0; /* of equal fate: independent elements change it 2p(1-p)N times */
    wtl_op_defaults(op, attr);
    attr[0].f = p, attr[1].i[0] = 1;
    OK(wtl_op_run(ctx, op, attr, &x, 1, &y));
    OK(wtl_op_vjp(ctx, op, attr, &x, 1, &g, &want, &dx));
    for (int64_t i = 0; i < N; i++) {
      bool kept = at(y, i) != 0;
      assert_true(at(y, i) == (kept ? 2 * (float)(1 / (1 - p)) : 0) && at(dx, i) == (kept ? 3 * (float)(1 / (1 - p)) : 0));
      dropped += !kept;
      sum += at(y, i);
      runs += i > 0 && kept != (at(y, i - 1) != 0);
    }
    double change = 2 * p * (1 - p);
    assert_true(fabs(dropped / N - p) <= 5 * sd);
    assert_true(fabs(sum / N - 2) <= 5 * 2 * sd / (1 - p) + 1e-6);
    assert_true(fabs(runs - change * (N - 1)) <= 10 * sqrt(change * N) + 1);
    wtl_tensor_release(y);
    wtl_tensor_release(dx);
  }
  wtl_tensor_release(x);
  wtl_tensor_release(g);
}

/* Every run draws anew, a seed begins again, and evaluation drops nothing. */
static void dropout_streams(void **state) {
  wtl_tensor *x, *y[4];
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(33), &x));
  OK(wtl_tensor_fill(x, 1));
  wtl_seed(ctx, 3);
  for (int k = 0; k < 2; k++) y[k] = run_one("dropout", "training=1", x, NULL);
  wtl_seed(ctx, 3);
  y[2] = run_one("dropout", "training=1", x, NULL);
  y[3] = run_one("dropout", "p=0.9", x, NULL);
  assert_false(op_same_bits(y[0], y[1]));
  assert_true(op_same_bits(y[0], y[2]) && op_same_bits(y[3], x));
  for (int k = 0; k < 4; k++) wtl_tensor_release(y[k]);
  wtl_tensor_release(x);
}

/* Absent output gradients stand for zeros. */
static void vjp_of_nothing(void **state) {
  const wtl_op *op = wtl_op_find("mul");
  wtl_tensor *in[2], *dout = NULL, *din[2];
  bool want[2] = { true, false };
  wtl_attr attr[WTL_MAX_ATTRS] = { { 0 } };
  (void)state;
  in[0] = tensor_of(SHAPE(2), (double[]){ 1, 2 });
  in[1] = tensor_of(SHAPE(2), (double[]){ 3, 4 });
  OK(wtl_op_vjp(ctx, op, attr, in, 2, &dout, want, din));
  assert_true(at(din[0], 0) == 0 && at(din[0], 1) == 0 && !din[1]);
  wtl_tensor_release(din[0]);
  wtl_tensor_release(in[0]);
  wtl_tensor_release(in[1]);
}

/* In evaluation the running statistics stay as they are. */
static void evaluation_changes_nothing(void **state) {
  const op_case c = { "batch_norm", "[3,2,4] [2] [2] [2] [2]", "", false };
  op_setup s;
  op_result r;
  (void)state;
  op_setup_make(&c, WTL_F32, &s);
  OK(op_result_run(&s, &r));
  assert_true(op_same_bits(r.state[3], s.in[3]) && op_same_bits(r.state[4], s.in[4]));
  op_result_free(&r);
  op_setup_free(&s);
}

/* ---- costs ---- */

static void cost_of(const char *name, const char *inputs, const char *attrs, wtl_cost *forward,
                    wtl_cost *backward) {
  const op_case c = { name, inputs, attrs, false };
  op_setup s;
  op_setup_make(&c, WTL_F32, &s);
  wtl_infer f = { .ctx = ctx, .op = s.op, .attr = s.attr, .n_in = s.n_in, .real = WTL_F32 };
  for (int i = 0; i < s.n_in; i++) {
    f.present[i] = s.in[i] != NULL;
    if (!s.in[i]) continue;
    f.in[i] = *wtl_tensor_shape(s.in[i]);
    f.in_dtype[i] = wtl_tensor_dtype(s.in[i]);
  }
  OK(wtl_op_infer(&f));
  s.op->rules->cost(&f, forward, backward);
  op_setup_free(&s);
}

static void costs(void **state) {
  wtl_cost f, b;
  (void)state;
  cost_of("conv2d", "[2,3,8,8] [16,3,3,3] [16]", "padding=1,1 stride=2,2", &f, &b);
  assert_true(f.flops == 2.0 * 2 * 16 * 4 * 4 * 27 && b.flops == 2 * f.flops);
  assert_true(f.bytes == 4.0 * (2 * 3 * 64 + 16 * 27 + 16 + 2 * 16 * 16));
  cost_of("conv2d", "[1,16,8,8] [16,1,3,3]", "padding=1,1 groups=16", &f, &b);
  assert_true(f.flops == 2.0 * 16 * 64 * 9);
  cost_of("linear", "[5,7] [3,7] [3]", "", &f, &b);
  assert_true(f.flops == 2.0 * 5 * 7 * 3 && f.bytes == 4.0 * (35 + 21 + 3 + 15) && b.flops == 2 * f.flops);
  cost_of("matmul", "[5,7] [7,3]", "", &f, &b);
  assert_true(f.flops == 2.0 * 5 * 7 * 3 && f.bytes == 4.0 * (35 + 21 + 15));
  cost_of("layer_norm", "[5,7,3] [3] [3]", "dims=1", &f, &b);
  assert_true(f.bytes == 4.0 * (2 * 105 + 2 * 3) && b.bytes == 4.0 * (3 * 105 + 3 * 3));
  for (int k = 0; k < OP_CASES; k++) {
    cost_of(op_cases[k].op, op_cases[k].inputs, op_cases[k].attrs, &f, &b);
    assert_true(f.flops >= 0 && f.bytes >= 0 && b.flops >= 0 && b.bytes >= 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(table_is_complete), CASE(rows_mean_what_they_say), CASE(every_op_has_cases),
    CASE(gradients), CASE(gradcheck_can_fail), CASE(f32_agrees_with_f64), CASE(bits_do_not_depend_on_threads),
    CASE(strided_inputs), CASE(strided_state), CASE(memory_gone),
    CASE(shape_errors), CASE(type_errors), CASE(labels_out_of_range),
    CASE(nan_passes), CASE(large_logits_do_not_overflow), CASE(ties), CASE(empty_tensors), CASE(scalars_broadcast), CASE(vjp_of_nothing),
    CASE(empty_slices), CASE(dropout_rate_and_mask), CASE(dropout_streams),
    CASE(evaluation_changes_nothing), CASE(costs),
  };
  return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
