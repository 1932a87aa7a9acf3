/* § 11 Vector kernels: every level against the scalar definition, bit for bit, also on 10,000 random
   shapes; the definition against double precision; the linear layer the same for any number of rows and
   threads.  An argument is another number of random cases, for emulated processors: fewer than 10,000
   also shorten the test of threads. */
#include "prodml.h"
#include "test.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

static int n_cases = 10000;

/* Not fmax: gcc 12 for ARM64 fails with an internal error on a maximum taken in a loop. */
static void at_least(double *most, double x) {
  if (!(x <= *most)) *most = x;
}

#define MAX_N 5000
static const size_t sizes[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 1000, 4099};
#define N_SIZES (sizeof sizes / sizeof sizes[0])

static uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return isnan(f) ? 0x7FC00000 : u; /* which NaN survives is the processor's choice */
}

static bool same(const float *a, const float *b, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (bits_of(a[i]) != bits_of(b[i])) return false;
  return true;
}

/* kind 0: around 1; 1: every magnitude a float has, sums that cancel; 2: also NaN, Inf, subnormals, -0 */
static void fill(float *x, size_t n, int kind, pml_rng *r) {
  static const float odd[] = {0.0f, -0.0f, 1e-45f, -1e-40f, 3e38f, -3e38f, INFINITY, -INFINITY, NAN, 1e-20f};
  for (size_t i = 0; i < n; i++) {
    x[i] = pml_rng_normal(r);
    if (kind >= 1) x[i] = ldexpf(x[i], (int)pml_rng_below(r, 80) - 60);
    if (kind == 2 && pml_rng_below(r, 40) == 0) x[i] = odd[pml_rng_below(r, 10)];
  }
}

/* Runs `op` at each level above scalar and in both modes, and compares its n outputs with the scalar
   strict result.  Where the modes differ, default is compared between the vector levels instead. */
typedef struct {
  float *a, *b, *c, *y;
  size_t n;
  pml_mat w;
  int rows;
  bool flag;
} args;
typedef void (*op_fn)(args *g);

static float want[1 << 19];
static uint64_t strict_hash = 0xCBF29CE484222325u; /* FNV-1a over every strict result */

static void each_level(const char *name, op_fn op, args *g, const float *before, size_t n_out, bool modes_differ) {
  for (int strict = 1; strict >= 0; strict--) {
    bool have = false;
    for (int level = 0; level < PML_CPU_LEVELS; level++) {
      if (!pml_cpu_supports((pml_cpu_level_t)level)) continue;
      if (level == 0 && !strict && modes_differ) continue;
      pml_strict_set(strict);
      pml_cpu_level_set((pml_cpu_level_t)level);
      if (before) memcpy(g->y, before, n_out * sizeof(float));
      else memset(g->y, 0x5A, n_out * sizeof(float));
      op(g);
      if (!have && (strict || modes_differ)) memcpy(want, g->y, n_out * sizeof(float));
      if (!have && strict)
        for (size_t i = 0; i < n_out; i++) strict_hash = (strict_hash ^ bits_of(want[i])) * 0x100000001B3u;
      have = true;
      CHECK_MSG(same(want, g->y, n_out), "%s n=%zu rows=%d type=%d level=%s strict=%d", name, g->n, g->rows,
                (int)g->w.type, pml_cpu_level_name((pml_cpu_level_t)level), strict);
    }
  }
  pml_cpu_level_set(pml_cpu_best());
  pml_strict_set(false);
}

