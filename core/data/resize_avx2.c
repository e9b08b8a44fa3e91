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

/* ---- along a row ---- */

static void tail(const int32_t *k, const unsigned char *p, int t, int count, int channels, int32_t *sum) {
  for (; t < count; t++)
    for (int c = 0; c < channels; c++) sum[c] += p[t * channels + c] * k[t];
}

/* Four pixels at a time: 0 and 1 in the lower half, 2 and 3 in the upper, samples of a channel side by side. */
AVX2 static void across3(const wtl_weights *w, const unsigned char *in, const unsigned char *end, unsigned char *out) {
  const __m256i pairs = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
                                         6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  const __m256i lows = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1), rests = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
  for (int i = 0; i < w->n; i++, out += 3) {
    const unsigned char *p = in + 3 * (size_t)w->bounds[2 * i];
    const int16_t *k = w->split + 2 * (size_t)i * (size_t)w->most;
    int count = w->bounds[2 * i + 1], t = 0;
    __m256i low = _mm256_setzero_si256(), rest = low;
    for (; t < count && end - (p + 3 * t) >= 16; t += 4) {
      __m256i x = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(p + 3 * t))), pairs);
      __m256i y = _mm256_castsi128_si256(_mm_load_si128((const __m128i *)(k + 2 * t)));
      low = _mm256_add_epi32(low, _mm256_madd_epi16(x, _mm256_permutevar8x32_epi32(y, lows)));
      rest = _mm256_add_epi32(rest, _mm256_madd_epi16(x, _mm256_permutevar8x32_epi32(y, rests)));
    }
    __m256i both = _mm256_add_epi32(low, _mm256_slli_epi32(rest, 12));
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    sum = _mm_add_epi32(sum, _mm_set1_epi32(1 << (WTL_RESIZE_BITS - 1)));
    if (t < count) { /* the last pixels of the picture */
      int32_t s[4];
      _mm_storeu_si128((__m128i *)s, sum);
      tail(w->weight + (size_t)i * (size_t)w->most, p, t, count, 3, s);
      sum = _mm_loadu_si128((const __m128i *)s);
    }
    __m128i v = _mm_srai_epi32(sum, WTL_RESIZE_BITS);
    v = _mm_packus_epi16(_mm_packs_epi32(v, v), v);
    uint32_t rgb = (uint32_t)_mm_cvtsi128_si32(v);
    memcpy(out, &rgb, 2);
    out[2] = (unsigned char)(rgb >> 16);
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

AVX2 static void across(const wtl_weights *w, const unsigned char *in, const unsigned char *end, int channels, unsigned char *out) {
  if (channels == 3) across3(w, in, end, out);
  else across1(w, in, end, out);
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

const wtl_resize_kernels *wtl_resize_avx2(void) {
  static const wtl_resize_kernels k = { across, down };
  return __builtin_cpu_supports("avx2") ? &k : NULL;
}

#else

const wtl_resize_kernels *wtl_resize_avx2(void) { return NULL; }

#endif
