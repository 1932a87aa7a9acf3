/* § 31: every backward function against central differences of its forward, then the
   whole model.  The differences are taken in f32, so the step is large and the bound loose:
   a wrong formula is off by tens of percent, rounding by a tenth of one. */
#include "prodml.h"
#include "test.h"

static pml_rng rng;

static void fill(float *x, size_t n, float scale) {
  for (size_t i = 0; i < n; i++) x[i] = scale * pml_rng_normal(&rng);
}

/* Σ out·probe is the scalar whose gradient is checked. */
static double against(const float *out, const float *probe, size_t n) {
  double s = 0;
  for (size_t i = 0; i < n; i++) s += (double)out[i] * (double)probe[i];
  return s;
}

typedef double (*loss_fn)(void *ctx);

/* Compares grad with differences of loss() over x; reports the worst relative error. */
static void check_gradient(const char *what, float *x, const float *grad, size_t n, float step, double bound,
                           loss_fn loss, void *ctx) {
  double worst = 0, size = 0;
  size_t at = 0, stride = n > 60 ? n / 60 : 1;
  for (size_t i = 0; i < n; i += stride) size += (double)grad[i] * (double)grad[i];
  size = sqrt(size / (double)((n + stride - 1) / stride)) + 1e-6;
  for (size_t i = 0; i < n; i += stride) {
    float keep = x[i];
    x[i] = keep + step;
    double up = loss(ctx), x_up = (double)x[i];
    x[i] = keep - step;
    double down = loss(ctx), x_down = (double)x[i];
    x[i] = keep;
    double error = fabs((up - down) / (x_up - x_down) - (double)grad[i]) / (size + fabs((double)grad[i]));
    if (error > worst) worst = error, at = i;
  }
  CHECK_MSG(worst < bound, "%s: relative error %.5f at %zu", what, worst, at);
}

enum { R = 5, D = 24, O = 7, F = 12, V = 11 };
static float x[512], w[1024], b[64], y[512], probe[512], dx[512], dw[1024], db[64], scratch[64];
static int32_t ids[R] = {3, 0, 10, 3, 7}, targets[R] = {1, 2, 10, 0, 5};
static float weights[R] = {1, 0.5f, 2, 0.1f, 1};

static double loss_dense(void *c) {
  (void)c;
  CHECK(pml_dense_forward(y, x, w, b, R, O, D) == PML_OK);
  return against(y, probe, R * O);
}
static double loss_norm(void *c) {
  (void)c;
  pml_rmsnorm(y, x, w, R, D, 1e-5f);
  return against(y, probe, R * D);
}
static double loss_swiglu(void *c) {
  (void)c;
  pml_swiglu_forward(y, x, R, F);
  return against(y, probe, R * F);
}
static double loss_gelu(void *c) {
  (void)c;
  pml_gelu(y, x, R * D);
  return against(y, probe, R * D);
}
static double loss_ffn(void *c) {
  CHECK(pml_ffn_forward((pml_ffn *)c, y, x, R) == PML_OK);
  return against(y, probe, R * O);
}
static double loss_embedding(void *c) {
  (void)c;
  pml_embedding_forward(y, w, ids, R, D);
  return against(y, probe, R * D);
}
static double loss_cross_entropy(void *c) {
  (void)c;
  float loss[R];
  memcpy(y, x, sizeof(float) * R * V);
  pml_cross_entropy_forward(loss, y, targets, R, V);
  double s = 0;
  for (int i = 0; i < R; i++) s += (double)loss[i] * (double)weights[i] * 0.25;
  return s;
}

