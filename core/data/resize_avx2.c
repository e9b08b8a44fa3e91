/* resize.c's two passes with AVX2. Weights of 22 bits times bytes are sums of 16-bit products: weight = low + 4096 * rest,
 * so that one instruction multiplies sixteen samples and adds pairs; the 32-bit sums are the plain kernel's exactly. */
#include "resize.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))

/* (low + 4096 * rest + half) >> 22 in each lane. */
AVX2 static inline __m256i finish8(__m256i low, __m256i rest) {
  __m256i sum = _mm256_add_epi32(_mm256_add_epi32(low, _mm256_slli_epi32(rest, 12)), _mm256_set1_epi32(1 << (WTL_RESIZE_BITS - 1)));
  return _mm256_srai_epi32(sum, WTL_RESIZE_BITS);
}

/* ---- along rows ---- */

static void tail(const int32_t *k, const unsigned char *p, int t, int count, int channels, int32_t *sum) {
  for (; t < count; t++)
    for (int c = 0; c < channels; c++) sum[c] += p[t * channels + c] * k[t];
}

typedef struct quad { __m256i low, rest; } quad; /* sums of one row: pixels 0 and 1 in the lower half, 2 and 3 in the upper */

/* Four pixels of a row, the samples of a channel side by side, times four weights. */
AVX2 static inline void add_quad(quad *q, const unsigned char *p, __m256i low, __m256i rest) {
  const __m256i pairs = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
                                         6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  __m256i x = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)), pairs);
  q->low = _mm256_add_epi32(q->low, _mm256_madd_epi16(x, low));
  q->rest = _mm256_add_epi32(q->rest, _mm256_madd_epi16(x, rest));
}

/* The sums of two rows, one in each half. */
AVX2 static inline __m256i two_rows(const quad *a, const quad *b) {
  __m256i x = _mm256_add_epi32(a->low, _mm256_slli_epi32(a->rest, 12)), y = _mm256_add_epi32(b->low, _mm256_slli_epi32(b->rest, 12));
  return _mm256_add_epi32(_mm256_permute2x128_si256(x, y, 0x20), _mm256_permute2x128_si256(x, y, 0x31));
}

/* Sample i of rows at p[0..3], ascending in memory, to sum: rows 0 and 1, rows 2 and 3. Four share the weights' unpacking. */
AVX2 static inline void sample3(const wtl_weights *w, int i, const unsigned char *const p[4], const unsigned char *end, __m256i sum[2]) {
  const __m256i lows = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), rests = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
  const __m256i half = _mm256_set1_epi32(1 << (WTL_RESIZE_BITS - 1)), zero = _mm256_setzero_si256();
  const int16_t *k = w->split + 2 * (size_t)i * (size_t)w->most;
  size_t first = 3 * (size_t)w->bounds[2 * i];
  int count = w->bounds[2 * i + 1], t = 0;
  quad q[4] = { { zero, zero }, { zero, zero }, { zero, zero }, { zero, zero } };
  for (; t < count && (size_t)(end - p[3]) >= first + 3 * (size_t)t + 16; t += 4) {
    __m256i y = _mm256_castsi128_si256(_mm_load_si128((const __m128i *)(k + 2 * t)));
    __m256i low = _mm256_permutevar8x32_epi32(y, lows), rest = _mm256_permutevar8x32_epi32(y, rests);
    size_t at = first + 3 * (size_t)t;
    add_quad(&q[0], p[0] + at, low, rest);
    add_quad(&q[1], p[1] + at, low, rest);
    add_quad(&q[2], p[2] + at, low, rest);
    add_quad(&q[3], p[3] + at, low, rest);
  }
  sum[0] = _mm256_add_epi32(two_rows(&q[0], &q[1]), half);
  sum[1] = _mm256_add_epi32(two_rows(&q[2], &q[3]), half);
  if (t >= count) return;
  int32_t s[16]; /* the last pixels of the picture */
  _mm256_storeu_si256((__m256i *)s, sum[0]);
  _mm256_storeu_si256((__m256i *)(s + 8), sum[1]);
  for (int r = 0; r < 4; r++) tail(w->weight + (size_t)i * (size_t)w->most, p[r] + first, t, count, 3, s + 4 * r);
  sum[0] = _mm256_loadu_si256((const __m256i *)s);
  sum[1] = _mm256_loadu_si256((const __m256i *)(s + 8));
}

