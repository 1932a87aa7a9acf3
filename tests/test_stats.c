/* § 9: every statistic against its definition, worked by hand or by a slow way. */
#include "prodml.h"
#include "test.h"

static bool near(double a, double b) { return fabs(a - b) <= 1e-12 * (1 + fabs(b)); }

static void test_by_hand(void) {
  TEST("values worked by hand");
  const double x[] = {3, 1, 4, 1, 5, 9, 2, 6};
  CHECK(near(pml_mean(x, 8), 3.875));
  CHECK(near(pml_stddev(x, 8), sqrt(52.875 / 7)));
  CHECK(near(pml_median(x, 8), 3.5));
  CHECK(near(pml_median(x, 7), 3));
  CHECK(near(pml_quantile(x, 8, 0), 1) && near(pml_quantile(x, 8, 1), 9));
  CHECK(near(pml_quantile(x, 8, 0.9), 6.9)); /* p = 6.3: 6 + 0.3·(9 - 6) */
  CHECK(near(pml_quantile(x, 8, -1), 1) && near(pml_quantile(x, 8, 2), 9));
  CHECK(near(pml_mad(x, 8), 2)); /* deviations .5 .5 1.5 1.5 2.5 2.5 2.5 5.5 */
  CHECK(x[0] == 3 && x[7] == 6);
}

static int up(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void test_mad_slow(void) {
  TEST("MAD equals the median of the deviations, n 1 to 200");
  pml_rng r = pml_rng_seed(3);
  double x[200], d[200];
  for (size_t n = 1; n <= 200; n++) {
    for (size_t i = 0; i < n; i++) x[i] = n % 3 ? (double)pml_rng_normal(&r) : (double)pml_rng_below(&r, 5);
    double m = pml_median(x, n);
    for (size_t i = 0; i < n; i++) d[i] = fabs(x[i] - m);
    CHECK_MSG(near(pml_mad(x, n), pml_median(d, n)), "n %zu", n);
  }
}

static void test_bootstrap(void) {
  TEST("the bootstrap interval: equal to resampling by hand, seeded, covers the truth");
  double x[101], copy[101], medians[1000], lo, hi, lo2, hi2;
  for (size_t n = 100; n <= 101; n++) {
    pml_rng r = pml_rng_seed(11);
    for (size_t i = 0; i < n; i++) x[i] = (double)pml_rng_normal(&r);
    pml_bootstrap(x, n, 0.95, 5, &lo, &hi);
    memcpy(copy, x, n * sizeof *x);
    qsort(copy, n, sizeof *x, up);
    pml_rng draw = pml_rng_seed(5);
    for (int k = 0; k < 1000; k++) {
      double s[101];
      for (size_t i = 0; i < n; i++) s[i] = copy[pml_rng_below(&draw, (uint32_t)n)];
      medians[k] = pml_median(s, n);
    }
    CHECK(near(lo, pml_quantile(medians, 1000, 0.025)) && near(hi, pml_quantile(medians, 1000, 0.975)));
    for (int percent = 1; percent < 100; percent += 7) {
      pml_bootstrap(x, n, percent / 100.0, 5, &lo2, &hi2);
      CHECK(near(lo2, pml_quantile(medians, 1000, (100 - percent) / 200.0)));
      CHECK(near(hi2, pml_quantile(medians, 1000, (100 + percent) / 200.0)));
    }
    pml_bootstrap(x, n, 0.95, 5, &lo2, &hi2);
    CHECK(lo == lo2 && hi == hi2);
    pml_bootstrap(x, n, 0.5, 5, &lo2, &hi2);
    CHECK(lo2 > lo && hi2 < hi);
  }
  int covered = 0;
  for (uint64_t s = 0; s < 200; s++) {
    pml_rng r = pml_rng_seed(s);
    for (int i = 0; i < 101; i++) x[i] = (double)pml_rng_normal(&r);
    pml_bootstrap(x, 101, 0.95, s, &lo, &hi);
    covered += lo <= 0 && hi >= 0;
  }
  CHECK_MSG(covered >= 180 && covered <= 199, "%d of 200", covered);
}

static void test_summary(void) {
  TEST("the summary repeats the single functions");
  double x[999];
  pml_rng r = pml_rng_seed(8);
  for (int i = 0; i < 999; i++) x[i] = (double)pml_rng_uniform(&r) * 10;
  pml_summary s;
  double lo, hi;
  CHECK(pml_summarize(&s, x, 999, 4) == PML_OK);
  pml_bootstrap(x, 999, 0.95, 4, &lo, &hi);
  CHECK(s.n == 999 && s.mean == pml_mean(x, 999) && s.stddev == pml_stddev(x, 999));
  CHECK(s.min == pml_quantile(x, 999, 0) && s.max == pml_quantile(x, 999, 1));
  CHECK(s.p50 == pml_median(x, 999) && s.p90 == pml_quantile(x, 999, 0.9));
  CHECK(s.p99 == pml_quantile(x, 999, 0.99) && s.mad == pml_mad(x, 999));
  CHECK(s.lo == lo && s.hi == hi && lo <= s.p50 && s.p50 <= hi);
}

static void test_edges(void) {
  TEST("one value, none, NaN, infinity");
  double one = 7, lo, hi, bad[] = {1, (double)NAN, 2}, inf[] = {(double)INFINITY, 1, 2};
  pml_summary s;
  CHECK(pml_mean(&one, 1) == 7 && pml_median(&one, 1) == 7 && pml_stddev(&one, 1) == 0);
  CHECK(pml_mad(&one, 1) == 0 && pml_quantile(&one, 1, 0.3) == 7);
  pml_bootstrap(&one, 1, 0.95, 1, &lo, &hi);
  CHECK(lo == 7 && hi == 7);
  CHECK(isnan(pml_mean(NULL, 0)) && isnan(pml_stddev(NULL, 0)) && isnan(pml_median(NULL, 0)));
  CHECK(pml_summarize(&s, NULL, 0, 1) == PML_E_USAGE && s.n == 0);
  CHECK(isnan(pml_median(bad, 3)) && isnan(pml_mad(bad, 3)));
  CHECK(pml_summarize(&s, bad, 3, 1) == PML_E_USAGE);
  pml_bootstrap(bad, 3, 0.95, 1, &lo, &hi);
  CHECK(isnan(lo) && isnan(hi));
  CHECK(pml_median(inf, 3) == 2 && isinf(pml_quantile(inf, 3, 1)));
  CHECK(pml_memory_in_use() == 0);
}

int main(void) {
  test_by_hand();
  test_mad_slow();
  test_bootstrap();
  test_summary();
  test_edges();
  return TEST_END();
}
