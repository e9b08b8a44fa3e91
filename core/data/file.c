/* Reading and writing whole files: errors that name the file, reads that finish, and a file that is written beside its
 * path, synced and renamed over it, so that nobody ever sees half of it. Appending is in append.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data.h"

wtl_status wtl_fail_io(wtl_ctx *ctx, const char *path, const char *what, int err) {
  char text[128];
  return wtl_fail(ctx, WTL_ERR_IO, "%s: %s: %s", path, what, strerror_r(err, text, sizeof text));
}

bool wtl_ends_in(const char *path, const char *end) {
  size_t n = strlen(path), k = strlen(end);
  return n >= k && strcasecmp(path + n - k, end) == 0;
}

wtl_status wtl_open_regular(wtl_ctx *ctx, const char *path, int *fd, int64_t *size) {
  struct stat st;
  int f = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer would hang here */
  if (f < 0) return wtl_fail_io(ctx, path, "cannot be opened", errno);
  if (fstat(f, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(f);
    return wtl_fail(ctx, WTL_ERR_IO, "%s: not a regular file", path);
  }
  *fd = f;
  *size = (int64_t)st.st_size;
  return WTL_OK;
}

wtl_status wtl_read_up_to(wtl_ctx *ctx, const char *path, int fd, void *buf, size_t n, size_t *got) {
  size_t done = 0;
  while (done < n) {
    ssize_t k = read(fd, (char *)buf + done, n - done);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return wtl_fail_io(ctx, path, "cannot be read", errno);
    if (k == 0) break;
    done += (size_t)k;
  }
  *got = done;
  return WTL_OK;
}

int wtl_read_at(int fd, void *buf, size_t n, int64_t at) {
  size_t done = 0;
  while (done < n) {
    ssize_t k = pread(fd, (char *)buf + done, n - done, (off_t)(at + (int64_t)done));
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return k < 0 ? errno : WTL_TOO_SHORT;
    done += (size_t)k;
  }
  return 0;
}

#define BIG_PAGE ((uintptr_t)1 << 21)

void wtl_wish_big_pages(void *p, size_t bytes) {
  uintptr_t begin = ((uintptr_t)p + BIG_PAGE - 1) & ~(BIG_PAGE - 1), end = ((uintptr_t)p + bytes) & ~(BIG_PAGE - 1);
  if (end > begin) (void)!madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

/* ---- a file that appears whole or not at all ---- */

/* Some file systems can't sync a folder; that is no failure. */
wtl_status wtl_sync_folder(wtl_ctx *ctx, char *path) {
  char *slash = strrchr(path, '/');
  char *end = !slash ? NULL : slash == path ? slash + 1 : slash, kept = end ? *end : 0;
  wtl_status s = WTL_OK;
  if (end) *end = 0;
  const char *folder = slash ? path : ".";
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0 && fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS) {
    s = wtl_fail_io(ctx, folder, "the folder cannot be synced", errno);
  }
  if (fd >= 0) close(fd);
  if (end) *end = kept;
  return s;
}

wtl_status wtl_writer_open(wtl_ctx *ctx, const char *path, wtl_writer *w) {
  struct stat st;
  *w = (wtl_writer){ ctx, path, NULL, -1, false };
  mode_t mode = 0666; /* less the umask */
  bool replaces = stat(path, &st) == 0;
  if (replaces && !S_ISREG(st.st_mode)) return wtl_fail(ctx, WTL_ERR_IO, "%s: not a regular file", path);
  size_t room = strlen(path) + 48;
  w->temp = wtl_alloc(ctx, room);
  if (!w->temp) return WTL_ERR_MEMORY;
  for (int attempt = 0; w->fd < 0 && attempt < 1000; attempt++) {
    snprintf(w->temp, room, "%s.%ld-%d.tmp", path, (long)getpid(), attempt);
    w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (w->fd < 0 && errno != EEXIST) break;
  }
  if (w->fd < 0) {
    wtl_status s = wtl_fail_io(ctx, path, "cannot be written: no temporary file beside it", errno);
    wtl_free(ctx, w->temp);
    w->temp = NULL;
    return s;
  }
  if (replaces) (void)!fchmod(w->fd, st.st_mode & 07777); /* a wish: the owner may be someone else */
  return WTL_OK;
}

wtl_status wtl_writer_put(wtl_writer *w, const void *data, size_t n) {
  size_t done = 0;
  while (done < n) {
    ssize_t k = write(w->fd, (const char *)data + done, n - done);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return wtl_fail_io(w->ctx, w->path, "cannot be written", errno);
    done += (size_t)k;
  }
  return WTL_OK;
}

wtl_status wtl_writer_commit(wtl_writer *w) {
  if (!w->unsynced && fsync(w->fd) != 0) return wtl_fail_io(w->ctx, w->path, "cannot be synced", errno);
  int fd = w->fd;
  w->fd = -1;
  if (close(fd) != 0) return wtl_fail_io(w->ctx, w->path, "cannot be written", errno);
  if (rename(w->temp, w->path) != 0) return wtl_fail_io(w->ctx, w->path, "cannot be replaced", errno);
  wtl_status s = w->unsynced ? WTL_OK : wtl_sync_folder(w->ctx, w->temp); /* the same folder, and a string that may be written */
  wtl_free(w->ctx, w->temp);
  w->temp = NULL;
  return s;
}

void wtl_writer_abort(wtl_writer *w) {
  if (!w->temp) return;
  if (w->fd >= 0) close(w->fd);
  unlink(w->temp);
  wtl_free(w->ctx, w->temp);
  *w = (wtl_writer){ w->ctx, w->path, NULL, -1, false };
}

wtl_status wtl_file_write(wtl_ctx *ctx, const char *path, const void *data, size_t n) {
  wtl_writer w;
  WTL_TRY(wtl_writer_open(ctx, path, &w));
  wtl_status s = wtl_writer_put(&w, data, n);
  if (s == WTL_OK) s = wtl_writer_commit(&w);
  wtl_writer_abort(&w);
  return s;
}
