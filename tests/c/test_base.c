/* core/base: the message, counted and failing allocation, parallel loops, random numbers, text. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "rng.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

/* An allocation that is too large shall fail under AddressSanitizer too, not end the test. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }

static wtl_ctx *ctx;

static int set_up(void **state) {
  (void)state;
  return wtl_ctx_create(2, &ctx);
}

static int tear_down(void **state) {
  wtl_memory m;
  (void)state;
  wtl_memory_stats(ctx, &m);
  if (m.live || m.live_bytes) print_error("%llu blocks are left\n", (unsigned long long)m.live);
  wtl_ctx_destroy(ctx);
  return m.live || m.live_bytes;
}

/* ---- context ------------------------------------------------------------------------ */

static void test_status_names(void **state) {
  (void)state;
  assert_string_equal(wtl_status_name(WTL_OK), "ok");
  assert_string_equal(wtl_status_name(WTL_ERR_INTERRUPTED), "interrupted");
  assert_string_equal(wtl_status_name((wtl_status)99), "unknown");
  assert_string_equal(wtl_status_name((wtl_status)-1), "unknown");
}

static void test_message(void **state) {
  char longer[3000];
  (void)state;
  assert_string_equal(wtl_message(ctx), "");
  assert_int_equal(wtl_fail(ctx, WTL_ERR_SHAPE, "matmul: a is %s", "[2,3]"), WTL_ERR_SHAPE);
  assert_string_equal(wtl_message(ctx), "matmul: a is [2,3]");
  assert_int_equal(wtl_prefix(ctx, WTL_ERR_SHAPE, "layer%d.%s", 1, "fc"), WTL_ERR_SHAPE);
  assert_string_equal(wtl_message(ctx), "layer1.fc: matmul: a is [2,3]");
  wtl_fail(ctx, WTL_ERR_ARG, "again: %s", wtl_message(ctx)); /* from itself */
  assert_string_equal(wtl_message(ctx), "again: layer1.fc: matmul: a is [2,3]");
  memset(longer, 'x', sizeof longer - 1);
  longer[sizeof longer - 1] = '\0';
  wtl_fail(ctx, WTL_ERR_ARG, "%s", longer);
  size_t n = strlen(wtl_message(ctx));
  assert_in_range(n, 500, sizeof longer - 2);
  wtl_prefix(ctx, WTL_ERR_ARG, "file");
  assert_int_equal(strlen(wtl_message(ctx)), n);
  assert_int_equal(strncmp(wtl_message(ctx), "file: xxx", 9), 0);
}

static void test_message_without_memory(void **state) {
  (void)state;
  wtl_memory_fail_at(ctx, 1);
  assert_null(wtl_alloc(ctx, 12345));
  assert_non_null(strstr(wtl_message(ctx), "12345"));
  assert_int_equal(wtl_prefix(ctx, WTL_ERR_MEMORY, "plan"), WTL_ERR_MEMORY);
  assert_string_equal(wtl_message(ctx), "plan: out of memory: 12345 bytes more were asked for");
  wtl_memory_fail_at(ctx, 0);
}

static void test_threads_and_interrupt(void **state) {
  wtl_ctx *other = NULL;
  (void)state;
  assert_int_equal(wtl_threads(ctx), 2);
  assert_int_equal(wtl_set_threads(ctx, 0), WTL_ERR_ARG);
  assert_int_equal(wtl_set_threads(ctx, 1025), WTL_ERR_ARG);
  assert_non_null(strstr(wtl_message(ctx), "1025"));
  assert_int_equal(wtl_threads(ctx), 2);
  assert_int_equal(wtl_set_threads(ctx, 5), WTL_OK);
  assert_int_equal(wtl_threads(ctx), 5);
  assert_int_equal(wtl_ctx_create(-1, &other), WTL_ERR_ARG);
  assert_null(other);
  assert_int_equal(wtl_ctx_create(0, &other), WTL_OK);
  assert_true(wtl_threads(other) >= 1);
  wtl_ctx_destroy(other);
  wtl_ctx_destroy(NULL);
  assert_false(wtl_interrupted(ctx));
  wtl_interrupt(ctx, 2);
  assert_true(wtl_interrupted(ctx));
  wtl_interrupt(ctx, 0);
  assert_false(wtl_interrupted(ctx));
}

static void test_build_info(void **state) {
  static const char *const keys[] = { "version: " WTL_VERSION "\n", "git: ", "compiler: ", "flags: ", "cpu: ",
                                      "instruction_sets: ", "processors: ", "providers: ", "threading: " };
  (void)state;
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) assert_non_null(strstr(wtl_build_info(), keys[i]));
  assert_ptr_equal(wtl_build_info(), wtl_build_info());
}

static void test_clock(void **state) {
  (void)state;
  int64_t wall = wtl_now_us(), cpu = wtl_process_cpu_us();
  usleep(20000);
  int64_t passed = wtl_now_us() - wall;
  assert_true(passed >= 20000);
  assert_true(wtl_process_cpu_us() >= cpu);
}

/* ---- memory ------------------------------------------------------------------------- */

static void test_alloc_zeroed_aligned_counted(void **state) {
  static const size_t sizes[] = { 0, 1, 63, 64, 65, 4096, 1 << 20 };
  enum { N = sizeof sizes / sizeof *sizes };
  unsigned char *block[N];
  wtl_memory m;
  uint64_t sum = 0;
  (void)state;
  for (int round = 0; round < 3; round++) { /* later rounds get used memory */
    for (int i = 0; i < N; i++) {
      assert_non_null(block[i] = wtl_alloc(ctx, sizes[i]));
      assert_int_equal((uintptr_t)block[i] % 64, 0);
      for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(block[i][k], 0);
      memset(block[i], 0xAB, sizes[i]);
      sum += round == 0 ? sizes[i] : 0;
    }
    wtl_memory_stats(ctx, &m);
    assert_int_equal(m.live, N);
    assert_int_equal(m.live_bytes, sum);
    assert_int_equal(m.peak_bytes, sum);
    assert_int_equal(m.allocations, N * (round + 1));
    for (int i = 0; i < N; i++) wtl_free(ctx, block[i]);
  }
  wtl_free(ctx, NULL);
  wtl_memory_stats(ctx, &m);
  assert_int_equal(m.live, 0);
  assert_int_equal(m.live_bytes, 0);
  assert_int_equal(m.peak_bytes, sum);
}

static void test_alloc_too_large(void **state) {
  size_t product;
  (void)state;
  assert_null(wtl_alloc(ctx, SIZE_MAX));
  assert_null(wtl_alloc(ctx, PTRDIFF_MAX));
  assert_null(wtl_calloc(ctx, SIZE_MAX / 2, 3));
  assert_non_null(strstr(wtl_message(ctx), "out of memory"));
  assert_true(wtl_mul_size(6, 7, &product));
  assert_int_equal(product, 42);
  assert_true(wtl_mul_size(0, SIZE_MAX, &product));
  assert_false(wtl_mul_size(SIZE_MAX / 2 + 1, 2, &product));
}

static void test_realloc_strdup(void **state) {
  (void)state;
  char *p = wtl_strdup(ctx, "wattle");
  assert_string_equal(p, "wattle");
  p = wtl_realloc(ctx, p, 7, 300);
  assert_string_equal(p, "wattle");
  for (int i = 7; i < 300; i++) assert_int_equal(p[i], 0);
  wtl_memory_fail_at(ctx, 1);
  assert_null(wtl_realloc(ctx, p, 300, 400));
  assert_null(wtl_strdup(ctx, "x"));
  wtl_memory_fail_at(ctx, 0);
  assert_string_equal(p, "wattle"); /* the old block still stands */
  p = wtl_realloc(ctx, p, 300, 3);
  assert_memory_equal(p, "wat", 3);
  wtl_free(ctx, p);
  int *q = wtl_realloc(ctx, NULL, 0, sizeof *q);
  assert_int_equal(*q, 0);
  wtl_free(ctx, q);
}

static void test_failure_injection(void **state) {
  void *p;
  (void)state;
  wtl_memory_fail_at(ctx, 3);
  for (int i = 1; i <= 6; i++) {
    p = wtl_alloc(ctx, 8);
    assert_true((p != NULL) == (i < 3)); /* the third and all after it */
    wtl_free(ctx, p);
  }
  wtl_memory_fail_at(ctx, 0);
  assert_non_null(p = wtl_alloc(ctx, 8));
  wtl_free(ctx, p);
  wtl_memory_fail_at(ctx, UINT64_MAX);
  assert_non_null(p = wtl_alloc(ctx, 8));
  wtl_free(ctx, p);
  wtl_memory_fail_at(ctx, 0);
}

