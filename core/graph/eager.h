/* Running one op at once, on tensors: which kernels do it. Bodies in eager.c. */
#ifndef WTL_EAGER_H
#define WTL_EAGER_H

#include "op.h"

/* The fastest kernels for plain layouts; dtype is f32 or f64. */
const wtl_op_kernels *wtl_eager_kernels(const wtl_op *op, wtl_dtype dtype);

#endif
