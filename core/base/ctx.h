/* What a context holds. Only base/ looks inside; everything else goes through wattle.h and base.h. */
#ifndef WTL_CTX_H
#define WTL_CTX_H

#include <pthread.h>

#include "base.h"

#define WTL_MESSAGE_MAX 1024
#define WTL_MAX_THREADS 1024

/* Worker threads of a context; parallel.c defines it. */
typedef struct wtl_team wtl_team;

struct wtl_ctx {
  pthread_mutex_t message_lock; /* loader threads fail too */
  char message[WTL_MESSAGE_MAX];
  int threads;
  atomic_int interrupt;
  wtl_random random;
  /* alloc.c */
  _Atomic uint64_t allocations, live, live_bytes, peak_bytes;
  _Atomic int64_t fuse;         /* allocations left until they fail, counting down; INT64_MAX: off */
  wtl_team *team;
};

/* Processors this process may run on, at least 1. */
int wtl_processors(void);

/* Make ready to run on n threads. Falls back to as many threads as the system gives; fails only
 * when memory is gone, and then the old team still stands. */
wtl_status wtl_team_resize(wtl_ctx *ctx, int n);
void wtl_team_destroy(wtl_ctx *ctx);

#endif
