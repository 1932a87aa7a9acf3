/* Lesson 04 · Byte-pair encoding against a list of words                    § 16 § 17

     cc -O2 lessons/04_bpe_vs_word.c -o a -lm -pthread && ./a

   Trains two tokenizers of the same size on the questions and answers that this course
   teaches, then gives both the held-out questions, which neither has seen.
   You will see an unknown word merged step by step, a question as two rows of tokens,
   what each tokenizer costs and loses at every size, and that training is repeatable.
   Change: --vocab 500 (which of the two suffers more?), --text "your own",
   --error (the word "doge", unknown to both), --error=covfefe. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { SIZES = 11, CHIPS = 64 };
static struct {
  int vocab;
  const char *error, *text;
  pml_qa *qa;
  pml_buf taught, held;
  pml_tokenizer *bpe;
  pml_wordlist *list, *all; /* the vocab - 1 most frequent words; every taught word */
  size_t words, all_unknown;
  double size[SIZES], unknown[SIZES], per_word[SIZES];
  char word[24];            /* merged step by step */
  pml_str question;         /* shown as two rows */
} r = {.vocab = 1280};

/* @compare */
/* How many tokens BPE needs for the held-out text, and how many of its words a list of v - 1 words lacks. */
static pml_status compare(const pml_tokenizer *bpe, const pml_wordlist *list, int v, size_t *tokens, size_t *unknown) {
  int32_t *ids, *words = NULL;
  pml_status st = pml_encode(bpe, r.held.data, r.held.len, 0, &ids, tokens);
  if (st == PML_OK) st = pml_wordlist_encode(list, r.held.data, r.held.len, &words, &r.words);
  *unknown = 0;
  for (size_t i = 0; st == PML_OK && i < r.words; i++) *unknown += words[i] == 0 || words[i] >= v;
  pml_free(ids);
  pml_free(words);
  return st;
}
/* @end */

/* A text cut by one tokenizer, and whether decode gives it back. */
typedef struct { int n, lost; bool same; pml_str chip[CHIPS]; pml_rgb colour[CHIPS]; char back[256]; } row;
static row through(bool bpe, pml_str x) {
  row c = {0};
  int32_t *ids;
  size_t n = 0;
  pml_buf y = {0}, seen = {0};
  pml_status st = bpe ? pml_encode(r.bpe, x.ptr, x.len, 0, &ids, &n) : pml_wordlist_encode(r.list, x.ptr, x.len, &ids, &n);
  if (st == PML_OK) st = bpe ? pml_decode(r.bpe, ids, n, 0, &y) : pml_wordlist_decode(r.list, ids, n, &y);
  c.same = st == PML_OK && y.len == x.len && (x.len == 0 || !memcmp(y.data, x.ptr, x.len));
  pml_text_visible(&seen, y.len ? y.data : "", y.len);
  snprintf(c.back, sizeof c.back, "%s", seen.data ? seen.data : "");
  for (size_t i = 0; i < n && c.n < CHIPS; i++, c.n++) {
    c.chip[c.n] = bpe ? pml_token_bytes(r.bpe, ids[i]) : r.list->words[ids[i]];
    c.colour[c.n] = bpe ? PML_GREEN : ids[i] ? PML_PURPLE : PML_RED;
    c.lost += !bpe && ids[i] == 0;
  }
  pml_free(ids), pml_buf_free(&y), pml_buf_free(&seen);
  return c;
}

static void show_both(pml_ctx *ctx, pml_str x) {
  row list = through(false, x), bpe = through(true, x);
  pml_show_tokens(ctx, "list", list.chip, (size_t)list.n);
  pml_show_tokens(ctx, "BPE ", bpe.chip, (size_t)bpe.n);
  if (list.lost) pml_expect(ctx, !list.same, "caught: the list gives back \"%s\", %d of %d words are lost", list.back, list.lost, list.n);
  else pml_expect(ctx, list.same, "the list knows all of these words: try a rarer one");
  pml_expect(ctx, bpe.same, "BPE gives back all %zu bytes, from %d tokens", x.len, bpe.n);
}

