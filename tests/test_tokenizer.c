/* § 17: splitting, merging, special tokens, training, and a peer's vocabulary.
   The peer's files: $PRODML_SHARED/data/ggml-vocab-gpt-2.gguf with .inp and .out.
   `test_tokenizer --corpus DIR` writes the seeds of the fuzz target instead. */
#include "prodml.h"
#include "test.h"

static pml_str str_of(const char *s) {
  pml_str r = {s, strlen(s)};
  return r;
}

/* ── Splitting ──────────────────────────────────────────────────────────────── */

/* `split` is the text with '|' at the borders of the words. */
static void check_split(pml_pre pre, const char *split) {
  char text[256], got[512];
  size_t len = 0, n, at = 0;
  pml_str *words;
  for (const char *p = split; *p; p++)
    if (*p != '|') text[len++] = *p;
  CHECK(pml_pre_tokenize(pre, text, len, &words, &n) == PML_OK);
  for (size_t i = 0; i < n; i++) {
    if (i) got[at++] = '|';
    memcpy(got + at, words[i].ptr, words[i].len);
    at += words[i].len;
  }
  got[at] = 0;
  CHECK_MSG(!strcmp(got, split), "%s: wanted <%s>, got <%s>", pre == PML_PRE_GPT2 ? "gpt2" : "qwen2", split, got);
  pml_free(words);
}

static void test_split(void) {
  static const char *const gpt2[] = {
      "", "a", "Hello| world", "Hello|  | world", "I|'m| 42", " | two|  | spaces| ", " ", "   ",
      "it|'s| they|'re| we|'ve| I|'m| he|'ll| she|'d| '|t", "'|S| IT|'|S", "'d|ont", "a|1|b| 22|c",
      "x|=|1|;|\n\n|\n|y", "tab|\t|stop", "end|\n\n", "a|\r\n|\n|b", "caf\xC3\xA9| na\xC3\xAFve",
      "\xE4\xBD\xA0\xE5\xA5\xBD|\xEF\xBC\x8C|\xE4\xB8\x96", "x|\xC2\xB2\xE2\x85\xA7|y", "a|\xC2\xA0|b",
      "a|\xC2\xA0\xE3\x80\x80|\xE2\x80\x83|b", "a| \xFF\xFE|b", "\xC3(|a", "e|\xCC\x81!", "...'|s", "don|'t|'t|''"};
  static const char *const qwen2[] = {
      "", "I|'m| |4|2", "Hello| world", "IT|'S| they|'RE| we|'vE|l", "'\xC5\xBFo", "1|2|3|a", " |1| ", " | |1", "a|.b|(c|)",
      "x|=|1|;\n\n|y", "\n|a", "a|  \n \n| | b", "a|\n|\tb", "\tb|\t|1", "a|  \r\n", "a|   ", " ,|a", " ,\r\n|a",
      "\xC2\xA0" "a", "a|\xC2\xA0|1", "\r|a", "_a|__|b", "...\n|a", " '|s", "'s|\xC3\xA9", "\xFF" "a|\xFF\xFF|a",
      "a|\xE3\x80\x80\n|\xE3\x80\x80" "b", " |  "};
  for (size_t i = 0; i < sizeof gpt2 / sizeof gpt2[0]; i++) check_split(PML_PRE_GPT2, gpt2[i]);
  for (size_t i = 0; i + 1 < sizeof qwen2 / sizeof qwen2[0]; i++) check_split(PML_PRE_QWEN2, qwen2[i]);

  TEST("every word has at least one byte and they cover the text");
  pml_rng rng = pml_rng_seed(1);
  for (int k = 0; k < 3000; k++) {
    char text[64];
    size_t len = pml_rng_below(&rng, 64);
    for (size_t i = 0; i < len; i++)
      text[i] = pml_rng_below(&rng, 2) ? " \n\r\t'sS1a\xC2\xA0\xE3\x80"[pml_rng_below(&rng, 13)]
                                       : (char)pml_rng_below(&rng, 256);
    for (int pre = 0; pre < 2; pre++) {
      size_t at = 0, n;
      while (at < len && (n = pml_pre_token((pml_pre)pre, text + at, len - at)) > 0 && n <= len - at) at += n;
      if (at != len) CHECK_MSG(false, "text %d, rule %d", k, pre);
    }
  }
  CHECK(pml_pre_token(PML_PRE_GPT2, "", 0) == 0);
}

/* ── A small vocabulary built by hand ───────────────────────────────────────── */

enum { MAX_TOKENS = 400 };
typedef struct {
  char byte_text[256][4];
  pml_str tokens[MAX_TOKENS], merges[64];
  int32_t types[MAX_TOKENS];
  pml_tokenizer_spec spec;
} small;

/* The 256 bytes in printable form, by the rule as GPT-2 states it. */
static void small_init(small *s) {
  memset(s, 0, sizeof *s);
  int next = 256;
  for (int b = 0; b < 256; b++) {
    bool shown = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    int n = pml_utf8_encode((uint32_t)(shown ? b : next++), s->byte_text[b]);
    s->tokens[b].ptr = s->byte_text[b];
    s->tokens[b].len = (size_t)n;
    s->types[b] = 1;
  }
  s->spec = (pml_tokenizer_spec){.pre = PML_PRE_GPT2, .n_vocab = 256, .tokens = s->tokens, .types = s->types,
                                 .merges = s->merges, .bos = -1, .eos = -1, .eot = -1, .pad = -1};
}

static int small_add(small *s, const char *text, int type) {
  s->tokens[s->spec.n_vocab] = str_of(text);
  s->types[s->spec.n_vocab] = type;
  return s->spec.n_vocab++;
}

static void small_merge(small *s, const char *merge) { s->merges[s->spec.n_merges++] = str_of(merge); }

