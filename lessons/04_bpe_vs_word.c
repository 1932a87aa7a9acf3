/* 04 BPE vs word: byte-pair encoding against a list of words

     cc -O2 lessons/04_bpe_vs_word.c -o a -lm -pthread && ./a

   Trains two tokenizers of the same size on the questions and answers of this course.  You see an unknown word merged
   step by step, a question as two rows of tokens, what each costs and loses at every size, and that training repeats.
   To change: --vocab 300 (which of the two suffers more?), --text "your own", --error=covfefe. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

enum { SIZES = 11, LAST = SIZES - 1, HARD = 1000 };
static int vocab = 1280;
static const char *word = "localisation", *text = "Hello there, nice evening, is anybody home today?"; /* held out */
static struct {
  pml_str taught, held;
  pml_tokenizer *bpe;
  pml_wordlist *list, *all;   /* the vocab - 1 most frequent words; every taught word */
  pml_curve lost[2], cost[2]; /* % of words lost, tokens per word, over merges: list, BPE */
} r;

static pml_status learn(pml_ctx *ctx) {
  pml_qa *qa = NULL;
  pml_buf taught = {0}, held = {0};
  if (vocab < 288 || vocab > 8192) return pml_fail(PML_E_USAGE, "--vocab %d: give 288 to 8192", vocab);
  pml_status st = pml_lesson_questions(ctx, &qa);
  if (st != PML_OK) return st;
  pml_qa_text(qa, false, &taught), pml_qa_text(qa, true, &held), pml_qa_free(qa);
  r.taught = (pml_str){taught.data, taught.len}, r.held = (pml_str){held.data, held.len};
  st = pml_bpe_train(&r.bpe, &r.taught, 1, &(pml_bpe_options){.n_vocab = vocab, .pre = PML_PRE_QWEN2});
  if (st == PML_OK) st = pml_wordlist_train(&r.list, PML_PRE_QWEN2, &r.taught, 1, vocab - 1);
  return st == PML_OK ? pml_wordlist_train(&r.all, PML_PRE_QWEN2, &r.taught, 1, INT_MAX) : st;
}

static void in_both(pml_ctx *ctx, pml_str x) {
  pml_cut list = pml_cut_text(NULL, r.list, x), bpe = pml_cut_text(r.bpe, NULL, x);
  pml_show_cut(ctx, "list", &list), pml_show_cut(ctx, "BPE ", &bpe);
  pml_expect(ctx, list.same == !list.lost, "the list gives back \"%s\", %d of %d lost", list.back, list.lost, list.n);
  pml_expect(ctx, bpe.same, "BPE gives back all %zu bytes, from %d tokens", x.len, bpe.n);
}

static pml_status unknown(pml_ctx *ctx) {
  char inside[64]; /* as it stands inside a text, after a space */
  snprintf(inside, sizeof inside, " %s", *word ? word : "doge");
  pml_heading(ctx, "An unknown word, \"%s\", merged step by step", inside + 1);
  pml_status st = pml_show_merges(ctx, r.bpe, inside);
  in_both(ctx, pml_str_of(inside));
  pml_heading(ctx, "A question in both tokenizers: %s", text);
  in_both(ctx, pml_str_of(text));
  return st;
}

static pml_status sizes(pml_ctx *ctx) {
  const double *lost = r.lost[0].y, *cost = r.cost[1].y;
  pml_token_cost c = {0, 0, 0};
  pml_table t = {0};
  pml_status st = PML_OK;
  pml_table_row(&t, "vocabulary\tmerges\tBPE: tokens per word\tlist: unknown words");
  for (int i = 0; i < SIZES && st == PML_OK; i++) {
    int merges = (vocab - 256) * i * i / (LAST * LAST), size = 256 + merges;
    pml_tokenizer *bpe = NULL;
    st = pml_bpe_train(&bpe, &r.taught, 1, &(pml_bpe_options){.n_vocab = size, .pre = PML_PRE_QWEN2});
    if (st == PML_OK) st = pml_tokenizer_compare(&c, bpe, r.all, size, r.held.ptr, r.held.len);
    pml_curve_add(&r.lost[0], merges, 100 * (double)c.unknown / (double)c.words), pml_curve_add(&r.lost[1], merges, 0);
    pml_curve_add(&r.cost[0], merges, 1), pml_curve_add(&r.cost[1], merges, (double)c.tokens / (double)c.words);
    pml_table_row(&t, "%d\t%d\t%.2f\t%.1f %%", size, merges, cost[i], lost[i]);
    pml_tokenizer_free(bpe);
  }
  if (st == PML_OK) st = pml_tokenizer_compare(&c, r.bpe, r.all, INT_MAX, r.held.ptr, r.held.len);
  if (st != PML_OK) return st;
  double all = 100 * (double)c.unknown / (double)c.words, tokens = cost[LAST], bytes = cost[0];
  pml_heading(ctx, "The same two at every size: %zu bytes taught, %zu words held out", r.taught.len, c.words);
  pml_show_rows(ctx, &t, "rrrr");
  pml_expect(ctx, lost[LAST] > 0 && all > 0, "the list loses %.1f %% of the held-out words; with all %d taught words "
             "in it, still %.1f %%", lost[LAST], r.all->n_words, all);
  pml_expect(ctx, pml_cut_text(r.bpe, NULL, r.held).same, "BPE gives back all %zu held-out bytes", r.held.len);
  pml_expect(ctx, tokens < bytes && tokens > 1, "its price: %.2f tokens per word, not 1 (bytes: %.2f)", tokens, bytes);
  pml_value(ctx, "all_words", r.all->n_words, "words"), pml_value(ctx, "all_unknown", all, "%");
  pml_value(ctx, "bpe_tokens_per_word", tokens, "tokens"), pml_value(ctx, "bytes_per_word", bytes, "tokens");
  return PML_OK;
}

