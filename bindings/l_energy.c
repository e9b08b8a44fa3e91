/* l_energy.c - meters and regions in Lua. A region keeps its meter alive; closing the meter ends its regions. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"

static void meter_release(wl_box *b) {
  wtl_meter_destroy(b->obj);
}

static void region_release(wl_box *b) {
  wtl_region_release(b->obj);
}

/* ---- traces: CSV with the columns t_s, domain, energy_uj ---- */

typedef struct trace {
  lua_State *L;
  wtl_trace_point *point; /* NULL: only count */
  int64_t n;
  char bad[128];
} trace;

static wtl_status trace_row(void *arg, int64_t row, const char *const *field, const size_t *len, int n) {
  static const char *const names[] = { "t_s", "domain", "energy_uj" };
  trace *t = arg;
  if (row == 0) {
    bool good = n == 3;
    for (int i = 0; good && i < 3; i++) good = strcmp(field[i], names[i]) == 0;
    if (!good) snprintf(t->bad, sizeof t->bad, "the columns must be t_s,domain,energy_uj");
    return good ? WTL_OK : WTL_ERR_FORMAT;
  }
  if (!t->point) {
    t->n++;
    return WTL_OK;
  }
  wtl_trace_point *p = &t->point[t->n++];
  bool missing = strcmp(field[2], "NA") == 0;
  char *end;
  bool timed = lua_stringtonumber(t->L, field[0]) == len[0] + 1; /* Lua's reader takes a point in any locale */
  if (timed) {
    p->t_s = lua_tonumber(t->L, -1);
    lua_pop(t->L, 1);
  }
  p->energy_uj = missing ? -1 : strtoll(field[2], &end, 10);
  if (!timed || (!missing && (end == field[2] || *end || p->energy_uj < 0))) {
    snprintf(t->bad, sizeof t->bad, "row %lld: t_s is a number, energy_uj an integer from 0 on or NA", (long long)row);
    return WTL_ERR_FORMAT;
  }
  if (len[1] == 0 || len[1] >= sizeof p->domain) {
    snprintf(t->bad, sizeof t->bad, "row %lld: a domain's name has 1 to %d bytes", (long long)row, WTL_DOMAIN_MAX - 1);
    return WTL_ERR_FORMAT;
  }
  memcpy(p->domain, field[1], len[1] + 1);
  return WTL_OK;
}

/* Pushes the points of a trace (memory of Lua's) and sets the options; or pushes nil, message, code and returns 3. */
static int read_trace(lua_State *L, wl_ctx *c, const char *path, wtl_meter_options *o) {
  trace t = { .L = L };
  luaL_checkstack(L, 4, "trace");
  wtl_status s = wtl_csv_load(c->core, path, trace_row, &t);
  if (s == WTL_OK) {
    t.point = lua_newuserdatauv(L, (size_t)(t.n > 0 ? t.n : 1) * sizeof *t.point, 0);
    t.n = 0;
    s = wtl_csv_load(c->core, path, trace_row, &t);
    if (s == WTL_OK && t.n == 0) snprintf(t.bad, sizeof t.bad, "there is no row");
  }
  if (t.bad[0]) {
    lua_pushnil(L);
    lua_pushfstring(L, "meter: %s: %s", path, t.bad);
    lua_pushstring(L, wtl_status_name(WTL_ERR_FORMAT));
    return 3;
  }
  if (s != WTL_OK) return wl_world(L, c, s);
  o->trace = t.point;
  o->n_trace = t.n;
  return 0;
}

static int meter(lua_State *L) {
  static const char *const names[] = { "source", "period_s", "tdp_w", "idle_w", "trace", "clock", NULL };
  static const char *const clocks[] = { "real", "virtual" };
  wl_ctx *c = wl_ctx_of(L);
  wtl_meter_options o = { 0 };
  wtl_meter *m = NULL;
  lua_settop(L, 1);
  if (!lua_isnil(L, 1)) {
    luaL_checktype(L, 1, LUA_TTABLE);
    wl_check_options(L, 1, "meter", names, false);
    o.source = wl_opt_string(L, 1, "meter", "source", NULL);
    o.period_s = wl_opt_number(L, 1, "meter", "period_s", 0);
    o.tdp_w = wl_opt_number(L, 1, "meter", "tdp_w", 0);
    o.idle_w = wl_opt_number(L, 1, "meter", "idle_w", 0);
    const char *clock = wl_opt_string(L, 1, "meter", "clock", "real");
    const char *path = wl_opt_string(L, 1, "meter", "trace", NULL);
    o.virtual_clock = strcmp(clock, "virtual") == 0;
    if (!o.virtual_clock && strcmp(clock, "real") != 0) return wl_unknown(L, "meter", "clock", clock, clocks, 2);
    int failed = path ? read_trace(L, c, path, &o) : 0;
    if (failed) return failed;
  }
  wl_box *b = wl_box_new(L, c, &wl_meter_class);
  wtl_status s = wtl_meter_create(c->core, &o, &m);
  if (s != WTL_OK) return wl_world(L, c, s);
  wl_box_fill(L, b, m, 0);
  return 1;
}