static void op_dot(args *g) { g->y[0] = pml_dot(g->a, g->b, g->n); }
static void op_softmax(args *g) { if (g->n) pml_softmax(g->y, g->n); }
static void op_silu(args *g) { pml_silu(g->y, g->a, g->n); }
static void op_gelu(args *g) { pml_gelu(g->y, g->a, g->n); }
static void op_swiglu(args *g) { pml_swiglu(g->y, g->a, g->b, g->n); }
static void op_add(args *g) { pml_add(g->y, g->a, g->n); }
static void op_axpy(args *g) { pml_axpy(g->y, -0.7f, g->a, g->n); }
static void op_scale(args *g) { pml_scale(g->y, 1.1f, g->n); }
static void op_rmsnorm(args *g) { pml_rmsnorm(g->y, g->a, g->b, 1, (int)g->n, 1e-6f); }
static void op_layernorm(args *g) { pml_layernorm(g->y, g->a, g->b, g->flag ? g->c : NULL, 1, (int)g->n, 1e-5f); }
static void op_rope(args *g) { pml_rope(g->y, 2, (int)g->n, (int)(g->n & ~(size_t)1), 4321, g->c, g->flag); }
static void op_linear(args *g) {
  CHECK(pml_linear(g->y, g->a, g->rows, &g->w, g->flag ? g->c : NULL) == PML_OK);
}

static void test_levels(void) {
  static float a[MAX_N], b[MAX_N], c[MAX_N], y[2 * MAX_N], before[2 * MAX_N];
  pml_rng r = pml_rng_seed(11);
  TEST("levels agree");
  for (size_t s = 0; s < N_SIZES; s++)
    for (int kind = 0; kind < 3; kind++) {
      args g = {.a = a, .b = b, .c = c, .y = y, .n = sizes[s]};
      fill(a, g.n, kind, &r);
      fill(b, g.n, kind, &r);
      fill(c, g.n, kind, &r);
      fill(before, 2 * g.n, kind, &r);
      each_level("dot", op_dot, &g, NULL, 1, true);
      each_level("softmax", op_softmax, &g, before, g.n, false);
      each_level("silu", op_silu, &g, NULL, g.n, false);
      each_level("gelu", op_gelu, &g, NULL, g.n, false);
      each_level("swiglu", op_swiglu, &g, NULL, g.n, false);
      each_level("add", op_add, &g, before, g.n, false);
      each_level("axpy", op_axpy, &g, before, g.n, false);
      each_level("scale", op_scale, &g, before, g.n, false);
      each_level("rmsnorm", op_rmsnorm, &g, NULL, g.n, false);
      each_level("layernorm", op_layernorm, &g, NULL, g.n, false);
      g.flag = true;
      each_level("layernorm", op_layernorm, &g, NULL, g.n, false);
      for (size_t i = 0; i < g.n; i++) c[i] = fabsf(b[i]) < 10 ? b[i] : 1; /* frequencies */
      each_level("rope split", op_rope, &g, before, 2 * g.n, false);
      g.flag = false;
      each_level("rope pairs", op_rope, &g, before, 2 * g.n, false);
    }
}

static size_t make_weights(void *w, pml_dtype type, size_t n, int kind, pml_rng *r) {
  static float f[1 << 18];
  fill(f, n, kind, r);
  for (size_t i = 0; i < n; i++)
    if (type == PML_F32) ((float *)w)[i] = f[i];
    else ((uint16_t *)w)[i] = type == PML_F16 ? pml_f32_to_f16(f[i]) : pml_f32_to_bf16(f[i]);
  return n;
}

static void test_linear_levels(void) {
  static const int ins[] = {0, 1, 15, 16, 17, 100, 513, 1043}, outs[] = {1, 3, 4, 7, 8, 9, 33, 70};
  static const int rows[] = {1, 2, 3, 5, 6, 7, 13, 100};
  static const pml_dtype types[] = {PML_F32, PML_F16, PML_BF16};
  static float x[100 * 1043], y[100 * 70], bias[70], w[70 * 1043];
  pml_rng r = pml_rng_seed(12);
  TEST("linear: levels agree");
  for (int i = 0; i < 8; i++)
    for (int o = 0; o < 8; o++) {
      int t = (i + o) % 3, kind = (i + o / 2) % 3, m = (i * 3 + o) % 8;
      fill(x, 100 * 1043, kind, &r);
      fill(bias, 70, kind, &r);
      make_weights(w, types[t], (size_t)(outs[o] * ins[i]), kind, &r);
      args g = {.a = x, .c = bias, .y = y, .w = {types[t], outs[o], ins[i], w}, .flag = o & 1};
      g.rows = 1;
      each_level("linear", op_linear, &g, NULL, (size_t)outs[o], true);
      g.rows = rows[m];
      each_level("linear", op_linear, &g, NULL, (size_t)(g.rows * outs[o]), true);
    }
}

