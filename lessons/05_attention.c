/* 05 attention: who looks at whom?

     cc -O2 lessons/05_attention.c -o a -lm -pthread && ./a
     ./a --layer 2 --head 1               the head you want to see, as a matrix
     ./a --error                          leave softmax out and watch the answer break

   You see attention with numbers to check by hand, what each head of a trained model looks at, and that plain loops,
   pml_attend (§ 26), can replace the fast kernel of § 14.  To change: q, k and v below; --question "What is RoPE?". */
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
  const float v[] = {1, 0, 0, 2, 0, 1, 0, 2, 0, 0, 1, 2};
  const int32_t block = 0, visible[] = {1, 2, 3};
  const pml_kv_view view = {k, v, &block, 3, 4}, *views[] = {&view, &view, &view};
  double score[9], w[9], off = 0, error = 1;
  float out[12], kernel[12];
  int n = 0;
  pml_status st = pml_attend_causal(NULL, score, q, k, v, 3, 4, false);
  if (st == PML_OK) st = pml_attend_causal(out, w, q, k, v, 3, 4, !flag.error);
  if (st == PML_OK) st = pml_attention(kernel, q, 3, 1, 1, 4, views, visible);
  if (st == PML_OK) st = pml_attention_gradient_error(5, ctx->seed, &error, &n);
  if (st != PML_OK) return st;
  for (int i = 0; i < 12; i++) off = fmax(off, fabs((double)out[i] - (double)kernel[i]));
  pml_heading(ctx, "Three tokens, one head of 4 dimensions");
  pml_show_floats(ctx, "Q: what each token looks for", q, 3, 4, 0, token, NULL);
  pml_show_floats(ctx, "K: what each token offers", k, 3, 4, 0, token, NULL);
  pml_show_floats(ctx, "V: what it hands over", v, 3, 4, 0, token, NULL);
  pml_show_matrix(ctx, "Q·Kᵀ / √4, a dot where the future is masked", score, 3, 3, 1, token, token);
  pml_show_matrix(ctx, flag.error ? "weights: raw scores" : "weights: softmax of each row", w, 3, 3, 3, token, token);
  pml_show_floats(ctx, "output: weights · V", out, 3, 4, 3, token, NULL);
  pml_expect_unless(ctx, flag.error, fabsf(out[7] - 2) < 1e-6f, "every V ends in 2, so any mean: %.1f", (double)out[7]);
  pml_expect_unless(ctx, flag.error, off < 1e-6, "the kernel agrees within %.0e", off);
  pml_expect(ctx, error < 2e-3, "backward: %d derivatives differ from finite differences by %.0e", n, error);
  return PML_OK;
}

static pml_status look(pml_ctx *ctx) {
  const pml_tutor *t = ctx->tutor;
  const pml_head_survey *s = &r.all;
  const int L = t->model->cfg.n_layers, H = t->model->cfg.n_heads, G = t->model->cfg.n_kv_heads;
  if (flag.layer < -1 || flag.layer >= L || flag.head < -1 || flag.head >= H)
    return pml_fail(PML_E_USAGE, "the tutor has layers 0 to %d with heads 0 to %d", L - 1, H - 1);
  if (t->n > PML_SURVEY_ROWS) return pml_fail(PML_E_USAGE, "the prompt has %d tokens: ask a shorter question", t->n);
  pml_tutor_word(t, ctx->question, r.word, r.in_word);
  pml_status st = pml_attention_survey(&r.all, t->session->ctx, &t->session->seq, t->ids, t->n, r.in_word, !flag.error);
  if (st != PML_OK) return st;
  const double before = s->of[s->local].previous;
  r.shown = (flag.layer < 0 ? s->aimed / H : flag.layer) * H + (flag.head < 0 ? s->aimed % H : flag.head);
  pml_heading(ctx, "The tutor reads \"%s\": %d tokens, %d heads", ctx->question, s->rows, s->n);
  pml_show_survey(ctx, s, r.word);
  if (flag.layer >= 0 || flag.head >= 0)
    pml_show_matrix(ctx, s->name[r.shown], s->weights[r.shown], s->rows, s->rows, 2, t->names, NULL);
  pml_expect_unless(ctx, flag.error, s->worst.sum_error < 1e-9, "rows add up to 1 within %.0e", s->worst.sum_error);
  pml_expect(ctx, s->own && !s->earlier, "causal: another last token changes %zu of its own head outputs, %zu of "
             "earlier ones", s->own, s->earlier);
  pml_expect(ctx, s->worst.asymmetry > 0.05, "scores i→j and j→i differ by %.0f %% or more", 100 * s->worst.asymmetry);
  pml_expect(ctx, G == 1 || s->worst.other_kv > 0.05, "%d query heads share a kv head, a cache %d times smaller; "
             "another would change each output by %.0f %% or more", H / G, H / G, 100 * s->worst.other_kv);
  if (!flag.error) pml_expect(ctx, before > s->even, "%s gives %.0f %% to the token before; even shares are %.0f %%",
                              s->name[s->local], 100 * before, 100 * s->even);
  return PML_OK;
}

