/* Cases of every op, as text, for the tests that walk the op table: shapes of the inputs in order ("-": absent,
 * "[]": a scalar) and attributes that differ from their defaults. Values come from seeded random numbers, by the
 * inputs' names. Large cases are for what needs many chunks of work; they are too large for a gradient check. */
#ifndef OP_CASES_H
#define OP_CASES_H

#include "check.h"

#include <math.h>

#include "op.h"
#include "tensor.h"

typedef struct op_case { const char *op, *inputs, *attrs; bool large; } op_case;

static const op_case op_cases[] = {
  { "conv2d", "[2,3,7,9] [5,3,3,3] [5]", "padding=1,1", false },
  { "conv2d", "[1,1,5,6] [17,1,3,3] [17]", "", false },
  { "conv2d", "[2,17,7,5] [3,17,3,3] -", "stride=2,2 padding=1,1", false },
  { "conv2d", "[1,24,4,4] [24,1,3,3] [24]", "groups=24 padding=1,1", false },
  { "conv2d", "[2,6,9,8] [4,3,3,2] [4]", "groups=2 stride=2,3 padding=2,1 dilation=2,1", false },
  { "conv2d", "[3,5,6,7] [4,5,1,1] [4]", "", false },
  { "conv2d", "[2,3,7,8] [4,3,1,1] -", "stride=2,2", false },
  { "conv2d", "[1,2,3,2] [2,2,5,5] [2]", "padding=3,4", false },
  { "conv2d", "[2,3,7,7] [2,3,3,3] -", "dilation=3,3 padding=3,3", false },
  { "conv2d", "[1,2,4,4] [3,2,1,1] -", "padding=1,0", false },
  { "conv2d", "[5,16,19,23] [24,16,3,3] [24]", "padding=1,1", true },
  { "conv2d", "[6,16,19,23] [24,8,3,3] -", "stride=2,2 padding=1,1 groups=2", true },
  { "linear", "[4,7] [3,7] [3]", "", false },
  { "linear", "[1,24] [17,24] -", "", false },
  { "linear", "[2,3,5] [4,5] [4]", "", false },
  { "linear", "[9] [2,9] [2]", "", false },
  { "linear", "[33,401] [97,401] [97]", "", true },
  { "matmul", "[3,4] [4,5]", "", false },
  { "matmul", "[1,17] [17,1]", "", false },
  { "matmul", "[24,3] [3,17]", "", false },
  { "matmul", "[97,211] [211,45]", "", true },
  { "matmul", "[2,3,4] [2,4,5]", "", false },
  { "matmul", "[2,1,3,17] [2,1,17,1]", "", false },
  { "matmul", "[3,2,2,4] [4,5]", "", false },
  { "matmul", "[3,5,97,24] [3,5,24,45]", "", true },
  { "matmul", "[2,211,97] [2,97,145]", "", true },
  { "batch_norm", "[3,17,3,5] [17] [17] [17] [17]", "training=1", false },
  { "batch_norm", "[1,3,4,5] - - [3] [3]", "training=1", false },
  { "batch_norm", "[2,1,3,3] [1] - [1] [1]", "training=1 momentum=0.3 eps=0.01", false },
  { "batch_norm", "[5,24] [24] [24] [24] [24]", "training=1", false },
  { "batch_norm", "[2,3,7] - [3] [3] [3]", "", false },
  { "batch_norm", "[1,24,1,1] [24] [24] [24] [24]", "", false },
  { "batch_norm", "[7,17,33,31] [17] [17] [17] [17]", "training=1", true },
  { "batch_norm", "[65,100] [100] [100] [100] [100]", "training=1", true },
  { "batch_norm", "[7,17,33,31] [17] [17] [17] [17]", "", true },
  { "layer_norm", "[3,17] [17] [17]", "", false },
  { "layer_norm", "[2,3,5] [3,5] -", "dims=2 eps=0.01", false },
  { "layer_norm", "[9,24] - [24]", "", false },
  { "layer_norm", "[7] - -", "", false },
  { "layer_norm", "[2,3,4,5] - -", "dims=4", false },
  { "layer_norm", "[301,333] [333] [333]", "", true },
  { "layer_norm", "[9,24,33,31] [24,33,31] [24,33,31]", "dims=3", true },
  { "max_pool2d", "[2,3,6,7] ", "kernel_size=2,2", false },
  { "max_pool2d", "[1,17,7,9]", "kernel_size=3,3 stride=2,2 padding=1,1", false },
  { "max_pool2d", "[2,1,5,8]", "kernel_size=2,3 stride=1,2 padding=0,1", false },
  { "max_pool2d", "[1,24,2,2]", "kernel_size=4,4 stride=1,1 padding=2,2", false },
  { "max_pool2d", "[2,17,6,8]", "kernel_size=3,3 stride=2,2 ceil_mode=1", false },
  { "max_pool2d", "[1,3,6,4]", "kernel_size=2,3 stride=3,2 padding=1,1 ceil_mode=1", false },
  { "max_pool2d", "[1,3,2,3]", "kernel_size=3,5 stride=2,4 padding=0,1 ceil_mode=1", false },
  { "max_pool2d", "[9,17,33,31]", "kernel_size=3,3 stride=2,2 padding=1,1", true },
  { "global_avg_pool2d", "[2,3,5,7]", "", false },
  { "global_avg_pool2d", "[1,17,1,1]", "", false },
  { "global_avg_pool2d", "[9,24,33,31]", "", true },
  { "avg_pool2d", "[2,3,6,7]", "kernel_size=2,2", false },
  { "avg_pool2d", "[1,17,7,9]", "kernel_size=3,3 stride=2,2 padding=1,1", false },
  { "avg_pool2d", "[1,24,7,9]", "kernel_size=3,3 stride=2,2 padding=1,1 count_include_pad=0", false },
  { "avg_pool2d", "[2,1,5,8]", "kernel_size=2,3 stride=1,2 padding=0,1", false },
  { "avg_pool2d", "[2,17,6,8]", "kernel_size=3,3 stride=2,2 ceil_mode=1", false },
  { "avg_pool2d", "[1,3,6,4]", "kernel_size=2,3 stride=3,2 padding=1,1 ceil_mode=1", false },
  { "avg_pool2d", "[1,3,6,8]", "kernel_size=3,3 stride=2,2 padding=1,1 ceil_mode=1 count_include_pad=0", false },
  { "avg_pool2d", "[9,17,33,31]", "kernel_size=3,3 stride=2,2 padding=1,1 count_include_pad=0", true },
  { "adaptive_avg_pool2d", "[2,3,7,5]", "output_size=3,2", false },
  { "adaptive_avg_pool2d", "[1,17,3,2]", "output_size=4,5", false },
  { "adaptive_avg_pool2d", "[1,24,6,4]", "output_size=1,1", false },
  { "adaptive_avg_pool2d", "[9,17,33,31]", "output_size=7,7", true },
  { "adaptive_max_pool2d", "[2,3,7,5]", "output_size=3,2", false },
  { "adaptive_max_pool2d", "[1,17,3,2]", "output_size=4,5", false },
  { "adaptive_max_pool2d", "[9,24,33,31]", "output_size=7,7", true },
  { "relu", "[3,17]", "", false },
  { "relu", "[2,3,5,7]", "", false },
  { "relu", "[]", "", false },
  { "relu", "[5,17,33,31]", "", true },
  { "add", "[2,3,5] [2,3,5]", "", false },
  { "add", "[4,17] [17]", "", false },
  { "add", "[2,3,4,5] [3,1,1]", "", false },
  { "add", "[3,1] [1,24]", "", false },
  { "add", "[] [2,3]", "", false },
  { "add", "[2,1,3,1] [5,1,7]", "", false },
  { "add", "[5,17,33,31] [5,17,33,31]", "", true },
  { "add", "[17,1,1] [5,17,33,31]", "", true },
  { "mul", "[2,3,5] [2,3,5]", "", false },
  { "mul", "[4,17] [17]", "", false },
  { "mul", "[2,3,4,5] [3,1,1]", "", false },
  { "mul", "[3,1] [1,24]", "", false },
  { "mul", "[] [2,3]", "", false },
  { "mul", "[2,1,3,1] [5,1,7]", "", false },
  { "mul", "[5,17,33,31] [5,17,33,31]", "", true },
  { "mul", "[17,1,1] [5,17,33,31]", "", true },
  { "sub", "[2,3,5] [2,3,5]", "", false },
  { "sub", "[4,17] [17]", "", false },
  { "sub", "[2,3,4,5] [3,1,1]", "", false },
  { "sub", "[3,1] [1,24]", "", false },
  { "sub", "[] [2,3]", "", false },
  { "sub", "[2,1,3,1] [5,1,7]", "", false },
  { "sub", "[5,17,33,31] [5,17,33,31]", "", true },
  { "sub", "[17,1,1] [5,17,33,31]", "", true },
  { "div", "[2,3,5] [2,3,5]", "", false },
  { "div", "[4,17] [17]", "", false },
  { "div", "[2,3,4,5] [3,1,1]", "", false },
  { "div", "[3,1] [1,24]", "", false },
  { "div", "[] [2,3]", "", false },
  { "div", "[2,1,3,1] [5,1,7]", "", false },
  { "div", "[5,17,33,31] [5,17,33,31]", "", true },
  { "div", "[17,1,1] [5,17,33,31]", "", true },
  { "pow", "[2,3,5] [2,3,5]", "", false },
  { "pow", "[4,17] [17]", "", false },
  { "pow", "[2,3,4,5] [3,1,1]", "", false },
  { "pow", "[3,1] [1,24]", "", false },
  { "pow", "[] [2,3]", "", false },
  { "pow", "[2,1,3,1] [5,1,7]", "", false },
  { "pow", "[5,17,33,31] [5,17,33,31]", "", true },
  { "pow", "[17,1,1] [5,17,33,31]", "", true },
  { "maximum", "[2,3,5] [2,3,5]", "", false },
  { "maximum", "[4,17] [17]", "", false },
  { "maximum", "[2,3,4,5] [3,1,1]", "", false },
  { "maximum", "[3,1] [1,24]", "", false },
  { "maximum", "[] [2,3]", "", false },
  { "maximum", "[2,1,3,1] [5,1,7]", "", false },
  { "maximum", "[5,17,33,31] [5,17,33,31]", "", true },
  { "maximum", "[17,1,1] [5,17,33,31]", "", true },
  { "minimum", "[2,3,5] [2,3,5]", "", false },
  { "minimum", "[4,17] [17]", "", false },
  { "minimum", "[2,3,4,5] [3,1,1]", "", false },
  { "minimum", "[3,1] [1,24]", "", false },
  { "minimum", "[] [2,3]", "", false },
  { "minimum", "[2,1,3,1] [5,1,7]", "", false },
  { "minimum", "[5,17,33,31] [5,17,33,31]", "", true },
  { "minimum", "[17,1,1] [5,17,33,31]", "", true },
  { "exp", "[3,17]", "", false },
  { "exp", "[1,24,3]", "", false },
  { "exp", "[]", "", false },
  { "exp", "[5,17,33,31]", "", true },
  { "log", "[3,17]", "", false },
  { "log", "[1,24,3]", "", false },
  { "log", "[]", "", false },
  { "log", "[5,17,33,31]", "", true },
  { "sqrt", "[3,17]", "", false },
  { "sqrt", "[1,24,3]", "", false },
  { "sqrt", "[]", "", false },
  { "sqrt", "[5,17,33,31]", "", true },
  { "abs", "[3,17]", "", false },
  { "abs", "[1,24,3]", "", false },
  { "abs", "[]", "", false },
  { "abs", "[5,17,33,31]", "", true },
  { "sigmoid", "[3,17]", "", false },
  { "sigmoid", "[1,24,3]", "", false },
  { "sigmoid", "[]", "", false },
  { "sigmoid", "[5,17,33,31]", "", true },
  { "tanh", "[3,17]", "", false },
  { "tanh", "[1,24,3]", "", false },
  { "tanh", "[]", "", false },
  { "tanh", "[5,17,33,31]", "", true },
  { "clamp", "[3,17]", "min=-0.5 max=0.75", false },
  { "clamp", "[1,24]", "min=0", false },
  { "clamp", "[]", "max=0.5", false },
  { "clamp", "[2,3]", "", false },
  { "clamp", "[5,17,33,31]", "min=-0.5 max=0.75", true },
  { "relu6", "[3,17]", "", false },
  { "relu6", "[1,24,3]", "", false },
  { "relu6", "[]", "", false },
  { "relu6", "[5,17,33,31]", "", true },
  { "silu", "[3,17]", "", false },
  { "silu", "[1,24,3]", "", false },
  { "silu", "[]", "", false },
  { "silu", "[5,17,33,31]", "", true },
  { "gelu", "[3,17]", "", false },
  { "gelu", "[1,24,3]", "", false },
  { "gelu", "[]", "", false },
  { "gelu", "[5,17,33,31]", "", true },
  { "gelu", "[3,17]", "tanh=1", false },
  { "gelu", "[1,24,3]", "tanh=1", false },
  { "gelu", "[]", "tanh=1", false },
  { "gelu", "[5,17,33,31]", "tanh=1", true },
  { "hardswish", "[3,17]", "", false },
  { "hardswish", "[1,24,3]", "", false },
  { "hardswish", "[]", "", false },
  { "hardswish", "[5,17,33,31]", "", true },
  { "hardsigmoid", "[3,17]", "", false },
  { "hardsigmoid", "[1,24,3]", "", false },
  { "hardsigmoid", "[]", "", false },
  { "hardsigmoid", "[5,17,33,31]", "", true },
  { "softmax", "[3,17]", "dim=1", false },
  { "softmax", "[3,17]", "dim=0", false },
  { "softmax", "[2,3,4,5]", "dim=-3", false },
  { "softmax", "[1,24,1]", "dim=1", false },
  { "softmax", "[5,1]", "dim=1", false },
  { "softmax", "[7]", "dim=0", false },
  { "softmax", "[301,333]", "dim=-1", true },
  { "softmax", "[5,24,33,31]", "dim=1", true },
  { "log_softmax", "[3,17]", "dim=1", false },
  { "log_softmax", "[3,17]", "dim=0", false },
  { "log_softmax", "[2,3,4,5]", "dim=-3", false },
  { "log_softmax", "[1,24,1]", "dim=1", false },
  { "log_softmax", "[5,1]", "dim=1", false },
  { "log_softmax", "[7]", "dim=0", false },
  { "log_softmax", "[301,333]", "dim=-1", true },
  { "log_softmax", "[5,24,33,31]", "dim=1", true },
  { "gt", "[2,3,5] [2,3,5]", "", false },
  { "gt", "[4,17] [17]", "", false },
  { "gt", "[3,1] [1,24]", "", false },
  { "gt", "[] [2,3]", "", false },
  { "gt", "[17,1,1] [5,17,33,31]", "", true },
  { "ge", "[2,3,5] [2,3,5]", "", false },
  { "ge", "[4,17] [17]", "", false },
  { "ge", "[3,1] [1,24]", "", false },
  { "ge", "[] [2,3]", "", false },
  { "ge", "[17,1,1] [5,17,33,31]", "", true },
  { "lt", "[2,3,5] [2,3,5]", "", false },
  { "lt", "[4,17] [17]", "", false },
  { "lt", "[3,1] [1,24]", "", false },
  { "lt", "[] [2,3]", "", false },
  { "lt", "[17,1,1] [5,17,33,31]", "", true },
  { "le", "[2,3,5] [2,3,5]", "", false },
  { "le", "[4,17] [17]", "", false },
  { "le", "[3,1] [1,24]", "", false },
  { "le", "[] [2,3]", "", false },
  { "le", "[17,1,1] [5,17,33,31]", "", true },
  { "eq", "[2,3,5] [2,3,5]", "", false },
  { "eq", "[4,17] [17]", "", false },
  { "eq", "[3,1] [1,24]", "", false },
  { "eq", "[] [2,3]", "", false },
  { "eq", "[17,1,1] [5,17,33,31]", "", true },
  { "ne", "[2,3,5] [2,3,5]", "", false },
  { "ne", "[4,17] [17]", "", false },
  { "ne", "[3,1] [1,24]", "", false },
  { "ne", "[] [2,3]", "", false },
  { "ne", "[17,1,1] [5,17,33,31]", "", true },
  { "where", "[2,3,5] [2,3,5] [2,3,5]", "", false },
  { "where", "[4,1] [17] [4,17]", "", false },
  { "where", "[] [3,1] [1,24]", "", false },
  { "where", "[2,3] [] [3]", "", false },
  { "where", "[2,1,3] [5,1] [1,3]", "", false },
  { "where", "[5,17,33,31] [17,1,1] [5,17,33,31]", "", true },
  { "reshape", "[2,3,4]", "shape=4,-1", false },
  { "reshape", "[2,3,4]", "shape=0,12", false },
  { "reshape", "[1,1]", "", false },
  { "flatten", "[2,3,4,5]", "", false },
  { "flatten", "[2,3,4,5]", "start_dim=-3 end_dim=2", false },
  { "flatten", "[]", "start_dim=0", false },
  { "permute", "[2,3,4]", "dims=2,0,1", false },
  { "permute", "[1,17,3,2]", "dims=0,-1,1,2", false },
  { "permute", "[]", "", false },
  { "permute", "[5,24,33,31]", "dims=0,2,3,1", true },
  { "slice", "[2,7,3]", "dim=1 start=1 stop=6 step=2", false },
  { "slice", "[1,17,3]", "dim=-2 start=-4 stop=-1", false },
  { "slice", "[5]", "dim=0 start=-9", false },
  { "slice", "[5,24,33,31]", "dim=1 start=3 step=4", true },
  { "pad", "[2,3,4]", "pads=1,2 value=0.5", false },
  { "pad", "[1,3,2,5]", "pads=0,1,2,0,3,1", false },
  { "pad", "[2,3]", "", false },
  { "pad", "[5,24,33,31]", "pads=1,2,3,4 value=-1", true },
  { "concat", "[2,3,4] [2,1,4]", "dim=1", false },
  { "concat", "[1,3,5,2] [1,17,5,2] [1,1,5,2]", "dim=-3", false },
  { "concat", "[2,3] [2,3] - [2,3] [2,3] [2,3] [2,3] [2,3]", "dim=0", false },
  { "concat", "[5,24,33,31] [5,17,33,31]", "dim=1", true },
  { "dropout", "[3,17]", "training=1", false },
  { "dropout", "[2,3,5,7]", "training=1 p=0.1", false },
  { "dropout", "[2,3,5,7]", "", false },
  { "dropout", "[]", "training=1 p=0", false },
  { "dropout", "[5,17,33,31]", "training=1 p=0.3", true },
  { "stochastic_depth", "[5,17]", "p=0.5 training=1", false },
  { "stochastic_depth", "[8,3,5,7]", "p=0.2 training=1", false },
  { "stochastic_depth", "[2,3]", "p=0.3 training=1 row=0", false },
  { "stochastic_depth", "[]", "p=0 training=1 row=0", false },
  { "stochastic_depth", "[3]", "p=1 training=1", false },
  { "stochastic_depth", "[2,3]", "p=0.5", false },
  { "stochastic_depth", "[33,17,11,31]", "p=0.3 training=1", true },
  { "sum", "[2,3,5]", "", false },
  { "sum", "[3,17,2]", "dims=1", false },
  { "sum", "[3,4,5,2]", "dims=-1,0 keepdim=1", false },
  { "sum", "[1,24]", "dims=0", false },
  { "sum", "[]", "", false },
  { "sum", "[301,333]", "dims=0", true },
  { "sum", "[301,333]", "dims=1", true },
  { "mean", "[2,3,5]", "", false },
  { "mean", "[3,17,2]", "dims=1", false },
  { "mean", "[3,4,5,2]", "dims=-1,0 keepdim=1", false },
  { "mean", "[1,24]", "dims=0", false },
  { "mean", "[5,61,333]", "dims=0,2", true },
  { "cross_entropy", "[5,3] [5]", "", false },
  { "cross_entropy", "[1,17] [1]", "", false },
  { "cross_entropy", "[2,1] [2]", "", false },
  { "cross_entropy", "[301,100] [301]", "", true },
  { "cross_entropy", "[5,3] [5]", "label_smoothing=0.1", false },
  { "cross_entropy", "[1,17] [1]", "label_smoothing=1", false },
  { "cross_entropy", "[301,100] [301]", "label_smoothing=0.3", true },
  { "mse_loss", "[3,17] [3,17]", "", false },
  { "mse_loss", "[1,24,3] [1,24,3]", "", false },
  { "mse_loss", "[1] [1]", "", false },
  { "mse_loss", "[] []", "", false },
  { "mse_loss", "[301,333] [301,333]", "", true },
  { "binary_cross_entropy", "[3,17] [3,17]", "", false },
  { "binary_cross_entropy", "[1,24,3] [1,24,3]", "", false },
  { "binary_cross_entropy", "[1] [1]", "", false },
  { "binary_cross_entropy", "[] []", "", false },
  { "binary_cross_entropy", "[301,333] [301,333]", "", true },
  { "binary_cross_entropy_with_logits", "[3,17] [3,17]", "", false },
  { "binary_cross_entropy_with_logits", "[1,24,3] [1,24,3]", "", false },
  { "binary_cross_entropy_with_logits", "[1] [1]", "", false },
  { "binary_cross_entropy_with_logits", "[] []", "", false },
  { "binary_cross_entropy_with_logits", "[301,333] [301,333]", "", true },
  { "kl_div", "[3,17] [3,17]", "", false },
  { "kl_div", "[1,24,3] [1,24,3]", "", false },
  { "kl_div", "[1] [1]", "", false },
  { "kl_div", "[301,333] [301,333]", "", true },
  { "count_correct", "[5,3] [5]", "", false },
  { "count_correct", "[301,100] [301]", "", true },
};
enum { OP_CASES = sizeof op_cases / sizeof *op_cases };

