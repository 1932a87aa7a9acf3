/* apr: one command for models: run, chat, tokenize, inspect, trace, eval, train, bench, hardware.

     cc -O2 lessons/apr.c -o apr -lm -pthread
     ./apr --help
     ./apr run lessons/models/tutor.gguf -p "What is a KV cache?" --chat

   A learner reads it after part IV of the header: every command is a thin user of
   one chapter.  Exit status: 0 done, 1 it failed (one sentence on stderr), 2 the
   command line made no sense. */
#define PRODML_IMPLEMENTATION
#include "../prodml.h"

#include <signal.h>

/* ── Arguments ────────────────────────────────────────────────────────────── */

typedef enum { ARG_FLAG, ARG_INT, ARG_FLOAT, ARG_TEXT, ARG_LIST } arg_kind;

/* One option of a command.  A list collects up to 16 values. */
typedef struct {
  const char *name, *short_name; /* "--threads", "-t" or NULL */
  arg_kind kind;
  void *value;                   /* bool*, int*, float*, const char**, text_list* */
  const char *help;
} arg;

typedef struct {
  const char *item[16];
  int n;
} text_list;

typedef struct {
  const char *name, *positional, *summary, *example;
} command;

enum { EXIT_OK = 0, EXIT_FAIL = 1, EXIT_USAGE = 2, EXIT_HELP = -1 };

static volatile sig_atomic_t interrupted;
static volatile int cancel_flag;

static void on_interrupt(int sig) {
  (void)sig;
  interrupted++;
  cancel_flag = 1;
  if (interrupted >= 3) _exit(130); /* a third Ctrl-C does not wait for a long layer */
}

static int fail(void) {
  fprintf(stderr, "apr: %s\n", pml_error());
  return EXIT_FAIL;
}

static int usage_error(const char *cmd, const char *fmt, ...) PML__PRINTF(2, 3);
static int usage_error(const char *cmd, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "apr %s: ", cmd);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fprintf(stderr, " (apr %s --help lists what there is)\n", cmd);
  return EXIT_USAGE;
}

static void print_help(const command *c, const arg *args, int n) {
  printf("apr %s %s\n  %s\n\n", c->name, c->positional, c->summary);
  for (int i = 0; i < n; i++) {
    static const char *const kinds[] = {"", " N", " X", " TEXT", " TEXT"};
    char left[64];
    snprintf(left, sizeof left, "%s%s%s%s", args[i].short_name ? args[i].short_name : "  ",
             args[i].short_name ? ", " : "  ", args[i].name, kinds[args[i].kind]);
    printf("  %-28s %s\n", left, args[i].help);
  }
  printf("  %-28s %s\n\nExample:\n  %s\n", "-h, --help", "this text", c->example);
}

static bool parse_number(const arg *a, const char *text) {
  char *end;
  errno = 0;
  if (a->kind == ARG_INT) {
    long v = strtol(text, &end, 10);
    *(int *)a->value = (int)v;
    return *text && !*end && !errno && v >= INT_MIN && v <= INT_MAX;
  }
  float v = strtof(text, &end);
  *(float *)a->value = v;
  return *text && !*end && isfinite(v);
}

static int set_arg(const command *c, const arg *a, const char *text) {
  if (a->kind == ARG_FLAG) *(bool *)a->value = true;
  else if (a->kind == ARG_TEXT) *(const char **)a->value = text;
  else if (a->kind == ARG_LIST) {
    text_list *l = (text_list *)a->value;
    if (l->n == 16) return usage_error(c->name, "%s may be given at most 16 times", a->name);
    l->item[l->n++] = text;
  } else if (!parse_number(a, text)) return usage_error(c->name, "%s needs a number, not '%s'", a->name, text);
  return EXIT_OK;
}

/* Fills the options and up to max_pos positional arguments. */
static int parse(const command *c, const arg *args, int n, int argc, char **argv, const char **pos, int max_pos,
                 int *n_pos) {
  bool only_positional = false;
  *n_pos = 0;
  for (int i = 0; i < argc; i++) {
    const char *s = argv[i], *eq = strchr(s, '=');
    if (!only_positional && (!strcmp(s, "--help") || !strcmp(s, "-h"))) {
      print_help(c, args, n);
      return EXIT_HELP;
    }
    if (!only_positional && !strcmp(s, "--")) {
      only_positional = true;
      continue;
    }
    if (only_positional || s[0] != '-' || !s[1]) {
      if (*n_pos == max_pos) return usage_error(c->name, "one argument too many: '%s'", s);
      pos[(*n_pos)++] = s;
      continue;
    }
    const arg *a = NULL;
    size_t len = !strncmp(s, "--", 2) && eq ? (size_t)(eq - s) : strlen(s);
    for (int j = 0; j < n && !a; j++)
      if ((strlen(args[j].name) == len && !strncmp(args[j].name, s, len)) ||
          (args[j].short_name && !strcmp(args[j].short_name, s)))
        a = &args[j];
    if (!a) return usage_error(c->name, "unknown option '%s'", s);
    const char *value = len < strlen(s) ? eq + 1 : NULL;
    if (a->kind == ARG_FLAG && value) return usage_error(c->name, "%s takes no value", a->name);
    if (a->kind != ARG_FLAG && !value && ++i == argc) return usage_error(c->name, "%s needs a value", a->name);
    int rc = set_arg(c, a, value ? value : argv[i]);
    if (rc != EXIT_OK) return rc;
  }
  return EXIT_OK;
}

/* Options that most commands share. */
typedef struct {
  int threads, ctx;
  bool strict;
  const char *output, *pre;
} common;

#define PRE_ARG(c) {"--pre", NULL, ARG_TEXT, &(c).pre, "cut words as this tokenizer.ggml.pre says, not the file's"}
#define COMMON_ARGS(c)                                                                         \
  {"--threads", "-t", ARG_INT, &(c).threads, "threads to compute with (0: one per core)"},     \
      {"--strict", NULL, ARG_FLAG, &(c).strict, "the same bits on every machine, a little slower"}

static int apply_common(const command *c, const common *o) {
  if (o->output && strcmp(o->output, "json") && strcmp(o->output, "text") && strcmp(o->output, "stdout"))
    return usage_error(c->name, "--output is '%s': text or json", o->output);
  if (pml_threads_set(o->threads) != PML_OK) return usage_error(c->name, "%s", pml_error());
  if (pml_cpu_level_check() != PML_OK) return fail(); /* the variable PML_CPU cannot be obeyed */
  pml_strict_set(o->strict);
  return EXIT_OK;
}

static bool wants_json(const common *o) { return o->output && !strcmp(o->output, "json"); }

/* All of stdin, or of a file. */
static pml_status read_stream(FILE *f, const char *name, char **text, size_t *len) {
  pml_buf b = {0};
  char chunk[1 << 16];
  size_t n;
  while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) pml_buf_add(&b, chunk, n);
  if (ferror(f) || b.failed) {
    pml_buf_free(&b);
    return pml_fail(PML_E_IO, "%s: reading failed: %s", name, strerror(errno));
  }
  *len = b.len;
  *text = b.data ? b.data : pml_strdup("");
  return *text ? PML_OK : PML_E_MEMORY;
}

/* ── Generation ───────────────────────────────────────────────────────────── */

typedef struct {
  const char *prompt, *system, *format;
  int max_tokens, top_k, seed;
  float temperature, top_p, min_p, repeat_penalty;
  bool quiet, chat, raw, bos, special, ignore_eos;
  text_list stop;
} gen_args;

static gen_args gen_defaults(void) {
  return (gen_args){.max_tokens = 256, .seed = 42, .top_p = 1, .repeat_penalty = 1};
}

#define GEN_ARGS(g)                                                                                       \
  {"--max-tokens", "-n", ARG_INT, &(g).max_tokens, "stop after N tokens (256)"},                          \
      {"--temperature", NULL, ARG_FLOAT, &(g).temperature, "0 is greedy, the default; 1 samples as trained"}, \
      {"--top-k", NULL, ARG_INT, &(g).top_k, "keep the K most likely tokens (0: off)"},                   \
      {"--top-p", NULL, ARG_FLOAT, &(g).top_p, "keep the smallest set with this probability (1: off)"},   \
      {"--min-p", NULL, ARG_FLOAT, &(g).min_p, "drop tokens below this share of the best (0: off)"},      \
      {"--repeat-penalty", NULL, ARG_FLOAT, &(g).repeat_penalty, "above 1 discourages repetition (1: off)"}, \
      {"--seed", NULL, ARG_INT, &(g).seed, "of the sampler (42)"},                                        \
      {"--chat-template", NULL, ARG_TEXT, &(g).format, "a chat format by name, whatever the file says"},    \
      {"--stop", NULL, ARG_LIST, &(g).stop, "end the answer before this text; may be repeated"},          \
      {"--ignore-eos", NULL, ARG_FLAG, &(g).ignore_eos, "go on after the end token"}

