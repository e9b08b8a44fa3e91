/* CSV by RFC 4180. libcsv splits the fields; here are the parts of strictness that it lacks: rows of one length, no stray
 * carriage return, no NUL, spaces kept, bounds, and errors that name the line. */
#include <csv.h>
#include <string.h>
#include <unistd.h>

#include "data.h"

#define CHUNK 65536
#define MAX_ROW_BYTES ((size_t)16 << 20)
#define MAX_COLUMNS 65536

typedef struct reader {
  wtl_ctx *ctx;
  const char *path;
  wtl_csv_row_fn on_row;
  void *arg;
  wtl_status status;    /* of the callbacks below, which libcsv lets return nothing */
  char *text;           /* the row's fields, each with a NUL */
  size_t n_text, cap_text;
  size_t *start, *len;  /* of each field in text */
  const char **field;
  int n, cap, columns;  /* fields of this row, room, fields of the first row (-1 before it) */
  int64_t row, line, row_line;
  bool in_row;           /* bytes of the row were seen */
  bool quoted, carriage; /* the last byte seen was in quotes; was a CR outside of them */
} reader;

static wtl_status bad(reader *r, int64_t line, const char *what) {
  return wtl_fail(r->ctx, WTL_ERR_FORMAT, "%s:%lld: csv: %s", r->path, (long long)line, what);
}

/* One array of the row from `cap` to `more` elements. */
static bool grow(reader *r, void **array, size_t size, int cap, int more) {
  void *p = wtl_realloc(r->ctx, *array, (size_t)cap * size, (size_t)more * size);
  if (p) *array = p;
  return p != NULL;
}

static wtl_status reserve(reader *r, size_t bytes) {
  if (r->n_text + bytes > MAX_ROW_BYTES) return bad(r, r->row_line, "the row is longer than 16 MiB");
  if (r->n == MAX_COLUMNS) return bad(r, r->row_line, "the row has more than 65536 fields");
  if (r->n_text + bytes > r->cap_text) {
    size_t cap = 2 * (r->n_text + bytes) + 256;
    char *text = wtl_realloc(r->ctx, r->text, r->n_text, cap);
    if (!text) return WTL_ERR_MEMORY;
    r->text = text;
    r->cap_text = cap;
  }
  if (r->n == r->cap) {
    int cap = r->cap ? 2 * r->cap : 32;
    if (!grow(r, (void **)&r->start, sizeof *r->start, r->cap, cap) ||
        !grow(r, (void **)&r->len, sizeof *r->len, r->cap, cap) ||
        !grow(r, (void **)&r->field, sizeof *r->field, r->cap, cap)) {
      return WTL_ERR_MEMORY;
    }
    r->cap = cap;
  }
  return WTL_OK;
}

static void on_field(void *s, size_t n, void *arg) {
  reader *r = arg;
  if (r->status == WTL_OK) r->status = reserve(r, n + 1);
  if (r->status != WTL_OK) return;
  if (n) memcpy(r->text + r->n_text, s, n);
  r->text[r->n_text + n] = 0;
  r->start[r->n] = r->n_text;
  r->len[r->n++] = n;
  r->n_text += n + 1;
}

static void on_row_end(int c, void *arg) {
  reader *r = arg;
  (void)c;
  if (r->status != WTL_OK) return;
  if (r->columns < 0) r->columns = r->n;
  if (r->n != r->columns) {
    r->status = wtl_fail(r->ctx, WTL_ERR_FORMAT, "%s:%lld: csv: %d field%s where the first row has %d", r->path,
                         (long long)r->row_line, r->n, r->n == 1 ? "" : "s", r->columns);
    return;
  }
  for (int i = 0; i < r->n; i++) r->field[i] = r->text + r->start[i];
  r->status = r->on_row(r->arg, r->row++, r->field, r->len, r->n);
  r->n = 0;
  r->n_text = 0;
}

static int never(unsigned char c) { (void)c; return 0; } /* RFC 4180: spaces are part of a field */

/* What libcsv does not look at. Quotes come in pairs, so counting them tells what is inside. */
static wtl_status check_bytes(reader *r, const char *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (r->carriage && p[i] != '\n') return bad(r, r->line, "a carriage return without a line feed");
    if (p[i] == 0) return bad(r, r->line, "a NUL byte; is this UTF-16?");
    r->quoted ^= p[i] == '"';
    r->carriage = p[i] == '\r' && !r->quoted;
  }
  return WTL_OK;
}

