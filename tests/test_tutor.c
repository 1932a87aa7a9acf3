/* cc -O2 lessons/09_tutor.c -o tutor -lm -pthread && ./tutor
   § 34, § 48, § 51: what the lessons stand on: the tutor with a question, its answers and its training, the
   measuring of a model, and the pictures and lines that show them.  This file is its own lesson. */
#include "prodml.h"
#include "test.h"
#include "tiny_model.h"
#include <fcntl.h>

static const char question[] = "What is a KV cache?";
static pml_status way(void *user, int which) {
  ((int *)user)[which]++;
  return PML_OK;
}

/* ── the lesson: every check in here sees the tutor open ── */

static void check_prompt(pml_tutor *t) {
  TEST("the tutor's prompt: tokens, their names and the text agree");
  pml_buf joined = {0};
  for (int i = 0; i < t->n; i++) {
    pml_str bytes = pml_token_bytes(t->model->tokenizer, t->ids[i]);
    char name[80];
    pml_buf_add(&joined, bytes.ptr, bytes.len);
    pml_token_name(t->model, t->ids[i], name);
    CHECK(t->names[i] == t->name[i] && !strcmp(name, t->name[i]));
  }
  CHECK(joined.len == t->text.len && !memcmp(joined.data, t->text.data, joined.len));
  CHECK(strstr(t->text.data, question) != NULL);
  pml_buf_free(&joined);
  char word[64];
  bool *in = (bool *)calloc((size_t)t->n, sizeof *in);
  pml_tutor_word(t, question, word, in);
  pml_buf marked = {0};
  for (int i = 0; i < t->n; i++) {
    pml_str bytes = pml_token_bytes(t->model->tokenizer, t->ids[i]);
    if (in[i]) pml_buf_add(&marked, bytes.ptr, bytes.len);
  }
  CHECK_MSG(!strcmp(word, "cache") && marked.data && strstr(marked.data, "cache") && marked.len < 12, "'%s' in '%s'", word,
            marked.data ? marked.data : "");
  pml_tutor_word(t, "no such text", word, in);
  bool any = false;
  for (int i = 0; i < t->n; i++) any = any || in[i];
  CHECK(!*word && !any);
  pml_buf_free(&marked);
  free(in);
}

static void check_answer(pml_tutor *t, pml_choice *step) {
  TEST("an answer: its steps spell it, greedy steps are the likeliest, probabilities are probabilities");
  enum { MOST = 40 };
  pml_choice steps[MOST], best;
  pml_buf answer = {0}, again = {0};
  int n = 0, m = 0;
  CHECK(pml_tutor_answer(t, MOST, &answer, steps, &n) == PML_OK && n > 1 && n <= MOST && answer.len > 10);
  CHECK(pml_tutor_answer(t, MOST, &again, NULL, &m) == PML_OK && m == n && again.len == answer.len &&
        !memcmp(again.data, answer.data, again.len));
  size_t at = 0;
  for (int i = 0; i < n && !pml_token_is_end(t->model, steps[i].id); i++) {
    pml_str bytes = pml_token_bytes(t->model->tokenizer, steps[i].id);
    CHECK(at + bytes.len <= answer.len && !memcmp(answer.data + at, bytes.ptr, bytes.len));
    CHECK_MSG(steps[i].p > 0 && steps[i].p <= 1.0001, "step %d: p %g", i, steps[i].p);
    at += bytes.len;
  }
  CHECK(at == answer.len);
  pml_seq seq = {0};
  float *logits = (float *)malloc((size_t)t->model->cfg.n_vocab * sizeof *logits);
  CHECK(pml_forward_one(t->session->ctx, &seq, t->ids, t->n, logits) == PML_OK);
  pml_choices(&best, 1, t->model, logits);
  CHECK_MSG(best.id == steps[0].id && fabs(best.p - steps[0].p) < 1e-4 && !strcmp(best.name, steps[0].name),
            "%s %g, %s %g", best.name, best.p, steps[0].name, steps[0].p);
  pml_choices(step, 5, t->model, logits);
  for (int k = 1; k < 5; k++) CHECK(step[k].p <= step[k - 1].p && step[k].id != step[k - 1].id);
  pml_context_seq_free(t->session->ctx, &seq);
  free(logits);
  pml_buf_free(&answer);
  pml_buf_free(&again);
}

