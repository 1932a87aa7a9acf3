/* 03 inference pipeline: six steps from a question to a token, and the loop around them

     cc -O2 lessons/03_inference_pipeline.c -o a -lm -pthread
     ./a                                      the tutor, step by step
     ./a --question "What is RoPE?"           another text
     ./a --temperature 1 --top-k 5 --seed 7   sample instead of taking the best token
     ./a --error                              a model file whose parts do not fit together

   You see token ids, embedding rows, what the model would say after each layer, the five best
   tokens, the one that is chosen, and the loop until the end token; it equals pml_generate (§ 28).
   To change: the question, the temperature; in loop, feed a wrong token and see the check fail. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { MAX_L = 64, MAX_NEW = 96, TOP = 5, STAGES = 7 };
static const char *const stage[STAGES] = {"tokenise", "embed", "attention", "feed-forward", "head", "sample", "decode"};
static bool error_flag;
static int top_k;
static double temperature;
static const char *question = "What is a KV cache?";
static const char lens_source[] = "nostalgebraist 2020, interpreting GPT: the logit lens (LessWrong)";

static struct {
  pml_tutor *t;
  int T, V, d, L, n_new;
  int32_t out[MAX_NEW + 1];
  float *row[MAX_L + 1];                       /* the last row of the residual stream: embedding, after layer 1 … */
  double size[MAX_L + 1], lens_p[MAX_L + 1], top_p[TOP], us[STAGES][MAX_NEW + 1], share[STAGES];
  char lens[MAX_L + 1][80], top[TOP][80], name[64][80], id[64][12];
  pml_buf answer;
  char text[2048], first[80], fault[2][1024];
} r;

/* Keeps the last row after the embedding and after each layer, and adds up the time of each stage (§ 10). */
static void watch(void *user, const pml_span *s) {
  int k = !strcmp(s->name, "embed") ? 1 : !strcmp(s->name, "attention") ? 2 : !strcmp(s->name, "ffn") ? 3 : !strcmp(s->name, "head") ? 4 : 0;
  (void)user;
  if (k) r.us[k][r.n_new] += (double)(s->end_ns - s->begin_ns) / 1e3;
  if ((k == 1 || k == 3) && r.n_new == 0) memcpy(r.row[s->layer + 1], s->data + s->n - (size_t)r.d, (size_t)r.d * sizeof(float));
}

/* @loop */
/* Six steps, again and again: ids go in, one id comes out and goes in again. */
static pml_status loop(pml_sampler *sampler) {
  pml_session *s = r.t->session;
  const int32_t *in = r.t->ids;
  int n_in = r.T;
  pml_status st = PML_OK;
  for (; r.n_new < MAX_NEW; r.n_new++) {
    st = pml_forward_one(s->ctx, &s->seq, in, n_in, s->logits); /* 2 embed, 3 layers, 4 head */
    double t0 = pml_time();
    if (st == PML_OK) st = pml_sample(sampler, s->logits, r.out, r.n_new, &r.out[r.n_new]); /* 5 */
    double t1 = pml_time();
    if (st != PML_OK || pml_token_is_end(s->ctx->model, r.out[r.n_new])) break;
    st = pml_decode(r.t->model->tokenizer, &r.out[r.n_new], 1, 0, &r.answer); /* 6 */
    r.us[5][r.n_new] = (t1 - t0) * 1e6, r.us[6][r.n_new] = (pml_time() - t1) * 1e6;
    if (st != PML_OK) break;
    in = &r.out[r.n_new], n_in = 1;
  }
  return st;
}
/* @end */

