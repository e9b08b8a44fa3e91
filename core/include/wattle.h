/* wattle.h - the public face of Wattle's core: tensors, ops, traced graphs, plans,
 * training, compression and energy metering, without Lua.
 *
 * Rules that hold for every function here:
 *  - A function that can fail returns wtl_status; 0 is success; out-parameters come last
 *    and are written only on success. The sentence that says what went wrong is
 *    wtl_message(ctx), kept in a fixed buffer that works when memory is gone.
 *  - *_create and functions whose comment says "new reference" give one reference, ended
 *    by the matching *_release or *_destroy, which accept NULL.
 *  - One context and everything made from it belong to one thread at a time.
 *  - Sizes are in elements unless a name says bytes. Dimensions and classes count from 0.
 *  - Energy is integer microjoules (_uj), time is integer microseconds (_us) or double
 *    seconds (_s), power is double watts (_w). A missing reading is a status, never 0. */
#ifndef WATTLE_H
#define WATTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the shared library exports */

#define WTL_VERSION "0.1.0"
#define WTL_MAX_DIMS 8
#define WTL_MAX_IN 8   /* inputs of one op */
#define WTL_MAX_OUT 2  /* outputs of one op */
#define WTL_MAX_ATTRS 8
#define WTL_NAME_MAX 128

/* ---- status and context ------------------------------------------------------------ */

typedef enum wtl_status {
  WTL_OK = 0,
  WTL_ERR_MEMORY,      /* allocation failed (or was made to fail) */
  WTL_ERR_ARG,         /* misuse: a wrong argument, option or name */
  WTL_ERR_SHAPE,       /* shapes do not fit */
  WTL_ERR_DTYPE,       /* element types do not fit */
  WTL_ERR_STATE,       /* closed, stale or in the wrong mode */
  WTL_ERR_IO,          /* the file system said no: message names the path */
  WTL_ERR_FORMAT,      /* a file's content is malformed: message names the path */
  WTL_ERR_NUMERIC,     /* NaN or infinity where a number is needed */
  WTL_ERR_UNSUPPORTED, /* right, but not available in this build or provider */
  WTL_ERR_INTERRUPTED  /* stopped on request */
} wtl_status;

/* The status's name in lower case: "ok", "memory", "arg", ... */
const char *wtl_status_name(wtl_status s);

typedef struct wtl_ctx wtl_ctx;

/* threads: 0 takes the processors this process may run on. */
wtl_status wtl_ctx_create(int threads, wtl_ctx **out);
void wtl_ctx_destroy(wtl_ctx *ctx);
/* The last error's message; "" before the first. Valid until the next failing call. */
const char *wtl_message(const wtl_ctx *ctx);
int wtl_threads(const wtl_ctx *ctx);
/* 1 <= n <= 1024. Plans compiled before keep their own choices but run on n threads. */
wtl_status wtl_set_threads(wtl_ctx *ctx, int n);
/* Ask a running step, loader or compression to stop with WTL_ERR_INTERRUPTED at its next
 * boundary. Safe in a signal handler and from any thread; n = 0 clears the request. */
void wtl_interrupt(wtl_ctx *ctx, int n);
bool wtl_interrupted(const wtl_ctx *ctx);

/* Versions, processor, instruction sets and providers of this build as "key: value" lines. */
const char *wtl_build_info(void);

/* ---- memory ------------------------------------------------------------------------ */

/* Zeroed, 64-byte aligned. NULL (with the message set) when memory is gone. */
void *wtl_alloc(wtl_ctx *ctx, size_t bytes);
void wtl_free(wtl_ctx *ctx, void *p);

typedef struct wtl_memory {
  uint64_t allocations; /* calls of wtl_alloc since the context began */
  uint64_t live;        /* blocks not yet freed */
  uint64_t live_bytes;
  uint64_t peak_bytes;
} wtl_memory;
void wtl_memory_stats(const wtl_ctx *ctx, wtl_memory *out);
/* Failure injection: the n-th allocation from now (1 is the next) and all after it fail,
 * until called again; 0 switches it off. */
void wtl_memory_fail_at(wtl_ctx *ctx, uint64_t n);

/* ---- time and random numbers ------------------------------------------------------- */

int64_t wtl_now_us(void);         /* CLOCK_MONOTONIC */
int64_t wtl_process_cpu_us(void); /* user + system time of this process */

/* Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011): the value at `index` is
 * a function of (seed, purpose, name, step, index) alone, computed without libm, so it is
 * the same on every machine, thread count and resume. */
typedef struct wtl_rng { uint32_t key[2]; uint32_t stream[2]; } wtl_rng;
/* purpose: "init", "shuffle", "dropout", ...; name: a parameter's or data set's name. */
wtl_rng wtl_rng_make(uint64_t seed, const char *purpose, const char *name, uint64_t step);
uint32_t wtl_rng_u32(const wtl_rng *r, uint64_t index);
double wtl_rng_uniform(const wtl_rng *r, uint64_t index); /* [0, 1), 32 bits */
double wtl_rng_normal(const wtl_rng *r, uint64_t index);  /* mean 0, sd 1 (Box-Muller) */
/* A permutation of 0..n-1 (Fisher-Yates). */
void wtl_rng_permutation(const wtl_rng *r, int64_t n, int64_t *out);
/* The seed of what ops run at once draw (dropout); 0 at the start. Plans have their own: wtl_plan_options. Counts such
 * runs from 0 again: the k-th draws from (seed, op's name, "", k), and wtl_op_vjp repeats the latest run's draws. */
void wtl_seed(wtl_ctx *ctx, uint64_t seed);

/* ---- tensors ----------------------------------------------------------------------- */

typedef enum wtl_dtype { WTL_F32, WTL_F64, WTL_BF16, WTL_F16, WTL_I64, WTL_I32, WTL_U8, WTL_NDTYPES } wtl_dtype;
const char *wtl_dtype_name(wtl_dtype d); /* "f32", "f64", "bf16", ... */
size_t wtl_dtype_size(wtl_dtype d);
wtl_status wtl_dtype_parse(wtl_ctx *ctx, const char *name, wtl_dtype *out);

typedef struct wtl_shape { int ndim; int64_t size[WTL_MAX_DIMS]; } wtl_shape; /* ndim 0: a scalar */
int64_t wtl_shape_numel(const wtl_shape *s);
bool wtl_shape_equal(const wtl_shape *a, const wtl_shape *b);
/* "[2,3]" into buf (always terminated); returns buf. */
const char *wtl_shape_text(const wtl_shape *s, char *buf, size_t n);