/* Encodes and compares with ids as text: "257 98". */
static void check_ids(const pml_tokenizer *t, const char *text, size_t len, unsigned flags, const char *want) {
  int32_t *ids;
  size_t n;
  char got[512] = "";
  CHECK(pml_encode(t, text, len, flags, &ids, &n) == PML_OK);
  for (size_t i = 0, at = 0; i < n && at < 480; i++)
    at += (size_t)snprintf(got + at, sizeof got - at, "%s%d", i ? " " : "", (int)ids[i]);
  CHECK_MSG(!strcmp(got, want), "'%.*s': wanted %s, got %s", (int)len, text, want, got);
  pml_free(ids);
}

static void test_merge_order(void) {
  TEST("lowest rank first, of equal ones the leftmost");
  small s;
  small_init(&s);
  small_add(&s, "bc", 1);   /* 256 */
  small_add(&s, "ab", 1);   /* 257 */
  small_add(&s, "abc", 1);  /* 258 */
  small_add(&s, "aa", 1);   /* 259 */
  small_add(&s, "\xC4\xA0" "a", 1); /* 260 " a" */
  small_merge(&s, "b c");
  small_merge(&s, "a b");
  small_merge(&s, "a bc");
  small_merge(&s, "a a");
  small_merge(&s, "\xC4\xA0 a");
  small_merge(&s, "b c"); /* said again: the first rank counts */
  pml_tokenizer *t;
  CHECK_MSG(pml_tokenizer_create(&t, &s.spec) == PML_OK, "%s", pml_error());
  if (!t) return;
  check_ids(t, "abc", 3, 0, "258");
  check_ids(t, "ab", 2, 0, "257");
  check_ids(t, "abb", 3, 0, "257 98");
  check_ids(t, "aaa", 3, 0, "259 97");
  check_ids(t, "aaaaa", 5, 0, "259 259 97");
  check_ids(t, "aab", 3, 0, "97 257");
  check_ids(t, " a a", 4, 0, "260 260");
  check_ids(t, "", 0, 0, "");
  check_ids(t, "\xFF\x00\xC3", 3, 0, "255 0 195");
  CHECK(pml_token_find(t, "abc") == 258 && pml_token_find(t, " a") == 260 && pml_token_find(t, "\xFF") == 255);
  CHECK(pml_token_find(t, "abcd") == -1 && pml_token_find(t, "") == -1 && pml_token_find(t, "\xC4\xA0" "a") == -1);
  pml_str raw = pml_token_bytes(t, 260);
  CHECK(raw.len == 2 && !memcmp(raw.ptr, " a", 2));
  CHECK(pml_token_bytes(t, -1).ptr == NULL && pml_token_bytes(t, 261).ptr == NULL);
  CHECK(pml_tokenizer_spec_of(t)->n_merges == 6 && pml_tokenizer_spec_of(t)->tokens[258].len == 3);
  pml_tokenizer_free(t);
}

static void check_decode(const pml_tokenizer *t, const int32_t *ids, size_t n, unsigned flags, const char *want) {
  pml_buf out = {0};
  CHECK(pml_decode(t, ids, n, flags, &out) == PML_OK);
  CHECK_MSG(out.len == strlen(want) && !memcmp(out.data ? out.data : "", want, out.len), "%s", out.data);
  pml_buf_free(&out);
}

static void test_special(void) {
  TEST("special tokens");
  small s;
  small_init(&s);
  small_add(&s, "<|im_start|>", 3);   /* 256 */
  small_add(&s, "<|im_end|>", 3);     /* 257 */
  small_add(&s, "<|im_end|>!", 3);    /* 258 */
  small_add(&s, "<tool>", 4);         /* 259 */
  small_add(&s, "<tool><tool>", 4);   /* 260 */
  small_add(&s, "[unused261]", 5);    /* 261 */
  small_add(&s, "<unk>", 2);          /* 262 */
  s.spec.bos = 256;
  pml_tokenizer *t;
  CHECK_MSG(pml_tokenizer_create(&t, &s.spec) == PML_OK, "%s", pml_error());
  if (!t) return;
  check_ids(t, "<|im_end|>", 10, PML_ENCODE_SPECIAL, "257");
  check_ids(t, "<|im_end|>!a", 12, PML_ENCODE_SPECIAL, "258 97");
  check_ids(t, "a<|im_end|>?", 12, PML_ENCODE_SPECIAL, "97 257 63");
  check_ids(t, "<|im_end|", 9, PML_ENCODE_SPECIAL, "60 124 105 109 95 101 110 100 124");
  check_ids(t, "<|im_end|>", 10, 0, "60 124 105 109 95 101 110 100 124 62");
  check_ids(t, "<<tool>>", 8, 0, "60 259 62");
  check_ids(t, "<tool><tool><tool>", 18, 0, "260 259");
  check_ids(t, "<tool><|im_start|>", 18, PML_ENCODE_SPECIAL | PML_ENCODE_BOS, "256 259 256");
  check_ids(t, "", 0, PML_ENCODE_BOS, "256");
  check_ids(t, "<unk>", 5, PML_ENCODE_SPECIAL, "262");
  int32_t ids[] = {256, 'a', 257, 259, 261, 262, 'b'}, bad[] = {'a', 263}, worse[] = {-1};
  check_decode(t, ids, 7, 0, "a<tool>b");
  check_decode(t, ids, 7, PML_ENCODE_SPECIAL, "<|im_start|>a<|im_end|><tool>[unused261]<unk>b");
  check_decode(t, ids, 0, 0, "");
  pml_buf out = {0};
  pml_buf_puts(&out, "x");
  CHECK(pml_decode(t, bad, 2, 0, &out) == PML_E_USAGE && out.len == 1 && strstr(pml_error(), "263"));
  CHECK(pml_decode(t, worse, 1, 0, &out) == PML_E_USAGE && out.len == 1);
  pml_buf_free(&out);
  CHECK(pml_token_find(t, "<|im_end|>") == 257 && pml_token_find(t, "<tool>") == 259);
  pml_tokenizer_free(t);
}

