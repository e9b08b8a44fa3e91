/* What the shape rules and kernels of several ops share, none of it dependent on the element type: texts of
 * shapes, reduced axes, labels, operands walked together. Bodies in op_rules.c; loops over elements are in walk.h. */
#ifndef WTL_RULES_H
#define WTL_RULES_H

#include "op.h"
#include "tensor.h"

/* A shape's text that lives to the end of the expression: wtl_fail(ctx, s, "relu: x is %s", SHAPE(&x)). */
typedef struct wtl_shape_str { char s[WTL_SHAPE_TEXT]; } wtl_shape_str;
wtl_shape_str wtl_shape_as_text(const wtl_shape *s);
#define SHAPE(shape) (wtl_shape_as_text(shape).s)

/* Bytes of a value of shape s in the type that the op computes in. */
double wtl_rule_bytes(const wtl_infer *f, const wtl_shape *s);
/* x must be (N,C,H,W). */
wtl_status wtl_rule_image(const wtl_infer *f);
/* Integers of attribute `attr` in low..2^31-1, so that arithmetic on them cannot overflow. */
wtl_status wtl_rule_range(const wtl_infer *f, int attr, int64_t low);

/* Dim d of the first input, negative from the end, as 0..ndim-1; or an error. wtl_dim_of: without the check. */
wtl_status wtl_rule_dim(const wtl_infer *f, int64_t d, int *out);
int wtl_dim_of(int64_t d, int ndim);

/* The rule and cost of a function of x, element by element; one operation each, whatever the function. */
wtl_status wtl_rule_unary(wtl_infer *f);
void wtl_unary_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward);
/* Of a function of a and b with broadcasting; scratch: a gradient before it is summed over the axes that repeat. */
wtl_status wtl_rule_binary(wtl_infer *f);
void wtl_binary_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward);
/* Of a function of the lines of x along attribute 0, a dim. */
wtl_status wtl_rule_lines(wtl_infer *f);
void wtl_lines_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward);
/* Of a scalar loss of x and a target of its shape; scratch: a double for each WTL_SPAN elements. */
wtl_status wtl_rule_loss(wtl_infer *f);
void wtl_loss_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward);

/* The rule of sum and mean, and the axes they reduce as a bit each; no dims given: all. */
wtl_status wtl_rule_reduce(wtl_infer *f);
unsigned wtl_reduced_axes(const wtl_attr *dims, int ndim);
/* The rule of an op on logits (N,C) and target (N) with a scalar result. */
wtl_status wtl_rule_labels(wtl_infer *f);
/* Every label in 0..classes-1, or an error that names the row. */
wtl_status wtl_check_labels(const wtl_call *c, const char *what);

/* Cost of an op that only moves elements. */
void wtl_copy_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward);
/* Cost and kernels of WTL_OP_ALIAS ops: free in a plan, a copy where input and output are different memory. */
void wtl_alias_cost(const wtl_infer *f, wtl_cost *forward, wtl_cost *backward);
wtl_status wtl_alias_forward(wtl_call *c);
wtl_status wtl_alias_backward(wtl_call *c);

/* Operands walked together: axes of size 1 are dropped, and neighbours merged where every operand allows it. */
enum { WTL_OPERANDS = 3 };
typedef struct wtl_axes {
  int ndim; /* at least 1 */
  int64_t size[WTL_MAX_DIMS], stride[WTL_OPERANDS][WTL_MAX_DIMS];
  unsigned marked; /* axes made of marked ones */
} wtl_axes;
/* The n operands are broadcast to v's shape (of which only the sizes count), aligned at the last axis: their
 * stride is 0 where they repeat. Marked axes of v are never merged with others. */
void wtl_axes_init(wtl_axes *a, const wtl_view *v, int n, const wtl_view *const operand[], unsigned marked);
/* Axes of v along which the operand repeats. */
unsigned wtl_repeated_axes(const wtl_view *v, const wtl_view *operand);

#endif
