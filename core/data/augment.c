/* What augmentation does to an 8-bit image, with Pillow's arithmetic: crops with zeros around, mirroring, and the four
 * adjustments of colour jitter. Nothing here draws a random number; that is transform.c. Errors: memory alone. */
#include <math.h>
#include <string.h>

#include "sample.h"

wtl_status wtl_crop(wtl_decoder *d, const wtl_pixels *in, const int box[4], wtl_pixels *out) {
  int c = in->channels, height = box[2], width = box[3];
  WTL_TRY(wtl_pixels_reserve(d, out, width, height, c));
  int from = box[1] < 0 ? 0 : box[1], to = box[1] + width < in->width ? box[1] + width : in->width;
  size_t row = (size_t)width * (size_t)c;
  for (int i = 0; i < height; i++) {
    unsigned char *y = out->data + (size_t)i * row;
    int k = box[0] + i;
    if (k < 0 || k >= in->height || from >= to) {
      memset(y, 0, row);
      continue;
    }
    size_t before = (size_t)(from - box[1]) * (size_t)c, n = (size_t)(to - from) * (size_t)c;
    memset(y, 0, before);
    memcpy(y + before, in->data + ((size_t)k * (size_t)in->width + (size_t)from) * (size_t)c, n);
    memset(y + before + n, 0, row - before - n);
  }
  return WTL_OK;
}

void wtl_mirror(wtl_pixels *p) {
  int c = p->channels;
  for (int i = 0; i < p->height; i++) {
    unsigned char *a = p->data + (size_t)i * (size_t)p->width * (size_t)c, *b = a + (size_t)(p->width - 1) * (size_t)c;
    for (; a < b; a += c, b -= c) {
      for (int k = 0; k < c; k++) {
        unsigned char t = a[k];
        a[k] = b[k];
        b[k] = t;
      }
    }
  }
}

/* ---- colour jitter ---- */

/* from + factor (to - from), in float, cut off to an integer; clipped where it may leave 0..255. */
static unsigned char blend(int from, int to, float factor) {
  float v = (float)from + factor * (float)(to - from);
  return v <= 0 ? 0 : v >= 255 ? 255 : (unsigned char)v;
}

static size_t pixels_of(const wtl_pixels *p) { return (size_t)p->width * (size_t)p->height; }

/* Every byte through a table of blends with one grey. */
static void blend_grey(wtl_pixels *p, int grey, float factor) {
  unsigned char table[256];
  size_t n = pixels_of(p) * (size_t)p->channels;
  for (int v = 0; v < 256; v++) table[v] = blend(grey, v, factor);
  for (size_t i = 0; i < n; i++) p->data[i] = table[p->data[i]];
}

static void adjust_brightness(wtl_pixels *p, double factor) { blend_grey(p, 0, (float)factor); }

/* Around the mean luma, which is rounded to an integer. */
static void adjust_contrast(wtl_pixels *p, double factor) {
  size_t n = pixels_of(p);
  int64_t sum = 0;
  for (size_t i = 0; i < n; i++) sum += p->channels == 3 ? wtl_luma_of(p->data + 3 * i) : p->data[i];
  blend_grey(p, (int)((double)sum / (double)n + 0.5), (float)factor);
}

static void adjust_saturation(wtl_pixels *p, double factor) {
  if (p->channels != 3) return; /* grey is its own luma */
  unsigned char *v = p->data;
  for (size_t i = 0, n = pixels_of(p); i < n; i++, v += 3) {
    int grey = wtl_luma_of(v);
    for (int k = 0; k < 3; k++) v[k] = blend(grey, v[k], (float)factor);
  }
}

/* Hue and saturation of a colour as bytes (Pillow's convert("HSV")); value is the largest of the three. */
static void to_hs(const unsigned char rgb[3], int *hue, int *saturation, int *value) {
  int r = rgb[0], g = rgb[1], b = rgb[2];
  int most = r > g ? (r > b ? r : b) : (g > b ? g : b), least = r < g ? (r < b ? r : b) : (g < b ? g : b);
  *hue = *saturation = 0;
  *value = most;
  if (most == least) return;
  float range = (float)(most - least), s = range / (float)most;
  float rc = (float)(most - r) / range, gc = (float)(most - g) / range, bc = (float)(most - b) / range, h;
  if (r == most) h = bc - gc;
  else if (g == most) h = (float)(2.0 + (double)rc - (double)bc);
  else h = (float)(4.0 + (double)gc - (double)rc);
  double turn = (double)h / 6.0 + 1.0; /* 5/6 .. 11/6: what fmod(turn, 1) is */
  h = (float)(turn >= 1 ? turn - 1 : turn);
  *hue = (int)((double)h * 255.0);
  *saturation = (int)((double)s * 255.0);
}

static unsigned char rounded(double v) {
  int i = (int)floor(v + 0.5); /* of what is not negative: C's round */
  return i > 255 ? 255 : (unsigned char)i;
}

static void from_hsv(int hue, int saturation, int value, unsigned char rgb[3]) {
  if (saturation == 0) {
    rgb[0] = rgb[1] = rgb[2] = (unsigned char)value;
    return;
  }
  double h = hue * 6.0 / 255.0;
  int i = (int)h;
  float s = (float)(saturation / 255.0), f = (float)(h - i), v = (float)value;
  unsigned char p = rounded((double)v * (1.0 - (double)s)), q = rounded((double)v * (1.0 - (double)(s * f)));
  unsigned char t = rounded((double)v * (1.0 - (double)s * (1.0 - (double)f))), m = (unsigned char)value;
  const unsigned char sector[6][3] = { { m, t, p }, { q, m, p }, { p, m, t }, { p, q, m }, { t, p, m }, { m, p, q } };
  memcpy(rgb, sector[i % 6], 3);
}

/* turns: -0.5..0.5. The shift is cut off to 1/255 turn and added to the hue's byte, which wraps. */
static void adjust_hue(wtl_pixels *p, double turns) {
  if (p->channels != 3) return;
  int shift = (int)(turns * 255), hue, saturation, value;
  unsigned char *v = p->data;
  for (size_t i = 0, n = pixels_of(p); i < n; i++, v += 3) {
    to_hs(v, &hue, &saturation, &value);
    from_hsv((hue + shift) & 255, saturation, value, v);
  }
}

void wtl_jitter(wtl_pixels *p, const wtl_transform *t, const wtl_drawn *d) {
  for (int k = 0; k < 4; k++) {
    double factor = d->factor[d->order[k]];
    switch (d->order[k]) {
      case 0: if (t->brightness[0] != 1 || t->brightness[1] != 1) adjust_brightness(p, factor); break;
      case 1: if (t->contrast[0] != 1 || t->contrast[1] != 1) adjust_contrast(p, factor); break;
      case 2: if (t->saturation[0] != 1 || t->saturation[1] != 1) adjust_saturation(p, factor); break;
      default: if (t->hue[0] != 0 || t->hue[1] != 0) adjust_hue(p, factor);
    }
  }
}
