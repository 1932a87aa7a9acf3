/* § 2 and every chapter that allocates: each allocation of a job fails once.  The job must then say
   PML_E_MEMORY with a sentence that names memory, hand out nothing, and give back all it took; once
   memory is there again it must succeed.  And files cut short at every length are refused or whole. */
#include "prodml.h"
#include "test.h"
#include "tiny_model.h"

/* ── the allocator that refuses ── */

static size_t turn, refused_turn; /* allocations so far; the one that fails, counted from 1, 0: none */

static void *count_or_refuse(size_t size) {
  return ++turn == refused_turn ? NULL : malloc(size);
}

/* A job leaves nothing behind.  made: what it would hand out, NULL or 0 after a failure. */
typedef pml_status (*job_fn)(const void **made);

/* Every allocation of the job fails once, or about `tries` of them when there are more.  A job that compares its
   result with that of its first run may also succeed: looking for a token that is none allocates, and may fail. */
static void each_allocation(const char *name, job_fn job, size_t tries, bool compares) {
  TEST(name);
  const void *made = NULL;
  CHECK_MSG(job(&made) == PML_OK, "%s", pml_error());
  size_t before = pml_memory_in_use();
  turn = refused_turn = 0;
  CHECK(job(&made) == PML_OK);
  size_t n = turn, wrong = 0, step = n / tries + 1;
  CHECK_MSG(n > 0 && pml_memory_in_use() == before, "%zu allocations, %zu bytes kept", n, pml_memory_in_use() - before);
  for (size_t i = 1; i <= n && wrong < 3; i += i < tries / 2 ? 1 : step) {
    turn = 0;
    refused_turn = i;
    made = NULL;
    pml_fail(PML_OK, "%s", "");
    pml_status st = job(&made);
    bool said = strstr(pml_error(), "out of memory") || strstr(pml_error(), "memory ran out"), kept = pml_memory_in_use() != before;
    bool reached = turn >= i;
    refused_turn = 0;
    bool refused = (st == PML_E_MEMORY && said) || (compares && st == PML_OK);
    bool right = !reached || (refused && !made && !kept);
    wrong += !right;
    CHECK_MSG(right, "allocation %zu of %zu: status %s, '%s', %s, %zu bytes kept", i, n, pml_status_name(st), pml_error(),
              made ? "a result" : "no result", pml_memory_in_use() - before);
    before = pml_memory_in_use();
  }
  CHECK_MSG(job(&made) == PML_OK, "afterwards: %s", pml_error());
}

/* ── the jobs ── */

static const char corpus[] = "the model reads the tokens, the tokens become text; the text that the model wrote is read again";
static const pml_str doc = {corpus, sizeof corpus - 1};
static char model_path[256], out_path[256], folder[256];
static pml_tokenizer *shared_tokenizer;
static pml_model *shared_model;

static pml_status train_bpe(const void **made) {
  pml_bpe_options o = {.n_vocab = 290, .pre = PML_PRE_QWEN2, .specials = tiny_specials, .n_specials = 3,
                       .eos = "<|endoftext|>", .eot = "<|im_end|>", .pad = "<|endoftext|>"};
  pml_tokenizer *t = NULL;
  pml_status st = pml_bpe_train(&t, &doc, 1, &o);
  *made = t;
  pml_tokenizer_free(t);
  return st;
}

static pml_status encode_decode(const void **made) {
  int32_t *ids = NULL;
  size_t n = 0;
  pml_buf text = {0};
  pml_status st = pml_encode(shared_tokenizer, corpus, sizeof corpus - 1, 0, &ids, &n);
  if (st != PML_OK) *made = ids;
  if (st == PML_OK) st = pml_decode(shared_tokenizer, ids, n, 0, &text);
  if (st == PML_OK && (text.len != doc.len || memcmp(text.data, corpus, doc.len))) st = PML_E_CHECK;
  pml_free(ids);
  pml_buf_free(&text);
  return st;
}

static pml_status words(const void **made) {
  pml_wordlist *w = NULL;
  int32_t *ids = NULL;
  size_t n = 0;
  pml_buf text = {0};
  pml_status st = pml_wordlist_train(&w, PML_PRE_QWEN2, &doc, 1, 5);
  if (st != PML_OK) *made = w;
  if (st == PML_OK) st = pml_wordlist_encode(w, corpus, doc.len, &ids, &n);
  if (st == PML_OK) st = pml_wordlist_decode(w, ids, n, &text);
  pml_free(ids);
  pml_buf_free(&text);
  pml_wordlist_free(w);
  return st;
}

