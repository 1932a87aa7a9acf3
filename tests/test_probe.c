/* What the first lessons look through: attention under the microscope, the logit lens, the largest
   tokens, a gradient's error, weights into a net (§ 26, § 27, § 28, § 31, § 33). */
#include "prodml.h"
#include "test.h"
#include "tiny_model.h"

enum { T = 9 };
static const int32_t ids[T] = {5, 40, 7, 7, 120, 3, 250, 11, 60};

static pml_model *open_tiny(bool f16) {
  char path[256];
  pml_model *m = NULL;
  tiny_config c = tiny_defaults();
  c.type = f16 ? PML_F16 : PML_F32;
  tiny_path(path, "probe.gguf");
  CHECK(tiny_write(path, &c) == PML_OK && pml_model_open(&m, path, NULL) == PML_OK);
  unlink(path);
  return m;
}

static void test_probe(const pml_model *m) {
  TEST("probe");
  const pml_config *c = &m->cfg;
  pml_context *ctx;
  pml_context_options o = {.block_size = 4};
  pml_seq seq = {0};
  pml_probe *p;
  float *logits = malloc(2 * (size_t)c->n_vocab * sizeof *logits), *again = logits + c->n_vocab, out[256];
  double w[T * T], row[T];
  CHECK(pml_context_open(&ctx, m, NULL, &o) == PML_OK && pml_context_kv(ctx) != NULL);
  CHECK(pml_probe_open(&p, ctx, &seq, 0) == PML_E_USAGE);
  CHECK(pml_probe_open(&p, ctx, &seq, T) == PML_OK);
  CHECK(pml_forward_one(ctx, &seq, ids, T, logits) == PML_OK && p->rows == T);
  for (int l = 0; l < c->n_layers; l++)
    for (int h = 0; h < c->n_heads; h++) {
      pml_head_facts f;
      CHECK(pml_probe_head(p, l, h, w, &f) == PML_OK);
      for (int t = 0; t < T; t++) {
        double sum = 0;
        for (int j = 0; j <= t; j++) sum += w[t * T + j];
        CHECK(fabs(sum - 1) < 1e-12 && (t + 1 == T || w[t * T + t + 1] != w[t * T + t + 1]));
        CHECK(pml_probe_row(p, l, h, -1, 0, t, row, out) == PML_OK);
        const float *theirs = p->heads + ((size_t)l * T + (size_t)t) * (size_t)(c->n_heads * c->head_dim) + (size_t)(h * c->head_dim);
        for (int i = 0; i < c->head_dim; i++) CHECK(fabs((double)out[i] - (double)theirs[i]) < 1e-5);
      }
      CHECK(f.asymmetry > 0.1 && f.previous > 0 && f.previous < 1 && f.used > 0 && f.used <= 1 + 1e-12);
    }
  p->replace = true;
  pml_context_truncate(ctx, &seq, 0);
  CHECK(pml_forward_one(ctx, &seq, ids, T, again) == PML_OK);
  CHECK(p->largest > 0 && p->difference < 1e-5 * p->largest && fabs(p->growth - 1) < 1e-4);
  for (int i = 0; i < c->n_vocab; i++) CHECK(fabs((double)logits[i] - (double)again[i]) < 1e-3);
  p->no_softmax = true;
  pml_context_truncate(ctx, &seq, 0);
  CHECK(pml_forward_one(ctx, &seq, ids, T, again) == PML_OK && p->difference > 1e-3 * p->largest);
  pml_probe_close(p);
  CHECK(!pml_tracing());
  pml_context_truncate(ctx, &seq, 0);
  CHECK(pml_forward_one(ctx, &seq, ids, T, again) == PML_OK && !memcmp(logits, again, (size_t)c->n_vocab * sizeof *again));
  pml_context_seq_free(ctx, &seq);
  pml_context_close(ctx);
  free(logits);
}

static void keep_row(void *user, const pml_span *s) {
  float *row = user;
  if (!strcmp(s->name, "ffn")) memcpy(row, s->data + s->n - 64, 64 * sizeof *row);
}

