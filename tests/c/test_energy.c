/* core/energy: regions over a source whose counter the test turns by hand, the estimate, and the readers of /proc. */
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "counter.h"
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
  *s = (wtl_source){ &fake, ctx, 2, { { "package", true }, { "core", false } }, 1000, 0 };
  atomic_store(&counter_uj, 1000000);
  atomic_store(&readable, true);
  atomic_store(&reads, 0);
  OK(wtl_meter_create_on(ctx, &s, 1, period_s, false, "", &m));
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
        "no source \"rapl\"; there are auto, powercap, estimate, replay, off");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .period_s = -1 }, &m), WTL_ERR_ARG, "period_s is -1");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .period_s = NAN }, &m), WTL_ERR_ARG, "period_s is nan");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .tdp_w = -5 }, &m), WTL_ERR_ARG, "tdp_w is -5");
  FAILS(wtl_meter_create(ctx, &(wtl_meter_options){ .tdp_w = 1e300 }, &m), WTL_ERR_ARG, "tdp_w is 1e+300, idle_w 0; both");
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
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "estimate", .period_s = 0.001 }, &m));
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
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "estimate" }, &m));
  OK(wtl_meter_describe(m, &t));
  const char *lines[] = { "source: estimate\nmethod: estimated\ndomains: processor\nsummed: processor\nperiod_s: 0.1\n",
                          "model: power = idle_w", "(assumed: 3.5 W a logical", "(assumed: 0.74/3.5 of tdp_w" };
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) assert_non_null(strstr(t.s, lines[i]));
  snprintf(want, sizeof want, "\ntdp_w: %g ", 3.5 * (double)sysconf(_SC_NPROCESSORS_ONLN));
  assert_non_null(strstr(t.s, want));
  wtl_meter_destroy(m);
  wtl_text_free(&t);
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "estimate", .tdp_w = 35, .period_s = 0.5 }, &m));
  OK(wtl_meter_describe(m, &t));
  assert_non_null(strstr(t.s, "period_s: 0.5\n"));
  assert_non_null(strstr(t.s, "tdp_w: 35 (given)\nidle_w: 7.4 (assumed"));
  wtl_meter_destroy(m);
  wtl_text_free(&t);
  m = fake_meter(BY_HAND);
  OK(wtl_meter_describe(m, &t));
  assert_string_equal(
      t.s,
      "source: fake\nmethod: measured\ndomains: package core\nsummed: package\nperiod_s: 3600\nresolution_s: 0.001\n"
      "turned_by: hand (2)\n");
  wtl_meter_destroy(m);
  wtl_text_free(&t);
}

/* ---- registers that wrap ---- */

static wtl_reading step(wtl_counter *c, double s, uint64_t uj) {
  wtl_reading r;
  wtl_counter_step(c, llround(s * 1e6), uj, &r);
  return r;
}

