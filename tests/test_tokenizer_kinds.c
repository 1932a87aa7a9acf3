/* § 17 and § 18: SentencePiece BPE, Unigram and WordPiece on vocabularies small enough to
   work out by hand, and through a file and back. */
#include "prodml.h"
#include "test.h"
#include <unistd.h>

enum { MOST = 400 };

typedef struct {
  pml_tokenizer_spec spec;
  pml_str tokens[MOST];
  int32_t types[MOST];
  float scores[MOST];
  char bytes[256][8];
} vocab;

static int add(vocab *v, const char *text, int type, double score) {
  int i = v->spec.n_vocab++;
  v->tokens[i] = pml_str_of(text);
  v->types[i] = type;
  v->scores[i] = (float)score;
  return i;
}

static void start(vocab *v, pml_tokenizer_kind kind) {
  memset(v, 0, sizeof *v);
  v->spec = (pml_tokenizer_spec){.kind = kind, .tokens = v->tokens, .types = v->types, .scores = v->scores, .bos = -1,
                                 .eos = -1, .eot = -1, .pad = -1, .unk = 0};
}

/* <unk> 0, <s> 1, </s> 2, the bytes from 3 on, then from 259: ▁ t h e x ... */
static void start_spm(vocab *v) {
  start(v, PML_SPM);
  add(v, "<unk>", 2, 0);
  v->spec.bos = add(v, "<s>", 3, 0);
  v->spec.eos = add(v, "</s>", 3, 0);
  for (int b = 0; b < 256; b++) {
    snprintf(v->bytes[b], sizeof v->bytes[b], "<0x%02X>", (unsigned)b);
    add(v, v->bytes[b], 6, 0);
  }
  static const char *const chars[] = {"\xE2\x96\x81", "t", "h", "e", "x", "a", "b", "c", "<", "s", ">", "\xC3\xA9"};
  for (size_t i = 0; i < sizeof chars / sizeof chars[0]; i++) add(v, chars[i], 1, -100 - (double)i);
  v->spec.add_space_prefix = true;
}

static pml_tokenizer *make(const vocab *v) {
  pml_tokenizer *t = NULL;
  CHECK_MSG(pml_tokenizer_create(&t, &v->spec) == PML_OK, "%s", pml_error());
  return t;
}

/* The tokens of text as they stand in the vocabulary, with | between. */
static void check_pieces(const pml_tokenizer *t, const char *text, unsigned flags, const char *want) {
  char got[1024] = "";
  int32_t *ids;
  size_t n, at = 0;
  if (!t) return;
  CHECK(pml_encode(t, text, strlen(text), flags, &ids, &n) == PML_OK);
  for (size_t i = 0; i < n && at < 900; i++) {
    pml_str s = pml_tokenizer_spec_of(t)->tokens[ids[i]];
    at += (size_t)snprintf(got + at, sizeof got - at, "%s%.*s", i ? "|" : "", (int)s.len, s.ptr);
  }
  CHECK_MSG(!strcmp(got, want), "'%s': wanted %s, got %s", text, want, got);
  pml_free(ids);
}

static void check_back(const pml_tokenizer *t, const char *text, const char *want) {
  int32_t *ids;
  size_t n;
  pml_buf out = {0};
  if (!t) return;
  CHECK(pml_encode(t, text, strlen(text), 0, &ids, &n) == PML_OK && pml_decode(t, ids, n, 0, &out) == PML_OK);
  CHECK_MSG(out.len == strlen(want) && (!out.len || !memcmp(out.data, want, out.len)), "'%s' came back as '%.*s'", text, (int)out.len,
            out.data ? out.data : "");
  pml_free(ids);
  pml_buf_free(&out);
}

#define SP "\xE2\x96\x81"

