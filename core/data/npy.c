/* .npy (numpy.lib.format in NumPy's reference): a mark, a version, a header that is a Python dict written out, and the
 * elements of one array. The dict is read by a parser that knows nothing else. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "npy.h"

#define MARK "\x93NUMPY"

static wtl_status fail(const wtl_npy_place *at, wtl_status s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static wtl_status fail(const wtl_npy_place *at, wtl_status s, const char *fmt, ...) {
  char what[320];
  va_list args;
  va_start(args, fmt);
  vsnprintf(what, sizeof what, fmt, args);
  va_end(args);
  return wtl_fail(at->ctx, s, "%s%s%s: npy: %s", at->path, at->member ? ": " : "", at->member ? at->member : "", what);
}

static wtl_status bad(const wtl_npy_place *at, const char *what) { return fail(at, WTL_ERR_FORMAT, "%s", what); }

/* ---- types ---- */

/* The type after its byte order, in NumPy's short names. */
static const struct { const char *name; wtl_dtype dtype; wtl_element_kind kind; int size; } types[] = {
  { "f4", WTL_F32, WTL_SAME, 4 },     { "f8", WTL_F64, WTL_SAME, 8 },     { "f2", WTL_F16, WTL_SAME, 2 },
  { "i8", WTL_I64, WTL_SAME, 8 },     { "i4", WTL_I32, WTL_SAME, 4 },     { "u1", WTL_U8, WTL_SAME, 1 },
  { "b1", WTL_U8, WTL_FROM_BOOL, 1 }, { "i1", WTL_I32, WTL_FROM_I8, 1 },  { "i2", WTL_I32, WTL_FROM_I16, 2 },
  { "u2", WTL_I32, WTL_FROM_U16, 2 }, { "u4", WTL_I64, WTL_FROM_U32, 4 },
};
#define N_TYPES (sizeof types / sizeof *types)

static const struct { char kind; const char *what; } refused[] = {
  { 'O', "an array of Python objects, which only running their code could make" },
  { 'c', "complex numbers" }, { 'S', "text" }, { 'U', "text" }, { 'M', "dates" }, { 'm', "spans of time" },
  { 'V', "raw bytes (bfloat16 and structures are stored so)" },
  { 'f', "floats of a size that is not supported" }, { 'u', "unsigned integers that do not fit into i64" },
};

static wtl_status read_type(const wtl_npy_place *at, const char *text, size_t n, wtl_element *out) {
  char order = n ? text[0] : 0;
  if (n < 2 || !strchr("<>|", order)) return bad(at, "descr is no type that NumPy writes");
  for (size_t i = 0; i < N_TYPES; i++) {
    if (n != 3 || memcmp(text + 1, types[i].name, 2) != 0) continue;
    if ((order == '|') != (types[i].size == 1)) return bad(at, "descr has no byte order, or one of single bytes");
    *out = (wtl_element){ types[i].dtype, types[i].kind, types[i].size, order == '>' };
    return WTL_OK;
  }
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    if (text[1] == refused[i].kind)
      return fail(at, WTL_ERR_UNSUPPORTED, "dtype %.*s: %s", n < 40 ? (int)n : 40, text, refused[i].what);
  }
  return bad(at, "descr is no type that NumPy writes");
}

/* ---- the header's Python ---- */

typedef struct cursor { const wtl_npy_place *at; const char *p, *end; } cursor;

static void skip_spaces(cursor *c) {
  while (c->p < c->end && *c->p == ' ') c->p++;
}

/* The next character is this one: go past it, and the spaces behind. */
static bool take(cursor *c, char ch) {
  if (c->p == c->end || *c->p != ch) return false;
  c->p++;
  skip_spaces(c);
  return true;
}

static bool take_word(cursor *c, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0) return false;
  c->p += n;
  skip_spaces(c);
  return true;
}

/* A string without escapes; *s points into the header. */
static bool take_string(cursor *c, const char **s, size_t *n) {
  if (c->p == c->end || (*c->p != '\'' && *c->p != '"')) return false;
  const char quote = *c->p, *from = c->p + 1, *p = from;
  while (p < c->end && *p != quote && *p != '\\' && (unsigned char)*p >= ' ' && (unsigned char)*p < 0x7f) p++;
  if (p == c->end || *p != quote) return false;
  *s = from;
  *n = (size_t)(p - from);
  c->p = p + 1;
  skip_spaces(c);
  return true;
}

