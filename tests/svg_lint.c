/* Lints the SVG files that § 49 wrote, from the file alone:

     svg_lint FILE…        a line per fault, status 1 if there was one
     svg_lint --self-test  plants faults into a good picture and expects each to be found

   It reads the small grammar that pml_svg_render writes and nothing else: an element or
   attribute outside it (a filter, an image, a style, an opacity, a link) is a fault.
   What it reads it draws again, and pml_svg_check judges the result.

     cc -O1 -I. tests/svg_lint.c -o svg_lint -lm -pthread */
#define PRODML_IMPLEMENTATION
#include "prodml.h"
#include "test.h"

typedef struct {
  const char *name;
  size_t name_len;
  const char *key[24], *value[24];
  size_t key_len[24], value_len[24];
  int n;
} tag;

typedef struct {
  const char *at, *end, *file;
  int faults;
  bool quiet;
} lint;

static void fault(lint *l, const char *fmt, ...) PML__PRINTF(2, 3);
static void fault(lint *l, const char *fmt, ...) {
  va_list ap;
  l->faults++;
  if (l->quiet) return;
  va_start(ap, fmt);
  printf("%s: ", l->file);
  vprintf(fmt, ap);
  printf("\n");
  va_end(ap);
}

static bool same(const char *s, size_t len, const char *word) {
  return len == strlen(word) && !memcmp(s, word, len);
}

/* Reads "<name key="value" …>" at l->at; false at the end or at something else. */
static bool read_tag(lint *l, tag *t) {
  const char *p = l->at;
  memset(t, 0, sizeof *t);
  while (p < l->end && (*p == '\n' || *p == ' ')) p++;
  if (p >= l->end || *p++ != '<') return false;
  t->name = p;
  while (p < l->end && *p != ' ' && *p != '>' && *p != '\n') p++;
  t->name_len = (size_t)(p - t->name);
  while (p < l->end && *p != '>') {
    if (*p == '/' || *p == ' ' || *p == '\n') {
      p++;
      continue;
    }
    const char *key = p;
    while (p < l->end && *p != '=' && *p != '>' && *p != ' ') p++;
    size_t key_len = (size_t)(p - key);
    if (p + 1 >= l->end || p[0] != '=' || p[1] != '"' || t->n == 24) return false;
    const char *value = p += 2;
    while (p < l->end && *p != '"') p++;
    if (p >= l->end) return false;
    t->key[t->n] = key;
    t->key_len[t->n] = key_len;
    t->value[t->n] = value;
    t->value_len[t->n++] = (size_t)(p++ - value);
  }
  if (p >= l->end) return false;
  l->at = p + 1;
  return true;
}

/* The value of an attribute as a 0-terminated copy of at most 255 bytes, "" when absent. */
static const char *attr(const tag *t, const char *key, char out[256]) {
  out[0] = 0;
  for (int i = 0; i < t->n; i++)
    if (same(t->key[i], t->key_len[i], key)) snprintf(out, 256, "%.*s", (int)t->value_len[i], t->value[i]);
  return out;
}

static double number(const tag *t, const char *key) {
  char text[256];
  attr(t, key, text);
  return *text ? strtod(text, NULL) : 0;
}

static pml_rgb colour(lint *l, const tag *t, const char *key) {
  char text[256], *end;
  attr(t, key, text);
  if (!*text || !strcmp(text, "none")) return PML_NO_COLOUR;
  unsigned long v = *text == '#' ? strtoul(text + 1, &end, 16) : 0;
  if (*text != '#' || strlen(text) != 7 || *end) fault(l, "%s=\"%s\" is not a #rrggbb colour", key, text);
  return (pml_rgb)v;
}

static void allow(lint *l, const tag *t, const char *keys) {
  for (int i = 0; i < t->n; i++) {
    char word[64];
    snprintf(word, sizeof word, " %.*s ", (int)t->key_len[i], t->key[i]);
    if (!strstr(keys, word))
      fault(l, "<%.*s> has the attribute %.*s, which our writer never writes", (int)t->name_len, t->name,
            (int)t->key_len[i], t->key[i]);
  }
}

