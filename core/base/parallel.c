/* wtl_parallel: one loop over threads. Where oneDNN is built in, the threads are libgomp's, called through its C
 * interface (so clang works too), because oneDNN runs on them and a second pool would fight for the processors.
 * Elsewhere they are plain threads that belong to the context. A call allocates nothing. */
#include <stdlib.h>

#include "ctx.h"

/* One wtl_parallel call; lives on the caller's stack. */
typedef struct job {
  wtl_parallel_fn fn;
  void *arg;
  int64_t n, grain, chunks;
} job;

/* Which of its team's threads this is: what a nested call passes on. */
static _Thread_local int self;
static _Thread_local bool inside;

/* Thread t of `team` takes a contiguous range of chunks, so that neighbouring memory stays with one core. */
static void run_share(const job *j, int t, int team) {
  int64_t share = j->chunks / team, rest = j->chunks % team;
  int64_t first = t * share + (t < rest ? t : rest), last = first + share + (t < rest);
  for (int64_t c = first; c < last; c++) {
    int64_t begin = c * j->grain, end = j->n - begin > j->grain ? begin + j->grain : j->n;
    j->fn(j->arg, begin, end, self);
  }
}

static void run_as(const job *j, int t, int team) {
  int self_before = self;
  bool inside_before = inside;
  self = t;
  inside = true;
  run_share(j, t, team);
  self = self_before;
  inside = inside_before;
}

/* All chunks in the calling thread, which keeps its number. */
static void run_alone(const job *j) { run_share(j, 0, 1); }

#ifdef WTL_ONEDNN

void GOMP_parallel(void (*fn)(void *), void *data, unsigned num_threads, unsigned flags);
int omp_get_thread_num(void);
int omp_get_num_threads(void);
int omp_in_parallel(void);

struct wtl_team { int n; };

/* libgomp ends the process when it cannot make a thread, so as many are made here first, to see. */
static void *wait_for_lock(void *lock) {
  pthread_mutex_lock(lock);
  pthread_mutex_unlock(lock);
  return NULL;
}

static int threads_to_be_had(int n) {
  pthread_t thread[WTL_MAX_THREADS];
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  int got = 1;
  pthread_mutex_lock(&lock);
  while (got < n && pthread_create(&thread[got], NULL, wait_for_lock, &lock) == 0) got++;
  pthread_mutex_unlock(&lock);
  for (int i = 1; i < got; i++) pthread_join(thread[i], NULL);
  return got < n ? got - got / 4 : n; /* at the limit, leave room for what comes with a thread */
}

wtl_status wtl_team_resize(wtl_ctx *ctx, int n) {
  if (!ctx->team) ctx->team = calloc(1, sizeof *ctx->team);
  if (!ctx->team) return wtl_fail(ctx, WTL_ERR_MEMORY, "threads: out of memory");
  ctx->team->n = threads_to_be_had(n);
  return WTL_OK;
}

void wtl_team_destroy(wtl_ctx *ctx) { free(ctx->team); }

static void enter(void *arg) { run_as(arg, omp_get_thread_num(), omp_get_num_threads()); }

static void run_team(wtl_ctx *ctx, job *j) {
  int team = j->chunks < ctx->team->n ? (int)j->chunks : ctx->team->n;
  if (team == 1 || inside || omp_in_parallel()) run_alone(j);
  else GOMP_parallel(enter, j, (unsigned)team, 0);
}

#else

/* How often a waiting thread looks before it sleeps: some ten microseconds, the gap between two ops. */
#define SPINS 4000

struct worker {
  pthread_t thread;
  struct wtl_team *team;
  int index; /* 1..n-1; the caller is 0 */
};