static bool write_text(void *user, const char *text, size_t len) {
  (void)user;
  bool ok = fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0;
  return ok && !interrupted;
}

static bool print_token(void *user, int32_t token, const float *logits) {
  (void)logits;
  printf("%s%d", (*(int *)user)++ ? " " : "", token);
  return !interrupted;
}

/* The format that --chat-template names exists. */
static int check_format(const command *c, const char *name) {
  pml_buf all = {0};
  bool found = !name;
  for (size_t i = 0; pml_chat_format_name(i); i++) {
    found = found || !strcmp(pml_chat_format_name(i), name);
    pml_buf_printf(&all, "%s%s", i ? ", " : "", pml_chat_format_name(i));
  }
  int rc = found ? EXIT_OK : usage_error(c->name, "--chat-template is '%s': %s", name, all.data ? all.data : "");
  pml_buf_free(&all);
  return rc;
}

/* What ends an answer of this model besides its end tokens. */
static void add_format_stop(gen_args *g, const pml_model *m) {
  const char *stop = pml_chat_stop(m);
  if (stop && g->stop.n < 16) g->stop.item[g->stop.n++] = stop;
}

static pml_generate_options gen_options(const gen_args *g, pml_generate_stats *stats) {
  pml_generate_options o = pml_generate_defaults();
  o.max_tokens = g->max_tokens;
  o.sampler.temperature = g->temperature;
  o.sampler.top_k = g->top_k;
  o.sampler.top_p = g->top_p;
  o.sampler.min_p = g->min_p;
  o.sampler.repeat_penalty = g->repeat_penalty;
  o.sampler.seed = (uint64_t)(int64_t)g->seed;
  o.stop = g->stop.item;
  o.n_stop = g->stop.n;
  o.ignore_eos = g->ignore_eos;
  o.on_text = write_text;
  o.stats = stats;
  return o;
}

static void print_stats(const pml_generate_stats *s) {
  static const char *const why[] = {"stop", "length", "cancelled"};
  int computed = s->n_prompt - s->n_reused;
  fprintf(stderr, "prompt %d tokens (%d reused), %.1f ms, %.0f tok/s; answer %d tokens, %.1f tok/s; ended by %s\n",
          s->n_prompt, s->n_reused, s->prefill_s * 1e3, s->prefill_s > 0 ? computed / s->prefill_s : 0,
          s->n_generated, s->decode_s > 0 && s->n_generated > 1 ? (s->n_generated - 1) / s->decode_s : 0,
          why[s->finish]);
}

static pml_status prompt_ids(const pml_model *m, const gen_args *g, const char *text, size_t len, int32_t **ids,
                             size_t *n) {
  if (!pml_utf8_valid(text, len))
    return pml_fail(PML_E_FORMAT, "the prompt is not valid UTF-8: re-encode it (iconv -t UTF-8)");
  if (strlen(text) != len) return pml_fail(PML_E_FORMAT, "the prompt holds a 0 byte: it must be text");
  if (g->chat || (!g->raw && pml_model_is_chat(m))) {
    pml_message messages[2];
    int count = 0;
    if (g->system) messages[count++] = (pml_message){"system", g->system};
    messages[count++] = (pml_message){"user", text};
    return pml_chat_encode(m, messages, count, ids, n);
  }
  unsigned flags = (g->bos ? PML_ENCODE_BOS : 0u) | (g->special ? PML_ENCODE_SPECIAL : 0u);
  return pml_encode(m->tokenizer, text, len, flags, ids, n);
}

/* "1,2,3" or "1 2 3". */
static pml_status parse_ids(const char *text, int32_t **ids, size_t *n) {
  pml_buf b = {0};
  for (const char *p = text; *p;) {
    char *end;
    errno = 0;
    long v = strtol(p, &end, 10);
    if (end == p || errno || v < 0 || v > INT32_MAX) {
      pml_buf_free(&b);
      return pml_fail(PML_E_USAGE, "--ids '%.40s': give token numbers separated by commas", text);
    }
    int32_t id = (int32_t)v;
    pml_buf_add(&b, &id, sizeof id);
    for (p = end; *p == ',' || *p == ' '; p++) {}
  }
  *n = b.len / sizeof(int32_t);
  *ids = (int32_t *)(void *)b.data;
  if (*n == 0) return pml_fail(PML_E_USAGE, "--ids is empty: give token numbers separated by commas");
  return PML_OK;
}

static int cmd_run(const command *c, int argc, char **argv) {
  common o = {0};
  gen_args g = gen_defaults();
  const char *ids_text = NULL;
  bool print_ids = false;
  int printed = 0;
  arg args[] = {{"--prompt", "-p", ARG_TEXT, &g.prompt, "the text; without it stdin is read"},
                {"--ids", NULL, ARG_TEXT, &ids_text, "token ids separated by commas instead of a text"},
                {"--print-ids", NULL, ARG_FLAG, &print_ids, "print token ids instead of text"},
                {"--system", NULL, ARG_TEXT, &g.system, "a system message for a chat model"},
                GEN_ARGS(g),
                {"--chat", NULL, ARG_FLAG, &g.chat, "insist on the chat template (default for chat models)"},
                {"--raw", NULL, ARG_FLAG, &g.raw, "continue the text as it is, no chat template"},
                {"--bos", NULL, ARG_FLAG, &g.bos, "with --raw: begin with the BOS token"},
                {"--special", NULL, ARG_FLAG, &g.special, "with --raw: control tokens in the text are tokens"},
                {"--ctx", "-c", ARG_INT, &o.ctx, "positions in the KV cache (0: the model's, at most 4096)"},
                {"--quiet", "-q", ARG_FLAG, &g.quiet, "no statistics on stderr"},
                PRE_ARG(o), COMMON_ARGS(o)};
  const char *pos[2];
  int n_pos, rc = parse(c, args, sizeof args / sizeof args[0], argc, argv, pos, 2, &n_pos);
  if (rc != EXIT_OK) return rc;
  if (n_pos == 0) return usage_error(c->name, "which model? give a GGUF file");
  if (n_pos == 2 && g.prompt) return usage_error(c->name, "two prompts: '%s' and --prompt", pos[1]);
  if (n_pos == 2) g.prompt = pos[1];
  if (ids_text && g.prompt) return usage_error(c->name, "--ids and --prompt exclude each other");
  if (g.chat && g.raw) return usage_error(c->name, "--chat and --raw exclude each other");
  if (g.max_tokens < 1) return usage_error(c->name, "--max-tokens %d: give at least 1", g.max_tokens);
  if ((rc = check_format(c, g.format)) != EXIT_OK || (rc = apply_common(c, &o)) != EXIT_OK) return rc;
  pml_model_options mo = {.chat_template = g.format, .pre = o.pre};
  pml_model *m;
  if (pml_model_open(&m, pos[0], &mo) != PML_OK) return fail();
  if (!ids_text && !g.raw) add_format_stop(&g, m);
  char *text = NULL;
  size_t len = g.prompt ? strlen(g.prompt) : 0, n = 0;
  int32_t *ids = NULL;
  pml_session *s = NULL;
  pml_generate_stats stats = {0};
  pml_context_options co = {.n_ctx = o.ctx, .cancel = &cancel_flag};
  pml_generate_options go = gen_options(&g, &stats);
  if (print_ids) {
    go.on_text = NULL;
    go.on_token = print_token;
    go.user = &printed;
  }
  pml_status st = g.prompt || ids_text ? PML_OK : read_stream(stdin, "stdin", &text, &len);
  if (st == PML_OK)
    st = ids_text ? parse_ids(ids_text, &ids, &n) : prompt_ids(m, &g, g.prompt ? g.prompt : text, len, &ids, &n);
  if (st == PML_OK) st = pml_session_open(&s, m, NULL, &co);
  if (st == PML_OK) st = pml_generate(s, ids, n, &go);
  if (st == PML_OK) {
    putchar('\n');
    if (!g.quiet) print_stats(&stats);
  } else fail();
  if (st == PML_OK && (fflush(stdout) != 0 || ferror(stdout))) {
    fprintf(stderr, "apr: stdout: %s\n", strerror(errno));
    st = PML_E_IO;
  }
  pml_session_close(s);
  pml_free(ids);
  pml_free(text);
  pml_model_close(m);
  return interrupted ? 130 : st == PML_OK ? EXIT_OK : EXIT_FAIL;
}

