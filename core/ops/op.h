/* The interface that each op's file fills in: a shape rule, a cost, forward and backward for float and
 * double. Ops see tensors as views and own no memory. Kernels of other providers (core/kernels) take the same wtl_call.
 * To add an op: one row in ops.def, one file NAME.c here. */
#ifndef WTL_OP_H
#define WTL_OP_H

#include "base.h"

/* Strides in elements; 0 where broadcast. data NULL: absent. */
typedef struct wtl_view {
  void *data;
  wtl_dtype dtype;
  int ndim;
  int64_t size[WTL_MAX_DIMS], stride[WTL_MAX_DIMS];
} wtl_view;

/* What a shape rule reads and writes. Inputs that are absent have present[i] false. */
typedef struct wtl_infer {
  wtl_ctx *ctx;
  const wtl_op *op;
  const wtl_attr *attr;
  int n_in;
  bool present[WTL_MAX_IN];
  wtl_shape in[WTL_MAX_IN];
  wtl_dtype in_dtype[WTL_MAX_IN];
  wtl_dtype real;              /* f32 or f64: what the op computes in */
  wtl_shape out[WTL_MAX_OUT];  /* to be set */
  wtl_dtype out_dtype[WTL_MAX_OUT]; /* preset to `real` */
  size_t saved_bytes;          /* kept from forward to backward by the plain kernels */
  size_t scratch_bytes;        /* of one call of the plain kernels */
} wtl_infer;

/* Elements in one chunk of an element-wise loop. */
#define WTL_SPAN 16384

/* Arguments of a kernel. Plain kernels (reference) may rely on: in, out, dout, din contiguous, except that the inputs (and
 * their din: same shape, contiguous) of ops with WTL_OP_STRIDED may have any strides. out[0] may be in[0]'s memory, and din[0]
 * dout[0]'s, for WTL_OP_POINTWISE ops; nothing else overlaps. */
typedef struct wtl_call {
  wtl_ctx *ctx;
  const wtl_attr *attr;
  int n_in, n_out;
  wtl_view in[WTL_MAX_IN];      /* in backward: data only where rules.reads_in has the bit */
  wtl_view out[WTL_MAX_OUT];    /* in backward: data only where rules.reads_out has the bit */
  wtl_view dout[WTL_MAX_OUT];   /* backward only; data NULL: zero */
  wtl_view din[WTL_MAX_IN];     /* backward only; data NULL: not wanted; overwritten, not added to */
  void *saved;                  /* NULL in a forward that neither backward nor commit follows */
  void *scratch;
  wtl_rng rng;                  /* WTL_OP_RANDOM: the stream to draw from, by logical index; the same in backward */
} wtl_call;

/* Type-independent half of an op, exported as wtl_rules_NAME. */
typedef struct wtl_op_rules {
  /* Fills out, out_dtype, saved_bytes, scratch_bytes; on failure the message begins "NAME: ". */
  wtl_status (*infer)(wtl_infer *i);
  /* Of one forward, and of one backward for all inputs. Bytes: each operand read or written once. */
  void (*cost)(const wtl_infer *i, wtl_cost *forward, wtl_cost *backward);
  /* What backward reads, besides saved and dout: bit i for in[i], out[i]. All else may be overwritten by then. */
  unsigned reads_in, reads_out;
} wtl_op_rules;

/* One element type's half, exported as wtl_kernels_NAME_f32 and _f64. backward NULL: not differentiable.
 * commit: changes running statistics in place from `saved`, after the loss was checked; else NULL. */
typedef struct wtl_op_kernels {
  wtl_status (*forward)(wtl_call *c);
  wtl_status (*backward)(wtl_call *c);
  wtl_status (*commit)(wtl_call *c);
} wtl_op_kernels;

enum {
  WTL_OP_POINTWISE = 1, /* out[i] depends on in[..][i] alone and f(0) = 0: runs on any layout, padding and all */
  WTL_OP_ALIAS = 2,     /* out is in[0]'s memory under another shape (reshape) */
  WTL_OP_STRIDED = 4,   /* plain kernels take any strides, so broadcasting costs no copy */
  WTL_OP_INTERNAL = 8,  /* updates: written by plans only */
  WTL_OP_NO_GRAD = 16,  /* not differentiable */
  WTL_OP_RANDOM = 32,   /* draws random numbers from the call's stream */
  WTL_OP_BROADCAST = 64, /* inputs broadcast, so a scalar may stand for any of them */
  WTL_OP_SAMPLES = 128  /* pointwise, but for the index along dim 0 */
};

struct wtl_op {
  const char *name, *formula, *help;
  int n_in, required, n_out, flags, n_attr;
  unsigned optional, labels, state;       /* inputs marked ?, # and = in ops.def: bit i for in[i] */
  const char *in_name[WTL_MAX_IN];        /* without the mark */
  wtl_attr_spec attr[WTL_MAX_ATTRS];
  const wtl_op_rules *rules;
  const wtl_op_kernels *kernels[2];       /* [0] f32, [1] f64 */
  const wtl_op_kernels *avx2;             /* f32 for processors with AVX2; NULL where it is not built */
};

/* The op's own kernels for f32 or f64, for this processor. */
const wtl_op_kernels *wtl_op_kernels_of(const wtl_op *op, wtl_dtype real);
extern bool wtl_op_least_instructions; /* for tests: every processor's */

/* Positions, so that C code can name an op without a string: wtl_op_at(WTL_OPID_conv2d). */
typedef enum wtl_op_id {
#define WTL_OP(name, ...) WTL_OPID_##name,
#include "ops.def"
#undef WTL_OP
  WTL_OPID_COUNT
} wtl_op_id;

/* Checks counts, presence, dtypes and attributes, presets out_dtype, and calls the op's rule. */
wtl_status wtl_op_infer(wtl_infer *i);

/* Size of output positions of a window: floor((n + 2p - d(k-1) - 1)/s) + 1. */
int64_t wtl_window_out(int64_t n, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation);
/* A view of contiguous data in shape s. */
wtl_view wtl_view_plain(void *data, wtl_dtype d, const wtl_shape *s);
int64_t wtl_view_numel(const wtl_view *v);
/* The part of v with `size` positions of axis dim: start, start + step, ... */
wtl_view wtl_view_window(const wtl_view *v, int dim, int64_t start, int64_t size, int64_t step);
bool wtl_view_plain_p(const wtl_view *v); /* contiguous? */

#endif