/* A case made real. Inputs are f32 or f64, labels i64. */
typedef struct op_setup {
  const wtl_op *op;
  wtl_attr attr[WTL_MAX_ATTRS];
  int n_in;
  wtl_tensor *in[WTL_MAX_IN];
  bool want[WTL_MAX_IN]; /* present inputs that have a gradient */
} op_setup;

/* "stride=2,2 eps=0.1" over the defaults. */
static inline void op_parse_attrs(const wtl_op *op, const char *text, wtl_attr attr[WTL_MAX_ATTRS]) {
  wtl_op_defaults(op, attr);
  while (*text) {
    int k = 0, n = (int)strcspn(text, "=");
    while (k < op->n_attr && ((int)strlen(op->attr[k].name) != n || strncmp(op->attr[k].name, text, (size_t)n)))
      k++;
    if (k == op->n_attr) fail_msg("%s has no attribute \"%.*s\"", op->name, n, text);
    text += n + 1;
    attr[k].n = 0;
    for (char *end; *text && *text != ' '; text = *end == ',' ? end + 1 : end) {
      if (op->attr[k].kind == WTL_ATTR_REAL) attr[k].f = strtod(text, &end);
      else attr[k].i[attr[k].n++] = strtoll(text, &end, 10);
    }
    text += strspn(text, " ");
  }
}