/* ── Chat ─────────────────────────────────────────────────────────────────── */

typedef struct {
  char *role, *content;
} turn;

typedef struct {
  turn *turns;
  int n, cap;
} history;

static pml_status history_add(history *h, const char *role, const char *content) {
  if (h->n == h->cap) {
    int cap = h->cap ? 2 * h->cap : 16;
    turn *t = (turn *)pml_realloc(h->turns, (size_t)cap * sizeof *t);
    if (!t) return PML_E_MEMORY;
    h->turns = t;
    h->cap = cap;
  }
  h->turns[h->n] = (turn){pml_strdup(role), pml_strdup(content)};
  if (!h->turns[h->n].role || !h->turns[h->n].content) return PML_E_MEMORY;
  h->n++;
  return PML_OK;
}

static void history_cut(history *h, int n) {
  while (h->n > n) {
    h->n--;
    pml_free(h->turns[h->n].role);
    pml_free(h->turns[h->n].content);
  }
}

typedef struct {
  pml_buf answer;
} chat_out;

static bool chat_text(void *user, const char *text, size_t len) {
  pml_buf_add(&((chat_out *)user)->answer, text, len);
  return write_text(NULL, text, len);
}

static const char chat_help[] =
    "  /help            this text\n"
    "  /clear           forget the conversation\n"
    "  /system TEXT     set the system message and start anew\n"
    "  /undo            take back the last question and answer\n"
    "  /history         print the conversation\n"
    "  /stats           tokens and speed of the last answer\n"
    "  /exit            leave (Ctrl-D too); Ctrl-C stops an answer\n";

/* A line without its newline; false at the end of input.  Ctrl-C at the prompt
   starts a new line. */
static bool read_line(pml_buf *line) {
  line->len = 0;
  for (;;) {
    int ch = getchar();
    if (ch == EOF) {
      if (ferror(stdin) && errno == EINTR && interrupted) {
        clearerr(stdin);
        interrupted = 0;
        cancel_flag = 0;
        line->len = 0;
        printf("\n> ");
        fflush(stdout);
        continue;
      }
      return line->len > 0;
    }
    if (ch == '\n') {
      pml_buf_add(line, "", 0);
      return true;
    }
    char byte = (char)ch;
    pml_buf_add(line, &byte, 1);
  }
}

static pml_status chat_answer(pml_session *s, history *h, const gen_args *g, pml_generate_stats *stats) {
  chat_out out = {{0}};
  int32_t *ids = NULL;
  size_t n = 0;
  pml_status st = pml_chat_encode(s->ctx->model, (const pml_message *)(const void *)h->turns, h->n, &ids, &n);
  pml_generate_options o = gen_options(g, stats);
  o.on_text = chat_text;
  o.user = &out;
  if (st == PML_OK) st = pml_generate(s, ids, n, &o);
  if (st == PML_OK) {
    printf("\n");
    st = history_add(h, "assistant", out.answer.data ? out.answer.data : "");
  }
  pml_free(ids);
  pml_buf_free(&out.answer);
  return st;
}

_Static_assert(sizeof(turn) == sizeof(pml_message) && offsetof(turn, content) == offsetof(pml_message, content),
               "a turn is a message that owns its text");

/* A line that begins with '/'; returns false to leave. */
static bool chat_command(const char *line, history *h, const pml_generate_stats *stats) {
  if (!strcmp(line, "/exit") || !strcmp(line, "/quit")) return false;
  if (!strcmp(line, "/help")) fputs(chat_help, stdout);
  else if (!strcmp(line, "/clear")) history_cut(h, 0);
  else if (!strcmp(line, "/stats")) print_stats(stats);
  else if (!strcmp(line, "/undo")) {
    int n = h->n;
    while (n > 0 && strcmp(h->turns[n - 1].role, "user") != 0) n--;
    history_cut(h, n > 0 ? n - 1 : n);
  } else if (!strcmp(line, "/history")) {
    for (int i = 0; i < h->n; i++) printf("%s: %s\n", h->turns[i].role, h->turns[i].content);
  } else if (!strncmp(line, "/system ", 8)) {
    history_cut(h, 0);
    if (history_add(h, "system", line + 8) != PML_OK) fail();
  } else printf("There is no %s.\n%s", line, chat_help);
  return true;
}

static int cmd_chat(const command *c, int argc, char **argv) {
  common o = {0};
  gen_args g = gen_defaults();
  arg args[] = {{"--system", NULL, ARG_TEXT, &g.system, "a system message"},
                GEN_ARGS(g),
                {"--ctx", "-c", ARG_INT, &o.ctx, "positions in the KV cache (0: the model's, at most 4096)"},
                {"--quiet", "-q", ARG_FLAG, &g.quiet, "no greeting and no statistics"},
                PRE_ARG(o), COMMON_ARGS(o)};
  const char *pos[1];
  int n_pos, rc = parse(c, args, sizeof args / sizeof args[0], argc, argv, pos, 1, &n_pos);
  if (rc != EXIT_OK) return rc;
  if (n_pos == 0) return usage_error(c->name, "which model? give a GGUF file");
  if (g.max_tokens < 1) return usage_error(c->name, "--max-tokens %d: give at least 1", g.max_tokens);
  if ((rc = check_format(c, g.format)) != EXIT_OK || (rc = apply_common(c, &o)) != EXIT_OK) return rc;
  pml_model_options mo = {.chat_template = g.format, .pre = o.pre};
  pml_model *m = NULL;
  pml_session *s = NULL;
  pml_context_options co = {.n_ctx = o.ctx, .cancel = &cancel_flag};
  history h = {0};
  pml_buf line = {0};
  pml_generate_stats stats = {0};
  pml_status st = pml_model_open(&m, pos[0], &mo);
  if (st == PML_OK && !pml_model_is_chat(m))
    st = pml_fail(PML_E_UNSUPPORTED, "%s is not a chat model that we know: use apr run --raw, or --chat-template", pos[0]);
  if (st == PML_OK) add_format_stop(&g, m);
  if (st == PML_OK) st = pml_session_open(&s, m, NULL, &co);
  if (st == PML_OK && g.system) st = history_add(&h, "system", g.system);
  if (st == PML_OK && !g.quiet) printf("%s. /help lists the commands, Ctrl-D leaves.\n", m->name);
  while (st == PML_OK) {
    printf("> ");
    fflush(stdout);
    if (!read_line(&line)) break;
    if (line.len == 0) continue;
    if (line.data[0] == '/') {
      if (!chat_command(line.data, &h, &stats)) break;
      continue;
    }
    if (!pml_utf8_valid(line.data, line.len) || strlen(line.data) != line.len) {
      printf("That line is not valid UTF-8 text.\n");
      continue;
    }
    if ((st = history_add(&h, "user", line.data)) != PML_OK) break;
    interrupted = 0;
    cancel_flag = 0;
    int before = h.n - 1;
    if (chat_answer(s, &h, &g, &stats) != PML_OK) {
      fprintf(stderr, "apr: %s\n", pml_error());
      history_cut(&h, before); /* a question without an answer is not part of the conversation */
    } else if (!g.quiet) print_stats(&stats);
  }
  printf("\n");
  if (st != PML_OK) fail();
  history_cut(&h, 0);
  pml_free(h.turns);
  pml_buf_free(&line);
  pml_session_close(s);
  pml_model_close(m);
  return st == PML_OK ? EXIT_OK : EXIT_FAIL;
}

/* ── Tokenize ─────────────────────────────────────────────────────────────── */

static void print_ids(const int32_t *ids, size_t n, bool json, const pml_tokenizer *t, bool pieces) {
  pml_buf out = {0};
  if (json) pml_buf_puts(&out, "{\"ids\":[");
  for (size_t i = 0; i < n; i++) pml_buf_printf(&out, "%s%d", i == 0 ? "" : json ? "," : " ", ids[i]);
  if (json) pml_buf_puts(&out, "],\"pieces\":[");
  for (size_t i = 0; i < n && (json || pieces); i++) {
    pml_str b = pml_token_bytes(t, ids[i]);
    if (json) pml_buf_puts(&out, i ? "," : "");
    else pml_buf_printf(&out, "\n%8d ", ids[i]);
    pml_json_put_str(&out, b.ptr, b.len);
  }
  pml_buf_puts(&out, json ? "]}\n" : "\n");
  fwrite(out.data, 1, out.len, stdout);
  pml_buf_free(&out);
}

