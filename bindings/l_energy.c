/* l_energy.c - meters and regions in Lua. A region keeps its meter alive; closing the meter ends its regions. */
#include "box.h"

static void meter_release(wl_box *b) {
  wtl_meter_destroy(b->obj);
}

static void region_release(wl_box *b) {
  wtl_region_release(b->obj);
}

static int meter(lua_State *L) {
  static const char *const names[] = { "source", "period_s", "tdp_w", "idle_w", NULL };
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

static void set_seconds(lua_State *L, const char *key, int64_t us) {
  if (us < 0) return;
  lua_pushnumber(L, (lua_Number)us / 1e6);
  lua_setfield(L, -2, key);
}

static int r_stop(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_region_class);
  wtl_region_result r;
  wl_try(L, b->ctx, wtl_region_end(b->obj, &r));
  lua_createtable(L, 0, 12);
  set_seconds(L, "duration_s", r.duration_us);
  set_seconds(L, "exclusive_s", r.exclusive_us);
  set_seconds(L, "cpu_s", r.cpu_us);
  set_seconds(L, "other_cpu_s", r.other_cpu_us);
  set_seconds(L, "steal_s", r.steal_us);
  lua_pushstring(L, wtl_method_name(r.method));
  lua_setfield(L, -2, "method");
  if (r.method != WTL_MISSING) { /* a model's figure never goes by a counter's name */
    bool model = r.method == WTL_ESTIMATED;
    lua_pushnumber(L, (lua_Number)r.energy_uj / 1e6);
    lua_setfield(L, -2, model ? "energy_est_j" : "energy_j");
    lua_pushnumber(L, (lua_Number)r.exclusive_uj / 1e6);
    lua_setfield(L, -2, model ? "exclusive_est_j" : "exclusive_j");
  }
  lua_pushnumber(L, r.missing_s);
  lua_setfield(L, -2, "missing_s");
  lua_pushboolean(L, r.below_resolution);
  lua_setfield(L, -2, "below_resolution");
  lua_pushstring(L, r.reason);
  lua_setfield(L, -2, "reason");
  return 1;
}

static const wl_fn meter_methods[] = {
  { "region", m_region, "(name) -> region",
    "Opens a region, nested in the newest open one. local r <close> = m:region \"train\" ends it on errors too." },
  { "describe", m_describe, "() -> text", "The sources, their domains and constants." },
  { NULL, NULL, NULL, NULL }
};

static const wl_fn region_methods[] = {
  { "stop", r_stop, "() -> table",
    "Ends the region (and those still open inside it); again gives the same. duration_s, exclusive_s "
    "(without nested regions), cpu_s (this process), other_cpu_s, steal_s, method (measured, estimated, "
    "replayed, missing), energy_j and exclusive_j by counters or energy_est_j and exclusive_est_j by a model "
    "(method estimated), missing_s (seconds without a reading, whose energy is in neither), below_resolution, "
    "reason. What is missing is nil, never 0." },
  { NULL, NULL, NULL, NULL }
};

const wl_class wl_meter_class = { .name = "meter", .release = meter_release, .methods = meter_methods };
const wl_class wl_region_class = { .name = "region", .release = region_release, .methods = region_methods };

static const wl_fn shared[] = {
  { "meter", meter, "{source = \"estimate\", period_s = 0.1, tdp_w =, idle_w =} -> meter",
    "Samples energy from a thread of its own. Sources: estimate, off. Watts and seconds." },
  { NULL, NULL, NULL, NULL }
};

static const wl_class *const classes[] = { &wl_meter_class, &wl_region_class, NULL };

const wl_module wl_energy_module = { .area = "energy", .shared = shared, .classes = classes };