/* "[2,3]" from *text; false at "-". */
static inline bool op_parse_shape(const char **text, wtl_shape *s) {
  const char *t = *text + strspn(*text, " ");
  bool present = *t++ == '[';
  s->ndim = 0;
  if (present) {
    while (*t != ']') {
      char *end;
      s->size[s->ndim++] = strtoll(t, &end, 10);
      t = *end == ',' ? end + 1 : end;
    }
    t++;
  }
  *text = t + strspn(t, " ");
  return present;
}

/* Inputs whose values are not normal: where an op is defined and away from its kinks. Whole ones are rounded down, so
 * that comparisons meet equals. */
static const struct { const char *op, *input; double low, high; bool whole; } op_ranges[] = {
  { "div", "b", 0.5, 2, false },        { "pow", "a", 0.5, 2, false },
  { "log", "x", 0.5, 2, false },        { "sqrt", "x", 0.5, 2, false },
  { "gt", NULL, -2, 3, true },          { "ge", NULL, -2, 3, true },
  { "lt", NULL, -2, 3, true },          { "le", NULL, -2, 3, true },
  { "eq", NULL, -2, 3, true },          { "ne", NULL, -2, 3, true },
  { "where", "cond", 0, 2, true },      { "kl_div", "target", 0.05, 0.95, false },
  { "binary_cross_entropy", NULL, 0.05, 0.95, false },
  { "binary_cross_entropy_with_logits", "target", 0.05, 0.95, false },
};

