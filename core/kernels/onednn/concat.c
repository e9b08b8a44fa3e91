/* concat along the channels of blocked activations, by own loops: where every input but the last fills its blocks, each
 * image's blocks are copied as they stand, padding too. Other concatenations are the plain kernel's. */
#include <string.h>

#include "onednn.h"

typedef struct concat_kernel { wtl_kernel base; int n; int64_t run[WTL_MAX_IN], all; } concat_kernel;
typedef struct concat_job { const concat_kernel *k; const wtl_view *part; char *whole; bool forward; } concat_job;

static void destroy(wtl_kernel *k) { wtl_free(k->ctx, k); }

/* One unit of work is one image. */
static void span(void *arg, int64_t begin, int64_t end, int thread) {
  const concat_job *j = arg;
  const concat_kernel *k = j->k;
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    char *whole = j->whole + u * k->all;
    for (int i = 0; i < k->n; i++) {
      char *part = j->part[i].data;
      if (part && j->forward) memcpy(whole, part + u * k->run[i], (size_t)k->run[i]);
      else if (part) memcpy(part + u * k->run[i], whole, (size_t)k->run[i]);
      whole += k->run[i];
    }
  }
}

static wtl_status forward(wtl_kernel *k, wtl_call *c) {
  concat_job j = { (concat_kernel *)k, c->in, c->out[0].data, true };
  wtl_parallel(c->ctx, c->out[0].size[0], 1, span, &j);
  return WTL_OK;
}

static wtl_status backward(wtl_kernel *k, wtl_call *c) {
  concat_job j = { (concat_kernel *)k, c->din, c->dout[0].data, false };
  wtl_parallel(c->ctx, c->dout[0].size[0], 1, span, &j);
  return WTL_OK;
}

/* Bytes of an image's blocks, input by input (0 where absent); false where they cannot just be put side by side. */
static bool runs(const wtl_bind *b, int block, concat_kernel *k) {
  int last = b->n_in - 1;
  while (!b->present[last]) last--;
  for (int i = 0; i <= last; i++) {
    if (!b->present[i]) continue;
    const wtl_layout *l = b->in_layout[i];
    const wtl_shape *x = &b->in[i];
    if (!l || l->block != block || (i < last && x->size[1] % block) || wtl_shape_numel(x) == 0) return false;
    k->run[i] = (int64_t)l->bytes / x->size[0];
    k->all += k->run[i];
  }
  k->n = last + 1;
  return true;
}

static wtl_status answer(onednn_engine *e, wtl_bind *b, int block) {
  WTL_TRY(onednn_blocked(e, &b->out[0], block, &b->out_layout[0]));
  for (int i = 0; i < b->n_in; i++) b->in_want[i] = b->back_want[i] = b->din_layout[i] = b->in_layout[i];
  b->saved_bytes = b->scratch_bytes = 0;
  b->reads_in = b->reads_out = 0;
  return WTL_OK;
}

wtl_status onednn_bind_concat(onednn_engine *e, wtl_bind *b, wtl_kernel **out) {
  int64_t dim = b->attr[0].i[0];
  int block = b->in_layout[0] ? b->in_layout[0]->block : 0;
  if ((block != 8 && block != 16) || b->in[0].ndim != 4 || (dim != 1 && dim != -3)) return WTL_ERR_UNSUPPORTED;
  concat_kernel *k = wtl_alloc(b->ctx, sizeof *k);
  if (!k) return WTL_ERR_MEMORY;
  k->base = (wtl_kernel){ &wtl_provider_onednn, "own:blocked", forward, backward, NULL, destroy, b->ctx };
  wtl_status s = runs(b, block, k) ? answer(e, b, block) : WTL_ERR_UNSUPPORTED;
  if (s != WTL_OK) {
    destroy(&k->base);
    return s;
  }
  *out = &k->base;
  return WTL_OK;
}
