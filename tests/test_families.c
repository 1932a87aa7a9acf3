/* § 25, § 26: the model families.  Each one against a plain forward pass in doubles that reads the
   tensors by their names in the file; nonsense in the metadata; windows; refusals.
   `test_families --corpus DIR` writes seeds for fuzz_gguf instead. */
#include "prodml.h"
#include "test.h"
#include <unistd.h>

enum { V = 48, L = 2, T = 40 };
enum { LINEAR = 1, YARN, LONG };

typedef struct {
  const char *name, *arch;
  int d, H, G, h, f, rot, window, scaling;
  bool tied, qkv_bias, out_bias, ffn_bias, fused, freqs; /* freqs: rope_freqs.weight is there */
  float theta;
  /* one thing wrong: a metadata value (text when not NULL), a tensor that is missing or too many */
  const char *bad_key, *bad_text, *without, *extra;
  double bad_value;
} family;

static const family families[] = {
    {.name = "llama", .arch = "llama", .d = 32, .H = 4, .G = 2, .h = 8, .f = 40, .rot = 8, .theta = 1e4f},
    {.name = "llama 3.1", .arch = "llama", .d = 32, .H = 4, .G = 1, .h = 8, .f = 40, .rot = 8, .theta = 5e5f, .tied = true,
     .freqs = true},
    {.name = "llama with biases, linear scaling", .arch = "llama", .d = 32, .H = 4, .G = 4, .h = 8, .f = 24, .rot = 8,
     .theta = 1e4f, .qkv_bias = true, .out_bias = true, .ffn_bias = true, .scaling = LINEAR},
    {.name = "mistral, window", .arch = "llama", .d = 32, .H = 4, .G = 2, .h = 16, .f = 40, .rot = 16, .theta = 1e4f,
     .window = 12},
    {.name = "qwen2, yarn", .arch = "qwen2", .d = 32, .H = 4, .G = 2, .h = 8, .f = 40, .rot = 8, .theta = 1e4f, .tied = true,
     .qkv_bias = true, .scaling = YARN},
    {.name = "qwen3", .arch = "qwen3", .d = 24, .H = 4, .G = 2, .h = 16, .f = 40, .rot = 16, .theta = 1e4f, .tied = true},
    {.name = "phi2", .arch = "phi2", .d = 40, .H = 2, .G = 2, .h = 20, .f = 48, .rot = 8, .theta = 1e4f, .qkv_bias = true,
     .out_bias = true, .ffn_bias = true},
    {.name = "phi2, fused", .arch = "phi2", .d = 40, .H = 2, .G = 2, .h = 20, .f = 48, .rot = 8, .theta = 1e4f,
     .qkv_bias = true, .out_bias = true, .ffn_bias = true, .fused = true},
    {.name = "phi3, window", .arch = "phi3", .d = 36, .H = 3, .G = 1, .h = 12, .f = 20, .rot = 12, .theta = 1e4f,
     .fused = true, .window = 15},
    {.name = "phi3, longrope, part of a head", .arch = "phi3", .d = 32, .H = 4, .G = 2, .h = 8, .f = 20, .rot = 6,
     .theta = 1e4f, .fused = true, .tied = true, .scaling = LONG}};
enum { N_FAMILIES = sizeof families / sizeof families[0] };

static const family *by_name(const char *name) {
  for (size_t i = 0; i < N_FAMILIES; i++)
    if (!strcmp(families[i].name, name)) return &families[i];
  return NULL;
}

static bool is(const family *f, const char *arch) { return !strcmp(f->arch, arch); }

/* ── writing one ──────────────────────────────────────────────────────────────── */

typedef struct {
  pml_gguf_writer *w;
  pml_arena arena;
  pml_rng rng;
  const family *f;
  bool bad_done;
} maker;

static void put(maker *m, const char *key, pml_gguf_type type, double v, const char *text) {
  char name[128];
  snprintf(name, sizeof name, "%s.%s", m->f->arch, key);
  if (m->f->bad_key && !strcmp(key, m->f->bad_key)) {
    m->bad_done = true;
    text = m->f->bad_text;
    v = m->f->bad_value;
  }
  if (text && !*text) return; /* left out */
  if (text) pml_gguf_add_str(m->w, name, text);
  else if (type == PML_GGUF_F32) pml_gguf_add_f32(m->w, name, (float)v);
  else {
    int32_t whole = v < -2147483647.0 || v > 2147483647.0 ? INT32_MIN : (int32_t)v;
    if (v == (double)whole) pml_gguf_add_value(m->w, name, PML_GGUF_I32, &whole);
    else pml_gguf_add_f32(m->w, name, (float)v);
  }
}

