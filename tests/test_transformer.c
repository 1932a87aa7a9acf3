/* § 24 – § 28: KV blocks, the forward pass against a plain double-precision one,
   batch invariance, sampling, sessions and chat. */
#include "prodml.h"
#include "test.h"
#include "tiny_model.h"

/* ── a definition in doubles, one position after another, nothing shared ───── */

static double row_at(const pml_mat *w, int r, int c) {
  float row[4096];
  pml_row_to_f32(row, w, r);
  return (double)row[c];
}

static void ref_linear(double *y, const double *x, const pml_mat *w, const float *b) {
  float row[4096];
  for (int o = 0; o < w->n_out; o++) {
    pml_row_to_f32(row, w, o);
    double s = b ? (double)b[o] : 0;
    for (int i = 0; i < w->n_in; i++) s += (double)row[i] * x[i];
    y[o] = s;
  }
}

static void ref_norm(double *y, const double *x, const float *w, int d, double eps) {
  double s = 0;
  for (int i = 0; i < d; i++) s += x[i] * x[i];
  s = 1 / sqrt(s / d + eps);
  for (int i = 0; i < d; i++) y[i] = x[i] * s * (double)w[i];
}

static void ref_rope(double *x, int heads, const pml_config *c, int pos) {
  for (int h = 0; h < heads; h++)
    for (int i = 0; i < c->rope_dim / 2; i++) {
      double a = pos * pow((double)c->rope_theta, -2.0 * i / c->rope_dim);
      double *p = x + h * c->head_dim + (c->rope_split ? i : 2 * i);
      double *q = x + h * c->head_dim + (c->rope_split ? i + c->rope_dim / 2 : 2 * i + 1);
      double u = *p * cos(a) - *q * sin(a), v = *p * sin(a) + *q * cos(a);
      *p = u;
      *q = v;
    }
}

/* Logits of the last position. */
static void ref_forward(const pml_model *m, const int32_t *tok, int T, double *logits) {
  const pml_config *c = &m->cfg;
  int d = c->d_model, qw = c->n_heads * c->head_dim, kw = c->n_kv_heads * c->head_dim, f = c->d_ffn;
  double *x = calloc((size_t)(T * d), 8), *n = calloc((size_t)d, 8), *q = calloc((size_t)(T * qw), 8);
  double *k = calloc((size_t)(T * kw), 8), *v = calloc((size_t)(T * kw), 8), *att = calloc((size_t)qw, 8);
  double *g = calloc((size_t)f, 8), *u = calloc((size_t)f, 8), *y = calloc((size_t)d, 8), *p = calloc((size_t)T, 8);
  for (int t = 0; t < T; t++)
    for (int i = 0; i < d; i++) x[t * d + i] = row_at(&m->embed, tok[t], i);
  for (int l = 0; l < c->n_layers; l++) {
    const pml_layer *L = &m->layers[l];
    for (int t = 0; t < T; t++) {
      ref_norm(n, x + t * d, L->attn_norm, d, (double)c->rms_eps);
      ref_linear(q + t * qw, n, &L->wq, L->bq);
      ref_linear(k + t * kw, n, &L->wk, L->bk);
      ref_linear(v + t * kw, n, &L->wv, L->bv);
      ref_rope(q + t * qw, c->n_heads, c, t);
      ref_rope(k + t * kw, c->n_kv_heads, c, t);
    }
    for (int t = 0; t < T; t++) {
      for (int h = 0; h < c->n_heads; h++) {
        int kh = h / (c->n_heads / c->n_kv_heads);
        double max = -1e300, sum = 0;
        for (int s = 0; s <= t; s++) {
          p[s] = 0;
          for (int i = 0; i < c->head_dim; i++)
            p[s] += q[t * qw + h * c->head_dim + i] * k[s * kw + kh * c->head_dim + i];
          p[s] /= sqrt((double)c->head_dim);
          if (p[s] > max) max = p[s];
        }
        for (int s = 0; s <= t; s++) sum += p[s] = exp(p[s] - max);
        for (int i = 0; i < c->head_dim; i++) {
          double a = 0;
          for (int s = 0; s <= t; s++) a += p[s] / sum * v[s * kw + kh * c->head_dim + i];
          att[h * c->head_dim + i] = a;
        }
      }
      ref_linear(y, att, &L->wo, NULL);
      for (int i = 0; i < d; i++) x[t * d + i] += y[i];
      ref_norm(n, x + t * d, L->ffn_norm, d, (double)c->rms_eps);
      ref_linear(g, n, &L->w_gate, NULL);
      ref_linear(u, n, &L->w_up, NULL);
      for (int i = 0; i < f; i++) g[i] = g[i] / (1 + exp(-g[i])) * u[i];
      ref_linear(y, g, &L->w_down, NULL);
      for (int i = 0; i < d; i++) x[t * d + i] += y[i];
    }
  }
  ref_norm(n, x + (T - 1) * d, m->final_norm, d, (double)c->rms_eps);
  ref_linear(logits, n, &m->head, NULL);
  free(x), free(n), free(q), free(k), free(v), free(att), free(g), free(u), free(y), free(p);
}