static void see_step(void *ctx, const int32_t *ids, size_t n, int32_t rank) {
  pml_str chip[CHIPS];
  char label[24] = "the bytes";
  for (size_t i = 0; i < n && i < CHIPS; i++) chip[i] = pml_token_bytes(r.bpe, ids[i]);
  if (rank >= 0) snprintf(label, sizeof label, "rank %4d", rank);
  pml_show_tokens(ctx, label, chip, n < CHIPS ? n : CHIPS);
}

/* The longest lost word that BPE writes with two or three tokens, and the question that loses most. */
static void choose(void) {
  int most = -1;
  for (int i = 0; i < r.qa->n_topics; i++)
    for (int k = 0; k < r.qa->topics[i].n_held; k++) {
      pml_str x = pml_str_of(r.qa->topics[i].held[k]);
      row c = through(false, x);
      if (c.n >= 8 && c.n <= 12 && c.lost > most) most = c.lost, r.question = x;
      for (size_t at = 0, len; at < x.len; at += len) {
        pml_str word = {x.ptr + at, len = pml_pre_token(PML_PRE_QWEN2, x.ptr + at, x.len - at)};
        if (len <= strlen(r.word) || len > 13 || word.ptr[0] != ' ' || !through(false, word).lost) continue;
        int tokens = through(true, word).n;
        if (tokens == 2 || tokens == 3) snprintf(r.word, sizeof r.word, "%.*s", (int)len, word.ptr);
      }
    }
}

static pml_status train(pml_tokenizer **out, const pml_str *docs, size_t n, int vocab) {
  return pml_bpe_train(out, docs, n, &(pml_bpe_options){.n_vocab = vocab, .pre = PML_PRE_QWEN2});
}

static pml_status sweep(pml_str doc) {
  static const int share[SIZES] = {0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32}; /* of the merges, in 32nds */
  size_t tokens, unknown;
  pml_status st = pml_wordlist_train(&r.list, PML_PRE_QWEN2, &doc, 1, r.vocab - 1);
  if (st == PML_OK) st = pml_wordlist_train(&r.all, PML_PRE_QWEN2, &doc, 1, INT_MAX);
  for (int i = 0; i < SIZES && st == PML_OK; i++) {
    int v = 256 + (r.vocab - 256) * share[i] / 32;
    pml_tokenizer_free(r.bpe);
    if ((st = train(&r.bpe, &doc, 1, v)) == PML_OK) st = compare(r.bpe, r.list, v, &tokens, &unknown);
    r.size[i] = v, r.unknown[i] = 100.0 * (double)unknown / (double)r.words, r.per_word[i] = (double)tokens / (double)r.words;
  }
  return st == PML_OK ? compare(r.bpe, r.all, INT_MAX, &tokens, &r.all_unknown) : st;
}

/* Random bytes, and text that is hard for tokenizers. */
static void round_trips(pml_ctx *ctx) {
  static const char *const hard[] = {"", "naïve Straße", "東京は雨", "😀👩‍🔬", "مرحبا", "x\r\n\t\ty\n", "\xC3\x28\xFF", "<|im_end|>"};
  enum { N = 1000, ALL = N + sizeof hard / sizeof hard[0] };
  pml_rng rng = pml_rng_seed(ctx->seed);
  int same[2] = {0, 0};
  for (int i = 0; i < ALL; i++) {
    char bytes[48];
    pml_str x = {bytes, pml_rng_below(&rng, 48)};
    for (size_t k = 0; k < x.len; k++) bytes[k] = (char)pml_rng_below(&rng, 256);
    if (i >= N) x = pml_str_of(hard[i - N]);
    for (int bpe = 0; bpe < 2; bpe++) same[bpe] += through(bpe, x).same;
  }
  pml_expect(ctx, same[1] == ALL, "decode(encode(x)) = x for all %d texts of random bytes, scripts and emoji (the list: %d)", same[1], same[0]);
}

