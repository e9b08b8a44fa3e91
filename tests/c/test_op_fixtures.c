/* Single ops against PyTorch's float64 results (tests/golden/ops, written by make_ops.py): the plain kernels in
 * f64 to 1e-10, and in f32 to 1e-5 forward and 1e-4 backward, norm-relative. Every op must have a fixture. */
#include "op_cases.h"

/* One case of a file: tensors by "CASE.what.name". */
typedef struct fixture { const wtl_op *op; const wtl_dict *dict; char name[64]; } fixture;

static wtl_tensor *part(const fixture *x, const char *what, const char *name) {
  char key[160];
  snprintf(key, sizeof key, "%s.%s.%s", x->name, what, name);
  return wtl_dict_find(x->dict, key);
}

static void read_attrs(const fixture *x, wtl_attr attr[WTL_MAX_ATTRS]) {
  wtl_op_defaults(x->op, attr);
  for (int k = 0; k < x->op->n_attr; k++) {
    wtl_tensor *t = part(x, "attr", x->op->attr[k].name);
    if (!t) continue;
    if (x->op->attr[k].kind == WTL_ATTR_REAL) {
      attr[k].f = *(const double *)wtl_tensor_cdata(t);
    } else {
      attr[k].n = (int)wtl_tensor_numel(t);
      memcpy(attr[k].i, wtl_tensor_cdata(t), wtl_tensor_bytes(t));
    }
  }
}

/* In the type that the op is to compute in; what is not float, or always f64, stays as it is. */
static wtl_tensor *converted(const fixture *x, wtl_tensor *t, const char *name, wtl_dtype real) {
  wtl_tensor *out = NULL;
  if (!t) return NULL;
  bool keep = wtl_tensor_dtype(t) != WTL_F64 || (wtl_op_internal(x->op) && !strcmp(name, "h"));
  OK(wtl_tensor_convert(t, keep ? wtl_tensor_dtype(t) : real, &out));
  return out;
}

/* How many were found; a case that compares nothing is a mistake. */
static int expect(const fixture *x, const char *what, const char *name, wtl_tensor *got, wtl_dtype real,
                  double f32_bound) {
  wtl_tensor *want = part(x, what, name);
  if (!want) return 0;
  assert_non_null(got);
  double e = op_error(got, want);
  if (!(e <= (real == WTL_F64 ? 1e-10 : f32_bound)))
    fail_msg("%s %s in %s: %s.%s is off by %.3g", x->op->name, x->name, wtl_dtype_name(real), what, name, e);
  return 1;
}

/* Updates are written by plans only, so their kernel is called as a plan does. */
static void run_update(const op_setup *s, wtl_dtype real) {
  wtl_call c = { .ctx = ctx, .attr = s->attr, .n_in = s->op->n_in };
  wtl_infer f = { .ctx = ctx, .op = s->op, .attr = s->attr, .n_in = s->n_in, .real = real };
  for (int i = 0; i < s->n_in; i++) {
    if (!s->in[i]) continue;
    f.present[i] = true;
    f.in[i] = *wtl_tensor_shape(s->in[i]);
    f.in_dtype[i] = wtl_tensor_dtype(s->in[i]);
    c.in[i] = wtl_view_plain(wtl_tensor_data(s->in[i]), f.in_dtype[i], &f.in[i]);
  }
  OK(wtl_op_infer(&f));
  OK(s->op->kernels[real == WTL_F64]->forward(&c));
}

static void run_case(const fixture *x, wtl_dtype real) {
  op_setup s = { .op = x->op, .n_in = x->op->n_in };
  wtl_tensor *out = NULL, *dout, *din[WTL_MAX_IN] = { NULL };
  read_attrs(x, s.attr);
  for (int i = 0; i < s.n_in; i++) {
    s.in[i] = converted(x, part(x, "in", x->op->in_name[i]), x->op->in_name[i], real);
    s.want[i] = part(x, "din", x->op->in_name[i]) != NULL;
  }
  dout = converted(x, part(x, "dout", "0"), "0", real);
  if (dout) OK(wtl_op_vjp(ctx, s.op, s.attr, s.in, s.n_in, &dout, s.want, din)); /* before statistics change */
  if (wtl_op_internal(s.op)) run_update(&s, real);
  else OK(wtl_op_run(ctx, s.op, s.attr, s.in, s.n_in, &out));
  int compared = expect(x, "out", "0", out, real, 1e-5);
  for (int i = 0; i < s.n_in; i++) {
    compared += expect(x, "after", x->op->in_name[i], s.in[i], real, 1e-5);
    compared += expect(x, "din", x->op->in_name[i], din[i], real, 1e-4);
    wtl_tensor_release(din[i]);
  }
  assert_true(compared > 0);
  wtl_tensor_release(out);
  wtl_tensor_release(dout);
  op_setup_free(&s);
}

/* The tensors of a case stand together in the file. */
static int run_file(const wtl_op *op) {
  wtl_dict d;
  char path[256];
  fixture x = { .op = op, .dict = &d };
  int cases = 0;
  snprintf(path, sizeof path, "tests/golden/ops/%s.safetensors", op->name);
  wtl_dict_init(&d, ctx);
  OK(wtl_safetensors_load(ctx, path, &d));
  for (int64_t k = 0; k < d.n; k++) {
    size_t n = strcspn(d.item[k].name, ".");
    if (strlen(x.name) == n && !strncmp(x.name, d.item[k].name, n)) continue;
    snprintf(x.name, sizeof x.name, "%.*s", (int)n, d.item[k].name);
    run_case(&x, WTL_F64);
    run_case(&x, WTL_F32);
    cases++;
  }
  wtl_dict_free(&d);
  return cases;
}

static void as_pytorch(void **state) {
  int cases = 0;
  (void)state;
  for (int i = 0; i < wtl_op_count(); i++) {
    int n = run_file(wtl_op_at(i));
    if (n == 0) fail_msg("%s has no case", wtl_op_at(i)->name);
    cases += n;
  }
  print_message("           %d cases of %d ops\n", cases, wtl_op_count());
}

int main(void) {
  const struct CMUnitTest tests[] = { CASE(as_pytorch) };
  return cmocka_run_group_tests_name("op_fixtures", tests, NULL, NULL);
}
