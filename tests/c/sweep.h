/* The allocation-failure sweep: what its rows (sweep_*.def) act on, and the words they are made of. A row is
 *   MAY(function, needs, code)     code calls the function, sets `s` and mixes the result into w->hash
 *   KEEPS(function, needs, code)   as MAY, but what it got may stay: memory with an object of the world (a plan's arena),
 *                                  or an empty file
 *   NEVER(function, needs, code)   the function allocates nothing, so it works with memory gone
 *   SYSTEM(function, needs, code)  its memory is not a context's: calloc is made to fail
 * `needs` says which parts of the world are made before. Included by test_sweep.c alone. */
#ifndef SWEEP_H
#define SWEEP_H

#include "check.h"

#include <math.h>

/* What a row may need besides the tensors and the parameter; each holds those before it. */
enum { NOTHING, GRAPH, PLAN, STEPPED, RECORDED, FILES = 16, METER = 32 };

typedef struct world {
  uint64_t hash; /* FNV-1a of what the row computed */
  bool written;  /* a failing call wrote an out-parameter */
  wtl_rng rng;
  wtl_tensor *t, *turned, *d, *mask, *bytes, *labels, *x, *y; /* f32 [2,3]; [3,2], not contiguous; f64 [3,3]; u8 [2,3]; ... */
  wtl_param *p;   /* [2,3], with a mask */
  wtl_stamp *stamp;
  wtl_text text;  /* empty; what a row writes is mixed in and freed after it */
  wtl_dict dict;  /* a, b, c: t, mask, turned */
  wtl_graph *g;   /* linear, batch_norm, relu, linear, cross_entropy */
  wtl_param *weight;
  wtl_value input, logits, loss;
  wtl_plan *plan; /* of g, with sgd */
  wtl_tensor *in[2];
  wtl_meter *meter;
  wtl_region *region;
  wtl_appender *appender;
  char path[512]; /* of a file to write */
} world;

static inline void mix(world *w, const void *data, size_t n) {
  const unsigned char *p = data;
  for (size_t i = 0; i < n; i++) w->hash = (w->hash ^ p[i]) * 0x100000001b3;
}
#define MIX(...) \
  do { \
    __auto_type mixed_ = (__VA_ARGS__); \
    mix(w, &mixed_, sizeof mixed_); \
  } while (0)
static inline void mix_text(world *w, const char *s) { mix(w, s, strlen(s)); }

/* Mix a tensor in, in logical order. */
static inline void look(world *w, const wtl_tensor *t) {
  const wtl_shape *s = wtl_tensor_shape(t);
  int64_t index[WTL_MAX_DIMS] = { 0 };
  mix(w, s->size, sizeof(int64_t) * (size_t)s->ndim);
  for (int64_t i = 0; i < wtl_tensor_numel(t); i++) {
    double v = 0;
    OK(wtl_tensor_get(t, index, &v));
    MIX(v);
    for (int k = s->ndim - 1; k >= 0 && ++index[k] == s->size[k]; k--) index[k] = 0;
  }
}

/* Mix an out-parameter in and release it. */
static inline void take(world *w, wtl_status s, wtl_tensor **t) {
  if (s != WTL_OK) w->written |= *t != NULL;
  else look(w, *t);
  wtl_tensor_release(*t);
  *t = NULL;
}

static inline void take_file(world *w, const char *path) {
  size_t n;
  char *s = slurp(path, &n);
  mix(w, s, n);
  free(s);
}

static inline void take_dict(world *w, wtl_dict *d) {
  for (int64_t i = 0; i < d->n; i++) mix_text(w, d->item[i].name), look(w, d->item[i].tensor);
  wtl_dict_free(d);
}

/* ---- loaders of w->bytes, or of files that are no pictures ---- */

static const wtl_transform sweep_steps[] = {
  { .kind = WTL_RANDOM_CROP, .size = { 6, 5 }, .padding = { 1, 1, 1, 1 } },
  { .kind = WTL_RESIZE, .size = { 3, 4 }, .filter = WTL_BILINEAR },
  { .kind = WTL_NORMALIZE, .n_value = 1, .mean = { 0.5 }, .sd = { 0.25 } },
  { .kind = WTL_RANDOM_ERASING, .p = 1, .scale = { 0.1, 0.3 }, .ratio = { 0.5, 2 }, .noise = true },
};

static inline wtl_status sweep_samples(world *w, wtl_samples **out) { return wtl_samples_of_tensors(ctx, w->bytes, w->labels, out); }

