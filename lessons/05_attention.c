/* 05 attention: who looks at whom?

     cc -O2 lessons/05_attention.c -o a -lm -pthread
     ./a                                  three tokens by hand, then every head of the tutor
     ./a --layer 2 --head 1               the head you want to see, as a matrix
     ./a --question "What is RoPE?"       other tokens, other patterns
     ./a --error                          leave softmax out and watch the answer break

   You see attention with numbers to check by hand, then what each head of a trained model looks at,
   and that the plain loops of pml_attend (§ 26) can take the place of the fast kernel of § 14 without
   changing the answer.  To change: the question, the head, the numbers of Q, K and V. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { MAX_T = 40, MAX_HEADS = 256, SMALL_T = 5 };
static bool error_flag;
static int layer_flag = -1, head_flag = -1;
static const char *question = "What is a KV cache?";

static struct { /* a head is numbered layer · H + head; there are n of them */
  int T, H, G, n, shown, local, spread, in_word[MAX_T];
  double w[MAX_HEADS][MAX_T * MAX_T], word_share[MAX_HEADS]; /* weights; share of the last row on the longest word */
  pml_head_facts of[MAX_HEADS];
  char name[MAX_T][80], word[64];
} r;

static pml_status by_hand(pml_ctx *ctx) {
  static const char *const token[] = {"cats", "chase", "mice"};
  static const char *const title[] = {"Q: what each token looks for", "K: what each token offers", "V: what it hands over", "output: weights · V"};
  const float q[] = {2, 0, 0, 0, 4, 0, 2, 0, 0, 2, 0, 4}, k[] = {1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1};
  const float v[] = {1, 0, 0, 2, 0, 1, 0, 2, 0, 0, 1, 2}, *kr[] = {k, k + 4, k + 8}, *vr[] = {v, v + 4, v + 8};
  const int32_t table = 0, visible[] = {1, 2, 3};
  const pml_kv_view view = {k, v, &table, 3, 4}, *views[] = {&view, &view, &view};
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
  for (int i = 0; i < 3; i++) pml_show_matrix(ctx, title[i], shown[i], 3, 4, 0, token, NULL);
  pml_show_matrix(ctx, "Q·Kᵀ / √4, a dot where the future is masked", score, 3, 3, 1, token, token);
  pml_show_matrix(ctx, error_flag ? "weights: the scores, softmax left out" : "weights: softmax of each row", w, 3, 3, 3, token, token);
  pml_show_matrix(ctx, title[3], shown[3], 3, 4, 3, token, NULL);
  double last = shown[3][7]; /* of "chase" */
  if (error_flag) pml_expect(ctx, fabs(last - 2) > 0.5, "every V ends in 2, so a mean of them must; without softmax \"chase\" ends in %.1f", last);
  else pml_expect(ctx, worst < 1e-6 && fabs(last - 2) < 1e-6, "every V ends in 2 and so does each mean of them; pml_attention agrees to %.0e", worst);
  return st;
}

static const pml_config small = {.n_heads = 4, .n_kv_heads = 2, .head_dim = 8};
static const int32_t starts[] = {0, SMALL_T};
static float qkv[SMALL_T * 64], dqkv[SMALL_T * 64], out5[SMALL_T * 32], dout[SMALL_T * 32], probs[100], dprobs[100];

static double small_loss(void *user) {
  double sum = 0;
  (void)user;
  pml_attention_forward(out5, probs, qkv, &small, 1, starts);
  for (int i = 0; i < SMALL_T * 32; i++) sum += (double)out5[i] * (double)dout[i];
  return sum;
}

static void backward(pml_ctx *ctx) {
  pml_rng rng = pml_rng_seed(ctx->seed);
  for (int i = 0; i < SMALL_T * 64; i++) qkv[i] = pml_rng_normal(&rng);
  for (int i = 0; i < SMALL_T * 32; i++) dout[i] = pml_rng_normal(&rng);
  small_loss(NULL);
  pml_attention_backward(dqkv, dprobs, dout, probs, qkv, &small, 1, starts);
  double wrong = pml_gradient_error(small_loss, NULL, qkv, dqkv, SMALL_T * 64, 1e-2f);
  pml_expect(ctx, wrong < 2e-3, "backward: %d derivatives differ from finite differences by %.0e of the largest", SMALL_T * 64, wrong);
}

