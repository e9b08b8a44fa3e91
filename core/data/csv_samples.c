/* A CSV file of samples: one column is the label, the others are numbers. Read twice by csv.c: to count, and to fill. */
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"

#define MAX_CLASSES 10000

typedef struct reading {
  wtl_ctx *ctx;
  const char *path;
  const wtl_csv_samples_options *o;
  locale_t c;          /* numbers have points, whatever the user's language */
  int label, columns;  /* the label's column from 0 */
  char *head;          /* names of the columns, each with a NUL; "" each where there is no header */
  int64_t n, done;     /* rows without the header */
  unsigned char *bytes;
  float *floats;
  int64_t *y;
  wtl_names *names;
} reading;

/* ---- the first pass: how many, and which column is the label? ---- */

static wtl_status find_label(reading *r, const char *const *field, int n) {
  const char *want = r->o->label;
  r->columns = n;
  r->label = r->o->label_at;
  for (int i = 0; want && i < n; i++)
    if (strcmp(field[i], want) == 0) return r->label = i, WTL_OK;
  if (want) return wtl_fail(r->ctx, WTL_ERR_FORMAT, "%s: there is no column '%s' for the label", r->path, want);
  if (r->label < 0 || r->label >= n)
    return wtl_fail(r->ctx, WTL_ERR_FORMAT, "%s: the label is to be column %d of %d", r->path, r->label + 1, n);
  return WTL_OK;
}

static wtl_status keep_head(reading *r, const char *const *field, const size_t *len, int n) {
  size_t bytes = 1;
  for (int i = 0; i < n; i++) bytes += len[i] + 1;
  r->head = wtl_alloc(r->ctx, bytes);
  if (!r->head) return WTL_ERR_MEMORY;
  char *to = r->head;
  for (int i = 0; i < n; to += len[i++] + 1) memcpy(to, field[i], len[i] + 1);
  return WTL_OK;
}

static wtl_status count_row(void *arg, int64_t row, const char *const *field, const size_t *len, int n) {
  reading *r = arg;
  if (row == 0) WTL_TRY(find_label(r, field, n));
  if (row == 0 && r->o->header) return keep_head(r, field, len, n);
  r->n++;
  return WTL_OK;
}

/* ---- the second: numbers and labels ---- */

static wtl_status bad_cell(reading *r, int column, const char *text, const char *what) {
  const char *name = r->head;
  for (int i = 0; name && i < column; i++) name += strlen(name) + 1;
  int shown = strlen(text) > 40 ? 40 : (int)strlen(text);
  if (name)
    return wtl_fail(r->ctx, WTL_ERR_FORMAT, "%s: row %lld, column '%s': '%.*s' is %s", r->path,
                    (long long)r->done + 1, name, shown, text, what);
  return wtl_fail(r->ctx, WTL_ERR_FORMAT, "%s: row %lld, column %d: '%.*s' is %s", r->path, (long long)r->done + 1,
                  column + 1, shown, text, what);
}

/* A plain decimal number and nothing else but blanks around it. */
static bool to_number(const reading *r, const char *text, double *out) {
  char *end;
  text += strspn(text, " \t");
  size_t n = strspn(text, "0123456789+-.eE");
  if (n == 0 || text[n + strspn(text + n, " \t")] != '\0') return false;
  *out = strtod_l(text, &end, r->c);
  return end == text + n;
}

/* The name's place among those seen, where it is added. */
static wtl_status class_of(reading *r, const char *text, int64_t *out) {
  wtl_names *s = r->names;
  for (int64_t i = 0; i < s->n; i++)
    if (strcmp(s->s[i], text) == 0) return *out = i, WTL_OK;
  if (s->n == MAX_CLASSES)
    return bad_cell(r, r->label, text, "one label too many: more than 10000 different ones are no classes");
  if (s->n == s->cap) {
    int64_t cap = s->cap ? 2 * s->cap : 16;
    char **more = wtl_realloc(r->ctx, s->s, (size_t)s->cap * sizeof *more, (size_t)cap * sizeof *more);
    if (!more) return WTL_ERR_MEMORY;
    s->s = more;
    s->cap = cap;
  }
  s->s[s->n] = wtl_strdup(r->ctx, text);
  if (!s->s[s->n]) return WTL_ERR_MEMORY;
  *out = s->n++;
  return WTL_OK;
}

