/* cc -O2 lessons/09_test.c -o test -lm -pthread && ./test
   § 51: flags, outputs, claims, files of a lesson.  This file is its own lesson. */
#include "prodml.h"
#include "test.h"
#include <fcntl.h>
#include <unistd.h>

static int iterations;
static bool broken;
static double temperature;
static const char *prompt;
static int runs;
static struct {
  double v[6];
  pml_number step;
} result;

static pml_status run(pml_ctx *ctx) {
  const char *cells[] = {"kernel",  "GB/s", "a rather long heading of a column",
                         "scalar",  "3.06", "12 %",
                         "AVX-512", "23.7", "91 %"};
  pml_rng r = pml_rng_seed(ctx->seed);
  double ms[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  runs++;
  for (int i = 0; i < 6; i++) result.v[i] = (double)pml_rng_normal(&r);
  pml_heading(ctx, "Numbers");
  pml_show_matrix(ctx, "W", result.v, 2, 3, 2, NULL, NULL);
  pml_show_table(ctx, cells, 3, 3, "lrr");
  pml_bar bars[] = {{"one", 1, 0, 0, 0, NULL}, {"two", 2, 0, 0, 0, NULL}};
  pml_show_bars(ctx, bars, 2, NULL);
  pml_say(ctx,
          "  a sentence that is long enough to be wrapped at eighty columns, as every sentence must be, √2 ≈ "
          "1.41");
  result.step = pml_measure(ctx, "step", "ms", pml_measures(ctx) ? ms : NULL, 8);
  pml_value(ctx, "first", result.v[0], "");
  pml_expect(ctx, !broken, "the sum of %d numbers is finite", 6);
  pml_expect_unless(ctx, iterations == 9, iterations != 9, "not %d times", 9);
  pml_expect(ctx, true, "iterations %d temperature %.2f prompt %s", iterations, temperature, prompt);
  return ctx->full ? pml_fail(PML_E_CHECK, "the long study is not written") : PML_OK;
}

static pml_status draw(pml_ctx *ctx, pml_svg *svg) {
  pml_lesson_title(ctx, svg, "The first number is %.2f", result.v[0]);
  pml_svg_heat(svg, pml_svg_body(svg), result.v, 2, 3, &(pml_heat_options){.diverging = true, .decimals = 2});
  return PML_OK;
}

static pml_status draw_more(pml_ctx *ctx, pml_svg *svg) {
  pml_lesson_title(ctx, svg, "Another picture");
  pml_svg_text(svg, 200, 500, (pml_font){.size = 40}, "more");
  return PML_OK;
}

static pml_status second(pml_ctx *ctx) {
  pml_table t = {0};
  pml_table_row(&t, "name\tvalue");
  pml_table_row(&t, "%s\t%d", "π", 3);
  pml_heading(ctx, "The second part");
  pml_show_rows(ctx, &t, "lr");
  pml_value_text(ctx, "word", "a_b");
  return PML_OK;
}

static pml_lesson lesson = {.number = "09",
                            .name = "test",
                            .title = "Test",
                            .summary = "A lesson that tests lessons.",
                            .file = __FILE__,
                            .sections = {10, 51},
                            .flags = {{"iterations|i", "how often", PML_FLAG_INT, &iterations},
                                      {"error", "break it", PML_FLAG_BOOL, &broken},
                                      {"temperature", "of the softmax", PML_FLAG_FLOAT, &temperature},
                                      {"prompt", "to use", PML_FLAG_STRING, &prompt}},
                            .result = &result,
                            .result_size = sizeof result,
                            .run = {run, second},
                            .draw = draw,
                            .pictures = {{"more", draw_more}}};

static char *text_out, *text_err;

/* Points a standard stream at a file; returns the old descriptor. */
static int redirect(FILE *f, int fd, const char *path) {
  fflush(f);
  int old = dup(fd), to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (old < 0 || to < 0 || dup2(to, fd) < 0) abort();
  close(to);
  return old;
}

static void restore(FILE *f, int fd, int old) {
  fflush(f);
  if (dup2(old, fd) < 0) abort();
  close(old);
}

/* Runs the lesson with the arguments in one string, split at blanks. */
static int call(const char *args) {
  char copy[512], *argv[24] = {(char *)"./09_test"};
  int argc = 1;
  size_t size;
  snprintf(copy, sizeof copy, "%s", args);
  for (char *p = strtok(copy, " "); p && argc < 23; p = strtok(NULL, " ")) argv[argc++] = p;
  iterations = 20;
  broken = false;
  temperature = 0.5;
  prompt = "hello";
  pml_strict_set(false);
  pml_free(text_out);
  pml_free(text_err);
  int out = redirect(stdout, 1, "out/test_lesson.out"), err = redirect(stderr, 2, "out/test_lesson.err");
  int code = pml_lesson_main(&lesson, argc, argv);
  restore(stdout, 1, out);
  restore(stderr, 2, err);
  if (pml_file_read("out/test_lesson.out", &text_out, &size) != PML_OK ||
      pml_file_read("out/test_lesson.err", &text_err, &size) != PML_OK)
    abort();
  return code;
}

static bool says(const char *text, const char *part) {
  bool found = strstr(text, part) != NULL;
  if (!found) printf("missing '%s' in:\n%s\n", part, text);
  return found;
}

static void test_flags(void) {
  TEST("defaults");
  CHECK(call("") == 0 && says(text_out, "iterations 20 temperature 0.50 prompt hello") &&
        says(text_out, "3 of 3 checks held"));
  CHECK(!*text_err && !strchr(text_out, '\033'));
  CHECK(says(text_out, "The second part\n  name  value\n  π") && strstr(text_out, "Numbers") < strstr(text_out, "The second"));
  TEST("values");
  CHECK(call("--iterations 7 --temperature=1.5 --prompt --x") == 0 &&
        says(text_out, "iterations 7 temperature 1.50 prompt --x"));
  CHECK(call("-i 8 --error=false --stdout --strict --threads 1 --tier tiny") == 0 &&
        says(text_out, "iterations 8"));
  TEST("a claim that a fault must break");
  CHECK(call("") == 0 && says(text_out, "✓ not 9 times"));
  CHECK(call("-i 9") == 0 && says(text_out, "✓ caught, no longer true: not 9 times"));
  TEST("a failed claim");
  CHECK(call("--error") == 1 && says(text_out, "✗ the sum of 6") &&
        says(text_err, "this check failed: the sum of 6 numbers is finite"));
  TEST("an error in run");
  CHECK(call("--full") == 1 && says(text_err, "09_test: the long study is not written"));
  TEST("bad usage");
  const char *bad[][2] = {{"--iteratons 3", "the nearest is --iterations"},
                          {"--strick", "the nearest is --strict"},
                          {"--iterations", "needs a value"},
                          {"--iterations x", "a whole number"},
                          {"--iterations 3x", "a whole number"},
                          {"--iterations 99999999999", "a whole number"},
                          {"--temperature nan", "a number"},
                          {"--error=maybe", "true or false"},
                          {"--output html", "tui, json or stdout"},
                          {"--tier huge", "tiny, small"},
                          {"--seed -1", "--seed -1"},
                          {"--seed 99999999999999999999", "--seed"},
                          {"--threads 1000", "0 to 256"},
                          {"--stdout=1", "takes no value"},
                          {"--diagram", "needs a value"},
                          {"word", "is no flag"},
                          {"-", "is no flag"},
                          {"--", "is no flag"},
                          {"-z", "no flag --z"},
                          {"--question x", "no flag --question"},
                          {"--record a --note b", "two runs"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK_MSG(call(bad[i][0]) == 2, "%s", bad[i][0]);
    CHECK(says(text_err, bad[i][1]) && !*text_out);
  }
  TEST("help");
  CHECK(call("--error --help") == 0 && says(text_out, "--iterations, -i N") && says(text_out, "--benchmark"));
}

static void test_outputs(void) {
  TEST("the width of a file is 80");
  CHECK(call("--seed 5") == 0);
  char *first = pml_strdup(text_out);
  setenv("COLUMNS", "50", 1);
  CHECK(call("--seed 5") == 0 && !strcmp(first, text_out));
  CHECK(call("--seed 5 --tui") == 0 && !strcmp(first, text_out));
  CHECK(call("--seed 6") == 0 && strcmp(first, text_out) != 0);
  unsetenv("COLUMNS");
  pml_free(first);
  for (char *line = strtok(text_out, "\n"); line; line = strtok(NULL, "\n")) {
    int w = 0;
    for (char *c = line; *c; c++) w += (*c & 0xC0) != 0x80;
    CHECK_MSG(w <= 80, "%d columns: %s", w, line);
  }
  TEST("json");
  pml_json root;
  CHECK(call("--output json --error") == 1);
  CHECK_MSG(pml_json_open(&root, text_out, strlen(text_out), "json") == PML_OK, "%s", pml_error());
  int64_t failed = 0;
  double first_value = 0, median = 0;
  CHECK(pml_json_int(pml_json_get(root, "failed"), &failed) && failed == 1);
  CHECK(pml_json_double(pml_json_get(pml_json_get(pml_json_get(root, "values"), "first"), "value"),
                        &first_value) &&
        first_value == result.v[0]);
  CHECK(pml_json_double(pml_json_get(pml_json_get(pml_json_get(root, "measured"), "step"), "median"),
                        &median) &&
        median == 4.5);
  CHECK(pml_json_get(root, "provenance").type == PML_JSON_OBJECT &&
        pml_json_count(pml_json_get(root, "assertions")) == 3);
  TEST("benchmark");
  runs = 0;
  CHECK(call("--benchmark --output json") == 0 && runs == 1 + 1 + 1000);
  CHECK(pml_json_open(&root, text_out, strlen(text_out), "json") == PML_OK &&
        pml_json_count(pml_json_get(root, "assertions")) == 3);
  CHECK(pml_json_double(pml_json_get(pml_json_get(pml_json_get(root, "values"), "benchmark_p99"), "value"),
                        &median) &&
        median > 0);
}

static void test_files(void) {
  char *a = NULL, *b = NULL;
  size_t na = 0, nb = 0;
  TEST("diagram and page");
  if (!pml_file_exists("prodml.h")) {
    SKIP("prodml.h is not in the current directory");
    return;
  }
  remove("out/09_test.md");
  remove("out/09_test.svg");
  CHECK_MSG(call("--note out/09_test.md --diagram out/09_test.svg") == 0, "%s", text_err);
  CHECK(pml_strict());
  CHECK(pml_file_read("out/09_test.md", &a, &na) == PML_OK && says(a, "# 09 · Test\n") &&
        says(a, "not recorded yet") && says(a, "✓ iterations 20"));
  CHECK(says(a, "## Break it\n\nThe flag `--error`; the first value was ") && says(a, "and the word a\\_b.\n"));
  CHECK(says(a, "![The first number is") && says(a, "(../diagrams/09_test_more.svg)") &&
        says(a, "cc -O2 lessons/09_test.c"));
  CHECK(pml_file_exists("out/09_test.svg") && pml_file_exists("out/09_test_more.svg"));
  CHECK(call("--note out/09_test.md --threads 1 --output json") == 0);
  CHECK(pml_file_read("out/09_test.md", &b, &nb) == PML_OK && na == nb && !memcmp(a, b, na));
  TEST("nothing is written when a claim fails");
  remove("out/09_test.svg");
  CHECK(call("--diagram out/09_test.svg --error") == 1 && !pml_file_exists("out/09_test.svg"));
  TEST("record");
  static pml_record r;
  CHECK(call("--record out/09_test.json") == 0 && pml_record_read(&r, "out/09_test.json") == PML_OK);
  CHECK(r.n == 1 && pml_record_find(&r, "step") && r.number[0].median == 4.5 && r.number[0].n == 8);
  TEST("a folder that is not there");
  CHECK(call("--note out/no/such/folder/x.md") == 1 && says(text_err, "no/such/folder"));
  TEST("paths");
  setenv("PRODML_HOME", "/nonexistent", 1);
  CHECK(call("--note out/09_test.md") == 0);
  unsetenv("PRODML_HOME");
  remove("out/09_test.md");
  remove("out/09_test_more.svg");
  remove("out/09_test.json");
  pml_free(a);
  pml_free(b);
}

int main(void) {
  pml_mkdirs("out");
  size_t before = pml_memory_in_use();
  test_flags();
  test_outputs();
  test_files();
  pml_free(text_out);
  pml_free(text_err);
  remove("out/test_lesson.out");
  remove("out/test_lesson.err");
  TEST("no leak");
  CHECK(pml_memory_in_use() == before);
  return TEST_END();
}

/* @page
## What you will be able to do
- test a lesson

## The mechanism
@quote trace

## Break it
The flag `--error`; the first value was {first:.2f} and the word {word}.

## Check yourself
### Why?
Because.

## Sources
- None
*/