/* Which tokens belong to the longest word of the question. */
static void find_word(const pml_tutor *t) {
  const char *start = strstr(t->text.data, question), *end = start + strlen(question), *word = start;
  size_t len = 0, at = 0;
  for (const char *s = start; s < end;) {
    size_t n = strcspn(s, " ?!.,;:");
    n = s + n > end ? (size_t)(end - s) : n;
    if (n > len) word = s, len = n;
    s += n ? n : 1;
  }
  size_t from = (size_t)(word - t->text.data);
  snprintf(r.word, sizeof r.word, "%.*s", (int)len, word);
  for (int i = 0; i < r.T; at += pml_token_bytes(t->model->tokenizer, t->ids[i++]).len)
    r.in_word[i] = at < from + len && at + pml_token_bytes(t->model->tokenizer, t->ids[i]).len > from;
}

/* Every head of the prompt that has just run: a table, the heads worth seeing, four claims. */
static pml_status look(pml_ctx *ctx, const pml_probe *p) {
  char text[MAX_HEADS][5][24];
  const char *cells[(MAX_HEADS + 1) * 5] = {"layer.head", "kv head", "previous token", "positions used", "the word"}, *names[MAX_T];
  double miss = 0, asymmetry = HUGE_VAL, other = HUGE_VAL, even = 0, unused[MAX_T];
  float own[1024], wrong[1024];
  for (int i = 0; i < r.n; i++) {
    int layer = i / r.H, head = i % r.H, kv = head * r.G / r.H, last = r.T - 1;
    double differ = 0, size = 0;
    pml_status st = pml_probe_head(p, layer, head, r.w[i], &r.of[i]);
    if (st == PML_OK) st = pml_probe_row(p, layer, head, kv, 0, last, unused, own);
    if (st == PML_OK) st = pml_probe_row(p, layer, head, (kv + 1) % r.G, 0, last, unused, wrong);
    if (st != PML_OK) return st;
    for (int j = 0; j < p->ctx->model->cfg.head_dim; j++) differ += fabs((double)(own[j] - wrong[j])), size += fabs((double)own[j]);
    for (int j = 0; j < r.T; j++) r.word_share[i] += r.in_word[j] ? r.w[i][last * r.T + j] : 0;
    for (int t = 0; t < r.T; t++) {
      double sum = 0;
      for (int j = 0; j <= t; j++) sum += r.w[i][t * r.T + j];
      miss = fmax(miss, fabs(sum - 1));
    }
    asymmetry = fmin(asymmetry, r.of[i].asymmetry), other = fmin(other, differ / size);
    if (r.of[i].previous > r.of[r.local].previous) r.local = i;
    if (r.of[i].used > r.of[r.spread].used) r.spread = i;
    if (r.word_share[i] > r.word_share[r.shown]) r.shown = i;
    const double share[] = {r.of[i].previous, r.of[i].used, r.word_share[i]};
    snprintf(text[i][0], 24, "%d.%d", layer, head), snprintf(text[i][1], 24, "%d", kv);
    for (int j = 0; j < 3; j++) snprintf(text[i][j + 2], 24, "%.0f %%", 100 * share[j]);
    for (int j = 0; j < 5; j++) cells[(i + 1) * 5 + j] = text[i][j];
  }
  for (int t = 1; t < r.T; t++) even += 1.0 / (t + 1) / (r.T - 1);
  for (int t = 0; t < r.T; t++) names[t] = r.name[t];
  pml_heading(ctx, "The tutor reads \"%s\": %d tokens, %d heads", question, r.T, r.n);
  pml_show_table(ctx, cells, r.n + 1, 5, "lrrrr");
  pml_say(ctx, "  previous token: mean weight on the token before (even shares: %.0f %%). Positions used: e^entropy of a row, as a share of what "
               "it may see. The word: what the last token, which decides how the answer begins, gives to \"%s\".", 100 * even, r.word);
  if (!error_flag) pml_say(ctx, "  Most local %d.%d, most spread %d.%d, most on \"%s\" %d.%d.", r.local / r.H, r.local % r.H, r.spread / r.H, r.spread % r.H, r.word, r.shown / r.H, r.shown % r.H);
  pml_say(ctx, "  Grouped queries: %d query heads share each of %d key-value heads, so the cache is %d times smaller.", r.H / r.G, r.G, r.H / r.G);
  pml_value(ctx, "word_share", r.word_share[r.shown], ""), pml_value(ctx, "previous_share", r.of[r.local].previous, "");
  if (layer_flag >= 0 || head_flag >= 0) r.shown = (layer_flag < 0 ? 0 : layer_flag) * r.H + (head_flag < 0 ? 0 : head_flag);
  if (layer_flag >= 0 || head_flag >= 0) pml_show_matrix(ctx, "the head you asked for", r.w[r.shown], r.T, r.T, 2, names, NULL);
  if (error_flag) return pml_expect(ctx, miss > 1, "without softmax a row of weights misses the sum 1 by up to %.1f", miss), PML_OK;
  pml_expect(ctx, miss < 1e-9, "all %d rows of weights add up to 1, within %.0e", r.n * r.T, miss);
  pml_expect(ctx, asymmetry > 0.05, "not symmetric: the scores i→j and j→i differ by %.0f %% of their size or more, in every head", 100 * asymmetry);
  pml_expect(ctx, r.of[r.local].previous > even, "head %d.%d gives %.0f %% to the token before", r.local / r.H, r.local % r.H, 100 * r.of[r.local].previous);
  if (r.G > 1) pml_expect(ctx, other > 0.05, "reading the other kv head would change each output by %.0f %% of its size or more", 100 * other);
  return PML_OK;
}

