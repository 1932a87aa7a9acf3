/* § 18 GGUF: what we write we read back, bit for bit; what is cut, changed or
   made to harm is refused with the right sentence and little memory.
   `test_gguf --corpus DIR` writes the seeds of the fuzz target instead. */
#include "prodml.h"
#include "test.h"
#include <sys/stat.h>
#include <unistd.h>

static char dir[256], path[300];

/* ── Files made by hand ─────────────────────────────────────────────────────── */

static void u32(pml_buf *b, uint32_t v) { pml_buf_add(b, &v, 4); }
static void u64(pml_buf *b, uint64_t v) { pml_buf_add(b, &v, 8); }
static void str(pml_buf *b, const char *s) {
  u64(b, strlen(s));
  pml_buf_puts(b, s);
}

static pml_buf head(uint32_t version, uint64_t n_tensors, uint64_t n_kv) {
  pml_buf b = {0};
  pml_buf_puts(&b, "GGUF");
  u32(&b, version);
  u64(&b, n_tensors);
  u64(&b, n_kv);
  return b;
}

static void kv_u32(pml_buf *b, const char *key, uint32_t v) {
  str(b, key);
  u32(b, PML_GGUF_U32);
  u32(b, v);
}

static void kv_str(pml_buf *b, const char *key, const char *v) {
  str(b, key);
  u32(b, PML_GGUF_STR);
  str(b, v);
}

static void kv_strs(pml_buf *b, const char *key, int n, const char *const *v) {
  str(b, key);
  u32(b, PML_GGUF_ARR);
  u32(b, PML_GGUF_STR);
  u64(b, (uint64_t)n);
  for (int i = 0; i < n; i++) str(b, v[i]);
}

static void info(pml_buf *b, const char *name, uint32_t n_dims, uint64_t ne0, uint64_t ne1, uint32_t type,
                 uint64_t offset) {
  str(b, name);
  u32(b, n_dims);
  for (uint32_t d = 0; d < n_dims && d < 5; d++) u64(b, d == 0 ? ne0 : d == 1 ? ne1 : 1);
  u32(b, type);
  u64(b, offset);
}

static void zeros(pml_buf *b, size_t align, size_t n) {
  while (b->len % align) pml_buf_add(b, "", 1);
  while (n--) pml_buf_add(b, "", 1);
}

/* Asks everything that can be asked; the sum keeps the compiler from dropping it. */
static unsigned walk(const pml_gguf *g) {
  unsigned sum = 0;
  pml_buf text = {0};
  for (size_t i = 0; i < pml_gguf_n_kv(g); i++) {
    pml_gguf_type type;
    pml_str key = pml_gguf_key_at(g, i, &type), s;
    int64_t whole;
    double real;
    bool yes;
    size_t n;
    const void *data;
    char *name = pml_strndup(key.ptr, key.len);
    pml_gguf_value_text(g, i, &text);
    sum += pml_gguf_get_int(g, name, &whole) + pml_gguf_get_float(g, name, &real);
    sum += pml_gguf_get_bool(g, name, &yes) + pml_gguf_get_str(g, name, &s);
    if (pml_gguf_get_arr(g, name, &type, &n, &data) && type == PML_GGUF_STR && n > 0 &&
        pml_gguf_get_arr_str(g, name, n - 1, &s) && s.len > 0)
      sum += (unsigned char)s.ptr[s.len - 1];
    pml_free(name);
  }
  for (size_t i = 0; i < pml_gguf_n_tensors(g); i++) {
    const pml_tensor *t = pml_gguf_tensor_at(g, i);
    const unsigned char *p = (const unsigned char *)t->data;
    if (t->size) sum += (unsigned)p[0] + p[t->size - 1];
  }
  pml_tokenizer *tok;
  if (pml_gguf_tokenizer(g, &tok) == PML_OK) pml_tokenizer_free(tok);
  pml_buf_free(&text);
  return sum;
}

/* Opens an exact copy, so that the address sanitizer sees one byte too far. */
static pml_status open_copy(const void *data, size_t size, unsigned *sum) {
  pml_gguf *g;
  void *copy = malloc(size ? size : 1);
  if (size) memcpy(copy, data, size);
  pml_status st = pml_gguf_open_memory(&g, copy, size, "test.gguf");
  if (st == PML_OK) *sum += walk(g);
  else if (g) CHECK(false);
  pml_gguf_close(g);
  free(copy);
  return st;
}

/* The file must be refused so, with little memory.  Frees b. */
static void refused(pml_buf b, pml_status want, const char *fragment) {
  unsigned sum = 0;
  size_t before = pml_memory_in_use();
  pml_memory_peak_reset();
  pml_status st = open_copy(b.data, b.len, &sum);
  size_t used = pml_memory_peak() - before;
  CHECK_MSG(st == want, "%s, wanted \"%s\"", st == PML_OK ? "accepted" : pml_error(), fragment);
  CHECK_MSG(st == PML_OK || strstr(pml_error(), fragment), "%s, wanted \"%s\"", pml_error(), fragment);
  CHECK_MSG(used <= 65536 + 8 * b.len, "%zu bytes for a file of %zu", used, b.len);
  pml_buf_free(&b);
}

static pml_buf text_file(const char *s, size_t n) {
  pml_buf b = {0};
  pml_buf_add(&b, s, n);
  return b;
}

/* ── Round trip ─────────────────────────────────────────────────────────────── */

static const float f32_data[6] = {0, 1.5f, -2.25f, 1e-38f, 3e38f, -0.0f};
static const uint16_t f16_data[8] = {0, 0x3C00, 0xC000, 0x7BFF, 1, 2, 3, 0x8000};
static const uint16_t bf16_data[3] = {0x3F80, 0xBF80, 0x4049};
static const unsigned char q8_data[34 * 2] = {1, 2, 3};

