/* Loops over strided and broadcast operands for the ops that take them: a copy between windows, a function of several, a
 * sum over axes, a value spread along axes. Compiled for float and double like the ops. Include after real.h. */
#ifndef WTL_WALK_H
#define WTL_WALK_H

#include "rules.h"

/* to = from, of one shape and any strides. */
void REAL(wtl_copy)(wtl_ctx *ctx, const wtl_view *to, const wtl_view *from);

/* y[k] = f(x[0][k*s[0]], x[1][k*s[1]], ...) for k < n; y may be one of the x. */
typedef void (*REAL(wtl_row))(real *y, const real *const x[], const int64_t s[], int64_t n);

/* y (contiguous) = f(x[0], ..., x[n-1]), the n <= WTL_OPERANDS operands broadcast to y. */
void REAL(wtl_map)(wtl_ctx *ctx, const wtl_view *y, int n, const wtl_view *const x[], REAL(wtl_row) row);
/* y (contiguous: x's axes without the reduced ones) = scale * sum over the reduced axes of x, or of x*z where z is
 * given (broadcast to x). Summed in double, in an order that does not depend on the threads. */
void REAL(wtl_reduce)(wtl_ctx *ctx, const wtl_view *x, const wtl_view *z, unsigned reduced, double scale, real *y);
/* y (contiguous) = scale * x, where x (contiguous) has y's axes without the spread ones. */
void REAL(wtl_spread)(wtl_ctx *ctx, const wtl_view *y, unsigned spread, double scale, const real *x);

#endif