/* The same bits for rows = 1 and rows = 100 (emulated: 13), for any thread count, and equal to pml_dot. */
static void test_batch_invariance(void) {
  enum { IN = 2104, OUT = 69, ROWS = 100 };
  static float x[ROWS * IN], y[ROWS * OUT], one[OUT], bias[OUT], row[IN];
  static uint16_t w[OUT * IN];
  pml_rng r = pml_rng_seed(13);
  bool quick = n_cases < 10000;
  int rows = quick ? 13 : ROWS, last = rows - 1;
  const int threads[] = {1, 2, 3, 7}, batches[] = {1, 2, 3, 5, 7, 8, rows};
  fill(x, ROWS * IN, 1, &r);
  fill(bias, OUT, 1, &r);
  for (int type = 0; type < 2; type++) { /* IN is three pieces, the last shorter, the panel and the tiles end raggedly */
    pml_mat m = {type ? PML_F16 : PML_BF16, OUT, IN, w};
    make_weights(w, m.type, OUT * IN, 1, &r);
    for (int strict = 0; strict < 2; strict++)
      for (int level = 0; level < PML_CPU_LEVELS; level++) {
        if (!pml_cpu_supports((pml_cpu_level_t)level) || (quick && level == 0)) continue;
        TEST("linear is pml_dot");
        pml_strict_set(strict);
        pml_cpu_level_set((pml_cpu_level_t)level);
        CHECK(pml_linear(want, x, rows, &m, bias) == PML_OK);
        for (int t = 0; t < rows; t++)
          for (int o = 0; o < OUT; o += t % 10 ? 29 : 1) {
            if (t % 10 && t >= 7) continue;
            CHECK(pml_row_to_f32(row, &m, o) == PML_OK);
            CHECK(bits_of(pml_dot(x + t * IN, row, IN) + bias[o]) == bits_of(want[t * OUT + o]));
          }
        TEST("batch invariance");
        for (int n = 0; n < 4; n++) {
          CHECK(pml_threads_set(threads[n]) == PML_OK);
          for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
            if (level == 0 && (n % 2 || batches[b] > 8)) continue; /* slow, and the same code at every size */
            if (quick && n != (int)b % 4) continue;
            memset(y, 0x5A, sizeof y);
            CHECK(pml_linear(y, x, batches[b], &m, bias) == PML_OK);
            CHECK_MSG(same(want, y, (size_t)batches[b] * OUT), "%d rows, %d threads, strict %d, level %d",
                      batches[b], threads[n], strict, level);
          }
          CHECK(pml_linear(one, x + last * IN, 1, &m, bias) == PML_OK);
          CHECK(same(want + last * OUT, one, OUT));
        }
      }
  }
  CHECK(pml_threads_set(0) == PML_OK);
  pml_strict_set(false);
  pml_cpu_level_set(pml_cpu_best());
}

/* ── random shapes ── */

enum { MOST = 400, MOST_ROWS = 9, MOST_OUT = 13, ROOM = MOST + 16 };

/* The definition of the fused dot product (§ 11): sixteen lanes, one rounding a product, one tree. */
static float fused_dot(const float *a, const float *b, size_t n) {
  float lane[16] = {0};
  for (size_t i = 0; i < n; i++) lane[i % 16] = fmaf(a[i], b[i], lane[i % 16]);
  for (int half = 8; half; half /= 2)
    for (int j = 0; j < half; j++) lane[j] += lane[j + half];
  return lane[0];
}

