/* core/data: files that are replaced whole, files that grow by whole rows, and SHA-256. Disks that fill up are played by a
 * limit on file size. */
#include "check.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Writes beyond n bytes of a file fail from now on, until called with -1. */
static void limit_files(long n) {
  struct rlimit r;
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &r);
  r.rlim_cur = n < 0 ? r.rlim_max : (rlim_t)n;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* ---- wtl_file_write ---- */

static void test_file_write(void **state) {
  struct stat st;
  char here[400];
  const char *path = path_of("report.txt");
  (void)state;
  OK(wtl_file_write(ctx, path, "one", 3));
  assert_file(path, "one");
  assert_int_equal(chmod(path, 0640), 0);
  OK(wtl_file_write(ctx, path, "another", 7));
  assert_file(path, "another");
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0640); /* who may read it stays */
  OK(wtl_file_write(ctx, path, NULL, 0));
  assert_file(path, "");
  assert_int_equal(count_files(0), 1);
  assert_non_null(getcwd(here, sizeof here));
  assert_int_equal(chdir(folder), 0);
  OK(wtl_file_write(ctx, "plain-name", "x", 1));
  assert_int_equal(chdir(here), 0);
  assert_file(path_of("plain-name"), "x");
}

static void test_file_write_fails(void **state) {
  char *large = calloc(1, 100000);
  char sub[300];
  const char *path = put_text("kept", "old");
  (void)state;
  limit_files(50000);
  wtl_status s = wtl_file_write(ctx, path, large, 100000);
  limit_files(-1);
  assert_int_equal(s, WTL_ERR_IO);
  assert_non_null(strstr(wtl_message(ctx), "kept: cannot be written: File too large"));
  assert_file(path, "old");
  assert_int_equal(count_files(0), 1); /* no temporary file */
  FAILS(wtl_file_write(ctx, path_of("no/such"), "x", 1), WTL_ERR_IO,
        "no/such: cannot be written: no temporary file beside it: No such file");
  FAILS(wtl_file_write(ctx, folder, "x", 1), WTL_ERR_IO, "not a regular file");
  FAILS(wtl_file_write(ctx, "/dev/null", "x", 1), WTL_ERR_IO, "/dev/null: not a regular file");
  /* a file left by a killed process of the same number is stepped over */
  snprintf(sub, sizeof sub, "kept.%ld-0.tmp", (long)getpid());
  put_text(sub, "stale");
  OK(wtl_file_write(ctx, path, "new", 3));
  assert_file(path, "new");
  assert_file(path_of(sub), "stale");
  free(large);
}

static wtl_status write_file(void *path) { return wtl_file_write(ctx, path, "text", 4); }

static void test_file_write_memory(void **state) {
  (void)state;
  assert_int_equal(sweep("file_write", write_file, (void *)path_of("a")), 1);
  assert_int_equal(count_files(0), 1);
}

/* ---- appending ---- */

static void append(const char *path, const char *rows) {
  wtl_appender *a = NULL;
  OK(wtl_appender_open(ctx, path, "a,b", &a));
  OK(wtl_appender_add(a, rows, strlen(rows)));
  wtl_appender_close(a);
}

static void test_append(void **state) {
  const char *path = path_of("runs.csv");
  wtl_appender *a = NULL, *b = NULL;
  (void)state;
  append(path, "1,2\n");
  append(path, "3,4\n5,6\n");
  assert_file(path, "a,b\n1,2\n3,4\n5,6\n");
  append(put_text("empty", ""), "1,2\n");
  assert_file(path_of("empty"), "a,b\n1,2\n");
  OK(wtl_appender_open(ctx, path, "a,b", &a));
  FAILS(wtl_appender_open(ctx, path, "a,b", &b), WTL_ERR_IO, "runs.csv: another run is writing it");
  OK(wtl_appender_add(a, "", 0));
  FAILS(wtl_appender_add(a, "7,8", 3), WTL_ERR_ARG, "must end with a line break");
  wtl_appender_close(a);
  OK(wtl_appender_open(ctx, path, "a,b", &b));
  wtl_appender_close(b);
  assert_file(path, "a,b\n1,2\n3,4\n5,6\n");
  wtl_appender_close(NULL);
}

static void test_append_refuses(void **state) {
  wtl_appender *a = NULL;
  const char *other[] = { "a,c\n", "a,b,c\n1,2,3\n", "a\n", "\n", "a,b\r\n", "a,bc", "x" };
  (void)state;
  for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
    const char *path = put_text("runs.csv", other[i]);
    FAILS(wtl_appender_open(ctx, path, "a,b", &a), WTL_ERR_FORMAT, "runs.csv: its first line is not \"a,b\"");
    assert_file(path, other[i]);
  }
  FAILS(wtl_appender_open(ctx, path_of("runs.csv"), "a\nb", &a), WTL_ERR_ARG, "the header must be one line");
  FAILS(wtl_appender_open(ctx, path_of("runs.csv"), "", &a), WTL_ERR_ARG, "the header must be one line");
  FAILS(wtl_appender_open(ctx, folder, "a,b", &a), WTL_ERR_IO, "cannot be opened for appending: Is a directory");
  FAILS(wtl_appender_open(ctx, "/dev/null", "a,b", &a), WTL_ERR_IO, "not a regular file");
  FAILS(wtl_appender_open(ctx, path_of("no/such"), "a,b", &a), WTL_ERR_IO, "no/such: cannot be opened");
  assert_null(a);
}

/* What a killed writer left behind. */
static void test_append_torn(void **state) {
  const struct { const char *before, *after; } torn[] = {
    { "a,b\n1,2\n3,", "a,b\n1,2\nx\n" },
    { "a,b\n1,", "a,b\nx\n" },
    { "a,b\n\"1,\"\"", "a,b\nx\n" },               /* inside quotes, but in the last line */
    { "a,b\n1,\"two\nlines\"\n3", "a,b\n1,\"two\nlines\"\nx\n" },
    { "a,b", "a,b\nx\n" },
    { "a", "a,b\nx\n" },
  };
  wtl_appender *a = NULL;
  (void)state;
  for (size_t i = 0; i < sizeof torn / sizeof *torn; i++) {
    const char *path = put_text("runs.csv", torn[i].before);
    append(path, "x\n");
    assert_file(path, torn[i].after);
  }
  const char *path = put_text("runs.csv", "a,b\n1,\"two\nlin");
  FAILS(wtl_appender_open(ctx, path, "a,b", &a), WTL_ERR_FORMAT, "ends inside a quoted field");
  assert_file(path, "a,b\n1,\"two\nlin");
}

static void test_append_disk_full(void **state) {
  const char *path = path_of("runs.csv");
  wtl_appender *a = NULL;
  char row[200];
  (void)state;
  memset(row, 'x', sizeof row);
  row[sizeof row - 1] = '\n';
  OK(wtl_appender_open(ctx, path, "a,b", &a));
  OK(wtl_appender_add(a, row, sizeof row));
  limit_files(300); /* half of the next row fits */
  wtl_status s = wtl_appender_add(a, row, sizeof row);
  limit_files(-1);
  assert_int_equal(s, WTL_ERR_IO);
  assert_non_null(strstr(wtl_message(ctx), "runs.csv: cannot be written: File too large"));
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_size, 4 + sizeof row); /* whole rows only */
  OK(wtl_appender_add(a, "1,2\n", 4));          /* and it goes on when there is room */
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_size, 8 + sizeof row);
  wtl_appender_close(a);
}

static void test_append_meddled(void **state) {
  const char *path = path_of("runs.csv");
  wtl_appender *a = NULL;
  (void)state;
  OK(wtl_appender_open(ctx, path, "a,b", &a));
  FILE *f = fopen(path, "a");
  fputs("foreign\n", f);
  fclose(f);
  FAILS(wtl_appender_add(a, "1,2\n", 4), WTL_ERR_STATE, "was changed by another program");
  assert_int_equal(remove(path), 0);
  FAILS(wtl_appender_add(a, "1,2\n", 4), WTL_ERR_STATE, "was removed by another program");
  wtl_appender_close(a);
}

/* A writer is killed at any moment: what stands there is whole rows, and the next one goes on. */
static void test_append_killed(void **state) {
  const char *path = path_of("runs.csv");
  (void)state;
  for (int round = 0; round < 10; round++) {
    pid_t child = fork();
    if (child == 0) {
      wtl_appender *a = NULL;
      if (wtl_appender_open(ctx, path, "a,b", &a) != WTL_OK) _exit(1);
      while (wtl_appender_add(a, "123456789,123456789\n", 20) == WTL_OK) {}
      _exit(1);
    }
    usleep(3000 + 2000 * (useconds_t)round);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    if (access(path, F_OK) != 0) continue; /* killed before it began */
    append(path, "123456789,123456789\n");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal((st.st_size - 4) % 20, 0);
  }
  assert_int_equal(access(path, F_OK), 0);
}

