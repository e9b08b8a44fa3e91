/* walk.h's loops. Work is cut by output elements, so every result is computed by one thread in one order. */
#include "real.h"
#include "span.h"
#include "walk.h"

/* ---- a copy ---- */

typedef struct copy_job { wtl_axes axes; real *to; const real *from; } copy_job;

static void copy_row(real *to, int64_t st, const real *from, int64_t sf, int64_t n) {
  if (st == 1 && sf == 1) memcpy(to, from, (size_t)n * sizeof *to);
  else
    for (int64_t k = 0; k < n; k++) to[k * st] = from[k * sf];
}

/* Elements [begin, end) in row-major order, row by row of the last merged axis. */
static void copy_span(void *arg, int64_t begin, int64_t end, int thread) {
  const copy_job *j = arg;
  const wtl_axes *x = &j->axes;
  int last = x->ndim - 1;
  int64_t length = x->size[last], st = x->stride[0][last], sf = x->stride[1][last];
  (void)thread;
  while (begin < end) {
    int64_t row = begin / length, col = begin % length,
            n = length - col < end - begin ? length - col : end - begin;
    int64_t to = col * st, from = col * sf;
    for (int d = last - 1; d >= 0; d--) {
      int64_t k = row % x->size[d];
      row /= x->size[d];
      to += k * x->stride[0][d];
      from += k * x->stride[1][d];
    }
    copy_row(j->to + to, st, j->from + from, sf, n);
    begin += n;
  }
}

void REAL(wtl_copy)(wtl_ctx *ctx, const wtl_view *to, const wtl_view *from) {
  copy_job j = { .to = to->data, .from = from->data };
  wtl_axes_init(&j.axes, to, 2, (const wtl_view *const[]){ to, from }, 0);
  wtl_parallel(ctx, wtl_view_numel(to), WTL_SPAN, copy_span, &j);
}

/* ---- a function of several ---- */

typedef struct map_job { wtl_axes axes; int n; REAL(wtl_row) row; real *y; const real *x[WTL_OPERANDS]; } map_job;

/* Elements [begin, end) of y, row by row of the last merged axis. */
static void map_span(void *arg, int64_t begin, int64_t end, int thread) {
  const map_job *j = arg;
  const wtl_axes *a = &j->axes;
  int last = a->ndim - 1;
  int64_t length = a->size[last], step[WTL_OPERANDS] = { 0 };
  (void)thread;
  for (int i = 0; i < j->n; i++) step[i] = a->stride[i][last];
  while (begin < end) {
    int64_t row = begin / length, col = begin % length,
            n = length - col < end - begin ? length - col : end - begin;
    const real *x[WTL_OPERANDS] = { NULL };
    for (int i = 0; i < j->n; i++) x[i] = j->x[i] + col * step[i];
    for (int d = last - 1; d >= 0; d--) {
      int64_t k = row % a->size[d];
      row /= a->size[d];
      for (int i = 0; i < j->n; i++) x[i] += k * a->stride[i][d];
    }
    j->row(j->y + begin, x, step, n);
    begin += n;
  }
}

void REAL(wtl_map)(wtl_ctx *ctx, const wtl_view *y, int n, const wtl_view *const x[], REAL(wtl_row) row) {
  map_job j = { .n = n, .row = row, .y = y->data };
  for (int i = 0; i < n; i++) j.x[i] = x[i]->data;
  wtl_axes_init(&j.axes, y, n, x, 0);
  wtl_parallel(ctx, wtl_view_numel(y), WTL_SPAN, map_span, &j);
}

/* ---- a sum over axes ---- */

/* Columns summed side by side where the last axis is kept. */
enum { COLUMNS = 64 };

typedef struct reduce_job {
  int kept, reduced; /* axes of each kind */
  int64_t kept_size[WTL_MAX_DIMS], kept_x[WTL_MAX_DIMS], kept_z[WTL_MAX_DIMS];
  int64_t size[WTL_MAX_DIMS], x_stride[WTL_MAX_DIMS], z_stride[WTL_MAX_DIMS];
  int64_t rows;      /* of the reduced axes without the last one, or with it where columns are summed */
  const real *x, *z;
  real *y;
  double scale;
} reduce_job;

/* Offsets of element `index` of `n` axes, in row-major order. */
static void locate(int64_t index, int n, const int64_t *size, const int64_t *xs, const int64_t *zs, int64_t *x,
                   int64_t *z) {
  for (int d = n - 1; d >= 0; d--) {
    int64_t k = index % size[d];
    index /= size[d];
    *x += k * xs[d];
    *z += k * zs[d];
  }
}

static double sum_row(const real *x, int64_t xs, const real *z, int64_t zs, int64_t n) {
  double sum = 0;
  if (!z && xs == 1) return span_sum(x, n);
  if (z && xs == 1 && zs == 1) return span_covariance(x, z, 0, n);
  for (int64_t k = 0; k < n; k++) sum += (double)x[k * xs] * (z ? (double)z[k * zs] : 1);
  return sum;
}

