/* The header of a .npy file, for npy.c and for npz.c, whose members are such files. May touch base and tensor. */
#ifndef WTL_NPY_H
#define WTL_NPY_H

#include "data.h"
#include "tensor.h"

#define WTL_NPY_PREFIX 12   /* bytes that say how long the header is; 10 in version 1 */
#define WTL_NPY_MOST 65792  /* bytes of a header, that prefix and all; more is refused */

typedef struct wtl_npy {
  wtl_element as;
  wtl_shape shape;
  bool fortran;   /* the first index runs fastest, and there are two or more */
  int64_t header; /* bytes before the elements */
} wtl_npy;

/* Where an array is: PATH or PATH: MEMBER in messages. */
typedef struct wtl_npy_place { wtl_ctx *ctx; const char *path, *member; } wtl_npy_place;

/* Bytes before the elements, by the file's first n <= WTL_NPY_PREFIX bytes; size is the whole file's. */
wtl_status wtl_npy_header_bytes(const wtl_npy_place *at, const unsigned char *prefix, size_t n, int64_t size, int64_t *out);
/* Reads the header, all `header` bytes of it, and checks that the file's size is what it says. */
wtl_status wtl_npy_parse(const wtl_npy_place *at, const char *bytes, int64_t header, int64_t size, wtl_npy *out);
/* A tensor for the elements as they stand in the file: if they stand by columns, with its sizes reversed. */
wtl_status wtl_npy_tensor(wtl_ctx *ctx, const wtl_npy *h, wtl_tensor **out);
/* What wtl_npy_tensor's tensor becomes when it is full: itself, or its elements by rows. Takes t over. */
wtl_status wtl_npy_finish(const wtl_npy *h, wtl_tensor *t, wtl_tensor **out);

/* All that stands before the elements in a tensor's file, version 1.0, its length a multiple of 64 as NumPy has it. */
typedef struct wtl_npy_head { char b[256]; size_t n; } wtl_npy_head;
/* WTL_ERR_DTYPE for bf16. */
wtl_status wtl_npy_head_of(const wtl_npy_place *at, const wtl_tensor *t, wtl_npy_head *out);

/* Is this zip archive a .npz: do all members' names end in .npy? Of no members, they do. */
wtl_status wtl_npz_is(wtl_ctx *ctx, const char *path, bool *out);

#endif
