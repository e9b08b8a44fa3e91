/* The bytes of a file from its start, plain or gzip. gzip is told by content, never by name, and its checksum and
 * what follows it are part of the check. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data.h"

static void *z_alloc(void *ctx, unsigned n, unsigned size) { return wtl_calloc(ctx, n, size); }
static void z_free(void *ctx, void *p) { wtl_free(ctx, p); }

static wtl_status refill(wtl_stream *s) {
  size_t got;
  WTL_TRY(wtl_read_up_to(s->ctx, s->path, s->fd, s->in, WTL_STREAM_CHUNK, &got));
  s->z.next_in = s->in;
  s->z.avail_in = (unsigned)got;
  return WTL_OK;
}

wtl_status wtl_stream_open(wtl_ctx *ctx, const char *path, wtl_stream *s) {
  *s = (wtl_stream){ .ctx = ctx, .path = path, .fd = -1 };
  wtl_status st = wtl_open_regular(ctx, path, &s->fd, &s->file_bytes);
  if (st != WTL_OK) return st;
  s->in = wtl_alloc(ctx, WTL_STREAM_CHUNK);
  st = s->in ? refill(s) : WTL_ERR_MEMORY;
  if (st != WTL_OK) goto out;
  if (s->z.avail_in >= 2 && s->in[0] == 0x1f && s->in[1] == 0x8b) {
    s->z.zalloc = z_alloc;
    s->z.zfree = z_free;
    s->z.opaque = ctx;
    if (inflateInit2(&s->z, 16 + MAX_WBITS) != Z_OK) { /* 16: gzip alone */
      st = wtl_fail(ctx, WTL_ERR_MEMORY, "%s: gzip: out of memory", path);
      goto out;
    }
    s->gzip = true;
  }
out:
  if (st != WTL_OK) wtl_stream_close(s);
  return st;
}

void wtl_stream_close(wtl_stream *s) {
  if (!s->ctx) return;
  if (s->gzip) inflateEnd(&s->z);
  wtl_free(s->ctx, s->in);
  if (s->fd >= 0) close(s->fd);
  *s = (wtl_stream){ .fd = -1 };
}

static wtl_status read_plain(wtl_stream *s, void *buf, size_t n, size_t *got) {
  size_t ahead = s->z.avail_in < n ? s->z.avail_in : n, rest;
  memcpy(buf, s->z.next_in, ahead);
  s->z.next_in += ahead;
  s->z.avail_in -= (unsigned)ahead;
  WTL_TRY(wtl_read_up_to(s->ctx, s->path, s->fd, (char *)buf + ahead, n - ahead, &rest));
  *got = ahead + rest;
  return WTL_OK;
}

static wtl_status gzip_failed(wtl_stream *s, int code) {
  if (code == Z_MEM_ERROR) return wtl_fail(s->ctx, WTL_ERR_MEMORY, "%s: gzip: out of memory", s->path);
  if (code == Z_BUF_ERROR) return wtl_fail(s->ctx, WTL_ERR_FORMAT, "%s: gzip: cut off", s->path);
  return wtl_fail(s->ctx, WTL_ERR_FORMAT, "%s: gzip: %s", s->path, s->z.msg ? s->z.msg : "damaged");
}

/* Several members one after another are one file (RFC 1952, 2.2); anything else behind a member is not. */
static wtl_status next_member(wtl_stream *s, bool *end) {
  *end = s->z.avail_in == 0;
  if (*end) return WTL_OK;
  if (s->z.next_in[0] != 0x1f || (s->z.avail_in > 1 && s->z.next_in[1] != 0x8b)) {
    return wtl_fail(s->ctx, WTL_ERR_FORMAT, "%s: gzip: bytes follow the compressed data", s->path);
  }
  inflateReset(&s->z);
  s->member_done = false;
  return WTL_OK;
}

static wtl_status read_gzip(wtl_stream *s, void *buf, size_t n, size_t *got) {
  unsigned char *out = buf;
  size_t done = 0;
  while (done < n) {
    bool end = false;
    if (s->z.avail_in == 0) WTL_TRY(refill(s));
    if (s->member_done) WTL_TRY(next_member(s, &end));
    if (end) break;
    unsigned room = n - done < (1u << 30) ? (unsigned)(n - done) : 1u << 30;
    s->z.next_out = out + done;
    s->z.avail_out = room;
    int code = inflate(&s->z, Z_NO_FLUSH);
    done += room - s->z.avail_out;
    if (code == Z_STREAM_END) s->member_done = true;
    else if (code != Z_OK) return gzip_failed(s, code);
  }
  *got = done;
  return WTL_OK;
}

wtl_status wtl_stream_read(wtl_stream *s, void *buf, size_t n, size_t *got) {
  return s->gzip ? read_gzip(s, buf, n, got) : read_plain(s, buf, n, got);
}

uint64_t wtl_stream_most(const wtl_stream *s) {
  uint64_t most = (uint64_t)s->file_bytes;
  return s->gzip && __builtin_mul_overflow(most, 1032, &most) ? UINT64_MAX : most;
}
