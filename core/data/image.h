/* Pictures: JPEG and PNG decoded as Pillow 9.4 decodes them, and its antialiased resize, bit for bit. image.c tells the
 * formats apart, turns pictures as their EXIF says, and makes tensors; jpeg.c, png.c and exif.c read; resize.c computes.
 * Everything here runs in any thread: a decoder is one thread's, with scratch and a message of its own (the context's is
 * touched only by wtl_alloc). May touch base and tensor. */
#ifndef WTL_IMAGE_H
#define WTL_IMAGE_H

#include "base.h"

#define WTL_MAX_PIXELS (1 << 28)   /* of a picture */
#define WTL_MAX_SIDE 1000000       /* of its width or height */

/* Interleaved rows without gaps: sample c of pixel (x, y) is data[(y * width + x) * channels + c]. A zeroed one is
 * empty; the buffer is reused by the next picture and grows. Contents are undefined after a failure. */
typedef struct wtl_pixels { int width, height, channels; unsigned char *data; size_t cap; } wtl_pixels;
void wtl_pixels_free(wtl_ctx *ctx, wtl_pixels *p);

/* One a thread. Failing functions that take one set its message, not the context's. */
typedef struct wtl_decoder wtl_decoder;
wtl_status wtl_decoder_create(wtl_ctx *ctx, wtl_decoder **out);
void wtl_decoder_destroy(wtl_decoder *d); /* accepts NULL */
/* What went wrong in the last call that failed, without the file's name. */
const char *wtl_decoder_message(const wtl_decoder *d);
/* Was it the file's fault, and not what was asked for or what the process lacks (memory, descriptors)? */
bool wtl_decoder_blames_file(const wtl_decoder *d);

/* Pillow's "L" of one RGB pixel: ITU-R 601 luma in 16 bits of fraction, rounded. */
static inline unsigned char wtl_luma_of(const unsigned char *rgb) {
  return (unsigned char)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

/* Planes of n samples each to interleaved pixels, and back. */
void wtl_interleave(const unsigned char *planes, size_t n, int channels, unsigned char *pixels);
void wtl_separate(const unsigned char *pixels, size_t n, int channels, unsigned char *planes);

/* Sets width, height and channels, with room for them; the contents are undefined. */
wtl_status wtl_pixels_reserve(wtl_decoder *d, wtl_pixels *p, int width, int height, int channels);

/* JPEG or PNG, told by content, turned as its EXIF orientation says; channels 1 (Pillow's "L") or 3 ("RGB", alpha
 * dropped). The pixels are those of Pillow's ImageOps.exif_transpose(Image.open(...)).convert(...). Truncated and corrupt
 * files are WTL_ERR_FORMAT: never a picture that is grey from some row on. What libjpeg-turbo merely remarks on without
 * losing pixels (bytes between segments, an odd JFIF version) passes, as with Pillow. */
wtl_status wtl_decode(wtl_decoder *d, const unsigned char *bytes, size_t n, int channels, wtl_pixels *out);

/* A whole file into *bytes (*cap its size, grown at need), *n bytes of it. WTL_ERR_IO, or WTL_ERR_FORMAT above 1 GiB. */
wtl_status wtl_decoder_read(wtl_decoder *d, const char *path, unsigned char **bytes, size_t *cap, size_t *n);

/* Pillow's Image.resize((width, height), filter, box) on 1 to 4 channels. box: left, top, right, bottom in pixels (may be
 * fractions; rounded to float as in Pillow), NULL: all. in and out must differ. */
wtl_status wtl_resize(wtl_decoder *d, const wtl_pixels *in, const double box[4], int width, int height, wtl_filter f,
                      wtl_pixels *out);

#endif
