/* Tokenizes many texts with one vocabulary, for tests/test_peer_tokenizers.sh:

     tokenize_cases VOCAB.gguf CASES          one line of ids per text
     tokenize_cases --names                   every name that tokenizer.ggml.pre may have

   CASES holds texts with "\n__case__\n" between them. */
#include "prodml.h"
#include <stdlib.h>
#include <string.h>

static const char mark[] = "\n__case__\n";

static bool print_case(const pml_tokenizer *t, const char *text, size_t len) {
  int32_t *ids;
  size_t n;
  if (pml_encode(t, text, len, 0, &ids, &n) != PML_OK) return false;
  for (size_t i = 0; i < n; i++) printf("%s%d", i ? " " : "", (int)ids[i]);
  printf("\n");
  pml_free(ids);
  return true;
}

static bool print_cases(const char *vocab, const char *cases) {
  pml_gguf *g = NULL;
  pml_tokenizer *t = NULL;
  char *text = NULL;
  size_t size = 0;
  bool ok = pml_gguf_open(&g, vocab) == PML_OK && pml_gguf_tokenizer(g, &t) == PML_OK && pml_file_read(cases, &text, &size) == PML_OK;
  for (size_t at = 0, end; ok && at <= size; at = end + sizeof mark - 1) {
    for (end = at; end < size && (size - end < sizeof mark - 1 || memcmp(text + end, mark, sizeof mark - 1)); end++) {}
    ok = print_case(t, text + at, end - at);
  }
  if (!ok) fprintf(stderr, "%s\n", pml_error());
  pml_free(text);
  pml_tokenizer_free(t);
  pml_gguf_close(g);
  return ok;
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "--names")) {
    size_t n;
    const pml_pre_info *list = pml_pre_names(&n);
    for (size_t i = 0; i < n; i++)
      if (list[i].name[0]) printf("%s\n", list[i].name);
    return 0;
  }
  if (argc != 3) {
    fprintf(stderr, "usage: tokenize_cases VOCAB.gguf CASES | --names\n");
    return 2;
  }
  return print_cases(argv[1], argv[2]) ? 0 : 1;
}
