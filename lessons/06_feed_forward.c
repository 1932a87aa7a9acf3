/* 06 feed-forward: expand, taste, contract

     cc -O2 lessons/06_feed_forward.c -o a -lm -pthread && ./a

   A feed-forward network expands its input, tastes it (the activation) and contracts it again.  Like lemonade: mix
   everything, taste, keep what is good.  You will see two networks learn a chessboard, five seeds each, beside one that
   does not taste; what SwiGLU lets through in the tutor's own layers; and which share of the parameters lies here.
   Change: --cells 2 (XOR), --skip-taste (also --error): nobody tastes. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { TRAIN = 2048, TEST = 2000, SEEDS = 5, KINDS = 3, GRID = 24, DOTS = 240, SHAPES = 5 };
static const char *const kind_name[KINDS] = {"no activation", "GELU", "SwiGLU"};
static const char *const shape_name[SHAPES] = {"tutor", "Qwen2.5 0.5B", "Qwen2.5 1.5B", "Qwen2.5 7B", "layer of 2017"};
static int cells = 4;
static bool skip_taste, error_flag;
static struct {
  float x[2 * TRAIN], test[2 * TEST];
  int32_t label[TRAIN], truth[TEST];
  double right[KINDS][SEEDS], map[KINDS][GRID * GRID]; /* % of the test points; P(black), first seed */
  bool wrong[KINDS][TEST];
  pml_summary of[KINDS];                               /* of the seeds */
  double best_line, share[SHAPES];                     /* % of the test points; % of a layer's parameters */
} r;

/* Trains one network, judges it on points it has not seen, maps the board. */
static pml_status one_network(pml_ctx *ctx, int kind, int seed, size_t *n_params) {
  pml_ffn *m = NULL;
  pml_ffn_act act = skip_taste || error_flag ? PML_FFN_LINEAR : (pml_ffn_act)kind;
  pml_status st = pml_ffn_create(&m, act, 2, act == PML_FFN_SWIGLU ? 30 : 48, 2, TEST, ctx->seed + (uint64_t)seed);
  if (st == PML_OK) st = pml_ffn_fit(m, r.x, r.label, TRAIN, 128, 1500, 0.02);
  if (st == PML_OK) st = pml_ffn_points(m, r.test, r.truth, TEST, &r.right[kind][seed], seed ? NULL : r.wrong[kind]);
  if (st == PML_OK && seed == 0) st = pml_ffn_surface(m, r.map[kind], GRID, cells);
  r.right[kind][seed] *= 100;
  *n_params = m ? m->n : 0;
  pml_ffn_free(m);
  return st;
}

static pml_status learn(pml_ctx *ctx) {
  bool taste = !(skip_taste || error_flag);
  size_t n_params = 0;
  if (cells < 2 || cells > 4) return pml_fail(PML_E_USAGE, "--cells %d: give 2 to 4", cells);
  pml_chessboard(r.x, r.label, TRAIN, cells, ctx->seed), pml_chessboard(r.test, r.truth, TEST, cells, ctx->seed + 1000);
  pml_status st = pml_best_line(r.test, r.truth, TEST, &r.best_line);
  pml_value(ctx, "best_line", r.best_line *= 100, "%");
  pml_heading(ctx, taste ? "A chessboard of %d × %d, learned from %d points"
                         : "The same chessboard of %d × %d, but nobody tastes; %d points", cells, cells, TRAIN);
  for (int k = 0; k < KINDS; k++) {
    for (int i = 0; i < SEEDS && st == PML_OK; i++) {
      pml_progress(ctx, k * SEEDS + i, KINDS * SEEDS, "training");
      st = pml_cancelled() ? PML_E_CANCELLED : one_network(ctx, k, i, &n_params);
    }
    pml_progress(ctx, 0, 0, "");
    if (st == PML_OK) st = pml_summarize(&r.of[k], r.right[k], SEEDS, 1);
    if (st != PML_OK) return st;
    pml_say(ctx, "  %-13s  %zu parameters: %5.1f %% of %d new points right (%d seeds: %.1f to %.1f)",
            kind_name[taste ? k : 0], n_params, r.of[k].p50, TEST, SEEDS, r.of[k].min, r.of[k].max);
    pml_value(ctx, kind_name[k], r.of[k].p50, "%");
  }
  pml_expect(ctx, r.of[0].max <= r.best_line + 1, "without activation none passes %.1f %%: the best of all straight "
             "lines gets %.1f %%", r.of[0].max, r.best_line);
  for (int k = 1; k < KINDS; k++)
    if (taste) pml_expect(ctx, r.of[k].p50 > 99, "%s learns it: %.1f %%", kind_name[k], r.of[k].p50);
    else pml_expect(ctx, r.of[k].p50 <= r.best_line + 1, "caught: without its %s the network falls to %.1f %%",
                    kind_name[k], r.of[k].p50);
  return PML_OK;
}

