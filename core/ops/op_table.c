/* The descriptor table, made of the rows of ops.def, and everything that asks it. The checks that every op
 * needs alike (counts, presence, element types, attributes) are here too; the ops' own rules see only what passed. */
#include <math.h>
#include <string.h>

#include "rules.h"

#define WTL_OP(name, ...)                   \
  extern const wtl_op_rules wtl_rules_##name; \
  extern const wtl_op_kernels wtl_kernels_##name##_f32, wtl_kernels_##name##_f64, wtl_kernels_##name##_f32_avx2;
#include "ops.def"
#undef WTL_OP

/* "?b" is optional, "#target" holds labels, "=running_mean" is state; all three fold at compile time. */
#define MARKED(s, c) ((unsigned)((s)[0] == (c)))
#define NAME(s) &(s)[(s)[0] == '?' || (s)[0] == '#' || (s)[0] == '=']
#define GIVEN(s) ((s)[0] != 0)
#define EACH(f, c, a0, a1, a2, a3, a4, a5, a6, a7)              \
  (f(a0, c) | f(a1, c) << 1 | f(a2, c) << 2 | f(a3, c) << 3 |   \
   f(a4, c) << 4 | f(a5, c) << 5 | f(a6, c) << 6 | f(a7, c) << 7)
#define COUNT(a0, a1, a2, a3, a4, a5, a6, a7) \
  (GIVEN(a0) + GIVEN(a1) + GIVEN(a2) + GIVEN(a3) + GIVEN(a4) + GIVEN(a5) + GIVEN(a6) + GIVEN(a7))
#define IN_8(a0, a1, a2, a3, a4, a5, a6, a7, ...)                                    \
  .n_in = COUNT(a0, a1, a2, a3, a4, a5, a6, a7),                                     \
  .optional = EACH(MARKED, '?', a0, a1, a2, a3, a4, a5, a6, a7),                     \
  .labels = EACH(MARKED, '#', a0, a1, a2, a3, a4, a5, a6, a7),                       \
  .state = EACH(MARKED, '=', a0, a1, a2, a3, a4, a5, a6, a7),                        \
  .in_name = { NAME(a0), NAME(a1), NAME(a2), NAME(a3), NAME(a4), NAME(a5), NAME(a6), NAME(a7) }
#define IN(...) IN_8(__VA_ARGS__, "", "", "", "", "", "", "", "", "")

#define MUST INT64_MIN
#define INT(name, value) { name, WTL_ATTR_INT, value, 0 }
#define PAIR(name, value) { name, WTL_ATTR_PAIR, value, 0 }
#define LIST(name) { name, WTL_ATTR_LIST, 0, 0 }
#define REAL(name, value) { name, WTL_ATTR_REAL, 0, value }
#define FLAG(name, value) { name, WTL_ATTR_FLAG, value, 0 }
#define ATTRS(...) \
  .attr = { __VA_ARGS__ }, .n_attr = (int)(sizeof((const wtl_attr_spec[]){ __VA_ARGS__ }) / sizeof(wtl_attr_spec))