static int m_region(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_meter_class);
  const char *name = luaL_checkstring(L, 2);
  wtl_region *r = NULL;
  wl_box *n = wl_box_new(L, b->ctx, &wl_region_class);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  wl_try(L, b->ctx, wtl_region_begin(b->obj, name, &r));
  wl_box_fill(L, n, r, 0);
  return 1;
}

static int m_describe(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_meter_class);
  wtl_text *t = wl_text_new(L, b->ctx);
  wl_try(L, b->ctx, wtl_meter_describe(b->obj, t));
  return wl_text_finish(L, -1);
}

static int m_advance(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_meter_class);
  wl_try(L, b->ctx, wtl_meter_advance(b->obj, luaL_checknumber(L, 2)));
  lua_settop(L, 1);
  return 1;
}

static int m_power(lua_State *L) {
  wtl_power p;
  wl_box *b = wl_check(L, 1, &wl_meter_class);
  wtl_meter_power(b->obj, &p);
  if (p.measured) lua_pushnumber(L, p.measured_w);
  else lua_pushnil(L);
  if (p.estimated) lua_pushnumber(L, p.estimated_w);
  else lua_pushnil(L);
  return 2;
}

static void set_number(lua_State *L, const char *key, lua_Number v) {
  lua_pushnumber(L, v);
  lua_setfield(L, -2, key);
}

static void set_string(lua_State *L, const char *key, const char *v) {
  lua_pushstring(L, v);
  lua_setfield(L, -2, key);
}

static void set_boolean(lua_State *L, const char *key, bool v) {
  lua_pushboolean(L, v);
  lua_setfield(L, -2, key);
}

static int m_idle(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_meter_class);
  wtl_idle r;
  wl_try(L, b->ctx, wtl_meter_idle(b->obj, luaL_checknumber(L, 2), &r));
  lua_createtable(L, 0, 5);
  if (r.ok) {
    set_number(L, "idle_power_w", r.mean_w);
    set_number(L, "idle_sd_w", r.sd_w);
  }
  set_number(L, "duration_s", r.duration_s);
  lua_pushinteger(L, r.n);
  lua_setfield(L, -2, "samples");
  set_string(L, "reason", r.reason);
  return 1;
}

static int m_record(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_meter_class);
  lua_Integer n = luaL_checkinteger(L, 2);
  if (n < INT_MIN || n > INT_MAX) n = -1;
  wl_try(L, b->ctx, wtl_meter_record(b->obj, (int)n));
  lua_settop(L, 1);
  return 1;
}

static int m_recorded(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_meter_class);
  int n = wtl_meter_recorded(b->obj);
  wtl_interval x;
  lua_createtable(L, n, 0);
  for (int i = 0; i < n && wtl_meter_interval(b->obj, i, &x) == WTL_OK; i++) { /* it may be thinned meanwhile */
    lua_createtable(L, 0, 7);
    set_number(L, "begin_s", x.begin_s);
    set_number(L, "end_s", x.end_s);
    set_string(L, "source", x.source);
    set_string(L, "domain", x.domain);
    set_boolean(L, "summed", x.summed);
    set_string(L, "method", wtl_method_name(x.method));
    if (x.method != WTL_MISSING) set_number(L, x.method == WTL_ESTIMATED ? "power_est_w" : "power_w", x.power_w);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static void set_seconds(lua_State *L, const char *key, int64_t us) {
  if (us >= 0) set_number(L, key, (lua_Number)us / 1e6);
}

static void set_joules(lua_State *L, const char *key, int64_t uj) { set_number(L, key, (lua_Number)uj / 1e6); }

/* A model's figure never goes by a counter's name. */
static void push_domain(lua_State *L, const wtl_domain_result *d) {
  bool model = d->method == WTL_ESTIMATED;
  lua_createtable(L, 0, 8);
  set_string(L, "source", d->source);
  set_string(L, "domain", d->domain);
  set_string(L, "method", wtl_method_name(d->method));
  set_boolean(L, "summed", d->summed);
  if (d->method != WTL_MISSING) {
    set_joules(L, model ? "energy_est_j" : "energy_j", d->energy_uj);
    set_joules(L, model ? "exclusive_est_j" : "exclusive_j", d->exclusive_uj);
  }
  set_number(L, "missing_s", d->missing_s);
  set_boolean(L, "below_resolution", d->below_resolution);
  set_string(L, "reason", d->reason);
}

static int r_stop(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_region_class);
  wtl_region_result r;
  wl_try(L, b->ctx, wtl_region_end(b->obj, &r));
  lua_createtable(L, 0, 16);
  set_seconds(L, "duration_s", r.duration_us);
  set_seconds(L, "exclusive_s", r.exclusive_us);
  set_seconds(L, "cpu_s", r.cpu_us);
  set_seconds(L, "other_cpu_s", r.other_cpu_us);
  set_seconds(L, "steal_s", r.steal_us);
  set_string(L, "method", wtl_method_name(r.method));
  if (r.method != WTL_MISSING && r.method != WTL_ESTIMATED) {
    set_joules(L, "energy_j", r.energy_uj);
    set_joules(L, "exclusive_j", r.exclusive_uj);
  }
  if (r.has_est) {
    set_joules(L, "energy_est_j", r.est_uj);
    set_joules(L, "exclusive_est_j", r.exclusive_est_uj);
  }
  set_number(L, "missing_s", r.missing_s);
  set_boolean(L, "below_resolution", r.below_resolution);
  set_string(L, "reason", r.reason);
  int n = wtl_region_domains(b->obj);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    wtl_domain_result d;
    wl_try(L, b->ctx, wtl_region_domain(b->obj, i, &d));
    push_domain(L, &d);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "domains");
  return 1;
}

