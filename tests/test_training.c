/* § 32, § 33: the optimiser against its formula, the data and its rule, and training that can be
   interrupted, resumed and repeated bit for bit. */
#include "prodml.h"
#include "test.h"
#include <unistd.h>

static char folder[256];

static const char *in_folder(const char *name) {
  static char path[4][512];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
  return path[turn];
}

static void write_text(const char *name, const char *text) {
  FILE *f = fopen(in_folder(name), "wb");
  CHECK(f != NULL);
  if (!f) return;
  fputs(text, f);
  fclose(f);
}

/* ── § 32 ── */

static void test_adamw(void) {
  TEST("adamw");
  enum { N = 37 };
  float w[N], m[N] = {0}, v[N] = {0}, g[N];
  double ww[N], mm[N] = {0}, vv[N] = {0}, b1 = 1, b2 = 1, worst = 0;
  pml_rng rng = pml_rng_seed(3);
  for (int i = 0; i < N; i++) ww[i] = (double)(w[i] = pml_rng_normal(&rng));
  for (int step = 0; step < 5; step++) {
    b1 *= 0.9, b2 *= 0.99;
    pml_adamw o = {.lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .decay = 0.1f, .beta1_t = b1, .beta2_t = b2};
    for (int i = 0; i < N; i++) {
      double gi = (double)(g[i] = pml_rng_normal(&rng) * (i % 3 ? 1.0f : 1e-3f));
      mm[i] = 0.9 * mm[i] + 0.1 * gi;
      vv[i] = 0.99 * vv[i] + 0.01 * gi * gi;
      ww[i] -= 0.01 * (mm[i] / (1 - b1) / (sqrt(vv[i] / (1 - b2)) + 1e-8) + 0.1 * ww[i]);
    }
    pml_adamw_update(w, m, v, g, N, &o);
  }
  for (int i = 0; i < N; i++) worst = fmax(worst, fabs((double)w[i] - ww[i]));
  CHECK_MSG(worst < 2e-6, "off by %g", worst);
}

static void test_schedule(void) {
  TEST("learning rate");
  CHECK(fabs(pml_lr_at(0, 100, 10, 1.0, 0.1) - 0.1) < 1e-12);
  CHECK(fabs(pml_lr_at(9, 100, 10, 1.0, 0.1) - 1.0) < 1e-12);
  CHECK(fabs(pml_lr_at(10, 100, 10, 1.0, 0.1) - 1.0) < 1e-12);
  CHECK(fabs(pml_lr_at(99, 100, 10, 1.0, 0.1) - 0.1) < 1e-12);
  CHECK(fabs(pml_lr_at(10 + 89 / 2, 100, 10, 1.0, 0.1) - 0.55) < 0.01);
  CHECK(fabs(pml_lr_at(0, 1, 0, 1.0, 0.1) - 1.0) < 1e-12);
  TEST("clipping");
  enum { N = 300001 };
  float *g = (float *)malloc(N * sizeof *g);
  for (int i = 0; i < N; i++) g[i] = i % 2 ? 3.0f : -4.0f;
  double norm = sqrt(12.5 * N + 3.5); /* one more -4 than 3 */
  CHECK(fabs(pml_clip_norm(g, N, 0) / norm - 1) < 1e-6 && g[1] == 3.0f);
  CHECK(fabs(pml_clip_norm(g, N, 1.0) / norm - 1) < 1e-6);
  CHECK(fabs(pml_global_norm(g, N) - 1) < 1e-5);
  CHECK(fabs(pml_clip_norm(g, N, 2.0) - 1) < 1e-5 && fabs(pml_global_norm(g, N) - 1) < 1e-5);
  free(g);
}

/* ── § 33: questions ── */

static const char stopwords[] = "the\nis\na\nwhat\nof\nwhich\n";

static pml_status load(pml_qa **qa, const char *text) {
  write_text("stopwords.txt", stopwords);
  write_text("topics.txt", text);
  return pml_qa_load(qa, folder);
}

static void topic_text(pml_buf *b, const char *id, const char *held) {
  pml_buf_printf(b, "== %s\nA: The answer of %s.\n", id, id);
  for (int i = 0; i < 12; i++) pml_buf_printf(b, "Q: %s wording%c kind%c\n", id, 'a' + i, 'a' + i);
  pml_buf_printf(b, "H: %s\n\n", held);
}

