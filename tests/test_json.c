/* § 15: what RFC 8259 allows and forbids, walking, exact numbers, escapes both ways. */
#include "prodml.h"
#include "test.h"
#include <locale.h>

static pml_status open_text(pml_json *v, const char *text) { return pml_json_open(v, text, strlen(text), "body"); }

static void test_valid(void) {
  TEST("valid documents");
  static const char *const good[] = {
      "null", " true ", "false\n", "0", "-0", "-0.0e-0", "1E+2", "123456789012345678901234567890", "1e999",
      "\"\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0000\\uD83D\\uDE00\"", "\"\x7f\xc3\xa9\xf0\x9f\x98\x80\"",
      "[]", "[ ]", "{}", "{ }", "[1,[2,{\"a\":[]}],{}]", "{\"\":0}", "{\"a\":1,\"a\":2}",
      "\t{\r\n \"k\" : [ 1 , 2 ] , \"l\" : { \"m\" : null } } "};
  pml_json v;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
    CHECK_MSG(open_text(&v, good[i]) == PML_OK && v.type != PML_JSON_NONE, "%s: %s", good[i], pml_error());
}

static void test_invalid(void) {
  TEST("invalid documents: a sentence with the byte");
  static const struct {
    const char *text;
    int at;
    const char *why;
  } bad[] = {
      {"", 0, "ends where"}, {"  ", 2, "ends where"}, {"[1,]", 3, "value was expected"},
      {"{\"a\":1,}", 7, "name"}, {"{,}", 1, "name"}, {"[,1]", 1, "value"}, {"[1 2]", 3, "',' or ']'"},
      {"{\"a\" 1}", 5, "':'"}, {"{\"a\":1 \"b\":2}", 7, "',' or '}'"}, {"{a:1}", 1, "name"},
      {"{\"a\"", 4, "':'"}, {"[1", 2, "',' or ']'"}, {"[}", 1, "value"}, {"{]", 1, "name"}, {"]", 0, "value"},
      {"1 2", 2, "more text"}, {"nulls", 4, "more text"}, {"nul", 0, "value"}, {"True", 0, "value"},
      {"NaN", 0, "value"}, {"Infinity", 0, "value"}, {"-", 1, "digit"}, {"-a", 1, "digit"}, {"01", 1, "more text"},
      {"1.", 2, "digit"}, {".5", 0, "value"}, {"1e", 2, "digit"}, {"1e+", 3, "digit"}, {"+1", 0, "value"},
      {"0x10", 1, "more text"}, {"\"", 1, "inside a string"}, {"\"a\nb\"", 2, "control"},
      {"\"\\x\"", 1, "escape"}, {"\"\\", 1, "escape"}, {"\"\\u12g4\"", 1, "hexadecimal"}, {"\"\\u12", 1, "hexa"},
      {"\"\\ud800\"", 1, "surrogate"}, {"\"\\udc00\"", 1, "surrogate"}, {"\"\\ud800\\u0041\"", 1, "surrogate"},
      {"\"\\ud800\\ud800\"", 1, "surrogate"}, {"\"\x80\"", 1, "UTF-8"}, {"\"\xc0\x80\"", 1, "UTF-8"},
      {"\"\xe0\x80\x80\"", 1, "UTF-8"}, {"\"\xed\xa0\x80\"", 1, "UTF-8"}, {"\"\xf4\x90\x80\x80\"", 1, "UTF-8"},
      {"\"\xf0\x80\x80\x80\"", 1, "UTF-8"}, {"\"\xf5\x80\x80\x80\"", 1, "UTF-8"}, {"\"\xc3\"", 1, "UTF-8"},
      {"\xef\xbb\xbf{}", 0, "value"}, {"[1]\x01", 3, "more text"}, {"'a'", 0, "value"}, {"//c\n1", 0, "value"},
      {"\v1", 0, "value"}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    pml_json v;
    char where[32];
    snprintf(where, sizeof where, "body: byte %d: ", bad[i].at);
    CHECK_MSG(open_text(&v, bad[i].text) == PML_E_FORMAT, "accepted: %s", bad[i].text);
    CHECK(v.type == PML_JSON_NONE);
    CHECK_MSG(strncmp(pml_error(), where, strlen(where)) == 0 && strstr(pml_error(), bad[i].why), "%s gave: %s",
              bad[i].text, pml_error());
  }
  pml_json v;
  CHECK(pml_json_open(&v, "[0]\0", 4, "body") == PML_E_FORMAT); /* a 0 byte is no end */
  CHECK(pml_json_open(&v, "\"a\0b\"", 5, "body") == PML_E_FORMAT);
  CHECK(pml_json_open(&v, "\"\\\0\"", 4, "body") == PML_E_FORMAT);
  CHECK(pml_json_open(&v, NULL, 0, "body") == PML_E_FORMAT);
}