static inline void put3(unsigned char *out, uint32_t rgb) {
  memcpy(out, &rgb, 2);
  out[2] = (unsigned char)(rgb >> 16);
}

AVX2 static void across3(const wtl_weights *w, const unsigned char *const p[4], const unsigned char *end, unsigned char *const out[4]) {
  for (int i = 0; i < w->n; i++) {
    __m256i sum[2];
    sample3(w, i, p, end, sum);
    __m256i v = _mm256_packs_epi32(_mm256_srai_epi32(sum[0], WTL_RESIZE_BITS), _mm256_srai_epi32(sum[1], WTL_RESIZE_BITS));
    v = _mm256_packus_epi16(v, v); /* rows 0 and 2 in the lower half, 1 and 3 in the upper */
    uint64_t even = (uint64_t)_mm_cvtsi128_si64(_mm256_castsi256_si128(v)), odd = (uint64_t)_mm_cvtsi128_si64(_mm256_extracti128_si256(v, 1));
    put3(out[0] + 3 * i, (uint32_t)even);
    put3(out[1] + 3 * i, (uint32_t)odd);
    put3(out[2] + 3 * i, (uint32_t)(even >> 32));
    put3(out[3] + 3 * i, (uint32_t)(odd >> 32));
  }
}

AVX2 static void across1(const wtl_weights *w, const unsigned char *in, const unsigned char *end, unsigned char *out) {
  for (int i = 0; i < w->n; i++) {
    const unsigned char *p = in + w->bounds[2 * i];
    const int32_t *k = w->weight + (size_t)i * (size_t)w->most;
    int count = w->bounds[2 * i + 1], t = 0;
    __m256i sums = _mm256_setzero_si256();
    for (; t < count && end - (p + t) >= 8; t += 8) {
      __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + t)));
      sums = _mm256_add_epi32(sums, _mm256_mullo_epi32(x, _mm256_loadu_si256((const __m256i *)(k + t))));
    }
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    int32_t sum = _mm_cvtsi128_si32(s) + (1 << (WTL_RESIZE_BITS - 1));
    tail(k, p, t, count, 1, &sum);
    out[i] = wtl_resize_clip(sum);
  }
}

AVX2 static void across(const wtl_weights *w, const wtl_pixels *in, int first, wtl_pixels *out) {
  size_t c = (size_t)in->channels, from = (size_t)in->width * c, to = (size_t)out->width * c;
  const unsigned char *rows = in->data + (size_t)first * from, *end = in->data + (size_t)in->height * from;
  if (c == 1) {
    for (size_t y = 0; y < (size_t)out->height; y++) across1(w, rows + y * from, end, out->data + y * to);
    return;
  }
  if (c != 3) {
    wtl_resize_plain.across(w, in, first, out);
    return;
  }
  for (int y = 0; y < out->height; y += 4) {
    const unsigned char *p[4];
    unsigned char *q[4];
    for (int k = 0; k < 4; k++) { /* of fewer than four, the last is computed again */
      size_t row = (size_t)(y + k < out->height ? y + k : out->height - 1);
      p[k] = rows + row * from;
      q[k] = out->data + row * to;
    }
    across3(w, p, end, q);
  }
}

/* ---- down the columns ---- */

typedef struct sums { __m256i low[2], rest[2]; } sums;

/* Sixteen columns of two rows. */
AVX2 static inline void add_pair(sums *s, __m128i a, __m128i b, __m256i low, __m256i rest) {
  __m256i x = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b)), y = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
  s->low[0] = _mm256_add_epi32(s->low[0], _mm256_madd_epi16(x, low));
  s->rest[0] = _mm256_add_epi32(s->rest[0], _mm256_madd_epi16(x, rest));
  s->low[1] = _mm256_add_epi32(s->low[1], _mm256_madd_epi16(y, low));
  s->rest[1] = _mm256_add_epi32(s->rest[1], _mm256_madd_epi16(y, rest));
}

static inline int32_t pair(int32_t a, int32_t b) { return (int32_t)((uint32_t)(a & 0xffff) | (uint32_t)b << 16); }

