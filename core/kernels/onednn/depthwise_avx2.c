/* depthwise_loops.h for AVX2. */
#include <stdbool.h>
#include <stddef.h>

#include "depthwise.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2")))
#include "depthwise_loops.h"
const depthwise_loops *depthwise_avx2(void) { return __builtin_cpu_supports("avx2") ? &loops : NULL; }
#else
const depthwise_loops *depthwise_avx2(void) { return NULL; }
#endif