/* Another last token must not change one bit of an earlier row. */
static pml_status causality(pml_ctx *ctx, const pml_probe *p, pml_tutor *t) {
  size_t row = (size_t)(r.H * t->model->cfg.head_dim), layer = (size_t)r.T * row, n = layer * (size_t)t->model->cfg.n_layers, early = 0, late = 0;
  float *before = (float *)pml_alloc(n * sizeof *before);
  if (!before) return PML_E_MEMORY;
  memcpy(before, p->heads, n * sizeof *before);
  t->ids[r.T - 1] ^= 1;
  pml_context_truncate(t->session->ctx, &t->session->seq, 0);
  pml_status st = pml_forward_one(t->session->ctx, &t->session->seq, t->ids, r.T, t->session->logits);
  t->ids[r.T - 1] ^= 1;
  for (size_t i = 0; i < n; i++) *(i % layer < layer - row ? &early : &late) += before[i] != p->heads[i];
  pml_free(before);
  pml_expect(ctx, early == 0 && late > 0, "causal: another last token changes %zu of its own numbers and %zu of earlier ones", late, early);
  return st;
}

/* The same question twice: § 14's kernel, then pml_attend in its place. */
static pml_status swap(pml_ctx *ctx, pml_probe *p, pml_tutor *t) {
  pml_buf text[2] = {{0}, {0}};
  pml_status st = pml_tutor_answer(t, 60, &text[0], NULL, NULL);
  p->replace = true;
  if (st == PML_OK) st = pml_tutor_answer(t, 60, &text[1], NULL, NULL);
  if (st == PML_OK) {
    bool same = !strcmp(text[0].data, text[1].data);
    pml_heading(ctx, "pml_attend in the place of the kernel%s", error_flag ? ", without softmax" : "");
    pml_say(ctx, "  the kernel:  %s", text[0].data);
    pml_say(ctx, "  %s %s", error_flag ? "raw scores: " : "plain loops:", text[1].data);
    if (error_flag) pml_expect(ctx, !same && p->growth > 2, "head outputs grow %.0f-fold on average, and the answer is another one", p->growth);
    else pml_expect(ctx, same && p->difference < 1e-5 * p->largest, "the same answer; outputs differ by at most %.0e of the largest", p->difference / p->largest);
  }
  pml_buf_free(&text[0]);
  pml_buf_free(&text[1]);
  return st;
}