static void test_counter(void **state) {
  (void)state;
  const uint64_t range = 262143328850; /* a package's, at 61 uJ a step */
  wtl_counter c = { .range_uj = range };
  assert_int_equal(wtl_counter_longest_us(&c), 131071664);
  wtl_reading r = step(&c, 10, range - 500);
  assert_true(r.ok && !r.cut && r.energy_uj == 0);
  assert_int_equal(step(&c, 10.1, range - 500).energy_uj, 0);
  r = step(&c, 10.2, 1500); /* over the end */
  assert_true(r.ok && !r.cut);
  assert_int_equal(r.energy_uj, 2000);
  assert_int_equal(step(&c, 11.2, 100001500).energy_uj, 100002000);
  for (int i = 0; i < 100; i++) { /* 100 times round */
    r = step(&c, 76 + 130 * i, range / 2);
    assert_true(r.ok && !r.cut);
    r = step(&c, 141 + 130 * i, 100001500);
    assert_true(r.ok && !r.cut);
    assert_int_equal(r.energy_uj, 100002000 + (int64_t)range * (i + 1));
  }
  /* too long a gap: what passed is not guessed, and counting goes on from there */
  int64_t before = c.sum_uj;
  r = step(&c, 1e6, 200000000);
  assert_true(r.ok && r.cut);
  assert_int_equal(r.energy_uj, before);
  assert_non_null(strstr(r.reason, "not read for 9.87e+05 s"));
  assert_int_equal(step(&c, 1e6 + 1, 200000007).energy_uj, before + 7);
  /* set back to 0 while half full, as a driver that is loaded again does: no wrap */
  step(&c, 1e6 + 30, 50000000000);
  before = c.sum_uj;
  r = step(&c, 1e6 + 30.1, 10);
  assert_true(r.ok && r.cut && r.energy_uj == before);
  assert_non_null(strstr(r.reason, "was set back"));
  r = step(&c, 1e6 + 30.2, 90000000000);
  assert_true(r.cut && strstr(r.reason, "jumped"));
  /* beyond the range, or unreadable: never a number, and the interval to the next reading is nobody's */
  r = step(&c, 1e6 + 30.3, range + 1);
  assert_false(r.ok);
  assert_non_null(strstr(r.reason, "beyond its range"));
  before = c.sum_uj;
  r = step(&c, 1e6 + 30.4, 90000000900);
  assert_true(r.ok && r.energy_uj == before);
  wtl_counter_lose(&c, &r, "%s", "gone");
  assert_false(r.ok);
  assert_string_equal(r.reason, "gone");
  assert_int_equal(step(&c, 1e6 + 30.6, 90000001000).energy_uj, before);
  assert_int_equal(step(&c, 1e6 + 30.7, 90000001001).energy_uj, before + 1);
  assert_int_equal(step(&c, 1e6 + 30.7, 90000001002).energy_uj, before + 2); /* in no time */
  c = (wtl_counter){ .range_uj = UINT64_MAX };
  assert_int_equal(wtl_counter_longest_us(&c), UINT64_MAX / WTL_COUNTER_MAX_W);
}

static void test_summed(void **state) {
  (void)state;
  const char *yes[] = { "package", "package-0", "package-0-die-1", "dram-3", "dram" };
  const char *no[] = { "psys", "core-0", "uncore-0", "packages", "dramatic-0", "intel-rapl:0:3", "" };
  for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) assert_true(wtl_domain_summed(yes[i]));
  for (size_t i = 0; i < sizeof no / sizeof *no; i++) assert_false(wtl_domain_summed(no[i]));
}

/* ---- traces, and several domains ---- */

static wtl_meter *replay(const wtl_trace_point *trace, int64_t n) {
  wtl_meter *m = NULL;
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "replay", .trace = trace, .n_trace = n, .virtual_clock = true }, &m));
  return m;
}

static const wtl_trace_point trace[] = {
  { 0, "package-0", 1000000 },  { 0, "dram-0", 0 },        { 0, "core-0", 500000 },
  { 10, "package-0", 11000000 }, { 10, "dram-0", 2000000 }, { 10, "core-0", 1500000 },
  { 20, "package-0", 12000000 }, { 20, "dram-0", -1 },      { 30, "package-0", 13000000 },
  { 30, "dram-0", 5000000 },     { 40, "dram-0", 6000000 }, { 40, "package-0", 14000000 },
};
#define N_TRACE ((int64_t)(sizeof trace / sizeof *trace))

static wtl_domain_result domain(const wtl_region *r, const char *name) {
  wtl_domain_result d;
  for (int i = 0; i < wtl_region_domains(r); i++) {
    OK(wtl_region_domain(r, i, &d));
    if (strcmp(d.domain, name) == 0) return d;
  }
  fail_msg("no domain %s", name);
  return d;
}