/* A tensor is a strided window on reference-counted storage. Views share the storage. */
typedef struct wtl_tensor wtl_tensor;
wtl_status wtl_tensor_create(wtl_ctx *ctx, wtl_dtype d, const wtl_shape *s, wtl_tensor **out); /* zeros */
wtl_tensor *wtl_tensor_retain(wtl_tensor *t);
void wtl_tensor_release(wtl_tensor *t);
wtl_ctx *wtl_tensor_ctx(const wtl_tensor *t);
wtl_dtype wtl_tensor_dtype(const wtl_tensor *t);
const wtl_shape *wtl_tensor_shape(const wtl_tensor *t);
const int64_t *wtl_tensor_strides(const wtl_tensor *t); /* in elements */
int64_t wtl_tensor_numel(const wtl_tensor *t);
size_t wtl_tensor_bytes(const wtl_tensor *t); /* numel x element size */
void *wtl_tensor_data(wtl_tensor *t);         /* of element [0,0,...] */
const void *wtl_tensor_cdata(const wtl_tensor *t);
bool wtl_tensor_contiguous(const wtl_tensor *t);
/* Views: no copy, new reference. */
wtl_status wtl_tensor_reshape(wtl_tensor *t, const wtl_shape *s, wtl_tensor **out);   /* one size may be -1; contiguous only */
wtl_status wtl_tensor_transpose(wtl_tensor *t, int d0, int d1, wtl_tensor **out);
wtl_status wtl_tensor_permute(wtl_tensor *t, const int *dims, wtl_tensor **out);
wtl_status wtl_tensor_narrow(wtl_tensor *t, int dim, int64_t start, int64_t length, wtl_tensor **out);
wtl_status wtl_tensor_select(wtl_tensor *t, int dim, int64_t index, wtl_tensor **out); /* drops dim */
wtl_status wtl_tensor_expand(wtl_tensor *t, const wtl_shape *s, wtl_tensor **out);     /* broadcast */
/* Copies: new reference. */
wtl_status wtl_tensor_clone(const wtl_tensor *t, wtl_tensor **out); /* contiguous */
/* Conversion rounds to nearest even; out of an integer type's range is WTL_ERR_NUMERIC. */
wtl_status wtl_tensor_convert(const wtl_tensor *t, wtl_dtype d, wtl_tensor **out);
wtl_status wtl_tensor_copy(wtl_tensor *dst, const wtl_tensor *src); /* same shape; converts */
wtl_status wtl_tensor_fill(wtl_tensor *t, double value);
wtl_status wtl_tensor_get(const wtl_tensor *t, const int64_t *index, double *out); /* i64 beyond 2^53 loses bits */
wtl_status wtl_tensor_set(wtl_tensor *t, const int64_t *index, double value);
/* Is no element NaN or infinite? Integers never are. On all threads, up to the first that is. */
bool wtl_tensor_all_finite(const wtl_tensor *t);
/* Element i in logical (row-major) order = r's value at i. */
wtl_status wtl_tensor_uniform(wtl_tensor *t, const wtl_rng *r, double low, double high);
wtl_status wtl_tensor_normal(wtl_tensor *t, const wtl_rng *r, double mean, double sd);
/* Shape after broadcasting as NumPy does; `what` names the op in the error. */
wtl_status wtl_broadcast(wtl_ctx *ctx, const char *what, const wtl_shape *a, const wtl_shape *b, wtl_shape *out);

