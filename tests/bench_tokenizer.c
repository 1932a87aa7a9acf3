/* How fast a text becomes tokens.

     cc -O2 -I. tests/bench_tokenizer.c -o out/bench_tokenizer -lm -pthread
     out/bench_tokenizer VOCAB.gguf TEXT [RUNS]

   Prints the best and the median of RUNS (default 5) on one thread, without loading:
   seconds of this process, so that others on the machine disturb less.
   tests/bench_tokenizer.sh compares with llama.cpp on the same file. */
#define PRODML_IMPLEMENTATION
#include "prodml.h"
#include <time.h>

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  enum { MOST = 100 };
  double s[MOST];
  int runs = argc > 3 ? atoi(argv[3]) : 5;
  pml_gguf *g = NULL;
  pml_tokenizer *t = NULL;
  char *text = NULL;
  size_t len = 0, n = 0;
  if (argc < 3 || runs < 1 || runs > MOST) {
    fprintf(stderr, "usage: bench_tokenizer VOCAB.gguf TEXT [RUNS, 1 to %d]\n", MOST);
    return 2;
  }
  double t0 = cpu_seconds();
  pml_status st = pml_gguf_open(&g, argv[1]);
  if (st == PML_OK) st = pml_gguf_tokenizer(g, &t);
  double load = cpu_seconds() - t0;
  if (st == PML_OK) st = pml_file_read(argv[2], &text, &len);
  for (int i = 0; i < runs && st == PML_OK; i++) {
    int32_t *ids;
    t0 = cpu_seconds();
    st = pml_encode(t, text, len, 0, &ids, &n);
    s[i] = cpu_seconds() - t0;
    pml_free(ids);
  }
  if (st != PML_OK) {
    fprintf(stderr, "%s\n", pml_error());
    return 1;
  }
  qsort(s, (size_t)runs, sizeof *s, by_value);
  printf("%zu bytes, %zu ids, best %.3f s, median %.3f s, %.1f MB/s, vocabulary loaded in %.0f ms\n", len, n, s[0],
         s[runs / 2], (double)len / 1e6 / s[runs / 2], load * 1e3);
  pml_free(text);
  pml_tokenizer_free(t);
  pml_gguf_close(g);
  return 0;
}
