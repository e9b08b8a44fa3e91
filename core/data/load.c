/* wtl_load and wtl_save: which format a file has. Reading, that is told by the file's first bytes, whatever its name ends
 * in; writing, by the name. The formats themselves are each in a file of its own. */
#include <string.h>
#include <unistd.h>

#include "npy.h"

#define HEAD 512 /* enough for every format's mark: tar has its at byte 257 */

/* The first bytes of a file. */
typedef struct head { unsigned char b[HEAD]; size_t n; } head;

static wtl_status read_head(wtl_ctx *ctx, const char *path, head *h) {
  int fd;
  int64_t size;
  WTL_TRY(wtl_open_regular(ctx, path, &fd, &size));
  wtl_status s = wtl_read_up_to(ctx, path, fd, h->b, HEAD, &h->n);
  close(fd);
  return s;
}

static bool has(const head *h, size_t at, const char *mark, size_t n) {
  return h->n >= at + n && memcmp(h->b + at, mark, n) == 0;
}

/* ---- loading ---- */

/* Files that people take for weights. */
static const struct { const char *mark; size_t n; const char *what; } foreign[] = {
  { "\x1f\x8b", 2, "compressed by gzip; unpack it first" },
  { "\x89HDF\r\n\x1a\n", 8, "an HDF5 file; save the model's state dict from PyTorch, or as safetensors" },
  { "GGUF", 4, "a GGUF file; its tensors come as safetensors too" },
  { "version https://git-lfs", 23, "the text that stands for a file in Git LFS; fetch the file itself (git lfs pull)" },
  { "<!DOCTYPE", 9, "an HTML page; the download went wrong" },
  { "<html", 5, "an HTML page; the download went wrong" },
};

static wtl_status unknown(wtl_ctx *ctx, const char *path, const head *h) {
  if (h->n == 0) return wtl_fail(ctx, WTL_ERR_FORMAT, "%s: the file is empty", path);
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
    if (has(h, 0, foreign[i].mark, foreign[i].n))
      return wtl_fail(ctx, WTL_ERR_UNSUPPORTED, "%s: this is %s", path, foreign[i].what);
  }
  return wtl_fail(ctx, WTL_ERR_FORMAT, "%s: no file of tensors that is known: safetensors, .pth, .npz, .npy", path);
}

typedef wtl_status (*load_fn)(wtl_ctx *ctx, const char *path, wtl_dict *out);

/* Of a format without metadata. */
static wtl_status load_plain(wtl_ctx *ctx, const char *path, load_fn load, wtl_dict *out, wtl_meta *meta) {
  wtl_meta none;
  WTL_TRY(wtl_meta_none(ctx, &none));
  wtl_status s = load(ctx, path, out);
  if (s == WTL_OK) *meta = none;
  else wtl_meta_free(&none);
  return s;
}

static wtl_status load_zip(wtl_ctx *ctx, const char *path, wtl_dict *out, wtl_meta *meta) {
  bool npz;
  WTL_TRY(wtl_npz_is(ctx, path, &npz));
  return npz ? load_plain(ctx, path, wtl_npz_load, out, meta) : wtl_pth_load(ctx, path, out, meta);
}

wtl_status wtl_load(wtl_ctx *ctx, const char *path, wtl_dict *out, wtl_meta *meta) {
  head h;
  WTL_TRY(read_head(ctx, path, &h));
  if (has(&h, 0, "PK\3\4", 4) || has(&h, 0, "PK\5\6", 4)) return load_zip(ctx, path, out, meta);
  if (has(&h, 0, "\x93NUMPY", 6)) return load_plain(ctx, path, wtl_npy_load, out, meta);
  if (has(&h, 8, "{", 1) || wtl_ends_in(path, ".safetensors")) return wtl_safetensors_load_meta(ctx, path, out, meta);
  if (has(&h, 0, "\x80", 1) || has(&h, 257, "ustar", 5)) return wtl_pth_load(ctx, path, out, meta);
  return unknown(ctx, path, &h);
}

/* ---- saving ---- */

static const char *const unwritten[] = { ".pth", ".pt", ".bin", ".ckpt", ".pkl", ".h5", ".hdf5", ".keras", ".onnx", ".gguf", ".tar",
                                         ".zip", ".mat", ".csv", ".json", ".txt" };

wtl_status wtl_save(wtl_ctx *ctx, const char *path, const wtl_dict *d, const char *const *meta) {
  bool npy = wtl_ends_in(path, ".npy"), npz = wtl_ends_in(path, ".npz");
  for (size_t i = 0; i < sizeof unwritten / sizeof *unwritten; i++) {
    if (wtl_ends_in(path, unwritten[i]))
      return wtl_fail(ctx, WTL_ERR_ARG, "save: %s: no %s files are written; give a name that ends in .safetensors, .npz or .npy",
                      path, unwritten[i]);
  }
  if ((npy || npz) && meta && meta[0])
    return wtl_fail(ctx, WTL_ERR_ARG, "save: %s: .npz and .npy keep no metadata; .safetensors does", path);
  if (npz) return wtl_npz_save(ctx, path, d);
  if (!npy) return wtl_safetensors_save(ctx, path, d, meta);
  if (d->n != 1)
    return wtl_fail(ctx, WTL_ERR_ARG, "save: %s: a .npy file holds one tensor, not %lld; .npz holds several", path, (long long)d->n);
  return wtl_npy_save(ctx, path, d->item[0].tensor);
}