/* Outputs [begin, end), one after the other. */
static void reduce_each(void *arg, int64_t begin, int64_t end, int thread) {
  const reduce_job *j = arg;
  int last = j->reduced - 1;
  (void)thread;
  for (int64_t o = begin; o < end; o++) {
    int64_t x0 = 0, z0 = 0;
    double sum = 0;
    locate(o, j->kept, j->kept_size, j->kept_x, j->kept_z, &x0, &z0);
    for (int64_t r = 0; r < j->rows; r++) {
      int64_t x = x0, z = z0;
      locate(r, last, j->size, j->x_stride, j->z_stride, &x, &z);
      sum += sum_row(j->x + x, j->x_stride[last], j->z ? j->z + z : NULL, j->z_stride[last], j->size[last]);
    }
    j->y[o] = (real)(sum * j->scale);
  }
}

/* Blocks [begin, end) of columns: the last kept axis is contiguous in x. */
static void reduce_columns(void *arg, int64_t begin, int64_t end, int thread) {
  const reduce_job *j = arg;
  int last = j->kept - 1;
  int64_t width = j->kept_size[last], blocks = (width + COLUMNS - 1) / COLUMNS, zs = j->kept_z[last];
  (void)thread;
  for (int64_t u = begin; u < end; u++) {
    int64_t col = u % blocks * COLUMNS, n = width - col < COLUMNS ? width - col : COLUMNS, x0 = col, z0 = col * zs;
    double sum[COLUMNS] = { 0 };
    locate(u / blocks, last, j->kept_size, j->kept_x, j->kept_z, &x0, &z0);
    for (int64_t r = 0; r < j->rows; r++) {
      int64_t xo = x0, zo = z0;
      locate(r, j->reduced, j->size, j->x_stride, j->z_stride, &xo, &zo);
      const real *x = j->x + xo;
      if (!j->z)
        for (int64_t k = 0; k < n; k++) sum[k] += (double)x[k];
      else
        for (int64_t k = 0; k < n; k++) sum[k] += (double)x[k] * (double)j->z[zo + k * zs];
    }
    real *y = j->y + u / blocks * width + col;
    for (int64_t k = 0; k < n; k++) y[k] = (real)(sum[k] * j->scale);
  }
}

void REAL(wtl_reduce)(wtl_ctx *ctx, const wtl_view *x, const wtl_view *z, unsigned reduced, double scale,
                      real *y) {
  reduce_job j = { .x = x->data, .z = z ? z->data : NULL, .y = y, .scale = scale, .rows = 1 };
  int64_t outputs = 1, each = 1;
  wtl_axes axes;
  wtl_axes_init(&axes, x, 2, (const wtl_view *const[]){ x, z ? z : x }, reduced);
  for (int d = 0; d < axes.ndim; d++) {
    bool sum = axes.marked >> d & 1;
    int64_t *size = sum ? j.size : j.kept_size, *xs = sum ? j.x_stride : j.kept_x,
            *zs = sum ? j.z_stride : j.kept_z;
    int k = sum ? j.reduced++ : j.kept++;
    size[k] = axes.size[d];
    xs[k] = axes.stride[0][d];
    zs[k] = axes.stride[1][d];
    *(sum ? &each : &outputs) *= size[k];
  }
  bool columns = j.kept > 0 && j.kept_x[j.kept - 1] == 1 && !(axes.marked >> (axes.ndim - 1) & 1);
  if (columns) {
    int64_t width = j.kept_size[j.kept - 1],
            blocks = width ? outputs / width * ((width + COLUMNS - 1) / COLUMNS) : 0;
    j.rows = each;
    wtl_parallel(ctx, blocks, span_grain(each * COLUMNS), reduce_columns, &j);
    return;
  }
  if (j.reduced == 0) j.size[j.reduced++] = 1; /* one element is its own sum */
  j.rows = 1;
  for (int d = 0; d < j.reduced - 1; d++) j.rows *= j.size[d];
  wtl_parallel(ctx, outputs, span_grain(each), reduce_each, &j);
}

/* ---- a value spread along axes ---- */

typedef struct spread_job { wtl_axes axes; const real *x; real *y, scale; } spread_job;

static void spread_span(void *arg, int64_t begin, int64_t end, int thread) {
  const spread_job *j = arg;
  const wtl_axes *a = &j->axes;
  int last = a->ndim - 1;
  int64_t length = a->size[last], stride = a->stride[0][last];
  real scale = j->scale;
  (void)thread;
  while (begin < end) {
    int64_t row = begin / length, col = begin % length,
            n = length - col < end - begin ? length - col : end - begin;
    int64_t at = col * stride;
    for (int d = last - 1; d >= 0; d--) {
      at += row % a->size[d] * a->stride[0][d];
      row /= a->size[d];
    }
    const real *x = j->x + at;
    real *y = j->y + begin;
    if (stride == 0)
      for (int64_t k = 0; k < n; k++) y[k] = scale * x[0];
    else
      for (int64_t k = 0; k < n; k++) y[k] = scale * x[k];
    begin += n;
  }
}

void REAL(wtl_spread)(wtl_ctx *ctx, const wtl_view *y, unsigned spread, double scale, const real *x) {
  spread_job j = { .x = x, .y = y->data, .scale = (real)scale };
  wtl_view v = *y; /* x as a view that does not move along the spread axes */
  int64_t stride = 1;
  for (int d = v.ndim - 1; d >= 0; d--) {
    bool repeats = spread >> d & 1;
    v.stride[d] = repeats ? 0 : stride;
    if (!repeats) stride *= v.size[d];
  }
  wtl_axes_init(&j.axes, y, 1, (const wtl_view *const[]){ &v }, 0);
  wtl_parallel(ctx, wtl_view_numel(y), WTL_SPAN, spread_span, &j);
}