static wtl_status open_append(void *path) {
  wtl_appender *a = NULL;
  wtl_status s = wtl_appender_open(ctx, path, "a,b", &a);
  if (s == WTL_OK) s = wtl_appender_add(a, "1,2\n", 4);
  wtl_appender_close(a);
  return s;
}

static void test_append_memory(void **state) {
  (void)state;
  assert_int_equal(sweep("appender", open_append, (void *)path_of("runs.csv")), 3);
  assert_int_equal(sweep("appender", open_append, (void *)path_of("runs.csv")), 3);
  assert_file(path_of("runs.csv"), "a,b\n1,2\n1,2\n");
}

/* ---- SHA-256 ---- */

static void assert_sha(const char *text, size_t n, const char *want) {
  char hex[65];
  OK(wtl_sha256_file(ctx, put("hashed", text, n), hex));
  assert_string_equal(hex, want);
}

/* FIPS 180-4's examples (NIST CSRC), and lengths around a block from Python's hashlib. */
static void test_sha256_file(void **state) {
  char hex[65], *many = malloc(1000000);
  (void)state;
  assert_sha("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert_sha("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  assert_sha(two, strlen(two), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  memset(many, 'a', 1000000);
  assert_sha(many, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  assert_sha(many, 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  assert_sha(many, 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
  assert_sha(many, 63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34");
  assert_sha(many, 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
  assert_sha(many, 65536, "bf718b6f653bebc184e1479f1935b8da974d701b893afcf49e701f3e2f9f9c5a");
  FAILS(wtl_sha256_file(ctx, path_of("absent"), hex), WTL_ERR_IO, "absent: cannot be opened");
  free(many);
}

static void hash(const char *name, wtl_tensor *t, char out[65]) {
  wtl_dict d;
  wtl_dict_init(&d, ctx);
  OK(wtl_dict_add(&d, name, t));
  OK(wtl_sha256_dict(ctx, &d, out));
  wtl_dict_free(&d);
}

static wtl_status hash_view(void *view) {
  char hex[65];
  wtl_dict d;
  wtl_dict_init(&d, ctx);
  wtl_status s = wtl_dict_add(&d, "w", view);
  if (s == WTL_OK) s = wtl_sha256_dict(ctx, &d, hex);
  wtl_dict_free(&d);
  return s;
}

static void test_sha256_dict(void **state) {
  wtl_tensor *t[6] = { NULL };
  char hex[8][65];
  (void)state;
  OK(wtl_tensor_create(ctx, WTL_F32, SHAPE(2, 3), &t[0]));
  OK(wtl_tensor_set(t[0], (int64_t[]){ 0, 1 }, 1.5));
  OK(wtl_tensor_reshape(t[0], SHAPE(3, 2), &t[1]));
  OK(wtl_tensor_convert(t[0], WTL_I64, &t[2]));
  OK(wtl_tensor_transpose(t[0], 0, 1, &t[3]));
  OK(wtl_tensor_clone(t[3], &t[4]));
  OK(wtl_tensor_clone(t[0], &t[5]));
  hash("w", t[0], hex[0]);
  hash("v", t[0], hex[1]);  /* name */
  hash("w", t[1], hex[2]);  /* shape */
  hash("w", t[2], hex[3]);  /* dtype and bytes */
  hash("w", t[3], hex[4]);  /* order of the elements */
  for (int i = 0; i < 5; i++) {
    for (int j = 0; j < i; j++) assert_string_not_equal(hex[i], hex[j]);
  }
  hash("w", t[4], hex[5]);
  assert_string_equal(hex[5], hex[4]); /* strides do not matter */
  hash("w", t[5], hex[5]);
  assert_string_equal(hex[5], hex[0]);
  assert_int_equal(strlen(hex[0]), 64);
  assert_true(sweep("sha256_dict", hash_view, t[3]) >= 4);
  for (int i = 0; i < 6; i++) wtl_tensor_release(t[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(test_file_write),     CASE(test_file_write_fails), CASE(test_file_write_memory), CASE(test_append),
    CASE(test_append_refuses), CASE(test_append_torn),      CASE(test_append_disk_full),  CASE(test_append_meddled),
    CASE(test_append_killed),  CASE(test_append_memory),    CASE(test_sha256_file),       CASE(test_sha256_dict),
  };
  return cmocka_run_group_tests_name("files", tests, NULL, NULL);
}
