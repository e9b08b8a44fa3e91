/* PNG through libpng: every colour type and depth, interlaced or not, to the pixels that Pillow gives. A walk over the
 * chunks comes first: it says where a file is cut off, finds the EXIF, and refuses sizes that the bytes cannot hold.
 * libpng leaves by longjmp, always to wtl_png_decode, whose frame owns nothing; its memory is the context's. */
#include <setjmp.h>
#include <string.h>

#include <png.h>

#include "decoder.h"

#define DEFLATE_MOST 1032 /* bytes out of one byte of deflate */

typedef struct png_job {
  wtl_decoder *d;
  png_structp png;
  png_infop info;
  const unsigned char *bytes;
  size_t n, at;
  uint32_t width, height;
  int depth, type, interlace, passes, channels, orientation;
  bool no_memory;
  wtl_pixels *out;
  unsigned char palette[768];
} png_job;

/* ---- the chunks, before libpng ---- */

static uint32_t u32(const unsigned char *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static wtl_status malformed(png_job *j, const char *what) { return wtl_decoder_fail(j->d, WTL_ERR_FORMAT, "PNG: %s", what); }

static wtl_status read_ihdr(png_job *j, const unsigned char *p, uint32_t n) {
  if (n != 13) return malformed(j, "IHDR has not 13 bytes");
  j->width = u32(p);
  j->height = u32(p + 4);
  j->depth = p[8];
  j->type = p[9];
  j->interlace = p[12];
  bool low = j->depth == 1 || j->depth == 2 || j->depth == 4, high = j->depth == 8 || j->depth == 16;
  bool known = j->type == PNG_COLOR_TYPE_GRAY ? low || high : j->type == PNG_COLOR_TYPE_PALETTE ? low || j->depth == 8 :
               (j->type == PNG_COLOR_TYPE_RGB || j->type == PNG_COLOR_TYPE_GRAY_ALPHA || j->type == PNG_COLOR_TYPE_RGB_ALPHA) && high;
  if (!known) return wtl_decoder_fail(j->d, WTL_ERR_FORMAT, "PNG: no such picture: colour type %d with %d bits", j->type, j->depth);
  if (p[10] || p[11] || j->interlace > 1) return malformed(j, "unknown compression, filter or interlace method");
  return wtl_check_size(j->d, "PNG: the header", j->width, j->height);
}

/* Bytes that the pixels take when unpacked. */
static uint64_t raw_bytes(const png_job *j) {
  static const int samples[7] = { 1, 0, 3, 1, 2, 0, 4 };
  return (((uint64_t)j->width * (uint64_t)(j->depth * samples[j->type]) + 7) / 8 + 1) * j->height;
}

static wtl_status walk(png_job *j) {
  size_t at = 8, left;
  uint64_t packed = 0;
  for (bool first = true;; first = false) {
    left = j->n - at;
    if (left < 12) return malformed(j, first ? "cut off in the header" : "cut off: the end chunk is missing");
    uint32_t n = u32(j->bytes + at);
    const unsigned char *name = j->bytes + at + 4, *p = j->bytes + at + 8;
    if (first && memcmp(name, "IHDR", 4) != 0) return malformed(j, "the first chunk is not IHDR");
    if (n > left - 12) {
      char text[5] = { 0 };
      for (int i = 0; i < 4; i++) text[i] = name[i] > ' ' && name[i] < 127 ? (char)name[i] : '?';
      return wtl_decoder_fail(j->d, WTL_ERR_FORMAT, "PNG: cut off in chunk %s: %u bytes, %zu are there", text, n, left - 12);
    }
    if (first) WTL_TRY(read_ihdr(j, p, n));
    if (memcmp(name, "IDAT", 4) == 0) packed += n;
    if (memcmp(name, "eXIf", 4) == 0) j->orientation = wtl_exif_orientation(p, n);
    at += 12 + (size_t)n;
    if (memcmp(name, "IEND", 4) == 0) break;
  }
  if (packed == 0) return malformed(j, "no pixels: the chunk IDAT is missing");
  /* Interlacing adds a byte for each row of each pass. */
  if (raw_bytes(j) / DEFLATE_MOST > packed) {
    return wtl_decoder_fail(j->d, WTL_ERR_FORMAT, "PNG: the header says %ux%u pixels, more than %llu packed bytes can hold", j->width,
                            j->height, (unsigned long long)packed);
  }
  return WTL_OK;
}

/* ---- libpng's calls back ---- */

static void on_read(png_structp png, png_bytep to, size_t n) {
  png_job *j = png_get_io_ptr(png);
  if (n > j->n - j->at) png_error(png, "cut off");
  memcpy(to, j->bytes + j->at, n);
  j->at += n;
}

static void on_error(png_structp png, png_const_charp text) {
  png_job *j = png_get_error_ptr(png);
  wtl_decoder_fail(j->d, WTL_ERR_FORMAT, j->no_memory ? "out of memory: PNG: %s" : "PNG: %s", text);
  png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
  (void)png;
  (void)text;
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t n) {
  png_job *j = png_get_mem_ptr(png);
  void *p = wtl_alloc(j->d->ctx, n);
  if (!p) j->no_memory = true;
  return p;
}

static void on_free(png_structp png, png_voidp p) {
  png_job *j = png_get_mem_ptr(png);
  wtl_free(j->d->ctx, p);
}

/* ---- rows ---- */

/* Indices to RGB. */
static void look_up(const png_job *j, const unsigned char *in, unsigned char *out) {
  for (uint32_t x = 0; x < j->width; x++) memcpy(out + 3 * x, j->palette + 3 * in[x], 3);
}

/* A row as libpng unpacked it, 8 bits a sample (grey of 16: 2 bytes), to grey or RGB. in and out differ. */
static void convert_row(const png_job *j, unsigned char *in, unsigned char *out) {
  uint32_t w = j->width, step = j->type == PNG_COLOR_TYPE_GRAY_ALPHA ? 2 : 1;
  bool rgb = j->type & PNG_COLOR_MASK_COLOR;
  if (j->type == PNG_COLOR_TYPE_GRAY && j->depth == 16) /* Pillow's mode "I" is clipped, not scaled */
    for (uint32_t x = 0; x < w; x++) in[x] = in[2 * x] ? 255 : in[2 * x + 1];
  if (rgb && j->type == PNG_COLOR_TYPE_RGB_ALPHA)
    for (uint32_t x = 0; x < w; x++) memmove(in + 3 * x, in + 4 * x, 3);
  if (j->type == PNG_COLOR_TYPE_PALETTE) {
    unsigned char *wide = j->channels == 3 ? out : in + w;
    look_up(j, in, wide);
    if (j->channels == 1) wtl_luma(wide, out, (int)w);
  } else if (rgb) {
    if (j->channels == 3) memcpy(out, in, 3 * (size_t)w);
    else wtl_luma(in, out, (int)w);
  } else if (j->channels == 1) {
    for (uint32_t x = 0; x < w; x++) out[x] = in[x * step];
  } else {
    for (uint32_t x = 0; x < w; x++) memset(out + 3 * x, in[x * step], 3);
  }
}

static void read_palette(png_job *j) {
  png_colorp p = NULL;
  int n = 0;
  if (j->type != PNG_COLOR_TYPE_PALETTE) return;
  for (int i = 0; i < 768; i++) j->palette[i] = (unsigned char)(i / 3); /* beyond the palette: grey, as in Pillow */
  png_get_PLTE(j->png, j->info, &p, &n);
  for (int i = 0; i < n && i < 256; i++) memcpy(j->palette + 3 * i, (unsigned char[]){ p[i].red, p[i].green, p[i].blue }, 3);
}

/* All rows through one buffer of a row; or, interlaced, of all rows, since each pass fills in some of each. */
static wtl_status read_rows(png_job *j) {
  size_t bytes = png_get_rowbytes(j->png, j->info), line = (size_t)j->width * (size_t)j->channels;
  bool straight = !j->interlace && j->depth >= 8 && ((j->type == PNG_COLOR_TYPE_RGB && j->channels == 3) ||
                  (j->type == PNG_COLOR_TYPE_GRAY && j->depth == 8 && j->channels == 1));
  size_t rows = j->interlace ? j->height : 1;
  /* a palette's row grows by its colours */
  unsigned char *row = straight ? NULL : wtl_block_need(j->d, &j->d->row, rows * bytes + 3 * (size_t)j->width);
  if (!straight && !row) return WTL_ERR_MEMORY;
  for (int pass = 0; pass < j->passes; pass++) {
    for (size_t y = 0; y < j->height; y++) {
      unsigned char *to = j->out->data + y * line, *in = straight ? to : row + (j->interlace ? y * bytes : 0);
      png_read_row(j->png, in, NULL);
      if (!straight && !j->interlace) convert_row(j, in, to);
    }
  }
  png_read_end(j->png, NULL);
  /* From the last row on: a palette's colours go behind its row. */
  for (size_t y = j->interlace ? j->height : 0; y-- > 0;) convert_row(j, row + y * bytes, j->out->data + y * line);
  return WTL_OK;
}

/* All of it, between setjmp and its return. */
static wtl_status decode(png_job *j) {
  png_set_read_fn(j->png, j, on_read);
  png_set_user_limits(j->png, WTL_MAX_SIDE, WTL_MAX_SIDE);
  png_set_keep_unknown_chunks(j->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* nor profiles and text, packed or not */
  png_read_info(j->png, j->info);
  if (j->depth == 16 && j->type != PNG_COLOR_TYPE_GRAY) png_set_strip_16(j->png);
  if (j->depth < 8 && j->type == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(j->png);
  if (j->depth < 8) png_set_packing(j->png);
  read_palette(j);
  j->passes = png_set_interlace_handling(j->png);
  png_read_update_info(j->png, j->info);
  WTL_TRY(wtl_pixels_reserve(j->d, j->out, (int)j->width, (int)j->height, j->channels));
  return read_rows(j);
}

/* On its own, so that no variable lives across setjmp. */
static wtl_status guarded(png_job *j) {
  if (setjmp(png_jmpbuf(j->png))) return j->no_memory ? WTL_ERR_MEMORY : WTL_ERR_FORMAT;
  return decode(j);
}

wtl_status wtl_png_decode(wtl_decoder *d, const unsigned char *bytes, size_t n, int channels, wtl_pixels *out, int *orientation) {
  png_job j = { .d = d, .bytes = bytes, .n = n, .channels = channels, .orientation = 1, .out = out };
  WTL_TRY(walk(&j));
  j.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &j, on_error, on_warning, &j, on_malloc, on_free);
  if (j.png) j.info = png_create_info_struct(j.png);
  wtl_status s = WTL_ERR_MEMORY;
  if (j.info) s = guarded(&j);
  else wtl_decoder_fail(d, s, "out of memory: libpng could not begin");
  png_destroy_read_struct(&j.png, &j.info, NULL);
  if (s == WTL_OK) *orientation = j.orientation;
  return s;
}