/* What the default mode of `level` computes: fused where the vector instructions are, except in WASM, which has none. */
static bool level_fuses(int level) { return level == PML_CPU_AVX2 || level == PML_CPU_AVX512 || level == PML_CPU_NEON; }

typedef struct {
  float a[ROOM], b[ROOM], c[ROOM], w[MOST_OUT * ROOM], before[2 * ROOM], y[2 * ROOM], x[MOST_ROWS * ROOM];
  float out[MOST_ROWS * MOST_OUT + 16], row[ROOM], bias[MOST_OUT + 16];
} buffers;

/* A number of elements: mostly small, often beside a multiple of 16, now and then 0. */
static size_t random_size(pml_rng *r) {
  uint32_t dice = pml_rng_below(r, 8);
  if (dice == 0) return pml_rng_below(r, 3);
  if (dice < 4) return pml_rng_below(r, 40);
  return dice < 7 ? 16 * (1 + (size_t)pml_rng_below(r, 8)) - 2 + pml_rng_below(r, 5) : pml_rng_below(r, MOST);
}

/* The default mode of the best level against the fused definition. */
static void check_fused(args *g, size_t n_out, size_t n_in) {
  if (!level_fuses(pml_cpu_best())) return;
  static float row[ROOM];
  op_linear(g);
  for (size_t o = 0; o < n_out; o++) {
    CHECK(pml_row_to_f32(row, &g->w, (int)o) == PML_OK);
    for (int t = 0; t < g->rows; t++) {
      float sum = fused_dot(g->a + (size_t)t * n_in, row, n_in);
      want[(size_t)t * n_out + o] = g->flag ? sum + g->c[o] : sum;
    }
  }
  CHECK_MSG(same(want, g->y, (size_t)g->rows * n_out), "fused, n=%zu rows=%d type=%d", n_in, g->rows, (int)g->w.type);
}

/* One case: every operation on numbers that begin anywhere. */
static void random_case(buffers *d, pml_rng *r) {
  static const pml_dtype types[] = {PML_F32, PML_F16, PML_BF16};
  size_t n = random_size(r), off[4];
  int kind = (int)pml_rng_below(r, 3);
  for (int i = 0; i < 4; i++) off[i] = pml_rng_below(r, 8);
  args g = {.a = d->a + off[0], .b = d->b + off[1], .c = d->c + off[2], .y = d->y + off[3], .n = n};
  fill(d->a, n + 8, kind, r);
  fill(d->b, n + 8, kind, r);
  fill(d->c, n + 8, kind, r);
  fill(d->before, 2 * n, kind, r);
  g.flag = pml_rng_below(r, 2);
  each_level("dot", op_dot, &g, NULL, 1, true);
  each_level("softmax", op_softmax, &g, d->before, n, false);
  each_level("silu", op_silu, &g, NULL, n, false);
  each_level("gelu", op_gelu, &g, NULL, n, false);
  each_level("swiglu", op_swiglu, &g, NULL, n, false);
  each_level("add", op_add, &g, d->before, n, false);
  each_level("axpy", op_axpy, &g, d->before, n, false);
  each_level("scale", op_scale, &g, d->before, n, false);
  each_level("rmsnorm", op_rmsnorm, &g, NULL, n, false);
  each_level("layernorm", op_layernorm, &g, NULL, n, false);
  for (size_t i = 0; i < n; i++) g.c[i] = fabsf(g.b[i]) < 10 ? g.b[i] : 1; /* frequencies */
  each_level("rope", op_rope, &g, d->before, 2 * n, false);

  size_t n_out = pml_rng_below(r, MOST_OUT + 1);
  pml_dtype type = types[pml_rng_below(r, 3)];
  char *w = (char *)d->w + off[1] * (type == PML_F32 ? 4 : 2);
  make_weights(w, type, n_out * n, kind, r);
  g = (args){.a = d->x + off[0], .c = d->bias + off[2], .y = d->out + off[3], .n = n, .flag = g.flag};
  g.w = (pml_mat){type, (int)n_out, (int)n, w};
  g.rows = pml_rng_below(r, 2) ? 1 : 1 + (int)pml_rng_below(r, MOST_ROWS);
  fill(g.a, (size_t)g.rows * n, kind, r);
  fill(g.c, n_out, kind, r);
  each_level("linear", op_linear, &g, NULL, (size_t)g.rows * n_out, true);
  check_fused(&g, n_out, n);
}

