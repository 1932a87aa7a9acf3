/* § 8 Numbers: conversions against every 16-bit value, elementary functions against the C library in
   double precision, and one hash over a million results that every compiler must reproduce. */
#include "prodml.h"
#include "test.h"

static float of_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}

static uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}

/* |got - want| in units of the last place of a float near `want`. */
static double ulp_f32(float got, double want) {
  if (isnan(want)) return isnan(got) ? 0 : 1e9;
  if (isinf(want) || fabs(want) >= 0x1.ffffffp127) return (double)got == want || isinf(got) ? 0 : 1e9;
  int e = ilogb(want == 0 ? 1e-300 : want);
  if (e < -126) e = -126;
  return fabs((double)got - want) / ldexp(1.0, e - 23);
}

static double ulp_f64(double got, long double want) {
  if (isnan(want)) return isnan(got) ? 0 : 1e9;
  if (isinf(got)) return fabsl(want) > 1.797e308L ? 0 : 1e9;
  int e = ilogbl(want == 0 ? 1e-4000L : want);
  if (e < -1022) e = -1022;
  return (double)(fabsl((long double)got - want) / ldexpl(1.0L, e - 52));
}

static void test_f16(void) {
  TEST("every f16 value");
  int bad = 0, bad_back = 0;
  for (uint32_t h = 0; h < 65536; h++) {
    int e = (int)(h >> 10) & 31, m = (int)h & 1023;
    double want = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    if (h & 0x8000) want = -want;
    float got = pml_f16_to_f32((uint16_t)h);
    if (e == 31) {
      if (m ? !isnan(got) : !(isinf(got) && !signbit(got) == !(h >> 15))) bad++;
      if (m ? !isnan(pml_f16_to_f32(pml_f32_to_f16(got))) : pml_f32_to_f16(got) != h) bad_back++;
    } else {
      if ((double)got != want || !signbit(got) != !(h & 0x8000)) bad++;
      if (pml_f32_to_f16(got) != h) bad_back++;
    }
  }
  CHECK(bad == 0);
  CHECK(bad_back == 0);

  TEST("f16 rounding: halfway goes to even, a hair beyond goes there");
  bad = 0;
  for (uint32_t h = 0; h < 0x7BFF; h++) {
    float lo = pml_f16_to_f32((uint16_t)h), hi = pml_f16_to_f32((uint16_t)(h + 1));
    float mid = of_bits(bits_of(0.5f * lo + 0.5f * hi)); /* exact: one more bit than f16 */
    uint16_t even = (uint16_t)(h & 1 ? h + 1 : h);
    if (pml_f32_to_f16(mid) != even || pml_f32_to_f16(-mid) != (even | 0x8000)) bad++;
    if (pml_f32_to_f16(nextafterf(mid, 0)) != h) bad++;
    if (pml_f32_to_f16(nextafterf(mid, 1e9f)) != h + 1) bad++;
  }
  CHECK(bad == 0);
  CHECK(pml_f32_to_f16(65504.0f) == 0x7BFF);
  CHECK(pml_f32_to_f16(65519.9961f) == 0x7BFF);
  CHECK(pml_f32_to_f16(65520.0f) == 0x7C00);
  CHECK(pml_f32_to_f16(-3e38f) == 0xFC00);
  CHECK(pml_f32_to_f16(0x1p-25f) == 0);
  CHECK(pml_f32_to_f16(0x1.000002p-25f) == 1);
  CHECK(pml_f32_to_f16(-0.0f) == 0x8000);
}

static void test_bf16(void) {
  TEST("bf16");
  int bad = 0;
  for (uint32_t h = 0; h < 65536; h++) {
    float f = pml_bf16_to_f32((uint16_t)h);
    if (bits_of(f) != h << 16) bad++;
    if (isnan(f) ? !isnan(pml_bf16_to_f32(pml_f32_to_bf16(f))) : pml_f32_to_bf16(f) != h) bad++;
  }
  CHECK(bad == 0);
  CHECK(pml_f32_to_bf16(of_bits(0x3F808000)) == 0x3F80); /* tie, even below */
  CHECK(pml_f32_to_bf16(of_bits(0x3F818000)) == 0x3F82); /* tie, even above */
  CHECK(pml_f32_to_bf16(of_bits(0x3F808001)) == 0x3F81);
  CHECK(pml_f32_to_bf16(of_bits(0x7F7FFFFF)) == 0x7F80); /* largest float: infinity */
  CHECK(isnan(pml_bf16_to_f32(pml_f32_to_bf16(of_bits(0x7F800001)))));
  CHECK(isnan(pml_bf16_to_f32(pml_f32_to_bf16(of_bits(0xFFFFFFFF)))));
}