static const wl_fn meter_methods[] = {
  { "region", m_region, "(name) -> region",
    "Opens a region, nested in the newest open one. local r <close> = m:region \"train\" ends it on errors too." },
  { "describe", m_describe, "() -> text", "The sources, their domains and constants, and why counters are not among them." },
  { "power", m_power, "() -> w or nil, estimated_w or nil", "Watts over about the last second, by counters and by the model." },
  { "idle", m_idle, "(seconds) -> table",
    "Waits 0.2 to 3600 s and measures what the machine draws meanwhile: idle_power_w, idle_sd_w (over windows of 0.1 s), "
    "duration_s, samples, reason. Without counters, or where a reading was missing, both are nil and reason says why." },
  { "record", m_record, "(n) -> meter",
    "Records power over time from now on, anew, in at most n intervals (4 to 1000000) a domain, which grow longer as it "
    "fills; 0 ends it." },
  { "recorded", m_recorded, "() -> list",
    "The record: {begin_s, end_s (since it began), source, domain, summed, method, power_w or power_est_w}, in order of "
    "time. Power is nil where a reading was missing." },
  { "advance", m_advance, "(seconds) -> meter", "Moves a virtual clock (replay) on." },
  { NULL, NULL, NULL, NULL }
};

static const wl_fn region_methods[] = {
  { "stop", r_stop, "() -> table",
    "Ends the region (and those still open inside it); again gives the same. duration_s, exclusive_s "
    "(without nested regions), cpu_s (this process), other_cpu_s, steal_s, method (measured, estimated, "
    "replayed, missing; of the counters where there are any), energy_j and exclusive_j by counters (package + dram), "
    "energy_est_j and exclusive_est_j by the model, missing_s (seconds without a reading, whose energy is in neither), "
    "below_resolution (shorter than the counter's steps resolve), reason, domains (a list: source, domain, method, summed, "
    "energy_j or energy_est_j, exclusive_j or exclusive_est_j, missing_s, below_resolution, reason; what is not summed "
    "lies inside another domain or holds it). What is missing is nil, never 0." },
  { NULL, NULL, NULL, NULL }
};

const wl_class wl_meter_class = { .name = "meter", .release = meter_release, .methods = meter_methods };
const wl_class wl_region_class = { .name = "region", .release = region_release, .methods = region_methods };

static const wl_fn shared[] = {
  { "meter", meter,
    "{source = \"auto\", period_s = 0.1, tdp_w =, idle_w =, trace =, clock = \"real\"} -> meter or nil, message, code",
    "Samples energy from a thread of its own. Sources: auto (powercap where it works, with the estimate beside it; else the "
    "estimate alone), powercap (RAPL's counters), estimate (a model of tdp_w and idle_w watts), replay (trace: a CSV file "
    "t_s,domain,energy_uj of counters, NA where missing; clock = \"virtual\" is moved by meter:advance), off. `wattle doctor` "
    "says which work here." },
  { NULL, NULL, NULL, NULL }
};

static const wl_class *const classes[] = { &wl_meter_class, &wl_region_class, NULL };

const wl_module wl_energy_module = { .area = "energy", .shared = shared, .classes = classes };