static void check_refused(const pml_tokenizer_spec *spec, pml_status want, const char *sentence) {
  pml_tokenizer *t;
  pml_status st = pml_tokenizer_create(&t, spec);
  CHECK_MSG(st == want && t == NULL, "%s: got %s", sentence, pml_status_name(st));
  CHECK_MSG(st == PML_OK || strstr(pml_error(), sentence), "wanted '%s', got '%s'", sentence, pml_error());
  pml_tokenizer_free(t);
}

static void test_refused(void) {
  TEST("what create refuses");
  small s;
  small_init(&s);
  s.spec.n_vocab = 0;
  check_refused(&s.spec, PML_E_USAGE, "at least one token");
  s.spec.n_vocab = -5;
  check_refused(&s.spec, PML_E_USAGE, "at least one token");
  s.spec.n_vocab = 240;
  check_refused(&s.spec, PML_E_FORMAT, "byte 0xF0");
  small_init(&s), s.spec.bos = 256;
  check_refused(&s.spec, PML_E_USAGE, "bos");
  small_init(&s), s.spec.pad = -2;
  check_refused(&s.spec, PML_E_USAGE, "pad");
  small_init(&s), s.spec.add_bos = true;
  check_refused(&s.spec, PML_E_USAGE, "add_bos");
  small_init(&s), s.spec.pre = PML_PRE_COUNT;
  check_refused(&s.spec, PML_E_USAGE, "pre-tokenizer 30");
  small_init(&s), small_add(&s, "a", 1);
  check_refused(&s.spec, PML_E_FORMAT, "token 256 'a' is the same as token 97");
  small_init(&s), small_add(&s, "a", 3);
  check_refused(&s.spec, PML_E_FORMAT, "same as token 97");
  small_init(&s), small_add(&s, "", 1);
  check_refused(&s.spec, PML_E_FORMAT, "token 256 is empty");
  small_init(&s), small_add(&s, "a b", 1);
  check_refused(&s.spec, PML_E_FORMAT, "token 256");
  small_init(&s), small_add(&s, "\xE2\x82\xAC", 1);
  check_refused(&s.spec, PML_E_FORMAT, "stands for no byte");
  small_init(&s), small_add(&s, "a\xFF", 1);
  check_refused(&s.spec, PML_E_FORMAT, "stands for no byte");
  small_init(&s), small_add(&s, "ab", 7);
  check_refused(&s.spec, PML_E_FORMAT, "type 7");
  small_init(&s), s.types[9] = 0;
  check_refused(&s.spec, PML_E_FORMAT, "token 9 has type 0");
  small_init(&s), s.types[97] = 3;
  check_refused(&s.spec, PML_E_FORMAT, "byte 0x61");

  small_init(&s), small_add(&s, "ab", 1), small_merge(&s, "a b"), small_merge(&s, "a x x");
  check_refused(&s.spec, PML_E_FORMAT, "merge 1");
  static const char *const malformed[] = {"", "a", "ab", "a ", " b", " "};
  for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
    small_init(&s), small_add(&s, "ab", 1), small_merge(&s, malformed[i]);
    check_refused(&s.spec, PML_E_FORMAT, "is not two tokens");
  }
  small_init(&s), small_merge(&s, "a b");
  check_refused(&s.spec, PML_E_FORMAT, "makes 'ab', which is no token");
  small_init(&s), small_add(&s, "ab", 1), small_merge(&s, "aa b");
  check_refused(&s.spec, PML_E_FORMAT, "names 'aa', which is no token");
  small_init(&s), small_add(&s, "ab", 3), small_merge(&s, "a b");
  check_refused(&s.spec, PML_E_FORMAT, "plain text could then spell it");
  for (int type = 2; type <= 5; type += 3) { /* unknown, unused: found by the fuzzer */
    small_init(&s), small_add(&s, "ab", type), small_merge(&s, "a b");
    check_refused(&s.spec, PML_E_FORMAT, "would be lost in decoding");
  }
  /* "Ġa" as a literal token is three bytes, as a merge of the space it is two. */
  small_init(&s), small_add(&s, "\xC4\xA0" "a", 4), small_merge(&s, "\xC4\xA0 a");
  check_refused(&s.spec, PML_E_FORMAT, "other bytes than its parts");
  /* "a\u00C3" as a literal token begins with the bytes of the merge, but goes on. */
  small_init(&s), small_add(&s, "a\xC3\x83", 4), small_merge(&s, "a \xC3\x83");
  check_refused(&s.spec, PML_E_FORMAT, "other bytes than its parts");
  small_init(&s), s.spec.n_merges = (size_t)INT32_MAX;
  check_refused(&s.spec, PML_E_LIMIT, "2^31-1");
  static char big[1026];
  memset(big, 'x', 1025);
  small_init(&s), small_add(&s, big, 4);
  check_refused(&s.spec, PML_E_LIMIT, "1025 bytes");
  small_init(&s), small_add(&s, "\x1B[31mred\x7F", 1);
  check_refused(&s.spec, PML_E_FORMAT, "'?[31mred?'"); /* no escape codes in a sentence */

  small_init(&s), small_add(&s, "ab", 3), s.spec.types = NULL; /* without types all are normal */
  pml_tokenizer *t;
  CHECK(pml_tokenizer_create(&t, &s.spec) == PML_OK);
  if (t) CHECK(pml_tokenizer_spec_of(t)->types[256] == 1);
  pml_tokenizer_free(t);
  pml_tokenizer_free(NULL);
}

/* ── Training ───────────────────────────────────────────────────────────────── */

static const char corpus[] =
    "a model reads tokens, not letters. the tokenizer cuts the text into tokens: common words become one "
    "token, rare words become several. it learns the cuts from text: it counts which two tokens stand next to "
    "each other most often and makes one token of them, again and again. caf\xC3\xA9 caf\xC3\xA9s na\xC3\xAFve "
    "\xE4\xBD\xA0\xE5\xA5\xBD \xE4\xBD\xA0\xE5\xA5\xBD 1999 2024 2025 aaaa aaa aa aaaaaa abab ababab abc bc ab";

