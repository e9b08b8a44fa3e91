/* The pickle machine: a stack, marks on it, a memo, and one function an opcode. It makes values in chunks that are freed
 * together; names of functions and classes go to pickle_torch.c. Every opcode takes at least a byte and makes at most
 * one value, so that nothing grows faster than the pickle itself. */
#include "pickle.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 1000000
#define CHUNK 65536

typedef struct wtl_pk_chunk {
  struct wtl_pk_chunk *next;
  size_t used, bytes;
  _Alignas(16) char data[];
} chunk;

typedef struct machine {
  wtl_pickle *p;
  wtl_ctx *ctx;
  const unsigned char *at, *end;
  wtl_pk **stack, **memo;
  int64_t *mark; /* heights of the stack */
  int64_t top, stack_cap, marks, mark_cap, memo_cap, memo_used;
  bool stopped;
} machine;

/* ---- memory ---- */

void *wtl_pk_alloc(wtl_pickle *p, size_t bytes) {
  bytes = (bytes + 15) & ~(size_t)15;
  if (!p->chunk || p->chunk->bytes - p->chunk->used < bytes) {
    size_t room = bytes > CHUNK / 4 ? bytes : CHUNK;
    chunk *c = wtl_alloc(p->ctx, sizeof *c + room);
    if (!c) return NULL;
    c->bytes = room;
    if (p->chunk && room == bytes) { /* a large one on its own: the one in use stays in use */
      c->next = p->chunk->next;
      c->used = bytes;
      p->chunk->next = c;
      return c->data;
    }
    c->next = p->chunk;
    p->chunk = c;
  }
  void *v = p->chunk->data + p->chunk->used;
  p->chunk->used += bytes;
  return v;
}

wtl_status wtl_pk_bad(wtl_pickle *p, const char *what) {
  return wtl_fail(p->ctx, WTL_ERR_FORMAT, "%s: pickle: %s", p->path, what);
}

