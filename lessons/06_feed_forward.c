/* Lesson 06 · The feed-forward network                              § 11 § 25 § 31 § 32

     cc -O2 lessons/06_feed_forward.c -o a -lm -pthread && ./a

   A feed-forward network expands its input, tastes it (the activation) and contracts
   it again.  Like lemonade: mix everything, taste, keep what is good.
   You will see two networks learn a chessboard, five seeds each, beside one that does
   not taste; what SwiGLU lets through in the tutor's own layers; and which share of
   the parameters lies here.
   Change: --cells 2 (XOR), --skip-taste (also --error): nobody tastes. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { TRAIN = 2048, TEST = 2000, BATCH = 128, STEPS = 1500, SEEDS = 5, KINDS = 3, GRID = 24, DOTS = 240, LAYERS = 64, SHAPES = 5 };
static const char *const kind_name[KINDS] = {"no activation", "GELU", "SwiGLU"};
static struct {
  int cells;
  bool skip, error;
  float x[2 * TRAIN], test[2 * TEST];
  double best_line;                                    /* % of the test points */
  int32_t label[TRAIN], truth[TEST];
  double right[KINDS][SEEDS], map[KINDS][GRID * GRID]; /* % of the test points; P(black) over the board, first seed */
  bool wrong[KINDS][DOTS];
  int n_layers;
  double negative[LAYERS], small[LAYERS], n_gates[LAYERS]; /* counts of g < 0, of |silu(g)| < 0.1, of all */
  double layer_share[SHAPES], model_share[SHAPES];         /* % of the parameters that are the FFN's */
} r = {.cells = 4};

/* Points on a board of squares of side 1, none within 0.1 of an edge; the label is the square's colour. */
static void board(float *x, int32_t *label, int n, uint64_t seed) {
  pml_rng rng = pml_rng_seed(seed);
  for (int i = 0; i < n; i++) {
    int col = (int)pml_rng_below(&rng, (uint32_t)r.cells), row = (int)pml_rng_below(&rng, (uint32_t)r.cells);
    x[2 * i] = (float)col + 0.1f + 0.8f * pml_rng_uniform(&rng) - 0.5f * (float)r.cells;
    x[2 * i + 1] = (float)row + 0.1f + 0.8f * pml_rng_uniform(&rng) - 0.5f * (float)r.cells;
    label[i] = (col + row) & 1;
  }
}

/* @learn */
static pml_status learn(pml_ffn *m, float *moments) {
  float logits[2 * BATCH], loss[BATCH], one[BATCH];
  pml_adamw o = {.beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .beta1_t = 1, .beta2_t = 1};
  pml_status st = PML_OK;
  for (int i = 0; i < BATCH; i++) one[i] = 1;
  for (int step = 0; step < STEPS && st == PML_OK; step++) {
    const float *x = r.x + 2 * (step * BATCH % TRAIN);
    const int32_t *label = r.label + step * BATCH % TRAIN;
    memset(m->grads, 0, m->n * sizeof(float));
    st = pml_ffn_forward(m, logits, x, BATCH);
    pml_cross_entropy_forward(loss, logits, label, BATCH, 2);
    pml_cross_entropy_backward(logits, label, one, 1.0f / BATCH, BATCH, 2);
    if (st == PML_OK) st = pml_ffn_backward(m, logits, x, BATCH);
    o.beta1_t *= (double)o.beta1, o.beta2_t *= (double)o.beta2, o.lr = (float)pml_lr_at(step, STEPS, 10, 0.02, 0.001);
    pml_adamw_update(m->params, moments, moments + m->n, m->grads, m->n, &o);
  }
  return st;
}
/* @end */

