/* 05 attention: who looks at whom?

     cc -O2 lessons/05_attention.c -o a -lm -pthread && ./a
     ./a --layer 2 --head 1               the head you want to see, as a matrix
     ./a --question "What is RoPE?"       other tokens, other patterns
     ./a --error                          leave softmax out and watch the answer break

   You see attention with numbers to check by hand, what each head of a trained model looks at, and that the plain
   loops of pml_attend (§ 26) can replace the fast kernel of § 14.  To change: the numbers of Q, K and V. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

static struct { bool error; int layer, head; } flag = {false, -1, -1};
static struct {
  pml_head_survey all;
  int shown;                     /* the head in the big picture */
  bool in_word[PML_SURVEY_ROWS]; /* the longest word of the question */
  char word[64];
} r;

static pml_status by_hand(pml_ctx *ctx) {
  static const char *const token[] = {"cats", "chase", "mice"};
  const float q[] = {2, 0, 0, 0, 4, 0, 2, 0, 0, 2, 0, 4}, k[] = {1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1};
  const float v[] = {1, 0, 0, 2, 0, 1, 0, 2, 0, 0, 1, 2}, *kr[] = {k, k + 4, k + 8}, *vr[] = {v, v + 4, v + 8};
  const int32_t block = 0, visible[] = {1, 2, 3};
  const pml_kv_view view = {k, v, &block, 3, 4}, *views[] = {&view, &view, &view};
  double score[9], w[9], worst = 0;
  float out[12], kernel[12];
  for (int i = 0; i < 9; i++) w[i] = score[i] = (double)NAN;
  for (int t = 0; t < 3; t++) pml_attend(NULL, score + 3 * t, q + 4 * t, kr, vr, t + 1, 4, false);
  for (int t = 0; t < 3; t++) pml_attend(out + 4 * t, w + 3 * t, q + 4 * t, kr, vr, t + 1, 4, !flag.error);
  pml_status st = pml_attention(kernel, q, 3, 1, 1, 4, views, visible);
  for (int i = 0; i < 12; i++) worst = fmax(worst, fabs((double)out[i] - (double)kernel[i]));
  pml_heading(ctx, "Three tokens, one head of 4 dimensions");
  pml_show_floats(ctx, "Q: what each token looks for", q, 3, 4, 0, token, NULL);
  pml_show_floats(ctx, "K: what each token offers", k, 3, 4, 0, token, NULL);
  pml_show_floats(ctx, "V: what it hands over", v, 3, 4, 0, token, NULL);
  pml_show_matrix(ctx, "Q·Kᵀ / √4, a dot where the future is masked", score, 3, 3, 1, token, token);
  pml_show_matrix(ctx, flag.error ? "weights: the scores, softmax left out" : "weights: softmax of each row", w, 3, 3,
                  3, token, token);
  pml_show_floats(ctx, "output: weights · V", out, 3, 4, 3, token, NULL);
  double off = fabs((double)out[7] - 2); /* of "chase" */
  if (flag.error) pml_expect(ctx, off > 0.5, "every V ends in 2, so a mean of them must; without softmax \"chase\" "
                             "ends in %.1f", (double)out[7]);
  else pml_expect(ctx, worst < 1e-6 && off < 1e-6, "every V ends in 2 and so does each mean of them; pml_attention "
                  "agrees to %.0e", worst);
  return st;
}

/* What the survey of the prompt says: a table, the heads worth seeing, four claims. */
static void look(pml_ctx *ctx) {
  const pml_head_survey *s = &r.all;
  const pml_head_facts *f = s->of, *worst = &s->worst;
  int H = s->n_heads, G = ctx->tutor->model->cfg.n_kv_heads, a = s->local, b = s->spread, c = s->aimed;
  pml_table t = {0};
  pml_table_row(&t, "layer.head\tkv head\tprevious token\tpositions used\tthe word");
  for (int i = 0; i < s->n; i++)
    pml_table_row(&t, "%d.%d\t%d\t%.0f %%\t%.0f %%\t%.0f %%", i / H, i % H, i % H * G / H, 100 * f[i].previous,
                  100 * f[i].used, 100 * s->share[i]);
  pml_heading(ctx, "The tutor reads \"%s\": %d tokens, %d heads", ctx->question, s->rows, s->n);
  pml_show_rows(ctx, &t, "lrrrr");
  pml_say(ctx, "  previous token: mean weight on the token before (even shares: %.0f %%). Positions used: e^entropy of "
          "a row, as a share of what it may see. The word: what the last token, which decides how the answer begins, "
          "gives to \"%s\".", 100 * s->even, r.word);
  if (!flag.error) pml_say(ctx, "  Most local %d.%d, most spread %d.%d, most on \"%s\" %d.%d.", a / H, a % H, b / H,
                           b % H, r.word, c / H, c % H);
  pml_say(ctx, "  Grouped queries: %d query heads share each of %d key-value heads, so the cache is %d times smaller.",
          H / G, G, H / G);
  pml_value(ctx, "word_share", s->share[c], ""), pml_value(ctx, "previous_share", f[a].previous, "");
  bool asked = flag.layer >= 0 || flag.head >= 0;
  r.shown = asked ? (flag.layer < 0 ? 0 : flag.layer) * H + (flag.head < 0 ? 0 : flag.head) : c;
  if (asked) pml_show_matrix(ctx, "the head you asked for", s->weights[r.shown], s->rows, s->rows, 2, ctx->tutor->names,
                             NULL);
  if (flag.error) {
    pml_expect(ctx, worst->sum_error > 1, "without softmax a row of weights misses the sum 1 by up to %.1f",
               worst->sum_error);
    return;
  }
  pml_expect(ctx, worst->sum_error < 1e-9, "all %d rows of weights add up to 1, within %.0e", s->n * s->rows,
             worst->sum_error);
  pml_expect(ctx, worst->asymmetry > 0.05, "not symmetric: the scores i→j and j→i differ by %.0f %% of their size or "
             "more, in every head", 100 * worst->asymmetry);
  pml_expect(ctx, f[a].previous > s->even, "head %d.%d gives %.0f %% to the token before", a / H, a % H,
             100 * f[a].previous);
  if (G > 1) pml_expect(ctx, worst->other_kv > 0.05, "reading the other kv head would change each output by %.0f %% of "
                        "its size or more", 100 * worst->other_kv);
}

