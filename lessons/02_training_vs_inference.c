/* 02 training vs inference: one pass over T tokens, or T steps?

     cc -O2 lessons/02_training_vs_inference.c -o a -lm -pthread
     ./a                               the tutor answers, then reads the same text in two ways
     ./a --question "What is RoPE?"    another text
     ./a --teach "Paris is in Texas."  another sentence for the training steps

   You see how an answer is generated token by token, that one parallel pass over the finished text
   gives the same logits to the last bit, what each way reads and computes, and what a training step
   adds.  To change: the learning rate, the number of steps, the question. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { MAX_T = 256, SIZES = 7, REPS = 15, STEPS = 8 };
static const char *question = "What is a KV cache?", *teach = "The capital of France is Paris.";

static struct {
  int T, n_prompt, n_chosen;
  int32_t ids[MAX_T];                 /* the prompt, then what the tutor chose */
  double p[MAX_T];                    /* probability of each chosen token */
  double per_step, ops;               /* bytes of weights a step reads; multiply-adds · 2 per token */
  pml_number pass[SIZES], steps[SIZES], forward, step;
  double loss[STEPS + 1];
} r;

static void two_functions(pml_ctx *ctx) {
  float soft[] = {2, 1, 0.1f}, x[] = {0.5f, -0.2f, 0.8f, 0.1f}, y[4], one[] = {1, 1, 1, 1};
  pml_softmax(soft, 3);
  pml_layernorm(y, x, one, NULL, 1, 4, 1e-6f);
  pml_heading(ctx, "Two functions that training and inference share");
  pml_say(ctx, "  softmax(2, 1, 0.1) = %.2f, %.2f, %.2f", (double)soft[0], (double)soft[1], (double)soft[2]);
  pml_say(ctx, "  layernorm(0.5, −0.2, 0.8, 0.1) = %.2f, %.2f, %.2f, %.2f", (double)y[0], (double)y[1], (double)y[2], (double)y[3]);
  pml_expect(ctx, fabs((double)(soft[0] + soft[1] + soft[2]) - 1) < 1e-6 && fabs((double)(y[0] + y[1] + y[2] + y[3])) < 1e-5,
             "the first adds up to 1, the second to 0");
}

static bool keep_token(void *user, int32_t token, const float *logits) {
  const pml_tutor *t = (const pml_tutor *)user;
  int32_t top;
  if (r.T == MAX_T) return false;
  pml_top_tokens(logits, t->model->cfg.n_vocab, 1, &top, &r.p[r.n_chosen++]); /* greedy: the top is the token */
  r.ids[r.T++] = token;
  return true;
}

static pml_status generate(pml_ctx *ctx, pml_tutor *t) {
  enum { SHOWN = 12 };
  char text[SHOWN][3][80];
  const char *cells[(SHOWN + 1) * 3] = {"step", "token", "probability"};
  pml_buf answer = {0};
  if (t->n > MAX_T / 2) return pml_fail(PML_E_USAGE, "the prompt has %d tokens: ask a question of at most %d", t->n, MAX_T / 2);
  memcpy(r.ids, t->ids, (size_t)t->n * sizeof *r.ids);
  r.T = r.n_prompt = t->n;
  pml_status st = pml_tutor_answer(t, MAX_T / 2, &answer, keep_token, t);
  if (st != PML_OK) return pml_buf_free(&answer), st;
  double product = 0;
  for (int i = 0; i < r.n_chosen; i++) product += pml_logd(r.p[i]);
  int shown = r.n_chosen < SHOWN ? r.n_chosen : SHOWN;
  for (int i = 0; i < shown; i++) {
    snprintf(text[i][0], 80, "%d", i + 1), snprintf(text[i][2], 80, "%.3f", r.p[i]);
    pml_token_name(t->model, r.ids[t->n + i], text[i][1]);
    for (int j = 0; j < 3; j++) cells[(i + 1) * 3 + j] = text[i][j];
  }
  pml_heading(ctx, "Inference: one token a step, each chosen from the ones before");
  pml_say(ctx, "  %s", question);
  pml_show_table(ctx, cells, shown + 1, 3, "rlr");
  pml_say(ctx, "  … %s", answer.data);
  pml_say(ctx, "  %d steps; the product of their probabilities is %.2g.", r.n_chosen, pml_expd(product));
  pml_buf_free(&answer);
  return PML_OK;
}