static void test_steps(void) {
  TEST("dense");
  fill(x, R * D, 1), fill(w, O * D, 1), fill(b, O, 1), fill(probe, sizeof probe / sizeof *probe, 1);
  memset(dw, 0, sizeof dw), memset(db, 0, sizeof db);
  CHECK(pml_dense_backward(dx, dw, db, probe, x, w, R, O, D) == PML_OK);
  check_gradient("dx", x, dx, R * D, 0.05f, 2e-3, loss_dense, NULL);
  check_gradient("dw", w, dw, O * D, 0.05f, 2e-3, loss_dense, NULL);
  check_gradient("db", b, db, O, 0.05f, 2e-3, loss_dense, NULL);
  TEST("rmsnorm");
  memset(dx, 0, sizeof dx), memset(dw, 0, sizeof dw);
  pml_rmsnorm_backward(dx, dw, scratch, probe, x, w, R, D, 1e-5f);
  check_gradient("dx", x, dx, R * D, 0.01f, 4e-3, loss_norm, NULL);
  check_gradient("dw", w, dw, D, 0.05f, 2e-3, loss_norm, NULL);
  pml_rmsnorm_backward(dx, dw, scratch, probe, x, w, R, D, 1e-5f); /* adds: twice the gradient */
  for (int i = 0; i < R * D; i++) dx[i] *= 0.5f;
  check_gradient("dx is added to", x, dx, R * D, 0.01f, 4e-3, loss_norm, NULL);
  TEST("swiglu");
  pml_swiglu_backward(dx, probe, x, R, F);
  check_gradient("dgu", x, dx, R * 2 * F, 0.02f, 4e-3, loss_swiglu, NULL);
  TEST("gelu");
  for (int i = 0; i < R * D; i++) x[i] *= 2; /* beyond ±3, where the curve bends back */
  pml_gelu_backward(dx, probe, x, R * D);
  check_gradient("dx", x, dx, R * D, 0.02f, 4e-3, loss_gelu, NULL);
  TEST("a feed-forward network");
  for (int act = PML_FFN_LINEAR; act <= PML_FFN_SWIGLU; act++) {
    pml_ffn *m;
    CHECK(pml_ffn_create(&m, (pml_ffn_act)act, D, F, O, R, 3) == PML_OK);
    size_t e = act == PML_FFN_SWIGLU ? 2 * F : F;
    CHECK(m->n == e * D + e + O * F + O);
    loss_ffn(m);
    CHECK(pml_ffn_backward(m, probe, x, R) == PML_OK);
    check_gradient("parameters", m->params, m->grads, m->n, 0.02f, 4e-3, loss_ffn, m);
    check_gradient("last bias", m->params + m->n - O, m->grads + m->n - O, O, 0.02f, 4e-3, loss_ffn, m);
    pml_ffn_free(m);
    CHECK(pml_ffn_create(&m, (pml_ffn_act)act, D, 0, O, R, 3) == PML_E_USAGE && !m);
  }
  pml_ffn_free(NULL);
  TEST("embedding");
  memset(dw, 0, sizeof dw);
  pml_embedding_backward(dw, probe, ids, R, D);
  check_gradient("dtable", w, dw, V * D, 0.05f, 2e-3, loss_embedding, NULL);
  TEST("cross-entropy");
  fill(x, R * V, 2);
  loss_cross_entropy(NULL);
  pml_cross_entropy_backward(y, targets, weights, 0.25f, R, V);
  memcpy(dx, y, sizeof(float) * R * V);
  check_gradient("dlogits", x, dx, R * V, 0.02f, 4e-3, loss_cross_entropy, NULL);
}

/* RoPE is a rotation: the backward undoes the forward, and lengths stay. */
static void test_rope(void) {
  TEST("rope");
  enum { H = 3, HD = 8, LD = 30, POS = 40 };
  float cs[POS * HD], a[R * LD], before[R * LD];
  int32_t pos[R] = {0, 1, 2, 39, 7};
  for (int p = 0; p < POS; p++)
    for (int i = 0; i < HD / 2; i++) {
      cs[p * HD + i] = cosf((float)p / (float)(i + 1));
      cs[p * HD + HD / 2 + i] = sinf((float)p / (float)(i + 1));
    }
  fill(a, R * LD, 1);
  memcpy(before, a, sizeof a);
  pml_rope_rows(a, LD, R, H, HD, pos, cs, 1);
  float c = cosf(1.0f / 2.0f), s = sinf(1.0f / 2.0f), u = before[LD + 1], v = before[LD + 1 + HD / 2];
  CHECK(fabsf(a[LD + 1] - (u * c - v * s)) < 1e-5f && fabsf(a[LD + 1 + HD / 2] - (u * s + v * c)) < 1e-5f);
  CHECK(memcmp(a, before, sizeof(float) * H * HD) == 0); /* position 0 */
  CHECK(a[H * HD] == before[H * HD]);                    /* beyond the heads */
  pml_rope_rows(a, LD, R, H, HD, pos, cs, -1);
  float worst = 0;
  for (int i = 0; i < R * LD; i++) worst = fmaxf(worst, fabsf(a[i] - before[i]));
  CHECK(worst < 1e-5f);
}

static pml_config small(void) {
  pml_config c = {.arch = "qwen2", .n_layers = 2, .d_model = 20, .n_heads = 4, .n_kv_heads = 2, .head_dim = 6, .d_ffn = 28,
                  .n_vocab = 17, .n_ctx = 16, .rope_dim = 6, .rope_split = true, .qkv_bias = true, .tied_head = true,
                  .rope_theta = 100.0f, .rms_eps = 1e-5f};
  return c;
}