static bool take_size(cursor *c, int64_t *out) {
  const char *from = c->p;
  int64_t v = 0;
  while (c->p < c->end && *c->p >= '0' && *c->p <= '9') {
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *c->p - '0', &v)) return false;
    c->p++;
  }
  if (c->p == from || (*from == '0' && c->p - from > 1)) return false;
  skip_spaces(c);
  *out = v;
  return true;
}

/* () or (3,) or (3, 4) */
static wtl_status read_shape(cursor *c, wtl_shape *out) {
  const char *no_tuple = "shape is no tuple of sizes";
  bool comma = true;
  wtl_shape s = { 0 };
  int n = 0;
  if (!take(c, '(')) return bad(c->at, no_tuple);
  while (!take(c, ')')) {
    int64_t size;
    if (!comma || !take_size(c, &size)) return bad(c->at, no_tuple);
    if (n == WTL_MAX_DIMS) return fail(c->at, WTL_ERR_UNSUPPORTED, "shape has more than 8 sizes");
    s.size[n++] = size;
    comma = take(c, ',');
  }
  if (n == 1 && !comma) return bad(c->at, no_tuple); /* (3) is a number */
  s.ndim = n;
  *out = s;
  return WTL_OK;
}

enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
static const struct { const char *name; unsigned bit; } keys[] = { { "descr", DESCR }, { "fortran_order", ORDER }, { "shape", SHAPE } };

static wtl_status read_key(cursor *c, unsigned *seen, unsigned *key) {
  const char *s;
  size_t n;
  if (!take_string(c, &s, &n) || !take(c, ':')) return bad(c->at, "the header is no Python dict");
  for (int i = 0; i < 3; i++) {
    if (n != strlen(keys[i].name) || memcmp(s, keys[i].name, n) != 0) continue;
    if (*seen & keys[i].bit) return bad(c->at, "the header has a key twice");
    *key = keys[i].bit;
    *seen |= *key;
    return WTL_OK;
  }
  return bad(c->at, "the header has a key that is not descr, fortran_order or shape");
}

static wtl_status read_value(cursor *c, unsigned key, wtl_npy *h) {
  const char *s;
  size_t n;
  if (key == SHAPE) return read_shape(c, &h->shape);
  if (key == ORDER) {
    h->fortran = take_word(c, "True");
    return h->fortran || take_word(c, "False") ? WTL_OK : bad(c->at, "fortran_order is neither True nor False");
  }
  if (c->p < c->end && (*c->p == '[' || *c->p == '('))
    return fail(c->at, WTL_ERR_UNSUPPORTED, "dtype is a structure of several fields; save each as an array of its own");
  if (!take_string(c, &s, &n)) return bad(c->at, "descr is no string");
  return read_type(c->at, s, n, &h->as);
}

static wtl_status read_dict(cursor *c, wtl_npy *h) {
  unsigned seen = 0, key = 0;
  skip_spaces(c);
  if (!take(c, '{')) return bad(c->at, "the header is no Python dict");
  while (!take(c, '}')) {
    WTL_TRY(read_key(c, &seen, &key));
    WTL_TRY(read_value(c, key, h));
    if (!take(c, ',') && (c->p == c->end || *c->p != '}')) return bad(c->at, "the header is no Python dict");
  }
  if (c->p + 1 != c->end || *c->p != '\n') return bad(c->at, "the header does not end in spaces and a line feed");
  return seen == (DESCR | ORDER | SHAPE) ? WTL_OK : bad(c->at, "the header lacks descr, fortran_order or shape");
}

