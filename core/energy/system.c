/* Readers of /proc: the machine's CPU time and this process's peak memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system.h"

/* The file's first bytes as text; false where there are none. */
static bool read_text(const char *path, char *buf, size_t n) {
  size_t done = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  while (done < n - 1) {
    ssize_t k = read(fd, buf + done, n - 1 - done);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) break;
    done += (size_t)k;
  }
  close(fd);
  buf[done] = 0;
  return done > 0;
}

wtl_machine_cpu wtl_machine_cpu_read(const char *path) {
  /* cpu user nice system idle iowait irq softirq steal guest guest_nice; guest time is in user time already */
  enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, FIELDS };
  char buf[512], *p = buf + 4, *end;
  int64_t tick[FIELDS];
  long rate = sysconf(_SC_CLK_TCK);
  if (rate <= 0 || !read_text(path, buf, sizeof buf) || strncmp(buf, "cpu ", 4) != 0) return (wtl_machine_cpu){ 0 };
  for (int i = 0; i < FIELDS; i++, p = end) {
    while (*p == ' ') p++;
    tick[i] = strtoll(p, &end, 10);
    if (end == p || tick[i] < 0) return (wtl_machine_cpu){ 0 };
  }
  int64_t busy = tick[USER] + tick[NICE] + tick[SYSTEM] + tick[IRQ] + tick[SOFTIRQ];
  return (wtl_machine_cpu){ true, busy * (1000000 / rate), tick[STEAL] * (1000000 / rate) };
}

int64_t wtl_peak_rss_read(const char *path) {
  char buf[4096];
  if (!read_text(path, buf, sizeof buf)) return -1;
  const char *line = strstr(buf, "\nVmHWM:");
  long long kb = -1;
  if (!line || sscanf(line, "\nVmHWM: %lld kB", &kb) != 1 || kb < 0) return -1;
  return (int64_t)kb * 1024;
}

wtl_status wtl_peak_rss(wtl_ctx *ctx, int64_t *bytes) {
  int64_t n = wtl_peak_rss_read("/proc/self/status");
  if (n < 0) return wtl_fail(ctx, WTL_ERR_UNSUPPORTED, "peak_rss: /proc/self/status has no VmHWM");
  *bytes = n;
  return WTL_OK;
}

wtl_status wtl_peak_rss_reset(wtl_ctx *ctx) {
  char text[128];
  int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  bool done = fd >= 0 && write(fd, "5", 1) == 1; /* 5: VmHWM = VmRSS (proc(5)) */
  int err = errno;
  if (fd >= 0) close(fd);
  if (done) return WTL_OK;
  return wtl_fail(ctx, WTL_ERR_UNSUPPORTED, "peak_rss: /proc/self/clear_refs: %s", strerror_r(err, text, sizeof text));
}
