/* The estimate source: a model of the processor's power, for machines whose counters cannot be read.
 *   power = idle_w + (tdp_w - idle_w) * this process's CPU time / (wall time * processors)
 * Its integral is linear in both times, so it is exact at any sampling period. It repeats the time with constants, and is
 * reported in columns of its own (energy_est_j). */
#include <stdio.h>
#include <unistd.h>

#include "source.h"

/* Watts of a logical processor at full load and at rest: Cloud Carbon Footprint's means over server processors in
 * SPECpower_ssj2008 results (MAX_WATTS_AVG 3.5, MIN_WATTS_AVG 0.74). */
#define FULL_W_PER_PROCESSOR 3.5
#define IDLE_W_PER_PROCESSOR 0.74

/* More than any machine draws; an energy in uJ stays far from 64 bits. */
#define MAX_W 1e6

/* CPU time of a thread that is running elsewhere is brought up to date by the kernel's tick: 10 ms at 100 Hz, the
 * slowest rate in use. */
#define RESOLUTION_US 10000

typedef struct estimate {
  wtl_source source;
  double tdp_w, idle_w;
  bool tdp_assumed, idle_assumed;
  long processors;
  int64_t begin_us, begin_cpu_us;
} estimate;

static wtl_status estimate_open(wtl_ctx *ctx, const wtl_meter_options *o, wtl_source **out) {
  double tdp_w = o ? o->tdp_w : 0, idle_w = o ? o->idle_w : 0;
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  if (processors < 1) processors = 1;
  if (!(tdp_w >= 0 && tdp_w <= MAX_W && idle_w >= 0 && idle_w <= MAX_W)) {
    return wtl_fail(ctx, WTL_ERR_ARG, "meter: tdp_w is %g, idle_w %g; both are 0 to %g", tdp_w, idle_w, MAX_W);
  }
  bool tdp_assumed = tdp_w == 0, idle_assumed = idle_w == 0;
  if (tdp_assumed) tdp_w = FULL_W_PER_PROCESSOR * (double)processors;
  if (idle_assumed) idle_w = tdp_w * (IDLE_W_PER_PROCESSOR / FULL_W_PER_PROCESSOR);
  if (idle_w > tdp_w) {
    return wtl_fail(ctx, WTL_ERR_ARG, "meter: idle_w is %g, more than tdp_w, %g%s", idle_w, tdp_w,
                    tdp_assumed ? " (assumed)" : "");
  }
  estimate *e = wtl_alloc(ctx, sizeof *e);
  if (!e) return WTL_ERR_MEMORY;
  *e = (estimate){ { .kind = &wtl_source_estimate, .ctx = ctx, .n_domains = 1, .resolution_us = RESOLUTION_US },
                   tdp_w, idle_w, tdp_assumed, idle_assumed, processors, wtl_now_us(), wtl_process_cpu_us() };
  e->source.domain[0].summed = true;
  snprintf(e->source.domain[0].name, sizeof e->source.domain[0].name, "processor");
  *out = &e->source;
  return WTL_OK;
}

static void estimate_close(wtl_source *s) { wtl_free(s->ctx, s); }

static wtl_status estimate_describe(const wtl_source *s, wtl_text *out) {
  const estimate *e = (const estimate *)s;
  WTL_TRY(wtl_text_add(out, "model: power = idle_w + (tdp_w - idle_w) * process_cpu_s / (wall_s * processors)\n"));
  WTL_TRY(wtl_text_add(out, "processors: %ld\n", e->processors));
  WTL_TRY(
      wtl_text_add(out, "tdp_w: %g (%s)\n", e->tdp_w,
                   e->tdp_assumed ? "assumed: 3.5 W a logical processor, Cloud Carbon Footprint's mean" : "given"));
  return wtl_text_add(out, "idle_w: %g (%s)\n", e->idle_w,
                      e->idle_assumed ? "assumed: 0.74/3.5 of tdp_w, Cloud Carbon Footprint's means" : "given");
}

static void estimate_read(wtl_source *s, int64_t now_us, wtl_reading *reading) {
  const estimate *e = (const estimate *)s;
  double wall_us = (double)(now_us - e->begin_us), cpu_us = (double)(wtl_process_cpu_us() - e->begin_cpu_us);
  double energy_uj = e->idle_w * wall_us + (e->tdp_w - e->idle_w) * cpu_us / (double)e->processors;
  *reading = (wtl_reading){ .ok = true, .energy_uj = (int64_t)energy_uj };
}

const wtl_source_kind wtl_source_estimate = { "estimate",     WTL_ESTIMATED,     estimate_open,
                                              estimate_close, estimate_describe, estimate_read };
