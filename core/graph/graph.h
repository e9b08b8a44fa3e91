/* Inside of graphs and parameters, for the files of graph/. */
#ifndef WTL_GRAPH_H
#define WTL_GRAPH_H

#include "op.h"

typedef enum wtl_value_kind { WTL_VALUE_INPUT, WTL_VALUE_PARAM, WTL_VALUE_CONST, WTL_VALUE_NODE } wtl_value_kind;

typedef struct wtl_gvalue {
  wtl_value_kind kind;
  wtl_dtype dtype;
  wtl_shape shape;      /* as traced */
  int node;             /* the node that makes it, or -1 */
  wtl_param *param;     /* PARAM */
  wtl_tensor *constant; /* CONST */
  char name[WTL_NAME_MAX];
} wtl_gvalue;

typedef struct wtl_gnode {
  const wtl_op *op;
  wtl_attr attr[WTL_MAX_ATTRS];
  int n_in;
  wtl_value in[WTL_MAX_IN], out[WTL_MAX_OUT];
  char name[WTL_NAME_MAX]; /* module path, "" at top level */
} wtl_gnode;

typedef struct wtl_goutput { char name[WTL_NAME_MAX]; wtl_value v; } wtl_goutput;
typedef struct wtl_gstamp { wtl_stamp *stamp; uint64_t count; } wtl_gstamp;

struct wtl_graph {
  wtl_ctx *ctx;
  int refs;
  wtl_dtype dtype;
  wtl_gvalue *value; int n_value, cap_value;
  wtl_gnode *node; int n_node, cap_node;
  wtl_value *input; int n_input, cap_input;
  wtl_goutput *output; int n_output, cap_output;
  wtl_gstamp *stamp; int n_stamp, cap_stamp;
  wtl_value loss, metric; /* -1: none */
  char scope[WTL_NAME_MAX];
};

/* Make room for one more element of *array (of `size` bytes each), growing by doubling. */
wtl_status wtl_grow(wtl_ctx *ctx, void **array, int n, int *cap, size_t size);
/* What an op's rule says of node n when values have these shapes (NULL: as traced). */
wtl_status wtl_node_infer(const wtl_graph *g, const wtl_gnode *n, const wtl_shape *shape, wtl_infer *out);
/* Shapes of all values when the batch (dim 0 of the inputs) is `batch`. */
wtl_status wtl_graph_shapes(const wtl_graph *g, int64_t batch, wtl_shape *shape);

struct wtl_stamp { wtl_ctx *ctx; int refs; uint64_t count; };

struct wtl_param {
  wtl_ctx *ctx;
  int refs;
  wtl_tensor *value;
  wtl_tensor *master; /* what updates change where the value is derived from it, or NULL */
  wtl_param_kind kind;
  bool requires_grad;
  uint64_t version;
  uint64_t moves;     /* times that value or master became another tensor, which plans point into */
  wtl_tensor *mask;   /* u8, or NULL */
  wtl_truncation cut;
  uint64_t redraws;   /* draws made by the arms that draw */
};

#endif