static inline wtl_status sweep_loader_of(wtl_samples *samples, int workers, wtl_loader **out) {
  static const int64_t order[] = { 2, 0, 3, 1 };
  const wtl_loader_options o = { .step = sweep_steps, .n_step = 4, .index = order, .n = 4, .batch_size = 3, .workers = workers,
                                 .prefetch = 1, .skip = true, .seed = 2, .name = "sweep" };
  return wtl_loader_create(ctx, samples, &o, out);
}

static inline wtl_status sweep_loader(world *w, int workers, wtl_loader **out) {
  wtl_samples *samples = NULL;
  wtl_status s = sweep_samples(w, &samples);
  if (s == WTL_OK) s = sweep_loader_of(samples, workers, out);
  wtl_samples_release(samples);
  return s;
}

/* An epoch: of w->bytes, or of four files that are all skipped, which ends in an error that is wanted. */
static inline wtl_status sweep_batches(world *w, int workers, const char *const *path) {
  wtl_samples *samples = NULL;
  wtl_loader *l = NULL;
  wtl_tensor *x = NULL, *y = NULL;
  wtl_status s = path ? wtl_samples_of_files(ctx, path, 4, w->labels, 1, &samples) : sweep_samples(w, &samples);
  if (s == WTL_OK) s = sweep_loader_of(samples, workers, &l);
  while (s == WTL_OK && (s = wtl_loader_next(l, &x, &y)) == WTL_OK && x) {
    look(w, x), look(w, y);
    wtl_tensor_release(x), wtl_tensor_release(y);
  }
  if (path && s == WTL_ERR_FORMAT) {
    for (int64_t i = 0, sample; i < wtl_loader_skipped(l); i++) {
      const char *reason;
      OK(wtl_loader_skip(l, i, &sample, &reason));
      MIX(sample);
      mix_text(w, reason);
    }
    s = WTL_OK;
  }
  wtl_loader_destroy(l);
  wtl_samples_release(samples);
  return s;
}

/* ---- making the world ---- */

static inline wtl_tensor *numbers(wtl_dtype d, const wtl_shape *s, const char *name) {
  wtl_tensor *t = NULL;
  wtl_rng r = wtl_rng_make(1, "sweep", name, 0);
  OK(wtl_tensor_create(ctx, d, s, &t));
  if (d == WTL_F32 || d == WTL_F64) OK(wtl_tensor_normal(t, &r, 0.2, 1));
  else for (int64_t i = 0; i < wtl_tensor_numel(t); i++) ((unsigned char *)wtl_tensor_data(t))[i * (int64_t)wtl_dtype_size(d)] = i % 2;
  return t;
}

static inline wtl_value add_param(world *w, wtl_dtype d, const char *name, wtl_param_kind kind, const wtl_shape *s, wtl_param **keep) {
  wtl_tensor *t = numbers(d, s, name);
  wtl_param *p = NULL;
  wtl_value v = -1;
  if (kind == WTL_BUFFER) OK(wtl_tensor_fill(t, 1));
  OK(wtl_param_create(ctx, t, kind, &p));
  wtl_tensor_release(t);
  OK(wtl_graph_param(w->g, name, p, &v));
  if (keep) *keep = p;
  else wtl_param_release(p);
  return v;
}

static inline wtl_value apply(world *w, const char *name, int n_in, const wtl_value *in) {
  const wtl_op *op = wtl_op_find(name);
  wtl_attr attr[WTL_MAX_ATTRS];
  wtl_value out[WTL_MAX_OUT];
  wtl_op_defaults(op, attr);
  if (!strcmp(name, "batch_norm")) attr[0].i[0] = 1;
  OK(wtl_graph_op(w->g, op, attr, in, n_in, out));
  return out[0];
}

static inline void make_graph(world *w, wtl_dtype d) {
  wtl_value y, h;
  OK(wtl_graph_create(ctx, d, &w->g));
  OK(wtl_graph_input(w->g, "x", WTL_F32, SHAPE(4, 3), &w->input));
  OK(wtl_graph_input(w->g, "y", WTL_I64, SHAPE(4), &y));
  wtl_value weight = add_param(w, d, "weight", WTL_PARAMETER, SHAPE(5, 3), &w->weight);
  h = apply(w, "linear", 3, (wtl_value[]){ w->input, weight, -1 });
  wtl_value mean = add_param(w, d, "mean", WTL_BUFFER, SHAPE(5), NULL), var = add_param(w, d, "var", WTL_BUFFER, SHAPE(5), NULL);
  h = apply(w, "batch_norm", 5, (wtl_value[]){ h, -1, -1, mean, var });
  h = apply(w, "relu", 1, &h);
  w->logits = apply(w, "linear", 3, (wtl_value[]){ h, add_param(w, d, "head", WTL_PARAMETER, SHAPE(2, 5), NULL), -1 });
  w->loss = apply(w, "cross_entropy", 2, (wtl_value[]){ w->logits, y });
  OK(wtl_graph_output(w->g, "logits", w->logits));
  OK(wtl_graph_loss(w->g, w->loss));
  w->in[0] = numbers(WTL_F32, SHAPE(4, 3), "batch");
  w->in[1] = numbers(WTL_I64, SHAPE(4), "target");
}