static void test_spm(void) {
  TEST("SentencePiece: the best score first, then the leftmost");
  vocab v;
  start_spm(&v);
  add(&v, "th", 1, -1);
  add(&v, "he", 1, -2);
  add(&v, "the", 1, -3);
  add(&v, SP "the", 1, -4);
  add(&v, "ab", 1, -5);
  add(&v, "bc", 1, -5); /* ties with ab */
  add(&v, "ca", 1, -5);
  add(&v, SP SP, 1, -6);
  add(&v, "xx", 4, 0);
  pml_tokenizer *t = make(&v);
  check_pieces(t, "the", 0, SP "the");
  check_pieces(t, "thhe", 0, SP "|th|he");
  check_pieces(t, "abc", 0, SP "|ab|c");
  check_pieces(t, "bcabc", 0, SP "|bc|ab|c");
  check_pieces(t, "cab", 0, SP "|ca|b"); /* not the token with the lower id */
  check_pieces(t, "  the the", 0, SP SP "|" SP "the|" SP "the");
  check_pieces(t, "a\nb", 0, SP "|a|<0x0A>|b");
  check_pieces(t, "\xE2\x82\xAC", 0, SP "|<0xE2>|<0x82>|<0xAC>");
  check_pieces(t, "\xFF\xC3", 0, SP "|<0xFF>|<0xC3>");
  check_pieces(t, "\xC3\xA9", 0, SP "|\xC3\xA9");
  check_pieces(t, "", 0, "");
  check_pieces(t, " ", 0, SP SP);

  TEST("SentencePiece: special tokens");
  check_pieces(t, "the<s>the", 0, SP "the|<|s|>|the");
  check_pieces(t, "the<s>the", PML_ENCODE_SPECIAL, SP "the|<s>|" SP "the");
  check_pieces(t, "the", PML_ENCODE_BOS, "<s>|" SP "the");
  check_pieces(t, "<0x0A>", 0, SP "|<|<0x30>|x|<0x30>|<0x41>|>");
  check_pieces(t, "thexxthe", 0, SP "the|xx|" SP "the");

  TEST("SentencePiece: the text comes back");
  static const char *const texts[] = {"the", " the", "  the  the ", "", " ", "a\n\nb", "\xE2\x82\xAC\xF0\x9F\x98\x80 \xFF", "<s>",
                                      "thexxthe", "xx", " xx ", "a<0x0A>b"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) check_back(t, texts[i], texts[i]);
  check_back(t, "a" SP "b", "a b"); /* the stated exception */

  TEST("SentencePiece: decoding piece by piece");
  int32_t id = pml_token_find(t, " the");
  pml_buf out = {0};
  CHECK(id >= 0 && pml_str_eq(pml_token_bytes(t, id), " the"));
  CHECK(pml_decode(t, &id, 1, 0, &out) == PML_OK && pml_decode(t, &id, 1, PML_DECODE_GOES_ON, &out) == PML_OK);
  CHECK(out.len == 7 && !memcmp(out.data, "the the", 7));
  out.len = 0;
  static const int32_t cut[] = {3 + 0xE2, 3 + 0x82, 3 + 0xAC};
  for (int i = 0; i < 3; i++) CHECK(pml_decode(t, cut + i, 1, PML_DECODE_GOES_ON, &out) == PML_OK && out.len == (size_t)i + 1);
  CHECK(!memcmp(out.data, "\xE2\x82\xAC", 3));
  CHECK(pml_token_find(t, "\n") == 3 + 10 && pml_token_find(t, "<s>") == 1 && pml_token_find(t, "no") == -1);
  pml_buf_free(&out);
  pml_tokenizer_free(t);
}