/* What SwiGLU lets through in the tutor, then where its and larger models' parameters are. */
static pml_status real_models(pml_ctx *ctx) {
  pml_gate_facts gates[PML_GATE_LAYERS] = {{0, 0, 0}};
  pml_table t = {0};
  pml_model *m = NULL;
  const char *path = pml_lesson_path(ctx, "models/tutor.gguf");
  pml_status st = path ? pml_model_open(&m, path, NULL) : PML_E_IO;
  if (st == PML_OK) st = pml_lesson_read(ctx, m, 8, pml_gates_see, gates);
  if (st != PML_OK) return pml_model_close(m), st;
  pml_heading(ctx, "The taste in the tutor: silu(g), with g from real questions");
  for (int l = 0; l < m->cfg.n_layers && l < PML_GATE_LAYERS; l++) {
    double n = gates[l].n, neg = 100 * gates[l].negative / n, small = 100 * gates[l].small / n;
    pml_expect(ctx, n > 0 && neg > 0 && neg < 100 && small > 0 && small < 100, "layer %d: of %.0f gates %.0f %% are "
               "negative; after silu %.0f %% are smaller than 0.1", l, n, neg, small);
  }
  pml_table_row(&t, "model\tparameters\tf / d\tFFN, of a layer\tFFN, of the model");
  for (int i = 0; i < SHAPES - 1; i++) {
    pml_config c = i ? pml_config_shape(i - 1) : m->cfg;
    double ffn = (double)pml_config_ffn_params(&c), all = (double)pml_config_n_params(&c),
                  wide = (double)c.d_ffn / c.d_model;
    double of_model = 100 * ffn * c.n_layers / all;
    char millions[48];
    r.share[i] = 100 * ffn / (double)pml_config_layer_params(&c), pml_number_text(millions, all / 1e6, 1);
    pml_table_row(&t, "%s\t%s M\t%.2f\t%.1f %%\t%.1f %%", shape_name[i], millions, wide, r.share[i], of_model);
    if (i == 1) pml_value(ctx, "wide", wide, ""), pml_value(ctx, "of_model", of_model, "%");
  }
  pml_model_close(m);
  double d = 768; /* two matrices d × 4d, four d × d */
  r.share[4] = 100 * 2 * 4 * d * d / (2 * 4 * d * d + 4 * d * d);
  pml_heading(ctx, "Where the parameters are");
  pml_show_rows(ctx, &t, "lrrrr");
  pml_value(ctx, "of_layer", r.share[1], "%");
  pml_expect(ctx, fabs(r.share[4] - 200.0 / 3) < 1e-9, "\"2/3\" is the share in a layer of 2017: %.1f %%", r.share[4]);
  pml_expect(ctx, r.share[1] > 80 && r.share[3] > 80, "with shared key-value heads and three matrices it is %.1f to "
             "%.1f %%", fmin(r.share[1], r.share[3]), fmax(r.share[1], r.share[2]));
  return PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  static const pml_rgb accent[KINDS] = {PML_RED, PML_GREEN, PML_ORANGE};
  const pml_font muted = {.size = 26, .colour = PML_MUTED};
  pml_lesson_title(ctx, s, "Without an activation a wide network is one straight line; with one it learns the board");
  pml_box b = pml_svg_body(s);
  for (int k = 0; k < KINDS; k++) {
    double x = b.x + 630 * k, y = b.y + 20;
    pml_font name = {.size = 34, .weight = 600, .colour = pml_rgb_readable(accent[k], PML_CANVAS, 4.5)};
    pml_svg_surface(s, (pml_box){x, y, 540, 540}, r.map[k], GRID, r.test, r.wrong[k], DOTS, cells);
    pml_svg_text(s, x, y + 600, name, kind_name[k]);
    pml_svg_textf(s, x, y + 672, (pml_font){.size = 60, .weight = 600}, "%.1f %%", r.of[k].p50);
    pml_svg_textf(s, x, y + 718, muted, "of new points right; %d seeds: %.1f to %.1f", SEEDS, r.of[k].min, r.of[k].max);
  }
  pml_svg_textf(s, b.x, b.y + 810, muted, "Red dots: wrong. The best of all straight lines gets %.1f %% right.",
                r.best_line);
  return PML_OK;
}

