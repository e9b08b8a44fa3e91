/* Shared by the readers and writers of data/: bytes of a file (plain or gzip), a file that appears whole or not at all,
 * and a dict that grows. May touch base and tensor. */
#ifndef WTL_DATA_H
#define WTL_DATA_H

#include <sys/types.h>
#include <zlib.h>

#include "base.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the formats here are copied in little-endian order");

/* "PATH: what: strerror". Errors of the file system go through here, so that all name the file. */
wtl_status wtl_fail_io(wtl_ctx *ctx, const char *path, const char *what, int err);

/* Does the path end in this, in any case of letters? */
bool wtl_ends_in(const char *path, const char *end);

/* Opens a regular file to read; *size is its size. */
wtl_status wtl_open_regular(wtl_ctx *ctx, const char *path, int *fd, int64_t *size);
/* Up to n bytes, less only at the end of the file; *got says how many. */
wtl_status wtl_read_up_to(wtl_ctx *ctx, const char *path, int fd, void *buf, size_t n, size_t *got);
/* n bytes from `at` on, from any thread; 0, an errno, or WTL_TOO_SHORT where the file ends before. */
#define WTL_TOO_SHORT (-1)
int wtl_read_at(int fd, void *buf, size_t n, int64_t at);
/* Fresh memory comes in pages of 4 KiB, each a fault; asks for big ones where whole ones fit. A wish. */
void wtl_wish_big_pages(void *p, size_t bytes);

/* A file's bytes from its start, unpacked if it is gzip (told by its first two bytes). */
#define WTL_STREAM_CHUNK 65536
typedef struct wtl_stream {
  wtl_ctx *ctx;
  const char *path;   /* borrowed */
  int fd;             /* -1: closed */
  int64_t file_bytes;
  bool gzip, member_done;
  z_stream z;         /* gzip only */
  unsigned char *in;  /* read ahead; what is not used yet is at z.next_in, z.avail_in, for plain files too */
} wtl_stream;
wtl_status wtl_stream_open(wtl_ctx *ctx, const char *path, wtl_stream *s);
void wtl_stream_close(wtl_stream *s); /* a zeroed one too */
/* As wtl_read_up_to. Of a gzip file, the end is reached only when its checksum is right and nothing follows it. */
wtl_status wtl_stream_read(wtl_stream *s, void *buf, size_t n, size_t *got);
/* The most bytes that the file can hold: deflate never packs better than 1032 to 1. */
uint64_t wtl_stream_most(const wtl_stream *s);

/* Syncs the folder that path is in, so that a new name there survives a power cut. path is as before afterwards. */
wtl_status wtl_sync_folder(wtl_ctx *ctx, char *path);

/* A file written beside its path and renamed over it. abort is harmless after commit and on a zeroed writer. */
typedef struct wtl_writer {
  wtl_ctx *ctx;
  const char *path;
  char *temp;
  int fd;
  bool unsynced; /* set after opening: whole or not at all, but a power cut may take it */
} wtl_writer;
wtl_status wtl_writer_open(wtl_ctx *ctx, const char *path, wtl_writer *w);
wtl_status wtl_writer_put(wtl_writer *w, const void *data, size_t n);
wtl_status wtl_writer_commit(wtl_writer *w);
void wtl_writer_abort(wtl_writer *w);

/* What an element is in a file, and what it becomes here: the same bits, or those of a wider type that holds its values. */
typedef enum wtl_element_kind {
  WTL_SAME, WTL_FROM_BOOL, /* to u8; 0 and 1 alone */
  WTL_FROM_I8, WTL_FROM_I16, WTL_FROM_U16, /* to i32 */
  WTL_FROM_U32 /* to i64 */
} wtl_element_kind;
typedef struct wtl_element {
  wtl_dtype dtype; /* here */
  wtl_element_kind kind;
  int size;        /* bytes in the file, at most those of dtype */
  bool swap;       /* big-endian in the file */
} wtl_element;
bool wtl_element_is_plain(const wtl_element *e); /* nothing to be done: see wtl_expand */
/* The file's n elements lie in the last n * size bytes of data, which has room for n of the dtype, and become those. False
 * where a truth value is neither 0 nor 1. */
bool wtl_expand(const wtl_element *e, void *data, int64_t n);

/* A tensor's elements in a file. */
typedef struct wtl_piece {
  const char *name;
  char *data;  /* room for n elements of as.dtype */
  int64_t n;
  wtl_element as;
  int64_t at;  /* in the file */
  int64_t start;         /* wtl_read_pieces: bytes before it in the pieces */
  atomic_bool nonfinite; /* wtl_read_pieces: a NaN or an infinity is among the elements */
} wtl_piece;
/* Reads them all, on all threads, each byte once. Pieces in the order of `at` read fastest. `format` is for messages. */
wtl_status wtl_read_pieces(wtl_ctx *ctx, const char *path, int fd, const char *format, wtl_piece *piece, int64_t n);

/* UTF-8 as JSON takes it (RFC 3629): shortest forms, no surrogates, nothing above U+10FFFF. */
bool wtl_is_utf8(const char *text);
/* A name that a file gave, for a message: its first 100 bytes, '?' for control characters. Returns buf. */
#define WTL_SHOWN 104
const char *wtl_shown(const char *name, char buf[WTL_SHOWN]);
/* Metadata of a file that has none. */
wtl_status wtl_meta_none(wtl_ctx *ctx, wtl_meta *out);
/* wtl_dict_add for names known to differ. */
wtl_status wtl_dict_append(wtl_dict *d, const char *name, wtl_tensor *t);

#endif
