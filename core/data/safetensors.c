/* safetensors (github.com/huggingface/safetensors): u64 header length, a JSON header, the tensors' bytes. Read to the letter:
 * the bytes are covered by the tensors exactly, once and in full; anything else in the header is refused. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data.h"
#include "tensor.h"

#define MAX_HEADER 100000000u /* the reference library's own limit */
#define META "__metadata__"

/* Those of the reference library that have a type here, or fit into one; what is saved is of the first seven. */
static const struct { const char *name; wtl_element as; } dtypes[] = {
  { "F32", { WTL_F32, WTL_SAME, 4, false } },     { "F64", { WTL_F64, WTL_SAME, 8, false } },
  { "F16", { WTL_F16, WTL_SAME, 2, false } },     { "BF16", { WTL_BF16, WTL_SAME, 2, false } },
  { "I64", { WTL_I64, WTL_SAME, 8, false } },     { "I32", { WTL_I32, WTL_SAME, 4, false } },
  { "U8", { WTL_U8, WTL_SAME, 1, false } },       { "BOOL", { WTL_U8, WTL_FROM_BOOL, 1, false } },
  { "I8", { WTL_I32, WTL_FROM_I8, 1, false } },   { "I16", { WTL_I32, WTL_FROM_I16, 2, false } },
  { "U16", { WTL_I32, WTL_FROM_U16, 2, false } }, { "U32", { WTL_I64, WTL_FROM_U32, 4, false } },
};
#define N_DTYPES (sizeof dtypes / sizeof *dtypes)

/* One tensor as the header has it. */
typedef struct entry {
  const char *name;
  wtl_element as;
  wtl_shape shape;
  int64_t begin, end, position; /* bytes behind the header; place in the header */
} entry;

typedef struct file {
  wtl_ctx *ctx;
  const char *path;
  int fd;
  int64_t data_bytes; /* behind the header */
  json_t *header;
  entry *entry;
  int64_t n;
} file;

/* ---- reading the header ---- */

static wtl_status bad(file *f, const char *name, const char *what) {
  char shown[WTL_SHOWN] = "";
  return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: safetensors: %s%s%s", f->path, name ? wtl_shown(name, shown) : "",
                  name ? ": " : "", what);
}

static wtl_status parse_header(file *f, const char *text, size_t n) {
  json_error_t e;
  size_t used = n;
  while (used > 0 && text[used - 1] == ' ') used--;
  if (used < 2 || text[0] != '{' || text[used - 1] != '}') return bad(f, NULL, "the header is no JSON object");
  f->header = json_loadb(text, used, JSON_REJECT_DUPLICATES, &e);
  if (f->header) return WTL_OK;
  if (json_error_code(&e) == json_error_out_of_memory || !e.text[0]) {
    return wtl_fail(f->ctx, WTL_ERR_MEMORY, "%s: safetensors: out of memory", f->path);
  }
  char shown[WTL_SHOWN];
  return bad(f, "header", wtl_shown(e.text, shown));
}

static wtl_status read_header(file *f, int64_t size) {
  uint64_t n = 0;
  size_t got;
  WTL_TRY(wtl_read_up_to(f->ctx, f->path, f->fd, &n, 8, &got));
  if (got < 8) return bad(f, NULL, "shorter than its 8 bytes of header length");
  if (n > MAX_HEADER) {
    return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: safetensors: a header of %llu bytes, more than the limit of %u",
                    f->path, (unsigned long long)n, MAX_HEADER);
  }
  if ((int64_t)n > size - 8) {
    return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: safetensors: a header of %llu bytes, file has %lld", f->path,
                    (unsigned long long)n, (long long)size - 8);
  }
  char *text = wtl_alloc(f->ctx, n + 1);
  if (!text) return WTL_ERR_MEMORY;
  wtl_status s = wtl_read_up_to(f->ctx, f->path, f->fd, text, n, &got);
  if (s == WTL_OK) s = got == n ? parse_header(f, text, n) : bad(f, NULL, "became shorter while it was read");
  wtl_free(f->ctx, text);
  f->data_bytes = size - 8 - (int64_t)n;
  return s;
}

