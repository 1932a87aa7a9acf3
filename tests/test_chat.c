/* § 28 Chat formats: what each template means, against texts that @huggingface/jinja rendered from it
   (tests/chat_formats.json, tests/chat_peer.mjs); control tokens; stop tokens. */
#include "prodml.h"
#include "test.h"

enum { MAX_CONTROL = 12 };

typedef struct {
  char *text[MAX_CONTROL];
  int n;
} names;

static char *json_string(pml_json v) { /* NULL for null */
  pml_buf b = {0};
  if (!pml_json_text(v, &b)) {
    pml_buf_free(&b);
    return NULL;
  }
  return b.data ? b.data : pml_strdup("");
}

static void json_names(pml_json v, names *out) {
  pml_json_iter it = pml_json_each(v);
  out->n = 0;
  while (pml_json_next(&it) && out->n < MAX_CONTROL) out->text[out->n++] = json_string(it.value);
}

static void names_free(names *n) {
  for (int i = 0; i < n->n; i++) pml_free(n->text[i]);
}

/* Bytes and control tokens, no merges. */
static pml_tokenizer *byte_tokenizer(const names *control, const char *bos, const char *eos, bool add_bos) {
  static const char text[] = "ab";
  pml_str doc = {text, 2};
  pml_tokenizer *t = NULL, *own = NULL;
  pml_bpe_options o = {.n_vocab = 256 + control->n, .pre = PML_PRE_QWEN2, .n_specials = control->n,
                       .specials = (const char *const *)(const void *)control->text, .bos = bos, .eos = eos};
  CHECK_MSG(pml_bpe_train(&t, &doc, 1, &o) == PML_OK, "%s", pml_error());
  if (!t || !add_bos) return t;
  pml_tokenizer_spec spec = *pml_tokenizer_spec_of(t);
  spec.add_bos = true;
  CHECK(pml_tokenizer_create(&own, &spec) == PML_OK);
  pml_tokenizer_free(t);
  return own;
}

static int conversation(pml_json v, pml_message *messages, int most) {
  pml_json_iter it = pml_json_each(v);
  int n = 0;
  while (pml_json_next(&it) && n < most) {
    messages[n].role = json_string(pml_json_at(it.value, 0));
    messages[n++].content = json_string(pml_json_at(it.value, 1));
  }
  return n;
}

static void conversation_free(pml_message *messages, int n) {
  for (int i = 0; i < n; i++) {
    pml_free((void *)(uintptr_t)messages[i].role);
    pml_free((void *)(uintptr_t)messages[i].content);
  }
}

/* The text is the expected one, and the ids decode to it. */
static void check_text(const pml_model *m, const pml_message *messages, int n, const char *expect, int which) {
  pml_buf text = {0}, back = {0};
  int32_t *ids = NULL;
  size_t n_ids = 0;
  const char *format = pml_chat_format(m);
  pml_status st = pml_chat_text(m, messages, n, &text);
  CHECK_MSG(st == PML_OK && text.data && !strcmp(text.data, expect), "%s, conversation %d: %s\n  got      %s\n  expected %s",
            format, which, st == PML_OK ? "" : pml_error(), text.data ? text.data : "", expect);
  CHECK(pml_chat_encode(m, messages, n, &ids, &n_ids) == PML_OK);
  CHECK(pml_decode(m->tokenizer, ids, n_ids, PML_ENCODE_SPECIAL, &back) == PML_OK);
  CHECK_MSG(back.data && !strcmp(back.data, expect), "%s, conversation %d: the ids say %s", format, which,
            back.data ? back.data : "");
  int32_t *whole = NULL; /* llama.cpp and transformers encode the whole text, control tokens in it parsed */
  size_t n_whole = 0;
  CHECK(pml_encode(m->tokenizer, expect, strlen(expect), PML_ENCODE_SPECIAL, &whole, &n_whole) == PML_OK);
  CHECK_MSG(n_whole == n_ids && !memcmp(whole, ids, n_ids * sizeof *ids), "%s, conversation %d: other ids than the text",
            format, which);
  pml_free(whole);
  pml_free(ids);
  pml_buf_free(&text);
  pml_buf_free(&back);
}

