/* 06 feed-forward: expand, taste, contract

     cc -O2 lessons/06_feed_forward.c -o a -lm -pthread && ./a

   A feed-forward network expands its input, tastes it (the activation) and contracts it.  Like lemonade: mix, taste,
   keep what is good.  You see two networks learn a chessboard beside one that does not taste, what SwiGLU lets through
   while the tutor answers, and how many parameters lie here.  To change: --cells 2 (XOR), --skip-taste, --question. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { TRAIN = 2048, TEST = 2000, SEEDS = 5, KINDS = 3, GRID = 24, DOTS = 240, MODELS = 4 };
static const char *const network[KINDS] = {"no activation", "GELU", "SwiGLU"};
static const char *const model[MODELS] = {"tutor", "Qwen2.5 0.5B", "Qwen2.5 1.5B", "Qwen2.5 7B"};
static const pml_bar_options shares = {.max = 100, .limit = 200.0 / 3, .limit_label = "a layer of 2017: 2/3"};
static int cells = 4;
static bool skip_taste;
static struct {
  float x[2 * TRAIN], test[2 * TEST];
  int32_t label[TRAIN], truth[TEST], n_params; /* n_params: the same for all */
  double right[KINDS][SEEDS], best_line, map[KINDS][GRID * GRID]; /* % of the test points; P(black), first seed */
  bool wrong[KINDS][TEST];
  pml_summary of[KINDS]; /* of the seeds */
  pml_bar share[MODELS]; /* of the parameters of a layer */
  char text[MODELS][64];
} r;

/* Trains one network, judges it on points it has not seen, maps the board. */
static pml_status one_network(pml_ctx *ctx, int kind, int seed) {
  pml_ffn *m = NULL;
  pml_ffn_act act = skip_taste ? PML_FFN_LINEAR : (pml_ffn_act)kind;
  pml_status st = pml_ffn_create(&m, act, 2, act == PML_FFN_SWIGLU ? 30 : 48, 2, TEST, ctx->seed + (uint64_t)seed);
  if (st == PML_OK) r.n_params = (int32_t)m->n, st = pml_ffn_fit(m, r.x, r.label, TRAIN, 128, 1500, 0.02);
  if (st == PML_OK) st = pml_ffn_points(m, r.test, r.truth, TEST, &r.right[kind][seed], seed ? NULL : r.wrong[kind]);
  if (st == PML_OK && seed == 0) st = pml_ffn_surface(m, r.map[kind], GRID, cells);
  r.right[kind][seed] *= 100;
  pml_ffn_free(m);
  return st;
}

static pml_status learn(pml_ctx *ctx) {
  if (cells < 2 || cells > 4) return pml_fail(PML_E_USAGE, "--cells %d: give 2 to 4", cells);
  pml_chessboard(r.x, r.label, TRAIN, cells, ctx->seed), pml_chessboard(r.test, r.truth, TEST, cells, ctx->seed + 1000);
  pml_status st = pml_best_line(r.test, r.truth, TEST, &r.best_line);
  pml_value(ctx, "best_line", r.best_line *= 100, "%");
  for (int i = 0; i < KINDS * SEEDS && st == PML_OK; i++) {
    pml_progress(ctx, i, KINDS * SEEDS, "training");
    st = pml_cancelled() ? PML_E_CANCELLED : one_network(ctx, i / SEEDS, i % SEEDS);
  }
  pml_progress(ctx, 0, 0, "");
  pml_heading(ctx, "A chessboard of %d × %d%s", cells, cells, skip_taste ? ", and nobody tastes" : "");
  pml_say(ctx, "  Learned from %d points, asked for %d others.  The best of all straight lines gets %.1f %% right, "
          "networks of %d parameters with %d seeds:", TRAIN, TEST, r.best_line, (int)r.n_params, SEEDS);
  for (int k = 0; k < KINDS && st == PML_OK; k++) {
    bool line = k == 0 || skip_taste;
    if ((st = pml_summarize(&r.of[k], r.right[k], SEEDS, 1)) != PML_OK) break;
    pml_expect(ctx, line ? r.of[k].max <= r.best_line + 1 : r.of[k].p50 > 99, "%s: %.1f %% (%.1f–%.1f)%s", network[k],
               r.of[k].p50, r.of[k].min, r.of[k].max, line ? ", no more than a line" : ", it learns the board");
  }
  return st;
}

static pml_status gates(pml_ctx *ctx) {
  pml_gate_facts g[PML_GATE_LAYERS] = {{0, 0, 0}};
  pml_buf answer = {0};
  pml_trace_set(pml_gates_see, g);
  pml_status st = pml_tutor_answer(ctx->tutor, 128, &answer, NULL, NULL);
  pml_trace_set(NULL, NULL);
  if (st != PML_OK) return st;
  pml_heading(ctx, "The taste in the tutor: silu(g), while it answers \"%s\"", ctx->question);
  pml_say(ctx, "  %s", answer.data);
  for (int l = 0; l < ctx->tutor->model->cfg.n_layers && l < PML_GATE_LAYERS; l++) {
    double n = g[l].n, neg = 100 * g[l].negative / n, small = 100 * g[l].small / n;
    pml_expect(ctx, neg > 0 && neg < 100 && small > 0 && small < 100, "layer %d: of %.0f gates %.0f %% are negative; "
               "after silu %.0f %% are smaller than 0.1", l, n, neg, small);
  }
  pml_buf_free(&answer);
  return PML_OK;
}