static inline bool op_fill_range(op_setup *s, int i, const wtl_rng *r) {
  for (size_t k = 0; k < sizeof op_ranges / sizeof *op_ranges; k++) {
    const char *input = op_ranges[k].input;
    if (strcmp(op_ranges[k].op, s->op->name) || (input && strcmp(input, s->op->in_name[i]))) continue;
    OK(wtl_tensor_uniform(s->in[i], r, op_ranges[k].low, op_ranges[k].high));
    float *x = wtl_tensor_data(s->in[i]);
    for (int64_t e = 0; op_ranges[k].whole && e < wtl_tensor_numel(s->in[i]); e++) x[e] = floorf(x[e]);
    return true;
  }
  return false;
}

static inline void op_fill(op_setup *s, int i) {
  const char *name = s->op->in_name[i];
  wtl_rng r = wtl_rng_make(7, "case", name, (uint64_t)i);
  if (s->op->labels >> i & 1) {
    int64_t *label = wtl_tensor_data(s->in[i]), classes = wtl_tensor_shape(s->in[0])->size[1];
    for (int64_t k = 0; k < wtl_tensor_numel(s->in[i]); k++) label[k] = (k * 7 + 2) % classes;
  } else if (!strcmp(name, "running_var")) {
    OK(wtl_tensor_uniform(s->in[i], &r, 0.5, 1.5));
  } else if (!op_fill_range(s, i, &r)) {
    OK(wtl_tensor_normal(s->in[i], &r, 0.1, 1));
  }
}