static pml_status first_token(pml_ctx *ctx) {
  pml_tutor *t = r.t;
  char text[MAX_L + 1][4][80];
  const char *cells[(MAX_L + 2) * 4] = {"after", "length", "would say", "p"};
  float *table = (float *)pml_alloc((size_t)r.d * sizeof *table), *logits = (float *)pml_alloc((size_t)r.V * sizeof *logits);
  pml_buf ids = {0}, back = {0};
  int32_t token[TOP];
  pml_status st = table && logits ? PML_OK : PML_E_MEMORY;
  for (int i = 0; i < r.T; i++) pml_buf_printf(&ids, " %s(%d)", t->name[i], (int)t->ids[i]);
  if (st == PML_OK) st = pml_decode(t->model->tokenizer, t->ids, (size_t)r.T, PML_ENCODE_SPECIAL, &back);
  pml_heading(ctx, "1 Tokenise: text to ids");
  pml_say(ctx, " %s", ids.data);
  pml_expect(ctx, st == PML_OK && back.len == t->text.len && !memcmp(back.data, t->text.data, back.len), "%d ids decode to the same %zu bytes", r.T, back.len);
  if (st == PML_OK) st = pml_forward_one(t->session->ctx, &t->session->seq, t->ids, r.T, t->session->logits);
  if (st == PML_OK) st = pml_row_to_f32(table, &t->model->embed, t->ids[r.T - 1]);
  pml_heading(ctx, "2 Embed: each id becomes its row of the table [%d,%d]", r.V, r.d);
  pml_expect(ctx, st == PML_OK && !memcmp(table, r.row[0], (size_t)r.d * sizeof *table), "[%d,%d]: the row of token %d is row %d of the table, bit for bit", r.T, r.d, r.T - 1, (int)t->ids[r.T - 1]);
  for (int l = 0; l <= r.L && st == PML_OK; l++) {
    st = pml_lens(t->model, r.row[l], table, logits);
    if (st != PML_OK) break;
    r.size[l] = sqrt((double)pml_dot(r.row[l], r.row[l], (size_t)r.d));
    pml_top_tokens(logits, r.V, 1, token, &r.lens_p[l]);
    pml_token_name(t->model, token[0], r.lens[l]);
    if (l) snprintf(text[l][0], 80, "layer %d", l - 1);
    else snprintf(text[l][0], 80, "embedding");
    snprintf(text[l][1], 80, "%.1f", r.size[l]), snprintf(text[l][2], 80, "%s", r.lens[l]), snprintf(text[l][3], 80, "%.3f", r.lens_p[l]);
    for (int j = 0; j < 4; j++) cells[(l + 1) * 4 + j] = text[l][j];
  }
  if (st == PML_OK) {
    pml_heading(ctx, "3 Transform: the last row through %d layers, read by the head after each", r.L);
    pml_show_table(ctx, cells, r.L + 2, 4, "lrlr");
    bool same = !memcmp(logits, t->session->logits, (size_t)r.V * sizeof *logits);
    pml_heading(ctx, "4 Head: %d logits, one per token", r.V);
    pml_top_tokens(t->session->logits, r.V, TOP, token, r.top_p);
    for (int k = 0; k < TOP; k++) pml_token_name(t->model, token[k], r.top[k]), pml_say(ctx, "  %5.1f %%  %s", 100 * r.top_p[k], r.top[k]);
    pml_expect(ctx, same, "the reading after the last layer is the model's logits, bit for bit");
    pml_softmax(t->session->logits, (size_t)r.V);
    double sum = 0;
    for (int i = 0; i < r.V; i++) sum += (double)t->session->logits[i];
    pml_expect(ctx, fabs(sum - 1) < 1e-5, "softmax: the probabilities of all tokens add up to 1 within %.0e", fmax(fabs(sum - 1), 1e-7));
  }
  pml_free(table), pml_free(logits);
  pml_buf_free(&ids), pml_buf_free(&back);
  return st;
}

typedef struct { int n; int32_t id[MAX_NEW]; } token_list;

static bool keep_token(void *user, int32_t token, const float *logits) {
  token_list *list = (token_list *)user;
  (void)logits;
  list->id[list->n++] = token;
  return true;
}

/* The loop, and the same by pml_generate. */
static pml_status generate(pml_ctx *ctx) {
  pml_tutor *t = r.t;
  token_list theirs = {0};
  pml_generate_options o = pml_generate_defaults();
  pml_sampler *sampler = NULL;
  o.sampler.temperature = (float)temperature, o.sampler.top_k = top_k, o.sampler.seed = ctx->seed;
  o.max_tokens = MAX_NEW, o.on_token = keep_token, o.user = &theirs;
  pml_status st = pml_sampler_create(&sampler, r.V, &o.sampler);
  double t0 = pml_time();
  int32_t *ids = NULL;
  size_t n;
  if (st == PML_OK) st = pml_encode(t->model->tokenizer, t->text.data, t->text.len, PML_ENCODE_SPECIAL, &ids, &n);
  r.us[0][0] = (pml_time() - t0) * 1e6;
  pml_free(ids);
  memset(r.us[1], 0, 4 * sizeof r.us[1]);
  pml_context_truncate(t->session->ctx, &t->session->seq, 0);
  if (st == PML_OK) st = loop(sampler);
  pml_sampler_free(sampler);
  pml_trace_set(NULL, NULL);
  if (st != PML_OK) return st;
  pml_context_truncate(t->session->ctx, &t->session->seq, 0);
  st = pml_generate(t->session, t->ids, (size_t)r.T, &o);
  int n_all = r.n_new + (r.n_new < MAX_NEW);
  pml_value(ctx, "first_token_probability", r.top_p[0], ""), pml_value(ctx, "tokens", n_all, "");
  pml_heading(ctx, "5 Sample, 6 decode, and again: %d tokens", r.n_new);
  pml_token_name(t->model, r.out[0], r.first);
  snprintf(r.text, sizeof r.text, "%s", r.answer.data ? r.answer.data : "");
  pml_say(ctx, "  %s", r.text);
  pml_expect(ctx, st == PML_OK && n_all == theirs.n && !memcmp(theirs.id, r.out, (size_t)n_all * sizeof *r.out), "pml_generate gives the same %d tokens", n_all);
  return st;
}