/* Text up to the closing tag, entities resolved. */
static void read_text(lint *l, char *out, size_t cap) {
  static const char *const entity[][2] = {{"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}, {"&quot;", "\""}};
  static const char *const skipped[] = {"<tspan>", "</tspan>"}; /* they keep signs of code apart */
  size_t n = 0;
  while (l->at < l->end) {
    size_t used = 0;
    for (int i = 0; i < 2; i++)
      if ((size_t)(l->end - l->at) > strlen(skipped[i]) && !strncmp(l->at, skipped[i], strlen(skipped[i])))
        used = strlen(skipped[i]);
    l->at += used;
    if (used) continue;
    if (*l->at == '<') break;
    used = 1;
    char c = *l->at;
    for (int i = 0; i < 4 && c == '&'; i++)
      if ((size_t)(l->end - l->at) >= strlen(entity[i][0]) &&
          !strncmp(l->at, entity[i][0], strlen(entity[i][0])))
        c = entity[i][1][0], used = strlen(entity[i][0]);
    if (n + 1 < cap) out[n++] = c;
    l->at += used;
  }
  out[n] = 0;
}

static void lint_text(lint *l, const tag *t, pml_svg *s) {
  char text[1024], word[256];
  allow(l, t, " x y font-size font-family font-weight fill text-anchor transform textLength lengthAdjust style ");
  read_text(l, text, sizeof text);
  attr(t, "font-weight", word);
  pml_font f = {.size = number(t, "font-size"),
                .weight = !strcmp(word, "600") ? 600 : 400,
                .colour = colour(l, t, "fill")};
  attr(t, "font-family", word);
  f.mono = !strncmp(word, "JetBrains", 9);
  if (*word && !f.mono) fault(l, "font-family '%s' is none of ours", word);
  attr(t, "text-anchor", word);
  f.anchor = !strcmp(word, "middle") ? PML_MIDDLE : !strcmp(word, "end") ? PML_END : PML_START;
  if (!*text) fault(l, "an empty text at %.0f,%.0f", number(t, "x"), number(t, "y"));
  if (f.size <= 0) f.size = 1;
  if (fabs(pml_text_width(text, &f) - number(t, "textLength")) > 0.02)
    fault(l, "'%s' says it is %.2f wide, measured %.2f: was the file edited?", text, number(t, "textLength"),
          pml_text_width(text, &f));
  if (*attr(t, "transform", word)) pml_svg_text_up(s, number(t, "x"), number(t, "y"), f, text);
  else pml_svg_text(s, number(t, "x"), number(t, "y"), f, text);
}

static void lint_points(lint *l, const tag *t, pml_svg *s, bool polygon) {
  static double xy[20000];
  int n = 0;
  char word[256];
  allow(l, t,
        polygon ? " points fill "
                : " points fill stroke stroke-width stroke-linejoin stroke-linecap stroke-dasharray class ");
  for (int i = 0; i < t->n; i++) {
    if (!same(t->key[i], t->key_len[i], "points")) continue;
    const char *p = t->value[i], *end = p + t->value_len[i];
    while (p < end && n < 20000) {
      char *next;
      xy[n++] = strtod(p, &next);
      if (next == p) break;
      p = next + 1;
    }
  }
  if (polygon) {
    pml_svg_polygon(s, xy, n / 2, colour(l, t, "fill"));
    return;
  }
  pml_rgb stroke = colour(l, t, "stroke");
  if (!strcmp(attr(t, "class", word), "rule")) {
    if (stroke != PML_GRID || n != 4) fault(l, "a rule must be one faint segment");
    pml_svg_rule(s, xy[0], xy[1], xy[2], xy[3]);
  } else
    pml_svg_polyline(s, xy, n / 2, stroke, number(t, "stroke-width"),
                     *attr(t, "stroke-dasharray", word) != 0);
}

