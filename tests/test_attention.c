/* § 14 Attention: against a plain double-precision definition, and bit for bit the same for every
   cache layout, processor level, thread count and batch, also for 10,000 random shapes (or the number in
   the first argument). */
#include "prodml.h"
#include "test.h"

enum { MAX_S = 1000, MAX_G = 3, MAX_DIM = 80, MAX_H = 27, MAX_T = 5 };

static uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return isnan(f) ? 0x7FC00000 : u;
}

static bool same(const float *a, const float *b, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (bits_of(a[i]) != bits_of(b[i])) return false;
  return true;
}

static float random_value(pml_rng *r, int kind) {
  static const float odd[] = {0.0f, -0.0f, 1e-45f, -1e-40f, 3e38f, INFINITY, -INFINITY, NAN};
  float x = pml_rng_normal(r);
  if (kind == 2 && pml_rng_below(r, 60) == 0) return odd[pml_rng_below(r, 8)];
  return kind == 0 ? x : ldexpf(x, (int)pml_rng_below(r, 90) - 60);
}

/* A cache in blocks of bs positions, placed in shuffled order; unused floats are NaN. */
typedef struct {
  float *k, *v;
  int32_t *table;
  pml_kv_view view;
} cache;

static cache cache_make(const float *k, const float *v, int S, int bs, size_t stride, pml_rng *r) {
  int n = (S + bs - 1) / bs + 1;
  size_t floats = (size_t)n * (size_t)bs * stride;
  cache c = {malloc(floats * 4), malloc(floats * 4), malloc((size_t)n * 4), {0}};
  for (size_t i = 0; i < floats; i++) c.k[i] = c.v[i] = NAN;
  for (int i = 0; i < n; i++) c.table[i] = i;
  for (int i = n - 1; i > 0; i--) {
    int j = (int)pml_rng_below(r, (uint32_t)i + 1), t = c.table[i];
    c.table[i] = c.table[j];
    c.table[j] = t;
  }
  for (int p = 0; p < S; p++) {
    size_t at = ((size_t)c.table[p / bs] * (size_t)bs + (size_t)(p % bs)) * stride;
    memcpy(c.k + at, k + (size_t)p * stride, stride * 4);
    memcpy(c.v + at, v + (size_t)p * stride, stride * 4);
  }
  c.view = (pml_kv_view){c.k, c.v, c.table, bs, stride};
  return c;
}

static void cache_free(cache *c) {
  free(c->k);
  free(c->v);
  free(c->table);
}

/* The definition: softmax over all visible scores, then the weighted mean of the values. */
static double worst_error(const float *out, const float *q, const float *k, const float *v, int T, int H, int G,
                          int dim, const int32_t *n_visible, int window) {
  static double p[MAX_S];
  double worst = 0;
  for (int t = 0; t < T; t++)
    for (int h = 0; h < H; h++) {
      const float *qr = q + (t * H + h) * dim, *o = out + (t * H + h) * dim;
      int g = h * G / H;
      double max = -1e300, sum = 0;
      int from = window && n_visible[t] > window ? n_visible[t] - window : 0;
      for (int s = from; s < n_visible[t]; s++) {
        p[s] = 0;
        for (int i = 0; i < dim; i++) p[s] += (double)qr[i] * (double)k[(s * G + g) * dim + i];
        p[s] /= sqrt(dim);
        if (p[s] > max) max = p[s];
      }
      for (int s = from; s < n_visible[t]; s++) sum += p[s] = exp(p[s] - max);
      for (int i = 0; i < dim; i++) {
        double want = 0;
        for (int s = from; s < n_visible[t]; s++) want += p[s] / sum * (double)v[(s * G + g) * dim + i];
        double error = fabs(want - (double)o[i]); /* not fmax: an error in gcc 12 for ARM64 */
        if (!(error <= worst)) worst = error;
      }
    }
  return worst;
}

static float q[MAX_T * MAX_H * MAX_DIM], k[MAX_S * MAX_G * MAX_DIM], v[MAX_S * MAX_G * MAX_DIM];
static float want[MAX_T * MAX_H * MAX_DIM], got[MAX_T * MAX_H * MAX_DIM];