/* Where the time of a decode step goes: medians over the steps after the first. */
static void times(pml_ctx *ctx) {
  double all = 0;
  pml_heading(ctx, "Time of one step of the loop");
  for (int k = 1; k < STAGES; k++) {
    char name[48];
    snprintf(name, sizeof name, "%s, per token", stage[k]);
    pml_number x = pml_measure(ctx, name, "µs", r.us[k] + 1, r.n_new > 2 ? (size_t)r.n_new - 1 : 1);
    all += r.share[k] = x.median;
  }
  for (int k = 1; k < STAGES && all > 0; k++) r.share[k] /= all;
  pml_measure(ctx, "tokenise, whole prompt", "µs", r.us[0], 1);
}

/* Two faults that must be found before a wrong number is computed. */
static pml_status faults(pml_tutor *t, const char *path, pml_status found[2]) {
  static const char name[] = "token_embd.weight";
  char *bytes;
  size_t len, at = 0;
  int32_t id = 99999;
  pml_model *m = NULL;
  pml_seq seq = {0};
  pml_status st = pml_file_read(path, &bytes, &len);
  if (st != PML_OK) return st;
  while (at + sizeof name + 20 < len && memcmp(bytes + at, name, sizeof name - 1) != 0) at++;
  uint64_t rows = (uint64_t)pml_tokenizer_spec_of(t->model->tokenizer)->n_vocab - 1;
  memcpy(bytes + at + sizeof name - 1 + 4 + 8, &rows, sizeof rows); /* the tensor's second dimension: one row fewer */
  found[0] = pml_model_open_memory(&m, bytes, len, "cut.gguf", NULL);
  snprintf(r.fault[0], sizeof r.fault[0], "%s", pml_error());
  pml_model_close(m);
  found[1] = pml_forward_one(t->session->ctx, &seq, &id, 1, t->session->logits);
  snprintf(r.fault[1], sizeof r.fault[1], "%s", pml_error());
  pml_context_seq_free(t->session->ctx, &seq);
  pml_free(bytes);
  return PML_OK;
}

static pml_status run(pml_ctx *ctx) {
  pml_status found[2] = {PML_OK, PML_OK};
  memset(&r, 0, sizeof r);
  pml_status st = pml_tutor_open(&r.t, ctx, question);
  if (st != PML_OK) return st;
  r.T = r.t->n, r.V = r.t->model->cfg.n_vocab, r.d = r.t->model->cfg.d_model, r.L = r.t->model->cfg.n_layers;
  float *rows = (float *)pml_alloc((size_t)(MAX_L + 1) * (size_t)r.d * sizeof *rows);
  if (!rows) st = PML_E_MEMORY;
  else if (r.L > MAX_L) st = pml_fail(PML_E_LIMIT, "this lesson shows up to %d layers", MAX_L);
  for (int l = 0; l <= MAX_L; l++) r.row[l] = rows + l * r.d;
  for (int i = 0; i < r.T && i < 64; i++) memcpy(r.name[i], r.t->name[i], 80), snprintf(r.id[i], 12, "%d", (int)r.t->ids[i]);
  pml_trace_set(watch, NULL);
  if (st == PML_OK) st = first_token(ctx);
  if (st == PML_OK) st = generate(ctx);
  pml_trace_set(NULL, NULL);
  if (st == PML_OK) times(ctx);
  const char *path = pml_lesson_path(ctx, "models/tutor.gguf");
  if (st == PML_OK) st = path ? faults(r.t, path, found) : PML_E_IO;
  if (st == PML_OK && error_flag) pml_heading(ctx, "Two faults, and the sentence that each gets");
  for (int i = 0; i < 2 && st == PML_OK && error_flag; i++) pml_say(ctx, "  %s", r.fault[i]);
  if (st == PML_OK && error_flag) {
    pml_expect(ctx, found[0] == PML_E_FORMAT && strstr(r.fault[0], "tokenizer"), "an embedding with one row too few is refused when the file is opened");
    pml_expect(ctx, found[1] == PML_E_USAGE && strstr(r.fault[1], "99999"), "token 99999 is refused before anything is computed");
  }
  pml_tutor_close(r.t);
  pml_buf_free(&r.answer);
  pml_free(rows);
  return st;
}

