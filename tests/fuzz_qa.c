/* libFuzzer target for the question files of § 33: any bytes are refused with a sentence that
   names the file, or are topics that can be checked, searched, varied and asked. */
#include "prodml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/fuzz_qa_XXXXXX", path[64];

static void must(bool ok) {
  if (!ok) abort();
}

static void remove_folder(void) {
  unlink(path);
  rmdir(folder);
}

static void write_input(const uint8_t *data, size_t size) {
  if (!path[0]) {
    must(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/topics.txt", folder);
    atexit(remove_folder);
  }
  FILE *f = fopen(path, "wb");
  must(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static void vary_all(const pml_qa *qa) {
  pml_augment a = pml_augment_defaults();
  pml_rng rng = pml_rng_seed(1);
  for (int i = 0; i < qa->n_topics && i < 8; i++)
    for (int j = 0; j < qa->topics[i].n_taught && j < 8; j++) {
      pml_buf text = {0};
      pml_qa_vary(qa, &a, i, j, &rng, &text);
      must(!text.failed && (!text.data || strlen(text.data) == text.len));
      pml_buf_free(&text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  pml_qa *qa;
  pml_bm25 *bm25;
  pml_buf report = {0};
  write_input(data, size);
  if (pml_qa_load(&qa, path) != PML_OK) {
    must(qa == NULL && strstr(pml_error(), "topics.txt"));
    must(pml_memory_in_use() == 0);
    return 0;
  }
  must(qa->n_topics > 0);
  pml_status st = pml_qa_check(qa, &report);
  must((st == PML_OK) == (report.len == 0));
  vary_all(qa);
  must(pml_bm25_create(&bm25, qa) == PML_OK);
  for (int i = 0; i < qa->n_topics && i < 8; i++) must(pml_bm25_topic(bm25, qa->topics[i].taught[0]) < qa->n_topics);
  pml_bm25_free(bm25);
  pml_buf_free(&report);
  pml_qa_free(qa);
  must(pml_memory_in_use() == 0);
  return 0;
}
