/* 04 BPE vs word: byte-pair encoding against a list of words

     cc -O2 lessons/04_bpe_vs_word.c -o a -lm -pthread && ./a

   Trains two tokenizers of the same size on the questions and answers that this course teaches, then gives both the
   held-out questions.  You see an unknown word merged step by step, a question as two rows of tokens, what each
   tokenizer costs and loses at every size, and that training is repeatable.  Change: --vocab 300 (which of the two
   suffers more?), --text "your own", --error (the word "doge", unknown to both), --error=covfefe. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { SIZES = 11, LAST = SIZES - 1, HARD = 1000 };
static int vocab = 1280;
static const char *error, *text;
static struct {
  pml_qa *qa;
  pml_buf taught, held;
  pml_tokenizer *bpe;
  pml_wordlist *list, *all;   /* the vocab - 1 most frequent words; every taught word */
  pml_token_cost of_all;      /* what even the longest list costs */
  pml_curve lost[2], cost[2]; /* % of words lost, tokens per word, over merges: list, BPE */
  char word[24];              /* merged step by step */
  pml_str question;           /* shown as two rows */
} r;

static pml_cut list_cut(pml_str x) { return pml_cut_text(NULL, r.list, x); }
static pml_cut bpe_cut(pml_str x) { return pml_cut_text(r.bpe, NULL, x); }

static void show_both(pml_ctx *ctx, const char *heading, pml_str x) {
  pml_cut list = list_cut(x), bpe = bpe_cut(x);
  pml_heading(ctx, "%s", heading);
  pml_show_cut(ctx, "list", &list), pml_show_cut(ctx, "BPE ", &bpe);
  if (!list.lost) pml_expect(ctx, list.same, "the list knows all of these words: try a rarer one");
  else pml_expect(ctx, !list.same, "caught: the list gives back \"%s\", %d of %d words are lost", list.back, list.lost,
                  list.n);
  pml_expect(ctx, bpe.same, "BPE gives back all %zu bytes, from %d tokens", x.len, bpe.n);
}

/* The longest lost word that BPE writes with two or three tokens, and the question that loses most. */
static void choose(void) {
  int most = -1;
  for (int i = 0; i < r.qa->n_topics; i++)
    for (int k = 0; k < r.qa->topics[i].n_held; k++) {
      pml_str x = pml_str_of(r.qa->topics[i].held[k]), w = {x.ptr, 0};
      pml_cut c = list_cut(x);
      if (c.n >= 8 && c.n <= 12 && c.lost > most) most = c.lost, r.question = x;
      for (; (w.len = pml_pre_token(PML_PRE_QWEN2, w.ptr, strlen(w.ptr))) > 0; w.ptr += w.len) {
        if (w.len <= strlen(r.word) || w.len > 13 || *w.ptr != ' ' || !list_cut(w).lost) continue;
        if (bpe_cut(w).n / 2 == 1) snprintf(r.word, sizeof r.word, "%.*s", (int)w.len, w.ptr);
      }
    }
}

/* Both at every size: BPE with a share of its merges, the list with as many entries. */
static pml_status sweep(pml_ctx *ctx) {
  static const int share[SIZES] = {0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 32}; /* of the merges, in 32nds */
  pml_token_cost c[SIZES];
  int size[SIZES];
  if (vocab < 288 || vocab > 8192) return pml_fail(PML_E_USAGE, "--vocab %d: give 288 to 8192", vocab);
  for (int i = 0; i < SIZES; i++) size[i] = 256 + (vocab - 256) * share[i] / 32;
  pml_status st = pml_lesson_questions(ctx, &r.qa);
  if (st != PML_OK) return st;
  pml_qa_text(r.qa, false, &r.taught), pml_qa_text(r.qa, true, &r.held);
  pml_str doc = {r.taught.data, r.taught.len}, held = {r.held.data, r.held.len};
  st = pml_wordlist_train(&r.list, PML_PRE_QWEN2, &doc, 1, vocab - 1);
  if (st == PML_OK) st = pml_wordlist_train(&r.all, PML_PRE_QWEN2, &doc, 1, INT_MAX);
  if (st == PML_OK) st = pml_tokenizer_sweep(c, &r.bpe, r.list, size, SIZES, doc, held);
  if (st == PML_OK) st = pml_tokenizer_compare(&r.of_all, r.bpe, r.all, INT_MAX, held.ptr, held.len);
  for (int i = 0; i < SIZES && st == PML_OK; i++) {
    double words = (double)c[i].words, lost = 100 * (double)c[i].unknown / words;
    pml_curve_add(&r.lost[0], size[i] - 256, lost), pml_curve_add(&r.lost[1], size[i] - 256, 0);
    pml_curve_add(&r.cost[0], size[i] - 256, 1), pml_curve_add(&r.cost[1], size[i] - 256, (double)c[i].tokens / words);
  }
  return st;
}

