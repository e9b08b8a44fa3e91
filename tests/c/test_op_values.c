/* Values that no random case meets, for the element-wise ops, the comparisons, softmax and the losses: NaN, infinities,
 * ties, kinks and overflow, forward and backward, in f32 and f64. The expected numbers are PyTorch's unless a comment
 * says otherwise; finite ones that op files get from PyTorch directly are in tests/golden. */
#include "op_cases.h"

enum { MOST = 6 };

/* One call: up to three inputs of n elements each ("1": a broadcast scalar), the output, and for dy = 1 the inputs'
 * gradients; those that are not to be looked at are left out. */
typedef struct value_case {
  const char *op, *attrs;
  int n, n_in;
  double in[3][MOST], y[MOST], din[3][MOST];
  bool want[3];
} value_case;

#define INF INFINITY

static const value_case cases[] = {
  { "div", "", 5, 2, { { 1, -1, 0, INF, NAN }, { 0, 0, 0, 2, 1 } }, { INF, -INF, NAN, INF, NAN },
    { { INF, INF, INF, 0.5, 1 } }, { true } },
  { "pow", "", 6, 2, { { 0, 0, -2, -2, 2, -2 }, { 0, 2, 2, 3, 0, 0.5 } }, { 1, 0, 4, -8, 1, NAN },
    { { 0, 0, -4, 12, 0, NAN } }, { true } },
  { "pow", "", 4, 2, { { 0, 0, 2, 4 }, { 0, 1, 0, 0.5 } }, { 1, 0, 1, 2 },
    { { 0, 1, 0, 0.25 }, { 0, 0, 0.69314718055994531, 2.7725887222397811 } }, { true, true } },
  { "maximum", "", 6, 2, { { 1, 2, NAN, 1, INF, -0.0 }, { 1, 1, 0, NAN, INF, 3 } }, { 1, 2, NAN, NAN, INF, 3 },
    { { 0.5, 1, 1, 1, 0.5, 0 }, { 0.5, 0, 1, 1, 0.5, 1 } }, { true, true } },
  { "minimum", "", 6, 2, { { 1, 2, NAN, 1, -INF, 4 }, { 1, 1, 0, NAN, -INF, 3 } }, { 1, 1, NAN, NAN, -INF, 3 },
    { { 0.5, 0, 1, 1, 0.5, 0 }, { 0.5, 1, 1, 1, 0.5, 1 } }, { true, true } },
  { "gt", "", 5, 2, { { 1, 2, NAN, INF, -INF }, { 1, 1, 0, INF, NAN } }, { 0, 1, 0, 0, 0 }, { { 0 } }, { false } },
  { "ge", "", 5, 2, { { 1, 2, NAN, INF, -INF }, { 1, 1, 0, INF, NAN } }, { 1, 1, 0, 1, 0 }, { { 0 } }, { false } },
  { "lt", "", 5, 2, { { 1, 0, NAN, INF, -INF }, { 1, 1, 0, INF, NAN } }, { 0, 1, 0, 0, 0 }, { { 0 } }, { false } },
  { "le", "", 5, 2, { { 1, 2, NAN, INF, -INF }, { 1, 1, 0, INF, NAN } }, { 1, 0, 0, 1, 0 }, { { 0 } }, { false } },
  { "eq", "", 5, 2, { { 1, 2, NAN, INF, -0.0 }, { 1, 1, NAN, INF, 0 } }, { 1, 0, 0, 1, 1 }, { { 0 } }, { false } },
  { "ne", "", 5, 2, { { 1, 2, NAN, INF, -0.0 }, { 1, 1, NAN, INF, 0 } }, { 0, 1, 1, 0, 0 }, { { 0 } }, { false } },
  { "where", "", 5, 3, { { 1, 0, -0.0, NAN, 0.5 }, { 1, NAN, 3, 4, 5 }, { NAN, 7, 8, 9, NAN } }, { 1, 7, 8, 4, 5 },
    { { 0, 0, 0, 0, 0 }, { 1, 0, 0, 1, 1 }, { 0, 1, 1, 0, 0 } }, { true, true, true } },
  { "exp", "", 5, 1, { { -INF, -1e4, 1e4, NAN, 0 } }, { 0, 0, INF, NAN, 1 }, { { 0, 0, INF, NAN, 1 } }, { true } },
  { "log", "", 5, 1, { { 0, -1, INF, NAN, 1 } }, { -INF, NAN, INF, NAN, 0 }, { { INF, -1, 0, NAN, 1 } }, { true } },
  { "sqrt", "", 5, 1, { { 0, -1, INF, NAN, 4 } }, { 0, NAN, INF, NAN, 2 }, { { INF, NAN, 0, NAN, 0.25 } }, { true } },
  { "abs", "", 5, 1, { { 0, -0.0, -INF, NAN, -3 } }, { 0, 0, INF, NAN, 3 }, { { 0, 0, -1, 0, -1 } }, { true } },
  { "sigmoid", "", 6, 1, { { 1000, -1000, INF, -INF, NAN, 0 } }, { 1, 0, 1, 0, NAN, 0.5 },
    { { 0, 0, 0, 0, NAN, 0.25 } }, { true } },
  { "tanh", "", 6, 1, { { 1000, -1000, INF, -INF, NAN, 0 } }, { 1, -1, 1, -1, NAN, 0 },
    { { 0, 0, 0, 0, NAN, 1 } }, { true } },
  { "relu6", "", 6, 1, { { -INF, INF, NAN, 0, 6, 3 } }, { 0, 6, NAN, 0, 6, 3 }, { { 0, 0, 1, 0, 0, 1 } }, { true } },
  { "silu", "", 6, 1, { { 1000, -1000, INF, -INF, NAN, 0 } }, { 1000, 0, INF, NAN, NAN, 0 }, { { 0 } }, { false } },
  { "silu", "", 4, 1, { { 1000, -1000, NAN, 0 } }, { 1000, 0, NAN, 0 }, { { 1, 0, NAN, 0.5 } }, { true } },
  { "gelu", "", 6, 1, { { 1000, -1000, INF, -INF, NAN, 0 } }, { 1000, 0, INF, NAN, NAN, 0 }, { { 0 } }, { false } },
  { "gelu", "", 4, 1, { { 1000, -1000, NAN, 0 } }, { 1000, 0, NAN, 0 }, { { 1, 0, NAN, 0.5 } }, { true } },
  { "gelu", "tanh=1", 6, 1, { { 1000, -1000, INF, -INF, NAN, 0 } }, { 1000, 0, INF, NAN, NAN, 0 }, { { 0 } },
    { false } },
  { "gelu", "tanh=1", 4, 1, { { 1000, -1000, NAN, 0 } }, { 1000, 0, NAN, 0 }, { { 1, 0, NAN, 0.5 } }, { true } },
  { "hardswish", "", 6, 1, { { 1000, -1000, INF, -INF, NAN, 0 } }, { 1000, 0, INF, NAN, NAN, 0 },
    { { 1, 0, 1, 0, NAN, 0.5 } }, { true } },
  { "hardsigmoid", "", 6, 1, { { 1000, -1000, INF, -INF, NAN, 0 } }, { 1, 0, 1, 0, NAN, 0.5 },
    { { 0, 0, 0, 0, 0, 1.0 / 6 } }, { true } },
  { "layer_norm", "", 3, 1, { { 1, NAN, 2 } }, { NAN, NAN, NAN }, { { 0 } }, { false } },
  { "layer_norm", "", 3, 1, { { 1, INF, 2 } }, { NAN, NAN, NAN }, { { 0 } }, { false } },
  { "layer_norm", "", 3, 1, { { 7, 7, 7 } }, { 0, 0, 0 }, { { 0, 0, 0 } }, { true } },
  { "layer_norm", "", 1, 1, { { 7 } }, { 0 }, { { 0 } }, { true } },
  { "clamp", "min=-1 max=1", 6, 1, { { -1, 1, 1.5, NAN, -INF, 0 } }, { -1, 1, 1, NAN, -1, 0 },
    { { 1, 1, 0, 0, 0, 1 } }, { true } },
  { "clamp", "", 4, 1, { { -INF, INF, NAN, 3 } }, { -INF, INF, NAN, 3 }, { { 1, 1, 0, 1 } }, { true } },
  { "clamp", "min=2 max=2", 3, 1, { { 1, 2, 3 } }, { 2, 2, 2 }, { { 0, 1, 0 } }, { true } },
  { "softmax", "dim=0", 4, 1, { { 1e4, 1e4, -1e4, -INF } }, { 0.5, 0.5, 0, 0 }, { { 0, 0, 0, 0 } }, { true } },
  { "softmax", "dim=0", 3, 1, { { 1, NAN, 2 } }, { NAN, NAN, NAN }, { { 0 } }, { false } },
  { "softmax", "dim=0", 2, 1, { { -INF, -INF } }, { NAN, NAN }, { { 0 } }, { false } },
  { "log_softmax", "dim=0", 3, 1, { { 1e4, 0, -INF } }, { 0, -1e4, -INF }, { { -2, 1, 1 } }, { true } },
  { "log_softmax", "dim=0", 2, 1, { { INF, 1 } }, { NAN, NAN }, { { 0 } }, { false } },
  { "log_softmax", "dim=0", 3, 1, { { NAN, 1, 2 } }, { NAN, NAN, NAN }, { { 0 } }, { false } },
};

