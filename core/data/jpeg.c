/* JPEG through libjpeg-turbo's libjpeg interface, which is the one that Pillow uses, with the same choices: the accurate
 * integer DCT, fancy upsampling, inverted CMYK as Adobe writes it. (TurboJPEG's own interface reports only the last
 * remark on a file, so that lost rows could hide behind a harmless one.) Errors leave the library by longjmp, always to
 * wtl_jpeg_decode, whose frame owns nothing. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "decoder.h"

#ifndef LIBJPEG_TURBO_VERSION
#error "libjpeg-turbo is needed: pixels are to be those of Pillow"
#endif

#define MAX_SCANS 500 /* of a progressive file: each costs a walk over all coefficients */
/* A block of 8x8 samples takes at least one bit of Huffman code in some scan, and one component has blocks everywhere. */
#define PIXELS_A_BYTE 512

struct wtl_jpeg {
  struct jpeg_decompress_struct z;
  struct jpeg_error_mgr err;
  struct jpeg_progress_mgr progress;
  jmp_buf jump;
  wtl_decoder *d;
  wtl_status status;
  /* of the picture being read */
  const unsigned char *bytes;
  size_t n;
  int channels, orientation;
  wtl_pixels *out;
};

/* ---- how the library reports ---- */

static _Noreturn void leave(wtl_jpeg *j, wtl_status s) {
  j->status = s;
  longjmp(j->jump, 1);
}

static _Noreturn void on_error(j_common_ptr z) {
  wtl_jpeg *j = z->client_data;
  char text[JMSG_LENGTH_MAX];
  z->err->format_message(z, text);
  bool memory = z->err->msg_code == JERR_OUT_OF_MEMORY;
  wtl_decoder_fail(j->d, memory ? WTL_ERR_MEMORY : WTL_ERR_FORMAT, memory ? "out of memory: JPEG: %s" : "JPEG: %s", text);
  leave(j, memory ? WTL_ERR_MEMORY : WTL_ERR_FORMAT);
}

/* Level -1 is a warning. All that lose or invent pixels end the reading. */
static void on_message(j_common_ptr z, int level) {
  int code = z->err->msg_code;
  if (level >= 0 || code == JWRN_EXTRANEOUS_DATA || code == JWRN_JFIF_MAJOR || code == JWRN_ADOBE_XFORM) return;
  on_error(z);
}

static void on_progress(j_common_ptr z) {
  wtl_jpeg *j = z->client_data;
  if (!z->is_decompressor || j->z.input_scan_number <= MAX_SCANS) return;
  wtl_decoder_fail(j->d, WTL_ERR_FORMAT, "JPEG: more than %d scans", MAX_SCANS);
  leave(j, WTL_ERR_FORMAT);
}

wtl_status wtl_jpeg_create(wtl_decoder *d) {
  wtl_jpeg *j = wtl_alloc(d->ctx, sizeof *j);
  if (!j) return wtl_decoder_fail(d, WTL_ERR_MEMORY, "out of memory: %zu bytes more were asked for", sizeof *j);
  j->d = d;
  d->jpeg = j;
  return WTL_OK;
}

void wtl_jpeg_destroy(wtl_decoder *d) {
  wtl_free(d->ctx, d->jpeg);
  d->jpeg = NULL;
}

/* ---- a picture ---- */

static void refuse(wtl_jpeg *j, wtl_status s) {
  if (s != WTL_OK) leave(j, s);
}

/* What the header says, before any memory is asked for. */
static void check_header(wtl_jpeg *j) {
  const struct jpeg_decompress_struct *z = &j->z;
  uint64_t pixels = (uint64_t)z->image_width * z->image_height;
  refuse(j, wtl_check_size(j->d, "JPEG: the header", z->image_width, z->image_height));
  if (z->num_components != 1 && z->num_components != 3 && z->num_components != 4)
    refuse(j, wtl_decoder_fail(j->d, WTL_ERR_FORMAT, "JPEG: %d components; 1, 3 or 4 are known", z->num_components));
  if (z->arith_code) refuse(j, wtl_decoder_fail(j->d, WTL_ERR_UNSUPPORTED, "JPEG: arithmetic coding is not read"));
  if (pixels / PIXELS_A_BYTE > j->n) {
    refuse(j, wtl_decoder_fail(j->d, WTL_ERR_FORMAT, "JPEG: the header says %ux%u pixels, more than %zu bytes can hold", z->image_width,
                               z->image_height, j->n));
  }
}