static wtl_status parser_failed(reader *r, struct csv_parser *p) {
  if (r->status != WTL_OK) return r->status;
  if (csv_error(p) == CSV_EPARSE)
    return bad(r, r->line, "a quote inside a field that is not quoted, or text behind a closing quote");
  return wtl_fail(r->ctx, WTL_ERR_MEMORY, "%s:%lld: csv: out of memory", r->path, (long long)r->line);
}

/* At most one line, so that `line` is right in every message. */
static wtl_status feed(reader *r, struct csv_parser *p, const char *s, size_t n) {
  if (!r->in_row) r->row_line = r->line;
  WTL_TRY(check_bytes(r, s, n));
  if (csv_parse(p, s, n, on_field, on_row_end, r) != n || r->status != WTL_OK) return parser_failed(r, p);
  if (p->entry_pos > MAX_ROW_BYTES) return bad(r, r->row_line, "the row is longer than 16 MiB");
  r->in_row = r->quoted || s[n - 1] != '\n';
  if (s[n - 1] == '\n') r->line++;
  return WTL_OK;
}

static wtl_status feed_chunk(reader *r, struct csv_parser *p, const char *s, size_t n) {
  while (n > 0) {
    const char *end = memchr(s, '\n', n);
    size_t part = end ? (size_t)(end - s) + 1 : n;
    WTL_TRY(feed(r, p, s, part));
    s += part;
    n -= part;
  }
  return WTL_OK;
}

static wtl_status read_rows(reader *r, struct csv_parser *p, int fd, char *buf) {
  size_t got, skip = 0;
  bool first = true;
  do {
    WTL_TRY(wtl_read_up_to(r->ctx, r->path, fd, buf, CHUNK, &got));
    skip = first && got >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    first = false;
    WTL_TRY(feed_chunk(r, p, buf + skip, got - skip));
  } while (got == CHUNK);
  if (r->carriage) return bad(r, r->line, "a carriage return without a line feed");
  if (csv_fini(p, on_field, on_row_end, r) != 0) return bad(r, r->row_line, "a quoted field is not closed");
  return r->status;
}

wtl_status wtl_csv_load(wtl_ctx *ctx, const char *path, wtl_csv_row_fn on_row, void *arg) {
  reader r = { .ctx = ctx, .path = path, .on_row = on_row, .arg = arg, .columns = -1, .line = 1, .row_line = 1 };
  struct csv_parser p;
  int64_t size;
  int fd;
  WTL_TRY(wtl_open_regular(ctx, path, &fd, &size));
  char *buf = wtl_alloc(ctx, CHUNK);
  csv_init(&p, CSV_STRICT | CSV_STRICT_FINI);
  csv_set_space_func(&p, never);
  csv_set_blk_size(&p, CHUNK); /* by which its field buffer grows */
  wtl_status s = buf ? read_rows(&r, &p, fd, buf) : WTL_ERR_MEMORY;
  csv_free(&p);
  close(fd);
  wtl_free(ctx, buf);
  wtl_free(ctx, r.text);
  wtl_free(ctx, r.start);
  wtl_free(ctx, r.len);
  wtl_free(ctx, (void *)r.field);
  return s;
}

wtl_status wtl_csv_field(wtl_text *out, const char *s, size_t n) {
  size_t before = out->n;
  if (n && memchr(s, 0, n)) return wtl_fail(out->ctx, WTL_ERR_ARG, "csv: a field with a NUL byte cannot be written");
  if (n > MAX_ROW_BYTES) return wtl_fail(out->ctx, WTL_ERR_ARG, "csv: a field of %zu bytes is longer than 16 MiB", n);
  bool quote = false;
  for (size_t i = 0; i < n; i++) quote = quote || strchr(",\"\r\n", s[i]);
  if (!quote) return n ? wtl_text_add(out, "%.*s", (int)n, s) : WTL_OK;
  wtl_status st = wtl_text_add(out, "\"");
  for (size_t i = 0; i < n && st == WTL_OK;) {
    const char *next = memchr(s + i, '"', n - i);
    size_t part = next ? (size_t)(next - s) - i : n - i;
    st = wtl_text_add(out, "%.*s%s", (int)part, s + i, next ? "\"\"" : "");
    i += part + (next != NULL);
  }
  if (st == WTL_OK) st = wtl_text_add(out, "\"");
  if (st != WTL_OK && out->s) { /* nothing or all of it */
    out->n = before;
    out->s[before] = 0;
  }
  return st;
}
