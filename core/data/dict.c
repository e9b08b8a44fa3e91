/* Names and tensors in order, the string pairs of a file's metadata, and names: are they
 * UTF-8, and how they stand in messages. */
#include <string.h>

#include "data.h"

void wtl_dict_init(wtl_dict *d, wtl_ctx *ctx) { *d = (wtl_dict){ ctx, NULL, 0, 0 }; }

void wtl_dict_free(wtl_dict *d) {
  for (int64_t i = 0; i < d->n; i++) {
    wtl_free(d->ctx, d->item[i].name);
    wtl_tensor_release(d->item[i].tensor);
  }
  wtl_free(d->ctx, d->item);
  *d = (wtl_dict){ d->ctx, NULL, 0, 0 };
}

wtl_tensor *wtl_dict_find(const wtl_dict *d, const char *name) {
  for (int64_t i = 0; i < d->n; i++) {
    if (strcmp(d->item[i].name, name) == 0) return d->item[i].tensor;
  }
  return NULL;
}

wtl_status wtl_dict_append(wtl_dict *d, const char *name, wtl_tensor *t) {
  if (d->n == d->cap) {
    int64_t cap = d->cap ? 2 * d->cap : 16;
    size_t old = (size_t)d->cap * sizeof *d->item;
    wtl_named *item = wtl_realloc(d->ctx, d->item, old, (size_t)cap * sizeof *item);
    if (!item) return WTL_ERR_MEMORY;
    d->item = item;
    d->cap = cap;
  }
  char *copy = wtl_strdup(d->ctx, name);
  if (!copy) return WTL_ERR_MEMORY;
  d->item[d->n++] = (wtl_named){ copy, wtl_tensor_retain(t), false };
  return WTL_OK;
}

wtl_status wtl_dict_add(wtl_dict *d, const char *name, wtl_tensor *t) {
  if (!name || !t) return wtl_fail(d->ctx, WTL_ERR_ARG, "dict: a name and a tensor are needed");
  if (wtl_dict_find(d, name)) return wtl_fail(d->ctx, WTL_ERR_ARG, "dict: \"%s\" is there already", name);
  return wtl_dict_append(d, name, t);
}

wtl_status wtl_meta_none(wtl_ctx *ctx, wtl_meta *out) {
  wtl_meta m = { ctx, wtl_calloc(ctx, 1, sizeof *m.s), 0 };
  if (!m.s) return WTL_ERR_MEMORY;
  *out = m;
  return WTL_OK;
}

void wtl_meta_free(wtl_meta *m) {
  for (int64_t i = 0; i < 2 * m->n; i++) wtl_free(m->ctx, m->s[i]);
  wtl_free(m->ctx, m->s);
  *m = (wtl_meta){ m->ctx, NULL, 0 };
}

bool wtl_is_utf8(const char *text) {
  const unsigned char *p = (const unsigned char *)text;
  while (*p) {
    int more = *p < 0x80 ? 0 : *p < 0xc2 ? -1 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : -1;
    if (more < 0) return false;
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
        (*p == 0xf4 && p[1] > 0x8f))
      return false;
    for (p++; more > 0; more--, p++) {
      if ((*p & 0xc0) != 0x80) return false;
    }
  }
  return true;
}

const char *wtl_shown(const char *name, char buf[WTL_SHOWN]) {
  size_t n = 0;
  for (; name[n] && n < 100; n++) buf[n] = (unsigned char)name[n] < ' ' || name[n] == 0x7f ? '?' : name[n];
  memcpy(buf + n, name[n] ? "..." : "", name[n] ? 4 : 1);
  return buf;
}
