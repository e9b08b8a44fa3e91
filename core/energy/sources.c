/* The table of energy sources, and the one that reads nothing. */
#include <stdio.h>
#include <string.h>

#include "source.h"

static const wtl_source_kind *const kinds[] = { &wtl_source_powercap, &wtl_source_estimate, &wtl_source_replay, &wtl_source_off };
#define N_KINDS (sizeof kinds / sizeof *kinds)

wtl_status wtl_source_find(wtl_ctx *ctx, const char *name, const wtl_source_kind **out) {
  char known[256] = "auto";
  for (size_t i = 0; i < N_KINDS; i++) {
    if (strcmp(kinds[i]->name, name) == 0) {
      *out = kinds[i];
      return WTL_OK;
    }
    size_t n = strlen(known);
    snprintf(known + n, sizeof known - n, ", %s", kinds[i]->name);
  }
  return wtl_fail(ctx, WTL_ERR_ARG, "meter: there is no source \"%.40s\"; there are %s", name, known);
}

bool wtl_domain_summed(const char *name) {
  static const char *const summed[] = { "package", "dram" };
  for (size_t i = 0; i < sizeof summed / sizeof *summed; i++) {
    size_t n = strlen(summed[i]);
    if (strncmp(name, summed[i], n) == 0 && (name[n] == '-' || !name[n])) return true;
  }
  return false;
}

/* ---- off: everything is missing, for runs that only want times ---- */

static wtl_status off_open(wtl_ctx *ctx, const wtl_meter_options *o, wtl_source **out) {
  (void)o;
  wtl_source *s = wtl_alloc(ctx, sizeof *s);
  if (!s) return WTL_ERR_MEMORY;
  s->kind = &wtl_source_off;
  s->ctx = ctx;
  s->n_domains = 1;
  s->domain[0].summed = true;
  snprintf(s->domain[0].name, sizeof s->domain[0].name, "none");
  *out = s;
  return WTL_OK;
}

static void off_close(wtl_source *s) { wtl_free(s->ctx, s); }

static wtl_status off_describe(const wtl_source *s, wtl_text *out) {
  (void)s;
  return wtl_text_add(out, "energy: not read\n");
}

static void off_read(wtl_source *s, int64_t now_us, wtl_reading *reading) {
  (void)s, (void)now_us;
  *reading = (wtl_reading){ .ok = false, .reason = "source off" };
}

const wtl_source_kind wtl_source_off = { "off", WTL_MISSING, off_open, off_close, off_describe, off_read };