static pml_tokenizer *train(const char *text, size_t len, int n_vocab, pml_pre pre) {
  static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  pml_bpe_options o = {.n_vocab = n_vocab, .pre = pre, .specials = specials, .n_specials = 3,
                       .eos = "<|endoftext|>", .eot = "<|im_end|>"};
  pml_str doc = {text, len};
  pml_tokenizer *t;
  pml_status st = pml_bpe_train(&t, &doc, 1, &o);
  CHECK_MSG(st == PML_OK, "%s", pml_error());
  if (!t) exit(1);
  return t;
}

/* The definition of training: count all pairs anew before every merge. */
typedef struct {
  int ids[4096], n_ids; /* all words, -1 between them */
  pml_str token[MAX_TOKENS];
  char bytes[65536];
  size_t n_bytes;
  int n_tokens, merge[2 * MAX_TOKENS][2], n_merges;
} naive;

static int naive_token(naive *v, pml_str a, pml_str b) {
  char *p = v->bytes + v->n_bytes;
  memcpy(p, a.ptr, a.len);
  memcpy(p + a.len, b.ptr, b.len);
  pml_str joined = {p, a.len + b.len};
  for (int i = 0; i < v->n_tokens; i++)
    if (v->token[i].len == joined.len && !memcmp(v->token[i].ptr, p, joined.len)) return i;
  v->n_bytes += joined.len;
  v->token[v->n_tokens] = joined;
  return v->n_tokens++;
}

static bool naive_step(naive *v) {
  static int count[MAX_TOKENS][MAX_TOKENS];
  memset(count, 0, sizeof count);
  for (int i = 0; i + 1 < v->n_ids; i++)
    if (v->ids[i] >= 0 && v->ids[i + 1] >= 0) count[v->ids[i]][v->ids[i + 1]]++;
  int left = 0, right = 0;
  for (int a = 0; a < v->n_tokens; a++)
    for (int b = 0; b < v->n_tokens; b++)
      if (count[a][b] > count[left][right]) left = a, right = b;
  if (count[left][right] < 2) return false;
  v->merge[v->n_merges][0] = left;
  v->merge[v->n_merges++][1] = right;
  int id = naive_token(v, v->token[left], v->token[right]), n = 0;
  for (int i = 0; i < v->n_ids; i++) {
    bool hit = v->ids[i] == left && i + 1 < v->n_ids && v->ids[i + 1] == right;
    v->ids[n++] = hit ? id : v->ids[i];
    i += hit;
  }
  v->n_ids = n;
  return true;
}

static void check_naive(const char *text, size_t len, int n_vocab) {
  static naive v;
  memset(&v, 0, sizeof v);
  char byte[256];
  for (int b = 0; b < 256; b++) {
    byte[b] = (char)b;
    v.token[v.n_tokens++] = (pml_str){byte + b, 1};
  }
  for (size_t at = 0, n; at < len; at += n) {
    n = pml_pre_token(PML_PRE_GPT2, text + at, len - at);
    for (size_t i = 0; i < n; i++) v.ids[v.n_ids++] = (unsigned char)text[at + i];
    v.ids[v.n_ids++] = -1;
  }
  while (v.n_tokens < n_vocab - 3 && naive_step(&v)) {}
  pml_tokenizer *t = train(text, len, n_vocab, PML_PRE_GPT2);
  const pml_tokenizer_spec *s = pml_tokenizer_spec_of(t);
  CHECK_MSG(s->n_merges == (size_t)v.n_merges, "%zu merges, the definition has %d", s->n_merges, v.n_merges);
  int wrong = 0;
  for (int i = 0; i < v.n_tokens; i++) {
    pml_str raw = pml_token_bytes(t, i);
    wrong += s->types[i] != 1 || raw.len != v.token[i].len || memcmp(raw.ptr, v.token[i].ptr, raw.len) != 0;
  }
  for (int i = v.n_tokens; i < n_vocab; i++) wrong += s->types[i] != (i < n_vocab - 3 ? 5 : 3);
  for (size_t i = 0; i < s->n_merges && i < (size_t)v.n_merges; i++) {
    char want[256];
    pml_str a = s->tokens[v.merge[i][0]], b = s->tokens[v.merge[i][1]];
    int n = snprintf(want, sizeof want, "%.*s %.*s", (int)a.len, a.ptr, (int)b.len, b.ptr);
    wrong += s->merges[i].len != (size_t)n || memcmp(s->merges[i].ptr, want, (size_t)n) != 0;
  }
  CHECK_MSG(wrong == 0, "%d differences", wrong);
  pml_tokenizer_free(t);
}

typedef struct {
  const pml_tokenizer *t;
  pml_buf *out;
} shown_steps;

static void show_step(void *user, const int32_t *ids, size_t n, int32_t rank) {
  shown_steps *s = (shown_steps *)user;
  pml_buf_printf(s->out, "%d:", (int)rank);
  for (size_t i = 0; i < n; i++) {
    pml_str b = pml_token_bytes(s->t, ids[i]);
    pml_buf_printf(s->out, "%.*s%s", (int)b.len, b.ptr, i + 1 < n ? " " : ";");
  }
}

