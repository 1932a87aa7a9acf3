/* § 12: every GEMM kernel against the three loops, bit for bit, also for 10,000 random shapes (or the
   number in the first argument: fewer on emulated processors, which also try fewer large shapes).  Compiled with
   PRODML_USE_OPENBLAS like the library, the default mode is compared by a bound. */
#include "prodml.h"
#include "test.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

typedef struct {
  int M, N, K, pad;      /* pad: how much longer the stored rows are */
} shape;

#if defined(PRODML_USE_OPENBLAS)
static const int first_mode = 1; /* only strict mode promises these bits */
#else
static const int first_mode = 0;
#endif

static int n_cases = 10000;
static bool wild;        /* NaN, infinity and overflow too */
static size_t shift;     /* floats by which A, B and C begin after an aligned address */

/* Fills x[n] with numbers in [-1,1) and now and then 0, -0, a subnormal, a large one. */
static void fill(float *x, size_t n, uint64_t seed) {
  pml_rng r = pml_rng_seed(seed);
  static const float odd[] = {0.0f, -0.0f, 1e-40f, -3e-39f, 3e7f, 1.0f, 3e38f, -3e38f, INFINITY, NAN};
  for (size_t i = 0; i < n; i++) {
    uint32_t dice = pml_rng_below(&r, 40);
    x[i] = dice < 6 ? odd[dice] : 2.0f * pml_rng_uniform(&r) - 1.0f;
    if (wild && dice == 7) x[i] = odd[pml_rng_below(&r, 10)];
  }
}

/* NaN payloads are the processor's choice; everything else must have the same bits. */
static bool same(float a, float b) {
  uint32_t x, y;
  memcpy(&x, &a, 4);
  memcpy(&y, &b, 4);
  return x == y || (isnan(a) && isnan(b));
}

static size_t stored(int rows, int cols, int ld) {
  return rows && cols ? (size_t)(rows - 1) * (size_t)ld + (size_t)cols : 0;
}

/* The definition. */
static void three_loops(float *C, int ldc, const float *A, int lda, bool ta, const float *B, int ldb, bool tb,
                        const shape *s, bool accumulate, bool fused) {
  for (int m = 0; m < s->M; m++)
    for (int n = 0; n < s->N; n++) {
      float sum = accumulate ? C[(size_t)m * ldc + n] : 0.0f;
      for (int k = 0; k < s->K; k++) {
        float a = ta ? A[(size_t)k * lda + m] : A[(size_t)m * lda + k];
        float b = tb ? B[(size_t)n * ldb + k] : B[(size_t)k * ldb + n];
        if (fused) sum = fmaf(a, b, sum);
        else {
          float product = a * b;
          sum += product;
        }
      }
      C[(size_t)m * ldc + n] = sum;
    }
}

/* Whether pml_gemm's default mode fuses at this level: WASM has no such instruction. */
static bool fuses(pml_cpu_level_t level) {
#if defined(__FP_FAST_FMAF)
  return level != PML_CPU_SIMD128;
#else
  return level != PML_CPU_SCALAR && level != PML_CPU_SIMD128;
#endif
}

typedef struct {
  float *A, *B, *C, *start, *want;
  int lda, ldb, ldc;
  size_t a, b, c;
} data;

/* Exact sizes from malloc, so that AddressSanitizer sees one number too many. */
static data data_make(const shape *s, bool ta, bool tb, uint64_t seed) {
  data d = {0};
  d.lda = (ta ? s->M : s->K) + s->pad;
  d.ldb = (tb ? s->K : s->N) + s->pad;
  d.ldc = s->N + s->pad;
  d.a = ta ? stored(s->K, s->M, d.lda) : stored(s->M, s->K, d.lda);
  d.b = tb ? stored(s->N, s->K, d.ldb) : stored(s->K, s->N, d.ldb);
  d.c = stored(s->M, s->N, d.ldc);
  d.A = (float *)malloc((d.a + shift) * sizeof(float)) + shift;
  d.B = (float *)malloc((d.b + shift) * sizeof(float)) + shift;
  d.C = (float *)malloc((d.c + shift) * sizeof(float)) + shift;
  d.start = malloc(d.c * sizeof(float));
  d.want = malloc(d.c * sizeof(float));
  fill(d.A, d.a, seed);
  fill(d.B, d.b, seed + 1);
  fill(d.start, d.c, seed + 2);
  return d;
}