static pml_status pieces(const void **made) {
  pml_str *word = NULL;
  size_t n = 0;
  pml_status st = pml_pre_tokenize(PML_PRE_LLAMA3, corpus, doc.len, &word, &n);
  if (st != PML_OK) *made = word;
  pml_free(word);
  return st;
}

static pml_status write_gguf(const void **made) {
  pml_gguf_writer *w = NULL;
  static const float weights[64];
  uint64_t ne[2] = {8, 8};
  pml_status st = pml_gguf_writer_create(&w);
  if (st != PML_OK) {
    *made = w;
    return st;
  }
  pml_gguf_add_str(w, "general.architecture", "none");
  pml_gguf_add_u32(w, "none.block_count", 1);
  pml_gguf_add_tokenizer(w, shared_tokenizer);
  pml_gguf_add_tensor(w, "a.weight", PML_F32, 2, ne, weights);
  pml_gguf_add_tensor(w, "b.weight", PML_F32, 2, ne, weights);
  return pml_gguf_writer_finish(w, out_path);
}

static pml_status open_gguf(const void **made) {
  pml_gguf *g = NULL;
  pml_tokenizer *t = NULL;
  pml_status st = pml_gguf_open(&g, model_path);
  *made = g;
  if (st == PML_OK) {
    st = pml_gguf_tokenizer(g, &t);
    *made = t;
  }
  pml_tokenizer_free(t);
  pml_gguf_close(g);
  return st;
}

static pml_status open_model(const void **made) {
  pml_model *m = NULL;
  pml_status st = pml_model_open(&m, model_path, NULL);
  *made = m;
  pml_model_close(m);
  return st;
}

static pml_status run_forward(const void **made) {
  pml_context *ctx = NULL;
  pml_seq seq = {0};
  int32_t tokens[5] = {1, 2, 3, 4, 5};
  pml_status st = pml_context_open(&ctx, shared_model, NULL, NULL);
  *made = ctx;
  float *logits = (float *)malloc(300 * sizeof(float));
  if (st == PML_OK) {
    *made = NULL;
    st = pml_forward_one(ctx, &seq, tokens, 5, logits);
    if (st != PML_OK && seq.n_tokens != 0) *made = &seq;
    pml_context_seq_free(ctx, &seq);
  }
  free(logits);
  pml_context_close(ctx);
  return st;
}

static bool note_token(void *user, int32_t token, const float *logits) {
  uint64_t *hash = (uint64_t *)user;
  uint32_t bits;
  memcpy(&bits, logits, 4);
  *hash = (*hash * 31 + (uint64_t)token) * 31 + bits;
  return true;
}

static pml_status chat(const void **made) {
  static uint64_t first;
  uint64_t hash = 0;
  pml_generate_options o = pml_generate_defaults();
  o.max_tokens = 6;
  o.on_token = note_token;
  o.user = &hash;
  pml_status st = pml_chat_once(shared_model, "the model?", &o);
  if (st == PML_OK && !first) first = hash;
  if (st == PML_OK && hash != first) *made = &first;
  return st;
}

/* The text of a chat is the same text or an error, never a part of it. */
static pml_status chat_text(const void **made) {
  static const pml_message talk[3] = {{"system", "Be short."}, {"user", "the model?"}, {"assistant", "tokens"}};
  static char whole[256];
  pml_buf out = {0};
  pml_status st = pml_chat_text(shared_model, talk, 3, &out);
  if (st == PML_OK && !*whole) snprintf(whole, sizeof whole, "%s", out.data);
  if (st == PML_OK && strcmp(whole, out.data) != 0) *made = talk;
  pml_buf_free(&out);
  return st;
}

static pml_status load_questions(const void **made) {
  pml_qa *qa = NULL;
  pml_bm25 *b = NULL;
  pml_status st = pml_qa_load(&qa, folder);
  *made = qa;
  if (st == PML_OK) {
    st = pml_bm25_create(&b, qa);
    *made = b;
  }
  pml_bm25_free(b);
  pml_qa_free(qa);
  return st;
}

static pml_status counting(void *user, uint64_t c, pml_sequence *s) {
  int32_t ids[12];
  (void)user;
  for (int i = 0; i < 12; i++) ids[i] = (int32_t)((c + (uint64_t)i) % 60);
  return pml_sequence_add(s, ids, 12, 1.0f);
}

