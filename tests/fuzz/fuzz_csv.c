/* CSV: read or refused, nothing left behind; what is read is written field by field and reads again as the same. */
#include "fuzz.h"

/* The rows written as CSV, and a hash of their fields (FNV-1a). */
typedef struct rows { wtl_text text; uint64_t hash; int64_t n; int columns; } rows;

static void mix(rows *r, const void *data, size_t n) {
  const unsigned char *p = data;
  for (size_t i = 0; i < n; i++) r->hash = (r->hash ^ p[i]) * 0x100000001b3;
}

static wtl_status on_row(void *arg, int64_t row, const char *const *field, const size_t *len, int n) {
  rows *r = arg;
  CHECK(row == r->n++ && n >= 1 && (r->columns == 0 || r->columns == n));
  r->columns = n;
  for (int i = 0; i < n; i++) {
    CHECK(strlen(field[i]) == len[i]);
    mix(r, field[i], len[i] + 1);
    if (n == 1 && len[i] == 0) CHECK(wtl_text_add(&r->text, "\"\"") == WTL_OK); /* a blank line would be no row */
    CHECK(wtl_csv_field(&r->text, field[i], len[i]) == WTL_OK);
    CHECK(wtl_text_add(&r->text, "%s", i + 1 < n ? "," : "\n") == WTL_OK);
  }
  return WTL_OK;
}

static rows empty(void) {
  rows r = { .hash = 0xcbf29ce484222325 };
  wtl_text_init(&r.text, ctx);
  CHECK(wtl_text_add(&r.text, "\xef\xbb\xbf") == WTL_OK); /* or a field that begins with these bytes would lose them */
  return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  begin();
  uint64_t before = live();
  rows first = empty(), second = empty();
  wtl_status s = wtl_csv_load(ctx, in_memory(0, data, n), on_row, &first);
  if (s == WTL_OK) {
    CHECK(wtl_csv_load(ctx, in_memory(1, first.text.s, first.text.n), on_row, &second) == WTL_OK);
    CHECK(first.n == second.n && first.hash == second.hash && first.text.n == second.text.n);
  } else {
    CHECK(s == WTL_ERR_FORMAT && *wtl_message(ctx));
  }
  wtl_text_free(&first.text);
  wtl_text_free(&second.text);
  CHECK(live() == before);
  return 0;
}