static void write_all(const char *to) {
  static const pml_str strs[3] = {{"a", 1}, {"", 0}, {"\xFF\0x", 3}};
  static const int32_t ints[2] = {-5, 7};
  static const uint16_t halves[3] = {1, 2, 65535};
  static const unsigned char bools[2] = {1, 0};
  pml_gguf_writer *w;
  CHECK(pml_gguf_writer_create(&w) == PML_OK);
  pml_gguf_add_str(w, "general.architecture", "qwen2");
  pml_gguf_add_value(w, "a.u8", PML_GGUF_U8, &(uint8_t){200});
  pml_gguf_add_value(w, "a.i8", PML_GGUF_I8, &(int8_t){-100});
  pml_gguf_add_value(w, "a.u16", PML_GGUF_U16, &(uint16_t){60000});
  pml_gguf_add_value(w, "a.i16", PML_GGUF_I16, &(int16_t){-30000});
  pml_gguf_add_u32(w, "a.u32", 4000000000u);
  pml_gguf_add_value(w, "a.i32", PML_GGUF_I32, &(int32_t){-2000000000});
  pml_gguf_add_f32(w, "a.f32", 1e-6f);
  pml_gguf_add_bool(w, "a.bool", true);
  pml_gguf_add_str(w, "a.str", "héllo \"w\"\n");
  pml_gguf_add_u64(w, "a.u64", UINT64_MAX);
  pml_gguf_add_value(w, "a.i64", PML_GGUF_I64, &(int64_t){INT64_MIN});
  pml_gguf_add_value(w, "a.f64", PML_GGUF_F64, &(double){0.1});
  pml_gguf_add_arr_str(w, "b.strs", strs, 3);
  pml_gguf_add_arr_i32(w, "b.i32s", ints, 2);
  pml_gguf_add_arr(w, "b.u16s", PML_GGUF_U16, halves, 3);
  pml_gguf_add_arr(w, "b.bools", PML_GGUF_BOOL, bools, 2);
  pml_gguf_add_arr(w, "b.none", PML_GGUF_F64, NULL, 0);
  pml_gguf_add_tensor(w, "token_embd.weight", PML_F32, 2, (const uint64_t[]){3, 2}, f32_data);
  pml_gguf_add_tensor(w, "half", PML_F16, 4, (const uint64_t[]){2, 2, 2, 1}, f16_data);
  pml_gguf_add_tensor(w, "bf", PML_BF16, 1, (const uint64_t[]){3}, bf16_data);
  pml_gguf_add_tensor(w, "quant", PML_Q8_0, 2, (const uint64_t[]){32, 2}, q8_data);
  CHECK_MSG(pml_gguf_writer_finish(w, to) == PML_OK, "%s", pml_error());
}

static void check_value(const pml_gguf *g, const char *key, const char *want) {
  pml_buf text = {0};
  for (size_t i = 0; i < pml_gguf_n_kv(g); i++)
    if (pml_str_eq(pml_gguf_key_at(g, i, NULL), key)) pml_gguf_value_text(g, i, &text);
  CHECK_MSG(text.data && strcmp(text.data, want) == 0, "%s is %s, wanted %s", key, text.data ? text.data : "absent", want);
  pml_buf_free(&text);
}

static void check_tensor(const pml_gguf *g, const char *name, int type, int n_dims, uint64_t ne0, uint64_t ne1,
                         const void *data, size_t size) {
  const pml_tensor *t = pml_gguf_tensor(g, name);
  CHECK_MSG(t != NULL, "%s is absent", name);
  if (!t) return;
  CHECK(t->type == type && t->n_dims == n_dims && t->ne[0] == ne0 && t->ne[1] == ne1 && t->ne[3] == 1);
  CHECK(t->size == size && memcmp(t->data, data, size) == 0 && (uintptr_t)t->data % 32 == 0);
}

static void test_round_trip(void) {
  TEST("round trip");
  write_all(path);
  pml_gguf *g;
  CHECK_MSG(pml_gguf_open(&g, path) == PML_OK, "%s", pml_error());
  if (!g) return;
  CHECK(strcmp(pml_gguf_path(g), path) == 0 && pml_gguf_version(g) == 3 && pml_gguf_alignment(g) == 32);
  CHECK(pml_gguf_n_kv(g) == 18 && pml_gguf_n_tensors(g) == 4);
  check_value(g, "general.architecture", "\"qwen2\"");
  check_value(g, "a.u8", "200");
  check_value(g, "a.i8", "-100");
  check_value(g, "a.u16", "60000");
  check_value(g, "a.i16", "-30000");
  check_value(g, "a.u32", "4000000000");
  check_value(g, "a.i32", "-2000000000");
  check_value(g, "a.f32", "1e-06");
  check_value(g, "a.bool", "true");
  check_value(g, "a.str", "\"héllo \\\"w\\\"\\n\"");
  check_value(g, "a.u64", "1.84467440737096e+19"); /* does not fit int64 */
  check_value(g, "a.i64", "-9223372036854775808");
  check_value(g, "a.f64", "0.1");
  check_value(g, "b.strs", "[3] \"a\", \"\", \"\\xff\\x00x\"");
  check_value(g, "b.i32s", "[2] -5, 7");
  check_value(g, "b.u16s", "[3] 1, 2, 65535");
  check_value(g, "b.bools", "[2] true, false");
  check_value(g, "b.none", "[0]");
  check_tensor(g, "token_embd.weight", PML_F32, 2, 3, 2, f32_data, sizeof f32_data);
  check_tensor(g, "half", PML_F16, 4, 2, 2, f16_data, sizeof f16_data);
  check_tensor(g, "bf", PML_BF16, 1, 3, 1, bf16_data, sizeof bf16_data);
  check_tensor(g, "quant", PML_Q8_0, 2, 32, 2, q8_data, sizeof q8_data);
  CHECK(pml_str_eq(pml_gguf_tensor_at(g, 1)->name, "half") && !pml_gguf_tensor_at(g, 4) && !pml_gguf_tensor(g, "hal"));
  pml_gguf_close(g);

  char *first, *second;
  size_t n1, n2;
  CHECK(pml_file_read(path, &first, &n1) == PML_OK);
  write_all(path);
  CHECK(pml_file_read(path, &second, &n2) == PML_OK && n1 == n2 && memcmp(first, second, n1) == 0);
  CHECK(n1 % 32 == 0);
  pml_free(first);
  pml_free(second);
}

static void test_getters(void) {
  TEST("getters");
  pml_gguf *g;
  int64_t i = 42;
  double d = 42;
  bool b = false;
  pml_str s = {0};
  pml_gguf_type type;
  size_t n;
  const void *data;
  write_all(path);
  CHECK(pml_gguf_open(&g, path) == PML_OK);
  if (!g) return;
  CHECK(pml_gguf_get_int(g, "a.u8", &i) && i == 200 && pml_gguf_get_int(g, "a.i16", &i) && i == -30000);
  CHECK(pml_gguf_get_int(g, "a.u32", &i) && i == 4000000000 && pml_gguf_get_int(g, "a.i64", &i) && i == INT64_MIN);
  i = 42;
  CHECK(!pml_gguf_get_int(g, "a.u64", &i) && !pml_gguf_get_int(g, "a.f32", &i) && !pml_gguf_get_int(g, "a.bool", &i));
  CHECK(!pml_gguf_get_int(g, "a.str", &i) && !pml_gguf_get_int(g, "b.i32s", &i) && !pml_gguf_get_int(g, "zz", &i) && i == 42);
  CHECK(pml_gguf_get_float(g, "a.f32", &d) && d == (double)1e-6f && pml_gguf_get_float(g, "a.f64", &d) && d == 0.1);
  CHECK(pml_gguf_get_float(g, "a.i8", &d) && d == -100 && pml_gguf_get_float(g, "a.u64", &d) && d == 0x1p64);
  CHECK(!pml_gguf_get_float(g, "a.bool", &d) && !pml_gguf_get_float(g, "a.str", &d) && !pml_gguf_get_float(g, "b.i32s", &d));
  CHECK(pml_gguf_get_bool(g, "a.bool", &b) && b && !pml_gguf_get_bool(g, "a.u8", &b) && !pml_gguf_get_bool(g, "b.bools", &b));
  CHECK(pml_gguf_get_str(g, "a.str", &s) && pml_str_eq(s, "héllo \"w\"\n") && !pml_gguf_get_str(g, "b.strs", &s));
  CHECK(pml_gguf_get_arr(g, "b.strs", &type, &n, &data) && type == PML_GGUF_STR && n == 3 && data == NULL);
  CHECK(pml_gguf_get_arr_str(g, "b.strs", 2, &s) && s.len == 3 && !pml_gguf_get_arr_str(g, "b.strs", 3, &s));
  CHECK(!pml_gguf_get_arr_str(g, "b.i32s", 0, &s) && !pml_gguf_get_arr(g, "a.u8", &type, &n, &data));
  int32_t seven[2] = {0};
  CHECK(pml_gguf_get_arr(g, "b.i32s", &type, &n, &data) && type == PML_GGUF_I32 && n == 2);
  memcpy(seven, data, sizeof seven);
  CHECK(seven[0] == -5 && seven[1] == 7 && pml_gguf_get_arr(g, "b.i32s", NULL, NULL, NULL));
  CHECK(pml_gguf_key_at(g, 99, &type).ptr == NULL);
  CHECK(strcmp(pml_gguf_type_name(PML_GGUF_F64), "f64") == 0 && strcmp(pml_gguf_type_name((pml_gguf_type)13), "unknown") == 0);
  pml_gguf_close(g);
  pml_gguf_close(NULL);
}

/* ── The writer's refusals ──────────────────────────────────────────────────── */

static void finish_refused(pml_gguf_writer *w, pml_status want, const char *fragment) {
  unlink(path);
  pml_status st = pml_gguf_writer_finish(w, path);
  CHECK_MSG(st == want, "%s", pml_error());
  CHECK_MSG(strstr(pml_error(), fragment) != NULL, "%s", pml_error());
  CHECK(!pml_file_exists(path));
}

static pml_gguf_writer *new_writer(void) {
  pml_gguf_writer *w;
  CHECK(pml_gguf_writer_create(&w) == PML_OK);
  return w;
}

static void test_writer(void) {
  TEST("writer");
  const uint64_t ne[2] = {2, 1}, none[2] = {0, 1}, wide[2] = {(uint64_t)1 << 40, (uint64_t)1 << 40};
  pml_gguf_writer *w = new_writer();
  pml_gguf_add_u32(w, "k", 1);
  pml_gguf_add_u32(w, "k", 2);
  finish_refused(w, PML_E_USAGE, "'k' was added twice");
  w = new_writer();
  pml_gguf_add_tensor(w, "t", PML_F32, 2, ne, f32_data);
  pml_gguf_add_tensor(w, "t", PML_F16, 2, ne, f32_data);
  finish_refused(w, PML_E_USAGE, "'t' was added twice");
  w = new_writer();
  pml_gguf_add_u32(w, "", 1);
  pml_fail(PML_E_IO, "another error in between");
  pml_gguf_add_u32(w, "good", 1);
  finish_refused(w, PML_E_USAGE, "a GGUF key must be 1 to 65535 bytes");
  w = new_writer();
  pml_gguf_add_u32(w, "\xC3", 1);
  finish_refused(w, PML_E_USAGE, "printable UTF-8");
  w = new_writer();
  pml_gguf_add_value(w, "k", PML_GGUF_ARR, "x");
  finish_refused(w, PML_E_USAGE, "'k': a value needs");
  w = new_writer();
  pml_gguf_add_arr(w, "k", PML_GGUF_STR, "x", 1);
  finish_refused(w, PML_E_USAGE, "'k': an array needs");
  w = new_writer();
  pml_gguf_add_str(w, "k", NULL);
  finish_refused(w, PML_E_USAGE, "'k': a value needs");
  w = new_writer();
  pml_gguf_add_u32(w, "general.alignment", 48);
  finish_refused(w, PML_E_USAGE, "a power of two from 8 to 65536");
  w = new_writer();
  pml_gguf_add_tensor(w, "blk.0.a.name.of.sixty-four.bytes.that.llama.cpp.would.not.read.at", PML_F32, 2, ne, f32_data);
  finish_refused(w, PML_E_USAGE, "a name is 1 to 63 bytes");
  w = new_writer();
  pml_gguf_add_tensor(w, "t", (pml_dtype)4, 2, ne, f32_data);
  finish_refused(w, PML_E_USAGE, "unknown type 4");
  w = new_writer();
  pml_gguf_add_tensor(w, "t", PML_F32, 5, ne, f32_data);
  finish_refused(w, PML_E_USAGE, "5 dimensions");
  w = new_writer();
  pml_gguf_add_tensor(w, "t", PML_F32, 2, ne, NULL);
  finish_refused(w, PML_E_USAGE, "has no data");
  w = new_writer();
  pml_gguf_add_tensor(w, "t", PML_F32, 2, none, f32_data);
  finish_refused(w, PML_E_USAGE, "dimension 1 is 0");
  w = new_writer();
  pml_gguf_add_tensor(w, "t", PML_F32, 2, wide, f32_data);
  finish_refused(w, PML_E_USAGE, "does not fit");
  w = new_writer();
  pml_gguf_add_tensor(w, "t", PML_Q8_0, 2, ne, f32_data);
  finish_refused(w, PML_E_USAGE, "rows of 2 do not divide into Q8_0 blocks of 32");
  CHECK(pml_gguf_writer_finish(new_writer(), "") == PML_E_USAGE && strstr(pml_error(), "no file name"));
  if (pml_file_exists("/dev/full")) {
    CHECK(pml_gguf_writer_finish(new_writer(), "/dev/full") == PML_E_IO && strstr(pml_error(), "the disk is full"));
  } else SKIP("no /dev/full");
  pml_gguf_writer_cancel(new_writer());
  pml_gguf_writer_cancel(NULL);

  w = new_writer(); /* an alignment of our own, and no other metadata */
  pml_gguf_add_u32(w, "general.alignment", 4096);
  pml_gguf_add_tensor(w, "t", PML_F32, 2, ne, f32_data);
  pml_gguf_add_tensor(w, "u", PML_F32, 1, ne, f32_data + 1);
  CHECK(pml_gguf_writer_finish(w, path) == PML_OK);
  pml_gguf *g;
  CHECK(pml_gguf_open(&g, path) == PML_OK && pml_gguf_alignment(g) == 4096);
  if (g) {
    const pml_tensor *t = pml_gguf_tensor(g, "t"), *u = pml_gguf_tensor(g, "u");
    CHECK((uintptr_t)t->data % 4096 == 0 && (const char *)u->data - (const char *)t->data == 4096);
    CHECK(memcmp(u->data, f32_data + 1, 8) == 0);
  }
  pml_gguf_close(g);
  CHECK(pml_gguf_writer_finish(new_writer(), path) == PML_OK); /* nothing at all is a valid file */
  CHECK(pml_gguf_open(&g, path) == PML_OK && pml_gguf_n_kv(g) == 0 && pml_gguf_n_tensors(g) == 0);
  pml_gguf_close(g);
}

