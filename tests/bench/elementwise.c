/* How fast element-wise functions, softmax and layer_norm are, in ns an element, forward and backward: the op's kernels for
 * every processor, those for AVX2, and oneDNN's primitive, on one thread and in alternation. For each the median of the
 * rounds, then the ratio to the AVX2 kernels' time, median and range over the rounds.
 *   ninja bench_elementwise && tests/bench_elementwise [ROUNDS] [ELEMENTS]
 * Not a test: on a busy machine its figures mean nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "op.h"
#include "onednn.h"

enum { MOST_ROUNDS = 101, SIDES = 3, WIDTH = 256 }; /* WIDTH: of the last dim */

typedef struct subject { const char *name, *op; dnnl_alg_kind_t alg; float alpha, beta; int flag; bool from_dst; } subject;

static const subject subjects[] = {
  { "relu", "relu", dnnl_eltwise_relu_use_dst_for_bwd, 0, 0, 0, true },
  { "relu6", "relu6", dnnl_eltwise_clip_v2_use_dst_for_bwd, 0, 6, 0, true },
  { "hardswish", "hardswish", dnnl_eltwise_hardswish, 0, 0, 0, false },
  { "hardsigmoid", "hardsigmoid", dnnl_alg_kind_undef, 0, 0, 0, false },
  { "exp", "exp", dnnl_eltwise_exp_use_dst_for_bwd, 0, 0, 0, true },
  { "log", "log", dnnl_eltwise_log, 0, 0, 0, false },
  { "tanh", "tanh", dnnl_eltwise_tanh_use_dst_for_bwd, 0, 0, 0, true },
  { "sigmoid", "sigmoid", dnnl_eltwise_logistic_use_dst_for_bwd, 0, 0, 0, true },
  { "silu", "silu", dnnl_eltwise_swish, 1, 0, 0, false },
  { "gelu", "gelu", dnnl_eltwise_gelu_erf, 0, 0, 0, false },
  { "gelu tanh", "gelu", dnnl_eltwise_gelu_tanh, 0, 0, 1, false },
  { "softmax", "softmax", dnnl_alg_kind_undef, 0, 0, 1, false },
  { "log_softmax", "log_softmax", dnnl_alg_kind_undef, 0, 0, 1, false },
  { "layer_norm", "layer_norm", dnnl_alg_kind_undef, 0, 0, 1, false },
};

static wtl_ctx *ctx;
static onednn_engine *engine;
static int64_t rows;
static float *x, *y, *dy, *dx, *w, *b, *dw, *db;

static void need(wtl_status s) {
  if (s == WTL_OK) return;
  fprintf(stderr, "%s\n", wtl_message(ctx));
  exit(1);
}

static void need_dnnl(dnnl_status_t s) { need(s ? onednn_fail(ctx, "bench", s) : WTL_OK); }

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* of this thread alone: others may be at work */
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *filled(int64_t n, uint64_t at) {
  float *v = aligned_alloc(64, (size_t)n * sizeof *v);
  wtl_rng r = wtl_rng_make(7, "bench", "", at);
  for (int64_t k = 0; k < n; k++) v[k] = (float)(wtl_rng_uniform(&r, (uint64_t)k) * 8 - 4);
  return v;
}

/* ---- the op's own kernels ---- */

static void prepare(const subject *s, wtl_attr attr[], wtl_call *c) {
  const wtl_op *op = wtl_op_find(s->op);
  wtl_shape shape = { 2, { rows, WIDTH } }, last = { 1, { WIDTH } };
  wtl_infer f = { .ctx = ctx, .op = op, .attr = attr, .n_in = op->n_in, .real = WTL_F32 };
  float *in[] = { x, w, b }, *din[] = { dx, dw, db };
  wtl_op_defaults(op, attr);
  if (op->n_attr) attr[0].n = 1, attr[0].i[0] = s->flag;
  memset(c, 0, sizeof *c);
  c->ctx = ctx, c->attr = attr, c->n_in = op->n_in, c->n_out = 1;
  for (int i = 0; i < op->n_in; i++) {
    f.present[i] = true, f.in[i] = i ? last : shape, f.in_dtype[i] = WTL_F32;
    c->in[i] = wtl_view_plain(in[i], WTL_F32, &f.in[i]);
    c->din[i] = wtl_view_plain(din[i], WTL_F32, &f.in[i]);
  }
  c->out[0] = wtl_view_plain(y, WTL_F32, &shape);
  c->dout[0] = wtl_view_plain(dy, WTL_F32, &shape);
  need(wtl_op_infer(&f));
  c->saved = calloc(1, f.saved_bytes + 1);
  c->scratch = calloc(1, f.scratch_bytes + 1);
}

/* ---- oneDNN's ---- */

typedef struct pair { onednn_prim forward, backward; bool there; } pair;