enum { MANY = 20000 };

static void *allocate_many(void *arg) {
  void *p[16] = { NULL };
  for (int i = 0; i < MANY; i++) {
    wtl_free(ctx, p[i % 16]);
    p[i % 16] = wtl_alloc(ctx, (size_t)(i % 100));
    if (i % 1000 == 0) wtl_fail(ctx, WTL_ERR_ARG, "thread %d", *(int *)arg);
  }
  for (int i = 0; i < 16; i++) wtl_free(ctx, p[i]);
  return NULL;
}

static void test_alloc_from_threads(void **state) {
  pthread_t thread[4];
  int id[4] = { 0, 1, 2, 3 };
  wtl_memory m;
  (void)state;
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, allocate_many, &id[i]), 0);
  for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
  wtl_memory_stats(ctx, &m);
  assert_int_equal(m.allocations, 4 * MANY);
  assert_int_equal(m.live, 0);
  assert_int_equal(m.live_bytes, 0);
  assert_int_equal(strncmp(wtl_message(ctx), "thread ", 7), 0);
}

/* ---- parallel ----------------------------------------------------------------------- */

typedef struct visit {
  int64_t n, grain;
  int threads;
  unsigned char *count;
  atomic_int wrong;
  atomic_uint seen; /* bit t % 32: thread t took part */
} visit;

static void visit_chunk(void *arg, int64_t begin, int64_t end, int thread) {
  visit *v = arg;
  bool right = begin >= 0 && end > begin && end <= v->n && begin % v->grain == 0 &&
               (end == v->n || end - begin == v->grain) && thread >= 0 && thread < v->threads;
  if (!right) atomic_fetch_add(&v->wrong, 1);
  atomic_fetch_or(&v->seen, 1u << thread % 32);
  for (int64_t i = begin; i < end; i++) v->count[i]++;
}

static void test_parallel_covers(void **state) {
  static const int64_t sizes[] = { 0, 1, 7, 100000 }, grains[] = { 1, 3, 64, 16384, INT64_MAX };
  static const int threads[] = { 1, 2, 3, 8 };
  unsigned char *count = malloc(100000);
  wtl_memory before, after;
  (void)state;
  for (int t = 0; t < 4; t++) {
    assert_int_equal(wtl_set_threads(ctx, threads[t]), WTL_OK);
    wtl_memory_stats(ctx, &before);
    for (int s = 0; s < 4; s++) {
      for (int g = 0; g < 5; g++) {
        visit v = { .n = sizes[s], .grain = grains[g], .threads = threads[t], .count = count };
        memset(count, 0, 100000);
        wtl_parallel(ctx, v.n, v.grain, visit_chunk, &v);
        assert_int_equal(v.wrong, 0);
        for (int64_t i = 0; i < v.n; i++)
          if (count[i] != 1) fail_msg("%d threads, n %d, grain %d: %d visits", threads[t], (int)v.n, (int)v.grain, count[i]);
        if (v.n / v.grain >= threads[t]) assert_int_equal(v.seen, (1u << threads[t]) - 1);
      }
    }
    wtl_memory_stats(ctx, &after);
    assert_int_equal(after.allocations, before.allocations);
  }
  visit v = { .n = -5, .grain = 1, .threads = 8, .count = count };
  wtl_parallel(ctx, v.n, v.grain, visit_chunk, &v);
  assert_int_equal(v.seen, 0);
  free(count);
}

typedef struct nest { atomic_int wrong, visits; int outer; } nest;
typedef struct nest_inner { nest *n; int thread; pthread_t self; } nest_inner;

static void inner_chunk(void *arg, int64_t begin, int64_t end, int thread) {
  nest_inner *i = arg;
  if (thread != i->thread || !pthread_equal(pthread_self(), i->self)) atomic_fetch_add(&i->n->wrong, 1);
  atomic_fetch_add(&i->n->visits, (int)(end - begin));
}

static void outer_chunk(void *arg, int64_t begin, int64_t end, int thread) {
  nest_inner i = { arg, thread, pthread_self() };
  (void)begin, (void)end;
  wtl_parallel(ctx, 100, 7, inner_chunk, &i);
  wtl_parallel(ctx, 5, 7, inner_chunk, &i);
}

static void test_parallel_nests(void **state) {
  nest n = { 0 };
  (void)state;
  assert_int_equal(wtl_set_threads(ctx, 4), WTL_OK);
  for (int k = 0; k < 50; k++) wtl_parallel(ctx, 40, 1, outer_chunk, &n);
  assert_int_equal(n.wrong, 0); /* in the calling thread, with its number */
  assert_int_equal(n.visits, 50 * 40 * 105);
}

enum { SUMS = 100000, GRAIN = 1000 };
static double partial[SUMS / GRAIN];

static void sum_chunk(void *arg, int64_t begin, int64_t end, int thread) {
  double sum = 0;
  (void)thread;
  for (int64_t i = begin; i < end; i++) sum += wtl_rng_normal(arg, (uint64_t)i);
  partial[begin / GRAIN] = sum;
}

static void test_parallel_same_bits(void **state) {
  wtl_rng r = wtl_rng_make(1, "test", "sum", 0);
  double first = 0;
  (void)state;
  for (int threads = 1; threads <= 5; threads++) {
    double sum = 0;
    assert_int_equal(wtl_set_threads(ctx, threads), WTL_OK);
    wtl_parallel(ctx, SUMS, GRAIN, sum_chunk, &r);
    for (int i = 0; i < SUMS / GRAIN; i++) sum += partial[i];
    if (threads == 1) first = sum;
    assert_memory_equal(&sum, &first, sizeof sum);
  }
}

static rlim_t address_space(void) {
  long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f || fscanf(f, "%ld", &pages) != 1) pages = 0;
  if (f) fclose(f);
  return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* In a child whose address space has no room for the stacks of 1000 threads. */
static int run_with_few_threads(void) {
  rlim_t room = address_space() + (400u << 20);
  struct rlimit limit = { room, room };
  unsigned char count[1000] = { 0 };
  visit v = { .n = 1000, .grain = 1, .threads = 1000, .count = count };
  wtl_ctx *small = NULL;
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 2;
  if (wtl_ctx_create(1000, &small) != WTL_OK) return 3;
  wtl_parallel(small, v.n, v.grain, visit_chunk, &v);
  for (int i = 0; i < 1000; i++)
    if (count[i] != 1) return 4;
  wtl_ctx_destroy(small);
  return 0;
}

