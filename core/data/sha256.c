/* SHA-256 (FIPS 180-4) of files and dicts. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "data.h"
#include "tensor.h"

typedef struct sha256 {
  uint32_t h[8];
  uint64_t bytes;          /* taken in so far */
  unsigned char block[64]; /* bytes % 64 of it wait here */
} sha256;

/* First 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t round_constant[64] = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void take_block(uint32_t s[8], const unsigned char *p) {
  uint32_t w[64], a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
  for (int t = 0; t < 16; t++, p += 4) w[t] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  for (int t = 16; t < 64; t++) {
    uint32_t low = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
    uint32_t high = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
    w[t] = w[t - 16] + low + w[t - 7] + high;
  }
  for (int t = 0; t < 64; t++) {
    uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + round_constant[t] + w[t];
    uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  s[0] += a, s[1] += b, s[2] += c, s[3] += d, s[4] += e, s[5] += f, s[6] += g, s[7] += h;
}

static void begin(sha256 *s) {
  *s = (sha256){ .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                        0x5be0cd19 } };
}

static void take(sha256 *s, const void *data, size_t n) {
  const unsigned char *p = data;
  size_t have = s->bytes % 64;
  s->bytes += n;
  if (have) {
    size_t part = n < 64 - have ? n : 64 - have;
    memcpy(s->block + have, p, part);
    p += part;
    n -= part;
    if (have + part < 64) return;
    take_block(s->h, s->block);
  }
  for (; n >= 64; n -= 64, p += 64) take_block(s->h, p);
  if (n) memcpy(s->block, p, n);
}

static void finish(sha256 *s, char out[65]) {
  static const unsigned char padding[64] = { 0x80 };
  unsigned char length[8];
  uint64_t bits = s->bytes * 8;
  for (int i = 0; i < 8; i++) length[i] = (unsigned char)(bits >> (56 - 8 * i));
  take(s, padding, 1 + (119 - s->bytes % 64) % 64);
  take(s, length, 8);
  for (int i = 0; i < 8; i++) snprintf(out + 8 * i, 9, "%08x", s->h[i]);
}

wtl_status wtl_sha256_file(wtl_ctx *ctx, const char *path, char out[65]) {
  unsigned char buf[65536];
  int64_t size;
  size_t got;
  int fd;
  sha256 h;
  WTL_TRY(wtl_open_regular(ctx, path, &fd, &size));
  begin(&h);
  wtl_status s;
  do {
    s = wtl_read_up_to(ctx, path, fd, buf, sizeof buf, &got);
    if (s == WTL_OK) take(&h, buf, got);
  } while (s == WTL_OK && got == sizeof buf);
  close(fd);
  if (s == WTL_OK) finish(&h, out);
  return s;
}

static void take_i64(sha256 *s, int64_t v) { take(s, &v, sizeof v); }

/* Text is preceded by its length, so that no two dicts give the same bytes. */
static void take_text(sha256 *s, const char *text) {
  take_i64(s, (int64_t)strlen(text));
  take(s, text, strlen(text));
}

wtl_status wtl_sha256_dict(wtl_ctx *ctx, const wtl_dict *d, char out[65]) {
  sha256 h;
  (void)ctx;
  begin(&h);
  for (int64_t i = 0; i < d->n; i++) {
    wtl_tensor *t;
    WTL_TRY(wtl_tensor_as_contiguous(d->item[i].tensor, &t));
    const wtl_shape *s = wtl_tensor_shape(t);
    take_text(&h, d->item[i].name);
    take_text(&h, wtl_dtype_name(wtl_tensor_dtype(t)));
    take_i64(&h, s->ndim);
    for (int k = 0; k < s->ndim; k++) take_i64(&h, s->size[k]);
    take(&h, wtl_tensor_cdata(t), wtl_tensor_bytes(t));
    wtl_tensor_release(t);
  }
  finish(&h, out);
  return WTL_OK;
}