static pml_status run(pml_ctx *ctx) {
  pml_tutor *t = NULL;
  pml_probe *p = NULL;
  memset(&r, 0, sizeof r);
  pml_status st = by_hand(ctx);
  if (st == PML_OK) st = pml_tutor_open(&t, ctx, question);
  if (st != PML_OK) return st;
  const pml_config *c = &t->model->cfg;
  r.T = t->n, r.H = c->n_heads, r.G = c->n_kv_heads, r.n = c->n_layers * r.H;
  if (layer_flag < -1 || layer_flag >= c->n_layers || head_flag < -1 || head_flag >= r.H)
    st = pml_fail(PML_E_USAGE, "the tutor has layers 0 to %d with heads 0 to %d", c->n_layers - 1, r.H - 1);
  else if (r.n > MAX_HEADS || c->head_dim > 1024 || r.T > MAX_T || !*question)
    st = pml_fail(PML_E_USAGE, "the prompt has %d tokens: give a question with which it has at most %d", r.T, MAX_T);
  if (st == PML_OK) st = pml_probe_open(&p, t->session->ctx, &t->session->seq, r.T);
  if (st == PML_OK) {
    find_word(t);
    for (int i = 0; i < r.T; i++) memcpy(r.name[i], t->name[i], sizeof r.name[i]);
    p->no_softmax = error_flag;
    st = pml_forward_one(t->session->ctx, &t->session->seq, t->ids, r.T, t->session->logits);
  }
  if (st == PML_OK) st = look(ctx, p);
  if (st == PML_OK) st = causality(ctx, p, t);
  if (st == PML_OK) st = swap(ctx, p, t);
  if (st == PML_OK) backward(ctx);
  pml_probe_close(p);
  pml_tutor_close(t);
  return st;
}

static void small_heat(pml_svg *svg, pml_box b, int head, const char *fmt, double number) {
  double cell = floor(b.h / r.T), x = b.x + cell * r.T + 30;
  char what[160];
  snprintf(what, sizeof what, fmt, number);
  for (int i = 0; i < r.T * r.T; i++)
    if (i % r.T <= i / r.T)
      pml_svg_rect(svg, (pml_box){b.x + i % r.T * cell, b.y + i / r.T * cell, cell - 1, cell - 1}, 0, pml_rgb_mix(0x132B40, PML_TEAL, fmin(1, r.w[head][i])), PML_NO_COLOUR, 0);
  pml_svg_textf(svg, x, b.y + 60, (pml_font){.size = 32, .weight = 600}, "Layer %d, head %d", head / r.H, head % r.H);
  pml_svg_text_in(svg, (pml_box){x, b.y + 78, b.x + b.w - x, b.h - 78}, (pml_font){.size = 26, .colour = 0xCBD5E1}, PML_START, what);
}

static pml_status draw(pml_ctx *ctx, pml_svg *svg) {
  const char *names[MAX_T];
  int group = r.H / r.G, twin = group == 1 ? r.shown : r.shown % group ? r.shown - 1 : r.shown + 1;
  pml_box b = pml_svg_body(svg), right = {b.x + 1230, b.y + 20, b.w - 1230, b.h - 20};
  for (int t = 0; t < r.T; t++) names[t] = r.name[t];
  pml_lesson_title(ctx, svg, "Before it answers, head %d of layer %d gives %.0f %% of its attention to “%s”", r.shown % r.H, r.shown / r.H, 100 * r.word_share[r.shown], r.word);
  pml_box c = pml_svg_heat(svg, (pml_box){b.x, b.y, 1190, b.h}, r.w[r.shown], r.T, r.T,
                           &(pml_heat_options){.row_names = names, .col_names = names, .row_title = "this token…", .col_title = "…looks at", .scale_title = "weight", .hi = 1, .decimals = -1});
  double cell = c.w / r.T, row = c.h / r.T;
  for (int t = 0; t < r.T; t++) /* the row that the title is about */
    if (r.in_word[t]) pml_svg_rect(svg, (pml_box){c.x + t * cell - 2, c.y + c.h - row - 2, cell + 2, row + 2}, 4, PML_NO_COLOUR, PML_TEXT, 4);
  pml_svg_text_in(svg, (pml_box){c.x + c.w * 0.6, c.y + 14, c.w * 0.4, c.h * 0.3}, (pml_font){.size = 26, .colour = 0xCBD5E1}, PML_START,
                  "Empty: the future. The last row decides how the answer begins.");
  small_heat(svg, pml_box_row(right, 0, 3, 40), r.local, "the most local: %.0f %% on the token before", 100 * r.of[r.local].previous);
  small_heat(svg, pml_box_row(right, 1, 3, 40), r.spread, "the most spread: uses %.0f %% of the positions it may see", 100 * r.of[r.spread].used);
  small_heat(svg, pml_box_row(right, 2, 3, 40), twin, "the big one's twin: same keys and values, other queries, %.0f %% on the word", 100 * r.word_share[twin]);
  return PML_OK;
}