static pml_status draw_share(pml_ctx *ctx, pml_svg *s) {
  pml_bar bars[SHAPES];
  for (int i = 0; i < SHAPES; i++)
    bars[i] = (pml_bar){.label = shape_name[i], .value = r.share[i], .colour = i < 4 ? 0x8A5A10 : PML_PURPLE};
  pml_lesson_title(ctx, s, "In a Qwen2.5 layer the feed-forward network holds %.0f %% of the parameters, not 2/3",
                   r.share[1]);
  pml_svg_bars(s, pml_box_inset(pml_svg_body(s), 60, 40), bars, SHAPES, &(pml_bar_options){
    .unit = " %", .decimals = 1, .max = 100, .limit = 200.0 / 3, .limit_label = "the folklore: 2/3"});
  return PML_OK;
}

static pml_status bench(pml_ctx *ctx) { return one_network(ctx, PML_FFN_GELU, 0, &(size_t){0}); }
static const pml_lesson lesson = {
  .number = "06", .name = "feed_forward", .title = "The feed-forward network", .file = __FILE__, .sections = {31},
  .summary = "Expand, taste, contract. Without the taste, the activation, two layers are no more than one.",
  .flags = {{"cells", "squares along a side of the board: 2 (XOR) to 4", PML_FLAG_INT, &cells},
            {"skip-taste", "leave the activation out", PML_FLAG_BOOL, &skip_taste},
            {"error", "the same as --skip-taste", PML_FLAG_BOOL, &error_flag}},
  .run = {learn, real_models}, .draw = draw, .bench = bench, .pictures = {{"share", draw_share}}};
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
`--skip-taste` (or `--error`) trains all networks without their activation. The loss falls a little and stays near log
2; all fall to a coin toss, and the lesson says so. More steps, more width, other seeds: nothing helps, because
W2·(W1·x) is (W2·W1)·x.

In `pml_gelu_backward` (§ 31), write 2b for 3b: the network still learns the board, and no check of this lesson
notices. A wrong gradient need not show in the result; `tests/test_backward.c` finds it at once by finite differences.
## Check yourself
### What can a network of two linear layers without activation separate?
One straight line. The best of 180 directions at every offset gets {best_line:.1f} % of these points; a network without
activation cannot do better, however wide it is.
### Does GELU throw away negative signals?
Not all: GELU(−1) is about −0.16, and it has a slope there, so the weight can still learn. Far below 0 it is almost 0.
If every input is positive, GELU hardly bends anything: a demonstration with positive numbers only shows nothing.
### Is SwiGLU without its silu linear?
No. gate times up is a product of two linear functions of x, so a polynomial of degree two. Leaving out silu there is
not the same fault as leaving out GELU; `--skip-taste` leaves out the gate too.
### Where does "2/3 of the parameters" come from, and why is it wrong here?
In the layer of 2017: two matrices of d × 4d beside four of d × d, 8/12. Here f/d is {wide:.2f} (Qwen2.5 0.5B), there
are three matrices, and keys and values are shared by several heads: {of_layer:.1f} % of a layer. Of the whole model it
is {of_model:.1f} %, because the embedding of 151,936 tokens is large.
## Sources
- Hendrycks and Gimpel 2016, Gaussian Error Linear Units (arXiv:1606.08415)
- Shazeer 2020, GLU Variants Improve Transformer (arXiv:2002.05202)
*/
