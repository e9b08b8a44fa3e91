/* core/data/zip.c: members of many sizes, stored and deflated, read alone, in pieces and side by side; what happens when the
 * file changes underneath, when it is to stop, and when memory is gone. Malformed archives: tests/lua/malformed_pth.lua. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>

#include "zip.h"

/* An archive while it is written. */
typedef struct archive {
  unsigned char *b;
  size_t n, members, at[16], size[16], packed[16];
  uint32_t crc[16];
  int method[16];
} archive;

static void add(archive *a, const void *p, size_t n) {
  a->b = realloc(a->b, a->n + n + 1);
  memcpy(a->b + a->n, p, n);
  a->n += n;
}
static void number(archive *a, uint64_t v, int bytes) { add(a, &v, (size_t)bytes); }

static void header(archive *a, size_t i) { /* what both headers have */
  number(a, 20, 2), number(a, 0, 2), number(a, (uint64_t)a->method[i], 2), number(a, 0, 4);
  number(a, a->crc[i], 4), number(a, a->packed[i], 4), number(a, a->size[i], 4), number(a, 2, 2), number(a, 0, 2);
}

static size_t deflate_into(unsigned char *out, size_t room, const void *p, size_t n) {
  z_stream z = {
    .next_in = (unsigned char *)p, .avail_in = (unsigned)n, .next_out = out, .avail_out = (unsigned)room
  };
  assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  deflateEnd(&z);
  return room - z.avail_out;
}

/* Member "m" and a letter. */
static void member(archive *a, const void *p, size_t n, int method) {
  size_t i = a->members++, room = n + n / 100 + 1000;
  unsigned char *packed = malloc(room);
  a->at[i] = a->n;
  a->method[i] = method;
  a->size[i] = a->packed[i] = n;
  a->crc[i] = (uint32_t)crc32_z(0, p, n);
  if (method) a->packed[i] = deflate_into(packed, room, p, n);
  add(a, "PK\3\4", 4);
  header(a, i);
  add(a, (char[]){ 'm', (char)('a' + i) }, 2);
  add(a, method ? packed : p, a->packed[i]);
  free(packed);
}

static const char *finish(archive *a, const char *name) {
  size_t begin = a->n;
  for (size_t i = 0; i < a->members; i++) {
    add(a, "PK\1\2", 4), number(a, 20, 2), header(a, i);
    number(a, 0, 2), number(a, 0, 2), number(a, 0, 2), number(a, 0, 4), number(a, a->at[i], 4);
    add(a, (char[]){ 'm', (char)('a' + i) }, 2);
  }
  size_t bytes = a->n - begin;
  add(a, "PK\5\6\0\0\0", 8), number(a, a->members, 2), number(a, a->members, 2), number(a, bytes, 4),
      number(a, begin, 4), number(a, 0, 2);
  return put(name, a->b, a->n);
}

enum { BIG = 9 * (1 << 20) + 13 };
static const size_t sizes[] = { 0, 1, 262144, 262145, BIG, 4 << 20, 700000, BIG };
enum { N = sizeof sizes / sizeof *sizes };

static unsigned char *pattern(void) {
  unsigned char *p = malloc(BIG);
  uint32_t x = 1;
  for (size_t i = 0; i < BIG; i++)
    p[i] = (unsigned char)((x = x * 1664525 + 1013904223) >> (i % 3000 < 1500 ? 24 : 31));
  return p;
}

static const char *build(archive *a, const unsigned char *p) {
  *a = (archive){ 0 };
  for (size_t i = 0; i < N; i++) member(a, p, sizes[i], i >= 6 ? WTL_ZIP_DEFLATED : WTL_ZIP_STORED);
  return finish(a, "archive");
}

typedef struct looked { pthread_mutex_t lock; int64_t bytes; } looked;
static void look(void *arg, const void *bytes, int64_t n) {
  looked *l = arg;
  (void)bytes;
  pthread_mutex_lock(&l->lock);
  l->bytes += n;
  pthread_mutex_unlock(&l->lock);
}

static void test_members(void **state) {
  archive a;
  wtl_zip z;
  (void)state;
  unsigned char *p = pattern(), *buf = malloc(BIG);
  OK(wtl_zip_open(ctx, build(&a, p), &z));
  assert_int_equal(z.n, N);
  assert_null(wtl_zip_find(&z, "m"));
  assert_null(wtl_zip_find(&z, "mz"));
  for (size_t i = 0; i < N; i++) {
    const wtl_zip_entry *e = wtl_zip_find(&z, (char[]){ 'm', (char)('a' + i), 0 });
    assert_ptr_equal(e, &z.entry[i]);
    assert_int_equal(e->size, sizes[i]);
    memset(buf, 0, BIG);
    OK(wtl_zip_read(&z, e, buf));
    assert_memory_equal(buf, p, sizes[i]);
    OK(wtl_zip_peek(&z, e, buf, sizes[i] / 2));
    FAILS(wtl_zip_peek(&z, e, buf, sizes[i] + 1), WTL_ERR_FORMAT, "is too short");
  }
  wtl_zip_close(&z);
  wtl_zip_close(&z);
  free(a.b), free(p), free(buf);
}

