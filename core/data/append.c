/* A file that grows by whole rows: locked against a second writer, each row synced before the call returns, and cut
 * back to whole rows when something goes wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data.h"

struct wtl_appender {
  wtl_ctx *ctx;
  char *path;
  int fd;
  off_t end;   /* all before it is whole rows */
  bool broken; /* a failed row could not be cut off: nothing may follow it */
};

/* Writes at the end, syncs, and on failure leaves the file as long as it was. */
static wtl_status put(wtl_appender *a, const char *data, size_t n) {
  size_t done = 0;
  int err = 0;
  while (done < n && !err) {
    ssize_t k = write(a->fd, data + done, n - done);
    if (k >= 0) done += (size_t)k;
    else if (errno != EINTR) err = errno;
  }
  if (!err && fdatasync(a->fd) != 0) err = errno;
  if (!err) {
    a->end += (off_t)n;
    return WTL_OK;
  }
  a->broken = ftruncate(a->fd, a->end) != 0;
  return wtl_fail_io(a->ctx, a->path,
                     a->broken ? "cannot be written, nor cut back to whole rows" : "cannot be written", err);
}

static wtl_status start(wtl_appender *a, const char *header) {
  size_t n = strlen(header);
  char *line = wtl_alloc(a->ctx, n + 1);
  if (!line) return WTL_ERR_MEMORY;
  memcpy(line, header, n);
  line[n] = '\n';
  wtl_status s = put(a, line, n + 1);
  wtl_free(a->ctx, line);
  if (s == WTL_OK) s = wtl_sync_folder(a->ctx, a->path);
  return s;
}

/* What a walk through the file finds. A line break between quotes belongs to a field. */
typedef struct rows { int64_t size, whole; bool whole_quoted; } rows;

static wtl_status find_rows(wtl_appender *a, rows *r) {
  char buf[16384];
  size_t got;
  bool quoted = false;
  *r = (rows){ 0, 0, false };
  do {
    WTL_TRY(wtl_read_up_to(a->ctx, a->path, a->fd, buf, sizeof buf, &got));
    for (size_t i = 0; i < got; i++) {
      quoted ^= buf[i] == '"';
      if (buf[i] == '\n') {
        r->whole = r->size + (int64_t)i + 1;
        r->whole_quoted = quoted;
      }
    }
    r->size += (int64_t)got;
  } while (got == sizeof buf);
  return WTL_OK;
}

/* Is the start of the file (at most n bytes of it) the header's start? *same: and is the line complete? */
static wtl_status compare_header(wtl_appender *a, const char *header, bool *starts, bool *same) {
  size_t n = strlen(header), got;
  char *line = wtl_alloc(a->ctx, n + 1);
  if (!line) return WTL_ERR_MEMORY;
  wtl_status s = lseek(a->fd, 0, SEEK_SET) < 0 ? wtl_fail_io(a->ctx, a->path, "cannot be read", errno)
                                               : wtl_read_up_to(a->ctx, a->path, a->fd, line, n + 1, &got);
  if (s == WTL_OK) {
    *starts = memcmp(line, header, got < n ? got : n) == 0;
    *same = *starts && got == n + 1 && line[n] == '\n';
  }
  wtl_free(a->ctx, line);
  return s;
}

/* A file that is there already: its header must be ours; what a killed writer left behind the last line is cut. */
static wtl_status resume(wtl_appender *a, const char *header) {
  bool starts, same;
  rows r;
  WTL_TRY(find_rows(a, &r));
  if (r.size == 0) return start(a, header);
  WTL_TRY(compare_header(a, header, &starts, &same));
  if (!same && !(starts && r.whole == 0 && r.size <= (int64_t)strlen(header))) {
    return wtl_fail(a->ctx, WTL_ERR_FORMAT, "%s: its first line is not \"%.200s\"", a->path, header);
  }
  if (same && r.whole_quoted) {
    return wtl_fail(a->ctx, WTL_ERR_FORMAT, "%s: ends inside a quoted field: repair or remove its last row", a->path);
  }
  a->end = (off_t)r.whole;
  if (r.size > r.whole && ftruncate(a->fd, a->end) != 0)
    return wtl_fail_io(a->ctx, a->path, "its torn last row cannot be cut", errno);
  return same ? WTL_OK : start(a, header);
}

static wtl_status open_locked(wtl_appender *a) {
  struct stat st;
  a->fd = open(a->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
  if (a->fd < 0) return wtl_fail_io(a->ctx, a->path, "cannot be opened for appending", errno);
  if (fstat(a->fd, &st) != 0 || !S_ISREG(st.st_mode))
    return wtl_fail(a->ctx, WTL_ERR_IO, "%s: not a regular file", a->path);
  if (flock(a->fd, LOCK_EX | LOCK_NB) == 0) return WTL_OK;
  if (errno == EWOULDBLOCK) return wtl_fail(a->ctx, WTL_ERR_IO, "%s: another run is writing it", a->path);
  return wtl_fail_io(a->ctx, a->path, "cannot be locked", errno);
}

wtl_status wtl_appender_open(wtl_ctx *ctx, const char *path, const char *header, wtl_appender **out) {
  if (!*header || strpbrk(header, "\r\n"))
    return wtl_fail(ctx, WTL_ERR_ARG, "%s: the header must be one line, without its line break", path);
  wtl_appender *a = wtl_alloc(ctx, sizeof *a);
  if (!a) return WTL_ERR_MEMORY;
  *a = (wtl_appender){ .ctx = ctx, .fd = -1 };
  a->path = wtl_strdup(ctx, path);
  wtl_status s = a->path ? open_locked(a) : WTL_ERR_MEMORY;
  if (s == WTL_OK) s = resume(a, header);
  if (s == WTL_OK) *out = a;
  else wtl_appender_close(a);
  return s;
}

wtl_status wtl_appender_add(wtl_appender *a, const char *data, size_t n) {
  struct stat st;
  if (n == 0) return WTL_OK;
  if (data[n - 1] != '\n') return wtl_fail(a->ctx, WTL_ERR_ARG, "%s: a row must end with a line break", a->path);
  if (a->broken) return wtl_fail(a->ctx, WTL_ERR_STATE, "%s: an earlier row is torn and could not be cut", a->path);
  if (fstat(a->fd, &st) != 0) return wtl_fail_io(a->ctx, a->path, "cannot be examined", errno);
  if (st.st_nlink == 0 || st.st_size != a->end) {
    return wtl_fail(a->ctx, WTL_ERR_STATE, "%s: was %s by another program while it was written", a->path,
                    st.st_nlink == 0 ? "removed" : "changed");
  }
  return put(a, data, n);
}

void wtl_appender_close(wtl_appender *a) {
  if (!a) return;
  if (a->fd >= 0) close(a->fd); /* and so unlocks it */
  wtl_free(a->ctx, a->path);
  wtl_free(a->ctx, a);
}
