/* Batches from a set of samples. With no workers, a batch is made by the context's own threads when it is asked for, so
 * that reading and computing take turns and never fight for a processor. With workers, threads of the loader's own fill
 * a ring of samples ahead of who asks. What a sample becomes depends on neither: see transform.c. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "sample.h"

#define MAX_WORKERS 256
#define MAX_PREFETCH 64
#define LOOK_MS 50 /* how often somebody who waits looks for an interrupt */

/* One sample on its way. */
typedef struct slot {
  wtl_status status;
  bool ready, skippable;
  char message[256]; /* of a sample that failed */
} slot;

typedef struct skipped { int64_t sample; char *reason; } skipped;

struct wtl_loader {
  wtl_ctx *ctx;
  wtl_recipe recipe;
  int64_t *index, n;     /* samples in order */
  int64_t batch_size;
  bool drop_last, skip, failed;
  int64_t head;          /* position in the order of the next sample to be dealt out */
  int64_t dealt;         /* samples so far */
  skipped *skips;
  int64_t n_skips, cap_skips;
  slot *slots;           /* position p is slot p % n_slots with workers; without, the batch's own */
  int64_t n_slots;
  wtl_scratch *scratch;  /* one a thread */
  int n_scratch;
  /* with workers: */
  float *ring;           /* [n_slots][numel] */
  pthread_mutex_t lock;  /* of head, claimed, stop and the slots */
  pthread_cond_t room, ready;
  bool has_lock, stop;
  int64_t claimed;       /* position of the next sample to be made */
  pthread_t *thread;
  int n_threads, next_scratch;
};

/* ---- workers ---- */

static void keep_message(slot *s, const wtl_scratch *t) {
  s->skippable = t->skippable;
  memcpy(s->message, t->message, sizeof s->message);
}

/* The next position to be made, when there is room; false: no more. Called and returns with the lock held. */
static bool claim(wtl_loader *l, int64_t *position) {
  while (!l->stop && l->claimed < l->n && l->claimed - l->head >= l->n_slots) pthread_cond_wait(&l->room, &l->lock);
  *position = l->claimed;
  if (l->stop || l->claimed >= l->n) return false;
  l->claimed++;
  return true;
}

static void *work(void *arg) {
  wtl_loader *l = arg;
  int64_t p;
  pthread_mutex_lock(&l->lock);
  wtl_scratch *t = &l->scratch[l->next_scratch++];
  while (claim(l, &p)) {
    int64_t at = p % l->n_slots;
    slot *s = &l->slots[at];
    pthread_mutex_unlock(&l->lock);
    wtl_status status = wtl_sample_make(&l->recipe, t, l->index[p], l->ring + at * l->recipe.numel);
    if (status != WTL_OK) keep_message(s, t);
    pthread_mutex_lock(&l->lock);
    s->status = status;
    s->ready = true;
    if (p == l->head) pthread_cond_signal(&l->ready);
  }
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

static void stop_workers(wtl_loader *l) {
  if (!l->has_lock) return;
  pthread_mutex_lock(&l->lock);
  l->stop = true;
  pthread_cond_broadcast(&l->room);
  pthread_mutex_unlock(&l->lock);
  for (int i = 0; i < l->n_threads; i++) pthread_join(l->thread[i], NULL);
  l->n_threads = 0;
}

/* Signals are for the program's own threads. */
static wtl_status start_workers(wtl_loader *l, int n) {
  pthread_condattr_t attr;
  sigset_t all, before;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->room, NULL);
  pthread_cond_init(&l->ready, &attr);
  pthread_condattr_destroy(&attr);
  l->has_lock = true;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  while (l->n_threads < n && pthread_create(&l->thread[l->n_threads], NULL, work, l) == 0) l->n_threads++;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return l->n_threads ? WTL_OK : wtl_fail(l->ctx, WTL_ERR_MEMORY, "loader: out of memory: no thread could be made");
}

/* ---- what fails, and what is skipped ---- */

static wtl_status interrupted(wtl_loader *l) {
  stop_workers(l); /* before the message is set: theirs might follow it */
  return wtl_fail(l->ctx, WTL_ERR_INTERRUPTED, "loader: interrupted");
}

static wtl_status fail_sample(wtl_loader *l, int64_t position, const slot *s) {
  char name[64];
  const char *what = wtl_sample_name(l->recipe.samples, l->index[position], name, sizeof name);
  return wtl_fail(l->ctx, s->status, "%s: %s", what, s->message);
}

