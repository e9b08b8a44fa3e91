/* How a plan asks for kernels. A provider is asked, node by node in execution order, whether it takes a node
 * (bind); it answers with a kernel and with the layouts that the kernel reads and writes. A layout is opaque to plans: NULL
 * is the logical one (contiguous, unpadded), anything else belongs to a provider, which alone can reorder it. A plan
 * carries a value in the layout its producer wrote, and puts a reorder only where a reader wants another.
 * Providers in order of preference: onednn, blas, reference. */
#ifndef WTL_PROVIDER_H
#define WTL_PROVIDER_H

#include "op.h"

typedef struct wtl_provider wtl_provider;
typedef struct wtl_engine wtl_engine; /* a provider at work for one plan */
typedef struct wtl_kernel wtl_kernel;
struct wtl_engine { const wtl_provider *provider; wtl_ctx *ctx; };

/* Interned by its engine: two equal layouts are one pointer. Padding holds zeros, always. */
typedef struct wtl_layout {
  size_t bytes;    /* of the whole storage, padding too */
  int64_t count;   /* elements, padding too */
  int block;       /* channels in a block where the layout is [N][C/block][spatial][block]; else 0 */
  char tag[40];    /* for people: "aBcd8b" */
  wtl_engine *engine; /* which can reorder it */
  void *desc;      /* the provider's own */
  struct wtl_layout *next;
} wtl_layout;

/* Question and answer of bind. */
typedef struct wtl_bind {
  wtl_ctx *ctx;
  wtl_engine *engine;
  const wtl_op *op;
  const wtl_attr *attr;
  int n_in, n_out;
  bool present[WTL_MAX_IN];
  wtl_shape in[WTL_MAX_IN], out[WTL_MAX_OUT];
  wtl_dtype real;
  const wtl_layout *in_layout[WTL_MAX_IN]; /* as they come; of parameters: NULL, any other is a derived form */
  bool backward;                           /* will backward run? */
  bool want_din[WTL_MAX_IN];
  bool relu_follows;                       /* a relu is the only reader of out[0]: it may be taken too */
  /* answers, preset to logical and to the plain sizes */
  const wtl_layout *in_want[WTL_MAX_IN];   /* what forward reads */
  const wtl_layout *back_want[WTL_MAX_IN]; /* what backward reads (where reads_in has the bit); preset: as forward */
  const wtl_layout *out_layout[WTL_MAX_OUT]; /* of out, and of dout */
  const wtl_layout *din_layout[WTL_MAX_IN];  /* what backward writes */
  unsigned reads_in, reads_out;            /* of backward; preset from the rules */
  size_t saved_bytes, scratch_bytes;
  bool relu_taken;                         /* out[0] is after the relu, dout[0] too */
} wtl_bind;

/* A kernel bound to one node's shapes. Its forward and backward take the op's wtl_call, the data in the layouts agreed. */
struct wtl_kernel {
  const wtl_provider *provider;
  const char *impl;                 /* for people: "jit:avx2", "sgemm", "plain" */
  wtl_status (*forward)(wtl_kernel *k, wtl_call *c);
  wtl_status (*backward)(wtl_kernel *k, wtl_call *c);
  wtl_status (*commit)(wtl_kernel *k, wtl_call *c); /* NULL: nothing to commit */
  void (*destroy)(wtl_kernel *k);
  wtl_ctx *ctx;
};

struct wtl_provider {
  const char *name;
  wtl_status (*open)(wtl_ctx *ctx, wtl_engine **out);
  void (*close)(wtl_engine *e);
  /* WTL_ERR_UNSUPPORTED: not this provider's; the next is asked. */
  wtl_status (*bind)(wtl_bind *b, wtl_kernel **out);
  /* A kernel whose forward copies in[0] (layout from) to out[0] (layout to). NULL where the provider has no layouts. */
  wtl_status (*reorder)(wtl_engine *e, const wtl_shape *s, const wtl_layout *from, const wtl_layout *to, wtl_kernel **out);
};

/* The providers that `backend` ("auto", "onednn", "blas", "reference") stands for, NULL-terminated, in order; f64 has
 * the reference only. WTL_ERR_UNSUPPORTED where this build lacks it. */
wtl_status wtl_providers(wtl_ctx *ctx, const char *backend, wtl_dtype real, const wtl_provider *out[4]);
extern const wtl_provider wtl_provider_reference, wtl_provider_blas;
#ifdef WTL_ONEDNN
extern const wtl_provider wtl_provider_onednn;
#endif
/* Elements of a value in a layout (NULL: its numel). */
int64_t wtl_layout_count(const wtl_layout *l, const wtl_shape *s);

#endif
