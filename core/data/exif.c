/* EXIF orientation: found in the TIFF block that a JPEG's APP1 or a PNG's eXIf holds, and applied as Pillow's
 * ImageOps.exif_transpose does. EXIF that makes no sense is no error: cameras and editors write much of it. */
#include <string.h>

#include "decoder.h"

static uint32_t number(const unsigned char *p, int bytes, bool little) {
  uint32_t v = 0;
  for (int i = 0; i < bytes; i++) v |= (uint32_t)p[i] << 8 * (little ? i : bytes - 1 - i);
  return v;
}

int wtl_exif_orientation(const unsigned char *t, size_t n) {
  int orientation = 1;
  if (n < 8 || (memcmp(t, "II*\0", 4) != 0 && memcmp(t, "MM\0*", 4) != 0)) return 1;
  bool little = t[0] == 'I';
  size_t at = number(t + 4, 4, little);
  if (at > n || n - at < 2) return 1;
  uint32_t entries = number(t + at, 2, little);
  at += 2;
  for (uint32_t i = 0; i < entries && n - at >= 12; i++, at += 12) {
    if (number(t + at, 2, little) != 0x0112 || number(t + at + 4, 4, little) != 1) continue;
    uint32_t type = number(t + at + 2, 2, little); /* byte, short or long; a short one stands in front */
    int bytes = type == 1 ? 1 : type == 3 ? 2 : type == 4 ? 4 : 0;
    uint32_t v = number(t + at + 8, bytes, little);
    orientation = bytes && v >= 1 && v <= 8 ? (int)v : 1;
  }
  return orientation;
}

wtl_status wtl_turn(wtl_decoder *d, const wtl_pixels *in, int orientation, wtl_pixels *out) {
  /* Orientations 5 to 8 swap the axes. Along a row of the result the source moves by `step`, from row to row by `next`. */
  bool swap = orientation >= 5, mirror_x, mirror_y;
  int w = in->width, h = in->height, c = in->channels;
  mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  WTL_TRY(wtl_pixels_reserve(d, out, swap ? h : w, swap ? w : h, c));
  ptrdiff_t dx = mirror_x ? -c : c, dy = (ptrdiff_t)w * (mirror_y ? -c : c);
  ptrdiff_t step = swap ? dy : dx, next = swap ? dx : dy;
  const unsigned char *corner = in->data + ((size_t)(mirror_y ? h - 1 : 0) * (size_t)w + (size_t)(mirror_x ? w - 1 : 0)) * (size_t)c;
  unsigned char *to = out->data;
  for (int y = 0; y < out->height; y++) {
    const unsigned char *from = corner + y * next;
    for (int x = 0; x < out->width; x++, from += step)
      for (int k = 0; k < c; k++) *to++ = from[k];
  }
  return WTL_OK;
}
