/* What C tests share: one context, checks that print the message, leaks of blocks, a sweep of allocation failures, and a
 * folder of the test's own. Include it first, in one file of a program. */
#ifndef WTL_CHECK_H
#define WTL_CHECK_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "wattle.h"

static wtl_ctx *ctx;

#define OK(expr) \
  do { \
    wtl_status ok_ = (expr); \
    if (ok_ != WTL_OK) fail_msg("%s: %s: %s", #expr, wtl_status_name(ok_), wtl_message(ctx)); \
  } while (0)
/* The status, and a piece of the message. */
#define FAILS(expr, status, text) \
  do { \
    wtl_status got_ = (expr); \
    if (got_ != (status) || !strstr(wtl_message(ctx), text)) { \
      fail_msg("%s: %s: %s", #expr, wtl_status_name(got_), wtl_message(ctx)); \
    } \
  } while (0)
#define SHAPE(...) (&(wtl_shape){ (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), { __VA_ARGS__ } })
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

static inline uint64_t live(void) {
  wtl_memory m;
  wtl_memory_stats(ctx, &m);
  return m.live;
}

/* ---- a folder of the case's own ---- */

static char folder[64];

/* A path in the folder; four may be in use at once. */
static inline const char *path_of(const char *name) {
  static char text[4][512];
  static int turn;
  char *p = text[turn++ % 4];
  snprintf(p, sizeof text[0], "%s/%s", folder, name);
  return p;
}

static inline const char *put(const char *name, const void *data, size_t n) {
  const char *path = path_of(name);
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) fail_msg("%s cannot be written", path);
  return path;
}

static inline const char *put_text(const char *name, const char *text) { return put(name, text, strlen(text)); }

/* The file's bytes with a NUL; free it. *n may be NULL. */
static inline char *slurp(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  struct stat st;
  if (!f || fstat(fileno(f), &st) != 0) fail_msg("%s cannot be read", path);
  char *s = calloc(1, (size_t)st.st_size + 1);
  if (fread(s, 1, (size_t)st.st_size, f) != (size_t)st.st_size) fail_msg("%s cannot be read", path);
  fclose(f);
  if (n) *n = (size_t)st.st_size;
  return s;
}

static inline void assert_file(const char *path, const char *text) {
  char *s = slurp(path, NULL);
  assert_string_equal(s, text);
  free(s);
}

/* Files in the folder; deletes them if asked. */
static inline int count_files(int remove_them) {
  int n = 0;
  DIR *d = opendir(folder);
  if (!d) return 0;
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    n++;
    if (remove_them) remove(path_of(e->d_name));
  }
  closedir(d);
  return n;
}

static inline int set_up(void **state) {
  (void)state;
  const char *tmp = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%.40s/wattle-XXXXXX", tmp && strlen(tmp) <= 40 ? tmp : "/tmp");
  return !mkdtemp(folder) || wtl_ctx_create(2, &ctx) != WTL_OK;
}

static inline int tear_down(void **state) {
  uint64_t left = live();
  (void)state;
  if (left) print_error("%llu blocks are left\n", (unsigned long long)left);
  wtl_ctx_destroy(ctx);
  count_files(1);
  rmdir(folder);
  return left != 0;
}

/* ---- allocation failures ---- */

/* fn frees what it made before it returns. Calls it with the first allocation failing, the second, ... until it succeeds;
 * each failure must be WTL_ERR_MEMORY and leave nothing behind. Returns how many failed. */
static inline int sweep(const char *what, wtl_status (*fn)(void *arg), void *arg) {
  for (int n = 1; n < 10000; n++) {
    uint64_t before = live();
    wtl_memory_fail_at(ctx, (uint64_t)n);
    wtl_status s = fn(arg);
    wtl_memory_fail_at(ctx, 0);
    if (live() != before) fail_msg("%s: failure %d leaves %lld blocks", what, n, (long long)(live() - before));
    if (s == WTL_OK) return n - 1;
    if (s != WTL_ERR_MEMORY) fail_msg("%s: failure %d: %s: %s", what, n, wtl_status_name(s), wtl_message(ctx));
  }
  fail_msg("%s never succeeds", what);
  return 0;
}

#endif
