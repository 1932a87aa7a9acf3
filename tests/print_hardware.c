/* Prints what § 4 detects, as JSON: for the tests that run it elsewhere, under qemu or with another GPU driver.

     cc -O1 -I. tests/print_hardware.c -o print_hardware -lm -pthread */
#define PRODML_IMPLEMENTATION
#include "prodml.h"

int main(void) {
  static pml_hardware hw;
  pml_buf out = {0};
  if (pml_cpu_level_check() != PML_OK) {
    fprintf(stderr, "%s\n", pml_error());
    return 1;
  }
  pml_hardware_detect(&hw, NULL);
  pml_hardware_json(&out, &hw);
  printf("%s\n", out.data);
  for (int f = 0; f < PML_CPU_FEATURES; f++)
    if (pml_cpu_has((pml_cpu_feature)f)) printf("may use %s\n", pml_cpu_feature_name((pml_cpu_feature)f));
  pml_buf_free(&out);
  return 0;
}
