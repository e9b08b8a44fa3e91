/* Every public function with memory gone: the functions are those that core/include/wattle.h declares, and one without
 * a row in sweep_*.def fails. A row that may fail is run with the first allocation failing, the second, ..., until it
 * succeeds: each failure is WTL_ERR_MEMORY with a message, leaves no block, file or descriptor and no
 * out-parameter behind, and the same call then succeeds with the bits that it has in a world where nothing ever
 * failed. Ops and plans of them: test_sweep_ops.c; the functions of Lua: tests/lua/test_sweep.lua. */
#include "sweep.h"

#include <ctype.h>

static void mix_agreement(void *arg, const wtl_agree_row *row) {
  world *w = arg;
  mix_text(w, row->op);
}

static wtl_status mix_row(void *arg, int64_t row, const char *const *field, const size_t *len, int n) {
  (void)row;
  for (int i = 0; i < n; i++) mix(arg, field[i], len[i]);
  return WTL_OK;
}

/* ---- the rows, once as functions and once as a table ---- */

#define MAY(name, needs, ...) \
  static wtl_status row_##name(world *w) { \
    wtl_status s = WTL_OK; \
    (void)w; \
    __VA_ARGS__; \
    return s; \
  }
#define KEEPS MAY
#define NEVER MAY
#define SYSTEM MAY
/* On a graph of the row's own, so that its arrays grow from nothing; it is created before memory goes. */
#define GROWS(name, ...) \
  static wtl_status row_##name(world *w) { \
    wtl_graph *g = NULL; \
    wtl_status s = wtl_graph_create(ctx, WTL_F32, &g); \
    if (s != WTL_OK) return s; \
    __VA_ARGS__; \
    wtl_graph_release(g); \
    return s; \
  }
#include "sweep_base.def"
#include "sweep_graph.def"
#include "sweep_data.def"
#include "sweep_images.def"
#undef MAY
#undef KEEPS
#undef NEVER
#undef SYSTEM
#undef GROWS

typedef struct row {
  const char *name;
  enum { NEVER_ALLOCATES, CALLOC_MAY_FAIL, MAY_FAIL, MAY_FAIL_AND_KEEP } kind;
  int needs;
  wtl_status (*run)(world *w);
} row;

static const row rows[] = {
#define MAY(name, needs, ...) { #name, MAY_FAIL, needs, row_##name },
#define KEEPS(name, needs, ...) { #name, MAY_FAIL_AND_KEEP, needs, row_##name },
#define NEVER(name, needs, ...) { #name, NEVER_ALLOCATES, needs, row_##name },
#define SYSTEM(name, needs, ...) { #name, CALLOC_MAY_FAIL, needs, row_##name },
#define GROWS(name, ...) { #name, MAY_FAIL, NOTHING, row_##name },
#include "sweep_base.def"
#include "sweep_graph.def"
#include "sweep_data.def"
#include "sweep_images.def"
};
enum { ROWS = sizeof rows / sizeof *rows };

/* ---- what the header declares ---- */

/* The header without its comments and preprocessor lines. */
static char *declarations(void) {
  char *s = slurp("core/include/wattle.h", NULL), *to = s;
  for (const char *from = s; *from;) {
    if (from[0] == '/' && from[1] == '*') from = strstr(from, "*/") + 2;
    else if (*from == '#' && (from == s || from[-1] == '\n')) from += strcspn(from, "\n");
    else *to++ = *from++;
  }
  *to = '\0';
  return s;
}

/* The next "wtl_name(" at or after *at: its length, 0 at the end. *at moves there. */
static int next_function(const char **at) {
  for (const char *p = *at; (p = strstr(p, "wtl_")); p++) {
    int n = 0;
    while (islower((unsigned char)p[n]) || isdigit((unsigned char)p[n]) || p[n] == '_') n++;
    if (p[n] != '(' || isalnum((unsigned char)p[-1]) || p[-1] == '_') continue;
    *at = p;
    return n;
  }
  return 0;
}

static void every_function_has_a_row(void **state) {
  char *text = declarations();
  int declared = 0, bad = 0, n;
  bool seen[ROWS] = { false };
  (void)state;
  for (const char *at = text; (n = next_function(&at)); at += n, declared++) {
    int i = 0;
    while (i < ROWS && (strlen(rows[i].name) != (size_t)n || strncmp(rows[i].name, at, (size_t)n) != 0)) i++;
    if (i < ROWS) seen[i] = true;
    else print_error("%.*s has no row in tests/c/sweep_*.def\n", n, at), bad++;
  }
  for (int i = 0; i < ROWS; i++) {
    if (!seen[i]) print_error("%s has a row but is not in wattle.h\n", rows[i].name), bad++;
    for (int k = 0; k < i; k++)
      if (!strcmp(rows[i].name, rows[k].name)) print_error("%s has two rows\n", rows[i].name), bad++;
  }
  free(text);
  print_message("           %d functions declared, %d rows\n", declared, ROWS);
  assert_true(declared > 150);
  assert_int_equal(bad, 0);
}

/* ---- running rows ---- */

