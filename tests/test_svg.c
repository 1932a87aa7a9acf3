/* § 49: text measurement, layout, charts, checks, bytes, PNG. */
#include "prodml.h"
#include "test.h"

static const pml_svg_head head = {
    .title = "One message, as a sentence", .tag = "Part 0", .source = "computed by tests/test_svg.c"};

static bool near(double a, double b, double tolerance) { return fabs(a - b) <= tolerance; }

static void test_measure(void) {
  pml_font f = {.size = 100}, bold = {.size = 100, .weight = 600}, mono = {.size = 100, .mono = true};
  TEST("widths");
  CHECK(pml_text_width("", &f) == 0);
  CHECK(near(pml_text_width("i", &mono), 60, 1e-9) && near(pml_text_width("→", &mono), 60, 1e-9));
  CHECK(pml_text_width("W", &f) > 3 * pml_text_width("i", &f));
  CHECK(pml_text_width("weight", &bold) > pml_text_width("weight", &f));
  CHECK(near(pml_text_width("ab", &f), pml_text_width("a", &f) + pml_text_width("b", &f), 1e-9));
  CHECK(pml_text_width("√", &f) > 0 && pml_text_width("√", &f) != 100);
  CHECK(pml_text_width("漢", &f) == 100);       /* unknown: a full em */
  CHECK(pml_text_width("\xff\xfe", &f) == 200); /* not UTF-8: no crash */
  TEST("numbers");
  struct {
    double v;
    int d;
    const char *text;
  } n[] = {{0, 0, "0"},
           {1234567, 0, "1,234,567"},
           {-0.004, 2, "0.00"},
           {-1.5, 1, "−1.5"},
           {0.125, 2, "0.13"},
           {999.999, 2, "1,000.00"},
           {(double)NAN, 2, "NaN"},
           {HUGE_VAL, 0, "∞"},
           {1e14, 3, "100,000,000,000,000"}};
  for (size_t i = 0; i < sizeof n / sizeof n[0]; i++) {
    char out[48];
    pml_number_text(out, n[i].v, n[i].d);
    CHECK_MSG(!strcmp(out, n[i].text), "%s", out);
  }
  TEST("visible");
  pml_buf b = {0};
  pml_text_visible(&b, " a\n\t\x01\xc3", 6);
  CHECK(!strcmp(b.data, "·a\\n\\t\\x01\\xc3"));
  pml_buf_free(&b);
}

static void test_colour(void) {
  TEST("contrast");
  CHECK(near(pml_rgb_contrast(0xFFFFFF, 0x000000), 21, 1e-6));
  CHECK(near(pml_rgb_contrast(0x777777, 0xFFFFFF), 4.478, 0.002));
  CHECK(pml_rgb_readable(PML_TEXT, PML_CANVAS, 4.5) == PML_TEXT);
  CHECK(pml_rgb_contrast(pml_rgb_readable(PML_BLUE, PML_CANVAS, 4.5), PML_CANVAS) >= 4.5);
  for (unsigned i = 0; i < 4096; i++) {
    pml_rgb c = (i & 15) * 0x11 | ((i >> 4) & 15) * 0x1100 | (i >> 8) * 0x110000;
    if (pml_rgb_contrast(pml_rgb_on(c), c) < 4.5) CHECK_MSG(false, "%06x", c);
  }
  CHECK(pml_rgb_mix(0x000000, 0xFFFFFF, 0.5) == 0x808080);
}

/* The number of faults of a picture that one call spoils. */
static int faults_of(void (*spoil)(pml_svg *)) {
  pml_svg *s;
  pml_buf report = {0};
  int n = 0;
  CHECK(pml_svg_create(&s, &head) == PML_OK);
  pml_svg_text(s, 300, 300, (pml_font){.size = 30}, "a good text");
  spoil(s);
  pml_status st = pml_svg_check(s, &report);
  for (size_t i = 0; i < report.len; i++) n += report.data[i] == '\n';
  CHECK((st == PML_OK) == (n == 0));
  pml_buf_free(&report);
  pml_svg_free(s);
  return n;
}

