/* The tutor's training as a bare program, for measuring and for runs before apr exists:
     cc -O2 -DPRODML_IMPLEMENTATION tests/train_driver.c -o out/train_driver -I. -lm -pthread
     out/train_driver tutor lessons/data lessons/models/tutor.gguf [steps] [key=value ...] */
#include "prodml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double started;

static bool show(void *user, const pml_train_progress *p, const pml_qa_result *eval) {
  (void)user;
  if (eval)
    printf("step %5d  held-out %d/%d = %.1f %%  bm25 %.1f %%  perplexity %.3f  (%.0f s)\n", (int)p->step, eval->right, eval->n,
           100.0 * eval->right / eval->n, 100.0 * eval->bm25_right / eval->n, eval->perplexity, pml_time() - started);
  else if (p->step % 50 == 0)
    printf("step %5d/%d  loss %.4f  lr %.2e  norm %.2f  %.0f tok/s  %.0fk tokens  ETA %.0f s\n", (int)p->step, (int)p->steps,
           p->loss, p->lr, p->grad_norm, p->tok_s, (double)p->tokens * 1e-3, p->eta_s);
  fflush(stdout);
  return true;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: train_driver PRESET DATA OUT.gguf|- [steps] [eval_every] [strict 0|1] [seed] [checkpoint]\n");
    return 2;
  }
  pml_tutor_options o = {.preset = argv[1], .data = argv[2], .out = strcmp(argv[3], "-") ? argv[3] : NULL,
                         .seed = argc > 7 ? strtoull(argv[7], NULL, 10) : 42, .progress = show, .command = "make models"};
  o.steps = argc > 4 ? atoi(argv[4]) : 0;
  o.eval_every = argc > 5 ? atoi(argv[5]) : 0;
  o.strict = argc > 6 && atoi(argv[6]);
  o.checkpoint = argc > 8 ? argv[8] : NULL;
  started = pml_time();
  pml_tutor_report r;
  if (pml_train_tutor(&o, &r) != PML_OK) {
    fprintf(stderr, "%s\n", pml_error());
    return 1;
  }
  static const char *const parts[] = {"gemm", "attention", "norm", "rope", "swiglu", "loss", "other"};
  printf("%d topics, %d taught, %zu parameters, %llu tokens in %.1f s\n", r.n_topics, r.n_taught, r.n_params,
         (unsigned long long)r.tokens, r.seconds);
  for (int i = 0; i < PML_NET_PARTS; i++) printf("  %-10s %6.2f s\n", parts[i], r.part_seconds[i]);
  printf("  %-10s %6.2f s\n  %-10s %6.2f s\n", "update", r.update_seconds, "data", r.data_seconds);
  printf("held-out %d/%d = %.2f %%, bm25 %.2f %%, perplexity %.4f\nparams %s\n", r.held.right, r.held.n,
         100.0 * r.held.right / r.held.n, 100.0 * r.held.bm25_right / r.held.n, r.held.perplexity, r.params_sha256);
  return 0;
}
