/* How close the kernels come to what the machine allows.  Not part of the test run.
     cc -std=c11 -O2 -I. tests/bench_kernels.c tests/prodml_impl.c -o out/bench_kernels -lm -pthread
   Decode: matvec over 256 MB of F16 weights, beside the rate at which the same pages can be read.
   Prefill: 512 rows, beside the peak of f32 multiply-adds.  Rounds alternate; medians are printed. */
#include "prodml.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET(t) __attribute__((target(t)))
#endif

enum { ROUNDS = 9 };

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *x, int n) {
  qsort(x, (size_t)n, sizeof *x, by_value);
  return x[n / 2];
}

/* Reads every cache line once; the sums keep the loads alive. */
typedef struct {
  const unsigned char *data;
  uint64_t sum[256];
} read_job;

#if defined(__x86_64__)
TARGET("avx2") static void read_range(void *ctx, size_t begin, size_t end) {
  read_job *j = ctx;
  const __m256i *p = (const __m256i *)(const void *)(j->data + (begin << 18));
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (size_t n = (end - begin) << 13; n; n -= 4, p += 4) {
    a = _mm256_xor_si256(a, _mm256_loadu_si256(p));
    b = _mm256_xor_si256(b, _mm256_loadu_si256(p + 1));
    c = _mm256_xor_si256(c, _mm256_loadu_si256(p + 2));
    d = _mm256_xor_si256(d, _mm256_loadu_si256(p + 3));
  }
  a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
  j->sum[begin % 256] = (uint64_t)_mm256_extract_epi64(a, 0);
}

#define FMA12(reg, w) \
  "vfmadd231ps %%" reg "0, %%" reg "0, %%" reg "1\n\tvfmadd231ps %%" reg "0, %%" reg "0, %%" reg "2\n\t" \
  "vfmadd231ps %%" reg "0, %%" reg "0, %%" reg "3\n\tvfmadd231ps %%" reg "0, %%" reg "0, %%" reg "4\n\t" \
  "vfmadd231ps %%" reg "0, %%" reg "0, %%" reg "5\n\tvfmadd231ps %%" reg "0, %%" reg "0, %%" reg "6\n\t" \
  "vfmadd231ps %%" reg "0, %%" reg "0, %%" reg "7\n\tvfmadd231ps %%" reg "0, %%" reg "0, %%" reg "8\n\t" \
  "vfmadd231ps %%" reg "0, %%" reg "0, %%" reg "9\n\tvfmadd231ps %%" reg "0, %%" reg "0, %%" reg "10\n\t" \
  "vfmadd231ps %%" reg "0, %%" reg "0, %%" reg "11\n\tvfmadd231ps %%" reg "0, %%" reg "0, %%" reg "12\n\t"
