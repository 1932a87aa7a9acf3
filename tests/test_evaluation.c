/* § 34: scores of models whose probabilities are known, equality of answers, BM25, and a trained
   model that must say the same through its file. */
#include "prodml.h"
#include "test.h"
#include <unistd.h>

/* p(next = id + 1 mod V) = 0.5, the rest shares the other half.  Counts what it is asked. */
enum { V = 11 };
static int asked;
static pml_status half(void *user, const int32_t *ids, int n, int from, float *logits) {
  (void)user;
  for (int t = from; t < n; t++, asked++)
    for (int i = 0; i < V; i++) logits[(t - from) * V + i] = logf(i == (ids[t] + 1) % V ? 0.5f : 0.5f / (V - 1)) + 3.0f;
  return PML_OK;
}

static void test_perplexity(void) {
  TEST("perplexity");
  pml_scorer s = {.logits = half, .n_vocab = V, .n_ctx = 8};
  int32_t ids[100];
  double ppl, nll;
  for (int i = 0; i < 100; i++) ids[i] = i % V;
  CHECK(pml_perplexity(&s, ids, 100, &ppl) == PML_OK && fabs(ppl - 2) < 1e-5);
  CHECK_MSG(asked == 99, "%d positions scored for 99 predictions", asked);
  for (int i = 0; i < 100; i++) ids[i] = 4;
  CHECK(pml_perplexity(&s, ids, 100, &ppl) == PML_OK && fabs(ppl - 20) < 1e-4);
  CHECK(pml_perplexity(&s, ids, 2, &ppl) == PML_OK && fabs(ppl - 20) < 1e-4);
  CHECK(pml_perplexity(&s, ids, 1, &ppl) == PML_E_USAGE);
  CHECK(pml_score(&s, ids, 5, 3, &nll) == PML_OK && fabs(nll - 2 * log(20)) < 1e-5);
  CHECK(pml_score(&s, ids, 9, 3, &nll) == PML_E_USAGE && pml_score(&s, ids, 3, 3, &nll) == PML_E_USAGE &&
        pml_score(&s, ids, 3, 0, &nll) == PML_E_USAGE);
  ids[2] = V;
  CHECK(pml_score(&s, ids, 3, 1, &nll) == PML_E_USAGE);
}

static void test_equality(void) {
  TEST("equal answers");
  CHECK(pml_answer_equal("A KV cache.", "a  kv\ncache"));
  CHECK(pml_answer_equal("  \"Yes.\" ", "yes"));
  CHECK(pml_answer_equal("", " . "));
  CHECK(!pml_answer_equal("2.5 bits", "25 bits"));
  CHECK(!pml_answer_equal("a b", "ab"));
  CHECK(!pml_answer_equal("yes and", "yes"));
}

static char folder[256];
static void write_text(const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  if (!f) return;
  fputs(text, f);
  fclose(f);
}

static const char topics[] =
    "== cache\nA: Keys and values are kept.\nQ: What is a cache of keys and values?\nQ: cached cached cached tokens, which cache?\n"
    "H: which keys does a decoder keep\n\n"
    "== paging\nA: Blocks are mapped.\nQ: What is paging?\nQ: How do blocks map positions to memory?\n"
    "H: memory made of blocks\nH: zebra\n";

static pml_status parrot(void *user, const char *question, pml_buf *out) {
  (void)question;
  pml_buf_puts(out, (const char *)user);
  return PML_OK;
}

static bool stop(void *user, const pml_qa_topic *t, const char *question, const char *answer, bool right) {
  (void)user, (void)t, (void)question, (void)answer, (void)right;
  return false;
}

static void test_bm25(void) {
  TEST("bm25");
  write_text("stopwords.txt", "what is a of and which how do does to the\n");
  write_text("topics.txt", topics);
  pml_qa *qa;
  CHECK(pml_qa_load(&qa, folder) == PML_OK);
  if (!qa) return;
  pml_bm25 *b;
  CHECK(pml_bm25_create(&b, qa) == PML_OK);
  CHECK(pml_bm25_topic(b, "which keys does a decoder keep") == 0);
  CHECK(pml_bm25_topic(b, "memory made of blocks") == 1);
  CHECK(pml_bm25_topic(b, "PAGING?") == 1);
  CHECK(pml_bm25_topic(b, "zebra") == -1 && pml_bm25_topic(b, "") == -1 && pml_bm25_topic(b, "what is the") == -1);
  pml_bm25_free(b);
  pml_qa_result r;
  CHECK(pml_qa_evaluate(qa, parrot, "blocks are MAPPED", NULL, NULL, &r) == PML_OK);
  CHECK(r.n == 3 && r.right == 2 && r.bm25_right == 2);
  CHECK(pml_qa_evaluate(qa, parrot, "x", stop, NULL, &r) == PML_E_CANCELLED && r.n == 1);
  pml_qa_free(qa);
}

/* A net in training as a scorer. */
static pml_status net_logits(void *user, const int32_t *ids, int n, int from, float *logits) {
  pml_net *net = (pml_net *)user;
  int vocab = net->layout.config.n_vocab;
  int32_t starts[2] = {0, n}, target[64] = {0};
  float weight[64] = {0};
  for (int i = from; i < n; i++) weight[i] = 1;
  pml_batch b = {.n_seqs = 1, .starts = starts, .ids = ids, .targets = target, .weights = weight};
  pml_status st = pml_net_forward(net, &b, NULL, NULL);
  for (int i = 0; st == PML_OK && i < (n - from) * vocab; i++) logits[i] = logf(net->probs[i] + 1e-30f);
  return st;
}

int main(void) {
  snprintf(folder, sizeof folder, "%s/pml_evaluation_XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
  if (!mkdtemp(folder)) return 1;
  test_perplexity();
  test_equality();
  test_bm25();
  TEST("a net as scorer");
  pml_train_options o;
  pml_augment a;
  pml_net *net = NULL;
  CHECK(pml_train_preset("tiny", &o, &a) == PML_OK && pml_net_create(&net, &o.config) == PML_OK);
  pml_scorer s = {.logits = net_logits, .user = net, .n_vocab = o.config.n_vocab, .n_ctx = 32};
  int32_t ids[40];
  for (int i = 0; i < 40; i++) ids[i] = i * 7 % 512;
  double ppl;
  CHECK(pml_perplexity(&s, ids, 40, &ppl) == PML_OK && fabs(ppl - 512) < 0.1); /* all weights 0: uniform */
  pml_net_free(net);
  char path[512];
  const char *names[] = {"stopwords.txt", "topics.txt"};
  for (int i = 0; i < 2; i++) snprintf(path, sizeof path, "%s/%s", folder, names[i]), remove(path);
  rmdir(folder);
  return TEST_END();
}
