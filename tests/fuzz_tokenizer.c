/* libFuzzer target for § 17.  The first byte chooses what the rest is:
     0, 1  text for a small trained tokenizer, cut by the GPT-2 or the Qwen2 rule
     2     a vocabulary: lines "T3<text>" add a token of type 3, others are merges
     3     text to train on
   Whatever tokenizer comes out, decode(encode(x)) = x, plain text yields no control
   token, and every word is merged as pml_bpe_steps, the definition, merges it. */
#include "prodml.h"
#include <stdlib.h>
#include <string.h>

static void must(bool ok) {
  if (!ok) abort();
}

static void keep(void *user, const int32_t *ids, size_t n, int32_t rank) {
  pml_buf *b = (pml_buf *)user;
  (void)rank;
  b->len = 0;
  pml_buf_add(b, ids, n * sizeof *ids);
}

static void words(const pml_tokenizer *t, const char *text, size_t len) {
  pml_buf steps = {0};
  pml_str *word;
  size_t n_words, n, covered = 0;
  must(pml_pre_tokenize(pml_tokenizer_spec_of(t)->pre, text, len, &word, &n_words) == PML_OK);
  for (size_t i = 0; i < n_words; i++) {
    int32_t *ids;
    must(word[i].ptr == text + covered && word[i].len > 0);
    covered += word[i].len;
    if (word[i].len > 300) continue;
    const pml_tokenizer_spec *s = pml_tokenizer_spec_of(t);
    must(pml_encode(t, word[i].ptr, word[i].len, 0, &ids, &n) == PML_OK);
    must(pml_bpe_steps(t, word[i].ptr, word[i].len, keep, &steps) == PML_OK);
    bool user_defined = false;
    for (size_t k = 0; k < n; k++) user_defined |= s->types[ids[k]] == 4;
    must(user_defined || (steps.len == n * sizeof *ids && !memcmp(steps.data, ids, steps.len)));
    pml_free(ids);
  }
  must(covered == len);
  pml_free(word);
  pml_buf_free(&steps);
}

static void round_trip(const pml_tokenizer *t, const char *text, size_t len) {
  for (unsigned flags = 0; flags <= PML_ENCODE_SPECIAL; flags += PML_ENCODE_SPECIAL) {
    int32_t *ids;
    size_t n;
    pml_buf out = {0};
    must(pml_encode(t, text, len, flags, &ids, &n) == PML_OK && n <= len);
    for (size_t i = 0; i < n; i++) must(flags || pml_tokenizer_spec_of(t)->types[ids[i]] != 3);
    must(pml_decode(t, ids, n, flags, &out) == PML_OK && out.len == len);
    must(len == 0 || memcmp(out.data, text, len) == 0);
    pml_free(ids);
    pml_buf_free(&out);
  }
  words(t, text, len);
}

static pml_tokenizer *train(const char *text, size_t len, pml_pre pre) {
  static const char *const specials[] = {"<|end|>", "<|e"};
  pml_bpe_options o = {.n_vocab = 320, .pre = pre, .specials = specials, .n_specials = 2, .eos = "<|end|>"};
  pml_str doc = {text, len};
  pml_tokenizer *t;
  must(pml_bpe_train(&t, &doc, 1, &o) == PML_OK && pml_tokenizer_spec_of(t)->n_vocab == 320);
  return t;
}

enum { MAX_LINES = 64 };

static void vocabulary(const char *text, size_t len) {
  char byte_text[256][4];
  pml_str tokens[256 + MAX_LINES], merges[MAX_LINES];
  int32_t types[256 + MAX_LINES];
  pml_tokenizer_spec s = {.tokens = tokens, .types = types, .merges = merges, .eos = -1, .eot = -1, .pad = -1};
  s.bos = (int)(len % 260) - 2;
  s.pre = (pml_pre)(len & 1);
  for (int b = 0, next = 256; b < 256; b++) {
    bool shown = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    int n = pml_utf8_encode((uint32_t)(shown ? b : next++), byte_text[b]);
    tokens[s.n_vocab] = (pml_str){byte_text[b], (size_t)n};
    types[s.n_vocab++] = 1;
  }
  for (size_t at = 0; at < len && s.n_vocab < 256 + MAX_LINES && s.n_merges < MAX_LINES; at++) {
    const char *line = text + at, *end = memchr(line, '\n', len - at);
    size_t n = end ? (size_t)(end - line) : len - at;
    at += n;
    if (n >= 2 && line[0] == 'T') {
      types[s.n_vocab] = line[1] - '0';
      tokens[s.n_vocab++] = (pml_str){line + 2, n - 2};
    } else merges[s.n_merges++] = (pml_str){line, n};
  }
  pml_tokenizer *t;
  if (pml_tokenizer_create(&t, &s) == PML_OK) round_trip(t, text, len);
  else must(t == NULL && pml_error()[0] != 0);
  pml_tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static pml_tokenizer *small[2];
  static const char lesson[] = "the token the tokens there <|end|> a aa aaa aaaa \xC3\xA9\xC3\xA9 12 123 123 don't don't "
                               "\n\n\n  \n  x = f(x); x = f(y);\r\n\r\n the end of the text and the end of the token";
  if (size == 0 || size > 1 << 16) return 0;
  char *text = malloc(size); /* exactly sized, so that reading over the end is seen */
  if (!text) return 0;
  size_t len = size - 1;
  memcpy(text, data + 1, len);
  unsigned mode = data[0] & 3;
  if (mode < 2) {
    if (!small[mode]) small[mode] = train(lesson, sizeof lesson - 1, (pml_pre)mode);
    round_trip(small[mode], text, len);
  } else if (mode == 2) vocabulary(text, len);
  else {
    pml_tokenizer *t = train(text, len, (pml_pre)(len & 1));
    round_trip(t, text, len);
    pml_tokenizer_free(t);
  }
  free(text);
  return 0;
}
