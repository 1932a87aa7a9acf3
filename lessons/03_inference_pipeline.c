/* 03 inference pipeline: six steps from a question to a token, and the loop around them

     cc -O2 lessons/03_inference_pipeline.c -o a -lm -pthread && ./a
     ./a --question "What is RoPE?"           another text
     ./a --temperature 1 --top-k 5 --seed 7   sample instead of taking the best token
     ./a --error                              only the faults: a model file whose parts do not fit together

   You see what each step makes of the one before.  To change: in pml__plain_loop (§ 28), feed a wrong token. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { MAX = 96, TOP = 5 };
static const char *const stage[] = {"embed", "attention", "ffn", "head", "sample", "decode", "tokenise"};
static struct { bool error; int top_k; double temperature; } flag;
static struct {
  pml_table depths;
  pml_choice top[TOP], step[MAX];
  double share[7];   /* of the time of a step */
  int n;             /* tokens of step: the end token too */
  char answer[2048];
} r;

static pml_status first_token(pml_ctx *ctx) {
  pml_tutor *t = ctx->tutor;
  const int T = t->n, V = t->model->cfg.n_vocab, d = t->model->cfg.d_model, id = (int)t->ids[T - 1];
  pml_depths depth;
  pml_buf back = {0};
  char word[80];
  pml_status st = pml_decode(t->model->tokenizer, t->ids, (size_t)T, PML_ENCODE_SPECIAL, &back);
  if (st == PML_OK) st = pml_lens_depths(&depth, t->session->ctx, &t->session->seq, t->ids, T, t->session->logits);
  if (st != PML_OK || flag.error) return st;
  pml_heading(ctx, "1 Tokenise: text to ids");
  pml_show_prompt(ctx, t);
  pml_expect(ctx, !strcmp(back.data, t->text.data), "%d ids decode to the same %zu bytes", T, back.len);
  pml_heading(ctx, "2 Embed: each id becomes its row of the table [%d,%d]", V, d);
  bool same = depth.starts_in_table;
  pml_expect(ctx, same, "[%d,%d]: the row of token %d is row %d of the table, bit for bit", T, d, T - 1, id);
  pml_heading(ctx, "3 Transform: the last row through %d layers, read by the head after each", depth.n - 1);
  pml_table_row(&r.depths, "after\tlength\twould say\tp");
  for (int l = 0; l < depth.n; l++) {
    pml_token_name(t->model, depth.at[l].token, word);
    pml_table_row(&r.depths, "%s\t%.1f\t%s\t%.3f", depth.at[l].after, depth.at[l].length, word, depth.at[l].p);
  }
  pml_show_rows(ctx, &r.depths, "lrlr");
  pml_heading(ctx, "4 Head: %d logits, one per token", V);
  pml_choices(r.top, TOP, t->model, t->session->logits);
  for (int k = 0; k < TOP; k++) pml_say(ctx, "  %5.1f %%  %s", 100 * r.top[k].p, r.top[k].name);
  pml_expect(ctx, depth.ends_in_logits, "the reading after the last layer is the model's logits, bit for bit");
  double off = fabs(depth.p_sum - 1);
  pml_expect(ctx, off < 1e-5, "softmax: the probabilities of all tokens add up to 1 within %.0e", fmax(off, 1e-7));
  pml_buf_free(&back);
  return PML_OK;
}

static pml_status generate(pml_ctx *ctx) {
  pml_tutor *t = ctx->tutor;
  pml_stages clock = {.names = stage, .n = 7};
  pml_buf plain = {0}, text = {0};
  int32_t out[MAX];
  int n = 0, same = 0;
  if (flag.error) return PML_OK;
  t->sampler.temperature = (float)flag.temperature, t->sampler.top_k = flag.top_k, t->sampler.seed = ctx->seed;
  pml_status st = pml_generate_plain(t->session, t->text.data, t->text.len, &t->sampler, MAX, out, &n, &plain, &clock);
  if (st == PML_OK) st = pml_tutor_answer(t, MAX, &text, r.step, &r.n);
  if (st != PML_OK) return st;
  while (same < n && same < r.n && out[same] == r.step[same].id) same++;
  snprintf(r.answer, sizeof r.answer, "%s", plain.data);
  pml_heading(ctx, "5 Sample, 6 decode, and again: %d tokens", n - pml_token_is_end(t->model, out[n - 1]));
  pml_say(ctx, "  %s", r.answer);
  pml_expect(ctx, same == n && n == r.n && !strcmp(r.answer, text.data), "pml_generate gives the same %d tokens", n);
  pml_value(ctx, "first_token_probability", r.top[0].p, ""), pml_value(ctx, "tokens", n, "");
  pml_heading(ctx, "Time of one step of the loop");
  pml_measure_stages(ctx, &clock, n, r.share);
  pml_buf_free(&plain), pml_buf_free(&text);
  return PML_OK;
}