static void nothing(pml_svg *s) { (void)s; }
static void overlap(pml_svg *s) { pml_svg_text(s, 310, 310, (pml_font){.size = 30}, "another"); }
static void small(pml_svg *s) { pml_svg_text(s, 300, 500, (pml_font){.size = 19}, "small"); }
static void outside(pml_svg *s) { pml_svg_text(s, 1850, 500, (pml_font){.size = 30}, "too far right"); }
static void dim(pml_svg *s) { pml_svg_text(s, 300, 500, (pml_font){.colour = PML_BLUE}, "dim"); }
static void edge(pml_svg *s) {
  pml_svg_rect(s, (pml_box){200, 270, 150, 60}, 0, PML_PANEL, PML_NO_COLOUR, 0);
}
static void through(pml_svg *s) { pml_svg_line(s, 250, 250, 350, 320, PML_RED, 3); }
static void covered(pml_svg *s) {
  pml_svg_rect(s, (pml_box){200, 200, 500, 200}, 0, PML_PANEL, PML_NO_COLOUR, 0);
}
static void dot(pml_svg *s) { pml_svg_circle(s, 320, 295, 9, PML_RED, PML_NO_COLOUR, 0); }
static void nan_line(pml_svg *s) { pml_svg_line(s, 0, 0, (double)NAN, 10, PML_RED, 3); }
static void off(pml_svg *s) { pml_svg_rect(s, (pml_box){1900, 500, 40, 40}, 0, PML_RED, PML_NO_COLOUR, 0); }
static void crowded(pml_svg *s) {
  pml_svg_text_in(s, (pml_box){600, 600, 60, 30}, (pml_font){.size = 30}, PML_START,
                  "this cannot fit in here");
}
static void unseen(pml_svg *s) { pml_svg_line(s, 100, 700, 900, 700, 0x0A0F20, 3); }
static void hidden_line(pml_svg *s) { /* a box above the line hides it: no fault */
  pml_svg_line(s, 500, 700, 900, 700, PML_RED, 3);
  pml_svg_rect(s, (pml_box){600, 670, 200, 60}, 0, PML_PANEL, PML_NO_COLOUR, 0);
  pml_svg_text(s, 620, 708, (pml_font){.size = 24}, "label");
}
static void rule(pml_svg *s) { pml_svg_rule(s, 250, 295, 500, 295); }
static void tight_table(pml_svg *s) {
  const char *cells[] = {"a long heading", "another long heading", "x", "y"};
  pml_svg_table(s, (pml_box){400, 600, 200, 100}, cells, 2, 2, "ll", 0);
}
static void many_tokens(pml_svg *s) {
  pml_str t[40];
  for (int i = 0; i < 40; i++) t[i] = pml_str_of(" token");
  pml_svg_tokens(s, (pml_box){60, 700, 500, 64}, t, 40, NULL, NULL, NULL);
}

static void test_check(void) {
  TEST("faults");
  CHECK(faults_of(nothing) == 0);
  CHECK(faults_of(overlap) == 1);
  CHECK(faults_of(small) == 1);
  CHECK(faults_of(outside) == 1);
  CHECK(faults_of(dim) == 1);
  CHECK(faults_of(edge) == 1);
  CHECK(faults_of(through) == 1);
  CHECK(faults_of(covered) >= 1);
  CHECK(faults_of(dot) == 1);
  CHECK(faults_of(nan_line) == 1);
  CHECK(faults_of(off) == 1);
  CHECK(faults_of(crowded) == 1);
  CHECK(faults_of(unseen) == 1);
  CHECK(faults_of(hidden_line) == 0);
  CHECK(faults_of(rule) == 0);
  CHECK(faults_of(tight_table) >= 1);
  CHECK(faults_of(many_tokens) >= 1);
}

/* Every drawing function on ordinary and on awkward input; the result must pass. */
static void draw_all(pml_svg *s, pml_rng *r, int round) {
  pml_box body = pml_svg_body(s), left = pml_box_column(body, 0, 2, 60),
          right = pml_box_column(body, 1, 2, 60);
  double x[60], y[60], z[60], lo[60], hi[60], v[80];
  int n = 1 + (int)pml_rng_below(r, 60);
  double scale = pml_expd((double)pml_rng_normal(r) * 3);
  for (int i = 0; i < n; i++) {
    x[i] = 1 + i * scale;
    y[i] = scale * (2 + (double)pml_rng_uniform(r) + 0.1 * i);
    z[i] = y[i] * 1.02;
    lo[i] = y[i] * 0.9;
    hi[i] = y[i] * 1.1;
  }
  pml_series line[] = {
      {.label = "ours", .n = n, .x = x, .y = y, .lo = lo, .hi = hi, .colour = PML_GREEN, .mark = round % 3},
      {.label = "theirs", .n = n, .x = x, .y = z, .colour = PML_PURPLE, .dashed = true}};
  if (round % 4 == 0) {
    pml_svg_chart(s, left, (pml_axis){.label = "x", .log = round % 8 == 0},
                  (pml_axis){.label = "y", .log = round % 16 == 0}, line, 2);
    pml_bar bars[4] = {{"scalar", y[0], lo[0], hi[0], PML_PURPLE, NULL},
                       {"AVX2", 2 * y[0], 0, 0, PML_BLUE, NULL},
                       {"AVX-512", 3 * y[0], 0, 0, PML_GREEN, NULL},
                       {"none", 0, 0, 0, 0, "0"}};
    pml_svg_bars(
        s, right, bars, 1 + round / 4 % 4,
        &(pml_bar_options){
            .unit = "tok/s", .decimals = 2, .limit = y[0] * (1 + round % 5), .limit_label = "limit"});
  } else if (round % 4 == 1) {
    const char *names[] = {"one", "two", "three", "four", "five", "six", "seven", "eight"};
    for (int i = 0; i < 64; i++) v[i] = i % 7 == 3 ? (double)NAN : (double)pml_rng_normal(r) * scale;
    pml_svg_heat(s, left, v, 8, 8,
                 &(pml_heat_options){.row_names = names,
                                     .col_names = names,
                                     .row_title = "query",
                                     .col_title = "key",
                                     .scale_title = "score",
                                     .diverging = round % 8 == 1,
                                     .decimals = 2});
    pml_series col = {.n = n, .y = y, .mark = PML_MARK_COLUMNS, .colour = PML_ORANGE};
    pml_svg_chart(s, right, (pml_axis){.label = "bin"}, (pml_axis){.label = "count"}, &col, 1);
  } else if (round % 4 == 2) {
    const char *cells[] = {"kernel", "GB/s", "share", "scalar", "3.06", "12 %", "AVX2", "17.2", "66 %"};
    pml_svg_table(s, left, cells, 3, 3, "lRR", 2);
    for (int i = 0; i < 12; i++) v[i] = (double)pml_rng_normal(r) * 10;
    pml_svg_matrix(s, right, "W_Q", v, 3, 4, 2, PML_TEAL);
  } else {
    pml_str tok[] = {pml_str_of("What"), pml_str_of(" is"), pml_str_of("\n"), {"\xe2\x88", 2}};
    const char *notes[] = {"1", "22", "333", "long note"};
    pml_svg_tokens(s, left, tok, 4, notes, NULL, NULL);
    pml_box in =
        pml_svg_panel(s, right, "A heading that is long enough to be wrapped or to shrink", PML_TEAL);
    pml_svg_text_in(
        s, in, (pml_font){.size = 30}, PML_MIDDLE,
        "Some words\nand a second line that wraps because it is rather long for its box, is it not");
    pml_svg_node(s, (pml_box){100, 500, 200, 120}, "embed", "9 × 256", PML_BLUE);
    pml_svg_node(s, (pml_box){500, 500, 200, 120}, "head", NULL, PML_ORANGE);
    pml_svg_arrow(s, 306, 560, 494, 560, PML_MUTED, "9 KiB");
    pml_svg_arrow(s, 200, 640, 200, 800, PML_MUTED, "down");
  }
}

static void test_draw(void) {
  pml_rng r = pml_rng_seed(7);
  TEST("drawings pass their own check");
  for (int round = 0; round < 64; round++) {
    pml_svg *s;
    pml_buf report = {0};
    CHECK(pml_svg_create(&s, &head) == PML_OK);
    draw_all(s, &r, round);
    CHECK_MSG(pml_svg_check(s, &report) == PML_OK, "round %d: %s", round, report.data);
    pml_buf_free(&report);
    pml_svg_free(s);
  }
}

static void test_bytes(void) {
  pml_buf a = {0}, b = {0};
  TEST("the same calls give the same bytes");
  for (int k = 0; k < 2; k++) {
    pml_rng r = pml_rng_seed(3);
    pml_svg *s;
    CHECK(pml_svg_create(&s, &head) == PML_OK);
    draw_all(s, &r, 1);
    draw_all(s, &r, 2);
    CHECK(pml_svg_render(s, k ? &b : &a) == PML_OK);
    pml_svg_free(s);
  }
  CHECK(a.len == b.len && !memcmp(a.data, b.data, a.len));
  CHECK(strstr(a.data, "<title id=\"title\">One message, as a sentence</title>") != NULL);
  CHECK(!strstr(a.data, "nan") && !strstr(a.data, "inf"));
  pml_buf_free(&a);
  pml_buf_free(&b);
}

static void test_files(void) {
  pml_svg *s;
  TEST("a faulty picture is not written");
  CHECK(pml_svg_create(&s, &head) == PML_OK);
  remove("out/test_svg.svg");
  overlap(s);
  overlap(s);
  CHECK(pml_svg_save(s, "out/test_svg.svg") == PML_E_CHECK && strstr(pml_error(), "overlaps"));
  CHECK(!pml_file_exists("out/test_svg.svg"));
  pml_svg_free(s);
  TEST("png");
  CHECK(pml_svg_create(&s, &head) == PML_OK);
  pml_rng r = pml_rng_seed(3);
  draw_all(s, &r, 3);
  pml_status st = pml_svg_png(s, "out/test_svg.png");
  if (st == PML_E_UNSUPPORTED) {
    CHECK(strstr(pml_error(), "built without stb_image_write") != NULL);
    SKIP("PNG bytes: built without PRODML_USE_STB");
  } else {
    char *data = NULL;
    size_t size = 0;
    CHECK(st == PML_OK && pml_file_read("out/test_svg.png", &data, &size) == PML_OK);
    CHECK(size > 10000 && !memcmp(data, "\x89PNG\r\n\x1a\n", 8));
    pml_free(data);
    remove("out/test_svg.png");
  }
  pml_svg_free(s);
}

int main(void) {
  size_t before = pml_memory_in_use();
  pml_mkdirs("out");
  test_measure();
  test_colour();
  test_check();
  test_draw();
  test_bytes();
  test_files();
  TEST("no leak");
  CHECK(pml_memory_in_use() == before);
  return TEST_END();
}
