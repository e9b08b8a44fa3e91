/* The OpenBLAS provider: its list of ops, and matrix products in tiles of our own. */
#include <cblas.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "blas.h"

void openblas_set_num_threads(int n);

void blas_gemm_serial(const blas_gemm *g) {
  if (g->m <= 0 || g->n <= 0) return;
  cblas_sgemm(CblasRowMajor, g->ta ? CblasTrans : CblasNoTrans, g->tb ? CblasTrans : CblasNoTrans, (blasint)g->m, (blasint)g->n,
              (blasint)g->k, 1.0f, g->a, (blasint)g->lda, g->b, (blasint)g->ldb, g->beta, g->c, (blasint)g->ldc);
}

typedef struct tile_job { const blas_gemm *g; bool rows; } tile_job;

static void tile_span(void *arg, int64_t begin, int64_t end, int thread) {
  const tile_job *j = arg;
  blas_gemm t = *j->g;
  (void)thread;
  if (j->rows) {
    t.m = end - begin;
    t.a += t.ta ? begin : begin * t.lda;
    t.c += begin * t.ldc;
  } else {
    t.n = end - begin;
    t.b += t.tb ? begin * t.ldb : begin;
    t.c += begin;
  }
  blas_gemm_serial(&t);
}

/* Split the longer side of C into at most 8 tiles of at least 48, in multiples of 16. */
void blas_gemm_parallel(wtl_ctx *ctx, const blas_gemm *g) {
  tile_job j = { g, g->m >= g->n };
  int64_t side = j.rows ? g->m : g->n, tile = ((side + 7) / 8 + 15) / 16 * 16;
  if ((double)g->m * (double)g->n * (double)g->k < 64e3) tile = side;
  if (tile < 48) tile = 48;
  wtl_parallel(ctx, side, tile, tile_span, &j);
}

static void warm_span(void *arg, int64_t begin, int64_t end, int thread) {
  float a[4] = { 1, 0, 0, 1 }, c[4];
  (void)arg, (void)begin, (void)end, (void)thread;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, 2, 2, 2, 1, a, 2, a, 2, 0, c, 2);
}

/* How many threads OpenBLAS holds buffers for: like its pool, one count for the process. */
static atomic_int warmed;

/* Make OpenBLAS single-threaded, and let each of our threads take its buffer now. It spins for ever when it cannot map one, so
 * the room is asked for first. */
static wtl_status ready(wtl_ctx *ctx) {
  enum { BUFFER_MB = 128 }; /* OpenBLAS 0.3.21 on 64-bit x86 and ARM */
  int missing = wtl_threads(ctx) - atomic_load(&warmed);
  openblas_set_num_threads(1);
  if (missing <= 0) return WTL_OK;
  size_t bytes = (size_t)missing * BUFFER_MB << 20;
  void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED)
    return wtl_fail(ctx, WTL_ERR_MEMORY, "OpenBLAS: no room for its buffers (%d MB for each of %d threads); allow more memory "
                    "or fewer threads", BUFFER_MB, wtl_threads(ctx));
  munmap(room, bytes);
  wtl_parallel(ctx, wtl_threads(ctx), 1, warm_span, NULL);
  atomic_store(&warmed, wtl_threads(ctx));
  return WTL_OK;
}

static wtl_status open_(wtl_ctx *ctx, wtl_engine **out) {
  WTL_TRY(ready(ctx));
  wtl_engine *e = wtl_alloc(ctx, sizeof *e);
  if (!e) return WTL_ERR_MEMORY;
  *e = (wtl_engine){ &wtl_provider_blas, ctx };
  *out = e;
  return WTL_OK;
}

static void close_(wtl_engine *e) { wtl_free(e->ctx, e); }

static bool fits_blasint(const wtl_bind *b) {
  for (int i = 0; i < b->n_in; i++)
    if (b->present[i] && wtl_shape_numel(&b->in[i]) > INT32_MAX) return false;
  return wtl_shape_numel(&b->out[0]) <= INT32_MAX;
}

static wtl_status bind(wtl_bind *b, wtl_kernel **out) {
  static const struct { const char *op; wtl_status (*bind)(wtl_bind *, wtl_kernel **); } table[] = {
    { "linear", blas_bind_linear },
    { "matmul", blas_bind_matmul },
    { "conv2d", blas_bind_conv2d },
  };
  if (b->real != WTL_F32 || !fits_blasint(b)) return WTL_ERR_UNSUPPORTED;
  for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
    if (strcmp(table[i].op, b->op->name) != 0) continue;
    WTL_TRY(ready(b->ctx)); /* ops run at once opened no engine */
    return table[i].bind(b, out);
  }
  return WTL_ERR_UNSUPPORTED;
}

const wtl_provider wtl_provider_blas = { "blas", open_, close_, bind, NULL };