static void test_spm_odd(void) {
  TEST("SentencePiece: characters that only occur inside of tokens");
  vocab v;
  start_spm(&v);
  add(&v, "qz", 1, -1);
  add(&v, "qzt", 1, -2);
  pml_tokenizer *t = make(&v);
  check_pieces(t, "qz", 0, SP "|qz");
  check_pieces(t, "qzt", 0, SP "|qzt");
  check_pieces(t, "zq", 0, SP "|<0x7A>|<0x71>");
  check_pieces(t, "qqzz", 0, SP "|<0x71>|qz|<0x7A>");
  check_back(t, "qqzztq", "qqzztq");
  pml_tokenizer_free(t);

  TEST("SentencePiece: a token across a space");
  start_spm(&v);
  add(&v, "a" SP, 1, -1);
  add(&v, "a" SP "b", 1, -2);
  t = make(&v);
  check_pieces(t, "a b", 0, SP "|a" SP "b");
  check_pieces(t, "a a", 0, SP "|a" SP "|a");
  pml_tokenizer_free(t);

  TEST("SentencePiece: no bytes, one unknown token a character");
  start(&v, PML_SPM);
  add(&v, "<unk>", 2, 0);
  add(&v, "a", 1, -1);
  add(&v, SP, 1, -1);
  t = make(&v);
  check_pieces(t, "a\xE2\x82\xAC" "a b", 0, "a|<unk>|a|" SP "|<unk>");
  pml_tokenizer_free(t);
  v.spec.unk = -1;
  CHECK(pml_tokenizer_create(&t, &v.spec) == PML_E_FORMAT && strstr(pml_error(), "<0x00>"));
  v.spec.unk = 3;
  CHECK(pml_tokenizer_create(&t, &v.spec) == PML_E_USAGE && strstr(pml_error(), "unknown token"));
  v.spec.unk = 0, v.spec.scores = NULL;
  CHECK(pml_tokenizer_create(&t, &v.spec) == PML_E_FORMAT && strstr(pml_error(), "scores"));
  v.spec.scores = v.scores, v.scores[1] = NAN;
  CHECK(pml_tokenizer_create(&t, &v.spec) == PML_E_FORMAT && strstr(pml_error(), "token 1 has the score"));
}

/* A word of a megabyte: the queue and the search agree, quickly. */
static void test_spm_long(void) {
  TEST("SentencePiece: a long word");
  vocab v;
  start_spm(&v);
  add(&v, "ab", 1, -3);
  add(&v, "abab", 1, -4);
  add(&v, "ba", 1, -3.5);
  add(&v, "bab", 1, -3);
  pml_tokenizer *t = make(&v);
  enum { SIZE = 1 << 20 };
  char *text = malloc(SIZE);
  if (!text || !t) exit(1);
  uint64_t seed = 7;
  for (int i = 0; i < SIZE; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    text[i] = seed >> 40 & 1 ? 'a' : 'b';
  }
  for (size_t len = 50; len < 90; len++) { /* both sides of the switch from search to queue */
    int32_t *whole, *parts;
    size_t n, m;
    CHECK(pml_encode(t, text, len, 0, &whole, &n) == PML_OK);
    pml_buf out = {0};
    CHECK(pml_decode(t, whole, n, 0, &out) == PML_OK && out.len == len && !memcmp(out.data, text, len));
    pml_buf_free(&out);
    text[len] = '\n'; /* a character that stands alone does not change the word before it */
    CHECK(pml_encode(t, text, len + 1, 0, &parts, &m) == PML_OK && m == n + 1 && !memcmp(parts, whole, n * sizeof *whole));
    text[len] = 'a';
    pml_free(whole);
    pml_free(parts);
  }
  int32_t *ids;
  size_t n;
  double t0 = pml_time();
  CHECK(pml_encode(t, text, SIZE, 0, &ids, &n) == PML_OK && n < SIZE);
  CHECK_MSG(pml_time() - t0 < 20, "%.1f s", pml_time() - t0);
  pml_free(ids);
  free(text);
  pml_tokenizer_free(t);
}

static void keep_steps(void *user, const int32_t *ids, size_t n, int32_t rank) {
  char *text = (char *)user;
  (void)ids;
  snprintf(text + strlen(text), 60, "%zu:%d ", n, (int)rank);
}

static void test_steps(void) {
  TEST("SentencePiece: merge steps");
  vocab v;
  start_spm(&v);
  add(&v, "th", 1, -1);
  add(&v, "the", 1, -3);
  pml_tokenizer *t = make(&v);
  char steps[256] = "";
  CHECK(pml_bpe_steps(t, "the", 3, keep_steps, steps) == PML_OK);
  CHECK_MSG(!strcmp(steps, "3:-1 2:0 1:1 "), "%s", steps);
  pml_tokenizer_free(t);
}

static void start_unigram(vocab *v) {
  start(v, PML_UNIGRAM);
  v->spec.pad = add(v, "<pad>", 3, 0);
  v->spec.eos = add(v, "</s>", 3, 0);
  v->spec.unk = add(v, "<unk>", 2, 0);
  v->spec.add_space_prefix = true;
  add(v, SP, 1, -4);
  add(v, "a", 1, -5);
  add(v, "b", 1, -5);
  add(v, "c", 1, -5);
}

