/* 05 attention: who looks at whom?

     cc -O2 lessons/05_attention.c -o a -lm -pthread
     ./a                                  a worked example, then every head of the tutor
     ./a --layer 2 --head 1               the head you want to see, as a matrix
     ./a --question "What is RoPE?"       other tokens, other patterns
     ./a --error                          leave softmax out and watch the answer break

   You see attention on three tokens with numbers to check by hand, then in a trained model: what
   each head looks at, and that the plain loops of pml_attend (§ 26) can replace the fast kernel of
   § 14 without changing the answer.  To change: the question, the head, the numbers of Q, K and V. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { MAX_T = 40, MAX_HEADS = 256 };
static bool error_flag;
static int layer_flag = -1, head_flag = -1;
static const char *question = "What is a KV cache?";

typedef struct { double previous, used, word, asymmetry, other_kv; } head_facts;
static struct {
  int T, H, G, n, shown, local, spread;       /* a head is numbered layer · H + head; n of them */
  double w[MAX_HEADS][MAX_T * MAX_T];         /* weights, row t at t·T; NaN is the future */
  head_facts of[MAX_HEADS];
  bool in_word[MAX_T];
  char name[MAX_T][80], word[64];
} r;

static pml_status worked_example(pml_ctx *ctx) {
  static const char *const token[] = {"cats", "chase", "mice"};
  const float q[] = {2, 0, 0, 0, 4, 0, 2, 0, 0, 2, 0, 4}, k[] = {1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1};
  const float v[] = {1, 0, 0, 2, 0, 1, 0, 2, 0, 0, 1, 2}, *kr[] = {k, k + 4, k + 8}, *vr[] = {v, v + 4, v + 8};
  const int32_t table = 0, visible[] = {1, 2, 3};
  pml_kv_view view = {k, v, &table, 3, 4};
  const pml_kv_view *views[] = {&view, &view, &view};
  double score[9], w[9], shown[4][12], worst = 0;
  float out[12], kernel[12];
  for (int i = 0; i < 9; i++) w[i] = score[i] = (double)NAN;
  for (int t = 0; t < 3; t++) pml_attend(NULL, score + 3 * t, q + 4 * t, kr, vr, t + 1, 4, false);
  for (int t = 0; t < 3; t++) pml_attend(out + 4 * t, w + 3 * t, q + 4 * t, kr, vr, t + 1, 4, !error_flag);
  pml_status st = pml_attention(kernel, q, 3, 1, 1, 4, views, visible);
  for (int i = 0; i < 12; i++) {
    shown[0][i] = (double)q[i], shown[1][i] = (double)k[i], shown[2][i] = (double)v[i], shown[3][i] = (double)out[i];
    worst = fmax(worst, fabs((double)out[i] - (double)kernel[i]));
  }
  pml_heading(ctx, "Three tokens, one head of 4 dimensions");
  pml_show_matrix(ctx, "Q: what each token looks for", shown[0], 3, 4, 0, token, NULL);
  pml_show_matrix(ctx, "K: what each token offers", shown[1], 3, 4, 0, token, NULL);
  pml_show_matrix(ctx, "V: what it hands over", shown[2], 3, 4, 0, token, NULL);
  pml_show_matrix(ctx, "Q·Kᵀ / √4, a dot where the future is masked", score, 3, 3, 1, token, token);
  pml_show_matrix(ctx, error_flag ? "weights: the scores, softmax left out" : "weights: softmax of each row", w, 3, 3, 3, token, token);
  pml_show_matrix(ctx, "output: weights · V", shown[3], 3, 4, 3, token, NULL);
  if (error_flag) pml_expect(ctx, fabs(shown[3][7] - 2) > 0.5, "every V ends in 2, so a mean of them must; without softmax 'chase' ends in %.1f", shown[3][7]);
  else pml_expect(ctx, worst < 1e-6 && fabs(shown[3][7] - 2) < 1e-6, "every V ends in 2 and so does every mean of them; pml_attention agrees to %.0e", worst);
  return st;
}