static void tensor(maker *m, const char *name, int rows, int cols, float mean, float sd) {
  uint64_t ne[2] = {(uint64_t)cols, (uint64_t)rows};
  float *x = (float *)pml_arena_alloc(&m->arena, (size_t)rows * (size_t)cols * sizeof *x);
  for (int i = 0; i < rows * cols; i++) x[i] = mean + sd * pml_rng_normal(&m->rng);
  if (m->f->without && !strcmp(name, m->f->without)) return;
  pml_gguf_add_tensor(m->w, name, PML_F32, rows == 1 ? 1 : 2, ne, x);
}

static void layer_tensor(maker *m, int i, const char *suffix, int rows, int cols, float mean, float sd) {
  char name[64];
  snprintf(name, sizeof name, "blk.%d.%s", i, suffix);
  tensor(m, name, rows, cols, mean, sd);
}

static void layer(maker *m, int i) {
  const family *f = m->f;
  int q = f->H * f->h, kv = f->G * f->h, d = f->d;
  float sd = 1.5f / sqrtf((float)d);
  bool phi2 = is(f, "phi2"), phi3 = is(f, "phi3");
  layer_tensor(m, i, "attn_norm.weight", 1, d, 1, 0.2f);
  if (phi2) layer_tensor(m, i, "attn_norm.bias", 1, d, 0, 0.3f);
  if (f->fused) layer_tensor(m, i, "attn_qkv.weight", q + 2 * kv, d, 0, sd);
  if (f->fused && f->qkv_bias) layer_tensor(m, i, "attn_qkv.bias", 1, q + 2 * kv, 0, 0.3f);
  for (int j = 0; j < 3 && !f->fused; j++) {
    static const char *const w[] = {"attn_q.weight", "attn_k.weight", "attn_v.weight"};
    static const char *const b[] = {"attn_q.bias", "attn_k.bias", "attn_v.bias"};
    layer_tensor(m, i, w[j], j ? kv : q, d, 0, sd);
    if (f->qkv_bias) layer_tensor(m, i, b[j], 1, j ? kv : q, 0, 0.3f);
  }
  if (is(f, "qwen3")) {
    layer_tensor(m, i, "attn_q_norm.weight", 1, f->h, 1.5f, 0.3f);
    layer_tensor(m, i, "attn_k_norm.weight", 1, f->h, 1.5f, 0.3f);
  }
  layer_tensor(m, i, "attn_output.weight", d, q, 0, 1.5f / sqrtf((float)q));
  if (f->out_bias) layer_tensor(m, i, "attn_output.bias", 1, d, 0, 0.3f);
  if (!phi2) layer_tensor(m, i, "ffn_norm.weight", 1, d, 1, 0.2f);
  if (!phi2 && !phi3) {
    layer_tensor(m, i, "ffn_gate.weight", f->f, d, 0, sd);
    if (f->ffn_bias) layer_tensor(m, i, "ffn_gate.bias", 1, f->f, 0, 0.3f);
  }
  layer_tensor(m, i, "ffn_up.weight", phi3 ? 2 * f->f : f->f, d, 0, sd);
  if (f->ffn_bias) layer_tensor(m, i, "ffn_up.bias", 1, f->f, 0, 0.3f);
  layer_tensor(m, i, "ffn_down.weight", d, f->f, 0, 1.5f / sqrtf((float)f->f));
  if (f->ffn_bias) layer_tensor(m, i, "ffn_down.bias", 1, d, 0, 0.3f);
}

static double short_factor(int i) { return 1 + 0.3 * i; }
static double long_factor(int i) { return 2 + 1.7 * i; }
static double llama3_factor(int i) { return i < 2 ? 1 : 1 + 3.5 * (i - 1); }

static void factors(maker *m, const char *name, double (*factor)(int)) {
  uint64_t n = (uint64_t)m->f->rot / 2;
  float *x = (float *)pml_arena_alloc(&m->arena, n * sizeof *x);
  for (uint64_t i = 0; i < n; i++) x[i] = (float)factor((int)i);
  if (m->f->bad_text && !strcmp(m->f->bad_text, name)) x[1] = (float)m->f->bad_value;
  if (!m->f->without || strcmp(name, m->f->without) != 0) pml_gguf_add_tensor(m->w, name, PML_F32, 1, &n, x);
}