static void lint_element(lint *l, const tag *t, pml_svg *s, int *depth, bool *has_title, bool *has_desc) {
  char text[1024];
  if (t->name[0] == '/') return;
  if (same(t->name, t->name_len, "svg")) {
    allow(l, t, " xmlns width height viewBox role aria-labelledby ");
    if (number(t, "width") != PML_SVG_W || number(t, "height") != PML_SVG_H ||
        strcmp(attr(t, "viewBox", text), "0 0 1920 1080"))
      fault(l, "the picture is not 1920 × 1080");
    (*depth)++;
  } else if (same(t->name, t->name_len, "title") || same(t->name, t->name_len, "desc")) {
    bool *has = t->name[0] == 't' ? has_title : has_desc;
    allow(l, t, " id ");
    read_text(l, text, sizeof text);
    *has = *text != 0;
  } else if (same(t->name, t->name_len, "g")) allow(l, t, " font-family xml:space ");
  else if (same(t->name, t->name_len, "rect")) {
    pml_box b = {number(t, "x"), number(t, "y"), number(t, "width"), number(t, "height")};
    allow(l, t, " x y width height rx fill stroke stroke-width ");
    if (!*attr(t, "x", text)) {
      if (b.w != PML_SVG_W || b.h != PML_SVG_H || colour(l, t, "fill") != PML_CANVAS)
        fault(l, "the canvas is not #020617");
    } else
      pml_svg_rect(s, b, number(t, "rx"), colour(l, t, "fill"), colour(l, t, "stroke"),
                   number(t, "stroke-width"));
  } else if (same(t->name, t->name_len, "circle")) {
    allow(l, t, " cx cy r fill stroke stroke-width ");
    pml_svg_circle(s, number(t, "cx"), number(t, "cy"), number(t, "r"), colour(l, t, "fill"),
                   colour(l, t, "stroke"), number(t, "stroke-width"));
  } else if (same(t->name, t->name_len, "polyline")) lint_points(l, t, s, false);
  else if (same(t->name, t->name_len, "polygon")) lint_points(l, t, s, true);
  else if (same(t->name, t->name_len, "text")) lint_text(l, t, s);
  else fault(l, "<%.*s> is not an element our writer writes", (int)t->name_len, t->name);
}

static int lint_bytes(const char *file, const char *data, size_t size, bool quiet) {
  lint l = {data, data + size, file, 0, quiet};
  bool has_title = false, has_desc = false;
  int depth = 0;
  tag t;
  pml_svg *s;
  pml_buf report = {0};
  if (pml_svg_create(&s, NULL) != PML_OK) {
    fault(&l, "%s", pml_error());
    return 1;
  }
  while (read_tag(&l, &t)) lint_element(&l, &t, s, &depth, &has_title, &has_desc);
  while (l.at < l.end && *l.at == '\n') l.at++;
  if (l.at < l.end) fault(&l, "byte %zu: something that our writer never writes", (size_t)(l.at - data));
  if (depth != 1) fault(&l, "not one <svg> element");
  if (!has_title || !has_desc) fault(&l, "no <title> or no <desc>: a screen reader has nothing to say");
  if (pml_svg_check(s, &report) != PML_OK) {
    if (!report.len) fault(&l, "%s", pml_error());
    for (char *p = report.data, *nl; report.len && (nl = strchr(p, '\n')) != NULL; p = nl + 1) {
      *nl = 0;
      fault(&l, "%s", p);
    }
  }
  pml_buf_free(&report);
  pml_svg_free(s);
  return l.faults;
}

/* A good picture with one of everything. */
static void good_picture(pml_buf *out) {
  pml_svg *s;
  double x[] = {1, 2, 4}, y[] = {3, 2, 1}, lo[] = {2.8, 1.9, 0.9}, hi[] = {3.2, 2.1, 1.1};
  pml_series r = {
      .label = "measured", .n = 3, .x = x, .y = y, .lo = lo, .hi = hi, .mark = PML_MARK_LINE_POINTS};
  if (pml_svg_create(&s, &(pml_svg_head){.title = "A & B <agree>",
                                         .tag = "Part 0",
                                         .source = "computed by tests/svg_lint.c"}) != PML_OK)
    return;
  pml_box b = pml_box_column(pml_svg_body(s), 0, 2, 40), c = pml_box_column(pml_svg_body(s), 1, 2, 40);
  pml_svg_chart(s, b, (pml_axis){.label = "threads"}, (pml_axis){.label = "time (ms)"}, &r, 1);
  pml_svg_panel(s, c, "A panel", PML_TEAL);
  pml_svg_text(s, c.x + 40, c.y + 400, (pml_font){.size = 24}, "words in a panel");
  pml_svg_render(s, out);
  pml_svg_free(s);
}

