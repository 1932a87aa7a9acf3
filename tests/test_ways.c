/* One operation in several ways (§ 11, § 12, § 48): equality, turns, crossovers; the study of a lesson (§ 51) and its
   pictures (§ 49). */
#include "prodml.h"
#include "test.h"
#include <fcntl.h>
#include <unistd.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

static void test_gemm(void) {
  static const int shape[][3] = {{1, 1, 1}, {4, 2, 3}, {5, 7, 11}, {14, 32, 256}, {63, 65, 300}, {3, 800, 270}, {40, 3, 600}, {2, 3, 0}};
  TEST("gemm ways");
  for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
    int M = shape[s][0], N = shape[s][1], K = shape[s][2];
    size_t a = (size_t)(M * K), b = (size_t)(K * N), c = (size_t)(M * N);
    float *A = malloc((a + b + 2 * c + 2) * sizeof *A), *B = A + a, *C = B + b, *want = C + c + 1;
    pml_rng r = pml_rng_seed(s);
    for (size_t i = 0; i < a + b; i++) A[i] = pml_rng_normal(&r);
    for (int m = 0; m < M; m++)
      for (int n = 0; n < N; n++) {
        float sum = 0;
        for (int k = 0; k < K; k++) sum = sum + A[m * K + k] * B[k * N + n];
        want[m * N + n] = sum;
      }
    pml_strict_set(true);
    for (int w = 0; w < PML_WAY_BLAS; w++) {
      memset(C, 0xFF, c * sizeof *C);
      want[c] = C[c] = 7; /* nothing behind the end */
      CHECK(pml_gemm_by((pml_way)w, C, A, B, M, N, K) == PML_OK);
      CHECK_MSG(!memcmp(C, want, c * sizeof *C) && C[c] == want[c], "%s %d %d %d", pml_way_name((pml_way)w), M, N, K);
    }
    pml_strict_set(false);
    for (int w = 0; w < 2; w++) /* plain and blocked do not know the mode */
      CHECK(pml_gemm_by((pml_way)w, C, A, B, M, N, K) == PML_OK && !memcmp(C, want, c * sizeof *C));
    if (!pml_blas_core()) CHECK(pml_gemm_by(PML_WAY_BLAS, C, A, B, M, N, K) == PML_E_UNSUPPORTED && strstr(pml_error(), "OpenBLAS"));
    else CHECK(pml_gemm_by(PML_WAY_BLAS, C, A, B, M, N, K) == PML_OK && fabs((double)(C[c - 1] - want[c - 1])) < 1e-3);
    free(A);
  }
  float x[1] = {0};
  CHECK(pml_gemm_by((pml_way)9, x, x, x, 1, 1, 1) == PML_E_USAGE && pml_gemm_by(PML_WAY_PLAIN, x, x, x, -1, 1, 1) == PML_E_USAGE);
  CHECK(pml_gemm_by(PML_WAY_SIMD, NULL, x, x, 1, 1, 1) == PML_E_USAGE && pml_gemm_by(PML_WAY_SIMD, NULL, NULL, NULL, 0, 4, 4) == PML_OK);
  CHECK(!strcmp(pml_way_name(PML_WAY_BLOCKED), "blocked") && !strcmp(pml_way_name((pml_way)77), "unknown"));
}

static void test_vectors(void) {
  float x[200], y[2][200];
  TEST("vector ways");
  for (size_t n = 0; n < 100; n++) {
    pml_rng r = pml_rng_seed(n);
    for (size_t i = 0; i < 200; i++) x[i] = pml_rng_normal(&r), y[0][i] = y[1][i] = pml_rng_normal(&r);
    pml_strict_set(true);
    float dot = pml_dot(x + 1, y[0] + 3, n), plain = pml_dot_plain(x + 1, y[0] + 3, n);
    pml_strict_set(false);
    CHECK(!memcmp(&dot, &plain, sizeof dot));
    pml_add(y[0] + 1, x, n);
    pml_add_plain(y[1] + 1, x, n);
    CHECK(!memcmp(y[0], y[1], sizeof y[0]));
  }
}