/* All at once, the beginnings of members apart from the rest. */
static void test_all(void **state) {
  const int64_t heads[] = { 0, 0, 128, 262145, 5000000, 1, 64, 128 };
  archive a;
  wtl_zip z;
  wtl_zip_want want[N];
  looked l[N];
  (void)state;
  unsigned char *p = pattern();
  OK(wtl_zip_open(ctx, build(&a, p), &z));
  for (int threads = 1; threads <= 5; threads += 2) {
    OK(wtl_set_threads(ctx, threads));
    for (size_t i = 0; i < N; i++) {
      l[i] = (looked){ .lock = PTHREAD_MUTEX_INITIALIZER };
      want[i] =
          (wtl_zip_want){ &z.entry[i], malloc((size_t)heads[i] + 1), heads[i], malloc(sizes[i] + 1), look, &l[i] };
    }
    OK(wtl_zip_read_all(&z, want, N));
    for (size_t i = 0; i < N; i++) {
      size_t head = (size_t)heads[i];
      assert_memory_equal(want[i].head, p, head);
      assert_memory_equal(want[i].body, p + head, sizes[i] - head);
      assert_int_equal(l[i].bytes, sizes[i] - head);
      free(want[i].head), free(want[i].body);
    }
  }
  OK(wtl_zip_read_all(&z, want, 0));
  wtl_zip_close(&z);
  free(a.b), free(p);
}

/* The file changes when it is open already. */
static void test_changes(void **state) {
  archive a;
  wtl_zip z;
  (void)state;
  unsigned char *p = pattern(), *buf = malloc(BIG);
  const char *path = build(&a, p);
  OK(wtl_zip_open(ctx, path, &z));
  wtl_zip_want want = { .entry = &z.entry[4], .body = buf };
  wtl_interrupt(ctx, 1);
  FAILS(wtl_zip_read_all(&z, &want, 1), WTL_ERR_INTERRUPTED, "archive: interrupted");
  wtl_interrupt(ctx, 0);
  int fd = open(path, O_RDWR);
  assert_true(fd >= 0 && pwrite(fd, "x", 1, z.entry[4].at + 8 * (1 << 20)) == 1); /* in its third piece */
  FAILS(wtl_zip_read_all(&z, &want, 1), WTL_ERR_FORMAT, "archive: zip: me: its checksum is");
  FAILS(wtl_zip_read(&z, &z.entry[4], buf), WTL_ERR_FORMAT, "me: its checksum is");
  OK(wtl_zip_read(&z, &z.entry[3], buf));
  assert_true(ftruncate(fd, z.entry[4].at + 100) == 0);
  FAILS(wtl_zip_read_all(&z, &want, 1), WTL_ERR_FORMAT, "became shorter while it was read");
  FAILS(wtl_zip_read(&z, &z.entry[7], buf), WTL_ERR_FORMAT, "became shorter while it was read");
  close(fd);
  wtl_zip_close(&z);
  free(a.b), free(p), free(buf);
}

/* Cut anywhere, and with any byte of a small one changed, an archive is refused, or is still one. */
static void test_damage(void **state) {
  archive a = { 0 };
  wtl_zip z;
  char buf[64];
  (void)state;
  member(&a, "stored bytes", 12, WTL_ZIP_STORED);
  member(&a, "deflated, deflated, deflated", 28, WTL_ZIP_DEFLATED);
  finish(&a, "archive");
  for (size_t n = 0; n < a.n; n++) FAILS(wtl_zip_open(ctx, put("cut", a.b, n), &z), WTL_ERR_FORMAT, "cut: zip: ");
  int opened = 0, read = 0;
  for (size_t i = 0; i < a.n; i++) {
    a.b[i] ^= 0x15;
    wtl_status s = wtl_zip_open(ctx, put("changed", a.b, a.n), &z);
    a.b[i] ^= 0x15;
    if (s != WTL_OK) {
      assert_true(s == WTL_ERR_FORMAT || s == WTL_ERR_UNSUPPORTED);
      continue;
    }
    opened++;
    bool same = z.n == 2 && z.entry[0].size == 12 && z.entry[1].size == 28;
    if (same && wtl_zip_read(&z, &z.entry[0], buf) == WTL_OK && wtl_zip_read(&z, &z.entry[1], buf) == WTL_OK) {
      read++;
      assert_memory_equal(buf, "deflated, deflated, deflated",
                          28); /* what was changed means nothing: a time, a version */
    }
    wtl_zip_close(&z);
  }
  assert_true(opened > 20 && read < opened);
  FAILS(wtl_zip_open(ctx, path_of("absent"), &z), WTL_ERR_IO, "absent: cannot be opened");
  free(a.b);
}

typedef struct arguments { const char *path; unsigned char *buf; } arguments;

static wtl_status open_and_read(void *arg) {
  arguments *g = arg;
  wtl_zip z;
  WTL_TRY(wtl_zip_open(ctx, g->path, &z));
  wtl_zip_want want[2] = { { .entry = &z.entry[4], .body = g->buf }, { .entry = &z.entry[6], .body = g->buf + BIG } };
  wtl_status s = wtl_zip_read_all(&z, want, 2);
  if (s == WTL_OK) s = wtl_zip_peek(&z, &z.entry[7], g->buf, 10);
  wtl_zip_close(&z);
  return s;
}

static void test_memory(void **state) {
  archive a;
  (void)state;
  unsigned char *p = pattern();
  arguments g = { build(&a, p), malloc(2 * BIG) };
  OK(wtl_set_threads(ctx, 1));
  assert_true(sweep("open and read", open_and_read, &g) >= 8);
  free(a.b), free(p), free(g.buf);
}

int main(void) {
  const struct CMUnitTest tests[] = { CASE(test_members), CASE(test_all), CASE(test_changes), CASE(test_damage),
                                      CASE(test_memory) };
  return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}