/* The halves of the text swapped, and a text whose first merge is a tie. */
static pml_status repeat(pml_ctx *ctx, pml_str doc) {
  static const char *const words[] = {"low", "low", "newest", "newest", "widest", "newest", "widest"};
  pml_str tie[7], first, half[2] = {{doc.ptr + doc.len / 2, doc.len - doc.len / 2}, {doc.ptr, doc.len / 2}};
  while (half[0].ptr[-1] != '\n') half[0].ptr++, half[0].len--, half[1].len++;
  pml_tokenizer *again, *tied = NULL;
  pml_status st = train(&again, half, 2, r.vocab);
  for (int i = 0; i < 7; i++) tie[i] = pml_str_of(words[i]);
  if (st == PML_OK) st = train(&tied, tie, 7, 257);
  if (st == PML_OK) {
    size_t n = pml_tokenizer_spec_of(r.bpe)->n_merges;
    first = pml_tokenizer_spec_of(tied)->merges[0];
    pml_expect(ctx, pml_merges_shared(r.bpe, again) == n, "trained again with the halves of the text swapped: the same %zu merges", n);
    pml_expect(ctx, first.len == 3 && !memcmp(first.ptr, "e s", 3), "a tie, e+s and s+t both 5 times: the smaller pair of ids wins, \"%.*s\"", (int)first.len, first.ptr);
  }
  pml_tokenizer_free(again), pml_tokenizer_free(tied);
  return st;
}

static pml_status run(pml_ctx *ctx) {
  enum { LAST = SIZES - 1 };
  if (r.vocab < 288 || r.vocab > 8192) return pml_fail(PML_E_USAGE, "--vocab %d: give 288 to 8192", r.vocab);
  pml_status st = pml_lesson_questions(ctx, &r.qa);
  if (st != PML_OK) return st;
  pml_qa_text(r.qa, false, &r.taught);
  pml_qa_text(r.qa, true, &r.held);
  pml_str doc = {r.taught.data, r.taught.len};
  if ((st = sweep(doc)) != PML_OK) return st;
  choose();
  pml_heading(ctx, "An unknown word, \"%s\", merged step by step", r.word + 1);
  if ((st = pml_bpe_steps(r.bpe, r.word, strlen(r.word), see_step, ctx)) != PML_OK) return st;
  pml_heading(ctx, "A held-out question in both tokenizers");
  show_both(ctx, r.question);
  pml_heading(ctx, "The same two at every size: %zu bytes taught, %zu words held out", r.taught.len, r.words);
  const char *cells[4 * (SIZES + 1)] = {"vocabulary", "merges", "BPE: tokens per word", "list: unknown words"};
  char text[SIZES][4][24];
  for (int i = 0; i < SIZES; i++) {
    snprintf(text[i][0], 24, "%.0f", r.size[i]), snprintf(text[i][1], 24, "%.0f", r.size[i] - 256);
    snprintf(text[i][2], 24, "%.2f", r.per_word[i]), snprintf(text[i][3], 24, "%.1f %%", r.unknown[i]);
    for (int j = 0; j < 4; j++) cells[4 * (i + 1) + j] = text[i][j];
  }
  pml_show_table(ctx, cells, SIZES + 1, 4, "rrrr");
  double every = 100.0 * (double)r.all_unknown / (double)r.words;
  pml_expect(ctx, r.unknown[LAST] > 0 && every > 0, "the list loses %.1f %% of the held-out words; with all %d taught words in it, still %.1f %%", r.unknown[LAST], r.all->n_words, every);
  pml_expect(ctx, through(true, (pml_str){r.held.data, r.held.len}).same, "BPE gives back all %zu held-out bytes: 0 words lost", r.held.len);
  pml_expect(ctx, r.per_word[LAST] < r.per_word[0] && r.per_word[LAST] > 1, "its price: %.2f tokens per word where the list needs 1; %.2f before the first merge", r.per_word[LAST], r.per_word[0]);
  round_trips(ctx);
  if ((st = repeat(ctx, doc)) != PML_OK) return st;
  pml_value(ctx, "list_unknown", r.unknown[LAST], "%");
  pml_value(ctx, "bpe_tokens_per_word", r.per_word[LAST], "tokens");
  for (int i = 0; i < 2; i++) {
    const char *x = i ? r.error && !*r.error ? "doge" : r.error : r.text;
    if (x) pml_heading(ctx, i ? "The fault: a word that was never taught" : "Your text"), show_both(ctx, pml_str_of(x));
  }
  return PML_OK;
}

