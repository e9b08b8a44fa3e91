/* l_plan.c - compiled plans: step, forward, evaluate, gradients, and what a plan tells of itself. A step allocates
 * nothing and calls no Lua. Modules wrap this (model:compile in lua/wattle/nn/compile.lua). */
#include "box.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INPUTS = 16 };

static void plan_release(wl_box *b) {
  wtl_plan_release(b->obj);
}

/* ---- compiling ------------------------------------------------------------------------------- */

/* What the optimizer and its groups have in common. def: NaN where a group may leave it out. */
typedef struct hypers { double lr, momentum, weight_decay, beta1, beta2, eps; } hypers;

static hypers read_hypers(lua_State *L, int idx, const char *what, const hypers *def) {
  hypers h = { wl_opt_number(L, idx, what, "lr", def->lr), wl_opt_number(L, idx, what, "momentum", def->momentum),
               wl_opt_number(L, idx, what, "weight_decay", def->weight_decay), wl_opt_number(L, idx, what, "beta1", def->beta1),
               wl_opt_number(L, idx, what, "beta2", def->beta2), wl_opt_number(L, idx, what, "eps", def->eps) };
  return h;
}

/* groups = {{params = {parameter, ...}, lr =, ...}, ...} at the top of the stack; leaves what owns their memory there. */
static void read_groups(lua_State *L, wtl_optim *o) {
  static const char *const names[] = { "params", "lr", "momentum", "weight_decay", "beta1", "beta2", "eps", NULL };
  static const hypers own = { NAN, NAN, NAN, NAN, NAN, NAN };
  int groups = lua_gettop(L), n = (int)lua_rawlen(L, groups);
  luaL_checktype(L, groups, LUA_TTABLE);
  luaL_checkstack(L, n + 8, "optimizer groups");
  wtl_optim_group *group = lua_newuserdatauv(L, sizeof *group * (size_t)n + 1, 0);
  for (int k = 0; k < n; k++) {
    if (lua_geti(L, groups, k + 1) != LUA_TTABLE) wl_error(L, "optimizer: groups must be a list of tables");
    int at = lua_gettop(L);
    wl_check_options(L, at, "optimizer group", names, false);
    hypers h = read_hypers(L, at, "optimizer group", &own);
    if (lua_getfield(L, at, "params") != LUA_TTABLE) wl_error(L, "optimizer: group %d has no list params", k + 1);
    int count = (int)lua_rawlen(L, -1);
    wtl_param **param = lua_newuserdatauv(L, sizeof *param * (size_t)count + 1, 0);
    for (int i = 0; i < count; i++) {
      lua_geti(L, -2, i + 1);
      param[i] = wl_check_obj(L, -1, &wl_param_class);
      lua_pop(L, 1);
    }
    group[k] = (wtl_optim_group){ param, count, h.lr, h.momentum, h.weight_decay, h.beta1, h.beta2, h.eps };
    lua_replace(L, at); /* the list of parameters stays, the rest goes */
    lua_settop(L, at);
  }
  o->group = group;
  o->n_group = n;
}

static void read_optimizer(lua_State *L, int idx, wtl_optim *o) {
  static const char *const names[] = { "kind", "lr", "momentum", "weight_decay", "nesterov", "beta1", "beta2", "eps", "clip_norm",
                                       "clip_value", "accumulate", "groups", NULL };
  static const hypers def = { -1, 0, 0, 0.9, 0.999, 1e-8 };
  const char *what = "optimizer";
  luaL_checktype(L, idx, LUA_TTABLE);
  wl_check_options(L, idx, what, names, false);
  hypers h = read_hypers(L, idx, what, &def);
  double accumulate = wl_opt_number(L, idx, what, "accumulate", 1);
  if (h.lr < 0) wl_error(L, "optimizer: lr must be given and not be negative; it is %f", h.lr);
  if (!(accumulate >= 1 && accumulate <= 1e6 && accumulate == (int)accumulate))
    wl_error(L, "optimizer: accumulate must be a count of steps from 1 to 1000000");
  *o = (wtl_optim){ .kind = wl_opt_string(L, idx, what, "kind", "sgd"), .lr = h.lr, .momentum = h.momentum,
                    .weight_decay = h.weight_decay, .beta1 = h.beta1, .beta2 = h.beta2, .eps = h.eps,
                    .nesterov = wl_opt_bool(L, idx, what, "nesterov", false),
                    .clip_norm = wl_opt_number(L, idx, what, "clip_norm", 0),
                    .clip_value = wl_opt_number(L, idx, what, "clip_value", 0), .accumulate = (int)accumulate };
  if (lua_getfield(L, idx, "groups") != LUA_TNIL) read_groups(L, o);
}

static int compile(lua_State *L) {
  static const char *const names[] = { "optimizer", "backend", "gradients", "keep_values", "seed", NULL };
  wl_ctx *c = wl_ctx_of(L);
  wtl_graph *g = wl_check_obj(L, 1, &wl_graph_class);
  wtl_plan_options o = { .seed = c->seed };
  wtl_optim optim;
  wtl_plan *p = NULL;
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    wl_check_options(L, 2, "compile", names, false);
    o.backend = wl_opt_string(L, 2, "compile", "backend", NULL);
    o.gradients = wl_opt_bool(L, 2, "compile", "gradients", false);
    o.keep_values = wl_opt_bool(L, 2, "compile", "keep_values", false);
    if (lua_getfield(L, 2, "seed") != LUA_TNIL) o.seed = (uint64_t)luaL_checkinteger(L, 3);
    if (lua_getfield(L, 2, "optimizer") != LUA_TNIL) {
      read_optimizer(L, 4, &optim);
      o.optim = &optim;
    }
  }
  wl_box *b = wl_box_new(L, c, &wl_plan_class);
  wl_try(L, c, wtl_plan_compile(c->core, g, &o, &p));
  wl_box_fill(L, b, p, 0);
  return 1;
}

/* ---- running ----------------------------------------------------------------------------------- */

static int read_inputs(lua_State *L, int first, int last, wtl_tensor *in[MAX_INPUTS]) {
  if (last - first + 1 > MAX_INPUTS) wl_error(L, "plan: more than %d inputs", MAX_INPUTS);
  for (int i = first; i <= last; i++) in[i - first] = wl_check_obj(L, i, &wl_tensor_class);
  return last - first + 1;
}

static int push_step(lua_State *L, const wtl_step *s) {
  lua_pushnumber(L, s->loss);
  lua_pushnumber(L, s->correct);
  lua_pushinteger(L, s->samples);
  return 3;
}

static int plan_step(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  wtl_tensor *in[MAX_INPUTS];
  wtl_step s;
  int n = read_inputs(L, 2, lua_gettop(L), in);
  wl_try(L, b->ctx, wtl_plan_step(b->obj, in, n, &s));
  wl_host_step_ended(L);
  return push_step(L, &s);
}

/* Results go into closed boxes, or into the caller's tensors, which have boxes already. */
static int plan_forward(lua_State *L) {
  static const char *const names[] = { "out", NULL };
  wl_box *b = wl_check(L, 1, &wl_plan_class), *box[MAX_INPUTS] = { NULL };
  wtl_tensor *in[MAX_INPUTS], *out[MAX_INPUTS] = { NULL };
  int top = lua_gettop(L), options = lua_istable(L, top) ? top : 0, n_out = wtl_plan_outputs(b->obj);
  int n = read_inputs(L, 2, options ? top - 1 : top, in);
  if (n_out > MAX_INPUTS) return wl_error(L, "plan: more than %d outputs", MAX_INPUTS);
  luaL_checkstack(L, n_out + 8, "plan:forward");
  int given = 0;
  if (options) {
    wl_check_options(L, options, "forward", names, false);
    if (lua_getfield(L, options, "out") != LUA_TNIL) given = lua_gettop(L);
  }
  for (int i = 0; i < n_out; i++) {
    if (given && lua_istable(L, given)) lua_geti(L, given, i + 1);
    else if (given && i == 0) lua_pushvalue(L, given);
    else lua_pushnil(L);
    if (!lua_isnil(L, -1)) {
      out[i] = wl_check_obj(L, -1, &wl_tensor_class);
      continue;
    }
    lua_pop(L, 1);
    box[i] = wl_box_new(L, b->ctx, &wl_tensor_class);
  }
  wl_try(L, b->ctx, wtl_plan_forward(b->obj, in, n, out, NULL));
  for (int i = 0; i < n_out; i++) /* all owned before the collector may run */
    if (box[i]) wl_box_fill(L, box[i], out[i], 0);
  size_t bytes = 0;
  for (int i = 0; i < n_out; i++) {
    if (!box[i]) continue;
    box[i]->charge = wtl_tensor_bytes(out[i]);
    b->ctx->live += box[i]->charge;
    bytes += box[i]->charge;
  }
  wl_collect_step(L, b->ctx, bytes);
  return n_out;
}