/* The same question twice: § 14's kernel, then pml_attend in its place. */
static pml_status swap(pml_ctx *ctx, pml_probe *p) {
  pml_buf kernel = {0}, plain = {0};
  pml_status st = pml_tutor_answer(ctx->tutor, 60, &kernel, NULL, NULL);
  p->replace = true;
  if (st == PML_OK) st = pml_tutor_answer(ctx->tutor, 60, &plain, NULL, NULL);
  if (st != PML_OK) return st;
  bool same = !strcmp(kernel.data, plain.data);
  pml_heading(ctx, "pml_attend in the place of the kernel%s", flag.error ? ", without softmax" : "");
  pml_say(ctx, "  the kernel:  %s", kernel.data);
  pml_say(ctx, "  %s %s", flag.error ? "raw scores: " : "plain loops:", plain.data);
  if (flag.error) pml_expect(ctx, !same && p->growth > 2, "head outputs grow %.0f-fold on average, and the answer is "
                             "another one", p->growth);
  else pml_expect(ctx, same && p->difference < 1e-5 * p->largest, "the same answer; outputs differ by at most %.0e of "
                  "the largest", p->difference / p->largest);
  pml_buf_free(&kernel), pml_buf_free(&plain);
  return PML_OK;
}

static pml_status heads(pml_ctx *ctx) {
  pml_tutor *t = ctx->tutor;
  pml_session *s = t->session;
  pml_probe *p = NULL;
  size_t last, before;
  double error;
  int n, L = t->model->cfg.n_layers, H = t->model->cfg.n_heads;
  if (flag.layer < -1 || flag.layer >= L || flag.head < -1 || flag.head >= H)
    return pml_fail(PML_E_USAGE, "the tutor has layers 0 to %d with heads 0 to %d", L - 1, H - 1);
  if (t->n > PML_SURVEY_ROWS || !*ctx->question)
    return pml_fail(PML_E_USAGE, "the prompt has %d tokens: ask so that it has at most %d", t->n, PML_SURVEY_ROWS);
  pml_status st = pml_probe_open(&p, s->ctx, &s->seq, t->n);
  if (st != PML_OK) return st;
  pml_tutor_word(t, ctx->question, r.word, r.in_word);
  p->no_softmax = flag.error;
  st = pml_forward_one(s->ctx, &s->seq, t->ids, t->n, s->logits);
  if (st == PML_OK) st = pml_probe_survey(p, r.in_word, &r.all);
  if (st == PML_OK) look(ctx);
  if (st == PML_OK) st = pml_probe_causal(p, s->ctx, &s->seq, t->ids, t->n, &last, &before);
  if (st == PML_OK) pml_expect(ctx, before == 0 && last > 0, "causal: another last token changes %zu of its own "
                               "numbers and %zu of earlier ones", last, before);
  if (st == PML_OK) st = swap(ctx, p);
  if (st == PML_OK) st = pml_attention_gradient_error(5, ctx->seed, &error, &n);
  if (st == PML_OK) pml_expect(ctx, error < 2e-3, "backward: %d derivatives differ from finite differences by %.0e of "
                               "the largest", n, error);
  pml_probe_close(p);
  return st;
}

static void small(pml_svg *svg, pml_box b, int head, const char *what, double share) {
  char name[32];
  snprintf(name, sizeof name, "Layer %d, head %d", head / r.all.n_heads, head % r.all.n_heads);
  pml_svg_heat_note(svg, b, r.all.weights[head], r.all.rows, name, "%s %.0f %%", what, 100 * share);
}

