/* The pieces of rng.c that fill tensors four numbers at a time, and those that tests compare with known answers. */
#ifndef WTL_RNG_H
#define WTL_RNG_H

#include "base.h"

void wtl_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);
/* wtl_rng_u32 and wtl_rng_normal at 4*block .. 4*block+3. */
void wtl_rng_block(const wtl_rng *r, uint64_t block, uint32_t out[4]);
void wtl_rng_normal_block(const wtl_rng *r, uint64_t block, double out[4]);
/* ln(x) for normal positive x; sin and cos of x/2^32 turns. No libm. */
double wtl_log(double x);
void wtl_sincos_turn(uint32_t x, double *sine, double *cosine);

#endif