static pml_box step(pml_svg *svg, pml_box b, const char *heading, pml_rgb colour, double share) {
  pml_box in = pml_svg_panel(svg, b, heading, colour);
  if (share > 0) pml_svg_textf(svg, b.x + b.w - 20, b.y + 45, (pml_font){.size = 22, .colour = PML_MUTED, .anchor = PML_END}, "%.0f %% of the time", 100 * share);
  return in;
}

static pml_status draw(pml_ctx *ctx, pml_svg *svg) {
  enum { COLS = 3 };
  const pml_font chip = {.size = 28, .mono = true};
  pml_box b = pml_svg_body(svg), in;
  pml_str tokens[64];
  const char *ids[64], *cells[(MAX_L + 2) * COLS] = {"the last row after", "would say", "p"};
  char text[MAX_L + 1][COLS][80], label[160];
  pml_bar bars[TOP];
  int n = 0, rows = r.L + 1 < 6 ? r.L + 1 : 6;
  double wide = 0, p1;
  for (; n < r.T && n < 63 && wide < 3000; n++) { /* two lines of chips, then dots */
    tokens[n] = (pml_str){r.name[n], strlen(r.name[n])}, ids[n] = r.id[n];
    wide += pml_text_width(r.name[n], &chip) + 38;
  }
  if (n < r.T) tokens[n] = (pml_str){"…", 3}, ids[n++] = "";
  bool two = wide > b.w - 54;
  p1 = two ? 280 : 190;
  double h = two ? 310 : 350, y2 = b.y + p1 + 55, y3 = y2 + h + 55, mid = y2 + h / 2;
  pml_lesson_title(ctx, svg, "Six steps turn %d tokens into one more, and the loop repeats them %d times", r.T, r.n_new);
  pml_svg_tokens(svg, step(svg, (pml_box){b.x, b.y, b.w, p1}, "1  Tokenise: text becomes ids", PML_TEAL, 0), tokens, n, ids, NULL, NULL);
  for (int i = 0; i < rows; i++) {
    int l = i ? r.L + 1 - rows + i : 0; /* the embedding and the last layers */
    snprintf(text[i][0], 80, l ? "3  layer %d" : "2  embedding", l - 1);
    snprintf(text[i][1], 80, "%s", r.lens[l]), snprintf(text[i][2], 80, "%.1f %%", 100 * r.lens_p[l]);
    for (int j = 0; j < COLS; j++) cells[(i + 1) * COLS + j] = text[i][j];
  }
  snprintf(label, sizeof label, "2  Embed, 3  transform: rows of %d", r.d);
  in = step(svg, (pml_box){b.x, y2, 740, h}, label, PML_ORANGE, r.share[1] + r.share[2] + r.share[3]);
  pml_svg_table(svg, in, cells, rows + 1, COLS, "lLr", rows);
  for (int k = 0; k < TOP; k++) bars[k] = (pml_bar){.label = r.top[k], .value = 100 * r.top_p[k], .colour = k ? PML_PURPLE : PML_GREEN};
  in = step(svg, (pml_box){b.x + 860, y2, 460, h}, "4  Head: top five", PML_PURPLE, r.share[4]);
  pml_svg_bars(svg, in, bars, TOP, &(pml_bar_options){.unit = "%", .decimals = 1});
  in = step(svg, (pml_box){b.x + 1420, y2, 380, h}, "5  Sample", PML_YELLOW, r.share[5]);
  pml_font big = {.size = 64, .mono = true, .weight = 600, .anchor = PML_MIDDLE};
  while (big.size > 22 && pml_text_width(r.first, &big) > in.w) big.size -= 2;
  pml_svg_text(svg, in.x + in.w / 2, in.y + in.h / 2 + 10, big, r.first);
  in = step(svg, (pml_box){b.x, y3, b.w, b.y + b.h - y3}, "6  Decode: ids become bytes", PML_GREEN, 0);
  pml_svg_text_in(svg, in, (pml_font){.size = 28}, PML_START, r.text);
  snprintf(label, sizeof label, "%d ids", r.T);
  pml_svg_arrow(svg, b.x + 300, b.y + p1, b.x + 300, y2, PML_MUTED, label);
  pml_svg_arrow(svg, b.x + 740, mid, b.x + 860, mid, PML_MUTED, "last row");
  snprintf(label, sizeof label, "%d p", r.V);
  pml_svg_arrow(svg, b.x + 1320, mid, b.x + 1420, mid, PML_MUTED, label);
  snprintf(label, sizeof label, "id %d", (int)r.out[0]);
  pml_svg_arrow(svg, b.x + 1620, y2 + h, b.x + 1620, y3, PML_MUTED, label);
  snprintf(label, sizeof label, "the new id, one row from now on");
  pml_svg_arrow(svg, b.x + 300, y3, b.x + 300, y2 + h, PML_GREEN, label);
  return PML_OK;
}