static int plan_evaluate(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  wtl_tensor *in[MAX_INPUTS];
  wtl_step s;
  int n = read_inputs(L, 2, lua_gettop(L), in);
  wl_try(L, b->ctx, wtl_plan_forward(b->obj, in, n, NULL, &s));
  return push_step(L, &s);
}

static int plan_set(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  wl_try(L, b->ctx, wtl_plan_set(b->obj, luaL_checkstring(L, 2), luaL_checknumber(L, 3)));
  return 0;
}

static int plan_get(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  double v = 0;
  wl_try(L, b->ctx, wtl_plan_get(b->obj, luaL_checkstring(L, 2), &v));
  lua_pushnumber(L, v);
  return 1;
}

static int plan_flush(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  wl_try(L, b->ctx, wtl_plan_flush(b->obj));
  return 0;
}

/* ---- the optimizer's state ---- */

static int plan_states(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  int n = wtl_plan_states(b->obj);
  lua_createtable(L, n, 0);
  for (int k = 0;; k++) { /* one beyond the last too: accumulated steps are told where there are no tensors */
    const char *param, *name;
    wtl_tensor *t;
    wtl_status status = wtl_plan_state(b->obj, k, &param, &name, &t);
    if (k == n && status == WTL_ERR_ARG) break;
    wl_try(L, b->ctx, status);
    lua_createtable(L, 0, 3);
    lua_pushstring(L, param);
    lua_setfield(L, -2, "parameter");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    wl_box *box = wl_box_new(L, b->ctx, &wl_tensor_class);
    wl_tensor_fill(L, box, wtl_tensor_retain(t), true);
    lua_setfield(L, -2, "tensor");
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

static int plan_count(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  if (!lua_isnoneornil(L, 2)) {
    wtl_plan_count c = { luaL_checkinteger(L, 2), luaL_checkinteger(L, 3) };
    wl_try(L, b->ctx, wtl_plan_count_set(b->obj, c));
    return 0;
  }
  wtl_plan_count c = wtl_plan_count_get(b->obj);
  lua_pushinteger(L, c.steps);
  lua_pushinteger(L, c.updates);
  return 2;
}

/* ---- gradients and values ------------------------------------------------------------------------ */

static int plan_param_gradient(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  wtl_param *p = wl_check_obj(L, 2, &wl_param_class);
  wtl_tensor *t = NULL;
  wl_box *n = wl_box_new(L, b->ctx, &wl_tensor_class);
  wl_try(L, b->ctx, wtl_plan_param_gradient(b->obj, p, &t));
  wl_tensor_fill(L, n, t, false);
  return 1;
}

static int plan_input_gradient(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  lua_Integer i = luaL_checkinteger(L, 2);
  wtl_tensor *t = NULL;
  if (i < 1 || i > wtl_plan_inputs(b->obj))
    return wl_error(L, "input_gradient: input %I of %d (inputs count from 1)", i, wtl_plan_inputs(b->obj));
  wl_box *n = wl_box_new(L, b->ctx, &wl_tensor_class);
  wl_try(L, b->ctx, wtl_plan_input_gradient(b->obj, (int)i - 1, &t));
  wl_tensor_fill(L, n, t, false);
  return 1;
}

static int plan_value(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class), *v = wl_check(L, 2, &wl_value_class);
  bool gradient = lua_toboolean(L, 3); /* before a new box takes the place of an absent argument */
  wtl_tensor *t = NULL;
  wl_box *n = wl_box_new(L, b->ctx, &wl_tensor_class);
  wl_try(L, b->ctx, wtl_plan_value(b->obj, v->value, gradient, &t));
  wl_tensor_fill(L, n, t, false);
  return 1;
}

/* ---- what it tells of itself ----------------------------------------------------------------------- */

static int plan_describe(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  wtl_text *t = wl_text_new(L, b->ctx);
  wl_try(L, b->ctx, wtl_plan_describe(b->obj, t));
  return wl_text_finish(L, -1);
}

static void set_integer(lua_State *L, const char *key, lua_Integer v) {
  lua_pushinteger(L, v);
  lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, lua_Number v) {
  lua_pushnumber(L, v);
  lua_setfield(L, -2, key);
}

static void set_string(lua_State *L, const char *key, const char *v) {
  lua_pushstring(L, v ? v : "");
  lua_setfield(L, -2, key);
}

static int plan_info(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  wtl_plan_info i;
  wl_try(L, b->ctx, wtl_plan_info_get(b->obj, &i));
  lua_createtable(L, 0, 12);
  set_integer(L, "nodes", i.nodes);
  set_integer(L, "reorders", i.reorders);
  set_integer(L, "weight_forms", i.weight_forms);
  set_integer(L, "arena_bytes", (lua_Integer)i.arena_bytes);
  set_integer(L, "sum_bytes", (lua_Integer)i.sum_bytes);
  set_integer(L, "specialisations", i.specialisations);
  set_integer(L, "batch", i.batch);
  set_number(L, "forward_flops", i.forward.flops);
  set_number(L, "forward_bytes", i.forward.bytes);
  set_number(L, "backward_flops", i.backward.flops);
  set_number(L, "backward_bytes", i.backward.bytes);
  return 1;
}

static int plan_nonzero_flops(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  double flops = 0;
  wl_try(L, b->ctx, wtl_plan_nonzero_flops(b->obj, &flops));
  lua_pushnumber(L, flops);
  return 1;
}

static int plan_profile(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TBOOLEAN);
    wl_try(L, b->ctx, wtl_plan_profile(b->obj, lua_toboolean(L, 2)));
    return 0;
  }
  int n = wtl_plan_profile_rows(b->obj);
  lua_createtable(L, n, 0);
  for (int k = 0; k < n; k++) {
    wtl_profile_row r;
    wl_try(L, b->ctx, wtl_plan_profile_row(b->obj, k, &r));
    lua_createtable(L, 0, 9);
    set_string(L, "name", r.name);
    set_string(L, "op", r.op);
    set_string(L, "provider", r.provider);
    set_string(L, "impl", r.impl);
    lua_pushboolean(L, r.backward);
    lua_setfield(L, -2, "backward");
    set_integer(L, "calls", r.calls);
    set_integer(L, "time_us", r.time_us);
    set_number(L, "flops", r.cost.flops);
    set_number(L, "bytes", r.cost.bytes);
    lua_rawseti(L, -2, k + 1);
  }
  return 1;
}

