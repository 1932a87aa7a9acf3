/* § 16: the tables against the Unicode files, UTF-8 against its definition. */
#include "prodml.h"
#include "test.h"
#define GEN_NO_MAIN
#include "gen_unicode.c"

static char *read_text(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  char *text = NULL;
  *size = 0;
  while (f) {
    text = realloc(text, *size + 65537);
    if (!text) exit(1);
    size_t n = fread(text + *size, 1, 65536, f);
    *size += n;
    text[*size] = 0;
    if (n == 0) {
      fclose(f);
      break;
    }
  }
  return text;
}

/* prodml.h lies beside the folder of this source, or in the working directory. */
static char *read_header(void) {
  char path[1024];
  size_t size;
  const char *slash = strrchr(__FILE__, '/');
  snprintf(path, sizeof path, "%.*s/../prodml.h", slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".");
  char *text = read_text(path, &size);
  return text ? text : read_text("prodml.h", &size);
}

static int class_of(uint32_t c) {
  return pml_is_letter(c) ? 1 : pml_is_number(c) ? 2 : pml_is_space(c) ? 3 : pml_is_punct(c) ? 4 : pml_is_symbol(c) ? 5
         : pml_is_mark(c) ? 6 : 0;
}

static void test_tables(void) {
  TEST("tables equal the generator's output");
  const char *dir = getenv("UNICODE_DATA") ? getenv("UNICODE_DATA") : "/usr/share/unicode";
  char version[16], marker[96];
  char *tables = gen_tables(dir, version);
  if (!tables) {
    SKIP("no Unicode data: install unicode-data or set UNICODE_DATA");
    return;
  }
  char *header = read_header();
  CHECK_MSG(header, "prodml.h not found");
  if (header) {
    snprintf(marker, sizeof marker, "/* generated from Unicode %s by tests/gen_unicode.c: begin */\n", version);
    char *begin = strstr(header, marker);
    if (begin) {
      begin += strlen(marker);
      char *end = strstr(begin, "/* generated: end */");
      CHECK(end && (size_t)(end - begin) == strlen(tables) && !memcmp(begin, tables, strlen(tables)));
    } else if (strstr(header, "/* generated from Unicode ")) {
      SKIP("the Unicode data here are of another version than the tables");
      free(header);
      free(tables);
      return;
    } else CHECK_MSG(false, "no generated tables in prodml.h");
  }
  free(header);
  free(tables);

  TEST("every code point has the class, width, lower case and decomposition of the files");
  gen_unicode *u = malloc(sizeof *u);
  if (!u) exit(1);
  CHECK(gen_load(u, dir));
  size_t wrong = 0;
  for (uint32_t c = 0; c < GEN_CODES; c++) {
    uint32_t want[8] = {0}, got[3] = {0};
    int n = c - 0xAC00 < 11172 ? 0 : gen_base(u, c, want);
    bool same = class_of(c) == (u->class_of[c] == 7 ? 6 : u->class_of[c]) && pml_display_width(c) == u->width[c] &&
                pml_lower(c) == (u->lower[c] ? u->lower[c] : c);
    if (n || c - 0xAC00 >= 11172)
      same = same && pml_strip_accents(c, got) == n && (n < 1 || got[0] == want[0]) && (n < 2 || got[1] == want[1]);
    if (!same)
      if (wrong++ == 0) printf("first difference at U+%04X\n", (unsigned)c);
  }
  CHECK_MSG(wrong == 0, "%zu code points", wrong);
  free(u);
}

static void test_known(void) {
  TEST("known characters");
  static const struct {
    uint32_t cp;
    int class, width;
  } known[] = {{'a', 1, 1},      {'Z', 1, 1},      {'@', 4, 1},      {'[', 4, 1},     {'0', 2, 1},
               {'9', 2, 1},      {':', 4, 1},      {' ', 3, 1},      {'\t', 3, 0},    {'\r', 3, 0},
               {0x0E, 0, 0},     {0x1C, 0, 0},     {0x7F, 0, 0},     {0x85, 3, 0},    {0xA0, 3, 1},
               {0xAA, 1, 1},     {0xAD, 0, 1},     {0xB2, 2, 1},     {0xD7, 5, 1},    {0xE9, 1, 1},
               {0x301, 6, 0},    {0x600, 0, 1},    {0x7FF, 5, 1},    {0x1160, 1, 0},  {0x200B, 0, 0},
               {0x2003, 3, 1},   {0x200F, 0, 0},   {0x2167, 2, 1},   {0x3000, 3, 2},   {0x4E00, 1, 2},  {0x9FFF, 1, 2},
               {0xAC00, 1, 2},   {0xD800, 0, 1},   {0xFEFF, 0, 0},   {0xFFFD, 5, 1},  {0x1F600, 5, 2},
               {0x20000, 1, 2},  {0x10FFFF, 0, 1}, {0x110000, 0, 1}, {0x40000061, 0, 1},
               {0xFFFFFFFF, 0, 1}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    uint32_t c = known[i].cp;
    int class = class_of(c);
    CHECK_MSG(class == known[i].class && pml_display_width(c) == known[i].width, "U+%04X: %d %d", (unsigned)c,
              class, pml_display_width(c));
  }
}

