/* Bytes of a file straight into the memory of the tensors that they are, on all threads: read once, in blocks small enough
 * to be looked at for NaN and infinity, widened or turned round while they are in the cache. */
#include <string.h>

#include "data.h"
#include "tensor.h"

#define BLOCK 262144        /* bytes read at a time: half of a usual second-level cache */
#define SHARE (8 * BLOCK)   /* bytes that a thread takes at a time, in the file's order */

/* ---- elements ---- */

static uint8_t turn1(uint8_t x) { return x; }
static uint16_t turn2(uint16_t x) { return __builtin_bswap16(x); }
static uint32_t turn4(uint32_t x) { return __builtin_bswap32(x); }
static uint64_t turn8(uint64_t x) { return __builtin_bswap64(x); }

/* Element i is read before anything is written over it or behind it: see wtl_expand. */
#define EXPAND(to_type, from_type, bits_type, turn)               \
  for (int64_t i = 0; i < n; i++) {                               \
    bits_type bits;                                               \
    memcpy(&bits, from + i * (int64_t)sizeof bits, sizeof bits);  \
    if (e->swap) bits = turn(bits);                               \
    from_type v;                                                  \
    memcpy(&v, &bits, sizeof v);                                  \
    to_type wide = (to_type)v;                                    \
    memcpy(to + i * (int64_t)sizeof wide, &wide, sizeof wide);    \
  }

bool wtl_element_is_plain(const wtl_element *e) { return e->kind == WTL_SAME && !e->swap; }

bool wtl_expand(const wtl_element *e, void *data, int64_t n) {
  char *to = data;
  const char *from = to + n * ((int64_t)wtl_dtype_size(e->dtype) - e->size);
  uint8_t seen = 0;
  switch (e->kind) {
    case WTL_SAME:
      if (!e->swap || e->size == 1) break;
      if (e->size == 2) EXPAND(uint16_t, uint16_t, uint16_t, turn2)
      else if (e->size == 4) EXPAND(uint32_t, uint32_t, uint32_t, turn4)
      else EXPAND(uint64_t, uint64_t, uint64_t, turn8)
      break;
    case WTL_FROM_BOOL:
      for (int64_t i = 0; i < n; i++) seen |= (uint8_t)from[i];
      return seen <= 1;
    case WTL_FROM_I8: EXPAND(int32_t, int8_t, uint8_t, turn1) break;
    case WTL_FROM_I16: EXPAND(int32_t, int16_t, uint16_t, turn2) break;
    case WTL_FROM_U16: EXPAND(int32_t, uint16_t, uint16_t, turn2) break;
    case WTL_FROM_U32: EXPAND(int64_t, uint32_t, uint32_t, turn4) break;
  }
  return true;
}

/* ---- reading ---- */

enum { FINE, NO_BOOL = WTL_TOO_SHORT - 1, STOPPED = NO_BOOL - 1 }; /* or what wtl_read_at returns */

typedef struct job {
  wtl_ctx *ctx;
  int fd;
  wtl_piece *piece;
  int64_t n, bytes, shares;
  _Atomic int64_t next;  /* share to be read: threads take them in order, so the disk is read from front to back */
  _Atomic int failed;
  _Atomic int64_t where; /* the piece that failed */
} job;

/* Elements first..last-1 of a piece. */
static int read_elements(const job *j, wtl_piece *p, int64_t first, int64_t last) {
  int64_t size = p->as.size, wide = (int64_t)wtl_dtype_size(p->as.dtype), step = BLOCK / wide;
  for (int64_t i = first; i < last; i += step) {
    int64_t n = last - i < step ? last - i : step;
    char *to = p->data + i * wide;
    if (wtl_interrupted(j->ctx)) return STOPPED;
    int code = wtl_read_at(j->fd, to + n * (wide - size), (size_t)(n * size), p->at + i * size);
    if (code != FINE) return code;
    if (!wtl_element_is_plain(&p->as) && !wtl_expand(&p->as, to, n)) return NO_BOOL;
    if (!atomic_load_explicit(&p->nonfinite, memory_order_relaxed) && !wtl_all_finite(p->as.dtype, to, 1, n))
      atomic_store_explicit(&p->nonfinite, true, memory_order_relaxed);
  }
  return FINE;
}

/* The last piece that begins at or before this byte of them all. */
static int64_t piece_at(const job *j, int64_t byte) {
  int64_t low = 0, high = j->n;
  while (high - low > 1) {
    int64_t middle = low + (high - low) / 2;
    if (j->piece[middle].start <= byte) low = middle;
    else high = middle;
  }
  return low;
}

/* Bytes begin..end-1 of them all: the elements that begin there. */
static int read_bytes(job *j, int64_t begin, int64_t end, int64_t *where) {
  for (int64_t k = piece_at(j, begin); k < j->n && j->piece[k].start < end; k++) {
    wtl_piece *p = &j->piece[k];
    int64_t size = p->as.size, from = begin > p->start ? begin - p->start : 0, to = end - p->start;
    if (to > p->n * size) to = p->n * size;
    if (from >= to) continue;
    int code = read_elements(j, p, (from + size - 1) / size, (to + size - 1) / size);
    *where = k;
    if (code != FINE) return code;
  }
  return FINE;
}

static void take_shares(void *arg, int64_t begin, int64_t end, int thread) {
  job *j = arg;
  int64_t share, where = 0;
  (void)begin, (void)end, (void)thread;
  while ((share = atomic_fetch_add(&j->next, 1)) < j->shares && atomic_load(&j->failed) == FINE) {
    int64_t first = share * SHARE, last = j->bytes - first < SHARE ? j->bytes : first + SHARE;
    int code = read_bytes(j, first, last, &where), none = FINE;
    if (code != FINE && atomic_compare_exchange_strong(&j->failed, &none, code)) atomic_store(&j->where, where);
  }
}

static wtl_status explain(const job *j, const char *path, const char *format) {
  char shown[WTL_SHOWN];
  const char *name = wtl_shown(j->piece[atomic_load(&j->where)].name, shown);
  int code = atomic_load(&j->failed);
  if (code == STOPPED) return wtl_fail(j->ctx, WTL_ERR_INTERRUPTED, "%s: interrupted", path);
  if (code == WTL_TOO_SHORT)
    return wtl_fail(j->ctx, WTL_ERR_FORMAT, "%s: %s: %s: became shorter while it was read", path, format, name);
  if (code == NO_BOOL)
    return wtl_fail(j->ctx, WTL_ERR_FORMAT, "%s: %s: %s: a truth value that is neither 0 nor 1", path, format, name);
  return wtl_fail_io(j->ctx, path, "cannot be read", code);
}

wtl_status wtl_read_pieces(wtl_ctx *ctx, const char *path, int fd, const char *format, wtl_piece *piece, int64_t n) {
  job j = { .ctx = ctx, .fd = fd, .piece = piece, .n = n };
  for (int64_t i = 0; i < n; i++) {
    piece[i].start = j.bytes;
    j.bytes += piece[i].n * piece[i].as.size;
    atomic_init(&piece[i].nonfinite, false);
    wtl_wish_big_pages(piece[i].data, (size_t)piece[i].n * wtl_dtype_size(piece[i].as.dtype));
  }
  j.shares = (j.bytes + SHARE - 1) / SHARE;
  int64_t threads = wtl_threads(ctx) < j.shares ? wtl_threads(ctx) : j.shares;
  wtl_parallel(ctx, threads, 1, take_shares, &j);
  return atomic_load(&j.failed) == FINE ? WTL_OK : explain(&j, path, format);
}