static pml_status repeat(pml_ctx *ctx) {
  size_t same = 0, n = pml_tokenizer_spec_of(r.bpe)->n_merges;
  char first[64];
  int bpe = pml_round_trips(r.bpe, NULL, HARD, ctx->seed), list = pml_round_trips(NULL, r.list, HARD, ctx->seed);
  pml_status st = pml_bpe_again(r.bpe, r.taught, &same);
  if (st == PML_OK) st = pml_bpe_first((pml_str[]){{"newest", 6}, {"widest", 6}}, 2, first);
  if (st != PML_OK) return st;
  pml_expect(ctx, bpe == HARD + PML_HARD_TEXTS, "decode(encode(x)) = x for all %d texts of random bytes, scripts and "
             "emoji (the list: %d)", bpe, list);
  pml_expect(ctx, same == n, "trained again with the halves of the text swapped: the same %zu merges", n);
  pml_expect(ctx, !strcmp(first, "e s"), "a tie, e+s and s+t both twice: the smaller pair of ids wins, \"%s\"", first);
  return PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *s) {
  pml_box b = pml_svg_body(s), top = pml_box_top(&b, 540, 80), row = pml_box_top(&b, 100, 0);
  pml_axis x = {.label = "merges learned; the vocabulary is 256 bytes more", .hi = vocab - 256};
  pml_axis lost = {.label = "words lost (%)"}, cost = {.label = "tokens per word: the price", .hi = 6};
  pml_cut list = pml_cut_text(NULL, r.list, pml_str_of(text)), bpe = pml_cut_text(r.bpe, NULL, pml_str_of(text));
  const char *one = "byte-level BPE", *other = "list of words";
  pml_lesson_title(ctx, s, "A list of %d words loses %.0f %% of the words of new questions, byte-level BPE none",
                   vocab - 1, r.lost[0].y[LAST]);
  pml_svg_pair(s, pml_box_column(top, 0, 2, 60), x, lost, one, &r.lost[1], other, &r.lost[0]);
  pml_svg_pair(s, pml_box_column(top, 1, 2, 60), x, cost, one, &r.cost[1], other, &r.cost[0]);
  pml_svg_textf(s, row.x + 260, row.y - 30, (pml_font){.size = 28}, "“%s”", text);
  pml_svg_cut(s, row, other, PML_PURPLE, &list), pml_svg_cut(s, b, one, PML_GREEN, &bpe);
  return PML_OK;
}

static const pml_lesson lesson = {
  .number = "04", .name = "bpe_vs_word", .title = "Byte-pair encoding against a list of words", .file = __FILE__,
  .summary = "One tokenizer knows words, the other joins bytes. Of equal size, what does each lose, and at what cost?",
  .sections = {17}, .result = &r, .result_size = sizeof r,
  .flags = {{"vocab", "entries of each tokenizer", PML_FLAG_INT, &vocab},
            {"text", "a text for both tokenizers", PML_FLAG_STRING, &text},
            {"error", "merge another word that is rare or new (doge)", PML_FLAG_WORD, &word}},
  .run = {learn, unknown, sizes, repeat}, .draw = draw, .bench = repeat};
int main(int argc, char **argv) { return pml_lesson_main(&lesson, argc, argv); }

/* @page
## What you will be able to do
- Follow the merges of a word by their rank; say why bytes need no unknown token, and what that costs.
- Explain why the same text must train the same tokenizer, and what a tie has to do with it.
## The mechanism
@quote bpe_merge
@quote wordlist
@quote compare
## Break it
`--error` gives both the word "doge": noticed because decode(encode(x)) is compared with x; counting tokens would not
do. `--vocab 300` leaves BPE 44 merges: more tokens, nothing lost; the list loses more than twice as many words.

In `pml__bpe_cand_less` (§ 17), turn the comparison of `left` round, so that the larger pair wins among equals: the
check of the tie fails, and with status 1 the program.
## Check yourself
### Why not simply a longer list of words?
It helps less and less: with all {all_words} taught words it still loses {all_unknown:.1f} % of the held-out ones. And
each costs a row in the embedding and in the head: at d = 896, 1,000 words are 0.9 million weights, twice if not tied.
### What does BPE pay for losing nothing?
Every position passes through all layers and takes a place in the KV cache. At {bpe_tokens_per_word:.2f} tokens per
word a question costs that many times the positions that a list needs; in bytes alone, {bytes_per_word:.2f} times.
### Does BPE take the longest token that fits?
No. It merges the pair of the lowest rank first, wherever it stands. That may leave a longer token unused, but it
repeats what training did, so a word gets the pieces that the model has seen.
### Two pairs occur equally often. Why does it matter which one goes first?
The first merge changes the counts of its neighbours. If the winner hangs on the order of a hash table, two runs give
two tokenizers, and a model trained with one reads noise from the other.
### May a merge join the end of one word with the beginning of the next?
No: the text is cut into words first. A space belongs to the word after it, so " the" can be a token, "of the" cannot.
*/
