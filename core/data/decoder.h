/* Inside of a decoder, for the files of the image reader alone: image.c, jpeg.c, png.c, exif.c, resize*.c. */
#ifndef WTL_DECODER_H
#define WTL_DECODER_H

#include "image.h"

typedef struct wtl_jpeg wtl_jpeg; /* jpeg.c: libjpeg-turbo's state */
typedef struct wtl_block { void *p; size_t cap; } wtl_block;

struct wtl_decoder {
  wtl_ctx *ctx;
  char message[512];
  bool blames_file;
  wtl_jpeg *jpeg;
  wtl_block row;       /* a row before its conversion, or all rows of an interlaced PNG */
  wtl_pixels unturned; /* a picture before its EXIF orientation */
  wtl_pixels narrowed; /* a picture after the horizontal pass */
  wtl_block horizontal[3], vertical[3]; /* weights: see resize.c */
};

/* Set the message and return s. */
wtl_status wtl_decoder_fail(wtl_decoder *d, wtl_status s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* At least n bytes with undefined contents in *b; NULL when memory is gone. */
void *wtl_block_need(wtl_decoder *d, wtl_block *b, size_t n);
/* width x height within the limits and not empty; `what` begins the message. */
wtl_status wtl_check_size(wtl_decoder *d, const char *what, uint64_t width, uint64_t height);

/* wtl_luma_of n pixels. */
void wtl_luma(const unsigned char *rgb, unsigned char *out, int n);

/* The EXIF orientation 1 to 8 of a TIFF block of n bytes (after "Exif\0\0"); 1 where there is none or it makes no sense. */
int wtl_exif_orientation(const unsigned char *tiff, size_t n);
/* Turns in as orientation 2 to 8 asks for. */
wtl_status wtl_turn(wtl_decoder *d, const wtl_pixels *in, int orientation, wtl_pixels *out);

wtl_status wtl_jpeg_create(wtl_decoder *d);
void wtl_jpeg_destroy(wtl_decoder *d);
/* Both: *orientation as EXIF says, the pixels not yet turned. */
wtl_status wtl_jpeg_decode(wtl_decoder *d, const unsigned char *bytes, size_t n, int channels, wtl_pixels *out, int *orientation);
wtl_status wtl_png_decode(wtl_decoder *d, const unsigned char *bytes, size_t n, int channels, wtl_pixels *out, int *orientation);

#endif