/* Text that grows; used for printing and descriptions. */
typedef struct wtl_text { wtl_ctx *ctx; char *s; size_t n, cap; } wtl_text;
void wtl_text_init(wtl_text *t, wtl_ctx *ctx);
void wtl_text_free(wtl_text *t);
wtl_status wtl_text_add(wtl_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As PyTorch prints: rows in brackets, long axes cut to the first and last 3, then
 * "f32 [2,3]". */
wtl_status wtl_tensor_print(const wtl_tensor *t, wtl_text *out);

/* ---- ops --------------------------------------------------------------------------- */

/* One row of core/ops/ops.def. */
typedef struct wtl_op wtl_op;

/* Attribute values by position in the op's row. Integers, flags and lists stand in i[0..n-1],
 * reals in f. */
typedef struct wtl_attr { int n; int64_t i[WTL_MAX_DIMS]; double f; } wtl_attr;
typedef enum wtl_attr_kind { WTL_ATTR_INT, WTL_ATTR_PAIR, WTL_ATTR_LIST, WTL_ATTR_REAL, WTL_ATTR_FLAG } wtl_attr_kind;
typedef struct wtl_attr_spec {
  const char *name;
  wtl_attr_kind kind;   /* PAIR: one integer stands for both; LIST: up to 8 integers, n = 0 if not given */
  int64_t i;            /* default of INT, PAIR and FLAG; INT64_MIN: must be given */
  double f;             /* default of REAL; NaN: must be given */
} wtl_attr_spec;

int wtl_op_count(void);
const wtl_op *wtl_op_at(int i);               /* NULL out of range */
const wtl_op *wtl_op_find(const char *name);  /* NULL if unknown */
const char *wtl_op_name(const wtl_op *op);
const char *wtl_op_formula(const wtl_op *op);
const char *wtl_op_help(const wtl_op *op);
int wtl_op_inputs(const wtl_op *op, int *required); /* most inputs; *required: how many must be given */
int wtl_op_outputs(const wtl_op *op);
const char *wtl_op_input_name(const wtl_op *op, int i);
int wtl_op_attrs(const wtl_op *op);
const wtl_attr_spec *wtl_op_attr(const wtl_op *op, int i);
bool wtl_op_differentiable(const wtl_op *op);
bool wtl_op_broadcasts(const wtl_op *op); /* inputs broadcast as in NumPy: a scalar may stand for any of them */
bool wtl_op_internal(const wtl_op *op); /* an update or other op that only plans use */
/* All attributes at their defaults; those that must be given have n = -1 (INT, PAIR, LIST, FLAG) or f = NaN. */
void wtl_op_defaults(const wtl_op *op, wtl_attr attrs[WTL_MAX_ATTRS]);

/* Run an op at once on contiguous or strided tensors of one float dtype (labels may be i64), through
 * the fastest provider for plain layouts. in[i] NULL: absent optional input. out[]: new references. An op
 * with running statistics (batch_norm in training) updates them. */
wtl_status wtl_op_run(wtl_ctx *ctx, const wtl_op *op, const wtl_attr attrs[WTL_MAX_ATTRS],
                      wtl_tensor *const in[], int n_in, wtl_tensor *out[]);
/* Vector-Jacobian product: din[i] = d(sum_j <dout_j, out_j>)/d in_i, new references; NULL where
 * want[i] is false. dout[j] NULL stands for zeros. */
wtl_status wtl_op_vjp(wtl_ctx *ctx, const wtl_op *op, const wtl_attr attrs[WTL_MAX_ATTRS],
                      wtl_tensor *const in[], int n_in, wtl_tensor *const dout[], const bool want[],
                      wtl_tensor *din[]);

typedef struct wtl_cost { double flops, bytes; } wtl_cost; /* one MAC is 2 FLOPs */

/* ---- parameters -------------------------------------------------------------------- */

/* A parameter or buffer of a model: one tensor in logical layout, its value; a version that every derived form is checked
 * against; and constraints applied after each update. */
typedef struct wtl_param wtl_param;
typedef enum wtl_param_kind { WTL_PARAMETER, WTL_BUFFER } wtl_param_kind;
wtl_status wtl_param_create(wtl_ctx *ctx, wtl_tensor *value, wtl_param_kind kind, wtl_param **out); /* contiguous; retains value */
wtl_param *wtl_param_retain(wtl_param *p);
void wtl_param_release(wtl_param *p);
wtl_tensor *wtl_param_tensor(wtl_param *p);       /* borrowed; after writing call wtl_param_touch */
wtl_param_kind wtl_param_kind_of(const wtl_param *p);
uint64_t wtl_param_version(const wtl_param *p);
void wtl_param_touch(wtl_param *p);               /* the value changed: derived forms are stale */
bool wtl_param_requires_grad(const wtl_param *p);
void wtl_param_set_requires_grad(wtl_param *p, bool on); /* plans compiled before are stale */
wtl_status wtl_param_clone(wtl_param *p, wtl_param **out); /* deep copy, constraints and all */
/* Copies with conversion, shape must match, touches. */
wtl_status wtl_param_assign(wtl_param *p, const wtl_tensor *value);
/* The tensor itself becomes the value, with no copy, where it is contiguous, of the parameter's dtype, all of its memory and
 * held by the caller alone, so that no second parameter shares it; else wtl_param_assign. Retains; from then on, change it
 * through the parameter alone. Plans compiled before are stale. */
wtl_status wtl_param_adopt(wtl_param *p, wtl_tensor *value);
/* Replaces the value by a copy of another dtype (f32, f64): plans compiled before are stale. */
wtl_status wtl_param_convert(wtl_param *p, wtl_dtype d);

/* Constraints, re-applied after every update: truncation, then the mask (what it drops is 0 whatever the arm). */
wtl_status wtl_param_set_mask(wtl_param *p, wtl_tensor *mask); /* u8, 1 keeps; NULL removes; retains */
wtl_tensor *wtl_param_mask(wtl_param *p);                      /* borrowed or NULL */

/* What becomes of the n low-order bits of an f32 (0 <= n <= 23, so neither exponent nor sign; Mei & Stamp 2025). NaN and
 * infinities stay as they are. */
typedef enum wtl_bits_arm {
  WTL_BITS_ZERO,      /* w & ~((1<<n)-1): toward 0 */
  WTL_BITS_RANDOM,    /* n random bits in their place */
  WTL_BITS_STOCHASTIC /* rounded to the format of 32-n bits, up with a chance of what is cut off / 2^n, so that the mean is w;
                         what would become infinite is rounded toward 0 */
} wtl_bits_arm;
const char *wtl_bits_arm_name(wtl_bits_arm arm); /* "zero", "random", "stochastic" */
wtl_status wtl_bits_arm_parse(wtl_ctx *ctx, const char *name, wtl_bits_arm *out);

typedef struct wtl_truncation {
  int bits;                /* n; 0: none */
  wtl_bits_arm arm;
  bool master;             /* updates go to an f32 master of its own, and the value is made from it */
  uint64_t seed;           /* random, stochastic: draw number k (from 0) is wtl_rng_make(seed, "scr", name, k) at the */
  char name[WTL_NAME_MAX]; /* element's logical index; name: the parameter's in its model */
} wtl_truncation;
/* f32 only; copies t; NULL or 0 bits remove it. A new master is a copy of the value as it is now; one that stood stays;
 * without `master` it goes. Making and ending a master makes plans stale. Changes no value: see wtl_param_constrain. */
wtl_status wtl_param_set_truncation(wtl_param *p, const wtl_truncation *t);
void wtl_param_truncation(const wtl_param *p, wtl_truncation *out); /* bits 0: none */
wtl_tensor *wtl_param_master(wtl_param *p); /* borrowed or NULL; wtl_param_assign writes value and master */
/* Apply the constraints now: value = mask(arm(master, or else value)). The arms that draw count their draws. */
wtl_status wtl_param_constrain(wtl_param *p);
uint64_t wtl_param_redraws(const wtl_param *p);
/* For checkpoints, after value and master were put back: n draws were made, and the value is again what the last of them
 * made of it. */
wtl_status wtl_param_set_redraws(wtl_param *p, uint64_t n);

/* A counter that a module bumps when its structure changes; plans that saw an older count are stale. */
typedef struct wtl_stamp wtl_stamp;
wtl_status wtl_stamp_create(wtl_ctx *ctx, wtl_stamp **out);
wtl_stamp *wtl_stamp_retain(wtl_stamp *s);
void wtl_stamp_release(wtl_stamp *s);
void wtl_stamp_bump(wtl_stamp *s);

/* ---- graphs ------------------------------------------------------------------------ */

/* A traced computation: values and the ops between them. Shapes are checked as it grows. */
typedef struct wtl_graph wtl_graph;
typedef int32_t wtl_value; /* index of a value in its graph */
wtl_status wtl_graph_create(wtl_ctx *ctx, wtl_dtype dtype, wtl_graph **out); /* dtype: f32 or f64, of all floats in it */
void wtl_graph_release(wtl_graph *g);
wtl_graph *wtl_graph_retain(wtl_graph *g);
wtl_dtype wtl_graph_dtype(const wtl_graph *g);
/* dim 0 of every input is the batch. */
wtl_status wtl_graph_input(wtl_graph *g, const char *name, wtl_dtype d, const wtl_shape *s, wtl_value *out);
wtl_status wtl_graph_param(wtl_graph *g, const char *name, wtl_param *p, wtl_value *out); /* same p, same value */
wtl_status wtl_graph_const(wtl_graph *g, wtl_tensor *t, wtl_value *out);                   /* copies, converting */
/* in[i] < 0: absent optional input. out[]: as many as wtl_op_outputs. */
wtl_status wtl_graph_op(wtl_graph *g, const wtl_op *op, const wtl_attr attrs[WTL_MAX_ATTRS],
                        const wtl_value in[], int n_in, wtl_value out[]);
/* Prefix of the nodes added from now on ("layer1.0.conv1"), and of error messages; "" ends it. */
wtl_status wtl_graph_scope(wtl_graph *g, const char *scope);
wtl_status wtl_graph_output(wtl_graph *g, const char *name, wtl_value v);
wtl_status wtl_graph_loss(wtl_graph *g, wtl_value v);    /* a scalar */
wtl_status wtl_graph_metric(wtl_graph *g, wtl_value v);  /* a scalar: how many are correct */
wtl_status wtl_graph_stamp(wtl_graph *g, wtl_stamp *s);  /* remember a module's structure; retains */
const wtl_shape *wtl_graph_value_shape(const wtl_graph *g, wtl_value v); /* NULL if out of range */
wtl_dtype wtl_graph_value_dtype(const wtl_graph *g, wtl_value v);

/* ---- optimizers and plans ---------------------------------------------------------- */

/* Parameters with hyperparameters of their own (PyTorch's parameter groups); NaN: the optimizer's. */
typedef struct wtl_optim_group {
  wtl_param *const *param;
  int n_param;
  double lr, momentum, weight_decay, beta1, beta2, eps;
} wtl_optim_group;

typedef struct wtl_optim {     /* torch.optim's arguments */
  const char *kind;            /* "sgd", "adam" (Kingma and Ba 2015), "adamw" (Loshchilov and Hutter 2019) */
  double lr, momentum, weight_decay; /* momentum: sgd. weight_decay: L2; adamw: decoupled */
  bool nesterov;               /* sgd */
  double beta1, beta2, eps;    /* adam, adamw; 0 <= beta < 1 */
  double clip_value;           /* each gradient element is brought into [-clip_value, clip_value]; 0: not clipped */
  double clip_norm;            /* then all gradients are scaled so that their common L2 norm is at most this; 0: not */
  int accumulate;              /* update after so many steps, by the gradient of the mean loss over all their
                                  samples; 0 and 1: after each */
  const wtl_optim_group *group;
  int n_group;
} wtl_optim;

/* A graph compiled for training or use; it owns its optimizer's state, derived forms of parameters and one arena. */
typedef struct wtl_plan wtl_plan;
typedef struct wtl_plan_options {
  const wtl_optim *optim;  /* NULL: no update (the graph may still have a loss) */
  const char *backend;     /* "auto", "reference", "blas", "onednn"; NULL is "auto" */
  bool gradients;          /* for wtl_plan_param_gradient and wtl_plan_input_gradient */
  bool keep_values;        /* keep every value and its gradient for wtl_plan_value: costs memory */
  uint64_t seed;           /* of what random ops draw, with the node's name and the count of steps */
} wtl_plan_options;

wtl_status wtl_plan_compile(wtl_ctx *ctx, wtl_graph *g, const wtl_plan_options *o, wtl_plan **out); /* retains g */
void wtl_plan_release(wtl_plan *p);

typedef struct wtl_step {
  double loss;      /* mean over the batch, before the update; NaN where the graph has none */
  double correct;   /* the metric; NaN where the graph has none */
  int64_t samples;  /* batch size */
} wtl_step;
/* Forward, loss check, backward, update. in[]: the graph's inputs in order, of the graph's shapes except for
 * dim 0, which must agree among them. The first step with another batch size specialises the plan (it
 * allocates); later ones do not. WTL_ERR_NUMERIC on a loss that is not finite: nothing was changed. */
wtl_status wtl_plan_step(wtl_plan *p, wtl_tensor *const in[], int n_in, wtl_step *out);
/* Forward only (loss too if the graph has one), no running statistics, no update. out[]: the graph's outputs,
 * new references, or written in place where out[i] is not NULL; NULL: they are not read. step may be NULL. */
wtl_status wtl_plan_forward(wtl_plan *p, wtl_tensor *const in[], int n_in, wtl_tensor *out[], wtl_step *step);
int wtl_plan_outputs(const wtl_plan *p);
int wtl_plan_inputs(const wtl_plan *p);
/* Update now by what was accumulated; nothing accumulated: nothing happens. Call it after an epoch's last step. */
wtl_status wtl_plan_flush(wtl_plan *p);
/* "lr", "momentum", "weight_decay", "beta1", "beta2", "eps" (those the optimizer has), from the next update on. A
 * group's own lr keeps its ratio to the optimizer's; its other own values stay. */
wtl_status wtl_plan_set(wtl_plan *p, const char *name, double value);
wtl_status wtl_plan_get(const wtl_plan *p, const char *name, double *out);
/* The optimizer's state, to be saved and put back: tensor i of wtl_plan_states, borrowed and writable, called
 * `name` as in PyTorch ("momentum_buffer", "exp_avg", "exp_avg_sq"), of the parameter called `param`. WTL_ERR_STATE
 * while gradients are accumulated: flush first. */
int wtl_plan_states(const wtl_plan *p);
wtl_status wtl_plan_state(wtl_plan *p, int i, const char **param, const char **name, wtl_tensor **out);
/* Steps run (random ops draw by it) and updates made (Adam's bias correction) since the plan began. */
typedef struct wtl_plan_count { int64_t steps, updates; } wtl_plan_count;
wtl_plan_count wtl_plan_count_get(const wtl_plan *p);
wtl_status wtl_plan_count_set(wtl_plan *p, wtl_plan_count count);
/* Gradients of the last step (compiled with gradients), clipped if the plan clips without accumulating; new
 * reference, logical layout. WTL_ERR_STATE before a
 * step, and after a forward at another batch size or thread count, which takes their memory. */
wtl_status wtl_plan_param_gradient(wtl_plan *p, wtl_param *param, wtl_tensor **out);
wtl_status wtl_plan_input_gradient(wtl_plan *p, int input, wtl_tensor **out);
/* Any value of the last step, or its gradient (compiled with keep_values); logical layout. */
wtl_status wtl_plan_value(wtl_plan *p, wtl_value v, bool gradient, wtl_tensor **out);
/* Lines: every step with provider, implementation, layouts, shapes and bytes; reorders are steps of their own. */
wtl_status wtl_plan_describe(wtl_plan *p, wtl_text *out);

typedef struct wtl_plan_info {
  int nodes, reorders;          /* reorders: copies of activations or their gradients between layouts */
  int weight_forms;             /* derived forms of parameters, refreshed after an update */
  size_t arena_bytes, sum_bytes; /* the arena, and what its values would need without sharing */
  wtl_cost forward, backward;
  int specialisations;
  int64_t batch;
} wtl_plan_info;
wtl_status wtl_plan_info_get(wtl_plan *p, wtl_plan_info *out);
/* wtl_plan_info's forward.flops less those that a perfect sparse kernel would not do: multiplications of conv2d, linear and
 * matmul by an element of a parameter that is 0 now, with their additions (where both factors are parameters, by the
 * product of the shares that are not 0). Zeros among activations are not counted. */
wtl_status wtl_plan_nonzero_flops(wtl_plan *p, double *out);

typedef struct wtl_profile_row {
  const char *name, *op, *provider, *impl;
  bool backward;
  int64_t calls, time_us;
  wtl_cost cost;
} wtl_profile_row;
/* Times every step from now on (on), or stops; rows describe what was timed since. */
wtl_status wtl_plan_profile(wtl_plan *p, bool on);
int wtl_plan_profile_rows(const wtl_plan *p);
wtl_status wtl_plan_profile_row(const wtl_plan *p, int i, wtl_profile_row *out);

/* Op-by-op agreement inside a network: p was compiled from an f64 graph with keep_values and has
 * run a step. Each node is run alone through `backend` in f32, fed the recorded inputs and output gradients, and
 * the norm-relative errors of its outputs and input gradients are reported. A backward denominator is never below 1e-6 of
 * the whole gradient's norm. */
typedef struct wtl_agree_row {
  const char *name, *op, *provider, *impl;
  double forward_err, backward_err; /* backward_err: the largest gradient_err, 0 without a gradient */
  int gradients;                    /* of how many of the op's inputs there is one, in the inputs' order */
  double gradient_err[WTL_MAX_IN];
  double rounding_err[WTL_MAX_IN]; /* what rounding the op's inputs to f32 does to that gradient, all else in f64; near or
                                      above gradient_err where it is the small rest of a sum, and none could do better */
} wtl_agree_row;
typedef void (*wtl_agree_fn)(void *arg, const wtl_agree_row *row);
wtl_status wtl_plan_agree(wtl_plan *p, const char *backend, wtl_agree_fn fn, void *arg);

/* Central-difference gradient check of one op in f64 at the given inputs: the largest norm-relative error over
 * inputs and projections. eps is the step (1e-6 suits unit-sized inputs). */
wtl_status wtl_op_gradcheck(wtl_ctx *ctx, const wtl_op *op, const wtl_attr attrs[WTL_MAX_ATTRS],
                            wtl_tensor *const in[], int n_in, const bool want[], double eps, double *worst);

/* ---- compression ------------------------------------------------------------------- */

/* The n low-order bits of each f32 element in place, 0 <= n <= 23, as a parameter's truncation does; element i in logical
 * order draws r's number i. Arm zero does not read r. */
wtl_status wtl_truncate(wtl_tensor *t, int bits, wtl_bits_arm arm, const wtl_rng *r);
/* Global magnitude pruning (Han et al. 2015): masks[i] (u8, new references) keeps all but the floor(amount x total)
 * smallest |w| over all tensors together; ties go by position (tensor, then logical index). 0 <= amount < 1. */
wtl_status wtl_prune_global(wtl_ctx *ctx, wtl_tensor *const w[], int n, double amount, wtl_tensor *masks[]);
/* Truncated SVD of w [m,n] (f32/f64): rank r is the smallest that keeps `energy` (0 < energy <= 1) of the sum of squared
 * singular values. *rank = 0 and no tensors when r(m+n) >= mn, so that FLOPs would not fall. Otherwise a [m,r] and b
 * [r,n] with a.b ~ w, singular values split evenly (square roots on both sides). *kept: the share of energy that stays (1
 * where there are no tensors). full: r = min(m,n) whatever FLOPs do, so that a.b is w but for rounding; energy is not read. */
wtl_status wtl_lowrank(wtl_ctx *ctx, const wtl_tensor *w, double energy, bool full, int64_t *rank, double *kept,
                       wtl_tensor **a, wtl_tensor **b);

/* ---- data -------------------------------------------------------------------------- */

/* An IDX file (plain or gzip, told by content) of u8 as a u8 tensor. Strict: magic, type, sizes, no trailing
 * bytes; max_bytes bounds the payload (0: 4 GiB). */
wtl_status wtl_idx_load(wtl_ctx *ctx, const char *path, size_t max_bytes, wtl_tensor **out);
/* x[i] = images[index[i]] as f32 (x - mean)/sd after /255, shape [n, C, H, W] (C = 1 for 3-D images); y[i] = labels[...] as i64. */
wtl_status wtl_gather_batch(wtl_ctx *ctx, const wtl_tensor *images, const wtl_tensor *labels, const int64_t *index,
                            int64_t n, double mean, double sd, wtl_tensor *x, wtl_tensor *y);

/* A safetensors file: names, tensors and string metadata, read strictly, written beside + synced + renamed. */
typedef struct wtl_named {
  char *name;
  wtl_tensor *tensor;
  bool finite; /* seen while it was loaded: no NaN, no infinity; false: not known */
} wtl_named;
typedef struct wtl_dict { wtl_ctx *ctx; wtl_named *item; int64_t n, cap; } wtl_dict; /* in file order */
void wtl_dict_init(wtl_dict *d, wtl_ctx *ctx);
void wtl_dict_free(wtl_dict *d);
wtl_status wtl_dict_add(wtl_dict *d, const char *name, wtl_tensor *t); /* retains; a second of one name is WTL_ERR_ARG */
wtl_tensor *wtl_dict_find(const wtl_dict *d, const char *name);        /* borrowed or NULL */
/* meta: key, value, key, value, ..., NULL; or NULL. The header has the dict's order; the bytes are ordered by the size of
 * an element, largest first, so that all are aligned. */
wtl_status wtl_safetensors_save(wtl_ctx *ctx, const char *path, const wtl_dict *d, const char *const *meta);
/* out: initialised and empty; tensors come in the header's order. */
wtl_status wtl_safetensors_load(wtl_ctx *ctx, const char *path, wtl_dict *out);
/* The file's metadata as strings: key, value, key, value, ..., NULL - what save takes. n counts pairs. */
typedef struct wtl_meta { wtl_ctx *ctx; char **s; int64_t n; } wtl_meta;
wtl_status wtl_safetensors_load_meta(wtl_ctx *ctx, const char *path, wtl_dict *out, wtl_meta *meta);
void wtl_meta_free(wtl_meta *m); /* a zeroed one too */

/* A .npy file, one array, under the name "data", and .npz, arrays by name, stored or deflated. Of NumPy's
 * types, f4 f8 f2 i8 i4 u1 are as they are, b1 becomes u8, i1 i2 u2 i32, u4 i64; either byte order; arrays by columns come
 * out by rows. Files of other types (objects, text, structures ...) are WTL_ERR_UNSUPPORTED. Written with the version, the
 * alignment and the bytes that NumPy has; .npz members are stored; bf16, which NumPy lacks, is WTL_ERR_DTYPE. */
wtl_status wtl_npy_load(wtl_ctx *ctx, const char *path, wtl_dict *out); /* out: initialised and empty */
wtl_status wtl_npy_save(wtl_ctx *ctx, const char *path, wtl_tensor *t);
wtl_status wtl_npz_load(wtl_ctx *ctx, const char *path, wtl_dict *out); /* out: initialised and empty */
wtl_status wtl_npz_save(wtl_ctx *ctx, const char *path, const wtl_dict *d);

/* What torch.save writes: the zip form, or the legacy stream of pickles; read by a reader that runs nothing and knows only
 * tensors, dicts, lists, text and numbers (WTL_ERR_UNSUPPORTED names what else a file asks for). A state dict gives its
 * tensors; a checkpoint the dict under "state_dict", "model", "model_state_dict" or "model_ema", and meta's "from" says which;
 * anything else is flattened to names with dots, positions from 0, one tensor alone is "data". What is no tensor is in meta
 * as text. Tensors come contiguous, each with memory of its own; bool becomes u8, int8 and int16 i32. out: initialised and
 * empty. */
wtl_status wtl_pth_load(wtl_ctx *ctx, const char *path, wtl_dict *out, wtl_meta *meta);

/* A file of tensors in any format that is known, told by its content, whatever its name: safetensors, .pth, .npz,
 * .npy. out: initialised and empty; meta: string pairs, as above. WTL_ERR_IO, WTL_ERR_FORMAT (damaged, or none of
 * these) and WTL_ERR_UNSUPPORTED (sound, but not to be had here) name the file. */
wtl_status wtl_load(wtl_ctx *ctx, const char *path, wtl_dict *out, wtl_meta *meta);
/* Written as the path's end says: .npz, .npy (one tensor), .safetensors, which is also what any other name gets unless it
 * ends in the name of a format that is not written (.pth, .h5, ...: WTL_ERR_ARG). Only safetensors keeps meta; for the others
 * it must be empty. */
wtl_status wtl_save(wtl_ctx *ctx, const char *path, const wtl_dict *d, const char *const *meta);

/* A JPEG or PNG file (told by content) as u8 [C,H,W], turned as its EXIF orientation says. channels 1 (ITU-R 601
 * luma) or 3 (RGB; alpha is dropped, CMYK converted): the pixels of Pillow 9.4's
 * ImageOps.exif_transpose(image).convert("L" or "RGB"). At most 2^28 pixels and 10^6 a side. WTL_ERR_FORMAT: neither
 * of the two, cut off or corrupt; WTL_ERR_UNSUPPORTED: a JPEG with arithmetic coding. */
wtl_status wtl_image_load(wtl_ctx *ctx, const char *path, int channels, wtl_tensor **out);
/* u8 [C,H,W] scaled to [C,height,width] as Pillow's Image.resize does, bit for bit: bilinear and bicubic are antialiased
 * (the filter widens with the reduction). box: left, top, right, bottom of the part that is taken, in pixels, fractions
 * too; NULL: all. WTL_ERR_ARG: a size below 1 or beyond the limits of wtl_image_load, a box that is empty or outside. */
typedef enum wtl_filter { WTL_NEAREST, WTL_BILINEAR, WTL_BICUBIC } wtl_filter;
wtl_status wtl_image_resize(wtl_ctx *ctx, const wtl_tensor *image, const double box[4], int64_t height, int64_t width,
                            wtl_filter f, wtl_tensor **out);

/* Samples on their way into batches. The steps and their random draws are torchvision's (0.14), with Pillow's arithmetic on
 * 8-bit pixels. Their order: steps on pixels (1 or 3 channels), at most one normalize, then random_erasing. */
#define WTL_MAX_CHANNELS 4
#define WTL_MAX_TRANSFORMS 16
typedef enum wtl_transform_kind {
  WTL_RESIZE,              /* size {height, width}, or {s, 0}: the shorter side becomes s; filter */
  WTL_CENTER_CROP,         /* size; zeros where the image ends */
  WTL_RANDOM_CROP,         /* size, of the image with padding {left, top, right, bottom} of zeros */
  WTL_RANDOM_RESIZED_CROP, /* a box of scale {low, high} of the area and ratio {low, high} = width/height, resized to size; filter */
  WTL_RANDOM_FLIP,         /* left to right, with probability p */
  WTL_COLOR_JITTER,        /* brightness, contrast, saturation: factors from {low, high} ({1,1}: none); hue: turns from {low,
                              high} within -0.5..0.5 ({0,0}: none); in random order */
  WTL_NORMALIZE,           /* (x/255 - mean[c])/sd[c], n_value of each: 1 or one a channel; f32 samples: (x - mean[0])/sd[0] */
  WTL_RANDOM_ERASING       /* with probability p, a box of scale and ratio = height/width becomes mean[c], or with noise normal
                              numbers */
} wtl_transform_kind;
const char *wtl_transform_name(wtl_transform_kind k); /* "resize", "center_crop", ... */
typedef struct wtl_transform {
  wtl_transform_kind kind;
  wtl_filter filter;
  int size[2], padding[4], n_value;
  double p, scale[2], ratio[2], brightness[2], contrast[2], saturation[2], hue[2];
  double mean[WTL_MAX_CHANNELS], sd[WTL_MAX_CHANNELS];
  bool noise;
} wtl_transform;
/* What a step does to one sample. */
typedef struct wtl_drawn {
  int box[4];       /* top, left, height, width: of a crop (it may reach over the image), or of what is erased */
  bool done;        /* random_flip, random_erasing: is it done? */
  int order[4];     /* color_jitter: 0 brightness, 1 contrast, 2 saturation, 3 hue, as they are applied */
  double factor[4]; /* of each of these */
} wtl_drawn;
/* What n steps draw for a sample of height x width pixels; out: n of them. The draws of step k are a function of r, the
 * sample's number and k. WTL_ERR_ARG for steps that are wrong or out of order. */
wtl_status wtl_transform_draw(wtl_ctx *ctx, const wtl_transform *step, int n, const wtl_rng *r, int64_t sample, int channels,
                              int height, int width, wtl_drawn out[]);
/* The size of an image of *height x *width after the steps; begun with 0 x 0, an image of unknown size. false: the steps leave
 * it open. The steps are not checked. */
bool wtl_transform_size(const wtl_transform *step, int n, int *height, int *width);

/* Samples with labels (u8 or i64 [N], retained): a tensor's (retained): u8 images [N,H,W] or [N,C,H,W], C <= 4, or
 * f32 [N,...]; or files' (paths are copied), decoded as wtl_image_load does with channels 1 or 3. Values and labels
 * must be contiguous. WTL_ERR_DTYPE, WTL_ERR_SHAPE (labels are not N, too), WTL_ERR_ARG. */
typedef struct wtl_samples wtl_samples;
wtl_status wtl_samples_of_tensors(wtl_ctx *ctx, wtl_tensor *values, wtl_tensor *labels, wtl_samples **out);
wtl_status wtl_samples_of_files(wtl_ctx *ctx, const char *const *path, int64_t n, wtl_tensor *labels, int channels, wtl_samples **out);
wtl_samples *wtl_samples_retain(wtl_samples *s);
void wtl_samples_release(wtl_samples *s);
int64_t wtl_samples_count(const wtl_samples *s);
const char *wtl_samples_path(const wtl_samples *s, int64_t i); /* NULL: none, or out of range */

typedef struct wtl_loader_options {
  const wtl_transform *step; /* copied */
  int n_step;
  int height, width;         /* of a finished sample of a file, where the steps leave it open */
  const int64_t *index;      /* which samples, in this order; copied */
  int64_t n, batch_size;     /* of index; of samples in a batch, at least 1 */
  bool drop_last;            /* no last batch that is not full */
  int workers;               /* 0: the context's threads make a batch when it is asked for; else so many threads, at most 256, */
  int prefetch;              /* that fill room for so many batches (1 to 64) ahead */
  bool skip;                 /* samples whose file cannot be read or is corrupt are left out: the next ones move up, so that all
                                batches but the last are full. Otherwise the first of them is an error */
  uint64_t seed, epoch;      /* draws are a function of (seed, "augment", name, epoch, sample), whatever the workers and threads */
  const char *name;          /* NULL: "" */
} wtl_loader_options;
typedef struct wtl_loader wtl_loader;
/* Retains samples. WTL_ERR_ARG, WTL_ERR_SHAPE for options that are wrong. */
wtl_status wtl_loader_create(wtl_ctx *ctx, wtl_samples *samples, const wtl_loader_options *o, wtl_loader **out);
void wtl_loader_destroy(wtl_loader *l); /* waits for its threads: at most one sample each */
/* The next batch: x f32 [n,C,H,W] ([n,...] of f32 samples), y i64 [n]; new references, NULL at the end. WTL_ERR_IO and
 * WTL_ERR_FORMAT name the file; of several, the one that comes first in order. WTL_ERR_INTERRUPTED on request. After an
 * error: WTL_ERR_STATE. */
wtl_status wtl_loader_next(wtl_loader *l, wtl_tensor **x, wtl_tensor **y);
/* How many samples were skipped up to the last batch, and the i-th: its number, and what was wrong (lives as long as the
 * loader). */
int64_t wtl_loader_skipped(const wtl_loader *l);
wtl_status wtl_loader_skip(const wtl_loader *l, int64_t i, int64_t *sample, const char **reason);

/* A contiguous u8 image [H,W], [1,H,W] or [3,H,W] (RGB), at most 65500 pixels a side, to a file: JPEG where path ends
 * in .jpg or .jpeg (quality 1 to 100; colour subsampled 4:2:0), PNG where it ends in .png. Written beside and
 * renamed; sync: on the disk before it returns. WTL_ERR_DTYPE, WTL_ERR_SHAPE and WTL_ERR_ARG for what is none of
 * these. */
wtl_status wtl_image_save(wtl_ctx *ctx, const char *path, const wtl_tensor *image, int quality, bool sync);

/* n files of CIFAR's binary version, one after another: images u8 [N,3,32,32], labels u8 [N]. WTL_ERR_FORMAT: a file that has
 * not exactly `records` records, or a label that is no class. */
typedef struct wtl_cifar_options {
  int64_t records;            /* of each file */
  int label_bytes, label_at;  /* CIFAR-10: 1, 0; CIFAR-100: 2, and 0 (coarse) or 1 (fine) */
  int classes;
} wtl_cifar_options;
wtl_status wtl_cifar_load(wtl_ctx *ctx, const char *const *path, int n, const wtl_cifar_options *o, wtl_tensor **images, wtl_tensor **labels);

/* A CSV file (see wtl_csv_load) with a label in one column and numbers in all others: values [rows, columns - 1], f32, or u8
 * with `pixels` (integers 0..255); labels i64 [rows], numbers of names, which come in the order they are first met in.
 * WTL_ERR_FORMAT names row (from 1, without the header) and column of a cell that is no such number. */
typedef struct wtl_names { wtl_ctx *ctx; char **s; int64_t n, cap; } wtl_names;
void wtl_names_free(wtl_names *s); /* a zeroed one too */
typedef struct wtl_csv_samples_options {
  bool header;        /* the first row names the columns */
  const char *label;  /* the label's column by name; NULL: by place, */
  int label_at;       /* from 0 */
  bool pixels;
} wtl_csv_samples_options;
wtl_status wtl_csv_samples(wtl_ctx *ctx, const char *path, const wtl_csv_samples_options *o, wtl_tensor **values, wtl_tensor **labels,
                           wtl_names *names);

/* SHA-256 (FIPS 180-4) as 64 hex digits and a NUL. */
wtl_status wtl_sha256_file(wtl_ctx *ctx, const char *path, char out[65]);
/* Over names, dtypes, shapes and bytes in the dict's order. */
wtl_status wtl_sha256_dict(wtl_ctx *ctx, const wtl_dict *d, char out[65]);

/* Write text to a temporary file beside path, sync, rename over path, sync the folder. */
wtl_status wtl_file_write(wtl_ctx *ctx, const char *path, const void *data, size_t n);
/* A file open for whole-row appends. Created with `header` if absent or empty; an existing first line must equal
 * it. Locked against other writers. A torn last line (no newline) is cut. */
typedef struct wtl_appender wtl_appender;
wtl_status wtl_appender_open(wtl_ctx *ctx, const char *path, const char *header, wtl_appender **out);
/* Writes the bytes (a whole number of lines) with one write and syncs; on failure cuts back to the earlier length. */
wtl_status wtl_appender_add(wtl_appender *a, const char *rows, size_t n);
void wtl_appender_close(wtl_appender *a);
/* A folder for one run at a time, by a lock on FOLDER/.lock (made if absent, and left there). WTL_ERR_IO where another
 * holds it, in this process or any: the message names the folder and the process. Ends with the process at the latest. */
typedef struct wtl_lock wtl_lock;
wtl_status wtl_lock_open(wtl_ctx *ctx, const char *folder, wtl_lock **out);
void wtl_lock_close(wtl_lock *l); /* accepts NULL */
/* CSV by RFC 4180 through libcsv, strict: every row has as many fields as the first; a byte order mark and blank lines are
 * skipped. on_row gets each row's fields, NUL-terminated; a non-zero return stops with that status. */
typedef wtl_status (*wtl_csv_row_fn)(void *arg, int64_t row, const char *const *field, const size_t *len, int n);
wtl_status wtl_csv_load(wtl_ctx *ctx, const char *path, wtl_csv_row_fn on_row, void *arg);
/* One field, quoted only where it must be, appended to out. */
wtl_status wtl_csv_field(wtl_text *out, const char *s, size_t n);

/* ---- energy ------------------------------------------------------------------------ */

/* A meter samples its sources from a thread of its own. "auto" is powercap where it works with the estimate beside it, else
 * the estimate alone; the description says which. Measured and estimated energy are never added or mixed. */
#define WTL_DOMAIN_MAX 32
#define WTL_REASON_MAX 96
typedef struct wtl_meter wtl_meter;
/* A counter's value at a time of a recorded trace; linear in between. */
typedef struct wtl_trace_point {
  double t_s;                  /* since the trace began; does not fall within a domain */
  char domain[WTL_DOMAIN_MAX]; /* package* and dram* are added up in energy_uj */
  int64_t energy_uj;           /* to 10^17; does not fall within a domain; negative: missing */
} wtl_trace_point;
typedef struct wtl_meter_options {
  const char *source;  /* "auto", "powercap", "estimate", "replay", "off"; NULL is "auto" */
  double period_s;     /* sampling period; 0 is 0.1; a counter that may wrap is read more often if it must be */
  double tdp_w;        /* estimate: full-load power, to 1e6; 0 takes the built-in default, printed by wtl_meter_describe */
  double idle_w;       /* estimate: power at rest; 0 takes the default */
  const wtl_trace_point *trace; /* replay: copied */
  int64_t n_trace;
  bool virtual_clock;  /* replay: time is what wtl_meter_advance says, from 0; else it begins with the meter */
} wtl_meter_options;
/* WTL_ERR_UNSUPPORTED or WTL_ERR_IO where the source does not work on this machine. */
wtl_status wtl_meter_create(wtl_ctx *ctx, const wtl_meter_options *o, wtl_meter **out);
void wtl_meter_destroy(wtl_meter *m); /* open regions end as interrupted */
wtl_status wtl_meter_describe(wtl_meter *m, wtl_text *out);
/* Moves a virtual clock on; WTL_ERR_STATE where the clock is the real one. seconds >= 0. */
wtl_status wtl_meter_advance(wtl_meter *m, double seconds);

typedef enum wtl_method { WTL_MEASURED, WTL_ESTIMATED, WTL_REPLAYED, WTL_MISSING } wtl_method;
const char *wtl_method_name(wtl_method m);
/* Of the counters (measured, replayed) where the meter has any, else of the model (estimated). */
typedef struct wtl_region_result {
  int64_t duration_us, exclusive_us; /* exclusive: without nested regions */
  int64_t cpu_us;                    /* of this process */
  int64_t other_cpu_us;              /* of everything else on the machine; -1 missing */
  int64_t steal_us;                  /* taken by the hypervisor; -1 missing */
  wtl_method method;                 /* of energy_uj */
  int64_t energy_uj, exclusive_uj;   /* package + dram; meaningless when method is WTL_MISSING */
  double missing_s;                  /* seconds of the region without a reading */
  bool below_resolution;             /* shorter than the source can resolve: energy is not to be quoted */
  char reason[WTL_REASON_MAX];       /* why missing; "" otherwise */
  bool has_est;                      /* is there a model's figure, alone or beside the counters */
  int64_t est_uj, exclusive_est_uj;
} wtl_region_result;
/* One domain of one source in a region. */
typedef struct wtl_domain_result {
  char source[16], domain[WTL_DOMAIN_MAX];
  bool summed; /* is it a part of its source's energy */
  wtl_method method;
  int64_t energy_uj, exclusive_uj;
  double missing_s;
  bool below_resolution;
  char reason[WTL_REASON_MAX];
} wtl_domain_result;
typedef struct wtl_region wtl_region;
/* Regions nest: the newest open one is the parent. */
wtl_status wtl_region_begin(wtl_meter *m, const char *name, wtl_region **out);
/* Idempotent. Ending a region ends those still open inside it. */
wtl_status wtl_region_end(wtl_region *r, wtl_region_result *out); /* out may be NULL */
int wtl_region_domains(const wtl_region *r); /* of all sources; 0 while the region is open */
wtl_status wtl_region_domain(const wtl_region *r, int i, wtl_domain_result *out);
void wtl_region_release(wtl_region *r);                           /* ends it first if open */

/* Power over about the last second. */
typedef struct wtl_power { bool measured, estimated; double measured_w, estimated_w; } wtl_power;
void wtl_meter_power(wtl_meter *m, wtl_power *out); /* measured, estimated: is there a figure */
/* Waits for seconds (0.2 to 3600) and says what the counters drew meanwhile: the mean, and the standard deviation of n
 * windows of 0.1 s or more. Whatever else runs is in it. WTL_ERR_INTERRUPTED on request; mean_w is meaningless with ok
 * false, where any reading was missing or no source counts. */
typedef struct wtl_idle { bool ok; double mean_w, sd_w, duration_s; int n; char reason[WTL_REASON_MAX]; } wtl_idle;
wtl_status wtl_meter_idle(wtl_meter *m, double seconds, wtl_idle *out);

/* Records power over time from now on, anew, in at most n intervals (4 to 1000000) for each domain: at first one a sampling
 * period, and each time the record is full, intervals twice as long. 0 ends it. */
wtl_status wtl_meter_record(wtl_meter *m, int n);
typedef struct wtl_interval {
  double begin_s, end_s; /* since the record began */
  char source[16], domain[WTL_DOMAIN_MAX];
  bool summed;
  wtl_method method; /* WTL_MISSING: not all of the interval was read */
  double power_w;
} wtl_interval;
/* Intervals of all domains so far: to this moment, if a counter resolves what passed since the one before. */
int wtl_meter_recorded(wtl_meter *m);
/* In order of time, then of domains. WTL_ERR_ARG out of range: the record may have been thinned since it was counted. */
wtl_status wtl_meter_interval(wtl_meter *m, int i, wtl_interval *out);

/* Peak resident memory of this process (VmHWM), and its reset. Missing is WTL_ERR_UNSUPPORTED. */
wtl_status wtl_peak_rss(wtl_ctx *ctx, int64_t *bytes);
wtl_status wtl_peak_rss_reset(wtl_ctx *ctx);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