static pml_status page(pml_ctx *ctx, pml_page *p) {
  (void)ctx;
  pml_page_item(p, PML_PAGE_CAN, "name the six steps between a question and the next token, with the shape of what passes between them;");
  pml_page_item(p, PML_PAGE_CAN, "read what a model would say after each of its layers;");
  pml_page_item(p, PML_PAGE_CAN, "say which faults must be found when a model is loaded, and not when a rare token comes along.");
  pml_page_text(p, PML_PAGE_MECHANISM, "The whole pipeline is a loop of one line per step:");
  pml_page_quote_lesson(p, "loop");
  pml_page_text(p, PML_PAGE_MECHANISM, "Every layer adds to the same row of d numbers. So the head can read that row at any depth (the logit lens, § 26):");
  pml_page_quote(p, "lens");
  pml_page_text(p, PML_PAGE_BREAK, "`make demo-inference-pipeline ARGS=--error` opens a copy of the model whose embedding has one row fewer than the tokenizer has tokens, and asks for "
                "token 99999. Both are refused with a sentence:");
  for (int i = 0; i < 2; i++) pml_page_item(p, PML_PAGE_BREAK, "%s", r.fault[i]);
  pml_page_question(p, "The tokenizer has one token more than the embedding has rows. Why not wait until that token is used?", "Most texts would work, until one user writes the rare token and the "
                    "program reads memory behind the table. A fault that is in the file is found when the file is opened, or by a customer.");
  pml_page_question(p, "Why is only the last row given to the head?", "Each row predicts the token after its own. For the prompt those tokens are known; only the last row's prediction is new. The head is the "
                    "largest matrix of a small model, so this matters.");
  pml_page_question(p, "The reading after an early layer shows a strange token. Is the model wrong there?", "No. Early layers write for later layers, in directions that the head does not read. The reading shows when the answer "
                    "becomes visible to the head, not when it is known.");
  pml_page_question(p, "The second token costs far less than the first. Why?", "The first step runs all tokens of the prompt. Their keys and values stay in the cache, so each later step runs one row.");
  pml_page_source(p, lens_source, strlen(lens_source));
  return PML_OK;
}

int main(int argc, char **argv) {
  const pml_flag flags[] = {{"error", "show the faults that are found when a model is opened", PML_FLAG_BOOL, &error_flag},
                            {"question", "what to ask (What is a KV cache?)", PML_FLAG_STRING, &question},
                            {"top-k", "sample from the k best tokens (0: all)", PML_FLAG_INT, &top_k},
                            {"temperature", "0 takes the best token, 1 samples as the model says", PML_FLAG_FLOAT, &temperature}};
  const pml_lesson lesson = {.number = "03", .name = "inference_pipeline", .title = "The inference pipeline", .file = __FILE__, .sections = {28, 27, 25}, .flags = flags, .n_flags = 4,
                             .summary = "Tokenise, embed, transform, head, sample, decode: six steps on a trained model, and the loop around them.",
                             .result = &r, .run = run, .draw = draw, .page = page};
  return pml_lesson_main(&lesson, argc, argv);
}
