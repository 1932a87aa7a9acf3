/* § 50: records, Markdown, quoting, pages. */
#include "prodml.h"
#include "test.h"

static const char header_text[] =
    "/* ═══\n   CONTENTS\n       § 1   Status and errors            what failed\n       § 14  Attention      "
    "              queries meet keys\n   ═══ */\n"
    "/* ═════\n   § 1  STATUS AND ERRORS                needs nothing\n   ─────\n   A status is a number.\n  "
    " ═════ */\n"
    "/* ═════\n   § 14  ATTENTION                needs § 1\n   ─────\n   Each query asks every key; the "
    "names are n_kv_heads and pml_attention.\n\n"
    "     scores = Q · Kᵀ / √d\n     out = softmax(scores) · V\n\n   - one item\n     that goes on\n   - "
    "another *item*\n\n"
    "   Cost: T·S·d.\n   The trap: forgetting √d <here>.\n   Source: Vaswani et al. 2017 (arXiv:1706.03762); "
    "Dao et al. 2022,\n   FlashAttention (arXiv:2205.14135).\n   ═════ */\n"
    "/* @dot */\n  float dot(void) {\n\n    return 0;\n  }\n/* @end */\n";

static void page_files(void) {
  pml_mkdirs("out");
  CHECK(pml_file_write("out/test_header.h", header_text, sizeof header_text - 1) == PML_OK);
  const char *lesson = "int main(void) {\n    /* @loop */\n    for (;;)\n      step();\n    /* @end */\n}\n";
  CHECK(pml_file_write("out/test_lesson_source.c", lesson, strlen(lesson)) == PML_OK);
}

static pml_page *new_page(void) {
  pml_page *p = NULL;
  CHECK(pml_page_create(&p, "05 · Attention", "Part 0", "A summary.", "out/test_header.h",
                        "out/test_lesson_source.c") == PML_OK);
  return p;
}

static void fill(pml_page *p) {
  const char *cells[] = {"a", "b|c", "1", "`x`"};
  pml_page_item(p, PML_PAGE_CAN, "do %d things", 2);
  pml_page_item(p, PML_PAGE_CAN, "and more");
  pml_page_idea(p, 14);
  pml_page_formula(p, PML_PAGE_IDEA, "x^2");
  pml_page_quote(p, "dot");
  pml_page_quote_lesson(p, "loop");
  pml_page_run(p, "cc x.c", "out```put\n");
  pml_page_diagram(p, "../diagrams/05_attention.svg", "a title [x]");
  pml_page_text(p, PML_PAGE_BREAK, "Break it.");
  pml_page_table(p, PML_PAGE_BREAK, cells, 2, 2, "lr");
  pml_page_question(p, "Is 1 < 2 in `C`?", "Yes, $1 < 2$.");
  pml_page_source(p, "A book. ", 8);
}

static bool has(const pml_buf *b, const char *text) {
  bool found = b->data && strstr(b->data, text) != NULL;
  if (!found) printf("missing: %s\n", text);
  return found;
}

