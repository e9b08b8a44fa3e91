/* Where buffers live: first merge what an element-wise instruction can write in place, then give each buffer an
 * offset such that buffers alive at the same time never overlap (largest first, lowest free place). */
#include <stdlib.h>

#include "plan.h"

int wtl_buf_root(const wtl_program *g, int b) {
  while (g->bufs[b].same >= 0) b = g->bufs[b].same;
  return b;
}

/* Let instruction `at` write its result over an operand, if nobody reads that afterwards. */
static void merge(wtl_program *g, int at, int result, int operand) {
  if (result < 0 || operand < 0) return;
  int r = wtl_buf_root(g, result), o = wtl_buf_root(g, operand);
  wtl_buf *to = &g->bufs[o], *from = &g->bufs[r];
  if (r == o || to->fixed || to->pinned || from->fixed || to->last != at || from->bytes > to->bytes) return;
  from->same = o;
  to->last = from->last;
  to->pinned = from->pinned;
}

static bool pointwise(const wtl_program *g, const wtl_instr *i) {
  const wtl_gnode *d = &g->plan->graph->node[i->node];
  if (!(d->op->flags & WTL_OP_POINTWISE) || i->kernel->provider != &wtl_provider_reference) return false;
  for (int k = 0; k < d->n_in; k++)
    if (d->in[k] < 0 || !wtl_shape_equal(&g->shape[d->in[k]], &g->shape[d->out[0]])) return false;
  return true;
}

static void merge_in_place(wtl_program *g) {
  for (int at = 0; at < g->n_instr; at++) {
    wtl_instr *i = &g->instr[at];
    if (i->what == WTL_DO_ADD) {
      merge(g, at, i->out[0], i->in[0]);
      if (g->bufs[i->out[0]].same < 0) merge(g, at, i->out[0], i->in[1]);
    } else if (i->what == WTL_DO_FORWARD && pointwise(g, i)) {
      merge(g, at, i->out[0], i->in[0]);
      if (g->bufs[i->out[0]].same < 0) merge(g, at, i->out[0], i->in[1]);
    } else if (i->what == WTL_DO_BACKWARD && pointwise(g, i) && i->call.n_in == 1) {
      merge(g, at, i->din[0], i->dout[0]);
    }
  }
}

enum { ALIGN = 64 };
static size_t padded(size_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

typedef struct size_key { size_t bytes; int buf; } size_key;

static int larger_first(const void *pa, const void *pb) {
  const size_key *a = pa, *b = pb;
  return a->bytes != b->bytes ? (a->bytes < b->bytes ? 1 : -1) : a->buf - b->buf;
}

static bool together(const wtl_buf *a, const wtl_buf *b) {
  return a->pinned || b->pinned || (a->first <= b->last && b->first <= a->last);
}

/* The lowest offset where b fits among the n placed buffers (sorted by offset) that live at the same time. */
static size_t lowest_place(const wtl_program *g, const int *placed, int n, const wtl_buf *b) {
  size_t at = 0;
  for (int k = 0; k < n; k++) {
    const wtl_buf *o = &g->bufs[placed[k]];
    if (!together(o, b)) continue;
    if (at + padded(b->bytes) <= o->offset) break;
    if (o->offset + padded(o->bytes) > at) at = o->offset + padded(o->bytes);
  }
  return at;
}

wtl_status wtl_arena_place(wtl_program *g) {
  wtl_ctx *ctx = g->plan->ctx;
  int n = 0, placed = 0;
  merge_in_place(g);
  size_key *order = wtl_calloc(ctx, (size_t)g->n_bufs + 1, sizeof *order);
  int *by_offset = wtl_calloc(ctx, (size_t)g->n_bufs + 1, sizeof *by_offset);
  if (!order || !by_offset) {
    wtl_free(ctx, order);
    wtl_free(ctx, by_offset);
    return WTL_ERR_MEMORY;
  }
  for (int b = 0; b < g->n_bufs; b++)
    if (!g->bufs[b].fixed && g->bufs[b].same < 0) order[n++] = (size_key){ g->bufs[b].bytes, b };
  qsort(order, (size_t)n, sizeof *order, larger_first);
  g->arena_bytes = g->sum_bytes = 0;
  for (int b = 0; b < g->n_bufs; b++)
    if (!g->bufs[b].fixed) g->sum_bytes += padded(g->bufs[b].bytes);
  for (int k = 0; k < n; k++) {
    wtl_buf *b = &g->bufs[order[k].buf];
    b->offset = lowest_place(g, by_offset, placed, b);
    if (b->offset + padded(b->bytes) > g->arena_bytes) g->arena_bytes = b->offset + padded(b->bytes);
    int j = placed++;
    for (; j > 0 && g->bufs[by_offset[j - 1]].offset > b->offset; j--) by_offset[j] = by_offset[j - 1];
    by_offset[j] = order[k].buf;
  }
  wtl_free(ctx, order);
  wtl_free(ctx, by_offset);
  return WTL_OK;
}