/* A user who types control tokens sends text. */
static void check_injection(const pml_model *m, const names *control) {
  pml_buf evil = {0};
  size_t plain = 0, n = 0;
  int32_t *ids = NULL;
  pml_message msg = {"user", "x"};
  const pml_tokenizer_spec *spec = pml_tokenizer_spec_of(m->tokenizer);
  for (int round = 0; round < 2; round++) {
    size_t count = 0;
    CHECK(pml_chat_encode(m, &msg, 1, &ids, &n) == PML_OK);
    for (size_t i = 0; i < n; i++) count += spec->types[ids[i]] == 3;
    pml_free(ids);
    if (round == 0) plain = count;
    else CHECK_MSG(count == plain, "%s: %zu control tokens instead of %zu", pml_chat_format(m), count, plain);
    for (int i = 0; i < control->n; i++) pml_buf_puts(&evil, control->text[i]);
    msg.content = evil.data;
  }
  pml_buf_free(&evil);
}

static void test_templates(pml_json root) {
  pml_json_iter it = pml_json_each(pml_json_get(root, "templates"));
  int seen = 0;
  while (pml_json_next(&it)) {
    char *format = json_string(pml_json_get(it.value, "format")), *jinja = json_string(pml_json_get(it.value, "template"));
    char *bos = json_string(pml_json_get(it.value, "bos")), *eos = json_string(pml_json_get(it.value, "eos"));
    names control;
    json_names(pml_json_get(it.value, "control"), &control);
    TEST(format);
    const char *found = pml_chat_format_detect(jinja);
    CHECK_MSG(found && !strcmp(found, format), "taken for %s", found ? found : "nothing");
    pml_model m = {.name = format, .chat_template = jinja, .eom = -1};
    m.tokenizer = byte_tokenizer(&control, bos, eos, false);
    pml_json_iter conv = pml_json_each(pml_json_get(root, "conversations"));
    for (int i = 0; m.tokenizer && pml_json_next(&conv); i++) {
      pml_message messages[8];
      int n = conversation(conv.value, messages, 8);
      char *expect = json_string(pml_json_at(pml_json_get(it.value, "expect"), (size_t)i));
      if (expect) check_text(&m, messages, n, expect, i); /* null: the template refuses, we do as newer ones do */
      pml_free(expect);
      conversation_free(messages, n);
    }
    if (m.tokenizer) check_injection(&m, &control);
    pml_tokenizer_free(m.tokenizer);
    names_free(&control);
    pml_free(format), pml_free(jinja), pml_free(bos), pml_free(eos);
    seen++;
  }
  TEST("every template");
  CHECK_MSG(seen >= 20, "%d templates", seen);
}

/* The same ids as encoding the whole text, for a tokenizer that puts a space in front of texts and, as
   Phi-3's does, drops white space after its control tokens. */