/* Values are those of f32 in either type, so that f32 and f64 runs compare. */
static inline void op_setup_make(const op_case *c, wtl_dtype real, op_setup *s) {
  memset(s, 0, sizeof *s);
  s->op = wtl_op_find(c->op);
  assert_non_null(s->op);
  op_parse_attrs(s->op, c->attrs, s->attr);
  const char *text = c->inputs;
  for (; *text; s->n_in++) {
    int i = s->n_in;
    wtl_shape shape;
    if (!op_parse_shape(&text, &shape)) continue;
    bool labels = s->op->labels >> i & 1;
    OK(wtl_tensor_create(ctx, labels ? WTL_I64 : WTL_F32, &shape, &s->in[i]));
    op_fill(s, i);
    if (!labels && real != WTL_F32) {
      wtl_tensor *wide;
      OK(wtl_tensor_convert(s->in[i], real, &wide));
      wtl_tensor_release(s->in[i]);
      s->in[i] = wide;
    }
    s->want[i] = !((s->op->labels | s->op->state) >> i & 1);
  }
}

static inline void op_setup_free(op_setup *s) {
  for (int i = 0; i < WTL_MAX_IN; i++) wtl_tensor_release(s->in[i]);
}

/* What a case computes: outputs, gradients for random output gradients, and the state it leaves. */
typedef struct op_result {
  wtl_tensor *out[WTL_MAX_OUT], *dout[WTL_MAX_OUT], *din[WTL_MAX_IN], *state[WTL_MAX_IN];
} op_result;

