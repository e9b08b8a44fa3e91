/* Every op with memory gone, through its cases in op_cases.h: at once, its vector-Jacobian product on strided inputs, and
 * in a compiled plan of every provider. Each failure is WTL_ERR_MEMORY, leaves nothing behind, and what follows has the
 * bits of a run where nothing failed. An op without a case fails. */
#include "op_cases.h"

/* ---- at once ---- */

/* Fails the first allocation, the second, ... and compares with the undisturbed result each time. */
static int sweep_at_once(const op_case *c, const op_setup *s) {
  op_result want, got;
  OK(op_result_run(s, &want));
  for (int n = 1; n < 1000; n++) {
    uint64_t before = live();
    wtl_memory_fail_at(ctx, (uint64_t)n);
    wtl_status st = op_result_run(s, &got);
    wtl_memory_fail_at(ctx, 0);
    if (st == WTL_OK && !op_same_result(&got, &want)) fail_msg("%s %s: after %d failures: other bits", c->op, c->inputs, n - 1);
    op_result_free(&got);
    if (live() != before) fail_msg("%s %s: failure %d leaves %lld blocks", c->op, c->inputs, n, (long long)(live() - before));
    if (st == WTL_OK) {
      op_result_free(&want);
      return n - 1;
    }
    if (st != WTL_ERR_MEMORY || !strstr(wtl_message(ctx), "memory"))
      fail_msg("%s %s: failure %d: %s: %s", c->op, c->inputs, n, wtl_status_name(st), wtl_message(ctx));
  }
  fail_msg("%s %s never succeeds", c->op, c->inputs);
  return 0;
}

/* The same values behind other strides: what must be contiguous is copied first. */
static void scatter(op_setup *s) {
  for (int i = 0; i < s->n_in; i++) {
    wtl_tensor *t = s->in[i], *base, *view;
    if (!t) continue;
    wtl_shape wide = *wtl_tensor_shape(t);
    if (wide.ndim == WTL_MAX_DIMS) continue;
    wide.size[wide.ndim++] = 2;
    OK(wtl_tensor_create(ctx, wtl_tensor_dtype(t), &wide, &base));
    OK(wtl_tensor_select(base, wide.ndim - 1, 1, &view));
    OK(wtl_tensor_copy(view, t));
    wtl_tensor_release(base);
    wtl_tensor_release(t);
    s->in[i] = view;
  }
}

static void every_op_at_once(void **state) {
  int failures = 0;
  (void)state;
  for (int k = 0; k < OP_CASES; k++) {
    op_setup s;
    if (op_cases[k].large) continue;
    op_setup_make(&op_cases[k], WTL_F32, &s);
    scatter(&s);
    int n = sweep_at_once(&op_cases[k], &s);
    if (n == 0) fail_msg("%s %s allocates nothing", op_cases[k].op, op_cases[k].inputs);
    failures += n;
    op_setup_free(&s);
  }
  print_message("           %d failures\n", failures);
}

/* ---- in a plan ---- */

/* mean(op(inputs)) as a graph. Labels and the first input with a batch are the graph's inputs, the others parameters. */
typedef struct network {
  const op_setup *s;
  wtl_graph *g;
  wtl_tensor *in[WTL_MAX_IN + 1];
  wtl_param *p[WTL_MAX_IN];
  int n_in, n_p;
  bool trains;
} network;

static wtl_value add_input(network *w, const char *name, wtl_tensor *t) {
  wtl_value v;
  OK(wtl_graph_input(w->g, name, wtl_tensor_dtype(t), wtl_tensor_shape(t), &v));
  w->in[w->n_in++] = wtl_tensor_retain(t);
  return v;
}

static wtl_value add_param(network *w, const char *name, wtl_tensor *t, bool state) {
  wtl_value v;
  OK(wtl_param_create(ctx, t, state ? WTL_BUFFER : WTL_PARAMETER, &w->p[w->n_p]));
  OK(wtl_graph_param(w->g, name, w->p[w->n_p++], &v));
  return v;
}

static void network_make(const op_setup *s, network *w) {
  wtl_value in[WTL_MAX_IN], out[WTL_MAX_OUT];
  wtl_attr attr[WTL_MAX_ATTRS];
  memset(w, 0, sizeof *w);
  w->s = s;
  OK(wtl_graph_create(ctx, WTL_F32, &w->g));
  bool have_input = false;
  for (int i = 0; i < s->n_in; i++) {
    in[i] = -1;
    if (!s->in[i]) continue;
    bool labels = s->op->labels >> i & 1, state = s->op->state >> i & 1;
    bool input = labels || (!have_input && !state && wtl_tensor_shape(s->in[i])->ndim > 0);
    in[i] = input ? add_input(w, s->op->in_name[i], s->in[i]) : add_param(w, s->op->in_name[i], s->in[i], state);
    have_input |= input;
  }
  if (!have_input) {
    wtl_tensor *t;
    OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(1), &t));
    add_input(w, "unused", t);
    wtl_tensor_release(t);
  }
  OK(wtl_graph_op(w->g, s->op, s->attr, in, s->n_in, out));
  OK(wtl_graph_output(w->g, "y", out[0]));
  w->trains = wtl_op_differentiable(s->op);
  if (!w->trains) return;
  const wtl_op *mean = wtl_op_find("mean");
  wtl_op_defaults(mean, attr);
  OK(wtl_graph_op(w->g, mean, attr, &out[0], 1, &out[0]));
  OK(wtl_graph_loss(w->g, out[0]));
}