static void test_sentencepiece(pml_json root) {
  const char *shared = getenv("PRODML_SHARED");
  char path[512];
  pml_gguf *g = NULL;
  pml_tokenizer *published = NULL, *own = NULL;
  TEST("SentencePiece");
  snprintf(path, sizeof path, "%s/data/ggml-vocab-llama-spm.gguf", shared ? shared : "../shared");
  if (pml_gguf_open(&g, path) != PML_OK || pml_gguf_tokenizer(g, &published) != PML_OK) {
    SKIP("ggml-vocab-llama-spm.gguf is absent");
    pml_gguf_close(g);
    return;
  }
  static const char *const phi[] = {"<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"};
  pml_tokenizer_spec spec = *pml_tokenizer_spec_of(published);
  size_t n = (size_t)spec.n_vocab;
  pml_str *names_of = malloc(n * sizeof *names_of);
  int32_t *types = malloc(n * sizeof *types);
  memcpy(names_of, spec.tokens, n * sizeof *names_of);
  memcpy(types, spec.types, n * sizeof *types);
  for (size_t i = 0; i < 5; i++) names_of[n - 1 - i] = pml_str_of(phi[i]), types[n - 1 - i] = 3;
  spec.tokens = names_of, spec.types = types, spec.strip_after = true;
  CHECK_MSG(pml_tokenizer_create(&own, &spec) == PML_OK, "%s", pml_error());
  static const char *const formats[] = {"llama2", "mistral-v1", "zephyr", "alpaca", "phi3"};
  for (size_t f = 0; own && f < 5; f++) {
    pml_model m = {.tokenizer = f < 4 ? published : own, .chat_name = formats[f], .eom = -1};
    pml_json_iter conv = pml_json_each(pml_json_get(root, "conversations"));
    for (int i = 0; pml_json_next(&conv); i++) {
      pml_message messages[8];
      pml_buf text = {0};
      int32_t *ids = NULL, *whole = NULL;
      size_t n_ids = 0, n_whole = 0;
      int count = conversation(conv.value, messages, 8);
      CHECK(pml_chat_text(&m, messages, count, &text) == PML_OK && pml_chat_encode(&m, messages, count, &ids, &n_ids) == PML_OK);
      CHECK(pml_encode(m.tokenizer, text.data, text.len, PML_ENCODE_SPECIAL, &whole, &n_whole) == PML_OK);
      size_t bos = n_ids > 0 && n_whole > 0 && ids[0] == spec.bos && whole[0] != spec.bos; /* asked for by the tokenizer */
      CHECK_MSG(n_whole + bos == n_ids && !memcmp(whole, ids + bos, n_whole * sizeof *ids), "%s, conversation %d: %zu and %zu ids",
                formats[f], i, n_ids, n_whole);
      pml_free(ids), pml_free(whole);
      pml_buf_free(&text);
      conversation_free(messages, count);
    }
  }
  free(names_of), free(types);
  pml_tokenizer_free(own);
  pml_tokenizer_free(published);
  pml_gguf_close(g);
}