static pml_status show(pml_ctx *ctx) {
  pml_table t = {0};
  const double *lost = r.lost[0].y, *cost = r.cost[1].y, *merges = r.cost[0].x;
  double all = 100 * (double)r.of_all.unknown / (double)r.of_all.words;
  choose();
  pml_heading(ctx, "An unknown word, \"%s\", merged step by step", r.word + 1);
  pml_status st = pml_show_merges(ctx, r.bpe, r.word);
  show_both(ctx, "A held-out question in both tokenizers", r.question);
  pml_heading(ctx, "The same two at every size: %zu bytes taught, %zu words held out", r.taught.len, r.of_all.words);
  pml_table_row(&t, "vocabulary\tmerges\tBPE: tokens per word\tlist: unknown words");
  for (int i = 0; i < SIZES; i++)
    pml_table_row(&t, "%.0f\t%.0f\t%.2f\t%.1f %%", merges[i] + 256, merges[i], cost[i], lost[i]);
  pml_show_rows(ctx, &t, "rrrr");
  pml_expect(ctx, lost[LAST] > 0 && all > 0, "the list loses %.1f %% of the held-out words; with all %d taught words "
             "in it, still %.1f %%", lost[LAST], r.all->n_words, all);
  pml_expect(ctx, bpe_cut((pml_str){r.held.data, r.held.len}).same, "BPE gives back all %zu held-out bytes: 0 words "
             "lost", r.held.len);
  pml_expect(ctx, cost[LAST] < cost[0] && cost[LAST] > 1, "its price: %.2f tokens per word where the list needs 1; "
             "%.2f before the first merge", cost[LAST], cost[0]);
  pml_value(ctx, "list_unknown", lost[LAST], "%"), pml_value(ctx, "all_unknown", all, "%");
  pml_value(ctx, "bpe_tokens_per_word", cost[LAST], "tokens"), pml_value(ctx, "bytes_per_word", cost[0], "tokens");
  pml_value(ctx, "all_words", r.all->n_words, "words");
  return st;
}

static pml_status repeat(pml_ctx *ctx) {
  const pml_str low = {"low", 3}, ne = {"newest", 6}, wi = {"widest", 6}, tie[] = {low, low, ne, ne, wi, ne, wi};
  size_t same = 0, n = pml_tokenizer_spec_of(r.bpe)->n_merges;
  char first[64];
  int bpe = pml_round_trips(r.bpe, NULL, HARD, ctx->seed), list = pml_round_trips(NULL, r.list, HARD, ctx->seed);
  pml_status st = pml_bpe_again(r.bpe, (pml_str){r.taught.data, r.taught.len}, &same);
  if (st == PML_OK) st = pml_bpe_first(tie, 7, first);
  if (st != PML_OK) return st;
  pml_expect(ctx, bpe == HARD + PML_HARD_TEXTS, "decode(encode(x)) = x for all %d texts of random bytes, scripts and "
             "emoji (the list: %d)", bpe, list);
  pml_expect(ctx, same == n, "trained again with the halves of the text swapped: the same %zu merges", n);
  pml_expect(ctx, !strcmp(first, "e s"), "a tie, e+s and s+t both 5 times: the smaller pair of ids wins, \"%s\"",
             first);
  if (text) show_both(ctx, "Your text", pml_str_of(text));
  if (error) show_both(ctx, "The fault: a word that was never taught", pml_str_of(*error ? error : "doge"));
  return PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  pml_box b = pml_svg_body(s), top = pml_box_top(&b, 540, 80), row = pml_box_top(&b, 100, 0);
  pml_axis x = {.label = "merges learned; the vocabulary is 256 bytes more", .hi = vocab - 256};
  pml_cut list = list_cut(r.question), bpe = bpe_cut(r.question);
  pml_lesson_title(ctx, s, "A list of %d words loses %.0f %% of the words of a new question, byte-level BPE none",
                   vocab - 1, r.lost[0].y[LAST]);
  pml_svg_pair(s, pml_box_column(top, 0, 2, 60), x, (pml_axis){.label = "words lost (%)"}, "byte-level BPE", &r.lost[1],
               "list of words", &r.lost[0]);
  pml_svg_pair(s, pml_box_column(top, 1, 2, 60), x, (pml_axis){.label = "tokens per word: the price", .hi = 6},
               "byte-level BPE", &r.cost[1], "list of words", &r.cost[0]);
  pml_svg_textf(s, row.x + 260, row.y - 30, (pml_font){.size = 28}, "“%s”", r.question.ptr);
  pml_svg_cut(s, row, "list of words", PML_PURPLE, &list);
  pml_svg_cut(s, b, "byte-level BPE", PML_GREEN, &bpe);
  return PML_OK;
}

