/* IDX files, plain and gzip: loaded or refused, nothing left behind, never more elements than the limit. */
#include "fuzz.h"

#define LIMIT (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  wtl_tensor *t = NULL;
  begin();
  uint64_t before = live();
  wtl_status s = wtl_idx_load(ctx, in_memory(0, data, n), LIMIT, &t);
  if (s == WTL_OK) {
    const wtl_shape *shape = wtl_tensor_shape(t);
    CHECK(shape->ndim >= 1 && wtl_tensor_bytes(t) <= LIMIT && wtl_tensor_dtype(t) == WTL_U8);
    if (n && data[0] == 0) CHECK(n == 4 + 4 * (size_t)shape->ndim + wtl_tensor_bytes(t)); /* plain: nothing unread */
  } else {
    CHECK(!t && (s == WTL_ERR_FORMAT || s == WTL_ERR_UNSUPPORTED) && *wtl_message(ctx));
  }
  wtl_tensor_release(t);
  CHECK(live() == before);
  return 0;
}
