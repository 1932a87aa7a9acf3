/* libFuzzer target for § 17.  The first byte chooses what the rest is:
     0, 1  text for a small trained tokenizer, cut by the GPT-2 or the Qwen2 rule
     2     a vocabulary: lines "T3<text>" add a token of type 3, others are merges
     3     text to train on
     4     a SentencePiece vocabulary: lines "T1s<text>", s is the score
     5     the same for Unigram; what follows a line "M" is its table of replacements
     6     the same for WordPiece
     7     text for a trained tokenizer, cut by the rule that the second byte names
   Whatever tokenizer comes out, plain text yields no control token.  BPE and SentencePiece
   give the text back, and merge as pml_bpe_steps, the definition, merges it. */
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

/* SentencePiece: U+2581 comes back as a space; the pieces into which the text is cut for
   speed change nothing. */
static void round_trip_spm(const pml_tokenizer *t, const char *text, size_t len) {
  const pml_tokenizer_spec *s = pml_tokenizer_spec_of(t);
  int32_t *ids;
  size_t n;
  pml_buf out = {0}, want = {0}, steps = {0}, spaced = {0};
  must(pml_encode(t, text, len, 0, &ids, &n) == PML_OK && n <= 2 * len + 1);
  bool plain = true;
  for (size_t i = 0; i < n; i++) {
    must(s->types[ids[i]] != 3 && s->types[ids[i]] != 2);
    plain &= s->types[ids[i]] != 4;
  }
  for (size_t at = 0; at < len;) {
    bool mark = len - at >= 3 && !memcmp(text + at, "\xE2\x96\x81", 3);
    pml_buf_add(&want, mark ? " " : text + at, 1);
    at += mark ? 3 : 1;
  }
  must(pml_decode(t, ids, n, 0, &out) == PML_OK);
  if (plain) must(out.len == want.len && (out.len == 0 || !memcmp(out.data, want.data, out.len)));
  if (plain && len && len < 300) {
    bool whole = true;
    if (s->add_space_prefix) pml_buf_add(&spaced, " ", 1);
    pml_buf_add(&spaced, text, len);
    must(pml_bpe_steps(t, spaced.data, spaced.len, keep, &steps) == PML_OK);
    for (size_t i = 0; i < steps.len / sizeof *ids; i++) {
      int32_t id;
      memcpy(&id, steps.data + i * sizeof id, sizeof id);
      whole &= id < s->n_vocab;
    }
    must(!whole || (steps.len == n * sizeof *ids && !memcmp(steps.data, ids, steps.len)));
  }
  pml_free(ids);
  pml_buf_free(&out);
  pml_buf_free(&want);
  pml_buf_free(&steps);
  pml_buf_free(&spaced);
}

/* Unigram and WordPiece normalise: nothing to compare with, but nothing may break. */
static void no_harm(const pml_tokenizer *t, const char *text, size_t len) {
  for (unsigned flags = 0; flags <= PML_ENCODE_SPECIAL; flags += PML_ENCODE_SPECIAL) {
    int32_t *ids;
    size_t n;
    pml_buf out = {0};
    must(pml_encode(t, text, len, flags, &ids, &n) == PML_OK);
    for (size_t i = 0; i < n; i++) {
      must(ids[i] >= 0 && ids[i] < pml_tokenizer_spec_of(t)->n_vocab);
      must(flags || pml_tokenizer_spec_of(t)->types[ids[i]] != 3);
    }
    must(pml_decode(t, ids, n, flags, &out) == PML_OK);
    pml_free(ids);
    pml_buf_free(&out);
  }
}

enum { MAX_LINES = 64 };

static void scored_vocabulary(pml_tokenizer_kind kind, const char *text, size_t len) {
  static char byte_text[256][8];
  pml_str tokens[260 + MAX_LINES];
  int32_t types[260 + MAX_LINES];
  float scores[260 + MAX_LINES] = {0};
  pml_tokenizer_spec s = {.kind = kind, .tokens = tokens, .types = types, .scores = scores, .bos = -1, .eos = -1, .eot = -1,
                          .pad = -1, .add_space_prefix = len & 1, .squeeze_spaces = len & 2, .keep_case = len & 4};
  tokens[s.n_vocab] = (pml_str){"<unk>", 5};
  types[s.n_vocab++] = 2;
  for (int b = 0; b < 256 && kind == PML_SPM; b++) {
    int n = snprintf(byte_text[b], sizeof byte_text[b], "<0x%02X>", (unsigned)b);
    tokens[s.n_vocab] = (pml_str){byte_text[b], (size_t)n};
    types[s.n_vocab++] = 6;
  }
  for (size_t at = 0; at < len && s.n_vocab < 260 + MAX_LINES; at++) {
    const char *line = text + at, *end = memchr(line, '\n', len - at);
    size_t n = end ? (size_t)(end - line) : len - at;
    at += n;
    if (n == 1 && *line == 'M') {
      s.charsmap = (pml_str){text + at + 1, at < len ? len - at - 1 : 0};
      break;
    }
    if (n < 3 || line[0] != 'T') continue;
    types[s.n_vocab] = line[1] - '0';
    scores[s.n_vocab] = (float)line[2];
    tokens[s.n_vocab++] = (pml_str){line + 3, n - 3};
  }
  pml_tokenizer *t;
  if (pml_tokenizer_create(&t, &s) != PML_OK) must(t == NULL && pml_error()[0] != 0);
  else if (kind == PML_SPM) round_trip_spm(t, text, len);
  else no_harm(t, text, len);
  pml_tokenizer_free(t);
}

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
  static pml_tokenizer *small[2], *by_rule[PML_PRE_COUNT];
  static const char lesson[] = "the token the tokens there <|end|> a aa aaa aaaa \xC3\xA9\xC3\xA9 12 123 123 don't don't "
                               "\n\n\n  \n  x = f(x); x = f(y);\r\n\r\n the end of the text and the end of the token";
  if (size == 0 || size > 1 << 16) return 0;
  char *text = malloc(size); /* exactly sized, so that reading over the end is seen */
  if (!text) return 0;
  size_t len = size - 1;
  memcpy(text, data + 1, len);
  unsigned mode = data[0] & 7;
  if (mode < 2) {
    if (!small[mode]) small[mode] = train(lesson, sizeof lesson - 1, (pml_pre)mode);
    round_trip(small[mode], text, len);
  } else if (mode == 2) vocabulary(text, len);
  else if (mode >= 4 && mode <= 6) scored_vocabulary(mode == 4 ? PML_SPM : mode == 5 ? PML_UNIGRAM : PML_WORDPIECE, text, len);
  else if (mode == 7 && len) {
    pml_pre pre = (pml_pre)((unsigned char)text[0] % PML_PRE_GEMMA4); /* the rest is not for bytes */
    if (!by_rule[pre]) {
      pml_tokenizer *t = train(lesson, sizeof lesson - 1, PML_PRE_GPT2);
      pml_tokenizer_spec s = *pml_tokenizer_spec_of(t);
      s.pre = pre;
      must(pml_tokenizer_create(&by_rule[pre], &s) == PML_OK);
      pml_tokenizer_free(t);
    }
    round_trip(by_rule[pre], text + 1, len - 1);
  }
  else {
    pml_tokenizer *t = train(text, len, (pml_pre)(len & 1));
    round_trip(t, text, len);
    pml_tokenizer_free(t);
  }
  free(text);
  return 0;
}