static void test_train(void) {
  TEST("training equals its definition");
  check_naive(corpus, sizeof corpus - 1, 360);
  check_naive("", 0, 260);
  check_naive("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 31, 280);
  pml_rng rng = pml_rng_seed(2);
  for (int k = 0; k < 40; k++) {
    char text[1500];
    size_t len = 1 + pml_rng_below(&rng, 1500);
    unsigned alphabet = 1 + pml_rng_below(&rng, 6);
    for (size_t i = 0; i < len; i++)
      text[i] = pml_rng_below(&rng, 12) == 0 ? ' ' : (char)('a' + pml_rng_below(&rng, alphabet));
    check_naive(text, len, 259 + (int)pml_rng_below(&rng, 80));
  }

  TEST("the known merges of a known text");
  const char *toy = "low low low low low lower lower newest newest newest newest newest newest widest widest widest";
  pml_tokenizer *t = train(toy, strlen(toy), 256 + 3 + 10, PML_PRE_GPT2);
  const pml_tokenizer_spec *s = pml_tokenizer_spec_of(t);
  static const char *const want[] = {"e s", "es t", "l o", "lo w", "\xC4\xA0 n", "\xC4\xA0 low", "e w",
                                     "\xC4\xA0n ew", "\xC4\xA0new est", "\xC4\xA0 w"};
  CHECK(s->n_merges == 10);
  for (size_t i = 0; i < s->n_merges && i < 10; i++)
    CHECK_MSG(s->merges[i].len == strlen(want[i]) && !memcmp(s->merges[i].ptr, want[i], s->merges[i].len),
              "merge %zu is %.*s", i, (int)s->merges[i].len, s->merges[i].ptr);
  CHECK(s->eos == 266 && s->eot == 268 && s->bos == -1 && s->pad == -1 && !s->add_bos);

  TEST("the steps that the chapter shows");
  pml_buf steps = {0};
  shown_steps show = {t, &steps};
  CHECK(pml_bpe_steps(t, "lowest", 6, show_step, &show) == PML_OK);
  CHECK_MSG(!strcmp(steps.data, "-1:l o w e s t;0:l o w es t;1:l o w est;2:lo w est;3:low est;"), "%s", steps.data);
  pml_buf_free(&steps);
  check_ids(t, "lowest", 6, 0, "259 257");
  check_ids(t, "\xF0\x9F\x98\x80", 4, 0, "240 159 152 128");
  pml_tokenizer_free(t);
}

/* tokens and merges are the same bytes */
static bool same_tokenizer(const pml_tokenizer *a, const pml_tokenizer *b) {
  const pml_tokenizer_spec *x = pml_tokenizer_spec_of(a), *y = pml_tokenizer_spec_of(b);
  if (x->n_vocab != y->n_vocab || x->n_merges != y->n_merges) return false;
  for (int i = 0; i < x->n_vocab; i++)
    if (x->tokens[i].len != y->tokens[i].len || memcmp(x->tokens[i].ptr, y->tokens[i].ptr, x->tokens[i].len))
      return false;
  for (size_t i = 0; i < x->n_merges; i++)
    if (x->merges[i].len != y->merges[i].len || memcmp(x->merges[i].ptr, y->merges[i].ptr, x->merges[i].len))
      return false;
  return true;
}

static bool count_progress(void *user, int done, int total) {
  int *seen = (int *)user;
  seen[0]++;
  seen[1] = total;
  return done < seen[2];
}

static void test_train_options(void) {
  static const char *const specials[] = {"<|end|>", "<|x|>"};
  pml_str docs[3] = {str_of("one two three two three three"), str_of("three<|end|>three two"), str_of(corpus)};
  pml_str reversed[3] = {docs[2], docs[1], docs[0]};
  pml_bpe_options o = {.n_vocab = 300, .specials = specials, .n_specials = 2, .bos = "<|x|>"};
  pml_tokenizer *a, *b;

  TEST("the order of the documents does not matter");
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_OK);
  CHECK(pml_bpe_train(&b, reversed, 3, &o) == PML_OK);
  CHECK(a && b && same_tokenizer(a, b));
  if (a && b) CHECK(pml_merges_shared(a, b) == pml_tokenizer_spec_of(a)->n_merges);
  if (a) CHECK(pml_tokenizer_spec_of(a)->bos == 299);
  if (b) check_ids(b, "<|end|>", 7, PML_ENCODE_SPECIAL, "298");
  pml_tokenizer_free(a);
  pml_tokenizer_free(b);

  TEST("specials in the text are not learned from");
  pml_str only = str_of("<|end|><|end|><|end|><|end|><|x|><|x|>");
  CHECK(pml_bpe_train(&a, &only, 1, &o) == PML_OK);
  if (a) CHECK(pml_tokenizer_spec_of(a)->n_merges == 0);
  pml_tokenizer_free(a);

  TEST("unused tokens fill the vocabulary");
  pml_str few = str_of("abab [unused258] [unused258]");
  o.n_vocab = 400;
  CHECK(pml_bpe_train(&a, &few, 1, &o) == PML_OK);
  if (a) {
    const pml_tokenizer_spec *s = pml_tokenizer_spec_of(a);
    CHECK(s->n_vocab == 400 && s->types[397] == 5 && s->types[398] == 3 && s->types[256] == 1);
    CHECK(pml_token_find(a, "[unused397]") == 397);
  }
  pml_tokenizer_free(a);
  o.n_vocab = 258; /* nothing but bytes and specials */
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_OK);
  if (a) check_ids(a, "two", 3, 0, "116 119 111");
  pml_tokenizer_free(a);
  o.n_vocab = 300;
  CHECK(pml_bpe_train(&a, NULL, 0, &o) == PML_OK);
  if (a) CHECK(pml_tokenizer_spec_of(a)->n_merges == 0 && pml_tokenizer_spec_of(a)->n_vocab == 300);
  pml_tokenizer_free(a);

  TEST("progress and cancelling");
  int seen[3] = {0, 0, 1000};
  o.progress = count_progress;
  o.user = seen;
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_OK);
  CHECK_MSG(seen[0] >= 42 && seen[1] == 42, "%d calls, total %d", seen[0], seen[1]);
  pml_tokenizer_free(a);
  seen[2] = 5;
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_E_CANCELLED && a == NULL);
  o.progress = NULL;

  TEST("options that make no sense");
  o.n_vocab = 257;
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_E_USAGE && a == NULL && strstr(pml_error(), "258"));
  o.n_vocab = INT32_MIN;
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_E_USAGE && a == NULL);
  o.n_vocab = 300;
  o.eot = "<|none|>";
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_E_USAGE && strstr(pml_error(), "<|none|>"));
  o.eot = NULL;
  o.pre = PML_PRE_FALCON;
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_E_USAGE);
  o.pre = PML_PRE_GPT2;
  static const char *const twice[] = {"<|x|>", "<|x|>"}, *const empty[] = {"<|x|>", ""};
  o.specials = twice;
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_E_FORMAT && a == NULL);
  o.specials = empty;
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_E_USAGE && a == NULL);
  o.n_specials = -1;
  CHECK(pml_bpe_train(&a, docs, 3, &o) == PML_E_USAGE && a == NULL);
}