static int32_t tokens[96];

static pml_model *open_tiny(const tiny_config *c) {
  char path[256];
  pml_model *m = NULL;
  tiny_path(path, "t.gguf");
  pml_status st = tiny_write(path, c);
  if (st == PML_OK) st = pml_model_open(&m, path, NULL);
  CHECK_MSG(st == PML_OK, "%s", pml_error());
  unlink(path);
  if (!m) exit(TEST_END());
  return m;
}

/* Last logits of n tokens with given options, run in pieces of `piece` tokens. */
static void run_pieces(const pml_model *m, int n, int piece, pml_context_options o, float *logits) {
  pml_context *ctx = NULL;
  pml_seq seq = {0};
  CHECK(pml_context_open(&ctx, m, NULL, &o) == PML_OK);
  for (int at = 0; at < n; at += piece)
    CHECK(pml_forward_one(ctx, &seq, tokens + at, n - at < piece ? n - at : piece, logits) == PML_OK);
  CHECK(seq.n_tokens == n);
  pml_context_seq_free(ctx, &seq);
  pml_context_close(ctx);
}

static void test_forward(void) {
  static const struct {
    const char *arch;
    bool tied, bias;
    pml_dtype type;
  } kinds[] = {{"qwen2", true, true, PML_F32}, {"qwen2", false, true, PML_F16}, {"llama", false, false, PML_F32},
               {"llama", true, false, PML_BF16}};
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    tiny_config c = tiny_defaults();
    c.arch = kinds[i].arch;
    c.tied = kinds[i].tied;
    c.bias = kinds[i].bias;
    c.type = kinds[i].type;
    c.seed = 10 + i;
    TEST("forward pass against doubles");
    pml_model *m = open_tiny(&c);
    double *want = malloc(8 * (size_t)c.n_vocab), worst = 0;
    float *got = malloc(4 * (size_t)c.n_vocab);
    for (int strict = 0; strict < 2; strict++) {
      pml_strict_set(strict);
      ref_forward(m, tokens, 20, want);
      run_pieces(m, 20, 20, (pml_context_options){0}, got);
      for (int j = 0; j < c.n_vocab; j++) worst = fmax(worst, fabs((double)got[j] - want[j]));
    }
    pml_strict_set(false);
    CHECK_MSG(worst < 2e-4, "%s type %d: worst logit difference %g", c.arch, (int)c.type, worst);
    free(want);
    free(got);
    pml_model_close(m);
  }
}