/* ── Hostile files ──────────────────────────────────────────────────────────── */

static void test_not_gguf(void) {
  TEST("not a GGUF file");
  pml_gguf *g;
  CHECK(pml_gguf_open(&g, "") == PML_E_USAGE && !g);
  CHECK(pml_gguf_open(&g, dir) == PML_E_IO && strstr(pml_error(), "is a directory") && !g);
  CHECK(pml_file_write(path, NULL, 0) == PML_OK && pml_gguf_open(&g, path) == PML_E_FORMAT && !g);
  CHECK(strstr(pml_error(), "the file is empty") != NULL);
  static const struct { const char *bytes; size_t n; const char *fragment; } files[] = {
      {"", 0, "the file is empty"},
      {"GGU", 3, "does not begin with"},
      {"\x89PNG\r\n", 6, "does not begin with"},
      {"<!DOCTYPE html><html>", 21, "an HTML page: the download failed"},
      {"<html><body>404", 15, "an HTML page: the download failed"},
      {"version https://git-lfs.github.com/spec/v1\n", 43, "Git LFS pointer"},
      {"PK\003\004\024\0", 6, "PyTorch checkpoint"},
      {"\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}", 28, "this is a safetensors file"},
      {"APR1\xa3\0\0\0{\"model_type\"", 20, "this is an APR file"},
      {"lmgg\x99\xca\0\0", 8, "before GGUF"},
      {"{\"error\":\"Entry not found\"}", 27, "a server's error message"}};
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
    refused(text_file(files[i].bytes, files[i].n), PML_E_FORMAT, files[i].fragment);
  refused(head(0x03000000, 0, 0), PML_E_UNSUPPORTED, "big-endian");
  refused(head(1, 0, 0), PML_E_UNSUPPORTED, "version 1");
  refused(head(0, 0, 0), PML_E_UNSUPPORTED, "version 0 is unknown");
  refused(head(4, 0, 0), PML_E_UNSUPPORTED, "version 4 is unknown");
  unsigned sum = 0;
  pml_buf b = head(2, 0, 0);
  CHECK(open_copy(b.data, b.len, &sum) == PML_OK);
  pml_buf_free(&b);
  static _Alignas(8) const char bytes[32] = "xGGUF\3";
  CHECK(pml_gguf_open_memory(&g, bytes + 1, 24, "m") == PML_E_USAGE && strstr(pml_error(), "aligned to 8") && !g);
}

static void test_hostile_metadata(void) {
  TEST("hostile metadata");
  pml_buf b;
  refused(head(3, 0, (uint64_t)1 << 60), PML_E_FORMAT, "claims 1152921504606846976 metadata entries");
  refused(head(3, 0, UINT64_MAX), PML_E_FORMAT, "metadata entries, only 0 bytes follow");
  refused(head(3, (uint64_t)1 << 61, 0), PML_E_FORMAT, "claims 2305843009213693952 tensors");
  b = head(3, 0, 1), str(&b, ""), u32(&b, PML_GGUF_U64), u64(&b, 0);
  refused(b, PML_E_FORMAT, "has 0 bytes, 1 to 65535 are possible");
  b = head(3, 0, 1), u64(&b, UINT64_MAX), zeros(&b, 1, 30);
  refused(b, PML_E_FORMAT, "has 18446744073709551615 bytes, 1 to 65535");
  b = head(3, 0, 1), u64(&b, 65536), zeros(&b, 1, 70000);
  refused(b, PML_E_FORMAT, "has 65536 bytes, 1 to 65535");
  b = head(3, 0, 1), kv_u32(&b, "bad\xC3(", 1);
  refused(b, PML_E_FORMAT, "the name of metadata entry 1 is not printable UTF-8");
  b = head(3, 0, 1), kv_u32(&b, "esc\033[2J", 1);
  refused(b, PML_E_FORMAT, "is not printable UTF-8");
  b = head(3, 0, 1), u64(&b, 3), pml_buf_add(&b, "a\0b", 3), u32(&b, PML_GGUF_U32), u32(&b, 1);
  refused(b, PML_E_FORMAT, "is not printable UTF-8");
  b = head(3, 0, 3), kv_u32(&b, "k", 1), kv_u32(&b, "j", 1), kv_str(&b, "k", "");
  refused(b, PML_E_FORMAT, "the key 'k' is there twice");
  b = head(3, 0, 1), str(&b, "k"), u32(&b, 13), u64(&b, 0);
  refused(b, PML_E_FORMAT, "'k' has the unknown value type 13");
  b = head(3, 0, 1), str(&b, "k"), u32(&b, UINT32_MAX), u64(&b, 0);
  refused(b, PML_E_FORMAT, "unknown value type 4294967295");
  b = head(3, 0, 1), str(&b, "k"), u32(&b, PML_GGUF_ARR), u32(&b, 99), u64(&b, 0);
  refused(b, PML_E_FORMAT, "unknown value type 99");
  b = head(3, 0, 1), str(&b, "k"), u32(&b, PML_GGUF_ARR), u32(&b, PML_GGUF_ARR), u64(&b, 0);
  refused(b, PML_E_UNSUPPORTED, "'k' is an array of arrays");
  b = head(3, 0, 1), str(&b, "k"), u32(&b, PML_GGUF_ARR), u32(&b, PML_GGUF_F64), u64(&b, (uint64_t)1 << 61);
  refused(b, PML_E_FORMAT, "claims 2305843009213693952 values"); /* times 8 wraps to 0 */
  b = head(3, 0, 1), str(&b, "k"), u32(&b, PML_GGUF_ARR), u32(&b, PML_GGUF_STR), u64(&b, 100000000), zeros(&b, 1, 80);
  refused(b, PML_E_FORMAT, "claims 100000000 values");
  b = head(3, 0, 1), str(&b, "k"), u32(&b, PML_GGUF_STR), u64(&b, UINT64_MAX), zeros(&b, 1, 8);
  refused(b, PML_E_FORMAT, "a string of 18446744073709551615 bytes");
  b = head(3, 0, 1), str(&b, "k"), u32(&b, PML_GGUF_BOOL), pml_buf_add(&b, "\2", 1);
  refused(b, PML_E_FORMAT, "'k' is a bool and holds 2");
  b = head(3, 0, 1), str(&b, "k"), u32(&b, PML_GGUF_ARR), u32(&b, PML_GGUF_BOOL), u64(&b, 3), pml_buf_add(&b, "\1\0\7", 3);
  refused(b, PML_E_FORMAT, "'k' is a bool and holds 7");
  static const uint32_t bad[] = {0, 1, 4, 48, 131072, 1u << 30};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char want[64];
    snprintf(want, sizeof want, "general.alignment is %" PRIu32 ", it must be", bad[i]);
    b = head(3, 0, 1), kv_u32(&b, "general.alignment", bad[i]);
    refused(b, PML_E_FORMAT, want);
  }
  b = head(3, 0, 1), kv_str(&b, "general.alignment", "32");
  refused(b, PML_E_FORMAT, "general.alignment is 0");
}

