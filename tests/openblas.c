/* PRODML_USE_OPENBLAS: pml_gemm's default mode calls cblas_sgemm and stays within the rounding bound of
   the strict result; strict mode and inference never call it; training with it learns the same.
     cc -O2 tests/openblas.c -o out/openblas $(pkg-config --cflags --libs openblas) -lm -pthread
     out/openblas lessons/models/tutor.gguf */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#endif
/* The library's calls go through a function that counts them. */
#define cblas_sgemm counted_sgemm
#include <cblas.h>
#undef cblas_sgemm
void cblas_sgemm(const enum CBLAS_ORDER order, const enum CBLAS_TRANSPOSE ta, const enum CBLAS_TRANSPOSE tb,
                 const blasint M, const blasint N, const blasint K, const float alpha, const float *A,
                 const blasint lda, const float *B, const blasint ldb, const float beta, float *C,
                 const blasint ldc);
static int calls, threads_of_last;
void counted_sgemm(const enum CBLAS_ORDER order, const enum CBLAS_TRANSPOSE ta, const enum CBLAS_TRANSPOSE tb,
                   const blasint M, const blasint N, const blasint K, const float alpha, const float *A,
                   const blasint lda, const float *B, const blasint ldb, const float beta, float *C,
                   const blasint ldc) {
  calls++;
  threads_of_last = openblas_get_num_threads();
  cblas_sgemm(order, ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
}
#define cblas_sgemm counted_sgemm
#define PRODML_USE_OPENBLAS
#define PRODML_IMPLEMENTATION
#include "../prodml.h"
#include "test.h"

enum { MOST = 60, PAD = 3, ROOM = MOST * (MOST + PAD) };

static void one_shape(pml_rng *r) {
  static float A[ROOM], B[ROOM], C[ROOM], D[ROOM], E[ROOM], start[ROOM], a[ROOM], b[ROOM];
  int M = 1 + (int)pml_rng_below(r, MOST), N = 1 + (int)pml_rng_below(r, MOST), K = 1 + (int)pml_rng_below(r, MOST);
  bool ta = pml_rng_below(r, 2), tb = pml_rng_below(r, 2), accumulate = pml_rng_below(r, 2);
  int lda = (ta ? M : K) + (int)pml_rng_below(r, PAD), ldb = (tb ? K : N) + (int)pml_rng_below(r, PAD);
  int ldc = N + (int)pml_rng_below(r, PAD), before = calls;
  for (int i = 0; i < ROOM; i++) {
    A[i] = pml_rng_normal(r);
    B[i] = pml_rng_normal(r);
    C[i] = D[i] = start[i] = pml_rng_normal(r);
    a[i] = fabsf(A[i]);
    b[i] = fabsf(B[i]);
    E[i] = fabsf(start[i]);
  }
  pml_strict_set(true);
  CHECK(pml_gemm(D, ldc, A, lda, ta, B, ldb, tb, M, N, K, accumulate) == PML_OK && calls == before);
  CHECK(pml_gemm(E, ldc, a, lda, ta, b, ldb, tb, M, N, K, accumulate) == PML_OK && calls == before);
  pml_strict_set(false);
  CHECK(pml_gemm(C, ldc, A, lda, ta, B, ldb, tb, M, N, K, accumulate) == PML_OK && calls == before + 1);
  int wrong = 0, beside = 0;
  for (int m = 0; m < M; m++)
    for (int n = 0; n < ldc; n++) {
      int i = m * ldc + n;
      if (n >= N) beside += C[i] != start[i];
      else if (!(fabsf(C[i] - D[i]) <= 2 * (float)(K + 1) * 0x1p-24f * E[i])) wrong++;
    }
  CHECK_MSG(wrong == 0 && beside == 0, "M%d N%d K%d ta%d tb%d acc%d: %d wrong, %d beside", M, N, K, ta, tb, accumulate,
            wrong, beside);
}

static pml_status random_sequence(void *user, uint64_t c, pml_sequence *s) {
  int32_t ids[24];
  pml_rng r = pml_rng_seed(1000 + c);
  for (int i = 0; i < 24; i++) ids[i] = (int32_t)pml_rng_below(&r, (uint32_t)*(const int *)user);
  return pml_sequence_add(s, ids, 24, 1.0f);
}

static double loss_after(int steps) {
  pml_train_options o;
  pml_augment a;
  pml_trainer *t = NULL;
  double loss = (double)NAN;
  if (pml_train_preset("tiny", &o, &a) != PML_OK) return (double)NAN;
  o.source = random_sequence;
  o.source_user = &o.config.n_vocab;
  o.steps = steps;
  pml_status st = pml_trainer_create(&t, &o);
  for (int i = 0; i < steps && st == PML_OK; i++) {
    pml_train_progress p = {0};
    st = pml_trainer_step(t, &p);
    loss = p.loss;
  }
  pml_trainer_free(t);
  return loss;
}

static void test_inference(const char *path) {
  pml_model *m = NULL;
  pml_context *ctx = NULL;
  pml_seq seq = {0};
  int32_t ids[32] = {1, 2, 3};
  int before = calls;
  TEST("inference does not use OpenBLAS");
  CHECK(pml_model_open(&m, path, NULL) == PML_OK && pml_context_open(&ctx, m, NULL, NULL) == PML_OK);
  float *logits = m ? malloc(32 * (size_t)m->cfg.n_vocab * sizeof *logits) : NULL;
  pml_segment seg = {&seq, ids, 32, 32};
  CHECK(logits && pml_forward(ctx, &seg, 1, logits) == PML_OK && calls == before);
  free(logits);
  if (ctx) pml_context_seq_free(ctx, &seq);
  pml_context_close(ctx);
  pml_model_close(m);
}

int main(int argc, char **argv) {
  pml_rng r = pml_rng_seed(12);
  TEST("within the bound of the strict result");
  for (int i = 0; i < 300; i++) one_shape(&r);
  TEST("its threads are ours");
  float x = 2, y = 3, z = 0;
  for (int n = 1; n <= 2; n++) {
    pml_threads_set(n);
    CHECK(pml_gemm(&z, 1, &x, 1, false, &y, 1, false, 1, 1, 1, false) == PML_OK && z == 6 && threads_of_last == n);
  }
  if (argc > 1) test_inference(argv[1]);
  TEST("training");
  int before = calls;
  double blas = loss_after(8);
  CHECK(calls > before);
  pml_strict_set(true);
  before = calls;
  double strict = loss_after(8);
  CHECK_MSG(calls == before && fabs(blas - strict) < 1e-3 * strict, "losses %g and %g", blas, strict);
  pml_threads_stop();
  return TEST_END();
}