static void test_random(void) {
  static buffers d;
  pml_rng r = pml_rng_seed(16);
  TEST("random shapes");
  for (int i = 0; i < n_cases; i++) random_case(&d, &r);
}

/* ── conversions ── */

/* Every f16 and bf16 to f32; to them the numbers where rounding turns, every kind of NaN and random bits. */
static void test_conversions(void) {
  enum { N = 65536 };
  static uint16_t half[N], back[N + 1];
  static float f[N + 1], x[N + 1];
  pml_rng r = pml_rng_seed(17);
  TEST("conversions");
  for (int i = 0; i < N; i++) half[i] = (uint16_t)i;
  for (int type = 0; type < 2; type++) {
    pml_dtype t = type ? PML_BF16 : PML_F16;
    for (int i = 0; i < N; i++) { /* between two neighbours, and just beside; then anything */
      uint16_t h = (uint16_t)(i & 0x7FFF);
      float lo = type ? pml_bf16_to_f32(h) : pml_f16_to_f32(h);
      float hi = type ? pml_bf16_to_f32((uint16_t)(h + 1)) : pml_f16_to_f32((uint16_t)(h + 1));
      uint32_t u = (uint32_t)(pml_rng_next(&r) >> 32);
      memcpy(&x[i], &u, 4);
      if (i % 4 && isfinite(lo) && isfinite(hi)) {
        x[i] = 0.5f * lo + 0.5f * hi;
        if (i % 4 == 2) x[i] = nextafterf(x[i], 0);
        if (i % 4 == 3) x[i] = -nextafterf(x[i], INFINITY);
      }
    }
    for (int level = 0; level < PML_CPU_LEVELS; level++) {
      if (!pml_cpu_supports((pml_cpu_level_t)level)) continue;
      pml_cpu_level_set((pml_cpu_level_t)level);
      int wrong = 0;
      CHECK(pml_to_f32(f + 1, half, t, N) == PML_OK);
      for (int i = 0; i < N; i++) {
        float e = type ? pml_bf16_to_f32((uint16_t)i) : pml_f16_to_f32((uint16_t)i);
        wrong += memcmp(&e, &f[i + 1], 4) != 0;
      }
      CHECK_MSG(wrong == 0, "type %d, level %d: %d of 65536 differ", (int)t, level, wrong);
      for (size_t n = 0; n < 40; n++) {
        CHECK(pml_from_f32(back, x + n, t, n) == PML_OK);
        for (size_t i = 0; i < n; i++) wrong += back[i] != (type ? pml_f32_to_bf16(x[n + i]) : pml_f32_to_f16(x[n + i]));
      }
      CHECK(pml_from_f32(back + 1, x, t, N) == PML_OK);
      for (int i = 0; i < N; i++) wrong += back[i + 1] != (type ? pml_f32_to_bf16(x[i]) : pml_f32_to_f16(x[i]));
      CHECK_MSG(wrong == 0, "to type %d, level %d: %d differ", (int)t, level, wrong);
    }
  }
  CHECK(pml_from_f32(f, x, PML_F32, 5) == PML_OK && !memcmp(f, x, 20));
  CHECK(pml_to_f32(f, x, PML_Q8_0, 32) == PML_E_UNSUPPORTED && strstr(pml_error(), "Q8_0"));
  CHECK(pml_from_f32(f, x, PML_Q4_K, 256) == PML_E_UNSUPPORTED && pml_from_f32(NULL, NULL, PML_F16, 0) == PML_OK);
  pml_cpu_level_set(pml_cpu_best());
}