static pml_status draw(pml_ctx *ctx, pml_svg *svg) {
  const char *const *names = ctx->tutor->names;
  const pml_head_survey *s = &r.all;
  const pml_heat_options o = {.row_names = names, .col_names = names, .row_title = "this token…", .hi = 1,
                              .col_title = "…looks at", .scale_title = "weight", .decimals = -1};
  int T = s->rows, H = s->n_heads, head = r.shown, group = H / ctx->tutor->model->cfg.n_kv_heads;
  int twin = group == 1 ? head : head % group ? head - 1 : head + 1;
  pml_box b = pml_svg_body(svg), big = pml_box_left(&b, 1190, 40);
  pml_box_top(&b, 20, 0);
  pml_lesson_title(ctx, svg, "Before it answers, head %d of layer %d gives %.0f %% of its attention to “%s”", head % H,
                   head / H, 100 * s->share[head], r.word);
  pml_box c = pml_svg_heat(svg, big, s->weights[head], T, T, &o), row = pml_box_row(c, T - 1, T, 0);
  for (int t = 0; t < T; t++) /* the row that the title is about */
    if (r.in_word[t])
      pml_svg_rect(svg, pml_box_inset(pml_box_column(row, t, T, 0), -1, -1), 4, PML_NO_COLOUR, PML_TEXT, 4);
  pml_box empty = {c.x + c.w * 0.6, c.y + 14, c.w * 0.4, c.h * 0.3};
  pml_svg_text_in(svg, empty, (pml_font){.size = 26, .colour = 0xCBD5E1}, PML_START,
                  "Empty: the future. The last row decides how the answer begins.");
  small(svg, pml_box_row(b, 0, 3, 40), s->local, "the most local; on the token before:", s->of[s->local].previous);
  small(svg, pml_box_row(b, 1, 3, 40), s->spread, "the most spread; of the positions it may see, it uses",
        s->of[s->spread].used);
  small(svg, pml_box_row(b, 2, 3, 40), twin, "the big one's twin: same keys and values, other queries; on the word:",
        s->share[twin]);
  return PML_OK;
}

static const pml_lesson lesson = {
  .number = "05", .name = "attention", .title = "Attention", .file = __FILE__, .sections = {14, 26},
  .summary = "Queries meet keys: who looks at whom, with three tokens by hand and in every head of a trained model.",
  .question = "What is a KV cache?", .result = &r, .result_size = sizeof r,
  .flags = {{"error", "leave softmax out: raw scores become the weights", PML_FLAG_BOOL, &flag.error},
            {"layer", "the layer to show (default: where a head looks most at the word)", PML_FLAG_INT, &flag.layer},
            {"head", "the query head to show", PML_FLAG_INT, &flag.head}},
  .run = {by_hand, heads}, .draw = draw};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }

/* @page
## What you will be able to do
- compute the attention of three tokens by hand: scores, mask, softmax, mean of the values;
- read the heat map of a trained head: local, spread, or aimed at one word;
- say what √h, the causal mask and shared key-value heads are for, and test each of them.
## The mechanism
$$\mathrm{out}_t = \sum_{p \le t} \mathrm{softmax}_p\left(\frac{q_t \cdot k_p}{\sqrt h}\right) v_p$$

The definition, in plain loops (§ 26). The lesson puts it in the place of the kernel in every layer, and the answer
stays the same.
@quote attend
The kernel (§ 14) does the same for all heads of a group at once, 256 positions at a time, with a running maximum.
@quote attention
## Break it
`make demo-attention ARGS=--error` leaves softmax out: raw scores become the weights. You should see rows that no
longer add up to 1, head outputs that grow many times over, and another answer to the same question.

Then look at one head as numbers: `make demo-attention ARGS="--layer 0 --head 1"`.
## Check yourself
### Query and key are made from the same token vectors. Why is the score matrix not symmetric?
W_Q and W_K are different matrices: what a token looks for is not what it offers. With W_Q = W_K and no positions, the
score i→j would equal j→i, and "chase" could not look at "cats" more than "cats" at "chase".
### Why divide by √h?
q·k is a sum of h products. If each has variance 1 the sum has variance h, so at h = 64 the scores would be 8 times too
wide: softmax would give almost everything to one position, and its gradient p·(1 − p) would vanish.
### How does the lesson know that nothing looks at the future?
It changes the last token and compares all head outputs of all earlier positions: not one bit may change. Zeros above
the diagonal of a printed matrix would prove less: it could be another matrix than the one that was used.
### Two query heads share a key-value head. What is saved, what is not?
The cache and the projections W_K and W_V become smaller by H/G. The scores do not: every query head still compares
itself with every position.
### In many heads the first token gets much weight, whatever it is. Why?
A row must add up to 1. A head that finds nothing useful needs a place to put its weight; the first token is visible to
all, and its value can be learned to add little: an attention sink.
## Sources
- Xiao et al. 2023, Efficient Streaming Language Models with Attention Sinks (arXiv:2309.17453)
*/
