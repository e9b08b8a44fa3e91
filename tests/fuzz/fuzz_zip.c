/* Zip archives: opened or refused, members read each alone and all at once with the same bytes, nothing left behind. */
#include "fuzz_zip.h"

#include "zip.h"

#define MOST (1 << 20) /* bytes of all members: deflate can promise more than a run has time for */

static bool is_failure(wtl_status s) {
  return (s == WTL_ERR_FORMAT || s == WTL_ERR_UNSUPPORTED) && *wtl_message(ctx);
}

static void read_members(wtl_zip *z) {
  wtl_zip_want *want = calloc((size_t)z->n + 1, sizeof *want);
  bool all = true;
  CHECK(want);
  for (int64_t i = 0; i < z->n; i++) {
    const wtl_zip_entry *e = &z->entry[i];
    int64_t head = e->size / 3;
    char *bytes = calloc(1, (size_t)e->size + 1), *first = calloc(1, (size_t)head + 1);
    CHECK(bytes && first && wtl_zip_find(z, e->name) == e);
    wtl_status s = wtl_zip_read(z, e, bytes);
    CHECK(s == WTL_OK || is_failure(s));
    if (s != WTL_OK) all = false;
    s = wtl_zip_peek(z, e, first, (size_t)head);
    CHECK(s == WTL_OK ? !all || memcmp(first, bytes, (size_t)head) == 0 : is_failure(s));
    free(bytes);
    want[i] = (wtl_zip_want){
      .entry = e, .head = first, .head_bytes = head, .body = calloc(1, (size_t)(e->size - head) + 1)
    };
    CHECK(want[i].body);
  }
  CHECK(wtl_zip_read_all(z, want, z->n) == WTL_OK ? all : !all);
  for (int64_t i = 0; i < z->n; i++) free(want[i].head), free(want[i].body);
  free(want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  wtl_zip z = { 0 };
  int64_t total = 0;
  begin();
  uint64_t before = live();
  wtl_status s = wtl_zip_open(ctx, in_memory(0, data, n), &z);
  CHECK(s == WTL_OK || is_failure(s));
  CHECK(s == WTL_OK ? z.fd >= 0 : z.fd < 0 && !z.entry);
  for (int64_t i = 0; i < z.n && total <= MOST; i++)
    total = z.entry[i].size > MOST ? MOST + 1 : total + z.entry[i].size;
  if (s == WTL_OK && total <= MOST) read_members(&z);
  wtl_zip_close(&z);
  CHECK(live() == before);
  return 0;
}
