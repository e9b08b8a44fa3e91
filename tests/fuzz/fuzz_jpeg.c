/* JPEG, with the EXIF in it: see fuzz_image.h. */
#include "fuzz_image.h"

/* Does a frame header say more pixels than a run has time for, and no more than are read? */
static bool slow(const uint8_t *p, size_t n) {
  for (size_t i = 0; i + 9 < n; i++) {
    if (p[i] != 0xff || p[i + 1] < 0xc0 || p[i + 1] > 0xcf) continue;
    if ((uint64_t)(p[i + 5] << 8 | p[i + 6]) * (uint64_t)(p[i + 7] << 8 | p[i + 8]) > MOST) return true;
  }
  return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  static const uint8_t start[3] = { 0xff, 0xd8, 0xff };
  begin();
  if (n >= 3 && memcmp(data, start, 3) != 0) return 0; /* PNG has a target of its own */
  if (n > 20000 || (slow(data, n) && n > 8000)) return 0;
  decode_and_resize(data, n);
  return 0;
}