static void test_questions(void) {
  TEST("question files");
  pml_qa *qa;
  CHECK(load(&qa, "Q: before a topic\n") == PML_E_FORMAT && strstr(pml_error(), "topics.txt:1"));
  CHECK(load(&qa, "== x\nA: a\nA: b\n") == PML_E_FORMAT && strstr(pml_error(), "topics.txt:3"));
  CHECK(load(&qa, "== x\nA: a\n") == PML_E_FORMAT && strstr(pml_error(), "'x'"));
  CHECK(load(&qa, "== x\nQ: q\n") == PML_E_FORMAT);
  CHECK(load(&qa, "# nothing\n") == PML_E_FORMAT);
  CHECK(load(&qa, "== x\nA: a\nnonsense\n") == PML_E_FORMAT);
  CHECK(pml_qa_load(&qa, "no/such/folder") == PML_E_IO && qa == NULL);
  pml_buf b = {0}, report = {0};
  topic_text(&b, "alpha", "the alpha beta gamma delta words");
  topic_text(&b, "omega", "which omega thing tests runnings");
  CHECK(load(&qa, b.data) == PML_OK && qa->n_topics == 2 && qa->topics[1].n_taught == 12);
  CHECK(strcmp(qa->topics[1].answer, "The answer of omega.") == 0 && qa->topics[1].line == 17);
  CHECK(pml_qa_check(qa, NULL) == PML_OK);
  pml_buf all = {0};
  pml_qa_text(qa, true, &all);
  CHECK(!strcmp(all.data, "the alpha beta gamma delta words\nwhich omega thing tests runnings\n"));
  pml_qa_text(qa, false, &all);
  CHECK(strstr(all.data, "runnings\nThe answer of alpha.\n") && strstr(all.data, "\nThe answer of omega.\n"));
  pml_buf_free(&all);
  pml_word w[8];
  int n = pml_content_words(qa, "What is the KV-cache, testing 4 a b sharded classes?", w, 8);
  CHECK(n == 6 && !strcmp(w[0].text, "kv") && !strcmp(w[1].text, "cache") && !strcmp(w[2].text, "test") &&
        !strcmp(w[3].text, "4") && !strcmp(w[4].text, "shard") && !strcmp(w[5].text, "classe"));
  pml_qa_free(qa);
  struct { const char *held, *what; } bad[] = {
      {"alpha wordinga more words", ""},                  /* 2 of 4 shared: still allowed */
      {"alpha wordinga kinda words other", "alpha"},      /* 3 of 5 shared with one taught question */
      {"omega wordingb kindb else again", "omega"},       /* the same, with another topic's */
      {"alpha three words", "fewer than 4"},
      {"Alpha  wordinga, KINDA", "twice"}};               /* a taught question in other clothes */
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    b.len = 0;
    topic_text(&b, "alpha", bad[i].held);
    topic_text(&b, "omega", "entirely different words here");
    report.len = 0;
    CHECK(load(&qa, b.data) == PML_OK);
    pml_status st = pml_qa_check(qa, &report);
    if (!*bad[i].what) CHECK_MSG(st == PML_OK, "%s", report.data);
    else CHECK_MSG(st == PML_E_CHECK && strstr(report.data, bad[i].what), "%s", bad[i].held);
    pml_qa_free(qa);
  }
  pml_buf_free(&b);
  pml_buf_free(&report);
}

/* The shipped questions keep their own rule. */
static void test_shipped_questions(void) {
  TEST("lessons/data");
  pml_qa *qa;
  pml_buf report = {0};
  pml_status st = pml_qa_load(&qa, "lessons/data");
  CHECK_MSG(st == PML_OK, "%s", pml_error());
  if (st != PML_OK) return;
  st = pml_qa_check(qa, &report);
  CHECK_MSG(st == PML_OK, "%s", report.data ? report.data : "");
  int held = 0;
  for (int i = 0; i < qa->n_topics; i++) held += qa->topics[i].n_held;
  CHECK(qa->n_topics >= 190 && held >= 500);
  TEST("varied questions");
  pml_augment a = pml_augment_defaults();
  pml_rng rng = pml_rng_seed(1);
  size_t changed = 0;
  for (int i = 0; i < 1500; i++) {
    int topic = (int)pml_rng_below(&rng, (uint32_t)qa->n_topics), q = (int)pml_rng_below(&rng, (uint32_t)qa->topics[topic].n_taught);
    pml_buf out = {0};
    pml_qa_vary(qa, &a, topic, q, &rng, &out);
    CHECK(out.data && out.len > 0 && pml_utf8_valid(out.data, out.len));
    changed += out.data && strcmp(out.data, qa->topics[topic].taught[q]) != 0;
    for (int h = 0; out.data && h < qa->topics[topic].n_held; h++) CHECK(strcmp(out.data, qa->topics[topic].held[h]) != 0);
    pml_buf_free(&out);
  }
  CHECK(changed > 750);
  pml_buf_free(&report);
  pml_qa_free(qa);
}