static wtl_status note_skipped(wtl_loader *l, int64_t position, const slot *s) {
  if (l->n_skips == l->cap_skips) {
    int64_t cap = l->cap_skips ? 2 * l->cap_skips : 16;
    skipped *more = wtl_realloc(l->ctx, l->skips, (size_t)l->cap_skips * sizeof *more, (size_t)cap * sizeof *more);
    if (!more) return WTL_ERR_MEMORY;
    l->skips = more;
    l->cap_skips = cap;
  }
  char *reason = wtl_strdup(l->ctx, s->message);
  if (!reason) return WTL_ERR_MEMORY;
  l->skips[l->n_skips++] = (skipped){ l->index[position], reason };
  return WTL_OK;
}

/* *used: is the sample good? Otherwise it is skipped, or its failure is the loader's. */
static wtl_status judge(wtl_loader *l, int64_t position, const slot *s, bool *used) {
  *used = s->status == WTL_OK;
  if (*used) return WTL_OK;
  if (l->skip && s->skippable) return note_skipped(l, position, s);
  stop_workers(l);
  return fail_sample(l, position, s);
}

/* ---- one batch from the ring ---- */

static wtl_status wait_for_head(wtl_loader *l) {
  bool stop = false;
  pthread_mutex_lock(&l->lock);
  slot *head = &l->slots[l->head % l->n_slots];
  while (!head->ready && !stop) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_cond_timedwait(&l->ready, &l->lock, &until);
    stop = wtl_interrupted(l->ctx);
  }
  pthread_mutex_unlock(&l->lock);
  return stop ? interrupted(l) : WTL_OK;
}

static void free_head(wtl_loader *l) {
  pthread_mutex_lock(&l->lock);
  l->slots[l->head % l->n_slots].ready = false;
  l->head++;
  pthread_cond_signal(&l->room);
  pthread_mutex_unlock(&l->lock);
}

static wtl_status fill_from_ring(wtl_loader *l, float *x, int64_t *y, int64_t *filled) {
  int64_t n = 0, numel = l->recipe.numel;
  while (n < l->batch_size && l->head < l->n) {
    bool used;
    WTL_TRY(wait_for_head(l));
    int64_t at = l->head % l->n_slots;
    WTL_TRY(judge(l, l->head, &l->slots[at], &used));
    if (used) {
      memcpy(x + n * numel, l->ring + at * numel, (size_t)numel * sizeof *x);
      y[n++] = wtl_sample_label(l->recipe.samples, l->index[l->head]);
    }
    free_head(l);
  }
  *filled = n;
  return WTL_OK;
}

/* ---- one batch by the context's threads ---- */

typedef struct round_ {
  wtl_loader *l;
  float *x;          /* of the first */
  int64_t first, n;  /* positions */
  atomic_llong next; /* the threads take one after another: pictures differ in size */
} round_;

static void make_some(void *arg, int64_t begin, int64_t end, int thread) {
  round_ *r = arg;
  wtl_loader *l = r->l;
  wtl_scratch *t = &l->scratch[thread];
  (void)begin;
  (void)end;
  for (int64_t k; (k = atomic_fetch_add(&r->next, 1)) < r->n && !wtl_interrupted(l->ctx);) {
    slot *s = &l->slots[k];
    s->status = wtl_sample_make(&l->recipe, t, l->index[r->first + k], r->x + k * l->recipe.numel);
    s->ready = true;
    if (s->status != WTL_OK) keep_message(s, t);
  }
}

/* Scratch for n threads. */
static wtl_status need_scratch(wtl_loader *l, int n) {
  if (n <= l->n_scratch) return WTL_OK;
  wtl_scratch *more = wtl_realloc(l->ctx, l->scratch, (size_t)l->n_scratch * sizeof *more, (size_t)n * sizeof *more);
  if (!more) return WTL_ERR_MEMORY;
  l->scratch = more;
  while (l->n_scratch < n) {
    WTL_TRY(wtl_scratch_init(l->ctx, &l->scratch[l->n_scratch]));
    l->n_scratch++;
  }
  return WTL_OK;
}

/* n samples from position `first` on into rows of x; those that are good move up to stand together. */
static wtl_status make_round(wtl_loader *l, int64_t first, int64_t n, float *x, int64_t *y, int64_t *good) {
  int threads = wtl_threads(l->ctx);
  size_t row = (size_t)l->recipe.numel * sizeof *x;
  round_ r = { l, x, first, n, 0 };
  for (int64_t k = 0; k < n; k++) l->slots[k].ready = false;
  wtl_parallel(l->ctx, n < threads ? n : threads, 1, make_some, &r);
  *good = 0;
  for (int64_t k = 0; k < n; k++) {
    bool used;
    if (!l->slots[k].ready) return interrupted(l);
    WTL_TRY(judge(l, first + k, &l->slots[k], &used));
    if (!used) continue;
    if (*good < k) memcpy(x + *good * l->recipe.numel, x + k * l->recipe.numel, row);
    y[(*good)++] = wtl_sample_label(l->recipe.samples, l->index[first + k]);
  }
  return WTL_OK;
}

static wtl_status fill_at_once(wtl_loader *l, float *x, int64_t *y, int64_t *filled) {
  int64_t n = 0;
  WTL_TRY(need_scratch(l, wtl_threads(l->ctx)));
  while (n < l->batch_size && l->head < l->n) {
    int64_t room = l->batch_size - n, left = l->n - l->head, take = room < left ? room : left, good;
    WTL_TRY(make_round(l, l->head, take, x + n * l->recipe.numel, y + n, &good));
    l->head += take;
    n += good;
  }
  for (int64_t k = l->head; k < l->n && k < l->head + l->batch_size; k++)
    wtl_sample_ahead(l->recipe.samples, l->index[k]);
  *filled = n;
  return WTL_OK;
}

/* ---- the loader ---- */

static wtl_status check_options(wtl_ctx *ctx, const wtl_samples *s, const wtl_loader_options *o) {
  if (o->batch_size < 1)
    return wtl_fail(ctx, WTL_ERR_ARG, "loader: batch_size is %lld, at least 1 is needed", (long long)o->batch_size);
  if (o->workers < 0 || o->workers > MAX_WORKERS)
    return wtl_fail(ctx, WTL_ERR_ARG, "loader: workers is %d; 0 to %d are possible", o->workers, MAX_WORKERS);
  if (o->workers && (o->prefetch < 1 || o->prefetch > MAX_PREFETCH))
    return wtl_fail(ctx, WTL_ERR_ARG, "loader: prefetch is %d batches; 1 to %d are possible", o->prefetch,
                    MAX_PREFETCH);
  for (int64_t i = 0; i < o->n; i++) {
    if (o->index[i] < 0 || o->index[i] >= wtl_samples_count(s))
      return wtl_fail(ctx, WTL_ERR_ARG, "loader: index %lld is not in 0..%lld", (long long)o->index[i],
                      (long long)wtl_samples_count(s) - 1);
  }
  return WTL_OK;
}

static wtl_status make_room(wtl_loader *l, const wtl_loader_options *o) {
  size_t bytes;
  int64_t batch = o->batch_size < o->n ? o->batch_size : o->n; /* an absurd batch_size asks for no absurd memory */
  l->n_slots = o->workers ? (batch ? batch : 1) * o->prefetch : batch;
  if (l->n_slots > o->n && o->n > 0) l->n_slots = o->n;
  l->slots = wtl_calloc(l->ctx, (size_t)l->n_slots, sizeof *l->slots);
  if (!l->slots) return WTL_ERR_MEMORY;
  if (o->workers == 0) return WTL_OK;
  if (!wtl_mul_size((size_t)l->n_slots * sizeof *l->ring, (size_t)l->recipe.numel, &bytes)) bytes = SIZE_MAX;
  l->ring = wtl_alloc(l->ctx, bytes);
  l->thread = wtl_calloc(l->ctx, (size_t)o->workers, sizeof *l->thread);
  if (!l->ring || !l->thread) return WTL_ERR_MEMORY;
  return need_scratch(l, o->workers);
}

wtl_status wtl_loader_create(wtl_ctx *ctx, wtl_samples *samples, const wtl_loader_options *o, wtl_loader **out) {
  WTL_TRY(check_options(ctx, samples, o));
  wtl_loader *l = wtl_alloc(ctx, sizeof *l);
  if (!l) return WTL_ERR_MEMORY;
  l->ctx = l->recipe.ctx = ctx;
  l->n = o->n;
  l->batch_size = o->batch_size;
  l->drop_last = o->drop_last;
  l->skip = o->skip;
  wtl_status s = wtl_recipe_init(ctx, samples, o, &l->recipe);
  if (s == WTL_OK) s = make_room(l, o);
  if (s == WTL_OK) {
    l->index = wtl_calloc(ctx, (size_t)o->n + 1, sizeof *l->index);
    if (!l->index) s = WTL_ERR_MEMORY;
    else if (o->n) memcpy(l->index, o->index, (size_t)o->n * sizeof *l->index);
  }
  if (s == WTL_OK && o->workers) s = start_workers(l, o->workers);
  if (s != WTL_OK) wtl_loader_destroy(l);
  else *out = l;
  return s;
}

