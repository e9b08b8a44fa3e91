/* The meter: named regions over one or more energy sources side by side. A thread of its own samples them, so that no
 * register wraps unseen; the ends of a region take samples too, so that its boundaries are exact. All counters stand under
 * one lock; the context is touched by the caller's thread alone. Sources are in sources.c.
 *
 * Everything is kept by channel: for each source one that is the sum of its summed domains, then one for each domain. */
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
#define PERIOD_MIN_US 1000
#define PERIOD_MAX_S 3600.0
#define POWER_US 1000000
#define IDLE_WINDOW_US 100000
#define IDLE_MIN_S 0.2
#define IDLE_MAX_S 3600.0

/* What a channel has counted so far. */
typedef struct tally {
  int64_t energy_uj;              /* over all intervals that were read */
  int64_t counted_us, missing_us; /* time of the intervals that were read, and of the others */
} tally;

typedef struct channel {
  int source, domain; /* domain -1: the sum */
  tally tally;
  bool last_ok; /* was the last sample read */
  int64_t last_uj;
  char reason[WTL_REASON_MAX]; /* of the last interval that was lost */
} channel;

/* A moment, besides the channels' tallies. */
typedef struct point {
  int64_t now_us, cpu_us;
  wtl_machine_cpu machine;
} point;

/* The primary's and the model's sums about a second ago. */
typedef struct power_mark { int64_t now_us; tally primary, model; } power_mark;

/* Tallies of the channels over time, thinned when full. */
typedef struct record {
  int most, n;         /* moments: one more than intervals */
  int64_t stride_us;   /* between two moments at least */
  int64_t *now_us;
  tally *tally;        /* [moment][channel] */
} record;

struct wtl_meter {
  wtl_ctx *ctx;
  int n_sources, n_channels;
  wtl_source *source[WTL_MAX_SOURCES];
  int primary, model; /* channels: what energy_uj and est_uj are of; model -1: none */
  char without[256];
  int64_t period_us, resolution_us;
  bool virtual_clock, threaded;
  wtl_region *top; /* the newest open region; parents lead to the oldest */
  tally *end;      /* of each channel, where regions end; in the meter's block */
  pthread_t thread;
  pthread_mutex_t lock; /* of all below, and of the sources */
  pthread_cond_t wake;
  bool stop, sampled;
  int64_t virtual_us, last_us;
  power_mark mark[2]; /* older, newer */
  record record;      /* tally NULL: none */
  wtl_reading reading[WTL_MAX_DOMAINS];
  channel channel[];
};

/* A channel in a region; the names stay when the meter is gone. */
typedef struct share {
  tally begin;
  int64_t nested_uj; /* of the regions right inside */
  wtl_domain_result result;
} share;

struct wtl_region {
  wtl_ctx *ctx;
  wtl_meter *meter; /* NULL when ended */
  wtl_region *parent;
  char name[WTL_NAME_MAX];
  point begin;
  int64_t nested_us;
  wtl_region_result result;
  int n_channels;
  share share[];
};

const char *wtl_method_name(wtl_method m) {
  static const char *const name[] = { "measured", "estimated", "replayed", "missing" };
  return (unsigned)m < sizeof name / sizeof *name ? name[m] : "unknown";
}

/* ---- sampling ---- */

static int64_t now_of(const wtl_meter *m) { return m->virtual_clock ? m->virtual_us : wtl_now_us(); }

static void count(channel *c, bool sampled, const wtl_reading *r, int64_t passed_us) {
  if (!r->ok || r->cut) memcpy(c->reason, r->reason, sizeof c->reason);
  if (sampled && r->ok && !r->cut && c->last_ok) {
    c->tally.energy_uj += r->energy_uj - c->last_uj;
    c->tally.counted_us += passed_us;
  } else if (sampled) {
    c->tally.missing_us += passed_us;
  }
  c->last_ok = r->ok;
  c->last_uj = r->energy_uj;
}