static pml_status count(pml_ctx *ctx) {
  for (int i = 0; i < MODELS; i++) {
    pml_config c = i ? pml_config_shape(i - 1) : ctx->tutor->model->cfg;
    double ffn = 100 * (double)pml_config_ffn_params(&c), all = (double)pml_config_n_params(&c);
    double share = ffn / (double)pml_config_layer_params(&c), of_model = ffn * c.n_layers / all;
    snprintf(r.text[i], sizeof r.text[i], "%.1f %% of a layer, %.1f %% of all %.1f M", share, of_model, all / 1e6);
    r.share[i] = (pml_bar){.label = model[i], .value = share, .colour = 0x8A5A10, .text = r.text[i]};
    if (i == 1) pml_value(ctx, "wide", (double)c.d_ffn / c.d_model, ""), pml_value(ctx, "of_model", of_model, "%");
  }
  double least = fmin(r.share[1].value, fmin(r.share[2].value, r.share[3].value));
  pml_heading(ctx, "Where the parameters are: the feed-forward network's share of a layer");
  pml_show_bars(ctx, r.share, MODELS, &shares), pml_value(ctx, "of_layer", r.share[1].value, "%");
  pml_expect(ctx, least > 80, "three matrices, shared key-value heads: it is not 2/3 but %.1f %% or more", least);
  return PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  static const pml_rgb colour[KINDS] = {PML_RED, PML_GREEN, PML_ORANGE};
  pml_lesson_title(ctx, s, "Without an activation a wide network is one straight line; with one it learns the board");
  for (int k = 0; k < KINDS; k++) {
    pml_box b = pml_box_column(pml_svg_body(s), k, KINDS, 90), board = pml_box_top(&b, b.w, 40);
    pml_svg_surface(s, board, r.map[k], GRID, r.test, r.wrong[k], DOTS, cells);
    pml_svg_number(s, b, network[k], colour[k], r.of[k].p50, " %", "of new points right; %d seeds: %.1f to %.1f.%s",
                   SEEDS, r.of[k].min, r.of[k].max, k ? "" : " The red ones are wrong.");
  }
  return PML_OK;
}

static pml_status draw_share(pml_ctx *ctx, pml_svg *s) {
  pml_lesson_title(ctx, s, "Of a Qwen2.5 layer the feed-forward network holds %.0f %%, not 2/3", r.share[1].value);
  pml_svg_bars(s, pml_box_inset(pml_svg_body(s), 60, 40), r.share, MODELS, &shares);
  return PML_OK;
}

static pml_status bench(pml_ctx *ctx) { return one_network(ctx, PML_FFN_GELU, 0); }
static const pml_lesson lesson = {
  .number = "06", .name = "feed_forward", .title = "The feed-forward network", .file = __FILE__, .sections = {31},
  .summary = "Expand, taste, contract. Without the taste, the activation, two layers are no more than one.",
  .question = "What is SwiGLU?", .result = &r, .result_size = sizeof r,
  .flags = {{"cells", "squares along a side of the board: 2 (XOR) to 4", PML_FLAG_INT, &cells},
            {"skip-taste", "leave the activation out", PML_FLAG_BOOL, &skip_taste},
            {"error", "the same as --skip-taste", PML_FLAG_BOOL, &skip_taste}},
  .run = {learn, gates, count}, .draw = draw, .bench = bench, .pictures = {{"share", draw_share}}};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }

/* @page
## What you will be able to do
- Show that two linear layers are one, and what an activation between them changes.
- Write the backward pass of GELU and of a feed-forward network.
- Count the parameters of a feed-forward network and compare with "2/3".
## The mechanism
@quote ffn
@quote gelu_backward
@quote ffn_block
@quote ffn_fit
## Break it
`--skip-taste`: a coin toss for all, whatever the steps, the width and the seed, because W2·(W1·x) is (W2·W1)·x.

In `pml_gelu_backward` (§ 31), write 2b for 3b: the network still learns the board, and no check here notices. A wrong
gradient need not show in the result; `tests/test_backward.c` finds it at once by finite differences.
## Check yourself
### What can a network of two linear layers without activation separate?
One straight line, however wide it is: the best of 180 directions at every offset gets {best_line:.1f} % of the points.
### Does GELU throw away negative signals?
Not all: GELU(−1) is about −0.16, with a slope to learn by; only far below 0 it is almost 0.
### Is SwiGLU without its silu linear?
No: gate times up is a polynomial of degree two in x. So `--skip-taste` leaves out the gate too.
### Where does "2/3 of the parameters" come from, and why is it wrong here?
From 2017: two matrices of d × 4d beside four of d × d, 8/12. In Qwen2.5 0.5B f/d is {wide:.2f}, there are three, and
heads share keys and values: {of_layer:.1f} % of a layer; of the model {of_model:.1f} %, for its embedding is large.
*/
