/* Writes the tables of prodml.h § 16 from the Unicode Character Database:

     cc -O2 tests/gen_unicode.c -o out/gen_unicode && out/gen_unicode [DIRECTORY]

   DIRECTORY holds UnicodeData.txt, PropList.txt and EastAsianWidth.txt; Debian's
   package unicode-data puts them into /usr/share/unicode, the default.  Paste the
   output between the two "generated" lines of § 16.  tests/test_unicode.c
   includes this file and compares its output with what stands there.

   The first two tables list the code points where a value changes: an entry is
   code point · 8 + value, and the value holds up to the next entry.  The third
   holds ranges {first, last, step, difference to the lower-case letter}, the
   last three what is left of a character when its accents are taken off:
   runs {first code point, place of its value}, the values (0: nothing is left),
   and the second character of the few that leave two. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GEN_CODES = 0x110000 };

typedef struct {
  uint8_t class_of[GEN_CODES]; /* 0 other, 1 letter, 2 number, 3 white space, 4 punctuation, 5 symbol, 6 mark, 7 Mn */
  uint8_t width[GEN_CODES];    /* 0, 1 or 2 columns */
  uint32_t lower[GEN_CODES];    /* the simple lower-case mapping, 0: none */
  uint32_t split[GEN_CODES][2]; /* the canonical decomposition of one step, 0: none */
  char version[16];            /* "15.0.0" */
} gen_unicode;

static FILE *gen_open(const char *dir, const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  return fopen(path, "r");
}

/* "0041", "0041..005A" at the start of a line. */
static int gen_range(const char *line, unsigned long *first, unsigned long *last) {
  char *end;
  *first = *last = strtoul(line, &end, 16);
  if (end == line) return 0;
  if (end[0] == '.' && end[1] == '.') *last = strtoul(end + 2, NULL, 16);
  return *first <= *last && *last < GEN_CODES;
}

/* Calls set(u, code point, line) for every code point of every line that contains `what`. */
static int gen_each(gen_unicode *u, const char *dir, const char *name, const char *what,
                    void (*set)(gen_unicode *, unsigned long)) {
  char line[1024];
  unsigned long first, last;
  FILE *f = gen_open(dir, name);
  if (!f) return 0;
  while (fgets(line, sizeof line, f)) {
    if (strncmp(line, "# PropList-", 11) == 0) sscanf(line + 11, "%15[0-9.]", u->version);
    char *comment = strchr(line, '#');
    if (comment) *comment = 0;
    if (strstr(line, what) && gen_range(line, &first, &last))
      for (unsigned long c = first; c <= last; c++) set(u, c);
  }
  fclose(f);
  size_t n = strlen(u->version);
  if (n && u->version[n - 1] == '.') u->version[n - 1] = 0;
  return 1;
}

static void gen_set_space(gen_unicode *u, unsigned long c) { u->class_of[c] = 3; }
static void gen_set_wide(gen_unicode *u, unsigned long c) { u->width[c] = 2; }
static void gen_set_one(gen_unicode *u, unsigned long c) { u->width[c] = 1; }

/* Field i of a line of UnicodeData.txt, from 0. */
static const char *gen_field(const char *line, int i) {
  for (; i > 0 && line; i--) {
    line = strchr(line, ';');
    if (line) line++;
  }
  return line ? line : "";
}

/* The lower-case letter and the decomposition, unless it is one of compatibility, "<...>". */
static void gen_mappings(gen_unicode *u, unsigned long c, const char *line) {
  const char *d = gen_field(line, 5);
  char *end;
  u->lower[c] = (uint32_t)strtoul(gen_field(line, 13), NULL, 16);
  if (*d == '<' || *d == ';') return;
  u->split[c][0] = (uint32_t)strtoul(d, &end, 16);
  u->split[c][1] = (uint32_t)strtoul(end, NULL, 16);
}

/* General categories: letters L*, numbers N*, punctuation P*, symbols S*, marks M*;
   marks that add no column Mn, Me, formats Cf and controls Cc. */
