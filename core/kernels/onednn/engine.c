/* The oneDNN provider: engine, layouts, reorders, and the table of ops it takes. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "onednn.h"

void omp_set_num_threads(int n); /* libgomp's, which oneDNN runs on */

wtl_status onednn_fail(wtl_ctx *ctx, const char *what, dnnl_status_t s) {
  if (s == dnnl_out_of_memory) return wtl_fail(ctx, WTL_ERR_MEMORY, "oneDNN: %s: out of memory", what);
  return wtl_fail(ctx, WTL_ERR_UNSUPPORTED, "oneDNN: %s: status %d", what, (int)s);
}

/* ---- layouts ---- */

wtl_status onednn_md(wtl_ctx *ctx, const wtl_shape *s, const wtl_layout *l, bool any, dnnl_memory_desc_t *out) {
  dnnl_dims_t dims, strides;
  int64_t step = 1;
  if (l && !any) {
    memcpy(out, l->desc, sizeof *out);
    return WTL_OK;
  }
  for (int i = s->ndim - 1; i >= 0; i--) {
    dims[i] = s->size[i];
    strides[i] = step;
    step *= s->size[i];
  }
  dnnl_status_t st = any ? dnnl_memory_desc_init_by_tag(out, s->ndim, dims, dnnl_f32, dnnl_format_tag_any)
                         : dnnl_memory_desc_init_by_strides(out, s->ndim, dims, dnnl_f32, strides);
  return st ? onednn_fail(ctx, "memory descriptor", st) : WTL_OK;
}

/* Is the descriptor contiguous row-major without padding? Strides of single-element axes do not matter. */
static bool is_logical(const dnnl_memory_desc_t *md) {
  const dnnl_blocking_desc_t *k = &md->format_desc.blocking;
  int64_t step = 1;
  if (md->format_kind != dnnl_blocked || k->inner_nblks || md->extra.flags) return false;
  for (int i = md->ndims - 1; i >= 0; i--) {
    if (md->padded_dims[i] != md->dims[i] || (md->dims[i] > 1 && k->strides[i] != step)) return false;
    step *= md->dims[i];
  }
  return true;
}

/* oneDNN's own way of writing a format: axes from the slowest to the fastest, capital where split
 * into blocks, then the blocks: aBcd8b. */
static void write_tag(const dnnl_memory_desc_t *md, wtl_layout *l) {
  const dnnl_blocking_desc_t *k = &md->format_desc.blocking;
  int order[DNNL_MAX_NDIMS];
  size_t n = 0;
  if (md->format_kind != dnnl_blocked) {
    snprintf(l->tag, sizeof l->tag, "packed");
    return;
  }
  for (int i = 0; i < md->ndims; i++) {
    int j = i;
    for (; j > 0 && k->strides[order[j - 1]] < k->strides[i]; j--) order[j] = order[j - 1];
    order[j] = i;
  }
  for (int i = 0; i < md->ndims && n + 1 < sizeof l->tag; i++) {
    char axis = (char)('a' + order[i]);
    for (int b = 0; b < k->inner_nblks; b++)
      if (k->inner_idxs[b] == order[i]) axis = (char)toupper(axis);
    l->tag[n++] = axis;
  }
  l->tag[n] = 0;
  for (int b = 0; b < k->inner_nblks && n + 8 < sizeof l->tag; b++)
    n += (size_t)snprintf(l->tag + n, sizeof l->tag - n, "%d%c", (int)k->inner_blks[b], (char)('a' + k->inner_idxs[b]));
  if (md->ndims == 4 && !strncmp(l->tag, "aBcd", 4) && k->inner_nblks == 1) l->block = (int)k->inner_blks[0];
}

wtl_status onednn_layout(onednn_engine *e, const dnnl_memory_desc_t *md, const wtl_layout **out) {
  wtl_ctx *ctx = e->base.ctx;
  if (is_logical(md)) {
    *out = NULL;
    return WTL_OK;
  }
  for (const wtl_layout *l = e->layouts; l; l = l->next)
    if (dnnl_memory_desc_equal(l->desc, md)) {
      *out = l;
      return WTL_OK;
    }
  wtl_layout *l = wtl_alloc(ctx, onednn_round(sizeof *l) + sizeof *md);
  if (!l) return WTL_ERR_MEMORY;
  l->desc = (char *)l + onednn_round(sizeof *l);
  memcpy(l->desc, md, sizeof *md);
  l->bytes = dnnl_memory_desc_get_size(md);
  l->count = (int64_t)(l->bytes / sizeof(float));
  l->engine = &e->base;
  write_tag(md, l);
  l->next = e->layouts;
  e->layouts = l;
  *out = l;
  return WTL_OK;
}