static int cmd_tokenize(const command *c, int argc, char **argv) {
  common o = {0};
  const char *prompt = NULL;
  bool bos = false, special = false, pieces = false, count = false;
  arg args[] = {{"--prompt", "-p", ARG_TEXT, &prompt, "the text; without it stdin is read, taken as it is"},
                {"--bos", NULL, ARG_FLAG, &bos, "begin with the BOS token"},
                {"--special", NULL, ARG_FLAG, &special, "control tokens in the text become one id"},
                {"--pieces", NULL, ARG_FLAG, &pieces, "one token per line with its bytes"},
                {"--count", NULL, ARG_FLAG, &count, "print only the number of tokens"},
                PRE_ARG(o),
                {"--output", NULL, ARG_TEXT, &o.output, "text (ids separated by spaces) or json"}};
  const char *pos[1];
  int n_pos, rc = parse(c, args, sizeof args / sizeof args[0], argc, argv, pos, 1, &n_pos);
  if (rc != EXIT_OK) return rc;
  if (n_pos == 0) return usage_error(c->name, "which model? give a GGUF file");
  if ((rc = apply_common(c, &o)) != EXIT_OK) return rc;
  pml_gguf *g = NULL;
  pml_tokenizer *t = NULL;
  char *text = NULL;
  size_t len = prompt ? strlen(prompt) : 0, n = 0;
  int32_t *ids = NULL;
  unsigned flags = (bos ? PML_ENCODE_BOS : 0u) | (special ? PML_ENCODE_SPECIAL : 0u);
  pml_status st = pml_gguf_open(&g, pos[0]);
  if (st == PML_OK) st = pml_gguf_tokenizer_as(g, o.pre, &t);
  if (st == PML_OK && !prompt) st = read_stream(stdin, "stdin", &text, &len);
  if (st == PML_OK) st = pml_encode(t, prompt ? prompt : text, len, flags, &ids, &n);
  if (st != PML_OK) fail();
  else if (count) printf("%zu\n", n);
  else print_ids(ids, n, wants_json(&o), t, pieces);
  pml_free(ids);
  pml_free(text);
  pml_tokenizer_free(t);
  pml_gguf_close(g);
  return st == PML_OK ? EXIT_OK : EXIT_FAIL;
}

/* ── Inspect ──────────────────────────────────────────────────────────────── */

static const char *type_name(int type) {
  const pml_dtype_info_t *info = pml_dtype_info(type);
  return info ? info->name : "unknown";
}

static void shape_text(const pml_tensor *t, pml_buf *out) {
  pml_buf_puts(out, "[");
  for (int d = t->n_dims - 1; d >= 0; d--) pml_buf_printf(out, "%" PRIu64 "%s", t->ne[d], d ? "," : "]");
}

/* What the numbers say once a model is made of them, or why none can be. */
static void inspect_model(const char *path, bool json, pml_buf *b) {
  pml_model_options mo = {.allow_no_tokenizer = true};
  pml_model *m = NULL;
  if (pml_model_open(&m, path, &mo) != PML_OK) {
    pml_buf_puts(b, json ? ",\"model\":null,\"why\":" : "cannot be run: ");
    if (json) pml_json_put_str(b, pml_error(), strlen(pml_error()));
    else pml_buf_printf(b, "%s\n", pml_error());
    return;
  }
  const pml_config *c = &m->cfg;
  const char *norm = c->layer_norm ? "LayerNorm" : "RMSNorm", *chat = pml_chat_format(m);
  const char *pairs = c->rope_split ? "halves" : "neighbours", *scaling = pml_rope_scaling_name(c->rope_scaling);
  if (json) {
    pml_buf_printf(b, ",\"model\":{\"arch\":\"%s\",\"layers\":%d,\"d_model\":%d,\"heads\":%d,\"kv_heads\":%d,\"head_dim\":%d,"
                   "\"d_ffn\":%d,\"vocab\":%d,\"context\":%d,\"parameters\":%" PRIu64 ",\"norm\":\"%s\",\"ffn\":\"%s\",",
                   c->arch, c->n_layers, c->d_model, c->n_heads, c->n_kv_heads, c->head_dim, c->d_ffn, c->n_vocab, c->n_ctx,
                   pml_config_n_params(c), norm, c->gelu ? "GELU" : "SwiGLU");
    pml_buf_printf(b, "\"parallel\":%s,\"qk_norm\":%s,\"qkv_bias\":%s,\"tied_head\":%s,\"window\":%d,\"rope\":{\"dims\":%d,"
                   "\"pairs\":\"%s\",\"base\":%.9g,\"scaling\":\"%s\",\"factor\":%.9g,\"gain\":%.9g,\"original_context\":%d},"
                   "\"chat_format\":", c->parallel ? "true" : "false", c->qk_norm ? "true" : "false",
                   c->qkv_bias ? "true" : "false", c->tied_head ? "true" : "false", c->window, c->rope_dim, pairs,
                   (double)c->rope_theta, scaling, (double)c->rope_factor, (double)c->rope_gain, c->n_ctx_orig);
    if (chat) pml_json_put_str(b, chat, strlen(chat));
    else pml_buf_puts(b, "null");
    pml_buf_puts(b, "}");
  } else {
    pml_buf_printf(b, "model      %s: %d layers, d %d, %d heads of %d, %d for keys, FFN %d, vocabulary %d, context %d\n", c->arch,
                   c->n_layers, c->d_model, c->n_heads, c->head_dim, c->n_kv_heads, c->d_ffn, c->n_vocab, c->n_ctx);
    pml_buf_printf(b, "layer      %s, %s%s%s%s, head %s\n", norm, c->gelu ? "GELU" : "SwiGLU",
                   c->parallel ? " beside attention" : "", c->qk_norm ? ", queries and keys normalised" : "",
                   c->out_bias ? ", biases" : c->qkv_bias ? ", QKV bias" : "", c->tied_head ? "tied" : "separate");
    pml_buf_printf(b, "positions  RoPE of %d dimensions as %s, base %g, scaling %s", c->rope_dim, pairs, (double)c->rope_theta,
                   scaling);
    if (c->rope_factor != 1) pml_buf_printf(b, " by %g", (double)c->rope_factor);
    if (pml_gguf_tensor(m->file, "rope_freqs.weight")) pml_buf_puts(b, ", a factor per pair");
    if (c->n_ctx_orig != c->n_ctx) pml_buf_printf(b, ", trained on %d", c->n_ctx_orig);
    if (c->window) pml_buf_printf(b, ", window of %d", c->window);
    pml_buf_printf(b, "\nchat       %s\n", chat ? chat : "no format that we know");
  }
  pml_model_close(m);
}

static void inspect_text(const pml_gguf *g, bool tensors) {
  uint64_t params = 0, bytes = 0;
  size_t n_kv = pml_gguf_n_kv(g), n = pml_gguf_n_tensors(g);
  pml_buf b = {0};
  for (size_t i = 0; i < n_kv; i++) {
    pml_gguf_type type;
    pml_str key = pml_gguf_key_at(g, i, &type);
    pml_buf_printf(&b, "%-44.*s ", (int)key.len, key.ptr);
    pml_gguf_value_text(g, i, &b);
    pml_buf_puts(&b, "\n");
  }
  for (size_t i = 0; i < n; i++) {
    const pml_tensor *t = pml_gguf_tensor_at(g, i);
    uint64_t count = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    params += count;
    bytes += t->size;
    if (!tensors) continue;
    pml_buf_printf(&b, "%-44.*s %-6s ", (int)t->name.len, t->name.ptr, type_name(t->type));
    shape_text(t, &b);
    pml_buf_printf(&b, "  %zu bytes\n", t->size);
  }
  pml_buf_printf(&b, "%zu metadata entries, %zu tensors, %" PRIu64 " parameters, %" PRIu64 " bytes of weights\n", n_kv,
                 n, params, bytes);
  if (n) inspect_model(pml_gguf_path(g), false, &b);
  fwrite(b.data, 1, b.len, stdout);
  pml_buf_free(&b);
}