/* Trains one network, counts right answers on points it has not seen, maps the board for the first seed. */
static pml_status one_network(pml_ctx *ctx, int kind, int seed, size_t *n_params) {
  static float y[2 * TEST], at[2 * GRID * GRID];
  pml_ffn *m = NULL;
  pml_ffn_act act = r.skip || r.error ? PML_FFN_LINEAR : (pml_ffn_act)kind;
  pml_status st = pml_ffn_create(&m, act, 2, act == PML_FFN_SWIGLU ? 30 : 48, 2, TEST, ctx->seed + (uint64_t)seed);
  float *moments = st == PML_OK ? pml_calloc(2 * m->n, sizeof(float)) : NULL;
  if (st == PML_OK) st = moments ? learn(m, moments) : PML_E_MEMORY;
  if (st == PML_OK) st = pml_ffn_forward(m, y, r.test, TEST);
  for (int i = 0; i < TEST; i++) r.right[kind][seed] += st == PML_OK && (y[2 * i + 1] > y[2 * i]) == r.truth[i] ? 100.0 / TEST : 0;
  for (int i = 0; i < DOTS && seed == 0; i++) r.wrong[kind][i] = (y[2 * i + 1] > y[2 * i]) != r.truth[i];
  for (int i = 0; i < GRID * GRID; i++) {
    at[2 * i] = (float)r.cells * (((float)(i % GRID) + 0.5f) / GRID - 0.5f);
    at[2 * i + 1] = (float)r.cells * (((float)(i / GRID) + 0.5f) / GRID - 0.5f);
  }
  if (st == PML_OK && seed == 0) st = pml_ffn_forward(m, y, at, GRID * GRID);
  for (int i = 0; i < GRID * GRID && seed == 0; i++) r.map[kind][i] = (double)pml_sigmoidf(y[2 * i + 1] - y[2 * i]);
  if (m) *n_params = m->n;
  pml_ffn_free(m), pml_free(moments);
  return st;
}

typedef struct { float at; int32_t label; } projected;
static int by_place(const void *a, const void *b) {
  float x = ((const projected *)a)->at, y = ((const projected *)b)->at;
  return (x > y) - (x < y);
}
/* A network without activation is one matrix, so it cuts the board along one straight line.  The most test
   points that any of 180 directions, at any offset, gets right. */
static double best_line(void) {
  static projected p[TEST];
  int best = 0;
  for (int a = 0; a < 180; a++) {
    float c = (float)pml_cosd(a * 3.141592653589793 / 180), s = (float)pml_sind(a * 3.141592653589793 / 180);
    int black = 0, right;
    for (int i = 0; i < TEST; i++) p[i] = (projected){c * r.test[2 * i] + s * r.test[2 * i + 1], r.truth[i]}, black += r.truth[i];
    qsort(p, TEST, sizeof *p, by_place);
    right = black; /* everything is called black; then the line moves over one point after the other */
    for (int i = 0; i <= TEST; i++) {
      best = right > best ? right : TEST - right > best ? TEST - right : best;
      if (i < TEST) right += p[i].label ? -1 : 1;
    }
  }
  return 100.0 * best / TEST;
}

/* Called with every span of § 26: "gate" holds g = n·Wgᵀ before silu, [T,f]. */
static void see_gates(void *user, const pml_span *s) {
  (void)user;
  if (strcmp(s->name, "gate") != 0 || s->layer < 0 || s->layer >= LAYERS) return;
  for (size_t i = 0; i < s->n; i++) {
    float g = s->data[i];
    r.negative[s->layer] += g < 0, r.small[s->layer] += fabsf(g * pml_sigmoidf(g)) < 0.1f;
  }
  r.n_gates[s->layer] += (double)s->n;
}

static pml_status tutor_gates(pml_ctx *ctx, const pml_model *m) {
  pml_qa *qa = NULL;
  pml_context *c = NULL;
  pml_seq seq = {0};
  float *logits = pml_alloc((size_t)m->cfg.n_vocab * sizeof *logits);
  pml_status st = logits ? pml_lesson_questions(ctx, &qa) : PML_E_MEMORY;
  if (st == PML_OK) st = pml_context_open(&c, m, NULL, NULL);
  pml_trace_set(see_gates, NULL);
  for (int i = 0; st == PML_OK && i < qa->n_topics; i += 8) {
    int32_t *ids = NULL;
    size_t n;
    st = pml_encode(m->tokenizer, qa->topics[i].taught[0], strlen(qa->topics[i].taught[0]), 0, &ids, &n);
    if (st == PML_OK) st = pml_forward_one(c, &seq, ids, (int)n, logits);
    pml_context_truncate(c, &seq, 0);
    pml_free(ids);
  }
  pml_trace_set(NULL, NULL);
  if (c) pml_context_seq_free(c, &seq), pml_context_close(c);
  pml_qa_free(qa), pml_free(logits);
  r.n_layers = m->cfg.n_layers < LAYERS ? m->cfg.n_layers : LAYERS;
  for (int l = 0; l < r.n_layers && st == PML_OK; l++) {
    double n = r.n_gates[l], neg = 100 * r.negative[l] / n, small = 100 * r.small[l] / n;
    pml_expect(ctx, n > 0 && neg > 0 && neg < 100 && small > 0 && small < 100, "layer %d: of %.0f gates %.0f %% are negative; after silu %.0f %% are smaller than 0.1", l, n, neg, small);
  }
  return st;
}