/* ── § 33: training ── */

typedef struct {
  pml_qa *qa;
  pml_tokenizer *tok;
  pml_qa_source *source;
  pml_train_options opt;
} setup;

static bool prepare(setup *s, uint64_t seed) {
  pml_augment a;
  memset(s, 0, sizeof *s);
  pml_buf b = {0};
  const char *ids[] = {"cache", "paging", "batching", "sampling"};
  for (int i = 0; i < 4; i++) topic_text(&b, ids[i], "entirely different words here");
  bool ok = load(&s->qa, b.data) == PML_OK && pml_train_preset("tiny", &s->opt, &a) == PML_OK;
  pml_buf_free(&b);
  s->opt.config.n_vocab = 320;
  ok = ok && pml_qa_tokenizer(&s->tok, s->qa, 320) == PML_OK && pml_qa_source_create(&s->source, s->qa, s->tok, &a, seed) == PML_OK;
  s->opt.source = pml_qa_source_next;
  s->opt.source_user = s->source;
  s->opt.seed = seed;
  s->opt.micro_tokens = 200; /* several passes per step */
  s->opt.data_id = s->qa ? s->qa->sha256 : NULL;
  CHECK_MSG(ok, "%s", pml_error());
  return ok;
}

static void clean(setup *s) {
  pml_qa_source_free(s->source);
  pml_tokenizer_free(s->tok);
  pml_qa_free(s->qa);
}

static void train_hash(const pml_train_options *o, char hex[65]) {
  pml_trainer *t;
  hex[0] = 0;
  CHECK(pml_trainer_create(&t, o) == PML_OK);
  if (!t) return;
  pml_status st = pml_trainer_run(t, o->steps);
  CHECK_MSG(st == PML_OK, "%s", pml_error());
  pml_trainer_sha256(t, hex);
  pml_trainer_free(t);
}

static void test_source(void) {
  TEST("sequences depend on their number alone");
  setup s;
  if (!prepare(&s, 9)) return;
  pml_sequence a = {0}, b = {0};
  uint64_t numbers[] = {3, 500, 47, 48, 0, 3};
  char first[65], hex[65];
  for (int i = 0; i < 6; i++) {
    a.n = 0;
    CHECK(pml_qa_source_next(s.source, numbers[i], &a) == PML_OK && a.n > 12);
    pml_sha256_hex(a.ids, (size_t)a.n * sizeof *a.ids, i ? hex : first);
  }
  CHECK(strcmp(first, hex) == 0);
  TEST("chatml sequence");
  CHECK(pml_chatml_sequence(s.tok, "a question", "an answer", 0.5f, 0, &b) == PML_OK);
  CHECK(b.ids[0] == pml_token_find(s.tok, "<|im_start|>") && b.ids[b.n - 1] == pml_token_find(s.tok, "<|im_end|>"));
  CHECK(b.weights[0] == 0 && b.weights[b.n - 1] == 1);
  pml_buf text = {0};
  CHECK(pml_decode(s.tok, b.ids, (size_t)b.n, PML_ENCODE_SPECIAL, &text) == PML_OK);
  CHECK(strcmp(text.data, "<|im_start|>user\na question<|im_end|>\n<|im_start|>assistant\nan answer<|im_end|>") == 0);
  int full = b.n;
  b.n = 0;
  CHECK(pml_chatml_sequence(s.tok, "a question", "an answer", 0, 1, &b) == PML_OK && b.n < full && b.weights[b.n - 1] == 1);
  pml_buf_free(&text);
  pml_sequence_free(&a);
  pml_sequence_free(&b);
  clean(&s);
}

static void test_strict_hash(void) {
  TEST("20 strict steps give one hash"); /* across compilers: tests/test_strict.sh */
  setup s;
  if (!prepare(&s, 42)) return;
  char hex[65], other[65];
  pml_strict_set(true);
  train_hash(&s.opt, hex);
  int threads[] = {1, 3, 7};
  for (int i = 0; i < 3; i++) {
    CHECK(pml_threads_set(threads[i]) == PML_OK);
    train_hash(&s.opt, other);
    CHECK_MSG(strcmp(hex, other) == 0, "%d threads", threads[i]);
  }
  pml_threads_set(0);
  pml_cpu_level_t best = pml_cpu_level();
  for (int level = 0; level < PML_CPU_LEVELS; level++) {
    if (level == (int)best || !pml_cpu_supports((pml_cpu_level_t)level)) continue;
    CHECK(pml_cpu_level_set((pml_cpu_level_t)level) == PML_OK);
    train_hash(&s.opt, other);
    CHECK_MSG(strcmp(hex, other) == 0, "level %s", pml_cpu_level_name((pml_cpu_level_t)level));
  }
  pml_cpu_level_set(best);
  pml_strict_set(false);
  s.opt.seed = 43;
  train_hash(&s.opt, other);
  CHECK(strcmp(hex, other) != 0);
  clean(&s);
}

