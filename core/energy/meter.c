/* The meter: named regions over one energy source. A thread of its own samples the source, so that no register wraps
 * unseen; the ends of a region take samples too, so that its boundaries are exact. All counters stand under one lock;
 * the context is touched by the caller's thread alone. Sources are in sources.c. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "source.h"
#include "system.h"

#define PERIOD_DEFAULT_S 0.1
#define PERIOD_MIN_S 0.001
#define PERIOD_MAX_S 3600.0

/* Everything that is counted, at one moment. */
typedef struct point {
  int64_t now_us, cpu_us;
  int64_t energy_uj;              /* over all intervals that were read */
  int64_t counted_us, missing_us; /* time of the intervals that were read, and of the others */
  bool ok;                        /* was every summed domain read */
  char reason[WTL_REASON_MAX];    /* of the last reading that failed */
  wtl_machine_cpu machine;
} point;

struct wtl_meter {
  wtl_ctx *ctx;
  wtl_source *source;
  int64_t period_us;
  wtl_region *top; /* the newest open region; parents lead to the oldest */
  pthread_t thread;
  pthread_mutex_t lock; /* of all below, and of the source */
  pthread_cond_t wake;
  bool stop;
  bool sampled, last_ok; /* was there a sample; did the last one read every summed domain */
  int64_t last_us, last_uj;
  int64_t energy_uj, counted_us, missing_us;
  char reason[WTL_REASON_MAX]; /* of the last reading that failed */
};

struct wtl_region {
  wtl_ctx *ctx;
  wtl_meter *meter;   /* NULL when ended */
  wtl_region *parent;
  char name[WTL_NAME_MAX];
  point begin;
  int64_t nested_us, nested_uj; /* of the regions right inside */
  wtl_region_result result;
};

const char *wtl_method_name(wtl_method m) {
  static const char *const name[] = { "measured", "estimated", "replayed", "missing" };
  return (unsigned)m < sizeof name / sizeof *name ? name[m] : "unknown";
}

/* ---- sampling ---- */

/* Lock held. */
static void sample(wtl_meter *m) {
  wtl_reading r[WTL_MAX_DOMAINS];
  int64_t now = wtl_now_us(), energy_uj = 0;
  bool ok = true;
  m->source->kind->read(m->source, now, r);
  for (int i = 0; i < m->source->n_domains; i++) {
    if (!m->source->domain[i].summed) continue;
    if (!r[i].ok) snprintf(m->reason, sizeof m->reason, "%s", r[i].reason);
    ok = ok && r[i].ok;
    energy_uj += r[i].ok ? r[i].energy_uj : 0;
  }
  if (m->sampled && ok && m->last_ok) {
    m->energy_uj += energy_uj - m->last_uj;
    m->counted_us += now - m->last_us;
  } else if (m->sampled) {
    m->missing_us += now - m->last_us;
  }
  m->sampled = true;
  m->last_ok = ok;
  m->last_us = now;
  m->last_uj = energy_uj;
}

static point mark(wtl_meter *m) {
  pthread_mutex_lock(&m->lock);
  sample(m);
  point p = { m->last_us, wtl_process_cpu_us(), m->energy_uj, m->counted_us, m->missing_us, .ok = m->last_ok };
  memcpy(p.reason, m->reason, sizeof p.reason);
  pthread_mutex_unlock(&m->lock);
  return p;
}

static void *run(void *arg) {
  wtl_meter *m = arg;
  int64_t next = wtl_now_us() + m->period_us;
  pthread_mutex_lock(&m->lock);
  while (!m->stop) {
    struct timespec at = { next / 1000000, next % 1000000 * 1000 };
    pthread_cond_timedwait(&m->wake, &m->lock, &at);
    int64_t now = wtl_now_us();
    if (m->stop || now < next) continue;
    sample(m);
    next = next + m->period_us > now ? next + m->period_us : now + m->period_us;
  }
  pthread_mutex_unlock(&m->lock);
  return NULL;
}

/* ---- the meter ---- */

static int start_thread(wtl_meter *m) {
  sigset_t all, before;
  sigfillset(&all); /* signals are for the caller's threads */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int err = pthread_create(&m->thread, NULL, run, m);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return err;
}

static void make_lock(wtl_meter *m) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC); /* the clock of wtl_now_us */
  pthread_cond_init(&m->wake, &attr);
  pthread_condattr_destroy(&attr);
  pthread_mutex_init(&m->lock, NULL);
}

static void drop_lock(wtl_meter *m) {
  pthread_cond_destroy(&m->wake);
  pthread_mutex_destroy(&m->lock);
}

wtl_status wtl_meter_create_on(wtl_ctx *ctx, wtl_source *source, double period_s, wtl_meter **out) {
  wtl_meter *m = wtl_alloc(ctx, sizeof *m);
  if (!m) {
    source->kind->close(source);
    return WTL_ERR_MEMORY;
  }
  m->ctx = ctx;
  m->source = source;
  m->period_us = (int64_t)(period_s * 1e6);
  make_lock(m);
  mark(m);
  int err = start_thread(m);
  if (err) {
    char text[128];
    drop_lock(m);
    source->kind->close(source);
    wtl_free(ctx, m);
    return wtl_fail(ctx, WTL_ERR_MEMORY, "meter: no thread to sample in: %s", strerror_r(err, text, sizeof text));
  }
  *out = m;
  return WTL_OK;
}

