/* Filling with random numbers. Element i in logical order gets the generator's value at i, whatever the strides and
 * the number of threads. */
#include <math.h>

#include "rng.h"
#include "tensor.h"

/* Elements in one chunk of work; a multiple of the generator's block of 4. */
#define GRAIN 4096
#define RUN 256

typedef struct fill_job {
  wtl_tensor *t;
  const wtl_rng *rng;
  wtl_walk walk;
  bool normal;
  double scale, shift, most; /* value = shift + scale * number, at most `most` */
} fill_job;

/* Numbers first..first+n-1 of the stream; first is a multiple of 4, n <= RUN. */
static void draw(const fill_job *j, int64_t first, int64_t n, double out[RUN]) {
  for (int64_t i = 0; i < n; i += 4) {
    uint32_t bits[4];
    if (j->normal) {
      wtl_rng_normal_block(j->rng, (uint64_t)(first + i) / 4, out + i);
    } else {
      wtl_rng_block(j->rng, (uint64_t)(first + i) / 4, bits);
      for (int k = 0; k < 4; k++) out[i + k] = bits[k] * 0x1p-32;
    }
  }
  for (int64_t i = 0; i < n; i++) {
    double v = j->shift + j->scale * out[i];
    out[i] = v > j->most ? j->most : v;
  }
}

static void fill_chunk(void *arg, int64_t begin, int64_t end, int thread) {
  const fill_job *j = arg;
  const wtl_walk *w = &j->walk;
  int64_t length = w->size[w->ndim - 1], stride = w->stride[0][w->ndim - 1], size = (int64_t)wtl_dtype_size(j->t->dtype);
  double number[RUN];
  (void)thread;
  for (int64_t first = begin; first < end; first += RUN) {
    int64_t n = end - first < RUN ? end - first : RUN, done = 0;
    draw(j, first, n, number);
    while (done < n) { /* row by row */
      int64_t offset, column = (first + done) % length, part = length - column < n - done ? length - column : n - done;
      wtl_walk_row(w, (first + done) / length, 1, &offset);
      wtl_store_reals(j->t->dtype, j->t->data + (offset + column * stride) * size, stride, part, number + done);
      done += part;
    }
  }
}

static wtl_status fill(wtl_tensor *t, const char *what, fill_job *j) {
  if (!wtl_dtype_is_float(t->dtype))
    return wtl_fail(t->ctx, WTL_ERR_DTYPE, "%s: a float tensor is needed, this one is %s", what, wtl_dtype_name(t->dtype));
  WTL_TRY(wtl_tensor_check_writable(t, what));
  j->t = t;
  wtl_walk_init(&j->walk, 1, &(const wtl_tensor *){ t });
  wtl_parallel(t->ctx, wtl_tensor_numel(t), GRAIN, fill_chunk, j);
  return WTL_OK;
}

/* Rounding never reaches `high`. */
wtl_status wtl_tensor_uniform(wtl_tensor *t, const wtl_rng *r, double low, double high) {
  if (!isfinite(low) || !isfinite(high) || !isfinite(high - low) || low > high)
    return wtl_fail(t->ctx, WTL_ERR_ARG, "uniform: from %g to %g is no range", low, high);
  fill_job j = { .rng = r, .scale = high - low, .shift = low, .most = high };
  if (low < high && wtl_dtype_is_float(t->dtype)) j.most = wtl_dtype_below(t->dtype, high);
  return fill(t, "uniform", &j);
}

wtl_status wtl_tensor_normal(wtl_tensor *t, const wtl_rng *r, double mean, double sd) {
  if (!isfinite(mean) || !isfinite(sd) || sd < 0)
    return wtl_fail(t->ctx, WTL_ERR_ARG, "normal: mean %g and standard deviation %g", mean, sd);
  fill_job j = { .rng = r, .normal = true, .scale = sd, .shift = mean, .most = INFINITY };
  return fill(t, "normal", &j);
}