static pml_config shape[SHAPES] = {{.arch = "tutor"}, {.arch = "Qwen2.5 0.5B", .d_model = 896, .n_layers = 24, .n_heads = 14, .n_kv_heads = 2, .d_ffn = 4864, .n_vocab = 151936, .tied_head = true},
  {.arch = "Qwen2.5 1.5B", .d_model = 1536, .n_layers = 28, .n_heads = 12, .n_kv_heads = 2, .d_ffn = 8960, .n_vocab = 151936, .tied_head = true},
  {.arch = "Qwen2.5 7B", .d_model = 3584, .n_layers = 28, .n_heads = 28, .n_kv_heads = 4, .d_ffn = 18944, .n_vocab = 152064}};

static void shares(pml_ctx *ctx, const pml_config *tutor) {
  const char *cells[6 * 5] = {"model", "parameters", "f / d", "FFN, of a layer", "FFN, of the model"};
  char text[4][5][32];
  shape[0] = *tutor;
  for (int i = 0; i < 4; i++) {
    pml_config *c = &shape[i];
    if (i) c->head_dim = c->d_model / c->n_heads, c->qkv_bias = true;
    double ffn = (double)pml_config_ffn_params(c), all = (double)pml_config_n_params(c);
    r.layer_share[i] = 100 * ffn / (double)pml_config_layer_params(c), r.model_share[i] = 100 * ffn * c->n_layers / all;
    snprintf(text[i][0], 32, "%.31s", i ? c->arch : "tutor"), pml_number_text(text[i][1], all / 1e6, 1), strcat(text[i][1], " M");
    snprintf(text[i][2], 32, "%.2f", (double)c->d_ffn / c->d_model), snprintf(text[i][3], 32, "%.1f %%", r.layer_share[i]), snprintf(text[i][4], 32, "%.1f %%", r.model_share[i]);
    for (int j = 0; j < 5; j++) cells[5 * (i + 1) + j] = text[i][j];
  }
  double d = 768, classic = 100 * 2 * 4 * d * d / (2 * 4 * d * d + 4 * d * d); /* two matrices d × 4d, four d × d */
  pml_heading(ctx, "Where the parameters are");
  pml_show_table(ctx, cells, 5, 5, "lrrrr");
  r.layer_share[4] = classic;
  pml_expect(ctx, fabs(classic - 200.0 / 3) < 1e-9, "\"2/3\" is the share in a layer of 2017: %.1f %%", classic);
  pml_expect(ctx, r.layer_share[1] > 80 && r.layer_share[3] > 80, "with shared key-value heads and three matrices it is %.1f to %.1f %%", fmin(r.layer_share[1], r.layer_share[3]), fmax(r.layer_share[1], r.layer_share[2]));
}