static void test_page(void) {
  pml_page *p = new_page();
  pml_buf out = {0}, again = {0};
  TEST("a whole page");
  if (!p) return;
  fill(p);
  CHECK_MSG(pml_page_render(p, &out) == PML_OK, "%s", pml_error());
  CHECK(has(&out,
            "# 05 · Attention\n\n*Part 0*\n\nA summary.\n\nRead with it: [§ 14 Attention](../prodml.h).\n"));
  CHECK(has(&out, "## What you will be able to do\n\n- do 2 things\n- and more\n\n## The idea"));
  CHECK(has(&out,
            "### § 14 Attention\n\nEach query asks every key; the names are `n_kv_heads` and "
            "`pml_attention`.\n\n"));
  CHECK(has(&out, "```text\nscores = Q · Kᵀ / √d\nout = softmax(scores) · V\n```\n"));
  CHECK(has(&out, "- one item\n  that goes on\n- another \\*item\\*\n"));
  CHECK(has(&out, "**Cost:** T·S·d.\n\n**The trap:** forgetting √d \\<here\\>.\n"));
  CHECK(has(&out, "$$x^2$$"));
  CHECK(has(
      &out,
      "From [prodml.h](../prodml.h), § 14 Attention:\n\n```c\nfloat dot(void) {\n\n  return 0;\n}\n```\n"));
  CHECK(has(&out, "From the lesson:\n\n```c\nfor (;;)\n  step();\n```\n"));
  CHECK(has(&out, "```sh\ncc x.c\n```\n\n````text\nout```put\n````\n"));
  CHECK(has(&out, "![a title \\[x\\]](../diagrams/05_attention.svg)"));
  CHECK(has(&out, "| a | b\\|c |\n|:---|---:|\n| 1 | `x` |\n"));
  CHECK(has(&out, "<summary>Is 1 &lt; 2 in <code>C</code>?</summary>\n\nYes, $1 < 2$.\n"));
  CHECK(has(&out,
            "- Vaswani et al. 2017 ([arXiv:1706.03762](https://arxiv.org/abs/1706.03762)).\n- Dao et al. "
            "2022, FlashAttention ([arXiv:2205.14135]"));
  CHECK(has(&out, "- A book.\n"));
  CHECK(!strstr(out.data, "Source:") && !strstr(out.data, "═"));
  CHECK(pml_page_render(p, &again) == PML_OK && again.len == out.len &&
        !memcmp(again.data, out.data, out.len));
  pml_buf_free(&out);
  pml_buf_free(&again);
  pml_page_free(p);
}

static void test_refused(void) {
  pml_buf out = {0};
  TEST("an empty section");
  pml_page *p = new_page();
  pml_page_idea(p, 14);
  CHECK(pml_page_render(p, &out) == PML_E_CHECK && strstr(pml_error(), "What you will be able to do"));
  pml_page_free(p);
  TEST("a mark that is not there");
  p = new_page();
  fill(p);
  pml_page_quote(p, "softmax");
  CHECK(pml_page_save(p, "out/test_page.md") == PML_E_CHECK && strstr(pml_error(), "'softmax'"));
  CHECK(!pml_file_exists("out/test_page.md"));
  pml_page_free(p);
  TEST("a section that is not there");
  p = new_page();
  fill(p);
  pml_page_idea(p, 77);
  CHECK(pml_page_render(p, &out) == PML_E_CHECK && strstr(pml_error(), "§ 77"));
  pml_page_free(p);
  TEST("no such header");
  CHECK(pml_page_create(&p, "t", "l", "s", "out/no_such_header.h", NULL) == PML_E_IO && p == NULL);
  pml_buf_free(&out);
}

/* Writes a lesson with this comment, or with all of `text` when it holds one, and renders its page. */
static pml_status prose(const char *text, pml_buf *out) {
  static const pml_fact facts[] = {{"share", "%", 12.3456, NULL}, {"words", "", 12345, NULL}, {"name", "", 0, (char *)"<a_b>"}};
  pml_buf source = {0};
  pml_page *p = NULL;
  pml_buf_puts(&source, "int main(void) { return 0; }\n/* @loop */\nfor (;;);\n/* @end */\n");
  if (!strstr(text, "@page")) pml_buf_puts(&source, "\n/* @page\n");
  pml_buf_puts(&source, text);
  if (!strstr(text, "@page")) pml_buf_puts(&source, "*" "/\n");
  CHECK(pml_file_write("out/test_prose.c", source.data, source.len) == PML_OK);
  CHECK(pml_page_create(&p, "05 · Attention", "Part 0", "A summary.", "out/test_header.h", "out/test_prose.c") == PML_OK);
  pml_buf_free(&source);
  out->len = 0;
  if (!p) return PML_E_IO;
  pml_page_idea(p, 14);
  pml_page_run(p, "cc x.c", "output\n");
  pml_page_diagram(p, "../diagrams/05_attention.svg", "a title");
  pml_page_prose(p, facts, 3);
  pml_status st = pml_page_render(p, out);
  pml_page_free(p);
  return st;
}

#define PROSE(mechanism, check)                                                                       \
  "## What you will be able to do\n- one;\n- two\n  that goes on.\n\n## The mechanism\n" mechanism   \
  "\n## Break it\nBreak.\n\n## Check yourself\n" check