static void data_free(data *d) {
  free(d->A - shift);
  free(d->B - shift);
  free(d->C - shift);
  free(d->start);
  free(d->want);
}

static size_t first_difference(const float *x, const float *y, size_t n) {
  size_t i = 0;
  while (i < n && same(x[i], y[i])) i++;
  return i;
}

/* One shape, one choice of transposes: all levels and threads against the loops.
   The numbers between the rows of C must be those of before. */
static void compare(const shape *s, bool ta, bool tb, bool accumulate, bool strict) {
  static const int threads[] = {1, 2, 3, 7};
#if defined(PRODML_USE_OPENBLAS)
  if (!strict) return;
#endif
  data d = data_make(s, ta, tb, (uint64_t)(s->M * 31 + s->N * 7 + s->K));
  bool large = (double)s->M * s->N * s->K >= 65536;
  pml_strict_set(strict);
  int last = -1;
  for (int level = 0; level < PML_CPU_LEVELS; level++) {
    if (!pml_cpu_supports((pml_cpu_level_t)level)) continue;
    bool fused = !strict && fuses((pml_cpu_level_t)level);
    if (last != (int)fused) {
      memcpy(d.want, d.start, d.c * sizeof(float));
      three_loops(d.want, d.ldc, d.A, d.lda, ta, d.B, d.ldb, tb, s, accumulate, fused);
      last = (int)fused;
    }
    CHECK(pml_cpu_level_set((pml_cpu_level_t)level) == PML_OK);
    for (int t = 0; t < (large ? 4 : 1); t++) {
      CHECK(pml_threads_set(threads[t]) == PML_OK);
      memcpy(d.C, d.start, d.c * sizeof(float));
      pml_status st = pml_gemm(d.C, d.ldc, d.A, d.lda, ta, d.B, d.ldb, tb, s->M, s->N, s->K, accumulate);
      CHECK_MSG(st == PML_OK, "%s", pml_error());
      size_t i = first_difference(d.C, d.want, d.c);
      CHECK_MSG(i == d.c, "M%d N%d K%d pad%d ta%d tb%d acc%d %s %s %d threads: C[%zu,%zu] is %a, not %a", s->M,
                s->N, s->K, s->pad, ta, tb, accumulate, strict ? "strict" : "default",
                pml_cpu_level_name((pml_cpu_level_t)level), threads[t], i / (size_t)d.ldc, i % (size_t)d.ldc,
                (double)d.C[i], (double)d.want[i]);
    }
  }
  data_free(&d);
}

static void test_definition(void) {
  TEST("every kernel equals the three loops");
  static const shape shapes[] = {
      {1, 1, 1, 0},    {1, 33, 5, 3},   {3, 5, 7, 0},    {6, 16, 8, 0},    {14, 32, 256, 0}, {15, 33, 257, 1},
      {13, 31, 255, 5}, {28, 64, 16, 0}, {5, 770, 9, 2},  {41, 100, 300, 7}, {2, 17, 1030, 0}, {97, 3, 520, 1},
      {70, 1, 64, 0},  {16, 800, 24, 0}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i += n_cases < 10000 ? 3 : 1)
    for (int bits = 0; bits < 16; bits++)
      compare(&shapes[i], bits & 1, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0);
}

static void test_random_shapes(void) {
  TEST("random shapes");
  pml_rng r = pml_rng_seed(12);
  for (int i = 0; i < n_cases; i++) {
    bool small = i % 100 != 0;
    shape s = {(int)pml_rng_below(&r, small ? 18 : 41), (int)pml_rng_below(&r, small ? 36 : 81),
               (int)pml_rng_below(&r, small ? 20 : 61), (int)pml_rng_below(&r, 4)};
    wild = i % 4 == 0;
    shift = pml_rng_below(&r, 4);
    uint32_t bits = pml_rng_below(&r, 16);
    compare(&s, bits & 1, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0);
  }
  wild = false;
  shift = 0;
}

