/* Pictures to files: JPEG by libjpeg-turbo, PNG by libpng's simplified interface, written beside and renamed. Reading is
 * in image.c. */
#include <stdio.h>

#include <jpeglib.h>
#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "data.h"
#include "image.h"
#include "tensor.h"

/* libjpeg's state. What it wrote goes to the file by the block; errors, the file's too, come back by longjmp. */
typedef struct writer {
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr error;
  struct jpeg_destination_mgr to;
  jmp_buf failed;
  wtl_writer *file;
  wtl_status status; /* of the file */
  unsigned char block[65536];
} writer;

static void on_error(j_common_ptr c) { longjmp(((writer *)c->client_data)->failed, 1); }

static void begin_block(j_compress_ptr c) {
  writer *j = c->client_data;
  j->to.next_output_byte = j->block;
  j->to.free_in_buffer = sizeof j->block;
}

static void put_block(writer *j, size_t n) {
  j->status = wtl_writer_put(j->file, j->block, n);
  if (j->status != WTL_OK) longjmp(j->failed, 1);
}

static boolean on_full(j_compress_ptr c) {
  put_block(c->client_data, sizeof ((writer *)c->client_data)->block);
  begin_block(c);
  return TRUE;
}

static void on_end(j_compress_ptr c) {
  writer *j = c->client_data;
  put_block(j, sizeof j->block - j->to.free_in_buffer);
}

static void no_message(j_common_ptr c, int level) {
  (void)c;
  (void)level;
}

/* false: status says why, or jpeg_error_mgr does. */
static bool write_jpeg(writer *j, const wtl_pixels *p, int quality) {
  j->c.err = jpeg_std_error(&j->error);
  j->error.error_exit = on_error;
  j->error.emit_message = no_message;
  j->c.client_data = j;
  if (setjmp(j->failed)) return false;
  jpeg_create_compress(&j->c);
  j->to = (struct jpeg_destination_mgr){ .init_destination = begin_block, .empty_output_buffer = on_full, .term_destination = on_end };
  j->c.dest = &j->to;
  j->c.image_width = (JDIMENSION)p->width;
  j->c.image_height = (JDIMENSION)p->height;
  j->c.input_components = p->channels;
  j->c.in_color_space = p->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&j->c);
  jpeg_set_quality(&j->c, quality, TRUE);
  j->c.dct_method = JDCT_ISLOW;
  jpeg_start_compress(&j->c, TRUE);
  while (j->c.next_scanline < j->c.image_height) {
    JSAMPROW row = p->data + (size_t)j->c.next_scanline * (size_t)p->width * (size_t)p->channels;
    jpeg_write_scanlines(&j->c, &row, 1);
  }
  jpeg_finish_compress(&j->c);
  return true;
}

static wtl_status put_jpeg(wtl_writer *w, const wtl_pixels *p, int quality) {
  writer *j = wtl_alloc(w->ctx, sizeof *j);
  char message[JMSG_LENGTH_MAX];
  if (!j) return WTL_ERR_MEMORY;
  j->file = w;
  bool written = write_jpeg(j, p, quality);
  wtl_status s = j->status;
  if (!written && s == WTL_OK) {
    j->error.format_message((j_common_ptr)&j->c, message);
    s = wtl_fail(w->ctx, WTL_ERR_MEMORY, "%s: jpeg: out of memory: %s", w->path, message); /* what else? */
  }
  jpeg_destroy_compress(&j->c);
  wtl_free(w->ctx, j);
  return s;
}

static wtl_status put_png(wtl_writer *w, const wtl_pixels *p) {
  png_image image = { .version = PNG_IMAGE_VERSION, .width = (png_uint_32)p->width, .height = (png_uint_32)p->height,
                      .format = p->channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB };
  png_alloc_size_t n = PNG_IMAGE_PNG_SIZE_MAX(image);
  unsigned char *out = wtl_alloc(w->ctx, n);
  if (!out) return WTL_ERR_MEMORY;
  wtl_status s = png_image_write_to_memory(&image, out, &n, 0, p->data, 0, NULL)
                   ? wtl_writer_put(w, out, n)
                   : wtl_fail(w->ctx, WTL_ERR_STATE, "%s: png: %s", w->path, image.message);
  png_image_free(&image);
  wtl_free(w->ctx, out);
  return s;
}

static wtl_status check(wtl_ctx *ctx, const char *path, const wtl_tensor *image, int quality, bool *jpeg) {
  const wtl_shape *shape = wtl_tensor_shape(image);
  int64_t channels = shape->ndim == 3 ? shape->size[0] : 1;
  char text[WTL_SHAPE_TEXT];
  *jpeg = wtl_ends_in(path, ".jpg") || wtl_ends_in(path, ".jpeg");
  if (!*jpeg && !wtl_ends_in(path, ".png"))
    return wtl_fail(ctx, WTL_ERR_ARG, "save_image: %s: the name must end in .jpg, .jpeg or .png", path);
  if (wtl_tensor_dtype(image) != WTL_U8)
    return wtl_fail(ctx, WTL_ERR_DTYPE, "save_image: the image is %s; u8 is needed",
                    wtl_dtype_name(wtl_tensor_dtype(image)));
  if (!wtl_tensor_contiguous(image)) return wtl_fail(ctx, WTL_ERR_ARG, "save_image: the image must be contiguous");
  if ((shape->ndim != 2 && shape->ndim != 3) || (channels != 1 && channels != 3) || wtl_tensor_numel(image) == 0)
    return wtl_fail(ctx, WTL_ERR_SHAPE, "save_image: the image is %s; (H,W), (1,H,W) or (3,H,W) is needed",
                    wtl_shape_text(shape, text, sizeof text));
  for (int i = 1; i <= 2; i++) {
    if (shape->size[shape->ndim - i] > 65500) /* JPEG's limit, and far within PNG's */
      return wtl_fail(ctx, WTL_ERR_ARG, "save_image: the image is %s; at most 65500 pixels a side",
                      wtl_shape_text(shape, text, sizeof text));
  }
  if (wtl_tensor_numel(image) > WTL_MAX_PIXELS)
    return wtl_fail(ctx, WTL_ERR_ARG, "save_image: more than 2^28 elements");
  if (quality < 1 || quality > 100)
    return wtl_fail(ctx, WTL_ERR_ARG, "save_image: quality is %d, 1 to 100 is possible", quality);
  return WTL_OK;
}

wtl_status wtl_image_save(wtl_ctx *ctx, const char *path, const wtl_tensor *image, int quality, bool sync) {
  const wtl_shape *shape = wtl_tensor_shape(image);
  bool jpeg;
  wtl_writer w;
  WTL_TRY(check(ctx, path, image, quality, &jpeg));
  wtl_pixels p = { (int)shape->size[shape->ndim - 1], (int)shape->size[shape->ndim - 2],
                   shape->ndim == 3 ? (int)shape->size[0] : 1, NULL, 0 };
  p.data = wtl_alloc(ctx, (size_t)wtl_tensor_numel(image));
  if (!p.data) return WTL_ERR_MEMORY;
  wtl_interleave(wtl_tensor_cdata(image), (size_t)p.width * (size_t)p.height, p.channels, p.data);
  wtl_status s = wtl_writer_open(ctx, path, &w);
  if (s == WTL_OK) {
    w.unsynced = !sync;
    s = jpeg ? put_jpeg(&w, &p, quality) : put_png(&w, &p);
    if (s == WTL_OK) s = wtl_writer_commit(&w);
    wtl_writer_abort(&w);
  }
  wtl_free(ctx, p.data);
  return s;
}