static void test_choice(void) {
  names llama3 = {{(char *)(uintptr_t) "<s>", (char *)(uintptr_t) "<|start_header_id|>", (char *)(uintptr_t) "<|eot_id|>"}, 3};
  pml_model m = {.name = (char *)(uintptr_t) "m", .eom = -1};
  pml_message msg[] = {{"user", "hi"}, {"assistant", "yo"}, {"assistant", "yo"}};
  pml_buf text = {0};
  int32_t *ids = NULL;
  size_t n = 0;
  m.tokenizer = byte_tokenizer(&llama3, "<s>", "<s>", true);

  TEST("without a template the control tokens decide");
  CHECK(pml_chat_format(&m) && !strcmp(pml_chat_format(&m), "llama3"));
  CHECK(pml_chat_encode(&m, msg, 1, &ids, &n) == PML_OK && ids[0] == 256 && ids[1] == 257);
  pml_free(ids);
  names none = {{(char *)(uintptr_t) "<s>"}, 1};
  pml_tokenizer *bare = byte_tokenizer(&none, "<s>", "<s>", false), *full = m.tokenizer;
  m.tokenizer = bare;
  CHECK(!pml_chat_format(&m) && !pml_model_is_chat(&m));
  CHECK(pml_chat_text(&m, msg, 1, &text) == PML_E_UNSUPPORTED && strstr(pml_error(), "--chat-template"));
  snprintf(m.cfg.arch, sizeof m.cfg.arch, "phi2");
  CHECK(!strcmp(pml_chat_format(&m), "phi2") && !strcmp(pml_chat_stop(&m), "\nInstruct:"));
  m.tokenizer = full;
  m.cfg.arch[0] = 0;

  TEST("a template that we do not know is not guessed from tokens");
  char unknown[] = "{{ 'USER: ' + messages[0].content }}";
  m.chat_template = unknown;
  CHECK(!pml_chat_format(&m) && !pml_chat_stop(&m));

  TEST("the caller's choice wins");
  m.chat_name = "zephyr";
  CHECK(!strcmp(pml_chat_format(&m), "zephyr") && pml_chat_text(&m, msg, 1, &text) == PML_OK);
  CHECK_MSG(!strcmp(text.data, "<|user|>\nhi<s>\n<|assistant|>\n"), "%s", text.data);
  CHECK(pml_chat_encode(&m, msg, 1, &ids, &n) == PML_OK && ids[0] == 256); /* the tokenizer asks for bos */
  pml_free(ids);
  m.chat_name = "klingon";
  CHECK(!pml_chat_format(&m) && pml_chat_text(&m, msg, 1, &text) == PML_E_USAGE && strstr(pml_error(), "klingon"));

  TEST("one bos, not two");
  m.chat_name = "llama2";
  CHECK(pml_chat_encode(&m, msg, 1, &ids, &n) == PML_OK && ids[0] == 256 && ids[1] != 256);
  pml_free(ids);

  TEST("roles in an order that a format cannot say");
  CHECK(pml_chat_text(&m, msg + 1, 1, &text) == PML_E_USAGE && strstr(pml_error(), "take turns"));
  CHECK(pml_chat_text(&m, msg, 3, &text) == PML_E_USAGE);
  pml_message late[] = {{"user", "hi"}, {"system", "s"}}, only = {"system", "s"};
  CHECK(pml_chat_text(&m, late, 2, &text) == PML_E_USAGE && strstr(pml_error(), "only at the beginning"));
  CHECK(pml_chat_text(&m, &only, 1, &text) == PML_E_USAGE && strstr(pml_error(), "needs a question"));
  m.chat_name = "chatml";
  CHECK(pml_chat_text(&m, late, 2, &text) == PML_OK);
  pml_message robot = {"robot", "x"};
  CHECK(pml_chat_text(&m, &robot, 1, &text) == PML_E_USAGE && strstr(pml_error(), "robot"));

  TEST("every format has a name and can be chosen");
  for (size_t i = 0; (m.chat_name = pml_chat_format_name(i)) != NULL; i++) {
    pml_message two[] = {{"system", "be brief"}, {"user", "hi"}};
    text.len = 0;
    CHECK_MSG(pml_chat_text(&m, two, 2, &text) == PML_OK && strstr(text.data, "hi") && strstr(text.data, "be brief"), "%s: %s",
              m.chat_name, pml_error());
  }
  pml_buf_free(&text);
  pml_tokenizer_free(bare);
  pml_tokenizer_free(full);
}

static void test_ends(void) {
  static const char *const all[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end|>",
                                    "<end_of_turn>", "<|end_of_text|>", "</s>", "<s>", "[INST]"};
  names control = {{0}, 10};
  TEST("tokens that end an answer");
  for (int i = 0; i < 10; i++) control.text[i] = (char *)(uintptr_t)all[i];
  pml_model m = {.eom = -1};
  CHECK(!pml_token_is_end(&m, 0));
  m.tokenizer = byte_tokenizer(&control, "<s>", NULL, false);
  for (int i = 0; i < 10; i++) CHECK_MSG(pml_token_is_end(&m, 256 + i) == (i < 8), "%s", all[i]);
  CHECK(!pml_token_is_end(&m, 65) && !pml_token_is_end(&m, -1) && !pml_token_is_end(&m, 100000));
  m.eom = 265;
  CHECK(pml_token_is_end(&m, 265));
  pml_tokenizer_free(m.tokenizer);
}

int main(void) {
  char *text = NULL;
  size_t len = 0;
  pml_json root;
  CHECK_MSG(pml_file_read("tests/chat_formats.json", &text, &len) == PML_OK, "%s", pml_error());
  if (text && pml_json_open(&root, text, len, "chat_formats.json") == PML_OK) {
    test_templates(root);
    test_sentencepiece(root);
  } else CHECK_MSG(false, "%s", pml_error());
  pml_free(text);
  test_choice();
  test_ends();
  CHECK(pml_memory_in_use() == 0);
  pml_threads_stop();
  return TEST_END();
}