static void inspect_json(const pml_gguf *g) {
  pml_buf b = {0}, value = {0};
  pml_buf_puts(&b, "{\"file\":");
  pml_json_put_str(&b, pml_gguf_path(g), strlen(pml_gguf_path(g)));
  pml_buf_puts(&b, ",\"metadata\":{");
  for (size_t i = 0; i < pml_gguf_n_kv(g); i++) {
    pml_gguf_type type;
    pml_str key = pml_gguf_key_at(g, i, &type);
    char name[256];
    pml_str whole;
    pml_buf_puts(&b, i ? "," : "");
    pml_json_put_str(&b, key.ptr, key.len);
    pml_buf_puts(&b, ":");
    snprintf(name, sizeof name, "%.*s", (int)(key.len < 255 ? key.len : 255), key.ptr);
    if (pml_gguf_get_str(g, name, &whole)) { /* strings in full, arrays as a summary */
      pml_json_put_str(&b, whole.ptr, whole.len);
      continue;
    }
    value.len = 0;
    pml_gguf_value_text(g, i, &value);
    pml_json_put_str(&b, value.data ? value.data : "", value.len);
  }
  pml_buf_puts(&b, "},\"tensors\":[");
  for (size_t i = 0; i < pml_gguf_n_tensors(g); i++) {
    const pml_tensor *t = pml_gguf_tensor_at(g, i);
    pml_buf_puts(&b, i ? ",{\"name\":" : "{\"name\":");
    pml_json_put_str(&b, t->name.ptr, t->name.len);
    pml_buf_printf(&b, ",\"type\":\"%s\",\"shape\":", type_name(t->type));
    shape_text(t, &b);
    pml_buf_printf(&b, ",\"bytes\":%zu}", t->size);
  }
  pml_buf_puts(&b, "]");
  if (pml_gguf_n_tensors(g)) inspect_model(pml_gguf_path(g), true, &b);
  pml_buf_puts(&b, "}\n");
  fwrite(b.data, 1, b.len, stdout);
  pml_buf_free(&value);
  pml_buf_free(&b);
}

static int cmd_inspect(const command *c, int argc, char **argv) {
  common o = {0};
  bool tensors = false;
  arg args[] = {{"--tensors", NULL, ARG_FLAG, &tensors, "list every tensor"},
                {"--output", NULL, ARG_TEXT, &o.output, "text or json (json lists everything)"}};
  const char *pos[1];
  int n_pos, rc = parse(c, args, sizeof args / sizeof args[0], argc, argv, pos, 1, &n_pos);
  if (rc != EXIT_OK) return rc;
  if (n_pos == 0) return usage_error(c->name, "which file? give a GGUF file");
  if ((rc = apply_common(c, &o)) != EXIT_OK) return rc;
  pml_gguf *g;
  if (pml_gguf_open(&g, pos[0]) != PML_OK) return fail();
  if (wants_json(&o)) inspect_json(g);
  else inspect_text(g, tensors);
  pml_gguf_close(g);
  return EXIT_OK;
}

/* ── Trace ────────────────────────────────────────────────────────────────── */

typedef struct {
  bool json;
  int n;
  size_t bad; /* values that are NaN or infinite */
} trace_out;

static void trace_span(void *user, const pml_span *s) {
  trace_out *o = (trace_out *)user;
  double sum = 0, sum2 = 0, lo = HUGE_VAL, hi = -HUGE_VAL;
  size_t bad = 0;
  for (size_t i = 0; i < s->n; i++) {
    double v = (double)s->data[i];
    if (!isfinite(v)) bad++;
    else {
      sum += v;
      sum2 += v * v;
      lo = v < lo ? v : lo;
      hi = v > hi ? v : hi;
    }
  }
  double n = s->n > bad ? (double)(s->n - bad) : 1, mean = sum / n, var = sum2 / n - mean * mean;
  double ms = (double)(s->end_ns - s->begin_ns) * 1e-6, sd = var > 0 ? sqrt(var) : 0;
  if (lo > hi) lo = hi = 0;
  o->bad += bad;
  if (o->json)
    printf("%s{\"span\":\"%s\",\"layer\":%d,\"ms\":%.6f,\"mean\":%.6g,\"sd\":%.6g,\"min\":%.6g,\"max\":%.6g,\"bad\":%zu}",
           o->n ? "," : "", s->name, s->layer, ms, mean, sd, lo, hi, bad);
  else if (s->layer >= 0)
    printf("%-10s %5d %10.3f %11.4f %10.4f %11.4f %11.4f %6zu\n", s->name, s->layer, ms, mean, sd, lo, hi, bad);
  else printf("%-10s %5s %10.3f %11.4f %10.4f %11.4f %11.4f %6zu\n", s->name, "", ms, mean, sd, lo, hi, bad);
  o->n++;
}

static void trace_top(const pml_model *m, const float *logits, bool json) {
  int n = m->cfg.n_vocab, best[10], k = n < 10 ? n : 10;
  double max = -HUGE_VAL, sum = 0;
  for (int i = 0; i < n; i++) max = (double)logits[i] > max ? (double)logits[i] : max;
  for (int i = 0; i < n; i++) sum += exp((double)logits[i] - max);
  for (int j = 0; j < k; j++) {
    best[j] = -1;
    for (int i = 0; i < n; i++) {
      bool taken = false;
      for (int q = 0; q < j; q++) taken = taken || best[q] == i;
      if (!taken && (best[j] < 0 || logits[i] > logits[best[j]])) best[j] = i;
    }
  }
  if (!json) printf("\n%8s %12s %12s  token\n", "id", "logit", "log p");
  for (int j = 0; j < k; j++) {
    double logp = (double)logits[best[j]] - max - log(sum);
    pml_str b = m->tokenizer ? pml_token_bytes(m->tokenizer, best[j]) : (pml_str){"", 0};
    pml_buf text = {0};
    pml_json_put_str(&text, b.ptr ? b.ptr : "", b.len);
    if (json)
      printf("%s{\"id\":%d,\"logit\":%.7g,\"log_p\":%.7g,\"token\":%s}", j ? "," : "", best[j], (double)logits[best[j]],
             logp, text.data);
    else printf("%8d %12.5f %12.5f  %s\n", best[j], (double)logits[best[j]], logp, text.data);
    pml_buf_free(&text);
  }
}

static int cmd_trace(const command *c, int argc, char **argv) {
  common o = {0};
  const char *ids_text = NULL, *prompt = NULL, *dump = NULL;
  bool special = false;
  arg args[] = {{"--ids", NULL, ARG_TEXT, &ids_text, "token ids separated by commas"},
                {"--prompt", "-p", ARG_TEXT, &prompt, "or a text, taken as it is (no chat template)"},
                {"--special", NULL, ARG_FLAG, &special, "control tokens in the text become one id"},
                {"--dump-logits", NULL, ARG_TEXT, &dump, "write the last position's logits, raw little-endian f32"},
                {"--ctx", "-c", ARG_INT, &o.ctx, "positions in the KV cache (0: as many as there are tokens)"},
                {"--output", NULL, ARG_TEXT, &o.output, "text or json"},
                PRE_ARG(o), COMMON_ARGS(o)};
  const char *pos[1];
  int n_pos, rc = parse(c, args, sizeof args / sizeof args[0], argc, argv, pos, 1, &n_pos);
  if (rc != EXIT_OK) return rc;
  if (n_pos == 0) return usage_error(c->name, "which model? give a GGUF file");
  if (!ids_text == !prompt) return usage_error(c->name, "give --ids or --prompt");
  if ((rc = apply_common(c, &o)) != EXIT_OK) return rc;
  pml_model_options mo = {.allow_no_tokenizer = true, .pre = o.pre};
  pml_model *m = NULL;
  pml_context *ctx = NULL;
  pml_seq seq = {0};
  int32_t *ids = NULL;
  float *logits = NULL;
  size_t n = 0;
  trace_out out = {.json = wants_json(&o)};
  pml_status st = pml_model_open(&m, pos[0], &mo);
  if (st == PML_OK && prompt && !m->tokenizer) st = pml_fail(PML_E_UNSUPPORTED, "%s: no tokenizer: use --ids", pos[0]);
  if (st == PML_OK)
    st = prompt ? pml_encode(m->tokenizer, prompt, strlen(prompt), special ? PML_ENCODE_SPECIAL : 0, &ids, &n)
                : parse_ids(ids_text, &ids, &n);
  if (st == PML_OK && n == 0) st = pml_fail(PML_E_USAGE, "the prompt is empty: there is nothing to run");
  if (st == PML_OK && n > (size_t)m->cfg.n_ctx)
    st = pml_fail(PML_E_LIMIT, "%zu tokens, the model's context holds %d", n, m->cfg.n_ctx);
  if (st == PML_OK && o.ctx && n > (size_t)o.ctx)
    st = pml_fail(PML_E_LIMIT, "%zu tokens do not fit into --ctx %d", n, o.ctx);
  pml_context_options co = {.n_ctx = o.ctx ? o.ctx : (int)n, .cancel = &cancel_flag};
  if (st == PML_OK) st = pml_context_open(&ctx, m, NULL, &co);
  if (st == PML_OK && !(logits = (float *)pml_alloc((size_t)m->cfg.n_vocab * sizeof(float)))) st = PML_E_MEMORY;
  if (st == PML_OK) {
    if (out.json) printf("{\"spans\":[");
    else printf("%-10s %5s %10s %11s %10s %11s %11s %6s\n", "span", "layer", "ms", "mean", "sd", "min", "max", "bad");
    pml_trace_set(trace_span, &out);
    st = pml_forward_one(ctx, &seq, ids, (int)n, logits);
    pml_trace_set(NULL, NULL);
  }
  if (st == PML_OK) {
    if (out.json) printf("],\"top\":[");
    trace_top(m, logits, out.json);
    if (out.json) printf("]}\n");
    if (dump) st = pml_file_write(dump, logits, (size_t)m->cfg.n_vocab * sizeof(float));
  }
  if (st == PML_OK && out.bad) st = pml_fail(PML_E_CHECK, "%zu values are NaN or infinite: the weights are damaged", out.bad);
  if (st != PML_OK) fail();
  if (ctx) pml_context_seq_free(ctx, &seq);
  pml_context_close(ctx);
  pml_free(logits);
  pml_free(ids);
  pml_model_close(m);
  return st == PML_OK ? EXIT_OK : EXIT_FAIL;
}

