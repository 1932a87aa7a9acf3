/* 02 training vs inference: one pass over T tokens, or T steps?

     cc -O2 lessons/02_training_vs_inference.c -o a -lm -pthread
     ./a                               the tutor answers, then reads the same text in two ways
     ./a --question "What is RoPE?"    another text
     ./a --teach "Paris is in Texas."  another sentence for the training steps

   You see an answer generated token by token, that one parallel pass over the finished text gives the same
   logits to the last bit, what each way reads and computes, and what a training step adds.  To change: the
   learning rate in train, the number of steps, the question. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { MAX = 128, SHOWN = 12, TIMED = 64, STEPS = 8 };
static const char *teach = "The capital of France is Paris.";
static struct {
  double mb, ops;              /* MB of weights that a step reads; million operations per token */
  pml_curve bytes[2], time[2]; /* MB read and µs, per token, over T: one pass, T steps */
} r;

static pml_status two_functions(pml_ctx *ctx) {
  float p[] = {2, 1, 0.1f}, x[] = {0.5f, -0.2f, 0.8f, 0.1f}, one[] = {1, 1, 1, 1};
  pml_softmax(p, 3);
  pml_layernorm(x, x, one, NULL, 1, 4, 1e-6f);
  pml_heading(ctx, "Two functions that training and inference share");
  pml_say(ctx, "  softmax(2, 1, 0.1) = %.2f, %.2f, %.2f\n  layernorm(0.5, −0.2, 0.8, 0.1) = %.2f, %.2f, %.2f, %.2f",
          (double)p[0], (double)p[1], (double)p[2], (double)x[0], (double)x[1], (double)x[2], (double)x[3]);
  pml_expect(ctx, fabsf(p[0] + p[1] + p[2] - 1) < 1e-6f && fabsf(x[0] + x[1] + x[2] + x[3]) < 1e-5f,
             "the first adds up to 1, the second to 0");
  return PML_OK;
}

static pml_status generate(pml_ctx *ctx) {
  pml_choice step[MAX];
  pml_table steps = {0};
  pml_buf answer = {0};
  double log_p = 0;
  int n = 0;
  pml_status st = pml_tutor_answer(ctx->tutor, MAX, &answer, step, &n);
  pml_table_row(&steps, "step\ttoken\tprobability");
  for (int i = 0; i < n && i < SHOWN; i++) pml_table_row(&steps, "%d\t%s\t%.3f", i + 1, step[i].name, step[i].p);
  for (int i = 0; i < n; i++) log_p += pml_logd(step[i].p);
  pml_heading(ctx, "Inference: one token a step, each chosen from the ones before");
  pml_say(ctx, "  %s", ctx->question);
  pml_show_rows(ctx, &steps, "rlr");
  pml_say(ctx, "  … %s", answer.data);
  pml_say(ctx, "  %d steps; the product of their probabilities is %.2g.", n, pml_expd(log_p));
  pml_buf_free(&answer);
  return st;
}

static pml_status compare(pml_ctx *ctx) {
  const pml_model *m = ctx->tutor->model;
  pml_session *s = ctx->tutor->session; /* prompt and answer are in its cache, and as ids in its tokens */
  size_t differ, V = (size_t)m->cfg.n_vocab;
  int T = s->seq.n_tokens;
  pml_text x = {s->ctx, &s->seq, s->tokens, T, (float *)pml_alloc(TIMED * V * sizeof(float))};
  pml_status st = x.logits ? pml_forward_agree(&x, &differ) : PML_E_MEMORY;
  r.mb = (double)pml_model_bytes_per_token(m) / 1e6, r.ops = 2e-6 * (double)pml_config_n_params(&m->cfg);
  pml_heading(ctx, "The finished text, %d tokens, read again in two ways", T);
  pml_say(ctx, "  one pass:  reads the weights once, %.1f MB; %.0f million operations", r.mb, r.ops * T);
  pml_say(ctx, "  %d steps: reads them %d times, %.0f MB; %.0f million operations", T, T, r.mb * T, r.ops * T);
  if (st == PML_OK) pml_expect(ctx, differ == 0, "the %zu logits agree: %zu differ in any bit", V * (size_t)T, differ);
  for (x.n = 1; x.n <= TIMED && x.n <= T && st == PML_OK; x.n *= 2) {
    pml_number us[2] = {{.n = 0}, {.n = 0}};
    st = pml_measure_pair(ctx, pml_forward_text, &x, 1e6 / x.n, "µs", us,
                          "per token, one pass over %d\tper token, %d step%s", x.n, x.n, x.n == 1 ? "" : "s");
    for (int i = 0; i < 2; i++) pml_curve_number(&r.time[i], x.n, &us[i]);
    pml_curve_add(&r.bytes[0], x.n, r.mb / x.n), pml_curve_add(&r.bytes[1], x.n, r.mb);
  }
  pml_free(x.logits);
  return st;
}

