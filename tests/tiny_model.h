/* A small random model in a file: what the transformer, chat and command tests run on. */
#ifndef PML_TINY_MODEL_H
#define PML_TINY_MODEL_H
#include "prodml.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
  const char *arch;
  int n_layers, d_model, n_heads, n_kv_heads, d_ffn, n_vocab, n_ctx;
  bool tied, bias;
  pml_dtype type;
  uint64_t seed;
} tiny_config;

static tiny_config tiny_defaults(void) {
  return (tiny_config){"qwen2", 2, 64, 4, 2, 96, 300, 128, true, true, PML_F32, 1};
}

static const char *const tiny_specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

static pml_status tiny_tokenizer(pml_tokenizer **t, int n_vocab) {
  static const char text[] = "the model reads the tokens and the tokens become the text that the model wrote";
  pml_str doc = {text, sizeof text - 1};
  pml_bpe_options o = {.n_vocab = n_vocab, .pre = PML_PRE_QWEN2, .specials = tiny_specials, .n_specials = 3,
                       .eos = "<|endoftext|>", .eot = "<|im_end|>", .pad = "<|endoftext|>"};
  return pml_bpe_train(t, &doc, 1, &o);
}

/* Adds a tensor of random values of the wanted type; the memory lives in the arena. */
static void tiny_tensor(pml_gguf_writer *w, pml_arena *a, pml_rng *rng, const char *name, pml_dtype type, uint64_t rows,
                        uint64_t cols, float mean, float sd) {
  size_t n = (size_t)(rows * cols);
  float *f = (float *)pml_arena_alloc(a, n * 4);
  uint16_t *h = (uint16_t *)pml_arena_alloc(a, n * 2);
  for (size_t i = 0; i < n; i++) {
    f[i] = mean + sd * pml_rng_normal(rng);
    h[i] = type == PML_F16 ? pml_f32_to_f16(f[i]) : pml_f32_to_bf16(f[i]);
  }
  uint64_t ne[2] = {cols, rows};
  pml_gguf_add_tensor(w, name, type, rows == 1 ? 1 : 2, ne, type == PML_F32 ? (void *)f : (void *)h);
}

/* Writes the model: same configuration, same bytes. */
static pml_status tiny_write(const char *path, const tiny_config *c) {
  pml_gguf_writer *w;
  pml_tokenizer *t = NULL;
  pml_arena a = {0};
  pml_rng rng = pml_rng_seed(c->seed);
  pml_status st = tiny_tokenizer(&t, c->n_vocab);
  if (st == PML_OK) st = pml_gguf_writer_create(&w);
  if (st != PML_OK) return st;
  char key[64];
#define KEY(s) (snprintf(key, sizeof key, "%s.%s", c->arch, s), key)
  pml_gguf_add_str(w, "general.architecture", c->arch);
  pml_gguf_add_str(w, "general.name", "tiny random model");
  pml_gguf_add_u32(w, KEY("block_count"), (uint32_t)c->n_layers);
  pml_gguf_add_u32(w, KEY("embedding_length"), (uint32_t)c->d_model);
  pml_gguf_add_u32(w, KEY("feed_forward_length"), (uint32_t)c->d_ffn);
  pml_gguf_add_u32(w, KEY("attention.head_count"), (uint32_t)c->n_heads);
  pml_gguf_add_u32(w, KEY("attention.head_count_kv"), (uint32_t)c->n_kv_heads);
  pml_gguf_add_u32(w, KEY("context_length"), (uint32_t)c->n_ctx);
  pml_gguf_add_f32(w, KEY("attention.layer_norm_rms_epsilon"), 1e-6f);
  pml_gguf_add_f32(w, KEY("rope.freq_base"), 10000.0f);
  pml_gguf_add_str(w, "tokenizer.chat_template", "{% for m in messages %}<|im_start|>...<|im_end|>{% endfor %}");
  pml_gguf_add_tokenizer(w, t);
  uint64_t d = (uint64_t)c->d_model, f = (uint64_t)c->d_ffn, v = (uint64_t)c->n_vocab;
  uint64_t h = d / (uint64_t)c->n_heads, kv = h * (uint64_t)c->n_kv_heads;
  float sd = 1.0f / sqrtf((float)d);
  tiny_tensor(w, &a, &rng, "token_embd.weight", c->type, v, d, 0, 0.3f);
  tiny_tensor(w, &a, &rng, "output_norm.weight", PML_F32, 1, d, 1, 0.1f);
  if (!c->tied) tiny_tensor(w, &a, &rng, "output.weight", c->type, v, d, 0, 0.3f);
  for (int i = 0; i < c->n_layers; i++) {
    struct {
      const char *suffix;
      pml_dtype type;
      uint64_t rows, cols;
      float mean, sd;
    } want[] = {{"attn_norm.weight", PML_F32, 1, d, 1, 0.1f},  {"attn_q.weight", c->type, d, d, 0, 2 * sd},
                {"attn_k.weight", c->type, kv, d, 0, 2 * sd},  {"attn_v.weight", c->type, kv, d, 0, sd},
                {"attn_output.weight", c->type, d, d, 0, sd},  {"ffn_norm.weight", PML_F32, 1, d, 1, 0.1f},
                {"ffn_gate.weight", c->type, f, d, 0, sd},     {"ffn_up.weight", c->type, f, d, 0, sd},
                {"ffn_down.weight", c->type, d, f, 0, sd},     {"attn_q.bias", PML_F32, 1, d, 0, 0.3f},
                {"attn_k.bias", PML_F32, 1, kv, 0, 0.3f},      {"attn_v.bias", PML_F32, 1, kv, 0, 0.3f}};
    for (size_t j = 0; j < sizeof want / sizeof want[0] - (c->bias ? 0 : 3); j++) {
      char name[64];
      snprintf(name, sizeof name, "blk.%d.%s", i, want[j].suffix);
      tiny_tensor(w, &a, &rng, name, want[j].type, want[j].rows, want[j].cols, want[j].mean, want[j].sd);
    }
  }
  st = pml_gguf_writer_finish(w, path);
  pml_tokenizer_free(t);
  pml_arena_free(&a);
  return st;
}

static const char *tiny_path(char buf[256], const char *name) {
  const char *dir = getenv("TMPDIR");
  snprintf(buf, 256, "%s/prodml-test-%ld-%s", dir ? dir : "/tmp", (long)getpid(), name);
  return buf;
}
#endif