static void test_replay(void **state) {
  (void)state;
  wtl_domain_result d;
  wtl_meter *m = replay(trace, N_TRACE);
  wtl_region *a = begin(m, "a");
  OK(wtl_meter_advance(m, 5));
  wtl_region *b = begin(m, "b");
  FAILS(wtl_region_domain(b, 0, &d), WTL_ERR_STATE, "\"b\" has not ended");
  assert_int_equal(wtl_region_domains(b), 0);
  OK(wtl_meter_advance(m, 5));
  wtl_region_result y = end(b);
  assert_int_equal(y.method, WTL_REPLAYED);
  assert_int_equal(y.duration_us, 5000000);
  assert_int_equal(y.energy_uj, 5000000 + 1000000); /* package and dram, not core */
  assert_int_equal(wtl_region_domains(b), 3);
  assert_int_equal(domain(b, "core-0").energy_uj, 500000);
  assert_false(domain(b, "core-0").summed);
  assert_true(domain(b, "dram-0").summed);
  assert_string_equal(domain(b, "dram-0").source, "replay");
  FAILS(wtl_region_domain(b, 3, &d), WTL_ERR_ARG, "domain 3 of 3");
  FAILS(wtl_region_domain(b, -1, &d), WTL_ERR_ARG, "domain -1 of 3");
  wtl_region_result x = end(a);
  assert_int_equal(x.energy_uj, 12000000);
  assert_int_equal(x.exclusive_uj, 6000000);
  assert_int_equal(domain(a, "package-0").energy_uj, 10000000);
  assert_int_equal(domain(a, "package-0").exclusive_uj, 5000000);
  wtl_region_release(b);
  b = begin(m, "gap"); /* dram has nothing from 10 to 30 s: then there is no sum, and the package still has its own */
  OK(wtl_meter_advance(m, 15));
  y = end(b);
  assert_int_equal(y.method, WTL_MISSING);
  assert_true(y.missing_s == 15 && !y.has_est);
  assert_string_equal(y.reason, "dram-0: the trace has nothing at 25 s");
  assert_int_equal(domain(b, "dram-0").method, WTL_MISSING);
  assert_int_equal(domain(b, "package-0").energy_uj, 1500000);
  assert_true(domain(b, "package-0").missing_s == 0 && !domain(b, "package-0").reason[0]);
  wtl_region_release(b);
  b = begin(m, "over the end");
  OK(wtl_meter_advance(m, 7));
  OK(wtl_meter_advance(m, 8));
  OK(wtl_meter_advance(m, 5)); /* 45 s */
  y = end(b);
  assert_int_equal(y.energy_uj, 800000 + 800000); /* 32 to 40 s */
  assert_true(y.missing_s == 12);
  assert_string_equal(domain(b, "core-0").reason, "core-0: the trace has nothing at 45 s");
  FAILS(wtl_meter_advance(m, -1), WTL_ERR_ARG, "not -1");
  FAILS(wtl_meter_advance(m, NAN), WTL_ERR_ARG, "not nan");
  wtl_region_release(b);
  wtl_region_release(a);
  wtl_meter_destroy(m);
  m = fake_meter(BY_HAND);
  FAILS(wtl_meter_advance(m, 1), WTL_ERR_STATE, "the real one");
  wtl_meter_destroy(m);
}

static void test_no_sum(void **state) {
  (void)state;
  wtl_meter *m = replay((wtl_trace_point[]){ { 0, "psys", 0 }, { 10, "psys", 70 } }, 2);
  wtl_region *r = begin(m, "r");
  OK(wtl_meter_advance(m, 10));
  wtl_region_result x = end(r);
  assert_int_equal(x.method, WTL_MISSING); /* not 0 */
  assert_string_equal(x.reason, "no domain is summed");
  assert_int_equal(domain(r, "psys").energy_uj, 70);
  wtl_region_release(r);
  wtl_meter_destroy(m);
}

static void test_bad_trace(void **state) {
  (void)state;
  static const struct { wtl_trace_point p[3]; const char *text; } bad[] = {
    { { { 0, "a", 1 }, { 1, "a", 0 }, { 2, "a", 1 } }, "row 2: energy_uj of \"a\" falls" },
    { { { 1, "a", 1 }, { 0, "b", 0 }, { 0.5, "a", 1 } }, "row 3: t_s of \"a\" falls" },
    { { { 0, "a", 5 }, { 1, "a", -1 }, { 2, "a", 4 } }, "row 3: energy_uj of \"a\" falls" },
    { { { -1, "a", 1 }, { 0, "a", 2 }, { 1, "a", 3 } }, "row 1: t_s is -1" },
    { { { 0, "a", 1 }, { NAN, "a", 2 }, { 1, "a", 3 } }, "row 2: t_s is nan" },
    { { { 0, "a", 1 }, { 1, "", 2 }, { 1, "a", 3 } }, "row 2: the domain's name" },
    { { { 0, "a", 1 }, { 1, "a", INT64_MAX }, { 1, "a", 3 } }, "row 2: energy_uj is 9223372036854775807, beyond 10^17" },
  };
  wtl_meter *m = NULL;
  wtl_meter_options o = { .source = "replay" };
  FAILS(wtl_meter_create(ctx, &o, &m), WTL_ERR_ARG, "replay needs a trace");
  o.n_trace = 3;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    o.trace = bad[i].p;
    FAILS(wtl_meter_create(ctx, &o, &m), WTL_ERR_FORMAT, bad[i].text);
  }
  o.source = "estimate";
  FAILS(wtl_meter_create(ctx, &o, &m), WTL_ERR_ARG, "are for source \"replay\", not \"estimate\"");
  assert_null(m);
}