static void metadata(maker *m) {
  const family *f = m->f;
  put(m, "block_count", PML_GGUF_U32, L, NULL);
  put(m, "context_length", PML_GGUF_U32, 256, NULL);
  put(m, "embedding_length", PML_GGUF_U32, f->d, NULL);
  put(m, "feed_forward_length", PML_GGUF_U32, f->f, NULL);
  put(m, "attention.head_count", PML_GGUF_U32, f->H, NULL);
  put(m, "attention.head_count_kv", PML_GGUF_U32, f->G, NULL);
  put(m, "attention.key_length", PML_GGUF_U32, f->h, NULL);
  put(m, "rope.dimension_count", PML_GGUF_U32, f->rot, NULL);
  put(m, "rope.freq_base", PML_GGUF_F32, (double)f->theta, NULL);
  put(m, is(f, "phi2") ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", PML_GGUF_F32, 1e-5, NULL);
  if (f->window) put(m, "attention.sliding_window", PML_GGUF_U32, f->window, NULL);
  if (f->scaling == LINEAR || f->scaling == YARN) {
    put(m, "rope.scaling.type", PML_GGUF_STR, 0, f->scaling == YARN ? "yarn" : "linear");
    put(m, "rope.scaling.factor", PML_GGUF_F32, 4, NULL);
  }
  if (f->scaling == YARN || f->scaling == LONG) put(m, "rope.scaling.original_context_length", PML_GGUF_U32, 64, NULL);
  if (f->scaling == LONG) put(m, "rope.scaling.attn_factor", PML_GGUF_F32, 1.25, NULL);
  if (f->bad_key && !m->bad_done) put(m, f->bad_key, PML_GGUF_U32, 0, NULL);
}

static pml_status write_family(const char *path, const family *f) {
  maker m = {.f = f, .rng = pml_rng_seed(77)};
  pml_status st = pml_gguf_writer_create(&m.w);
  if (st != PML_OK) return st;
  pml_gguf_add_str(m.w, "general.architecture", f->arch);
  metadata(&m);
  tensor(&m, "token_embd.weight", V, f->d, 0, 0.5f);
  tensor(&m, "output_norm.weight", 1, f->d, 1, 0.2f);
  if (is(f, "phi2")) tensor(&m, "output_norm.bias", 1, f->d, 0, 0.3f);
  if (!f->tied) tensor(&m, "output.weight", V, f->d, 0, 0.5f);
  if (is(f, "phi2")) tensor(&m, "output.bias", 1, V, 0, 1);
  if (f->freqs) factors(&m, "rope_freqs.weight", llama3_factor);
  if (f->scaling == LONG) {
    factors(&m, "rope_factors_long.weight", long_factor);
    factors(&m, "rope_factors_short.weight", short_factor);
  }
  for (int i = 0; i < L; i++) layer(&m, i);
  if (f->extra) tensor(&m, f->extra, 1, 4, 0, 1);
  st = pml_gguf_writer_finish(m.w, path);
  pml_arena_free(&m.arena);
  return st;
}

/* ── the definition in doubles, from the tensors of the file ───────────────────── */

typedef struct {
  const family *f;
  const pml_gguf *g;
  bool long_context;
} ref;

static const float *data_of(const ref *r, int layer_no, const char *suffix) {
  char name[64];
  if (layer_no >= 0) snprintf(name, sizeof name, "blk.%d.%s", layer_no, suffix);
  else snprintf(name, sizeof name, "%s", suffix);
  const pml_tensor *t = pml_gguf_tensor(r->g, name);
  return t ? (const float *)t->data : NULL;
}

/* y[n_out] = W[first …]·x + b[first …], from W's rows first … first + n_out - 1 */
static void ref_linear(const ref *r, double *y, const double *x, int i, const char *weight, const char *bias, int first,
                       int n_out, int n_in) {
  const float *w = data_of(r, i, weight), *b = bias ? data_of(r, i, bias) : NULL;
  for (int o = 0; o < n_out; o++) {
    double s = b ? (double)b[first + o] : 0;
    for (int k = 0; k < n_in; k++) s += (double)w[(first + o) * n_in + k] * x[k];
    y[o] = s;
  }
}

static void ref_norm(double *y, const double *x, const float *w, const float *b, int n, bool centre) {
  double mean = 0, var = 0;
  for (int i = 0; i < n && centre; i++) mean += x[i] / n;
  for (int i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean) / n;
  for (int i = 0; i < n; i++) y[i] = (x[i] - mean) / sqrt(var + 1e-5) * (double)w[i] + (b ? (double)b[i] : 0);
}

static double ref_angle(const ref *r, int i) { /* radians per position of pair i */
  const family *f = r->f;
  double theta = (double)f->theta, a = pow(theta, -2.0 * i / f->rot);
  if (f->freqs) a /= (double)(float)llama3_factor(i);
  if (f->scaling == LINEAR) a /= 4;
  if (f->scaling == LONG) a /= (double)(float)(r->long_context ? long_factor(i) : short_factor(i));
  if (f->scaling == YARN) { /* a pair that turns over 32 times in 64 positions is fast, under once slow */
    double pi = acos(-1), low = floor(f->rot * log(64 / (32 * 2 * pi)) / (2 * log(theta)));
    double high = ceil(f->rot * log(64 / (2 * pi)) / (2 * log(theta)));
    low = fmax(low, 0), high = fmin(high, f->rot - 1);
    double slow = fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
    a = a / 4 * slow + a * (1 - slow);
  }
  return a;
}

static void ref_rope(const ref *r, double *x, int heads, int pos) {
  const family *f = r->f;
  double gain = f->scaling == YARN ? 1 + 0.1 * log(4) : f->scaling == LONG ? 1.25 : 1;
  for (int h = 0; h < heads; h++)
    for (int i = 0; i < f->rot / 2; i++) {
      double a = pos * ref_angle(r, i), *p = x + h * f->h + (is(f, "llama") ? 2 * i : i);
      double *q = x + h * f->h + (is(f, "llama") ? 2 * i + 1 : i + f->rot / 2);
      double u = (*p * cos(a) - *q * sin(a)) * gain, v = (*p * sin(a) + *q * cos(a)) * gain;
      *p = u;
      *q = v;
    }
}

static void ref_qkv(const ref *r, int i, const double *n, double *q, double *k, double *v) {
  const family *f = r->f;
  int qw = f->H * f->h, kw = f->G * f->h, d = f->d;
  const char *w = f->fused ? "attn_qkv.weight" : "attn_q.weight", *b = f->fused ? "attn_qkv.bias" : "attn_q.bias";
  ref_linear(r, q, n, i, w, b, 0, qw, d);
  ref_linear(r, k, n, i, f->fused ? w : "attn_k.weight", f->fused ? b : "attn_k.bias", f->fused ? qw : 0, kw, d);
  ref_linear(r, v, n, i, f->fused ? w : "attn_v.weight", f->fused ? b : "attn_v.bias", f->fused ? qw + kw : 0, kw, d);
  if (!is(f, "qwen3")) return;
  for (int h = 0; h < f->H; h++)
    ref_norm(q + h * f->h, q + h * f->h, data_of(r, i, "attn_q_norm.weight"), NULL, f->h, false);
  for (int h = 0; h < f->G; h++)
    ref_norm(k + h * f->h, k + h * f->h, data_of(r, i, "attn_k_norm.weight"), NULL, f->h, false);
}

static void ref_attention(const family *f, double *out, const double *q, const double *k, const double *v, int t) {
  double p[T];
  int kw = f->G * f->h, from = f->window && t >= f->window ? t - f->window + 1 : 0;
  for (int h = 0; h < f->H; h++) {
    const double *qh = q + h * f->h;
    double max = -1e300, sum = 0;
    int at = h * f->G / f->H * f->h;
    for (int s = from; s <= t; s++) {
      p[s] = 0;
      for (int i = 0; i < f->h; i++) p[s] += qh[i] * k[s * kw + at + i];
      p[s] /= sqrt(f->h);
      max = fmax(max, p[s]);
    }
    for (int s = from; s <= t; s++) sum += p[s] = exp(p[s] - max);
    for (int i = 0; i < f->h; i++) {
      out[h * f->h + i] = 0;
      for (int s = from; s <= t; s++) out[h * f->h + i] += p[s] / sum * v[s * kw + at + i];
    }
  }
}

static void ref_ffn(const ref *r, int i, double *y, const double *n) {
  const family *f = r->f;
  double g[64], u[64];
  bool phi3 = is(f, "phi3");
  if (is(f, "phi2")) {
    ref_linear(r, g, n, i, "ffn_up.weight", "ffn_up.bias", 0, f->f, f->d);
    for (int j = 0; j < f->f; j++) g[j] = 0.5 * g[j] * (1 + tanh(sqrt(2 / acos(-1)) * (g[j] + 0.044715 * pow(g[j], 3))));
  } else {
    ref_linear(r, g, n, i, phi3 ? "ffn_up.weight" : "ffn_gate.weight", f->ffn_bias ? "ffn_gate.bias" : NULL, 0, f->f, f->d);
    ref_linear(r, u, n, i, "ffn_up.weight", f->ffn_bias ? "ffn_up.bias" : NULL, phi3 ? f->f : 0, f->f, f->d);
    for (int j = 0; j < f->f; j++) g[j] = g[j] / (1 + exp(-g[j])) * u[j];
  }
  ref_linear(r, y, g, i, "ffn_down.weight", f->ffn_bias ? "ffn_down.bias" : NULL, 0, f->d, f->f);
}

/* Logits of the last of n tokens. */
static void ref_forward(const ref *r, const int32_t *tokens, int n, double *logits) {
  const family *f = r->f;
  static double x[T][64], norm[T][64], q[T][128], k[T * 64], v[T * 64];
  double att[128], y[64];
  int d = f->d, kw = f->G * f->h;
  bool phi2 = is(f, "phi2");
  const float *embed = data_of(r, -1, "token_embd.weight");
  for (int t = 0; t < n; t++)
    for (int i = 0; i < d; i++) x[t][i] = (double)embed[tokens[t] * d + i];
  for (int i = 0; i < L; i++) {
    for (int t = 0; t < n; t++) {
      ref_norm(norm[t], x[t], data_of(r, i, "attn_norm.weight"), data_of(r, i, "attn_norm.bias"), d, phi2);
      ref_qkv(r, i, norm[t], q[t], k + t * kw, v + t * kw);
      ref_rope(r, q[t], f->H, t);
      ref_rope(r, k + t * kw, f->G, t);
    }
    for (int t = 0; t < n; t++) {
      ref_attention(f, att, q[t], k, v, t);
      ref_linear(r, y, att, i, "attn_output.weight", "attn_output.bias", 0, d, f->H * f->h);
      for (int j = 0; j < d; j++) x[t][j] += y[j];
      if (!phi2) ref_norm(norm[t], x[t], data_of(r, i, "ffn_norm.weight"), NULL, d, false);
      ref_ffn(r, i, y, norm[t]);
      for (int j = 0; j < d; j++) x[t][j] += y[j];
    }
  }
  ref_norm(y, x[n - 1], data_of(r, -1, "output_norm.weight"), data_of(r, -1, "output_norm.bias"), d, phi2);
  ref_linear(r, logits, y, -1, f->tied ? "token_embd.weight" : "output.weight", "output.bias", 0, V, d);
}

/* ── the tests ─────────────────────────────────────────────────────────────────── */

static char path[300];
static int32_t tokens[T];
static const pml_model_options no_tokenizer = {.allow_no_tokenizer = true};

static pml_model *open_family(const family *f) {
  pml_model *m = NULL;
  pml_status st = write_family(path, f);
  if (st == PML_OK) st = pml_model_open(&m, path, &no_tokenizer);
  CHECK_MSG(st == PML_OK, "%s: %s", f->name, pml_error());
  unlink(path);
  return m;
}

/* Logits of the last of n tokens, run in pieces. */
static void run(const pml_model *m, int n, int piece, pml_context_options o, float *logits) {
  pml_context *ctx = NULL;
  pml_seq seq = {0};
  CHECK_MSG(pml_context_open(&ctx, m, NULL, &o) == PML_OK, "%s", pml_error());
  for (int at = 0; ctx && at < n; at += piece)
    CHECK_MSG(pml_forward_one(ctx, &seq, tokens + at, n - at < piece ? n - at : piece, logits) == PML_OK, "%s", pml_error());
  if (ctx) pml_context_seq_free(ctx, &seq);
  pml_context_close(ctx);
}

static void test_reference(void) {
  for (size_t i = 0; i < N_FAMILIES; i++) {
    const family *f = &families[i];
    TEST(f->name);
    pml_model *m = open_family(f);
    if (!m) continue;
    float got[V];
    double want[V];
    for (int variant = 0; variant < 4; variant++) {
      bool strict = variant & 1, long_context = variant & 2;
      ref r = {f, m->file, long_context};
      double worst = 0, size = 0;
      pml_strict_set(strict);
      ref_forward(&r, tokens, T, want);
      run(m, T, T, (pml_context_options){.n_ctx = long_context ? 65 : 64}, got);
      for (int j = 0; j < V; j++) {
        worst = fmax(worst, fabs((double)got[j] - want[j]));
        size = fmax(size, fabs(want[j]));
      }
      CHECK_MSG(worst < 1e-4 && size > 1, "strict %d, context %d: worst difference %g of %g", strict, long_context ? 65 : 64,
                worst, size);
    }
    pml_strict_set(false);
    uint64_t n = 0;
    for (size_t j = 0; j < pml_gguf_n_tensors(m->file); j++) {
      const pml_tensor *t = pml_gguf_tensor_at(m->file, j);
      if (t->name.len < 5 || memcmp(t->name.ptr, "rope_", 5) != 0) n += t->ne[0] * t->ne[1];
    }
    CHECK_MSG(pml_config_n_params(&m->cfg) == n, "%llu parameters, the file has %llu",
              (unsigned long long)pml_config_n_params(&m->cfg), (unsigned long long)n);
    CHECK(pml_model_bytes_per_token(m) == (n - (f->tied ? 0 : V * (uint64_t)f->d)) * 4 + (uint64_t)f->d * 4);
    pml_layout layout;
    if (!is(f, "qwen2") || f->scaling) CHECK(pml_layout_of(&layout, &m->cfg) == PML_E_UNSUPPORTED && strstr(pml_error(), "training"));
    pml_model_close(m);
  }
}

static void test_invariance(void) {
  for (size_t i = 0; i < N_FAMILIES; i++) {
    TEST(families[i].name);
    pml_model *m = open_family(&families[i]);
    if (!m) continue;
    float base[V], got[V];
    for (int strict = 0; strict < 2; strict++) {
      static const struct { int threads, piece, block, batch; } ways[] = {{1, 1, 1, 0}, {2, 7, 3, 5}, {2, T, 16, 1}, {3, 13, 64, 0}};
      pml_strict_set(strict);
      pml_threads_set(1);
      run(m, T, T, (pml_context_options){.n_ctx = 128, .block_size = 128}, base);
      for (int j = 0; j < 4; j++) {
        pml_threads_set(ways[j].threads);
        pml_context_options o = {.n_ctx = 128, .block_size = ways[j].block, .max_batch = ways[j].batch};
        run(m, T, ways[j].piece, o, got);
        CHECK_MSG(memcmp(base, got, sizeof base) == 0, "strict %d, way %d: other bits", strict, j);
      }
    }
    pml_strict_set(false);
    pml_model_close(m);
  }
  pml_threads_set(1);
}

/* What lies before the window is not read: NaN there changes nothing, NaN at its edge does. */
static void test_window(void) {
  const family *f = by_name("mistral, window");
  TEST("positions before the window are not read");
  pml_model *m = open_family(f);
  pml_context *ctx = NULL;
  pml_seq seq = {0};
  pml_context_options o = {.n_ctx = 64, .block_size = 4};
  float want[V], got[V];
  if (!m || pml_context_open(&ctx, m, NULL, &o) != PML_OK) return;
  run(m, T, T, o, want);
  CHECK(pml_forward_one(ctx, &seq, tokens, T - 1, got) == PML_OK);
  for (int layer_no = 0; layer_no < L; layer_no++)
    for (int p = 0; p <= T - 1 - f->window; p++)
      for (int i = 0; i < f->G * f->h; i++)
        pml_kv_k_row(pml_context_kv(ctx), &seq, layer_no, p)[i] = pml_kv_v_row(pml_context_kv(ctx), &seq, layer_no, p)[i] = NAN;
  CHECK(pml_forward_one(ctx, &seq, tokens + T - 1, 1, got) == PML_OK);
  CHECK(memcmp(want, got, sizeof want) == 0);
  pml_context_truncate(ctx, &seq, T - 1);
  pml_kv_k_row(pml_context_kv(ctx), &seq, 0, T - f->window)[0] = NAN;
  CHECK(pml_forward_one(ctx, &seq, tokens + T - 1, 1, got) == PML_OK && isnan(got[0]));
  TEST("the probe shows whole contexts only");
  pml_probe *probe = NULL;
  CHECK(pml_probe_open(&probe, ctx, &seq, 4) == PML_E_UNSUPPORTED && strstr(pml_error(), "window"));
  pml_context_seq_free(ctx, &seq);
  pml_context_close(ctx);
  pml_model_close(m);
}

/* Metadata and tensors that make no sense: a status and a sentence each. */
static void test_nonsense(void) {
  static const struct {
    const char *family, *key, *text;
    double value;
    const char *without, *extra;
    pml_status status;
    const char *says;
  } bad[] = {
      {"llama", "block_count", NULL, 0, NULL, NULL, PML_E_FORMAT, "block_count"},
      {"llama", "block_count", NULL, 1e6, NULL, NULL, PML_E_FORMAT, "between 1 and 4096"},
      {"llama", "block_count", NULL, 1, NULL, NULL, PML_E_UNSUPPORTED, "blk.1."},
      {"llama", "embedding_length", "many", 0, NULL, NULL, PML_E_FORMAT, "not one whole number"},
      {"llama", "embedding_length", NULL, 32.5, NULL, NULL, PML_E_FORMAT, "not one whole number"},
      {"llama", "embedding_length", "", 0, NULL, NULL, PML_E_FORMAT, "is missing"},
      {"llama", "attention.head_count", NULL, -4, NULL, NULL, PML_E_FORMAT, "head_count"},
      {"llama", "attention.head_count_kv", NULL, 3, NULL, NULL, PML_E_FORMAT, "do not fit together"},
      {"llama", "attention.head_count_kv", NULL, 0, NULL, NULL, PML_E_FORMAT, "head_count_kv"},
      {"llama", "attention.key_length", NULL, 7, NULL, NULL, PML_E_FORMAT, "do not fit together"},
      {"llama", "attention.key_length", NULL, 16, NULL, NULL, PML_E_FORMAT, "do not fit together|attn_q"},
      {"llama", "attention.value_length", NULL, 4, NULL, NULL, PML_E_UNSUPPORTED, "values of 4"},
      {"llama", "rope.dimension_count", NULL, 10, NULL, NULL, PML_E_FORMAT, "do not fit together"},
      {"llama", "rope.dimension_count", NULL, 0, NULL, NULL, PML_E_FORMAT, "dimension_count"},
      {"llama", "attention.sliding_window", NULL, -1, NULL, NULL, PML_E_FORMAT, "sliding_window"},
      {"llama", "attention.sliding_window", "wide", 0, NULL, NULL, PML_E_FORMAT, "sliding_window"},
      {"llama", "rope.freq_base", NULL, 0, NULL, NULL, PML_E_FORMAT, "freq_base"},
      {"llama", "rope.freq_base", NULL, 1, NULL, NULL, PML_E_FORMAT, "freq_base"},
      {"llama", "attention.layer_norm_rms_epsilon", NULL, 0, NULL, NULL, PML_E_FORMAT, "epsilon"},
      {"llama", "attention.layer_norm_rms_epsilon", "small", 0, NULL, NULL, PML_E_FORMAT, "not a number"},
      {"phi2", "attention.layer_norm_epsilon", NULL, -1, NULL, NULL, PML_E_FORMAT, "layer_norm_epsilon"},
      {"llama", "expert_count", NULL, 8, NULL, NULL, PML_E_UNSUPPORTED, "8 experts"},
      {"llama", "rope.scaling.type", "quantum", 0, NULL, NULL, PML_E_UNSUPPORTED, "quantum"},
      {"llama", "rope.scaling.type", NULL, 3, NULL, NULL, PML_E_UNSUPPORTED, "RoPE scaling"},
      {"qwen2, yarn", "rope.scaling.factor", NULL, -2, NULL, NULL, PML_E_FORMAT, "scaling.factor"},
      {"qwen2, yarn", "rope.scaling.factor", NULL, 0.5, NULL, NULL, PML_E_FORMAT, "between 1 and"},
      {"qwen2, yarn", "rope.scaling.original_context_length", NULL, -5, NULL, NULL, PML_E_FORMAT, "original_context"},
      {"qwen2, yarn", "rope.scaling.attn_factor", NULL, 0, NULL, NULL, PML_E_FORMAT, "attn_factor"},
      {"qwen2, yarn", "rope.scaling.yarn_beta_fast", NULL, -1, NULL, NULL, PML_E_FORMAT, "beta_fast"},
      {"llama 3.1", NULL, "rope_freqs.weight", 0, NULL, NULL, PML_E_FORMAT, "factor 1 in tensor 'rope_freqs.weight'"},
      {"llama 3.1", NULL, "rope_freqs.weight", -1, NULL, NULL, PML_E_FORMAT, "factor 1"},
      {"phi3, longrope, part of a head", NULL, "rope_factors_long.weight", (double)NAN, NULL, NULL, PML_E_FORMAT, "factor 1"},
      {"phi3, longrope, part of a head", NULL, NULL, 0, "rope_factors_short.weight", NULL, PML_E_FORMAT, "rope_factors_short"},
      {"phi3, longrope, part of a head", NULL, NULL, 0, "rope_factors_long.weight", NULL, PML_E_UNSUPPORTED, "rope_factors_short"},
      {"phi3, window", "rope.scaling.type", "longrope", 0, NULL, NULL, PML_E_FORMAT, "rope_factors_long"},
      {"qwen3", NULL, NULL, 0, "blk.1.attn_k_norm.weight", NULL, PML_E_FORMAT, "attn_k_norm"},
      {"phi2", NULL, NULL, 0, "output.bias", NULL, PML_E_FORMAT, "output.bias"},
      {"phi2", NULL, NULL, 0, "blk.0.ffn_down.bias", NULL, PML_E_FORMAT, "ffn_down.bias"},
      {"phi2", NULL, NULL, 0, "blk.1.attn_norm.bias", NULL, PML_E_FORMAT, "attn_norm.bias"},
      {"phi2, fused", NULL, NULL, 0, "blk.1.attn_qkv.weight", NULL, PML_E_FORMAT, "attn_q.weight"},
      {"phi3, window", NULL, NULL, 0, "blk.0.ffn_up.weight", NULL, PML_E_FORMAT, "ffn_up"},
      {"llama with biases, linear scaling", NULL, NULL, 0, "blk.1.attn_output.bias", NULL, PML_E_FORMAT, "attn_output.bias"},
      {"llama", NULL, NULL, 0, NULL, "blk.0.attn_q_norm.weight", PML_E_UNSUPPORTED, "no place in a llama model"},
      {"llama", NULL, NULL, 0, NULL, "blk.0.ffn_gate_inp.weight", PML_E_UNSUPPORTED, "ffn_gate_inp"},
      {"llama", NULL, NULL, 0, NULL, "blk.0.attn_rot_embd.weight", PML_OK, ""}};
  TEST("nonsense in a file");
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    family f = *by_name(bad[i].family);
    pml_model *m = NULL;
    f.bad_key = bad[i].key;
    f.bad_text = bad[i].text;
    f.bad_value = bad[i].value;
    f.without = bad[i].without;
    f.extra = bad[i].extra;
    CHECK_MSG(write_family(path, &f) == PML_OK, "%s", pml_error());
    pml_status st = pml_model_open(&m, path, &no_tokenizer);
    const char *bar = strchr(bad[i].says, '|');
    bool said = strstr(pml_error(), bar ? bar + 1 : bad[i].says) != NULL;
    CHECK_MSG(st == bad[i].status && (st == PML_OK || said), "%s, %s%s%s: %s (%s)", f.name, f.bad_key ? f.bad_key : "",
              f.without ? f.without : "", f.extra ? f.extra : "", pml_status_name(st), pml_error());
    pml_model_close(m);
    unlink(path);
  }
  TEST("an architecture that does not exist");
  family f = families[0];
  pml_model *m = NULL;
  f.arch = "mamba";
  CHECK(write_family(path, &f) == PML_OK && pml_model_open(&m, path, &no_tokenizer) == PML_E_UNSUPPORTED);
  CHECK(strstr(pml_error(), "\"mamba\"") && strstr(pml_error(), "phi3"));
  unlink(path);
}