static void test_unigram(void) {
  TEST("Unigram: the highest sum wins");
  vocab v;
  start_unigram(&v);
  add(&v, "ab", 1, -7);
  add(&v, "bc", 1, -6);
  add(&v, SP "a", 1, -8);
  add(&v, "abc", 1, -12);
  pml_tokenizer *t = make(&v);
  /* ▁|a|bc: -15, ▁|ab|c: -16, ▁|abc: -16, ▁a|bc: -14 */
  check_pieces(t, "abc", 0, SP "a|bc");
  check_pieces(t, "abc abc", 0, SP "a|bc|" SP "a|bc");
  check_pieces(t, "cab", 0, SP "|c|ab");
  check_pieces(t, "", 0, "");
  check_pieces(t, "  a", 0, SP "|" SP "|" SP "a"); /* the prefix goes in front of the first letter */

  TEST("Unigram: unknown characters");
  check_pieces(t, "axxa", 0, SP "a|<unk>|a");
  check_pieces(t, "\xE2\x82\xAC\xFF", 0, SP "|<unk>");
  check_pieces(t, "a\xE2\x82\xAC b", 0, SP "a|<unk>|" SP "|b");
  pml_tokenizer_free(t);
  add(&v, "zz", 1, -20); /* rare, and yet better than z and z, which are unknown */
  t = make(&v);
  check_pieces(t, "zza", 0, SP "|zz|a");
  pml_tokenizer_free(t);

  TEST("Unigram: several spaces become one");
  v.spec.squeeze_spaces = true;
  t = make(&v);
  check_pieces(t, "  a   b ", 0, SP "a|" SP "|b");
  check_pieces(t, "   ", 0, "");
  check_back(t, "  a   b ", "a b");
  int32_t *ids;
  CHECK(pml_bpe_steps(t, "a", 1, keep_steps, NULL) == PML_E_USAGE);
  size_t n;
  enum { SIZE = 1 << 20 };
  char *text = malloc(SIZE);
  if (!text) exit(1);
  memset(text, 'b', SIZE);
  double t0 = pml_time();
  CHECK(pml_encode(t, text, SIZE, 0, &ids, &n) == PML_OK && n == SIZE + 1);
  CHECK_MSG(pml_time() - t0 < 20, "%.1f s", pml_time() - t0);
  pml_free(ids);
  free(text);
  pml_tokenizer_free(t);
}

/* A double array with two entries under the root: "A" becomes "b", "AB" becomes "c a". */
static size_t small_map(char *out) {
  enum { BASE = 256, SECOND = 1024, THIRD = 1280 };
  static uint32_t unit[2048];
  memset(unit, 0, sizeof unit);
  unit[0] = (uint32_t)BASE << 10;
  uint32_t a = BASE ^ 'A';
  unit[a] = 'A' | 256 | (uint32_t)((a ^ SECOND) << 10); /* a leaf: its value stands at a ^ base = SECOND */
  unit[SECOND] = 0x80000000u;                          /* the text at 0 */
  unit[SECOND ^ 'B'] = 'B' | 256 | (uint32_t)((SECOND ^ 'B' ^ THIRD) << 10);
  unit[THIRD] = 0x80000002u; /* the text at 2 */
  uint32_t bytes = sizeof unit;
  memcpy(out, &bytes, 4);
  memcpy(out + 4, unit, sizeof unit);
  memcpy(out + 4 + sizeof unit, "b\0c a\0", 6);
  return 4 + sizeof unit + 6;
}