static void test_invariance(void) {
  TEST("a row does not depend on batch, blocks or threads");
  tiny_config c = tiny_defaults();
  pml_model *m = open_tiny(&c);
  size_t v = (size_t)c.n_vocab;
  float *base = malloc(4 * v), *got = malloc(4 * v);
  for (int strict = 0; strict < 2; strict++) {
    pml_strict_set(strict);
    pml_threads_set(1);
    run_pieces(m, 50, 50, (pml_context_options){.block_size = 128}, base);
    static const int threads[] = {1, 2, 3, 7}, blocks[] = {1, 3, 16, 128}, pieces[] = {1, 7, 50}, batch[] = {0, 5, 1};
    for (int i = 0; i < 4; i++)
      for (int j = 0; j < 3; j++) {
        pml_threads_set(threads[i]);
        run_pieces(m, 50, pieces[j], (pml_context_options){.block_size = blocks[i], .max_batch = batch[j]}, got);
        CHECK_MSG(memcmp(base, got, 4 * v) == 0, "strict %d threads %d block %d piece %d", strict, threads[i], blocks[i],
                  pieces[j]);
      }
  }
  pml_strict_set(false);
  pml_threads_set(2);

  TEST("sequences of one batch do not see each other");
  pml_context *ctx = NULL;
  pml_context_options o = {.n_ctx = 128, .block_size = 4};
  CHECK(pml_context_open(&ctx, m, NULL, &o) == PML_OK);
  pml_seq a = {0}, b = {0}, d = {0};
  float *many = malloc(4 * v * 5);
  pml_strict_set(false);
  run_pieces(m, 30, 30, (pml_context_options){0}, base);
  pml_segment first[] = {{&a, tokens, 11, 0}, {&b, tokens + 40, 9, 0}};
  CHECK(pml_forward(ctx, first, 2, NULL) == PML_OK);
  pml_segment second[] = {{&b, tokens + 49, 3, 1}, {&a, tokens + 11, 19, 1}, {&d, tokens, 30, 3}};
  CHECK(pml_forward(ctx, second, 3, many) == PML_OK);
  CHECK(memcmp(many + v, base, 4 * v) == 0);
  CHECK(memcmp(many + 4 * v, base, 4 * v) == 0);
  CHECK(memcmp(many, base, 4 * v) != 0);
  run_pieces(m, 29, 29, (pml_context_options){0}, base);
  CHECK(memcmp(many + 3 * v, base, 4 * v) == 0);

  TEST("a failed run changes nothing");
  int32_t wild = c.n_vocab;
  pml_segment bad = {&a, &wild, 1, 1};
  CHECK(pml_forward(ctx, &bad, 1, many) == PML_E_USAGE && strstr(pml_error(), "outside the vocabulary"));
  CHECK(a.n_tokens == 30);
  pml_segment full = {&a, tokens, 60, 1};
  CHECK(pml_forward(ctx, &full, 1, many) == PML_E_LIMIT && strstr(pml_error(), "KV cache is full"));
  CHECK(a.n_tokens == 30 && a.n_blocks == 8);
  pml_context_truncate(ctx, &a, 11);
  CHECK(a.n_tokens == 11 && a.n_blocks == 3);
  pml_segment again = {&a, tokens + 11, 18, 1};
  CHECK(pml_forward(ctx, &again, 1, many) == PML_OK && memcmp(many, base, 4 * v) == 0);
  pml_context_seq_free(ctx, &a);
  pml_context_seq_free(ctx, &b);
  pml_context_seq_free(ctx, &d);
  pml_context_close(ctx);
  free(base), free(got), free(many);
  pml_model_close(m);
}

static void test_kv(void) {
  TEST("blocks are taken, returned and refused");
  pml_kv *kv = NULL;
  CHECK(pml_kv_create(&kv, 2, 2, 4, 4, 3) == PML_OK && pml_kv_bytes(kv) == 2u * 4 * 2 * 8 * 12);
  pml_seq a = {0}, b = {0};
  CHECK(pml_seq_reserve(kv, &a, 7) == PML_OK && a.n_blocks == 3 && kv->n_free == 1);
  CHECK(pml_seq_reserve(kv, &b, 4) == PML_E_LIMIT && b.n_blocks == 0 && kv->n_free == 1);
  CHECK(pml_seq_reserve(kv, &b, 3) == PML_OK && b.table[0] == 3);
  a.n_tokens = 7;
  CHECK(pml_kv_k_row(kv, &a, 1, 4) - kv->k == (1 * 4 + 1) * 3 * 8 + 1 * 8);
  pml_seq_truncate(kv, &a, 3);
  CHECK(a.n_blocks == 1 && kv->n_free == 2);
  pml_seq_free(kv, &a);
  pml_seq_free(kv, &b);
  CHECK(kv->n_free == 4);
  pml_kv_free(kv);
  CHECK(pml_kv_create(&kv, 1 << 30, 1 << 30, 1 << 30, 1 << 30, 8) == PML_E_MEMORY && kv == NULL);
  CHECK(pml_kv_create(&kv, 0, 1, 1, 1, 1) == PML_E_USAGE);
}