/* ── Bench ────────────────────────────────────────────────────────────────── */

static int cmd_bench(const command *c, int argc, char **argv) {
  common o = {0};
  pml_bench_options b = {.n_prompt = 512, .n_decode = 64, .repetitions = 3, .cancel = &cancel_flag};
  arg args[] = {{"--prompt-tokens", "-p", ARG_INT, &b.n_prompt, "length of the prefill (512; 0 skips it)"},
                {"--decode-tokens", "-n", ARG_INT, &b.n_decode, "decode steps (64; 0 skips them)"},
                {"--repetitions", "-r", ARG_INT, &b.repetitions, "of each; the median counts (3)"},
                {"--output", NULL, ARG_TEXT, &o.output, "text or json"},
                COMMON_ARGS(o)};
  const char *pos[1];
  int n_pos, rc = parse(c, args, sizeof args / sizeof args[0], argc, argv, pos, 1, &n_pos);
  if (rc != EXIT_OK) return rc;
  if (n_pos == 0) return usage_error(c->name, "which model? give a GGUF file");
  if ((rc = apply_common(c, &o)) != EXIT_OK) return rc;
  pml_model_options mo = {.allow_no_tokenizer = true};
  pml_model *m;
  pml_bench_result r;
  if (pml_model_open(&m, pos[0], &mo) != PML_OK) return fail();
  pml_status st = pml_bench_model(m, &b, &r);
  pml_model_close(m);
  if (st != PML_OK) return fail();
  if (!wants_json(&o)) {
    printf("%-10s %12s %22s %12s %8s\n", "", "tok/s", "min … max", "limit", "share");
    if (b.n_prompt)
      printf("pp %-7d %12.2f %10.2f … %9.2f %12.2f %7.1f%%\n", b.n_prompt, r.pp_tok_s.median, r.pp_tok_s.lo,
             r.pp_tok_s.hi, r.pp_limit, 100 * r.pp_share);
    if (b.n_decode)
      printf("tg %-7d %12.2f %10.2f … %9.2f %12.2f %7.1f%%\n", b.n_decode, r.tg_tok_s.median, r.tg_tok_s.lo,
             r.tg_tok_s.hi, r.tg_limit, 100 * r.tg_share);
    printf("read %.1f GB/s over %.1f MB a token, f32 peak %.0f GFLOP/s, %d threads, %s, memory %.1f MB\n",
           r.read_gb_s.median, (double)r.bytes_per_token / 1e6, r.peak_gflop_s, pml_threads(),
           pml_cpu_level_name(pml_cpu_level()), (double)r.memory_peak / 1e6);
    return EXIT_OK;
  }
  pml_buf j = {0};
  pml_buf_printf(&j, "{\"pp_tok_s\":%.4f,\"tg_tok_s\":%.4f,\"read_gb_s\":%.4f,\"tg_share_of_limit\":%.4f,"
                 "\"pp_share_of_limit\":%.4f,", r.pp_tok_s.median, r.tg_tok_s.median, r.read_gb_s.median, r.tg_share,
                 r.pp_share);
  pml_buf_printf(&j, "\"pp_tok_s_range\":[%.4f,%.4f],\"tg_tok_s_range\":[%.4f,%.4f],\"pp_limit\":%.4f,"
                 "\"tg_limit\":%.4f,\"peak_gflop_s\":%.2f,\"bytes_per_token\":%zu,\"memory_peak\":%zu,\"threads\":%d,",
                 r.pp_tok_s.lo, r.pp_tok_s.hi, r.tg_tok_s.lo, r.tg_tok_s.hi, r.pp_limit, r.tg_limit, r.peak_gflop_s,
                 r.bytes_per_token, r.memory_peak, pml_threads());
  pml_buf_puts(&j, "\"provenance\":");
  pml_provenance_json(&j, "apr bench", 42);
  pml_buf_puts(&j, "}");
  printf("%s\n", j.data);
  pml_buf_free(&j);
  return EXIT_OK;
}

/* ── Hardware ─────────────────────────────────────────────────────────────── */

enum { SETS = PML_BENCH_SETS };

typedef struct {
  double f32, int8, one[SETS], all[SETS]; /* operations and bytes per second; 0: not measured */
  const char *how;
} speeds;

static void measure_speeds(const pml_hardware *hw, speeds *s) {
  s->f32 = pml_bench_peak_f32();
  s->int8 = pml_bench_peak_int8(&s->how);
  for (int i = 0; i < SETS && !interrupted; i++) {
    size_t bytes = pml_bench_set_bytes(i, pml_threads(), hw);
    if (!bytes) break;
    s->one[i] = pml_bench_bandwidth(bytes, 1, 0.1);
    s->all[i] = pml_threads() > 1 ? pml_bench_bandwidth(bytes, 0, 0.1) : s->one[i];
  }
}

static void print_speeds(const speeds *s) {
  printf("peak        f32 %.0f GFLOP/s, 8-bit %.0f GOP/s (%s), %d thread%s\n", s->f32 / 1e9, s->int8 / 1e9, s->how, pml_threads(),
         pml_threads() == 1 ? "" : "s");
  for (int i = 0; i < SETS && s->one[i] > 0; i++) {
    char size[32];
    pml_bytes_text(size, (uint64_t)16384 << 2 * i);
    printf("%s %8s per thread: %7.1f GB/s one thread, %7.1f GB/s all\n", i ? "           " : "reading    ", size, s->one[i] / 1e9, s->all[i] / 1e9);
  }
}

/* Every feature of this architecture: in use, masked by PML_CPU, withheld, absent. */
static void print_features(const pml_hardware *hw) {
  for (int f = 0; f < PML_CPU_FEATURES; f++) {
    bool arm = f >= PML_FEATURE_NEON && f < PML_FEATURE_SIMD128, wasm = f >= PML_FEATURE_SIMD128;
    if (arm != !strcmp(hw->arch, "aarch64") || wasm != !strcmp(hw->arch, "wasm32")) continue;
    const char *state = pml_cpu_has((pml_cpu_feature)f) ? "yes" : hw->features >> f & 1 ? "masked" : hw->blocked >> f & 1 ? "withheld" : "no";
    printf("%-18s %-8s %s\n", pml_cpu_feature_name((pml_cpu_feature)f), state, pml_cpu_feature_about((pml_cpu_feature)f));
  }
}