static pml_status bench(pml_ctx *ctx) {
  (void)ctx;
  return bpe_cut((pml_str){r.held.data, r.held.len}).same ? PML_OK : PML_E_CHECK;
}

static const pml_lesson lesson = {
  .number = "04", .name = "bpe_vs_word", .title = "Byte-pair encoding against a list of words", .file = __FILE__,
  .summary = "One tokenizer knows words, the other bytes and how to join them. Both get the same number of entries and "
             "questions that neither has seen: what does each lose, and what does it cost?",
  .sections = {17},
  .flags = {{"vocab", "entries of each tokenizer", PML_FLAG_INT, &vocab},
            {"text", "a text for both tokenizers", PML_FLAG_STRING, &text},
            {"error", "a word that neither has seen (doge)", PML_FLAG_WORD, &error}},
  .run = {sweep, show, repeat}, .draw = draw, .bench = bench};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }

/* @page
## What you will be able to do
- Say why a tokenizer that begins with bytes has no unknown token, and what that costs.
- Follow the merges of a word by their rank.
- Explain why the same text must train the same tokenizer, and what a tie has to do with it.
## The mechanism
@quote bpe_merge
@quote wordlist
@quote compare
## Break it
`--error` gives both tokenizers the word "doge", `--error=WORD` another. The list returns `[UNK]`: nothing after it can
know which word that was. The lesson notices because it compares decode(encode(x)) with x; a program that only counts
tokens would not.

`--vocab 300` leaves BPE 44 merges. It needs more tokens, and still loses nothing. The list loses twice as much as
before or more.

In `pml__bpe_cand_less` (§ 17), turn the comparison of `left` round, so that the larger pair wins among equals: the
check of the tie fails, and with status 1 the program.
## Check yourself
### Why not simply a longer list of words?
A longer list helps less and less: with all {all_words} words of the taught text it still loses {all_unknown:.1f} % of
the held-out ones. And each entry costs a row in the embedding and in the head: at d = 896, 1,000 words are 0.9 million
weights, twice that without tying.
### What does BPE pay for losing nothing?
Every position passes through all layers and takes a place in the KV cache. At {bpe_tokens_per_word:.2f} tokens per
word the same question costs {bpe_tokens_per_word:.2f} times as many positions as with a list. At 256 entries, bytes
alone, it would be {bytes_per_word:.2f} times.
### Does BPE take the longest token that fits?
No. It merges the pair of the lowest rank first, wherever it stands in the word. That may leave a longer token unused,
but it repeats what training did, so a word gets the pieces that the model has seen.
### Two pairs occur equally often. Why does it matter which one goes first?
The first merge changes the counts of its neighbours, so the rest of the vocabulary may differ. If the winner hangs on
the order of a hash table, two runs give two tokenizers, and a model trained with one reads noise from the other.
### May a merge join the end of one word with the beginning of the next?
Not here: the text is cut into words first, and a merge stays inside one. A space belongs to the word after it, so "
the" can be a token and "of the" cannot.
*/
