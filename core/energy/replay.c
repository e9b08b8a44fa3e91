/* The replay source: a recorded trace of counters on the meter's clock, for tests and for looking at a run again. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "source.h"

/* Sums over all domains fit 64 bits; 10^17 uJ are 28 GWh. */
#define MAX_UJ 100000000000000000

typedef struct tick { int64_t t_us, energy_uj; } tick; /* energy_uj < 0: missing */

typedef struct replay {
  wtl_source source;
  int64_t begin_us;
  tick *tick; /* those of domain i are first[i] .. first[i + 1] - 1, in order */
  int64_t first[WTL_MAX_DOMAINS + 1];
} replay;

static wtl_status check_point(wtl_ctx *ctx, const wtl_trace_point *p, int64_t i) {
  if (!(p->t_s >= 0 && p->t_s <= 1e9)) {
    return wtl_fail(ctx, WTL_ERR_FORMAT, "meter: trace: row %lld: t_s is %g", (long long)i + 1, p->t_s);
  }
  if (p->energy_uj > MAX_UJ) {
    return wtl_fail(ctx, WTL_ERR_FORMAT, "meter: trace: row %lld: energy_uj is %lld, beyond 10^17", (long long)i + 1,
                    (long long)p->energy_uj);
  }
  if (!p->domain[0] || !memchr(p->domain, 0, sizeof p->domain)) {
    return wtl_fail(ctx, WTL_ERR_FORMAT, "meter: trace: row %lld: the domain's name is empty or too long",
                    (long long)i + 1);
  }
  return WTL_OK;
}

static int find_domain(const wtl_source *s, const char *name) {
  int d = 0;
  while (d < s->n_domains && strcmp(s->domain[d].name, name) != 0) d++;
  return d;
}

/* Domains in the order in which they come, and how many points each has in first[d + 1]. */
static wtl_status list_domains(replay *r, const wtl_meter_options *o) {
  wtl_source *s = &r->source;
  for (int64_t i = 0; i < o->n_trace; i++) {
    WTL_TRY(check_point(s->ctx, &o->trace[i], i));
    int d = find_domain(s, o->trace[i].domain);
    if (d == WTL_MAX_DOMAINS) return wtl_fail(s->ctx, WTL_ERR_FORMAT, "meter: trace: more than %d domains", d);
    if (d == s->n_domains) {
      snprintf(s->domain[d].name, sizeof s->domain[d].name, "%s", o->trace[i].domain);
      s->domain[d].summed = wtl_domain_summed(s->domain[d].name);
      s->n_domains++;
    }
    r->first[d + 1]++;
  }
  for (int d = 0; d < s->n_domains; d++) r->first[d + 1] += r->first[d];
  return WTL_OK;
}

static wtl_status fill_ticks(replay *r, const wtl_meter_options *o) {
  int64_t next[WTL_MAX_DOMAINS], last_uj[WTL_MAX_DOMAINS] = { 0 };
  memcpy(next, r->first, sizeof next);
  for (int64_t i = 0; i < o->n_trace; i++) {
    const wtl_trace_point *p = &o->trace[i];
    int d = find_domain(&r->source, p->domain);
    tick t = { llround(p->t_s * 1e6), p->energy_uj };
    bool early = next[d] > r->first[d] && t.t_us < r->tick[next[d] - 1].t_us;
    if (early || (t.energy_uj >= 0 && t.energy_uj < last_uj[d])) {
      return wtl_fail(r->source.ctx, WTL_ERR_FORMAT, "meter: trace: row %lld: %s of \"%s\" falls", (long long)i + 1,
                      early ? "t_s" : "energy_uj", p->domain);
    }
    if (t.energy_uj >= 0) last_uj[d] = t.energy_uj;
    r->tick[next[d]++] = t;
  }
  return WTL_OK;
}

static void replay_close(wtl_source *s) {
  wtl_free(s->ctx, ((replay *)s)->tick);
  wtl_free(s->ctx, s);
}

static wtl_status replay_open(wtl_ctx *ctx, const wtl_meter_options *o, wtl_source **out) {
  if (!o || !o->trace || o->n_trace < 1) return wtl_fail(ctx, WTL_ERR_ARG, "meter: replay needs a trace");
  replay *r = wtl_alloc(ctx, sizeof *r);
  if (!r) return WTL_ERR_MEMORY;
  r->source.kind = &wtl_source_replay;
  r->source.ctx = ctx;
  r->begin_us = o->virtual_clock ? 0 : wtl_now_us();
  r->tick = wtl_calloc(ctx, (size_t)o->n_trace, sizeof *r->tick);
  wtl_status s = r->tick ? list_domains(r, o) : WTL_ERR_MEMORY;
  if (s == WTL_OK) s = fill_ticks(r, o);
  if (s != WTL_OK) {
    replay_close(&r->source);
    return s;
  }
  *out = &r->source;
  return WTL_OK;
}

static wtl_status replay_describe(const wtl_source *s, wtl_text *out) {
  const replay *r = (const replay *)s;
  int64_t n = r->first[s->n_domains], end_us = 0;
  for (int64_t i = 0; i < n; i++) end_us = r->tick[i].t_us > end_us ? r->tick[i].t_us : end_us;
  return wtl_text_add(out, "trace: %lld points, to %g s\n", (long long)n, (double)end_us / 1e6);
}

static void replay_read(wtl_source *s, int64_t now_us, wtl_reading *reading) {
  const replay *r = (const replay *)s;
  int64_t t = now_us - r->begin_us;
  for (int d = 0; d < s->n_domains; d++) {
    int64_t low = r->first[d], high = r->first[d + 1]; /* high: the first point after t */
    while (low < high) {
      int64_t middle = low + (high - low) / 2;
      if (r->tick[middle].t_us <= t) low = middle + 1;
      else high = middle;
    }
    const tick *a = high > r->first[d] ? &r->tick[high - 1] : NULL, *b = high < r->first[d + 1] ? &r->tick[high] : a;
    reading[d] = (wtl_reading){ 0 };
    reading[d].ok = a && a->energy_uj >= 0 && (t == a->t_us || (b != a && b->energy_uj >= 0));
    if (!reading[d].ok) {
      snprintf(reading[d].reason, sizeof reading[d].reason, "%s: the trace has nothing at %g s", s->domain[d].name,
               (double)t / 1e6);
    } else {
      double share = t > a->t_us ? (double)(t - a->t_us) / (double)(b->t_us - a->t_us) : 0;
      reading[d].energy_uj = a->energy_uj + llround(share * (double)(b->energy_uj - a->energy_uj));
    }
  }
}

const wtl_source_kind wtl_source_replay = { "replay",     WTL_REPLAYED,    replay_open,
                                            replay_close, replay_describe, replay_read };