static double chips(pml_svg *s, pml_box b, const char *name, pml_rgb colour, row c, const char *verdict) {
  pml_svg_text(s, b.x, b.y + 34, (pml_font){.size = 26, .weight = 600, .colour = pml_rgb_readable(colour, PML_CANVAS, 4.5)}, name);
  pml_svg_text(s, b.x, b.y + 68, (pml_font){.size = 24, .colour = PML_MUTED}, verdict);
  return pml_svg_tokens(s, (pml_box){b.x + 300, b.y, b.w - 300, b.h}, c.chip, c.n, NULL, c.colour, NULL);
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  enum { LAST = SIZES - 1 };
  row list = through(false, r.question), bpe = through(true, r.question);
  double zero[SIZES] = {0}, one[SIZES];
  char lost[64], none[64];
  for (int i = 0; i < SIZES; i++) one[i] = 1;
  pml_lesson_title(ctx, s, "A list of %d words loses every %.0fth word of a new question; byte-level BPE loses none", r.vocab - 1, 100 / r.unknown[LAST]);
  pml_box b = pml_svg_body(s), top = {b.x, b.y, b.w, 560};
  pml_series loss[] = {{.label = "list of words", .n = SIZES, .x = r.size, .y = r.unknown, .colour = PML_RED, .mark = PML_MARK_LINE_POINTS},
                       {.label = "byte-level BPE", .n = SIZES, .x = r.size, .y = zero, .colour = PML_GREEN, .mark = PML_MARK_LINE_POINTS}};
  pml_series cost[] = {{.label = "byte-level BPE", .n = SIZES, .x = r.size, .y = r.per_word, .colour = PML_GREEN, .mark = PML_MARK_LINE_POINTS},
                       {.label = "list of words", .n = SIZES, .x = r.size, .y = one, .colour = PML_PURPLE, .dashed = true}};
  pml_svg_chart(s, pml_box_column(top, 0, 2, 60), (pml_axis){.label = "entries in the vocabulary"}, (pml_axis){.label = "words lost (%)"}, loss, 2);
  pml_svg_chart(s, pml_box_column(top, 1, 2, 60), (pml_axis){.label = "entries in the vocabulary"}, (pml_axis){.label = "tokens per word", .hi = 6}, cost, 2);
  snprintf(lost, sizeof lost, "%d tokens, %d lost", list.n, list.lost);
  snprintf(none, sizeof none, "%d tokens, 0 lost", bpe.n);
  double h = chips(s, (pml_box){b.x, 700, b.w, 120}, "list of words", PML_PURPLE, list, lost);
  chips(s, (pml_box){b.x, 720 + fmax(h, 90), b.w, 120}, "byte-level BPE", PML_GREEN, bpe, none);
  return PML_OK;
}
static const pml_flag flags[] = {{"vocab", "entries of each tokenizer", PML_FLAG_INT, &r.vocab}, {"text", "a text for both tokenizers", PML_FLAG_STRING, &r.text}, {"error", "a word that neither has seen (doge)", PML_FLAG_WORD, &r.error}};
static const pml_lesson lesson = {.number = "04", .name = "bpe_vs_word", .title = "Byte-pair encoding against a list of words", .file = __FILE__,
  .summary = "x", .sections = {17}, .flags = flags, .n_flags = 3, .run = run, .draw = draw};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }
