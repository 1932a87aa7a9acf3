/* § 10: the hook sees what was computed, sees nothing when off, and provenance is
   one JSON object with every key. */
#include "prodml.h"
#include "test.h"

static pml_span seen[8];
static float seen_value[8];
static int n_seen;

static void hook(void *user, const pml_span *span) {
  (*(int *)user)++;
  if (n_seen == 8) return;
  seen[n_seen] = *span;
  seen_value[n_seen++] = span->n ? span->data[0] : 0.0f;
}

static void test_trace(void) {
  TEST("spans and counters reach the hook in order of their ends");
  int calls = 0;
  float y[3] = {1.5f, 2, 3};
  CHECK(!pml_tracing() && pml_trace_begin() == 0);
  pml_trace_end(pml_trace_begin(), "off", -1, y, 3);
  pml_trace_count("off", -1, 1);
  pml_trace_set(hook, &calls);
  CHECK(pml_tracing());
  uint64_t outer = pml_trace_begin(), inner = pml_trace_begin();
  CHECK(outer > 0 && inner >= outer);
  pml_trace_end(inner, "attention", 2, y, 3);
  pml_trace_count("accepted", -1, 4);
  pml_trace_end(outer, "layer", 2, NULL, 0);
  CHECK(calls == 3 && n_seen == 3);
  CHECK(strcmp(seen[0].name, "attention") == 0 && seen[0].layer == 2 && seen[0].n == 3 && seen_value[0] == 1.5f);
  CHECK(strcmp(seen[1].name, "accepted") == 0 && seen_value[1] == 4 && seen[1].begin_ns == seen[1].end_ns);
  CHECK(strcmp(seen[2].name, "layer") == 0 && seen[2].data == NULL);
  CHECK(seen[2].begin_ns <= seen[0].begin_ns && seen[0].end_ns <= seen[2].end_ns);
  uint64_t open = pml_trace_begin();
  pml_trace_set(NULL, NULL);
  pml_trace_end(open, "open", 0, y, 3);
  uint64_t before = pml_trace_begin();
  pml_trace_set(hook, &calls);
  pml_trace_end(before, "before", 0, y, 3);
  pml_trace_set(NULL, NULL);
  CHECK(calls == 3);
}

static void test_provenance(void) {
  TEST("provenance names everything and escapes its strings");
  pml_buf b = {0};
  pml_provenance_json(&b, "a \"quoted\" \\ name\n\xc3\xa9", UINT64_MAX);
  CHECK(!b.failed);
  const char *start = "{\"program\":\"a \\\"quoted\\\" \\\\ name\\u000a??\",\"version\":\"" PML_VERSION
                      "\",\"git_sha\":\"";
  CHECK_MSG(b.data && strncmp(b.data, start, strlen(start)) == 0, "%s", b.data);
  static const char *const keys[] = {"\"compiler\":\"", "\"flags\":\"", "\"hardware\":{\"cpu\":\"", "\"level\":\"",
                                     "\"cores\":", "\"ram_bytes\":", "\"seed\":18446744073709551615,",
                                     "\"strict\":false}"};
  const char *at = b.data;
  for (size_t i = 0; at && i < sizeof keys / sizeof keys[0]; i++) {
    at = strstr(at, keys[i]);
    CHECK_MSG(at != NULL, "%s missing in %s", keys[i], b.data);
  }
  CHECK(b.data[b.len - 1] == '}');
  pml_buf_free(&b);
}

int main(void) {
  test_trace();
  test_provenance();
  return TEST_END();
}