static double worst;
static double worst_at;
static void note(double ulp, double x) {
  if (!(ulp <= worst)) {
    worst = ulp;
    worst_at = x;
  }
}
#define BOUND(bound)                                                                           \
  do {                                                                                         \
    CHECK_MSG(worst <= (bound), "%.3f ulp at %.17g, stated %g", worst, worst_at, (double)(bound)); \
    worst = 0;                                                                                 \
  } while (0)

/* Every 4099th float of the whole number line, both signs, and a denser range where asked. */
#define FLOATS(x, step) for (uint64_t u_ = 0; u_ < 0x100000000u; u_ += (step)) \
    for (float x = of_bits((uint32_t)u_), *once_ = &x; once_; once_ = NULL)

static void test_f32_functions(void) {
  TEST("expf");
  FLOATS(x, 16411) note(ulp_f32(pml_expf(x), exp((double)x)), (double)x);
  for (float x = -104.5f; x < 89.5f; x += 0.00093f) note(ulp_f32(pml_expf(x), exp((double)x)), (double)x);
  BOUND(1.0);
  CHECK(pml_expf(0.0f) == 1.0f && pml_expf(-0.0f) == 1.0f);
  CHECK(isinf(pml_expf(88.73f)) && isinf(pml_expf(INFINITY)) && !isinf(pml_expf(88.72f)));
  CHECK(pml_expf(-103.98f) == 0 && pml_expf(-INFINITY) == 0 && pml_expf(-103.9f) > 0);
  CHECK(isnan(pml_expf(NAN)));

  TEST("logf");
  FLOATS(x, 65537) if (x > 0) note(ulp_f32(pml_logf(x), log((double)x)), (double)x);
  for (float x = 0.5f; x < 2.0f; x += 0.0000231f) note(ulp_f32(pml_logf(x), log((double)x)), (double)x);
  BOUND(0.51);
  CHECK(isinf(pml_logf(0)) && pml_logf(0) < 0 && isnan(pml_logf(-1)) && isnan(pml_logf(NAN)));
  CHECK(isinf(pml_logf(INFINITY)) && pml_logf(1) == 0);

  TEST("tanhf");
  FLOATS(x, 65537) note(ulp_f32(pml_tanhf(x), tanh((double)x)), (double)x);
  for (float x = -10; x < 10; x += 0.000117f) note(ulp_f32(pml_tanhf(x), tanh((double)x)), (double)x);
  BOUND(2.0);
  CHECK(pml_tanhf(100.0f) == 1.0f && pml_tanhf(-INFINITY) == -1.0f && isnan(pml_tanhf(NAN)));
  CHECK(signbit(pml_tanhf(-0.0f)));

  TEST("sigmoidf");
  FLOATS(x, 65537) {
    double e = exp(-fabs((double)x)), want = isnan(x) ? (double)NAN : (x < 0 ? e : 1) / (1 + e);
    note(ulp_f32(pml_sigmoidf(x), want), (double)x);
  }
  for (float x = -104; x < 30; x += 0.00093f) note(ulp_f32(pml_sigmoidf(x), 1 / (1 + exp(-(double)x))), (double)x);
  BOUND(3.0);
  CHECK(pml_sigmoidf(0.0f) == 0.5f && pml_sigmoidf(INFINITY) == 1.0f && pml_sigmoidf(-INFINITY) == 0.0f);

  TEST("sinf, cosf");
  FLOATS(x, 65537) if (fabsf(x) <= 1e6f) {
    note(ulp_f32(pml_sinf(x), sin((double)x)), (double)x);
    note(ulp_f32(pml_cosf(x), cos((double)x)), (double)x);
  }
  BOUND(0.51);
  CHECK(isnan(pml_sinf(1.1e6f)) && isnan(pml_cosf(INFINITY)) && isnan(pml_sinf(NAN)));
}

