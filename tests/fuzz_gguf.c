/* libFuzzer target for § 18 and § 25: opens any bytes, asks everything that can be
   asked, and runs what is a small model.  Seeds: tests/corpus/gguf, written by
   `test_gguf --corpus DIR` and `test_families --corpus DIR`. */
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

/* A file that opens as a model can be run, with any numbers in it. */
static void run_model(const void *data, size_t size) {
  static const pml_model_options mo = {.allow_no_tokenizer = true};
  pml_model *m = NULL;
  pml_context *ctx = NULL;
  pml_seq seq = {0};
  pml_context_options o = {.n_ctx = 4};
  if (pml_model_open_memory(&m, data, size, "fuzz.gguf", &mo) != PML_OK) return;
  sink += (unsigned)pml_config_n_params(&m->cfg) + (unsigned)pml_model_bytes_per_token(m);
  if (m->cfg.n_ctx < 4) o.n_ctx = m->cfg.n_ctx;
  bool small = (double)m->cfg.n_layers * m->cfg.n_heads * m->cfg.head_dim < 1e5 && m->cfg.n_vocab < 100000;
  if (small && pml_context_open(&ctx, m, NULL, &o) == PML_OK) {
    int32_t tokens[4] = {0, m->cfg.n_vocab - 1, m->cfg.n_vocab / 2, 0};
    float *logits = malloc((size_t)m->cfg.n_vocab * sizeof *logits);
    if (logits && pml_forward_one(ctx, &seq, tokens, o.n_ctx, logits) == PML_OK) sink += logits[0] > 0;
    pml_context_seq_free(ctx, &seq);
    free(logits);
  }
  pml_context_close(ctx);
  pml_model_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  pml_threads_set(1);
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
  run_model(copy, size);
  free(copy);
  if (pml_memory_in_use() != 0) abort(); /* a leak */
  return 0;
}