static wtl_status read_dtype(file *f, const char *name, const json_t *v, wtl_element *out) {
  if (!json_is_string(v)) return bad(f, name, "dtype is no string");
  for (size_t i = 0; i < N_DTYPES; i++) {
    if (strcmp(json_string_value(v), dtypes[i].name) == 0) {
      *out = dtypes[i].as;
      return WTL_OK;
    }
  }
  char shown[WTL_SHOWN];
  return wtl_fail(f->ctx, WTL_ERR_UNSUPPORTED, "%s: safetensors: %s: dtype %.40s is not supported", f->path, name,
                  wtl_shown(json_string_value(v), shown));
}

/* A list of up to `most` integers that are not negative. */
static wtl_status read_list(file *f, const char *name, const json_t *v, const char *what, size_t most, int64_t *out,
                            int *n) {
  if (!json_is_array(v))
    return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: safetensors: %s: %s is no list", f->path, name, what);
  if (json_array_size(v) > most) {
    return wtl_fail(f->ctx, WTL_ERR_UNSUPPORTED, "%s: safetensors: %s: %s has more than %zu numbers", f->path, name,
                    what, most);
  }
  *n = (int)json_array_size(v);
  for (int i = 0; i < *n; i++) {
    const json_t *e = json_array_get(v, (size_t)i);
    if (!json_is_integer(e) || json_integer_value(e) < 0) {
      return wtl_fail(f->ctx, WTL_ERR_FORMAT, "%s: safetensors: %s: %s holds something that is no size", f->path,
                      name, what);
    }
    out[i] = json_integer_value(e);
  }
  return WTL_OK;
}

static wtl_status read_entry(file *f, const char *key, const json_t *v, entry *e) {
  const json_t *offsets = json_object_get(v, "data_offsets");
  int64_t offset[2], bytes;
  int n;
  char text[WTL_SHAPE_TEXT], shown[WTL_SHOWN];
  const char *name = wtl_shown(key, shown);
  if (!json_is_object(v) || json_object_size(v) != 3)
    return bad(f, name, "not dtype, shape and data_offsets, and nothing else");
  WTL_TRY(read_dtype(f, name, json_object_get(v, "dtype"), &e->as));
  WTL_TRY(read_list(f, name, json_object_get(v, "shape"), "shape", WTL_MAX_DIMS, e->shape.size, &e->shape.ndim));
  if (json_array_size(offsets) != 2) return bad(f, name, "data_offsets is no list of two numbers");
  WTL_TRY(read_list(f, name, offsets, "data_offsets", 2, offset, &n));
  wtl_status s = wtl_shape_check(f->ctx, name, &e->shape, e->as.dtype);
  if (s != WTL_OK) return wtl_prefix(f->ctx, WTL_ERR_FORMAT, "%s: safetensors", f->path);
  bytes = wtl_shape_numel(&e->shape) * e->as.size;
  if (offset[1] < offset[0] || offset[1] > f->data_bytes || offset[1] - offset[0] != bytes) {
    return wtl_fail(f->ctx, WTL_ERR_FORMAT,
                    "%s: safetensors: %s: %s %s needs %lld bytes, data_offsets are [%lld,%lld] of %lld", f->path,
                    name, json_string_value(json_object_get(v, "dtype")), wtl_shape_text(&e->shape, text, sizeof text), (long long)bytes,
                    (long long)offset[0], (long long)offset[1], (long long)f->data_bytes);
  }
  e->name = key;
  e->begin = offset[0];
  e->end = offset[1];
  return WTL_OK;
}

static int by_bytes(const void *a, const void *b) {
  const entry *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  if (x->end != y->end) return x->end < y->end ? -1 : 1;
  return x->position < y->position ? -1 : 1; /* empty tensors */
}

