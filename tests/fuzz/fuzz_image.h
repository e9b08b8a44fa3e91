/* What the fuzz targets of pictures share. */
#ifndef WTL_FUZZ_IMAGE_H
#define WTL_FUZZ_IMAGE_H

#include "decoder.h"
#include "fuzz.h"

#define MOST (1 << 22) /* pixels; beyond them a run is slow, not wrong */

/* Decoded to grey and to colours, one after another by one decoder, or refused both times; then scaled. */
static inline void decode_and_resize(const uint8_t *data, size_t n) {
  wtl_decoder *d = NULL;
  wtl_pixels rgb = { 0 }, grey = { 0 }, out = { 0 };
  uint64_t before = live();
  CHECK(wtl_decoder_create(ctx, &d) == WTL_OK);
  wtl_status s = wtl_decode(d, data, n, 3, &rgb);
  CHECK(s == WTL_OK || ((s == WTL_ERR_FORMAT || s == WTL_ERR_UNSUPPORTED) && *wtl_decoder_message(d)));
  CHECK(wtl_decode(d, data, n, 1, &grey) == s);
  if (s == WTL_OK) {
    size_t pixels = (size_t)rgb.width * (size_t)rgb.height;
    CHECK(pixels && pixels <= WTL_MAX_PIXELS && rgb.channels == 3 && grey.channels == 1);
    CHECK(grey.width == rgb.width && grey.height == rgb.height);
    for (size_t i = 0; i < pixels; i++) { /* the grey picture is the luma of the other, for every type */
      unsigned char luma;
      wtl_luma(rgb.data + 3 * i, &luma, 1);
      CHECK(luma == grey.data[i]);
    }
    wtl_filter f = (wtl_filter)(n % 3);
    CHECK(wtl_resize(d, &rgb, NULL, 1 + (int)(n % 37), 1 + (int)(n % 23), f, &out) == WTL_OK);
    double box[4] = { rgb.width * 0.2, rgb.height * 0.3, rgb.width * 0.9, rgb.height };
    CHECK(wtl_resize(d, &grey, box, 1 + (int)(n % 41), 1 + (int)(n % 19), f, &out) == WTL_OK);
  }
  wtl_pixels_free(ctx, &rgb);
  wtl_pixels_free(ctx, &grey);
  wtl_pixels_free(ctx, &out);
  wtl_decoder_destroy(d);
  CHECK(live() == before);
}

#endif
