/* Lesson 04 · Byte-pair encoding against a list of words                    § 16 § 17

     cc -O2 lessons/04_bpe_vs_word.c -o a -lm -pthread && ./a

   Trains two tokenizers of the same size on the questions and answers that this course
   teaches, then gives both the held-out questions, which neither has seen.
   You will see an unknown word merged step by step, a question as two rows of tokens,
   what each tokenizer costs and loses at every size, and that training is repeatable.
   Change: --vocab 300 (which of the two suffers more?), --text "your own",
   --error (the word "doge", unknown to both), --error=covfefe. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { SIZES = 11, LAST = SIZES - 1, CHIPS = 64 };
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

static void chips(pml_svg *s, double y, const char *name, pml_rgb colour, row c) {
  pml_box b = pml_svg_body(s);
  pml_svg_text(s, b.x, y + 30, (pml_font){.size = 28, .weight = 600, .colour = pml_rgb_readable(colour, PML_CANVAS, 4.5)}, name);
  pml_svg_textf(s, b.x, y + 64, (pml_font){.size = 24, .colour = PML_MUTED}, "%d tokens, %d lost", c.n, c.lost);
  pml_svg_tokens(s, (pml_box){b.x + 260, y, b.w - 260, 120}, c.chip, c.n, NULL, c.colour, NULL);
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  double zero[SIZES] = {0}, one[SIZES], merges[SIZES];
  for (int i = 0; i < SIZES; i++) one[i] = 1, merges[i] = r.size[i] - 256;
  pml_lesson_title(ctx, s, "A list of %d words loses %.0f %% of the words of a new question, byte-level BPE none", r.vocab - 1, r.unknown[LAST]);
  pml_box b = pml_svg_body(s), top = {b.x, b.y, b.w, 540};
  pml_axis x = {.label = "merges learned; the vocabulary is 256 bytes more", .hi = merges[LAST]};
  pml_series loss[] = {{.label = "list of words", .n = SIZES, .x = merges, .y = r.unknown, .colour = PML_PURPLE, .mark = PML_MARK_LINE_POINTS},
                       {.label = "byte-level BPE", .n = SIZES, .x = merges, .y = zero, .colour = PML_GREEN, .mark = PML_MARK_LINE_POINTS}};
  pml_series cost[] = {{.label = "byte-level BPE", .n = SIZES, .x = merges, .y = r.per_word, .colour = PML_GREEN, .mark = PML_MARK_LINE_POINTS},
                       {.label = "list of words", .n = SIZES, .x = merges, .y = one, .colour = PML_PURPLE}};
  pml_svg_chart(s, pml_box_column(top, 0, 2, 60), x, (pml_axis){.label = "words lost (%)"}, loss, 2);
  pml_svg_chart(s, pml_box_column(top, 1, 2, 60), x, (pml_axis){.label = "tokens per word: the price", .hi = 6}, cost, 2);
  pml_svg_textf(s, b.x + 260, 700, (pml_font){.size = 28}, "“%s”", r.question.ptr);
  chips(s, 730, "list of words", PML_PURPLE, through(false, r.question));
  chips(s, 830, "byte-level BPE", PML_GREEN, through(true, r.question));
  return PML_OK;
}

static pml_status page(pml_ctx *ctx, pml_page *p) {
  char answer[512];
  (void)ctx;
  pml_page_item(p, PML_PAGE_CAN, "Say why a tokenizer that begins with bytes has no unknown token, and what that costs.");
  pml_page_item(p, PML_PAGE_CAN, "Follow the merges of a word by their rank.");
  pml_page_item(p, PML_PAGE_CAN, "Explain why the same text must train the same tokenizer, and what a tie has to do with it.");
  pml_page_quote(p, "bpe_merge");
  pml_page_quote(p, "wordlist");
  pml_page_quote_lesson(p, "compare");
  pml_page_text(p, PML_PAGE_BREAK, "`--error` gives both tokenizers the word \"doge\", `--error=WORD` another. The list returns `[UNK]`: nothing after it can know which word that was. The lesson notices because it compares decode(encode(x)) with x; a program that only counts tokens would not.");
  pml_page_text(p, PML_PAGE_BREAK, "`--vocab 300` leaves BPE 44 merges. It needs more tokens, and still loses nothing. The list loses twice as much as before or more.");
  pml_page_text(p, PML_PAGE_BREAK, "In `pml_bpe_train` (§ 17), let the candidate queue prefer the larger pair among equals: the check of the tie fails, and with status 1 the program.");
  snprintf(answer, sizeof answer, "A longer list helps less and less: with all %d words of the taught text it still loses %.1f %% of the held-out ones. And each entry costs a row in the embedding and in the head: at d = 896, 1,000 words are 0.9 million weights, twice that without tying.", r.all->n_words, 100.0 * (double)r.all_unknown / (double)r.words);
  pml_page_question(p, "Why not simply a longer list of words?", answer);
  snprintf(answer, sizeof answer, "Every position passes through all layers and takes a place in the KV cache. At %.2f tokens per word the same question costs %.2f times as many positions as with a list. At 256 entries, bytes alone, it would be %.2f times.", r.per_word[LAST], r.per_word[LAST], r.per_word[0]);
  pml_page_question(p, "What does BPE pay for losing nothing?", answer);
  pml_page_question(p, "Does BPE take the longest token that fits?", "No. It merges the pair of the lowest rank first, wherever it stands in the word. That may leave a longer token unused, but it repeats what training did, so a word gets the pieces that the model has seen.");
  pml_page_question(p, "Two pairs occur equally often. Why does it matter which one goes first?", "The first merge changes the counts of its neighbours, so the rest of the vocabulary may differ. If the winner hangs on the order of a hash table, two runs give two tokenizers, and a model trained with one reads noise from the other.");
  pml_page_question(p, "May a merge join the end of one word with the beginning of the next?", "Not here: the text is cut into words first, and a merge stays inside one. A space belongs to the word after it, so \" the\" can be a token and \"of the\" cannot.");
  return PML_OK;
}
static pml_status bench(pml_ctx *ctx) {
  size_t tokens, unknown;
  (void)ctx;
  return compare(r.bpe, r.list, r.vocab, &tokens, &unknown);
}

static const pml_flag flags[] = {{"vocab", "entries of each tokenizer", PML_FLAG_INT, &r.vocab}, {"text", "a text for both tokenizers", PML_FLAG_STRING, &r.text}, {"error", "a word that neither has seen (doge)", PML_FLAG_WORD, &r.error}};
static const pml_lesson lesson = {.number = "04", .name = "bpe_vs_word", .title = "Byte-pair encoding against a list of words", .file = __FILE__,
  
  .summary = "One tokenizer knows words, the other bytes and how to join them. Both get the same number of entries and questions that neither has seen: what does each lose, and what does it cost?", .sections = {17}, .flags = flags, .n_flags = 3, .run = run, .draw = draw, .page = page, .bench = bench};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }
