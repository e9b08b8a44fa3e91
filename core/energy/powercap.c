/* The powercap source: Intel's and AMD's RAPL counters, which Linux shows as files under /sys/class/powercap, read through
 * libpowercap.
 *
 * Its stateless calls alone: its handles take descriptor 0 for "there is no such file", fail altogether where one file
 * cannot be read, and count zones only up to the first gap. Which zones there are is read from the folder; their indices
 * are hexadecimal. RAPL's zones are packages with core, uncore and dram inside, and psys, the whole machine. What lies in
 * the package or holds it is listed and not summed; dram lies beside it. The same package seen twice (a die that shows its
 * package's register, intel-rapl-mmio beside intel-rapl) is counted once. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "counter.h"

#define ROOT "/sys/class/powercap"

/* RAPL's registers are brought up to date about once in 1 ms (Intel SDM 3B, 16.10.4). Each end of a region is off by one
 * such step at most, so after ten of them an energy is right to a tenth. */
#define UPDATE_US 1000
#define RESOLUTION_US (10 * UPDATE_US)

#ifdef WTL_POWERCAP
#include <powercap/powercap-sysfs.h>

enum { MAX_ZONES = WTL_MAX_DOMAINS, ZONE_NAME = 24, ZONE_TEXT = 40 };

static const char *const types[] = { "intel-rapl", "intel-rapl-mmio" }; /* mirrors last */

typedef struct zone {
  const char *type;
  uint32_t index[2], depth;
  char name[ZONE_NAME]; /* as the file says */
  wtl_counter counter;
} zone;

typedef struct powercap {
  wtl_source source;
  zone zone[MAX_ZONES]; /* of domain i */
  int n_mirrors;
  char mirror[MAX_ZONES][ZONE_TEXT + WTL_DOMAIN_MAX + 4]; /* "intel-rapl-mmio:0 (package-0)" */
} powercap;

/* "intel-rapl:0:1" */
static const char *zone_text(const zone *z, char buf[ZONE_TEXT]) {
  if (z->depth == 1) snprintf(buf, ZONE_TEXT, "%s:%x", z->type, z->index[0]);
  else snprintf(buf, ZONE_TEXT, "%s:%x:%x", z->type, z->index[0], z->index[1]);
  return buf;
}

static int by_index(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* The indices of the zones right inside `parent` (NULL: of the control type), in order. -1 with errno. */
static int list_zones(const char *type, const zone *parent, uint32_t *index) {
  char path[256], prefix[ZONE_TEXT + 8], name[ZONE_TEXT];
  if (parent) {
    zone_text(parent, name);
    snprintf(path, sizeof path, ROOT "/%s/%s", type, name);
    snprintf(prefix, sizeof prefix, "%s:", name);
  } else {
    snprintf(path, sizeof path, ROOT "/%s", type);
    snprintf(prefix, sizeof prefix, "%s:", type);
  }
  int n = 0;
  size_t skip = strlen(prefix);
  DIR *d = opendir(path);
  if (!d) return -1;
  for (struct dirent *e; (e = readdir(d)) && n < MAX_ZONES;) {
    const char *digits = e->d_name + skip;
    char *end;
    if (strncmp(e->d_name, prefix, skip) != 0 || !isxdigit((unsigned char)*digits) || strlen(digits) > 8) continue;
    unsigned long i = strtoul(digits, &end, 16);
    if (!*end) index[n++] = (uint32_t)i;
  }
  closedir(d);
  qsort(index, (size_t)n, sizeof *index, by_index);
  return n;
}

/* 0, or the negative errno, of one try. libpowercap takes a file without a digit for a good 0, so a 0 is looked at again. */
static int try_uj(const zone *z, bool range, uint64_t *out) {
  int err = range ? powercap_sysfs_zone_get_max_energy_range_uj(z->type, z->index, z->depth, out)
                  : powercap_sysfs_zone_get_energy_uj(z->type, z->index, z->depth, out);
  if (err != 0 || *out != 0) return err;
  char text[ZONE_TEXT], path[256], first;
  zone_text(z, text);
  int n = snprintf(path, sizeof path, ROOT "/%s/", z->type);
  if (z->depth == 2) n += snprintf(path + n, sizeof path - (size_t)n, "%s:%x/", z->type, z->index[0]);
  snprintf(path + n, sizeof path - (size_t)n, "%s/%s", text, range ? "max_energy_range_uj" : "energy_uj");
  FILE *f = fopen(path, "re");
  if (!f) return -errno;
  bool digit = fread(&first, 1, 1, f) == 1 && first == '0';
  fclose(f);
  return digit ? 0 : -EBADMSG;
}

/* What neither is absent nor forbidden may be passing: a register that did not answer, a file caught empty. */
static int read_uj(const zone *z, bool range, uint64_t *out) {
  int err = try_uj(z, range, out);
  for (int i = 0; i < 3 && (err == -ENODATA || err == -EBADMSG || err == -EIO); i++) err = try_uj(z, range, out);
  return err;
}

static const char *why(int err, char *buf, size_t n) { return err == -EBADMSG ? "holds no number" : strerror_r(-err, buf, n); }

/* What the domain is called: the kernel's name with the package's number ("dram" in "package-1" is "dram-1"). False where
 * the name is none of RAPL's: then the zone's path stands for it. */
static bool domain_name(const zone *z, const zone *parent, char out[WTL_DOMAIN_MAX]) {
  static const char *const inside[] = { "core", "uncore", "dram" };
  bool package = strncmp(z->name, "package-", 8) == 0;
  if (!parent && (package || strcmp(z->name, "psys") == 0)) {
    snprintf(out, WTL_DOMAIN_MAX, "%s", z->name);
    return true;
  }
  for (size_t i = 0; parent && i < sizeof inside / sizeof *inside; i++) {
    if (strcmp(z->name, inside[i]) == 0 && strncmp(parent->name, "package-", 8) == 0) {
      snprintf(out, WTL_DOMAIN_MAX, "%s-%s", inside[i], parent->name + 8);
      return true;
    }
  }
  char text[ZONE_TEXT];
  snprintf(out, WTL_DOMAIN_MAX, "%.*s", WTL_DOMAIN_MAX - 1, zone_text(z, text));
  return false;
}

/* Two dies of one package that show one register: it reads in order, first, second, first, as one does. */
static bool same_register(const zone *a, const zone *b) {
  const char *die_a = strstr(a->name, "-die-"), *die_b = strstr(b->name, "-die-");
  uint64_t first, second, third;
  if (a->depth != 1 || b->depth != 1 || !die_a || !die_b || die_a - a->name != die_b - b->name) return false;
  if (strncmp(a->name, b->name, (size_t)(die_a - a->name)) != 0) return false;
  if (read_uj(a, false, &first) != 0 || read_uj(b, false, &second) != 0 || read_uj(a, false, &third) != 0) return false;
  return first <= second && second <= third;
}

static wtl_status too_many(wtl_ctx *ctx) {
  return wtl_fail(ctx, WTL_ERR_UNSUPPORTED, "meter: powercap: there are more than %d zones", MAX_ZONES);
}

/* A zone whose name cannot be read may be a package: a sum without it would be too small and nobody would know. */
static wtl_status read_name(wtl_ctx *ctx, zone *z) {
  char place[ZONE_TEXT], text[128];
  int err = powercap_sysfs_zone_get_name(z->type, z->index, z->depth, z->name, sizeof z->name);
  if (err == -ENOBUFS) z->name[0] = 0; /* longer than any of RAPL's: unknown */
  else if (err < 0 || !z->name[0]) {
    return wtl_fail(ctx, WTL_ERR_IO, "meter: powercap: %s: name: %s", zone_text(z, place),
                    err < 0 ? strerror_r(-err, text, sizeof text) : "is empty");
  }
  for (char *c = z->name; *c; c++) {
    if (!isalnum((unsigned char)*c) && !strchr("-_", *c)) *c = '_'; /* it goes into tables */
  }
  return WTL_OK;
}

/* Lists the zone as a domain, or as a mirror of one that is there. */
static wtl_status add_zone(powercap *p, zone *z, const zone *parent, bool *mirrored) {
  wtl_source *s = &p->source;
  char text[ZONE_TEXT], domain[WTL_DOMAIN_MAX];
  WTL_TRY(read_name(s->ctx, z));
  bool known = domain_name(z, parent, domain);
  *mirrored = false;
  for (int i = 0; known && i < s->n_domains && !*mirrored; i++) {
    *mirrored = strcmp(s->domain[i].name, domain) == 0 || same_register(&p->zone[i], z);
  }
  if (*mirrored) {
    if (p->n_mirrors == MAX_ZONES) return too_many(s->ctx);
    snprintf(p->mirror[p->n_mirrors++], sizeof p->mirror[0], "%s (%s)", zone_text(z, text), domain);
    return WTL_OK;
  }
  if (s->n_domains == MAX_ZONES) return too_many(s->ctx);
  snprintf(s->domain[s->n_domains].name, sizeof s->domain[0].name, "%s", domain);
  s->domain[s->n_domains].summed = known && wtl_domain_summed(domain);
  p->zone[s->n_domains++] = *z;
  return WTL_OK;
}

static wtl_status find_zones(powercap *p, const char *type) {
  uint32_t top[MAX_ZONES], sub[MAX_ZONES];
  int n_top = list_zones(type, NULL, top);
  for (int i = 0; i < n_top; i++) {
    zone z = { .type = type, .index = { top[i] }, .depth = 1 };
    bool mirrored, sub_mirrored;
    WTL_TRY(add_zone(p, &z, NULL, &mirrored));
    int n_sub = list_zones(type, &z, sub);
    for (int k = 0; k < n_sub; k++) {
      zone inner = { .type = type, .index = { top[i], sub[k] }, .depth = 2 };
      /* what lies in a mirror is a mirror by its name, or, in a die, of a register that was seen */
      if (mirrored && strstr(z.name, "-die-")) continue;
      WTL_TRY(add_zone(p, &inner, &z, &sub_mirrored));
    }
  }
  return WTL_OK;
}

static void powercap_read(wtl_source *s, int64_t now_us, wtl_reading *reading) {
  powercap *p = (powercap *)s;
  for (int i = 0; i < s->n_domains; i++) {
    zone *z = &p->zone[i];
    wtl_reading *r = &reading[i];
    uint64_t uj = 0;
    char text[64];
    bool range = z->counter.range_uj == 0; /* it could not be read before */
    int err = range ? read_uj(z, true, &z->counter.range_uj) : 0;
    if (err == 0 && z->counter.range_uj == 0) err = -EBADMSG;
    if (err == 0) {
      range = false;
      err = read_uj(z, false, &uj);
    }
    if (err != 0) {
      wtl_counter_lose(&z->counter, r, "%s: %s: %s", s->domain[i].name, range ? "max_energy_range_uj" : "energy_uj",
                       why(err, text, sizeof text));
      continue;
    }
    wtl_counter_step(&z->counter, now_us, uj, r);
    if (!r->reason[0]) continue;
    char reason[WTL_REASON_MAX];
    memcpy(reason, r->reason, sizeof reason);
    snprintf(r->reason, sizeof r->reason, "%.31s: %.60s", s->domain[i].name, reason);
  }
}

/* The first thing that is wrong where no summed domain reads; WTL_OK where one does. */
static wtl_status check_works(powercap *p) {
  wtl_source *s = &p->source;
  wtl_reading reading[MAX_ZONES];
  const char *reason = NULL;
  powercap_read(s, wtl_now_us(), reading);
  for (int i = 0; i < s->n_domains; i++) {
    if (!s->domain[i].summed) continue;
    if (reading[i].ok) return WTL_OK;
    if (!reason) reason = reading[i].reason;
  }
  if (reason) return wtl_fail(s->ctx, WTL_ERR_IO, "meter: powercap: no package or dram counter can be read: %s", reason);
  return wtl_fail(s->ctx, WTL_ERR_UNSUPPORTED, "meter: powercap: " ROOT " has neither a package nor a dram zone");
}

static wtl_status powercap_open(wtl_ctx *ctx, const wtl_meter_options *o, wtl_source **out) {
  (void)o;
  char text[128];
  DIR *d = opendir(ROOT);
  if (!d) {
    int err = errno;
    return wtl_fail(ctx, err == ENOENT ? WTL_ERR_UNSUPPORTED : WTL_ERR_IO, "meter: powercap: " ROOT ": %s",
                    strerror_r(err, text, sizeof text));
  }
  closedir(d);
  powercap *p = wtl_alloc(ctx, sizeof *p);
  if (!p) return WTL_ERR_MEMORY;
  p->source.kind = &wtl_source_powercap;
  p->source.ctx = ctx;
  p->source.resolution_us = RESOLUTION_US;
  wtl_status status = WTL_OK;
  for (size_t i = 0; status == WTL_OK && i < sizeof types / sizeof *types; i++) status = find_zones(p, types[i]);
  if (status == WTL_OK) status = check_works(p);
  if (status != WTL_OK) {
    wtl_free(ctx, p);
    return status;
  }
  for (int i = 0; i < p->source.n_domains; i++) {
    int64_t us = wtl_counter_longest_us(&p->zone[i].counter);
    if (us > 0 && (!p->source.longest_us || us < p->source.longest_us)) p->source.longest_us = us;
  }
  *out = &p->source;
  return WTL_OK;
}

static void powercap_close(wtl_source *s) { wtl_free(s->ctx, s); }

static wtl_status powercap_describe(const wtl_source *s, wtl_text *out) {
  const powercap *p = (const powercap *)s;
  char text[ZONE_TEXT];
  WTL_TRY(wtl_text_add(out, "counters: RAPL under " ROOT ", brought up to date every %g s (assumed; Intel SDM 3B)\n",
                       UPDATE_US / 1e6));
  WTL_TRY(wtl_text_add(out, "longest_gap_s: %g (the shortest range at %d W)\n", (double)s->longest_us / 1e6,
                       WTL_COUNTER_MAX_W));
  for (int i = 0; i < s->n_domains; i++) {
    const zone *z = &p->zone[i];
    WTL_TRY(wtl_text_add(out, "zone: %s %s \"%s\", range %g J%s\n", s->domain[i].name, zone_text(z, text),
                         z->name, (double)z->counter.range_uj / 1e6, s->domain[i].summed ? ", summed" : ""));
  }
  for (int i = 0; i < p->n_mirrors; i++) WTL_TRY(wtl_text_add(out, "mirror: %s, not counted again\n", p->mirror[i]));
  return WTL_OK;
}

#else /* built without libpowercap */

static wtl_status powercap_open(wtl_ctx *ctx, const wtl_meter_options *o, wtl_source **out) {
  (void)o, (void)out;
  return wtl_fail(ctx, WTL_ERR_UNSUPPORTED, "meter: powercap: this build has no libpowercap (Debian: libpowercap-dev)");
}
static void powercap_close(wtl_source *s) { (void)s; }
static wtl_status powercap_describe(const wtl_source *s, wtl_text *out) {
  (void)s, (void)out;
  return WTL_OK;
}
static void powercap_read(wtl_source *s, int64_t now_us, wtl_reading *reading) { (void)s, (void)now_us, (void)reading; }

#endif

const wtl_source_kind wtl_source_powercap = { "powercap",     WTL_MEASURED,      powercap_open,
                                              powercap_close, powercap_describe, powercap_read };
