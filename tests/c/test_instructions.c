/* Kernels built for a wider instruction set against those for every processor: the same bits, forward and backward, for
 * all the cases of all ops. Where the processor or the build has the least set only, there is nothing to compare. */
#include "op_cases.h"

static void same_bits(void **state) {
  int wider = 0;
  (void)state;
  for (int i = 0; i < OP_CASES; i++) {
    op_setup s;
    op_result least, most;
    op_setup_make(&op_cases[i], WTL_F32, &s);
    wtl_op_least_instructions = true;
    const wtl_op_kernels *plain = wtl_op_kernels_of(s.op, WTL_F32);
    OK(op_result_run(&s, &least));
    wtl_op_least_instructions = false;
    wider += wtl_op_kernels_of(s.op, WTL_F32) != plain;
    OK(op_result_run(&s, &most));
    if (!op_same_result(&least, &most))
      fail_msg("%s %s %s: other bits", op_cases[i].op, op_cases[i].inputs, op_cases[i].attrs);
    op_result_free(&least);
    op_result_free(&most);
    op_setup_free(&s);
  }
  print_message("           %d of %d cases have wider kernels here\n", wider, OP_CASES);
  assert_true(wider == 0 || wider == OP_CASES);
  if (wider == 0) skip();
}

int main(void) {
  const struct CMUnitTest tests[] = { CASE(same_bits) };
  return cmocka_run_group_tests_name("instructions", tests, NULL, NULL);
}
