/* .npz: loaded or refused, nothing left behind; what loads is saved and loads again with the same content. */
#include "fuzz.h"

static void save_and_load(const wtl_dict *d) {
  char path[64], first[65], second[65];
  wtl_dict again;
  snprintf(path, sizeof path, "/dev/shm/wattle-fuzz-%ld.npz", (long)getpid());
  wtl_dict_init(&again, ctx);
  wtl_status s = wtl_npz_save(ctx, path, d);
  if (s == WTL_OK) {
    CHECK(wtl_npz_load(ctx, path, &again) == WTL_OK);
    CHECK(wtl_sha256_dict(ctx, d, first) == WTL_OK && wtl_sha256_dict(ctx, &again, second) == WTL_OK);
    CHECK(strcmp(first, second) == 0);
    for (int64_t i = 0; i < d->n; i++) CHECK(again.item[i].finite == d->item[i].finite);
    unlink(path);
  } else {
    CHECK(s == WTL_ERR_ARG && strstr(wtl_message(ctx), "no UTF-8")); /* a name that was read, but is not written */
  }
  wtl_dict_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  wtl_dict d;
  begin();
  uint64_t before = live();
  wtl_dict_init(&d, ctx);
  wtl_status s = wtl_npz_load(ctx, in_memory(0, data, n), &d);
  if (s == WTL_OK) save_and_load(&d);
  else CHECK(d.n == 0 && (s == WTL_ERR_FORMAT || s == WTL_ERR_UNSUPPORTED) && *wtl_message(ctx));
  wtl_dict_free(&d);
  CHECK(live() == before);
  return 0;
}