static void test_hostile_tensors(void) {
  TEST("hostile tensors");
  pml_buf b;
  const uint64_t big = (uint64_t)1 << 32;
  char longname[1100];
  memset(longname, 'n', sizeof longname);
  longname[1025] = 0;
  b = head(3, 1, 0), info(&b, longname, 1, 1, 1, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "the name of tensor 1 has 1025 bytes, 1 to 1024");
  b = head(3, 1, 0), info(&b, "t\xFF", 1, 1, 1, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "the name of tensor 1 is not printable UTF-8");
  b = head(3, 1, 0), info(&b, "t", 5, 1, 1, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "has 5 dimensions, 1 to 4");
  b = head(3, 1, 0), info(&b, "t", 0, 1, 1, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "has 0 dimensions, 1 to 4");
  b = head(3, 1, 0), info(&b, "t", UINT32_MAX, 1, 1, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "has 4294967295 dimensions");
  b = head(3, 1, 0), info(&b, "t", 2, 4, 0, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "dimension 2 is 0");
  b = head(3, 1, 0), info(&b, "t", 2, big, big, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "does not fit 63 bits"); /* the product wraps to 0 */
  b = head(3, 1, 0), info(&b, "t", 2, big, big >> 2, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "does not fit 63 bits"); /* times 4 bytes wraps to 0 */
  b = head(3, 1, 0), info(&b, "t", 1, UINT64_MAX, 1, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "does not fit 63 bits");
  b = head(3, 1, 0), info(&b, "t", 2, INT64_MAX, 2, PML_I8, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "does not fit 63 bits"); /* fits 64, but no signed offset */
  b = head(3, 1, 0), info(&b, "t", 2, 33, 1, PML_Q8_0, 0), zeros(&b, 32, 96);
  refused(b, PML_E_FORMAT, "rows of 33 do not divide into Q8_0 blocks of 32");
  b = head(3, 1, 0), info(&b, "t", 1, 1, 1, UINT32_MAX, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "the impossible type 4294967295");
  b = head(3, 1, 0), info(&b, "t", 1, 1, 1, 0, 4), zeros(&b, 32, 64);
  refused(b, PML_E_FORMAT, "lies at offset 4, no multiple of the alignment 32");
  b = head(3, 1, 0), info(&b, "t", 1, 9, 1, 0, 0), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "'t' needs 36 bytes at offset 0 of the tensor data, the file ends at 32");
  b = head(3, 1, 0), info(&b, "t", 1, 1, 1, 0, 64), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "at offset 64 of the tensor data, the file ends at 32");
  b = head(3, 1, 0), info(&b, "t", 1, 8, 1, 0, 0 - (uint64_t)32), zeros(&b, 32, 32);
  refused(b, PML_E_FORMAT, "the file ends at 32"); /* offset + size wraps to 0 */
  b = head(3, 1, 0), info(&b, "t", 1, 1, 1, 0, 0);
  refused(b, PML_E_FORMAT, "the file ends at 0"); /* no data section at all */
  b = head(3, 2, 0), info(&b, "t", 1, 9, 1, 0, 0), info(&b, "u", 1, 1, 1, 0, 32), zeros(&b, 32, 96);
  refused(b, PML_E_FORMAT, "'t' and 'u' overlap");
  b = head(3, 2, 0), info(&b, "u", 1, 1, 1, 0, 32), info(&b, "t", 1, 9, 1, 0, 0), zeros(&b, 32, 96);
  refused(b, PML_E_FORMAT, "'t' and 'u' overlap");
  b = head(3, 2, 0), info(&b, "t", 1, 1, 1, 0, 0), info(&b, "u", 1, 1, 1, 0, 0), zeros(&b, 32, 96);
  refused(b, PML_E_FORMAT, "overlap");
  b = head(3, 2, 0), info(&b, "t", 1, 1, 1, 0, 0), info(&b, "t", 1, 1, 1, 0, 32), zeros(&b, 32, 96);
  refused(b, PML_E_FORMAT, "the tensor 't' is there twice");
}