/* ── the backward pass on a small case ── */
static const pml_config small = {.n_heads = 4, .n_kv_heads = 2, .head_dim = 8};
enum { N = 5, QKV = 8 * 8, OUT = 4 * 8 };
static struct { float qkv[N * QKV], dqkv[N * QKV], out[N * OUT], dout[N * OUT], probs[4 * N * N], dprobs[4 * N * N]; } b;
static const int32_t starts[] = {0, N};

static double loss(void *user) {
  double sum = 0;
  (void)user;
  pml_attention_forward(b.out, b.probs, b.qkv, &small, 1, starts);
  for (int i = 0; i < N * OUT; i++) sum += (double)b.out[i] * (double)b.dout[i];
  return sum;
}

static void backward(pml_ctx *ctx) {
  pml_rng rng = pml_rng_seed(ctx->seed);
  for (int i = 0; i < N * QKV; i++) b.qkv[i] = pml_rng_normal(&rng);
  for (int i = 0; i < N * OUT; i++) b.dout[i] = pml_rng_normal(&rng);
  loss(NULL);
  pml_attention_backward(b.dqkv, b.dprobs, b.dout, b.probs, b.qkv, &small, 1, starts);
  double wrong = pml_gradient_error(loss, NULL, b.qkv, b.dqkv, N * QKV, 1e-2f);
  pml_expect(ctx, wrong < 2e-3, "backward: %d derivatives differ from finite differences by %.1e of the largest", N * QKV, wrong);
}

/* ── the tutor ── */
static bool add_text(void *user, const char *text, size_t len) {
  pml_buf_add((pml_buf *)user, text, len);
  return true;
}

/* Which prompt tokens belong to the longest word of the question, and how each token is written. */
static void name_tokens(const pml_model *m, const int32_t *ids, const char *text) {
  const char *q = strstr(text, question), *word = q;
  size_t len = 0, at = 0;
  for (const char *s = q; s < q + strlen(question);) {
    size_t n = strcspn(s, " ?!.,;:");
    if (n > len) word = s, len = n;
    s += n ? n : 1;
  }
  snprintf(r.word, sizeof r.word, "%.*s", (int)len, word);
  for (int t = 0; t < r.T; t++) {
    pml_str bytes = pml_token_bytes(m->tokenizer, ids[t]);
    pml_buf seen = {0};
    pml_text_visible(&seen, bytes.ptr, bytes.len);
    snprintf(r.name[t], sizeof r.name[t], "%s", seen.data ? seen.data : "");
    pml_buf_free(&seen);
    size_t from = (size_t)(word - text);
    r.in_word[t] = at < from + len && at + bytes.len > from;
    at += bytes.len;
  }
}

/* Weights and facts of every head over the prompt that has just run. */
static pml_status look(const pml_probe *p) {
  int h = p->ctx->model->cfg.head_dim;
  for (int i = 0; i < r.n; i++) {
    head_facts *f = &r.of[i];
    double up = 0, all = 0, apart = 0, size = 0, unused[MAX_T];
    float out[1024], other[1024];
    for (int t = 0; t < r.T; t++) {
      double *w = r.w[i] + t * r.T, entropy = 0;
      pml_status st = pml_probe_row(p, i / r.H, i % r.H, -1, 0, t, w, out);
      if (st == PML_OK) st = pml_probe_row(p, i / r.H, i % r.H, (i % r.H * r.G / r.H + 1) % r.G, 0, t, unused, other);
      if (st != PML_OK) return st;
      for (int j = 0; j < h; j++) apart += fabs((double)out[j] - (double)other[j]), size += fabs((double)out[j]);
      for (int j = t + 1; j < r.T; j++) w[j] = (double)NAN;
      for (int j = 0; j <= t; j++) entropy -= w[j] > 0 ? w[j] * pml_logd(w[j]) : 0;
      for (int j = 0; j < r.T; j++) { /* the scores before the mask, both ways */
        const float *q = p->queries + ((size_t)(i / r.H) * (size_t)r.T * (size_t)r.H + (size_t)(i % r.H)) * (size_t)h;
        size_t row = (size_t)r.H * (size_t)h;
        const float *k = pml_kv_k_row(pml_context_kv(p->ctx), p->seq, i / r.H, t) + i % r.H * r.G / r.H * h;
        const float *k2 = pml_kv_k_row(pml_context_kv(p->ctx), p->seq, i / r.H, j) + i % r.H * r.G / r.H * h;
        double here = (double)pml_dot(q + (size_t)t * row, k2, (size_t)h), there = (double)pml_dot(q + (size_t)j * row, k, (size_t)h);
        up += fabs(here - there), all += fabs(here) + fabs(there);
      }
      f->word = 0;
      for (int j = 0; j <= t; j++) f->word += r.in_word[j] ? w[j] : 0; /* of the last row, in the end */
      f->previous += t ? w[t - 1] / (r.T - 1) : 0;
      f->used += t ? pml_expd(entropy) / (t + 1) / (r.T - 1) : 0;
    }
    f->asymmetry = up / all, f->other_kv = apart / size;
    if (f->previous > r.of[r.local].previous) r.local = i;
    if (f->used > r.of[r.spread].used) r.spread = i;
    if (f->word > r.of[r.shown].word) r.shown = i;
  }
  if (layer_flag >= 0 || head_flag >= 0) r.shown = (layer_flag < 0 ? 0 : layer_flag) * r.H + (head_flag < 0 ? 0 : head_flag);
  return PML_OK;
}