static pml_status run(pml_ctx *ctx) {
  if (r.cells < 2 || r.cells > 4) return pml_fail(PML_E_USAGE, "--cells %d: give 2 to 4", r.cells);
  bool taste = !(r.skip || r.error);
  size_t n_params[KINDS];
  board(r.x, r.label, TRAIN, ctx->seed), board(r.test, r.truth, TEST, ctx->seed + 1000);
  memset(r.right, 0, sizeof r.right);
  for (int k = 0; k < KINDS; k++)
    for (int s = 0; s < SEEDS; s++) {
      pml_progress(ctx, k * SEEDS + s, KINDS * SEEDS, "training");
      pml_status st = one_network(ctx, k, s, &n_params[k]);
      if (st != PML_OK || pml_cancelled()) return st == PML_OK ? PML_E_CANCELLED : st;
    }
  pml_progress(ctx, 0, 0, "");
  pml_heading(ctx, taste ? "A chessboard of %d × %d, learned from %d points" : "The same chessboard of %d × %d, but nobody tastes; %d points", r.cells, r.cells, TRAIN);
  for (int k = 0; k < KINDS; k++) {
    double *a = r.right[k], lo = a[0], hi = a[0];
    for (int s = 1; s < SEEDS; s++) lo = fmin(lo, a[s]), hi = fmax(hi, a[s]);
    pml_say(ctx, "  %-13s  %zu parameters: %5.1f %% of %d new points right (%d seeds: %.1f to %.1f)", taste ? kind_name[k] : kind_name[0], n_params[k], pml_median(a, SEEDS), TEST, SEEDS, lo, hi);
    pml_value(ctx, kind_name[k], pml_median(a, SEEDS), "%");
  }
  r.best_line = best_line();
  double *none = r.right[0], most = fmax(fmax(none[0], none[1]), fmax(fmax(none[2], none[3]), none[4]));
  pml_expect(ctx, most <= r.best_line + 1, "without activation none passes %.1f %%: the best of all straight lines gets %.1f %%", most, r.best_line);
  for (int k = 1; k < KINDS; k++)
    if (taste) pml_expect(ctx, pml_median(r.right[k], SEEDS) > 99, "%s learns it: %.1f %%", kind_name[k], pml_median(r.right[k], SEEDS));
    else pml_expect(ctx, pml_median(r.right[k], SEEDS) <= r.best_line + 1, "caught: without its %s the network falls to %.1f %%", kind_name[k], pml_median(r.right[k], SEEDS));
  const char *path = pml_lesson_path(ctx, "models/tutor.gguf");
  pml_model *m;
  pml_status st = path ? pml_model_open(&m, path, NULL) : PML_E_IO;
  if (st != PML_OK) return st;
  pml_heading(ctx, "The taste in the tutor: silu(g), with g from real questions");
  st = tutor_gates(ctx, m);
  shares(ctx, &m->cfg);
  pml_model_close(m);
  return st;
}

/* A board as the network sees it: orange is P(black); dots are test points, red where it is wrong. */
static void draw_board(pml_svg *s, pml_box b, int kind, pml_rgb accent) {
  double cell = 540.0 / GRID, *a = r.right[kind], lo = a[0], hi = a[0];
  for (int i = 0; i < GRID * GRID; i++)
    pml_svg_rect(s, (pml_box){b.x + i % GRID * cell, b.y + i / GRID * cell, cell + 0.5, cell + 0.5}, 0, pml_rgb_mix(0x16233F, 0xB26F08, r.map[kind][i]), PML_NO_COLOUR, 0);
  for (int i = 0; i < DOTS; i++)
    pml_svg_circle(s, b.x + 270 + 540 * (double)r.test[2 * i] / r.cells, b.y + 270 + 540 * (double)r.test[2 * i + 1] / r.cells, 6, r.wrong[kind][i] ? PML_RED : PML_TEXT, PML_CANVAS, 2);
  for (int i = 1; i < SEEDS; i++) lo = fmin(lo, a[i]), hi = fmax(hi, a[i]);
  pml_svg_text(s, b.x, b.y + 600, (pml_font){.size = 34, .weight = 600, .colour = pml_rgb_readable(accent, PML_CANVAS, 4.5)}, kind_name[kind]);
  pml_svg_textf(s, b.x, b.y + 672, (pml_font){.size = 60, .weight = 600}, "%.1f %%", pml_median(a, SEEDS));
  pml_svg_textf(s, b.x, b.y + 718, (pml_font){.size = 26, .colour = PML_MUTED}, "of new points right; %d seeds: %.1f to %.1f", SEEDS, lo, hi);
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  static const pml_rgb accent[KINDS] = {PML_RED, PML_GREEN, PML_ORANGE};
  pml_lesson_title(ctx, s, "Without an activation a wide network is one straight line; with one it learns the board");
  pml_box b = pml_svg_body(s);
  for (int k = 0; k < KINDS; k++) draw_board(s, (pml_box){b.x + 630 * k, b.y + 20, 540, 540}, k, accent[k]);
  pml_svg_textf(s, b.x, b.y + 810, (pml_font){.size = 26, .colour = PML_MUTED}, "Red dots: wrong. The best of all straight lines gets %.1f %% right.", r.best_line);
  return PML_OK;
}

