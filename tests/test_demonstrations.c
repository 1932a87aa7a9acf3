/* The demonstrations that lessons are made of: each must say what is true, and see a fault. */
#include "prodml.h"
#include "test.h"

static void test_tables(void) {
  static pml_table t;
  pml_svg *s = NULL;
  TEST("a table by rows");
  CHECK(pml_table_cells(&t) == NULL && strstr(pml_error(), "empty"));
  pml_table_row(&t, "name\tvalue");
  pml_table_row(&t, "%s\t%.1f", "", 2.5);
  const char **cells = pml_table_cells(&t);
  CHECK(cells && t.rows == 2 && t.cols == 2 && !strcmp(cells[1], "value") && !*cells[2] && !strcmp(cells[3], "2.5"));
  pml_free((void *)cells);
  TEST("a row of another length, and one too many, are faults of the picture");
  for (int kind = 0; kind < 2; kind++) {
    memset(&t, 0, sizeof t);
    pml_table_row(&t, "a\tb");
    if (kind == 0) pml_table_row(&t, "one cell");
    for (int i = 0; kind == 1 && i < 2000; i++) pml_table_row(&t, "%s\t%d", "a cell of ten", i);
    CHECK(pml_svg_create(&s, &(pml_svg_head){.title = "t"}) == PML_OK);
    pml_svg_rows(s, pml_svg_body(s), &t, "ll", 0);
    CHECK(pml_svg_check(s, NULL) == PML_E_CHECK && strstr(pml_error(), kind ? "does not fit" : "has 1 cells"));
    pml_svg_free(s);
  }
}

static void test_pictures(void) {
  static pml_curve a, b, full;
  pml_svg *s = NULL;
  pml_buf out = {0};
  TEST("pairs, flows, surfaces pass the check");
  CHECK(pml_svg_create(&s, &(pml_svg_head){.title = "t"}) == PML_OK);
  pml_box body = pml_svg_body(s), all = body, top = pml_box_top(&all, 400, 60), left = pml_box_left(&top, 500, 100);
  CHECK(top.x > left.x + left.w + 99 && top.y > body.y - 1 && top.y < body.y + 1 && all.y > top.y + 459);
  for (int i = 1; i < 9; i++) pml_curve_add(&a, i, 10.0 / i), pml_curve_add_interval(&b, i, 12, 11, 13);
  for (int i = 0; i < 100; i++) pml_curve_add(&full, i, i);
  CHECK(full.n == PML_CURVE_MAX);
  pml_svg_pair(s, left, (pml_axis){.label = "x"}, (pml_axis){.label = "y"}, "ours", &a, "theirs", &b);
  pml_box one = pml_box_left(&all, 300, 300), two = pml_box_left(&all, 400, 60);
  pml_svg_panel_time(s, one, "One", PML_TEAL, 0.25), pml_svg_panel_time(s, two, "Two", PML_TEAL, 0);
  pml_svg_flow(s, one, two, PML_MUTED, "%d ids", 3);
  const double p[4] = {0, 1, 1, 0}, w[4] = {1, (double)NAN, 0.5, 0.5};
  const float xy[4] = {0.5f, 0.5f, -0.5f, 0.5f};
  const bool wrong[2] = {true, false};
  pml_svg_surface(s, (pml_box){all.x, all.y, 300, 300}, p, 2, xy, wrong, 2, 2);
  pml_svg_heat_note(s, (pml_box){top.x, top.y, 700, 160}, w, 2, "Head", "%d %%", 50);
  pml_svg_heat(s, (pml_box){1100, 500, 700, 400}, w, 2, 2, &(pml_heat_options){.last = wrong, .note = "Empty"});
  pml_svg_number(s, (pml_box){700, 300, 400, 180}, "Speed", PML_PURPLE, 12.34, " GB/s", "of %d runs", 7);
  CHECK_MSG(pml_svg_check(s, NULL) == PML_OK, "%s", pml_error());
  CHECK(pml_svg_render(s, &out) == PML_OK && strstr(out.data, "25 % of the time") && strstr(out.data, "3 ids") && strstr(out.data, "Empty") && strstr(out.data, "12.3 GB/s"));
  pml_buf_free(&out);
  pml_svg_free(s);
}

