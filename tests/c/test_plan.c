/* Graphs and plans: a small residual network is traced in C, differentiated, checked against central differences in
 * double, run through every provider, and broken on purpose. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "wattle.h"

#define OK(expr) ok(expr, #expr, __LINE__)
static wtl_ctx *ctx;

static void ok(wtl_status s, const char *what, int line) {
  if (s != WTL_OK) fail_msg("line %d: %s: %s: %s", line, what, wtl_status_name(s), wtl_message(ctx));
}

static int setup(void **state) {
  (void)state;
  return wtl_ctx_create(2, &ctx) != WTL_OK;
}

static int teardown(void **state) {
  wtl_memory m;
  (void)state;
  wtl_memory_stats(ctx, &m);
  uint64_t live = m.live;
  wtl_ctx_destroy(ctx);
  return live != 0; /* every test gives back what it took */
}

/* ---- a residual network: conv-bn-relu, then a block with a 1x1 shortcut, pooling, linear, cross-entropy ---- */

enum { BATCH = 3, SIDE = 9, CLASSES = 5, MAX_PARAMS = 24 };

typedef struct net {
  wtl_graph *g;
  wtl_dtype dtype;
  wtl_param *param[MAX_PARAMS];
  const char *name[MAX_PARAMS];
  int n;
  wtl_value input, target, logits;
} net;

static wtl_tensor *random_tensor(wtl_dtype d, int ndim, const int64_t *size, const char *name, double mean, double sd) {
  wtl_shape s = { .ndim = ndim };
  wtl_tensor *t;
  memcpy(s.size, size, sizeof(int64_t) * (size_t)ndim);
  OK(wtl_tensor_create(ctx, d, &s, &t));
  wtl_rng r = wtl_rng_make(1, "test", name, 0);
  OK(wtl_tensor_normal(t, &r, mean, sd));
  return t;
}

static wtl_value add_param(net *m, const char *name, wtl_param_kind kind, double mean, double sd, int ndim, int64_t a, int64_t b, int64_t c, int64_t d) {
  wtl_value v;
  wtl_tensor *t = random_tensor(m->dtype, ndim, (int64_t[]){ a, b, c, d }, name, mean, sd);
  OK(wtl_param_create(ctx, t, kind, &m->param[m->n]));
  wtl_tensor_release(t);
  OK(wtl_graph_param(m->g, name, m->param[m->n], &v));
  m->name[m->n++] = name;
  return v;
}

static wtl_value op1(net *m, const char *name, const wtl_attr *attr, int n_in, const wtl_value *in) {
  wtl_value out[WTL_MAX_OUT];
  wtl_attr a[WTL_MAX_ATTRS];
  const wtl_op *op = wtl_op_find(name);
  assert_non_null(op);
  wtl_op_defaults(op, a);
  if (attr) memcpy(a, attr, sizeof a);
  OK(wtl_graph_op(m->g, op, a, in, n_in, out));
  return out[0];
}

static wtl_value conv(net *m, const char *name, wtl_value x, int64_t cin, int64_t cout, int64_t kernel, int64_t stride) {
  wtl_attr a[WTL_MAX_ATTRS];
  wtl_op_defaults(wtl_op_find("conv2d"), a);
  a[0] = (wtl_attr){ .n = 2, .i = { stride, stride } };
  a[1] = (wtl_attr){ .n = 2, .i = { kernel / 2, kernel / 2 } };
  wtl_value w = add_param(m, name, WTL_PARAMETER, 0, 0.4, 4, cout, cin, kernel, kernel);
  return op1(m, "conv2d", a, 3, (wtl_value[]){ x, w, -1 });
}

static wtl_value norm(net *m, const char *const names[4], wtl_value x, int64_t c) {
  wtl_attr a[WTL_MAX_ATTRS];
  wtl_op_defaults(wtl_op_find("batch_norm"), a);
  a[0].i[0] = 1;
  wtl_value in[5] = { x };
  in[1] = add_param(m, names[0], WTL_PARAMETER, 1, 0.1, 1, c, 0, 0, 0);
  in[2] = add_param(m, names[1], WTL_PARAMETER, 0, 0.1, 1, c, 0, 0, 0);
  in[3] = add_param(m, names[2], WTL_BUFFER, 0, 0, 1, c, 0, 0, 0);
  in[4] = add_param(m, names[3], WTL_BUFFER, 1, 0, 1, c, 0, 0, 0);
  return op1(m, "batch_norm", a, 5, in);
}
#define NORM(m, x, c, p) norm(m, (const char *const[]){ p ".weight", p ".bias", p ".running_mean", p ".running_var" }, x, c)