static int cmd_hardware(const command *c, int argc, char **argv) {
  static pml_hardware hw;
  common o = {0};
  bool measure = false, features = false;
  speeds s = {.how = ""};
  pml_buf out = {0};
  arg args[] = {{"--measure", "-m", ARG_FLAG, &measure, "also read bandwidth at nine sizes, and peak rates (some 10 s)"},
                {"--features", NULL, ARG_FLAG, &features, "each processor feature and what it is good for"},
                {"--output", NULL, ARG_TEXT, &o.output, "text or json"},
                {"--threads", "-t", ARG_INT, &o.threads, "threads to measure with (0: one per core)"}};
  int n_pos, rc = parse(c, args, sizeof args / sizeof args[0], argc, argv, NULL, 0, &n_pos);
  if (rc != EXIT_OK) return rc;
  if ((rc = apply_common(c, &o)) != EXIT_OK) return rc;
  pml_hardware_detect(&hw, NULL);
  if (measure) measure_speeds(&hw, &s);
  if (wants_json(&o)) {
    pml_buf_puts(&out, "{\"hardware\":");
    pml_hardware_json(&out, &hw);
    if (measure) {
      pml_buf_printf(&out, ",\"measured\":{\"threads\":%d,\"f32_flop_s\":%.0f,\"int8_op_s\":%.0f,\"int8_instruction\":\"%s\",\"read\":[",
                     pml_threads(), s.f32, s.int8, s.how);
      for (int i = 0; i < SETS && s.one[i] > 0; i++)
        pml_buf_printf(&out, "%s{\"bytes\":%zu,\"one_thread\":%.0f,\"all_threads\":%.0f}", i ? "," : "", (size_t)16384 << 2 * i, s.one[i], s.all[i]);
      pml_buf_puts(&out, "]}");
    }
    pml_buf_puts(&out, ",\"provenance\":");
    pml_provenance_json(&out, "apr hardware", 0);
    pml_buf_puts(&out, "}\n");
  } else pml_hardware_text(&out, &hw);
  if (!out.failed) fputs(out.data, stdout);
  pml_buf_free(&out);
  if (!wants_json(&o) && features) print_features(&hw);
  if (!wants_json(&o) && measure) print_speeds(&s);
  return interrupted ? 130 : EXIT_OK;
}

/* ── Eval ─────────────────────────────────────────────────────────────────── */

typedef struct {
  pml_context *ctx;
  pml_seq seq;
} eval_state;

/* Logits of positions from … n-1, for the scorer of § 34. */
static pml_status eval_logits(void *user, const int32_t *ids, int n, int from, float *logits) {
  eval_state *s = (eval_state *)user;
  pml_context_truncate(s->ctx, &s->seq, 0);
  pml_segment seg = {&s->seq, ids, n, n - from};
  return pml_forward(s->ctx, &seg, 1, logits);
}

static int eval_text(pml_model *m, const char *path, int ctx, bool json) {
  char *text = NULL;
  size_t len = 0, n = 0;
  int32_t *ids = NULL;
  eval_state s = {0};
  double ppl = 0;
  pml_context_options co = {.n_ctx = ctx ? ctx : m->cfg.n_ctx < 512 ? m->cfg.n_ctx : 512, .cancel = &cancel_flag};
  pml_status st = pml_file_read(path, &text, &len);
  if (st == PML_OK) st = pml_encode(m->tokenizer, text, len, 0, &ids, &n);
  if (st == PML_OK && n < 2) st = pml_fail(PML_E_FORMAT, "%s: %zu tokens: perplexity needs at least two", path, n);
  if (st == PML_OK) st = pml_context_open(&s.ctx, m, NULL, &co);
  pml_scorer scorer = {eval_logits, &s, m->cfg.n_vocab, co.n_ctx};
  if (st == PML_OK) st = pml_perplexity(&scorer, ids, n, &ppl);
  if (st != PML_OK) fail();
  else if (json) printf("{\"perplexity\":%.6f,\"tokens\":%zu,\"bytes\":%zu}\n", ppl, n, len);
  else printf("perplexity %.4f over %zu tokens (%zu bytes)\n", ppl, n, len);
  if (s.ctx) pml_context_seq_free(s.ctx, &s.seq);
  pml_context_close(s.ctx);
  pml_free(ids);
  pml_free(text);
  return st == PML_OK ? EXIT_OK : EXIT_FAIL;
}

typedef struct {
  pml_session *session;
  bool verbose, progress;
  int n, right;
} qa_state;

static bool qa_collect(void *user, const char *text, size_t len) {
  pml_buf_add((pml_buf *)user, text, len);
  return !interrupted;
}

static pml_status qa_answer(void *user, const char *question, pml_buf *out) {
  qa_state *q = (qa_state *)user;
  pml_message message = {"user", question};
  pml_generate_options o = pml_generate_defaults();
  int32_t *ids = NULL;
  size_t n = 0;
  o.max_tokens = 160;
  o.on_text = qa_collect;
  o.user = out;
  pml_status st = pml_chat_encode(q->session->ctx->model, &message, 1, &ids, &n);
  if (st == PML_OK) st = pml_generate(q->session, ids, n, &o);
  pml_free(ids);
  return st == PML_OK && interrupted ? pml_fail(PML_E_CANCELLED, "cancelled after %d questions", q->n) : st;
}

static bool qa_case(void *user, const pml_qa_topic *t, const char *question, const char *answer, bool right) {
  qa_state *q = (qa_state *)user;
  q->n++;
  q->right += right;
  if (q->verbose)
    printf("%s %s: %s\n%s%s%s", right ? "right" : "WRONG", t->id, question, right ? "" : "      ", right ? "" : answer,
           right ? "" : "\n");
  if (q->progress) fprintf(stderr, "\r%d questions, %d right", q->n, q->right);
  return true;
}

/* Perplexity of the taught answers given the held-out questions: no decoding, one pass each. */
static pml_status qa_perplexity(pml_session *session, const pml_qa *qa, double *ppl) {
  const pml_model *m = session->ctx->model;
  eval_state e = {.ctx = session->ctx};
  pml_scorer scorer = {eval_logits, &e, m->cfg.n_vocab, session->ctx->options.n_ctx};
  pml_sequence s = {0};
  double total = 0, tokens = 0;
  pml_status st = PML_OK;
  pml_context_truncate(session->ctx, &session->seq, 0);
  for (int i = 0; i < qa->n_topics; i++) {
    for (int j = 0; st == PML_OK && j < qa->topics[i].n_held; j++) {
      double nll = 0;
      s.n = 0;
      st = pml_chatml_sequence(m->tokenizer, qa->topics[i].held[j], qa->topics[i].answer, 0, 0, &s);
      int first = s.n;
      while (first > 0 && s.weights[first - 1] > 0) first--;
      if (st == PML_OK) st = pml_score(&scorer, s.ids, s.n, first, &nll);
      total += nll;
      tokens += s.n - first;
    }
  }
  *ppl = tokens > 0 ? exp(total / tokens) : 0;
  pml_context_seq_free(session->ctx, &e.seq);
  pml_sequence_free(&s);
  return st;
}

static int eval_qa(pml_model *m, const char *path, bool verbose, bool json) {
  pml_qa *qa = NULL;
  qa_state q = {.verbose = verbose && !json, .progress = isatty(2) && !verbose};
  pml_qa_result r;
  pml_context_options co = {.n_ctx = m->cfg.n_ctx < 1024 ? m->cfg.n_ctx : 1024, .cancel = &cancel_flag};
  pml_status st = pml_qa_load(&qa, path);
  if (st == PML_OK) st = pml_session_open(&q.session, m, NULL, &co);
  if (st == PML_OK) st = pml_qa_evaluate(qa, qa_answer, &q, qa_case, &q, &r);
  if (st == PML_OK) st = qa_perplexity(q.session, qa, &r.perplexity);
  if (q.progress) fprintf(stderr, "\n");
  if (st != PML_OK) fail();
  else if (json)
    printf("{\"questions\":%d,\"right\":%d,\"share\":%.4f,\"bm25_right\":%d,\"bm25_share\":%.4f,\"perplexity\":%.4f}\n",
           r.n, r.right, r.n ? (double)r.right / r.n : 0, r.bm25_right, r.n ? (double)r.bm25_right / r.n : 0, r.perplexity);
  else
    printf("%d of %d held-out questions right: %.1f %%; nearest taught question (BM25): %d, %.1f %%; perplexity of the "
           "answers %.4f\n", r.right, r.n, r.n ? 100.0 * r.right / r.n : 0, r.bm25_right,
           r.n ? 100.0 * r.bm25_right / r.n : 0, r.perplexity);
  pml_session_close(q.session);
  pml_qa_free(qa);
  return st == PML_OK ? EXIT_OK : EXIT_FAIL;
}

