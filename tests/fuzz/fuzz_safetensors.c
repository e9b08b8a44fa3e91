/* safetensors: loaded or refused, nothing left behind; what loads is saved and loads again with the same content. */
#include "fuzz.h"

static void save_and_load(const wtl_dict *d, const wtl_meta *m) {
  char path[64], first[65], second[65];
  wtl_dict again;
  wtl_meta meta = { 0 };
  snprintf(path, sizeof path, "/dev/shm/wattle-fuzz-%ld", (long)getpid());
  wtl_dict_init(&again, ctx);
  CHECK(wtl_safetensors_save(ctx, path, d, (const char *const *)m->s) == WTL_OK);
  CHECK(wtl_safetensors_load_meta(ctx, path, &again, &meta) == WTL_OK);
  CHECK(wtl_sha256_dict(ctx, d, first) == WTL_OK && wtl_sha256_dict(ctx, &again, second) == WTL_OK);
  CHECK(strcmp(first, second) == 0 && meta.n == m->n);
  for (int64_t i = 0; i < 2 * m->n; i++) CHECK(strcmp(m->s[i], meta.s[i]) == 0);
  unlink(path);
  wtl_dict_free(&again);
  wtl_meta_free(&meta);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  wtl_dict d;
  wtl_meta m = { 0 };
  begin();
  uint64_t before = live();
  wtl_dict_init(&d, ctx);
  wtl_status s = wtl_safetensors_load_meta(ctx, in_memory(0, data, n), &d, &m);
  if (s == WTL_OK) save_and_load(&d, &m);
  else CHECK(d.n == 0 && m.n == 0 && (s == WTL_ERR_FORMAT || s == WTL_ERR_UNSUPPORTED) && *wtl_message(ctx));
  wtl_dict_free(&d);
  wtl_meta_free(&m);
  CHECK(live() == before);
  return 0;
}