static void test_prose(void) {
  pml_buf out = {0};
  TEST("the comment @page");
  CHECK_MSG(prose(PROSE("First {share} of {words},\n{share:.1f} %, not `{x}` nor $\\frac{a}{b}$, `` ` {y} `` but \\{z} {name}.\n@quote loop\n"
                        "After.\n@quote dot\n\n\n| a | b |\n|---|---|\n\n```c\n## {no heading}\n\n```\n\n$$\nx_{i}\n$$\n",
                        "### Is {name} < `x`?\nYes,\n{words:.0f}.\n\nTwo paragraphs.\n### No?\nNo.\n\n## Sources\n- A book\n  of 1984 (arXiv:1706.03762).\n- Another\n"),
                  &out) == PML_OK, "%s", pml_error());
  CHECK(has(&out, "## What you will be able to do\n\n- one;\n- two\n  that goes on.\n\n## The idea"));
  CHECK(has(&out, "First 12.3 of 12,345,\n12.3 %, not `{x}` nor $\\frac{a}{b}$, `` ` {y} `` but \\{z} \\<a\\_b\\>.\n\nFrom the lesson:\n\n```c\nfor (;;);\n```\n\nAfter.\n"));
  CHECK(has(&out, "After.\n\nFrom [prodml.h](../prodml.h), § 14 Attention:\n\n```c\nfloat dot(void) {"));
  CHECK(has(&out, "```\n\n| a | b |\n|---|---|\n\n```c\n## {no heading}\n\n```\n\n$$\nx_{i}\n$$\n\n## Run it"));
  CHECK(has(&out, "<summary>Is &lt;a_b> &lt; <code>x</code>?</summary>\n\nYes,\n12,345.\n\nTwo paragraphs.\n\n</details>\n"));
  CHECK(has(&out, "<summary>No?</summary>\n\nNo.\n\n</details>\n\n## Sources\n"));
  CHECK(has(&out, "- A book of 1984 ([arXiv:1706.03762](https://arxiv.org/abs/1706.03762)).\n- Another.\n"));
  TEST("a broken comment @page");
  const char *bad[][2] = {
      {"int x; /* no page */\n/* @pages\n*" "/", "no comment that begins with a line '/* @page'"},
      {"\n/* @page\n## Break it\nno end\n", "has no last line '*" "/'"},
      {"\n/* @page\n## Break it\nan end. *" "/\n", "has no last line '*" "/'"},
      {"text\n", "line 7: the comment @page must begin with a heading"},
      {"## Brake it\nx\n", "line 7: 'Brake it' is no section of a page"},
      {PROSE("{loss} falls\n", "### a\nb\n"), "line 13: the run has no value {loss}"},
      {PROSE("{share:.9f}\n", "### a\nb\n"), "line 13: {share:.9f}: give"},
      {PROSE("{name:.1f}\n", "### a\nb\n"), "line 13: {name:.1f}: give"},
      {PROSE("{share is open\n", "### a\nb\n"), "line 13: '{' is not closed"},
      {PROSE("`code is open\n\n{share}\n", "### a\nb\n"), "line 14: a span that began with `"},
      {PROSE("costs 5 $\n", "### a\nb\n"), "a span that began with $"},
      {PROSE("@quote nothing\n", "### a\nb\n"), "line 13: neither the lesson nor prodml.h has code between the marks @end and 'nothing'"},
      {PROSE("@include loop\n", "### a\nb\n"), "line 13: '@include loop' is no directive"},
      {PROSE("```\nopen\n", "### a\nb\n"), "block of code is not closed"},
      {PROSE("x\n", "an answer without a question\n"), "this part holds questions"},
      {PROSE("x\n", "### a\n### b\nc\n"), "the question 'a' has no answer"},
      {PROSE("x\n", "### a\n@quote dot\n"), "is no directive"},
      {PROSE("x\n", ""), "the section 'Check yourself' is empty"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    CHECK_MSG(prose(bad[i][0], &out) == PML_E_CHECK && strstr(pml_error(), bad[i][1]), "%zu: %s", i, pml_error());
  remove("out/test_prose.c");
  pml_buf_free(&out);
}

/* Every banner of the real header must turn into Markdown. */
static void test_real_header(void) {
  TEST("every banner of prodml.h");
  if (!pml_file_exists("prodml.h")) {
    SKIP("prodml.h is not in the current directory");
    return;
  }
  for (int n = 1; n <= 51; n++) {
    pml_page *p;
    if (pml_page_create(&p, "t", "l", "s", "prodml.h", NULL) != PML_OK) {
      CHECK_MSG(false, "%s", pml_error());
      return;
    }
    pml_page_idea(p, n);
    CHECK_MSG(!*p->fault && p->part[PML_PAGE_IDEA].len > 10, "§ %d: %s", n, p->fault);
    int fences = 0;
    for (const char *q = p->part[PML_PAGE_IDEA].data; q && (q = strstr(q, "```")) != NULL; q += 3) fences++;
    CHECK_MSG(fences % 2 == 0, "§ %d has %d fences", n, fences);
    pml_page_free(p);
  }
}

static void test_record(void) {
  static pml_record a, b;
  TEST("a record survives the file");
  pml_record_start(&a);
  CHECK(*a.machine && *a.compiler && strlen(a.date) == 10);
  pml_number x = {"decode", "tok/s", 31.25, 30.5, 32.125, 20},
             y = {"say \"hi\" \xc3\xa9", "", 0.1, 0.1, 0.1, 1};
  CHECK(pml_record_add(&a, &x) == PML_OK && pml_record_add(&a, &y) == PML_OK);
  x.median = 31.5;
  CHECK(pml_record_add(&a, &x) == PML_OK && a.n == 2);
  CHECK(pml_record_write(&a, "out/test_record.json") == PML_OK);
  CHECK_MSG(pml_record_read(&b, "out/test_record.json") == PML_OK, "%s", pml_error());
  CHECK(b.n == 2 && !strcmp(a.machine, b.machine) && !strcmp(a.date, b.date));
  const pml_number *z = pml_record_find(&b, "decode");
  CHECK(z && z->median == 31.5 && z->lo == 30.5 && z->hi == 32.125 && z->n == 20 &&
        !strcmp(z->unit, "tok/s"));
  CHECK(pml_record_find(&b, y.name) != NULL && pml_record_find(&b, "none") == NULL);
  TEST("bad records");
  const char *bad[] = {
      "",
      "{",
      "[]",
      "{\"machine\":\"m\",\"date\":\"d\"}",
      "{\"machine\":\"m\",\"date\":\"2026-11-20-and-more\",\"compiler\":\"c\",\"numbers\":[]}",
      "{\"machine\":\"m\",\"date\":\"d\",\"compiler\":\"c\",\"numbers\":[{\"name\":\"x\"}]}",
      ("{\"machine\":\"m\",\"date\":\"d\",\"compiler\":\"c\",\"numbers\":[{\"name\":\"x\",\"unit\":\"\","
      "\"median\":1,\"lo\":1,\"hi\":1,\"n\":0}]}")};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK(pml_file_write("out/test_record.json", bad[i], strlen(bad[i])) == PML_OK);
    CHECK_MSG(
        pml_record_read(&b, "out/test_record.json") != PML_OK && strstr(pml_error(), "test_record.json"),
        "%zu: %s", i, pml_error());
  }
  TEST("full");
  a.n = 0;
  pml_status st = PML_OK;
  for (int i = 0; i <= PML_RECORD_MAX && st == PML_OK; i++) {
    snprintf(x.name, sizeof x.name, "n%d", i);
    st = pml_record_add(&a, &x);
  }
  CHECK(st == PML_E_LIMIT && a.n == PML_RECORD_MAX);
  char shown[128];
  TEST("shown");
  pml_number_show(shown, &(pml_number){"d", "tok/s", 31.25, 30.5, 32.1, 20});
  CHECK_MSG(!strcmp(shown, "31.3 tok/s (30.5 to 32.1, n 20)"), "%s", shown);
  pml_number_show(shown, &(pml_number){"d", "ms", 0.0267, 0, 0, 1});
  CHECK_MSG(!strcmp(shown, "0.0267 ms"), "%s", shown);
}

int main(void) {
  size_t before = pml_memory_in_use();
  page_files();
  test_page();
  test_refused();
  test_prose();
  test_real_header();
  test_record();
  remove("out/test_header.h");
  remove("out/test_lesson_source.c");
  remove("out/test_record.json");
  TEST("no leak");
  CHECK(pml_memory_in_use() == before);
  return TEST_END();
}