/* Scaling without the name of a kind is linear, as in old files. */
static void test_scaling_facts(void) {
  TEST("scaling facts");
  family f = *by_name("llama with biases, linear scaling");
  f.bad_key = "rope.scaling.type";
  f.bad_text = "";
  pml_model *m = open_family(&f);
  CHECK(m && m->cfg.rope_scaling == PML_ROPE_LINEAR && m->cfg.rope_factor == 4.0f);
  pml_model_close(m);
  f.bad_text = "none";
  m = open_family(&f);
  CHECK(m && m->cfg.rope_scaling == PML_ROPE_PLAIN && m->cfg.rope_factor == 1.0f);
  pml_model_close(m);
  m = open_family(by_name("qwen2, yarn"));
  CHECK(m && m->cfg.n_ctx_orig == 64 && m->cfg.n_ctx == 256 && !strcmp(pml_rope_scaling_name(m->cfg.rope_scaling), "yarn"));
  CHECK(m && fabs((double)m->cfg.rope_gain - (1 + 0.1 * log(4))) < 1e-6 && !m->rope_freqs_long);
  pml_model_close(m);
  f = families[0];
  f.bad_key = "context_length";
  f.bad_value = 2147483647;
  m = open_family(&f);
  pml_context *ctx = NULL;
  pml_context_options o = {.n_ctx = 1000001};
  CHECK(m && pml_context_open(&ctx, m, NULL, &o) == PML_E_LIMIT && strstr(pml_error(), "1000000"));
  pml_model_close(m);
}