static pml_status draw_share(pml_ctx *ctx, pml_svg *s) {
  pml_bar bars[SHAPES];
  for (int i = 0; i < 4; i++) bars[i] = (pml_bar){.label = i ? shape[i].arch : "tutor", .value = r.layer_share[i], .colour = 0x8A5A10};
  bars[4] = (pml_bar){.label = "layer of 2017", .value = r.layer_share[4], .colour = PML_PURPLE};
  pml_lesson_title(ctx, s, "In a Qwen2.5 layer the feed-forward network holds %.0f %% of the parameters, not 2/3", r.layer_share[1]);
  pml_svg_bars(s, pml_box_inset(pml_svg_body(s), 60, 40), bars, SHAPES, &(pml_bar_options){.unit = " %", .decimals = 1, .max = 100, .limit = 200.0 / 3, .limit_label = "the folklore: 2/3"});
  return PML_OK;
}

static pml_status page(pml_ctx *ctx, pml_page *p) {
  char answer[512];
  (void)ctx;
  pml_page_item(p, PML_PAGE_CAN, "Show that two linear layers are one, and what an activation between them changes.");
  pml_page_item(p, PML_PAGE_CAN, "Write the backward pass of GELU and of a feed-forward network.");
  pml_page_item(p, PML_PAGE_CAN, "Count the parameters of a feed-forward network and compare with \"2/3\".");
  pml_page_quote(p, "ffn"), pml_page_quote(p, "gelu_backward"), pml_page_quote(p, "ffn_block"), pml_page_quote_lesson(p, "learn");
  pml_page_text(p, PML_PAGE_BREAK, "`--skip-taste` (or `--error`) trains all networks without their activation. The loss falls a little and stays near log 2; all fall to a coin toss, and the lesson says so. More steps, more width, other seeds: nothing helps, because W2·(W1·x) is (W2·W1)·x.");
  pml_page_text(p, PML_PAGE_BREAK, "In `pml_gelu_backward` (§ 31), write 2b for 3b: the network still learns, only worse. `tests/test_backward.c` finds it at once by finite differences.");
  snprintf(answer, sizeof answer, "One straight line. The best of 180 directions at every offset gets %.1f %% of these points; a network without activation cannot do better, however wide it is.", r.best_line);
  pml_page_question(p, "What can a network of two linear layers without activation separate?", answer);
  pml_page_question(p, "Does GELU throw away negative signals?", "Not all: GELU(−1) is about −0.16, and it has a slope there, so the weight can still learn. Far below 0 it is almost 0. If every input is positive, GELU hardly bends anything: a demonstration with positive numbers only shows nothing.");
  pml_page_question(p, "Is SwiGLU without its silu linear?", "No. gate times up is a product of two linear functions of x, so a polynomial of degree two. Leaving out silu there is not the same fault as leaving out GELU; `--skip-taste` leaves out the gate too.");
  snprintf(answer, sizeof answer, "In the layer of 2017: two matrices of d × 4d beside four of d × d, 8/12. Here f/d is %.2f (Qwen2.5 0.5B), there are three matrices, and keys and values are shared by several heads: %.1f %% of a layer. Of the whole model it is %.1f %%, because the embedding of 151,936 tokens is large.", (double)shape[1].d_ffn / shape[1].d_model, r.layer_share[1], r.model_share[1]);
  pml_page_question(p, "Where does \"2/3 of the parameters\" come from, and why is it wrong here?", answer);
  pml_page_source(p, "Hendrycks and Gimpel 2016, Gaussian Error Linear Units (arXiv:1606.08415)", strlen("Hendrycks and Gimpel 2016, Gaussian Error Linear Units (arXiv:1606.08415)"));
  pml_page_source(p, "Shazeer 2020, GLU Variants Improve Transformer (arXiv:2002.05202)", strlen("Shazeer 2020, GLU Variants Improve Transformer (arXiv:2002.05202)"));
  return PML_OK;
}

static pml_status bench(pml_ctx *ctx) {
  size_t n;
  return one_network(ctx, PML_FFN_GELU, 0, &n);
}

static const pml_flag flags[] = {{"cells", "squares along a side of the board: 2 (XOR) to 4", PML_FLAG_INT, &r.cells}, {"skip-taste", "leave the activation out", PML_FLAG_BOOL, &r.skip}, {"error", "the same as --skip-taste", PML_FLAG_BOOL, &r.error}};
static const pml_lesson lesson = {.number = "06", .name = "feed_forward", .title = "The feed-forward network", .file = __FILE__,
  .summary = "Expand, taste, contract. Without the taste, the activation, two layers are no more than one.",
  .sections = {31}, .flags = flags, .n_flags = 3, .run = run, .draw = draw, .page = page, .bench = bench, .pictures = {{"share", draw_share}}};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }
