/* What the oneDNN provider's files share: the engine with its interned layouts, and primitives
 * whose memory objects are made once and pointed at the plan's buffers when these move. oneDNN 2.6, C API. */
#ifndef WTL_ONEDNN_H
#define WTL_ONEDNN_H

#include <dnnl.h>

#include "provider.h"

typedef struct onednn_engine {
  wtl_engine base;
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_primitive_attr_t attr; /* user-managed scratchpad, so that a step allocates nothing of ours */
  wtl_layout *layouts;
} onednn_engine;

/* A primitive and its arguments. */
enum { ONEDNN_MAX_ARGS = 12 };
typedef struct onednn_prim {
  dnnl_primitive_desc_t pd;
  dnnl_primitive_t prim;
  int n;
  dnnl_exec_arg_t arg[ONEDNN_MAX_ARGS];
  void *handle[ONEDNN_MAX_ARGS]; /* as last set: setting again would rewrite the padding */
  size_t scratch_bytes;
} onednn_prim;

/* Set "oneDNN: what: status" and map the status. */
wtl_status onednn_fail(wtl_ctx *ctx, const char *what, dnnl_status_t s);
/* A descriptor of shape s in layout l (NULL: logical), or, with any, one that leaves the format open. */
wtl_status onednn_md(wtl_ctx *ctx, const wtl_shape *s, const wtl_layout *l, bool any, dnnl_memory_desc_t *out);
/* The interned layout of a descriptor; *out NULL when it is the logical one. */
wtl_status onednn_layout(onednn_engine *e, const dnnl_memory_desc_t *md, const wtl_layout **out);
/* The interned layout of activations of shape s (N,C,H,W) in blocks of 8 or 16 channels. */
wtl_status onednn_blocked(onednn_engine *e, const wtl_shape *s, int block, const wtl_layout **out);
/* Create the primitive and its scratchpad argument (argument 0). WTL_ERR_UNSUPPORTED without a message where oneDNN has no such
 * kernel or only its slow "ref" one. */
wtl_status onednn_prim_create(onednn_engine *e, const void *op_desc, const_dnnl_primitive_desc_t hint, onednn_prim *p);
/* Add an argument; its memory is set by onednn_prim_run in the order of addition. */
wtl_status onednn_prim_arg(onednn_engine *e, onednn_prim *p, int arg, const dnnl_memory_desc_t *md);
const dnnl_memory_desc_t *onednn_prim_md(const onednn_prim *p, dnnl_query_t what, int index);
const char *onednn_prim_impl(const onednn_prim *p);
/* handles[i] is argument i's memory, the scratchpad first. */
wtl_status onednn_prim_run(onednn_engine *e, onednn_prim *p, void *const handles[]);
void onednn_prim_destroy(onednn_prim *p);

wtl_status onednn_bind_conv2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out);
wtl_status onednn_bind_depthwise(onednn_engine *e, wtl_bind *b, wtl_kernel **out); /* a convolution with as many groups as channels */
wtl_status onednn_bind_conv_small(onednn_engine *e, wtl_bind *b, wtl_kernel **out); /* outputs of a few pixels, and what oneDNN is slow at */
wtl_status onednn_bind_batch_norm(onednn_engine *e, wtl_bind *b, wtl_kernel **out);
wtl_status onednn_bind_max_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out);
wtl_status onednn_bind_avg_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out);
wtl_status onednn_bind_adaptive_avg_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out);
wtl_status onednn_bind_concat(onednn_engine *e, wtl_bind *b, wtl_kernel **out);
wtl_status onednn_bind_mul(onednn_engine *e, wtl_bind *b, wtl_kernel **out);
wtl_status onednn_bind_global_avg_pool2d(onednn_engine *e, wtl_bind *b, wtl_kernel **out);

/* Round up to a cache line. */
static inline size_t onednn_round(size_t n) { return (n + 63) & ~(size_t)63; }

#endif