wtl_status wtl_pk_new(wtl_pickle *p, wtl_pk_kind kind, wtl_pk **out) {
  if (p->values == MAX_VALUES)
    return wtl_fail(p->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: more than %d values", p->path, MAX_VALUES);
  wtl_pk *v = wtl_pk_alloc(p, sizeof *v);
  if (!v) return WTL_ERR_MEMORY;
  p->values++;
  v->kind = kind;
  *out = v;
  return WTL_OK;
}

wtl_status wtl_pk_append(wtl_pickle *p, wtl_pk *list, wtl_pk *const *v, int64_t n) {
  if (n == 0) return WTL_OK;
  if (list->list.n + n > list->list.cap) {
    int64_t cap = list->list.n + n;
    if (list->list.cap) cap *= 2; /* it grows more than once */
    wtl_pk **item = wtl_pk_alloc(p, (size_t)cap * sizeof *item);
    if (!item) return WTL_ERR_MEMORY;
    if (list->list.n) memcpy(item, list->list.item, (size_t)list->list.n * sizeof *item);
    list->list.item = item;
    list->list.cap = cap;
  }
  memcpy(list->list.item + list->list.n, v, (size_t)n * sizeof *v);
  list->list.n += n;
  return WTL_OK;
}

/* Room for at least `need` elements. */
static wtl_status grow(wtl_ctx *ctx, void *array, int64_t *cap, int64_t need, size_t size) {
  void **a = array;
  if (need <= *cap) return WTL_OK;
  int64_t more = need > 2 * *cap ? need : 2 * *cap;
  if (more < 64) more = 64;
  void *b = wtl_realloc(ctx, *a, (size_t)*cap * size, (size_t)more * size);
  if (!b) return WTL_ERR_MEMORY;
  *a = b;
  *cap = more;
  return WTL_OK;
}

static wtl_status bad(machine *m, const char *what) { return wtl_pk_bad(m->p, what); }

/* ---- the bytes ---- */

static wtl_status take(machine *m, uint64_t n, const unsigned char **out) {
  if (n > (uint64_t)(m->end - m->at)) {
    m->p->cut = true;
    return bad(m, "ends in the middle");
  }
  *out = m->at;
  m->at += n;
  return WTL_OK;
}

static wtl_status take_number(machine *m, int bytes, uint64_t *out) {
  const unsigned char *p = NULL;
  WTL_TRY(take(m, (uint64_t)bytes, &p));
  *out = 0;
  for (int i = bytes - 1; i >= 0; i--) *out = *out << 8 | p[i];
  return WTL_OK;
}

/* To the next line's end, which is not part of it. */
static wtl_status take_line(machine *m, const char **s, size_t *n) {
  const unsigned char *end = memchr(m->at, '\n', (size_t)(m->end - m->at)), *p = NULL;
  if (!end) return take(m, UINT64_MAX, &p);
  *s = (const char *)m->at;
  *n = (size_t)(end - m->at);
  m->at = end + 1;
  return WTL_OK;
}

/* ---- the stack ---- */

static int64_t floor_of(const machine *m) { return m->marks ? m->mark[m->marks - 1] : 0; }

static wtl_status push(machine *m, wtl_pk *v) {
  if (m->top == MAX_VALUES) return bad(m, "a stack that is too high");
  WTL_TRY(grow(m->ctx, &m->stack, &m->stack_cap, m->top + 1, sizeof *m->stack));
  m->stack[m->top++] = v;
  return WTL_OK;
}

static wtl_status pop(machine *m, wtl_pk **v) {
  if (m->top <= floor_of(m)) return bad(m, "takes a value where there is none");
  *v = m->stack[--m->top];
  return WTL_OK;
}

/* The values above the last mark, which goes. They stay where they are until something is pushed. */
static wtl_status pop_mark(machine *m, wtl_pk ***v, int64_t *n) {
  if (m->marks == 0) return bad(m, "takes values from a mark where there is none");
  int64_t height = m->mark[--m->marks];
  *v = m->stack ? m->stack + height : NULL;
  *n = m->top - height;
  m->top = height;
  return WTL_OK;
}

static wtl_status push_new(machine *m, wtl_pk_kind kind, wtl_pk **v) {
  WTL_TRY(wtl_pk_new(m->p, kind, v));
  return push(m, *v);
}

static wtl_status push_text(machine *m, wtl_pk_kind kind, const char *s, size_t n) {
  wtl_pk *v = NULL;
  WTL_TRY(push_new(m, kind, &v));
  v->text.s = s;
  v->text.n = n;
  return WTL_OK;
}

static wtl_status push_int(machine *m, int64_t i) {
  wtl_pk *v = NULL;
  WTL_TRY(push_new(m, WTL_PK_INT, &v));
  v->i = i;
  return WTL_OK;
}

/* ---- opcodes: arg is what the table has beside the function ---- */

static wtl_status op_proto(machine *m, int arg) {
  uint64_t n = 0;
  (void)arg;
  WTL_TRY(take_number(m, 1, &n));
  return n <= 5 ? WTL_OK : wtl_fail(m->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: protocol %d", m->p->path, (int)n);
}

static wtl_status op_frame(machine *m, int arg) { /* how many bytes to read ahead: of no use in memory */
  uint64_t n = 0;
  const unsigned char *p = NULL;
  (void)arg;
  WTL_TRY(take_number(m, 8, &n));
  WTL_TRY(take(m, n, &p));
  m->at = p;
  return WTL_OK;
}

static wtl_status op_stop(machine *m, int arg) {
  (void)arg;
  if (m->marks || m->top != 1) return bad(m, "stops with other than one value");
  m->p->root = m->stack[0];
  m->stopped = true;
  return WTL_OK;
}

static wtl_status op_mark(machine *m, int arg) {
  (void)arg;
  if (m->marks == MAX_VALUES) return bad(m, "too many marks");
  WTL_TRY(grow(m->ctx, &m->mark, &m->mark_cap, m->marks + 1, sizeof *m->mark));
  m->mark[m->marks++] = m->top;
  return WTL_OK;
}

static wtl_status op_pop(machine *m, int arg) {
  wtl_pk *v = NULL;
  (void)arg;
  if (m->marks && m->top == floor_of(m)) { /* as Python: the mark itself goes */
    m->marks--;
    return WTL_OK;
  }
  return pop(m, &v);
}

static wtl_status op_pop_mark(machine *m, int arg) {
  wtl_pk **v;
  int64_t n;
  (void)arg;
  return pop_mark(m, &v, &n);
}

static wtl_status op_dup(machine *m, int arg) {
  (void)arg;
  if (m->top <= floor_of(m)) return bad(m, "takes a value where there is none");
  return push(m, m->stack[m->top - 1]);
}

static wtl_status op_none(machine *m, int arg) {
  wtl_pk *v = NULL;
  (void)arg;
  return push_new(m, WTL_PK_NONE, &v);
}

static wtl_status op_bool(machine *m, int arg) {
  wtl_pk *v = NULL;
  WTL_TRY(push_new(m, WTL_PK_BOOL, &v));
  v->i = arg;
  return WTL_OK;
}

static wtl_status op_int(machine *m, int bytes) {
  uint64_t n = 0;
  WTL_TRY(take_number(m, bytes, &n));
  return push_int(m, bytes == 4 ? (int64_t)(int32_t)(uint32_t)n : (int64_t)n);
}

/* Two's complement of any length, the lowest byte first. */
static wtl_status op_long(machine *m, int bytes) {
  uint64_t n = 0, v = 0;
  const unsigned char *p = NULL;
  WTL_TRY(take_number(m, bytes, &n));
  if (n > 255) return wtl_fail(m->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: an integer of %llu bytes", m->p->path,
                               (unsigned long long)n);
  WTL_TRY(take(m, n, &p));
  if (n > 8) return push_text(m, WTL_PK_BIG, (const char *)p, n);
  for (int i = 7; i >= 0; i--) v = v << 8 | (i < (int)n ? p[i] : n && p[n - 1] & 0x80 ? 0xff : 0);
  return push_int(m, (int64_t)v);
}

static bool parse_int(const char *s, size_t n, int64_t *out) {
  bool minus = n && *s == '-';
  int64_t v = 0;
  if (minus) s++, n--;
  if (n == 0) return false;
  for (size_t i = 0; i < n; i++) {
    if (s[i] < '0' || s[i] > '9' || __builtin_mul_overflow(v, 10, &v)) return false;
    if (__builtin_sub_overflow(v, s[i] - '0', &v)) return false; /* downwards: there is one more of those */
  }
  if (!minus && v == INT64_MIN) return false;
  *out = minus ? v : -v;
  return true;
}

static wtl_status op_int_line(machine *m, int is_long) {
  const char *s = NULL;
  size_t n = 0;
  int64_t v;
  WTL_TRY(take_line(m, &s, &n));
  if (!is_long && n == 2 && s[0] == '0' && (s[1] == '0' || s[1] == '1')) return op_bool(m, s[1] == '1');
  if (is_long && n && s[n - 1] == 'L') n--;
  if (!parse_int(s, n, &v)) return bad(m, "an integer that is none, or of more than 64 bits");
  return push_int(m, v);
}

static wtl_status push_real(machine *m, double f) {
  wtl_pk *v = NULL;
  WTL_TRY(push_new(m, WTL_PK_REAL, &v));
  v->f = f;
  return WTL_OK;
}

static wtl_status op_real(machine *m, int arg) { /* the highest byte first, alone among the numbers */
  const unsigned char *p = NULL;
  uint64_t bits = 0;
  double f;
  (void)arg;
  WTL_TRY(take(m, 8, &p));
  for (int i = 0; i < 8; i++) bits = bits << 8 | p[i];
  memcpy(&f, &bits, 8);
  return push_real(m, f);
}

static wtl_status op_real_line(machine *m, int arg) {
  char text[64], *end;
  const char *s = NULL;
  size_t n = 0;
  (void)arg;
  WTL_TRY(take_line(m, &s, &n));
  if (n == 0 || n >= sizeof text || memchr(s, 0, n)) return bad(m, "a number that is none");
  memcpy(text, s, n);
  text[n] = 0;
  double f = strtod(text, &end);
  return *end ? bad(m, "a number that is none") : push_real(m, f);
}

enum { AS_BYTES = 16 };

static wtl_status op_text(machine *m, int arg) {
  uint64_t n = 0;
  const unsigned char *p = NULL;
  WTL_TRY(take_number(m, arg & 15, &n));
  WTL_TRY(take(m, n, &p));
  return push_text(m, arg & AS_BYTES ? WTL_PK_BYTES : WTL_PK_STR, (const char *)p, n);
}

/* Protocol 0's text: a line, in quotes or not. torch.save never writes what would have to be escaped in it. */
static wtl_status op_text_line(machine *m, int quoted) {
  const char *s = NULL;
  size_t n = 0;
  WTL_TRY(take_line(m, &s, &n));
  if (quoted) {
    if (n < 2 || (s[0] != '\'' && s[0] != '"') || s[n - 1] != s[0]) return bad(m, "text without its quotes");
    s++, n -= 2;
  }
  for (size_t i = 0; i < n; i++)
    if (s[i] == '\\' || (unsigned char)s[i] >= 0x80)
      return wtl_fail(m->ctx, WTL_ERR_UNSUPPORTED, "%s: pickle: escaped text of protocol 0", m->p->path);
  return push_text(m, WTL_PK_STR, s, n);
}

/* ---- opcodes: containers ---- */

static wtl_status op_empty(machine *m, int kind) {
  wtl_pk *v = NULL;
  return push_new(m, (wtl_pk_kind)kind, &v);
}

/* A container of the n values at v, which stand above the stack. */
static wtl_status collect(machine *m, int kind, wtl_pk **v, int64_t n) {
  wtl_pk *c = NULL;
  if (kind == WTL_PK_DICT && n % 2) return bad(m, "a key without a value");
  WTL_TRY(wtl_pk_new(m->p, (wtl_pk_kind)kind, &c));
  WTL_TRY(wtl_pk_append(m->p, c, v, n));
  return push(m, c);
}

static wtl_status op_collect(machine *m, int kind) {
  wtl_pk **v = NULL;
  int64_t n = 0;
  WTL_TRY(pop_mark(m, &v, &n));
  return collect(m, kind, v, n);
}

static wtl_status op_tuple(machine *m, int n) {
  if (m->top - floor_of(m) < n) return bad(m, "takes a value where there is none");
  m->top -= n;
  return collect(m, WTL_PK_TUPLE, m->stack + m->top, n);
}

/* n values at v go into the container below them. */
static wtl_status add_to(machine *m, int kind, wtl_pk **v, int64_t n) {
  if (m->top <= floor_of(m) || m->stack[m->top - 1]->kind != (wtl_pk_kind)kind)
    return bad(m, kind == WTL_PK_LIST ? "appends to what is no list" : "sets an item of what is no dict");
  if (kind == WTL_PK_DICT && n % 2) return bad(m, "a key without a value");
  return wtl_pk_append(m->p, m->stack[m->top - 1], v, n);
}

static wtl_status op_add_one(machine *m, int kind) {
  int n = kind == WTL_PK_DICT ? 2 : 1;
  if (m->top - floor_of(m) < n) return bad(m, "takes a value where there is none");
  m->top -= n;
  return add_to(m, kind, m->stack + m->top, n);
}

static wtl_status op_add_all(machine *m, int kind) {
  wtl_pk **v = NULL;
  int64_t n = 0;
  WTL_TRY(pop_mark(m, &v, &n));
  return add_to(m, kind, v, n);
}

/* ---- opcodes: the memo ---- */

static wtl_status memo_index(machine *m, int bytes, uint64_t *out) {
  const char *s = NULL;
  size_t n = 0;
  int64_t i = 0;
  if (bytes) return take_number(m, bytes, out);
  WTL_TRY(take_line(m, &s, &n));
  if (!parse_int(s, n, &i) || i < 0) return bad(m, "a memo's number that is none");
  *out = (uint64_t)i;
  return WTL_OK;
}

static wtl_status put(machine *m, uint64_t i) {
  if (m->top <= floor_of(m)) return bad(m, "takes a value where there is none");
  if (i >= MAX_VALUES) return bad(m, "a memo's number that is too high");
  WTL_TRY(grow(m->ctx, &m->memo, &m->memo_cap, (int64_t)i + 1, sizeof *m->memo));
  if (!m->memo[i]) m->memo_used++;
  m->memo[i] = m->stack[m->top - 1];
  return WTL_OK;
}

static wtl_status op_put(machine *m, int bytes) {
  uint64_t i = 0;
  WTL_TRY(memo_index(m, bytes, &i));
  return put(m, i);
}

static wtl_status op_memoize(machine *m, int arg) {
  (void)arg;
  return put(m, (uint64_t)m->memo_used);
}

static wtl_status op_get(machine *m, int bytes) {
  uint64_t i = 0;
  WTL_TRY(memo_index(m, bytes, &i));
  if (i >= (uint64_t)m->memo_cap || !m->memo[i]) return bad(m, "takes from the memo what was not put there");
  return push(m, m->memo[i]);
}

/* ---- opcodes: names and calls ---- */

static wtl_status push_global(machine *m, const wtl_pk *module, const wtl_pk *name) {
  wtl_pk *v = NULL;
  WTL_TRY(wtl_pk_find(m->p, module, name, &v));
  return push(m, v);
}

static wtl_status op_global(machine *m, int arg) {
  wtl_pk module = { .kind = WTL_PK_STR }, name = { .kind = WTL_PK_STR };
  (void)arg;
  WTL_TRY(take_line(m, &module.text.s, &module.text.n));
  WTL_TRY(take_line(m, &name.text.s, &name.text.n));
  return push_global(m, &module, &name);
}

static wtl_status op_stack_global(machine *m, int arg) {
  wtl_pk *module = NULL, *name = NULL;
  (void)arg;
  WTL_TRY(pop(m, &name));
  WTL_TRY(pop(m, &module));
  if (name->kind != WTL_PK_STR || module->kind != WTL_PK_STR) return bad(m, "a name that is no text");
  return push_global(m, module, name);
}

/* Function and arguments, both popped. */
static wtl_status pop_call(machine *m, wtl_pk **f, wtl_pk **args) {
  WTL_TRY(pop(m, args));
  WTL_TRY(pop(m, f));
  if ((*f)->kind != WTL_PK_GLOBAL || (*args)->kind != WTL_PK_TUPLE) return bad(m, "calls what is no function");
  return WTL_OK;
}

static wtl_status op_reduce(machine *m, int arg) {
  wtl_pk *f = NULL, *args = NULL, *v = NULL;
  (void)arg;
  WTL_TRY(pop_call(m, &f, &args));
  WTL_TRY(wtl_pk_call(m->p, f, args, &v));
  return push(m, v);
}

static wtl_status op_newobj(machine *m, int arg) {
  wtl_pk *f = NULL, *args = NULL, *v = NULL;
  (void)arg;
  WTL_TRY(pop_call(m, &f, &args));
  WTL_TRY(wtl_pk_make(m->p, f, args, &v));
  return push(m, v);
}

static wtl_status op_build(machine *m, int arg) {
  wtl_pk *state = NULL;
  (void)arg;
  WTL_TRY(pop(m, &state));
  if (m->top <= floor_of(m)) return bad(m, "takes a value where there is none");
  return wtl_pk_build(m->p, m->stack[m->top - 1], state);
}

static wtl_status op_persistent(machine *m, int arg) {
  wtl_pk *id = NULL, *v = NULL;
  (void)arg;
  WTL_TRY(pop(m, &id));
  WTL_TRY(wtl_pk_persistent(m->p, id, &v));
  return push(m, v);
}

/* A class by name, to be made from what stands above the mark: only old-style classes of Python 2 come so. */
static wtl_status op_inst(machine *m, int arg) {
  wtl_pk module = { .kind = WTL_PK_STR }, name = { .kind = WTL_PK_STR }, *v;
  (void)arg;
  WTL_TRY(take_line(m, &module.text.s, &module.text.n));
  WTL_TRY(take_line(m, &name.text.s, &name.text.n));
  WTL_TRY(wtl_pk_find(m->p, &module, &name, &v));
  return bad(m, "an object made by INST");
}

static const char *const refused[] = { "a set", "an object made by OBJ", "an extension code", "a buffer kept elsewhere",
                                       "a persistent id that is text", "an object made by NEWOBJ_EX" };
enum { SET, OBJ, EXTENSION, BUFFER, TEXT_ID, NEWOBJ_EX };

static wtl_status op_refuse(machine *m, int what) {
  return wtl_fail(m->ctx, WTL_ERR_UNSUPPORTED,
                  "%s: pickle: refuses %s; only tensors, dicts, lists and numbers are read", m->p->path,
                  refused[what]);
}

static const struct { wtl_status (*run)(machine *m, int arg); int arg; } ops[256] = {
  [0x80] = { op_proto, 0 },       [0x95] = { op_frame, 0 },        ['.'] = { op_stop, 0 },
  ['('] = { op_mark, 0 },         ['0'] = { op_pop, 0 },           ['1'] = { op_pop_mark, 0 },
  ['2'] = { op_dup, 0 },          ['N'] = { op_none, 0 },          [0x88] = { op_bool, 1 },
  [0x89] = { op_bool, 0 },        ['K'] = { op_int, 1 },           ['M'] = { op_int, 2 },
  ['J'] = { op_int, 4 },          [0x8a] = { op_long, 1 },         [0x8b] = { op_long, 4 },
  ['I'] = { op_int_line, 0 },     ['L'] = { op_int_line, 1 },      ['G'] = { op_real, 0 },
  ['F'] = { op_real_line, 0 },    ['U'] = { op_text, 1 },          ['T'] = { op_text, 4 },
  [0x8c] = { op_text, 1 },        ['X'] = { op_text, 4 },          [0x8d] = { op_text, 8 },
  ['C'] = { op_text, 1 | AS_BYTES }, ['B'] = { op_text, 4 | AS_BYTES }, [0x8e] = { op_text, 8 | AS_BYTES },
  [0x96] = { op_text, 8 | AS_BYTES }, ['S'] = { op_text_line, 1 }, ['V'] = { op_text_line, 0 },
  [']'] = { op_empty, WTL_PK_LIST }, [')'] = { op_empty, WTL_PK_TUPLE }, ['}'] = { op_empty, WTL_PK_DICT },
  ['l'] = { op_collect, WTL_PK_LIST }, ['t'] = { op_collect, WTL_PK_TUPLE }, ['d'] = { op_collect, WTL_PK_DICT },
  [0x85] = { op_tuple, 1 },       [0x86] = { op_tuple, 2 },        [0x87] = { op_tuple, 3 },
  ['a'] = { op_add_one, WTL_PK_LIST }, ['s'] = { op_add_one, WTL_PK_DICT },
  ['e'] = { op_add_all, WTL_PK_LIST }, ['u'] = { op_add_all, WTL_PK_DICT },
  ['p'] = { op_put, 0 },          ['q'] = { op_put, 1 },           ['r'] = { op_put, 4 },
  [0x94] = { op_memoize, 0 },     ['g'] = { op_get, 0 },           ['h'] = { op_get, 1 },
  ['j'] = { op_get, 4 },          ['c'] = { op_global, 0 },        [0x93] = { op_stack_global, 0 },
  ['R'] = { op_reduce, 0 },       [0x81] = { op_newobj, 0 },       ['b'] = { op_build, 0 },
  ['Q'] = { op_persistent, 0 },   ['i'] = { op_inst, 0 },          ['o'] = { op_refuse, OBJ },
  [0x8f] = { op_refuse, SET },    [0x90] = { op_refuse, SET },     [0x91] = { op_refuse, SET },
  [0x82] = { op_refuse, EXTENSION }, [0x83] = { op_refuse, EXTENSION }, [0x84] = { op_refuse, EXTENSION },
  [0x97] = { op_refuse, BUFFER }, [0x98] = { op_refuse, BUFFER },  ['P'] = { op_refuse, TEXT_ID },
  [0x92] = { op_refuse, NEWOBJ_EX },
};

static wtl_status run(machine *m) {
  while (!m->stopped) {
    const unsigned char *op = NULL;
    WTL_TRY(take(m, 1, &op));
    if (!ops[*op].run)
      return wtl_fail(m->ctx, WTL_ERR_FORMAT, "%s: pickle: byte 0x%02x is no opcode", m->p->path, *op);
    WTL_TRY(ops[*op].run(m, ops[*op].arg));
  }
  return wtl_pk_unify(m->p);
}

wtl_status wtl_pickle_read(wtl_ctx *ctx, const char *path, const void *bytes, size_t n, wtl_pickle *p) {
  *p = (wtl_pickle){ .ctx = ctx, .path = path, .bytes = n };
  machine m = { .p = p, .ctx = ctx, .at = bytes, .end = (const unsigned char *)bytes + n };
  wtl_status s = run(&m);
  p->used = (size_t)(m.at - (const unsigned char *)bytes);
  wtl_free(ctx, m.stack);
  wtl_free(ctx, m.memo);
  wtl_free(ctx, m.mark);
  return s;
}

void wtl_pickle_free(wtl_pickle *p) {
  while (p->chunk) {
    chunk *next = p->chunk->next;
    wtl_free(p->ctx, p->chunk);
    p->chunk = next;
  }
  if (p->storage) wtl_free(p->ctx, p->storage);
  *p = (wtl_pickle){ 0 };
}

bool wtl_pk_is(const wtl_pk *v, const char *text) {
  return v->kind == WTL_PK_STR && v->text.n == strlen(text) && memcmp(v->text.s, text, v->text.n) == 0;
}