static void tell(pml_ctx *ctx) {
  enum { COLS = 5 };
  char text[MAX_HEADS + 1][COLS][24];
  const char *cells[(MAX_HEADS + 1) * COLS] = {"layer.head", "kv head", "previous token", "positions used", "the word"}, *names[MAX_T];
  double rows = 0, asymmetry = 1, other = 1, uniform = 0;
  for (int i = 0; i < r.n; i++) {
    const head_facts *f = &r.of[i];
    snprintf(text[i][0], 24, "%d.%d", i / r.H, i % r.H);
    snprintf(text[i][1], 24, "%d", i % r.H * r.G / r.H);
    snprintf(text[i][2], 24, "%.0f %%", 100 * f->previous);
    snprintf(text[i][3], 24, "%.0f %%", 100 * f->used);
    snprintf(text[i][4], 24, "%.0f %%", 100 * f->word);
    for (int j = 0; j < COLS; j++) cells[(i + 1) * COLS + j] = text[i][j];
    asymmetry = fmin(asymmetry, f->asymmetry), other = fmin(other, f->other_kv);
    for (int t = 0; t < r.T; t++) {
      double sum = 0;
      for (int j = 0; j <= t; j++) sum += r.w[i][t * r.T + j];
      rows = fmax(rows, fabs(sum - 1));
    }
  }
  for (int t = 1; t < r.T; t++) uniform += 1.0 / (t + 1) / (r.T - 1);
  for (int t = 0; t < r.T; t++) names[t] = r.name[t];
  pml_heading(ctx, "The tutor reads \"%s\": %d tokens, %d heads", question, r.T, r.n);
  pml_show_table(ctx, cells, r.n + 1, COLS, "lrrrr");
  pml_say(ctx, "  previous token: mean weight on the token before. Positions used: e^entropy of a row, as a share of what it may see. "
               "The word: weight of the last token, which decides how the answer begins, on \"%s\".", r.word);
  pml_say(ctx, "  Most local: %d.%d. Most spread: %d.%d. Most on \"%s\": %d.%d.", r.local / r.H, r.local % r.H, r.spread / r.H, r.spread % r.H,
          r.word, r.shown / r.H, r.shown % r.H);
  if (layer_flag >= 0 || head_flag >= 0) pml_show_matrix(ctx, "the head you asked for", r.w[r.shown], r.T, r.T, 2, names, NULL);
  pml_say(ctx, "  Grouped queries: %d query heads share each of %d key-value heads, so the cache is %d times smaller.", r.H / r.G, r.G, r.H / r.G);
  pml_value(ctx, "word_share", r.of[r.shown].word, ""), pml_value(ctx, "previous_share", r.of[r.local].previous, "");
  if (error_flag) {
    pml_expect(ctx, rows > 1, "without softmax a row of weights misses the sum 1 by up to %.1f", rows);
    return;
  }
  pml_expect(ctx, rows < 1e-9, "all %d rows of weights add up to 1, within %.0e", r.n * r.T, rows);
  pml_expect(ctx, asymmetry > 0.05, "q·k is not k·q: scores i→j and j→i differ by %.0f %% or more in every head", 100 * asymmetry);
  pml_expect(ctx, r.of[r.local].previous > 2 * uniform, "head %d.%d gives %.0f %% to the previous token, even shares would be %.0f %%",
             r.local / r.H, r.local % r.H, 100 * r.of[r.local].previous, 100 * uniform);
  if (r.G > 1) pml_expect(ctx, other > 0.05, "with its neighbour's keys and values each head's output changes by %.0f %% or more", 100 * other);
}