static int draw(const pml_sampler_options *o, const float *l, int n, int rounds, int *count) {
  pml_sampler *s = NULL;
  float *copy = malloc(4 * (size_t)n);
  int32_t t = -1;
  CHECK_MSG(pml_sampler_create(&s, n, o) == PML_OK, "%s", pml_error());
  memset(count, 0, sizeof(int) * (size_t)n);
  for (int i = 0; i < rounds; i++) {
    memcpy(copy, l, 4 * (size_t)n);
    CHECK(pml_sample(s, copy, NULL, 0, &t) == PML_OK);
    count[t]++;
  }
  pml_sampler_free(s);
  free(copy);
  return t;
}

static void test_sampling(void) {
  float l[6] = {0.0f, 2.0f, 1.0f, 2.0f, -3.0f, 0.5f};
  int count[6];
  pml_sampler_options o = pml_sampler_defaults();
  TEST("greedy takes the lowest id among equals");
  CHECK(draw(&o, l, 6, 3, count) == 1);
  TEST("temperature 1 draws the softmax: chi-squared of 20,000 draws");
  o.temperature = 1;
  draw(&o, l, 6, 20000, count);
  double sum = 0, chi = 0;
  for (int i = 0; i < 6; i++) sum += exp((double)l[i]);
  for (int i = 0; i < 6; i++) {
    double want = 20000 * exp((double)l[i]) / sum;
    chi += (count[i] - want) * (count[i] - want) / want;
  }
  CHECK_MSG(chi < 20.5, "chi-squared %g, 5 degrees of freedom, 0.1 %% limit 20.5", chi);
  TEST("top-k keeps k");
  o.top_k = 3;
  draw(&o, l, 6, 2000, count);
  CHECK(count[1] && count[2] && count[3] && !count[0] && !count[4] && !count[5]);
  TEST("top-p keeps the smallest set");
  o.top_k = 0;
  o.top_p = 0.6f; /* p = .05 .36 .13 .36 .00 .08: tokens 1 and 3 hold .72 */
  draw(&o, l, 6, 2000, count);
  CHECK(count[1] && count[3] && !count[0] && !count[2] && !count[4] && !count[5]);
  TEST("min-p drops the unlikely");
  o.top_p = 1;
  o.min_p = 0.3f;
  draw(&o, l, 6, 2000, count);
  CHECK(count[1] && count[2] && count[3] && !count[0] && !count[5]);
  TEST("the same seed draws the same");
  int again[6];
  draw(&o, l, 6, 500, count);
  draw(&o, l, 6, 500, again);
  CHECK(memcmp(count, again, sizeof count) == 0);
  o.seed = 7;
  draw(&o, l, 6, 500, again);
  CHECK(memcmp(count, again, sizeof count) != 0);
  TEST("repetition penalty moves the choice once per token");
  pml_sampler *s = NULL;
  o = pml_sampler_defaults();
  o.repeat_penalty = 1.5f;
  int32_t t = 0, hist[] = {1, 1, 3, 99};
  float copy[6];
  memcpy(copy, l, sizeof copy);
  CHECK(pml_sampler_create(&s, 6, &o) == PML_OK && pml_sample(s, copy, hist, 4, &t) == PML_OK);
  CHECK(t == 1 && fabs((double)copy[1] - 2 / 1.5) < 1e-6);
  o.repeat_penalty = 3;
  pml_sampler_free(s);
  memcpy(copy, l, sizeof copy);
  CHECK(pml_sampler_create(&s, 6, &o) == PML_OK && pml_sample(s, copy, hist, 4, &t) == PML_OK && t == 2);
  TEST("damaged logits are an error");
  copy[3] = NAN;
  CHECK(pml_sample(s, copy, NULL, 0, &t) == PML_E_FORMAT && strstr(pml_error(), "NaN"));
  for (int i = 0; i < 6; i++) copy[i] = -INFINITY;
  CHECK(pml_sample(s, copy, NULL, 0, &t) == PML_E_FORMAT);
  pml_sampler_free(s);
  TEST("options out of range are refused");
  pml_sampler_options bad[] = {pml_sampler_defaults(), pml_sampler_defaults(), pml_sampler_defaults(),
                               pml_sampler_defaults(), pml_sampler_defaults()};
  bad[0].temperature = -1;
  bad[1].top_p = 0;
  bad[2].min_p = 2;
  bad[3].repeat_penalty = 0;
  bad[4].temperature = NAN;
  for (int i = 0; i < 5; i++) CHECK(pml_sampler_create(&s, 6, &bad[i]) == PML_E_USAGE && s == NULL);
  TEST("top-k and top-p on a large vocabulary keep what a full sort keeps");
  int n = 20000;
  float *big = malloc(4 * (size_t)n);
  int *c2 = malloc(sizeof(int) * (size_t)n);
  pml_rng r = pml_rng_seed(5);
  for (int i = 0; i < n; i++) big[i] = 4 * pml_rng_normal(&r);
  o = pml_sampler_defaults();
  o.temperature = 1;
  o.top_k = 40;
  draw(&o, big, n, 3000, c2);
  int above = 0, worst_rank = 0;
  for (int i = 0; i < n; i++) {
    if (!c2[i]) continue;
    above = 0;
    for (int j = 0; j < n; j++) above += big[j] > big[i];
    worst_rank = above > worst_rank ? above : worst_rank;
  }
  CHECK_MSG(worst_rank < 40, "rank %d was drawn", worst_rank);
  free(big);
  free(c2);
}

