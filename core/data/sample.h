/* From an element of a data set to a row of a batch: what transform.c (steps, sizes, random draws), augment.c (8-bit
 * pixels), sample.c (one sample) and loader.c (threads, batches) share. Everything that takes a scratch runs in any
 * thread. May touch base and tensor. */
#ifndef WTL_SAMPLE_H
#define WTL_SAMPLE_H

#include "image.h"

/* ---- transform.c ---- */

/* Checks the steps for images of `channels` (0: the samples are f32, no images). */
wtl_status wtl_transform_check(wtl_ctx *ctx, const wtl_transform *step, int n, int channels);
/* How many of the steps work on pixels; they come first. */
int wtl_transform_pixel_steps(const wtl_transform *step, int n);
/* The draws of step k for an image of this size: which sample's, d. */
void wtl_transform_draw_step(const wtl_transform *step, int k, const wtl_rng *r, int64_t sample, int height,
                             int width, wtl_drawn *d);
/* A resize's result for an image of this size. */
void wtl_resized_size(const wtl_transform *t, int height, int width, int size[2]);

/* ---- augment.c ---- */

/* box: top, left, height, width; it may reach over the image, where there are zeros. in and out must differ. */
wtl_status wtl_crop(wtl_decoder *d, const wtl_pixels *in, const int box[4], wtl_pixels *out);
/* Left to right. */
void wtl_mirror(wtl_pixels *p);
/* Colour jitter with what was drawn; on 1 channel, saturation and hue do nothing. */
void wtl_jitter(wtl_pixels *p, const wtl_transform *t, const wtl_drawn *d);

/* ---- sample.c ---- */

/* What every sample of a loader is made by. */
typedef struct wtl_recipe {
  wtl_ctx *ctx;
  wtl_samples *samples;
  wtl_transform *step;
  int n_step, n_pixel;     /* of pixels: the first so many; then normalize, if any; then erasing */
  int channels, height, width; /* of a finished sample of pixels */
  int64_t numel;
  wtl_rng rng, noise;      /* draws of the steps; normal numbers that erase */
  float value[WTL_MAX_CHANNELS][256]; /* of a byte of a channel */
} wtl_recipe;

/* One thread's. A zeroed one is empty. */
typedef struct wtl_scratch {
  wtl_decoder *decoder;
  wtl_pixels a, b;
  unsigned char *bytes; /* of a file */
  size_t cap;
  char message[256];    /* of the last sample that failed, without its name */
  bool skippable;       /* its file is at fault */
} wtl_scratch;
wtl_status wtl_scratch_init(wtl_ctx *ctx, wtl_scratch *t);
void wtl_scratch_free(wtl_ctx *ctx, wtl_scratch *t);

wtl_status wtl_recipe_init(wtl_ctx *ctx, wtl_samples *s, const wtl_loader_options *o, wtl_recipe *r);
void wtl_recipe_free(wtl_recipe *r);
/* Sample i as numel floats; a failure leaves t's message. */
wtl_status wtl_sample_make(const wtl_recipe *r, wtl_scratch *t, int64_t i, float *x);
int64_t wtl_sample_label(const wtl_samples *s, int64_t i);
/* The batch's shape but for its first size. */
void wtl_recipe_shape(const wtl_recipe *r, wtl_shape *out);
/* "FILE" or "sample 7", for messages. */
const char *wtl_sample_name(const wtl_samples *s, int64_t i, char *buf, size_t n);
/* Tells the kernel that this sample's file will be read soon. */
void wtl_sample_ahead(const wtl_samples *s, int64_t i);

#endif