/* Counters and a model side by side: neither's figure goes by the other's name. */
static void test_side_by_side(void **state) {
  (void)state;
  wtl_meter *m = NULL;
  wtl_source *s[2];
  OK(wtl_source_estimate.open(ctx, &(wtl_meter_options){ .tdp_w = 100, .idle_w = 50 }, &s[0]));
  s[1] = wtl_alloc(ctx, sizeof *s[1]);
  assert_non_null(s[1]);
  *s[1] = (wtl_source){ &fake, ctx, 2, { { "package", true }, { "core", false } }, 1000, 0 };
  atomic_store(&counter_uj, 5);
  atomic_store(&readable, true);
  OK(wtl_meter_create_on(ctx, s, 2, BY_HAND, false, "", &m));
  wtl_region *r = begin(m, "r");
  turn(1000);
  usleep(20000);
  wtl_region_result x = end(r);
  assert_int_equal(x.method, WTL_MEASURED);
  assert_int_equal(x.energy_uj, 1000);
  assert_true(x.has_est && x.est_uj >= 50 * x.duration_us);
  assert_int_equal(wtl_region_domains(r), 3);
  assert_int_equal(domain(r, "processor").method, WTL_ESTIMATED);
  assert_int_equal(domain(r, "core").energy_uj, 500);
  wtl_region_release(r);
  r = begin(m, "hidden"); /* the model does not stand in for a counter */
  atomic_store(&readable, false);
  usleep(20000);
  x = end(r);
  assert_int_equal(x.method, WTL_MISSING);
  assert_true(x.has_est && x.est_uj > 0);
  assert_string_equal(x.reason, "the counter is hidden");
  wtl_region_release(r);
  wtl_meter_destroy(m);
}

/* ---- power ---- */

static void test_power(void **state) {
  (void)state;
  wtl_power p;
  wtl_idle idle;
  wtl_trace_point t[41];
  for (int i = 0; i <= 40; i++) t[i] = (wtl_trace_point){ i * 0.1, "package-0", 2500000 * i + (i % 2 ? 50000 : 0) };
  wtl_meter *m = replay(t, 41); /* 25 W, 0.5 W up and down between one tenth and the next */
  wtl_meter_power(m, &p);
  assert_false(p.measured || p.estimated);
  OK(wtl_meter_advance(m, 1));
  wtl_meter_power(m, &p);
  assert_true(p.measured && !p.estimated && fabs(p.measured_w - 25) < 1e-9);
  OK(wtl_meter_idle(m, 2, &idle));
  assert_true(idle.ok && fabs(idle.mean_w - 25) < 1e-9 && idle.n == 20 && fabs(idle.duration_s - 2) < 1e-9);
  assert_true(fabs(idle.sd_w - 1.0 / 2 * sqrt(20.0 / 19)) < 1e-9);
  OK(wtl_meter_idle(m, 2, &idle)); /* past the trace's end */
  assert_false(idle.ok);
  assert_non_null(strstr(idle.reason, "the trace has nothing"));
  wtl_meter_power(m, &p);
  assert_false(p.measured);
  FAILS(wtl_meter_idle(m, 0.1, &idle), WTL_ERR_ARG, "idle takes 0.2 to 3600 s, not 0.1");
  FAILS(wtl_meter_idle(m, NAN, &idle), WTL_ERR_ARG, "not nan");
  wtl_meter_destroy(m);
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "estimate", .tdp_w = 10, .idle_w = 9 }, &m));
  OK(wtl_meter_idle(m, 0.2, &idle));
  assert_false(idle.ok);
  assert_non_null(strstr(idle.reason, "no counter"));
  wtl_meter_power(m, &p);
  assert_true(!p.measured && p.estimated && p.estimated_w >= 9 && p.estimated_w <= 10.5);
  wtl_interrupt(ctx, 1);
  FAILS(wtl_meter_idle(m, 100, &idle), WTL_ERR_INTERRUPTED, "interrupted");
  wtl_interrupt(ctx, 0);
  wtl_meter_destroy(m);
}