static void test_tokens(void) {
  const char text[] = "low low lower\nnewest newest newest\nwidest widest lowest\nlow newest widest\n";
  const pml_str doc = {text, sizeof text - 1}, tie[] = {{"es", 2}, {"es", 2}, {"st", 2}, {"st", 2}};
  pml_wordlist *w;
  pml_tokenizer *t;
  pml_token_cost cost;
  char first[64];
  size_t same;
  TEST("cuts, costs and repeatability");
  CHECK(pml_wordlist_train(&w, PML_PRE_QWEN2, &doc, 1, 3) == PML_OK);
  CHECK(pml_bpe_train(&t, &doc, 1, &(pml_bpe_options){.n_vocab = 268, .pre = PML_PRE_QWEN2}) == PML_OK);
  CHECK(pml_tokenizer_compare(&cost, t, w, 4, text, doc.len) == PML_OK);
  CHECK(cost.words < cost.tokens && cost.tokens < doc.len && cost.unknown > 0 && cost.unknown < cost.words);
  pml_cut bpe = pml_cut_text(t, NULL, pml_str_of("lowest 😀")), list = pml_cut_text(NULL, w, pml_str_of("lowest 😀"));
  CHECK(bpe.same && bpe.lost == 0 && !list.same && list.lost == list.n && list.unknown[0] && !strncmp(list.back, "[UNK]", 5));
  CHECK(pml_round_trips(t, NULL, 50, 1) == 50 + PML_HARD_TEXTS && pml_round_trips(NULL, w, 50, 1) < 30);
  CHECK(pml_bpe_again(t, doc, &same) == PML_OK && same == pml_tokenizer_spec_of(t)->n_merges);
  CHECK(pml_bpe_first(tie, 4, first) == PML_OK && !strcmp(first, "e s"));
  CHECK(pml_bpe_first(tie, 0, first) == PML_OK && !*first);
  pml_tokenizer_free(t);
  pml_wordlist_free(w);
}

static void test_plane(void) {
  static float xy[2 * 256], line[2 * 256];
  static int32_t label[256], side[256];
  static double map[16];
  double share = 0, right = 0, error = 1;
  int n;
  TEST("the plane");
  pml_chessboard(xy, label, 256, 2, 3);
  for (int i = 0; i < 256; i++) line[2 * i] = xy[2 * i], line[2 * i + 1] = xy[2 * i + 1], side[i] = xy[2 * i] > 0;
  CHECK(pml_best_line(line, side, 256, &share) == PML_OK && share > 0.999);
  CHECK(pml_best_line(xy, label, 256, &share) == PML_OK && share > 0.5 && share < 0.85);
  CHECK(pml_best_line(xy, label, 0, &share) == PML_E_USAGE);
  pml_ffn *m = NULL;
  CHECK(pml_ffn_create(&m, PML_FFN_GELU, 2, 16, 2, 128, 1) == PML_OK);
  CHECK(pml_ffn_fit(m, xy, label, 256, 100, 10, 0.02) == PML_E_USAGE);
  CHECK(pml_ffn_fit(m, xy, label, 256, 128, 400, 0.02) == PML_OK);
  CHECK(pml_ffn_points(m, xy, label, 256, &right, NULL) == PML_OK && right > 0.98);
  CHECK(pml_ffn_surface(m, map, 4, 2) == PML_OK && map[0] < 0.5 && map[3] > 0.5 && map[12] > 0.5);
  pml_ffn_free(m);
  TEST("gradient of attention");
  CHECK(pml_attention_gradient_error(5, 42, &error, &n) == PML_OK && error < 2e-3 && n == 320);
  const float q[] = {2, 0, 0, 2}, k[] = {1, 0, 0, 1}, v[] = {4, 2, 8, 2};
  double w[4];
  float y[4];
  CHECK(pml_attend_causal(y, w, q, k, v, 2, 2, true) == PML_OK && w[0] == 1 && w[1] != w[1] && fabs(w[2] + w[3] - 1) < 1e-12);
  CHECK(w[3] > w[2] && y[0] == 4 && fabs((double)y[3] - 2) < 1e-6);
  CHECK(pml_attend_causal(NULL, w, q, k, v, 2, 2, false) == PML_OK && w[2] == 0 && fabs(w[3] - sqrt(2)) < 1e-6);
  TEST("known shapes");
  pml_config c = pml_config_shape(0);
  CHECK(pml_config_n_params(&c) == 494032768 && pml_config_shape(4).d_model == 0 && pml_config_shape(-1).d_model == 0);
}