static void build(net *m, wtl_dtype dtype, int64_t width) {
  wtl_shape x = { 4, { BATCH, 1, SIDE, SIDE } }, y = { 1, { BATCH } };
  memset(m, 0, sizeof *m);
  m->dtype = dtype;
  OK(wtl_graph_create(ctx, dtype, &m->g));
  OK(wtl_graph_input(m->g, "x", WTL_F32, &x, &m->input));
  OK(wtl_graph_input(m->g, "y", WTL_I64, &y, &m->target));
  wtl_value h = op1(m, "relu", NULL, 1, (wtl_value[]){ NORM(m, conv(m, "conv1", m->input, 1, width, 3, 1), width, "bn1") });
  OK(wtl_graph_scope(m->g, "block"));
  wtl_value a = op1(m, "relu", NULL, 1, (wtl_value[]){ NORM(m, conv(m, "b.conv1", h, width, 2 * width, 3, 2), 2 * width, "b.bn1") });
  wtl_value b = NORM(m, conv(m, "b.conv2", a, 2 * width, 2 * width, 3, 1), 2 * width, "b.bn2");
  wtl_value s = NORM(m, conv(m, "b.short", h, width, 2 * width, 1, 2), 2 * width, "b.bn3");
  h = op1(m, "relu", NULL, 1, (wtl_value[]){ op1(m, "add", NULL, 2, (wtl_value[]){ b, s }) });
  OK(wtl_graph_scope(m->g, ""));
  h = op1(m, "global_avg_pool2d", NULL, 1, &h);
  wtl_value w = add_param(m, "fc.weight", WTL_PARAMETER, 0, 0.5, 2, CLASSES, 2 * width, 0, 0);
  wtl_value c = add_param(m, "fc.bias", WTL_PARAMETER, 0, 0.5, 1, CLASSES, 0, 0, 0);
  m->logits = op1(m, "linear", NULL, 3, (wtl_value[]){ h, w, c });
  OK(wtl_graph_output(m->g, "logits", m->logits));
  OK(wtl_graph_loss(m->g, op1(m, "cross_entropy", NULL, 2, (wtl_value[]){ m->logits, m->target })));
  OK(wtl_graph_metric(m->g, op1(m, "count_correct", NULL, 2, (wtl_value[]){ m->logits, m->target })));
}

static void drop(net *m) {
  for (int i = 0; i < m->n; i++) wtl_param_release(m->param[i]);
  wtl_graph_release(m->g);
}

static void batch(int64_t n, wtl_tensor *in[2]) {
  wtl_shape y = { 1, { n } };
  in[0] = random_tensor(WTL_F32, 4, (int64_t[]){ n, 1, SIDE, SIDE }, "batch", 0, 1);
  OK(wtl_tensor_create(ctx, WTL_I64, &y, &in[1]));
  for (int64_t i = 0; i < n; i++) ((int64_t *)wtl_tensor_data(in[1]))[i] = (i * 3 + 1) % CLASSES;
}

static void drop2(wtl_tensor *in[2]) { wtl_tensor_release(in[0]), wtl_tensor_release(in[1]); }

static wtl_plan *compile(net *m, const char *backend, const wtl_optim *optim, bool gradients) {
  wtl_plan *p;
  OK(wtl_plan_compile(ctx, m->g, &(wtl_plan_options){ .optim = optim, .backend = backend, .gradients = gradients }, &p));
  return p;
}

static const wtl_optim SGD = { .kind = "sgd", .lr = 0.05, .momentum = 0.9, .weight_decay = 5e-4, .nesterov = true };

/* ---- tests ---- */