static void test_lens(const pml_model *m) {
  TEST("lens and top tokens");
  pml_session *s;
  float row[64], scratch[64], *logits = malloc((size_t)m->cfg.n_vocab * sizeof *logits);
  CHECK(pml_session_open(&s, m, NULL, NULL) == PML_OK);
  pml_trace_set(keep_row, row);
  CHECK(pml_forward_one(s->ctx, &s->seq, ids, T, s->logits) == PML_OK);
  pml_trace_set(NULL, NULL);
  CHECK(pml_lens(m, row, scratch, logits) == PML_OK);
  CHECK(!memcmp(logits, s->logits, (size_t)m->cfg.n_vocab * sizeof *logits));
  pml_session_close(s);
  free(logits);
  const float l[5] = {1, 3, 3, -2, 0};
  int32_t token[5];
  double p[5], sum = 0;
  pml_top_tokens(l, 5, 5, token, p);
  CHECK(token[0] == 1 && token[1] == 2 && token[2] == 0 && token[3] == 4 && token[4] == 3);
  for (int i = 0; i < 5; i++) sum += p[i];
  CHECK(fabs(sum - 1) < 1e-12 && p[0] == p[1] && fabs(p[0] / p[2] - exp(2)) < 1e-9);
  CHECK(pml_token_is_end(m, pml_token_find(m->tokenizer, "<|im_end|>")) && !pml_token_is_end(m, ids[0]));
}

static double cubes(void *user) {
  const float *x = user;
  return (double)x[0] * (double)x[0] * (double)x[0] + 2 * (double)x[1];
}

static void test_gradient(void) {
  TEST("gradient error");
  float x[2] = {2, 5};
  const float right[2] = {12, 2}, wrong[2] = {12, 3};
  CHECK(pml_gradient_error(cubes, x, x, right, 2, 1e-2f) < 1e-4);
  CHECK(fabs(pml_gradient_error(cubes, x, x, wrong, 2, 1e-2f) - 1.0 / 12) < 1e-3);
  CHECK(x[0] == 2 && x[1] == 5);
}

static void test_net_load(const pml_model *m) {
  TEST("weights into a net");
  pml_net *net;
  pml_seq seq = {0};
  pml_context *ctx;
  const int32_t starts[2] = {0, T - 1};
  const float weights[T] = {0, 0, 0, 0, 0, 0, 0, 1};
  pml_batch b = {1, starts, ids, ids + 1, weights};
  double loss = 0, weight = 0;
  float *logits = malloc((size_t)m->cfg.n_vocab * sizeof *logits);
  CHECK(pml_net_create(&net, &m->cfg) == PML_OK && pml_net_load(net, m) == PML_OK);
  CHECK(pml_net_forward(net, &b, &loss, &weight) == PML_OK && weight == 1);
  CHECK(pml_context_open(&ctx, m, NULL, NULL) == PML_OK);
  CHECK(pml_forward_one(ctx, &seq, ids, T - 1, logits) == PML_OK);
  pml_softmax(logits, (size_t)m->cfg.n_vocab);
  CHECK_MSG(fabs(loss + log((double)logits[ids[T - 1]])) < 1e-3, "%g", loss);
  pml_net_free(net);
  pml_config other = m->cfg;
  other.d_ffn *= 2;
  CHECK(pml_net_create(&net, &other) == PML_OK && pml_net_load(net, m) == PML_E_USAGE);
  pml_net_free(net);
  pml_context_seq_free(ctx, &seq);
  pml_context_close(ctx);
  free(logits);
}

int main(void) {
  for (int f16 = 0; f16 < 2; f16++) {
    pml_model *m = open_tiny(f16);
    if (!m) return 1;
    test_probe(m);
    test_lens(m);
    test_net_load(m);
    pml_model_close(m);
  }
  test_gradient();
  pml_threads_stop();
  return TEST_END();
}