/* The sum is known where all its domains are. */
static wtl_reading sum_of(const wtl_source *s, const wtl_reading *r) {
  wtl_reading sum = { .ok = false, .reason = "no domain is summed" };
  bool any = false;
  for (int i = 0; i < s->n_domains; i++) {
    if (!s->domain[i].summed) continue;
    if (!any) sum = (wtl_reading){ .ok = true };
    any = true;
    if (sum.ok && !sum.cut && (!r[i].ok || r[i].cut)) memcpy(sum.reason, r[i].reason, sizeof sum.reason);
    sum.ok = sum.ok && r[i].ok;
    sum.cut = sum.cut || r[i].cut;
    sum.energy_uj += r[i].energy_uj;
  }
  return sum;
}

/* This sample as a moment of the record, if it is due; `last`: as soon as the counters resolve what passed. */
static void keep(wtl_meter *m, bool last) {
  record *r = &m->record;
  size_t width = (size_t)m->n_channels;
  int64_t least_us = !last ? r->stride_us : m->resolution_us > 1 ? m->resolution_us : 1;
  if (!r->tally || (r->n > 0 && m->last_us - r->now_us[r->n - 1] < least_us)) return;
  if (r->n == r->most) { /* every second moment goes; the first stays */
    for (int i = 1; 2 * i < r->n; i++) {
      r->now_us[i] = r->now_us[2 * i];
      memcpy(r->tally + (size_t)i * width, r->tally + 2 * (size_t)i * width, width * sizeof *r->tally);
    }
    r->n = (r->n + 1) / 2;
    if (r->stride_us <= INT64_MAX / 4) r->stride_us *= 2;
    if (!last && m->last_us - r->now_us[r->n - 1] < r->stride_us) return;
  }
  r->now_us[r->n] = m->last_us;
  for (size_t c = 0; c < width; c++) r->tally[(size_t)r->n * width + c] = m->channel[c].tally;
  r->n++;
}

/* Lock held. */
static void sample(wtl_meter *m) {
  int64_t now = now_of(m), passed_us = now - m->last_us;
  channel *c = m->channel;
  for (int s = 0; s < m->n_sources; s++) {
    wtl_source *source = m->source[s];
    source->kind->read(source, now, m->reading);
    wtl_reading sum = sum_of(source, m->reading);
    count(c++, m->sampled, &sum, passed_us);
    for (int i = 0; i < source->n_domains; i++) count(c++, m->sampled, &m->reading[i], passed_us);
  }
  m->sampled = true;
  m->last_us = now;
  if (now - m->mark[1].now_us >= POWER_US) {
    m->mark[0] = m->mark[1];
    m->mark[1] = (power_mark){ now, m->channel[m->primary].tally,
                               m->model >= 0 ? m->channel[m->model].tally : (tally){ 0 } };
  }
  keep(m, false);
}