static inline wtl_status op_result_run(const op_setup *s, op_result *r) {
  memset(r, 0, sizeof *r);
  for (int i = 0; i < s->n_in; i++)
    if (s->op->state >> i & 1) WTL_TRY(wtl_tensor_clone(s->in[i], &r->state[i]));
  wtl_tensor *in[WTL_MAX_IN];
  for (int i = 0; i < s->n_in; i++) in[i] = r->state[i] ? r->state[i] : s->in[i];
  wtl_seed(ctx, 7); /* random ops draw the same in every run of a case */
  WTL_TRY(wtl_op_run(ctx, s->op, s->attr, in, s->n_in, r->out));
  if (!wtl_op_differentiable(s->op)) return WTL_OK;
  for (int j = 0; j < s->op->n_out; j++) {
    wtl_rng g = wtl_rng_make(7, "case", "dout", (uint64_t)j);
    wtl_tensor *single; /* values of f32 in either type */
    WTL_TRY(wtl_tensor_create(ctx, WTL_F32, wtl_tensor_shape(r->out[j]), &single));
    wtl_status st = wtl_tensor_normal(single, &g, 0, 1);
    if (st == WTL_OK) st = wtl_tensor_convert(single, wtl_tensor_dtype(r->out[j]), &r->dout[j]);
    wtl_tensor_release(single);
    WTL_TRY(st);
  }
  return wtl_op_vjp(ctx, s->op, s->attr, s->in, s->n_in, r->dout, s->want, r->din);
}