static void test_truncation(void) {
  TEST("every prefix of a document fails; nothing beyond it is read");
  const char *text = "{\"a\\u00e9\":[1.5e3,true,false,null,\"x\\ud83d\\ude00\xc3\xa9\"],\"b\":{\"c\":{}}}";
  pml_json v;
  for (size_t n = 0; n < strlen(text); n++) {
    char *copy = (char *)malloc(n ? n : 1); /* exactly n bytes: ASan sees a read past them */
    memcpy(copy, text, n);
    CHECK_MSG(pml_json_open(&v, copy, n, "cut") == PML_E_FORMAT, "%.*s", (int)n, text);
    free(copy);
  }
  CHECK(open_text(&v, text) == PML_OK);
}

static void test_depth(void) {
  TEST("64 deep is read, 65 deep is refused, objects and arrays alike");
  for (int kind = 0; kind < 3; kind++)
    for (int depth = 63; depth <= 66; depth++) {
      pml_buf b = {0};
      pml_json v;
      for (int i = 0; i < depth; i++) pml_buf_puts(&b, kind == 0 || (kind == 2 && i % 2) ? "[" : "{\"k\":");
      pml_buf_puts(&b, "7");
      for (int i = depth; i-- > 0;) pml_buf_puts(&b, kind == 0 || (kind == 2 && i % 2) ? "]" : "}");
      CHECK(pml_json_open(&v, b.data, b.len, "deep") == (depth <= 64 ? PML_OK : PML_E_LIMIT));
      int64_t x = 0;
      for (int i = 0; i < depth && depth <= 64; i++)
        v = v.type == PML_JSON_ARRAY ? pml_json_at(v, 0) : pml_json_get(v, "k");
      CHECK(depth > 64 ? v.type == PML_JSON_NONE : pml_json_int(v, &x) && x == 7);
      pml_buf_free(&b);
    }
  size_t n = 1000000;
  char *flood = (char *)malloc(n);
  memset(flood, '[', n);
  pml_json v;
  CHECK(pml_json_open(&v, flood, n, "flood") == PML_E_LIMIT && strstr(pml_error(), "byte 64"));
  free(flood);
}

static void test_walk(void) {
  TEST("walking: order, keys, spans, lookups that miss");
  pml_json v, w;
  const char *text = " { \"a\\n\" : [ 1 , \"]\\\"\" , { } ] , \"b\":{\"c\":true,\"c\":false} , \"\\u0062\" : 5 } ";
  CHECK(open_text(&v, text) == PML_OK && v.type == PML_JSON_OBJECT && pml_json_count(v) == 3);
  static const char *const keys[] = {"a\n", "b", "b"};
  static const char *const values[] = {"[ 1 , \"]\\\"\" , { } ]", "{\"c\":true,\"c\":false}", "5"};
  size_t i = 0;
  for (pml_json_iter it = pml_json_each(v); pml_json_next(&it); i++) {
    CHECK(it.index == i && i < 3 && pml_json_is(it.key, keys[i], strlen(keys[i])));
    CHECK(it.value.len == strlen(values[i]) && memcmp(it.value.ptr, values[i], it.value.len) == 0);
  }
  CHECK(i == 3);
  w = pml_json_get(v, "a\n");
  CHECK(pml_json_count(w) == 3 && pml_json_at(w, 2).type == PML_JSON_OBJECT);
  CHECK(pml_json_is(pml_json_at(w, 1), "]\"", 2) && pml_json_at(w, 3).type == PML_JSON_NONE);
  bool flag = false;
  CHECK(pml_json_bool(pml_json_get(pml_json_get(v, "b"), "c"), &flag) && flag); /* the first of two */
  CHECK(pml_json_get(pml_json_get(v, "x"), "y").type == PML_JSON_NONE);
  CHECK(pml_json_get(w, "a").type == PML_JSON_NONE && pml_json_at(v, 0).type == PML_JSON_NONE);
  CHECK(pml_json_count(pml_json_at(w, 0)) == 0 && pml_json_count(pml_json_at(w, 2)) == 0);
  CHECK(open_text(&v, "[true,null,\"s\"]") == PML_OK);
  CHECK(pml_json_at(v, 0).type == PML_JSON_TRUE && pml_json_at(v, 1).type == PML_JSON_NULL);
  CHECK(pml_json_at(v, 2).len == 3 && !pml_json_is(pml_json_at(v, 2), "s2", 2) && !pml_json_is(v, "s", 1));
}

static bool int_of(const char *text, int64_t *x) {
  pml_json v;
  return open_text(&v, text) == PML_OK && pml_json_int(v, x);
}
static bool uint_of(const char *text, uint64_t *x) {
  pml_json v;
  return open_text(&v, text) == PML_OK && pml_json_uint(v, x);
}
static bool double_of(const char *text, double *x) {
  pml_json v;
  return open_text(&v, text) == PML_OK && pml_json_double(v, x);
}

