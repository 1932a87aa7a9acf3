/* Times pml_gemm beside OpenBLAS on the shapes of a training step.  Not a test.
   gcc -std=c11 -O2 -I. tests/bench_gemm.c tests/prodml_impl.c -o out/bench_gemm -lopenblas -lm -pthread
   out/bench_gemm [tokens=2000] [rounds=15] [threads=2]
   Each round times default, OpenBLAS and strict, one after the other, so a noisy
   neighbour disturbs all three alike; printed are the medians of the rounds' ratios
   with their lower and upper quartiles.  Look at the core that OpenBLAS names: one
   it does not know falls back to Prescott (SSE3) and flatters us four times.  Then
   set OPENBLAS_CORETYPE=SkylakeX (AVX-512) or Haswell (AVX2).  And set
   OPENBLAS_THREAD_TIMEOUT=4: its worker else spins on after each call and holds the
   second core while we are timed, which halves our rate. */
#include "prodml.h"
#include <stdlib.h>
#include <time.h>
#include <cblas.h>

typedef struct {
  const char *name;
  int M, N, K;
  bool ta, tb, accumulate;
} shape;

/* OpenBLAS's workers spin for 2^26 cycles after a call, on a core that ours want. */
static const struct timespec blas_spins = {0, 40000000};

enum { MAX_ROUNDS = 999, OURS = 0, BLAS = 1, STRICT = 2 };

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The q-quantile of x[n], which it sorts. */
static double quantile(double *x, int n, double q) {
  qsort(x, (size_t)n, sizeof *x, by_value);
  return x[(int)(q * (n - 1) + 0.5)];
}

static double time_one(int who, const shape *s, float *C, const float *A, const float *B) {
  int lda = s->ta ? s->M : s->K, ldb = s->tb ? s->K : s->N;
  pml_strict_set(who == STRICT);
  double t = pml_time();
  if (who == BLAS)
    cblas_sgemm(CblasRowMajor, s->ta ? CblasTrans : CblasNoTrans, s->tb ? CblasTrans : CblasNoTrans, s->M,
                s->N, s->K, 1.0f, A, lda, B, ldb, s->accumulate ? 1.0f : 0.0f, C, s->N);
  else if (pml_gemm(C, s->N, A, lda, s->ta, B, ldb, s->tb, s->M, s->N, s->K, s->accumulate) != PML_OK)
    fprintf(stderr, "%s\n", pml_error());
  return pml_time() - t;
}

static void measure(const shape *s, int rounds) {
  static double t[3][MAX_ROUNDS], blas[MAX_ROUNDS], strict[MAX_ROUNDS];
  size_t a = (size_t)s->M * (size_t)s->K, b = (size_t)s->N * (size_t)s->K, c = (size_t)s->M * (size_t)s->N;
  float *A = pml_alloc(a * sizeof *A), *B = pml_alloc(b * sizeof *B), *C = pml_calloc(c, sizeof *C);
  if (!A || !B || !C) return;
  pml_rng r = pml_rng_seed(1);
  for (size_t i = 0; i < a; i++) A[i] = pml_rng_uniform(&r) - 0.5f;
  for (size_t i = 0; i < b; i++) B[i] = pml_rng_uniform(&r) - 0.5f;
  for (int who = 0; who < 3; who++) time_one(who, s, C, A, B);
  for (int i = 0; i < rounds; i++) {
    for (int who = 0; who < 3; who++) {
      time_one(who, s, C, A, B);
      t[who][i] = time_one(who, s, C, A, B);
      if (who == BLAS) nanosleep(&blas_spins, NULL);
    }
    blas[i] = t[OURS][i] / t[BLAS][i];
    strict[i] = t[STRICT][i] / t[OURS][i];
  }
  double gflop = 2e-9 * s->M * s->N * s->K;
  printf("%-22s %5d %5d %5d | %7.1f %7.1f %7.1f | %5.2f [%4.2f %4.2f] | %5.2f [%4.2f %4.2f]\n", s->name,
         s->M, s->N, s->K, gflop / quantile(t[OURS], rounds, 0.5), gflop / quantile(t[BLAS], rounds, 0.5),
         gflop / quantile(t[STRICT], rounds, 0.5), quantile(blas, rounds, 0.5), quantile(blas, rounds, 0.25),
         quantile(blas, rounds, 0.75), quantile(strict, rounds, 0.5), quantile(strict, rounds, 0.25),
         quantile(strict, rounds, 0.75));
  fflush(stdout);
  pml_free(A);
  pml_free(B);
  pml_free(C);
}

int main(int argc, char **argv) {
  int T = argc > 1 ? atoi(argv[1]) : 2000, rounds = argc > 2 ? atoi(argv[2]) : 15;
  int threads = argc > 3 ? atoi(argv[3]) : 2;
  if (T < 1 || rounds < 1 || rounds > MAX_ROUNDS || pml_threads_set(threads) != PML_OK) return 2;
  openblas_set_num_threads(threads);
  const shape shapes[] = {
      {"qkv     X Wt", T, 768, 256, false, true, false},   {"proj    X Wt", T, 256, 256, false, true, false},
      {"up+gate X Wt", T, 1024, 256, false, true, false},  {"512 in  X Wt", T, 1024, 512, false, true, false},
      {"down    X Wt", T, 256, 512, false, true, false},   {"head    X Wt", T, 1280, 256, false, true, false},
      {"dX qkv  dY W", T, 256, 768, false, false, false},  {"dX up   dY W", T, 256, 1024, false, false, false},
      {"dX head dY W", T, 256, 1280, false, false, false}, {"dX 512  dY W", T, 512, 1024, false, false, false},
      {"dW qkv  dYt X", 768, 256, T, true, false, true},   {"dW proj dYt X", 256, 256, T, true, false, true},
      {"dW down dYt X", 256, 512, T, true, false, true},   {"dW 512  dYt X", 1024, 512, T, true, false, true},
      {"dW head dYt X", 1280, 256, T, true, false, true},  {"1000 cubed", 1000, 1000, 1000, false, false, false},
  };
  printf("%s, kernels %s, OpenBLAS core %s, %d threads, %d rounds\n", pml_cpu_model(),
         pml_cpu_level_name(pml_cpu_level()), openblas_get_corename(), threads, rounds);
  printf("%-22s %5s %5s %5s | %7s %7s %7s | %-17s | %s\n", "GFLOP/s (median)", "M", "N", "K", "default", "blas",
         "strict", "time default/blas", "time strict/default");
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) measure(&shapes[i], rounds);
  pml_threads_stop();
  return 0;
}
