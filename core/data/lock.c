/* A folder that one run at a time may write in: a lock file that names its holder. The lock is flock's, so it ends with
 * the process, however that ends, and holds between two openings in one process too. Touches nothing but its file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data.h"

struct wtl_lock {
  wtl_ctx *ctx;
  char *path;
  int fd;
};

/* Who holds it, as they wrote it: "process 123 on host". The file may be empty for a moment. */
static wtl_status in_use(wtl_lock *l, const char *folder) {
  char who[160];
  size_t n;
  WTL_TRY(wtl_read_up_to(l->ctx, l->path, l->fd, who, sizeof who - 1, &n));
  who[n] = '\0';
  who[strcspn(who, "\n")] = '\0';
  return wtl_fail(l->ctx, WTL_ERR_IO, "%s: in use by another run (%s)", folder, *who ? who : "which is just starting");
}

static wtl_status take(wtl_lock *l, const char *folder) {
  struct stat st;
  l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
  if (l->fd < 0) return wtl_fail_io(l->ctx, l->path, "cannot be opened", errno);
  if (fstat(l->fd, &st) != 0 || !S_ISREG(st.st_mode))
    return wtl_fail(l->ctx, WTL_ERR_IO, "%s: not a regular file", l->path);
  if (flock(l->fd, LOCK_EX | LOCK_NB) == 0) return WTL_OK;
  return errno == EWOULDBLOCK ? in_use(l, folder) : wtl_fail_io(l->ctx, l->path, "cannot be locked", errno);
}

/* For the message that others get; without room for it, or a name, the lock holds all the same. */
static void sign(wtl_lock *l) {
  char text[160], host[64] = "";
  if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
  int n = snprintf(text, sizeof text, "process %ld%s%s\n", (long)getpid(), *host ? " on " : "", host);
  if (ftruncate(l->fd, 0) != 0 || pwrite(l->fd, text, (size_t)n, 0) != n) (void)!ftruncate(l->fd, 0);
}

wtl_status wtl_lock_open(wtl_ctx *ctx, const char *folder, wtl_lock **out) {
  size_t n = strlen(folder) + sizeof "/.lock";
  wtl_lock *l = wtl_alloc(ctx, sizeof *l);
  if (!l) return WTL_ERR_MEMORY;
  *l = (wtl_lock){ .ctx = ctx, .fd = -1 };
  l->path = wtl_alloc(ctx, n);
  wtl_status s = WTL_ERR_MEMORY;
  if (l->path) {
    snprintf(l->path, n, "%s/.lock", folder);
    s = take(l, folder);
  }
  if (s == WTL_OK) {
    sign(l);
    *out = l;
  } else {
    wtl_lock_close(l);
  }
  return s;
}

void wtl_lock_close(wtl_lock *l) {
  if (!l) return;
  if (l->fd >= 0) close(l->fd); /* and so unlocks it; the file stays: removing it would race with the next holder */
  wtl_free(l->ctx, l->path);
  wtl_free(l->ctx, l);
}