static int gen_categories(gen_unicode *u, const char *dir) {
  char line[1024];
  FILE *f = gen_open(dir, "UnicodeData.txt");
  if (!f) return 0;
  unsigned long first = 0;
  while (fgets(line, sizeof line, f)) {
    unsigned long c = strtoul(line, NULL, 16);
    char *name = strchr(line, ';'), *cat = name ? strchr(name + 1, ';') : NULL;
    if (!cat || c >= GEN_CODES) continue;
    int is_first = cat - name > 8 && strncmp(cat - 8, ", First>", 8) == 0;
    int is_last = cat - name > 7 && strncmp(cat - 7, ", Last>", 7) == 0;
    if (!is_last) first = c;
    if (is_first) continue;
    if (!is_last) gen_mappings(u, c, line);
    for (unsigned long i = first; i <= c; i++) {
      static const char major[] = "CLNZPSM";
      const char *at = strchr(major, cat[1]);
      u->class_of[i] = (uint8_t)(!strncmp(cat + 1, "Mn", 2) ? 7 : at && *at != 'Z' ? at - major : 0);
      if (!strncmp(cat + 1, "Mn", 2) || !strncmp(cat + 1, "Me", 2) || !strncmp(cat + 1, "Cf", 2) ||
          !strncmp(cat + 1, "Cc", 2))
        u->width[i] = 0;
    }
  }
  fclose(f);
  return 1;
}

static int gen_load(gen_unicode *u, const char *dir) {
  memset(u, 0, sizeof *u);
  memset(u->width, 1, sizeof u->width);
  if (!gen_each(u, dir, "EastAsianWidth.txt", ";W", gen_set_wide)) return 0;
  if (!gen_each(u, dir, "EastAsianWidth.txt", ";F", gen_set_wide)) return 0;
  if (!gen_categories(u, dir)) return 0;
  if (!gen_each(u, dir, "PropList.txt", "; White_Space", gen_set_space)) return 0;
  /* Formats with a picture of their own: signs that enclose the digits after
     them, and the soft hyphen. */
  if (!gen_each(u, dir, "PropList.txt", "; Prepended_Concatenation_Mark", gen_set_one)) return 0;
  u->width[0xAD] = 1;
  /* Vowels and finals that join the Hangul consonant before them. */
  for (unsigned c = 0x1160; c <= 0x11FF; c++) u->width[c] = 0;
  return u->version[0] != 0;
}

typedef struct {
  char *text;
  size_t len, cap;
} gen_out;

static void gen_puts(gen_out *o, const char *s) {
  size_t n = strlen(s);
  if (o->len + n + 1 > o->cap) {
    o->cap = (o->len + n + 1) * 2;
    o->text = realloc(o->text, o->cap);
    if (!o->text) exit(1);
  }
  memcpy(o->text + o->len, s, n + 1);
  o->len += n;
}

static void gen_table(gen_out *o, const char *name, const uint8_t *value) {
  char item[96];
  size_t column = 0;
  snprintf(item, sizeof item, "static const uint32_t %s[] PML__UNUSED = {\n", name);
  gen_puts(o, item);
  for (uint32_t c = 0; c < GEN_CODES; c++) {
    if (c && value[c] == value[c - 1]) continue;
    int n = snprintf(item, sizeof item, "%s0x%X,", column ? "" : "  ", (unsigned)(c * 8 + value[c]));
    gen_puts(o, item);
    column += (size_t)n;
    if (column > 101) {
      gen_puts(o, "\n");
      column = 0;
    }
  }
  gen_puts(o, column ? "\n};\n" : "};\n");
}

/* A list of numbers, lines of at most 110 columns. */
static void gen_item(gen_out *o, size_t *column, const char *item) {
  if (*column + strlen(item) > 108) {
    gen_puts(o, "\n");
    *column = 0;
  }
  if (*column == 0) {
    gen_puts(o, "  ");
    *column = 2;
  }
  gen_puts(o, item);
  *column += strlen(item);
}