wtl_status onednn_blocked(onednn_engine *e, const wtl_shape *s, int block, const wtl_layout **out) {
  dnnl_memory_desc_t md;
  dnnl_dims_t dims;
  for (int i = 0; i < 4; i++) dims[i] = s->size[i];
  dnnl_status_t st = dnnl_memory_desc_init_by_tag(&md, 4, dims, dnnl_f32, block == 8 ? dnnl_aBcd8b : dnnl_aBcd16b);
  return st ? onednn_fail(e->base.ctx, "blocked layout", st) : onednn_layout(e, &md, out);
}

/* ---- primitives ---- */

const dnnl_memory_desc_t *onednn_prim_md(const onednn_prim *p, dnnl_query_t what, int index) {
  return dnnl_primitive_desc_query_md(p->pd, what, index);
}

const char *onednn_prim_impl(const onednn_prim *p) {
  const char *name = "";
  dnnl_primitive_desc_query(p->pd, dnnl_query_impl_info_str, 0, &name);
  return name;
}

wtl_status onednn_prim_arg(onednn_engine *e, onednn_prim *p, int arg, const dnnl_memory_desc_t *md) {
  dnnl_exec_arg_t *a = &p->arg[p->n];
  dnnl_status_t s = dnnl_memory_create(&a->memory, md, e->engine, NULL);
  if (s) return onednn_fail(e->base.ctx, "memory", s);
  a->arg = arg;
  p->n++;
  return WTL_OK;
}

static wtl_status finish(onednn_engine *e, onednn_prim *p) {
  dnnl_status_t s = dnnl_primitive_create(&p->prim, p->pd);
  if (s) return onednn_fail(e->base.ctx, "primitive", s);
  const dnnl_memory_desc_t *scratch = onednn_prim_md(p, dnnl_query_scratchpad_md, 0);
  p->scratch_bytes = dnnl_memory_desc_get_size(scratch);
  return onednn_prim_arg(e, p, DNNL_ARG_SCRATCHPAD, scratch);
}

wtl_status onednn_prim_create(onednn_engine *e, const void *op_desc, const_dnnl_primitive_desc_t hint, onednn_prim *p) {
  omp_set_num_threads(wtl_threads(e->base.ctx));
  dnnl_status_t s = dnnl_primitive_desc_create(&p->pd, op_desc, e->attr, e->engine, hint);
  if (s == dnnl_unimplemented) return WTL_ERR_UNSUPPORTED;
  if (s) return onednn_fail(e->base.ctx, "primitive descriptor", s);
  if (!strncmp(onednn_prim_impl(p), "ref", 3)) return WTL_ERR_UNSUPPORTED;
  return finish(e, p);
}

wtl_status onednn_prim_run(onednn_engine *e, onednn_prim *p, void *const handles[]) {
  dnnl_status_t s;
  for (int i = 0; i < p->n; i++)
    if (handles[i] != p->handle[i]) {
      if ((s = dnnl_memory_set_data_handle(p->arg[i].memory, handles[i]))) return onednn_fail(e->base.ctx, "set memory", s);
      p->handle[i] = handles[i];
    }
  s = dnnl_primitive_execute(p->prim, e->stream, p->n, p->arg);
  return s ? onednn_fail(e->base.ctx, "execute", s) : WTL_OK;
}

void onednn_prim_destroy(onednn_prim *p) {
  for (int i = 0; i < p->n; i++) dnnl_memory_destroy(p->arg[i].memory);
  if (p->prim) dnnl_primitive_destroy(p->prim);
  if (p->pd) dnnl_primitive_desc_destroy(p->pd);
  memset(p, 0, sizeof *p);
}

/* ---- reorder ---- */

typedef struct reorder_kernel { wtl_kernel base; onednn_engine *e; onednn_prim prim; } reorder_kernel;

static wtl_status reorder_run(wtl_kernel *k, wtl_call *c) {
  reorder_kernel *r = (reorder_kernel *)k;
  return onednn_prim_run(r->e, &r->prim, (void *const[]){ c->scratch, c->in[0].data, c->out[0].data });
}

static void reorder_destroy(wtl_kernel *k) {
  onednn_prim_destroy(&((reorder_kernel *)k)->prim);
  wtl_free(k->ctx, k);
}

/* The descriptor of one end of a reorder. The logical form of a value that the other end splits into groups (a convolution's
 * weights: g, O/g, C/g, KH, KW) is split alike: the memory is the same. */
static wtl_status reorder_end(wtl_ctx *ctx, const wtl_shape *s, const wtl_layout *l, const wtl_layout *other,
                              dnnl_memory_desc_t *out) {
  wtl_shape split = *s;
  if (!l && other) {
    const dnnl_memory_desc_t *md = other->desc;
    split.ndim = md->ndims;
    for (int i = 0; i < md->ndims && i < WTL_MAX_DIMS; i++) split.size[i] = md->dims[i];
  }
  return onednn_md(ctx, &split, l, false, out);
}

static wtl_status reorder(wtl_engine *we, const wtl_shape *s, const wtl_layout *from, const wtl_layout *to, wtl_kernel **out) {
  onednn_engine *e = (onednn_engine *)we;
  dnnl_memory_desc_t a, b;
  WTL_TRY(reorder_end(we->ctx, s, from, to, &a));
  WTL_TRY(reorder_end(we->ctx, s, to, from, &b));
  reorder_kernel *r = wtl_alloc(we->ctx, sizeof *r);
  if (!r) return WTL_ERR_MEMORY;
  r->base = (wtl_kernel){ &wtl_provider_onednn, "reorder", reorder_run, NULL, NULL, reorder_destroy, we->ctx };
  r->e = e;
  omp_set_num_threads(wtl_threads(we->ctx));
  /* The library's own scratchpad here: a reorder needs little or none. */
  dnnl_status_t ds = dnnl_reorder_primitive_desc_create(&r->prim.pd, &a, e->engine, &b, e->engine, NULL);
  wtl_status st = ds ? onednn_fail(we->ctx, "reorder", ds) : finish(e, &r->prim);
  if (st == WTL_OK) st = onednn_prim_arg(e, &r->prim, DNNL_ARG_FROM, &a);
  if (st == WTL_OK) st = onednn_prim_arg(e, &r->prim, DNNL_ARG_TO, &b);
  if (st != WTL_OK) {
    reorder_destroy(&r->base);
    return st;
  }
  *out = &r->base;
  return WTL_OK;
}

/* ---- provider ---- */

static void close_(wtl_engine *we) {
  onednn_engine *e = (onednn_engine *)we;
  for (wtl_layout *l = e->layouts, *next; l; l = next) {
    next = l->next;
    wtl_free(we->ctx, l);
  }
  if (e->attr) dnnl_primitive_attr_destroy(e->attr);
  if (e->stream) dnnl_stream_destroy(e->stream);
  if (e->engine) dnnl_engine_destroy(e->engine);
  wtl_free(we->ctx, e);
}

static wtl_status open_(wtl_ctx *ctx, wtl_engine **out) {
  onednn_engine *e = wtl_alloc(ctx, sizeof *e);
  if (!e) return WTL_ERR_MEMORY;
  e->base = (wtl_engine){ &wtl_provider_onednn, ctx };
  dnnl_status_t s = dnnl_engine_create(&e->engine, dnnl_cpu, 0);
  if (!s) s = dnnl_stream_create(&e->stream, e->engine, dnnl_stream_default_flags);
  if (!s) s = dnnl_primitive_attr_create(&e->attr);
  if (!s) s = dnnl_primitive_attr_set_scratchpad_mode(e->attr, dnnl_scratchpad_mode_user);
  if (s) {
    close_(&e->base);
    return onednn_fail(ctx, "engine", s);
  }
  *out = &e->base;
  return WTL_OK;
}

static wtl_status bind(wtl_bind *b, wtl_kernel **out) {
  static const struct { const char *op; wtl_status (*bind)(onednn_engine *, wtl_bind *, wtl_kernel **); } table[] = {
    { "conv2d", onednn_bind_conv2d },
    { "batch_norm", onednn_bind_batch_norm },
    { "max_pool2d", onednn_bind_max_pool2d },
    { "avg_pool2d", onednn_bind_avg_pool2d },
    { "adaptive_avg_pool2d", onednn_bind_adaptive_avg_pool2d },
    { "global_avg_pool2d", onednn_bind_global_avg_pool2d },
    { "concat", onednn_bind_concat },
    { "mul", onednn_bind_mul },
  };
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (!strcmp(table[i].op, b->op->name)) return table[i].bind((onednn_engine *)b->engine, b, out);
  return WTL_ERR_UNSUPPORTED;
}

const wtl_provider wtl_provider_onednn = { "onednn", open_, close_, bind, reorder };
