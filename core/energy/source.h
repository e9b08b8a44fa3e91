/* What an energy source offers the meter. To add one (nvml, hwmon): a file here and a row in sources.c.
 *
 * A source has domains, each with a counter of microjoules that only grows while the source is open: wraps of the hardware's
 * register are its own business (counter.h), and so is integrating a power reading. The meter reads all domains at every
 * sample and counts an interval between two samples only where both readings are there and nothing was lost in between. */
#ifndef WTL_SOURCE_H
#define WTL_SOURCE_H

#include "base.h"

#define WTL_MAX_DOMAINS 64

/* A domain's counter now, or why it cannot be read. */
typedef struct wtl_reading {
  bool ok;
  bool cut; /* ok, but what passed since the reading before is not known: that interval is missing */
  int64_t energy_uj;
  char reason[WTL_REASON_MAX]; /* where not ok, or cut */
} wtl_reading;

typedef struct wtl_source wtl_source;

/* One row of the table. */
typedef struct wtl_source_kind {
  const char *name;
  wtl_method method; /* what its readings are when they are there */
  /* WTL_ERR_UNSUPPORTED or WTL_ERR_IO where it does not work on this machine. */
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
    char name[WTL_DOMAIN_MAX];
    bool summed; /* part of a region's energy; false for what another domain contains. None is: the sum is missing */
  } domain[WTL_MAX_DOMAINS];
  int64_t resolution_us; /* a shorter region is below resolution; 0: none is */
  int64_t longest_us;    /* must be read at least this often; 0: as seldom as one likes */
};

extern const wtl_source_kind wtl_source_powercap, wtl_source_estimate, wtl_source_replay, wtl_source_off;

/* An unknown name is WTL_ERR_ARG and lists the known ones. "auto" is the meter's own. */
wtl_status wtl_source_find(wtl_ctx *ctx, const char *name, const wtl_source_kind **out);

/* Is a domain of this name ("package-0", "package-0-die-1", "dram-0") added up in energy_j? */
bool wtl_domain_summed(const char *name);

#define WTL_MAX_SOURCES 2
/* A meter on n sources that the caller opened and the meter closes (also on failure). The first whose readings are not
 * estimates is the one that energy_uj is of. `without`: why a source is not among them, for the description; or "". */
wtl_status wtl_meter_create_on(wtl_ctx *ctx, wtl_source *const *source, int n, double period_s, bool virtual_clock,
                               const char *without, wtl_meter **out);

#endif