/* Another last token must not change one bit of an earlier row. */
static pml_status causality(pml_ctx *ctx, const pml_probe *p, pml_session *s, int32_t *ids, float *logits) {
  size_t layer = (size_t)r.T * (size_t)(r.H * s->ctx->model->cfg.head_dim), last = layer / (size_t)r.T, early = 0, late = 0;
  size_t n = (size_t)s->ctx->model->cfg.n_layers * layer;
  float *before = (float *)pml_alloc(n * sizeof *before);
  if (!before) return PML_E_MEMORY;
  memcpy(before, p->heads, n * sizeof *before);
  ids[r.T - 1]++;
  pml_context_truncate(s->ctx, &s->seq, 0);
  pml_status st = pml_forward_one(s->ctx, &s->seq, ids, r.T, logits);
  ids[r.T - 1]--;
  for (size_t i = 0; i < n; i++) *(i % layer < layer - last ? &early : &late) += before[i] != p->heads[i];
  pml_free(before);
  pml_expect(ctx, early == 0 && late > 0, "causal: with another last token %zu of its numbers change, and %zu of those before it", late, early);
  return st;
}

/* The same question twice: § 14's kernel, then pml_attend in its place. */
static pml_status swap(pml_ctx *ctx, pml_probe *p, pml_session *s, const int32_t *ids) {
  pml_buf text[2] = {{0}, {0}};
  pml_status st = PML_OK;
  for (int i = 0; i < 2 && st == PML_OK; i++) {
    pml_generate_options o = pml_generate_defaults();
    o.max_tokens = 60, o.on_text = add_text, o.user = &text[i];
    p->replace = i;
    pml_context_truncate(s->ctx, &s->seq, 0);
    st = pml_generate(s, ids, (size_t)r.T, &o);
  }
  if (st == PML_OK && !text[0].failed && !text[1].failed) {
    const char *a = text[0].data ? text[0].data : "", *c = text[1].data ? text[1].data : "";
    pml_heading(ctx, "pml_attend in the place of the kernel%s", error_flag ? ", without softmax" : "");
    pml_say(ctx, "  kernel: %s", a);
    pml_say(ctx, "  %s: %s", error_flag ? "raw scores" : "plain loops", c);
    if (error_flag) pml_expect(ctx, strcmp(a, c) != 0 && p->growth > 2, "head outputs grow %.0f-fold on average and the answer is another one", p->growth);
    else pml_expect(ctx, strcmp(a, c) == 0 && p->difference < 1e-5 * p->largest, "the same answer; outputs differ by at most %.0e of the largest", p->difference / p->largest);
  }
  pml_buf_free(&text[0]);
  pml_buf_free(&text[1]);
  return st;
}

static pml_status tutor(pml_ctx *ctx, const pml_model *m, pml_session *s, int32_t *ids) {
  const pml_config *c = &m->cfg;
  pml_buf text = {0};
  pml_message message = {"user", question};
  pml_probe *p = NULL;
  r.H = c->n_heads, r.G = c->n_kv_heads, r.n = c->n_layers * c->n_heads;
  if (r.n > MAX_HEADS || c->head_dim > 1024) return pml_fail(PML_E_LIMIT, "this lesson shows up to %d heads of 1024", MAX_HEADS);
  if (layer_flag >= c->n_layers || head_flag >= r.H || layer_flag < -1 || head_flag < -1)
    return pml_fail(PML_E_USAGE, "the tutor has layers 0 to %d with heads 0 to %d", c->n_layers - 1, r.H - 1);
  if (r.T > MAX_T) return pml_fail(PML_E_LIMIT, "the question has %d tokens with its frame, this lesson draws %d: ask a shorter one", r.T, MAX_T);
  pml_status st = pml_chat_text(m, &message, 1, &text);
  if (st == PML_OK) st = text.failed ? PML_E_MEMORY : pml_probe_open(&p, s->ctx, &s->seq, r.T);
  if (st == PML_OK) {
    name_tokens(m, ids, text.data);
    p->no_softmax = error_flag;
    st = pml_forward_one(s->ctx, &s->seq, ids, r.T, s->logits);
  }
  if (st == PML_OK) st = look(p);
  if (st == PML_OK) tell(ctx);
  if (st == PML_OK) st = causality(ctx, p, s, ids, s->logits);
  if (st == PML_OK) st = swap(ctx, p, s, ids);
  pml_probe_close(p);
  pml_buf_free(&text);
  return st;
}