static void test_integers(void) {
  TEST("integers are exact to the last value of 64 bits");
  int64_t x = 5;
  uint64_t u = 5;
  CHECK(int_of("9007199254740993", &x) && x == 9007199254740993);
  CHECK(int_of("9223372036854775807", &x) && x == INT64_MAX);
  CHECK(int_of("-9223372036854775808", &x) && x == INT64_MIN);
  CHECK(int_of("-0", &x) && x == 0);
  CHECK(uint_of("18446744073709551615", &u) && u == UINT64_MAX);
  x = 5, u = 5;
  CHECK(!int_of("9223372036854775808", &x) && !int_of("-9223372036854775809", &x) && x == 5);
  CHECK(!uint_of("18446744073709551616", &u) && !uint_of("-1", &u) && !uint_of("99999999999999999999", &u));
  CHECK(!int_of("1.0", &x) && !int_of("1e3", &x) && !int_of("\"1\"", &x) && !int_of("true", &x) && x == 5);
  CHECK(u == 5);
}

static void test_doubles(void) {
  TEST("doubles are the nearest ones");
  static const char *const texts[] = {
      "0", "-0.0", "0.1", "1e23", "5e-324", "2.2250738585072011e-308", "1.7976931348623157e308", "123.456e-7",
      "9007199254740993", "0.000000000000000000000000000001", "100000000000000000000000000000e-29", "1e-400",
      "2.47032822920623272088284396434110686182e-324", "1E+5", "0e99999999999999999999", "3.14159265358979",
      "0.3", "0.30000000000000004", "17976931348623157e292", "1e-99999999999999999999"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    double x = 7, want = strtod(texts[i], NULL);
    CHECK_MSG(double_of(texts[i], &x) && memcmp(&x, &want, 8) == 0, "%s read as %.17g", texts[i], x);
  }
  double x = 7;
  CHECK(!double_of("1e400", &x) && !double_of("-1e400", &x) && !double_of("1e99999999999999999999", &x) && x == 7);
  /* 1 + 2^-53 lies halfway between two doubles and rounds to even, to 1; one more digit, however
     far behind, makes it the next double. */
  const char *half = "1.00000000000000011102230246251565404236316680908203125";
  char text[4000];
  CHECK(double_of(half, &x) && x == 1);
  for (size_t zeros = 0; zeros < 3000; zeros += 100) {
    snprintf(text, sizeof text, "%s%0*d1", half, (int)zeros + 1, 0);
    CHECK_MSG(double_of(text, &x) && x == 1 + 0x1p-52, "%zu zeros", zeros);
  }
  snprintf(text, sizeof text, "1%0*de-1500", 1500, 0);
  CHECK(double_of(text, &x) && x == 1);
  snprintf(text, sizeof text, "0.%0*d1e1501", 1500, 0);
  CHECK(double_of(text, &x) && x == 1);
}

static void test_text(void) {
  TEST("strings: escapes, surrogate pairs, a 0 byte inside");
  pml_json v;
  pml_buf b = {0};
  CHECK(open_text(&v, "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\uD83D\\uDe00\\u0000z\"") == PML_OK);
  static const char want[] = "a\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\0z";
  CHECK(pml_json_text(v, &b) && b.len == sizeof want - 1 && memcmp(b.data, want, sizeof want) == 0);
  CHECK(pml_json_is(v, want, sizeof want - 1) && !pml_json_is(v, want, sizeof want - 2));
  pml_buf_free(&b);
  CHECK(open_text(&v, "\"\"") == PML_OK && pml_json_text(v, &b) && b.len == 0 && b.data && pml_json_is(v, "", 0));
  CHECK(open_text(&v, "1") == PML_OK && !pml_json_text(v, &b));
  pml_buf_free(&b);
}

static void put_is(const char *s, size_t len, const char *want) {
  pml_buf b = {0};
  pml_json_put_str(&b, s, len);
  CHECK_MSG(b.data && strcmp(b.data, want) == 0, "%s", b.data);
  pml_buf_free(&b);
}