static void test_f64_functions(void) {
  TEST("expd");
  for (double x = -746; x < 710.5; x += 0.00731) note(ulp_f64(pml_expd(x), expl((long double)x)), x);
  for (double x = -1; x < 1; x += 0.0000171) note(ulp_f64(pml_expd(x), expl((long double)x)), x);
  BOUND(1.0);
  CHECK(pml_expd(0) == 1 && pml_expd(-HUGE_VAL) == 0 && isinf(pml_expd(HUGE_VAL)) && isnan(pml_expd((double)NAN)));

  TEST("logd");
  for (double x = 0.3; x < 3; x += 0.0000171) note(ulp_f64(pml_logd(x), logl((long double)x)), x);
  for (double x = 1e-320; x < 1e308; x *= 1.0137) note(ulp_f64(pml_logd(x), logl((long double)x)), x);
  BOUND(1.0);
  CHECK(isnan(pml_logd(-1e-300)) && isinf(pml_logd(0)) && isinf(pml_logd(HUGE_VAL)) && isnan(pml_logd((double)NAN)));

  TEST("sind, cosd");
  for (double x = -1e6; x < 1e6; x += 17.317) {
    note(ulp_f64(pml_sind(x), sinl((long double)x)), x);
    note(ulp_f64(pml_cosd(x), cosl((long double)x)), x);
  }
  for (double x = -8; x < 8; x += 0.0000917) {
    note(ulp_f64(pml_sind(x), sinl((long double)x)), x);
    note(ulp_f64(pml_cosd(x), cosl((long double)x)), x);
  }
  for (int n = 1; n < 600000; n += 7) { /* next to multiples of pi/2, where digits cancel */
    double x = n * 1.5707963267948966;
    note(ulp_f64(n & 1 ? pml_cosd(x) : pml_sind(x), n & 1 ? cosl((long double)x) : sinl((long double)x)), x);
  }
  BOUND(1.0);
  CHECK(signbit(pml_sind(-0.0)) && pml_cosd(0) == 1 && isnan(pml_cosd(1.1e6)));

  TEST("powd");
  for (int i = 0; i < 256; i++) {
    double y = -2.0 * i / 256;
    note(ulp_f64(pml_powd(1e6, y), powl(1e6L, (long double)y)) / (2 + 2 * fabs(y * log(1e6))), y);
    note(ulp_f64(pml_powd(0.999, i), powl((long double)0.999, i)) / (2 + 2 * fabs(i * log(0.999))), i);
  }
  BOUND(1.0);
  CHECK(pml_powd(2, 0) == 1 && pml_powd(0, 2) == 0 && pml_powd(0, 0) == 1 && isinf(pml_powd(0, -1)));
  CHECK(isnan(pml_powd(-1, 0.5)));
}

/* FNV-1a over results; NaN counts as one value because its sign bit may differ. */
static uint64_t hash_f64(uint64_t h, double d) {
  uint64_t u;
  memcpy(&u, &d, 8);
  if (isnan(d)) u = 0x7FF8000000000000u;
  for (int i = 0; i < 8; i++, u >>= 8) h = (h ^ (u & 255)) * 0x100000001B3u;
  return h;
}

static void test_same_bits(void) {
  TEST("the same bits everywhere");
  uint64_t h = 0xCBF29CE484222325u;
  pml_rng r = pml_rng_seed(8);
  for (int i = 0; i < 100000; i++) {
    float f = of_bits((uint32_t)pml_rng_next(&r)), g = (pml_rng_uniform(&r) - 0.5f) * 40.0f;
    double d = (double)g + (double)pml_rng_uniform(&r) * 1e-9;
    h = hash_f64(h, (double)pml_expf(f));
    h = hash_f64(h, (double)pml_expf(g));
    h = hash_f64(h, (double)pml_logf(f));
    h = hash_f64(h, (double)pml_tanhf(g));
    h = hash_f64(h, (double)pml_sigmoidf(g));
    h = hash_f64(h, pml_expd(d));
    h = hash_f64(h, pml_logd(d));
    h = hash_f64(h, pml_sind(d * 1000));
    h = hash_f64(h, pml_cosd(d * 1000));
    h = hash_f64(h, pml_powd(d > 0 ? d : -d, d));
  }
  CHECK_MSG(h == 0x1bbc0158a537bf5eu, "hash of a million results is %016" PRIx64, h);
}

static void test_strict_flag(void) {
  TEST("strict flag");
  const char *env = getenv("PML_STRICT");
  CHECK(pml_strict() == (env && *env && strcmp(env, "0") != 0));
  pml_strict_set(true);
  CHECK(pml_strict());
  pml_strict_set(false);
  CHECK(!pml_strict());
}

int main(void) {
  test_f16();
  test_bf16();
  test_f32_functions();
  test_f64_functions();
  test_same_bits();
  test_strict_flag();
  return TEST_END();
}
