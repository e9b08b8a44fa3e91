/* Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
 * easy as 1, 2, 3", SC 2011). The key is the seed, the high half of the counter a hash of purpose, name and step, the
 * low half the index / 4. All arithmetic is on integers and IEEE doubles, with sqrt alone from libm (it is exact by
 * IEEE 754), so the numbers are the same everywhere. */
#include <math.h>
#include <string.h>

#include "rng.h"

void wtl_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < 10; round++) {
    uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
    c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)b;
    c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)a;
    k0 += 0x9E3779B9u; /* Weyl sequence: the golden ratio, sqrt(3) - 1 */
    k1 += 0xBB67AE85u;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

static uint64_t fnv1a(uint64_t h, const void *data, size_t n) {
  const unsigned char *p = data;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001B3u;
  return h;
}

wtl_rng wtl_rng_make(uint64_t seed, const char *purpose, const char *name, uint64_t step) {
  uint64_t h = 0xCBF29CE484222325u;
  h = fnv1a(h, purpose, strlen(purpose) + 1); /* with the NUL: ("ab","c") differs from ("a","bc") */
  h = fnv1a(h, name, strlen(name) + 1);
  for (int i = 0; i < 8; i++) h = fnv1a(h, &(unsigned char){ (unsigned char)(step >> 8 * i) }, 1);
  h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9u; /* splitmix64's finalizer */
  h = (h ^ h >> 27) * 0x94D049BB133111EBu;
  h ^= h >> 31;
  return (wtl_rng){ { (uint32_t)seed, (uint32_t)(seed >> 32) }, { (uint32_t)h, (uint32_t)(h >> 32) } };
}

void wtl_rng_block(const wtl_rng *r, uint64_t block, uint32_t out[4]) {
  uint32_t counter[4] = { (uint32_t)block, (uint32_t)(block >> 32), r->stream[0], r->stream[1] };
  wtl_philox(counter, r->key, out);
}

uint32_t wtl_rng_u32(const wtl_rng *r, uint64_t index) {
  uint32_t v[4];
  wtl_rng_block(r, index / 4, v);
  return v[index % 4];
}

double wtl_rng_uniform(const wtl_rng *r, uint64_t index) { return wtl_rng_u32(r, index) * 0x1p-32; }

/* ln(x) for finite x >= 2^-1022, within 2 ulp. x = m 2^e, m in [sqrt(1/2), sqrt(2)), and
 * ln(m) = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...), s = (m-1)/(m+1), |s| < 0.172. */
double wtl_log(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  int e = (int)(bits >> 52) - 1023;
  bits = (bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u;
  double m;
  memcpy(&m, &bits, sizeof m);
  if (m >= 1.4142135623730951) m *= 0.5, e++;
  static const double odd[] = { 1. / 23, 1. / 21, 1. / 19, 1. / 17, 1. / 15, 1. / 13, 1. / 11, 1. / 9, 1. / 7, 1. / 5, 1. / 3 };
  double s = (m - 1) / (m + 1), z = s * s, sum = 0;
  for (int i = 0; i < 11; i++) sum = (sum + odd[i]) * z;
  double ln2_hi = 0x1.62e42fee00000p-1, ln2_lo = 0x1.a39ef35793c76p-33; /* e * ln2_hi is exact */
  return e * ln2_hi + (2 * s + (2 * s * sum + e * ln2_lo));
}

/* sin and cos of 2 pi x / 2^32: the nearest quarter turn is taken off exactly, and Taylor's series do the rest. */
void wtl_sincos_turn(uint32_t x, double *sine, double *cosine) {
  uint32_t quarter = (x + 0x20000000u) >> 30; /* 0..3, wrapping */
  double t = (double)(int32_t)(x - (quarter << 30)) * (6.283185307179586 * 0x1p-32), z = t * t; /* |t| <= pi/4 */
  double s = 0, c = 0;
#define TERM(k) c = (1 - c) * z * (1. / ((k) * ((k) - 1))), s = (1 - s) * z * (1. / ((k) * ((k) + 1)))
  TERM(18), TERM(16), TERM(14), TERM(12), TERM(10), TERM(8), TERM(6), TERM(4), TERM(2);
#undef TERM
  /* c = z/2 - z^2/24 + ..., cos t = 1 - c; s = z/6 - z^2/120 + ..., sin t = t (1 - s) */
  s = t * (1 - s);
  c = 1 - c;
  *sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
  *cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
}

/* Values 2p and 2p+1 come from numbers 2p and 2p+1 (Box and Muller 1958). */
static void normal_pair(uint32_t a, uint32_t b, double out[2]) {
  double radius = sqrt(-2 * wtl_log(((double)a + 1) * 0x1p-32)), s, c;
  wtl_sincos_turn(b, &s, &c);
  out[0] = radius * c;
  out[1] = radius * s;
}

void wtl_rng_normal_block(const wtl_rng *r, uint64_t block, double out[4]) {
  uint32_t v[4];
  wtl_rng_block(r, block, v);
  normal_pair(v[0], v[1], out);
  normal_pair(v[2], v[3], out + 2);
}

double wtl_rng_normal(const wtl_rng *r, uint64_t index) {
  uint32_t v[4];
  double out[2];
  wtl_rng_block(r, index / 4, v);
  normal_pair(v[index % 4 & 2], v[(index % 4 & 2) + 1], out);
  return out[index % 2];
}

/* Uniform in 0..bound-1 without bias: 64-bit numbers beyond the last whole multiple of bound are drawn again. */
static uint64_t draw_below(const wtl_rng *r, uint64_t *next, uint64_t bound) {
  uint64_t excess = (0 - bound) % bound; /* 2^64 mod bound */
  for (;;) {
    uint32_t v[4];
    wtl_rng_block(r, *next / 2, v);
    unsigned half = *next % 2 * 2;
    (*next)++;
    uint64_t x = v[half] | (uint64_t)v[half + 1] << 32;
    if (x < 0 - excess || excess == 0) return x % bound;
  }
}

void wtl_rng_permutation(const wtl_rng *r, int64_t n, int64_t *out) {
  uint64_t next = 0;
  for (int64_t i = 0; i < n; i++) { /* inside-out Fisher-Yates */
    int64_t j = (int64_t)draw_below(r, &next, (uint64_t)i + 1);
    if (j != i) out[i] = out[j];
    out[j] = i;
  }
}