static bool stop_at_ten(void *user, const pml_train_progress *p) {
  ++*(int *)user;
  return p->step != 10;
}

static void test_resume(void) {
  TEST("10 + 10 steps are 20 steps");
  setup s;
  if (!prepare(&s, 42)) return;
  char whole[65], joined[65];
  train_hash(&s.opt, whole);
  pml_trainer *t;
  int calls = 0;
  s.opt.checkpoint = in_folder("run.gguf");
  s.opt.progress = stop_at_ten;
  s.opt.progress_user = &calls;
  CHECK(pml_trainer_create(&t, &s.opt) == PML_OK);
  CHECK(pml_trainer_run(t, 20) == PML_E_CANCELLED && calls == 10 && strstr(pml_error(), "run.gguf"));
  pml_trainer_free(t);
  CHECK(pml_trainer_create(&t, &s.opt) == PML_OK);
  pml_status st = pml_trainer_load(t, s.opt.checkpoint);
  CHECK_MSG(st == PML_OK && t->step == 10, "%s", pml_error());
  CHECK(pml_trainer_run(t, 20) == PML_OK && t->step == 20);
  pml_trainer_sha256(t, joined);
  CHECK(strcmp(whole, joined) == 0);
  pml_trainer_free(t);
  TEST("a foreign checkpoint is refused");
  s.opt.lr *= 2;
  CHECK(pml_trainer_create(&t, &s.opt) == PML_OK);
  CHECK(pml_trainer_load(t, s.opt.checkpoint) == PML_E_CHECK && t->step == 0);
  CHECK(pml_trainer_load(t, in_folder("topics.txt")) == PML_E_FORMAT);
  CHECK(pml_trainer_load(t, in_folder("none.gguf")) == PML_E_IO);
  pml_trainer_free(t);
  TEST("a checkpoint that cannot be written");
  s.opt.lr /= 2;
  s.opt.checkpoint = in_folder("no/such/folder.gguf");
  s.opt.checkpoint_every = 3;
  CHECK(pml_trainer_create(&t, &s.opt) == PML_OK);
  CHECK(pml_trainer_run(t, 20) == PML_E_IO && t->step == 3);
  pml_trainer_free(t);
  clean(&s);
}

static void test_learning(void) {
  TEST("it learns");
  setup s;
  if (!prepare(&s, 1)) return;
  s.source->augment = (pml_augment){.p_full = 1, .first_weight = 1};
  s.opt.steps = 300;
  s.opt.lr = 5e-3f;
  pml_trainer *t;
  CHECK(pml_trainer_create(&t, &s.opt) == PML_OK);
  pml_train_progress p;
  double first = 0;
  for (int i = 0; i < 300; i++) {
    CHECK(pml_trainer_step(t, &p) == PML_OK);
    if (i == 0) first = p.loss;
  }
  CHECK_MSG(first > 5.0 && p.loss < 0.3, "loss from %.3f to %.3f", first, p.loss);
  pml_qa_result r;
  CHECK(pml_net_qa_evaluate(t->net, s.qa, s.tok, false, NULL, &r) == PML_OK);
  CHECK_MSG(r.n == 48 && r.right > 40, "%d of %d taught questions answered", r.right, r.n);
  CHECK(r.perplexity > 1 && r.perplexity < 1.5);
  pml_trainer_free(t);
  TEST("wrong options");
  s.opt.batch = 0;
  CHECK(pml_trainer_create(&t, &s.opt) == PML_E_USAGE && t == NULL);
  pml_augment a = {.p_mix = 0.5f};
  pml_qa_source *none;
  CHECK(pml_qa_source_create(&none, s.qa, s.tok, &a, 1) == PML_E_USAGE && none == NULL);
  CHECK(pml_train_preset("giant", &s.opt, &a) == PML_E_USAGE);
  clean(&s);
}

int main(void) {
  snprintf(folder, sizeof folder, "%s/pml_training_XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
  if (!mkdtemp(folder)) return 1;
  test_adamw();
  test_schedule();
  test_questions();
  test_shipped_questions();
  test_source();
  test_learning();
  test_strict_hash();
  test_resume();
  const char *names[] = {"stopwords.txt", "topics.txt", "run.gguf"};
  for (int i = 0; i < 3; i++) remove(in_folder(names[i]));
  rmdir(folder);
  return TEST_END();
}
