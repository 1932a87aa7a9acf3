/* libFuzzer target for § 18: opens any bytes and asks everything that can be
   asked.  Seeds: tests/corpus/gguf, written by `test_gguf --corpus DIR`. */
#include "prodml.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

static void walk_tensors(const pml_gguf *g) {
  for (size_t i = 0; i < pml_gguf_n_tensors(g); i++) {
    const pml_tensor *t = pml_gguf_tensor_at(g, i);
    char *name = pml_strndup(t->name.ptr, t->name.len);
    if (pml_gguf_tensor(g, name) != t) abort();
    const unsigned char *p = (const unsigned char *)t->data;
    for (size_t k = 0; k < t->size; k++) sink += p[k];
    pml_free(name);
  }
}

static void walk_metadata(const pml_gguf *g) {
  pml_buf text = {0};
  for (size_t i = 0; i < pml_gguf_n_kv(g); i++) {
    pml_gguf_type type;
    pml_str key = pml_gguf_key_at(g, i, &type), s;
    char *name = pml_strndup(key.ptr, key.len);
    int64_t whole;
    double real;
    bool yes;
    size_t n;
    const void *bytes;
    pml_gguf_value_text(g, i, &text);
    sink += pml_gguf_get_int(g, name, &whole) + pml_gguf_get_float(g, name, &real);
    sink += pml_gguf_get_bool(g, name, &yes) + pml_gguf_get_str(g, name, &s);
    if (pml_gguf_get_arr(g, name, &type, &n, &bytes))
      for (size_t k = 0; type == PML_GGUF_STR && k < n; k++)
        if (!pml_gguf_get_arr_str(g, name, k, &s)) abort();
    pml_free(name);
  }
  pml_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  pml_gguf *g;
  pml_tokenizer *t;
  void *copy = malloc(size ? size : 1); /* aligned, and exactly as large: one byte too far is seen */
  if (!copy) return 0;
  if (size) memcpy(copy, data, size);
  if (pml_gguf_open_memory(&g, copy, size, "fuzz.gguf") == PML_OK) {
    walk_metadata(g);
    walk_tensors(g);
    if (pml_gguf_tokenizer(g, &t) == PML_OK) pml_tokenizer_free(t);
  }
  pml_gguf_close(g);
  free(copy);
  if (pml_memory_in_use() != 0) abort(); /* a leak */
  return 0;
}