static void test_record(void **state) {
  (void)state;
  wtl_interval x;
  wtl_meter *m = replay(trace, N_TRACE);
  assert_int_equal(wtl_meter_recorded(m), 0);
  FAILS(wtl_meter_record(m, 3), WTL_ERR_ARG, "not 3");
  FAILS(wtl_meter_record(m, -1), WTL_ERR_ARG, "not -1");
  OK(wtl_meter_record(m, 4));
  for (int i = 1; i <= 16; i++) { /* 16 moments after the first, in at most 4 intervals */
    OK(wtl_meter_advance(m, i == 1 ? 0.05 : 0.5)); /* the first, shorter than a period, is one because it is asked for */
    if (i == 1) assert_int_equal(wtl_meter_recorded(m), 3);
    int n = wtl_meter_recorded(m);
    assert_true(n % 3 == 0 && n <= 12);
  }
  int n = wtl_meter_recorded(m);
  double last[3] = { 0 };
  assert_true(n >= 6);
  for (int i = 0; i < n; i++) {
    OK(wtl_meter_interval(m, i, &x));
    assert_true(x.begin_s == last[i % 3] && x.end_s > x.begin_s); /* without a hole */
    last[i % 3] = x.end_s;
    const char *names[] = { "package-0", "dram-0", "core-0" };
    const double watts[] = { 1, 0.2, 0.1 };
    assert_string_equal(x.domain, names[i % 3]);
    assert_int_equal(x.method, WTL_REPLAYED);
    assert_true(fabs(x.power_w - watts[i % 3]) < 1e-6);
    assert_int_equal(x.summed, i % 3 < 2);
  }
  assert_true(fabs(last[0] - 7.55) < 1e-9); /* to the end */
  assert_int_equal(wtl_meter_recorded(m), n); /* nothing passed since */
  FAILS(wtl_meter_interval(m, n, &x), WTL_ERR_ARG, "not in the record");
  FAILS(wtl_meter_interval(m, -1, &x), WTL_ERR_ARG, "interval -1");
  OK(wtl_meter_advance(m, 20)); /* over dram's hole */
  OK(wtl_meter_interval(m, wtl_meter_recorded(m) - 2, &x));
  assert_string_equal(x.domain, "dram-0");
  assert_int_equal(x.method, WTL_MISSING);
  OK(wtl_meter_record(m, 0));
  assert_int_equal(wtl_meter_recorded(m), 0);
  OK(wtl_meter_advance(m, 1));
  assert_int_equal(wtl_meter_recorded(m), 0);
  OK(wtl_meter_record(m, 8));
  OK(wtl_meter_record(m, 8)); /* anew */
  wtl_meter_destroy(m);
  m = fake_meter(0.001); /* thinned by the sampler while it is read */
  OK(wtl_meter_record(m, 4));
  for (int i = 0; i < 2000; i++) {
    turn(100);
    if (wtl_meter_recorded(m) > 2) OK(wtl_meter_interval(m, 1, &x));
    usleep(50);
  }
  wtl_meter_destroy(m);
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
  wtl_meter_options o = { .source = source };
  if (strcmp(source, "replay") == 0) o = (wtl_meter_options){ source, .trace = trace, .n_trace = 3 };
  wtl_status s = wtl_meter_create(ctx, &o, &m);
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
  assert_int_equal(sweep("replay", meter_life, "replay"), 5); /* and its points */
  assert_true(sweep("auto", meter_life, "auto") >= 4);        /* and counters where this machine has any */
  OK(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "estimate" }, &m));
  assert_true(sweep("describe", describe, m) >= 1);
  wtl_meter_destroy(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    CASE(test_nested),    CASE(test_any_order), CASE(test_missing),  CASE(test_closed_inside),
    CASE(test_off),       CASE(test_misuse),    CASE(test_sampler),  CASE(test_stops_at_once),
    CASE(test_stress),    CASE(test_signals),   CASE(test_estimate), CASE(test_describe),
    CASE(test_counter),   CASE(test_summed),    CASE(test_replay),   CASE(test_no_sum),
    CASE(test_bad_trace), CASE(test_side_by_side), CASE(test_power),      CASE(test_record),
    CASE(test_proc_stat), CASE(test_other_cpu), CASE(test_peak_rss), CASE(test_memory),
  };
  return cmocka_run_group_tests_name("energy", tests, NULL, NULL);
}