static int cmd_eval(const command *c, int argc, char **argv) {
  common o = {0};
  const char *text = NULL, *qa = NULL;
  bool verbose = false;
  arg args[] = {{"--text", NULL, ARG_TEXT, &text, "print the perplexity of this text file"},
                {"--qa", NULL, ARG_TEXT, &qa, "print the share of right answers to these questions (lessons/data)"},
                {"--verbose", "-v", ARG_FLAG, &verbose, "with --qa: every question, and what was answered instead"},
                {"--ctx", "-c", ARG_INT, &o.ctx, "window of the perplexity in tokens (512)"},
                {"--output", NULL, ARG_TEXT, &o.output, "text or json"},
                PRE_ARG(o), COMMON_ARGS(o)};
  const char *pos[1];
  int n_pos, rc = parse(c, args, sizeof args / sizeof args[0], argc, argv, pos, 1, &n_pos);
  if (rc != EXIT_OK) return rc;
  if (n_pos == 0) return usage_error(c->name, "which model? give a GGUF file");
  if (!text == !qa) return usage_error(c->name, "give --text or --qa");
  if ((rc = apply_common(c, &o)) != EXIT_OK) return rc;
  pml_model_options mo = {.pre = o.pre};
  pml_model *m;
  if (pml_model_open(&m, pos[0], &mo) != PML_OK) return fail();
  rc = text ? eval_text(m, text, o.ctx, wants_json(&o)) : eval_qa(m, qa, verbose, wants_json(&o));
  pml_model_close(m);
  return rc;
}

/* ── Train ────────────────────────────────────────────────────────────────── */

typedef struct {
  bool terminal, quiet;
  double last;
} train_state;

static bool train_progress(void *user, const pml_train_progress *p, const pml_qa_result *eval) {
  train_state *t = (train_state *)user;
  double now = pml_time();
  bool show = !t->quiet && (eval || p->step == p->steps || now - t->last > (t->terminal ? 0.2 : 10));
  if (show) {
    t->last = now;
    fprintf(stderr, "%sstep %" PRId64 "/%" PRId64 "  loss %.4f  lr %.2e  %.0f tok/s  ETA %d:%02d  ", t->terminal ? "\r" : "",
            p->step, p->steps, p->loss, p->lr, p->tok_s, (int)p->eta_s / 60, (int)p->eta_s % 60);
    if (eval) fprintf(stderr, "held-out %d/%d right (BM25 %d), perplexity %.3f", eval->right, eval->n, eval->bm25_right, eval->perplexity);
    if (eval || !t->terminal) fprintf(stderr, "\n");
  }
  return !interrupted;
}

static int cmd_train(const command *c, int argc, char **argv) {
  common o = {0};
  pml_tutor_options t = {.preset = "tutor", .data = "lessons/data", .seed = 42};
  int seed = 42, steps = 0, eval_every = 0;
  bool quiet = false;
  arg args[] = {{"--preset", NULL, ARG_TEXT, &t.preset, "tutor, teacher, draft or tiny (tutor)"},
                {"--data", NULL, ARG_TEXT, &t.data, "folder of questions and answers (lessons/data)"},
                {"--out", "-o", ARG_TEXT, &t.out, "the GGUF file to write"},
                {"--seed", NULL, ARG_INT, &seed, "of weights and data order (42)"},
                {"--steps", NULL, ARG_INT, &steps, "training steps (0: the preset's)"},
                {"--eval-every", NULL, ARG_INT, &eval_every, "steps between held-out measurements (0: at the end)"},
                {"--checkpoint", NULL, ARG_TEXT, &t.checkpoint, "where an interrupted run is kept"},
                {"--resume", NULL, ARG_FLAG, &t.resume, "go on from the checkpoint"},
                {"--quiet", "-q", ARG_FLAG, &quiet, "no progress on stderr"},
                COMMON_ARGS(o)};
  int n_pos, rc = parse(c, args, sizeof args / sizeof args[0], argc, argv, NULL, 0, &n_pos);
  if (rc != EXIT_OK) return rc;
  if (!t.out) return usage_error(c->name, "where to? give -o FILE.gguf");
  if (seed < 0 || steps < 0 || eval_every < 0) return usage_error(c->name, "numbers must not be negative");
  if ((rc = apply_common(c, &o)) != EXIT_OK) return rc;
  char remake[160], kept[1024];
  snprintf(remake, sizeof remake, "apr train --preset %s --seed %d%s", t.preset, seed, o.strict ? " --strict" : "");
  snprintf(kept, sizeof kept, "%s.checkpoint", t.out);
  if (!t.checkpoint) t.checkpoint = kept;
  train_state state = {.terminal = isatty(2), .quiet = quiet};
  pml_tutor_report r;
  t.command = remake;
  t.strict = o.strict;
  t.seed = (uint64_t)seed;
  t.steps = steps;
  t.eval_every = eval_every;
  t.progress = train_progress;
  t.user = &state;
  pml_status st = pml_train_tutor(&t, &r);
  if (st == PML_E_CANCELLED) {
    fprintf(stderr, "\napr: stopped; go on with: %s --resume --checkpoint %s -o %s\n", remake, t.checkpoint, t.out);
    return 130;
  }
  if (st != PML_OK) return fail();
  printf("%s: %zu parameters, %d topics, %d taught questions, %" PRIu64 " tokens in %.0f s\n", t.out, r.n_params, r.n_topics,
         r.n_taught, r.tokens, r.seconds);
  printf("held-out questions: %d of %d right (%.1f %%), BM25 %d (%.1f %%), perplexity of the answers %.3f\n", r.held.right,
         r.held.n, r.held.n ? 100.0 * r.held.right / r.held.n : 0, r.held.bm25_right,
         r.held.n ? 100.0 * r.held.bm25_right / r.held.n : 0, r.held.perplexity);
  printf("data %s\nparameters %s\n", r.data_sha256, r.params_sha256);
  return EXIT_OK;
}

/* ── The table of commands ────────────────────────────────────────────────── */

static const struct {
  command c;
  int (*run)(const command *c, int argc, char **argv);
} commands[] = {
    {{"run", "MODEL [PROMPT]", "Answers one prompt; only the answer goes to stdout.",
      "apr run lessons/models/tutor.gguf -p \"What is a KV cache?\""}, cmd_run},
    {{"chat", "MODEL", "A conversation in the terminal.", "apr chat lessons/models/tutor.gguf"}, cmd_chat},
    {{"tokenize", "MODEL", "Prints the token ids of a text.", "apr tokenize model.gguf -p \"Hello world\""}, cmd_tokenize},
    {{"inspect", "MODEL", "Prints the metadata of a GGUF file.", "apr inspect model.gguf --tensors"}, cmd_inspect},
    {{"trace", "MODEL", "Runs tokens and prints time and statistics of every layer.",
      "apr trace model.gguf --ids 1,2,3 --dump-logits logits.f32"}, cmd_trace},
    {{"eval", "MODEL", "Perplexity of a text, or right answers to questions.",
      "apr eval lessons/models/tutor.gguf --qa lessons/data"}, cmd_eval},
    {{"train", "", "Trains a model of the tutor's family on questions and answers.",
      "apr train --preset draft -o draft.gguf --strict"}, cmd_train},
    {{"bench", "MODEL", "Measures prefill and decode beside their limits.",
      "apr bench model.gguf -p 512 -n 64 -t 2 -r 3 --output json"}, cmd_bench},
    {{"hardware", "", "What this machine is, what this process may use, and how fast it is.", "apr hardware --measure"}, cmd_hardware},
};

static void print_commands(FILE *f) {
  fprintf(f, "apr %s: models on the command line\n\nusage: apr COMMAND [OPTIONS]\n\n", PML_VERSION);
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
    fprintf(f, "  %-10s %s\n", commands[i].c.name, commands[i].c.summary);
  fprintf(f, "\napr COMMAND --help lists a command's options.\n");
}

static void log_line(void *user, int level, const char *line) {
  (void)user;
  if (level >= 2) fprintf(stderr, "apr: warning: %s\n", line);
}

int main(int argc, char **argv) {
  struct sigaction sa = {.sa_handler = on_interrupt}; /* no SA_RESTART: a waiting read returns */
  sigaction(SIGINT, &sa, NULL);
  signal(SIGPIPE, SIG_IGN);
  pml_log_set(log_line, NULL);
  if (argc < 2) {
    print_commands(stderr);
    return EXIT_USAGE;
  }
  if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
    print_commands(stdout);
    return EXIT_OK;
  }
  if (!strcmp(argv[1], "--version")) {
    printf("apr (prodml.h) %s\n", PML_VERSION);
    return EXIT_OK;
  }
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
    if (strcmp(argv[1], commands[i].c.name)) continue;
    int rc = commands[i].run(&commands[i].c, argc - 2, argv + 2);
    pml_threads_stop();
    if (fflush(stdout) != 0 && rc <= EXIT_OK) {
      fprintf(stderr, "apr: stdout: %s\n", strerror(errno));
      rc = EXIT_FAIL;
    }
    return rc == EXIT_HELP ? EXIT_OK : rc;
  }
  fprintf(stderr, "apr: there is no command '%s' (apr --help lists what there is)\n", argv[1]);
  return EXIT_USAGE;
}