static int64_t mark(wtl_meter *m, point *p) {
  pthread_mutex_lock(&m->lock);
  sample(m);
  *p = (point){ .now_us = m->last_us, .cpu_us = wtl_process_cpu_us() };
  for (int i = 0; i < m->n_channels; i++) m->end[i] = m->channel[i].tally;
  pthread_mutex_unlock(&m->lock);
  return p->now_us;
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
  if (m->virtual_clock) return 0; /* nothing passes between two calls */
  sigfillset(&all);               /* signals are for the caller's threads */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int err = pthread_create(&m->thread, NULL, run, m);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  m->threaded = err == 0;
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

/* All but the lock and the thread. */
static void set_up(wtl_meter *m, double period_s) {
  m->model = -1;
  m->period_us = (int64_t)(period_s * 1e6);
  bool counts = false;
  for (int s = 0, c = 0; s < m->n_sources; s++) {
    const wtl_source *source = m->source[s];
    bool estimated = source->kind->method == WTL_ESTIMATED;
    if (estimated && m->model < 0) m->model = c;
    if (!estimated && !counts) {
      m->primary = c;
      counts = true;
    }
    if (source->longest_us && source->longest_us / 4 < m->period_us) m->period_us = source->longest_us / 4;
    for (int i = -1; i < source->n_domains; i++, c++) m->channel[c] = (channel){ .source = s, .domain = i };
  }
  if (m->period_us < PERIOD_MIN_US) m->period_us = PERIOD_MIN_US;
  m->resolution_us = m->source[m->channel[m->primary].source]->resolution_us;
}

wtl_status wtl_meter_create_on(wtl_ctx *ctx, wtl_source *const *source, int n, double period_s, bool virtual_clock,
                               const char *without, wtl_meter **out) {
  point now;
  size_t n_channels = 0;
  for (int i = 0; i < n; i++) n_channels += 1 + (size_t)source[i]->n_domains;
  wtl_meter *m = wtl_alloc(ctx, sizeof *m + n_channels * (sizeof *m->channel + sizeof *m->end));
  if (!m) {
    for (int i = 0; i < n; i++) source[i]->kind->close(source[i]);
    return WTL_ERR_MEMORY;
  }
  m->ctx = ctx;
  m->n_sources = n;
  m->n_channels = (int)n_channels;
  memcpy(m->source, source, (size_t)n * sizeof *source);
  m->end = (tally *)(m->channel + n_channels);
  m->virtual_clock = virtual_clock;
  snprintf(m->without, sizeof m->without, "%s", without);
  set_up(m, period_s);
  make_lock(m);
  m->mark[0].now_us = m->mark[1].now_us = mark(m, &now);
  int err = start_thread(m);
  if (err) {
    char text[128];
    wtl_meter_destroy(m);
    return wtl_fail(ctx, WTL_ERR_MEMORY, "meter: no thread to sample in: %s", strerror_r(err, text, sizeof text));
  }
  *out = m;
  return WTL_OK;
}

/* Counters where they work, and the estimate. */
static wtl_status open_auto(wtl_ctx *ctx, const wtl_meter_options *o, wtl_source **source, int *n, char *without,
                            size_t size) {
  wtl_status s = wtl_source_powercap.open(ctx, o, &source[0]);
  if (s != WTL_OK && s != WTL_ERR_UNSUPPORTED && s != WTL_ERR_IO) return s;
  *n = s == WTL_OK;
  if (s != WTL_OK) {
    const char *message = wtl_message(ctx), *own = "meter: powercap: ";
    snprintf(without, size, "%s", strncmp(message, own, strlen(own)) == 0 ? message + strlen(own) : message);
  }
  s = wtl_source_estimate.open(ctx, o, &source[*n]);
  if (s != WTL_OK && *n == 1) source[0]->kind->close(source[0]);
  *n += 1;
  return s;
}

wtl_status wtl_meter_create(wtl_ctx *ctx, const wtl_meter_options *o, wtl_meter **out) {
  const double least_s = PERIOD_MIN_US / 1e6;
  double period_s = o && o->period_s != 0 ? o->period_s : PERIOD_DEFAULT_S;
  const char *name = o && o->source ? o->source : "auto";
  const wtl_source_kind *kind;
  wtl_source *source[WTL_MAX_SOURCES];
  char without[256] = "";
  int n = 1;
  if (!(period_s >= least_s && period_s <= PERIOD_MAX_S)) {
    return wtl_fail(ctx, WTL_ERR_ARG, "meter: period_s is %g, not %g to %g", period_s, least_s, PERIOD_MAX_S);
  }
  bool replay = strcmp(name, wtl_source_replay.name) == 0;
  if (o && !replay && (o->trace || o->virtual_clock)) {
    return wtl_fail(ctx, WTL_ERR_ARG, "meter: a trace and its clock are for source \"replay\", not \"%.40s\"", name);
  }
  if (strcmp(name, "auto") == 0) {
    WTL_TRY(open_auto(ctx, o, source, &n, without, sizeof without));
  } else {
    WTL_TRY(wtl_source_find(ctx, name, &kind));
    WTL_TRY(kind->open(ctx, o, &source[0]));
  }
  return wtl_meter_create_on(ctx, source, n, period_s, o && o->virtual_clock, without, out);
}

static wtl_status list_domains(const wtl_source *s, bool summed_only, wtl_text *out) {
  const char *blank = "";
  for (int i = 0; i < s->n_domains; i++) {
    if (summed_only && !s->domain[i].summed) continue;
    WTL_TRY(wtl_text_add(out, "%s%s", blank, s->domain[i].name));
    blank = " ";
  }
  return wtl_text_add(out, "\n");
}

wtl_status wtl_meter_describe(wtl_meter *m, wtl_text *out) {
  const wtl_source *s = m->source[m->channel[m->primary].source];
  WTL_TRY(wtl_text_add(out, "source: %s\nmethod: %s\ndomains: ", s->kind->name, wtl_method_name(s->kind->method)));
  WTL_TRY(list_domains(s, false, out));
  WTL_TRY(wtl_text_add(out, "summed: "));
  WTL_TRY(list_domains(s, true, out));
  WTL_TRY(wtl_text_add(out, "period_s: %g\nresolution_s: %g\n", (double)m->period_us / 1e6,
                       (double)m->resolution_us / 1e6));
  if (m->without[0]) WTL_TRY(wtl_text_add(out, "without: powercap: %s\n", m->without));
  for (int i = 0; i < m->n_sources; i++) {
    if (m->source[i] != s) WTL_TRY(wtl_text_add(out, "beside: %s\n", m->source[i]->kind->name));
  }
  WTL_TRY(s->kind->describe(s, out));
  for (int i = 0; i < m->n_sources; i++) {
    if (m->source[i] != s) WTL_TRY(m->source[i]->kind->describe(m->source[i], out));
  }
  return WTL_OK;
}

wtl_status wtl_meter_advance(wtl_meter *m, double seconds) {
  if (!m->virtual_clock) return wtl_fail(m->ctx, WTL_ERR_STATE, "meter: its clock is the real one; nobody moves it");
  if (!(seconds >= 0 && seconds <= 1e9)) {
    return wtl_fail(m->ctx, WTL_ERR_ARG, "meter: a clock moves by 0 s or more, not %g", seconds);
  }
  pthread_mutex_lock(&m->lock);
  m->virtual_us += llround(seconds * 1e6);
  sample(m);
  pthread_mutex_unlock(&m->lock);
  return WTL_OK;
}

/* ---- regions ---- */

wtl_status wtl_region_begin(wtl_meter *m, const char *name, wtl_region **out) {
  if (!name || !*name || strlen(name) >= WTL_NAME_MAX) {
    return wtl_fail(m->ctx, WTL_ERR_ARG, "region: a name of 1 to %d bytes is needed", WTL_NAME_MAX - 1);
  }
  wtl_region *r = wtl_alloc(m->ctx, sizeof *r + (size_t)m->n_channels * sizeof *r->share);
  if (!r) return WTL_ERR_MEMORY;
  r->ctx = m->ctx;
  r->meter = m;
  r->parent = m->top;
  r->n_channels = m->n_channels;
  m->top = r;
  snprintf(r->name, sizeof r->name, "%s", name);
  wtl_machine_cpu machine = wtl_machine_cpu_read("/proc/stat"); /* first: it takes time that is not the region's */
  mark(m, &r->begin);
  r->begin.machine = machine;
  for (int i = 0; i < m->n_channels; i++) r->share[i].begin = m->end[i];
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

/* What channel i has counted in the region. */
static void end_share(wtl_meter *m, wtl_region *r, int i) {
  const channel *c = &m->channel[i];
  const wtl_source *source = m->source[c->source];
  share *s = &r->share[i];
  wtl_domain_result *x = &s->result;
  int64_t duration_us = r->result.duration_us, energy_uj = m->end[i].energy_uj - s->begin.energy_uj;
  bool read = m->end[i].counted_us > s->begin.counted_us || (duration_us == 0 && c->last_ok);
  snprintf(x->source, sizeof x->source, "%s", source->kind->name);
  if (c->domain >= 0) {
    snprintf(x->domain, sizeof x->domain, "%s", source->domain[c->domain].name);
    x->summed = source->domain[c->domain].summed;
  }
  x->method = read ? source->kind->method : WTL_MISSING;
  x->energy_uj = read ? energy_uj : 0;
  x->exclusive_uj = read ? energy_uj - s->nested_uj : 0;
  x->missing_s = (double)(m->end[i].missing_us - s->begin.missing_us) / 1e6;
  x->below_resolution = duration_us < source->resolution_us;
  if (!read || x->missing_s > 0) memcpy(x->reason, c->reason, sizeof x->reason);
  if (r->parent) r->parent->share[i].nested_uj += energy_uj;
}

/* The top region ends at `end` and m->end. Lock held: a channel's reason is the sampler's too. */
static void end_top(wtl_meter *m, const point *end) {
  wtl_region *r = m->top;
  wtl_region_result *x = &r->result;
  x->duration_us = end->now_us - r->begin.now_us;
  x->exclusive_us = x->duration_us - r->nested_us;
  x->cpu_us = end->cpu_us - r->begin.cpu_us;
  set_machine(x, &r->begin.machine, &end->machine);
  for (int i = 0; i < m->n_channels; i++) end_share(m, r, i);
  const wtl_domain_result *p = &r->share[m->primary].result;
  x->method = p->method;
  x->energy_uj = p->energy_uj;
  x->exclusive_uj = p->exclusive_uj;
  x->missing_s = p->missing_s;
  x->below_resolution = p->below_resolution;
  memcpy(x->reason, p->reason, sizeof x->reason);
  if (m->model >= 0 && r->share[m->model].result.method == WTL_ESTIMATED) {
    x->has_est = true;
    x->est_uj = r->share[m->model].result.energy_uj;
    x->exclusive_est_uj = r->share[m->model].result.exclusive_uj;
  }
  m->top = r->parent;
  if (r->parent) r->parent->nested_us += x->duration_us;
  r->parent = NULL;
  r->meter = NULL;
}

static point end_point(wtl_meter *m) {
  point end;
  mark(m, &end);
  end.machine = wtl_machine_cpu_read("/proc/stat");
  return end;
}

wtl_status wtl_region_end(wtl_region *r, wtl_region_result *out) {
  wtl_meter *m = r->meter;
  if (m) {
    point end = end_point(m);
    pthread_mutex_lock(&m->lock);
    while (m->top != r) end_top(m, &end);
    end_top(m, &end);
    pthread_mutex_unlock(&m->lock);
  }
  if (out) *out = r->result;
  return WTL_OK;
}

/* The share of domain i, counted over all sources; NULL out of range. */
static const share *domain_share(const wtl_region *r, int i) {
  for (int c = 0; !r->meter && i >= 0 && c < r->n_channels; c++) {
    if (r->share[c].result.domain[0] && i-- == 0) return &r->share[c];
  }
  return NULL;
}

int wtl_region_domains(const wtl_region *r) {
  int n = 0;
  while (domain_share(r, n)) n++;
  return n;
}

wtl_status wtl_region_domain(const wtl_region *r, int i, wtl_domain_result *out) {
  const share *s = domain_share(r, i);
  if (!s && r->meter) return wtl_fail(r->ctx, WTL_ERR_STATE, "region: \"%.40s\" has not ended", r->name);
  if (!s) return wtl_fail(r->ctx, WTL_ERR_ARG, "region: domain %d of %d", i, wtl_region_domains(r));
  *out = s->result;
  return WTL_OK;
}

void wtl_region_release(wtl_region *r) {
  if (!r) return;
  wtl_region_end(r, NULL);
  wtl_free(r->ctx, r);
}

static void interrupt_top(wtl_meter *m, const point *end) {
  wtl_region *r = m->top;
  end_top(m, end);
  /* what it would have used is not known */
  r->result.method = WTL_MISSING;
  r->result.has_est = false;
  snprintf(r->result.reason, sizeof r->result.reason, "interrupted: the meter was closed inside \"%.40s\"", r->name);
  for (int i = 0; i < r->n_channels; i++) {
    r->share[i].result.method = WTL_MISSING;
    memcpy(r->share[i].result.reason, r->result.reason, sizeof r->result.reason);
  }
}

void wtl_meter_destroy(wtl_meter *m) {
  if (!m) return;
  point end = end_point(m);
  pthread_mutex_lock(&m->lock);
  while (m->top) interrupt_top(m, &end);
  m->stop = true;
  pthread_cond_signal(&m->wake);
  pthread_mutex_unlock(&m->lock);
  if (m->threaded) pthread_join(m->thread, NULL);
  pthread_cond_destroy(&m->wake);
  pthread_mutex_destroy(&m->lock);
  for (int i = 0; i < m->n_sources; i++) m->source[i]->kind->close(m->source[i]);
  wtl_free(m->ctx, m->record.tally);
  wtl_free(m->ctx, m);
}

/* ---- power ---- */

/* Watts of a channel since an earlier tally; false where nothing was read, or not all. */
static bool power_since(const tally *then, const tally *now, double *w) {
  int64_t us = now->counted_us - then->counted_us;
  if (us <= 0 || now->missing_us != then->missing_us) return false;
  *w = (double)(now->energy_uj - then->energy_uj) / (double)us;
  return true;
}

void wtl_meter_power(wtl_meter *m, wtl_power *out) {
  pthread_mutex_lock(&m->lock);
  sample(m);
  const power_mark *then = &m->mark[0];
  *out = (wtl_power){ 0 };
  if (m->last_us - then->now_us >= m->resolution_us) {
    if (m->primary != m->model) {
      out->measured = power_since(&then->primary, &m->channel[m->primary].tally, &out->measured_w);
    }
    if (m->model >= 0) out->estimated = power_since(&then->model, &m->channel[m->model].tally, &out->estimated_w);
  }
  pthread_mutex_unlock(&m->lock);
}

/* To `until` on the meter's clock; false when interrupted. */
static bool wait_until(wtl_meter *m, int64_t until_us) {
  if (m->virtual_clock) m->virtual_us = until_us;
  for (int64_t left; (left = until_us - now_of(m)) > 0;) {
    if (wtl_interrupted(m->ctx)) return false;
    if (left > 50000) left = 50000;
    nanosleep(&(struct timespec){ 0, (long)left * 1000 }, NULL);
  }
  return true;
}

wtl_status wtl_meter_idle(wtl_meter *m, double seconds, wtl_idle *out) {
  point p;
  if (!(seconds >= IDLE_MIN_S && seconds <= IDLE_MAX_S)) {
    return wtl_fail(m->ctx, WTL_ERR_ARG, "meter: idle takes %g to %g s, not %g", IDLE_MIN_S, IDLE_MAX_S, seconds);
  }
  int64_t window_us = IDLE_WINDOW_US > 10 * m->resolution_us ? IDLE_WINDOW_US : 10 * m->resolution_us;
  int n = (int)(seconds * 1e6 / (double)window_us), done = 0;
  if (n < 2) n = 2;
  window_us = (int64_t)(seconds * 1e6 / n);
  int64_t begin_us = mark(m, &p);
  tally begin = m->end[m->primary], last = begin;
  double mean = 0, squares = 0; /* Welford's */
  for (int i = 1; i <= n; i++) {
    double w;
    if (!wait_until(m, begin_us + i * window_us)) {
      return wtl_fail(m->ctx, WTL_ERR_INTERRUPTED, "meter: idle: interrupted");
    }
    mark(m, &p);
    tally now = m->end[m->primary];
    if (power_since(&last, &now, &w)) {
      double before = w - mean;
      mean += before / ++done;
      squares += before * (w - mean);
    }
    last = now;
  }
  wtl_idle r = { .n = done, .duration_s = (double)(p.now_us - begin_us) / 1e6 };
  if (m->primary == m->model) {
    snprintf(r.reason, sizeof r.reason, "no counter: a model's idle power is its constant");
  } else if (done < n) {
    pthread_mutex_lock(&m->lock);
    memcpy(r.reason, m->channel[m->primary].reason, sizeof r.reason);
    pthread_mutex_unlock(&m->lock);
  } else if (power_since(&begin, &last, &r.mean_w)) {
    r.ok = true;
    r.sd_w = sqrt(squares / (done - 1));
  }
  *out = r;
  return WTL_OK;
}

/* ---- power over time ---- */

wtl_status wtl_meter_record(wtl_meter *m, int n) {
  record r = { .most = n + 1, .stride_us = m->period_us > m->resolution_us ? m->period_us : m->resolution_us };
  if (n != 0 && (n < 4 || n > 1000000)) {
    return wtl_fail(m->ctx, WTL_ERR_ARG, "meter: a record holds 4 to 1000000 intervals, not %d", n);
  }
  if (n > 0) {
    size_t bytes = (size_t)r.most * ((size_t)m->n_channels * sizeof *r.tally + sizeof *r.now_us);
    r.tally = wtl_alloc(m->ctx, bytes);
    if (!r.tally) return WTL_ERR_MEMORY;
    r.now_us = (int64_t *)(r.tally + (size_t)r.most * (size_t)m->n_channels);
  }
  pthread_mutex_lock(&m->lock);
  tally *old = m->record.tally;
  m->record = r;
  sample(m);
  pthread_mutex_unlock(&m->lock);
  wtl_free(m->ctx, old);
  return WTL_OK;
}

static int n_domains(const wtl_meter *m) { return m->n_channels - m->n_sources; }

int wtl_meter_recorded(wtl_meter *m) {
  pthread_mutex_lock(&m->lock);
  sample(m);
  keep(m, true); /* what passed since the last moment belongs to what was asked for */
  int n = m->record.n > 1 ? (m->record.n - 1) * n_domains(m) : 0;
  pthread_mutex_unlock(&m->lock);
  return n;
}

/* Lock held. */
static void fill_interval(const wtl_meter *m, int moment, int c, wtl_interval *out) {
  const record *r = &m->record;
  const channel *ch = &m->channel[c];
  const wtl_source *source = m->source[ch->source];
  const tally *then = &r->tally[(size_t)moment * (size_t)m->n_channels + (size_t)c], *now = then + m->n_channels;
  *out = (wtl_interval){ .begin_s = (double)(r->now_us[moment] - r->now_us[0]) / 1e6,
                         .end_s = (double)(r->now_us[moment + 1] - r->now_us[0]) / 1e6,
                         .summed = source->domain[ch->domain].summed };
  snprintf(out->source, sizeof out->source, "%s", source->kind->name);
  snprintf(out->domain, sizeof out->domain, "%s", source->domain[ch->domain].name);
  out->method = power_since(then, now, &out->power_w) ? source->kind->method : WTL_MISSING;
}

wtl_status wtl_meter_interval(wtl_meter *m, int i, wtl_interval *out) {
  wtl_status status = WTL_ERR_ARG;
  pthread_mutex_lock(&m->lock);
  int n = m->record.n > 1 ? m->record.n - 1 : 0, d = i % n_domains(m);
  if (i >= 0 && i / n_domains(m) < n) {
    int c = 0;
    while (m->channel[c].domain < 0 || d-- > 0) c++;
    fill_interval(m, i / n_domains(m), c, out);
    status = WTL_OK;
  }
  pthread_mutex_unlock(&m->lock);
  return status == WTL_OK ? status : wtl_fail(m->ctx, status, "meter: interval %d is not in the record", i);
}