static int orientation_of(const struct jpeg_decompress_struct *z) {
  for (jpeg_saved_marker_ptr m = z->marker_list; m; m = m->next)
    if (m->data_length >= 6 && memcmp(m->data, "Exif\0", 5) == 0) return wtl_exif_orientation(m->data + 6, m->data_length - 6);
  return 1;
}

/* Adobe's inverted CMYK to RGB, in place of the first 3n bytes; rounding as in Pillow. */
static void cmyk_to_rgb(unsigned char *row, int n) {
  const unsigned char *in = row;
  for (int i = 0; i < n; i++, in += 4, row += 3) {
    unsigned char cmyk[4] = { in[0], in[1], in[2], in[3] };
    int black = cmyk[3];
    for (int c = 0; c < 3; c++) {
      int t = (255 - cmyk[c]) * black + 128, v = black - (((t >> 8) + t) >> 8);
      row[c] = (unsigned char)(v < 0 ? 0 : v);
    }
  }
}

static void read_rows(wtl_jpeg *j, bool as_is) {
  int w = j->out->width;
  unsigned char *row = j->d->row.p;
  while (j->z.output_scanline < j->z.output_height) {
    unsigned char *to = j->out->data + (size_t)j->z.output_scanline * (size_t)w * (size_t)j->channels;
    JSAMPROW into = as_is ? to : row;
    jpeg_read_scanlines(&j->z, &into, 1);
    if (as_is) continue;
    if (j->z.num_components == 4) cmyk_to_rgb(row, w);
    if (j->channels == 1) wtl_luma(row, to, w);
    else memcpy(to, row, 3 * (size_t)w);
  }
}

/* All of it, between setjmp and its return. */
static void decode(wtl_jpeg *j) {
  struct jpeg_decompress_struct *z = &j->z;
  jpeg_create_decompress(z); /* anew for each: tables of the picture before would serve one that lacks its own */
  z->progress = &j->progress;
  jpeg_save_markers(z, JPEG_APP0 + 1, 0xffff);
  jpeg_mem_src(z, j->bytes, j->n);
  jpeg_read_header(z, TRUE);
  check_header(j);
  j->orientation = orientation_of(z);
  bool grey = z->num_components == 1, cmyk = z->num_components == 4;
  z->out_color_space = cmyk ? JCS_CMYK : grey && j->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  z->dct_method = JDCT_ISLOW;
  z->do_fancy_upsampling = TRUE;
  bool as_is = !cmyk && (grey || j->channels == 3);
  refuse(j, wtl_pixels_reserve(j->d, j->out, (int)z->image_width, (int)z->image_height, j->channels));
  if (!as_is && !wtl_block_need(j->d, &j->d->row, (size_t)z->image_width * 4)) leave(j, WTL_ERR_MEMORY);
  jpeg_start_decompress(z);
  read_rows(j, as_is);
  jpeg_finish_decompress(z);
}

wtl_status wtl_jpeg_decode(wtl_decoder *d, const unsigned char *bytes, size_t n, int channels, wtl_pixels *out, int *orientation) {
  wtl_jpeg *j = d->jpeg;
  *j = (wtl_jpeg){ .d = d, .bytes = bytes, .n = n, .channels = channels, .out = out };
  j->z.err = jpeg_std_error(&j->err);
  j->z.client_data = j;
  j->err.error_exit = on_error;
  j->err.emit_message = on_message;
  j->progress.progress_monitor = on_progress;
  if (setjmp(j->jump) == 0) {
    decode(j);
    *orientation = j->orientation;
  }
  jpeg_destroy_decompress(&j->z);
  return j->status;
}
