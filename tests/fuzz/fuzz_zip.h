/* A mutator for zip archives: most changes would end at a checksum, or at a directory that has moved, so three in four have
 * those put right again. */
#ifndef WTL_FUZZ_ZIP_H
#define WTL_FUZZ_ZIP_H

#include <zlib.h>

#include "fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned int seed);

static inline uint32_t get(const uint8_t *p, int bytes) {
  uint32_t v = 0;
  for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
  return v;
}

static inline void set32(uint8_t *p, uint32_t v) {
  for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (8 * i));
}

/* Of a member's packed bytes; those of a deflated one that is damaged count as far as they go. */
static inline uint32_t checksum(int method, const uint8_t *p, size_t n) {
  uint8_t out[4096];
  uint32_t crc = 0;
  z_stream z = { .next_in = (uint8_t *)p, .avail_in = (unsigned)n };
  if (method == 0) return (uint32_t)crc32(0, p, (unsigned)n);
  if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return 0;
  int code = Z_OK;
  for (int i = 0; i < 64 && code == Z_OK; i++) {
    z.next_out = out;
    z.avail_out = sizeof out;
    code = inflate(&z, Z_NO_FLUSH);
    crc = (uint32_t)crc32(crc, out, (unsigned)(sizeof out - z.avail_out));
  }
  inflateEnd(&z);
  return crc;
}

static inline void repair_member(uint8_t *data, size_t n, uint8_t *central) {
  size_t at = get(central + 42, 4), packed = get(central + 20, 4);
  if (at > n || n - at < 30) return;
  size_t begin = at + 30 + get(data + at + 26, 2) + get(data + at + 28, 2);
  if (begin > n || packed > n - begin) return;
  uint32_t crc = checksum((int)get(central + 10, 2), data + begin, packed);
  set32(central + 16, crc);
  if (get(data + at + 14, 4) != 0) set32(data + at + 14, crc);
}

static inline void repair(uint8_t *data, size_t n) {
  if (n < 22 || memcmp(data + n - 22, "PK\5\6", 4) != 0) return;
  uint8_t *end = data + n - 22;
  size_t bytes = get(end + 12, 4), limit = n - 22;
  if (n >= 98 && memcmp(data + n - 42, "PK\6\7", 4) == 0) {
    limit = n - 98;
    set32(data + n - 42 + 8, (uint32_t)limit);
    if (bytes <= limit) set32(data + limit + 48, (uint32_t)(limit - bytes));
  }
  if (bytes > limit) return;
  set32(end + 16, (uint32_t)(limit - bytes));
  for (size_t at = limit - bytes; limit - at >= 46;) {
    size_t entry = 46 + get(data + at + 28, 2) + get(data + at + 30, 2) + get(data + at + 32, 2);
    if (entry > limit - at) return;
    repair_member(data, n, data + at);
    at += entry;
  }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned int seed) {
  n = LLVMFuzzerMutate(data, n, most);
  if (seed % 4) repair(data, n);
  return n;
}

#endif
