/* core/energy: regions over a source whose counter the test turns by hand, the estimate, and the readers of /proc. */
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "source.h"
#include "system.h"

/* ---- a source turned by hand ---- */

static _Atomic int64_t counter_uj; /* of domain "package"; "core" inside it has half */
static atomic_bool readable;
static atomic_int reads, closed;
static atomic_int sampler_listens; /* to SIGINT, in a thread that is not the program's first */

static void fake_close(wtl_source *s) {
  atomic_fetch_add(&closed, 1);
  wtl_free(s->ctx, s);
}
static wtl_status fake_describe(const wtl_source *s, wtl_text *out) {
  return wtl_text_add(out, "turned_by: hand (%d)\n", s->n_domains);
}
static void fake_read(wtl_source *s, int64_t now_us, wtl_reading *r) {
  (void)s, (void)now_us;
  atomic_fetch_add(&reads, 1);
  if (getpid() != gettid()) {
    sigset_t blocked;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    atomic_store(&sampler_listens, !sigismember(&blocked, SIGINT));
  }
  int64_t uj = atomic_load(&counter_uj);
  r[0] = (wtl_reading){ .ok = atomic_load(&readable), .energy_uj = uj };
  if (!r[0].ok) snprintf(r[0].reason, sizeof r[0].reason, "the counter is hidden");
  r[1] = (wtl_reading){ .ok = true, .energy_uj = uj / 2 };
}
static const wtl_source_kind fake = { "fake", WTL_MEASURED, NULL, fake_close, fake_describe, fake_read };

static wtl_meter *fake_meter(double period_s) {
  wtl_source *s = wtl_alloc(ctx, sizeof *s);
  wtl_meter *m = NULL;
  assert_non_null(s);
  *s = (wtl_source){ &fake, ctx, 2, { { "package", true }, { "core", false } }, 1000 };
  atomic_store(&counter_uj, 1000000);
  atomic_store(&readable, true);
  atomic_store(&reads, 0);
  OK(wtl_meter_create_on(ctx, s, period_s, &m));
  return m;
}

/* Never samples of its own accord within a test. */
#define BY_HAND 3600.0

static wtl_region *begin(wtl_meter *m, const char *name) {
  wtl_region *r = NULL;
  OK(wtl_region_begin(m, name, &r));
  return r;
}

static wtl_region_result end(wtl_region *r) {
  wtl_region_result x;
  OK(wtl_region_end(r, &x));
  return x;
}

static void turn(int64_t uj) { atomic_fetch_add(&counter_uj, uj); }

/* ---- regions ---- */

static void test_nested(void **state) {
  wtl_meter *m = fake_meter(BY_HAND);
  (void)state;
  wtl_region *a = begin(m, "a");
  turn(100);
  wtl_region *b = begin(m, "b");
  turn(30);
  wtl_region *c = begin(m, "c");
  turn(7);
  usleep(2000);
  wtl_region_result z = end(c);
  turn(1);
  wtl_region_result y = end(b);
  wtl_region *d = begin(m, "b"); /* the same name again */
  turn(10);
  wtl_region_result w = end(d);
  turn(60);
  wtl_region_result x = end(a);
  assert_int_equal(z.energy_uj, 7);
  assert_int_equal(z.exclusive_uj, 7);
  assert_int_equal(y.energy_uj, 38);
  assert_int_equal(y.exclusive_uj, 31);
  assert_int_equal(w.energy_uj, 10);
  assert_int_equal(x.energy_uj, 208);
  assert_int_equal(x.exclusive_uj, 160);
  assert_int_equal(x.exclusive_us, x.duration_us - y.duration_us - w.duration_us);
  assert_int_equal(y.exclusive_us, y.duration_us - z.duration_us);
  assert_true(z.duration_us >= 2000 && x.duration_us >= y.duration_us);
  assert_int_equal(x.method, WTL_MEASURED);
  assert_true(x.missing_s == 0 && !x.reason[0]);
  assert_false(z.below_resolution);
  turn(5);
  wtl_region_result again = end(a); /* idempotent */
  assert_memory_equal(&again, &x, sizeof x);
  OK(wtl_region_end(a, NULL));
  wtl_region_release(a);
  wtl_region_release(b);
  wtl_region_release(c);
  wtl_region_release(d);
  wtl_meter_destroy(m);
}