static void gradients_match_central_differences(void **state) {
  net m;
  wtl_tensor *in[2];
  wtl_step step, up, down;
  (void)state;
  build(&m, WTL_F64, 3);
  batch(BATCH, in);
  wtl_plan *p = compile(&m, "reference", NULL, true);
  OK(wtl_plan_step(p, in, 2, &step));
  for (int i = 0; i < m.n; i++) {
    wtl_tensor *g;
    if (wtl_param_kind_of(m.param[i]) == WTL_BUFFER) continue;
    OK(wtl_plan_param_gradient(p, m.param[i], &g));
    double *w = wtl_tensor_data(wtl_param_tensor(m.param[i])), eps = 1e-6;
    const double *d = wtl_tensor_cdata(g);
    for (int64_t k = 0; k < wtl_tensor_numel(g); k += 1 + wtl_tensor_numel(g) / 7) {
      double was = w[k];
      w[k] = was + eps, wtl_param_touch(m.param[i]);
      OK(wtl_plan_forward(p, in, 2, NULL, &up));
      w[k] = was - eps, wtl_param_touch(m.param[i]);
      OK(wtl_plan_forward(p, in, 2, NULL, &down));
      w[k] = was, wtl_param_touch(m.param[i]);
      double numeric = (up.loss - down.loss) / (2 * eps);
      if (fabs(numeric - d[k]) > 1e-6 * (1 + fabs(numeric)))
        fail_msg("%s[%lld]: gradient %.10g, central difference %.10g", m.name[i], (long long)k, d[k], numeric);
    }
    wtl_tensor_release(g);
  }
  wtl_plan_release(p);
  drop2(in);
  drop(&m);
}

/* Widths that are a multiple of the block, below it, and not a multiple: the padded channels must not leak. */
static void providers_agree(void **state) {
  static const char *const backend[] = { "reference", "blas", "auto" };
  static const int64_t width[] = { 8, 3, 12 };
  (void)state;
  for (size_t w = 0; w < 3; w++) {
    double loss[3], grad[3];
    for (size_t b = 0; b < 3; b++) {
      net m;
      wtl_tensor *in[2], *g;
      wtl_step step;
      build(&m, WTL_F32, width[w]);
      batch(BATCH, in);
      wtl_plan *p = compile(&m, backend[b], &SGD, true);
      for (int k = 0; k < 3; k++) OK(wtl_plan_step(p, in, 2, &step));
      OK(wtl_plan_param_gradient(p, m.param[0], &g));
      loss[b] = step.loss;
      grad[b] = ((const float *)wtl_tensor_cdata(g))[4];
      wtl_tensor_release(g);
      wtl_plan_release(p);
      drop2(in);
      drop(&m);
    }
    for (size_t b = 1; b < 3; b++) {
      assert_float_equal(loss[b], loss[0], 2e-4);
      assert_float_equal(grad[b], grad[0], 2e-3);
    }
  }
}

static int count(const char *text, const char *what) {
  int n = 0;
  for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) n++;
  return n;
}

static void no_reorders_inside(void **state) {
  net m;
  wtl_plan_info info;
  (void)state;
  build(&m, WTL_F32, 8);
  if (!strstr(wtl_build_info(), "providers: onednn")) { /* not taken for another backend in silence */
    wtl_plan *none;
    assert_int_equal(wtl_plan_compile(ctx, m.g, &(wtl_plan_options){ .backend = "onednn" }, &none), WTL_ERR_UNSUPPORTED);
    drop(&m);
    return;
  }
  wtl_plan *p = compile(&m, "onednn", &SGD, false);
  OK(wtl_plan_info_get(p, &info));
  wtl_text t;
  wtl_text_init(&t, ctx);
  OK(wtl_plan_describe(p, &t));
  /* One copy at the door, where the single input channel is padded for the first layer's weight gradient; none inside. */
  if (info.reorders > 1 || count(t.s, "[3,1,9,9] logical -> ") != info.reorders) {
    for (char *line = strtok(t.s, "\n"); line; line = strtok(NULL, "\n"))
      if (strstr(line, " -> ")) print_error("%s\n", line);
    fail_msg("%d reorders", info.reorders);
  }
  assert_non_null(strstr(t.s, "jit"));
  assert_true(info.weight_forms > 0);
  assert_true(info.arena_bytes < info.sum_bytes);
  wtl_text_free(&t);
  wtl_plan_release(p);
  drop(&m);
}