static int by_position(const void *a, const void *b) {
  const entry *x = a, *y = b;
  return x->position < y->position ? -1 : 1;
}

/* From the header to entries in its order, whose bytes cover the data exactly. */
static wtl_status read_entries(file *f) {
  const char *name;
  json_t *v;
  f->entry = wtl_calloc(f->ctx, json_object_size(f->header) + 1, sizeof *f->entry);
  if (!f->entry) return WTL_ERR_MEMORY;
  json_object_foreach(f->header, name, v) {
    if (strcmp(name, META) == 0) continue;
    f->entry[f->n].position = f->n;
    WTL_TRY(read_entry(f, name, v, &f->entry[f->n]));
    f->n++;
  }
  qsort(f->entry, (size_t)f->n, sizeof *f->entry, by_bytes);
  int64_t at = 0;
  for (int64_t i = 0; i < f->n; i++) {
    if (f->entry[i].begin != at)
      return bad(f, f->entry[i].name,
                 f->entry[i].begin < at ? "overlaps another tensor" : "bytes before it belong to nothing");
    at = f->entry[i].end;
  }
  if (at != f->data_bytes) return bad(f, NULL, "bytes behind the last tensor");
  qsort(f->entry, (size_t)f->n, sizeof *f->entry, by_position);
  return WTL_OK;
}

static wtl_status read_meta(file *f, wtl_meta *out) {
  const char *key;
  json_t *v, *meta = json_object_get(f->header, META);
  wtl_meta m = { f->ctx, NULL, 0 };
  if (meta && !json_is_object(meta)) return bad(f, META, "no JSON object");
  m.s = wtl_calloc(f->ctx, 2 * json_object_size(meta) + 1, sizeof *m.s);
  wtl_status s = m.s ? WTL_OK : WTL_ERR_MEMORY;
  json_object_foreach(meta, key, v) {
    if (s == WTL_OK && !json_is_string(v)) s = bad(f, META, "a value that is no string");
    if (s != WTL_OK) break;
    m.s[2 * m.n] = wtl_strdup(f->ctx, key);
    m.s[2 * m.n + 1] = wtl_strdup(f->ctx, json_string_value(v));
    m.n++;
    if (!m.s[2 * m.n - 2] || !m.s[2 * m.n - 1]) s = WTL_ERR_MEMORY;
  }
  if (s == WTL_OK) *out = m;
  else wtl_meta_free(&m);
  return s;
}

/* ---- loading ---- */

/* Makes a tensor of zeros, untouched, for each entry. */
static wtl_status make_tensors(file *f, wtl_piece *piece, wtl_dict *d) {
  int64_t before = lseek(f->fd, 0, SEEK_CUR); /* behind the header */
  for (int64_t i = 0; i < f->n; i++) {
    const entry *e = &f->entry[i];
    wtl_tensor *t;
    WTL_TRY(wtl_tensor_create(f->ctx, e->as.dtype, &e->shape, &t));
    piece[i].name = e->name;
    piece[i].data = wtl_tensor_data(t);
    piece[i].n = wtl_tensor_numel(t);
    piece[i].as = e->as;
    piece[i].at = before + e->begin;
    wtl_status s = wtl_dict_append(d, e->name, t);
    wtl_tensor_release(t);
    WTL_TRY(s);
  }
  return WTL_OK;
}

static wtl_status read_file(file *f, int64_t size, wtl_dict *d, wtl_meta *meta) {
  WTL_TRY(read_header(f, size));
  WTL_TRY(read_entries(f));
  WTL_TRY(read_meta(f, meta));
  wtl_piece *piece = wtl_calloc(f->ctx, (size_t)f->n + 1, sizeof *piece);
  if (!piece) return WTL_ERR_MEMORY;
  wtl_status s = make_tensors(f, piece, d);
  if (s == WTL_OK) s = wtl_read_pieces(f->ctx, f->path, f->fd, "safetensors", piece, f->n);
  for (int64_t i = 0; s == WTL_OK && i < f->n; i++) d->item[i].finite = !atomic_load(&piece[i].nonfinite);
  wtl_free(f->ctx, piece);
  return s;
}