static void test_shape(int H, int G, int dim, int S, bool strict, pml_rng *r) {
  static const int sizes[] = {1, 3, 16, 4096}, threads[] = {1, 2, 3, 7};
  int32_t n_visible[MAX_T] = {S, S > 1 ? S - 1 : S, S / 2, S < 256 ? S : 256, 0};
  size_t stride = (size_t)(G * dim), n = (size_t)(H * dim);
  for (int i = 0; i < MAX_T * H * dim; i++) q[i] = 2 * pml_rng_normal(r);
  for (int i = 0; i < S * G * dim; i++) {
    k[i] = pml_rng_normal(r);
    v[i] = pml_rng_normal(r);
  }
  pml_strict_set(strict);
  int32_t zero = 0;
  pml_kv_view flat = {k, v, &zero, S, stride}; /* a contiguous cache: one block */
  const pml_kv_view *views[MAX_T] = {&flat, &flat, &flat, &flat, &flat};
  CHECK(pml_attention(want, q, MAX_T, H, G, dim, views, n_visible) == PML_OK);
  double e = worst_error(want, q, k, v, MAX_T, H, G, dim, n_visible, 0);
  CHECK_MSG(e < 5e-6, "H %d G %d dim %d S %d: error %g", H, G, dim, S, e);
  for (size_t i = 0; i < n; i++) CHECK(want[4 * n + i] == 0); /* the row that sees nothing */

  for (int b = 0; b < 4; b++) {
    cache c = cache_make(k, v, S, sizes[b], stride, r);
    for (int t = 0; t < MAX_T; t++) views[t] = t == 1 ? &flat : &c.view; /* rows of different sequences */
    for (int i = 0; i < 4; i++) {
      pml_threads_set(threads[i]);
      memset(got, 0x5A, sizeof got);
      CHECK(pml_attention(got, q, MAX_T, H, G, dim, views, n_visible) == PML_OK);
      CHECK_MSG(same(want, got, n * MAX_T), "blocks of %d, %d threads, dim %d S %d", sizes[b], threads[i], dim, S);
    }
    CHECK(pml_attention(got, q + 2 * n, 1, H, G, dim, views, n_visible + 2) == PML_OK);
    CHECK(same(want + 2 * n, got, n));
    cache_free(&c);
  }
  pml_threads_set(0);

  for (int t = 0; t < MAX_T; t++) views[t] = &flat;
  for (int level = 0; level < PML_CPU_LEVELS; level++) {
    if (!pml_cpu_supports((pml_cpu_level_t)level)) continue;
    if (!strict && level == PML_CPU_SCALAR && pml_cpu_best() != PML_CPU_SCALAR) continue;
    pml_cpu_level_set((pml_cpu_level_t)level);
    CHECK(pml_attention(got, q, MAX_T, H, G, dim, views, n_visible) == PML_OK);
    CHECK_MSG(same(want, got, n * MAX_T), "level %d, strict %d, dim %d S %d", level, strict, dim, S);
  }
  if (!strict) { /* the scalar level rounds each product; close, not equal */
    pml_cpu_level_set(PML_CPU_SCALAR);
    CHECK(pml_attention(got, q, MAX_T, H, G, dim, views, n_visible) == PML_OK);
    CHECK(worst_error(got, q, k, v, MAX_T, H, G, dim, n_visible, 0) < 5e-6);
  }
  pml_cpu_level_set(pml_cpu_best());
}

/* Small random shapes, starting anywhere: every level gives the bits of the scalar definition in strict mode, and
   is close to it otherwise.  kind 2 has NaN and infinity, 1 magnitudes from 1e-18 to 1e9. */