static void test_unknown_types(void) {
  TEST("unknown tensor types");
  pml_gguf *g;
  pml_buf b = head(3, 4, 0);
  info(&b, "last", 1, 7, 1, 999, 96);
  info(&b, "a", 1, 7, 1, 4, 0);
  info(&b, "b", 1, 1, 1, 0, 64);
  info(&b, "b0", 1, 1, 1, 1000, 96);
  zeros(&b, 32, 96 + 50);
  CHECK_MSG(pml_gguf_open_memory(&g, b.data, b.len, "m") == PML_OK, "%s", pml_error());
  if (g) {
    const pml_tensor *last = pml_gguf_tensor(g, "last"), *a = pml_gguf_tensor(g, "a"), *b0 = pml_gguf_tensor(g, "b0");
    CHECK(a->type == 4 && a->size == 64 && a->data != NULL); /* up to the next offset */
    /* two of unknown size at one place: only one of them can have the bytes */
    CHECK(last->size + b0->size == 50 && (last->size == 0) == (last->data == NULL));
    CHECK((b0->size == 0) == (b0->data == NULL) && pml_gguf_tensor(g, "b")->size == 4);
  }
  pml_gguf_close(g);
  pml_buf_free(&b);
}

/* Many keys in a bad order for naive sorts; all must be found, quickly. */
static void test_many(void) {
  TEST("many keys");
  enum { N = 20000 };
  pml_buf b = head(3, 0, N);
  char key[32];
  for (int i = 0; i < N; i++) snprintf(key, sizeof key, "key.%05d", N - 1 - i), kv_u32(&b, key, (uint32_t)i);
  pml_gguf *g;
  double begin = pml_time();
  CHECK(pml_gguf_open_memory(&g, b.data, b.len, "m") == PML_OK);
  int wrong = 0;
  for (int i = 0; g && i < N; i++) {
    int64_t v = -1;
    snprintf(key, sizeof key, "key.%05d", i);
    wrong += !pml_gguf_get_int(g, key, &v) || v != N - 1 - i;
  }
  CHECK(wrong == 0 && pml_time() - begin < 2);
  pml_gguf_close(g);
  pml_buf_free(&b);
}

/* ── Cut and changed files ──────────────────────────────────────────────────── */

static pml_buf small_vocab(void) {
  static const char *const tokens[] = {"a", "b", "ab", "<|end|>"}, *const merges[] = {"a b"};
  pml_buf b = head(3, 1, 7);
  kv_str(&b, "general.architecture", "qwen2");
  kv_str(&b, "tokenizer.ggml.model", "gpt2");
  kv_str(&b, "tokenizer.ggml.pre", "qwen2");
  kv_strs(&b, "tokenizer.ggml.tokens", 4, tokens);
  str(&b, "tokenizer.ggml.token_type"), u32(&b, PML_GGUF_ARR), u32(&b, PML_GGUF_I32), u64(&b, 4);
  u32(&b, 1), u32(&b, 1), u32(&b, 1), u32(&b, 3);
  kv_strs(&b, "tokenizer.ggml.merges", 1, merges);
  kv_u32(&b, "tokenizer.ggml.eos_token_id", 3);
  info(&b, "t", 2, 2, 2, 0, 0);
  zeros(&b, 32, 16);
  return b;
}

static void cut_and_flip(const char *data, size_t size, size_t needed) {
  unsigned sum = 0;
  int n_ok = 0;
  CHECK_MSG(open_copy(data, size, &sum) == PML_OK, "%s", pml_error());
  for (size_t len = 0; len < needed; len++) {
    pml_status st = open_copy(data, len, &sum);
    CHECK_MSG(st == PML_E_FORMAT, "cut at %zu of %zu: %d", len, size, (int)st);
    if (len >= 4 && !strstr(pml_error(), "pull it again")) CHECK_MSG(0, "cut at %zu: %s", len, pml_error());
  }
  pml_rng r = pml_rng_seed(size);
  char *copy = (char *)malloc(size);
  for (int i = 0; i < 10000; i++) {
    memcpy(copy, data, size);
    copy[pml_rng_below(&r, (uint32_t)size)] ^= (char)(1 + pml_rng_below(&r, 255));
    n_ok += open_copy(copy, size, &sum) == PML_OK;
  }
  printf("  %zu bytes: of 10000 changed files %d opened (checksum %u)\n", size, n_ok, sum);
  free(copy);
}

static void test_cut(void) {
  TEST("cut and changed");
  char *data;
  size_t size;
  write_all(path);
  CHECK(pml_file_read(path, &data, &size) == PML_OK);
  size_t padding = 96 - sizeof q8_data; /* of the last tensor; without it the file is still whole */
  cut_and_flip(data, size, size - padding);
  pml_free(data);
  pml_buf b = small_vocab();
  cut_and_flip(b.data, b.len, b.len);
  pml_buf_free(&b);
}

/* ── The tokenizer ──────────────────────────────────────────────────────────── */

/* The 256 byte tokens in GPT-2's printable form, as every byte-level BPE has. */
static void byte_tokens(char text[256][3]) {
  uint32_t next = 256;
  for (uint32_t i = 0; i < 256; i++) {
    bool itself = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
    char utf8[4];
    int n = pml_utf8_encode(itself ? i : next++, utf8);
    memcpy(text[i], utf8, (size_t)n);
    text[i][n] = 0;
  }
}

/* A vocabulary of 256 bytes, "ab", <|end|>; the parts that the tests vary. */
static pml_buf vocab(const char *model, const char *pre, const char *key, uint32_t id) {
  static char text[256][3];
  static const char *tokens[258];
  static const char *const merges[] = {"a b"};
  byte_tokens(text);
  for (int i = 0; i < 256; i++) tokens[i] = text[i];
  tokens[256] = "ab";
  tokens[257] = "<|end|>";
  pml_buf b = head(3, 0, pre ? 5 : 4);
  kv_str(&b, "tokenizer.ggml.model", model);
  if (pre) kv_str(&b, "tokenizer.ggml.pre", pre);
  kv_strs(&b, "tokenizer.ggml.tokens", 258, tokens);
  kv_strs(&b, "tokenizer.ggml.merges", 1, merges);
  kv_u32(&b, key, id);
  return b;
}

static void tokenizer_refused(pml_buf b, pml_status want, const char *fragment) {
  pml_gguf *g;
  pml_tokenizer *t = NULL;
  pml_status opened = pml_gguf_open_memory(&g, b.data, b.len, "test.gguf");
  CHECK_MSG(opened == PML_OK, "%s", pml_error());
  if (g) {
    pml_status st = pml_gguf_tokenizer(g, &t);
    CHECK_MSG(st == want, "%s, wanted \"%s\"", st == PML_OK ? "accepted" : pml_error(), fragment);
    CHECK_MSG(st == PML_OK || strstr(pml_error(), fragment), "%s, wanted \"%s\"", pml_error(), fragment);
    CHECK(t == NULL || st == PML_OK);
  }
  pml_tokenizer_free(t);
  pml_gguf_close(g);
  pml_buf_free(&b);
}