/* NaN and infinity of A and B reach every output that reads them, also through
   a factor of zero, and no other. */
static void test_not_finite(void) {
  TEST("NaN and infinity propagate");
  shape s = {30, 50, 300, 1};
  for (int level = 0; level < PML_CPU_LEVELS; level++)
    for (int strict = first_mode; strict < 2; strict++) {
      if (!pml_cpu_supports((pml_cpu_level_t)level)) continue;
      data d = data_make(&s, false, false, 5);
      pml_cpu_level_set((pml_cpu_level_t)level);
      pml_strict_set(strict != 0);
      d.A[3 * d.lda + 7] = NAN;
      d.A[29 * d.lda + 299] = INFINITY;
      d.B[299 * d.ldb + 49] = 0.0f;
      d.A[100] = 1.0f;
      d.B[100 * d.ldb + 20] = -INFINITY;
      d.A[8 * d.lda + 100] = 0.0f;
      three_loops(d.want, d.ldc, d.A, d.lda, false, d.B, d.ldb, false, &s, false,
                  !strict && fuses((pml_cpu_level_t)level));
      memcpy(d.C, d.start, d.c * sizeof(float));
      CHECK(pml_gemm(d.C, d.ldc, d.A, d.lda, false, d.B, d.ldb, false, s.M, s.N, s.K, false) == PML_OK);
      bool equal = true;
      for (int m = 0; m < s.M; m++)
        for (int n = 0; n < s.N; n++) equal = equal && same(d.C[m * d.ldc + n], d.want[m * d.ldc + n]);
      CHECK(equal);
      CHECK(isnan(d.C[29 * d.ldc + 49]) && isnan(d.C[8 * d.ldc + 20]) && isnan(d.C[3 * d.ldc]));
      CHECK(isinf(d.C[0 * d.ldc + 20]) && isfinite(d.C[0]) && isfinite(d.C[28 * d.ldc + 48]));
      data_free(&d);
    }
}

/* Default mode against the sum in double: K roundings of at most 2^-24 each, of
   partial sums at most Σ|a·b|.  Holds for every order of summation. */
static void test_bound(void) {
  TEST("default mode within the rounding bound");
  shape s = {37, 45, 600, 0};
  for (int bits = 0; bits < 8; bits++) {
    bool ta = bits & 1, tb = (bits & 2) != 0, accumulate = (bits & 4) != 0;
    data d = data_make(&s, ta, tb, 77);
    pml_strict_set(false);
    pml_cpu_level_set(pml_cpu_best());
    memcpy(d.C, d.start, d.c * sizeof(float));
    CHECK(pml_gemm(d.C, d.ldc, d.A, d.lda, ta, d.B, d.ldb, tb, s.M, s.N, s.K, accumulate) == PML_OK);
    double worst = 0;
    for (int m = 0; m < s.M; m++)
      for (int n = 0; n < s.N; n++) {
        double sum = accumulate ? (double)d.start[m * d.ldc + n] : 0, size = fabs(sum);
        for (int k = 0; k < s.K; k++) {
          double a = (double)d.A[ta ? k * d.lda + m : m * d.lda + k];
          double ab = a * (double)d.B[tb ? n * d.ldb + k : k * d.ldb + n];
          sum += ab;
          size += fabs(ab);
        }
        double error = fabs((double)d.C[m * d.ldc + n] - sum) / (size * s.K * 0x1p-24);
        if (error > worst) worst = error;
      }
    CHECK_MSG(worst <= 1.0, "ta%d tb%d acc%d: %g of the bound", ta, tb, accumulate, worst);
    data_free(&d);
  }
}

