/* The core's side of decode_resize.py: what a loader's thread does with a picture. Reads "N" from standard input and answers with
 * the seconds of N rounds over the files, each read, decoded to RGB and scaled so that its shorter side is SIZE (0: decoded only).
 *   bench_decode_resize SIZE FILTER FILE... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"

static int fail(const wtl_decoder *d) {
  fprintf(stderr, "bench_decode_resize: %s\n", wtl_decoder_message(d));
  return 1;
}

int main(int n, char **arg) {
  static const char *const filters[] = { "nearest", "bilinear", "bicubic" };
  wtl_ctx *ctx;
  wtl_decoder *d;
  wtl_pixels image = { 0 }, small = { 0 };
  unsigned char *bytes = NULL;
  size_t cap = 0, got;
  int rounds, f = 0;
  if (n < 4 || wtl_ctx_create(1, &ctx) != WTL_OK || wtl_decoder_create(ctx, &d) != WTL_OK) return 2;
  int size = atoi(arg[1]);
  while (f < 2 && strcmp(filters[f], arg[2]) != 0) f++;
  while (scanf("%d", &rounds) == 1) {
    int64_t begun = wtl_now_us();
    for (int i = 0; i < rounds * (n - 3); i++) {
      if (wtl_decoder_read(d, arg[3 + i % (n - 3)], &bytes, &cap, &got) != WTL_OK) return fail(d);
      if (wtl_decode(d, bytes, got, 3, &image) != WTL_OK) return fail(d);
      int w = image.width, h = image.height;
      if (size && wtl_resize(d, &image, NULL, w <= h ? size : size * w / h, w <= h ? size * h / w : size, (wtl_filter)f, &small) != WTL_OK)
        return fail(d);
    }
    printf("%.6f\n", (double)(wtl_now_us() - begun) / 1e6);
    fflush(stdout);
  }
  wtl_pixels_free(ctx, &image);
  wtl_pixels_free(ctx, &small);
  wtl_free(ctx, bytes);
  wtl_decoder_destroy(d);
  wtl_ctx_destroy(ctx);
  return 0;
}