static void test_put_str(void) {
  TEST("written strings: escapes, U+FFFD, and every code point comes back");
  put_is("a\"\\/\b\f\n\r\t\x01\x7f", 11, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\"");
  put_is("\0x", 2, "\"\\u0000x\"");
  put_is("\xc3\xa9\xff\xc3", 4, "\"\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\"");
  put_is("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
  put_is(NULL, 0, "\"\"");
  bool same = true;
  pml_buf b = {0}, raw = {0}, back = {0};
  for (uint32_t cp = 0; cp < 0x110000; cp += cp < 0x3000 ? 1 : 97) {
    if (cp >= 0xD800 && cp < 0xE000) continue;
    char esc[32];
    pml_json v;
    if (cp < 0x10000) snprintf(esc, sizeof esc, "\"\\u%04X\"", (unsigned)cp);
    else snprintf(esc, sizeof esc, "\"\\u%04x\\u%04x\"", (unsigned)(0xD7C0 + (cp >> 10)), (unsigned)(0xDC00 | (cp & 0x3FF)));
    raw.len = b.len = back.len = 0;
    same = same && open_text(&v, esc) == PML_OK && pml_json_text(v, &raw);
    pml_json_put_str(&b, raw.data, raw.len);
    same = same && pml_json_open(&v, b.data, b.len, "own") == PML_OK && pml_json_text(v, &back);
    same = same && back.len == raw.len && memcmp(back.data, raw.data, raw.len) == 0;
    size_t len = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    same = same && raw.len == len;
    if (!same) break;
  }
  CHECK(same);
  pml_buf_free(&b);
  pml_buf_free(&raw);
  pml_buf_free(&back);
}

static const char *num(double x) {
  static pml_buf b;
  b.len = 0;
  pml_json_put_num(&b, x);
  static char copy[64];
  snprintf(copy, sizeof copy, "%s", b.data);
  pml_buf_free(&b);
  return copy;
}

static void test_put_num(void) {
  TEST("written numbers: short, and read back bit for bit");
  static const struct {
    double x;
    const char *want;
  } cases[] = {{0, "0"}, {-0.0, "-0"}, {1, "1"}, {-1.5, "-1.5"}, {0.1, "0.1"}, {0.1 + 0.2, "0.30000000000000004"},
               {1e21, "1e21"}, {1e20, "100000000000000000000"}, {123456789, "123456789"}, {1e-5, "0.00001"},
               {1.5e-7, "1.5e-7"}, {1e-6, "0.000001"}, {5e-324, "5e-324"}, {1.7976931348623157e308, "1.7976931348623157e308"},
               {2.2250738585072014e-308, "2.2250738585072014e-308"}, {1e23, "1e23"}, {9007199254740993.0, "9007199254740992"},
               {4.35, "4.35"}, {(double)NAN, "null"}, {(double)INFINITY, "null"}, {-(double)INFINITY, "null"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    CHECK_MSG(strcmp(num(cases[i].x), cases[i].want) == 0, "%s instead of %s", num(cases[i].x), cases[i].want);
  pml_rng r = pml_rng_seed(4);
  bool same = true;
  for (int i = 0; i < 20000; i++) {
    uint64_t bits = pml_rng_next(&r);
    double x, y = 0;
    if (i % 4 == 0) bits &= ~(0x7FEull << 52); /* subnormal, or near it */
    memcpy(&x, &bits, 8);
    if (!isfinite(x)) continue;
    if (i % 4 == 1) x = (double)(int32_t)bits / 1000;
    same = same && double_of(num(x), &y) && memcmp(&x, &y, 8) == 0;
  }
  CHECK(same);
}

static void test_locale(void) {
  TEST("a locale with a decimal comma changes nothing");
  if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8")) {
    SKIP("no such locale is installed");
    return;
  }
  double x = 0;
  CHECK(double_of("0.5", &x) && x == 0.5 && strcmp(num(0.5), "0.5") == 0);
  setlocale(LC_NUMERIC, "C");
}

/* With any argument: GB/s of open on a text like a safetensors header. */
static void speed(void) {
  pml_buf b = {0};
  pml_json v;
  pml_buf_puts(&b, "{\"__metadata__\":{\"format\":\"pt\"}");
  for (int i = 0; i < 200000; i++)
    pml_buf_printf(&b, ",\"model.layers.%d.mlp.up_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[4864,896],\"data_offsets\":[%d,%d]}",
                   i, i * 1000, i * 1000 + 1000);
  pml_buf_puts(&b, "}");
  double t0 = pml_time();
  pml_status st = pml_json_open(&v, b.data, b.len, "header");
  double t1 = pml_time();
  size_t n = pml_json_count(v);
  double t2 = pml_time();
  printf("%s: open %.2f GB/s, walk %.2f GB/s (%zu members)\n", pml_status_name(st), (double)b.len * 1e-9 / (t1 - t0),
         (double)b.len * 1e-9 / (t2 - t1), n);
  double t3 = pml_time();
  for (int i = 0; i < 100000; i++) num(i * 0.1234567890123);
  printf("put_num %.2f us\n", (pml_time() - t3) * 10);
  pml_buf_free(&b);
}

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) {
    speed();
    return 0;
  }
  test_valid();
  test_invalid();
  test_truncation();
  test_depth();
  test_walk();
  test_integers();
  test_doubles();
  test_text();
  test_put_str();
  test_put_num();
  test_locale();
  CHECK(pml_memory_in_use() == 0);
  return TEST_END();
}