TARGET("avx2,fma") static void peak_avx2(void *ctx, size_t begin, size_t end) {
  (void)ctx;
  for (size_t i = begin * 100000; i < end * 100000; i++)
    __asm__ volatile(FMA12("ymm", 8)::: "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                     "xmm10", "xmm11", "xmm12");
}
TARGET("avx512f") static void peak_avx512(void *ctx, size_t begin, size_t end) {
  (void)ctx;
  for (size_t i = begin * 100000; i < end * 100000; i++)
    __asm__ volatile(FMA12("zmm", 16)::: "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                     "xmm10", "xmm11", "xmm12");
}
#endif

static double peak_gflops(void) {
#if defined(__x86_64__)
  if (pml_cpu_level() == PML_CPU_SCALAR) return 0;
  bool wide = pml_cpu_level() == PML_CPU_AVX512;
  double t = pml_time();
  pml_parallel(128, 1, wide ? peak_avx512 : peak_avx2, NULL);
  return 128e5 * 12 * (wide ? 32 : 16) / (pml_time() - t) * 1e-9;
#else
  return 0;
#endif
}

/* Numbers of ordinary size: subnormal ones would be timed for their own sake. */
static void fill(void *w, pml_dtype type, size_t n) {
  for (size_t i = 0; i < n; i++) {
    float f = (float)((int)(i * 2654435761u >> 20 & 255) - 127) * 0.01f;
    if (type == PML_F32) ((float *)w)[i] = f;
    else ((uint16_t *)w)[i] = type == PML_F16 ? pml_f32_to_f16(f) : pml_f32_to_bf16(f);
  }
}

static void decode(pml_dtype type, int n_in) {
  size_t bytes = (size_t)256 << 20, size = type == PML_F32 ? 4 : 2;
  int n_out = (int)(bytes / size / (size_t)n_in);
  unsigned char *w = pml_alloc(bytes);
  float *x = pml_alloc((size_t)n_in * 4), *y = pml_alloc((size_t)n_out * 4);
  if (!w || !x || !y) return;
  fill(w, type, (size_t)n_out * (size_t)n_in);
  for (int i = 0; i < n_in; i++) x[i] = 1.0f / (float)(i + 1);
  pml_mat m = {type, n_out, n_in, w};
  static read_job j;
  j.data = w;
  double read[ROUNDS], ours[ROUNDS], ratio[ROUNDS];
  for (int r = 0; r < ROUNDS; r++) {
    double t0 = pml_time();
#if defined(__x86_64__)
    pml_parallel(bytes >> 18, 4, read_range, &j);
#endif
    double t1 = pml_time();
    pml_linear(y, x, 1, &m, NULL);
    double t2 = pml_time();
    read[r] = (double)bytes / (t1 - t0) * 1e-9;
    ours[r] = (double)n_out * n_in * (double)size / (t2 - t1) * 1e-9;
    ratio[r] = ours[r] / read[r];
  }
  printf("decode  %-4s K %5d   %6.1f GB/s, pages read at %6.1f GB/s: %5.1f %%\n", pml_dtype_info((int)type)->name,
         n_in, median(ours, ROUNDS), median(read, ROUNDS), 100 * median(ratio, ROUNDS));
  pml_free(w);
  pml_free(x);
  pml_free(y);
}

static void prefill(pml_dtype type, int rows, int n_in, int n_out) {
  size_t size = type == PML_F32 ? 4 : 2, n = (size_t)n_in * (size_t)n_out;
  unsigned char *w = pml_calloc(n, size);
  float *x = pml_calloc((size_t)rows * (size_t)n_in, 4), *y = pml_alloc((size_t)rows * (size_t)n_out * 4);
  if (!w || !x || !y) return;
  fill(w, type, n);
  for (int i = 0; i < rows * n_in; i++) x[i] = 1.0f / (float)(i % 97 + 1);
  pml_mat m = {type, n_out, n_in, w};
  double flops = 2.0 * rows * n_in * n_out, ours[ROUNDS], peak[ROUNDS], ratio[ROUNDS];
  pml_linear(y, x, rows, &m, NULL);
  for (int r = 0; r < ROUNDS; r++) {
    peak[r] = peak_gflops();
    double t = pml_time();
    int times = 1 + (int)(2e9 / flops);
    for (int i = 0; i < times; i++) pml_linear(y, x, rows, &m, NULL);
    ours[r] = flops * times / (pml_time() - t) * 1e-9;
    ratio[r] = peak[r] > 0 ? ours[r] / peak[r] : 0;
  }
  printf("linear  %-4s %3d x %5d x %5d   %6.1f GFLOP/s, peak %6.1f: %5.1f %%\n", pml_dtype_info((int)type)->name,
         rows, n_in, n_out, median(ours, ROUNDS), median(peak, ROUNDS), 100 * median(ratio, ROUNDS));
  pml_free(w);
  pml_free(x);
  pml_free(y);
}

static void attention(int T, int S, int H, int G, int dim) {
  size_t stride = (size_t)(G * dim);
  float *k = pml_alloc((size_t)S * stride * 4), *v = pml_alloc((size_t)S * stride * 4);
  float *q = pml_alloc((size_t)(T * H * dim) * 4), *out = pml_alloc((size_t)(T * H * dim) * 4);
  const pml_kv_view **views = pml_alloc((size_t)T * sizeof *views);
  int32_t *n_visible = pml_alloc((size_t)T * 4), zero = 0;
  if (!k || !v || !q || !out || !views || !n_visible) return;
  pml_rng rng = pml_rng_seed(1);
  for (size_t i = 0; i < (size_t)S * stride; i++) k[i] = v[i] = pml_rng_normal(&rng);
  for (int i = 0; i < T * H * dim; i++) q[i] = pml_rng_normal(&rng);
  pml_kv_view view = {k, v, &zero, S, stride};
  double seen = 0, t[ROUNDS];
  for (int i = 0; i < T; i++) {
    views[i] = &view;
    n_visible[i] = S - T + i + 1;
    seen += n_visible[i];
  }
  for (int r = 0; r < ROUNDS; r++) {
    double t0 = pml_time();
    pml_attention(out, q, T, H, G, dim, views, n_visible);
    t[r] = pml_time() - t0;
  }
  double s = median(t, ROUNDS);
  printf("attention T %3d S %5d H %d/%d h %d   %8.3f ms, %6.1f GFLOP/s, K and V at %5.1f GB/s\n", T, S, H, G, dim,
         s * 1e3, 4 * seen * H * dim / s * 1e-9, T == 1 ? 8.0 * S * (double)stride / s * 1e-9 : 0.0);
  pml_free(k);
  pml_free(v);
  pml_free(q);
  pml_free(out);
  pml_free(views);
  pml_free(n_visible);
}

static void elementwise(void) {
  enum { N = 151936 };
  float *x = pml_alloc(N * 4), *y = pml_alloc(N * 4), *z = pml_alloc(N * 4);
  if (!x || !y || !z) return;
  for (int i = 0; i < N; i++) x[i] = y[i] = (float)(i % 1000) * 0.01f - 5;
  double a[ROUNDS], b[ROUNDS], c[ROUNDS];
  for (int r = 0; r < ROUNDS; r++) {
    double t0 = pml_time();
    pml_swiglu(z, x, y, N);
    double t1 = pml_time();
    pml_softmax(z, N);
    double t2 = pml_time();
    pml_rmsnorm(z, x, y, N / 896, 896, 1e-6f);
    a[r] = (t1 - t0) * 1e9 / N;
    b[r] = (t2 - t1) * 1e9 / N;
    c[r] = (pml_time() - t2) * 1e9 / N;
  }
  printf("per element: swiglu %.2f ns, softmax %.2f ns, rmsnorm %.2f ns\n", median(a, ROUNDS), median(b, ROUNDS),
         median(c, ROUNDS));
  pml_free(x);
  pml_free(y);
  pml_free(z);
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc > 1) pml_threads_set(atoi(argv[1]));
  printf("%s, %s, %d threads%s\n", pml_cpu_model(), pml_cpu_level_name(pml_cpu_level()), pml_threads(),
         pml_strict() ? ", strict" : "");
  decode(PML_F16, 896);
  decode(PML_F16, 4864);
  decode(PML_BF16, 896);
  decode(PML_F32, 896);
  prefill(PML_F16, 512, 896, 4864);
  prefill(PML_F16, 512, 4864, 896);
  prefill(PML_F16, 512, 896, 896);
  prefill(PML_F16, 512, 896, 128);
  prefill(PML_F32, 512, 896, 4864);
  prefill(PML_F16, 512, 4096, 4096);
  prefill(PML_F16, 4, 896, 4864);
  attention(512, 512, 14, 2, 64);
  attention(1, 512, 14, 2, 64);
  attention(1, 32768, 14, 2, 64);
  elementwise();
  return 0;
}