static void random_case(pml_rng *r) {
  int G = 1 + (int)pml_rng_below(r, 2), H = G * (1 + (int)pml_rng_below(r, 9)), dim = 1 + (int)pml_rng_below(r, 20);
  int S = (int)pml_rng_below(r, 12), kind = (int)pml_rng_below(r, 3), T = 1 + (int)pml_rng_below(r, 2);
  if (pml_rng_below(r, 50) == 0) S = 250 + (int)pml_rng_below(r, 12);
  size_t at = pml_rng_below(r, 4), n = (size_t)(T * H * dim), stride = (size_t)(G * dim);
  for (size_t i = 0; i < n + 4; i++) q[i] = random_value(r, kind);
  for (size_t i = 0; i < (size_t)S * stride + 4; i++) {
    k[i] = random_value(r, kind);
    v[i] = random_value(r, kind);
  }
  int bs = 1 + (int)pml_rng_below(r, 20);
  cache c = cache_make(k + at, v + at, S, bs, stride, r);
  const pml_kv_view *views[2] = {&c.view, &c.view};
  int32_t seen[2] = {S, S / 2};
  for (int strict = 1; strict >= 0; strict--)
    for (int level = 0; level < PML_CPU_LEVELS; level++) {
      if (!pml_cpu_supports((pml_cpu_level_t)level)) continue;
      pml_strict_set(strict);
      pml_cpu_level_set((pml_cpu_level_t)level);
      float *o = strict && level == 0 ? want : got;
      CHECK(pml_attention(o + at, q + at, T, H, G, dim, views, seen) == PML_OK);
      double worst = 0;
      for (size_t i = at; kind == 0 && i < n + at; i++) {
        double error = fabs((double)want[i] - (double)o[i]);
        if (!(error <= worst)) worst = error;
      }
      CHECK_MSG(strict ? same(want + at, o + at, n) : worst < 2e-6, "H %d G %d dim %d S %d kind %d level %d strict %d: %g",
                H, G, dim, S, kind, level, strict, worst);
    }
  cache_free(&c);
  pml_cpu_level_set(pml_cpu_best());
}

/* The last `window` of the visible positions, whatever the layout, the level and the threads. */
static void test_windows(pml_rng *r) {
  enum { H = 6, G = 2, DIM = 24, S = 600 };
  static const int windows[] = {1, 2, 255, 256, 257, 300, 599, 600, 5000};
  int32_t n_visible[MAX_T] = {S, 513, 300, 1, 0};
  size_t stride = G * DIM, n = H * DIM;
  TEST("windows");
  for (int i = 0; i < MAX_T * H * DIM; i++) q[i] = 2 * pml_rng_normal(r);
  for (int i = 0; i < S * G * DIM; i++) {
    k[i] = pml_rng_normal(r);
    v[i] = pml_rng_normal(r);
  }
  for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
    int window = windows[w];
    int32_t zero = 0;
    pml_kv_view flat = {k, v, &zero, S, stride};
    const pml_kv_view *views[MAX_T] = {&flat, &flat, &flat, &flat, &flat};
    CHECK(pml_attention_window(want, q, MAX_T, H, G, DIM, views, n_visible, window) == PML_OK);
    double e = worst_error(want, q, k, v, MAX_T, H, G, DIM, n_visible, window);
    CHECK_MSG(e < 5e-6, "window %d: error %g", window, e);
    cache c = cache_make(k, v, S, 16, stride, r); /* what the first row may not see holds NaN: it is not read */
    for (int p = 0; p < S - window; p++)
      for (size_t i = 0; i < stride; i++) {
        size_t at = ((size_t)c.table[p / 16] * 16 + (size_t)(p % 16)) * stride + i;
        c.k[at] = c.v[at] = NAN;
      }
    views[0] = &c.view;
    for (int threads = 1; threads <= 3; threads++) {
      pml_threads_set(threads);
      CHECK(pml_attention_window(got, q, MAX_T, H, G, DIM, views, n_visible, window) == PML_OK);
      CHECK_MSG(same(want, got, n * MAX_T), "window %d, %d threads", window, threads);
    }
    cache_free(&c);
    views[0] = &flat;
    if (window >= S) {
      CHECK(pml_attention(got, q, MAX_T, H, G, DIM, views, n_visible) == PML_OK);
      CHECK(same(want, got, n * MAX_T));
    }
    pml_strict_set(true);
    CHECK(pml_attention_window(want, q, MAX_T, H, G, DIM, views, n_visible, window) == PML_OK);
    for (int level = 0; level < PML_CPU_LEVELS; level++) {
      if (!pml_cpu_supports((pml_cpu_level_t)level)) continue;
      pml_cpu_level_set((pml_cpu_level_t)level);
      CHECK(pml_attention_window(got, q, MAX_T, H, G, DIM, views, n_visible, window) == PML_OK);
      CHECK_MSG(same(want, got, n * MAX_T), "window %d, level %d", window, level);
    }
    pml_cpu_level_set(pml_cpu_best());
    pml_strict_set(false);
  }
  pml_threads_set(0);
  CHECK(pml_attention_window(got, q, 1, H, G, DIM, NULL, n_visible, -1) == PML_E_USAGE);
}