/* Two steps, a checkpoint, its loading, the export as a model. */
static pml_status train(const void **made) {
  pml_train_options o;
  pml_augment a;
  pml_trainer *t = NULL;
  pml_export_options x = {.name = "counting", .command = "test", .data_sha256 = "none", .seed = 1};
  pml_status st = pml_train_preset("tiny", &o, &a);
  if (st != PML_OK) return st;
  o.config.n_vocab = 300, o.steps = 2, o.batch = 2, o.source = counting, o.seed = 1, o.data_id = "counting";
  st = pml_trainer_create(&t, &o);
  *made = t;
  if (st != PML_OK) return st;
  st = pml_trainer_run(t, 2);
  if (st == PML_OK) st = pml_trainer_save(t, out_path);
  if (st == PML_OK) st = pml_trainer_load(t, out_path);
  if (st == PML_OK) st = pml_net_export(t->net, shared_tokenizer, &x, out_path);
  pml_trainer_free(t);
  if (st != PML_OK) *made = NULL;
  return st;
}

static pml_status picture(const void **made) {
  pml_svg_head head = {.title = "Tokens", .desc = "a chart", .source = "tests"};
  pml_svg *s = NULL;
  pml_buf out = {0};
  double x[3] = {1, 2, 3}, y[3] = {1, 4, 9};
  pml_series line = {.label = "squares", .n = 3, .x = x, .y = y, .colour = PML_GREEN};
  const char *const cells[4] = {"a", "b", "1", "2"};
  pml_status st = pml_svg_create(&s, &head);
  *made = s;
  if (st != PML_OK) return st;
  pml_svg_chart(s, (pml_box){60, 110, 900, 600}, (pml_axis){.label = "n"}, (pml_axis){.label = "n²"}, &line, 1);
  pml_svg_table(s, (pml_box){1000, 110, 600, 200}, cells, 2, 2, "ll", -1);
  st = pml_svg_render(s, &out);
  pml_buf_free(&out);
  pml_svg_free(s);
  if (st != PML_OK) *made = NULL;
  return st;
}

static pml_status files(const void **made) {
  pml_file f;
  char *data = NULL;
  size_t size = 0;
  pml_status st = pml_file_write(out_path, corpus, sizeof corpus);
  if (st == PML_OK) st = pml_file_read(out_path, &data, &size);
  if (st != PML_OK) *made = data;
  else if (size != sizeof corpus || memcmp(data, corpus, size)) st = PML_E_CHECK;
  if (st == PML_OK && (st = pml_file_open(&f, out_path)) == PML_OK) pml_file_close(&f);
  pml_free(data);
  return st;
}

/* ── § 2 itself ── */

static void test_basics(void) {
  TEST("a refused allocation: NULL and a sentence; what was there stays");
  size_t before = pml_memory_in_use();
  char *p = (char *)pml_alloc(100);
  memset(p, 7, 100);
  turn = 0, refused_turn = 1;
  CHECK(!pml_realloc(p, 5000) && p[99] == 7 && strstr(pml_error(), "5000"));
  turn = 0, refused_turn = 1;
  CHECK(!pml_calloc(3, 5) && !strcmp(pml_error(), "out of memory: 15 bytes could not be allocated"));
  turn = 0, refused_turn = 1;
  CHECK(!pml_strdup("text"));
  refused_turn = 0;
  CHECK(!pml_calloc(SIZE_MAX / 2, 3) && !pml_alloc(SIZE_MAX - 60));
  pml_free(p);
  CHECK(pml_memory_in_use() == before);

  TEST("an arena that gets no block keeps what it has");
  pml_arena a = {.block_size = 256};
  char *first = (char *)pml_arena_alloc(&a, 64);
  memset(first, 3, 64);
  turn = 0, refused_turn = 1;
  CHECK(!pml_arena_alloc(&a, 100000) && first[63] == 3);
  CHECK(!pml_arena_calloc(&a, SIZE_MAX / 4, 8));
  refused_turn = 0;
  CHECK(pml_arena_alloc(&a, 100000) != NULL);
  pml_arena_free(&a);
  CHECK(pml_memory_in_use() == before);

  TEST("a buffer that could not grow says so and does nothing more");
  pml_buf b = {0};
  pml_buf_puts(&b, "abc");
  char big[4096] = {0};
  turn = 0, refused_turn = 1;
  pml_buf_add(&b, big, sizeof big);
  refused_turn = 0;
  size_t len = b.len;
  pml_buf_puts(&b, "more");
  pml_buf_printf(&b, "%d", 5);
  CHECK(b.failed && b.len == len);
  pml_buf_free(&b);
  CHECK(pml_memory_in_use() == before);
}