/* The first n tokens of the text in one pass (logits[n,V]), or in n cached steps. */
static pml_status one_pass(pml_context *c, pml_seq *seq, int n, float *logits) {
  pml_segment all = {seq, r.ids, n, n};
  pml_context_truncate(c, seq, 0);
  return pml_forward(c, &all, 1, logits);
}
static pml_status n_steps(pml_context *c, pml_seq *seq, int n, float *logits) {
  size_t V = (size_t)c->model->cfg.n_vocab;
  pml_status st = PML_OK;
  pml_context_truncate(c, seq, 0);
  for (int i = 0; i < n && st == PML_OK; i++) st = pml_forward_one(c, seq, r.ids + i, 1, logits + (size_t)i * V);
  return st;
}

static pml_status compare(pml_ctx *ctx, pml_tutor *t) {
  static const int sizes[SIZES] = {1, 2, 4, 8, 16, 32, 64};
  const pml_config *c = &t->model->cfg;
  size_t V = (size_t)c->n_vocab, n = (size_t)r.T * V, differ = 0;
  float *a = (float *)pml_alloc(2 * n * sizeof *a), *b = a + n;
  if (!a) return PML_E_MEMORY;
  pml_context *context = t->session->ctx;
  pml_seq *seq = &t->session->seq;
  pml_status st = one_pass(context, seq, r.T, a);
  if (st == PML_OK) st = n_steps(context, seq, r.T, b);
  for (size_t i = 0; i < n && st == PML_OK; i++) differ += memcmp(a + i, b + i, sizeof *a) != 0;
  r.per_step = (double)pml_model_bytes_per_token(t->model);
  r.ops = 2 * (double)pml_config_n_params(c);
  pml_heading(ctx, "The finished text, %d tokens, read again in two ways", r.T);
  pml_say(ctx, "  one pass:  reads the weights once, %.1f MB; %.0f million operations", r.per_step / 1e6, r.ops * r.T / 1e6);
  pml_say(ctx, "  %d steps: reads them %d times, %.0f MB; %.0f million operations", r.T, r.T, r.per_step * r.T / 1e6, r.ops * r.T / 1e6);
  pml_expect(ctx, differ == 0, "the %zu logits agree: %zu differ in any bit", n, differ);
  for (int i = 0; i < SIZES && st == PML_OK; i++) {
    double us[2][REPS];
    char name[48];
    for (int k = 0; k < 2 * REPS && pml_measures(ctx) && st == PML_OK; k++) { /* A/B/A/B */
      double t0 = pml_time();
      st = k % 2 ? n_steps(context, seq, sizes[i], a) : one_pass(context, seq, sizes[i], a);
      us[k % 2][k / 2] = (pml_time() - t0) * 1e6 / sizes[i];
    }
    if (sizes[i] > r.T) break;
    snprintf(name, sizeof name, "per token, one pass over %d", sizes[i]);
    r.pass[i] = pml_measure(ctx, name, "µs", us[0], REPS);
    snprintf(name, sizeof name, "per token, %d step%s", sizes[i], sizes[i] == 1 ? "" : "s");
    r.steps[i] = pml_measure(ctx, name, "µs", us[1], REPS);
  }
  pml_free(a);
  return st;
}