static void test_tokenizer(void) {
  TEST("tokenizer");
  static const struct { const char *name; pml_pre pre; } pres[] = {
      {NULL, PML_PRE_DEFAULT}, {"default", PML_PRE_DEFAULT}, {"gpt-2", PML_PRE_GPT2},
      {"gpt2", PML_PRE_GPT2}, {"qwen2", PML_PRE_QWEN2}, {"deepseek-r1-qwen", PML_PRE_QWEN2},
      {"llama-bpe", PML_PRE_LLAMA3}};
  for (size_t i = 0; i < sizeof pres / sizeof pres[0]; i++) {
    pml_buf b = vocab("gpt2", pres[i].name, "tokenizer.ggml.eos_token_id", 257);
    pml_gguf *g;
    pml_tokenizer *t = NULL;
    CHECK(pml_gguf_open_memory(&g, b.data, b.len, "m") == PML_OK);
    CHECK_MSG(pml_gguf_tokenizer(g, &t) == PML_OK, "%s", pml_error());
    if (t) {
      const pml_tokenizer_spec *s = pml_tokenizer_spec_of(t);
      CHECK(s->pre == pres[i].pre && s->n_vocab == 258 && s->n_merges == 1 && s->eos == 257);
      CHECK(s->bos == -1 && s->eot == -1 && s->pad == -1 && !s->add_bos);
    }
    pml_tokenizer_free(t);
    pml_gguf_close(g);
    pml_buf_free(&b);
  }
  const char *eos = "tokenizer.ggml.eos_token_id";
  tokenizer_refused(vocab("llama", NULL, eos, 0), PML_E_FORMAT, "test.gguf: tokenizer.ggml.scores must be an array of 258");
  tokenizer_refused(vocab("t5", NULL, eos, 0), PML_E_FORMAT, "test.gguf: tokenizer.ggml.scores must be an array of 258");
  tokenizer_refused(vocab("x\033y", NULL, eos, 0), PML_E_UNSUPPORTED, "its tokenizer is \"x\\x1by\": known are gpt2");
  tokenizer_refused(vocab("gpt2", "llama-9", eos, 0), PML_E_UNSUPPORTED, "pre-tokenizer \"llama-9\" is not known");
  tokenizer_refused(vocab("gpt2", NULL, eos, 258), PML_E_FORMAT, "eos_token_id is 258, the vocabulary has 258");
  tokenizer_refused(vocab("gpt2", NULL, "tokenizer.ggml.bos_token_id", 1u << 31), PML_E_FORMAT, "bos_token_id is 2147483648");
  tokenizer_refused(vocab("gpt2", NULL, "tokenizer.ggml.padding_token_id", 999), PML_E_FORMAT, "padding_token_id is 999");
  tokenizer_refused(vocab("gpt2", NULL, "tokenizer.ggml.eot_token_id", 999), PML_E_FORMAT, "eot_token_id is 999");
  tokenizer_refused(vocab("gpt2", NULL, "tokenizer.ggml.eot_token_id", UINT32_MAX), PML_OK, "");
  tokenizer_refused(vocab("gpt2", NULL, "tokenizer.ggml.token_type", 1), PML_E_FORMAT, "must be an array of 258 i32");
  tokenizer_refused(head(3, 0, 0), PML_E_FORMAT, "has no tokenizer");
  pml_buf b = head(3, 0, 1);
  kv_str(&b, "tokenizer.ggml.model", "gpt2");
  tokenizer_refused(b, PML_E_FORMAT, "tokenizer.ggml.tokens must be an array");
  static const char *const one[] = {"a"};
  b = head(3, 0, 2), kv_str(&b, "tokenizer.ggml.model", "gpt2"), kv_strs(&b, "tokenizer.ggml.tokens", 1, one);
  tokenizer_refused(b, PML_E_FORMAT, "tokenizer.ggml.merges must be an array");
  b = head(3, 0, 3), kv_str(&b, "tokenizer.ggml.model", "gpt2"), kv_strs(&b, "tokenizer.ggml.merges", 1, one);
  kv_strs(&b, "tokenizer.ggml.tokens", 0, one);
  tokenizer_refused(b, PML_E_FORMAT, "must be an array of 1 to");
  b = head(3, 0, 4), kv_str(&b, "tokenizer.ggml.model", "gpt2"), kv_strs(&b, "tokenizer.ggml.merges", 0, one);
  kv_strs(&b, "tokenizer.ggml.tokens", 1, one), str(&b, "tokenizer.ggml.token_type");
  u32(&b, PML_GGUF_ARR), u32(&b, PML_GGUF_I32), u64(&b, 1), u32(&b, 7);
  tokenizer_refused(b, PML_E_FORMAT, "token 0 has the type 7");
}

/* Another rule than the file's by name. */
static void test_tokenizer_as(void) {
  TEST("tokenizer with another cutting rule");
  pml_buf b = vocab("gpt2", "no-such-rule", "tokenizer.ggml.eos_token_id", 257);
  pml_gguf *g;
  pml_tokenizer *t = NULL;
  CHECK(pml_gguf_open_memory(&g, b.data, b.len, "m") == PML_OK);
  CHECK(pml_gguf_tokenizer(g, &t) == PML_E_UNSUPPORTED && !t && strstr(pml_error(), "--pre"));
  CHECK(pml_gguf_tokenizer_as(g, "falcon", &t) == PML_OK && t && pml_tokenizer_spec_of(t)->pre == PML_PRE_FALCON);
  pml_tokenizer_free(t);
  CHECK(pml_gguf_tokenizer_as(g, "nor-this", &t) == PML_E_UNSUPPORTED && !t && strstr(pml_error(), "nor-this"));
  pml_gguf_close(g);
  pml_buf_free(&b);
}