/* ── files cut short ── */

/* The head of a GGUF file at every length is refused with a sentence that names it. */
static void test_cut_model(void) {
  TEST("a model file cut at any length is refused with its name");
  char *data;
  size_t size, wrong = 0, before = pml_memory_in_use();
  CHECK(pml_file_read(model_path, &data, &size) == PML_OK);
  for (size_t n = 0; n < size && wrong < 3; n += n < 2000 ? 1 : 997) {
    pml_model *m = NULL;
    char *copy = (char *)malloc(n ? n : 1); /* its own piece, so that the address sanitizer sees the end */
    memcpy(copy, data, n);
    pml_status st = pml_model_open_memory(&m, copy, n, "cut.gguf", NULL);
    bool right = st == PML_E_FORMAT && !m && !strncmp(pml_error(), "cut.gguf", 8);
    wrong += !right;
    CHECK_MSG(right, "%zu of %zu bytes: %s, '%s'", n, size, pml_status_name(st), pml_error());
    pml_model_close(m);
    free(copy);
  }
  pml_free(data);
  CHECK(pml_memory_in_use() == before);
}

static void write_questions(void) {
  char path[512];
  pml_mkdirs(folder);
  static const char stop[] = "the\na\nis\nwhat\n";
  static const char topics[] = "== cache\nA: Keys and values are kept.\nQ: What is a cache of keys?\nQ: which cache keeps values?\n"
                               "H: where do decoders remember\n\n== paging\nA: Blocks are mapped.\nQ: What is paging?\n"
                               "Q: How do blocks map positions?\nH: zebra\n";
  snprintf(path, sizeof path, "%s/stopwords.txt", folder);
  CHECK(pml_file_write(path, stop, sizeof stop - 1) == PML_OK);
  snprintf(path, sizeof path, "%s/topics.txt", folder);
  CHECK(pml_file_write(path, topics, sizeof topics - 1) == PML_OK);
}

static void clean(void) {
  char path[512];
  unlink(model_path);
  unlink(out_path);
  snprintf(path, sizeof path, "%s/stopwords.txt", folder);
  unlink(path);
  snprintf(path, sizeof path, "%s/topics.txt", folder);
  unlink(path);
  rmdir(folder);
}

int main(void) {
  pml_allocator_set(count_or_refuse, free);
  pml_threads_set(1);
  tiny_path(model_path, "memory.gguf");
  tiny_path(out_path, "memory.out");
  tiny_path(folder, "memory-data");
  tiny_config c = tiny_defaults();
  c.n_layers = 1;
  CHECK(tiny_write(model_path, &c) == PML_OK && tiny_tokenizer(&shared_tokenizer, 300) == PML_OK &&
        pml_model_open(&shared_model, model_path, NULL) == PML_OK);
  if (!shared_model) return TEST_END();
  write_questions();
  test_basics();
  each_allocation("out of memory while training a tokenizer", train_bpe, 300, false);
  each_allocation("out of memory in encode and decode", encode_decode, 300, false);
  each_allocation("out of memory in a word list", words, 300, false);
  each_allocation("out of memory in the pre-tokenizer", pieces, 300, false);
  each_allocation("out of memory while writing GGUF", write_gguf, 300, false);
  each_allocation("out of memory while opening GGUF and its tokenizer", open_gguf, 300, false);
  each_allocation("out of memory while opening a model", open_model, 300, false);
  each_allocation("out of memory in a context and its forward pass", run_forward, 300, false);
  each_allocation("out of memory in a chat", chat, 300, true);
  each_allocation("out of memory in the text of a chat", chat_text, 300, true);
  each_allocation("out of memory while loading questions", load_questions, 300, false);
  each_allocation("out of memory in training, checkpoint and export", train, 60, false);
  each_allocation("out of memory while drawing", picture, 120, false);
  each_allocation("out of memory in files", files, 100, false);
  test_cut_model();
  pml_model_close(shared_model);
  pml_tokenizer_free(shared_tokenizer);
  clean();
  return TEST_END();
}