static double rel(double got, double exact, double scale) { return fabs(got - exact) / scale; }

/* The definitions themselves, against double precision. */
static void test_accuracy(void) {
  enum { N = 1000 };
  static float a[N], b[N], c[N], y[N];
  pml_rng r = pml_rng_seed(14);
  fill(a, N, 0, &r);
  fill(b, N, 0, &r);
  fill(c, N, 0, &r);
  double dot = 0, mag = 0, sum = 0, sq = 0, worst = 0;
  for (int i = 0; i < N; i++) {
    dot += (double)a[i] * (double)b[i];
    mag += fabs((double)a[i] * (double)b[i]);
    sum += (double)a[i];
    sq += (double)a[i] * (double)a[i];
  }
  TEST("accuracy");
  CHECK(rel((double)pml_dot(a, b, N), dot, mag) < 1e-6);
  pml_rmsnorm(y, a, b, 1, N, 1e-5f);
  for (int i = 0; i < N; i++)
    at_least(&worst, fabs((double)y[i] - (double)a[i] / sqrt(sq / N + 1e-5) * (double)b[i]));
  CHECK_MSG(worst < 2e-6, "rmsnorm %g", worst);
  double mean = sum / N, var = sq / N - mean * mean;
  pml_layernorm(y, a, b, c, 1, N, 1e-5f);
  for (worst = 0, sq = 0; sq < N; sq++) {
    int i = (int)sq;
    at_least(&worst, fabs((double)y[i] - (((double)a[i] - mean) / sqrt(var + 1e-5) * (double)b[i] + (double)c[i])));
  }
  CHECK_MSG(worst < 4e-6, "layernorm %g", worst);
  memcpy(y, a, sizeof y);
  y[3] = -INFINITY;
  pml_softmax(y, N);
  double total = 0, got = 0;
  for (int i = 0; i < N; i++) total += i == 3 ? 0 : exp((double)a[i]);
  for (int i = 0; i < N; i++) {
    double p = i == 3 ? 0 : exp((double)a[i]) / total;
    CHECK(fabs((double)y[i] - p) <= 1e-6 * p);
    got += (double)y[i];
  }
  CHECK(y[3] == 0 && fabs(got - 1) < 1e-5);
  worst = 0;
  pml_silu(y, a, N);
  for (int i = 0; i < N; i++) at_least(&worst, fabs((double)y[i] - (double)a[i] / (1 + exp(-(double)a[i]))));
  CHECK_MSG(worst < 5e-7, "silu %g", worst);
  pml_gelu(y, a, N);
  for (int i = 0; i < N; i++) {
    double x = (double)a[i], u = sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x);
    at_least(&worst, fabs((double)y[i] - 0.5 * x * (1 + tanh(u))));
  }
  CHECK_MSG(worst < 1e-6, "gelu %g", worst);
  pml_swiglu(y, a, b, N);
  for (int i = 0; i < N; i++)
    at_least(&worst, fabs((double)y[i] - (double)b[i] * (double)a[i] / (1 + exp(-(double)a[i]))));
  CHECK_MSG(worst < 2e-6, "swiglu %g", worst);
}