/* A key outside the visible positions must not matter, whatever it holds; a NaN inside must show. */
static void test_masking(void) {
  enum { H = 2, DIM = 16, S = 300 };
  int32_t zero = 0, n_visible = 260;
  pml_kv_view view = {k, v, &zero, MAX_S, DIM};
  const pml_kv_view *views[1] = {&view};
  TEST("masking");
  pml_rng r = pml_rng_seed(3);
  for (int i = 0; i < S * DIM; i++) k[i] = v[i] = pml_rng_normal(&r);
  for (int i = 0; i < H * DIM; i++) q[i] = pml_rng_normal(&r);
  CHECK(pml_attention(want, q, 1, H, 1, DIM, views, &n_visible) == PML_OK);
  for (int i = 260 * DIM; i < S * DIM; i++) k[i] = v[i] = i & 1 ? NAN : INFINITY;
  CHECK(pml_attention(got, q, 1, H, 1, DIM, views, &n_visible) == PML_OK);
  CHECK(same(want, got, H * DIM));
  k[259 * DIM] = NAN;
  CHECK(pml_attention(got, q, 1, H, 1, DIM, views, &n_visible) == PML_OK);
  CHECK(isnan(got[0]) && isnan(got[H * DIM - 1]));
  /* one key far above the others takes all the weight, first or last, without overflow */
  for (int at = 0; at < 260; at += 259) {
    for (int i = 0; i < 260 * DIM; i++) k[i] = 0;
    for (int i = 0; i < DIM; i++) {
      q[i] = 100;
      k[at * DIM + i] = 100;
    }
    CHECK(pml_attention(got, q, 1, 1, 1, DIM, views, &n_visible) == PML_OK);
    for (int i = 0; i < DIM; i++) CHECK(bits_of(got[i]) == bits_of(v[at * DIM + i]));
  }
}

static void test_usage(void) {
  int32_t zero = 0, n_visible = 1;
  pml_kv_view view = {k, v, &zero, 1, 16};
  const pml_kv_view *views[1] = {&view};
  TEST("usage");
  CHECK(pml_attention(got, q, 1, 3, 2, 8, views, &n_visible) == PML_E_USAGE);
  CHECK(pml_attention(got, q, -1, 2, 2, 8, views, &n_visible) == PML_E_USAGE);
  CHECK(pml_attention(got, q, 1, 2, 2, 0, views, &n_visible) == PML_E_USAGE);
  CHECK(pml_attention(got, q, 0, 2, 2, 8, views, &n_visible) == PML_OK);
  n_visible = -1;
  CHECK(pml_attention(got, q, 1, 2, 2, 8, views, &n_visible) == PML_E_USAGE);
  n_visible = 1;
  view.block_size = 0;
  CHECK(pml_attention(got, q, 1, 2, 2, 8, views, &n_visible) == PML_E_USAGE);
}

int main(int argc, char **argv) {
  int n_cases = argc > 1 ? atoi(argv[1]) : 10000; /* fewer on emulated processors */
  static const int shapes[][4] = {/* H, G, dim, S */
      {1, 1, 1, 1},    {2, 2, 16, 17},  {4, 2, 15, 256}, {14, 2, 64, 257}, {3, 1, 17, 513},
      {8, 1, 8, 1000}, {27, 3, 80, 40}, {6, 1, 33, 300}, {5, 1, 64, 512}};
  pml_rng r = pml_rng_seed(14);
  TEST("shapes");
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i += n_cases < 10000 ? 4 : 1)
    for (int strict = 0; strict < 2; strict++)
      test_shape(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], strict, &r);
  TEST("random shapes");
  for (int i = 0; i < n_cases; i++) random_case(&r);
  pml_strict_set(false);
  test_windows(&r);
  test_masking();
  test_usage();
  pml_threads_stop();
  return TEST_END();
}