static void test_any_order(void **state) {
  wtl_meter *m = fake_meter(BY_HAND);
  (void)state;
  wtl_region *a = begin(m, "a"), *b = begin(m, "b"), *c = begin(m, "c");
  turn(5);
  wtl_region_result x = end(a); /* ends b and c too, at the same moment */
  turn(100);
  wtl_region_result y = end(b), z = end(c);
  assert_int_equal(x.energy_uj, 5);
  assert_int_equal(y.energy_uj, 5);
  assert_int_equal(z.energy_uj, 5);
  assert_int_equal(x.exclusive_uj, 0);
  assert_int_equal(z.exclusive_uj, 5);
  wtl_region_release(a);
  wtl_region *d = begin(m, "d");
  wtl_region *e = begin(m, "e");
  turn(3);
  wtl_region_release(d); /* an open one, with one open inside */
  turn(4);
  assert_int_equal(end(e).energy_uj, 3);
  wtl_region_release(c);
  wtl_region_release(b);
  wtl_region_release(e);
  wtl_region_release(NULL);
  wtl_region *f = begin(m, "f"); /* nothing is left open */
  turn(2);
  assert_int_equal(end(f).energy_uj, 2);
  wtl_region_release(f);
  wtl_meter_destroy(m);
}

static void test_missing(void **state) {
  wtl_meter *m = fake_meter(BY_HAND);
  (void)state;
  wtl_region *a = begin(m, "a"), *b = begin(m, "b");
  turn(10);
  usleep(1000);
  wtl_region_result y = end(b);
  atomic_store(&readable, false);
  turn(1000);
  usleep(1000);
  wtl_region *c = begin(m, "c");
  usleep(1000);
  wtl_region_result z = end(c);
  atomic_store(&readable, true);
  usleep(1000);
  wtl_region *d = begin(m, "d"); /* the first good reading again */
  turn(20);
  usleep(1000);
  end(d);
  wtl_region_result x = end(a);
  assert_int_equal(y.energy_uj, 10);
  assert_true(y.missing_s == 0);
  assert_int_equal(z.method, WTL_MISSING);
  assert_string_equal(z.reason, "the counter is hidden");
  assert_int_equal(llround(z.missing_s * 1e6), z.duration_us);
  assert_int_equal(x.method, WTL_MEASURED); /* of the part that was read; the rest is not guessed */
  assert_int_equal(x.energy_uj, 30);
  assert_true(x.missing_s >= 0.003 && x.missing_s * 1e6 < (double)x.duration_us - 2000 + 1);
  assert_string_equal(x.reason, "the counter is hidden");
  wtl_region *all[] = { a, b, c, d };
  for (int i = 0; i < 4; i++) wtl_region_release(all[i]);
  wtl_meter_destroy(m);
}

static void test_closed_inside(void **state) {
  wtl_meter *m = fake_meter(BY_HAND);
  (void)state;
  wtl_region *a = begin(m, "outer"), *b = begin(m, "inner");
  int before = atomic_load(&closed);
  wtl_meter_destroy(m);
  assert_int_equal(atomic_load(&closed), before + 1);
  wtl_region_result x = end(a);
  assert_int_equal(x.method, WTL_MISSING);
  assert_string_equal(x.reason, "interrupted: the meter was closed inside \"outer\"");
  assert_int_equal(end(b).method, WTL_MISSING);
  wtl_region_release(a);
  wtl_region_release(b);
  wtl_meter_destroy(NULL);
}

static void test_off(void **state) {
  wtl_meter *m = NULL;
  (void)state;
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "off" }, &m));
  wtl_region *r = begin(m, "r");
  usleep(2000);
  wtl_region_result x = end(r);
  assert_int_equal(x.method, WTL_MISSING);
  assert_string_equal(x.reason, "source off");
  assert_int_equal(llround(x.missing_s * 1e6), x.duration_us);
  assert_false(x.below_resolution);
  assert_true(x.duration_us >= 2000 && x.cpu_us >= 0);
  wtl_region_release(r);
  wtl_meter_destroy(m);
}