static void test_model(void) {
  const char *path = "lessons/models/tutor.gguf", *prompt = "<|im_start|>user\nWhat is a KV cache?<|im_end|>\n<|im_start|>assistant\n";
  pml_model *m = NULL;
  pml_session *s = NULL;
  static pml_depths depth;
  static pml_head_survey survey;
  static const char *const stage[] = {"head", "tokenise"};
  static pml_stages clock = {.names = stage, .n = 2};
  int32_t out[40];
  int n = 0;
  size_t differ = 1, last, before;
  pml_buf text = {0};
  TEST("the tutor");
  if (!pml_file_exists(path) || pml_model_open(&m, path, NULL) != PML_OK || pml_session_open(&s, m, NULL, NULL) != PML_OK) {
    SKIP("there is no tutor");
    pml_model_close(m);
    return;
  }
  pml_sampler_options greedy = pml_generate_defaults().sampler;
  CHECK(pml_generate_plain(s, prompt, strlen(prompt), &greedy, 40, out, &n, &text, &clock) == PML_OK);
  CHECK(n == 40 && text.len > 40 && clock.spans[0] == 40 && clock.spans[1] == 1 && clock.us[0][39] > 0);
  int T = s->seq.n_tokens;
  pml_text x = {s->ctx, &s->seq, s->tokens, 12, NULL};
  for (int i = 0; i < 12; i++) s->tokens[i] = out[i];
  CHECK(T > 40 && pml_forward_agree(&x, &differ) == PML_OK && differ == 0);
  pml_context_truncate(s->ctx, &s->seq, 0);
  CHECK(pml_lens_depths(&depth, s->ctx, &s->seq, out, 12, s->logits) == PML_OK && depth.starts_in_table && depth.ends_in_logits);
  CHECK(depth.n == m->cfg.n_layers + 1 && fabs(depth.p_sum - 1) < 1e-5 && !strcmp(depth.at[1].after, "layer 0"));
  pml_probe *p = NULL;
  const bool marked[12] = {true, true, true, true, true, true, true, true, true, true, true, true};
  CHECK(pml_probe_open(&p, s->ctx, &s->seq, 12) == PML_OK);
  CHECK(pml_probe_causal(p, s->ctx, &s->seq, out, 12, &last, &before) == PML_OK && last > 0 && before == 0);
  CHECK(pml_probe_survey(p, marked, &survey) == PML_OK && fabs(survey.share[survey.aimed] - 1) < 1e-9);
  CHECK(!strcmp(survey.name[m->cfg.n_heads + 1], "layer 1, head 1") && survey.of[m->cfg.n_heads - 1].kv_head == m->cfg.n_kv_heads - 1);
  CHECK(survey.n == m->cfg.n_layers * m->cfg.n_heads && survey.worst.sum_error < 1e-9);
  pml_probe_close(p);
  CHECK(pml_attention_survey(&survey, s->ctx, &s->seq, out, 12, marked, false) == PML_OK && survey.worst.sum_error > 0.1);
  CHECK(pml_attention_survey(&survey, s->ctx, &s->seq, out, 12, marked, true) == PML_OK && survey.worst.sum_error < 1e-9);
  CHECK(survey.own == last && survey.earlier == 0 && last > 0);
  CHECK(pml_attention_survey(&survey, s->ctx, &s->seq, out, PML_SURVEY_ROWS + 1, marked, true) != PML_OK);
  TEST("damage is noticed");
  CHECK(pml_model_open_damaged(path, "token_embd.weight", 1, (uint64_t)m->cfg.n_vocab) == PML_OK);
  CHECK(pml_model_open_damaged(path, "token_embd.weight", 1, (uint64_t)m->cfg.n_vocab - 1) == PML_E_FORMAT);
  CHECK(pml_model_open_damaged(path, "token_embd.weight", 2, 1) == PML_E_USAGE);
  CHECK(pml_model_open_damaged(path, "no.such.tensor", 0, 1) == PML_E_USAGE);
  TEST("a fine-tuning of one text");
  pml_train_progress at[3];
  CHECK(pml_finetune_one(m, "What is a KV cache?", "A box.", 1e-3f, 2, at) == PML_OK && at[1].loss < at[0].loss);
  CHECK(at[2].loss < at[1].loss && at[0].forward_s > 0 && at[0].step_s > at[0].forward_s);
  pml_buf_free(&text);
  pml_session_close(s);
  pml_model_close(m);
}

int main(void) {
  size_t in_use = pml_memory_in_use();
  test_tables();
  test_pictures();
  test_tokens();
  test_plane();
  test_model();
  TEST("no leak");
  CHECK(pml_memory_in_use() == in_use);
  return TEST_END();
}