/* ── Round trips ────────────────────────────────────────────────────────────── */

static bool round_trip(const pml_tokenizer *t, const char *text, size_t len, unsigned flags, size_t *n_ids) {
  int32_t *ids;
  pml_buf out = {0};
  size_t n;
  bool ok = pml_encode(t, text, len, flags, &ids, &n) == PML_OK && ids && n <= len &&
            pml_decode(t, ids, n, flags, &out) == PML_OK && out.len == len &&
            (len == 0 || !memcmp(out.data, text, len));
  for (size_t i = 0; i < n && !(flags & PML_ENCODE_SPECIAL); i++)
    if (pml_tokenizer_spec_of(t)->types[ids[i]] == 3) ok = false;
  if (n_ids) *n_ids = n;
  pml_free(ids);
  pml_buf_free(&out);
  return ok;
}

static void keep_last(void *user, const int32_t *ids, size_t n, int32_t rank) {
  int32_t *out = (int32_t *)user;
  (void)rank;
  out[0] = (int32_t)n;
  memcpy(out + 1, ids, n * sizeof *ids);
}

static void test_round_trip(void) {
  TEST("decode(encode(x)) = x for any bytes");
  static const char *const parts[] = {"<|im_start|>", "<|im_", "end|>", " ", "\n", "the token", "\xC3\xA9", "\xE4\xBD",
                                      "\xFF", "a", "'s", "123"};
  for (int pre = 0; pre < 2; pre++) {
    pml_tokenizer *t = train(corpus, sizeof corpus - 1, 400, (pml_pre)pre);
    pml_rng rng = pml_rng_seed(3);
    int wrong = 0;
    for (int k = 0; k < 1500; k++) {
      char text[512];
      size_t len = 0, wanted = pml_rng_below(&rng, 400);
      while (len < wanted) {
        if (k % 3 == 0) text[len++] = (char)pml_rng_below(&rng, 256);
        else if (k % 3 == 1) text[len++] = corpus[pml_rng_below(&rng, sizeof corpus - 1)];
        else {
          const char *p = parts[pml_rng_below(&rng, 12)];
          memcpy(text + len, p, strlen(p));
          len += strlen(p);
        }
      }
      wrong += !round_trip(t, text, len, 0, NULL) || !round_trip(t, text, len, PML_ENCODE_SPECIAL, NULL);
    }
    CHECK_MSG(wrong == 0, "%d of 1500 texts", wrong);
    CHECK(round_trip(t, NULL, 0, 0, NULL));
    int32_t *ids;
    size_t n;
    CHECK(pml_encode(t, "a", 1, PML_ENCODE_BOS, &ids, &n) == PML_E_USAGE && ids == NULL && n == 0);
    pml_tokenizer_free(t);
  }

  TEST("long words: the queue merges as the definition does");
  pml_tokenizer *t = train(corpus, sizeof corpus - 1, 400, PML_PRE_GPT2);
  pml_rng rng = pml_rng_seed(4);
  int wrong = 0;
  for (int k = 0; k < 300; k++) {
    char word[400];
    int32_t steps[401], *ids;
    size_t len = 60 + pml_rng_below(&rng, 340), n;
    for (size_t i = 0; i < len; i++) word[i] = k & 1 ? (char)('a' + pml_rng_below(&rng, 3)) : "tokenshar"[pml_rng_below(&rng, 9)];
    CHECK(pml_bpe_steps(t, word, len, keep_last, steps) == PML_OK);
    CHECK(pml_encode(t, word, len, 0, &ids, &n) == PML_OK);
    wrong += n != (size_t)steps[0] || memcmp(ids, steps + 1, n * sizeof *ids) != 0;
    pml_free(ids);
  }
  CHECK_MSG(wrong == 0, "%d of 300 words", wrong);

  TEST("remembered words: a long text gives the ids of its parts");
  char *text = malloc(1 << 20);
  if (!text) exit(1);
  size_t len = 0, n, n_parts = 0;
  int32_t *ids, *part;
  while (len < 60000) {
    size_t from = pml_rng_below(&rng, sizeof corpus - 40), take = 1 + pml_rng_below(&rng, 39);
    text[len++] = ' ';
    memcpy(text + len, corpus + from, take);
    len += take;
  }
  CHECK(pml_encode(t, text, len, 0, &ids, &n) == PML_OK);
  for (size_t at = 0, word; at < len; at += word, n_parts += n > 0) {
    size_t m;
    word = pml_pre_token(PML_PRE_GPT2, text + at, len - at);
    CHECK(pml_encode(t, text + at, word, 0, &part, &m) == PML_OK);
    if (n_parts + m > n || memcmp(ids + n_parts, part, m * sizeof *ids)) wrong++;
    n_parts += m - 1;
    pml_free(part);
  }
  CHECK_MSG(wrong == 0 && n_parts == n, "%d words, %zu of %zu ids", wrong, n_parts, n);
  pml_free(ids);

  TEST("remembered words: zeros at the end are part of the word");
  memset(text, 0, 1 << 20);
  for (len = 20; len < 40000; len += 1 + pml_rng_below(&rng, 16)) text[len] = 'x';
  CHECK(round_trip(t, text, len, 0, NULL));

  TEST("a megabyte of one character");
  static const char one[] = {'a', ' ', '\n', '\xFF', '\'', '1'};
  for (size_t i = 0; i < sizeof one; i++) {
    memset(text, one[i], 1 << 20);
    CHECK(round_trip(t, text, 1 << 20, 0, &n));
    CHECK(round_trip(t, text, 1 << 20, PML_ENCODE_SPECIAL, NULL));
    if (i == 0) CHECK_MSG(n == 1 << 19, "%zu ids", n); /* "aa" was learned */
  }
  pml_tokenizer_free(t);

  TEST("training on a megabyte of one character, and on one word of random letters");
  memset(text, 'a', 1 << 20);
  t = train(text, 1 << 20, 300, PML_PRE_QWEN2);
  CHECK(pml_token_bytes(t, 256 + 18).len == (1 << 19));
  CHECK(round_trip(t, text, (1 << 20) - 1, 0, &n) && n == 20 - 1 + 1);
  pml_tokenizer_free(t);
  for (size_t i = 0; i < 200000; i++) text[i] = (char)('a' + pml_rng_below(&rng, 26));
  t = train(text, 200000, 700, PML_PRE_QWEN2);
  CHECK(round_trip(t, text, 200000, 0, NULL));
  pml_tokenizer_free(t);
  free(text);
}