/* A few training steps on the question with another answer: forward, backward, AdamW. */
static pml_status train(pml_ctx *ctx, pml_tutor *t) {
  pml_net *net = NULL;
  pml_sequence s = {0};
  pml_status st = pml_chatml_sequence(t->model->tokenizer, question, teach, 0, 0, &s);
  if (st == PML_OK) st = pml_net_create(&net, &t->model->cfg);
  if (st == PML_OK) st = pml_net_load(net, t->model);
  float *m = st == PML_OK ? (float *)pml_calloc(2 * net->layout.n, sizeof *m) : NULL;
  if (st == PML_OK && !m) st = PML_E_MEMORY;
  const int32_t starts[] = {0, s.n - 1};
  pml_batch batch = {1, starts, s.ids, s.ids + 1, s.weights + 1}; /* token i predicts token i + 1 */
  double ms[2][STEPS], b1 = 1, b2 = 1;
  for (int k = 0; k <= STEPS && st == PML_OK; k++) {
    double sum = 0, weight = 0, t0 = pml_time();
    st = pml_net_forward(net, &batch, &sum, &weight);
    r.loss[k] = sum / weight;
    if (k == STEPS || st != PML_OK) break;
    ms[0][k] = (pml_time() - t0) * 1e6 / (s.n - 1);
    memset(net->grads, 0, net->layout.n * sizeof(float));
    st = pml_net_backward(net, &batch, (float)(1 / weight));
    pml_adamw adam = {.lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .beta1_t = b1 *= 0.9, .beta2_t = b2 *= 0.99};
    pml_adamw_update(net->params, m, m + net->layout.n, net->grads, net->layout.n, &adam);
    ms[1][k] = (pml_time() - t0) * 1e6 / (s.n - 1);
  }
  if (st == PML_OK) {
    pml_heading(ctx, "Training: \"%s\"", teach);
    pml_say(ctx, "  All %d tokens in one pass, then the gradient back through every layer, then a step of every weight.", s.n - 1);
    pml_say(ctx, "  forward %.0f million operations, with backward %.0f million (2 and 6 per weight and token)", r.ops * (s.n - 1) / 1e6, 3 * r.ops * (s.n - 1) / 1e6);
    pml_say(ctx, "  memory: 16 bytes a weight (itself, gradient, two averages), %.0f MB; inference maps %.0f MB", 16.0 * (double)net->layout.n / 1e6, r.per_step / 1e6);
    r.forward = pml_measure(ctx, "training forward, per token", "µs", ms[0], STEPS);
    r.step = pml_measure(ctx, "whole training step, per token", "µs", ms[1], STEPS);
    pml_say(ctx, "  loss per token of the new answer: %.2f, after one step %.2f, after %d steps %.2f", r.loss[0], r.loss[1], STEPS, r.loss[STEPS]);
    pml_value(ctx, "loss_before", r.loss[0], "nat"), pml_value(ctx, "loss_after", r.loss[STEPS], "nat");
    pml_expect(ctx, r.loss[1] < r.loss[0] && r.loss[STEPS] < r.loss[1], "one step lowers the loss, %d lower it more", STEPS);
  }
  pml_free(m);
  pml_net_free(net);
  pml_sequence_free(&s);
  return st;
}

static pml_status run(pml_ctx *ctx) {
  pml_tutor *t = NULL;
  memset(&r, 0, sizeof r);
  two_functions(ctx);
  pml_status st = pml_tutor_open(&t, ctx, question);
  if (st == PML_OK) st = generate(ctx, t);
  if (st == PML_OK) st = compare(ctx, t);
  if (st == PML_OK) st = train(ctx, t);
  pml_tutor_close(t);
  return st;
}

static pml_status draw(pml_ctx *ctx, pml_svg *svg) {
  double x[SIZES], mb[2][SIZES], us[2][SIZES], lo[2][SIZES], hi[2][SIZES];
  int n = 0;
  pml_box b = pml_svg_body(svg);
  for (int i = 0; i < SIZES && 1 << i <= r.T; i++, n++) {
    const pml_number *m[2] = {&r.pass[i], &r.steps[i]};
    x[i] = 1 << i, mb[0][i] = r.per_step / x[i] / 1e6, mb[1][i] = r.per_step / 1e6;
    for (int k = 0; k < 2; k++) us[k][i] = m[k]->median, lo[k][i] = m[k]->lo, hi[k][i] = m[k]->hi;
  }
  pml_lesson_title(ctx, svg, "One pass over T tokens reads the weights once, T steps read them T times: same logits, bit for bit");
  const pml_series bytes[] = {{.label = "one pass", .n = n, .x = x, .y = mb[0], .colour = PML_GREEN, .mark = PML_MARK_LINE_POINTS},
                              {.label = "T steps", .n = n, .x = x, .y = mb[1], .colour = PML_PURPLE, .mark = PML_MARK_LINE_POINTS}};
  const pml_series time[] = {{.label = "one pass", .n = n, .x = x, .y = us[0], .lo = lo[0], .hi = hi[0], .colour = PML_GREEN, .mark = PML_MARK_LINE_POINTS},
                             {.label = "T steps", .n = n, .x = x, .y = us[1], .lo = lo[1], .hi = hi[1], .colour = PML_PURPLE, .mark = PML_MARK_LINE_POINTS}};
  bool measured = n > 0 && r.pass[n - 1].n > 0;
  pml_box left = measured ? pml_box_column(b, 0, 2, 60) : b;
  pml_svg_chart(svg, left, (pml_axis){.label = "tokens T", .log = true}, (pml_axis){.label = "weights read per token (MB), computed"}, bytes, 2);
  if (measured)
    pml_svg_chart(svg, pml_box_column(b, 1, 2, 60), (pml_axis){.label = "tokens T", .log = true}, (pml_axis){.label = "time per token (µs), measured"}, time, 2);
  return PML_OK;
}

