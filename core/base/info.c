/* What this build is and where it runs, as "key: value" lines. CMake defines WTL_GIT, WTL_FLAGS and WTL_COMPILER. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "ctx.h"

#ifndef WTL_GIT
#define WTL_GIT "NA"
#endif
#ifndef WTL_FLAGS
#define WTL_FLAGS "NA"
#endif
#ifndef WTL_COMPILER
#define WTL_COMPILER "NA"
#endif
#ifdef WTL_ONEDNN
#define PROVIDERS "onednn blas reference"
#define THREADING "libgomp"
#else
#define PROVIDERS "blas reference"
#define THREADING "pthreads"
#endif

/* Extensions that decide which kernels run, as /proc/cpuinfo spells them (x86, then ARM). */
static const char *const extensions[] = {
  "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni",
  "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
};

/* The text after "key<blanks>:" in a line of /proc/cpuinfo, or NULL. */
static const char *value_of(const char *line, const char *key) {
  size_t n = strlen(key);
  if (strncmp(line, key, n) != 0) return NULL;
  line += n + strspn(line + n, " \t");
  return *line == ':' ? line + 1 + strspn(line + 1, " ") : NULL;
}

static bool has_word(const char *words, const char *word) {
  size_t n = strlen(word);
  for (const char *p = words; (p = strstr(p, word)); p += n)
    if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\n' || p[n] == '\0')) return true;
  return false;
}

static char info[2048];

static void collect(void) {
  char model[128] = "NA", isa[512] = "", line[4096];
  FILE *f = fopen("/proc/cpuinfo", "r");
  bool have_isa = false;
  while (f && fgets(line, sizeof line, f) && !have_isa) {
    const char *v = value_of(line, "model name");
    if (v) snprintf(model, sizeof model, "%.*s", (int)strcspn(v, "\n"), v);
    v = value_of(line, "flags");
    if (!v) v = value_of(line, "Features");
    if (!v) continue;
    have_isa = true;
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++) {
      size_t n = strlen(isa);
      if (has_word(v, extensions[i])) snprintf(isa + n, sizeof isa - n, "%s%s", n ? " " : "", extensions[i]);
    }
  }
  if (f) fclose(f);
  snprintf(info, sizeof info,
           "version: " WTL_VERSION "\ngit: %s\ncompiler: %s\nflags: %s\ncpu: %s\ninstruction_sets: %s\nprocessors: %d\n"
           "providers: " PROVIDERS "\nthreading: " THREADING "\n",
           WTL_GIT, WTL_COMPILER, WTL_FLAGS, model, have_isa ? isa : "NA", wtl_processors());
}

const char *wtl_build_info(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, collect);
  return info;
}
