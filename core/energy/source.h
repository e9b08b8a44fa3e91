/* What an energy source offers the meter. To add one (powercap, nvml, replay): a file here and a row in sources.c.
 *
 * A source has domains, each with a counter of microjoules that only grows while the source is open: wraps of the hardware's
 * register are its own business, and so is integrating a power reading. The meter reads all domains at every sample and
 * counts an interval between two samples only where both readings are there. */
#ifndef WTL_SOURCE_H
#define WTL_SOURCE_H

#include "base.h"

#define WTL_MAX_DOMAINS 16
#define WTL_REASON_MAX 96

/* A domain's counter now, or why it cannot be read. */
typedef struct wtl_reading {
  bool ok;
  int64_t energy_uj;
  char reason[WTL_REASON_MAX];
} wtl_reading;

typedef struct wtl_source wtl_source;

/* One row of the table. */
typedef struct wtl_source_kind {
  const char *name;
  wtl_method method; /* what its readings are when they are there */
  wtl_status (*open)(wtl_ctx *ctx, const wtl_meter_options *o, wtl_source **out);
  void (*close)(wtl_source *s);
  /* Lines "key: value" with every constant, what is assumed named as such. */
  wtl_status (*describe)(const wtl_source *s, wtl_text *out);
  /* Fills reading[0..n_domains-1]. Runs in the meter's thread too: it must not fail the context, allocate or wait. */
  void (*read)(wtl_source *s, int64_t now_us, wtl_reading *reading);
} wtl_source_kind;

/* A source's own struct begins with this. */
struct wtl_source {
  const wtl_source_kind *kind;
  wtl_ctx *ctx;
  int n_domains; /* at least 1 */
  struct {
    char name[32];
    bool summed; /* part of a region's energy; false for what another domain contains */
  } domain[WTL_MAX_DOMAINS];
  int64_t resolution_us; /* a shorter region is below resolution; 0: none is */
};

extern const wtl_source_kind wtl_source_estimate, wtl_source_off;

/* NULL takes "estimate". An unknown name is WTL_ERR_ARG and lists the known ones. */
wtl_status wtl_source_find(wtl_ctx *ctx, const char *name, const wtl_source_kind **out);

/* A meter on a source that the caller opened and the meter closes (also on failure). */
wtl_status wtl_meter_create_on(wtl_ctx *ctx, wtl_source *source, double period_s, wtl_meter **out);

#endif