static pml_status faults(pml_ctx *ctx) {
  pml_session *s = ctx->tutor->session;
  const char *path = pml_lesson_path(ctx, "models/tutor.gguf"), *table = "token_embd.weight";
  const int32_t rare = 99999, rows = s->ctx->model->cfg.n_vocab;
  pml_heading(ctx, "Two faults, and the sentence that each gets");
  pml_expect_refused(ctx, "fault_in_file", pml_model_open_damaged(path, table, 1, (uint64_t)rows - 1), PML_E_FORMAT,
                     "tokenizer", "an embedding with one row too few is refused when the file is opened");
  pml_expect_refused(ctx, "fault_in_token", pml_forward_one(s->ctx, &s->seq, &rare, 1, s->logits), PML_E_USAGE,
                     "99999", "token 99999 is refused before anything is computed");
  return PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  const pml_tutor *t = ctx->tutor;
  pml_box text = pml_svg_body(s), in = {0, 0, text.w - 64, 200};
  double chips = pml_svg_prompt(NULL, in, t), layers = r.share[0] + r.share[1] + r.share[2];
  pml_box ids = pml_box_top(&text, 98 + chips, 55), one = pml_box_top(&text, chips > 100 ? 310 : 350, 55);
  pml_box rows = pml_box_left(&one, 740, 120), head = pml_box_left(&one, 460, 100);
  pml_lesson_title(ctx, s, "Six steps turn %d tokens into one more, and the loop repeats them %d times", t->n, r.n - 1);
  pml_svg_prompt(s, pml_svg_panel(s, ids, "1  Tokenise: text becomes ids", PML_TEAL), t);
  in = pml_svg_panel_time(s, rows, "2  Embed, 3  transform", PML_ORANGE, layers);
  pml_svg_rows(s, in, &r.depths, "lrLr", r.depths.rows - 1);
  pml_svg_choices(s, pml_svg_panel_time(s, head, "4  Head: top 5", PML_PURPLE, r.share[3]), r.top, TOP);
  in = pml_svg_panel_time(s, one, "5  Sample", PML_YELLOW, r.share[4]);
  pml_svg_text_in(s, in, (pml_font){.size = 64, .mono = true, .anchor = PML_MIDDLE}, PML_MIDDLE, r.step[0].name);
  in = pml_svg_panel(s, text, "6  Decode: ids become bytes", PML_GREEN);
  pml_svg_text_in(s, in, (pml_font){.size = 28}, PML_START, r.answer);
  pml_svg_flow(s, ids, rows, PML_MUTED, "%d ids", t->n);
  pml_svg_flow(s, rows, head, PML_MUTED, "last row");
  pml_svg_flow(s, head, one, PML_MUTED, "%d p", t->model->cfg.n_vocab);
  pml_svg_flow(s, one, text, PML_MUTED, "id %d", (int)r.step[0].id);
  pml_svg_flow(s, text, rows, PML_GREEN, "the new id, one row from now on");
  return PML_OK;
}

static const pml_lesson lesson = {
  .number = "03", .name = "inference_pipeline", .title = "The inference pipeline", .file = __FILE__,
  .summary = "Tokenise, embed, transform, head, sample, decode: six steps on a trained model, the loop around them.",
  .sections = {28, 27, 25}, .question = "What is a KV cache?", .result = &r, .result_size = sizeof r,
  .flags = {{"error", "only the faults that are found when a model is opened", PML_FLAG_BOOL, &flag.error},
            {"top-k", "sample from the k best tokens (0: all)", PML_FLAG_INT, &flag.top_k},
            {"temperature", "0 takes the best token, 1 samples as the model says", PML_FLAG_FLOAT, &flag.temperature}},
  .run = {first_token, generate, faults}, .draw = draw};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }

/* @page
## What you will be able to do
- name the six steps between a question and the next token, with the shape of what passes between them;
- read what a model would say after each of its layers;
- say which faults must be found when a model is loaded, and not when a rare token comes along.
## The mechanism
The whole pipeline is a loop of one line per step:
@quote pipeline
Every layer adds to the same row of d numbers. So the head can read that row at any depth (the logit lens, § 26):
@quote lens
## Break it
`make demo-inference-pipeline ARGS=--error` opens a copy of the model whose embedding has one row fewer than the
tokenizer has tokens, and asks for token 99999. Both are refused with a sentence: {fault_in_file}; {fault_in_token}.
## Check yourself
### The tokenizer has one token more than the embedding has rows. Why not wait until that token is used?
Most texts would work, until one user writes the rare token and the program reads memory behind the table. A fault that
is in the file is found when the file is opened, or by a customer.
### Why is only the last row given to the head?
Each row predicts the token after its own. For the prompt those tokens are known; only the last row's prediction is
new. The head is the largest matrix of a small model, so this matters.
### The reading after an early layer shows a strange token. Is the model wrong there?
No. Early layers write for later layers, in directions that the head does not read. The reading shows when the answer
becomes visible to the head, not when it is known.
### The second token costs far less than the first. Why?
The first step runs all tokens of the prompt. Their keys and values stay in the cache, so each later step runs one row.
## Sources
- nostalgebraist 2020, interpreting GPT: the logit lens (LessWrong)
*/