/* Ranges of letters with the same distance to their lower case, every one or every second. */
static void gen_lower(gen_out *o, const gen_unicode *u) {
  char item[96];
  size_t column = 0;
  gen_puts(o, "static const int32_t pml__lower_table[][4] PML__UNUSED = {\n");
  for (uint32_t c = 0; c < GEN_CODES; c++) {
    if (!u->lower[c]) continue;
    uint32_t first = c, step = u->lower[c + 1] && u->lower[c + 1] - c - 1 == u->lower[c] - c ? 1 : 2;
    while (c + step < GEN_CODES && u->lower[c + step] && u->lower[c + step] - step - c == u->lower[first] - first &&
           (step == 1 || !u->lower[c + 1]))
      c += step;
    snprintf(item, sizeof item, "{0x%X,0x%X,%d,%d},", (unsigned)first, (unsigned)c, (int)step,
             (int)(u->lower[first] - first));
    gen_item(o, &column, item);
  }
  gen_puts(o, "\n};\n");
}

/* The full decomposition of c without non-spacing marks, Mn: out has room for 8. */
static int gen_parts(const gen_unicode *u, uint32_t c, uint32_t *out) {
  if (u->split[c][0]) {
    int n = gen_parts(u, u->split[c][0], out);
    return n + (u->split[c][1] ? gen_parts(u, u->split[c][1], out + n) : 0);
  }
  *out = c;
  return u->class_of[c] != 7;
}

/* The tables hold two: nine musical notes of three parts stay whole. */
static int gen_base(const gen_unicode *u, uint32_t c, uint32_t *out) {
  int n = gen_parts(u, c, out);
  if (n <= 2) return n;
  out[0] = c;
  return 1;
}

static void gen_bases(gen_out *o, const gen_unicode *u) {
  static const char *const head[] = {"static const uint32_t pml__base_run[][2] PML__UNUSED = {\n",
                                     "static const uint32_t pml__base_value[] PML__UNUSED = {\n",
                                     "static const uint32_t pml__base_second[][2] PML__UNUSED = {\n"};
  for (int part = 0; part < 3; part++) {
    char item[96];
    size_t column = 0;
    unsigned index = 0;
    gen_puts(o, head[part]);
    for (uint32_t c = 1; c < GEN_CODES; c++) {
      uint32_t base[8];
      if (!u->split[c][0]) continue;
      int n = gen_base(u, c, base);
      item[0] = 0;
      if (part == 0 && !u->split[c - 1][0]) snprintf(item, sizeof item, "{0x%X,%u},", (unsigned)c, index);
      if (part == 1) snprintf(item, sizeof item, "0x%X,", n ? (unsigned)base[0] : 0);
      if (part == 2 && n == 2) snprintf(item, sizeof item, "{0x%X,0x%X},", (unsigned)c, (unsigned)base[1]);
      if (item[0]) gen_item(o, &column, item);
      index++;
    }
    if (part == 0) {
      snprintf(item, sizeof item, "{0x%X,%u},", GEN_CODES, index);
      gen_item(o, &column, item);
    }
    gen_puts(o, "\n};\n");
  }
}

/* The text of all tables, to be freed; NULL when the files are not there. */
static char *gen_tables(const char *dir, char version[16]) {
  gen_unicode *u = malloc(sizeof *u);
  gen_out o = {0};
  if (u && gen_load(u, dir)) {
    gen_table(&o, "pml__class_table", u->class_of);
    gen_table(&o, "pml__width_table", u->width);
    gen_lower(&o, u);
    gen_bases(&o, u);
    memcpy(version, u->version, 16);
  }
  free(u);
  return o.text;
}

#ifndef GEN_NO_MAIN
int main(int argc, char **argv) {
  char version[16];
  const char *dir = argc > 1 ? argv[1] : "/usr/share/unicode";
  char *text = gen_tables(dir, version);
  if (!text) {
    fprintf(stderr, "%s: no Unicode data there: install the package unicode-data\n", dir);
    return 1;
  }
  printf("/* generated from Unicode %s by tests/gen_unicode.c: begin */\n%s/* generated: end */\n", version, text);
  free(text);
  return 0;
}
#endif