/* Rows of agree are kept in C until the core has returned: Lua's errors may not cross it. */
typedef struct agree_row {
  char name[WTL_NAME_MAX], op[32], provider[32], impl[64];
  double forward_err, backward_err, gradient_err[WTL_MAX_IN], rounding_err[WTL_MAX_IN];
  int gradients;
} agree_row;
typedef struct agree_rows { agree_row *row; int n, cap; bool full; } agree_rows;

static void add_row(void *arg, const wtl_agree_row *from) {
  agree_rows *a = arg;
  if (a->n == a->cap) {
    agree_row *more = realloc(a->row, (size_t)(2 * a->cap + 16) * sizeof *more);
    a->full |= !more;
    if (!more) return;
    a->row = more;
    a->cap = 2 * a->cap + 16;
  }
  agree_row *to = &a->row[a->n++];
  snprintf(to->name, sizeof to->name, "%s", from->name ? from->name : "");
  snprintf(to->op, sizeof to->op, "%s", from->op ? from->op : "");
  snprintf(to->provider, sizeof to->provider, "%s", from->provider ? from->provider : "");
  snprintf(to->impl, sizeof to->impl, "%s", from->impl ? from->impl : "");
  to->forward_err = from->forward_err;
  to->backward_err = from->backward_err;
  to->gradients = from->gradients;
  memcpy(to->gradient_err, from->gradient_err, sizeof to->gradient_err);
  memcpy(to->rounding_err, from->rounding_err, sizeof to->rounding_err);
}

static void push_gradients(lua_State *L, const agree_row *row) {
  lua_createtable(L, row->gradients, 0);
  for (int k = 0; k < row->gradients; k++) {
    lua_createtable(L, 0, 2);
    set_number(L, "err", row->gradient_err[k]);
    set_number(L, "rounding_err", row->rounding_err[k]);
    lua_rawseti(L, -2, k + 1);
  }
}

static int plan_agree(lua_State *L) {
  wl_box *b = wl_check(L, 1, &wl_plan_class);
  agree_rows a = { 0 };
  const char *backend = luaL_optstring(L, 2, NULL);
  wl_box *hold = wl_hold(L, b->ctx, free);
  wtl_status s = wtl_plan_agree(b->obj, backend, add_row, &a);
  if (a.row) wl_box_fill(L, hold, a.row, 0);
  wl_try(L, b->ctx, s);
  if (a.full) return wl_error(L, "agree: out of memory");
  lua_createtable(L, a.n, 0);
  for (int i = 0; i < a.n; i++) {
    lua_createtable(L, 0, 7);
    set_string(L, "name", a.row[i].name);
    set_string(L, "op", a.row[i].op);
    set_string(L, "provider", a.row[i].provider);
    set_string(L, "impl", a.row[i].impl);
    set_number(L, "forward_err", a.row[i].forward_err);
    set_number(L, "backward_err", a.row[i].backward_err);
    push_gradients(L, &a.row[i]);
    lua_setfield(L, -2, "gradients");
    lua_rawseti(L, -2, i + 1);
  }
  wl_box_close(hold);
  return 1;
}

