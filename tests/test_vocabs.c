/* § 17: the vocabularies that llama.cpp publishes, ggml-vocab-NAME.gguf with .inp and
   .out beside it: every case must give the published ids.  Looked for in
   $PRODML_SHARED/data (default ../shared/data) and in $PRODML_VOCABS. */
#include "prodml.h"
#include "test.h"
#include <dirent.h>

static char *read_file(const char *dir, const char *name, const char *suffix, size_t *len) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s%s", dir, name, suffix);
  FILE *f = fopen(path, "rb");
  char *text = NULL;
  *len = 0;
  while (f) {
    text = realloc(text, *len + 65537);
    if (!text) exit(1);
    size_t n = fread(text + *len, 1, 65536, f);
    *len += n;
    text[*len] = 0;
    if (n == 0) {
      fclose(f);
      break;
    }
  }
  return text;
}

/* The text of a case as the tokenizer's normalisation leaves it is not known here, so
   only the kinds that promise it are asked for a round trip. */
static void check_back(const pml_tokenizer *t, const char *text, size_t len, const int32_t *ids, size_t n) {
  pml_buf back = {0};
  const pml_tokenizer_spec *s = pml_tokenizer_spec_of(t);
  if (s->kind != PML_BPE && s->kind != PML_SPM) return;
  CHECK(pml_decode(t, ids, n, 0, &back) == PML_OK);
  CHECK_MSG(back.len == len && (len == 0 || !memcmp(back.data, text, len)), "'%.*s' came back as '%.*s'", (int)len, text,
            (int)back.len, back.data ? back.data : "");
  pml_buf_free(&back);
}

static void check_case(const pml_tokenizer *t, const char *text, size_t len, const char *out) {
  int32_t *ids = NULL;
  size_t n = 0, i = 0;
  bool same = pml_encode(t, text, len, 0, &ids, &n) == PML_OK;
  char *end;
  for (; same; i++) {
    long id = strtol(out, &end, 10);
    if (end == out || memchr(out, '\n', (size_t)(end - out))) break;
    same = i < n && ids[i] == id;
    out = end;
  }
  CHECK_MSG(same && i == n, "'%.*s': id %zu of %zu differs", (int)len, text, i, n);
  if (ids) check_back(t, text, len, ids, n);
  pml_free(ids);
}

static void check_vocab(const char *dir, const char *name) {
  static const char mark[] = "\n__ggml_vocab_test__\n";
  char path[1024];
  size_t inp_len, out_len, cases = 0;
  char *inp = read_file(dir, name, ".inp", &inp_len), *out = read_file(dir, name, ".out", &out_len);
  pml_gguf *g = NULL;
  pml_tokenizer *t = NULL;
  TEST(name);
  snprintf(path, sizeof path, "%s/%s", dir, name);
  if (inp && out) {
    CHECK_MSG(pml_gguf_open(&g, path) == PML_OK, "%s", pml_error());
    CHECK_MSG(g && pml_gguf_tokenizer(g, &t) == PML_OK, "%s", pml_error());
    const char *line = out;
    for (char *text = inp, *next; t && text; text = next, cases++) {
      next = strstr(text, mark);
      size_t len = next ? (size_t)(next - text) : strlen(text);
      check_case(t, text, len, line);
      if (next) next += sizeof mark - 1;
      line = strchr(line, '\n');
      if (!line) break;
      line++;
    }
    CHECK_MSG(cases > 10, "%zu cases", cases);
    printf("%s: %zu cases\n", name, cases);
  } else SKIP("no .inp and .out beside it");
  pml_tokenizer_free(t);
  pml_gguf_close(g);
  free(inp);
  free(out);
}

static int check_dir(const char *dir) {
  int n = 0;
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d));) {
    size_t len = strlen(e->d_name);
    if (strncmp(e->d_name, "ggml-vocab-", 11) == 0 && len > 5 && strcmp(e->d_name + len - 5, ".gguf") == 0) {
      check_vocab(dir, e->d_name);
      n++;
    }
  }
  if (d) closedir(d);
  return n;
}

int main(void) {
  char dir[1024];
  const char *shared = getenv("PRODML_SHARED"), *more = getenv("PRODML_VOCABS");
  snprintf(dir, sizeof dir, "%s/data", shared ? shared : "../shared");
  int n = check_dir(dir);
  if (more) n += check_dir(more);
  TEST("vocabularies");
  if (n == 0) SKIP("no ggml-vocab-*.gguf found: set PRODML_SHARED or PRODML_VOCABS");
  return TEST_END();
}