static pml_status page(pml_ctx *ctx, pml_page *p) {
  (void)ctx;
  pml_page_item(p, PML_PAGE_CAN, "say why training reads a text in parallel while inference writes it step by step;");
  pml_page_item(p, PML_PAGE_CAN, "count the bytes and operations of both, and of a training step;");
  pml_page_item(p, PML_PAGE_CAN, "prove that two ways of computing are one: compare bits, not impressions.");
  pml_page_text(p, PML_PAGE_MECHANISM, "Both ways run this attention block; T is the number of new tokens, all of them or one. A position sees itself and what lies before, "
                "so a known text needs no waiting (teacher forcing), and an unknown one cannot be hurried (autoregression).");
  pml_page_quote(p, "attention_block");
  pml_page_text(p, PML_PAGE_MECHANISM, "Only training goes on from here: after the gradient has walked back, every weight moves by AdamW (§ 32).");
  pml_page_quote(p, "adamw");
  pml_page_text(p, PML_PAGE_BREAK, "In `n_steps`, leave out the call of `pml_context_truncate`: the steps then continue the old text instead of beginning anew, and the "
                "check of the logits fails at once (exit status 1). Then raise the learning rate in `train` from 1e-3 to 1: the loss goes up, and its check fails.");
  pml_page_question(p, "Both ways do the same number of operations. Why is one pass faster per token?", "It reads each weight once for all rows. A step reads every weight for one row: "
                    "two operations per weight read, and the memory is the limit, not the arithmetic. This model fits the caches of the processor, so the gap is smaller than for one that does not.");
  pml_page_question(p, "Why can inference not use one pass for its answer?", "Position t + 1 needs the token chosen at t as input. It is not known before the logits of t are there. "
                    "Speculative decoding guesses it and uses one pass to check the guesses.");
  pml_page_question(p, "Why must the logits agree to the last bit? Is 1e-6 not enough?", "Where two tokens are nearly equal, the last bit decides which is chosen, and from there on the texts differ. A server "
                    "that batches requests would answer one way alone and another way in company.");
  pml_page_question(p, "A training step costs 6 operations per weight and token, inference 2. Where do the other 4 come from?", "Backward makes two products for each forward one: the gradient of the "
                    "inputs (to walk on) and the gradient of the weights (to learn). Each costs 2.");
  return PML_OK;
}

int main(int argc, char **argv) {
  const pml_flag flags[] = {{"question", "what to ask (What is a KV cache?)", PML_FLAG_STRING, &question},
                            {"teach", "the answer that the training steps teach", PML_FLAG_STRING, &teach}};
  const pml_lesson lesson = {.number = "02", .name = "training_vs_inference", .title = "Training and inference", .file = __FILE__, .sections = {26, 31},
                             .summary = "One text, one model: a parallel pass and a loop of single steps give the same logits. What differs is what they read, and what training adds.",
                             .flags = flags, .n_flags = 2, .result = &r, .run = run, .draw = draw, .page = page};
  return pml_lesson_main(&lesson, argc, argv);
}