static pml_status train(pml_ctx *ctx) {
  pml_train_progress at[STEPS + 1];
  double forward[STEPS], step[STEPS];
  pml_status st = pml_finetune_one(ctx->tutor->model, ctx->question, teach, 1e-3f, STEPS, at);
  if (st != PML_OK) return st;
  double n = (double)at[0].tokens, ops = r.ops * n, loss[] = {at[0].loss, at[1].loss, at[STEPS].loss};
  for (int k = 0; k < STEPS; k++) forward[k] = 1e6 * at[k].forward_s / n, step[k] = 1e6 * at[k].step_s / n;
  pml_heading(ctx, "Training: \"%s\"", teach);
  pml_say(ctx,
          "  All %.0f tokens in one pass, then the gradient back through every layer, then a step of every weight.\n"
          "  forward %.0f million operations, with backward %.0f million (2 and 6 per weight and token)\n"
          "  memory: 16 bytes a weight (itself, gradient, two averages), %.0f MB; inference maps %.0f MB",
          n, ops, 3 * ops, 16 * r.ops / 2, r.mb);
  pml_measure(ctx, "training forward, per token", "µs", forward, STEPS);
  pml_measure(ctx, "whole training step, per token", "µs", step, STEPS);
  pml_say(ctx, "  loss per token of the new answer: %.2f, after one step %.2f, after %d steps %.2f", loss[0], loss[1],
          STEPS, loss[2]);
  pml_value(ctx, "loss_before", loss[0], "nat"), pml_value(ctx, "loss_after", loss[2], "nat");
  pml_expect(ctx, loss[1] < loss[0] && loss[2] < loss[1], "one step lowers the loss, %d lower it more", STEPS);
  return PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *svg) {
  const pml_axis T = {.label = "tokens T", .log = true}, mb = {.label = "weights read per token (MB), computed"},
                 us = {.label = "time per token (µs), measured"};
  pml_box b = pml_svg_body(svg), left = pml_box_column(b, 0, 2, 60), right = pml_box_column(b, 1, 2, 60);
  pml_lesson_title(ctx, svg, "One pass over T tokens reads the weights once, T steps read them T times: same logits, "
                   "bit for bit");
  pml_svg_pair(svg, r.time[0].n ? left : b, T, mb, "one pass", &r.bytes[0], "T steps", &r.bytes[1]);
  if (r.time[0].n) pml_svg_pair(svg, right, T, us, "one pass", &r.time[0], "T steps", &r.time[1]);
  return PML_OK;
}

static const pml_lesson lesson = {
  .number = "02", .name = "training_vs_inference", .title = "Training and inference", .file = __FILE__,
  .summary = "One text, one model: a parallel pass and a loop of single steps give the same logits. What differs is "
             "what they read, and what training adds.",
  .sections = {26, 31}, .question = "What is a KV cache?", .result = &r, .result_size = sizeof r,
  .flags = {{"teach", "the answer that the training steps teach", PML_FLAG_STRING, &teach}},
  .run = {two_functions, generate, compare, train}, .draw = draw};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }

/* @page
## What you will be able to do
- say why training reads a text in parallel while inference writes it step by step;
- count the bytes and operations of both, and of a training step;
- prove that two ways of computing are one: compare bits, not impressions.

## The mechanism
@quote two_ways
Both ways run this attention block; T is the number of new tokens, all of them or one. A position sees itself and what
lies before, so a known text needs no waiting (teacher forcing), and an unknown one cannot be hurried (autoregression).
@quote attention_block
Only training goes on from here: after the gradient has walked back, every weight moves by AdamW (§ 32).
@quote adamw

## Break it
In `pml_forward_text` (§ 26), leave out the call of `pml_context_truncate`: the steps then continue the old text
instead of beginning anew, and the check of the logits fails at once (exit status 1). Then raise the learning rate in
`train` from 1e-3 to 1: the loss goes up, and its check fails.

## Check yourself
### Both ways do the same number of operations. Why is one pass faster per token?
It reads each weight once for all rows. A step reads every weight for one row: two operations per weight read, and the
memory is the limit, not the arithmetic. This model fits the caches of the processor, so the gap is smaller than for
one that does not.
### Why can inference not use one pass for its answer?
Position t + 1 needs the token chosen at t as input. It is not known before the logits of t are there. Speculative
decoding guesses it and uses one pass to check the guesses.
### Why must the logits agree to the last bit? Is 1e-6 not enough?
Where two tokens are nearly equal, the last bit decides which is chosen, and from there on the texts differ. A server
that batches requests would answer one way alone and another way in company.
### A training step costs 6 operations per weight and token, inference 2. Where do the other 4 come from?
Backward makes two products for each forward one: the gradient of the inputs (to walk on) and the gradient of the
weights (to learn). Each costs 2.
*/