static inline void op_result_free(op_result *r) {
  for (int j = 0; j < WTL_MAX_OUT; j++) wtl_tensor_release(r->out[j]), wtl_tensor_release(r->dout[j]);
  for (int i = 0; i < WTL_MAX_IN; i++) wtl_tensor_release(r->din[i]), wtl_tensor_release(r->state[i]);
}

/* |a-b| / |b| over all elements, whatever their types; infinite where shapes differ. Equal values: 0. */
static inline double op_error(const wtl_tensor *a, const wtl_tensor *b) {
  wtl_tensor *x = NULL, *y = NULL;
  double off = 0, size = 0;
  if (!wtl_shape_equal(wtl_tensor_shape(a), wtl_tensor_shape(b))) return INFINITY;
  if (wtl_tensor_convert(a, WTL_F64, &x) != WTL_OK || wtl_tensor_convert(b, WTL_F64, &y) != WTL_OK) return NAN;
  const double *p = wtl_tensor_cdata(x), *q = wtl_tensor_cdata(y);
  for (int64_t k = 0; k < wtl_tensor_numel(x); k++) {
    off += (p[k] - q[k]) * (p[k] - q[k]);
    size += q[k] * q[k];
  }
  wtl_tensor_release(x);
  wtl_tensor_release(y);
  return off == 0 ? 0 : sqrt(off / size);
}

static inline bool op_same_bits(const wtl_tensor *a, const wtl_tensor *b) {
  if (!a || !b) return a == b;
  return wtl_shape_equal(wtl_tensor_shape(a), wtl_tensor_shape(b)) && wtl_tensor_dtype(a) == wtl_tensor_dtype(b) &&
         !memcmp(wtl_tensor_cdata(a), wtl_tensor_cdata(b), wtl_tensor_bytes(a));
}

static inline bool op_same_result(const op_result *a, const op_result *b) {
  bool same = true;
  for (int j = 0; j < WTL_MAX_OUT; j++) same &= op_same_bits(a->out[j], b->out[j]);
  for (int i = 0; i < WTL_MAX_IN; i++)
    same &= op_same_bits(a->din[i], b->din[i]) && op_same_bits(a->state[i], b->state[i]);
  return same;
}

#endif