/* Sixteen columns at p, all rows. */
AVX2 static inline __m128i column16(const int32_t *weight, int count, const unsigned char *p, size_t bytes) {
  sums s;
  s.low[0] = s.low[1] = s.rest[0] = s.rest[1] = _mm256_setzero_si256();
  for (int t = 0; t < count; t += 2) {
    int32_t k0 = weight[t], k1 = t + 1 < count ? weight[t + 1] : 0;
    const unsigned char *q = p + (size_t)t * bytes;
    __m128i a = _mm_loadu_si128((const __m128i *)q), b = t + 1 < count ? _mm_loadu_si128((const __m128i *)(q + bytes)) : a;
    add_pair(&s, a, b, _mm256_set1_epi32(pair(k0 & 4095, k1 & 4095)), _mm256_set1_epi32(pair(k0 >> 12, k1 >> 12)));
  }
  __m256i v = _mm256_packs_epi32(finish8(s.low[0], s.rest[0]), finish8(s.low[1], s.rest[1]));
  v = _mm256_permute4x64_epi64(v, 0xd8); /* packing works in halves */
  return _mm_packus_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

AVX2 static void down(const int32_t *weight, int count, const unsigned char *in, size_t bytes, unsigned char *out) {
  size_t x = 0;
  if (bytes < 16) {
    wtl_resize_plain.down(weight, count, in, bytes, out);
    return;
  }
  for (; x + 16 <= bytes; x += 16) _mm_storeu_si128((__m128i *)(out + x), column16(weight, count, in + x, bytes));
  if (x < bytes) _mm_storeu_si128((__m128i *)(out + bytes - 16), column16(weight, count, in + bytes - 16, bytes)); /* again in part */
}

/* ---- planes ---- */

/* Sixteen bytes from three blocks of sixteen: those whose mask is not 0x80. */
AVX2 static inline __m128i gather(const __m128i from[3], unsigned char mask[3][16]) {
  __m128i a = _mm_shuffle_epi8(from[0], _mm_loadu_si128((const __m128i *)mask[0]));
  __m128i b = _mm_shuffle_epi8(from[1], _mm_loadu_si128((const __m128i *)mask[1]));
  __m128i c = _mm_shuffle_epi8(from[2], _mm_loadu_si128((const __m128i *)mask[2]));
  return _mm_or_si128(_mm_or_si128(a, b), c);
}

AVX2 static void to_planes(const unsigned char *from, size_t n, unsigned char *to) {
  unsigned char mask[3][3][16]; /* plane, block: byte 16 * block + j is of pixel (16 * block + j) / 3 */
  size_t i = 0;
  memset(mask, 0x80, sizeof mask);
  for (int j = 0; j < 48; j++) mask[j % 3][j / 16][j / 3] = (unsigned char)(j % 16);
  for (; i + 16 <= n; i += 16) {
    __m128i block[3];
    for (int k = 0; k < 3; k++) block[k] = _mm_loadu_si128((const __m128i *)(from + 3 * i + 16 * k));
    for (size_t c = 0; c < 3; c++) _mm_storeu_si128((__m128i *)(to + c * n + i), gather(block, mask[c]));
  }
  for (; i < n; i++)
    for (size_t c = 0; c < 3; c++) to[c * n + i] = from[3 * i + c];
}

AVX2 static void from_planes(const unsigned char *from, size_t n, unsigned char *to) {
  unsigned char mask[3][3][16]; /* block, plane */
  size_t i = 0;
  memset(mask, 0x80, sizeof mask);
  for (int j = 0; j < 48; j++) mask[j / 16][j % 3][j % 16] = (unsigned char)(j / 3);
  for (; i + 16 <= n; i += 16) {
    __m128i plane[3];
    for (size_t c = 0; c < 3; c++) plane[c] = _mm_loadu_si128((const __m128i *)(from + c * n + i));
    for (size_t k = 0; k < 3; k++) _mm_storeu_si128((__m128i *)(to + 3 * i + 16 * k), gather(plane, mask[k]));
  }
  for (; i < n; i++)
    for (size_t c = 0; c < 3; c++) to[3 * i + c] = from[c * n + i];
}

const wtl_resize_kernels *wtl_resize_avx2(void) {
  static const wtl_resize_kernels k = { across, down, to_planes, from_planes };
  return __builtin_cpu_supports("avx2") ? &k : NULL;
}

#else

const wtl_resize_kernels *wtl_resize_avx2(void) { return NULL; }

#endif