void wtl_loader_destroy(wtl_loader *l) {
  if (!l) return;
  wtl_ctx *ctx = l->ctx;
  stop_workers(l);
  if (l->has_lock) {
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->room);
    pthread_mutex_destroy(&l->lock);
  }
  for (int i = 0; i < l->n_scratch; i++) wtl_scratch_free(ctx, &l->scratch[i]);
  for (int64_t i = 0; i < l->n_skips; i++) wtl_free(ctx, l->skips[i].reason);
  wtl_free(ctx, l->skips);
  wtl_free(ctx, l->scratch);
  wtl_free(ctx, l->thread);
  wtl_free(ctx, l->ring);
  wtl_free(ctx, l->slots);
  wtl_free(ctx, l->index);
  wtl_recipe_free(&l->recipe);
  wtl_free(ctx, l);
}

static wtl_status all_skipped(wtl_loader *l) {
  char name[64];
  return wtl_fail(l->ctx, WTL_ERR_FORMAT, "none of %lld samples can be used; the first: %s: %s", (long long)l->n,
                  wtl_sample_name(l->recipe.samples, l->skips[0].sample, name, sizeof name), l->skips[0].reason);
}

/* x and y as they must be for n samples: the whole batch, or its first rows. */
static wtl_status shorten(wtl_tensor **t, int64_t n) {
  wtl_tensor *view = NULL, *copy = NULL;
  if (wtl_tensor_shape(*t)->size[0] == n) return WTL_OK;
  wtl_status s = wtl_tensor_narrow(*t, 0, 0, n, &view);
  if (s == WTL_OK) s = wtl_tensor_clone(view, &copy);
  wtl_tensor_release(view);
  if (s != WTL_OK) return s;
  wtl_tensor_release(*t);
  *t = copy;
  return WTL_OK;
}

static wtl_status next_batch(wtl_loader *l, wtl_tensor **x, wtl_tensor **y, int64_t *filled) {
  wtl_shape shape;
  int64_t left = l->n - l->head, room = left < l->batch_size ? left : l->batch_size;
  wtl_recipe_shape(&l->recipe, &shape);
  shape.size[0] = room;
  WTL_TRY(wtl_tensor_create(l->ctx, WTL_F32, &shape, x));
  WTL_TRY(wtl_tensor_create(l->ctx, WTL_I64, &(wtl_shape){ 1, { room } }, y));
  if (wtl_interrupted(l->ctx)) return interrupted(l);
  WTL_TRY((l->ring ? fill_from_ring : fill_at_once)(l, wtl_tensor_data(*x), wtl_tensor_data(*y), filled));
  if (l->head == l->n && l->dealt + *filled == 0) return all_skipped(l);
  if (*filled == 0) return WTL_OK;
  WTL_TRY(shorten(x, *filled));
  return shorten(y, *filled);
}

wtl_status wtl_loader_next(wtl_loader *l, wtl_tensor **x, wtl_tensor **y) {
  wtl_tensor *tx = NULL, *ty = NULL;
  int64_t n = 0, left = l->n - l->head;
  if (l->failed) return wtl_fail(l->ctx, WTL_ERR_STATE, "loader: an error stopped it; make another");
  wtl_status s = WTL_OK;
  if (left > 0 && !(l->drop_last && left < l->batch_size)) s = next_batch(l, &tx, &ty, &n);
  if (s != WTL_OK) {
    l->failed = true;
    stop_workers(l);
  }
  if (s != WTL_OK || n == 0 || (l->drop_last && n < l->batch_size)) {
    wtl_tensor_release(tx);
    wtl_tensor_release(ty);
    tx = ty = NULL;
  }
  if (s != WTL_OK) return s;
  l->dealt += n;
  *x = tx;
  *y = ty;
  return WTL_OK;
}

int64_t wtl_loader_skipped(const wtl_loader *l) { return l->n_skips; }

wtl_status wtl_loader_skip(const wtl_loader *l, int64_t i, int64_t *sample, const char **reason) {
  if (i < 0 || i >= l->n_skips)
    return wtl_fail(l->ctx, WTL_ERR_ARG, "loader: skip %lld of %lld", (long long)i, (long long)l->n_skips);
  *sample = l->skips[i].sample;
  *reason = l->skips[i].reason;
  return WTL_OK;
}
