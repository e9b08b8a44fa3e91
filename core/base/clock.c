/* Clocks, in microseconds. */
#include <time.h>

#include "base.h"

static int64_t read_us(clockid_t id) {
  struct timespec t = { 0, 0 };
  clock_gettime(id, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t wtl_now_us(void) { return read_us(CLOCK_MONOTONIC); }

int64_t wtl_process_cpu_us(void) { return read_us(CLOCK_PROCESS_CPUTIME_ID); }