wtl_status wtl_npy_header_bytes(const wtl_npy_place *at, const unsigned char *b, size_t n, int64_t size, int64_t *out) {
  if (n < 6 || memcmp(b, MARK, 6) != 0) return bad(at, "does not begin as a .npy file");
  if (n < 8) return bad(at, "cut off in its first bytes");
  if (b[6] < 1 || b[6] > 3 || b[7] != 0)
    return fail(at, WTL_ERR_UNSUPPORTED, "version %d.%d is not known; 1.0, 2.0 and 3.0 are", b[6], b[7]);
  size_t prefix = b[6] == 1 ? 10 : 12;
  if (n < prefix) return bad(at, "cut off in its first bytes");
  int64_t length = b[8] | b[9] << 8;
  if (b[6] > 1) length |= (int64_t)b[10] << 16 | (int64_t)b[11] << 24;
  length += (int64_t)prefix;
  if (length > WTL_NPY_MOST) return bad(at, "a header of more than 65792 bytes");
  if (length > size) return bad(at, "cut off in its header");
  *out = length;
  return WTL_OK;
}

wtl_status wtl_npy_parse(const wtl_npy_place *at, const char *bytes, int64_t header, int64_t size, wtl_npy *out) {
  cursor c = { at, bytes + (bytes[6] == 1 ? 10 : 12), bytes + header };
  wtl_npy h = { .header = header };
  char text[WTL_SHAPE_TEXT];
  WTL_TRY(read_dict(&c, &h));
  wtl_status s = wtl_shape_check(at->ctx, "npy", &h.shape, h.as.dtype);
  if (s != WTL_OK) return wtl_prefix(at->ctx, WTL_ERR_FORMAT, "%s%s%s", at->path, at->member ? ": " : "", at->member ? at->member : "");
  int64_t bytes_of = wtl_shape_numel(&h.shape) * h.as.size;
  if (bytes_of != size - header)
    return fail(at, WTL_ERR_FORMAT, "%s of %d bytes each needs %lld bytes, %lld follow the header",
                wtl_shape_text(&h.shape, text, sizeof text), h.as.size, (long long)bytes_of, (long long)(size - header));
  h.fortran = h.fortran && h.shape.ndim > 1;
  *out = h;
  return WTL_OK;
}

/* ---- loading ---- */

wtl_status wtl_npy_tensor(wtl_ctx *ctx, const wtl_npy *h, wtl_tensor **out) {
  wtl_shape s = h->shape;
  for (int i = 0; h->fortran && i < s.ndim; i++) s.size[i] = h->shape.size[s.ndim - 1 - i];
  return wtl_tensor_create(ctx, h->as.dtype, &s, out);
}

wtl_status wtl_npy_finish(const wtl_npy *h, wtl_tensor *t, wtl_tensor **out) {
  int dims[WTL_MAX_DIMS];
  wtl_tensor *turned = NULL;
  if (!h->fortran) {
    *out = t;
    return WTL_OK;
  }
  for (int i = 0; i < h->shape.ndim; i++) dims[i] = h->shape.ndim - 1 - i;
  wtl_status s = wtl_tensor_permute(t, dims, &turned);
  if (s == WTL_OK) s = wtl_tensor_clone(turned, out);
  wtl_tensor_release(turned);
  wtl_tensor_release(t);
  return s;
}

static wtl_status read_header(const wtl_npy_place *at, int fd, int64_t size, wtl_npy *h) {
  unsigned char prefix[WTL_NPY_PREFIX];
  size_t got;
  int64_t n;
  WTL_TRY(wtl_read_up_to(at->ctx, at->path, fd, prefix, sizeof prefix, &got));
  WTL_TRY(wtl_npy_header_bytes(at, prefix, got, size, &n));
  char *bytes = wtl_alloc(at->ctx, (size_t)n + WTL_NPY_PREFIX); /* got may be more than n */
  if (!bytes) return WTL_ERR_MEMORY;
  memcpy(bytes, prefix, got);
  size_t rest = (size_t)n > got ? (size_t)n - got : 0, more;
  wtl_status s = wtl_read_up_to(at->ctx, at->path, fd, bytes + got, rest, &more);
  if (s == WTL_OK && more != rest) s = bad(at, "became shorter while it was read");
  if (s == WTL_OK) s = wtl_npy_parse(at, bytes, n, size, h);
  wtl_free(at->ctx, bytes);
  return s;
}

