/* Inside of plans. A plan holds what lasts (graph, providers, derived forms of parameters, optimizer state, arena) and one
 * program for each batch size it has met. A program is a list of instructions over buffers; buffers get their place in
 * the arena from their lifetimes. plan.c runs programs, program.c writes them, arena.c places buffers. */
#ifndef WTL_PLAN_H
#define WTL_PLAN_H

#include "graph.h"
#include "provider.h"

enum { WTL_STATES = 2, WTL_HYPER = 8 }; /* most states of one parameter, most hyperparameters */

/* One value of a hyperparameter, and the bound that it stays below. */
typedef struct wtl_hyper { const char *name; double value, below; } wtl_hyper;

/* How to update parameters: an op with inputs (p, g, states..., h). h holds the hyperparameters and what `derive`
 * adds to them, f64. */
typedef struct wtl_update_rule {
  const char *kind;
  const wtl_op *op;
  wtl_attr attr[WTL_MAX_ATTRS];
  int n_state;                            /* states in use; the op's others stay absent */
  const char *state_name[WTL_STATES];
  int n_hyper, n_h;                       /* named ones, and the length of h */
  wtl_hyper hyper[WTL_HYPER];             /* hyper[0] is lr */
  unsigned own;                           /* of a group: bit k for its own hyper[k] */
  void (*derive)(double *h, int64_t update); /* before update number 1, 2, ...; NULL: nothing to add */
  double clip_value, clip_norm;           /* 0: none */
  int accumulate;                         /* at least 1 */
} wtl_update_rule;

/* A parameter group: h as the update op gets it, and which values are its own. Group 0 is the optimizer itself. */
typedef struct wtl_group {
  double h[WTL_HYPER], lr_ratio; /* its lr over the optimizer's */
  unsigned own;
} wtl_group;

typedef struct wtl_buf {
  size_t bytes;
  int first, last;  /* instructions that write it first and touch it last; first -1: before the program */
  bool pinned;      /* lives through the whole program and after */
  void *fixed;      /* memory outside the arena: a parameter, a form, a constant */
  int same;         /* merged into that buffer (written in place), or -1 */
  size_t offset;    /* in the arena */
} wtl_buf;

typedef enum wtl_phase { WTL_PHASE_FORWARD, WTL_PHASE_BACKWARD, WTL_PHASE_COMMIT, WTL_PHASE_UPDATE, WTL_PHASES } wtl_phase;
typedef enum wtl_do { WTL_DO_FORWARD, WTL_DO_BACKWARD, WTL_DO_COMMIT, WTL_DO_REORDER, WTL_DO_ADD, WTL_DO_UPDATE } wtl_do;

typedef struct wtl_instr {
  wtl_do what;
  int node;         /* of the graph, or -1 */
  wtl_value value;  /* REORDER, ADD, UPDATE: what it is about */
  bool gradient;    /* REORDER: of a gradient */
  bool loss_only;   /* not needed for the graph's outputs */
  wtl_kernel *kernel;
  const wtl_layout *from, *to; /* REORDER; ADD: from */
  int in[WTL_MAX_IN], out[WTL_MAX_OUT], dout[WTL_MAX_OUT], din[WTL_MAX_IN], saved, scratch; /* buffers, -1 none */
  wtl_call call;    /* bound to memory */
  int stream;       /* of a random op: how many nodes of its op and name came before */
  void *step_grad;  /* UPDATE while accumulating: the gradient of the step just run */
  int step_buf;
  bool shared;      /* UPDATE: an earlier one has the same gradient */
  wtl_cost cost;
  int64_t calls, time_us; /* while profiling */
} wtl_instr;

/* A value in a layout other than its own. */
typedef struct wtl_alt { wtl_value v; const wtl_layout *layout; int buf, instr; } wtl_alt;

typedef struct wtl_node_plan {
  wtl_kernel *kernel;      /* NULL: an alias, or not reached */
  wtl_bind bind;
  bool backward, loss_only;
  bool absorbed;           /* a relu that the node before it does too */
  int saved;
  wtl_cost forward_cost, backward_cost;
} wtl_node_plan;