typedef struct {
  pml_buf text;
  int calls, stop_after;
  bool whole;
} sink;

static bool sink_text(void *user, const char *text, size_t len) {
  sink *s = user;
  s->whole = s->whole && pml_utf8_valid(text, len);
  pml_buf_add(&s->text, text, len);
  return ++s->calls != s->stop_after;
}

static volatile int cancel_now;

static bool token_cancels(void *user, int32_t token, const float *logits) {
  (void)token, (void)logits;
  if (--*(int *)user == 0) cancel_now = 1;
  return true;
}

static void test_generate(void) {
  tiny_config c = tiny_defaults();
  pml_model *m = open_tiny(&c);
  pml_session *s = NULL;
  pml_context_options co = {.cancel = &cancel_now};
  pml_generate_options o = pml_generate_defaults();
  pml_generate_stats st;
  sink out = {.stop_after = -1, .whole = true};
  o.max_tokens = 20;
  o.ignore_eos = true;
  o.stats = &st;
  o.on_text = sink_text;
  o.user = &out;
  TEST("generation equals single forward passes");
  CHECK(pml_session_open(&s, m, NULL, &co) == PML_OK);
  CHECK(pml_generate(s, tokens, 10, &o) == PML_OK);
  CHECK(st.n_generated == 20 && st.n_prompt == 10 && st.n_reused == 0 && st.finish == PML_FINISH_LENGTH);
  int32_t first[20];
  memcpy(first, s->tokens + 10, sizeof(int32_t) * 19);
  float *logits = malloc(4 * (size_t)c.n_vocab);
  memcpy(tokens + 40, tokens, 40);
  int32_t saved[96];
  memcpy(saved, tokens, sizeof saved);
  for (int i = 0; i < 19; i++) {
    run_pieces(m, 10 + i, 10 + i, (pml_context_options){0}, logits);
    int best = 0;
    for (int j = 1; j < c.n_vocab; j++)
      if (logits[j] > logits[best]) best = j;
    CHECK(best == first[i]);
    tokens[10 + i] = best;
  }
  memcpy(tokens, saved, sizeof saved);
  free(logits);

  TEST("streamed text is whole characters and equals the decoded tokens");
  pml_buf all = {0};
  int32_t last[20];
  memcpy(last, first, sizeof(int32_t) * 19);
  CHECK(pml_decode(m->tokenizer, first, 19, 0, &all) == PML_OK);
  CHECK(out.text.len >= all.len && memcmp(out.text.data, all.data, all.len) == 0);

  TEST("a second prompt reuses the common prefix and answers the same");
  CHECK(pml_generate(s, tokens, 10, &o) == PML_OK && st.n_reused == 9);
  CHECK(memcmp(first, s->tokens + 10, sizeof(int32_t) * 19) == 0);
  int32_t longer[40];
  memcpy(longer, s->tokens, sizeof(int32_t) * 29);
  longer[25] = (longer[25] + 1) % 250;
  CHECK(pml_generate(s, longer, 29, &o) == PML_OK && st.n_reused == 25);

  TEST("a stop text ends the answer and is not part of it, even across tokens");
  size_t cut = all.len / 2;
  while (cut > 1 && ((unsigned char)all.data[cut] & 0xC0) == 0x80) cut--;
  char stop_text[8] = {0};
  memcpy(stop_text, all.data + cut, all.len - cut < 3 ? all.len - cut : 3);
  size_t expect = (size_t)(strstr(all.data, stop_text) - all.data);
  const char *stops[] = {"never said", stop_text};
  if (strlen(stop_text) == strlen(all.data + cut) || strlen(stop_text) == 3) {
    o.stop = stops;
    o.n_stop = 2;
    out.text.len = 0;
    CHECK(pml_generate(s, tokens, 10, &o) == PML_OK && st.finish == PML_FINISH_STOP);
    CHECK_MSG(out.text.len == expect, "%zu bytes, expected %zu", out.text.len, expect);
    o.n_stop = 0;
  }
  pml_buf_free(&all);

  TEST("a callback and a flag cancel");
  out.calls = 0;
  out.stop_after = 2;
  CHECK(pml_generate(s, tokens, 10, &o) == PML_OK && st.finish == PML_FINISH_CANCELLED);
  out.stop_after = -1;
  int left = 5;
  o.on_token = token_cancels;
  o.on_text = NULL;
  o.user = &left;
  CHECK(pml_generate(s, tokens, 10, &o) == PML_OK && st.finish == PML_FINISH_CANCELLED && st.n_generated == 5);
  cancel_now = 0;
  o.on_token = NULL;

  TEST("limits are sentences");
  o.max_tokens = 0;
  CHECK(pml_generate(s, tokens, 10, &o) == PML_E_USAGE && strstr(pml_error(), "max-tokens"));
  o.max_tokens = 500;
  CHECK(pml_generate(s, tokens, 0, &o) == PML_E_USAGE && strstr(pml_error(), "empty"));
  CHECK(pml_generate(s, tokens, 10, &o) == PML_OK && st.finish == PML_FINISH_LENGTH);
  CHECK_MSG(st.n_prompt + st.n_generated == c.n_ctx, "%d + %d", st.n_prompt, st.n_generated);
  int32_t many[200] = {0};
  CHECK(pml_generate(s, many, 128, &o) == PML_E_LIMIT && strstr(pml_error(), "context holds 128"));
  pml_session_close(s);
  pml_context_options large = {.n_ctx = 4096};
  CHECK(pml_session_open(&s, m, NULL, &large) == PML_E_LIMIT && s == NULL);
  pml_buf_free(&out.text);
  pml_model_close(m);
}