static pml_status run(pml_ctx *ctx) {
  pml_model *m = NULL;
  pml_session *s = NULL;
  int32_t *ids = NULL;
  size_t n = 0;
  pml_message message = {"user", question};
  memset(&r, 0, sizeof r);
  pml_status st = worked_example(ctx);
  const char *path = pml_lesson_path(ctx, "models/tutor.gguf");
  if (st == PML_OK) st = path ? pml_model_open(&m, path, NULL) : PML_E_IO;
  if (st == PML_OK) st = pml_chat_encode(m, &message, 1, &ids, &n);
  if (st == PML_OK) st = pml_session_open(&s, m, NULL, NULL);
  r.T = n < 1000 ? (int)n : 1000;
  if (st == PML_OK) st = tutor(ctx, m, s, ids);
  if (st == PML_OK) backward(ctx);
  pml_session_close(s);
  pml_model_close(m);
  pml_free(ids);
  return st;
}

static void small_heat(pml_svg *svg, pml_box b, int head, const char *name, const char *what) {
  double cell = floor(b.h / r.T);
  for (int i = 0; i < r.T * r.T; i++) {
    double w = r.w[head][i];
    if (w == w) pml_svg_rect(svg, (pml_box){b.x + i % r.T * cell, b.y + i / r.T * cell, cell - 1, cell - 1}, 0, pml_rgb_mix(0x132B40, PML_TEAL, w), PML_NO_COLOUR, 0);
  }
  pml_box text = {b.x + cell * r.T + 30, b.y + 10, b.w - cell * r.T - 30, b.h - 20};
  pml_svg_textf(svg, text.x, text.y + 28, (pml_font){.size = 30, .weight = 600}, "%s %d.%d", name, head / r.H, head % r.H);
  pml_svg_text_in(svg, (pml_box){text.x, text.y + 48, text.w, text.h - 48}, (pml_font){.size = 26, .colour = 0xCBD5E1}, PML_START, what);
}

static pml_status draw(pml_ctx *ctx, pml_svg *svg) {
  const char *names[MAX_T];
  char what[3][160];
  int twin = r.shown % r.H % (r.H / r.G) ? r.shown - 1 : r.shown + (r.H / r.G > 1);
  pml_box b = pml_svg_body(svg), right = {b.x + 1240, b.y + 20, b.w - 1240, b.h - 20};
  for (int t = 0; t < r.T; t++) names[t] = r.name[t];
  pml_lesson_title(ctx, svg, "To begin its answer, head %d.%d gives %.0f %% of its attention to “%s”", r.shown / r.H, r.shown % r.H,
                   100 * r.of[r.shown].word, r.word);
  pml_svg_heat(svg, (pml_box){b.x, b.y, 1200, b.h}, r.w[r.shown], r.T, r.T,
               &(pml_heat_options){.row_names = names, .col_names = names, .row_title = "this token…", .col_title = "…looks at", .scale_title = "weight", .hi = 1, .decimals = -1});
  snprintf(what[0], 160, "most local: %.0f %% on the token before", 100 * r.of[r.local].previous);
  snprintf(what[1], 160, "most spread: uses %.0f %% of the positions it may see", 100 * r.of[r.spread].used);
  snprintf(what[2], 160, "the same keys and values as %d.%d, other queries", r.shown / r.H, r.shown % r.H);
  small_heat(svg, pml_box_row(right, 0, 3, 30), r.local, "Head", what[0]);
  small_heat(svg, pml_box_row(right, 1, 3, 30), r.spread, "Head", what[1]);
  small_heat(svg, pml_box_row(right, 2, 3, 30), twin, "Head", what[2]);
  return PML_OK;
}