static int write_corpus(const char *dir) {
  static const char *const names[] = {"llama 3.1", "qwen2, yarn", "qwen3", "phi2", "phi3, longrope, part of a head"};
  int failed = 0;
  for (size_t i = 0; i < 5; i++) {
    family f = *by_name(names[i]);
    f.d = 8, f.H = 2, f.G = 1 + is(&f, "phi2"), f.h = 4, f.f = 4, f.rot = is(&f, "phi2") ? 2 : 4;
    snprintf(path, sizeof path, "%s/model_%s_%zu.gguf", dir, f.arch, i);
    failed |= write_family(path, &f) != PML_OK;
  }
  return failed;
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "--corpus")) return write_corpus(argv[2]);
  const char *tmp = getenv("TMPDIR");
  snprintf(path, sizeof path, "%s/prodml-families-%ld.gguf", tmp && *tmp ? tmp : "/tmp", (long)getpid());
  pml_rng r = pml_rng_seed(5);
  for (int i = 0; i < T; i++) tokens[i] = (int32_t)pml_rng_below(&r, V);
  pml_threads_set(1);
  test_reference();
  test_invariance();
  test_window();
  test_nonsense();
  test_scaling_facts();
  pml_threads_stop();
  CHECK(pml_memory_in_use() == 0);
  return TEST_END();
}