/* Runs first: a forked child has none of its parent's threads. */
static void test_parallel_without_threads(void **state) {
  int status = 0;
  (void)state;
#ifdef SANITIZED
  print_message("skipped: a sanitizer needs more address space than this test leaves\n");
  skip();
#endif
  if (getenv("WATTLE_EMULATOR") && *getenv("WATTLE_EMULATOR")) {
    print_message("skipped: the emulator itself gives up without room for threads\n");
    skip();
  }
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    alarm(60);
    _exit(run_with_few_threads());
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- random numbers ----------------------------------------------------------------- */

/* kat_vectors of Random123 (Salmon et al.), philox4x32 with 10 rounds. */
static void test_philox_known_answers(void **state) {
  static const uint32_t kat[3][10] = {
    { 0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
    { ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd },
    { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09, 0x94fdcceb, 0x5001e420,
      0x24126ea1 },
  };
  uint32_t out[4];
  (void)state;
  for (int i = 0; i < 3; i++) {
    wtl_philox(kat[i], kat[i] + 4, out);
    assert_memory_equal(out, kat[i] + 6, sizeof out);
  }
}

/* From an independent implementation in Python: these numbers may never change. */
static void test_rng_known_answers(void **state) {
  static const uint64_t index[] = { 0, 1, 2, 3, 4, 5, (4ull << 32) + 1 };
  static const uint32_t bits[] = { 0x6c653b14, 0x032559c1, 0x6cf8e7b4, 0xcf2cd2fe, 0xcf666529, 0x61328b59, 0x31985df5 };
  static const double normal[] = { 1.3071176165552345, 0.10112623520014155, 0.47560755833793616, -1.217359914440741 };
  static const int64_t order[] = { 3, 6, 8, 9, 2, 5, 7, 4, 1, 0 };
  int64_t p[10];
  wtl_rng r = wtl_rng_make(42, "init", "conv1.weight", 0);
  (void)state;
  for (int i = 0; i < 7; i++) assert_int_equal(wtl_rng_u32(&r, index[i]), bits[i]);
  for (int i = 0; i < 4; i++) assert_true(fabs(wtl_rng_normal(&r, (uint64_t)i) - normal[i]) < 1e-15);
  assert_true(wtl_rng_uniform(&r, 0) == 0x6c653b14 * 0x1p-32);
  r = wtl_rng_make(0xFFFFFFFF00000001, "", "", UINT64_MAX);
  assert_int_equal(wtl_rng_u32(&r, 0), 0x9ea7def7);
  r = wtl_rng_make(7, "shuffle", "train", 3);
  wtl_rng_permutation(&r, 10, p);
  assert_memory_equal(p, order, sizeof p);
}

/* Every bit of 10000 normal numbers, whatever the compiler and its options. */
static void test_normal_bits(void **state) {
  uint64_t hash = 0;
  wtl_rng r = wtl_rng_make(42, "init", "conv1.weight", 0);
  (void)state;
  for (uint64_t i = 0; i < 10000; i++) {
    double z = wtl_rng_normal(&r, i);
    uint64_t bits;
    memcpy(&bits, &z, sizeof bits);
    hash = (hash ^ bits) * 0x9E3779B97F4A7C15u;
  }
  if (hash != 0xFD50B83EB1EF3DE3u) fail_msg("the hash is %016llx", (unsigned long long)hash);
}

static void test_rng_streams_differ(void **state) {
  static const struct { uint64_t seed; const char *purpose, *name; uint64_t step; } of[] = {
    { 0, "ab", "c", 0 }, { 0, "a", "bc", 0 }, { 0, "ab", "c", 1 }, { 0, "ab", "c", 1ull << 40 }, { 1, "ab", "c", 0 },
    { 1ull << 32, "ab", "c", 0 }, { 0, "c", "ab", 0 }, { 0, "", "", 0 },
  };
  enum { N = sizeof of / sizeof *of };
  wtl_rng r[N];
  (void)state;
  for (int i = 0; i < N; i++) r[i] = wtl_rng_make(of[i].seed, of[i].purpose, of[i].name, of[i].step);
  for (int i = 0; i < N; i++)
    for (int k = 0; k < i; k++) {
      int equal = 0;
      for (uint64_t n = 0; n < 64; n++) equal += wtl_rng_u32(&r[i], n) == wtl_rng_u32(&r[k], n);
      assert_true(equal <= 1);
    }
}

static void test_rng_blocks(void **state) {
  wtl_rng r = wtl_rng_make(3, "test", "block", 0);
  uint32_t bits[4];
  double normal[4];
  (void)state;
  for (uint64_t b = 0; b < 100; b++) {
    wtl_rng_block(&r, b, bits);
    wtl_rng_normal_block(&r, b, normal);
    for (uint64_t k = 0; k < 4; k++) {
      double one = wtl_rng_normal(&r, 4 * b + k);
      assert_int_equal(bits[k], wtl_rng_u32(&r, 4 * b + k));
      assert_memory_equal(&one, &normal[k], sizeof one);
    }
  }
}

static void test_own_functions(void **state) {
  (void)state;
  for (uint32_t i = 0; i < 1000000; i++) {
    uint32_t x = i * 2654435761u;
    double s, c, u = ((double)x + 1) * 0x1p-32;
    long double a = x * (2 * 3.14159265358979323846264338327950288L * 0x1p-32L);
    wtl_sincos_turn(x, &s, &c);
    if (fabs(wtl_log(u) - log(u)) > 5e-16 * fabs(log(u))) fail_msg("log(%.17g)", u);
    if (fabsl(s - sinl(a)) > 2.5e-16L || fabsl(c - cosl(a)) > 2.5e-16L) fail_msg("sincos(%u)", x);
  }
  double s, c;
  wtl_sincos_turn(0x40000000u, &s, &c);
  assert_true(s == 1 && c == 0);
  wtl_sincos_turn(0, &s, &c);
  assert_true(s == 0 && c == 1);
  assert_true(wtl_log(1) == 0);
}

static void test_rng_distribution(void **state) {
  enum { N = 1000000 };
  wtl_rng r = wtl_rng_make(5, "test", "moments", 0);
  double m[5] = { 0 }, mean = 0, lag = 0, before = 0;
  int bin[64] = { 0 };
  (void)state;
  for (uint64_t i = 0; i < N; i++) {
    double u = wtl_rng_uniform(&r, i), z = wtl_rng_normal(&r, i);
    assert_true(u >= 0 && u < 1);
    assert_true(fabs(z) < 6.7);
    bin[(int)(u * 64)]++;
    mean += u;
    lag += z * before;
    before = z;
    for (int k = 1; k <= 4; k++) m[k] += pow(z, k);
  }
  double chi2 = 0;
  for (int k = 0; k < 64; k++) chi2 += pow(bin[k] - N / 64., 2) / (N / 64.);
  assert_true(chi2 < 120); /* 63 degrees of freedom: p < 1e-5 */
  assert_true(fabs(mean / N - 0.5) < 0.0015);
  assert_true(fabs(m[1] / N) < 0.005);
  assert_true(fabs(m[2] / N - 1) < 0.007);
  assert_true(fabs(m[3] / N) < 0.02);
  assert_true(fabs(m[4] / N - 3) < 0.05);
  assert_true(fabs(lag / N) < 0.005);
}

static void test_permutation(void **state) {
  enum { N = 1000 };
  int64_t p[N];
  bool seen[N] = { false };
  wtl_rng r = wtl_rng_make(9, "shuffle", "x", 0);
  (void)state;
  wtl_rng_permutation(&r, N, p);
  int fixed = 0;
  for (int i = 0; i < N; i++) {
    assert_in_range(p[i], 0, N - 1);
    assert_false(seen[p[i]]);
    seen[p[i]] = true;
    fixed += p[i] == i;
  }
  assert_true(fixed < 10);
  p[0] = 77;
  wtl_rng_permutation(&r, 0, p);
  assert_int_equal(p[0], 77);
  wtl_rng_permutation(&r, 1, p);
  assert_int_equal(p[0], 0);
  /* All orders of three come about equally often. */
  int count[27] = { 0 };
  for (uint64_t step = 0; step < 60000; step++) {
    r = wtl_rng_make(9, "shuffle", "three", step);
    wtl_rng_permutation(&r, 3, p);
    count[p[0] * 9 + p[1] * 3 + p[2]]++;
  }
  static const int order[] = { 5, 7, 11, 15, 19, 21 };
  double chi2 = 0;
  for (int i = 0; i < 6; i++) chi2 += pow(count[order[i]] - 10000, 2) / 10000;
  assert_true(chi2 < 31); /* 5 degrees of freedom: p < 1e-5 */
}

/* ---- text --------------------------------------------------------------------------- */

static void test_text(void **state) {
  wtl_text t;
  (void)state;
  wtl_text_init(&t, ctx);
  for (int i = 0; i < 1000; i++) assert_int_equal(wtl_text_add(&t, "%d,", i), WTL_OK);
  assert_int_equal(t.n, 10 * 2 + 90 * 3 + 900 * 4);
  assert_int_equal(strlen(t.s), t.n);
  assert_int_equal(strncmp(t.s, "0,1,2,", 6), 0);
  assert_string_equal(t.s + t.n - 8, "998,999,");
  size_t n = t.n;
  wtl_memory_fail_at(ctx, 1);
  wtl_status s = wtl_text_add(&t, "%*s", 100000, "");
  wtl_memory_fail_at(ctx, 0);
  assert_int_equal(s, WTL_ERR_MEMORY);
  assert_int_equal(t.n, n);
  assert_int_equal(strlen(t.s), n);
  wtl_text_free(&t);
  assert_null(t.s);
  wtl_text_free(&t);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(test_parallel_without_threads),
    CASE(test_status_names), CASE(test_message), CASE(test_message_without_memory), CASE(test_threads_and_interrupt),
    CASE(test_build_info), CASE(test_clock), CASE(test_alloc_zeroed_aligned_counted), CASE(test_alloc_too_large),
    CASE(test_realloc_strdup), CASE(test_failure_injection), CASE(test_alloc_from_threads), CASE(test_parallel_covers),
    CASE(test_parallel_nests), CASE(test_parallel_same_bits), CASE(test_philox_known_answers),
    CASE(test_rng_known_answers), CASE(test_normal_bits), CASE(test_rng_streams_differ), CASE(test_rng_blocks), CASE(test_own_functions),
    CASE(test_rng_distribution), CASE(test_permutation), CASE(test_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