wtl_status wtl_meter_create(wtl_ctx *ctx, const wtl_meter_options *o, wtl_meter **out) {
  double period_s = o && o->period_s != 0 ? o->period_s : PERIOD_DEFAULT_S;
  const wtl_source_kind *kind;
  wtl_source *source;
  if (!(period_s >= PERIOD_MIN_S && period_s <= PERIOD_MAX_S)) {
    return wtl_fail(ctx, WTL_ERR_ARG, "meter: period_s is %g, not %g to %g", period_s, PERIOD_MIN_S, PERIOD_MAX_S);
  }
  WTL_TRY(wtl_source_find(ctx, o ? o->source : NULL, &kind));
  WTL_TRY(kind->open(ctx, o, &source));
  return wtl_meter_create_on(ctx, source, period_s, out);
}

wtl_status wtl_meter_describe(wtl_meter *m, wtl_text *out) {
  const wtl_source *s = m->source;
  WTL_TRY(wtl_text_add(out, "source: %s\nmethod: %s\ndomains: ", s->kind->name, wtl_method_name(s->kind->method)));
  for (int i = 0; i < s->n_domains; i++) WTL_TRY(wtl_text_add(out, "%s%s", i ? " " : "", s->domain[i].name));
  WTL_TRY(wtl_text_add(out, "\nperiod_s: %g\nresolution_s: %g\n", (double)m->period_us / 1e6,
                       (double)s->resolution_us / 1e6));
  return s->kind->describe(s, out);
}

/* ---- regions ---- */

wtl_status wtl_region_begin(wtl_meter *m, const char *name, wtl_region **out) {
  if (!name || !*name || strlen(name) >= WTL_NAME_MAX) {
    return wtl_fail(m->ctx, WTL_ERR_ARG, "region: a name of 1 to %d bytes is needed", WTL_NAME_MAX - 1);
  }
  wtl_region *r = wtl_alloc(m->ctx, sizeof *r);
  if (!r) return WTL_ERR_MEMORY;
  r->ctx = m->ctx;
  r->meter = m;
  r->parent = m->top;
  m->top = r;
  snprintf(r->name, sizeof r->name, "%s", name);
  wtl_machine_cpu machine = wtl_machine_cpu_read("/proc/stat"); /* first: it takes time that is not the region's */
  r->begin = mark(m);
  r->begin.machine = machine;
  *out = r;
  return WTL_OK;
}

static void set_machine(wtl_region_result *x, const wtl_machine_cpu *a, const wtl_machine_cpu *b) {
  x->other_cpu_us = x->steal_us = -1;
  if (!a->ok || !b->ok) return;
  int64_t other = b->busy_us - a->busy_us - x->cpu_us, steal = b->steal_us - a->steal_us;
  x->other_cpu_us = other > 0 ? other : 0; /* the machine counts in ticks, the process in nanoseconds */
  x->steal_us = steal > 0 ? steal : 0;
}

/* The top region ends at `end`. */
static void end_top(wtl_meter *m, const point *end) {
  wtl_region *r = m->top;
  wtl_region_result *x = &r->result;
  const point *begin = &r->begin;
  int64_t energy_uj = end->energy_uj - begin->energy_uj;
  x->duration_us = end->now_us - begin->now_us;
  x->exclusive_us = x->duration_us - r->nested_us;
  x->cpu_us = end->cpu_us - begin->cpu_us;
  set_machine(x, &begin->machine, &end->machine);
  bool read = end->counted_us > begin->counted_us || (x->duration_us == 0 && end->ok);
  x->method = read ? m->source->kind->method : WTL_MISSING;
  x->energy_uj = read ? energy_uj : 0;
  x->exclusive_uj = read ? energy_uj - r->nested_uj : 0;
  x->missing_s = (double)(end->missing_us - begin->missing_us) / 1e6;
  x->below_resolution = x->duration_us < m->source->resolution_us;
  if (!read || x->missing_s > 0) snprintf(x->reason, sizeof x->reason, "%s", end->reason);
  m->top = r->parent;
  if (r->parent) {
    r->parent->nested_us += x->duration_us;
    r->parent->nested_uj += energy_uj;
  }
  r->parent = NULL;
  r->meter = NULL;
}

static point end_point(wtl_meter *m) {
  point end = mark(m);
  end.machine = wtl_machine_cpu_read("/proc/stat");
  return end;
}

wtl_status wtl_region_end(wtl_region *r, wtl_region_result *out) {
  wtl_meter *m = r->meter;
  if (m) {
    point end = end_point(m);
    while (m->top != r) end_top(m, &end);
    end_top(m, &end);
  }
  if (out) *out = r->result;
  return WTL_OK;
}

void wtl_region_release(wtl_region *r) {
  if (!r) return;
  wtl_region_end(r, NULL);
  wtl_free(r->ctx, r);
}

void wtl_meter_destroy(wtl_meter *m) {
  if (!m) return;
  point end = end_point(m);
  while (m->top) {
    wtl_region *r = m->top;
    end_top(m, &end);
    r->result.method = WTL_MISSING; /* what it would have used is not known */
    snprintf(r->result.reason, sizeof r->result.reason, "interrupted: the meter was closed inside \"%.40s\"", r->name);
  }
  pthread_mutex_lock(&m->lock);
  m->stop = true;
  pthread_cond_signal(&m->wake);
  pthread_mutex_unlock(&m->lock);
  pthread_join(m->thread, NULL);
  drop_lock(m);
  m->source->kind->close(m->source);
  wtl_free(m->ctx, m);
}