static const wl_fn methods[] = {
  { "step", plan_step, "(x, y, ...) -> loss, correct, n",
    "Forward, check of the loss, backward, update: inputs in the trace's order, dimension 0 the batch (it "
    "may differ from the traced one: the first time, the plan specialises). Mean loss before the update, the "
    "metric (NaN if there is none), batch size. A loss that is not finite is an error and changes nothing." },
  { "forward", plan_forward, "(x, ..., {out = tensor or {tensors}}?) -> outputs...",
    "Forward only: fresh tensors, or the caller's out. No statistics, no update." },
  { "evaluate", plan_evaluate, "(x, y, ...) -> loss, correct, n", "Forward and loss without an update." },
  { "set", plan_set, "(name, value)",
    "\"lr\", \"momentum\", \"weight_decay\", \"beta1\", \"beta2\" or \"eps\", those the optimizer has, from the next update on. "
    "A group's own lr keeps its ratio to the optimizer's; its other own values stay." },
  { "get", plan_get, "(name) -> value", "What set sets." },
  { "flush", plan_flush, "()", "Update now by what optimizer = {accumulate = n} has gathered; after an epoch's last step." },
  { "states", plan_states, "() -> {{parameter =, name =, tensor =}, ...}",
    "The optimizer's state itself, not a copy, by PyTorch's names: momentum_buffer, exp_avg, exp_avg_sq." },
  { "count", plan_count, "() -> steps, updates; or (steps, updates)",
    "How many steps were run (dropout draws by it) and updates made (Adam's bias correction); sets them." },
  { "param_gradient", plan_param_gradient, "(parameter) -> tensor",
    "Of the last step; the plan must be compiled with gradients = true." },
  { "input_gradient", plan_input_gradient, "(i) -> tensor", "Of input i (from 1), as param_gradient." },
  { "value", plan_value, "(value, gradient = false) -> tensor",
    "A symbolic value's number in the last step, or its gradient; compiled with keep_values = true." },
  { "describe", plan_describe, "() -> text",
    "Every step: provider, implementation, layouts, shapes, bytes; reorders too." },
  { "info", plan_info, "() -> table",
    "nodes, reorders, weight_forms, arena_bytes, sum_bytes (without sharing), specialisations, batch, "
    "forward_flops, forward_bytes, backward_flops, backward_bytes. One MAC is 2 FLOPs." },
  { "nonzero_flops", plan_nonzero_flops, "() -> flops",
    "info's forward_flops less those of conv2d, linear and matmul that multiply by an element of a parameter that is 0 "
    "now, as a perfect sparse kernel would leave them out." },
  { "profile", plan_profile, "(boolean) or () -> {rows}",
    "true times every step from now on, false stops; without an argument the rows: name, op, provider, impl, "
    "backward, calls, time_us, flops, bytes." },
  { "agree", plan_agree, "(backend?) -> {rows}",
    "Each node of an f64 plan (keep_values = true, one step run) run alone in f32 through the backend, fed "
    "the recorded values: name, op, provider, impl, forward_err, backward_err (norm-relative, the worst gradient's), "
    "and gradients, a list with one {err =, rounding_err =} for each input's: rounding_err is what rounding the "
    "op's inputs to f32 alone does to it in f64." },
  { NULL, NULL, NULL, NULL }
};

const wl_class wl_plan_class = { .name = "plan", .release = plan_release, .methods = methods };

static const wl_fn core[] = {
  { "compile", compile, "(trace, {optimizer =, backend = \"auto\", gradients = false, keep_values = false, seed =}?) -> plan",
    "optimizer = {kind = \"sgd\", \"adam\" or \"adamw\", lr =, momentum = 0, weight_decay = 0, nesterov = false, beta1 = 0.9, "
    "beta2 = 0.999, eps = 1e-8, clip_norm = 0, clip_value = 0, accumulate = 1, groups = {{params = {parameter, ...}, lr =, ...}}}: "
    "torch.optim's. backend: auto, reference, blas or onednn. seed: of dropout; manual_seed's if not given." },
  { NULL, NULL, NULL, NULL }
};

static const wl_class *const classes[] = { &wl_plan_class, NULL };

const wl_module wl_plan_module = { .area = "plan", .core = core, .classes = classes };
