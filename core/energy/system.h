/* What /proc says about the machine and this process. Each reader takes the file's path, so that tests can give another. */
#ifndef WTL_SYSTEM_H
#define WTL_SYSTEM_H

#include "base.h"

/* Time of all processors since boot, in clock ticks of 10 ms. */
typedef struct wtl_machine_cpu { bool ok; int64_t busy_us, steal_us; } wtl_machine_cpu;
/* From the first line of /proc/stat; ok is false where it cannot be read. Fails no context: any thread may call. */
wtl_machine_cpu wtl_machine_cpu_read(const char *path);

/* VmHWM of a /proc/PID/status in bytes; -1 where it is missing. */
int64_t wtl_peak_rss_read(const char *path);

#endif
