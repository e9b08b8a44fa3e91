/* What fuzz targets share: a context, files in memory that readers open by path, and a check that ends the run. */
#ifndef WTL_FUZZ_H
#define WTL_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "wattle.h"

#define CHECK(condition) \
  do { \
    if (!(condition)) { \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, wtl_message(ctx)); \
      abort(); \
    } \
  } while (0)

static wtl_ctx *ctx;

/* Blocks that are not freed yet. */
static inline uint64_t live(void) {
  wtl_memory m;
  wtl_memory_stats(ctx, &m);
  return m.live;
}

static inline void begin(void) {
  if (!ctx && wtl_ctx_create(1, &ctx) != WTL_OK) abort();
}

/* A file that holds these bytes alone; which of two. */
static inline const char *in_memory(int which, const void *data, size_t n) {
  static int fd[2] = { -1, -1 };
  static char path[2][32];
  if (fd[which] < 0) {
    fd[which] = memfd_create("fuzz", MFD_CLOEXEC);
    snprintf(path[which], sizeof path[which], "/proc/self/fd/%d", fd[which]);
  }
  CHECK(fd[which] >= 0 && ftruncate(fd[which], 0) == 0);
  CHECK(n == 0 || pwrite(fd[which], data, n, 0) == (ssize_t)n);
  return path[which];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