static void network_free(network *w) {
  for (int i = 0; i < w->n_in; i++) wtl_tensor_release(w->in[i]);
  for (int i = 0; i < w->n_p; i++) wtl_param_release(w->p[i]);
  wtl_graph_release(w->g);
}

/* Compiles and runs: out[0] is the op's output, then the gradients of the parameters that have one. */
static wtl_status run_plan(const network *w, const char *backend, wtl_tensor *out[WTL_MAX_IN + 1]) {
  wtl_plan *p = NULL;
  wtl_step step;
  memset(out, 0, sizeof *out * (WTL_MAX_IN + 1));
  WTL_TRY(wtl_plan_compile(ctx, w->g, &(wtl_plan_options){ .backend = backend, .gradients = w->trains }, &p));
  wtl_status s = w->trains ? wtl_plan_step(p, w->in, w->n_in, &step) : WTL_OK;
  for (int i = 0; s == WTL_OK && w->trains && i < w->n_p; i++)
    if (wtl_param_requires_grad(w->p[i]) && wtl_param_kind_of(w->p[i]) == WTL_PARAMETER)
      s = wtl_plan_param_gradient(p, w->p[i], &out[i + 1]);
  if (s == WTL_OK) s = wtl_plan_forward(p, w->in, w->n_in, out, NULL);
  wtl_plan_release(p);
  return s;
}

static void drop(wtl_tensor *out[WTL_MAX_IN + 1]) {
  for (int i = 0; i <= WTL_MAX_IN; i++) wtl_tensor_release(out[i]);
}

static int sweep_plan(const op_case *c, const char *backend) {
  op_setup s;
  network w;
  wtl_tensor *want[WTL_MAX_IN + 1], *got[WTL_MAX_IN + 1];
  int failures = -1;
  op_setup_make(c, WTL_F32, &s);
  for (int n = 0; failures < 0; n++) { /* n = 0: undisturbed */
    uint64_t empty = live();
    network_make(&s, &w); /* anew: a step moves running statistics */
    uint64_t before = live();
    wtl_memory_fail_at(ctx, (uint64_t)n);
    wtl_status st = run_plan(&w, backend, n ? got : want);
    wtl_memory_fail_at(ctx, 0);
    if (n && st == WTL_OK) {
      for (int i = 0; i <= WTL_MAX_IN; i++)
        if (!op_same_bits(got[i], want[i])) fail_msg("%s %s on %s: after %d failures: other bits", c->op, c->inputs, backend, n - 1);
      failures = n - 1;
    } else if (n) {
      drop(got);
      if (st != WTL_ERR_MEMORY || !strstr(wtl_message(ctx), "memory"))
        fail_msg("%s %s on %s: failure %d: %s: %s", c->op, c->inputs, backend, n, wtl_status_name(st), wtl_message(ctx));
      if (live() != before) fail_msg("%s %s on %s: failure %d leaves %lld blocks", c->op, c->inputs, backend, n, (long long)(live() - before));
    } else if (st != WTL_OK) {
      fail_msg("%s %s on %s: %s: %s", c->op, c->inputs, backend, wtl_status_name(st), wtl_message(ctx));
    }
    network_free(&w);
    if (n && failures >= 0) drop(got);
    if (n && live() != empty) fail_msg("%s %s on %s: failure %d: the plan leaves %lld blocks", c->op, c->inputs, backend, n, (long long)(live() - empty));
  }
  drop(want);
  op_setup_free(&s);
  return failures;
}

static const char *const backends[] = { "reference", "blas",
#ifdef WTL_ONEDNN
  "onednn",
#endif
};

static void every_op_in_a_plan(void **state) {
  int failures = 0, ops = 0;
  (void)state;
  for (int i = 0; i < wtl_op_count(); i++) {
    const wtl_op *op = wtl_op_at(i);
    int cases = 0;
    if (wtl_op_internal(op)) continue; /* in plans with an optimizer: test_sweep.c */
    for (int k = 0; k < OP_CASES; k++) {
      if (op_cases[k].large || strcmp(op_cases[k].op, op->name) != 0) continue;
      cases++;
      for (size_t b = 0; b < sizeof backends / sizeof *backends; b++) failures += sweep_plan(&op_cases[k], backends[b]);
    }
    if (!cases) fail_msg("%s has no case in op_cases.h", op->name);
    ops++;
  }
  print_message("           %d failures in plans of %d ops\n", failures, ops);
}

int main(void) {
  const struct CMUnitTest tests[] = { CASE(every_op_at_once), CASE(every_op_in_a_plan) };
  return cmocka_run_group_tests_name("sweep of ops", tests, NULL, NULL);
}