static void test_misuse(void **state) {
  wtl_meter *m = NULL;
  wtl_region *r = NULL;
  char long_name[WTL_NAME_MAX + 1];
  (void)state;
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "rapl" }, &m), WTL_ERR_ARG,
        "no source \"rapl\"; there are estimate, off");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .period_s = -1 }, &m), WTL_ERR_ARG, "period_s is -1");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .period_s = NAN }, &m), WTL_ERR_ARG, "period_s is nan");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .tdp_w = -5 }, &m), WTL_ERR_ARG, "tdp_w is -5");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .idle_w = INFINITY }, &m), WTL_ERR_ARG, "idle_w inf");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .tdp_w = 10, .idle_w = 11 }, &m), WTL_ERR_ARG,
        "idle_w is 11, more than tdp_w, 10");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .idle_w = 1e6 }, &m), WTL_ERR_ARG, "(assumed)");
  assert_null(m);
  OK(wtl_meter_create(ctx, NULL, &m));
  memset(long_name, 'x', sizeof long_name);
  long_name[WTL_NAME_MAX] = 0;
  FAILS(wtl_region_begin(m, "", &r), WTL_ERR_ARG, "a name of 1 to 127 bytes");
  FAILS(wtl_region_begin(m, long_name, &r), WTL_ERR_ARG, "a name of 1 to 127 bytes");
  assert_null(r);
  wtl_meter_destroy(m);
  assert_string_equal(wtl_method_name(WTL_ESTIMATED), "estimated");
  assert_string_equal(wtl_method_name(WTL_MISSING), "missing");
}

/* ---- the sampler ---- */

static void test_sampler(void **state) {
  wtl_meter *m = fake_meter(0.001);
  (void)state;
  usleep(200000);
  int n = atomic_load(&reads);
  if (n < 20) fail_msg("%d samples in 200 ms", n);
  /* reads that fail between two good ends are noticed by the sampler alone */
  wtl_region *r = begin(m, "r");
  atomic_store(&readable, false);
  usleep(100000);
  atomic_store(&readable, true);
  usleep(100000);
  wtl_region_result x = end(r);
  assert_true(x.missing_s > 0.05 && x.missing_s < (double)x.duration_us / 1e6);
  assert_string_equal(x.reason, "the counter is hidden");
  wtl_region_release(r);
  wtl_meter_destroy(m);
}

static void test_stops_at_once(void **state) {
  (void)state;
  int64_t begun = wtl_now_us();
  for (int i = 0; i < 50; i++) wtl_meter_destroy(fake_meter(BY_HAND));
  assert_true(wtl_now_us() - begun < 2000000);
}

/* Begin and end race with the sampler: for the thread sanitizer, and for sums that must hold. */
static void test_stress(void **state) {
  wtl_meter *m = NULL;
  int64_t inside_us = 0, inside_uj = 0;
  (void)state;
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .period_s = 0.001 }, &m));
  wtl_region *all = begin(m, "all");
  for (int i = 0; i < 2000; i++) {
    wtl_region *a = begin(m, "a"), *b = begin(m, "b");
    wtl_region_result y = i % 3 ? end(b) : (wtl_region_result){ 0 };
    wtl_region_result x = end(a);
    if (i % 3 == 0) y = end(b);
    assert_int_equal(x.exclusive_us, x.duration_us - y.duration_us);
    assert_int_equal(x.exclusive_uj, x.energy_uj - y.energy_uj);
    assert_true(y.energy_uj >= 0 && x.exclusive_uj >= 0);
    assert_true(x.below_resolution || x.duration_us >= 10000);
    inside_us += x.duration_us;
    inside_uj += x.energy_uj;
    wtl_region_release(i % 2 ? a : b);
    wtl_region_release(i % 2 ? b : a);
  }
  wtl_region_result x = end(all);
  assert_int_equal(x.exclusive_us, x.duration_us - inside_us);
  assert_int_equal(x.exclusive_uj, x.energy_uj - inside_uj);
  assert_true(x.exclusive_uj >= 0);
  wtl_region_release(all);
  wtl_meter_destroy(m);
}

