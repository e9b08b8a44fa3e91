/* torch.save's files, zip archives and streams of pickles: loaded or refused, nothing left behind; what loads is whole. */
#include "fuzz_zip.h"

static void look_at(const wtl_dict *d, const wtl_meta *m) {
  char hex[65];
  CHECK(wtl_sha256_dict(ctx, d, hex) == WTL_OK); /* every byte of every tensor */
  for (int64_t i = 0; i < d->n; i++) {
    CHECK(wtl_tensor_contiguous(d->item[i].tensor));
    for (int64_t k = 0; d->n < 1000 && k < i; k++) CHECK(strcmp(d->item[i].name, d->item[k].name) != 0);
    CHECK(!d->item[i].finite || wtl_tensor_all_finite(d->item[i].tensor));
  }
  for (int64_t i = 0; i < 2 * m->n; i++) CHECK(m->s[i] && strlen(m->s[i]) < 2000);
  CHECK(m->s && !m->s[2 * m->n]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  wtl_dict d;
  wtl_meta m = { 0 };
  begin();
  uint64_t before = live();
  wtl_dict_init(&d, ctx);
  wtl_status s = wtl_pth_load(ctx, in_memory(0, data, n), &d, &m);
  if (s == WTL_OK) look_at(&d, &m);
  else CHECK(d.n == 0 && m.n == 0 && (s == WTL_ERR_FORMAT || s == WTL_ERR_UNSUPPORTED) && *wtl_message(ctx));
  wtl_dict_free(&d);
  wtl_meta_free(&m);
  CHECK(live() == before);
  return 0;
}