static double gates_seen;
static void check_reading(pml_tutor *t) {
  TEST("while the tutor answers: every gate of every layer is counted");
  pml_gate_facts facts[PML_GATE_LAYERS] = {{0, 0, 0}};
  pml_buf answer = {0};
  const int made = 5;
  pml_context_truncate(t->session->ctx, &t->session->seq, 0);
  pml_trace_set(pml_gates_see, facts);
  CHECK(pml_tutor_answer(t, made, &answer, NULL, NULL) == PML_OK);
  pml_trace_set(NULL, NULL);
  pml_buf_free(&answer);
  const double tokens = t->n + made - 1; /* the last token is not read again */
  for (int l = 0; l < t->model->cfg.n_layers; l++) {
    CHECK_MSG(facts[l].n == tokens * t->model->cfg.d_ffn, "layer %d: %g gates, %g tokens", l, facts[l].n, tokens);
    CHECK(facts[l].negative > 0 && facts[l].negative < facts[l].n && facts[l].small > 0 && facts[l].small < facts[l].n);
    gates_seen += facts[l].n;
  }
  CHECK(facts[t->model->cfg.n_layers].n == 0 && !pml_tracing());
}

static pml_choice likeliest[5];
static pml_number pair[2];
static int ran[2];
static pml_staircase stairs;

static pml_status run(pml_ctx *ctx) {
  pml_tutor *t = ctx->tutor;
  static const float four[4] = {1.25f, -2, 3, 0.5f};
  pml_str piece[3] = {{"to", 2}, {" ken", 4}, {"\n", 1}};
  check_prompt(t);
  check_answer(t, likeliest);
  check_reading(t);
  TEST("what is measured and shown");
  pml_show_prompt(ctx, t);
  pml_show_tokens(ctx, "cut:", piece, 3);
  pml_show_floats(ctx, "F", four, 2, 2, 2, NULL, NULL);
  pml_cut cut = pml_cut_text(t->model->tokenizer, NULL, pml_str_of("cache caches"));
  pml_show_cut(ctx, "two words:", &cut);
  CHECK(pml_show_merges(ctx, t->model->tokenizer, "cache") == PML_OK);
  pml_emit(ctx, "emitted as it is\n", 17);
  pml_progress(ctx, 1, 2, "never into a file");
  pml_expect_refused(ctx, "refusal", pml_fail(PML_E_FORMAT, "byte 7 is wrong"), PML_E_FORMAT, "byte 7", "a fault is named");
  memset(ran, 0, sizeof ran);
  CHECK(pml_measure_pair(ctx, way, ran, 1e3, "ms", pair, "first %d\tsecond", 1) == PML_OK);
  memset(&stairs, 0, sizeof stairs);
  for (int i = 0; i < PML_BENCH_SETS; i++) {
    pml_curve_add(&stairs.read[0], i, 80.0 / (i + 1));
    pml_curve_add(&stairs.read[1], i, 150.0 / (i + 1));
  }
  static const double kib[PML_NEAR] = {32, 1024, 16384, 16777216};
  for (int i = 0; i < PML_NEAR; i++) stairs.size[i] = (pml_number){.n = 1, .median = kib[i]};
  return PML_OK;
}

static pml_status draw_prompt(pml_ctx *ctx, pml_svg *svg) {
  pml_box b = pml_svg_body(svg);
  pml_lesson_title(ctx, svg, "The likeliest of %d tokens is %s", 5, likeliest[0].name);
  pml_cut cut = pml_cut_text(ctx->tutor->model->tokenizer, NULL, pml_str_of("cache caches"));
  CHECK(pml_svg_prompt(svg, pml_box_top(&b, 200, 30), ctx->tutor) > 0);
  pml_svg_cut(svg, pml_box_top(&b, 120, 30), "BPE", PML_GREEN, &cut);
  pml_svg_choices(svg, b, likeliest, 5);
  return PML_OK;
}

static pml_status draw_stairs(pml_ctx *ctx, pml_svg *svg) {
  pml_lesson_title(ctx, svg, "Farther memory is slower");
  pml_svg_staircase(svg, pml_svg_body(svg), &stairs);
  return PML_OK;
}