/* A signal goes to the program's own threads, never to the sampler's. */
static void test_signals(void **state) {
  (void)state;
  atomic_store(&sampler_listens, -1);
  wtl_meter *m = fake_meter(0.001);
  for (int i = 0; i < 200 && atomic_load(&sampler_listens) < 0; i++) usleep(5000);
  assert_int_equal(atomic_load(&sampler_listens), 0);
  wtl_meter_destroy(m);
}

/* ---- the estimate ---- */

static volatile double sink;
static void burn(int64_t us) {
  for (int64_t until = wtl_process_cpu_us() + us; wtl_process_cpu_us() < until;) {
    for (int i = 0; i < 1000; i++) sink = sink + 1;
  }
}

static void test_estimate(void **state) {
  wtl_meter *m = NULL;
  double processors = (double)sysconf(_SC_NPROCESSORS_ONLN);
  (void)state;
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "estimate", .tdp_w = 100, .idle_w = 20 }, &m));
  for (int busy = 0; busy < 2; busy++) {
    wtl_region *r = begin(m, "r");
    if (busy) burn(60000);
    else usleep(60000);
    wtl_region_result x = end(r);
    double want_uj = 20 * (double)x.duration_us + 80 * (double)x.cpu_us / processors;
    assert_int_equal(x.method, WTL_ESTIMATED);
    assert_true(fabs((double)x.energy_uj - want_uj) < 0.02 * want_uj);
    assert_true(busy ? x.cpu_us >= 60000 : x.cpu_us < 30000);
    assert_int_equal(x.exclusive_uj, x.energy_uj);
    assert_false(x.below_resolution);
    wtl_region_release(r);
  }
  wtl_region *r = begin(m, "short");
  assert_true(end(r).below_resolution);
  wtl_region_release(r);
  wtl_meter_destroy(m);
}

static void test_describe(void **state) {
  wtl_meter *m = NULL;
  wtl_text t;
  char want[200];
  (void)state;
  wtl_text_init(&t, ctx);
  OK(wtl_meter_create(ctx, NULL, &m));
  OK(wtl_meter_describe(m, &t));
  const char *lines[] = { "source: estimate\nmethod: estimated\ndomains: processor\nperiod_s: 0.1\n",
                          "model: power = idle_w", "(assumed: 3.5 W a logical", "(assumed: 0.74/3.5 of tdp_w" };
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) assert_non_null(strstr(t.s, lines[i]));
  snprintf(want, sizeof want, "\ntdp_w: %g ", 3.5 * (double)sysconf(_SC_NPROCESSORS_ONLN));
  assert_non_null(strstr(t.s, want));
  wtl_meter_destroy(m);
  wtl_text_free(&t);
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .tdp_w = 35, .period_s = 0.5 }, &m));
  OK(wtl_meter_describe(m, &t));
  assert_non_null(strstr(t.s, "period_s: 0.5\n"));
  assert_non_null(strstr(t.s, "tdp_w: 35 (given)\nidle_w: 7.4 (assumed"));
  wtl_meter_destroy(m);
  wtl_text_free(&t);
  m = fake_meter(BY_HAND);
  OK(wtl_meter_describe(m, &t));
  assert_string_equal(
      t.s,
      "source: fake\nmethod: measured\ndomains: package core\nperiod_s: 3600\nresolution_s: 0.001\nturned_by: hand (2)\n");
  wtl_meter_destroy(m);
  wtl_text_free(&t);
}

/* ---- the machine ---- */

