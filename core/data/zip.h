/* A zip archive's directory, checked in full when it is opened, and its members' bytes: what .pth and .npz are made of.
 * May touch base only. */
#ifndef WTL_ZIP_H
#define WTL_ZIP_H

#include "data.h"

enum { WTL_ZIP_STORED = 0, WTL_ZIP_DEFLATED = 8 };

typedef struct wtl_zip_entry {
  char *name; /* as in the file; holds no NUL */
  int method; /* WTL_ZIP_STORED or WTL_ZIP_DEFLATED */
  uint32_t crc;
  int64_t packed, size, at; /* at: of the packed bytes in the file */
} wtl_zip_entry;

typedef struct wtl_zip {
  wtl_ctx *ctx;
  const char *path; /* borrowed */
  int fd;
  int64_t file_bytes;
  wtl_zip_entry *entry; /* in the order of the central directory */
  int64_t n;
  char *names;      /* what the names point into */
  int64_t *by_name; /* entries in the order of strcmp */
} wtl_zip;

/* Refuses what is not to the letter: local headers that differ from the central directory, members that overlap or lie in
 * it, two of one name, encryption, spanned archives, bytes before or behind, methods other than stored and deflate, and
 * sizes beyond what deflate can give. All WTL_ERR_FORMAT or WTL_ERR_UNSUPPORTED. */
wtl_status wtl_zip_open(wtl_ctx *ctx, const char *path, wtl_zip *z);
void wtl_zip_close(wtl_zip *z);                                        /* a zeroed one too */
const wtl_zip_entry *wtl_zip_find(const wtl_zip *z, const char *name); /* NULL if it is not there */
/* entry->size bytes into buf; checks the CRC-32. Safe from several threads. */
wtl_status wtl_zip_read(wtl_zip *z, const wtl_zip_entry *e, void *buf);
/* The first n bytes (n <= entry->size) without a look at the checksum: a header that says where the rest goes. */
wtl_status wtl_zip_peek(wtl_zip *z, const wtl_zip_entry *e, void *buf, size_t n);

/* Members to be read whole: the first head_bytes into head, the rest into body. */
typedef struct wtl_zip_want {
  const wtl_zip_entry *entry;
  void *head;
  int64_t head_bytes;
  void *body;
  /* May be NULL: called with the body's bytes as they come, by the thread that read them, in pieces of a multiple of 64
   * bytes but for the last. */
  void (*look)(void *arg, const void *bytes, int64_t n);
  void *arg;
} wtl_zip_want;
/* Reads them side by side on the context's threads, big stored ones in pieces, and checks each CRC-32. */
wtl_status wtl_zip_read_all(wtl_zip *z, const wtl_zip_want *want, int64_t n);

#endif