static void test_rope(void) {
  enum { D = 12, R = 10, H = 3 };
  float freqs[R / 2], cs[R], x[H * D], y[H * D], z[H * D];
  TEST("rope");
  pml_rng r = pml_rng_seed(15);
  pml_rope_freqs(freqs, R, 10000.0f);
  for (int i = 0; i < R / 2; i++) CHECK(rel((double)freqs[i], pow(10000, -2.0 * i / R), pow(10000, -2.0 * i / R)) < 1e-7);
  fill(x, H * D, 0, &r);
  for (int split = 0; split < 2; split++) {
    memcpy(y, x, sizeof y);
    pml_rope(y, H, D, R, 12345, freqs, split);
    memcpy(z, x, sizeof z);
    pml_rope_angles(cs, R, 12345, freqs);
    pml_rope_apply(z, H, D, R, cs, split);
    CHECK(same(y, z, H * D));
    for (int h = 0; h < H; h++) {
      for (int i = 0; i < R / 2; i++) {
        int a = h * D + (split ? i : 2 * i), b = h * D + (split ? i + R / 2 : 2 * i + 1);
        double t = 12345.0 * (double)freqs[i];
        CHECK(fabs((double)y[a] - ((double)x[a] * cos(t) - (double)x[b] * sin(t))) < 1e-6);
        CHECK(fabs((double)y[b] - ((double)x[a] * sin(t) + (double)x[b] * cos(t))) < 1e-6);
      }
      CHECK(same(y + h * D + R, x + h * D + R, D - R)); /* what does not rotate stays */
    }
  }
}

static void test_matrices(void) {
  TEST("types and matrices");
  CHECK(!strcmp(pml_dtype_info(PML_Q4_K)->name, "Q4_K") && pml_dtype_info(PML_Q4_K)->bytes == 144);
  CHECK(pml_dtype_info(PML_BF16)->bytes == 2 && !pml_dtype_info(4) && !pml_dtype_info(-1) && !pml_dtype_info(99));
  size_t bytes;
  CHECK(pml_mat_bytes(&(pml_mat){PML_Q8_0, 3, 64, NULL}, &bytes) && bytes == 3 * 2 * 34);
  CHECK(!pml_mat_bytes(&(pml_mat){PML_Q8_0, 3, 65, NULL}, &bytes) && bytes == 0);
  CHECK(!pml_mat_bytes(&(pml_mat){(pml_dtype)77, 3, 64, NULL}, &bytes));
  CHECK(!pml_mat_bytes(&(pml_mat){PML_F32, -3, 64, NULL}, &bytes));
  float y[8] = {0}, x[8] = {0};
  pml_mat q = {PML_Q4_K, 1, 256, x};
  CHECK(pml_linear(y, x, 1, &q, NULL) == PML_E_UNSUPPORTED && strstr(pml_error(), "Q4_K"));
  pml_mat f = {PML_F32, 2, 4, x};
  CHECK(pml_row_to_f32(y, &f, 2) == PML_E_USAGE && pml_row_to_f32(y, &f, -1) == PML_E_USAGE);
  CHECK(pml_linear(y, x, -1, &f, NULL) == PML_E_USAGE && pml_linear(y, x, 0, &f, NULL) == PML_OK);
  CHECK(pml_linear(y, x, 1, &(pml_mat){PML_F32, 2, 4, NULL}, NULL) == PML_E_USAGE);
  const float v[] = {NAN, -1, 5, 5, NAN, 2}, none[] = {NAN, NAN};
  CHECK(pml_argmax(v, 6) == 2 && pml_argmax(none, 2) == 0 && pml_argmax(v, 0) == 0 && pml_argmax(v + 1, 1) == 0);
}

int main(int argc, char **argv) {
  if (argc > 1) n_cases = atoi(argv[1]);
  test_levels();
  test_linear_levels();
  TEST("the same bits for every compiler, optimisation level and machine");
  CHECK_MSG(strict_hash == 0x193eb297cb16cc9bu, "strict results hash to %016" PRIx64, strict_hash);
  test_random();
  test_conversions();
  test_batch_invariance();
  test_accuracy();
  test_rope();
  test_matrices();
  pml_threads_stop();
  return TEST_END();
}