/* What add_tokenizer writes is the tokenizer that is read back. */
static void test_tokenizer_written(void) {
  TEST("tokenizer written");
  pml_buf b = vocab("gpt2", "qwen2", "tokenizer.ggml.eos_token_id", 257);
  pml_gguf *g, *again;
  pml_tokenizer *t = NULL, *u = NULL;
  CHECK(pml_gguf_open_memory(&g, b.data, b.len, "m") == PML_OK && pml_gguf_tokenizer(g, &t) == PML_OK);
  pml_gguf_writer *w = new_writer();
  if (t) pml_gguf_add_tokenizer(w, t);
  CHECK_MSG(pml_gguf_writer_finish(w, path) == PML_OK, "%s", pml_error());
  CHECK(pml_gguf_open(&again, path) == PML_OK && pml_gguf_tokenizer(again, &u) == PML_OK);
  if (t && u) {
    const pml_tokenizer_spec *s = pml_tokenizer_spec_of(t), *v = pml_tokenizer_spec_of(u);
    int wrong = 0;
    CHECK(v->pre == PML_PRE_QWEN2 && v->n_vocab == s->n_vocab && v->n_merges == 1 && v->eos == 257 && v->bos == -1);
    for (int i = 0; i < s->n_vocab; i++)
      wrong += s->tokens[i].len != v->tokens[i].len || memcmp(s->tokens[i].ptr, v->tokens[i].ptr, s->tokens[i].len) != 0;
    CHECK(wrong == 0);
    check_value(again, "tokenizer.ggml.model", "\"gpt2\"");
    check_value(again, "tokenizer.ggml.pre", "\"qwen2\"");
    check_value(again, "tokenizer.ggml.add_bos_token", "false");
    check_value(again, "tokenizer.ggml.token_type", "[258] 1, 1, 1, ...");
    check_value(again, "tokenizer.ggml.merges", "[1] \"a b\"");
  }
  pml_tokenizer_free(t);
  pml_tokenizer_free(u);
  pml_gguf_close(g);
  pml_gguf_close(again);
  pml_buf_free(&b);
}

static void test_shared_files(void) {
  TEST("files of llama.cpp");
  const char *env = getenv("PRODML_SHARED");
  char file[400];
  pml_gguf *g;
  snprintf(file, sizeof file, "%s/data/ggml-vocab-gpt-2.gguf", env && *env ? env : "../shared");
  if (!pml_file_exists(file)) {
    SKIP("no shared data: set PRODML_SHARED");
    return;
  }
  pml_status st = pml_gguf_open(&g, file);
  CHECK_MSG(st == PML_OK, "%s", pml_error());
  if (g) {
    size_t n = 0;
    pml_str s;
    CHECK(pml_gguf_n_tensors(g) == 0 && pml_gguf_n_kv(g) == 16);
    CHECK(pml_gguf_get_arr(g, "tokenizer.ggml.tokens", NULL, &n, NULL) && n == 50257);
    CHECK(pml_gguf_get_arr_str(g, "tokenizer.ggml.tokens", 50256, &s) && pml_str_eq(s, "<|endoftext|>"));
    check_value(g, "tokenizer.ggml.tokens", "[50257] \"!\", \"\\\"\", \"#\", ...");
    check_value(g, "gpt2.attention.layer_norm_epsilon", "1e-05");
    pml_tokenizer *t;
    CHECK_MSG(pml_gguf_tokenizer(g, &t) == PML_OK, "%s", pml_error());
    if (t) {
      const pml_tokenizer_spec *spec = pml_tokenizer_spec_of(t);
      CHECK(spec->n_vocab == 50257 && spec->n_merges == 50000 && spec->bos == 50256 && spec->eos == 50256);
      CHECK(spec->pre == PML_PRE_GPT2 && spec->pad == -1);
    }
    pml_tokenizer_free(t);
  }
  pml_gguf_close(g);
  snprintf(file, sizeof file, "%s/data/ggml-vocab-llama-spm.gguf", env && *env ? env : "../shared");
  if (pml_file_exists(file) && pml_gguf_open(&g, file) == PML_OK) {
    pml_tokenizer *t;
    CHECK_MSG(pml_gguf_tokenizer(g, &t) == PML_OK, "%s", pml_error());
    if (t) {
      const pml_tokenizer_spec *spec = pml_tokenizer_spec_of(t);
      CHECK(spec->kind == PML_SPM && spec->n_vocab == 32000 && spec->bos == 1 && spec->eos == 2 && spec->unk == 0);
      CHECK(spec->add_bos && spec->add_space_prefix && spec->scores && spec->scores[300] < 0);
    }
    pml_tokenizer_free(t);
    pml_gguf_close(g);
  }
}

/* ── Seeds for the fuzz target ──────────────────────────────────────────────── */

static int write_seed(const char *to, const char *name, pml_buf b) {
  char file[400];
  snprintf(file, sizeof file, "%s/%s.gguf", to, name);
  pml_status st = pml_file_write(file, b.data, b.len);
  if (st != PML_OK) printf("%s\n", pml_error());
  pml_buf_free(&b);
  return st != PML_OK;
}

static int write_corpus(const char *to) {
  char *data;
  size_t size;
  int failed = pml_mkdirs(to) != PML_OK;
  write_all(path);
  failed |= pml_file_read(path, &data, &size) != PML_OK;
  failed |= write_seed(to, "all_types", text_file(data, size));
  pml_free(data);
  failed |= write_seed(to, "vocab", small_vocab());
  failed |= write_seed(to, "bytes", vocab("gpt2", "qwen2", "tokenizer.ggml.eos_token_id", 257));
  failed |= write_seed(to, "empty", head(3, 0, 0));
  failed |= write_seed(to, "version2", head(2, 0, 0));
  pml_buf b = head(3, 2, 1);
  kv_u32(&b, "general.alignment", 64);
  info(&b, "b", 1, 9, 1, 999, 64), info(&b, "a", 2, 2, 2, PML_F16, 0), zeros(&b, 64, 80);
  failed |= write_seed(to, "unknown_type", b);
  return failed;
}

int main(int argc, char **argv) {
  const char *tmp = getenv("TMPDIR");
  snprintf(dir, sizeof dir, "%s/pml_gguf_XXXXXX", tmp && *tmp ? tmp : "/tmp");
  if (!mkdtemp(dir)) return printf("cannot create %s\n", dir), 1;
  snprintf(path, sizeof path, "%s/test.gguf", dir);
  bool corpus = argc == 3 && strcmp(argv[1], "--corpus") == 0;
  int failed = corpus ? write_corpus(argv[2]) : 0;
  if (!corpus) {
    test_round_trip();
    test_getters();
    test_writer();
    test_not_gguf();
    test_hostile_metadata();
    test_hostile_tensors();
    test_unknown_types();
    test_many();
    test_cut();
    test_tokenizer();
    test_tokenizer_as();
  test_tokenizer_written();
    test_shared_files();
    CHECK(pml_memory_in_use() == 0);
  }
  unlink(path);
  CHECK(rmdir(dir) == 0);
  return corpus ? failed : TEST_END();
}
