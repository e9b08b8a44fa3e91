/* A hardware register that counts microjoules upward and begins again at 0 after range_uj, turned into a sum that only
 * grows. A register says nothing about how often it began again, so an interval is known only if it was too short to pass
 * the range once; anything else is said to be lost, never guessed. */
#ifndef WTL_COUNTER_H
#define WTL_COUNTER_H

#include "source.h"

/* More than any domain draws (the largest server sockets take under 1000 W): at this power the range passes in
 * range_uj / WTL_COUNTER_MAX_W microseconds at the earliest. */
#define WTL_COUNTER_MAX_W 2000
/* Readings come a little late, and a register is brought up to date in steps: this much may pass beside the time. */
#define WTL_COUNTER_SLACK_US 1000000

typedef struct wtl_counter {
  uint64_t range_uj; /* > 0 */
  bool known;        /* is there a last reading to count from */
  uint64_t last_uj;
  int64_t last_us;
  int64_t sum_uj;
} wtl_counter;

/* The longest interval in which the register cannot have passed its range. */
int64_t wtl_counter_longest_us(const wtl_counter *c);
/* The register reads raw_uj. */
void wtl_counter_step(wtl_counter *c, int64_t now_us, uint64_t raw_uj, wtl_reading *out);
/* It cannot be read. */
void wtl_counter_lose(wtl_counter *c, wtl_reading *out, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
