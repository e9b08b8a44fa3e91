/* Arithmetic of registers that wrap. */
#include <stdio.h>

#include "counter.h"

int64_t wtl_counter_longest_us(const wtl_counter *c) {
  uint64_t us = c->range_uj / WTL_COUNTER_MAX_W; /* 1 uJ/us is 1 W */
  return us > INT64_MAX ? INT64_MAX : (int64_t)us;
}

void wtl_counter_lose(wtl_counter *c, wtl_reading *out, const char *fmt, ...) {
  va_list args;
  *out = (wtl_reading){ .ok = false };
  va_start(args, fmt);
  vsnprintf(out->reason, sizeof out->reason, fmt, args);
  va_end(args);
  c->known = false;
}

void wtl_counter_step(wtl_counter *c, int64_t now_us, uint64_t raw_uj, wtl_reading *out) {
  if (raw_uj > c->range_uj) {
    wtl_counter_lose(c, out, "reads %llu uJ, beyond its range", (unsigned long long)raw_uj);
    return;
  }
  *out = (wtl_reading){ .ok = true };
  if (c->known) {
    int64_t passed_us = now_us - c->last_us;
    bool fell = raw_uj < c->last_uj;
    uint64_t passed_uj = fell ? c->range_uj - c->last_uj + raw_uj : raw_uj - c->last_uj;
    if (passed_us > wtl_counter_longest_us(c)) {
      out->cut = true;
      snprintf(out->reason, sizeof out->reason, "not read for %.3g s, in which it can pass its range",
               (double)passed_us / 1e6);
    } else if (passed_uj > ((uint64_t)passed_us + WTL_COUNTER_SLACK_US) * WTL_COUNTER_MAX_W) {
      out->cut = true;
      snprintf(out->reason, sizeof out->reason, "%s: no power passes %.3g J in %.3g s", fell ? "was set back" : "jumped",
               (double)passed_uj / 1e6, (double)passed_us / 1e6);
    } else {
      c->sum_uj += (int64_t)passed_uj;
    }
  }
  out->energy_uj = c->sum_uj;
  c->known = true;
  c->last_uj = raw_uj;
  c->last_us = now_us;
}