static void steps_allocate_nothing_and_repeat_bit_for_bit(void **state) {
  static const char *const backend[] = { "reference", "blas", "auto" };
  (void)state;
  for (size_t b = 0; b < 3; b++) {
    wtl_tensor *last[2];
    for (int round = 0; round < 2; round++) {
      net m;
      wtl_tensor *in[2];
      wtl_step step;
      wtl_memory before, after;
      build(&m, WTL_F32, 8);
      batch(BATCH, in);
      wtl_plan *p = compile(&m, backend[b], &SGD, false);
      OK(wtl_plan_step(p, in, 2, &step));
      wtl_memory_stats(ctx, &before);
      for (int k = 0; k < 9; k++) OK(wtl_plan_step(p, in, 2, &step));
      wtl_memory_stats(ctx, &after);
      assert_int_equal(after.allocations, before.allocations);
      OK(wtl_tensor_clone(wtl_param_tensor(m.param[0]), &last[round]));
      wtl_plan_release(p);
      drop2(in);
      drop(&m);
    }
    assert_memory_equal(wtl_tensor_cdata(last[0]), wtl_tensor_cdata(last[1]), wtl_tensor_bytes(last[0]));
    drop2(last);
  }
}

static void another_batch_specialises_and_shares(void **state) {
  net m;
  wtl_tensor *three[2], *two[2], *big[2];
  wtl_step step;
  wtl_plan_info info;
  (void)state;
  build(&m, WTL_F32, 8);
  batch(3, three), batch(2, two), batch(7, big);
  wtl_plan *p = compile(&m, "auto", &SGD, false);
  OK(wtl_plan_step(p, three, 2, &step));
  OK(wtl_plan_step(p, two, 2, &step));
  assert_int_equal(step.samples, 2);
  OK(wtl_plan_step(p, big, 2, &step));
  double before = step.loss;
  OK(wtl_plan_step(p, big, 2, &step));
  assert_true(step.loss < before + 1);
  OK(wtl_plan_step(p, three, 2, &step));
  OK(wtl_plan_info_get(p, &info));
  assert_int_equal(info.specialisations, 3);
  wtl_plan_release(p);
  drop2(three), drop2(two), drop2(big);
  drop(&m);
}

static void expect(wtl_status got, wtl_status want, const char *text) {
  if (got != want || !strstr(wtl_message(ctx), text))
    fail_msg("wanted %s with \"%s\", got %s: %s", wtl_status_name(want), text, wtl_status_name(got), wtl_message(ctx));
}

static void misuse_is_told(void **state) {
  net m;
  wtl_tensor *in[2], *wrong;
  wtl_step step;
  wtl_stamp *stamp;
  double lr;
  (void)state;
  build(&m, WTL_F32, 4);
  OK(wtl_stamp_create(ctx, &stamp));
  OK(wtl_graph_stamp(m.g, stamp));
  batch(BATCH, in);
  wtl_plan *p = compile(&m, "auto", &SGD, false);
  wrong = random_tensor(WTL_F32, 4, (int64_t[]){ 3, 1, 8, 9 }, "wrong", 0, 1);
  expect(wtl_plan_step(p, (wtl_tensor *[]){ wrong, in[1] }, 2, &step), WTL_ERR_SHAPE, "input x is [3,1,8,9]");
  expect(wtl_plan_step(p, in, 1, &step), WTL_ERR_ARG, "takes 2 inputs");
  expect(wtl_plan_step(p, (wtl_tensor *[]){ in[0], in[0] }, 2, &step), WTL_ERR_SHAPE, "input y");
  expect(wtl_plan_set(p, "lrr", 1), WTL_ERR_ARG, "\"lrr\"");
  expect(wtl_plan_set(p, "lr", NAN), WTL_ERR_ARG, "finite");
  expect(wtl_plan_param_gradient(p, m.param[0], &wrong), WTL_ERR_STATE, "gradients = true");
  OK(wtl_plan_set(p, "lr", 0.01));
  OK(wtl_plan_get(p, "lr", &lr));
  assert_float_equal(lr, 0.01, 0);
  wtl_param_set_requires_grad(m.param[0], false);
  expect(wtl_plan_step(p, in, 2, &step), WTL_ERR_STATE, "changed since");
  wtl_param_set_requires_grad(m.param[0], true);
  OK(wtl_plan_step(p, in, 2, &step));
  wtl_interrupt(ctx, 1);
  expect(wtl_plan_step(p, in, 2, &step), WTL_ERR_INTERRUPTED, "interrupted");
  wtl_interrupt(ctx, 0);
  wtl_stamp_bump(stamp);
  expect(wtl_plan_step(p, in, 2, &step), WTL_ERR_STATE, "changed since");
  wtl_plan *q;
  expect(wtl_plan_compile(ctx, m.g, &(wtl_plan_options){ .backend = "cuda" }, &q), WTL_ERR_ARG, "\"cuda\"");
  expect(wtl_plan_compile(ctx, m.g, &(wtl_plan_options){ .optim = &(wtl_optim){ .kind = "adamm", .lr = 1 } }, &q), WTL_ERR_ARG, "\"adamm\"");
  wtl_value out[2];
  wtl_attr a[WTL_MAX_ATTRS];
  wtl_op_defaults(wtl_op_find("conv2d"), a);
  OK(wtl_graph_scope(m.g, "layer1.0.conv1"));
  expect(wtl_graph_op(m.g, wtl_op_find("conv2d"), a, (wtl_value[]){ m.logits, m.logits }, 2, out), WTL_ERR_SHAPE, "layer1.0.conv1: conv2d");
  wtl_stamp_release(stamp);
  wtl_tensor_release(wrong);
  wtl_plan_release(p);
  drop2(in);
  drop(&m);
}