static void test_chat(void) {
  tiny_config c = tiny_defaults();
  pml_model *m = open_tiny(&c);
  TEST("ChatML text and ids");
  pml_message msg[] = {{"system", "be brief"}, {"user", "hi <|im_end|> there"}};
  pml_buf text = {0};
  CHECK(pml_model_is_chat(m) && pml_chat_text(m, msg, 2, &text) == PML_OK);
  CHECK(text.data && !strcmp(text.data, "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi <|im_end|> there"
                                        "<|im_end|>\n<|im_start|>assistant\n"));
  int32_t *ids = NULL, im_end = pml_token_find(m->tokenizer, "<|im_end|>");
  size_t n = 0;
  int ends = 0;
  CHECK(pml_chat_encode(m, msg, 2, &ids, &n) == PML_OK);
  for (size_t i = 0; i < n; i++) ends += ids[i] == im_end;
  CHECK_MSG(ends == 2, "a user's \"<|im_end|>\" must stay text; %d end tokens", ends);
  pml_buf back = {0};
  CHECK(pml_decode(m->tokenizer, ids, n, PML_ENCODE_SPECIAL, &back) == PML_OK && !strcmp(back.data, text.data));
  pml_free(ids);
  pml_message bad = {"robot", "x"};
  CHECK(pml_chat_encode(m, &bad, 1, &ids, &n) == PML_E_USAGE && strstr(pml_error(), "robot"));
  TEST("a template's own system message is used when there is none");
  char *old = m->chat_template;
  m->chat_template = pml_strdup("{{'<|im_start|>system\\n' + m.content}}{% else %}{{- '<|im_start|>system\\nYou are a helpful "
                                "assistant.<|im_end|>\\n' }}");
  text.len = 0;
  CHECK(pml_chat_text(m, msg + 1, 1, &text) == PML_OK);
  CHECK(!strncmp(text.data, "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", 57));
  text.len = 0;
  CHECK(pml_chat_text(m, msg, 2, &text) == PML_OK && !strncmp(text.data, "<|im_start|>system\nbe brief", 27));
  pml_free(m->chat_template);
  m->chat_template = old;
  pml_buf_free(&text);
  pml_buf_free(&back);
  pml_generate_options o = pml_generate_defaults();
  o.max_tokens = 3;
  CHECK(pml_chat_once(m, "hello", &o) == PML_OK);
  pml_model_close(m);
}