static void test_proc_stat(void **state) {
  (void)state;
  int64_t tick = 1000000 / sysconf(_SC_CLK_TCK);
  wtl_machine_cpu c = wtl_machine_cpu_read(put_text("stat", "cpu  100 20 3 9999 888 7 60 5 44 4\ncpu0 1 2 3\n"));
  assert_true(c.ok);
  assert_int_equal(c.busy_us, 190 * tick); /* user nice system irq softirq */
  assert_int_equal(c.steal_us, 5 * tick);
  const char *bad[] = {
    "", "cpu", "cpu  1 2 3 4 5 6 7\n", "cpu0 1 2 3 4 5 6 7 8\n", "cpu  1 2 3 x 5 6 7 8\n", "cpu  1 2 3 -4 5 6 7 8\n"
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(wtl_machine_cpu_read(put_text("stat", bad[i])).ok);
  assert_false(wtl_machine_cpu_read(path_of("absent")).ok);
  assert_int_equal(wtl_peak_rss_read(put_text("status", "Name:\tx\nVmPeak:\t  200 kB\nVmHWM:\t   1234 kB\n")),
                   1234 * 1024);
  assert_int_equal(wtl_peak_rss_read(put_text("status", "Name:\tx\nVmPeak:\t  200 kB\n")), -1);
  assert_int_equal(wtl_peak_rss_read(path_of("absent")), -1);
}

static void test_other_cpu(void **state) {
  wtl_meter *m = NULL;
  (void)state;
  if (!wtl_machine_cpu_read("/proc/stat").ok) skip();
  OK(wtl_meter_create(ctx, NULL, &m));
  wtl_region *r = begin(m, "r");
  pid_t child = fork();
  if (child == 0) {
    burn(300000);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  wtl_region_result x = end(r);
  if (x.other_cpu_us < 150000) fail_msg("a child ran for 0.3 s, other_cpu_us is %lld", (long long)x.other_cpu_us);
  assert_true(x.cpu_us < 150000); /* and it is not this process's time */
  assert_true(x.steal_us >= 0);
  wtl_region_release(r);
  wtl_meter_destroy(m);
}

static void test_peak_rss(void **state) {
  int64_t before, with, after;
  size_t n = 64 << 20;
  (void)state;
  if (wtl_peak_rss(ctx, &before) == WTL_ERR_UNSUPPORTED) skip();
  if (wtl_peak_rss_reset(ctx) == WTL_ERR_UNSUPPORTED) skip();
  OK(wtl_peak_rss(ctx, &before));
  char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(p != MAP_FAILED);
  for (size_t i = 0; i < n; i += 1024) p[i] = (char)i;
  sink = sink + p[n / 2];
  OK(wtl_peak_rss(ctx, &with));
  assert_true(with - before > (int64_t)n / 2);
  munmap(p, n);
  OK(wtl_peak_rss_reset(ctx));
  OK(wtl_peak_rss(ctx, &after));
  assert_true(after > 0 && after < with - (int64_t)n / 2);
}

/* ---- memory ---- */

static wtl_status meter_life(void *source) {
  wtl_meter *m = NULL;
  wtl_region *a = NULL, *b = NULL;
  wtl_status s = wtl_meter_create(ctx, &(wtl_meter_options){ .source = source }, &m);
  if (s == WTL_OK) s = wtl_region_begin(m, "a", &a);
  if (s == WTL_OK) s = wtl_region_begin(m, "b", &b);
  wtl_region_release(a);
  wtl_region_release(b);
  wtl_meter_destroy(m);
  return s;
}

static wtl_status describe(void *m) {
  wtl_text t;
  wtl_text_init(&t, ctx);
  wtl_status s = wtl_meter_describe(m, &t);
  wtl_text_free(&t);
  return s;
}

static void test_memory(void **state) {
  wtl_meter *m = NULL;
  (void)state;
  assert_int_equal(sweep("estimate", meter_life, "estimate"), 4);
  assert_int_equal(sweep("off", meter_life, "off"), 4);
  OK(wtl_meter_create(ctx, NULL, &m));
  assert_true(sweep("describe", describe, m) >= 1);
  wtl_meter_destroy(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(test_nested),    CASE(test_any_order), CASE(test_missing),  CASE(test_closed_inside),
    CASE(test_off),       CASE(test_misuse),    CASE(test_sampler),  CASE(test_stops_at_once),
    CASE(test_stress),    CASE(test_signals),   CASE(test_estimate), CASE(test_describe),
    CASE(test_proc_stat), CASE(test_other_cpu), CASE(test_peak_rss), CASE(test_memory),
  };
  return cmocka_run_group_tests_name("energy", tests, NULL, NULL);
}