static wtl_status fill_row(void *arg, int64_t row, const char *const *field, const size_t *len, int n) {
  reading *r = arg;
  (void)len;
  if (row == 0 && r->o->header) return WTL_OK;
  if (r->done == r->n || n != r->columns)
    return wtl_fail(r->ctx, WTL_ERR_IO, "%s: it changed while it was read", r->path);
  int64_t at = r->done * (n - 1);
  for (int i = 0; i < n; i++) {
    double v;
    if (i == r->label) continue;
    if (!to_number(r, field[i], &v)) return bad_cell(r, i, field[i], "no number");
    if (r->bytes && (v < 0 || v > 255 || v != floor(v))) return bad_cell(r, i, field[i], "no pixel: 0..255 is");
    if (r->floats && !isfinite((float)v)) return bad_cell(r, i, field[i], "too large for f32");
    if (r->bytes) r->bytes[at++] = (unsigned char)v;
    else r->floats[at++] = (float)v;
  }
  if (field[r->label][0] == '\0') return bad_cell(r, r->label, "", "no label");
  WTL_TRY(class_of(r, field[r->label], &r->y[r->done]));
  r->done++;
  return WTL_OK;
}

/* ---- the whole ---- */

void wtl_names_free(wtl_names *s) {
  for (int64_t i = 0; i < s->n; i++) wtl_free(s->ctx, s->s[i]);
  wtl_free(s->ctx, s->s);
  *s = (wtl_names){ .ctx = s->ctx };
}

static wtl_status fill(reading *r, wtl_tensor **values, wtl_tensor **labels) {
  wtl_shape shape = { 2, { r->n, r->columns - 1 } };
  WTL_TRY(wtl_tensor_create(r->ctx, r->o->pixels ? WTL_U8 : WTL_F32, &shape, values));
  WTL_TRY(wtl_tensor_create(r->ctx, WTL_I64, &(wtl_shape){ 1, { r->n } }, labels));
  if (r->o->pixels) r->bytes = wtl_tensor_data(*values);
  else r->floats = wtl_tensor_data(*values);
  r->y = wtl_tensor_data(*labels);
  WTL_TRY(wtl_csv_load(r->ctx, r->path, fill_row, r));
  return r->done == r->n ? WTL_OK : wtl_fail(r->ctx, WTL_ERR_IO, "%s: it changed while it was read", r->path);
}

wtl_status wtl_csv_samples(wtl_ctx *ctx, const char *path, const wtl_csv_samples_options *o, wtl_tensor **values,
                           wtl_tensor **labels, wtl_names *names) {
  wtl_tensor *x = NULL, *y = NULL;
  wtl_names found = { .ctx = ctx };
  reading r = { .ctx = ctx, .path = path, .o = o, .names = &found };
  if (o->label && !o->header)
    return wtl_fail(ctx, WTL_ERR_ARG, "csv_samples: a label's column has a name only with a header");
  r.c = newlocale(LC_ALL_MASK, "C", NULL);
  if (!r.c) return wtl_fail(ctx, WTL_ERR_MEMORY, "csv_samples: out of memory");
  wtl_status s = wtl_csv_load(ctx, path, count_row, &r);
  if (s == WTL_OK && r.n == 0) s = wtl_fail(ctx, WTL_ERR_FORMAT, "%s: there are no rows", path);
  if (s == WTL_OK && r.columns < 2) s = wtl_fail(ctx, WTL_ERR_FORMAT, "%s: there is no column besides the label", path);
  if (s == WTL_OK) s = fill(&r, &x, &y);
  freelocale(r.c);
  wtl_free(ctx, r.head);
  if (s != WTL_OK) {
    wtl_tensor_release(x);
    wtl_tensor_release(y);
    wtl_names_free(&found);
    return s;
  }
  *values = x;
  *labels = y;
  *names = found;
  return WTL_OK;
}