/* ── The peer's vocabulary ──────────────────────────────────────────────────── */

static char *read_data(const char *name, size_t *size) {
  char path[1024];
  const char *shared = getenv("PRODML_SHARED"), *slash = strrchr(__FILE__, '/');
  if (shared) snprintf(path, sizeof path, "%s/data/%s", shared, name);
  else
    snprintf(path, sizeof path, "%.*s/../../shared/data/%s", slash ? (int)(slash - __FILE__) : 1,
             slash ? __FILE__ : ".", name);
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  fseek(f, 0, SEEK_END);
  *size = (size_t)ftell(f);
  rewind(f);
  char *data = malloc(*size + 1);
  if (!data || fread(data, 1, *size, f) != *size) exit(1);
  data[*size] = 0;
  fclose(f);
  return data;
}

/* Finds an array in a GGUF file by its key: returns what follows the count. */
static const char *gguf_array(const char *data, size_t size, const char *key, uint64_t *n) {
  size_t len = strlen(key);
  for (size_t i = 0; i + len + 16 < size; i++)
    if (data[i] == key[0] && !memcmp(data + i, key, len)) {
      memcpy(n, data + i + len + 8, 8);
      return data + i + len + 16;
    }
  return NULL;
}

static pml_str *gguf_strings(const char *p, uint64_t n) {
  pml_str *out = malloc(n * sizeof *out);
  if (!out) exit(1);
  for (uint64_t i = 0; i < n; i++) {
    uint64_t len;
    memcpy(&len, p, 8);
    out[i] = (pml_str){p + 8, len};
    p += 8 + len;
  }
  return out;
}

static void peer_case(const pml_tokenizer *t, const char *text, size_t len, const char *line) {
  int32_t *ids;
  size_t n, at = 0;
  char *end;
  CHECK(pml_encode(t, text, len, 0, &ids, &n) == PML_OK);
  bool same = true;
  for (const char *p = line;; p = end) {
    while (*p == ' ') p++;
    if (*p == '\n' || !*p) break;
    long want = strtol(p, &end, 10);
    if (at >= n || ids[at] != want) same = false;
    at++;
  }
  CHECK_MSG(same && at == n, "'%.*s': %zu ids, wanted %zu", (int)len, text, n, at);
  CHECK(round_trip(t, text, len, 0, NULL));
  pml_free(ids);
}

static void test_peer(void) {
  TEST("the peer's GPT-2 cases");
  size_t size, inp_size, out_size;
  char *data = read_data("ggml-vocab-gpt-2.gguf", &size), *inp = read_data("ggml-vocab-gpt-2.gguf.inp", &inp_size),
       *out = read_data("ggml-vocab-gpt-2.gguf.out", &out_size);
  if (!data || !inp || !out) {
    SKIP("ggml-vocab-gpt-2.gguf is not there: set PRODML_SHARED");
    return;
  }
  uint64_t n_tokens = 0, n_types = 0, n_merges = 0;
  const char *tokens = gguf_array(data, size, "tokenizer.ggml.tokens", &n_tokens),
             *types = gguf_array(data, size, "tokenizer.ggml.token_type", &n_types),
             *merges = gguf_array(data, size, "tokenizer.ggml.merges", &n_merges);
  CHECK(n_tokens == 50257 && n_types == n_tokens && n_merges == 50000);
  if (!tokens || !types || !merges || n_tokens != n_types) return;
  int32_t *type = malloc(n_types * sizeof *type);
  if (!type) exit(1);
  memcpy(type, types, n_types * sizeof *type);
  pml_str *token = gguf_strings(tokens, n_tokens), *merge = gguf_strings(merges, n_merges);
  pml_tokenizer_spec spec = {.pre = PML_PRE_GPT2, .n_vocab = (int)n_tokens, .tokens = token, .types = type,
                             .n_merges = n_merges, .merges = merge, .bos = 50256, .eos = 50256, .eot = -1, .pad = -1};
  pml_tokenizer *t;
  CHECK_MSG(pml_tokenizer_create(&t, &spec) == PML_OK, "%s", pml_error());
  free(token);
  free(merge);
  free(type);
  free(data);
  if (!t) return;
  const char *sep = "\n__ggml_vocab_test__\n", *text = inp, *line = out;
  int cases = 0;
  for (; text && line; cases++) {
    const char *end = strstr(text, sep);
    peer_case(t, text, end ? (size_t)(end - text) : strlen(text), line);
    line = strchr(line, '\n');
    if (line) line++;
    text = end ? end + strlen(sep) : NULL;
  }
  CHECK_MSG(cases >= 40, "only %d cases", cases);
  check_ids(t, "a<|endoftext|>", 14, PML_ENCODE_SPECIAL, "64 50256");
  check_ids(t, "a", 1, PML_ENCODE_BOS, "50256 64");
  CHECK(round_trip(t, "\xF0\x9F\x98\x80 \xFF", 6, 0, NULL));
  CHECK(pml_token_find(t, " the") == 262);
  pml_tokenizer_free(t);
  free(inp);
  free(out);
}

/* ── Seeds for the fuzz target: the first byte is its mode ──────────────────── */