wtl_status wtl_safetensors_load_meta(wtl_ctx *ctx, const char *path, wtl_dict *out, wtl_meta *meta) {
  file f = { .ctx = ctx, .path = path };
  wtl_meta m = { ctx, NULL, 0 };
  wtl_dict d;
  int64_t size;
  WTL_TRY(wtl_open_regular(ctx, path, &f.fd, &size));
  wtl_dict_init(&d, ctx);
  wtl_status s = read_file(&f, size, &d, &m);
  close(f.fd);
  json_decref(f.header);
  wtl_free(ctx, f.entry);
  if (s == WTL_OK) {
    *out = d;
    *meta = m;
  } else {
    wtl_dict_free(&d);
    wtl_meta_free(&m);
  }
  return s;
}

wtl_status wtl_safetensors_load(wtl_ctx *ctx, const char *path, wtl_dict *out) {
  wtl_meta m;
  WTL_TRY(wtl_safetensors_load_meta(ctx, path, out, &m));
  wtl_meta_free(&m);
  return WTL_OK;
}

/* ---- saving ---- */

static const char *dtype_name(wtl_dtype d) {
  for (size_t i = 0; i < N_DTYPES; i++) {
    if (dtypes[i].as.dtype == d && dtypes[i].as.kind == WTL_SAME) return dtypes[i].name;
  }
  return NULL;
}

/* A JSON string. jansson is not asked to write: its json_dumps leaves out text, and says nothing, when memory is gone. */
static wtl_status add_string(wtl_text *out, const char *path, const char *text) {
  if (!wtl_is_utf8(text)) return wtl_fail(out->ctx, WTL_ERR_ARG, "%s: safetensors: \"%.200s\" is no UTF-8", path, text);
  WTL_TRY(wtl_text_add(out, "\""));
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    if (*p == '"' || *p == '\\') WTL_TRY(wtl_text_add(out, "\\%c", *p));
    else WTL_TRY(wtl_text_add(out, *p < 0x20 ? "\\u%04x" : "%c", *p));
  }
  return wtl_text_add(out, "\"");
}

static wtl_status add_meta(wtl_text *out, const char *path, const char *const *meta) {
  WTL_TRY(wtl_text_add(out, "\"" META "\":{"));
  for (int i = 0; meta[i]; i += 2) {
    if (!meta[i + 1])
      return wtl_fail(out->ctx, WTL_ERR_ARG, "%s: safetensors: metadata \"%.200s\" has no value", path, meta[i]);
    for (int k = 0; k < i; k += 2) {
      if (strcmp(meta[k], meta[i]) == 0)
        return wtl_fail(out->ctx, WTL_ERR_ARG, "%s: safetensors: metadata \"%.200s\" is there twice", path, meta[i]);
    }
    if (i) WTL_TRY(wtl_text_add(out, ","));
    WTL_TRY(add_string(out, path, meta[i]));
    WTL_TRY(wtl_text_add(out, ":"));
    WTL_TRY(add_string(out, path, meta[i + 1]));
  }
  return wtl_text_add(out, "}");
}

/* "w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]} */
static wtl_status add_entry(wtl_text *out, const char *path, const wtl_named *item, int64_t begin) {
  const wtl_shape *s = wtl_tensor_shape(item->tensor);
  if (strcmp(item->name, META) == 0)
    return wtl_fail(out->ctx, WTL_ERR_ARG, "%s: safetensors: no tensor may be called " META, path);
  WTL_TRY(add_string(out, path, item->name));
  WTL_TRY(wtl_text_add(out, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(wtl_tensor_dtype(item->tensor))));
  for (int i = 0; i < s->ndim; i++) WTL_TRY(wtl_text_add(out, "%s%lld", i ? "," : "", (long long)s->size[i]));
  return wtl_text_add(out, "],\"data_offsets\":[%lld,%lld]}", (long long)begin,
                      (long long)(begin + (int64_t)wtl_tensor_bytes(item->tensor)));
}