static void test_charsmap(void) {
  TEST("Unigram: the table of replacements");
  static char map[9000];
  vocab v;
  start_unigram(&v);
  v.spec.charsmap = (pml_str){map, small_map(map)};
  pml_tokenizer *t = make(&v);
  check_pieces(t, "A", 0, SP "|b");
  check_pieces(t, "AB", 0, SP "|c|" SP "|a");
  check_pieces(t, "aAA", 0, SP "|a|b|b");
  check_pieces(t, "B", 0, SP "|<unk>");
  pml_tokenizer_free(t);

  TEST("Unigram: a damaged table");
  uint32_t wrong[] = {3, 1u << 31, 0xFFFFFFFF, 8193, 8192 + 6};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    memcpy(map, &wrong[i], 4);
    CHECK_MSG(pml_tokenizer_create(&t, &v.spec) == PML_E_FORMAT && strstr(pml_error(), "damaged") && !t, "case %zu", i);
  }
  small_map(map);
  for (size_t len = 1; len < 8; len++) {
    v.spec.charsmap.len = len;
    CHECK(pml_tokenizer_create(&t, &v.spec) == PML_E_FORMAT);
  }
  v.spec.charsmap.len = small_map(map);
  map[v.spec.charsmap.len - 1] = 'x'; /* the last text does not end */
  CHECK(pml_tokenizer_create(&t, &v.spec) == PML_E_FORMAT);
  for (int i = 0; i < 3000; i++) { /* any damage inside is survived */
    small_map(map);
    map[4 + i % 8192] = (char)(i * 7 + 255);
    map[4 + (i * 31) % 8192] ^= (char)0xFF;
    t = NULL;
    if (pml_tokenizer_create(&t, &v.spec) == PML_OK) {
      int32_t *ids;
      size_t n;
      CHECK(pml_encode(t, "ABAAB a AB\xFF", 11, 0, &ids, &n) == PML_OK);
      pml_free(ids);
    }
    pml_tokenizer_free(t);
  }
}

static void start_bert(vocab *v, bool marked) {
  static const char *const words[] = {"fuhrer", "hello", "un", "a", ",", "!", "\xE4\xBD\xA0", "ca", "1"};
  static const char *const inside[] = {"able", "aff", "fe", "2", "s"};
  static char text[16][16];
  start(v, PML_WORDPIECE);
  v->spec.scores = NULL;
  v->spec.pad = add(v, "[PAD]", 3, 0);
  v->spec.unk = add(v, "[UNK]", 3, 0);
  v->spec.bos = add(v, "[CLS]", 3, 0);
  v->spec.eos = add(v, "[SEP]", 3, 0);
  for (int i = 0; i < 9; i++) {
    snprintf(text[i], sizeof text[i], "%s%s", marked ? SP : "", words[i]);
    add(v, text[i], 1, 0);
  }
  for (int i = 0; i < 5; i++) {
    snprintf(text[9 + i], sizeof text[i], "%s%s", marked ? "" : "##", inside[i]);
    add(v, text[9 + i], 1, 0);
  }
}

static void test_wordpiece(void) {
  TEST("WordPiece with ##");
  vocab v;
  start_bert(&v, false);
  pml_tokenizer *t = make(&v);
  check_pieces(t, "unaffable", 0, "un|##aff|##able");
  check_pieces(t, "Hello, hello!", 0, "hello|,|hello|!");
  check_pieces(t, "F\xC3\xBChrer FU\xCC\x88HRER", 0, "fuhrer|fuhrer");
  check_pieces(t, "\xE4\xBD\xA0" "a\xE4\xBD\xA0", 0, "\xE4\xBD\xA0|a|\xE4\xBD\xA0");
  check_pieces(t, "unx a", 0, "[UNK]|a"); /* the part that was found is given up, too */
  check_pieces(t, "\t a\x01" "\xEF\xBF\xBD\xFF\n ", 0, "a");
  check_pieces(t, "caf\xC3\xA9 12", 0, "ca|##fe|1|##2");
  check_pieces(t, "able", 0, "[UNK]");
  check_pieces(t, "[SEP]", 0, "[UNK]|[UNK]|[UNK]");
  check_pieces(t, "a[SEP]", PML_ENCODE_SPECIAL | PML_ENCODE_BOS, "[CLS]|a|[SEP]");
  check_pieces(t, "", 0, "");
  check_back(t, "Unaffable, hello", "unaffable , hello");
  CHECK(pml_token_find(t, " hello") == 5 && pml_token_find(t, "able") == 13 && pml_token_find(t, "hello") == -1);
  pml_tokenizer_free(t);

  TEST("WordPiece with U+2581, as GGUF stores it");
  start_bert(&v, true);
  t = make(&v);
  check_pieces(t, "unaffable", 0, SP "un|aff|able");
  check_pieces(t, "Hello, hello!", 0, SP "hello|" SP ",|" SP "hello|" SP "!");
  check_pieces(t, "unx a", 0, "[UNK]|" SP "a");
  check_back(t, "Unaffable, hello", "unaffable , hello");
  CHECK(pml_token_find(t, " hello") == 5 && pml_token_find(t, "able") == 13);
  pml_tokenizer_free(t);

  TEST("WordPiece: capitals and accents kept");
  v.spec.keep_case = v.spec.keep_accents = true;
  t = make(&v);
  check_pieces(t, "hello Hello caf\xC3\xA9", 0, SP "hello|[UNK]|[UNK]");
  pml_tokenizer_free(t);
}

static void test_phi3(void) {
  TEST("white space after a special token");
  vocab v;
  start_spm(&v);
  add(&v, "<|user|>", 3, 0);
  v.spec.strip_after = true;
  pml_tokenizer *t = make(&v);
  check_pieces(t, "<|user|>\n\t the", PML_ENCODE_SPECIAL, "<|user|>|" SP "|t|h|e");
  check_pieces(t, "<s> the", PML_ENCODE_SPECIAL, "<s>|" SP "|" SP "|t|h|e");
  pml_tokenizer_free(t);
}

/* Through a file and back: the same ids. */
static void check_file(vocab *v, const char *text) {
  pml_tokenizer *t = make(v), *u = NULL;
  pml_gguf_writer *w = NULL;
  pml_gguf *g = NULL;
  int32_t *a = NULL, *b = NULL;
  size_t n = 0, m = 1;
  char path[64];
  snprintf(path, sizeof path, "/tmp/prodml-kinds-%d.gguf", (int)getpid());
  CHECK(pml_gguf_writer_create(&w) == PML_OK);
  if (!t || !w) return;
  pml_gguf_add_tokenizer(w, t);
  CHECK_MSG(pml_gguf_writer_finish(w, path) == PML_OK, "%s", pml_error());
  CHECK_MSG(pml_gguf_open(&g, path) == PML_OK && pml_gguf_tokenizer(g, &u) == PML_OK, "%s", pml_error());
  if (u) {
    const pml_tokenizer_spec *s = pml_tokenizer_spec_of(t), *z = pml_tokenizer_spec_of(u);
    CHECK(s->kind == z->kind && s->n_vocab == z->n_vocab && s->bos == z->bos && s->eos == z->eos && s->unk == z->unk);
    CHECK(s->add_space_prefix == z->add_space_prefix && s->squeeze_spaces == z->squeeze_spaces);
    CHECK(s->keep_case == z->keep_case && s->keep_accents == z->keep_accents && pml_str_eq(s->charsmap, "") == pml_str_eq(z->charsmap, ""));
    CHECK(pml_encode(t, text, strlen(text), 0, &a, &n) == PML_OK && pml_encode(u, text, strlen(text), 0, &b, &m) == PML_OK);
    CHECK(n == m && n > 0 && !memcmp(a, b, n * sizeof *a));
  }
  remove(path);
  pml_free(a);
  pml_free(b);
  pml_gguf_close(g);
  pml_tokenizer_free(t);
  pml_tokenizer_free(u);
}

static void test_files(void) {
  TEST("written and read");
  static char map[9000];
  vocab v;
  start_spm(&v);
  check_file(&v, "the text \xE2\x82\xAC");
  start_unigram(&v);
  v.spec.charsmap = (pml_str){map, small_map(map)};
  v.spec.squeeze_spaces = true;
  check_file(&v, "AB  abc \xE2\x82\xAC");
  start_bert(&v, true);
  v.spec.keep_case = true;
  v.spec.keep_accents = true;
  check_file(&v, "hello, Unaffable");
}

int main(void) {
  test_spm();
  test_spm_odd();
  test_spm_long();
  test_steps();
  test_unigram();
  test_charsmap();
  test_wordpiece();
  test_phi3();
  test_files();
  CHECK(pml_memory_in_use() == 0);
  return TEST_END();
}
