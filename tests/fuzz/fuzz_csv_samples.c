/* CSV of samples: read or refused, nothing left behind; values are finite, labels are numbers of the names, and pixels are the
 * same numbers as features. The first byte says whether there is a header and which column is the label. */
#include "fuzz.h"

#include <math.h>

typedef struct samples { wtl_tensor *x, *y; wtl_names names; } samples;

static void drop(samples *s) {
  wtl_tensor_release(s->x);
  wtl_tensor_release(s->y);
  wtl_names_free(&s->names);
}

static void check_labels(const samples *s, int64_t rows) {
  const int64_t *y = wtl_tensor_cdata(s->y);
  CHECK(wtl_tensor_numel(s->y) == rows && s->names.n >= 1 && s->names.n <= rows);
  int64_t met = 0; /* names come in the order of their first row */
  for (int64_t i = 0; i < rows; i++) {
    CHECK(y[i] >= 0 && y[i] <= met && y[i] < s->names.n);
    if (y[i] == met) met++;
  }
  CHECK(met == s->names.n);
  for (int64_t i = 0; i < s->names.n; i++) {
    CHECK(*s->names.s[i]);
    for (int64_t k = 0; k < i; k++) CHECK(strcmp(s->names.s[i], s->names.s[k]) != 0);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  begin();
  uint64_t before = live();
  samples floats = { 0 }, bytes = { 0 };
  wtl_csv_samples_options o = { .header = n && data[0] & 1, .label_at = n ? data[0] >> 1 & 3 : 0 };
  if (o.header && n && data[0] & 16) o.label = "y";
  const char *path = in_memory(0, n ? data + 1 : data, n ? n - 1 : 0);
  wtl_status s = wtl_csv_samples(ctx, path, &o, &floats.x, &floats.y, &floats.names);
  CHECK(s == WTL_OK || (s == WTL_ERR_FORMAT && *wtl_message(ctx) && !floats.x && !floats.y && !floats.names.n));
  o.pixels = true;
  wtl_status p = wtl_csv_samples(ctx, path, &o, &bytes.x, &bytes.y, &bytes.names);
  CHECK(p == WTL_OK || p == WTL_ERR_FORMAT);
  if (s == WTL_OK) {
    const wtl_shape *shape = wtl_tensor_shape(floats.x);
    const float *x = wtl_tensor_cdata(floats.x);
    for (int64_t i = 0; i < wtl_tensor_numel(floats.x); i++) CHECK(isfinite(x[i]));
    check_labels(&floats, shape->size[0]);
  }
  if (p == WTL_OK) {
    CHECK(s == WTL_OK && wtl_tensor_numel(bytes.x) == wtl_tensor_numel(floats.x));
    for (int64_t i = 0; i < wtl_tensor_numel(bytes.x); i++)
      CHECK(((const unsigned char *)wtl_tensor_cdata(bytes.x))[i] == ((const float *)wtl_tensor_cdata(floats.x))[i]);
    check_labels(&bytes, wtl_tensor_shape(bytes.x)->size[0]);
  }
  drop(&floats);
  drop(&bytes);
  CHECK(live() == before);
  return 0;
}