static void test_open(void) {
  TEST("a model that does not fit its configuration is refused at load");
  char path[256];
  pml_model *m = NULL;
  tiny_path(path, "bad.gguf");
  CHECK(pml_model_open(&m, path, NULL) == PML_E_IO && m == NULL);
  tiny_config c = tiny_defaults();
  CHECK(tiny_write(path, &c) == PML_OK);
  char *bytes;
  size_t size;
  CHECK(pml_file_read(path, &bytes, &size) == PML_OK);
  static const struct {
    const char *key;
    uint32_t value;
    const char *says;
  } bad[] = {{"qwen2.embedding_length", 128, "token_embd.weight"}, {"qwen2.block_count", 3, "blk.2."},
             {"qwen2.block_count", 0, "block_count"},              {"qwen2.attention.head_count", 3, "do not fit"},
             {"qwen2.attention.head_count_kv", 4, "attn_k"},       {"qwen2.feed_forward_length", 1u << 31, "feed_forward"},
             {"qwen2.context_length", 0, "context_length"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char *copy = malloc(size), *at = NULL;
    memcpy(copy, bytes, size);
    size_t len = strlen(bad[i].key);
    for (size_t j = 0; j + len + 8 < size && !at; j++)
      if (!memcmp(copy + j, bad[i].key, len)) at = copy + j;
    CHECK(at != NULL);
    if (at) memcpy(at + len + 4, &bad[i].value, 4); /* type u32, then the value */
    pml_status st = pml_model_open_memory(&m, copy, size, "bad.gguf", NULL);
    CHECK_MSG(st == PML_E_FORMAT && strstr(pml_error(), bad[i].says), "%s=%u: %d %s", bad[i].key, bad[i].value, (int)st,
              pml_error());
    if (st == PML_OK) pml_model_close(m);
    free(copy);
  }
  pml_free(bytes);
  unlink(path);
  TEST("a vocabulary-only file opens as a file and not as a model");
  pml_gguf_writer *w = NULL;
  pml_tokenizer *t = NULL;
  CHECK(tiny_tokenizer(&t, 300) == PML_OK && pml_gguf_writer_create(&w) == PML_OK);
  pml_gguf_add_str(w, "general.architecture", "qwen2");
  pml_gguf_add_tokenizer(w, t);
  CHECK(pml_gguf_writer_finish(w, path) == PML_OK);
  CHECK(pml_model_open(&m, path, NULL) == PML_E_FORMAT && strstr(pml_error(), "no weights"));
  pml_tokenizer_free(t);
  unlink(path);
}

int main(void) {
  pml_rng r = pml_rng_seed(3);
  for (int i = 0; i < 96; i++) tokens[i] = (int32_t)pml_rng_below(&r, 297);
  test_kv();
  test_sampling();
  test_open();
  test_forward();
  test_invariance();
  test_generate();
  test_chat();
  pml_threads_stop();
  return TEST_END();
}