static void test_case(void) {
  pml_bench_case c;
  TEST("case");
  for (int op = 0; op <= PML_OP_GEMM; op++) {
    bool equal = false;
    double worst = 9;
    pml_strict_set(op == 1);
    CHECK(pml_bench_case_open(&c, (pml_op)op, 70, 3) == PML_OK && c.n == 70);
    CHECK(fabs(c.ops / c.bytes - (op == 0 ? 1 / 12.0 : op == 1 ? 0.25 : 70 / 6.0)) < 1e-12);
    for (int w = 0; w < PML_WAYS; w++) {
      if (!pml_bench_case_has((pml_op)op, (pml_way)w)) {
        CHECK(pml_bench_case_run(&c, (pml_way)w) == PML_E_UNSUPPORTED);
        continue;
      }
      CHECK(pml_bench_case_check(&c, (pml_way)w, &equal, &worst) == PML_OK && (equal || w == PML_WAY_BLAS) && worst <= 1);
      CHECK(pml_strict() == (op == 1));
    }
    c.got[c.out - 1] = nextafterf(c.want[c.out - 1], 9);
    memcpy(c.got, c.want, (c.out - 1) * sizeof *c.got);
    worst = pml_bench_case_compare(&c, &equal);
    CHECK(!equal && (op == PML_OP_ADD ? worst > 1e300 : worst > 0 && worst < 1));
    c.got[c.out - 1] = NAN;
    CHECK(pml_bench_case_compare(&c, &equal) > 1e300 && !equal);
    c.got[c.out - 1] = c.want[c.out - 1] + 1;
    CHECK(pml_bench_case_compare(&c, &equal) > 1);
    pml_bench_case_close(&c);
    pml_bench_case_close(&c);
  }
  pml_strict_set(false);
  CHECK(pml_bench_case_open(&c, PML_OP_DOT, 0, 1) == PML_E_USAGE && pml_bench_case_open(&c, PML_OP_GEMM, 8193, 1) == PML_E_USAGE);
  CHECK(pml_bench_case_open(&c, (pml_op)3, 8, 1) == PML_E_USAGE && c.a == NULL);
}

static int order[64], calls, stop_at;
static pml_status count(void *user, int which) {
  *(int *)user += 1;
  if (calls < 64) order[calls] = which;
  return ++calls == stop_at ? pml_fail(PML_E_CHECK, "enough") : (usleep(which ? 300 : 200), PML_OK);
}

static void test_turns(void) {
  static pml_bench_rounds r;
  int n = 0;
  TEST("turns");
  CHECK(pml_bench_turns(&r, count, &n, 2, 5, 10) == PML_OK && r.n == 2 && r.rounds == 5 && n == 14);
  for (int i = 4; i < 14; i++) CHECK(order[i] == i % 2); /* A B A B after the warm-up */
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < 5; i++) CHECK(r.seconds[k][i] >= (k ? 300e-6 : 200e-6) && r.seconds[k][i] < 5 && r.thread[k][i] < r.seconds[k][i] + 1e-4);
  CHECK(pml_bench_turns(&r, count, &n, 1, 50, 0) == PML_OK && r.rounds == 3);
  stop_at = calls + 4;
  CHECK(pml_bench_turns(&r, count, &n, 2, 5, 10) == PML_E_CHECK);
  CHECK(pml_bench_turns(&r, count, &n, 9, 5, 1) == PML_E_USAGE && pml_bench_turns(&r, count, &n, 1, 0, 1) == PML_E_USAGE);
  CHECK(pml_bench_turns(&r, count, &n, 1, 1001, 1) == PML_E_USAGE && pml_bench_turns(&r, count, &n, 0, 1, 1) == PML_E_USAGE);
}

static void test_crossover(void) {
  double x[] = {1, 10, 100, 1000}, a[] = {8, 8, 8, 8}, b[] = {1, 2, 32, 64}, touch[] = {1, 9, 8, 64}, never[] = {9, 9, 9, 1};
  TEST("crossover");
  CHECK(fabs(pml_bench_crossover(x, a, b, 4) - 10 * sqrt(10)) < 1e-9); /* 2 to 32: 8 is half-way */
  CHECK(pml_bench_crossover(x, b, a, 4) != pml_bench_crossover(x, b, a, 4));
  CHECK(isnan(pml_bench_crossover(x, a, never, 4)) && isnan(pml_bench_crossover(x, a, a, 4)) && isnan(pml_bench_crossover(x, a, b, 0)));
  CHECK(pml_bench_crossover(x, never, (double[]){10, 10, 10, 2}, 4) == 1);
  CHECK(fabs(pml_bench_crossover(x, a, touch, 4) - 100) < 1e-9); /* the last size where it did not lead */
}

static void test_machine(void) {
  static float data[4096];
  TEST("machine");
  data[5] = 3, data[4095] = 4;
#if defined(__x86_64__)
  CHECK(pml_cache_drop(data, sizeof data));
#endif
  pml_cache_drop(data, 0);
  CHECK(data[5] == 3 && data[4095] == 4);
  double plain = pml_bench_peak_by(PML_WAY_PLAIN), simd = pml_bench_peak_by(PML_WAY_SIMD);
  CHECK_MSG(plain > 1e6 && simd > 1e6 && plain < 1e12, "%g %g", plain, simd);
}

/* A lesson around one study, to be run and published. */
static struct { pml_study s; pml_roof roof[PML_ROOFS]; pml_number t[2]; } r;
static bool wrong;
static pml_status run(pml_ctx *ctx) {
  pml_status st = pml_measure_ways(ctx, &r.s, PML_OP_GEMM, 4, 2, 20, 3, 0.01);
  if (wrong) r.s.worst = 2, pml_expect(ctx, false, "planted");
  if (st == PML_OK) st = pml_measure_cold(ctx, r.t, PML_OP_DOT, PML_WAY_SIMD, 100, 3);
  pml_measure_roofs(ctx, r.roof, 65536);
  return st;
}
static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  pml_lesson_title(ctx, s, "Ways");
  pml_svg_study(s, pml_svg_body(s), &r.s, "n");
  return PML_OK;
}
static pml_status draw_roofs(pml_ctx *ctx, pml_svg *s) {
  const pml_study_mark m[] = {{&r.s, PML_WAY_PLAIN, 0, "first"}, {&r.s, PML_WAY_SIMD, -1, "last"}, {&r.s, PML_WAY_BLOCKED, 99, "none"}};
  pml_lesson_title(ctx, s, "Roofs");
  pml_svg_study_roofs(s, pml_svg_body(s), r.roof, PML_ROOFS, m, 3);
  return PML_OK;
}
static pml_lesson lesson = {.number = "09", .name = "ways", .title = "Ways", .summary = "Ways.", .file = __FILE__,
                            .sections = {48}, .result = &r, .result_size = sizeof r, .run = {run}, .draw = draw,
                            .pictures = {{"roofs", draw_roofs}}};

static int run_lesson(char *flag, char *value) {
  char *argv[] = {"ways", "--stdout", flag, value, NULL};
  fflush(stdout);
  int keep = dup(1), null = open("/dev/null", O_WRONLY);
  CHECK(null >= 0 && dup2(null, 1) == 1); /* stderr stays: a sanitizer speaks there */
  int code = pml_lesson_main(&lesson, value ? 4 : flag ? 3 : 2, argv);
  fflush(stdout);
  dup2(keep, 1), close(keep), close(null);
  return code;
}

static void test_study(void) {
  char dir[] = "/tmp/pml_ways_XXXXXX", home[64], path[128], *text;
  size_t len;
  TEST("study");
  CHECK(mkdtemp(dir) != NULL);
  snprintf(home, sizeof home, "%s", dir);
  CHECK(run_lesson(NULL, NULL) == 0 && r.s.n == 4 && r.s.ways >= 4 && r.s.equal && r.s.worst <= 1);
  CHECK(r.s.size[0] == 4 && r.s.size[3] == 20 && r.s.rate[PML_WAY_SIMD][3].n == 3 && r.t[0].n == 3 && r.roof[4].rate > 0);
  CHECK(pml_study_rate(&r.s, PML_WAY_PLAIN) > 0 && (pml_study_rate(&r.s, PML_WAY_BLAS) > 0) == (pml_blas_core() != NULL));
  wrong = true;
  CHECK(run_lesson(NULL, NULL) == 1);
  wrong = false;
  snprintf(path, sizeof path, "%s/a.svg", dir); /* no record: an empty chart, and no fault */
  CHECK(run_lesson("--diagram", path) == 0 && r.s.n == 4 && r.s.ways == 0 && pml_study_rate(&r.s, PML_WAY_PLAIN) == 0);
  CHECK(pml_file_read(path, &text, &len) == PML_OK && strstr(text, "Ways"));
  pml_free(text);
  snprintf(path, sizeof path, "%s/b.json", dir);
  CHECK(run_lesson("--record", path) == 0 && pml_file_read(path, &text, &len) == PML_OK);
  CHECK(strstr(text, "gemm 20, threads") && strstr(text, "dot 100, SIMD, cold") && strstr(text, "peak, plain"));
  pml_free(text);
  unlink(path);
  for (int i = 0; i < 2; i++) snprintf(path, sizeof path, "%s/a%s.svg", dir, i ? "_roofs" : ""), unlink(path);
  CHECK(rmdir(home) == 0);
}

static void test_roofline(void) {
  pml_svg *s;
  pml_buf out = {0};
  pml_roof roof[] = {{"memory", true, 10}, {"cache", true, 200}, {"one", false, 50}, {"all", false, 100}, {"none", false, 0}};
  double x[] = {0.25, 64}, y[] = {2.4, 80};
  const char *label[] = {"dot", "gemm"};
  pml_series p = {.n = 2, .x = x, .y = y, .labels = label, .mark = PML_MARK_POINTS};
  TEST("roofline");
  CHECK(pml_svg_create(&s, NULL) == PML_OK);
  pml_svg_roofline(s, pml_svg_body(s), roof, 5, &p, 1);
  CHECK_MSG(pml_svg_check(s, NULL) == PML_OK, "%s", pml_error());
  CHECK(pml_svg_render(s, &out) == PML_OK && strstr(out.data, "memory") && strstr(out.data, ">all<") && !strstr(out.data, ">none<"));
  pml_svg_free(s);
  pml_buf_free(&out);
  CHECK(pml_svg_create(&s, NULL) == PML_OK);
  pml_svg_roofline(s, pml_svg_body(s), roof, 2, &p, 1); /* no flat roof: nothing */
  CHECK(pml_svg_render(s, &out) == PML_OK && !strstr(out.data, "memory"));
  pml_svg_free(s);
  pml_buf_free(&out);
}

int main(void) {
  CHECK(pml_threads_set(2) == PML_OK);
  test_gemm();
  test_vectors();
  test_case();
  test_turns();
  test_crossover();
  test_machine();
  test_study();
  test_roofline();
  pml_threads_stop();
  return TEST_END();
}