#ifdef WTL_HAVE_AVX2
#define AVX2(name) .avx2 = &wtl_kernels_##name##_f32_avx2
#else
#define AVX2(name) .avx2 = NULL
#endif
#define WTL_OP(name_, inputs, outputs, attributes, flags_, formula_, help_)          \
  { .name = #name_, .formula = formula_, .help = help_, inputs, .n_out = outputs, .flags = flags_, attributes, \
    .rules = &wtl_rules_##name_, .kernels = { &wtl_kernels_##name_##_f32, &wtl_kernels_##name_##_f64 }, AVX2(name_) },
static const wtl_op table[] = {
#include "ops.def"
};
#undef WTL_OP

/* ---- kernels ---- */

bool wtl_op_least_instructions;

static bool has_avx2(void) {
#ifdef WTL_HAVE_AVX2
  return __builtin_cpu_supports("avx2");
#else
  return false;
#endif
}

const wtl_op_kernels *wtl_op_kernels_of(const wtl_op *op, wtl_dtype real) {
  if (real == WTL_F64) return op->kernels[1];
  return op->avx2 && !wtl_op_least_instructions && has_avx2() ? op->avx2 : op->kernels[0];
}

/* ---- the public accessors ---- */

int wtl_op_count(void) { return WTL_OPID_COUNT; }
const wtl_op *wtl_op_at(int i) { return i >= 0 && i < WTL_OPID_COUNT ? &table[i] : NULL; }

const wtl_op *wtl_op_find(const char *name) {
  for (int i = 0; i < WTL_OPID_COUNT; i++)
    if (!strcmp(table[i].name, name)) return &table[i];
  return NULL;
}

const char *wtl_op_name(const wtl_op *op) { return op->name; }
const char *wtl_op_formula(const wtl_op *op) { return op->formula; }
const char *wtl_op_help(const wtl_op *op) { return op->help; }
int wtl_op_outputs(const wtl_op *op) { return op->n_out; }
int wtl_op_attrs(const wtl_op *op) { return op->n_attr; }
bool wtl_op_differentiable(const wtl_op *op) { return !(op->flags & WTL_OP_NO_GRAD); }
bool wtl_op_broadcasts(const wtl_op *op) { return op->flags & WTL_OP_BROADCAST; }
bool wtl_op_internal(const wtl_op *op) { return op->flags & WTL_OP_INTERNAL; }
const char *wtl_op_input_name(const wtl_op *op, int i) { return i >= 0 && i < op->n_in ? op->in_name[i] : NULL; }
const wtl_attr_spec *wtl_op_attr(const wtl_op *op, int i) { return i >= 0 && i < op->n_attr ? &op->attr[i] : NULL; }

int wtl_op_inputs(const wtl_op *op, int *required) {
  if (required) *required = op->n_in - __builtin_popcount(op->optional);
  return op->n_in;
}

void wtl_op_defaults(const wtl_op *op, wtl_attr attrs[WTL_MAX_ATTRS]) {
  memset(attrs, 0, WTL_MAX_ATTRS * sizeof *attrs);
  for (int k = 0; k < op->n_attr; k++) {
    const wtl_attr_spec *s = &op->attr[k];
    wtl_attr *a = &attrs[k];
    a->f = s->f;
    if (s->kind == WTL_ATTR_LIST || s->kind == WTL_ATTR_REAL) continue;
    a->n = s->i == INT64_MIN ? -1 : s->kind == WTL_ATTR_PAIR ? 2 : 1;
    for (int j = 0; j < a->n; j++) a->i[j] = s->i;
  }
}

/* ---- checks before an op's own rule ---- */

static wtl_status check_attr(const wtl_infer *f, int k) {
  static const char *const wants[] = { "one integer", "two integers", "up to 8 integers", "a number",
                                       "true or false" };
  const wtl_attr_spec *s = &f->op->attr[k];
  const wtl_attr *a = &f->attr[k];
  bool fits = false;
  switch (s->kind) {
  case WTL_ATTR_INT: fits = a->n == 1; break;
  case WTL_ATTR_PAIR: fits = a->n == 2; break;
  case WTL_ATTR_LIST: fits = a->n >= 0 && a->n <= WTL_MAX_DIMS; break;
  case WTL_ATTR_REAL: fits = !isnan(a->f); break;
  case WTL_ATTR_FLAG: fits = a->n == 1 && (a->i[0] == 0 || a->i[0] == 1); break;
  }
  if (fits) return WTL_OK;
  return wtl_fail(f->ctx, WTL_ERR_ARG, "%s: %s must be given: %s", f->op->name, s->name, wants[s->kind]);
}

static wtl_status check_input(const wtl_infer *f, int k) {
  const wtl_op *op = f->op;
  bool present = k < f->n_in && f->present[k];
  if (!present && (op->optional >> k & 1)) return WTL_OK;
  if (!present) return wtl_fail(f->ctx, WTL_ERR_ARG, "%s: input %s is missing", op->name, op->in_name[k]);
  wtl_dtype wanted = op->labels >> k & 1 ? WTL_I64 : f->real;
  if (f->in_dtype[k] == wanted || op->flags & WTL_OP_INTERNAL) return WTL_OK;
  return wtl_fail(f->ctx, WTL_ERR_DTYPE, "%s: %s is %s, it must be %s", op->name, op->in_name[k],
                  wtl_dtype_name(f->in_dtype[k]), wtl_dtype_name(wanted));
}

wtl_status wtl_op_infer(wtl_infer *f) {
  const wtl_op *op = f->op;
  if (f->real != WTL_F32 && f->real != WTL_F64)
    return wtl_fail(f->ctx, WTL_ERR_DTYPE, "%s: it computes in f32 or f64, not %s", op->name,
                    wtl_dtype_name(f->real));
  if (f->n_in < 0 || f->n_in > op->n_in)
    return wtl_fail(f->ctx, WTL_ERR_ARG, "%s: %d inputs; it takes at most %d", op->name, f->n_in, op->n_in);
  for (int k = 0; k < op->n_in; k++) WTL_TRY(check_input(f, k));
  for (int k = 0; k < op->n_attr; k++) WTL_TRY(check_attr(f, k));
  for (int k = 0; k < WTL_MAX_OUT; k++) f->out_dtype[k] = f->real;
  f->saved_bytes = f->scratch_bytes = 0;
  WTL_TRY(op->rules->infer(f));
  for (int k = 0; k < op->n_out; k++) WTL_TRY(wtl_shape_check(f->ctx, op->name, &f->out[k], f->out_dtype[k]));
  return WTL_OK;
}