static pml_status page(pml_ctx *ctx, pml_page *p) {
  static const char sinks[] = "Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks (arXiv:2309.17453)";
  (void)ctx;
  pml_page_item(p, PML_PAGE_CAN, "compute the attention of three tokens by hand: scores, mask, softmax, mean of the values;");
  pml_page_item(p, PML_PAGE_CAN, "read the heat map of a trained head: local, spread, or aimed at one word;");
  pml_page_item(p, PML_PAGE_CAN, "say what √h, the causal mask and shared key-value heads are for, and test each of them.");
  pml_page_formula(p, PML_PAGE_MECHANISM, "\\mathrm{out}_t = \\sum_{p \\le t} \\mathrm{softmax}_p\\left(\\frac{q_t \\cdot k_p}{\\sqrt h}\\right) v_p");
  pml_page_text(p, PML_PAGE_MECHANISM, "The definition, in plain loops (§ 26). The lesson puts it in the place of the kernel in every layer, and the answer stays the same.");
  pml_page_quote(p, "attend");
  pml_page_text(p, PML_PAGE_MECHANISM, "The kernel (§ 14) does the same for all heads of a group at once, 256 positions at a time, with a running maximum.");
  pml_page_quote(p, "attention");
  pml_page_text(p, PML_PAGE_BREAK, "`make demo-attention ARGS=--error` leaves softmax out: raw scores become the weights. You should see rows that no longer add up to 1, "
                "head outputs that grow many times over, and another answer to the same question.");
  pml_page_text(p, PML_PAGE_BREAK, "Then look at one head as numbers: `make demo-attention ARGS=\"--layer 0 --head 1\"`.");
  pml_page_question(p, "Query and key are made from the same token vectors. Why is the score matrix not symmetric?",
                    "W_Q and W_K are different matrices: what a token looks for is not what it offers. With W_Q = W_K and no positions, the score i→j would equal "
                    "j→i, and \"chase\" could not look at \"cats\" more than \"cats\" at \"chase\".");
  pml_page_question(p, "Why divide by √h?", "q·k is a sum of h products. If each has variance 1 the sum has variance h, so at h = 64 the scores would be 8 times too wide: "
                    "softmax would give almost everything to one position, and its gradient p·(1 − p) would vanish.");
  pml_page_question(p, "How does the lesson know that nothing looks at the future?", "It changes the last token and compares all head outputs of all earlier positions: not one bit may "
                    "change. Zeros above the diagonal of a printed matrix would prove less: it could be another matrix than the one that was used.");
  pml_page_question(p, "Two query heads share a key-value head. What is saved, what is not?", "The cache and the projections W_K and W_V become smaller by H/G. The scores do not: "
                    "every query head still compares itself with every position.");
  pml_page_question(p, "In many heads the first token gets much weight, whatever it is. Why?", "A row must add up to 1. A head that finds nothing useful needs a place to put its weight; the first "
                    "token is visible to all, and its value can be learned to add little: an attention sink.");
  pml_page_source(p, sinks, strlen(sinks));
  return PML_OK;
}

int main(int argc, char **argv) {
  const pml_flag flags[] = {{"error", "leave softmax out: raw scores become the weights", PML_FLAG_BOOL, &error_flag},
                            {"layer", "the layer to show (default: where a head looks most at the longest word)", PML_FLAG_INT, &layer_flag},
                            {"head", "the query head to show", PML_FLAG_INT, &head_flag},
                            {"question", "what to ask (What is a KV cache?)", PML_FLAG_STRING, &question}};
  const pml_lesson lesson = {.number = "05", .name = "attention", .title = "Attention", .file = __FILE__, .sections = {14, 26}, .flags = flags, .n_flags = 4,
                             .summary = "Queries meet keys: who looks at whom, with three tokens by hand and in every head of a trained model.",
                             .result = &r, .run = run, .draw = draw, .page = page};
  return pml_lesson_main(&lesson, argc, argv);
}
