/* What the OpenBLAS provider's files share. OpenBLAS itself always runs on the calling thread; parallelism is over our own
 * tiles, whose number does not depend on the threads, so results have the same bits on any number of them. */
#ifndef WTL_BLAS_H
#define WTL_BLAS_H

#include "provider.h"

/* C (m,n) = op(A).op(B) + beta*C, row-major; op transposes where the flag says. */
typedef struct blas_gemm {
  bool ta, tb;
  int64_t m, n, k;
  const float *a, *b;
  int64_t lda, ldb, ldc;
  float beta;
  float *c;
} blas_gemm;

void blas_gemm_serial(const blas_gemm *g);               /* in this thread */
void blas_gemm_parallel(wtl_ctx *ctx, const blas_gemm *g); /* in tiles */

wtl_status blas_bind_linear(wtl_bind *b, wtl_kernel **out);
wtl_status blas_bind_matmul(wtl_bind *b, wtl_kernel **out);
wtl_status blas_bind_conv2d(wtl_bind *b, wtl_kernel **out);

#endif