/* Equal to a few roundings of f32; NaN is like NaN. */
static bool like(double a, double b) {
  return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-6 * fabs(b);
}

static wtl_tensor *values(const double *v, int n, wtl_dtype d) {
  wtl_tensor *wide, *t;
  OK(wtl_tensor_create(ctx, WTL_F64, SHAPE(n), &wide));
  memcpy(wtl_tensor_data(wide), v, wtl_tensor_bytes(wide));
  OK(wtl_tensor_convert(wide, d, &t));
  wtl_tensor_release(wide);
  return t;
}

static void expect(const value_case *c, const char *what, int i, wtl_tensor *got, const double *want) {
  for (int64_t k = 0; k < c->n; k++) {
    double v;
    OK(wtl_tensor_get(got, &k, &v));
    if (!like(v, want[k]))
      fail_msg("%s %s in %s: %s %d of element %d is %g, not %g", c->op, c->attrs,
               wtl_dtype_name(wtl_tensor_dtype(got)), what, i, (int)k, v, want[k]);
  }
}

static void run_case(const value_case *c, wtl_dtype d) {
  const wtl_op *op = wtl_op_find(c->op);
  wtl_attr attr[WTL_MAX_ATTRS];
  wtl_tensor *in[3] = { NULL }, *y, *dy, *din[3] = { NULL };
  op_parse_attrs(op, c->attrs, attr);
  for (int i = 0; i < c->n_in; i++) in[i] = values(c->in[i], c->n, d);
  OK(wtl_op_run(ctx, op, attr, in, c->n_in, &y));
  expect(c, "output", 0, y, c->y);
  if (c->want[0] || c->want[1]) {
    OK(wtl_tensor_create(ctx, d, SHAPE(c->n), &dy));
    OK(wtl_tensor_fill(dy, 1));
    OK(wtl_op_vjp(ctx, op, attr, in, c->n_in, &dy, c->want, din));
    for (int i = 0; i < c->n_in; i++)
      if (c->want[i]) expect(c, "gradient", i, din[i], c->din[i]);
    wtl_tensor_release(dy);
  }
  for (int i = 0; i < 3; i++) wtl_tensor_release(in[i]), wtl_tensor_release(din[i]);
  wtl_tensor_release(y);
}

static void special_values(void **state) {
  (void)state;
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    run_case(&cases[k], WTL_F32);
    run_case(&cases[k], WTL_F64);
  }
}

/* A square takes the short way by itself, broadcast or not, and gives the same bits. */
static void squares_everywhere(void **state) {
  const double x[MOST] = { 1.1, -2.3, 1e20, 3e-20, 7, -0.1 }, two[MOST] = { 2, 2, 2, 2, 2, 2 };
  const wtl_op *op = wtl_op_find("pow");
  wtl_attr attr[WTL_MAX_ATTRS] = { { 0 } };
  (void)state;
  for (int d = WTL_F32; d <= WTL_F64; d++) {
    wtl_tensor *in[2] = { values(x, MOST, (wtl_dtype)d), values(two, MOST, (wtl_dtype)d) }, *each, *once;
    wtl_tensor *scalar = values(two, 1, (wtl_dtype)d);
    OK(wtl_op_run(ctx, op, attr, in, 2, &each));
    OK(wtl_op_run(ctx, op, attr, (wtl_tensor *[]){ in[0], scalar }, 2, &once));
    assert_true(op_same_bits(each, once));
    for (int i = 0; i < 2; i++) wtl_tensor_release(in[i]);
    wtl_tensor_release(scalar);
    wtl_tensor_release(each);
    wtl_tensor_release(once);
  }
}

/* ---- losses ---- */

typedef struct loss_case {
  const char *op, *attrs;
  int n;
  double x[MOST], target[MOST], y, dx[MOST];
} loss_case;

static const loss_case losses[] = {
  { "mse_loss", "", 2, { 1, NAN }, { 0, 0 }, NAN, { 1, NAN } },
  { "mse_loss", "", 2, { 3, INF }, { 3, 0 }, INF, { 0, INF } },
  { "binary_cross_entropy", "", 2, { 0, 1 }, { 1, 0 }, 100, { -0.5e12, 0.5e12 } },
  { "binary_cross_entropy", "", 2, { 0, 1 }, { 0, 1 }, 0, { 0, 0 } },
  { "binary_cross_entropy", "", 2, { NAN, 0.5 }, { 0, 1 }, NAN, { NAN, -1 } },
  { "binary_cross_entropy_with_logits", "", 2, { 1000, -1000 }, { 0, 1 }, 1000, { 0.5, -0.5 } },
  { "binary_cross_entropy_with_logits", "", 2, { 1000, -1000 }, { 1, 0 }, 0, { 0, 0 } },
  { "binary_cross_entropy_with_logits", "", 2, { NAN, 0 }, { 1, 0.5 }, NAN, { NAN, 0 } },
  { "kl_div", "", 2, { -1, -2 }, { 0, 1 }, 1, { 0, -0.5 } },
  { "kl_div", "", 2, { -INF, 0 }, { 1, 0 }, INF, { -0.5, 0 } },
  { "kl_div", "", 2, { NAN, 0 }, { 0, 1 }, NAN, { 0, -0.5 } },
};

static void loss_values(void **state) {
  (void)state;
  for (size_t k = 0; k < sizeof losses / sizeof *losses; k++)
    for (int d = WTL_F32; d <= WTL_F64; d++) {
      const loss_case *l = &losses[k];
      const value_case as = { .op = l->op, .attrs = l->attrs, .n = l->n };
      const wtl_op *op = wtl_op_find(l->op);
      wtl_attr attr[WTL_MAX_ATTRS];
      wtl_tensor *in[2] = { values(l->x, l->n, (wtl_dtype)d), values(l->target, l->n, (wtl_dtype)d) }, *y, *dy, *dx[2];
      double v;
      op_parse_attrs(op, l->attrs, attr);
      OK(wtl_op_run(ctx, op, attr, in, 2, &y));
      OK(wtl_tensor_get(y, NULL, &v));
      if (!like(v, l->y)) fail_msg("%s, case %d: %g, not %g", l->op, (int)k, v, l->y);
      OK(wtl_tensor_create(ctx, (wtl_dtype)d, &(wtl_shape){ 0 }, &dy));
      OK(wtl_tensor_fill(dy, 1));
      OK(wtl_op_vjp(ctx, op, attr, in, 2, &dy, (const bool[]){ true, false }, dx));
      expect(&as, "gradient", 0, dx[0], l->dx);
      for (int i = 0; i < 2; i++) wtl_tensor_release(in[i]);
      wtl_tensor_release(dx[0]);
      wtl_tensor_release(dy);
      wtl_tensor_release(y);
    }
}

/* What is no probability is named, and a NaN beside it does not hide it. */
static void not_a_probability(void **state) {
  const double bad[2][3] = { { 0.5, 1.5, 0 }, { NAN, 0.5, -0.25 } }, target[3] = { 0, 1, 0 };
  const char *message[2] = { "binary_cross_entropy: element 1 of x is 1.5; probabilities are in 0..1",
                             "binary_cross_entropy: element 2 of x is -0.25; probabilities are in 0..1" };
  wtl_attr attr[WTL_MAX_ATTRS] = { { 0 } };
  wtl_tensor *y;
  (void)state;
  for (int k = 0; k < 2; k++) {
    wtl_tensor *in[2] = { values(bad[k], 3, WTL_F32), values(target, 3, WTL_F32) };
    FAILS(wtl_op_run(ctx, wtl_op_find("binary_cross_entropy"), attr, in, 2, &y), WTL_ERR_ARG, message[k]);
    wtl_tensor_release(in[0]);
    wtl_tensor_release(in[1]);
  }
}

/* With smoothing an impossible class costs infinitely much; without, it does not count (as in PyTorch). */
static void smoothing_and_infinity(void **state) {
  const double logits[3] = { 2, -INF, 1 };
  const wtl_op *op = wtl_op_find("cross_entropy");
  wtl_attr attr[WTL_MAX_ATTRS];
  wtl_tensor *flat = values(logits, 3, WTL_F64), *in[2], *y;
  double v;
  (void)state;
  OK(wtl_tensor_reshape(flat, SHAPE(1, 3), &in[0]));
  OK(wtl_tensor_create(ctx, WTL_I64, SHAPE(1), &in[1]));
  for (int k = 0; k < 2; k++) {
    op_parse_attrs(op, k ? "label_smoothing=0.1" : "", attr);
    OK(wtl_op_run(ctx, op, attr, in, 2, &y));
    OK(wtl_tensor_get(y, NULL, &v));
    assert_true(like(v, k ? INF : log(1 + exp(-1))));
    wtl_tensor_release(y);
  }
  wtl_tensor_release(flat);
  wtl_tensor_release(in[0]);
  wtl_tensor_release(in[1]);
}

static void nothing_to_do(void **state) {
  const char *const names[] = { "sub", "div", "where", "exp", "clamp", "softmax", "eq", "mse_loss", "kl_div" };
  wtl_tensor *empty, *y;
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(0, 3), &empty));
  for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
    const wtl_op *op = wtl_op_find(names[k]);
    wtl_attr attr[WTL_MAX_ATTRS];
    op_parse_attrs(op, op->n_attr == 1 ? "dim=0" : "", attr);
    OK(wtl_op_run(ctx, op, attr, (wtl_tensor *[]){ empty, empty, empty }, op->n_in, &y));
    if (wtl_tensor_numel(y) == 1) assert_true(isnan(*(const float *)wtl_tensor_cdata(y))); /* the mean of nothing */
    else assert_true(wtl_shape_equal(wtl_tensor_shape(y), SHAPE(0, 3)));
    wtl_tensor_release(y);
  }
  wtl_tensor_release(empty);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(special_values), CASE(squares_everywhere), CASE(loss_values), CASE(not_a_probability),
    CASE(smoothing_and_infinity), CASE(nothing_to_do),
  };
  return cmocka_run_group_tests_name("op_values", tests, NULL, NULL);
}
