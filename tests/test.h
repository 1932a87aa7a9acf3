/* The smallest test frame: CHECK counts, TEST names, the last line says how many. */
#ifndef PML_TEST_H
#define PML_TEST_H
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <math.h>
static int test_passed, test_failed, test_skipped;
static const char *test_name = "";
#define TEST(name) (test_name = (name))
#define CHECK(cond) do { if (cond) test_passed++; else { test_failed++; \
  printf("FAILED %s:%d [%s] %s\n", __FILE__, __LINE__, test_name, #cond); } } while (0)
#define CHECK_MSG(cond, ...) do { if (cond) test_passed++; else { test_failed++; \
  printf("FAILED %s:%d [%s] %s: ", __FILE__, __LINE__, test_name, #cond); printf(__VA_ARGS__); printf("\n"); } } while (0)
#define SKIP(why) do { test_skipped++; printf("skipped [%s] %s\n", test_name, why); } while (0)
#define TEST_END() (printf("%s: %d passed, %d failed, %d skipped\n", __FILE__, test_passed, test_failed, test_skipped), test_failed != 0)
#endif