static const wtl_optim sweep_optim[] = {
  { .kind = "sgd", .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01 },
  { .kind = "adam", .lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .clip_norm = 1 },
  { .kind = "adamw", .lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .clip_value = 1, .accumulate = 2 },
};
enum { SWEEP_OPTIMS = sizeof sweep_optim / sizeof *sweep_optim };

static inline void make_plan(world *w, bool recorded) {
  const wtl_plan_options o = { .optim = recorded ? NULL : sweep_optim, .gradients = true, .keep_values = recorded };
  OK(wtl_plan_compile(ctx, w->g, &o, &w->plan));
}

static inline void make_files(void) {
  static const unsigned char idx[] = { 0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6 };
  wtl_dict d;
  wtl_dict_init(&d, ctx);
  wtl_tensor *t = numbers(WTL_F32, SHAPE(2, 2), "saved");
  OK(wtl_dict_add(&d, "saved", t));
  wtl_tensor_release(t);
  OK(wtl_safetensors_save(ctx, path_of("saved.safetensors"), &d, (const char *const[]){ "key", "value", NULL }));
  wtl_dict_free(&d);
  put("images.idx", idx, sizeof idx);
  static unsigned char cifar[2 * 3073];
  put("cifar.bin", cifar, sizeof cifar);
  put_text("table.csv", "a,b\n1,\"two,\"\"three\"\"\"\n");
}

static inline void make_world(world *w, int needs) {
  int stage = needs & 15;
  wtl_step step;
  memset(w, 0, sizeof *w);
  w->hash = 0xcbf29ce484222325;
  w->rng = wtl_rng_make(3, "sweep", "", 0);
  wtl_seed(ctx, 5);
  w->t = numbers(WTL_F32, SHAPE(2, 3), "t");
  OK(wtl_tensor_transpose(w->t, 0, 1, &w->turned));
  w->d = numbers(WTL_F64, SHAPE(8, 8), "d");
  w->mask = numbers(WTL_U8, SHAPE(2, 3), "mask");
  w->bytes = numbers(WTL_U8, SHAPE(4, 5, 5), "bytes");
  w->labels = numbers(WTL_U8, SHAPE(4), "labels");
  w->x = numbers(WTL_F32, SHAPE(2, 1, 5, 5), "x");
  w->y = numbers(WTL_I64, SHAPE(2), "y");
  wtl_tensor *value = numbers(WTL_F32, SHAPE(2, 3), "p");
  OK(wtl_param_create(ctx, value, WTL_PARAMETER, &w->p));
  wtl_tensor_release(value);
  OK(wtl_param_set_mask(w->p, w->mask));
  OK(wtl_stamp_create(ctx, &w->stamp));
  wtl_text_init(&w->text, ctx);
  wtl_dict_init(&w->dict, ctx);
  OK(wtl_dict_add(&w->dict, "a", w->t));
  OK(wtl_dict_add(&w->dict, "b", w->mask));
  OK(wtl_dict_add(&w->dict, "c", w->turned));
  if (stage >= GRAPH) make_graph(w, stage == RECORDED ? WTL_F64 : WTL_F32);
  if (stage >= PLAN) make_plan(w, stage == RECORDED);
  if (stage >= STEPPED) OK(wtl_plan_step(w->plan, w->in, 2, &step));
  count_files(1);
  snprintf(w->path, sizeof w->path, "%s", path_of("out"));
  if (needs & FILES) {
    make_files();
    OK(wtl_appender_open(ctx, path_of("rows.csv"), "a,b", &w->appender));
  }
  if (needs & METER) {
    OK(wtl_meter_create(ctx, &(wtl_meter_options){ .source = "estimate", .period_s = 60 }, &w->meter));
    OK(wtl_region_begin(w->meter, "outer", &w->region));
  }
}

static inline void drop_world(world *w) {
  wtl_region_release(w->region);
  wtl_meter_destroy(w->meter);
  wtl_appender_close(w->appender);
  wtl_plan_release(w->plan);
  wtl_param_release(w->weight);
  wtl_graph_release(w->g);
  wtl_dict_free(&w->dict);
  wtl_text_free(&w->text);
  wtl_stamp_release(w->stamp);
  wtl_param_release(w->p);
  wtl_tensor *const all[] = { w->t, w->turned, w->d, w->mask, w->bytes, w->labels, w->x, w->y, w->in[0], w->in[1] };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) wtl_tensor_release(all[i]);
}

#endif