/* Replaces the first `from` by `to`; the picture must then be refused. */
static void plant(const pml_buf *good, const char *name, const char *from, const char *to) {
  const char *at = strstr(good->data, from);
  pml_buf bad = {0};
  TEST(name);
  CHECK(at != NULL);
  if (!at) return;
  pml_buf_add(&bad, good->data, (size_t)(at - good->data));
  pml_buf_puts(&bad, to);
  pml_buf_puts(&bad, at + strlen(from));
  CHECK(lint_bytes(name, bad.data, bad.len, true) > 0);
  pml_buf_free(&bad);
}

static int self_test(void) {
  pml_buf good = {0};
  good_picture(&good);
  TEST("a good picture passes");
  CHECK(good.len > 0 && lint_bytes("good.svg", good.data, good.len, false) == 0);
  char words[128], edit[256];
  pml_font f = {.size = 24}, small = {.size = 18};
  double width = pml_text_width("words in a panel", &f);
  snprintf(words, sizeof words, "font-size=\"24\" fill=\"#f8fafc\" textLength=\"%.2f\"", width);
  snprintf(edit, sizeof edit, "font-size=\"18\" fill=\"#f8fafc\" textLength=\"%.2f\"",
           pml_text_width("words in a panel", &small));
  plant(&good, "small text", words, edit);
  snprintf(edit, sizeof edit, "font-size=\"24\" fill=\"#475569\" textLength=\"%.2f\"", width);
  plant(&good, "low contrast", words, edit);
  plant(&good, "edited text", ">words in a panel<", ">more words in a panel<");
  plant(&good, "empty text", ">words in a panel<", "><");
  plant(&good, "text outside the canvas", "<text x=\"1020\" y=\"510\"", "<text x=\"1820\" y=\"510\"");
  plant(&good, "text across a panel's edge", "<text x=\"1020\" y=\"510\"", "<text x=\"900\" y=\"510\"");
  plant(&good, "a filter", "<g font-family", "<filter id=\"f\"/><g font-family");
  plant(&good, "an opacity", "<circle cx", "<circle opacity=\"0.5\" cx");
  plant(&good, "an image", "</g>", "<image href=\"http://example.org/a.png\"/></g>");
  plant(&good, "no title", "A &amp; B &lt;agree&gt;</title>", "</title>");
  plant(&good, "another canvas", "fill=\"#020617\"", "fill=\"#ffffff\"");
  plant(&good, "another size", "viewBox=\"0 0 1920 1080\"", "viewBox=\"0 0 800 450\"");
  snprintf(edit, sizeof edit, "<text x=\"1030\" y=\"505\" %s>words in a panel</text></g>", words);
  plant(&good, "overlapping texts", "</g>", edit);
  plant(&good, "a line through a text", "</g>",
        "<polyline points=\"1000,502 1500,502\" fill=\"none\" stroke=\"#ef4444\" stroke-width=\"3\"/></g>");
  plant(&good, "a covered text", "</g>",
        "<rect x=\"1000\" y=\"450\" width=\"400\" height=\"90\" fill=\"#ef4444\"/></g>");
  plant(&good, "a rule that is not faint", "stroke=\"#1e293b\"", "stroke=\"#ef4444\"");
  plant(&good, "cut in the middle", "</g>\n</svg>", "<text x=\"10");
  pml_buf_free(&good);
  return TEST_END();
}

int main(int argc, char **argv) {
  int bad = 0;
  if (argc == 2 && !strcmp(argv[1], "--self-test")) return self_test();
  if (argc < 2) {
    fprintf(stderr, "usage: svg_lint FILE… | --self-test\n");
    return 2;
  }
  for (int i = 1; i < argc; i++) {
    char *data;
    size_t size;
    if (pml_file_read(argv[i], &data, &size) != PML_OK) {
      printf("%s\n", pml_error());
      bad++;
      continue;
    }
    bad += lint_bytes(argv[i], data, size, false) > 0;
    pml_free(data);
  }
  return bad > 0;
}
