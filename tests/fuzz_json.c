/* libFuzzer target for § 15: any bytes are refused with a sentence, or are a document
   that can be walked, whose strings and numbers survive being written and read again. */
#include "prodml.h"
#include <stdlib.h>
#include <string.h>

static void must(bool ok) {
  if (!ok) abort();
}

static void same_string(pml_json v) {
  pml_buf plain = {0}, quoted = {0}, again = {0};
  pml_json w;
  must(pml_json_text(v, &plain) && pml_json_is(v, plain.data, plain.len));
  pml_json_put_str(&quoted, plain.data, plain.len);
  must(pml_json_open(&w, quoted.data, quoted.len, "own") == PML_OK && pml_json_text(w, &again));
  must(plain.len == again.len && memcmp(plain.data, again.data, plain.len) == 0);
  pml_buf_free(&plain);
  pml_buf_free(&quoted);
  pml_buf_free(&again);
}

static void same_number(pml_json v) {
  double x, y = 0;
  int64_t i;
  uint64_t u;
  pml_json w;
  if (pml_json_int(v, &i) && i > 0) must(pml_json_uint(v, &u) && u == (uint64_t)i);
  if (!pml_json_double(v, &x)) return;
  pml_buf b = {0};
  pml_json_put_num(&b, x);
  must(pml_json_open(&w, b.data, b.len, "own") == PML_OK && pml_json_double(w, &y) && memcmp(&x, &y, 8) == 0);
  pml_buf_free(&b);
}

static void walk(pml_json v, int depth) {
  must(depth <= PML_JSON_MAX_DEPTH);
  if (v.type == PML_JSON_STRING) same_string(v);
  if (v.type == PML_JSON_NUMBER) same_number(v);
  size_t n = 0;
  for (pml_json_iter it = pml_json_each(v); pml_json_next(&it); n++) {
    must(it.index == n && it.value.ptr > v.ptr && it.value.ptr + it.value.len < v.ptr + v.len);
    if (v.type == PML_JSON_OBJECT) same_string(it.key);
    walk(it.value, depth + 1);
  }
  must(n == pml_json_count(v));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  pml_json root, part;
  if (pml_json_open(&root, (const char *)data, size, "input") != PML_OK) {
    must(root.type == PML_JSON_NONE && strncmp(pml_error(), "input: byte ", 12) == 0);
    return 0;
  }
  walk(root, 0);
  for (pml_json_iter it = pml_json_each(root); pml_json_next(&it);) /* a part is a document too */
    must(pml_json_open(&part, it.value.ptr, it.value.len, "part") == PML_OK && part.len == it.value.len);
  must(pml_memory_in_use() == 0);
  return 0;
}