static void args(onednn_prim *p, const dnnl_memory_desc_t *md, int n, const int arg[]) {
  for (int i = 0; i < n; i++) need(onednn_prim_arg(engine, p, arg[i], md));
}

static pair onednn_pair(const subject *s) {
  pair p = { .there = s->alg != dnnl_alg_kind_undef };
  dnnl_eltwise_desc_t f, g;
  dnnl_memory_desc_t md;
  if (!p.there) return p;
  dnnl_dims_t dims = { rows, WIDTH };
  need_dnnl(dnnl_memory_desc_init_by_tag(&md, 2, dims, dnnl_f32, dnnl_ab));
  need_dnnl(dnnl_eltwise_forward_desc_init(&f, dnnl_forward_training, s->alg, &md, s->alpha, s->beta));
  need_dnnl(dnnl_eltwise_backward_desc_init(&g, s->alg, &md, &md, s->alpha, s->beta));
  need(onednn_prim_create(engine, &f, NULL, &p.forward));
  need(onednn_prim_create(engine, &g, p.forward.pd, &p.backward));
  args(&p.forward, &md, 2, (const int[]){ DNNL_ARG_SRC, DNNL_ARG_DST });
  args(&p.backward, &md, 3, (const int[]){ s->from_dst ? DNNL_ARG_DST : DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_SRC });
  return p;
}

/* ---- rounds ---- */

static double median(double *v, int n) {
  for (int i = 1; i < n; i++)
    for (int k = i; k > 0 && v[k] < v[k - 1]; k--) {
      double t = v[k];
      v[k] = v[k - 1], v[k - 1] = t;
    }
  return v[n / 2];
}

static double once(const subject *s, int side, bool back, wtl_call *c, pair *p) {
  double start;
  if (side == 2) {
    onednn_prim *prim = back ? &p->backward : &p->forward;
    void *const forward[] = { NULL, x, y }, *const backward[] = { NULL, s->from_dst ? y : x, dy, dx };
    start = now();
    need(onednn_prim_run(engine, prim, back ? backward : forward));
    return now() - start;
  }
  wtl_op_least_instructions = side == 0;
  const wtl_op_kernels *k = wtl_op_kernels_of(wtl_op_find(s->op), WTL_F32);
  start = now();
  need((back ? k->backward : k->forward)(c));
  return now() - start;
}

static void measure(const subject *s, bool back, int rounds, wtl_call *c, pair *p) {
  static double t[SIDES][MOST_ROUNDS], ratio[MOST_ROUNDS];
  double n = (double)rows * WIDTH;
  printf("%-12s %-8s", s->name, back ? "backward" : "forward");
  for (int r = 0; r < rounds; r++)
    for (int i = 0; i < SIDES; i++) {
      int side = (i + r) % SIDES; /* none is always first */
      if (side == 2 && !p->there) continue;
      t[side][r] = once(s, side, back, c, p);
    }
  for (int side = 0; side < SIDES; side++) {
    if (side == 2 && !p->there) continue;
    for (int r = 0; r < rounds; r++) ratio[r] = t[side][r] / t[1][r];
    double middle = median(ratio, rounds), low = ratio[0], high = ratio[rounds - 1];
    if (side != 1) printf("  %s x%.2f (%.2f..%.2f)", side ? "onednn" : "every", middle, low, high);
  }
  printf("  avx2 %.3f ns\n", median(t[1], rounds) / n * 1e9);
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 21;
  wtl_engine *opened;
  rows = (argc > 2 ? atoll(argv[2]) : 1 << 20) / WIDTH;
  if (rounds < 1 || rounds > MOST_ROUNDS || rows < 1) return 2;
  if (wtl_ctx_create(1, &ctx) != WTL_OK) return 1;
  need(wtl_provider_onednn.open(ctx, &opened));
  engine = (onednn_engine *)opened;
  x = filled(rows * WIDTH, 1), y = filled(rows * WIDTH, 2), dy = filled(rows * WIDTH, 3), dx = filled(rows * WIDTH, 4);
  w = filled(WIDTH, 5), b = filled(WIDTH, 6), dw = filled(WIDTH, 7), db = filled(WIDTH, 8);
  for (size_t k = 0; k < sizeof subjects / sizeof *subjects; k++) {
    wtl_attr attr[WTL_MAX_ATTRS];
    wtl_call c;
    pair p = onednn_pair(&subjects[k]);
    prepare(&subjects[k], attr, &c);
    for (int back = 0; back < 2; back++) measure(&subjects[k], back, rounds, &c, &p);
    onednn_prim_destroy(&p.forward);
    onednn_prim_destroy(&p.backward);
    free(c.saved);
    free(c.scratch);
  }
  float *all[] = { x, y, dy, dx, w, b, dw, db };
  for (int i = 0; i < 8; i++) free(all[i]);
  wtl_provider_onednn.close(opened);
  wtl_ctx_destroy(ctx);
  return 0;
}
