/* Prints what strict mode promises to be the same everywhere, as SHA-256: the weights
   of a small model after 20 training steps, and the logits of a model file, each for
   1, 2, 3 and 7 threads at the best kernel level and for one thread at the others.
   With thread counts as arguments only those, at the best level.
   tests/test_strict.sh compares builds, tests/test_arm64.sh and tests/test_wasm.sh
   other machines.
     cc -O2 tests/strict_hash.c -o strict_hash -lm -pthread
     ./strict_hash lessons/models/tutor.gguf [THREADS …]
   With -DLINKED it is linked to an object of the header instead. */
#if !defined(LINKED)
#define PRODML_IMPLEMENTATION
#endif
#include "../prodml.h"
#include <stdlib.h>

static pml_status random_sequence(void *user, uint64_t c, pml_sequence *s) {
  int n_vocab = *(const int *)user;
  pml_rng r = pml_rng_seed(1000 + c);
  int32_t ids[40];
  int n = 12 + (int)pml_rng_below(&r, 28);
  for (int i = 0; i < n; i++) ids[i] = (int32_t)pml_rng_below(&r, (uint32_t)n_vocab);
  return pml_sequence_add(s, ids, (size_t)n, 1.0f);
}

static pml_status train_hash(char hex[65]) {
  pml_train_options o;
  pml_augment a;
  pml_trainer *t = NULL;
  pml_status st = pml_train_preset("tiny", &o, &a); /* d 64, 2 layers */
  if (st != PML_OK) return st;
  o.source = random_sequence;
  o.source_user = &o.config.n_vocab;
  o.steps = 20;
  st = pml_trainer_create(&t, &o);
  if (st == PML_OK) st = pml_trainer_run(t, 20);
  if (st == PML_OK) pml_trainer_sha256(t, hex);
  pml_trainer_free(t);
  return st;
}

static pml_status logits_hash(const pml_model *m, char hex[65]) {
  pml_context *ctx = NULL;
  pml_seq seq = {0};
  int32_t ids[64];
  pml_rng r = pml_rng_seed(7);
  for (int i = 0; i < 64; i++) ids[i] = (int32_t)pml_rng_below(&r, (uint32_t)m->cfg.n_vocab);
  size_t n = 64 * (size_t)m->cfg.n_vocab;
  float *logits = (float *)pml_alloc(n * sizeof *logits);
  pml_segment seg = {&seq, ids, 64, 64};
  pml_status st = logits ? pml_context_open(&ctx, m, NULL, NULL) : PML_E_MEMORY;
  if (st == PML_OK) st = pml_forward(ctx, &seg, 1, logits);
  if (st == PML_OK) pml_sha256_hex(logits, n * sizeof *logits, hex);
  if (ctx) pml_context_seq_free(ctx, &seq);
  pml_context_close(ctx);
  pml_free(logits);
  return st;
}

/* One line: both hashes, the level, the threads. */
static pml_status one(const pml_model *m, pml_cpu_level_t level, int threads) {
  char train[65] = "", logits[65] = "";
  pml_status st = pml_cpu_level_set(level);
  if (st == PML_OK) st = pml_threads_set(threads);
  if (st == PML_OK) st = train_hash(train);
  if (st == PML_OK && m) st = logits_hash(m, logits);
  if (st == PML_OK) printf("%s %s %s threads %d\n", train, logits, pml_cpu_level_name(level), threads);
  return st;
}

int main(int argc, char **argv) {
  static const int threads[] = {1, 2, 3, 7};
  pml_model *m = NULL;
  pml_cpu_level_t best = pml_cpu_best();
  pml_status st = argc > 1 ? pml_model_open(&m, argv[1], NULL) : PML_OK;
  pml_strict_set(true);
  for (int i = 2; i < argc && st == PML_OK; i++) st = one(m, best, atoi(argv[i]));
  for (int level = 0; level < PML_CPU_LEVELS && st == PML_OK && argc < 3; level++)
    if (level != (int)best && pml_cpu_supports((pml_cpu_level_t)level)) st = one(m, (pml_cpu_level_t)level, 1);
  for (int i = 0; i < 4 && st == PML_OK && argc < 3; i++) st = one(m, best, threads[i]);
  if (st != PML_OK) fprintf(stderr, "%s\n", pml_error());
  pml_model_close(m);
  pml_threads_stop();
  return st != PML_OK;
}
