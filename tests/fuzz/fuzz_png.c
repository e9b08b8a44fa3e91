/* PNG, and EXIF by itself: see fuzz_image.h. Most changes would end at a chunk's checksum, so three in four have theirs put
 * right again. */
#include <zlib.h>

#include "fuzz_image.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned int seed);

static uint32_t u32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned int seed) {
  n = LLVMFuzzerMutate(data, n, most);
  for (size_t at = 8; seed % 4 && at + 12 <= n && u32(data + at) <= n - at - 12;) {
    size_t length = u32(data + at);
    uint32_t crc = (uint32_t)crc32(0, data + at + 4, (unsigned)length + 4);
    for (int i = 0; i < 4; i++) data[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    at += 12 + length;
  }
  return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  begin();
  int o = wtl_exif_orientation(data, n);
  CHECK(o >= 1 && o <= 8);
  if (n >= 2 && data[0] == 0xff && data[1] == 0xd8) return 0; /* JPEG has a target of its own */
  if (n > 20000) return 0;
  if (n >= 24) {
    uint64_t w = u32(data + 16), h = u32(data + 20);
    if (w <= WTL_MAX_SIDE && h <= WTL_MAX_SIDE && w * h > MOST && w * h <= WTL_MAX_PIXELS && n > 2000) return 0; /* slow, not wrong */
  }
  decode_and_resize(data, n);
  return 0;
}