static int write_corpus(const char *dir) {
  static const struct {
    const char *name, *text;
  } seeds[] = {
      {"english", "0I've told him: they'll see 42 tokens, don't they?\n\n  end  "},
      {"special", "0a<|end|>b<|e<|end|"},
      {"unicode", "1caf\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD\xF0\x9F\x98\x80 \xC2\xB2 'S'\xC5\xBF\r\n\xE3\x80\x80\xFF\xC3"},
      {"long", "0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
      {"spaces", "1 \n \r\n\t x\n\n\n   y\xC2\xA0z"},
      {"vocabulary", "2T1ab\nT1abc\nT3<|x|>\nT4tool\nT5[unused0]\na b\nab c\nabc abcab tool <|x|>"},
      {"bad_merge", "2T3ab\na b\n"},
      {"spm", "4T1dth\nT1che\nT1bthe\nT1a\xE2\x96\x81the\nT1z\xE2\x96\x81\nT1zt\nT1zh\nT1ze\nT4axx\nT3a<s>\nthe  the thxxe <s> \xE2\x96\x81\xFF\xE2\x82\xAC"},
      {"spm-extra", "4T1aqz\nT1bqzt\nT1ca\xE2\x96\x81" "b\nT1da\xE2\x96\x81\nqzqzt zq a b a a"},
      {"unigram", "5T1a\xE2\x96\x81\nT1za\nT1zb\nT1oab\nT1nbc\nT4abcb\nabc  ab cab \xE2\x82\xAC"},
      {"wordpiece", "6T1aun\nT1a##aff\nT1a##able\nT1afuhrer\nT3a[SEP]\nUnaffable F\xC3\xBChrer [SEP] \xED\x95\x9C\xE4\xBD\xA0"},
      {"wordpiece-marks", "6T1a\xE2\x96\x81un\nT1aaff\nT1aable\nunaffable, un"},
      {"rule-falcon", "7\x04It's 1234567 $%^ \xE4\xBD\xA0\xE5\xA5\xBD \n\n x"},
      {"rule-deepseek", "7\x06" "abc 123\r\n \xE4\xBD\xA0 ... \xD0\x9F\xD1\x80  "},
      {"rule-chameleon", "7\x0E<sentinel:12>IMGIMGABZ    x\t  y 12!"},
      {"rule-gpt4o", "7\x0C" "camelCase \xC3\x89" "COLE's HTTPServer/\n 12345"},
      {"train", "3low low low lower newest newest widest <|end|> abc ab bc abcabc"},
  };
  for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, seeds[i].name);
    if (pml_file_write(path, seeds[i].text, strlen(seeds[i].text)) != PML_OK) {
      fprintf(stderr, "%s\n", pml_error());
      return 1;
    }
  }
  return 0;
}

/* ── The list of words ──────────────────────────────────────────────────────── */

static void test_wordlist(void) {
  static const char *const text[] = {"the cat and the dog", "and the bird the"};
  pml_str docs[] = {str_of(text[0]), str_of(text[1])};
  pml_wordlist *w, *two;
  int32_t *ids;
  size_t n;
  pml_buf out = {0};
  TEST("the most frequent words first, ties by their bytes");
  CHECK(pml_wordlist_train(&w, PML_PRE_GPT2, docs, 2, 100) == PML_OK);
  const char *want[] = {"[UNK]", " the", " and", " bird", " cat", " dog", "and", "the"};
  uint64_t counts[] = {0, 3, 1, 1, 1, 1, 1, 1};
  CHECK(w->n_words == 7);
  for (int i = 0; i <= w->n_words && i < 8; i++) {
    CHECK_MSG(w->words[i].len == strlen(want[i]) && !memcmp(w->words[i].ptr, want[i], w->words[i].len), "%d", i);
    CHECK(w->counts[i] == counts[i]);
  }
  TEST("what is not in the list becomes [UNK]");
  CHECK(pml_wordlist_encode(w, "the doge and", 12, &ids, &n) == PML_OK);
  CHECK(n == 3 && ids[0] == 7 && ids[1] == 0 && ids[2] == 2);
  CHECK(pml_wordlist_decode(w, ids, n, &out) == PML_OK && !strcmp(out.data, "the[UNK] and"));
  pml_free(ids);
  CHECK(pml_wordlist_encode(w, "[UNK]", 5, &ids, &n) == PML_OK && n == 3 && !ids[0] && !ids[1] && !ids[2]);
  pml_free(ids);
  CHECK(pml_wordlist_encode(w, "", 0, &ids, &n) == PML_OK && n == 0 && ids);
  pml_free(ids);
  TEST("a shorter list is the beginning of the longer one");
  CHECK(pml_wordlist_train(&two, PML_PRE_GPT2, docs, 2, 2) == PML_OK);
  CHECK(two->n_words == 2 && two->counts[0] == 5);
  CHECK(pml_wordlist_encode(two, " cat and", 8, &ids, &n) == PML_OK && n == 2 && ids[0] == 0 && ids[1] == 2);
  pml_free(ids);
  TEST("refused");
  CHECK(pml_wordlist_decode(two, (int32_t[]){3}, 1, &out) == PML_E_USAGE);
  CHECK(pml_wordlist_decode(two, (int32_t[]){-1}, 1, &out) == PML_E_USAGE);
  pml_wordlist_free(two);
  CHECK(pml_wordlist_train(&two, PML_PRE_GPT2, docs, 2, 0) == PML_E_USAGE && !two);
  CHECK(pml_wordlist_train(&two, PML_PRE_GPT2, NULL, 0, 5) == PML_OK && two->n_words == 0);
  pml_wordlist_free(two);
  pml_wordlist_free(NULL);
  pml_wordlist_free(w);
  pml_buf_free(&out);
}

int main(int argc, char **argv) {
  if (argc == 3 && !strcmp(argv[1], "--corpus")) return write_corpus(argv[2]);
  TEST("splitting into words");
  test_split();
  test_merge_order();
  test_special();
  test_refused();
  test_train();
  test_train_options();
  test_round_trip();
  test_wordlist();
  test_peer();
  return TEST_END();
}