static pml_status page(pml_ctx *ctx, pml_page *p) {
  (void)ctx;
  pml_page_item(p, PML_PAGE_CAN, "compute attention of three tokens by hand: scores, mask, softmax, mean of the values;");
  pml_page_item(p, PML_PAGE_CAN, "read a heat map of a trained head: local, spread, or aimed at one word;");
  pml_page_item(p, PML_PAGE_CAN, "say what √h, the causal mask and grouped key-value heads are for, and test each of them.");
  pml_page_formula(p, PML_PAGE_MECHANISM, "\\mathrm{out}_t = \\sum_{p \\le t} \\mathrm{softmax}_p\\left(\\frac{q_t \\cdot k_p}{\\sqrt h}\\right) v_p");
  pml_page_text(p, PML_PAGE_MECHANISM, "The definition, in plain loops (§ 26). The lesson puts it in the place of the kernel, in every layer, and the answer stays the same.");
  pml_page_quote(p, "attend");
  pml_page_text(p, PML_PAGE_MECHANISM, "The kernel (§ 14) does the same for the heads of a group at once, 256 positions at a time, with a running maximum.");
  pml_page_quote(p, "attention");
  pml_page_text(p, PML_PAGE_BREAK, "`make demo-attention ARGS=--error` leaves softmax out: raw scores become the weights. Rows no longer add up to 1, the head outputs "
                "grow many times over, the residual stream is flooded, and the same question gets another answer.");
  pml_page_text(p, PML_PAGE_BREAK, "Then show one head as numbers: `make demo-attention ARGS=\"--layer 0 --head 1\"`.");
  pml_page_question(p, "Query and key are both made from the same token vectors. Why is the score matrix not symmetric?",
                    "Because W_Q and W_K are different matrices: what a token looks for is not what it offers. With W_Q = W_K the score i→j would equal j→i, "
                    "and \"chase\" could not look at \"cats\" more than \"cats\" at \"chase\". RoPE keeps the asymmetry and adds the distance.");
  pml_page_question(p, "Why divide by √h?", "q·k is a sum of h products. With entries of variance 1 its variance is h, so at h = 64 scores would be 8 times too wide, "
                    "softmax would give almost everything to one position, and its gradient p·(1 − p) would vanish.");
  pml_page_question(p, "How does the lesson know that nothing looks at the future?", "It changes the last token and compares all head outputs of all earlier positions: not one bit may change. "
                    "That weights above the diagonal are zero would prove less: the matrix printed could be another than the one used.");
  pml_page_question(p, "Two query heads share a key-value head. What is saved, what is not?", "The cache and the projections W_K and W_V become smaller by H/G. "
                    "The scores do not: every query head still compares itself with every position.");
  pml_page_question(p, "Many heads give much weight to the first token, whatever it is. Why?", "Softmax must give 1 in all. A head that finds nothing useful needs a place to put it; "
                    "the first token is visible to everyone and its value can be learned to add little: an attention sink.");
  pml_page_source(p, "Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks (arXiv:2309.17453)", strlen("Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks (arXiv:2309.17453)"));
  return PML_OK;
}

int main(int argc, char **argv) {
  const pml_flag flags[] = {{"error", "leave softmax out: raw scores become the weights", PML_FLAG_BOOL, &error_flag},
                            {"layer", "the layer to show (the head that looks most at the longest word)", PML_FLAG_INT, &layer_flag},
                            {"head", "the query head to show", PML_FLAG_INT, &head_flag},
                            {"question", "what to ask the tutor (What is a KV cache?)", PML_FLAG_STRING, &question}};
  const pml_lesson lesson = {.number = "05", .name = "attention", .title = "Attention", .file = __FILE__, .sections = {14, 26},
                             .summary = "Queries meet keys: who looks at whom, on three tokens by hand and in every head of a trained model.",
                             .flags = flags, .n_flags = 4, .result = &r, .run = run, .draw = draw, .page = page};
  return pml_lesson_main(&lesson, argc, argv);
}