static wtl_status read_array(const wtl_npy_place *at, int fd, int64_t size, wtl_tensor **out, bool *finite) {
  wtl_npy h;
  wtl_tensor *t;
  WTL_TRY(read_header(at, fd, size, &h));
  WTL_TRY(wtl_npy_tensor(at->ctx, &h, &t));
  wtl_piece piece = { .name = "the array", .data = wtl_tensor_data(t), .n = wtl_tensor_numel(t), .as = h.as, .at = h.header };
  wtl_status s = wtl_read_pieces(at->ctx, at->path, fd, "npy", &piece, 1);
  if (s != WTL_OK) {
    wtl_tensor_release(t);
    return s;
  }
  *finite = !atomic_load(&piece.nonfinite);
  return wtl_npy_finish(&h, t, out);
}

wtl_status wtl_npy_load(wtl_ctx *ctx, const char *path, wtl_dict *out) {
  wtl_npy_place at = { ctx, path, NULL };
  wtl_tensor *t = NULL;
  bool finite = false;
  int fd;
  int64_t size;
  WTL_TRY(wtl_open_regular(ctx, path, &fd, &size));
  wtl_status s = read_array(&at, fd, size, &t, &finite);
  close(fd);
  if (s == WTL_OK) s = wtl_dict_append(out, "data", t);
  if (s == WTL_OK) out->item[out->n - 1].finite = finite;
  wtl_tensor_release(t);
  return s;
}

/* ---- saving ---- */

static const char *type_name(wtl_dtype d) {
  for (size_t i = 0; i < N_TYPES; i++) {
    if (types[i].dtype == d && types[i].kind == WTL_SAME) return types[i].name;
  }
  return NULL;
}

wtl_status wtl_npy_head_of(const wtl_npy_place *at, const wtl_tensor *t, wtl_npy_head *out) {
  const wtl_shape *s = wtl_tensor_shape(t);
  wtl_dtype d = wtl_tensor_dtype(t);
  const char *type = type_name(d);
  char sizes[WTL_MAX_DIMS * 21 + 1] = "", dict[sizeof out->b - 10];
  int m = 0;
  if (!type)
    return fail(at, WTL_ERR_DTYPE, "NumPy has no %s; convert the tensor to f32, or save as .safetensors", wtl_dtype_name(d));
  for (int i = 0; i < s->ndim; i++)
    m += snprintf(sizes + m, sizeof sizes - (size_t)m, i ? ", %lld" : "%lld", (long long)s->size[i]);
  int n = snprintf(dict, sizeof dict, "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s%s), }",
                   wtl_dtype_size(d) == 1 ? '|' : '<', type, sizes, s->ndim == 1 ? "," : "");
  size_t whole = (10 + (size_t)n + 1 + 63) / 64 * 64, length = whole - 10; /* 10: the prefix; 1: the line feed */
  memset(out->b, ' ', sizeof out->b);
  memcpy(out->b, MARK "\1\0", 8);
  out->b[8] = (char)(length & 255);
  out->b[9] = (char)(length >> 8);
  memcpy(out->b + 10, dict, (size_t)n);
  out->b[whole - 1] = '\n';
  out->n = whole;
  return WTL_OK;
}

static wtl_status write_array(wtl_writer *w, const wtl_npy_head *head, wtl_tensor *t) {
  wtl_tensor *plain;
  WTL_TRY(wtl_writer_put(w, head->b, head->n));
  WTL_TRY(wtl_tensor_as_contiguous(t, &plain));
  wtl_status s = wtl_writer_put(w, wtl_tensor_cdata(plain), wtl_tensor_bytes(plain));
  wtl_tensor_release(plain);
  return s;
}

wtl_status wtl_npy_save(wtl_ctx *ctx, const char *path, wtl_tensor *t) {
  wtl_npy_place at = { ctx, path, NULL };
  wtl_writer w = { 0 };
  wtl_npy_head head;
  WTL_TRY(wtl_npy_head_of(&at, t, &head));
  wtl_status s = wtl_writer_open(ctx, path, &w);
  if (s == WTL_OK) s = write_array(&w, &head, t);
  if (s == WTL_OK) s = wtl_writer_commit(&w);
  wtl_writer_abort(&w);
  return s;
}
