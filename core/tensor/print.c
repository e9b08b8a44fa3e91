/* Printing as PyTorch does (torch/_tensor_str.py): one format for all elements, found from those shown; a tensor of more
 * than 1000 elements shows the first and last 3 of each long axis; lines are wrapped at 80 columns. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor.h"

#define MOST_SHOWN 1000
#define EDGE 3
#define LINE 80

typedef enum form { FORM_INT, FORM_WHOLE, FORM_FIXED, FORM_SCIENTIFIC } form;

typedef struct printer {
  const wtl_tensor *t;
  wtl_text *out;
  bool cut;        /* show the ends of long axes only */
  form form;
  int width;
  bool wide;       /* PyTorch's name: too wide a range for a fixed number of decimals */
  bool whole;      /* every finite element is an integer */
  double least, most; /* finite magnitudes above 0 */
} printer;

typedef wtl_status (*element_fn)(printer *p, const void *element);

static bool cut_axis(const printer *p, int64_t n) { return p->cut && n > 2 * EDGE; }
/* The next position of an axis of n that is shown. */
static int64_t after(const printer *p, int64_t i, int64_t n) { return cut_axis(p, n) && i == EDGE - 1 ? n - EDGE : i + 1; }

static const char *step(const printer *p, const char *data, int d, int64_t i) {
  return data + i * p->t->stride[d] * (int64_t)wtl_dtype_size(p->t->dtype);
}

static void format(const printer *p, const void *element, char *buf, size_t n) {
  double v;
  int64_t k;
  if (p->form == FORM_INT) {
    wtl_load_ints(p->t->dtype, element, 1, 1, &k);
    snprintf(buf, n, "%lld", (long long)k);
    return;
  }
  wtl_load_reals(p->t->dtype, element, 1, 1, &v);
  if (isnan(v)) snprintf(buf, n, "nan");
  else if (isinf(v)) snprintf(buf, n, v < 0 ? "-inf" : "inf");
  else if (p->form == FORM_SCIENTIFIC) snprintf(buf, n, "%.4e", v);
  else if (p->form == FORM_WHOLE) snprintf(buf, n, "%.0f.", v);
  else snprintf(buf, n, "%.4f", v);
}

static wtl_status measure_range(printer *p, const void *element) {
  double v;
  wtl_load_reals(p->t->dtype, element, 1, 1, &v);
  if (!isfinite(v)) return WTL_OK;
  if (v != rint(v)) p->whole = false;
  v = fabs(v);
  if (v > 0 && v < p->least) p->least = v;
  if (v > p->most) p->most = v;
  return WTL_OK;
}

static wtl_status measure_width(printer *p, const void *element) {
  char buf[64];
  format(p, element, buf, sizeof buf);
  int n = (int)strlen(buf);
  if (n > p->width) p->width = n;
  return WTL_OK;
}

static wtl_status for_each_shown(printer *p, const char *data, int d, element_fn fn) {
  if (d == p->t->shape.ndim) return fn(p, data);
  int64_t n = p->t->shape.size[d];
  for (int64_t i = 0; i < n; i = after(p, i, n)) WTL_TRY(for_each_shown(p, step(p, data, d, i), d + 1, fn));
  return WTL_OK;
}

static void choose_form(printer *p) {
  p->form = FORM_INT;
  if (wtl_dtype_is_float(p->t->dtype)) {
    p->whole = true;
    p->least = INFINITY;
    p->most = 0;
    for_each_shown(p, p->t->data, 0, measure_range);
    p->wide = p->most > 0 && (p->most / p->least > 1000 || p->most > 1e8 || (!p->whole && p->least < 1e-4));
    p->form = p->wide ? FORM_SCIENTIFIC : p->whole ? FORM_WHOLE : FORM_FIXED;
  }
  p->width = 0;
  for_each_shown(p, p->t->data, 0, measure_width);
}

/* Between two elements of a row: a comma, and a new line after every `per_line` of them. */
static wtl_status separate(printer *p, int64_t column, int64_t per_line, int indent) {
  if (column == 0) return WTL_OK;
  if (column % per_line) return wtl_text_add(p->out, ", ");
  return wtl_text_add(p->out, ",\n%*s", indent + 1, "");
}

static wtl_status print_row(printer *p, const char *data, int d, int indent) {
  int64_t n = p->t->shape.size[d], per_line = (LINE - indent - 1) / (p->width + 2), column = 0;
  char buf[64];
  if (per_line < 1) per_line = 1;
  WTL_TRY(wtl_text_add(p->out, "["));
  for (int64_t i = 0; i < n; i = after(p, i, n)) {
    if (cut_axis(p, n) && i == n - EDGE) {
      WTL_TRY(separate(p, column++, per_line, indent));
      WTL_TRY(wtl_text_add(p->out, " ..."));
    }
    WTL_TRY(separate(p, column++, per_line, indent));
    format(p, step(p, data, d, i), buf, sizeof buf);
    WTL_TRY(wtl_text_add(p->out, "%*s", p->width, buf));
  }
  return wtl_text_add(p->out, "]");
}

/* As many newlines as there are axes below: a blank line between matrices. */
static wtl_status next_block(printer *p, int d, int indent) {
  WTL_TRY(wtl_text_add(p->out, ","));
  for (int k = d; k < p->t->shape.ndim - 1; k++) WTL_TRY(wtl_text_add(p->out, "\n"));
  return wtl_text_add(p->out, "%*s", indent + 1, "");
}

static wtl_status print_axis(printer *p, const char *data, int d, int indent) {
  if (d == p->t->shape.ndim - 1) return print_row(p, data, d, indent);
  int64_t n = p->t->shape.size[d];
  WTL_TRY(wtl_text_add(p->out, "["));
  for (int64_t i = 0; i < n; i = after(p, i, n)) {
    if (i > 0) WTL_TRY(next_block(p, d, indent));
    if (cut_axis(p, n) && i == n - EDGE) {
      WTL_TRY(wtl_text_add(p->out, "..."));
      WTL_TRY(next_block(p, d, indent));
    }
    WTL_TRY(print_axis(p, step(p, data, d, i), d + 1, indent + 1));
  }
  return wtl_text_add(p->out, "]");
}

static wtl_status print_scalar(printer *p) {
  char buf[64];
  format(p, p->t->data, buf, sizeof buf);
  return wtl_text_add(p->out, "%s", buf);
}

wtl_status wtl_tensor_print(const wtl_tensor *t, wtl_text *out) {
  char shape[WTL_SHAPE_TEXT];
  size_t before = out->n;
  printer p = { .t = t, .out = out, .cut = wtl_tensor_numel(t) > MOST_SHOWN };
  wtl_status s;
  if (wtl_tensor_numel(t) == 0) {
    s = wtl_text_add(out, "[]");
  } else {
    choose_form(&p);
    s = t->shape.ndim == 0 ? print_scalar(&p) : print_axis(&p, t->data, 0, 0);
  }
  if (s == WTL_OK)
    s = wtl_text_add(out, "\n%s %s", wtl_dtype_name(t->dtype), wtl_shape_text(&t->shape, shape, sizeof shape));
  if (s != WTL_OK && out->s) out->n = before, out->s[before] = '\0';
  return s;
}