static void test_empty(void) {
  TEST("empty sizes");
  float c[6] = {1, 2, 3, 4, 5, 6}, x = 1;
  CHECK(pml_gemm(NULL, 0, NULL, 0, false, NULL, 0, false, 0, 0, 0, false) == PML_OK);
  CHECK(pml_gemm(c, 3, &x, 1, false, &x, 3, false, 0, 3, 1, false) == PML_OK && c[0] == 1);
  CHECK(pml_gemm(c, 3, NULL, 0, false, NULL, 2, false, 2, 2, 0, true) == PML_OK && c[0] == 1 && c[4] == 5);
  CHECK(pml_gemm(c, 3, NULL, 0, false, NULL, 2, false, 2, 2, 0, false) == PML_OK);
  CHECK(c[0] == 0 && c[1] == 0 && c[2] == 3 && c[3] == 0 && c[4] == 0 && c[5] == 6);
}

static void test_refused(void) {
  TEST("bad arguments give a sentence");
  float c[4] = {7, 7, 7, 7}, a[4] = {0}, b[4] = {0};
  CHECK(pml_gemm(c, 2, a, 2, false, b, 2, false, -1, 2, 2, false) == PML_E_USAGE);
  CHECK(strstr(pml_error(), "M=-1") != NULL);
  CHECK(pml_gemm(c, 1, a, 2, false, b, 2, false, 2, 2, 2, false) == PML_E_USAGE);
  CHECK(pml_gemm(c, 2, a, 1, false, b, 2, false, 2, 2, 2, false) == PML_E_USAGE);
  CHECK(pml_gemm(c, 2, a, 2, true, b, 1, true, 2, 2, 2, false) == PML_E_USAGE);
  CHECK(strstr(pml_error(), "ldb=1 at least 2") != NULL);
  CHECK(pml_gemm(c, 2, NULL, 2, false, b, 2, false, 2, 2, 2, false) == PML_E_USAGE);
  CHECK(pml_gemm(NULL, 2, a, 2, false, b, 2, false, 2, 2, 2, false) == PML_E_USAGE);
  CHECK(c[0] == 7 && c[3] == 7);
}

typedef struct {
  data *d;
  const shape *s;
  float *out;      /* [8][d->c] */
} nested;

static void nested_gemm(void *ctx, size_t begin, size_t end) {
  nested *j = (nested *)ctx;
  for (size_t i = begin; i < end; i++)
    pml_gemm(j->out + i * j->d->c, j->d->ldc, j->d->A, j->d->lda, false, j->d->B, j->d->ldb, true, j->s->M,
             j->s->N, j->s->K, false);
}

/* Eight products at once inside a parallel region: same bits, nothing kept. */
static void test_nested(void) {
  TEST("inside a parallel region");
  shape s = {60, 70, 80, 0};
  data d = data_make(&s, false, true, 9);
  nested j = {&d, &s, malloc(8 * d.c * sizeof(float))};
  pml_strict_set(true);
  pml_cpu_level_set(pml_cpu_best());
  pml_threads_set(3);
  size_t before = pml_memory_in_use();
  three_loops(d.want, d.ldc, d.A, d.lda, false, d.B, d.ldb, true, &s, false, false);
  pml_parallel(8, 1, nested_gemm, &j);
  for (size_t i = 0; i < 8; i++) CHECK(memcmp(j.out + i * d.c, d.want, d.c * sizeof(float)) == 0);
  CHECK(pml_memory_in_use() == before);
  free(j.out);
  data_free(&d);
}

static void *no_memory(size_t size) {
  (void)size;
  return NULL;
}

static void test_out_of_memory(void) {
  TEST("no memory for packing");
  float a = 2, b = 3, c = 5;
  pml_allocator_set(no_memory, free);
  CHECK(pml_gemm(&c, 1, &a, 1, false, &b, 1, false, 1, 1, 1, true) == PML_E_MEMORY && c == 5);
  pml_allocator_set(NULL, NULL);
  CHECK(pml_gemm(&c, 1, &a, 1, false, &b, 1, false, 1, 1, 1, true) == PML_OK && c == 11);
}

int main(int argc, char **argv) {
  if (argc > 1) n_cases = atoi(argv[1]);
  test_definition();
  test_random_shapes();
  test_not_finite();
  test_bound();
  test_empty();
  test_refused();
  test_nested();
  test_out_of_memory();
  pml_threads_stop();
  return TEST_END();
}