/* Tensors of 8-byte elements come first, then those of 4, 2 and 1, as in the reference library: so each is aligned in the
 * file, which some readers need. Calls fn with each in that order. */
static wtl_status in_file_order(const wtl_dict *d, wtl_status (*fn)(void *arg, int64_t i), void *arg) {
  for (size_t size = 8; size > 0; size /= 2) {
    for (int64_t i = 0; i < d->n; i++) {
      if (wtl_dtype_size(wtl_tensor_dtype(d->item[i].tensor)) == size) WTL_TRY(fn(arg, i));
    }
  }
  return WTL_OK;
}

typedef struct saving {
  const wtl_dict *d;
  wtl_writer *w;
  int64_t *begin, at; /* of each tensor; of the next */
} saving;

static wtl_status place_tensor(void *arg, int64_t i) {
  saving *s = arg;
  s->begin[i] = s->at;
  s->at += (int64_t)wtl_tensor_bytes(s->d->item[i].tensor);
  return WTL_OK;
}

/* The JSON, and spaces that make its length a multiple of 8. */
static wtl_status build_header(wtl_text *out, const char *path, const wtl_dict *d, const char *const *meta, const int64_t *begin) {
  bool with_meta = meta && meta[0];
  WTL_TRY(wtl_text_add(out, "{"));
  if (with_meta) WTL_TRY(add_meta(out, path, meta));
  for (int64_t i = 0; i < d->n; i++) {
    if (i || with_meta) WTL_TRY(wtl_text_add(out, ","));
    WTL_TRY(add_entry(out, path, &d->item[i], begin[i]));
  }
  WTL_TRY(wtl_text_add(out, "}"));
  WTL_TRY(wtl_text_add(out, "%*s", (int)((8 - out->n % 8) % 8), ""));
  if (out->n > MAX_HEADER)
    return wtl_fail(out->ctx, WTL_ERR_UNSUPPORTED, "%s: safetensors: a header of %zu bytes", path, out->n);
  return WTL_OK;
}

static wtl_status put_tensor(void *arg, int64_t i) {
  saving *s = arg;
  wtl_tensor *plain;
  WTL_TRY(wtl_tensor_as_contiguous(s->d->item[i].tensor, &plain));
  wtl_status st = wtl_writer_put(s->w, wtl_tensor_cdata(plain), wtl_tensor_bytes(plain));
  wtl_tensor_release(plain);
  return st;
}

wtl_status wtl_safetensors_save(wtl_ctx *ctx, const char *path, const wtl_dict *d, const char *const *meta) {
  wtl_writer w = { 0 };
  wtl_text header;
  saving order = { d, &w, wtl_calloc(ctx, (size_t)d->n + 1, sizeof(int64_t)), 0 };
  if (!order.begin) return WTL_ERR_MEMORY;
  wtl_text_init(&header, ctx);
  wtl_status s = in_file_order(d, place_tensor, &order);
  if (s == WTL_OK) s = build_header(&header, path, d, meta, order.begin);
  uint64_t length = header.n;
  if (s == WTL_OK) s = wtl_writer_open(ctx, path, &w);
  if (s == WTL_OK) s = wtl_writer_put(&w, &length, 8);
  if (s == WTL_OK) s = wtl_writer_put(&w, header.s, header.n);
  if (s == WTL_OK) s = in_file_order(d, put_tensor, &order);
  if (s == WTL_OK) s = wtl_writer_commit(&w);
  wtl_writer_abort(&w);
  wtl_text_free(&header);
  wtl_free(ctx, order.begin);
  return s;
}