struct wtl_team {
  int n;                  /* threads, the caller among them */
  pthread_mutex_t lock;
  pthread_cond_t start, done;
  atomic_uint round;      /* counts jobs; a worker runs when it changes */
  atomic_int running;     /* workers that have not finished the job */
  atomic_bool busy;       /* a job is on: another caller runs alone */
  bool stop;
  int sharers;            /* threads that the job is cut for */
  const job *job;
  struct worker worker[];
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

static void *work(void *arg) {
  struct worker *w = arg;
  struct wtl_team *t = w->team;
  unsigned seen = 0;
  for (;;) {
    for (int i = 0; i < SPINS && atomic_load(&t->round) == seen; i++) relax();
    pthread_mutex_lock(&t->lock);
    while (atomic_load(&t->round) == seen) pthread_cond_wait(&t->start, &t->lock);
    seen = atomic_load(&t->round);
    bool stop = t->stop;
    const job *j = t->job;
    int sharers = t->sharers;
    pthread_mutex_unlock(&t->lock);
    if (stop) return NULL;
    if (w->index < sharers) run_as(j, w->index, sharers);
    if (atomic_fetch_sub(&t->running, 1) == 1) {
      pthread_mutex_lock(&t->lock);
      pthread_cond_signal(&t->done);
      pthread_mutex_unlock(&t->lock);
    }
  }
}

static void begin_round(struct wtl_team *t, const job *j, int sharers, bool stop) {
  pthread_mutex_lock(&t->lock);
  t->job = j;
  t->sharers = sharers;
  t->stop = stop;
  atomic_store(&t->running, t->n - 1);
  atomic_fetch_add(&t->round, 1);
  pthread_cond_broadcast(&t->start);
  pthread_mutex_unlock(&t->lock);
}

void wtl_team_destroy(wtl_ctx *ctx) {
  struct wtl_team *t = ctx->team;
  if (!t) return;
  begin_round(t, NULL, 0, true);
  for (int i = 1; i < t->n; i++) pthread_join(t->worker[i].thread, NULL);
  pthread_cond_destroy(&t->done);
  pthread_cond_destroy(&t->start);
  pthread_mutex_destroy(&t->lock);
  free(t);
  ctx->team = NULL;
}

wtl_status wtl_team_resize(wtl_ctx *ctx, int n) {
  if (ctx->team && ctx->team->n == n) return WTL_OK;
  struct wtl_team *t = calloc(1, sizeof *t + (size_t)n * sizeof t->worker[0]);
  if (!t) return wtl_fail(ctx, WTL_ERR_MEMORY, "threads: out of memory");
  pthread_mutex_init(&t->lock, NULL);
  pthread_cond_init(&t->start, NULL);
  pthread_cond_init(&t->done, NULL);
  wtl_team_destroy(ctx);
  for (t->n = 1; t->n < n; t->n++) {
    struct worker *w = &t->worker[t->n];
    w->team = t;
    w->index = t->n;
    if (pthread_create(&w->thread, NULL, work, w) != 0) break; /* run on what there is */
  }
  ctx->team = t;
  return WTL_OK;
}

static void run_team(wtl_ctx *ctx, job *j) {
  struct wtl_team *t = ctx->team;
  int sharers = j->chunks < t->n ? (int)j->chunks : t->n;
  if (sharers == 1 || inside || atomic_exchange(&t->busy, true)) {
    run_alone(j);
    return;
  }
  begin_round(t, j, sharers, false);
  run_as(j, 0, sharers);
  for (int i = 0; i < SPINS && atomic_load(&t->running) > 0; i++) relax();
  pthread_mutex_lock(&t->lock);
  while (atomic_load(&t->running) > 0) pthread_cond_wait(&t->done, &t->lock);
  pthread_mutex_unlock(&t->lock);
  atomic_store(&t->busy, false);
}

#endif

void wtl_parallel(wtl_ctx *ctx, int64_t n, int64_t grain, wtl_parallel_fn fn, void *arg) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  job j = { fn, arg, n, grain, n / grain + (n % grain != 0) };
  if (j.chunks == 1) fn(arg, 0, n, self);
  else run_team(ctx, &j);
}