static void a_nan_step_changes_nothing(void **state) {
  net m;
  wtl_tensor *in[2], *before[MAX_PARAMS];
  wtl_step step;
  (void)state;
  build(&m, WTL_F32, 8);
  batch(BATCH, in);
  wtl_plan *p = compile(&m, "auto", &SGD, false);
  OK(wtl_plan_step(p, in, 2, &step));
  for (int i = 0; i < m.n; i++) OK(wtl_tensor_clone(wtl_param_tensor(m.param[i]), &before[i]));
  ((float *)wtl_tensor_data(in[0]))[5] = NAN;
  expect(wtl_plan_step(p, in, 2, &step), WTL_ERR_NUMERIC, "the loss is "); /* whichever provider noticed */
  for (int i = 0; i < m.n; i++) {
    assert_memory_equal(wtl_tensor_cdata(before[i]), wtl_tensor_cdata(wtl_param_tensor(m.param[i])), wtl_tensor_bytes(before[i]));
    wtl_tensor_release(before[i]);
  }
  wtl_plan_release(p);
  drop2(in);
  drop(&m);
}

static void constraints_hold_after_every_update(void **state) {
  net m;
  wtl_tensor *in[2], *mask;
  wtl_step step;
  wtl_shape s = { 4, { 16, 8, 3, 3 } };
  (void)state;
  build(&m, WTL_F32, 8);
  batch(BATCH, in);
  int conv2 = 0;
  while (strcmp(m.name[conv2], "b.conv1") != 0) conv2++;
  OK(wtl_tensor_create(ctx, WTL_U8, &s, &mask));
  for (int i = 0; i < 16 * 8 * 9; i++) ((uint8_t *)wtl_tensor_data(mask))[i] = i % 3 != 0;
  OK(wtl_param_set_mask(m.param[conv2], mask));
  OK(wtl_param_set_truncation(m.param[conv2], &(wtl_truncation){ .bits = 12 }));
  OK(wtl_param_constrain(m.param[conv2]));
  wtl_plan *p = compile(&m, "auto", &SGD, false);
  for (int k = 0; k < 3; k++) OK(wtl_plan_step(p, in, 2, &step));
  const uint32_t *w = wtl_tensor_cdata(wtl_param_tensor(m.param[conv2]));
  int nonzero = 0;
  for (int i = 0; i < 16 * 8 * 9; i++) {
    assert_int_equal(w[i] & 0xfff, 0);
    if (i % 3 == 0) assert_int_equal(w[i] & 0x7fffffff, 0);
    nonzero += (w[i] & 0x7fffffff) != 0;
  }
  assert_true(nonzero > 700);
  wtl_tensor_release(mask);
  wtl_plan_release(p);
  drop2(in);
  drop(&m);
}