static const int32_t starts[] = {0, 1, 6, 9}; /* a sequence of one token, of five, of three */
enum { N = 9, QKV = 8 * 6, ATT = 4 * 6, PROBS = 4 * (1 + 25 + 9) };
static float qkv[N * QKV], att[N * ATT], probs[PROBS], dprobs[PROBS], dqkv[N * QKV];

static double loss_attention(void *c) {
  CHECK(pml_attention_forward(att, probs, qkv, (const pml_config *)c, 3, starts) == PML_OK);
  return against(att, probe, N * ATT);
}

static void test_attention(void) {
  TEST("attention");
  pml_config c = small();
  fill(qkv, N * QKV, 1);
  loss_attention(&c);
  CHECK(pml_attention_backward(dqkv, dprobs, probe, probs, qkv, &c, 3, starts) == PML_OK);
  check_gradient("dqkv", qkv, dqkv, N * QKV, 0.03f, 6e-3, loss_attention, &c);
  float first[ATT], later = qkv[3 * QKV];
  loss_attention(&c);
  memcpy(first, att + 2 * ATT, sizeof first);
  for (int i = 3 * QKV; i < 4 * QKV; i++) qkv[i] += 1.0f; /* position 2 of the second sequence */
  loss_attention(&c);
  CHECK(memcmp(first, att + 2 * ATT, sizeof first) == 0); /* position 1 does not see it */
  CHECK(later != qkv[3 * QKV]);
}

typedef struct {
  pml_net *net;
  pml_batch batch;
} model_ctx;

static double loss_model(void *c) {
  model_ctx *m = (model_ctx *)c;
  double loss = 0, weight = 0;
  CHECK(pml_net_forward(m->net, &m->batch, &loss, &weight) == PML_OK);
  return loss / weight;
}

static void test_model(void) {
  TEST("whole model");
  pml_config c = small();
  pml_net *net;
  CHECK(pml_net_create(&net, &c) == PML_OK);
  if (!net) return;
  pml_net_init(net, 7);
  for (size_t i = 0; i < net->layout.n; i++) net->params[i] += 0.3f * pml_rng_normal(&rng);
  int32_t in[N], out[N];
  float weight[N];
  for (int i = 0; i < N; i++) {
    in[i] = (int32_t)pml_rng_below(&rng, 17);
    out[i] = (int32_t)pml_rng_below(&rng, 17);
    weight[i] = i % 4 == 2 ? 0 : 0.5f + pml_rng_uniform(&rng);
  }
  model_ctx m = {net, {.n_seqs = 3, .starts = starts, .ids = in, .targets = out, .weights = weight}};
  double total = 0;
  for (int i = 0; i < N; i++) total += (double)weight[i];
  loss_model(&m);
  CHECK(pml_net_backward(net, &m.batch, (float)(1.0 / total)) == PML_OK);
  float *grads = (float *)malloc(net->layout.n * sizeof *grads);
  memcpy(grads, net->grads, net->layout.n * sizeof *grads);
  size_t end = 0;
  for (int i = 0; i < pml_layout_count(&net->layout); i++) {
    pml_layout_tensor t = pml_layout_at(&net->layout, i);
    CHECK(t.offset == end); /* tensors follow each other without a gap */
    end += (size_t)t.rows * (size_t)t.cols;
    check_gradient(t.name, net->params + t.offset, grads + t.offset, (size_t)t.rows * (size_t)t.cols, 0.01f, 2e-2, loss_model, &m);
  }
  CHECK(end == net->layout.n);
  in[4] = 17;
  CHECK(pml_net_forward(net, &m.batch, NULL, NULL) == PML_E_USAGE);
  in[4] = -1;
  CHECK(pml_net_forward(net, &m.batch, NULL, NULL) == PML_E_USAGE);
  const int32_t long_starts[] = {0, 17};
  pml_batch too_long = {.n_seqs = 1, .starts = long_starts, .ids = in, .targets = out, .weights = weight};
  CHECK(pml_net_forward(net, &too_long, NULL, NULL) == PML_E_LIMIT);
  too_long.n_seqs = 0;
  CHECK(pml_net_forward(net, &too_long, NULL, NULL) == PML_E_USAGE);
  free(grads);
  pml_net_free(net);
  c.tied_head = false;
  CHECK(pml_net_create(&net, &c) == PML_E_UNSUPPORTED && net == NULL);
  c = small();
  c.n_kv_heads = 3;
  CHECK(pml_net_create(&net, &c) == PML_E_USAGE);
  c = small();
  c.d_ffn = 0;
  CHECK(pml_net_create(&net, &c) == PML_E_USAGE);
}

int main(void) {
  rng = pml_rng_seed(5);
  test_steps();
  test_rope();
  test_attention();
  test_model();
  return TEST_END();
}