/* calloc of the core and of this program, made to fail from the n-th call on; 0 switches it off. */
static int calloc_fuse;
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size) {
  if (calloc_fuse == 1) return NULL;
  if (calloc_fuse > 1) calloc_fuse--;
  return __real_calloc(n, size);
}

static int entries(const char *path) {
  int n = 0;
  DIR *d = opendir(path);
  assert_non_null(d);
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

typedef struct held { uint64_t blocks; int files, descriptors; } held;

static held now_held(void) { return (held){ live(), entries(folder), entries("/proc/self/fd") }; }

static wtl_status run(const row *r, world *w) {
  wtl_status s = r->run(w);
  wtl_memory_fail_at(ctx, 0);
  calloc_fuse = 0;
  if (s == WTL_OK && w->text.n) mix(w, w->text.s, w->text.n);
  wtl_text_free(&w->text);
  wtl_text_init(&w->text, ctx);
  return s;
}

/* What the row computes where nothing ever failed. */
static uint64_t undisturbed(const row *r) {
  world w;
  make_world(&w, r->needs);
  wtl_status s = run(r, &w);
  if (s != WTL_OK) fail_msg("%s: %s: %s", r->name, wtl_status_name(s), wtl_message(ctx));
  drop_world(&w);
  return w.hash;
}

static void check_failure(const row *r, world *w, int n, wtl_status s, const held *before) {
  held after = now_held();
  if (s != WTL_ERR_MEMORY) fail_msg("%s: allocation %d: %s: %s", r->name, n, wtl_status_name(s), wtl_message(ctx));
  if (r->kind >= MAY_FAIL && !strstr(wtl_message(ctx), "memory")) fail_msg("%s: allocation %d: \"%s\"", r->name, n, wtl_message(ctx));
  if (w->written) fail_msg("%s: allocation %d fails, and something was written to an out-parameter", r->name, n);
  if (r->kind == MAY_FAIL_AND_KEEP) after.blocks = before->blocks, after.files = before->files; /* they go with the world */
  if (after.blocks != before->blocks || after.files != before->files || after.descriptors != before->descriptors)
    fail_msg("%s: allocation %d leaves %lld blocks, %d files, %d descriptors", r->name, n,
             (long long)(after.blocks - before->blocks), after.files - before->files, after.descriptors - before->descriptors);
}

/* One world for each n; the last is where nothing failed. Returns how many failed. */
static int sweep_row(const row *r) {
  uint64_t want = undisturbed(r);
  for (int n = 1; n < 5000; n++) {
    world w;
    uint64_t empty = live();
    make_world(&w, r->needs);
    held before = now_held();
    uint64_t begun = w.hash;
    if (r->kind >= MAY_FAIL) wtl_memory_fail_at(ctx, (uint64_t)n);
    else calloc_fuse = n;
    wtl_status s = run(r, &w);
    bool done = s == WTL_OK;
    if (!done) {
      check_failure(r, &w, n, s, &before);
      w.hash = begun;
      s = run(r, &w);
      if (s != WTL_OK) fail_msg("%s: after a failure: %s: %s", r->name, wtl_status_name(s), wtl_message(ctx));
    }
    if (w.hash != want) fail_msg("%s: after failure %d: other bits", r->name, n);
    drop_world(&w);
    if (live() != empty) fail_msg("%s: failure %d: its world leaves %lld blocks", r->name, n, (long long)(live() - empty));
    count_files(1);
    if (done) return n - 1;
  }
  fail_msg("%s never succeeds", r->name);
  return 0;
}

static void never_allocates(const row *r) {
  uint64_t want = undisturbed(r);
  world w;
  wtl_memory before, after;
  uint64_t empty = live();
  make_world(&w, r->needs);
  wtl_memory_stats(ctx, &before);
  wtl_memory_fail_at(ctx, 1);
  wtl_status s = run(r, &w);
  wtl_memory_stats(ctx, &after);
  if (s != WTL_OK) fail_msg("%s: with memory gone: %s: %s", r->name, wtl_status_name(s), wtl_message(ctx));
  if (after.allocations != before.allocations) fail_msg("%s allocates: its row is MAY, not NEVER", r->name);
  if (w.hash != want) fail_msg("%s: with memory gone: other bits", r->name);
  drop_world(&w);
  if (live() != empty) fail_msg("%s: its world leaves %lld blocks", r->name, (long long)(live() - empty));
  count_files(1);
}

static void every_row_with_memory_gone(void **state) {
  int failures = 0, may = 0;
  (void)state;
  for (int i = 0; i < ROWS; i++) {
    int n = 0;
    if (rows[i].kind == NEVER_ALLOCATES) never_allocates(&rows[i]);
    else n = sweep_row(&rows[i]);
    if (rows[i].kind != NEVER_ALLOCATES && n == 0) fail_msg("%s allocates nothing: its row is NEVER, not MAY", rows[i].name);
    failures += n;
    may += rows[i].kind != NEVER_ALLOCATES;
  }
  print_message("           %d failures in %d functions, %d functions that cannot fail\n", failures, may, ROWS - may);
}

int main(void) {
  const struct CMUnitTest tests[] = { CASE(every_function_has_a_row), CASE(every_row_with_memory_gone) };
  return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