/* The same question twice: § 14's kernel, then pml_attend in its place. */
static pml_status swap(pml_ctx *ctx) {
  pml_tutor *t = ctx->tutor;
  pml_buf kernel = {0}, plain = {0};
  pml_probe *p = NULL;
  pml_status st = pml_tutor_answer(t, 60, &kernel, NULL, NULL);
  if (st == PML_OK) st = pml_probe_open(&p, t->session->ctx, &t->session->seq, t->n);
  if (st != PML_OK) return st;
  p->replace = true, p->no_softmax = flag.error;
  st = pml_tutor_answer(t, 60, &plain, NULL, NULL);
  double off = p->difference / p->largest;
  pml_heading(ctx, "pml_attend in the place of the kernel%s", flag.error ? ", without softmax" : "");
  pml_say(ctx, "  the kernel:  %s\n  pml_attend:  %s", kernel.data, plain.data);
  pml_expect_unless(ctx, flag.error, !strcmp(kernel.data, plain.data), "the same answer");
  pml_expect_unless(ctx, flag.error, off < 1e-5, "head outputs differ by at most %.0e of the largest", off);
  pml_probe_close(p);
  pml_buf_free(&kernel), pml_buf_free(&plain);
  return st;
}

static pml_status draw(pml_ctx *ctx, pml_svg *svg) {
  const pml_head_survey *s = &r.all;
  const pml_heat_options o = {.row_names = ctx->tutor->names, .col_names = ctx->tutor->names, .hi = 1, .decimals = -1,
                              .row_title = "this token…", .col_title = "…looks at", .scale_title = "weight",
                              .last = r.in_word, .note = "Empty: the future. The last row begins the answer."};
  const int g = s->n_heads / ctx->tutor->model->cfg.n_kv_heads, twin = r.shown / g * g + (r.shown + 1) % g;
  pml_box b = pml_svg_body(svg), big = pml_box_left(&b, 1190, 40), top = pml_box_row(b, 0, 3, 40);
  pml_box mid = pml_box_row(b, 1, 3, 40), low = pml_box_row(b, 2, 3, 40);
  pml_lesson_title(ctx, svg, "Before it answers, %s gives %.0f %% of its attention to “%s”", s->name[r.shown],
                   100 * s->share[r.shown], r.word);
  pml_svg_heat(svg, big, s->weights[r.shown], s->rows, s->rows, &o);
  pml_svg_headmap(svg, top, s, s->local, "the most local; on the token before:", s->of[s->local].previous);
  pml_svg_headmap(svg, mid, s, s->spread, "the most spread; of what it may see, it uses", s->of[s->spread].used);
  pml_svg_headmap(svg, low, s, twin, "the twin: same keys and values, other queries; on the word:", s->share[twin]);
  return PML_OK;
}

static const pml_lesson lesson = {
  .number = "05", .name = "attention", .title = "Attention", .file = __FILE__, .sections = {14, 26},
  .summary = "Queries meet keys: who looks at whom, with three tokens by hand and in every head of a trained model.",
  .question = "What is a KV cache?", .result = &r, .result_size = sizeof r,
  .flags = {{"error", "leave softmax out: raw scores become the weights", PML_FLAG_BOOL, &flag.error},
            {"layer", "the layer to show (default: where a head looks most at the word)", PML_FLAG_INT, &flag.layer},
            {"head", "the query head to show", PML_FLAG_INT, &flag.head}},
  .run = {by_hand, look, swap}, .draw = draw};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }

/* @page
## What you will be able to do
- compute the attention of three tokens by hand: scores, mask, softmax, mean of the values;
- read the heat map of a trained head: local, spread, or aimed at one word;
- say what √h, the causal mask and shared key-value heads are for, and test each of them.
## The mechanism
The definition, in plain loops (§ 26): put in the place of the kernel in every layer, it gives the same answer.
@quote attend
The kernel (§ 14) does the same for all heads of a group at once, 256 positions at a time, with a running maximum.
@quote attention
## Break it
`make demo-attention ARGS=--error` leaves softmax out: raw scores become the weights, and the checks of the sums, of the
kernel and of the answer no longer hold. `ARGS="--layer 0 --head 1"` shows one head as numbers.
## Check yourself
### Query and key are made from the same token vectors. Why is the score matrix not symmetric?
W_Q and W_K are different matrices: what a token looks for is not what it offers. With W_Q = W_K and no positions,
"chase" could not look at "cats" more than "cats" at "chase".
### Why divide by √h?
q·k is a sum of h products. If each has variance 1 the sum has variance h, so at h = 64 the scores would be 8 times too
wide: softmax would give almost everything to one position, and its gradient p·(1 − p) would vanish.
### How does the lesson know that nothing looks at the future?
It changes the last token and compares all head outputs of all earlier positions: not one bit may change. Zeros above
the diagonal of a printed matrix prove less: it could be another matrix than the one that was used.
### Two query heads share a key-value head. What is saved, what is not?
The cache, W_K and W_V become smaller by H/G. The scores do not: every query head still looks at every position.
### In many heads the first token gets much weight, whatever it is. Why?
A row must add up to 1. A head that finds nothing useful needs a place for its weight; the first token is visible to
all, and its value can be learned to add little: an attention sink (Xiao et al. 2023, arXiv:2309.17453).
*/