/* Updates go to the master, and the value is made from it: with 20 bits gone a small step alone would be lost. */
static void updates_go_to_the_master(void **state) {
  enum { STEPS = 4, BITS = 20 };
  net m[2];
  wtl_tensor *in[2];
  wtl_step step;
  wtl_plan *p[2];
  (void)state;
  batch(BATCH, in);
  for (int k = 0; k < 2; k++) build(&m[k], WTL_F32, 8);
  int fc = 0;
  while (strcmp(m[0].name[fc], "fc.bias") != 0) fc++;
  wtl_param *cut = m[0].param[fc], *twin = m[1].param[fc];
  OK(wtl_param_set_truncation(cut, &(wtl_truncation){ .bits = BITS, .master = true }));
  for (int k = 0; k < 2; k++) p[k] = compile(&m[k], "reference", &(wtl_optim){ .kind = "sgd", .lr = 1e-4 }, false);
  /* Before its first update the value is not yet truncated, so both nets take the same step. */
  for (int k = 0; k < 2; k++) OK(wtl_plan_step(p[k], in, 2, &step));
  assert_memory_equal(wtl_tensor_cdata(wtl_param_master(cut)), wtl_tensor_cdata(wtl_param_tensor(twin)), 4 * CLASSES);
  float before[CLASSES];
  memcpy(before, wtl_tensor_cdata(wtl_param_master(cut)), sizeof before);
  for (int k = 1; k < STEPS; k++) OK(wtl_plan_step(p[0], in, 2, &step));
  const uint32_t *w = wtl_tensor_cdata(wtl_param_tensor(cut)), *master = wtl_tensor_cdata(wtl_param_master(cut));
  for (int i = 0; i < CLASSES; i++) assert_int_equal(w[i], master[i] >> BITS << BITS);
  assert_memory_not_equal(before, master, sizeof before);
  for (int k = 0; k < 2; k++) {
    wtl_plan_release(p[k]);
    drop(&m[k]);
  }
  drop2(in);
}

/* A plan points into values and masters: one that became another tensor, of the same type too, makes it stale. */
static void moved_parameters_make_plans_stale(void **state) {
  net m;
  wtl_tensor *in[2];
  wtl_step step;
  const wtl_truncation plain = { .bits = 3 }, master = { .bits = 3, .master = true };
  (void)state;
  build(&m, WTL_F32, 4);
  batch(BATCH, in);
  for (int k = 0; k < 3; k++) {
    if (k == 2) OK(wtl_param_set_truncation(m.param[0], &master));
    wtl_plan *p = compile(&m, "auto", &SGD, false);
    OK(wtl_plan_step(p, in, 2, &step));
    if (k == 0) OK(wtl_param_convert(m.param[0], WTL_F64));
    if (k == 0) OK(wtl_param_convert(m.param[0], WTL_F32));
    if (k == 1) OK(wtl_param_set_truncation(m.param[0], &plain));
    if (k == 1) OK(wtl_plan_step(p, in, 2, &step)); /* no tensor moved */
    if (k >= 1) OK(wtl_param_set_truncation(m.param[0], k == 1 ? &master : &plain));
    if (k == 2) OK(wtl_param_set_truncation(m.param[0], &master));
    expect(wtl_plan_step(p, in, 2, &step), WTL_ERR_STATE, "changed since");
    wtl_plan_release(p);
    if (k == 1) OK(wtl_param_set_truncation(m.param[0], NULL));
  }
  OK(wtl_param_set_truncation(m.param[0], NULL));
  OK(wtl_param_convert(m.param[0], WTL_F64));
  wtl_plan *wide;
  expect(wtl_plan_compile(ctx, m.g, &(wtl_plan_options){ .optim = &SGD }, &wide), WTL_ERR_DTYPE, "is f64 now");
  drop2(in);
  drop(&m);
}

static void count_bad(void *arg, const wtl_agree_row *r) {
  int *bad = arg;
  if (!(r->forward_err <= 1e-5) || !(r->backward_err <= 1e-4)) {
    print_message("%s %s (%s): forward %.2e backward %.2e\n", r->name, r->op, r->impl, r->forward_err, r->backward_err);
    ++*bad;
  }
}

static void agreement_inside_the_network(void **state) {
  static const char *const backend[] = { "reference", "blas", "auto" };
  net m;
  wtl_tensor *in[2];
  wtl_step step;
  wtl_plan *p;
  int bad = 0;
  (void)state;
  build(&m, WTL_F64, 8);
  batch(BATCH, in);
  OK(wtl_plan_compile(ctx, m.g, &(wtl_plan_options){ .backend = "reference", .keep_values = true }, &p));
  OK(wtl_plan_step(p, in, 2, &step));
  for (size_t b = 0; b < 3; b++) OK(wtl_plan_agree(p, backend[b], count_bad, &bad));
  assert_int_equal(bad, 0);
  wtl_plan_release(p);
  drop2(in);
  drop(&m);
}