typedef struct wtl_program {
  wtl_plan *plan;
  int64_t batch;
  int threads;             /* that scratch was sized for */
  wtl_shape *shape;        /* per value */
  const wtl_layout **layout; /* per value: the one its producer wrote */
  int *buf, *grad;         /* per value: buffers, -1 none */
  bool *need_grad;         /* per value */
  wtl_node_plan *node;     /* per node */
  int *output;             /* per output: buffer in logical layout */
  wtl_alt *alt; int n_alt, cap_alt;
  wtl_buf *bufs; int n_bufs, cap_bufs;
  wtl_instr *instr; int n_instr, cap_instr;
  wtl_kernel **own; int n_own, cap_own; /* reorders */
  int end[WTL_PHASES];
  int reorders;
  size_t arena_bytes, sum_bytes;
  char *bound;             /* the arena that calls point into; NULL: bind first */
  struct wtl_program *next;
} wtl_program;

typedef struct wtl_form {
  wtl_value v;
  const wtl_layout *layout;
  void *data;
  uint64_t version;        /* of the parameter when it was made; 0 never */
  wtl_kernel *reorder;
  struct wtl_form *next;
} wtl_form;

typedef struct wtl_seen { bool requires_grad; uint64_t moves; } wtl_seen; /* a parameter as compiled */

struct wtl_plan {
  wtl_ctx *ctx;
  wtl_graph *graph;
  bool gradients, keep_values, has_rule, profiling;
  wtl_update_rule rule;
  wtl_group *group; int n_group;
  int *group_of;           /* per value */
  wtl_tensor **sum;        /* per value: accumulated gradients; NULL: none */
  double *partial;         /* of the gradients' norm, one a chunk */
  int pending;             /* steps accumulated, and their samples */
  int64_t pending_samples;
  wtl_plan_count count;
  uint64_t seed;
  const wtl_provider *provider[4];
  wtl_engine *engine[4];
  wtl_form *forms;
  wtl_tensor **state;      /* per value x WTL_STATES: optimizer state of parameters, made at compile */
  wtl_seen *seen;          /* per value */
  int needed;              /* inputs without which the outputs cannot be computed */
  void *one;               /* the gradient of the loss with respect to itself */
  char *arena;
  size_t arena_bytes;
  wtl_program *programs, *current;
  bool have_gradients;     /* the arena holds those of a step of the current program */
};

/* rule: NULL without an optimizer, else 1 + n_group of them, the first the optimizer's own. */
wtl_status wtl_plan_build(wtl_ctx *ctx, wtl_graph *g, const wtl_plan_options *o, const wtl_update_rule *rule, wtl_plan **out);
/* update.c: what an optimizer needs, made at compile; p->has_rule and p->rule are set. */
wtl_status wtl_update_open(wtl_plan *p, const wtl_update_rule *rule, const wtl_optim *o);
void wtl_update_close(wtl_plan *p);
/* After a backward: accumulates and clips; *due: the update phase is to run now. */
wtl_status wtl_update_prepare(wtl_plan *p, bool *due);
wtl_status wtl_program_update(wtl_plan *p); /* the update phase of the current program */
wtl_status wtl_hyper_check(wtl_ctx *ctx, const char *what, const wtl_hyper *h, double value);
/* The program for a batch: found, or written now. */
wtl_status wtl_program_create(wtl_plan *p, int64_t batch, wtl_program **out);
void wtl_program_destroy(wtl_program *g);
/* Buffers written in place, then offsets. */
wtl_status wtl_arena_place(wtl_program *g);
/* The buffer that b was merged into. */
int wtl_buf_root(const wtl_program *g, int b);
/* Copy from one layout to another, outside a program. */
wtl_status wtl_plan_relayout(wtl_plan *p, const wtl_shape *s, const wtl_layout *from, const void *src, const wtl_layout *to, void *dst);
/* The engine that owns either layout. */
wtl_engine *wtl_layout_engine(const wtl_layout *from, const wtl_layout *to);

#endif