static pml_status draw_memories(pml_ctx *ctx, pml_svg *svg) {
  pml_lesson_title(ctx, svg, "Larger memory is slower");
  pml_svg_memories(svg, pml_svg_body(svg), &stairs);
  return PML_OK;
}

static char result[8];
static pml_lesson lesson = {.number = "09", .name = "tutor", .title = "Tutor", .summary = "A lesson that tests the tutor.",
                            .file = "lessons/09_tutor.c", .sections = {51}, .question = question, .result = result,
                            .result_size = sizeof result, .run = {run}, .draw = draw_prompt,
                            .pictures = {{"stairs", draw_stairs}, {"memories", draw_memories}}};

/* Runs the lesson with at most two arguments; what it printed goes to *out. */
static int call(const char *a, const char *b, char **out) {
  char path[256], *argv[4] = {(char *)"./09_tutor", (char *)(uintptr_t)a, (char *)(uintptr_t)b, NULL};
  size_t size;
  fflush(stdout);
  int old = dup(1), to = open(tiny_path(path, "tutor.txt"), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (old < 0 || to < 0 || dup2(to, 1) < 0) return -1;
  close(to);
  int code = pml_lesson_main(&lesson, a ? b ? 3 : 2 : 1, argv);
  fflush(stdout);
  if (dup2(old, 1) < 0) return -1;
  close(old);
  if (pml_file_read(path, out, &size) != PML_OK) *out = NULL;
  unlink(path);
  return code;
}

static bool says(const char *text, const char *part) {
  bool found = text && strstr(text, part);
  if (!found) printf("missing '%s' in:\n%s\n", part, text ? text : "");
  return found;
}

static void test_lesson(void) {
  char *out = NULL, path[256], svg[300], *data = NULL;
  size_t size;
  int code = call("--stdout", NULL, &out);
  TEST("the lesson's output");
  CHECK_MSG(code == 0, "status %d: %s", code, pml_error());
  CHECK(says(out, "cut:  to|") && says(out, "two words:  ") && says(out, "the bytes") && says(out, "rank") &&
        says(out, "emitted as it is\n") && says(out, "1.25") && says(out, "byte 7 is wrong") &&
        says(out, "✓ a fault is named") && says(out, "first 1:") && says(out, "second:") && says(out, "<|im_start|>"));
  CHECK(ran[0] == PML_PAIR_REPS && ran[1] == PML_PAIR_REPS && pair[0].n == PML_PAIR_REPS && gates_seen > 0);
  pml_free(out);
  TEST("the lesson's pictures pass their own check and are written");
  code = call("--diagram", tiny_path(path, "tutor.svg"), &out);
  CHECK_MSG(code == 0, "status %d: %s", code, pml_error());
  const char *const topic[] = {"", "_stairs", "_memories"};
  const char *const in[] = {"The likeliest of 5 tokens", "L2 ends", "GB/s, one thread"};
  for (int i = 0; i < 3; i++) {
    snprintf(svg, sizeof svg, "%.*s%s.svg", (int)strlen(path) - 4, path, topic[i]);
    CHECK_MSG(pml_file_read(svg, &data, &size) == PML_OK && says(data, in[i]), "%s: %s", svg, pml_error());
    pml_free(data);
    data = NULL;
    unlink(svg);
  }
  pml_free(out);
  TEST("a question longer than the context is refused with both numbers");
  static char longest[6000];
  for (size_t i = 0; i + 2 < sizeof longest; i += 2) memcpy(longest + i, "a ", 2);
  code = call("--question", longest, &out);
  CHECK_MSG(code != 0 && strstr(pml_error(), "the tutor's context 512"), "%d: %s", code, pml_error());
  pml_free(out);
}

/* ── training the family, small ── */

static void write_data(const char *folder) {
  static const char stop[] = "the\na\nis\nwhat\nof\nhow\ndo\nwhich\n";
  pml_buf b = {0};
  char path[512];
  const char *ids[] = {"cache", "paging", "batching", "sampling"};
  for (int i = 0; i < 4; i++) {
    pml_buf_printf(&b, "== %s\nA: The answer of %s.\n", ids[i], ids[i]);
    for (int k = 0; k < 12; k++) pml_buf_printf(&b, "Q: %s wording%c kind%c\n", ids[i], 'a' + k, 'a' + k);
    pml_buf_printf(&b, "H: entirely different words for %d things\n\n", i);
  }
  pml_mkdirs(folder);
  snprintf(path, sizeof path, "%s/stopwords.txt", folder);
  CHECK(pml_file_write(path, stop, sizeof stop - 1) == PML_OK);
  snprintf(path, sizeof path, "%s/topics.txt", folder);
  CHECK(pml_file_write(path, b.data, b.len) == PML_OK);
  pml_buf_free(&b);
}

typedef struct {
  int64_t stop, steps;
  int evaluations;
} watcher;

static bool watch(void *user, const pml_train_progress *p, const pml_qa_result *eval) {
  watcher *w = (watcher *)user;
  w->steps = p->step;
  w->evaluations += eval != NULL;
  return p->step != w->stop;
}

static void test_training(void) {
  char data[256], out[256], saved[256], path[512];
  tiny_path(data, "tutor-data");
  tiny_path(out, "tutor.gguf");
  tiny_path(saved, "tutor.saved");
  write_data(data);
  watcher w = {0};
  pml_tutor_options o = {.preset = "tiny", .data = data, .out = out, .command = "tests/test_tutor.c", .strict = true,
                         .seed = 42, .steps = 6, .eval_every = 2, .progress = watch, .user = &w};
  pml_tutor_report whole, again;
  TEST("training from questions to a file");
  pml_status st = pml_train_tutor(&o, &whole);
  CHECK_MSG(st == PML_OK, "%s", pml_error());
  CHECK(w.steps == 6 && w.evaluations >= 2 && !pml_strict());
  CHECK(whole.n_topics == 4 && whole.n_taught == 48 && whole.held.n > 0 && whole.tokens > 0 && whole.n_params > 1000);
  pml_model *m = NULL;
  CHECK(pml_model_open(&m, out, NULL) == PML_OK && m && !strcmp(m->name, "prodml tiny") && m->cfg.n_layers == 2);
  pml_model_close(m);
  TEST("the same seed gives the same parameters, another seed others");
  o.out = NULL;
  CHECK(pml_train_tutor(&o, &again) == PML_OK && !strcmp(again.params_sha256, whole.params_sha256) &&
        !strcmp(again.data_sha256, whole.data_sha256));
  o.seed = 43;
  CHECK(pml_train_tutor(&o, &again) == PML_OK && strcmp(again.params_sha256, whole.params_sha256) != 0);
  TEST("cancelled, then resumed from its checkpoint, it is the run that was never stopped");
  o.seed = 42;
  o.checkpoint = saved;
  w = (watcher){.stop = 3};
  CHECK(pml_train_tutor(&o, &again) == PML_E_CANCELLED && w.steps == 3 && pml_file_exists(saved));
  w.stop = 0;
  o.resume = true;
  CHECK_MSG(pml_train_tutor(&o, &again) == PML_OK && !strcmp(again.params_sha256, whole.params_sha256), "%s", pml_error());
  TEST("an unknown preset and a folder without questions are refused");
  o.preset = "giant";
  CHECK(pml_train_tutor(&o, &again) == PML_E_USAGE && strstr(pml_error(), "giant"));
  o.preset = "tiny";
  o.data = "no/such/folder";
  CHECK(pml_train_tutor(&o, &again) == PML_E_IO && strstr(pml_error(), "no/such/folder") && !pml_strict());
  unlink(out);
  unlink(saved);
  snprintf(path, sizeof path, "%s/stopwords.txt", data);
  unlink(path);
  snprintf(path, sizeof path, "%s/topics.txt", data);
  unlink(path);
  rmdir(data);
}

/* ── § 48: a model's rates beside their limits ── */

static void test_bench(void) {
  char path[256];
  tiny_config c = tiny_defaults();
  pml_model *m = NULL;
  pml_bench_result r;
  pml_bench_options o = {.n_prompt = 16, .n_decode = 8, .repetitions = 3};
  TEST("a model measured: rates are positive, shares are rate ÷ limit, the bytes are the model's");
  CHECK(tiny_write(tiny_path(path, "bench.gguf"), &c) == PML_OK && pml_model_open(&m, path, NULL) == PML_OK);
  if (!m) return;
  CHECK_MSG(pml_bench_model(m, &o, &r) == PML_OK, "%s", pml_error());
  CHECK(r.bytes_per_token == pml_model_bytes_per_token(m) && r.memory_peak > 0);
  CHECK(r.pp_tok_s.lo > 0 && r.pp_tok_s.lo <= r.pp_tok_s.median && r.pp_tok_s.median <= r.pp_tok_s.hi);
  CHECK(r.tg_tok_s.lo > 0 && r.read_gb_s.lo > 0 && r.peak_gflop_s > 0);
  CHECK(fabs(r.tg_share * r.tg_limit - r.tg_tok_s.median) < 1e-6 * r.tg_tok_s.median);
  CHECK(fabs(r.pp_share * r.pp_limit - r.pp_tok_s.median) < 1e-6 * r.pp_tok_s.median);
  CHECK(fabs(r.tg_limit * (double)r.bytes_per_token - r.read_gb_s.median * 1e9) < 1);
  TEST("no prompt: no prefill figure; sizes that cannot be are refused");
  o.n_prompt = 0;
  CHECK(pml_bench_model(m, &o, &r) == PML_OK && r.pp_limit == 0 && r.pp_share == 0 && r.tg_tok_s.median > 0);
  o.n_decode = 0;
  CHECK(pml_bench_model(m, &o, &r) == PML_E_USAGE);
  o.n_decode = 8, o.repetitions = 0;
  CHECK(pml_bench_model(m, &o, &r) == PML_E_USAGE);
  o.repetitions = 1, o.n_decode = 100000;
  CHECK(pml_bench_model(m, &o, &r) != PML_OK);
  pml_model_close(m);
  unlink(path);
  TEST("reading speed of a piece of memory, at every level");
  size_t n = (size_t)4 << 20;
  void *data = pml_calloc(n, 1);
  for (int level = 0; data && level < PML_CPU_LEVELS; level++) {
    if (!pml_cpu_supports((pml_cpu_level_t)level)) continue;
    pml_cpu_level_set((pml_cpu_level_t)level);
    CHECK(pml_bench_read(data, n) > 1e6);
  }
  pml_cpu_level_set(pml_cpu_best());
  pml_free(data);
  TEST("a figure is median, least, most");
  pml_figure f = pml_figure_of((const double[]){3, 1, 2}, 3);
  CHECK(f.median == 2 && f.lo == 1 && f.hi == 3);
}

/* ── small things ── */

static char logged[256];
static int log_level;
static void keep(void *user, int level, const char *line) {
  log_level = level;
  snprintf(logged, sizeof logged, "%s%s", (const char *)user, line);
}

static void test_small(void) {
  TEST("the log goes where it is sent, and nowhere by default");
  pml_log(1, "lost");
  pml_log_set(keep, (void *)(uintptr_t) "> ");
  pml_log(2, "%d of %s", 3, "four");
  CHECK(!strcmp(logged, "> 3 of four") && log_level == 2);
  pml_log_set(NULL, NULL);
  pml_log(2, "again");
  CHECK(!strcmp(logged, "> 3 of four"));
  TEST("each status has a name of its own");
  for (int a = 0; a <= PML_E_CHECK; a++)
    for (int b = 0; b < a; b++) CHECK(strcmp(pml_status_name((pml_status)a), pml_status_name((pml_status)b)) != 0);
  TEST("data sheets of graphics cards: known ones, and a refusal");
  pml_gpu g;
  CHECK(pml_gpu_datasheet(&g, "nvidia-h100") && g.major == 9 && g.memory == 80000000000u && g.bandwidth == 3350e9);
  CHECK(!pml_gpu_datasheet(&g, "nvidia-x") && !*g.name);
  TEST("the data cache of a level");
  pml_hardware hw;
  memset(&hw, 0, sizeof hw);
  hw.n_caches = 2;
  hw.cache[0].level = 1, hw.cache[0].type = 'i', hw.cache[0].bytes = 16384;
  hw.cache[1].level = 1, hw.cache[1].type = 'd', hw.cache[1].bytes = 32768;
  CHECK(pml_hardware_cache(&hw, 1) == 32768 && pml_hardware_cache(&hw, 2) == 0);
}

int main(void) {
  test_small();
  test_bench();
  test_training();
  test_lesson();
  return TEST_END();
}