/* Every allocation of a compile and a first step fails once: an error each time, and nothing leaks. */
static void allocation_failures_are_survived(void **state) {
  net m;
  wtl_tensor *in[2];
  wtl_memory before, after;
  (void)state;
  build(&m, WTL_F32, 4);
  batch(BATCH, in);
  wtl_memory_stats(ctx, &before);
  int failures = 0;
  for (uint64_t n = 1; n < 5000; n++) {
    wtl_plan *p = NULL;
    wtl_step step;
    wtl_memory_fail_at(ctx, n);
    wtl_status s = wtl_plan_compile(ctx, m.g, &(wtl_plan_options){ .optim = &SGD, .gradients = true }, &p);
    if (s == WTL_OK) s = wtl_plan_step(p, in, 2, &step);
    wtl_memory_fail_at(ctx, 0);
    wtl_plan_release(p);
    wtl_memory_stats(ctx, &after);
    assert_int_equal(after.live, before.live);
    if (s == WTL_OK) break;
    if (s != WTL_ERR_MEMORY) fail_msg("allocation %d: %s: %s", (int)n, wtl_status_name(s), wtl_message(ctx));
    failures++;
  }
  assert_true(failures > 20);
  drop2(in);
  drop(&m);
}

/* Batch sizes share one arena: a forward at another size takes the memory of the gradients, so they are gone. */
static void gradients_do_not_outlive_their_memory(void **state) {
  net m;
  wtl_tensor *in[2], *larger[2], *g = NULL;
  wtl_step step;
  (void)state;
  build(&m, WTL_F32, 4);
  batch(BATCH, in);
  batch(2 * BATCH, larger);
  wtl_plan *p = compile(&m, "reference", NULL, true);
  expect(wtl_plan_param_gradient(p, m.param[0], &g), WTL_ERR_STATE, "no gradients");
  OK(wtl_plan_forward(p, in, 2, NULL, &step));
  expect(wtl_plan_param_gradient(p, m.param[0], &g), WTL_ERR_STATE, "no gradients");
  OK(wtl_plan_step(p, in, 2, &step));
  OK(wtl_plan_forward(p, in, 2, NULL, &step));
  OK(wtl_plan_param_gradient(p, m.param[0], &g)); /* of the step, at the same size */
  wtl_tensor_release(g);
  OK(wtl_plan_forward(p, larger, 2, NULL, &step));
  expect(wtl_plan_param_gradient(p, m.param[0], &g), WTL_ERR_STATE, "no gradients");
  OK(wtl_plan_forward(p, in, 2, NULL, &step));
  expect(wtl_plan_param_gradient(p, m.param[0], &g), WTL_ERR_STATE, "no gradients");
  wtl_plan_release(p);
  drop2(in);
  drop2(larger);
  drop(&m);
}

/* A plan whose next program could not be made still has the one before: it answers, and works when memory is back. */
static void a_failed_specialisation_leaves_the_plan_usable(void **state) {
  net m;
  wtl_tensor *in[2];
  wtl_plan *p;
  wtl_plan_info info;
  wtl_step step;
  (void)state;
  build(&m, WTL_F32, 16);
  batch(BATCH, in);
  OK(wtl_plan_compile(ctx, m.g, &(wtl_plan_options){ .optim = &SGD }, &p));
  OK(wtl_plan_step(p, in, 2, &step));
  for (uint64_t n = 1; n < 5000; n++) {
    OK(wtl_set_threads(ctx, n % 2 ? 1 : 2)); /* each time, the program must be made anew */
    wtl_memory_fail_at(ctx, n);
    wtl_status s = wtl_plan_step(p, in, 2, &step);
    wtl_memory_fail_at(ctx, 0);
    OK(wtl_plan_info_get(p, &info));
    assert_int_equal(info.specialisations, 1);
    assert_int_equal(info.batch, BATCH);
    OK(wtl_plan_forward(p, in, 2, NULL, &step));
    if (s == WTL_OK) break;
    assert_int_equal(s, WTL_ERR_MEMORY);
  }
  wtl_plan_release(p);
  drop2(in);
  drop(&m);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
    T(gradients_match_central_differences), T(providers_agree), T(no_reorders_inside),
    T(steps_allocate_nothing_and_repeat_bit_for_bit), T(another_batch_specialises_and_shares), T(misuse_is_told),
    T(a_nan_step_changes_nothing), T(constraints_hold_after_every_update), T(agreement_inside_the_network),
    T(allocation_failures_are_survived), T(a_failed_specialisation_leaves_the_plan_usable),
    T(gradients_do_not_outlive_their_memory), T(updates_go_to_the_master), T(moved_parameters_make_plans_stale),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