static void test_mappings(void) {
  TEST("lower case and accents");
  static const uint32_t lower[][2] = {{'A', 'a'}, {'Z', 'z'}, {'[', '['}, {'a', 'a'}, {0xC9, 0xE9}, {0xD7, 0xD7},
                                      {0x130, 'i'}, {0x178, 0xFF}, {0x410, 0x430}, {0x1E9E, 0xDF}, {0x10400, 0x10428},
                                      {0x110000, 0x110000}, {0xFFFFFFFF, 0xFFFFFFFF}};
  for (size_t i = 0; i < sizeof lower / sizeof lower[0]; i++) CHECK(pml_lower(lower[i][0]) == lower[i][1]);
  static const struct {
    uint32_t cp;
    int n;
    uint32_t out[3];
  } strip[] = {{'e', 1, {'e'}}, {0xE9, 1, {'e'}}, {0x1EC7, 1, {'e'}}, {0x301, 0, {0}}, {0xF8, 1, {0xF8}},
               {0xAC00, 2, {0x1100, 0x1161}}, {0xD55C, 3, {0x1112, 0x1161, 0x11AB}}, {0x9CB, 2, {0x9C7, 0x9BE}},
               {0x344, 0, {0}}, {0xF900, 1, {0x8C48}}, {0x2FA1D, 1, {0x2A600}}, {0x110000, 1, {0x110000}}};
  for (size_t i = 0; i < sizeof strip / sizeof strip[0]; i++) {
    uint32_t out[3] = {0};
    int n = pml_strip_accents(strip[i].cp, out);
    CHECK_MSG(n == strip[i].n, "U+%04X gives %d", (unsigned)strip[i].cp, n);
    for (int k = 0; k < n; k++) CHECK(out[k] == strip[i].out[k]);
  }
}

static void test_utf8(void) {
  TEST("every code point survives encode and decode");
  size_t wrong = 0;
  for (uint32_t c = 0; c < 0x110400; c++) {
    char s[4];
    uint32_t back;
    int n = pml_utf8_encode(c, s);
    bool encodable = c < 0x110000 && !(c >= 0xD800 && c < 0xE000);
    if (n != (encodable ? c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4 : 0)) wrong++;
    if (n && (pml_utf8_decode(s, (size_t)n, &back) != n || back != c)) wrong++;
    if (n > 1 && (pml_utf8_decode(s, (size_t)n - 1, &back) != 1 || back != 0xFFFFFFFF)) wrong++; /* cut */
  }
  CHECK_MSG(wrong == 0, "%zu", wrong);

  TEST("what the standard refuses");
  static const char *const bad[] = {"\x80",         "\xBF",             "\xC0\x80",         "\xC1\xBF",
                                    "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xED\xA0\x80",     "\xED\xBF\xBF",
                                    "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF",         "\xFE",
                                    "\xC3(",        "\xE2\x82(",        "\xF0\x9F\x98(",    "\xE2(\xAC"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    uint32_t cp;
    CHECK_MSG(pml_utf8_decode(bad[i], strlen(bad[i]), &cp) == 1 && cp == 0xFFFFFFFF, "case %zu", i);
    CHECK_MSG(!pml_utf8_valid(bad[i], strlen(bad[i])), "case %zu", i);
  }
  CHECK(pml_utf8_valid("", 0));
  CHECK(pml_utf8_valid("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10));
  CHECK(!pml_utf8_valid("a\xC3\xA9\xE2\x82", 5));
  CHECK(!pml_utf8_valid("\xFF" "abc", 4));
}

int main(void) {
  test_tables();
  test_known();
  test_mappings();
  test_utf8();
  return TEST_END();
}
